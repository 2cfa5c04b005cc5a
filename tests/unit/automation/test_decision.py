"""Trigger decisions: verdicts, the winner, waiting for facts, judging again (automation 4, D14-D20)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.automation.domain.catalogue import TRIGGER_TYPES
from services.automation.domain.decision import (
    DECISION,
    MOST_JUDGEMENTS,
    Decision,
    DecisionEnded,
    FactAwaited,
    Hear,
    Heard,
    JudgeByHand,
    Judged,
    Learn,
    LinkedTooLate,
    LookAgain,
    MoveAsked,
    Moved,
    MoveRefused,
    Situation,
    WaitingEnded,
    decision_id,
    unlinked_id,
)
from services.automation.domain.definition import Trigger, complete_trigger, trigger_of
from services.automation.domain.listening import LISTENS
from shared.testing.given import Given, Outcome
from tests.unit.automation.made import ANNA, BEN, DEAL, OLAF, SALES, VISIT_ID, id_of, known, person, pipeline, stage_id

EVENT, INVOICE, AT = id_of("event"), id_of("invoice"), "2026-03-02T08:00:00.000Z"
ID = decision_id(EVENT, DEAL)
FRESH: Given[Decision, Any, Any] = Given(DECISION, Decision())
FACTS = {"number": "RE-1", "total": {"amount": "100.00", "currency": "EUR"}, "held_before": {"amount": "0.00", "currency": "EUR"}}


def trigger(key: str = "paid", to: str = "collect-goods", position: int = 0, **text: Any) -> Trigger:
    definition = complete_trigger({"id": key, "type": text.pop("type", "invoice_paid"), **text})
    references = {"user:7": BEN, "user:42": ANNA, "kind:event.total": "money"}
    return trigger_of(id_of(f"trigger {key}"), 1, (SALES, stage_id(to), position), OLAF, definition, references)


def situation(*triggers: Trigger, stood: str = "payment-expected", **changes: Any) -> Situation:
    kinds = {"won": "success", "lost": "failure"}
    place = {"stage_id": stage_id(stood), "stage_kind": kinds.get(stood, "process")}
    return Situation(known(**{**place, **changes}), triggers or (trigger(),))


def hear(found: Situation | None, **own: Any) -> Hear:
    fields: dict[str, Any] = {"facts": FACTS, "chain": (), "at": AT, "element_id": DEAL, "invoice_id": INVOICE, "situation": found}
    return Hear(ID, EVENT, "billing.InvoicePaid.v1", own.pop("trigger_type", "invoice_paid"), **{**fields, **own})


def verdicts(outcome: Outcome[Decision, Any]) -> dict[str, str]:
    names = {id_of(f"trigger {key}"): key for key in ("paid", "near", "far", "behind", "other")}
    judged = outcome.state.judged
    assert judged is not None
    return {names[v.trigger_id]: v.verdict for v in judged.verdicts}


def decided(*commands: Any) -> Given[Decision, Any, Any]:
    state = Decision()
    for command in commands:
        state = DECISION.fold(DECISION.decide(state, command), state)
    return on(state)


def on(state: Decision) -> Given[Decision, Any, Any]:
    return Given(DECISION, state)


# ------------------------------------------------------------------------------------------------ the move


def test_the_only_trigger_moves_the_element() -> None:
    done = FRESH.when(hear(situation()))
    heard, judged, move = done.events
    assert isinstance(heard, Heard) and isinstance(judged, Judged) and isinstance(move, MoveAsked)
    assert (judged.visit_id, judged.order_version) == (VISIT_ID, 1)
    assert (move.stage_id, move.if_visit_id) == (stage_id("collect-goods"), VISIT_ID)
    assert (move.actor, move.acting_fallback) == (f"user:{ANNA}", False)
    assert move.chain == (id_of("trigger paid"),)
    on(done.state).when(Moved(AT)).then(DecisionEnded("moved", AT))


def test_the_same_event_is_heard_once() -> None:
    decided(hear(situation())).when(hear(situation())).nothing_happens()


def test_a_move_of_another_decision_means_nothing() -> None:
    FRESH.when(Moved(AT)).nothing_happens()
    decided(hear(situation()), Moved(AT)).when(Moved(AT)).nothing_happens()


def test_without_triggers_there_is_no_candidate() -> None:
    done = FRESH.when(hear(Situation(known(), ())))
    assert done.events[-1] == DecisionEnded("ignored", AT, "no_candidate")


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        (situation(stood="collect-goods"), "already_there"),
        (situation(stood="approval"), "past_target"),
        (situation(stood="won"), "final_stage"),
        (situation(trigger(allow_back=True), stood="lost"), "final_stage"),
        (situation(deleted=True), "element_deleted"),
        (situation(replace(trigger(), pipeline_id=id_of("installation"))), "other_pipeline"),
        (situation(trigger(condition={"field": "event.total", "op": "gt", "value": 500})), "condition_false"),
        (situation(stage_id=id_of("gone")), "target_missing"),
        (situation(trigger(type="invoice_refunded")), "no_candidate"),
    ],
)
def test_why_a_trigger_does_not_move(found: Situation, verdict: str) -> None:
    done = FRESH.when(hear(found))
    assert done.events[-1] == DecisionEnded("ignored", AT, verdict)


@pytest.mark.parametrize(
    ("options", "stood"),
    [
        ({"allow_back": True}, "approval"),
        ({"allow_back": True, "allow_reopen": True}, "won"),
        ({"allow_back": True, "allow_reopen": True}, "lost"),
    ],
)
def test_backwards_and_out_of_the_end_only_where_allowed(options: dict[str, Any], stood: str) -> None:
    assert isinstance(FRESH.when(hear(situation(trigger(**options), stood=stood))).events[-1], MoveAsked)


def test_the_condition_is_recorded_with_what_it_saw() -> None:
    picky = trigger(condition={"field": "event.total", "op": "gt", "value": 500})
    (v,) = FRESH.when(hear(situation(picky))).state.judged.verdicts  # type: ignore[union-attr]
    assert v.trace[0][2:5] == (500, "100.00 EUR", False)


# ------------------------------------------------------------------------------------------------ several triggers (D17)

THREE = (trigger("far", "approval"), trigger("near", "collect-goods"), trigger("behind", "new"))


def test_the_earliest_stage_ahead_wins() -> None:
    done = FRESH.when(hear(situation(*THREE)))
    assert verdicts(done) == {"far": "outranked", "near": "won", "behind": "past_target"}
    judged = done.state.judged
    assert judged is not None and {v.by for v in judged.verdicts if v.verdict == "outranked"} == {id_of("trigger near")}


def test_or_the_furthest_where_the_pipeline_says_so() -> None:
    done = FRESH.when(hear(situation(*THREE, pipeline=pipeline(trigger_choice="furthest"))))
    assert verdicts(done)["far"] == "won"


def test_none_ahead_the_nearest_behind_wins() -> None:
    back = [trigger("near", "payment-expected", allow_back=True), trigger("far", "new", allow_back=True)]
    assert verdicts(FRESH.when(hear(situation(*back, stood="approval")))) == {"near": "won", "far": "outranked"}


def test_a_tie_goes_to_the_first_of_the_list() -> None:
    same = [trigger("near", position=1), trigger("other", position=0)]
    assert verdicts(FRESH.when(hear(situation(*same)))) == {"near": "outranked", "other": "won"}


def test_one_event_asks_for_at_most_one_move() -> None:
    assert sum(isinstance(e, MoveAsked) for e in FRESH.when(hear(situation(*THREE))).events) == 1


def test_a_trigger_in_the_chain_does_not_act_and_the_chain_ends() -> None:
    looped = FRESH.when(hear(situation(), chain=(id_of("trigger paid"),)))
    assert verdicts(looped) == {"paid": "loop"}
    deep = FRESH.when(hear(situation(), chain=tuple(id_of(f"x{n}") for n in range(10))))
    assert verdicts(deep) == {"paid": "loop"}


# ------------------------------------------------------------------------------------------------ scope and threshold (D25, D30)


@pytest.mark.parametrize(
    ("settings", "facts", "moves"),
    [
        ({"scope": "all_open"}, {"other_unpaid": ["x"]}, False),
        ({"scope": "all_open"}, {"other_unpaid": []}, True),
        ({"scope": "created_by:sales/new#inv"}, {"origin_rule_id": "r"}, True),
        ({"scope": "created_by:sales/new#inv"}, {"origin_rule_id": "q"}, False),
    ],
)
def test_which_invoices_count(settings: dict[str, Any], facts: dict[str, Any], moves: bool) -> None:
    scoped = trigger(settings=settings)
    scoped = replace(scoped, references={"created_by:sales/new#inv": "r"})
    done = FRESH.when(hear(situation(scoped), facts={**FACTS, **facts}))
    assert isinstance(done.events[-1], MoveAsked) is moves


def money(amount: str) -> dict[str, str]:
    return {"amount": amount, "currency": "EUR"}


@pytest.mark.parametrize(
    ("threshold", "before", "held", "moves"),
    [
        ("30%", "0.00", "29.99", False),
        ("30%", "0.00", "30.00", True),
        ("30%", "30.00", "40.00", False),
        ("33.3%", "33.29", "33.30", True),
        ({"amount": "25.00", "currency": "EUR"}, "20.00", "25.00", True),
        ({"amount": "25.00", "currency": "USD"}, "20.00", "25.00", False),
        ({"amount": "25.00"}, "20.00", "25.00", True),
        (None, "0.00", "99.00", False),
    ],
)
def test_a_threshold_is_crossed_once(threshold: Any, before: str, held: str, moves: bool) -> None:
    part = {**FACTS, "held_before": money(before), "held": money(held)}
    command = hear(situation(trigger(settings={"threshold": threshold})), facts=part)
    done = FRESH.when(replace(command, source_type="billing.InvoicePartiallyPaid.v1"))
    assert isinstance(done.events[-1], MoveAsked) is moves


def test_full_payment_counts_for_a_threshold_not_reached_before() -> None:
    done = FRESH.when(hear(situation(trigger(settings={"threshold": "30%"})), facts={**FACTS, "held_before": money("20.00")}))
    assert isinstance(done.events[-1], MoveAsked)


def test_a_called_trigger_is_the_one_with_the_code() -> None:
    called = trigger(type="webhook", settings={"code": "shipped"})
    for code, moves in (("shipped", True), ("other", False)):
        done = FRESH.when(hear(situation(called), trigger_type="webhook", facts={"code": code}))
        assert isinstance(done.events[-1], MoveAsked) is moves


OUTSIDE = {"order": {"deal_id": DEAL.upper(), "total": 12}, "ce_subject": f"deal/{DEAL}", "ce_source": "urn:shop"}


@pytest.mark.parametrize(
    ("settings", "facts", "moves"),
    [
        ({}, OUTSIDE, True),
        ({"source": "urn:shop"}, OUTSIDE, True),
        ({"source": "urn:other"}, OUTSIDE, False),
        ({"element_path": "order.deal_id"}, OUTSIDE | {"ce_subject": None}, True),
        ({"element_path": "order.gone"}, OUTSIDE, False),
        ({}, OUTSIDE | {"ce_subject": "deal/other"}, False),
        ({"event_type": "com.example.else"}, OUTSIDE, False),
    ],
)
def test_a_foreign_event_counts_for_the_element_it_names(settings: dict[str, Any], facts: dict[str, Any], moves: bool) -> None:
    own = trigger(type="external_event", settings={"event_type": "com.example.shipped", **settings})
    command = hear(situation(own), trigger_type="external_event", facts=facts)
    done = FRESH.when(replace(command, source_type="com.example.shipped"))
    assert isinstance(done.events[-1], MoveAsked) is moves


def test_a_condition_reads_inside_a_foreign_event() -> None:
    large = trigger(
        type="external_event", settings={"event_type": "x"}, condition={"field": "event.order.total", "op": "eq", "value": "12"}
    )
    done = FRESH.when(replace(hear(situation(large), trigger_type="external_event", facts=OUTSIDE), source_type="x"))
    assert isinstance(done.events[-1], MoveAsked)


def test_an_apps_trigger_is_the_one_with_app_and_code() -> None:
    own = trigger(type="app", settings={"app_code": "phone", "code": "ended"})
    for app, code, moves in (("phone", "ended", True), ("phone", "begun", False), ("fax", "ended", False)):
        done = FRESH.when(hear(situation(own), trigger_type="app", facts={"app_code": app, "code": code}))
        assert isinstance(done.events[-1], MoveAsked) is moves


def test_every_trigger_type_listens_to_something() -> None:
    assert LISTENS.keys() == TRIGGER_TYPES.keys()


@pytest.mark.parametrize(
    ("settings", "by", "moves"),
    [({}, "person", True), ({}, "automation", False), ({"also_automatic": True}, "automation", True)],
)
def test_a_completed_activity_counts_when_a_person_completed_it(settings: dict[str, Any], by: str, moves: bool) -> None:
    own = trigger(type="activity_completed", settings=settings)
    done = FRESH.when(hear(situation(own), trigger_type="activity_completed", facts={"by": by}))
    assert isinstance(done.events[-1], MoveAsked) is moves


# ------------------------------------------------------------------------------------------------ in whose name (D20)


def test_who_acts_when_the_responsible_person_left() -> None:
    people = {ANNA: person(ANNA, "42", "Anna", active=False), BEN: person(BEN, "7", "Ben")}
    done = FRESH.when(hear(situation(trigger(fallback_user="user:7"), people=people)))
    assert (done.events[-1].actor, done.events[-1].acting_fallback) == (f"user:{BEN}", True)
    nobody = FRESH.when(hear(situation(people=people, pipeline=pipeline(automation_user_id=BEN))))
    assert nobody.events[-1].actor == f"user:{BEN}"
    system = FRESH.when(hear(situation(people=people)))
    assert (system.events[-1].actor, system.events[-1].acting_fallback) == ("system", True)


def test_a_named_acting_user() -> None:
    assert FRESH.when(hear(situation(trigger(acting_user="user:7")))).events[-1].actor == f"user:{BEN}"


# ------------------------------------------------------------------------------------------------ refusals (D18)


def test_a_refused_move_ends_with_its_code() -> None:
    decided(hear(situation())).when(MoveRefused("required_fields_missing", None, AT)).then(
        DecisionEnded("ignored", AT, "required_fields_missing")
    )


def test_a_changed_visit_is_judged_again_at_most_five_times() -> None:
    state = decided(hear(situation()))
    for n in range(1, MOST_JUDGEMENTS):
        again = state.when(MoveRefused("visit_changed", situation(visit_id=id_of(f"visit {n}")), AT))
        assert again.events[-1].if_visit_id == id_of(f"visit {n}")
        state = on(again.state)
    state.when(MoveRefused("visit_changed", situation(), AT)).then(DecisionEnded("unresolved", AT, "visit_changed"))


def test_a_refusal_of_nothing_means_nothing() -> None:
    FRESH.when(MoveRefused("visit_changed", situation(), AT)).nothing_happens()


# ------------------------------------------------------------------------------------------------ waiting (D19)


def test_an_unknown_element_is_waited_for_a_minute_then_a_day() -> None:
    waiting = FRESH.when(hear(None))
    awaited = waiting.events[-1]
    assert isinstance(awaited, FactAwaited) and (awaited.missing, awaited.about, awaited.last) == ("element", DEAL, False)
    longer = on(waiting.state).when(LookAgain(awaited.timer_id, None, "later"))
    (last,) = longer.events
    assert (last.last, last.at, last.missing) == (True, AT, "element") and last.timer_id != awaited.timer_id
    on(longer.state).when(LookAgain(awaited.timer_id, None, "later")).nothing_happens()
    on(longer.state).when(LookAgain(last.timer_id, None, "much later")).then(
        DecisionEnded("unresolved", "much later", "waiting_for_element")
    )


def test_a_look_that_finds_the_element_judges() -> None:
    waiting = FRESH.when(hear(None))
    found = on(waiting.state).when(LookAgain(waiting.events[-1].timer_id, situation(), AT))
    assert isinstance(found.events[-1], MoveAsked)


def test_the_element_wakes_the_decision_and_the_timer_is_taken_back() -> None:
    woken = decided(hear(None)).when(Learn(DEAL, situation(), AT))
    assert [type(e) for e in woken.events] == [WaitingEnded, Judged, MoveAsked]
    on(woken.state).when(Learn(DEAL, situation(), AT)).nothing_happens()


def test_an_unlinked_invoice_waits_for_its_deal() -> None:
    id = unlinked_id(INVOICE, "invoice_paid", 1)
    unlinked = replace(hear(None, element_id=None), decision_id=id)
    waiting = FRESH.when(unlinked)
    assert (waiting.events[-1].missing, waiting.events[-1].about, waiting.events[-1].last) == ("link", id, True)
    linked = on(waiting.state).when(Learn(DEAL, None, AT))
    assert linked.state.status == "waiting_for_element" and linked.state.element_id == DEAL
    assert isinstance(on(linked.state).when(Learn(DEAL, situation(), AT)).events[-1], MoveAsked)


def test_linked_too_late_moves_nothing_and_lets_a_person_judge_it() -> None:
    waiting = FRESH.when(hear(None, element_id=None))
    given_up = on(waiting.state).when(LookAgain(waiting.events[-1].timer_id, None, "a day later"))
    linked = on(given_up.state).when(Learn(DEAL, situation(), "an hour after that"))
    assert linked.then(LinkedTooLate(DEAL)).element_id == DEAL
    on(linked.state).when(Learn(DEAL, situation(), "again")).nothing_happens()
    assert isinstance(on(linked.state).when(JudgeByHand(situation())).events[-1], MoveAsked)


def test_a_person_judges_what_was_given_up() -> None:
    waiting = decided(hear(None))
    waiting.when(JudgeByHand(situation())).refused("not_unresolved")
    FRESH.when(JudgeByHand(situation())).refused("not_found")
    first = waiting.state.timer_id or ""
    second = waiting.when(LookAgain(first, None, AT))
    given_up = on(second.state).when(LookAgain(second.state.timer_id or "", None, AT))
    assert isinstance(on(given_up.state).when(JudgeByHand(situation())).events[-1], MoveAsked)
