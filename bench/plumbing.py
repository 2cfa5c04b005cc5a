"""The floors' Kafka and PostgreSQL: readers without a group, hand-built record batches, fresh topics and tables.

Nothing of the product is used here: a floor is what the servers allow."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import orjson
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import murmur2

PARTITIONS = 12
MOST = 500
SLICE = 50
"""Records taken at once, so that they are still in the processor's cache when their answers are encoded."""


class Record(NamedTuple):
    key: bytes
    value: bytes
    headers: list[tuple[str, bytes]]


def id_of(*cause: str) -> str:
    """A name-based id, without the cost of uuid.uuid5."""
    digest = hashlib.sha1("/".join(cause).encode(), usedforsecurity=False).hexdigest()
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-8{digest[17:20]}-{digest[20:32]}"


TENANT = str(UUID(int=7)).encode()
TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def record(id: str, type: str, deal: str, sequence: int, correlation: bytes, cause: bytes, value: bytes) -> Record:
    """A CloudEvent in binary mode with fourteen headers, as all services send."""
    headers = [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_id", id.encode()),
        ("ce_source", b"urn:floor"),
        ("ce_type", type.encode()),
        ("ce_time", b"2026-01-15T09:30:00.123Z"),
        ("ce_subject", b"deal/" + deal.encode()),
        ("ce_tenantid", TENANT),
        ("ce_correlationid", correlation),
        ("ce_causationid", cause),
        ("ce_sequence", b"%d" % sequence),
        ("ce_hops", b"1"),
        ("ce_actor", b"user:42"),
        ("traceparent", TRACE),
    ]
    return Record(deal.encode(), value, headers)


def arrival(number: int) -> Record:
    """The n-th stage change, of one of 1,000 deals."""
    deal, id = str(UUID(int=(4 << 96) + number % 1000)), str(UUID(int=(1 << 96) + number))
    body = {
        "deal_id": deal,
        "pipeline_id": "pipeline-sales",
        "from_stage": "stage-2",
        "to_stage": "stage-3",
        "amount": 12_500 + number % 7,
        "currency": "EUR",
        "owner_id": f"user-{number % 50}",
        "source": "web",
        "tags": ["inbound", "priority"],
        "title": "Acme renewal and expansion of the annual contract",
    }
    return record(id, "deals.StageChanged.v1", deal, number // 1000 + 1, id.encode(), id.encode(), orjson.dumps(body))


def matching(data: dict[str, Any]) -> Iterable[str]:
    """Ten rules over three fields; three hold."""
    for n in range(10):
        if n < 3:
            holds = data["amount"] >= 10_000 and data["currency"] == "EUR" and "priority" in data["tags"]
        elif n < 6:
            holds = data["amount"] > 10_000 and data["source"] == "phone"
        else:
            holds = data["amount"] < 5_000 + n
        if holds:
            yield f"rule-{n}"


@lru_cache(maxsize=100_000)
def lane_of(key: bytes) -> int:
    return int((murmur2(key) & 0x7FFFFFFF) % PARTITIONS)


class Parcel:
    """Records encoded into one batch per partition at once."""

    def __init__(self, producer: AIOKafkaProducer) -> None:
        self._producer = producer
        self._open: dict[int, Any] = {}
        self.closed: list[tuple[int, Any]] = []

    def add(self, r: Record) -> None:
        lane = lane_of(r.key)
        batch = self._open.get(lane)
        if batch is None:
            batch = self._open[lane] = self._producer.create_batch()
        if batch.append(key=r.key, value=r.value, timestamp=None, headers=r.headers) is None:
            self.closed.append((lane, self._open.pop(lane)))
            self.add(r)

    def batches(self) -> list[tuple[int, Any]]:
        return [*self.closed, *self._open.items()]


class Sender:
    """One round in flight; what waits meanwhile goes with the next."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=0, max_batch_size=256 * 1024
        )
        self._waiting: list[tuple[int, Parcel]] = []
        self._acked: list[int] = []
        self._work, self._idle = asyncio.Event(), asyncio.Event()
        self._idle.set()

    async def __aenter__(self) -> Sender:
        await self._producer.start()
        await self._producer.partitions_for(self._topic)
        self._task = asyncio.create_task(self._send())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await self._producer.stop()

    def parcel(self) -> Parcel:
        return Parcel(self._producer)

    def hand(self, number: int, parcel: Parcel) -> None:
        self._waiting.append((number, parcel))
        self._idle.clear()
        self._work.set()

    async def _send(self) -> None:
        while True:
            await self._work.wait()
            self._work.clear()
            now, self._waiting = self._waiting, []
            batches = [pair for _, parcel in now for pair in parcel.batches()]
            for _, batch in batches:
                batch.close()
            sent = [await self._producer.send_batch(batch, self._topic, partition=lane) for lane, batch in batches]
            await asyncio.gather(*sent)
            self._acked += [number for number, _ in now]
            if not self._waiting:
                self._idle.set()

    def acknowledged(self) -> list[int]:
        numbers, self._acked = self._acked, []
        return numbers

    async def settled(self) -> None:
        idle = asyncio.create_task(self._idle.wait())
        await asyncio.wait([idle, self._task], return_when=asyncio.FIRST_COMPLETED)
        if self._task.done():
            self._task.result()


class Reader:
    """Every partition of a topic from its start, without a group: a floor keeps its offsets in PostgreSQL."""

    def __init__(self, bootstrap: str, topic: str) -> None:
        self._topic = topic
        self._consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest")

    async def __aenter__(self) -> Reader:
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    def begin(self) -> None:
        self._consumer.assign([TopicPartition(self._topic, lane) for lane in range(PARTITIONS)])

    async def slices(self, *, wait: bool) -> AsyncIterator[tuple[int, Sequence[Any]]]:
        """Up to a batch of what is there."""
        taken = 0
        while taken < MOST:
            found = await self._consumer.getmany(timeout_ms=500 if wait and not taken else 0, max_records=SLICE)
            if not found:
                return
            for lane, records in found.items():
                taken += len(records)
                yield lane.partition, records


@asynccontextmanager
async def fresh_topics(bootstrap: str, *names: str) -> AsyncIterator[list[str]]:
    topics = [f"bench-{uuid4().hex[:8]}-{name}" for name in names]
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic, PARTITIONS, 1) for topic in topics])
        yield topics
    finally:
        await admin.delete_topics(topics)
        await admin.close()


@asynccontextmanager
async def fresh_tables(dsn: str, *statements: str) -> AsyncIterator[asyncpg.Connection]:
    """In a schema of their own, dropped afterwards."""
    schema = f"bench_{uuid4().hex[:8]}"
    connection = await asyncpg.connect(dsn)
    await connection.execute(f"create schema {schema}")
    await connection.execute(f"set search_path to {schema}")
    for statement in statements:
        await connection.execute(statement)
    try:
        yield connection
    finally:
        await connection.execute(f"drop schema {schema} cascade")
        await connection.close()


async def fill(bootstrap: str, topic: str, n: int, make: Callable[[int], Record] = arrival) -> None:
    """The backlog, produced before the clock runs."""
    async with Sender(bootstrap, topic) as sender:
        for start in range(0, n, 2000):
            parcel = sender.parcel()
            for number in range(start, min(n, start + 2000)):
                parcel.add(make(number))
            sender.hand(0, parcel)
            await sender.settled()
