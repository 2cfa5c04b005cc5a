"""What a called webhook may answer: values of the outputs that its rule declares (automation 5.2, G38, G51-G53)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

from services.automation.domain.timing import instant, parsed_offset, seconds_in
from shared.es.aggregate import Json
from shared.es.errors import Fault, Rejected

TYPES = ("bool", "date", "datetime", "double", "file", "int", "select", "string", "text", "user")
MOST_VALUES = 100
LARGEST = 64 * 1024
"""Bytes of all outputs of a run."""


@dataclass(frozen=True, slots=True)
class Meant:
    """Whom and what the values name: ids of employees by `user:<code>` and id, ids of files that are there."""

    people: Mapping[str, str] = field(default_factory=dict)
    files: frozenset[str] = frozenset()


def declared(given: object) -> tuple[Json, ...]:
    """The outputs of a rule's settings with every default filled in; what is none is left out."""
    found = given if isinstance(given, list | tuple) else ()
    return tuple({"required": False, "multiple": False, **one} for one in found if isinstance(one, dict) and {"name", "type"} <= one.keys())


def expiry(asked_at: str, timeout: str) -> str:
    """The moment from which on nobody waits for the answer any more."""
    return instant(datetime.fromisoformat(asked_at) + timedelta(seconds=seconds_in(parsed_offset(timeout))))


def matched(outputs: Sequence[Json], given: Mapping[str, Any], meant: Meant) -> Json:
    """The values by name. Raises Rejected `validation_failed` (422), which names everything that does not fit."""
    faults: list[Fault] = []
    values = {one["name"]: _read(one, given.get(one["name"]), meant, faults) for one in outputs}
    names = ", ".join(one["name"] for one in outputs) or "none"
    unknown = (name for name in given if name not in values)
    faults += [Fault(_at(name), "unknown_output", f"The rule declares no output {name[:100]}; there are {names}.") for name in unknown]
    found = {name: value for name, value in values.items() if value is not None}
    if len(json.dumps(found, ensure_ascii=False).encode()) > LARGEST:
        faults.append(Fault("#/outputs", "too_long", f"The outputs of a run have at most {LARGEST} bytes."))
    if faults:
        raise Rejected("validation_failed", "; ".join(f"{f.pointer}: {f.detail}" for f in faults), status=422, errors=faults)
    return found


def _at(name: str) -> str:
    return "#/outputs/" + name.replace("~", "~0").replace("/", "~1")


def _read(one: Json, value: Any, meant: Meant, faults: list[Fault]) -> Any:
    if value is None or value == []:
        if one["required"]:
            faults.append(Fault(_at(one["name"]), "setting_required", "This output is required."))
        return None
    try:
        return _several(one["type"], value, meant) if one["multiple"] else READERS[one["type"]](value, meant)
    except ValueError as wrong:
        faults.append(Fault(_at(one["name"]), "wrong_type", str(wrong)))
        return None


def _several(of: str, value: Any, meant: Meant) -> list[Any]:
    if not isinstance(value, list) or len(value) > MOST_VALUES:
        raise ValueError(f"This is a list of at most {MOST_VALUES}.")
    return [READERS[of](item, meant) for item in value]


def _bool(value: Any, meant: Meant) -> bool:
    if not isinstance(value, bool):
        raise ValueError("This is true or false.")
    return value


def _date(value: Any, meant: Meant) -> str:
    try:
        return date.fromisoformat(_string(value, meant)).isoformat()
    except ValueError:
        raise ValueError("This is a date, YYYY-MM-DD.") from None


def _datetime(value: Any, meant: Meant) -> str:
    try:
        at = datetime.fromisoformat(_string(value, meant))
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise ValueError("This is a time with its offset (RFC 3339).")
    return instant(at)


def _double(value: Any, meant: Meant) -> str:
    """As decimal text: exact, and read by conditions as a number."""
    is_number = isinstance(value, int | float | str) and not isinstance(value, bool)
    try:
        number = Decimal(str(value)) if is_number else None
    except InvalidOperation:
        number = None
    if number is None or not number.is_finite() or abs(number.adjusted()) > 30:
        raise ValueError("This is a number.")
    return f"{number:f}"


def _int(value: Any, meant: Meant) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise ValueError("This is a whole number.")
    return value


def _string(value: Any, meant: Meant) -> str:
    return _text_of(value, 255)


def _text(value: Any, meant: Meant) -> str:
    return _text_of(value, 16_384)


def _text_of(value: Any, most: int) -> str:
    if not isinstance(value, str) or len(value) > most:
        raise ValueError(f"This is text of at most {most} characters.")
    return value


def _user(value: Any, meant: Meant) -> str:
    if not isinstance(value, str) or value not in meant.people:
        raise ValueError("This is an employee: user:<code>, or the id of one.")
    return meant.people[value]


def _file(value: Any, meant: Meant) -> str:
    if not isinstance(value, str) or value not in meant.files:
        raise ValueError("This is the id of a file that is there.")
    return value


READERS: dict[str, Callable[[Any, Meant], Any]] = {
    "bool": _bool,
    "date": _date,
    "datetime": _datetime,
    "double": _double,
    "file": _file,
    "int": _int,
    "select": _string,
    "string": _string,
    "text": _text,
    "user": _user,
}
