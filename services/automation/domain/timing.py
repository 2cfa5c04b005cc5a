"""Time expressions of rules (rule-format 4), turned into a When for the scheduler. No time is computed here (scheduler 5).

A timing is JSON: None or "immediate", `{after, offset}`, `{before, offset}`, `{at, time}` with the options of the format;
a deadline may also be `{day: today|tomorrow|+3d, time}`. A When is the JSON of the scheduler's contract."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Literal

from shared.es.aggregate import Json

Mode = Literal["after", "before", "at"]

UNITS: dict[str, str] = {"mo": "months", "w": "weeks", "d": "days", "h": "hours", "min": "minutes", "s": "seconds"}
SECONDS: dict[str, int] = {"months": 2_592_000, "weeks": 604_800, "days": 86_400, "hours": 3_600, "minutes": 60, "seconds": 1}
LONGEST = 20 * 366 * 86_400
"""The longest delay, in seconds: twenty years (scheduler 12)."""

_OFFSET = re.compile(r"(\d{1,9})(mo|min|w|d|h|s)")
_TIME = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_DAY = re.compile(r"\+(\d{1,4})d")


class BadTime(ValueError):
    """A time expression that is none. `code` as in rule-format 8."""

    def __init__(self, code: str, detail: str, pointer: str = "") -> None:
        super().__init__(detail)
        self.code, self.detail, self.pointer = code, detail, pointer


def parsed_offset(text: object) -> dict[str, int]:
    """'1d 2h' as {'days': 1, 'hours': 2}. Raises BadTime(bad_offset)."""
    parts = text.split() if isinstance(text, str) else []
    found: dict[str, int] = {}
    for part in parts:
        match = _OFFSET.fullmatch(part)
        if match is None or UNITS[match[2]] in found:
            raise BadTime("bad_offset", f"{text!r} is no offset; write it like 180d, 6mo or 1d 2h.")
        found[UNITS[match[2]]] = int(match[1])
    if not found or seconds_in(found) > LONGEST:
        raise BadTime("bad_offset", f"{text!r} is no offset of at most twenty years; write it like 180d, 6mo or 1d 2h.")
    return found


def seconds_in(offset: dict[str, int]) -> int:
    """Roughly, a month being 30 days: for limits, never for due times."""
    return sum(SECONDS[unit] * count for unit, count in offset.items())


def is_local_time(text: object) -> bool:
    return isinstance(text, str) and _TIME.fullmatch(text) is not None


def days_ahead(day: object) -> int:
    """'today', 'tomorrow' or '+3d' in days. Raises BadTime(bad_time)."""
    if day in ("today", "tomorrow"):
        return 0 if day == "today" else 1
    match = _DAY.fullmatch(day) if isinstance(day, str) else None
    if match is None:
        raise BadTime("bad_time", f"{day!r} is no day; write today, tomorrow or +3d.")
    return int(match[1])


def instant(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds, as all messages write it."""
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


@dataclass(frozen=True, slots=True)
class Anchors:
    """What a time expression may start from. `field` reads a path of the element; zones are IANA names, None is the company's."""

    arrival: str
    now: str
    field: Callable[[str], object]
    previous: str | None = None
    """End of the rule above."""
    pipeline_zone: str | None = None
    assignee_zone: str | None = None
    responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Nothing to wait for."""


@dataclass(frozen=True, slots=True)
class Wait:
    when: Json


@dataclass(frozen=True, slots=True)
class FieldEmpty:
    """The anchor field has no value (D6)."""

    path: str


Timed = AtOnce | Wait | FieldEmpty


def resolve(timing: Json | None, anchors: Anchors, *, after_previous: bool = False) -> Timed:
    """What the scheduler is asked for a delay. An offset of nothing without further options is at once (D8)."""
    if timing is None:
        return AtOnce()
    anchor = _anchor_of(timing, "previous" if after_previous else "arrival")
    if _waits_for_nothing(timing, anchor):
        return AtOnce()
    return _when(timing, anchor, anchors, zone=_zone(timing.get("zone", "pipeline"), anchors))


def resolve_deadline(deadline: Json, anchors: Anchors) -> Wait | FieldEmpty:
    """A deadline of an activity: zone of the assignee unless the text says otherwise (D13)."""
    zone = _zone(deadline.get("zone", "assignee"), anchors)
    if "day" in deadline:
        days = days_ahead(deadline["day"])
        return Wait(_made("after", anchors.now, {"days": days}, deadline, zone, anchors))
    resolved = _when(deadline, _anchor_of(deadline, "now"), anchors, zone=zone)
    assert not isinstance(resolved, AtOnce)
    return resolved


def _anchor_of(timing: Json, default: str) -> str:
    for mode in ("after", "before", "at"):
        if mode in timing:
            return str(timing[mode] or default)
    return default


def anchor_field(timing: Json | None) -> str | None:
    """The path of the date field a timing starts from, if it is one."""
    if timing is None or "day" in timing:
        return None
    anchor = _anchor_of(timing, "arrival")
    return None if anchor in ("arrival", "previous", "now") else anchor


def _waits_for_nothing(timing: Json, anchor: str) -> bool:
    plain = anchor in ("arrival", "previous") and "time" not in timing and timing.get("working_hours", "none") == "none"
    return plain and "after" in timing and seconds_in(parsed_offset(timing.get("offset", "0s"))) == 0


def _when(timing: Json, anchor: str, anchors: Anchors, *, zone: str | None) -> Wait | FieldEmpty:
    start = _start(anchor, anchors)
    if start is None:
        return FieldEmpty(anchor)
    mode: Mode = "at" if "at" in timing else "before" if "before" in timing else "after"
    offset = parsed_offset(timing["offset"]) if timing.get("offset") else None
    return Wait(_made(mode, start, offset, timing, zone, anchors))


def _start(anchor: str, anchors: Anchors) -> str | None:
    """An instant or a date, as text."""
    match anchor:
        case "arrival":
            return anchors.arrival
        case "previous":
            return anchors.previous or anchors.arrival
        case "now":
            return anchors.now
        case _:
            return moment(anchors.field(anchor))


def moment(value: object) -> str | None:
    """A field's value as an instant or a date; None when it is empty or neither."""
    if not isinstance(value, str) or not value:
        return None
    try:
        if len(value) == 10:
            return date.fromisoformat(value).isoformat()
        at = datetime.fromisoformat(value)
    except ValueError:
        return None
    return instant(at if at.tzinfo else at.replace(tzinfo=UTC))


def _made(mode: Mode, start: str, offset: dict[str, int] | None, options: Json, zone: str | None, anchors: Anchors) -> Json:
    when: dict[str, Any] = {"mode": mode, ("anchor_date" if len(start) == 10 else "anchor_instant"): start, "zone": zone}
    if offset:
        when["offset"] = offset
    if options.get("time"):
        when["local_time"] = options["time"]
    hours = options.get("working_hours", "none")
    if hours != "none":
        when["working_hours"] = hours
    if hours == "responsible":
        when["responsible_id"] = anchors.responsible_id
    return when


def _zone(option: str, anchors: Anchors) -> str | None:
    match option:
        case "pipeline":
            return anchors.pipeline_zone
        case "assignee":
            return anchors.assignee_zone or anchors.pipeline_zone
        case "company":
            return None
        case _:
            return option
