"""An explanation can be given at every moment of a run, whatever became of it, in full sentences of both languages."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import timedelta
from typing import Any

import pytest

from services.automation.domain import visit as vis
from services.automation.domain.definition import Ready, complete_rule
from services.automation.domain.explain import Arrival, Reader, RuleCase, Told, explain_rule, visit_of
from services.automation.domain.rule import DefinedRule
from services.automation.domain.timing import instant
from services.automation.domain.visit import VISIT, VisitCommand
from tests.unit.automation.made import NOW, SETTINGS, VISIT_ID, arrive, known, later, rule, rule_id

FALSE = {"all": [{"field": "deal.amount", "op": "gt", "value": 500}, {"not": {"field": "deal.title", "op": "empty"}}]}
TEXTS: dict[str, dict[str, Any]] = {
    "link": {"type": "create_payment_link"},
    "mail": {"type": "send_email", "execution": "after_previous", "settings": {"body": "Pay: {{steps.link.url}}"}},
    "picky": {"type": "notify", "condition": FALSE},
    "late": {"type": "notify", "timing": {"after": "arrival", "offset": "1d", "time": "09:00"}, "condition": {"any": [FALSE]}},
    "soon": {"type": "notify", "timing": {"before": "deal.close_date", "offset": "2d"}, "on_exit": "keep"},
    "both": {"type": "notify", "timing": {"after": "arrival", "offset": "1h"}, "also_at_arrival": True, "condition": FALSE},
    "inv": {"type": "create_from", "settings": {"targets": ["invoice", "quote"]}},
}
DEFINITIONS = {key: complete_rule({"id": key, "settings": SETTINGS[text["type"]], **text}) for key, text in TEXTS.items()}
RULES: tuple[Ready, ...] = tuple(
    rule(key, text["type"], **{name: value for name, value in text.items() if name != "type"}) for key, text in TEXTS.items()
)


def told(commands: Sequence[VisitCommand]) -> list[Told]:
    """What a visit records when it is asked this, one event a second."""
    events: list[Told] = []
    for command in commands:
        for event in VISIT.decide(visit_of(events), command):
            events.append(Told(f"event {len(events)}", instant(NOW + timedelta(seconds=len(events))), event))
    return events


def timer_of(key: str) -> str:
    return vis.timer_id(VISIT_ID, rule_id(key), "delay")


def request(key: str, step: str) -> str:
    found = visit_of(told([arrive(*RULES)])).run(rule_id(key))
    assert found is not None
    return next(s.request_id for s in found.steps if s.name == step)


SET = vis.TimerWasSet(timer_of("late"), instant(later(days=1)), ("The anchor is 2026-03-02 09:00:00 Europe/Berlin.",))
AWAY = vis.TimerWasSet(timer_of("late"), instant(later(days=9)), (), "responsible_hours")
AFTERWARDS: dict[str, list[VisitCommand]] = {
    "nothing": [],
    "rang": [SET, vis.TimerRang(timer_of("late"), 5, known(later(days=1)))],
    "rang_and_ran": [SET, vis.TimerRang(timer_of("late"), 5, known(later(days=1), fields={"amount": "900.00"}))],
    "away": [AWAY, vis.TimerWaitsTooLong(timer_of("late"), instant(NOW), known(later(days=20)))],
    "missed": [SET, vis.TimerTooLate(timer_of("late"), instant(NOW), instant(later(days=3)), known(later(days=3)))],
    "left": [SET, vis.Leave("stage_left", known(later(hours=5)))],
    "deleted": [SET, vis.Leave("element_deleted", known(later(hours=5)))],
    "answered": [vis.Answered(request("link", "link"), {"url": "https://x"}, known())],
    "refused": [vis.Refused(request("link", "link"), "nothing_to_pay", "No.", known())],
    "skipped": [vis.Refused(request("link", "link"), "payment_document_exists", "There is one.", known())],
    "partial": [
        vis.Answered(request("inv", "invoice"), {"invoice_id": "i"}, known()),
        vis.Refused(request("inv", "quote"), "odd_thing", "It is {odd}.", known()),
    ],
    "disabled": [SET, vis.TimerRang(timer_of("late"), 5, known(later(days=1), {rule_id("late"): "disabled"}))],
    "fieldless": [SET, vis.TimerRang(timer_of("late"), 5, known(later(days=1), {rule_id("late"): "fieldless"}))],
    "gone": [SET, vis.RuleGone(rule_id("late"), "rule_deleted", known())],
    "replaced": [SET, vis.RuleGone(rule_id("late"), "replaced", known())],
    "cancelled": [SET, vis.CancelRun(rule_id("late"), known(), "He does not want it.")],
    "postponed": [SET, vis.PostponeRun(rule_id("late"), instant(later(days=9)))],
    "run_now": [SET, vis.RunNow(rule_id("late"), None, known())],
    "retried": [vis.RetryRun(rule_id("picky"), "step", RULES[2], known())],
    "field_set": [vis.FieldsChanged(known(fields={"close_date": "2026-04-01"}))],
}
ARRIVALS: dict[str, dict[str, Any]] = {
    "plain": {},
    "loop": {"chain": tuple(r.rule.rule_id for r in RULES)},
    "depth": {"chain": ("x",) * 10},
    "rate": {"recent": 60},
}


def explained(key: str, events: Sequence[Told]) -> dict[str, Any]:
    defined = DefinedRule("published", version=1, definition=DEFINITIONS[key])
    arrival = Arrival("arrival", instant(NOW), 2, "on")
    return explain_rule(RuleCase(rule_id(key), defined, defined, instant(NOW), arrival, events, {1: DEFINITIONS[key]}, Reader()))


def nodes(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield tree
    for child in tree["children"]:
        yield from nodes(child)


def assert_is_told(shown: dict[str, Any]) -> None:
    for said in (shown, *nodes(shown["tree"]), *shown["facts"]):
        assert said["says"] and said["says_de"], said
        assert "None" not in said["says"] + said["says_de"], said
    assert len(shown["time"]) == len(shown["time_de"])
    assert {n["state"] for n in nodes(shown["tree"])} <= {"ok", "no", "waiting", "open"}


@pytest.mark.parametrize("afterwards", AFTERWARDS)
@pytest.mark.parametrize("key", TEXTS)
def test_a_run_is_explained_at_every_moment(key: str, afterwards: str) -> None:
    events = told([arrive(*RULES), *AFTERWARDS[afterwards]])
    assert len(events) > len(told([arrive(*RULES)])) or afterwards == "nothing"
    for upto in range(1, len(events) + 1):
        assert_is_told(explained(key, events[:upto]))


@pytest.mark.parametrize("how", ARRIVALS)
@pytest.mark.parametrize("key", TEXTS)
def test_a_guard_is_named(key: str, how: str) -> None:
    shown = explained(key, told([arrive(*RULES, **ARRIVALS[how])]))
    assert_is_told(shown)
    states = {child["kind"]: child["state"] for child in shown["tree"]["children"]}
    named = (shown["verdict"], shown["guard"], states["guard"], states["time"], states["action"])
    assert how == "plain" or named == (f"{how}_blocked", how, "no", "open", "open")


@pytest.mark.parametrize(
    ("key", "afterwards", "verdict", "stopped"),
    [
        ("late", "left", "stage_left", "end"),
        ("late", "deleted", "element_deleted", "end"),
        ("late", "disabled", "rule_disabled", "version"),
        ("late", "fieldless", "failed", "action"),
        ("late", "gone", "rule_deleted", "version"),
        ("late", "replaced", "cancelled", "version"),
        ("late", "cancelled", "cancelled", "end"),
        ("late", "missed", "missed", "time"),
        ("late", "rang", "condition_false", "condition"),
        ("both", "nothing", "condition_false", "condition_at_arrival"),
        ("mail", "refused", "predecessor_blocked", "predecessor"),
        ("mail", "skipped", "unresolved_blocked", "action"),
        ("link", "skipped", "skipped", "action"),
        ("link", "refused", "failed", "action"),
        ("inv", "partial", "ran", "action"),
    ],
)
def test_where_it_ended(key: str, afterwards: str, verdict: str, stopped: str) -> None:
    shown = explained(key, told([arrive(*RULES), *AFTERWARDS[afterwards]]))
    ended = [child["kind"] for child in shown["tree"]["children"] if child["state"] == "no"]
    assert (shown["verdict"], ended[-1]) == (verdict, stopped), shown["tree"]


def test_a_definition_that_is_not_at_hand_leaves_the_rest_told() -> None:
    events = told([arrive(*RULES)])
    arrival = Arrival("arrival", instant(NOW), 2, "on")
    case = RuleCase(rule_id("picky"), DefinedRule(), DefinedRule(), None, arrival, events, {}, Reader())
    shown = explain_rule(case)
    assert_is_told(shown)
    assert shown["verdict"] == "condition_false"
