"""Whatever is in force, its text applied again changes nothing, and on an empty tenant it makes the same (rule-format 1).

Pure: rows are made of a plan as applying it would make them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from typing import Any
from uuid import UUID

from hypothesis import given, settings
from hypothesis import strategies as st

from services.automation.domain.catalogue import EVENT_KINDS
from services.automation.domain.check import WARNINGS
from services.automation.rule_sets.planning import Planned, World, plan_of
from services.automation.rule_sets.reading import documents_of
from services.automation.rule_sets.writing import exported, text_of

Json = dict[str, Any]
STAGES = ("sales/new", "sales/won", "leads/fresh")
NUMBERS = count(1)


def new_id() -> UUID:
    """Later ones come first: nothing may rest on the order of ids."""
    return UUID(int=2**100 - next(NUMBERS))


def pipeline(code: str, element_type: str, *stages: str) -> Json:
    shown = [{"stage_id": f"{code}-{name}", "code": name, "name": name.title(), "retiring": False} for name in stages]
    return {"id": code, "code": code, "archived": False, "element_type": element_type, "owner_id": "olaf", "stages": shown}


EMPTY = World(
    pipelines=[pipeline("sales", "deal", "new", "won"), pipeline("leads", "lead", "fresh")],
    employees=[{"id": "olaf", "code": "1", "active": True, "roles": []}],
    values=[],
    field_sets=[],
    rooms=[],
    files=[],
    rules=[],
    triggers=[],
    app_triggers=[{"path": "phone/call-ended"}],
    endpoints=[{"id": "erp", "purpose": "rule", "state": "active"}],
)

# ------------------------------------------------------------------------------------------------ texts

PLAIN = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="{}%"), min_size=1, max_size=12)
LINES = st.lists(PLAIN, min_size=1, max_size=3).map("\n".join)
TIMES = st.fixed_dictionaries(
    {"after": st.sampled_from(["arrival", "created_at", None]), "offset": st.sampled_from(["5s", "1d 2h", "6mo"])},
    optional={"time": st.just("14:00"), "if_empty": st.sampled_from(["wait", "skip"]), "late_limit": st.just("none")},
)
LEAVES = st.one_of(
    st.fixed_dictionaries({"field": st.just("title"), "op": st.sampled_from(["eq", "contains"]), "value": PLAIN}),
    st.fixed_dictionaries({"field": st.just("amount"), "op": st.just("gt"), "value": st.integers(0, 10**6)}),
)
CONDITIONS = st.recursive(
    LEAVES, lambda c: st.one_of(st.lists(c, max_size=3).map(lambda nodes: {"all": nodes}), c.map(lambda n: {"not": n})), max_leaves=4
)
OUTPUTS = st.lists(
    st.fixed_dictionaries(
        {"type": st.sampled_from(["bool", "double", "user"]), "name": st.from_regex(r"[a-z]{1,3}", fullmatch=True)},
        optional={"required": st.booleans(), "multiple": st.booleans()},
    ),
    max_size=3,
    unique_by=lambda output: str(output["name"]),
)
SETTINGS: dict[str, st.SearchStrategy[Json]] = {
    "notify": LINES.map(lambda text: {"text": text}),
    "change_responsible": st.just({"responsible": "user:1"}),
    "change_field": st.fixed_dictionaries(
        {"fields": st.fixed_dictionaries({"title": PLAIN}, optional={"amount": st.just("12.50")})},
        optional={"empty_values": st.sampled_from(["keep", "clear"])},
    ),
    "call_webhook": st.fixed_dictionaries(
        {"endpoint": st.just("erp")},
        optional={
            "payload": st.dictionaries(PLAIN, LINES, max_size=3),
            "wait": st.booleans(),
            "timeout": st.sampled_from(["24h", "1d 2h"]),
            "outputs": OUTPUTS,
        },
    ),
}


def rule_of(type: str, settings: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    return st.fixed_dictionaries(
        {"id": st.from_regex(r"[a-z][a-z0-9_]{0,4}", fullmatch=True), "type": st.just(type), "settings": settings},
        optional={
            "name": PLAIN,
            "enabled": st.booleans(),
            "condition": st.none() | CONDITIONS,
            "on_exit": st.sampled_from(["cancel", "keep"]),
            "timing": st.just("immediate") | TIMES,
            "owner": st.just("user:1"),
            "continue_on_failure": st.booleans(),
        },
    )


RULES = st.one_of(*(rule_of(type, found) for type, found in SETTINGS.items()))
DECLARED = {
    "event_fields": st.dictionaries(
        st.from_regex(r"[a-z0-9]{1,3}(\.[a-z]{1,3}){0,2}", fullmatch=True), st.sampled_from(EVENT_KINDS), max_size=3
    )
}
OF_TRIGGERS: dict[str, tuple[Json, Json]] = {
    "webhook": ({"code": st.just("shop")}, DECLARED),
    "app": ({"app_code": st.just("phone"), "code": st.just("call-ended")}, DECLARED),
    "external_event": (
        {"event_type": st.sampled_from(["com.example.x", "y"])},
        {"source": PLAIN, "element_path": st.just("order.deal_id"), **DECLARED},
    ),
    "activity_completed": ({}, {"also_automatic": st.booleans()}),
}
"""Settings that are there and those that may be, of the types that leads have too."""


def _trigger(name: str) -> st.SearchStrategy[Json]:
    needed, optional = OF_TRIGGERS[name]
    settings = st.fixed_dictionaries(needed, optional=optional)
    return st.fixed_dictionaries(
        {"id": st.from_regex(r"[a-z]{1,2}", fullmatch=True), "type": st.just(name), "settings": settings},
        optional={"allow_back": st.booleans(), "enabled": st.booleans(), "name": PLAIN},
    )


TRIGGERS = st.sampled_from(sorted(OF_TRIGGERS)).flatmap(_trigger)
LISTS = {
    "rules": st.lists(RULES, max_size=4, unique_by=lambda rule: str(rule["id"])),
    "triggers": st.lists(TRIGGERS, max_size=3, unique_by=lambda trigger: str(trigger["id"])),
}
ONE_STAGE = st.fixed_dictionaries({"stage": st.sampled_from(STAGES)}, optional=LISTS)
VALUES = st.fixed_dictionaries(
    {
        "constants": st.dictionaries(
            st.from_regex(r"[a-z]{1,3}", fullmatch=True), LINES.map(lambda text: {"type": "string", "value": text}), max_size=3
        )
    }
)
TEXTS = st.tuples(VALUES, st.lists(ONE_STAGE, max_size=3, unique_by=lambda document: str(document["stage"])))


# ------------------------------------------------------------------------------------------------ applying


def planned(documents: Sequence[Json], world: World, *, prune: bool = False) -> Planned:
    plan = plan_of(documents, world, None, new_id, prune=prune)
    assert not [finding for finding, _, _ in plan.findings if finding.code not in WARNINGS]
    return plan


def after(plan: Planned, world: World) -> World:
    """As it is when the plan has been applied."""
    rows: dict[str, list[Json]] = {"rule": [], "trigger": [], "constant": []}
    touched = {change["id"] for change in plan.changes}
    for change in plan.changes:
        if change["kind"] in rows and change["change"] != "delete":
            rows[change["kind"]].append(_value(change) if change["kind"] == "constant" else _standing(change))
    kept = {name: [row for row in getattr(world, name) if row["id"] not in touched] for name in ("rules", "triggers", "values")}
    return replace(
        world,
        rules=kept["rules"] + rows["rule"],
        triggers=kept["triggers"] + rows["trigger"],
        values=kept["values"] + rows["constant"],
    )


def _standing(change: Json) -> Json:
    kind, definition = change["kind"], change["definition"]
    names = ("id", "definition", "references", "pipeline_id", "stage_id", "position", "owner_id")
    state = "published" if definition["enabled"] else "disabled"
    about = {f"{kind}_key": change["key"], f"{kind}_version": change["version"] + 1, "state": state, "draft": None, "invalid_code": None}
    return {name: change[name] for name in names} | about


def _value(change: Json) -> Json:
    value = change["value"]
    about = {"value_type": value["type"], "multiple": value["multiple"], "visibility": value["visibility"]}
    return {"id": change["id"], "kind": change["kind"], "code": change["key"], "value": {"is": value["value"]}, **about}


def text_in(world: World) -> str:
    return text_of(exported(world, None, new_id))


def differing(plan: Planned) -> list[Json]:
    return [change for change in plan.changes if change["change"] != "unchanged"]


# ------------------------------------------------------------------------------------------------ round trips


@settings(max_examples=25, deadline=None)
@given(TEXTS)
def test_what_is_in_force_written_and_applied_again_is_no_change(text: tuple[Json, list[Json]]) -> None:
    documents = [text[0], *text[1]]
    world = after(planned(documents, EMPTY), EMPTY)
    written = text_in(world)
    assert differing(planned(documents_of(written), world, prune=True)) == []
    assert differing(planned(documents, world, prune=True)) == []


@settings(max_examples=25, deadline=None)
@given(TEXTS)
def test_an_empty_tenant_becomes_the_same_by_it(text: tuple[Json, list[Json]]) -> None:
    written = text_in(after(planned([text[0], *text[1]], EMPTY), EMPTY))
    assert text_in(after(planned(documents_of(written), EMPTY), EMPTY)) == written


@settings(max_examples=25, deadline=None)
@given(TEXTS, TEXTS)
def test_one_text_after_another_with_prune_leaves_the_stages_of_the_second_as_it_says(
    first: tuple[Json, list[Json]], second: tuple[Json, list[Json]]
) -> None:
    world = after(planned([first[0], *first[1]], EMPTY), EMPTY)
    both = after(planned([second[0], *second[1]], world, prune=True), world)
    assert differing(planned([second[0], *second[1]], both, prune=True)) == []
    alone = documents_of(text_in(after(planned(second[1], EMPTY), EMPTY)))
    there = {document.get("stage"): document for document in documents_of(text_in(both))}
    assert all(there[document["stage"]] == document for document in alone)


@settings(max_examples=25, deadline=None)
@given(TEXTS)
def test_what_was_switched_by_hand_is_written_as_it_is(text: tuple[Json, list[Json]]) -> None:
    world = after(planned([text[0], *text[1]], EMPTY), EMPTY)
    switched = {"published": "disabled", "disabled": "published"}
    rules = [{**row, "state": switched[row["state"]]} for row in world.rules]
    triggers = [{**row, "state": switched[row["state"]]} for row in world.triggers]
    by_hand = replace(world, rules=rules, triggers=triggers)
    assert differing(planned(documents_of(text_in(by_hand)), by_hand, prune=True)) == []


def test_nothing_is_the_text_of_nothing() -> None:
    assert documents_of(text_in(EMPTY)) == [] and planned([], EMPTY).changes == []
