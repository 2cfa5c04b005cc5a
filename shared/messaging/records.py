"""A record as it came from Kafka: plain data, so that nothing but the one adapter knows its library."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from shared.messaging.envelope import Headers


class Partition(NamedTuple):
    """One partition of one topic. The topic's name is the declared one, without a test's prefix."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}"


@dataclass(frozen=True, slots=True)
class KafkaRecord:
    """`timestamp` is the time of publishing, in milliseconds since the epoch."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Headers
