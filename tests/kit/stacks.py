"""An embedded stack of its own folder and ports, driven by its command line as a person would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.network import LOOPBACK, free_ports
from deploy.local.postgres import Postgres
from deploy.local.process import Running, remembered
from deploy.local.stack import PORTS
from deploy.local.state import REPOSITORY, State

OURS = ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS")
"""Of the tests' own stack: this one is to be embedded."""


@dataclass(frozen=True, slots=True)
class Embedded:
    """`options` go to every `up`: ports, and parts that are left out."""

    state: State
    options: tuple[str, ...]

    def run(self, verb: str, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            (sys.executable, "-m", "deploy.local", verb, f"--state={self.state.folder}", *words),
            cwd=REPOSITORY,
            env={name: value for name, value in os.environ.items() if name not in OURS},
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )

    def up(self) -> subprocess.CompletedProcess[str]:
        done = self.run("up", *self.options)
        assert done.returncode == 0, done.stdout + done.stderr
        return done

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    def process(self, part: str) -> Running:
        running = remembered(self.state.pid(part))
        assert running is not None, f"{part} does not run"
        return running

    def postgres(self) -> Postgres:
        return Postgres(home=self.state.postgres_home, port=self.state.ports()["postgres"], log=self.state.log("postgres"))

    def bootstrap(self) -> str:
        return f"{LOOPBACK}:{self.state.ports()['kafka']}"


def embedded(folder: Path, without: tuple[str, ...] = ()) -> Embedded:
    chosen = zip(PORTS, free_ports(len(PORTS)), strict=True)
    return Embedded(State(folder), (*(f"--port={name}={port}" for name, port in chosen), *(f"--without={name}" for name in without)))
