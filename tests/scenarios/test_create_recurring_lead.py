"""Create recurring lead: fired on arrival, done half a year later (scenarios.md 3.6)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.scenarios.ground import Ground
from tests.scenarios.one_process import OneProcess
from tests.scenarios.rules import example

WON_AT = "2026-03-05T13:00:00Z"
"""14:00 in Berlin, in winter."""
DUE = datetime(2026, 9, 1, 12, tzinfo=UTC)
"""14:00 in Berlin, in summer."""


async def won(ground: Ground, **own: Any) -> str:
    """A deal that is won at `WON_AT` with the rule `renewal` in force."""
    await ground.apply(example("renewal"))
    await ground.advance(to=WON_AT)
    return await ground.arrive("won", **own)


async def leads(ground: Ground) -> list[Any]:
    return [await ground.look("deals", f"/v1/leads/{lead['id']}") for lead in await ground.items("deals", "/v1/leads")]


@pytest.mark.shows("S8", "S18", "S20", "S74", "S75", "S77", "S78", "S79", "S80", "S81", "S82")
async def test_the_lead_comes_after_180_days_at_the_same_time_of_day(ground: Ground) -> None:
    deal = await won(ground)

    timer = await ground.one("scheduler.TimerSet")
    assert timer.body["due_at"] == "2026-09-01T12:00:00.000Z"
    assert len(await ground.said("automation.RunScheduled")) == 1
    [ahead] = await ground.items("automation", "/v1/horizon", element_id=deal)
    assert (ahead["rule_key"], ahead["due_at"]) == ("renewal", "2026-09-01T12:00:00.000Z")
    await ground.advance(to=DUE - timedelta(milliseconds=1))
    assert await leads(ground) == []

    await ground.advance(to=DUE)

    [lead] = await leads(ground)
    assert (lead["title"], lead["repeat"], ground.name_of(lead["stage_id"], "/")) == ("Renewal Muster GmbH", True, "leads/fresh")
    assert (lead["contact_ids"], lead["company_id"]) == ([ground.cast["petra"]], ground.cast["muster"])
    assert lead["responsible_id"] == ground.cast["anna"]
    order = [said.name for said in await ground.said("scheduler.TimerFired", "deals.CreateLead", "deals.LeadCreated")]
    assert order == ["scheduler.TimerFired", "deals.CreateLead", "deals.LeadCreated"]
    run = await ground.run("renewal", deal)
    assert (run["state"], run["triggered_at"], run["due_at"]) == (
        "succeeded",
        "2026-03-05T13:00:00.000Z",
        "2026-09-01T12:00:00.000Z",
    )


@pytest.mark.shows("S80")
async def test_a_deal_that_leaves_gets_no_lead(ground: Ground) -> None:
    deal = await won(ground)
    await ground.advance(timedelta(days=90))
    assert len(await ground.items("automation", "/v1/horizon", element_id=deal)) == 1

    await ground.move("approval", deal)

    assert await ground.state("renewal", deal) == "cancelled(stage_left)"
    assert len(await ground.said("scheduler.TimerCancelled")) == 1
    assert await ground.items("automation", "/v1/horizon", element_id=deal) == []
    await ground.advance(timedelta(days=400))
    assert await leads(ground) == []


@pytest.mark.shows("S76")
async def test_without_a_customer_there_is_no_lead(ground: Ground) -> None:
    deal = await won(ground)
    await ground.advance(timedelta(days=100))
    await ground.change("deals", f"/v1/deals/{deal}", {"contact_ids": [], "primary_contact_id": None, "company_id": None})

    await ground.advance(to=DUE)

    assert await ground.state("renewal", deal) == "skipped(no_client)"
    assert await leads(ground) == []


@pytest.mark.shows("S77")
async def test_the_title_is_that_of_the_day(ground: Ground) -> None:
    await won(ground)
    await ground.advance(timedelta(days=10))
    await ground.change("deals", f"/v1/companies/{ground.cast['muster']}", {"name": "Neumuster AG"})

    await ground.advance(to=DUE)

    assert [lead["title"] for lead in await leads(ground)] == ["Renewal Neumuster AG"]


@pytest.mark.shows("S80")
async def test_what_could_not_happen_in_time_happens_late(ground: Ground, place: OneProcess) -> None:
    """The scheduler is away when the timer comes due and for thirty hours after."""
    deal = await won(ground)
    await ground.advance(to=DUE - timedelta(hours=1))

    await place.without("scheduler", ground.tenant, DUE + timedelta(hours=30))

    assert len(await leads(ground)) == 1
    assert (await ground.run("renewal", deal))["lateness_ms"] == 108_000_000


@pytest.mark.shows("S77", "S79")
@pytest.mark.parametrize("waiting", ["keep", "migrate", "cancel"])
async def test_a_new_version_meets_a_run_that_waits(ground: Ground, waiting: str) -> None:
    deal = await won(ground)
    await ground.advance(timedelta(days=30))
    await ground.apply(example("renewal", renewal={"settings": {"title": "X"}}), waiting=waiting)

    await ground.advance(to=DUE)

    titles = {"keep": ["Renewal Muster GmbH"], "migrate": ["X"], "cancel": []}
    assert [lead["title"] for lead in await leads(ground)] == titles[waiting]
    assert await ground.state("renewal", deal) == ("cancelled(replaced)" if waiting == "cancel" else "succeeded")
