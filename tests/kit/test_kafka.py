"""The adapter on the real Kafka: partitions as the Java client chooses them, topics, offsets, readers without a group."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from confluent_kafka import Producer as ForeignProducer

from shared.es.errors import Unavailable
from shared.messaging import kafka
from shared.messaging.kafka import Cluster, Producer, partition_of
from shared.messaging.outbox import Outgoing
from shared.messaging.records import KafkaRecord, Partition
from shared.messaging.topics import LARGEST_COPY, Topic, declared
from shared.runtime.clock import now


@pytest.fixture
async def producer(cluster: Cluster) -> AsyncIterator[Producer]:
    await kafka.create_topics(cluster, [Topic("shop.events", 12)])
    producer = Producer(cluster)
    yield producer
    await producer.stop()


def message(key: str, value: bytes = b"{}") -> Outgoing:
    return Outgoing("shop.events", key, [("ce_id", key.encode())], value)


async def read(cluster: Cluster, count: int, *, offsets: dict[int, int] | None = None) -> list[KafkaRecord]:
    found = []
    async with asyncio.timeout(15), contextlib.aclosing(kafka.read_from(cluster, "shop.events", offsets or "earliest")) as records:
        async for record in records:
            found.append(record)
            if len(found) == count:
                break
    return found


async def test_a_key_has_the_partition_that_other_clients_give_it(cluster: Cluster, producer: Producer) -> None:
    """librdkafka with partitioner=murmur2_random, which is what the publishing page asks of foreign producers (E5)."""
    keys = [f"{n:08x}-5e3f-4d54-9b3c-b8e7ce5ac0de" for n in range(60)] + ["", "ü", "a"]
    foreign = ForeignProducer({"bootstrap.servers": cluster.bootstrap, "partitioner": "murmur2_random"})
    for key in keys:
        foreign.produce(cluster.full("shop.events"), key=key.encode(), value=b"{}")
    assert await asyncio.to_thread(foreign.flush, 10) == 0

    theirs = {(r.key or b""): r.partition for r in await read(cluster, len(keys))}

    assert theirs == {key.encode(): partition_of(key.encode(), 12) for key in keys}
    assert len(set(theirs.values())) > 6


async def test_records_say_when_they_were_published(cluster: Cluster, producer: Producer) -> None:
    before = int(now().timestamp() * 1000)
    assert await producer.send_many([message("a"), message("b")]) == [True, True]
    after = int(now().timestamp() * 1000)

    assert all(before <= r.timestamp <= after for r in await read(cluster, 2))


async def test_compressed_batches_are_read_like_others(cluster: Cluster, producer: Producer) -> None:
    compressing = Producer(cluster, compression="gzip")
    await compressing.send_many([message("a", b"x" * 5000)])
    await compressing.stop()

    assert [r.value for r in await read(cluster, 1)] == [b"x" * 5000]


async def test_more_than_a_batch_holds_is_left_for_the_next_round(cluster: Cluster, producer: Producer) -> None:
    messages = [message("same", b"%07d" % n * 20_000) for n in range(12)]
    taken = await producer.send_many(messages)
    assert taken == sorted(taken, reverse=True)
    assert 1 < sum(taken) < 12
    while left := messages[sum(taken) :]:
        messages, taken = left, await producer.send_many(left)

    assert [r.value[:7] for r in await read(cluster, 12) if r.value] == [b"%07d" % n for n in range(12)]


async def test_nothing_to_send_needs_no_broker() -> None:
    assert await Producer("127.0.0.1:1").send_many([]) == ()


async def test_a_broker_that_is_away_is_said_to_be() -> None:
    producer = Producer("127.0.0.1:1", patience=3)
    with pytest.raises(Unavailable, match="Kafka takes nothing"):
        await producer.send_many([message("a")])
    assert not await kafka.answers("127.0.0.1:1")
    with pytest.raises(Unavailable):
        await kafka.group_offsets("127.0.0.1:1", "nobody")


async def test_a_reader_starts_where_it_is_told(cluster: Cluster, producer: Producer) -> None:
    await producer.send_many([message("same", b"%d" % n) for n in range(10)])
    partition = partition_of(b"same", 12)

    assert [r.offset for r in await read(cluster, 3, offsets={partition: 7})] == [7, 8, 9]
    assert (await kafka.end_offsets(cluster, ["shop.events"]))[Partition("shop.events", partition)] == 10


async def test_a_reader_from_the_end_sees_only_what_comes(cluster: Cluster, producer: Producer) -> None:
    await producer.send_many([message("old")])
    async with asyncio.timeout(15), contextlib.aclosing(kafka.read_from(cluster, "shop.events", "latest")) as records:
        waiting = asyncio.ensure_future(anext(records))
        while not waiting.done():
            await producer.send_many([message("new")])
            await asyncio.wait({waiting}, timeout=0.2)
        assert waiting.result().key == b"new"


async def test_topics_are_created_once_and_aligned_when_they_differ(cluster: Cluster) -> None:
    topics = declared(["shop"], partitions=2)
    planned = await kafka.create_topics(cluster, topics, dry=True)
    assert await kafka.existing_topics(cluster) == []

    created = await kafka.create_topics(cluster, topics)
    assert created == planned
    assert [line.split(":")[0] for line in created] == ["created shop.events", "created shop.commands", "created shop.dlq"]
    assert await kafka.create_topics(cluster, topics) == []
    assert await kafka.existing_topics(cluster) == ["shop.commands", "shop.dlq", "shop.events"]

    changed = declared(["shop"], partitions=3, retention=timedelta(days=1))
    lines = await kafka.create_topics(cluster, changed)
    assert "altered shop.events: retention.ms 1209600000 -> 86400000" in lines
    assert "shop.events has 2 partitions, 3 are declared: left as it is, keys would move" in lines
    assert [line for line in await kafka.create_topics(cluster, changed) if line.startswith("altered")] == []


async def test_a_dead_letter_may_be_larger_than_what_it_copies() -> None:
    largest = {topic.name: topic.largest for topic in declared(["shop"])}
    assert largest["shop.dlq"] == LARGEST_COPY > largest["shop.events"]


async def test_the_lag_of_a_group_that_never_committed_is_everything(cluster: Cluster, producer: Producer) -> None:
    await producer.send_many([message(str(n)) for n in range(20)])
    assert await kafka.group_offsets(cluster, "shop") == {}
    assert sum((await kafka.lag_of(cluster, "shop", ["shop.events"])).values()) == 20


async def test_the_broker_answers_and_has_a_coordinator(cluster: Cluster) -> None:
    assert await kafka.answers(cluster)
    await kafka.warm_group_coordinator(cluster)
