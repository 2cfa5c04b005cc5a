"""Payment documents and links: one per deal, F3 what they cover, F4, F5, D34 to D34c, S24, D64."""

from __future__ import annotations

from contextlib import AbstractContextManager
from datetime import timedelta

import pytest

from services.billing.desk import asks
from services.billing.domain.money import Money
from services.billing.domain.origin import Asked, Origin
from services.billing.domain.payment_document import (
    DOCUMENTS,
    CancelDocument,
    DocumentsCommand,
    DocumentsEvent,
    ExpireLink,
    ExpireLinks,
    Link,
    NewDocument,
    PaymentDocuments,
    PaymentLinkCreated,
    PaymentLinkExpired,
    PrepareDocument,
    ReopenLink,
)
from services.billing.domain.series import SERIES
from shared.contracts import billing
from shared.es.addressed import Addressed
from shared.es.errors import NotFound, NotYet, Rejected
from shared.testing.given import Given
from tests.unit.billing.books import NOW, PERSON, TENANT, Books, acme, id_of, line, with_invoice


def refused(code: str) -> AbstractContextManager[object]:
    return pytest.raises(Rejected, check=lambda r: r.code == code)


def order(name: str, number: str | None) -> PrepareDocument:
    new = NewDocument(id_of(name), "Roof 2026", "EUR", 5000, True, (line("50.00"),), None, number)
    return PrepareDocument(id_of("D"), id_of("D"), new, NOW, PERSON)


def prepared(books: Books, name: str, number: str | None) -> None:
    books.ask((Addressed(DOCUMENTS, id_of("D"), order(name, number)),))


def test_a_link_covers_the_deals_newest_open_invoice() -> None:
    books = with_invoice()
    books.draft("J", line("40.00"), issue=True)
    books.pay("p1", "15.00", to="J")

    books.link("L")

    document, created = books.document("D", "L"), books.last(billing.PaymentLinkCreated)
    assert (document.invoice_id, document.amount, document.lines) == (id_of("J"), 2500, books.invoice("J").lines)
    assert (created.amount.amount, created.url, created.deal_id) == ("25.00", "https://pay.test/pay/L", id_of("D"))
    assert created.request_id == id_of("L")
    assert books.last(billing.PaymentDocumentCreated).request_id is None


def test_a_link_issues_the_draft_it_covers() -> None:
    books = acme()
    books.draft("I", line("100.00"))

    books.link("L")

    assert [type(s).__name__ for s in books.said[1:]] == ["InvoiceIssued", "PaymentDocumentCreated", "PaymentLinkCreated"]
    assert books.document("D", "L").invoice_id == id_of("I")


def test_without_an_invoice_or_with_covers_deal_it_shows_the_deals_own_lines() -> None:
    books = with_invoice()

    books.link("L", covers_deal=True, lines=(line("77.00"),))

    document = books.document("D", "L")
    assert (document.invoice_id, document.amount) == (None, 7700)


def test_an_invoice_in_another_currency_is_not_covered() -> None:
    books = acme()
    books.draft("I", line(), currency="CHF")

    books.link("L", lines=(line("77.00"),))

    assert (books.document("D", "L").invoice_id, books.invoice("I").status) == (None, "draft")


def test_one_payment_document_per_deal() -> None:
    """D34"""
    books = acme()
    books.link("L")

    with refused("payment_document_exists"):
        books.link("M")
    with refused("payment_document_exists"):
        books.link("M", lines=(), amount=0)
    assert books.link("L") == []
    assert books.count(billing.PaymentLinkCreated) == 1


def test_a_refused_link_issues_nothing() -> None:
    books = acme()
    books.link("L")
    books.draft("I", line())

    with refused("payment_document_exists"):
        books.link("M")
    assert (books.invoice("I").status, books.state(SERIES, "invoice").drawn) == ("draft", 0)


def test_reuse_hands_out_the_same_url() -> None:
    """D34"""
    books = acme()
    books.link("L")

    said = books.link("M", reuse_existing=True)

    assert [type(s) for s in said] == [billing.PaymentLinkHandedOut]
    assert (said[0].url, said[0].reused, said[0].request_id) == ("https://pay.test/pay/L", True, id_of("M"))  # type: ignore[attr-defined]
    assert said[0].payment_document_id == id_of("L")  # type: ignore[attr-defined]


def test_reuse_of_what_is_paid_or_expired_is_refused() -> None:
    """D34"""
    books = acme()
    books.link("L")
    books.pay("p1", "100.00", on="L")

    with refused("payment_document_exists"):
        books.link("M", reuse_existing=True)


def test_a_person_may_ask_for_money_again() -> None:
    books = acme()
    books.link("L")

    books.link("M", additional=True, asked=PERSON, lines=(line("30.00"),))

    assert [d.status for d in books.documents("D").documents] == ["open", "open"]


def test_nothing_to_pay() -> None:
    """D34c"""
    books = acme()

    with refused("nothing_to_pay"):
        books.link("L", lines=(), amount=0)
    assert books.documents("D").documents == ()


def test_a_link_for_a_named_invoice_without_a_deal() -> None:
    books = acme()
    books.draft("U", line("10.00"), deal=None)

    books.link("L", deal=None, invoice="U")

    created = books.last(billing.PaymentLinkCreated)
    assert (created.invoice_id, created.deal_id, created.record_key) == (id_of("U"), None, id_of("U"))
    books.pay("p1", "10.00", on="L")
    assert (books.invoice("U").status, books.count(billing.PaymentDocumentPaid)) == ("paid", 1)
    with pytest.raises(NotFound):
        books.link("M", deal=None, invoice="unknown")


def test_a_link_for_a_paid_or_cancelled_invoice() -> None:
    books = with_invoice()
    books.pay("p1", "100.00")
    with refused("nothing_to_pay"):
        books.link("L", invoice="I")
    books.draft("J", line())
    books.cancel("J")
    with refused("invoice_cancelled"):
        books.link("M", invoice="J")


def test_the_link_of_a_prepared_order() -> None:
    books = acme()
    prepared(books, "O", "4711")

    books.link("L", auto_create=False, order_id="4711")

    created = books.last(billing.PaymentLinkCreated)
    assert (created.payment_document_id, created.amount.amount, created.request_id) == (id_of("O"), "50.00", id_of("L"))
    assert books.link("L", auto_create=False, order_id="4711") == []
    with refused("payment_document_exists"):
        books.link("M", auto_create=False, order_id="4711")
    said = books.link("M", auto_create=False, order_id="4711", reuse_existing=True)
    assert [type(s) for s in said] == [billing.PaymentLinkHandedOut]
    with refused("order_not_found"):
        books.link("N", auto_create=False, order_id="9")
    with refused("order_not_found"):
        books.link("N", auto_create=False)


def test_one_document_per_order_number() -> None:
    books = acme()
    prepared(books, "O", "1")
    prepared(books, "P", "2")

    with refused("order_taken"):
        prepared(books, "Q", "1")
    with refused("payment_document_exists"):
        books.link("L")


def test_paying_on_the_link_pays_the_invoice_and_the_document() -> None:
    books = with_invoice()
    books.link("L")

    said = books.pay("p1", "100.00", on="L")

    assert [type(s).__name__ for s in said] == ["PaymentReceived", "InvoicePaid", "PaymentDocumentPaid"]
    received = books.last(billing.PaymentReceived)
    assert (received.invoice_id, received.payment_document_id, received.deal_id) == (id_of("I"), id_of("L"), id_of("D"))
    assert books.document("D", "L").status == "paid"


def test_partly_paid_on_the_link() -> None:
    books = with_invoice()
    books.link("L")

    books.pay("p1", "40.00", on="L")
    books.pay("p1", "40.00", on="L")

    document = books.document("D", "L")
    assert (document.status, document.remaining, document.captured) == ("partially_paid", 6000, 4000)
    books.pay("p2", "100.00", on="L")
    assert books.last(billing.OverpaymentRecorded).amount.amount == "40.00"
    assert books.document("D", "L").captured == 10000


def test_an_invoice_paid_by_transfer_settles_its_link() -> None:
    books = with_invoice()
    books.link("L")

    books.pay("b1", "100.00", provider="manual")

    assert (books.document("D", "L").status, books.document("D", "L").captured) == ("paid", 0)
    books.pay("p1", "100.00", on="L")
    assert (books.last(billing.OverpaymentRecorded).amount.amount, books.count(billing.InvoicePaid)) == ("100.00", 1)


def test_a_link_takes_no_more_than_its_own_amount() -> None:
    books = with_invoice()
    books.pay("p1", "40.00")
    books.link("L")
    books.refund("p1", "40.00")

    books.pay("p2", "100.00", on="L")

    assert (books.document("D", "L").captured, books.payment("p2").credit) == (6000, 4000)
    assert books.invoice("I").amount_due == 4000


@pytest.mark.parametrize(("end", "reason"), [("expire", "target_expired"), ("cancel", "target_cancelled")])
def test_what_arrives_on_a_link_that_is_over_is_kept(end: str, reason: str) -> None:
    books = with_invoice()
    books.link("L")
    over = ExpireLink(id_of("L"), None, PERSON) if end == "expire" else CancelDocument(id_of("L"), False, "", PERSON)
    books.ask((Addressed(DOCUMENTS, id_of("D"), over),))

    books.pay("p1", "100.00", on="L")

    assert (books.last(billing.PaymentUnallocated).reason, books.invoice("I").status) == (reason, "issued")


def test_money_above_a_document_without_invoice_is_unallocated() -> None:
    books = acme()
    books.link("L")

    books.pay("p1", "150.00", on="L")

    lost = books.last(billing.PaymentUnallocated)
    assert (lost.reason, lost.amount.amount, books.payment("p1").prepaid) == ("more_than_due", "50.00", 10000)


def test_unknown_documents() -> None:
    books = acme()
    money = Money(100, "EUR")
    incoming = asks.Incoming(TENANT, "fake", "p1", money, NOW, None, None, id_of("nowhere"))

    books.ask(asks.pay(incoming, asks.Target()))

    assert books.last(billing.PaymentUnallocated).reason == "target_unknown"


def test_cancelling_an_invoice_cancels_what_asks_for_its_money() -> None:
    books = with_invoice()
    books.link("L")

    books.cancel("I")

    assert books.document("D", "L").status == "cancelled"
    assert books.last(billing.PaymentDocumentCancelled).payment_document_id == id_of("L")


def with_link(expires_at: bool = False) -> Given[PaymentDocuments, DocumentsCommand, DocumentsEvent]:
    books = acme()
    books.link("L", expires_at=NOW + timedelta(days=30) if expires_at else None)
    return Given(DOCUMENTS, books.documents("D"))


def test_a_link_expires_once_and_only_that_link() -> None:
    open_link = with_link()
    open_link.when(ExpireLink(id_of("L"), "another hash", PERSON)).nothing_happens()
    expired = open_link.when(ExpireLink(id_of("L"), "hash of L", PERSON)).then(PaymentLinkExpired(id_of("L"), PERSON))
    Given(DOCUMENTS, expired).when(ExpireLink(id_of("L"), "hash of L", PERSON)).nothing_happens()
    open_link.when(ExpireLinks(PERSON)).then(PaymentLinkExpired(id_of("L"), PERSON))
    Given(DOCUMENTS, expired).when(ExpireLinks(PERSON)).nothing_happens()
    open_link.when(ExpireLink(id_of("M"), None, PERSON)).refused("not_found")


def test_reopening_gives_a_new_token() -> None:
    fresh = Link("new hash", "https://pay.test/pay/new", None)
    expired = with_link().when(ExpireLink(id_of("L"), None, PERSON)).state
    Given(DOCUMENTS, expired).when(ReopenLink(id_of("L"), fresh, PERSON)).then(PaymentLinkCreated(id_of("L"), fresh, PERSON))


def test_what_was_paid_on_is_not_cancelled_or_reopened() -> None:
    books = acme()
    books.link("L")
    books.pay("p1", "100.00", on="L")
    paid = Given(DOCUMENTS, books.documents("D"))

    paid.when(CancelDocument(id_of("L"), True, "", PERSON)).refused("has_been_touched")
    paid.when(CancelDocument(id_of("L"), False, "", PERSON)).refused("document_paid")
    paid.when(ReopenLink(id_of("L"), Link("h", "u", None), PERSON)).refused("document_paid")


def test_a_cancelled_document_is_over_and_no_longer_in_the_way() -> None:
    books = acme()
    books.link("L")
    books.ask((Addressed(DOCUMENTS, id_of("D"), CancelDocument(id_of("L"), True, "", PERSON)),))

    with refused("document_over"):
        books.ask((Addressed(DOCUMENTS, id_of("D"), CancelDocument(id_of("L"), True, "", PERSON)),))
    with refused("document_over"):
        books.ask((Addressed(DOCUMENTS, id_of("D"), ReopenLink(id_of("L"), Link("h", "u", None), PERSON)),))
    books.link("M")
    assert books.document("D", "M").status == "open"


def test_the_end_of_a_link_is_due_when_it_expires() -> None:
    books = acme()
    books.link("L", expires_at=NOW + timedelta(days=30))

    assert [(e.kind, e.due_at, e.request["document_id"]) for e in books.effects] == [("link_expiry", NOW + timedelta(days=30), id_of("L"))]


def test_an_invoice_that_came_after_the_view_was_read_is_waited_for() -> None:
    books = with_invoice()
    own = NewDocument(id_of("L"), "Roof 2026", "EUR", 100, True, ())
    wish = asks.Wish(TENANT, id_of("D"), None, own, Link("h", "u", None), Asked(Origin("rule"), id_of("L")))

    with pytest.raises(NotYet):
        books.ask(asks.create_link(wish, None, []))
