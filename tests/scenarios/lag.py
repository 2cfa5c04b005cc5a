"""How much of what lies on the topics the services have not handled yet: all groups, two questions to the broker."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from confluent_kafka import OFFSET_INVALID, ConsumerGroupTopicPartitions, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # it is there, but not in their list

from shared.messaging.handling import prepare
from shared.runtime.service import Service

WITHIN = 20.0
LATEST = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class Lag:
    def __init__(self, bootstrap: str, services: Sequence[Service], topics: Iterable[str]) -> None:
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        self._hears = {service.name: frozenset(prepare(service).topics) for service in services}
        known = self._admin.list_topics(timeout=WITHIN).topics
        self._places = [TopicPartition(topic, partition) for topic in topics for partition in known[topic].partitions]

    def now(self) -> int:
        """Committed first, then the ends: what is published in between counts as not handled."""
        committed = self._committed()
        ends: dict[Any, Any] = self._admin.list_offsets(dict.fromkeys(self._places, LATEST))
        end = {(place.topic, place.partition): future.result(WITHIN).offset for place, future in ends.items()}
        return sum(
            end[place] - committed.get((group, *place), 0) for group, hears in self._hears.items() for place in end if place[0] in hears
        )

    def _committed(self) -> dict[tuple[str, str, int], int]:
        """By group and place; nothing where a group has committed nothing yet."""
        asked = {group: self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group)]) for group in self._hears}
        answers = {group: future.result(WITHIN) for group, futures in asked.items() for future in futures.values()}
        return {
            (group, place.topic, place.partition): place.offset
            for group, answer in answers.items()
            for place in answer.topic_partitions
            if place.offset != OFFSET_INVALID
        }
