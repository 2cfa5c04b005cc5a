"""What a front end draws its forms from: real JSON Schema, in both languages, at one with the checker (S2, S4, G38)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from hypothesis import example as also
from hypothesis import given as for_all
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from services.automation.domain import check as check_module
from services.automation.domain import fields, forms, words
from services.automation.domain import timing as timing_module
from services.automation.domain.catalogue import RULE_TYPES, TRIGGER_TYPES, RuleType, TriggerType, offered
from services.automation.domain.check import TOGETHER, check_trigger
from services.automation.domain.condition import OPERATORS
from services.automation.domain.definition import complete_rule, complete_trigger
from services.automation.domain.words import Words
from services.automation.facts.rendering import check as paths_of
from tests.unit.automation.made import SETTINGS
from tests.unit.automation.test_check import FRESH, LINK, NAMES, WON, anything, checked

TYPES: dict[str, RuleType | TriggerType] = {**RULE_TYPES, **TRIGGER_TYPES}
NEEDED: dict[str, dict[str, Any]] = {
    "send_email": {"body": "Hello"},
    "webhook": {"code": "x"},
    "app": {"app_code": "phone", "code": "call-ended"},
    "external_event": {"event_type": "com.example.shipped"},
}
"""What `SETTINGS` of the house cannot be used for here: it names an output of another rule."""


EXAMPLE = "0195d1c0-0000-7000-8000-000000000001"
"""The endpoint of the catalogue's examples."""


def least_of(name: str) -> dict[str, Any]:
    """The least settings that a type needs."""
    return {**SETTINGS.get(name, {}), **NEEDED.get(name, {})}


def is_valid(settings: Any, name: str, element_type: str | None = None) -> bool:
    return bool(Draft202012Validator(forms.settings_schema(TYPES[name], element_type)).is_valid(settings))


def findings(name: str, settings: dict[str, Any]) -> set[tuple[str, str]]:
    """What the checker says about the settings of a rule on a deal's stage, behind a rule that makes a link."""
    if name in TRIGGER_TYPES:
        trigger = check_trigger({"id": "t", "type": name, "settings": settings}, WON, NAMES, paths_of)
        return {(f.pointer, f.code) for f in trigger.findings}
    named = {"custom": {**NAMES.custom, "uf.order_number": "text", "uf.contract_url": "text"}}
    names: dict[str, Any] = {"endpoints": {**NAMES.endpoints, EXAMPLE: ("rule", "active")}}
    names |= {"values": {**NAMES.values, "const.house": ("h", "text", "everywhere"), "var.on-duty": ("d", "user", "everywhere")}}
    result = checked(name, above=(LINK,), execution="after_previous", exactly=settings, names=named | names)
    return {(f.pointer, f.code) for f in result.findings}


# ------------------------------------------------------------------------------------------------ schemas


@pytest.mark.parametrize("name", TYPES)
@pytest.mark.parametrize("element_type", [None, "deal", "lead"])
def test_every_schema_is_one(name: str, element_type: str | None) -> None:
    schema = forms.settings_schema(TYPES[name], element_type)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == Draft202012Validator.META_SCHEMA["$id"]
    assert set(schema["properties"]) == {s.name for s in TYPES[name].settings}


@pytest.mark.parametrize("schema", [forms.rule_schema(), forms.trigger_schema()], ids=["rule", "trigger"])
def test_the_schema_of_a_definition_is_one(schema: dict[str, Any]) -> None:
    Draft202012Validator.check_schema(schema)
    assert {name for name, shape in schema["properties"].items() if not shape["title"] or not shape["x-title-de"]} == set()


@pytest.mark.parametrize("name", TYPES)
def test_defaults_are_valid(name: str) -> None:
    complete = complete_rule if name in RULE_TYPES else complete_trigger
    definition = complete({"id": "x", "type": name, "settings": least_of(name)})
    jsonschema.validate(definition["settings"], forms.settings_schema(TYPES[name], "deal"), Draft202012Validator)
    whole = forms.rule_schema() if name in RULE_TYPES else forms.trigger_schema()
    jsonschema.validate(definition, whole, Draft202012Validator)


@pytest.mark.parametrize("name", TYPES)
def test_every_type_has_examples_that_are_in_order(name: str) -> None:
    assert TYPES[name].examples
    for example in forms.settings_schema(TYPES[name], "deal")["examples"]:
        assert is_valid(example, name, "deal"), example
        assert findings(name, example) == set(), example


def test_examples_of_a_lead_are_for_leads() -> None:
    for kind in offered("lead"):
        examples = forms.settings_schema(kind, "lead")["examples"]
        assert examples and all(is_valid(example, kind.name, "lead") for example in examples)
    (deal,) = forms.settings_schema(RULE_TYPES["create_from"], "lead")["examples"]
    assert deal["targets"] == ["deal", "contact"]


WRONG: dict[str, list[Any]] = {
    "bool": ["yes", 1, "true", []],
    "text": [5, True, ["x"], {"a": "b"}],
    "long_text": [5, True, ["x"], {"a": "b"}, "x" * 8193],
    "choice": ["nonsense", 5, ["x"]],
    "address_type": ["moon", 5],
    "choices": ["invoice", [], ["coffee"], [5], 5],
    "days": ["soon", 30, "-1d", "30 d", "1d and 2h"],
    "minutes": ["60", 1, 20_000, 1.5, True],
    "minutes_list": [15, ["15"], [-1], [1, 2, 3, 4, 5, 6], "15"],
    "person": ["bob", 5, ["user:42"], ""],
    "people": ["user:42", [5], ["bob"], ["user:42"] * 51],
    "recipients": ["bob", [], "", ["bob"], [5], ["user:42"] * 11, {"to": "user:42"}],
    "pipeline": [5, ["sales"], {}],
    "stage": [5, ["new"]],
    "deadline": [
        "tomorrow",
        {},
        {"day": "tomorrow"},
        {"day": "never", "time": "14:00"},
        {"at": "deal.uf.meeting"},
        {"after": "now", "x": 1},
    ],
    "texts": [{}, "x", ["city"], {"iban": 5}],
    "field_values": [{}, "x", ["title"], {"title": 5}],
    "own_stage": [5, ["new"], {}],
    "endpoint": [5, ["x"], {}],
    "payload": ["x", ["a"], {"a": 5}],
    "span": ["soon", 30, "-1d", "1d and 2h"],
    "declared_outputs": [
        "x",
        {"name": "a", "type": "string"},
        ["a"],
        [{"name": "a"}],
        [{"name": "A b", "type": "string"}],
        [{"name": "a", "type": "x"}],
    ],
    "files": ["a.pdf", [5], [""], 5],
    "details_template": [5, ["person"]],
    "variable": [5, ["street"]],
    "room": [5, ["big"]],
    "customers": ["some", 5, ["all"]],
    "code": ["Not A Code", 5, "-x"],
    "event_type": ["", "two words", "deals.StageChanged.v1", "x" * 201, 5],
    "event_path": ["", "a..b", "a b", ".".join("abcdefghijk"), 5],
    "event_fields": [{"a": "coffee"}, {"a b": "text"}, {"a": 5}, ["a"], {str(n): "text" for n in range(51)}],
    "scope": ["some", 5, "created_by:", "created_by:sales"],
    "threshold": ["30", "a lot", 30, {}, "0%", "120%", {"amount": -50}, {"amount": "0"}, {"amount": "5", "currency": "euro"}, {"x": 1}],
}


def wrong() -> Iterator[tuple[str, str, Any]]:
    for name, kind in TYPES.items():
        yield from ((name, s.name, value) for s in kind.settings for value in WRONG[s.kind])


@pytest.mark.parametrize(("name", "setting", "value"), list(wrong()), ids=lambda part: str(part)[:30])
def test_a_wrong_value_is_wrong_for_the_form_and_for_the_checker(name: str, setting: str, value: Any) -> None:
    settings = {**least_of(name), setting: value}
    assert not is_valid(settings, name, "deal")
    assert [code for pointer, code in findings(name, settings) if pointer.startswith(f"/settings/{setting}")]


@pytest.mark.parametrize("name", TYPES)
def test_a_setting_that_is_missing_or_unknown_is_wrong(name: str) -> None:
    assert not is_valid({**least_of(name), "nonsense": 1}, name)
    for setting in (s.name for s in TYPES[name].settings if s.required):
        assert not is_valid({k: v for k, v in least_of(name).items() if k != setting}, name)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("create_payment_link", {"auto_create": False}),
        ("create_payment_link", {"auto_create": False, "order_id": None}),
        ("create_payment_link", {"order_id": "5"}),
        ("create_from", {"targets": ["quote"], "issue": True}),
        ("create_from", {"targets": ["deal"]}),
        ("change_details", {"element": "contact", "template": "person", "fields": {"city": "Bremen"}}),
        ("change_details", {"element": "contact", "template": "person", "address_type": None, "fields": {"city": "Bremen"}}),
    ],
)
def test_what_goes_with_what_is_known_to_the_form(name: str, settings: dict[str, Any]) -> None:
    assert findings(name, settings) and not is_valid(settings, name, "deal")


@for_all(st.data(), st.sampled_from(sorted(TYPES)))
def test_whatever_the_checker_passes_is_valid(data: Any, name: str) -> None:
    names = [s.name for s in TYPES[name].settings]
    drawn = {
        setting: data.draw(anything, setting)
        for setting in data.draw(st.sets(st.sampled_from(names), max_size=3) if names else st.just(set()))
    }
    settings = {**least_of(name), **drawn}
    complete = complete_rule if name in RULE_TYPES else complete_trigger
    if not findings(name, settings):
        assert is_valid(complete({"id": "x", "type": name, "settings": settings})["settings"], name, "deal")


PASSED = (
    {"timing": {"after": "arrival", "offset": "1d 2h", "zone": "company", "late_limit": "none"}},
    {"timing": {"before": "deal.uf.meeting", "offset": "1d", "if_empty": "skip", "working_hours": "company"}},
    {"timing": {"at": "deal.uf.meeting", "time": "09:00"}, "execution": "after_previous"},
    {"condition": {"all": [{"not": {"any": []}}, {"field": "deal.amount", "op": "between", "value": [1, 2]}]}},
    {"acting_user": "user:42", "fallback_user": "user:42", "owner": "user:42", "on_exit": "keep", "also_at_arrival": True},
)


@pytest.mark.parametrize("text", PASSED, ids=str)
def test_definitions_that_are_in_order_are_valid(text: dict[str, Any]) -> None:
    result = checked(above=(LINK,), **text)
    assert result.errors == ()
    jsonschema.validate(result.definition, forms.rule_schema(), Draft202012Validator)


@for_all(st.dictionaries(st.sampled_from(["timing", "condition", "execution", "on_exit", "acting_user", "owner"]), anything, max_size=3))
@also({"timing": {"after": None, "offset": "1d"}})
@also({"timing": None})
def test_whatever_definition_the_checker_passes_is_valid(text: dict[str, Any]) -> None:
    result = checked(above=(LINK,), **text)
    if not result.errors:
        jsonschema.validate(result.definition, forms.rule_schema(), Draft202012Validator)


@pytest.mark.parametrize(
    "text",
    [
        {"timing": "soon"},
        {"timing": {"after": "arrival", "before": "deal.uf.meeting", "offset": "1d"}},
        {"timing": {"before": "deal.uf.meeting"}},
        {"timing": {"at": "deal.uf.meeting"}},
        {"timing": {"after": "arrival", "offset": "soon"}},
        {"condition": {"all": {}}},
        {"condition": {"field": "deal.amount"}},
        {"condition": {"field": "deal.amount", "op": "resembles", "value": 1}},
        {"execution": "later"},
        {"acting_user": "anna"},
        {"nonsense": 1},
    ],
)
def test_a_definition_that_is_wrong_is_wrong_for_the_form_too(text: dict[str, Any]) -> None:
    assert checked(above=(LINK,), **text).errors
    assert not Draft202012Validator(forms.rule_schema()).is_valid({"id": "a", "type": "notify", "settings": {"text": "x"}, **text})


# ------------------------------------------------------------------------------------------------ words


def both(found: Any) -> bool:
    return isinstance(found, Words) and bool(found.en) and bool(found.de)


@pytest.mark.parametrize("name", TYPES)
def test_everything_that_is_chosen_has_words_in_both_languages(name: str) -> None:
    kind = TYPES[name]
    assert both(kind.label) and both(words.GROUPS[kind.group]) and all(both(s.label) for s in kind.settings)
    for s in kind.settings:
        assert all(both(words.CHOICES[s.name][choice]) for choice in s.choices)
    if isinstance(kind, RuleType):
        assert all(both(words.OUTPUTS[output]) and both(words.KINDS[of]) for output, of in kind.outputs)
    else:
        assert all(both(words.EVENT_FIELDS[event]) for event, _ in kind.event_fields)


def test_fields_operators_and_members_have_words() -> None:
    assert words.KINDS.keys() == OPERATORS.keys() >= set(fields.STANDARD.values())
    assert words.FIELDS.keys() == fields.STANDARD.keys()
    assert words.OPERATORS.keys() == {op for operators in OPERATORS.values() for op in operators}
    assert words.MEMBERS.keys() == {*forms.rule_schema()["properties"], *forms.trigger_schema()["properties"]}
    assert words.ELEMENT_TYPES.keys() == {of for kind in TYPES.values() for of in kind.element_types}


FOUND = re.compile(r'"([a-z]+(?:_[a-z]+)*)", (?:f?["\']|_no_setting\()')
ELSEWHERE = {"unknown_constant", "unknown_variable", "unknown_address_type", "unknown_colour", "unknown_rule_type", "unknown_trigger_type"}
ELSEWHERE |= {"rule_type_retired", "output_of_later_rule", "not_allowed_for_author"}
ELSEWHERE |= TOGETHER


def test_every_finding_has_words() -> None:
    """Whatever code stands before a sentence in the checker, or before who makes it."""
    text = (Path(check_module.__file__).read_text() + Path(timing_module.__file__).read_text()).replace("\n", " ")
    codes = {code for code in FOUND.findall(re.sub(r"\s+", " ", text)) if "_" in code}
    codes -= {name for name in codes if name in words.MEMBERS or name in forms.TIMING["anyOf"][2]["properties"]}
    assert codes | ELSEWHERE | {"bad_template", "unknown_filter", "template_too_long"} == words.FINDINGS.keys()


def test_no_word_is_left_over() -> None:
    """Whatever goes out of use goes out of the dictionary."""
    settings = {s.word or s.name for kind in TYPES.values() for s in kind.settings}
    outputs = {"state", "finished_at", *(name for kind in RULE_TYPES.values() for name, _ in kind.outputs)}
    assert words.SETTINGS.keys() == settings and words.OUTPUTS.keys() == outputs
    assert words.RULE_TYPES.keys() == RULE_TYPES.keys() and words.TRIGGER_TYPES.keys() == TRIGGER_TYPES.keys()
    assert words.GROUPS.keys() == {kind.group for kind in TYPES.values()}


def test_a_choice_is_drawn_by_its_title() -> None:
    shape = forms.settings_schema(RULE_TYPES["plan_activity"])["properties"]["colour"]
    assert {"const": "yellow", "title": "Yellow", "x-title-de": "Gelb"} in shape["oneOf"]
    assert shape["enum"] == [one["const"] for one in shape["oneOf"]] and shape["default"] == "default"
    optional = forms.settings_schema(RULE_TYPES["get_details"])["properties"]["address_type"]
    assert None in optional["enum"] and "null" in optional["type"]


def test_a_lead_is_offered_other_targets() -> None:
    assert not is_valid({"targets": ["invoice"]}, "create_from", "lead") and is_valid({"targets": ["contact"]}, "create_from", "lead")
    assert FRESH.element_type == "lead" and checked("create_from", at=FRESH, settings={"targets": ["invoice"]}).errors
