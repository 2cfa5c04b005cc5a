"""Rebuild a view from its streams while everything goes on: `version` decides who is right (C.7, R17).

What a stream's rows say up to the version that was read is replaced; what live writing adds meanwhile is newer and stays.
Pages of 500 streams, each read, folded and written in one short transaction. Interruptible, repeatable, safe twice at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shared.es.recorded import Recorded, Stream
from shared.es.store import EventStore
from shared.es.tables import RowWriter
from shared.es.view import HistoryView, Row, StateView, View

if TYPE_CHECKING:
    from shared.es.aggregate import Aggregate
    from shared.runtime.database import Database, Tx

PAGE = 500


async def rebuild(
    database: Database, store: EventStore, aggregate: Aggregate[Any, Any, Any], view: View[Any, Any], *, after: Stream | None = None
) -> int:
    """The number of streams gone through. `after`: go on behind this stream. A rebuild never tells anybody anything."""
    count = 0
    writer = RowWriter(view.table, history=isinstance(view, HistoryView), again=True)
    while True:
        async with database.transaction() as tx:
            streams = await store.streams_of(tx, aggregate.name, after=after, limit=PAGE)
            if not streams:
                return count
            await _write_page(tx, store, aggregate, view, writer, streams)
        count, after = count + len(streams), streams[-1]


async def _write_page(
    tx: Tx, store: EventStore, aggregate: Aggregate[Any, Any, Any], view: View[Any, Any], writer: RowWriter, streams: Sequence[Stream]
) -> None:
    histories = await store.read_many(tx, streams)
    if isinstance(view, HistoryView):
        await _clear(tx, view, [history[-1] for history in histories.values()])
    await writer.write(tx, [row for stream in streams for row in rows_of(aggregate, view, histories[stream])])


async def _clear(tx: Tx, view: HistoryView[Any, Any], last: Sequence[Recorded[Any]]) -> None:
    """Also rows that the view would not make any more."""
    await tx.raw.execute(
        f"delete from {view.table.name} v using unnest($1::uuid[], $2::text[], $3::int[]) as read(tenant, id, version)"
        " where v.tenant = read.tenant and v.id = read.id and v.version <= read.version",
        [recorded.stream.tenant for recorded in last],
        [recorded.aggregate_id for recorded in last],
        [recorded.version for recorded in last],
    )


def rows_of(aggregate: Aggregate[Any, Any, Any], view: View[Any, Any], history: Sequence[Recorded[Any]]) -> list[Row]:
    """The rows that live writing left for one stream."""
    state = aggregate.initial
    rows: list[Row] = []
    for recorded in history:
        state = aggregate.evolve(state, recorded.event)
        if isinstance(view, HistoryView):
            key = {"tenant": recorded.stream.tenant, "id": recorded.aggregate_id, "version": recorded.version}
            rows += [{**row, **key, "n": n} for n, row in enumerate(view.rows(state, recorded), 1)]
    if isinstance(view, StateView) and history:
        last = history[-1]
        rows.append({**view.row(state, last), "tenant": last.stream.tenant, "id": last.aggregate_id, "version": last.version})
    return rows
