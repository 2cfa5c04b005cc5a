"""The toy service on a database of its own."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import pytest

from shared.messaging.batch import BatchResult
from shared.messaging.handling import prepare
from shared.messaging.kafka import Cluster, delete_topics, existing_topics
from shared.runtime.database import Database
from shared.runtime.service import Kit
from shared.testing.stack import Stack
from tests.kit import toy


@pytest.fixture
async def database_url(stack: Stack) -> str:
    """Its tables in place, nothing in them."""
    return await stack.migrated_database(toy.SERVICE)


@pytest.fixture
async def kit(database_url: str) -> AsyncIterator[Kit]:
    database = Database(database_url, "toy")
    yield Kit(toy.SERVICE, database, prepare(toy.SERVICE), _nobody_waits)
    await database.close()


@pytest.fixture
async def cluster(stack: Stack) -> AsyncIterator[Cluster]:
    """The real Kafka, with topics and groups of this test alone."""
    cluster = Cluster(stack.bootstrap, f"{stack.topic_prefix}{secrets.token_hex(3)}-")
    yield cluster
    await delete_topics(cluster, await existing_topics(cluster))


@pytest.fixture
def mailbag() -> toy.Mailbag:
    return toy.Mailbag()


@pytest.fixture
def postman() -> toy.Postman:
    """The world outside, with an empty bag."""
    toy.POSTMAN.__init__()  # type: ignore[misc]
    return toy.POSTMAN


def _nobody_waits(done: BatchResult) -> None:
    """These tests poll."""
