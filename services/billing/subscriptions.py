"""What billing hears, and what each message means here (billing.md 8, 9). Replicas hear for themselves."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from services.billing import replicas, views
from services.billing.desk import asks, offers
from services.billing.domain.customer import Customer
from services.billing.domain.invoice import CreateInvoice
from services.billing.domain.limits import NAME, ORDER_ID, TITLE, limited
from services.billing.domain.money import known_currency, lines_of, minor_units, money_of, totals_of
from services.billing.domain.origin import Asked, Origin
from services.billing.domain.payment_document import DOCUMENTS, CancelDocument, ExpireLinks, NewDocument
from services.billing.domain.quote import QUOTE, CancelQuote, CreateQuote, UndoConversion
from services.billing.domain.series import INVOICES
from services.billing.domain.sign_document import SIGN_DOCUMENT, CancelSignDocument, CreateSignDocument
from services.billing.views import DocumentCard, InvoiceCard
from shared.contracts import billing, common, deals
from shared.es.addressed import Addressed, Facts
from shared.es.errors import Fault, NotFound, Rejected
from shared.messaging.envelope import Message
from shared.messaging.subscription import Need, Subscription

Commands = Iterable[Addressed[Any]]

# ------------------------------------------------------------------------------------------------------- translating


def origin_of(origin: common.Origin | None) -> Origin:
    """Another back end that says nothing about itself is an API client."""
    return Origin("api") if origin is None else Origin(**origin.model_dump())


def asked_of(body: common.Request) -> Asked:
    return Asked(origin_of(body.origin), body.request_id)


def customer_of(customer: common.Customer) -> Customer:
    return Customer(customer.contact_id, customer.company_id)


def _ids(*ids: str | None) -> list[str]:
    return [id for id in ids if id]


def _must_equal_request(body: common.Request, id: str, name: str) -> None:
    """Whoever asks chooses the id, and it is the request's (message rule 3)."""
    if id != body.request_id:
        fault = Fault(f"#/{name}", "id_differs", f"{name} must equal request_id.")
        raise Rejected("validation_failed", fault.detail, status=422, errors=(fault,))


# ---------------------------------------------------------------------------------------------------------- invoices


def create_invoice(message: Message[billing.CreateInvoice], facts: Facts) -> Commands:
    body, tenant = message.body, facts.tenant
    _must_equal_request(body, body.invoice_id, "invoice_id")
    currency = known_currency(body.currency)
    command = CreateInvoice(
        invoice_id=body.invoice_id,
        deal_id=body.deal_id,
        title=limited(body.title, TITLE, "#/title", least=1),
        responsible_id=body.responsible_id,
        customer=customer_of(body.customer),
        currency=currency,
        prices_include_tax=body.prices_include_tax,
        lines=lines_of(body.lines, currency),
        amount=0 if body.lines else minor_units(body.amount, currency),
        series=INVOICES,
        at=facts.now,
        asked=asked_of(body),
        source_sequence=body.source_sequence,
        skip_if_open_exists=body.skip_if_open_exists,
    )
    prepaid = tuple(p.id for p in facts.all(views.PREPAID_OF_DEAL, body.deal_id)) if body.deal_id else ()
    papers = asks.Papers(tenant, body.invoice_id, body.deal_id, command.customer, INVOICES, prepaid)
    return asks.create_invoice(command, issue=body.issue, papers=papers)


def cancel_invoice(message: Message[billing.CancelInvoice], facts: Facts) -> Commands:
    body = message.body
    card = facts.one(views.INVOICE_BY_ID, body.invoice_id)
    if card is None:
        return asks.unknown_invoice(body.invoice_id, body.deal_id)
    payments = tuple(dict.fromkeys(facts.all(views.PAYMENTS_OF_INVOICE, body.invoice_id)))
    note = asks.cancelling_note_of(body.invoice_id)
    crediting = asks.Crediting(facts.tenant, note, card, payments, body.reason, asked_of(body))
    return asks.cancel_invoice(crediting, if_untouched=body.if_untouched)


# ------------------------------------------------------------------------------------------------- payment documents


def create_payment_link(message: Message[billing.CreatePaymentLink], facts: Facts) -> Commands:
    body = message.body
    _must_equal_request(body, body.payment_document_id, "payment_document_id")
    currency = known_currency(body.currency)
    lines = lines_of(body.lines, currency)
    amount = totals_of(lines, body.prices_include_tax).gross if lines else minor_units(body.amount, currency)
    own = NewDocument(body.payment_document_id, "", currency, amount, body.prices_include_tax, lines)
    wish = asks.Wish(
        facts.tenant,
        body.deal_id,
        body.invoice_id,
        own,
        asks.new_link(facts.now, body.expires_in_days),
        asked_of(body),
        body.auto_create,
        limited(body.order_id, ORDER_ID, "#/order_id") if body.order_id else None,
        body.reuse_existing,
        covers_deal=body.covers == "deal",
    )
    return _link(wish, facts)


def _link(wish: asks.Wish, facts: Facts) -> Commands:
    """Named, the invoice decides; otherwise the deal's newest open one does (F3)."""
    named = facts.all(views.INVOICE_BY_ID, wish.invoice_id) if wish.invoice_id else ()
    if wish.invoice_id and not named:
        return asks.unknown_invoice(wish.invoice_id, wish.deal_id)
    known = named or (facts.all(views.INVOICES_OF_DEAL, wish.deal_id) if wish.deal_id else ())
    covered = asks.covered_by(wish, known)
    deal_id = wish.deal_id or (covered.deal_id if covered else None)
    prepaid = facts.all(views.PREPAID_OF_DEAL, deal_id) if deal_id else ()
    return asks.create_link(wish, covered, prepaid)


def cancel_payment_document(message: Message[billing.CancelPaymentDocument], facts: Facts) -> Commands:
    body = message.body
    card = facts.one(views.DOCUMENT_BY_ID, body.payment_document_id)
    stream = card.stream if card else body.deal_id
    if stream is None:
        raise NotFound("There is no such payment document.")
    command = CancelDocument(body.payment_document_id, body.if_untouched, body.reason, asked_of(body))
    return [Addressed(DOCUMENTS, stream, command)]


def expire_links_of_lost_deal(message: Message[deals.StageChanged], facts: Facts) -> Commands:
    """D64: only where the pipeline says so."""
    body = message.body
    pipeline = facts.one(replicas.PIPELINES, body.pipeline_id)
    lost = body.element_type == "deal" and body.stage_kind == "failure"
    if not lost or pipeline is None or not pipeline.expire_links_on_lost:
        return []
    return [Addressed(DOCUMENTS, body.element_id, ExpireLinks(Asked(origin_of(body.origin))))]


# ---------------------------------------------------------------------------------------------------------- payments


def register_payment(message: Message[billing.RegisterPayment], facts: Facts) -> Commands:
    body = message.body
    document = facts.one(views.DOCUMENT_BY_ID, body.payment_document_id) if body.payment_document_id else None
    invoice_id = body.invoice_id or (document.invoice_id if document else None)
    card = facts.one(views.INVOICE_BY_ID, invoice_id) if invoice_id else None
    prepaid = tuple(facts.all(views.PREPAID_OF_DEAL, card.deal_id)) if card and card.deal_id else ()
    incoming = asks.Incoming(
        facts.tenant,
        limited(body.provider, NAME, "#/provider", least=1),
        limited(body.provider_payment_id, NAME, "#/provider_payment_id", least=1),
        money_of(body.amount.amount, body.amount.currency, "#/amount/amount"),
        datetime.fromisoformat(body.paid_at),
        body.payer,
        body.invoice_id,
        body.payment_document_id,
        asked_of(body),
        body.deal_id,
    )
    return asks.pay(incoming, asks.Target(card, document, prepaid))


def refund_payment(message: Message[billing.RefundPayment], facts: Facts) -> Commands:
    body = message.body
    card = facts.one(views.PAYMENT_BY_ID, body.payment_id)
    if card is None:
        raise NotFound("There is no such payment.")
    money = money_of(body.amount.amount, body.amount.currency, "#/amount/amount")
    return asks.refund(card, body.request_id, money, body.to_be_paid_again, body.reason, asked_of(body))


# ---------------------------------------------------------------------------------------------- quotes and signatures


def create_quote(message: Message[billing.CreateQuote], facts: Facts) -> Commands:
    body = message.body
    _must_equal_request(body, body.quote_id, "quote_id")
    currency = known_currency(body.currency)
    command = CreateQuote(
        quote_id=body.quote_id,
        deal_id=body.deal_id,
        title=limited(body.title, TITLE, "#/title", least=1),
        responsible_id=body.responsible_id,
        customer=customer_of(body.customer),
        currency=currency,
        prices_include_tax=body.prices_include_tax,
        lines=lines_of(body.lines, currency),
        amount=0 if body.lines else minor_units(body.amount, currency),
        valid_until=None,
        at=facts.now,
        asked=asked_of(body),
        skip_if_open_exists=body.skip_if_open_exists,
    )
    return asks.create_quote(command, body.valid_for_days, facts.tenant)


def cancel_quote(message: Message[billing.CancelQuote], facts: Facts) -> Commands:
    body = message.body
    return [Addressed(QUOTE, body.quote_id, CancelQuote(body.if_untouched, body.reason, asked_of(body)))]


def create_sign_document(message: Message[billing.CreateSignDocument], facts: Facts) -> Commands:
    body = message.body
    _must_equal_request(body, body.sign_document_id, "sign_document_id")
    command = CreateSignDocument(
        body.sign_document_id,
        body.deal_id,
        body.template_code,
        limited(body.title, TITLE, "#/title", least=1),
        body.responsible_id,
        customer_of(body.customer),
        body.fields,
        facts.now,
        asked_of(body),
    )
    return offers.create_sign_document(command)


def cancel_sign_document(message: Message[billing.CancelSignDocument], facts: Facts) -> Commands:
    body = message.body
    command = CancelSignDocument(body.if_untouched, body.reason, facts.now, asked_of(body))
    return [Addressed(SIGN_DOCUMENT, body.sign_document_id, command)]


def deal_refused(message: Message[deals.CommandRejected], facts: Facts) -> Commands:
    """The deal that a quote was to become: the quote can be converted once more."""
    body = message.body
    quote = next((facts.one(views.QUOTE_OF_MADE, id) for id in _refused(message)), None)
    if quote is None:
        return []
    return [Addressed(QUOTE, quote, UndoConversion(body.request_id or "", body.code, body.detail, Asked(origin_of(body.origin))))]


# ------------------------------------------------------------------------------------------------------------- needs


def _refused(message: Message[deals.CommandRejected]) -> list[str]:
    """Most refusals answer somebody else."""
    return _ids(message.body.request_id) if message.body.command_type == deals.CreateDeal.type else []


def _deal(message: Message[Any]) -> list[str]:
    return _ids(message.body.deal_id)


def _invoice(message: Message[Any]) -> list[str]:
    return _ids(message.body.invoice_id)


def _document(message: Message[Any]) -> list[str]:
    return _ids(message.body.payment_document_id)


def _payment(message: Message[billing.RefundPayment]) -> list[str]:
    return [message.body.payment_id]


def _pipeline(message: Message[deals.StageChanged]) -> list[str]:
    return [message.body.pipeline_id]


def _deal_of(card: InvoiceCard) -> list[str]:
    return _ids(card.deal_id)


def _invoice_of(card: DocumentCard) -> list[str]:
    return _ids(card.invoice_id)


PREPAID: Need[InvoiceCard, Any] = Need(views.PREPAID_OF_DEAL, _deal_of)
INVOICE: Need[Message[Any], InvoiceCard] = Need(views.INVOICE_BY_ID, _invoice, then=(PREPAID,))
INVOICE_OF_DOCUMENT: Need[DocumentCard, InvoiceCard] = Need(views.INVOICE_BY_ID, _invoice_of, then=(PREPAID,))
DOCUMENT: Need[Message[Any], DocumentCard] = Need(views.DOCUMENT_BY_ID, _document, then=(INVOICE_OF_DOCUMENT,))
OF_DEAL: tuple[Need[Message[Any], Any], ...] = (Need(views.PREPAID_OF_DEAL, _deal), Need(views.INVOICES_OF_DEAL, _deal))

SUBSCRIPTIONS: tuple[Subscription[Any], ...] = (
    Subscription(billing.CreateInvoice, create_invoice, (Need(views.PREPAID_OF_DEAL, _deal),)),
    Subscription(billing.CancelInvoice, cancel_invoice, (INVOICE, Need(views.PAYMENTS_OF_INVOICE, _invoice))),
    Subscription(billing.CreatePaymentLink, create_payment_link, (*OF_DEAL, INVOICE)),
    Subscription(billing.CancelPaymentDocument, cancel_payment_document, (Need(views.DOCUMENT_BY_ID, _document),)),
    Subscription(billing.RegisterPayment, register_payment, (INVOICE, DOCUMENT)),
    Subscription(billing.RefundPayment, refund_payment, (Need(views.PAYMENT_BY_ID, _payment),)),
    Subscription(billing.CreateQuote, create_quote),
    Subscription(billing.CancelQuote, cancel_quote),
    Subscription(billing.CreateSignDocument, create_sign_document),
    Subscription(billing.CancelSignDocument, cancel_sign_document),
    Subscription(deals.CommandRejected, deal_refused, (Need(views.QUOTE_OF_MADE, _refused),)),
    Subscription(deals.StageChanged, expire_links_of_lost_deal, (Need(replicas.PIPELINES, _pipeline),)),
)
