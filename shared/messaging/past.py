"""What decisions rest on: streams and sets as they stand, read after the locks that keep them so until the commit (C.5)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any
from uuid import UUID

from shared.es.addressed import Addressed, Finder, Key
from shared.es.recorded import Stream
from shared.messaging.facts import Library
from shared.messaging.handling import Prepared
from shared.messaging.translating import Work
from shared.runtime.statements import load_sql

if TYPE_CHECKING:
    from shared.runtime.database import Tx


class Past:
    """Streams as they stand, loaded after the locks; what is already loaded is kept from round to round."""

    def __init__(self, prepared: Prepared, tx: Tx, tenants: Sequence[UUID]) -> None:
        self._prepared, self._tx, self._tenants = prepared, tx, tenants
        self._held: dict[str, bool] = {}
        self.states: dict[Stream, tuple[Any, int]] = {}

    async def hold(self, work: Work) -> None:
        """Advisory locks on what others' decisions rest on, until the commit. One statement, sorted by the lock's number."""
        wanted = _locks(self._commands(work))
        locks = {name: exclusive for name, exclusive in wanted.items() if self._held.get(name) not in (True, exclusive)}
        if locks:
            await self._tx.raw.fetch(load_sql("messaging", "lock"), [*locks], [*locks.values()])
            self._held |= locks

    def _commands(self, work: Work) -> Iterable[tuple[UUID, Addressed[Any]]]:
        return ((self._tenants[place], a) for place, every in work.addressed.items() for a in every)

    async def load(self, work: Work) -> None:
        aggregates = {
            Stream(tenant, aggregate.stream(id)): aggregate
            for tenant, a in self._commands(work)
            for aggregate, id in ((a.aggregate, a.id), *a.reads)
        }
        missing = [stream for stream in aggregates if stream not in self.states]
        if missing:
            loaded = await self._prepared.store.load_many(self._tx, missing)
            for stream, events in loaded.items():
                self.states[stream] = (aggregates[stream].fold(events), len(events))

    async def find(self, work: Work, library: Library) -> None:
        wanted: dict[str, tuple[Finder[Any], set[Key]]] = {}
        for tenant, a in self._commands(work):
            for finder, key in a.finds:
                wanted.setdefault(finder.name, (finder, set()))[1].add(Key(tenant, key))
        for finder, keys in wanted.values():
            await library.find_locked(finder, keys)


def _locks(addressed: Iterable[tuple[UUID, Addressed[Any]]]) -> dict[str, bool]:
    """Lock name -> exclusive? Streams that others read, when appended to or read; sets, always exclusively."""
    locks: dict[str, bool] = {}
    for tenant, a in addressed:
        if a.aggregate.read_by_others:
            locks[f"{tenant}/{a.aggregate.stream(a.id)}"] = True
        for aggregate, id in a.reads:
            if aggregate.read_by_others:
                locks.setdefault(f"{tenant}/{aggregate.stream(id)}", False)
        if a.exclusive:
            locks[f"{tenant}/{a.exclusive}"] = True
    return locks
