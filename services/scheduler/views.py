"""Tables of the scheduler's own streams, their rows, and the finders over them. (scheduler 11)

Ids of others are text. A timer's row also carries the causal chain it belongs to, so that what fires continues it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from datetime import date, datetime, time
from typing import Any

from sqlalchemy import JSON, Boolean, Column, DateTime, Index, Integer, Text, text
from sqlalchemy.dialects.postgresql import JSONB

from services.scheduler.domain.activity import Activity
from services.scheduler.domain.calendar import Calendar, weekly
from services.scheduler.domain.rehearsal import Rehearsal
from services.scheduler.domain.room import Room, RoomBooked, RoomConflict, RoomEvent, RoomReleased
from services.scheduler.domain.timer import Timer, TimerEvent, TimerFired, TimerMissed
from shared.es.recorded import Recorded
from shared.es.view import HistoryView, Row, SqlFinder, StateView, by_column, history_table, state_table
from shared.messaging.directory import REHEARSAL_CLOCKS

ARMED = "status in ('set', 'waiting_hours')"
QUICK_VACUUM = {"autovacuum_vacuum_scale_factor": "0.01"}


def _instant(name: str, *, nullable: bool = True) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _chain_columns() -> tuple[Column[Any], ...]:
    return (
        Column("correlation_id", Text, nullable=False),
        Column("causation_id", Text, nullable=False),
        Column("hops", Integer, nullable=False),
        Column("actor", Text, nullable=False),
        Column("traceparent", Text),
    )


def _chain(recorded: Recorded[Any]) -> Row:
    c = recorded.context
    return {
        "correlation_id": c.correlation_id,
        "causation_id": str(recorded.id),
        "hops": c.hops,
        "actor": c.actor,
        "traceparent": c.traceparent,
    }


def plain(value: Any) -> Any:
    """A dataclass of the domain as JSON: what is empty is left out."""
    match value:
        case dict():
            return {name: plain(each) for name, each in value.items() if each is not None}
        case list() | tuple():
            return [plain(each) for each in value]
        case datetime() | date() | time():
            return value.isoformat()
        case _:
            return value


# ------------------------------------------------------------------------------------------------------------ timers

TIMERS_TABLE = state_table(
    "timers_v1",
    Column("owner", Text, nullable=False),
    Column("about", Text, nullable=False),
    Column("status", Text, nullable=False),
    _instant("due_at", nullable=False),
    Column("local", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("waiting_for", Text),
    Column("reasoning", JSON, nullable=False),
    Column("expression", JSON, nullable=False),
    Column("max_lateness", Integer),
    Column("repeat", Text),
    Column("responsible_id", Text),
    Column("follows_company", Boolean, nullable=False),
    Column("company_revision", Integer, nullable=False),
    Column("responsible_revision", Integer, nullable=False),
    _instant("wakes_at"),
    _instant("fired_at"),
    _instant("fired_due_at"),
    Column("lateness_ms", Integer),
    Column("reason", Text),
    *_chain_columns(),
    Index("timers_v1_wakes", "wakes_at", postgresql_where=text("wakes_at is not null")),
    Index("timers_v1_wakes_of", "tenant", "wakes_at", postgresql_where=text("wakes_at is not null")),
    Index("timers_v1_company", "tenant", "company_revision", postgresql_where=text(f"{ARMED} and follows_company")),
    Index("timers_v1_responsible", "tenant", "responsible_id", postgresql_where=text(f"{ARMED} and responsible_id is not null")),
    Index("timers_v1_about", "tenant", "about"),
    Index("timers_v1_due", "tenant", "due_at", "id"),
)
TIMERS_TABLE.dialect_options["postgresql"]["with"] = QUICK_VACUUM


def _timer(timer: Timer, recorded: Recorded[TimerEvent]) -> Row:
    armed = timer.armed
    assert armed is not None
    due, when = armed.due, armed.when
    return {
        "owner": timer.owner,
        "about": timer.about,
        "status": timer.status,
        "due_at": due.due_at,
        "local": due.local,
        "zone": due.zone,
        "waiting_for": due.waiting_for,
        "reasoning": list(due.reasoning),
        "expression": plain(asdict(when)),
        "max_lateness": timer.max_lateness,
        "repeat": timer.repeat,
        "responsible_id": when.responsible_id if when.follows_responsible else None,
        "follows_company": when.follows_company,
        "company_revision": armed.company_revision,
        "responsible_revision": armed.responsible_revision,
        "wakes_at": timer.wakes_at,
        "fired_at": timer.fired_at,
        "fired_due_at": timer.fired_due_at,
        "lateness_ms": None if timer.lateness_ms is None else min(timer.lateness_ms, 2**31 - 1),
        "reason": timer.reason,
        **_chain(recorded),
    }


TIMERS: StateView[Timer] = StateView(TIMERS_TABLE, _timer)

LATENESS_TABLE = history_table(
    "timer_lateness_v1",
    Column("owner", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    _instant("due_at", nullable=False),
    _instant("at", nullable=False),
    Column("lateness_ms", Integer, nullable=False),
    Index("timer_lateness_v1_at", "tenant", "at"),
)


def _lateness(timer: Timer, recorded: Recorded[TimerEvent]) -> Iterable[Row]:
    match recorded.event:
        case TimerFired() | TimerMissed():
            late = min(timer.lateness_ms or 0, 2**31 - 1)
            outcome = "missed" if isinstance(recorded.event, TimerMissed) else "early" if recorded.event.early else "fired"
            yield {
                "owner": timer.owner,
                "outcome": outcome,
                "due_at": recorded.event.due_at,
                "at": timer.fired_at,
                "lateness_ms": late,
            }


LATENESS: HistoryView[Timer, TimerEvent] = HistoryView(LATENESS_TABLE, _lateness)

# --------------------------------------------------------------------------------------------------------- calendars

CALENDARS_TABLE = state_table(
    "calendars_v1",
    Column("zone", Text, nullable=False),
    Column("own_zone", Boolean, nullable=False),
    Column("weekly", JSON),
    Column("holidays", JSON, nullable=False),
    Column("holiday_region", Text),
    Column("absences", JSON, nullable=False),
    Column("time_tracking", Boolean, nullable=False),
    Column("clock", Text, nullable=False),
)


def calendar_row(calendar: Calendar) -> Row:
    return {
        "zone": calendar.zone,
        "own_zone": calendar.own_zone,
        "weekly": weekly(calendar.week),
        "holidays": [{"date": h.on.isoformat(), "name": h.name} for h in calendar.holidays],
        "holiday_region": calendar.holiday_region,
        "absences": [{"starts_at": a.starts_at.isoformat(), "ends_at": a.ends_at.isoformat()} for a in calendar.absences],
        "time_tracking": calendar.time_tracking,
        "clock": calendar.clock,
    }


CALENDARS: StateView[Calendar] = StateView(CALENDARS_TABLE, lambda calendar, recorded: calendar_row(calendar))

# -------------------------------------------------------------------------------------------------------- activities

ACTIVITIES_TABLE = state_table(
    "activities_v1",
    Column("element_type", Text),
    Column("element_id", Text),
    Column("visit_id", Text),
    Column("status", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    _instant("starts_at", nullable=False),
    _instant("ends_at", nullable=False),
    Column("local", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("reasoning", JSON, nullable=False),
    Column("duration_minutes", Integer, nullable=False),
    Column("responsible_id", Text, nullable=False),
    Column("colour", Text, nullable=False),
    Column("calendar", Boolean, nullable=False),
    Column("contact_ids", JSONB, nullable=False),
    Column("invitee_ids", JSONB, nullable=False),
    Column("people", JSONB, nullable=False),
    Column("address", Text),
    Column("room_id", Text),
    Column("room_state", Text, nullable=False),
    Column("link", Text),
    Column("file_ids", JSON, nullable=False),
    Column("reminders", JSON, nullable=False),
    Column("auto_complete", Boolean, nullable=False),
    Column("ical_sequence", Integer, nullable=False),
    _instant("reminds_at"),
    _instant("changed_at", nullable=False),
    _instant("created_at", nullable=False),
    _instant("ended_at"),
    Column("ended_because", Text),
    *_chain_columns(),
    Index("activities_v1_element", "tenant", "element_id"),
    Index("activities_v1_visit", "tenant", "visit_id", postgresql_where=text("status = 'planned'")),
    Index("activities_v1_starts", "tenant", "starts_at", "id"),
    Index("activities_v1_people", "people", postgresql_using="gin", postgresql_ops={"people": "jsonb_path_ops"}),
    Index("activities_v1_fresh", "changed_at", postgresql_where=text("status = 'planned' and visit_id is not null")),
    Index("activities_v1_reminds", "reminds_at", postgresql_where=text("reminds_at is not null")),
    Index("activities_v1_reminds_of", "tenant", "reminds_at", postgresql_where=text("reminds_at is not null")),
)


def activity_row(activity: Activity) -> dict[str, Any]:
    """Also what the HTTP API shows of an activity."""
    d, moment = activity.details, activity.moment
    assert moment is not None
    return {
        "element_type": activity.element and activity.element.element_type,
        "element_id": activity.element and activity.element.element_id,
        "visit_id": activity.visit_id,
        "status": activity.status,
        "name": d.name,
        "description": d.description,
        "starts_at": moment.starts_at,
        "ends_at": activity.ends_at,
        "local": moment.local,
        "zone": moment.zone,
        "reasoning": list(moment.reasoning),
        "duration_minutes": d.duration_minutes,
        "responsible_id": d.responsible_id,
        "colour": d.colour,
        "calendar": d.calendar,
        "contact_ids": list(d.contact_ids),
        "invitee_ids": list(d.invitee_ids),
        "address": d.address,
        "room_id": d.room_id,
        "room_state": activity.room_state,
        "link": d.link,
        "file_ids": list(d.file_ids),
        "reminders": list(d.reminders),
        "auto_complete": d.auto_complete,
        "ical_sequence": activity.ical_sequence,
        "created_at": activity.planned_at,
        "ended_at": activity.ended_at,
        "ended_because": activity.ended_because,
    }


def _activity(activity: Activity, recorded: Recorded[Any]) -> Row:
    people = sorted({activity.details.responsible_id, *activity.details.invitee_ids})
    own = {"people": people, "reminds_at": activity.reminds_at, "changed_at": recorded.recorded_at}
    return {**activity_row(activity), **own, **_chain(recorded)}


ACTIVITIES: StateView[Activity] = StateView(ACTIVITIES_TABLE, _activity)

# ------------------------------------------------------------------------------------------------------------- rooms

ROOMS_TABLE = state_table(
    "rooms_v1",
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("capacity", Integer),
    Column("location", Text),
    Column("status", Text, nullable=False),
    Index("rooms_v1_code", "tenant", "code"),
)
ROOMS: StateView[Room] = StateView(
    ROOMS_TABLE,
    lambda room, recorded: {
        "code": room.code,
        "name": room.name,
        "capacity": room.capacity,
        "location": room.location,
        "status": room.status,
    },
)

BOOKINGS_TABLE = history_table(
    "room_bookings_v1",
    Column("activity_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    _instant("starts_at", nullable=False),
    _instant("ends_at", nullable=False),
    Index("room_bookings_v1_activity", "tenant", "id", "activity_id", "version"),
)
"""One row per booking, move and release. The last one of an activity in a room counts (`state` released: free)."""


def _bookings(room: Room, recorded: Recorded[RoomEvent]) -> Iterable[Row]:
    match recorded.event:
        case RoomBooked() | RoomConflict() | RoomReleased() as event:
            state = {RoomBooked: "booked", RoomConflict: "conflict", RoomReleased: "released"}[type(event)]
            yield {"activity_id": event.activity_id, "state": state, "starts_at": event.starts_at, "ends_at": event.ends_at}


BOOKINGS: HistoryView[Room, RoomEvent] = HistoryView(BOOKINGS_TABLE, _bookings)

# -------------------------------------------------------------------------------------------------------- rehearsals

CLOCKS: StateView[Rehearsal] = StateView(REHEARSAL_CLOCKS, lambda rehearsal, recorded: {"stands_at": rehearsal.stands_at})

# ----------------------------------------------------------------------------------------------------------- finders


def _itself(row: Row) -> Row:
    return row


OPEN_OF_VISIT: SqlFinder[Row] = by_column("open activities of a visit", ACTIVITIES_TABLE, "visit_id", _itself, where="t.status = 'planned'")
OPEN_OF_ELEMENT: SqlFinder[Row] = by_column(
    "open activities of an element", ACTIVITIES_TABLE, "element_id", _itself, where="t.status = 'planned'"
)
ACTIVITY_BY_ID: SqlFinder[Row] = by_column("activities by id", ACTIVITIES_TABLE, "id", _itself)
ROOM_BY_CODE: SqlFinder[Row] = by_column("rooms by code", ROOMS_TABLE, "code", _itself, where="t.status = 'active'")

# ------------------------------------------------------------------------------------------------- what the ticker asks
# $1 the primary's clock, $2 how many at most; claimed rows are held until the commit (C.10, R9)

_CHAIN = "correlation_id, causation_id, hops, actor, traceparent"


def _not_blocked(consumer: str, alias: str) -> str:
    return (
        f"not exists (select 1 from blocked b where b.consumer = '{consumer}' and b.key = {alias}.tenant::text || '/' || {alias}.id"
        " and (b.next_at is null or b.next_at > $1::timestamptz))"
    )


_HAS_OWN_CLOCK = "exists (select 1 from rehearsal_clocks_v1 c where c.tenant = {}.tenant)"
"""Of a rehearsal whose clock was moved: what is due there is not for the service's clock to say."""

_TIMER = f"""
select t.tenant, t.id, t.version, t.wakes_at, t.follows_company, t.responsible_id, {_CHAIN},
       coalesce((select d.zone from tenants_v1 d where d.tenant = t.tenant limit 1), 'UTC') as company_zone"""
DUE_TIMERS = f"""{_TIMER}
from timers_v1 t
where t.wakes_at <= $1::timestamptz and not {_HAS_OWN_CLOCK.format("t")} and {_not_blocked("ticker", "t")}
order by t.wakes_at, t.id limit $2 for update of t skip locked
"""
REHEARSED_TIMERS = f"""{_TIMER}
from rehearsal_clocks_v1 own join timers_v1 t on t.tenant = own.tenant and t.wakes_at <= own.stands_at
where {_not_blocked("ticker", "t")}
order by t.wakes_at, t.id limit $2 for update of t skip locked
"""

_STALE = f"""
    select t.tenant, t.id from calendars_v1 c join timers_v1 t on t.tenant = c.tenant and t.company_revision < c.version
    where c.id = 'company' and t.{ARMED} and t.follows_company
    union all
    select t.tenant, t.id from calendars_v1 c join timers_v1 t on t.tenant = c.tenant and t.responsible_id = c.id
    where t.{ARMED} and t.responsible_id is not null and t.responsible_revision < c.version
"""
STALE_TIMERS = f"""
select t.tenant, t.id, t.version, t.follows_company, t.responsible_id, {_CHAIN},
       coalesce((select d.zone from tenants_v1 d where d.tenant = t.tenant limit 1), 'UTC') as company_zone
from timers_v1 t
where (t.tenant, t.id) in (select tenant, id from ({_STALE}) as stale limit $2) and {_not_blocked("recalculation", "t")}
order by t.tenant, t.id for update of t skip locked
"""
"""A calendar's version is its revision: what was computed from an older one is computed again, in chunks."""

DUE_REMINDERS = f"""
select a.tenant, a.id, a.version, a.reminds_at, {_CHAIN}
from activities_v1 a
where a.reminds_at <= $1::timestamptz and not {_HAS_OWN_CLOCK.format("a")} and {_not_blocked("reminders", "a")}
order by a.reminds_at, a.id limit $2 for update of a skip locked
"""

REHEARSED_REMINDERS = f"""
select a.tenant, a.id, a.version, a.reminds_at, {_CHAIN}
from rehearsal_clocks_v1 own join activities_v1 a on a.tenant = own.tenant and a.reminds_at <= own.stands_at
where {_not_blocked("reminders", "a")}
order by a.reminds_at, a.id limit $2 for update of a skip locked
"""

_TOO_LATE = f"""
activities_v1 a join ended_visits_v1 v on v.tenant = a.tenant and v.visit_id = a.visit_id
where a.status = 'planned' and a.visit_id is not null
  and (a.changed_at > $1::timestamptz - interval '1 minute' or {_HAS_OWN_CLOCK.format("a")})
  and (a.auto_complete or v.how = 'deleted')
"""
PLANNED_TOO_LATE = f"""
select a.tenant, a.id, a.version, a.room_id, v.how, a.{_CHAIN.replace(", ", ", a.")}
from {_TOO_LATE} and {_not_blocked("too late", "a")}
order by a.tenant, a.id limit $2 for update of a skip locked
"""
"""Only what was planned within the last minute: a StageChanged that was being handled meanwhile did not see it. A rehearsal's
clock tells nothing about that minute: of its activities all that are planned are looked at."""

_REHEARSED = "exists (select 1 from rehearsal_clocks_v1 c join {0} d on d.tenant = c.tenant and d.{1} <= c.stands_at)"
LOOK = f"""
select (select t.wakes_at from timers_v1 t where t.wakes_at is not null and not {_HAS_OWN_CLOCK.format("t")}
        order by t.wakes_at limit 1) as timer,
       (select a.reminds_at from activities_v1 a where a.reminds_at is not null and not {_HAS_OWN_CLOCK.format("a")}
        order by a.reminds_at limit 1) as reminder,
       {_REHEARSED.format("timers_v1", "wakes_at")} as rehearsed_timer,
       {_REHEARSED.format("activities_v1", "reminds_at")} as rehearsed_reminder,
       exists ({_STALE}) as stale,
       exists (select 1 from {_TOO_LATE}) as too_late
"""
"""One glance: when the next timer and reminder are due, and whether anything else is to be done."""

_EARLIEST = "select min(d.{1}) as at from {0} d where d.tenant = w.tenant and d.{1} is not null and not exists ({2})"
_STUCK = "select 1 from blocked b where b.consumer = '{}' and b.key = d.tenant::text || '/' || d.id"
RINGS_NEXT: SqlFinder[Row] = SqlFinder(
    "when something rings next",
    f"""
select w.tenant, w.key, least(t.at, a.at) as at, exists (select 1 from ({_STALE}) s where s.tenant = w.tenant) as stale
from unnest($1::uuid[], $2::text[]) as w(tenant, key)
cross join lateral ({_EARLIEST.format("timers_v1", "wakes_at", _STUCK.format("ticker"))}) t
cross join lateral ({_EARLIEST.format("activities_v1", "reminds_at", _STUCK.format("reminders"))}) a
""",
    _itself,
)
"""Of a tenant: its next timer or reminder, overdue ones included but for those that cannot be handled; `stale`: what rests on
a changed calendar is about to be computed anew."""

_ITS_TIME = "coalesce((select c.stands_at from rehearsal_clocks_v1 c where c.tenant = {}.tenant), clock_timestamp())"
_DUE_OF = "(select count(*) from {0} d where ($1::uuid is null or d.tenant = $1) and d.{1} <= " + _ITS_TIME.format("d") + ")"
DUE = f"""
select {_DUE_OF.format("timers_v1", "wakes_at")} + {_DUE_OF.format("activities_v1", "reminds_at")}
     + (select count(*) from ({_STALE}) s where $1::uuid is null or s.tenant = $1)
"""
"""How many timers and reminders are about to ring or to be computed anew. $1 tenant, null: all"""

HOW_MANY = "select count(*) from timers_v1 where wakes_at is not null"
