"""The batch is the unit of work: one transaction and a fixed number of statements for everything a door brought (C.5).

`handle_batch` is the only way anything is decided. Doors differ in what they claim first and note last."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from shared.es.errors import Conflict, Unavailable
from shared.es.store import AlreadyWritten
from shared.messaging.deciding import decide_batch
from shared.messaging.items import Batch, BatchResult, Item, Outcome, Result
from shared.messaging.writing import write
from shared.runtime import metrics
from shared.runtime.clock import monotonic

if TYPE_CHECKING:
    from shared.runtime.service import Kit

__all__ = ["Batch", "BatchResult", "Item", "Outcome", "Result", "handle_batch"]

WHOLE_TRIES = 3
SINGLE_TRIES = 20


async def handle_batch(kit: Kit, batch: Batch, *, somebody_waits: bool = False) -> BatchResult:
    """Handle everything a door brought, in one transaction; in more if items wait or the database objects.

    Atomic per transaction: inbox, events, views, replicas, outbox, effects, parked messages.
    `somebody_waits` for the answer: an item that lost three races is not tried on; nothing of it is stored and the result
    leaves it out.
    Raises Unavailable when the database is away. Never raises for what one item does."""
    total = BatchResult()
    todo: deque[tuple[Batch, int]] = deque([(batch, 0)])
    while todo:
        current, tries = todo.popleft()
        try:
            done, left = await _once(kit, current)
        except Unavailable:
            raise
        except Conflict as error:
            metrics.redecided(current.consumer)
            again = _answer_soon(current, tries + 1) if somebody_waits else _again(current, tries + 1, error)
            todo.extendleft(reversed(again))
            continue
        except Exception as error:
            if halves := current.halves():
                metrics.split(current.consumer, type(error).__name__)
                todo.extendleft((half, 0) for half in reversed(halves))
                continue
            done, left = await _once(kit, current, given_up=error)
        total += done
        if left is not None:
            todo.appendleft((left, 0))
    return total


def _again(batch: Batch, tries: int, error: Conflict) -> list[tuple[Batch, int]]:
    """Three times whole, then in halves; a single item up to twenty times, then it counts as infrastructure."""
    halves = batch.halves()
    if tries < WHOLE_TRIES or (not halves and tries < SINGLE_TRIES):
        return [(batch, tries)]
    if not halves:
        raise Unavailable(f"still in conflict after {tries} tries: {error}") from error
    return [(half, 0) for half in halves]


def _answer_soon(batch: Batch, tries: int) -> list[tuple[Batch, int]]:
    """Three times whole; then each half once, down to the item that it is about, which is given up."""
    if tries < WHOLE_TRIES:
        return [(batch, tries)]
    return [(half, WHOLE_TRIES - 1) for half in batch.halves()]


async def _once(kit: Kit, batch: Batch, *, given_up: Exception | None = None) -> tuple[BatchResult, Batch | None]:
    """One transaction. `given_up`: the database refused this single item; it is noted without being decided."""
    began = monotonic()
    async with kit.database.transaction() as tx:
        items = await batch.claim(kit, tx)
        claimed = monotonic()
        if given_up is not None:
            results: Sequence[Result] = [_refused_by_database(item, given_up) for item in items]
            summary = BatchResult(messages=1)
        else:
            decided = await decide_batch(kit, tx, items)
            thought = monotonic()
            await write(kit, tx, decided)
            metrics.batch_part(batch.consumer, "decide", thought - claimed)
            metrics.batch_part(batch.consumer, "write", monotonic() - thought)
            results, summary = decided.results, decided.summary()
        settled = tuple(await batch.settle(kit, tx, results))
        before_commit = monotonic()
    metrics.batch_part(batch.consumer, "claim", claimed - began)
    metrics.batch_part(batch.consumer, "commit", monotonic() - before_commit)
    done = replace(summary, results=tuple(r for r in settled if r.outcome != "waits"))
    kit.wake(done)
    return done, batch.waiting(settled)


def _refused_by_database(item: Item, error: Exception) -> Result:
    if isinstance(error, AlreadyWritten):
        return Result(item, "repeated")
    return Result(item, "parked", error=error)
