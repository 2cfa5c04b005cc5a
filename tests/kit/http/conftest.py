"""The toy service's application over a real database, with keys of two tenants."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import structlog
from fastapi import FastAPI
from pydantic import SecretStr

from shared.http.app import build_app
from shared.http.auth import format_key, hmac_of, new_secret
from shared.messaging.batch import BatchResult
from shared.messaging.handling import prepare
from shared.messaging.kafka import Cluster
from shared.runtime import logs
from shared.runtime.clock import new_id
from shared.runtime.database import Database, owner_connection
from shared.runtime.migrate import tables_of
from shared.runtime.service import Kit
from shared.runtime.settings import LogSettings, Settings
from shared.testing.stack import Stack
from tests.kit import toy
from tests.kit.http import jars

PEPPER = "a pepper of these tests, long enough"
EVERYTHING = ("deals:read", "deals:write", "ops:read", "ops:retry", "audit:read")


@dataclass(eq=False)
class House:
    """An application, its database, and how to come by keys for it."""

    kit: Kit
    settings: Settings
    app: FastAPI
    key: str = ""
    _ids: list[str] = field(default_factory=list)

    async def tenant(self, tenant: UUID, *, suspended: bool = False, version: int = 1) -> None:
        row = {"name": "a", "language": "en", "zone": "Europe/Berlin", "rehearsal": False, "suspended": suspended}
        await self._put("tenants_v1", {"tenant": tenant, "id": str(tenant), "version": version, **row})

    async def new_key(self, *scopes: str, tenant: UUID = toy.TENANT, **own: Any) -> str:
        secret, id = new_secret(), own.pop("id", None) or str(new_id())
        row = {"hmac": hmac_of(secret, PEPPER), "scopes": list(scopes), "actor": "user:7", "expires_at": None, "revoked": False, **own}
        await self._put("credentials_v1", {"tenant": tenant, "id": id, "version": 1, **row})
        self._ids.append(id)
        return format_key("dev", id, secret)

    @property
    def last_id(self) -> str:
        return self._ids[-1]

    async def _put(self, table: str, row: dict[str, Any]) -> None:
        names, places = ", ".join(row), ", ".join(f"${n}" for n in range(1, len(row) + 1))
        async with self.kit.database.raw() as raw:
            await raw.execute(f"delete from {table} where id = $1", row["id"])
            await raw.execute(f"insert into {table} ({names}) values ({places})", *row.values())

    async def count(self, table: str) -> int:
        async with self.kit.database.raw() as raw:
            return int(await raw.fetchval(f"select count(*) from {table}"))


def settings_for(url: str, **own: Any) -> Settings:
    return Settings(database_url=SecretStr(url), kafka_bootstrap_servers="127.0.0.1:1", pepper=SecretStr(PEPPER), **own)


def _nobody_waits(done: BatchResult) -> None: ...


@pytest.fixture(autouse=True)
def log_lines() -> Iterator[Callable[[], list[dict[str, Any]]]]:
    """What was logged so far, as a service would write it; every test runs with the real chain."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = list(root.handlers), root.level
    logs.set_up(LogSettings(form="json"), service="toy", version="0", environment="test", stream=stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()
    logs.ABOUT.set({})


@pytest.fixture(scope="session")
async def url(stack: Stack) -> str:
    return await stack.migrated_database(jars.SERVICE)


EMPTY = "events, inbox, outbox, blocked, parked, quarantine, effects, audit"


@pytest.fixture
async def house(url: str, cluster: Cluster) -> AsyncIterator[House]:
    async with owner_connection(url, "toy") as owner:
        tables = ", ".join((EMPTY, *(table.name for table in tables_of(jars.SERVICE))))
        await owner.execute(f"truncate {tables}")
    database = Database(url, "toy")
    kit = Kit(jars.SERVICE, database, prepare(jars.SERVICE), _nobody_waits)
    settings = settings_for(url)
    found = House(kit, settings, build_app(kit, settings, cluster=cluster))
    await found.tenant(toy.TENANT)
    await found.tenant(toy.OTHER_TENANT)
    found.key = await found.new_key(*EVERYTHING)
    yield found
    await found.app.state.rooms.commands.drain()
    await found.app.state.rooms.refusals.settle()
    await database.close()


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """Signed in, with an Idempotency-Key of its own for every request that brings none."""

    async def keyed(request: httpx.Request) -> None:
        if request.method == "POST":
            request.headers.setdefault("Idempotency-Key", str(uuid4()))

    async with client_of(house.app, house.key, request=[keyed]) as found:
        yield found


def client_of(app: FastAPI, key: str | None = None, **hooks: Any) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, raise_app_exceptions=True, client=("127.0.0.1", 1))
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.AsyncClient(transport=transport, base_url="http://toy", headers=headers, event_hooks=hooks)
