"""What touches several streams of billing at once, as addressed commands: the same whether a person, a message or a provider asks.

Each function gives one item: decided in order, each command on what the ones before it left, and committed together. In
all of them the leading stream decides (the payment, the invoice, the number series) and the others follow from its state,
so that an item which is asked again finds nothing left to do.

Everything that creates, covers, pays or reopens an invoice of a deal names the set `open-invoices/<deal>` (D43, F3)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from typing import Any
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from services.billing import replicas, views
from services.billing.domain import allotting
from services.billing.domain.credit_note import CREDIT_NOTE, IssueCreditNote, totals_of_amount
from services.billing.domain.customer import NOBODY, Buyer, Customer, buyer_of
from services.billing.domain.invoice import (
    INVOICE,
    Allocate,
    ApplyRefund,
    ApplyReversal,
    CancelInvoice,
    CreateInvoice,
    CreditInvoice,
    Invoice,
    IssueInvoice,
    LinkInvoice,
    Taken,
    Unallocate,
)
from services.billing.domain.money import Line, Money, Totals, digits_of, half_up, invalid, totals_of
from services.billing.domain.origin import BY_ITSELF, Asked
from services.billing.domain.payment import (
    GIVE_BACK,
    PAYMENT,
    AllocateCredit,
    AskRefund,
    DoubtRefund,
    MovePrepayment,
    Payment,
    RegisterPayment,
    ReleaseAllocations,
    ReversePayment,
    SettleRefund,
)
from services.billing.domain.payment_document import DOCUMENTS, CancelCovering, CreateLink, Link, NewDocument, RecordPaid
from services.billing.domain.quote import QUOTE, CreateQuote
from services.billing.domain.series import CREDIT_NOTES, SERIES, DrawNumber
from services.billing.settings import settings
from services.billing.views import DocumentCard, InvoiceCard, PaymentCard
from shared.es.addressed import Addressed, Facts, Finder
from shared.es.errors import Fault, NotFound, NotYet, Rejected
from shared.runtime import clock

Item = tuple[Addressed[Any], ...]
Finds = tuple[tuple[Finder[Any], str], ...]


def payment_id_of(tenant: UUID, provider: str, provider_payment_id: str) -> str:
    """The same report always means the same payment (D23)."""
    return str(uuid5(tenant, f"payment/{provider}/{provider_payment_id}"))


def refund_id_of(payment_id: str, name: str) -> str:
    return str(uuid5(UUID(payment_id), f"refund/{name}"))


def cancelling_note_of(invoice_id: str) -> str:
    """The credit note that cancels an invoice: there is one at most."""
    return str(uuid5(UUID(invoice_id), "credit-note/cancellation"))


def documents_of(deal_id: str | None, invoice_id: str | None) -> str:
    """The stream of payment documents: the deal's, without a deal the invoice's."""
    return deal_id or invoice_id or ""


def invoices_set(deal_id: str | None) -> str | None:
    return f"open-invoices/{deal_id}" if deal_id else None


def today(seen: Facts) -> date:
    """In the tenant's zone; in UTC as long as the tenant is not known here."""
    tenant = seen.one(replicas.TENANTS, str(seen.tenant))
    return seen.now.astimezone(ZoneInfo(tenant.zone if tenant else "UTC")).date()


# ------------------------------------------------------------------------------------------------- create and issue


@dataclass(frozen=True, slots=True)
class Papers:
    """What must be known of an invoice to issue it: for whom, numbered where, and which payments wait for it (F5)."""

    tenant: UUID
    invoice_id: str
    deal_id: str | None
    customer: Customer
    series: str
    prepaid: tuple[str, ...] = ()

    @property
    def finds(self) -> Finds:
        c = self.customer
        people: Finds = ((replicas.PEOPLE, c.contact_id), (replicas.LEGAL, c.contact_id)) if c.contact_id else ()
        firms: Finds = ((replicas.FIRMS, c.company_id), (replicas.LEGAL, c.company_id)) if c.company_id else ()
        return (*people, *firms, (replicas.TENANTS, str(self.tenant)), *deal_finds(self.deal_id))


def papers_of(tenant: UUID, card: InvoiceCard, prepaid: Sequence[PaymentCard]) -> Papers:
    return Papers(tenant, card.id, card.deal_id, card.customer, card.series, tuple(p.id for p in prepaid))


def deal_finds(deal_id: str | None) -> Finds:
    return ((replicas.DEALS, deal_id), (views.INVOICES_OF_DEAL, deal_id)) if deal_id else ()


def create_invoice(command: CreateInvoice, *, issue: bool, papers: Papers) -> Item:
    """Draft it, with a warning about other open invoices of the deal (D43); with `issue` also number and freeze it."""

    def create(seen: Facts) -> CreateInvoice:
        return replace(command, at=seen.now, other_open=_open_invoices(seen, command.deal_id, command.invoice_id))

    drafted = Addressed(INVOICE, command.invoice_id, create, (), invoices_set(command.deal_id), deal_finds(command.deal_id))
    return (drafted, *(issue_invoice(papers, command.asked, wanted=_is_draft(command.invoice_id)) if issue else ()))


def _open_invoices(seen: Facts, deal_id: str | None, but: str) -> tuple[str, ...]:
    cards = seen.all(views.INVOICES_OF_DEAL, deal_id) if deal_id else ()
    return tuple(c.id for c in cards if c.status in ("draft", "issued", "partially_paid") and c.id != but)


def _is_draft(invoice_id: str) -> Callable[[Facts], bool]:
    return lambda seen: seen.state(INVOICE, invoice_id).status == "draft"


def issue_invoice(papers: Papers, asked: Asked, *, wanted: Callable[[Facts], bool] | None = None) -> Item:
    """A draft gets the next number of its series and its buyer's snapshot: no gap, no number twice (D69). Then it takes what
    was prepaid on the deal's payment documents, oldest first (F5).

    `wanted`: only if this holds at its place in the batch; without it, what is no draft is refused (`invoice_not_draft`)."""
    id, series = papers.invoice_id, papers.series

    def due(seen: Facts) -> bool:
        invoice = seen.state(INVOICE, id)
        return invoice.exists and invoice.status == "draft" and (wanted is None or wanted(seen))

    def draw(seen: Facts) -> DrawNumber | None:
        return DrawNumber(series, id, today(seen)) if due(seen) else None

    def issue(seen: Facts) -> IssueInvoice | None:
        if wanted is not None and not due(seen):
            return None
        return IssueInvoice(seen.state(SERIES, series).last, today(seen), buyer_seen(seen, papers.customer), asked)

    return (
        Addressed(SERIES, series, draw, ((INVOICE, id),), None, papers.finds),
        Addressed(INVOICE, id, issue, ((SERIES, series),), invoices_set(papers.deal_id), papers.finds),
        *(move for payment in papers.prepaid for move in _prepaid(papers, payment, asked)),
    )


def _prepaid(papers: Papers, payment_id: str, asked: Asked) -> Item:
    id = papers.invoice_id

    def move(seen: Facts) -> MovePrepayment | None:
        invoice = seen.state(INVOICE, id)
        fits = invoice.issued and seen.state(PAYMENT, payment_id).money.currency == invoice.currency
        return MovePrepayment(id, invoice.amount_due, asked) if fits and invoice.amount_due else None

    return (
        Addressed(PAYMENT, payment_id, move, ((INVOICE, id),)),
        _follow(id, papers.deal_id, payment_id, asked),
    )


def buyer_seen(seen: Facts, customer: Customer) -> Buyer:
    """Who the customer is, as known now (D46). Raises NotYet while a linked contact or company is not known here at all."""
    person = seen.one(replicas.PEOPLE, customer.contact_id) if customer.contact_id else None
    firm = seen.one(replicas.FIRMS, customer.company_id) if customer.company_id else None
    if customer.contact_id and person is None:
        raise NotYet(f"contact {customer.contact_id} is not known to billing yet")
    if customer.company_id and firm is None:
        raise NotYet(f"company {customer.company_id} is not known to billing yet")
    legal = seen.all(replicas.LEGAL, customer.company_id) if customer.company_id else ()
    own = seen.all(replicas.LEGAL, customer.contact_id) if customer.contact_id else ()
    return buyer_of(person, firm, legal or own)


def _is_named(seen: Facts, customer: Customer) -> bool:
    try:
        return bool(buyer_seen(seen, customer).name)
    except NotYet:
        return False


def link_invoice(card: InvoiceCard, deal_id: str, asked: Asked) -> Item:
    """Refused: `already_linked`, `deal_unknown`."""

    def link(seen: Facts) -> LinkInvoice:
        deal = seen.one(replicas.DEALS, deal_id)
        if deal is None or deal.deleted:
            raise Rejected("deal_unknown", "There is no such deal.")
        return LinkInvoice(deal_id, asked)

    return (Addressed(INVOICE, card.id, link, (), invoices_set(deal_id), ((replicas.DEALS, deal_id),)),)


def unknown_invoice(invoice_id: str, deal_id: str | None) -> Item:
    """The views do not know it: it does not exist, or was written a moment ago and the item is built again (of one deal in
    the next transaction, otherwise when its key is tried again)."""

    def look(seen: Facts) -> None:
        if seen.state(INVOICE, invoice_id).exists:
            raise NotYet("the invoice was written a moment ago")
        raise NotFound("There is no such invoice.")

    return (Addressed(INVOICE, invoice_id, look, (), invoices_set(deal_id)),)


# -------------------------------------------------------------------------------------------------------------- pay


@dataclass(frozen=True, slots=True)
class Incoming:
    """Money that a provider or a person reports."""

    tenant: UUID
    provider: str
    provider_payment_id: str
    money: Money
    paid_at: datetime
    payer: str | None
    invoice_id: str | None
    document_id: str | None
    asked: Asked = BY_ITSELF
    deal_id: str | None = None

    @property
    def payment_id(self) -> str:
        return payment_id_of(self.tenant, self.provider, self.provider_payment_id)


@dataclass(frozen=True, slots=True)
class Target:
    """What the views know of where money is meant to go; None where they know nothing. `prepaid`: as in Papers."""

    invoice: InvoiceCard | None = None
    document: DocumentCard | None = None
    prepaid: tuple[PaymentCard, ...] = ()

    def deal_id(self, given: str | None) -> str | None:
        """The deal of the document, else of the invoice; what was given where neither is known."""
        if self.document is None and self.invoice is None:
            return given
        return (self.document.deal_id if self.document else None) or (self.invoice.deal_id if self.invoice else None)

    def customer(self, seen: Facts, deal_id: str | None) -> Customer:
        """Whose credit it becomes if nothing takes it: the invoice's customer, else the deal's."""
        if self.invoice:
            return self.invoice.customer
        deal = seen.one(replicas.DEALS, deal_id) if deal_id else None
        return Customer(deal.contact_id, deal.company_id) if deal else NOBODY


def pay(incoming: Incoming, target: Target) -> Item:
    """Record the payment and let its target take what it is owed: invoice and payment document follow in the same item.

    Money is never refused: what the target does not take stays with the payment, with the reason (D26, D31, D32)."""
    invoice_id = incoming.invoice_id or (target.document.invoice_id if target.document else None)
    deal_id = target.deal_id(incoming.deal_id)
    stream = target.document.stream if target.document else documents_of(deal_id, invoice_id)
    place = _Place(incoming, invoice_id, deal_id, stream, target.invoice)
    items: Item = (place.register(target),)
    if invoice_id:
        items = (*_issue_for(place, target), *items, _follow(invoice_id, deal_id, incoming.payment_id, incoming.asked))
    return (*items, place.record()) if stream else items


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a payment goes: the streams of its item."""

    incoming: Incoming
    invoice_id: str | None
    deal_id: str | None
    stream: str
    card: InvoiceCard | None

    @property
    def reads(self) -> tuple[tuple[Any, str], ...]:
        invoice = ((INVOICE, self.invoice_id),) if self.invoice_id else ()
        return (*invoice, *(((DOCUMENTS, self.stream),) if self.stream else ()))

    def allotted(self, seen: Facts) -> allotting.Allotted:
        i = self.incoming
        document = seen.state(DOCUMENTS, self.stream).document(i.document_id) if i.document_id and self.stream else None
        if i.document_id and document is None:
            return 0, allotting.TARGET_UNKNOWN
        if self.invoice_id is None:
            return allotting.to_document(i.money, document)
        return allotting.to_invoice(i.money, seen.state(INVOICE, self.invoice_id), document)

    def must_be_known(self, seen: Facts) -> None:
        """The view was read before the streams were locked. If the invoice is younger, or linked since, the item is built again."""
        invoice = seen.state(INVOICE, self.invoice_id) if self.invoice_id else None
        if invoice and invoice.exists and (self.card is None or self.card.deal_id != invoice.deal_id):
            raise NotYet("the invoice was written a moment ago")

    def register(self, target: Target) -> Addressed[Any]:
        i = self.incoming

        def register(seen: Facts) -> RegisterPayment:
            self.must_be_known(seen)
            applied, why = self.allotted(seen)
            return RegisterPayment(
                i.payment_id,
                self.deal_id or i.payment_id,
                self.deal_id,
                i.provider,
                i.provider_payment_id,
                i.money,
                i.paid_at,
                i.payer,
                self.invoice_id,
                i.document_id,
                target.customer(seen, self.deal_id),
                applied,
                why,
                seen.now,
                i.asked,
                responsible_seen(seen, self.deal_id),
            )

        return Addressed(PAYMENT, i.payment_id, register, self.reads, invoices_set(self.deal_id), deal_finds(self.deal_id))

    def record(self) -> Addressed[Any]:
        """The document that was paid on, and those whose invoice is paid now."""
        i = self.incoming

        def record(seen: Facts) -> RecordPaid | None:
            applied = next((a for a in seen.state(PAYMENT, i.payment_id).allocations if a.n == 1), None)
            nothing_due = self.invoice_id is not None and seen.state(INVOICE, self.invoice_id).status == "paid"
            if applied is None:
                return None
            return RecordPaid(i.payment_id, applied.worth, i.document_id, self.invoice_id, nothing_due, i.asked)

        reads = ((PAYMENT, i.payment_id), *(((INVOICE, self.invoice_id),) if self.invoice_id else ()))
        return Addressed(DOCUMENTS, self.stream, record, reads)


def _issue_for(place: _Place, target: Target) -> Item:
    """Money that a draft would take issues it (F4), if the payment is new and the draft complete."""
    card, i = target.invoice, place.incoming
    if card is None or card.status != "draft":
        return ()
    papers = papers_of(i.tenant, card, [p for p in target.prepaid if p.id != i.payment_id])

    def wanted(seen: Facts) -> bool:
        fits = seen.state(INVOICE, card.id).currency == i.money.currency
        return fits and not seen.state(PAYMENT, i.payment_id).exists and _is_named(seen, card.customer)

    issuing = issue_invoice(papers, i.asked, wanted=wanted)
    return tuple(replace(a, reads=(*a.reads, (PAYMENT, i.payment_id))) for a in issuing)


def _follow(invoice_id: str, deal_id: str | None, payment_id: str, asked: Asked) -> Addressed[Any]:
    """The invoice takes what the payment has allocated to it and it has not taken yet."""

    def take(seen: Facts) -> Allocate | None:
        payment, invoice = seen.state(PAYMENT, payment_id), seen.state(INVOICE, invoice_id)
        for a in payment.allocations:
            if a.invoice_id == invoice_id and not invoice.taken(payment_id, a.n):
                document = payment.document_id if a.n == 1 else None
                return Allocate(
                    Taken(payment_id, a.n, a.worth, document),
                    payment.money.currency if a.rate is None else invoice.currency,
                    payment.paid_at or seen.now,
                    asked,
                    responsible_seen(seen, deal_id),
                    _unpaid_invoices(seen, deal_id, invoice_id),
                )
        return None

    return Addressed(INVOICE, invoice_id, take, ((PAYMENT, payment_id),), invoices_set(deal_id), deal_finds(deal_id))


def responsible_seen(seen: Facts, deal_id: str | None) -> str | None:
    deal = seen.one(replicas.DEALS, deal_id) if deal_id else None
    return deal.responsible_id if deal else None


def _unpaid_invoices(seen: Facts, deal_id: str | None, but: str) -> tuple[str, ...]:
    cards = seen.all(views.INVOICES_OF_DEAL, deal_id) if deal_id else ()
    return tuple(c.id for c in cards if c.status in ("issued", "partially_paid", "refunded") and c.id != but)


def allocate_by_hand(
    payment: PaymentCard, card: InvoiceCard, amount: Money, rate: Decimal | None, asked: Asked, prepaid: Sequence[PaymentCard], tenant: UUID
) -> Item:
    """Credit of a payment goes to an invoice; across currencies at a rate that is kept (D32). A draft is issued first (F4).

    Refused: `currency_differs` (no rate), `more_than_due`, `more_than_unapplied`, `invoice_cancelled`."""

    def allocate(seen: Facts) -> AllocateCredit:
        invoice = seen.state(INVOICE, card.id)
        if amount.currency != invoice.currency and rate is None:
            raise Rejected("currency_differs", f"The invoice is in {invoice.currency}: give the rate to allocate at.")
        worth = amount.minor if rate is None else _exchanged(amount, rate, invoice.currency)
        if invoice.cancelled:
            raise Rejected("invoice_cancelled", "The invoice is cancelled.")
        if worth > invoice.amount_due:
            raise Rejected("more_than_due", "More than the amount due cannot be allocated.")
        return AllocateCredit(card.id, amount.minor, worth, rate, asked)

    def record(seen: Facts) -> RecordPaid:
        return RecordPaid(payment.id, 0, None, card.id, seen.state(INVOICE, card.id).status == "paid", asked)

    stream = documents_of(card.deal_id, card.id)
    papers = papers_of(tenant, card, [p for p in prepaid if p.id != payment.id])
    return (
        Addressed(PAYMENT, payment.id, lambda seen: None),
        *(issue_invoice(papers, asked, wanted=_is_draft(card.id)) if card.status == "draft" else ()),
        Addressed(PAYMENT, payment.id, allocate, ((INVOICE, card.id),)),
        _follow(card.id, card.deal_id, payment.id, asked),
        Addressed(DOCUMENTS, stream, record, ((INVOICE, card.id),)),
    )


def _exchanged(amount: Money, rate: Decimal, currency: str) -> int:
    """Units of the invoice's currency per unit of the payment's, in minor units of the former."""
    ratio = Fraction(10 ** digits_of(currency), 10 ** digits_of(amount.currency))
    return half_up(Fraction(amount.minor) * Fraction(rate) * ratio)


def unallocate(card: InvoiceCard, payment_id: str, n: int, asked: Asked) -> Item:
    """By hand: the invoice gives an allocation back, the payment has it as credit."""

    def take_back(seen: Facts) -> Unallocate:
        return Unallocate(payment_id, n, asked, responsible_seen(seen, card.deal_id))

    finds = deal_finds(card.deal_id)
    return (
        Addressed(PAYMENT, payment_id, lambda seen: None),
        Addressed(INVOICE, card.id, take_back, (), invoices_set(card.deal_id), finds),
        _release(card.id, card.deal_id, payment_id, "taken_back", asked),
    )


def _release(invoice_id: str, deal_id: str | None, payment_id: str, reason: Any, asked: Asked) -> Addressed[Any]:
    """The payment has as credit what the invoice no longer has of it."""

    def release(seen: Facts) -> ReleaseAllocations | None:
        payment, invoice = seen.state(PAYMENT, payment_id), seen.state(INVOICE, invoice_id)
        held = {a.n: invoice.taken(payment_id, a.n) for a in payment.allocations if a.invoice_id == invoice_id}
        parts = tuple((a.n, a.worth - h.amount) for a in payment.allocations if (h := held.get(a.n)) and h.amount < a.worth)
        return ReleaseAllocations(parts, reason, asked, responsible_seen(seen, deal_id)) if parts else None

    finds: Finds = ((replicas.DEALS, deal_id),) if deal_id else ()
    return Addressed(PAYMENT, payment_id, release, ((INVOICE, invoice_id),), None, finds)


# ------------------------------------------------------------------------------------------------ quote and signature


def create_quote(command: CreateQuote, valid_for_days: int | None, tenant: UUID) -> Item:
    """Whoever is responsible for the deal is for its quote, unless somebody is named. Refused: `nothing_to_quote`, `open_exists`."""
    deal_id = command.deal_id
    deal: Finds = ((views.OPEN_QUOTES_OF_DEAL, deal_id), (replicas.DEALS, deal_id)) if deal_id else ()
    finds: Finds = ((replicas.TENANTS, str(tenant)), *deal)

    def create(seen: Facts) -> CreateQuote:
        other = tuple(q for q in seen.all(views.OPEN_QUOTES_OF_DEAL, deal_id) if q != command.quote_id) if deal_id else ()
        until = None if valid_for_days is None else today(seen) + timedelta(days=valid_for_days)
        who = command.responsible_id or responsible_seen(seen, deal_id)
        return replace(command, at=seen.now, other_open=other, valid_until=until, responsible_id=who)

    return (Addressed(QUOTE, command.quote_id, create, (), f"open-quotes/{deal_id}" if deal_id else None, finds),)


# -------------------------------------------------------------------------------------------------------- money back


def refund(card: PaymentCard, refund_id: str, money: Money, to_be_paid_again: bool, reason: str, asked: Asked) -> Item:
    """Ask for the refund. A provider that gives money back is asked (an effect), and `settle_refund` follows its answer. What
    came another way is given back by hand: settled at once."""
    ask = Addressed(PAYMENT, card.id, AskRefund(refund_id, money, to_be_paid_again, reason, asked))
    if card.provider in GIVE_BACK:
        return (ask,)
    back = MoneyBack(card.id, refund_id, card.deal_id, card.invoices, asked)
    return (ask, *settle_refund(back, money.minor, to_be_paid_again, f"manual/{refund_id}"))


@dataclass(frozen=True, slots=True)
class MoneyBack:
    """A refund or reversal: `invoices` have money of the payment."""

    payment_id: str
    back_id: str
    deal_id: str | None
    invoices: tuple[str, ...]
    asked: Asked = BY_ITSELF

    @property
    def reads(self) -> tuple[tuple[Any, str], ...]:
        return tuple((INVOICE, id) for id in self.invoices)


def settle_refund(back: MoneyBack, amount: int, to_be_paid_again: bool, provider_refund_id: str, currency: str | None = None) -> Item:
    """The money has gone back: the payment says of what, its invoices follow (D27). `currency`: as it was reported from outside."""

    def settle(seen: Facts) -> SettleRefund:
        closed = _closed_by_refund(seen, back, amount, to_be_paid_again)
        who = responsible_seen(seen, back.deal_id)
        return SettleRefund(back.back_id, amount, to_be_paid_again, provider_refund_id, closed, back.asked, who, currency)

    first = Addressed(PAYMENT, back.payment_id, settle, back.reads, invoices_set(back.deal_id), deal_finds(back.deal_id))
    return (first, *(_refund_of(back, id) for id in back.invoices))


def doubt_refund(back: MoneyBack, detail: str) -> Item:
    """The provider never answered: the payment keeps the money aside until somebody knows (R10)."""

    def doubt(seen: Facts) -> DoubtRefund:
        return DoubtRefund(back.back_id, detail, responsible_seen(seen, back.deal_id))

    return (Addressed(PAYMENT, back.payment_id, doubt, (), None, deal_finds(back.deal_id)),)


def _closed_by_refund(seen: Facts, back: MoneyBack, amount: int, to_be_paid_again: bool) -> int | None:
    payment = seen.state(PAYMENT, back.payment_id)
    known = payment.refund(back.back_id)
    if known:
        amount, to_be_paid_again = known.amount, known.to_be_paid_again
    _must_exist(payment)
    _must_know_invoices(payment.invoices, back.invoices)
    _, parts = payment.parts_of(min(amount, payment.kept))
    for id in back.invoices:
        worth = sum(part.worth for part in parts if part.invoice_id == id)
        closed = seen.state(INVOICE, id).closes_with(worth, to_be_paid_again) if worth else None
        if closed is not None:
            return closed
    return None


def _must_exist(payment: Payment) -> None:
    """Providers report out of order: that money went back before that it came in."""
    if not payment.exists:
        raise NotYet("the payment has not been reported yet")


def _must_know_invoices(have: Sequence[str], addressed: Sequence[str]) -> None:
    """The view was read before the streams were locked. If the payment has moved since, the item is built again."""
    if not set(have) <= set(addressed):
        raise NotYet("the payment was allocated elsewhere a moment ago")


def _refund_of(back: MoneyBack, invoice_id: str) -> Addressed[Any]:
    def apply(seen: Facts) -> ApplyRefund | None:
        refund = seen.state(PAYMENT, back.payment_id).refund(back.back_id)
        worth = refund.worth_of(invoice_id) if refund and refund.state == "done" else 0
        if refund is None or not worth:
            return None
        who = responsible_seen(seen, back.deal_id)
        return ApplyRefund(back.payment_id, refund.id, worth, refund.to_be_paid_again, refund.asked, who)

    reads = ((PAYMENT, back.payment_id),)
    return Addressed(INVOICE, invoice_id, apply, reads, None, deal_finds(back.deal_id))


def reverse(back: MoneyBack, reason: str, *, again_is_refused: bool = True) -> Item:
    """Charge-back or manual un-pay (D29): whatever is left of the payment is gone, here and in its invoices."""

    def gone(seen: Facts) -> ReversePayment | None:
        payment = seen.state(PAYMENT, back.payment_id)
        if not again_is_refused and payment.reversed:
            return None
        _must_exist(payment)
        _must_know_invoices(payment.invoices, back.invoices)
        open_epochs = [i.epoch for id in back.invoices if (i := seen.state(INVOICE, id)).epoch_open and i.kept_of(back.payment_id)]
        who = responsible_seen(seen, back.deal_id)
        return ReversePayment(back.back_id, reason, next(iter(open_epochs), None), back.asked, who)

    def apply(invoice_id: str) -> Addressed[Any]:
        def applied(seen: Facts) -> ApplyReversal | None:
            if not seen.state(PAYMENT, back.payment_id).reversed:
                return None
            return ApplyReversal(back.payment_id, back.back_id, back.asked, responsible_seen(seen, back.deal_id))

        return Addressed(INVOICE, invoice_id, applied, ((PAYMENT, back.payment_id),), None, deal_finds(back.deal_id))

    first = Addressed(PAYMENT, back.payment_id, gone, back.reads, invoices_set(back.deal_id), deal_finds(back.deal_id))
    return (first, *(apply(id) for id in back.invoices))


# ------------------------------------------------------------------------------------------------ credit and cancel


@dataclass(frozen=True, slots=True)
class Crediting:
    """A credit note over part of an invoice, or over the rest of it when it is cancelled. `payments` have money in it."""

    tenant: UUID
    credit_note_id: str
    card: InvoiceCard
    payments: tuple[str, ...]
    reason: str
    asked: Asked

    @property
    def finds(self) -> Finds:
        return ((replicas.TENANTS, str(self.tenant)), *deal_finds(self.card.deal_id))

    def must_know(self, invoice: Invoice) -> None:
        if not {h.payment_id for h in invoice.allocations if h.kept} <= set(self.payments):
            raise NotYet("a payment of the invoice came in a moment ago")


def credit_invoice(crediting: Crediting, lines: tuple[Line, ...], amount: int | None) -> Item:
    """A numbered credit note over `lines`, or over `amount` of the total. Refused: `invoice_not_issued`, `more_than_total`."""
    id, note = crediting.card.id, crediting.credit_note_id

    def totals(invoice: Invoice) -> Totals:
        return totals_of(lines, invoice.prices_include_tax) if lines else totals_of_amount(invoice.totals, amount or 0)

    def credit(seen: Facts) -> CreditInvoice:
        invoice = seen.state(INVOICE, id)
        if seen.state(CREDIT_NOTE, note).exists:
            raise Rejected("id_taken", "There is a credit note with this id already.")
        crediting.must_know(invoice)
        deal, gross = crediting.card.deal_id, totals(invoice).gross if invoice.exists else 0
        unpaid = _unpaid_invoices(seen, deal, id)
        return CreditInvoice(note, gross, seen.now, crediting.asked, responsible_seen(seen, deal), unpaid)

    def wanted(seen: Facts) -> bool:
        return not seen.state(CREDIT_NOTE, note).exists

    change = Addressed(INVOICE, id, credit, ((CREDIT_NOTE, note),), invoices_set(crediting.card.deal_id), crediting.finds)
    papers = _note(crediting, wanted, lambda invoice: (lines, totals(invoice)), cancels=False)
    return (change, *papers, *_released_by(crediting, "credited"))


def _note(
    crediting: Crediting, wanted: Callable[[Facts], bool], content: Callable[[Invoice], tuple[tuple[Line, ...], Totals]], *, cancels: bool
) -> Item:
    """Number and credit note; what it says is taken from the invoice."""
    invoice_id, note = crediting.card.id, crediting.credit_note_id

    def draw(seen: Facts) -> DrawNumber | None:
        return DrawNumber(CREDIT_NOTES, note, today(seen)) if wanted(seen) else None

    def issue(seen: Facts) -> IssueCreditNote | None:
        if not wanted(seen):
            return None
        invoice = seen.state(INVOICE, invoice_id)
        lines, totals = content(invoice)
        return IssueCreditNote(
            note,
            invoice.record_key,
            seen.state(SERIES, CREDIT_NOTES).last,
            invoice_id,
            invoice.number or "",
            invoice.deal_id,
            invoice.currency,
            invoice.prices_include_tax,
            lines,
            totals,
            crediting.reason,
            cancels,
            today(seen),
            invoice.buyer,
            seen.now,
            crediting.asked,
        )

    reads = ((INVOICE, invoice_id), (CREDIT_NOTE, note))
    return (
        Addressed(SERIES, CREDIT_NOTES, draw, reads, None, crediting.finds),
        Addressed(CREDIT_NOTE, note, issue, ((INVOICE, invoice_id), (SERIES, CREDIT_NOTES)), None, crediting.finds),
    )


def _released_by(crediting: Crediting, reason: str) -> Item:
    return tuple(_release(crediting.card.id, crediting.card.deal_id, p, reason, crediting.asked) for p in crediting.payments)


def cancel_invoice(crediting: Crediting, *, if_untouched: bool) -> Item:
    """A draft is thrown away; an issued invoice is negated by a credit note over the rest, its money becomes unallocated.
    Payment documents that ask for its money are cancelled with it. Refused: `invoice_over`, `has_been_touched`."""
    id, note, stream = crediting.card.id, crediting.credit_note_id, documents_of(crediting.card.deal_id, crediting.card.id)

    def negates(seen: Facts) -> bool:
        invoice = seen.state(INVOICE, id)
        return invoice.issued and not invoice.cancelled and not (if_untouched and invoice.touched)

    def rest(invoice: Invoice) -> tuple[tuple[Line, ...], Totals]:
        whole = not invoice.credited
        return (invoice.lines, invoice.totals) if whole else ((), totals_of_amount(invoice.totals, invoice.owed))

    def cancel(seen: Facts) -> CancelInvoice:
        invoice = seen.state(INVOICE, id)
        crediting.must_know(invoice)
        return CancelInvoice(if_untouched, crediting.reason, note if invoice.issued else None, crediting.asked)

    def covering(seen: Facts) -> CancelCovering | None:
        return CancelCovering(id, replace(crediting.asked, request_id=None)) if seen.state(INVOICE, id).cancelled else None

    return (
        Addressed(INVOICE, id, lambda seen: None),
        *_note(crediting, negates, rest, cancels=True),
        Addressed(INVOICE, id, cancel, (), invoices_set(crediting.card.deal_id), deal_finds(crediting.card.deal_id)),
        *_released_by(crediting, "target_cancelled"),
        Addressed(DOCUMENTS, stream, covering, ((INVOICE, id),)),
    )


# ----------------------------------------------------------------------------------------------------- payment links

LONGEST = 3650


def new_link(now: datetime, days: int | None) -> Link:
    """An unguessable link, good for `days` days. Raises Rejected (`validation_failed`) outside 1 to 3,650."""
    good_for = settings().link_days if days is None else days
    if not 1 <= good_for <= LONGEST:
        raise invalid([Fault("#/expires_in_days", "out_of_range", f"A link is good for 1 to {LONGEST} days.")])
    token = clock.new_token(128)
    return Link(hash_of(token), f"{settings().base}/pay/{token}", now + timedelta(days=good_for))


def hash_of(token: str) -> str:
    """What is stored and looked up of a link's token."""
    return sha256(token.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Wish:
    """A link that is asked for. `own` is what the document says if no invoice is covered (F3)."""

    tenant: UUID
    deal_id: str | None
    invoice_id: str | None
    own: NewDocument
    link: Link
    asked: Asked
    auto_create: bool = True
    order_id: str | None = None
    reuse_existing: bool = False
    additional: bool = False
    covers_deal: bool = False


def covered_by(wish: Wish, known: Sequence[InvoiceCard]) -> InvoiceCard | None:
    """F3: the invoice named, else the newest open one of the deal in the same currency; none with `covers: deal`."""
    if wish.invoice_id:
        found = next((c for c in known if c.id == wish.invoice_id), None)
        if found is None:
            raise NotFound("There is no such invoice.")
        return found
    if wish.covers_deal or not wish.auto_create:
        return None
    return next((c for c in known if _can_be_covered(c, wish.own.currency)), None)


def _can_be_covered(card: InvoiceCard, currency: str) -> bool:
    return card.status in ("draft", "issued", "partially_paid") and card.currency == currency


def create_link(wish: Wish, covered: InvoiceCard | None, prepaid: Sequence[PaymentCard]) -> Item:
    """A payment document with its link, once per deal (S24, D34); the draft that it covers is issued (F4).

    Refused: `payment_document_exists`, `nothing_to_pay`, `order_not_found`, `invoice_cancelled`."""
    deal_id = wish.deal_id or (covered.deal_id if covered else None)
    stream = documents_of(deal_id, covered.id if covered else wish.invoice_id)
    place = _Link(wish, deal_id, stream, covered)
    ask = Addressed(DOCUMENTS, stream, place.create, place.reads, invoices_set(deal_id), deal_finds(deal_id))
    if covered is None or covered.status != "draft":
        return (ask,)
    issuing = issue_invoice(papers_of(wish.tenant, covered, prepaid), wish.asked, wanted=place.makes)
    return (*(replace(a, reads=(*a.reads, (DOCUMENTS, stream))) for a in issuing), ask)


@dataclass(frozen=True, slots=True)
class _Link:
    wish: Wish
    deal_id: str | None
    stream: str
    covered: InvoiceCard | None

    @property
    def reads(self) -> tuple[tuple[Any, str], ...]:
        return ((INVOICE, self.covered.id),) if self.covered else ()

    def create(self, seen: Facts) -> CreateLink:
        self._must_be_newest(seen)
        return self._command(seen, self._document(seen))

    def makes(self, seen: Facts) -> bool:
        return seen.state(DOCUMENTS, self.stream).makes(self._command(seen, self.wish.own))

    def _command(self, seen: Facts, document: NewDocument) -> CreateLink:
        w = self.wish
        known = (self.stream, self.deal_id, document, w.link, seen.now, w.asked)
        return CreateLink(*known, w.auto_create, w.order_id, w.reuse_existing, w.additional)

    def _document(self, seen: Facts) -> NewDocument:
        if self.covered is None:
            deal = seen.one(replicas.DEALS, self.deal_id) if self.deal_id else None
            return replace(self.wish.own, title=self.wish.own.title or (deal.title if deal else ""))
        invoice = seen.state(INVOICE, self.covered.id)
        if invoice.cancelled:
            raise Rejected("invoice_cancelled", "The invoice is cancelled.")
        return replace(
            self.wish.own,
            title=invoice.title,
            currency=invoice.currency,
            amount=invoice.amount_due,
            prices_include_tax=invoice.prices_include_tax,
            lines=invoice.lines,
            invoice_id=invoice.id,
        )

    def _must_be_newest(self, seen: Facts) -> None:
        """The view was read before the set was locked. If an invoice has come since, the item is built again."""
        w = self.wish
        if w.invoice_id or w.covers_deal or not w.auto_create or not self.deal_id:
            return
        newest = covered_by(w, seen.all(views.INVOICES_OF_DEAL, self.deal_id))
        if (newest.id if newest else None) != (self.covered.id if self.covered else None):
            raise NotYet("an invoice of the deal was written a moment ago")
