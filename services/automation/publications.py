"""What automation says: private event -> contract; its CommandRejected (10). Every effect of a run is a command to the owner."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, assert_never

import orjson

from services.automation.domain import action, decision, rule, trigger, visit
from services.automation.domain.action import Asked
from services.automation.domain.constants import Value, ValueChanged, ValueDefined, ValueDeleted, ValueEvent
from services.automation.domain.decision import Decision, DecisionEvent
from services.automation.domain.rule import DefinedRule, RuleEvent
from services.automation.domain.trigger import DefinedTrigger, TriggerEvent
from services.automation.domain.visit import Run, Visit, VisitEvent
from shared.contracts import automation, billing, common, deals, notifications, scheduler
from shared.es.aggregate import Json
from shared.es.errors import Rejected
from shared.es.recorded import Recorded
from shared.messaging.contract import Contract
from shared.messaging.envelope import Envelope, legible, text_said
from shared.messaging.handler import InNameOf

OWNER = "automation"


def origin_of(recorded: Recorded[Any]) -> common.Origin:
    """A person's doing, or an API client's."""
    kind, _, id = recorded.context.actor.partition(":")
    return common.Origin(kind="person", id=id) if kind == "user" else common.Origin(kind="api" if kind == "key" else "system")


# ------------------------------------------------------------------------------------------------ definitions


def of_rule(state: DefinedRule, recorded: Recorded[RuleEvent]) -> Contract | None:
    id, e, origin = recorded.aggregate_id, recorded.event, origin_of(recorded)
    match e:
        case rule.RulePublished():
            return _published(state, id, e, origin)
        case rule.RuleDisabled(cancel_waiting=cancel, request_id=request):
            return automation.RuleDisabled(
                rule_id=id, version=state.version, cancel_waiting=cancel, owner_id=state.owner_id, request_id=request, origin=origin
            )
        case rule.RuleEnabled():
            return automation.RuleEnabled(rule_id=id, version=state.version, owner_id=state.owner_id, origin=origin)
        case rule.RuleDeleted():
            return automation.RuleDeleted(rule_id=id, version=state.version, owner_id=state.owner_id, origin=origin)
        case rule.RuleInvalidated(code=code, detail=detail):
            return automation.RuleInvalidated(rule_id=id, owner_id=state.owner_id, code=code, detail=detail, origin=origin)
        case _:
            return None


def _published(state: DefinedRule, id: str, e: rule.RulePublished, origin: common.Origin) -> Contract:
    return automation.RulePublished(
        rule_id=id,
        version=e.version,
        rule_type=e.definition["type"],
        rule_key=e.definition["id"],
        name=e.definition["name"],
        element_type=state.element_type,
        pipeline_id=state.pipeline_id,
        stage_id=state.stage_id,
        owner_id=state.owner_id,
        definition=e.definition,
        waiting=e.waiting,
        past=e.past,
        rollout=automation.Rollout(mode=str(e.rollout.get("mode", "live")), percent=e.rollout.get("percent")),
        origin=origin,
    )


def of_trigger(state: DefinedTrigger, recorded: Recorded[TriggerEvent]) -> Contract | None:
    if isinstance(recorded.event, trigger.TriggerInvalidated):
        code, detail = recorded.event.code, recorded.event.detail
        about = {"trigger_id": recorded.aggregate_id, "owner_id": state.owner_id}
        return automation.TriggerInvalidated(**about, code=code, detail=detail, origin=origin_of(recorded))
    says: dict[type[Any], type[automation.TriggerFact]] = {
        trigger.TriggerPublished: automation.TriggerPublished,
        trigger.TriggerDisabled: automation.TriggerDisabled,
        trigger.TriggerDeleted: automation.TriggerDeleted,
    }
    said = says.get(type(recorded.event))
    definition = state.definition or state.latest
    if said is None or not definition:
        return None
    return said(
        trigger_id=recorded.aggregate_id,
        version=state.version,
        trigger_type=definition["type"],
        name=definition["name"],
        pipeline_id=state.pipeline_id,
        stage_id=state.stage_id,
        definition=definition,
        origin=origin_of(recorded),
    )


def of_value(state: Value, recorded: Recorded[ValueEvent]) -> Contract | None:
    match recorded.event:
        case ValueDefined(value=after):
            before, origin = None, origin_of(recorded)
        case ValueChanged(before=before, after=after, origin=rule):
            origin = common.Origin.model_validate_json(orjson.dumps(rule)) if rule else origin_of(recorded)
        case ValueDeleted():
            return None
        case _:
            assert_never(recorded.event)
    return automation.ValueChanged(
        value_id=recorded.aggregate_id,
        code=state.code,
        value_kind=state.kind,
        before=before,
        after=after,
        origin=origin,
    )


# ------------------------------------------------------------------------------------------------ visits


def of_visit(state: Visit, recorded: Recorded[VisitEvent]) -> Contract | InNameOf | None:
    e = recorded.event
    if isinstance(e, Asked):
        ask = ASKS.get(type(e))
        return InNameOf(ask(e, state), e.actor) if ask else None
    match e:
        case visit.TimerAsked() | visit.TimerMoved() | visit.TimerDropped():
            return _of_timer(e, state)
        case visit.CallbackAwaited() | visit.CallbackOver():
            return _of_callback(e, state)
        case visit.RunEscalated():
            return _escalated(e, state)
        case visit.TimerArmed(rule_id=id, due_at=due_at, waiting_for=waiting_for):
            return _scheduled(state, id, waiting_for, due_at)
        case visit.FieldAwaited(rule_id=id):
            return _scheduled(state, id, "field", None)
        case visit.RunEnded(rule_id=id):
            return _ended(state, id)
        case visit.RunMissed(rule_id=id, due_at=due_at, found_at=found_at):
            return automation.RunMissed(**_run_block(state, id), due_at=due_at, found_at=found_at)
        case _:
            return None


def _of_timer(e: visit.TimerAsked | visit.TimerMoved | visit.TimerDropped, state: Visit) -> Contract:
    common_part: dict[str, Any] = {
        "request_id": e.timer_id,
        "timer_id": e.timer_id,
        "about": state.element_id,
        "origin": _origin_of_run(state, e.rule_id),
    }
    match e:
        case visit.TimerAsked(when=when, max_lateness=limit, wait_limit=longest):
            return scheduler.SetTimer(**common_part, owner=OWNER, when=_when(when), max_lateness=limit, wait_limit=longest)
        case visit.TimerMoved(when=when):
            return scheduler.RearmTimer(**common_part, when=_when(when))
        case visit.TimerDropped(reason=reason):
            return scheduler.CancelTimer(**common_part, reason=reason)


def _of_callback(e: visit.CallbackAwaited | visit.CallbackOver, state: Visit) -> Contract:
    """The timer that says that an answer did not come."""
    asked: dict[str, Any] = {"request_id": e.timer_id, "timer_id": e.timer_id, "about": state.element_id}
    asked["origin"] = _origin_of_run(state, e.rule_id)
    if isinstance(e, visit.CallbackOver):
        return scheduler.CancelTimer(**asked, reason=e.reason)
    return scheduler.SetTimer(**asked, owner=OWNER, when=common.When(mode="after", anchor_instant=e.due_at))


def _escalated(e: visit.RunEscalated, state: Visit) -> Contract:
    """Its answer is nobody's business: the run does not wait for it."""
    return notifications.Notify(
        request_id=e.request_id,
        notice_id=e.request_id,
        origin=_origin_of_run(state, e.rule_id),
        employee_id=e.employee_id,
        role=e.role,
        title=e.title,
        text=e.text,
        element=_given(state),
        topic_name="decision",
    )


def _when(when: dict[str, Any]) -> common.When:
    return common.When.model_validate_json(orjson.dumps(when))


def _origin_of_run(state: Visit, rule_id: str) -> common.Origin:
    """A rule's doing; the chain names it from here on (D40)."""
    run = state.run(rule_id)
    chain = (*state.chain, rule_id)[-10:]
    return common.Origin(kind="rule", id=rule_id, version=run.rule.version if run else None, visit_id=state.visit_id, chain=chain)


def _run_block(state: Visit, rule_id: str) -> dict[str, Any]:
    run = state.run(rule_id)
    assert run is not None
    return {
        "run_id": state.run_id(rule_id),
        "visit_id": state.visit_id,
        "element": _element(state),
        "rule_id": rule_id,
        "rule_version": run.rule.version,
        "rule_type": run.rule.rule_type,
        "rule_name": run.rule.name,
        "rule_owner_id": run.rule.owner_id,
        "stage_id": state.stage_id,
        "origin": _origin_of_run(state, rule_id),
    }


def _element(state: Visit) -> common.ElementRef:
    return common.ElementRef(element_type=state.element_type, element_id=state.element_id)


def _given(state: Visit) -> common.GivenElement:
    return common.GivenElement(element_type="lead" if state.element_type == "lead" else "deal", element_id=state.element_id)


def _scheduled(state: Visit, rule_id: str, waiting_for: str, due_at: str | None) -> Contract:
    return automation.RunScheduled(**_run_block(state, rule_id), triggered_at=state.arrived_at, due_at=due_at, waiting_for=waiting_for)


def _ended(state: Visit, rule_id: str) -> Contract | None:
    run = state.run(rule_id)
    if run is None or not run.rule.rule_type:
        return None
    match run.state:
        case "succeeded" | "partial" | "failed":
            return _completed(state, rule_id, run)
        case "skipped" | "cancelled" | "blocked":
            says = {"skipped": automation.RunSkipped, "cancelled": automation.RunCancelled, "blocked": automation.RunBlocked}
            return says[run.state](**_run_block(state, rule_id), reason=run.reason or "", detail=run.detail)
        case _:
            return None


def _completed(state: Visit, rule_id: str, run: Run) -> Contract:
    steps = tuple(automation.RunStep(name=s.name, state=s.state, request_id=s.request_id, code=s.code) for s in run.steps)
    return automation.RunCompleted(
        **_run_block(state, rule_id),
        outcome=run.state,
        code=run.reason,
        detail=run.detail,
        steps=steps,
        lateness_ms=run.lateness_ms,
    )


# ------------------------------------------------------------------------------------------------ what runs ask


def _asking(e: Asked, state: Visit) -> dict[str, Any]:
    origin = _origin_of_run(state, e.rule_id)
    return {"request_id": e.request_id, "origin": origin.model_copy(update={"acting_fallback": True}) if e.acting_fallback else origin}


def _customer(e: action.Billed | action.SignDocumentAsked) -> common.Customer:
    return common.Customer(contact_id=e.contact_id, company_id=e.company_id)


def _document(e: action.Billed, state: Visit) -> dict[str, Any]:
    return {
        **_asking(e, state),
        "deal_id": e.deal_id,
        "customer": _customer(e),
        "currency": e.currency,
        "amount": e.amount,
        "prices_include_tax": e.prices_include_tax,
        "lines": tuple(common.Line(**line) for line in e.lines),
    }


def _ask_link(e: action.LinkAsked, state: Visit) -> Contract:
    return billing.CreatePaymentLink(
        **_document(e, state),
        payment_document_id=e.request_id,
        auto_create=e.auto_create,
        order_id=e.order_id,
        reuse_existing=e.reuse_existing,
        covers="deal" if e.covers == "deal" else "auto",
        expires_in_days=e.expires_in_days,
    )


def _ask_invoice(e: action.InvoiceAsked, state: Visit) -> Contract:
    return billing.CreateInvoice(
        **_document(e, state),
        invoice_id=e.request_id,
        title=e.title,
        responsible_id=e.responsible_id,
        issue=e.issue,
        skip_if_open_exists=e.skip_if_open_exists,
    )


def _ask_quote(e: action.QuoteAsked, state: Visit) -> Contract:
    return billing.CreateQuote(
        **_document(e, state),
        quote_id=e.request_id,
        title=e.title,
        responsible_id=e.responsible_id,
        skip_if_open_exists=e.skip_if_open_exists,
        valid_for_days=e.valid_for_days,
    )


def _ask_sign_document(e: action.SignDocumentAsked, state: Visit) -> Contract:
    return billing.CreateSignDocument(
        **_asking(e, state),
        sign_document_id=e.request_id,
        deal_id=e.deal_id,
        template_code=e.template_code,
        title=e.title,
        responsible_id=e.responsible_id,
        customer=_customer(e),
        fields=e.fields,
    )


def _ask_conversion(e: action.ConversionAsked, state: Visit) -> Contract:
    ids: dict[str, Any] = {f"{e.target}_id": e.request_id}
    return deals.CreateDealFromLead(
        **_asking(e, state),
        **ids,
        lead_id=e.lead_id,
        title=e.title,
        targets=(e.target,),  # type: ignore[arg-type]  # one of the three by the catalogue
        responsible_id=e.responsible_id,
        pipeline_id=e.pipeline_id,
        close_lead=e.close_lead,
    )


def _ask_copy(e: action.CopyAsked, state: Visit) -> Contract:
    return deals.CopyDeal(
        **_asking(e, state),
        source_deal_id=e.source_deal_id,
        name=e.name,
        pipeline_id=e.pipeline_id,
        stage_id=e.stage_id,
        responsible_id=e.responsible_id,
    )


def _ask_lead(e: action.LeadAsked, state: Visit) -> Contract:
    return deals.CreateLead(
        **_asking(e, state),
        title=e.title,
        responsible_id=e.responsible_id,
        contact_ids=e.contact_ids,
        company_id=e.company_id,
        source_deal_id=e.source_deal_id,
        recurring=True,
        skip_if_open_exists=e.skip_if_open_exists,
    )


def _ask_details(e: action.DetailsChangeAsked, state: Visit) -> Contract:
    element = _given(state)
    return deals.ChangeDetails(
        **_asking(e, state),
        owner_type="company" if e.owner_type == "company" else "contact",
        owner_id=e.owner_id,
        template_code=e.template_code,
        address_type=e.address_type,  # type: ignore[arg-type]  # checked against the catalogue when it was published
        fields=e.fields,
        element_type=element.element_type,
        element_id=element.element_id,
    )


def _ask_activity(e: action.ActivityAsked, state: Visit) -> Contract:
    return scheduler.PlanActivity(
        **_asking(e, state),
        activity_id=e.request_id,
        element=_given(state),
        visit_id=state.visit_id,
        name=e.name,
        description=e.description,
        deadline=_when(e.deadline),
        executed_at=e.executed_at,
        fallback_zone=e.fallback_zone,
        duration_minutes=e.duration_minutes,
        responsible_id=e.responsible_id,
        colour=e.colour,
        calendar=e.calendar,
        contact_ids=e.contact_ids,
        invitee_ids=e.invitee_ids,
        address=e.address,
        room_id=e.room_id,
        on_room_conflict="fail" if e.on_room_conflict == "fail" else "mark",
        link=e.link,
        file_ids=e.file_ids,
        reminders=e.reminders,
        auto_complete=e.auto_complete,
    )


def _ask_email(e: action.EmailAsked, state: Visit) -> Contract:
    return notifications.SendEmail(
        **_asking(e, state),
        notice_id=e.request_id,
        to=e.to,
        subject=e.subject,
        body_text=e.body_text,
        from_employee_id=e.from_employee_id,
        reply_to=e.reply_to,
        attachment_ids=e.attachment_ids,
        element=_given(state),
        importance="customer",
        message_class="message",
        language=e.language,
    )


def _ask_sms(e: action.SmsAsked, state: Visit) -> Contract:
    return notifications.SendSms(
        **_asking(e, state),
        notice_id=e.request_id,
        to=e.to,
        text=e.text,
        element=_given(state),
        importance="customer",
        message_class="message",
    )


def _ask_notice(e: action.NoticeAsked, state: Visit) -> Contract:
    return notifications.Notify(
        **_asking(e, state),
        notice_id=e.request_id,
        employee_id=e.employee_id,
        role=e.role,
        title=e.title,
        text=e.text,
        element=_given(state),
        topic_name="system",
    )


def _ask_fields(e: action.FieldsAsked, state: Visit) -> Contract:
    if state.element_type == "lead":
        return deals.ChangeLeadFields(**_asking(e, state), lead_id=state.element_id, changes=e.changes)
    return deals.ChangeDealFields(**_asking(e, state), deal_id=state.element_id, changes=e.changes)


def _ask_stage(e: action.StageAsked, state: Visit) -> Contract:
    element = _given(state)
    return deals.MoveToStage(
        **_asking(e, state),
        element_type=element.element_type,
        element_id=element.element_id,
        stage_id=e.stage_id,
        if_visit_id=state.visit_id,
        loss_reason=e.loss_reason,
    )


def _ask_webhook(e: action.WebhookAsked, state: Visit) -> Contract:
    return notifications.DeliverWebhook(
        **_asking(e, state),
        delivery_id=e.request_id,
        endpoint_id=e.endpoint_id,
        event_name=e.event_name,
        payload=e.payload,
        callback_url=e.callback_url,
        callback_expires_at=e.callback_expires_at,
        element=_given(state),
    )


ASKS: dict[type[Asked], Callable[[Any, Visit], Contract]] = {
    action.LinkAsked: _ask_link,
    action.InvoiceAsked: _ask_invoice,
    action.QuoteAsked: _ask_quote,
    action.SignDocumentAsked: _ask_sign_document,
    action.ConversionAsked: _ask_conversion,
    action.CopyAsked: _ask_copy,
    action.LeadAsked: _ask_lead,
    action.DetailsChangeAsked: _ask_details,
    action.ActivityAsked: _ask_activity,
    action.EmailAsked: _ask_email,
    action.SmsAsked: _ask_sms,
    action.NoticeAsked: _ask_notice,
    action.FieldsAsked: _ask_fields,
    action.StageAsked: _ask_stage,
    action.WebhookAsked: _ask_webhook,
}
"""By kind of step; a ValueWriteAsked is answered inside automation."""


# ------------------------------------------------------------------------------------------------ decisions


def of_decision(state: Decision, recorded: Recorded[DecisionEvent]) -> Contract | InNameOf | None:
    e = recorded.event
    match e:
        case decision.FactAwaited():
            wait = decision.LONGEST_WAIT if e.last else decision.FIRST_LOOK
            when = common.When(mode="after", anchor_instant=e.at, offset=common.Offset(**wait))
            return scheduler.SetTimer(request_id=e.timer_id, timer_id=e.timer_id, about=e.about, owner=OWNER, when=when)
        case decision.WaitingEnded(timer_id=timer, about=about):
            return scheduler.CancelTimer(request_id=timer, timer_id=timer, about=about, reason="fact_arrived")
        case decision.MoveAsked():
            return InNameOf(_ask_move(e, recorded.aggregate_id), e.actor)
        case decision.DecisionEnded():
            return _decided(state, recorded, e)
        case _:
            return None


def _ask_move(e: decision.MoveAsked, id: str) -> Contract:
    return deals.MoveToStage(
        request_id=id,
        element_type="lead" if e.element_type == "lead" else "deal",
        element_id=e.element_id,
        stage_id=e.stage_id,
        if_visit_id=e.if_visit_id,
        decision_id=id,
        origin=_origin_of_trigger(e, id),
    )


def _origin_of_trigger(e: decision.MoveAsked, id: str) -> common.Origin:
    return common.Origin(
        kind="trigger", id=e.trigger_id, version=e.version, decision_id=id, acting_fallback=e.acting_fallback, chain=e.chain
    )


def _decided(state: Decision, recorded: Recorded[Any], e: decision.DecisionEnded) -> Contract | None:
    """Nobody hears of a decision without candidates (4, step 8), unless it was given up."""
    heard, judged = state.heard, state.judged
    verdicts = judged.verdicts if judged else ()
    if heard is None or (not verdicts and e.outcome != "unresolved"):
        return None
    element = common.ElementRef(element_type=heard.element_type, element_id=state.element_id) if state.element_id else None
    return automation.TriggerDecided(
        decision_id=recorded.aggregate_id,
        request_id=heard.source_event_id if heard.source_type == automation.CallTrigger.type else None,
        element=element,
        source_event_id=heard.source_event_id,
        source_type=heard.source_type,
        outcome=e.outcome,
        reason=e.reason,
        trigger_id=state.move.trigger_id if state.move else None,
        target_stage_id=state.move.stage_id if state.move else None,
        order_version=judged.order_version if judged else None,
        verdicts=tuple(automation.Verdict(trigger_id=v.trigger_id, verdict=v.verdict, by=v.by) for v in verdicts),
        responsible_id=judged.responsible_id if judged else _responsible_for(heard.facts),
        pipeline_owner_id=judged.pipeline_owner_id if judged else None,
        acting_fallback=state.move.acting_fallback if state.move else False,
        origin=_origin_of_trigger(state.move, recorded.aggregate_id) if state.move else common.Origin(kind="system", chain=heard.chain),
    )


def _responsible_for(facts: Json) -> str | None:
    """Of a decision that never came to an element: whom the event itself names. One of other programs may say anything there."""
    told = (facts.get(name) for name in ("deal_responsible_id", "responsible_id"))
    return next((text for text in told if isinstance(text, str) and _ID.fullmatch(text)), None)


_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def refusal(envelope: Envelope, rejected: Rejected) -> Contract:
    """Automation's answer to a command that it refuses."""
    return automation.CommandRejected.of(
        envelope.key,
        envelope.type,
        rejected.code,
        rejected.detail,
        rejected.errors,
        request_id=text_said(legible(envelope.data).get("request_id")),
        origin=common.Origin(kind="system"),
    )
