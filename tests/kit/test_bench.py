"""The benchmark runs: real processes, few items, a table with a ratio."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

from bench.meter import Result
from bench.table import GOALS, Round, measured, printed
from shared.testing.stack import Stack

ROOT = Path(__file__).parents[2]


async def test_a_short_round_prints_a_ratio(stack: Stack) -> None:
    environment = os.environ | {"DATABASE_URL": stack.admin_url, "KAFKA_BOOTSTRAP_SERVERS": stack.bootstrap}
    argv = (sys.executable, "-m", "bench", "--rounds=1", "--short", "--only=hop,automation")
    done = await asyncio.to_thread(
        subprocess.run, argv, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=240, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for goal in ("whole hop: throughput", "automation alone: throughput"):
        assert re.search(rf"{goal} +\| \d\.\d\d x +\| >= 0\.\d x", done.stdout), done.stdout


def run_of(per_second: float, *, foreign: float = 0.0) -> Result:
    return Result("hop", 100, 1.0, per_second, {"app": 100 / per_second}, {}, foreign, 0.0)


def test_a_ratio_is_taken_from_quiet_rounds() -> None:
    throughput = next(goal for goal in GOALS if goal.name == "whole hop: throughput")
    quiet = Round(run_of(60), (run_of(90), run_of(110)))
    disturbed = Round(run_of(10, foreign=1.0), (run_of(100), run_of(100)))
    uneven = Round(run_of(10), (run_of(100), run_of(200)))
    found = measured(throughput, [disturbed, quiet, uneven])
    assert (found.value, found.rounds, found.quiet, found.met) == (0.6, 3, 1, True)
    assert "| yes |" in printed([found])


def test_a_goal_that_is_missed_says_so() -> None:
    throughput = next(goal for goal in GOALS if goal.name == "whole hop: throughput")
    found = measured(throughput, [Round(run_of(40, foreign=1.0), (run_of(100), run_of(100)))])
    assert (found.value, found.quiet, found.met) == (0.4, 0, False)
    assert "| NO " in printed([found])
