"""What is said to people: the same in both languages, with nothing left to fill in, and about everything that can happen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from string import Formatter
from typing import Any, get_args

import pytest

from services.automation.domain import explain, words
from services.automation.domain.action import Asked
from services.automation.domain.decision import DECISION, REASONS
from services.automation.domain.explain import Reader, in_words
from services.automation.domain.visit import VISIT, RunState
from services.automation.domain.words import Words
from services.scheduler.domain import due


def everything(found: Any = None, name: str = "") -> Iterator[tuple[str, Words]]:
    """Every pair of words with where it stands."""
    if found is None:
        found = {key: value for key, value in vars(words).items() if key.isupper() and not key.startswith("_")}
    if isinstance(found, Words):
        yield name, found
    elif isinstance(found, dict):
        for key, value in found.items():
            yield from everything(value, f"{name}.{key}")
    elif isinstance(found, tuple):
        for n, value in enumerate(found):
            yield from everything(value, f"{name}.{n}")


def names(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


@pytest.mark.parametrize(("name", "pair"), list(everything()), ids=lambda part: part if isinstance(part, str) else "")
def test_both_languages_say_the_same(name: str, pair: Words) -> None:
    assert pair.en.strip() and pair.de.strip()
    assert names(pair.en) == names(pair.de)


def test_everything_that_can_become_of_a_run_has_words() -> None:
    assert words.STATES.keys() == set(get_args(RunState))
    assert {*explain.NAMED, *explain.GUARDS, *explain.SKIPPED_BY_RULE} <= words.REASONS.keys()
    blocked = {f"{reason}_blocked" for reason in ("loop", "depth", "rate", "predecessor", "unresolved")}
    waiting = {f"waiting_{what}" for what in ("timer", "quota", "responsible_hours", "field", "predecessor", "unknown")}
    assert blocked | waiting | {*explain.NAMED, *explain.WORDS_OF_STATE.values()} <= words.RULE_ANSWERS.keys()
    assert set(REASONS) <= words.VERDICTS.keys()


def test_every_event_of_a_visit_and_of_a_decision_is_told() -> None:
    asked = {kind.__name__ for kind in VISIT.events if issubclass(kind, Asked)}
    told = {kind.__name__ for kind in (*VISIT.events, *DECISION.events)} - asked | {"Asked"}
    assert told | {"TimerFired"} == words.HAPPENED.keys()


SENTENCE = re.compile(r'f?"([^"]+\.)"')


def test_every_step_of_the_schedulers_arithmetic_is_said_in_german() -> None:
    source = Path(due.__file__).read_text()
    steps = [s for line in source.splitlines() if "why.append(" in line for s in SENTENCE.findall(line)]
    assert len(steps) > 10
    for step in steps:
        filled = re.sub(r"\{[^}]*%H:%M\}", "09:00", step)
        filled = re.sub(r"\{HORIZON_DAYS\}", "90", filled)
        filled = re.sub(r"\{[^}]*\}", "2026-03-02 09:00:00 Europe/Berlin", filled)
        assert words.in_german(filled) != filled, step


def test_spans_of_time_are_said_in_german_too() -> None:
    after = words.in_german("180 days after: 2026-09-01 09:00:00 Europe/Berlin.")
    assert after == "180 Tage danach: 2026-09-01 09:00:00 Europe/Berlin."
    assert words.in_german("1 working day and 2 hours before: then.") == "1 Arbeitstag und 2 Stunden davor: then."


def test_what_has_no_words_is_shown_as_it_is() -> None:
    assert words.in_german("Something new.") == "Something new."
    assert words.label(words.OUTPUTS, "shoe_size") == Words("shoe_size", "shoe_size")
    assert Reader().field("const.limit") == Words("const.limit", "const.limit")
    assert explain.reason("refused(odd)", "It is odd.") == Words("odd: It is odd.", "odd: It is odd.")


@pytest.mark.parametrize(
    ("timing", "en", "de"),
    [
        (
            {"after": "arrival", "offset": "1d 2h"},
            "1 day and 2 hours after the arrival in the stage",
            "1 Tag und 2 Stunden nach dem Eintritt in die Phase",
        ),
        (
            {"after": None, "offset": "3w", "working_hours": "company"},
            "3 weeks after the end of the rule above, within the company's hours",
            "3 Wochen nach dem Ende der Regel darüber, in den Zeiten des Unternehmens",
        ),
        ({"at": "deal.close_date", "time": "09:00"}, "on End, at 09:00 local time", "am Ende, um 09:00 Uhr Ortszeit"),
    ],
)
def test_times_are_said_as_people_say_them(timing: dict[str, Any], en: str, de: str) -> None:
    assert in_words(timing, Reader(), after_previous=True) == Words(en, de)


@pytest.mark.parametrize(
    ("zone", "en", "de"),
    [
        ("Europe/Berlin", "29 March 2026, 03:30 (Europe/Berlin)", "29. März 2026, 03:30 Uhr (Europe/Berlin)"),
        ("America/New_York", "28 March 2026, 21:30 (America/New_York)", "28. März 2026, 21:30 Uhr (America/New_York)"),
    ],
)
def test_moments_are_said_in_a_zone(zone: str, en: str, de: str) -> None:
    assert Reader(zone).moment("2026-03-29T01:30:00.000Z") == Words(en, de)


def test_a_condition_that_was_not_judged_is_shown_as_it_is_written() -> None:
    condition = {"all": [{"field": "deal.amount", "op": "between", "value": [1, 2]}, {"field": "deal.title", "op": "empty"}]}
    holds, (tree,) = explain.condition_tree(condition, (), Reader())
    assert holds is None and tree["state"] == "open"
    assert [leaf["says"] for leaf in tree["children"]] == ["Amount is between 1 and 2", "Title is empty"]


def test_notes_and_missing_values_are_said() -> None:
    leaf = {"field": "deal.amount", "op": "gt", "value": {"amount": "5", "currency": "USD"}}
    trace = ("deal.amount", "gt", leaf["value"], None, False, "currency_differs")
    _, (shown,) = explain.condition_tree(leaf, (trace,), Reader())
    assert shown["says"] == "Amount is greater than 5 USD: no, it was empty (the currency is another)"
    assert shown["says_de"] == "Betrag ist größer als 5 USD: nein, der Wert war leer (die Währung ist eine andere)"
