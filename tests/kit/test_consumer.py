"""The consumer's loop on the real Kafka: order, offsets, back-off, rebalances, and the watchdogs."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import orjson
import pytest

from shared.es.errors import Unavailable
from shared.messaging import consumer as consumers
from shared.messaging import kafka
from shared.messaging.consumer import Consumer, Patience, SilentConsumer, consumer_of, topics_of
from shared.messaging.kafka import Cluster, GroupConsumer, Producer, partition_of
from shared.messaging.outbox import Outgoing
from shared.messaging.records import KafkaRecord, Partition
from shared.messaging.relay import Relay
from shared.messaging.topics import Topic
from shared.messaging.watchdog import EXIT_CODE, LoopWatch, Notes, Span
from shared.runtime import failpoints
from shared.runtime.service import Kit
from tests.kit import toy
from tests.kit.settling import until, until_true

TOPICS = frozenset({"shop.events", "shop.commands"})
PATIENCE = Patience(session=6, look_every=0.3, unmoved=2.0, commit_every=0.02)


def spare_the_tests(code: int) -> None:
    """In place of the end of a process that is everybody's here: on a busy machine this loop may stand still for two seconds."""


@dataclass(eq=False)
class Shop:
    """What a service would do with its messages: here it only notes them."""

    cluster: Cluster
    producer: Producer
    folder: Path
    seen: list[KafkaRecord] = field(default_factory=list)
    batches: list[list[KafkaRecord]] = field(default_factory=list)
    parked: list[KafkaRecord] = field(default_factory=list)
    before: Callable[[Sequence[KafkaRecord]], Awaitable[None]] | None = None

    async def handle(self, records: Sequence[KafkaRecord]) -> None:
        if self.before:
            await self.before(records)
        self.batches.append(list(records))
        self.seen.extend(records)

    async def park(self, record: KafkaRecord) -> None:
        self.parked.append(record)

    async def send(self, *values: str, topic: str = "shop.events") -> None:
        """Each value is its own key up to a '/', so 'deal-1/2' is the second message of deal-1."""
        waiting = [Outgoing(topic, value.split("/")[0], [("ce_id", value.encode())], value.encode()) for value in values]
        while waiting:
            taken = await self.producer.send_many(waiting)
            waiting = [m for m, sent in zip(waiting, taken, strict=True) if not sent]

    def consumer(self, patience: Patience = PATIENCE, end: Callable[[int], object] = spare_the_tests) -> Consumer:
        return Consumer(self.cluster, "shop", TOPICS, self.handle, self.park, self.folder, patience, end)

    def values(self) -> list[str]:
        return [(r.value or b"").decode() for r in self.seen]

    async def caught_up(self) -> bool:
        return sum((await kafka.lag_of(self.cluster, "shop", TOPICS)).values()) == 0


@pytest.fixture
async def shop(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Shop]:
    await kafka.create_topics(cluster, [Topic(name, 4) for name in TOPICS])
    producer = Producer(cluster)
    yield Shop(cluster, producer, tmp_path)
    await producer.stop()


@asynccontextmanager
async def running(consumer: Consumer) -> AsyncIterator[Consumer]:
    task = asyncio.create_task(consumer.run())
    try:
        yield consumer
    finally:
        consumer.stop()
        await asyncio.wait_for(task, 20)


def story(deals: int, steps: int) -> list[str]:
    return [f"deal-{deal}/{step}" for step in range(steps) for deal in range(deals)]


def in_order(values: Sequence[str]) -> bool:
    """First occurrences of every deal in order: a message may come again, but none before an earlier one."""
    steps: dict[str, int] = defaultdict(lambda: -1)
    for value in dict.fromkeys(values):
        deal, step = value.split("/")
        if int(step) < steps[deal]:
            return False
        steps[deal] = int(step)
    return True


async def test_everything_is_handled_once_in_order_and_the_offsets_follow(shop: Shop) -> None:
    sent = story(deals=20, steps=60)
    await shop.send(*sent)
    async with running(shop.consumer()):
        await until(lambda: len(shop.seen) >= len(sent))
        await until_true(shop.caught_up)

    assert Counter(shop.values()) == Counter(sent)
    assert in_order(shop.values())


async def test_what_a_poll_brought_is_one_batch_over_all_partitions(shop: Shop) -> None:
    await shop.send(*story(deals=20, steps=2))
    async with running(shop.consumer()):
        await until(lambda: len(shop.seen) == 40)

    assert len(shop.batches) <= 4
    assert len({r.partition for r in max(shop.batches, key=len)}) > 1


async def test_batches_side_by_side_never_share_a_partition_number(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "MOST", 150)
    at_work: Counter[int] = Counter()
    beside: list[int] = []

    async def overlapping(records: Sequence[KafkaRecord]) -> None:
        numbers = {r.partition for r in records}
        assert not [n for n in numbers if at_work[n]], "two batches share a partition number"
        at_work.update(numbers)
        beside.append(len([n for n, times in at_work.items() if times]) - len(numbers))
        await asyncio.sleep(0.02)
        at_work.subtract(numbers)

    shop.before = overlapping
    sent = story(deals=40, steps=50)
    await shop.send(*sent, topic="shop.events")
    await shop.send(*sent, topic="shop.commands")
    async with running(shop.consumer()) as consumer:
        await until(lambda: len(shop.seen) >= 2 * len(sent))
        assert consumer.last_error is None

    assert max(beside) > 0, "nothing ever ran side by side"
    assert all(in_order([(r.value or b"").decode() for r in shop.seen if r.topic == topic]) for topic in TOPICS)


async def test_a_database_that_is_away_costs_nothing_but_time(shop: Shop) -> None:
    trouble = iter([Unavailable("database: away"), Unavailable("database: away"), RuntimeError("a bug outside of any item")])

    async def sometimes_away(records: Sequence[KafkaRecord]) -> None:
        if error := next(trouble, None):
            raise error

    shop.before = sometimes_away
    sent = story(deals=8, steps=30)
    await shop.send(*sent)
    async with running(shop.consumer()) as consumer:
        await until(lambda: len(shop.seen) >= len(sent))
        await until_true(shop.caught_up)
        assert consumer.last_error is None
        assert consumer.rebuilds == 0

    assert Counter(shop.values()) == Counter(sent)
    assert in_order(shop.values())


async def test_polling_goes_on_while_one_partition_waits(shop: Shop) -> None:
    """Its membership must not expire, and messages elsewhere must not wait for it."""
    bad = next(f"deal-{n}" for n in range(50) if partition_of(f"deal-{n}".encode(), 4) == 0)
    good = next(f"deal-{n}" for n in range(50) if partition_of(f"deal-{n}".encode(), 4) == 1)
    locked = True

    async def held_by_a_stopped_owner(records: Sequence[KafkaRecord]) -> None:
        if locked and any((r.key or b"").decode() == bad for r in records):
            raise Unavailable("a row is locked")

    shop.before = held_by_a_stopped_owner
    async with running(shop.consumer()) as consumer:
        await until(lambda: consumer.settled)
        await shop.send(f"{bad}/0")
        await until(lambda: consumer.last_error == "a row is locked")
        seen = 0
        for step in range(5):
            await shop.send(f"{good}/{step}")
            await until(lambda step=step: f"{good}/{step}" in shop.values())  # type: ignore[misc]
            seen += 1
        locked = False
        await until(lambda: f"{bad}/0" in shop.values())
    assert seen == 5


async def test_back_pressure_bounds_what_is_held(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(consumers, "MOST", 50)
    held: list[int] = []
    consumer = shop.consumer()

    async def slow(records: Sequence[KafkaRecord]) -> None:
        held.append(len(records) + sum(map(len, consumer._waiting.values())))
        await asyncio.sleep(0.005)

    shop.before = slow
    sent = story(deals=20, steps=50)
    await shop.send(*sent)
    async with running(consumer):
        await until(lambda: len(shop.seen) >= len(sent))

    assert max(map(len, shop.batches)) <= 50
    assert max(held) <= 3 * 50


async def test_stopping_finishes_what_runs_and_commits_it(shop: Shop) -> None:
    entered = asyncio.Event()

    async def slow(records: Sequence[KafkaRecord]) -> None:
        entered.set()
        await asyncio.sleep(0.7)

    shop.before = slow
    await shop.send("deal-1/0")
    async with running(shop.consumer(replace(PATIENCE, commit_every=60))):
        await entered.wait()

    assert shop.values() == ["deal-1/0"]
    assert await shop.caught_up()


async def test_a_consumer_waits_for_its_topics_and_for_kafka(cluster: Cluster, tmp_path: Path) -> None:
    seen: list[KafkaRecord] = []

    async def handle(records: Sequence[KafkaRecord]) -> None:
        seen.extend(records)

    async def park(record: KafkaRecord) -> None:
        raise AssertionError

    consumer = Consumer(cluster, "late", frozenset({"late.events"}), handle, park, tmp_path, PATIENCE, spare_the_tests)
    away = Consumer(Cluster("127.0.0.1:1"), "away", frozenset({"late.events"}), handle, park, tmp_path, PATIENCE, spare_the_tests)
    async with running(consumer), running(away):
        await until(lambda: away.last_error is not None and "late.events" in away.last_error)
        await kafka.create_topics(cluster, [Topic("late.events", 1)])
        producer = Producer(cluster)
        await producer.send_many([Outgoing("late.events", "a", [], b"first")])
        await producer.stop()
        await until(lambda: [r.value for r in seen] == [b"first"])


# ------------------------------------------------------------------------------------------------------------ rebalances


async def test_two_members_share_the_work_and_a_departure_gives_it_back(shop: Shop, tmp_path: Path) -> None:
    other = Shop(shop.cluster, shop.producer, tmp_path / "other")
    first = shop.consumer()
    async with running(first):
        await until(lambda: len(first.partitions) == 8)
        async with running(other.consumer()) as second:
            await until(lambda: len(first.partitions) == 4 and len(second.partitions) == 4)
            assert {p.partition for p in first.partitions}.isdisjoint({p.partition for p in second.partitions})
            await shop.send(*story(deals=20, steps=10))
            await until(lambda: len(shop.seen) + len(other.seen) >= 200)
            assert shop.seen
            assert other.seen
        await until(lambda: len(first.partitions) == 8)
        await shop.send("deal-1/99", "deal-2/99", "deal-3/99", "deal-4/99")
        await until(lambda: sum(v.endswith("/99") for v in shop.values()) == 4)

    assert Counter(shop.values() + other.values()) == Counter([*story(20, 10), "deal-1/99", "deal-2/99", "deal-3/99", "deal-4/99"])


async def test_work_of_an_old_generation_is_not_committed_in_a_new_one(shop: Shop, tmp_path: Path) -> None:
    """AK-2: aiokafka would send it with the current generation, and the group would go backwards."""
    other = Shop(shop.cluster, shop.producer, tmp_path / "other")
    entered, release = asyncio.Event(), asyncio.Event()

    async def stuck(records: Sequence[KafkaRecord]) -> None:
        entered.set()
        await release.wait()

    await shop.send(*(f"deal-{n}/0" for n in range(30)))
    first = shop.consumer(replace(PATIENCE, drain=0.5))
    async with running(first):
        shop.before = stuck
        await until(lambda: bool(first._running))
        await entered.wait()
        async with running(other.consumer()):
            await until(lambda: len(first.partitions) == 4)
            shop.before = None
            await until(lambda: bool(other.seen))
            release.set()
            await until(lambda: set(shop.values()) | set(other.values()) == {f"deal-{n}/0" for n in range(30)})
            await until_true(shop.caught_up)

    assert await shop.caught_up()


async def test_a_running_batch_may_finish_before_its_partitions_go(shop: Shop, tmp_path: Path) -> None:
    entered = asyncio.Event()

    async def slow(records: Sequence[KafkaRecord]) -> None:
        entered.set()
        await asyncio.sleep(1.0)

    shop.before = slow
    other = Shop(shop.cluster, shop.producer, tmp_path / "other")
    await shop.send("deal-1/0")
    first = shop.consumer(replace(PATIENCE, commit_every=60))
    async with running(first):
        await entered.wait()
        async with running(other.consumer()) as second:
            await until(lambda: second.settled)
            assert shop.values() == ["deal-1/0"], "the other member had its partitions before our batch was through"


# ------------------------------------------------------------------------------------------------- a consumer fallen silent


def break_fetching(consumer: Consumer) -> None:
    """What a bug in aiokafka's fetch task does (AK-7): it ends, and nobody is told."""
    assert consumer._member is not None

    async def broken(*_: object) -> bool:
        raise ValueError("a bug in the fetch task")

    consumer._member._inner._fetcher._proc_fetch_request = broken


async def test_a_consumer_whose_fetch_task_died_is_rebuilt(shop: Shop) -> None:
    async with running(shop.consumer()) as consumer:
        await until(lambda: consumer.settled)
        await shop.send("deal-1/0")
        await until(lambda: shop.values() == ["deal-1/0"])
        break_fetching(consumer)
        await until(lambda: consumer.rebuilds == 1)
        await shop.send("deal-1/1", "deal-2/0")
        await until(lambda: len(shop.seen) == 3)

    assert Counter(shop.values()) == Counter(["deal-1/0", "deal-1/1", "deal-2/0"])


async def test_lag_without_a_move_is_enough_to_rebuild(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the fetch task lives and yet brings nothing: only progress is believed.

    Patient enough for the silence to be seen before it ends, also on a machine that stands still for a second. The record is sent
    when the fetch task has ended: a request that was under way would still bring it."""
    why_dead = GroupConsumer.dead
    monkeypatch.setattr(GroupConsumer, "dead", lambda self: None)
    async with running(shop.consumer(replace(PATIENCE, unmoved=6.0))) as consumer:
        await until(lambda: consumer.settled)
        break_fetching(consumer)
        await until(lambda: consumer._member is not None and why_dead(consumer._member) is not None)
        await shop.send("deal-1/0")
        await until(lambda: any(state.silent > 1 and state.lag == 1 for state in consumer.partitions.values()))
        await until(lambda: shop.values() == ["deal-1/0"])
        assert consumer.rebuilds == 1


async def test_an_idle_consumer_is_left_alone(shop: Shop) -> None:
    async with running(shop.consumer(replace(PATIENCE, look_every=0.05, unmoved=0.3))) as consumer:
        await until(lambda: consumer.settled)
        await shop.send("deal-1/0")
        await until(lambda: bool(shop.seen))
        for _ in range(20):
            await asyncio.sleep(0.05)
        assert consumer.rebuilds == 0


async def test_the_third_rebuild_ends_the_process(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    consumer = shop.consumer()
    task = asyncio.create_task(consumer.run())
    for rebuild in range(3):
        await until(lambda: consumer.settled or task.done())
        break_fetching(consumer)
        await until(lambda rebuild=rebuild: consumer.rebuilds == rebuild + 1)  # type: ignore[misc]
    with pytest.raises(SilentConsumer, match="fetch task"):
        await asyncio.wait_for(task, 10)
    assert "task shop.batch" in caplog.text or "task Task-" in caplog.text


async def test_a_batch_that_awaits_for_ever_ends_the_process(shop: Shop) -> None:
    never = asyncio.Event()

    async def hang(records: Sequence[KafkaRecord]) -> None:
        await never.wait()

    shop.before = hang
    await shop.send("deal-1/0")
    consumer = shop.consumer(replace(PATIENCE, batch=0.5, drain=0.2))
    with pytest.raises(SilentConsumer, match="does not end"):
        await asyncio.wait_for(consumer.run(), 15)
    never.set()


async def test_history_deleted_before_it_was_read_is_an_alarm(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    handled, begins = {Partition("shop.events", 0): 7}, {Partition("shop.events", 0): 9, Partition("shop.events", 1): 3}
    consumer = shop.consumer()
    consumer._progress.tell_lost(handled, begins)
    consumer._progress.tell_lost(handled, begins)

    assert caplog.text.count("offsets 7 to 8 were deleted before they were handled") == 1
    assert consumer.lost == [Partition("shop.events", 0)]


# ----------------------------------------------------------------------------------------------- a handler that never returns


async def test_a_handler_that_never_returns_is_found_handled_alone_and_parked(shop: Shop) -> None:
    """Three lives of a process, one after the other; each ends where a real one would have ended."""
    ended = threading.Event()

    async def blocks(records: Sequence[KafkaRecord]) -> None:
        if any(r.value == b"deal-5/1" for r in records):
            ended.wait(30)
            raise SystemError("this process has ended")

    shop.before = blocks
    await shop.send(*story(deals=10, steps=3))
    lives: list[int] = []
    for _ in range(3):
        ended.clear()
        consumer = shop.consumer(replace(PATIENCE, session=6.0), end=lambda code: (lives.append(code), ended.set()))  # type: ignore[func-returns-value]
        expected = len(lives) + 1
        async with running(consumer):
            await until(lambda expected=expected: len(lives) == expected, within=20)  # type: ignore[misc]
            consumer.stop()
    async with running(shop.consumer()):
        await until(lambda: bool(shop.parked))
        await until(lambda: len(set(shop.values())) == 29)
        await until_true(shop.caught_up)

    assert lives == [EXIT_CODE] * 3
    assert [r.value for r in shop.parked] == [b"deal-5/1"]
    assert not list(shop.folder.rglob("*.json")), "the note is removed when its range is through"


async def test_the_thread_ends_a_real_process_and_leaves_a_note(shop: Shop) -> None:
    await shop.send("deal-1/0", "deal-1/1", "deal-1/2")
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.kit.stuck_consumer", shop.cluster.bootstrap, shop.cluster.prefix, str(shop.folder),
        stderr=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    _, said = await asyncio.wait_for(child.communicate(), 25)

    assert child.returncode == EXIT_CODE
    assert b"in handle" in said, "the traceback shows where it stood"
    partition = Partition("shop.events", partition_of(b"deal-1", 4))
    note = Notes(shop.folder, "shop").read(partition)
    assert note is not None
    assert (note.first, note.last) == (0, 2)


def test_notes_grow_and_remember_who_was_alone(tmp_path: Path) -> None:
    notes, p, q = Notes(tmp_path, "shop"), Partition("shop.events", 0), Partition("shop.events", 1)
    notes.add([Span(p, 10, 20), Span(q, 3, 3)])
    notes.add([Span(p, 15, 15)])
    notes.add([Span(p, 15, 15)])
    notes.add([Span(p, 16, 16)])

    note = notes.read(p)
    assert note is not None
    assert (note.first, note.last, note.alone) == (10, 20, {15: 2, 16: 1})
    assert (note.convicts(15), note.convicts(16), note.suspects(20), note.suspects(21)) == (True, False, True, False)
    beside = notes.read(q)
    assert beside is not None
    assert beside.alone == {}
    notes.remove(p)
    assert notes.read(p) is None


def test_a_damaged_note_counts_as_none(tmp_path: Path) -> None:
    notes, p = Notes(tmp_path, "shop"), Partition("shop.events", 0)
    notes.add([Span(p, 1, 2)])
    next(tmp_path.rglob("*.json")).write_bytes(orjson.dumps({"first": 1}))
    assert notes.read(p) is None


async def test_a_loop_that_moves_is_never_ended() -> None:
    ended: list[int] = []
    watch = LoopWatch(0.3, list, lambda spans: None, ended.append)
    watch.start()
    for _ in range(40):
        await asyncio.sleep(0.02)
    watch.stop()
    assert ended == []


# ---------------------------------------------------------------------------------------------------------- with a service


async def test_a_message_becomes_an_event_and_its_answer_reaches_kafka(
    kit: Kit, cluster: Cluster, mailbag: toy.Mailbag, tmp_path: Path
) -> None:
    await kafka.create_topics(cluster, [Topic(name, 2) for name in {*topics_of(toy.SERVICE), "toy.events"}])
    producer = Producer(cluster)
    records = [mailbag.record(toy.Put(request_id="r", jar_id=f"jar-{n}", number=2)) for n in range(20)]
    await producer.send_many([Outgoing(r.topic, (r.key or b"").decode(), r.headers, r.value or b"") for r in records])
    relay = Relay(kit.database, producer)
    relaying = asyncio.create_task(relay.run())

    async def answered() -> bool:
        return sum((await kafka.end_offsets(cluster, ["toy.events"])).values()) == 20

    async with running(consumer_of(kit, cluster, tmp_path, PATIENCE)):
        await until_true(answered)
    relay.stop()
    await relaying
    await producer.stop()

    async with kit.database.raw() as raw:
        assert await raw.fetchval("select sum(marbles) from jars_v1") == 40
        assert await raw.fetchval("select count(*) from inbox where consumer = 'toy'") == 20
        assert await raw.fetchval("select count(*) from outbox") == 0


async def test_a_planted_error_before_the_transaction_is_infrastructure(shop: Shop) -> None:
    await shop.send(*story(deals=3, steps=3))
    failpoints.plant("cons.before_tx=raise@1; cons.after_fetch=sleep0.1@2")
    try:
        async with running(shop.consumer()):
            await until(lambda: len(shop.seen) >= 9)
    finally:
        failpoints.plant("")
    assert Counter(shop.values()) == Counter(story(3, 3))
    assert in_order(shop.values())


async def test_an_ambiguous_commit_is_repeated_and_changes_nothing(
    kit: Kit, cluster: Cluster, mailbag: toy.Mailbag, tmp_path: Path
) -> None:
    await kafka.create_topics(cluster, [Topic(name, 1) for name in {*topics_of(toy.SERVICE), "toy.events"}])
    producer = Producer(cluster)
    records = [mailbag.record(toy.Put(request_id="r", jar_id=f"jar-{n % 3}", number=1)) for n in range(30)]
    failpoints.plant("cons.after_commit=unknown@1; cons.before_commit=raise@3")
    try:
        async with running(consumer_of(kit, cluster, tmp_path, PATIENCE)):
            for part in (records[:10], records[10:20], records[20:]):
                await producer.send_many([Outgoing(r.topic, (r.key or b"").decode(), r.headers, r.value or b"") for r in part])
                await until_true(lambda: _lag_is_zero(cluster, "toy", "toy.commands"))
    finally:
        failpoints.plant("")
        await producer.stop()

    async with kit.database.raw() as raw:
        assert await raw.fetchval("select sum(marbles) from jars_v1") == 30
        assert await raw.fetchval("select count(*) from events where type = 'MarblesPut'") == 30


async def _lag_is_zero(cluster: Cluster, group: str, topic: str) -> bool:
    return sum((await kafka.lag_of(cluster, group, [topic])).values()) == 0
