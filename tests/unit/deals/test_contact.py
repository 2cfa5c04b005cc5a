"""Contact and company: fields, merging, deletion."""

from __future__ import annotations

from typing import Any

import pytest

from services.deals.domain import company
from services.deals.domain.contact import (
    CONTACT,
    AbsorbContact,
    ChangeContact,
    ContactAbsorbed,
    ContactBought,
    ContactCreated,
    ContactDeleted,
    ContactErased,
    ContactFields,
    ContactFieldsChanged,
    ContactMerged,
    CreateContact,
    DeleteContact,
    EraseContact,
    MergeContact,
    NoteContactBought,
    new_fields,
)
from services.deals.domain.field_set import FieldDefinition, FieldSet
from services.deals.domain.fields import Change
from shared.es.errors import Rejected
from shared.testing.given import given
from tests.unit.deals.things import ANNA_DID, MUSTER, PETRA, RULE_DID, id_of, petra

FORM = FieldSet(id_of("contact form"), "form", (FieldDefinition("city", "City", "string"),), element_type="contact")
HERE = ContactCreated(PETRA, petra(), ANNA_DID)


def change(**changes: Any) -> ChangeContact:
    return ChangeContact(changes, FORM, ANNA_DID)


def test_a_contact_is_made_once() -> None:
    given(CONTACT).when(CreateContact(PETRA, petra(), ANNA_DID)).then(HERE)
    given(CONTACT, HERE).when(CreateContact(PETRA, petra(), ANNA_DID)).nothing_happens()


def test_what_changes_is_said_with_before_and_after() -> None:
    given(CONTACT, HERE).when(change(emails=["p@example.org", "petra@example.org"], custom={"city": "Bremen"})).then(
        ContactFieldsChanged(
            {
                "emails": Change(["petra@example.org"], ["p@example.org", "petra@example.org"]),
                "custom": Change({}, {"city": "Bremen"}),
            },
            ANNA_DID,
        )
    )
    given(CONTACT, HERE).when(change(first_name="Petra")).nothing_happens()


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"emails": ["not an address"]}, "/emails/0"),
        ({"emails": ["a b@example.org"]}, "/emails/0"),
        ({"zone": "Mars/Olympus"}, "/zone"),
        ({"language": "xx"}, "/language"),
        ({"custom": {"size": "s"}}, "/custom/size"),
        ({"first_name": "", "last_name": "", "emails": []}, "/last_name"),
    ],
)
def test_bad_input_is_named(changes: dict[str, Any], pointer: str) -> None:
    given(CONTACT, HERE).when(change(**changes)).refused("validation_failed", pointer)


def test_somebody_without_any_name_is_nobody() -> None:
    with pytest.raises(Rejected):
        new_fields({}, FORM)
    assert new_fields({"phones": ["+49 1"]}, FORM).name == "+49 1"


def test_a_merged_contact_is_an_alias() -> None:
    survivor = id_of("petra again")

    state = given(CONTACT, HERE).when(MergeContact(survivor, ANNA_DID)).then(ContactMerged(survivor, ANNA_DID))
    assert state.usable and state.merged_into == survivor
    given(CONTACT, HERE, ContactMerged(survivor, ANNA_DID)).when(MergeContact(survivor, ANNA_DID)).refused("already_merged")
    given(CONTACT, HERE, ContactMerged(survivor, ANNA_DID)).when(change(first_name="P")).refused("already_merged")


def test_nobody_is_merged_into_himself() -> None:
    given(CONTACT, HERE).when(MergeContact(PETRA, ANNA_DID)).refused("merge_into_itself")


def test_the_survivor_names_the_details_that_came_along() -> None:
    absorbed = ContactAbsorbed(id_of("double"), (id_of("details"),), ANNA_DID)

    given(CONTACT, HERE).when(AbsorbContact(id_of("double"), (id_of("details"),), ANNA_DID)).then(absorbed)
    given(CONTACT, HERE, absorbed).when(AbsorbContact(id_of("double"), (), ANNA_DID)).nothing_happens()


def test_who_has_bought_is_a_repeated_customer_and_so_is_his_survivor() -> None:
    bought = ContactBought(ANNA_DID)

    assert given(CONTACT, HERE).when(NoteContactBought(ANNA_DID)).then(bought).has_bought
    given(CONTACT, HERE, bought).when(NoteContactBought(ANNA_DID)).nothing_happens()
    given(CONTACT).when(NoteContactBought(ANNA_DID)).nothing_happens()
    assert given(CONTACT, HERE).when(AbsorbContact(id_of("double"), (), ANNA_DID, has_bought=True)).state.has_bought
    acme = given(company.COMPANY, COMPANY_HERE).when(company.NoteCompanyBought(ANNA_DID)).then(company.CompanyBought(ANNA_DID))
    assert acme.has_bought


def test_a_deleted_contact_is_not_used_any_more() -> None:
    gone = ContactDeleted(ANNA_DID)

    assert not given(CONTACT, HERE).when(DeleteContact(ANNA_DID)).then(gone).usable
    given(CONTACT, HERE, gone).when(DeleteContact(ANNA_DID)).nothing_happens()
    given(CONTACT, HERE, gone).when(change(first_name="P")).refused("is_deleted")
    given(CONTACT, HERE, gone).when(MergeContact(id_of("x"), ANNA_DID)).refused("is_deleted")


def test_an_erased_contact_has_nothing_left() -> None:
    state = given(CONTACT, HERE).when(EraseContact(ANNA_DID)).then(ContactErased(ANNA_DID))

    assert state.fields == ContactFields() and state.status == "erased"
    given(CONTACT, HERE, ContactErased(ANNA_DID)).when(EraseContact(ANNA_DID)).nothing_happens()


@pytest.mark.parametrize(
    "command", [change(first_name="P"), MergeContact(id_of("x"), ANNA_DID), DeleteContact(ANNA_DID), EraseContact(ANNA_DID)]
)
def test_what_does_not_exist_is_not_found(command: Any) -> None:
    given(CONTACT).when(command).refused("not_found")


COMPANY_HERE = company.CompanyCreated(MUSTER, company.new_fields({"name": "Muster GmbH"}, FieldSet()), RULE_DID)


def test_a_company_needs_a_name() -> None:
    with pytest.raises(Rejected) as refused:
        company.new_fields({}, FieldSet())
    assert refused.value.errors[0].pointer == "/name"
    nameless = company.ChangeCompany({"name": ""}, FieldSet(), ANNA_DID)
    given(company.COMPANY, COMPANY_HERE).when(nameless).refused("validation_failed", "/name")


def test_a_company_is_renamed() -> None:
    given(company.COMPANY, COMPANY_HERE).when(company.ChangeCompany({"name": "Muster AG"}, FieldSet(), ANNA_DID)).then(
        company.CompanyFieldsChanged({"name": Change("Muster GmbH", "Muster AG")}, ANNA_DID)
    )


def test_a_company_is_merged_and_deleted_like_a_contact() -> None:
    merged = company.CompanyMerged(id_of("other"), ANNA_DID)

    given(company.COMPANY, COMPANY_HERE).when(company.MergeCompany(id_of("other"), ANNA_DID)).then(merged)
    given(company.COMPANY, COMPANY_HERE, merged).when(company.DeleteCompany(ANNA_DID)).refused("already_merged")
    given(company.COMPANY, COMPANY_HERE).when(company.DeleteCompany(ANNA_DID)).then(company.CompanyDeleted(ANNA_DID))
    given(company.COMPANY, COMPANY_HERE).when(company.AbsorbCompany(id_of("other"), (), ANNA_DID)).then(
        company.CompanyAbsorbed(id_of("other"), (), ANNA_DID)
    )
