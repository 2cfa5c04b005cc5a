"""What the scheduler says and is asked (domain/scheduler.md section 8). Key: whoever waits, the element of an activity, the room."""

from __future__ import annotations

from typing import Literal

from shared.contracts.common import (
    Answer,
    Date,
    ElementRef,
    Fact,
    GivenElement,
    GivenInstant,
    Instant,
    Rejection,
    Request,
    Text,
    Uuid,
    Value,
    When,
    Whole,
    Zone,
)

COMMANDS = "scheduler.commands"
EVENTS = "scheduler.events"


# Commands


class SetTimer(Request, type="scheduler.SetTimer.v1", topic=COMMANDS, key=("about",)):
    """Wake me up; `about` is the element waited for, else the asker's own id. `timer_id` equals `request_id`. Answer: TimerSet.

    `max_lateness`, `wait_limit` in seconds; `repeat` is a cron line or RRULE; `repeat_misfire`: skip, one, all."""

    timer_id: Uuid
    about: Uuid
    owner: Text
    when: When
    max_lateness: Whole | None = None
    wait_limit: Whole | None = None
    repeat: Text | None = None
    repeat_misfire: Literal["skip", "one", "all"] | None = None


class RearmTimer(Request, type="scheduler.RearmTimer.v1", topic=COMMANDS, key=("about",)):
    """Wake me up at another time. Answer: TimerRearmed."""

    timer_id: Uuid
    about: Uuid
    when: When


class CancelTimer(Request, type="scheduler.CancelTimer.v1", topic=COMMANDS, key=("about",)):
    """Do not wake me up. Answer: TimerCancelled."""

    timer_id: Uuid
    about: Uuid
    reason: Text


class PlanActivity(Request, type="scheduler.PlanActivity.v1", topic=COMMANDS, key=("element.element_id", "activity_id")):
    """Plan an activity; `calendar`: it stands in the calendar too. `activity_id` equals `request_id`. Answer: ActivityPlanned.

    `reminders` in minutes before; `auto_complete`: done when the element leaves `visit_id` (D50)."""

    activity_id: Uuid
    element: GivenElement | None = None
    visit_id: Uuid | None = None
    name: Text
    description: Text
    deadline: When
    executed_at: GivenInstant
    fallback_zone: Zone | None = None
    duration_minutes: Whole | None = None
    responsible_id: Uuid
    colour: Text
    calendar: bool
    contact_ids: tuple[Uuid, ...] = ()
    invitee_ids: tuple[Uuid, ...] = ()
    address: Text | None = None
    room_id: Uuid | None = None
    on_room_conflict: Literal["mark", "fail"]
    link: Text | None = None
    file_ids: tuple[Uuid, ...] = ()
    reminders: tuple[Whole, ...] = ()
    auto_complete: bool


class RescheduleActivity(Request, type="scheduler.RescheduleActivity.v1", topic=COMMANDS, key=("element.element_id", "activity_id")):
    """Move an activity. Answer: ActivityRescheduled."""

    activity_id: Uuid
    element: GivenElement | None = None
    deadline: When
    executed_at: GivenInstant
    duration_minutes: Whole | None = None


class CompleteActivity(Request, type="scheduler.CompleteActivity.v1", topic=COMMANDS, key=("element.element_id", "activity_id")):
    """An activity is done. Answer: ActivityCompleted."""

    activity_id: Uuid
    element: GivenElement | None = None
    reason: Text


class CancelActivity(Request, type="scheduler.CancelActivity.v1", topic=COMMANDS, key=("element.element_id", "activity_id")):
    """An activity is off; `if_untouched`: only if no person worked on it. Answer: ActivityCancelled."""

    activity_id: Uuid
    element: GivenElement | None = None
    reason: Text
    if_untouched: bool


# Timers


class TimerArmedFact(Answer):
    """When a timer rings, and why then: `reasoning` is sentences, `local` the wall-clock time in `zone`."""

    timer_id: Uuid
    about: Uuid
    owner: str
    due_at: Instant
    local: str
    zone: Zone
    waiting_for: str | None = None
    reasoning: tuple[str, ...]


class TimerSet(TimerArmedFact, type="scheduler.TimerSet.v1", topic=EVENTS, key=("about",)):
    """A timer is set. Heard by automation."""


class TimerRearmed(TimerArmedFact, type="scheduler.TimerRearmed.v1", topic=EVENTS, key=("about",)):
    """A timer rings at another time. Heard by automation."""


class TimerFired(Fact, type="scheduler.TimerFired.v1", topic=EVENTS, key=("about",)):
    """A timer rang; `early`: a person (`by`) did not want to wait. Heard by automation."""

    timer_id: Uuid
    about: Uuid
    owner: str
    due_at: Instant
    fired_at: Instant
    lateness_ms: int
    early: bool
    by: Uuid | None = None


class TimerMissed(Fact, type="scheduler.TimerMissed.v1", topic=EVENTS, key=("about",)):
    """A timer was found more than `max_lateness` seconds late and did not ring (D7). Heard by automation."""

    timer_id: Uuid
    about: Uuid
    owner: str
    due_at: Instant
    found_at: Instant
    max_lateness: int


class TimerCancelled(Answer, type="scheduler.TimerCancelled.v1", topic=EVENTS, key=("about",)):
    """A timer will not ring. Heard by automation."""

    timer_id: Uuid
    about: Uuid
    owner: str
    reason: str
    by: Uuid | None = None


class TimerEscalated(Fact, type="scheduler.TimerEscalated.v1", topic=EVENTS, key=("about",)):
    """A timer waits longer than its limit for somebody's working hours (D10). Heard by automation."""

    timer_id: Uuid
    about: Uuid
    owner: str
    waiting_for: str
    waiting_since: Instant
    responsible_id: Uuid | None = None


# Calendars


class OpeningHours(Value):
    """Half open; `closes` may be 24:00."""

    opens: str
    closes: str


class Holiday(Value):
    date: Date
    name: str


class Absence(Value):
    starts_at: Instant
    ends_at: Instant


class CalendarChanged(Fact, type="scheduler.CalendarChanged.v1", topic=EVENTS, key=("employee_id", "calendar")):
    """A calendar, in full. `calendar`: company, employee. `weekly` maps mon to sun. `clock`: in, out. Heard by automation."""

    calendar: str
    employee_id: Uuid | None = None
    zone: Zone
    weekly: dict[str, tuple[OpeningHours, ...]]
    holidays: tuple[Holiday, ...]
    absences: tuple[Absence, ...]
    time_tracking: bool
    clock: str | None = None


# Activities


class ActivityFact(Answer):
    """An activity, in full. `room_state`: none, booked, conflict. `uid`, `ical_sequence` are the calendar entry's."""

    activity_id: Uuid
    element: ElementRef | None = None
    visit_id: Uuid | None = None
    name: str
    description: str
    starts_at: Instant
    ends_at: Instant
    local: str
    zone: Zone
    responsible_id: Uuid
    colour: str
    calendar: bool
    contact_ids: tuple[Uuid, ...]
    invitee_ids: tuple[Uuid, ...]
    address: str | None = None
    room_id: Uuid | None = None
    room_state: str
    link: str | None = None
    file_ids: tuple[Uuid, ...]
    auto_complete: bool
    uid: str
    ical_sequence: int


class ActivityBefore(Value):
    """What an activity was until now."""

    starts_at: Instant
    ends_at: Instant
    responsible_id: Uuid


class ActivityMovedFact(ActivityFact):
    """An activity, in full, and what it was before."""

    before: ActivityBefore
    added_invitees: tuple[Uuid, ...]
    removed_invitees: tuple[Uuid, ...]


class ActivityPlanned(ActivityFact, type="scheduler.ActivityPlanned.v1", topic=EVENTS, key=("element.element_id", "activity_id")):
    """An activity is planned. Heard by automation, deals, notifications."""


class ActivityRescheduled(
    ActivityMovedFact, type="scheduler.ActivityRescheduled.v1", topic=EVENTS, key=("element.element_id", "activity_id")
):
    """An activity has another time, or what invitees see is new. Heard by deals, notifications."""


class ActivityReassigned(
    ActivityMovedFact, type="scheduler.ActivityReassigned.v1", topic=EVENTS, key=("element.element_id", "activity_id")
):
    """An activity has another responsible person. Heard by deals, notifications."""


class ActivityCompleted(Answer, type="scheduler.ActivityCompleted.v1", topic=EVENTS, key=("element.element_id", "activity_id")):
    """An activity is done. `by`: person, automation. `calendar_entry`: kept, withdrawn. Heard by automation, deals, notifications."""

    activity_id: Uuid
    element: ElementRef | None = None
    by: str
    completed_at: Instant
    calendar_entry: str
    uid: str
    ical_sequence: int
    invitee_ids: tuple[Uuid, ...]
    name: str | None = None
    responsible_id: Uuid | None = None


class ActivityCancelled(Answer, type="scheduler.ActivityCancelled.v1", topic=EVENTS, key=("element.element_id", "activity_id")):
    """An activity is off. Heard by deals, notifications, automation."""

    activity_id: Uuid
    element: ElementRef | None = None
    reason: str
    uid: str
    ical_sequence: int
    invitee_ids: tuple[Uuid, ...]


class ActivityReminderDue(Fact, type="scheduler.ActivityReminderDue.v1", topic=EVENTS, key=("element.element_id", "activity_id")):
    """It is time to remind the responsible person. Heard by notifications."""

    activity_id: Uuid
    element: ElementRef | None = None
    name: str
    starts_at: Instant
    minutes_before: int
    responsible_id: Uuid


# Rooms


class RoomFact(Fact):
    """A room."""

    room_id: Uuid
    code: str
    name: str
    capacity: int | None = None
    location: str | None = None


class RoomAdded(RoomFact, type="scheduler.RoomAdded.v1", topic=EVENTS, key=("room_id",)):
    """A room exists. Heard by automation, notifications."""


class RoomChanged(RoomFact, type="scheduler.RoomChanged.v1", topic=EVENTS, key=("room_id",)):
    """A room's fields are new. Heard by automation, notifications."""


class RoomRetired(RoomFact, type="scheduler.RoomRetired.v1", topic=EVENTS, key=("room_id",)):
    """A room cannot be booked any more. Heard by automation."""


class BookingFact(Fact):
    """A booking, half open."""

    room_id: Uuid
    activity_id: Uuid
    starts_at: Instant
    ends_at: Instant
    conflicts_with: tuple[Uuid, ...]
    organiser_id: Uuid


class RoomBooked(BookingFact, type="scheduler.RoomBooked.v1", topic=EVENTS, key=("room_id",)):
    """A room is taken. Heard by outside."""


class RoomConflict(BookingFact, type="scheduler.RoomConflict.v1", topic=EVENTS, key=("room_id",)):
    """A room is taken twice, by `conflicts_with` too (D52). Heard by notifications."""


class RoomReleased(BookingFact, type="scheduler.RoomReleased.v1", topic=EVENTS, key=("room_id",)):
    """A room is free again. Heard by outside."""


# Rehearsals


class RehearsalClockMoved(Fact, type="scheduler.RehearsalClockMoved.v1", topic=EVENTS, key=("tenant_id",)):
    """The clock of a rehearsal was moved and stands still until the next move; `stood_at` is null before the first one.

    `heading_for` is later than `stands_at` where something rings on the way. Heard by all others."""

    tenant_id: Uuid
    stood_at: Instant | None = None
    stands_at: Instant
    heading_for: Instant


class CommandRejected(Rejection, type="scheduler.CommandRejected.v1", topic=EVENTS, key=("record_key",)):
    """The scheduler refused a command. Heard by automation, outside."""
