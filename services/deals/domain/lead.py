"""Lead: an element before it is a deal. `repeat` is true exactly when it was born with a customer. (S46, S74-S76, S82, D48, D49, F14)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from decimal import Decimal
from typing import Any, assert_never
from uuid import UUID

from services.deals.domain.element import MOST_CONTACTS, MOST_OBSERVERS, customer_key, is_filled, with_primary, worth
from services.deals.domain.field_set import FieldSet, checked
from services.deals.domain.fields import (
    FLAG,
    ID,
    MAP,
    NAME,
    NONE,
    Change,
    Kinds,
    difference,
    invalid,
    optional,
    patched,
    read,
    several,
)
from services.deals.domain.money import AMOUNT, CURRENCY, ROWS, Line
from services.deals.domain.origin import BEGINNING, NIL, Cause, answered
from services.deals.domain.stay import NOWHERE, Place, Stay, arrival, must_be_free_to_move
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, NotFound, Rejected

TARGETS = ("deal", "contact", "company")
"""What a lead can become (S46)."""


@dataclass(frozen=True, slots=True)
class LeadFields:
    """The amount is the sum of the rows when there are rows and nobody fixed it."""

    title: str
    created_at: datetime = BEGINNING
    created_by: UUID | None = None
    responsible_id: UUID | None = None
    observer_ids: tuple[UUID, ...] = ()
    contact_ids: tuple[UUID, ...] = ()
    primary_contact_id: UUID | None = None
    company_id: UUID | None = None
    source_deal_id: UUID | None = None
    repeat: bool = False
    currency: str = "EUR"
    amount: Decimal = Decimal("0.00")
    amount_fixed: bool = False
    lines: tuple[Line, ...] = ()
    custom: Mapping[str, Any] = field(default_factory=dict)

    @property
    def customer(self) -> str | None:
        return customer_key(self.company_id, self.primary_contact_id)


SETTABLE: Kinds = {
    "title": NAME,
    "responsible_id": optional(ID),
    "observer_ids": several(ID, MOST_OBSERVERS),
    "contact_ids": several(ID, MOST_CONTACTS),
    "primary_contact_id": optional(ID),
    "company_id": optional(ID),
    "currency": CURRENCY,
    "amount": AMOUNT,
    "lines": ROWS,
}
KEPT: Kinds = {**SETTABLE, "amount_fixed": FLAG, "custom": MAP}
REQUIRABLE = frozenset(SETTABLE) - {"currency"}


@dataclass(frozen=True, slots=True)
class CreateLead:
    """`recurring`: refused without a customer (S76). `open_exists`: an open lead of this customer, found under the set
    `open-leads/<customer>`; only asked for with `skip_if_open_exists` (D49)."""

    lead_id: UUID
    place: Place
    fields: LeadFields
    cause: Cause
    recurring: bool = False
    open_exists: bool = False
    automation: str = "on"


@dataclass(frozen=True, slots=True)
class ChangeLeadFields:
    changes: Mapping[str, Any]
    form: FieldSet
    cause: Cause


@dataclass(frozen=True, slots=True)
class MoveLead:
    place: Place
    reason: str
    cause: Cause
    automation: str = "on"
    if_visit_id: UUID | None = None
    loss_reason: str | None = None
    decision_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class ConvertLead:
    """`made`: the ids of what it becomes, by target. `success`: the stage to close it into, None leaves it open (F14)."""

    made: Mapping[str, UUID]
    cause: Cause
    success: Place | None = None
    automation: str = "on"


@dataclass(frozen=True, slots=True)
class DeleteLead:
    cause: Cause
    if_untouched: bool = False


@dataclass(frozen=True, slots=True)
class RestoreLead:
    place: Place | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class LeadCreated:
    lead_id: UUID
    stay: Stay
    fields: LeadFields
    cause: Cause
    automation: str = "on"


@dataclass(frozen=True, slots=True)
class LeadFieldsChanged:
    changes: Mapping[str, Change]
    cause: Cause


@dataclass(frozen=True, slots=True)
class LeadMoved:
    before: Stay
    stay: Stay
    automation: str
    reason: str
    cause: Cause
    loss_reason: str | None = None
    decision_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class LeadConverted:
    made: Mapping[str, UUID]
    closed: bool
    cause: Cause


@dataclass(frozen=True, slots=True)
class LeadDeleted:
    cause: Cause


@dataclass(frozen=True, slots=True)
class LeadRestored:
    cause: Cause


LeadCommand = CreateLead | ChangeLeadFields | MoveLead | ConvertLead | DeleteLead | RestoreLead
LeadEvent = LeadCreated | LeadFieldsChanged | LeadMoved | LeadConverted | LeadDeleted | LeadRestored


@dataclass(frozen=True, slots=True)
class Lead:
    lead_id: UUID = NIL
    fields: LeadFields = LeadFields("")
    stay: Stay = NOWHERE
    arrived_at: datetime = BEGINNING
    deleted: bool = False
    touched: bool = False
    made: Mapping[str, UUID] = field(default_factory=dict)
    """What it became, by target."""
    answered: frozenset[UUID] = frozenset()

    @property
    def exists(self) -> bool:
        return self.lead_id != NIL

    @property
    def open(self) -> bool:
        return self.exists and not self.deleted and self.stay.stage_kind == "process"


def new_fields(
    values: Mapping[str, Any],
    form: FieldSet,
    at: datetime,
    *,
    created_by: UUID | None = None,
    source_deal_id: UUID | None = None,
    pointer: str = "",
) -> LeadFields:
    """The fields of a new lead from JSON values. Raises Rejected `validation_failed` (422)."""
    if not values.get("title"):
        raise invalid([Fault(f"{pointer}/title", "required", "A lead needs a title.")])
    given = read(SETTABLE, {name: value for name, value in values.items() if name != "custom"}, pointer)
    custom = checked(form, NONE, values.get("custom") or {}, f"{pointer}/custom")
    blank = LeadFields("", created_at=at, created_by=created_by, source_deal_id=source_deal_id, custom=custom)
    fields = _settled(replace(blank, **given), given)
    return replace(fields, repeat=fields.customer is not None)


def decide(lead: Lead, command: LeadCommand) -> Sequence[LeadEvent]:
    if command.cause.request_id in lead.answered:
        return []
    match command:
        case CreateLead():
            return [] if lead.exists else [_created(command)]
        case ChangeLeadFields():
            return _fields_changed(lead, command)
        case MoveLead():
            return [_moved(lead, command)]
        case ConvertLead():
            return _converted(lead, command)
        case DeleteLead(cause=cause, if_untouched=if_untouched):
            return _deleted(lead, cause, if_untouched)
        case RestoreLead(place=place, cause=cause):
            return _restored(lead, place, cause)
        case _:
            assert_never(command)


def evolve(lead: Lead, event: LeadEvent) -> Lead:
    known = replace(lead, answered=answered(lead.answered, event.cause), touched=lead.touched or event.cause.origin.by_hand)
    match event:
        case LeadCreated():
            return Lead(event.lead_id, event.fields, event.stay, event.cause.at, answered=known.answered)
        case LeadFieldsChanged(changes=changes):
            return replace(known, fields=patched(lead.fields, changes, KEPT))
        case LeadMoved(stay=stay):
            return replace(known, stay=stay, arrived_at=event.cause.at)
        case LeadConverted(made=made):
            return replace(known, made={**lead.made, **made})
        case LeadDeleted():
            return replace(known, deleted=True)
        case LeadRestored():
            return replace(known, deleted=False)
        case _:
            assert_never(event)


LEAD: Aggregate[Lead, LeadCommand, LeadEvent] = Aggregate(
    "lead",
    Lead(),
    decide,
    evolve,
    (LeadCreated, LeadFieldsChanged, LeadMoved, LeadConverted, LeadDeleted, LeadRestored),
)


def _must_be_there(lead: Lead) -> None:
    if not lead.exists:
        raise NotFound("There is no such lead in this tenant.")
    if lead.deleted:
        raise Rejected("lead_deleted", "The lead is deleted; restore it first.")


def _created(command: CreateLead) -> LeadCreated:
    if command.recurring and command.fields.customer is None:
        raise Rejected("no_client", "A recurring lead needs a contact or a company.")
    if command.open_exists:
        raise Rejected("open_exists", "The customer has an open lead already.")
    stay = arrival(command.lead_id, command.place, 1)
    return LeadCreated(command.lead_id, stay, command.fields, command.cause, command.automation)


def _fields_changed(lead: Lead, command: ChangeLeadFields) -> Sequence[LeadEvent]:
    _must_be_there(lead)
    given = read(SETTABLE, {name: value for name, value in command.changes.items() if name != "custom"})
    custom = checked(command.form, lead.fields.custom, command.changes.get("custom") or {})
    changes = difference(lead.fields, _settled(replace(lead.fields, **given, custom=custom), given), KEPT)
    if not changes and command.cause.request_id is not None:
        raise Rejected("nothing_to_change", "The lead has these values already.")
    return [LeadFieldsChanged(changes, command.cause)] if changes else []


def _settled(fields: LeadFields, given: Mapping[str, Any]) -> LeadFields:
    named = given.get("primary_contact_id") is not None
    contacts, primary = with_primary(fields.contact_ids, fields.primary_contact_id, named=named)
    fixed = "amount" in given or fields.amount_fixed
    amount = worth(fields.amount, fields.lines, fields.currency, from_lines=bool(fields.lines) and not fixed)
    return replace(fields, contact_ids=contacts, primary_contact_id=primary, amount=amount, amount_fixed=fixed)


def _moved(lead: Lead, command: MoveLead) -> LeadMoved:
    _must_be_there(lead)

    def filled(name: str) -> bool:
        return bool(command.loss_reason) if name == "loss_reason" else is_filled(lead.fields, name)

    must_be_free_to_move(lead.stay, command.place, command.if_visit_id, filled)
    stay = arrival(lead.lead_id, command.place, lead.stay.visit_number + 1)
    return LeadMoved(lead.stay, stay, command.automation, command.reason, command.cause, command.loss_reason, command.decision_id)


def _converted(lead: Lead, command: ConvertLead) -> Sequence[LeadEvent]:
    _must_be_there(lead)
    if all(lead.made.get(target) == made for target, made in command.made.items()):
        return []
    for target in command.made:
        if target not in TARGETS:
            raise Rejected("target_not_offered", f"A lead does not become a {target[:32]}.")
    if any(target in lead.made for target in command.made):
        raise Rejected("already_converted", "The lead has become one of these already.")
    closing = _closing(lead, command)
    return [LeadConverted(command.made, bool(closing), command.cause), *closing]


def _closing(lead: Lead, command: ConvertLead) -> Sequence[LeadEvent]:
    """With a success stage named, an open lead moves there, in the same transaction."""
    if command.success is None or lead.stay.stage_id == command.success.stage_id:
        return []
    stay = arrival(lead.lead_id, command.success, lead.stay.visit_number + 1)
    return [LeadMoved(lead.stay, stay, command.automation, "conversion", command.cause.unanswered())]


def _deleted(lead: Lead, cause: Cause, if_untouched: bool) -> Sequence[LeadEvent]:
    if lead.deleted and cause.request_id is None:
        return []
    _must_be_there(lead)
    if if_untouched and lead.touched:
        raise Rejected("has_been_touched", "Somebody has worked on the lead since it was made.")
    return [LeadDeleted(cause)]


def _restored(lead: Lead, place: Place | None, cause: Cause) -> Sequence[LeadEvent]:
    if not lead.exists:
        raise NotFound("There is no such lead in this tenant.")
    if not lead.deleted:
        return []
    if place is None or place.stage_id != lead.stay.stage_id:
        raise Rejected("unknown_stage", "The stage the lead stood in is gone.")
    return [LeadRestored(cause)]
