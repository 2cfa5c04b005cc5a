"""The system under the storm: the embedded stack on ports of its own, its services behind fault proxies, in a process of its own.

    python -m tests.chaos.world --state FOLDER

It is told on stdin, a line each, what to do with a proxy: `cut kafka`, `hold postgres`, `reset kafka`, `heal kafka`. When stdin ends
it drains, so nothing outlives whoever started it."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from dataclasses import fields, replace
from pathlib import Path

from deploy.local.kafka import Kafka
from deploy.local.network import free_ports
from deploy.local.parts import Part
from deploy.local.process import Launch
from deploy.local.services import ServicePart
from deploy.local.stack import PORTS, SERVICES, Stack, Yours, service_part_of, stack
from deploy.local.state import State
from deploy.local.supervisor import Supervisor
from shared.runtime.clock import now
from shared.testing.faults import FaultProxy

OWN = Yours(None, None)
READY = "everything is ready"
LINKS = ("postgres", "kafka")


def say(line: str) -> None:
    print(now().isoformat(timespec="milliseconds"), line, flush=True)


def told(state: State, ports: dict[str, int], proxies: dict[str, FaultProxy], broker: int) -> Stack:
    """What `make up` starts, but services reach PostgreSQL and Kafka through the proxies only."""
    plain = stack(state, ports, OWN, say)
    seen = ports | {name: proxy.port for name, proxy in proxies.items()}
    services = tuple(armed(service_part_of(name, state, seen, OWN)) for name in SERVICES)
    kafka = _behind_a_proxy(plain, broker, proxies["kafka"].port)
    parts: tuple[Part, ...] = (kafka, *services)
    changed = {part.name: part for part in parts}

    def instead(order: tuple[tuple[Part, ...], ...]) -> tuple[tuple[Part, ...], ...]:
        return tuple(tuple(changed.get(part.name, part) for part in group) for group in order)

    return Stack(instead(plain.started), instead(plain.drained))


class Armed(ServicePart):
    """The same service, which can be told where to crash."""

    def launch(self) -> Launch:
        argv = (sys.executable, "-m", "tests.chaos.armed", self.name, "serve")
        return replace(ServicePart.launch(self), argv=argv)


def armed(part: ServicePart) -> Armed:
    return Armed(**{field.name: getattr(part, field.name) for field in fields(part)})


def _behind_a_proxy(plain: Stack, broker: int, proxy: int) -> Kafka:
    kafka = next(part for part in plain.parts if isinstance(part, Kafka))
    return Kafka(
        home=kafka.home,
        port=kafka.port,
        controller_port=kafka.controller_port,
        log=kafka.log,
        topics_of=kafka.topics_of,
        progress=say,
        faults=(broker, proxy),
    )


async def obey(proxies: dict[str, FaultProxy]) -> None:
    """Until stdin ends."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := (await lines.readline()).decode().split():
        await _do(line[0], proxies[line[1]])
        say(" ".join(line))
    os.kill(os.getpid(), signal.SIGTERM)


async def _do(what: str, proxy: FaultProxy) -> None:
    match what:
        case "cut":
            await proxy.cut()
        case "reset":
            proxy.reset_all()
        case "hold":
            proxy.up.hold()
            proxy.down.hold()
        case "heal":
            await proxy.heal()
        case _:
            raise ValueError(f"{what!r} is nothing a proxy can do")


async def run(folder: Path) -> None:
    state = State(folder)
    state.prepare()
    broker, postgres_proxy, kafka_proxy, *free = free_ports(3 + len(PORTS))
    ports = state.choose_ports(dict(zip(PORTS, free, strict=True)), {})[0]
    async with FaultProxy(ports["postgres"], postgres_proxy) as postgres, FaultProxy(broker, kafka_proxy) as kafka:
        proxies = {"postgres": postgres, "kafka": kafka}
        obeying = asyncio.create_task(obey(proxies))
        await Supervisor(told(state, ports, proxies, broker), state, say).run(lambda: say(READY))
        obeying.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--state", type=Path, required=True)
    asyncio.run(run(parser.parse_args().state))
