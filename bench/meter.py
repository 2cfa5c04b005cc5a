"""CPU by part, memory, disturbance, and the form in which every measurement is written down."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

NOISY = 0.15
"""Cores taken by other processes and by the host; above this a run says nothing."""


@dataclass(frozen=True)
class Result:
    """One run. CPU in milliseconds per item and part, latency in milliseconds, `foreign` and `steal` in cores."""

    name: str
    n: int
    seconds: float
    per_second: float
    cpu_ms: Mapping[str, float]
    cpu_share: Mapping[str, float]
    foreign: float
    steal: float
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    memory_mb: Mapping[str, float] = field(default_factory=dict)

    @property
    def cpu(self) -> float:
        return sum(self.cpu_ms.values())

    @property
    def noisy(self) -> bool:
        return self.foreign + self.steal > NOISY


def cpu_seconds(pid: int) -> float:
    """User and system time of a process and its children, reaped ones included."""
    total = 0.0
    with suppress(psutil.Error):
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            with suppress(psutil.Error):
                total += sum(process.cpu_times()[:4])
    return total


def pss(pid: int) -> int:
    """Bytes of memory that are a process's fair share."""
    with suppress(psutil.Error):
        return int(psutil.Process(pid).memory_full_info().pss)
    return 0


class Meter:
    """`with Meter(automation=pid, …) as meter: …`, then `meter.result(name, n, latencies)`."""

    def __init__(self, **pids: int) -> None:
        self._pids = pids

    def _read(self) -> dict[str, float]:
        every = psutil.cpu_times()
        return {
            "seconds": time.perf_counter(),
            "busy": every.user + every.system + getattr(every, "nice", 0.0),
            "steal": getattr(every, "steal", 0.0),
            "own": 0.0 if os.getpid() in self._pids.values() else time.process_time(),
            **{name: cpu_seconds(pid) for name, pid in self._pids.items()},
        }

    def __enter__(self) -> Meter:
        self._before = self._read()
        return self

    def __exit__(self, *_: object) -> None:
        after = self._read()
        self._spent = {name: after[name] - before for name, before in self._before.items()}

    def result(self, name: str, n: int, latencies: Sequence[float] = ()) -> Result:
        """`latencies` in seconds."""
        spent, seconds, late = self._spent, self._spent["seconds"], sorted(latencies)
        parts = {part: spent[part] for part in self._pids}
        total = sum(parts.values()) or 1.0
        return Result(
            name,
            n,
            seconds,
            n / seconds,
            {part: value * 1000 / n for part, value in parts.items()},
            {part: value / total for part, value in parts.items()},
            max(0.0, spent["busy"] - spent["own"] - total) / seconds,
            spent["steal"] / seconds,
            {f"p{q}": late[min(len(late) - 1, len(late) * q // 100)] * 1000 for q in (50, 99)} if late else {},
        )


def shown(result: Result) -> str:
    """One line for people."""
    late = "".join(f"  {name} {value:.1f} ms" for name, value in result.latency_ms.items())
    parts = ", ".join(f"{part} {value:.3f}" for part, value in result.cpu_ms.items())
    noisy = "  NOISY" if result.noisy else ""
    return f"{result.name}: {result.per_second:,.0f}/s{late}  CPU {result.cpu:.3f} ms ({parts}){noisy}"


def written(path: Path, settings: Mapping[str, Any], results: Sequence[Result]) -> None:
    kept = [asdict(result) | {"runs": [asdict(result)]} for result in results]
    path.write_text(json.dumps({"settings": dict(settings), "results": kept}, indent=1) + "\n")


def median(values: Sequence[float]) -> float:
    return statistics.median(values) if values else float("nan")
