"""Call webhook: what is sent, who may answer, what may be answered, and what becomes of a call nobody answers (G51-G53)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import pytest

from services.automation import publications
from services.automation.domain.action import Asked, WebhookAsked, request_id
from services.automation.domain.callback import Meant, matched
from services.automation.domain.check import Neighbour
from services.automation.domain.explain import Reader, Told, facts_of
from services.automation.domain.visit import (
    VISIT,
    Answered,
    CallbackAwaited,
    CallbackCame,
    CallbackOver,
    Leave,
    Refused,
    RetryRun,
    RunEnded,
    StepFailed,
    StepSucceeded,
    TimerRang,
    TimerTooLate,
    TimerWasCancelled,
    Visit,
    timer_id,
)
from services.automation.facts import callbacks
from services.automation.facts.callbacks import Call, call_of, token_of
from services.automation.settings import AutomationSettings, OwnSettings, settings
from services.automation.views import _asked_since
from shared.contracts import notifications, scheduler
from shared.es.errors import NotFound, Rejected
from shared.messaging.handler import InNameOf
from shared.runtime.settings import settings as kit_settings
from shared.testing.given import Given, Outcome
from tests.unit.automation.made import ANNA, NOW, VISIT_ID, answered_at, arrive, id_of, known, later, rule, rule_id, run_state
from tests.unit.automation.test_check import checked, found
from tests.unit.automation.test_wiring import recorded

NEW: Given[Visit, Any, Any] = Given(VISIT, VISIT.initial)
PARCEL = {"name": "parcel", "type": "string", "required": True}
COST = {"name": "cost", "type": "double"}
SHIP = rule("ship", "call_webhook", settings={"timeout": "2h", "outputs": [PARCEL, COST]})
TELL = rule("tell", execution="after_previous", settings={"text": "Parcel {{steps.ship.parcel}}"})
REQUEST = request_id(VISIT_ID, rule_id("ship"), "call")
TIMER = timer_id(VISIT_ID, rule_id("ship"), "callback")
ASKED_AT = "2026-03-02T08:00:00.000Z"
DUE_AT = "2026-03-02T10:00:00.000Z"


def asked(outcome: Outcome[Visit, Any]) -> list[Any]:
    return [event for event in outcome.events if isinstance(event, Asked)]


def after(*commands: Any) -> Visit:
    state = VISIT.initial
    for command in commands:
        state = VISIT.fold(VISIT.decide(state, command), state)
    return state


def when(state: Visit, command: Any) -> Outcome[Visit, Any]:
    return Given(VISIT, state).when(command)


def answer(at: Any = NOW, asked_at: str = ASKED_AT, **values: Any) -> CallbackCame:
    return CallbackCame(REQUEST, asked_at, values, Meant(), known(at=at))


# ------------------------------------------------------------------------------------------------ checked when it is saved


@pytest.mark.parametrize(
    ("settings", "pointer", "code"),
    [
        ({"endpoint": None}, "endpoint", "setting_required"),
        ({"endpoint": "gone"}, "endpoint", "unknown_endpoint"),
        ({"endpoint": id_of("off")}, "endpoint", "unknown_endpoint"),
        ({"endpoint": id_of("stream")}, "endpoint", "unknown_endpoint"),
        ({"payload": {"a": "{{deal.gone}}"}}, "payload/a", "unknown_path"),
        ({"payload": {"a": 5}}, "payload/a", "wrong_type"),
        ({"payload": {str(n): "x" for n in range(51)}}, "payload", "out_of_range"),
        ({"wait": "yes"}, "wait", "wrong_type"),
        ({"timeout": "soon"}, "timeout", "bad_offset"),
        ({"timeout": "30s"}, "timeout", "out_of_range"),
        ({"timeout": "400d"}, "timeout", "out_of_range"),
        ({"outputs": ["parcel"]}, "outputs/0", "wrong_type"),
        ({"outputs": [{"name": "Parcel No", "type": "string"}]}, "outputs/0/name", "bad_code"),
        ({"outputs": [{"name": "a", "type": "colour"}]}, "outputs/0/type", "wrong_type"),
        ({"outputs": [{"name": "a", "type": "string", "multiple": 1}]}, "outputs/0/multiple", "wrong_type"),
        ({"outputs": [{"name": "a", "type": "string", "default": 1}]}, "outputs/0/default", "unknown_key"),
        ({"outputs": [PARCEL, PARCEL]}, "outputs/1/name", "duplicate_id"),
        ({"outputs": [{"name": "state", "type": "string"}]}, "outputs/0/name", "duplicate_id"),
        ({"outputs": [{"name": f"a{n}", "type": "int"} for n in range(51)]}, "outputs", "out_of_range"),
    ],
)
def test_what_is_wrong_is_named(settings: dict[str, Any], pointer: str, code: str) -> None:
    assert (f"/settings/{pointer}", code) in found(checked("call_webhook", settings=settings))


def test_the_endpoint_is_pinned_so_that_its_end_is_heard() -> None:
    assert checked("call_webhook").references == {f"endpoint:{id_of('endpoint')}": id_of("endpoint")}


def test_declared_outputs_are_outputs_of_their_types() -> None:
    above = (Neighbour("ship", "call_webhook", "parallel", {"outputs": [PARCEL, COST]}),)
    behind: dict[str, Any] = {"above": above, "execution": "after_previous"}
    condition = {"field": "steps.ship.cost", "op": "gt", "value": 5}
    result = checked(settings={"text": "{{steps.ship.parcel}}"}, condition=condition, **behind)
    assert found(result) == set() and result.references["kind:steps.ship.cost"] == "number"
    assert ("/settings/text", "unknown_output") in found(checked(settings={"text": "{{steps.ship.weight}}"}, **behind))


# ------------------------------------------------------------------------------------------------ what is sent


def test_a_call_goes_out_with_where_to_answer_and_a_timer() -> None:
    done = NEW.when(arrive(SHIP, TELL))
    _, call, awaited = done.events
    assert isinstance(call, WebhookAsked) and call.payload == {"title": "Roof 2026"}
    assert (call.callback_url, call.callback_expires_at) == (answered_at(REQUEST, ASKED_AT), DUE_AT)
    assert awaited == CallbackAwaited(rule_id("ship"), "call", TIMER, DUE_AT)
    said = publications.of_visit(done.state, recorded(call, "visit", VISIT_ID))
    assert isinstance(said, InNameOf) and isinstance(said.contract, notifications.DeliverWebhook)
    assert (said.contract.delivery_id, said.contract.endpoint_id, said.contract.event_name) == (REQUEST, id_of("endpoint"), "rule.ship")
    timer = publications.of_visit(done.state, recorded(awaited, "visit", VISIT_ID))
    assert isinstance(timer, scheduler.SetTimer) and timer.when.anchor_instant == DUE_AT
    assert run_state(done.state, "tell") == ("waiting", "predecessor")


def test_a_call_that_waits_for_nobody_is_done_when_it_is_taken() -> None:
    rings = rule("ship", "call_webhook", settings={"wait": False})
    (call,) = asked(NEW.when(arrive(rings)))
    assert (call.callback_url, call.callback_expires_at) == (None, None)
    done = when(after(arrive(rings)), Answered(REQUEST, {}, known()))
    assert run_state(done.state, "ship") == ("succeeded", None)
    when(done.state, answer()).refused("not_waiting")
    when(after(arrive(rings)), answer()).refused("not_waiting")


def test_a_payload_too_large_is_not_sent() -> None:
    large = rule("ship", "call_webhook", settings={"payload": {"a": "ä" * 8000, "b": "x" * 4000}})
    done = NEW.when(arrive(large))
    assert asked(done) == [] and run_state(done.state, "ship") == ("failed", "template_error")


def test_a_missing_value_holds_the_call_back() -> None:
    done = NEW.when(arrive(rule("ship", "call_webhook", settings={"payload": {"a": "{{deal.uf.gone}}"}})))
    assert asked(done) == [] and run_state(done.state, "ship") == ("blocked", "unresolved")


# ------------------------------------------------------------------------------------------------ what is answered


def test_the_answer_gives_the_outputs_and_the_next_rule_reads_them() -> None:
    done = when(after(arrive(SHIP, TELL)), answer(parcel="P-1", cost=12.5))
    succeeded, over, ended = done.events[:3]
    assert succeeded == StepSucceeded(rule_id("ship"), "call", REQUEST, {"parcel": "P-1", "cost": "12.5"})
    assert over == CallbackOver(rule_id("ship"), "call", TIMER, "answered")
    assert isinstance(ended, RunEnded) and (ended.state, ended.outputs) == ("succeeded", {"parcel": "P-1", "cost": "12.5"})
    (notice,) = asked(done)
    assert notice.text == "Parcel P-1"
    cancelled = publications.of_visit(done.state, recorded(over, "visit", VISIT_ID))
    assert isinstance(cancelled, scheduler.CancelTimer) and cancelled.timer_id == TIMER


def test_that_the_endpoint_took_the_call_is_no_answer() -> None:
    state = after(arrive(SHIP))
    when(state, Answered(REQUEST, {}, known())).nothing_happens()
    assert run_state(after(arrive(SHIP), answer(parcel="P-1"), Answered(REQUEST, {}, known())), "ship") == ("succeeded", None)


def test_an_answer_counts_once() -> None:
    when(after(arrive(SHIP), answer(parcel="P-1")), answer(parcel="P-2")).refused("callback_used")


def test_an_answer_that_does_not_fit_is_refused_and_the_rule_waits_on() -> None:
    state = after(arrive(SHIP))
    when(state, answer(cost="much", weight=3)).refused("validation_failed", "#/outputs/parcel", "#/outputs/cost", "#/outputs/weight")
    assert run_state(state, "ship") == ("running", None)


def test_an_answer_too_late_is_refused_even_before_the_timer_rings() -> None:
    when(after(arrive(SHIP)), answer(at=later(hours=2), parcel="P-1")).refused("callback_expired")


@pytest.mark.parametrize("ring", [TimerRang(TIMER, 0, known(at=later(hours=2))), TimerTooLate(TIMER, DUE_AT, DUE_AT, known())])
def test_nobody_answers_in_time(ring: Any) -> None:
    done = when(after(arrive(SHIP, TELL)), ring)
    assert isinstance(done.events[0], StepFailed)
    assert run_state(done.state, "ship") == ("failed", "callback_expired") and run_state(done.state, "tell") == ("blocked", "predecessor")
    when(done.state, answer(parcel="P-1")).refused("callback_expired")
    when(done.state, ring).nothing_happens()


def test_an_operator_who_cancels_the_timer_leaves_the_call_waiting() -> None:
    when(after(arrive(SHIP)), TimerWasCancelled(TIMER, known())).nothing_happens()


def test_a_call_that_was_not_taken_waits_for_no_answer() -> None:
    done = when(after(arrive(SHIP)), Refused(REQUEST, "gone_410", "Gone.", known()))
    assert CallbackOver(rule_id("ship"), "call", TIMER, "failed") in done.events
    assert run_state(done.state, "ship") == ("failed", "refused(gone_410)")
    when(done.state, answer(parcel="P-1")).refused("not_waiting")


def test_a_retry_calls_again_and_the_token_before_is_old() -> None:
    expired = after(arrive(SHIP), TimerRang(TIMER, 0, known(at=later(hours=2))))
    again = when(expired, RetryRun(rule_id("ship"), "step", SHIP, known(at=later(hours=3))))
    (call,) = asked(again)
    assert (call.request_id, call.at, call.callback_expires_at) == (REQUEST, "2026-03-02T11:00:00.000Z", "2026-03-02T13:00:00.000Z")
    assert again.events[2].timer_id == timer_id(VISIT_ID, rule_id("ship"), "callback-2")
    when(again.state, answer(at=later(hours=3), parcel="P-1")).refused("callback_expired")
    done = when(again.state, answer(at=later(hours=3), asked_at=call.at, parcel="P-1"))
    assert run_state(done.state, "ship") == ("succeeded", None)


def test_an_answer_after_the_stay_is_recorded() -> None:
    left = after(arrive(SHIP, TELL), Leave("stage_left", known()))
    assert run_state(left, "ship") == ("running", None)
    done = when(left, answer(parcel="P-1"))
    assert run_state(done.state, "ship") == ("succeeded", None) and run_state(done.state, "tell") == ("cancelled", "stage_left")


def test_an_unknown_call_is_not_found() -> None:
    for state in (VISIT.initial, after(arrive(TELL))):
        when(state, answer()).refused("not_found")


def test_who_waits_for_an_answer_is_not_stuck_and_says_until_when() -> None:
    state = after(arrive(SHIP))
    (run,) = state.runs
    assert (run.answer_due, _asked_since(run)) == (DUE_AT, None)
    told = [recorded(event, "visit", VISIT_ID) for event in NEW.when(arrive(SHIP)).events]
    facts = facts_of([Told(str(one.id), ASKED_AT, one.event) for one in told], Reader("Europe/Berlin"), rule_id("ship"))
    assert "an answer is awaited until 2 March 2026, 11:00 (Europe/Berlin)" in [fact["says"] for fact in facts]


# ------------------------------------------------------------------------------------------------ values

MEANT = Meant({"user:42": ANNA, ANNA: ANNA}, frozenset(("f1",)))


def one(type: str, value: Any, **more: Any) -> Any:
    return matched([{"name": "x", "type": type, "required": False, "multiple": False, **more}], {"x": value}, MEANT).get("x")


@pytest.mark.parametrize(
    ("type", "value", "kept"),
    [
        ("bool", True, True),
        ("date", "2026-03-02", "2026-03-02"),
        ("datetime", "2026-03-02T09:00:00+01:00", "2026-03-02T08:00:00.000Z"),
        ("double", 1.5, "1.5"),
        ("double", "12.50", "12.50"),
        ("double", 3, "3"),
        ("file", "f1", "f1"),
        ("int", 7, 7),
        ("select", "red", "red"),
        ("string", "P-1", "P-1"),
        ("text", "x" * 16_384, "x" * 16_384),
        ("user", "user:42", ANNA),
        ("user", ANNA, ANNA),
    ],
)
def test_values_that_fit(type: str, value: Any, kept: Any) -> None:
    assert one(type, value) == kept
    assert one(type, [value, value], multiple=True) == [kept, kept]
    assert one(type, None) is None


@pytest.mark.parametrize(
    ("type", "value"),
    [
        ("bool", "true"),
        ("bool", 1),
        ("date", "02.03.2026"),
        ("date", 5),
        ("datetime", "2026-03-02T09:00:00"),
        ("double", "much"),
        ("double", True),
        ("double", "NaN"),
        ("double", "1e99"),
        ("file", "gone"),
        ("int", 1.5),
        ("int", "7"),
        ("int", True),
        ("select", 5),
        ("string", "x" * 256),
        ("string", ["a"]),
        ("text", "x" * 16_385),
        ("user", "user:404"),
        ("user", 42),
    ],
)
def test_values_that_do_not_fit_are_named(type: str, value: Any) -> None:
    with pytest.raises(Rejected) as refused:
        one(type, value)
    (fault,) = refused.value.errors
    assert (refused.value.status, fault.pointer, fault.code) == (422, "#/outputs/x", "wrong_type")
    with pytest.raises(Rejected):
        one(type, [value], multiple=True)


def test_everything_wrong_is_named_at_once() -> None:
    outputs = [{**PARCEL, "multiple": False}, {**COST, "required": False, "multiple": False}]
    with pytest.raises(Rejected) as refused:
        matched(outputs, {"cost": "much", "a/b": 1}, MEANT)
    assert [(f.pointer, f.code) for f in refused.value.errors] == [
        ("#/outputs/parcel", "setting_required"),
        ("#/outputs/cost", "wrong_type"),
        ("#/outputs/a~1b", "unknown_output"),
    ]


def test_an_answer_is_not_endless() -> None:
    with pytest.raises(Rejected):
        one("text", ["x" * 16_000] * 5, multiple=True)


# ------------------------------------------------------------------------------------------------ tokens


@pytest.fixture
def pepper(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    told = {
        "DATABASE_URL": "postgresql://nowhere",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "DEALWRIGHT_PEPPER": "p" * 40,
        "DEALWRIGHT_AUTOMATION__PUBLIC_BASE": "https://api.acme.test/automation/",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    for each in (settings, kit_settings):
        each.cache_clear()
    yield
    for each in (settings, kit_settings):
        each.cache_clear()


CALL = Call(UUID(int=1), REQUEST, ASKED_AT)


def test_a_token_names_its_call_and_nobody_else_can_make_one(pepper: None, monkeypatch: pytest.MonkeyPatch) -> None:
    token = token_of(CALL)
    assert call_of(token) == CALL and callbacks.callback_url(CALL) == f"https://api.acme.test/automation/v1/callbacks/{token}"
    later_call = Call(CALL.tenant, CALL.request_id, "2026-03-02T08:00:00.001Z")
    assert token_of(later_call) != token
    forged = [token[:-1], token[:-1] + ("A" if token[-1] != "A" else "B"), "B" + token[1:], "", "x", "ä", token + "A", token * 2]
    for one_of_them in forged:
        with pytest.raises(NotFound):
            call_of(one_of_them)
    monkeypatch.setenv("DEALWRIGHT_PEPPER", "q" * 40)
    kit_settings.cache_clear()
    with pytest.raises(NotFound):
        call_of(token)


def test_without_a_base_of_its_own_it_is_the_process(pepper: None) -> None:
    assert AutomationSettings(automation=OwnSettings()).base == "http://127.0.0.1:8000"
    for wrong in ("acme.test", "ftp://acme.test", "https://"):
        with pytest.raises(ValueError, match="an address"):
            OwnSettings(public_base=wrong)
