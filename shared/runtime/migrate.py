"""Brings a service's database to what its code needs: the kit's numbered migrations, then the tables of views and replicas (B.5).

Idempotent, under one advisory lock. Views and replicas have no migrations: a table that is missing is created, one that exists stays."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import asyncpg
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateIndex, CreateTable

from shared.es.view import HistoryView
from shared.messaging.replica import HistoryReplica
from shared.runtime.database import owner_connection
from shared.runtime.failpoints import afp
from shared.runtime.service import Service

MIGRATIONS = Path(__file__).parent / "sql"
LOCK = "select pg_advisory_lock(hashtextextended('dealwright/migrate', 0))"


async def migrate(url: str, service: Service) -> list[str]:
    """Returns what was done, in words. Raises Unavailable when the server is away."""
    async with owner_connection(url, service.name) as connection:
        await connection.execute(LOCK)
        done = await _migrations(connection, service.name)
        for table in tables_of(service):
            await afp("mig.between_steps")
            done += await _table(connection, service.name, table)
        return done


async def schema_is_ready(url: str, service: Service) -> bool:
    """Are all migrations applied and all tables there?"""
    async with owner_connection(url, service.name) as connection:
        if not await connection.fetchval("select to_regclass('schema_migrations') is not null"):
            return False
        applied = {row["name"] for row in await connection.fetch("select name from schema_migrations")}
        wanted = [table.name for table in tables_of(service)]
        missing = await connection.fetchval("select count(*) from unnest($1::text[]) as t(name) where to_regclass(t.name) is null", wanted)
        return missing == 0 and applied >= {path.name for path in MIGRATIONS.glob("*.sql")}


def tables_of(service: Service) -> list[Table]:
    views = [view.table for handler in service.handlers for view in handler.views]
    replicas = [replica.table for replica in service.replicas]
    return list({table.name: table for table in (*views, *replicas)}.values())


def history_tables_of(service: Service) -> set[str]:
    views = (view.table.name for handler in service.handlers for view in handler.views if isinstance(view, HistoryView))
    return {*views, *(r.table.name for r in service.replicas if isinstance(r, HistoryReplica))}


async def _migrations(connection: asyncpg.Connection, service: str) -> list[str]:
    await connection.execute("create table if not exists schema_migrations (name text primary key, at timestamptz not null default now())")
    applied = {row["name"] for row in await connection.fetch("select name from schema_migrations")}
    done = []
    for path in sorted(MIGRATIONS.glob("*.sql")):
        if path.name in applied:
            continue
        async with connection.transaction():
            await connection.execute(path.read_text().replace(":kit", f"{service}_kit").replace(":reader", f"{service}_reader"))
            await connection.execute("insert into schema_migrations (name) values ($1)", path.name)
        done.append(f"applied {path.name}")
    return done


async def _table(connection: asyncpg.Connection, service: str, table: Table) -> list[str]:
    if await connection.fetchval("select to_regclass($1) is not null", table.name):
        return []
    async with connection.transaction():
        for statement in (*_ddl(table), *_walls(table.name, service)):
            await connection.execute(statement)
    return [f"created {table.name}"]


def _ddl(table: Table) -> Iterable[str]:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    yield str(CreateTable(table).compile(dialect=dialect))
    for index in table.indexes:
        yield str(CreateIndex(index).compile(dialect=dialect))


def _walls(table: str, service: str) -> Iterable[str]:
    """The second wall between tenants: the reader sees the rows of `app.tenant` alone (reliability 5.3)."""
    yield f"alter table {table} enable row level security"
    yield f"alter table {table} force row level security"
    yield f"create policy kit on {table} to {service}_kit using (true) with check (true)"
    yield (
        f"create policy tenant on {table} for select to {service}_reader"
        " using (tenant = nullif(current_setting('app.tenant', true), '')::uuid)"
    )
    yield f"grant select on {table} to {service}_reader"
    yield f"grant select, insert, update, delete on {table} to {service}_kit"
