"""Invoice: drafted, issued with a number, paid in epochs, refunded, reversed, credited, cancelled (billing.md 2.2, D24-D29).

All amounts are minor units of the invoice's currency. Three figures say how it stands (F25):

held        what counts against the total: + each allocation, - each reversal, - each partial refund that is to be paid
            again, 0 after a full refund; never above total - credited
kept        the money that really stayed: allocations - all refunds - reversals
amount_due  total - credited - held

A paid epoch is open exactly while amount_due is 0 and something is held; each opening says InvoicePaid once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from typing import Literal, assert_never

from services.billing.domain.customer import NOBODY, Buyer, Customer
from services.billing.domain.money import NO_TOTALS, Line, Totals, line_of_amount, totals_of
from services.billing.domain.origin import BY_ITSELF, Asked
from shared.es.aggregate import Aggregate
from shared.es.errors import NotFound, Rejected

Status = Literal["draft", "issued", "partially_paid", "paid", "refunded", "cancelled"]
OPEN: tuple[Status, ...] = ("draft", "issued", "partially_paid")
"""What D43 calls open: still to be sent or paid."""
PEOPLE = ("person", "api", "import")
MOST_ALLOCATIONS = 1000

# ------------------------------------------------------------------------------------------------------------ state


@dataclass(frozen=True, slots=True)
class Taken:
    """Money of a payment that counts for this invoice. (payment_id, n) names it, n being the payment's own numbering."""

    payment_id: str
    n: int
    amount: int
    document_id: str | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """An allocation as it stands: `amount` less what was released from it, `kept` also less what went back."""

    payment_id: str
    n: int
    amount: int
    kept: int
    document_id: str | None = None


@dataclass(frozen=True, slots=True)
class Released:
    """Money that no longer counts for this invoice and is the customer's credit again."""

    payment_id: str
    n: int
    amount: int


@dataclass(frozen=True, slots=True)
class Invoice:
    id: str = ""
    record_key: str = ""
    deal_id: str | None = None
    source_sequence: int | None = None
    title: str = ""
    responsible_id: str | None = None
    customer: Customer = NOBODY
    currency: str = ""
    prices_include_tax: bool = False
    lines: tuple[Line, ...] = ()
    totals: Totals = NO_TOTALS
    series: str = ""
    due_days: int | None = None
    asked: Asked = BY_ITSELF
    created_at: datetime | None = None
    number: str | None = None
    issue_date: date | None = None
    due_date: date | None = None
    buyer: Buyer | None = None
    allocations: tuple[Held, ...] = ()
    held: int = 0
    credited: int = 0
    refunded: int = 0
    """Given back since money last came in after a full refund."""
    epoch: int = 0
    epoch_open: bool = False
    paid_at: datetime | None = None
    fully_refunded: bool = False
    cancelled: bool = False
    touched: bool = False
    """Somebody worked on it since it was made: edited, issued later, paid, credited."""
    given_back: frozenset[str] = frozenset()
    """Refunds and reversals already applied."""
    quote_id: str | None = None
    """The quote it was made from."""

    @property
    def exists(self) -> bool:
        return self.id != ""

    @property
    def issued(self) -> bool:
        return self.number is not None

    @property
    def total(self) -> int:
        return self.totals.gross

    @property
    def owed(self) -> int:
        """What is to be paid altogether: the total less credit notes."""
        return self.total - self.credited

    @property
    def amount_due(self) -> int:
        return 0 if self.cancelled else max(0, self.owed - self.held)

    @property
    def kept(self) -> int:
        return sum(h.kept for h in self.allocations)

    @property
    def status(self) -> Status:
        if self.cancelled:
            return "cancelled"
        if not self.issued:
            return "draft"
        if self.epoch_open:
            return "paid"
        if self.held > 0:
            return "partially_paid"
        return "refunded" if self.fully_refunded else "issued"

    @property
    def origin_rule_id(self) -> str | None:
        """The rule that created it."""
        return self.asked.origin.rule_id

    @property
    def payment_ids(self) -> tuple[str, ...]:
        """The payments whose money it has, in the order in which they came in."""
        return tuple(dict.fromkeys(h.payment_id for h in self.allocations if h.kept > 0))

    def kept_of(self, payment_id: str) -> int:
        return sum(h.kept for h in self.allocations if h.payment_id == payment_id)

    def taken(self, payment_id: str, n: int) -> Held | None:
        """How an allocation of a payment stands here; None if it was not taken."""
        return next((h for h in self.allocations if (h.payment_id, h.n) == (payment_id, n)), None)

    def closes_with(self, amount: int, to_be_paid_again: bool) -> int | None:
        """The epoch that a refund of `amount` would end, if any."""
        full = self.kept - amount <= 0
        return self.epoch if self.epoch_open and (full or to_be_paid_again) else None


# --------------------------------------------------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True)
class CreateInvoice:
    """`amount` counts when there are no lines (D44). `other_open`: open invoices of the same deal (D43)."""

    invoice_id: str
    deal_id: str | None
    title: str
    responsible_id: str | None
    customer: Customer
    currency: str
    prices_include_tax: bool
    lines: tuple[Line, ...]
    amount: int
    series: str
    at: datetime
    asked: Asked
    source_sequence: int | None = None
    due_days: int | None = None
    other_open: tuple[str, ...] = ()
    skip_if_open_exists: bool = False
    quote_id: str | None = None


@dataclass(frozen=True, slots=True)
class ChangeInvoice:
    """None keeps what is."""

    asked: Asked
    title: str | None = None
    responsible_id: str | None = None
    customer: Customer | None = None
    prices_include_tax: bool | None = None
    lines: tuple[Line, ...] | None = None
    due_days: int | None = None


@dataclass(frozen=True, slots=True)
class IssueInvoice:
    """`number` was drawn in the same item; '' when none was, because the invoice is no draft."""

    number: str
    issue_date: date
    buyer: Buyer
    asked: Asked


@dataclass(frozen=True, slots=True)
class LinkInvoice:
    deal_id: str
    asked: Asked


@dataclass(frozen=True, slots=True)
class Allocate:
    """`currency` is that of `taken.amount`. `other_unpaid`: issued invoices of the deal that are still owed."""

    taken: Taken
    currency: str
    paid_at: datetime
    asked: Asked
    deal_responsible_id: str | None = None
    other_unpaid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ApplyRefund:
    payment_id: str
    refund_id: str
    amount: int
    to_be_paid_again: bool
    asked: Asked
    deal_responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class ApplyReversal:
    """Everything of this payment that is still here is gone (D29)."""

    payment_id: str
    reversal_id: str
    asked: Asked
    deal_responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class Unallocate:
    """Somebody takes an allocation back by hand: the money stays with the payment."""

    payment_id: str
    n: int
    asked: Asked
    deal_responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class CreditInvoice:
    """Negate `amount` of it; the credit note is issued in the same item."""

    credit_note_id: str
    amount: int
    at: datetime
    asked: Asked
    deal_responsible_id: str | None = None
    other_unpaid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CancelInvoice:
    """`credit_note_id` is the note over the rest, issued in the same item; None for a draft."""

    if_untouched: bool
    reason: str
    credit_note_id: str | None
    asked: Asked


# ----------------------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class InvoiceCreated:
    invoice_id: str
    record_key: str
    deal_id: str | None
    title: str
    responsible_id: str | None
    customer: Customer
    currency: str
    prices_include_tax: bool
    lines: tuple[Line, ...]
    totals: Totals
    series: str
    at: datetime
    asked: Asked
    source_sequence: int | None = None
    due_days: int | None = None
    other_open: tuple[str, ...] = ()
    quote_id: str | None = None


@dataclass(frozen=True, slots=True)
class InvoiceDraftChanged:
    """The draft as it is now; `changed` names the fields that are new."""

    title: str
    responsible_id: str | None
    customer: Customer
    prices_include_tax: bool
    lines: tuple[Line, ...]
    totals: Totals
    due_days: int | None
    changed: tuple[str, ...]
    asked: Asked


@dataclass(frozen=True, slots=True)
class InvoiceIssued:
    number: str
    issue_date: date
    due_date: date | None
    buyer: Buyer
    asked: Asked


@dataclass(frozen=True, slots=True)
class InvoiceLinked:
    deal_id: str
    asked: Asked


@dataclass(frozen=True, slots=True)
class InvoicePartiallyPaid:
    taken: Taken
    paid_at: datetime
    asked: Asked
    deal_responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class InvoicePaid:
    """Epoch `epoch` opens. `taken` is None when a credit note closed the gap."""

    epoch: int
    taken: Taken | None
    paid_at: datetime
    asked: Asked
    deal_responsible_id: str | None = None
    other_unpaid: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RefundNoted:
    """Part of the money went back and no epoch ended with it."""

    payment_id: str
    refund_id: str
    amount: int
    to_be_paid_again: bool
    asked: Asked


@dataclass(frozen=True, slots=True)
class InvoiceRefunded:
    """All of the money has gone back; `epoch` is the last one (0: it was never fully paid)."""

    payment_id: str
    refund_id: str
    amount: int
    epoch: int
    asked: Asked
    deal_responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReversalNoted:
    """Money was taken back from an invoice that was not fully paid."""

    payment_id: str
    reversal_id: str
    amount: int
    asked: Asked


@dataclass(frozen=True, slots=True)
class InvoiceReopened:
    """Epoch `epoch` is over and money is owed again. `reversed`: `back_id` is a reversal, else a refund."""

    reason: Literal["to_be_paid_again", "reversed"]
    payment_id: str
    back_id: str
    amount: int
    epoch: int
    asked: Asked
    deal_responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class AllocationTakenBack:
    """By hand; `closed` is the epoch that ended with it."""

    payment_id: str
    n: int
    amount: int
    closed: int | None
    asked: Asked
    deal_responsible_id: str | None = None


@dataclass(frozen=True, slots=True)
class InvoiceCredited:
    credit_note_id: str
    amount: int
    released: tuple[Released, ...]
    asked: Asked


@dataclass(frozen=True, slots=True)
class InvoiceCancelled:
    """`credited` is what the credit note over the rest negates; the money it had is released."""

    credit_note_id: str | None
    credited: int
    released: tuple[Released, ...]
    reason: str
    asked: Asked


InvoiceCommand = (
    CreateInvoice
    | ChangeInvoice
    | IssueInvoice
    | LinkInvoice
    | Allocate
    | ApplyRefund
    | ApplyReversal
    | Unallocate
    | CreditInvoice
    | CancelInvoice
)
InvoiceEvent = (
    InvoiceCreated
    | InvoiceDraftChanged
    | InvoiceIssued
    | InvoiceLinked
    | InvoicePartiallyPaid
    | InvoicePaid
    | RefundNoted
    | InvoiceRefunded
    | ReversalNoted
    | InvoiceReopened
    | AllocationTakenBack
    | InvoiceCredited
    | InvoiceCancelled
)

# ----------------------------------------------------------------------------------------------------------- decide


def decide(invoice: Invoice, command: InvoiceCommand) -> Sequence[InvoiceEvent]:
    if isinstance(command, CreateInvoice):
        return _create(invoice, command)
    if not invoice.exists:
        raise NotFound("There is no such invoice.")
    match command:
        case ChangeInvoice():
            return _change(invoice, command)
        case IssueInvoice():
            return _issue(invoice, command)
        case LinkInvoice():
            return _link(invoice, command)
        case Allocate():
            return _allocate(invoice, command)
        case ApplyRefund():
            return _refund(invoice, command)
        case ApplyReversal():
            return _reverse(invoice, command)
        case Unallocate():
            return _unallocate(invoice, command)
        case CreditInvoice():
            return _credit(invoice, command)
        case CancelInvoice():
            return _cancel(invoice, command)
        case _:
            assert_never(command)


def _create(invoice: Invoice, c: CreateInvoice) -> Sequence[InvoiceEvent]:
    if invoice.exists:
        return []
    if c.skip_if_open_exists and c.other_open:
        raise Rejected("open_exists", f"The deal has {len(c.other_open)} open invoice(s).")
    lines = c.lines or _lines_of_amount(c.invoice_id, c.title, c.amount)
    return [
        InvoiceCreated(
            c.invoice_id,
            c.deal_id or c.invoice_id,
            c.deal_id,
            c.title,
            c.responsible_id,
            c.customer,
            c.currency,
            c.prices_include_tax,
            lines,
            totals_of(lines, c.prices_include_tax),
            c.series,
            c.at,
            c.asked,
            c.source_sequence,
            c.due_days,
            c.other_open,
            c.quote_id,
        )
    ]


def _lines_of_amount(id: str, title: str, amount: int) -> tuple[Line, ...]:
    if amount <= 0:
        raise Rejected("nothing_to_invoice", "There are no lines and no amount above zero.")
    return (line_of_amount(id, title, amount),)


def _change(invoice: Invoice, c: ChangeInvoice) -> Sequence[InvoiceEvent]:
    if invoice.status != "draft":
        raise Rejected("invoice_not_draft", "An issued invoice never changes; a credit note corrects it.")
    if c.lines == ():
        raise Rejected("nothing_to_invoice", "An invoice has at least one line.")
    wanted = {name: getattr(c, name) for name in ("title", "responsible_id", "customer", "prices_include_tax", "lines", "due_days")}
    changed = {name: value for name, value in wanted.items() if value is not None and value != getattr(invoice, name)}
    if not changed:
        return []
    new = replace(invoice, **changed)
    totals = totals_of(new.lines, new.prices_include_tax)
    fields = (new.title, new.responsible_id, new.customer, new.prices_include_tax, new.lines, totals, new.due_days)
    return [InvoiceDraftChanged(*fields, tuple(changed), c.asked)]


def _issue(invoice: Invoice, c: IssueInvoice) -> Sequence[InvoiceEvent]:
    if invoice.status != "draft":
        raise Rejected("invoice_not_draft", "The invoice is issued or cancelled already.")
    if not c.buyer.name:
        raise Rejected("buyer_incomplete", "The buyer has no name: link a contact or a company, or complete their details.")
    due = None if invoice.due_days is None else c.issue_date + timedelta(days=invoice.due_days)
    return [InvoiceIssued(c.number, c.issue_date, due, c.buyer, c.asked)]


def _link(invoice: Invoice, c: LinkInvoice) -> Sequence[InvoiceEvent]:
    if invoice.deal_id is not None:
        raise Rejected("already_linked", "The invoice belongs to a deal already.")
    return [InvoiceLinked(c.deal_id, c.asked)]


def _allocate(invoice: Invoice, c: Allocate) -> Sequence[InvoiceEvent]:
    if invoice.taken(c.taken.payment_id, c.taken.n):
        return []
    _must_take(invoice, c)
    if c.taken.amount < invoice.amount_due:
        return [InvoicePartiallyPaid(c.taken, c.paid_at, c.asked, c.deal_responsible_id)]
    return [InvoicePaid(invoice.epoch + 1, c.taken, c.paid_at, c.asked, c.deal_responsible_id, c.other_unpaid)]


def _must_take(invoice: Invoice, c: Allocate) -> None:
    if invoice.cancelled:
        raise Rejected("invoice_cancelled", "The invoice is cancelled.")
    if not invoice.issued:
        raise Rejected("invoice_not_issued", "A draft is issued before money is allocated to it.")
    if c.currency != invoice.currency:
        raise Rejected("currency_differs", f"The invoice is in {invoice.currency}, the money in {c.currency}.")
    if not 0 < c.taken.amount <= invoice.amount_due:
        raise Rejected("more_than_due", "More than the amount due cannot be allocated.")
    if len(invoice.allocations) >= MOST_ALLOCATIONS:
        raise Rejected("too_many_allocations", f"An invoice has at most {MOST_ALLOCATIONS} allocations.")


def _refund(invoice: Invoice, c: ApplyRefund) -> Sequence[InvoiceEvent]:
    if c.refund_id in invoice.given_back:
        return []
    if not 0 < c.amount <= invoice.kept_of(c.payment_id):
        raise Rejected("more_than_held", "The invoice does not have that much of this payment.")
    if c.amount == invoice.kept:
        return [InvoiceRefunded(c.payment_id, c.refund_id, c.amount, invoice.epoch, c.asked, c.deal_responsible_id)]
    if c.to_be_paid_again and invoice.epoch_open:
        who = (c.payment_id, c.refund_id, c.amount, invoice.epoch, c.asked, c.deal_responsible_id)
        return [InvoiceReopened("to_be_paid_again", *who)]
    return [RefundNoted(c.payment_id, c.refund_id, c.amount, c.to_be_paid_again, c.asked)]


def _reverse(invoice: Invoice, c: ApplyReversal) -> Sequence[InvoiceEvent]:
    amount = invoice.kept_of(c.payment_id)
    if c.reversal_id in invoice.given_back or not amount:
        return []
    if invoice.epoch_open:
        who = (c.payment_id, c.reversal_id, amount, invoice.epoch, c.asked, c.deal_responsible_id)
        return [InvoiceReopened("reversed", *who)]
    return [ReversalNoted(c.payment_id, c.reversal_id, amount, c.asked)]


def _unallocate(invoice: Invoice, c: Unallocate) -> Sequence[InvoiceEvent]:
    held = invoice.taken(c.payment_id, c.n)
    if held is None or not held.kept:
        raise Rejected("allocation_unknown", "There is no such allocation, or nothing of it is left.", status=404)
    closed = invoice.epoch if invoice.epoch_open else None
    return [AllocationTakenBack(c.payment_id, c.n, held.kept, closed, c.asked, c.deal_responsible_id)]


def _credit(invoice: Invoice, c: CreditInvoice) -> Sequence[InvoiceEvent]:
    if not invoice.issued:
        raise Rejected("invoice_not_issued", "A draft is changed, not credited.")
    if invoice.cancelled:
        raise Rejected("invoice_over", "The invoice is cancelled.")
    if not 0 < c.amount <= invoice.owed:
        raise Rejected("more_than_total", "More than what is left of the invoice cannot be credited.")
    credited = InvoiceCredited(c.credit_note_id, c.amount, _surplus(invoice, invoice.owed - c.amount), c.asked)
    after = evolve(invoice, credited)
    if after.amount_due == 0 and after.held == 0:
        return [credited, InvoiceCancelled(c.credit_note_id, 0, (), "credited in full", c.asked)]
    if after.amount_due == 0 and not after.epoch_open:
        return [credited, InvoicePaid(after.epoch + 1, None, c.at, c.asked, c.deal_responsible_id, c.other_unpaid)]
    return [credited]


def _cancel(invoice: Invoice, c: CancelInvoice) -> Sequence[InvoiceEvent]:
    if invoice.cancelled:
        raise Rejected("invoice_over", "The invoice is cancelled already.")
    if c.if_untouched and invoice.touched:
        raise Rejected("has_been_touched", "Somebody worked on the invoice since it was made.")
    if not invoice.issued:
        return [InvoiceCancelled(None, 0, (), c.reason, c.asked)]
    return [InvoiceCancelled(c.credit_note_id, invoice.owed, _surplus(invoice, 0), c.reason, c.asked)]


def _surplus(invoice: Invoice, owed: int) -> tuple[Released, ...]:
    """What the invoice has above `owed`, from the newest allocation on. Only money that is still here can be released."""
    left = max(0, invoice.kept - owed)
    released = []
    for h in reversed(invoice.allocations):
        amount = min(h.kept, left)
        if amount:
            released.append(Released(h.payment_id, h.n, amount))
            left -= amount
    return tuple(released)


# ----------------------------------------------------------------------------------------------------------- evolve


def evolve(invoice: Invoice, event: InvoiceEvent) -> Invoice:
    match event:
        case InvoiceCreated():
            return _created(event)
        case InvoiceDraftChanged():
            return _draft_changed(invoice, event)
        case InvoiceIssued():
            return _issued(invoice, event)
        case InvoiceLinked():
            return replace(invoice, deal_id=event.deal_id, touched=True)
        case InvoicePartiallyPaid():
            return _take(invoice, event.taken)
        case InvoicePaid():
            return replace(_take(invoice, event.taken), epoch=event.epoch, epoch_open=True, paid_at=event.paid_at)
        case RefundNoted():
            back = _give_back(invoice, event.payment_id, event.refund_id, event.amount, event.to_be_paid_again)
            return replace(back, refunded=back.refunded + event.amount)
        case InvoiceRefunded():
            back = _give_back(invoice, event.payment_id, event.refund_id, event.amount, True)
            return replace(back, held=0, epoch_open=False, fully_refunded=True, refunded=back.refunded + event.amount)
        case ReversalNoted():
            return _give_back(invoice, event.payment_id, event.reversal_id, event.amount, True)
        case InvoiceReopened():
            back = _give_back(invoice, event.payment_id, event.back_id, event.amount, True)
            more = 0 if event.reason == "reversed" else event.amount
            return replace(back, epoch_open=False, refunded=back.refunded + more)
        case AllocationTakenBack():
            return _taken_back(invoice, event)
        case InvoiceCredited():
            return _credited(invoice, event.amount, event.released)
        case InvoiceCancelled():
            return replace(_credited(invoice, event.credited, event.released), cancelled=True, held=0, epoch_open=False)
        case _:
            assert_never(event)


def _created(e: InvoiceCreated) -> Invoice:
    return Invoice(
        id=e.invoice_id,
        record_key=e.record_key,
        deal_id=e.deal_id,
        source_sequence=e.source_sequence,
        title=e.title,
        responsible_id=e.responsible_id,
        customer=e.customer,
        currency=e.currency,
        prices_include_tax=e.prices_include_tax,
        lines=e.lines,
        totals=e.totals,
        series=e.series,
        due_days=e.due_days,
        asked=e.asked,
        created_at=e.at,
        quote_id=e.quote_id,
    )


def _draft_changed(invoice: Invoice, e: InvoiceDraftChanged) -> Invoice:
    return replace(
        invoice,
        title=e.title,
        responsible_id=e.responsible_id,
        customer=e.customer,
        prices_include_tax=e.prices_include_tax,
        lines=e.lines,
        totals=e.totals,
        due_days=e.due_days,
        touched=invoice.touched or e.asked.origin.kind in PEOPLE,
    )


def _issued(invoice: Invoice, e: InvoiceIssued) -> Invoice:
    """Issued by the request that made it is not touched; issued later by anything is."""
    at_birth = e.asked.request_id is not None and e.asked.request_id == invoice.asked.request_id
    touched = invoice.touched or not at_birth
    return replace(invoice, number=e.number, issue_date=e.issue_date, due_date=e.due_date, buyer=e.buyer, touched=touched)


def _take(invoice: Invoice, taken: Taken | None) -> Invoice:
    if taken is None:
        return invoice
    held = Held(taken.payment_id, taken.n, taken.amount, taken.amount, taken.document_id)
    return replace(
        invoice,
        allocations=(*invoice.allocations, held),
        held=invoice.held + taken.amount,
        refunded=0 if invoice.fully_refunded else invoice.refunded,
        fully_refunded=False,
        touched=True,
    )


def _give_back(invoice: Invoice, payment_id: str, back_id: str, amount: int, owed_again: bool) -> Invoice:
    """Money of a payment leaves, from its newest allocation on; if it is owed again it no longer counts either."""
    allocations, left = list(invoice.allocations), amount
    for at in range(len(allocations) - 1, -1, -1):
        if allocations[at].payment_id == payment_id:
            gone = min(left, allocations[at].kept)
            allocations[at] = replace(allocations[at], kept=allocations[at].kept - gone)
            left -= gone
    held = max(0, invoice.held - amount) if owed_again else invoice.held
    return replace(invoice, allocations=tuple(allocations), held=held, given_back=invoice.given_back | {back_id}, touched=True)


def _release(allocations: tuple[Held, ...], released: Sequence[Released]) -> tuple[Held, ...]:
    amounts = {(r.payment_id, r.n): r.amount for r in released}

    def less(h: Held) -> Held:
        gone = amounts.get((h.payment_id, h.n), 0)
        return replace(h, amount=h.amount - gone, kept=h.kept - gone)

    return tuple(less(h) for h in allocations)


def _credited(invoice: Invoice, amount: int, released: Sequence[Released]) -> Invoice:
    credited = invoice.credited + amount
    held = min(invoice.held, max(0, invoice.total - credited))
    allocations = _release(invoice.allocations, released)
    return replace(invoice, credited=credited, held=held, allocations=allocations, touched=True)


def _taken_back(invoice: Invoice, e: AllocationTakenBack) -> Invoice:
    held = max(0, invoice.held - e.amount)
    allocations = _release(invoice.allocations, [Released(e.payment_id, e.n, e.amount)])
    return replace(invoice, allocations=allocations, held=held, epoch_open=False, touched=True)


INVOICE: Aggregate[Invoice, InvoiceCommand, InvoiceEvent] = Aggregate(
    "invoice",
    Invoice(),
    decide,
    evolve,
    (
        InvoiceCreated,
        InvoiceDraftChanged,
        InvoiceIssued,
        InvoiceLinked,
        InvoicePartiallyPaid,
        InvoicePaid,
        RefundNoted,
        InvoiceRefunded,
        ReversalNoted,
        InvoiceReopened,
        AllocationTakenBack,
        InvoiceCredited,
        InvoiceCancelled,
    ),
    read_by_others=True,
)
