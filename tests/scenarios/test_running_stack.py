"""Rehearsals on the running stack: real processes, real Kafka, 180 days in seconds, and nothing that leaves the house."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from tests.scenarios.ground import START, Ground, a_ground
from tests.scenarios.running_stack import RunningStack, running_stack
from tests.service.notifications.receiver import Receiver, receiving

DAY = timedelta(days=1)

RENEWAL = """
stage: sales/won
rules:
  - id: renewal
    type: create_recurring_lead
    name: Offer the renewal
    timing: { after: arrival, offset: 180d }
    settings: { title: "Renewal {{company.name}}" }
"""
CHAIN = """
stage: sales/delivery
rules:
  - id: hours
    type: notify
    name: Within hours
    timing: { after: arrival, offset: 1h, working_hours: company }
    settings: { to: "responsible", text: "Within hours" }
  - id: second
    type: notify
    name: Two days later
    timing: { after: arrival, offset: 2d }
    settings: { to: "responsible", text: "Two days later" }
  - id: third
    type: notify
    name: One day after that
    execution: after_previous
    timing: { after: previous, offset: 1d }
    settings: { to: "responsible", text: "One day after that" }
---
stage: sales/approval
rules:
  - id: call
    type: plan_activity
    name: Call
    settings:
      name: "Call customer"
      deadline: { day: tomorrow, time: "14:00", zone: assignee }
      calendar: true
      invite: ["user:9"]
"""


@pytest.fixture(scope="module")
async def receiver() -> AsyncIterator[Receiver]:
    """A web server that the services may reach."""
    async with receiving() as found:
        yield found


@pytest.fixture(scope="module")
async def running(tmp_path_factory: pytest.TempPathFactory, receiver: Receiver) -> AsyncIterator[RunningStack]:
    async with running_stack(tmp_path_factory.mktemp("running"), DEALWRIGHT_HOOKS__ALLOW=f"127.0.0.1:{receiver.port}") as place:
        yield place


@pytest.fixture
async def ground(running: RunningStack) -> AsyncIterator[Ground]:
    async with a_ground(running) as found:
        yield found


async def leads(ground: Ground) -> list[Any]:
    return await ground.items("deals", "/v1/leads")


async def test_a_lead_after_180_days_and_none_for_a_deal_that_left(ground: Ground) -> None:
    await ground.advance(to="2026-03-05T13:00:00Z")
    await ground.apply(RENEWAL)
    other = await ground.deal("Shed 2026")
    await ground.move("won")
    await ground.move("won", other)
    [waiting] = await ground.items("automation", "/v1/horizon", element_id=ground.cast["D"])
    assert waiting["due_at"] == "2026-09-01T12:00:00.000Z"

    await ground.advance(to=START + 90 * DAY)
    await ground.move("approval", other)
    assert await ground.state("renewal", other) == "cancelled(stage_left)"
    await ground.advance(to="2026-09-01T11:59:59.999Z")
    assert await leads(ground) == []
    await ground.advance(to="2026-09-01T12:00:00Z")

    [lead] = await leads(ground)
    assert (lead["title"], lead["stage_id"]) == ("Renewal Muster GmbH", ground.cast["leads/fresh"])
    run = await ground.run("renewal")
    assert (run["state"], run["triggered_at"], run["due_at"]) == ("succeeded", "2026-03-05T13:00:00.000Z", "2026-09-01T12:00:00.000Z")
    [fired] = await ground.said("scheduler.TimerFired")
    assert (fired.time, fired.body["lateness_ms"]) == ("2026-09-01T12:00:00.000Z", 0)
    assert (await ground.one("deals.LeadCreated")).time == "2026-09-01T12:00:00.000Z"


async def test_hours_chains_and_deadlines_are_those_of_the_rehearsals_days(ground: Ground) -> None:
    await ground.apply(CHAIN)
    await ground.advance(to="2026-03-06T16:30:00Z")
    await ground.move("delivery")
    approved = await ground.deal("Shed 2026")
    await ground.move("approval", approved)
    await ground.advance(by=30 * DAY)

    notices = {notice["body_text"]: notice["created_at"] for notice in await ground.feed() if "customer" not in notice["body_text"]}
    assert notices["Within hours"] == "2026-03-09T08:00:00.000Z"
    assert notices["Two days later"] == "2026-03-08T16:30:00.000Z"
    assert notices["One day after that"] == "2026-03-09T16:30:00.000Z"
    [activity] = await ground.items("scheduler", "/v1/activities", element_id=approved)
    assert activity["starts_at"] == "2026-03-07T13:00:00.000Z"


async def test_nothing_of_it_leaves_the_house(ground: Ground, running: RunningStack, receiver: Receiver) -> None:
    await ground.apply(CHAIN)
    hook = await ground.put("notifications", "/v1/webhook-endpoints", {"url": receiver.url, "description": "ERP"}, by="olaf")
    await ground.put("notifications", f"/v1/webhook-endpoints/{hook['id']}/tests", {}, by="olaf")
    await ground.move("approval")
    await ground.settle()

    [invitation] = await ground.mails("clara@acme.test")
    assert "METHOD:REQUEST" in invitation.calendar
    [delivery] = await ground.items("notifications", "/v1/webhook-deliveries")
    assert (delivery["state"], delivery["url"]) == ("delivered", receiver.url)
    assert (await running.outside(), receiver.requests) == ([], [])
