"""Floor, product, floor, in rounds, on one Kafka and PostgreSQL: what the product reaches of what is possible, as ratios.

    make bench                                 three rounds of everything, medians
    python -m bench --rounds 1 --short         a quick look
    python -m bench --only hop,http            some of it

On the servers that KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL (an administrator's) name, else on a pair of its own with fsync on.
Talks to loopback only. Exit code 0 when everything was measured, whether goals were met or not; 1 when a measurement failed."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from bench.meter import NOISY, Result
from bench.table import GOALS, Round, measured, printed
from shared.testing.stack import embedded

ROOT = Path(__file__).parents[1]
LONGEST = 300


@dataclass(frozen=True)
class Pair:
    """A floor's job and the product's, each with its options; `n` items, `short` of them for a quick look."""

    floor: str
    product: str
    n: int
    short: int
    options: tuple[str, ...] = ()


PAIRS = {
    "automation": Pair("fused", "automation", 10_000, 1_000),
    "three": Pair("fused", "automation", 5_000, 1_000, ("--matches=3",)),
    "hop": Pair("hop", "hop", 20_000, 3_000),
    "latency": Pair("hop", "hop", 0, 0, ("--rate=100",)),
    "busy": Pair("hop", "hop", 0, 0, ("--rate=500",)),
    "http": Pair("http", "http", 8_000, 1_000),
    "timers": Pair("timers", "timers", 10_000, 1_000),
    "idle": Pair("", "idle", 0, 0),
}


@dataclass(eq=False)
class Bench:
    """Runs jobs as processes on the named servers; every run ends up in `runs`."""

    environment: dict[str, str]
    short: bool
    runs: list[dict[str, object]] = field(default_factory=list)

    def round(self, name: str) -> Round:
        """Floor, product, floor at once. Raises CalledProcessError, TimeoutExpired."""
        wanted = PAIRS[name]
        first = self._floor(wanted)
        product = self._run("bench.product", wanted.product, wanted)
        return Round(product, tuple(floor for floor in (first, self._floor(wanted)) if floor))

    def warm(self) -> None:
        """A JVM that has just started does half of its later speed for the first 100,000 messages."""
        self._run("bench.floor", "hop", Pair("hop", "hop", 3_000 if self.short else 40_000, 0), short=False)

    def _floor(self, wanted: Pair) -> Result | None:
        return self._run("bench.floor", wanted.floor, wanted) if wanted.floor else None

    def _run(self, module: str, job: str, wanted: Pair, *, short: bool | None = None) -> Result:
        brief = self.short if short is None else short
        options = [*wanted.options, f"--seconds={5 if brief else 10}"]
        if wanted.n:
            options.append(f"--n={wanted.short if brief else wanted.n}")
        with tempfile.NamedTemporaryFile(suffix=".json") as told:
            argv = (sys.executable, "-m", module, job, *options, f"--json={told.name}")
            subprocess.run(argv, cwd=ROOT, env=self.environment, check=True, timeout=LONGEST, stdout=subprocess.DEVNULL)
            found = json.loads(Path(told.name).read_bytes())["results"][0]
        found.pop("runs")
        self.runs.append({"program": module, **found})
        return Result(**found)


@asynccontextmanager
async def servers() -> AsyncIterator[dict[str, str]]:
    """The environment of the jobs: yours, or an embedded pair that makes durable what production does."""
    if os.environ.get("DATABASE_URL") and os.environ.get("KAFKA_BOOTSTRAP_SERVERS"):
        yield dict(os.environ)
        return
    async with embedded(durable=True) as pair:
        yield os.environ | {"DATABASE_URL": pair.admin_url, "KAFKA_BOOTSTRAP_SERVERS": pair.bootstrap}


async def run(o: argparse.Namespace) -> int:
    names = o.only.split(",") if o.only else list(PAIRS)
    rounds: dict[str, list[Round]] = {name: [] for name in names}
    async with servers() as environment:
        bench = Bench(environment, o.short)
        await asyncio.to_thread(bench.warm)
        failed = [await _one(bench, name, rounds[name], f"{n + 1}/{o.rounds}") for n in range(o.rounds) for name in names]
    print()
    print(printed([measured(goal, rounds[goal.job]) for goal in GOALS if rounds.get(goal.job)]))
    if o.json:
        o.json.write_text(json.dumps({"rounds": o.rounds, "short": o.short, "runs": bench.runs}, indent=1) + "\n")
    return int(any(failed))


async def _one(bench: Bench, name: str, rounds: list[Round], which: str) -> bool:
    """Whether it failed; the rest is measured all the same."""
    try:
        found = await asyncio.to_thread(bench.round, name)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        print(f"round {which}  {name}: {error}", flush=True)
        return True
    rounds.append(found)
    rates = [floor.per_second for floor in found.floors]
    said = f"{found.product.per_second:,.0f}/s beside floors of {', '.join(f'{rate:,.0f}' for rate in rates)}/s" if rates else "measured"
    disturbed = "" if found.quiet else f"  disturbed: foreign work and steal over {NOISY} of a core, or floors over 25 % apart"
    print(f"round {which}  {name}: {said}{disturbed}", flush=True)
    return False


def options(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--short", action="store_true", help="few items: shows that it runs, proves nothing")
    parser.add_argument("--only", default="", help=f"some of {','.join(PAIRS)}")
    parser.add_argument("--json", type=Path, help="every run, for later")
    o = parser.parse_args(argv)
    if unknown := set(o.only.split(",")) - {"", *PAIRS}:
        parser.error(f"--only: {', '.join(sorted(unknown))} is none of {', '.join(PAIRS)}")
    return o


if __name__ == "__main__":
    sys.exit(asyncio.run(run(options())))
