"""AK-8, AK-9: deadlines that aiokafka does not have, seen with a broker that is stopped. After everything else: it hits everybody."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from shared.messaging.kafka import GroupConsumer, discard
from shared.messaging.records import Partition
from shared.runtime.clock import monotonic
from shared.testing import faults
from tests.kit.aiokafka.lab import Lab, assignment


@contextlib.asynccontextmanager
async def stopped(lab: Lab) -> AsyncIterator[None]:
    faults.stop(lab.running.pid)
    try:
        yield
    finally:
        faults.cont(lab.running.pid)


async def still_pending(seconds: float, *jobs: Coroutine[Any, Any, Any]) -> list[bool]:
    tasks = [asyncio.create_task(job) for job in jobs]
    await asyncio.wait(tasks, timeout=seconds)
    pending = [not task.done() for task in tasks]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return pending


async def test_ak_8_commit_and_stop_have_no_deadline_and_ours_have(lab: Lab) -> None:
    await lab.quiet()
    tp = await lab.topic()
    await lab.fill(tp, b"0")
    ours = GroupConsumer(lab.broker.bootstrap, "ak8ours", [tp.topic], session=6, revoked=_nothing, assigned=_nothing_for)
    await ours.start()
    theirs: dict[str, dict[str, Any]] = {"ak8": {}, "ak8auto": {"enable_auto_commit": True}}
    async with contextlib.AsyncExitStack() as members:
        manual, auto = [await members.enter_async_context(lab.consumer(tp.topic, group_id=g, **own)) for g, own in theirs.items()]
        await asyncio.gather(assignment(manual, 1), assignment(auto, 1), _settled(ours))
        async with stopped(lab):
            waiting = asyncio.create_task(still_pending(12, manual.commit({tp: 1}), auto.stop()))
            began = monotonic()
            assert await ours.commit({Partition(tp.topic, 0): 1}, within=0.5) is False
            assert await ours.stop(within=0.5) is False
            assert monotonic() - began < 5
            assert await waiting == [True, True]


async def _nothing() -> None:
    return None


async def _nothing_for(assigned: frozenset[Partition]) -> None:
    return None


async def _settled(member: GroupConsumer) -> None:
    while not member.assigned():
        await member.poll(1)


async def test_ak_9_an_idempotent_producer_blocks_for_ever_and_the_recipe_gets_rid_of_it(lab: Lab) -> None:
    await lab.quiet()
    tp = await lab.topic()
    pending, expired, seconds, left = await asyncio.to_thread(asyncio.run, _producers_and_a_stopped_broker(lab, tp.topic))

    assert pending == [True, True]
    assert expired
    assert seconds < 2.5
    assert left == []
    assert b"from a new one" in await lab.log_of(tp)


async def _producers_and_a_stopped_broker(lab: Lab, topic: str) -> tuple[list[bool], bool, float, list[str]]:
    """In a loop of its own: then all tasks that are left are the producer's."""
    own = asyncio.current_task()
    blocked, other, plain = [
        await _producer(lab, enable_idempotence=True),
        await _producer(lab, enable_idempotence=True),
        await _producer(lab, request_timeout_ms=4000),
    ]
    for producer in (blocked, other, plain):
        await producer.partitions_for(topic)
    async with stopped(lab):
        await other.send(topic, b"other", partition=0)
        failing = asyncio.create_task(_fails(plain.send_and_wait(topic, b"plain", partition=0)))
        pending = await still_pending(12, blocked.send_and_wait(topic, b"blocked", partition=0), other.stop())
        expired = await failing
        began = monotonic()
        await discard(blocked, "no acknowledgement")
        seconds = monotonic() - began
        for producer in (other, plain):
            await discard(producer, "no acknowledgement")
        left = [repr(task) for task in asyncio.all_tasks() if task is not own]
    async with lab.producer(enable_idempotence=True) as new:
        await new.send_and_wait(topic, b"from a new one", partition=0)
    return pending, expired, seconds, left


async def _producer(lab: Lab, **settings: Any) -> Any:
    """Started, and for somebody else to get rid of."""
    producer = AIOKafkaProducer(bootstrap_servers=lab.broker.bootstrap, **settings)
    await producer.start()
    return producer


async def _fails(job: Coroutine[Any, Any, Any]) -> bool:
    try:
        await job
    except KafkaError:
        return True
    return False
