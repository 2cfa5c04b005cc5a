"""Lines of the timeline have words in both languages."""

from __future__ import annotations

import string
from typing import Any

import pytest

from services.deals.domain.timeline import KINDS, WORDS, title


@pytest.mark.parametrize("what", WORDS)
def test_both_languages_tell_the_same_facts(what: str) -> None:
    german, english = ({name for _, name, _, _ in string.Formatter().parse(text) if name} for text in WORDS[what])

    assert german == english


@pytest.mark.parametrize(
    ("what", "facts", "language", "words"),
    [
        ("moved", {"before": "New", "stage": "Won"}, "de", "Stufe: New -> Won"),
        ("invoice_paid", {"number": "RE-1", "total": {"amount": "5.00", "currency": "EUR"}}, "en", "Invoice RE-1 paid, 5.00 EUR"),
        ("fields_changed", {"fields": ["amount", "title"]}, "en", "Fields changed: amount, title"),
        ("quote_sent", {"number": None}, "en", "Quote sent"),
        ("quote_sent", {}, "fr", "Quote sent"),
        ("something_new", {}, "de", "something_new"),
        ("copied", {"name": "{0.__class__}"}, "en", "Copied as {0.__class__}"),
    ],
)
def test_a_line_reads_as_a_sentence(what: str, facts: dict[str, Any], language: str, words: str) -> None:
    assert title(what, facts, language) == words


def test_kinds_differ() -> None:
    assert len(set(KINDS)) == len(KINDS)
