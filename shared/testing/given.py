"""Tests of an aggregate: given these events, when this command, then these events. Pure: no database, no clock.

given(DEAL, created(), deleted()).when(MoveToStage(...)).refused("deal_deleted")"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic

from shared.es.aggregate import Aggregate, C, E, S
from shared.es.errors import Rejected


def given(aggregate: Aggregate[S, C, E], *events: E) -> Given[S, C, E]:
    """A stream in which `events` have happened, in this order."""
    return Given(aggregate, aggregate.fold(events))


@dataclass(frozen=True, slots=True)
class Given(Generic[S, C, E]):
    aggregate: Aggregate[S, C, E]
    state: S

    def when(self, command: C) -> Outcome[S, E]:
        """Decides once. Whatever is raised besides Rejected is raised here; deciding twice must give the same."""
        first = _decided(self.aggregate, self.state, command)
        again = _decided(self.aggregate, self.state, command)
        assert _said(first) == _said(again), f"decide is not pure: {_said(first)} and then {_said(again)}"
        if isinstance(first, Rejected):
            return Outcome(self.state, (), first)
        return Outcome(self.aggregate.fold(first, self.state), tuple(first), None)


@dataclass(frozen=True, slots=True)
class Outcome(Generic[S, E]):
    """`state` is the state after the events; the state before, where the command was refused."""

    state: S
    events: tuple[E, ...]
    refusal: Rejected | None

    def then(self, *events: E) -> S:
        """Exactly these events. Answers the state after them."""
        assert self.refusal is None, f"refused with {_said(self.refusal)}, expected {events}"
        assert self.events == events, f"\nhappened: {self.events}\nexpected: {events}"
        return self.state

    def nothing_happens(self) -> S:
        """A success without an event."""
        return self.then()

    def refused(self, code: str, *pointers: str) -> Rejected:
        """Refused with this code and, where given, with a fault at exactly these pointers. Answers the refusal."""
        assert self.refusal is not None, f"happened: {self.events}, expected a refusal with {code}"
        assert self.refusal.code == code, f"refused with {_said(self.refusal)}, expected {code}"
        at = tuple(fault.pointer for fault in self.refusal.errors)
        assert not pointers or at == pointers, f"refused at {at}, expected at {pointers}"
        return self.refusal


def _decided(aggregate: Aggregate[S, C, E], state: S, command: C) -> Sequence[E] | Rejected:
    try:
        return tuple(aggregate.decide(state, command))
    except Rejected as refusal:
        return refusal


def _said(outcome: Sequence[Any] | Rejected) -> Any:
    if isinstance(outcome, Rejected):
        return (outcome.code, outcome.detail, outcome.status, outcome.errors)
    return tuple(outcome)
