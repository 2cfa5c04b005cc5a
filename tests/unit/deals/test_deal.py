"""Deal: fields, visits, copies, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from services.deals.domain.deal import (
    DEAL,
    AttachToDeal,
    ChangeDealFields,
    CopyDeal,
    CreateDeal,
    DealCopied,
    DealCreated,
    DealDeleted,
    DealFieldsChanged,
    DealFilesChanged,
    DealMoved,
    DealRestored,
    DeleteDeal,
    DetachFromDeal,
    MoveDeal,
    RestoreDeal,
    copied_fields,
    copy_name,
)
from services.deals.domain.fields import Change
from services.deals.domain.origin import Cause
from services.deals.domain.stay import Place, arrival, visit_id
from shared.es.errors import Rejected
from shared.testing.given import given
from tests.unit.deals.things import (
    ANNA,
    ANNA_DID,
    AT,
    BEN,
    DEAL_FORM,
    MUSTER,
    PETRA,
    ROOF,
    RULE_DID,
    STAGES,
    asked,
    created,
    deal_fields,
    id_of,
    line_json,
    place,
)

LATER = AT + timedelta(days=1)


def move(to: str, cause: Cause = RULE_DID, **more: Any) -> MoveDeal:
    return MoveDeal(place(to), more.pop("reason", "trigger"), cause, **more)


def moved(to: str, n: int = 2, frm: str = "new", **more: Any) -> DealMoved:
    before, stay = arrival(ROOF, place(frm), n - 1), arrival(ROOF, place(to), n)
    return DealMoved(before, stay, "on", more.pop("reason", "trigger"), more.pop("cause", RULE_DID), **more)


def change(cause: Cause = RULE_DID, **changes: Any) -> ChangeDealFields:
    return ChangeDealFields(changes, DEAL_FORM, cause)


def test_a_new_deal_is_in_its_first_visit() -> None:
    command = CreateDeal(ROOF, place("new"), deal_fields(), RULE_DID)

    state = given(DEAL).when(command).then(created())
    assert (state.stay.visit_number, state.stay.visit_id) == (1, visit_id(ROOF, 1))
    given(DEAL, created()).when(command).nothing_happens()


def test_each_real_move_starts_the_next_visit() -> None:
    state = given(DEAL, created()).when(move("approval")).then(moved("approval"))
    assert state.stay.visit_id == visit_id(ROOF, 2)

    given(DEAL, created(), moved("approval")).when(move("won")).then(moved("won", 3, frm="approval"))


def test_a_move_to_the_same_stage_starts_nothing() -> None:
    given(DEAL, created()).when(move("new")).refused("already_there")


def test_a_move_judged_on_an_old_visit_is_refused() -> None:
    given(DEAL, created(), moved("approval")).when(move("won", if_visit_id=visit_id(ROOF, 1))).refused("visit_changed")
    given(DEAL, created(), moved("approval")).when(move("won", if_visit_id=visit_id(ROOF, 2))).then(moved("won", 3, frm="approval"))


def test_a_won_deal_may_go_back() -> None:
    given(DEAL, created(), moved("won")).when(move("new")).then(moved("new", 3, frm="won"))


def test_a_repeated_move_is_silent_even_when_the_deal_moved_on() -> None:
    first = asked("move")

    given(DEAL, created(), moved("approval", cause=first), moved("won", 3, frm="approval")).when(move("approval", first)).nothing_happens()


def test_a_move_to_another_pipeline_is_an_ordinary_one() -> None:
    elsewhere = Place(id_of("installation"), id_of("planning"), "process", "Planning")

    state = given(DEAL, created()).when(MoveDeal(elsewhere, "person", ANNA_DID)).state
    assert (state.stay.pipeline_id, state.stay.visit_number) == (id_of("installation"), 2)


LOSING = replace(STAGES[3], required_fields=("loss_reason", "uf.contract_url", "amount"))


def test_a_stage_holds_up_a_deal_that_lacks_what_it_requires() -> None:
    to_lost = MoveDeal(place("lost", *STAGES[:3], LOSING), "trigger", RULE_DID)

    given(DEAL, created()).when(to_lost).refused("required_fields_missing", "/loss_reason", "/uf.contract_url", "/amount")


def test_what_the_move_brings_along_counts() -> None:
    full = created(deal_fields(amount="5.00", custom={"contract_url": "https://example.org/c/1"}))
    to_lost = MoveDeal(place("lost", *STAGES[:3], LOSING), "trigger", RULE_DID, loss_reason="price")

    state = given(DEAL, full).when(to_lost).then(moved("lost", loss_reason="price"))
    assert state.fields.loss_reason == "price"


def test_only_what_really_changes_is_an_event() -> None:
    given(DEAL, created()).when(change(title="Roof 2026")).nothing_happens()
    given(DEAL, created()).when(change(title="Roof 2027", responsible_id=None)).then(
        DealFieldsChanged({"title": Change("Roof 2026", "Roof 2027")}, RULE_DID)
    )


def test_who_waits_for_an_answer_is_told_that_nothing_changes() -> None:
    given(DEAL, created()).when(change(asked("change"), title="Roof 2026")).refused("nothing_to_change")
    given(DEAL, created(), DealDeleted(ANNA_DID)).when(DeleteDeal(asked("undo"))).refused("deal_deleted")


def test_custom_fields_change_as_a_whole() -> None:
    state = (
        given(DEAL, created(deal_fields(custom={"size": "s"})))
        .when(change(custom={"tags": ["a"], "size": None}))
        .then(DealFieldsChanged({"custom": Change({"size": "s"}, {"tags": ["a"]})}, RULE_DID))
    )
    assert state.fields.custom == {"tags": ["a"]}


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"colour": "red"}, "/colour", "unknown_field"),
        ({"created_at": "2026-01-01T00:00:00Z"}, "/created_at", "unknown_field"),
        ({"title": 7}, "/title", "wrong_type"),
        ({"title": ""}, "/title", "required"),
        ({"title": "x" * 256}, "/title", "too_long"),
        ({"title": "a\x00b"}, "/title", "wrong_type"),
        ({"loss_reason": "x" * 16_385}, "/loss_reason", "too_long"),
        ({"currency": "DOGE"}, "/currency", "unknown_currency"),
        ({"amount": "1.234"}, "/amount", "bad_amount"),
        ({"amount": "-1"}, "/amount", "bad_amount"),
        ({"amount": 1.5}, "/amount", "wrong_type"),
        ({"amount": "1e3"}, "/amount", "bad_amount"),
        ({"contact_ids": ["not an id"]}, "/contact_ids/0", "wrong_type"),
        ({"contact_ids": [str(id_of(str(n))) for n in range(51)]}, "/contact_ids", "too_many"),
        ({"lines": [line_json(name="")]}, "/lines/0/name", "required"),
        ({"lines": [line_json("-1")]}, "/lines/0/unit_price", "bad_amount"),
        ({"lines": [line_json(discount_percent="101")]}, "/lines/0/discount_percent", "bad_amount"),
        ({"lines": [line_json(), line_json()]}, "/lines", "wrong_type"),
        ({"lines": [{"name": "x"}]}, "/lines/0/line_id", "required"),
        ({"begin_date": "2026-02-30"}, "/begin_date", "wrong_type"),
        ({"custom": {"nothing": "x"}}, "/custom/nothing", "unknown_field"),
        ({"custom": {"old": "x"}}, "/custom/old", "unknown_field"),
        ({"custom": {"size": "xl"}}, "/custom/size", "wrong_type"),
        ({"custom": {"meeting": "tomorrow"}}, "/custom/meeting", "wrong_type"),
        ({"custom": {"contract_url": "javascript:alert(1)"}}, "/custom/contract_url", "wrong_type"),
        ({"custom": {"tags": ["a", 7]}}, "/custom/tags/1", "wrong_type"),
        ({"custom": 7}, "/custom", "wrong_type"),
    ],
)
def test_bad_input_is_named_at_its_place(changes: dict[str, Any], pointer: str, code: str) -> None:
    refusal = given(DEAL, created()).when(change(**changes)).refused("validation_failed", pointer)

    assert (refusal.status, refusal.errors[0].code) == (422, code)


def test_all_that_is_wrong_is_said_at_once() -> None:
    given(DEAL, created()).when(change(title="", currency="X", colour="red")).refused("validation_failed", "/title", "/currency", "/colour")


def test_at_most_500_lines() -> None:
    lines = [line_json(name=f"row {n}") for n in range(501)]

    given(DEAL, created()).when(change(lines=lines)).refused("validation_failed", "/lines")
    given(DEAL, created()).when(change(lines=lines[:500]))


def test_the_amount_is_the_sum_of_the_rows() -> None:
    fields = deal_fields(lines=[line_json("0.335", quantity="3"), line_json("100", discount_percent="33.333333")])

    assert (fields.amount, fields.amount_mode) == (Decimal("1.01") + Decimal("66.67"), "from_lines")


def test_half_a_cent_is_rounded_up() -> None:
    assert deal_fields(lines=[line_json("0.005")]).amount == Decimal("0.01")
    assert deal_fields(lines=[line_json("0.5")], currency="JPY").amount == Decimal("1")


def test_the_largest_rows_are_still_exact() -> None:
    fields = deal_fields(lines=[line_json("9999999.999999", quantity="9999999.999999", discount_percent="0.000001")])

    assert fields.amount == Decimal("99999998999980.00")


def test_rows_whose_sum_is_too_large_are_refused() -> None:
    with pytest.raises(Rejected) as refused:
        deal_fields(lines=[line_json("999999999999999", quantity="999999999999999")])
    assert refused.value.errors[0].code == "bad_amount"


def test_an_amount_that_somebody_fixed_stays() -> None:
    fixed = created(deal_fields(lines=[line_json("100")], amount="80"))

    state = given(DEAL, fixed).when(change(lines=[line_json("500")])).state
    assert (state.fields.amount, state.fields.amount_mode) == (Decimal("80.00"), "manual")
    back = DEAL.fold(DEAL.decide(state, change(amount_mode="from_lines")), state)
    assert (back.fields.amount, back.fields.amount_mode) == (Decimal("500.00"), "from_lines")


def test_rows_added_later_make_the_amount() -> None:
    given(DEAL, created()).when(change(lines=[line_json("19.90")])).then(
        DealFieldsChanged(
            {"amount": Change("0.00", "19.90"), "amount_mode": Change("manual", "from_lines"), "lines": Change([], [stored_line("19.90")])},
            RULE_DID,
        )
    )


def stored_line(price: str) -> dict[str, Any]:
    return {**line_json(price), "product_code": None, "discount_percent": "0"}


def test_another_currency_checks_the_amount_again() -> None:
    given(DEAL, created(deal_fields(amount="1.50"))).when(change(currency="JPY")).refused("validation_failed", "/amount")


def test_the_primary_contact_is_the_first_unless_one_is_named() -> None:
    assert deal_fields(contact_ids=[str(PETRA), str(ANNA)]).primary_contact_id == PETRA
    named = deal_fields(contact_ids=[str(PETRA)], primary_contact_id=str(BEN))
    assert (named.contact_ids, named.primary_contact_id) == ((BEN, PETRA), BEN)

    state = given(DEAL, created(named)).when(change(contact_ids=[str(PETRA)])).state
    assert state.fields.primary_contact_id == PETRA


def test_a_deal_needs_a_title() -> None:
    with pytest.raises(Rejected) as refused:
        deal_fields(title="")
    assert refused.value.errors[0].pointer == "/title"


FULL = deal_fields(
    responsible_id=str(ANNA),
    observer_ids=[str(BEN)],
    contact_ids=[str(PETRA)],
    company_id=str(MUSTER),
    lines=[line_json("100")],
    prices_include_tax=True,
    close_date="2026-04-01",
    begin_date="2026-01-01",
    custom={"contract_url": "https://example.org/c/1"},
)


def copied(n: int = 1, name: str = "Roof 2026 (Kopie)", cause: Cause = RULE_DID) -> DealCopied:
    return DealCopied(id_of("copy"), name, place("new").pipeline_id, place("new").stage_id, n, cause)


def test_a_copy_is_named_after_its_source() -> None:
    given(DEAL, created()).when(CopyDeal(id_of("copy"), place("new"), RULE_DID)).then(copied())
    given(DEAL, created()).when(CopyDeal(id_of("copy"), place("new"), RULE_DID, name="Montage")).then(copied(name="Montage"))


def test_the_copy_of_a_copy_is_numbered() -> None:
    second = created(deal_fields(title="Roof 2026 (Kopie)"), copied_from=id_of("source"), copy_generation=1)

    given(DEAL, second).when(CopyDeal(id_of("copy"), place("new"), RULE_DID)).then(copied(2, "Roof 2026 (Kopie 2)"))


@pytest.mark.parametrize(
    ("title", "generation", "language", "name"),
    [
        ("Roof", 1, "de", "Roof (Kopie)"),
        ("Roof", 1, "en", "Roof (copy)"),
        ("Roof (copy)", 2, "de", "Roof (Kopie 2)"),
        ("Roof (Kopie 9)", 10, "en", "Roof (copy 10)"),
        ("Roof (Kopie) east", 1, "de", "Roof (Kopie) east (Kopie)"),
        ("x" * 255, 1, "de", "x" * 247 + " (Kopie)"),
    ],
)
def test_the_word_never_stacks(title: str, generation: int, language: str, name: str) -> None:
    assert copy_name(title, generation, language) == name


def test_what_a_copy_carries_over() -> None:
    source = DEAL.fold([created(FULL), copied()])
    copy = source.copies[0]
    made = copied_fields(source, copy, LATER, "Europe/Berlin", responsible_id=BEN)

    assert made == replace(
        FULL,
        title="Roof 2026 (Kopie)",
        created_at=LATER,
        responsible_id=BEN,
        lines=made.lines,
        begin_date=date(2026, 3, 3),
        close_date=None,
        created_by_copy=True,
    )
    assert [replace(line, line_id=ROOF) for line in made.lines] == [replace(line, line_id=ROOF) for line in FULL.lines]
    assert {line.line_id for line in made.lines}.isdisjoint(line.line_id for line in FULL.lines)


def test_a_copy_begins_on_its_date_in_the_zone() -> None:
    source = DEAL.fold([created(FULL), copied()])

    assert copied_fields(source, source.copies[0], AT + timedelta(hours=8), "Asia/Tokyo").begin_date == date(2026, 3, 3)


def test_a_copy_refers_to_the_same_files() -> None:
    attached = DealFilesChanged((id_of("file"),), ANNA_DID)

    source = given(DEAL, created(FULL)).when(AttachToDeal(id_of("file"), ANNA_DID)).then(attached)
    given(DEAL, created(FULL), attached).when(AttachToDeal(id_of("file"), ANNA_DID)).nothing_happens()
    given(DEAL, created(FULL), attached).when(DetachFromDeal(id_of("file"), ANNA_DID)).then(DealFilesChanged((), ANNA_DID))
    copy = DEAL.fold([copied()], source).copies[0]
    assert copied_fields(source, copy, LATER, "UTC").file_ids == (id_of("file"),)


def test_a_deal_has_at_most_100_files() -> None:
    many = DealFilesChanged(tuple(id_of(f"file {n}") for n in range(100)), ANNA_DID)

    given(DEAL, created(), many).when(AttachToDeal(id_of("one more"), ANNA_DID)).refused("validation_failed", "/owner_id")
    given(DEAL, created(), many).when(AttachToDeal(id_of("file 99"), ANNA_DID)).nothing_happens()


def test_the_original_stays_where_it_is_and_lists_its_copies() -> None:
    state = given(DEAL, created(), moved("won")).when(CopyDeal(id_of("copy"), place("new"), RULE_DID)).state

    assert state.stay == arrival(ROOF, place("won"), 2)
    assert [copy.copy_id for copy in state.copies] == [id_of("copy")]


def test_a_repeated_copy_is_made_once() -> None:
    given(DEAL, created(), copied()).when(CopyDeal(id_of("copy"), place("new"), RULE_DID)).nothing_happens()


def test_deleting_is_soft_and_done_once() -> None:
    given(DEAL, created()).when(DeleteDeal(RULE_DID)).then(DealDeleted(RULE_DID))
    given(DEAL, created(), DealDeleted(RULE_DID)).when(DeleteDeal(RULE_DID)).nothing_happens()


@pytest.mark.parametrize("command", [move("won"), change(title="x"), CopyDeal(id_of("copy"), place("new"), RULE_DID)])
def test_a_deleted_deal_does_not_change(command: Any) -> None:
    given(DEAL, created(), DealDeleted(RULE_DID)).when(command).refused("deal_deleted")


@pytest.mark.parametrize("command", [move("won"), change(title="x"), DeleteDeal(RULE_DID), RestoreDeal(place("new"), RULE_DID)])
def test_what_does_not_exist_is_not_found(command: Any) -> None:
    given(DEAL).when(command).refused("not_found")


def test_undo_spares_what_people_worked_on() -> None:
    by_anna = DealFieldsChanged({"title": Change("Roof 2026", "Roof")}, ANNA_DID)
    if_untouched = DeleteDeal(RULE_DID, if_untouched=True)

    given(DEAL, created(), moved("approval")).when(if_untouched).then(DealDeleted(RULE_DID))
    given(DEAL, created(cause=ANNA_DID)).when(if_untouched).then(DealDeleted(RULE_DID))
    given(DEAL, created(), by_anna).when(if_untouched).refused("has_been_touched")


def test_a_restored_deal_is_in_the_same_visit_and_arrives_nowhere() -> None:
    gone = (created(), moved("approval"), DealDeleted(RULE_DID))

    state = given(DEAL, *gone).when(RestoreDeal(place("approval"), ANNA_DID)).then(DealRestored(ANNA_DID))
    assert state.stay == arrival(ROOF, place("approval"), 2)
    given(DEAL, *gone).when(RestoreDeal(None, ANNA_DID)).refused("unknown_stage")
    given(DEAL, created()).when(RestoreDeal(place("new"), ANNA_DID)).nothing_happens()


def test_a_suppressed_arrival_says_so() -> None:
    event = given(DEAL).when(CreateDeal(ROOF, place("new"), deal_fields(), RULE_DID, automation="suppressed")).events[0]

    assert isinstance(event, DealCreated) and event.automation == "suppressed"
