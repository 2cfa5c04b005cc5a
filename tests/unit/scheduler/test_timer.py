from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from services.scheduler.domain.calendar import Absence, Calendar, Opening
from services.scheduler.domain.due import Calendars, Offset, When
from services.scheduler.domain.origin import Origin
from services.scheduler.domain.timer import (
    TIMER,
    Armed,
    CancelTimer,
    Fire,
    FireNow,
    RearmTimer,
    Recalculate,
    SetTimer,
    TimerCancelled,
    TimerCommand,
    TimerConfirmed,
    TimerEscalated,
    TimerEvent,
    TimerFired,
    TimerMissed,
    TimerRearmed,
    TimerSet,
    arm,
)
from shared.testing.given import given

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
RUN, DEAL, ANNA, OTHER = ("run", "deal", "anna", "other")
RULE = Origin("rule", id=str(9))
PERSON = Origin("person", id=ANNA)
NOBODY = Calendars()
IN_AN_HOUR = When("after", anchor_instant=NOW, offset=Offset(hours=1))
AT_HER_HOURS = When("after", anchor_instant=NOW, working_hours="responsible", responsible_id=ANNA)
AWAY_FOR_A_MONTH = Calendars(responsible=Calendar(True, absences=(Absence(NOW, NOW + timedelta(days=30)),), revision=1))
HOUR = timedelta(hours=1)


def set_timer(when: When = IN_AN_HOUR, **more: Any) -> SetTimer:
    return SetTimer(RUN, "automation", DEAL, when, more.pop("calendars", NOBODY), NOW, RULE, **more)


def armed(when: When, calendars: Calendars = NOBODY) -> Armed:
    return replace(arm(when, calendars, NOW), at=NOW)


def timer_set(when: When = IN_AN_HOUR, calendars: Calendars = NOBODY, **more: Any) -> TimerSet:
    return TimerSet(
        RUN,
        "automation",
        DEAL,
        armed(when, calendars),
        RULE,
        more.get("max_lateness"),
        more.get("wait_limit", 1209600),
        more.get("repeat"),
        more.get("misfire", "one"),
    )


def fired(at: datetime = NOW + HOUR, late: int = 0) -> TimerFired:
    return TimerFired(NOW + HOUR, at, late, RULE)


def test_a_timer_is_set_once() -> None:
    given(TIMER).when(set_timer()).then(timer_set())
    given(TIMER, timer_set()).when(set_timer(replace(IN_AN_HOUR, offset=Offset(days=3)))).nothing_happens()


def test_a_bad_expression_sets_nothing() -> None:
    given(TIMER).when(set_timer(When("after"))).refused("bad_when", "/anchor_instant")
    given(TIMER).when(set_timer(repeat="every tuesday")).refused("bad_when", "/repeat")
    given(TIMER).when(set_timer(max_lateness=-1)).refused("bad_when", "/max_lateness")
    given(TIMER).when(set_timer(wait_limit=-1)).refused("bad_when", "/wait_limit")


def test_a_second_is_a_delay() -> None:
    state = given(TIMER).when(set_timer(When("after", anchor_instant=NOW, offset=Offset(seconds=1)))).state
    assert state.wakes_at == NOW + timedelta(seconds=1)


def test_it_fires_when_it_is_due_and_never_before() -> None:
    timer = given(TIMER, timer_set())
    timer.when(Fire(NOW + HOUR - timedelta(milliseconds=1), NOBODY)).nothing_happens()
    timer.when(Fire(NOW + HOUR + timedelta(seconds=2), NOBODY)).then(fired(NOW + HOUR + timedelta(seconds=2), 2000))


def test_it_fires_once() -> None:
    given(TIMER, timer_set(), fired()).when(Fire(NOW + 2 * HOUR, NOBODY)).nothing_happens()


def test_however_late_an_internal_action_fires() -> None:
    outcome = given(TIMER, timer_set()).when(Fire(NOW + 31 * HOUR, NOBODY))
    assert outcome.state.status == "fired"
    assert outcome.state.lateness_ms == 30 * 3600 * 1000


@pytest.mark.parametrize(("late", "status"), [(timedelta(hours=24), "fired"), (timedelta(hours=24, milliseconds=1), "missed")])
def test_a_customer_action_that_is_too_late_is_missed(late: timedelta, status: str) -> None:
    outcome = given(TIMER, timer_set(max_lateness=24 * 3600)).when(Fire(NOW + HOUR + late, NOBODY))
    assert outcome.state.status == status


@pytest.mark.parametrize(("late", "status"), [(HOUR, "fired"), (HOUR + timedelta(milliseconds=1), "missed")])
def test_what_was_past_when_it_was_asked_for_is_late_only_from_then_on(late: timedelta, status: str) -> None:
    """At arrival a time that has passed is due at once (G16); only an outage makes it too late (D7)."""
    long_ago = replace(IN_AN_HOUR, anchor_instant=NOW - timedelta(days=30))
    set_ = timer_set(long_ago, max_lateness=3600)
    outcome = given(TIMER, set_).when(Fire(NOW + late, NOBODY))
    assert outcome.state.status == status


def test_a_calendar_that_changes_meanwhile_forgives_nothing() -> None:
    set_, newer = timer_set(max_lateness=3600), Calendars(Calendar(True, "UTC", revision=5))
    recalculated = given(TIMER, set_).when(Recalculate(NOW + 9 * HOUR, newer)).events
    outcome = given(TIMER, set_, *recalculated).when(Fire(NOW + 9 * HOUR, NOBODY))
    assert outcome.state.status == "missed"


def test_missed_says_by_how_much_it_may_be_late() -> None:
    at = NOW + 50 * HOUR
    given(TIMER, timer_set(max_lateness=3600)).when(Fire(at, NOBODY)).then(TimerMissed(NOW + HOUR, at, 3600, RULE))


def test_a_person_may_fire_it_early() -> None:
    given(TIMER, timer_set()).when(FireNow(NOW, NOBODY, ANNA, PERSON)).then(TimerFired(NOW + HOUR, NOW, 0, PERSON, early=True, by=ANNA))


def test_a_person_may_fire_it_however_late() -> None:
    outcome = given(TIMER, timer_set(max_lateness=1)).when(FireNow(NOW + 9 * HOUR, NOBODY, ANNA, PERSON))
    assert outcome.state.status == "fired"


def test_it_is_armed_anew() -> None:
    later = replace(IN_AN_HOUR, offset=Offset(days=1))
    command = RearmTimer(OTHER, later, NOBODY, NOW, RULE)
    state = given(TIMER, timer_set()).when(command).then(TimerRearmed(OTHER, armed(later), RULE))
    assert state.wakes_at == NOW + timedelta(days=1)
    given(TIMER, timer_set(), TimerRearmed(OTHER, armed(later), RULE)).when(command).nothing_happens()


def test_who_names_every_request_after_the_timer_is_answered_too() -> None:
    """The request id alone does not make it the same request: another time is another question."""
    later = replace(IN_AN_HOUR, offset=Offset(days=1))
    moved = TimerRearmed(RUN, armed(later), RULE)
    given(TIMER, timer_set()).when(RearmTimer(RUN, later, NOBODY, NOW, RULE)).then(moved)
    back = TimerRearmed(RUN, armed(IN_AN_HOUR), RULE)
    given(TIMER, timer_set(), moved).when(RearmTimer(RUN, IN_AN_HOUR, NOBODY, NOW, RULE)).then(back)
    given(TIMER, timer_set()).when(CancelTimer(RUN, "stage_left", RULE)).then(TimerCancelled(RUN, "stage_left", RULE, None))


def test_it_is_cancelled_and_rings_no_more() -> None:
    cancelled = TimerCancelled(OTHER, "stage_left", RULE, None)
    given(TIMER, timer_set()).when(CancelTimer(OTHER, "stage_left", RULE)).then(cancelled)
    given(TIMER, timer_set(), cancelled).when(Fire(NOW + HOUR, NOBODY)).nothing_happens()
    given(TIMER, timer_set(), cancelled).when(CancelTimer(OTHER, "stage_left", RULE)).nothing_happens()


VERBS: list[TimerCommand] = [
    RearmTimer(OTHER, IN_AN_HOUR, NOBODY, NOW),
    CancelTimer(OTHER, "stage_left"),
    FireNow(NOW, NOBODY, ANNA, PERSON),
]


ENDS: list[TimerEvent] = [
    fired(),
    TimerMissed(NOW + HOUR, NOW + 30 * HOUR, 60, RULE),
    TimerCancelled(RUN, "stage_left", RULE, None),
]


@pytest.mark.parametrize("command", VERBS)
@pytest.mark.parametrize("end", ENDS)
def test_what_is_over_is_over(command: TimerCommand, end: TimerEvent) -> None:
    given(TIMER, timer_set(), end).when(command).refused("timer_over")


@pytest.mark.parametrize("command", VERBS)
def test_an_unknown_timer_is_named_so(command: TimerCommand) -> None:
    assert given(TIMER).when(command).refused("timer_unknown").status == 404


def test_the_clock_and_the_calendars_ask_nothing_of_an_unknown_timer() -> None:
    given(TIMER).when(Fire(NOW, NOBODY)).nothing_happens()
    given(TIMER).when(Recalculate(NOW, NOBODY)).nothing_happens()


# the responsible person's hours (D10)


def test_it_waits_for_the_person() -> None:
    state = given(TIMER).when(set_timer(AT_HER_HOURS, calendars=AWAY_FOR_A_MONTH)).state
    assert state.status == "waiting_hours"
    assert state.armed and state.armed.due.due_at == NOW + timedelta(days=30)
    assert state.wakes_at == NOW + timedelta(days=14)


def test_after_the_wait_limit_it_says_so_once_and_waits_on() -> None:
    at = NOW + timedelta(days=14)
    escalated = TimerEscalated("responsible_hours", NOW, ANNA, RULE)
    waiting = timer_set(AT_HER_HOURS, AWAY_FOR_A_MONTH)
    state = given(TIMER, waiting).when(Fire(at, AWAY_FOR_A_MONTH)).then(escalated)
    assert (state.status, state.wakes_at) == ("waiting_hours", NOW + timedelta(days=30))
    given(TIMER, waiting, escalated).when(Fire(at + HOUR, AWAY_FOR_A_MONTH)).nothing_happens()


def test_another_responsible_person_may_be_there_already() -> None:
    hers = replace(AT_HER_HOURS, responsible_id=OTHER)
    outcome = given(TIMER, timer_set(AT_HER_HOURS, AWAY_FOR_A_MONTH)).when(RearmTimer(str(8), hers, NOBODY, NOW, RULE))
    assert (outcome.state.status, outcome.state.wakes_at) == ("set", NOW)


def test_who_has_not_clocked_in_when_it_is_due_is_waited_for() -> None:
    every_day = tuple((Opening(9 * 60, 18 * 60),) for _ in range(7))
    out = Calendars(Calendar(True, "UTC", week=every_day, revision=1), Calendar(True, time_tracking=True, clock="out", revision=1))
    ten = When("at", anchor_instant=datetime(2026, 3, 3, 10, tzinfo=UTC), working_hours="responsible", responsible_id=ANNA)
    state = given(TIMER, timer_set(ten, out)).when(Fire(datetime(2026, 3, 3, 10, tzinfo=UTC), out)).state
    assert (state.status, state.wakes_at) == ("waiting_hours", datetime(2026, 3, 4, 9, tzinfo=UTC))


# calendars change


def test_her_return_is_earlier_than_planned() -> None:
    back = Calendars(responsible=Calendar(True, revision=2))
    at = NOW + timedelta(days=3)
    state = given(TIMER, timer_set(AT_HER_HOURS, AWAY_FOR_A_MONTH)).when(Recalculate(at, back)).state
    assert state.armed is not None
    assert (state.status, state.armed.due.due_at, state.wakes_at) == ("set", NOW, at)


def test_a_change_that_moves_nothing_is_noted_and_not_said() -> None:
    newer = Calendars(Calendar(True, "Europe/Berlin", week=tuple((Opening(0, 1440),) for _ in range(7)), revision=5))
    confirmed = TimerConfirmed(Armed(IN_AN_HOUR, arm(IN_AN_HOUR, newer, NOW).due, 5, 0, NOW))
    state = given(TIMER, timer_set()).when(Recalculate(NOW, newer)).then(confirmed)
    assert state.armed and state.armed.company_revision == 5
    given(TIMER, timer_set(), confirmed).when(Recalculate(NOW, newer)).nothing_happens()


# recurring timers


EVERY_HOUR = "30 * * * *"
AT_HALF_PAST = When("at", anchor_instant=datetime(2026, 3, 2, 8, 30, tzinfo=UTC))
HALF_PAST = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)


def recurring(misfire: str = "one") -> TimerSet:
    return timer_set(AT_HALF_PAST, repeat=EVERY_HOUR, misfire=misfire)


def test_the_next_occurrence_is_armed_by_the_event_that_fires_this_one() -> None:
    state = given(TIMER, recurring()).when(Fire(HALF_PAST + timedelta(minutes=3), NOBODY)).state
    assert (state.status, state.wakes_at, state.fired_due_at) == ("set", HALF_PAST + HOUR, HALF_PAST)


@pytest.mark.parametrize(
    ("misfire", "fires", "next_due"),
    [
        ("one", TimerFired, HALF_PAST + timedelta(hours=6)),
        ("skip", TimerMissed, HALF_PAST + timedelta(hours=6)),
        ("all", TimerFired, HALF_PAST + HOUR),
    ],
)
def test_missed_occurrences_follow_the_policy(misfire: str, fires: type[TimerEvent], next_due: datetime) -> None:
    outcome = given(TIMER, recurring(misfire)).when(Fire(HALF_PAST + timedelta(hours=5, minutes=10), NOBODY))
    assert [type(event) for event in outcome.events] == [fires]
    assert outcome.state.wakes_at == next_due


def test_a_recurring_timer_can_be_cancelled() -> None:
    outcome = given(TIMER, recurring()).when(CancelTimer(OTHER, "enough", RULE))
    assert outcome.state.wakes_at is None


minutes = st.integers(min_value=-600, max_value=600)


@for_all(st.lists(st.tuples(st.sampled_from(["set", "rearm", "fire", "cancel", "now", "recalculate"]), minutes, minutes), max_size=12))
def test_whatever_is_asked_a_timer_never_fires_early_by_the_clock_and_never_after_its_end(asked: list[tuple[str, int, int]]) -> None:
    state, events = TIMER.initial, []
    for n, (verb, at, offset) in enumerate(asked):
        events_now = _decided(state, verb, NOW + timedelta(minutes=at), offset, str(100 + n))
        state = TIMER.fold(events_now, state)
        events += events_now
    ends = [e for e in events if isinstance(e, (TimerFired, TimerMissed, TimerCancelled))]
    assert len(ends) <= 1
    assert all(e.due_at <= e.fired_at or e.early for e in ends if isinstance(e, TimerFired))
    assert not ends or events[-1] is ends[0]


def _decided(state: Any, verb: str, at: datetime, offset: int, request: str) -> list[TimerEvent]:
    when = When("after" if offset >= 0 else "before", anchor_instant=NOW, offset=Offset(minutes=abs(offset)))
    commands: dict[str, TimerCommand] = {
        "set": SetTimer(request, "automation", DEAL, when, NOBODY, at, RULE),
        "rearm": RearmTimer(request, when, NOBODY, at, RULE),
        "fire": Fire(at, NOBODY),
        "cancel": CancelTimer(request, "enough", RULE),
        "now": FireNow(at, NOBODY, None, PERSON),
        "recalculate": Recalculate(at, NOBODY),
    }
    outcome = given(TIMER)
    return list(type(outcome)(TIMER, state).when(commands[verb]).events)
