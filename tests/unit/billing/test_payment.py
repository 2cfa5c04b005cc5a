"""Payments: refunds, credit by hand, rates, prepayments; money is conserved whatever happens (D23, D26-D32, F5, I14, I15)."""

from __future__ import annotations

from contextlib import AbstractContextManager
from decimal import Decimal

import pytest
from hypothesis import given as over
from hypothesis import settings
from hypothesis import strategies as st

from services.billing.desk import asks
from services.billing.domain.invoice import Invoice
from services.billing.domain.money import Money
from services.billing.domain.payment import GIVE_BACK, PAYMENT, AskRefund, Payment, RefuseRefund, ReversePayment
from services.billing.provider import PROVIDERS
from shared.contracts import billing
from shared.es.errors import NotFound, NotYet, Rejected
from tests.unit.billing.books import PERSON, TENANT, Books, acme, id_of, line, with_invoice


def refused(code: str) -> AbstractContextManager[object]:
    return pytest.raises(Rejected, check=lambda r: r.code == code)


def by_hand(books: Books, payment: str, invoice: str, amount: str, *, currency: str = "EUR", rate: str | None = None) -> None:
    card = books.invoice_card(id_of(invoice))
    money = Money(int(Decimal(amount).scaleb(2)), currency)
    exact = Decimal(rate) if rate else None
    payment_card = books.payment_card(books.payment(payment).id)
    books.ask(asks.allocate_by_hand(payment_card, card, money, exact, PERSON, books.prepaid(card.deal_id), TENANT))


def test_the_same_report_is_the_same_payment() -> None:
    """D23"""
    assert asks.payment_id_of(TENANT, "fake", "p1") == asks.payment_id_of(TENANT, "fake", "p1")
    assert asks.payment_id_of(TENANT, "fake", "p1") != asks.payment_id_of(TENANT, "manual", "p1")


def test_credit_is_refunded_before_what_is_allocated() -> None:
    books = with_invoice()
    books.pay("p1", "150.00")

    books.refund("p1", "50.00")

    assert (books.payment("p1").credit, books.payment("p1").unapplied, books.payment("p1").refunded) == (0, 5000, 5000)
    assert (books.invoice("I").status, books.invoice("I").refunded) == ("paid", 0)


def test_more_than_is_left_is_not_refunded() -> None:
    books = with_invoice()
    books.pay("p1", "100.00")
    books.refund("p1", "60.00")

    with refused("more_than_paid"):
        books.refund("p1", "40.01", name="r2")
    with refused("currency_differs"):
        PAYMENT.decide(books.payment("p1"), AskRefund(id_of("r3"), Money(1, "USD"), False, "", PERSON))
    with pytest.raises(NotFound):
        PAYMENT.decide(Payment(), AskRefund(id_of("r3"), Money(1, "EUR"), False, "", PERSON))


def test_two_refunds_under_way_never_exceed_the_payment() -> None:
    books = with_invoice()
    books.pay("p1", "100.00")
    card = books.payment_card(books.payment("p1").id)
    books.ask(asks.refund(card, id_of("r1"), Money(6000, "EUR"), False, "", PERSON))

    with refused("more_than_paid"):
        books.ask(asks.refund(card, id_of("r2"), Money(6000, "EUR"), False, "", PERSON))


def test_a_refund_asks_the_provider_once_with_a_stable_reference() -> None:
    books = with_invoice()
    books.pay("p1", "100.00")

    books.refund("p1", "30.00")
    books.ask(asks.settle_refund(asks.MoneyBack(books.payment("p1").id, id_of("r1"), id_of("D"), (id_of("I"),)), 1, True, "re"))

    asked = [e.request for e in books.effects if e.kind == "provider_refund"]
    assert [(a["refund_id"], a["amount"], a["provider_payment_id"]) for a in asked] == [(id_of("r1"), 3000, "p1")]
    assert (books.count(billing.PaymentRefunded), books.invoice("I").refunded) == (1, 3000)


def test_a_refund_that_the_provider_refuses_can_be_asked_again() -> None:
    books = with_invoice()
    books.pay("p1", "100.00")
    card, refund = books.payment_card(books.payment("p1").id), id_of("r1")
    by_rule = type(PERSON)(PERSON.origin, refund)
    books.ask(asks.refund(card, refund, Money(3000, "EUR"), False, "", by_rule))
    pending = books.payment("p1")
    told = PAYMENT.decide(pending, RefuseRefund(refund, "too late"))

    after = PAYMENT.fold(told, pending)
    assert (after.pending, after.refunded) == (0, 0)
    assert PAYMENT.decide(after, AskRefund(refund, Money(3000, "EUR"), False, "", by_rule)) != []
    assert PAYMENT.decide(pending, AskRefund(refund, Money(3000, "EUR"), False, "", by_rule)) == []


def test_money_reported_by_hand_is_given_back_by_hand() -> None:
    books = with_invoice()
    books.pay("b1", "100.00", provider="manual")
    card = books.payment_card(asks.payment_id_of(TENANT, "manual", "b1"))

    books.ask(asks.refund(card, id_of("r1"), Money(10000, "EUR"), False, "", PERSON))

    assert books.effects == []
    assert (books.invoice("I").status, books.count(billing.InvoiceRefunded)) == ("refunded", 1)


def test_a_provider_may_start_a_refund_itself_and_report_out_of_order() -> None:
    books = with_invoice()
    back = asks.MoneyBack(books.payment("p1").id or asks.payment_id_of(TENANT, "fake", "p1"), id_of("theirs"), id_of("D"), ())

    with pytest.raises(NotYet):
        books.ask(asks.settle_refund(back, 10000, False, "re_1"))
    books.pay("p1", "100.00")
    back = asks.MoneyBack(books.payment("p1").id, id_of("theirs"), id_of("D"), (id_of("I"),))
    books.ask(asks.settle_refund(back, 10000, False, "re_1"))
    books.ask(asks.settle_refund(back, 10000, False, "re_1"))

    assert (books.count(billing.InvoiceRefunded), books.payment("p1").status) == (1, "refunded")


def test_reversing_twice() -> None:
    """D29"""
    books = with_invoice()
    books.pay("p1", "100.00")
    books.reverse("p1")

    with refused("payment_reversed"):
        books.reverse("p1", "v2")
    back = asks.MoneyBack(books.payment("p1").id, id_of("v1"), id_of("D"), (id_of("I"),))
    assert books.ask(asks.reverse(back, "again", again_is_refused=False)) == []
    with refused("payment_reversed"):
        PAYMENT.decide(books.payment("p1"), AskRefund(id_of("r"), Money(1, "EUR"), False, "", PERSON))


def test_reversing_part_of_what_paid() -> None:
    """D29"""
    books = with_invoice()
    books.pay("p1", "40.00")
    books.pay("p2", "60.00")

    books.reverse("p1")

    assert (books.invoice("I").status, books.invoice("I").amount_due) == ("partially_paid", 4000)
    assert books.last(billing.PaymentReversed).amount.amount == "40.00"


def test_credit_is_allocated_by_hand() -> None:
    books = with_invoice()
    books.pay("p1", "150.00")
    books.draft("J", line("60.00"))

    by_hand(books, "p1", "J", "50.00")

    assert (books.invoice("J").status, books.invoice("J").amount_due) == ("partially_paid", 1000)
    assert (books.payment("p1").status, books.payment("p1").credit) == ("allocated", 0)
    with refused("more_than_unapplied"):
        by_hand(books, "p1", "J", "1.00")


def test_by_hand_no_more_than_is_due() -> None:
    books = with_invoice()
    books.pay("p1", "300.00")
    books.draft("J", line("60.00"), issue=True)

    with refused("more_than_due"):
        by_hand(books, "p1", "J", "60.01")
    books.cancel("J")
    with refused("invoice_cancelled"):
        by_hand(books, "p1", "J", "1.00")


def test_across_currencies_only_at_a_rate_which_is_kept() -> None:
    """D32"""
    books = with_invoice()
    books.pay("p1", "120.00", currency="USD")

    with refused("currency_differs"):
        by_hand(books, "p1", "I", "110.00", currency="USD")
    by_hand(books, "p1", "I", "110.00", currency="USD", rate="0.9")

    allocation = books.payment("p1").allocations[0]
    assert (allocation.amount, allocation.worth, allocation.rate) == (11000, 9900, Decimal("0.9"))
    assert (books.invoice("I").amount_due, books.payment("p1").credit) == (100, 1000)
    books.refund("p1", "120.00")
    assert (books.invoice("I").kept, books.invoice("I").status) == (0, "refunded")


def test_an_allocation_taken_back_by_hand_reopens() -> None:
    books = with_invoice()
    books.pay("p1", "100.00")

    books.ask(asks.unallocate(books.invoice_card(id_of("I")), books.payment("p1").id, 1, PERSON))

    assert (books.invoice("I").status, books.payment("p1").credit) == ("issued", 10000)
    assert books.last(billing.InvoiceReopened).epoch == 1
    by_hand(books, "p1", "I", "100.00")
    assert (books.invoice("I").epoch, books.payment("p1").credit) == (2, 0)
    with refused("allocation_unknown"):
        books.ask(asks.unallocate(books.invoice_card(id_of("I")), books.payment("p1").id, 1, PERSON))


def test_a_prepayment_goes_to_the_deals_next_issued_invoice_oldest_first() -> None:
    books = acme()
    books.link("L", lines=(line("80.00"),))
    books.pay("p1", "30.00", on="L")
    books.pay("p2", "50.00", on="L")
    assert books.document("D", "L").status == "paid"
    assert [books.payment(p).prepaid for p in ("p1", "p2")] == [3000, 5000]

    books.draft("I", line("60.00"), issue=True)

    paid = books.last(billing.InvoicePaid)
    assert paid.payment_ids == (books.payment("p1").id, books.payment("p2").id)
    assert (books.payment("p1").prepaid, books.payment("p2").prepaid) == (0, 2000)
    assert (books.invoice("I").status, books.invoice("I").held) == ("paid", 6000)

    books.draft("J", line("60.00"), issue=True)
    assert (books.invoice("J").status, books.invoice("J").held, books.payment("p2").prepaid) == ("partially_paid", 2000, 0)
    books.refund("p2", "50.00")
    assert (books.invoice("I").kept, books.invoice("J").kept, books.invoice("J").status) == (3000, 0, "refunded")


def test_a_prepayment_under_refund_does_not_move() -> None:
    books = acme()
    books.link("L", lines=(line("80.00"),))
    books.pay("p1", "80.00", on="L")
    card = books.payment_card(books.payment("p1").id)
    books.ask(asks.refund(card, id_of("r1"), Money(8000, "EUR"), False, "", PERSON))

    books.draft("I", line("60.00"), issue=True)

    assert books.invoice("I").status == "issued"


STEP = st.one_of(
    st.tuples(st.just("pay"), st.integers(1, 4), st.integers(1, 15000), st.sampled_from("IJ")),
    st.tuples(st.just("refund"), st.integers(1, 4), st.integers(1, 15000), st.booleans()),
    st.tuples(st.just("reverse"), st.integers(1, 4), st.just(0), st.just("")),
    st.tuples(st.just("credit"), st.integers(1, 9), st.integers(1, 9000), st.sampled_from("IJ")),
    st.tuples(st.just("cancel"), st.just(0), st.just(0), st.sampled_from("IJ")),
    st.tuples(st.just("by hand"), st.integers(1, 4), st.integers(1, 9000), st.sampled_from("IJ")),
)


def text(minor: int) -> str:
    return f"{minor // 100}.{minor % 100:02}"


def take(books: Books, n: int, step: tuple[str, int, int, object]) -> None:
    what, who, amount, how = step
    payment = f"p{who}"
    match what:
        case "pay":
            books.pay(payment, text(amount), to=str(how))
        case "refund":
            books.refund(payment, text(amount), again=bool(how), name=f"r{n}")
        case "reverse":
            books.reverse(payment, f"v{n}")
        case "credit":
            books.credit(str(how), text(amount), f"c{n}")
        case "cancel":
            books.cancel(str(how))
        case _:
            by_hand(books, payment, str(how), text(amount))


def must_be_sound(books: Books) -> None:
    invoices = [s for s in books.states.values() if isinstance(s, Invoice)]
    payments = [s for s in books.states.values() if isinstance(s, Payment)]
    for i in invoices:
        assert 0 <= i.held <= i.owed
        assert 0 <= i.kept <= max(i.held, 0), "what is kept counts"
        assert i.epoch_open == (not i.cancelled and i.issued and i.held > 0 and i.held >= i.owed), "I14: paid means paid"
    for p in payments:
        assert sum(a.amount for a in p.allocations) + p.unapplied == p.money.minor, "I15: money is conserved"
        assert p.credit >= 0
        assert 0 <= p.refunded <= p.money.minor
    kept = {(h.payment_id, h.n): h.kept for i in invoices for h in i.allocations if h.kept}
    left = {(p.id, a.n): p.left(a) for p in payments if not p.reversed for a in p.allocations if p.left(a)}
    assert kept == left, "the two sides of every allocation agree"
    epochs = [(s.invoice_id, s.epoch) for s in books.said if isinstance(s, billing.InvoicePaid)]
    assert sorted(epochs) == [(i.id, n) for i in sorted(invoices, key=lambda i: i.id) for n in range(1, i.epoch + 1)], "one per epoch"


@settings(max_examples=300, deadline=None)
@over(st.lists(STEP, max_size=12))
def test_whatever_happens_the_books_agree(steps: list[tuple[str, int, int, object]]) -> None:
    books = with_invoice()
    books.draft("J", line("50.00"), issue=True)
    for n, step in enumerate(steps):
        try:
            take(books, n, step)
        except Rejected:
            continue
        except NotYet:
            assert step[0] in ("refund", "reverse"), "only for a payment that was never reported"
        finally:
            must_be_sound(books)


def test_reversal_of_nothing_is_refused() -> None:
    books = with_invoice()
    books.pay("p1", "100.00")
    books.refund("p1", "100.00")

    with refused("more_than_paid"):
        PAYMENT.decide(books.payment("p1"), ReversePayment(id_of("v"), "", None, PERSON))


def test_what_came_without_a_provider_that_gives_back_is_given_back_by_hand() -> None:
    assert frozenset(PROVIDERS) == GIVE_BACK
    books = with_invoice()
    books.pay("b1", "100.00", provider="bank")
    card = books.payment_card(asks.payment_id_of(TENANT, "bank", "b1"))

    books.ask(asks.refund(card, id_of("r1"), Money(4000, "EUR"), True, "", PERSON))

    assert (books.effects, books.invoice("I").status, books.invoice("I").amount_due) == ([], "partially_paid", 4000)
