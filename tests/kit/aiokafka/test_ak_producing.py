"""AK-10, AK-11, AK-21: what an error does to a producer."""

from __future__ import annotations

import asyncio

import pytest
from aiokafka.errors import KafkaError, MessageSizeTooLargeError, OutOfOrderSequenceNumber

from tests.kit.aiokafka.lab import Lab


async def one_oversized_message(lab: Lab) -> tuple[list[str], list[bytes]]:
    """What became of good, oversized, good with one producer; and the log after a new producer has sent one more."""
    tp = await lab.topic(max_message_bytes="2000")
    became = []
    async with lab.producer(enable_idempotence=True) as producer:
        for value in (b"good", b"x" * 5000, b"good again"):
            try:
                await asyncio.wait_for(producer.send_and_wait(tp.topic, value, partition=0), 5)
                became.append("sent")
            except (KafkaError, TimeoutError) as error:
                became.append(type(error).__name__)
    await lab.fill(tp, b"from a new one", enable_idempotence=True)
    return became, await lab.log_of(tp)


async def second_batch_behind_an_expired_one(lab: Lab) -> list[bytes]:
    """Without idempotence: the first batch is lost on the way, the second waits behind it, the first is sent again."""
    tp = await lab.topic()
    async with lab.producer(door="AK11", request_timeout_ms=2000, acks="all") as producer:
        await producer.partitions_for(tp.topic)
        lab.doors["AK11"].up.dropping = True
        first = await producer.send(tp.topic, b"1", partition=0)
        await asyncio.sleep(1.5)
        second = await producer.send(tp.topic, b"2", partition=0)
        with pytest.raises(KafkaError):
            await first
        await lab.doors["AK11"].heal()
        await second
        await producer.send_and_wait(tp.topic, b"1", partition=0)
    return await lab.log_of(tp)


async def no_linger(lab: Lab) -> int:
    """The end of the partition before the second message is sent."""
    tp = await lab.topic()
    async with lab.producer(linger_ms=0) as producer, lab.consumer(tp.topic) as reader:
        await producer.send(tp.topic, b"first", partition=0)
        async with asyncio.timeout(3):
            while not (end := (await reader.end_offsets([tp]))[tp]):
                await asyncio.sleep(0.01)
        await producer.send_and_wait(tp.topic, b"second", partition=0)
        return int(end)


SIDE_BY_SIDE = (one_oversized_message, second_batch_behind_an_expired_one, no_linger)


async def test_ak_10_one_oversized_message_leaves_an_idempotent_producer_useless(lab: Lab) -> None:
    became, log = await lab.seen(one_oversized_message)
    assert became == ["sent", MessageSizeTooLargeError.__name__, OutOfOrderSequenceNumber.__name__]
    assert log == [b"good", b"from a new one"]


async def test_ak_11_a_batch_that_expired_does_not_stop_the_next_one(lab: Lab) -> None:
    assert await lab.seen(second_batch_behind_an_expired_one) == [b"2", b"1"]


async def test_ak_21_without_linger_a_record_leaves_at_once(lab: Lab) -> None:
    assert await lab.seen(no_linger) == 1
