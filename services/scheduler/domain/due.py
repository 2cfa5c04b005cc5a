"""The one place of time arithmetic: from a `When` and two calendars to the moment something is due. (scheduler 5)

Timers and the deadlines of activities use it alike (G20). Wall times are kept with their zone; instants are UTC."""

from __future__ import annotations

from calendar import monthrange
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from services.scheduler.domain.calendar import Calendar, known_zone
from services.scheduler.domain.openings import DAY, HORIZON_DAYS, Openings, instant, wall_clock
from shared.es.errors import Fault, Rejected

Mode = Literal["after", "before", "at"]
WorkingHours = Literal["none", "company", "responsible"]

LONGEST = timedelta(days=20 * 366)
RESPONSIBLE_HOURS = "responsible_hours"
MILLISECOND = timedelta(milliseconds=1)


@dataclass(frozen=True, slots=True)
class Offset:
    """Seconds, minutes and hours are physical time; days, weeks and months are steps on the wall clock (D11). None is negative."""

    seconds: int = 0
    minutes: int = 0
    hours: int = 0
    days: int = 0
    weeks: int = 0
    months: int = 0


@dataclass(frozen=True, slots=True)
class When:
    """A time expression. Exactly one anchor; it has been resolved by whoever asks (arrival, previous rule, field, now).

    `zone` None is the zone of the company calendar."""

    mode: Mode
    anchor_instant: datetime | None = None
    anchor_date: date | None = None
    offset: Offset = field(default_factory=Offset)
    local_time: time | None = None
    zone: str | None = None
    working_hours: WorkingHours = "none"
    responsible_id: str | None = None

    @property
    def follows_company(self) -> bool:
        """Whether a change of the company calendar may move it."""
        return self.zone is None or self.working_hours != "none"

    @property
    def follows_responsible(self) -> bool:
        """Whether a change of the responsible person's calendar may move it."""
        return self.working_hours == "responsible" and self.responsible_id is not None


@dataclass(frozen=True, slots=True)
class Calendars:
    """What a moment is computed against: the company's calendar and the responsible person's.

    `company_zone` is the tenant's zone, used until a company calendar exists (F26)."""

    company: Calendar = field(default_factory=Calendar)
    responsible: Calendar = field(default_factory=Calendar)
    company_zone: str = "UTC"

    def zone_of(self, when: When) -> str:
        return when.zone or self.company.zone or self.company_zone

    def openings(self, when: When) -> Openings:
        zone = ZoneInfo(self.company.zone or self.company_zone)
        return Openings(self.company, self.responsible if when.follows_responsible else None, zone)


@dataclass(frozen=True, slots=True)
class Due:
    """`local` is the wall clock of `zone` at `due_at`. `waiting_since` is when it would have been due, had the person been there."""

    due_at: datetime
    local: str
    zone: str
    waiting_for: str | None
    reasoning: tuple[str, ...]
    waiting_since: datetime | None = None


def resolve(when: When, calendars: Calendars, now: datetime) -> Due:
    """The moment it is due, with a sentence for each step. Raises Rejected(bad_when), 422."""
    check(when)
    try:
        due = _resolved(when, calendars, now)
    except (OverflowError, ValueError):
        raise bad_when("/offset", "bad_when", "The moment lies beyond what a calendar holds.") from None
    if due.due_at > now + LONGEST:
        raise bad_when("/offset", "bad_when", "The moment lies more than 20 years ahead.")
    return due


def _resolved(when: When, calendars: Calendars, now: datetime) -> Due:
    zone = ZoneInfo(calendars.zone_of(when))
    openings = calendars.openings(when)
    why: list[str] = []
    anchor = _anchor(when, zone, why)
    backwards = when.mode == "before" and when.working_hours != "none"
    at = _pulled_back(anchor, openings, zone, why, "The anchor") if backwards else anchor
    at = _before(at, when, openings, zone, why) if when.mode == "before" else _after(at, when.offset, zone, why)
    at = _at_local_time(at, when.local_time, zone, why)
    if backwards:
        at = _within_hours(at, anchor, openings, zone, why)
    elif when.working_hours != "none":
        at = _moved_forward(at, when, calendars, zone, why)
    at = _whole_millisecond(at)
    ready = _responsible_ready(at, when, calendars, now, zone, why) if when.follows_responsible and not backwards else at
    why.append(f"Due at {_utc(ready)}." if ready > now else f"Due at {_utc(ready)}, not after now: at once.")
    waits = ready > at
    local = wall_clock(ready, zone).isoformat(timespec="seconds")
    return Due(ready, local, zone.key, RESPONSIBLE_HOURS if waits else None, tuple(why), at if waits else None)


def check(when: When) -> None:
    """Raises Rejected(bad_when) naming what is wrong."""
    if (when.anchor_instant is None) == (when.anchor_date is None):
        missing = when.anchor_instant is None
        raise bad_when("/anchor_instant", "anchor_missing" if missing else "two_anchors", "Exactly one anchor: an instant or a date.")
    if when.anchor_instant is not None and when.anchor_instant.tzinfo is None:
        raise bad_when("/anchor_instant", "bad_when", "An instant has an offset from UTC.")
    if min(_steps(when.offset)) < 0:
        raise bad_when("/offset", "negative_offset", "An offset is not negative; use mode before.")
    if when.zone is not None:
        _check_zone(when.zone)
    if when.mode == "at":
        _check_at(when)
    if when.working_hours == "responsible" and when.responsible_id is None:
        raise bad_when("/responsible_id", "responsible_missing", "Hours of the responsible person need that person.")


def _check_zone(name: str) -> None:
    try:
        known_zone(name, "/zone")
    except Rejected as refused:
        raise bad_when("/zone", "unknown_zone", refused.detail) from None


def _check_at(when: When) -> None:
    if when.local_time is None and when.anchor_date is not None:
        raise bad_when("/local_time", "local_time_missing", "A date alone is no moment: mode at needs a local time.")
    if when.offset != Offset(days=when.offset.days):
        raise bad_when("/offset", "offset_not_in_days", "Mode at takes an offset in days only.")


def bad_when(pointer: str, code: str, detail: str) -> Rejected:
    return Rejected("bad_when", detail, status=422, errors=[Fault(pointer, code, detail)])


def _steps(o: Offset) -> tuple[int, ...]:
    return (o.months, o.weeks, o.days, o.hours, o.minutes, o.seconds)


def _anchor(when: When, zone: ZoneInfo, why: list[str]) -> datetime:
    if when.anchor_date is not None:
        at = instant(datetime.combine(when.anchor_date, time()), zone)
    else:
        assert when.anchor_instant is not None
        at = when.anchor_instant.astimezone(UTC)
    why.append(f"The anchor is {_shown(at, zone)}.")
    return at


def _pulled_back(at: datetime, openings: Openings, zone: ZoneInfo, why: list[str], what: str) -> datetime:
    """To the nearest working day not after it, same wall clock (G18)."""
    wall = wall_clock(at, zone)
    if openings.is_working_day(wall.date()):
        return at
    day = openings.working_day_before(wall.date())
    back = instant(datetime.combine(day, wall.time()), zone)
    why.append(f"{what} is no working day: back to {_shown(back, zone)}.")
    return back


def _after(at: datetime, offset: Offset, zone: ZoneInfo, why: list[str]) -> datetime:
    if offset == Offset():
        return at
    wall = wall_clock(at, zone)
    days = timedelta(days=offset.days, weeks=offset.weeks)
    stepped = instant(_months(wall, offset.months) + days, zone) if offset.months or days else at
    moved = stepped + _physical(offset)
    why.append(f"{_named(offset)} after: {_shown(moved, zone)}.")
    return moved


def _before(at: datetime, when: When, openings: Openings, zone: ZoneInfo, why: list[str]) -> datetime:
    offset, working = when.offset, when.working_hours != "none"
    if offset == Offset():
        return at
    wall = _months(wall_clock(at, zone), -offset.months) - timedelta(weeks=offset.weeks)
    if working:
        wall = _working_days_back(wall, offset.days, openings)
    else:
        wall -= timedelta(days=offset.days)
    stepped = instant(wall, zone) if offset.months or offset.weeks or offset.days else at
    moved = stepped - _physical(offset)
    why.append(f"{_named(offset, working)} before: {_shown(moved, zone)}.")
    return moved


def _working_days_back(wall: datetime, days: int, openings: Openings) -> datetime:
    if days > HORIZON_DAYS:
        raise bad_when("/offset/days", "bad_when", f"At most {HORIZON_DAYS} working days are counted back.")
    day = wall.date()
    for _ in range(days):
        day = openings.working_day_before(day)
    return datetime.combine(day, wall.time())


def _months(wall: datetime, months: int) -> datetime:
    """Calendar months later or earlier; the end of a short month clamps (D11)."""
    count = wall.year * 12 + wall.month - 1 + months
    year, month = divmod(count, 12)
    return wall.replace(year=year, month=month + 1, day=min(wall.day, monthrange(year, month + 1)[1]))


def _physical(offset: Offset) -> timedelta:
    return timedelta(hours=offset.hours, minutes=offset.minutes, seconds=offset.seconds)


def _at_local_time(at: datetime, local: time | None, zone: ZoneInfo, why: list[str]) -> datetime:
    if local is None:
        return at
    moved = instant(datetime.combine(wall_clock(at, zone).date(), local), zone)
    why.append(f"At {local:%H:%M} local time: {_shown(moved, zone)}.")
    return moved


def _within_hours(at: datetime, anchor: datetime, openings: Openings, zone: ZoneInfo, why: list[str]) -> datetime:
    """Inside the hours of the working day reached; never past the anchor (rule 6, `before`)."""
    at = _pulled_back(at, openings, zone, why, "That")
    spans = openings.on(wall_clock(at, zone).date())
    inside = next((max(at, span.start) for span in spans if at < span.end), None)
    moved = openings.last_open_minute_before(at) if inside is None else inside
    if moved > anchor:
        moved = openings.last_open_minute_before(anchor)
    if moved != at:
        why.append(f"Within working hours: {_shown(moved, zone)}.")
    return moved


def _moved_forward(at: datetime, when: When, calendars: Calendars, zone: ZoneInfo, why: list[str]) -> datetime:
    """The next moment at which the company is open (D9)."""
    company = replace(calendars.openings(when), employee=None)
    moved = company.next_open(at) or at + HORIZON_DAYS * DAY
    if moved != at:
        why.append(f"The company is closed then; it opens at {_shown(moved, zone)}.")
    return moved


def _responsible_ready(at: datetime, when: When, calendars: Calendars, now: datetime, zone: ZoneInfo, why: list[str]) -> datetime:
    """The next moment at which the responsible person is there as well, as known now (D10)."""
    openings = calendars.openings(when)
    wanted = max(at, now)
    ready = openings.next_open(wanted)
    if ready is not None and ready <= now and calendars.responsible.time_tracking and calendars.responsible.clock == "out":
        ready = openings.next_opening(now)
    if ready is None:
        why.append(f"The responsible person is away for more than {HORIZON_DAYS} days.")
        return wanted + HORIZON_DAYS * DAY
    if ready <= wanted:
        return at
    why.append(f"The responsible person is not there then; expected at {_shown(ready, zone)}.")
    return ready


def _whole_millisecond(at: datetime) -> datetime:
    """Messages carry milliseconds. Rounded up, so that nothing is due early."""
    rest = at.microsecond % 1000
    return at if not rest else at - timedelta(microseconds=rest) + MILLISECOND


def _named(offset: Offset, working: bool = False) -> str:
    units = ("month", "week", "working day" if working else "day", "hour", "minute", "second")
    return " and ".join(f"{n} {unit}{'s' * (n > 1)}" for n, unit in zip(_steps(offset), units, strict=True) if n)


def _shown(at: datetime, zone: ZoneInfo) -> str:
    return f"{wall_clock(at, zone):%Y-%m-%d %H:%M:%S} {zone.key}"


def _utc(at: datetime) -> str:
    return f"{at.astimezone(UTC).replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"
