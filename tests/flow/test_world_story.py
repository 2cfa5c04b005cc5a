"""The whole story of several deals: however its messages arrive, every deal gets one of everything (C.13)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from shared.testing.stack import Stack
from shared.testing.world import World
from tests.flow.town import Town, a_town

DEALS = 4
ONCE = (
    "billing.CreateInvoice",
    "billing.InvoiceCreated",
    "billing.InvoiceIssued",
    "billing.PaymentLinkCreated",
    "billing.PaymentReceived",
    "billing.InvoicePaid",
    "scheduler.ActivityPlanned",
    "scheduler.ActivityCompleted",
    "deals.DealCopied",
    "deals.LeadCreated",
)


def everything(world: World) -> None:
    world.duplicate(2)
    world.reorder(6)
    world.cut(6)
    world.crash_after(12, seed=6)


DISTURBANCES: dict[str, Callable[[World], None]] = {
    "plain": lambda world: None,
    "three times": lambda world: world.duplicate(3),
    "reordered": lambda world: world.reorder(5),
    "singly": lambda world: world.cut(size=1),
    "crashing": lambda world: world.crash_after(12, seed=5),
    "all at once": everything,
}


@pytest.mark.parametrize("disturbance", DISTURBANCES)
async def test_every_deal_gets_one_of_everything(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, disturbance: str) -> None:
    async with a_town(stack, tmp_path, monkeypatch) as town:
        await town.settle_down()
        DISTURBANCES[disturbance](town.world)
        await _tell_the_story(town)


async def _tell_the_story(town: Town) -> None:
    deals = [await town.sell(number) for number in range(DEALS)]
    for stage in ("additional-services", "payment-expected"):
        for deal in deals:
            await town.move(deal, stage)
        await _come_to_rest(town)
    for deal in deals:
        await town.pay(deal)
    await _come_to_rest(town)
    for stage in ("approval", "won"):
        for deal in deals:
            await town.move(deal, stage)
        await _come_to_rest(town)
    await town.world.tick(timedelta(seconds=6))

    for deal in deals:
        assert await town.history(deal) == ["additional-services", "payment-expected", "collect-goods", "approval", "won"]
        assert len(town.mails(deal)) == 1
        assert town.said_of(deal, *ONCE) == dict.fromkeys(ONCE, 1)
        assert town.said_of(deal, "scheduler.TimerFired", "scheduler.TimerSet") == {"scheduler.TimerFired": 1, "scheduler.TimerSet": 2}
    assert await town.parked() == []


async def _come_to_rest(town: Town) -> None:
    """Where some lag behind others, a command may be heard before what it rests on: it waits, and is tried again by the clock."""
    await town.world.settle()
    for _ in range(5):
        if not await town.parked():
            return
        await town.world.tick(timedelta(seconds=30))


async def test_half_a_year_later_the_renewal_appears(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with a_town(stack, tmp_path, monkeypatch) as town:
        await town.settle_down()
        deal = await town.sell(1)
        await town.move(deal, "won")
        await town.world.tick(timedelta(days=179))
        assert town.said_of(deal, "deals.LeadCreated") == {"deals.LeadCreated": 1}

        await town.world.tick(timedelta(days=2))

        assert town.said_of(deal, "deals.LeadCreated") == {"deals.LeadCreated": 2}
        assert await town.parked() == []
