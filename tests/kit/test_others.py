"""Messages of types that nobody names: passed over, or handed to a service that asks for them on its command topic."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest

from shared.es.addressed import Addressed, Facts
from shared.messaging.batch import Item, Result
from shared.messaging.contract import Command
from shared.messaging.envelope import Message
from shared.messaging.handling import Miswired, prepare
from shared.messaging.inbox import sort_records
from shared.messaging.records import KafkaRecord
from shared.messaging.subscription import Need, Subscription
from shared.runtime import metrics
from tests.kit import toy


class Anything(Command, topic="toy.commands"):
    """A body that nobody has described."""


def nothing(message: Message[Anything], facts: Facts) -> Iterable[Addressed[Any]]:
    return ()


DEAF = prepare(toy.SERVICE)
ALL_EARS = prepare(replace(toy.SERVICE, others=Subscription(Anything, nothing)))


def record(type: str, topic: str = "toy.commands") -> KafkaRecord:
    attributes = {"specversion": "1.0", "id": "1", "source": "urn:elsewhere", "type": type, "tenantid": str(toy.TENANT)}
    return KafkaRecord(topic, 0, 0, 0, b"k", b"{}", [(f"ce_{name}", text.encode()) for name, text in attributes.items()])


@pytest.mark.parametrize(
    ("type", "topic", "heard"),
    [
        ("com.example.anything", "toy.commands", True),
        ("toy.Put.v1", "toy.commands", True),
        ("com.example.anything", "shop.commands", False),
        ("shop.Painted.v1", "toy.commands", False),
    ],
)
def test_what_is_handed_over(type: str, topic: str, heard: bool) -> None:
    """Nobody can say on a command topic what a service hears elsewhere."""
    assert len(sort_records(ALL_EARS, "toy", [record(type, topic)]).received) == heard


def test_without_such_a_subscription_it_is_passed_over() -> None:
    found = sort_records(DEAF, "toy", [record("com.example.anything")])
    assert (found.received, found.strange) == ([], [])


def test_its_route_is_that_of_a_command_and_its_needs_are_checked() -> None:
    route = ALL_EARS.route_of("com.example.anything")
    assert route is not None and route.is_command and "com.example.anything" not in ALL_EARS.routes
    deep: Need[Any, Any] = Need(toy.OWNERS, lambda row: ())
    for _ in range(5):
        deep = replace(deep, then=(deep,))
    with pytest.raises(Miswired, match="deeper than four levels"):
        prepare(replace(toy.SERVICE, others=Subscription(Anything, nothing, (deep,))))


def test_its_types_are_no_labels() -> None:
    (received,) = sort_records(ALL_EARS, "toy", [record("com.example.strange")]).received
    item: Item = received.item
    metrics.handled("ears", [Result(item, "refused")], ALL_EARS.routes)
    lines = [line for line in metrics.exposition().decode().splitlines() if 'group="ears"' in line]
    assert lines and all('type="unrouted"' in line and "strange" not in line for line in lines)
