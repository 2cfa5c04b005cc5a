"""The embedded stack as a person meets it: `up`, `status`, `down`, and what happens when its parts, or it, are killed.

Real PostgreSQL, Kafka and mailbox without the services: those have their own tests, and the flow tests start everything.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from deploy.local.network import LOOPBACK
from deploy.local.process import Running, remember
from deploy.local.stack import SERVICES
from deploy.local.state import State
from deploy.local.supervisor import left_behind
from shared.messaging import kafka
from shared.messaging.topics import declared
from shared.runtime.clock import monotonic
from shared.testing.faults import kill
from tests.kit.stacks import Embedded, embedded

PATIENCE = 60.0
INFRASTRUCTURE = ("postgres", "kafka", "mailbox")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    stack = embedded(tmp_path_factory.mktemp("stack"), without=SERVICES)
    stack.up()
    yield stack
    stack.run("reset")


@pytest.fixture
def stack(running: Embedded) -> Embedded:
    """Up, whatever the test before did to it."""
    if not running.status()["healthy"]:
        running.up()
    return running


@pytest.fixture
def stopped(running: Embedded) -> Embedded:
    running.run("down")
    return running


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = monotonic() + PATIENCE
    while not condition():
        assert monotonic() < deadline, f"never: {what}"
        await asyncio.sleep(0.1)


async def remember_something(stack: Embedded) -> None:
    connection = await asyncpg.connect(stack.postgres().admin_url())
    try:
        await connection.execute("create table if not exists kept (what text); truncate kept; insert into kept values ('this')")
    finally:
        await connection.close()


async def something_remembered(stack: Embedded) -> str:
    connection = await asyncpg.connect(stack.postgres().admin_url())
    try:
        return str(await connection.fetchval("select what from kept"))
    finally:
        await connection.close()


async def test_everything_is_there_once_up_returns(stack: Embedded) -> None:
    found = stack.status()
    assert {part["name"]: part["state"] for part in found["parts"]} == dict.fromkeys(INFRASTRUCTURE, "ready")
    assert all(part["memory"] > 0 and part["pid"] for part in found["parts"])
    assert set(await kafka.existing_topics(stack.bootstrap())) >= {topic.name for topic in declared(SERVICES)}
    for service in SERVICES:
        url = f"postgresql://{service}:{stack.state.secret(f'database {service}')}@{LOOPBACK}:{stack.postgres().port}/dealwright_{service}"
        await (await asyncpg.connect(url)).close()


def test_a_second_up_leaves_everything_as_it_is(stack: Embedded) -> None:
    before = {part: stack.process(part) for part in INFRASTRUCTURE}
    assert "already running" in stack.up().stdout
    assert {part: stack.process(part) for part in INFRASTRUCTURE} == before


@pytest.mark.parametrize(
    ("verb", "options", "sentence"),
    [
        ("up", ("--port=deals",), "is not NAME=NUMBER"),
        ("up", ("--port=nobody=1",), "is not NAME=NUMBER"),
        ("up", ("--without=nobody",), "There is no part named nobody"),
        ("logs", ("nobody",), "There is no log of nobody"),
        ("run", ("nobody",), "nobody is not one of deals"),
    ],
)
def test_a_wrong_word_is_answered_in_a_sentence(stack: Embedded, verb: str, options: tuple[str, ...], sentence: str) -> None:
    done = stack.run(verb, *options)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr


def test_logs_are_prefixed_with_their_part(stack: Embedded) -> None:
    lines = stack.run("logs", "postgres", "--lines=3").stdout.splitlines()
    assert 0 < len(lines) <= 3
    assert all(line.startswith("postgres | ") for line in lines)


async def test_killed_parts_come_back_on_their_ports_with_their_data(stack: Embedded) -> None:
    await remember_something(stack)
    topics = await kafka.existing_topics(stack.bootstrap())
    killed = {part: stack.process(part).pid for part in INFRASTRUCTURE}
    for pid in killed.values():
        kill(pid)
    await until(lambda: stack.status()["healthy"], "all ready again")
    assert all(stack.process(part).pid != pid for part, pid in killed.items())
    assert all(part["restarts"] >= 1 for part in stack.status()["parts"])
    assert await something_remembered(stack) == "this"
    assert await kafka.existing_topics(stack.bootstrap()) == topics


def test_two_stacks_side_by_side_do_not_disturb_each_other(stack: Embedded, tmp_path: Path) -> None:
    refused = Embedded(State(tmp_path / "other"), ()).run("up", *stack.options)
    assert refused.returncode == 1
    assert "is taken by another program" in refused.stderr
    other = embedded(tmp_path / "other", without=SERVICES)
    try:
        other.up()
        assert stack.status()["healthy"]
        assert not set(other.state.ports().values()) & set(stack.state.ports().values())
    finally:
        assert other.run("reset").returncode == 0
    assert stack.status()["healthy"]
    assert not other.state.folder.exists()


async def test_after_a_killed_supervisor_up_takes_over(stack: Embedded) -> None:
    await remember_something(stack)
    kill(stack.process("supervisor").pid)
    await until(lambda: set(left_behind(stack.state)) == set(INFRASTRUCTURE), "the parts alone")
    assert stack.run("status").returncode == 4
    assert "left behind by a killed supervisor" in stack.up().stdout
    assert stack.status()["healthy"]
    assert await something_remembered(stack) == "this"


def test_after_a_killed_supervisor_down_leaves_nobody(stack: Embedded) -> None:
    kill(stack.process("supervisor").pid)
    done = stack.run("down")
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "everything is stopped")
    assert left_behind(stack.state) == {}


def test_down_may_be_repeated(stopped: Embedded) -> None:
    assert stopped.run("down").stdout.strip() == "nothing is running"
    assert stopped.run("status").returncode == 3


def test_data_of_another_version_is_refused_in_a_sentence(stopped: Embedded) -> None:
    version = stopped.state.folder / "kafka" / "version"
    before = version.read_text()
    version.write_text("3.9.0\n")
    done = stopped.run("up", *(f"--without={name}" for name in SERVICES))
    version.write_text(before)
    assert done.returncode == 1
    assert "was made by Kafka 3.9.0" in done.stderr
    assert "make reset" in done.stderr
    assert left_behind(stopped.state) == {}


def test_stale_pid_files_and_a_port_taken_since_do_not_stop_it(stopped: Embedded) -> None:
    """Our own pid, as a reused number: the stack has no business with this process."""
    remember(Running(os.getpid(), "an earlier boot"), stopped.state.pid("kafka"))
    (stopped.postgres().data / "postmaster.pid").write_text(f"{os.getpid()}\n{stopped.postgres().data}\n")
    with socket.socket() as intruder:
        intruder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        intruder.bind((LOOPBACK, stopped.state.ports()["mailbox"]))
        intruder.listen()
        done = stopped.run("up", *(f"--without={name}" for name in SERVICES))
    assert done.returncode == 0, done.stderr
    assert "is taken by another program: mailbox uses" in done.stdout


def test_down_drains_in_order(stack: Embedded) -> None:
    parts = [stack.process(part) for part in INFRASTRUCTURE]
    said = stack.run("down").stdout.splitlines()
    order = [line.split()[0] for line in said if "stopped after" in line]
    assert order.index("kafka") < order.index("postgres")
    assert said[-1] == "everything is stopped"
    assert not any(part.alive() for part in parts)
