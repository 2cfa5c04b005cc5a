"""Track invoice payment (scenarios.md 3.2). Orders of payments stand in test_payment_orders.py."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.ground import Ground
from tests.scenarios.rules import example, one_rule

PACK = one_rule("sales/collect-goods", "pack", "notify", {"to": "responsible", "text": "Pack {{deal.title}}"})


@pytest.mark.shows("S8", "S20", "S30", "S31", "S32", "S33", "S35", "S36", "S38", "S39", "S40", "S41", "S42", "S19")
async def test_only_the_payment_of_its_own_invoice_moves_the_deal(ground: Ground) -> None:
    await ground.apply(example("paid"))
    await ground.apply(PACK)
    await ground.move("payment-expected")
    other = await ground.deal("Other roof")
    await ground.settle()
    foreign = await ground.invoice(other)

    await ground.pay(foreign, payment="p0")
    assert await ground.stage() == "sales/payment-expected"

    invoice = await ground.invoice(deal_id=None, fill_from_deal=False, issue=False, **by_hand(ground))
    await ground.change("billing", f"/v1/invoices/{invoice}", {"title": "The roof"})
    await ground.put("billing", f"/v1/invoices/{invoice}/deal-links", {"deal_id": ground.cast["D"]})
    await ground.put("billing", f"/v1/invoices/{invoice}/issuances")
    await ground.settle()
    await ground.pay(invoice, "40.00", payment="p1")
    assert await ground.stage() == "sales/payment-expected" and await ground.decisions() == []

    await ground.pay(invoice, "60.00", payment="p2")

    assert await ground.stage() == "sales/collect-goods"
    moved = (await ground.said("deals.StageChanged", about=ground.cast["D"]))[-1]
    assert (moved.body["reason"], moved.actor) == ("trigger", f"user:{ground.cast['anna']}")
    decided = await ground.one("automation.TriggerDecided", about=ground.cast["D"])
    assert (decided.body["outcome"], [v["verdict"] for v in decided.body["verdicts"]]) == ("moved", ["won"])
    await _the_timeline_shows_both(ground, invoice)
    await _anna_was_told_and_asked_to_pack(ground)


def by_hand(ground: Ground) -> dict[str, Any]:
    return {"title": "Roof", "customer": {"contact_id": ground.cast["petra"]}, "currency": "EUR", "amount": "100.00"}


async def _the_timeline_shows_both(ground: Ground, invoice: str) -> None:
    number = (await ground.look("billing", f"/v1/invoices/{invoice}"))["number"]
    lines = await ground.timeline()
    assert [line["at"] for line in lines] == sorted((line["at"] for line in lines), reverse=True)
    paid = [line for line in lines if line["what"] == "invoice_paid"]
    assert [number in line["title"] for line in paid] == [True]
    [move] = [line for line in lines if line["kind"] == "stage" and line["facts"]["stage"] == "Collect goods"]
    assert (move["facts"]["reason"], move["origin"]["kind"]) == ("trigger", "trigger")
    assert move["by"] == "Invoice paid" and move["title"].endswith("(Invoice paid)") and move["actor"] == f"user:{ground.cast['anna']}"


async def _anna_was_told_and_asked_to_pack(ground: Ground) -> None:
    """In one moment; which of the two is told first is nobody's promise."""
    feed = [(notice["topic"], notice["body_text"]) for notice in await ground.feed() if notice["element_id"] == ground.cast["D"]]
    assert ("system", "Pack Roof 2026") in feed
    assert [text for topic, text in feed if topic == "payment" and "is paid" in text and "RE-2026-0002" in text] != []


@pytest.mark.shows("S37")
async def test_it_moves_back_only_where_that_is_allowed(ground: Ground) -> None:
    await ground.apply(example("paid"))
    await ground.move("delivery")
    first, second = await ground.invoice(), await ground.invoice()

    await ground.pay(first, payment="p1")
    assert await ground.stage() == "sales/delivery"
    assert [(d["outcome"], d["reason"]) for d in await ground.decisions()] == [("ignored", "past_target")]

    await ground.apply(example("paid", paid={"allow_back": True}))
    await ground.pay(second, payment="p2")
    assert await ground.stage() == "sales/collect-goods"


@pytest.mark.shows("S34")
async def test_a_condition_that_does_not_hold_leaves_the_deal_where_it_is(ground: Ground) -> None:
    await ground.apply(example("paid", paid={"condition": {"field": "event.total", "op": "gt", "value": "500"}}))
    await ground.move("payment-expected")
    invoice = await ground.invoice()

    await ground.pay(invoice)

    assert await ground.stage() == "sales/payment-expected"
    [decision] = await ground.decisions()
    assert (decision["outcome"], decision["reason"]) == ("ignored", "condition_false")
    shown = await ground.look("automation", f"/v1/trigger-decisions/{decision['id']}")
    assert "100.00" in str(shown) and "500" in str(shown)
