"""Details: what people write and what rules may renew (S53-S56, D45)."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.deals.domain.details import (
    DETAILS,
    ChangeDetails,
    CreateDetails,
    DetailsChanged,
    DetailsCreated,
    DetailsRemoved,
    EditDetails,
    MoveDetails,
    RemoveDetails,
    RestoreDetails,
    StepDownDetails,
)
from services.deals.domain.field_set import FIELD_SET, CreateFieldSet, FieldDefinition, FieldSet
from services.deals.domain.fields import Change
from shared.testing.given import given
from tests.unit.deals.things import ANNA_DID, MUSTER, PETRA, RULE_DID, asked, id_of

PERSON = FIELD_SET.fold(
    FIELD_SET.decide(
        FieldSet(),
        CreateFieldSet(
            id_of("person"),
            "details_template",
            (FieldDefinition("order_number", "Order number", "string"),),
            ANNA_DID,
            owner_type="person",
            template_code="person",
        ),
    )
)
FIELDS = {"tax_number": "12/345"}
ADDRESSES = {
    "business": {"street": "Altweg", "house": "1", "city": "Ulm"},
    "delivery": {"street": "Hafenstr.", "house": "12", "postal_code": "24103", "city": "Kiel"},
}


def create(**more: Any) -> CreateDetails:
    values: dict[str, Any] = {"template": PERSON, "fields": FIELDS, "addresses": ADDRESSES, "is_default": True, **more}
    return CreateDetails(id_of("details"), "contact", PETRA, "person", cause=ANNA_DID, **values)


HERE = DetailsCreated(id_of("details"), "contact", PETRA, "person", True, FIELDS, ADDRESSES, ANNA_DID)


def renew(address_type: str | None = "business", **fields: str) -> ChangeDetails:
    return ChangeDetails(PERSON, fields, RULE_DID, address_type)


def renewed() -> DetailsChanged:
    """What scenario 3.4 step 1 makes of the record."""
    return DetailsChanged(
        PETRA,
        True,
        FIELDS,
        {**ADDRESSES, "business": {"street": "Neuweg", "house": "7", "city": "Bremen"}},
        {"city": Change("Ulm", "Bremen"), "house": Change("1", "7"), "street": Change("Altweg", "Neuweg")},
        RULE_DID,
        "business",
        {"postal_code": "was_empty"},
    )


def test_a_record_is_made_once() -> None:
    given(DETAILS).when(create()).then(HERE)
    given(DETAILS, HERE).when(create()).nothing_happens()


def test_empty_values_are_left_out() -> None:
    event = given(DETAILS).when(create(fields={"iban": "", "tax_number": " 12/345 "}, addresses={"postal": {"city": None}})).events[0]

    assert isinstance(event, DetailsCreated)
    assert (event.fields, event.addresses) == ({"tax_number": "12/345"}, {})


def test_a_template_must_exist_and_fit_the_owner() -> None:
    given(DETAILS).when(create(template=FieldSet())).refused("unknown_template")
    given(DETAILS).when(create(template=replace(PERSON, owner_type="company"))).refused("template_of_other_owner_type")


@pytest.mark.parametrize(
    ("more", "pointer", "code"),
    [
        ({"fields": {"nothing": "x"}}, "/fields/nothing", "unknown_field"),
        ({"fields": {"iban": 7}}, "/fields/iban", "wrong_type"),
        ({"fields": {"iban": "x" * 16_385}}, "/fields/iban", "too_long"),
        ({"addresses": {"secret": {"city": "x"}}}, "/addresses/secret/city", "unknown_field"),
        ({"addresses": {"postal": {"planet": "x"}}}, "/addresses/postal/planet", "unknown_field"),
        ({"addresses": {"postal": "Ulm"}}, "/addresses/postal", "wrong_type"),
    ],
)
def test_bad_input_is_named(more: dict[str, Any], pointer: str, code: str) -> None:
    assert given(DETAILS).when(create(**more)).refused("validation_failed", pointer).errors[0].code == code


def test_a_rule_renews_only_what_is_filled() -> None:
    given(DETAILS, HERE).when(renew(city="Bremen", house="7", street="Neuweg", postal_code="28195")).then(renewed())


def test_the_same_values_again_are_nothing_to_change() -> None:
    given(DETAILS, HERE, renewed()).when(renew(city="Bremen", house="7", street="Neuweg", postal_code="28195")).refused("nothing_to_change")


def test_a_filled_field_is_never_blanked() -> None:
    given(DETAILS, HERE).when(renew(city="")).refused("nothing_to_change")
    state = given(DETAILS, HERE).when(renew(city="", house="7")).state
    assert state.addresses["business"] == {"street": "Altweg", "house": "7", "city": "Ulm"}


def test_fields_of_the_template_need_no_address() -> None:
    state = given(DETAILS, HERE).when(renew(None, tax_number="99")).state

    assert state.fields == {"tax_number": "99"}


def test_fields_of_an_address_do() -> None:
    given(DETAILS, HERE).when(renew(None, city="Bremen")).refused("address_type_missing")
    given(DETAILS, HERE).when(renew("secret", city="Bremen")).refused("unknown_field")


def test_a_field_that_the_template_lacks_is_refused() -> None:
    assert given(DETAILS, HERE).when(renew(tax_id_x="1")).refused("unknown_field").status == 422


def test_a_change_can_be_undone_while_it_is_the_last() -> None:
    before = {"city": "Ulm", "house": "1", "street": "Altweg"}

    state = given(DETAILS, HERE, renewed()).when(RestoreDetails(2, before, RULE_DID)).state
    assert (state.addresses, state.fields) == (ADDRESSES, FIELDS)
    given(DETAILS, HERE, renewed()).when(RestoreDetails(1, before, RULE_DID)).refused("has_been_touched")


def test_an_undo_is_repeated_in_silence() -> None:
    command = RestoreDetails(2, {"city": "Ulm"}, asked("undo"))
    undone = DETAILS.decide(DETAILS.fold([HERE, renewed()]), command)

    given(DETAILS, HERE, renewed(), *undone).when(command).nothing_happens()


def test_people_may_empty_a_field() -> None:
    edit = EditDetails(PERSON, ANNA_DID, fields={"tax_number": None, "iban": "DE02"}, addresses={"business": {"city": "Bonn"}})

    event = given(DETAILS, HERE).when(edit).events[0]
    assert isinstance(event, DetailsChanged)
    assert event.changes == {
        "business.city": Change("Ulm", "Bonn"),
        "iban": Change("", "DE02"),
        "tax_number": Change("12/345", ""),
    }
    assert (event.fields, event.address_type, event.unchanged) == ({"iban": "DE02"}, None, {})
    given(DETAILS, HERE).when(EditDetails(PERSON, ANNA_DID, fields={"tax_number": "12/345"})).nothing_happens()


def test_the_old_default_steps_down() -> None:
    state = given(DETAILS, HERE).when(StepDownDetails(ANNA_DID)).state

    assert not state.is_default
    given(DETAILS, replace(HERE, is_default=False)).when(StepDownDetails(ANNA_DID)).nothing_happens()


def test_a_merged_owner_hands_its_records_on_as_non_default() -> None:
    event = given(DETAILS, HERE).when(MoveDetails(MUSTER, ANNA_DID)).events[0]

    assert isinstance(event, DetailsChanged) and (event.owner_id, event.is_default) == (MUSTER, False)


def test_a_removed_record_is_gone() -> None:
    given(DETAILS, HERE).when(RemoveDetails(ANNA_DID)).then(DetailsRemoved(ANNA_DID))
    given(DETAILS, HERE, DetailsRemoved(ANNA_DID)).when(RemoveDetails(ANNA_DID)).nothing_happens()
    given(DETAILS, HERE, DetailsRemoved(ANNA_DID)).when(renew(city="Bremen")).refused("not_found")
    given(DETAILS).when(renew(city="Bremen")).refused("not_found")
