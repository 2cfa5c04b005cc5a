"""What surrounds an aggregate's decision, as data (architecture C.5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, Literal

from shared.es.aggregate import Aggregate, C, E, Json, S
from shared.es.recorded import Recorded
from shared.es.view import View
from shared.messaging.contract import Contract


@dataclass(frozen=True, slots=True)
class Effect:
    """Something to be done outside the database once the batch has committed. `key` is the promise: asked twice, done once.

    `key` is '<rule>/<visit>/<step>' or the event's id; never the attempt. `due_at`: not before; None is at once."""

    kind: str
    key: str
    request: Json
    due_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Settled:
    """A person found out what became of an effect in doubt: its row follows in the same transaction. One not in doubt stays as it is."""

    kind: str
    key: str
    state: Literal["done", "failed"]


@dataclass(frozen=True, slots=True)
class InNameOf:
    """A message whose actor is not the one who caused it: a rule or trigger acts in somebody's name (README 6, rule 2)."""

    contract: Contract
    actor: str


def no_effect(state: Any, recorded: Recorded[Any]) -> Effect | Settled | None:
    return None


def says_nothing(state: Any, recorded: Recorded[Any]) -> Contract | InNameOf | None:
    return None


@dataclass(frozen=True, eq=False)
class Handler(Generic[S, C, E]):
    """Holds no connection, no client and no setting.

    `publish` and `effect` get the state *after* the event. A private event publishes at most one message, with its own id."""

    aggregate: Aggregate[S, C, E]
    publish: Callable[[S, Recorded[E]], Contract | InNameOf | None] = says_nothing
    views: tuple[View[S, E], ...] = ()
    effect: Callable[[S, Recorded[E]], Effect | Settled | None] = no_effect
