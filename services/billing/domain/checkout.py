"""Checkout: one visit to the built-in test payment provider. What it owes the shop as webhooks survives a restart.

It stands in for the outside: it knows an amount and a reference, never an invoice's state, and reports as a real provider
does, late, twice or out of order if one of its switches says so (ecosystem 2.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal, assert_never

from services.billing.domain.money import Money
from shared.es.aggregate import Aggregate
from shared.es.errors import NotFound, Rejected

Status = Literal["open", "confirming", "paid", "declined", "abandoned", "refunded", "charged_back"]
Button = Literal["pay", "partial", "excess", "later", "confirm", "decline", "abandon", "refund", "charge_back"]
Kind = Literal["payment.succeeded", "payment.failed", "payment.refunded", "payment.reversed"]
NOTHING = Money(0, "")
IN_HALVES_APART = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class Reported:
    """What a webhook tells. `payment` is the provider's id of the payment, `at` when the money moved."""

    event_id: str
    kind: Kind
    payment: str
    money: Money
    at: datetime


@dataclass(frozen=True, slots=True)
class Checkout:
    id: str = ""
    document_id: str = ""
    title: str = ""
    money: Money = NOTHING
    return_url: str = ""
    language: str = "de"
    status: Status = "open"
    payments: tuple[tuple[str, Money], ...] = ()
    """The provider's payment ids with their amounts."""
    opened_at: datetime | None = None

    @property
    def exists(self) -> bool:
        return self.id != ""

    @property
    def undecided(self) -> bool:
        return self.status in ("open", "confirming")


# --------------------------------------------------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True)
class OpenCheckout:
    checkout_id: str
    document_id: str
    title: str
    money: Money
    return_url: str
    language: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Switches:
    """How the webhook misbehaves. `delay`: seconds before it is sent. `out_of_order`: paid in two halves, the later told first."""

    twice: bool = False
    out_of_order: bool = False
    delay: int = 0
    bad_signature: bool = False


AS_USUAL = Switches()


@dataclass(frozen=True, slots=True)
class Press:
    """`amount` in minor units counts for partial and excess; `minutes` for later."""

    button: Button
    at: datetime
    amount: int = 0
    minutes: int = 0
    switches: Switches = AS_USUAL


# ----------------------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class CheckoutOpened:
    checkout_id: str
    document_id: str
    title: str
    money: Money
    return_url: str
    language: str
    at: datetime


@dataclass(frozen=True, slots=True)
class CheckoutTurned:
    """Something was pressed that moves no money."""

    status: Status


@dataclass(frozen=True, slots=True)
class MoneyMoved:
    """Paid, given back or charged back at the provider."""

    status: Status
    payments: tuple[tuple[str, Money], ...]


@dataclass(frozen=True, slots=True)
class WebhookOwed:
    """Sent until the shop has answered 2xx, not before `due_at`. `copy` tells two deliveries of one report apart."""

    reported: Reported
    due_at: datetime
    copy: int
    bad_signature: bool


CheckoutCommand = OpenCheckout | Press
CheckoutEvent = CheckoutOpened | CheckoutTurned | MoneyMoved | WebhookOwed


# ----------------------------------------------------------------------------------------------------------- decide


def decide(checkout: Checkout, command: CheckoutCommand) -> Sequence[CheckoutEvent]:
    match command:
        case OpenCheckout():
            return [] if checkout.exists else [_opened(command)]
        case Press():
            if not checkout.exists:
                raise NotFound("There is no such checkout.")
            return _press(checkout, command)
        case _:
            assert_never(command)


def _opened(c: OpenCheckout) -> CheckoutOpened:
    return CheckoutOpened(c.checkout_id, c.document_id, c.title, c.money, c.return_url, c.language, c.at)


def _press(checkout: Checkout, c: Press) -> Sequence[CheckoutEvent]:
    if c.button in ("refund", "charge_back"):
        return _take_back(checkout, c)
    if not checkout.undecided:
        raise Rejected("checkout_over", f"This checkout is {checkout.status.replace('_', ' ')} already.")
    match c.button:
        case "decline":
            return [CheckoutTurned("declined"), *_owed(checkout, c, "payment.failed", [(_payment(checkout, 1), checkout.money)])]
        case "abandon":
            return [CheckoutTurned("abandoned")]
        case "confirm":
            return [CheckoutTurned("confirming")]
        case _:
            return _pay(checkout, c)


def _pay(checkout: Checkout, c: Press) -> Sequence[CheckoutEvent]:
    total = c.amount if c.button in ("partial", "excess") else checkout.money.minor
    if total <= 0:
        raise Rejected("bad_amount", "An amount is above zero.", status=422)
    amounts = [total // 2, total - total // 2] if c.switches.out_of_order and total > 1 else [total]
    paid = [(_payment(checkout, n), Money(amount, checkout.money.currency)) for n, amount in enumerate(amounts, 1)]
    return [MoneyMoved("paid", tuple(paid)), *_owed(checkout, c, "payment.succeeded", paid)]


def _take_back(checkout: Checkout, c: Press) -> Sequence[CheckoutEvent]:
    if checkout.status != "paid":
        raise Rejected("checkout_not_paid", "Only what was paid can go back.")
    refunds = c.button == "refund"
    back = list(checkout.payments)
    moved = MoneyMoved("refunded" if refunds else "charged_back", checkout.payments)
    return [moved, *_owed(checkout, c, "payment.refunded" if refunds else "payment.reversed", back)]


def _payment(checkout: Checkout, n: int) -> str:
    return f"fp_{checkout.id}_{n}"


def _owed(checkout: Checkout, c: Press, kind: Kind, payments: Sequence[tuple[str, Money]]) -> list[CheckoutEvent]:
    first = c.at + timedelta(seconds=c.switches.delay, minutes=c.minutes if c.button == "later" else 0)
    copies = (1, 2) if c.switches.twice else (1,)
    owed: list[CheckoutEvent] = []
    for place, (payment, money) in enumerate(payments):
        # Of two halves the first is told last.
        due = first + IN_HALVES_APART * (len(payments) - 1 - place)
        at = first - IN_HALVES_APART * (len(payments) - 1 - place)
        reported = Reported(f"evt_{payment}_{kind.partition('.')[2]}", kind, payment, money, at)
        owed.extend(WebhookOwed(reported, due, copy, c.switches.bad_signature) for copy in copies)
    return owed


# ----------------------------------------------------------------------------------------------------------- evolve


def evolve(checkout: Checkout, event: CheckoutEvent) -> Checkout:
    match event:
        case CheckoutOpened():
            known = (event.checkout_id, event.document_id, event.title, event.money, event.return_url, event.language)
            return Checkout(*known, opened_at=event.at)
        case CheckoutTurned():
            return replace(checkout, status=event.status)
        case MoneyMoved():
            return replace(checkout, status=event.status, payments=event.payments)
        case WebhookOwed():
            return checkout
        case _:
            assert_never(event)


CHECKOUT: Aggregate[Checkout, CheckoutCommand, CheckoutEvent] = Aggregate(
    "checkout", Checkout(), decide, evolve, (CheckoutOpened, CheckoutTurned, MoneyMoved, WebhookOwed)
)
