"""Lead: recurring leads, conversion, the same moves as a deal."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from services.deals.domain.field_set import FieldSet
from services.deals.domain.fields import Change
from services.deals.domain.lead import (
    LEAD,
    ChangeLeadFields,
    ConvertLead,
    CreateLead,
    DeleteLead,
    LeadConverted,
    LeadDeleted,
    LeadFieldsChanged,
    LeadMoved,
    LeadRestored,
    MoveLead,
    RestoreLead,
)
from services.deals.domain.stay import arrival, visit_id
from shared.testing.given import given
from tests.unit.deals.things import (
    ANNA_DID,
    CONVERTED,
    LEADS,
    MUSTER,
    PETRA,
    RULE_DID,
    asked,
    id_of,
    lead_created,
    lead_fields,
    line_json,
)

LEAD_ID = id_of("lead")
CLIENT = lead_fields(contact_ids=[str(PETRA)], company_id=str(MUSTER))


def create(**more: Any) -> CreateLead:
    return CreateLead(LEAD_ID, LEADS, more.pop("fields", CLIENT), RULE_DID, **more)


def test_a_recurring_lead_is_one_of_a_known_customer() -> None:
    state = given(LEAD).when(create(recurring=True)).then(lead_created(CLIENT))

    assert state.fields.repeat and state.fields.customer == f"company/{MUSTER}"
    assert state.stay.visit_id == visit_id(LEAD_ID, 1)


def test_without_a_customer_there_is_no_recurring_lead() -> None:
    given(LEAD).when(create(fields=lead_fields(), recurring=True)).refused("no_client")
    assert not given(LEAD).when(create(fields=lead_fields())).state.fields.repeat


def test_an_open_lead_of_the_customer_can_stand_in_the_way() -> None:
    given(LEAD).when(create(recurring=True, open_exists=True)).refused("open_exists")


def test_asking_twice_makes_one_lead() -> None:
    given(LEAD, lead_created(CLIENT)).when(create(recurring=True, open_exists=True)).nothing_happens()


def test_repeat_stays_what_it_was_at_birth() -> None:
    state = (
        given(LEAD, lead_created())
        .when(ChangeLeadFields({"company_id": str(MUSTER)}, FieldSet(), ANNA_DID))
        .then(LeadFieldsChanged({"company_id": Change(None, str(MUSTER))}, ANNA_DID))
    )
    assert not state.fields.repeat


def test_the_amount_is_the_sum_of_the_rows() -> None:
    assert lead_fields(lines=[line_json("10", quantity="3")]).amount == Decimal("30.00")
    assert lead_fields(lines=[line_json("10")], amount="7").amount == Decimal("7.00")


def test_a_lead_has_no_close_date() -> None:
    given(LEAD, lead_created()).when(ChangeLeadFields({"close_date": "2026-01-01"}, FieldSet(), ANNA_DID)).refused(
        "validation_failed", "/close_date"
    )


def moved(cause: Any = RULE_DID, reason: str = "trigger") -> LeadMoved:
    return LeadMoved(arrival(LEAD_ID, LEADS, 1), arrival(LEAD_ID, CONVERTED, 2), "on", reason, cause)


def test_a_lead_moves_like_a_deal() -> None:
    given(LEAD, lead_created()).when(MoveLead(CONVERTED, "trigger", RULE_DID)).then(moved())
    given(LEAD, lead_created()).when(MoveLead(LEADS, "trigger", RULE_DID)).refused("already_there")
    given(LEAD, lead_created(), moved()).when(MoveLead(LEADS, "trigger", RULE_DID, if_visit_id=visit_id(LEAD_ID, 1))).refused(
        "visit_changed"
    )


def test_a_reason_given_with_the_move_is_enough() -> None:
    losing = replace(CONVERTED, required_fields=("loss_reason", "company_id"))

    given(LEAD, lead_created()).when(MoveLead(losing, "person", ANNA_DID, loss_reason="x")).refused(
        "required_fields_missing", "/company_id"
    )


def convert(*targets: str, success: Any = None, cause: Any = RULE_DID) -> ConvertLead:
    return ConvertLead({target: id_of(f"new {target}") for target in targets}, cause, success)


def converted(*targets: str, closed: bool = False, cause: Any = RULE_DID) -> LeadConverted:
    return LeadConverted({target: id_of(f"new {target}") for target in targets}, closed, cause)


def test_a_lead_becomes_a_deal_and_stays_open() -> None:
    state = given(LEAD, lead_created()).when(convert("deal")).then(converted("deal"))

    assert state.open and state.made == {"deal": id_of("new deal")}


def test_closing_moves_the_lead_in_the_same_breath() -> None:
    cause = asked("convert")

    state = (
        given(LEAD, lead_created())
        .when(convert("deal", "contact", success=CONVERTED, cause=cause))
        .then(converted("deal", "contact", closed=True, cause=cause), moved(cause.unanswered(), "conversion"))
    )
    assert not state.open


def test_a_converted_lead_becomes_only_what_it_has_not_become() -> None:
    once = (lead_created(), converted("deal"))

    given(LEAD, *once).when(convert("contact")).then(converted("contact"))
    given(LEAD, *once).when(ConvertLead({"deal": id_of("another")}, RULE_DID)).refused("already_converted")
    given(LEAD, *once).when(convert("deal")).nothing_happens()


def test_a_lead_does_not_become_just_anything() -> None:
    given(LEAD, lead_created()).when(convert("invoice")).refused("target_not_offered")


def test_a_deleted_lead_rests_until_it_is_restored() -> None:
    gone = (lead_created(), LeadDeleted(RULE_DID))

    given(LEAD, lead_created()).when(DeleteLead(RULE_DID)).then(LeadDeleted(RULE_DID))
    given(LEAD, *gone).when(convert("deal")).refused("lead_deleted")
    given(LEAD, *gone).when(RestoreLead(LEADS, ANNA_DID)).then(LeadRestored(ANNA_DID))
    given(LEAD, *gone).when(RestoreLead(None, ANNA_DID)).refused("unknown_stage")


def test_undo_spares_a_lead_that_people_worked_on() -> None:
    by_anna = LeadFieldsChanged({"title": Change("Renewal", "x")}, ANNA_DID)

    given(LEAD, lead_created(), by_anna).when(DeleteLead(RULE_DID, if_untouched=True)).refused("has_been_touched")


@pytest.mark.parametrize("command", [convert("deal"), DeleteLead(RULE_DID), MoveLead(LEADS, "api", RULE_DID)])
def test_what_does_not_exist_is_not_found(command: Any) -> None:
    given(LEAD).when(command).refused("not_found")


def test_who_waits_for_an_answer_is_told_that_nothing_changes() -> None:
    given(LEAD, lead_created()).when(ChangeLeadFields({}, FieldSet(), asked("change"))).refused("nothing_to_change")
    given(LEAD, lead_created()).when(ChangeLeadFields({}, FieldSet(), ANNA_DID)).nothing_happens()
