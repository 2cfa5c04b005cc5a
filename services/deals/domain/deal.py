"""Deal: an element with money, standing in a stage of a pipeline. (D39, D41, D58, D63, F13, G8, S83-S85, S91)

Creation starts visit 1; every real move starts the next. Deleting is soft; a restored deal stands where it stood, in the
same visit, and nothing arrives anywhere (D58)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from decimal import Decimal
from typing import Any, assert_never
from uuid import UUID, uuid5
from zoneinfo import ZoneInfo

from services.deals.domain.element import MOST_CONTACTS, MOST_FILES, MOST_OBSERVERS, customer_key, is_filled, with_primary, worth
from services.deals.domain.field_set import FieldSet, checked
from services.deals.domain.fields import (
    DAY,
    FLAG,
    ID,
    LONG_TEXT,
    MAP,
    NAME,
    NONE,
    TITLE_LENGTH,
    Change,
    Kinds,
    choice,
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


@dataclass(frozen=True, slots=True)
class DealFields:
    """`amount_mode` is from_lines (the sum of the rows) when there are rows and nobody fixed the amount, else manual."""

    title: str
    created_at: datetime = BEGINNING
    created_by: UUID | None = None
    responsible_id: UUID | None = None
    observer_ids: tuple[UUID, ...] = ()
    contact_ids: tuple[UUID, ...] = ()
    primary_contact_id: UUID | None = None
    company_id: UUID | None = None
    currency: str = "EUR"
    amount: Decimal = Decimal("0.00")
    amount_mode: str = "manual"
    amount_fixed: bool = False
    prices_include_tax: bool = False
    lines: tuple[Line, ...] = ()
    begin_date: date | None = None
    close_date: date | None = None
    loss_reason: str | None = None
    repeat_customer: bool = False
    created_by_copy: bool = False
    custom: Mapping[str, Any] = field(default_factory=dict)
    file_ids: tuple[UUID, ...] = ()
    """Files are referred to: a copy refers to the same ones."""

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
    "amount_mode": choice("manual", "from_lines"),
    "prices_include_tax": FLAG,
    "lines": ROWS,
    "begin_date": optional(DAY),
    "close_date": optional(DAY),
    "loss_reason": optional(LONG_TEXT),
}
"""What people, clients and rules may set; `custom` besides, by the form."""

KEPT: Kinds = {**SETTABLE, "amount_fixed": FLAG, "repeat_customer": FLAG, "custom": MAP}
"""What a change may say."""

REQUIRABLE = frozenset(SETTABLE) - {"amount_mode", "prices_include_tax", "currency"}
"""What a stage may require, besides custom fields."""


@dataclass(frozen=True, slots=True)
class CreateDeal:
    """`automation` suppressed: no rule starts on this arrival (G4)."""

    deal_id: UUID
    place: Place
    fields: DealFields
    cause: Cause
    automation: str = "on"
    copied_from: UUID | None = None
    copy_generation: int = 0
    lead_id: UUID | None = None
    quote_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class ChangeDealFields:
    """`changes`: JSON values by field; `form`: the custom fields of deals; `repeat_customer`: None says nothing about it."""

    changes: Mapping[str, Any]
    form: FieldSet
    cause: Cause
    repeat_customer: bool | None = None


@dataclass(frozen=True, slots=True)
class MoveDeal:
    """`if_visit_id`: only while that visit lasts (D18). `reason`: person, rule, trigger, bulk, stage_replaced, conversion or api."""

    place: Place
    reason: str
    cause: Cause
    automation: str = "on"
    if_visit_id: UUID | None = None
    loss_reason: str | None = None
    decision_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class CopyDeal:
    """Asked of the source; the copy itself is a CreateDeal in the same transaction. `name` None: the default name (D39)."""

    copy_id: UUID
    place: Place
    cause: Cause
    name: str | None = None


@dataclass(frozen=True, slots=True)
class AttachToDeal:
    """In the same transaction as the file's own AttachFile."""

    file_id: UUID
    cause: Cause


@dataclass(frozen=True, slots=True)
class DetachFromDeal:
    file_id: UUID
    cause: Cause


@dataclass(frozen=True, slots=True)
class DeleteDeal:
    """`if_untouched`: only when no person and no API client has changed it since it was made (undo)."""

    cause: Cause
    if_untouched: bool = False


@dataclass(frozen=True, slots=True)
class RestoreDeal:
    """`place`: the stage the deal stood in, None when that is gone."""

    place: Place | None
    cause: Cause


@dataclass(frozen=True, slots=True)
class DealCreated:
    deal_id: UUID
    stay: Stay
    fields: DealFields
    cause: Cause
    automation: str = "on"
    copied_from: UUID | None = None
    copy_generation: int = 0
    lead_id: UUID | None = None
    quote_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class DealFieldsChanged:
    changes: Mapping[str, Change]
    cause: Cause


@dataclass(frozen=True, slots=True)
class DealMoved:
    before: Stay
    stay: Stay
    automation: str
    reason: str
    cause: Cause
    loss_reason: str | None = None
    decision_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class DealCopied:
    """`generation`: how many copies lie between the copy and the first original."""

    copy_id: UUID
    name: str
    pipeline_id: UUID
    stage_id: UUID
    generation: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class DealFilesChanged:
    """All files the deal refers to from now on."""

    file_ids: tuple[UUID, ...]
    cause: Cause


@dataclass(frozen=True, slots=True)
class DealDeleted:
    cause: Cause


@dataclass(frozen=True, slots=True)
class DealRestored:
    cause: Cause


DealCommand = CreateDeal | ChangeDealFields | MoveDeal | CopyDeal | AttachToDeal | DetachFromDeal | DeleteDeal | RestoreDeal
DealEvent = DealCreated | DealFieldsChanged | DealMoved | DealCopied | DealFilesChanged | DealDeleted | DealRestored


@dataclass(frozen=True, slots=True)
class Copy:
    copy_id: UUID
    name: str
    generation: int


@dataclass(frozen=True, slots=True)
class Deal:
    deal_id: UUID = NIL
    fields: DealFields = DealFields("")
    stay: Stay = NOWHERE
    arrived_at: datetime = BEGINNING
    deleted: bool = False
    touched: bool = False
    """A person or an API client changed it after it was made."""
    copied_from: UUID | None = None
    copy_generation: int = 0
    copies: tuple[Copy, ...] = ()
    lead_id: UUID | None = None
    quote_id: UUID | None = None
    answered: frozenset[UUID] = frozenset()

    @property
    def exists(self) -> bool:
        return self.deal_id != NIL

    def copy(self, copy_id: UUID) -> Copy | None:
        return next((copy for copy in self.copies if copy.copy_id == copy_id), None)


def new_fields(
    values: Mapping[str, Any],
    form: FieldSet,
    at: datetime,
    *,
    created_by: UUID | None = None,
    repeat_customer: bool = False,
    pointer: str = "",
) -> DealFields:
    """The fields of a new deal from JSON values. Raises Rejected `validation_failed` (422)."""
    if not values.get("title"):
        raise invalid([Fault(f"{pointer}/title", "required", "A deal needs a title.")])
    given = read(SETTABLE, {name: value for name, value in values.items() if name != "custom"}, pointer)
    custom = checked(form, NONE, values.get("custom") or {}, f"{pointer}/custom")
    blank = DealFields("", created_at=at, created_by=created_by, repeat_customer=repeat_customer, custom=custom)
    return _settled(replace(blank, **given), given)


def copied_fields(
    source: Deal, copy: Copy, at: datetime, zone: str, *, responsible_id: UUID | None = None, created_by: UUID | None = None
) -> DealFields:
    """What a copy carries over (D39): everything but dates, stage and ids; rows get ids of their own. It begins on its date in `zone`."""
    lines = tuple(replace(line, line_id=uuid5(copy.copy_id, f"line/{n}")) for n, line in enumerate(source.fields.lines))
    return replace(
        source.fields,
        title=copy.name,
        created_at=at,
        created_by=created_by,
        responsible_id=responsible_id or source.fields.responsible_id,
        lines=lines,
        begin_date=at.astimezone(ZoneInfo(zone)).date(),
        close_date=None,
        loss_reason=None,
        created_by_copy=True,
    )


SUFFIX = re.compile(r" \((?:Kopie|copy)(?: \d+)?\)$")
WORD = {"de": "Kopie", "en": "copy"}


def copy_name(title: str, generation: int, language: str) -> str:
    """The default name of a copy (D39): Roof, Roof (Kopie), Roof (Kopie 2). The word never stacks."""
    word = WORD.get(language, "copy")
    suffix = f" ({word})" if generation == 1 else f" ({word} {generation})"
    return SUFFIX.sub("", title)[: TITLE_LENGTH - len(suffix)] + suffix


def decide(deal: Deal, command: DealCommand) -> Sequence[DealEvent]:
    if command.cause.request_id in deal.answered:
        return []
    match command:
        case CreateDeal():
            return [] if deal.exists else [_created(command)]
        case ChangeDealFields():
            return _fields_changed(deal, command)
        case MoveDeal():
            return [_moved(deal, command)]
        case CopyDeal():
            return _copied(deal, command)
        case AttachToDeal(file_id=file_id, cause=cause):
            return _attached(deal, file_id, cause)
        case DetachFromDeal(file_id=file_id, cause=cause):
            return _files(deal, tuple(id for id in deal.fields.file_ids if id != file_id), cause)
        case DeleteDeal(cause=cause, if_untouched=if_untouched):
            return _deleted(deal, cause, if_untouched)
        case RestoreDeal(place=place, cause=cause):
            return _restored(deal, place, cause)
        case _:
            assert_never(command)


def evolve(deal: Deal, event: DealEvent) -> Deal:
    known = replace(deal, answered=answered(deal.answered, event.cause), touched=deal.touched or event.cause.origin.by_hand)
    match event:
        case DealCreated():
            return _begun(event, known.answered)
        case DealFieldsChanged(changes=changes):
            return replace(known, fields=patched(deal.fields, changes, KEPT))
        case DealMoved(stay=stay, loss_reason=loss_reason):
            fields = replace(deal.fields, loss_reason=loss_reason) if loss_reason else deal.fields
            return replace(known, fields=fields, stay=stay, arrived_at=event.cause.at)
        case DealCopied(copy_id=copy_id, name=name, generation=generation):
            return replace(known, copies=(*deal.copies, Copy(copy_id, name, generation)), touched=deal.touched)
        case DealFilesChanged(file_ids=file_ids):
            return replace(known, fields=replace(deal.fields, file_ids=file_ids))
        case DealDeleted():
            return replace(known, deleted=True)
        case DealRestored():
            return replace(known, deleted=False)
        case _:
            assert_never(event)


DEAL: Aggregate[Deal, DealCommand, DealEvent] = Aggregate(
    "deal",
    Deal(),
    decide,
    evolve,
    (DealCreated, DealFieldsChanged, DealMoved, DealCopied, DealFilesChanged, DealDeleted, DealRestored),
)


def _begun(event: DealCreated, requests: frozenset[UUID]) -> Deal:
    return Deal(
        event.deal_id,
        event.fields,
        event.stay,
        event.cause.at,
        copied_from=event.copied_from,
        copy_generation=event.copy_generation,
        lead_id=event.lead_id,
        quote_id=event.quote_id,
        answered=requests,
    )


def _must_be_there(deal: Deal) -> None:
    if not deal.exists:
        raise NotFound("There is no such deal in this tenant.")
    if deal.deleted:
        raise Rejected("deal_deleted", "The deal is deleted; restore it first.")


def _created(command: CreateDeal) -> DealCreated:
    return DealCreated(
        command.deal_id,
        arrival(command.deal_id, command.place, 1),
        command.fields,
        command.cause,
        command.automation,
        command.copied_from,
        command.copy_generation,
        command.lead_id,
        command.quote_id,
    )


def _fields_changed(deal: Deal, command: ChangeDealFields) -> Sequence[DealEvent]:
    _must_be_there(deal)
    given = read(SETTABLE, {name: value for name, value in command.changes.items() if name != "custom"})
    custom = checked(command.form, deal.fields.custom, command.changes.get("custom") or {})
    repeat = deal.fields.repeat_customer if command.repeat_customer is None else command.repeat_customer
    after = _settled(replace(deal.fields, **given, custom=custom, repeat_customer=repeat), given)
    changes = difference(deal.fields, after, KEPT)
    if not changes and command.cause.request_id is not None:
        raise Rejected("nothing_to_change", "The deal has these values already.")
    return [DealFieldsChanged(changes, command.cause)] if changes else []


def _settled(fields: DealFields, given: Mapping[str, Any]) -> DealFields:
    """The primary contact is one of the contacts, the amount follows the rows unless somebody fixed it."""
    named = given.get("primary_contact_id") is not None
    contacts, primary = with_primary(fields.contact_ids, fields.primary_contact_id, named=named)
    fixed = ("amount" in given or fields.amount_fixed) and given.get("amount_mode") != "from_lines"
    fixed = fixed or given.get("amount_mode") == "manual"
    from_lines = bool(fields.lines) and not fixed
    amount = worth(fields.amount, fields.lines, fields.currency, from_lines=from_lines)
    mode = "from_lines" if from_lines else "manual"
    return replace(fields, contact_ids=contacts, primary_contact_id=primary, amount=amount, amount_mode=mode, amount_fixed=fixed)


def _moved(deal: Deal, command: MoveDeal) -> DealMoved:
    _must_be_there(deal)
    must_be_free_to_move(deal.stay, command.place, command.if_visit_id, _filled_after(deal, command))
    stay = arrival(deal.deal_id, command.place, deal.stay.visit_number + 1)
    return DealMoved(deal.stay, stay, command.automation, command.reason, command.cause, command.loss_reason, command.decision_id)


def _filled_after(deal: Deal, command: MoveDeal) -> Callable[[str], bool]:
    fields = replace(deal.fields, loss_reason=command.loss_reason or deal.fields.loss_reason)
    return lambda name: is_filled(fields, name)


def _copied(deal: Deal, command: CopyDeal) -> Sequence[DealEvent]:
    if deal.copy(command.copy_id):
        return []
    _must_be_there(deal)
    generation = deal.copy_generation + 1
    name = command.name or copy_name(deal.fields.title, generation, command.place.language)
    return [DealCopied(command.copy_id, name, command.place.pipeline_id, command.place.stage_id, generation, command.cause)]


def _attached(deal: Deal, file_id: UUID, cause: Cause) -> Sequence[DealEvent]:
    _must_be_there(deal)
    if file_id in deal.fields.file_ids:
        return []
    if len(deal.fields.file_ids) >= MOST_FILES:
        raise invalid([Fault("/owner_id", "too_many", f"A deal has at most {MOST_FILES} files.")])
    return _files(deal, (*deal.fields.file_ids, file_id), cause)


def _files(deal: Deal, file_ids: tuple[UUID, ...], cause: Cause) -> Sequence[DealEvent]:
    return [] if file_ids == deal.fields.file_ids else [DealFilesChanged(file_ids, cause)]


def _deleted(deal: Deal, cause: Cause, if_untouched: bool) -> Sequence[DealEvent]:
    if deal.deleted and cause.request_id is None:
        return []
    _must_be_there(deal)
    if if_untouched and deal.touched:
        raise Rejected("has_been_touched", "Somebody has worked on the deal since it was made.")
    return [DealDeleted(cause)]


def _restored(deal: Deal, place: Place | None, cause: Cause) -> Sequence[DealEvent]:
    if not deal.exists:
        raise NotFound("There is no such deal in this tenant.")
    if not deal.deleted:
        return []
    if place is None or place.stage_id != deal.stay.stage_id:
        raise Rejected("unknown_stage", "The stage the deal stood in is gone.")
    return [DealRestored(cause)]
