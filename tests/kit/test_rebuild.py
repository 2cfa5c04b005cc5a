"""A view is a function of one stream: a rebuild gives what live writing gave, also while it goes on (C.7, I27)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from shared.es.rebuild import rebuild
from shared.messaging.batch import handle_batch
from shared.messaging.inbox import MessageBatch
from shared.messaging.republish import republish
from shared.runtime.service import Kit
from tests.kit import toy

VIEWS = (toy.JARS, toy.PUTS)


async def live(kit: Kit, mailbag: toy.Mailbag, jars: int, rounds: int) -> None:
    for number in range(1, rounds + 1):
        records = [mailbag.record(toy.Put(request_id="r", jar_id=f"j{jar}", number=number % 12 or 1)) for jar in range(jars)]
        await handle_batch(kit, MessageBatch("toy", records))


async def rows(kit: Kit, table: str) -> Sequence[Any]:
    async with kit.database.raw() as raw:
        return [tuple(row) for row in await raw.fetch(f"select * from {table} order by id, version")]


async def test_a_rebuild_gives_the_rows_that_live_writing_gave(kit: Kit, mailbag: toy.Mailbag) -> None:
    await live(kit, mailbag, jars=20, rounds=3)
    for view in VIEWS:
        before = await rows(kit, view.table.name)
        async with kit.database.raw() as raw:
            await raw.execute(f"delete from {view.table.name} where id < 'j5'")
        assert await rebuild(kit.database, kit.prepared.store, toy.JAR, view) == 20
        assert await rows(kit, view.table.name) == before


async def test_a_rebuild_corrects_rows_that_are_wrong(kit: Kit, mailbag: toy.Mailbag) -> None:
    """A wrong value at the current version, and a row that the view would not make any more."""
    await live(kit, mailbag, jars=3, rounds=3)
    before = [await rows(kit, view.table.name) for view in VIEWS]
    async with kit.database.raw() as raw:
        await raw.execute("update jars_v1 set marbles = -1")
        await raw.execute("update puts_v1 set number = -1")
        await raw.execute("insert into puts_v1 select tenant, id, version, 7, number, total from puts_v1")
    for view in VIEWS:
        await rebuild(kit.database, kit.prepared.store, toy.JAR, view)
    assert [await rows(kit, view.table.name) for view in VIEWS] == before


async def test_two_rebuilds_racing_writers_leave_the_right_rows(kit: Kit, mailbag: toy.Mailbag) -> None:
    await live(kit, mailbag, jars=30, rounds=2)
    async with kit.database.raw() as raw:
        await raw.execute("delete from jars_v1")
    await asyncio.gather(
        live(kit, mailbag, jars=30, rounds=5),
        *(rebuild(kit.database, kit.prepared.store, toy.JAR, toy.JARS) for _ in range(2)),
    )

    found = {id: (version, marbles) for _, id, version, marbles, _ in await rows(kit, "jars_v1")}
    async with kit.database.raw() as raw:
        truth = await raw.fetch("select stream, count(*) as n, sum((data->>'number')::int) as marbles from events group by 1")
    assert found == {row["stream"].removeprefix("jar-"): (row["n"], row["marbles"]) for row in truth}


async def test_republished_history_is_byte_for_byte_what_was_said(kit: Kit, mailbag: toy.Mailbag) -> None:
    await live(kit, mailbag, jars=3, rounds=2)
    async with kit.database.raw() as raw:
        said = await raw.fetch("delete from outbox returning key, headers, value")
        assert await republish(kit) == 6
        again = await raw.fetch("select key, headers, value from outbox")
    assert sorted(tuple(row) for row in again) == sorted(tuple(row) for row in said)
