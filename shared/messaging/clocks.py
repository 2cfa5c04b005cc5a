"""What time it is for whom: the service's clock for everybody, a clock of its own for a rehearsal that has moved it.

Whether a tenant rehearses is fixed when it is registered, so it is remembered: a batch of productive tenants asks nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING
from uuid import UUID

from shared.messaging.directory import REHEARSAL_CLOCKS, TENANTS
from shared.messaging.items import Item
from shared.runtime import clock
from shared.runtime.statements import load_sql

if TYPE_CHECKING:
    from shared.runtime.database import Database, Raw, Tx

NOBODY: Mapping[UUID, datetime] = {}


@dataclass(frozen=True, slots=True)
class Moments:
    """`service`: the primary's clock, read once for the transaction. `moved`: where the clocks of rehearsals stand."""

    service: datetime
    moved: Mapping[UUID, datetime] = field(default_factory=lambda: NOBODY)

    def of(self, item: Item) -> datetime:
        """On a clock that stands still, what follows from something happens at the moment of its cause, however late it is handled."""
        stands_at = self.moved.get(item.context.tenant)
        return self.service if stands_at is None else item.at or stands_at


class Clocks:
    """One object per process. A service that keeps no tenants or no rehearsal clocks knows one time alone."""

    def __init__(self, tables: Iterable[str]) -> None:
        self._kept = {TENANTS.name, REHEARSAL_CLOCKS.name} <= set(tables)
        self._productive: set[UUID] = set()

    async def moments(self, tx: Tx, items: Sequence[Item]) -> Moments:
        """No statement when all tenants are known to be productive."""
        return Moments(tx.now, await self._moved(tx.raw, {item.context.tenant for item in items}))

    async def now(self, database: Database, tenant: UUID) -> datetime:
        """For a page that only reads: where the tenant's clock stands, else this machine's."""
        if tenant in self._productive or not self._kept:
            return clock.now()
        async with database.raw() as raw:
            return (await self._moved(raw, {tenant})).get(tenant) or clock.now()

    async def _moved(self, raw: Raw, tenants: set[UUID]) -> Mapping[UUID, datetime]:
        unsure = tenants - self._productive
        if not unsure or not self._kept:
            return NOBODY
        rows = await raw.fetch(load_sql("messaging", "clocks"), sorted(unsure))
        self._productive |= {row["tenant"] for row in rows if row["rehearsal"] is False}
        return {row["tenant"]: row["stands_at"] for row in rows if row["stands_at"] is not None and row["rehearsal"] is not False}
