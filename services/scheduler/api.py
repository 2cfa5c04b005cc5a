"""The scheduler over HTTP: timers and what operators do with them, calendars, activities, rooms. (scheduler 10)"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Annotated, Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

import holidays
from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError
from sqlalchemy import ColumnElement, Select, and_, exists, func, not_, or_, select
from sqlalchemy.dialects.postgresql import distinct_on
from starlette.responses import Response

from services.scheduler import planning, views
from services.scheduler.domain.activity import ACTIVITY, Activity, Details, Element, ReassignActivity
from services.scheduler.domain.calendar import (
    CALENDAR,
    COMPANY,
    Absence,
    AddAbsence,
    AddHoliday,
    Calendar,
    CalendarCommand,
    ClockIn,
    ClockOut,
    DefineCalendar,
    Holiday,
    RemoveAbsence,
    RemoveHoliday,
    week_of,
)
from services.scheduler.domain.due import Calendars, Offset, When, resolve
from services.scheduler.domain.origin import Origin
from services.scheduler.domain.rehearsal import REHEARSAL, MoveClock, Rehearsal, not_a_rehearsal, too_far
from services.scheduler.domain.repeat import cron
from services.scheduler.domain.room import ROOM, AddRoom, ChangeRoom, RetireRoom, Room
from services.scheduler.domain.timer import TIMER, CancelTimer, FireNow, RearmTimer, Timer
from services.scheduler.planning import Known
from services.scheduler.replicas import EMPLOYEES_TABLE, TENANTS
from services.scheduler.views import ACTIVITIES_TABLE, BOOKINGS_TABLE, CALENDARS_TABLE, LATENESS_TABLE, ROOMS_TABLE, TIMERS_TABLE
from shared.es.addressed import Addressed, Facts
from shared.es.errors import Fault, NotFound, Rejected
from shared.http.auth import needs
from shared.http.commands import Answer, Door, Result
from shared.http.exchange import JsonAnswer
from shared.http.filters import between, one_of
from shared.http.paging import Paging
from shared.http.problems import PROBLEMS, Body
from shared.http.types import Code, Flag, Instant, LongText, Text255, Whole, Zone
from shared.runtime.clock import new_id

Row = Mapping[Any, Any]

API = APIRouter(responses=PROBLEMS)

Id = Annotated[UUID, Path()]
Page = Annotated[Paging, Depends()]
Choice = Annotated[str | None, Query(max_length=1000, description="One value, or several separated by commas.")]
Moment = Annotated[Instant | None, Query()]
Version = Annotated[int | None, Query(ge=1, description="The state as it was at this version.")]


def origin_of(door: Door) -> Origin:
    """A person by the employee's id, a program by its credential."""
    employee = door.caller.employee_id
    return Origin("person", id=employee) if employee else Origin("api", id=door.caller.client_id)


def without_chain(row: Row) -> dict[str, Any]:
    hidden = {"tenant", "causation_id", "hops", "traceparent", "actor", "people", "wakes_at", "reminds_at", "changed_at"}
    hidden |= {"follows_company", "company_revision", "responsible_revision"}
    return {name: value for name, value in row.items() if name not in hidden}


class WhenBody(Body):
    """A time expression: exactly one anchor; a null zone is the company calendar's, for a deadline the assignee's."""

    mode: Literal["after", "before", "at"]
    anchor_instant: Instant | None = None
    anchor_date: date | None = None
    offset: OffsetBody | None = None
    local_time: time | None = None
    zone: Zone | None = None
    working_hours: Literal["none", "company", "responsible"] = "none"
    responsible_id: UUID | None = None

    @field_validator("local_time")
    @classmethod
    def without_zone(cls, given: time | None) -> time | None:
        if given is not None and given.tzinfo is not None:
            raise PydanticCustomError("bad_time", "A local time has no offset; the zone stands beside it.")
        return given

    def when(self) -> When:
        offset = Offset() if self.offset is None else Offset(**self.offset.model_dump())
        responsible = None if self.responsible_id is None else str(self.responsible_id)
        return When(self.mode, self.anchor_instant, self.anchor_date, offset, self.local_time, self.zone, self.working_hours, responsible)


class OffsetBody(Body):
    seconds: Whole = 0
    minutes: Whole = 0
    hours: Whole = 0
    days: Whole = 0
    weeks: Whole = 0
    months: Whole = 0


WhenBody.model_rebuild()


async def company_zone(door: Door) -> str:
    """The tenant's zone, until a company calendar exists."""
    return str((await _tenant(door)).get("zone", "UTC"))


async def _tenant(door: Door) -> Row:
    """Empty for a tenant that has not been heard of yet."""
    async with door.reading() as sql:
        return (await sql.execute(select(TENANTS.table))).mappings().first() or {}


# ------------------------------------------------------------------------------------------------------------ timers


def shown_timer(row: Row) -> dict[str, Any]:
    return {**without_chain(row), "state": row["status"]}


def timer_now(timer: Timer, id: str) -> dict[str, Any]:
    armed = timer.armed
    due = armed.due if armed else None
    return {
        "id": id,
        "state": timer.status,
        "owner": timer.owner,
        "about": timer.about,
        "due_at": due and due.due_at,
        "local": due and due.local,
        "zone": due and due.zone,
        "waiting_for": due and due.waiting_for,
        "reasoning": list(due.reasoning) if due else [],
        "fired_at": timer.fired_at,
        "lateness_ms": timer.lateness_ms,
    }


def _timer_answer(id: str) -> Callable[[Result], Answer]:
    return lambda done: Answer(200, timer_now(done.state(TIMER, id), id), etag=done.version(TIMER, id))


@API.get("/v1/timers", operation_id="timers_list", tags=["timers"])
async def list_timers(
    door: Annotated[Door, needs("timers:read")],
    paging: Page,
    state: Choice = None,
    owner: Choice = None,
    about: Choice = None,
    waiting_for: Choice = None,
    due_at_from: Moment = None,
    due_at_to: Moment = None,
) -> Response:
    """Pending, fired, missed and cancelled timers, with why they are due when they are."""
    t = TIMERS_TABLE.c
    wanted = [*one_of(t.status, state), *one_of(t.owner, owner), *one_of(t.about, about), *one_of(t.waiting_for, waiting_for)]
    query = select(TIMERS_TABLE).where(*wanted, *between(t.due_at, due_at_from, due_at_to))
    return await door.listed(query, paging, sort=(t.due_at, t.lateness_ms), shown=shown_timer, default="due_at")


@API.get("/v1/timers/{id}", operation_id="timers_get", tags=["timers"])
async def get_timer(id: Id, door: Annotated[Door, needs("timers:read")], version: Version = None) -> Response:
    if version is not None:
        state, at = await door.state_at(TIMER, str(id), version)
        return door.shown(at, timer_now(state, str(id)))
    row = await door.one(select(TIMERS_TABLE).where(TIMERS_TABLE.c.id == str(id)))
    return door.shown(row["version"], shown_timer(row))


@API.get("/v1/timers/{id}/events", operation_id="timers_events", tags=["timers"])
async def timer_events(id: Id, door: Annotated[Door, needs("timers:read")], paging: Page) -> Response:
    return await door.history(TIMER, str(id), paging)


class Reason(Body):
    reason: Text255


@API.post("/v1/timers/{id}/cancellations", operation_id="timers_cancel", tags=["timers"])
async def cancel_timer(id: Id, body: Reason, door: Annotated[Door, needs("timers:write")]) -> Response:
    command = CancelTimer(None, body.reason, origin_of(door), door.caller.employee_id)
    return await door.ask(Addressed(TIMER, str(id), command), answer=_timer_answer(str(id)))


@API.post("/v1/timers/{id}/firings", operation_id="timers_fire", tags=["timers"])
async def fire_timer(id: Id, door: Annotated[Door, needs("timers:write")]) -> Response:
    """Now, however early or late."""
    origin, by, zone = origin_of(door), door.caller.employee_id, await company_zone(door)
    row = await door.one(select(TIMERS_TABLE).where(TIMERS_TABLE.c.id == str(id)))
    company: planning.Reads = ((CALENDAR, COMPANY),) if row["follows_company"] else ()

    def command(seen: Facts) -> FireNow:
        return FireNow(seen.now, Calendars(seen.state(CALENDAR, COMPANY) if company else Calendar(), company_zone=zone), by, origin)

    return await door.ask(Addressed(TIMER, str(id), command, company), answer=_timer_answer(str(id)))


class Postponement(Body):
    to: Instant


@API.post("/v1/timers/{id}/postponements", operation_id="timers_postpone", tags=["timers"])
async def postpone_timer(id: Id, body: Postponement, door: Annotated[Door, needs("timers:write")]) -> Response:
    """Or brought forward: to exactly this moment, whatever the working hours."""
    origin, zone = origin_of(door), await company_zone(door)
    when = When("at", anchor_instant=body.to, zone=zone)

    def command(seen: Facts) -> RearmTimer:
        return RearmTimer(None, when, Calendars(company_zone=zone), seen.now, origin)

    return await door.ask(Addressed(TIMER, str(id), command), answer=_timer_answer(str(id)))


@API.get("/v1/lateness", operation_id="lateness_get", tags=["timers"])
async def lateness(
    door: Annotated[Door, needs("timers:read")], since: Annotated[Instant, Query(alias="from")], to: Moment = None
) -> Response:
    """Due against fired, by the hour: the timer promise (capability 14). At most 62 days."""
    until = to or await door.now()
    _window(since, until)
    t, hour = LATENESS_TABLE.c, func.date_trunc("hour", LATENESS_TABLE.c.at).label("hour")
    late = t.lateness_ms
    query = (
        select(
            hour,
            func.count().label("timers"),
            func.count().filter(t.outcome == "missed").label("missed"),
            func.percentile_disc(0.5).within_group(late).label("p50_ms"),
            func.percentile_disc(0.99).within_group(late).label("p99_ms"),
            func.max(late).label("max_ms"),
        )
        .where(t.at >= since, t.at < until, t.outcome != "early")
        .group_by(hour)
        .order_by(hour)
    )
    async with door.reading() as sql:
        rows = (await sql.execute(query)).mappings().all()
    return JsonAnswer({"items": [dict(row) for row in rows]})


def _window(since: datetime, until: datetime) -> None:
    if not timedelta() < until - since <= timedelta(days=62):
        fault = Fault("query/to", "bad_interval", "The window ends after it begins and is at most 62 days long.")
        raise Rejected("bad_interval", fault.detail, status=422, errors=[fault])


class TimePreview(WhenBody):
    """`repeat`: a cron line; the next twenty occurrences are shown."""

    repeat: Text255 | None = None


@API.post("/v1/time-previews", operation_id="time_previews_create", tags=["timers"])
async def preview_time(body: TimePreview, door: Annotated[Door, needs("timers:read")]) -> Response:
    """When it would be, and why. Writes nothing."""
    when, zone = body.when(), await company_zone(door)
    known = Calendars(await _calendar(door, COMPANY), await _calendar(door, when.responsible_id), zone)
    due = resolve(when, known, await door.now())
    following = cron(body.repeat).occurrences(due.due_at, ZoneInfo(due.zone)) if body.repeat else iter(())
    return JsonAnswer({**asdict(due), "occurrences": list(islice(following, 20))})


async def _calendar(door: Door, id: str | None) -> Calendar:
    if id is None:
        return Calendar()
    try:
        return (await door.state_at(CALENDAR, id))[0]
    except NotFound:
        return Calendar()


# -------------------------------------------------------------------------------------------------------- rehearsals


class ClockMove(Body):
    """Exactly one of `to`, a moment, and `by`, a span like 180d or 1d 2h (w, d in the tenant's zone, h, min, s).

    The clock stops where something rings on the way, and goes on with the next call; `through`: it does not stop."""

    to: Instant | None = None
    by: Annotated[str, Field(max_length=50, pattern=r"^\d{1,6}(w|d|h|min|s)( \d{1,6}(w|d|h|min|s))*$")] | None = None
    through: Flag = False

    @model_validator(mode="after")
    def one_of_them(self) -> ClockMove:
        if (self.to is None) == (self.by is None):
            raise PydanticCustomError("one_of", "Exactly one of to and by.")
        return self

    def target(self, now: datetime, zone: str) -> datetime:
        """Days keep the wall clock, as they do for a rule (D11)."""
        if self.to is not None:
            return self.to
        spans = re.findall(r"(\d+)(w|d|h|min|s)", self.by or "")
        offset = Offset(**{name: sum(int(n) for n, unit in spans if unit == short) for short, name in SPANS.items()})
        try:
            return resolve(When("after", anchor_instant=now, offset=offset, zone=zone), Calendars(company_zone=zone), now).due_at
        except Rejected:
            raise too_far("/by") from None


SPANS = {"w": "weeks", "d": "days", "h": "hours", "min": "minutes", "s": "seconds"}


def in_rehearsal(door: Door, tenant: UUID) -> Door:
    """The caller's own tenant; another one with admin:tenants."""
    if tenant == door.caller.tenant:
        return door
    if not door.may("admin:tenants"):
        raise NotFound("There is no such tenant.", "tenant_unknown")
    return door.in_tenant(tenant)


@API.post("/v1/rehearsals/{tenant}/clock", operation_id="rehearsals_move_clock", tags=["rehearsals"])
async def move_clock(tenant: Annotated[UUID, Path()], body: ClockMove, door: Annotated[Door, needs("rehearsals:write")]) -> Response:
    """Forwards (the first time to wherever the rehearsal begins), to the next moment at which something rings, at most to the one
    asked for. `arrived` says whether it got there; if not, ask again for `heading_for` once everything has come to rest."""
    there, id, origin = in_rehearsal(door, tenant), str(tenant), origin_of(door)

    def command(seen: Facts) -> MoveClock:
        known, next = seen.one(TENANTS, id), seen.all(views.RINGS_NEXT, id)[0]
        to = body.target(seen.now, "UTC" if known is None else known.zone)
        rings_at = seen.now if next["stale"] else next["at"]
        return MoveClock(None if known is None else known.rehearsal, to, seen.now, rings_at, body.through, origin)

    asked = Addressed(REHEARSAL, id, command, exclusive="rehearsal", finds=((TENANTS, id), (views.RINGS_NEXT, id)))
    return await there.ask(asked, answer=lambda done: Answer(200, _clock(id, done.state(REHEARSAL, id)), etag=done.version(REHEARSAL, id)))


def _clock(tenant: str, r: Rehearsal) -> dict[str, Any]:
    where = {"tenant_id": tenant, "moved": True, "now": r.stands_at, "heading_for": r.heading_for}
    return {**where, "arrived": r.stands_at == r.heading_for, "next_due_at": r.rings_at}


@API.get("/v1/rehearsals/{tenant}/clock", operation_id="rehearsals_clock", tags=["rehearsals"])
async def rehearsal_clock(tenant: Annotated[UUID, Path()], door: Annotated[Door, needs("timers:read")]) -> Response:
    """Where it stands, and when the next timer or reminder rings: due ones, which are about to ring, are not after `now`."""
    there = in_rehearsal(door, tenant)
    known = await _tenant(there)
    if not known:
        raise NotFound("There is no such tenant.", "tenant_unknown")
    if not known["rehearsal"]:
        raise not_a_rehearsal()
    try:
        state, version = await there.state_at(REHEARSAL, str(tenant))
    except NotFound:
        state, version = Rehearsal(), 0
    body = _clock(str(tenant), replace(state, rings_at=await _rings_at(there)))
    return door.shown(version, body) if version else JsonAnswer({**body, "moved": False, "now": await there.now()})


async def _rings_at(door: Door) -> datetime | None:
    t, a = TIMERS_TABLE.c, ACTIVITIES_TABLE.c
    first_timer, first_reminder = select(func.min(t.wakes_at)), select(func.min(a.reminds_at))
    async with door.reading() as sql:
        at: datetime | None = await sql.scalar(select(func.least(first_timer.scalar_subquery(), first_reminder.scalar_subquery())))
    return at


# --------------------------------------------------------------------------------------------------------- calendars


class HoursBody(Body):
    """`closes` may be 24:00."""

    opens: Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
    closes: Annotated[str, Field(pattern=r"^(([01][0-9]|2[0-3]):[0-5][0-9]|24:00)$")]


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
WeekBody = dict[Day, Annotated[list[HoursBody], Field(max_length=20)]]


class HolidayBody(Body):
    date: date
    name: Text255


class CompanyCalendar(Body):
    """`holiday_region`: a country, or a country and a part of it, such as DE-BY; its public holidays are added to `holidays`."""

    zone: Zone
    weekly: WeekBody
    holidays: Annotated[tuple[HolidayBody, ...], Field(max_length=2000)] = ()
    holiday_region: Annotated[str | None, Field(pattern=r"^[A-Z]{2}(-[A-Z0-9]{1,3})?$")] = None


class EmployeeCalendar(Body):
    """Without `weekly` the company's hours; without `zone` the employee's own, which it follows."""

    zone: Zone | None = None
    weekly: WeekBody | None = None
    time_tracking: Flag = False


class AbsenceBody(Body):
    starts_at: Instant
    ends_at: Instant


class ClockBody(Body):
    clock: Literal["in", "out"]


def shown_calendar(calendar: Calendar) -> dict[str, Any]:
    return dict(views.calendar_row(calendar))


async def _ask_calendar(door: Door, id: str, command: CalendarCommand, status: int = 200) -> Response:
    def answer(done: Result) -> Answer:
        return Answer(status, shown_calendar(done.state(CALENDAR, id)), etag=done.version(CALENDAR, id))

    return await door.ask(Addressed(CALENDAR, id, command), answer=answer)


YEARS_AHEAD = 10
"""For which the public holidays of a region are written into the calendar."""


def holidays_of(region: str, year: int, language: str) -> list[Holiday]:
    """Of a country or a part of it, named in that language if possible. Raises Rejected(unknown_holiday_region), 422."""
    country, _, part = region.partition("-")
    years = range(year - 1, year + YEARS_AHEAD + 1)
    try:
        spoken = holidays.country_holidays(country)
        named = next((each for each in spoken.supported_languages if each.startswith(language)), spoken.default_language)
        found = holidays.country_holidays(country, subdiv=part or None, years=years, language=named)
    except NotImplementedError:
        fault = Fault("/holiday_region", "unknown_holiday_region", f"No public holidays are known for {region}; write it like DE-BY.")
        raise Rejected("unknown_holiday_region", fault.detail, status=422, errors=[fault]) from None
    return [Holiday(day, str(name)) for day, name in sorted(found.items())]


@API.get("/v1/calendars/company", operation_id="calendars_get_company", tags=["calendars"])
async def get_company_calendar(door: Annotated[Door, needs("activities:read")]) -> Response:
    state, version = await door.state_at(CALENDAR, COMPANY)
    return door.shown(version, shown_calendar(state))


@API.put("/v1/calendars/company", operation_id="calendars_put_company", tags=["calendars"])
async def put_company_calendar(body: CompanyCalendar, door: Annotated[Door, needs("calendars:write")]) -> Response:
    """The first one is put with `If-Match: *`."""
    named = [Holiday(h.date, h.name) for h in body.holidays]
    language = (await _tenant(door)).get("language", "en")
    public = holidays_of(body.holiday_region, (await door.now()).year, language) if body.holiday_region else []
    week = week_of({day: [hours.model_dump() for hours in each] for day, each in body.weekly.items()})
    command = DefineCalendar(None, body.zone, week, origin_of(door), True, body.holiday_region, (*public, *named))
    return await _ask_calendar(door, COMPANY, command)


@API.post("/v1/calendars/company/holidays", operation_id="calendars_add_holiday", status_code=201, tags=["calendars"])
async def add_holiday(body: HolidayBody, door: Annotated[Door, needs("calendars:write")]) -> Response:
    return await _ask_calendar(door, COMPANY, AddHoliday(Holiday(body.date, body.name), origin_of(door)), 201)


@API.delete("/v1/calendars/company/holidays/{day}", operation_id="calendars_remove_holiday", tags=["calendars"])
async def remove_holiday(day: date, door: Annotated[Door, needs("calendars:write")]) -> Response:
    return await _ask_calendar(door, COMPANY, RemoveHoliday(day, origin_of(door)))


@API.get("/v1/calendars/{employee_id}", operation_id="calendars_get", tags=["calendars"])
async def get_calendar(employee_id: Id, door: Annotated[Door, needs("activities:read")]) -> Response:
    state, version = await door.state_at(CALENDAR, str(employee_id))
    return door.shown(version, shown_calendar(state))


@API.put("/v1/calendars/{employee_id}", operation_id="calendars_put", tags=["calendars"])
async def put_calendar(employee_id: Id, body: EmployeeCalendar, door: Annotated[Door, needs("calendars:write")]) -> Response:
    """The first one is put with `If-Match: *`."""
    person = await _employee(door, employee_id)
    weekly = body.weekly
    week = None if weekly is None else week_of({day: [hours.model_dump() for hours in each] for day, each in weekly.items()})
    zone, own = body.zone or person["zone"], body.zone is not None
    command = DefineCalendar(str(employee_id), zone, week, origin_of(door), own, time_tracking=body.time_tracking)
    return await _ask_calendar(door, str(employee_id), command)


@API.post("/v1/calendars/{employee_id}/absences", operation_id="calendars_add_absence", status_code=201, tags=["calendars"])
async def add_absence(employee_id: Id, body: AbsenceBody, door: Annotated[Door, needs("calendars:write")]) -> Response:
    person = await _employee(door, employee_id)
    command = AddAbsence(str(employee_id), Absence(body.starts_at, body.ends_at), person["zone"], origin_of(door))
    return await _ask_calendar(door, str(employee_id), command, 201)


@API.delete("/v1/calendars/{employee_id}/absences/{n}", operation_id="calendars_remove_absence", tags=["calendars"])
async def remove_absence(employee_id: Id, n: Annotated[int, Path(ge=0)], door: Annotated[Door, needs("calendars:write")]) -> Response:
    """`n` counts from 0, in the order of their beginning."""
    return await _ask_calendar(door, str(employee_id), RemoveAbsence(str(employee_id), n, origin_of(door)))


@API.post("/v1/calendars/{employee_id}/clock-events", operation_id="calendars_clock", status_code=201, tags=["calendars"])
async def clock_event(employee_id: Id, body: ClockBody, door: Annotated[Door, needs("calendars:write")]) -> Response:
    person = await _employee(door, employee_id)
    clocks = ClockIn if body.clock == "in" else ClockOut
    return await _ask_calendar(door, str(employee_id), clocks(str(employee_id), person["zone"], origin_of(door)), 201)


async def _employee(door: Door, id: UUID, pointer: str = "path/employee_id") -> Row:
    """Raises Rejected(unknown_reference), 422."""
    e = EMPLOYEES_TABLE.c
    try:
        return await door.one(select(e.zone, e.active).where(e.id == str(id)))
    except NotFound:
        raise _unknown(pointer, f"There is no employee {id}.") from None


def _unknown(pointer: str, detail: str) -> Rejected:
    return Rejected("unknown_reference", detail, status=422, errors=[Fault(pointer, "unknown_reference", detail)])


# -------------------------------------------------------------------------------------------------------- activities

Ids = Annotated[tuple[UUID, ...], Field(max_length=50)]
Minutes = Annotated[int, Field(strict=True, ge=1, le=10_080)]


def _web(link: str | None) -> str | None:
    if link is not None and not link.startswith(("http://", "https://")):
        raise PydanticCustomError("bad_link", "A link begins with http:// or https://.")
    return link


class ElementBody(Body):
    element_type: Literal["deal", "lead"]
    element_id: UUID


class ActivityFields(Body):
    """What can be changed later by PATCH."""

    name: Text255
    description: LongText = ""
    duration_minutes: Minutes = 60
    colour: Text255 = "default"
    calendar: Flag = False
    contact_ids: Ids = ()
    invitee_ids: Ids = ()
    address: Text255 | None = None
    room_id: UUID | None = None
    link: Annotated[str | None, Field(max_length=2000)] = None
    file_ids: Annotated[tuple[UUID, ...], Field(max_length=20)] = ()
    reminders: Annotated[tuple[Whole, ...], Field(max_length=5)] = ()
    auto_complete: Flag = False

    _link_is_web = field_validator("link")(_web)

    def details(self, responsible_id: str) -> Details:
        plain = self.model_dump(include=set(ActivityFields.model_fields))
        return Details(responsible_id=responsible_id, **{name: _as_text(value) for name, value in plain.items()})


def _as_text(value: Any) -> Any:
    """Ids as the domain has them: text, in tuples."""
    if isinstance(value, list | tuple):
        return tuple(_as_text(each) for each in value)
    return str(value) if isinstance(value, UUID) else value


class NewActivity(ActivityFields):
    id: UUID | None = None
    element: ElementBody | None = None
    visit_id: UUID | None = None
    deadline: WhenBody
    responsible_id: UUID
    on_room_conflict: Literal["mark", "fail"] = "mark"


class ActivityPatch(Body):
    """What is left out stays as it is."""

    name: Text255 | None = None
    description: LongText | None = None
    duration_minutes: Minutes | None = None
    colour: Text255 | None = None
    calendar: Flag | None = None
    contact_ids: Ids | None = None
    invitee_ids: Ids | None = None
    address: Text255 | None = None
    room_id: UUID | None = None
    link: Annotated[str | None, Field(max_length=2000)] = None
    file_ids: Annotated[tuple[UUID, ...] | None, Field(max_length=20)] = None
    reminders: Annotated[tuple[Whole, ...] | None, Field(max_length=5)] = None
    auto_complete: Flag | None = None

    _link_is_web = field_validator("link")(_web)

    def changes(self) -> dict[str, Any]:
        """Null empties what may be empty, and is refused for the rest."""
        given = self.model_dump(include=self.model_fields_set)
        for name, value in given.items():
            if value is None and name not in ("address", "room_id", "link"):
                fault = Fault(f"/{name}", "not_empty", "This cannot be empty.")
                raise Rejected("validation_failed", fault.detail, status=422, errors=[fault])
        return {name: _as_text(value) for name, value in given.items()}


def shown_activity(row: Row) -> dict[str, Any]:
    return {**without_chain(row), "state": row["status"]}


def activity_now(activity: Activity, id: str) -> dict[str, Any]:
    row = views.activity_row(activity)
    return {"id": id, **row, "state": row["status"]}


def _activity_answer(id: str, status: int = 200) -> Callable[[Result], Answer]:
    def answer(done: Result) -> Answer:
        location = f"/v1/activities/{id}" if status == 201 else None
        return Answer(status, activity_now(done.state(ACTIVITY, id), id), location=location, etag=done.version(ACTIVITY, id))

    return answer


@API.get("/v1/activities", operation_id="activities_list", tags=["activities"])
async def list_activities(
    door: Annotated[Door, needs("activities:read")],
    paging: Page,
    element_id: Choice = None,
    element_type: Choice = None,
    responsible_id: Choice = None,
    invitee_id: Choice = None,
    contact_id: Choice = None,
    state: Choice = None,
    colour: Choice = None,
    room_id: Choice = None,
    overdue: bool | None = None,
    calendar: bool | None = None,
    starts_at_from: Moment = None,
    starts_at_to: Moment = None,
    q: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    a = ACTIVITIES_TABLE.c
    wanted = [*one_of(a.element_id, element_id), *one_of(a.element_type, element_type), *one_of(a.responsible_id, responsible_id)]
    wanted += [*one_of(a.status, state), *one_of(a.colour, colour), *one_of(a.room_id, room_id)]
    wanted += [*_contains(a.invitee_ids, invitee_id), *_contains(a.contact_ids, contact_id)]
    wanted += between(a.starts_at, starts_at_from, starts_at_to)
    if overdue is not None:
        late = and_(a.status == "planned", a.starts_at < await door.now())
        wanted.append(late if overdue else not_(late))
    if calendar is not None:
        wanted.append(a.calendar.is_(calendar))
    if q is not None:
        wanted += [a.name.icontains(word, autoescape=True) for word in q.split()]
    query = select(ACTIVITIES_TABLE).where(*wanted)
    return await door.listed(query, paging, sort=(a.starts_at, a.created_at), shown=shown_activity, default="starts_at")


def _contains(column: ColumnElement[Any], wanted: str | None) -> list[ColumnElement[bool]]:
    return [] if wanted is None else [or_(*(column.contains([part.strip()]) for part in wanted.split(",")))]


@API.post("/v1/activities", operation_id="activities_create", status_code=201, tags=["activities"])
async def create_activity(body: NewActivity, door: Annotated[Door, needs("activities:write")]) -> Response:
    """In the zone of the responsible person, unless the deadline names one (D13)."""
    id, responsible = str(body.id or new_id()), await _employee(door, body.responsible_id, "/responsible_id")
    await _must_exist(door, body.invitee_ids, body.room_id)
    zone, element = await company_zone(door), body.element
    when = body.deadline.when()
    asked = planning.plan(
        planning.Plan(
            id,
            None,
            None if element is None else Element(element.element_type, str(element.element_id)),
            None if body.visit_id is None else str(body.visit_id),
            body.details(str(body.responsible_id)),
            when if when.zone else replace(when, zone=responsible["zone"]),
            zone,
            await door.now(),
            origin_of(door),
            body.on_room_conflict == "fail",
        )
    )
    return await door.ask(*asked, answer=_activity_answer(id, 201))


async def _must_exist(door: Door, people: Iterable[UUID], room_id: UUID | None) -> None:
    """Raises Rejected(unknown_reference), 422, one fault for each that is unknown."""
    wanted = {str(person) for person in people}
    e, r = EMPLOYEES_TABLE.c, ROOMS_TABLE.c
    async with door.reading() as sql:
        known = set((await sql.execute(select(e.id).where(e.id.in_(wanted)))).scalars()) if wanted else set()
        room = (await sql.execute(select(r.id).where(r.id == str(room_id), r.status == "active"))).scalar() if room_id else "none"
    faults = [Fault("/invitee_ids", "unknown_reference", f"There is no employee {person}.") for person in sorted(wanted - known)]
    if room is None:
        faults.append(Fault("/room_id", "unknown_reference", f"There is no room {room_id} that can be booked."))
    if faults:
        raise Rejected("unknown_reference", faults[0].detail, status=422, errors=faults)


@API.get("/v1/activities/{id}", operation_id="activities_get", tags=["activities"])
async def get_activity(id: Id, door: Annotated[Door, needs("activities:read")], version: Version = None) -> Response:
    state, at = await door.state_at(ACTIVITY, str(id), version)
    return door.shown(at, activity_now(state, str(id)))


@API.get("/v1/activities/{id}/events", operation_id="activities_events", tags=["activities"])
async def activity_events(id: Id, door: Annotated[Door, needs("activities:read")], paging: Page) -> Response:
    return await door.history(ACTIVITY, str(id), paging)


@API.patch("/v1/activities/{id}", operation_id="activities_change", tags=["activities"])
async def change_activity(id: Id, body: ActivityPatch, door: Annotated[Door, needs("activities:write")]) -> Response:
    state, _ = await door.state_at(ACTIVITY, str(id))
    changes = body.changes()
    await _must_exist(door, body.invitee_ids or (), body.room_id)
    details = replace(state.details, **changes)
    asked = planning.change(Known(str(id), state.details.room_id), details, await door.now(), origin_of(door))
    return await door.ask(*asked, answer=_activity_answer(str(id)))


@API.post("/v1/activities/{id}/completions", operation_id="activities_complete", tags=["activities"])
async def complete_activity(id: Id, door: Annotated[Door, needs("activities:write")]) -> Response:
    asked = planning.complete(await _known(door, id), None, origin_of(door))
    return await door.ask(*asked, answer=_activity_answer(str(id)))


@API.post("/v1/activities/{id}/cancellations", operation_id="activities_cancel", tags=["activities"])
async def cancel_activity(id: Id, body: Reason, door: Annotated[Door, needs("activities:write")]) -> Response:
    asked = planning.cancel(await _known(door, id), None, body.reason, origin_of(door))
    return await door.ask(*asked, answer=_activity_answer(str(id)))


class Rescheduling(Body):
    deadline: WhenBody
    duration_minutes: Minutes | None = None


@API.post("/v1/activities/{id}/reschedulings", operation_id="activities_reschedule", tags=["activities"])
async def reschedule_activity(id: Id, body: Rescheduling, door: Annotated[Door, needs("activities:write")]) -> Response:
    """In the activity's zone, unless the deadline names another one."""
    state, _ = await door.state_at(ACTIVITY, str(id))
    when = body.deadline.when()
    if when.zone is None and state.moment is not None:
        when = replace(when, zone=state.moment.zone)
    known = Known(str(id), state.details.room_id)
    asked = planning.reschedule(known, None, when, await company_zone(door), await door.now(), body.duration_minutes, origin_of(door))
    return await door.ask(*asked, answer=_activity_answer(str(id)))


class Reassignment(Body):
    """`keep_local_time`: 14:00 stays 14:00, in the new person's zone (D13b)."""

    responsible_id: UUID
    keep_local_time: Flag = False


@API.post("/v1/activities/{id}/reassignments", operation_id="activities_reassign", tags=["activities"])
async def reassign_activity(id: Id, body: Reassignment, door: Annotated[Door, needs("activities:write")]) -> Response:
    person = await _employee(door, body.responsible_id, "/responsible_id")
    command = ReassignActivity(str(body.responsible_id), await door.now(), origin_of(door), body.keep_local_time, person["zone"])
    return await door.ask(*planning.reassign(await _known(door, id), command), answer=_activity_answer(str(id)))


async def _known(door: Door, id: UUID) -> Known:
    """Raises NotFound."""
    row = await door.one(select(ACTIVITIES_TABLE.c.room_id).where(ACTIVITIES_TABLE.c.id == str(id)))
    return Known(str(id), row["room_id"])


@API.get("/v1/calendar-entries", operation_id="calendar_entries_list", tags=["calendars"])
async def calendar_entries(
    door: Annotated[Door, needs("activities:read")],
    employee_id: Annotated[str, Query(max_length=1000, description="One employee, or several separated by commas.")],
    since: Annotated[Instant | date, Query(alias="from")],
    to: Annotated[Instant | date, Query()],
) -> Response:
    """Activities that stand in the calendars of these employees, and their absences, in order. At most 62 days."""
    start, end = _instant(since), _instant(to)
    _window(start, end)
    people = [part.strip() for part in employee_id.split(",")]
    async with door.reading() as sql:
        activities = (await sql.execute(_entries(people, start, end))).mappings().all()
        calendars = (await sql.execute(select(CALENDARS_TABLE).where(CALENDARS_TABLE.c.id.in_(people)))).mappings().all()
    entries = [{"kind": "activity", **shown_activity(row)} for row in activities]
    entries += [entry for row in calendars for entry in _absences(row, start, end)]
    return JsonAnswer({"items": sorted(entries, key=lambda entry: entry["starts_at"])})


def _instant(given: datetime | date) -> datetime:
    if isinstance(given, datetime):
        return given
    return datetime.combine(given, time(), tzinfo=UTC)


def _entries(people: list[str], start: datetime, end: datetime) -> Select[Any]:
    """An entry that was withdrawn, with its activity cancelled or done before it began, stands there no longer (D50)."""
    a = ACTIVITIES_TABLE.c
    stands = or_(a.status == "planned", and_(a.status == "completed", a.starts_at <= a.ended_at))
    theirs = or_(*(a.people.contains([person]) for person in people))
    return select(ACTIVITIES_TABLE).where(a.calendar, stands, theirs, a.starts_at < end, a.ends_at > start).order_by(a.starts_at, a.id)


def _absences(row: Row, start: datetime, end: datetime) -> Iterable[dict[str, Any]]:
    for absence in row["absences"]:
        begins, ends = datetime.fromisoformat(absence["starts_at"]), datetime.fromisoformat(absence["ends_at"])
        if begins < end and ends > start:
            yield {"kind": "absence", "employee_id": row["id"], "starts_at": begins, "ends_at": ends}


# ------------------------------------------------------------------------------------------------------------- rooms


class RoomFields(Body):
    name: Text255
    capacity: Annotated[int | None, Field(strict=True, ge=1, le=100_000)] = None
    location: Text255 | None = None


class NewRoom(RoomFields):
    id: UUID | None = None
    code: Code


class RoomPatch(Body):
    name: Text255 | None = None
    capacity: Annotated[int | None, Field(strict=True, ge=1, le=100_000)] = None
    location: Text255 | None = None


def shown_room(room: Room, id: str) -> dict[str, Any]:
    return {
        "id": id,
        "code": room.code,
        "name": room.name,
        "capacity": room.capacity,
        "location": room.location,
        "state": room.status,
    }


def _room_answer(id: str, status: int = 200) -> Callable[[Result], Answer]:
    location = f"/v1/rooms/{id}" if status == 201 else None
    return lambda done: Answer(status, shown_room(done.state(ROOM, id), id), location=location, etag=done.version(ROOM, id))


LAST_BOOKINGS = (
    select(BOOKINGS_TABLE)
    .ext(distinct_on(BOOKINGS_TABLE.c.id, BOOKINGS_TABLE.c.activity_id))
    .order_by(BOOKINGS_TABLE.c.id, BOOKINGS_TABLE.c.activity_id, BOOKINGS_TABLE.c.version.desc(), BOOKINGS_TABLE.c.n.desc())
    .subquery("last_bookings")
)
"""Of each activity in each room what was said last."""


@API.get("/v1/rooms", operation_id="rooms_list", tags=["rooms"])
async def list_rooms(
    door: Annotated[Door, needs("activities:read")],
    paging: Page,
    state: Choice = None,
    code: Choice = None,
    capacity_from: Annotated[int | None, Query(ge=1)] = None,
    free_from: Moment = None,
    free_to: Moment = None,
) -> Response:
    """`free_from` and `free_to`: rooms without a booking in between."""
    r = ROOMS_TABLE.c
    wanted = [*one_of(r.status, state), *one_of(r.code, code)]
    if capacity_from is not None:
        wanted.append(r.capacity >= capacity_from)
    if free_from is not None and free_to is not None:
        b = LAST_BOOKINGS.c
        taken = exists().where(b.id == r.id, b.state != "released", b.starts_at < free_to, b.ends_at > free_from)
        wanted.append(not_(taken))
    query = select(ROOMS_TABLE).where(*wanted)
    return await door.listed(query, paging, sort=(r.code, r.name, r.capacity), shown=_listed_room, default="code")


def _listed_room(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in ("id", "code", "name", "capacity", "location")} | {"state": row["status"]}


@API.post("/v1/rooms", operation_id="rooms_create", status_code=201, tags=["rooms"])
async def create_room(body: NewRoom, door: Annotated[Door, needs("calendars:write")]) -> Response:
    id, origin = str(body.id or new_id()), origin_of(door)

    def command(seen: Facts) -> AddRoom:
        if any(row["id"] != id for row in seen.all(views.ROOM_BY_CODE, body.code)):
            fault = Fault("/code", "code_taken", f"Another room has the code {body.code}.")
            raise Rejected("code_taken", fault.detail, errors=[fault])
        return AddRoom(body.code, body.name, body.capacity, body.location, origin)

    asked = Addressed(ROOM, id, command, exclusive=f"room-codes/{body.code}", finds=((views.ROOM_BY_CODE, body.code),))
    return await door.ask(asked, answer=_room_answer(id, 201))


@API.get("/v1/rooms/{id}", operation_id="rooms_get", tags=["rooms"])
async def get_room(id: Id, door: Annotated[Door, needs("activities:read")], version: Version = None) -> Response:
    state, at = await door.state_at(ROOM, str(id), version)
    return door.shown(at, shown_room(state, str(id)))


@API.get("/v1/rooms/{id}/events", operation_id="rooms_events", tags=["rooms"])
async def room_events(id: Id, door: Annotated[Door, needs("activities:read")], paging: Page) -> Response:
    return await door.history(ROOM, str(id), paging)


@API.patch("/v1/rooms/{id}", operation_id="rooms_change", tags=["rooms"])
async def change_room(id: Id, body: RoomPatch, door: Annotated[Door, needs("calendars:write")]) -> Response:
    state, _ = await door.state_at(ROOM, str(id))
    given = body.model_dump(include=body.model_fields_set)
    fields = {"name": state.name, "capacity": state.capacity, "location": state.location} | given
    if fields["name"] is None:
        raise Rejected("validation_failed", "A room has a name.", status=422, errors=[Fault("/name", "not_empty", "A room has a name.")])
    return await door.ask(Addressed(ROOM, str(id), ChangeRoom(**fields, origin=origin_of(door))), answer=_room_answer(str(id)))


@API.delete("/v1/rooms/{id}", operation_id="rooms_retire", tags=["rooms"])
async def retire_room(id: Id, door: Annotated[Door, needs("calendars:write")]) -> Response:
    """It takes no bookings any more; those it has stay."""
    return await door.ask(Addressed(ROOM, str(id), RetireRoom(origin_of(door))), answer=_room_answer(str(id)))


@API.get("/v1/rooms/{id}/bookings", operation_id="rooms_bookings", tags=["rooms"])
async def room_bookings(
    id: Id, door: Annotated[Door, needs("activities:read")], since: Annotated[Instant, Query(alias="from")], to: Annotated[Instant, Query()]
) -> Response:
    """In order. At most 62 days."""
    _window(since, to)
    b = LAST_BOOKINGS.c
    query = select(LAST_BOOKINGS).where(b.id == str(id), b.state != "released", b.starts_at < to, b.ends_at > since).order_by(b.starts_at)
    async with door.reading() as sql:
        rows = (await sql.execute(query)).mappings().all()
    names = ("activity_id", "state", "starts_at", "ends_at")
    return JsonAnswer({"items": [{name: row[name] for name in names} for row in rows]})
