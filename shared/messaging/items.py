"""What goes through a batch and what comes out: items, results, and what a door has to offer (C.5)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, Protocol

from shared.es.addressed import Addressed
from shared.es.aggregate import Aggregate, S
from shared.es.recorded import Context, Recorded, Stream
from shared.messaging.envelope import Envelope

if TYPE_CHECKING:
    from shared.runtime.database import Tx
    from shared.runtime.service import Kit

Outcome = Literal["handled", "repeated", "refused", "parked", "failed", "waits"]


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
    at: datetime | None = None
    """The moment of its cause, which counts where a rehearsal's clock stands still; None: where the clock stands."""


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
