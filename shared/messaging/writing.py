"""What was decided, written: one statement per table, always in this order, each sorted by key (C.5 step 5)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from shared.es.recorded import Recorded
from shared.messaging.deciding import Decided
from shared.messaging.handler import Effect
from shared.messaging.outbox import put_many
from shared.runtime.failpoints import fp
from shared.runtime.statements import load_sql

if TYPE_CHECKING:
    from shared.runtime.database import Tx
    from shared.runtime.service import Kit


async def write(kit: Kit, tx: Tx, decided: Decided) -> None:
    """One statement per table, always in this order, each sorted by key. The outbox keeps the order decided."""
    prepared = kit.prepared
    fp("pm.after_decide")
    _every_row_is_its_tenants(decided)
    await prepared.store.append_many(tx, sorted(decided.events, key=_by_stream))
    for name, writer in prepared.view_writers.items():
        rows = [*decided.state_rows.get(name, {}).values(), *decided.history_rows.get(name, ())]
        await writer.write(tx, rows)
    fp("pm.between_writes")
    for name, writer in prepared.replica_writers.items():
        await writer.write(tx, decided.replica_rows.get(name, ()))
    await put_many(tx, decided.outgoing)
    await _ask_effects(tx, decided.effects)
    fp("pm.before_commit")


def _by_stream(pair: tuple[str, Recorded[Any]]) -> tuple[UUID, str, int]:
    return (*pair[1].stream, pair[1].version)


def _every_row_is_its_tenants(decided: Decided) -> None:
    """T17: a batch mixes tenants; what one of its items caused carries that item's tenant and no other."""
    for _, recorded in decided.events:
        if recorded.stream.tenant != recorded.context.tenant:
            raise AssertionError(f"{recorded.stream} was written in the context of tenant {recorded.context.tenant}")


async def _ask_effects(tx: Tx, effects: Sequence[tuple[Recorded[Any], Effect]]) -> None:
    if not effects:
        return
    await tx.raw.execute(
        load_sql("messaging", "effects_ask"),
        [r.stream.tenant for r, _ in effects],
        [e.kind for _, e in effects],
        [e.key for _, e in effects],
        [r.stream.name for r, _ in effects],
        [orjson.dumps(e.request, default=str).decode() for _, e in effects],
        [orjson.dumps(caused_by(r, e), default=str).decode() for r, e in effects],
        [e.due_at or tx.now for _, e in effects],
    )


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
