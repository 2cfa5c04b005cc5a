"""A process whose handler never returns: `python -m tests.kit.stuck_consumer BOOTSTRAP PREFIX FOLDER`, started by test_consumer.py."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from shared.messaging.consumer import Consumer, Patience
from shared.messaging.kafka import Cluster
from shared.messaging.records import KafkaRecord


async def handle(records: Sequence[KafkaRecord]) -> None:
    threading.Event().wait()


async def park(record: KafkaRecord) -> None:
    raise AssertionError("it was never noted twice alone")


async def main(bootstrap: str, prefix: str, folder: str) -> None:
    await Consumer(Cluster(bootstrap, prefix), "shop", frozenset({"shop.events"}), handle, park, Path(folder), Patience(session=6)).run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
