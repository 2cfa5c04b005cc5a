"""What `make status` shows: each part's process and, of services, what waits in them, asked over HTTP like any operator would."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

import psutil
from prometheus_client.parser import text_string_to_metric_families

from deploy.local.network import answers
from deploy.local.process import remembered
from deploy.local.services import fetched, readiness
from deploy.local.stack import PARTS, PORTS, SERVICES
from deploy.local.state import State
from deploy.local.supervisor import supervisor_of
from shared.runtime.clock import now

GAUGES: Mapping[str, str] = {
    "lag": "kafka_consumergroup_group_lag",
    "outbox": "outbox_pending",
    "dead_letters": "dead_letters_open",
    "parked": "parked_messages",
    "quarantined": "quarantined_total",
}
"""Column: the metric whose samples are summed for it (ecosystem O2, O3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PartStatus:
    """`memory` in bytes, with children; `numbers` by the columns of GAUGES, services only; empty `note`: nothing to say."""

    name: str
    state: str
    port: int | None = None
    pid: int | None = None
    memory: int | None = None
    uptime_seconds: int | None = None
    restarts: int = 0
    note: str = ""
    numbers: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StackStatus:
    """`running`: the supervisor lives. `healthy`: it does, and so does everything else, ready."""

    folder: str
    running: bool
    parts: tuple[PartStatus, ...]

    @property
    def healthy(self) -> bool:
        return self.running and all(part.state == "ready" for part in self.parts)

    def as_json(self) -> str:
        return json.dumps(asdict(self) | {"healthy": self.healthy}, indent=1)


async def status_of(state: State) -> StackStatus:
    """Never raises for what is broken: it says so."""
    ports, standings = state.ports(), _standings(state)
    names = [name for name in PARTS if name in standings]
    parts = await asyncio.gather(*(_part(state, name, ports.get(name, PORTS[name]), standings[name]) for name in names))
    return StackStatus(folder=str(state.folder), running=supervisor_of(state) is not None, parts=tuple(parts))


def _standings(state: State) -> dict[str, dict[str, Any]]:
    try:
        found: dict[str, dict[str, Any]] = json.loads(state.parts.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return found


async def _part(state: State, name: str, port: int, standing: Mapping[str, Any]) -> PartStatus:
    running = remembered(state.pid(name))
    if running is None:
        return PartStatus(name=name, state=_absent(standing), port=port, restarts=standing["restarts"], note=standing["note"])
    reason = await _why_not_ready(name, port)
    return PartStatus(
        name=name,
        state="ready" if reason is None else "not ready",
        port=port,
        pid=running.pid,
        memory=_memory(running.pid),
        uptime_seconds=_age(standing["since"]),
        restarts=standing["restarts"],
        note=reason or "",
        numbers=await _numbers(port) if name in SERVICES else {},
    )


def _absent(standing: Mapping[str, Any]) -> str:
    """What the supervisor last said, unless it said that it lives."""
    return standing["state"] if standing["state"] in ("ended", "stopped", "starting") else "gone"


async def _why_not_ready(name: str, port: int) -> str | None:
    if name in SERVICES:
        return await readiness(port)
    return None if await answers(port) else "it does not answer"


async def _numbers(port: int) -> dict[str, int]:
    """The gauges' sums; a metric the service does not have yet is left out."""
    status, body = await fetched(port, "/metrics")
    if status != 200:
        return {}
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(body):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0) + sample.value
    return {column: int(sums[metric]) for column, metric in GAUGES.items() if metric in sums}


def _memory(pid: int) -> int | None:
    """What the process and its children hold in memory; pages they share are counted once where the system tells."""
    try:
        process = psutil.Process(pid)
        return sum(_held(one) for one in (process, *process.children(recursive=True)))
    except psutil.Error:
        return None


def _held(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.AccessDenied, AttributeError):
        return int(process.memory_info().rss)


def _age(since: str) -> int:
    return int((now() - datetime.fromisoformat(since)).total_seconds())
