"""Timer: rings once at a moment, or again and again. It does not know what it is for. (scheduler 2.1, D7, D8, D10, G24)

Firing is an event, hence happens exactly once with any number of tickers (R9). Nothing fires early."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, assert_never
from zoneinfo import ZoneInfo

from services.scheduler.domain.due import MILLISECOND, RESPONSIBLE_HOURS, Calendars, Due, Offset, When, bad_when, resolve
from services.scheduler.domain.origin import Origin
from services.scheduler.domain.repeat import cron
from shared.es.aggregate import Aggregate
from shared.es.errors import NotFound, Rejected

Status = Literal["none", "set", "waiting_hours", "fired", "missed", "cancelled"]
Misfire = Literal["skip", "one", "all"]

WAIT_LIMIT = 14 * 24 * 3600
PENDING: tuple[Status, ...] = ("set", "waiting_hours")


@dataclass(frozen=True, slots=True)
class Armed:
    """What a timer waits for: the expression, the moment, and the revisions of the calendars it was computed from.

    `at`: when somebody armed it or a calendar moved it; None where it follows from the occurrence before."""

    when: When
    due: Due
    company_revision: int
    responsible_revision: int
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SetTimer:
    """`max_lateness` and `wait_limit` in seconds. `about` is the record key of whoever waits, `owner` the asking service."""

    request_id: str
    owner: str
    about: str
    when: When
    calendars: Calendars
    at: datetime
    origin: Origin = field(default_factory=Origin)
    max_lateness: int | None = None
    wait_limit: int = WAIT_LIMIT
    repeat: str | None = None
    misfire: Misfire = "one"


@dataclass(frozen=True, slots=True)
class RearmTimer:
    """By message with a request id, by an operator without."""

    request_id: str | None
    when: When
    calendars: Calendars
    at: datetime
    origin: Origin = field(default_factory=Origin)


@dataclass(frozen=True, slots=True)
class CancelTimer:
    request_id: str | None
    reason: str
    origin: Origin = field(default_factory=Origin)
    by: str | None = None


@dataclass(frozen=True, slots=True)
class Fire:
    """The clock says so: `at` is the primary's."""

    at: datetime
    calendars: Calendars


@dataclass(frozen=True, slots=True)
class FireNow:
    """A person says so."""

    at: datetime
    calendars: Calendars
    by: str | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Recalculate:
    """A calendar has changed."""

    at: datetime
    calendars: Calendars


TimerCommand = SetTimer | RearmTimer | CancelTimer | Fire | FireNow | Recalculate


@dataclass(frozen=True, slots=True)
class TimerSet:
    request_id: str
    owner: str
    about: str
    armed: Armed
    origin: Origin
    max_lateness: int | None
    wait_limit: int
    repeat: str | None
    misfire: Misfire


@dataclass(frozen=True, slots=True)
class TimerRearmed:
    request_id: str | None
    armed: Armed
    origin: Origin


@dataclass(frozen=True, slots=True)
class TimerConfirmed:
    """Computed again from newer calendars, with the same outcome. Private."""

    armed: Armed


@dataclass(frozen=True, slots=True)
class TimerCancelled:
    request_id: str | None
    reason: str
    origin: Origin
    by: str | None


@dataclass(frozen=True, slots=True)
class TimerFired:
    """`again` is the next occurrence of a recurring timer, armed by the event that fires this one."""

    due_at: datetime
    fired_at: datetime
    lateness_ms: int
    origin: Origin
    early: bool = False
    by: str | None = None
    again: Armed | None = None


@dataclass(frozen=True, slots=True)
class TimerMissed:
    """Too late for its `max_lateness`, or an occurrence that its misfire policy skips."""

    due_at: datetime
    found_at: datetime
    max_lateness: int
    origin: Origin
    again: Armed | None = None


@dataclass(frozen=True, slots=True)
class TimerEscalated:
    """It has waited for the responsible person longer than `wait_limit`. Said once; it keeps waiting (D10)."""

    waiting_for: str
    waiting_since: datetime
    responsible_id: str | None
    origin: Origin


TimerEvent = TimerSet | TimerRearmed | TimerConfirmed | TimerCancelled | TimerFired | TimerMissed | TimerEscalated


@dataclass(frozen=True, slots=True)
class Timer:
    status: Status = "none"
    owner: str = ""
    about: str | None = None
    armed: Armed | None = None
    origin: Origin = field(default_factory=Origin)
    max_lateness: int | None = None
    wait_limit: int = WAIT_LIMIT
    repeat: str | None = None
    misfire: Misfire = "one"
    escalated: bool = False
    answered: str | None = None
    """The request that was answered last."""
    fired_at: datetime | None = None
    """When it fired or was found missed last."""
    fired_due_at: datetime | None = None
    lateness_ms: int | None = None
    reason: str | None = None

    @property
    def pending(self) -> bool:
        return self.status in PENDING

    def must_be_armed(self) -> Armed:
        """What it waits for. Raises Rejected: timer_unknown, timer_over."""
        if self.armed is None:
            raise NotFound("There is no such timer.", "timer_unknown")
        if not self.pending:
            raise Rejected("timer_over", f"The timer is over: {self.status}.")
        return self.armed

    @property
    def escalates_at(self) -> datetime | None:
        """When whoever waits has to be told that it takes too long; None: never, or told already."""
        if self.escalated or self.armed is None or self.armed.due.waiting_since is None:
            return None
        return self.armed.due.waiting_since + timedelta(seconds=self.wait_limit)

    @property
    def wakes_at(self) -> datetime | None:
        """When the ticker has to look at it, never before it was armed; None once it is over."""
        if self.armed is None or not self.pending:
            return None
        first = min(self.armed.due.due_at, self.escalates_at or self.armed.due.due_at)
        return max(first, self.armed.at or first)


def decide(timer: Timer, command: TimerCommand) -> Sequence[TimerEvent]:
    """Raises Rejected: bad_when, timer_unknown, timer_over. Setting a timer that exists does nothing."""
    match command:
        case SetTimer():
            return [] if timer.status != "none" else [_set(command)]
        case RearmTimer():
            return _rearmed(timer, command)
        case CancelTimer():
            return _cancelled(timer, command)
        case Fire():
            return _fired_by_clock(timer, command)
        case FireNow():
            return [_fired_by_hand(timer, command)]
        case Recalculate():
            return _recalculated(timer, command)
        case _:
            assert_never(command)


def arm(when: When, calendars: Calendars, now: datetime) -> Armed:
    due = resolve(when, calendars, now)
    return Armed(when, due, calendars.company.revision, calendars.responsible.revision)


def _armed_at(at: datetime, when: When, calendars: Calendars) -> Armed:
    return replace(arm(when, calendars, at), at=at)


def _set(command: SetTimer) -> TimerSet:
    if command.repeat is not None:
        cron(command.repeat)
    for name, seconds in (("max_lateness", command.max_lateness), ("wait_limit", command.wait_limit)):
        if seconds is not None and seconds < 0:
            raise bad_when(f"/{name}", "negative", "Seconds, zero or more.")
    armed = _armed_at(command.at, command.when, command.calendars)
    c = command
    return TimerSet(c.request_id, c.owner, c.about, armed, c.origin, c.max_lateness, c.wait_limit, c.repeat, c.misfire)


def _rearmed(timer: Timer, command: RearmTimer) -> Sequence[TimerEvent]:
    armed = timer.must_be_armed()
    if command.request_id is not None and (command.request_id, command.when) == (timer.answered, armed.when):
        return []
    return [TimerRearmed(command.request_id, _armed_at(command.at, command.when, command.calendars), command.origin)]


def _cancelled(timer: Timer, command: CancelTimer) -> Sequence[TimerEvent]:
    if timer.status == "cancelled" and command.request_id is not None and command.request_id == timer.answered:
        return []
    timer.must_be_armed()
    return [TimerCancelled(command.request_id, command.reason, command.origin, command.by)]


def _fired_by_clock(timer: Timer, command: Fire) -> Sequence[TimerEvent]:
    """What the clock brings: it rings, waits on for the person, or tells that it has waited too long."""
    if not timer.pending:
        return []
    now, armed, told = command.at, timer.must_be_armed(), _escalation(timer, command.at)
    if armed.due.due_at > now:
        return told
    if armed.when.follows_responsible:
        again = arm(armed.when, command.calendars, now)
        if again.due.due_at > now:
            return [*told, TimerRearmed(None, again, timer.origin)]
    return [_rung(timer, armed, command)]


def _escalation(timer: Timer, now: datetime) -> list[TimerEvent]:
    armed, at = timer.must_be_armed(), timer.escalates_at
    if at is None or at > now or armed.due.waiting_since is None:
        return []
    return [TimerEscalated(RESPONSIBLE_HOURS, armed.due.waiting_since, armed.when.responsible_id, timer.origin)]


def _rung(timer: Timer, armed: Armed, command: Fire) -> TimerFired | TimerMissed:
    """What was past already when it was armed is late only from then on (G16, D7)."""
    due_at, late = armed.due.due_at, command.at - armed.due.due_at
    again, skipped = _again(timer, armed, command.calendars, command.at)
    limit = timer.max_lateness
    too_late = limit is not None and command.at - max(due_at, armed.at or due_at) > timedelta(seconds=limit)
    if skipped or too_late:
        return TimerMissed(due_at, command.at, limit or 0, timer.origin, again)
    return TimerFired(due_at, command.at, late // MILLISECOND, timer.origin, again=again)


def _fired_by_hand(timer: Timer, command: FireNow) -> TimerFired:
    """A person decides: however late or early it is."""
    armed, now = timer.must_be_armed(), command.at
    again, _ = _again(timer, armed, command.calendars, now)
    due_at = armed.due.due_at
    late = max(now - due_at, timedelta()) // MILLISECOND
    return TimerFired(due_at, now, late, command.origin, due_at > now, command.by, again)


def _again(timer: Timer, armed: Armed, calendars: Calendars, now: datetime) -> tuple[Armed | None, bool]:
    """The next occurrence, counted from the scheduled time, and whether this one is to be skipped (misfire policy)."""
    if timer.repeat is None:
        return None, False
    zone = ZoneInfo(armed.due.zone)
    expression = cron(timer.repeat)
    following = expression.next_after(armed.due.due_at, zone)
    behind = following <= now
    if behind and timer.misfire != "all":
        following = expression.next_after(now, zone)
    when = replace(armed.when, mode="at", anchor_instant=following, anchor_date=None, offset=Offset(), local_time=None)
    return arm(when, calendars, now), behind and timer.misfire == "skip"


def _recalculated(timer: Timer, command: Recalculate) -> Sequence[TimerEvent]:
    if not timer.pending:
        return []
    armed = timer.must_be_armed()
    again = arm(armed.when, command.calendars, command.at)
    same = (armed.due.due_at, armed.due.waiting_for) == (again.due.due_at, again.due.waiting_for)
    if not same:
        return [TimerRearmed(None, replace(again, at=command.at), timer.origin)]
    current = (armed.company_revision, armed.responsible_revision) == (again.company_revision, again.responsible_revision)
    return [] if current else [TimerConfirmed(replace(again, at=armed.at))]


def evolve(timer: Timer, event: TimerEvent) -> Timer:
    match event:
        case TimerSet():
            return _born(event)
        case TimerRearmed():
            answered = timer.answered if event.request_id is None else event.request_id
            return replace(_armed(timer, event.armed), answered=answered)
        case TimerConfirmed():
            return replace(timer, armed=event.armed)
        case TimerCancelled():
            return replace(timer, status="cancelled", answered=event.request_id or timer.answered, reason=event.reason)
        case TimerFired():
            return _over(timer, "fired", event.due_at, event.fired_at, event.lateness_ms, event.again)
        case TimerMissed():
            late = (event.found_at - event.due_at) // MILLISECOND
            return _over(timer, "missed", event.due_at, event.found_at, late, event.again)
        case TimerEscalated():
            return replace(timer, escalated=True)
        case _:
            assert_never(event)


def _born(e: TimerSet) -> Timer:
    timer = Timer("none", e.owner, e.about, None, e.origin, e.max_lateness, e.wait_limit, e.repeat, e.misfire, answered=e.request_id)
    return _armed(timer, e.armed)


def _armed(timer: Timer, armed: Armed) -> Timer:
    still = timer.escalated and armed.due.waiting_for is not None
    return replace(timer, status="waiting_hours" if armed.due.waiting_for else "set", armed=armed, escalated=still)


def _over(timer: Timer, status: Status, due_at: datetime, at: datetime, late: int, again: Armed | None) -> Timer:
    rung = replace(timer, status=status, fired_at=at, fired_due_at=due_at, lateness_ms=late)
    return rung if again is None else _armed(rung, again)


TIMER: Aggregate[Timer, TimerCommand, TimerEvent] = Aggregate(
    "timer",
    Timer(),
    decide,
    evolve,
    (TimerSet, TimerRearmed, TimerConfirmed, TimerCancelled, TimerFired, TimerMissed, TimerEscalated),
)
