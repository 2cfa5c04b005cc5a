"""The pair of servers that tests may break: killed, stopped and cut, it comes back on the same addresses with what it acknowledged."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from deploy.local.postgres import FAREWELL, server_user
from deploy.local.problems import StackProblem
from deploy.local.stack import SERVICES, Yours
from deploy.local.state import State
from shared.messaging import kafka
from shared.messaging.topics import Topic
from shared.runtime.clock import monotonic
from shared.testing.faults import cont, kill, stop
from shared.testing.stack import Breakable, breakable_stack

PATIENCE = 60.0


@pytest.fixture(scope="module")
async def pair() -> AsyncIterator[Breakable]:
    async with breakable_stack() as pair:
        yield pair


async def kafka_answers(pair: Breakable) -> None:
    deadline = monotonic() + PATIENCE
    while not await kafka.answers(pair.bootstrap):
        assert monotonic() < deadline, "Kafka does not come back"


async def test_clients_reach_both_through_their_proxies(pair: Breakable) -> None:
    assert await kafka.answers(pair.bootstrap)
    assert pair.kafka_proxy.port != pair.infrastructure.kafka.port
    connection = await asyncpg.connect(pair.admin_url)
    assert pair.postgres_proxy.connections == 1
    await connection.close()


async def test_a_killed_broker_comes_back_with_its_topics(pair: Breakable) -> None:
    await kafka.create_topics(pair.bootstrap, [Topic("kept")])
    kill(pair.infrastructure.processes["kafka"].pid)
    await pair.infrastructure.start("kafka")
    await kafka_answers(pair)
    assert "kept" in await kafka.existing_topics(pair.bootstrap)


async def test_a_stopped_broker_is_silent_and_goes_on(pair: Breakable) -> None:
    pid = pair.infrastructure.processes["kafka"].pid
    stop(pid)
    assert not await kafka.answers(pair.bootstrap, within=1)
    cont(pid)
    await kafka_answers(pair)


async def test_a_cut_broker_is_away_and_back(pair: Breakable) -> None:
    await pair.kafka_proxy.cut()
    assert not await kafka.answers(pair.bootstrap, within=1)
    await pair.kafka_proxy.heal()
    await kafka_answers(pair)


async def test_a_killed_postmaster_comes_back_with_what_was_committed(pair: Breakable) -> None:
    """Its back ends live on for a moment and hold its memory: the start is tried again (PG-10)."""
    busy = [await asyncpg.connect(pair.admin_url) for _ in range(5)]
    await busy[0].execute("create table kept (a int)")
    await busy[0].execute("insert into kept values (7)")
    asleep = [asyncio.create_task(connection.execute("select pg_sleep(30)")) for connection in busy]
    kill(pair.infrastructure.processes["postgres"].pid)
    await asyncio.gather(pair.infrastructure.start("postgres"), *asleep, return_exceptions=True)
    connection = await asyncpg.connect(pair.admin_url)
    assert await connection.fetchval("select a from kept") == 7
    assert await connection.fetchval("show fsync") == "on"
    await connection.close()


async def test_postgres_ends_at_once_though_clients_are_connected(pair: Breakable) -> None:
    """SIGINT, the fast shutdown; SIGTERM would wait for them (PG-9)."""
    client = await asyncpg.connect(pair.admin_url)
    assert FAREWELL[0][0] is signal.SIGINT
    assert await pair.infrastructure.processes["postgres"].end(FAREWELL[:1])
    await pair.infrastructure.start("postgres")
    client.terminate()


async def test_a_start_over_a_living_postmaster_ends_that_one_first(pair: Breakable) -> None:
    """What a killed supervisor left, if its pid file is lost."""
    former = pair.infrastructure.processes["postgres"]
    await pair.infrastructure.start("postgres")
    assert not former.alive()
    assert pair.infrastructure.processes["postgres"].alive()


async def test_postgres_runs_unprivileged_and_shows_its_files_to_nobody(pair: Breakable) -> None:
    postgres, user = pair.infrastructure.postgres, server_user()
    assert psutil.Process(pair.infrastructure.processes["postgres"].pid).uids().effective == (user.uid if user else os.geteuid()) != 0
    for folder in (postgres.home, postgres.data, postgres.socket_folder):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE((postgres.home / "password").stat().st_mode) == 0o600


async def test_postgres_lets_nobody_in_without_the_password(pair: Breakable) -> None:
    postgres = pair.infrastructure.postgres
    for host in ("127.0.0.1", str(postgres.socket_folder)):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(host=host, port=postgres.port, user="postgres", password="guessed", database="postgres")


async def test_with_an_administrators_url_each_service_gets_a_log_in(pair: Breakable, tmp_path: Path) -> None:
    state = State(tmp_path)
    yours = Yours(pair.infrastructure.admin_url, None)
    await yours.create_databases(state)
    await yours.create_databases(state)
    for service in SERVICES:
        connection = await asyncpg.connect(yours.database_of(service, state))
        await connection.execute(f"set role {service}_owner")
        assert await connection.fetchval("select current_database()") == f"dealwright_{service}"
        await connection.close()


async def test_a_url_with_the_services_name_is_used_as_it_is(pair: Breakable, tmp_path: Path) -> None:
    template = pair.infrastructure.admin_url.removesuffix("/postgres") + "/mine_{service}"
    yours = Yours(template, None)
    await yours.create_databases(State(tmp_path))
    connection = await asyncpg.connect(yours.database_of("billing", State(tmp_path)))
    await connection.execute("set role billing_kit")
    assert await connection.fetchval("select session_user || ' ' || current_database()") == "postgres mine_billing"
    await connection.close()


async def test_a_database_that_is_away_is_told_in_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StackProblem, match=r"Your PostgreSQL \(DATABASE_URL\) could not be made ready"):
        await Yours("postgresql://nobody:x@127.0.0.1:1/postgres", None).create_databases(State(tmp_path))
