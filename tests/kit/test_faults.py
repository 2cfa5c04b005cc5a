"""The fault proxy does to a connection what its name says, and no more."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from shared.runtime.clock import monotonic
from shared.testing.faults import LOOPBACK, FaultProxy, _reset
from shared.testing.stack import Stack

SOON = 5.0


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    """In front of a server that answers every line with itself."""
    server = await asyncio.start_server(_echo, LOOPBACK, 0)
    async with server, FaultProxy(server.sockets[0].getsockname()[1]) as proxy:
        yield proxy


@asynccontextmanager
async def client(proxy: FaultProxy) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection(LOOPBACK, proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()


async def _asked(connection: tuple[asyncio.StreamReader, asyncio.StreamWriter], line: bytes, patience: float = SOON) -> bytes:
    reader, writer = connection
    writer.write(line)
    async with asyncio.timeout(patience):
        return await reader.readline()


async def test_without_a_fault_everything_passes_both_ways(proxy: FaultProxy) -> None:
    async with client(proxy) as connection:
        assert await _asked(connection, b"hello\n") == b"hello\n"
        large = b"x" * 60_000 + b"\n"
        assert await _asked(connection, large) == large


async def test_delay_is_added_in_one_direction(proxy: FaultProxy) -> None:
    proxy.down.delay = 0.2
    async with client(proxy) as connection:
        started = monotonic()
        assert await _asked(connection, b"late\n") == b"late\n"
        assert monotonic() - started >= 0.2


async def test_what_is_held_passes_in_order_when_released(proxy: FaultProxy) -> None:
    async with client(proxy) as connection:
        proxy.down.hold()
        with pytest.raises(TimeoutError):
            await _asked(connection, b"one\n", patience=0.1)
        connection[1].write(b"two\n")
        proxy.down.release()
        async with asyncio.timeout(SOON):
            assert [await connection[0].readline(), await connection[0].readline()] == [b"one\n", b"two\n"]


async def test_what_is_dropped_never_arrives_though_the_connection_lives(proxy: FaultProxy) -> None:
    async with client(proxy) as connection:
        proxy.up.dropping = True
        with pytest.raises(TimeoutError):
            await _asked(connection, b"lost\n", patience=0.1)
        await proxy.heal()
        assert await _asked(connection, b"kept\n") == b"kept\n"


async def test_reset_reaches_an_open_connection(proxy: FaultProxy) -> None:
    async with client(proxy) as connection:
        await _asked(connection, b"hello\n")
        proxy.reset_all()
        with pytest.raises(ConnectionResetError):
            await _asked(connection, b"anybody\n")


async def test_refused_until_healed_on_the_same_port(proxy: FaultProxy) -> None:
    port = proxy.port
    await proxy.cut()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(LOOPBACK, port)
    await proxy.heal()
    async with client(proxy) as connection:
        assert proxy.port == port
        assert await _asked(connection, b"back\n") == b"back\n"


async def test_an_answer_is_cut_after_so_many_bytes(proxy: FaultProxy) -> None:
    async with client(proxy) as connection:
        proxy.down.cut_after = 4
        connection[1].write(b"truncated\n")
        received = b""
        with pytest.raises(ConnectionResetError):
            async with asyncio.timeout(SOON):
                while True:
                    received += await connection[0].readexactly(1)
        assert b"truncated\n".startswith(received)
        assert len(received) <= 4


async def test_the_second_connection_is_not_cut_again(proxy: FaultProxy) -> None:
    proxy.down.cut_where = b"poison"
    async with client(proxy) as connection:
        with pytest.raises(ConnectionResetError):
            await _asked(connection, b"the poison\n")
            await _asked(connection, b"more\n")
    async with client(proxy) as connection:
        assert await _asked(connection, b"the poison\n") == b"the poison\n"


async def test_a_server_that_resets_an_open_connection_resets_the_client() -> None:
    """A killed server does so; a client that heard nothing would wait for ever."""

    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        _reset(writer)

    server = await asyncio.start_server(rude, LOOPBACK, 0)
    async with server, FaultProxy(server.sockets[0].getsockname()[1]) as proxy, client(proxy) as connection:
        with pytest.raises(ConnectionResetError):
            await _asked(connection, b"hello\n")


async def test_a_server_that_is_away_resets_the_client() -> None:
    async with FaultProxy(1) as proxy, client(proxy) as connection:
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            await _asked(connection, b"hello\n")
            await _asked(connection, b"hello\n")


async def test_a_commit_whose_answer_is_lost_is_nevertheless_committed(stack: Stack) -> None:
    """The fault behind I1: the client cannot know, the database does."""
    url = make_url(stack.admin_url)
    database = make_url(await stack.fresh_database("deals")).database
    async with FaultProxy(url.port or 5432) as proxy:
        through = await asyncpg.connect(url.set(port=proxy.port, database=database).render_as_string(hide_password=False), ssl=False)
        direct = await asyncpg.connect(url.set(database=database).render_as_string(hide_password=False))
        await direct.execute("create table noted (id int)")
        transaction = through.transaction()
        await transaction.start()
        await through.execute("insert into noted values (1)")
        proxy.down.cut_where = b"COMMIT"
        with pytest.raises((OSError, asyncpg.PostgresError, asyncpg.InterfaceError)):
            await transaction.commit()
        assert await direct.fetchval("select count(*) from noted") == 1
        await direct.close()
        through.terminate()
