"""Fields that the rule Change field may set, and how a rendered text becomes a value of one (rules.md, Change field).

What a value must be exactly is decided by the owner of the element; here it is made into the JSON that the owner reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

from services.automation.domain.constants import BOOLEANS
from services.automation.domain.timing import instant
from shared.es.aggregate import Json


@dataclass(frozen=True, slots=True)
class FieldType:
    """`options`: of a select; none are known when a run converts, then the owner of the element decides."""

    field_type: str
    multiple: bool = False
    options: tuple[str, ...] = ()

    def pinned(self) -> Json:
        """As a reference of a published rule."""
        return {"field_type": self.field_type, "multiple": self.multiple}


_OF_ALL = {
    "title": FieldType("string"),
    "amount": FieldType("number"),
    "currency": FieldType("currency"),
    "observers": FieldType("user", multiple=True),
}
SETTABLE: Mapping[str, Mapping[str, FieldType]] = {
    "deal": {
        **_OF_ALL,
        "begin_date": FieldType("date"),
        "close_date": FieldType("date"),
        "loss_reason": FieldType("text"),
    },
    "lead": _OF_ALL,
}
"""Standard fields by element type; custom fields besides, as `uf.<code>`."""

ELSEWHERE = {"responsible": "change_responsible", "stage": "change_stage"}
"""Fields that have a rule type of their own."""

NAMES = {"observers": "observer_ids", "responsible": "responsible_id"}
"""What the owner calls them, where that differs."""

MOST_OF_ONE = 100
LONGEST = {"string": 255, "text": 16_384, "url": 16_384}


@dataclass(frozen=True, slots=True)
class Reading:
    """What turning a text into a value may need: the zone of times without one, the currency of bare amounts, people by name."""

    zone: ZoneInfo
    currency: str
    person: Callable[[str], str | None]


def converted(of: FieldType, text: str, reading: Reading) -> Any:
    """The value as JSON. Raises ValueError with a sentence."""
    if not of.multiple:
        return _one(of, text.strip(), reading)
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > MOST_OF_ONE:
        raise ValueError(f"at most {MOST_OF_ONE} values")
    return [_one(of, part, reading) for part in parts]


def _one(of: FieldType, text: str, reading: Reading) -> Any:
    match of.field_type:
        case "bool":
            return _bool(text)
        case "number":
            return _number(text)
        case "money":
            return _money(text, reading.currency)
        case "date":
            return _date(text, reading.zone)
        case "datetime":
            return instant(_moment(text, reading.zone))
        case "user":
            return _somebody(text, reading)
        case "select":
            return _choice(text, of.options)
        case "currency":
            return _shaped(text, re.compile(r"[A-Z]{3}"), "a currency like EUR")
        case "url":
            return _shaped(text, re.compile(r"https?://\S+"), "a web address")
        case _:
            return _text(of, text)


def _text(of: FieldType, text: str) -> str:
    if len(text) > LONGEST.get(of.field_type, 255):
        raise ValueError(f"at most {LONGEST.get(of.field_type, 255)} characters")
    return text


def _shaped(text: str, shape: re.Pattern[str], what: str) -> str:
    if not shape.fullmatch(text):
        raise ValueError(f"{text[:100]!r} is not {what}")
    return text


def _bool(text: str) -> bool:
    if text.lower() not in BOOLEANS:
        raise ValueError(f"{text[:100]!r} is neither yes nor no")
    return BOOLEANS[text.lower()]


def _number(text: str) -> str:
    try:
        number = Decimal(text)
    except InvalidOperation:
        raise ValueError(f"{text[:100]!r} is not a number") from None
    if not number.is_finite() or number.adjusted() > 15:
        raise ValueError(f"{text[:100]!r} is not a number of at most 15 digits")
    return f"{number:f}"


def _money(text: str, currency: str) -> Json:
    amount, _, named = text.partition(" ")
    return {"amount": _number(amount), "currency": named.strip() or currency}


def _moment(text: str, zone: ZoneInfo) -> datetime:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:100]!r} is not a date") from None
    return at if at.tzinfo else at.replace(tzinfo=zone)


def _date(text: str, zone: ZoneInfo) -> str:
    """The day of a moment is that in the zone."""
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError:
        return _moment(text, zone).astimezone(zone).date().isoformat()


def _somebody(text: str, reading: Reading) -> str:
    found = reading.person(text)
    if found is None:
        raise ValueError(f"{text[:100]!r} is no employee")
    return found


def _choice(text: str, options: tuple[str, ...]) -> str:
    if options and text not in options:
        raise ValueError(f"{text[:100]!r} is none of {', '.join(options)}")
    return text


def as_command(values: Mapping[str, Any]) -> Json:
    """Values by field as the owner's command has them: its names, custom fields as a map."""
    standard = {NAMES.get(name, name): value for name, value in values.items() if not name.startswith("uf.")}
    custom = {name.removeprefix("uf."): value for name, value in values.items() if name.startswith("uf.")}
    return standard | ({"custom": custom} if custom else {})


def changed_fields(changes: Mapping[str, tuple[Any, Any]]) -> list[str]:
    """Which fields a change (before, after) was about, as rules name them."""
    names = {theirs: ours for ours, theirs in NAMES.items()}
    standard = [names.get(name, name) for name in changes if names.get(name, name) in {*SETTABLE["deal"], "responsible"}]
    before, after = ((value or {}) for value in changes.get("custom", ({}, {})))
    custom = [f"uf.{code}" for code in {**before, **after} if before.get(code) != after.get(code)]
    return [*standard, *custom]
