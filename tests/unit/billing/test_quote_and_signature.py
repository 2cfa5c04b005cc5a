"""Quotes and documents to be signed: made, and taken back (billing.md 2.1, 2.6)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from services.billing.domain.customer import CompanyCard, Customer, DetailsCard, PersonCard, buyer_of
from services.billing.domain.origin import Asked, Origin
from services.billing.domain.provider_event import PROVIDER_EVENT, ProviderEventReceived, ReceiveProviderEvent
from services.billing.domain.quote import QUOTE, CancelQuote, CreateQuote, Quote, QuoteCancelled, QuoteCommand, QuoteEvent
from services.billing.domain.sign_document import (
    SIGN_DOCUMENT,
    CancelSignDocument,
    CreateSignDocument,
    SignCommand,
    SignDocument,
    SignDocumentCancelled,
    SignEvent,
)
from shared.testing.given import Given, given
from tests.unit.billing.books import ANNA, CUSTOMER, NOW, PERSON, id_of, line

RULE = Asked(Origin("rule", id_of("rule")), id_of("Q"))
QUOTING = CreateQuote(id_of("Q"), id_of("D"), "Roof 2026", ANNA, CUSTOMER, "EUR", True, (line(),), 0, date(2026, 4, 1), NOW, RULE)
SIGNING = CreateSignDocument(id_of("S"), id_of("D"), "standard", "Roof 2026", ANNA, CUSTOMER, {"city": "Ulm"}, NOW, RULE)


def quoted() -> Given[Quote, QuoteCommand, QuoteEvent]:
    return Given(QUOTE, given(QUOTE).when(QUOTING).state)


def to_sign() -> Given[SignDocument, SignCommand, SignEvent]:
    return Given(SIGN_DOCUMENT, given(SIGN_DOCUMENT).when(SIGNING).state)


def test_a_quote_is_drafted_once() -> None:
    quote = quoted()
    assert (quote.state.status, quote.state.totals.gross, quote.state.number) == ("draft", 10000, None)
    quote.when(QUOTING).nothing_happens()


def test_a_quote_without_lines_takes_the_amount() -> None:
    bare = replace(QUOTING, lines=(), amount=2500)
    assert given(QUOTE).when(bare).state.totals.gross == 2500
    given(QUOTE).when(replace(bare, amount=0)).refused("nothing_to_quote")


def test_an_open_quote_may_be_a_reason_to_skip() -> None:
    given(QUOTE).when(replace(QUOTING, other_open=(id_of("P"),), skip_if_open_exists=True)).refused("open_exists")
    assert given(QUOTE).when(replace(QUOTING, other_open=(id_of("P"),))).events != ()


def test_a_quote_is_cancelled_once() -> None:
    cancel = CancelQuote(True, "wrong rule", PERSON)
    cancelled = quoted().when(cancel).then(QuoteCancelled("wrong rule", PERSON))
    Given(QUOTE, cancelled).when(cancel).refused("quote_over")
    given(QUOTE).when(cancel).refused("not_found")


def test_a_document_to_be_signed_needs_somebody_to_sign() -> None:
    assert [s.contact_id for s in to_sign().state.signers] == [CUSTOMER.contact_id]
    to_sign().when(SIGNING).nothing_happens()
    given(SIGN_DOCUMENT).when(replace(SIGNING, customer=Customer(None, CUSTOMER.company_id))).refused("no_signer")
    given(SIGN_DOCUMENT).when(replace(SIGNING, template_code="own")).refused("sign_template_unknown")


def test_a_document_to_be_signed_is_cancelled_once() -> None:
    cancel = CancelSignDocument(False, "wrong rule", NOW, PERSON)
    cancelled = to_sign().when(cancel).then(SignDocumentCancelled("wrong rule", NOW, PERSON))
    Given(SIGN_DOCUMENT, cancelled).when(cancel).refused("document_over")
    given(SIGN_DOCUMENT).when(cancel).refused("not_found")


def test_a_provider_event_is_kept_once() -> None:
    command = ReceiveProviderEvent("fake", "evt_1", "payment.succeeded", '{"id": "evt_1"}', NOW)
    received = ProviderEventReceived("fake", "evt_1", "payment.succeeded", '{"id": "evt_1"}', NOW)
    given(PROVIDER_EVENT).when(command).then(received)
    given(PROVIDER_EVENT, received).when(replace(command, raw="altered")).nothing_happens()


def test_the_buyer_is_the_company_and_the_person() -> None:
    person, firm = PersonCard("c", "Petra", "Muster", "petra@example.org"), CompanyCard("f", "Muster GmbH", "")
    other = DetailsCard(False, {"vat_id": "DE9"}, {})
    default = DetailsCard(True, {"vat_id": "DE1", "tax_number": "1/2"}, {"delivery": {"city": "Kiel"}, "business": {"city": ""}})

    buyer = buyer_of(person, firm, [other, default])

    assert (buyer.name, buyer.person, buyer.email, buyer.vat_id) == ("Muster GmbH", "Petra Muster", "petra@example.org", "DE1")
    assert buyer.address.city == "Kiel"
    assert buyer_of(person, None, []).name == "Petra Muster"
    assert buyer_of(None, None, [DetailsCard(True, {"company_name": "Firma"}, {})]).name == "Firma"
    assert buyer_of(None, None, []).name == ""
