"""What the supervisor runs: a part is prepared, launched, asked until it is ready, and told to go."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from deploy.local.problems import StackProblem
from deploy.local.process import Farewell, Launch, Running, last_lines, start
from shared.runtime.clock import monotonic

PATIENCE = 60.0
"""Seconds a part has to become ready."""
RETRIES = 5
"""A postmaster killed by SIGKILL leaves back ends that hold its memory for a moment: the next one fails until they are gone (PG-10)."""


class Part(Protocol):
    """One process of the stack. `why_not_ready` answers None when it is; `farewell` is how it is told to go."""

    @property
    def name(self) -> str: ...
    @property
    def farewell(self) -> Farewell: ...
    @property
    def log(self) -> Path: ...
    async def prepare(self) -> None: ...
    def launch(self) -> Launch: ...
    async def why_not_ready(self) -> str | None: ...


async def bring_up(part: Part, pid_file: Path, patience: float = PATIENCE) -> Running:
    """Prepared, started and ready. Raises StackProblem with the end of its log when it is not to be had; then nothing of it is left."""
    await part.prepare()
    deadline = monotonic() + patience
    for attempt in range(1, RETRIES + 1):
        running = start(part.launch(), pid_file)
        reason = await _until_ready(part, running, deadline)
        if reason is None:
            return running
        await running.end(part.farewell)
        if monotonic() > deadline or attempt == RETRIES:
            break
        await asyncio.sleep(1)
    raise StackProblem(f"{part.name} did not start ({reason}). The end of {part.log}:\n{last_lines(part.log)}")


async def _until_ready(part: Part, running: Running, deadline: float) -> str | None:
    """None, or why it is not ready by now."""
    while (reason := await part.why_not_ready()) is not None:
        if not running.alive():
            return "it ended at once"
        if monotonic() > deadline:
            return reason
        await asyncio.sleep(0.05)
    return None
