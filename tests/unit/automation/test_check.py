"""What is in order and what is not, by pointer and code; no JSON makes the checker fail (rule-format 8)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from services.automation.domain.catalogue import RULE_TYPES
from services.automation.domain.change import FieldType
from services.automation.domain.check import WARNINGS, Checked, Names, Neighbour, StageName, check_rule, check_trigger
from services.automation.domain.definition import complete_rule, ready, rule_of
from services.automation.facts.rendering import check as paths_of
from tests.unit.automation.made import ANNA, BEN, SETTINGS, id_of

SALES, LEADS = id_of("sales"), id_of("leads")
WON = StageName(SALES, "sales", id_of("won"), "won", "deal")
FRESH = StageName(LEADS, "leads", id_of("fresh"), "fresh", "lead")
NAMES = Names(
    pipelines={
        "sales": (SALES, False, "deal", {"new": (id_of("new"), False), "won": (id_of("won"), False), "old": (id_of("old"), True)}),
        "installation": (id_of("installation"), False, "deal", {"planning": (id_of("planning"), False)}),
        "closed": (id_of("closed"), True, "deal", {"x": (id_of("x"), False)}),
    },
    people={"42": (ANNA, True), "7": (BEN, False)},
    values={
        "const.limit": (id_of("limit"), "number", "everywhere"),
        "var.street": (id_of("street"), "text", "crm"),
        "var.secret": (id_of("secret"), "text", "lead"),
    },
    custom={"uf.meeting": "date", "uf.text": "text", "contact.uf.city": "text"},
    templates={"person": ("person", frozenset(("iban",))), "firm": ("company", frozenset(("vat_id",)))},
    rooms={"big": id_of("room")},
    files=frozenset((id_of("file"),)),
    roles=frozenset(("finance",)),
    rules={"sales/new#inv": id_of("inv"), "installation/planning#inv": id_of("other")},
    endpoints={
        id_of("endpoint"): ("rule", "active"),
        id_of("off"): ("rule", "disabled"),
        id_of("stream"): ("stream", "active"),
    },
    app_triggers=frozenset(("phone/call-ended",)),
    forms={
        "deal": {
            "uf.meeting": FieldType("date"),
            "uf.text": FieldType("text"),
            "uf.colour": FieldType("select", options=("red", "blue")),
            "uf.helpers": FieldType("user", multiple=True),
        },
        "lead": {"uf.source": FieldType("string")},
    },
)
LINK = Neighbour("link", "create_payment_link", "parallel")


def checked(rule_type: str = "notify", **text: Any) -> Checked:
    """`exactly`: these settings and no others; `names`: what is there besides."""
    above, below, at = text.pop("above", ()), text.pop("below", ()), text.pop("at", WON)
    names = replace(NAMES, **text.pop("names", {}))
    settings = text.pop("exactly", None) or {**SETTINGS.get(rule_type, {}), **text.pop("settings", {})}
    return check_rule({"id": "r", "type": rule_type, "settings": settings, **text}, at, names, above, list(below), paths_of)


def found(result: Checked) -> set[tuple[str, str]]:
    return {(f.pointer, f.code) for f in result.findings}


@pytest.mark.parametrize("rule_type", sorted(RULE_TYPES))
def test_the_least_of_every_type_is_in_order_and_can_be_run(rule_type: str) -> None:
    settings = {"body": "Hello"} if rule_type == "send_email" else {}
    result = checked(rule_type, settings=settings)
    assert found(result) == set()
    rule = rule_of("r", 1, ANNA, result.definition, result.references)
    assert ready(rule).condition is None and rule.max_lateness() in (None, 86_400)


@pytest.mark.parametrize(
    ("text", "pointer", "code"),
    [
        ({"id": None}, "/id", "setting_required"),
        ({"id": "Not A Slug"}, "/id", "bad_code"),
        ({"nonsense": 1}, "/nonsense", "unknown_key"),
        ({"execution": "later"}, "/execution", "wrong_type"),
        ({"enabled": "yes"}, "/enabled", "wrong_type"),
        ({"acting_user": "user:404"}, "/acting_user", "unknown_user"),
        ({"fallback_user": "user:7"}, "/fallback_user", "inactive_user"),
        ({"owner": "anna"}, "/owner", "unknown_user"),
        ({"timing": "soon"}, "/timing", "bad_time"),
        ({"timing": {"after": "arrival", "before": "deal.uf.meeting"}}, "/timing", "bad_time"),
        ({"timing": {"after": "arrival", "offset": "-1d"}}, "/timing/offset", "bad_offset"),
        ({"timing": {"before": "deal.uf.meeting"}}, "/timing/offset", "bad_offset"),
        ({"timing": {"after": "deal.title", "offset": "1d"}}, "/timing/after", "anchor_not_a_date"),
        ({"timing": {"after": "deal.uf.gone", "offset": "1d"}}, "/timing/after", "unknown_path"),
        ({"timing": {"at": "deal.uf.meeting"}}, "/timing/time", "time_required"),
        ({"timing": {"after": "arrival", "offset": "1d", "time": 840}}, "/timing/time", "bad_time"),
        ({"timing": {"after": "arrival", "offset": "1d", "zone": "Moon/Base"}}, "/timing/zone", "bad_zone"),
        ({"timing": {"after": "arrival", "offset": "1d", "working_hours": "night"}}, "/timing/working_hours", "bad_time"),
        ({"timing": {"after": "arrival", "offset": "1d", "late_limit": "never"}}, "/timing/late_limit", "bad_offset"),
        ({"timing": {"after": "arrival", "offset": "1d", "speed": 1}}, "/timing/speed", "unknown_key"),
        ({"condition": {"field": "deal.amount"}}, "/condition", "bad_condition"),
        ({"condition": {"all": [{"field": "deal.gone", "op": "eq", "value": 1}]}}, "/condition/all/0/field", "unknown_path"),
        ({"condition": {"field": "deal.amount", "op": "contains", "value": 1}}, "/condition/op", "operator_not_for_type"),
        ({"condition": {"field": "deal.amount", "op": "gt", "value": "much"}}, "/condition/value", "bad_literal"),
        ({"condition": {"field": "deal.amount", "op": "between", "value": [1]}}, "/condition/value", "bad_literal"),
        ({"condition": {"field": "deal.responsible", "op": "eq", "value": "user:404"}}, "/condition/value", "unknown_user"),
        ({"condition": {"field": "deal.responsible", "op": "in", "value": ["user:42", "user:404"]}}, "/condition/value/1", "unknown_user"),
        ({"a/b~c": 1}, "/a~1b~0c", "unknown_key"),
        ({"settings": {"a/b": 1}}, "/settings/a~1b", "setting_unknown"),
        ({"settings": {"to": ["user:42", "bob"]}}, "/settings/to/1", "unknown_user"),
        ({"settings": {"to": ["user:42", 5]}}, "/settings/to/1", "wrong_type"),
        ({"settings": {"title": "x" * 256}}, "/settings/title", "too_long"),
        ({"settings": {"text": "x" * 8193}}, "/settings/text", "too_long"),
        ({"condition": {"field": "const.gone", "op": "eq", "value": 1}}, "/condition/field", "unknown_constant"),
        ({"condition": {"field": "var.secret", "op": "eq", "value": "x"}}, "/condition/field", "not_visible_here"),
        ({"condition": {"field": "event.total", "op": "eq", "value": 1}}, "/condition/field", "unknown_path"),
        ({"condition": {"not": {"not": {"not": {"not": {"not": {"any": []}}}}}}}, "/condition/not/not/not/not/not", "too_deep"),
        ({"condition": {"all": [{"not": {"any": []}}] * 30}}, "/condition", "too_many_nodes"),
        ({"settings": {"text": "{{deal.gone}}"}}, "/settings/text", "unknown_path"),
        ({"settings": {"text": "{{deal.title | shout}}"}}, "/settings/text", "unknown_filter"),
        ({"settings": {"text": "{{deal.title"}}, "/settings/text", "bad_template"),
        ({"settings": {"text": "{{var.gone}}"}}, "/settings/text", "unknown_variable"),
        ({"settings": {"text": "{{steps.link.url}}"}}, "/settings/text", "unknown_output"),
        ({"settings": {"text": 5}}, "/settings/text", "wrong_type"),
        ({"settings": {"text": None}}, "/settings/text", "setting_required"),
        ({"settings": {"colour": "red"}}, "/settings/colour", "setting_unknown"),
        ({"settings": {"to": []}}, "/settings/to", "empty_list"),
        ({"settings": {"to": ["user:42"] * 11}}, "/settings/to", "out_of_range"),
        ({"settings": {"to": "role:cook"}}, "/settings/to", "unknown_role"),
        ({"settings": {"to": "bob"}}, "/settings/to", "unknown_user"),
        ({"type": "run_automatic_payment"}, "/type", "rule_type_retired"),
        ({"type": "coffee"}, "/type", "unknown_rule_type"),
        ({"type": None}, "/type", "setting_required"),
    ],
)
def test_what_is_wrong_is_named(text: dict[str, Any], pointer: str, code: str) -> None:
    assert (pointer, code) in found(checked(**text))


@pytest.mark.parametrize(
    ("rule_type", "settings", "pointer", "code"),
    [
        ("create_payment_link", {"auto_create": False}, "order_id", "setting_required"),
        ("create_payment_link", {"order_id": "5"}, "order_id", "setting_not_allowed"),
        ("create_payment_link", {"expires_in": "0d"}, "expires_in", "out_of_range"),
        ("create_payment_link", {"covers": "everything"}, "covers", "wrong_type"),
        ("create_payment_link", {"auto_create": "yes"}, "auto_create", "wrong_type"),
        ("create_from", {"targets": []}, "targets", "empty_list"),
        ("create_from", {"targets": ["deal"]}, "targets", "target_not_offered"),
        ("create_from", {"targets": ["invoice", "invoice"]}, "targets", "wrong_type"),
        ("create_from", {"targets": ["quote"], "issue": True}, "issue", "setting_not_allowed"),
        ("copy_deal", {"pipeline": "gone"}, "pipeline", "unknown_pipeline"),
        ("copy_deal", {"pipeline": "closed"}, "pipeline", "target_missing"),
        ("copy_deal", {"initial_stage": "gone"}, "initial_stage", "unknown_stage"),
        ("copy_deal", {"pipeline": "sales", "initial_stage": "won"}, "initial_stage", "target_is_own_stage"),
        ("copy_deal", {"pipeline": "sales", "initial_stage": "old"}, "initial_stage", "target_missing"),
        ("change_details", {"template": "gone"}, "template", "unknown_template"),
        ("change_details", {"template": "firm"}, "template", "template_of_other_owner_type"),
        ("change_details", {"fields": {}}, "fields", "empty_map"),
        ("change_details", {"fields": {"tax_id_x": "1"}}, "fields/tax_id_x", "unknown_field"),
        ("change_details", {"fields": {"iban": 5}}, "fields/iban", "wrong_type"),
        ("change_details", {"fields": {"iban": "{{deal.gone}}"}}, "fields/iban", "unknown_path"),
        ("create_from", {"sign_template": "Not A Code"}, "sign_template", "bad_code"),
        ("plan_activity", {"deadline": {"day": "today", "time": "14:00", "speed": 1}}, "deadline/speed", "unknown_key"),
        ("plan_activity", {"reminders": [5, -1]}, "reminders/1", "out_of_range"),
        ("change_details", {"fields": {"city": "Bremen"}, "address_type": None}, "address_type", "address_type_missing"),
        ("get_details", {"address_type": "moon"}, "address_type", "unknown_address_type"),
        ("change_variable", {"variable": "gone"}, "variable", "unknown_variable"),
        ("change_variable", {"variable": "limit"}, "variable", "constant_by_rule"),
        ("plan_activity", {"colour": "pink"}, "colour", "unknown_colour"),
        ("plan_activity", {"room": "small"}, "room", "unknown_room"),
        ("plan_activity", {"files": ["gone"]}, "files/0", "unknown_file"),
        ("plan_activity", {"deadline": "soon"}, "deadline", "bad_time"),
        ("plan_activity", {"deadline": {"day": "tomorrow"}}, "deadline/time", "time_required"),
        ("plan_activity", {"deadline": {"day": "never", "time": "14:00"}}, "deadline/day", "bad_time"),
        ("plan_activity", {"duration": 1}, "duration", "out_of_range"),
        ("plan_activity", {"reminders": [1, 2, 3, 4, 5, 6]}, "reminders", "out_of_range"),
        ("plan_activity", {"invite": ["user:404"]}, "invite/0", "unknown_user"),
        ("plan_activity", {"customers": "some"}, "customers", "wrong_type"),
        ("plan_activity", {"responsible": "bob"}, "responsible", "unknown_user"),
    ],
)
def test_what_is_wrong_with_settings(rule_type: str, settings: dict[str, Any], pointer: str, code: str) -> None:
    assert (f"/settings/{pointer}", code) in found(checked(rule_type, settings=settings))


def test_types_are_offered_by_element() -> None:
    assert ("/type", "type_not_for_element") in found(checked("copy_deal", at=FRESH))
    assert ("/settings/targets", "target_not_offered") in found(checked("create_from", at=FRESH))
    assert found(checked("create_from", at=FRESH, settings={"targets": ["deal"]})) == set()


@pytest.mark.parametrize(
    ("above", "execution", "code"),
    [
        ((LINK,), "after_previous", None),
        ((LINK,), "parallel", "output_not_ordered"),
        ((LINK, Neighbour("b", "notify", "parallel")), "after_previous", "output_not_ordered"),
        ((LINK, Neighbour("b", "notify", "after_previous")), "after_previous", None),
    ],
)
def test_an_output_is_used_only_behind_its_rule(above: tuple[Neighbour, ...], execution: str, code: str | None) -> None:
    result = checked(above=above, execution=execution, settings={"text": "{{steps.link.url}}"})
    assert found(result) == ({("/settings/text", code)} if code else set())


def test_outputs_that_there_are_not() -> None:
    after = {"execution": "after_previous"}
    assert ("/settings/text", "unknown_output") in found(checked(above=(LINK,), settings={"text": "{{steps.link.gone}}"}, **after))
    later = checked(below=("link",), settings={"text": "{{steps.link.url}}"})
    assert ("/settings/text", "output_of_later_rule") in found(later)


def test_the_first_rule_of_a_stage_is_only_warned() -> None:
    result = checked(execution="after_previous")
    assert found(result) == {("/execution", "after_previous_without_previous")} and result.errors == ()
    assert "after_previous_without_previous" in WARNINGS


def test_names_are_resolved_once_for_good() -> None:
    text = {"text": "{{deal.uf.text}} {{const.limit}}", "to": ["user:42"]}
    result = checked(condition={"field": "deal.uf.meeting", "op": "empty"}, settings=text)
    assert result.references == {
        "kind:uf.meeting": "date",
        "kind:uf.text": "text",
        "kind:const.limit": "number",
        f"value:{id_of('limit')}": "const.limit",
        "user:42": ANNA,
    }


def test_a_stage_has_at_most_fifty_rules() -> None:
    above = tuple(Neighbour(f"r{n}", "notify", "parallel") for n in range(50))
    assert ("/id", "too_many_rules") in found(checked(above=above))
    assert ("/id", "duplicate_id") in found(checked(above=(Neighbour("r", "notify", "parallel"),)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ({"type": "invoice_paid"}, set()),
        ({"type": "coffee"}, {("/type", "unknown_trigger_type")}),
        ({"type": "webhook"}, {("/settings/code", "setting_required")}),
        ({"type": "webhook", "settings": {"code": "Not A Code"}}, {("/settings/code", "bad_code")}),
        ({"type": "webhook", "settings": {"code": "x"}, "condition": {"field": "event.any", "op": "eq", "value": "y"}}, set()),
        ({"type": "invoice_paid", "settings": {"threshold": "30"}}, {("/settings/threshold", "wrong_type")}),
        ({"type": "invoice_paid", "settings": {"threshold": "30%", "scope": "all_open"}}, set()),
        ({"type": "invoice_paid", "settings": {"scope": "created_by:sales/new#inv"}}, set()),
        ({"type": "invoice_paid", "settings": {"scope": "created_by:sales/new#gone"}}, {("/settings/scope", "wrong_type")}),
        (
            {"type": "invoice_paid", "settings": {"scope": "created_by:installation/planning#inv"}},
            {("/settings/scope", "trigger_other_pipeline")},
        ),
        ({"type": "sign_document_signed", "settings": {"scope": "any"}}, {("/settings/scope", "setting_unknown")}),
        ({"type": "activity_completed", "settings": {"also_automatic": "yes"}}, {("/settings/also_automatic", "wrong_type")}),
        ({"type": "app", "settings": {"app_code": "phone", "code": "call-ended"}}, set()),
        ({"type": "app", "settings": {"app_code": "phone", "code": "gone"}}, {("/settings/code", "unknown_app_trigger")}),
        ({"type": "external_event"}, {("/settings/event_type", "setting_required")}),
        ({"type": "external_event", "settings": {"event_type": "billing.InvoicePaid.v1"}}, {("/settings/event_type", "bad_event_type")}),
        (
            {
                "type": "external_event",
                "settings": {"event_type": "com.example.x", "event_fields": {"order.total": "number"}},
                "condition": {
                    "all": [{"field": "event.order.total", "op": "gt", "value": 5}, {"field": "event.ce_subject", "op": "empty"}]
                },
            },
            set(),
        ),
        (
            {
                "type": "webhook",
                "settings": {"code": "x", "event_fields": {"day": "date"}},
                "condition": {"field": "event.day", "op": "contains", "value": "5"},
            },
            {("/condition/op", "operator_not_for_type")},
        ),
        (
            {"type": "webhook", "settings": {"code": "x", "event_fields": {"a b": "text", "c": "coffee"}}},
            {("/settings/event_fields/a b", "bad_path"), ("/settings/event_fields/c", "wrong_type")},
        ),
        ({"type": "invoice_paid", "allow_back": "yes"}, {("/allow_back", "wrong_type")}),
        ({"type": "invoice_paid", "condition": {"field": "event.gone", "op": "eq", "value": 1}}, {("/condition/field", "unknown_path")}),
        ({"type": "invoice_paid", "condition": {"field": "event.total", "op": "gt", "value": 5}}, set()),
    ],
)
def test_triggers(text: dict[str, Any], expected: set[tuple[str, str]]) -> None:
    assert found(check_trigger({"id": "t", **text}, WON, NAMES, paths_of)) == expected


def test_a_trigger_type_not_for_leads() -> None:
    assert ("/type", "type_not_for_element") in found(check_trigger({"id": "t", "type": "invoice_paid"}, FRESH, NAMES, paths_of))


def test_all_faults_of_a_trigger_are_found_at_once() -> None:
    text = {"id": "T", "type": "coffee", "allow_back": "yes", "condition": {"field": "deal.gone", "op": "eq"}, "fallback_user": "user:404"}
    assert found(check_trigger(text, WON, NAMES, paths_of)) == {
        ("/id", "bad_code"),
        ("/type", "unknown_trigger_type"),
        ("/allow_back", "wrong_type"),
        ("/condition/field", "unknown_path"),
        ("/fallback_user", "unknown_user"),
    }


def test_null_is_the_same_as_left_out() -> None:
    nothing = complete_rule({"id": "a", "type": "plan_activity", "settings": {"duration": None, "reminders": None, "colour": None}})
    assert nothing == complete_rule({"id": "a", "type": "plan_activity"})


def test_a_complete_definition_stays_as_it_is() -> None:
    once = complete_rule({"id": "a", "type": "plan_activity", "settings": {"name": "Call"}})
    assert complete_rule(once) == once


WORDS = st.sampled_from(["deal.amount", "1d", "{{deal.title}}", "user:42", "gt", "empty"])
KEYS = st.sampled_from(["all", "any", "not", "field", "op", "value", "after", "day", "x"])
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@for_all(st.data(), st.sampled_from(sorted(RULE_TYPES)))
def test_no_rule_makes_the_checker_fail_and_what_passes_can_be_run(data: Any, rule_type: str) -> None:
    keys = ("timing", "condition", "execution", "acting_user", "fallback_user", "owner", "on_exit", "enabled")
    text = {key: data.draw(anything, key) for key in data.draw(st.sets(st.sampled_from(keys)))}
    names = [s.name for s in RULE_TYPES[rule_type].settings]
    settings = {name: data.draw(anything, name) for name in data.draw(st.sets(st.sampled_from(names), max_size=3))}
    result = checked(rule_type, settings=settings, **text)
    if not result.errors:
        rule = ready(rule_of("r", 1, ANNA, result.definition, result.references))
        assert rule.rule.key == "r" and rule.rule.max_lateness() is not False


@for_all(st.dictionaries(st.text(max_size=8) | st.sampled_from(["id", "type", "settings", "condition"]), anything, max_size=5))
def test_no_text_at_all_makes_the_checker_fail(text: dict[str, Any]) -> None:
    assert check_rule(text, WON, NAMES, (), (), paths_of).findings
    assert check_trigger(text, WON, NAMES, paths_of).findings


def test_a_condition_compares_an_output_as_what_it_is() -> None:
    condition = {"field": "steps.link.amount", "op": "gt", "value": 5}
    result = checked(above=(LINK,), execution="after_previous", condition=condition)
    assert found(result) == set() and result.references == {"kind:steps.link.amount": "money"}
    assert ready(rule_of("r", 1, ANNA, result.definition, result.references)).condition is not None
