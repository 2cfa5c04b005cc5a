"""Every setting of every type, given what it does not take: the finding stands at the setting and says what is allowed there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from services.automation.domain import catalogue
from services.automation.domain.catalogue import LONGEST_SOURCE, RULE_TYPES, TRIGGER_TYPES, RuleType, Setting
from services.automation.domain.check import Names, check_rule, check_trigger
from services.automation.facts.rendering import check as paths_of
from shared.es.errors import Fault
from tests.unit.automation.made import id_of
from tests.unit.automation.test_check import LINK, NAMES, WON, checked
from tests.unit.automation.test_forms import TYPES, WRONG, least_of


def faults(name: str, settings: dict[str, Any], setting: str) -> list[Fault]:
    """What is said about one setting of a rule or trigger on a deal's stage, behind a rule that makes a link."""
    if name in TRIGGER_TYPES:
        found = check_trigger({"id": "t", "type": name, "settings": settings}, WON, NAMES, paths_of).findings
    else:
        text = {"id": "r", "type": name, "settings": settings, "execution": "after_previous"}
        found = check_rule(text, WON, NAMES, (LINK,), (), paths_of).findings
    return [fault for fault in found if fault.pointer == f"/settings/{setting}" or fault.pointer.startswith(f"/settings/{setting}/")]


def setting_of(name: str, setting: str) -> Setting:
    return next(s for s in TYPES[name].settings if s.name == setting)


# ------------------------------------------------------------------------------------------------ what is allowed

PERSON = r"user:<code>"
ALLOWED: dict[str, str] = {
    "bool": "true or false",
    "text": "text",
    "long_text": "text",
    "days": r"180d|\d+ to \d+ days",
    "minutes": r"whole number.*\d|\d+ to \d+",
    "minutes_list": r"at most \d|whole number|\d+ to \d+",
    "person": PERSON,
    "people": rf"{PERSON}|at most \d+",
    "recipients": rf"{PERSON}|at most \d+",
    "pipeline": "code of a pipeline|there are",
    "stage": "code of a stage|there (is|are)",
    "deadline": r'tomorrow|after, before or at|after, before and at|\+3d|"14:00"|time of day|there are',
    "texts": "names to texts|holds texts|there are",
    "payload": "names to texts|holds texts",
    "endpoint": "id of a webhook endpoint|there (is|are)",
    "span": r"180d|\d+ to \d+ seconds",
    "declared_outputs": r"\{ name|one of|true or false|has name|name like|at most|already",
    "field_values": "names to texts|holds texts|there are",
    "files": r"ids? of files|at most \d+",
    "details_template": "code of a details template|there are",
    "variable": "code of a variable|there are",
    "room": "code of a room|there are",
    "customers": "none, all, primary or contact:<id>",
    "code": "like shop-order-shipped|it has",
    "scope": "any, all_open or created_by",
    "threshold": '"30%"|three capital letters',
}
"""By kind: what its sentences say of what is allowed. A kind of choices names every choice."""


def says_what_is_allowed(s: Setting, fault: Fault) -> bool:
    if s.choices:
        offered = catalogue.choices_for(s, "deal")
        return all(choice in fault.detail for choice in offered) or "twice" in fault.detail
    if fault.code == "setting_not_allowed":
        return "only" in fault.detail
    if fault.code in ("too_long", "template_too_long"):
        return str(LONGEST_SOURCE) in fault.detail or str(s.most) in fault.detail
    return s.kind not in ALLOWED or re.search(ALLOWED[s.kind], fault.detail) is not None


def wrong() -> Iterator[tuple[str, str, Any]]:
    """What no setting of its kind takes; of each kind of JSON that is not its own something."""
    for name, kind in TYPES.items():
        for s in kind.settings:
            yield from ((name, s.name, value) for value in WRONG.get(s.kind, ()))


@pytest.mark.parametrize(("name", "setting", "value"), list(wrong()), ids=lambda part: str(part)[:30])
def test_what_a_setting_does_not_take_is_answered_with_what_it_takes(name: str, setting: str, value: Any) -> None:
    found = faults(name, {**least_of(name), setting: value}, setting)
    assert found
    assert [fault.detail for fault in found if not says_what_is_allowed(setting_of(name, setting), fault)] == []
    assert [fault.detail for fault in found if not re.fullmatch(r"[A-Z\"'`\w<{\[].*[.?]", fault.detail, re.DOTALL)] == []


REQUIRED = [(name, s.name) for name, kind in TYPES.items() for s in kind.settings if s.required]


@pytest.mark.parametrize(("name", "setting"), REQUIRED)
@pytest.mark.parametrize("left_out", [True, False], ids=["left out", "null"])
def test_a_setting_that_is_required_is_asked_for(name: str, setting: str, left_out: bool) -> None:
    settings = {key: value for key, value in least_of(name).items() if key != setting} | ({} if left_out else {setting: None})
    [found] = faults(name, settings, setting)
    assert found.code == "setting_required" and setting in found.detail
    assert says_what_is_allowed(setting_of(name, setting), found), found.detail


@pytest.mark.parametrize("name", TYPES)
def test_a_setting_that_there_is_not_is_answered_with_those_that_there_are(name: str) -> None:
    [found] = faults(name, {**least_of(name), "nonsense": 1}, "nonsense")
    assert found.code == "setting_unknown"
    assert all(s.name in found.detail for s in TYPES[name].settings)


# ------------------------------------------------------------------------------------------------ what is not there

GONE: dict[str, list[tuple[Any, str, str]]] = {
    "person": [("user:404", "unknown_user", "42")],
    "people": [(["user:404"], "unknown_user", "42")],
    "recipients": [
        ("user:404", "unknown_user", "42"),
        ("role:cook", "unknown_role", "finance"),
        (["role:cook"], "unknown_role", "finance"),
    ],
    "pipeline": [("gone", "unknown_pipeline", "installation"), ("closed", "target_missing", "installation")],
    "details_template": [("gone", "unknown_template", "person"), ("firm", "template_of_other_owner_type", "company")],
    "variable": [("gone", "unknown_variable", "street"), ("limit", "constant_by_rule", "street")],
    "room": [("small", "unknown_room", "big")],
    "files": [(["4711"], "unknown_file", "/v1/files")],
    "endpoint": [(id_of(name), "unknown_endpoint", id_of("endpoint")) for name in ("gone", "stream")],
    "scope": [("created_by:sales/new#gone", "wrong_type", "created_by:<pipeline>")],
    "deadline": [
        ({"at": "deal.uf.gone", "time": "14:00"}, "unknown_path", "deal"),
        ({"after": "deal.title"}, "anchor_not_a_date", "uf.meeting"),
    ],
}
"""By kind: a name, the code with which it is refused, and a word of what there is instead."""


def references() -> Iterator[tuple[str, str, Any, str, str]]:
    for name, kind in TYPES.items():
        for s in kind.settings:
            yield from ((name, s.name, *case) for case in GONE.get(s.kind, ()))


@pytest.mark.parametrize(("name", "setting", "value", "code", "instead"), list(references()), ids=lambda part: str(part)[:30])
def test_a_name_that_means_nothing_is_answered_with_what_there_is(name: str, setting: str, value: Any, code: str, instead: str) -> None:
    found = faults(name, {**least_of(name), setting: value}, setting)
    assert [fault.code for fault in found] == [code]
    assert instead in found[0].detail, found[0].detail


STAGES = [
    ("copy_deal", "initial_stage", "gone", "unknown_stage", "planning"),
    ("copy_deal", "initial_stage", ["new"], "wrong_type", "code of a stage"),
    ("change_stage", "stage", "gone", "unknown_stage", "new"),
    ("change_stage", "stage", "installation/planning", "stage_of_other_pipeline", "copy_deal"),
    ("change_details", "fields", {"shoe_size": "44"}, "unknown_field", "iban"),
    ("change_field", "fields", {"shoe_size": "44"}, "unknown_field", "title"),
]


@pytest.mark.parametrize(("name", "setting", "value", "code", "instead"), STAGES, ids=lambda part: str(part)[:30])
def test_names_that_mean_something_beside_other_settings(name: str, setting: str, value: Any, code: str, instead: str) -> None:
    found = faults(name, {**least_of(name), setting: value}, setting)
    assert code in [fault.code for fault in found]
    assert instead in next(fault.detail for fault in found if fault.code == code)


def test_of_many_names_only_some_are_said() -> None:
    rooms = {f"room-{n}": str(n) for n in range(500)}
    [found] = [f for f in checked("plan_activity", settings={"room": "x"}, names={"rooms": rooms}).findings if f.code == "unknown_room"]
    assert "and 490 more" in found.detail and len(found.detail) < 300
    [near] = [f for f in checked("plan_activity", settings={"room": "rom-7"}, names={"rooms": rooms}).findings if f.code == "unknown_room"]
    assert "did you mean room-7" in near.detail
    nothing = checked("plan_activity", settings={"room": "x"}, names={"rooms": {}}).findings
    assert [fault.detail for fault in nothing if fault.code == "unknown_room"] == ["There is no room x; there is none yet."]


# ------------------------------------------------------------------------------------------------ texts with placeholders

TEXTS = [(name, s.name) for name, kind in TYPES.items() if isinstance(kind, RuleType) for s in kind.settings if s.template]
BROKEN = [
    ("{{deal.gone}}", "unknown_path", "deal"),
    ("{{deal.tilte}}", "unknown_path", "title"),
    ("{{var.gone}}", "unknown_variable", "street"),
    ("{{const.gone}}", "unknown_constant", "limit"),
    ("{{steps.gone.url}}", "unknown_output", "link"),
    ("{{steps.link.gone}}", "unknown_output", "url"),
    ("{{deal.title | shout}}", "unknown_filter", "upcase"),
    ("{{deal.title", "bad_template", "closed"),
    ("{% if deal.title %}x", "bad_template", "endif"),
    ("{% include 'x' %}", "bad_template", "if, unless, for"),
    ("{% assign x = 1 %}{{x}}", "bad_template", "if, unless, for"),
    ("{{deal.title}}" + "x" * LONGEST_SOURCE, "template_too_long", str(LONGEST_SOURCE)),
]


@pytest.mark.parametrize(("name", "setting"), TEXTS)
@pytest.mark.parametrize(("text", "code", "instead"), BROKEN, ids=[text[:24] for text, _, _ in BROKEN])
def test_a_text_that_cannot_be_filled_is_refused_when_it_is_saved(name: str, setting: str, text: str, code: str, instead: str) -> None:
    settings, pointer = {**least_of(name), setting: text}, setting
    if isinstance(least_of(name).get(setting), dict):
        field = next(iter(least_of(name)[setting]))
        settings, pointer = {**least_of(name), setting: {field: text}}, f"{setting}/{field}"
    found = faults(name, settings, pointer)
    assert code in [fault.code for fault in found]
    assert instead in next(fault.detail for fault in found if fault.code == code)


# ------------------------------------------------------------------------------------------------ what does not go together

FORBIDDEN = [
    ("create_payment_link", {"auto_create": False}, "order_id", "setting_required", "auto_create"),
    ("create_payment_link", {"order_id": "5"}, "order_id", "setting_not_allowed", "auto_create"),
    ("create_from", {"targets": ["quote"], "issue": True}, "issue", "setting_not_allowed", "invoice"),
    ("create_from", {"targets": ["deal"]}, "targets", "target_not_offered", "quote, invoice, sign_document"),
    ("copy_deal", {"pipeline": "sales", "initial_stage": "won"}, "initial_stage", "target_is_own_stage", "own stage"),
    ("copy_deal", {"pipeline": "sales", "initial_stage": "old"}, "initial_stage", "target_missing", "new, won"),
    ("change_details", {"fields": {"city": "Ulm"}, "address_type": None}, "address_type", "address_type_missing", "delivery"),
    ("change_details", {"element": "company"}, "template", "template_of_other_owner_type", "company"),
    ("get_details", {"element": "company"}, "template", "template_of_other_owner_type", "company"),
    ("change_stage", {"stage": "won"}, "stage", "target_is_own_stage", "already"),
]


@pytest.mark.parametrize(("name", "settings", "setting", "code", "instead"), FORBIDDEN, ids=lambda part: str(part)[:40])
def test_settings_that_do_not_go_together(name: str, settings: dict[str, Any], setting: str, code: str, instead: str) -> None:
    found = faults(name, {**least_of(name), **settings}, setting)
    assert code in [fault.code for fault in found]
    assert instead in next(fault.detail for fault in found if fault.code == code)


def test_whatever_the_catalogue_forbids_together_is_tried_here() -> None:
    assert {name for name, kind in RULE_TYPES.items() if kind.together} <= {name for name, *_ in FORBIDDEN}


def test_a_stage_of_its_own_is_not_the_first_either() -> None:
    """`first` may be the stage that the rule stands on (D41)."""
    names = {"pipelines": {**NAMES.pipelines, "sales": (*NAMES.pipelines["sales"][:3], {"won": (WON.stage_id, False)})}}
    found = checked("copy_deal", settings={"pipeline": "sales"}, names=names).findings
    assert ("/settings/initial_stage", "target_is_own_stage") in [(fault.pointer, fault.code) for fault in found]


def test_nothing_at_all_is_there_for_a_new_tenant() -> None:
    """Each sentence still ends, and names what there is none of."""
    for name in RULE_TYPES:
        for fault in check_rule({"id": "r", "type": name, "settings": least_of(name)}, WON, Names(), (), (), paths_of).findings:
            assert fault.detail.endswith((".", "?")) and "there are ." not in fault.detail, fault
