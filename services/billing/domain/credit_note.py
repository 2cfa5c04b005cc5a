"""Credit note: negates part or all of an issued invoice. Created issued, with a number, and never changed (billing.md 2.5).

Whether the invoice has that much left is the invoice's decision, in the same item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from fractions import Fraction

from services.billing.domain.customer import Buyer
from services.billing.domain.money import NO_TOTALS, Line, RateTotal, Totals, half_up
from services.billing.domain.origin import BY_ITSELF, Asked
from shared.es.aggregate import Aggregate


@dataclass(frozen=True, slots=True)
class CreditNote:
    id: str = ""
    record_key: str = ""
    number: str = ""
    invoice_id: str = ""
    invoice_number: str = ""
    deal_id: str | None = None
    currency: str = ""
    prices_include_tax: bool = False
    lines: tuple[Line, ...] = ()
    totals: Totals = NO_TOTALS
    reason: str = ""
    cancels_invoice: bool = False
    issue_date: date | None = None
    buyer: Buyer | None = None
    at: datetime | None = None
    asked: Asked = BY_ITSELF

    @property
    def exists(self) -> bool:
        return self.id != ""


@dataclass(frozen=True, slots=True)
class IssueCreditNote:
    """`number` was drawn in the same item."""

    credit_note_id: str
    record_key: str
    number: str
    invoice_id: str
    invoice_number: str
    deal_id: str | None
    currency: str
    prices_include_tax: bool
    lines: tuple[Line, ...]
    totals: Totals
    reason: str
    cancels_invoice: bool
    issue_date: date
    buyer: Buyer | None
    at: datetime
    asked: Asked


@dataclass(frozen=True, slots=True)
class CreditNoteIssued:
    credit_note_id: str
    record_key: str
    number: str
    invoice_id: str
    invoice_number: str
    deal_id: str | None
    currency: str
    prices_include_tax: bool
    lines: tuple[Line, ...]
    totals: Totals
    reason: str
    cancels_invoice: bool
    issue_date: date
    buyer: Buyer | None
    at: datetime
    asked: Asked


def totals_of_amount(of: Totals, gross: int) -> Totals:
    """`gross` spread over the tax rates of an invoice as they share its total; the last rate takes what rounding leaves."""
    by_rate, spent = [], 0
    for n, r in enumerate(of.by_rate, 1):
        part = gross - spent if n == len(of.by_rate) else half_up(Fraction(gross * (r.net + r.tax), of.gross))
        tax = half_up(Fraction(part) * Fraction(r.rate) / (100 + Fraction(r.rate)))
        by_rate.append(RateTotal(r.rate, part - tax, tax))
        spent += part
    return Totals(sum(r.net for r in by_rate), sum(r.tax for r in by_rate), gross, tuple(by_rate))


def decide(note: CreditNote, command: IssueCreditNote) -> Sequence[CreditNoteIssued]:
    if note.exists:
        return []
    return [CreditNoteIssued(**{name: getattr(command, name) for name in CreditNoteIssued.__slots__})]


def evolve(note: CreditNote, event: CreditNoteIssued) -> CreditNote:
    fields = {name: getattr(event, name) for name in CreditNoteIssued.__slots__ if name != "credit_note_id"}
    return CreditNote(id=event.credit_note_id, **fields)


CREDIT_NOTE: Aggregate[CreditNote, IssueCreditNote, CreditNoteIssued] = Aggregate(
    "credit-note", CreditNote(), decide, evolve, (CreditNoteIssued,)
)
