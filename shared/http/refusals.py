"""Who was not let in: a line in the security log each time, and a row in the audit when the key is one of ours (T19).

The audit is bounded: one row per credential and reason a minute, so that a flood of bad keys does not fill it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from starlette.requests import Request

from shared.es.errors import Conflict, Unavailable
from shared.http.exchange import Exchange
from shared.messaging.parking import audit
from shared.runtime.clock import monotonic

if TYPE_CHECKING:
    from shared.runtime.database import Database

security = structlog.get_logger("security")

EVERY = 60.0


class Refusals:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._last: dict[tuple[str, str], float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def note(self, request: Request, exchange: Exchange, reason: str, credential: tuple[UUID, str] | None) -> None:
        """`credential`: tenant and id, if the key named one that exists."""
        client = request.client.host if request.client else None
        detail = {"reason": reason, "client": client, "method": request.method, "route": exchange.route}
        id = credential[1] if credential else None
        security.warning("refused", credential_id=id, correlation_id=exchange.correlation_id, **detail)
        if credential is not None and self._is_due(credential[1], reason):
            task = asyncio.create_task(self._audit(*credential, detail), name="audit-refusal")
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def settle(self) -> None:
        """Until everything noted so far is stored."""
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _is_due(self, id: str, reason: str) -> bool:
        at = monotonic()
        if at < self._last.get((id, reason), -EVERY) + EVERY:
            return False
        if len(self._last) >= 10_000:
            self._last.clear()
        self._last[id, reason] = at
        return True

    async def _audit(self, tenant: UUID, id: str, detail: dict[str, Any]) -> None:
        try:
            async with self._database.transaction() as tx:
                await audit(tx, f"credential:{id}", "key.refused", str(detail["route"]), detail, tenant)
        except (Unavailable, Conflict) as error:
            security.warning("refusal_not_stored", error=str(error))
