"""The pure parts of rules as text: written and read again, places of findings, order, differences."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from services.automation.domain.catalogue import RULE_TYPES, TRIGGER_TYPES
from services.automation.domain.definition import complete_rule, complete_trigger
from services.automation.rule_sets.comparing import differences, fingerprint, same, same_version
from services.automation.rule_sets.emitting import as_yaml
from services.automation.rule_sets.planning import positions
from services.automation.rule_sets.reading import Spots, Unreadable, documents_of
from services.automation.rule_sets.writing import Entry, Exported, StageText, in_order, rule_text, text_of, trigger_text

AWKWARD = st.sampled_from(
    [
        "yes",
        "no",
        "~",
        "",
        " ",
        "14:00",
        "2026-01-01",
        "0x1F",
        "1e5",
        "1_000",
        "- a",
        "# c",
        "a: b",
        "a\n",
        "\n a",
        "a\n\n\n",
        "\t",
        "\u2028",
    ]
)
TEXTS = st.one_of(AWKWARD, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20))
NUMBERS = st.one_of(st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
LEAVES = st.one_of(st.none(), st.booleans(), NUMBERS, TEXTS)
VALUES = st.recursive(
    LEAVES, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4)), max_leaves=12
)
MAPS = st.dictionaries(TEXTS, VALUES, min_size=1, max_size=3)

# ------------------------------------------------------------------------------------------------ writing and reading


@settings(max_examples=50)
@given(st.lists(MAPS, min_size=1, max_size=3))
def test_what_is_written_is_read_as_it_was(documents: list[Any]) -> None:
    assert same(documents_of("---\n".join(as_yaml(document) for document in documents)), documents)


@settings(max_examples=50)
@given(st.dictionaries(TEXTS, TEXTS, max_size=5))
def test_texts_are_texts_to_an_older_reader_too(document: dict[str, str]) -> None:
    """YAML 1.1 takes more for numbers, dates and booleans than 1.2."""
    assert yaml.safe_load(as_yaml(document)) == document


@settings(max_examples=50)
@given(MAPS)
def test_the_canonical_form_is_written_the_same_again(document: Any) -> None:
    written = as_yaml(document)
    assert as_yaml(documents_of(written)[0]) == written


def one_stage(*entries: Entry) -> Exported:
    return Exported({}, [StageText("sales/won", "Won\n---\nstage: x", list(entries))])


@settings(max_examples=50)
@given(st.lists(st.tuples(MAPS, TEXTS, st.booleans()), max_size=4))
@example([({"a": "b\nc\n\n\n"}, "", False), ({"a": "b\nc\n\n\n"}, "c\n- d", True), ({"a": "\n"}, "", False)])
def test_what_is_set_aside_never_becomes_part_of_the_text(entries: list[tuple[Any, str, bool]]) -> None:
    found = one_stage(*(Entry(text, reason if aside else None) for text, reason, aside in entries))
    kept = [text for text, _, aside in entries if not aside]
    assert same(documents_of(text_of(found)), [{"stage": "sales/won", "rules": kept}] if kept else [])
    assert same(documents_of(text_of(found)), found.documents)


def test_the_form_is_the_one_of_the_format() -> None:
    rule = {
        "settings": {"body": "Dear {{contact.name}},\n\nyours\n", "to": "{{contact.email}}", "from": "responsible"},
        "timing": {"offset": "180d", "after": "arrival", "time": "14:00"},
        "type": "send_email",
        "name": "Send e-mail to customer",
        "id": "mail",
    }
    assert (
        as_yaml([rule_text(rule, enabled=False)])
        == """\
- id: mail
  type: send_email
  enabled: false
  timing:
    after: arrival
    offset: 180d
    time: "14:00"
  settings:
    body: |
      Dear {{contact.name}},

      yours
    from: responsible
"""
    )


CHANCE = st.dictionaries(st.sampled_from(["execution", "on_exit", "owner", "condition", "timing", "name", "continue_on_failure"]), VALUES)


@settings(max_examples=50)
@given(st.sampled_from(sorted(RULE_TYPES)), CHANCE, st.data())
def test_a_rule_without_its_defaults_is_the_same_rule(rule_type: str, members: dict[str, Any], data: st.DataObject) -> None:
    names = [setting.name for setting in RULE_TYPES[rule_type].settings]
    settings = data.draw(st.dictionaries(st.sampled_from(names), VALUES))
    whole = complete_rule({**members, "id": "r", "type": rule_type, "settings": settings})
    short = rule_text(whole, enabled=True)
    assert same(complete_rule(short), whole)
    assert same_version("rule", whole, complete_rule(documents_of(as_yaml(short))[0]))
    usual = complete_rule({"id": "r", "type": rule_type})
    assert not [name for name in short.keys() - {"id", "type"} if same(short[name], usual[name])]


@settings(max_examples=50)
@given(
    st.sampled_from(sorted(TRIGGER_TYPES)), st.dictionaries(st.sampled_from(["condition", "name", "allow_back", "fallback_user"]), VALUES)
)
def test_a_trigger_without_its_defaults_is_the_same_trigger(trigger_type: str, members: dict[str, Any]) -> None:
    whole = complete_trigger({**members, "id": "t", "type": trigger_type, "target_stage": "sales/won"})
    short = trigger_text(whole, enabled=True)
    assert "target_stage" not in short
    assert same(complete_trigger({**short, "target_stage": "sales/won"}), whole)


@settings(max_examples=50)
@given(VALUES)
def test_bringing_members_in_order_changes_nothing(value: Any) -> None:
    assert same(in_order(value), value)


# ------------------------------------------------------------------------------------------------ places


@settings(max_examples=50)
@given(st.lists(st.dictionaries(st.from_regex(r"[a-z]{2,8}", fullmatch=True), VALUES, min_size=1, max_size=4), min_size=1, max_size=3))
def test_every_member_is_found_where_it_is_written(documents: list[Any]) -> None:
    text = "---\n".join(as_yaml(document) for document in documents)
    spots, lines = Spots(text), text.split("\n")
    for n, name in [(n, name) for n, document in enumerate(documents) for name in document]:
        spot = spots.of(f"#/{n}/{name}")
        assert lines[spot.line - 1][spot.column - 1 :].startswith((f"{name}:", f'"{name}":'))


PLACED = """\
constants: { a: { type: string } }
---
stage: sales/won
rules:
  - id: tell
    type: notify
    settings:
      text: Hello
      to: [responsible, nobody]
"""


@pytest.mark.parametrize(
    ("pointer", "line", "column"),
    [
        ("#/0/constants/a", 1, 14),
        ("#/1/stage", 3, 1),
        ("#/1/rules/0", 5, 5),
        ("#/1/rules/0/settings/text", 8, 7),
        ("#/1/rules/0/settings/to/1", 9, 25),
        ("#/1/rules/0/settings/body", 7, 5),
        ("#/1/rules/0/nothing/below", 5, 5),
        ("#/1/rules/7", 4, 1),
        ("#/9/rules", 1, 1),
        ("#/text", 1, 1),
        ("", 1, 1),
    ],
)
def test_a_pointer_leads_to_its_line_or_to_what_it_would_stand_in(pointer: str, line: int, column: int) -> None:
    assert Spots(PLACED).of(pointer) == (line, column)


def test_a_pointer_leads_into_json_too() -> None:
    text = json.dumps([{"stage": "sales/won"}, {"stage": "sales/new", "rules": [{"id": "a"}]}], indent=1)
    assert Spots(text).of("#/1/rules/0/id") == (9, 5)


@pytest.mark.parametrize(("text", "line"), [("a: 1\nb: &x 1", 2), ("a: 1\nb: *x", 2), ("a:\n  b: !!str 1", 2), ("\na: 1\na: 2", 2)])
def test_what_cannot_be_read_says_where(text: str, line: int) -> None:
    with pytest.raises(Unreadable, match=f"line {line}"):
        documents_of(text)


# ------------------------------------------------------------------------------------------------ order


@settings(max_examples=50)
@given(
    st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 8), st.integers(0, 9))), max_size=8),
    st.sets(st.integers(0, 8)),
)
def test_positions_stand_in_the_order_of_the_text(given_rows: list[tuple[int, int] | None], taken: set[int]) -> None:
    rows: list[dict[str, Any] | None] = [
        None if row is None else {"position": row[0], "id": f"{row[1]}-{n}"} for n, row in enumerate(given_rows)
    ]
    found = positions(rows, taken)
    moved = [row is None or row["position"] != at for row, at in zip(rows, found, strict=True)]
    for n in range(1, len(rows)):
        above, here = rows[n - 1], rows[n]
        tied = found[n - 1] == found[n]
        assert found[n - 1] <= found[n]
        assert not tied or (above is not None and here is not None and not moved[n] and above["id"] < here["id"])
    assert all(at not in taken for at, has_moved in zip(found, moved, strict=True) if has_moved)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(0, 50), st.uuids()), max_size=10))
def test_what_is_in_order_stays_where_it_is(given_rows: list[tuple[int, Any]]) -> None:
    rows = [{"position": at, "id": str(id)} for at, id in sorted(given_rows, key=lambda row: (row[0], str(row[1])))]
    distinct = list({row["id"]: row for row in rows}.values())
    assert positions(distinct, ()) == [row["position"] for row in distinct]


# ------------------------------------------------------------------------------------------------ differences


@settings(max_examples=50)
@given(VALUES, VALUES)
def test_there_is_a_difference_exactly_between_different_values(one: Any, other: Any) -> None:
    assert (differences(one, other) == []) == same(one, other) == (fingerprint(one) == fingerprint(other))
    assert differences(one, one) == []


@settings(max_examples=50)
@given(MAPS, MAPS)
def test_each_difference_says_what_is_there(one: Any, other: Any) -> None:
    for difference in differences(one, other):
        for side, value in (("before", one), ("after", other)):
            assert (side in difference) == _is_there(value, difference["pointer"])
            assert side not in difference or same(difference[side], _at(value, difference["pointer"]))


def _steps(pointer: str) -> list[str]:
    return [part.replace("~1", "/").replace("~0", "~") for part in pointer.split("/")[1:]]


def _at(value: Any, pointer: str) -> Any:
    for step in _steps(pointer):
        value = value[step]
    return value


def _is_there(value: Any, pointer: str) -> bool:
    try:
        _at(value, pointer)
    except (KeyError, TypeError):
        return False
    return True


def test_true_is_not_one() -> None:
    assert differences({"a": 1}, {"a": True}) == [{"pointer": "/a", "before": 1, "after": True}]


def test_being_switched_on_and_a_setting_that_came_later_are_no_new_version() -> None:
    old = {
        name: value for name, value in complete_rule({"id": "r", "type": "notify", "settings": {"text": "x"}}).items() if name != "on_exit"
    }
    del old["settings"]["title"]
    assert same_version("rule", old, complete_rule({"id": "r", "type": "notify", "enabled": False, "settings": {"text": "x"}}))
    assert not same_version("rule", old, complete_rule({"id": "r", "type": "notify", "settings": {"text": "y"}}))
    assert not same_version("rule", None, old)
