"""Company: an organisation one does business with. A merged company lives on as an alias of the survivor. (D65)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

from services.deals.domain.field_set import FieldSet, checked
from services.deals.domain.fields import (
    E_MAIL,
    ID,
    MAP,
    NAME,
    NONE,
    SHORT_TEXT,
    Change,
    Kinds,
    difference,
    invalid,
    optional,
    patched,
    read,
    several,
)
from services.deals.domain.origin import BEGINNING, NIL, Cause, answered
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, NotFound, Rejected

MOST_ADDRESSES = 20


@dataclass(frozen=True, slots=True)
class CompanyFields:
    """The first e-mail address and telephone number are the main ones."""

    name: str = ""
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    responsible_id: UUID | None = None
    custom: Mapping[str, Any] = field(default_factory=dict)


SETTABLE: Kinds = {
    "name": NAME,
    "emails": several(E_MAIL, MOST_ADDRESSES),
    "phones": several(SHORT_TEXT, MOST_ADDRESSES),
    "responsible_id": optional(ID),
}
KEPT: Kinds = {**SETTABLE, "custom": MAP}


@dataclass(frozen=True, slots=True)
class CreateCompany:
    company_id: UUID
    fields: CompanyFields
    cause: Cause


@dataclass(frozen=True, slots=True)
class ChangeCompany:
    """`changes`: JSON values by field; `form`: the custom fields of companys."""

    changes: Mapping[str, Any]
    form: FieldSet
    cause: Cause


@dataclass(frozen=True, slots=True)
class MergeCompany:
    """This company becomes an alias of `survivor_id`, in the same transaction as the survivor's AbsorbCompany."""

    survivor_id: UUID
    cause: Cause


@dataclass(frozen=True, slots=True)
class AbsorbCompany:
    """`moved_details`: the details records that come along, as non-default ones."""

    merged_id: UUID
    moved_details: tuple[UUID, ...]
    cause: Cause
    has_bought: bool = False
    """The merged one has."""


@dataclass(frozen=True, slots=True)
class NoteCompanyBought:
    """A deal of this company was won."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class DeleteCompany:
    cause: Cause


@dataclass(frozen=True, slots=True)
class EraseCompany:
    """Everything about it is forgotten, for good."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class CompanyCreated:
    company_id: UUID
    fields: CompanyFields
    cause: Cause


@dataclass(frozen=True, slots=True)
class CompanyFieldsChanged:
    changes: Mapping[str, Change]
    cause: Cause


@dataclass(frozen=True, slots=True)
class CompanyMerged:
    """On the merged company."""

    survivor_id: UUID
    cause: Cause


@dataclass(frozen=True, slots=True)
class CompanyAbsorbed:
    """On the survivor."""

    merged_id: UUID
    moved_details: tuple[UUID, ...]
    cause: Cause
    has_bought: bool = False


@dataclass(frozen=True, slots=True)
class CompanyBought:
    """For the first time."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class CompanyDeleted:
    cause: Cause


@dataclass(frozen=True, slots=True)
class CompanyErased:
    cause: Cause


CompanyCommand = CreateCompany | ChangeCompany | MergeCompany | AbsorbCompany | NoteCompanyBought | DeleteCompany | EraseCompany
CompanyEvent = CompanyCreated | CompanyFieldsChanged | CompanyMerged | CompanyAbsorbed | CompanyBought | CompanyDeleted | CompanyErased


@dataclass(frozen=True, slots=True)
class Company:
    """`status`: active, merged, deleted or erased."""

    company_id: UUID = NIL
    fields: CompanyFields = CompanyFields()
    status: str = "active"
    merged_into: UUID | None = None
    absorbed: frozenset[UUID] = frozenset()
    has_bought: bool = False
    """Has a won deal."""
    created_at: datetime = BEGINNING
    answered: frozenset[UUID] = frozenset()

    @property
    def exists(self) -> bool:
        return self.company_id != NIL

    @property
    def usable(self) -> bool:
        """May be named by others; a merged one by its survivor."""
        return self.exists and self.status in ("active", "merged")


def new_fields(values: Mapping[str, Any], form: FieldSet, pointer: str = "") -> CompanyFields:
    """The fields of a new company from JSON values. Raises Rejected `validation_failed` (422)."""
    given = read(SETTABLE, {name: value for name, value in values.items() if name != "custom"}, pointer)
    custom = checked(form, NONE, values.get("custom") or {}, f"{pointer}/custom")
    if "name" not in given:
        raise invalid([Fault(f"{pointer}/name", "required", "A company needs a name.")])
    return CompanyFields(**given, custom=custom)


def decide(company: Company, command: CompanyCommand) -> Sequence[CompanyEvent]:
    if command.cause.request_id in company.answered:
        return []
    match command:
        case CreateCompany(company_id=company_id, fields=fields, cause=cause):
            return [] if company.exists else [CompanyCreated(company_id, fields, cause)]
        case ChangeCompany():
            return _changed(company, command)
        case MergeCompany(survivor_id=survivor_id, cause=cause):
            return _merged(company, survivor_id, cause)
        case AbsorbCompany():
            return _absorbed(company, command)
        case NoteCompanyBought(cause=cause):
            return [CompanyBought(cause)] if company.exists and not company.has_bought else []
        case DeleteCompany(cause=cause):
            return _deleted(company, cause)
        case EraseCompany(cause=cause):
            return _erased(company, cause)
        case _:
            assert_never(command)


def evolve(company: Company, event: CompanyEvent) -> Company:
    known = replace(company, answered=answered(company.answered, event.cause))
    match event:
        case CompanyCreated(company_id=company_id, fields=fields):
            return replace(known, company_id=company_id, fields=fields, created_at=event.cause.at)
        case CompanyFieldsChanged(changes=changes):
            return replace(known, fields=patched(company.fields, changes, KEPT))
        case CompanyMerged(survivor_id=survivor_id):
            return replace(known, status="merged", merged_into=survivor_id)
        case CompanyAbsorbed(merged_id=merged_id, has_bought=has_bought):
            return replace(known, absorbed=company.absorbed | {merged_id}, has_bought=company.has_bought or has_bought)
        case CompanyBought():
            return replace(known, has_bought=True)
        case CompanyDeleted():
            return replace(known, status="deleted")
        case CompanyErased():
            return replace(known, status="erased", fields=CompanyFields())
        case _:
            assert_never(event)


COMPANY: Aggregate[Company, CompanyCommand, CompanyEvent] = Aggregate(
    "company",
    Company(),
    decide,
    evolve,
    (CompanyCreated, CompanyFieldsChanged, CompanyMerged, CompanyAbsorbed, CompanyBought, CompanyDeleted, CompanyErased),
    read_by_others=True,
)


def _must_be_active(company: Company) -> None:
    if not company.exists:
        raise NotFound("There is no such company in this tenant.")
    if company.status == "merged":
        raise Rejected("already_merged", f"The company was merged into {company.merged_into}.")
    if company.status != "active":
        raise Rejected("is_deleted", "The company is deleted.")


def _changed(company: Company, command: ChangeCompany) -> Sequence[CompanyEvent]:
    _must_be_active(company)
    given = read(SETTABLE, {name: value for name, value in command.changes.items() if name != "custom"})
    custom = checked(command.form, company.fields.custom, command.changes.get("custom") or {})
    changes = difference(company.fields, replace(company.fields, **given, custom=custom), KEPT)
    return [CompanyFieldsChanged(changes, command.cause)] if changes else []


def _merged(company: Company, survivor_id: UUID, cause: Cause) -> Sequence[CompanyEvent]:
    if company.company_id == survivor_id:
        raise Rejected("merge_into_itself", "A company cannot be merged into itself.")
    _must_be_active(company)
    return [CompanyMerged(survivor_id, cause)]


def _absorbed(company: Company, command: AbsorbCompany) -> Sequence[CompanyEvent]:
    _must_be_active(company)
    if command.merged_id in company.absorbed:
        return []
    return [CompanyAbsorbed(command.merged_id, command.moved_details, command.cause, command.has_bought)]


def _deleted(company: Company, cause: Cause) -> Sequence[CompanyEvent]:
    if company.status in ("deleted", "erased"):
        return []
    _must_be_active(company)
    return [CompanyDeleted(cause)]


def _erased(company: Company, cause: Cause) -> Sequence[CompanyEvent]:
    if not company.exists:
        raise NotFound("There is no such company in this tenant.")
    return [] if company.status == "erased" else [CompanyErased(cause)]
