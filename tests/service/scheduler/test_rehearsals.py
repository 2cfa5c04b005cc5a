"""A rehearsal's clock over HTTP, and what rings by it: on time, in order, and nobody else's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.scheduler.service import SERVICE
from shared.contracts.common import Offset, When
from shared.messaging.contract import Contract
from shared.messaging.records import KafkaRecord
from shared.testing.stack import Stack
from tests.service.house import House, a_house, at
from tests.service.scheduler.conftest import NOW
from tests.service.scheduler.test_timers import set_timer

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
SCOPES = ("rehearsals:write", "timers:read", "timers:write")


@pytest.fixture
async def rehearsal(stack: Stack) -> AsyncIterator[House]:
    async with a_house(stack, SERVICE, NOW, rehearsal=True) as found:
        yield found


def dated(house: House, moment: datetime, message: Contract) -> KafkaRecord:
    """As one of us says it at a moment of the rehearsal."""
    before, house.now = house.now, moment
    try:
        return house.record(message)
    finally:
        house.now = before


def clock_of(house: House) -> str:
    return f"/v1/rehearsals/{house.tenant}/clock"


async def moved(client: httpx.AsyncClient, house: House, **to: Any) -> dict[str, Any]:
    answer = await client.post(clock_of(house), json=to)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def after(house: House, hours: int) -> When:
    return When(mode="after", anchor_instant=at(house.now), offset=Offset(hours=hours))


async def test_the_clock_stops_at_what_rings_and_everything_is_on_time(rehearsal: House) -> None:
    house = rehearsal
    await house.hear(set_timer(house, when=after(house, 48), max_lateness=1), set_timer(house, when=after(house, 24), max_lateness=1))
    async with house.client(await house.key(*SCOPES)) as client:
        first = await moved(client, house, by="180d")
        assert (first["now"], first["arrived"], first["next_due_at"]) == (at(NOW + DAY), False, at(NOW + DAY))
        ringing = await client.post(clock_of(house), json={"to": first["heading_for"]})
        assert (ringing.status_code, ringing.json()["code"]) == (409, "timers_are_ringing")
        await house.tick()
        second = await moved(client, house, to=first["heading_for"])
        await house.tick()
        last = await moved(client, house, to=first["heading_for"])
        shown = (await client.get(clock_of(house))).json()

    assert (second["now"], second["arrived"]) == (at(NOW + 2 * DAY), False)
    assert (last["now"], last["arrived"], last["next_due_at"]) == (first["heading_for"], True, None)
    assert shown == last
    fired = await house.said("TimerFired")
    assert [f.body["due_at"] for f in fired] == [f.body["fired_at"] for f in fired] == [f.time for f in fired]
    assert [(f.body["due_at"], f.body["lateness_ms"]) for f in fired] == [(at(NOW + DAY), 0), (at(NOW + 2 * DAY), 0)]
    said = [m.body["stands_at"] for m in await house.said("RehearsalClockMoved")]
    assert said == [first["now"], second["now"], last["now"]]


async def test_through_everything_rings_in_order_and_what_is_set_meanwhile_too(rehearsal: House) -> None:
    house = rehearsal
    hours = [30, 10, 20]
    await house.hear(*(set_timer(house, when=after(house, n), max_lateness=1) for n in hours))
    async with house.client(await house.key(*SCOPES)) as client:
        await moved(client, house, by="10d", through=True)
    await house.tick()
    # what automation sets because the first one rang: a day later, long before where the clock stands
    caused = set_timer(house, when=When(mode="after", anchor_instant=at(NOW + 10 * HOUR), offset=Offset(days=1)), max_lateness=1)
    past = set_timer(house, when=When(mode="after", anchor_instant=at(NOW - DAY), offset=Offset()), max_lateness=None)
    await house.hear(dated(house, NOW + 10 * HOUR, caused), dated(house, NOW + 10 * HOUR, past))
    await house.tick()
    fired = [(f.body["due_at"], f.body["fired_at"]) for f in await house.said("TimerFired")]
    on_time = [at(NOW + n * HOUR) for n in (10, 20, 30)]
    assert fired == [*zip(on_time, on_time, strict=True), (at(NOW - DAY), at(NOW + 10 * HOUR)), (at(NOW + 34 * HOUR),) * 2]


async def test_a_clock_that_was_moved_stands_still(rehearsal: House) -> None:
    house = rehearsal
    async with house.client(await house.key(*SCOPES)) as client:
        await moved(client, house, by="1h")
        await house.hear(dated(house, NOW + HOUR, set_timer(house, when=after(house, 3))))
        await house.tick(30 * DAY)
        assert not await house.said("TimerFired")
        assert (await client.get(clock_of(house))).json()["now"] == at(NOW + HOUR)
        preview = {"mode": "after", "anchor_instant": at(NOW), "offset": {}}
        assert (await client.post("/v1/time-previews", json=preview)).json()["due_at"] == at(NOW)
        await moved(client, house, by="2h")
        await house.tick()
    assert [f.body["fired_at"] for f in await house.said("TimerFired")] == [at(NOW + 3 * HOUR)]


async def test_until_it_is_moved_it_is_the_services_clock(rehearsal: House) -> None:
    house = rehearsal
    await house.hear(set_timer(house))
    await house.tick(HOUR)
    assert [f.body["fired_at"] for f in await house.said("TimerFired")] == [at(NOW + HOUR)]
    async with house.client(await house.key(*SCOPES)) as client:
        shown = (await client.get(clock_of(house))).json()
        assert (shown["moved"], shown["now"]) == (False, at(NOW + HOUR))
        begins = await moved(client, house, to=at(NOW - 90 * DAY))
        assert (begins["now"], begins["arrived"]) == (at(NOW - 90 * DAY), True)
        back = await client.post(clock_of(house), json={"to": at(NOW - 91 * DAY)})
        assert (back.status_code, back.json()["code"]) == (409, "clock_goes_forwards")


async def test_a_day_keeps_the_wall_clock_of_the_tenants_zone(rehearsal: House) -> None:
    async with rehearsal.client(await rehearsal.key(*SCOPES)) as client:
        assert (await moved(client, rehearsal, by="180d"))["now"] == at(NOW + 180 * DAY - HOUR)
        assert (await moved(client, rehearsal, by="1d 2h"))["now"] == at(NOW + 181 * DAY + HOUR)


async def test_a_productive_tenant_has_no_clock_of_its_own(house: House) -> None:
    async with house.client(await house.key(*SCOPES)) as client:
        for answer in (await client.post(clock_of(house), json={"by": "1d"}), await client.get(clock_of(house))):
            assert (answer.status_code, answer.json()["code"]) == (409, "not_a_rehearsal")
        there = f"/v1/rehearsals/{uuid4()}/clock"
        for answer in (await client.post(there, json={"by": "1d"}), await client.get(there)):
            assert (answer.status_code, answer.json()["code"]) == (404, "tenant_unknown")
    assert not await house.rows("select * from rehearsal_clocks_v1")


async def test_the_clock_needs_a_scope_of_its_own_and_a_sensible_request(rehearsal: House) -> None:
    house = rehearsal
    async with house.client(await house.key("timers:read", "timers:write")) as client:
        assert (await client.post(clock_of(house), json={"by": "1d"})).status_code == 403
    async with house.client(await house.key(*SCOPES)) as client:
        for body in ({}, {"by": "1d", "to": at(NOW)}, {"by": "a day"}, {"by": "1mo"}, {"by": "-1d"}, {"to": "tomorrow"}, {"till": 1}):
            assert (await client.post(clock_of(house), json=body)).status_code == 422, body
        far = await client.post(clock_of(house), json={"by": "9999d"})
        assert (far.status_code, far.json()["errors"][0]["code"]) == (422, "clock_too_far")


async def test_the_operator_moves_the_clock_of_any_rehearsal(rehearsal: House) -> None:
    house, home = rehearsal, rehearsal.tenant
    house.tenant = uuid4()
    key = await house.key(*SCOPES, "admin:tenants")
    house.tenant = home
    async with house.client(key) as client:
        assert (await moved(client, house, by="1h"))["now"] == at(NOW + HOUR)
        assert (await client.get(clock_of(house))).json()["now"] == at(NOW + HOUR)


async def test_others_are_on_the_services_clock_however_far_a_rehearsal_is(rehearsal: House) -> None:
    house = rehearsal
    async with house.client(await house.key(*SCOPES)) as client:
        await moved(client, house, by="365d")
    home, house.tenant = house.tenant, uuid4()
    await house.hear(set_timer(house))
    await house.tick(HOUR)
    assert [f.body["fired_at"] for f in await house.said("TimerFired")] == [at(NOW + HOUR)]
    house.tenant = home


async def test_what_is_under_way_is_counted(rehearsal: House) -> None:
    house = rehearsal
    key = await house.key(*SCOPES, "ops:read")
    await house.forget()

    async def rest(client: httpx.AsyncClient) -> dict[str, Any]:
        found: dict[str, Any] = (await client.get("/ops/rest")).json()
        return found

    async with house.client(key) as client:
        quiet = await rest(client)
        assert (quiet["at_rest"], quiet["waiting"]["due"], quiet["service"]) == (True, 0, "scheduler")
        await house.hear(set_timer(house))
        told = await rest(client)
        assert (told["at_rest"], told["waiting"]["outgoing"], told["events"]) == (False, 1, quiet["events"] + 1)
        assert told["handled"] > quiet["handled"]
        await moved(client, house, by="1h")
        await house.forget()
        ringing = await rest(client)
        assert (ringing["at_rest"], ringing["waiting"]["due"], ringing["clock"]) == (False, 1, at(NOW + HOUR))
        await house.tick()
        await house.forget()
        assert (await rest(client))["at_rest"] is True
