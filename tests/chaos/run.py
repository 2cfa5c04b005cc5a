"""One run from beginning to end, and what it reports."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from shared.runtime.clock import monotonic
from shared.testing.stack import run_folder
from tests.chaos.again import republished
from tests.chaos.books import Books
from tests.chaos.business import WAYS, Business
from tests.chaos.calm import calm
from tests.chaos.check import CHECKS, Evidence
from tests.chaos.client import Client, GaveUp
from tests.chaos.ground import Ground, standing
from tests.chaos.storm import Fault, Weather, crashed, drawn, rage
from tests.chaos.topics import Echo, read_all

AFTER = 240.0
"""Seconds after the storm by which all must be done: two ends of claims (R15: a mail's takes two minutes), and some."""
SHOWN = 5
"""Findings of one check that are printed."""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    seed: int
    deals: int
    weather: Weather
    ways: tuple[str, ...] = WAYS


@dataclass(slots=True)
class Report:
    """Findings by check; none and it passed."""

    findings: dict[str, list[str]] = field(default_factory=dict)

    @property
    def passed(self) -> bool:
        return bool(self.findings) and not any(self.findings.values())


def flushed(line: str) -> None:
    print(line, flush=True)


async def chaos(plan: Plan, *, keep: Path | None = None, tell: Say = flushed) -> Report:
    """Starts a stack of its own, and leaves nothing running. Raises AssertionError when the stack does not even start."""
    began = monotonic()

    def say(line: str) -> None:
        tell(f"{monotonic() - began:7.1f}  {line}")

    say(f"seed {plan.seed}, {plan.deals} deals, storm of {plan.weather.seconds:g} s:")
    for fault in drawn(plan.seed, plan.weather):
        say(f"    {fault}")
    async with _folder(keep) as folder, standing(folder) as ground:
        say("the stack is ready")
        report = await _shaken(plan, ground, say)
    _tell(plan, report, say)
    return report


@asynccontextmanager
async def _folder(keep: Path | None) -> AsyncIterator[Path]:
    if keep is not None:
        yield keep
        return
    async with run_folder() as folder:
        yield folder / "stack"


async def _shaken(plan: Plan, ground: Ground, say: Say) -> Report:
    client, books = Client(ground, plan.seed), Books(ground)
    try:
        await books.open()
        business = Business(client, plan.seed, plan.deals, monotonic() + plan.weather.seconds + AFTER, plan.ways)
        await business.open()
        say("pipeline and rules are in force; orders come in")
        report = await _stormed(plan, ground, business, say)
        if (waits := await calm(ground, books, monotonic() + AFTER)) is not None:
            report.findings["calm"].append(waits)
        say("calm" if waits is None else f"no calm: {waits}")
        await _check(Evidence(business, books, await asyncio.to_thread(read_all, ground.bootstrap)), report, say)
        return report
    finally:
        await client.close()
        await books.close()


async def _stormed(plan: Plan, ground: Ground, business: Business, say: Say) -> Report:
    """Trade and storm side by side; the echo says its last when both are over."""
    report = Report({"every order is paid and moved": [], "calm": []})
    with Echo(ground.bootstrap, plan.seed) as echo:
        trade = asyncio.create_task(business.trade(plan.weather.seconds))
        faults = drawn(plan.seed, plan.weather)
        struck = await rage(ground, faults, plan.weather.seconds, say)
        say(f"the storm is over: {struck} faults struck; {len(business.paid)} of {plan.deals} orders are paid")
        try:
            await trade
            say("all orders are paid and moved")
        except GaveUp as gave_up:
            report.findings["every order is paid and moved"].append(str(gave_up))
            say(f"given up: {gave_up}")
    report.findings["crashes"] = _crashes(ground, faults, say)
    said = business.client.said
    say(f"requests: {said['answered']} answered, {said['again']} sent again without answer, {said['repeated']} repeated after it")
    say(f"said again on topics by a stranger: {echo.said}" + (f"; it failed: {echo.failed!r}" if echo.failed else ""))
    report.findings["echo"] = [repr(echo.failed)] if echo.failed else []
    return report


def _crashes(ground: Ground, faults: Sequence[Fault], say: Say) -> list[str]:
    """A place that is not reached is told. If none is, the storm was not what it says it is."""
    came, missed = crashed(ground, faults)
    say(f"crashed at failpoints: {', '.join(came) or 'none'}" + (f"; not reached: {', '.join(missed)}" if missed else ""))
    return [f"none of {len(missed)} failpoints was reached"] if missed and not came else []


async def _check(evidence: Evidence, report: Report, say: Say) -> None:
    say(f"{len(evidence.records)} records on the topics")
    for check in (*CHECKS, republished):
        try:
            report.findings[check.__name__] = await check(evidence)
        except (GaveUp, KeyError, ValueError) as error:
            report.findings[check.__name__] = [f"the check itself failed: {error!r}"]


def _tell(plan: Plan, report: Report, say: Say) -> None:
    for name, findings in report.findings.items():
        say(f"{'pass' if not findings else 'FAIL'}  {name.replace('_', ' ')}")
        for finding in findings[:SHOWN]:
            say(f"          {finding}")
        if len(findings) > SHOWN:
            say(f"          and {len(findings) - SHOWN} more")
    failed = sum(1 for findings in report.findings.values() if findings)
    say(f"{len(report.findings) - failed} passed, {failed} failed. Again: make chaos SEED={plan.seed}")
