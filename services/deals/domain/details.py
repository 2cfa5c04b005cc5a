"""Details: legal and address data of a contact or company by a template ("requisites"). (S53-S56, D45, D65, F17, V16)

People write what they like; rules only renew what is filled: an empty field stays empty, a filled one is never blanked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any, assert_never
from uuid import UUID

from services.deals.domain.field_set import ADDRESS_FIELDS, ADDRESS_TYPES, FieldSet
from services.deals.domain.fields import LONG_TEXT, Change, Wrong, custom_map, invalid
from services.deals.domain.origin import BEGINNING, NIL, Cause, answered
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, NotFound, Rejected

Texts = Mapping[str, str]
EMPTY: Texts = MappingProxyType({})
PERSON_OR_COMPANY = {"contact": "person", "company": "company"}
"""Which templates are for which owner."""


@dataclass(frozen=True, slots=True)
class CreateDetails:
    """`fields` and `addresses`: JSON values. `template`: the field set with this code, not existing where there is none."""

    details_id: UUID
    owner_type: str
    owner_id: UUID
    template_code: str
    template: FieldSet
    fields: Mapping[str, Any]
    addresses: Mapping[str, Any]
    is_default: bool
    cause: Cause


@dataclass(frozen=True, slots=True)
class EditDetails:
    """By a person: null or empty text empties a field. None leaves fields, addresses or flag alone."""

    template: FieldSet
    cause: Cause
    fields: Mapping[str, Any] | None = None
    addresses: Mapping[str, Any] | None = None
    is_default: bool | None = None


@dataclass(frozen=True, slots=True)
class StepDownDetails:
    """Another record of the same owner and template becomes the default, in the same transaction."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class MoveDetails:
    """The owner was merged: the record goes to the survivor, as a non-default one (D65)."""

    owner_id: UUID
    cause: Cause


@dataclass(frozen=True, slots=True)
class ChangeDetails:
    """By a rule: `fields` are codes of the template or of an address; those of an address need `address_type` (S59, S60)."""

    template: FieldSet
    fields: Texts
    cause: Cause
    address_type: str | None = None


@dataclass(frozen=True, slots=True)
class RestoreDetails:
    """Undo of the change that made version `if_version`; `before`: values by path, as that change said."""

    if_version: int
    before: Mapping[str, Any]
    cause: Cause


@dataclass(frozen=True, slots=True)
class RemoveDetails:
    cause: Cause


@dataclass(frozen=True, slots=True)
class DetailsCreated:
    details_id: UUID
    owner_type: str
    owner_id: UUID
    template_code: str
    is_default: bool
    fields: Texts
    addresses: Mapping[str, Texts]
    cause: Cause


@dataclass(frozen=True, slots=True)
class DetailsChanged:
    """The record after it, and what changed by path: a field's code, or `<address type>.<field>`.

    With `address_type` the paths of that address are the bare codes. `unchanged`: was_empty, new_value_empty or same."""

    owner_id: UUID
    is_default: bool
    fields: Texts
    addresses: Mapping[str, Texts]
    changes: Mapping[str, Change]
    cause: Cause
    address_type: str | None = None
    unchanged: Texts = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DetailsRemoved:
    cause: Cause


DetailsCommand = CreateDetails | EditDetails | StepDownDetails | MoveDetails | ChangeDetails | RestoreDetails | RemoveDetails
DetailsEvent = DetailsCreated | DetailsChanged | DetailsRemoved


@dataclass(frozen=True, slots=True)
class Details:
    details_id: UUID = NIL
    owner_type: str = "contact"
    owner_id: UUID = NIL
    template_code: str = ""
    is_default: bool = False
    fields: Texts = field(default_factory=dict)
    addresses: Mapping[str, Texts] = field(default_factory=dict)
    removed: bool = False
    version: int = 0
    last_address_type: str | None = None
    created_at: datetime = BEGINNING
    answered: frozenset[UUID] = frozenset()

    @property
    def exists(self) -> bool:
        return self.details_id != NIL

    def at(self, path: str) -> str:
        """The value at a full path; empty where there is none."""
        kind, dot, code = path.partition(".")
        return self.addresses.get(kind, EMPTY).get(code, "") if dot else self.fields.get(path, "")

    def having(self, values: Mapping[str, str]) -> Details:
        """With values at full paths; an empty one is taken out."""
        fields = dict(self.fields)
        addresses = {kind: dict(address) for kind, address in self.addresses.items()}
        for path, value in values.items():
            kind, dot, code = path.partition(".")
            _put(addresses.setdefault(kind, {}) if dot else fields, code if dot else path, value)
        return replace(self, fields=fields, addresses={kind: address for kind, address in addresses.items() if address})


def _put(texts: dict[str, str], code: str, value: str) -> None:
    texts.pop(code, None)
    if value:
        texts[code] = value


def decide(details: Details, command: DetailsCommand) -> Sequence[DetailsEvent]:
    if command.cause.request_id in details.answered:
        return []
    if isinstance(command, CreateDetails):
        return [] if details.exists else [_created(command)]
    if isinstance(command, RemoveDetails) and details.removed:
        return []
    _must_be_active(details)
    match command:
        case EditDetails():
            return _edited(details, command)
        case StepDownDetails(cause=cause):
            return [_changed(details, replace(details, is_default=False), cause)] if details.is_default else []
        case MoveDetails(owner_id=owner_id, cause=cause):
            moved = replace(details, owner_id=owner_id, is_default=False)
            return [] if details.owner_id == owner_id else [_changed(details, moved, cause)]
        case ChangeDetails():
            return [_renewed(details, command)]
        case RestoreDetails():
            return [_put_back(details, command)]
        case RemoveDetails(cause=cause):
            return [DetailsRemoved(cause)]
        case _:
            assert_never(command)


def evolve(details: Details, event: DetailsEvent) -> Details:
    known = replace(details, answered=answered(details.answered, event.cause), version=details.version + 1)
    match event:
        case DetailsCreated():
            return replace(
                known,
                details_id=event.details_id,
                owner_type=event.owner_type,
                owner_id=event.owner_id,
                template_code=event.template_code,
                is_default=event.is_default,
                fields=event.fields,
                addresses=event.addresses,
                created_at=event.cause.at,
            )
        case DetailsChanged():
            return replace(
                known,
                owner_id=event.owner_id,
                is_default=event.is_default,
                fields=event.fields,
                addresses=event.addresses,
                last_address_type=event.address_type,
            )
        case DetailsRemoved():
            return replace(known, removed=True, is_default=False)
        case _:
            assert_never(event)


DETAILS: Aggregate[Details, DetailsCommand, DetailsEvent] = Aggregate(
    "details", Details(), decide, evolve, (DetailsCreated, DetailsChanged, DetailsRemoved)
)


def _must_be_active(details: Details) -> None:
    if not details.exists or details.removed:
        raise NotFound("There is no such details record in this tenant.")


def _must_fit(template: FieldSet, owner_type: str) -> None:
    if not template.exists or template.kind != "details_template":
        raise Rejected("unknown_template", "There is no details template with this code.")
    if template.owner_type != PERSON_OR_COMPANY.get(owner_type):
        raise Rejected("template_of_other_owner_type", f"This template is for {template.owner_type} details.")


def _created(command: CreateDetails) -> DetailsCreated:
    _must_fit(command.template, command.owner_type)
    blank = Details(command.details_id, command.owner_type, command.owner_id, command.template_code)
    filled = blank.having(_given(command.template, command.fields, command.addresses))
    return DetailsCreated(
        filled.details_id,
        filled.owner_type,
        filled.owner_id,
        filled.template_code,
        command.is_default,
        filled.fields,
        filled.addresses,
        command.cause,
    )


def _given(template: FieldSet, fields: Mapping[str, Any], addresses: Mapping[str, Any]) -> dict[str, str]:
    """Texts by full path. Raises Rejected `validation_failed` (422), faults `unknown_field`, `wrong_type`, `too_long`."""
    found: dict[str, str] = {}
    faults: list[Fault] = []
    for code, value in fields.items():
        _take(found, faults, code, f"/fields/{code}", value, known=template.has(code))
    for kind, address in addresses.items():
        for code, value in _members(address, f"/addresses/{kind}").items():
            known = kind in ADDRESS_TYPES and code in ADDRESS_FIELDS
            _take(found, faults, f"{kind}.{code}", f"/addresses/{kind}/{code}", value, known=known)
    if faults:
        raise invalid(faults)
    return found


def _members(address: object, pointer: str) -> dict[str, Any]:
    try:
        return {} if address is None else custom_map(address)
    except Wrong as wrong:
        raise invalid([Fault(pointer, wrong.code, wrong.detail)]) from None


def _take(found: dict[str, str], faults: list[Fault], path: str, pointer: str, value: Any, *, known: bool) -> None:
    if not known:
        faults.append(Fault(pointer, "unknown_field", "The template has no such field."))
        return
    try:
        found[path] = "" if value is None else LONG_TEXT.read(value).strip()
    except Wrong as wrong:
        faults.append(Fault(pointer, wrong.code, wrong.detail))


def _edited(details: Details, command: EditDetails) -> Sequence[DetailsEvent]:
    given = _given(command.template, command.fields or {}, command.addresses or {})
    after = details.having(given)
    if command.is_default is not None:
        after = replace(after, is_default=command.is_default)
    return [] if after == details else [_changed(details, after, command.cause)]


def _changed(before: Details, after: Details, cause: Cause) -> DetailsChanged:
    paths = sorted(_paths(before) | _paths(after))
    changes = {path: Change(before.at(path), after.at(path)) for path in paths if before.at(path) != after.at(path)}
    return DetailsChanged(after.owner_id, after.is_default, after.fields, after.addresses, changes, cause)


def _paths(details: Details) -> set[str]:
    return set(details.fields) | {f"{kind}.{code}" for kind, address in details.addresses.items() for code in address}


def _renewed(details: Details, command: ChangeDetails) -> DetailsChanged:
    """Fields that hold a value change, the others are listed with the reason (S55, D45)."""
    paths = {code: _full_path(command, code) for code in command.fields}
    unchanged = {code: why for code, value in command.fields.items() if (why := _why_not(details.at(paths[code]), value))}
    values = {code: value for code, value in command.fields.items() if code not in unchanged}
    if not values:
        raise Rejected("nothing_to_change", "; ".join(f"{code}: {why}" for code, why in unchanged.items()) or "No field was named.")
    after = details.having({paths[code]: value for code, value in values.items()})
    changes = {code: Change(details.at(paths[code]), value) for code, value in values.items()}
    return DetailsChanged(
        after.owner_id, after.is_default, after.fields, after.addresses, changes, command.cause, command.address_type, unchanged
    )


def _full_path(command: ChangeDetails, code: str) -> str:
    if code not in ADDRESS_FIELDS:
        if not command.template.has(code):
            raise Rejected("unknown_field", f"The template has no field {code[:64]}.", status=422)
        return code
    if command.address_type is None:
        raise Rejected("address_type_missing", f"{code} is a field of an address: which type of address?")
    if command.address_type not in ADDRESS_TYPES:
        raise Rejected("unknown_field", f"There is no address type {command.address_type[:64]}.", status=422)
    return f"{command.address_type}.{code}"


def _why_not(before: str, value: str) -> str | None:
    if not before:
        return "was_empty"
    if not value.strip():
        return "new_value_empty"
    return "same" if value == before else None


def _put_back(details: Details, command: RestoreDetails) -> DetailsChanged:
    if details.version != command.if_version:
        raise Rejected("has_been_touched", "The record has changed since.")
    of_address = details.last_address_type
    before = {f"{of_address}.{path}" if of_address and path in ADDRESS_FIELDS else path: text for path, text in command.before.items()}
    after = details.having({path: str(text or "") for path, text in before.items()})
    if after == details:
        raise Rejected("nothing_to_change", "The record holds these values already.")
    return _changed(details, after, command.cause)
