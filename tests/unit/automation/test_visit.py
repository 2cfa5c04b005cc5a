"""The visit: what its rules do on arrival, when timers ring, when others answer, when the element leaves (automation 3)."""

from __future__ import annotations

from typing import Any

import pytest

from services.automation.domain.action import (
    Asked,
    CopyAsked,
    EmailAsked,
    InvoiceAsked,
    LeadAsked,
    LinkAsked,
    NoticeAsked,
    QuoteAsked,
    request_id,
)
from services.automation.domain.visit import (
    VISIT,
    Answered,
    Arrived,
    CancelRun,
    ContinueRun,
    DropRun,
    FieldAwaited,
    FieldsChanged,
    Leave,
    Left,
    MigrateRun,
    PostponeRun,
    Refused,
    RetryRun,
    RuleGone,
    RunEnded,
    RunJudged,
    RunMissed,
    RunNow,
    StopRules,
    TimerArmed,
    TimerAsked,
    TimerDropped,
    TimerMoved,
    TimerRang,
    TimerTooLate,
    TimerWasCancelled,
    TimerWasSet,
    Visit,
    timer_id,
)
from shared.testing.given import Given, Outcome
from tests.unit.automation.made import (
    ANNA,
    BEN,
    DEAL,
    OLAF,
    VISIT_ID,
    arrive,
    details,
    id_of,
    known,
    later,
    person,
    rule,
    rule_id,
    run_state,
)

FRESH: Given[Visit, Any, Any] = Given(VISIT, VISIT.initial)
LINK = rule("link", "create_payment_link")
MAIL = rule("mail", "send_email", execution="after_previous")
RENEWAL = rule("renewal", "create_recurring_lead", timing={"after": "arrival", "offset": "180d"})


def asked(outcome: Outcome[Visit, Any]) -> list[Asked]:
    return [event for event in outcome.events if isinstance(event, Asked)]


def request(key: str, step: str) -> str:
    return request_id(VISIT_ID, rule_id(key), step)


def timer(key: str, purpose: str = "delay") -> str:
    return timer_id(VISIT_ID, rule_id(key), purpose)


def after(*steps: Any) -> Visit:
    """A visit after these commands."""
    state = VISIT.initial
    for command in steps:
        state = VISIT.fold(VISIT.decide(state, command), state)
    return state


def when(state: Visit, command: Any) -> Outcome[Visit, Any]:
    return Given(VISIT, state).when(command)


# ------------------------------------------------------------------------------------------------ arriving


def test_an_immediate_rule_asks_on_arrival() -> None:
    done = FRESH.when(arrive(LINK))
    arrived, link = done.events
    assert isinstance(arrived, Arrived) and isinstance(link, LinkAsked)
    assert (link.step, link.request_id, link.deal_id, link.amount) == ("link", request("link", "link"), DEAL, "100.00")
    assert run_state(done.state, "link") == ("running", None)


def test_the_second_arrival_is_the_first() -> None:
    when(after(arrive(LINK)), arrive(LINK)).nothing_happens()


def test_a_false_condition_skips_and_says_what_it_saw() -> None:
    picky = rule("link", "create_payment_link", condition={"field": "deal.amount", "op": "gt", "value": 500})
    done = FRESH.when(arrive(picky))
    (arrived,) = done.events
    assert arrived.runs[0].trace == (("deal.amount", "gt", 500, "100.00", False, None),)
    assert run_state(done.state, "link") == ("skipped", "condition_false")


def test_what_was_decided_at_arrival_is_not_pinned_in_full() -> None:
    (arrived, _) = FRESH.when(arrive(LINK)).events
    assert arrived.runs[0].rule is not None and arrived.runs[0].rule.settings == {}


def test_rules_that_wait_for_nothing_start_together() -> None:
    done = FRESH.when(arrive(rule("a"), rule("b"), rule("c")))
    assert [a.rule_id for a in asked(done)] == [rule_id("a"), rule_id("b"), rule_id("c")]


def test_the_first_rule_never_waits_for_the_one_above() -> None:
    done = FRESH.when(arrive(rule("first", execution="after_previous")))
    assert len(asked(done)) == 1


def test_the_asker_acts_in_the_name_of_the_owner() -> None:
    assert asked(FRESH.when(arrive(LINK)))[0].actor == f"user:{OLAF}"


def test_an_owner_who_left_is_replaced_by_the_fallback_user() -> None:
    people = {OLAF: person(OLAF, "1", "Olaf", active=False), BEN: person(BEN, "7", "Ben")}
    done = FRESH.when(arrive(rule("a", fallback_user="user:7"), known=known(people=people)))
    assert asked(done)[0].actor == f"user:{BEN}"


# ------------------------------------------------------------------------------------------------ guards (D40)


def test_a_rule_in_its_own_chain_is_blocked() -> None:
    done = FRESH.when(arrive(LINK, chain=(rule_id("link"),)))
    assert asked(done) == [] and run_state(done.state, "link") == ("blocked", "loop")


def test_a_chain_of_ten_blocks_every_rule() -> None:
    chain = tuple(id_of(f"foreign {n}") for n in range(10))
    done = FRESH.when(arrive(LINK, rule("b"), chain=chain))
    assert [run.reason for run in done.state.runs] == ["depth", "depth"]


def test_the_sixty_first_run_in_a_minute_is_blocked() -> None:
    assert run_state(FRESH.when(arrive(LINK, recent=59)).state, "link")[0] == "running"
    done = FRESH.when(arrive(LINK, recent=60))
    assert run_state(done.state, "link") == ("blocked", "rate")


def test_rules_that_do_not_match_do_not_count_as_runs() -> None:
    never = [rule(f"n{n}", condition={"any": []}) for n in range(5)]
    assert run_state(FRESH.when(arrive(*never, LINK, recent=59)).state, "link")[0] == "running"


def test_a_blocked_run_goes_when_a_person_says_so() -> None:
    blocked = after(arrive(LINK, chain=(rule_id("link"),)))
    done = when(blocked, RunNow(rule_id("link"), None, known()))
    assert isinstance(asked(done)[0], LinkAsked)


# ------------------------------------------------------------------------------------------------ order and outputs


def test_the_mail_waits_for_the_link_and_carries_it() -> None:
    state = after(arrive(LINK, MAIL))
    assert run_state(state, "mail") == ("waiting", "predecessor")
    done = when(state, Answered(request("link", "link"), {"url": "https://pay/1"}, known()))
    (mail,) = asked(done)
    assert isinstance(mail, EmailAsked)
    assert (mail.to, mail.body_text, mail.subject) == ("petra@example.org", "Pay: https://pay/1", "Roof 2026")


def test_a_mail_without_its_link_is_blocked_and_names_the_placeholder() -> None:
    done = when(after(arrive(LINK, MAIL)), Refused(request("link", "link"), "payment_document_exists", "", known()))
    assert run_state(done.state, "link") == ("skipped", "payment_document_exists")
    assert run_state(done.state, "mail") == ("blocked", "unresolved")
    assert done.events[-1].detail == "No value for steps.link.url."


def test_a_blocked_mail_goes_on_with_empty_text_when_a_person_continues_it() -> None:
    state = after(arrive(LINK, MAIL), Refused(request("link", "link"), "payment_document_exists", "", known()))
    (mail,) = asked(when(state, ContinueRun(rule_id("mail"), known())))
    assert isinstance(mail, EmailAsked) and mail.body_text == "Pay: "
    assert mail.notes == ("empty: steps.link.url",)


def test_a_run_that_blocks_on_arrival_can_still_be_continued() -> None:
    state = after(arrive(rule("mail", "send_email")))
    assert run_state(state, "mail") == ("blocked", "unresolved")
    assert len(asked(when(state, ContinueRun(rule_id("mail"), known())))) == 1


def test_a_failed_rule_blocks_the_one_below() -> None:
    done = when(after(arrive(LINK, MAIL)), Refused(request("link", "link"), "nothing_to_pay", "", known()))
    assert run_state(done.state, "link") == ("failed", "nothing_to_pay")
    assert run_state(done.state, "mail") == ("blocked", "predecessor")


def test_a_failed_rule_may_let_the_one_below_go_on() -> None:
    lenient = rule("link", "create_payment_link", continue_on_failure=True)
    below = rule("tell", execution="after_previous")
    done = when(after(arrive(lenient, below)), Refused(request("link", "link"), "nothing_to_pay", "", known()))
    assert isinstance(asked(done)[0], NoticeAsked)


def test_a_successful_retry_releases_the_rule_below() -> None:
    state = after(
        arrive(LINK, MAIL),
        Refused(request("link", "link"), "nothing_to_pay", "", known()),
        RetryRun(rule_id("link"), "step", LINK, known()),
    )
    assert run_state(state, "link") == ("running", None)
    done = when(state, Answered(request("link", "link"), {"url": "https://pay/1"}, known()))
    assert run_state(done.state, "mail") == ("running", None)


def test_a_skipped_rule_lets_the_one_below_go_on() -> None:
    never = rule("never", condition={"any": []})
    done = FRESH.when(arrive(never, rule("tell", execution="after_previous")))
    assert len(asked(done)) == 1


def test_only_a_rule_that_waits_is_held_back() -> None:
    done = FRESH.when(arrive(LINK, MAIL, rule("parallel")))
    assert {a.rule_id for a in asked(done)} == {rule_id("link"), rule_id("parallel")}


def test_an_answer_that_comes_twice_counts_once() -> None:
    answer = Answered(request("link", "link"), {"url": "u"}, known())
    when(after(arrive(LINK), answer), answer).nothing_happens()


def test_a_foreign_answer_means_nothing() -> None:
    when(after(arrive(LINK)), Answered(id_of("other"), {}, known())).nothing_happens()


# ------------------------------------------------------------------------------------------------ several steps (D42)

BOTH = rule("inv", "create_from", settings={"targets": ["quote", "invoice"]})


def test_each_target_is_a_step_of_its_own() -> None:
    quote, invoice = asked(FRESH.when(arrive(BOTH)))
    assert isinstance(quote, QuoteAsked) and isinstance(invoice, InvoiceAsked)
    assert (quote.step, invoice.step) == ("quote", "invoice")
    assert invoice.responsible_id == ANNA and invoice.title == "Roof 2026"


def test_a_run_ends_when_all_steps_are_answered() -> None:
    state = after(arrive(BOTH), Answered(request("inv", "quote"), {"quote_id": "q"}, known()))
    assert run_state(state, "inv") == ("running", None)
    done = when(state, Answered(request("inv", "invoice"), {"invoice_id": "i"}, known()))
    assert done.events[-1] == RunEnded(rule_id("inv"), "succeeded", known().at, outputs={"quote_id": "q", "invoice_id": "i"})


def test_one_failed_target_makes_it_partial_and_a_retry_asks_only_that_one() -> None:
    state = after(
        arrive(BOTH),
        Answered(request("inv", "quote"), {"quote_id": "q"}, known()),
        Refused(request("inv", "invoice"), "nothing_to_invoice", "no lines", known()),
    )
    assert run_state(state, "inv") == ("partial", "nothing_to_invoice")
    (again,) = asked(when(state, RetryRun(rule_id("inv"), "step", BOTH, known())))
    assert again.request_id == request("inv", "invoice")


def test_all_targets_skipped_is_a_skipped_run() -> None:
    state = after(
        arrive(BOTH),
        Refused(request("inv", "quote"), "open_exists", "", known()),
        Refused(request("inv", "invoice"), "open_exists", "", known()),
    )
    assert run_state(state, "inv") == ("skipped", "open_exists")


def test_an_unknown_refusal_keeps_its_code() -> None:
    done = when(after(arrive(LINK)), Refused(request("link", "link"), "wrong_moon", "", known()))
    assert run_state(done.state, "link") == ("failed", "refused(wrong_moon)")


def test_a_recipient_that_is_no_address_fails_alone() -> None:
    mails = rule("mail", "send_email", settings={"to": "a@b.de, nonsense", "body": "Hello"})
    done = FRESH.when(arrive(mails))
    assert [a.step for a in asked(done)] == ["to:1"]
    state = after(arrive(mails), Answered(request("mail", "to:1"), {"notice_ids": ["n"]}, known()))
    assert run_state(state, "mail") == ("partial", "bad_address")


# ------------------------------------------------------------------------------------------------ time (D5, D7, D37)


def test_a_delayed_rule_asks_the_scheduler_and_nobody_else() -> None:
    done = FRESH.when(arrive(RENEWAL))
    (_, timer_asked) = done.events
    when_ = {"mode": "after", "anchor_instant": "2026-03-02T08:00:00.000Z", "zone": "Europe/Berlin", "offset": {"days": 180}}
    assert timer_asked == TimerAsked(rule_id("renewal"), timer("renewal"), when_, None)
    assert run_state(done.state, "renewal") == ("waiting", "timer")


def test_a_late_customer_action_waits_for_a_person() -> None:
    (_, timer_asked) = FRESH.when(arrive(rule("mail", "send_email", timing={"after": "arrival", "offset": "1h"}))).events
    assert timer_asked.max_lateness == 86_400


def test_the_scheduler_says_when() -> None:
    state = after(arrive(RENEWAL))
    set_ = TimerWasSet(timer("renewal"), "2026-08-29T08:00:00.000Z", ("180 days later",))
    done = when(state, set_)
    done.then(TimerArmed(rule_id("renewal"), timer("renewal"), set_.due_at, "timer", set_.reasoning))
    when(done.state, set_).nothing_happens()


def test_the_timer_rings_and_the_lead_is_asked_with_the_facts_of_that_day() -> None:
    state = after(arrive(RENEWAL))
    facts = known(at=later(days=180), company={"name": "Neu AG"})
    done = when(state, TimerRang(timer("renewal"), 5, facts))
    judged, lead = done.events
    assert isinstance(judged, RunJudged) and judged.lateness_ms == 5
    assert isinstance(lead, LeadAsked) and lead.title == "Renewal Neu AG"


def test_a_condition_is_judged_when_due() -> None:
    at_least = {"field": "deal.amount", "op": "gte", "value": 50}
    rich = rule("renewal", "create_recurring_lead", timing=RENEWAL.rule.timing, condition=at_least)
    state = after(arrive(rich))
    done = when(state, TimerRang(timer("renewal"), 0, known(fields={"amount": "10.00"})))
    assert run_state(done.state, "renewal") == ("skipped", "condition_false")
    assert "it was 10.00" in done.events[-1].detail


def test_also_at_arrival_requires_the_condition_at_both_moments() -> None:
    more = {"field": "deal.amount", "op": "gt", "value": 500}
    poor = rule("r", also_at_arrival=True, timing={"after": "arrival", "offset": "1d"}, condition=more)
    done = FRESH.when(arrive(poor))
    assert len(done.events) == 1 and run_state(done.state, "r") == ("skipped", "condition_false")


def test_changed_compares_with_the_value_at_arrival() -> None:
    moved = rule("r", timing={"after": "arrival", "offset": "1d"}, condition={"field": "deal.amount", "op": "changed"})
    state = after(arrive(moved))
    assert run_state(when(state, TimerRang(timer("r"), 0, known())).state, "r") == ("skipped", "condition_false")
    assert len(asked(when(state, TimerRang(timer("r"), 0, known(fields={"amount": "7.00"}))))) == 1


def test_an_offset_of_nothing_is_at_once() -> None:
    done = FRESH.when(arrive(rule("r", timing={"after": "arrival", "offset": "0d"})))
    assert len(asked(done)) == 1


def test_a_delay_after_the_previous_rule_counts_from_its_end() -> None:
    slow = rule("slow", execution="after_previous", timing={"after": "previous", "offset": "2d"})
    facts = known(at=later(hours=3))
    done = when(after(arrive(LINK, slow)), Answered(request("link", "link"), {}, facts))
    asked_ = done.events[-1]
    assert isinstance(asked_, TimerAsked) and asked_.when["anchor_instant"] == "2026-03-02T11:00:00.000Z"


def test_too_late_is_missed_and_may_be_dropped_or_run() -> None:
    missed = after(arrive(RENEWAL), TimerTooLate(timer("renewal"), "d", "f", known()))
    assert missed.run(rule_id("renewal")).state == "missed"  # type: ignore[union-attr]
    assert run_state(when(missed, DropRun(rule_id("renewal"), known())).state, "renewal") == ("cancelled", "by_person")
    assert len(asked(when(missed, RunNow(rule_id("renewal"), None, known())))) == 1


def test_a_missed_rule_blocks_the_one_below() -> None:
    below = rule("tell", execution="after_previous")
    done = when(after(arrive(RENEWAL, below)), TimerTooLate(timer("renewal"), "d", "f", known()))
    assert isinstance(done.events[0], RunMissed) and run_state(done.state, "tell") == ("blocked", "predecessor")


def test_an_operator_who_cancels_the_timer_cancels_the_run() -> None:
    done = when(after(arrive(RENEWAL)), TimerWasCancelled(timer("renewal"), known()))
    done.then(RunEnded(rule_id("renewal"), "cancelled", known().at, "by_person"))


# ------------------------------------------------------------------------------------------------ date fields (D6)

MEETING = rule("m", timing={"after": "deal.uf.meeting", "offset": "1d"})


def with_meeting(day: str | None, at: Any = later(hours=1)) -> Any:
    return known(at=at, fields={"custom": {"meeting": day}})


def test_an_empty_anchor_waits_visibly_and_is_armed_when_set() -> None:
    state = after(arrive(MEETING))
    assert run_state(state, "m") == ("waiting", "field")
    done = when(state, FieldsChanged(with_meeting("2026-04-01")))
    (armed,) = done.events
    assert isinstance(armed, TimerAsked) and armed.when["anchor_date"] == "2026-04-01"


def test_a_moved_anchor_moves_the_timer() -> None:
    state = after(arrive(MEETING), FieldsChanged(with_meeting("2026-04-01")))
    (moved,) = when(state, FieldsChanged(with_meeting("2026-05-01"))).events
    assert isinstance(moved, TimerMoved) and moved.when["anchor_date"] == "2026-05-01"
    when(state, FieldsChanged(with_meeting("2026-04-01"))).nothing_happens()


def test_a_cleared_anchor_waits_again_and_the_next_timer_is_another() -> None:
    state = after(arrive(MEETING), FieldsChanged(with_meeting("2026-04-01")))
    cleared = when(state, FieldsChanged(with_meeting(None)))
    cleared.then(TimerDropped(rule_id("m"), timer("m"), "field_empty"), FieldAwaited(rule_id("m"), "deal.uf.meeting"))
    (armed,) = when(cleared.state, FieldsChanged(with_meeting("2026-06-01"))).events
    assert isinstance(armed, TimerAsked) and armed.timer_id == timer("m", "delay-2")


@pytest.mark.parametrize(("if_empty", "expected"), [("skip", ("skipped", "field_empty")), ("run", ("running", None))])
def test_an_empty_anchor_may_skip_or_run(if_empty: str, expected: tuple[str, str | None]) -> None:
    r = rule("m", timing={"after": "deal.uf.meeting", "offset": "1d", "if_empty": if_empty})
    assert run_state(FRESH.when(arrive(r)).state, "m") == expected


def test_an_activity_waits_for_the_date_its_deadline_needs() -> None:
    call = rule("call", "plan_activity", settings={"deadline": {"after": "deal.uf.meeting", "offset": "2d", "time": "12:00"}})
    state = after(arrive(call))
    assert run_state(state, "call") == ("waiting", "field")
    (activity,) = asked(when(state, FieldsChanged(with_meeting("2026-04-01"))))
    assert activity.step == "activity"


# ------------------------------------------------------------------------------------------------ leaving (D1)


def test_leaving_cancels_what_waits_and_its_timer() -> None:
    done = when(after(arrive(RENEWAL)), Leave("stage_left", known()))
    done.then(
        TimerDropped(rule_id("renewal"), timer("renewal"), "stage_left"),
        RunEnded(rule_id("renewal"), "cancelled", known().at, "stage_left"),
        Left("stage_left", known().at),
    )


def test_a_timer_that_slipped_through_cannot_act() -> None:
    state = after(arrive(RENEWAL), Leave("stage_left", known()))
    when(state, TimerRang(timer("renewal"), 0, known())).nothing_happens()


def test_a_rule_that_is_kept_acts_after_the_stay() -> None:
    kept = rule("renewal", "create_recurring_lead", timing=RENEWAL.rule.timing, on_exit="keep")
    state = after(arrive(kept), Leave("stage_left", known()))
    assert len(asked(when(state, TimerRang(timer("renewal"), 0, known())))) == 1


def test_deleting_the_element_cancels_even_what_is_kept() -> None:
    kept = rule("renewal", "create_recurring_lead", timing=RENEWAL.rule.timing, on_exit="keep")
    done = when(after(arrive(kept)), Leave("element_deleted", known()))
    assert run_state(done.state, "renewal") == ("cancelled", "element_deleted")


def test_an_answer_after_leaving_is_recorded_and_nothing_more_is_asked() -> None:
    state = after(arrive(LINK, MAIL), Leave("stage_left", known()))
    assert run_state(state, "mail") == ("cancelled", "stage_left")
    done = when(state, Answered(request("link", "link"), {"url": "u"}, known()))
    assert asked(done) == [] and run_state(done.state, "link") == ("succeeded", None)


def test_leaving_twice_is_leaving_once() -> None:
    when(after(arrive(RENEWAL), Leave("stage_left", known())), Leave("stage_left", known())).nothing_happens()


def test_leaving_a_stage_without_rules_is_nothing() -> None:
    FRESH.when(Leave("stage_left", known())).nothing_happens()


# ------------------------------------------------------------------------------------------------ rules that change (D2-D4)


@pytest.mark.parametrize(
    ("standing", "expected"),
    [("disabled", ("skipped", "rule_disabled")), ("deleted", ("cancelled", "rule_deleted")), ("fieldless", ("failed", "field_removed"))],
)
def test_a_rule_that_is_gone_when_due_does_not_act(standing: str, expected: tuple[str, str]) -> None:
    done = when(after(arrive(RENEWAL)), TimerRang(timer("renewal"), 0, known(rules={rule_id("renewal"): standing})))
    assert run_state(done.state, "renewal") == expected and asked(done) == []


def test_waiting_runs_of_a_deleted_rule_are_cancelled_at_once() -> None:
    done = when(after(arrive(RENEWAL)), RuleGone(rule_id("renewal"), "rule_deleted", known()))
    assert run_state(done.state, "renewal") == ("cancelled", "rule_deleted")


def test_only_older_versions_are_replaced() -> None:
    state = after(arrive(RENEWAL))
    when(state, RuleGone(rule_id("renewal"), "replaced", known(), below=1)).nothing_happens()
    assert run_state(when(state, RuleGone(rule_id("renewal"), "replaced", known(), below=2)).state, "renewal") == ("cancelled", "replaced")


def test_a_migrated_run_goes_on_with_the_new_version_from_its_anchor() -> None:
    newer = rule("renewal", "create_recurring_lead", version=2, timing={"after": "arrival", "offset": "10d"})
    done = when(after(arrive(RENEWAL)), MigrateRun(newer, known(at=later(days=3))))
    armed = done.events[-1]
    assert isinstance(armed, TimerAsked) and armed.when["anchor_instant"] == "2026-03-02T08:00:00.000Z"
    assert armed.when["offset"] == {"days": 10}
    assert done.state.run(rule_id("renewal")).rule.version == 2  # type: ignore[union-attr]


def test_a_run_below_keeps_waiting_when_it_is_migrated() -> None:
    newer = rule("mail", "send_email", version=2, execution="after_previous")
    done = when(after(arrive(LINK, MAIL)), MigrateRun(newer, known()))
    assert asked(done) == []


# ------------------------------------------------------------------------------------------------ people's verbs


def test_a_person_cancels_a_waiting_run_and_the_one_below_goes_on() -> None:
    below = rule("tell", execution="after_previous")
    done = when(after(arrive(RENEWAL, below)), CancelRun(rule_id("renewal"), known()))
    assert run_state(done.state, "renewal") == ("cancelled", "by_person")
    assert len(asked(done)) == 1


def test_run_now_does_not_wait_for_the_timer() -> None:
    done = when(after(arrive(RENEWAL)), RunNow(rule_id("renewal"), None, known()))
    assert isinstance(done.events[0], TimerDropped) and isinstance(asked(done)[0], LeadAsked)


def test_postponing_moves_the_timer() -> None:
    (moved,) = when(after(arrive(RENEWAL)), PostponeRun(rule_id("renewal"), "2027-01-01T00:00:00.000Z")).events
    assert moved.when == {"mode": "after", "anchor_instant": "2027-01-01T00:00:00.000Z", "zone": "Europe/Berlin"}


@pytest.mark.parametrize(
    ("command", "code"),
    [
        (CancelRun(rule_id("link"), known()), "run_over"),
        (RunNow(rule_id("link"), None, known()), "run_over"),
        (PostponeRun(rule_id("link"), "2027-01-01T00:00:00.000Z"), "run_over"),
        (DropRun(rule_id("link"), known()), "not_missed"),
        (ContinueRun(rule_id("link"), known()), "not_blocked"),
        (RetryRun(rule_id("link"), "step", LINK, known()), "not_failed"),
    ],
)
def test_verbs_on_a_finished_run_are_refused(command: Any, code: str) -> None:
    when(after(arrive(LINK), Answered(request("link", "link"), {}, known())), command).refused(code)


def test_an_unknown_run_is_not_found() -> None:
    when(after(arrive(LINK)), CancelRun(id_of("other"), known())).refused("not_found")
    FRESH.when(CancelRun(rule_id("link"), known())).refused("not_found")


def test_stopping_cancels_all_that_waits_and_nothing_that_runs() -> None:
    done = when(after(arrive(LINK, MAIL, RENEWAL)), StopRules(known()))
    assert [run.state for run in done.state.runs] == ["running", "cancelled", "cancelled"]
    assert asked(done) == []


def test_a_retry_from_the_start_judges_the_condition_again() -> None:
    picky = rule("link", "create_payment_link", condition={"field": "deal.amount", "op": "gt", "value": 50})
    state = after(arrive(picky), Refused(request("link", "link"), "nothing_to_pay", "", known()))
    done = when(state, RetryRun(rule_id("link"), "start", picky, known(fields={"amount": "10.00"})))
    assert run_state(done.state, "link") == ("skipped", "condition_false")


# ------------------------------------------------------------------------------------------------ single rule types


def test_get_details_reads_and_asks_nobody() -> None:
    tell = rule("tell", execution="after_previous", settings={"text": "Deliver to {{steps.addr.address}}"})
    done = FRESH.when(arrive(rule("addr", "get_details"), tell, known=known(details=(details(),))))
    assert run_state(done.state, "addr") == ("succeeded", None)
    (notice,) = asked(done)
    assert isinstance(notice, NoticeAsked) and notice.text == "Deliver to Hafenstr. 12, 24103 Kiel, Germany"
    assert done.state.run(rule_id("addr")).notes == (f"details {details().id} at version 3",)  # type: ignore[union-attr]


def test_get_details_never_fails_for_missing_data() -> None:
    tell = rule("tell", execution="after_previous", settings={"text": "Deliver to {{steps.addr.address}}"})
    done = FRESH.when(arrive(rule("addr", "get_details"), tell))
    assert run_state(done.state, "addr") == ("succeeded", None)
    (notice,) = asked(done)
    assert isinstance(notice, NoticeAsked) and notice.text == "Deliver to "


def test_a_recurring_lead_needs_a_client_when_due_and_warns_on_arrival() -> None:
    nobody: dict[str, Any] = {"contact_id": None, "contact": None, "company_id": None, "company": None}
    state = after(arrive(RENEWAL, known=known(**nobody)))
    assert state.runs[0].notes == ("no_client_yet",)
    done = when(state, TimerRang(timer("renewal"), 0, known(**nobody)))
    assert run_state(done.state, "renewal") == ("skipped", "no_client")


def test_a_copy_takes_the_default_name_when_none_is_set() -> None:
    (copy,) = asked(FRESH.when(arrive(rule("install", "copy_deal", settings={"responsible": "user:7"}))))
    assert isinstance(copy, CopyAsked)
    assert (copy.name, copy.stage_id, copy.responsible_id, copy.pipeline_id) == (None, None, BEN, id_of("installation"))


def test_a_responsible_person_who_left_is_replaced_by_the_manager() -> None:
    people = {ANNA: person(ANNA, "42", "Anna", active=False), OLAF: person(OLAF, "1", "Olaf", manager_id=None)}
    (copy,) = asked(FRESH.when(arrive(rule("install", "copy_deal"), known=known(people=people))))
    assert isinstance(copy, CopyAsked) and copy.responsible_id == OLAF


def test_too_many_steps_fail_the_run() -> None:
    mails = [rule(f"m{n}", "send_email", settings={"body": "x", "to": ",".join(f"a{i}@b.de" for i in range(10))}) for n in range(11)]
    done = FRESH.when(arrive(*mails))
    assert run_state(done.state, "m9")[0] == "running" and run_state(done.state, "m10") == ("failed", "too_many_steps")
