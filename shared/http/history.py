"""What happened to one aggregate: its events for `GET …/{id}/events`, and what changed since a version (domain 7)."""

from __future__ import annotations

import dataclasses
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.es.recorded import Recorded
from shared.es.store import EventStore

_EVENTS = text(
    "select id, tenant, aggregate, stream, version, type, data::text as data, correlation_id, causation_id, hops, actor, traceparent,"
    " recorded_at from events where stream = :stream and version > :after order by version limit :most"
)
_SINCE = text(
    "select version, type, recorded_at as at, actor from events where stream = :stream and version > :after order by version limit 20"
)


async def events_of(sql: AsyncConnection, store: EventStore, stream: str, after: int, most: int | None) -> list[Recorded[Any]]:
    """The events of one stream behind a version, in the reader's tenant; all of them if `most` is None."""
    rows = await sql.execute(_EVENTS, {"stream": stream, "after": after, "most": most})
    return [store.recorded(row) for row in rows.mappings()]


async def changes_since(sql: AsyncConnection, stream: str, version: int) -> list[dict[str, Any]]:
    """What happened to a stream after a version, in short: at most twenty events, oldest first."""
    rows = await sql.execute(_SINCE, {"stream": stream, "after": version})
    return [dict(row) for row in rows.mappings()]


def shown_event(recorded: Recorded[Any]) -> dict[str, Any]:
    """An event for people: what, when, by whom and why, with its private data."""
    return {
        "id": recorded.id,
        "version": recorded.version,
        "type": type(recorded.event).__name__,
        "at": recorded.recorded_at,
        "actor": recorded.context.actor,
        "correlation_id": recorded.context.correlation_id,
        "causation_id": recorded.context.causation_id,
        "data": dataclasses.asdict(recorded.event),
    }
