"""The batch is the unit of work: one transaction and a fixed number of statements for everything a door brought (C.5).

`handle_batch` is the only way anything is decided. Doors differ in what they claim first and note last."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, Protocol

from shared.es.addressed import Addressed
from shared.es.aggregate import Aggregate, S
from shared.es.errors import Conflict, Unavailable
from shared.es.recorded import Context, Recorded, Stream
from shared.es.store import AlreadyWritten
from shared.messaging.envelope import Envelope

if TYPE_CHECKING:
    from shared.runtime.database import Tx
    from shared.runtime.service import Kit

Outcome = Literal["handled", "repeated", "refused", "parked", "failed", "waits"]

WHOLE_TRIES = 3
SINGLE_TRIES = 20


@dataclass(frozen=True, slots=True)
class Item:
    """One thing asked of the service, whatever door it came through."""

    id: str
    source: str
    """With `id`: what the inbox remembers, and the cause from which ids of events are derived."""
    key: str
    """'tenant/key': what waits when this cannot be handled."""
    context: Context
    """Carried by the events it causes."""
    asks: Envelope | tuple[Addressed[Any], ...]
    """A message still to be translated, or commands already addressed."""
    expected_version: int | None = None
    """If-Match: compared with the version of the first addressed stream, in memory."""


NO_VERSIONS: Mapping[Stream, int] = {}
NO_STATES: Mapping[Stream, Any] = {}


@dataclass(frozen=True, slots=True)
class Result:
    """What became of an item. `versions` and `states` are those of the streams it was addressed to, after it."""

    item: Item
    outcome: Outcome
    recorded: tuple[Recorded[Any], ...] = ()
    versions: Mapping[Stream, int] = field(default_factory=lambda: NO_VERSIONS)
    states: Mapping[Stream, Any] = field(default_factory=lambda: NO_STATES)
    error: Exception | None = None
    answer: Any = None
    """At the HTTP door: the answer given, or given before."""

    def state(self, aggregate: Aggregate[S, Any, Any], id: str) -> S:
        state: S = self.states[Stream(self.item.context.tenant, aggregate.stream(id))]
        return state

    def version(self, aggregate: Aggregate[Any, Any, Any], id: str) -> int:
        return self.versions[Stream(self.item.context.tenant, aggregate.stream(id))]


class Batch(Protocol):
    """A door's load. `claim` is the first and `settle` the last thing done inside the batch's transaction."""

    @property
    def consumer(self) -> str: ...

    async def claim(self, kit: Kit, tx: Tx) -> Sequence[Item]:
        """Only what is really ours, new and free. Gives the same items when called again in a later transaction.

        May wait for another owner's commit, at most lock_timeout. Must not decide anything."""

    async def settle(self, kit: Kit, tx: Tx, results: Sequence[Result]) -> Sequence[Result]:
        """Note what became of it. Returns the results, completed (answers) and with those that `claim` settled itself."""

    def halves(self) -> Sequence[Batch]:
        """Two smaller batches in order; empty when one item is left."""

    def waiting(self, results: Sequence[Result]) -> Batch | None:
        """What is left for the next transaction."""


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Results in the order of the items; rows written, so that whoever waits for them can be woken."""

    results: tuple[Result, ...] = ()
    events: int = 0
    messages: int = 0
    effects: int = 0

    def __add__(self, other: BatchResult) -> BatchResult:
        return BatchResult(
            self.results + other.results, self.events + other.events, self.messages + other.messages, self.effects + other.effects
        )


async def handle_batch(kit: Kit, batch: Batch) -> BatchResult:
    """Handle everything a door brought, in one transaction; in more if items wait or the database objects.

    Atomic per transaction: inbox, events, views, replicas, outbox, effects, parked messages.
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
            todo.extendleft(reversed(_again(current, tries + 1, error)))
            continue
        except Exception as error:
            if halves := current.halves():
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


async def _once(kit: Kit, batch: Batch, *, given_up: Exception | None = None) -> tuple[BatchResult, Batch | None]:
    """One transaction. `given_up`: the database refused this single item; it is noted without being decided."""
    from shared.messaging.deciding import decide_batch, write

    async with kit.database.transaction() as tx:
        items = await batch.claim(kit, tx)
        if given_up is not None:
            results: Sequence[Result] = [_refused_by_database(item, given_up) for item in items]
            summary = BatchResult(messages=1)
        else:
            decided = await decide_batch(kit, tx, items)
            await write(kit, tx, decided)
            results, summary = decided.results, decided.summary()
        settled = tuple(await batch.settle(kit, tx, results))
    done = replace(summary, results=tuple(r for r in settled if r.outcome != "waits"))
    kit.wake(done)
    return done, batch.waiting(settled)


def _refused_by_database(item: Item, error: Exception) -> Result:
    if isinstance(error, AlreadyWritten):
        return Result(item, "repeated")
    return Result(item, "parked", error=error)


