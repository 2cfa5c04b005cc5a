"""What was decided, written: one statement per table, always in this order, each sorted by key (C.5 step 5)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from shared.es.recorded import Recorded
from shared.es.store import appended
from shared.messaging.deciding import Decided
from shared.messaging.handler import Effect, Settled
from shared.messaging.handling import Prepared
from shared.messaging.outbox import putting
from shared.runtime.failpoints import fp
from shared.runtime.statements import Statement, execute, load_sql, together

if TYPE_CHECKING:
    from shared.runtime.database import Tx
    from shared.runtime.service import Kit


AT_ONCE = 4
"""Statements that travel as one. More of them come with many messages, which share the round trips, and in too many
combinations to be prepared."""


async def write(kit: Kit, tx: Tx, decided: Decided) -> None:
    """One statement per table, always in this order; a few of them travel as one. The outbox keeps the order decided.

    Raises Conflict when a stream has grown, AlreadyWritten when an event's id is there."""
    fp("pm.after_decide")
    _every_row_is_its_tenants(decided)
    statements = [*_statements(kit.prepared, tx, decided)]
    with appended():
        for statement in [together(statements)] if 1 < len(statements) <= AT_ONCE else statements:
            await execute(tx.raw, statement)
    fp("pm.before_commit")


def _statements(prepared: Prepared, tx: Tx, decided: Decided) -> Iterator[Statement]:
    """What is to be written, each table's rows sorted by key."""
    if decided.events:
        yield prepared.store.appending(sorted(decided.events, key=_by_stream))
    for name, writer in prepared.view_writers.items():
        if rows := [*decided.state_rows.get(name, {}).values(), *decided.history_rows.get(name, ())]:
            yield writer.writing(rows)
    for name, writer in prepared.replica_writers.items():
        if changed := decided.replica_rows.get(name):
            yield writer.writing(changed)
    if decided.outgoing:
        yield putting(tx, decided.outgoing)
    if decided.effects:
        yield _asking(tx, decided.effects)
    if decided.settled:
        yield _settling(tx, decided.settled)


def _by_stream(pair: tuple[str, Recorded[Any]]) -> tuple[UUID, str, int]:
    return (*pair[1].stream, pair[1].version)


def _every_row_is_its_tenants(decided: Decided) -> None:
    """T17: a batch mixes tenants; what one of its items caused carries that item's tenant and no other."""
    for _, recorded in decided.events:
        if recorded.stream.tenant != recorded.context.tenant:
            raise AssertionError(f"{recorded.stream} was written in the context of tenant {recorded.context.tenant}")


def _asking(tx: Tx, effects: Sequence[tuple[Recorded[Any], Effect]]) -> Statement:
    columns = (
        [r.stream.tenant for r, _ in effects],
        [e.kind for _, e in effects],
        [e.key for _, e in effects],
        [r.stream.name for r, _ in effects],
        [orjson.dumps(e.request, default=str).decode() for _, e in effects],
        [orjson.dumps(caused_by(r, e), default=str).decode() for r, e in effects],
        [e.due_at or tx.now for _, e in effects],
    )
    return Statement(load_sql("messaging", "effects_ask"), columns)


def _settling(tx: Tx, settled: Sequence[tuple[Recorded[Any], Settled]]) -> Statement:
    columns = (
        [r.stream.tenant for r, _ in settled],
        [s.kind for _, s in settled],
        [s.key for _, s in settled],
        [s.state for _, s in settled],
        tx.now,
    )
    return Statement(load_sql("messaging", "effects_settle"), columns)


def caused_by(recorded: Recorded[Any], effect: Effect) -> dict[str, Any]:
    """The context of what follows from an event, as JSON, and the moment that it belongs to."""
    c = recorded.context
    return {
        "correlation_id": c.correlation_id,
        "causation_id": str(recorded.id),
        "hops": c.hops,
        "actor": c.actor,
        "traceparent": c.traceparent,
        "at": effect.due_at or recorded.recorded_at,
    }
