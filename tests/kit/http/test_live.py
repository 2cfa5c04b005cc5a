"""Live feeds over real Kafka: filtered, resumable, ended politely (H6)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson
import pytest
import uvicorn

from shared.messaging.kafka import Cluster, Producer, create_topics
from shared.messaging.relay import Relay
from shared.messaging.topics import Topic
from shared.runtime.worker import Server, _bound
from tests.kit import toy
from tests.kit.http.conftest import House, client_of


@asynccontextmanager
async def listening(house: House) -> AsyncIterator[str]:
    """The application behind a real server: streams need one."""
    taken = _bound("127.0.0.1", 0)
    server = Server(uvicorn.Config(house.app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=2))
    serving = asyncio.create_task(server.serve([taken]))
    try:
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
    finally:
        house.app.state.feed.stop()
        server.should_exit = True
        await serving


@pytest.fixture
async def published(house: House, cluster: Cluster) -> AsyncIterator[Relay]:
    """A relay: what is in the outbox goes out with each step."""
    await create_topics(cluster, [Topic("toy.events", partitions=3)])
    producer = Producer(cluster)
    async with house.kit.database.transaction() as tx:
        await tx.raw.execute("delete from outbox")
        await tx.raw.execute("update leases set owner = '', until = '-infinity'")
    yield Relay(house.kit.database, producer)
    await producer.stop()


class Listener:
    """One feed, read event by event."""

    def __init__(self, answer: httpx.Response) -> None:
        self._lines = answer.aiter_lines()
        self.last_id: str | None = None

    async def next(self) -> tuple[str, dict[str, Any]]:
        """The next event's type and content."""
        kind, data = "", ""
        async with asyncio.timeout(15):
            async for line in self._lines:
                name, _, value = line.partition(": ")
                if name == "id":
                    self.last_id = value
                elif name == "event":
                    kind = value
                elif name == "data":
                    data = value
                elif not line and kind:
                    return kind, orjson.loads(data)
        raise AssertionError("the feed ended")

    async def opened(self) -> None:
        async with asyncio.timeout(15):
            async for line in self._lines:
                if not line:
                    return

    async def ended(self) -> None:
        async with asyncio.timeout(15):
            async for _ in self._lines:
                pass


@asynccontextmanager
async def feed(url: str, key: str, query: str = "", last_id: str | None = None) -> AsyncIterator[Listener]:
    headers = {"Authorization": f"Bearer {key}"} | ({"Last-Event-ID": last_id} if last_id else {})
    async with httpx.AsyncClient(timeout=20) as client, client.stream("GET", f"{url}/v1/events{query}", headers=headers) as answer:
        assert (answer.status_code, answer.headers["content-type"].partition(";")[0]) == (200, "text/event-stream")
        listener = Listener(answer)
        await listener.opened()
        yield listener


async def test_events_are_heard_as_they_happen_and_a_client_that_returns_misses_none(
    client: httpx.AsyncClient, house: House, published: Relay
) -> None:
    async def put(number: int, **headers: str) -> str:
        id: str = (await client.post("/v1/jars", json={"number": number}, headers=headers)).json()["id"]
        await published.step()
        return id

    async with listening(house) as url:
        async with feed(url, house.key) as heard:
            id = await put(1, **{"X-Correlation-Id": "chain-1"})
            kind, event = await heard.next()
        assert (kind, event["data"]["jar_id"], event["data"]["number"]) == ("toy.Filled.v1", id, 1)
        assert (event["actor"], event["sequence"], event["correlation_id"]) == ("user:7", 1, "chain-1")

        missed = [await put(n) for n in (2, 3, 4)]
        async with feed(url, house.key, last_id=heard.last_id) as again:
            caught_up = [(await again.next())[1]["data"]["jar_id"] for _ in missed]
        assert sorted(caught_up) == sorted(missed)


async def test_a_feed_shows_what_was_asked_for_and_only_the_own_tenant(client: httpx.AsyncClient, house: House, published: Relay) -> None:
    stranger = await house.new_key("ops:read", "deals:write", tenant=toy.OTHER_TENANT)
    query = "?types=toy.Filled.v1,x&correlation_id=wanted"
    async with listening(house) as url, client_of(house.app, stranger) as other, feed(url, house.key, query) as heard:
        await other.post("/v1/jars", json={"number": 1}, headers={"Idempotency-Key": "1", "X-Correlation-Id": "wanted"})
        await client.post("/v1/jars", json={"number": 2})
        await client.post("/v1/jars", json={"number": 3}, headers={"X-Correlation-Id": "wanted"})
        await published.step()
        assert (await heard.next())[1]["data"]["number"] == 3


async def test_a_feed_ends_when_the_process_does(house: House, published: Relay) -> None:
    async with listening(house) as url, feed(url, house.key) as heard:
        assert house.app.state.feed.open == 1
        house.app.state.feed.stop()
        await heard.ended()
    assert house.app.state.feed.open == 0


async def test_who_may_not_read_hears_nothing(house: House) -> None:
    key = await house.new_key("deals:read")
    async with client_of(house.app, key) as reader, client_of(house.app) as anybody:
        assert (await reader.get("/v1/events")).status_code == 403
        assert (await anybody.get("/v1/events")).status_code == 401


async def test_a_foreign_id_is_refused(client: httpx.AsyncClient) -> None:
    for id in ("nonsense", "AAAA", "é".encode().decode("latin-1")):
        answer = await client.get("/v1/events", headers=[(b"Last-Event-ID", id.encode("latin-1"))])
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor")


async def test_without_a_broker_a_feed_is_unavailable(client: httpx.AsyncClient, house: House) -> None:
    house.app.state.feed.cluster = None
    assert (await client.get("/v1/events")).status_code == 503
