"""What keeps the kit's tables small: inbox partitions made ahead and dropped whole, old answers pruned in slices (C.1)."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import asyncpg
import structlog

from shared.runtime.database import owner_connection

if TYPE_CHECKING:
    from shared.runtime.service import Kit

log = structlog.get_logger(__name__)

AHEAD = 3
KEPT = 30
PRUNE = """
delete from inbox_other where ctid = any(array(
    select ctid from inbox_other
    where (day = '1970-01-01' and at < now() - interval '7 days') or at < now() - interval '30 days' limit 5000))
"""
PARTITIONS = "select inhrelid::regclass::text as name from pg_inherits where inhparent = 'inbox'::regclass"


class Upkeep:
    """A loop. Correctness never depends on it: a day without a partition goes to the default one."""

    name = "upkeep"

    def __init__(self, kit: Kit, owner_url: str) -> None:
        self._kit, self._url = kit, owner_url

    async def step(self) -> timedelta:
        async with self._kit.database.transaction() as tx:
            today = tx.now.date()
        async with owner_connection(self._url, self._kit.service.name) as owner:
            for ahead in range(AHEAD):
                await _partition(owner, today + timedelta(days=ahead), f"{self._kit.service.name}_kit")
            await _drop_old(owner, today - timedelta(days=KEPT))
            await owner.execute(PRUNE)
        return timedelta(hours=1)


async def _partition(owner: asyncpg.Connection, day: date, kit_role: str) -> None:
    """PostgreSQL refuses a partition for a day that has rows in the default one already: it stays there."""
    name = f"inbox_{day:%Y%m%d}"
    if await owner.fetchval("select to_regclass($1) is not null", name):
        return
    try:
        async with owner.transaction():
            await owner.execute(
                f"create table {name} partition of inbox for values from ('{day}') to ('{day + timedelta(days=1)}')"
                " with (autovacuum_vacuum_scale_factor = 0.01)"
            )
            await owner.execute(f"grant select, insert, update, delete on {name} to {kit_role}")
    except asyncpg.CheckViolationError:
        log.info("inbox.day_stays_in_the_default_partition", day=str(day))


async def _drop_old(owner: asyncpg.Connection, before: date) -> None:
    for row in await owner.fetch(PARTITIONS):
        digits = row["name"].removeprefix("inbox_")
        if digits.isdigit() and date.fromisoformat(digits) < before:
            await owner.execute(f"drop table {row['name']}")
