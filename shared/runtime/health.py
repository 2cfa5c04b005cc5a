"""Is this process fit to get work? Named checks behind /readyz, and the figures that are asked of the database for /metrics (H10)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from shared.es.errors import Unavailable
from shared.runtime import metrics
from shared.runtime.clock import monotonic

if TYPE_CHECKING:
    from shared.runtime.database import Database

Status = Literal["ok", "degraded", "failed"]

OLD_OUTBOX = 30.0
"""Seconds after which an unsent message makes the service degraded; killing it would only make that worse."""
REMEMBERED = 1.0


@dataclass(frozen=True, slots=True)
class Check:
    """`failed` makes the process not ready; `degraded` is told and still ready."""

    status: Status
    detail: str = ""


OK = Check("ok")

Asked = Callable[[], Awaitable[Check]]


class Health:
    """All checks of one process. Asked at most once a second, however many probes there are."""

    def __init__(self) -> None:
        self._checks: dict[str, Asked] = {}
        self._report: tuple[float, int, dict[str, Any]] | None = None
        self.draining = False

    def add(self, name: str, check: Asked) -> None:
        self._checks[name] = check

    def drain(self) -> None:
        """No further work, please: the process is about to end."""
        self.draining, self._report = True, None

    async def report(self) -> tuple[int, dict[str, Any]]:
        """HTTP status and `{status, reasons, checks: {name: {status, detail, latency_ms}}}`."""
        if self._report is None or monotonic() >= self._report[0]:
            checks = {name: await _timed(check) for name, check in self._checks.items()}
            if self.draining:
                checks["shutdown"] = {"status": "failed", "detail": "the process is shutting down", "latency_ms": 0.0}
            worst = _worst([check["status"] for check in checks.values()])
            reasons = [f"{name}: {check['detail']}" for name, check in checks.items() if check["status"] != "ok"]
            report = {"status": worst, "reasons": reasons, "checks": checks}
            self._report = monotonic() + REMEMBERED, 503 if worst == "failed" else 200, report
        return self._report[1:]


def _worst(statuses: list[Status]) -> Status:
    return "failed" if "failed" in statuses else "degraded" if "degraded" in statuses else "ok"


async def _timed(check: Asked) -> dict[str, Any]:
    started = monotonic()
    try:
        found = await check()
    except Unavailable as away:
        found = Check("failed", str(away))
    return {"status": found.status, "detail": found.detail, "latency_ms": round((monotonic() - started) * 1000, 1)}


_WRITABLE = "select not (pg_is_in_recovery() or current_setting('default_transaction_read_only')::bool)"


async def database_is_writable(database: Database) -> Check:
    async with database.raw() as raw:
        writable = await raw.fetchval(_WRITABLE)
    return OK if writable else Check("failed", "the database is read-only")


_FIGURES = """
select (select count(*) from (select 1 from outbox limit 100000) as o) as outbox_pending,
       coalesce((select extract(epoch from clock_timestamp() - at)::float8 from outbox order by position limit 1), 0) as oldest,
       (select count(*) from blocked where next_at is null) as dead,
       (select count(*) from parked) as parked
"""
_UNKNOWN = "select kind, count(*) as n from effects where state = 'unknown' group by kind"


class Figures:
    """Gauges that only the database knows. One look serves everybody for two seconds."""

    def __init__(self, database: Database, kinds: tuple[str, ...] = ()) -> None:
        self._database, self._kinds = database, kinds
        self._until = 0.0
        self._observers: list[Callable[[], None]] = []
        self.oldest = 0.0
        self.dead = 0

    def add(self, observe: Callable[[], None]) -> None:
        """Called before the figures are shown: sets gauges from what is in memory."""
        self._observers.append(observe)

    def observe(self) -> None:
        for observe in self._observers:
            observe()

    async def refresh(self) -> None:
        """Raises Unavailable."""
        if monotonic() < self._until:
            return
        async with self._database.raw() as raw:
            row = (await raw.fetch(_FIGURES))[0]
            unknown = {found["kind"]: found["n"] for found in await raw.fetch(_UNKNOWN)}
        self._until = monotonic() + 2
        self.oldest, self.dead = max(0.0, row["oldest"]), row["dead"]
        metrics.OUTBOX_PENDING.set(row["outbox_pending"])
        metrics.OUTBOX_OLDEST_SECONDS.set(self.oldest)
        metrics.DEAD_LETTERS_OPEN.set(self.dead)
        metrics.PARKED_MESSAGES.set(row["parked"])
        for kind in self._kinds:
            metrics.EFFECTS_UNKNOWN.labels(kind).set(unknown.get(kind, 0))

    async def outbox_is_young(self) -> Check:
        await self.refresh()
        if self.oldest > OLD_OUTBOX:
            return Check("degraded", f"the oldest unsent message is {self.oldest:.0f} s old: read the relay's last error")
        return OK

    async def nothing_is_dead(self) -> Check:
        await self.refresh()
        return Check("degraded", f"{self.dead} parked keys wait for a person: /ops/parked") if self.dead else OK
