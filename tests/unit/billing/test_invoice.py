"""Invoices: drafts, issue, credit, cancellation, undo (billing.md 2.2, D43, D44, D46, F4)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace

import pytest

from services.billing.desk import asks
from services.billing.domain.customer import Customer
from services.billing.domain.invoice import INVOICE, Allocate, ChangeInvoice, InvoiceDraftChanged, Taken
from services.billing.domain.origin import Asked, Origin
from services.billing.domain.series import SERIES
from shared.contracts import billing
from shared.es.errors import NotFound, NotYet, Rejected
from tests.unit.billing.books import PERSON, acme, id_of, line, with_invoice

RULE = Asked(Origin("rule", id_of("rule")), id_of("R"))


def refused(code: str) -> AbstractContextManager[object]:
    return pytest.raises(Rejected, check=lambda r: r.code == code)


def test_a_draft_from_a_deals_lines() -> None:
    books = acme()

    invoice = books.draft("I", line("100.00"))

    created = books.last(billing.InvoiceCreated)
    assert (invoice.status, invoice.number, invoice.totals.net, invoice.totals.tax) == ("draft", None, 8403, 1597)
    assert (created.deal_id, created.title, created.total.amount, created.record_key) == (id_of("D"), "Roof 2026", "100.00", id_of("D"))


def test_without_lines_the_amount_becomes_one_line() -> None:
    """D44"""
    books = acme()

    invoice = books.draft("I", amount=25000)

    assert [(each.name, each.total) for each in invoice.lines] == [("Roof 2026", 25000)]
    with refused("nothing_to_invoice"):
        books.draft("J")


def test_asked_twice_it_is_made_once() -> None:
    books = acme()
    books.draft("I", line(), issue=True, asked=RULE)

    books.draft("I", line(), issue=True, asked=RULE)

    assert (books.count(billing.InvoiceCreated), books.count(billing.InvoiceIssued)) == (1, 1)
    assert books.state(SERIES, "invoice").drawn == 1


def test_only_the_answer_repeats_the_request() -> None:
    books = acme()
    books.draft("I", line(), issue=True, asked=RULE)

    assert books.last(billing.InvoiceCreated).request_id == id_of("R")
    assert books.last(billing.InvoiceIssued).request_id is None
    assert books.last(billing.InvoiceIssued).origin.id == id_of("rule")


def test_other_open_invoices_are_a_warning_or_a_reason_to_skip() -> None:
    books = with_invoice()

    books.draft("J", line())
    assert books.last(billing.InvoiceCreated).other_open == (id_of("I"),)
    with refused("open_exists"):
        books.draft("K", line(), skip_if_open_exists=True)
    books.pay("p1", "100.00")
    books.cancel("J")
    books.draft("K", line(), skip_if_open_exists=True)


def test_issuing_freezes_the_buyer_and_draws_the_next_number() -> None:
    books = acme()
    books.draft("I", line())

    invoice = books.issue("I")

    assert (invoice.status, invoice.number, str(invoice.issue_date)) == ("issued", "RE-2026-0001", "2026-03-02")
    assert invoice.buyer is not None
    assert (invoice.buyer.name, invoice.buyer.person, invoice.buyer.vat_id) == ("Muster GmbH", "Petra Muster", "DE123456789")
    assert (invoice.buyer.address.street, invoice.buyer.address.city) == ("Altweg", "Ulm")
    with refused("invoice_not_draft"):
        books.issue("I")
    assert books.state(SERIES, "invoice").drawn == 1


def test_a_buyer_without_a_name_is_incomplete_and_draws_no_number() -> None:
    books = acme()
    books.draft("I", line(), customer=Customer())

    with refused("buyer_incomplete"):
        books.issue("I")
    assert books.state(SERIES, "invoice").drawn == 0


def test_a_customer_that_billing_has_not_heard_of_yet_is_waited_for() -> None:
    books = acme()
    books.draft("I", line(), customer=Customer(id_of("late contact")))

    with pytest.raises(NotYet):
        books.issue("I")


def test_an_issued_invoice_never_changes() -> None:
    """D46, D69"""
    books = acme()
    draft = books.draft("I", line("100.00"))
    change = ChangeInvoice(PERSON, title="Roof 2027", lines=(line("50.00"),))

    changed = INVOICE.decide(draft, change)[0]
    assert isinstance(changed, InvoiceDraftChanged)
    assert (changed.changed, changed.totals.gross) == (("title", "lines"), 5000)
    assert INVOICE.decide(draft, ChangeInvoice(PERSON, title="Roof 2026")) == []
    with refused("nothing_to_invoice"):
        INVOICE.decide(draft, ChangeInvoice(PERSON, lines=()))
    with refused("invoice_not_draft"):
        INVOICE.decide(books.issue("I"), change)
    with pytest.raises(NotFound):
        INVOICE.decide(INVOICE.initial, change)


def test_a_payment_issues_the_draft_it_is_for() -> None:
    books = acme()
    books.draft("I", line())

    books.pay("p1", "100.00")

    assert [type(s).__name__ for s in books.said[1:]] == ["InvoiceIssued", "PaymentReceived", "InvoicePaid"]
    assert books.invoice("I").status == "paid"


def test_a_draft_that_cannot_be_issued_takes_no_money() -> None:
    books = acme()
    books.draft("I", line(), customer=Customer())

    books.pay("p1", "100.00")

    assert books.last(billing.PaymentUnallocated).reason == "target_not_issued"
    assert (books.invoice("I").status, books.state(SERIES, "invoice").drawn) == ("draft", 0)


def test_an_invoice_takes_no_other_currency_whoever_decided_so() -> None:
    """The last guard of D32: the payment decides, and the invoice does not take its word for it."""
    books = with_invoice()
    dollars = Allocate(Taken("p", 1, 1000), "USD", books.now, PERSON)
    with refused("currency_differs"):
        INVOICE.decide(books.invoice("I"), dollars)
    assert INVOICE.decide(books.invoice("I"), replace(dollars, currency="EUR"))


def test_a_payment_in_another_currency_issues_nothing() -> None:
    books = acme()
    books.draft("I", line())

    books.pay("p1", "100.00", currency="USD")

    assert (books.invoice("I").status, books.last(billing.PaymentUnallocated).reason) == ("draft", "currency_differs")


def test_a_credit_note_over_part_closes_the_gap() -> None:
    books = with_invoice()
    books.pay("p1", "70.00")

    books.credit("I", "30.00")

    note = books.last(billing.CreditNoteIssued)
    assert (note.number, note.total.amount, note.invoice_id) == ("GS-2026-0001", "30.00", id_of("I"))
    paid = books.last(billing.InvoicePaid)
    assert (paid.epoch, paid.held_before.amount) == (1, "70.00")
    assert (books.invoice("I").status, books.invoice("I").amount_due) == ("paid", 0)


def test_credit_on_a_paid_invoice_becomes_customer_credit_from_the_newest_payment() -> None:
    books = with_invoice()
    books.pay("p1", "80.00")
    books.pay("p2", "20.00")

    books.credit("I", "30.00")

    assert [(o.payment_id, o.amount.amount) for o in books.said if isinstance(o, billing.OverpaymentRecorded)] == [
        (books.payment("p1").id, "10.00"),
        (books.payment("p2").id, "20.00"),
    ]
    assert (books.payment("p1").credit, books.payment("p2").credit) == (1000, 2000)
    assert (books.invoice("I").status, books.invoice("I").held, books.count(billing.InvoicePaid)) == ("paid", 7000, 1)


def test_credit_after_a_goodwill_refund_releases_nothing_that_is_gone() -> None:
    books = with_invoice()
    books.pay("p1", "100.00")
    books.refund("p1", "30.00")

    books.credit("I", "30.00")

    assert (books.payment("p1").credit, books.payment("p1").kept, books.invoice("I").kept) == (0, 7000, 7000)
    assert (books.invoice("I").status, books.invoice("I").amount_due) == ("paid", 0)


def test_credited_in_full_without_money_it_is_cancelled() -> None:
    books = with_invoice()

    books.credit("I", "100.00")

    assert (books.invoice("I").status, books.count(billing.InvoicePaid), books.count(billing.InvoiceCancelled)) == ("cancelled", 0, 1)
    with refused("invoice_over"):
        books.credit("I", "1.00", "c2")


def test_more_than_is_left_cannot_be_credited() -> None:
    books = with_invoice()
    books.credit("I", "60.00")

    with refused("more_than_total"):
        books.credit("I", "40.01", "c2")
    with refused("id_taken"):
        books.credit("I", "10.00")
    books.draft("J", line())
    with refused("invoice_not_issued"):
        books.credit("J", "1.00", "c3")
    assert books.state(SERIES, "credit-note").drawn == 1


def test_cancelling_an_issued_invoice_negates_it_and_frees_its_money() -> None:
    books = with_invoice()
    books.pay("p1", "40.00")

    books.cancel("I")

    note, cancelled = books.last(billing.CreditNoteIssued), books.last(billing.InvoiceCancelled)
    assert (note.total.amount, cancelled.credit_note_id) == ("100.00", note.credit_note_id)
    assert (books.last(billing.PaymentUnallocated).reason, books.payment("p1").credit) == ("target_cancelled", 4000)
    with refused("invoice_over"):
        books.cancel("I")
    assert books.state(SERIES, "credit-note").drawn == 1


def test_cancelling_the_rest_after_a_credit_note() -> None:
    books = with_invoice()
    books.credit("I", "30.00")

    books.cancel("I")

    assert books.last(billing.CreditNoteIssued).total.amount == "70.00"


def test_cancelling_a_draft_needs_no_credit_note() -> None:
    books = acme()
    books.draft("I", line())

    books.cancel("I", if_untouched=True)

    assert books.last(billing.InvoiceCancelled).credit_note_id is None
    assert books.count(billing.CreditNoteIssued) == 0


def test_undo_spares_what_somebody_worked_on() -> None:
    books = acme()
    books.draft("I", line(), issue=True, asked=RULE)
    books.draft("J", line(), asked=RULE)
    books.issue("J")
    books.draft("K", line(), asked=RULE, issue=True)
    books.pay("p1", "1.00", to="K")

    for touched in ("J", "K"):
        with refused("has_been_touched"):
            books.cancel(touched, if_untouched=True)
    books.cancel("I", if_untouched=True)
    assert books.count(billing.CreditNoteIssued) == 1


def test_linking() -> None:
    books = acme()
    books.draft("I", line(), deal=None)
    card = books.invoice_card(id_of("I"))

    with refused("deal_unknown"):
        books.ask(asks.link_invoice(card, id_of("no deal"), PERSON))
    books.ask(asks.link_invoice(card, id_of("D"), PERSON))
    with refused("already_linked"):
        books.ask(asks.link_invoice(card, id_of("E"), PERSON))


def test_unknown_invoices_are_refused_as_such() -> None:
    books = acme()

    with pytest.raises(NotFound):
        books.issue("nobody knows it")
    with pytest.raises(NotFound):
        books.cancel("nobody knows it")
    assert books.state(SERIES, "invoice").drawn == 0
