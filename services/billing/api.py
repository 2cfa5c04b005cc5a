"""Billing over HTTP: invoices, payment documents, payments, credit notes, number series, quotes, documents to be signed, the
reports of payment providers, and the pages that customers see. (billing.md 10)"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl
from uuid import UUID, uuid5

import structlog
from fastapi import APIRouter, Depends, Path, Query, Request
from fastapi.responses import HTMLResponse
from pydantic import ConfigDict, Field
from sqlalchemy import ColumnElement, Select, Table, exists, func, or_, select
from starlette.responses import Response

from services.billing import replicas, views
from services.billing.desk import asks, offers, pages, paper_pages, shown
from services.billing.domain.checkout import CHECKOUT, Button, Checkout, Press, Switches
from services.billing.domain.credit_note import CREDIT_NOTE
from services.billing.domain.customer import Buyer, CompanyCard, Customer, DetailsCard, PersonCard, buyer_of
from services.billing.domain.invoice import INVOICE, ChangeInvoice, CreateInvoice, Invoice
from services.billing.domain.limits import REASON
from services.billing.domain.money import Line, Money, digits_of, invalid, known_currency, lines_of, minor_units, totals_of
from services.billing.domain.origin import BY_ITSELF, Asked, Origin
from services.billing.domain.payment import BY_HAND, GIVE_BACK, PAYMENT
from services.billing.domain.payment_document import (
    DOCUMENTS,
    CancelDocument,
    Document,
    ExpireLink,
    NewDocument,
    PaymentDocuments,
    PrepareDocument,
    ReopenLink,
)
from services.billing.domain.provider_event import PROVIDER_EVENT, ReceiveProviderEvent
from services.billing.domain.public_link import Evidence
from services.billing.domain.quote import QUOTE, AcceptQuote, Answered, CancelQuote, ChangeQuote, CreateQuote, DeclineQuote, Quote
from services.billing.domain.series import SERIES, ChangeSeries, OpenSeries
from services.billing.domain.sign_document import (
    MOST_SIGNERS,
    SIGN_DOCUMENT,
    CancelSignDocument,
    CreateSignDocument,
    Decline,
    Sign,
    Signature,
    SignDocument,
    Signer,
)
from services.billing.provider import DEFAULT, PROVIDERS, Order, Report
from services.billing.settings import settings
from services.billing.views import (
    CHECKOUTS,
    CREDIT_NOTES,
    INVOICE_ALLOCATIONS,
    INVOICES,
    NUMBER_SERIES,
    PAY_TOKENS,
    PAYMENTS,
    QUOTE_TOKENS,
    QUOTES,
    SIGN_DOCUMENTS,
    SIGN_TOKENS,
    DocumentCard,
    InvoiceCard,
    PaymentCard,
)
from services.billing.views import PAYMENT_DOCUMENTS as DOCUMENTS_TABLE
from shared.es.addressed import Addressed
from shared.es.errors import Fault, NotFound, Rejected
from shared.http.auth import needs, public
from shared.http.commands import Answer, Door, Result
from shared.http.exchange import JsonAnswer
from shared.http.filters import between, one_of
from shared.http.paging import Paging
from shared.http.problems import PROBLEMS, Body
from shared.http.types import Code, Currency, DecimalText, Flag, Instant, LongText, MoneyBody, PositiveDecimalText, Text255, Whole
from shared.runtime import clock
from shared.runtime.failpoints import afp

Row = Mapping[str, Any]
security = structlog.get_logger("security")

API = APIRouter(responses=PROBLEMS)

Id = Annotated[UUID, Path()]
Page = Annotated[Paging, Depends()]
Choice = Annotated[str | None, Query(max_length=1000, description="One value, or several separated by commas.")]
Words = Annotated[str | None, Query(max_length=200, description="Words that the title holds.")]
Amount = Annotated[DecimalText | None, Query()]
Day = Annotated[date | None, Query()]
Moment = Annotated[Instant | None, Query()]
Version = Annotated[int | None, Query(ge=1, description="The state as it was at this version.")]
OrderId = Annotated[str, Field(min_length=1, max_length=64)]
Days = Annotated[int, Field(ge=0, le=3650)]

READ, WRITE, REFUND = needs("billing:read"), needs("billing:write"), needs("payments:refund")

# ------------------------------------------------------------------------------------------------- what all routes use


def asked_by(door: Door) -> Asked:
    """A person by the employee's id, a program by its credential."""
    employee = door.caller.employee_id
    return Asked(Origin("person", employee) if employee else Origin("api", door.caller.client_id))


def _uuid(text: str) -> str | None:
    try:
        return str(UUID(text))
    except ValueError:
        return None


def _text(id: UUID | None) -> str | None:
    return None if id is None else str(id)


def amounts(column: ColumnElement[Any], since: str | None, until: str | None, currency: str | None) -> list[ColumnElement[bool]]:
    """The same for amounts, which are minor units of one currency: with two digits unless the list is of another."""
    scale = digits_of(known_currency(currency)) if currency and "," not in currency else 2
    lower, upper = (None if text is None else int(Decimal(text).scaleb(scale)) for text in (since, until))
    return between(column, lower, upper)


def words(column: ColumnElement[Any], wanted: str | None) -> list[ColumnElement[bool]]:
    return [column.icontains(word, autoescape=True) for word in (wanted or "").split()]


@dataclass(frozen=True, slots=True)
class LineGiven:
    """A product row as text, whoever wrote it."""

    line_id: str
    product_code: str | None
    name: str
    quantity: str
    unit_price: str
    discount_percent: str
    tax_rate: str


class NewLine(Body):
    """Currency and whether prices include tax stand on the document."""

    line_id: UUID | None = None
    product_code: Text255 | None = None
    name: Text255
    quantity: DecimalText = "1"
    unit_price: DecimalText
    discount_percent: DecimalText = "0"
    tax_rate: DecimalText

    def given(self) -> LineGiven:
        id = str(self.line_id or clock.new_id())
        return LineGiven(id, self.product_code, self.name, self.quantity, self.unit_price, self.discount_percent, self.tax_rate)


class CustomerBody(Body):
    contact_id: UUID | None = None
    company_id: UUID | None = None

    def given(self) -> Customer:
        return Customer(_text(self.contact_id), _text(self.company_id))


NewLines = Annotated[tuple[NewLine, ...], Field(max_length=500)]


def given_lines(lines: Sequence[NewLine], currency: str) -> tuple[Line, ...]:
    return lines_of([line.given() for line in lines], currency)


def example(**fields: Any) -> ConfigDict:
    """What the API document shows for a body."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


class Reason(Body):
    reason: LongText = ""


@dataclass(frozen=True, slots=True)
class Rows:
    """What a document is made of: rows given, or those of the deal as billing knows it (S44)."""

    title: str
    customer: Customer
    responsible_id: str | None
    currency: str
    prices_include_tax: bool
    lines: tuple[Line, ...]
    amount: int

    @property
    def gross(self) -> int:
        return totals_of(self.lines, self.prices_include_tax).gross if self.lines else self.amount


async def rows_of_deal(door: Door, deal_id: str) -> Rows:
    """Raises Rejected (`deal_unknown`)."""
    deal = await _deal(door, deal_id)
    if deal is None or deal["deleted"]:
        raise Rejected("deal_unknown", "There is no such deal, or billing has not heard of it yet.")
    lines = lines_of([LineGiven(**line) for line in deal["lines"]], deal["currency"])
    customer = Customer(deal["contact_id"], deal["company_id"])
    amount = minor_units(deal["amount"], deal["currency"])
    return Rows(deal["title"], customer, deal["responsible_id"], deal["currency"], deal["prices_include_tax"], lines, amount)


async def _first(door: Door, query: Select[Any]) -> Row | None:
    async with door.reading() as sql:
        row = (await sql.execute(query)).mappings().first()
    return None if row is None else dict(row)


async def _one(door: Door, query: Select[Any]) -> Row:
    """Raises NotFound."""
    return dict(await door.one(query))


async def _all(door: Door, query: Select[Any]) -> Sequence[Row]:
    async with door.reading() as sql:
        return [dict(row) for row in (await sql.execute(query)).mappings()]


async def _deal(door: Door, deal_id: str) -> Row | None:
    return await _first(door, select(replicas.DEALS_TABLE).where(replicas.DEALS_TABLE.c.id == deal_id))


async def invoice_card(door: Door, id: str) -> InvoiceCard:
    """Raises NotFound."""
    return views.invoice_card(await _one(door, select(INVOICES).where(INVOICES.c.id == id)))


async def payment_card(door: Door, id: str) -> PaymentCard:
    return views.payment_card(await _one(door, select(PAYMENTS).where(PAYMENTS.c.id == id)))


async def document_card(door: Door, id: str) -> DocumentCard:
    return views.document_card(await _one(door, views.current_documents().where(DOCUMENTS_TABLE.c.payment_document_id == id)))


async def prepaid_of(door: Door, deal_id: str | None) -> list[PaymentCard]:
    """Payments that wait on payment documents of the deal, the oldest first (F5)."""
    waiting = select(PAYMENTS).where(PAYMENTS.c.deal_id == deal_id, PAYMENTS.c.prepaid > 0).order_by(PAYMENTS.c.paid_at, PAYMENTS.c.id)
    return [views.payment_card(row) for row in await _all(door, waiting)] if deal_id else []


async def payments_in(door: Door, invoice_id: str) -> tuple[str, ...]:
    table = INVOICE_ALLOCATIONS
    allocated = select(table.c.payment_id).where(table.c.id == invoice_id, table.c.kind == "allocated").order_by(table.c.version)
    return tuple(dict.fromkeys(row["payment_id"] for row in await _all(door, allocated)))


async def papers_of(door: Door, card: InvoiceCard) -> asks.Papers:
    return asks.papers_of(door.caller.tenant, card, await prepaid_of(door, card.deal_id))


def made(done: Result, body: Any, location: str, version: int, *, same: bool) -> Answer:
    """201; the same id with the same content once more 200; with another content it is taken."""
    if done.recorded:
        return Answer(201, body, location, version)
    if not same:
        raise Rejected("id_taken", "The id is taken by something else.")
    return Answer(200, body, location, version)


# ---------------------------------------------------------------------------------------------------------- invoices


class NewInvoice(Body):
    """Own rows, or `{deal_id, fill_from_deal: true}`. `amount` counts when there are no lines (D44)."""

    model_config = example(
        title="Roof 2026",
        customer={"contact_id": "019cad8f-ac00-7aaa-9d09-9a7b27c1a001"},
        currency="EUR",
        prices_include_tax=True,
        lines=[{"name": "Roof tiles", "quantity": "2", "unit_price": "50.00", "tax_rate": "19"}],
        due_in_days=14,
        issue=True,
    )
    id: UUID | None = None
    deal_id: UUID | None = None
    fill_from_deal: Flag = False
    title: Text255 | None = None
    responsible_id: UUID | None = None
    customer: CustomerBody | None = None
    currency: Currency | None = None
    prices_include_tax: Flag = True
    lines: NewLines = ()
    amount: PositiveDecimalText | None = None
    series: Code = "invoice"
    due_in_days: Days | None = None
    issue: Flag = False
    skip_if_open_exists: Flag = False


async def _rows_given(door: Door, body: NewInvoice | NewQuote | NewDocumentBody, title: str) -> Rows:
    if body.fill_from_deal:
        if body.deal_id is None:
            raise invalid([Fault("#/deal_id", "required", "deal_id is missing.")])
        return await rows_of_deal(door, str(body.deal_id))
    currency = known_currency(body.currency or "")
    amount = minor_units(body.amount, currency) if body.amount else 0
    whom = body.customer.given() if body.customer else Customer()
    return Rows(title, whom, None, currency, body.prices_include_tax, given_lines(body.lines, currency), amount)


@API.post("/v1/invoices", operation_id="invoices_create", status_code=201, tags=["invoices"])
async def create_invoice(body: NewInvoice, door: Annotated[Door, WRITE]) -> Response:
    id, deal_id = str(body.id or clock.new_id()), _text(body.deal_id)
    rows = await _rows_given(door, body, body.title or "")
    command = CreateInvoice(
        invoice_id=id,
        deal_id=deal_id,
        title=body.title or rows.title or "Invoice",
        responsible_id=_text(body.responsible_id) or rows.responsible_id,
        customer=body.customer.given() if body.customer else rows.customer,
        currency=rows.currency,
        prices_include_tax=rows.prices_include_tax,
        lines=rows.lines,
        amount=rows.amount,
        series=body.series,
        at=clock.now(),
        asked=asked_by(door),
        due_days=body.due_in_days,
        skip_if_open_exists=body.skip_if_open_exists,
    )
    prepaid = tuple(p.id for p in await prepaid_of(door, deal_id))
    papers = asks.Papers(door.caller.tenant, id, deal_id, command.customer, body.series, prepaid)

    def answer(done: Result) -> Answer:
        invoice = done.state(INVOICE, id)
        return made(done, shown.invoice(invoice), f"/v1/invoices/{id}", done.version(INVOICE, id), same=_is_of(invoice, command))

    return await door.ask(*asks.create_invoice(command, issue=body.issue, papers=papers), answer=answer)


def _is_of(invoice: Invoice, command: CreateInvoice) -> bool:
    total = totals_of(command.lines, command.prices_include_tax).gross if command.lines else command.amount
    asked = (command.deal_id, command.title, command.currency, total, command.customer)
    return asked == (invoice.deal_id, invoice.title, invoice.currency, invoice.total, invoice.customer)


@API.get("/v1/invoices", operation_id="invoices_list", tags=["invoices"])
async def list_invoices(
    door: Annotated[Door, READ],
    paging: Page,
    deal_id: Choice = None,
    status: Choice = None,
    number: Choice = None,
    currency: Choice = None,
    contact_id: Choice = None,
    company_id: Choice = None,
    responsible_id: Choice = None,
    origin_rule_id: Choice = None,
    total_from: Amount = None,
    total_to: Amount = None,
    due_date_from: Day = None,
    due_date_to: Day = None,
    paid_at_from: Moment = None,
    paid_at_to: Moment = None,
    q: Words = None,
) -> Response:
    c = INVOICES.c
    chosen = {c.deal_id: deal_id, c.status: status, c.number: number, c.currency: currency, c.contact_id: contact_id}
    chosen |= {c.company_id: company_id, c.responsible_id: responsible_id, c.origin_rule_id: origin_rule_id}
    query = select(INVOICES).where(
        *(condition for column, wanted in chosen.items() for condition in one_of(column, wanted)),
        *amounts(c.total, total_from, total_to, currency),
        *between(c.due_date, due_date_from, due_date_to),
        *between(c.paid_at, paid_at_from, paid_at_to),
        *words(c.title, q),
    )
    return await door.listed(query, paging, sort=(c.created_at, c.number, c.due_date, c.total), shown=shown.invoice_row)


@API.get("/v1/invoices/{id}", operation_id="invoices_get", tags=["invoices"])
async def get_invoice(id: Id, door: Annotated[Door, READ], version: Version = None) -> Response:
    invoice, at = await door.state_at(INVOICE, str(id), version)
    current = None if invoice.issued or invoice.cancelled else await buyer_now(door, invoice.customer)
    return door.shown(at, shown.invoice(invoice, current))


async def buyer_now(door: Door, customer: Customer) -> Buyer:
    """The customer as billing knows him now: what a draft shows (D46)."""
    contact_id = await _survivor(door, customer.contact_id)
    company_id = await _survivor(door, customer.company_id)
    person = await _first(door, select(replicas.CONTACTS_TABLE).where(replicas.CONTACTS_TABLE.c.id == contact_id)) if contact_id else None
    firm = await _first(door, select(replicas.COMPANIES_TABLE).where(replicas.COMPANIES_TABLE.c.id == company_id)) if company_id else None
    legal = await _details(door, company_id) or await _details(door, contact_id)
    return buyer_of(
        PersonCard(person["id"], person["first_name"], person["last_name"], person["email"]) if person else None,
        CompanyCard(firm["id"], firm["name"], firm["email"]) if firm else None,
        legal,
    )


async def _survivor(door: Door, id: str | None) -> str | None:
    """A merged id stands for who survived (D65)."""
    if id is None:
        return None
    alias = await _first(door, select(replicas.ALIASES_TABLE.c.survivor_id).where(replicas.ALIASES_TABLE.c.id == id))
    return alias["survivor_id"] if alias else id


async def _details(door: Door, owner_id: str | None) -> list[DetailsCard]:
    table = replicas.DETAILS_TABLE
    query = select(table).where(table.c.owner_id == owner_id, table.c.removed.is_(False)).order_by(table.c.is_default.desc(), table.c.id)
    rows = await _all(door, query) if owner_id else ()
    return [replicas.details_card(row["fields"], row["addresses"], row["is_default"]) for row in rows]


@API.get("/v1/invoices/{id}/events", operation_id="invoices_events", tags=["invoices"])
async def invoice_events(id: Id, door: Annotated[Door, READ], paging: Page) -> Response:
    return await door.history(INVOICE, str(id), paging)


@API.get("/v1/invoices/{id}/allocations", operation_id="invoices_allocations", tags=["invoices"])
async def invoice_allocations(id: Id, door: Annotated[Door, READ], paging: Page) -> Response:
    """Allocations, refunds, reversals and releases, oldest first; `epoch` is the last paid epoch at that moment."""
    await invoice_card(door, str(id))
    c = INVOICE_ALLOCATIONS.c
    query = select(INVOICE_ALLOCATIONS).where(c.id == str(id))
    return await door.listed(query, paging, sort=(c.version,), default="version", shown=shown.allocation_row)


class InvoiceChanges(Body):
    """Only drafts; what is left out stays."""

    title: Text255 | None = None
    responsible_id: UUID | None = None
    customer: CustomerBody | None = None
    prices_include_tax: Flag | None = None
    lines: NewLines | None = None
    due_in_days: Days | None = None


def _answer_invoice(id: str, status: int = 200) -> Any:
    def answer(done: Result) -> Answer:
        return Answer(status, shown.invoice(done.state(INVOICE, id)), f"/v1/invoices/{id}", done.version(INVOICE, id))

    return answer


@API.patch("/v1/invoices/{id}", operation_id="invoices_change", tags=["invoices"])
async def change_invoice(id: Id, body: InvoiceChanges, door: Annotated[Door, WRITE]) -> Response:
    card = await invoice_card(door, str(id))
    change = ChangeInvoice(
        asked_by(door),
        body.title,
        _text(body.responsible_id),
        body.customer.given() if body.customer else None,
        body.prices_include_tax,
        given_lines(body.lines, card.currency) if body.lines is not None else None,
        body.due_in_days,
    )
    return await door.ask(Addressed(INVOICE, card.id, change), answer=_answer_invoice(card.id))


def _at_version(id: str) -> Addressed[Any]:
    """First in an item whose If-Match means the invoice."""
    return Addressed(INVOICE, id, lambda seen: None)


@API.post("/v1/invoices/{id}/issuances", operation_id="invoices_issue", tags=["invoices"])
async def issue_invoice(id: Id, door: Annotated[Door, WRITE]) -> Response:
    """The next number, the buyer as known now, for ever (D46, D69)."""
    card = await invoice_card(door, str(id))
    papers = await papers_of(door, card)
    return await door.ask(_at_version(card.id), *asks.issue_invoice(papers, asked_by(door)), answer=_answer_invoice(card.id))


class Cancellation(Reason):
    if_untouched: Flag = False


@API.post("/v1/invoices/{id}/cancellations", operation_id="invoices_cancel", tags=["invoices"])
async def cancel_invoice(id: Id, body: Cancellation, door: Annotated[Door, WRITE]) -> Response:
    """A draft is thrown away, an issued invoice is negated by a credit note over the rest."""
    card = await invoice_card(door, str(id))
    note = asks.cancelling_note_of(card.id)
    crediting = asks.Crediting(door.caller.tenant, note, card, await payments_in(door, card.id), body.reason, asked_by(door))
    return await door.ask(*asks.cancel_invoice(crediting, if_untouched=body.if_untouched), answer=_answer_invoice(card.id))


class NewCreditNote(Reason):
    """Exactly one of `lines` and `amount` (of the total, with tax)."""

    model_config = example(amount="30.00", reason="Two tiles were broken")

    id: UUID | None = None
    lines: NewLines = ()
    amount: PositiveDecimalText | None = None


@API.post("/v1/invoices/{id}/credit-notes", operation_id="invoices_credit", status_code=201, tags=["credit notes"])
async def credit_invoice(id: Id, body: NewCreditNote, door: Annotated[Door, WRITE]) -> Response:
    if bool(body.lines) == (body.amount is not None):
        raise invalid([Fault("#/amount", "required", "Give lines or an amount.")])
    card, note = await invoice_card(door, str(id)), str(body.id or clock.new_id())
    lines = given_lines(body.lines, card.currency)
    amount = minor_units(body.amount, card.currency) if body.amount is not None else None
    crediting = asks.Crediting(door.caller.tenant, note, card, await payments_in(door, card.id), body.reason, asked_by(door))

    def answer(done: Result) -> Answer:
        state = done.state(CREDIT_NOTE, note)
        return Answer(201, shown.credit_note(state), f"/v1/credit-notes/{note}", done.version(CREDIT_NOTE, note))

    return await door.ask(*asks.credit_invoice(crediting, lines, amount), answer=answer)


class DealLink(Body):
    deal_id: UUID


@API.post("/v1/invoices/{id}/deal-links", operation_id="invoices_link", tags=["invoices"])
async def link_invoice(id: Id, body: DealLink, door: Annotated[Door, WRITE]) -> Response:
    card = await invoice_card(door, str(id))
    return await door.ask(*asks.link_invoice(card, str(body.deal_id), asked_by(door)), answer=_answer_invoice(card.id))


# ------------------------------------------------------------------------------------------------------ credit notes


@API.get("/v1/credit-notes", operation_id="credit_notes_list", tags=["credit notes"])
async def list_credit_notes(
    door: Annotated[Door, READ], paging: Page, invoice_id: Choice = None, deal_id: Choice = None, number: Choice = None
) -> Response:
    c = CREDIT_NOTES.c
    query = select(CREDIT_NOTES).where(*one_of(c.invoice_id, invoice_id), *one_of(c.deal_id, deal_id), *one_of(c.number, number))
    return await door.listed(query, paging, sort=(c.created_at, c.number), shown=shown.credit_note_row)


@API.get("/v1/credit-notes/{id}", operation_id="credit_notes_get", tags=["credit notes"])
async def get_credit_note(id: Id, door: Annotated[Door, READ]) -> Response:
    note, version = await door.state_at(CREDIT_NOTE, str(id))
    return door.shown(version, shown.credit_note(note))


@API.get("/v1/credit-notes/{id}/events", operation_id="credit_notes_events", tags=["credit notes"])
async def credit_note_events(id: Id, door: Annotated[Door, READ], paging: Page) -> Response:
    return await door.history(CREDIT_NOTE, str(id), paging)


# ------------------------------------------------------------------------------------------------- payment documents


class NewDocumentBody(Body):
    """Prepared under an order number, or with `link` made ready to be paid; a further one needs `additional` (S24).

    It covers the invoice named, else the deal's newest open one, else (or with `covers_deal`) rows given or the deal's own (F3)."""

    model_config = example(deal_id="019cad8f-ac00-7f0a-a4ce-0d57a8bccdcc", link=True, expires_in_days=30)

    id: UUID | None = None
    deal_id: UUID | None = None
    invoice_id: UUID | None = None
    order_id: OrderId | None = None
    link: Flag = False
    additional: Flag = False
    covers_deal: Flag = False
    fill_from_deal: Flag = False
    title: Text255 | None = None
    currency: Currency | None = None
    prices_include_tax: Flag = True
    lines: NewLines = ()
    amount: PositiveDecimalText | None = None
    customer: CustomerBody | None = None
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None


@API.post("/v1/payment-documents", operation_id="payment_documents_create", status_code=201, tags=["payment documents"])
async def create_document(body: NewDocumentBody, door: Annotated[Door, WRITE]) -> Response:
    if body.deal_id is None and body.invoice_id is None:
        raise invalid([Fault("#/deal_id", "required", "Name a deal or an invoice.")])
    named = await invoice_card(door, str(body.invoice_id)) if body.invoice_id else None
    deal_id = _text(body.deal_id) or (named.deal_id if named else None)
    own = await _own_document(door, body, deal_id, named)
    stream = asks.documents_of(deal_id, named.id if named else None)
    item = await _link_item(door, body, deal_id, named, own) if body.link else _prepared(stream, deal_id, own, asked_by(door))

    def answer(done: Result) -> Answer:
        documents = done.state(DOCUMENTS, stream)
        document = documents.document(own.document_id)
        if document is None:
            raise NotFound("There is no such payment document.")
        body = shown.document(document, documents)
        version = done.version(DOCUMENTS, stream)
        return made(done, body, f"/v1/payment-documents/{document.id}", version, same=True)

    return await door.ask(*item, answer=answer)


async def _own_document(door: Door, body: NewDocumentBody, deal_id: str | None, named: InvoiceCard | None) -> NewDocument:
    """What the document says if it covers no invoice: rows given, else the deal's."""
    id = str(body.id or clock.new_id())
    if named:
        return NewDocument(id, body.title or "", named.currency, 0, True, (), named.id, body.order_id)
    given = bool(body.lines or body.amount)
    rows = await _rows_given(door, body, body.title or "") if given else await rows_of_deal(door, deal_id or "")
    title = body.title or rows.title
    return NewDocument(id, title, rows.currency, rows.gross, rows.prices_include_tax, rows.lines, None, body.order_id)


def _prepared(stream: str, deal_id: str | None, own: NewDocument, asked: Asked) -> asks.Item:
    """A draft; of an invoice named it takes what is due of it."""

    def prepare(seen: Any) -> PrepareDocument:
        if own.invoice_id is None:
            return PrepareDocument(stream, deal_id, own, seen.now, asked)
        i = seen.state(INVOICE, own.invoice_id)
        covering = replace(own, title=i.title, amount=i.amount_due, prices_include_tax=i.prices_include_tax, lines=i.lines)
        return PrepareDocument(stream, deal_id, covering, seen.now, asked)

    reads = ((INVOICE, own.invoice_id),) if own.invoice_id else ()
    return (Addressed(DOCUMENTS, stream, prepare, reads),)


async def _link_item(door: Door, body: NewDocumentBody, deal_id: str | None, named: InvoiceCard | None, own: NewDocument) -> asks.Item:
    given = bool(body.lines or body.amount)
    wish = asks.Wish(
        door.caller.tenant,
        deal_id,
        named.id if named else None,
        own,
        asks.new_link(await door.now(), body.expires_in_days),
        asked_by(door),
        additional=body.additional,
        covers_deal=body.covers_deal or given,
    )
    known = [named] if named else await invoices_of(door, deal_id)
    return asks.create_link(wish, asks.covered_by(wish, known), await prepaid_of(door, deal_id))


async def invoices_of(door: Door, deal_id: str | None) -> list[InvoiceCard]:
    """All of a deal that are not cancelled, the newest first."""
    c = INVOICES.c
    query = select(INVOICES).where(c.deal_id == deal_id, c.status != "cancelled").order_by(c.created_at.desc(), c.id.desc())
    return [views.invoice_card(row) for row in await _all(door, query)] if deal_id else []


@API.get("/v1/payment-documents", operation_id="payment_documents_list", tags=["payment documents"])
async def list_documents(
    door: Annotated[Door, READ],
    paging: Page,
    deal_id: Choice = None,
    invoice_id: Choice = None,
    order_id: Choice = None,
    status: Choice = None,
    amount_from: Amount = None,
    amount_to: Amount = None,
) -> Response:
    c = DOCUMENTS_TABLE.c
    chosen = {c.deal_id: deal_id, c.invoice_id: invoice_id, c.order_id: order_id, c.status: status}
    query = views.current_documents().where(
        *(condition for column, wanted in chosen.items() for condition in one_of(column, wanted)),
        *amounts(c.amount, amount_from, amount_to, None),
    )
    return await door.listed(query, paging, sort=(c.created_at,), shown=shown.document_row)


@API.get("/v1/payment-documents/{id}", operation_id="payment_documents_get", tags=["payment documents"])
async def get_document(id: Id, door: Annotated[Door, READ], version: Version = None) -> Response:
    """With its link, and whether the deal's amount is another one by now (D34d). Its versions are those of all documents of
    its deal, which are one stream."""
    card = await document_card(door, str(id))
    documents, at = await door.state_at(DOCUMENTS, card.stream, version)
    document = documents.document(card.id)
    if document is None:
        raise NotFound("There is no such payment document.")
    deal = await _deal(door, card.deal_id) if card.deal_id else None
    amount = shown.money(minor_units(deal["amount"], deal["currency"]), deal["currency"]) if deal else None
    return door.shown(at, shown.document(document, documents, amount))


@API.get("/v1/payment-documents/{id}/events", operation_id="payment_documents_events", tags=["payment documents"])
async def document_events(id: Id, door: Annotated[Door, READ], paging: Page) -> Response:
    """Of all payment documents of its deal."""
    card = await document_card(door, str(id))
    return await door.history(DOCUMENTS, card.stream, paging)


def _answer_document(card: DocumentCard, status: int = 200) -> Any:
    def answer(done: Result) -> Answer:
        documents = done.state(DOCUMENTS, card.stream)
        document = documents.document(card.id)
        if document is None:
            raise NotFound("There is no such payment document.")
        location = f"/v1/payment-documents/{card.id}"
        return Answer(status, shown.document(document, documents), location, done.version(DOCUMENTS, card.stream))

    return answer


class NewLink(Body):
    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None


@API.post("/v1/payment-documents/{id}/links", operation_id="payment_documents_link", status_code=201, tags=["payment documents"])
async def open_link(id: Id, body: NewLink, door: Annotated[Door, WRITE]) -> Response:
    """A new link; one that there was leads nowhere from then on."""
    card = await document_card(door, str(id))
    command = ReopenLink(card.id, asks.new_link(await door.now(), body.expires_in_days), asked_by(door))
    return await door.ask(Addressed(DOCUMENTS, card.stream, command), answer=_answer_document(card, 201))


@API.post("/v1/payment-documents/{id}/cancellations", operation_id="payment_documents_cancel", tags=["payment documents"])
async def cancel_document(id: Id, body: Cancellation, door: Annotated[Door, WRITE]) -> Response:
    card = await document_card(door, str(id))
    command = CancelDocument(card.id, body.if_untouched, body.reason, asked_by(door))
    return await door.ask(Addressed(DOCUMENTS, card.stream, command), answer=_answer_document(card))


@API.post("/v1/payment-documents/{id}/expirations", operation_id="payment_documents_expire", tags=["payment documents"])
async def expire_document(id: Id, door: Annotated[Door, WRITE]) -> Response:
    card = await document_card(door, str(id))
    command = ExpireLink(card.id, None, asked_by(door))
    return await door.ask(Addressed(DOCUMENTS, card.stream, command), answer=_answer_document(card))


# ---------------------------------------------------------------------------------------------------------- payments


class NewPayment(Body):
    """Money that somebody saw arrive. `reference` names it: the same twice is one payment."""

    model_config = example(
        reference="2026-03-02/17",
        amount={"amount": "100.00", "currency": "EUR"},
        paid_at="2026-03-02T09:15:00Z",
        payer="Petra Muster",
        invoice_id="019cad8f-ac00-7aaa-9d09-9a7b27c1a002",
    )

    reference: Text255
    amount: MoneyBody
    paid_at: Instant
    payer: Text255 | None = None
    invoice_id: UUID | None = None
    payment_document_id: UUID | None = None


async def target_of(door: Door, invoice_id: str | None, document_id: str | None) -> asks.Target:
    """What the views know of where money is meant to go."""
    found = views.current_documents().where(DOCUMENTS_TABLE.c.payment_document_id == document_id)
    row = await _first(door, found) if document_id else None
    document = views.document_card(row) if row else None
    id = invoice_id or (document.invoice_id if document else None)
    row = await _first(door, select(INVOICES).where(INVOICES.c.id == id)) if id else None
    card = views.invoice_card(row) if row else None
    return asks.Target(card, document, tuple(await prepaid_of(door, card.deal_id)) if card else ())


def _answer_payment(id: str, status: int = 200) -> Any:
    def answer(done: Result) -> Answer:
        return Answer(status, shown.payment(done.state(PAYMENT, id)), f"/v1/payments/{id}", done.version(PAYMENT, id))

    return answer


@API.post("/v1/payments", operation_id="payments_register", status_code=201, tags=["payments"])
async def register_payment(body: NewPayment, door: Annotated[Door, WRITE]) -> Response:
    """A bank transfer or cash. Money is never refused: what its target does not take stays as credit, with the reason."""
    if body.amount.minor_units == 0:
        raise invalid([Fault("#/amount/amount", "bad_amount", "The amount must be above zero.")])
    money = Money(body.amount.minor_units, body.amount.currency)
    invoice_id, document_id = _text(body.invoice_id), _text(body.payment_document_id)
    known = (door.caller.tenant, BY_HAND, body.reference, money, body.paid_at, body.payer, invoice_id, document_id)
    incoming = asks.Incoming(*known, asked_by(door))
    id, target = incoming.payment_id, await target_of(door, invoice_id, document_id)

    def answer(done: Result) -> Answer:
        payment = done.state(PAYMENT, id)
        version = done.version(PAYMENT, id)
        return made(done, shown.payment(payment), f"/v1/payments/{id}", version, same=payment.money == money)

    return await door.ask(*asks.pay(incoming, target), answer=answer)


@API.get("/v1/payments", operation_id="payments_list", tags=["payments"])
async def list_payments(
    door: Annotated[Door, READ],
    paging: Page,
    invoice_id: Choice = None,
    payment_document_id: Choice = None,
    deal_id: Choice = None,
    provider: Choice = None,
    status: Choice = None,
    currency: Choice = None,
    unapplied: Annotated[bool | None, Query(description="Only with, or only without, money that is not allocated.")] = None,
    paid_at_from: Moment = None,
    paid_at_to: Moment = None,
    amount_from: Amount = None,
    amount_to: Amount = None,
) -> Response:
    c = PAYMENTS.c
    chosen = {c.payment_document_id: payment_document_id, c.deal_id: deal_id, c.provider: provider, c.status: status, c.currency: currency}
    query = select(PAYMENTS).where(
        *(condition for column, wanted in chosen.items() for condition in one_of(column, wanted)),
        *_for_invoice(invoice_id),
        *([] if unapplied is None else [c.credit > 0 if unapplied else c.credit == 0]),
        *between(c.paid_at, paid_at_from, paid_at_to),
        *amounts(c.amount, amount_from, amount_to, currency),
    )
    return await door.listed(query, paging, sort=(c.received_at, c.paid_at, c.amount), shown=shown.payment_row)


def _for_invoice(wanted: str | None) -> list[ColumnElement[bool]]:
    """Meant for the invoice, or allocated to it later."""
    if wanted is None:
        return []
    a, ids = INVOICE_ALLOCATIONS.c, [part.strip() for part in wanted.split(",")]
    allocated = exists().where(a.payment_id == PAYMENTS.c.id, a.id.in_(ids), a.kind == "allocated")
    return [or_(PAYMENTS.c.invoice_id.in_(ids), allocated)]


@API.get("/v1/payments/{id}", operation_id="payments_get", tags=["payments"])
async def get_payment(id: Id, door: Annotated[Door, READ], version: Version = None) -> Response:
    payment, at = await door.state_at(PAYMENT, str(id), version)
    return door.shown(at, shown.payment(payment))


@API.get("/v1/payments/{id}/events", operation_id="payments_events", tags=["payments"])
async def payment_events(id: Id, door: Annotated[Door, READ], paging: Page) -> Response:
    return await door.history(PAYMENT, str(id), paging)


class NewAllocation(Body):
    """`amount` in the payment's currency; `rate` in units of the invoice's currency per unit of the payment's (D32)."""

    model_config = example(invoice_id="019cad8f-ac00-7aaa-9d09-9a7b27c1a002", amount="50.00")

    invoice_id: UUID
    amount: PositiveDecimalText
    rate: PositiveDecimalText | None = None


@API.post("/v1/payments/{id}/allocations", operation_id="payments_allocate", status_code=201, tags=["payments"])
async def allocate(id: Id, body: NewAllocation, door: Annotated[Door, WRITE]) -> Response:
    payment = await payment_card(door, str(id))
    card = await invoice_card(door, str(body.invoice_id))
    money = Money(minor_units(body.amount, payment.currency), payment.currency)
    rate = Decimal(body.rate) if body.rate is not None else None
    prepaid = await prepaid_of(door, card.deal_id)
    item = asks.allocate_by_hand(payment, card, money, rate, asked_by(door), prepaid, door.caller.tenant)
    return await door.ask(*item, answer=_answer_payment(payment.id, 201))


@API.delete("/v1/payments/{id}/allocations/{n}", operation_id="payments_take_back", tags=["payments"])
async def take_back(id: Id, n: Annotated[int, Path(ge=1)], door: Annotated[Door, WRITE]) -> Response:
    """The money stays with the payment as credit; a paid invoice is open again."""
    payment, _ = await door.state_at(PAYMENT, str(id))
    found = next((a.invoice_id for a in payment.allocations if a.n == n and a.invoice_id), None)
    if found is None:
        raise NotFound("There is no such allocation.")
    card = await invoice_card(door, found)
    return await door.ask(*asks.unallocate(card, payment.id, n, asked_by(door)), answer=_answer_payment(payment.id))


class NewRefund(Reason):
    """`to_be_paid_again`: the invoice is owed again (D27)."""

    model_config = example(amount="30.00", to_be_paid_again=False, reason="Goodwill")

    amount: PositiveDecimalText
    to_be_paid_again: Flag = False


@API.post("/v1/payments/{id}/refunds", operation_id="payments_refund", status_code=202, tags=["payments"])
async def refund(id: Id, body: NewRefund, door: Annotated[Door, REFUND]) -> Response:
    """Asked of the provider: 202, and the payment's `refunds` say what became of it. By hand: done, 201."""
    card, refund_id = await payment_card(door, str(id)), str(clock.new_id())
    money = Money(minor_units(body.amount, card.currency), card.currency)
    item = asks.refund(card, refund_id, money, body.to_be_paid_again, body.reason, asked_by(door))
    return await door.ask(*item, answer=_answer_payment(card.id, 202 if card.provider in GIVE_BACK else 201))


@API.post("/v1/payments/{id}/reversals", operation_id="payments_reverse", status_code=201, tags=["payments"])
async def reverse(id: Id, body: Reason, door: Annotated[Door, REFUND]) -> Response:
    """The money was taken back, or was never there (D29)."""
    card = await payment_card(door, str(id))
    back = asks.MoneyBack(card.id, str(clock.new_id()), card.deal_id, card.invoices, asked_by(door))
    return await door.ask(*asks.reverse(back, body.reason), answer=_answer_payment(card.id, 201))


@API.get("/v1/customer-credits", operation_id="customer_credits_list", tags=["payments"])
async def customer_credits(
    door: Annotated[Door, READ], contact_id: Choice = None, company_id: Choice = None, currency: Choice = None
) -> Response:
    """Unapplied money by customer and currency, the largest first; at most 200 lines."""
    c = PAYMENTS.c
    credit = func.sum(c.credit).label("credit")
    query = (
        select(c.contact_id, c.company_id, c.currency, credit, func.count().label("payments"))
        .where(c.credit > 0, *one_of(c.contact_id, contact_id), *one_of(c.company_id, company_id), *one_of(c.currency, currency))
        .group_by(c.contact_id, c.company_id, c.currency)
        .order_by(credit.desc())
        .limit(200)
    )
    return JsonAnswer({"items": [shown.credit_row(row) for row in await _all(door, query)], "next_cursor": None})


# ----------------------------------------------------------------------------------------------------- number series


class NewSeries(Body):
    """`{year}` in the prefix stands for the year; a yearly series needs it."""

    model_config = example(code="invoice", prefix="RE-{year}-", digits=4, yearly=True, next=1)

    code: Code
    prefix: Annotated[str, Field(max_length=40)]
    digits: Whole = 4
    yearly: Flag = False
    next: Whole = 1


def _answer_series(code: str, year: int, status: int = 200) -> Any:
    def answer(done: Result) -> Answer:
        series = shown.series(done.state(SERIES, code), year)
        return Answer(status, series, f"/v1/number-series/{code}", done.version(SERIES, code))

    return answer


@API.post("/v1/number-series", operation_id="number_series_open", status_code=201, tags=["number series"])
async def open_series(body: NewSeries, door: Annotated[Door, WRITE]) -> Response:
    command = OpenSeries(body.code, body.prefix, body.digits, body.yearly, body.next, asked_by(door))
    return await door.ask(Addressed(SERIES, body.code, command), answer=_answer_series(body.code, (await door.now()).year, 201))


@API.get("/v1/number-series", operation_id="number_series_list", tags=["number series"])
async def list_series(door: Annotated[Door, READ], paging: Page) -> Response:
    year = (await door.now()).year
    by_code = (NUMBER_SERIES.c.id,)
    return await door.listed(select(NUMBER_SERIES), paging, sort=by_code, default="id", shown=lambda row: shown.series_row(row, year))


@API.get("/v1/number-series/{code}", operation_id="number_series_get", tags=["number series"])
async def get_series(code: Annotated[str, Path(max_length=63)], door: Annotated[Door, READ], version: Version = None) -> Response:
    series, at = await door.state_at(SERIES, code, version)
    return door.shown(at, shown.series(series, (await door.now()).year))


@API.get("/v1/number-series/{code}/events", operation_id="number_series_events", tags=["number series"])
async def series_events(code: Annotated[str, Path(max_length=63)], door: Annotated[Door, READ], paging: Page) -> Response:
    return await door.history(SERIES, code, paging)


class SeriesChanges(Body):
    prefix: Annotated[str, Field(max_length=40)] | None = None
    digits: Whole | None = None
    yearly: Flag | None = None
    next: Whole | None = None


@API.patch("/v1/number-series/{code}", operation_id="number_series_change", tags=["number series"])
async def change_series(code: Annotated[str, Path(max_length=63)], body: SeriesChanges, door: Annotated[Door, WRITE]) -> Response:
    """Only before the first number of a year, or gaps and repetitions could arise."""
    tenant = ((replicas.TENANTS, str(door.caller.tenant)),)

    def change(seen: Any) -> ChangeSeries:
        return ChangeSeries(asks.today(seen), body.prefix, body.digits, body.yearly, body.next, asked_by(door))

    return await door.ask(Addressed(SERIES, code, change, (), None, tenant), answer=_answer_series(code, (await door.now()).year))


# ---------------------------------------------------------------------------------------------- quotes and signatures


class NewQuote(Body):
    """As an invoice; `valid_for_days` from today."""

    model_config = example(deal_id="019cad8f-ac00-7f0a-a4ce-0d57a8bccdcc", fill_from_deal=True, valid_for_days=30)

    id: UUID | None = None
    deal_id: UUID | None = None
    fill_from_deal: Flag = False
    title: Text255 | None = None
    responsible_id: UUID | None = None
    customer: CustomerBody | None = None
    currency: Currency | None = None
    prices_include_tax: Flag = True
    lines: NewLines = ()
    amount: PositiveDecimalText | None = None
    valid_for_days: Days | None = None
    skip_if_open_exists: Flag = False


@API.post("/v1/quotes", operation_id="quotes_create", status_code=201, tags=["quotes"])
async def create_quote(body: NewQuote, door: Annotated[Door, WRITE]) -> Response:
    id, rows = str(body.id or clock.new_id()), await _rows_given(door, body, body.title or "")
    command = CreateQuote(
        id,
        _text(body.deal_id),
        body.title or rows.title or "Quote",
        _text(body.responsible_id) or rows.responsible_id,
        body.customer.given() if body.customer else rows.customer,
        rows.currency,
        rows.prices_include_tax,
        rows.lines,
        rows.amount,
        None,
        clock.now(),
        asked_by(door),
        skip_if_open_exists=body.skip_if_open_exists,
    )

    def answer(done: Result) -> Answer:
        quote = done.state(QUOTE, id)
        same = (quote.deal_id, quote.title, quote.currency) == (command.deal_id, command.title, command.currency)
        return made(done, shown.quote(quote), f"/v1/quotes/{id}", done.version(QUOTE, id), same=same)

    return await door.ask(*asks.create_quote(command, body.valid_for_days, door.caller.tenant), answer=answer)


@API.get("/v1/quotes", operation_id="quotes_list", tags=["quotes"])
async def list_quotes(
    door: Annotated[Door, READ],
    paging: Page,
    deal_id: Choice = None,
    status: Choice = None,
    contact_id: Choice = None,
    company_id: Choice = None,
    number: Choice = None,
    valid_until_from: Day = None,
    valid_until_to: Day = None,
    total_from: Amount = None,
    total_to: Amount = None,
) -> Response:
    c = QUOTES.c
    chosen = {c.deal_id: deal_id, c.status: status, c.contact_id: contact_id, c.company_id: company_id, c.number: number}
    query = select(QUOTES).where(
        *(condition for column, wanted in chosen.items() for condition in one_of(column, wanted)),
        *between(c.valid_until, valid_until_from, valid_until_to),
        *amounts(c.total, total_from, total_to, None),
    )
    return await door.listed(query, paging, sort=(c.created_at, c.number, c.total), shown=shown.quote_row)


@API.get("/v1/quotes/{id}", operation_id="quotes_get", tags=["quotes"])
async def get_quote(id: Id, door: Annotated[Door, READ], version: Version = None) -> Response:
    quote, at = await door.state_at(QUOTE, str(id), version)
    return door.shown(at, shown.quote(quote))


@API.get("/v1/quotes/{id}/events", operation_id="quotes_events", tags=["quotes"])
async def quote_events(id: Id, door: Annotated[Door, READ], paging: Page) -> Response:
    return await door.history(QUOTE, str(id), paging)


@API.post("/v1/quotes/{id}/cancellations", operation_id="quotes_cancel", tags=["quotes"])
async def cancel_quote(id: Id, body: Cancellation, door: Annotated[Door, WRITE]) -> Response:
    command = CancelQuote(body.if_untouched, body.reason, asked_by(door))
    return await door.ask(Addressed(QUOTE, str(id), command), answer=_answer_quote(str(id)))


class QuoteChanges(Body):
    """Only drafts; what is left out stays."""

    title: Text255 | None = None
    responsible_id: UUID | None = None
    customer: CustomerBody | None = None
    prices_include_tax: Flag | None = None
    lines: NewLines | None = None
    valid_until: date | None = None


def _answer_quote(id: str, status: int = 200) -> Any:
    def answer(done: Result) -> Answer:
        return Answer(status, shown.quote(done.state(QUOTE, id)), f"/v1/quotes/{id}", done.version(QUOTE, id))

    return answer


@API.patch("/v1/quotes/{id}", operation_id="quotes_change", tags=["quotes"])
async def change_quote(id: Id, body: QuoteChanges, door: Annotated[Door, WRITE]) -> Response:
    quote, _ = await door.state_at(QUOTE, str(id))
    change = ChangeQuote(
        asked_by(door),
        body.title,
        _text(body.responsible_id),
        body.customer.given() if body.customer else None,
        body.prices_include_tax,
        given_lines(body.lines, quote.currency) if body.lines is not None else None,
        body.valid_until,
    )
    return await door.ask(Addressed(QUOTE, quote.id, change), answer=_answer_quote(quote.id))


class NewSending(Body):
    """`mail`: notifications mails the link; without, it is in the answer for somebody to hand over."""

    mail: Flag = True


@API.post("/v1/quotes/{id}/sendings", operation_id="quotes_send", tags=["quotes"])
async def send_quote(id: Id, body: NewSending, door: Annotated[Door, WRITE]) -> Response:
    """The next number, the buyer as known now, and a page on which the customer accepts or declines."""
    quote, _ = await door.state_at(QUOTE, str(id))
    whom = offers.Whom(door.caller.tenant, quote.customer, quote.deal_id, await _pipeline_of(door, quote.deal_id))
    item = offers.send_quote(quote.id, whom, offers.new_secret_link("quote"), mail=body.mail, asked=asked_by(door))
    return await door.ask(*item, answer=_answer_quote(quote.id))


async def _pipeline_of(door: Door, deal_id: str | None) -> str | None:
    deal = await _deal(door, deal_id) if deal_id else None
    return deal["pipeline_id"] if deal else None


@API.post("/v1/quotes/{id}/acceptances", operation_id="quotes_accept", tags=["quotes"])
async def accept_quote(id: Id, body: Reason, door: Annotated[Door, WRITE]) -> Response:
    """What the customer said, recorded by an employee."""
    asked = asked_by(door)
    item = Addressed(QUOTE, str(id), lambda seen: AcceptQuote(Answered(seen.now, None, body.reason), asked))
    return await door.ask(item, answer=_answer_quote(str(id)))


@API.post("/v1/quotes/{id}/declines", operation_id="quotes_decline", tags=["quotes"])
async def decline_quote(id: Id, body: Reason, door: Annotated[Door, WRITE]) -> Response:
    """What the customer said, recorded by an employee."""
    asked = asked_by(door)
    item = Addressed(QUOTE, str(id), lambda seen: DeclineQuote(Answered(seen.now, None, body.reason), asked))
    return await door.ask(item, answer=_answer_quote(str(id)))


class Conversion(Body):
    """To an invoice (a draft), or to a deal, which needs a pipeline; without `stage_id` the deal is on its first stage."""

    model_config = example(target="invoice")

    target: Literal["invoice", "deal"]
    id: UUID | None = None
    pipeline_id: UUID | None = None
    stage_id: UUID | None = None


@API.post("/v1/quotes/{id}/conversions", operation_id="quotes_convert", status_code=201, tags=["quotes"])
async def convert_quote(id: Id, body: Conversion, door: Annotated[Door, WRITE]) -> Response:
    """An invoice is there at once. A deal is asked of deals; refuses it, the quote can be converted again."""
    quote, _ = await door.state_at(QUOTE, str(id))
    made = str(body.id or clock.new_id())
    if body.target == "invoice":
        item = offers.quote_to_invoice(quote, made, door.caller.tenant, asked_by(door))
    else:
        pipeline = await _pipeline_for_deal(door, body.pipeline_id)
        item = offers.quote_to_deal(quote.id, made, pipeline, _text(body.stage_id), asked_by(door))
    return await door.ask(*item, answer=_answer_quote(quote.id, 201))


async def _pipeline_for_deal(door: Door, id: UUID | None) -> str:
    """Raises Rejected: 422 where none is named, `pipeline_unknown`."""
    if id is None:
        raise invalid([Fault("#/pipeline_id", "required", "pipeline_id is missing: a deal stands in a pipeline.")])
    table = replicas.PIPELINES_TABLE
    if await _first(door, select(table.c.id).where(table.c.id == str(id))) is None:
        raise Rejected("pipeline_unknown", "There is no such pipeline, or billing has not heard of it yet.")
    return str(id)


class SignerBody(Body):
    """Exactly one of the two."""

    contact_id: UUID | None = None
    employee_id: UUID | None = None

    def given(self, n: int) -> Signer:
        if (self.contact_id is None) == (self.employee_id is None):
            raise invalid([Fault(f"#/signers/{n}", "required", "Give a contact_id or an employee_id.")])
        return Signer(_text(self.contact_id), None, _text(self.employee_id))


class NewSignDocument(Body):
    """Made from a template and from what the deal sells. Without `signers` the customer's contact signs."""

    model_config = example(deal_id="019cad8f-ac00-7f0a-a4ce-0d57a8bccdcc", template_code="standard", fields={"Delivery": "in May"})

    id: UUID | None = None
    deal_id: UUID
    template_code: Code = "standard"
    title: Text255 | None = None
    responsible_id: UUID | None = None
    customer: CustomerBody | None = None
    signers: Annotated[tuple[SignerBody, ...], Field(max_length=MOST_SIGNERS)] = ()
    fields: dict[Text255, LongText] = Field(default_factory=dict)


@API.post("/v1/sign-documents", operation_id="sign_documents_create", status_code=201, tags=["documents to be signed"])
async def create_sign_document(body: NewSignDocument, door: Annotated[Door, WRITE]) -> Response:
    id, rows = str(body.id or clock.new_id()), await rows_of_deal(door, str(body.deal_id))
    command = CreateSignDocument(
        id,
        str(body.deal_id),
        body.template_code,
        body.title or rows.title,
        _text(body.responsible_id) or rows.responsible_id,
        body.customer.given() if body.customer else rows.customer,
        dict(body.fields),
        clock.now(),
        asked_by(door),
        tuple(signer.given(n) for n, signer in enumerate(body.signers)),
    )

    def answer(done: Result) -> Answer:
        document = done.state(SIGN_DOCUMENT, id)
        same = (document.deal_id, document.title) == (command.deal_id, command.title)
        return made(done, shown.sign_document(document), f"/v1/sign-documents/{id}", done.version(SIGN_DOCUMENT, id), same=same)

    return await door.ask(*offers.create_sign_document(command), answer=answer)


@API.get("/v1/sign-documents", operation_id="sign_documents_list", tags=["documents to be signed"])
async def list_sign_documents(
    door: Annotated[Door, READ], paging: Page, deal_id: Choice = None, status: Choice = None, template_code: Choice = None
) -> Response:
    c = SIGN_DOCUMENTS.c
    chosen = (*one_of(c.deal_id, deal_id), *one_of(c.status, status), *one_of(c.template_code, template_code))
    return await door.listed(select(SIGN_DOCUMENTS).where(*chosen), paging, sort=(c.created_at,), shown=shown.sign_document_row)


@API.get("/v1/sign-documents/{id}", operation_id="sign_documents_get", tags=["documents to be signed"])
async def get_sign_document(id: Id, door: Annotated[Door, READ], version: Version = None) -> Response:
    document, at = await door.state_at(SIGN_DOCUMENT, str(id), version)
    return door.shown(at, shown.sign_document(document))


@API.get("/v1/sign-documents/{id}/events", operation_id="sign_documents_events", tags=["documents to be signed"])
async def sign_document_events(id: Id, door: Annotated[Door, READ], paging: Page) -> Response:
    return await door.history(SIGN_DOCUMENT, str(id), paging)


@API.post("/v1/sign-documents/{id}/cancellations", operation_id="sign_documents_cancel", tags=["documents to be signed"])
async def cancel_sign_document(id: Id, body: Cancellation, door: Annotated[Door, WRITE]) -> Response:
    asked = asked_by(door)

    def cancel(seen: Any) -> CancelSignDocument:
        return CancelSignDocument(body.if_untouched, body.reason, seen.now, asked)

    return await door.ask(Addressed(SIGN_DOCUMENT, str(id), cancel), answer=_answer_sign_document(str(id)))


class NewSigning(NewSending):
    """`expires_in_days`: how long the signers have."""

    expires_in_days: Annotated[int, Field(ge=1, le=3650)] | None = None


def _answer_sign_document(id: str) -> Any:
    def answer(done: Result) -> Answer:
        version = done.version(SIGN_DOCUMENT, id)
        return Answer(200, shown.sign_document(done.state(SIGN_DOCUMENT, id)), f"/v1/sign-documents/{id}", version)

    return answer


@API.post("/v1/sign-documents/{id}/sendings", operation_id="sign_documents_send", tags=["documents to be signed"])
async def send_sign_document(id: Id, body: NewSigning, door: Annotated[Door, WRITE]) -> Response:
    """Fixes the file; every signer gets a page of his own."""
    document, _ = await door.state_at(SIGN_DOCUMENT, str(id))
    whom = offers.whom_of(door.caller.tenant, document, await _pipeline_of(door, document.deal_id))
    sending = offers.new_sending(document.signers, body.expires_in_days, mail=body.mail)
    item = offers.send_sign_document(document.id, whom, sending, asked_by(door))
    return await door.ask(*item, answer=_answer_sign_document(document.id))


@API.get("/v1/sign-documents/{id}/document", operation_id="sign_documents_file", tags=["documents to be signed"])
async def sign_document_file(id: Id, door: Annotated[Door, READ]) -> Response:
    """The file that was sent, byte for byte; of a draft, what would be sent now, marked as a draft."""
    document, _ = await door.state_at(SIGN_DOCUMENT, str(id))
    text = document.file or await _preview(door, document)
    headers = {"content-disposition": f'inline; filename="{document.id}.txt"', "x-content-type-options": "nosniff"}
    return Response(text.encode(), media_type="text/plain; charset=utf-8", headers=headers)


async def _preview(door: Door, document: SignDocument) -> str:
    """As `offers.send_sign_document` would fill it."""
    seller, language, _ = await _company(door)
    deal = await _deal(door, document.deal_id)
    table = replicas.PIPELINES_TABLE
    pipeline = await _first(door, select(table.c.language).where(table.c.id == deal["pipeline_id"])) if deal else None
    names = [await _signer_name(door, signer) for signer in document.signers]
    spoken = offers.language_of(pipeline["language"] if pipeline else None, language)
    wares = document.wares or (replicas.wares_of(replicas.DEALS.load(deal)) if deal else None)
    known = replace(document, wares=wares)
    return offers.filled(known, seller, await buyer_now(door, document.customer), names, spoken, draft=True)


async def _signer_name(door: Door, signer: Signer) -> str:
    if signer.contact_id:
        return (await buyer_now(door, Customer(signer.contact_id))).person
    table = replicas.EMPLOYEES_TABLE
    employee = await _first(door, select(table.c.name).where(table.c.id == signer.employee_id))
    return employee["name"] if employee else ""


async def _company(door: Door) -> tuple[str, str, bool]:
    """Name and language of the tenant, and whether it is a rehearsal, as far as it is known here."""
    c = replicas.TENANTS.table.c
    tenant = await _first(door, select(c.name, c.language, c.rehearsal).where(c.id == str(door.caller.tenant)))
    return (tenant["name"], tenant["language"], tenant["rehearsal"]) if tenant else ("", "en", False)


# ------------------------------------------------------------------------------------------------- provider's reports

BY_SIGNATURE = public("a payment provider has no credential; its HMAC over the raw body is checked")


@API.post("/v1/provider-events/{provider}", operation_id="provider_events_receive", tags=["payments"])
async def receive_report(provider: Annotated[str, Path(max_length=40)], request: Request, door: Annotated[Door, BY_SIGNATURE]) -> Response:
    """A signed webhook: kept byte for byte and applied in one transaction, then 200. Delivered again: 200, nothing happens.

    400 for a bad or old signature: nothing is kept. 409 `not-yet`: what it rests on has not been reported; to be sent again."""
    adapter = PROVIDERS.get(provider)
    if adapter is None:
        raise NotFound("There is no such payment provider.")
    raw = await door.body()
    try:
        report = adapter.report(request.headers, raw, clock.now())
    except Rejected as refused:
        security.warning("webhook_refused", provider=provider, code=refused.code, client=request.client.host if request.client else None)
        raise
    await afp("hook.after_verify")
    there = door.in_tenant(report.tenant)
    key = f"{provider}/{report.event_id}/{sha256(raw).hexdigest()[:16]}"
    item = await _reported(there, provider, report)
    answer = await there.ask(*item, key=key[-255:], answer=lambda done: Answer(200, {"received": True}))
    await afp("hook.after_store_before_200")
    return answer


async def _reported(door: Door, provider: str, report: Report) -> asks.Item:
    """The event itself, and what it makes happen."""
    id = str(uuid5(report.tenant, f"provider-event/{provider}/{report.event_id}"))

    def receive(seen: Any) -> ReceiveProviderEvent:
        return ReceiveProviderEvent(provider, report.event_id, report.kind, report.raw, seen.now)

    return (Addressed(PROVIDER_EVENT, id, receive), *await _meant(door, provider, report))


async def _meant(door: Door, provider: str, report: Report) -> asks.Item:
    if report.kind == "payment.failed":
        return ()
    if report.kind == "payment.succeeded":
        known = (report.tenant, provider, report.provider_payment_id, report.money, report.at, report.payer)
        incoming = asks.Incoming(*known, report.invoice_id, report.document_id, BY_ITSELF)
        return asks.pay(incoming, await target_of(door, report.invoice_id, report.document_id))
    payment_id = asks.payment_id_of(report.tenant, provider, report.provider_payment_id)
    row = await _first(door, select(PAYMENTS).where(PAYMENTS.c.id == payment_id))
    card = views.payment_card(row) if row else PaymentCard(payment_id, provider, report.money.currency, None, ())
    back = asks.MoneyBack(payment_id, _back_id(payment_id, report), card.deal_id, card.invoices)
    if report.kind == "payment.refunded":
        return asks.settle_refund(back, report.money.minor, False, report.reference, report.money.currency)
    return asks.reverse(back, "charge-back", again_is_refused=False)


def _back_id(payment_id: str, report: Report) -> str:
    """Our own refund's id if the provider names it (`re_<id>`), otherwise one that follows from the provider's."""
    own = _uuid(report.reference.removeprefix("re_"))
    return own or asks.refund_id_of(payment_id, report.reference)


# ------------------------------------------------------------------------------------------------------ the pay page

BY_TOKEN = public("a customer has no credential; whoever holds the link's token may see and pay it")
Token = Annotated[str, Path(max_length=100)]
MOST_CHECKOUTS, WITHIN = 20, timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Opened:
    """What a token leads to. `current`: it is the document's latest link."""

    door: Door
    documents: PaymentDocuments
    document: Document
    invoice: Invoice | None
    seller: str
    language: str
    current: bool
    now: datetime
    rehearsal: bool

    @property
    def due(self) -> int:
        """What can be paid now: never more than the document says, nor than its invoice is owed."""
        return min(self.document.remaining, self.invoice.amount_due) if self.invoice else self.document.remaining

    @property
    def state(self) -> pages.State:
        d = self.document
        if not self.current:
            return "replaced"
        if d.status == "cancelled" or (self.invoice and self.invoice.cancelled):
            return "cancelled"
        if d.status == "paid" or self.due == 0:
            return "expired" if d.status == "expired" else "paid"
        late = d.link is not None and d.link.expires_at is not None and d.link.expires_at <= self.now
        return "expired" if late or d.status == "expired" else "partially_paid" if d.captured else "open"

    def answers(self, state: pages.State, status: int) -> HTMLResponse:
        page = pages.message_page(state, self.language, self.seller, self.document.title)
        return HTMLResponse(page, status, headers=pages.HEADERS)


async def opened(door: Door, token: str, request: Request) -> Opened | None:
    """Looked up by the token's hash across tenants; None for an unknown one."""
    hash, c = asks.hash_of(token), PAY_TOKENS.c
    async with door.across_tenants() as sql:
        found = (await sql.execute(select(c.tenant, c.id, c.payment_document_id).where(c.token_hash == hash))).mappings().first()
    if found is None:
        return None
    there = door.in_tenant(found["tenant"])
    documents, _ = await there.state_at(DOCUMENTS, found["id"])
    document = documents.document(found["payment_document_id"])
    if document is None:
        return None
    invoice = (await there.state_at(INVOICE, document.invoice_id))[0] if document.invoice_id else None
    seller, default, rehearsal = await _company(there)
    language = pages.language_of(request.headers.get("accept-language"), default)
    current = document.link is not None and document.link.token_hash == hash
    return Opened(there, documents, document, invoice, seller, language, current, await there.now(), rehearsal)


def _no_such_page(request: Request) -> HTMLResponse:
    language = pages.language_of(request.headers.get("accept-language"), "en")
    return HTMLResponse(pages.message_page("unknown", language), 404, headers=pages.HEADERS)


@API.get("/pay/{token}", operation_id="pay_page", tags=["pages"], response_class=HTMLResponse)
async def pay_page(token: Token, request: Request, door: Annotated[Door, BY_TOKEN]) -> Response:
    """What is to be paid, to whom, for what. Reading it changes nothing."""
    link = await opened(door, token, request)
    if link is None:
        return _no_such_page(request)
    state = link.state
    if state not in ("open", "partially_paid"):
        return link.answers(state, 200)
    d = link.document
    totals = totals_of(d.lines, d.prices_include_tax)
    page = pages.PayPage(
        seller=link.seller,
        title=d.title or link.seller,
        currency=d.currency,
        lines=d.lines,
        prices_include_tax=d.prices_include_tax,
        taxes=totals.by_rate,
        total=max(d.amount, totals.gross),
        due=link.due,
        state=state,
        expires_at=d.link.expires_at if d.link else None,
        action=f"/pay/{token}/checkouts",
        attempt=clock.new_token(128),
        test=link.rehearsal or DEFAULT == "fake",
    )
    return HTMLResponse(pages.pay_page(page, link.language), headers=pages.HEADERS)


async def form_of(door: Door) -> dict[str, str]:
    """The fields of a form, or of a JSON object that programs send instead."""
    raw = await door.body()
    try:
        given = json.loads(raw) if raw.lstrip()[:1] == b"{" else dict(parse_qsl(raw.decode(), max_num_fields=20))
    except ValueError:
        return {}
    return {str(name): str(value) for name, value in given.items()}


@API.post("/pay/{token}/checkouts", operation_id="pay_begin", tags=["pages"], status_code=303)
async def begin_checkout(token: Token, request: Request, door: Annotated[Door, BY_TOKEN]) -> Response:
    """Starts the provider's checkout over what is due, and leads there. The same attempt twice is one checkout."""
    link = await opened(door, token, request)
    if link is None:
        return _no_such_page(request)
    if link.state not in ("open", "partially_paid"):
        return link.answers(link.state, 409)
    if await _too_many(link):
        return link.answers("busy", 429)
    attempt = (await form_of(door)).get("attempt") or clock.new_token(128)
    d, back = link.document, f"{settings().base}/pay/{token}"
    order = Order(link.door.caller.tenant, d.id, d.title or link.seller, Money(link.due, d.currency), back, link.language, attempt[:100])
    begun = await PROVIDERS["fake" if link.rehearsal else DEFAULT].begin(order)
    key = f"{d.id}/{sha256(attempt.encode()).hexdigest()[:32]}"
    return await link.door.ask(*begun.asks, key=key, answer=lambda done: Answer(303, None, begun.url))


async def _too_many(link: Opened) -> bool:
    c = CHECKOUTS.c
    recent = select(func.count()).where(c.payment_document_id == link.document.id, c.opened_at > link.now - WITHIN)
    async with link.door.reading() as sql:
        return bool((await sql.execute(recent)).scalar_one() >= MOST_CHECKOUTS)


# ------------------------------------------------------------------------------------- quotes and documents, answered

BY_LETTER = public("a customer has no credential; whoever holds the link's token may read the paper and answer it")
BY_CUSTOMER = Asked(Origin("person"))
"""Whoever holds the link: a person, but no employee."""
Named = Mapping[str, str]


async def _found_by(door: Door, table: Table, token: str) -> Row | None:
    """Looked up by the token's hash across tenants; None for an unknown one."""
    query = select(table).where(table.c.token_hash == asks.hash_of(token))
    async with door.across_tenants() as sql:
        row = (await sql.execute(query)).mappings().first()
    return None if row is None else dict(row)


def _typed(form: Named, name: str) -> str:
    """One line of what somebody typed, without what cannot be seen."""
    return "".join(c for c in " ".join(form.get(name, "").split()) if c.isprintable())


def _too_long(form: Named) -> bool:
    return len(_typed(form, "name")) > paper_pages.MOST_TYPED or len(_typed(form, "reason")) > REASON


def _evidence(request: Request, form: Named) -> Evidence:
    address = request.client.host if request.client else ""
    agent = "".join(c for c in request.headers.get("user-agent", "") if c.isprintable())
    return Evidence(_typed(form, "name"), address, agent[:250])


def _attempt_key(id: str, form: Named) -> str:
    """The same try twice is one answer."""
    attempt = form.get("attempt") or clock.new_token(128)
    return f"{id}/{form.get('answer', '')[:10]}/{sha256(attempt.encode('utf-8', 'replace')).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class OpenedQuote:
    door: Door
    quote: Quote
    seller: str
    language: str
    token: str
    now: datetime
    rehearsal: bool

    @property
    def state(self) -> paper_pages.QuoteState:
        if self.quote.status == "sent":
            return "expired" if self.quote.is_late(self.now) else "open"
        return "cancelled" if self.quote.status == "draft" else self.quote.status

    def page(self, status: int = 200, fault: str = "") -> HTMLResponse:
        q = self.quote
        shown_page = paper_pages.QuotePage(
            seller=self.seller,
            title=q.title,
            number=q.number or "",
            buyer=(q.buyer.person or q.buyer.name) if q.buyer else "",
            currency=q.currency,
            lines=q.lines,
            prices_include_tax=q.prices_include_tax,
            taxes=q.totals.by_rate,
            total=q.totals.gross,
            valid_until=q.valid_until,
            state=self.state,
            action=f"/quote/{self.token}",
            attempt=clock.new_token(128),
            fault=fault,
            test=self.rehearsal,
        )
        return HTMLResponse(paper_pages.quote_page(shown_page, self.language), status, headers=pages.HEADERS)


async def opened_quote(door: Door, token: str, request: Request) -> OpenedQuote | None:
    found = await _found_by(door, QUOTE_TOKENS, token)
    if found is None:
        return None
    there = door.in_tenant(found["tenant"])
    quote, _ = await there.state_at(QUOTE, found["id"])
    seller, _, rehearsal = await _company(there)
    default = quote.addressee.language if quote.addressee else "en"
    language = pages.language_of(request.headers.get("accept-language"), default)
    return OpenedQuote(there, quote, seller, language, token, await there.now(), rehearsal)


def _no_such_paper(kind: Literal["quote", "sign"], request: Request) -> HTMLResponse:
    language = pages.language_of(request.headers.get("accept-language"), "en")
    return HTMLResponse(paper_pages.unknown_page(kind, language), 404, headers=pages.HEADERS)


@API.get("/quote/{token}", operation_id="quote_page", tags=["pages"], response_class=HTMLResponse)
async def quote_page(token: Token, request: Request, door: Annotated[Door, BY_LETTER]) -> Response:
    """What is offered, by whom, until when. Reading it changes nothing."""
    found = await opened_quote(door, token, request)
    return found.page() if found else _no_such_paper("quote", request)


@API.post("/quote/{token}", operation_id="quote_answer", tags=["pages"], status_code=303)
async def answer_quote(token: Token, request: Request, door: Annotated[Door, BY_LETTER]) -> Response:
    """`answer` accept or decline, `name`, where declined `reason`. The same answer twice is one."""
    found = await opened_quote(door, token, request)
    if found is None:
        return _no_such_paper("quote", request)
    form, back = await form_of(found.door), f"/quote/{token}"
    if (page := _unanswerable(found, form)) is not None:
        return page
    item = _quote_answered(found.quote.id, form, _evidence(request, form))
    done = await found.door.ask(item, key=_attempt_key(found.quote.id, form), answer=lambda done: Answer(303, None, back))
    late = await opened_quote(door, token, request) if done.status_code >= 400 else None
    return late.page(409, "wrong" if late.state == "open" else "") if late else done


def _unanswerable(found: OpenedQuote, form: Named) -> Response | None:
    """The page instead: the same answer was given, nothing is open, or something is missing."""
    answer = form.get("answer", "")
    if found.state == {"accept": "accepted", "decline": "declined"}.get(answer):
        return _see(f"/quote/{found.token}")
    if found.state != "open":
        return found.page(409)
    if answer not in ("accept", "decline"):
        return found.page(422, "wrong")
    if _too_long(form):
        return found.page(422, "too_long")
    return found.page(422, "name_missing") if answer == "accept" and not _typed(form, "name") else None


def _see(path: str) -> Response:
    return Response(status_code=303, headers={"location": path})


def _quote_answered(id: str, form: Named, evidence: Evidence) -> Addressed[Any]:
    reason = _typed(form, "reason")

    def answer(seen: Any) -> AcceptQuote | DeclineQuote:
        if form["answer"] == "accept":
            return AcceptQuote(Answered(seen.now, evidence), BY_CUSTOMER)
        return DeclineQuote(Answered(seen.now, evidence, reason), BY_CUSTOMER)

    return Addressed(QUOTE, id, answer)


@dataclass(frozen=True, slots=True)
class OpenedSigning:
    door: Door
    document: SignDocument
    signer: Signer
    seller: str
    language: str
    token: str
    now: datetime
    rehearsal: bool

    @property
    def state(self) -> paper_pages.SignState:
        d = self.document
        if d.status == "sent":
            return "signed_by_you" if self.signer.signature else "expired" if d.is_late(self.now) else "open"
        return "cancelled" if d.status == "draft" else d.status

    def page(self, status: int = 200, fault: str = "") -> HTMLResponse:
        d, s = self.document, self.signer
        given = [(each.signature.evidence.name, each.signature.at) for each in d.signers if each.signature]
        shown_page = paper_pages.SignPage(
            seller=self.seller,
            title=d.title,
            signer=s.addressee.name if s.addressee else "",
            text=d.file or "",
            file_sha256=d.file_sha256 or "",
            signatures=given,
            expires_at=d.expires_at,
            state=self.state,
            action=f"/sign/{self.token}",
            attempt=clock.new_token(128),
            fault=fault,
            test=self.rehearsal,
        )
        return HTMLResponse(paper_pages.sign_page(shown_page, self.language), status, headers=pages.HEADERS)


async def opened_signing(door: Door, token: str, request: Request) -> OpenedSigning | None:
    found = await _found_by(door, SIGN_TOKENS, token)
    if found is None:
        return None
    there = door.in_tenant(found["tenant"])
    document, _ = await there.state_at(SIGN_DOCUMENT, found["id"])
    signer = document.signer(found["signer_id"])
    if signer is None:
        return None
    seller, _, rehearsal = await _company(there)
    default = signer.addressee.language if signer.addressee else document.language
    language = pages.language_of(request.headers.get("accept-language"), default)
    return OpenedSigning(there, document, signer, seller, language, token, await there.now(), rehearsal)


@API.get("/sign/{token}", operation_id="sign_page", tags=["pages"], response_class=HTMLResponse)
async def sign_page(token: Token, request: Request, door: Annotated[Door, BY_LETTER]) -> Response:
    """The document, who has signed it, and where to sign. Reading it changes nothing."""
    found = await opened_signing(door, token, request)
    return found.page() if found else _no_such_paper("sign", request)


@API.post("/sign/{token}", operation_id="sign_answer", tags=["pages"], status_code=303)
async def sign_here(token: Token, request: Request, door: Annotated[Door, BY_LETTER]) -> Response:
    """`answer` sign (with `name`, `agreed` and the `sha256` of what was read) or decline (`reason`). The same answer twice is one."""
    found = await opened_signing(door, token, request)
    if found is None:
        return _no_such_paper("sign", request)
    form, back, id = await form_of(found.door), f"/sign/{token}", found.document.id
    if (page := _unsignable(found, form)) is not None:
        return page
    item = _signed(id, found.signer.id, form, _evidence(request, form))
    done = await found.door.ask(item, key=_attempt_key(f"{id}/{found.signer.id}", form), answer=lambda done: Answer(303, None, back))
    late = await opened_signing(door, token, request) if done.status_code >= 400 else None
    return late.page(409, "wrong" if late.state == "open" else "") if late else done


def _unsignable(found: OpenedSigning, form: Named) -> Response | None:
    """The page instead: the same answer was given, nothing is open, or something is missing."""
    answer, same = form.get("answer", ""), {"sign": ("signed_by_you", "signed"), "decline": ("declined",)}
    if found.state in same.get(answer, ()):
        return _see(f"/sign/{found.token}")
    if found.state != "open":
        return found.page(409)
    if answer not in same:
        return found.page(422, "wrong")
    if _too_long(form):
        return found.page(422, "too_long")
    return _missing_of_signature(found, form) if answer == "sign" else None


def _missing_of_signature(found: OpenedSigning, form: Named) -> Response | None:
    if not _typed(form, "name"):
        return found.page(422, "name_missing")
    if not _is_on(form, "agreed"):
        return found.page(422, "not_agreed")
    return found.page(422, "file_differs") if form.get("sha256") != found.document.file_sha256 else None


def _signed(id: str, signer_id: str, form: Named, evidence: Evidence) -> Addressed[Any]:
    reason, read = _typed(form, "reason"), form.get("sha256", "")

    def answer(seen: Any) -> Sign | Decline:
        if form["answer"] == "sign":
            return Sign(signer_id, Signature(seen.now, evidence, read), BY_CUSTOMER)
        return Decline(signer_id, seen.now, reason, BY_CUSTOMER)

    return Addressed(SIGN_DOCUMENT, id, answer)


# ------------------------------------------------------------------------------------------- the test provider's page

AT_PROVIDER = public("the test provider's hosted checkout; its unguessable id is the capability, and no real money moves")
BUTTONS: tuple[Button, ...] = ("pay", "partial", "excess", "later", "confirm", "decline", "abandon", "refund", "charge_back")


async def checkout_of(door: Door, id: UUID) -> tuple[Door, Checkout]:
    async with door.across_tenants() as sql:
        tenant = (await sql.execute(select(CHECKOUTS.c.tenant).where(CHECKOUTS.c.id == str(id)))).scalar_one_or_none()
    if tenant is None:
        raise NotFound("There is no such checkout.")
    there = door.in_tenant(tenant)
    return there, (await there.state_at(CHECKOUT, str(id)))[0]


def _checkout_page(checkout: Checkout, request: Request, status: int = 200, fault: str = "") -> HTMLResponse:
    language = pages.language_of(request.headers.get("accept-language"), checkout.language)
    action = f"/fake-provider/checkouts/{checkout.id}/presses"
    return HTMLResponse(pages.checkout_page(checkout, action, clock.new_token(128), language, fault), status, headers=pages.HEADERS)


@API.get("/fake-provider/checkouts/{id}", operation_id="fake_checkout_page", tags=["pages"], response_class=HTMLResponse)
async def fake_checkout(id: Id, request: Request, door: Annotated[Door, AT_PROVIDER]) -> Response:
    _, checkout = await checkout_of(door, id)
    return _checkout_page(checkout, request)


@API.post("/fake-provider/checkouts/{id}/presses", operation_id="fake_checkout_press", tags=["pages"], status_code=303)
async def press(id: Id, request: Request, door: Annotated[Door, AT_PROVIDER]) -> Response:
    """A button of the test provider's page: `button`, and where they count `amount`, `minutes`, `delay`, `twice`,
    `out_of_order`, `bad_signature`. What it makes the provider report comes as a signed webhook."""
    there, checkout = await checkout_of(door, id)
    form = await form_of(there)
    try:
        command = _pressed(checkout, form)
    except Rejected as refused:
        return _checkout_page(checkout, request, 422, refused.detail)
    item = Addressed(CHECKOUT, checkout.id, lambda seen: replace(command, at=seen.now))
    key = f"{checkout.id}/{command.button}/{sha256(form.get('attempt', clock.new_token(128)).encode()).hexdigest()[:32]}"
    done = await there.ask(item, key=key, answer=lambda done: Answer(303, None, f"/fake-provider/checkouts/{checkout.id}"))
    if done.status_code < 400:
        return done
    return _checkout_page(checkout, request, done.status_code, str(json.loads(bytes(done.body)).get("detail", "")))


def _pressed(checkout: Checkout, form: Mapping[str, str]) -> Press:
    """Raises Rejected for a button that there is not, and for an amount or a number that is none."""
    button = next((b for b in BUTTONS if b == form.get("button")), None)
    if button is None:
        raise Rejected("unknown_button", f"There is no such button; there are {', '.join(BUTTONS)}.", status=422)
    amount = minor_units(form.get("amount", "0") or "0", checkout.money.currency) if button in ("partial", "excess") else 0
    switches = Switches(_is_on(form, "twice"), _is_on(form, "out_of_order"), _number(form, "delay", 3600), _is_on(form, "bad_signature"))
    return Press(button, clock.now(), amount, _number(form, "minutes", 1440), switches)


def _is_on(form: Mapping[str, str], name: str) -> bool:
    return form.get(name, "").lower() in ("true", "on", "1")


def _number(form: Mapping[str, str], name: str, most: int) -> int:
    text = form.get(name, "0") or "0"
    if not (text.isascii() and text.isdigit() and int(text[:9]) <= most):
        raise Rejected("out_of_range", f"{name} is a whole number from 0 to {most}.", status=422)
    return int(text)
