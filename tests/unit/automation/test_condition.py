"""Conditions: every operator on every type, traces that leave nothing out, and no input that makes them fail (rule-format 5)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from services.automation.domain.card import Scope
from services.automation.domain.condition import OPERATORS, culprit, evaluate, leaves_of, parsed, sentence
from services.automation.domain.fields import STANDARD
from tests.unit.automation.made import ANNA, BEN, NOW, card

CUSTOM = {
    "uf.text": "text",
    "uf.number": "number",
    "uf.money": "money",
    "uf.flag": "bool",
    "uf.day": "date",
    "uf.at": "datetime",
    "uf.select": "select",
    "uf.user": "user",
    "uf.list": "list",
    "uf.none": "text",
}
VALUES: dict[str, Any] = {
    "text": "Roof Tiles",
    "number": "12.50",
    "money": {"amount": "50.00", "currency": "USD"},
    "flag": True,
    "day": "2026-03-10",
    "at": "2026-03-02T07:00:00.000Z",
    "select": "gold",
    "user": ANNA,
    "list": ["a", "b"],
}
KINDS = STANDARD | CUSTOM


def scope(now: datetime = NOW, **more: Any) -> Scope:
    return Scope(card(fields={"custom": VALUES}), now, **more)


def holds(field: str, op: str, value: Any = None, **more: Any) -> bool:
    node = parsed({"field": field, "op": op, "value": value}, KINDS, {"user:42": ANNA, "user:7": BEN})
    return evaluate(node, scope(**more)).holds


@pytest.mark.parametrize(
    ("field", "op", "value", "expected"),
    [
        ("deal.uf.text", "eq", "Roof Tiles", True),
        ("deal.uf.text", "eq", "roof tiles", False),
        ("deal.uf.text", "ne", "x", True),
        ("deal.uf.text", "contains", "TILE", True),
        ("deal.uf.text", "not_contains", "tile", False),
        ("deal.uf.text", "starts_with", "roof", True),
        ("deal.uf.text", "ends_with", "TILES", True),
        ("deal.uf.text", "in", ["x", "Roof Tiles"], True),
        ("deal.uf.text", "not_in", ["x"], True),
        ("deal.uf.text", "empty", None, False),
        ("deal.uf.text", "not_empty", None, True),
        ("deal.uf.number", "eq", "12.5", True),
        ("deal.uf.number", "gt", 12, True),
        ("deal.uf.number", "gte", 12.5, True),
        ("deal.uf.number", "lt", "12.50", False),
        ("deal.uf.number", "lte", "12.50", True),
        ("deal.uf.number", "between", [12.5, 20], True),
        ("deal.uf.number", "in", ["1", "12.50"], True),
        ("deal.amount", "eq", 100, True),
        ("deal.amount", "gt", {"amount": "50.00", "currency": "EUR"}, True),
        ("deal.amount", "gt", {"amount": "50.00", "currency": "USD"}, False),
        ("deal.uf.money", "eq", 50, True),
        ("deal.uf.money", "eq", {"amount": "50.00", "currency": "USD"}, True),
        ("deal.uf.money", "between", [{"amount": "1", "currency": "USD"}, {"amount": "60", "currency": "USD"}], True),
        ("deal.uf.flag", "eq", True, True),
        ("deal.uf.flag", "ne", False, True),
        ("deal.uf.day", "eq", "2026-03-10", True),
        ("deal.uf.day", "before", "2026-03-11", True),
        ("deal.uf.day", "after", "2026-03-10", False),
        ("deal.uf.day", "on_or_before", "2026-03-10", True),
        ("deal.uf.day", "on_or_after", "2026-03-10", True),
        ("deal.uf.day", "between", ["2026-03-01", "2026-03-10"], True),
        ("deal.uf.day", "within_next", "8d", True),
        ("deal.uf.day", "within_next", "7d", False),
        ("deal.uf.day", "within_next", "1mo", True),
        ("deal.uf.at", "within_last", "1h", True),
        ("deal.uf.at", "within_last", "59min", False),
        ("deal.uf.at", "before", "2026-03-02T08:30:00+01:00", True),
        ("deal.uf.select", "in", ["silver", "gold"], True),
        ("deal.stage", "eq", "payment-expected", True),
        ("deal.pipeline", "eq", "sales", True),
        ("deal.responsible", "eq", "user:42", True),
        ("deal.uf.user", "in", ["user:7"], False),
        ("deal.uf.user", "in_department", "sales", True),
        ("deal.uf.list", "contains", "b", True),
        ("deal.uf.list", "contains_any", ["x", "a"], True),
        ("deal.uf.list", "contains_all", ["a", "x"], False),
        ("deal.uf.list", "count_eq", 2, True),
        ("deal.uf.list", "count_gte", 3, False),
        ("deal.uf.list", "count_lte", 2, True),
        ("contact.email", "ends_with", "@example.org", True),
        ("deal.contact.uf.city", "eq", "Bremen", True),
        ("company.name", "contains", "gmbh", True),
        ("responsible.code", "eq", "42", True),
        ("deal.invoices.open_count", "eq", 0, True),
        ("now.weekday", "eq", "mon", True),
        ("now.weekday", "not_in", ["sat", "sun"], True),
        ("now.time", "between", ["08:00", "10:00"], True),
        ("now.time", "between", ["22:00", "06:00"], False),
        ("now.date", "eq", "2026-03-02", True),
        ("now.working_time", "eq", True, True),
    ],
)
def test_an_operator_on_a_field(field: str, op: str, value: Any, expected: bool) -> None:
    assert holds(field, op, value) is expected


@pytest.mark.parametrize("op", sorted({op for operators in OPERATORS.values() for op in operators}))
def test_a_missing_value_makes_every_comparison_false_but_four(op: str) -> None:
    kind = next(kind for kind, operators in OPERATORS.items() if op in operators)
    value: Any = {"between": ["1", "2"], "in": ["1"], "not_in": ["1"], "contains_any": ["1"], "contains_all": ["1"]}.get(op, "1")
    node = parsed({"field": "deal.uf.nothing", "op": op, "value": value}, {"uf.nothing": kind})
    assert evaluate(node, scope()).holds is (op in ("ne", "not_in", "not_contains", "empty"))


def test_a_night_wraps_around_midnight() -> None:
    late = datetime(2026, 3, 2, 22, 30, tzinfo=UTC)
    assert holds("now.time", "between", ["22:00", "06:00"], now=late)


def test_another_currency_is_noted() -> None:
    node = parsed({"field": "deal.amount", "op": "gt", "value": {"amount": "1", "currency": "USD"}}, KINDS)
    (leaf,) = evaluate(node, scope()).trace
    assert leaf[4:] == (False, "currency_differs")


def test_changed_compares_with_the_arrival() -> None:
    assert holds("deal.amount", "changed", remembered={"amount": "90.00"})
    assert not holds("deal.amount", "changed", remembered={"amount": "100.00"})
    assert holds("deal.uf.none", "changed", remembered={"uf.none": "was there"})


def test_a_literal_may_be_a_placeholder() -> None:
    node = parsed({"field": "deal.amount", "op": "gt", "value": "{{const.limit}}"}, KINDS)
    assert evaluate(node, scope(), lambda template: "50").holds
    judged = evaluate(node, scope(), lambda template: "many")
    assert not judged.holds and judged.trace[0][5] == "literal_missing"


def test_every_leaf_is_in_the_trace_and_none_is_skipped() -> None:
    tree = {
        "any": [
            {"field": "deal.uf.flag", "op": "eq", "value": True},
            {"all": [{"field": "deal.uf.number", "op": "gt", "value": 1}, {"not": {"field": "deal.uf.text", "op": "empty"}}]},
        ]
    }
    judged = evaluate(parsed(tree, KINDS), scope())
    assert judged.holds and [leaf[0] for leaf in judged.trace] == ["deal.uf.flag", "deal.uf.number", "deal.uf.text"]


@pytest.mark.parametrize(("tree", "expected"), [({"all": []}, True), ({"any": []}, False), ({"not": {"any": []}}, True)])
def test_empty_groups(tree: Any, expected: bool) -> None:
    assert evaluate(parsed(tree, KINDS), scope()).holds is expected


@pytest.mark.parametrize(
    ("tree", "path"),
    [
        ({"all": [{"field": "deal.uf.flag", "op": "eq", "value": True}, {"field": "deal.title", "op": "eq", "value": "x"}]}, "deal.title"),
        ({"not": {"field": "deal.uf.flag", "op": "eq", "value": True}}, "deal.uf.flag"),
        ({"all": [{"not": {"any": [{"field": "deal.uf.flag", "op": "eq", "value": True}]}}]}, "deal.uf.flag"),
    ],
)
def test_the_failing_leaf_is_named(tree: Any, path: str) -> None:
    node = parsed(tree, KINDS)
    assert node is not None
    judged = evaluate(node, scope())
    found = culprit(node, judged.trace)
    assert not judged.holds and found is not None and found[0] == path
    assert path in sentence(found)


def test_a_field_is_read_once_for_all_rules() -> None:
    seen = scope()
    node = parsed({"all": [{"field": "deal.uf.text", "op": "contains", "value": letter} for letter in "roft"]}, KINDS)
    evaluate(node, seen)
    assert list(seen.memo) == ["text uf.text"]


def test_outputs_are_read_anew_for_every_run() -> None:
    node = parsed({"field": "steps.link.reused", "op": "eq", "value": True}, {"steps.link.reused": "bool"})
    base = scope()
    assert evaluate(node, base.for_run("a", lambda key: {"reused": True})).holds
    assert not evaluate(node, base.for_run("b", lambda key: {"reused": False})).holds


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10) | st.text(max_size=5) | st.sampled_from(["2026-03-01", "1d", "50", "user:42"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["amount", "currency", "x"]), inner, max_size=2),
    max_leaves=4,
)


@for_all(st.sampled_from(sorted(CUSTOM)), st.data(), anything, anything)
def test_no_value_and_no_literal_makes_it_fail(path: str, data: Any, value: Any, found: Any) -> None:
    op = data.draw(st.sampled_from(sorted(OPERATORS[CUSTOM[path]])))
    node = parsed({"field": f"deal.{path}", "op": op, "value": value}, KINDS, {"user:42": ANNA})
    assert node is not None
    custom = {"custom": {path.partition(".")[2]: found}}
    seen = Scope(card(fields=custom), NOW)
    judged = evaluate(node, seen)
    assert len(judged.trace) == len(leaves_of(node)) == 1
    assert judged == evaluate(node, Scope(card(fields=custom), NOW))
