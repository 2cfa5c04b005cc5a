"""Placeholders: a closed part of Liquid, the same text for the same facts, limits that hold (rule-format 6, G36, G37, D35)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given as for_all
from hypothesis import strategies as st

from services.automation.domain.card import Scope
from services.automation.domain.visit import Rendered
from services.automation.facts.rendering import TemplateProblem, check, render
from tests.unit.automation.made import ANNA, NOW, card, pipeline

VALUES = {"const.vat": "19", "var.rate": "2", "const.limit": "500", "const.7": "8", "var.house-nr": "9"}


def scope(**changes: Any) -> Scope:
    custom = {
        "city": "Bremen",
        "void": "",
        "many": ["a", "b"],
        "none": [],
        "flag": True,
        "n": "7",
        "day": "2026-03-02",
        "html": "<b>&",
        "huge": "1e999999999",
        "nan": "NaN",
        "empty": "full",
        "total": {"amount": "1234.50", "currency": "USD"},
    }
    facts = card(fields={"custom": custom, "created_by": ANNA}, **changes)
    steps = {"link": {"url": "https://x", "state": "succeeded"}}
    return Scope(facts, NOW, "2026-03-02T07:00:00.000Z", "Mail", lambda key: steps.get(key, {}), values=VALUES)


def filled(template: str, **changes: Any) -> str:
    found = render(template, scope(**changes))
    assert found.error is None, found.error
    return found.text


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("Hello", "Hello"),
        ("{{deal.title}}", "Roof 2026"),
        ("{{ deal.contact.first_name }} {{contact.last_name}}", "Petra Muster"),
        ("{{contact.name}} / {{deal.company.name}}", "Petra Muster / Muster GmbH"),
        ("{{contact.uf.city}}", "Bremen"),
        ("{{deal.uf.city}} {{deal.uf.n}}", "Bremen 7"),
        ("{{deal.amount}} {{deal.currency}}", "100.00 EUR"),
        ("{{const.vat}} {{var.rate}}", "19 2"),
        ("{{steps.link.url}} {{steps.link.state}}", "https://x succeeded"),
        ("{{responsible.name}} {{deal.responsible.code}} {{deal.responsible}}", "Anna 42 Anna"),
        ("{{deal.created_by}}", "Anna"),
        ("{{deal.uf.many}}", "a, b"),
        ("{{deal.uf.many | join: ' + '}} {{deal.uf.many | size}} {{deal.uf.many | first}}", "a + b 2 a"),
        ("{% for x in deal.uf.many %}[{{x}}]{% endfor %}", "[a][b]"),
        ("{% for l in deal.lines %}{{l.name}}: {{l.unit_price}}{% endfor %}", "Roof tiles: 100.00"),
        ("{% if deal.uf.flag %}yes{% else %}no{% endif %}", "yes"),
        ("{% if deal.uf.nothing %}yes{% elsif deal.uf.city == 'Bremen' %}B{% endif %}", "B"),
        ("{% unless deal.uf.nothing %}none{% endunless %}", "none"),
        ("{{deal.uf.flag}}", "ja"),
        ("{{deal.uf.nothing | default: 'Kunde'}}", "Kunde"),
        ("{{deal.uf.void | default: ''}}", ""),
        ("{{deal.title | upcase}} {{deal.title | downcase | capitalize}}", "ROOF 2026 Roof 2026"),
        ("{{deal.title | truncate: 7}} {{deal.title | replace: 'Roof', 'Wall'}}", "Roof... Wall 2026"),
        ("{{deal.title | append: '!' | prepend: '-'}}", "-Roof 2026!"),
        ("{{deal.amount | plus: 1 | times: 2 | minus: 0.5 | divided_by: 3 | round: 2}}", "67.17"),
        ("{{var.rate | plus: 1}}", "3"),
        ("{{deal.amount | money}}", "100,00\xa0€"),
        ("{{deal.uf.total | money}}", "1.234,50\xa0$"),
        ("{{deal.uf.day | date: '%d.%m.%Y'}} {{deal.uf.day | add_days: 30}}", "02.03.2026 2026-04-01"),
        ("{{now | date: '%H:%M'}} {{now.date}} {{now.weekday}}", "09:00 2026-03-02 mon"),
        ("{{deal.uf.day | business_days: 5}}", "2026-03-09"),
        ("{{arrival | date: '%H:%M'}} {{rule.name}}", "08:00 Mail"),
        ("{{deal.stage}} {{deal.pipeline}} {{deal.visit_number}}", "payment-expected sales 2"),
        ("{{const.limit}} {{ deal.uf.empty | default: 'x.limit' }} {{const.7}} {{var.house-nr}}", "500 full 8 9"),
        ("a | required, {{const.limit | required}}, .limit", "a | required, 500, .limit"),
        ("{{const.limit | plus: 0.5}}", "500.5"),
    ],
)
def test_what_a_template_says(template: str, text: str) -> None:
    assert filled(template) == text


def test_the_language_of_the_pipeline() -> None:
    assert filled("{{deal.uf.flag}} {{deal.amount | money}}", pipeline=pipeline(language="en")) == "yes €100.00"


@pytest.mark.parametrize(
    ("template", "missing", "required"),
    [
        ("{{deal.uf.nothing}}", ("deal.uf.nothing",), ()),
        ("{{steps.link.nothing}} {{steps.other.url}}", ("steps.link.nothing", "steps.other.url"), ()),
        ("{{deal.uf.void}} {{deal.uf.none}}", ("deal.uf.void", "deal.uf.none"), ()),
        ("{{deal.uf.nothing | upcase}}", ("deal.uf.nothing",), ()),
        ("{% if deal.uf.nothing %}{{deal.uf.nothing}}{% endif %}", (), ()),
        ("{{deal.uf.nothing | default: 'x'}}", (), ()),
        ("{{deal.uf.nothing | required}}", (), ("deal.uf.nothing",)),
        ("{{deal.title | required}}", (), ()),
        ("{{deal.uf.nothing | date: '%d'}}", ("deal.uf.nothing",), ()),
    ],
)
def test_what_is_missing_is_named(template: str, missing: tuple[str, ...], required: tuple[str, ...]) -> None:
    found = render(template, scope())
    assert (found.missing, found.required, found.error) == (missing, required, None)


@pytest.mark.parametrize(
    "template",
    [
        "{{deal.amount | divided_by: 0}}",
        "{{deal.title | plus: 1}}",
        "{{deal.title | date: '%d'}}",
        "{{deal.title | nonsense}}",
        "{{deal.title",
        "{% assign x = 1 %}",
        "{% include 'x' %}",
        "{% capture x %}{% endcapture %}",
        "{% for x in (1..5000) %}.{% endfor %}",
        "{% for a in (1..900) %}{% for b in (1..900) %}.{% endfor %}{% endfor %}",
        "{{" * 4000,
        "{{" * 4000 + "}}",
        "{{deal.title" + " | replace: 'o', 'oooooooooooooooooooo'" * 9 + "}}",
        "{% for x in (1..31) %}{% for y in (1..31) %}" + "{% if deal.uf.nothing == 'x' %}x{% endif %}" * 60 + "{% endfor %}{% endfor %}",
        "{{deal.uf.huge | plus: 1}}",
        "{{deal.uf.nan | plus: 1}}",
        "x" * 9000 + "{{deal.title}}",
    ],
)
def test_what_cannot_be_filled_is_an_error_and_no_exception(template: str) -> None:
    found = render(template, scope())
    assert found.error and found.text == ""


def test_a_text_has_a_longest_length() -> None:
    long = "{% for x in (1..900) %}" + "y" * 100 + "{% endfor %}"
    assert render(long, scope()).error


def test_deep_nesting_ends() -> None:
    deep = "{% if deal.title %}" * 200 + "x" + "{% endif %}" * 200
    assert render(deep, scope()) == render(deep, scope())


@pytest.mark.parametrize(
    ("template", "code"),
    [
        ("{{deal.title", "bad_template"),
        ("{{deal.title | nonsense}}", "unknown_filter"),
        ("{% assign x = 1 %}", "bad_template"),
        ("{{deal.title}}" + "x" * 9000, "template_too_long"),
    ],
)
def test_what_is_refused_when_saved(template: str, code: str) -> None:
    with pytest.raises(TemplateProblem) as problem:
        list(check(template))
    assert problem.value.code == code


def test_the_paths_a_template_names() -> None:
    template = "{% if deal.uf.flag %}{{contact.email | default: const.limit}}{% endif %}{% for l in deal.lines %}{{l.name}}{% endfor %}"
    assert set(check(template)) == {"deal.uf.flag", "contact.email", "const.limit", "deal.lines"}
    assert set(check("{{deal.lines[0].name}} {{deal['title']}}")) == {"deal.lines", "deal.title"}


@for_all(st.text(max_size=30), st.sampled_from(["{{%s}}", "{%% %s %%}", "{{deal.title | %s}}", "{%% if %s %%}x{%% endif %%}"]))
def test_no_template_makes_it_fail(inner: str, frame: str) -> None:
    found = render(frame % inner, scope())
    assert isinstance(found, Rendered)
    assert found == render(frame % inner, scope())


PRINTABLE = st.characters(exclude_categories=("Cc", "Cs"))


@for_all(st.text(PRINTABLE, max_size=50))
def test_values_are_never_templates(value: str) -> None:
    facts = Scope(card(fields={"title": value}), NOW)
    found = render("[{{deal.title | default: 'none'}}]", facts)
    assert found.text == f"[{value or 'none'}]"
