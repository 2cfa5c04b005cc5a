"""What holds for all of billing: events that can be read back, settings that make sense, pages that escape."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from typing import Any, get_args

import pytest
from pydantic import ValidationError

from services.billing.desk.pages import PayPage, checkout_page, language_of, message_page, pay_page
from services.billing.desk.paper_pages import TEXTS as PAPERS
from services.billing.desk.paper_pages import QuotePage, SignPage, quote_page, sign_page, unknown_page
from services.billing.domain import checkout, invoice, payment, payment_document, quote, series, sign_document
from services.billing.domain.checkout import Checkout
from services.billing.domain.money import Money
from services.billing.domain.origin import BY_ITSELF
from services.billing.domain.payment_document import ExpireLink
from services.billing.handlers import HANDLERS
from services.billing.provider import expire_link
from services.billing.service import SERVICE
from services.billing.settings import BillingSettings, settings
from shared.messaging.effects import Claimed, Performed
from shared.messaging.handling import prepare
from tests.unit.billing.books import NOW, TENANT, line

EVENTS: dict[str, Any] = {
    "invoice": invoice.InvoiceEvent,
    "payment": payment.PaymentEvent,
    "payment-documents": payment_document.DocumentsEvent,
    "number-series": series.SeriesEvent,
    "quote": quote.QuoteEvent,
    "sign-document": sign_document.SignEvent,
    "checkout": checkout.CheckoutEvent,
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    settings.cache_clear()
    yield monkeypatch
    settings.cache_clear()


@pytest.mark.parametrize("name", EVENTS)
def test_every_event_can_be_read_back(name: str) -> None:
    known = next(h.aggregate.events for h in HANDLERS if h.aggregate.name == name)
    assert set(known) == set(get_args(EVENTS[name]))


def test_the_service_is_wired() -> None:
    prepared = prepare(SERVICE)
    assert prepared.topics == ("billing.commands", "deals.events", "scheduler.events")
    assert {kind.name for kind in SERVICE.effects} == {"provider_webhook", "provider_refund", "link_expiry", "quote_expiry", "sign_expiry"}


def test_a_link_ends_whatever_became_of_the_waiting_for_its_end() -> None:
    """Nothing is done outside: its moment has come, also when the process died of it again and again."""
    request = {"documents": "D", "document_id": "L", "token_hash": "h"}
    claimed = Claimed(TENANT, "link_expiry", "k", "payment-documents-D", request, 20, 20, False, "unknown")
    for performed in (Performed("done", {}), Performed("failed", {"code": "no_answer"})):
        told = expire_link(claimed, performed)
        assert (told.id, told.command) == ("D", ExpireLink("L", "h", BY_ITSELF))


def test_settings_of_the_public_address(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DEALWRIGHT_BILLING__PUBLIC_BASE", "https://pay.example.org/")
    assert BillingSettings().base == "https://pay.example.org"
    for wrong in ("pay.example.org", "ftp://pay.example.org", "/pay"):
        with pytest.raises(ValidationError):
            BillingSettings(public_base=wrong)


def test_secrets_are_given_or_derived_but_never_a_default(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("DEALWRIGHT_BILLING__WEBHOOK_SECRETS", "one, two")
    assert BillingSettings().secrets == (b"one", b"two")


def test_pages_escape_what_others_wrote() -> None:
    evil = '<script>alert(1)</script>"onload=x'
    page = PayPage(evil, evil, "EUR", [line(name=evil)], True, (), 10000, 10000, "open", None, f"/pay/{evil}", evil, True)
    hosted = Checkout("c", "d", evil, Money(100, "EUR"), f"https://x/{evil}")
    for html in (pay_page(page, "de"), message_page("expired", "en", evil, evil), checkout_page(hosted, evil, evil, "de", evil)):
        assert "<script>" not in html
        assert '"onload' not in html


QUOTE_PAGE = QuotePage("Acme", "Roof", "AN-1", "Petra", "EUR", [line()], True, (), 10000, date(2026, 4, 1), "open", "/quote/t", "a")
SIGN_PAGE = SignPage("Acme", "Roof", "Petra", "Agreement", "0f" * 32, [("Petra", NOW)], NOW, "open", "/sign/t", "a")


@pytest.mark.parametrize("language", ["de", "en"])
@pytest.mark.parametrize("state", ["open", "signed_by_you", "signed", "accepted", "declined", "expired", "cancelled", "unknown"])
def test_pages_of_papers_escape_and_show_no_more_than_they_should(language: str, state: Any) -> None:
    evil = '<script>alert(1)</script>"onload=x'
    quote = replace(QUOTE_PAGE, seller=evil, title=evil, number=evil, buyer=evil, action=evil, attempt=evil, lines=[line(name=evil)])
    signing = replace(SIGN_PAGE, seller=evil, title=evil, signer=evil, text=evil, file_sha256=evil, signatures=[(evil, NOW)])
    shown = {
        "quote": quote_page(replace(quote, state=state), language) if f"quote/{state}" in PAPERS["en"] else "",
        "sign": sign_page(replace(signing, state=state, action=evil, attempt=evil), language) if f"sign/{state}" in PAPERS["en"] else "",
    }
    for kind, html in shown.items():
        assert "<script>" not in html and '"onload' not in html
        assert ("<form" in html) == (state == "open")
        readable = f"{kind}/{state}" in ("quote/open", "quote/accepted", "sign/open", "sign/signed_by_you", "sign/signed")
        assert ("<table" in html or "<pre" in html) == readable, (kind, state)


def test_pages_of_papers_have_words_in_both_languages_and_say_when_nothing_counts() -> None:
    assert PAPERS["de"].keys() == PAPERS["en"].keys()
    for html in (quote_page(replace(QUOTE_PAGE, test=True), "en"), sign_page(replace(SIGN_PAGE, test=True), "en")):
        assert "TEST" in html
    assert "TEST" not in quote_page(QUOTE_PAGE, "en") + sign_page(SIGN_PAGE, "en")
    assert "data-state=unknown" in unknown_page("quote", "de") + unknown_page("sign", "en")


def test_the_readers_language() -> None:
    assert language_of("de-AT, en;q=0.9", "en") == "de"
    assert language_of("en;q=0.1, de;q=0.05", "de") == "en"
    assert language_of(None, "de") == "de"
    assert language_of("fr", "nl") == "en"
    assert language_of("en;q=nonsense, de", "en") == "de"
