"""Lines of the timeline have words in both languages."""

from __future__ import annotations

import string
from typing import Any

import pytest

from services.deals.domain.timeline import KINDS, WORDS, title
from services.deals.replicas import BILLING
from shared.contracts import ALL
from shared.messaging.contract import Contract
from shared.messaging.envelope import Message
from tests.contracts.golden import golden


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
        ("quote_declined", {"number": "AN-1", "reason": "too dear"}, "en", "Quote AN-1 declined: too dear"),
        ("quote_declined", {"number": "AN-1"}, "de", "Angebot AN-1 abgelehnt"),
        ("something_new", {}, "de", "something_new"),
        ("copied", {"name": "{0.__class__}"}, "en", "Copied as {0.__class__}"),
    ],
)
def test_a_line_reads_as_a_sentence(what: str, facts: dict[str, Any], language: str, words: str) -> None:
    assert title(what, facts, language) == words


def test_kinds_differ() -> None:
    assert len(set(KINDS)) == len(KINDS)


TOLD = [contract for contract in ALL if contract.topic == "billing.events" and "deals" in (contract.__doc__ or "").partition("Heard by")[2]]


def test_the_timeline_hears_whatever_billing_says_to_deals() -> None:
    assert set(TOLD) == set(BILLING)


@pytest.mark.parametrize("contract", TOLD, ids=lambda contract: contract.type)
def test_whatever_billing_says_of_a_deal_is_a_line_with_words(contract: type[Contract]) -> None:
    found = golden(contract)
    (row,) = BILLING[contract](Message(found.envelope, contract.read(found.data)))
    assert row["kind"] in KINDS
    assert row["what"] in WORDS
    assert title(row["what"], row["facts"], "en")
