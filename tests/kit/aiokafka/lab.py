"""A broker of our own for aiokafka's habits: one that may be stopped, with five doors that lead through fault proxies.

Most habits show only after seconds of waiting, so the scenarios of all files run side by side, each on topics and groups
of its own; a test waits for its scenario and says what must have been seen. SIGSTOP hits everybody: those come last."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.record.util import calc_crc32c

from deploy.local.kafka import Kafka
from deploy.local.network import LOOPBACK, free_ports
from deploy.local.parts import bring_up
from deploy.local.process import Running
from shared.testing import faults
from shared.testing.faults import FaultProxy, Way

DOORS = ("AK2", "AK3", "AK11", "AK16", "AK20")
SESSION = 6000
EXPELLED_AFTER = 8.0
"""Seconds without a heartbeat, more than the session time-out: the broker has expelled the member then."""


class CountingProxy(FaultProxy):
    """Also counts the bytes of the answers."""

    answered = 0

    async def _pass(self, chunk: bytes, writer: asyncio.StreamWriter, way: Way, connection: Any) -> None:
        if way is self.down:
            self.answered += len(chunk)
        await super()._pass(chunk, writer, way, connection)


@dataclass(eq=False)
class Lab:
    broker: Kafka
    running: Running
    doors: dict[str, CountingProxy]
    admin: Any = None
    scenarios: dict[Callable[[Lab], Awaitable[Any]], asyncio.Task[Any]] = field(default_factory=dict)

    async def kill(self) -> None:
        faults.kill(self.running.pid)
        await self.running.gone_within(5)

    async def restart(self) -> None:
        """On the same ports and data; what the killed one had acknowledged is still there."""
        self.running = await bring_up(self.broker, self.broker.home.parent / "kafka.pid")

    async def seen(self, scenario: Callable[[Lab], Awaitable[Any]]) -> Any:
        """What the scenario has observed; it began when the first test did."""
        return await asyncio.wait_for(self.scenarios[scenario], 60)

    async def quiet(self) -> None:
        """No scenario is under way any more."""
        if self.scenarios:
            await asyncio.wait(self.scenarios.values())

    async def topic(self, partitions: int = 1, **config: str) -> TopicPartition:
        """A fresh topic's first partition."""
        name = f"ak.{secrets.token_hex(4)}"
        settings = {key.replace("_", "."): value for key, value in config.items()}
        await self.admin.create_topics([NewTopic(name, partitions, 1, topic_configs=settings)])
        return TopicPartition(name, 0)

    def address(self, door: str | None) -> str:
        return f"{LOOPBACK}:{self.doors[door].port if door else self.broker.port}"

    @contextlib.asynccontextmanager
    async def consumer(self, *topics: str, door: str | None = None, listener: Any = None, **settings: Any) -> AsyncIterator[Any]:
        """A member with auto-commit off, unless the settings say otherwise; stopped at the end, or left alone if it will not."""
        own: dict[str, Any] = {
            "bootstrap_servers": self.address(door), "enable_auto_commit": False, "auto_offset_reset": "earliest", "retry_backoff_ms": 50,
        }  # fmt: skip
        if settings.get("group_id"):
            own |= {"session_timeout_ms": SESSION, "heartbeat_interval_ms": 500}
        consumer = AIOKafkaConsumer(**(own | settings))
        consumer.subscribe(list(topics), listener=listener)
        await consumer.start()
        try:
            yield consumer
        finally:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(consumer.stop(), 5)

    @contextlib.asynccontextmanager
    async def producer(self, *, door: str | None = None, **settings: Any) -> AsyncIterator[Any]:
        producer = AIOKafkaProducer(bootstrap_servers=self.address(door), **settings)
        await producer.start()
        try:
            yield producer
        finally:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(producer.stop(), 5)

    async def fill(self, tp: TopicPartition, *values: bytes, **settings: Any) -> None:
        async with self.producer(**settings) as producer:
            while tp.partition not in await producer.partitions_for(tp.topic):
                await producer.client.force_metadata_update()
            for value in values:
                await producer.send_and_wait(tp.topic, value, partition=tp.partition)

    async def fill_unreadable(self, tp: TopicPartition) -> None:
        """A record with a header whose name is not UTF-8, as a client in C may write it: patched into a finished batch."""
        async with self.producer() as producer:
            await send_unreadable(producer, tp)

    async def committed(self, group: str, tp: TopicPartition) -> int | None:
        found = await self.admin.list_consumer_group_offsets(group)
        return found[tp].offset if tp in found else None

    async def log_of(self, tp: TopicPartition) -> list[bytes]:
        """Every value in the partition, in order of offset."""
        async with self.consumer(tp.topic) as reader:
            end = (await reader.end_offsets([tp]))[tp]
            values: list[bytes] = []
            while len(values) < end:
                values += [r.value for rs in (await reader.getmany(timeout_ms=500)).values() for r in rs]
            return values

    async def members(self, group: str) -> int:
        response = (await self.admin.describe_consumer_groups([group]))[0]
        return len(response.groups[0][5])


async def send_unreadable(producer: Any, tp: TopicPartition) -> None:
    batch = producer.create_batch()
    batch.append(key=b"k", value=b"{}", timestamp=None, headers=[("QQQQ", b"content")])
    whole = bytearray(bytes(batch._build()).replace(b"QQQQ", b"\xff\xfe\xfd\xfc"))
    struct.pack_into(">I", whole, 17, calc_crc32c(bytes(whole[21:])))
    batch._buffer = bytes(whole)
    await (await producer.send_batch(batch, tp.topic, partition=tp.partition))


class Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Notes every callback; `revoking` is awaited inside of the first one."""

    def __init__(self, revoking: Callable[[], Awaitable[None]] | None = None) -> None:
        self.revoking = revoking
        self.revoked: list[set[TopicPartition]] = []
        self.assigned: list[set[TopicPartition]] = []
        self.inside = False

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        self.revoked.append(set(revoked))
        if revoked and self.revoking:
            self.inside = True
            await self.revoking()
            self.inside = False

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.assigned.append(set(assigned))


async def until(condition: Callable[[], object], within: float = 15.0) -> None:
    async with asyncio.timeout(within):
        while not condition():
            await asyncio.sleep(0.02)


async def assignment(consumer: Any, count: int, within: float = 20.0) -> None:
    """Polls as it waits: a member that does not is not given anything (AK-14)."""
    async with asyncio.timeout(within):
        while len(consumer.assignment()) != count or consumer._subscription.reassignment_in_progress:
            await consumer.getmany(timeout_ms=50, max_records=1)


async def expel(door: FaultProxy) -> None:
    """The member behind this door is silent for longer than its session, and then goes on."""
    door.up.hold()
    await asyncio.sleep(EXPELLED_AFTER)
    door.up.release()


@contextlib.asynccontextmanager
async def open_lab(folder: Path) -> AsyncIterator[Lab]:
    ports = free_ports(2 + 2 * len(DOORS))
    inner, outer = ports[2::2], ports[3::2]
    doors = dict(zip(DOORS, (CountingProxy(target, port) for target, port in zip(inner, outer, strict=True)), strict=True))
    broker = Kafka(
        home=folder / "kafka", port=ports[0], controller_port=ports[1], log=folder / "kafka.log", progress=lambda line: None,
        extra=tuple(_listeners(ports[0], ports[1], dict(zip(DOORS, zip(inner, outer, strict=True), strict=True))).items()),
    )  # fmt: skip
    lab = Lab(broker, await bring_up(broker, folder / "kafka.pid"), doors)
    try:
        async with contextlib.AsyncExitStack() as stack:
            for door in doors.values():
                await stack.enter_async_context(door)
            lab.admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
            await lab.admin.start()
            stack.push_async_callback(lab.admin.close)
            yield lab
    finally:
        await lab.running.end(broker.farewell)


def _listeners(port: int, controller: int, doors: dict[str, tuple[int, int]]) -> dict[str, str]:
    """One more listener per door, which advertises the door's port: so clients that came through it stay behind it."""
    own = {"CLIENT": (port, port), "CONTROLLER": (controller, controller), **doors}
    return {
        "listeners": ",".join(f"{name}://{LOOPBACK}:{inside}" for name, (inside, _) in own.items()),
        "advertised.listeners": ",".join(f"{name}://{LOOPBACK}:{outside}" for name, (_, outside) in own.items() if name != "CONTROLLER"),
        "listener.security.protocol.map": ",".join(f"{name}:PLAINTEXT" for name in own),
    }
