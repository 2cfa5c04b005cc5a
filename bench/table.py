"""The goals, what was measured against each, and both as a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isnan
from statistics import fmean

from bench.meter import Result, median

FURTHEST = 1.25
"""How much faster one of two floors around a product may be; above it the machine was not the same."""


@dataclass(frozen=True)
class Round:
    """A product's run and the floors before and after it; a job without a floor has none."""

    product: Result
    floors: tuple[Result, ...]

    @property
    def quiet(self) -> bool:
        rates = [floor.per_second for floor in self.floors]
        return not any(run.noisy for run in (self.product, *self.floors)) and (not rates or max(rates) <= FURTHEST * min(rates))

    def ratio(self, of: Callable[[Result], float]) -> float:
        below = fmean(of(floor) for floor in self.floors)
        return of(self.product) / below if below else float("nan")


@dataclass(frozen=True)
class Goal:
    """`value` of a round against `must`: at least, or at most where less is better."""

    name: str
    job: str
    must: float
    value: Callable[[Round], float]
    unit: str = "x"
    at_least: bool = False


@dataclass(frozen=True)
class Measured:
    """Medians over the quiet rounds; over all where none was quiet."""

    goal: Goal
    value: float
    product: float
    floor: float
    cpu: float
    """The product's CPU per item as a multiple of the floor's: it holds where a busy machine spoils all that is timed."""
    rounds: int
    quiet: int

    @property
    def met(self) -> bool:
        return self.value >= self.goal.must if self.goal.at_least else self.value <= self.goal.must


def _rate(result: Result) -> float:
    return result.per_second


def _cpu(result: Result) -> float:
    return result.cpu


def _p50(result: Result) -> float:
    return result.latency_ms["p50"]


def _p99(result: Result) -> float:
    return result.latency_ms["p99"]


def _times(of: Callable[[Result], float]) -> Callable[[Round], float]:
    return lambda round: round.ratio(of)


def _worst(of: Callable[[Result], Mapping[str, float]], factor: float = 1.0) -> Callable[[Round], float]:
    return lambda round: max(of(round.product).values()) * factor


GOALS = (
    Goal("automation alone: throughput", "automation", 0.40, _times(_rate), at_least=True),
    Goal("automation, 3 of 10 rules: runs/s", "three", 0.40, _times(_rate), at_least=True),
    Goal("whole hop: throughput", "hop", 0.50, _times(_rate), at_least=True),
    Goal("whole hop: CPU, all parts", "hop", 2.0, _times(_cpu)),
    Goal("hop at 100/s: p50", "latency", 2.0, _times(_p50)),
    Goal("hop at 100/s: p99", "latency", 3.0, _times(_p99)),
    Goal("hop at 500/s: p99", "busy", 2.0, _times(_p99)),
    Goal("HTTP append, 16 connections: throughput", "http", 0.40, _times(_rate), at_least=True),
    Goal("HTTP append: p99", "http", 2.0, _times(_p99)),
    Goal("10,000 timers: lateness p99", "timers", 3.0, _times(_p99)),
    Goal("10,000 timers: CPU", "timers", 2.0, _times(_cpu)),
    Goal("idle CPU, the busiest of five services", "idle", 2.0, _worst(lambda result: result.cpu_share, 100), "%"),
    Goal("PSS idle, the largest of five services", "idle", 80.0, _worst(lambda result: result.memory_mb), "MB"),
)


def measured(goal: Goal, rounds: Sequence[Round]) -> Measured:
    """Raises ValueError without any round."""
    if not rounds:
        raise ValueError(f"{goal.name} was not measured")
    quiet = [round for round in rounds if round.quiet]
    counted = quiet or rounds
    shown = _shown_of(goal)
    product = median([shown(round.product) for round in counted]) if shown else float("nan")
    floor = median([shown(floor) for round in counted for floor in round.floors]) if shown else float("nan")
    cpu = median([round.ratio(_cpu) for round in counted]) if shown else float("nan")
    return Measured(goal, median([goal.value(round) for round in counted]), product, floor, cpu, len(rounds), len(quiet))


def _shown_of(goal: Goal) -> Callable[[Result], float] | None:
    """What stands beside the ratio, as it was measured."""
    if goal.job == "idle":
        return None
    last = goal.name.rpartition(": ")[2]
    return {"throughput": _rate, "runs/s": _rate, "p50": _p50, "p99": _p99, "lateness p99": _p99}.get(last, _cpu)


def printed(rows: Sequence[Measured]) -> str:
    """A Markdown table."""
    head = ("goal", "measured", "must", "met", "product", "floor", "CPU x", "quiet rounds")
    body = [_cells(row) for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(head, *body, strict=True)]
    lines = [head, tuple("-" * width for width in widths), *body]
    return "\n".join("| " + " | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) + " |" for line in lines)


def _cells(row: Measured) -> tuple[str, ...]:
    goal = row.goal
    must = f"{'>=' if goal.at_least else '<='} {goal.must:g} {goal.unit}"
    beside = (_figure(value) for value in (row.product, row.floor, row.cpu))
    return goal.name, f"{row.value:.2f} {goal.unit}", must, "yes" if row.met else "NO", *beside, f"{row.quiet} of {row.rounds}"


def _figure(value: float) -> str:
    if isnan(value):
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
