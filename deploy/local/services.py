"""The parts that are ours: the five services and the mailbox."""

from __future__ import annotations

import asyncio
import http.client
import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.network import LOOPBACK
from deploy.local.process import TERM, Farewell, Launch
from shared.runtime.clock import monotonic

GRACE: Farewell = ((signal.SIGTERM, 25.0), (signal.SIGKILL, 10.0))
"""A service finishes what runs (10 s), commits offsets (5 s) and closes with deadlines of its own (R18)."""

PATIENCE = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ServicePart:
    """`python -m services.<name> serve`. `environment` is all it gets."""

    name: str
    port: int
    log: Path
    root: Path
    state: Path
    environment: Mapping[str, str]
    leaves: Path | None = None
    """A file it writes soon after it is ready for the first time; waited for, and not missed for ever."""
    farewell: Farewell = GRACE
    attempts: int = 1

    async def prepare(self) -> None:
        self.state.mkdir(mode=0o700, parents=True, exist_ok=True)

    def launch(self) -> Launch:
        argv = (sys.executable, "-m", f"services.{self.name}", "serve")
        return Launch(argv=argv, log=self.log, cwd=self.root, env=self.environment)

    async def why_not_ready(self) -> str | None:
        return await readiness(self.port)

    async def settle(self) -> None:
        """What others look for as soon as everything is ready."""
        deadline = monotonic() + PATIENCE
        while self.leaves is not None and not self.leaves.exists() and monotonic() < deadline:
            await asyncio.sleep(0.05)


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxPart:
    port: int
    smtp_port: int
    folder: Path
    log: Path
    root: Path
    environment: Mapping[str, str]
    name: str = "mailbox"
    farewell: Farewell = TERM
    attempts: int = 1

    async def prepare(self) -> None:
        """The folder is its own to make."""

    def launch(self) -> Launch:
        options = ("--folder", str(self.folder), "--smtp", str(self.smtp_port), "--http", str(self.port))
        return Launch(argv=(sys.executable, "-m", "deploy.local.mailbox", *options), log=self.log, cwd=self.root, env=self.environment)

    async def why_not_ready(self) -> str | None:
        status, body = await fetched(self.port, "/mails")
        return None if status == 200 else body

    async def settle(self) -> None:
        """Nothing more."""


async def readiness(port: int) -> str | None:
    """None when /readyz says yes (degraded counts: it can serve), else why not, in the service's words."""
    status, body = await fetched(port, "/readyz")
    return None if status == 200 else _reason(status, body)


def _reason(status: int, body: str) -> str:
    """The checks that are not well, as the service words them."""
    try:
        checks: dict[str, dict[str, Any]] = json.loads(body)["checks"]
        return "; ".join(f"{name}: {check['detail']}" for name, check in checks.items() if check["status"] == "failed")
    except (ValueError, KeyError, TypeError):
        return body if status == 0 else f"/readyz answers {status}"


async def fetched(port: int, path: str, *, headers: Mapping[str, str] | None = None, timeout: float = 3.0) -> tuple[int, str]:
    """Status and body of a GET on loopback; status 0 and the reason when nobody answers."""
    return await asyncio.to_thread(_fetch, port, path, headers or {}, timeout)


def _fetch(port: int, path: str, headers: Mapping[str, str], timeout: float) -> tuple[int, str]:
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=timeout)
    try:
        connection.request("GET", path, headers=dict(headers))
        answer = connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        return 0, str(error) or type(error).__name__
    finally:
        connection.close()
