"""Payment documents of one deal, with their links: one stream, so that "exists already" is one decision (S24, D34, D34b, F8).

The stream's id is the deal's, or the invoice's where there is no deal. A document's `captured` counts what was paid on it;
money for an invoice lies with the invoice, money on a document without one is a prepayment (F5). Amounts in minor units."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, assert_never

from services.billing.domain.money import Line, Money
from services.billing.domain.origin import BY_ITSELF, Asked
from shared.es.aggregate import Aggregate
from shared.es.errors import NotFound, Rejected

Status = Literal["draft", "open", "partially_paid", "paid", "expired", "cancelled"]
MOST_DOCUMENTS = 100

# ------------------------------------------------------------------------------------------------------------ state


@dataclass(frozen=True, slots=True)
class Link:
    """`token_hash`: hex SHA-256 of the token at the end of `url`; only the hash is ever looked up."""

    token_hash: str
    url: str
    expires_at: datetime | None


@dataclass(frozen=True, slots=True)
class NewDocument:
    """What is to be paid: the rest of an invoice, or the deal's own rows."""

    document_id: str
    title: str
    currency: str
    amount: int
    prices_include_tax: bool
    lines: tuple[Line, ...]
    invoice_id: str | None = None
    order_id: str | None = None


@dataclass(frozen=True, slots=True)
class Document:
    id: str
    title: str
    currency: str
    amount: int
    prices_include_tax: bool
    lines: tuple[Line, ...]
    invoice_id: str | None
    order_id: str | None
    status: Status = "draft"
    link: Link | None = None
    captured: int = 0
    asked: Asked = BY_ITSELF
    created_at: datetime | None = None
    linked_for: str | None = None
    """The request that made its link."""
    payments: frozenset[str] = frozenset()
    """Payments that were captured on it."""

    @property
    def over(self) -> bool:
        return self.status == "cancelled"

    @property
    def remaining(self) -> int:
        """What can still be paid on it."""
        return max(0, self.amount - self.captured) if self.status in ("draft", "open", "partially_paid") else 0

    @property
    def money(self) -> Money:
        return Money(self.amount, self.currency)


@dataclass(frozen=True, slots=True)
class PaymentDocuments:
    record_key: str = ""
    deal_id: str | None = None
    documents: tuple[Document, ...] = ()

    def document(self, id: str) -> Document | None:
        return next((d for d in self.documents if d.id == id), None)

    @property
    def living(self) -> tuple[Document, ...]:
        """All that are not cancelled, whatever their status: what S24 means by "has a payment document"."""
        return tuple(d for d in self.documents if not d.over)

    def payable(self) -> Document | None:
        """The newest with a link on which something can be paid."""
        return next((d for d in reversed(self.living) if d.link and d.status in ("open", "partially_paid")), None)

    def of_order(self, order_id: str) -> Document | None:
        return next((d for d in self.living if d.order_id == order_id), None)

    def makes(self, c: CreateLink) -> bool:
        """Whether this command would make a new document now: only then is the invoice that it covers issued (F4)."""
        return c.auto_create and self.document(c.new.document_id) is None and (c.additional or not self.living)


# --------------------------------------------------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True)
class PrepareDocument:
    """A document without a link, by hand; several per deal, one per order number."""

    record_key: str
    deal_id: str | None
    new: NewDocument
    at: datetime
    asked: Asked


@dataclass(frozen=True, slots=True)
class CreateLink:
    """`additional`: a person may ask for money again; the guard of S24 binds rules."""

    record_key: str
    deal_id: str | None
    new: NewDocument
    link: Link
    at: datetime
    asked: Asked
    auto_create: bool = True
    order_id: str | None = None
    reuse_existing: bool = False
    additional: bool = False


@dataclass(frozen=True, slots=True)
class RecordPaid:
    """A payment counts for a document, or for the invoice that documents cover. `nothing_due`: that invoice is paid."""

    payment_id: str
    amount: int
    document_id: str | None
    invoice_id: str | None
    nothing_due: bool
    asked: Asked


@dataclass(frozen=True, slots=True)
class ExpireLink:
    """`token_hash` names the link: a later one of the same document is not meant. None: whatever link it has."""

    document_id: str
    token_hash: str | None
    asked: Asked


@dataclass(frozen=True, slots=True)
class ExpireLinks:
    """All open links of a lost deal (D64)."""

    asked: Asked


@dataclass(frozen=True, slots=True)
class ReopenLink:
    document_id: str
    link: Link
    asked: Asked


@dataclass(frozen=True, slots=True)
class CancelDocument:
    document_id: str
    if_untouched: bool
    reason: str
    asked: Asked


@dataclass(frozen=True, slots=True)
class CancelCovering:
    """The invoice is cancelled: whatever asks for its money, and has none yet, is too."""

    invoice_id: str
    asked: Asked


# ----------------------------------------------------------------------------------------------------------- events


@dataclass(frozen=True, slots=True)
class PaymentDocumentCreated:
    record_key: str
    deal_id: str | None
    new: NewDocument
    at: datetime
    asked: Asked


@dataclass(frozen=True, slots=True)
class PaymentLinkCreated:
    document_id: str
    link: Link
    asked: Asked


@dataclass(frozen=True, slots=True)
class PaymentLinkHandedOut:
    document_id: str
    asked: Asked


@dataclass(frozen=True, slots=True)
class PaymentLinkExpired:
    document_id: str
    asked: Asked


@dataclass(frozen=True, slots=True)
class DocumentPartiallyPaid:
    document_id: str
    payment_id: str
    amount: int
    asked: Asked


@dataclass(frozen=True, slots=True)
class PaymentDocumentPaid:
    """`amount` was captured with it; 0 when the invoice was paid another way."""

    document_id: str
    payment_id: str
    amount: int
    asked: Asked


@dataclass(frozen=True, slots=True)
class PaymentDocumentCancelled:
    document_id: str
    reason: str
    asked: Asked


DocumentsCommand = PrepareDocument | CreateLink | RecordPaid | ExpireLink | ExpireLinks | ReopenLink | CancelDocument | CancelCovering
DocumentsEvent = (
    PaymentDocumentCreated
    | PaymentLinkCreated
    | PaymentLinkHandedOut
    | PaymentLinkExpired
    | DocumentPartiallyPaid
    | PaymentDocumentPaid
    | PaymentDocumentCancelled
)

# ----------------------------------------------------------------------------------------------------------- decide


def decide(documents: PaymentDocuments, command: DocumentsCommand) -> Sequence[DocumentsEvent]:
    match command:
        case PrepareDocument():
            return _prepare(documents, command)
        case CreateLink():
            return _create_link(documents, command)
        case RecordPaid():
            return _record_paid(documents, command)
        case ExpireLink():
            return _expire(documents, command)
        case ExpireLinks():
            return [PaymentLinkExpired(d.id, command.asked) for d in documents.documents if d.status == "open"]
        case ReopenLink():
            return _reopen(documents, command)
        case CancelDocument():
            return _cancel(documents, command)
        case CancelCovering():
            return [
                PaymentDocumentCancelled(d.id, "the invoice is cancelled", command.asked)
                for d in documents.living
                if d.invoice_id == command.invoice_id and d.status in ("draft", "open", "expired")
            ]
        case _:
            assert_never(command)


def _prepare(documents: PaymentDocuments, c: PrepareDocument) -> Sequence[DocumentsEvent]:
    if documents.document(c.new.document_id):
        return []
    if c.new.order_id and documents.of_order(c.new.order_id):
        raise Rejected("order_taken", f"There is a payment document for order {c.new.order_id} already.")
    return [_new(documents, c)]


def _new(documents: PaymentDocuments, c: PrepareDocument | CreateLink) -> PaymentDocumentCreated:
    if c.new.amount <= 0:
        raise Rejected("nothing_to_pay", "There are no products and no amount to pay.")
    if len(documents.documents) >= MOST_DOCUMENTS:
        raise Rejected("too_many_documents", f"A deal has at most {MOST_DOCUMENTS} payment documents.")
    return PaymentDocumentCreated(c.record_key, c.deal_id, c.new, c.at, c.asked)


def _create_link(documents: PaymentDocuments, c: CreateLink) -> Sequence[DocumentsEvent]:
    if not c.auto_create:
        return _link_prepared(documents, c)
    if documents.document(c.new.document_id):
        return []
    if documents.makes(c):
        return [_new(documents, c), PaymentLinkCreated(c.new.document_id, c.link, c.asked)]
    return _hand_out(documents.payable(), c)


def _link_prepared(documents: PaymentDocuments, c: CreateLink) -> Sequence[DocumentsEvent]:
    """The document that was prepared for this order earlier (F1)."""
    prepared = documents.of_order(c.order_id) if c.order_id else None
    if prepared is None:
        raise Rejected("order_not_found", f"The deal has no payment document for order {c.order_id or '(none)'}.")
    if prepared.link is None:
        return [PaymentLinkCreated(prepared.id, c.link, c.asked)]
    if c.asked.request_id is not None and prepared.linked_for == c.asked.request_id:
        return []
    return _hand_out(prepared if prepared.status in ("open", "partially_paid") else None, c)


def _hand_out(existing: Document | None, c: CreateLink) -> Sequence[DocumentsEvent]:
    if existing and c.reuse_existing:
        return [PaymentLinkHandedOut(existing.id, c.asked)]
    raise Rejected("payment_document_exists", "The deal has a payment document already.")


def _record_paid(documents: PaymentDocuments, c: RecordPaid) -> Sequence[DocumentsEvent]:
    """The document that was paid on, and all others that cover an invoice which is paid now."""
    events: list[DocumentsEvent] = []
    for d in documents.living:
        paid_on, covers = d.id == c.document_id, d.invoice_id is not None and d.invoice_id == c.invoice_id
        if d.status == "paid" or c.payment_id in d.payments or not (paid_on or covers):
            continue
        amount = c.amount if paid_on else 0
        if d.captured + amount >= d.amount or (covers and c.nothing_due):
            events.append(PaymentDocumentPaid(d.id, c.payment_id, amount, c.asked))
        elif amount:
            events.append(DocumentPartiallyPaid(d.id, c.payment_id, amount, c.asked))
    return events


def _expire(documents: PaymentDocuments, c: ExpireLink) -> Sequence[DocumentsEvent]:
    d = _known(documents, c.document_id)
    if d.status != "open" or d.link is None or c.token_hash not in (None, d.link.token_hash):
        return []
    return [PaymentLinkExpired(d.id, c.asked)]


def _reopen(documents: PaymentDocuments, c: ReopenLink) -> Sequence[DocumentsEvent]:
    d = _known(documents, c.document_id)
    if d.status == "paid":
        raise Rejected("document_paid", "The document is paid.")
    if d.over:
        raise Rejected("document_over", "The document is cancelled.")
    return [PaymentLinkCreated(d.id, c.link, c.asked)]


def _cancel(documents: PaymentDocuments, c: CancelDocument) -> Sequence[DocumentsEvent]:
    d = _known(documents, c.document_id)
    if d.over:
        raise Rejected("document_over", "The document is cancelled already.")
    if d.status in ("partially_paid", "paid"):
        code = "has_been_touched" if c.if_untouched else "document_paid"
        raise Rejected(code, "Something was paid on the document.")
    return [PaymentDocumentCancelled(d.id, c.reason, c.asked)]


def _known(documents: PaymentDocuments, id: str) -> Document:
    found = documents.document(id)
    if found is None:
        raise NotFound("There is no such payment document.")
    return found


# ----------------------------------------------------------------------------------------------------------- evolve


def evolve(documents: PaymentDocuments, event: DocumentsEvent) -> PaymentDocuments:
    match event:
        case PaymentDocumentCreated():
            return _created(documents, event)
        case PaymentLinkCreated():
            return _linked(documents, event)
        case PaymentLinkHandedOut():
            return documents
        case PaymentLinkExpired():
            return _changed(documents, event.document_id, status="expired")
        case DocumentPartiallyPaid():
            return _captured(documents, event, "partially_paid")
        case PaymentDocumentPaid():
            return _captured(documents, event, "paid")
        case PaymentDocumentCancelled():
            return _changed(documents, event.document_id, status="cancelled")
        case _:
            assert_never(event)


def _created(documents: PaymentDocuments, e: PaymentDocumentCreated) -> PaymentDocuments:
    new = e.new
    document = Document(
        id=new.document_id,
        title=new.title,
        currency=new.currency,
        amount=new.amount,
        prices_include_tax=new.prices_include_tax,
        lines=new.lines,
        invoice_id=new.invoice_id,
        order_id=new.order_id,
        asked=e.asked,
        created_at=e.at,
    )
    return PaymentDocuments(e.record_key, e.deal_id or documents.deal_id, (*documents.documents, document))


def _linked(documents: PaymentDocuments, e: PaymentLinkCreated) -> PaymentDocuments:
    def linked(d: Document) -> Document:
        status: Status = "partially_paid" if d.captured else "open"
        return replace(d, status=status, link=e.link, linked_for=e.asked.request_id)

    return replace(documents, documents=tuple(linked(d) if d.id == e.document_id else d for d in documents.documents))


def _captured(documents: PaymentDocuments, e: DocumentPartiallyPaid | PaymentDocumentPaid, status: Status) -> PaymentDocuments:
    def captured(d: Document) -> Document:
        return replace(d, status=status, captured=d.captured + e.amount, payments=d.payments | {e.payment_id})

    return replace(documents, documents=tuple(captured(d) if d.id == e.document_id else d for d in documents.documents))


def _changed(documents: PaymentDocuments, id: str, *, status: Status) -> PaymentDocuments:
    return replace(documents, documents=tuple(replace(d, status=status) if d.id == id else d for d in documents.documents))


DOCUMENTS: Aggregate[PaymentDocuments, DocumentsCommand, DocumentsEvent] = Aggregate(
    "payment-documents",
    PaymentDocuments(),
    decide,
    evolve,
    (
        PaymentDocumentCreated,
        PaymentLinkCreated,
        PaymentLinkHandedOut,
        PaymentLinkExpired,
        DocumentPartiallyPaid,
        PaymentDocumentPaid,
        PaymentDocumentCancelled,
    ),
    read_by_others=True,
)
