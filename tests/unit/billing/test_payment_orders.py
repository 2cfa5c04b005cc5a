"""The twelve payment orders and the further cases, as far as billing decides them (scenarios.md section 2)."""

from __future__ import annotations

from services.billing.desk import asks
from shared.contracts import billing
from tests.unit.billing.books import ANNA, PERSON, Books, id_of, line, with_invoice


def due(books: Books, invoice: str = "I") -> tuple[str, str]:
    i = books.invoice(invoice)
    return i.status, f"{i.amount_due / 100:.2f}"


def test_order_1_paid_in_full() -> None:
    books = with_invoice()

    books.pay("p1", "100.00")

    paid = books.last(billing.InvoicePaid)
    assert books.count(billing.InvoicePaid) == 1
    assert (paid.epoch, paid.held_before.amount, paid.number, paid.total.amount) == (1, "0.00", "RE-2026-0001", "100.00")
    assert (paid.deal_id, paid.deal_responsible_id, paid.payment_ids) == (id_of("D"), ANNA, (books.payment("p1").id,))
    assert due(books) == ("paid", "0.00")
    assert (books.payment("p1").status, books.payment("p1").unapplied) == ("allocated", 0)


def test_order_2_delivered_three_times() -> None:
    """D23"""
    books = with_invoice()

    said = [books.pay("p1", "100.00") for _ in range(3)]

    assert [len(each) for each in said] == [2, 0, 0]
    assert (books.count(billing.PaymentReceived), books.count(billing.InvoicePaid)) == (1, 1)
    assert due(books) == ("paid", "0.00")


def test_order_3_two_parts() -> None:
    """D24, D25"""
    books = with_invoice()

    books.pay("p1", "40.00")
    partly = books.last(billing.InvoicePartiallyPaid)
    assert (partly.held_before.amount, partly.held.amount, partly.amount_due.amount) == ("0.00", "40.00", "60.00")
    assert (due(books), books.count(billing.InvoicePaid)) == (("partially_paid", "60.00"), 0)

    books.pay("p2", "60.00")

    assert books.count(billing.InvoicePaid) == 1
    assert books.last(billing.InvoicePaid).held_before.amount == "40.00"
    assert due(books) == ("paid", "0.00")
    assert [books.payment(p).status for p in ("p1", "p2")] == ["allocated", "allocated"]


def test_order_4_the_later_part_first() -> None:
    """D24"""
    books = with_invoice()

    books.pay("p2", "60.00")
    assert due(books) == ("partially_paid", "40.00")
    books.pay("p1", "40.00")

    assert books.last(billing.InvoicePaid).payment_ids == (books.payment("p2").id, books.payment("p1").id)
    assert books.count(billing.InvoicePaid) == 1
    assert due(books) == ("paid", "0.00")


def test_order_5_paid_twice() -> None:
    """D26"""
    books = with_invoice()

    books.pay("p1", "100.00")
    said = books.pay("p2", "100.00")

    over = books.last(billing.OverpaymentRecorded)
    assert [type(each) for each in said] == [billing.PaymentReceived, billing.OverpaymentRecorded]
    assert (over.amount.amount, over.invoice_id, over.payment_id) == ("100.00", id_of("I"), books.payment("p2").id)
    assert books.count(billing.InvoicePaid) == 1
    assert (books.payment("p2").status, books.payment("p2").credit) == ("unallocated", 10000)
    assert due(books) == ("paid", "0.00")


def test_order_6_paid_too_much() -> None:
    """D26"""
    books = with_invoice()

    books.pay("p1", "150.00")

    p1 = books.payment("p1")
    assert (p1.status, p1.allocations[0].amount, p1.credit) == ("partly_allocated", 10000, 5000)
    assert books.last(billing.OverpaymentRecorded).amount.amount == "50.00"
    assert (due(books), books.count(billing.InvoicePaid)) == (("paid", "0.00"), 1)


def test_order_7_full_refund() -> None:
    """D27"""
    books = with_invoice()
    books.pay("p1", "100.00")

    books.refund("p1", "100.00")

    back = books.last(billing.InvoiceRefunded)
    assert (books.count(billing.InvoiceRefunded), back.epoch, back.refunded.amount) == (1, 1, "100.00")
    assert back.deal_responsible_id == ANNA
    assert (books.last(billing.PaymentRefunded).epoch_closed, books.count(billing.InvoiceReopened)) == (1, 0)
    assert (due(books), books.invoice("I").kept) == (("refunded", "100.00"), 0)
    assert (books.payment("p1").status, books.payment("p1").kept) == ("refunded", 0)


def test_order_8_paid_refunded_paid_again() -> None:
    """D28"""
    books = with_invoice()
    books.pay("p1", "100.00")
    books.refund("p1", "100.00")

    books.pay("p2", "100.00")

    again = books.last(billing.InvoicePaid)
    assert (books.count(billing.InvoicePaid), again.epoch, again.held_before.amount) == (2, 2, "0.00")
    assert again.payment_ids == (books.payment("p2").id,)
    assert (due(books), books.payment("p2").status) == (("paid", "0.00"), "allocated")


def test_order_9_partial_refund_stays_paid() -> None:
    """D27"""
    books = with_invoice()
    books.pay("p1", "100.00")

    said = books.refund("p1", "30.00")

    assert [type(each) for each in said] == [billing.PaymentRefunded]
    assert said[0].epoch_closed is None  # type: ignore[attr-defined]
    assert (due(books), books.invoice("I").refunded) == (("paid", "0.00"), 3000)
    assert (books.payment("p1").status, books.count(billing.InvoicePaid)) == ("partly_refunded", 1)


def test_order_10_two_invoices_of_one_deal() -> None:
    books = with_invoice()
    books.draft("J", line("50.00"), issue=True)

    books.pay("p1", "100.00")
    assert books.last(billing.InvoicePaid).other_unpaid == (id_of("J"),)
    books.pay("p2", "50.00", to="J")

    assert books.count(billing.InvoicePaid) == 2
    assert (books.last(billing.InvoicePaid).invoice_id, books.last(billing.InvoicePaid).epoch) == (id_of("J"), 1)
    assert books.last(billing.InvoicePaid).other_unpaid == ()
    assert (due(books), due(books, "J")) == (("paid", "0.00"), ("paid", "0.00"))


def test_order_11_money_for_a_cancelled_invoice() -> None:
    """D31"""
    books = with_invoice()
    books.cancel("I")

    books.pay("p1", "100.00")

    lost = books.last(billing.PaymentUnallocated)
    assert (lost.reason, lost.amount.amount, lost.deal_responsible_id) == ("target_cancelled", "100.00", ANNA)
    assert (books.count(billing.InvoicePaid), books.invoice("I").status) == (0, "cancelled")
    assert books.payment("p1").status == "unallocated"


def test_order_12_another_currency() -> None:
    """D32"""
    books = with_invoice()

    books.pay("p1", "100.00", currency="USD")

    lost = books.last(billing.PaymentUnallocated)
    assert (lost.reason, lost.amount.amount, lost.amount.currency) == ("currency_differs", "100.00", "USD")
    assert (due(books), books.count(billing.InvoicePaid)) == (("issued", "100.00"), 0)


def test_charge_back_reopens() -> None:
    """D29"""
    books = with_invoice()
    books.pay("p1", "100.00")

    books.reverse("p1")

    reopened = books.last(billing.InvoiceReopened)
    assert (reopened.reason, reopened.epoch, reopened.amount_due.amount) == ("reversed", 1, "100.00")
    assert books.last(billing.PaymentReversed).epoch_closed == 1
    assert (due(books), books.payment("p1").status) == (("issued", "100.00"), "reversed")


def test_to_be_paid_again_opens_a_second_epoch() -> None:
    """D27"""
    books = with_invoice()
    books.pay("p1", "100.00")

    books.refund("p1", "30.00", again=True)
    assert (books.last(billing.InvoiceReopened).reason, due(books)) == ("to_be_paid_again", ("partially_paid", "30.00"))
    books.pay("p2", "30.00")

    assert (books.count(billing.InvoicePaid), books.last(billing.InvoicePaid).epoch) == (2, 2)
    assert books.last(billing.InvoicePaid).payment_ids == (books.payment("p1").id, books.payment("p2").id)
    assert due(books) == ("paid", "0.00")


def test_deposits_tell_what_was_held_before() -> None:
    """D25"""
    books = with_invoice()

    for payment, amount in (("p1", "20.00"), ("p2", "20.00"), ("p3", "60.00")):
        books.pay(payment, amount)

    partly = [s for s in books.said if isinstance(s, billing.InvoicePartiallyPaid)]
    assert [(p.held_before.amount, p.held.amount) for p in partly] == [("0.00", "20.00"), ("20.00", "40.00")]
    assert books.count(billing.InvoicePaid) == 1


def test_paid_before_it_is_linked() -> None:
    books = with_invoice()
    books.draft("U", line("10.00"), deal=None, issue=True)
    books.pay("p1", "10.00", to="U")
    assert books.last(billing.InvoicePaid).deal_id is None

    books.ask(asks.link_invoice(books.invoice_card(id_of("U")), id_of("E"), PERSON))

    linked = books.last(billing.InvoiceLinked)
    assert (linked.deal_id, linked.status, linked.epoch, linked.record_key) == (id_of("E"), "paid", 1, id_of("U"))
    assert linked.paid_at == "2026-03-02T08:00:00.000Z"


def test_unknown_target_keeps_the_money() -> None:
    """D31"""
    books = with_invoice()

    books.pay("p1", "100.00", to="nobody-knows")

    assert books.last(billing.PaymentUnallocated).reason == "target_unknown"
    assert books.payment("p1").credit == 10000


def test_the_same_payment_with_another_amount_is_noted_and_not_applied() -> None:
    """D23"""
    books = with_invoice()
    books.pay("p1", "40.00")

    books.pay("p1", "100.00")
    books.pay("p1", "100.00")

    assert books.last(billing.PaymentUnallocated).reason == "amount_differs"
    assert books.count(billing.PaymentUnallocated) == 1
    assert due(books) == ("partially_paid", "60.00")
