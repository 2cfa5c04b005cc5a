"""The ground itself: what every scenario takes for granted."""

from __future__ import annotations

from tests.scenarios.ground import Ground


async def test_the_ground_is_as_described(ground: Ground) -> None:
    deal = await ground.show()
    assert (deal["title"], deal["amount"], deal["visit_number"]) == ("Roof 2026", "100.00", 1)
    assert await ground.stage() == "sales/new"
    [details] = await ground.items("deals", "/v1/details", owner_id=ground.cast["petra"])
    assert details["addresses"]["delivery"]["city"] == "Kiel"
    assert (await ground.one("deals.DealCreated")).actor == f"user:{ground.cast['anna']}"
    assert await ground.mails() == []
