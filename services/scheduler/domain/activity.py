"""Activity: an appointment, a call, a task; with calendar entry, invitees, room, colour and reminders. (scheduler 2.3, S93-S114)

An activity with `calendar` is its own calendar entry: same colour, same moment (S102). `ical_sequence` rises with whatever
invitees have to hear (D53). Reminders are moments of the activity itself, so they move and end with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal, assert_never, get_args
from zoneinfo import ZoneInfo

from services.scheduler.domain.due import Calendars, Due, When, resolve
from services.scheduler.domain.openings import instant, wall_clock
from services.scheduler.domain.origin import Origin
from services.scheduler.domain.room import RoomState
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, NotFound, Rejected

Status = Literal["none", "planned", "completed", "cancelled"]
Colour = Literal["default", "red", "orange", "yellow", "green", "blue", "violet", "grey"]
COLOURS: tuple[str, ...] = get_args(Colour)

HOUR = 60
MOST = {"invitee_ids": 50, "contact_ids": 50, "file_ids": 20, "reminders": 5}
LONGEST_TEXT = {"name": 255, "description": 16 * 1024, "address": 255, "link": 2000}
LONGEST_REMINDER = 40_320


@dataclass(frozen=True, slots=True)
class Element:
    element_type: str
    element_id: str


@dataclass(frozen=True, slots=True)
class Details:
    """What a person fills in. Text is finished; who is meant has been resolved by whoever asks (D54)."""

    name: str
    responsible_id: str
    description: str = ""
    duration_minutes: int = HOUR
    colour: str = "default"
    calendar: bool = False
    contact_ids: tuple[str, ...] = ()
    invitee_ids: tuple[str, ...] = ()
    address: str | None = None
    room_id: str | None = None
    link: str | None = None
    file_ids: tuple[str, ...] = ()
    reminders: tuple[int, ...] = ()
    auto_complete: bool = False

    @property
    def duration(self) -> timedelta:
        return timedelta(minutes=self.duration_minutes)

    def as_invitees_see(self) -> tuple[object, ...]:
        return (self.name, self.description, self.duration_minutes, self.invitee_ids, self.address, self.room_id, self.link)


@dataclass(frozen=True, slots=True)
class Moment:
    """When it begins: the instant, and what the clock of the zone shows then (D13)."""

    starts_at: datetime
    local: str
    zone: str
    reasoning: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Before:
    """What an activity was before a change."""

    starts_at: datetime
    ends_at: datetime
    responsible_id: str
    invitee_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PlanActivity:
    """`at` is the moment of execution: "tomorrow" counts from its local date (D13). `room_state` is what the room said."""

    request_id: str | None
    element: Element | None
    visit_id: str | None
    details: Details
    deadline: When
    calendars: Calendars
    at: datetime
    origin: Origin
    room_state: RoomState = "none"


@dataclass(frozen=True, slots=True)
class RescheduleActivity:
    request_id: str | None
    deadline: When
    calendars: Calendars
    at: datetime
    origin: Origin
    duration_minutes: int | None = None
    room_state: RoomState | None = None
    """None: it has no room."""


@dataclass(frozen=True, slots=True)
class ChangeActivity:
    """All details as they are from now on; the responsible person is changed by ReassignActivity."""

    details: Details
    at: datetime
    origin: Origin
    room_state: RoomState = "none"


@dataclass(frozen=True, slots=True)
class ReassignActivity:
    """With `keep_local_time` the wall clock moves along into the new person's zone (D13b)."""

    responsible_id: str
    at: datetime
    origin: Origin
    keep_local_time: bool = False
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class CompleteActivity:
    request_id: str | None
    at: datetime
    origin: Origin


@dataclass(frozen=True, slots=True)
class CancelActivity:
    """`if_untouched` refuses when a person has changed it: for undo."""

    request_id: str | None
    reason: str
    at: datetime
    origin: Origin
    if_untouched: bool = False


@dataclass(frozen=True, slots=True)
class Remind:
    """The clock says so: `at` is the primary's."""

    at: datetime


ActivityCommand = PlanActivity | RescheduleActivity | ChangeActivity | ReassignActivity | CompleteActivity | CancelActivity | Remind


@dataclass(frozen=True, slots=True)
class ActivityPlanned:
    request_id: str | None
    element: Element | None
    visit_id: str | None
    details: Details
    moment: Moment
    room_state: RoomState
    at: datetime
    origin: Origin


@dataclass(frozen=True, slots=True)
class ActivityRescheduled:
    """Moved, or changed in what invitees see. The sequence of the calendar entry rises."""

    request_id: str | None
    details: Details
    moment: Moment
    room_state: RoomState
    before: Before
    at: datetime
    origin: Origin


@dataclass(frozen=True, slots=True)
class ActivityChanged:
    """Changed in what only we see. Private."""

    details: Details
    at: datetime
    origin: Origin


@dataclass(frozen=True, slots=True)
class ActivityReassigned:
    details: Details
    moment: Moment
    before: Before
    at: datetime
    origin: Origin


@dataclass(frozen=True, slots=True)
class ActivityCompleted:
    """`withdrawn`: its entry in the calendar, or in invitees' calendars, lies in the future; they are told that it is off (D50)."""

    request_id: str | None
    by: Literal["person", "automation"]
    withdrawn: bool
    at: datetime
    origin: Origin


@dataclass(frozen=True, slots=True)
class ActivityCancelled:
    request_id: str | None
    reason: str
    at: datetime
    origin: Origin


@dataclass(frozen=True, slots=True)
class ActivityReminded:
    """The nearest reminder that is due; those before it that were due as well are left out."""

    minutes_before: int
    at: datetime
    origin: Origin


ActivityEvent = (
    ActivityPlanned | ActivityRescheduled | ActivityChanged | ActivityReassigned | ActivityCompleted | ActivityCancelled | ActivityReminded
)


@dataclass(frozen=True, slots=True)
class Activity:
    status: Status = "none"
    element: Element | None = None
    visit_id: str | None = None
    details: Details = field(default_factory=lambda: Details("", ""))
    moment: Moment | None = None
    room_state: RoomState = "none"
    ical_sequence: int = 0
    reminders_left: tuple[int, ...] = ()
    touched: bool = False
    """A person has changed it since it was planned."""
    origin: Origin = field(default_factory=Origin)
    planned_at: datetime | None = None
    ended_at: datetime | None = None
    ended_because: str | None = None
    answered: str | None = None

    @property
    def exists(self) -> bool:
        return self.status != "none"

    @property
    def starts_at(self) -> datetime | None:
        return None if self.moment is None else self.moment.starts_at

    @property
    def ends_at(self) -> datetime | None:
        return None if self.moment is None else self.moment.starts_at + self.details.duration

    @property
    def reminds_at(self) -> datetime | None:
        """The next reminder's moment."""
        if self.moment is None or self.status != "planned" or not self.reminders_left:
            return None
        return self.moment.starts_at - timedelta(minutes=max(self.reminders_left))

    def must_be_planned(self) -> Moment:
        """Raises Rejected(activity_over); NotFound where there is none."""
        if self.moment is None:
            raise NotFound("There is no such activity.", "activity_unknown")
        if self.status != "planned":
            raise Rejected("activity_over", f"The activity is over: {self.status}.")
        return self.moment

    def as_before(self) -> Before:
        moment = self.must_be_planned()
        return Before(moment.starts_at, moment.starts_at + self.details.duration, self.details.responsible_id, self.details.invitee_ids)


def decide(activity: Activity, command: ActivityCommand) -> Sequence[ActivityEvent]:
    """Raises Rejected: deadline_missing, bad_when, unknown_colour, too_many, activity_over, has_been_touched."""
    match command:
        case PlanActivity():
            return _planned(activity, command)
        case RescheduleActivity():
            return _rescheduled(activity, command)
        case ChangeActivity():
            return _changed(activity, command)
        case ReassignActivity():
            return _reassigned(activity, command)
        case CompleteActivity():
            return _completed(activity, command)
        case CancelActivity():
            return _cancelled(activity, command)
        case Remind():
            return _reminded(activity, command)
        case _:
            assert_never(command)


def moment_of(deadline: When, calendars: Calendars, at: datetime) -> Moment:
    """When an activity with this deadline begins. Raises Rejected: deadline_missing, bad_when."""
    if deadline.anchor_instant is None and deadline.anchor_date is None:
        detail = "The deadline is missing or could not be resolved."
        raise Rejected("deadline_missing", detail, errors=[Fault("/deadline", "deadline_missing", detail)])
    return _moment(resolve(deadline, calendars, at))


def _moment(due: Due) -> Moment:
    return Moment(due.due_at, due.local, due.zone, due.reasoning)


def checked(details: Details) -> Details:
    """Raises Rejected: unknown_colour, too_many, too_large, validation_failed."""
    if not details.name.strip():
        raise _bad("validation_failed", "/name", "An activity has a name.")
    for name, most in LONGEST_TEXT.items():
        if len(getattr(details, name) or "") > most:
            raise _bad("too_large", f"/{name}", f"At most {most} characters.")
    if details.colour not in COLOURS:
        raise _bad("unknown_colour", "/colour", f"Colours are {', '.join(COLOURS)}.")
    for name, most in MOST.items():
        if len(getattr(details, name)) > most:
            raise _bad("too_many", f"/{name}", f"At most {most}.")
    if any(not 0 <= minutes <= LONGEST_REMINDER for minutes in details.reminders):
        raise _bad("validation_failed", "/reminders", f"A reminder comes 0 to {LONGEST_REMINDER} minutes before.")
    if not 1 <= details.duration_minutes <= 7 * 24 * HOUR:
        raise _bad("validation_failed", "/duration_minutes", "An activity lasts one minute to seven days.")
    return details


def _bad(code: str, pointer: str, detail: str) -> Rejected:
    return Rejected(code, detail, status=422, errors=[Fault(pointer, code, detail)])


def _planned(activity: Activity, c: PlanActivity) -> Sequence[ActivityEvent]:
    if activity.exists:
        return []
    moment = moment_of(c.deadline, c.calendars, c.at)
    return [ActivityPlanned(c.request_id, c.element, c.visit_id, checked(c.details), moment, c.room_state, c.at, c.origin)]


def _rescheduled(activity: Activity, c: RescheduleActivity) -> Sequence[ActivityEvent]:
    before = activity.as_before()
    moment = moment_of(c.deadline, c.calendars, c.at)
    details = replace(activity.details, duration_minutes=c.duration_minutes or activity.details.duration_minutes)
    if (before.starts_at, activity.details) == (moment.starts_at, details):
        return _unmoved(activity, c)
    room = activity.room_state if c.room_state is None else c.room_state
    return [ActivityRescheduled(c.request_id, checked(details), moment, room, before, c.at, c.origin)]


def _unmoved(activity: Activity, c: RescheduleActivity) -> Sequence[ActivityEvent]:
    """A person's request succeeds as it is; another service's new request is refused, so that it waits for nothing (F24)."""
    if c.request_id is None or c.request_id == activity.answered:
        return []
    raise Rejected("nothing_to_change", "The activity begins at that moment already.")


def _changed(activity: Activity, c: ChangeActivity) -> Sequence[ActivityEvent]:
    before, moment = activity.as_before(), activity.must_be_planned()
    details = checked(replace(c.details, responsible_id=activity.details.responsible_id))
    if details == activity.details:
        return []
    if details.as_invitees_see() == activity.details.as_invitees_see():
        return [ActivityChanged(details, c.at, c.origin)]
    return [ActivityRescheduled(None, details, moment, c.room_state, before, c.at, c.origin)]


def _reassigned(activity: Activity, c: ReassignActivity) -> Sequence[ActivityEvent]:
    before, moment = activity.as_before(), activity.must_be_planned()
    if c.responsible_id == activity.details.responsible_id:
        return []
    details = replace(activity.details, responsible_id=c.responsible_id)
    return [ActivityReassigned(details, moment_after(moment, c), before, c.at, c.origin)]


def moment_after(moment: Moment, c: ReassignActivity) -> Moment:
    """When it begins for the new person (D13b)."""
    if not c.keep_local_time or c.zone is None:
        return moment
    wall = wall_clock(moment.starts_at, ZoneInfo(moment.zone))
    return _shown_in(instant(wall, ZoneInfo(c.zone)), c.zone)


def _shown_in(at: datetime, zone: str) -> Moment:
    local = wall_clock(at, ZoneInfo(zone)).isoformat(timespec="seconds")
    return Moment(at, local, zone, (f"The local time is kept: {local} {zone}.",))


def _completed(activity: Activity, c: CompleteActivity) -> Sequence[ActivityEvent]:
    if activity.status == "completed" and c.request_id is not None and c.request_id == activity.answered:
        return []
    moment = activity.must_be_planned()
    withdrawn = (activity.details.calendar or bool(activity.details.invitee_ids)) and moment.starts_at > c.at
    return [ActivityCompleted(c.request_id, "person" if c.origin.is_person else "automation", withdrawn, c.at, c.origin)]


def _cancelled(activity: Activity, c: CancelActivity) -> Sequence[ActivityEvent]:
    if activity.status == "cancelled" and c.request_id is not None and c.request_id == activity.answered:
        return []
    activity.must_be_planned()
    if c.if_untouched and activity.touched:
        raise Rejected("has_been_touched", "A person has changed the activity.")
    return [ActivityCancelled(c.request_id, c.reason, c.at, c.origin)]


def _reminded(activity: Activity, c: Remind) -> Sequence[ActivityEvent]:
    if activity.status != "planned" or activity.moment is None:
        return []
    starts_at = activity.moment.starts_at
    due = [minutes for minutes in activity.reminders_left if starts_at - timedelta(minutes=minutes) <= c.at]
    return [ActivityReminded(min(due), c.at, activity.origin)] if due else []


def evolve(activity: Activity, event: ActivityEvent) -> Activity:
    match event:
        case ActivityPlanned():
            return _born(event)
        case ActivityRescheduled():
            moved = replace(_moved(activity, event), room_state=event.room_state)
            return moved if event.request_id is None else replace(moved, answered=event.request_id)
        case ActivityReassigned():
            return _moved(activity, event)
        case ActivityChanged():
            reminders = _reminders_after(event.at, activity.moment, event.details)
            return _touched(replace(activity, details=event.details, reminders_left=reminders), event.origin)
        case ActivityCompleted():
            return _over(activity, "completed", event, event.by, raise_sequence=event.withdrawn)
        case ActivityCancelled():
            return _over(activity, "cancelled", event, event.reason, raise_sequence=True)
        case ActivityReminded():
            left = tuple(m for m in activity.reminders_left if m < event.minutes_before)
            return replace(activity, reminders_left=left)
        case _:
            assert_never(event)


def _born(e: ActivityPlanned) -> Activity:
    reminders = _reminders_after(e.at, e.moment, e.details)
    return Activity(
        "planned", e.element, e.visit_id, e.details, e.moment, e.room_state, 0, reminders, False, e.origin, e.at, answered=e.request_id
    )


def _moved(activity: Activity, e: ActivityRescheduled | ActivityReassigned) -> Activity:
    moved = replace(
        activity,
        details=e.details,
        moment=e.moment,
        ical_sequence=activity.ical_sequence + 1,
        reminders_left=_reminders_after(e.at, e.moment, e.details),
    )
    return _touched(moved, e.origin)


def _touched(activity: Activity, origin: Origin) -> Activity:
    return replace(activity, touched=activity.touched or origin.is_person)


def _over(activity: Activity, status: Status, e: ActivityCompleted | ActivityCancelled, why: str, *, raise_sequence: bool) -> Activity:
    sequence = activity.ical_sequence + 1 if raise_sequence else activity.ical_sequence
    return replace(
        _touched(activity, e.origin),
        status=status,
        ical_sequence=sequence,
        reminders_left=(),
        ended_at=e.at,
        ended_because=why,
        answered=e.request_id or activity.answered,
    )


def _reminders_after(at: datetime, moment: Moment | None, details: Details) -> tuple[int, ...]:
    """Those whose moment has not passed yet."""
    if moment is None:
        return ()
    return tuple(m for m in sorted(set(details.reminders), reverse=True) if moment.starts_at - timedelta(minutes=m) > at)


ACTIVITY: Aggregate[Activity, ActivityCommand, ActivityEvent] = Aggregate(
    "activity",
    Activity(),
    decide,
    evolve,
    (
        ActivityPlanned,
        ActivityRescheduled,
        ActivityChanged,
        ActivityReassigned,
        ActivityCompleted,
        ActivityCancelled,
        ActivityReminded,
    ),
)
