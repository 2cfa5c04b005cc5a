"""Starts the parts, starts again what ends by itself, and drains them in order. One process; the state folder is its memory."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from deploy.local.parts import Part, bring_up, until_ready
from deploy.local.problems import StackProblem
from deploy.local.process import Farewell, Running, born, remember, remembered, start
from deploy.local.stack import Stack
from deploy.local.state import State
from shared.runtime.clock import monotonic, now

BACK_OFF = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Seconds before each attempt to start again what ended by itself; the last one is repeated."""
LONG_ENOUGH = 60.0
"""Seconds a part must have lived for its end to count as the first again."""
LARGEST_LOG = 64 * 1024 * 1024


@dataclass(slots=True)
class Standing:
    """What is known of a part: starting, ready, ended or stopped; `since` as RFC 3339."""

    state: str = "stopped"
    pid: int = 0
    restarts: int = 0
    since: str = ""
    note: str = ""


class Supervisor:
    """`say` hears a sentence for everything that happens to a part."""

    def __init__(self, stack: Stack, state: State, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._state = state
        self._say = say
        self._running: dict[str, Running] = {}
        self._standing = {part.name: Standing() for part in stack.parts}
        self._stopping = asyncio.Event()

    async def run(self, ready: Callable[[], None]) -> None:
        """Until SIGTERM or SIGINT; then everything is drained. Raises StackProblem when it cannot be started; then nothing is left."""
        remember(Running(os.getpid(), born(os.getpid()) or ""), self._state.pid("supervisor"))
        for what in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(what, self._stopping.set)
        try:
            if await self._unless_stopped(self._start_all()):
                ready()
                await self._unless_stopped(self._keep_all())
        finally:
            await self._drain()
            self._state.pid("supervisor").unlink(missing_ok=True)

    async def _unless_stopped(self, work: Coroutine[Any, Any, None]) -> bool:
        """Whether the work ended before somebody said stop; if not, it is cancelled."""
        task, stop = asyncio.create_task(work), asyncio.create_task(self._stopping.wait())
        await asyncio.wait((task, stop), return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            task.result()
            return True
        task.cancel()
        await asyncio.wait((task,))
        return False

    async def _start_all(self) -> None:
        for group in self._stack.started:
            try:
                async with asyncio.TaskGroup() as tasks:
                    for part in group:
                        tasks.create_task(self._start(part))
            except ExceptionGroup as errors:
                raise errors.exceptions[0] from None

    async def _start(self, part: Part) -> None:
        began = monotonic()
        self._note(part, "starting")
        rotate(part.log)
        running = await bring_up(part, self._state.pid(part.name))
        self._running[part.name] = running
        self._note(part, "ready", pid=running.pid)
        self._say(f"{part.name} is ready on port {part.port} after {monotonic() - began:.1f} s")

    async def _keep_all(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            for part in self._stack.parts:
                tasks.create_task(self._keep(part))
            tasks.create_task(self._trim_logs())

    async def _keep(self, part: Part) -> None:
        """For ever: wait for its end, then start it again, later and later if it does not live long."""
        failures = 0
        while True:
            began = monotonic()
            code = await self._running[part.name].ended()
            failures = 0 if monotonic() - began > LONG_ENOUGH else failures
            wait = BACK_OFF[min(failures, len(BACK_OFF) - 1)]
            self._note(part, "ended", note=f"ended by itself ({code}), starts again")
            self._say(f"{part.name} ended by itself ({code}); starting it again in {wait:g} s")
            await asyncio.sleep(wait)
            failures += 1
            await self._start_again(part)

    async def _start_again(self, part: Part) -> None:
        """Left alone while it waits for others: a service is right not to be ready while Kafka is away."""
        try:
            await part.prepare()
            rotate(part.log)
            running = self._running[part.name] = start(part.launch(), self._state.pid(part.name))
            self._standing[part.name].restarts += 1
            self._note(part, "starting", pid=running.pid)
            if await until_ready(part, running, deadline=None) is None:
                await part.settle()
                self._note(part, "ready", pid=running.pid)
                self._say(f"{part.name} is ready again")
        except (StackProblem, OSError) as problem:
            self._note(part, "ended", note=str(problem))
            self._say(f"{part.name} could not be started again: {problem}")

    async def _trim_logs(self) -> None:
        """A log that grew too large is emptied in place, after a copy: its writer appends, and goes on at the new end."""
        while True:
            await asyncio.sleep(60)
            for part in self._stack.parts:
                if part.log.exists() and part.log.stat().st_size > LARGEST_LOG:
                    await asyncio.to_thread(shutil.copyfile, part.log, part.log.with_suffix(".log.1"))
                    os.truncate(part.log, 0)

    async def _drain(self) -> None:
        for group in self._stack.drained:
            await asyncio.gather(*(self._end(part) for part in group))

    async def _end(self, part: Part) -> None:
        """Also what is only half started: the pid file knows it."""
        running = self._running.pop(part.name, None) or remembered(self._state.pid(part.name))
        if running is not None and running.alive():
            self._say(await ended(part.name, running, part.farewell))
        self._state.pid(part.name).unlink(missing_ok=True)
        self._note(part, "stopped")

    def _note(self, part: Part, state: str, *, pid: int = 0, note: str = "") -> None:
        standing = self._standing[part.name]
        standing.state, standing.pid, standing.note, standing.since = state, pid, note, now().isoformat(timespec="seconds")
        unfinished = self._state.parts.with_suffix(".new")
        unfinished.write_text(json.dumps({name: asdict(one) for name, one in self._standing.items()}))
        unfinished.replace(self._state.parts)


def rotate(log: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if log.stat().st_size > LARGEST_LOG // 4:
            log.replace(log.with_suffix(".log.1"))


async def ended(name: str, running: Running, farewell: Farewell) -> str:
    """Ends it and says how that went."""
    began = monotonic()
    gone = await running.end(farewell)
    return f"{name} stopped after {monotonic() - began:.1f} s" if gone else f"{name} (pid {running.pid}) could not be ended"


def supervisor_of(state: State) -> Running | None:
    return remembered(state.pid("supervisor"))


def left_behind(state: State) -> Mapping[str, Running]:
    """Parts that live though their supervisor does not: exactly those whose pid files name them."""
    if supervisor_of(state) is not None:
        return {}
    found = {path.stem: remembered(path) for path in state.pids.glob("*.json")}
    return {name: running for name, running in found.items() if running is not None}


async def end_left_behind(state: State, parts: Iterable[Iterable[Part]], say: Callable[[str], None]) -> None:
    """In the order of a drain."""
    for group in parts:
        living = left_behind(state)
        for part in group:
            if running := living.get(part.name):
                say(f"left behind by a killed supervisor: {await ended(part.name, running, part.farewell)}")
