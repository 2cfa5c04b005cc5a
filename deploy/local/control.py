"""The verbs as seen from outside the supervisor: start it and wait for it, ask it to drain, clear up after one that was killed."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Mapping

from deploy.local.kafka import create_topics_on
from deploy.local.problems import StackProblem
from deploy.local.process import Farewell, Launch, Running, last_lines, start
from deploy.local.services import ServicePart
from deploy.local.stack import PARTS, PORTS, SERVICES, Stack, Yours, service_part_of, stack, yours_from_environment
from deploy.local.state import REPOSITORY, State
from deploy.local.status import status_of
from deploy.local.supervisor import Supervisor, end_left_behind, left_behind, supervisor_of
from shared.runtime.clock import now

Say = Callable[[str], None]

READY = "everything is ready"
"""The supervisor's last line of progress when all went well."""
PATIENCE: Farewell = ((signal.SIGTERM, 90.0), (signal.SIGKILL, 5.0))
"""The sum of its parts' farewells, and some."""


async def bring_up_stack(state: State, asked: Mapping[str, int], without: frozenset[str], say: Say) -> None:
    """Everything ready, or StackProblem and nothing running. What runs already is left alone."""
    if unknown := without - set(PARTS):
        raise StackProblem(f"There is no part named {', '.join(sorted(unknown))}.")
    state.prepare()
    with state.sole_user():
        if supervisor_of(state):
            return await _report_running(state, say)
        yours = yours_from_environment()
        await end_left_behind(state, _layout(state, yours, say).drained, say)
        for sentence in state.choose_ports(PORTS, asked)[1]:
            say(sentence)
        await _prepare_yours(state, yours, say)
        return await _launch(state, without, say)


async def drain_stack(state: State, say: Say) -> None:
    """Nothing of this folder runs afterwards. Raises StackProblem when something would not end."""
    if not state.exists():
        return say(f"nothing is running: nothing was ever started in {state.folder}")
    with state.sole_user():
        if supervisor := supervisor_of(state):
            await _end_supervisor(state, supervisor, say)
        elif not left_behind(state):
            return say("nothing is running")
        await end_left_behind(state, _layout(state, Yours(None, None), say).drained, say)
        if still := left_behind(state):
            raise StackProblem(f"still running: {', '.join(f'{name} (pid {one.pid})' for name, one in still.items())}")
    return say("everything is stopped")


async def supervise(state: State, without: frozenset[str]) -> None:
    """The body of the background process: progress goes to a file, the rest to its own log."""

    def say(line: str) -> None:
        print(now().isoformat(timespec="milliseconds"), line, flush=True)
        with state.progress.open("a") as progress:
            progress.write(line + "\n")

    say("for development only: one broker, one copy of everything, loopback")
    supervisor = Supervisor(_layout(state, yours_from_environment(), say).without(without), state, say)
    await supervisor.run(lambda: say(READY))


def service_part(name: str, state: State) -> ServicePart:
    """Raises StackProblem when it is no service, or the rest of the stack was never started."""
    if name not in SERVICES or not state.exists():
        raise StackProblem(f"{name} is not one of {', '.join(SERVICES)}." if name not in SERVICES else "The stack is not there: `make up`.")
    return service_part_of(name, state, state.ports(), yours_from_environment())


def _layout(state: State, yours: Yours, say: Say) -> Stack:
    return stack(state, {**PORTS, **state.ports()}, yours, say)


async def _report_running(state: State, say: Say) -> None:
    found = await status_of(state)
    waiting = [part.name for part in found.parts if part.state != "ready"]
    say("already running" + (f"; not ready: {', '.join(waiting)} (`make status` says why)" if waiting else ""))


async def _prepare_yours(state: State, yours: Yours, say: Say) -> None:
    if yours.database_url:
        say("using the PostgreSQL of DATABASE_URL: creating databases and roles where they are missing")
        await yours.create_databases(state)
    if yours.bootstrap:
        say(f"using the Kafka at {yours.bootstrap}: creating topics where they are missing")
        await create_topics_on(yours.bootstrap, SERVICES)


async def _launch(state: State, without: frozenset[str], say: Say) -> None:
    state.progress.write_text("")
    options = (f"--state={state.folder}", *(f"--without={name}" for name in sorted(without)))
    argv = (sys.executable, "-m", "deploy.local", "supervisor", *options)
    supervisor = start(Launch(argv=argv, log=state.log("supervisor"), cwd=REPOSITORY), state.pid("supervisor"))
    try:
        await _read_aloud(state, supervisor, say)
    except asyncio.CancelledError:
        say("interrupted: stopping what was started")
        await _end_supervisor(state, supervisor, say)
        raise


async def _read_aloud(state: State, supervisor: Running, say: Say) -> None:
    """Until it is ready, or has given up."""
    read = 0
    while True:
        alive = supervisor.alive()
        lines = state.progress.read_text().splitlines(keepends=True)
        whole = [line.rstrip("\n") for line in lines if line.endswith("\n")]
        for line in whole[read:]:
            say(line)
            if line == READY:
                return
        read = len(whole)
        if not alive:
            raise StackProblem(f"It could not be started. The end of {state.log('supervisor')}:\n{last_lines(state.log('supervisor'), 12)}")
        await asyncio.sleep(0.1)


async def _end_supervisor(state: State, supervisor: Running, say: Say) -> None:
    """It drains when told; what it says meanwhile is passed on."""
    before = len(state.progress.read_text().splitlines()) if state.progress.exists() else 0
    ending = asyncio.create_task(supervisor.end(PATIENCE))
    while not ending.done():
        await asyncio.wait((ending,), timeout=0.2)
        lines = state.progress.read_text().splitlines() if state.progress.exists() else []
        for line in lines[before:]:
            say(line)
        before = max(before, len(lines))
