"""What deals hear: the commands to it, and of its own words which deals were won. What others say goes into the timeline (replicas.py)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal
from uuid import UUID

from services.deals import views
from services.deals.asks import customers, elements
from services.deals.asks.asker import Asker
from services.deals.asks.customers import details_key
from services.deals.domain.origin import Origin
from shared.contracts import common, deals
from shared.es.addressed import Addressed, Facts
from shared.es.errors import Fault, Rejected
from shared.messaging.envelope import Message
from shared.messaging.subscription import Need, Subscription

Asked = Iterable[Addressed[Any]]


def asker_of(message: Message[Any]) -> Asker:
    """In whose name, and why. Another back end that names no origin is an API client."""
    body, context = message.body, message.envelope.context
    return Asker(context.tenant, context.actor, _origin(body.origin), UUID(body.request_id))


def _origin(said: common.Origin | None) -> Origin:
    if said is None:
        return Origin("api")
    return Origin(
        said.kind,
        _uuid(said.id),
        said.version,
        _uuid(said.visit_id),
        _uuid(said.decision_id),
        _uuid(said.backfill_id),
        said.acting_fallback,
        tuple(UUID(id) for id in said.chain),
    )


def _uuid(text: str | None) -> UUID | None:
    return None if text is None else UUID(text)


def _given(body: Any, *names: str) -> dict[str, Any]:
    """The named fields that have a value, as JSON values."""
    return body.model_dump(mode="json", include=set(names), exclude_none=True)  # type: ignore[no-any-return]


def _must_be_the_request(body: Any, id: str) -> UUID:
    """What a command creates has the id of its request."""
    if body.request_id != id:
        fault = Fault("/request_id", "invalid_body", "It must be the id of what is created.")
        raise Rejected("invalid_body", fault.detail, status=422, errors=(fault,))
    return UUID(id)


# ----------------------------------------------------------------------------------------------------------------- deals
def create_deal(message: Message[deals.CreateDeal], facts: Facts) -> Asked:
    body = message.body
    yield elements.create_deal(
        asker_of(message),
        elements.NewDeal(
            _must_be_the_request(body, body.deal_id),
            UUID(body.pipeline_id),
            body.fields.model_dump(mode="json", exclude_none=True),
            _uuid(body.stage_id),
            body.stage_id is not None and _is_elsewhere(facts, body.stage_id, body.pipeline_id),
            body.automation,
            _uuid(body.quote_id),
            _uuid(body.lead_id),
            "/fields",
        ),
    )


def _is_elsewhere(facts: Facts, stage_id: str, pipeline_id: str) -> bool:
    home = facts.one(views.PIPELINE_OF_STAGE, stage_id)
    return home is not None and str(home) != pipeline_id


def change_deal(message: Message[deals.ChangeDealFields], facts: Facts) -> Asked:
    yield elements.change_deal(asker_of(message), UUID(message.body.deal_id), message.body.changes)


def change_lead(message: Message[deals.ChangeLeadFields], facts: Facts) -> Asked:
    yield elements.change_lead(asker_of(message), UUID(message.body.lead_id), message.body.changes)


def move(message: Message[deals.MoveToStage], facts: Facts) -> Asked:
    body = message.body
    yield elements.move_element(
        asker_of(message),
        elements.Move(
            body.element_type,
            UUID(body.element_id),
            UUID(body.stage_id),
            facts.one(views.PIPELINE_OF_STAGE, body.stage_id),
            _mover(body),
            body.automation,
            _uuid(body.if_visit_id),
            body.loss_reason,
            _uuid(body.decision_id),
        ),
    )


def _mover(body: deals.MoveToStage) -> str:
    """Why an element moves when a message asks for it."""
    if body.decision_id is not None:
        return "trigger"
    return "rule" if body.origin is not None and body.origin.kind == "rule" else "api"


def copy_deal(message: Message[deals.CopyDeal], facts: Facts) -> Asked:
    body = message.body
    new = elements.NewCopy(
        UUID(body.source_deal_id),
        UUID(body.request_id),
        UUID(body.pipeline_id),
        _uuid(body.stage_id),
        body.name,
        _uuid(body.responsible_id),
    )
    return elements.copy_deal(asker_of(message), new)


def delete_deal(message: Message[deals.DeleteDeal], facts: Facts) -> Asked:
    body = message.body
    yield elements.delete_element(asker_of(message), "deal", UUID(body.deal_id), if_untouched=body.if_untouched)


# ----------------------------------------------------------------------------------------------------------------- leads
def create_lead(message: Message[deals.CreateLead], facts: Facts) -> Asked:
    body = message.body
    yield elements.create_lead(
        asker_of(message),
        elements.NewLead(
            UUID(body.request_id),
            _default_pipeline(facts, "lead"),
            _given(body, "title", "responsible_id", "contact_ids", "company_id"),
            source_deal_id=_uuid(body.source_deal_id),
            recurring=body.recurring,
            skip_if_open_exists=body.skip_if_open_exists,
        ),
    )


def _default_pipeline(facts: Facts, element_type: Literal["deal", "lead"]) -> UUID:
    pipeline = facts.one(views.DEFAULT_PIPELINE, element_type)
    if pipeline is None:
        raise Rejected("target_missing", f"The tenant has no pipeline for {element_type}s.")
    return pipeline


def delete_lead(message: Message[deals.DeleteLead], facts: Facts) -> Asked:
    body = message.body
    yield elements.delete_element(asker_of(message), "lead", UUID(body.lead_id), if_untouched=body.if_untouched)


def convert_lead(message: Message[deals.CreateDealFromLead], facts: Facts) -> Asked:
    body = message.body
    chosen: dict[str, str | None] = {"deal": body.deal_id, "contact": body.contact_id, "company": body.company_id}
    made: dict[str, UUID] = {target: UUID(id) for target in body.targets if (id := chosen[target]) is not None}
    if len(made) < len(set(body.targets)) or not made:
        raise Rejected("invalid_body", "An id must be given for each target, and at least one target.", status=422)
    deal_pipeline = _uuid(body.pipeline_id) or facts.one(views.DEFAULT_PIPELINE, "deal")
    home = facts.one(views.PIPELINE_OF_LEAD, body.lead_id)
    people = _uuid(body.responsible_id)
    conversion = elements.Conversion(UUID(body.lead_id), made, deal_pipeline, home, body.close_lead, people, elements.title(body.title))
    return elements.convert_lead(asker_of(message), conversion)


# ------------------------------------------------------------------------------------------------------------- customers
def create_contact(message: Message[deals.CreateContact], facts: Facts) -> Asked:
    body = message.body
    names = ("first_name", "last_name", "emails", "phones", "company_ids", "zone", "language", "responsible_id", "custom")
    yield customers.create_contact(asker_of(message), _must_be_the_request(body, body.contact_id), _given(body, *names))


def create_company(message: Message[deals.CreateCompany], facts: Facts) -> Asked:
    body = message.body
    names = ("name", "emails", "phones", "responsible_id", "custom")
    yield customers.create_company(asker_of(message), _must_be_the_request(body, body.company_id), _given(body, *names))


def change_details(message: Message[deals.ChangeDetails], facts: Facts) -> Asked:
    """The owner's record by this template, the default one if there are several (D45); of a merged owner the survivor's."""
    body = message.body
    found = facts.one(views.DETAILS_OF_SURVIVOR, _details_key(message))
    if found is None:
        raise Rejected("no_details", f"This {body.owner_type} has no record by the template {body.template_code[:64]}.")
    about = (body.owner_type, body.template_code, body.address_type, body.fields)
    yield customers.change_details(asker_of(message), found, *about)


def _details_key(message: Message[deals.ChangeDetails]) -> str:
    return details_key(UUID(message.body.owner_id), message.body.template_code)


def restore_details(message: Message[deals.RestoreDetails], facts: Facts) -> Asked:
    body = message.body
    yield customers.restore_details(asker_of(message), UUID(body.details_id), body.if_sequence, body.before)


def note_purchase(message: Message[deals.StageChanged], facts: Facts) -> Asked:
    """Our own word, heard: whoever's deal was won is a repeated customer from now on. A decision rests on streams, not on a
    view that shows some of what a batch has done; hence the customer's stream has to know."""
    body = message.body
    customer = facts.one(views.CUSTOMER_OF_DEAL, body.element_id)
    if (body.element_type, body.stage_kind) != ("deal", "success") or customer is None:
        return
    asker = Asker(message.envelope.context.tenant, message.envelope.context.actor, _origin(body.origin))
    for id in customer.contact_ids:
        yield customers.note_purchase(asker, "contact", facts.one(views.SURVIVING_CONTACT, id) or UUID(id))
    for id in customer.company_ids:
        yield customers.note_purchase(asker, "company", facts.one(views.SURVIVING_COMPANY, id) or UUID(id))


# ------------------------------------------------------------------------------------------------------------------ table
HOME_OF_STAGE = Need[Any, UUID](views.PIPELINE_OF_STAGE, lambda m: [m.body.stage_id] if m.body.stage_id else [])
DEFAULT_FOR_LEADS = Need[Any, UUID](views.DEFAULT_PIPELINE, lambda m: ["lead"])
DEFAULT_FOR_DEALS = Need[Any, UUID](views.DEFAULT_PIPELINE, lambda m: ["deal"])
SURVIVORS = (
    Need[views.Customer, UUID](views.SURVIVING_CONTACT, lambda customer: customer.contact_ids),
    Need[views.Customer, UUID](views.SURVIVING_COMPANY, lambda customer: customer.company_ids),
)
CUSTOMER_OF_DEAL = Need[Message[deals.StageChanged], views.Customer](views.CUSTOMER_OF_DEAL, lambda m: [m.body.element_id], SURVIVORS)
HOME_OF_LEAD = Need[Message[deals.CreateDealFromLead], UUID](views.PIPELINE_OF_LEAD, lambda m: [m.body.lead_id])
RECORD_OF_OWNER = Need[Message[deals.ChangeDetails], UUID](views.DETAILS_OF_SURVIVOR, lambda m: [_details_key(m)])

SUBSCRIPTIONS: tuple[Subscription[Any], ...] = (
    Subscription(deals.CreateDeal, create_deal, (HOME_OF_STAGE,)),
    Subscription(deals.ChangeDealFields, change_deal),
    Subscription(deals.ChangeLeadFields, change_lead),
    Subscription(deals.MoveToStage, move, (HOME_OF_STAGE,)),
    Subscription(deals.CopyDeal, copy_deal),
    Subscription(deals.DeleteDeal, delete_deal),
    Subscription(deals.CreateLead, create_lead, (DEFAULT_FOR_LEADS,)),
    Subscription(deals.DeleteLead, delete_lead),
    Subscription(deals.CreateDealFromLead, convert_lead, (DEFAULT_FOR_DEALS, HOME_OF_LEAD)),
    Subscription(deals.CreateContact, create_contact),
    Subscription(deals.CreateCompany, create_company),
    Subscription(deals.ChangeDetails, change_details, (RECORD_OF_OWNER,)),
    Subscription(deals.RestoreDetails, restore_details),
    Subscription(deals.StageChanged, note_purchase, (CUSTOMER_OF_DEAL,)),
)
