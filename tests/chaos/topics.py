"""The topics by a client that the services do not use: everything on them, how far groups are, and an echo that says things again."""

from __future__ import annotations

import heapq
import random
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, Consumer, Message, Producer, TopicPartition

from shared.runtime.clock import monotonic

SERVICES = ("deals", "automation", "billing", "scheduler", "notifications")
SPOKEN = tuple(f"{service}.{kind}" for service in SERVICES for kind in ("events", "commands"))
WITHIN = 60.0
QUIET = {"log_level": 0, "reconnect.backoff.ms": 200, "reconnect.backoff.max.ms": 1000}
"""A broker that is away is what we came for."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record in binary mode. `sequence` is 0 where its sender has none."""

    topic: str
    partition: int
    offset: int
    key: bytes
    headers: tuple[tuple[str, bytes], ...]
    value: bytes
    id: str
    type: str
    subject: str
    tenant: str
    sequence: int
    correlation: str
    causation: str
    hops: int
    published: int = 0
    """When the broker's record says, in milliseconds."""

    @property
    def context(self) -> tuple[str, str, str, int]:
        """Tenant, chain, cause and hops, which are those of the event that said it."""
        return self.tenant, self.correlation, self.causation, self.hops

    @property
    def place(self) -> tuple[str, int, int]:
        return self.topic, self.partition, self.offset

    @property
    def content(self) -> tuple[bytes, tuple[tuple[str, bytes], ...], bytes]:
        """What has to be the same in every copy."""
        return self.key, self.headers, self.value

    @property
    def name(self) -> str:
        return self.type.rsplit(".", 1)[0]


def _record(message: Message) -> Record:
    given: Any = message.headers() or ()
    headers = tuple((name, _bytes(content)) for name, content in given)
    said = {name: content.decode() for name, content in headers if name.startswith("ce_")}
    return Record(
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        key=_bytes(message.key()),
        headers=headers,
        value=_bytes(message.value()),
        id=said.get("ce_id", ""),
        type=said.get("ce_type", ""),
        subject=said.get("ce_subject", ""),
        tenant=said.get("ce_tenantid", ""),
        sequence=int(said.get("ce_sequence", "0")),
        correlation=said.get("ce_correlationid", ""),
        causation=said.get("ce_causationid", ""),
        hops=int(said.get("ce_hops", "0")),
        published=message.timestamp()[1],
    )


def _bytes(content: str | bytes | None) -> bytes:
    return content if isinstance(content, bytes) else (content or "").encode()


def read_all(bootstrap: str, topics: Iterable[str] = SPOKEN) -> list[Record]:
    """Every record, in order of offset within each partition, up to where the topics end now. Raises TimeoutError."""
    consumer = _consumer(bootstrap, "chaos-reader")
    try:
        ends = _ends(consumer, topics)
        wanted = {place: end for place, end in ends.items() if end > 0}
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in wanted])
        return _until(consumer, wanted)
    finally:
        consumer.close()


def _until(consumer: Any, wanted: dict[tuple[str, int], int]) -> list[Record]:
    deadline, found, missing = monotonic() + WITHIN, list[Record](), dict(wanted)
    while missing:
        if monotonic() > deadline:
            raise TimeoutError(f"topics could not be read to their ends: {missing}")
        for message in consumer.consume(num_messages=500, timeout=0.2):
            if message.error() is None:
                found.append(_record(message))
                place = (message.topic(), message.partition())
                if message.offset() + 1 >= missing.get(place, 1 << 60):
                    del missing[place]
    return [record for record in found if record.offset < wanted[record.topic, record.partition]]


def lag(bootstrap: str, group: str) -> int:
    """Records that a group has not committed yet, over all topics it has ever committed on."""
    consumer = _consumer(bootstrap, group)
    try:
        ends = _ends(consumer, SPOKEN)
        committed = consumer.committed([TopicPartition(*place) for place in ends], timeout=20)
        return sum(max(0, ends[c.topic, c.partition] - c.offset) for c in committed if c.offset != OFFSET_INVALID)
    finally:
        consumer.close()


def _consumer(bootstrap: str, group: str) -> Any:
    settings = {"bootstrap.servers": bootstrap, "group.id": group, "enable.auto.commit": False, "auto.offset.reset": "earliest"}
    return Consumer({**settings, **QUIET})


def _ends(consumer: Any, topics: Iterable[str]) -> dict[tuple[str, int], int]:
    known = consumer.list_topics(timeout=20).topics
    places = [TopicPartition(topic, partition) for topic in topics for partition in known[topic].partitions]
    return {(p.topic, p.partition): consumer.get_watermark_offsets(p, timeout=20, cached=False)[1] for p in places}


class Echo:
    """Says again, byte for byte, what the services said: some at once, some late. Which, follows from the seed and the message's id.

    `with Echo(...) as echo:` in a thread of its own; at the end it says what it still holds back."""

    def __init__(self, bootstrap: str, seed: int, *, at_once: float = 0.15, late: float = 0.10, latest: float = 12.0) -> None:
        self._bootstrap, self._seed, self._odds, self._latest = bootstrap, seed, (at_once, late), latest
        self._held: list[tuple[float, int, Record]] = []
        self._numbers = count()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="echo", daemon=True)
        self.said = 0
        self.failed: BaseException | None = None

    def __enter__(self) -> Echo:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(WITHIN)

    def _run(self) -> None:
        try:
            self._listen()
        except BaseException as error:
            self.failed = error

    def _listen(self) -> None:
        consumer, producer, heard = _consumer(self._bootstrap, "chaos-echo"), self._producer(), set[str]()
        consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in _ends(consumer, SPOKEN)])
        while not self._stop.is_set():
            for message in consumer.consume(num_messages=200, timeout=0.1):
                if message.error() is None and (record := _record(message)).id not in heard:
                    heard.add(record.id)
                    self._hear(record, producer)
            self._say_due(producer, monotonic())
            producer.poll(0)
        self._say_due(producer, monotonic() + self._latest)
        producer.flush(WITHIN)
        consumer.close()

    def _producer(self) -> Any:
        return Producer({"bootstrap.servers": self._bootstrap, "acks": "all", **QUIET})

    def _hear(self, record: Record, producer: Any) -> None:
        chance = random.Random(f"echo {self._seed} {record.id}")
        at_once, late = self._odds
        drawn = chance.random()
        if drawn < at_once:
            self._say(producer, record)
        elif drawn < at_once + late:
            heapq.heappush(self._held, (monotonic() + chance.uniform(1, self._latest), next(self._numbers), record))

    def _say_due(self, producer: Any, moment: float) -> None:
        while self._held and self._held[0][0] <= moment:
            self._say(producer, heapq.heappop(self._held)[2])

    def _say(self, producer: Any, record: Record) -> None:
        producer.produce(record.topic, key=record.key, value=record.value, headers=list(record.headers), partition=record.partition)
        self.said += 1


def firsts(records: Sequence[Record]) -> list[Record]:
    """Each message once: its first occurrence."""
    found: dict[tuple[str, str], Record] = {}
    for record in records:
        found.setdefault((record.topic, record.id), record)
    return list(found.values())
