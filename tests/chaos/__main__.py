"""A storm of kills, crashes, stops and cuts over orders that come in; then calm; then everything has to be there exactly once.

    python -m tests.chaos [--seed N] [--deals N] [--seconds N]

Exit code 0 only if every check passed. The seed draws the storm, the customers' ways and what is said twice."""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
from pathlib import Path

from tests.chaos.run import Plan, chaos
from tests.chaos.storm import long_storm


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=None, help="repeats a storm; drawn if left out")
    parser.add_argument("--deals", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=90, help="how long the storm lasts")
    parser.add_argument("--keep", type=Path, default=None, help="a new folder for the stack, which is left there with its logs")
    given = parser.parse_args()
    seed = given.seed if given.seed is not None else random.SystemRandom().randrange(1_000_000)
    report = asyncio.run(chaos(Plan(seed, given.deals, long_storm(given.seconds)), keep=given.keep and given.keep.absolute()))
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
