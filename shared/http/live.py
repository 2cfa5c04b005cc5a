"""`GET /v1/events`: the service's own events as they are published, as server-sent events (ecosystem H6).

Kafka is the buffer: a slow client reads later, a client that comes back names the last id it saw and misses nothing. An id
is the next offset of every partition, signed; nobody follows a position in the event store (pitfall 1)."""

from __future__ import annotations

import asyncio
import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, field
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.sse import format_sse_event
from starlette.responses import StreamingResponse

from shared.es.errors import NotAnEnvelope, Unavailable
from shared.http.auth import Refusal, signed_in
from shared.http.commands import Door
from shared.http.problems import PROBLEMS, Problem
from shared.messaging.envelope import Envelope, from_kafka, instant
from shared.messaging.kafka import Cluster, end_offsets, read_from
from shared.messaging.records import KafkaRecord
from shared.messaging.requests import to_bytes
from shared.runtime.clock import monotonic

READ_SCOPES = {
    "deals": "deals:read",
    "automation": "runs:read",
    "billing": "billing:read",
    "scheduler": "timers:read",
    "notifications": "notices:read",
}
"""Which scope hears a service's events; `ops:read` for any other."""

HEARTBEAT = 15.0
LIFETIME = 900.0
"""Seconds after which a feed ends; the client comes back with its last id, and its key is looked at again."""
MOST = 100
"""Feeds at once; each is a reader of its own."""

FEED = APIRouter(tags=["live"])


@dataclass(frozen=True, slots=True)
class Filter:
    """What a client wants to see: all that is given must hold. The tenant is never a choice."""

    tenant: str
    types: frozenset[str]
    element_id: str | None
    correlation_id: str | None

    def wants(self, envelope: Envelope) -> bool:
        c = envelope.context
        return (
            str(c.tenant) == self.tenant
            and (not self.types or envelope.type in self.types)
            and (self.element_id is None or self.element_id in (envelope.key, envelope.subject_id))
            and (self.correlation_id is None or self.correlation_id == c.correlation_id)
        )


@dataclass(eq=False)
class Feed:
    """All feeds of one process."""

    service: str
    cluster: Cluster | None
    pepper: bytes
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    open: int = 0

    @property
    def topic(self) -> str:
        return f"{self.service}.events"

    def stop(self) -> None:
        """Every feed ends; clients come back elsewhere."""
        self.stopping.set()

    async def start_of(self, last_event_id: str | None) -> dict[int, int]:
        """The first offsets wanted: behind what was seen, or now. Raises Unavailable, Problem(bad-cursor)."""
        if self.cluster is None:
            raise Unavailable("no broker is configured for live feeds")
        if last_event_id is not None:
            return self.read_id(last_event_id)
        ends = await end_offsets(self.cluster, [self.topic])
        return {partition.partition: offset for partition, offset in ends.items()}

    def write_id(self, offsets: Mapping[int, int]) -> str:
        written = orjson.dumps(sorted(offsets.items()))
        return urlsafe_b64encode(self._signature(written) + written).rstrip(b"=").decode()

    def read_id(self, id: str) -> dict[int, int]:
        with suppress(binascii.Error, ValueError):
            whole = urlsafe_b64decode(id + "=" * (-len(id) % 4))
            if hmac.compare_digest(whole[:16], self._signature(whole[16:])):
                return {int(partition): int(offset) for partition, offset in orjson.loads(whole[16:])}
        raise Problem("bad-cursor", "Last-Event-ID is no id of this feed.")

    def _signature(self, written: bytes) -> bytes:
        return hmac.digest(self.pepper, b"feed " + self.topic.encode() + written, "sha256")[:16]


def _feed(request: Request) -> Feed:
    feed: Feed = request.app.state.feed
    return feed


@FEED.get("/v1/events", operation_id="events_live", responses=PROBLEMS, response_class=StreamingResponse)
async def events(
    door: Annotated[Door, signed_in("needs the service's read scope")],
    feed: Annotated[Feed, Depends(_feed)],
    types: Annotated[str | None, Query(max_length=2000, description="Event types, separated by commas.")] = None,
    element_id: Annotated[str | None, Query(max_length=100, description="Id of the deal or whatever the event is about.")] = None,
    correlation_id: Annotated[str | None, Query(max_length=128)] = None,
    last_event_id: Annotated[str | None, Header(max_length=4000)] = None,
) -> StreamingResponse:
    """The service's events of the caller's tenant, as they happen. Resume with `Last-Event-ID`."""
    _must_may(door, READ_SCOPES.get(feed.service, "ops:read"))
    if feed.open >= MOST:
        raise Problem("unavailable", "Too many feeds are open.", headers=(("Retry-After", "5"),))
    wanted = Filter(str(door.caller.tenant), frozenset(filter(None, (types or "").split(","))), element_id, correlation_id)
    offsets = await feed.start_of(last_event_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(feed, offsets, wanted), media_type="text/event-stream", headers=headers)


def _must_may(door: Door, scope: str) -> None:
    if not door.may(scope):
        raise Refusal("forbidden", f"scope {scope} missing", f"This needs the scope {scope}.")


async def _stream(feed: Feed, offsets: dict[int, int], wanted: Filter) -> AsyncIterator[bytes]:
    """Events, and a comment when there was none for a while. Ends after LIFETIME, at shutdown, or when Kafka is away."""
    feed.open += 1
    found: asyncio.Queue[KafkaRecord | None] = asyncio.Queue(100)
    pump = asyncio.create_task(_pump(feed, dict(offsets), found), name="live-feed")
    stopping = asyncio.create_task(feed.stopping.wait(), name="live-feed-stop")
    try:
        yield format_sse_event(retry=3000, id=feed.write_id(offsets), comment="open")
        ends = monotonic() + LIFETIME
        while monotonic() < ends and not feed.stopping.is_set():
            record = await _next(found, stopping)
            if record is _NOTHING:
                yield format_sse_event(comment="still here")
            elif isinstance(record, KafkaRecord):
                for part in _shown(feed, offsets, record, wanted):
                    yield part
            else:
                return
    finally:
        feed.open -= 1
        for task in (pump, stopping):
            task.cancel()
        await asyncio.wait([pump, stopping])


_NOTHING = object()


async def _next(found: asyncio.Queue[KafkaRecord | None], stopping: asyncio.Task[Any]) -> Any:
    """The next record; None when there will be no more; _NOTHING when none came in time."""
    getting = asyncio.create_task(found.get())
    done, _ = await asyncio.wait([getting, stopping], timeout=HEARTBEAT, return_when=asyncio.FIRST_COMPLETED)
    if getting in done:
        return getting.result()
    getting.cancel()
    return None if stopping in done else _NOTHING


async def _pump(feed: Feed, offsets: dict[int, int], found: asyncio.Queue[KafkaRecord | None]) -> None:
    assert feed.cluster is not None
    try:
        async with aclosing(read_from(feed.cluster, feed.topic, offsets)) as records:
            async for record in records:
                await found.put(record)
    except Unavailable:
        await found.put(None)


def _shown(feed: Feed, offsets: dict[int, int], record: KafkaRecord, wanted: Filter) -> list[bytes]:
    """The event, if it is wanted; before it a reset, if older ones were deleted before they were read."""
    parts = []
    if record.offset > offsets.get(record.partition, record.offset):
        parts.append(format_sse_event(event="reset", data_str='{"reason":"older events are gone: read the lists again"}'))
    offsets[record.partition] = record.offset + 1
    try:
        envelope = from_kafka(record.key, record.headers, record.value)
    except NotAnEnvelope:
        return parts
    if wanted.wants(envelope):
        parts.append(format_sse_event(event=envelope.type, id=feed.write_id(offsets), data_str=to_bytes(_event(envelope)).decode()))
    return parts


def _event(envelope: Envelope) -> dict[str, Any]:
    c = envelope.context
    return {
        "id": envelope.id,
        "type": envelope.type,
        "source": envelope.source,
        "subject": envelope.subject,
        "time": instant(envelope.time),
        "sequence": envelope.sequence,
        "correlation_id": c.correlation_id,
        "causation_id": c.causation_id,
        "actor": c.actor,
        "data": orjson.Fragment(envelope.data or b"null"),
    }
