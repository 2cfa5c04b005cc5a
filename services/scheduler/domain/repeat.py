"""Recurring timers: a cron expression of five fields, read on the wall clock of a zone. (scheduler 2.1, F22)

Minute, hour, day of the month, month, day of the week; lists, ranges, steps and English names. Where both days are
restricted either may match. A time in the gap of a change of clocks comes at the shifted time, one in the overlap once (D12)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

from services.scheduler.domain.openings import instant, wall_clock
from shared.es.errors import Fault, Rejected

DAYS_AHEAD = 9 * 366
"""29 February comes after eight years at the latest; a Friday the 29th is not looked for longer than that."""
MONTHS = {name: n for n, name in enumerate(("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1)}
WEEKDAYS = {name: n for n, name in enumerate(("sun", "mon", "tue", "wed", "thu", "fri", "sat"))}


@dataclass(frozen=True, slots=True)
class Cron:
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    either_day: bool

    def next_after(self, at: datetime, zone: ZoneInfo) -> datetime:
        """The first occurrence after an instant. Raises Rejected(bad_when) if there is none."""
        start = wall_clock(at, zone)
        for ahead in range(DAYS_AHEAD):
            day = start.date() + timedelta(days=ahead)
            if self._on(day.day, day.month, day.isoweekday() % 7):
                for moment in (instant(datetime.combine(day, time(h, m)), zone) for h in self.hours for m in self.minutes):
                    if moment > at:
                        return moment
        raise bad_repeat("The expression never matches.")

    def occurrences(self, at: datetime, zone: ZoneInfo) -> Iterator[datetime]:
        """All after an instant, one after the other."""
        while True:
            yield (at := self.next_after(at, zone))

    def _on(self, day: int, month: int, weekday: int) -> bool:
        if month not in self.months:
            return False
        by_day, by_weekday = day in self.days, weekday in self.weekdays
        return by_day or by_weekday if self.either_day else by_day and by_weekday


def cron(expression: str) -> Cron:
    """Raises Rejected(bad_when), 422, naming the field that is wrong."""
    parts = expression.lower().split()
    if len(parts) != 5:
        raise bad_repeat("A cron expression has five fields: minute, hour, day of the month, month, day of the week.")
    minute, hour, day, month, weekday = parts
    return Cron(
        minutes=tuple(sorted(_field(minute, 0, 59, {}))),
        hours=tuple(sorted(_field(hour, 0, 23, {}))),
        days=frozenset(_field(day, 1, 31, {})),
        months=frozenset(_field(month, 1, 12, MONTHS)),
        weekdays=frozenset(n % 7 for n in _field(weekday, 0, 7, WEEKDAYS)),
        either_day=not day.startswith("*") and not weekday.startswith("*"),
    )


def _field(text: str, low: int, high: int, names: dict[str, int]) -> set[int]:
    return {n for part in text.split(",") for n in _part(part, low, high, names)}


def _part(text: str, low: int, high: int, names: dict[str, int]) -> range:
    span, slash, step = text.partition("/")
    first, dash, last = span.partition("-")
    start = low if first == "*" else _number(first, names)
    if first == "*" or (slash and not dash):
        end = high
    else:
        end = _number(last, names) if dash else start
    by = _number(step, {}) if slash else 1
    if not low <= start <= end <= high or by < 1 or (first == "*" and dash):
        raise bad_repeat(f"{text!r} is outside {low} to {high}.")
    return range(start, end + 1, by)


def _number(text: str, names: dict[str, int]) -> int:
    if text in names:
        return names[text]
    if not (text.isascii() and text.isdigit() and len(text) <= 2):
        raise bad_repeat(f"{text[:20]!r} is no number here.")
    return int(text)


def bad_repeat(detail: str) -> Rejected:
    return Rejected("bad_when", detail, status=422, errors=[Fault("/repeat", "bad_repeat", detail)])
