"""Quote: an offer with a date it is good until (billing.md 2.1). Here: drafted and cancelled; it has a number once sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Literal, assert_never

from services.billing.domain.customer import NOBODY, Customer
from services.billing.domain.money import NO_TOTALS, Line, Totals, line_of_amount, totals_of
from services.billing.domain.origin import BY_ITSELF, Asked
from shared.es.aggregate import Aggregate
from shared.es.errors import NotFound, Rejected

Status = Literal["draft", "sent", "accepted", "declined", "expired", "cancelled"]
OPEN: tuple[Status, ...] = ("draft", "sent")


@dataclass(frozen=True, slots=True)
class Quote:
    id: str = ""
    record_key: str = ""
    deal_id: str | None = None
    title: str = ""
    responsible_id: str | None = None
    customer: Customer = NOBODY
    currency: str = ""
    prices_include_tax: bool = False
    lines: tuple[Line, ...] = ()
    totals: Totals = NO_TOTALS
    valid_until: date | None = None
    number: str | None = None
    status: Status = "draft"
    touched: bool = False
    asked: Asked = BY_ITSELF
    created_at: datetime | None = None

    @property
    def exists(self) -> bool:
        return self.id != ""


@dataclass(frozen=True, slots=True)
class CreateQuote:
    """`amount` counts when there are no lines. `other_open`: open quotes of the same deal (D43)."""

    quote_id: str
    deal_id: str | None
    title: str
    responsible_id: str | None
    customer: Customer
    currency: str
    prices_include_tax: bool
    lines: tuple[Line, ...]
    amount: int
    valid_until: date | None
    at: datetime
    asked: Asked
    other_open: tuple[str, ...] = ()
    skip_if_open_exists: bool = False


@dataclass(frozen=True, slots=True)
class CancelQuote:
    if_untouched: bool
    reason: str
    asked: Asked


@dataclass(frozen=True, slots=True)
class QuoteCreated:
    quote_id: str
    record_key: str
    deal_id: str | None
    title: str
    responsible_id: str | None
    customer: Customer
    currency: str
    prices_include_tax: bool
    lines: tuple[Line, ...]
    totals: Totals
    valid_until: date | None
    at: datetime
    asked: Asked


@dataclass(frozen=True, slots=True)
class QuoteCancelled:
    reason: str
    asked: Asked


QuoteCommand = CreateQuote | CancelQuote
QuoteEvent = QuoteCreated | QuoteCancelled


def decide(quote: Quote, command: QuoteCommand) -> Sequence[QuoteEvent]:
    match command:
        case CreateQuote():
            return [] if quote.exists else [_create(command)]
        case CancelQuote():
            return _cancel(quote, command)
        case _:
            assert_never(command)


def _create(c: CreateQuote) -> QuoteEvent:
    if c.skip_if_open_exists and c.other_open:
        raise Rejected("open_exists", f"The deal has {len(c.other_open)} open quote(s).")
    if not c.lines and c.amount <= 0:
        raise Rejected("nothing_to_quote", "There are no lines and no amount above zero.")
    lines = c.lines or (line_of_amount(c.quote_id, c.title, c.amount),)
    return QuoteCreated(
        c.quote_id,
        c.deal_id or c.quote_id,
        c.deal_id,
        c.title,
        c.responsible_id,
        c.customer,
        c.currency,
        c.prices_include_tax,
        lines,
        totals_of(lines, c.prices_include_tax),
        c.valid_until,
        c.at,
        c.asked,
    )


def _cancel(quote: Quote, c: CancelQuote) -> Sequence[QuoteEvent]:
    if not quote.exists:
        raise NotFound("There is no such quote.")
    if quote.status not in OPEN:
        raise Rejected("quote_over", f"The quote is {quote.status} already.")
    if c.if_untouched and (quote.touched or quote.status != "draft"):
        raise Rejected("has_been_touched", "Somebody worked on the quote since it was made.")
    return [QuoteCancelled(c.reason, c.asked)]


def evolve(quote: Quote, event: QuoteEvent) -> Quote:
    match event:
        case QuoteCreated():
            return Quote(
                id=event.quote_id,
                record_key=event.record_key,
                deal_id=event.deal_id,
                title=event.title,
                responsible_id=event.responsible_id,
                customer=event.customer,
                currency=event.currency,
                prices_include_tax=event.prices_include_tax,
                lines=event.lines,
                totals=event.totals,
                valid_until=event.valid_until,
                asked=event.asked,
                created_at=event.at,
            )
        case QuoteCancelled():
            return replace(quote, status="cancelled")
        case _:
            assert_never(event)


QUOTE: Aggregate[Quote, QuoteCommand, QuoteEvent] = Aggregate("quote", Quote(), decide, evolve, (QuoteCreated, QuoteCancelled))
