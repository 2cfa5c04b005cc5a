"""PostgreSQL and Kafka for tests: yours by settings, containers by setting, else an embedded pair of this run's own (ecosystem 4.4).

`running_stack` is shared by everything that only uses the two; `breakable_stack` is for tests that kill, stop or cut them.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from sqlalchemy.engine import make_url

from deploy.local.infrastructure import Infrastructure, start_infrastructure
from deploy.local.network import LOOPBACK, free_ports
from deploy.local.postgres import create_service_database, drop_database
from deploy.local.process import TERM, Running, born, remember, remembered
from shared.runtime.migrate import migrate
from shared.runtime.service import Service
from shared.testing.faults import FaultProxy


@dataclass(eq=False)
class Stack:
    """What a test needs to know. `admin_url`: an administrator on the maintenance database; `topic_prefix` keeps runs apart."""

    admin_url: str
    bootstrap: str
    topic_prefix: str = field(default_factory=lambda: f"t{secrets.token_hex(4)}-")
    _databases: list[str] = field(default_factory=list)
    _templates: dict[str, str] = field(default_factory=dict)
    _copying: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def fresh_database(self, service: str) -> str:
        """DATABASE_URL of a new, empty database with the roles of this service; dropped when the stack closes."""
        return await self._create(service, None)

    async def migrated_database(self, service: Service) -> str:
        """The same with all tables in place: copied from a template that is migrated once per run and service (PG-7)."""
        async with self._copying:
            if service.name not in self._templates:
                url = await self._create(service.name, None)
                await migrate(url, service)
                self._templates[service.name] = str(make_url(url).database)
            return await self._create(service.name, self._templates[service.name])

    async def copied_database(self, service: Service, database: str) -> str:
        """A copy of one of this stack's databases, to which nobody is connected."""
        return await self._create(service.name, database)

    async def close(self) -> None:
        """Drops what it made, whoever is still connected."""
        connection = await asyncpg.connect(self.admin_url)
        try:
            while self._databases:
                await drop_database(connection, self._databases.pop())
        finally:
            await connection.close()

    async def _create(self, service: str, template: str | None) -> str:
        database = f"test_{service}_{secrets.token_hex(6)}"
        connection = await asyncpg.connect(self.admin_url)
        try:
            await create_service_database(connection, service, database, self._password(service), template=template)
        finally:
            await connection.close()
        self._databases.append(database)
        url = make_url(self.admin_url).set(username=service, password=self._password(service), database=database)
        return url.render_as_string(hide_password=False)

    def _password(self, service: str) -> str:
        """Derived: roles belong to the whole server, and other runs on it must arrive at the same one."""
        return hashlib.sha256(f"{make_url(self.admin_url).password}/{service}".encode()).hexdigest()[:32]


@asynccontextmanager
async def running_stack() -> AsyncIterator[Stack]:
    """DATABASE_URL (an administrator's) with KAFKA_BOOTSTRAP_SERVERS; else DEALWRIGHT_TEST_STACK=testcontainers; else embedded."""
    url, bootstrap = os.environ.get("DATABASE_URL"), os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if url and bootstrap:
        async with _closing(Stack(url, bootstrap)) as stack:
            yield stack
    elif os.environ.get("DEALWRIGHT_TEST_STACK") == "testcontainers":
        from shared.testing.containers import containers

        async with containers() as (url, bootstrap), _closing(Stack(url, bootstrap)) as stack:
            yield stack
    else:
        async with embedded(durable=False) as infrastructure:
            yield Stack(infrastructure.admin_url, infrastructure.bootstrap)


@asynccontextmanager
async def _closing(stack: Stack) -> AsyncIterator[Stack]:
    try:
        yield stack
    finally:
        await stack.close()


@dataclass(frozen=True, eq=False)
class Breakable:
    """A pair of its own that a test may break. Addresses lead through the proxies; `infrastructure` has the processes."""

    infrastructure: Infrastructure
    kafka_proxy: FaultProxy
    postgres_proxy: FaultProxy

    @property
    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self.kafka_proxy.port}"

    @property
    def admin_url(self) -> str:
        return make_url(self.infrastructure.admin_url).set(port=self.postgres_proxy.port).render_as_string(hide_password=False)

    def stack(self) -> Stack:
        """For its databases; they go with the pair."""
        return Stack(self.admin_url, self.bootstrap)


@asynccontextmanager
async def breakable_stack() -> AsyncIterator[Breakable]:
    """Always embedded, always durable (PG-11), whatever the settings say: nobody's shared stack is to be broken."""
    broker, proxy = free_ports(2)
    async with (
        FaultProxy(broker, proxy) as kafka_proxy,
        embedded(durable=True, faults=(broker, proxy)) as infrastructure,
        FaultProxy(infrastructure.postgres.port) as postgres_proxy,
    ):
        yield Breakable(infrastructure, kafka_proxy, postgres_proxy)


@asynccontextmanager
async def embedded(*, durable: bool, faults: tuple[int, int] | None = None) -> AsyncIterator[Infrastructure]:
    """In a temporary folder, gone afterwards."""
    async with run_folder() as folder:
        infrastructure = await start_infrastructure(folder, durable=durable, faults=faults, progress=_silent)
        try:
            yield infrastructure
        finally:
            await infrastructure.stop()


@asynccontextmanager
async def run_folder() -> AsyncIterator[Path]:
    """For one run's servers and their pid files. What a killed run left behind is ended and removed first."""
    runs = _folder_of_runs()
    await _sweep(runs)
    folder = _own_run(runs)
    try:
        yield folder
    finally:
        await asyncio.to_thread(_remove, folder)


def _folder_of_runs() -> Path:
    folder = Path(tempfile.gettempdir()) / f"dealwright-tests-{os.geteuid()}"
    folder.mkdir(mode=0o711, exist_ok=True)
    if folder.lstat().st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to somebody else")
    return folder


def _own_run(runs: Path) -> Path:
    """Named before it is seen: a folder without a living owner is swept."""
    unfinished = Path(tempfile.mkdtemp(prefix=".", dir=runs))
    remember(Running(os.getpid(), born(os.getpid()) or ""), unfinished / "owner.json")
    return unfinished.rename(runs / f"{os.getpid()}-{secrets.token_hex(3)}")


async def _sweep(runs: Path) -> None:
    for folder in _abandoned(runs):
        for part in ("kafka", "postgres"):
            if running := remembered(folder / f"{part}.pid"):
                await running.end(TERM)
        await asyncio.to_thread(_remove, folder)


def _abandoned(runs: Path) -> list[Path]:
    return [folder for folder in runs.glob("[!.]*") if remembered(folder / "owner.json") is None]


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)


def _silent(line: str) -> None:
    """Tests show no progress of downloads."""
