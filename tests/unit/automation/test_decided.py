"""Decisions of the specification that no other test shows by the words of its *Test* phrase. All of them: docs/semantics.md."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Any
from uuid import UUID

from services.automation.domain.action import ActivityAsked, InvoiceAsked, LeadAsked, NoticeAsked
from services.automation.domain.timing import instant
from services.automation.domain.visit import (
    VISIT,
    CancelRun,
    Leave,
    Rearm,
    Reopened,
    RuleGone,
    TimerRang,
    TimerWasSet,
    Visit,
    VisitCommand,
    timer_id,
)
from shared.testing.given import Given, given
from tests.unit.automation.made import NOW, PETRA, VISIT_ID, arrive, id_of, known, later, rule, rule_id, run_state

SECOND_STAY = str(UUID(int=2))
LATE: dict[str, Any] = {"after": "arrival", "offset": "180d"}


def went(state: Visit, *commands: VisitCommand) -> tuple[Visit, list[Any]]:
    """The state after the commands, and what they led to."""
    events: list[Any] = []
    for command in commands:
        outcome = Given(VISIT, state).when(command)
        state = outcome.state
        events.extend(outcome.events)
    return state, events


def rings(key: str, at: datetime, visit: str = VISIT_ID, **facts: Any) -> TimerRang:
    return TimerRang(timer_id(visit, rule_id(key), "delay"), 3, known(at, **facts))


def stay(*rules: Any, visit: str = VISIT_ID, at: datetime = NOW) -> Visit:
    return given(VISIT).when(replace(arrive(*rules, known=known(at)), visit_id=visit, arrived_at=instant(at))).state


def test_enter_leave_and_enter_again_is_one_effect_counted_from_the_second_entry() -> None:
    """D1."""
    renewal = rule("renewal", "create_recurring_lead", timing=LATE)
    first, _ = went(stay(renewal), Leave("stage_left", known(later(days=1))), rings("renewal", later(days=180)))
    assert run_state(first, "renewal") == ("cancelled", "stage_left")
    second = stay(renewal, visit=SECOND_STAY, at=later(days=2))
    run = second.run(rule_id("renewal"))
    assert run is not None and run.when is not None and run.when["anchor_instant"] == instant(later(days=2))
    _, events = went(second, rings("renewal", later(days=182), SECOND_STAY))
    assert len([event for event in events if isinstance(event, LeadAsked)]) == 1


def test_won_and_reopened_on_day_90_brings_no_lead() -> None:
    """D1b."""
    won = stay(rule("renewal", "create_recurring_lead", timing=LATE))
    state, events = went(won, Leave("stage_left", known(later(days=90))), rings("renewal", later(days=180)))
    assert run_state(state, "renewal") == ("cancelled", "stage_left")
    assert not [event for event in events if isinstance(event, LeadAsked)]


def test_disabled_when_due_is_skipped_and_enabled_again_before_it_runs() -> None:
    """D3, both orders."""
    waiting = stay(rule("tell", timing=LATE))
    off, _ = went(waiting, rings("tell", later(days=180), rules={rule_id("tell"): "disabled"}))
    assert run_state(off, "tell") == ("skipped", "rule_disabled")
    on, _ = went(waiting, rings("tell", later(days=180)))
    assert run_state(on, "tell")[0] == "running"
    gone, _ = went(waiting, RuleGone(rule_id("tell"), "rule_disabled", known()))
    assert run_state(gone, "tell") == ("cancelled", "rule_disabled"), "disabled with what waits cancelled"


def test_moved_back_and_forth_each_stay_asks_for_an_invoice_of_its_own() -> None:
    """D43."""
    invoice = rule("inv", "create_from")
    asked = [
        event
        for visit in (VISIT_ID, SECOND_STAY)
        for event in given(VISIT).when(replace(arrive(invoice), visit_id=visit)).events
        if isinstance(event, InvoiceAsked)
    ]
    assert len({event.request_id for event in asked}) == len(asked) == 2


def test_a_contact_added_while_it_waits_is_invited_and_one_added_later_is_not() -> None:
    """D54: a snapshot when it is executed."""
    settings = {"customers": "all", "deadline": {"day": "tomorrow", "time": "14:00"}, "name": "Call"}
    waiting = stay(rule("call", "plan_activity", timing=LATE, settings=settings))
    both = [PETRA, id_of("paul")]
    state, events = went(waiting, rings("call", later(days=180), fields={"contact_ids": both}))
    (asked,) = [event for event in events if isinstance(event, ActivityAsked)]
    assert list(asked.contact_ids) == both
    more = [*both, id_of("pia")]
    _, again = went(state, rings("call", later(days=181), fields={"contact_ids": more}))
    assert again == []


def test_an_empty_link_is_left_out_and_noted() -> None:
    """D55."""
    settings = {"link": "{{deal.uf.nothing}}", "deadline": {"day": "tomorrow", "time": "14:00"}, "name": "Call"}
    events = given(VISIT).when(arrive(rule("call", "plan_activity", settings=settings))).events
    (asked,) = [event for event in events if isinstance(event, ActivityAsked)]
    assert asked.link is None
    assert any("link" in note or "deal.uf.nothing" in note for note in asked.notes)


def test_one_day_then_two_days_counts_the_second_from_the_end_of_the_first() -> None:
    """D37."""
    one, two = ({"after": "arrival", "offset": "1d"}, {"offset": "2d", "after": "previous"})
    state = stay(rule("a", "get_details", timing=one), rule("b", timing=two, execution="after_previous"))
    state, events = went(state, rings("a", later(days=1, hours=3)))
    run = state.run(rule_id("b"))
    assert run is not None and run.when is not None
    assert run.when["anchor_instant"] == instant(later(days=1, hours=3)) and events


def test_a_cancelled_rule_lets_the_chain_go_on_and_what_waits_stays_in_order() -> None:
    """D36: cancelled by a person counts like skipped."""
    state = stay(rule("a", timing=LATE), rule("b", execution="after_previous"))
    state = Given(VISIT, state).when(TimerWasSet(timer_id(VISIT_ID, rule_id("a"), "delay"), instant(later(days=180)), ())).state
    state, events = went(state, CancelRun(rule_id("a"), known()))
    assert run_state(state, "b")[0] == "running"
    assert [event for event in events if isinstance(event, NoticeAsked)]


def test_deleted_and_restored_what_was_cancelled_is_planned_again_if_a_person_wants_it() -> None:
    """D58."""
    gone, _ = went(stay(rule("tell", timing=LATE)), Leave("element_deleted", known(later(days=9))))
    assert run_state(gone, "tell") == ("cancelled", "element_deleted")
    Given(VISIT, gone).when(Rearm(known(later(days=10), deleted=True))).refused("not_restored")
    state, events = went(gone, Rearm(known(later(days=10))))
    assert isinstance(events[0], Reopened) and run_state(state, "tell") == ("waiting", "timer")
    run = state.run(rule_id("tell"))
    assert run is not None and run.when is not None
    assert (run.when["anchor_instant"], run.timer_id) == (instant(NOW), timer_id(VISIT_ID, rule_id("tell"), "delay-2"))
    old, _ = went(state, rings("tell", later(days=180)))
    assert run_state(old, "tell") == ("waiting", "timer"), "the old timer means nothing"
    left, _ = went(state, Leave("stage_left", known(later(days=20))))
    assert run_state(left, "tell") == ("cancelled", "stage_left")
    Given(VISIT, left).when(Rearm(known(later(days=30)))).refused("not_restored")
