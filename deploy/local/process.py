"""Processes that outlive the one who started them: launched, remembered by pid *and* birth, and ended, exactly those (KF-9)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from deploy.local.problems import StackProblem
from shared.runtime.clock import monotonic

Farewell = tuple[tuple[signal.Signals, float], ...]
"""Signals in the order they are sent, each with the seconds the process has before the next one."""

TERM: Farewell = ((signal.SIGTERM, 10.0), (signal.SIGKILL, 10.0))


@dataclass(frozen=True, slots=True, kw_only=True)
class User:
    """An unprivileged operating-system user to become before a program starts; only root can."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """How a process is started."""

    argv: tuple[str, ...]
    log: Path
    cwd: Path
    env: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))
    user: User | None = None


def born(pid: int) -> str | None:
    """What tells this process from a later one with the same number; None when there is none, or only its remains."""
    if sys.platform == "linux":
        return _born_on_linux(pid)
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else str(process.create_time())
    except psutil.NoSuchProcess:
        return None


def _born_on_linux(pid: int) -> str | None:
    """Ticks since boot, and which boot: unlike the time of day, neither moves when the clock is set."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if after_name[0] in "ZX" else f"{boot}:{after_name[19]}"


@dataclass(frozen=True, slots=True)
class Running:
    """One process, and not whatever has its number later. `child`: set in the process that started it."""

    pid: int
    birth: str
    child: subprocess.Popen[bytes] | None = None

    def alive(self) -> bool:
        if self.child is not None and self.child.poll() is not None:
            return False
        return born(self.pid) == self.birth

    def send(self, what: signal.Signals) -> None:
        """To this process only, if it still lives."""
        if self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, what)

    async def end(self, farewell: Farewell = TERM) -> bool:
        """Signal after signal until it is gone; False if it outlived them all. A stopped process is woken first."""
        self.send(signal.SIGCONT)
        for what, seconds in farewell:
            self.send(what)
            if await self.gone_within(seconds):
                return True
        return False

    async def ended(self) -> str:
        """Waits for its end; how it ended, in words."""
        while self.alive():
            await asyncio.sleep(0.2)
        return _how(self.child.wait() if self.child else None)

    async def gone_within(self, seconds: float) -> bool:
        deadline = monotonic() + seconds
        while self.alive():
            if monotonic() > deadline:
                return False
            await asyncio.sleep(0.02)
        return True


def _how(code: int | None) -> str:
    if code is None or code >= 0:
        return f"exit code {code}" if code is not None else "not our child"
    try:
        return signal.Signals(-code).name
    except ValueError:
        return f"signal {-code}"


def start(launch: Launch, pid_file: Path) -> Running:
    """In a session of its own, so that Ctrl-C and a closed terminal reach only the supervisor; output is appended to the log."""
    user = launch.user
    with launch.log.open("ab") as log:
        child = subprocess.Popen(
            launch.argv,
            env=dict(launch.env),
            cwd=launch.cwd,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            user=user.uid if user else None,
            group=user.gid if user else None,
            extra_groups=[] if user else None,
            umask=0o077,
        )
    running = Running(child.pid, born(child.pid) or "gone before it was seen", child)
    remember(running, pid_file)
    return running


def own_folder(folder: Path) -> Path:
    """Made if missing; others may pass through it (the unprivileged server must) and not look into it. Raises StackProblem."""
    try:
        folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        folder.chmod(0o711)
        (folder / ".writable").touch()
        (folder / ".writable").unlink()
    except OSError as error:
        raise StackProblem(f"{folder} cannot be written to ({error.strerror}): name another one in DEALWRIGHT_STATE_DIR.") from error
    return folder


def remember(running: Running, pid_file: Path) -> None:
    """Whole or not at all."""
    unfinished = pid_file.with_suffix(".new")
    unfinished.write_text(json.dumps({"pid": running.pid, "born": running.birth}))
    unfinished.replace(pid_file)


def remembered(pid_file: Path) -> Running | None:
    """The process of a pid file if it still lives; a stale or damaged file counts as none."""
    try:
        noted = json.loads(pid_file.read_text())
        running = Running(int(noted["pid"]), str(noted["born"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return running if running.alive() else None


def last_lines(log: Path, count: int = 8) -> str:
    """The end of a log, for a message that says why something did not start."""
    try:
        lines = log.read_bytes()[-20_000:].decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return "\n".join(f"    {line}" for line in lines[-count:])
