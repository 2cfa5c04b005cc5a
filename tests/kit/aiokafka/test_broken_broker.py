"""Our producer and consumer around a broker that is killed, restarted and stopped: late, but everything, and in order."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from shared.es.errors import Unavailable
from shared.messaging.consumer import Consumer, Patience
from shared.messaging.kafka import Cluster, Producer, group_offsets
from shared.messaging.outbox import Outgoing
from shared.messaging.records import KafkaRecord, Partition
from shared.testing import faults
from tests.kit.aiokafka.lab import EXPELLED_AFTER, Lab, until


class Traffic:
    """One message after the other from a sender that repeats what is not acknowledged, as the relay does, and a consumer."""

    def __init__(self, lab: Lab, topic: str, folder: Path) -> None:
        self.topic, self.producer = topic, Producer(lab.broker.bootstrap, patience=5)
        self.seen: list[int] = []
        self.sent, self.refused, self.over = 0, 0, False
        patience = Patience(session=6, commit_every=0.05)
        cluster, topics = Cluster(lab.broker.bootstrap), frozenset({topic})
        self.consumer = Consumer(cluster, f"of-{topic}", topics, self.handle, self.handle_one, folder, patience, end_process=print)

    async def handle(self, records: Sequence[KafkaRecord]) -> None:
        self.seen += [int(r.value or b"") for r in records]

    async def handle_one(self, record: KafkaRecord) -> None:
        raise AssertionError("nothing is parked here")

    async def send(self) -> None:
        while not self.over:
            try:
                await self.producer.send_many([Outgoing(self.topic, "key", [], b"%d" % self.sent)])
                self.sent += 1
            except Unavailable:
                self.refused += 1
            await asyncio.sleep(0.02)

    def in_order(self) -> bool:
        return list(dict.fromkeys(self.seen)) == sorted(set(self.seen))

    async def arrived(self, number: int, within: float) -> None:
        async with asyncio.timeout(within):
            while number not in self.seen:
                await asyncio.sleep(0.05)


@contextlib.asynccontextmanager
async def traffic(lab: Lab, folder: Path) -> AsyncIterator[Traffic]:
    """At the end everything that was acknowledged has been seen, in order, and the group's offset is the end."""
    tp = await lab.topic()
    under_way = Traffic(lab, tp.topic, folder)
    sending, consuming = asyncio.create_task(under_way.send()), asyncio.create_task(under_way.consumer.run())
    await under_way.arrived(20, within=15)
    yield under_way
    under_way.over = True
    await sending
    await under_way.arrived(under_way.sent - 1, within=30)
    under_way.consumer.stop()
    await asyncio.wait_for(consuming, 20)
    await under_way.producer.stop()
    assert set(under_way.seen) == set(range(under_way.sent))
    assert under_way.in_order()
    end = len(await lab.log_of(tp))
    assert await group_offsets(lab.broker.bootstrap, f"of-{tp.topic}") == {Partition(tp.topic, 0): end}


async def test_a_broker_that_is_killed_and_comes_back(lab: Lab, tmp_path: Path) -> None:
    await lab.quiet()
    async with traffic(lab, tmp_path) as under_way:
        before = under_way.sent
        await lab.kill()
        await until(lambda: under_way.refused > 0, within=20)
        await lab.restart()
        await under_way.arrived(before + 20, within=30)


async def test_a_broker_that_is_stopped_for_longer_than_the_session(lab: Lab, tmp_path: Path) -> None:
    await lab.quiet()
    async with traffic(lab, tmp_path) as under_way:
        faults.stop(lab.running.pid)
        await until(lambda: under_way.refused > 0, within=20)
        await asyncio.sleep(EXPELLED_AFTER)
        before = under_way.sent
        faults.cont(lab.running.pid)
        await under_way.arrived(before + 20, within=30)
