"""Processes are told apart by pid and birth, and ended, exactly those."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.process import Launch, Running, born, remember, remembered, start
from shared.testing.faults import stop

QUIET = "import time; print('up', flush=True); [time.sleep(1) for _ in range(600)]"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + QUIET


class Launcher:
    """Starts snippets of Python, waits until they are up, and leaves none behind."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Running] = []

    def __call__(self, code: str) -> Running:
        log = self._folder / f"{len(self._started)}.log"
        launch = Launch(argv=(sys.executable, "-c", code), log=log, cwd=self._folder)
        running = start(launch, self.pid_file)
        self._started.append(running)
        while running.alive() and "up" not in log.read_text():
            pass
        return running

    @property
    def pid_file(self) -> Path:
        return self._folder / "part.json"

    def end(self) -> None:
        for running in self._started:
            running.send(signal.SIGKILL)
            if running.child:
                running.child.wait(10)


@pytest.fixture
def launcher(tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path)
    yield launcher
    launcher.end()


def test_a_process_is_remembered_by_whoever_comes_later(launcher: Launcher) -> None:
    running = launcher(QUIET)
    found = remembered(launcher.pid_file)
    assert found is not None
    assert (found.pid, found.birth) == (running.pid, running.birth)


async def test_a_stale_pid_file_names_nobody(launcher: Launcher) -> None:
    await launcher(QUIET).end()
    assert remembered(launcher.pid_file) is None


def test_somebody_else_with_the_same_pid_is_not_taken_for_it(tmp_path: Path) -> None:
    """Our own pid with another birth: ending it would end this test run."""
    pid_file = tmp_path / "part.json"
    remember(Running(os.getpid(), "before this boot"), pid_file)
    assert remembered(pid_file) is None
    Running(os.getpid(), "before this boot").send(signal.SIGKILL)
    assert born(os.getpid()) is not None


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", json.dumps({"pid": "x", "born": "y"}), json.dumps({"pid": 1})])
def test_a_damaged_pid_file_names_nobody(tmp_path: Path, content: str) -> None:
    (tmp_path / "part.json").write_text(content)
    assert remembered(tmp_path / "part.json") is None


async def test_who_ignores_the_first_signal_gets_the_next(launcher: Launcher) -> None:
    running = launcher(STUBBORN)
    assert not await running.end(((signal.SIGTERM, 0.2),))
    assert await running.end(((signal.SIGTERM, 0.2), (signal.SIGKILL, 10.0)))


async def test_a_stopped_process_can_be_ended(launcher: Launcher) -> None:
    running = launcher(QUIET)
    stop(running.pid)
    assert await running.end(((signal.SIGTERM, 10.0),))


async def test_how_it_ended_is_told_in_words(launcher: Launcher) -> None:
    running = launcher(QUIET)
    running.send(signal.SIGKILL)
    assert await running.ended() == "SIGKILL"
    assert await launcher("raise SystemExit(3)").ended() == "exit code 3"


def test_the_remains_of_a_process_do_not_count_as_alive() -> None:
    """In a container nobody may collect what a killed supervisor leaves."""
    child = subprocess.Popen([sys.executable, "-c", ""])
    birth = born(child.pid)
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert not Running(child.pid, birth or "").alive()
    child.wait()


def test_a_part_is_out_of_reach_of_the_terminals_ctrl_c(launcher: Launcher) -> None:
    assert os.getsid(launcher(QUIET).pid) != os.getsid(0)
