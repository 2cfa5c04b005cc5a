"""Rules that change the element itself: its responsible person, its stage, its fields (rules.md, Rules that change the element)."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.automation import publications
from services.automation.domain.action import Asked, FieldsAsked, StageAsked, request_id
from services.automation.domain.change import FieldType, Reading, changed_fields, converted
from services.automation.domain.visit import VISIT, Answered, Leave, Refused, Visit
from services.automation.replicas import with_changes
from shared.contracts import common, deals
from shared.messaging.handler import InNameOf
from shared.testing.given import Given, Outcome
from tests.unit.automation.made import ANNA, BEN, DEAL, OLAF, VISIT_ID, arrive, card, id_of, known, person, rule, rule_id, run_state
from tests.unit.automation.test_check import FRESH, SALES, checked, found
from tests.unit.automation.test_wiring import recorded

NEW: Given[Visit, Any, Any] = Given(VISIT, VISIT.initial)


def only(outcome: Outcome[Visit, Any]) -> Any:
    (asked,) = [event for event in outcome.events if isinstance(event, Asked)]
    return asked


def field_types(**types: FieldType) -> dict[str, Any]:
    return {f"field:{name.replace('uf_', 'uf.')}": of.pinned() for name, of in types.items()}


# ------------------------------------------------------------------------------------------------ checked when it is saved


@pytest.mark.parametrize(
    ("rule_type", "settings", "pointer", "code"),
    [
        ("change_responsible", {"responsible": None}, "responsible", "setting_required"),
        ("change_responsible", {"responsible": "bob"}, "responsible", "unknown_user"),
        ("change_responsible", {"responsible": "user:7"}, "responsible", "inactive_user"),
        ("change_responsible", {"responsible": "role:finance"}, "responsible", "unknown_user"),
        ("change_stage", {"stage": None}, "stage", "setting_required"),
        ("change_stage", {"stage": "gone"}, "stage", "unknown_stage"),
        ("change_stage", {"stage": "sales/gone"}, "stage", "unknown_stage"),
        ("change_stage", {"stage": "old"}, "stage", "target_missing"),
        ("change_stage", {"stage": "won"}, "stage", "target_is_own_stage"),
        ("change_stage", {"stage": "installation/planning"}, "stage", "stage_of_other_pipeline"),
        ("change_stage", {"loss_reason": 5}, "loss_reason", "wrong_type"),
        ("change_field", {"fields": {}}, "fields", "empty_map"),
        ("change_field", {"fields": {"titel": "x"}}, "fields/titel", "unknown_field"),
        ("change_field", {"fields": {"stage": "won"}}, "fields/stage", "field_not_settable"),
        ("change_field", {"fields": {"responsible": "user:42"}}, "fields/responsible", "field_not_settable"),
        ("change_field", {"fields": {"created_at": "2026-01-01"}}, "fields/created_at", "field_not_settable"),
        ("change_field", {"fields": {"contact.email": "a@b.de"}}, "fields/contact.email", "field_not_settable"),
        ("change_field", {"fields": {"uf.gone": "x"}}, "fields/uf.gone", "unknown_field"),
        ("change_field", {"fields": {"uf.meeting": "soon"}}, "fields/uf.meeting", "wrong_type"),
        ("change_field", {"fields": {"uf.colour": "pink"}}, "fields/uf.colour", "wrong_type"),
        ("change_field", {"fields": {"uf.helpers": "user:404"}}, "fields/uf.helpers", "unknown_user"),
        ("change_field", {"fields": {"amount": "much"}}, "fields/amount", "wrong_type"),
        ("change_field", {"fields": {"currency": "euro"}}, "fields/currency", "wrong_type"),
        ("change_field", {"fields": {"title": "x" * 256}}, "fields/title", "wrong_type"),
        ("change_field", {"fields": {"title": "{{deal.gone}}"}}, "fields/title", "unknown_path"),
        ("change_field", {"fields": {"title": 5}}, "fields/title", "wrong_type"),
        ("change_field", {"fields": ["title"]}, "fields", "wrong_type"),
        ("change_field", {"empty_values": "drop"}, "empty_values", "wrong_type"),
    ],
)
def test_what_is_wrong_is_named(rule_type: str, settings: dict[str, Any], pointer: str, code: str) -> None:
    assert (f"/settings/{pointer}", code) in found(checked(rule_type, settings=settings))


def test_what_is_named_is_pinned() -> None:
    stage = checked("change_stage", settings={"stage": "sales/new"})
    assert stage.references == {"pipeline:sales": SALES, "stage:sales/new": id_of("new")}
    several = checked("change_field", settings={"fields": {"deal.title": "x", "uf.helpers": "user:42"}})
    assert several.references == {
        "field:title": {"field_type": "string", "multiple": False},
        "field:uf.helpers": {"field_type": "user", "multiple": True},
        "user:42": ANNA,
    }


def test_a_lead_has_fields_of_its_own() -> None:
    assert found(checked("change_field", at=FRESH, settings={"fields": {"uf.source": "fair", "title": "x"}})) == set()
    asked = checked("change_field", at=FRESH, settings={"fields": {"close_date": "2026-01-01", "uf.meeting": "2026-01-01"}})
    assert found(asked) == {("/settings/fields/close_date", "unknown_field"), ("/settings/fields/uf.meeting", "unknown_field")}


# ------------------------------------------------------------------------------------------------ values

BERLIN = Reading(ZoneInfo("Europe/Berlin"), "EUR", {"user:42": ANNA, "7": BEN}.get)


@pytest.mark.parametrize(
    ("of", "text", "value"),
    [
        (FieldType("string"), " Roof ", "Roof"),
        (FieldType("text"), "a\nb", "a\nb"),
        (FieldType("number"), "1.50", "1.50"),
        (FieldType("number"), "1e3", "1000"),
        (FieldType("money"), "12.50", {"amount": "12.50", "currency": "EUR"}),
        (FieldType("money"), "12.50 USD", {"amount": "12.50", "currency": "USD"}),
        (FieldType("bool"), "ja", True),
        (FieldType("bool"), "No", False),
        (FieldType("date"), "2026-03-02", "2026-03-02"),
        (FieldType("date"), "2026-03-02T23:30:00.000Z", "2026-03-03"),
        (FieldType("datetime"), "2026-03-02T09:00:00", "2026-03-02T08:00:00.000Z"),
        (FieldType("datetime"), "2026-03-02", "2026-03-01T23:00:00.000Z"),
        (FieldType("select"), "red", "red"),
        (FieldType("user"), "user:42", ANNA),
        (FieldType("user", multiple=True), "user:42, 7", [ANNA, BEN]),
        (FieldType("string", multiple=True), "a, b,,c ", ["a", "b", "c"]),
        (FieldType("url"), "https://example.org/x", "https://example.org/x"),
        (FieldType("currency"), "USD", "USD"),
    ],
)
def test_a_text_becomes_a_value_of_the_field(of: FieldType, text: str, value: Any) -> None:
    assert converted(of, text, BERLIN) == value


@pytest.mark.parametrize(
    ("of", "text"),
    [
        (FieldType("string"), "x" * 256),
        (FieldType("number"), "NaN"),
        (FieldType("number"), "1e999999"),
        (FieldType("number"), "1,5"),
        (FieldType("money"), "EUR 5"),
        (FieldType("bool"), "perhaps"),
        (FieldType("date"), "31.12.2026"),
        (FieldType("datetime"), "noon"),
        (FieldType("select", options=("red",)), "pink"),
        (FieldType("user"), "Bob"),
        (FieldType("url"), "javascript:alert(1)"),
        (FieldType("currency"), "euro"),
        (FieldType("string", multiple=True), ",".join("abc" * 50)),
    ],
)
def test_a_text_that_is_no_value_is_refused(of: FieldType, text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        converted(of, text, BERLIN)


# ------------------------------------------------------------------------------------------------ what is asked


def test_a_new_responsible_person_is_asked_for() -> None:
    done = NEW.when(arrive(rule("give", "change_responsible", settings={"responsible": "user:7"})))
    assert (only(done).step, only(done).changes) == ("responsible", {"responsible_id": BEN})
    answer = Answered(request_id(VISIT_ID, rule_id("give"), "responsible"), {"before": ANNA, "after": BEN}, known())
    assert run_state(Given(VISIT, done.state).when(answer).state, "give") == ("succeeded", None)


def test_who_has_left_is_stood_in_for() -> None:
    gone = {BEN: person(BEN, "7", "Ben", active=False, manager_id=OLAF), OLAF: person(OLAF, "1", "Olaf", manager_id=None)}
    give = rule("give", "change_responsible", settings={"responsible": "user:7"})
    assert only(NEW.when(arrive(give, known=known(people=gone)))).changes == {"responsible_id": OLAF}
    nobody = {id: person(id, "x", "X", active=False, manager_id=None) for id in (BEN, OLAF)}
    assert run_state(NEW.when(arrive(give, known=known(people=nobody))).state, "give") == ("failed", "recipient_missing")


def test_nobody_named_changes_nothing() -> None:
    give = rule("give", "change_responsible", settings={"responsible": "{{deal.uf.helper}}"})
    assert run_state(NEW.when(arrive(give)).state, "give") == ("skipped", "nothing_to_change")


def test_a_stage_is_left_for_another_of_the_pipeline() -> None:
    lost = rule("on", "change_stage", settings={"stage": "new", "loss_reason": "{{deal.title}} too late"})
    asked = only(NEW.when(arrive(lost)))
    assert isinstance(asked, StageAsked) and (asked.stage_id, asked.loss_reason) == (id_of("new"), "Roof 2026 too late")
    state = NEW.when(arrive(lost)).state
    said = publications.of_visit(state, recorded(asked, "visit", VISIT_ID))
    assert isinstance(said, InNameOf) and isinstance(said.contract, deals.MoveToStage)
    assert (said.contract.if_visit_id, said.contract.element_id) == (VISIT_ID, DEAL)
    assert said.contract.origin is not None and said.contract.origin.chain == (rule_id("on"),)


def test_a_rule_of_the_chain_that_moves_back_is_held_by_the_loop_guard() -> None:
    on = rule("on", "change_stage")
    assert run_state(NEW.when(arrive(on, chain=(rule_id("on"), id_of("other")))).state, "on") == ("blocked", "loop")


@pytest.mark.parametrize(
    ("rule_type", "step", "code", "state"),
    [
        ("change_stage", "move", "visit_changed", ("skipped", "visit_changed")),
        ("change_stage", "move", "already_there", ("skipped", "already_there")),
        ("change_stage", "move", "required_fields_missing", ("failed", "refused(required_fields_missing)")),
        ("change_stage", "move", "target_missing", ("failed", "target_missing")),
        ("change_responsible", "responsible", "nothing_to_change", ("skipped", "nothing_to_change")),
        ("change_responsible", "responsible", "unknown_reference", ("failed", "refused(unknown_reference)")),
        ("change_field", "fields", "nothing_to_change", ("skipped", "nothing_to_change")),
        ("change_field", "fields", "validation_failed", ("failed", "refused(validation_failed)")),
        ("change_field", "fields", "deal_deleted", ("failed", "refused(deal_deleted)")),
    ],
)
def test_what_a_refusal_comes_to(rule_type: str, step: str, code: str, state: tuple[str, str]) -> None:
    asked = NEW.when(arrive(rule("r", rule_type))).state
    refused = Refused(request_id(VISIT_ID, rule_id("r"), step), code, "Why.", known())
    assert run_state(Given(VISIT, asked).when(refused).state, "r") == state


def test_the_answer_of_a_move_comes_after_the_stay_and_starts_nothing_below() -> None:
    below = rule("tell", execution="after_previous")
    asked = NEW.when(arrive(rule("on", "change_stage"), below)).state
    left = Given(VISIT, asked).when(Leave("stage_left", known())).state
    done = Given(VISIT, left).when(Answered(request_id(VISIT_ID, rule_id("on"), "move"), {"stage": "new"}, known())).state
    assert (run_state(done, "on"), run_state(done, "tell")) == (("succeeded", None), ("cancelled", "stage_left"))


def test_fields_are_asked_for_with_values_of_their_types() -> None:
    types = field_types(title=FieldType("string"), amount=FieldType("number"), uf_when=FieldType("date"), uf_ok=FieldType("bool"))
    fields = {"deal.title": "{{deal.title}}!", "amount": "12.50", "uf.when": "{{now.date}}", "uf.ok": "yes"}
    asked = only(NEW.when(arrive(rule("set", "change_field", settings={"fields": fields}, references=types))))
    assert isinstance(asked, FieldsAsked)
    assert asked.changes == {"title": "Roof 2026!", "amount": "12.50", "custom": {"when": "2026-03-02", "ok": True}}


def test_an_empty_value_leaves_the_field_or_empties_it() -> None:
    types = field_types(uf_note=FieldType("text"), observers=FieldType("user", multiple=True))
    fields = {"uf.note": "{{deal.uf.gone}}", "observers": ""}
    kept = rule("set", "change_field", settings={"fields": fields}, references=types)
    assert run_state(NEW.when(arrive(kept)).state, "set") == ("skipped", "nothing_to_change")
    cleared = rule("set", "change_field", settings={"fields": fields, "empty_values": "clear"}, references=types)
    assert only(NEW.when(arrive(cleared))).changes == {"custom": {"note": None}, "observer_ids": []}


def test_a_value_that_does_not_fit_fails_by_name() -> None:
    types = field_types(uf_when=FieldType("date"))
    late = rule("set", "change_field", settings={"fields": {"uf.when": "{{deal.title}}"}}, references=types)
    state = NEW.when(arrive(late)).state
    assert run_state(state, "set") == ("failed", "template_error")
    assert state.runs[0].detail == "uf.when: 'Roof 2026' is not a date."


def test_a_lead_is_asked_by_its_own_commands() -> None:
    for name, kind in (("change_responsible", deals.ChangeLeadFields), ("change_stage", deals.MoveToStage)):
        facts = known(element_type="lead")
        asking = arrive(rule("r", name), known=facts)
        state = VISIT.fold(list(VISIT.decide(VISIT.initial, asking)))._replace(element_type="lead")
        asked = next(e for e in VISIT.decide(VISIT.initial, asking) if isinstance(e, Asked))
        said = publications.of_visit(state, recorded(asked, "visit", VISIT_ID))
        assert isinstance(said, InNameOf) and isinstance(said.contract, kind) and said.contract.partition_key() == DEAL


# ------------------------------------------------------------------------------------------------ what was changed


def test_changed_fields_are_named_as_rules_name_them() -> None:
    changes = {
        "title": ("a", "b"),
        "amount_mode": ("from_lines", "manual"),
        "observer_ids": ([], [ANNA]),
        "custom": ({"a": 1, "b": 2}, {"a": 1, "c": 3}),
    }
    assert changed_fields(changes) == ["title", "observers", "uf.b", "uf.c"]


def test_a_custom_field_that_was_emptied_is_empty_here_too() -> None:
    before = {**card().fields, "custom": {"a": 1, "b": 2}}
    after = with_changes(before, {"custom": common.Change(before={"a": 1, "b": 2}, after={"a": 3})})
    assert after["custom"] == {"a": 3}
    part = with_changes(before, {"custom": common.Change(before=None, after={"c": 1})})
    assert part["custom"] == {"a": 1, "b": 2, "c": 1}
