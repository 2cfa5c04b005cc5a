"""What the supervisor runs: a part is prepared, launched, asked until it is ready, settled, and told to go."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Protocol

from deploy.local.problems import StackProblem
from deploy.local.process import Farewell, Launch, Running, last_lines, start
from shared.runtime.clock import monotonic

PATIENCE = 60.0
"""Seconds a part has to become ready."""


class Part(Protocol):
    """One process of the stack."""

    @property
    def name(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def log(self) -> Path: ...
    @property
    def farewell(self) -> Farewell:
        """How it is told to go."""
        ...

    @property
    def attempts(self) -> int:
        """How often it may end before it is ready, and be tried again."""
        ...

    async def prepare(self) -> None:
        """What must be there before it starts, and what must not."""
        ...

    def launch(self) -> Launch: ...
    async def why_not_ready(self) -> str | None:
        """None when it is."""
        ...

    async def settle(self) -> None:
        """What its users need besides: topics, databases. Repeatable."""
        ...


async def bring_up(part: Part, pid_file: Path, patience: float = PATIENCE) -> Running:
    """Ready and settled. Raises StackProblem with the end of its log when it is not to be had; then nothing of it is left."""
    await part.prepare()
    deadline = monotonic() + patience
    for attempt in range(1, part.attempts + 1):
        running = start(part.launch(), pid_file)
        try:
            reason = await until_ready(part, running, deadline)
            if reason is None:
                await part.settle()
                return running
        except BaseException:
            await running.end(part.farewell)
            raise
        await running.end(part.farewell)
        if monotonic() > deadline:
            break
        if attempt < part.attempts:
            await asyncio.sleep(1)
    raise StackProblem(f"{part.name} did not start ({reason}). The end of {part.log}:\n{last_lines(part.log)}")


async def until_ready(part: Part, running: Running, deadline: float | None) -> str | None:
    """None, or why it is not ready by then; without a deadline only its end is a reason."""
    while (reason := await part.why_not_ready()) is not None:
        if not running.alive():
            return "it ended by itself"
        if deadline is not None and monotonic() > deadline:
            return reason
        await asyncio.sleep(0.05)
    return None
