"""Transactions, roles and what the driver's errors mean (B.5, R14, reliability 5.3)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from shared.es.errors import Conflict, Unavailable
from shared.es.recorded import Context, Recorded, Stream
from shared.es.store import AlreadyWritten, appended
from shared.runtime import database
from shared.runtime.clock import now
from shared.runtime.database import Database, Tx
from shared.runtime.migrate import migrate, schema_is_ready
from shared.runtime.service import Kit
from shared.runtime.statements import execute
from shared.testing.faults import LOOPBACK
from shared.testing.stack import Stack
from tests.kit import toy
from tests.kit.settling import until, until_true

UNWALLED = """
select c.relname from pg_class c join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'public' and c.relkind in ('r', 'p', 'v') and has_table_privilege('toy_reader', c.oid, 'select')
  and not (c.relrowsecurity and c.relforcerowsecurity
           and exists (select 1 from pg_policies p where p.tablename = c.relname and p.qual like '%app.tenant%'))
"""


async def test_a_raw_statement_takes_part_in_the_transaction(kit: Kit) -> None:
    """Pitfall 8: the pool's adapter would send BEGIN only with the first statement that it executes itself."""
    with pytest.raises(RuntimeError):
        async with kit.database.transaction() as tx:
            await tx.raw.execute("insert into leases values ('x', 'me', 1, now())")
            raise RuntimeError
    async with kit.database.raw() as raw:
        assert await raw.fetchval("select count(*) from leases where resource = 'x'") == 0


async def test_the_kit_cannot_change_what_was_recorded(kit: Kit) -> None:
    rewrites = ("update events set actor = ''", "delete from events", "truncate events", "delete from audit", "update audit set ref = ''")
    for verb in rewrites:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            async with kit.database.raw() as raw:
                await raw.execute(verb)


async def test_the_reader_sees_no_table_without_a_wall_and_none_of_the_kits_own(kit: Kit) -> None:
    async with kit.database.raw() as raw:
        assert [row["relname"] for row in await raw.fetch(UNWALLED)] == []
    for table in ("inbox", "outbox", "parked", "effects", "audit", "quarantine", "leases", "blocked"):
        with pytest.raises(Exception, match="permission denied"):
            async with kit.database.reading(toy.TENANT) as sql:
                await sql.execute(text(f"select 1 from {table}"))


async def test_a_reading_transaction_leaves_no_tenant_behind(kit: Kit) -> None:
    async with kit.database.raw() as raw:
        await raw.execute("insert into jars_v1 values ($1, 'a', 1, 1, '')", toy.TENANT)
    for tenant, expected in ((toy.TENANT, 1), (toy.OTHER_TENANT, 0), (toy.TENANT, 1)):
        async with kit.database.reading(tenant) as sql:
            assert (await sql.execute(text("select count(*) from jars_v1"))).scalar_one() == expected


async def test_a_server_that_is_away_is_unavailable(kit: Kit, stack: Stack) -> None:
    away = Database("postgresql://toy:x@127.0.0.1:1/none", "toy")
    with pytest.raises(Unavailable):
        async with away.transaction():
            pass
    await away.close()


async def test_a_connection_that_dies_is_unavailable_and_the_next_one_works(kit: Kit, stack: Stack) -> None:
    admin = await asyncpg.connect(stack.admin_url)
    with pytest.raises(Unavailable):
        async with kit.database.transaction() as tx:
            await admin.execute("select pg_terminate_backend($1)", await tx.raw.fetchval("select pg_backend_pid()"))
            await tx.raw.fetchval("select 1")
    await admin.close()
    async with kit.database.transaction() as tx:
        assert await tx.raw.fetchval("select 1") == 1


async def test_last_words_come_before_the_end_and_nobody_is_surprised_in_between(stack: Stack) -> None:
    """A server that goes says so to connections at rest too. Until its socket ends, one of them looks fit, and is not."""
    url = make_url(await stack.fresh_database("toy"))
    said, end = asyncio.Event(), asyncio.Event()
    async with _keeping_the_end_back(url.port or 0, said, end) as port:
        own = Database(url.set(host=LOOPBACK, port=port).render_as_string(hide_password=False), "toy", pool=1)
        async with own.raw() as raw:
            backend = await raw.fetchval("select pg_backend_pid()")
        admin = await asyncpg.connect(stack.admin_url)
        await admin.execute("select pg_terminate_backend($1)", backend)
        await admin.close()
        await said.wait()
        with pytest.raises(Unavailable):
            async with own.transaction() as tx:
                await tx.raw.fetchval("select 1")
        end.set()
        await until_true(lambda: _works(own))
        await own.close()


@asynccontextmanager
async def _keeping_the_end_back(port: int, said: asyncio.Event, end: asyncio.Event) -> AsyncIterator[int]:
    """A way to the server on which everything passes, but for the end of its answers. `said`: all of them have arrived."""

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while chunk := await reader.read(65536):
                writer.write(chunk)
                await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await asyncio.open_connection(LOOPBACK, port)
        asking = asyncio.create_task(pump(reader, questions))
        await pump(answers, writer)
        for _ in range(5):
            await asyncio.sleep(0)
        said.set()
        await end.wait()
        writer.close()
        await asking
        questions.close()

    async with await asyncio.start_server(serve, LOOPBACK, 0) as listening:
        yield listening.sockets[0].getsockname()[1]


async def _works(database: Database) -> bool:
    try:
        async with database.transaction() as tx:
            return bool(await tx.raw.fetchval("select 1"))
    except Unavailable:
        return False


async def test_a_connection_that_died_at_rest_is_not_given_out(kit: Kit, stack: Stack) -> None:
    async with kit.database.transaction() as tx:
        rested: Any = tx.raw
        backend = await rested.fetchval("select pg_backend_pid()")
    admin = await asyncpg.connect(stack.admin_url)
    await admin.execute("select pg_terminate_backend($1)", backend)
    await admin.close()
    await until(rested.is_closed)
    async with kit.database.transaction() as tx:
        assert await tx.raw.fetchval("select pg_backend_pid()") != backend


async def test_a_connection_that_rested_long_is_asked_first(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its server is gone without the socket saying so: another connection is given out."""
    async with kit.database.transaction() as tx:
        rested: Any = tx.raw
        backend = await rested.fetchval("select pg_backend_pid()")
    monkeypatch.setattr(database, "RESTED", -1.0)
    monkeypatch.setattr(asyncpg.Connection, "is_closed", lambda connection: False)
    rested.terminate()
    async with kit.database.transaction() as tx:
        assert await tx.raw.fetchval("select pg_backend_pid()") != backend


async def test_a_dead_peer_is_given_up(kit: Kit) -> None:
    async with kit.database.raw() as raw:
        peer = raw._transport.get_extra_info("socket")  # type: ignore[attr-defined]
        assert peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 12_000
        assert peer.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1


async def test_a_lock_that_is_not_to_be_had_is_a_conflict(kit: Kit) -> None:
    async with kit.database.transaction() as holder:
        await holder.raw.fetch("select pg_advisory_xact_lock(7)")
        with pytest.raises(Conflict):
            async with kit.database.transaction() as tx:
                await tx.raw.execute("set local lock_timeout = '50ms'")
                await tx.raw.fetch("select pg_advisory_xact_lock(7)")


async def test_cancelled_requests_leave_no_connection_checked_out(kit: Kit) -> None:
    async def read() -> None:
        async with kit.database.reading(toy.TENANT) as sql:
            await sql.execute(text("select pg_sleep(0.02)"))

    tasks = [asyncio.create_task(read()) for _ in range(300)]
    for n, task in enumerate(tasks):
        if n % 10 == 0:
            await asyncio.sleep(0)
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)

    async with asyncio.timeout(10):
        while kit.database.checked_out():
            await asyncio.sleep(0.01)
    async with kit.database.raw() as raw:
        idle = "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'"
        assert await raw.fetchval(idle) == 0


async def test_migrating_again_does_nothing(kit: Kit, database_url: str) -> None:
    assert await migrate(database_url, toy.SERVICE) == []
    assert await schema_is_ready(database_url, toy.SERVICE)


def _recorded(version: int) -> tuple[str, Recorded[toy.MarblesPut]]:
    context = Context(toy.TENANT, "chain", "cause")
    return "jar", Recorded(uuid4(), Stream(toy.TENANT, "jar-a"), version, toy.MarblesPut(1), context, now())


async def _append(kit: Kit, tx: Tx, recorded: tuple[str, Recorded[toy.MarblesPut]]) -> None:
    with appended():
        await execute(tx.raw, kit.prepared.store.appending([recorded]))


async def test_a_version_that_is_taken_is_a_conflict_and_an_id_that_is_taken_a_repeat(kit: Kit) -> None:
    first = _recorded(1)
    async with kit.database.transaction() as tx:
        await _append(kit, tx, first)
    with pytest.raises(Conflict):
        async with kit.database.transaction() as tx:
            await _append(kit, tx, _recorded(1))
    name, recorded = first
    twice = Recorded(recorded.id, recorded.stream, 2, recorded.event, recorded.context, recorded.recorded_at)
    with pytest.raises(AlreadyWritten):
        async with kit.database.transaction() as tx:
            await _append(kit, tx, (name, twice))
