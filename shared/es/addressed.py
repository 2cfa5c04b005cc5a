"""A command, whom it is for, and what the decision rests on besides its own stream (architecture C.3, C.5)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

from shared.es.aggregate import Aggregate, C, S

if TYPE_CHECKING:
    from shared.runtime.database import Tx

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Key(NamedTuple):
    """What a finder is asked for: always within one tenant."""

    tenant: UUID
    key: str


class Finder(Protocol[R_co]):
    """Answers many keys in one query."""

    @property
    def name(self) -> str: ...

    async def fetch(self, tx: Tx, keys: Collection[Key]) -> Mapping[Key, Sequence[R_co]]: ...


class Facts(Protocol):
    """What one message or one command may look at, within its tenant, at its place in the batch."""

    @property
    def now(self) -> datetime:
        """The primary's clock, read once for the transaction; of a rehearsal that moved its own clock, that one."""

    @property
    def tenant(self) -> UUID: ...

    def all(self, finder: Finder[R], key: str) -> Sequence[R]:
        """Every row the finder has for the key; the finder must be among the needs (or `finds`)."""

    def one(self, finder: Finder[R], key: str) -> R | None:
        """The first row, or None."""

    def state(self, aggregate: Aggregate[S, Any, Any], id: str) -> S:
        """The state of a stream that `Addressed.reads` names (or that it is addressed to), as the items before left it."""

    def counted(self, name: str) -> int:
        """How much of this the tenant's items before it in the transaction have counted (`Addressed.counts`)."""


@dataclass(frozen=True, slots=True)
class Addressed(Generic[C]):
    """`command` may be a function: it is called at its place in the batch, and None means that nothing is asked.

    An item may read a stream of an aggregate that is not `read_by_others` only if it also appends to that stream.
    Whoever decides on a set or adds to it names it in `exclusive` ('open-invoices/<deal>'); `finds` are that set's rows, read
    under its lock. A command made of rows that were read before may raise Conflict when they are different now: its
    message is translated and decided again in a new transaction.

    `counts`: a name, and how much of it the state counts for that the command led to, if it led to any event. Items behind it in
    the transaction see the sum (`Facts.counted`); what other transactions do at the same time they do not."""

    aggregate: Aggregate[Any, C, Any]
    id: str
    command: C | Callable[[Facts], C | None]
    reads: tuple[tuple[Aggregate[Any, Any, Any], str], ...] = ()
    exclusive: str | None = None
    finds: tuple[tuple[Finder[Any], str], ...] = ()
    counts: tuple[str, Callable[[Any], int]] | None = None
