"""What the service is made of fits together: every event reads back as written, every ask is a contract, visits keep their promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given as for_all
from hypothesis import settings
from hypothesis import strategies as st

from services.automation import publications
from services.automation.domain import visit as vis
from services.automation.domain.action import ASKED, PLANS, Asked, ValueWriteAsked
from services.automation.domain.catalogue import RULE_TYPES
from services.automation.domain.decision import DECISION, Decision, Hear, decision_id
from services.automation.domain.visit import OVER, VISIT, Visit
from services.automation.handlers import HANDLERS
from services.automation.service import SERVICE
from shared.es.codec import DataclassCodec
from shared.es.errors import Rejected
from shared.es.recorded import Context, Recorded, Stream
from shared.messaging.contract import Command, Contract
from shared.messaging.handler import InNameOf
from shared.messaging.handling import prepare
from tests.unit.automation.made import DEAL, NOW, VISIT_ID, arrive, details, id_of, known, later, rule, rule_id
from tests.unit.automation.test_decision import situation

CODEC = DataclassCodec(handler.aggregate for handler in HANDLERS)
TENANT = UUID(int=1)
CONTEXT = Context(TENANT, "c", "m", actor="user:" + id_of("anna"))


def recorded(event: Any, aggregate: str, id: str, version: int = 1) -> Recorded[Any]:
    return Recorded(UUID(int=version), Stream(TENANT, f"{aggregate}-{id}"), version, event, CONTEXT, NOW, aggregate)


def read_back(aggregate: str, event: Any) -> Any:
    name, text = CODEC.encode(event)
    return CODEC.decode(aggregate, name, text)


def contract_of(said: Contract | InNameOf | None) -> Contract | None:
    return said.contract if isinstance(said, InNameOf) else said


def test_the_service_is_wired() -> None:
    prepared = prepare(SERVICE)
    assert "deals.StageChanged.v1" in prepared.routes and set(prepared.topics) >= {"automation.commands", "deals.events"}


def test_every_rule_type_has_a_plan_and_every_ask_a_command() -> None:
    assert set(PLANS) == set(RULE_TYPES)
    assert set(ASKED) - set(publications.ASKS) == {ValueWriteAsked}


RULES = [
    rule("link", "create_payment_link"),
    rule("inv", "create_from", settings={"targets": ["quote", "invoice", "sign_document"]}),
    rule("fix", "change_details"),
    rule("addr", "get_details"),
    rule("lead", "create_recurring_lead"),
    rule("copy", "copy_deal", settings={"responsible": "user:7"}),
    rule("call", "plan_activity", settings={"link": "https://x", "calendar": True, "customers": "all", "invite": ["user:7"]}),
    rule("mail", "send_email", settings={"body": "Hello", "from": "responsible"}),
    rule("sms", "send_sms"),
    rule("tell", "notify", settings={"to": ["responsible", "role:finance"]}),
    rule("give", "change_responsible"),
    rule("on", "change_stage", settings={"loss_reason": "too late"}),
    rule("field", "change_field"),
    rule("var", "change_variable"),
    rule("call", "call_webhook", settings={"outputs": [{"name": "parcel", "type": "string"}]}),
]


@pytest.mark.parametrize("ready", RULES, ids=lambda r: str(r.rule.key))
def test_everything_asked_is_a_valid_command_with_the_chain(ready: Any) -> None:
    state = VISIT.initial
    for n, event in enumerate(VISIT.decide(state, arrive(ready, known=known(details=(details(),)))), 1):
        assert read_back("visit", event) == event
        state = VISIT.evolve(state, event)
        contract = contract_of(publications.of_visit(state, recorded(event, "visit", VISIT_ID, n)))
        if contract is not None:
            again = type(contract).model_validate_json(contract.model_dump_json())
            assert again == contract and contract.partition_key() == DEAL
        if isinstance(contract, Command):
            assert contract.model_dump()["origin"]["chain"] == (rule_id(ready.rule.key),)
    assert state.run(rule_id(ready.rule.key)) is not None


def test_lead_targets_become_one_conversion_each() -> None:
    lead = rule("conv", "create_from", settings={"targets": ["deal", "contact"], "close_lead": True})
    asked = [e for e in VISIT.decide(VISIT.initial, arrive(lead, known=known(element_type="lead"))) if isinstance(e, Asked)]
    state = VISIT.fold(VISIT.decide(VISIT.initial, arrive(lead, known=known(element_type="lead"))))
    contracts = [contract_of(publications.of_visit(state, recorded(e, "visit", VISIT_ID))) for e in asked]
    bodies = [c.model_dump() for c in contracts if c is not None]
    assert [(b["targets"], b["close_lead"]) for b in bodies] == [(("contact",), False), (("deal",), True)]
    assert bodies[0]["contact_id"] == bodies[0]["request_id"] and bodies[1]["deal_id"] == bodies[1]["request_id"]


# ------------------------------------------------------------------------------------------------ a visit under any course of events

STAGE = (
    rule("a", "create_payment_link"),
    rule("b", "send_email", execution="after_previous", settings={"body": "{{steps.a.url}}"}),
    rule("c", timing={"after": "arrival", "offset": "1d"}),
    rule("d", execution="after_previous", timing={"after": "previous", "offset": "1h"}, on_exit="keep"),
    rule("e", timing={"after": "deal.uf.meeting", "offset": "1d"}),
    rule("f", "create_from", settings={"targets": ["quote", "invoice"]}),
)
IDS = [rule_id(key) for key in "abcdef"]
FACTS = [known(), known(at=later(days=1), fields={"custom": {"meeting": "2026-04-01"}}), known(rules={rule_id("c"): "disabled"})]
CODES = ["nothing_to_pay", "payment_document_exists", "strange"]


@st.composite
def commands(draw: st.DrawFn, visit: Visit) -> Any:
    facts = draw(st.sampled_from(FACTS))
    timers = [run.timer_id for run in visit.runs if run.timer_id] or ["none"]
    requests = [step.request_id for run in visit.runs for step in run.steps] or ["none"]
    id, timer, request = draw(st.sampled_from(IDS)), draw(st.sampled_from(timers)), draw(st.sampled_from(requests))
    return draw(
        st.sampled_from(
            [
                arrive(*STAGE, known=facts),
                vis.Answered(request, {"url": "u"}, facts),
                vis.Refused(request, draw(st.sampled_from(CODES)), "", facts),
                vis.TimerWasSet(timer, "2026-03-03T08:00:00.000Z", ("why",)),
                vis.TimerRang(timer, 3, facts),
                vis.TimerTooLate(timer, "2026-03-03T08:00:00.000Z", "2026-03-05T08:00:00.000Z", facts),
                vis.TimerWasCancelled(timer, facts),
                vis.FieldsChanged(facts),
                vis.RuleGone(id, "rule_deleted", facts),
                vis.CancelRun(id, facts),
                vis.RunNow(id, STAGE[IDS.index(id)], facts),
                vis.DropRun(id, facts),
                vis.ContinueRun(id, facts),
                vis.RetryRun(id, draw(st.sampled_from(["step", "start"])), STAGE[IDS.index(id)], facts),
                vis.PostponeRun(id, "2027-01-01T00:00:00.000Z"),
                vis.StopRules(facts),
                vis.Leave("stage_left", facts),
            ]
        )
    )


@settings(max_examples=150)
@for_all(st.data())
def test_no_course_of_events_breaks_a_visits_promises(data: st.DataObject) -> None:
    state = VISIT.initial
    done: set[str] = set()
    for _ in range(data.draw(st.integers(1, 14))):
        command = data.draw(commands(state))
        try:
            events = VISIT.decide(state, command)
        except Rejected:
            continue
        for event in events:
            _keeps_its_promises(state, event, command, done)
            assert read_back("visit", event) == event
            state = VISIT.evolve(state, event)
            contract = contract_of(publications.of_visit(state, recorded(event, "visit", VISIT_ID)))
            assert contract is None or type(contract).model_validate_json(contract.model_dump_json()) == contract
            done |= {step.request_id for run in state.runs for step in run.steps if step.state == "done"}
    _is_in_order(state)


def _keeps_its_promises(state: Visit, event: Any, command: Any, done: set[str]) -> None:
    """Nothing done is asked again; nothing that is not to be kept is asked after the stay unless a person says so."""
    if not isinstance(event, Asked):
        return
    assert event.request_id not in done
    by_hand = isinstance(command, vis.RetryRun | vis.ContinueRun | vis.RunNow)
    run = state.run(event.rule_id)
    assert run is not None
    assert state.status != "left" or run.rule.on_exit == "keep" or by_hand


def _is_in_order(state: Visit) -> None:
    """Between decisions every run stands somewhere, and what runs has an unanswered step."""
    for run in state.runs:
        assert run.state not in ("due", "scheduled") or state.status == "new", run
        assert (run.state == "running") == any(step.state == "asked" for step in run.steps)
        assert run.is_over == (run.finished_at is not None)
        assert run.waiting_for != "timer" or run.timer_id
        if state.status == "left" and run.rule.on_exit == "cancel":
            assert run.state in OVER or run.state in ("running", "missed", "blocked"), run


def test_decisions_read_back_and_speak_contracts() -> None:
    source = id_of("event")
    unheard = Hear(decision_id(source, DEAL), source, "billing.InvoicePaid.v1", "invoice_paid", {}, (), known().at, element_id=DEAL)
    for found in (None, situation(), situation(stood="won")):
        state, heard = Decision(), replace(unheard, situation=found)
        for event in DECISION.decide(state, heard):
            assert read_back("decision", event) == event
            state = DECISION.evolve(state, event)
            contract = contract_of(publications.of_decision(state, recorded(event, "decision", heard.decision_id)))
            assert contract is None or type(contract).model_validate_json(contract.model_dump_json()) == contract
