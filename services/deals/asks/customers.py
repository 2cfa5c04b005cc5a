"""What is asked of contacts, companies and their details records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from services.deals import views
from services.deals.asks import references
from services.deals.asks.asker import Asker
from services.deals.asks.elements import must_be_the_same
from services.deals.domain import company, contact
from services.deals.domain.company import (
    COMPANY,
    AbsorbCompany,
    ChangeCompany,
    CreateCompany,
    DeleteCompany,
    MergeCompany,
    NoteCompanyBought,
)
from services.deals.domain.contact import (
    CONTACT,
    AbsorbContact,
    ChangeContact,
    CreateContact,
    DeleteContact,
    MergeContact,
    NoteContactBought,
)
from services.deals.domain.details import (
    DETAILS,
    PERSON_OR_COMPANY,
    ChangeDetails,
    CreateDetails,
    EditDetails,
    MoveDetails,
    RemoveDetails,
    RestoreDetails,
    StepDownDetails,
)
from services.deals.domain.field_set import FIELD_SET, form_id, template_id
from services.deals.domain.fields import shown
from shared.es.addressed import Addressed, Facts
from shared.es.errors import Conflict, Fault, Rejected

Values = Mapping[str, Any]
Owner = Literal["contact", "company"]


def create_contact(asker: Asker, contact_id: UUID, values: Values) -> Addressed[Any]:
    form = str(form_id(asker.tenant, "contact"))

    def create(seen: Facts) -> CreateContact | None:
        own = seen.state(FIELD_SET, form)
        given = references.resolved(seen, values, form=own)
        fields = contact.new_fields(given, own)
        known = seen.state(CONTACT, str(contact_id))
        if known.exists:
            must_be_the_same(shown(known.fields, contact.KEPT), {n: v for n, v in shown(fields, contact.KEPT).items() if n in given})
            return None
        return CreateContact(contact_id, fields, asker.cause(seen))

    return Addressed(CONTACT, str(contact_id), create, reads=((FIELD_SET, form), *references.reads(values)), finds=references.finds(values))


def change_contact(asker: Asker, contact_id: UUID, changes: Values) -> Addressed[Any]:
    form = str(form_id(asker.tenant, "contact"))

    def change(seen: Facts) -> ChangeContact:
        own = seen.state(FIELD_SET, form)
        return ChangeContact(references.resolved(seen, changes, form=own), own, asker.cause(seen))

    return Addressed(
        CONTACT,
        str(contact_id),
        change,
        reads=((FIELD_SET, form), *references.reads(changes)),
        finds=references.finds(changes),
    )


def create_company(asker: Asker, company_id: UUID, values: Values) -> Addressed[Any]:
    form = str(form_id(asker.tenant, "company"))

    def create(seen: Facts) -> CreateCompany | None:
        own = seen.state(FIELD_SET, form)
        given = references.resolved(seen, values, form=own)
        fields = company.new_fields(given, own)
        known = seen.state(COMPANY, str(company_id))
        if known.exists:
            must_be_the_same(shown(known.fields, company.KEPT), {n: v for n, v in shown(fields, company.KEPT).items() if n in given})
            return None
        return CreateCompany(company_id, fields, asker.cause(seen))

    return Addressed(COMPANY, str(company_id), create, reads=((FIELD_SET, form), *references.reads(values)))


def change_company(asker: Asker, company_id: UUID, changes: Values) -> Addressed[Any]:
    form = str(form_id(asker.tenant, "company"))

    def change(seen: Facts) -> ChangeCompany:
        own = seen.state(FIELD_SET, form)
        return ChangeCompany(references.resolved(seen, changes, form=own), own, asker.cause(seen))

    return Addressed(
        COMPANY,
        str(company_id),
        change,
        reads=((FIELD_SET, form), *references.reads(changes)),
    )


def delete_customer(asker: Asker, owner_type: Owner, id: UUID) -> Addressed[Any]:
    if owner_type == "contact":
        return Addressed(CONTACT, str(id), lambda seen: DeleteContact(asker.cause(seen)))
    return Addressed(COMPANY, str(id), lambda seen: DeleteCompany(asker.cause(seen)))


def note_purchase(asker: Asker, owner_type: Owner, id: UUID) -> Addressed[Any]:
    """A deal of this customer was won."""
    if owner_type == "contact":
        return Addressed(CONTACT, str(id), lambda seen: NoteContactBought(asker.cause(seen)))
    return Addressed(COMPANY, str(id), lambda seen: NoteCompanyBought(asker.cause(seen)))


def merge_customers(asker: Asker, owner_type: Owner, survivor: UUID, merged: UUID, records: Sequence[UUID]) -> tuple[Addressed[Any], ...]:
    """The merged one becomes an alias, its details `records` go to the survivor, in one transaction (D65).

    A record that was made since `records` were looked up makes it a Conflict: it is asked again. Survivor first: its version counts."""
    return (
        _absorb(asker, owner_type, survivor, merged, tuple(records)),
        _merge(asker, owner_type, merged, survivor),
        *(Addressed(DETAILS, str(id), lambda seen: MoveDetails(survivor, asker.cause(seen))) for id in records),
    )


def _absorb(asker: Asker, owner_type: Owner, survivor: UUID, merged: UUID, records: tuple[UUID, ...]) -> Addressed[Any]:
    def absorb(seen: Facts) -> AbsorbContact | AbsorbCompany:
        if set(seen.all(views.ALL_DETAILS_OF_OWNER, str(merged))) != set(records):
            raise Conflict("details of the merged one have changed")
        if owner_type == "contact":
            return AbsorbContact(merged, records, asker.cause(seen), seen.state(CONTACT, str(merged)).has_bought)
        return AbsorbCompany(merged, records, asker.cause(seen), seen.state(COMPANY, str(merged)).has_bought)

    return Addressed(
        CONTACT if owner_type == "contact" else COMPANY,
        str(survivor),
        absorb,
        reads=(_owner(owner_type, merged),),
        exclusive=f"details/{merged}",
        finds=((views.ALL_DETAILS_OF_OWNER, str(merged)),),
    )


def _merge(asker: Asker, owner_type: Owner, merged: UUID, survivor: UUID) -> Addressed[Any]:
    if owner_type == "contact":
        return Addressed(CONTACT, str(merged), lambda seen: MergeContact(survivor, asker.cause(seen)))
    return Addressed(COMPANY, str(merged), lambda seen: MergeCompany(survivor, asker.cause(seen)))


# --------------------------------------------------------------------------------------------------------------- details
def details_key(owner_id: UUID, template_code: str) -> str:
    """What DETAILS_OF_OWNER is asked for."""
    return f"{owner_id}/{template_code}"


def _template(asker: Asker, owner_type: str, code: str) -> str:
    return str(template_id(asker.tenant, PERSON_OR_COMPANY[owner_type], code))


@dataclass(frozen=True, slots=True)
class NewDetails:
    """`default_now`: the record that is the owner's default by this template when that was looked up."""

    details_id: UUID
    owner_type: Owner
    owner_id: UUID
    template_code: str
    fields: Values
    addresses: Values
    is_default: bool
    default_now: UUID | None


def create_details(asker: Asker, new: NewDetails) -> tuple[Addressed[Any], ...]:
    """The owner's first record is the default one; a second default takes the flag from the first, no error."""
    key = details_key(new.owner_id, new.template_code)
    template = _template(asker, new.owner_type, new.template_code)

    def create(seen: Facts) -> CreateDetails | None:
        _must_be_an_owner(seen, new.owner_type, new.owner_id)
        known = seen.state(DETAILS, str(new.details_id))
        first = seen.one(views.DETAILS_OF_OWNER, key)
        if not known.exists and first != new.default_now:
            raise Conflict("another record is the default by now")
        if known.exists and (known.owner_id, known.template_code) != (new.owner_id, new.template_code):
            raise Rejected("id_taken", "Something else has this id.")
        default = new.is_default or first is None
        owner = (new.owner_type, new.owner_id, new.template_code)
        return CreateDetails(new.details_id, *owner, seen.state(FIELD_SET, template), new.fields, new.addresses, default, asker.cause(seen))

    return (
        Addressed(
            DETAILS,
            str(new.details_id),
            create,
            reads=(_owner(new.owner_type, new.owner_id), (FIELD_SET, template)),
            exclusive=f"details/{new.owner_id}",
            finds=((views.DETAILS_OF_OWNER, key),),
        ),
        *_stepping_down(asker, new.default_now if new.is_default else None, new.details_id),
    )


def _owner(owner_type: Owner, owner_id: UUID) -> tuple[Any, str]:
    return (CONTACT if owner_type == "contact" else COMPANY), str(owner_id)


def _must_be_an_owner(seen: Facts, owner_type: Owner, owner_id: UUID) -> None:
    owner = seen.state(CONTACT, str(owner_id)) if owner_type == "contact" else seen.state(COMPANY, str(owner_id))
    if not owner.exists or owner.status != "active":
        fault = Fault("/owner_id", "unknown_reference", f"There is no such {owner_type}.")
        raise Rejected("unknown_reference", fault.detail, status=422, errors=(fault,))


def _stepping_down(asker: Asker, default_now: UUID | None, new_default: UUID) -> tuple[Addressed[Any], ...]:
    if default_now is None or default_now == new_default:
        return ()
    return (Addressed(DETAILS, str(default_now), lambda seen: StepDownDetails(asker.cause(seen).unanswered())),)


@dataclass(frozen=True, slots=True)
class DetailsEdit:
    """Owner, template and `default_now` as they were when they were looked up: a record's owner changes only in a merger."""

    details_id: UUID
    owner_type: Owner
    owner_id: UUID
    template_code: str
    default_now: UUID | None
    fields: Values | None = None
    addresses: Values | None = None
    is_default: bool | None = None


def edit_details(asker: Asker, edit: DetailsEdit) -> tuple[Addressed[Any], ...]:
    key = details_key(edit.owner_id, edit.template_code)
    template = _template(asker, edit.owner_type, edit.template_code)

    def change(seen: Facts) -> EditDetails:
        if edit.is_default and seen.one(views.DETAILS_OF_OWNER, key) != edit.default_now:
            raise Conflict("another record is the default by now")
        return EditDetails(seen.state(FIELD_SET, template), asker.cause(seen), edit.fields, edit.addresses, edit.is_default)

    return (
        Addressed(
            DETAILS,
            str(edit.details_id),
            change,
            reads=((FIELD_SET, template),),
            exclusive=f"details/{edit.owner_id}" if edit.is_default else None,
            finds=((views.DETAILS_OF_OWNER, key),) if edit.is_default else (),
        ),
        *_stepping_down(asker, edit.default_now if edit.is_default else None, edit.details_id),
    )


def remove_details(asker: Asker, details_id: UUID, owner_id: UUID) -> Addressed[Any]:
    return Addressed(DETAILS, str(details_id), lambda seen: RemoveDetails(asker.cause(seen)), exclusive=f"details/{owner_id}")


def change_details(
    asker: Asker, details_id: UUID, owner_type: Owner, template_code: str, address_type: str | None, fields: Mapping[str, str]
) -> Addressed[Any]:
    """By a rule: only fields that hold a value change (S53-S56)."""
    template = _template(asker, owner_type, template_code)
    return Addressed(
        DETAILS,
        str(details_id),
        lambda seen: ChangeDetails(seen.state(FIELD_SET, template), fields, asker.cause(seen), address_type),
        reads=((FIELD_SET, template),),
    )


def restore_details(asker: Asker, details_id: UUID, if_version: int, before: Values) -> Addressed[Any]:
    return Addressed(DETAILS, str(details_id), lambda seen: RestoreDetails(if_version, before, asker.cause(seen)))
