"""The whole system as `make up` starts it: five services, each ready, each told what it needs, looked after by the operator's verbs."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.stack import SERVICES
from tests.kit.stacks import Embedded, embedded


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    stack = embedded(tmp_path_factory.mktemp("system"))
    stack.up()
    yield stack
    stack.run("reset")


def test_everything_is_ready_and_shows_what_waits_in_it(system: Embedded) -> None:
    done = system.run("status")
    assert done.returncode == 0, done.stdout
    parts = {part["name"]: part for part in system.status()["parts"]}
    assert set(parts) == {"postgres", "kafka", "mailbox", *SERVICES}
    for service in SERVICES:
        assert parts[service]["numbers"].keys() >= {"outbox", "dead_letters", "parked"}, service
        assert parts[service]["memory"] > 0


def test_the_operators_key_is_there_and_only_for_its_owner(system: Embedded) -> None:
    assert stat.S_IMODE(system.state.operator_key.stat().st_mode) == 0o600
    assert str(system.state.operator_key) in system.up().stdout


@pytest.mark.parametrize("service", SERVICES)
def test_a_services_own_commands_run_with_the_stacks_settings(system: Embedded, service: str) -> None:
    done = system.run("service", service, "parked")
    assert (done.returncode, done.stdout.strip()) == (0, "nothing is parked"), done.stderr


def test_the_topics_are_as_declared(system: Embedded) -> None:
    assert system.run("topics", "--dry").stdout.strip() == "all topics are as declared"


def test_all_services_are_asked_for_a_chain(system: Embedded) -> None:
    done = system.run("trace", "unheard-of")
    assert (done.returncode, done.stderr.strip()) == (1, "No service knows of unheard-of.")


def test_logs_name_their_part(system: Embedded) -> None:
    lines = system.run("logs", "deals", "billing", "--lines=5").stdout.splitlines()
    assert {line.split(" | ")[0].strip() for line in lines} == {"deals", "billing"}


def test_services_end_before_what_they_need_and_come_back(system: Embedded) -> None:
    said = system.run("down").stdout.splitlines()
    order = [line.split()[0] for line in said if "stopped after" in line]
    assert set(order) == {"postgres", "kafka", "mailbox", *SERVICES}
    assert max(map(order.index, SERVICES)) < order.index("kafka") < order.index("postgres")
    key = system.state.operator_key.read_text()
    system.up()
    assert system.status()["healthy"]
    assert system.state.operator_key.read_text() == key


def test_a_service_that_cannot_start_is_named_with_the_end_of_its_log_and_nothing_is_left(system: Embedded, tmp_path: Path) -> None:
    system.run("down")
    key = system.state.folder / "secrets.json"
    before = key.read_text()
    key.write_text(before.replace('"pepper": "', '"pepper": "short", "former": "'))
    done = system.run("up", *system.options)
    key.write_text(before)
    assert done.returncode == 1
    assert "did not start" in done.stderr
    assert "DEALWRIGHT_PEPPER" in done.stderr
    assert not system.status()["running"]
    assert all(part["pid"] is None for part in system.status()["parts"])
