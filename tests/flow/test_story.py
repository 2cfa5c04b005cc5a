"""The demo as anybody runs it: a stack of its own, all processes, real Kafka, PostgreSQL and mail; told twice, and after a stop."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from deploy.local.state import REPOSITORY
from tests.kit.stacks import Embedded, embedded


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    stack = embedded(tmp_path_factory.mktemp("story"))
    stack.up()
    yield stack
    stack.run("down")


def _told(stack: Embedded) -> str:
    """What the story prints. Raises AssertionError unless every step was observed."""
    words = (sys.executable, "-m", "examples.story", "--state", str(stack.state.folder))
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, timeout=180, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_every_step_is_observed_and_nothing_waits_for_a_person(running: Embedded) -> None:
    assert "All 10 steps were observed" in _told(running)
    assert _parked(running.status()) == 0


def test_it_can_be_told_again_on_the_same_stack_and_after_a_stop(running: Embedded) -> None:
    assert "All 10 steps were observed" in _told(running)
    assert running.run("down").returncode == 0
    running.up()
    assert "All 10 steps were observed" in _told(running)


def _parked(status: dict[str, Any]) -> int:
    return sum(int(part["numbers"].get("parked", 0)) for part in status["parts"])
