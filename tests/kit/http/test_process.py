"""A service as a process: it starts whatever is away, serves, and ends without losing anything (R18, P1, P2)."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from deploy.local.network import free_ports
from shared.http.auth import format_key, hmac_of
from shared.messaging.kafka import Cluster
from shared.runtime.database import Database
from shared.testing.faults import FaultProxy
from shared.testing.stack import Stack
from tests.kit import toy
from tests.kit.http.conftest import PEPPER
from tests.kit.settling import until_true

ROOT = Path(__file__).parents[3]
SECRET = "s" * 43


@dataclass(eq=False)
class Running:
    process: asyncio.subprocess.Process
    port: int
    log: Path

    async def get(self, path: str, key: str | None = None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        async with httpx.AsyncClient() as client:
            return await client.get(f"http://127.0.0.1:{self.port}{path}", headers=headers)

    async def answers(self, path: str, status: int = 200) -> bool:
        try:
            return (await self.get(path)).status_code == status
        except httpx.TransportError:
            return False

    async def ended(self, within: float = 30) -> int:
        async with asyncio.timeout(within):
            return await self.process.wait()


@pytest.fixture
def environment(stack: Stack, cluster: Cluster, tmp_path: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap,
        "DEALWRIGHT_KAFKA__PREFIX": cluster.prefix,
        "DEALWRIGHT_KAFKA__PARTITIONS": "2",
        "DEALWRIGHT_PEPPER": PEPPER,
        "DEALWRIGHT_STATE_DIR": str(tmp_path),
        "DEALWRIGHT_PORT": str(free_ports(1)[0]),
    }


@asynccontextmanager
async def started(environment: dict[str, str], tmp_path: Path, *command: str) -> AsyncIterator[Running]:
    log = tmp_path / "service.log"
    with log.open("wb") as out:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "tests.kit.http.running", *command, cwd=ROOT, env=environment, stdout=out, stderr=out
        )
    try:
        yield Running(process, int(environment["DEALWRIGHT_PORT"]), log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def command(environment: dict[str, str], *arguments: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.kit.http.running",
        *arguments,
        cwd=ROOT,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    return process.returncode or 0, out.decode(), err.decode()


async def with_a_key(url: str) -> str:
    database = Database(url, "toy")
    async with database.raw() as raw:
        await raw.execute("insert into tenants_v1 values ($1, $2, 1, 'a', 'en', 'UTC', false, false)", toy.TENANT, str(toy.TENANT))
        scopes = ["deals:read", "deals:write", "ops:read"]
        await raw.execute(
            "insert into credentials_v1 values ($1, 'c1', 1, $2, $3, 'user:7', null, false)", toy.TENANT, hmac_of(SECRET, PEPPER), scopes
        )
    await database.close()
    return format_key("dev", "c1", SECRET)


async def test_a_service_is_alive_at_once_and_ready_when_the_rest_is(stack: Stack, environment: dict[str, str], tmp_path: Path) -> None:
    url = await stack.fresh_database("toy")
    host, port = url.rpartition("@")[2].partition("/")[0].split(":")
    kafka_host, kafka_port = environment["KAFKA_BOOTSTRAP_SERVERS"].split(":")
    assert (host, kafka_host) == ("127.0.0.1", "127.0.0.1")
    (proxy_port,) = free_ports(1)
    environment["DATABASE_URL"] = url.replace(f":{port}/", f":{proxy_port}/")
    async with started(environment, tmp_path, "serve") as service:
        await until_true(lambda: service.answers("/livez"))
        not_ready = await service.get("/readyz")
        assert not_ready.status_code == 503
        assert "database" in str(not_ready.json()["reasons"])
        assert (await service.get("/v1/jars", "dw_dev_c1_x")).status_code == 503
        async with FaultProxy(int(port), proxy_port):
            await until_true(lambda: service.answers("/readyz"), within=30)
            service.process.send_signal(signal.SIGTERM)
            assert await service.ended() == 0
    assert int(kafka_port) > 0


async def test_everything_asked_before_the_end_is_answered(stack: Stack, environment: dict[str, str], tmp_path: Path) -> None:
    environment["DATABASE_URL"] = url = await stack.migrated_database(toy.SERVICE)
    key = await with_a_key(url)
    async with started(environment, tmp_path, "serve") as service:
        await until_true(lambda: service.answers("/readyz"), within=30)
        created, stop = 0, asyncio.Event()

        async def load(n: int) -> None:
            nonlocal created
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{service.port}", headers={"Authorization": f"Bearer {key}"}) as client:
                for i in range(10_000):
                    try:
                        answer = await client.post("/v1/jars", json={"number": 1}, headers={"Idempotency-Key": f"{n}-{i}"})
                    except httpx.TransportError:
                        return
                    assert answer.status_code == 201, answer.text
                    created += 1
                    stop.set()

        loads = [asyncio.create_task(load(n)) for n in range(4)]
        await stop.wait()
        service.process.send_signal(signal.SIGTERM)
        assert await service.ended() == 0
        await asyncio.gather(*loads)
    database = Database(url, "toy")
    async with database.raw() as raw:
        stored = await raw.fetchval("select count(*) from events")
        unsent = await raw.fetchval("select count(*) from outbox")
        leases = await raw.fetchval("select count(*) from leases where until > now()")
    await database.close()
    assert created > 0
    assert created <= stored <= created + 4
    assert (unsent, leases) == (0, 0)


async def test_a_second_signal_ends_it_now(stack: Stack, environment: dict[str, str], tmp_path: Path) -> None:
    environment["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/nothing"
    async with started(environment, tmp_path, "serve") as service:
        await until_true(lambda: service.answers("/livez"))
        service.process.send_signal(signal.SIGTERM)
        await until_true(lambda: _says(service, "ending"))
        service.process.send_signal(signal.SIGTERM)
        assert await service.ended(5) == 130


async def _says(service: Running, event: str) -> bool:
    return any(json.loads(line).get("event") == event for line in service.log.read_text().splitlines() if line.endswith("}"))


async def test_the_two_roles_apart(stack: Stack, environment: dict[str, str], tmp_path: Path) -> None:
    environment["DATABASE_URL"] = url = await stack.migrated_database(toy.SERVICE)
    key = await with_a_key(url)
    worker = {**environment, "DEALWRIGHT_PORT": str(free_ports(1)[0])}
    (tmp_path / "work").mkdir()
    async with started(environment, tmp_path, "api") as api, started(worker, tmp_path / "work", "work") as work:
        await until_true(lambda: api.answers("/readyz"), within=30)
        await until_true(lambda: work.answers("/readyz"), within=30)
        assert (await work.get("/v1/jars", key)).status_code == 404
        assert (await work.get("/ops/parked", key)).status_code == 200
        async with httpx.AsyncClient() as client:
            headers = {"Authorization": f"Bearer {key}", "Idempotency-Key": "1"}
            answer = await client.post(f"http://127.0.0.1:{api.port}/v1/jars", json={"number": 1}, headers=headers)
        assert answer.status_code == 201
        await until_true(lambda: _published(work), within=20)


async def _published(work: Running) -> bool:
    return 'relay_published_total{topic="toy.events"} 1.0' in (await work.get("/metrics")).text


async def test_a_taken_port_is_named(stack: Stack, environment: dict[str, str], tmp_path: Path) -> None:
    environment["DATABASE_URL"] = "postgresql://nobody@127.0.0.1:1/nothing"
    taken = await asyncio.start_server(lambda r, w: None, "127.0.0.1", int(environment["DEALWRIGHT_PORT"]))
    async with taken:
        code, _, err = await command(environment, "serve")
    assert (code, environment["DEALWRIGHT_PORT"] in err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "change", "code", "said"),
    [
        (("parked",), {"DEALWRIGHT_PEPPER": ""}, 2, "DEALWRIGHT_PEPPER"),
        (("parked",), {"DEALWRIGHT_PARKED": "1"}, 2, "unknown: DEALWRIGHT_PARKED"),
        (("parked",), {"DATABASE_URL": "postgresql://x@127.0.0.1:1/x"}, 69, "away"),
        (("topics",), {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}, 69, "away"),
        (("parked", "--replay", "nothing"), {}, 3, "nothing"),
        (("parked", "--discard", "7"), {}, 2, "--why"),
        (("parked", "--discard", "7", "--why", "x"), {}, 3, "position 7"),
        (("rebuild", "jrs"), {}, 3, "jars_v1"),
        (("nonsense",), {}, 2, "nonsense"),
    ],
)
async def test_exit_codes_and_sentences(
    stack: Stack, environment: dict[str, str], arguments: tuple[str, ...], change: dict[str, str], code: int, said: str
) -> None:
    environment["DATABASE_URL"] = await stack.migrated_database(toy.SERVICE)
    found, _, err = await command({**environment, **change}, *arguments)
    assert (found, said in err) == (code, True), err
    assert "Traceback" not in err


async def test_commands_do_what_they_say(stack: Stack, environment: dict[str, str]) -> None:
    environment["DATABASE_URL"] = await stack.fresh_database("toy")
    code, _, err = await command(environment, "parked")
    assert (code, "migrate" in err) == (1, True)
    expected: list[tuple[tuple[str, ...], Callable[[Any], bool]]] = [
        (("migrate", "--json"), lambda lines: "created jars_v1" in lines),
        (("migrate", "--json"), lambda lines: lines == []),
        (("topics", "--json"), lambda lines: len(lines) == 3),
        (("rebuild", "jars", "--json"), lambda lines: lines == ["jars_v1: 0 streams"]),
        (("republish", "--since", "2026-01-31", "--json"), lambda lines: lines == ["0 messages are in the outbox"]),
        (("parked", "--json"), lambda rows: rows == []),
        (("trace", "x", "--json"), lambda rows: rows == []),
        (("config", "--json"), lambda rows: {"variable": "DEALWRIGHT_PEPPER", "value": "***", "origin": "environment"} in rows),
        (("openapi",), lambda document: document["openapi"].startswith("3.1")),
    ]
    for arguments, holds in expected:
        code, out, err = await command(environment, *arguments)
        assert code == 0, (arguments, err)
        assert holds(json.loads(out)), (arguments, out)
