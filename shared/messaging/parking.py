"""Parked keys: the door that tries their heads again, and the operator's verbs (C.11, R6).

The `blocked` row is the lock of a lane: a live batch reads it `for share`, the drainer holds it `for update`, so a live
message cannot overtake a replayed one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson

from shared.es.errors import NotFound, Rejected
from shared.es.view import Row
from shared.messaging.batch import Batch, Item, Result, handle_batch
from shared.messaging.envelope import from_kafka, unpack
from shared.messaging.inbox import item_of
from shared.messaging.parked import next_try, reason_of, words
from shared.runtime.clock import new_id
from shared.runtime.database import Database
from shared.runtime.failpoints import fp
from shared.runtime.statements import load_sql

if TYPE_CHECKING:
    from shared.runtime.database import Tx
    from shared.runtime.service import Kit


@dataclass(frozen=True, eq=False)
class ParkedHeads:
    """The first message of each key that is due. `most` keys at once; one that fails again blocks its key again."""

    consumer: str
    most: int = 50

    @cached_property
    def _heads(self) -> list[tuple[Item, Row]]:
        return []

    @cached_property
    def _left(self) -> list[Item]:
        return []

    async def claim(self, kit: Kit, tx: Tx) -> Sequence[Item]:
        rows = await tx.raw.fetch(load_sql("messaging", "heads"), self.consumer, tx.now, self.most)
        fp("park.after_take")
        self._heads[:] = [(_item(row), row) for row in rows]
        return [item for item, _ in self._heads]

    async def settle(self, kit: Kit, tx: Tx, results: Sequence[Result]) -> Sequence[Result]:
        by_item = {id(result.item): result for result in results}
        failed = [(row, by_item[id(item)]) for item, row in self._heads if by_item[id(item)].outcome == "parked"]
        waits = {id(r.item) for r in results if r.outcome == "waits"}
        done = [row for item, row in self._heads if by_item[id(item)].outcome not in ("parked", "waits")]
        await self._free(tx, done)
        await self._again(tx, failed)
        self._left[:] = [item for item, _ in self._heads if id(item) in waits]
        fp("park.before_commit")
        return results

    async def _free(self, tx: Tx, rows: Sequence[Row]) -> None:
        if not rows:
            return
        await tx.raw.execute("delete from parked where position = any($1::bigint[])", [row["position"] for row in rows])
        identities = ([row["source"] for row in rows], [row["message_id"] for row in rows], [row["day"] for row in rows])
        nothing = [None] * len(rows)
        await tx.raw.execute(load_sql("messaging", "inbox_outcome"), self.consumer, *identities, ["applied"] * len(rows), nothing, tx.now)
        await free_keys(tx, self.consumer, [row["key"] for row in rows])

    async def _again(self, tx: Tx, failed: Sequence[tuple[Row, Result]]) -> None:
        if not failed:
            return
        reasons = [reason_of(result.error) if result.error else "handler_error" for _, result in failed]
        await tx.raw.execute(
            load_sql("messaging", "again"),
            self.consumer,
            [row["key"] for row, _ in failed],
            [words(result.error) for _, result in failed],
            [next_try(why, row["attempts"] + 1, tx.now) for why, (row, _) in zip(reasons, failed, strict=True)],
            reasons,
        )

    def halves(self) -> Sequence[ParkedHeads]:
        if len(self._heads) < 2:
            return ()
        return tuple(ParkedHeads(self.consumer, 1) for _ in self._heads)

    def waiting(self, results: Sequence[Result]) -> Batch | None:
        return ParkedHeads(self.consumer, self.most) if self._left else None


def _item(row: Row) -> Item:
    return item_of(from_kafka(row["record_key"], unpack(row["headers"]), row["value"]))


async def free_keys(tx: Tx, consumer: str, keys: Sequence[str]) -> None:
    """Keys without messages are free; those with more are due at once."""
    await tx.raw.execute(load_sql("messaging", "done"), consumer, list(keys))
    await tx.raw.execute(load_sql("messaging", "next_head"), consumer, list(keys), tx.now)


class Drainer:
    """The loop behind ParkedHeads."""

    name = "parked keys"

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def step(self) -> timedelta:
        done = await handle_batch(self._kit, ParkedHeads(self._kit.service.name))
        return timedelta(milliseconds=10) if done.results else timedelta(milliseconds=500)


class Parking:
    """What this service could not handle, key by key. Every verb writes an audit row in its own transaction.

    `tenant` narrows every list and verb to one tenant; None sees all (`admin:tenants`)."""

    def __init__(self, database: Database, service: str) -> None:
        self._database, self._consumer = database, service

    async def keys(self, tenant: UUID | None = None) -> list[Row]:
        """Blocked keys with how many messages wait behind each, oldest first."""
        async with self._database.raw() as raw:
            return await raw.fetch(load_sql("messaging", "parked_keys"), self._consumer, _prefix(tenant))

    async def messages(self, key: str) -> list[Row]:
        """The messages of one key, in order, headers unpacked."""
        async with self._database.raw() as raw:
            rows = await raw.fetch("select * from parked where consumer = $1 and key = $2 order by position", self._consumer, key)
        return [{**row, "headers": unpack(row["headers"])} for row in rows]

    async def quarantined(self) -> list[Row]:
        async with self._database.raw() as raw:
            rows = await raw.fetch("select * from quarantine order by at desc limit 200")
        return [{**row, "headers": unpack(row["headers"])} for row in rows]

    async def replay(self, key: str, *, by: str) -> None:
        """The key's messages are due now, in order, same bytes, attempts forgotten. Raises NotFound."""
        async with self._database.transaction() as tx:
            found = await tx.raw.fetchval(
                "update blocked set next_at = $3, attempts = 0 where consumer = $1 and key = $2 returning key", self._consumer, key, tx.now
            )
            if found is None:
                raise NotFound(f"No key {key} is blocked.")
            await self._audit(tx, by, "parked.replayed", key, {})

    async def discard(self, key: str, position: int, *, by: str, why: str) -> None:
        """Give up the head of a key for good; what waits behind it is due. Raises NotFound, Rejected("not_the_head")."""
        async with self._database.transaction() as tx:
            await tx.raw.fetch("select 1 from blocked where consumer = $1 and key = $2 for update", self._consumer, key)
            head = await tx.raw.fetch(
                "select * from parked where consumer = $1 and key = $2 order by position limit 1", self._consumer, key
            )
            if not head:
                raise NotFound(f"No message of key {key} is parked.")
            if head[0]["position"] != position:
                raise Rejected("not_the_head", f"The head of this key is position {head[0]['position']}; only the head can be discarded.")
            await self._discard(tx, head[0], by, why)

    async def _discard(self, tx: Tx, head: Row, by: str, why: str) -> None:
        await tx.raw.execute("delete from parked where position = $1", head["position"])
        identity = ([head["source"]], [head["message_id"]], [head["day"]])
        await tx.raw.execute(load_sql("messaging", "inbox_outcome"), self._consumer, *identity, ["ignored"], [None], tx.now)
        await free_keys(tx, self._consumer, [head["key"]])
        detail = {"position": head["position"], "message_id": head["message_id"], "source": head["source"], "why": why}
        await self._audit(tx, by, "parked.discarded", head["key"], detail)

    async def _audit(self, tx: Tx, by: str, action: str, key: str, detail: dict[str, Any]) -> None:
        await audit(tx, by, action, key, detail, UUID(key.partition("/")[0]))


async def audit(tx: Tx, principal: str, action: str, ref: str, detail: dict[str, Any], tenant: UUID | None = None) -> None:
    """What is no event: operators' verbs, refused log-ins, erasures. In the caller's transaction."""
    await tx.raw.execute(
        "insert into audit (id, tenant, principal, action, ref, detail, at) values ($1, $2, $3, $4, $5, $6::text::json, $7)",
        new_id(),
        tenant,
        principal,
        action,
        ref,
        orjson.dumps(detail, default=str).decode(),
        tx.now,
    )


def _prefix(tenant: UUID | None) -> str:
    return f"{tenant}/" if tenant else ""
