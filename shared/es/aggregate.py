"""An aggregate is two pure functions over frozen dataclasses. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

S = TypeVar("S")
C = TypeVar("C")
E = TypeVar("E")

Json = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Aggregate(Generic[S, C, E]):
    """`decide` says what follows from a command, `evolve` what an event makes of the state.

    `decide(state, command)` returns the events to record, in order; none means that nothing happens. It may raise
    Rejected and nothing else on purpose; it never awaits, never reads a clock, never draws a random number.
    `evolve(state, event)` is total: what it does not understand leaves the state unchanged.
    An event is stored under the name of its class, so that name never changes; an old shape is brought up to date by
    `upcasts`: from the stored name to a function from old JSON to new JSON (it may add the key "type" to rename)."""

    name: str
    """Prefix of its streams: 'deal' gives 'deal-<id>'. Also the first part of a message's subject."""
    initial: S
    decide: Callable[[S, C], Sequence[E]]
    evolve: Callable[[S, E], S]
    events: tuple[type[E], ...]
    read_by_others: bool = False
    """Other streams' decisions rest on these without appending to them: pipeline, invoice, number series (C.5)."""
    upcasts: Mapping[str, Callable[[Json], Json]] = field(default_factory=dict)

    def fold(self, events: Iterable[E], state: S | None = None) -> S:
        current = self.initial if state is None else state
        for event in events:
            current = self.evolve(current, event)
        return current

    def stream(self, id: str) -> str:
        return f"{self.name}-{id}"
