"""Many scenarios at once in one World: each has a tenant of its own and believes to be alone.

Where all of them wait, the World settles, once for all; where all of them wait for a later time, the clock goes to the earliest
of those times. What costs a second for one scenario costs about that for thirty, and their messages travel mixed, as they would."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import httpx

from shared.testing.world import World
from tests.scenarios.ground import SERVICES, START, Ground, a_ground
from tests.scenarios.one_process import ALL, OneProcess, read, said_in
from tests.scenarios.place import Mail, Said, Tenancy

Scenario = Callable[[Ground], Awaitable[None]]
Outcome = BaseException | None
AT_ONCE = 4
"""So many requests a service is asked by all scenarios together."""
DEATHS, WITHIN = 200, 15
"""So often a service is killed at most while scenarios are played, each after at most so many statements."""


@dataclass(eq=False)
class Hall:
    """Where the scenarios meet. `acting` counts those that do something; the others wait for a moment."""

    house: OneProcess
    deaths: bool
    """Services die while the scenarios are played."""
    acting: int = 0
    waiting: list[tuple[datetime, asyncio.Future[None]]] = field(default_factory=list)
    quiet: asyncio.Event = field(default_factory=asyncio.Event)
    said: dict[str, list[Said]] = field(default_factory=dict)
    limits: dict[str, asyncio.Semaphore] = field(default_factory=lambda: {name: asyncio.Semaphore(AT_ONCE) for name in SERVICES})
    _heard: int = 0

    @property
    def world(self) -> World:
        return self.house.town.world

    async def until(self, moment: datetime) -> None:
        """Returns when the clock stands there or later and everything is settled."""
        reached: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append((moment, reached))
        self._stops_acting()
        await reached

    def _stops_acting(self) -> None:
        self.acting -= 1
        if not self.acting:
            self.quiet.set()

    async def conduct(self) -> None:
        """Until nobody waits any more, which is when all have ended."""
        while True:
            await self.quiet.wait()
            if not self.waiting:
                return
            await self.world.settle()
            earliest = min(moment for moment, _ in self.waiting)
            if earliest > self.world.now:
                await self.world.tick(earliest - self.world.now)
            self._wake()

    def _wake(self) -> None:
        now = self.world.now
        reached = [future for moment, future in self.waiting if moment <= now]
        self.waiting = [(moment, future) for moment, future in self.waiting if moment > now]
        self.acting += len(reached)
        self.quiet.clear()
        for future in reached:
            future.set_result(None)

    async def play(self, scenario: Scenario, ready: asyncio.Barrier, begin: Callable[[], None]) -> Outcome:
        """What it raised. It begins when the grounds of all scenarios are ready; where one is not, none begins."""
        try:
            async with a_ground(Seat(self, self.house.webhook_secret)) as ground:
                if await ready.wait() == 0:
                    begin()
                await scenario(ground)
        except Exception as error:
            await ready.abort()
            return error
        finally:
            self._stops_acting()
        return None

    def heard_by(self, tenant: str) -> list[Said]:
        """Everything said of a tenant until now; each message is read once."""
        for record in self.world.said[self._heard :]:
            owner, said = said_in(record)
            self.said.setdefault(owner, []).append(said)
        self._heard = len(self.world.said)
        return self.said.get(tenant, [])


class OneAfterTheOther(httpx.AsyncBaseTransport):
    """A few requests at a time: a slow database has less to do, and nobody waits in vain for a connection."""

    def __init__(self, road: httpx.AsyncBaseTransport, limit: asyncio.Semaphore) -> None:
        self._road, self._limit = road, limit

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        async with self._limit:
            return await self._road.handle_async_request(request)


@dataclass(eq=False)
class Seat:
    """The place of one scenario among the others."""

    hall: Hall
    webhook_secret: str

    async def open(self, now: datetime) -> Tenancy:
        town = self.hall.house.town
        tenant = await town.put("deals", "/v1/tenants", {"name": "acme", "language": "de", "zone": "Europe/Berlin"})
        wanted = {"scopes": ALL, "actor": "key:ground", "tenant_id": tenant["id"]}
        key = await town.put("deals", "/v1/credentials", wanted)
        await self.settle()
        return Tenancy(str(tenant["id"]), str(key["key"]))

    async def close(self, tenant: str) -> None:
        await self.hall.house.town.put("deals", f"/v1/tenants/{tenant}/suspensions", {})

    def door(self, service: str, key: str) -> httpx.AsyncClient:
        door = self.hall.house.door(service, key)
        road = OneAfterTheOther(door._transport, self.hall.limits[service])
        return httpx.AsyncClient(transport=road, base_url=door.base_url, headers=door.headers)

    async def settle(self) -> None:
        await self.hall.until(self.hall.world.now)

    def outside_now(self) -> datetime:
        return self.hall.world.now

    def now(self, tenant: str) -> datetime:
        return self.hall.world.now

    async def advance(self, tenant: str, to: datetime) -> None:
        await self.hall.until(to)

    async def said(self, tenant: str) -> Sequence[Said]:
        return self.hall.heard_by(tenant)

    async def say(self, tenant: str, topic: str, key: str, type: str, body: dict[str, Any]) -> None:
        await self.hall.house.say(tenant, topic, key, type, body)

    async def mails(self, tenant: str) -> Sequence[Mail]:
        """Those that were sent for a notice of this tenant."""
        notices = {said.body.get("notice_id") for said in self.hall.heard_by(tenant)}
        return [read(mail) for mail in self.hall.house.town.post.mails if str(mail["message-id"]).strip("<>").split("@")[0] in notices]

    def disturb(self, how: str, seed: int) -> None:
        raise AssertionError("all scenarios of a hall are disturbed at once")


async def in_the_end(g: Ground, look: Callable[[], Awaitable[bool]], step: timedelta = timedelta(minutes=3)) -> None:
    """It is so at once; where senders die, when the claims of the dead are over and somebody else has done their work."""
    assert isinstance(g.place, Seat)
    for _ in range(30 if g.place.hall.deaths else 0):
        if await look():
            return
        await g.advance(step)
    assert await look()


async def side_by_side(house: OneProcess, scenarios: Mapping[str, Scenario], how: str, seed: int) -> Mapping[str, Outcome]:
    """What each scenario raised, if anything. The disturbance begins when all grounds are ready."""
    hall = Hall(house, deaths=how == "killed")
    world = hall.world
    world.calm()
    world.now, hall.acting, ready = START, len(scenarios), asyncio.Barrier(len(scenarios))
    hall.heard_by("")
    playing = [asyncio.create_task(hall.play(s, ready, lambda: disturb(house, how, seed))) for s in scenarios.values()]
    died = Counter(world.died)
    await hall.conduct()
    outcomes = dict(zip(scenarios, await asyncio.gather(*playing), strict=True))
    died = world.died - died
    assert not hall.deaths or (len(died) == len(world.inhabitants) and died.total() >= 25), f"hardly anybody died: {died}"
    world.calm()
    await world.settle()
    return outcomes


def disturb(house: OneProcess, how: str, seed: int) -> None:
    if how == "killed":
        house.town.world.kill(seed, times=DEATHS, within=WITHIN)
    else:
        house.disturb(how, seed)
