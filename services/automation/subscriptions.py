"""What automation hears: arrivals, payments, timers, answers, refusals, definitions; each as commands to visits and decisions (11)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from typing import Any, TypeVar

from services.automation import replicas, views
from services.automation.domain import decision as dec
from services.automation.domain import visit as vis
from services.automation.domain.card import Card
from services.automation.domain.change import changed_fields
from services.automation.domain.decision import DECISION, Situation, decision_id, foreign_decision_id, unlinked_id
from services.automation.domain.definition import Ready, Trigger
from services.automation.domain.listening import element_named
from services.automation.domain.pace import Pace
from services.automation.domain.rule import RULE, DisableRule, InvalidateRule
from services.automation.domain.trigger import TRIGGER, InvalidateTrigger
from services.automation.domain.visit import VISIT
from services.automation.facts.cards import TRIGGERS, card_needs, card_of, needs_of_message, shown_pipeline
from services.automation.facts.visits import NEEDS_OF_RULES, Judging, Stage, asks, decides, judging, stage_of
from services.automation.settings import settings
from services.automation.views import DecisionRef, VisitRef, WaitingVisit
from shared.contracts import automation, billing, common, deals, notifications, scheduler
from shared.es.addressed import Addressed, Facts
from shared.es.aggregate import Json
from shared.es.errors import NotFound, NotYet, Rejected
from shared.es.view import Row
from shared.messaging.contract import Contract
from shared.messaging.envelope import Envelope, Message, instant
from shared.messaging.subscription import Need, Subscription

M = TypeVar("M")
Asks = Iterable[Addressed[Any]]
Needs = tuple[Need[Message[Any], Any], ...]

# ------------------------------------------------------------------------------------------------ arriving and leaving

Arrival = deals.DealCreated | deals.LeadCreated | deals.StageChanged


def element_of(message: Message[Any]) -> Iterable[str]:
    body = message.body
    return [getattr(body, "element_id", None) or getattr(body, "deal_id", None) or body.lead_id]


def nobody(message: Message[Any]) -> Iterable[str]:
    return ()


def stage_arrived_at(message: Message[Any]) -> Iterable[str]:
    return [message.body.stage_id]


def rules_of(stages: Callable[[M], Iterable[str]]) -> Need[M, Any]:
    """The rules of these stages with what they name."""
    return Need(views.RULES_BY_STAGE, stages, then=NEEDS_OF_RULES)


def stages_of(message: Message[deals.StageChanged]) -> Iterable[str]:
    return [message.body.stage_id, message.body.from_stage_id]


def must_know(element_id: str, facts: Facts) -> Card:
    card = card_of(element_id, facts)
    if card is None:
        raise NotYet(f"element {element_id} is not known to automation yet")
    return card


def arrived(message: Message[Any], facts: Facts) -> Asks:
    """A visit begins where rules wait for it; whoever waited for this element is told."""
    (element_id,) = element_of(message)
    return _arrived(message.body, element_id, must_know(element_id, facts), facts)


def _arrived(body: Arrival, element_id: str, card: Card, facts: Facts) -> Asks:
    stage = stage_of(card, body.stage_id, facts)
    if (stage.rules.in_force or stage.rules.on_trial) and body.automation == "on":
        yield from _begin_visit(body, element_id, stage)
    for id in facts.all(views.DECISIONS_FOR_ELEMENT, element_id):
        yield decides(id, judging(card, facts), lambda situation, seen: dec.Learn(element_id, situation, instant(seen.now)))


def _begin_visit(body: Arrival, element_id: str, stage: Stage) -> Asks:
    cast = stage.rules.cast(body.visit_id)

    def arrive(known: vis.Known, seen: Facts) -> vis.Arrive:
        recent = sum(row["runs_started"] for row in seen.all(views.LAST_VISITS, element_id) if _within_a_minute(row, seen))
        pace = Pace(settings().automation.new_runs_a_second, seen.one(views.TURNS, EVERY), seen.counted(NEW_RUNS))
        return vis.Arrive(
            body.visit_id,
            stage.card.element_type,
            element_id,
            body.pipeline_id,
            body.stage_id,
            body.visit_number,
            body.arrived_at,
            body.origin.chain,
            cast.rules,
            known,
            recent,
            pace,
            cast.left_out,
            cast.shadows,
        )

    own: dict[str, Any] = {"finds": ((views.LAST_VISITS, element_id),), "counts": (NEW_RUNS, lambda visit: visit.turns)}
    return asks(body.visit_id, stage, arrive, exclusive=f"runs/{element_id}", **own)


NEW_RUNS = "new runs"
EVERY = "every"
"""The key of what there is once in a tenant."""


def _within_a_minute(row: Row, seen: Facts) -> bool:
    return bool((seen.now - row["arrived_at"]).total_seconds() < 60)


def moved(message: Message[deals.StageChanged], facts: Facts) -> Asks:
    body = message.body
    card = must_know(body.element_id, facts)
    yield from asks(body.from_visit_id, stage_of(card, body.from_stage_id, facts), lambda known, seen: vis.Leave("stage_left", known))
    yield from answered(message, facts)
    yield from _arrived(body, body.element_id, card, facts)
    if body.decision_id:
        yield Addressed(DECISION, body.decision_id, dec.Moved(instant(facts.now)))


def made_by_a_step(message: Message[deals.LeadCreated], facts: Facts) -> Asks:
    """A lead arrives, and is the answer to whoever asked for it."""
    yield from arrived(message, facts)
    yield from answered(message, facts)


def deleted(message: Message[deals.DealDeleted | deals.LeadDeleted], facts: Facts) -> Asks:
    (element_id,) = element_of(message)
    stage = Stage(must_know(element_id, facts))
    return asks(message.body.visit_id, stage, lambda known, seen: vis.Leave("element_deleted", known))


def fields_changed(message: Message[deals.DealFieldsChanged | deals.LeadFieldsChanged], facts: Facts) -> Asks:
    """Date fields that runs wait for or count from, the responsible person whose hours they follow (D6, D10).

    The visit the message names is asked even if nothing waits there yet: it may have begun in this batch."""
    (element_id,) = element_of(message)
    card = must_know(element_id, facts)
    waiting = {visit.visit_id: visit.stage_id for visit in facts.all(views.WAITING_VISITS, element_id)}
    for visit_id, stage_id in ({message.body.visit_id: card.stage_id} | waiting).items():
        yield from asks(visit_id, stage_of(card, stage_id, facts), lambda known, seen: vis.FieldsChanged(known))


def changed_by_a_step(message: Message[deals.DealFieldsChanged | deals.LeadFieldsChanged], facts: Facts) -> Asks:
    """Fields have new values, and it is the answer to whoever asked for that."""
    yield from fields_changed(message, facts)
    yield from answered(message, facts)


def stage_stood_in(element: replicas.Element) -> Iterable[str]:
    return [element.stage_id]


def stage_of_waiting(waiting: WaitingVisit) -> Iterable[str]:
    return [waiting.stage_id]


ARRIVAL_NEEDS = (
    *needs_of_message(element_of, TRIGGERS),
    Need(views.DECISIONS_FOR_ELEMENT, element_of),
    Need(views.TURNS, lambda message: [EVERY]),
)
WAITING_NEEDS = (
    *needs_of_message(element_of, rules_of(stage_stood_in)),
    Need(views.WAITING_VISITS, element_of, then=(rules_of(stage_of_waiting),)),
)

# ------------------------------------------------------------------------------------------------ triggers


def deal_of_body(body: Any) -> common.ElementRef | None:
    return common.ElementRef(element_type="deal", element_id=body.deal_id) if body.deal_id else None


def element_told(message: Message[Any]) -> Iterable[str]:
    """Of whatever names a deal or any element."""
    body = message.body
    element = deal_of_body(body) if hasattr(body, "deal_id") else body.element
    return [element.element_id] if element else []


def invoice_told(message: Message[Any]) -> Iterable[str]:
    return [message.body.invoice_id] if hasattr(message.body, "invoice_id") else []


def invoice_of_row(row: Row) -> Iterable[str]:
    return [row["id"]]


TRIGGER_NEEDS: Needs = needs_of_message(element_told, TRIGGERS)
MONEY_BACK_NEEDS: Needs = (
    *TRIGGER_NEEDS,
    Need(replicas.INVOICES, invoice_told),
    Need(replicas.INVOICES_OF_DEAL, element_told, then=(Need(replicas.INVOICES, invoice_of_row),)),
)


@dataclass(frozen=True, eq=False)
class Source:
    """A message that triggers of one type listen to.

    `element`: of the body, None where it is about none; `facts`: what conditions read as `event.<name>`. `matters`: whether a
    decision is made of it at all, given the triggers of this type in the element's pipeline; None: the element is not known."""

    contract: type[Contract]
    trigger_type: str
    element: Callable[[Any], common.ElementRef | None]
    facts: Callable[[Any, Facts], Json]
    matters: Callable[[Any, Sequence[Trigger] | None], bool]
    needs: Needs = TRIGGER_NEEDS


def element_of_activity(body: scheduler.ActivityCompleted) -> common.ElementRef | None:
    return body.element


def plain(body: Contract, facts: Facts) -> Json:
    """Everything that the message says."""
    return body.model_dump(mode="json", exclude={"origin", "request_id", "record_key"})


Back = billing.InvoiceRefunded | billing.InvoiceReopened


def of_money_back(body: Back, facts: Facts) -> Json:
    """With what is known of the invoice, and which others of the deal are owed (D30)."""
    invoice = facts.one(replicas.INVOICES, body.invoice_id)
    known = {"number": invoice.number, "title": invoice.title, "total": invoice.total} if invoice else {}
    others = [row["id"] for row in facts.all(replicas.INVOICES_OF_DEAL, body.deal_id)] if body.deal_id else []
    return {**known, **plain(body, facts), "other_unpaid": [id for id in others if id != body.invoice_id and is_owed(id, facts)]}


def is_owed(invoice_id: str, facts: Facts) -> bool:
    invoice = facts.one(replicas.INVOICES, invoice_id)
    return invoice is not None and invoice.status in UNPAID


UNPAID = ("issued", "partially_paid")


def always(body: Contract, triggers: Sequence[Trigger] | None) -> bool:
    return True


def where_there_are_any(body: Contract, triggers: Sequence[Trigger] | None) -> bool:
    return triggers is None or bool(triggers)


def for_a_threshold(body: billing.InvoicePartiallyPaid, triggers: Sequence[Trigger] | None) -> bool:
    """A part payment matters only to triggers with a threshold (D25), and not before its invoice is linked."""
    return body.deal_id is not None and (triggers is None or any(t.settings.get("threshold") for t in triggers))


def when_reversed(body: billing.InvoiceReopened, triggers: Sequence[Trigger] | None) -> bool:
    """A refund that is to be paid again is none (D27, D29)."""
    return body.reason == "reversed" and where_there_are_any(body, triggers)


def as_it_was_completed(body: scheduler.ActivityCompleted, triggers: Sequence[Trigger] | None) -> bool:
    """Every end of a stay completes activities: only who asks for that is asked."""
    if body.by == "person":
        return where_there_are_any(body, triggers)
    return any(t.settings.get("also_automatic") for t in triggers or ())


SOURCES = (
    Source(billing.InvoicePaid, "invoice_paid", deal_of_body, plain, always),
    Source(billing.InvoicePartiallyPaid, "invoice_paid", deal_of_body, plain, for_a_threshold),
    Source(billing.InvoiceRefunded, "invoice_refunded", deal_of_body, of_money_back, where_there_are_any, MONEY_BACK_NEEDS),
    Source(billing.InvoiceReopened, "invoice_refunded", deal_of_body, of_money_back, when_reversed, MONEY_BACK_NEEDS),
    Source(billing.SignDocumentSigned, "sign_document_signed", deal_of_body, plain, where_there_are_any),
    Source(scheduler.ActivityCompleted, "activity_completed", element_of_activity, plain, as_it_was_completed),
)


def happened(source: Source) -> Callable[[Message[Any], Facts], Asks]:
    """One decision per event and element."""

    def commands(message: Message[Any], facts: Facts) -> Asks:
        body = message.body
        element = source.element(body)
        found = known_to(element, facts)
        triggers = None if found is None else [t for t in found.triggers if t.trigger_type == source.trigger_type]
        if (element is None and not is_unlinked(body)) or not source.matters(body, triggers):
            return
        id = decision_id(message.envelope.id, element.element_id) if element else unlinked_decision(body, source.trigger_type)
        told = Told(source.trigger_type, element, source.facts(body, facts), body.origin.chain, getattr(body, "invoice_id", None))
        yield decides(id, found, partial(heard, id, message.envelope, told))

    return commands


def known_to(element: common.ElementRef | None, facts: Facts) -> Judging | None:
    card = card_of(element.element_id, facts) if element else None
    return judging(card, facts) if card else None


def is_unlinked(body: Any) -> bool:
    """An invoice whose deal is not known yet (D19)."""
    return getattr(body, "invoice_id", None) is not None and body.deal_id is None


def unlinked_decision(body: Any, trigger_type: str) -> str:
    return unlinked_id(body.invoice_id, trigger_type, getattr(body, "epoch", 0))


@dataclass(frozen=True, slots=True)
class Told:
    """What a message says to triggers of a type. No `element`: the invoice has none yet."""

    trigger_type: str
    element: common.ElementRef | None
    facts: Json
    chain: tuple[str, ...] = ()
    invoice_id: str | None = None


def heard(id: str, envelope: Envelope, told: Told, situation: Situation | None, seen: Facts) -> dec.Hear:
    return dec.Hear(
        id,
        envelope.id,
        envelope.type,
        told.trigger_type,
        told.facts,
        told.chain,
        instant(seen.now),
        told.element.element_type if told.element else "deal",
        told.element.element_id if told.element else None,
        told.invoice_id,
        situation,
    )


def linked(message: Message[billing.InvoiceLinked], facts: Facts) -> Asks:
    """A payment or refund that came before the link is judged now (D19)."""
    body = message.body
    card = card_of(body.deal_id, facts)
    found = judging(card, facts) if card else None
    for trigger_type in ("invoice_paid", "invoice_refunded"):
        id = unlinked_id(body.invoice_id, trigger_type, body.epoch)
        yield decides(id, found, lambda situation, seen: dec.Learn(body.deal_id, situation, instant(seen.now)))


# ------------------------------------------------------------------------------------------------ other programs


def code_called(message: Message[automation.CallTrigger]) -> Iterable[str]:
    body = message.body
    return [f"app/{body.app_code}/{body.code}" if body.app_code else f"webhook/{body.code}"]


def app_called(message: Message[automation.CallTrigger]) -> Iterable[str]:
    return [f"{message.body.app_code}/{message.body.code}"] if message.body.app_code else []


def call_trigger(message: Message[automation.CallTrigger], facts: Facts) -> Asks:
    """Another program says that something happened. Raises NotFound when no trigger has the code, or no app has registered it."""
    body = message.body
    (code,) = code_called(message)
    known = (facts.all(views.APP_TRIGGERS_CALLED, path) for path in app_called(message))
    if not facts.all(views.TRIGGERS_CALLED, code) and not any(known):
        raise NotFound(f"No trigger has the code {body.code}.")
    id = decision_id(body.request_id, body.element.element_id)
    chain = body.origin.chain if body.origin else ()
    app = {"app_code": body.app_code} if body.app_code else {}
    told = Told("app" if app else "webhook", body.element, {**body.payload, "code": body.code, **app}, chain)
    yield decides(id, known_to(body.element, facts), partial(_called, body.request_id, partial(heard, id, message.envelope, told)))


def _called(request_id: str, hear: Callable[[Situation | None, Facts], dec.Hear], situation: Situation | None, seen: Facts) -> dec.Hear:
    """A call is named by its request, not by the message that carries it."""
    return replace(hear(situation, seen), source_event_id=request_id)


MOST_IDS = 50
"""Of a foreign event that are looked up; one behind them is found when the decision looks again."""
_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def type_published(message: Message[automation.ExternalEvent]) -> Iterable[str]:
    return [f"external_event/{message.envelope.type}"]


def ids_told(message: Message[automation.ExternalEvent]) -> Iterable[str]:
    """Any id in it may be the element's: only its triggers know where that stands."""
    text = f"{message.envelope.subject} {message.envelope.data.decode('utf-8', 'replace')}".lower()
    return islice(dict.fromkeys(_ID.findall(text)), MOST_IDS)


def published_outside(message: Message[automation.ExternalEvent], facts: Facts) -> Asks:
    """Another program's own event: one decision for each element that a trigger finds named in it.

    Raises Rejected: unknown_type where no trigger is about it, element_missing where none finds an element's id."""
    envelope = message.envelope
    rows = [row for type in type_published(message) for row in facts.all(views.TRIGGERS_CALLED, type)]
    if not rows:
        raise Rejected("unknown_type", f"{envelope.type} is no command of automation, and no trigger is about it.", status=422)
    said = {**message.body.data, **attributes_of(envelope)}
    named = {id: row["element_type"] for row in rows if (id := element_named(row["definition"]["settings"], said)) is not None}
    if not named:
        raise Rejected("element_missing", "No trigger finds the id of a deal or lead in it.", status=422)
    for element_id, element_type in named.items():
        element = common.ElementRef(element_type=element_type, element_id=element_id)
        id = foreign_decision_id(envelope.source, envelope.id, element_id)
        told = Told("external_event", element, said, chain_said(message.body.data))
        yield decides(id, known_to(element, facts), partial(heard, id, envelope, told))


def attributes_of(envelope: Envelope) -> Json:
    """What conditions read of the envelope."""
    known = {"ce_type": envelope.type, "ce_source": envelope.source, "ce_time": instant(envelope.time)}
    return known | {"ce_subject": envelope.subject or None}


def chain_said(data: Json) -> tuple[str, ...]:
    """An event that answers one of ours may carry our `origin` on, so that loops end there too (D40)."""
    origin = data.get("origin")
    chain = origin.get("chain") if isinstance(origin, dict) else None
    return tuple(id for id in chain if isinstance(id, str) and _ID.fullmatch(id))[-10:] if isinstance(chain, list) else ()


OTHERS = Subscription(
    automation.ExternalEvent, published_outside, (Need(views.TRIGGERS_CALLED, type_published), *needs_of_message(ids_told, TRIGGERS))
)
"""Whatever comes over the command topic and is no command of ours."""

# ------------------------------------------------------------------------------------------------ answers


def request_of(message: Message[Any]) -> Iterable[str]:
    return [message.body.request_id] if message.body.request_id else []


def notice_of(message: Message[Any]) -> Iterable[str]:
    return [message.body.notice_id]


def element_of_ref(ref: VisitRef) -> Iterable[str]:
    return [ref.element_id]


def stage_of_ref(ref: VisitRef) -> Iterable[str]:
    return [ref.stage_id]


OF_REF: tuple[Need[VisitRef, Any], ...] = (*card_needs(element_of_ref), rules_of(stage_of_ref))


def tell(ref: VisitRef, facts: Facts, make: Callable[[vis.Known], vis.VisitCommand]) -> Asks:
    """The visit of a step or timer, with the element and its stage as they are now."""
    stage = stage_of(must_know(ref.element_id, facts), ref.stage_id, facts)
    return asks(ref.visit_id, stage, lambda known, seen: make(known))


def answered(message: Message[Any], facts: Facts) -> Asks:
    """Whoever asked is found by the request id; an answer to somebody else is none of ours."""
    request = message.body.request_id
    refs = facts.all(views.STEP_OF_REQUEST, request) if request else ()
    outputs = outputs_of(message.body, facts) if refs else {}
    for ref in refs:
        yield from tell(ref, facts, lambda known: vis.Answered(request, outputs, known))


def outputs_of(body: Contract, facts: Facts) -> dict[str, Any]:
    """What later rules may read, by the kind of answer (5.2)."""
    match body:
        case billing.InvoiceCreated():
            return {"invoice_id": body.invoice_id, "amount": body.total.amount}
        case billing.QuoteCreated():
            return {"quote_id": body.quote_id, "amount": body.total.amount}
        case billing.SignDocumentCreated():
            return {"sign_document_id": body.sign_document_id}
        case billing.PaymentLinkCreated() | billing.PaymentLinkHandedOut():
            return _outputs_of_link(body)
        case deals.DealCopied():
            return {"deal_id": body.copy_id, "name": body.name, **_outputs_of_place(body, facts)}
        case deals.LeadCreated():
            return {"lead_id": body.lead_id, "title": body.fields.title}
        case deals.LeadConverted():
            made = {"deal_id": body.deal_id, "contact_id": body.contact_id, "company_id": body.company_id}
            return {name: id for name, id in made.items() if id}
        case deals.DealFieldsChanged() | deals.LeadFieldsChanged():
            return _outputs_of_fields(body)
        case deals.StageChanged():
            return _outputs_of_move(body, facts)
        case deals.DetailsChanged():
            return {"changed": [*body.changes], "unchanged": [*body.unchanged], "details_id": body.details_id}
        case scheduler.ActivityPlanned():
            return {
                "activity_id": body.activity_id,
                "deadline": body.starts_at,
                "deadline_local": body.local,
                "room_state": body.room_state,
            }
        case _:
            return {}


def _outputs_of_link(body: billing.PaymentLinkCreated | billing.PaymentLinkHandedOut) -> dict[str, Any]:
    return {
        "url": body.url,
        "payment_document_id": body.payment_document_id,
        "amount": body.amount.amount,
        "currency": body.amount.currency,
        "expires_at": body.expires_at,
        "reused": isinstance(body, billing.PaymentLinkHandedOut),
    }


def _outputs_of_place(body: deals.DealCopied, facts: Facts) -> dict[str, Any]:
    pipeline = shown_pipeline(body.pipeline_id, facts.one(replicas.PIPELINES, body.pipeline_id))
    stage = pipeline.stage(body.stage_id)
    return {"pipeline": pipeline.code, "stage": stage["code"] if stage else None}


def _outputs_of_fields(body: deals.DealFieldsChanged | deals.LeadFieldsChanged) -> dict[str, Any]:
    """A change of the responsible person alone is that rule's doing."""
    if (responsible := body.changes.get("responsible_id")) is not None and len(body.changes) == 1:
        return {"before": responsible.before, "after": responsible.after}
    return {"changed": changed_fields({name: (change.before, change.after) for name, change in body.changes.items()})}


def _outputs_of_move(body: deals.StageChanged, facts: Facts) -> dict[str, Any]:
    pipeline = shown_pipeline(body.pipeline_id, facts.one(replicas.PIPELINES, body.pipeline_id))
    stages = {name: pipeline.stage(id) for name, id in (("stage", body.stage_id), ("before", body.from_stage_id))}
    return {name: stage["code"] for name, stage in stages.items() if stage}


def delivered(message: Message[notifications.NoticeDelivered], facts: Facts) -> Asks:
    body = message.body
    outputs = {"sent_at": body.delivered_at, "notice_ids": [body.notice_id]}
    for ref in facts.all(views.STEP_OF_REQUEST, body.notice_id):
        yield from tell(ref, facts, lambda known: vis.Answered(body.notice_id, outputs, known))


def not_delivered(message: Message[notifications.NoticeFailed], facts: Facts) -> Asks:
    body = message.body
    for ref in facts.all(views.STEP_OF_REQUEST, body.notice_id):
        yield from tell(ref, facts, lambda known: vis.Refused(body.notice_id, body.code, body.detail, known))


def webhook_failed(message: Message[notifications.WebhookFailed], facts: Facts) -> Asks:
    """An endpoint did not take a call. That it took one is the answer only for who waits for no other (G51)."""
    body = message.body
    for ref in facts.all(views.STEP_OF_REQUEST, body.delivery_id):
        yield from tell(ref, facts, lambda known: vis.Refused(body.delivery_id, body.code, body.detail, known))


def refused(message: Message[Any], facts: Facts) -> Asks:
    """A step's command was refused, or the move of a decision (whose request id is its own id)."""
    body = message.body
    for ref in facts.all(views.STEP_OF_REQUEST, body.request_id) if body.request_id else ():
        yield from tell(ref, facts, lambda known: vis.Refused(body.request_id, body.code, body.detail, known))
    if body.command_type == deals.MoveToStage.type and body.request_id:
        yield from _move_refused(message, facts)


def _move_refused(message: Message[Any], facts: Facts) -> Asks:
    body = message.body
    card = card_of(message.envelope.key, facts)
    found = judging(card, facts) if card else None
    yield decides(body.request_id, found, lambda situation, seen: dec.MoveRefused(body.code, situation, instant(seen.now)))


def element_of_key(message: Message[Any]) -> Iterable[str]:
    """Whoever is refused a move: the record's key is the element."""
    return [message.envelope.key] if message.body.command_type == deals.MoveToStage.type else []


STEP: Needs = (Need(views.STEP_OF_REQUEST, request_of, then=OF_REF),)
ANSWER_NEEDS: Needs = (*STEP, *needs_of_message(nobody))
NOTICE_NEEDS: Needs = (Need(views.STEP_OF_REQUEST, notice_of, then=OF_REF), *needs_of_message(nobody))
DELIVERY_NEEDS: Needs = (Need(views.STEP_OF_REQUEST, lambda message: [message.body.delivery_id], then=OF_REF), *needs_of_message(nobody))
REFUSAL_NEEDS: Needs = (*STEP, *needs_of_message(element_of_key, TRIGGERS))
PIPELINE_ASKED_INTO: Need[Any, Any] = Need(
    replicas.PIPELINES, lambda message: [message.body.pipeline_id] if message.body.request_id else []
)
PIPELINE_OF_COPY: Need[Any, Any] = Need(replicas.PIPELINES, lambda message: [message.body.pipeline_id])

# ------------------------------------------------------------------------------------------------ timers


def timer_of(message: Message[Any]) -> Iterable[str]:
    return [message.body.timer_id]


def element_of_decision(ref: DecisionRef) -> Iterable[str]:
    return [ref.element_id] if ref.element_id else []


TIMER_NEEDS: Needs = (Need(views.RUN_OF_TIMER, timer_of, then=OF_REF), *needs_of_message(nobody))
FIRED_NEEDS: Needs = (*TIMER_NEEDS, Need(views.DECISION_OF_TIMER, timer_of, then=card_needs(element_of_decision, TRIGGERS)))
TIMER_SET_NEEDS: Needs = (Need(views.RUN_OF_TIMER, timer_of),)


def timer_set(message: Message[scheduler.TimerSet | scheduler.TimerRearmed], facts: Facts) -> Asks:
    body = message.body
    for ref in facts.all(views.RUN_OF_TIMER, body.timer_id):
        yield Addressed(VISIT, ref.visit_id, vis.TimerWasSet(body.timer_id, body.due_at, body.reasoning, body.waiting_for))


def rang(message: Message[scheduler.TimerFired], facts: Facts) -> Asks:
    body = message.body
    for ref in facts.all(views.RUN_OF_TIMER, body.timer_id):
        yield from tell(ref, facts, lambda known: vis.TimerRang(body.timer_id, body.lateness_ms, known))
    for waiting in facts.all(views.DECISION_OF_TIMER, body.timer_id):
        card = card_of(waiting.element_id, facts) if waiting.element_id else None
        found = judging(card, facts) if card else None
        yield decides(waiting.decision_id, found, lambda situation, seen: dec.LookAgain(body.timer_id, situation, instant(seen.now)))


def too_late(message: Message[scheduler.TimerMissed], facts: Facts) -> Asks:
    body = message.body
    for ref in facts.all(views.RUN_OF_TIMER, body.timer_id):
        yield from tell(ref, facts, lambda known: vis.TimerTooLate(body.timer_id, body.due_at, body.found_at, known))


def waits_too_long(message: Message[scheduler.TimerEscalated], facts: Facts) -> Asks:
    """For somebody's working hours (D10)."""
    body = message.body
    for ref in facts.all(views.RUN_OF_TIMER, body.timer_id):
        yield from tell(ref, facts, lambda known: vis.TimerWaitsTooLong(body.timer_id, body.waiting_since, known))


def timer_cancelled(message: Message[scheduler.TimerCancelled], facts: Facts) -> Asks:
    body = message.body
    for ref in facts.all(views.RUN_OF_TIMER, body.timer_id):
        yield from tell(ref, facts, lambda known: vis.TimerWasCancelled(body.timer_id, known))


# ------------------------------------------------------------------------------------------------ our own definitions


def rule_of(message: Message[Any]) -> Iterable[str]:
    return [message.body.rule_id]


def stage_of_row(row: Row) -> Iterable[str]:
    return [row["stage_id"]]


def element_of_visit(row: Row) -> Iterable[str]:
    return [row["element_id"]]


WAITING_OF_RULE: Need[Message[Any], Any] = Need(
    views.WAITING_OF_RULE, rule_of, then=(*card_needs(element_of_visit), rules_of(stage_of_row))
)
RULE_NEEDS: Needs = (WAITING_OF_RULE, *needs_of_message(nobody))


def published(message: Message[automation.RulePublished], facts: Facts) -> Asks:
    """Runs of older versions that wait: kept, moved to the new one, or cancelled (D2), where the new version is for their visit."""
    body = message.body
    if body.waiting == "keep":
        return
    for row in facts.all(views.WAITING_OF_RULE, body.rule_id):
        stage = stage_of(must_know(row["element_id"], facts), row["stage_id"], facts)
        current = stage.rules.ready(body.rule_id, row["id"])
        if current is None or current.rule.version < body.version:
            continue
        if body.waiting == "cancel":
            yield from asks(row["id"], stage, lambda known, seen: vis.RuleGone(body.rule_id, "replaced", known, below=body.version))
        else:
            yield from asks(row["id"], stage, partial(_migrated, current, body.past == "drop"))


def _migrated(current: Ready, drop_past: bool, known: vis.Known, seen: Facts) -> vis.MigrateRun:
    return vis.MigrateRun(current, known, drop_past)


def disabled(message: Message[automation.RuleDisabled], facts: Facts) -> Asks:
    if message.body.cancel_waiting:
        yield from _gone(message.body.rule_id, "rule_disabled", facts)


def rule_deleted(message: Message[automation.RuleDeleted], facts: Facts) -> Asks:
    yield from _gone(message.body.rule_id, "rule_deleted", facts)


def _gone(rule_id: str, reason: str, facts: Facts) -> Asks:
    for row in facts.all(views.WAITING_OF_RULE, rule_id):
        stage = stage_of(must_know(row["element_id"], facts), row["stage_id"], facts)
        yield from asks(row["id"], stage, lambda known, seen: vis.RuleGone(rule_id, reason, known))


# ------------------------------------------------------------------------------------------------ what rules need, gone


def pipeline_changed(message: Message[Any]) -> Iterable[str]:
    return [message.body.pipeline_id]


def room_of(message: Message[scheduler.RoomRetired]) -> Iterable[str]:
    return [message.body.room_id]


def pipeline_archived(message: Message[deals.PipelineArchived], facts: Facts) -> Asks:
    """Rules elsewhere that copy into it cannot run any more; their owners are told (D59)."""
    for rule in facts.all(views.RULES_NAMING, message.body.pipeline_id):
        if message.body.pipeline_id in rule.references.values():
            yield Addressed(RULE, rule.id, InvalidateRule("target_missing", "A pipeline it names was archived."))


def stages_changed(message: Message[deals.StagesChanged | deals.StageReplaced], facts: Facts) -> Asks:
    """Rules and triggers whose target stage is gone or going."""
    body = message.body
    there = {stage.stage_id for stage in body.stages if not stage.retiring}
    pipeline = facts.one(replicas.PIPELINES, body.pipeline_id)
    prefix = f"stage:{pipeline.code}/" if pipeline else "stage:"
    for rule in facts.all(views.RULES_NAMING, body.pipeline_id):
        gone = [name for name, id in rule.references.items() if name.startswith(prefix) and id not in there]
        if gone:
            yield Addressed(RULE, rule.id, InvalidateRule("target_missing", f"{gone[0].removeprefix('stage:')} is gone."))
    for row in facts.all(views.TARGETS_OF_PIPELINE, body.pipeline_id):
        if row["stage_id"] not in there:
            yield Addressed(TRIGGER, row["id"], InvalidateTrigger("target_missing", "Its target stage is gone."))


def room_retired(message: Message[scheduler.RoomRetired], facts: Facts) -> Asks:
    for rule in facts.all(views.RULES_NAMING, message.body.room_id):
        yield Addressed(RULE, rule.id, InvalidateRule("unknown_room", "The room it books was retired."))


FORMS = {"deal": "uf", "lead": "uf", "contact": "contact.uf", "company": "company.uf"}
"""Where the fields of a form stand in paths."""


def retired_fields(message: Message[deals.FieldSetChanged]) -> Iterable[str]:
    """Their paths, as rules and triggers pin them."""
    body = message.body
    root = FORMS.get(body.element_type or "") if body.kind == "form" else None
    return [f"kind:{root}.{field.code}" for field in body.fields if root and field.retired]


def field_retired(message: Message[deals.FieldSetChanged], facts: Facts) -> Asks:
    """Whatever names a field that was removed is out of force until it is published without it."""
    element_type = message.body.element_type
    for pinned in retired_fields(message):
        gone = ("unknown_path", f"The field {pinned.removeprefix('kind:')} it names was removed.")
        for rule in facts.all(views.RULES_NAMING, pinned):
            if _names(rule, pinned, element_type):
                yield Addressed(RULE, rule.id, InvalidateRule(*gone))
        for trigger in facts.all(views.TRIGGERS_NAMING, pinned):
            if _names(trigger, pinned, element_type):
                yield Addressed(TRIGGER, trigger.id, InvalidateTrigger(*gone))


def _names(one: views.Naming, pinned: str, element_type: str | None) -> bool:
    """The form of a deal has nothing to do with rules of leads."""
    return pinned in one.references and (element_type not in ("deal", "lead") or one.element_type == element_type)


def endpoint_of(message: Message[Any]) -> Iterable[str]:
    return [message.body.endpoint_id]


def endpoint_gone(what: str) -> Callable[[Message[Any], Facts], Asks]:
    """Rules that call it cannot run any more; their owners are told. Enabled again, they are published again."""

    def commands(message: Message[Any], facts: Facts) -> Asks:
        for rule in facts.all(views.RULES_NAMING, message.body.endpoint_id):
            yield Addressed(RULE, rule.id, InvalidateRule("unknown_endpoint", f"The webhook endpoint it calls was {what}."))

    return commands


STAGE_NEEDS: Needs = (
    Need(views.RULES_NAMING, pipeline_changed),
    Need(views.TARGETS_OF_PIPELINE, pipeline_changed),
    Need(replicas.PIPELINES, pipeline_changed),
)

# ------------------------------------------------------------------------------------------------ our own commands


def given_element(message: Message[Any]) -> Iterable[str]:
    return [message.body.element.element_id]


RULES_OF_VISIT: Need[Row, Any] = rules_of(stage_of_row)
RUN_NEEDS: Needs = (Need(views.VISITS_OF_ELEMENT, given_element, then=(RULES_OF_VISIT,)), *needs_of_message(given_element))


def stop_rules(message: Message[automation.StopStageRules], facts: Facts) -> Asks:
    """Everything that still waits in the visit named, else in the current one (G26)."""
    element_id = message.body.element.element_id
    card = must_know(element_id, facts)
    return asks(message.body.visit_id or card.visit_id, Stage(card), lambda known, seen: vis.StopRules(known))


def cancel_run(message: Message[automation.CancelRun], facts: Facts) -> Asks:
    visit_id, rule_id, stage = _run_named(message, facts)
    return asks(visit_id, stage, lambda known, seen: vis.CancelRun(rule_id, known, message.body.reason))


def retry_run(message: Message[automation.RetryRun], facts: Facts) -> Asks:
    visit_id, rule_id, stage = _run_named(message, facts)
    current = stage.rules.ready(rule_id, visit_id)
    if current is None:
        raise NotFound("The rule of this run is not in force.")
    return asks(visit_id, stage, lambda known, seen: vis.RetryRun(rule_id, message.body.retry_from, current, known))


def _run_named(message: Message[Any], facts: Facts) -> tuple[str, str, Stage]:
    """Visit, rule and stage of the run. Raises NotFound."""
    element_id, run_id = message.body.element.element_id, message.body.run_id
    for row in facts.all(views.VISITS_OF_ELEMENT, element_id):
        for run in row["runs"]:
            if run["run_id"] == run_id:
                return row["id"], run["rule_id"], stage_of(must_know(element_id, facts), row["stage_id"], facts)
    raise NotFound("There is no such run.")


def disable_rule(message: Message[automation.DisableRule], facts: Facts) -> Asks:
    body = message.body
    yield Addressed(RULE, body.rule_id, DisableRule(body.cancel_waiting, body.request_id))


# ------------------------------------------------------------------------------------------------ all of it

SUBSCRIPTIONS: tuple[Subscription[Any], ...] = (
    Subscription(deals.DealCreated, arrived, (*ARRIVAL_NEEDS, rules_of(stage_arrived_at))),
    Subscription(
        deals.LeadCreated,
        made_by_a_step,
        (*ARRIVAL_NEEDS, rules_of(stage_arrived_at), *STEP),
    ),
    Subscription(deals.StageChanged, moved, (*ARRIVAL_NEEDS, rules_of(stages_of), *STEP, PIPELINE_ASKED_INTO)),
    Subscription(deals.DealFieldsChanged, changed_by_a_step, (*WAITING_NEEDS, *STEP)),
    Subscription(deals.LeadFieldsChanged, changed_by_a_step, (*WAITING_NEEDS, *STEP)),
    Subscription(deals.DealDeleted, deleted, needs_of_message(element_of)),
    Subscription(deals.LeadDeleted, deleted, needs_of_message(element_of)),
    *(Subscription(source.contract, happened(source), source.needs) for source in SOURCES),
    Subscription(billing.InvoiceLinked, linked, TRIGGER_NEEDS),
    Subscription(
        automation.CallTrigger,
        call_trigger,
        (
            *needs_of_message(given_element, TRIGGERS),
            Need(views.TRIGGERS_CALLED, code_called),
            Need(views.APP_TRIGGERS_CALLED, app_called),
        ),
    ),
    Subscription(billing.InvoiceCreated, answered, ANSWER_NEEDS),
    Subscription(billing.QuoteCreated, answered, ANSWER_NEEDS),
    Subscription(billing.SignDocumentCreated, answered, ANSWER_NEEDS),
    Subscription(billing.PaymentLinkCreated, answered, ANSWER_NEEDS),
    Subscription(billing.PaymentLinkHandedOut, answered, ANSWER_NEEDS),
    Subscription(deals.DealCopied, answered, (*ANSWER_NEEDS, PIPELINE_OF_COPY)),
    Subscription(deals.LeadConverted, answered, ANSWER_NEEDS),
    Subscription(deals.DetailsChanged, answered, ANSWER_NEEDS),
    Subscription(scheduler.ActivityPlanned, answered, ANSWER_NEEDS),
    Subscription(notifications.NoticeDelivered, delivered, NOTICE_NEEDS),
    Subscription(notifications.NoticeFailed, not_delivered, NOTICE_NEEDS),
    Subscription(notifications.WebhookDelivered, answered, ANSWER_NEEDS),
    Subscription(notifications.WebhookFailed, webhook_failed, DELIVERY_NEEDS),
    Subscription(notifications.WebhookEndpointDisabled, endpoint_gone("disabled"), (Need(views.RULES_NAMING, endpoint_of),)),
    Subscription(notifications.WebhookEndpointDeleted, endpoint_gone("deleted"), (Need(views.RULES_NAMING, endpoint_of),)),
    Subscription(deals.CommandRejected, refused, REFUSAL_NEEDS),
    Subscription(billing.CommandRejected, refused, REFUSAL_NEEDS),
    Subscription(scheduler.CommandRejected, refused, REFUSAL_NEEDS),
    Subscription(notifications.CommandRejected, refused, REFUSAL_NEEDS),
    Subscription(scheduler.TimerSet, timer_set, TIMER_SET_NEEDS),
    Subscription(scheduler.TimerRearmed, timer_set, TIMER_SET_NEEDS),
    Subscription(scheduler.TimerFired, rang, FIRED_NEEDS),
    Subscription(scheduler.TimerMissed, too_late, TIMER_NEEDS),
    Subscription(scheduler.TimerEscalated, waits_too_long, TIMER_NEEDS),
    Subscription(scheduler.TimerCancelled, timer_cancelled, TIMER_NEEDS),
    Subscription(automation.RulePublished, published, RULE_NEEDS),
    Subscription(automation.RuleDisabled, disabled, RULE_NEEDS),
    Subscription(automation.RuleDeleted, rule_deleted, RULE_NEEDS),
    Subscription(deals.PipelineArchived, pipeline_archived, (Need(views.RULES_NAMING, pipeline_changed),)),
    Subscription(deals.StagesChanged, stages_changed, STAGE_NEEDS),
    Subscription(deals.StageReplaced, stages_changed, STAGE_NEEDS),
    Subscription(
        deals.FieldSetChanged, field_retired, (Need(views.RULES_NAMING, retired_fields), Need(views.TRIGGERS_NAMING, retired_fields))
    ),
    Subscription(scheduler.RoomRetired, room_retired, (Need(views.RULES_NAMING, room_of),)),
    Subscription(automation.StopStageRules, stop_rules, needs_of_message(given_element)),
    Subscription(automation.CancelRun, cancel_run, RUN_NEEDS),
    Subscription(automation.RetryRun, retry_run, RUN_NEEDS),
    Subscription(automation.DisableRule, disable_rule),
)
