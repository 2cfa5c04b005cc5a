"""Fields as they come in JSON: what is readable, what is too long, and what a change really changes.

A change travels and is stored as JSON values, `{field: {before, after}}`; lists and maps as a whole."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Generic, TypeVar
from uuid import UUID
from zoneinfo import available_timezones

from shared.es.errors import Fault, Rejected

V = TypeVar("V")
F = TypeVar("F")

TITLE_LENGTH = 255
TEXT_LENGTH = 16 * 1024
"""Characters of a long text."""

NONE: Mapping[str, Any] = MappingProxyType({})
"""No values. For looking things up only: it has no JSON form, so it never goes into an event."""


class Wrong(Exception):
    """A value that cannot be read: `at` is a pointer below the field."""

    def __init__(self, code: str, detail: str, at: str = "") -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.at = at


@dataclass(frozen=True, slots=True)
class Change:
    """JSON values."""

    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class Kind(Generic[V]):
    """How a field is read from JSON (raises Wrong) and shown in it. Reading what was shown gives the same value."""

    read: Callable[[Any], V]
    show: Callable[[V], Any]


Kinds = Mapping[str, Kind[Any]]


def invalid(faults: Iterable[Fault]) -> Rejected:
    """The input itself is wrong: 422, one fault for each thing wrong with it."""
    every = tuple(faults)
    return Rejected("validation_failed", "; ".join(f"{f.pointer}: {f.detail}" for f in every), status=422, errors=every)


def read(kinds: Kinds, values: Mapping[str, Any], at: str = "") -> dict[str, Any]:
    """The values by field. Raises Rejected `validation_failed` (422) that names all that is wrong; `at` is their pointer."""
    found: dict[str, Any] = {}
    faults: list[Fault] = []
    for name, value in values.items():
        if name not in kinds:
            faults.append(Fault(f"{at}/{name}", "unknown_field", "There is no such field, or it cannot be set."))
            continue
        try:
            found[name] = kinds[name].read(value)
        except Wrong as wrong:
            faults.append(Fault(f"{at}/{name}{wrong.at}", wrong.code, wrong.detail))
    if faults:
        raise invalid(faults)
    return found


def difference(before: Any, after: Any, kinds: Kinds) -> dict[str, Change]:
    """What two records of the same fields differ in."""
    differing = (name for name in kinds if getattr(before, name) != getattr(after, name))
    return {name: Change(kinds[name].show(getattr(before, name)), kinds[name].show(getattr(after, name))) for name in differing}


def patched(fields: F, changes: Mapping[str, Change], kinds: Kinds) -> F:
    """The fields after the changes. A field that is no longer known is passed over."""
    values = {name: kinds[name].read(change.after) for name, change in changes.items() if name in kinds}
    return replace(fields, **values)  # type: ignore[type-var]  # F is always a dataclass; typing has no name for that


def shown(fields: Any, kinds: Kinds) -> dict[str, Any]:
    """The fields as JSON values."""
    return {name: kind.show(getattr(fields, name)) for name, kind in kinds.items()}


def same(value: V) -> V:
    return value


def _is(kind: type[V], word: str) -> Callable[[Any], V]:
    def read_it(value: Any) -> V:
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            raise Wrong("wrong_type", f"This must be {word}.")
        return value

    return read_it


_text = _is(str, "text")
_list: Callable[[Any], list[Any]] = _is(list, "a list")
_map: Callable[[Any], dict[str, Any]] = _is(dict, "an object")


def clean(value: Any, most: int = TEXT_LENGTH) -> str:
    """Text in NFC without control characters other than line feed and tab, at most `most` characters."""
    text = unicodedata.normalize("NFC", _text(value))
    if any(unicodedata.category(c) in ("Cc", "Cs") and c not in "\n\t" for c in text):
        raise Wrong("wrong_type", "Text may not hold control characters or lone surrogates.")
    if len(text) > most:
        raise Wrong("too_long", f"At most {most} characters.")
    return text


def _filled(value: Any) -> str:
    text = clean(value, TITLE_LENGTH).strip()
    if not text:
        raise Wrong("required", "This must not be empty.")
    return text


def optional(kind: Kind[V]) -> Kind[V | None]:
    return Kind(lambda v: None if v is None else kind.read(v), lambda v: None if v is None else kind.show(v))


def several(kind: Kind[V], most: int) -> Kind[tuple[V, ...]]:
    """A list without repetitions, in the order given."""

    def read_list(value: Any) -> tuple[V, ...]:
        items = _list(value)
        if len(items) > most:
            raise Wrong("too_many", f"At most {most}.")
        return tuple(dict.fromkeys(_at(n, kind.read, item) for n, item in enumerate(items)))

    return Kind(read_list, lambda items: [kind.show(item) for item in items])


def _at(n: int, read_one: Callable[[Any], V], item: Any) -> V:
    try:
        return read_one(item)
    except Wrong as wrong:
        raise Wrong(wrong.code, wrong.detail, f"/{n}{wrong.at}") from None


def choice(*members: str) -> Kind[str]:
    def read_choice(value: Any) -> str:
        if value not in members:
            raise Wrong("wrong_type", f"This must be one of {', '.join(members)}.")
        return str(value)

    return Kind(read_choice, same)


DECIMAL = re.compile(r"-?\d{1,15}(\.\d{1,6})?", re.ASCII)
CODE = re.compile(r"[a-z0-9]([a-z0-9_-]{0,62}[a-z0-9])?", re.ASCII)
EMAIL = re.compile(r"[^@\s\x00-\x1f<>\"]{1,64}@[^@\s\x00-\x1f<>\"]{1,189}")


def _decimal(value: Any) -> Decimal:
    if not DECIMAL.fullmatch(_text(value)):
        raise Wrong("bad_amount", "A decimal number as text, at most 15 digits before and 6 behind the point.")
    return Decimal(value)


def _uuid(value: Any) -> UUID:
    try:
        return UUID(_text(value))
    except ValueError:
        raise Wrong("wrong_type", "This must be a UUID.") from None


def _date(value: Any) -> date:
    try:
        return date.fromisoformat(_text(value))
    except ValueError:
        raise Wrong("wrong_type", "This must be a date, YYYY-MM-DD.") from None


def _instant(value: Any) -> datetime:
    try:
        at = datetime.fromisoformat(_text(value))
        return at.astimezone(UTC) if at.tzinfo else _without_offset()
    except (ValueError, OverflowError):
        raise Wrong("wrong_type", "This must be a time with its offset (RFC 3339).") from None


def _without_offset() -> datetime:
    raise ValueError("no offset")


def show_instant(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def _zone(value: Any) -> str:
    if _text(value) not in _zones():
        raise Wrong("unknown_zone", "This is not the name of a time zone.")
    return str(value)


def _code(value: Any) -> str:
    if not CODE.fullmatch(_text(value)):
        raise Wrong("wrong_type", "A code has small letters, digits, hyphens and underscores, at most 64.")
    return str(value)


def _email(value: Any) -> str:
    text = clean(value, TITLE_LENGTH).strip()
    if not EMAIL.fullmatch(text):
        raise Wrong("wrong_type", "This is not an e-mail address.")
    return text


NAME = Kind(_filled, same)
SHORT_TEXT = Kind(lambda v: clean(v, TITLE_LENGTH), same)
LONG_TEXT = Kind(clean, same)
FLAG: Kind[bool] = Kind(_is(bool, "true or false"), same)
ID = Kind(_uuid, str)
DAY = Kind(_date, date.isoformat)
INSTANT = Kind(_instant, show_instant)
NUMBER = Kind(_decimal, lambda d: f"{d:f}")
ZONE = Kind(_zone, same)
SLUG = Kind(_code, same)
E_MAIL = Kind(_email, same)
LANGUAGE = choice("de", "en")
MAP: Kind[Mapping[str, Any]] = Kind(_map, dict)
"""A map whose values somebody else has checked: custom fields by their field set."""


def custom_map(value: Any) -> dict[str, Any]:
    return _map(value)
