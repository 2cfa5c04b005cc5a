"""What one kind of message means to a service: a pure function from a message and found facts to addressed commands (C.8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from shared.es.addressed import Addressed, Facts, Finder
from shared.messaging.contract import Contract
from shared.messaging.envelope import Message

B = TypeVar("B", bound=Contract)
M = TypeVar("M")
R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Need(Generic[M, R]):
    """Rows that must be at hand: which finder, with which keys, and what those rows lead to (at most four levels).

    A Replica is itself a finder by id; what it finds includes the messages of the batch up to this one."""

    finder: Finder[R]
    keys: Callable[[M], Iterable[str]]
    then: tuple[Need[R, Any], ...] = ()


@dataclass(frozen=True, eq=False)
class Subscription(Generic[B]):
    """`commands` may raise Rejected (an answer), NotYet (the key waits); it never awaits."""

    contract: type[B]
    commands: Callable[[Message[B], Facts], Iterable[Addressed[Any]]]
    needs: tuple[Need[Message[B], Any], ...] = ()
