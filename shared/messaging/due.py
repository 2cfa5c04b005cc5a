"""Rows of a view that have become due, as a door of the batch: timers, reminders, notices that were held (C.5, C.10, R9).

The claim (`for update skip locked`) and what is decided about it are one transaction, so any number of processes handle
each row exactly once. No lease: having happened is an event, after which the row is no longer due."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING

import structlog

from shared.es.view import Row
from shared.messaging.batch import Batch, Item, Result
from shared.messaging.parked import next_try, reason_of, words

if TYPE_CHECKING:
    from shared.runtime.database import Tx
    from shared.runtime.service import Kit

log = structlog.get_logger(__name__)

AGAIN = """
insert into blocked (consumer, key, reason, error, attempts, next_at, since)
select $1, t.key, t.reason, t.error, t.attempts, t.next_at, $7::timestamptz
from unnest($2::text[], $3::text[], $4::text[], $5::int[], $6::timestamptz[]) as t(key, reason, error, attempts, next_at) order by t.key
on conflict (consumer, key) do update set reason = excluded.reason, error = excluded.error, attempts = excluded.attempts,
                                          next_at = excluded.next_at
"""
ATTEMPTS = "select key, attempts from blocked where consumer = $1 and key = any($2::text[]) order by key for update"
FREE = "delete from blocked where consumer = $1 and key = any($2::text[])"
KEY = "d.tenant::text || '/' || d.id"
CLAIM = f"select d.*, {KEY} as key, exists (select 1 from blocked b where b.consumer = $3 and b.key = {KEY}) as was_blocked from ({{}}) d"


@dataclass(frozen=True, eq=False)
class DueRows:
    """`sql` takes $1 the database's clock and $2 how many at most, and leaves out what is blocked for `consumer`:

        … and not exists (select 1 from blocked b where b.consumer = 'ticker' and b.key = t.tenant::text || '/' || t.id
                                                    and (b.next_at is null or b.next_at > $1))
        order by … limit $2 for update of t skip locked

    `item` makes of a row what is asked; its key is 'tenant/id'. What could not be handled is blocked and tried again
    on the schedule of parked keys, then waits for a person; nothing else is held up by it."""

    consumer: str
    sql: str
    item: Callable[[Row], Item]
    most: int = 200
    not_after: datetime | None = None
    """A later time is not believed, whatever the database's clock says."""

    @cached_property
    def _claimed(self) -> list[Item]:
        return []

    @cached_property
    def _tried_before(self) -> set[str]:
        return set()

    async def claim(self, kit: Kit, tx: Tx) -> Sequence[Item]:
        at = min(tx.now, self.not_after or tx.now)
        rows = await tx.raw.fetch(CLAIM.format(self.sql), at, self.most, self.consumer)
        self._claimed[:] = [self.item(row) for row in rows]
        self._tried_before.update(row["key"] for row in rows if row["was_blocked"])
        return list(self._claimed)

    async def settle(self, kit: Kit, tx: Tx, results: Sequence[Result]) -> Sequence[Result]:
        done = self._tried_before.intersection(r.item.key for r in results if r.outcome not in ("parked", "waits"))
        if done:
            await tx.raw.execute(FREE, self.consumer, sorted(done))
        await self._block(tx, [r for r in results if r.outcome == "parked"])
        return results

    async def _block(self, tx: Tx, failed: Sequence[Result]) -> None:
        if not failed:
            return
        errors = {r.item.key: r.error or RuntimeError("could not be handled") for r in failed}
        keys, reasons = sorted(errors), {key: reason_of(error) for key, error in errors.items()}
        before = {row["key"]: row["attempts"] + 1 for row in await tx.raw.fetch(ATTEMPTS, self.consumer, keys)}
        attempts = [before.get(key, 0) for key in keys]
        nexts = [next_try(reasons[key], tried, tx.now) for key, tried in zip(keys, attempts, strict=True)]
        told = [words(errors[key]) for key in keys]
        await tx.raw.execute(AGAIN, self.consumer, keys, [reasons[key] for key in keys], told, attempts, nexts, tx.now)
        for key in keys:
            log.error("due.blocked", consumer=self.consumer, key=key, error=str(errors[key]))

    def halves(self) -> Sequence[DueRows]:
        """Those before have been handled or blocked by the time the second one claims, so it finds the rest."""
        number = len(self._claimed)
        return () if number < 2 else (replace(self, most=number // 2), replace(self, most=number - number // 2))

    def waiting(self, results: Sequence[Result]) -> Batch | None:
        return replace(self) if any(r.outcome == "waits" for r in results) else None
