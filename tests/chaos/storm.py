"""What goes wrong, when: drawn from a seed before anything starts, so that the same seed is the same storm."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import psutil

from shared.runtime.clock import monotonic
from tests.chaos.ground import Ground

SERVICES = ("deals", "automation", "billing", "scheduler", "notifications")
INFRASTRUCTURE = ("kafka", "postgres")


@dataclass(frozen=True, slots=True)
class Fault:
    """`at` and `lasts` in seconds of the storm. kill: SIGKILL; stop: SIGSTOP, later SIGCONT; cut, hold, reset: the proxied link."""

    at: float
    what: str
    whom: str
    lasts: float = 0.0

    def __str__(self) -> str:
        return f"{self.at:6.1f} s  {self.what:<5} {self.whom}" + (f" for {self.lasts:.1f} s" if self.lasts else "")


@dataclass(frozen=True, slots=True)
class Weather:
    """How a storm is: seconds between faults, seconds a stop or a cut lasts, and what may be struck how."""

    seconds: float
    gap: tuple[float, float]
    lasts: tuple[float, float]
    kinds: tuple[tuple[str, str], ...]


STRIKES = (
    *(("kill", part) for part in (*SERVICES, *SERVICES, *INFRASTRUCTURE, "mailbox")),
    *(("stop", part) for part in (*SERVICES, *INFRASTRUCTURE)),
    *((what, link) for what in ("cut", "hold", "reset") for link in INFRASTRUCTURE),
)
"""Every kind of fault there is here, kills of services twice; a long storm meets each before one comes again."""

GENTLE = (
    *(("kill", part) for part in ("deals", "automation", "billing", "kafka", "postgres")),
    *(("stop", part) for part in ("automation", "notifications", "kafka")),
    *((what, link) for what in ("cut", "reset") for link in INFRASTRUCTURE),
)
"""For a run that must end soon: a mail of a killed sender waits two minutes for the end of its claim."""


def long_storm(seconds: float) -> Weather:
    return Weather(seconds, (2.5, 7.5), (2.0, 12.0), STRIKES)


def short_storm(seconds: float) -> Weather:
    return Weather(seconds, (2.5, 4.5), (2.0, 5.0), GENTLE)


def drawn(seed: int, weather: Weather) -> tuple[Fault, ...]:
    """The schedule. From a shuffled bag of all kinds, filled again when it is empty."""
    chance = random.Random(f"storm {seed}")
    at, bag, faults = 1.0, list[tuple[str, str]](), list[Fault]()
    while at < weather.seconds:
        if not bag:
            bag = list(weather.kinds)
            chance.shuffle(bag)
        what, whom = bag.pop()
        lasts = 0.0 if what in ("kill", "reset") else min(chance.uniform(*weather.lasts), weather.seconds - at)
        faults.append(Fault(round(at, 1), what, whom, round(lasts, 1)))
        at += chance.uniform(*weather.gap)
    return tuple(faults)


async def rage(ground: Ground, faults: Sequence[Fault], seconds: float, say: Callable[[str], None]) -> int:
    """Does it all, then heals it all. How many faults met their victim alive."""
    began = monotonic()
    try:
        async with asyncio.TaskGroup() as tasks:
            struck = [tasks.create_task(_strike(ground, fault, began, say)) for fault in faults]
            tasks.create_task(asyncio.sleep(seconds))
    finally:
        heal(ground)
    return sum(task.result() for task in struck)


def heal(ground: Ground) -> None:
    """Whatever was stopped goes on, whatever was cut or held is whole."""
    for part in (*SERVICES, *INFRASTRUCTURE):
        _signal(ground.family(part), signal.SIGCONT)
    for link in INFRASTRUCTURE:
        ground.tell("heal", link)


async def _strike(ground: Ground, fault: Fault, began: float, say: Callable[[str], None]) -> bool:
    await asyncio.sleep(max(0.0, began + fault.at - monotonic()))
    victims = ground.family(fault.whom)
    say(f"{fault}" + ("" if victims or fault.what in ("cut", "hold", "reset") else "  (it is away already)"))
    match fault.what:
        case "kill":
            _signal(victims[:1], signal.SIGKILL)
        case "stop":
            _signal(victims, signal.SIGSTOP)
            await asyncio.sleep(fault.lasts)
            _signal(victims, signal.SIGCONT)
        case _:
            ground.tell(fault.what, fault.whom)
            await asyncio.sleep(fault.lasts)
            ground.tell("heal", fault.whom)
            return True
    return bool(victims)


def _signal(whom: Sequence[psutil.Process], what: signal.Signals) -> None:
    """psutil knows a process by its birth too: a number given to another one meanwhile is left alone."""
    for process in whom:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(what)
