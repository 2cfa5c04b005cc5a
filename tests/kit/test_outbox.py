"""The outbox: rows commit with what caused them, in the order given, byte for byte."""

from __future__ import annotations

import pytest

from shared.messaging.envelope import unpack
from shared.messaging.outbox import Outgoing, put_many
from shared.runtime.database import Database
from shared.runtime.service import Kit


def messages(*keys: str) -> list[Outgoing]:
    return [Outgoing("toy.events", key, [("ce_id", key.encode()), ("ce_id", b"twice"), ("odd", b"\x00\xff")], b'{"n": 1}') for key in keys]


async def kept(database: Database) -> list[Outgoing]:
    async with database.raw() as raw:
        rows = await raw.fetch("select topic, key, headers, value from outbox order by position")
    return [Outgoing(row["topic"], row["key"], unpack(row["headers"]), row["value"]) for row in rows]


async def test_rows_keep_the_order_and_every_byte(kit: Kit) -> None:
    given = messages(*(f"{n:03}" for n in range(300)))

    async with kit.database.transaction() as tx:
        await put_many(tx, given[:200])
        await put_many(tx, [])
        await put_many(tx, given[200:])

    assert await kept(kit.database) == given


async def test_a_transaction_that_fails_leaves_nothing(kit: Kit) -> None:
    with pytest.raises(LookupError):
        async with kit.database.transaction() as tx:
            await put_many(tx, messages("a", "b"))
            raise LookupError("after the outbox")

    assert await kept(kit.database) == []


async def test_rows_carry_the_time_of_the_transaction(kit: Kit) -> None:
    async with kit.database.transaction() as tx:
        await put_many(tx, messages("a"))
        told = tx.now

    async with kit.database.raw() as raw:
        assert [row["at"] for row in await raw.fetch("select at from outbox")] == [told]
