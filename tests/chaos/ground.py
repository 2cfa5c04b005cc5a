"""The world as seen by who shakes it: its processes, ports, databases and key, and the line on which its proxies are told what to do."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import psutil
from pydantic import SecretStr

from deploy.local.network import LOOPBACK
from deploy.local.postgres import Postgres, database_url
from deploy.local.process import Running, last_lines, own_folder, remembered
from deploy.local.state import REPOSITORY, State
from shared.runtime.clock import monotonic
from shared.runtime.settings import Settings
from tests.chaos import armed
from tests.chaos.world import READY

START, DRAIN = 120.0, 100.0
"""Seconds for the whole stack."""


@dataclass(frozen=True, slots=True)
class Ground:
    """`process` of a part is None while it is away."""

    state: State
    world: subprocess.Popen[bytes]

    @property
    def bootstrap(self) -> str:
        """Past the proxy: the observer's own way."""
        return f"{LOOPBACK}:{self.state.ports()['kafka']}"

    @property
    def key(self) -> str:
        return self.state.operator_key.read_text().strip()

    def url(self, part: str) -> str:
        return f"http://{LOOPBACK}:{self.state.ports()[part]}"

    def process(self, part: str) -> Running | None:
        return remembered(self.state.pid(part))

    def family(self, part: str) -> list[psutil.Process]:
        """The process and its children: PostgreSQL's back ends are what works there."""
        running = self.process(part)
        if running is None:
            return []
        try:
            process = psutil.Process(running.pid)
            return [process, *process.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []

    def tell(self, what: str, link: str) -> None:
        """Raises BrokenPipeError when the world is gone."""
        assert self.world.stdin is not None
        self.world.stdin.write(f"{what} {link}\n".encode())
        self.world.stdin.flush()

    def plant(self, service: str, failpoints: str) -> None:
        """The service crashes there, or nowhere any more if the text is empty."""
        armed.tell(self.state.of_service(service), failpoints)

    def last_words(self, service: str) -> list[str]:
        """Names of the failpoints at which it was killed so far, in order."""
        return re.findall(r"^failpoint (\S+): SIGKILL$", self.state.log(service).read_text(errors="replace"), re.MULTILINE)

    def settings(self, service: str) -> Settings:
        """For an operator's verbs on that service's database, past the proxy."""
        password = self.state.secret(f"database {service}")
        url = database_url(user=service, password=password, port=self.state.ports()["postgres"], database=f"dealwright_{service}")
        pepper = SecretStr(self.state.secret("pepper"))
        return Settings(database_url=SecretStr(url), kafka_bootstrap_servers=self.bootstrap, pepper=pepper)

    async def database(self, service: str) -> asyncpg.Connection:
        """As administrator, past the proxy."""
        server = Postgres(home=self.state.postgres_home, port=self.state.ports()["postgres"], log=self.state.log("postgres"))
        return await asyncpg.connect(server.admin_url(f"dealwright_{service}"), timeout=10)


@asynccontextmanager
async def standing(folder: Path) -> AsyncIterator[Ground]:
    """Started and ready; drained afterwards, whatever happened."""
    log = folder / "world.log"
    world = _started(folder, log)
    try:
        await _until_ready(world, log)
        yield Ground(State(folder), world)
    finally:
        await _drained(world)


def _started(folder: Path, log: Path) -> subprocess.Popen[bytes]:
    own_folder(folder)
    argv = (sys.executable, "-m", "tests.chaos.world", f"--state={folder}")
    with log.open("wb") as said:
        return subprocess.Popen(argv, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=said, stderr=subprocess.STDOUT)


async def _until_ready(world: subprocess.Popen[bytes], log: Path) -> None:
    deadline = monotonic() + START
    while READY not in await asyncio.to_thread(log.read_text):
        if world.poll() is not None or monotonic() > deadline:
            raise AssertionError(f"the stack did not start:\n{last_lines(log, 30)}")
        await asyncio.sleep(0.1)


async def _drained(world: subprocess.Popen[bytes]) -> None:
    assert world.stdin is not None
    world.stdin.close()
    deadline = monotonic() + DRAIN
    while world.poll() is None and monotonic() < deadline:
        await asyncio.sleep(0.1)
    if world.poll() is None:
        world.kill()
