"""A delay that keeps to the responsible person's hours, and what happens when it waits too long for them (D10, rule-format 4)."""

from __future__ import annotations

from typing import Any

import pytest

from services.automation.domain.visit import (
    VISIT,
    FieldsChanged,
    Leave,
    RunEscalated,
    StopRules,
    TimerAsked,
    TimerDropped,
    TimerRang,
    TimerWaitsTooLong,
    TimerWasSet,
    Visit,
    timer_id,
)
from shared.testing.given import Given, Outcome
from tests.unit.automation.made import ANNA, BEN, OLAF, VISIT_ID, arrive, id_of, known, person, pipeline, rule, rule_id, run_state

FRESH: Given[Visit, Any, Any] = Given(VISIT, VISIT.initial)
HOURS = {"after": "arrival", "offset": "1h", "working_hours": "responsible", "wait_limit": "3d 12h"}
TIMER = timer_id(VISIT_ID, rule_id("call"), "delay")
SINCE = "2026-03-02T09:00:00.000Z"
REASONS = ("one hour later", "outside Anna's hours")


def call(**own: Any) -> Any:
    return rule("call", timing=HOURS, **own)


def waiting(ready: Any) -> Visit:
    state = FRESH.when(arrive(ready)).state
    return when(state, TimerWasSet(TIMER, "2026-03-20T08:00:00.000Z", REASONS, "responsible_hours")).state


def when(state: Visit, command: Any) -> Outcome[Visit, Any]:
    return Given(VISIT, state).when(command)


def too_long(since: str = SINCE, **facts: Any) -> TimerWaitsTooLong:
    return TimerWaitsTooLong(TIMER, since, known(**facts))


@pytest.mark.parametrize(
    ("own", "limit"),
    [
        ({"wait_limit": "3d 12h"}, 302_400),
        ({"wait_limit": "0s"}, 0),
        ({}, None),
    ],
)
def test_the_limit_goes_to_the_scheduler_with_the_timer(own: dict[str, Any], limit: int | None) -> None:
    ready = rule("call", timing={"after": "arrival", "offset": "1h", "working_hours": "responsible", **own})
    (_, asked) = FRESH.when(arrive(ready)).events
    assert isinstance(asked, TimerAsked)
    assert (asked.wait_limit, asked.when["working_hours"], asked.when["responsible_id"]) == (limit, "responsible", ANNA)


def test_without_the_responsible_persons_hours_nothing_is_waited_for() -> None:
    (_, asked) = FRESH.when(arrive(rule("r", timing={"after": "arrival", "offset": "1h", "wait_limit": "1d"}))).events
    assert asked.wait_limit is None


def test_after_the_limit_the_manager_is_told_once_and_the_run_waits_on() -> None:
    done = when(waiting(call()), too_long(people={ANNA: person(ANNA, "anna", "Anna")}))
    (told,) = done.events
    assert isinstance(told, RunEscalated)
    assert (told.employee_id, told.role, told.since) == (OLAF, None, SINCE)
    assert "2026-03-02" in told.text and "Anna" in told.text
    assert run_state(done.state, "call") == ("waiting", "responsible_hours")
    when(done.state, too_long()).nothing_happens()


def test_who_is_told_follows_the_chain_of_those_who_stand_in() -> None:
    anna = {ANNA: person(ANNA, "anna", "Anna"), OLAF: person(OLAF, "olaf", "Olaf", active=False), BEN: person(BEN, "ben", "Ben")}
    fallback = call(fallback_user="user:ben", references={"user:ben": BEN})
    assert told(fallback, people=anna) == (BEN, None)
    assert told(call(), people=anna, pipeline=pipeline(owner_id=BEN)) == (BEN, None)
    assert told(call(), people=anna, pipeline=pipeline(owner_id=OLAF)) == (None, "operator")
    by_herself = call(fallback_user="user:anna", references={"user:anna": ANNA})
    assert told(by_herself, people=anna, pipeline=pipeline(owner_id=ANNA)) == (None, "operator")


def told(ready: Any, **facts: Any) -> tuple[str | None, str | None]:
    (event,) = when(waiting(ready), too_long(**facts)).events
    return event.employee_id, event.role


def test_a_new_responsible_person_whose_hours_do_not_come_either_is_told_of_again() -> None:
    state = when(waiting(call()), too_long()).state
    state = when(state, FieldsChanged(known(fields={"responsible_id": BEN}))).state
    (again,) = when(state, too_long("2026-03-09T09:00:00.000Z", fields={"responsible_id": BEN})).events
    assert isinstance(again, RunEscalated) and again.request_id != when(waiting(call()), too_long()).events[0].request_id


@pytest.mark.parametrize("end", [Leave("stage_left", known()), Leave("element_deleted", known()), StopRules(known())])
def test_the_end_of_the_stay_takes_the_timer_back_and_a_late_word_of_it_tells_nobody(end: Any) -> None:
    done = when(waiting(call()), end)
    assert TimerDropped(rule_id("call"), TIMER, "by_person" if isinstance(end, StopRules) else end.reason) in done.events
    assert run_state(done.state, "call")[0] == "cancelled"
    when(done.state, too_long()).nothing_happens()


def test_a_rule_that_keeps_on_after_the_stay_is_told_of_and_runs() -> None:
    state = when(waiting(call(on_exit="keep")), Leave("stage_left", known())).state
    done = when(state, too_long())
    assert isinstance(done.events[0], RunEscalated)
    assert run_state(when(done.state, TimerRang(TIMER, 0, known())).state, "call")[0] == "running"


def test_the_word_of_a_timer_that_nobody_waits_for_tells_nobody() -> None:
    when(waiting(call()), TimerWaitsTooLong(id_of("other"), SINCE, known())).nothing_happens()
    rung = when(waiting(call()), TimerRang(TIMER, 0, known())).state
    when(rung, too_long()).nothing_happens()
