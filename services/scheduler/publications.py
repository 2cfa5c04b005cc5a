"""What the scheduler says: private event -> contract; its CommandRejected. (scheduler 8)

A reminder, a confirmation of what was computed and a change that only we see are nobody else's business."""

from __future__ import annotations

from typing import Any, assert_never

from services.scheduler.domain import activity as act
from services.scheduler.domain import room as rm
from services.scheduler.domain import timer as tm
from services.scheduler.domain.activity import Activity, ActivityEvent
from services.scheduler.domain.calendar import Calendar, CalendarChanged, weekly
from services.scheduler.domain.origin import Origin
from services.scheduler.domain.rehearsal import ClockMoved, Rehearsal
from services.scheduler.domain.room import Room, RoomEvent
from services.scheduler.domain.timer import Timer, TimerEvent
from shared.contracts import common, scheduler
from shared.es.errors import Rejected
from shared.es.recorded import Recorded
from shared.messaging.contract import Contract
from shared.messaging.envelope import Envelope, asked_about, instant


def origin_said(origin: Origin) -> common.Origin:
    return common.Origin(
        kind=origin.kind,
        id=origin.id,
        version=origin.version,
        visit_id=origin.visit_id,
        decision_id=origin.decision_id,
        backfill_id=origin.backfill_id,
        acting_fallback=origin.acting_fallback,
        chain=origin.chain,
    )


# ------------------------------------------------------------------------------------------------------------ timers


def of_timer(timer: Timer, recorded: Recorded[TimerEvent]) -> Contract | None:
    match recorded.event:
        case tm.TimerSet(request_id=request, origin=origin) | tm.TimerRearmed(request_id=request, origin=origin):
            said = scheduler.TimerSet if isinstance(recorded.event, tm.TimerSet) else scheduler.TimerRearmed
            return said(**_whose(timer, recorded, origin), **_armed(recorded.event.armed), request_id=request)
        case tm.TimerCancelled(request_id=request, reason=reason, origin=origin, by=by):
            return scheduler.TimerCancelled(**_whose(timer, recorded, origin), request_id=request, reason=reason, by=by)
        case tm.TimerFired():
            return _fired(timer, recorded, recorded.event)
        case tm.TimerMissed(due_at=due_at, found_at=found_at, max_lateness=limit, origin=origin):
            whose = _whose(timer, recorded, origin)
            return scheduler.TimerMissed(**whose, due_at=instant(due_at), found_at=instant(found_at), max_lateness=limit)
        case tm.TimerEscalated(waiting_for=waiting_for, waiting_since=since, responsible_id=responsible, origin=origin):
            whose = _whose(timer, recorded, origin)
            return scheduler.TimerEscalated(**whose, waiting_for=waiting_for, waiting_since=instant(since), responsible_id=responsible)
        case tm.TimerConfirmed():
            return None
        case _:
            assert_never(recorded.event)


def _whose(timer: Timer, recorded: Recorded[Any], origin: Origin) -> dict[str, Any]:
    return {"origin": origin_said(origin), "timer_id": recorded.aggregate_id, "about": timer.about, "owner": timer.owner}


def _armed(armed: tm.Armed) -> dict[str, Any]:
    due = armed.due
    return {
        "due_at": instant(due.due_at),
        "local": due.local,
        "zone": due.zone,
        "waiting_for": due.waiting_for,
        "reasoning": due.reasoning,
    }


def _fired(timer: Timer, recorded: Recorded[Any], event: tm.TimerFired) -> Contract:
    return scheduler.TimerFired(
        **_whose(timer, recorded, event.origin),
        due_at=instant(event.due_at),
        fired_at=instant(event.fired_at),
        lateness_ms=event.lateness_ms,
        early=event.early,
        by=event.by,
    )


# -------------------------------------------------------------------------------------------------------- rehearsals


def of_rehearsal(rehearsal: Rehearsal, recorded: Recorded[ClockMoved]) -> Contract:
    event = recorded.event
    return scheduler.RehearsalClockMoved(
        origin=origin_said(event.origin),
        tenant_id=recorded.aggregate_id,
        stood_at=None if event.stood_at is None else instant(event.stood_at),
        stands_at=instant(event.stands_at),
        heading_for=instant(event.heading_for),
    )


# --------------------------------------------------------------------------------------------------------- calendars


def of_calendar(calendar: Calendar, recorded: Recorded[CalendarChanged]) -> Contract:
    employee = recorded.event.employee_id
    hours = weekly(calendar.week) or {}
    return scheduler.CalendarChanged(
        origin=origin_said(recorded.event.origin),
        calendar="employee" if employee else "company",
        employee_id=employee,
        zone=calendar.zone,
        weekly={day: tuple(scheduler.OpeningHours(**opening) for opening in openings) for day, openings in hours.items()},
        holidays=tuple(scheduler.Holiday(date=h.on.isoformat(), name=h.name) for h in calendar.holidays),
        absences=tuple(scheduler.Absence(starts_at=instant(a.starts_at), ends_at=instant(a.ends_at)) for a in calendar.absences),
        time_tracking=calendar.time_tracking,
        clock=calendar.clock if employee else None,
    )


# -------------------------------------------------------------------------------------------------------- activities


def of_activity(activity: Activity, recorded: Recorded[ActivityEvent]) -> Contract | None:
    match recorded.event:
        case act.ActivityPlanned(request_id=request, origin=origin):
            return scheduler.ActivityPlanned(**_in_full(activity, recorded, origin), request_id=request)
        case act.ActivityRescheduled(request_id=request, before=before, origin=origin):
            return scheduler.ActivityRescheduled(**_moved(activity, recorded, origin, before), request_id=request)
        case act.ActivityReassigned(before=before, origin=origin):
            return scheduler.ActivityReassigned(**_moved(activity, recorded, origin, before))
        case act.ActivityCompleted():
            return _completed(activity, recorded, recorded.event)
        case act.ActivityCancelled(request_id=request, reason=reason, origin=origin):
            return scheduler.ActivityCancelled(**_entry(activity, recorded, origin), request_id=request, reason=reason)
        case act.ActivityReminded(minutes_before=minutes, origin=origin):
            return _reminder(activity, recorded, minutes, origin)
        case act.ActivityChanged():
            return None
        case _:
            assert_never(recorded.event)


def uid_of(activity_id: str) -> str:
    """Of the calendar entry: the same for all its life (D53)."""
    return f"{activity_id}@dealwright"


def _element(activity: Activity) -> common.ElementRef | None:
    element = activity.element
    return None if element is None else common.ElementRef(element_type=element.element_type, element_id=element.element_id)


def _entry(activity: Activity, recorded: Recorded[Any], origin: Origin) -> dict[str, Any]:
    return {
        "origin": origin_said(origin),
        "activity_id": recorded.aggregate_id,
        "element": _element(activity),
        "uid": uid_of(recorded.aggregate_id),
        "ical_sequence": activity.ical_sequence,
        "invitee_ids": activity.details.invitee_ids,
    }


def _in_full(activity: Activity, recorded: Recorded[Any], origin: Origin) -> dict[str, Any]:
    d, moment, ends_at = activity.details, activity.moment, activity.ends_at
    assert moment is not None and ends_at is not None
    return {
        **_entry(activity, recorded, origin),
        "visit_id": activity.visit_id,
        "name": d.name,
        "description": d.description,
        "starts_at": instant(moment.starts_at),
        "ends_at": instant(ends_at),
        "local": moment.local,
        "zone": moment.zone,
        "responsible_id": d.responsible_id,
        "colour": d.colour,
        "calendar": d.calendar,
        "contact_ids": d.contact_ids,
        "address": d.address,
        "room_id": d.room_id,
        "room_state": activity.room_state,
        "link": d.link,
        "file_ids": d.file_ids,
        "auto_complete": d.auto_complete,
    }


def _moved(activity: Activity, recorded: Recorded[Any], origin: Origin, before: act.Before) -> dict[str, Any]:
    now, then = activity.details.invitee_ids, before.invitee_ids
    was = scheduler.ActivityBefore(
        starts_at=instant(before.starts_at), ends_at=instant(before.ends_at), responsible_id=before.responsible_id
    )
    added, removed = tuple(p for p in now if p not in then), tuple(p for p in then if p not in now)
    return {**_in_full(activity, recorded, origin), "before": was, "added_invitees": added, "removed_invitees": removed}


def _completed(activity: Activity, recorded: Recorded[Any], event: act.ActivityCompleted) -> Contract:
    return scheduler.ActivityCompleted(
        **_entry(activity, recorded, event.origin),
        request_id=event.request_id,
        by=event.by,
        completed_at=instant(event.at),
        calendar_entry="withdrawn" if event.withdrawn else "kept",
        name=activity.details.name,
        responsible_id=activity.details.responsible_id,
    )


def _reminder(activity: Activity, recorded: Recorded[Any], minutes: int, origin: Origin) -> Contract:
    moment = activity.must_be_planned()
    return scheduler.ActivityReminderDue(
        origin=origin_said(origin),
        activity_id=recorded.aggregate_id,
        element=_element(activity),
        name=activity.details.name,
        starts_at=instant(moment.starts_at),
        minutes_before=minutes,
        responsible_id=activity.details.responsible_id,
    )


# ------------------------------------------------------------------------------------------------------------- rooms


def of_room(room: Room, recorded: Recorded[RoomEvent]) -> Contract:
    match recorded.event:
        case rm.RoomAdded(origin=origin):
            return scheduler.RoomAdded(**_room(room, recorded, origin))
        case rm.RoomChanged(origin=origin):
            return scheduler.RoomChanged(**_room(room, recorded, origin))
        case rm.RoomRetired(origin=origin):
            return scheduler.RoomRetired(**_room(room, recorded, origin))
        case rm.RoomBooked(organiser_id=organiser):
            return scheduler.RoomBooked(**_booking(recorded, recorded.event), organiser_id=organiser, conflicts_with=())
        case rm.RoomConflict(organiser_id=organiser, conflicts_with=others):
            return scheduler.RoomConflict(**_booking(recorded, recorded.event), organiser_id=organiser, conflicts_with=others)
        case rm.RoomReleased(organiser_id=organiser):
            return scheduler.RoomReleased(**_booking(recorded, recorded.event), organiser_id=organiser, conflicts_with=())
        case _:
            assert_never(recorded.event)


def _room(room: Room, recorded: Recorded[Any], origin: Origin) -> dict[str, Any]:
    return {
        "origin": origin_said(origin),
        "room_id": recorded.aggregate_id,
        "code": room.code,
        "name": room.name,
        "capacity": room.capacity,
        "location": room.location,
    }


def _booking(recorded: Recorded[Any], event: rm.RoomBooked | rm.RoomConflict | rm.RoomReleased) -> dict[str, Any]:
    return {
        "origin": origin_said(event.origin),
        "room_id": recorded.aggregate_id,
        "activity_id": event.activity_id,
        "starts_at": instant(event.starts_at),
        "ends_at": instant(event.ends_at),
    }


# ----------------------------------------------------------------------------------------------------------- refusal


def refusal(envelope: Envelope, rejected: Rejected) -> Contract:
    """What was asked is repeated as far as it can be read."""
    about = asked_about(envelope.data)
    return scheduler.CommandRejected.of(envelope.key, envelope.type, rejected.code, rejected.detail, rejected.errors, **about)
