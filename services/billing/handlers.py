"""One Handler per aggregate: what it says, the views it keeps, what it asks of the world outside."""

from __future__ import annotations

from typing import Any

from services.billing import publications, views
from services.billing.domain.checkout import CHECKOUT, Checkout, CheckoutEvent, WebhookOwed
from services.billing.domain.credit_note import CREDIT_NOTE
from services.billing.domain.invoice import INVOICE
from services.billing.domain.payment import GIVE_BACK, PAYMENT, Payment, PaymentEvent, RefundAsked
from services.billing.domain.payment_document import DOCUMENTS, DocumentsEvent, PaymentDocuments, PaymentLinkCreated
from services.billing.domain.provider_event import PROVIDER_EVENT
from services.billing.domain.quote import QUOTE, Quote, QuoteEvent, QuoteSent
from services.billing.domain.series import SERIES
from services.billing.domain.sign_document import SIGN_DOCUMENT, SignDocument, SignDocumentSent, SignEvent
from shared.es.recorded import Recorded
from shared.messaging.handler import Effect, Handler

WEBHOOK, REFUND, LINK_EXPIRY = "provider_webhook", "provider_refund", "link_expiry"
QUOTE_EXPIRY, SIGN_EXPIRY = "quote_expiry", "sign_expiry"


def webhook_owed(checkout: Checkout, recorded: Recorded[CheckoutEvent]) -> Effect | None:
    """The test provider reports. The key is the event's id: one delivery, whatever happens in between."""
    e = recorded.event
    if not isinstance(e, WebhookOwed):
        return None
    request = {
        "event_id": e.reported.event_id,
        "kind": e.reported.kind,
        "payment": e.reported.payment,
        "amount": e.reported.money.amount,
        "currency": e.reported.money.currency,
        "at": e.reported.at.isoformat(),
        "payment_document_id": checkout.document_id,
        "bad_signature": e.bad_signature,
    }
    return Effect(WEBHOOK, str(recorded.id), request, e.due_at)


def refund_asked(payment: Payment, recorded: Recorded[PaymentEvent]) -> Effect | None:
    """The provider gives money back: the same refund id on every attempt (R10); asked again after a refusal, it is a new effect."""
    e = recorded.event
    if not isinstance(e, RefundAsked) or payment.provider not in GIVE_BACK:
        return None
    request: dict[str, Any] = {
        "payment_id": payment.id,
        "refund_id": e.refund_id,
        "provider": payment.provider,
        "provider_payment_id": payment.provider_payment_id,
        "amount": e.amount,
        "currency": payment.money.currency,
        "to_be_paid_again": e.to_be_paid_again,
        "reason": e.reason,
        "invoices": list(e.invoices),
        "deal_id": payment.deal_id,
    }
    return Effect(REFUND, str(recorded.id), request)


def link_expires(documents: PaymentDocuments, recorded: Recorded[DocumentsEvent]) -> Effect | None:
    """A link that has an end is ended then, if nothing was paid on it."""
    e = recorded.event
    if not isinstance(e, PaymentLinkCreated) or e.link.expires_at is None:
        return None
    request = {"documents": recorded.aggregate_id, "document_id": e.document_id, "token_hash": e.link.token_hash}
    return Effect(LINK_EXPIRY, str(recorded.id), request, e.link.expires_at)


def quote_expires(quote: Quote, recorded: Recorded[QuoteEvent]) -> Effect | None:
    """A quote that is good until a day ends with it, if nobody has answered."""
    e = recorded.event
    if not isinstance(e, QuoteSent) or e.expires_at is None:
        return None
    return Effect(QUOTE_EXPIRY, str(recorded.id), {"quote": quote.id}, e.expires_at)


def signing_expires(document: SignDocument, recorded: Recorded[SignEvent]) -> Effect | None:
    e = recorded.event
    if not isinstance(e, SignDocumentSent):
        return None
    return Effect(SIGN_EXPIRY, str(recorded.id), {"document": document.id}, e.expires_at)


HANDLERS = (
    Handler(INVOICE, publications.of_invoice, (views.invoices, views.invoice_allocations)),
    Handler(PAYMENT, publications.of_payment, (views.payments,), refund_asked),
    Handler(DOCUMENTS, publications.of_documents, (views.payment_documents, views.pay_tokens), link_expires),
    Handler(CREDIT_NOTE, publications.of_credit_note, (views.credit_notes,)),
    Handler(SERIES, views=(views.number_series,)),
    Handler(QUOTE, publications.of_quote, (views.quotes, views.quote_tokens, views.quote_conversions), quote_expires),
    Handler(SIGN_DOCUMENT, publications.of_sign_document, (views.sign_documents, views.sign_tokens), signing_expires),
    Handler(PROVIDER_EVENT, views=(views.provider_events,)),
    Handler(CHECKOUT, views=(views.checkouts,), effect=webhook_owed),
)
