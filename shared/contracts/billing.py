"""What billing says and is asked (domain/billing.md section 8). Key: the deal, else the document, fixed when the stream is born."""

from __future__ import annotations

from typing import Literal

from shared.contracts.common import (
    Amount,
    Answer,
    Currency,
    Customer,
    Date,
    GivenInstant,
    Instant,
    Line,
    Map,
    Money,
    Rejection,
    Request,
    Text,
    Uuid,
    Value,
    Whole,
)

COMMANDS = "billing.commands"
EVENTS = "billing.events"


# Parts


class TaxOfRate(Value):
    """Net and tax of all lines of one rate."""

    rate: Amount
    net: Amount
    tax: Amount


class Totals(Value):
    """Sums of a document, in its currency."""

    net: Amount
    tax: Amount
    gross: Amount
    by_rate: tuple[TaxOfRate, ...]


class Addressee(Value):
    """Who gets a paper's link, and in which language. Exactly one of the ids is given; its address stands in no message.

    The URL is a secret of who gets it and the company."""

    name: str
    language: str
    url: str
    contact_id: Uuid | None = None
    company_id: Uuid | None = None
    employee_id: Uuid | None = None


# Commands


class CreateInvoice(Request, type="billing.CreateInvoice.v1", topic=COMMANDS, key=("deal_id", "invoice_id")):
    """Make an invoice of these lines; `amount` is used when there are none (D44). `invoice_id` equals `request_id`.

    Answer: InvoiceCreated."""

    invoice_id: Uuid
    deal_id: Uuid | None = None
    source_sequence: Whole | None = None
    title: Text
    responsible_id: Uuid | None = None
    customer: Customer
    currency: Currency
    prices_include_tax: bool
    lines: tuple[Line, ...]
    amount: Amount
    issue: bool
    skip_if_open_exists: bool


class CreateQuote(Request, type="billing.CreateQuote.v1", topic=COMMANDS, key=("deal_id", "quote_id")):
    """Make a quote; as CreateInvoice. `quote_id` equals `request_id`. Answer: QuoteCreated."""

    quote_id: Uuid
    deal_id: Uuid | None = None
    source_sequence: Whole | None = None
    title: Text
    responsible_id: Uuid | None = None
    customer: Customer
    currency: Currency
    prices_include_tax: bool
    lines: tuple[Line, ...]
    amount: Amount
    skip_if_open_exists: bool
    valid_for_days: Whole | None = None


class CreateSignDocument(Request, type="billing.CreateSignDocument.v1", topic=COMMANDS, key=("deal_id",)):
    """Make a document to be signed. `sign_document_id` equals `request_id`. Answer: SignDocumentCreated."""

    sign_document_id: Uuid
    deal_id: Uuid
    template_code: Text
    title: Text
    responsible_id: Uuid | None = None
    customer: Customer
    fields: Map


class CreatePaymentLink(Request, type="billing.CreatePaymentLink.v1", topic=COMMANDS, key=("deal_id", "invoice_id", "payment_document_id")):
    """Make a link to pay, once per deal (S24). `payment_document_id` equals `request_id`.

    Answer: PaymentLinkCreated, or PaymentLinkHandedOut with `reuse_existing`."""

    payment_document_id: Uuid
    deal_id: Uuid | None = None
    invoice_id: Uuid | None = None
    auto_create: bool
    order_id: Text | None = None
    reuse_existing: bool
    covers: Literal["auto", "deal"]
    currency: Currency
    amount: Amount
    prices_include_tax: bool
    lines: tuple[Line, ...]
    customer: Customer
    expires_in_days: Whole | None = None


class CancelInvoice(Request, type="billing.CancelInvoice.v1", topic=COMMANDS, key=("deal_id", "invoice_id")):
    """Throw a draft away, negate an issued invoice. `if_untouched`: only if no person worked on it. Answer: InvoiceCancelled."""

    invoice_id: Uuid
    deal_id: Uuid | None = None
    if_untouched: bool
    reason: Text


class CancelQuote(Request, type="billing.CancelQuote.v1", topic=COMMANDS, key=("deal_id", "quote_id")):
    """Cancel a quote. Answer: QuoteCancelled."""

    quote_id: Uuid
    deal_id: Uuid | None = None
    if_untouched: bool
    reason: Text


class CancelPaymentDocument(Request, type="billing.CancelPaymentDocument.v1", topic=COMMANDS, key=("deal_id", "payment_document_id")):
    """Cancel a payment document and its link. Answer: PaymentDocumentCancelled."""

    payment_document_id: Uuid
    deal_id: Uuid | None = None
    if_untouched: bool
    reason: Text


class CancelSignDocument(Request, type="billing.CancelSignDocument.v1", topic=COMMANDS, key=("deal_id", "sign_document_id")):
    """Cancel a document to be signed. Answer: SignDocumentCancelled."""

    sign_document_id: Uuid
    deal_id: Uuid | None = None
    if_untouched: bool
    reason: Text


class RegisterPayment(
    Request,
    type="billing.RegisterPayment.v1",
    topic=COMMANDS,
    key=("deal_id", "invoice_id", "payment_document_id", "request_id"),
):
    """Money came in; the payment's id follows from provider and provider payment id (D23). Answer: PaymentReceived."""

    provider: Text
    provider_payment_id: Text
    amount: Money
    paid_at: GivenInstant
    payer: Text | None = None
    invoice_id: Uuid | None = None
    payment_document_id: Uuid | None = None
    deal_id: Uuid | None = None


class RefundPayment(Request, type="billing.RefundPayment.v1", topic=COMMANDS, key=("deal_id", "payment_id")):
    """Give money back; `to_be_paid_again`: it is owed again (D27). Answer: PaymentRefunded."""

    payment_id: Uuid
    deal_id: Uuid | None = None
    amount: Money
    to_be_paid_again: bool
    reason: Text


# What every event of billing says


class BillingFact(Answer):
    """`record_key` is the key the stream was born with; a deal linked later does not change it."""

    record_key: Uuid


# Quotes


class QuoteFact(BillingFact):
    """A quote; it has a number once sent."""

    quote_id: Uuid
    deal_id: Uuid | None = None
    number: str | None = None
    title: str
    total: Money
    responsible_id: Uuid | None = None
    valid_until: Date | None = None


class QuoteCreated(QuoteFact, type="billing.QuoteCreated.v1", topic=EVENTS, key=("record_key",)):
    """A quote is drafted. Heard by automation, deals."""


class QuoteSent(QuoteFact, type="billing.QuoteSent.v1", topic=EVENTS, key=("record_key",)):
    """A quote went to the customer, who reads and answers it at `addressee.url`. Heard by deals, notifications.

    `mailed`: notifications mails the link; otherwise somebody hands it over."""

    addressee: Addressee | None = None
    mailed: bool = False


class QuoteAccepted(QuoteFact, type="billing.QuoteAccepted.v1", topic=EVENTS, key=("record_key",)):
    """The customer said yes. Heard by deals, notifications."""


class QuoteDeclined(QuoteFact, type="billing.QuoteDeclined.v1", topic=EVENTS, key=("record_key",)):
    """The customer said no. Heard by deals, notifications."""

    reason: str | None = None


class QuoteExpired(QuoteFact, type="billing.QuoteExpired.v1", topic=EVENTS, key=("record_key",)):
    """Its date has passed. Heard by deals."""


class QuoteCancelled(QuoteFact, type="billing.QuoteCancelled.v1", topic=EVENTS, key=("record_key",)):
    """A quote is void. Heard by automation, deals."""


# Invoices


class InvoiceCreated(BillingFact, type="billing.InvoiceCreated.v1", topic=EVENTS, key=("record_key",)):
    """An invoice is drafted; `other_open` warns of open ones of the same deal (D43). Heard by automation, deals."""

    invoice_id: Uuid
    deal_id: Uuid | None = None
    title: str
    total: Money
    responsible_id: Uuid | None = None
    status: str
    other_open: tuple[Uuid, ...]


class InvoiceDraftChanged(BillingFact, type="billing.InvoiceDraftChanged.v1", topic=EVENTS, key=("record_key",)):
    """A draft is new in the fields named. Heard by automation."""

    invoice_id: Uuid
    deal_id: Uuid | None = None
    total: Money
    changed: tuple[str, ...]


class InvoiceIssued(BillingFact, type="billing.InvoiceIssued.v1", topic=EVENTS, key=("record_key",)):
    """An invoice has its number and never changes again. Heard by automation, deals."""

    invoice_id: Uuid
    deal_id: Uuid | None = None
    number: str
    total: Money
    issue_date: Date
    due_date: Date | None = None


class InvoiceLinked(BillingFact, type="billing.InvoiceLinked.v1", topic=EVENTS, key=("record_key",)):
    """An invoice born without a deal belongs to one now (D19). Heard by automation, deals."""

    invoice_id: Uuid
    deal_id: Uuid
    status: str
    epoch: int
    total: Money
    paid_at: Instant | None = None


class InvoicePartiallyPaid(BillingFact, type="billing.InvoicePartiallyPaid.v1", topic=EVENTS, key=("record_key",)):
    """Part of an invoice is paid (D25). `origin_rule_id` made the invoice. Heard by automation, deals."""

    invoice_id: Uuid
    deal_id: Uuid | None = None
    number: str
    total: Money
    held_before: Money
    held: Money
    amount_due: Money
    payment_id: Uuid
    deal_responsible_id: Uuid | None = None
    origin_rule_id: Uuid | None = None


class InvoicePaid(BillingFact, type="billing.InvoicePaid.v1", topic=EVENTS, key=("record_key",)):
    """An invoice is fully paid; once per paid epoch. `other_unpaid`: issued invoices of the deal still owed.

    Heard by automation, deals, notifications."""

    invoice_id: Uuid
    deal_id: Uuid | None = None
    epoch: int
    number: str
    total: Money
    held_before: Money
    paid_at: Instant
    payment_ids: tuple[Uuid, ...]
    title: str
    responsible_id: Uuid | None = None
    deal_responsible_id: Uuid | None = None
    origin_rule_id: Uuid | None = None
    other_unpaid: tuple[Uuid, ...]


class InvoiceReopened(BillingFact, type="billing.InvoiceReopened.v1", topic=EVENTS, key=("record_key",)):
    """Epoch `epoch` is over, money is owed again. `reason`: to_be_paid_again, reversed. Heard by automation, deals, notifications."""

    invoice_id: Uuid
    deal_id: Uuid | None = None
    epoch: int
    reason: str
    amount_due: Money
    deal_responsible_id: Uuid | None = None
    origin_rule_id: Uuid | None = None


class InvoiceRefunded(BillingFact, type="billing.InvoiceRefunded.v1", topic=EVENTS, key=("record_key",)):
    """Epoch `epoch` is over, all money went back. Heard by automation, deals, notifications."""

    invoice_id: Uuid
    deal_id: Uuid | None = None
    epoch: int
    refunded: Money
    deal_responsible_id: Uuid | None = None
    origin_rule_id: Uuid | None = None


class InvoiceCancelled(BillingFact, type="billing.InvoiceCancelled.v1", topic=EVENTS, key=("record_key",)):
    """An invoice is void. Heard by automation, deals."""

    invoice_id: Uuid
    deal_id: Uuid | None = None
    credit_note_id: Uuid | None = None


class CreditNoteIssued(BillingFact, type="billing.CreditNoteIssued.v1", topic=EVENTS, key=("record_key",)):
    """Part or all of an invoice is negated. Heard by deals."""

    credit_note_id: Uuid
    invoice_id: Uuid
    deal_id: Uuid | None = None
    number: str
    total: Money


# Payment documents


class PaymentDocumentCreated(BillingFact, type="billing.PaymentDocumentCreated.v1", topic=EVENTS, key=("record_key",)):
    """There is something to pay. Heard by automation."""

    payment_document_id: Uuid
    deal_id: Uuid | None = None
    invoice_id: Uuid | None = None
    order_id: str | None = None
    amount: Money
    status: str


class PaymentLinkFact(BillingFact):
    """A link to pay. The URL is a secret of customer and company."""

    payment_document_id: Uuid
    deal_id: Uuid | None = None
    invoice_id: Uuid | None = None
    url: str
    amount: Money
    expires_at: Instant | None = None


class PaymentLinkCreated(PaymentLinkFact, type="billing.PaymentLinkCreated.v1", topic=EVENTS, key=("record_key",)):
    """A link to pay exists. Heard by automation, deals."""


class PaymentLinkHandedOut(PaymentLinkFact, type="billing.PaymentLinkHandedOut.v1", topic=EVENTS, key=("record_key",)):
    """Somebody asked for a link and got the one that exists. Heard by automation."""

    reused: bool


class PaymentDocumentFact(BillingFact):
    """Which payment document."""

    payment_document_id: Uuid
    deal_id: Uuid | None = None
    invoice_id: Uuid | None = None


class PaymentLinkExpired(PaymentDocumentFact, type="billing.PaymentLinkExpired.v1", topic=EVENTS, key=("record_key",)):
    """A link cannot be used any more. Heard by deals."""


class PaymentDocumentPaid(PaymentDocumentFact, type="billing.PaymentDocumentPaid.v1", topic=EVENTS, key=("record_key",)):
    """A payment document is covered. Heard by deals."""


class PaymentDocumentCancelled(PaymentDocumentFact, type="billing.PaymentDocumentCancelled.v1", topic=EVENTS, key=("record_key",)):
    """A payment document is void. Heard by automation, deals."""


# Payments


class PaymentReceived(BillingFact, type="billing.PaymentReceived.v1", topic=EVENTS, key=("record_key",)):
    """Money came in. Heard by deals."""

    payment_id: Uuid
    provider: str
    amount: Money
    invoice_id: Uuid | None = None
    payment_document_id: Uuid | None = None
    deal_id: Uuid | None = None
    paid_at: Instant


class PaymentUnallocated(BillingFact, type="billing.PaymentUnallocated.v1", topic=EVENTS, key=("record_key",)):
    """Money nobody knows what for (D31, D32). Heard by notifications, deals."""

    payment_id: Uuid
    amount: Money
    reason: str
    invoice_id: Uuid | None = None
    deal_id: Uuid | None = None
    deal_responsible_id: Uuid | None = None


class OverpaymentRecorded(BillingFact, type="billing.OverpaymentRecorded.v1", topic=EVENTS, key=("record_key",)):
    """`amount` more than was due: the customer's credit (D26). Heard by notifications, deals."""

    payment_id: Uuid
    amount: Money
    invoice_id: Uuid
    deal_id: Uuid | None = None
    customer: Customer


class MoneyBackFact(BillingFact):
    """Money went back; `epoch_closed` is the paid epoch that ended with it."""

    payment_id: Uuid
    amount: Money
    invoice_id: Uuid | None = None
    deal_id: Uuid | None = None
    epoch_closed: int | None = None
    deal_responsible_id: Uuid | None = None


class PaymentRefunded(MoneyBackFact, type="billing.PaymentRefunded.v1", topic=EVENTS, key=("record_key",)):
    """We gave money back. Heard by deals."""


class RefundUnanswered(BillingFact, type="billing.RefundUnanswered.v1", topic=EVENTS, key=("record_key",)):
    """A provider never answered whether it gave money back; a person has to find out (R10). Heard by deals, notifications.

    PaymentRefunded follows, or the refusal of whoever asked."""

    payment_id: Uuid
    refund_id: Uuid
    amount: Money
    detail: str
    invoice_id: Uuid | None = None
    deal_id: Uuid | None = None
    deal_responsible_id: Uuid | None = None


class PaymentReversed(MoneyBackFact, type="billing.PaymentReversed.v1", topic=EVENTS, key=("record_key",)):
    """The money was taken back (D29). Heard by deals, notifications."""


# E-signature


class SignDocumentFact(BillingFact):
    """A document to be signed. `at` is when it happened; `signer` is the name of who did it."""

    sign_document_id: Uuid
    deal_id: Uuid
    title: str
    status: str
    signer: str | None = None
    at: Instant
    responsible_id: Uuid | None = None


class SignDocumentCreated(SignDocumentFact, type="billing.SignDocumentCreated.v1", topic=EVENTS, key=("record_key",)):
    """A document to be signed is drafted. Heard by automation, deals."""


class SignDocumentSent(SignDocumentFact, type="billing.SignDocumentSent.v1", topic=EVENTS, key=("record_key",)):
    """It went to its signers, each of whom signs at a URL of his own. Heard by deals, notifications.

    `mailed`: notifications mails the links; otherwise somebody hands them over."""

    signers: tuple[Addressee, ...] = ()
    expires_at: Instant | None = None
    mailed: bool = False


class SignDocumentSigned(SignDocumentFact, type="billing.SignDocumentSigned.v1", topic=EVENTS, key=("record_key",)):
    """The last signer signed. Heard by automation, deals, notifications."""


class SignDocumentDeclined(SignDocumentFact, type="billing.SignDocumentDeclined.v1", topic=EVENTS, key=("record_key",)):
    """A signer said no. Heard by deals, notifications."""

    reason: str | None = None


class SignDocumentExpired(SignDocumentFact, type="billing.SignDocumentExpired.v1", topic=EVENTS, key=("record_key",)):
    """Its date has passed. Heard by deals."""


class SignDocumentCancelled(SignDocumentFact, type="billing.SignDocumentCancelled.v1", topic=EVENTS, key=("record_key",)):
    """It is void. Heard by automation, deals."""


class CommandRejected(Rejection, type="billing.CommandRejected.v1", topic=EVENTS, key=("record_key",)):
    """Billing refused a command. Heard by automation, outside."""
