"""The moments at which work may happen: a company's hours, narrowed to one employee's. (G18, G19, D9, D10)

Everything is computed in instants; a calendar's days are days of its own zone. Local times become instants in Python only,
with fold 0: in a gap and in an overlap the offset before the change applies (D12)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import cached_property
from typing import NamedTuple
from zoneinfo import ZoneInfo

from services.scheduler.domain.calendar import Calendar, Opening

HORIZON_DAYS = 400
"""Beyond this no opening is looked for."""
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


class Span(NamedTuple):
    """Two instants, half open."""

    start: datetime
    end: datetime


def instant(wall: datetime, zone: ZoneInfo) -> datetime:
    """The instant at which a clock in the zone shows this wall time, the first of two, the shifted one in a gap (D12)."""
    return wall.replace(tzinfo=zone, fold=0).astimezone(UTC)


def wall_clock(at: datetime, zone: ZoneInfo) -> datetime:
    """What a clock in the zone shows, without zone."""
    return at.astimezone(zone).replace(tzinfo=None, fold=0)


@dataclass(frozen=True)
class Openings:
    """`employee` None: only the company counts. `zone` is whose days are counted where the company has no calendar."""

    company: Calendar
    employee: Calendar | None
    zone: ZoneInfo

    @cached_property
    def company_zone(self) -> ZoneInfo:
        return ZoneInfo(self.company.zone) if self.company.zone else self.zone

    @cached_property
    def employee_zone(self) -> ZoneInfo:
        return ZoneInfo(self.employee.zone) if self.employee and self.employee.zone else self.company_zone

    @cached_property
    def _holidays(self) -> frozenset[date]:
        return frozenset(h.on for h in self.company.holidays)

    def on(self, day: date) -> list[Span]:
        """Open spans of a day, in order."""
        return narrowed(self._company_on(day), self.employee, self.employee_zone)

    def is_working_day(self, day: date) -> bool:
        return bool(self.on(day))

    def working_day_before(self, day: date) -> date:
        """The nearest earlier day with hours; the day itself minus the horizon where there is none."""
        for back in range(1, HORIZON_DAYS):
            if self.is_working_day(day - back * DAY):
                return day - back * DAY
        return day - HORIZON_DAYS * DAY

    def next_open(self, at: datetime) -> datetime | None:
        """The first open moment not before `at`, or None within the horizon."""
        return next((max(span.start, at) for span in self._from(at)), None)

    def next_opening(self, at: datetime) -> datetime | None:
        """The first moment after `at` at which somebody opens up: the beginning of a span."""
        return next((span.start for span in self._from(at) if span.start > at), None)

    def last_open_minute_before(self, at: datetime) -> datetime:
        """One minute before the end of what is open before `at`; `at` itself where nothing is within the horizon."""
        today = wall_clock(at, self.company_zone).date()
        for back in range(HORIZON_DAYS):
            for span in reversed(self.on(today - back * DAY)):
                if span.start < at:
                    return max(span.start, min(span.end, at) - MINUTE)
        return at

    def _from(self, at: datetime) -> Iterator[Span]:
        today = wall_clock(at, self.company_zone).date()
        for ahead in range(HORIZON_DAYS):
            yield from (span for span in self.on(today + ahead * DAY) if span.end > at)

    def _company_on(self, day: date) -> list[Span]:
        if not self.company.defined or self.company.week is None:
            return [_whole(day, self.company_zone)]
        if day in self._holidays:
            return []
        return _hours(day, self.company.week[day.weekday()], self.company_zone)


def narrowed(spans: list[Span], employee: Calendar | None, zone: ZoneInfo) -> list[Span]:
    """What of the company's spans an employee works: own weekly hours if there are any, never during an absence."""
    if employee is None or not spans:
        return spans
    if employee.week is not None:
        days = {wall_clock(edge, zone).date() for span in spans for edge in span}
        own = [hours for day in sorted(days) for hours in _hours(day, employee.week[day.weekday()], zone)]
        spans = [both for span in spans for hours in own if (both := _overlap(span, hours))]
    for absence in employee.absences:
        spans = [rest for span in spans for rest in _cut(span, Span(absence.starts_at, absence.ends_at))]
    return spans


def _whole(day: date, zone: ZoneInfo) -> Span:
    return Span(instant(datetime.combine(day, time()), zone), instant(datetime.combine(day + DAY, time()), zone))


def _hours(day: date, openings: tuple[Opening, ...], zone: ZoneInfo) -> list[Span]:
    midnight = datetime.combine(day, time())
    ordered = sorted(openings, key=lambda o: o.opens)
    spans = [Span(instant(midnight + o.opens * MINUTE, zone), instant(midnight + o.closes * MINUTE, zone)) for o in ordered]
    return [span for span in spans if span.start < span.end]


def _overlap(one: Span, other: Span) -> Span | None:
    both = Span(max(one.start, other.start), min(one.end, other.end))
    return both if both.start < both.end else None


def _cut(span: Span, hole: Span) -> list[Span]:
    parts = [Span(span.start, min(span.end, hole.start)), Span(max(span.start, hole.end), span.end)]
    return [part for part in parts if part.start < part.end] if _overlap(span, hole) else [span]
