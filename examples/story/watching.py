"""Watches the topics as any outsider would, with a Kafka client that the services do not use (librdkafka)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import orjson
from confluent_kafka import Consumer, Message, TopicPartition

SERVICES = ("deals", "automation", "billing", "scheduler", "notifications")
TOPICS = tuple(f"{service}.{kind}" for service in SERVICES for kind in ("events", "commands"))


@dataclass(frozen=True)
class Seen:
    """One message. `after` is the monotonic moment at which it was read here."""

    type: str
    id: str
    subject: str
    tenant: str
    time: datetime
    correlation: str
    cause: str
    actor: str
    topic: str
    partition: int
    offset: int
    data: Any
    after: float

    @property
    def name(self) -> str:
        return self.type.rsplit(".", 1)[0]


class NotSeen(Exception):
    """What was waited for did not come."""


class Watcher:
    """`with Watcher(bootstrap) as watcher`: everything published from then on is kept, in the order read."""

    def __init__(self, bootstrap: str, topics: Sequence[str] = TOPICS) -> None:
        self._consumer = Consumer(
            {
                "bootstrap.servers": bootstrap,
                "group.id": "story-watcher",
                "enable.auto.commit": False,
                "auto.offset.reset": "latest",
                "fetch.wait.max.ms": 20,
            }
        )
        self._topics = topics
        self._seen: list[Seen] = []
        self._more = threading.Condition()
        self._stop = threading.Event()

    def __enter__(self) -> Watcher:
        known = self._consumer.list_topics(timeout=10).topics
        missing = [topic for topic in self._topics if topic not in known]
        if missing:
            raise NotSeen(f"Kafka has no topic {', '.join(missing)}: are the services up?")
        self._consumer.assign([self._end_of(topic, p) for topic in self._topics for p in known[topic].partitions])
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)
        self._thread.start()
        return self

    def _end_of(self, topic: str, partition: int) -> TopicPartition:
        """A place that is known misses nothing said from now on. Asked before the thread consumes: beside it no answer would come."""
        ends = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10, cached=False)
        if not ends:
            raise NotSeen(f"Kafka did not say where {topic}[{partition}] ends")
        return TopicPartition(topic, partition, ends[1])

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(10)
        self._consumer.close()

    def _watch(self) -> None:
        while not self._stop.is_set():
            message = self._consumer.poll(0.05)
            seen = _seen(message) if message is not None else None
            if seen is not None:
                with self._more:
                    self._seen.append(seen)
                    self._more.notify_all()

    def first(self, type: str, holds: Callable[[Seen], bool] = lambda seen: True, *, within: float = 30.0) -> Seen:
        """The first message of a type (its version left out) that fits, seen already or awaited. Raises NotSeen.

        Each message is asked about once, so `holds` must not depend on which others have been seen."""
        deadline = time.monotonic() + within
        looked = 0
        with self._more:
            while True:
                for seen in self._seen[looked:]:
                    if seen.name == type and holds(seen):
                        return seen
                looked = len(self._seen)
                left = deadline - time.monotonic()
                if left <= 0 or not self._more.wait(left):
                    raise NotSeen(f"no {type} of the expected kind within {within:g} s; last seen: {self._last()}")

    def all(self, holds: Callable[[Seen], bool]) -> Iterator[Seen]:
        with self._more:
            kept = list(self._seen)
        return (seen for seen in kept if holds(seen))

    def _last(self) -> str:
        return ", ".join(seen.name for seen in self._seen[-8:]) or "nothing"


def _seen(message: Message) -> Seen | None:
    if message.error() is not None:
        return None
    headers = dict(message.headers() or ())
    try:
        text = {name.removeprefix("ce_"): value.decode() for name, value in headers.items() if isinstance(value, bytes)}
        at = datetime.fromisoformat(text["time"])
        data = orjson.loads(message.value() or b"null")
    except (KeyError, ValueError):
        return None
    return Seen(
        text.get("type", ""),
        text.get("id", ""),
        text.get("subject", ""),
        text.get("tenantid", ""),
        at,
        text.get("correlationid", ""),
        text.get("causationid", ""),
        text.get("actor", ""),
        message.topic() or "",
        message.partition() or 0,
        message.offset() or 0,
        data,
        time.monotonic(),
    )
