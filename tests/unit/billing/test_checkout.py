"""The test provider's checkout: what its buttons make it report (ecosystem 2.5)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from services.billing.domain.checkout import (
    CHECKOUT,
    Button,
    Checkout,
    CheckoutEvent,
    CheckoutOpened,
    CheckoutTurned,
    MoneyMoved,
    OpenCheckout,
    Press,
    Reported,
    Switches,
    WebhookOwed,
)
from services.billing.domain.money import Money
from shared.testing.given import Outcome, given
from tests.unit.billing.books import NOW

MONEY = Money(10000, "EUR")
OPENED = CheckoutOpened("c1", "d1", "Roof 2026", MONEY, "https://pay.test/pay/t", "de", NOW)
PAID = MoneyMoved("paid", (("fp_c1_1", MONEY),))


def press(button: Button, *before: CheckoutEvent, amount: int = 0, minutes: int = 0, **switches: Any) -> Outcome[Checkout, CheckoutEvent]:
    command = Press(button, NOW, amount, minutes, Switches(**switches))
    return given(CHECKOUT, OPENED, *before).when(command)


def owed(outcome: Outcome[Checkout, CheckoutEvent]) -> list[WebhookOwed]:
    assert outcome.refusal is None
    return [e for e in outcome.events if isinstance(e, WebhookOwed)]


def test_opening_twice_is_opening_once() -> None:
    command = OpenCheckout("c1", "d1", "Roof 2026", MONEY, "https://pay.test/pay/t", "de", NOW)
    given(CHECKOUT).when(command).then(OPENED)
    given(CHECKOUT, OPENED).when(command).nothing_happens()
    given(CHECKOUT).when(Press("pay", NOW)).refused("not_found")


def test_pay_owes_one_webhook() -> None:
    reported = Reported("evt_fp_c1_1_succeeded", "payment.succeeded", "fp_c1_1", MONEY, NOW)
    press("pay").then(PAID, WebhookOwed(reported, NOW, 1, False))


def test_partial_and_excess_take_the_amount_given() -> None:
    assert [w.reported.money.minor for w in owed(press("partial", amount=4000))] == [4000]
    assert [w.reported.money.minor for w in owed(press("excess", amount=15000))] == [15000]
    press("partial", amount=0).refused("bad_amount")


def test_pay_later_and_delay_move_the_moment() -> None:
    assert owed(press("later", minutes=5))[0].due_at == NOW + timedelta(minutes=5)
    assert owed(press("pay", delay=7))[0].due_at == NOW + timedelta(seconds=7)


def test_send_twice_is_the_same_event_twice() -> None:
    first, second = owed(press("pay", twice=True))
    assert first.reported == second.reported
    assert (first.copy, second.copy) == (1, 2)


def test_out_of_order_tells_the_later_half_first() -> None:
    first, second = owed(press("pay", out_of_order=True))
    assert first.reported.money.minor + second.reported.money.minor == 10000
    assert first.due_at > second.due_at
    assert first.reported.at < second.reported.at


def test_decline_abandon_and_confirm_move_no_money() -> None:
    declined = press("decline")
    assert declined.events[0] == CheckoutTurned("declined")
    assert [w.reported.kind for w in owed(declined)] == ["payment.failed"]
    press("abandon").then(CheckoutTurned("abandoned"))
    press("confirm").then(CheckoutTurned("confirming"))
    assert owed(press("pay", CheckoutTurned("confirming")))


@pytest.mark.parametrize("before", [PAID, CheckoutTurned("declined"), CheckoutTurned("abandoned")])
def test_a_checkout_is_decided_once(before: CheckoutEvent) -> None:
    press("pay", before).refused("checkout_over")


def test_refund_and_charge_back_of_what_was_paid() -> None:
    assert [(w.reported.kind, w.reported.payment) for w in owed(press("refund", PAID))] == [("payment.refunded", "fp_c1_1")]
    assert [w.reported.kind for w in owed(press("charge_back", PAID))] == ["payment.reversed"]
    press("refund").refused("checkout_not_paid")


def test_a_bad_signature_is_asked_for() -> None:
    assert owed(press("pay", bad_signature=True))[0].bad_signature
