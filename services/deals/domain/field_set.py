"""Field set: the custom fields of an element type (`form`), or the fields of a details template. (F19, S61, V16)

A field's code, type and multiplicity are fixed once it exists; a field is retired, never removed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, assert_never
from urllib.parse import urlsplit
from uuid import UUID, uuid5

from services.deals.domain.fields import (
    DAY,
    FLAG,
    ID,
    INSTANT,
    LONG_TEXT,
    NUMBER,
    SHORT_TEXT,
    Kind,
    Wrong,
    choice,
    custom_map,
    invalid,
    same,
    several,
)
from services.deals.domain.money import CURRENCY, exact
from services.deals.domain.origin import BEGINNING, NIL, Cause, answered
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, NotFound, Rejected

FIELD_TYPES = ("string", "text", "number", "money", "bool", "date", "datetime", "select", "user", "file", "url")
FORM_OF = ("lead", "deal", "contact", "company")
OWNER_TYPES = ("person", "company")
MOST_FIELDS = 200
MOST_VALUES = 50
"""Of one field that takes several."""

ADDRESS_TYPES = ("postal", "business", "delivery", "registered", "legal", "beneficiary")
ADDRESS_FIELDS = ("street", "house", "addition", "city", "postal_code", "district", "region", "country", "country_code")
STANDARD_FIELDS = {
    "person": ("tax_number", "vat_id", "first_name", "last_name", "bank_name", "iban", "bic"),
    "company": ("tax_number", "vat_id", "company_name", "bank_name", "iban", "bic"),
}
"""What every details template starts with, by owner type."""


def form_id(tenant: UUID, element_type: str) -> UUID:
    """The one form of an element type."""
    return uuid5(tenant, f"field-set/form/{element_type}")


def template_id(tenant: UUID, owner_type: str, code: str) -> UUID:
    """The details template with this code for persons or for companies."""
    return uuid5(tenant, f"field-set/template/{owner_type}/{code}")


@dataclass(frozen=True, slots=True)
class FieldDefinition:
    """`required` is for those who draw a form; only a stage's required fields hold up a move (F13)."""

    code: str
    label: str
    field_type: str
    multiple: bool = False
    options: tuple[str, ...] = ()
    required: bool = False
    retired: bool = False


@dataclass(frozen=True, slots=True)
class CreateFieldSet:
    """`kind`: form (with `element_type`) or details_template (with `owner_type` person or company and `template_code`)."""

    field_set_id: UUID
    kind: str
    fields: tuple[FieldDefinition, ...]
    cause: Cause
    element_type: str | None = None
    owner_type: str | None = None
    template_code: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeFields:
    """New fields and those to be changed; what is not named stays as it is."""

    fields: tuple[FieldDefinition, ...]
    cause: Cause


@dataclass(frozen=True, slots=True)
class FieldSetChanged:
    """The whole list; the first one of a stream creates the set."""

    field_set_id: UUID
    kind: str
    fields: tuple[FieldDefinition, ...]
    cause: Cause
    element_type: str | None = None
    owner_type: str | None = None
    template_code: str | None = None


FieldSetCommand = CreateFieldSet | ChangeFields


@dataclass(frozen=True, slots=True)
class FieldSet:
    field_set_id: UUID = NIL
    kind: str = "form"
    fields: tuple[FieldDefinition, ...] = ()
    element_type: str | None = None
    owner_type: str | None = None
    template_code: str | None = None
    created_at: datetime = BEGINNING
    answered: frozenset[UUID] = frozenset()

    @property
    def exists(self) -> bool:
        return self.field_set_id != NIL

    def field(self, code: str) -> FieldDefinition | None:
        return next((field for field in self.fields if field.code == code), None)

    def has(self, code: str) -> bool:
        """A field that may be given a value."""
        field = self.field(code)
        return field is not None and not field.retired

    @property
    def codes(self) -> frozenset[str]:
        return frozenset(field.code for field in self.fields if not field.retired)


def checked(form: FieldSet, before: Mapping[str, Any], given: object, at: str = "/custom") -> dict[str, Any]:
    """Custom fields after `given` was laid over `before`; null empties a field.

    Raises Rejected `validation_failed` (422) with `unknown_field`, `wrong_type` or `too_long` at the field's pointer."""
    after = dict(before)
    faults: list[Fault] = []
    for code, value in _map_at(given, at).items():
        try:
            content = None if value is None else _content(form.field(code), value)
        except Wrong as wrong:
            faults.append(Fault(f"{at}/{code}{wrong.at}", wrong.code, wrong.detail))
            continue
        after.pop(code, None)
        if content is not None:
            after[code] = content
    if faults:
        raise invalid(faults)
    return after


def _map_at(given: object, at: str) -> dict[str, Any]:
    try:
        return custom_map(given)
    except Wrong as wrong:
        raise invalid([Fault(at, wrong.code, wrong.detail)]) from None


def _content(field: FieldDefinition | None, value: Any) -> Any:
    """The value as it is kept: JSON, in one notation."""
    if field is None or field.retired:
        raise Wrong("unknown_field", "There is no such custom field.")
    one: Kind[Any] = choice(*field.options) if field.field_type == "select" else VALUES[field.field_type]
    kind: Kind[Any] = several(one, MOST_VALUES) if field.multiple else one
    return kind.show(kind.read(value))


def _number(value: Any) -> Any:
    whole = isinstance(value, int) and not isinstance(value, bool)
    return NUMBER.read(str(value) if whole else value)


def _money(value: Any) -> tuple[Any, str]:
    given = custom_map(value)
    if given.keys() != {"amount", "currency"}:
        raise Wrong("wrong_type", "Money is an object with amount and currency.")
    currency = CURRENCY.read(given["currency"])
    return exact(NUMBER.read(given["amount"]), currency), currency


def _url(value: Any) -> str:
    text: str = LONG_TEXT.read(value)
    try:
        parts = urlsplit(text)
    except ValueError:
        raise Wrong("wrong_type", "This is not a URL.") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Wrong("wrong_type", "A URL begins with http:// or https:// and a host.")
    return text


VALUES: Mapping[str, Kind[Any]] = {
    "string": SHORT_TEXT,
    "text": LONG_TEXT,
    "number": Kind(_number, NUMBER.show),
    "money": Kind(_money, lambda m: {"amount": f"{m[0]:f}", "currency": m[1]}),
    "bool": FLAG,
    "date": DAY,
    "datetime": INSTANT,
    "user": ID,
    "file": ID,
    "url": Kind(_url, same),
}


def decide(form: FieldSet, command: FieldSetCommand) -> Sequence[FieldSetChanged]:
    if command.cause.request_id in form.answered:
        return []
    match command:
        case CreateFieldSet():
            return [] if form.exists else [_created(command)]
        case ChangeFields(fields=fields, cause=cause):
            return _changed(form, fields, cause)
        case _:
            assert_never(command)


def evolve(form: FieldSet, event: FieldSetChanged) -> FieldSet:
    return FieldSet(
        event.field_set_id,
        event.kind,
        event.fields,
        event.element_type,
        event.owner_type,
        event.template_code,
        form.created_at if form.exists else event.cause.at,
        answered(form.answered, event.cause),
    )


FIELD_SET: Aggregate[FieldSet, FieldSetCommand, FieldSetChanged] = Aggregate(
    "field-set", FieldSet(), decide, evolve, (FieldSetChanged,), read_by_others=True
)


def _created(command: CreateFieldSet) -> FieldSetChanged:
    standard = STANDARD_FIELDS[command.owner_type] if command.owner_type else ()
    fields = (*(FieldDefinition(code, code.replace("_", " "), "string") for code in standard), *command.fields)
    _must_differ(fields)
    _must_be_sound(command.kind, fields)
    return FieldSetChanged(
        command.field_set_id, command.kind, fields, command.cause, command.element_type, command.owner_type, command.template_code
    )


def _changed(form: FieldSet, given: Sequence[FieldDefinition], cause: Cause) -> Sequence[FieldSetChanged]:
    if not form.exists:
        raise NotFound("There is no such field set in this tenant.")
    _must_differ(given)
    for field in given:
        _must_fit(form.field(field.code), field)
    by_code = {field.code: field for field in given}
    new = [field for field in given if form.field(field.code) is None]
    fields = (*(by_code.get(field.code, field) for field in form.fields), *new)
    _must_be_sound(form.kind, fields)
    if fields == form.fields:
        return []
    return [FieldSetChanged(form.field_set_id, form.kind, fields, cause, form.element_type, form.owner_type, form.template_code)]


def _must_differ(fields: Iterable[FieldDefinition]) -> None:
    codes = [field.code for field in fields]
    if len(set(codes)) < len(codes):
        raise Rejected("code_taken", "Two fields have the same code.")


def _must_fit(so_far: FieldDefinition | None, field: FieldDefinition) -> None:
    if so_far is None:
        if field.retired:
            raise Rejected("unknown_field", f"There is no field {field.code} to retire.")
        return
    if (so_far.field_type, so_far.multiple) != (field.field_type, field.multiple):
        raise Rejected("type_is_fixed", f"Type and multiplicity of the field {field.code} are fixed.")


def _must_be_sound(kind: str, fields: Sequence[FieldDefinition]) -> None:
    if len(fields) > MOST_FIELDS:
        raise invalid([Fault("/fields", "too_many", f"A field set has at most {MOST_FIELDS} fields.")])
    reserved = ADDRESS_FIELDS if kind == "details_template" else ()
    for field in fields:
        if field.code in reserved:
            raise Rejected("code_taken", f"{field.code} is a field of every address.")
        if field.field_type not in FIELD_TYPES or (field.field_type == "select" and not field.options):
            raise invalid([Fault("/fields", "wrong_type", f"{field.code}: an unknown type, or a select without options.")])
