"""What is written down besides: every row ever put into an outbox, and every grant of a lease, by triggers in a schema of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg

from shared.messaging.envelope import unpack
from tests.chaos import money, timers
from tests.chaos.ground import Ground
from tests.chaos.laws import EVENTS, Law, broken

SERVICES = ("deals", "automation", "billing", "scheduler", "notifications")

OPENED = """
create schema chk;
create table chk.said (position bigint, topic text, key text, headers bytea, value bytea);
create table chk.lease (resource text, owner text, fence bigint, at timestamptz default clock_timestamp());
create function chk.note_said() returns trigger language plpgsql security definer as $$
begin insert into chk.said values (new.position, new.topic, new.key, new.headers, new.value); return new; end $$;
create function chk.note_lease() returns trigger language plpgsql security definer as $$
begin insert into chk.lease (resource, owner, fence) values (new.resource, new.owner, new.fence); return new; end $$;
create trigger chk_said after insert on public.outbox for each row execute function chk.note_said();
create trigger chk_lease after insert or update on public.leases for each row execute function chk.note_lease();
"""


class Books:
    """SQL on each service's database, past all proxies, on a connection of each that is made anew when the server was killed."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self._connections: dict[str, asyncpg.Connection] = {}

    async def open(self) -> None:
        """From now on everything is noted."""
        for service in SERVICES:
            views = EVENTS + {"billing": money.VIEWS, "scheduler": timers.VIEWS}.get(service, "")
            await (await self._connection(service)).execute(OPENED + views)

    async def close(self) -> None:
        for connection in self._connections.values():
            connection.terminate()

    async def _connection(self, service: str) -> asyncpg.Connection:
        known = self._connections.get(service)
        if known is None or known.is_closed():
            known = self._connections[service] = await self._ground.database(service)
        return known

    async def ask(self, service: str, question: str, *values: Any) -> list[asyncpg.Record]:
        found: list[asyncpg.Record] = await (await self._connection(service)).fetch(question, *values)
        return found

    async def ask_all(self, question: str) -> dict[str, list[asyncpg.Record]]:
        """The same of every service."""
        answers: Sequence[list[asyncpg.Record]] = await asyncio.gather(*(self.ask(service, question) for service in SERVICES))
        return dict(zip(SERVICES, answers, strict=True))

    async def breaches(self, service: str, laws: Iterable[Law]) -> list[str]:
        """A sentence for each thing in this service's database that breaks one of these laws."""
        found = await broken(await self._connection(service), laws)
        return [f"{service}: not so that {law}: {what}" for law, breaches in found.items() for what in breaches]

    async def said(self, service: str) -> list[tuple[str, str, tuple[bytes, tuple[tuple[str, bytes], ...], bytes]]]:
        """Topic, id and content of everything that was ever in this outbox."""
        rows = await self.ask(service, "select topic, key, headers, value from chk.said order by position")
        return [_said(row) for row in rows]


def _said(row: asyncpg.Record) -> tuple[str, str, tuple[bytes, tuple[tuple[str, bytes], ...], bytes]]:
    headers = tuple(unpack(row["headers"]))
    return row["topic"], dict(headers)["ce_id"].decode(), (row["key"].encode(), headers, row["value"])
