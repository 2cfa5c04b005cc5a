"""The twelve payment orders and the further cases (scenarios.md 2), each plain and under the three disturbances.

Seen from outside: money comes in as the provider's signed events, what follows is read over HTTP and from the topics."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from shared.testing.world import World
from tests.scenarios.conftest import DISTURBANCES
from tests.scenarios.ground import TILES, Ground
from tests.scenarios.one_process import OneProcess
from tests.scenarios.side_by_side import Outcome, Scenario, Seat, in_the_end, side_by_side

TRIGGER = "stage: sales/collect-goods\ntriggers: [{{ id: paid, type: invoice_paid, name: Invoice paid{own} }}]"
HALF = {"name": "Ridge tiles", "quantity": "1", "unit_price": "50.00", "tax_rate": "19"}
PAID, MOVED = "billing.InvoicePaid", "deals.StageChanged"


# ---------------------------------------------------------------------------------------------------------------- given


async def given(g: Ground, own: str = ", allow_back: false", *, stage: str = "payment-expected") -> str:
    """The trigger, D in its stage (visit 2) and the invoice I of 100.00 EUR. Answers I."""
    await g.apply(TRIGGER.format(own=own))
    await g.move(stage)
    return await g.invoice()


async def of_lines(g: Ground, *lines: dict[str, str], deal: bool = True) -> str:
    """An issued invoice of Petra's with rows of its own, linked to D or to no deal."""
    whose = {"customer": {"contact_id": g.cast["petra"], "company_id": g.cast["muster"]}, "responsible_id": g.cast["anna"]}
    what = {"title": "Roof 2026", "lines": lines, "currency": "EUR", "issue": True, "deal_id": g.cast["D"] if deal else None}
    made = await g.put("billing", "/v1/invoices", whose | what)
    await g.settle()
    return str(made["id"])


async def reported_at_once(g: Ground, *reports: tuple[str, str, str]) -> None:
    """Payments of invoices, before anything follows from any of them."""
    for invoice, payment, amount in reports:
        answer = await g.report("payment.succeeded", payment, amount, invoice_id=invoice)
        assert answer.status_code == 200, answer.text


async def refund(g: Ground, amount: str, *, again: bool = False, payment: str = "p1") -> None:
    """Asked for over HTTP, done by the provider; whose sender dies in between is asked again when its claim is over."""
    id = (await payment_of(g, payment))["id"]
    body = {"amount": amount, "to_be_paid_again": again, "reason": "goodwill"}
    answer = await g.ask("billing", f"/v1/payments/{id}/refunds", body)
    assert answer.status_code == 202, answer.text
    await g.settle()
    await in_the_end(g, lambda: _given_back(g, payment))


async def _given_back(g: Ground, payment: str) -> bool:
    refunds = (await payment_of(g, payment))["refunds"]
    return bool(refunds) and all(refund["state"] == "done" for refund in refunds)


def world_of(g: Ground) -> World:
    assert isinstance(g.place, Seat)
    return g.place.hall.world


# ----------------------------------------------------------------------------------------------------------------- then


async def facts(g: Ground, name: str, about: str = "") -> list[dict[str, Any]]:
    """Bodies of what was said, each event once however often it was delivered, in the order of their streams."""
    found = {said.id: said.body for said in await g.said(name, about=about)}
    return list(found.values())


async def moves(g: Ground) -> list[dict[str, Any]]:
    return [body for body in await facts(g, MOVED, g.cast["D"]) if body["reason"] == "trigger"]


async def paid(g: Ground, invoice: str = "") -> list[int]:
    """The epochs for which InvoicePaid was said."""
    return [body["epoch"] for body in await facts(g, PAID, invoice)]


async def shown(g: Ground, invoice: str) -> tuple[str, str, int]:
    """Status, what is due, epoch."""
    i = await g.look("billing", f"/v1/invoices/{invoice}")
    return i["status"], i["amount_due"]["amount"], i["epoch"]


async def payment_of(g: Ground, name: str) -> Any:
    [row] = [row for row in await g.items("billing", "/v1/payments") if row["provider_payment_id"].startswith(f"{name}_")]
    return await g.look("billing", f"/v1/payments/{row['id']}")


async def money(g: Ground, *names: str) -> list[tuple[str, str]]:
    """Status and credit of payments."""
    found = [await payment_of(g, name) for name in names]
    return [(payment["status"], payment["credit"]["amount"]) for payment in found]


async def decided(g: Ground) -> list[str]:
    """What became of D's decisions, in alphabetical order; what was published of them is the same."""
    found = sorted(_said(d["outcome"], d["reason"]) for d in await g.decisions())
    said = [_said(body["outcome"], body["reason"]) for body in await facts(g, "automation.TriggerDecided", g.cast["D"])]
    assert sorted(said) == found, (said, found)
    return found


def _said(outcome: str, reason: str | None) -> str:
    return f"{outcome}({reason})" if reason else outcome


async def told(g: Ground, person: str, topic: str) -> list[tuple[bool, int]]:
    """The notices of a person about D on a topic: whether urgent, and how many things each tells of."""
    return [(n["urgent"], n["count"]) for n in await g.feed(person) if n["topic"] == topic and n["element_id"] == g.cast["D"]]


async def stands(g: Ground, stage: str, visit: int) -> None:
    deal = await g.show()
    assert (await g.stage(), deal["visit_number"]) == (f"sales/{stage}", visit)


# ------------------------------------------------------------------------------------------------------ the twelve orders


async def order_1_paid_in_full(g: Ground) -> None:
    i = await given(g)
    await g.pay(i)

    [body] = await facts(g, PAID)
    assert (body["epoch"], body["held_before"]["amount"], body["deal_id"]) == (1, "0.00", g.cast["D"])
    assert len(await moves(g)) == 1
    assert await shown(g, i) == ("paid", "0.00", 1)
    assert await money(g, "p1") == [("allocated", "0.00")]
    assert await decided(g) == ["moved"]
    await stands(g, "collect-goods", 3)
    assert {said.actor for said in await g.said(MOVED) if said.body["reason"] == "trigger"} == {f"user:{g.cast['anna']}"}
    assert await told(g, "anna", "payment") == [(False, 1)]


async def order_2_delivered_three_times(g: Ground) -> None:
    i = await given(g)
    for _ in range(3):
        answer = await g.report("payment.succeeded", "p1", "100.00", invoice_id=i)
        assert answer.status_code == 200, answer.text
        await g.settle()

    assert (await paid(g), len(await moves(g))) == ([1], 1)
    assert await shown(g, i) == ("paid", "0.00", 1)
    assert len(await facts(g, "billing.PaymentReceived")) == 1
    assert await decided(g) == ["moved"]
    assert await told(g, "anna", "payment") == [(False, 1)]


async def order_3_two_parts(g: Ground) -> None:
    i = await given(g)
    await g.pay(i, "40.00", payment="p1")
    assert await shown(g, i) == ("partially_paid", "60.00", 0)
    [part] = await facts(g, "billing.InvoicePartiallyPaid")
    assert part["held"]["amount"] == "40.00"
    assert (await decided(g), await moves(g)) == ([], [])

    await g.pay(i, "60.00", payment="p2")
    assert await shown(g, i) == ("paid", "0.00", 1)
    [body] = await facts(g, PAID)
    assert body["payment_ids"] == [(await payment_of(g, name))["id"] for name in ("p1", "p2")]
    assert (await decided(g), len(await moves(g))) == (["moved"], 1)
    assert await money(g, "p1", "p2") == [("allocated", "0.00")] * 2


async def order_4_the_later_part_first(g: Ground) -> None:
    i = await given(g)
    await g.pay(i, "60.00", payment="p2")
    assert await shown(g, i) == ("partially_paid", "40.00", 0)

    await g.pay(i, "40.00", payment="p1", at=g.now - timedelta(hours=1))
    assert await shown(g, i) == ("paid", "0.00", 1)
    [body] = await facts(g, PAID)
    assert body["payment_ids"] == [(await payment_of(g, name))["id"] for name in ("p2", "p1")]
    assert await money(g, "p1", "p2") == [("allocated", "0.00")] * 2
    assert (await decided(g), len(await moves(g))) == (["moved"], 1)


async def order_5_paid_twice(g: Ground) -> None:
    i = await given(g)
    await g.pay(i, payment="p1")
    await g.pay(i, payment="p2")

    assert (await paid(g), len(await moves(g))) == ([1], 1)
    assert await shown(g, i) == ("paid", "0.00", 1)
    assert await money(g, "p1", "p2") == [("allocated", "0.00"), ("unallocated", "100.00")]
    [over] = await facts(g, "billing.OverpaymentRecorded")
    assert (over["amount"]["amount"], over["invoice_id"]) == ("100.00", i)
    [credit] = (await g.look("billing", "/v1/customer-credits"))["items"]
    assert (credit["customer"]["contact_id"], credit["credit"]["amount"]) == (g.cast["petra"], "100.00")
    assert await decided(g) == ["moved"]
    assert await told(g, "finn", "money_problem") == [(False, 1)]


async def order_6_paid_too_much(g: Ground) -> None:
    i = await given(g)
    await g.pay(i, "150.00")

    assert (await paid(g), len(await moves(g))) == ([1], 1)
    assert await shown(g, i) == ("paid", "0.00", 1)
    assert await money(g, "p1") == [("partly_allocated", "50.00")]
    [allocation] = (await payment_of(g, "p1"))["allocations"]
    assert allocation["amount"]["amount"] == "100.00"
    assert await told(g, "finn", "money_problem") == [(False, 1)]
    assert await decided(g) == ["moved"]


async def order_7_full_refund(g: Ground) -> None:
    i = await given(g)
    await g.pay(i)
    await refund(g, "100.00")

    assert (await paid(g), len(await moves(g))) == ([1], 1)
    assert await shown(g, i) == ("refunded", "100.00", 1)
    payment = await payment_of(g, "p1")
    assert (payment["status"], payment["kept"]["amount"]) == ("refunded", "0.00")
    [back] = await facts(g, "billing.InvoiceRefunded")
    assert (back["epoch"], back["refunded"]["amount"]) == (1, "100.00")
    await stands(g, "collect-goods", 3)
    assert await told(g, "anna", "money_problem") == [(True, 1)]
    assert await told(g, "finn", "money_problem") == [(True, 1)]


async def order_8a_refunded_and_paid_again(g: Ground) -> None:
    i = await given(g)
    await g.pay(i)
    await refund(g, "100.00")
    await g.pay(i, payment="p2")

    assert (await paid(g), len(await moves(g))) == ([1, 2], 1)
    assert await shown(g, i) == ("paid", "0.00", 2)
    assert await money(g, "p2") == [("allocated", "0.00")]
    assert await decided(g) == ["ignored(already_there)", "moved"]


async def order_8b_moved_back_and_paid_again(g: Ground) -> None:
    i = await given(g)
    await g.pay(i)
    await refund(g, "100.00")
    await g.move("payment-expected")
    await stands(g, "payment-expected", 4)
    await g.pay(i, payment="p2")

    assert (await paid(g), len(await moves(g))) == ([1, 2], 2)
    assert await shown(g, i) == ("paid", "0.00", 2)
    assert await money(g, "p2") == [("allocated", "0.00")]
    assert await decided(g) == ["moved", "moved"]
    await stands(g, "collect-goods", 5)


async def order_9_partial_refund(g: Ground) -> None:
    i = await given(g)
    await g.pay(i)
    await refund(g, "30.00")

    assert (await paid(g), len(await moves(g))) == ([1], 1)
    assert await shown(g, i) == ("paid", "0.00", 1)
    assert (await g.look("billing", f"/v1/invoices/{i}"))["refunded"]["amount"] == "30.00"
    assert (await payment_of(g, "p1"))["status"] == "partly_refunded"
    assert [await facts(g, f"billing.Invoice{what}") for what in ("Refunded", "Reopened")] == [[], []]


async def order_10_two_invoices(g: Ground) -> None:
    i = await given(g)
    j = await of_lines(g, HALF)
    await g.pay(i, payment="p1")
    await g.advance(timedelta(seconds=10))
    await g.pay(j, "50.00", payment="p2")

    assert [await paid(g, invoice) for invoice in (i, j)] == [[1], [1]]
    assert len(await moves(g)) == 1
    assert [await shown(g, invoice) for invoice in (i, j)] == [("paid", "0.00", 1)] * 2
    assert await money(g, "p1", "p2") == [("allocated", "0.00")] * 2
    assert await decided(g) == ["ignored(already_there)", "moved"]
    assert await told(g, "anna", "payment") == [(False, 2)]
    [notice] = [n for n in await g.feed("anna") if n["topic"] == "payment"]
    numbers = [(await g.look("billing", f"/v1/invoices/{invoice}"))["number"] for invoice in (i, j)]
    assert all(number in notice["body_text"] for number in numbers), notice


async def order_10_moved_on_in_between(g: Ground) -> None:
    i = await given(g)
    j = await of_lines(g, HALF)
    await g.pay(i, payment="p1")
    await g.move("delivery")
    await g.pay(j, "50.00", payment="p2")

    assert [await paid(g, invoice) for invoice in (i, j)] == [[1], [1]]
    assert (await decided(g), len(await moves(g))) == (["ignored(past_target)", "moved"], 1)
    await stands(g, "delivery", 4)


async def order_11_money_for_a_cancelled_invoice(g: Ground) -> None:
    i = await given(g)
    await g.put("billing", f"/v1/invoices/{i}/cancellations", {"reason": "a mistake"})
    await g.settle()
    await g.pay(i)

    assert (await paid(g), await moves(g)) == ([], [])
    assert (await shown(g, i))[0] == "cancelled"
    assert len(await facts(g, "billing.CreditNoteIssued")) == 1
    [lost] = await facts(g, "billing.PaymentUnallocated")
    assert (lost["reason"], lost["amount"]["amount"]) == ("target_cancelled", "100.00")
    assert await money(g, "p1") == [("unallocated", "100.00")]
    assert await told(g, "finn", "money_problem") == [(False, 1)]
    assert await decided(g) == []


async def order_12_another_currency(g: Ground) -> None:
    i = await given(g)
    await g.pay(i, currency="USD")

    assert (await paid(g), await moves(g)) == ([], [])
    assert await shown(g, i) == ("issued", "100.00", 0)
    [lost] = await facts(g, "billing.PaymentUnallocated")
    assert (lost["reason"], lost["amount"]) == ("currency_differs", {"amount": "100.00", "currency": "USD"})
    assert await told(g, "finn", "money_problem") == [(False, 1)]
    assert await decided(g) == []


# --------------------------------------------------------------------------------------------------------- further cases


async def same_millisecond(g: Ground) -> None:
    """D18: both events lie on the topic before either move is heard."""
    i = await given(g)
    j = await of_lines(g, HALF)
    world = world_of(g)
    world.hold("deals", "deals.commands", g.cast["D"])
    await reported_at_once(g, (i, "p1", "100.00"), (j, "p2", "50.00"))
    await g.settle()
    assert len(await facts(g, "deals.MoveToStage")) == 2
    world.release("deals", "deals.commands", g.cast["D"])
    await g.settle()

    assert (await paid(g), len(await moves(g))) == ([1, 1], 1)
    assert await decided(g) == ["ignored(already_there)", "moved"]
    [no] = await facts(g, "deals.CommandRejected")
    assert no["code"] == "visit_changed"
    await stands(g, "collect-goods", 3)


async def _unlinked(g: Ground) -> str:
    """An invoice without a deal, paid."""
    await g.apply(TRIGGER.format(own=""))
    await g.move("payment-expected")
    invoice = await of_lines(g, TILES, deal=False)
    await g.pay(invoice)
    [waits] = await g.items("automation", "/v1/trigger-decisions")
    assert (waits["waiting_for"], waits["outcome"]) == ("link", None)
    return invoice


async def link(g: Ground, invoice: str) -> None:
    await g.put("billing", f"/v1/invoices/{invoice}/deal-links", {"deal_id": g.cast["D"]})
    await g.settle()


async def paid_before_the_link(g: Ground) -> None:
    """D19, F7."""
    i = await _unlinked(g)
    await g.advance(timedelta(hours=1))
    await link(g, i)

    assert (await paid(g), len(await moves(g))) == ([1], 1)
    assert await decided(g) == ["moved"]
    await stands(g, "collect-goods", 3)


async def linked_after_25_hours(g: Ground) -> None:
    """D19, D33: too late fires nothing; who is responsible is told, and may have it judged after all."""
    i = await _unlinked(g)
    await g.advance(timedelta(hours=25))
    await link(g, i)

    [decision] = await g.items("automation", "/v1/trigger-decisions")
    assert (decision["outcome"], decision["reason"]) == ("unresolved", "waiting_for_link")
    assert [notice["topic"] for notice in await g.feed("anna") if notice["topic"] == "decision"] == ["decision"]
    assert await moves(g) == []
    await stands(g, "payment-expected", 2)

    await g.put("automation", f"/v1/trigger-decisions/{decision['id']}/judgements", {})
    await g.settle()
    await stands(g, "collect-goods", 3)


async def event_before_the_element(g: Ground) -> None:
    """D19: automation hears of the payment before it hears of the deal; nothing is parked."""
    await g.apply(TRIGGER.format(own=""))
    world, deal = world_of(g), f"5c1e0000-0000-4000-8000-{g.tenant[-12:]}"
    world.hold("automation", "deals.events", deal)
    g.cast["D"] = await g.deal(stage="sales/payment-expected", id=deal)
    await g.settle()
    i = await g.invoice(deal)
    await g.pay(i)
    [waits] = await g.items("automation", "/v1/trigger-decisions")
    assert (waits["waiting_for"], waits["outcome"], await g.parked()) == ("element", None, [])
    world.release("automation", "deals.events", deal)
    await g.settle()

    assert (await paid(g), len(await moves(g))) == ([1], 1)
    assert (await decided(g), await g.parked()) == (["moved"], [])
    await stands(g, "collect-goods", 2)


async def event_before_the_element_anywhere(g: Ground) -> None:
    """D19: no service but its owner knows the deal when its invoice is made and paid."""
    await g.apply(TRIGGER.format(own=""))
    world, deal = world_of(g), f"5c1e0003-0000-4000-8000-{g.tenant[-12:]}"
    others = ("automation", "billing", "scheduler", "notifications")
    for service in others:
        world.hold(service, "deals.events", deal)
    g.cast["D"] = await g.deal(stage="sales/payment-expected", id=deal)
    await g.settle()
    i = await of_lines(g, TILES)
    await g.pay(i)
    assert (await paid(g), await moves(g), await g.parked()) == ([1], [], [])
    for service in others:
        world.release(service, "deals.events", deal)
    await g.settle()

    assert (len(await moves(g)), await decided(g), await g.parked()) == (1, ["moved"], [])
    assert await told(g, "anna", "payment") == [(False, 1)]
    await stands(g, "collect-goods", 2)


async def threshold(g: Ground) -> None:
    """D25: it acts on the payment that reaches 30 %."""
    i = await given(g, ', settings: { threshold: "30%" }')
    await g.pay(i, "20.00", payment="p1")
    assert await moves(g) == []
    await g.pay(i, "20.00", payment="p2")
    [move] = await moves(g)
    [source] = [d["source_event_id"] for d in await g.decisions() if d["outcome"] == "moved"]
    parts = {said.id: said.body for said in await g.said("billing.InvoicePartiallyPaid")}
    assert (parts[source]["held_before"]["amount"], parts[source]["held"]["amount"]) == ("20.00", "40.00")
    await g.pay(i, "60.00", payment="p3")

    assert await moves(g) == [move]
    assert await paid(g) == [1]


async def final_stage(g: Ground) -> None:
    """D15."""
    i = await given(g, stage="lost")
    await g.pay(i)

    assert (await paid(g), await decided(g)) == ([1], ["ignored(final_stage)"])
    assert await told(g, "anna", "decision") == [(False, 1)]
    await stands(g, "lost", 2)


async def final_stage_left_where_allowed(g: Ground) -> None:
    """D15."""
    i = await given(g, ", allow_back: true, allow_reopen: true", stage="lost")
    await g.pay(i)

    assert (await paid(g), await decided(g)) == ([1], ["moved"])
    await stands(g, "collect-goods", 3)


async def charge_back(g: Ground) -> None:
    """D29."""
    i = await given(g)
    await g.pay(i)
    answer = await g.report("payment.reversed", "p1", "100.00", invoice_id=i)
    assert answer.status_code == 200, answer.text
    await g.settle()

    [reopened] = await facts(g, "billing.InvoiceReopened")
    assert (reopened["reason"], reopened["epoch"]) == ("reversed", 1)
    assert await shown(g, i) == ("issued", "100.00", 1)
    await stands(g, "collect-goods", 3)
    assert [urgent for urgent, _ in await told(g, "anna", "money_problem")] == [True]
    assert [urgent for urgent, _ in await told(g, "finn", "money_problem")] == [True]


async def to_be_paid_again(g: Ground) -> None:
    """D27."""
    i = await given(g)
    await g.pay(i)
    await refund(g, "30.00", again=True)
    assert await shown(g, i) == ("partially_paid", "30.00", 1)
    await g.pay(i, "30.00", payment="p2")

    assert (await paid(g), len(await moves(g))) == ([1, 2], 1)
    assert await shown(g, i) == ("paid", "0.00", 2)


async def acting_user_gone(g: Ground) -> None:
    """D20: nobody stands in, so it is the system."""
    i = await given(g)
    await g.put("deals", f"/v1/employees/{g.cast['anna']}/deactivations", by="olaf")
    await g.settle()
    await g.pay(i)

    await _moved_in_the_name_of(g, "system")


async def acting_user_gone_with_an_automation_user(g: Ground) -> None:
    """D20: the pipeline's automation user stands in."""
    i = await given(g)
    await g.change("deals", f"/v1/pipelines/{g.cast['sales']}", {"automation_user_id": g.cast["ben"]}, by="olaf")
    await g.put("deals", f"/v1/employees/{g.cast['anna']}/deactivations", by="olaf")
    await g.settle()
    await g.pay(i)

    await _moved_in_the_name_of(g, f"user:{g.cast['ben']}")


async def _moved_in_the_name_of(g: Ground, actor: str) -> None:
    assert await decided(g) == ["moved"]
    [body] = await facts(g, "automation.TriggerDecided")
    assert body["acting_fallback"] is True
    assert {said.actor for said in await g.said(MOVED) if said.body["reason"] == "trigger"} == {actor}
    [move] = await moves(g)
    assert move["origin"]["acting_fallback"] is True


# --------------------------------------------------------------------------------------------------------------- playing

ORDERS: tuple[Scenario, ...] = (
    order_1_paid_in_full,
    order_2_delivered_three_times,
    order_3_two_parts,
    order_4_the_later_part_first,
    order_5_paid_twice,
    order_6_paid_too_much,
    order_7_full_refund,
    order_8a_refunded_and_paid_again,
    order_8b_moved_back_and_paid_again,
    order_9_partial_refund,
    order_10_two_invoices,
    order_10_moved_on_in_between,
    order_11_money_for_a_cancelled_invoice,
    order_12_another_currency,
    same_millisecond,
    paid_before_the_link,
    linked_after_25_hours,
    event_before_the_element,
    event_before_the_element_anywhere,
    threshold,
    final_stage,
    final_stage_left_where_allowed,
    charge_back,
    to_be_paid_again,
    acting_user_gone,
    acting_user_gone_with_an_automation_user,
)
PLAYED = {scenario.__name__: scenario for scenario in ORDERS}


@pytest.fixture(scope="module", params=DISTURBANCES)
async def played(place: OneProcess, request: pytest.FixtureRequest) -> Mapping[str, Outcome]:
    return await side_by_side(place, PLAYED, request.param, seed=19)


@pytest.mark.parametrize("order", PLAYED)
async def test_payment_order(played: Mapping[str, Outcome], order: str) -> None:
    outcome = played[order]
    if outcome is not None:
        raise outcome
