"""What a message or a command may look at: replicas folded up to its place, what finders found, states of streams (C.5, C.8)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar
from uuid import UUID

from shared.es.addressed import Finder, Key
from shared.es.aggregate import Aggregate, S
from shared.es.recorded import Stream
from shared.messaging.envelope import Envelope, Message
from shared.messaging.replica import Replica
from shared.messaging.subscription import Need

if TYPE_CHECKING:
    from shared.messaging.handling import Prepared
    from shared.runtime.database import Tx

R = TypeVar("R")

LOCKED = "locked "


@dataclass(slots=True)
class ReplicaRow:
    """One replica's row through a batch: as committed, then after each message that changed it, with that message's place."""

    version: int = 0
    committed: Any = None
    changes: list[tuple[int, int, Any]] = field(default_factory=list)

    def before(self, place: int) -> Any:
        """The row as the message at `place` finds it, its own change included."""
        for at, _, row in reversed(self.changes):
            if at <= place:
                return row
        return self.committed

    def latest(self) -> tuple[int, Any]:
        return (self.changes[-1][1], self.changes[-1][2]) if self.changes else (self.version, self.committed)

    def last_change(self, without: Set[int]) -> tuple[int, Any] | None:
        """Version and row after the last message that was not left for later."""
        for place, version, row in reversed(self.changes):
            if place not in without:
                return version, row
        return None

    def every(self) -> Iterable[Any]:
        if self.committed is not None:
            yield self.committed
        for _, _, row in self.changes:
            if row is not None:
                yield row


class Library:
    """Everything looked up for a batch: each finder is asked once per level, for all messages together."""

    def __init__(self, prepared: Prepared, tx: Tx) -> None:
        self._prepared = prepared
        self._tx = tx
        self.replicas: dict[str, dict[Key, ReplicaRow]] = {}
        self._by_name: dict[str, Replica[Any]] = {}
        self._found: dict[str, dict[Key, Sequence[Any]]] = {}

    async def load_replicas(self, wanted: Mapping[str, tuple[Replica[Any], set[Key]]]) -> None:
        """Committed rows of the replicas that the batch's messages change."""
        for name, (replica, keys) in wanted.items():
            await self._load_replica(name, replica, keys)

    async def _load_replica(self, name: str, replica: Replica[Any], keys: Iterable[Key]) -> None:
        rows = self.replicas.setdefault(name, {})
        self._by_name[name] = replica
        missing = {key for key in keys if key not in rows}
        found = await replica.fetch_versions(self._tx, missing)
        for key in missing:
            version, row = found.get(key, (0, None))
            rows[key] = ReplicaRow(version, row)

    def fold(self, place: int, replica: Replica[Any], key: Key, message: Message[Any]) -> None:
        """Fold one message into a row. A sequence not above the row's version changes nothing."""
        entry = self.replicas[replica.name][key]
        version, row = entry.latest()
        sequence = message.envelope.sequence
        if sequence <= version:
            return
        changed = replica.hears[type(message.body)](row, message.body)
        if changed is not None:
            entry.changes.append((place, sequence, changed))

    def forget_folds(self) -> None:
        for rows in self.replicas.values():
            for entry in rows.values():
                entry.changes.clear()

    async def answer(self, needs: Sequence[tuple[Need[Any, Any], Key]]) -> None:
        """Fetch what the needs name, then what the rows found lead to."""
        while needs:
            await self._fetch(needs)
            needs = [
                (deeper, Key(key.tenant, wanted))
                for need, key in needs
                if need.then
                for row in self._rows(need.finder, key)
                for deeper in need.then
                for wanted in deeper.keys(row)
            ]

    async def _fetch(self, needs: Sequence[tuple[Need[Any, Any], Key]]) -> None:
        wanted: dict[str, tuple[Finder[Any], set[Key]]] = {}
        for need, key in needs:
            wanted.setdefault(need.finder.name, (need.finder, set()))[1].add(key)
        for name, (finder, keys) in wanted.items():
            await self.find(name, finder, keys)

    def replica(self, name: str) -> Replica[Any]:
        return self._by_name[name]

    async def find_locked(self, finder: Finder[Any], keys: set[Key]) -> None:
        """Rows of a set, read after its lock: never those that were read before it."""
        await self.find(LOCKED + finder.name, finder, keys)

    async def find(self, name: str, finder: Finder[Any], keys: set[Key]) -> None:
        if isinstance(finder, Replica):
            await self._load_replica(finder.name, finder, keys)
            return
        known = self._found.setdefault(name, {})
        missing = {key for key in keys if key not in known}
        if missing:
            found = await finder.fetch(self._tx, missing)
            known.update({key: found.get(key, ()) for key in missing})

    def _rows(self, finder: Finder[Any], key: Key) -> Iterable[Any]:
        if isinstance(finder, Replica):
            return self.replicas[finder.name][key].every()
        return self._found[finder.name].get(key, ())

    def rows_at(self, place: int, finder: Finder[R], key: Key) -> Sequence[R]:
        """What the item at `place` may see. A finder that was not asked for this key is a mistake in the wiring."""
        locked = self._found.get(LOCKED + finder.name, {})
        if key in locked:
            return locked[key]
        if isinstance(finder, Replica):
            entry = self.replicas.get(finder.name, {}).get(key)
            if entry is None:
                raise LookupError(f"{finder.name} was not among the needs for {key.key}")
            row = entry.before(place)
            return () if row is None else (row,)
        found = self._found.get(finder.name, {})
        if key not in found:
            raise LookupError(f"{finder.name} was not among the needs for {key.key}")
        return found[key]


@dataclass(slots=True)
class Seen:
    """Facts for one item at its place in the batch."""

    now: datetime
    tenant: UUID
    place: int
    library: Library
    states: Mapping[Stream, tuple[Any, int]] = field(default_factory=dict)
    counts: Mapping[tuple[UUID, str], int] = field(default_factory=dict)

    def all(self, finder: Finder[R], key: str) -> Sequence[R]:
        return self.library.rows_at(self.place, finder, Key(self.tenant, key))

    def one(self, finder: Finder[R], key: str) -> R | None:
        rows = self.all(finder, key)
        return rows[0] if rows else None

    def state(self, aggregate: Aggregate[S, Any, Any], id: str) -> S:
        state: S = self.states[Stream(self.tenant, aggregate.stream(id))][0]
        return state

    def counted(self, name: str) -> int:
        return self.counts.get((self.tenant, name), 0)


def replica_key(replica: Replica[Any], envelope: Envelope, body: Any) -> Key:
    id = replica.id_of(body) if replica.id_of else envelope.subject_id
    return Key(envelope.context.tenant, id)
