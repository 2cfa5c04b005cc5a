"""Business calendar: when a company works, when one of its employees does. (scheduler 2.2, G18, G19)

Streams: 'calendar-company', one per tenant, and 'calendar-<employee id>'. A calendar nobody has defined is always open."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from itertools import pairwise
from typing import Literal, assert_never
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from services.scheduler.domain.origin import Origin
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, NotFound, Rejected

COMPANY = "company"
MINUTES_OF_A_DAY = 24 * 60
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ABSENCES = 1000

Clock = Literal["in", "out"]


@dataclass(frozen=True, slots=True)
class Opening:
    """Minutes after local midnight, half open: 540 to 1080 is 09:00 to 18:00. `closes` may be 1440, which is 24:00."""

    opens: int
    closes: int


Week = tuple[tuple[Opening, ...], ...]
"""Seven days, Monday first."""


@dataclass(frozen=True, slots=True)
class Holiday:
    on: date
    name: str


@dataclass(frozen=True, slots=True)
class Absence:
    """From an instant to another, half open."""

    starts_at: datetime
    ends_at: datetime


@dataclass(frozen=True, slots=True)
class Calendar:
    """`week` is None for an employee who works the company's hours. A zone that is not the calendar's `own_zone` follows the
    employee's. `revision` counts the changes: what was computed from an older one is computed again."""

    defined: bool = False
    zone: str = ""
    own_zone: bool = True
    week: Week | None = None
    holidays: tuple[Holiday, ...] = ()
    holiday_region: str | None = None
    absences: tuple[Absence, ...] = ()
    time_tracking: bool = False
    clock: Clock = "in"
    revision: int = 0


@dataclass(frozen=True, slots=True)
class DefineCalendar:
    """Hours as a whole. `holidays` are all of them: those of the region, looked up by whoever asks, and those named one by one.

    `own_zone` False: the zone is the employee's and changes with it."""

    employee_id: str | None
    zone: str
    week: Week | None
    origin: Origin
    own_zone: bool = True
    holiday_region: str | None = None
    holidays: tuple[Holiday, ...] = ()
    time_tracking: bool = False


@dataclass(frozen=True, slots=True)
class AddHoliday:
    holiday: Holiday
    origin: Origin


@dataclass(frozen=True, slots=True)
class RemoveHoliday:
    on: date
    origin: Origin


@dataclass(frozen=True, slots=True)
class AddAbsence:
    """`zone` is the employee's: of the calendar that begins with it."""

    employee_id: str
    absence: Absence
    zone: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class RemoveAbsence:
    """`n` counts from 0 in the order of their beginning."""

    employee_id: str
    n: int
    origin: Origin


@dataclass(frozen=True, slots=True)
class ClockIn:
    employee_id: str
    zone: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class ClockOut:
    employee_id: str
    zone: str
    origin: Origin


@dataclass(frozen=True, slots=True)
class FollowEmployee:
    """The employee lives in another zone from now on."""

    employee_id: str
    zone: str
    origin: Origin


CalendarCommand = DefineCalendar | AddHoliday | RemoveHoliday | AddAbsence | RemoveAbsence | ClockIn | ClockOut | FollowEmployee


@dataclass(frozen=True, slots=True)
class CalendarChanged:
    """The whole calendar as it is from now on."""

    employee_id: str | None
    zone: str
    own_zone: bool
    week: Week | None
    holidays: tuple[Holiday, ...]
    holiday_region: str | None
    absences: tuple[Absence, ...]
    time_tracking: bool
    clock: Clock
    origin: Origin


def decide(calendar: Calendar, command: CalendarCommand) -> Sequence[CalendarChanged]:
    """Raises Rejected: unknown_zone, bad_interval, overlapping_hours, too_many; NotFound for a holiday or absence not there."""
    employee = None if isinstance(command, (AddHoliday, RemoveHoliday)) else command.employee_id
    changed = _changed(calendar, command)
    if changed == calendar and (calendar.defined or isinstance(command, FollowEmployee)):
        return []
    return [_said(changed, employee, command.origin)]


def _changed(calendar: Calendar, command: CalendarCommand) -> Calendar:
    match command:
        case DefineCalendar():
            return _defined(calendar, command)
        case AddHoliday(holiday=holiday):
            others = (h for h in _company(calendar).holidays if h.on != holiday.on)
            return replace(calendar, holidays=_in_order((*others, holiday)))
        case RemoveHoliday(on=on):
            return replace(calendar, holidays=_without(calendar.holidays, on))
        case AddAbsence(absence=absence, zone=zone):
            return replace(_begun(calendar, zone), absences=_with(calendar.absences, absence))
        case RemoveAbsence(n=n):
            return replace(calendar, absences=_without_absence(calendar.absences, n))
        case ClockIn(zone=zone):
            return replace(_begun(calendar, zone), clock="in")
        case ClockOut(zone=zone):
            return replace(_begun(calendar, zone), clock="out")
        case FollowEmployee(zone=zone):
            return calendar if calendar.own_zone else replace(calendar, zone=zone)
        case _:
            assert_never(command)


def _begun(calendar: Calendar, zone: str) -> Calendar:
    """An employee's calendar that nobody has defined yet: the company's hours."""
    return calendar if calendar.defined else replace(calendar, zone=zone, own_zone=False)


def _company(calendar: Calendar) -> Calendar:
    if not calendar.defined:
        raise NotFound("There is no company calendar yet.")
    return calendar


def _defined(calendar: Calendar, command: DefineCalendar) -> Calendar:
    known_zone(command.zone, "/zone")
    if command.employee_id is None and command.week is None:
        raise Rejected("bad_interval", "A company calendar has weekly hours.", status=422)
    if command.week is not None:
        checked(command.week)
    return replace(
        calendar,
        zone=command.zone,
        own_zone=command.own_zone,
        week=command.week,
        holidays=_in_order({h.on: h for h in command.holidays}.values()),
        holiday_region=command.holiday_region,
        time_tracking=command.time_tracking,
    )


def known_zone(name: str, pointer: str) -> ZoneInfo:
    """Raises Rejected(unknown_zone)."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        detail = f"There is no time zone {name[:80]!r}; use an IANA name such as Europe/Berlin."
        raise Rejected("unknown_zone", detail, status=422, errors=[Fault(pointer, "unknown_zone", detail)]) from None


def checked(week: Week) -> None:
    """Raises Rejected: bad_interval, overlapping_hours."""
    if len(week) != 7 or not any(week):
        raise Rejected("bad_interval", "A week has seven days, and at least one of them has hours.", status=422)
    for number, day in enumerate(week):
        for opening in day:
            if not 0 <= opening.opens < opening.closes <= MINUTES_OF_A_DAY:
                raise _bad("bad_interval", number, "Hours open before they close, between 00:00 and 24:00.")
        ordered = sorted(day, key=lambda o: o.opens)
        if any(later.opens < earlier.closes for earlier, later in pairwise(ordered)):
            raise _bad("overlapping_hours", number, "Hours of one day do not overlap.")


def _bad(code: str, day: int, detail: str) -> Rejected:
    pointer = f"/weekly/{WEEKDAYS[day]}"
    return Rejected(code, detail, status=422, errors=[Fault(pointer, code, detail)])


def _in_order(holidays: Iterable[Holiday]) -> tuple[Holiday, ...]:
    return tuple(sorted(holidays, key=lambda h: h.on))


def _without(holidays: tuple[Holiday, ...], on: date) -> tuple[Holiday, ...]:
    rest = tuple(h for h in holidays if h.on != on)
    if len(rest) == len(holidays):
        raise NotFound(f"{on} is no holiday.")
    return rest


def _without_absence(absences: tuple[Absence, ...], n: int) -> tuple[Absence, ...]:
    if not 0 <= n < len(absences):
        raise NotFound(f"There is no absence {n}.")
    return absences[:n] + absences[n + 1 :]


def _with(absences: tuple[Absence, ...], absence: Absence) -> tuple[Absence, ...]:
    if absence.starts_at >= absence.ends_at:
        raise Rejected("bad_interval", "An absence begins before it ends.", status=422)
    if len(absences) >= ABSENCES:
        raise Rejected("too_many", f"A calendar holds at most {ABSENCES} absences.", status=422)
    return tuple(sorted({*absences, absence}, key=lambda a: (a.starts_at, a.ends_at)))


def _said(c: Calendar, employee: str | None, origin: Origin) -> CalendarChanged:
    return CalendarChanged(employee, c.zone, c.own_zone, c.week, c.holidays, c.holiday_region, c.absences, c.time_tracking, c.clock, origin)


def evolve(calendar: Calendar, event: CalendarChanged) -> Calendar:
    return Calendar(
        defined=True,
        zone=event.zone,
        own_zone=event.own_zone,
        week=event.week,
        holidays=event.holidays,
        holiday_region=event.holiday_region,
        absences=event.absences,
        time_tracking=event.time_tracking,
        clock=event.clock,
        revision=calendar.revision + 1,
    )


CALENDAR = Aggregate("calendar", Calendar(), decide, evolve, (CalendarChanged,), read_by_others=True)


def clock_text(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def minutes_of(clock: str) -> int:
    """'09:30' is 570, '24:00' is 1440. The text has been checked."""
    hours, minutes = clock.split(":")
    return min(int(hours) * 60 + int(minutes), MINUTES_OF_A_DAY)


def weekly(week: Week | None) -> dict[str, list[dict[str, str]]] | None:
    if week is None:
        return None
    return {day: [_opening(o) for o in openings] for day, openings in zip(WEEKDAYS, week, strict=True)}


def _opening(o: Opening) -> dict[str, str]:
    return {"opens": clock_text(o.opens), "closes": clock_text(o.closes)}


def week_of(days: Mapping[str, Iterable[Mapping[str, str]]]) -> Week:
    """The other way round; a day that is left out is closed."""
    return tuple(tuple(Opening(minutes_of(o["opens"]), minutes_of(o["closes"])) for o in days.get(day, ())) for day in WEEKDAYS)
