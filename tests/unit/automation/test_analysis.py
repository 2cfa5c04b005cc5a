"""What is found only when rules and triggers are seen side by side (rule-format 10): each finding, and what must not be one."""

from __future__ import annotations

from typing import Any

import pytest

from services.automation.domain.catalogue import RULE_TYPES
from services.automation.domain.definition import complete_rule, complete_trigger
from services.automation.rule_sets.analysis import Finding, Ground, Line, Placed, analysed

GROUND = Ground(
    {
        "sales": Line("deal", ("new", "talking", "won", "lost"), True),
        "installation": Line("deal", ("planning", "done")),
        "leads": Line("lead", ("fresh", "junk"), True),
    },
    {"deal": {"uf.colour": frozenset(("red", "green"))}, "lead": {}},
)
KINDS = {"kind:uf.colour": "select", "kind:uf.meeting": "date", "kind:uf.tags": "list"}
COPY: dict[str, Any] = {"type": "copy_deal", "settings": {"pipeline": "installation"}}
AMOUNT = "deal.amount"


def rule(key: str, where: str = "sales/new", position: int = 0, **text: Any) -> Placed:
    pipeline, stage = where.split("/")
    definition = complete_rule({"id": key, "type": "notify", **text})
    assert definition["type"] in RULE_TYPES
    return Placed(key, pipeline, stage, position, definition, KINDS)


def trigger(key: str, where: str = "sales/talking", position: int = 0, **text: Any) -> Placed:
    pipeline, stage = where.split("/")
    return Placed(key, pipeline, stage, position, complete_trigger({"id": key, "type": "invoice_paid", **text}), KINDS)


def found(*rules: Placed, triggers: tuple[Placed, ...] = ()) -> list[tuple[str, str, str]]:
    return [(f.id, f.code, f.pointer) for f in analysed(rules, triggers, GROUND)]


def leaf(field: str, op: str, value: Any = None) -> dict[str, Any]:
    return {"field": field, "op": op} | ({} if value is None else {"value": value})


# ------------------------------------------------------------------------------------------------ cycle


def back(**text: Any) -> Placed:
    return rule("back", "installation/planning", type="copy_deal", settings={"pipeline": "sales"}, **text)


def test_two_rules_that_copy_into_each_others_stage_run_in_a_circle() -> None:
    assert found(rule("there", **COPY), back()) == [("back", "cycle", "/settings"), ("there", "cycle", "/settings")]


@pytest.mark.parametrize("guard", [leaf("deal.created_by_copy", "eq", False), leaf(AMOUNT, "gt", 10)])
def test_a_condition_on_copies_or_the_amount_breaks_the_circle(guard: Any) -> None:
    assert found(rule("there", **COPY), back(condition=guard)) == []


def test_no_circle_without_the_way_back() -> None:
    assert found(rule("there", **COPY)) == []
    assert found(rule("there", **COPY), back(enabled=False)) == []
    elsewhere = rule("back", "installation/done", type="copy_deal", settings={"pipeline": "sales"})
    assert found(rule("there", **COPY), elsewhere) == [], "the copy does not arrive where that rule stands"


def test_a_circle_goes_over_leads_and_moves() -> None:
    lead = rule("lead", "sales/won", type="create_recurring_lead", settings={"title": "Again"})
    deal = rule("deal", "leads/fresh", type="create_from", settings={"targets": ["deal"]})
    onward = rule("onward", "sales/new", type="change_stage", settings={"stage": "won"})
    by_path = rule("onward", "sales/new", type="change_stage", settings={"stage": "sales/won"})
    for moves in (onward, by_path):
        assert {id for id, code, _ in found(lead, deal, moves) if code == "cycle"} == {"lead", "deal", "onward"}
    assert found(lead, deal) == []


# ------------------------------------------------------------------------------------------------ never_matches

NEVER: list[Any] = [
    {"all": [leaf("deal.title", "eq", "a"), leaf("deal.title", "eq", "b")]},
    {"all": [leaf("deal.title", "eq", "a"), leaf("deal.title", "ne", "a")]},
    {"all": [leaf("deal.title", "in", ["a", "b"]), leaf("deal.title", "not_in", ["a", "b", "c"])]},
    {"all": [leaf("deal.title", "empty"), leaf("deal.title", "contains", "a")]},
    {"all": [leaf(AMOUNT, "gt", 100), leaf(AMOUNT, "lt", 100)]},
    {"all": [leaf(AMOUNT, "gte", 100), {"all": [leaf(AMOUNT, "lt", 100)]}]},
    {"all": [leaf(AMOUNT, "between", [1, 5]), leaf(AMOUNT, "gt", 5)]},
    {"all": [leaf(AMOUNT, "eq", 7), leaf(AMOUNT, "lt", 5)]},
    {"all": [leaf("deal.uf.meeting", "after", "2026-05-01"), leaf("deal.uf.meeting", "before", "2026-04-01")]},
    {"all": [leaf("deal.created_by_copy", "eq", True), leaf("deal.created_by_copy", "eq", False)]},
    {"all": [leaf("deal.title", "not_empty"), {"any": [leaf("deal.uf.colour", "eq", "blue"), leaf("deal.stage", "eq", "won")]}]},
    leaf("deal.uf.colour", "eq", "blue"),
    leaf("deal.uf.colour", "in", ["blue", "black"]),
    leaf("deal.stage", "eq", "won"),
    leaf("deal.stage", "ne", "new"),
    leaf("deal.pipeline", "eq", "installation"),
    leaf("deal.currency", "eq", "Euro"),
    {"any": []},
]
MAY: list[Any] = [
    None,
    {"all": []},
    {"all": [leaf("deal.title", "eq", "a"), leaf("deal.title", "ne", "b")]},
    {"any": [leaf("deal.title", "eq", "a"), leaf("deal.title", "eq", "b")]},
    {"all": [leaf(AMOUNT, "gte", 100), leaf(AMOUNT, "lte", 100)]},
    {"all": [leaf(AMOUNT, "gt", 1), leaf("deal.title", "eq", "1")]},
    {"all": [leaf(AMOUNT, "gt", "{{const.limit}}"), leaf(AMOUNT, "lt", 1)]},
    {"all": [leaf("deal.title", "ne", "a"), leaf("deal.title", "empty")]},
    {"all": [leaf("deal.title", "changed"), leaf("deal.title", "empty")]},
    {"all": [leaf("deal.uf.tags", "contains", "a"), leaf("deal.uf.tags", "contains", "b")]},
    {"not": {"all": [leaf("deal.title", "eq", "a"), leaf("deal.title", "eq", "b")]}},
    leaf("now.time", "between", ["22:00", "06:00"]),
    leaf("deal.uf.colour", "in", ["blue", "red"]),
    leaf("deal.uf.colour", "ne", "blue"),
    leaf("deal.stage", "eq", "new"),
    leaf("deal.currency", "eq", "CHF"),
]


@pytest.mark.parametrize("condition", NEVER, ids=str)
def test_a_condition_that_can_never_hold_is_found(condition: Any) -> None:
    ((id, code, pointer),) = found(rule("tell", condition=condition))
    assert (id, code) == ("tell", "never_matches") and pointer.startswith("/condition")


@pytest.mark.parametrize("condition", MAY, ids=str)
def test_a_condition_that_may_hold_is_left_alone(condition: Any) -> None:
    assert found(rule("tell", condition=condition)) == []


def test_the_finding_points_at_the_leaf_and_says_what_there_is() -> None:
    (one,) = analysed([rule("tell", condition={"all": [leaf(AMOUNT, "gt", 1), leaf("deal.uf.colour", "eq", "blue")]})], [], GROUND)
    assert one == Finding("tell", "/condition/all/1", "never_matches", "deal.uf.colour can only be green, red here.")


def test_a_rule_that_is_kept_may_look_at_another_stage_and_a_trigger_at_any() -> None:
    assert found(rule("tell", condition=leaf("deal.stage", "eq", "won"), on_exit="keep")) == []
    assert found(triggers=(trigger("paid", condition=leaf("deal.stage", "eq", "new")),)) == []
    assert found(triggers=(trigger("paid", condition=leaf("deal.stage", "eq", "gone")),)) == [("paid", "never_matches", "/condition")]


# ------------------------------------------------------------------------------------------------ two_writers


def writer(key: str, position: int, **text: Any) -> Placed:
    settings = {"variable": "street", "value": key}
    return rule(key, position=position, **{"type": "change_variable", "settings": settings, **text})


def details(key: str, position: int, address_type: str, **fields: str) -> Placed:
    settings = {"element": "contact", "template": "person", "address_type": address_type, "fields": fields}
    return rule(key, position=position, type="change_details", settings=settings)


def test_two_rules_that_write_the_same_without_an_order_are_found() -> None:
    assert found(writer("a", 0), writer("b", 1)) == [("b", "two_writers", "/settings")]
    assert found(writer("a", 0), rule("x", position=1, execution="after_previous"), writer("b", 2))[0][0] == "b"
    fields: Any = {"type": "change_field", "settings": {"fields": {"title": "x"}}}
    assert found(rule("a", **fields), rule("b", position=1, **fields)) == [("b", "two_writers", "/settings")]
    longer: Any = {"type": "change_field", "settings": {"fields": {"deal.title": "x"}}}
    assert found(rule("a", **fields), rule("b", position=1, **longer)) == [("b", "two_writers", "/settings")]
    assert found(details("a", 0, "delivery", city="x"), details("b", 1, "delivery", city="y"))[0][1] == "two_writers"


def test_rules_in_one_chain_on_other_stages_or_for_other_elements_do_not_write_twice() -> None:
    chain = [rule("x", position=1, execution="after_previous"), writer("b", 2, execution="after_previous")]
    assert found(writer("a", 0), *chain) == []
    assert found(writer("a", 0), rule("b", "sales/won", type="change_variable", settings={"variable": "street", "value": "b"})) == []
    assert found(details("a", 0, "delivery", city="x"), details("b", 1, "business", city="y")) == []
    small, large = leaf(AMOUNT, "lt", 100), leaf(AMOUNT, "gte", 100)
    assert found(writer("a", 0, condition=small), writer("b", 1, condition=large)) == []


# ------------------------------------------------------------------------------------------------ the others


@pytest.mark.parametrize(
    ("condition", "wrong"),
    [
        (leaf("deal.uf.meeting", "within_last", "30d"), True),
        ({"all": [leaf(AMOUNT, "gt", 1), leaf("deal.uf.meeting", "before", "{{ now.date }}")]}, True),
        (leaf("deal.uf.meeting", "within_next", "30d"), False),
        ({"any": [leaf("deal.uf.meeting", "within_last", "30d"), leaf(AMOUNT, "gt", 1)]}, False),
        (leaf("deal.begin_date", "within_last", "30d"), False),
    ],
)
def test_due_before_what_the_condition_wants_past(condition: Any, wrong: bool) -> None:
    tell = rule("tell", timing={"before": "deal.uf.meeting", "offset": "1d"}, condition=condition)
    assert found(tell) == ([("tell", "timing_before_possible", "/timing/before")] if wrong else [])
    after = rule("tell", timing={"after": "deal.uf.meeting", "offset": "1d"}, condition=condition)
    assert found(after) == []


def test_nothing_moves_to_the_first_stage_unless_it_may_move_back() -> None:
    assert found(triggers=(trigger("t", "sales/new"),)) == [("t", "unreachable_trigger", "/allow_back")]
    assert found(triggers=(trigger("t", "sales/new", allow_back=True), trigger("u", "sales/talking"))) == []


def test_a_trigger_below_one_that_holds_whenever_it_does_never_wins() -> None:
    dear = leaf(AMOUNT, "gt", 100)
    below = trigger("b", position=1, condition=dear)
    assert found(triggers=(trigger("a"), below)) == [("b", "shadowed_by_condition", "/condition")]
    assert found(triggers=(trigger("a", condition=dear), below)) == [("b", "shadowed_by_condition", "/condition")]
    assert found(triggers=(trigger("a", condition=leaf(AMOUNT, "gt", 500)), below)) == []
    assert found(triggers=(trigger("a", "sales/won"), below)) == []
    assert found(triggers=(trigger("a"), trigger("b", position=1, allow_back=True))) == []
    assert found(triggers=(trigger("a", settings={"scope": "all_open"}), below)) == []
