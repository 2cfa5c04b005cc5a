"""PostgreSQL and Kafka alone, in a folder, on free ports: what tests and a shared development stack need."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deploy.local.kafka import Kafka
from deploy.local.network import free_ports
from deploy.local.parts import bring_up
from deploy.local.postgres import Postgres, home_for
from deploy.local.process import Running, own_folder


@dataclass(slots=True)
class Infrastructure:
    """Both running. `processes`: by name of the part; a test that kills one and starts it anew puts the new one there."""

    folder: Path
    postgres: Postgres
    kafka: Kafka
    processes: dict[str, Running]

    @property
    def admin_url(self) -> str:
        return self.postgres.admin_url()

    @property
    def bootstrap(self) -> str:
        return self.kafka.bootstrap

    async def start(self, *names: str) -> None:
        """Start what is named (both by default), on the same ports and data as before."""
        parts = [part for part in (self.postgres, self.kafka) if not names or part.name in names]
        running = await asyncio.gather(*(bring_up(part, self.folder / f"{part.name}.pid") for part in parts))
        self.processes |= {part.name: one for part, one in zip(parts, running, strict=True)}

    async def stop(self) -> None:
        """Kafka first, then PostgreSQL."""
        for part in (self.kafka, self.postgres):
            if running := self.processes.pop(part.name, None):
                await running.end(part.farewell)


async def start_infrastructure(
    folder: Path,
    *,
    durable: bool = True,
    max_connections: int = 200,
    faults: tuple[int, int] | None = None,
    progress: Callable[[str], None] = print,
) -> Infrastructure:
    """Both parts, ready, with all their files in `folder`. Raises StackProblem; then nothing is left running."""
    database, client, controller = free_ports(3)
    infrastructure = Infrastructure(
        own_folder(folder),
        Postgres(
            home=home_for(folder / "postgres"), port=database, log=folder / "postgres.log", durable=durable, max_connections=max_connections
        ),
        Kafka(home=folder / "kafka", port=client, controller_port=controller, log=folder / "kafka.log", progress=progress, faults=faults),
        {},
    )
    try:
        await infrastructure.start()
    except BaseException:
        await infrastructure.stop()
        raise
    return infrastructure
