"""The declared topics: what a service says, what it is asked, and copies of what it parked (E3, R2)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta

PARTITIONS = 12
RETENTION = timedelta(days=14)
LARGEST_RECORD = 1024 * 1024
LARGEST_COPY = 2 * LARGEST_RECORD
"""A dead letter is the whole original and a few headers: it must not be refused where the original was not."""


@dataclass(frozen=True, slots=True)
class Topic:
    """`replication` None: three copies, or as many as there are brokers. The number of partitions is never raised in place (E5)."""

    name: str
    partitions: int = PARTITIONS
    retention: timedelta = RETENTION
    largest: int = LARGEST_RECORD
    replication: int | None = None

    def config(self, copies: int) -> Mapping[str, str]:
        """What the broker keeps for it; every entry that is ours, because altering replaces them all."""
        return {
            "cleanup.policy": "delete",
            "retention.ms": str(self.retention // timedelta(milliseconds=1)),
            "max.message.bytes": str(self.largest),
            "min.insync.replicas": str(max(1, copies - 1)),
            "unclean.leader.election.enable": "false",
        }


def declared(
    services: Iterable[str], *, partitions: int = PARTITIONS, retention: timedelta = RETENTION, replication: int | None = None
) -> tuple[Topic, ...]:
    """Three for each service. Names carry no prefix: that of a test is added where Kafka is asked."""
    return tuple(
        Topic(f"{service}.{kind}", partitions, retention, largest, replication)
        for service in services
        for kind, largest in (("events", LARGEST_RECORD), ("commands", LARGEST_RECORD), ("dlq", LARGEST_COPY))
    )
