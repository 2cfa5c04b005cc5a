"""Two texts side by side: what is written differently and means the same is no difference."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from dealwright.comparing import changes, within

IDS = st.sampled_from("abcd")
RULES = st.lists(
    st.fixed_dictionaries({"id": IDS, "type": st.just("notify"), "settings": st.fixed_dictionaries({"text": st.sampled_from("xy")})}),
    max_size=4,
    unique_by=lambda rule: str(rule["id"]),
)
TRIGGERS = st.lists(
    st.fixed_dictionaries({"id": IDS, "type": st.just("invoice_paid")}, optional={"target_stage": st.sampled_from(["s/one", "s/two"])}),
    max_size=2,
    unique_by=lambda trigger: trigger["id"],
)
STAGES = st.fixed_dictionaries({"stage": st.sampled_from(["s/one", "s/two"])}, optional={"rules": RULES, "triggers": TRIGGERS})
VALUES = st.fixed_dictionaries(
    {"constants": st.dictionaries(IDS, st.fixed_dictionaries({"type": st.just("string")}, optional={"value": IDS}))}
)
TEXTS = st.lists(st.one_of(STAGES, VALUES), max_size=3, unique_by=lambda document: document.get("stage"))

Json = dict[str, Any]


def kinds(found: list[Json]) -> list[str]:
    return [change["change"] for change in found]


@settings(max_examples=60)
@given(TEXTS)
def test_a_text_does_not_differ_from_itself(text: list[Json]) -> None:
    assert set(kinds(changes(text, text))) <= {"unchanged"}


@settings(max_examples=60)
@given(TEXTS, TEXTS)
def test_backwards_everything_is_the_other_way_round(one: list[Json], other: list[Json]) -> None:
    mirrored = {"create": "delete", "delete": "create", "update": "update", "unchanged": "unchanged"}
    there = {(c["kind"], c.get("stage"), c["key"]): c for c in changes(one, other)}
    back = {(c["kind"], c.get("stage"), c["key"]): c for c in changes(other, one)}
    assert {name: mirrored[c["change"]] for name, c in there.items()} == {name: c["change"] for name, c in back.items()}
    for name, change in there.items():
        turned = [{"pointer": d["pointer"], **_swapped(d)} for d in change["differences"]]
        assert sorted(map(str, turned)) == sorted(str({"pointer": d["pointer"], **_sides(d)}) for d in back[name]["differences"])


def _sides(difference: Json) -> Json:
    return {side: difference[side] for side in ("before", "after") if side in difference}


def _swapped(difference: Json) -> Json:
    return {side: difference[other] for side, other in (("before", "after"), ("after", "before")) if other in difference}


def rules(*texts: Json) -> list[Json]:
    return [{"stage": "sales/won", "rules": list(texts)}]


A, B, C = ({"id": id, "type": "notify", "settings": {"text": "x"}} for id in "abc")


def test_a_default_may_be_written_or_not() -> None:
    long = {**A, "enabled": True, "execution": "parallel", "name": "Add notification", "settings": {"text": "x", "title": None}}
    assert kinds(changes(rules(A), rules(long))) == ["unchanged"]
    assert kinds(changes([{"constants": {"x": {"type": "string"}}}], [{"constants": {"x": {"type": "string", "value": None}}}])) == [
        "unchanged"
    ]


def test_true_differs_from_one() -> None:
    (change,) = changes(rules({**A, "enabled": 1}), rules(A))
    assert change["differences"] == [{"pointer": "/enabled", "before": 1, "after": True}]


def test_order_counts_among_those_in_both() -> None:
    assert kinds(changes(rules(A, B, C), rules(A, C))) == ["unchanged", "delete", "unchanged"]
    assert kinds(changes(rules(A, B), rules(C, A, B))) == ["unchanged", "unchanged", "create"]
    moved = changes(rules(A, B), rules(B, A))
    assert [c["differences"] for c in moved] == [
        [{"pointer": "/position", "before": 0, "after": 1}],
        [{"pointer": "/position", "before": 1, "after": 0}],
    ]


def test_a_trigger_stands_where_it_leads() -> None:
    there = [{"stage": "s/one", "triggers": [{"id": "p", "type": "invoice_paid", "target_stage": "s/two"}]}]
    here = [{"stage": "s/two", "triggers": [{"id": "p", "type": "invoice_paid"}]}]
    assert kinds(changes(there, here)) == ["unchanged"]


def test_only_what_a_text_speaks_of_is_within_it() -> None:
    text: list[Json] = [
        {"constants": {"x": {}}},
        {"stage": "s/one", "triggers": [{"id": "p", "type": "invoice_paid", "target_stage": "s/two"}]},
    ]
    other: list[Json] = [{"constants": {"x": {}, "y": {}}}, *({"stage": f"s/{name}", "rules": [A]} for name in ("one", "two", "three"))]
    found = within(changes(text, other), text)
    assert [(c["kind"], c.get("stage")) for c in found] == [("constant", None), ("trigger", "s/two"), ("rule", "s/one"), ("rule", "s/two")]


def test_what_makes_no_sense_is_compared_all_the_same() -> None:
    odd: list[Json] = [{"stage": 5, "rules": 7, "triggers": [1]}, {"constants": [2], "variables": {"x": 3}}]
    assert kinds(changes(odd, odd)) == ["unchanged"]
    assert kinds(changes(odd, [])) == ["delete"]
