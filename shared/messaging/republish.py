"""Say our history again through the outbox, with the original ids, times and sequences (C.12).

Old consumers drop it; a new replica, or a consumer under a new name, takes it in. So topics may forget: the stores remember."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from shared.es.recorded import Recorded, Stream
from shared.messaging.handling import Handled
from shared.messaging.outbox import Outgoing, put_many
from shared.messaging.publishing import spoken

if TYPE_CHECKING:
    from shared.runtime.database import Database, Tx
    from shared.runtime.service import Kit

PAGE = 200
FULL = 5000


async def republish(kit: Kit, *, since: datetime | None = None) -> int:
    """Messages put into the outbox. Waits while it is long, so that live messages are not held up by much."""
    count = 0
    for handled in kit.prepared.handlers.values():
        after: Stream | None = None
        while True:
            await _room_in_the_outbox(kit.database)
            async with kit.database.transaction() as tx:
                streams = await kit.prepared.store.streams_of(tx, handled.handler.aggregate.name, after=after, limit=PAGE)
                messages = await _messages(kit, tx, handled, streams, since)
                await put_many(tx, messages)
            if not streams:
                break
            count, after = count + len(messages), streams[-1]
    return count


async def _messages(kit: Kit, tx: Tx, handled: Handled, streams: Sequence[Stream], since: datetime | None) -> list[Outgoing]:
    histories = await kit.prepared.store.read_many(tx, streams)
    return [message for stream in streams for message in _of_stream(kit, handled, histories[stream], since)]


def _of_stream(kit: Kit, handled: Handled, history: Sequence[Recorded[Any]], since: datetime | None) -> list[Outgoing]:
    aggregate, said = handled.handler.aggregate, []
    state = aggregate.initial
    for recorded in history:
        state = aggregate.evolve(state, recorded.event)
        spoken_now = handled.handler.publish(state, recorded)
        if spoken_now is not None and (since is None or recorded.recorded_at >= since):
            said.append(spoken(kit.prepared.source, spoken_now, recorded))
    return said


async def _room_in_the_outbox(database: Database) -> None:
    while True:
        async with database.raw() as raw:
            if await raw.fetchval("select count(*) from outbox") < FULL:
                return
        await asyncio.sleep(0.2)
