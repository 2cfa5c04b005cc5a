"""Another back end: publishes a command and reads the answer, with a Kafka client that Dealwright does not use.

    python -m examples.foreign_backend --bootstrap 127.0.0.1:19092 --tenant <tenant id> --email somebody@example.org

It speaks CloudEvents in *structured* mode: the whole envelope is the record's JSON value. The only things to get right are
the partitioner (murmur2_random, so that one key lands where the services put it) and the record key."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from confluent_kafka import OFFSET_END, Consumer, Producer, TopicPartition

SOURCE = "urn:example:web-shop"
CONTENT_TYPE = b"application/cloudevents+json; charset=utf-8"


class NoAnswer(Exception):
    """Nothing came back in time."""


def structured(type: str, data: dict[str, Any], *, tenant: str, source: str = SOURCE, id: str | None = None) -> dict[str, Any]:
    """A CloudEvent as one JSON object. `id` is the deduplication key: send the same one again and nothing happens twice."""
    return {
        "specversion": "1.0",
        "id": id or str(uuid4()),
        "source": source,
        "type": type,
        "time": datetime.now(UTC).isoformat(),
        "datacontenttype": "application/json",
        "tenantid": tenant,
        "data": data,
    }


@dataclass
class ForeignBackend:
    """Publishes to command topics and follows event topics."""

    bootstrap: str

    def __post_init__(self) -> None:
        self._producer = Producer({"bootstrap.servers": self.bootstrap, "partitioner": "murmur2_random", "acks": "all"})

    def publish(self, topic: str, key: str | None, event: dict[str, Any]) -> None:
        self.publish_raw(topic, key, json.dumps(event).encode(), [("content-type", CONTENT_TYPE)])

    def publish_raw(self, topic: str, key: str | None, value: bytes | None, headers: list[tuple[str, str | bytes | None]]) -> None:
        """Returns when the broker has it."""
        self._producer.produce(topic, key=key, value=value, headers=headers)
        if self._producer.flush(15):
            raise NoAnswer(f"the broker took nothing for {topic} within 15 s")

    def following(self, topic: str) -> Consumer:
        """A consumer that sees what is published from now on."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": "web-shop", "enable.auto.commit": False})
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        ends = {p: consumer.get_watermark_offsets(TopicPartition(topic, p), timeout=10)[1] for p in partitions}
        consumer.assign([TopicPartition(topic, p, ends.get(p, OFFSET_END)) for p in partitions])
        return consumer


def answer_to(consumer: Consumer, request_id: str, within: float = 30.0) -> tuple[str, dict[str, Any]]:
    """Type and body of the event that carries our request id. Raises NoAnswer."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        message = consumer.poll(0.2)
        if message is None or message.error():
            continue
        body = json.loads(message.value() or b"null")
        if isinstance(body, dict) and body.get("request_id") == request_id:
            headers = dict(message.headers() or ())
            return _text(headers.get("ce_type")), body
    raise NoAnswer(f"no event answered {request_id} within {within:g} s")


def _text(header: str | bytes | None) -> str:
    return header.decode() if isinstance(header, bytes) else header or ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--tenant", required=True)
    parser.add_argument("--email", default="somebody@example.org")
    given = parser.parse_args()
    shop, contact = ForeignBackend(given.bootstrap), str(uuid4())
    consumer = shop.following("deals.events")
    command = {"request_id": contact, "contact_id": contact, "first_name": "Web", "last_name": "Shop", "emails": [given.email]}
    shop.publish("deals.commands", contact, structured("deals.CreateContact.v1", command, tenant=given.tenant))
    type_name, body = answer_to(consumer, contact)
    print(type_name, json.dumps(body, indent=1))
    consumer.close()


if __name__ == "__main__":
    main()
