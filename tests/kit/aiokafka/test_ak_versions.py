"""AK-18: the version that all of this was seen with."""

from __future__ import annotations

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer

from tests.kit.aiokafka.lab import Lab

ROOT = Path(__file__).parents[3]


def test_ak_18_the_pinned_version_is_the_one_that_is_tested() -> None:
    """Below 0.13 there is no Kafka 4; whoever changes the pin runs this suite and reads what it says."""
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert [d for d in wanted if d.startswith("aiokafka")] == ["aiokafka[lz4,snappy,zstd]==0.14.0"]
    assert version("aiokafka") == "0.14.0"


async def test_ak_18_api_version_is_deprecated_and_does_nothing(lab: Lab) -> None:
    with pytest.warns(DeprecationWarning, match="api_version"):
        consumer = AIOKafkaConsumer(bootstrap_servers=lab.address(None), api_version="0.9")
    await consumer.start()
    assert isinstance(await consumer.topics(), set)
    await consumer.stop()
