"""One service's database: transactions for the kit, reads under row-level security, and what its errors mean (B.5, B.8).

Three roles, each taken as a connection opens: the kit's writes everything, the reader's sees one tenant."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import asyncpg
import orjson
from sqlalchemy import event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from shared.es.errors import Conflict, Unavailable
from shared.es.view import Row
from shared.runtime.clock import monotonic

TIMEOUTS = {"statement_timeout": "10s", "lock_timeout": "2s", "idle_in_transaction_session_timeout": "15s"}
BY_KEY = {"enable_seqscan": "off", "jit": "off"}
"""What is kept is found by an index, however small or empty a table was when its statement was planned (decision 0006)."""
PEER = tuple(
    (level, getattr(socket, option), value)
    for level, option, value in (
        (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
        (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 5),
        (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 2),
        (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
        (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", 12_000),
    )
    if hasattr(socket, option)
)
"""Of the connection's socket: seconds, TCP_USER_TIMEOUT in milliseconds: a bit more than the longest statement.
What a system lacks is left out."""
RESTED = 2.0
"""Seconds after which a connection from the pool is asked whether it still lives: three round trips."""
PREPARED = 500
"""Statements that a connection keeps prepared, for good: what is written together comes in many combinations."""
AGAIN = ("40001", "40P01", "55P03")


class Raw(Protocol):
    """The calls of an asyncpg connection that the kit makes."""

    async def fetch(self, query: str, *args: object) -> list[Row]: ...

    async def fetchval(self, query: str, *args: object) -> Any: ...

    async def execute(self, query: str, *args: object) -> str: ...


@dataclass(frozen=True, slots=True)
class Tx:
    """One open READ COMMITTED transaction."""

    raw: Raw
    now: datetime
    """The primary's clock_timestamp(), read as the transaction's first statement and passed on from here."""


class Database:
    """Raises Unavailable when the server is away and Conflict when somebody else was first; other errors pass through."""

    def __init__(self, url: str, service: str, *, reader_url: str | None = None, pool: int = 8) -> None:
        self._kit = _engine(url, f"{service}_kit", pool)
        self._reader = _engine(reader_url or url, f"{service}_reader", pool)
        self.clock: Callable[[datetime], datetime] = lambda primary: primary
        """What a test replaces to move time: the primary's time in, the time everything here believes out."""

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Tx]:
        """Commits when the block ends, rolls back when it raises."""
        with translated():
            async with self._kit.connect() as connection:
                driver = await _driver(connection)
                async with driver.transaction():
                    yield Tx(driver, self.clock(await driver.fetchval("select clock_timestamp()")))

    @asynccontextmanager
    async def reading(self, tenant: UUID) -> AsyncIterator[AsyncConnection]:
        """A read-only view of one tenant, whatever the query asks for."""
        with translated():
            async with self._reader.connect() as connection, connection.begin():
                await connection.execute(TENANT, {"tenant": str(tenant)})
                yield connection

    @asynccontextmanager
    async def across_tenants(self) -> AsyncIterator[AsyncConnection]:
        """Reads with the kit's role: credentials, tokens and operators' lists. Rolled back at the end."""
        with translated():
            async with self._kit.connect() as connection:
                yield connection
                await connection.rollback()

    @asynccontextmanager
    async def raw(self) -> AsyncIterator[Raw]:
        """Single statements, each its own transaction."""
        with translated():
            async with self._kit.connect() as connection:
                yield await _driver(connection)

    async def close(self) -> None:
        await self._kit.dispose()
        await self._reader.dispose()

    def checked_out(self) -> int:
        """Connections in use now, of both pools."""
        return sum(engine.pool.checkedout() for engine in (self._kit, self._reader))  # type: ignore[attr-defined]


TENANT = text("select set_config('app.tenant', :tenant, true)")


async def _driver(connection: AsyncConnection) -> asyncpg.Connection:
    """SQLAlchemy lends the connection and takes no further part: no BEGIN, no COMMIT, no statement of its own."""
    return (await connection.get_raw_connection()).driver_connection


def _engine(url: str, role: str, pool: int) -> AsyncEngine:
    engine = create_async_engine(
        make_url(url).set(drivername="postgresql+asyncpg"),
        pool_size=pool,
        max_overflow=pool,
        pool_timeout=2,
        pool_recycle=1800,
        json_serializer=lambda value: value,
        json_deserializer=lambda value: value,
        connect_args={
            "server_settings": {**TIMEOUTS, **BY_KEY, "role": role, "application_name": role},
            "timeout": 5,
            "statement_cache_size": PREPARED,
            "max_cached_statement_lifetime": 0,
        },
    )
    event.listen(engine.sync_engine, "connect", _decode_json)
    event.listen(engine.sync_engine, "connect", _give_up_a_dead_peer)
    event.listen(engine.sync_engine, "checkin", _note_rest)
    event.listen(engine.sync_engine, "checkout", _must_be_alive)
    return engine


def _note_rest(connection: Any, record: Any) -> None:
    record.info["since"] = monotonic()


def _must_be_alive(connection: Any, record: Any, proxy: Any) -> None:
    """A connection that was used a moment ago is asked nothing: its closed socket would be known. DisconnectionError: the pool
    takes another one."""
    if connection.driver_connection.is_closed():
        raise DisconnectionError
    if monotonic() - record.info.get("since", 0.0) > RESTED:
        try:
            connection.ping()
        except Exception as error:
            raise DisconnectionError from error


def _decode_json(connection: Any, record: Any) -> None:
    """JSON columns are Python values on both roads: SQLAlchemy's own step is switched off above."""
    for name in ("json", "jsonb"):
        connection.run_async(
            lambda driver, name=name: driver.set_type_codec(name, schema="pg_catalog", encoder=_encode, decoder=orjson.loads)
        )


def _give_up_a_dead_peer(connection: Any, record: Any) -> None:
    """A server that went without a word is noticed: while we wait for it, and while nothing is said."""
    peer = connection.driver_connection._transport.get_extra_info("socket")
    if peer.family != socket.AF_UNIX:
        for level, option, value in PEER:
            peer.setsockopt(level, option, value)


def _encode(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()


@asynccontextmanager
async def owner_connection(url: str, service: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection of the role that owns the tables: migrations and inbox partitions."""
    with translated():
        dsn = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
        connection = await asyncpg.connect(dsn, server_settings={"role": f"{service}_owner"}, timeout=5)
        try:
            yield connection
        finally:
            await connection.close()


class translated:
    """Turns what the driver raises into what the runtime does about it."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, Exception) and (meaning := meaning_of(error)) is not error:
            raise meaning from error


def meaning_of(error: Exception) -> Exception:
    """Unavailable, Conflict, or the error itself."""
    driver = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    driver = driver.__cause__ if isinstance(driver.__cause__, asyncpg.PostgresError | asyncpg.InterfaceError) else driver
    state = getattr(driver, "sqlstate", None) or ""
    if state in AGAIN:
        return Conflict(str(driver))
    if state[:2] in ("08", "53") or state.startswith("57P"):
        return Unavailable(str(driver))
    if isinstance(driver, PoolTimeout | OSError | TimeoutError) or _connection_is_gone(driver, error):
        return Unavailable(f"database: {driver or type(driver).__name__}")
    return error


def _connection_is_gone(driver: BaseException, error: Exception) -> bool:
    if isinstance(error, DBAPIError) and error.connection_invalidated:
        return True
    if isinstance(driver, asyncpg.InternalClientError):
        return True  # a server that goes says so to a connection at rest; until its socket ends, this is all that can be had of it
    return isinstance(driver, asyncpg.InterfaceError | InterfaceError) and "clos" in str(driver)


def violated(error: BaseException) -> str:
    """The name of the constraint that an error reports, or ''."""
    driver = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return str(getattr(driver, "constraint_name", None) or "")
