"""Services in one process on real PostgreSQL, the clock moved by hand; only Kafka is replaced by a loop (C.13).

For tests/flow and tests/scenarios: whatever they show here they also show over real Kafka."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from shared.es.errors import Unavailable
from shared.messaging.batch import BatchResult, handle_batch
from shared.messaging.effects_loop import EffectLoop
from shared.messaging.envelope import unpack
from shared.messaging.handling import prepare
from shared.messaging.inbox import MessageBatch
from shared.messaging.parking import Drainer
from shared.messaging.records import KafkaRecord
from shared.runtime import clock
from shared.runtime.database import Database, Raw, Tx
from shared.runtime.service import Kit, Loop, Service

PARTITIONS = 12
MOST_ROUNDS = 400
RETRIES = 60


class Databases(Protocol):
    """Where a World gets its databases: `Stack` of shared/testing/stack.py."""

    async def migrated_database(self, service: Service) -> str: ...


@dataclass(eq=False)
class Inhabitant:
    """One service of a World."""

    kit: Kit
    database: BreakableDatabase
    url: str
    loops: list[Loop]
    backlog: list[KafkaRecord] = field(default_factory=list)
    held: dict[tuple[str, bytes | None], list[KafkaRecord]] = field(default_factory=dict)
    """What has come of topics and keys that are held back."""
    away: int = 0
    """Rounds until it starts again; 0 when it runs."""

    @property
    def name(self) -> str:
        return self.kit.service.name

    def hear(self, record: KafkaRecord, times: int) -> None:
        self.held.get((record.topic, record.key), self.backlog).extend([record] * times)


class Killed(BaseException):
    """The process is gone: no handler of errors in it may catch this."""


class BreakableDatabase(Database):
    """Loses its connection at the n-th statement of a transaction, once; or its process dies at the n-th statement of any kind."""

    def __init__(self, url: str, service: str) -> None:
        super().__init__(url, service, pool=4)
        self.breaks_after: int | None = None
        self.dies_after: int | None = None

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        watched = self.breaks_after is not None or self.dies_after is not None
        async with super().transaction() as tx:
            yield Tx(Counting(tx.raw, self), tx.now) if watched else tx

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[Raw]:
        async with super().raw() as raw:
            yield Counting(raw, self) if self.dies_after is not None else raw

    def count(self) -> None:
        """Raises Killed, from then on at every statement; or ConnectionError, once."""
        if self.dies_after is not None:
            self.dies_after = max(self.dies_after - 1, 0)
            if self.dies_after == 0:
                raise Killed
        left = self.breaks_after
        if left is not None:
            self.breaks_after = left - 1 if left > 0 else None
            if left == 0:
                raise ConnectionError("the world ended this transaction")


class Counting:
    """A connection that counts what is asked of it."""

    def __init__(self, raw: Raw, database: BreakableDatabase) -> None:
        self._raw, self._database = raw, database

    def _count(self) -> None:
        self._database.count()

    async def fetch(self, query: str, *args: object) -> list[Any]:
        self._count()
        return await self._raw.fetch(query, *args)

    async def fetchval(self, query: str, *args: object) -> Any:
        self._count()
        return await self._raw.fetchval(query, *args)

    async def execute(self, query: str, *args: object) -> str:
        self._count()
        return await self._raw.execute(query, *args)


@dataclass(eq=False, slots=True)
class Deaths:
    """Who dies next, and at which statement from now; `times` more may die."""

    chance: random.Random
    times: int
    within: int
    victim: Inhabitant
    statements: int


class World:
    """`settle` until nothing moves; then assert. Disturbances change how messages arrive, never what must follow."""

    def __init__(self, now: datetime) -> None:
        self.now = now
        self.inhabitants: dict[str, Inhabitant] = {}
        self._offsets: dict[tuple[str, int], int] = {}
        self._log: list[KafkaRecord] = []
        self._times = 1
        self._order: random.Random | None = None
        self._cuts: random.Random | None = None
        self._batch = 500
        self._crashes: random.Random | None = None
        self._statements = 0
        self._results = 0
        self._noted: set[str] = set()
        self._deaths: Deaths | None = None
        self.died: Counter[str] = Counter()
        """How often each service was killed."""

    # ---- disturbances

    def calm(self) -> None:
        """None of them any more."""
        self._times, self._order, self._cuts, self._batch = 1, None, None, 500
        self._crashes = self._deaths = None

    def duplicate(self, times: int = 2) -> None:
        """Deliver everything more than once."""
        self._times = times

    def reorder(self, seed: int) -> None:
        """Shuffle across keys, and let some lag behind others; each key keeps its order."""
        self._order = random.Random(seed)

    def cut(self, seed: int | None = None, *, size: int = 500) -> None:
        """Batch boundaries at random, down to single messages; or batches of a fixed size."""
        self._cuts, self._batch = (random.Random(seed) if seed is not None else None), size

    def crash_after(self, statements: int, seed: int = 1) -> None:
        """Abort transactions: one in three loses its connection after at most so many statements."""
        self._crashes, self._statements = random.Random(seed), statements

    def kill(self, seed: int, *, times: int = 1, within: int = 200) -> None:
        """A service ends at a statement at most so many from now, is away while others go on, and starts again; `times` over.

        It loses what it holds in memory and how far it had read: some of what it has handled comes once more. What it did outside
        (a mail, a refund) and had not noted stays claimed until the claim's time is over, as it would."""
        chance = random.Random(seed)
        self._deaths = Deaths(chance, times, within, self._anybody(chance), chance.randint(1, within))

    def _anybody(self, chance: random.Random) -> Inhabitant:
        return chance.choice(list(self.inhabitants.values()))

    def hold(self, service: str, topic: str, key: str) -> None:
        """The service lags behind on this topic, for what is said under this key, until `release`."""
        self.inhabitants[service].held[topic, key.encode()] = []

    def release(self, service: str, topic: str, key: str) -> None:
        inhabitant = self.inhabitants[service]
        inhabitant.backlog += inhabitant.held.pop((topic, key.encode()))

    # ---- time

    async def tick(self, delta: timedelta) -> None:
        """Move the clock, then settle."""
        self.now += delta
        await self.settle()

    async def settle(self) -> None:
        """Until every outbox is empty, every message handled, every effect told, every due timer fired."""
        restless = set(self.inhabitants)
        for _ in range(MOST_ROUNDS):
            restless = {i.name for i in self._in_turn() if self._may_move(i, restless) and await self._round(i)}
            if not restless and not self._noted:
                return
        raise AssertionError(f"the world did not settle within {MOST_ROUNDS} rounds; last: {self.trace()[-20:]}")

    def _in_turn(self) -> list[Inhabitant]:
        everyone = list(self.inhabitants.values())
        return everyone if self._order is None else self._order.sample(everyone, len(everyone))

    def _may_move(self, inhabitant: Inhabitant, restless: set[str]) -> bool:
        """One that did nothing in the last round has nothing to do in this one, unless something has reached it since."""
        reached = bool(inhabitant.backlog) or inhabitant.away > 0 or inhabitant.name in self._noted
        return reached or inhabitant.name in restless

    async def _round(self, inhabitant: Inhabitant) -> bool:
        self._noted.discard(inhabitant.name)
        if inhabitant.away:
            self._come_back(inhabitant)
            return True
        deaths = self._deaths
        if deaths is None or deaths.victim is not inhabitant:
            return await self._lived(inhabitant)
        return await self._lived_in_danger(inhabitant, deaths)

    async def _lived_in_danger(self, inhabitant: Inhabitant, deaths: Deaths) -> bool:
        database = inhabitant.database
        database.dies_after = deaths.statements
        try:
            return await self._lived(inhabitant)
        except Killed:
            self._died(inhabitant, deaths)
            return True
        finally:
            deaths.statements = database.dies_after or deaths.chance.randint(1, deaths.within)
            database.dies_after = None

    def _died(self, inhabitant: Inhabitant, deaths: Deaths) -> None:
        self.died[inhabitant.name] += 1
        inhabitant.away = deaths.chance.randint(1, 4)
        deaths.times -= 1
        deaths.victim = self._anybody(deaths.chance)
        if deaths.times == 0:
            self._deaths = None

    async def _lived(self, inhabitant: Inhabitant) -> bool:
        sent = await self._collect(inhabitant)
        handled = await self._deliver(inhabitant)
        looped = [await self._step(loop) for loop in inhabitant.loops]
        return sent or handled or any(looped)

    async def _step(self, loop: Loop) -> bool:
        """Whether a loop has decided something, or asks to be called again without any sleep.

        A short sleep alone means nothing: a timer may be due in a moment that this clock does not reach by itself."""
        before = self._results
        sleep = await loop.step()
        return self._results > before or sleep <= timedelta()

    def noting(self, service: str) -> Callable[[BatchResult], None]:
        """What a kit here calls when a batch is through; nobody has to be woken, everything is polled."""

        def note(done: BatchResult) -> None:
            self._results += len(done.results)
            if done.results:
                self._noted.add(service)

        return note

    # ---- the loop in Kafka's place

    async def _collect(self, inhabitant: Inhabitant) -> bool:
        """Deleted after the broker has it: whoever is killed in between says it once more."""
        async with inhabitant.database.raw() as raw:
            rows = await raw.fetch("select position, topic, key, headers, value from outbox order by position")
            for row in rows:
                self._publish(self._record(row["topic"], row["key"].encode(), unpack(row["headers"]), row["value"]))
            if rows:
                await raw.execute("delete from outbox where position = any($1)", [row["position"] for row in rows])
        return bool(rows)

    def say(self, topic: str, key: bytes | None, headers: Sequence[tuple[str, bytes]], value: bytes | None) -> None:
        """A message from outside."""
        self._publish(self._record(topic, key, headers, value))

    def _record(self, topic: str, key: bytes | None, headers: Sequence[tuple[str, bytes]], value: bytes | None) -> KafkaRecord:
        partition = sum(key or b"") % PARTITIONS
        offset = self._offsets[topic, partition] = self._offsets.get((topic, partition), -1) + 1
        return KafkaRecord(topic, partition, offset, int(self.now.timestamp() * 1000), key, value, headers)

    def _publish(self, record: KafkaRecord) -> None:
        self._log.append(record)
        for inhabitant in self.inhabitants.values():
            if record.topic in inhabitant.kit.prepared.topics:
                inhabitant.hear(record, self._times)

    async def _deliver(self, inhabitant: Inhabitant) -> bool:
        waiting, inhabitant.backlog = inhabitant.backlog, []
        records, done = self._shuffled(waiting, inhabitant.backlog), 0
        for batch in self._batches(records):
            try:
                await self._handle(inhabitant, batch)
            except Killed:
                inhabitant.backlog = [*records[self._committed(done) :], *inhabitant.backlog]
                raise
            done += len(batch)
        return bool(waiting)

    def _committed(self, done: int) -> int:
        """How far its offsets are known to Kafka: a little less than what it has handled."""
        return max(done - (self._deaths.chance.randrange(20) if self._deaths else 0), 0)

    def _come_back(self, inhabitant: Inhabitant) -> None:
        inhabitant.away -= 1
        if not inhabitant.away:
            self._start(inhabitant)

    def _start(self, inhabitant: Inhabitant) -> None:
        """With nothing in memory."""
        kit = inhabitant.kit
        inhabitant.kit = Kit(kit.service, inhabitant.database, prepare(kit.service), self.noting(kit.service.name))
        inhabitant.loops = loops_of(inhabitant.kit)

    async def restart(self) -> None:
        """Every service ends when nothing moves any more, and starts again."""
        await self.settle()
        for inhabitant in self.inhabitants.values():
            self._start(inhabitant)

    async def _handle(self, inhabitant: Inhabitant, records: Sequence[KafkaRecord]) -> None:
        """A service that lost its database takes the same records again, as after a restart."""
        for _ in range(RETRIES):
            if self._crashes is not None and self._crashes.random() < 1 / 3:
                inhabitant.database.breaks_after = self._crashes.randrange(self._statements)
            try:
                await handle_batch(inhabitant.kit, MessageBatch(inhabitant.name, records))
            except Unavailable:
                continue
            finally:
                inhabitant.database.breaks_after = None
            return
        raise AssertionError(f"{inhabitant.name} could not handle a batch in {RETRIES} tries")

    def _shuffled(self, records: Sequence[KafkaRecord], lagging: list[KafkaRecord]) -> list[KafkaRecord]:
        """One lane in three goes to those that lag: it is read in a later round."""
        if self._order is None:
            return list(records)
        lanes: dict[Any, list[KafkaRecord]] = {}
        for record in records:
            lanes.setdefault((record.topic, record.partition), []).append(record)
        for lane in sorted(lanes):
            if self._order.random() < 1 / 3:
                lagging += lanes.pop(lane)
        mixed = []
        while lanes:
            lane = self._order.choice(sorted(lanes))
            mixed.append(lanes[lane].pop(0))
            if not lanes[lane]:
                del lanes[lane]
        return mixed

    def _batches(self, records: list[KafkaRecord]) -> Iterable[list[KafkaRecord]]:
        while records:
            size = self._cuts.randint(1, 9) if self._cuts is not None else self._batch
            yield records[:size]
            records = records[size:]

    # ---- looking

    def trace(self) -> list[str]:
        """Names of all messages published, in order, without versions."""
        return [_type_of(record) for record in self._log if not record.topic.endswith(".dlq")]

    @property
    def said(self) -> Sequence[KafkaRecord]:
        """Every message on every topic, oldest first."""
        return self._log

    def records(self, type_name: str) -> list[KafkaRecord]:
        """Everything published under a type, the version left out."""
        return [record for record in self._log if _type_of(record) == type_name and not record.topic.endswith(".dlq")]

    def kit(self, service: str) -> Kit:
        return self.inhabitants[service].kit


def _type_of(record: KafkaRecord) -> str:
    name = dict(record.headers).get("ce_type", b"").decode()
    return name.rsplit(".", 1)[0]


@asynccontextmanager
async def a_world(databases: Databases, services: Sequence[Service], now: datetime) -> AsyncIterator[World]:
    """Every service with a database of its own, all on the world's clock."""
    world = World(now)
    async with AsyncExitStack() as cleanup:
        cleanup.enter_context(clock.told_by(lambda: world.now))
        for service in services:
            inhabitant = await _settle_in(world, databases, service)
            cleanup.push_async_callback(inhabitant.database.close)
            world.inhabitants[service.name] = inhabitant
        yield world


async def _settle_in(world: World, databases: Databases, service: Service) -> Inhabitant:
    url = await databases.migrated_database(service)
    database = BreakableDatabase(url, service.name)
    database.clock = lambda primary: world.now
    kit = Kit(service, database, prepare(service), world.noting(service.name))
    return Inhabitant(kit, database, url, loops_of(kit))


def loops_of(kit: Kit) -> list[Loop]:
    """What a process of this service would turn beside its consumer and its relay."""
    effects: list[Loop] = [EffectLoop(kit, kind, "world") for kind in kit.service.effects]
    return [Drainer(kit), *effects, *(loop(kit) for loop in kit.service.loops)]
