"""Where a measurement takes place: databases and topics of its own, service processes as in production, and their pids."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from aiokafka import AIOKafkaConsumer, TopicPartition

from bench import plumbing
from bench.floor import free_port
from bench.plumbing import Record
from bench.processes import kafka_pid, postgres_pid
from deploy.local.services import readiness
from deploy.local.stack import handed_on
from shared.messaging.kafka import Cluster, create_topics, delete_topics, existing_topics
from shared.messaging.topics import declared
from shared.runtime.service import Service
from shared.testing.stack import Stack

ROOT = Path(__file__).parents[1]
NO_QUOTA = 1_000_000
"""New runs of a tenant in a second: what is measured is not how well they are held back."""
PEPPER = "a pepper of this benchmark, long enough"
SESSION = 60
"""Seconds of a consumer group's session: longer than services are held while their backlog is produced."""


@dataclass(frozen=True)
class Started:
    """A service process."""

    name: str
    process: subprocess.Popen[bytes]
    port: int
    state: Path

    @property
    def pid(self) -> int:
        return self.process.pid


@dataclass(eq=False)
class Stand:
    stack: Stack
    folder: Path
    prefix: str = field(default_factory=lambda: f"bench-{secrets.token_hex(4)}-")
    started: list[Started] = field(default_factory=list)

    def topic(self, name: str) -> str:
        return self.prefix + name

    async def start(self, service: Service, *argv: str) -> Started:
        """`python -m <argv>` on a database of its own; waits until it is ready."""
        url = await self.stack.migrated_database(service)
        state, port = self.folder / service.name, free_port()
        state.mkdir(parents=True)
        environment = handed_on() | self._settings(url, port, state)
        process = launched(argv, environment, self.folder / f"{service.name}.log")
        started = Started(service.name, process, port, state)
        self.started.append(started)
        await until(lambda: readiness(port), f"{service.name} is ready")
        return started

    def _settings(self, url: str, port: int, state: Path) -> dict[str, str]:
        return {
            "DATABASE_URL": url,
            "KAFKA_BOOTSTRAP_SERVERS": self.stack.bootstrap,
            "DEALWRIGHT_PORT": str(port),
            "DEALWRIGHT_STATE_DIR": str(state),
            "DEALWRIGHT_PEPPER": PEPPER,
            "DEALWRIGHT_KAFKA__PREFIX": self.prefix,
            "DEALWRIGHT_KAFKA__SESSION_SECONDS": str(SESSION),
            "DEALWRIGHT_STORAGE__FOLDER": str(self.folder / "files"),
            "DEALWRIGHT_AUTOMATION__NEW_RUNS_A_SECOND": str(NO_QUOTA),
        }

    async def create_topics(self, *services: str) -> None:
        await create_topics(Cluster(self.stack.bootstrap, self.prefix), declared(services))

    async def say(self, topic: str, n: int, make: Callable[[int], Record], start: int = 0) -> None:
        """Produces records `start` to `start + n`."""
        await plumbing.fill(self.stack.bootstrap, self.topic(topic), n, lambda number: make(start + number))

    async def say_all(self, topic: str, records: Sequence[Record]) -> None:
        await self.say(topic, len(records), lambda number: records[number])

    def hold(self) -> None:
        """The services stand still while a backlog is produced."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for started in self.started:
            os.kill(started.pid, number)

    def check_alive(self) -> None:
        """Raises RuntimeError."""
        for started in self.started:
            if started.process.poll() is not None:
                raise RuntimeError(f"{started.name} ended: {(self.folder / (started.name + '.log')).read_text()[-2000:]}")

    async def servers(self) -> dict[str, int]:
        db = await asyncpg.connect(self.stack.admin_url)
        found = {"postgres": await postgres_pid(db), "kafka": kafka_pid(self.stack.bootstrap)}
        await db.close()
        return {name: pid for name, pid in found.items() if pid}

    def end(self) -> None:
        self.go_on()
        for started in self.started:
            started.process.terminate()
        for started in self.started:
            try:
                started.process.wait(30)
            except subprocess.TimeoutExpired:
                started.process.kill()
                started.process.wait()


@asynccontextmanager
async def a_stand(bootstrap: str, admin_url: str) -> AsyncIterator[Stand]:
    """Everything it made is gone afterwards."""
    stand = Stand(Stack(admin_url, bootstrap), Path(tempfile.mkdtemp(prefix="dealwright-bench-")))
    try:
        yield stand
    finally:
        stand.end()
        await stand.stack.close()
        cluster = Cluster(bootstrap, stand.prefix)
        await delete_topics(cluster, await existing_topics(cluster))
        shutil.rmtree(stand.folder, ignore_errors=True)


def launched(argv: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    with log.open("wb") as told:
        return subprocess.Popen([sys.executable, "-m", *argv], cwd=ROOT, env=environment, stdout=told, stderr=told)


async def until(why_not: Callable[[], Awaitable[str | None]], what: str, seconds: float = 60) -> None:
    """Until the answer is None. Raises TimeoutError with the last one."""
    said: str | None = None
    try:
        async with asyncio.timeout(seconds):
            while (said := await why_not()) is not None:
                await asyncio.sleep(0.05)
    except TimeoutError:
        raise TimeoutError(f"not within {seconds:.0f} s: {what}; {said}") from None


class Counter:
    """How many records topics hold by now: committed, acknowledged, readable."""

    def __init__(self, stand: Stand, *topics: str) -> None:
        self._stand = stand
        self._lanes = [TopicPartition(stand.topic(topic), lane) for topic in topics for lane in range(plumbing.PARTITIONS)]
        self._consumer = AIOKafkaConsumer(bootstrap_servers=stand.stack.bootstrap, enable_auto_commit=False)

    async def __aenter__(self) -> Counter:
        await self._consumer.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._consumer.stop()

    async def now(self) -> int:
        return sum((await self._consumer.end_offsets(self._lanes)).values())

    async def reaches(self, n: int, seconds: float = 300) -> None:
        """Raises TimeoutError; RuntimeError when a service ended or there is one too many."""
        found = 0
        try:
            async with asyncio.timeout(seconds):
                while (found := await self.now()) < n:
                    self._stand.check_alive()
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise TimeoutError(f"{found} of {n} records within {seconds:.0f} s") from None
        if found != n:
            raise RuntimeError(f"{found} records instead of {n}: this run counts for nothing")
