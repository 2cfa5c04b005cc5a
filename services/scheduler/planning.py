"""What is asked of timers and activities, as addressed commands: the same whether a message, a person or the clock asks.

A moment rests on calendars, an activity on its room: they are read at their place in the batch and held still until the
commit (architecture C.5). An activity's room has to be known before its stream is loaded; where it has just changed, NotYet."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from services.scheduler.domain.activity import (
    ACTIVITY,
    Activity,
    ActivityCommand,
    CancelActivity,
    ChangeActivity,
    CompleteActivity,
    Details,
    Element,
    PlanActivity,
    ReassignActivity,
    RescheduleActivity,
    moment_after,
    moment_of,
)
from services.scheduler.domain.calendar import CALENDAR, COMPANY, Calendar
from services.scheduler.domain.due import Calendars, When
from services.scheduler.domain.origin import Origin
from services.scheduler.domain.room import ROOM, Book, Release, RoomState
from shared.es.addressed import Addressed, Facts
from shared.es.aggregate import Aggregate
from shared.es.errors import NotYet

Reads = tuple[tuple[Aggregate[Any, Any, Any], str], ...]
Asked = tuple[Addressed[Any], ...]


def rests_on(when: When) -> Reads:
    """The calendars that a moment is computed from."""
    company: Reads = ((CALENDAR, COMPANY),) if when.follows_company else ()
    if not when.follows_responsible or when.responsible_id is None:
        return company
    return (*company, (CALENDAR, when.responsible_id))


def calendars(seen: Facts, when: When, company_zone: str) -> Calendars:
    """Their states; `company_zone` is the tenant's (F26)."""
    company = seen.state(CALENDAR, COMPANY) if when.follows_company else Calendar()
    follows = when.follows_responsible and when.responsible_id is not None
    responsible = seen.state(CALENDAR, when.responsible_id or "") if follows else Calendar()
    return Calendars(company, responsible, company_zone)


# -------------------------------------------------------------------------------------------------------- activities


@dataclass(frozen=True, slots=True)
class Plan:
    """An activity to be planned. `strict`: an occupied room refuses it (D52). `at`: the moment of execution (D13)."""

    activity_id: str
    request_id: str | None
    element: Element | None
    visit_id: str | None
    details: Details
    deadline: When
    company_zone: str
    at: datetime
    origin: Origin
    strict: bool = False


def plan(p: Plan) -> Asked:
    """The room is booked first, so that the activity says what came of it; refused by the room, nothing is planned."""
    resting = rests_on(p.deadline)

    def book(seen: Facts) -> Book | None:
        if seen.state(ACTIVITY, p.activity_id).exists:
            return None
        starts_at = moment_of(p.deadline, calendars(seen, p.deadline, p.company_zone), p.at).starts_at
        ends_at = starts_at + p.details.duration
        return Book(p.activity_id, starts_at, ends_at, p.details.responsible_id, seen.now, p.origin, p.strict)

    def planned(seen: Facts) -> PlanActivity:
        known = calendars(seen, p.deadline, p.company_zone)
        room = room_state(seen, p.activity_id, p.details.room_id)
        return PlanActivity(p.request_id, p.element, p.visit_id, p.details, p.deadline, known, p.at, p.origin, room)

    room = p.details.room_id
    booking = () if room is None else (Addressed(ROOM, room, book, (*resting, (ACTIVITY, p.activity_id)), alone(p.activity_id)),)
    return (*booking, Addressed(ACTIVITY, p.activity_id, planned, (*resting, *_room(room)), alone(p.activity_id)))


def alone(activity_id: str) -> str:
    """At most one decision about an activity in a transaction: the next one has to find the room that this one takes."""
    return f"activity/{activity_id}"


def _room(room_id: str | None) -> Reads:
    return () if room_id is None else ((ROOM, room_id),)


def room_state(seen: Facts, activity_id: str, room_id: str | None) -> RoomState:
    return "none" if room_id is None else seen.state(ROOM, room_id).state_for(activity_id)


@dataclass(frozen=True, slots=True)
class Known:
    """An activity and the room its row names. `quietly`: what is over or unknown is none of the asker's business."""

    activity_id: str
    room_id: str | None
    quietly: bool = False

    def state(self, seen: Facts) -> Activity:
        """Raises NotYet when its room has just changed: what is asked of the room would go astray."""
        activity = seen.state(ACTIVITY, self.activity_id)
        if activity.details.room_id != self.room_id and activity.status == "planned":
            raise NotYet("the room of the activity has just changed")
        return activity


def reschedule(
    k: Known, request_id: str | None, deadline: When, company_zone: str, at: datetime, minutes: int | None, origin: Origin
) -> Asked:
    resting = rests_on(deadline)

    def book(seen: Facts) -> Book | None:
        activity = k.state(seen)
        if activity.status != "planned":
            return None
        starts_at = moment_of(deadline, calendars(seen, deadline, company_zone), at).starts_at
        return _booked(k.activity_id, activity, starts_at, minutes, seen, origin)

    def moved(seen: Facts) -> RescheduleActivity:
        k.state(seen)
        room = None if k.room_id is None else room_state(seen, k.activity_id, k.room_id)
        return RescheduleActivity(request_id, deadline, calendars(seen, deadline, company_zone), at, origin, minutes, room)

    return _with_room(k, book, moved, resting)


def reassign(k: Known, c: ReassignActivity) -> Asked:
    def book(seen: Facts) -> Book | None:
        activity = k.state(seen)
        if activity.status != "planned" or activity.moment is None:
            return None
        return _booked(k.activity_id, activity, moment_after(activity.moment, c).starts_at, None, seen, c.origin)

    def reassigned(seen: Facts) -> ReassignActivity:
        k.state(seen)
        return c

    return _with_room(k, book, reassigned, ())


def _booked(id: str, activity: Activity, starts_at: datetime, minutes: int | None, seen: Facts, origin: Origin) -> Book:
    details = activity.details if minutes is None else replace(activity.details, duration_minutes=minutes)
    return Book(id, starts_at, starts_at + details.duration, details.responsible_id, seen.now, origin)


def _with_room(k: Known, book: Any, command: Any, resting: Reads) -> Asked:
    """First the activity's version, as If-Match wants it; then the room; then the activity."""
    here = (ACTIVITY, k.activity_id)
    only = alone(k.activity_id)
    activity = Addressed(ACTIVITY, k.activity_id, command, (*resting, *_room(k.room_id)), only)
    if k.room_id is None:
        return (activity,)
    return (Addressed(ACTIVITY, k.activity_id, nothing), Addressed(ROOM, k.room_id, book, (*resting, here), only), activity)


def nothing(seen: Facts) -> ActivityCommand | None:
    return None


def change(k: Known, details: Details, at: datetime, origin: Origin, strict: bool = False) -> Asked:
    """All details at once. Another room is booked first and the old one released last."""

    def book(seen: Facts) -> Book | None:
        activity = k.state(seen)
        if activity.status != "planned" or activity.moment is None:
            return None
        starts_at = activity.moment.starts_at
        ends_at = starts_at + details.duration
        return Book(k.activity_id, starts_at, ends_at, activity.details.responsible_id, seen.now, origin, strict)

    def changed(seen: Facts) -> ChangeActivity:
        k.state(seen)
        return ChangeActivity(details, at, origin, room_state(seen, k.activity_id, details.room_id))

    asked = _with_room(Known(k.activity_id, details.room_id), book, changed, ())
    leaves = k.room_id is not None and k.room_id != details.room_id
    return (*asked, Addressed(ROOM, k.room_id or "", Release(k.activity_id, origin))) if leaves else asked


def complete(k: Known, request_id: str | None, origin: Origin) -> Asked:
    def completed(seen: Facts) -> CompleteActivity | None:
        over = k.state(seen).status != "planned"
        return None if k.quietly and over else CompleteActivity(request_id, seen.now, origin)

    return _ended(k, completed, origin)


def cancel(k: Known, request_id: str | None, reason: str, origin: Origin, if_untouched: bool = False) -> Asked:
    def cancelled(seen: Facts) -> CancelActivity | None:
        over = k.state(seen).status != "planned"
        return None if k.quietly and over else CancelActivity(request_id, reason, seen.now, origin, if_untouched)

    return _ended(k, cancelled, origin)


def _ended(k: Known, command: Any, origin: Origin) -> Asked:
    """Its room is free again, unless the time is over by then."""

    def release(seen: Facts) -> Release | None:
        activity = seen.state(ACTIVITY, k.activity_id)
        ahead = activity.starts_at is not None and activity.starts_at > seen.now
        return Release(k.activity_id, origin) if ahead and activity.status != "planned" else None

    activity = Addressed(ACTIVITY, k.activity_id, command, exclusive=alone(k.activity_id))
    if k.room_id is None:
        return (activity,)
    return (activity, Addressed(ROOM, k.room_id, release, ((ACTIVITY, k.activity_id),)))
