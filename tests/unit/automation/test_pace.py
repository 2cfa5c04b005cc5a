"""The tenant's quota of new runs: turns, what an arrival beyond it leaves behind, and its way on (D68)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from hypothesis import given as every
from hypothesis import strategies as st

from services.automation.domain.pace import Pace
from services.automation.domain.timing import instant
from services.automation.domain.visit import (
    VISIT,
    Arrived,
    MigrateRun,
    RunNow,
    TimerAsked,
    TimerDropped,
    TimerRang,
    TimerWasSet,
    Visit,
    timer_id,
)
from shared.testing.given import Given, given
from tests.unit.automation.made import NOW, VISIT_ID, arrive, known, later, rule, rule_id, run_state

SECOND = timedelta(seconds=1)


def turn_of(key: str, purpose: str = "delay") -> str:
    return timer_id(VISIT_ID, rule_id(key), purpose)


def arriving(*rules: Any, ahead: int, **more: Any) -> Visit:
    return given(VISIT).when(replace(arrive(*rules, **more), pace=Pace(50, None, ahead))).state


@every(st.integers(1, 400), st.integers(0, 999_999))
def test_no_second_of_the_clock_holds_more_than_the_quota_and_the_order_is_kept(a_second: int, microsecond: int) -> None:
    now = NOW.replace(microsecond=microsecond)
    pace = Pace(a_second)
    turns = [pace.turn(n, now) for n in range(3 * a_second + 1)]
    begins = [turn if Pace.must_wait(turn, now) else now for turn in turns]
    assert begins == sorted(begins)
    seconds = [begin.replace(microsecond=0) for begin in begins]
    assert all(seconds.count(second) <= a_second for second in set(seconds))
    assert begins[a_second - 1] == now and begins[a_second] >= NOW + SECOND


def test_what_others_took_is_not_given_out_again_and_what_is_past_is_free() -> None:
    assert Pace(50, NOW + 3 * SECOND).turn(0, NOW) == NOW + 3 * SECOND
    assert Pace(50, NOW - 3 * SECOND).turn(0, NOW) == NOW


def test_a_run_beyond_the_quota_waits_and_begins_at_its_turn() -> None:
    done = given(VISIT).when(replace(arrive(rule("tell")), pace=Pace(50, None, 60)))
    asked = next(event for event in done.events if isinstance(event, TimerAsked))
    assert (asked.waiting_for, asked.when["anchor_instant"]) == ("quota", instant(NOW + 1.2 * SECOND))
    assert run_state(done.state, "tell") == ("waiting", "quota")
    armed = Given(VISIT, done.state).when(TimerWasSet(turn_of("tell"), instant(later(seconds=1.2)), ())).state
    assert run_state(armed, "tell") == ("waiting", "quota")
    assert run_state(Given(VISIT, armed).when(TimerRang(turn_of("tell"), 3, known())).state, "tell")[0] == "running"


def test_within_the_quota_nothing_waits() -> None:
    assert run_state(arriving(rule("a"), rule("b"), ahead=48), "b")[0] == "running"
    third = arriving(rule("a"), rule("b"), rule("c"), ahead=48)
    assert [run_state(third, key) for key in "abc"] == [("running", None), ("running", None), ("waiting", "quota")]


def test_only_what_begins_at_once_takes_a_turn() -> None:
    late = rule("late", timing={"after": "arrival", "offset": "2d"})
    no = rule("no", condition={"field": "deal.amount", "op": "gt", "value": 1000})
    below = rule("next", execution="after_previous")
    done = given(VISIT).when(replace(arrive(late, no, below, rule("go")), pace=Pace(50)))
    arrived = next(event for event in done.events if isinstance(event, Arrived))
    assert run_state(done.state, "next")[0] == "running"
    assert (done.state.turns, arrived.taken_until) == (1, (NOW + SECOND / 50).isoformat())


def test_the_rule_below_waits_for_the_one_whose_turn_has_not_come() -> None:
    state = arriving(rule("tell"), rule("next", execution="after_previous"), ahead=60)
    assert run_state(state, "next") == ("waiting", "predecessor")


def test_the_condition_is_judged_again_at_the_turn() -> None:
    dear = rule("tell", condition={"field": "deal.amount", "op": "gt", "value": 50})
    state = arriving(dear, ahead=60)
    rang = Given(VISIT, state).when(TimerRang(turn_of("tell"), 3, known(fields={"amount": "10.00"})))
    assert run_state(rang.state, "tell") == ("skipped", "condition_false")


def test_a_person_may_run_it_before_its_turn() -> None:
    done = Given(VISIT, arriving(rule("tell"), ahead=60)).when(RunNow(rule_id("tell"), None, known()))
    assert any(isinstance(event, TimerDropped) for event in done.events)
    assert run_state(done.state, "tell")[0] == "running"


def test_a_new_version_does_not_jump_the_queue() -> None:
    done = Given(VISIT, arriving(rule("tell"), ahead=60)).when(MigrateRun(rule("tell", version=2), known()))
    assert run_state(done.state, "tell") == ("waiting", "quota")
    rang = Given(VISIT, done.state).when(TimerRang(turn_of("tell", "delay-2"), 3, known()))
    assert run_state(rang.state, "tell")[0] == "running"
