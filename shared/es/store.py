"""Streams of events in one table (architecture C.4). There is no "read all from a position": see pitfall 1."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any
from uuid import UUID

import asyncpg

from shared.es.codec import Codec
from shared.es.errors import Conflict
from shared.es.recorded import Context, Recorded, Stream
from shared.runtime.statements import Statement, load_sql

if TYPE_CHECKING:
    from shared.runtime.database import Tx

NIL = UUID(int=0)


class AlreadyWritten(Exception):
    """One cause is being written twice: events with these ids exist. Whoever asked counts as a repeat."""


@contextmanager
def appended() -> Iterator[None]:
    """Around a statement that appends. Raises Conflict when a version is taken, AlreadyWritten when an id is."""
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "events_pkey":
            raise Conflict(str(error)) from error
        if error.table_name == "events":
            raise AlreadyWritten(str(error)) from error
        raise


class EventStore:
    """`unique (tenant, stream, version)` is the whole concurrency control."""

    def __init__(self, codec: Codec) -> None:
        self._codec = codec

    async def load_many(self, tx: Tx, streams: Collection[Stream]) -> dict[Stream, list[Any]]:
        """The events of every stream asked for, oldest first; a stream that does not exist has none. One query."""
        found = await tx.raw.fetch(load_sql("es", "load"), [s.tenant for s in streams], [s.name for s in streams])
        decode = self._codec.decode
        loaded: dict[Stream, list[Any]] = {stream: [] for stream in streams}
        for (tenant, name), rows in groupby(found, key=lambda row: (row["tenant"], row["stream"])):
            loaded[Stream(tenant, name)] = [decode(row["aggregate"], row["type"], row["data"]) for row in rows]
        return loaded

    async def read_many(self, tx: Tx, streams: Collection[Stream]) -> dict[Stream, list[Recorded[Any]]]:
        """The same with identity, time and context: for rebuilds, republishing and traces."""
        rows = await tx.raw.fetch(load_sql("es", "read"), [s.tenant for s in streams], [s.name for s in streams])
        read: dict[Stream, list[Recorded[Any]]] = defaultdict(list)
        for row in rows:
            stream = Stream(row["tenant"], row["stream"])
            read[stream].append(self.recorded(row))
        return read

    def recorded(self, row: Any) -> Recorded[Any]:
        """A row of `events` as what was recorded."""
        context = Context(row["tenant"], row["correlation_id"], row["causation_id"], row["hops"], row["actor"], row["traceparent"])
        event = self._codec.decode(row["aggregate"], row["type"], row["data"])
        stream = Stream(row["tenant"], row["stream"])
        return Recorded(row["id"], stream, row["version"], event, context, row["recorded_at"], row["aggregate"])

    def appending(self, recorded: Sequence[tuple[str, Recorded[Any]]]) -> Statement:
        """What appends events, each with its aggregate's name, sorted by (tenant, stream, version)."""
        return Statement(load_sql("es", "append"), tuple(self._columns(recorded)))

    def _columns(self, recorded: Sequence[tuple[str, Recorded[Any]]]) -> list[list[Any]]:
        encode = self._codec.encode
        columns: list[list[Any]] = [[] for _ in range(13)]
        add = [column.append for column in columns]
        for aggregate, r in recorded:
            type_name, data = encode(r.event)
            c = r.context
            add[0](r.id)
            add[1](r.stream.tenant)
            add[2](aggregate)
            add[3](r.stream.name)
            add[4](r.version)
            add[5](type_name)
            add[6](data)
            add[7](c.correlation_id)
            add[8](c.causation_id)
            add[9](c.hops)
            add[10](c.actor)
            add[11](c.traceparent)
            add[12](r.recorded_at)
        return columns

    async def streams_of(self, tx: Tx, aggregate: str, *, after: Stream | None = None, limit: int = 500) -> list[Stream]:
        """The next page of an aggregate's streams, all tenants, in order of name."""
        name, tenant = (after.name, after.tenant) if after else ("", NIL)
        rows = await tx.raw.fetch(load_sql("es", "streams"), aggregate, name, tenant, limit)
        return [Stream(row["tenant"], row["stream"]) for row in rows]
