"""The relay on real PostgreSQL: nothing lost, nothing overtaken, one leader, loud when it stands still."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg
import pytest

from shared.es.errors import Unavailable
from shared.messaging.kafka import LARGEST_BATCH, Cluster, Producer, create_topics, read_from
from shared.messaging.outbox import Outgoing, put_many
from shared.messaging.records import KafkaRecord
from shared.messaging.relay import Relay
from shared.messaging.topics import Topic
from shared.runtime import failpoints
from shared.runtime.service import Kit
from shared.testing.stack import Stack
from tests.kit.settling import until, until_true


class Post:
    """A publisher that notes what it is given; `takes` decides what it acknowledges."""

    def __init__(self, takes: Callable[[Outgoing], bool] = lambda m: True) -> None:
        self.takes = takes
        self.sent: list[str] = []
        self.away = ""

    async def send_many(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        if self.away:
            raise Unavailable(self.away)
        self.sent += [m.key for m in messages if self.takes(m)]
        return [self.takes(m) for m in messages]


async def put(kit: Kit, *keys: str, topic: str = "toy.events", size: int = 2) -> None:
    async with kit.database.transaction() as tx:
        await put_many(tx, [Outgoing(topic, key, [("ce_id", key.encode())], b"v" * size) for key in keys])


async def left(kit: Kit) -> list[str]:
    async with kit.database.raw() as raw:
        return [row["key"] for row in await raw.fetch("select key from outbox order by position")]


@asynccontextmanager
async def running(relay: Relay) -> AsyncIterator[None]:
    task = asyncio.create_task(relay.run())
    try:
        yield
    finally:
        relay.stop()
        await asyncio.wait_for(task, 10)


async def test_rows_leave_in_order_and_are_deleted_when_acknowledged(kit: Kit) -> None:
    post = Post()
    relay = Relay(kit.database, post, most=3)
    await put(kit, "1", "2", "3", "4", "5")

    assert [await relay.step(), await relay.step(), await relay.step()] == [3, 2, 0]
    assert post.sent == ["1", "2", "3", "4", "5"]
    assert relay.published == {"toy.events": 5}


async def test_what_commits_late_with_a_smaller_position_is_not_lost(kit: Kit) -> None:
    post = Post()
    relay = Relay(kit.database, post)
    async with kit.database.transaction() as slow:
        await put_many(slow, [Outgoing("toy.events", "slow", [], b"")])
        await put(kit, "fast")
        await relay.step()
    await relay.step()

    assert post.sent == ["fast", "slow"]
    assert await left(kit) == []


async def test_what_is_not_acknowledged_stays_at_the_head(kit: Kit) -> None:
    post = Post(takes=lambda m: m.key != "bad")
    relay = Relay(kit.database, post)
    await put(kit, "bad", "1", "2")

    assert await relay.step() == 2
    assert await left(kit) == ["bad"]
    with pytest.raises(Unavailable, match=r"nothing of 1 rows was acknowledged; first: toy\.events key bad"):
        await relay.step()


async def test_one_of_two_relays_leads_until_it_gives_the_lease_back(kit: Kit) -> None:
    first, second, posts = Relay(kit.database, one := Post()), Relay(kit.database, two := Post()), (Post(), Post())
    await put(kit, "1")
    assert await first.step() == 1
    await put(kit, "2")
    assert await second.step() == 0

    async with running(first):
        await until(lambda: one.sent == ["1", "2"])
    await put(kit, "3")

    assert await second.step() == 1
    assert (one.sent, two.sent) == (["1", "2"], ["3"])
    assert posts


async def test_a_relay_that_was_asleep_for_longer_than_its_lease_deletes_nothing(kit: Kit) -> None:
    zombie, successor = Relay(kit.database, old := Post()), Relay(kit.database, new := Post())
    await put(kit, "1")
    await zombie.step()
    async with kit.database.raw() as raw:
        await raw.execute("update leases set until = until - interval '11 s'")
    await put(kit, "2")
    assert await successor.keep_lease()

    assert await zombie.step() == 0
    assert not zombie.leads
    assert await left(kit) == ["2"]
    assert await successor.step() == 1
    assert (old.sent, new.sent) == (["1", "2"], ["2"])


async def test_a_wake_is_all_it_takes(kit: Kit) -> None:
    post = Post()
    relay = Relay(kit.database, post, backstop=timedelta(seconds=60))
    async with running(relay):
        await until(lambda: relay.leads)
        for key in ("1", "2"):
            await put(kit, key)
            relay.wake()
            await until(lambda key=key: key in post.sent, within=5)  # type: ignore[misc]


async def test_what_was_committed_before_the_stop_still_goes(kit: Kit) -> None:
    post = Post()
    relay = Relay(kit.database, post, most=2, backstop=timedelta(seconds=60))
    async with running(relay):
        await until(lambda: relay.leads)
        await put(kit, "1")
        relay.wake()
        await until(lambda: post.sent == ["1"])
        await put(kit, "2", "3", "4", "5", "6")

    assert post.sent == ["1", "2", "3", "4", "5", "6"]


async def test_without_a_wake_the_backstop_finds_the_rows(kit: Kit) -> None:
    post = Post()
    async with running(Relay(kit.database, post, backstop=timedelta(milliseconds=20))):
        await put(kit, "1")
        await until(lambda: post.sent == ["1"], within=5)


async def test_it_stands_still_loudly_and_goes_on_when_the_broker_is_back(kit: Kit, caplog: pytest.LogCaptureFixture) -> None:
    post = Post()
    post.away = "no broker there"
    relay = Relay(kit.database, post)
    await put(kit, "1")
    async with running(relay):
        await until(lambda: relay.last_error == "no broker there")
        assert await left(kit) == ["1"]
        post.away = ""
        await until(lambda: post.sent == ["1"])
        await until(lambda: relay.last_error is None)

    assert "the relay stands still" in caplog.text


async def test_it_survives_the_loss_of_its_connection(kit: Kit, stack: Stack) -> None:
    post = Post()
    relay = Relay(kit.database, post)
    async with running(relay):
        await until(lambda: relay.leads)
        await _cut_connections(kit, stack)
        await put_again(kit, "1")
        await until(lambda: post.sent == ["1"])


async def put_again(kit: Kit, key: str) -> None:
    """The pool has dead connections, too: whoever meets one repeats, as every door does."""

    async def done() -> bool:
        try:
            await put(kit, key)
        except Unavailable:
            return False
        return True

    await until_true(done)


async def _cut_connections(kit: Kit, stack: Stack) -> None:
    async with kit.database.raw() as raw:
        database = await raw.fetchval("select current_database()")
    admin = await asyncpg.connect(stack.admin_url)
    await admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = $1", database)
    await admin.close()


async def test_the_backlog_is_known(kit: Kit) -> None:
    relay = Relay(kit.database, Post())
    await put(kit, "1", "2", "3")
    async with kit.database.raw() as raw:
        await raw.execute("update outbox set at = at - interval '90 s' where key = '2'")

    await relay.keep_lease()

    assert relay.pending == 3
    assert 90 <= relay.oldest < 120


@pytest.fixture
async def planted() -> AsyncIterator[Callable[[str], None]]:
    yield failpoints.plant
    failpoints.plant("")


async def test_half_a_batch_and_a_batch_sent_twice_lose_nothing(kit: Kit, planted: Callable[[str], None]) -> None:
    post = Post()
    relay = Relay(kit.database, post)
    await put(kit, "1", "2", "3", "4")
    planted("relay.mid_batch=partial@1; relay.mid_batch=duplicate@2")

    assert [await relay.step(), await relay.step()] == [2, 2]
    assert post.sent == ["1", "2", "3", "4", "3", "4"]


async def test_a_crash_after_the_acknowledgement_makes_duplicates_only(kit: Kit, planted: Callable[[str], None]) -> None:
    post = Post()
    relay = Relay(kit.database, post)
    await put(kit, "1", "2")
    planted("relay.after_ack=raise@1")

    with pytest.raises(failpoints.FailpointHit):
        await relay.step()
    await relay.step()

    assert post.sent == ["1", "2", "1", "2"]
    assert await left(kit) == []


# ----------------------------------------------------------------------------------------------------- with the real Kafka


@pytest.fixture
async def producer(cluster: Cluster) -> AsyncIterator[Producer]:
    await create_topics(cluster, [Topic("toy.events", 3), Topic("small.events", 1, largest=4000)])
    producer = Producer(cluster)
    yield producer
    await producer.stop()


async def read(cluster: Cluster, topic: str, count: int) -> list[KafkaRecord]:
    found: list[KafkaRecord] = []
    async with asyncio.timeout(15):
        async for record in read_from(cluster, topic):
            found.append(record)
            if len(found) == count:
                break
    return found


async def test_kafka_has_the_rows_byte_for_byte_and_per_key_in_order(kit: Kit, cluster: Cluster, producer: Producer) -> None:
    async with kit.database.transaction() as tx:
        sent = [Outgoing("toy.events", f"k{n % 7}", [("ce_id", b"%d" % n), ("odd", b"\x00\xff")], b"%d" % n) for n in range(200)]
        await put_many(tx, sent)
    relay = Relay(kit.database, producer, most=64)
    while await relay.step():
        pass

    found = await read(cluster, "toy.events", 200)
    by_key = {key: [r for r in found if r.key == key] for key in {r.key for r in found}}
    assert [(r.key, list(r.headers), r.value) for key in by_key for r in by_key[key]] == [
        (m.key.encode(), list(m.headers), m.value) for key in by_key for m in sent if m.key.encode() == key
    ]
    assert all(len({r.partition for r in records}) == 1 for records in by_key.values())


async def test_a_record_that_cannot_be_sent_holds_its_own_partition_and_no_other(kit: Kit, cluster: Cluster, producer: Producer) -> None:
    relay = Relay(kit.database, producer)
    await put(kit, "huge", size=LARGEST_BATCH)
    await put(kit, "huge", "other-1", "other-2", "other-3")

    assert await relay.step() > 0
    assert (await left(kit))[:2] == ["huge", "huge"]
    with pytest.raises(Unavailable, match="too large to be sent"):
        while True:
            await relay.step()


async def test_a_refused_record_stands_at_the_head_and_the_next_ones_go_out_after_it_is_gone(
    kit: Kit, cluster: Cluster, producer: Producer
) -> None:
    """The broker refuses it, which leaves an idempotent producer useless (AK-10): each try has to be made with a new one."""
    relay = Relay(kit.database, producer)
    await put(kit, "refused", topic="small.events", size=5000)
    for _ in range(2):
        with pytest.raises(Unavailable, match="MessageSizeTooLarge"):
            await relay.step()
    async with kit.database.raw() as raw:
        await raw.execute("delete from outbox")
    await put(kit, "small", topic="small.events")

    assert await relay.step() == 1
    assert [r.key for r in await read(cluster, "small.events", 1)] == [b"small"]


async def test_a_topic_that_does_not_exist_stops_the_relay_with_its_name(kit: Kit, cluster: Cluster) -> None:
    producer = Producer(cluster, patience=2)
    await put(kit, "1", topic="nobody.events")
    with pytest.raises(Unavailable, match=r"nobody\.events"):
        await Relay(kit.database, producer).step()
    await producer.stop()
