"""The pages about rule and trigger types say what the catalogue says, and every text on them is in order."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from services.automation.domain import words
from services.automation.domain.catalogue import ADDRESS_FIELDS, RULE_TYPES, TRIGGER_TYPES
from tests.unit.automation import pages
from tests.unit.automation.pages import DOCS, KINDS, Page, page_of, planned, read

COMING_OUT = {True: "What comes out", False: "What the condition sees"}
ALL = [*sorted(DOCS.rglob("*.md")), DOCS.parent / "README.md"]


def test_every_type_has_a_page_and_every_page_a_type() -> None:
    there = {path for folder in ("rules", "triggers") for path in (DOCS / folder).glob("*.md")}
    assert there - {DOCS / "rules/README.md"} == {page_of(name) for name in KINDS}


@pytest.mark.parametrize("name", KINDS)
def test_a_page_begins_with_what_the_type_is(name: str) -> None:
    page, kind = read(name), KINDS[name]
    assert page.title == kind.label.en
    assert " ".join(page.text.split("\n\n")[1].split()) == pages.facts(kind)


@pytest.mark.parametrize("name", KINDS)
def test_the_settings_of_a_page_are_those_of_the_type(name: str) -> None:
    rows = read(name).table("Settings")
    assert [row[:3] for row in rows] == pages.settings_table(KINDS[name])
    assert all(row[3] for row in rows)


@pytest.mark.parametrize("name", KINDS)
def test_what_comes_out_on_a_page_comes_out_of_the_type(name: str) -> None:
    rows = read(name).table(COMING_OUT[name in RULE_TYPES])
    assert [row[:2] for row in rows] == pages.outputs_table(KINDS[name])


CODE = re.compile(r"`([a-z_]+)(?:\(([a-z_]+|…)\))?`")
SERVICES = "\n".join(path.read_text() for path in (DOCS.parent / "services").rglob("*.py") if path.name != "words.py")


def unknown_words(shown: str) -> list[str]:
    """Of `state` `code` or `state` `refused(code)`: what no explanation ever shows."""
    said = CODE.findall(shown)
    known = {*words.STATES, *words.REASONS, *words.VERDICTS, *words.TRIGGER_ANSWERS, "refused"}
    codes = [code for _, code in said if code not in ("", "…")]
    return [word for word, _ in said if word not in known] + [code for code in codes if f'"{code}"' not in SERVICES]


TABLES = [*((name, "When it does not work") for name in RULE_TYPES), *((name, "When it does not move") for name in TRIGGER_TYPES)]


@pytest.mark.parametrize(("name", "heading"), TABLES)
def test_what_can_go_wrong_is_named_as_it_is_shown(name: str, heading: str) -> None:
    page = read(name)
    assert page.section(heading).strip()
    assert [row for row in page.table(heading) if unknown_words(row[0]) or not CODE.match(row[0])] == []


INDEX = Page((DOCS / "rules/README.md").read_text())


def _line(name: str, kind: pages.Kind) -> list[str]:
    link = f"[`{name}`]({page_of(name).name if name in RULE_TYPES else f'../triggers/{name}.md'})"
    elements = " and ".join(pages.ELEMENTS[element] for element in kind.element_types)
    return [link, kind.label.en, words.GROUPS[kind.group].en, elements]


def test_the_index_lists_every_type_with_its_page() -> None:
    tables = [pages.rows_of(f"{part}\n") for part in INDEX.text.split("\n\n") if part.startswith(("| rule type", "| trigger type"))]
    assert tables == [[_line(name, kind) for name, kind in kinds.items()] for kinds in (RULE_TYPES, TRIGGER_TYPES)]


@pytest.mark.parametrize("heading", ["What a run can end as", "When a trigger does not move"])
def test_what_all_have_in_common_is_named_as_it_is_shown(heading: str) -> None:
    assert [row for row in INDEX.table(heading) if unknown_words(row[0])] == []


def test_every_reason_stands_on_some_page() -> None:
    """Whatever a run can be shown with, somebody who looks for it finds it."""
    told = "\n".join(path.read_text() for folder in ("rules", "triggers") for path in (DOCS / folder).glob("*.md"))
    shown = {code for code in (*words.REASONS, *words.VERDICTS) if f'"{code}"' in SERVICES}
    assert {code for code in shown if f"`{code}`" not in told and f"`refused({code})`" not in told} == set()


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.relative_to(DOCS.parent).as_posix())
def test_every_text_of_rules_on_a_page_is_in_order(path: Path) -> None:
    text = path.read_text()
    assert [(example, planned(example).findings) for example in Page(text).examples if planned(example).findings] == []


@pytest.mark.parametrize("name", KINDS)
def test_the_example_of_a_page_is_about_its_type(name: str) -> None:
    changes = planned(read(name).examples[0]).changes
    kind = "rule" if name in RULE_TYPES else "trigger"
    assert name in [change["definition"]["type"] for change in changes if change["kind"] == kind]


def test_a_wrong_text_is_found() -> None:
    assert planned("stage: sales/gone\nrules: []\n").findings
    assert unknown_words("`failed` `nonsense`") == ["nonsense"] and unknown_words("`failed` `refused(nonsense)`") == ["nonsense"]


def test_the_parts_of_an_address_are_all_named() -> None:
    row = next(row for row in read("change_details").table("Settings") if row[0] == "`fields`")
    assert [name for name in ADDRESS_FIELDS if f"`{name}`" not in row[3]] == []


def test_every_verdict_stands_on_the_page_about_explanations() -> None:
    told = (DOCS / "concepts/explain.md").read_text()
    verdicts = {name for name in (*words.RULE_ANSWERS, *words.TRIGGER_ANSWERS) if not name.startswith("waiting_")}
    assert {name for name in verdicts if f"`{name}`" not in told} == set()
