"""Payment: money that came in, where it went, and what went back (billing.md 2.4, D23, D26, D31, D32).

`amount = sum(allocations) + unapplied` always. An allocation is to an invoice, or to a payment document without one (a
prepayment, F5). The payment decides first; the invoice and the document follow in the same item. Where an invoice is in
another currency, `worth` is the allocation in the invoice's minor units at the rate agreed by hand (D32)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Literal, assert_never

from services.billing.domain.customer import NOBODY, Customer
from services.billing.domain.money import Money, half_up
from services.billing.domain.origin import BY_ITSELF, Asked
from shared.es.aggregate import Aggregate
from shared.es.errors import NotFound, Rejected

Status = Literal["allocated", "partly_allocated", "unallocated", "partly_refunded", "refunded", "reversed"]
MORE_THAN_DUE = "more_than_due"
BY_HAND = "manual"
"""The provider of money that people report over HTTP."""
GIVE_BACK = frozenset({"fake"})
"""Providers that are asked to give money back. What came another way is given back by hand, and only noted here."""
NOTHING = Money(0, "")
IN_THE_AIR = ("pending", "unknown")

# ------------------------------------------------------------------------------------------------------------ state


@dataclass(frozen=True, slots=True)
class Allocation:
    """`amount` in the payment's minor units, `worth` in the target's. Exactly one of the ids is set."""

    n: int
    amount: int
    worth: int
    invoice_id: str | None = None
    document_id: str | None = None
    rate: Decimal | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """What went back of one allocation, in the payment's minor units and in the target's."""

    n: int
    amount: int
    worth: int
    invoice_id: str | None = None


@dataclass(frozen=True, slots=True)
class Refund:
    id: str
    amount: int
    to_be_paid_again: bool
    state: Literal["pending", "unknown", "done", "refused"]
    """`unknown`: the provider was asked again and again and never answered; it may have happened, a person finds out."""
    parts: tuple[Part, ...] = ()
    from_credit: int = 0
    asked: Asked = BY_ITSELF
    detail: str = ""

    def worth_of(self, invoice_id: str) -> int:
        """What of it comes out of one invoice, in the invoice's minor units."""
        return sum(part.worth for part in self.parts if part.invoice_id == invoice_id)


@dataclass(frozen=True, slots=True)
class Payment:
    id: str = ""
    record_key: str = ""
    deal_id: str | None = None
    provider: str = ""
    provider_payment_id: str = ""
    money: Money = NOTHING
    paid_at: datetime | None = None
    received_at: datetime | None = None
    payer: str | None = None
    invoice_id: str | None = None
    document_id: str | None = None
    customer: Customer = NOBODY
    allocations: tuple[Allocation, ...] = ()
    drawn: int = 0
    """Highest number an allocation ever had."""
    unapplied_reason: str | None = None
    refunds: tuple[Refund, ...] = ()
    reversed: bool = False
    contradictions: tuple[Money, ...] = ()

    @property
    def exists(self) -> bool:
        return self.id != ""

    @property
    def done_refunds(self) -> tuple[Refund, ...]:
        return tuple(r for r in self.refunds if r.state == "done")

    @property
    def unapplied(self) -> int:
        """What was never allocated, or is no longer, whether or not it went back since."""
        return self.money.minor - sum(a.amount for a in self.allocations)

    @property
    def refunded(self) -> int:
        return sum(r.amount for r in self.done_refunds)

    @property
    def credit(self) -> int:
        """The customer's credit: unapplied and still here."""
        return 0 if self.reversed else self.unapplied - sum(r.from_credit for r in self.done_refunds)

    @property
    def kept(self) -> int:
        """What is still with us."""
        return 0 if self.reversed else self.money.minor - self.refunded

    @property
    def pending(self) -> int:
        """What is going back, or may have gone: it is not to be had for anything else."""
        return sum(r.amount for r in self.refunds if r.state in IN_THE_AIR)

    @property
    def status(self) -> Status:
        if self.reversed:
            return "reversed"
        if self.refunded:
            return "refunded" if self.refunded >= self.money.minor else "partly_refunded"
        if self.unapplied == 0:
            return "allocated"
        return "unallocated" if self.unapplied == self.money.minor else "partly_allocated"

    @property
    def invoices(self) -> tuple[str, ...]:
        """Invoices that have money of it, in order."""
        return tuple(dict.fromkeys(a.invoice_id for a in self.allocations if a.invoice_id and a.amount))

    @property
    def prepaid(self) -> int:
        """What waits on a payment document for an invoice of the deal (F5). Nothing moves while a refund is pending."""
        return 0 if self.pending or self.reversed else sum(self.left(a) for a in self.allocations if a.document_id)

    def left(self, a: Allocation) -> int:
        """What of an allocation did not go back yet."""
        return a.amount - sum(p.amount for r in self.done_refunds for p in r.parts if p.n == a.n)

    def refund(self, id: str) -> Refund | None:
        return next((r for r in self.refunds if r.id == id), None)

    def parts_of(self, amount: int) -> tuple[int, tuple[Part, ...]]:
        """What a refund of `amount` takes from the credit, and what from which allocation: credit first, then the newest."""
        from_credit = min(amount, self.credit)
        parts, missing = [], amount - from_credit
        for a in reversed(self.allocations):
            part = min(self.left(a), missing)
            if part:
                parts.append(Part(a.n, part, self._worth(a, part), a.invoice_id))
                missing -= part
        return from_credit, tuple(parts)

    def _worth(self, a: Allocation, part: int) -> int:
        gone = sum(p.worth for r in self.done_refunds for p in r.parts if p.n == a.n)
        return a.worth - gone if part == self.left(a) else share(a.worth, part, a.amount)


def share(whole: int, part: int, of: int) -> int:
    return half_up(Fraction(whole * part, of))


# --------------------------------------------------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True)
class RegisterPayment:
    """`applied` goes to the target, the invoice if there is one, else the document; `why_not` says why the rest does not.

    `applied` rests on the target's amount due, read in the same item."""

    payment_id: str
    record_key: str
    deal_id: str | None
    provider: str
    provider_payment_id: str
    money: Money
    paid_at: datetime
    payer: str | None
    invoice_id: str | None
    document_id: str | None
    customer: Customer
    applied: int
    why_not: str
    at: datetime
    asked: Asked
    deal_responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class AllocateCredit:
    """By hand: `amount` of the credit goes to an invoice, where it is worth `worth`."""

    invoice_id: str
    amount: int
    worth: int
    rate: Decimal | None
    asked: Asked


@dataclass(frozen=True, slots=True)
class MovePrepayment:
    """Up to `due` of what waits on payment documents goes to an invoice that was just issued (F5)."""

    invoice_id: str
    due: int
    asked: Asked


@dataclass(frozen=True, slots=True)
class ReleaseAllocations:
    """An invoice no longer has this much of them: credited, cancelled, or taken back by hand. `parts`: number and worth."""

    parts: tuple[tuple[int, int], ...]
    reason: Literal["credited", "target_cancelled", "taken_back"]
    asked: Asked
    deal_responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class AskRefund:
    refund_id: str
    money: Money
    to_be_paid_again: bool
    reason: str
    asked: Asked


@dataclass(frozen=True, slots=True)
class SettleRefund:
    """The money has gone back. `amount` and `to_be_paid_again` count for a refund that the provider started itself; `currency`
    is the one that was reported, None where nobody named another than the payment's."""

    refund_id: str
    amount: int
    to_be_paid_again: bool
    provider_refund_id: str
    epoch_closed: int | None
    asked: Asked
    deal_responsible_id: str | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class RefuseRefund:
    refund_id: str
    detail: str


@dataclass(frozen=True, slots=True)
class DoubtRefund:
    """The provider never answered: nobody knows whether the money has gone back."""

    refund_id: str
    detail: str
    deal_responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReversePayment:
    reversal_id: str
    reason: str
    epoch_closed: int | None
    asked: Asked
    deal_responsible_id: str | None = None


# ----------------------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class PaymentReceived:
    payment_id: str
    record_key: str
    deal_id: str | None
    provider: str
    provider_payment_id: str
    money: Money
    paid_at: datetime
    payer: str | None
    invoice_id: str | None
    document_id: str | None
    customer: Customer
    allocation: Allocation | None
    at: datetime
    asked: Asked


@dataclass(frozen=True, slots=True)
class OverpaymentRecorded:
    """More than the invoice was owed; `amount` is the customer's credit (D26)."""

    amount: int
    asked: Asked


@dataclass(frozen=True, slots=True)
class PaymentUnallocated:
    amount: int
    reason: str
    asked: Asked
    deal_responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentContradicted:
    """The provider reported the payment, or a refund of it, with another amount or currency: noted, not applied."""

    reported: Money
    asked: Asked


@dataclass(frozen=True, slots=True)
class CreditAllocated:
    allocation: Allocation
    asked: Asked


@dataclass(frozen=True, slots=True)
class PrepaymentMoved:
    """From allocation `source` to `allocation`, which is new."""

    source: int
    allocation: Allocation
    asked: Asked


@dataclass(frozen=True, slots=True)
class AllocationReleased:
    n: int
    amount: int
    worth: int
    invoice_id: str
    reason: Literal["credited", "target_cancelled", "taken_back"]
    asked: Asked
    deal_responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class RefundAsked:
    """The provider is asked to give `amount` back. `invoices` have money of the payment."""

    refund_id: str
    amount: int
    to_be_paid_again: bool
    reason: str
    invoices: tuple[str, ...]
    asked: Asked


@dataclass(frozen=True, slots=True)
class RefundRefused:
    refund_id: str
    detail: str
    asked: Asked


@dataclass(frozen=True, slots=True)
class RefundUnanswered:
    refund_id: str
    amount: int
    detail: str
    asked: Asked
    deal_responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentRefunded:
    refund_id: str
    amount: int
    to_be_paid_again: bool
    from_credit: int
    parts: tuple[Part, ...]
    provider_refund_id: str
    epoch_closed: int | None
    asked: Asked
    deal_responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class PaymentReversed:
    reversal_id: str
    amount: int
    reason: str
    epoch_closed: int | None
    asked: Asked
    deal_responsible_id: str | None = None


PaymentCommand = (
    RegisterPayment
    | AllocateCredit
    | MovePrepayment
    | ReleaseAllocations
    | AskRefund
    | SettleRefund
    | RefuseRefund
    | DoubtRefund
    | ReversePayment
)
PaymentEvent = (
    PaymentReceived
    | OverpaymentRecorded
    | PaymentUnallocated
    | PaymentContradicted
    | CreditAllocated
    | PrepaymentMoved
    | AllocationReleased
    | RefundAsked
    | RefundRefused
    | RefundUnanswered
    | PaymentRefunded
    | PaymentReversed
)

# ----------------------------------------------------------------------------------------------------------- decide


def decide(payment: Payment, command: PaymentCommand) -> Sequence[PaymentEvent]:
    if isinstance(command, RegisterPayment):
        return _register(payment, command)
    if not payment.exists:
        raise NotFound("There is no such payment.")
    match command:
        case AllocateCredit():
            return _allocate_credit(payment, command)
        case MovePrepayment():
            return _move(payment, command)
        case ReleaseAllocations():
            return [event for n, worth in command.parts for event in _release(payment, n, worth, command)]
        case AskRefund():
            return _ask_refund(payment, command)
        case SettleRefund():
            return _settle(payment, command)
        case RefuseRefund():
            return _refuse(payment, command)
        case DoubtRefund():
            return _doubt(payment, command)
        case ReversePayment():
            return _reverse(payment, command)
        case _:
            assert_never(command)


def _register(payment: Payment, c: RegisterPayment) -> Sequence[PaymentEvent]:
    if payment.exists:
        return [] if c.money == payment.money else _contradicted(payment, c.money, c.asked)
    rest = c.money.minor - c.applied
    events: list[PaymentEvent] = [_received(c)]
    if rest and c.why_not == MORE_THAN_DUE and c.invoice_id:
        events.append(OverpaymentRecorded(rest, c.asked))
    elif rest:
        events.append(PaymentUnallocated(rest, c.why_not, c.asked, c.deal_responsible_id))
    return events


def _contradicted(payment: Payment, reported: Money, asked: Asked) -> Sequence[PaymentEvent]:
    """What does not fit the payment is told once and not applied (D32)."""
    return [] if reported in payment.contradictions else [PaymentContradicted(reported, asked)]


def _received(c: RegisterPayment) -> PaymentReceived:
    document = None if c.invoice_id else c.document_id
    allocation = Allocation(1, c.applied, c.applied, c.invoice_id, document) if c.applied else None
    return PaymentReceived(
        c.payment_id,
        c.record_key,
        c.deal_id,
        c.provider,
        c.provider_payment_id,
        c.money,
        c.paid_at,
        c.payer,
        c.invoice_id,
        c.document_id,
        c.customer,
        allocation,
        c.at,
        c.asked,
    )


def _allocate_credit(payment: Payment, c: AllocateCredit) -> Sequence[PaymentEvent]:
    _must_stand(payment)
    if payment.pending:
        raise Rejected("refund_pending", "A refund of this payment is under way.")
    if not 0 < c.amount <= payment.credit:
        raise Rejected("more_than_unapplied", "The payment does not have that much unallocated money.")
    return [CreditAllocated(Allocation(payment.drawn + 1, c.amount, c.worth, c.invoice_id, None, c.rate), c.asked)]


def _move(payment: Payment, c: MovePrepayment) -> Sequence[PaymentEvent]:
    events: list[PaymentEvent] = []
    due, n = min(c.due, payment.prepaid), payment.drawn
    for a in payment.allocations:
        amount = min(due, payment.left(a)) if a.document_id else 0
        if amount:
            n, due = n + 1, due - amount
            events.append(PrepaymentMoved(a.n, Allocation(n, amount, amount, c.invoice_id), c.asked))
    return events


def _release(payment: Payment, n: int, worth: int, c: ReleaseAllocations) -> Sequence[PaymentEvent]:
    a = next((a for a in payment.allocations if a.n == n), None)
    if a is None or a.invoice_id is None or not worth:
        return []
    amount = a.amount if worth == a.worth else min(payment.left(a), share(a.amount, worth, a.worth))
    return [AllocationReleased(a.n, amount, worth, a.invoice_id, c.reason, c.asked, c.deal_responsible_id)]


def _ask_refund(payment: Payment, c: AskRefund) -> Sequence[PaymentEvent]:
    known = payment.refund(c.refund_id)
    if known and known.state != "refused":
        return []
    _must_stand(payment)
    if c.money.currency != payment.money.currency:
        raise Rejected("currency_differs", f"The payment is in {payment.money.currency}.")
    if not 0 < c.money.minor <= payment.kept - payment.pending:
        raise Rejected("more_than_paid", "More than is left of the payment cannot be given back.")
    return [RefundAsked(c.refund_id, c.money.minor, c.to_be_paid_again, c.reason, payment.invoices, c.asked)]


def _settle(payment: Payment, c: SettleRefund) -> Sequence[PaymentEvent]:
    refund = payment.refund(c.refund_id) or Refund(c.refund_id, c.amount, c.to_be_paid_again, "pending", asked=c.asked)
    if refund.state == "done":
        return []
    if c.currency not in (None, payment.money.currency):
        return _contradicted(payment, Money(c.amount, c.currency or ""), c.asked)
    if not 0 < refund.amount <= payment.kept:
        return [PaymentContradicted(Money(refund.amount, payment.money.currency), c.asked)]
    split = payment.parts_of(refund.amount)
    known = (refund.id, refund.amount, refund.to_be_paid_again, *split)
    return [PaymentRefunded(*known, c.provider_refund_id, c.epoch_closed, refund.asked, c.deal_responsible_id)]


def _refuse(payment: Payment, c: RefuseRefund) -> Sequence[PaymentEvent]:
    refund = payment.refund(c.refund_id)
    if refund is None or refund.state not in IN_THE_AIR:
        return []
    return [RefundRefused(c.refund_id, c.detail, refund.asked)]


def _doubt(payment: Payment, c: DoubtRefund) -> Sequence[PaymentEvent]:
    refund = payment.refund(c.refund_id)
    if refund is None or refund.state != "pending":
        return []
    return [RefundUnanswered(c.refund_id, refund.amount, c.detail, refund.asked, c.deal_responsible_id)]


def _reverse(payment: Payment, c: ReversePayment) -> Sequence[PaymentEvent]:
    _must_stand(payment)
    if not payment.kept:
        raise Rejected("more_than_paid", "Nothing of the payment is left to be taken back.")
    return [PaymentReversed(c.reversal_id, payment.kept, c.reason, c.epoch_closed, c.asked, c.deal_responsible_id)]


def _must_stand(payment: Payment) -> None:
    if payment.reversed:
        raise Rejected("payment_reversed", "The payment was reversed.")


# ----------------------------------------------------------------------------------------------------------- evolve


def evolve(payment: Payment, event: PaymentEvent) -> Payment:
    match event:
        case PaymentReceived():
            return _was_received(event)
        case OverpaymentRecorded():
            return replace(payment, unapplied_reason=MORE_THAN_DUE)
        case PaymentUnallocated():
            return replace(payment, unapplied_reason=event.reason)
        case PaymentContradicted():
            return replace(payment, contradictions=(*payment.contradictions, event.reported))
        case CreditAllocated():
            return _with(payment, event.allocation)
        case PrepaymentMoved():
            return _with(_less(payment, event.source, event.allocation.amount, event.allocation.worth), event.allocation)
        case AllocationReleased():
            return replace(_less(payment, event.n, event.amount, event.worth), unapplied_reason=event.reason)
        case RefundAsked():
            known = (event.refund_id, event.amount, event.to_be_paid_again)
            return _refund_is(payment, Refund(*known, "pending", asked=event.asked))
        case RefundRefused():
            refund = payment.refund(event.refund_id)
            return _refund_is(payment, replace(refund, state="refused", detail=event.detail)) if refund else payment
        case RefundUnanswered():
            refund = payment.refund(event.refund_id)
            return _refund_is(payment, replace(refund, state="unknown", detail=event.detail)) if refund else payment
        case PaymentRefunded():
            known = (event.refund_id, event.amount, event.to_be_paid_again)
            return _refund_is(payment, Refund(*known, "done", event.parts, event.from_credit, event.asked))
        case PaymentReversed():
            return replace(payment, reversed=True)
        case _:
            assert_never(event)


def _was_received(e: PaymentReceived) -> Payment:
    return Payment(
        id=e.payment_id,
        record_key=e.record_key,
        deal_id=e.deal_id,
        provider=e.provider,
        provider_payment_id=e.provider_payment_id,
        money=e.money,
        paid_at=e.paid_at,
        received_at=e.at,
        payer=e.payer,
        invoice_id=e.invoice_id,
        document_id=e.document_id,
        customer=e.customer,
        allocations=(e.allocation,) if e.allocation else (),
        drawn=1 if e.allocation else 0,
    )


def _with(payment: Payment, a: Allocation) -> Payment:
    return replace(payment, allocations=(*payment.allocations, a), drawn=max(payment.drawn, a.n))


def _less(payment: Payment, n: int, amount: int, worth: int) -> Payment:
    changed = tuple(replace(a, amount=a.amount - amount, worth=a.worth - worth) if a.n == n else a for a in payment.allocations)
    return replace(payment, allocations=tuple(a for a in changed if a.amount or a.worth))


def _refund_is(payment: Payment, refund: Refund) -> Payment:
    return replace(payment, refunds=(*(r for r in payment.refunds if r.id != refund.id), refund))


PAYMENT: Aggregate[Payment, PaymentCommand, PaymentEvent] = Aggregate(
    "payment",
    Payment(),
    decide,
    evolve,
    (
        PaymentReceived,
        OverpaymentRecorded,
        PaymentUnallocated,
        PaymentContradicted,
        CreditAllocated,
        PrepaymentMoved,
        AllocationReleased,
        RefundAsked,
        RefundRefused,
        RefundUnanswered,
        PaymentRefunded,
        PaymentReversed,
    ),
    read_by_others=True,
)
