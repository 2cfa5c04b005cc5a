"""What the scheduler hears, and what each message means here. (scheduler 9)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, datetime, time
from typing import Any

from services.scheduler import planning, views
from services.scheduler.domain.activity import HOUR, Details, Element
from services.scheduler.domain.calendar import CALENDAR, FollowEmployee
from services.scheduler.domain.due import Offset, When
from services.scheduler.domain.origin import Origin
from services.scheduler.domain.timer import TIMER, WAIT_LIMIT, CancelTimer, RearmTimer, SetTimer
from services.scheduler.planning import Known
from services.scheduler.replicas import EMPLOYEES, TENANTS
from shared.contracts import common, deals, scheduler
from shared.es.addressed import Addressed, Facts
from shared.es.view import Row
from shared.messaging.contract import Contract
from shared.messaging.envelope import Message
from shared.messaging.subscription import Need, Subscription

Asked = Iterable[Addressed[Any]]

# ------------------------------------------------------------------------------------------------------- translating


def when_of(w: common.When) -> When:
    return When(
        w.mode,
        None if w.anchor_instant is None else datetime.fromisoformat(w.anchor_instant),
        None if w.anchor_date is None else date.fromisoformat(w.anchor_date),
        Offset() if w.offset is None else Offset(**{unit: n for unit, n in w.offset.model_dump().items() if n is not None}),
        None if w.local_time is None else time.fromisoformat(w.local_time),
        w.zone,
        w.working_hours,
        w.responsible_id,
    )


def origin_of(origin: common.Origin | None) -> Origin:
    """Another back end that says nothing about itself is an API client."""
    return Origin("api") if origin is None else Origin(**origin.model_dump())


def company_zone(facts: Facts) -> str:
    """The tenant's zone; UTC for one that is not known yet."""
    tenant = facts.one(TENANTS, str(facts.tenant))
    return "UTC" if tenant is None else str(tenant.zone)


def _tenant(message: Message[Any]) -> list[str]:
    return [str(message.envelope.context.tenant)]


OF_TENANT: Need[Message[Any], Any] = Need(TENANTS, _tenant)

# ------------------------------------------------------------------------------------------------------------ timers


def set_timer(message: Message[scheduler.SetTimer], facts: Facts) -> Asked:
    body, origin, zone = message.body, origin_of(message.body.origin), company_zone(facts)
    when = when_of(body.when)

    def command(seen: Facts) -> SetTimer:
        return SetTimer(
            body.request_id,
            body.owner,
            body.about,
            when,
            planning.calendars(seen, when, zone),
            seen.now,
            origin,
            body.max_lateness,
            WAIT_LIMIT if body.wait_limit is None else body.wait_limit,
            body.repeat,
            body.repeat_misfire or "one",
        )

    yield Addressed(TIMER, body.timer_id, command, planning.rests_on(when))


def rearm_timer(message: Message[scheduler.RearmTimer], facts: Facts) -> Asked:
    body, origin, zone = message.body, origin_of(message.body.origin), company_zone(facts)
    when = when_of(body.when)

    def command(seen: Facts) -> RearmTimer:
        return RearmTimer(body.request_id, when, planning.calendars(seen, when, zone), seen.now, origin)

    yield Addressed(TIMER, body.timer_id, command, planning.rests_on(when))


def cancel_timer(message: Message[scheduler.CancelTimer], facts: Facts) -> Asked:
    body = message.body
    yield Addressed(TIMER, body.timer_id, CancelTimer(body.request_id, body.reason, origin_of(body.origin)))


# -------------------------------------------------------------------------------------------------------- activities


def plan_activity(message: Message[scheduler.PlanActivity], facts: Facts) -> Asked:
    """In the zone of the assignee, else the pipeline's, else the company's (D13)."""
    b = message.body
    assignee = facts.one(EMPLOYEES, b.responsible_id)
    zone = b.deadline.zone or (assignee.zone if assignee else None) or b.fallback_zone
    return planning.plan(
        planning.Plan(
            activity_id=b.activity_id,
            request_id=b.request_id,
            element=None if b.element is None else Element(b.element.element_type, b.element.element_id),
            visit_id=b.visit_id,
            details=_details(b),
            deadline=when_of(b.deadline.model_copy(update={"zone": zone})),
            company_zone=company_zone(facts),
            at=datetime.fromisoformat(b.executed_at),
            origin=origin_of(b.origin),
            strict=b.on_room_conflict == "fail",
        )
    )


def _details(b: scheduler.PlanActivity) -> Details:
    return Details(
        name=b.name,
        responsible_id=b.responsible_id,
        description=b.description,
        duration_minutes=HOUR if b.duration_minutes is None else b.duration_minutes,
        colour=b.colour,
        calendar=b.calendar,
        contact_ids=b.contact_ids,
        invitee_ids=b.invitee_ids,
        address=b.address,
        room_id=b.room_id,
        link=b.link,
        file_ids=b.file_ids,
        reminders=b.reminders,
        auto_complete=b.auto_complete,
    )


def reschedule_activity(message: Message[scheduler.RescheduleActivity], facts: Facts) -> Asked:
    b = message.body
    row = facts.one(views.ACTIVITY_BY_ID, b.activity_id)
    zone = b.deadline.zone or (None if row is None else row["zone"])
    return planning.reschedule(
        _known(b.activity_id, row),
        b.request_id,
        when_of(b.deadline.model_copy(update={"zone": zone})),
        company_zone(facts),
        datetime.fromisoformat(b.executed_at),
        b.duration_minutes,
        origin_of(b.origin),
    )


def complete_activity(message: Message[scheduler.CompleteActivity], facts: Facts) -> Asked:
    b = message.body
    return planning.complete(_known(b.activity_id, facts.one(views.ACTIVITY_BY_ID, b.activity_id)), b.request_id, origin_of(b.origin))


def cancel_activity(message: Message[scheduler.CancelActivity], facts: Facts) -> Asked:
    b = message.body
    known = _known(b.activity_id, facts.one(views.ACTIVITY_BY_ID, b.activity_id))
    return planning.cancel(known, b.request_id, b.reason, origin_of(b.origin), b.if_untouched)


def _known(activity_id: str, row: Row | None) -> Known:
    return Known(activity_id, None if row is None else row["room_id"])


def _activity(message: Message[Any]) -> list[str]:
    return [message.body.activity_id]


OF_ACTIVITY: Need[Message[Any], Any] = Need(views.ACTIVITY_BY_ID, _activity)

# ----------------------------------------------------------------------------------------------------- others' facts


def end_with_visit(message: Message[deals.StageChanged], facts: Facts) -> Asked:
    """Activities that end with their visit are done (D50). What is planned too late, the ticker finds."""
    origin = origin_of(message.body.origin)
    for row in facts.all(views.OPEN_OF_VISIT, message.body.from_visit_id):
        if row["auto_complete"]:
            yield from planning.complete(Known(row["id"], row["room_id"], quietly=True), None, _not_a_person(origin))


def _not_a_person(origin: Origin) -> Origin:
    """Whoever moved the deal: it is we who complete the activity, by automation (D50)."""
    return Origin("system", chain=origin.chain) if origin.is_person else origin


def cancel_with_deal(message: Message[deals.DealDeleted], facts: Facts) -> Asked:
    return _cancelled(facts.all(views.OPEN_OF_ELEMENT, message.body.deal_id), origin_of(message.body.origin))


def cancel_with_lead(message: Message[deals.LeadDeleted], facts: Facts) -> Asked:
    return _cancelled(facts.all(views.OPEN_OF_ELEMENT, message.body.lead_id), origin_of(message.body.origin))


def _cancelled(rows: Sequence[Row], origin: Origin) -> Asked:
    """D51."""
    for row in rows:
        yield from planning.cancel(Known(row["id"], row["room_id"], quietly=True), None, "element_deleted", origin)


def follow_employee(message: Message[deals.EmployeeChanged], facts: Facts) -> Asked:
    """A calendar without a zone of its own moves along; the ticker computes anew what rests on it."""
    body = message.body
    yield Addressed(CALENDAR, body.employee_id, FollowEmployee(body.employee_id, body.zone, origin_of(body.origin)))


def _left_visit(message: Message[deals.StageChanged]) -> list[str]:
    return [message.body.from_visit_id]


def _deal(message: Message[deals.DealDeleted]) -> list[str]:
    return [message.body.deal_id]


def _lead(message: Message[deals.LeadDeleted]) -> list[str]:
    return [message.body.lead_id]


def _assignee(message: Message[scheduler.PlanActivity]) -> list[str]:
    return [message.body.responsible_id]


SUBSCRIPTIONS: tuple[Subscription[Any], ...] = (
    Subscription(scheduler.SetTimer, set_timer, (OF_TENANT,)),
    Subscription(scheduler.RearmTimer, rearm_timer, (OF_TENANT,)),
    Subscription(scheduler.CancelTimer, cancel_timer),
    Subscription(scheduler.PlanActivity, plan_activity, (OF_TENANT, Need(EMPLOYEES, _assignee))),
    Subscription(scheduler.RescheduleActivity, reschedule_activity, (OF_TENANT, OF_ACTIVITY)),
    Subscription(scheduler.CompleteActivity, complete_activity, (OF_ACTIVITY,)),
    Subscription(scheduler.CancelActivity, cancel_activity, (OF_ACTIVITY,)),
    Subscription(deals.StageChanged, end_with_visit, (Need(views.OPEN_OF_VISIT, _left_visit),)),
    Subscription(deals.DealDeleted, cancel_with_deal, (Need(views.OPEN_OF_ELEMENT, _deal),)),
    Subscription(deals.LeadDeleted, cancel_with_lead, (Need(views.OPEN_OF_ELEMENT, _lead),)),
    Subscription(deals.EmployeeChanged, follow_employee),
)

HEARD: tuple[type[Contract], ...] = tuple(subscription.contract for subscription in SUBSCRIPTIONS)
