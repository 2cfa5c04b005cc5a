"""Kafka, as far as we use it. The only file that imports aiokafka; the traps it walks round are AK-1 to AK-21 of reliability R5.

Each has a contract test in tests/kit/aiokafka, which fails when aiokafka changes: then this file may become simpler.
Topics and groups carry the names of the design everywhere else; a cluster's `prefix` (tests) is added and removed here."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections import defaultdict
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.errors import (
    CommitFailedError,
    ConsumerStoppedError,
    IllegalStateError,
    KafkaError,
    TopicAlreadyExistsError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.partitioner import murmur2

from shared.es.errors import Unavailable
from shared.messaging.outbox import Outgoing
from shared.messaging.records import KafkaRecord, Partition
from shared.messaging.topics import LARGEST_COPY, LARGEST_RECORD, Topic
from shared.runtime.clock import monotonic, now
from shared.runtime.failpoints import afp

log = logging.getLogger(__name__)

Offsets = Mapping[Partition, int]

FULL_BATCH = LARGEST_RECORD - 64 * 1024
"""Bytes of one record batch: the broker measures whole batches against max.message.bytes, and compares after compression."""
LARGEST_BATCH = LARGEST_COPY
"""A single record above this is never sent: it would only kill the producer (AK-10)."""
REQUEST_TIMEOUT = 30_000


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where Kafka is and how to be let in. `prefix` keeps tests apart that share a broker; empty everywhere else."""

    bootstrap: str
    prefix: str = ""
    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "PLAIN"
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    ca_file: str | None = None

    def full(self, name: str) -> str:
        return self.prefix + name

    def short(self, name: str) -> str:
        return name.removeprefix(self.prefix)

    def client(self) -> dict[str, Any]:
        """What every client of ours is made with."""
        secure = self.protocol in ("SSL", "SASL_SSL")
        return {
            "bootstrap_servers": self.bootstrap,
            "request_timeout_ms": REQUEST_TIMEOUT,
            "metadata_max_age_ms": 30_000,
            "security_protocol": self.protocol,
            "ssl_context": ssl.create_default_context(cafile=self.ca_file) if secure else None,
            "sasl_mechanism": self.mechanism,
            "sasl_plain_username": self.username,
            "sasl_plain_password": self.password,
        }


def cluster_of(where: str | Cluster) -> Cluster:
    return where if isinstance(where, Cluster) else Cluster(where)


@lru_cache(maxsize=100_000)
def partition_of(key: bytes, partitions: int) -> int:
    """The partition that the Java client chooses for a key (E5). aiokafka's murmur2 is Python, 8 us for a uuid: hence the cache."""
    return int((murmur2(key) & 0x7FFFFFFF) % partitions)


# ------------------------------------------------------------------------------------------------------------- producing


@dataclass(slots=True)
class _Parcel:
    """One partition's batch of a round, and where its messages stand among those given."""

    topic: str
    partition: int
    batch: Any
    places: list[int] = field(default_factory=list)
    closed: bool = False


class Producer:
    """A Publisher that lives as long as the process; the aiokafka producer inside is thrown away at the first trouble.

    Idempotent, acks=all, linger 0, one explicit batch per partition and never two in flight (AK-9 to AK-11). A round ends after
    `patience` seconds at the latest. What does not fit into a partition's batch is left for the next round."""

    def __init__(self, where: str | Cluster, *, compression: Literal["gzip"] | None = None, patience: float = 15.0) -> None:
        self._cluster = cluster_of(where)
        self._compression = compression
        self._patience = patience
        self._inner: Any = None

    async def send_many(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        """Which were acknowledged by all in-sync replicas. Raises Unavailable, with the reason, when none was.

        Only one caller at a time; cancelled only when the producer is not used again."""
        if not messages:
            return ()
        try:
            async with asyncio.timeout(self._patience):
                inner = await self._started()
                parcels = await self._packed(inner, messages)
                acks = [await _handed_over(inner, parcel) for parcel in parcels]
        except (KafkaError, OSError, TimeoutError) as error:
            await self._discard(error)
            raise Unavailable(f"Kafka takes nothing: {_said(error)}") from error
        return await self._acknowledged(messages, parcels, acks)

    async def stop(self, within: float = 5.0) -> None:
        """Nothing is in flight between two rounds, so there is nothing to flush."""
        inner, self._inner = self._inner, None
        if inner is not None:
            await discard(inner, "stopped", within)

    async def _started(self) -> Any:
        if self._inner is None:
            self._inner = AIOKafkaProducer(
                **self._cluster.client(),
                acks="all",
                enable_idempotence=True,
                linger_ms=0,
                max_batch_size=FULL_BATCH,
                compression_type=self._compression,
            )
            await self._inner.start()
        return self._inner

    async def _packed(self, inner: Any, messages: Sequence[Outgoing]) -> list[_Parcel]:
        """In the order given, per partition up to the first message that does not fit. The record timestamp is now (R2)."""
        stamp = int(now().timestamp() * 1000)
        counts = {topic: await self._count(inner, self._cluster.full(topic)) for topic in {m.topic for m in messages}}
        parcels: dict[tuple[str, int], _Parcel] = {}
        for place, m in enumerate(messages):
            key = m.key.encode()
            lane = m.topic, partition_of(key, counts[m.topic])
            parcel = parcels.get(lane)
            if parcel is None:
                parcel = parcels[lane] = _Parcel(self._cluster.full(m.topic), lane[1], inner.create_batch())
            if not parcel.closed:
                _put(parcel, place, stamp, key, m)
        return [parcel for parcel in parcels.values() if parcel.places]

    async def _count(self, inner: Any, topic: str) -> int:
        try:
            async with asyncio.timeout(self._patience / 2):
                return len(await inner.partitions_for(topic))
        except TimeoutError:
            raise UnknownTopicOrPartitionError(f"there is no topic {topic}, or it has no leader: create the topics first") from None

    async def _acknowledged(self, messages: Sequence[Outgoing], parcels: list[_Parcel], acks: list[asyncio.Future[Any]]) -> Sequence[bool]:
        result = [False] * len(messages)
        if acks:
            await asyncio.wait(acks, timeout=self._patience)
        trouble = [] if acks else [f"{messages[0].topic} key {messages[0].key}: the record is too large to be sent"]
        for parcel, ack in zip(parcels, acks, strict=True):
            error = ack.exception() if ack.done() else TimeoutError(f"no acknowledgement within {self._patience:g} s")
            if error is None:
                for place in parcel.places:
                    result[place] = True
            else:
                trouble.append(f"{parcel.topic}-{parcel.partition}: {_said(error)}")
        if trouble:
            await self._in_trouble(trouble, sent=any(result), discard_inner=bool(acks))
        return result

    async def _in_trouble(self, trouble: list[str], *, sent: bool, discard_inner: bool) -> None:
        reason = "; ".join(trouble[:3])
        if discard_inner:
            await self._discard(KafkaError(reason))
        if not sent:
            raise Unavailable(f"Kafka refuses what is first: {reason}")
        log.error("not acknowledged, sent again: %s", reason)

    async def _discard(self, error: BaseException) -> None:
        inner, self._inner = self._inner, None
        if inner is not None:
            await discard(inner, _said(error))


def _put(parcel: _Parcel, place: int, stamp: int, key: bytes, m: Outgoing) -> None:
    """Adds the message, or closes the parcel: later messages of the partition must not overtake this one."""
    if not parcel.places and len(key) + len(m.value) + sum(len(n) + len(c) + 8 for n, c in m.headers) > LARGEST_BATCH - 1024:
        log.error("a record of %d bytes for %s (key %s) cannot be sent at all: the relay stops here", len(m.value), m.topic, m.key)
        parcel.closed = True
    elif parcel.batch.append(timestamp=stamp, key=key, value=m.value, headers=list(m.headers)) is None:
        parcel.closed = True
    else:
        parcel.places.append(place)


async def _handed_over(inner: Any, parcel: _Parcel) -> asyncio.Future[Any]:
    """The acknowledgement to come. Its exception counts as seen: it may come after we have stopped waiting."""
    ack: asyncio.Future[Any] = await inner.send_batch(parcel.batch, parcel.topic, partition=parcel.partition)
    ack.add_done_callback(lambda done: done.cancelled() or done.exception())
    return ack


async def discard(producer: Any, reason: str, within: float = 1.0) -> None:
    """The recipe of AK-9: an idempotent aiokafka producer neither times out nor recovers, so it goes, in about a second.

    What it still had in flight may arrive later: a duplicate, which every inbox drops."""
    await _let_go(producer.stop(), within)
    producer._message_accumulator.fail_all(KafkaError(reason))
    sender = producer._sender.sender_task
    await _let_go(producer.client.close(), 1.0)
    if sender is not None and not sender.done():
        sender.cancel()
        await asyncio.wait([sender], timeout=1)
    if sender is not None and sender.done() and not sender.cancelled():
        sender.exception()


async def _let_go(farewell: Awaitable[object], within: float) -> BaseException | None:
    """Returns what went wrong, if anything did. aiokafka's farewells may block (AK-8), and may even raise CancelledError."""
    task = asyncio.ensure_future(farewell)
    await asyncio.wait({task}, timeout=within)
    if not task.done():
        task.cancel()
        return TimeoutError(f"it did not end within {within:g} s")
    return asyncio.CancelledError("cancelled inside") if task.cancelled() else task.exception()


def _said(error: BaseException) -> str:
    return str(error) or type(error).__name__


# ------------------------------------------------------------------------------------------------------------- consuming


class GroupConsumer:
    """One membership in a group, from `start` to `stop`. Never started twice: who is in trouble makes a new one.

    Auto-commit is off (AK-1), nothing is deserialised here (AK-12), transactions of foreign producers are read when committed.
    The range assignor gives partition n of every topic to the same member: what is about one deal meets in one process."""

    def __init__(
        self,
        where: str | Cluster,
        group: str,
        topics: Collection[str],
        *,
        session: float = 30.0,
        revoked: Callable[[], Awaitable[None]],
        assigned: Callable[[frozenset[Partition]], Awaitable[None]],
    ) -> None:
        self._cluster = cluster_of(where)
        self._topics = [self._cluster.full(topic) for topic in topics]
        self._inner = AIOKafkaConsumer(
            **self._cluster.client(),
            group_id=self._cluster.full(group),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            session_timeout_ms=int(session * 1000),
            heartbeat_interval_ms=int(min(3.0, session / 3) * 1000),
            rebalance_timeout_ms=60_000,
            max_poll_interval_ms=120_000,
            max_partition_fetch_bytes=LARGEST_RECORD,
            partition_assignment_strategy=(RangePartitionAssignor,),
        )
        self._inner.subscribe(self._topics, listener=_Listener(self, revoked, assigned))
        self._polls = _Polls(self._inner, self._cluster)

    async def start(self) -> None:
        """Raises Unavailable when Kafka is away, or a topic is missing."""
        try:
            await self._inner.start()
        except (KafkaError, OSError, TimeoutError) as error:
            await self.stop(1.0)
            raise Unavailable(f"Kafka lets nobody in to read {', '.join(self._topics)}: {_said(error)}") from error

    async def poll(self, most: int) -> dict[Partition, list[KafkaRecord]]:
        """What is there, waiting up to half a second for the first record. Never cancel it, never put it into wait_for (AK-6).

        Also called with nothing assigned (AK-14). Raises Unavailable when this membership is beyond repair."""
        try:
            return await self._polls.next(most)
        except (KafkaError, ConsumerStoppedError) as error:
            raise Unavailable(f"the consumer cannot go on: {_said(error)}") from error

    async def commit(self, offsets: Offsets, within: float = 5.0) -> bool:
        """Explicit offsets, a deadline (AK-8), and never an exception: offsets are a hint, the inbox is the truth."""
        try:
            await asyncio.wait_for(self._inner.commit({self._tp(p): offset for p, offset in offsets.items()}), within)
        except (CommitFailedError, IllegalStateError) as error:
            log.info("offsets not committed, the group has moved on: %s", error)
        except (KafkaError, OSError, TimeoutError) as error:
            log.warning("offsets not committed: %s", _said(error))
        else:
            return True
        return False

    def assigned(self) -> frozenset[Partition]:
        return frozenset(self._partition(tp) for tp in self._inner.assignment())

    def position(self, partition: Partition) -> int | None:
        """The next offset to be handed out; None as long as it is not known. Does not wait."""
        state = self._state(partition)
        return state.position if state is not None and state.has_valid_position else None

    def pause(self, partitions: Iterable[Partition]) -> None:
        for tp in self._still(partitions):
            self._inner.pause(tp)

    def resume(self, partitions: Iterable[Partition]) -> None:
        for tp in self._still(partitions):
            self._inner.resume(tp)

    def seek(self, offsets: Offsets) -> None:
        """What is no longer assigned is left alone."""
        for tp in self._still(offsets):
            self._inner.seek(tp, offsets[self._partition(tp)])

    async def end_offsets(self, partitions: Collection[Partition], within: float = 5.0) -> Offsets:
        """Raises Unavailable when the broker does not say."""
        return await self._told(self._inner.end_offsets([self._tp(p) for p in partitions]), within)

    async def beginning_offsets(self, partitions: Collection[Partition], within: float = 5.0) -> Offsets:
        return await self._told(self._inner.beginning_offsets([self._tp(p) for p in partitions]), within)

    async def committed(self, partitions: Collection[Partition], within: float = 5.0) -> Offsets:
        """The group's offsets, where there are any."""
        found = {}
        for p in partitions:
            with _away():
                offset = await asyncio.wait_for(self._inner.committed(self._tp(p)), within)
            if offset is not None:
                found[p] = offset
        return found

    def dead(self) -> str | None:
        """Why nothing will ever arrive again: the fetch task has ended and told nobody (AK-7)."""
        task = self._inner._fetcher.error_future if self._inner._fetcher else None
        if task is None or not task.done():
            return None
        return "the fetch task was cancelled" if task.cancelled() else f"the fetch task ended: {task.exception()!r}"

    async def stop(self, within: float = 5.0) -> bool:
        """Leave the group. After the deadline the membership is abandoned, and the broker finds out by itself (AK-8)."""
        error = await _let_go(self._inner.stop(), within)
        if error is not None:
            await self._abandon()
            log.warning("a consumer was abandoned, not stopped: %s", _said(error))
        return error is None

    async def _abandon(self) -> None:
        inner = self._inner
        tasks = [getattr(inner._coordinator, name, None) for name in ("_coordination_task", "_heartbeat_task", "_commit_refresh_task")]
        tasks += [inner._fetcher._fetch_task, *inner._fetcher._pending_tasks] if inner._fetcher else []
        left = [task for task in tasks if task is not None and not task.done()]
        for task in left:
            task.cancel()
        await _let_go(inner._client.close(), 1.0)
        if left:
            await asyncio.wait(left, timeout=1)

    async def _told(self, question: Awaitable[Mapping[Any, int]], within: float) -> Offsets:
        with _away():
            answer = await asyncio.wait_for(question, within)
        return {self._partition(tp): offset for tp, offset in answer.items()}

    def _still(self, partitions: Iterable[Partition]) -> list[Any]:
        assignment = self._inner.assignment()
        return [tp for tp in map(self._tp, partitions) if tp in assignment]

    def _state(self, partition: Partition) -> Any:
        subscription = self._inner._subscription.subscription
        assignment = subscription.assignment if subscription is not None else None
        return assignment.state_value(self._tp(partition)) if assignment is not None else None

    def _tp(self, partition: Partition) -> Any:
        return TopicPartition(self._cluster.full(partition.topic), partition.partition)

    def _partition(self, tp: Any) -> Partition:
        return Partition(self._cluster.short(tp.topic), tp.partition)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Rebalances run in the background, beside whatever is being handled (AK-3); exceptions in here would be swallowed."""

    def __init__(
        self, consumer: GroupConsumer, revoked: Callable[[], Awaitable[None]], assigned: Callable[[frozenset[Partition]], Awaitable[None]]
    ) -> None:
        self._consumer, self._revoked, self._assigned = consumer, revoked, assigned

    async def on_partitions_revoked(self, revoked: Collection[Any]) -> None:
        await self._revoked()
        await afp("cons.on_revoked")

    async def on_partitions_assigned(self, assigned: Collection[Any]) -> None:
        await afp("cons.on_assigned")
        await self._assigned(self._consumer.assigned())


@contextlib.contextmanager
def _away() -> Any:
    try:
        yield
    except (KafkaError, OSError, TimeoutError) as error:
        raise Unavailable(f"Kafka does not say: {_said(error)}") from error


class _Polls:
    """`getmany`, which steps over what aiokafka cannot read.

    A header whose name is not UTF-8 makes every poll raise, and holds back what stands before it (AK-22). So the polls that
    follow take one record each; the one that raises then is the culprit, and is handed out without its content."""

    def __init__(self, inner: Any, cluster: Cluster) -> None:
        self._inner, self._cluster, self._one_by_one = inner, cluster, False

    async def next(self, most: int | None) -> dict[Partition, list[KafkaRecord]]:
        try:
            found = await self._inner.getmany(timeout_ms=500, max_records=1 if self._one_by_one else most)
        except UnicodeDecodeError as error:
            return self._stepped_over(error)
        self._one_by_one &= bool(found)
        records = ((self._cluster.short(tp.topic), tp.partition, rs) for tp, rs in found.items())
        return {Partition(topic, partition): [_record(topic, r) for r in rs] for topic, partition, rs in records}

    def _stepped_over(self, error: UnicodeDecodeError) -> dict[Partition, list[KafkaRecord]]:
        if not self._one_by_one:
            self._one_by_one = True
            return {}
        self._one_by_one = False
        tp = next(iter(self._inner._fetcher._records))
        offset = self._inner._subscription.subscription.assignment.state_value(tp).position
        self._inner.seek(tp, offset + 1)
        log.error("%s-%d offset %d cannot be read, a header's name is not UTF-8: %s", tp.topic, tp.partition, offset, error)
        partition, stamp = Partition(self._cluster.short(tp.topic), tp.partition), int(now().timestamp() * 1000)
        return {partition: [KafkaRecord(*partition, offset, stamp, None, None, (("unreadable", str(error).encode()),))]}


def _record(topic: str, r: Any) -> KafkaRecord:
    """A header without content (null, which other clients may send) becomes an empty one: ours are bytes."""
    headers = r.headers
    if None in [content for _, content in headers]:
        headers = tuple((name, content or b"") for name, content in headers)
    return KafkaRecord(topic, r.partition, r.offset, r.timestamp, r.key, r.value, headers)


async def read_from(
    where: str | Cluster, topic: str, offsets: Mapping[int, int] | Literal["earliest", "latest"] = "earliest"
) -> AsyncGenerator[KafkaRecord, None]:
    """Every record from there on, for ever, without a group: for people who watch, feeds and tests.

    `offsets` maps a partition to the first offset wanted; partitions it does not name start at their beginning.
    Close it (`aclose`, or leave the loop of a `contextlib.aclosing`) to let go of the connection. Raises Unavailable."""
    cluster = cluster_of(where)
    inner = AIOKafkaConsumer(**cluster.client(), enable_auto_commit=False, auto_offset_reset="earliest", isolation_level="read_committed")
    try:
        with _away():
            await inner.start()
            await _begin(inner, cluster.full(topic), offsets)
        polls = _Polls(inner, cluster)
        while True:
            with _away():
                found = await polls.next(None)
            for records in found.values():
                for record in records:
                    yield record
    finally:
        await _let_go(inner.stop(), 5.0)


async def _begin(inner: Any, topic: str, offsets: Mapping[int, int] | Literal["earliest", "latest"]) -> None:
    tps = [TopicPartition(topic, p) for p in sorted(await inner._client._wait_on_metadata(topic))]
    inner.assign(tps)
    if offsets == "latest":
        ends = await inner.end_offsets(tps)
        wanted = {tp: ends[tp] for tp in tps}
    else:
        wanted = {} if offsets == "earliest" else {tp: offsets[tp.partition] for tp in tps if tp.partition in offsets}
    for tp, offset in wanted.items():
        inner.seek(tp, offset)


# --------------------------------------------------------------------------------------------------------- administration


@contextlib.asynccontextmanager
async def _admin(cluster: Cluster, within: float = 30.0) -> AsyncIterator[Any]:
    """Raises Unavailable when Kafka is away. `within`: seconds for a request."""
    admin = AIOKafkaAdminClient(**{**cluster.client(), "request_timeout_ms": int(within * 1000)})
    try:
        with _away():
            await asyncio.wait_for(admin.start(), within)
            yield admin
    finally:
        await _let_go(admin.close(), 2.0)


async def answers(where: str | Cluster, within: float = 3.0) -> bool:
    """Does a metadata request get an answer? Quietly: who waits for a broker asks many times (KF-6)."""
    cluster = cluster_of(where)
    if not await _somebody_listens(cluster.bootstrap):
        return False
    with contextlib.suppress(Unavailable):
        async with _admin(cluster, within) as admin:
            return bool((await admin.describe_cluster())["brokers"])
    return False


async def _somebody_listens(bootstrap: str) -> bool:
    for address in bootstrap.split(","):
        host, _, port = address.strip().rpartition(":")
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(1):
                _, writer = await asyncio.open_connection(host, int(port))
            writer.close()
            return True
    return False


async def warm_group_coordinator(where: str | Cluster, within: float = 30.0) -> None:
    """Ask for the coordinator of a throw-away group until one answers: that creates Kafka's topic of offsets (KF-7). Raises Unavailable."""
    cluster, deadline = cluster_of(where), monotonic() + within
    async with _admin(cluster) as admin:
        while True:
            try:
                await admin.find_coordinator(cluster.full("warm-up"))
                return
            except KafkaError as error:
                if monotonic() > deadline:
                    raise Unavailable(f"no group coordinator: {_said(error)}") from error
            await asyncio.sleep(0.1)


async def create_topics(where: str | Cluster, topics: Collection[Topic], *, dry: bool = False) -> list[str]:
    """Creates what is missing, alters settings that differ. Returns what was done, a line each; `dry`: what would be.

    The number of partitions is never changed: keys would move (E5). A difference is said, and left. Raises Unavailable."""
    cluster = cluster_of(where)
    async with _admin(cluster) as admin:
        brokers = len((await admin.describe_cluster())["brokers"])
        there = {cluster.short(t["topic"]): t for t in await admin.describe_topics() if t["topic"].startswith(cluster.prefix)}
        missing = [topic for topic in topics if topic.name not in there]
        if missing and not dry:
            await _create(admin, cluster, missing, brokers)
        done = [f"created {t.name}: {t.partitions} partitions, {_copies(t, brokers)} copies" for t in missing]
        for topic in (t for t in topics if t.name in there):
            done += await _align(admin, cluster, topic, there[topic.name], dry)
    return done


def _copies(topic: Topic, brokers: int) -> int:
    return topic.replication or max(1, min(3, brokers))


async def _create(admin: Any, cluster: Cluster, topics: Sequence[Topic], brokers: int) -> None:
    wanted = [
        NewTopic(cluster.full(t.name), t.partitions, _copies(t, brokers), topic_configs=dict(t.config(_copies(t, brokers)))) for t in topics
    ]
    response = await admin.create_topics(wanted, timeout_ms=30_000)
    for name, code, *said in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            raise Unavailable(f"{cluster.short(name)} could not be created: {error.__name__} {said[0] if said else ''}")


async def _align(admin: Any, cluster: Cluster, topic: Topic, there: Any, dry: bool) -> list[str]:
    done, copies = [], len(there["partitions"][0]["replicas"])
    if (partitions := len(there["partitions"])) != topic.partitions:
        done.append(f"{topic.name} has {partitions} partitions, {topic.partitions} are declared: left as it is, keys would move")
    wanted = topic.config(copies)
    current = await _current_config(admin, cluster.full(topic.name))
    different = [f"{name} {current.get(name)} -> {value}" for name, value in wanted.items() if current.get(name) != value]
    if different and not dry:
        for response in await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, cluster.full(topic.name), dict(wanted))]):
            for code, said, *_ in response.resources:
                if code:
                    raise Unavailable(f"{topic.name} could not be altered: {for_code(code).__name__} {said}")
    return done + [f"altered {topic.name}: {what}" for what in different]


async def _current_config(admin: Any, name: str) -> dict[str, str]:
    responses = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    return {entry[0]: entry[1] for response in responses for resource in response.resources for entry in resource[4]}


async def existing_topics(where: str | Cluster) -> list[str]:
    """Names, sorted; of a cluster with a prefix only its own, and never Kafka's. Raises Unavailable."""
    cluster = cluster_of(where)
    async with _admin(cluster) as admin:
        names = await admin.list_topics()
    return sorted(cluster.short(name) for name in names if name.startswith(cluster.prefix) and not name.startswith("__"))


async def delete_topics(where: str | Cluster, names: Collection[str]) -> None:
    """For tests and for starting over: what is gone is gone, the group's offsets on it too. Unknown names are ignored."""
    cluster = cluster_of(where)
    async with _admin(cluster) as admin:
        await admin.delete_topics([cluster.full(name) for name in names])


async def end_offsets(where: str | Cluster, topics: Collection[str]) -> Offsets:
    """Where each partition ends now. Raises Unavailable."""
    cluster = cluster_of(where)
    inner = AIOKafkaConsumer(**cluster.client(), enable_auto_commit=False)
    try:
        with _away():
            await inner.start()
            tps = [TopicPartition(name, p) for name in map(cluster.full, topics) for p in await inner._client._wait_on_metadata(name)]
            ends = await inner.end_offsets(tps)
    finally:
        await _let_go(inner.stop(), 2.0)
    return {Partition(cluster.short(tp.topic), tp.partition): offset for tp, offset in ends.items()}


async def group_offsets(where: str | Cluster, group: str) -> Offsets:
    """What the group has committed, also of topics it has left since. Raises Unavailable."""
    cluster = cluster_of(where)
    async with _admin(cluster) as admin:
        found = await admin.list_consumer_group_offsets(cluster.full(group))
    return {Partition(cluster.short(tp.topic), tp.partition): entry.offset for tp, entry in found.items() if entry.offset >= 0}


async def lag_of(where: str | Cluster, group: str, topics: Collection[str]) -> Mapping[Partition, int]:
    """Records between what the group has committed and the end, per partition. Raises Unavailable."""
    ends, committed = await asyncio.gather(end_offsets(where, topics), group_offsets(where, group))
    lags: dict[Partition, int] = defaultdict(int)
    for partition, end in ends.items():
        lags[partition] = max(0, end - committed.get(partition, 0))
    return lags
