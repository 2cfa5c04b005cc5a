"""Contact: a person one does business with. A merged contact lives on as an alias of the survivor. (D65)

Personal: names, addresses, telephone numbers, custom fields. The codec of the event store is where they get sealed."""

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
    LANGUAGE,
    MAP,
    NONE,
    SHORT_TEXT,
    ZONE,
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
MOST_COMPANIES = 50


@dataclass(frozen=True, slots=True)
class ContactFields:
    """The first e-mail address and telephone number are the main ones."""

    first_name: str = ""
    last_name: str = ""
    emails: tuple[str, ...] = ()
    phones: tuple[str, ...] = ()
    company_ids: tuple[UUID, ...] = ()
    zone: str | None = None
    language: str | None = None
    responsible_id: UUID | None = None
    custom: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip() or next(iter(self.emails + self.phones), "")


SETTABLE: Kinds = {
    "first_name": SHORT_TEXT,
    "last_name": SHORT_TEXT,
    "emails": several(E_MAIL, MOST_ADDRESSES),
    "phones": several(SHORT_TEXT, MOST_ADDRESSES),
    "company_ids": several(ID, MOST_COMPANIES),
    "zone": optional(ZONE),
    "language": optional(LANGUAGE),
    "responsible_id": optional(ID),
}
KEPT: Kinds = {**SETTABLE, "custom": MAP}


@dataclass(frozen=True, slots=True)
class CreateContact:
    contact_id: UUID
    fields: ContactFields
    cause: Cause


@dataclass(frozen=True, slots=True)
class ChangeContact:
    """`changes`: JSON values by field; `form`: the custom fields of contacts."""

    changes: Mapping[str, Any]
    form: FieldSet
    cause: Cause


@dataclass(frozen=True, slots=True)
class MergeContact:
    """This contact becomes an alias of `survivor_id`, in the same transaction as the survivor's AbsorbContact."""

    survivor_id: UUID
    cause: Cause


@dataclass(frozen=True, slots=True)
class AbsorbContact:
    """`moved_details`: the details records that come along, as non-default ones."""

    merged_id: UUID
    moved_details: tuple[UUID, ...]
    cause: Cause
    has_bought: bool = False
    """The merged one has."""


@dataclass(frozen=True, slots=True)
class NoteContactBought:
    """A deal of this contact was won."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class DeleteContact:
    cause: Cause


@dataclass(frozen=True, slots=True)
class EraseContact:
    """Everything personal is forgotten, for good."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class ContactCreated:
    contact_id: UUID
    fields: ContactFields
    cause: Cause


@dataclass(frozen=True, slots=True)
class ContactFieldsChanged:
    changes: Mapping[str, Change]
    cause: Cause


@dataclass(frozen=True, slots=True)
class ContactMerged:
    """On the merged contact."""

    survivor_id: UUID
    cause: Cause


@dataclass(frozen=True, slots=True)
class ContactAbsorbed:
    """On the survivor."""

    merged_id: UUID
    moved_details: tuple[UUID, ...]
    cause: Cause
    has_bought: bool = False


@dataclass(frozen=True, slots=True)
class ContactBought:
    """For the first time."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class ContactDeleted:
    cause: Cause


@dataclass(frozen=True, slots=True)
class ContactErased:
    cause: Cause


ContactCommand = CreateContact | ChangeContact | MergeContact | AbsorbContact | NoteContactBought | DeleteContact | EraseContact
ContactEvent = ContactCreated | ContactFieldsChanged | ContactMerged | ContactAbsorbed | ContactBought | ContactDeleted | ContactErased


@dataclass(frozen=True, slots=True)
class Contact:
    """`status`: active, merged, deleted or erased."""

    contact_id: UUID = NIL
    fields: ContactFields = ContactFields()
    status: str = "active"
    merged_into: UUID | None = None
    absorbed: frozenset[UUID] = frozenset()
    has_bought: bool = False
    """Has a won deal."""
    created_at: datetime = BEGINNING
    answered: frozenset[UUID] = frozenset()

    @property
    def exists(self) -> bool:
        return self.contact_id != NIL

    @property
    def usable(self) -> bool:
        """May be named by others; a merged one by its survivor."""
        return self.exists and self.status in ("active", "merged")


def new_fields(values: Mapping[str, Any], form: FieldSet, pointer: str = "") -> ContactFields:
    """The fields of a new contact from JSON values. Raises Rejected `validation_failed` (422)."""
    given = read(SETTABLE, {name: value for name, value in values.items() if name != "custom"}, pointer)
    custom = checked(form, NONE, values.get("custom") or {}, f"{pointer}/custom")
    return _with_a_name(ContactFields(**given, custom=custom), pointer)


def _with_a_name(fields: ContactFields, pointer: str = "") -> ContactFields:
    if not fields.name:
        raise invalid([Fault(f"{pointer}/last_name", "required", "A contact needs a name, an e-mail address or a telephone number.")])
    return fields


def decide(contact: Contact, command: ContactCommand) -> Sequence[ContactEvent]:
    if command.cause.request_id in contact.answered:
        return []
    match command:
        case CreateContact(contact_id=contact_id, fields=fields, cause=cause):
            return [] if contact.exists else [ContactCreated(contact_id, fields, cause)]
        case ChangeContact():
            return _changed(contact, command)
        case MergeContact(survivor_id=survivor_id, cause=cause):
            return _merged(contact, survivor_id, cause)
        case AbsorbContact():
            return _absorbed(contact, command)
        case NoteContactBought(cause=cause):
            return [ContactBought(cause)] if contact.exists and not contact.has_bought else []
        case DeleteContact(cause=cause):
            return _deleted(contact, cause)
        case EraseContact(cause=cause):
            return _erased(contact, cause)
        case _:
            assert_never(command)


def evolve(contact: Contact, event: ContactEvent) -> Contact:
    known = replace(contact, answered=answered(contact.answered, event.cause))
    match event:
        case ContactCreated(contact_id=contact_id, fields=fields):
            return replace(known, contact_id=contact_id, fields=fields, created_at=event.cause.at)
        case ContactFieldsChanged(changes=changes):
            return replace(known, fields=patched(contact.fields, changes, KEPT))
        case ContactMerged(survivor_id=survivor_id):
            return replace(known, status="merged", merged_into=survivor_id)
        case ContactAbsorbed(merged_id=merged_id, has_bought=has_bought):
            return replace(known, absorbed=contact.absorbed | {merged_id}, has_bought=contact.has_bought or has_bought)
        case ContactBought():
            return replace(known, has_bought=True)
        case ContactDeleted():
            return replace(known, status="deleted")
        case ContactErased():
            return replace(known, status="erased", fields=ContactFields())
        case _:
            assert_never(event)


CONTACT: Aggregate[Contact, ContactCommand, ContactEvent] = Aggregate(
    "contact",
    Contact(),
    decide,
    evolve,
    (ContactCreated, ContactFieldsChanged, ContactMerged, ContactAbsorbed, ContactBought, ContactDeleted, ContactErased),
    read_by_others=True,
)


def _must_be_active(contact: Contact) -> None:
    if not contact.exists:
        raise NotFound("There is no such contact in this tenant.")
    if contact.status == "merged":
        raise Rejected("already_merged", f"The contact was merged into {contact.merged_into}.")
    if contact.status != "active":
        raise Rejected("is_deleted", "The contact is deleted.")


def _changed(contact: Contact, command: ChangeContact) -> Sequence[ContactEvent]:
    _must_be_active(contact)
    given = read(SETTABLE, {name: value for name, value in command.changes.items() if name != "custom"})
    custom = checked(command.form, contact.fields.custom, command.changes.get("custom") or {})
    after = _with_a_name(replace(contact.fields, **given, custom=custom))
    changes = difference(contact.fields, after, KEPT)
    return [ContactFieldsChanged(changes, command.cause)] if changes else []


def _merged(contact: Contact, survivor_id: UUID, cause: Cause) -> Sequence[ContactEvent]:
    if contact.contact_id == survivor_id:
        raise Rejected("merge_into_itself", "A contact cannot be merged into itself.")
    _must_be_active(contact)
    return [ContactMerged(survivor_id, cause)]


def _absorbed(contact: Contact, command: AbsorbContact) -> Sequence[ContactEvent]:
    _must_be_active(contact)
    if command.merged_id in contact.absorbed:
        return []
    return [ContactAbsorbed(command.merged_id, command.moved_details, command.cause, command.has_bought)]


def _deleted(contact: Contact, cause: Cause) -> Sequence[ContactEvent]:
    if contact.status in ("deleted", "erased"):
        return []
    _must_be_active(contact)
    return [ContactDeleted(cause)]


def _erased(contact: Contact, cause: Cause) -> Sequence[ContactEvent]:
    if not contact.exists:
        raise NotFound("There is no such contact in this tenant.")
    return [] if contact.status == "erased" else [ContactErased(cause)]
