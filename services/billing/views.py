"""Tables of billing's own streams, their rows, finders over them and the selects of the HTTP lists (billing.md 11).

Amounts are minor units (bigint); their currency stands beside them. Ids are text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Index,
    Integer,
    Select,
    Text,
    and_,
    exists,
    not_,
    select,
)

from services.billing.domain import invoice as inv
from services.billing.domain import payment_document, quote, sign_document
from services.billing.domain.checkout import Checkout
from services.billing.domain.credit_note import CreditNote
from services.billing.domain.customer import Customer
from services.billing.domain.invoice import Invoice, InvoiceEvent
from services.billing.domain.payment import Payment
from services.billing.domain.payment_document import DocumentsEvent, PaymentDocuments
from services.billing.domain.provider_event import ProviderEvent
from services.billing.domain.quote import Quote
from services.billing.domain.series import NumberSeries
from services.billing.domain.sign_document import SignDocument
from shared.es.recorded import Recorded
from shared.es.view import HistoryView, Row, StateView, by_column, history_table, state_table


def _instant(name: str, *, nullable: bool = True) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _amount(name: str) -> Column[Any]:
    return Column(name, BigInteger, nullable=False)


# --------------------------------------------------------------------------------------------------------- invoices

INVOICES = state_table(
    "invoices_v1",
    Column("deal_id", Text),
    Column("number", Text),
    Column("series", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("responsible_id", Text),
    Column("contact_id", Text),
    Column("company_id", Text),
    Column("currency", Text, nullable=False),
    _amount("net"),
    _amount("tax"),
    _amount("total"),
    _amount("amount_due"),
    _amount("held"),
    _amount("credited"),
    _amount("refunded"),
    Column("epoch", Integer, nullable=False),
    Column("status", Text, nullable=False),
    Column("issue_date", Date),
    Column("due_date", Date),
    _instant("paid_at"),
    Column("origin_rule_id", Text),
    _instant("created_at", nullable=False),
    Index("invoices_v1_deal", "tenant", "deal_id", "created_at"),
    Index("invoices_v1_created", "tenant", "created_at", "id"),
    Index("invoices_v1_number", "tenant", "number"),
)


def invoice_row(invoice: Invoice, recorded: Recorded[Any]) -> Row:
    return {
        "deal_id": invoice.deal_id,
        "number": invoice.number,
        "series": invoice.series,
        "title": invoice.title,
        "responsible_id": invoice.responsible_id,
        "contact_id": invoice.customer.contact_id,
        "company_id": invoice.customer.company_id,
        "currency": invoice.currency,
        "net": invoice.totals.net,
        "tax": invoice.totals.tax,
        "total": invoice.total,
        "amount_due": invoice.amount_due,
        "held": invoice.held,
        "credited": invoice.credited,
        "refunded": invoice.refunded,
        "epoch": invoice.epoch,
        "status": invoice.status,
        "issue_date": invoice.issue_date,
        "due_date": invoice.due_date,
        "paid_at": invoice.paid_at,
        "origin_rule_id": invoice.origin_rule_id,
        "created_at": invoice.created_at,
    }


invoices: StateView[Invoice] = StateView(INVOICES, invoice_row)

INVOICE_ALLOCATIONS = history_table(
    "invoice_allocations_v1",
    Column("payment_id", Text, nullable=False),
    Column("allocation", Integer),
    Column("kind", Text, nullable=False),
    _amount("amount"),
    Column("currency", Text, nullable=False),
    Column("document_id", Text),
    Column("epoch", Integer, nullable=False),
    _instant("at", nullable=False),
    Index("invoice_allocations_v1_payment", "tenant", "payment_id"),
)
"""`kind`: allocated, refunded, reversed, released. `epoch`: the last one, that of the row included."""


def allocation_rows(invoice: Invoice, recorded: Recorded[InvoiceEvent]) -> Iterable[Row]:
    known = {"currency": invoice.currency, "epoch": invoice.epoch, "at": recorded.recorded_at, "document_id": None, "allocation": None}
    match recorded.event:
        case inv.InvoicePartiallyPaid(taken=taken) | inv.InvoicePaid(taken=inv.Taken() as taken):
            money = {"payment_id": taken.payment_id, "allocation": taken.n, "amount": taken.amount}
            return [{**known, **money, "document_id": taken.document_id, "kind": "allocated"}]
        case inv.RefundNoted() | inv.InvoiceRefunded() as e:
            return [{**known, "payment_id": e.payment_id, "amount": e.amount, "kind": "refunded"}]
        case inv.ReversalNoted() as e:
            return [{**known, "payment_id": e.payment_id, "amount": e.amount, "kind": "reversed"}]
        case inv.InvoiceReopened() as e:
            kind = "reversed" if e.reason == "reversed" else "refunded"
            return [{**known, "payment_id": e.payment_id, "amount": e.amount, "kind": kind}]
        case inv.AllocationTakenBack() | inv.InvoiceCredited() | inv.InvoiceCancelled():
            return [
                {**known, "payment_id": r.payment_id, "allocation": r.n, "amount": r.amount, "kind": "released"}
                for r in _released(recorded.event)
            ]
        case _:
            return []


def _released(event: inv.AllocationTakenBack | inv.InvoiceCredited | inv.InvoiceCancelled) -> tuple[inv.Released, ...]:
    if isinstance(event, inv.AllocationTakenBack):
        return (inv.Released(event.payment_id, event.n, event.amount),)
    return event.released


invoice_allocations: HistoryView[Invoice, InvoiceEvent] = HistoryView(INVOICE_ALLOCATIONS, allocation_rows)

# ------------------------------------------------------------------------------------------------ payment documents

PAYMENT_DOCUMENTS = history_table(
    "payment_documents_v1",
    Column("payment_document_id", Text, nullable=False),
    Column("deal_id", Text),
    Column("invoice_id", Text),
    Column("order_id", Text),
    Column("title", Text, nullable=False),
    Column("currency", Text, nullable=False),
    _amount("amount"),
    _amount("captured"),
    Column("status", Text, nullable=False),
    _instant("expires_at"),
    _instant("created_at", nullable=False),
    Index("payment_documents_v1_document", "tenant", "payment_document_id", "version"),
    Index("payment_documents_v1_deal", "tenant", "deal_id"),
    Index("payment_documents_v1_invoice", "tenant", "invoice_id"),
    Index("payment_documents_v1_created", "tenant", "created_at"),
)
"""One row per change of a document, complete; the newest row of a document is the document as it is."""

PAY_TOKENS = history_table(
    "pay_tokens_v1",
    Column("token_hash", Text, nullable=False),
    Column("payment_document_id", Text, nullable=False),
    Index("pay_tokens_v1_hash", "token_hash"),
)
"""Where a link leads; the token itself is not kept here."""


def document_rows(documents: PaymentDocuments, recorded: Recorded[DocumentsEvent]) -> Iterable[Row]:
    event = recorded.event
    if isinstance(event, payment_document.PaymentLinkHandedOut):
        return []
    id = event.new.document_id if isinstance(event, payment_document.PaymentDocumentCreated) else event.document_id
    d = documents.document(id)
    if d is None:
        return []
    return [
        {
            "payment_document_id": d.id,
            "deal_id": documents.deal_id,
            "invoice_id": d.invoice_id,
            "order_id": d.order_id,
            "title": d.title,
            "currency": d.currency,
            "amount": d.amount,
            "captured": d.captured,
            "status": d.status,
            "expires_at": d.link.expires_at if d.link else None,
            "created_at": d.created_at,
        }
    ]


def token_rows(documents: PaymentDocuments, recorded: Recorded[DocumentsEvent]) -> Iterable[Row]:
    event = recorded.event
    if isinstance(event, payment_document.PaymentLinkCreated):
        return [{"token_hash": event.link.token_hash, "payment_document_id": event.document_id}]
    return []


payment_documents: HistoryView[PaymentDocuments, DocumentsEvent] = HistoryView(PAYMENT_DOCUMENTS, document_rows)
pay_tokens: HistoryView[PaymentDocuments, DocumentsEvent] = HistoryView(PAY_TOKENS, token_rows)


def current_documents() -> Select[Any]:
    """The newest row of every document."""
    newer = PAYMENT_DOCUMENTS.alias("newer")
    is_older = exists().where(
        and_(
            newer.c.tenant == PAYMENT_DOCUMENTS.c.tenant,
            newer.c.payment_document_id == PAYMENT_DOCUMENTS.c.payment_document_id,
            newer.c.version > PAYMENT_DOCUMENTS.c.version,
        )
    )
    return select(PAYMENT_DOCUMENTS).where(not_(is_older))


# --------------------------------------------------------------------------------------------------------- payments

PAYMENTS = state_table(
    "payments_v1",
    Column("provider", Text, nullable=False),
    Column("provider_payment_id", Text, nullable=False),
    Column("payer", Text),
    Column("currency", Text, nullable=False),
    _amount("amount"),
    _amount("unapplied"),
    _amount("credit"),
    _amount("prepaid"),
    _amount("refunded"),
    Column("status", Text, nullable=False),
    Column("unapplied_reason", Text),
    Column("deal_id", Text),
    Column("invoice_id", Text),
    Column("payment_document_id", Text),
    Column("contact_id", Text),
    Column("company_id", Text),
    Column("invoices", JSON, nullable=False),
    _instant("paid_at", nullable=False),
    _instant("received_at", nullable=False),
    Index("payments_v1_deal", "tenant", "deal_id"),
    Index("payments_v1_invoice", "tenant", "invoice_id"),
    Index("payments_v1_received", "tenant", "received_at", "id"),
)
"""`invoices`: ids of those that have money of it. `credit`: what the customer has to his good."""


def payment_row(p: Payment, recorded: Recorded[Any]) -> Row:
    return {
        "provider": p.provider,
        "provider_payment_id": p.provider_payment_id,
        "payer": p.payer,
        "currency": p.money.currency,
        "amount": p.money.minor,
        "unapplied": p.unapplied,
        "credit": p.credit,
        "prepaid": p.prepaid,
        "refunded": p.refunded,
        "status": p.status,
        "unapplied_reason": p.unapplied_reason,
        "deal_id": p.deal_id,
        "invoice_id": p.invoice_id,
        "payment_document_id": p.document_id,
        "contact_id": p.customer.contact_id,
        "company_id": p.customer.company_id,
        "invoices": list(p.invoices),
        "paid_at": p.paid_at,
        "received_at": p.received_at,
    }


payments: StateView[Payment] = StateView(PAYMENTS, payment_row)

PROVIDER_EVENTS = state_table(
    "provider_events_v1",
    Column("provider", Text, nullable=False),
    Column("event_id", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("raw", Text, nullable=False),
    _instant("received_at", nullable=False),
)


def provider_event_row(e: ProviderEvent, recorded: Recorded[Any]) -> Row:
    return {"provider": e.provider, "event_id": e.event_id, "kind": e.kind, "raw": e.raw, "received_at": e.received_at}


provider_events: StateView[ProviderEvent] = StateView(PROVIDER_EVENTS, provider_event_row)

CHECKOUTS = state_table(
    "checkouts_v1",
    Column("payment_document_id", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("currency", Text, nullable=False),
    _amount("amount"),
    _instant("opened_at", nullable=False),
    Index("checkouts_v1_document", "tenant", "payment_document_id", "opened_at"),
)


def checkout_row(c: Checkout, recorded: Recorded[Any]) -> Row:
    known = {"payment_document_id": c.document_id, "status": c.status, "opened_at": c.opened_at}
    return {**known, "currency": c.money.currency, "amount": c.money.minor}


checkouts: StateView[Checkout] = StateView(CHECKOUTS, checkout_row)

# ------------------------------------------------------------------------------------------------- other documents

CREDIT_NOTES = state_table(
    "credit_notes_v1",
    Column("number", Text, nullable=False),
    Column("invoice_id", Text, nullable=False),
    Column("deal_id", Text),
    Column("currency", Text, nullable=False),
    _amount("net"),
    _amount("tax"),
    _amount("total"),
    Column("reason", Text, nullable=False),
    Column("cancels_invoice", Boolean, nullable=False),
    Column("issue_date", Date, nullable=False),
    _instant("created_at", nullable=False),
    Index("credit_notes_v1_invoice", "tenant", "invoice_id"),
)


def credit_note_row(note: CreditNote, recorded: Recorded[Any]) -> Row:
    return {
        "number": note.number,
        "invoice_id": note.invoice_id,
        "deal_id": note.deal_id,
        "currency": note.currency,
        "net": note.totals.net,
        "tax": note.totals.tax,
        "total": note.totals.gross,
        "reason": note.reason,
        "cancels_invoice": note.cancels_invoice,
        "issue_date": note.issue_date,
        "created_at": note.at,
    }


credit_notes: StateView[CreditNote] = StateView(CREDIT_NOTES, credit_note_row)

NUMBER_SERIES = state_table(
    "number_series_v1",
    Column("prefix", Text, nullable=False),
    Column("digits", Integer, nullable=False),
    Column("yearly", Boolean, nullable=False),
    Column("next", BigInteger, nullable=False),
    Column("year", Integer),
    Column("drawn", BigInteger, nullable=False),
    Column("last", Text, nullable=False),
)


def series_row(s: NumberSeries, recorded: Recorded[Any]) -> Row:
    known = {"prefix": s.prefix, "digits": s.digits, "yearly": s.yearly}
    return {**known, "next": s.next, "year": s.year, "drawn": s.drawn, "last": s.last}


number_series: StateView[NumberSeries] = StateView(NUMBER_SERIES, series_row)

QUOTES = state_table(
    "quotes_v1",
    Column("deal_id", Text),
    Column("number", Text),
    Column("title", Text, nullable=False),
    Column("responsible_id", Text),
    Column("contact_id", Text),
    Column("company_id", Text),
    Column("currency", Text, nullable=False),
    _amount("total"),
    Column("status", Text, nullable=False),
    Column("valid_until", Date),
    _instant("created_at", nullable=False),
    Index("quotes_v1_deal", "tenant", "deal_id"),
)


def quote_row(q: Quote, recorded: Recorded[Any]) -> Row:
    return {
        "deal_id": q.deal_id,
        "number": q.number,
        "title": q.title,
        "responsible_id": q.responsible_id,
        "contact_id": q.customer.contact_id,
        "company_id": q.customer.company_id,
        "currency": q.currency,
        "total": q.totals.gross,
        "status": q.status,
        "valid_until": q.valid_until,
        "created_at": q.created_at,
    }


quotes: StateView[Quote] = StateView(QUOTES, quote_row)

QUOTE_TOKENS = history_table("quote_tokens_v1", Column("token_hash", Text, nullable=False), Index("quote_tokens_v1_hash", "token_hash"))
"""Where the link of a sent quote leads; the token itself is not kept here."""


def quote_token_rows(q: Quote, recorded: Recorded[quote.QuoteEvent]) -> Iterable[Row]:
    event = recorded.event
    return [{"token_hash": event.link.token_hash}] if isinstance(event, quote.QuoteSent) else []


quote_tokens: HistoryView[Quote, quote.QuoteEvent] = HistoryView(QUOTE_TOKENS, quote_token_rows)

QUOTE_CONVERSIONS = history_table(
    "quote_conversions_v1",
    Column("made_id", Text, nullable=False),
    Index("quote_conversions_v1_made", "tenant", "made_id"),
)
"""Which quote an invoice or a deal was made from."""


def conversion_rows(q: Quote, recorded: Recorded[quote.QuoteEvent]) -> Iterable[Row]:
    event = recorded.event
    return [{"made_id": event.made_id}] if isinstance(event, quote.QuoteConverted) else []


quote_conversions: HistoryView[Quote, quote.QuoteEvent] = HistoryView(QUOTE_CONVERSIONS, conversion_rows)

SIGN_DOCUMENTS = state_table(
    "sign_documents_v1",
    Column("deal_id", Text, nullable=False),
    Column("template_code", Text, nullable=False),
    Column("title", Text, nullable=False),
    Column("responsible_id", Text),
    Column("status", Text, nullable=False),
    _instant("created_at", nullable=False),
    Index("sign_documents_v1_deal", "tenant", "deal_id"),
)


def sign_document_row(d: SignDocument, recorded: Recorded[Any]) -> Row:
    known = {"deal_id": d.deal_id, "template_code": d.template_code, "title": d.title}
    return {**known, "responsible_id": d.responsible_id, "status": d.status, "created_at": d.created_at}


sign_documents: StateView[SignDocument] = StateView(SIGN_DOCUMENTS, sign_document_row)

SIGN_TOKENS = history_table(
    "sign_tokens_v1",
    Column("token_hash", Text, nullable=False),
    Column("signer_id", Text, nullable=False),
    Index("sign_tokens_v1_hash", "token_hash"),
)
"""Whose page a link leads to; the token itself is not kept here."""


def sign_token_rows(d: SignDocument, recorded: Recorded[sign_document.SignEvent]) -> Iterable[Row]:
    event = recorded.event
    if not isinstance(event, sign_document.SignDocumentSent):
        return []
    return [{"token_hash": s.link.token_hash, "signer_id": s.id} for s in event.signers if s.link]


sign_tokens: HistoryView[SignDocument, sign_document.SignEvent] = HistoryView(SIGN_TOKENS, sign_token_rows)

# ---------------------------------------------------------------------------------------------------------- finders


@dataclass(frozen=True, slots=True)
class InvoiceCard:
    """What must be known of an invoice before it is addressed: none of it changes afterwards but `deal_id` and `status`."""

    id: str
    deal_id: str | None
    customer: Customer
    currency: str
    series: str
    status: str
    amount_due: int


@dataclass(frozen=True, slots=True)
class DocumentCard:
    """`stream` is the id of the deal's (or invoice's) payment documents."""

    id: str
    stream: str
    deal_id: str | None
    invoice_id: str | None
    status: str


@dataclass(frozen=True, slots=True)
class PaymentCard:
    id: str
    provider: str
    currency: str
    deal_id: str | None
    invoices: tuple[str, ...]


def invoice_card(row: Row) -> InvoiceCard:
    customer = Customer(row["contact_id"], row["company_id"])
    return InvoiceCard(row["id"], row["deal_id"], customer, row["currency"], row["series"], row["status"], row["amount_due"])


def document_card(row: Row) -> DocumentCard:
    return DocumentCard(row["payment_document_id"], row["id"], row["deal_id"], row["invoice_id"], row["status"])


def payment_card(row: Row) -> PaymentCard:
    return PaymentCard(row["id"], row["provider"], row["currency"], row["deal_id"], tuple(row["invoices"]))


def _payment_id(row: Row) -> str:
    return str(row["payment_id"])


INVOICE_BY_ID = by_column("invoice by id", INVOICES, "id", invoice_card)
INVOICES_OF_DEAL = by_column(
    "invoices of deal", INVOICES, "deal_id", invoice_card, where="t.status <> 'cancelled'", order="t.created_at desc, t.id desc"
)
"""All that are not cancelled, the newest first."""
DOCUMENT_BY_ID = by_column("document by id", PAYMENT_DOCUMENTS, "payment_document_id", document_card, order="t.version desc")
PAYMENT_BY_ID = by_column("payment by id", PAYMENTS, "id", payment_card)
PREPAID_OF_DEAL = by_column("prepaid of deal", PAYMENTS, "deal_id", payment_card, where="t.prepaid > 0", order="t.paid_at, t.id")
"""Payments with money on a payment document of the deal that waits for an invoice, the oldest first (F5)."""
PAYMENTS_OF_INVOICE = by_column(
    "payments of invoice", INVOICE_ALLOCATIONS, "id", _payment_id, where="t.kind = 'allocated'", order="t.version"
)
QUOTE_OF_MADE = by_column("quote of what was made", QUOTE_CONVERSIONS, "made_id", lambda row: str(row["id"]))
"""The quote that an invoice or a deal was made from."""
OPEN_QUOTES_OF_DEAL = by_column(
    "open quotes of deal", QUOTES, "deal_id", lambda row: str(row["id"]), where="t.status in ('draft', 'sent')", order="t.created_at"
)
