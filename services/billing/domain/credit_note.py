"""Credit note: negates part or all of an issued invoice. Created issued, with a number, and never changed (billing.md 2.5).

Whether the invoice has that much left is the invoice's decision, in the same item."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from services.billing.domain.customer import Buyer
from services.billing.domain.money import NO_TOTALS, Line, Totals
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
    asked: Asked


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
