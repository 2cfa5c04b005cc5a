"""What goes wrong, when: drawn from a seed before anything starts, so that the same seed is the same storm."""

from __future__ import annotations

import asyncio
import contextlib
import random
import signal
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import psutil

from shared.runtime.clock import monotonic
from tests.chaos import armed
from tests.chaos.ground import Ground

SERVICES = ("deals", "automation", "billing", "scheduler", "notifications")
INFRASTRUCTURE = ("kafka", "postgres")


@dataclass(frozen=True, slots=True)
class Fault:
    """`at` and `lasts` in seconds of the storm. kill: SIGKILL; stop: SIGSTOP, later SIGCONT; cut, hold, reset: the proxied link.

    crash: SIGKILL from within, when the failpoint `where` is passed for the `times`-th time from then on."""

    at: float
    what: str
    whom: str
    lasts: float = 0.0
    where: str = ""
    times: int = 0

    def __str__(self) -> str:
        place = f" at {self.where}, pass {self.times}" if self.where else ""
        return f"{self.at:6.1f} s  {self.what:<5} {self.whom}{place}" + (f" for {self.lasts:.1f} s" if self.lasts else "")


@dataclass(frozen=True, slots=True)
class Weather:
    """How a storm is: seconds between faults, seconds a stop or a cut lasts, and what may be struck how."""

    seconds: float
    gap: tuple[float, float]
    lasts: tuple[float, float]
    kinds: tuple[tuple[str, str], ...]


EVERYWHERE = (
    *("relay.before_send", "relay.mid_batch", "relay.after_ack", "relay.after_delete", "relay.lease_renew"),
    *("cons.after_fetch", "cons.before_tx", "cons.after_inbox", "cons.in_tx", "cons.before_commit", "cons.after_commit"),
    *("cons.after_offset", "pm.after_decide", "pm.before_commit", "sd.after_ready_off", "sd.mid_drain"),
)
AT_DOORS = ("cmd.gathered", "cmd.before_tx", "cmd.after_insert", "cmd.after_commit_before_reply")
PLACES: Mapping[str, tuple[str, ...]] = {
    "deals": (*EVERYWHERE, *AT_DOORS),
    "automation": EVERYWHERE,
    "billing": (
        *(*EVERYWHERE, *AT_DOORS, "hook.after_verify", "hook.after_store_before_200"),
        *("pay.before_call", "pay.after_call_before_store"),
    ),
    "scheduler": (*EVERYWHERE, "tm.after_claim", "tm.before_commit", "tm.after_commit"),
    "notifications": (*EVERYWHERE, "mail.after_claim", "mail.before_data", "mail.after_250_before_store"),
}
"""Failpoints that the business of a storm passes."""
NOT_IN_A_STORM = (
    *("mig.between_steps", "cons.on_revoked", "cons.on_assigned"),
    *("park.before_insert", "park.after_take", "park.before_commit", "wh.after_2xx_before_store"),
)
"""The others: passed at a start or by a rebalance, which nobody tells when to come; by messages that cannot be handled, and by webhooks
to customers, of which a storm has none."""
MOST_PASSES = 4

STRIKES = (
    *(("kill", part) for part in (*SERVICES, *INFRASTRUCTURE, "mailbox")),
    *(("crash", part) for part in (*SERVICES, *SERVICES)),
    *(("stop", part) for part in (*SERVICES, *INFRASTRUCTURE)),
    *((what, link) for what in ("cut", "hold", "reset") for link in INFRASTRUCTURE),
)
"""Every kind of fault there is here, crashes of services twice; a long storm meets each before one comes again."""

GENTLE = (
    *(("kill", part) for part in ("automation", "kafka", "postgres")),
    *(("crash", part) for part in ("deals", "automation", "billing", "scheduler")),
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
        lasts = 0.0 if what in ("kill", "crash", "reset") else min(chance.uniform(*weather.lasts), weather.seconds - at)
        where = chance.choice(PLACES[whom]) if what == "crash" else ""
        times = chance.randint(1, MOST_PASSES) if where and not where.startswith("sd.") else int(bool(where))
        faults.append(Fault(round(at, 1), what, whom, round(lasts, 1), where, times))
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
    for service in SERVICES:
        ground.plant(service, "")
    for link in INFRASTRUCTURE:
        ground.tell("heal", link)


async def _strike(ground: Ground, fault: Fault, began: float, say: Callable[[str], None]) -> bool:
    await asyncio.sleep(max(0.0, began + fault.at - monotonic()))
    victims = ground.family(fault.whom)
    say(f"{fault}" + ("" if victims or fault.what in ("cut", "hold", "reset") else "  (it is away already)"))
    match fault.what:
        case "kill":
            _signal(victims[:1], signal.SIGKILL)
        case "crash":
            await _crash(ground, fault)
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


async def _crash(ground: Ground, fault: Fault) -> None:
    """Where it goes on its way down it is told to go, as soon as it knows what is planted."""
    ground.plant(fault.whom, f"{fault.where}=kill@{fault.times}")
    if fault.where.startswith("sd."):
        await asyncio.sleep(3 * armed.LOOK_EVERY)
        _signal(ground.family(fault.whom)[:1], signal.SIGTERM)


def crashed(ground: Ground, faults: Sequence[Fault]) -> tuple[list[str], list[str]]:
    """Of the crashes that were planted, those that came to pass and those whose place was not reached in time."""
    words = {service: Counter(ground.last_words(service)) for service in SERVICES}
    came, missed = list[str](), list[str]()
    for fault in (fault for fault in faults if fault.what == "crash"):
        reached = words[fault.whom][fault.where] > 0
        words[fault.whom][fault.where] -= reached
        (came if reached else missed).append(f"{fault.whom} {fault.where}")
    return came, missed


def _signal(whom: Sequence[psutil.Process], what: signal.Signals) -> None:
    """psutil knows a process by its birth too: a number given to another one meanwhile is left alone."""
    for process in whom:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(what)
