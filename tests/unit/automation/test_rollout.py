"""Versions that are not for all visits: which they are for, what becomes of the others, and what a shadow leaves behind."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

from services.automation.domain.definition import Ready
from services.automation.domain.rollout import is_chosen
from services.automation.domain.rule import LIVE, RULE, DraftRule, PublishRule
from services.automation.domain.timing import instant
from services.automation.domain.visit import VISIT, Arrived, MigrateRun, RunReleased, ShadowJudged, TimerRang, TimerWasSet, Visit, timer_id
from services.automation.views import Cast, StageRule, StageRules, Trial
from shared.testing.given import Given, given
from tests.unit.automation.made import OLAF, SALES, STAGE, VISIT_ID, arrive, known, later, rule, rule_id, run_state

VISITS = [str(UUID(int=n)) for n in range(2000)]
SHADOW = {"mode": "shadow", "percent": None}
SECOND = {"id": "tell", "type": "notify", "settings": {"text": "B"}}


def share(percent: int) -> dict[str, Any]:
    return {"mode": "live", "percent": percent}


def of(*versions: Ready | None, percent: int | None) -> StageRules:
    """A stage with one rule: the version for all, if there is one, and the one on trial."""
    before, trial = versions
    assert trial is not None
    return StageRules([StageRule(rule_id("tell"), OLAF, "published", 0, before, {}, Trial(trial, percent))])


# ------------------------------------------------------------------------------------------------ which visits


def test_a_share_of_the_visits_is_chosen_and_a_greater_share_holds_the_smaller() -> None:
    chosen = {percent: {id for id in VISITS if is_chosen(id, percent)} for percent in (1, 20, 50, 100)}
    assert chosen[1] <= chosen[20] <= chosen[50] <= chosen[100] == set(VISITS)
    assert 300 < len(chosen[20]) < 500


def test_the_rest_runs_the_version_before() -> None:
    rules = of(rule("tell"), rule("tell", version=2), percent=20)
    for id in VISITS[:200]:
        (cast,) = rules.cast(id).rules
        assert cast.rule.version == (2 if is_chosen(id, 20) else 1)
        assert rules.ready(rule_id("tell"), id) == cast
        assert (rules.cast(id).left_out, rules.cast(id).shadows) == (frozenset(), ())


def test_without_a_version_before_the_rest_is_left_out() -> None:
    rules = of(None, rule("tell"), percent=20)
    for id in VISITS[:200]:
        assert rules.cast(id).left_out == (frozenset() if is_chosen(id, 20) else {rule_id("tell")})
        assert len(rules.cast(id).rules) == 1


def test_a_shadow_takes_no_part() -> None:
    old, new = rule("tell"), rule("tell", version=2)
    assert of(old, new, percent=None).cast(VISIT_ID) == Cast((old,), frozenset(), (new,))
    assert of(None, new, percent=None).cast(VISIT_ID) == Cast((), frozenset(), (new,))


def test_the_base_is_the_last_version_that_was_for_all() -> None:
    state = given(RULE).when(DraftRule("deal", SALES, STAGE, 0, {}, OLAF)).state
    for n, (rollout, base) in enumerate(((share(20), None), (LIVE, 2), (share(50), 2), (SHADOW, 2), (LIVE, 5)), 1):
        state = Given(RULE, state).when(PublishRule({**SECOND, "name": str(n)}, {}, rollout=rollout)).state
        assert (state.version, state.base) == (n, base)


def test_the_same_version_may_be_published_for_more() -> None:
    drafted = given(RULE).when(DraftRule("deal", SALES, STAGE, 0, {}, OLAF)).state
    first = Given(RULE, drafted).when(PublishRule(SECOND, {}, rollout=share(20))).state
    Given(RULE, first).when(PublishRule(SECOND, {}, rollout=share(20))).refused("nothing_to_change")
    assert Given(RULE, first).when(PublishRule(SECOND, {})).state.base == 2


# ------------------------------------------------------------------------------------------------ what becomes of them


def test_a_rule_that_is_not_for_this_visit_is_skipped_and_its_successor_goes_on() -> None:
    wanted = replace(arrive(rule("link"), rule("mail", execution="after_previous")), left_out=frozenset((rule_id("link"),)))
    state = given(VISIT).when(wanted).state
    assert run_state(state, "link") == ("skipped", "not_in_rollout")
    assert run_state(state, "mail")[0] == "running"


def judged(*live: Ready, shadows: tuple[Ready, ...], **facts: Any) -> tuple[Visit, list[ShadowJudged]]:
    done = given(VISIT).when(replace(arrive(*live, known=known(**facts)), shadows=shadows))
    return done.state, [event for event in done.events if isinstance(event, ShadowJudged)]


def test_a_shadow_asks_for_nothing_and_says_what_it_would_have() -> None:
    new = rule("tell", version=2, settings={"text": "New {{deal.title}}"})
    state, (shadow,) = judged(rule("tell"), shadows=(new,))
    assert (shadow.version, shadow.verdict) == (2, "would_run")
    (would,) = shadow.would_ask
    assert (would["kind"], would["step"], would["text"]) == ("Notice", "to:1", "New Roof 2026")
    run = state.run(rule_id("tell"))
    assert run is not None and (run.rule.version, len(run.steps)) == (1, 1)


def test_a_shadow_without_a_live_version_leaves_a_judgement_and_no_run() -> None:
    state, (shadow,) = judged(shadows=(rule("tell"),))
    assert (state.runs, shadow.verdict) == ((), "would_run")


def test_a_shadow_is_judged_by_its_own_condition_and_texts() -> None:
    dear = {"field": "deal.amount", "op": "gt", "value": 500}
    _, (no,) = judged(rule("tell"), shadows=(rule("tell", version=2, condition=dear),))
    assert (no.verdict, no.trace[0][3]) == ("condition_false", "100.00")
    _, (gap,) = judged(rule("tell"), shadows=(rule("tell", version=2, on_unresolved="block", settings={"text": "{{contact.phone}}"}),))
    assert (gap.verdict, gap.would_ask) == ("unresolved", ())


def test_a_shadow_that_waits_is_judged_at_the_moment_of_the_live_one() -> None:
    in_two_days: Any = {"after": "arrival", "offset": "2d"}
    live, new = rule("tell", timing=in_two_days), rule("tell", version=2, timing=in_two_days)
    state, at_arrival = judged(live, shadows=(new,))
    assert at_arrival == []
    timer = timer_id(VISIT_ID, rule_id("tell"), "delay")
    rang = Given(VISIT, state).when(TimerRang(timer, 3, known(later(days=2), fields={"title": "Later"})))
    (shadow,) = [event for event in rang.events if isinstance(event, ShadowJudged)]
    assert (shadow.at, shadow.would_ask[0]["text"]) == (instant(later(days=2)), "Pack Later")


def test_a_shadow_that_would_wait_beside_a_rule_that_does_not_says_so() -> None:
    _, (shadow,) = judged(rule("tell"), shadows=(rule("tell", version=2, timing={"after": "arrival", "offset": "2d"}),))
    assert (shadow.verdict, shadow.would_ask) == ("would_wait", ())


def test_what_a_shadow_compares_with_the_arrival_is_remembered() -> None:
    new = rule("tell", version=2, condition={"field": "deal.title", "op": "changed"})
    done = given(VISIT).when(replace(arrive(rule("tell")), shadows=(new,)))
    arrived = next(event for event in done.events if isinstance(event, Arrived))
    assert arrived.remembered == {"title": "Roof 2026"}


# ------------------------------------------------------------------------------------------------ past: run or drop


def waiting(**timing: Any) -> Visit:
    state = given(VISIT).when(arrive(rule("tell", timing={"after": "arrival", "offset": "10d"}))).state
    return Given(VISIT, state).when(TimerWasSet(timer_id(VISIT_ID, rule_id("tell"), "delay"), instant(later(days=10)), ())).state


def test_a_migrated_run_whose_time_is_past_runs_or_is_dropped_as_was_chosen() -> None:
    new = rule("tell", version=2, timing={"after": "arrival", "offset": "2d"})
    timer = timer_id(VISIT_ID, rule_id("tell"), "delay-2")
    for drop, end in ((False, ("running", None)), (True, ("skipped", "past_dropped"))):
        state = Given(VISIT, waiting()).when(MigrateRun(new, known(later(days=5)), drop)).state
        state = Given(VISIT, state).when(TimerWasSet(timer, instant(later(days=2)), ())).state
        assert run_state(Given(VISIT, state).when(TimerRang(timer, 3, known(later(days=5, seconds=1)))).state, "tell") == end


def test_a_migrated_run_whose_time_is_still_to_come_is_not_dropped() -> None:
    new = rule("tell", version=2, timing={"after": "arrival", "offset": "6d"})
    timer = timer_id(VISIT_ID, rule_id("tell"), "delay-2")
    state = Given(VISIT, waiting()).when(MigrateRun(new, known(later(days=5)), drop_past=True)).state
    state = Given(VISIT, state).when(TimerWasSet(timer, instant(later(days=6)), ())).state
    assert run_state(Given(VISIT, state).when(TimerRang(timer, 3, known(later(days=6)))).state, "tell")[0] == "running"


def test_a_version_without_a_time_was_due_on_arrival() -> None:
    at_once = rule("tell", version=2)
    done = Given(VISIT, waiting()).when(MigrateRun(at_once, known(later(days=5)), drop_past=True))
    assert run_state(done.state, "tell") == ("skipped", "past_dropped")
    assert any(isinstance(event, RunReleased) for event in done.events)
    assert run_state(Given(VISIT, waiting()).when(MigrateRun(at_once, known(later(days=5)))).state, "tell")[0] == "running"
