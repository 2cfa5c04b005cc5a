"""Quote: an offer with a date it is good until, answered by the customer on a page behind an unguessable link (billing.md 2.1).

A draft changes freely. Sent it has a number and its buyer's snapshot and never changes; the customer or an employee accepts
or declines it, its date ends it. An accepted or sent quote becomes an invoice, a deal, or both, once each (S45)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Literal, assert_never

from services.billing.domain.customer import NOBODY, Buyer, Customer
from services.billing.domain.money import NO_TOTALS, Line, Totals, line_of_amount, totals_of
from services.billing.domain.origin import BY_ITSELF, Asked
from services.billing.domain.public_link import Addressee, Evidence, SecretLink
from shared.es.aggregate import Aggregate
from shared.es.errors import NotFound, Rejected

Status = Literal["draft", "sent", "accepted", "declined", "expired", "cancelled"]
Target = Literal["invoice", "deal"]
TARGETS: tuple[Target, ...] = ("invoice", "deal")
OPEN: tuple[Status, ...] = ("draft", "sent")
CONVERTIBLE: tuple[Status, ...] = ("sent", "accepted")
PEOPLE = ("person", "api", "import")


@dataclass(frozen=True, slots=True)
class Answered:
    """`evidence` is None where an employee recorded what the customer said."""

    at: datetime
    evidence: Evidence | None = None
    reason: str = ""


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
    buyer: Buyer | None = None
    addressee: Addressee | None = None
    mailed: bool = False
    link: SecretLink | None = None
    sent_at: datetime | None = None
    expires_at: datetime | None = None
    answered: Answered | None = None
    made: dict[str, str] = field(default_factory=dict)
    """What it was converted to: ids by target."""

    @property
    def exists(self) -> bool:
        return self.id != ""

    def is_late(self, at: datetime) -> bool:
        """Its date has passed, whether the timer has said so or not."""
        return self.expires_at is not None and at >= self.expires_at


# --------------------------------------------------------------------------------------------------------- commands


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
class ChangeQuote:
    """None keeps what is."""

    asked: Asked
    title: str | None = None
    responsible_id: str | None = None
    customer: Customer | None = None
    prices_include_tax: bool | None = None
    lines: tuple[Line, ...] | None = None
    valid_until: date | None = None


@dataclass(frozen=True, slots=True)
class SendQuote:
    """`number` was drawn in the same item; '' when none was, because the quote is no draft. `expires_at` ends `valid_until`.

    `mail`: the customer gets the link by e-mail; otherwise somebody hands it over."""

    number: str
    at: datetime
    buyer: Buyer
    addressee: Addressee
    link: SecretLink
    expires_at: datetime | None
    mail: bool
    asked: Asked


@dataclass(frozen=True, slots=True)
class AcceptQuote:
    answered: Answered
    asked: Asked


@dataclass(frozen=True, slots=True)
class DeclineQuote:
    answered: Answered
    asked: Asked


@dataclass(frozen=True, slots=True)
class ExpireQuote:
    asked: Asked


@dataclass(frozen=True, slots=True)
class CancelQuote:
    if_untouched: bool
    reason: str
    asked: Asked


@dataclass(frozen=True, slots=True)
class ConvertQuote:
    """`made_id` is the invoice's or the deal's. A deal goes to `pipeline_id`, to its first stage unless `stage_id` names one."""

    target: Target
    made_id: str
    at: datetime
    asked: Asked
    pipeline_id: str | None = None
    stage_id: str | None = None


@dataclass(frozen=True, slots=True)
class UndoConversion:
    """What the quote was converted to was refused by whoever makes it: it can be converted once more."""

    made_id: str
    code: str
    detail: str
    asked: Asked


# ----------------------------------------------------------------------------------------------------------- events


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
class QuoteChanged:
    """The draft as it is now; `changed` names the fields that are new."""

    title: str
    responsible_id: str | None
    customer: Customer
    prices_include_tax: bool
    lines: tuple[Line, ...]
    totals: Totals
    valid_until: date | None
    changed: tuple[str, ...]
    asked: Asked


@dataclass(frozen=True, slots=True)
class QuoteSent:
    number: str
    at: datetime
    buyer: Buyer
    addressee: Addressee
    link: SecretLink
    expires_at: datetime | None
    mail: bool
    asked: Asked


@dataclass(frozen=True, slots=True)
class QuoteAccepted:
    answered: Answered
    asked: Asked


@dataclass(frozen=True, slots=True)
class QuoteDeclined:
    answered: Answered
    asked: Asked


@dataclass(frozen=True, slots=True)
class QuoteExpired:
    asked: Asked


@dataclass(frozen=True, slots=True)
class QuoteCancelled:
    reason: str
    asked: Asked


@dataclass(frozen=True, slots=True)
class QuoteConverted:
    target: Target
    made_id: str
    at: datetime
    asked: Asked
    pipeline_id: str | None = None
    stage_id: str | None = None


@dataclass(frozen=True, slots=True)
class QuoteConversionUndone:
    target: Target
    made_id: str
    code: str
    detail: str
    asked: Asked


QuoteCommand = (
    CreateQuote | ChangeQuote | SendQuote | AcceptQuote | DeclineQuote | ExpireQuote | CancelQuote | ConvertQuote | UndoConversion
)
QuoteEvent = (
    QuoteCreated
    | QuoteChanged
    | QuoteSent
    | QuoteAccepted
    | QuoteDeclined
    | QuoteExpired
    | QuoteCancelled
    | QuoteConverted
    | QuoteConversionUndone
)

# ----------------------------------------------------------------------------------------------------------- decide


def decide(quote: Quote, command: QuoteCommand) -> Sequence[QuoteEvent]:
    if not quote.exists and not isinstance(command, CreateQuote):
        raise NotFound("There is no such quote.")
    match command:
        case CreateQuote():
            return [] if quote.exists else [_create(command)]
        case ChangeQuote():
            return _change(quote, command)
        case SendQuote():
            return _send(quote, command)
        case AcceptQuote():
            _must_be_answerable(quote, command.answered.at)
            return [QuoteAccepted(command.answered, command.asked)]
        case DeclineQuote():
            _must_be_answerable(quote, command.answered.at)
            return [QuoteDeclined(command.answered, command.asked)]
        case ExpireQuote():
            return [QuoteExpired(command.asked)] if quote.status == "sent" else []
        case CancelQuote():
            return _cancel(quote, command)
        case ConvertQuote():
            return _convert(quote, command)
        case UndoConversion():
            return _undo_conversion(quote, command)
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


def _change(quote: Quote, c: ChangeQuote) -> Sequence[QuoteEvent]:
    _must_be_draft(quote)
    if c.lines == ():
        raise Rejected("nothing_to_quote", "A quote has at least one line.")
    names = ("title", "responsible_id", "customer", "prices_include_tax", "lines", "valid_until")
    changed = {name: new for name in names if (new := getattr(c, name)) is not None and new != getattr(quote, name)}
    if not changed:
        return []
    new = replace(quote, **changed)
    totals = totals_of(new.lines, new.prices_include_tax)
    fields = (new.title, new.responsible_id, new.customer, new.prices_include_tax, new.lines, totals, new.valid_until)
    return [QuoteChanged(*fields, tuple(changed), c.asked)]


def _send(quote: Quote, c: SendQuote) -> Sequence[QuoteEvent]:
    _must_be_draft(quote)
    if not c.buyer.name:
        raise Rejected("buyer_incomplete", "The customer has no name: link a contact or a company, or complete their details.")
    if c.mail and not c.addressee.email:
        raise Rejected("recipient_missing", "Neither the contact nor the company has an e-mail address.")
    if c.expires_at is not None and c.expires_at <= c.at:
        raise Rejected("validity_over", "The quote is good until a day that has passed: give it a later one.")
    return [QuoteSent(c.number, c.at, c.buyer, c.addressee, c.link, c.expires_at, c.mail, c.asked)]


def _must_be_draft(quote: Quote) -> None:
    if quote.status in OPEN and quote.status != "draft":
        raise Rejected("quote_not_draft", "The quote was sent and never changes; cancel it and make another.")
    if quote.status != "draft":
        raise Rejected("quote_over", f"The quote is {quote.status}.")


def _must_be_answerable(quote: Quote, at: datetime) -> None:
    if quote.status == "draft":
        raise Rejected("quote_not_sent", "The quote has not been sent yet.")
    if quote.status != "sent":
        raise Rejected("quote_over", f"The quote is {quote.status} already.")
    if quote.is_late(at):
        raise Rejected("quote_over", f"The quote was good until {quote.valid_until}.")


def _cancel(quote: Quote, c: CancelQuote) -> Sequence[QuoteEvent]:
    if quote.status not in OPEN:
        raise Rejected("quote_over", f"The quote is {quote.status} already.")
    if c.if_untouched and (quote.touched or quote.status != "draft"):
        raise Rejected("has_been_touched", "Somebody worked on the quote since it was made.")
    return [QuoteCancelled(c.reason, c.asked)]


def _convert(quote: Quote, c: ConvertQuote) -> Sequence[QuoteEvent]:
    if quote.status == "draft":
        raise Rejected("quote_not_sent", "Only a quote that was sent or accepted is converted.")
    if quote.status not in CONVERTIBLE:
        raise Rejected("quote_over", f"The quote is {quote.status}.")
    if c.target in quote.made:
        raise Rejected("already_converted", f"The quote was converted to {c.target} {quote.made[c.target]} already.")
    if c.target == "deal" and quote.deal_id is not None:
        raise Rejected("already_linked", "The quote belongs to a deal already.")
    return [QuoteConverted(c.target, c.made_id, c.at, c.asked, c.pipeline_id, c.stage_id)]


def _undo_conversion(quote: Quote, c: UndoConversion) -> Sequence[QuoteEvent]:
    target = next((t for t in TARGETS if quote.made.get(t) == c.made_id), None)
    return [QuoteConversionUndone(target, c.made_id, c.code, c.detail, c.asked)] if target else []


# ----------------------------------------------------------------------------------------------------------- evolve


def evolve(quote: Quote, event: QuoteEvent) -> Quote:
    match event:
        case QuoteCreated():
            return _created(event)
        case QuoteChanged():
            return _changed(quote, event)
        case QuoteSent():
            return _sent(quote, event)
        case QuoteAccepted():
            return replace(quote, status="accepted", answered=event.answered)
        case QuoteDeclined():
            return replace(quote, status="declined", answered=event.answered)
        case QuoteExpired():
            return replace(quote, status="expired")
        case QuoteCancelled():
            return replace(quote, status="cancelled")
        case QuoteConverted():
            return replace(quote, made={**quote.made, event.target: event.made_id})
        case QuoteConversionUndone():
            return replace(quote, made={target: id for target, id in quote.made.items() if target != event.target})
        case _:
            assert_never(event)


def _created(event: QuoteCreated) -> Quote:
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


def _changed(quote: Quote, e: QuoteChanged) -> Quote:
    return replace(
        quote,
        title=e.title,
        responsible_id=e.responsible_id,
        customer=e.customer,
        prices_include_tax=e.prices_include_tax,
        lines=e.lines,
        totals=e.totals,
        valid_until=e.valid_until,
        touched=quote.touched or e.asked.origin.kind in PEOPLE,
    )


def _sent(quote: Quote, e: QuoteSent) -> Quote:
    return replace(
        quote,
        status="sent",
        number=e.number,
        buyer=e.buyer,
        addressee=e.addressee,
        mailed=e.mail,
        link=e.link,
        sent_at=e.at,
        expires_at=e.expires_at,
        touched=True,
    )


QUOTE: Aggregate[Quote, QuoteCommand, QuoteEvent] = Aggregate(
    "quote",
    Quote(),
    decide,
    evolve,
    (
        QuoteCreated,
        QuoteChanged,
        QuoteSent,
        QuoteAccepted,
        QuoteDeclined,
        QuoteExpired,
        QuoteCancelled,
        QuoteConverted,
        QuoteConversionUndone,
    ),
)
