"""An invoice is paid and the deal moves on: one decision per event, at most one move, each with its reason (scenarios.md 2, 3.2)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from shared.contracts import automation, billing, common, deals, scheduler
from tests.service.automation.conftest import ANNA, BEN, DEAL, NOW, OLAF, Office, created, fired, id_of, moved, paid, stage, stages, visit
from tests.service.house import at, employee, origin

PAID = """
stage: sales/payment-expected
triggers: [{ id: paid, type: invoice_paid, target_stage: sales/collect-goods }]
"""
EXPECTED = created("sales/payment-expected")


async def decisions(office: Office, **filters: Any) -> list[dict[str, Any]]:
    answer = await office.http.get("/v1/trigger-decisions", params=filters)
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


def trigger(**own: Any) -> str:
    options = "".join(f", {name}: {value}" for name, value in own.items())
    return f"stage: sales/payment-expected\ntriggers: [{{ id: paid, type: invoice_paid, target_stage: sales/collect-goods{options} }}]"


async def test_a_paid_invoice_moves_the_deal_in_the_name_of_its_responsible_person(office: Office) -> None:
    await office.publish(PAID)
    await office.hear(EXPECTED, paid())
    rows = await office.house.rows("select headers from outbox")
    assert f"user:{ANNA}".encode() in rows[0]["headers"]
    (move,) = await office.commands()
    body = move.body
    assert (move.type, move.key) == ("deals.MoveToStage.v1", DEAL)
    assert (body["stage_id"], body["if_visit_id"], body["decision_id"]) == (stage("sales/collect-goods"), visit(1), body["request_id"])
    assert (body["origin"]["kind"], body["origin"]["decision_id"]) == ("trigger", body["decision_id"])

    after = moved("sales/collect-goods", 2, before="sales/payment-expected", decision_id=body["decision_id"], reason="trigger")
    await office.hear(after)
    (decided,) = await office.said()
    assert (decided.name, decided.body["outcome"], decided.body["verdicts"][0]["verdict"]) == ("TriggerDecided", "moved", "won")
    (shown,) = await decisions(office, element_id=DEAL)
    assert (shown["outcome"], shown["order_version"], shown["visit_id"]) == ("moved", 1, visit(1))


async def test_the_same_payment_three_times_is_one_move(office: Office) -> None:
    await office.publish(PAID)
    payment = office.record(paid(), id=id_of("event"))
    await office.hear(EXPECTED)
    await office.house.hear(payment, payment)
    await office.house.hear(payment)
    assert len(await office.commands()) == 1


@pytest.mark.parametrize(
    ("stood", "options", "reason"),
    [
        ("sales/collect-goods", {}, "already_there"),
        ("sales/delivery", {}, "past_target"),
        ("sales/lost", {"allow_back": "true"}, "final_stage"),
        ("installation/planning", {}, None),
        ("sales/new", {"condition": "{ field: event.total, op: gt, value: 500 }"}, "condition_false"),
        ("sales/new", {"settings": "{ scope: all_open }"}, "not_in_scope"),
    ],
)
async def test_why_a_deal_does_not_move(office: Office, stood: str, options: dict[str, str], reason: str | None) -> None:
    await office.publish(trigger(**options))
    await office.hear(created(stood), paid(other_unpaid=(id_of("invoice/J"),)))
    said = await office.said()
    assert [m.name for m in said] == (["TriggerDecided"] if reason else [])
    (shown,) = await decisions(office)
    assert (shown["outcome"], shown["reason"]) == ("ignored", reason or "no_candidate")
    for verdict in shown["verdicts"]:
        assert verdict["says"] and verdict["says_de"] and verdict["says"] != verdict["verdict"]
        assert all(leaf["says_de"] == "Rechnungsbetrag ist größer als 500: nein, der Wert war 100.00 EUR" for leaf in verdict["trace"])
    assert (reason == "condition_false") is bool(shown["verdicts"] and shown["verdicts"][0]["trace"])


@pytest.mark.parametrize(
    ("stood", "options"),
    [("sales/delivery", {"allow_back": "true"}), ("sales/lost", {"allow_back": "true", "allow_reopen": "true"})],
)
async def test_back_only_where_it_is_allowed(office: Office, stood: str, options: dict[str, str]) -> None:
    await office.publish(trigger(**options))
    await office.hear(created(stood), paid())
    (move,) = await office.commands()
    assert move.body["stage_id"] == stage("sales/collect-goods")


async def test_the_earliest_stage_ahead_wins_and_the_others_know_by_whom(office: Office) -> None:
    await office.publish("""
stage: sales/collect-goods
triggers: [{ id: near, type: invoice_paid }]
---
stage: sales/delivery
triggers: [{ id: far, type: invoice_paid }]
---
stage: sales/new
triggers: [{ id: behind, type: invoice_paid }]
""")
    await office.hear(EXPECTED, paid())
    (move,) = await office.commands()
    assert move.body["stage_id"] == stage("sales/collect-goods")
    (shown,) = await decisions(office)
    verdicts = {v["verdict"]: v for v in shown["verdicts"]}
    assert set(verdicts) == {"won", "outranked", "past_target"}
    assert verdicts["outranked"]["by"] == verdicts["won"]["trigger_id"]


async def test_a_move_judged_on_an_old_visit_is_judged_again(office: Office) -> None:
    await office.publish(PAID)
    await office.hear(EXPECTED, paid())
    (move,) = await office.commands()
    await office.hear(moved("sales/delivery", 2, before="sales/payment-expected"))
    refused = deals.CommandRejected(
        request_id=move.body["request_id"], record_key=DEAL, command_type=move.type, code="visit_changed", detail="It moved."
    )
    await office.hear(refused)
    (decided,) = await office.said("TriggerDecided")
    assert (decided.body["outcome"], decided.body["reason"]) == ("ignored", "past_target")


async def test_a_refused_move_ends_the_decision_with_its_code(office: Office) -> None:
    await office.publish(PAID)
    await office.hear(EXPECTED, paid())
    (move,) = await office.commands()
    refused = deals.CommandRejected(
        request_id=move.body["request_id"], record_key=DEAL, command_type=move.type, code="required_fields_missing", detail="Fill them."
    )
    await office.hear(refused)
    (decided,) = await office.said("TriggerDecided")
    assert (decided.body["outcome"], decided.body["reason"]) == ("ignored", "required_fields_missing")


# ------------------------------------------------------------------------------------------------ facts that come late


async def test_a_payment_before_its_deal_waits_for_it(office: Office) -> None:
    await office.publish(PAID)
    await office.hear(paid())
    (timer,) = await office.commands()
    assert (timer.name, timer.key, timer.body["when"]["offset"]["minutes"]) == ("SetTimer", DEAL, 1)
    await office.hear(EXPECTED)
    assert [m.name for m in await office.said()] == ["CancelTimer", "MoveToStage"]


async def test_a_deal_that_came_unseen_is_found_when_the_timer_rings(office: Office) -> None:
    """Two transactions that do not see each other: the deal is there, the decision still waits."""
    await office.publish(PAID)
    await office.hear(paid())
    (look,) = await office.commands()
    await office.house.rows("update decisions_v1 set waiting_for = null returning id")
    await office.hear(EXPECTED)
    assert await office.said() == []
    await office.hear(fired(look.body["timer_id"]))
    assert [m.name for m in await office.said()] == ["MoveToStage"]


async def test_a_payment_without_its_deal_is_given_up_after_a_day(office: Office) -> None:
    await office.publish(PAID)
    await office.hear(paid())
    (look,) = await office.commands()
    office.house.now += timedelta(minutes=1)
    await office.hear(fired(look.body["timer_id"]))
    (last,) = await office.commands()
    assert (last.body["when"]["offset"]["hours"], last.body["when"]["anchor_instant"]) == (24, "2026-03-02T08:00:00.000Z")
    await office.hear(fired(last.body["timer_id"]))
    (decided,) = await office.said()
    assert (decided.body["outcome"], decided.body["reason"]) == ("unresolved", "waiting_for_element")


async def test_an_unresolved_decision_may_be_judged_by_a_person(office: Office) -> None:
    await office.publish(PAID)
    await office.hear(paid())
    for _ in range(2):
        (timer,) = await office.said("SetTimer")
        await office.hear(fired(timer.body["timer_id"]))
    (shown,) = await decisions(office, outcome="unresolved")
    early = await office.http.post(f"/v1/trigger-decisions/{shown['id']}/judgements", json={})
    assert (early.status_code, early.json()["code"]) == (409, "not_yet")
    await office.hear(EXPECTED)
    done = await office.http.post(f"/v1/trigger-decisions/{shown['id']}/judgements", json={})
    assert (done.status_code, done.json()["status"]) == (200, "moving")
    again = await office.http.post(f"/v1/trigger-decisions/{shown['id']}/judgements", json={})
    assert (again.status_code, again.json()["code"]) == (409, "not_unresolved")


def linked(invoice: str = "I") -> billing.InvoiceLinked:
    id = id_of(f"invoice/{invoice}")
    total = common.Money(amount="100.00", currency="EUR")
    return billing.InvoiceLinked(
        origin=origin(), record_key=id, invoice_id=id, deal_id=DEAL, status="paid", epoch=1, total=total, paid_at=at(NOW)
    )


@pytest.mark.parametrize("size", [1, 500])
async def test_a_payment_before_the_link_moves_the_deal_once_it_is_linked(office: Office, size: int) -> None:
    await office.publish(PAID)
    await office.hear(EXPECTED, paid(deal=None), linked(), size=size)
    assert [m.name for m in await office.said()] == ["SetTimer", "CancelTimer", "MoveToStage"]


async def test_linked_before_its_deal_is_known_waits_on(office: Office) -> None:
    await office.publish(PAID)
    await office.hear(paid(deal=None), linked())
    await office.hear(EXPECTED)
    assert [m.name for m in await office.said("MoveToStage")] == ["MoveToStage"]


async def test_linked_too_late_fires_nothing(office: Office) -> None:
    await office.publish(PAID)
    await office.hear(EXPECTED, paid(deal=None))
    (timer,) = await office.commands()
    await office.hear(fired(timer.body["timer_id"]))
    (decided,) = await office.said()
    assert (decided.body["outcome"], decided.body["element"]) == ("unresolved", None)
    await office.hear(linked())
    assert await office.commands() == []


# ------------------------------------------------------------------------------------------------ parts of an amount, refunds, codes


def part(before: str, held: str, payment: str) -> billing.InvoicePartiallyPaid:
    def money(amount: str) -> common.Money:
        return common.Money(amount=amount, currency="EUR")

    return billing.InvoicePartiallyPaid(
        origin=origin(kind="system", id=None),
        record_key=DEAL,
        invoice_id=id_of("invoice/I"),
        deal_id=DEAL,
        number="RE-2026-0001",
        total=money("100.00"),
        held_before=money(before),
        held=money(held),
        amount_due=money("0.00"),
        payment_id=id_of(payment),
    )


@pytest.mark.parametrize("threshold", ['"30%"', '{ amount: "25.00", currency: EUR }'])
async def test_a_threshold_fires_on_the_payment_that_crosses_it(office: Office, threshold: str) -> None:
    await office.publish(trigger(settings=f"{{ threshold: {threshold} }}"))
    await office.hear(EXPECTED, part("0.00", "20.00", "p1"))
    assert [m.name for m in await office.said()] == ["TriggerDecided"]
    await office.hear(part("20.00", "40.00", "p2"))
    assert [m.name for m in await office.said()] == ["MoveToStage"]
    paid_up = common.Money(amount="40.00", currency="EUR")
    await office.hear(paid(held_before=paid_up))
    assert [m.name for m in await office.said()] == ["TriggerDecided"]


async def test_without_a_threshold_a_part_payment_is_no_decision(office: Office) -> None:
    await office.publish(PAID)
    await office.hear(EXPECTED, part("0.00", "20.00", "p1"))
    assert await office.said() == [] and await decisions(office) == []


BACK = """
stage: sales/payment-expected
triggers: [{ id: back, type: invoice_refunded, allow_back: true }]
"""


def back(contract: Any = billing.InvoiceRefunded, **own: Any) -> Any:
    known: dict[str, Any] = {"record_key": DEAL, "invoice_id": id_of("invoice/I"), "deal_id": DEAL, "epoch": 1}
    hundred = common.Money(amount="100.00", currency="EUR")
    amount = {"refunded": hundred} if contract is billing.InvoiceRefunded else {"amount_due": hundred, "reason": "reversed"}
    return contract(**{"origin": origin(kind="system", id=None), **known, **amount, **own})


async def test_a_refund_may_move_the_deal_back(office: Office) -> None:
    await office.publish(BACK)
    await office.hear(created("sales/collect-goods"), back())
    (move,) = await office.commands()
    assert move.body["stage_id"] == stage("sales/payment-expected")


async def test_money_taken_back_counts_as_a_refund_and_money_to_be_paid_again_does_not(office: Office) -> None:
    await office.publish(BACK)
    await office.hear(created("sales/collect-goods"), back(billing.InvoiceReopened, reason="to_be_paid_again"))
    assert (await office.commands(), await decisions(office)) == ([], [])
    await office.hear(back(billing.InvoiceReopened, epoch=2))
    assert (len(await office.commands()), len(await decisions(office))) == (1, 1)


async def test_a_refund_is_told_with_its_invoice_and_the_others_that_are_owed(office: Office) -> None:
    """What a condition reads of it, and the scope `all_open` (D30)."""
    settings = "settings: { scope: all_open }, condition: { field: event.number, op: eq, value: RE-2026-0001 }"
    await office.publish(BACK.replace("allow_back", f"{settings}, allow_back"))
    invoices = [made(name) for name in ("I", "J")]
    await office.hear(created("sales/collect-goods"), *invoices, issued("I", "RE-2026-0001"), issued("J", "RE-2026-0002"))
    await office.hear(back())
    (decided,) = await office.said()
    assert decided.body["reason"] == "not_in_scope"
    await office.hear(
        billing.InvoiceCancelled(origin=origin(), record_key=DEAL, invoice_id=id_of("invoice/J"), deal_id=DEAL), back(epoch=2)
    )
    assert [m.name for m in await office.said()] == ["MoveToStage"]


def made(name: str) -> billing.InvoiceCreated:
    about: dict[str, Any] = {"title": "Roof", "total": common.Money(amount="100.00", currency="EUR"), "status": "draft", "other_open": ()}
    return billing.InvoiceCreated(origin=origin(), record_key=DEAL, invoice_id=id_of(f"invoice/{name}"), deal_id=DEAL, **about)


def issued(name: str, number: str) -> billing.InvoiceIssued:
    about: dict[str, Any] = {"number": number, "total": common.Money(amount="100.00", currency="EUR"), "issue_date": "2026-03-02"}
    return billing.InvoiceIssued(origin=origin(), record_key=DEAL, invoice_id=id_of(f"invoice/{name}"), deal_id=DEAL, **about)


async def test_a_signed_document_moves_its_deal(office: Office) -> None:
    await office.publish("""
stage: sales/approval
triggers: [{ id: signed, type: sign_document_signed, condition: { field: event.title, op: contains, value: contract } }]
""")

    def signed(title: str) -> billing.SignDocumentSigned:
        id = id_of(title)
        about: dict[str, Any] = {
            "sign_document_id": id,
            "deal_id": DEAL,
            "title": title,
            "status": "signed",
            "signer": "Petra",
            "at": at(NOW),
        }
        return billing.SignDocumentSigned(origin=origin(), record_key=DEAL, **about)

    await office.hear(EXPECTED, signed("Leaflet"))
    assert (await decisions(office))[0]["reason"] == "condition_false"
    await office.said()
    await office.hear(signed("The contract"))
    (move,) = await office.commands()
    assert move.body["stage_id"] == stage("sales/approval")


def completed(by: str, element: str | None = DEAL) -> scheduler.ActivityCompleted:
    about = None if element is None else common.ElementRef(element_type="deal", element_id=element)
    told: dict[str, Any] = {"completed_at": at(NOW), "calendar_entry": "kept", "uid": "u", "ical_sequence": 0, "invitee_ids": ()}
    return scheduler.ActivityCompleted(
        origin=origin(), activity_id=id_of("activity"), element=about, by=by, name="Call", responsible_id=ANNA, **told
    )


async def test_an_activity_that_a_person_completed_moves_its_element(office: Office) -> None:
    condition = "all: [{ field: event.name, op: eq, value: Call }, { field: event.responsible_id, op: eq, value: 'user:42' }]"
    text = f"stage: sales/delivery\ntriggers: [{{ id: called, type: activity_completed, condition: {{ {condition} }}"
    await office.publish(f"{text} }}]")
    await office.hear(EXPECTED, completed("automation"), completed("person", element=None))
    assert await decisions(office) == []
    await office.hear(completed("person"))
    assert (len(await office.commands()), len(await decisions(office))) == (1, 1)
    await office.publish(f"{text}, settings: {{ also_automatic: true }} }}]")
    await office.hear(completed("automation"))
    assert (len(await office.commands()), len(await decisions(office))) == (1, 2)


async def test_what_no_trigger_of_the_pipeline_listens_to_is_no_decision(office: Office) -> None:
    await office.publish(PAID)
    await office.hear(EXPECTED, completed("person"), back())
    assert await decisions(office) == []


async def test_another_program_calls_a_trigger_by_its_code(office: Office) -> None:
    await office.publish("""
stage: sales/delivery
triggers:
  - { id: shop, type: webhook, settings: { code: shipped }, condition: { field: event.parcels, op: eq, value: "2" } }
""")
    await office.hear(EXPECTED)

    def call(code: str, name: str) -> automation.CallTrigger:
        element = common.GivenElement(element_type="deal", element_id=DEAL)
        return automation.CallTrigger(request_id=id_of(name), code=code, element=element, payload={"parcels": "2"})

    await office.hear(call("unknown", "first"))
    (refused,) = await office.said()
    assert (refused.name, refused.body["code"]) == ("CommandRejected", "not_found")
    await office.hear(call("shipped", "second"))
    (move,) = await office.said()
    assert move.body["stage_id"] == stage("sales/delivery")
    await office.hear(moved("sales/delivery", 2, before="sales/payment-expected", decision_id=move.body["decision_id"]))
    (decided,) = await office.said()
    assert decided.body["request_id"] == id_of("second")


# ------------------------------------------------------------------------------------------------ in whose name (D20)


async def test_a_responsible_person_who_left_is_flagged(office: Office) -> None:
    await office.publish(trigger(fallback_user="user:7"))
    gone = deals.EmployeeDeactivated(origin=origin(), employee_id=ANNA)
    await office.hear(EXPECTED, gone, paid())
    rows = await office.house.rows("select headers from outbox")
    assert f"user:{BEN}".encode() in rows[-1]["headers"]
    (move,) = await office.commands()
    assert move.body["origin"]["acting_fallback"] is True


async def test_a_second_invoice_paid_moves_nothing_and_begins_no_stay(office: Office) -> None:
    """D14b: the deal stands where the first payment brought it."""
    await office.publish(PAID)
    await office.hear(EXPECTED, paid())
    (move,) = await office.commands()
    await office.hear(moved("sales/collect-goods", 2, before="sales/payment-expected", decision_id=move.body["decision_id"]))
    await office.said()
    await office.hear(paid("J"))
    (decided,) = await office.said()
    assert (decided.name, decided.body["outcome"], decided.body["reason"]) == ("TriggerDecided", "ignored", "already_there")


async def test_two_invoices_paid_at_once_are_judged_one_after_the_other(office: Office) -> None:
    """D18: both rest on the first stay; deals refuses the second move, and that decision is judged again on the second stay."""
    await office.publish(PAID)
    await office.hear(EXPECTED, paid(), paid("J"))
    first, second = await office.commands()
    assert first.body["if_visit_id"] == second.body["if_visit_id"] == visit(1)
    after = moved("sales/collect-goods", 2, before="sales/payment-expected", decision_id=first.body["decision_id"])
    refused = deals.CommandRejected(
        request_id=second.body["request_id"], record_key=DEAL, command_type=second.type, code="visit_changed", detail="It moved."
    )
    await office.hear(after, refused)
    told = {m.body["decision_id"]: (m.body["outcome"], m.body.get("reason")) for m in await office.said("TriggerDecided")}
    assert told == {first.body["decision_id"]: ("moved", None), second.body["decision_id"]: ("ignored", "already_there")}


async def test_the_order_of_the_stages_counts_as_it_is_when_it_is_judged(office: Office) -> None:
    """D61: the target has come to lie behind; the decision keeps the version of the order that it looked at."""
    await office.publish(PAID)
    turned = [
        s.model_copy(update={"position": {"payment-expected": 3, "collect-goods": 2}.get(s.code, s.position)}) for s in stages("sales")
    ]
    in_order = tuple(sorted(turned, key=lambda s: s.position))
    reordered = deals.StagesChanged(origin=origin(), pipeline_id=id_of("sales"), order_version=2, stages=in_order, change="reordered")
    await office.hear(EXPECTED, reordered, paid())
    (shown,) = await decisions(office)
    assert (shown["reason"], shown["order_version"]) == ("past_target", 2)


async def test_a_trigger_in_its_own_chain_does_not_act(office: Office) -> None:
    await office.publish(PAID)
    (listed,) = (await office.http.get("/v1/triggers")).json()["items"]
    await office.hear(EXPECTED, paid(origin=origin(kind="system", id=None, chain=(listed["id"],))))
    (decided,) = await office.said()
    assert decided.body["verdicts"][0]["verdict"] == "loop"


async def test_a_disabled_trigger_is_no_candidate(office: Office) -> None:
    await office.publish(PAID)
    (listed,) = (await office.http.get("/v1/triggers")).json()["items"]
    assert (await office.http.post(f"/v1/triggers/{listed['id']}/disablements", json={})).status_code == 200
    await office.hear(EXPECTED, paid())
    assert (await decisions(office))[0]["reason"] == "no_candidate"
    assert (await office.http.post(f"/v1/triggers/{listed['id']}/enablements", json={})).status_code == 200
    await office.hear(paid("J"))
    assert len(await office.said("MoveToStage")) == 1


async def test_an_employee_who_is_not_known_yet_counts_as_there(office: Office) -> None:
    await office.publish(PAID)
    await office.hear(created("sales/payment-expected", responsible_id=id_of("nobody yet")), employee(OLAF, "Olaf", code="1"), paid())
    rows = await office.house.rows("select headers from outbox")
    assert f"user:{id_of('nobody yet')}".encode() in rows[-1]["headers"]
