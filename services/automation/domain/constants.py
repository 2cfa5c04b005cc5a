"""Constants and variables: typed values global to the tenant (automation 2.3, G35, D57).

Constants change by people only, variables also by the rule Change variable. The order of writes is the order of the stream."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Literal, assert_never

from shared.es.aggregate import Aggregate, Json
from shared.es.errors import Fault, Rejected

VALUE_TYPES = ("string", "text", "number", "money", "bool", "date", "datetime", "select", "user", "file", "url")
VISIBILITIES = ("everywhere", "crm", "deal", "lead")
LONGEST = 16_384


@dataclass(frozen=True, slots=True)
class DefineValue:
    """A new constant or variable. Asked twice: nothing."""

    kind: str
    code: str
    value_type: str
    multiple: bool
    visibility: str
    value: Any


@dataclass(frozen=True, slots=True)
class ChangeValue:
    """By a person. Type, multiplicity and visibility may be named, but not changed."""

    value: Any
    value_type: str | None = None
    multiple: bool | None = None
    visibility: str | None = None


@dataclass(frozen=True, slots=True)
class WriteValue:
    """By a rule: the text of its setting, of the variable's type already (`converted`)."""

    value: Any
    request_id: str
    origin: Json


@dataclass(frozen=True, slots=True)
class DeleteValue:
    """`used_by`: names of the rules that mention it."""

    used_by: tuple[str, ...] = ()


ValueCommand = DefineValue | ChangeValue | WriteValue | DeleteValue


@dataclass(frozen=True, slots=True)
class ValueDefined:
    kind: str
    code: str
    value_type: str
    multiple: bool
    visibility: str
    value: Any


@dataclass(frozen=True, slots=True)
class ValueChanged:
    """`request_id` is the rule's step, `origin` the rule; null when a person did it."""

    before: Any
    after: Any
    request_id: str | None = None
    origin: Json | None = None


@dataclass(frozen=True, slots=True)
class ValueDeleted:
    pass


ValueEvent = ValueDefined | ValueChanged | ValueDeleted


@dataclass(frozen=True, slots=True)
class Value:
    state: Literal["none", "defined", "deleted"] = "none"
    kind: str = ""
    code: str = ""
    value_type: str = "string"
    multiple: bool = False
    visibility: str = "everywhere"
    value: Any = None
    last_request: str | None = None
    last_before: Any = None
    """What the last write replaced, for the output `before` of the rule that wrote."""

    @property
    def path(self) -> str:
        """How placeholders name it."""
        return f"{'const' if self.kind == 'constant' else 'var'}.{self.code}"


def decide(value: Value, command: ValueCommand) -> Sequence[ValueEvent]:
    if isinstance(command, DefineValue):
        return _define(value, command)
    if value.state == "none":
        raise Rejected("not_found", "There is no such value.", status=404)
    if value.state == "deleted":
        if isinstance(command, DeleteValue):
            return []
        raise Rejected("value_deleted", "The value was deleted.")
    match command:
        case ChangeValue():
            return _change(value, command)
        case WriteValue():
            return _write(value, command)
        case DeleteValue(used_by=used_by):
            if used_by:
                raise Rejected("value_in_use", f"These rules use it: {', '.join(used_by)}.")
            return [ValueDeleted()]
        case _:
            assert_never(command)


def _define(value: Value, c: DefineValue) -> Sequence[ValueEvent]:
    _must_fit(c.value_type, c.multiple, c.value)
    same = (value.kind, value.code, value.value_type, value.multiple) == (c.kind, c.code, c.value_type, c.multiple)
    if value.state == "defined" and same:
        return []
    if value.state != "none":
        raise Rejected("id_taken", "Another value has this id.")
    return [ValueDefined(c.kind, c.code, c.value_type, c.multiple, c.visibility, c.value)]


def _change(value: Value, c: ChangeValue) -> Sequence[ValueEvent]:
    for name in ("value_type", "multiple", "visibility"):
        wanted = getattr(c, name)
        if wanted is not None and wanted != getattr(value, name):
            raise Rejected("type_is_fixed", f"{name} cannot change.", errors=(Fault(f"#/{name}", "type_is_fixed", "It is fixed."),))
    _must_fit(value.value_type, value.multiple, c.value)
    return [ValueChanged(value.value, c.value)] if c.value != value.value else []


def _write(value: Value, c: WriteValue) -> Sequence[ValueEvent]:
    if value.last_request == c.request_id:
        return []
    if value.kind == "constant":
        raise Rejected("constant_by_rule", "Rules change variables, not constants.")
    _must_fit(value.value_type, value.multiple, c.value)
    return [ValueChanged(value.value, c.value, c.request_id, c.origin)]


def _must_fit(value_type: str, multiple: bool, value: Any) -> None:
    if not fits(value_type, multiple, value):
        detail = f"This is no {'list of ' if multiple else ''}{value_type}."
        raise Rejected("wrong_type", detail, status=422, errors=(Fault("#/value", "wrong_type", detail),))


def fits(value_type: str, multiple: bool, value: Any) -> bool:
    """Whether a JSON value has the type; null is always allowed."""
    if value is None:
        return True
    if multiple:
        return isinstance(value, list) and len(value) <= 100 and all(v is not None and fits(value_type, False, v) for v in value)
    match value_type:
        case "bool":
            return isinstance(value, bool)
        case "number":
            return _is_number(value)
        case "money":
            return isinstance(value, dict) and set(value) == {"amount", "currency"} and _is_number(value["amount"])
        case "date" | "datetime":
            return _is_moment(value_type, value)
        case _:
            return isinstance(value, str) and len(value) <= LONGEST


def _is_number(value: Any) -> bool:
    try:
        return isinstance(value, str | int) and not isinstance(value, bool) and Decimal(value).is_finite()
    except InvalidOperation:
        return False


def _is_moment(value_type: str, value: Any) -> bool:
    try:
        parse = date.fromisoformat if value_type == "date" else datetime.fromisoformat
        return isinstance(value, str) and parse(value) is not None
    except ValueError:
        return False


def converted(value_type: str, multiple: bool, text: str) -> Any:
    """A rendered text as a value of the type. Raises ValueError when it is none."""
    if multiple:
        return [converted(value_type, False, part.strip()) for part in text.split(",") if part.strip()]
    plain = text.strip()
    if value_type == "bool":
        if plain.lower() not in BOOLEANS:
            raise ValueError(f"{plain} is neither yes nor no")
        return BOOLEANS[plain.lower()]
    if value_type == "money":
        amount, _, currency = plain.partition(" ")
        return _fitting(value_type, {"amount": amount, "currency": currency.strip()})
    return _fitting(value_type, text if value_type in ("string", "text") else plain)


BOOLEANS = {"true": True, "yes": True, "ja": True, "1": True, "false": False, "no": False, "nein": False, "0": False}


def _fitting(value_type: str, value: Any) -> Any:
    if not fits(value_type, False, value):
        raise ValueError(f"{value} is no {value_type}")
    return value


def evolve(value: Value, event: ValueEvent) -> Value:
    match event:
        case ValueDefined():
            return Value("defined", event.kind, event.code, event.value_type, event.multiple, event.visibility, event.value)
        case ValueChanged(before=before, after=after, request_id=request_id):
            return replace(value, value=after, last_request=request_id, last_before=before)
        case ValueDeleted():
            return replace(value, state="deleted")
        case _:
            assert_never(event)


VALUE: Aggregate[Value, ValueCommand, ValueEvent] = Aggregate(
    name="value",
    initial=Value(),
    decide=decide,
    evolve=evolve,
    events=(ValueDefined, ValueChanged, ValueDeleted),
    read_by_others=True,
)
