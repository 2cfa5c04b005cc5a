"""Bytes that no file refers to any more go: of removed files, of uploads that were refused, of processes that were killed. (F28)

Bytes younger than an hour stay in any case: their upload may be about to commit. Nothing goes while the rows of files are not
complete, as during a rebuild of that view from nothing, and nothing of tenants that this database does not know."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

import structlog

from services.deals.settings import storage_settings
from services.deals.storage import Storage
from shared.runtime.clock import monotonic, now
from shared.runtime.service import Kit

log = structlog.get_logger(__name__)

KEPT = timedelta(hours=1)
PAUSE = timedelta(minutes=10)
COMPLETE = (
    "select (select count(*) from events where aggregate = 'file' and version = 1) = (select count(*) from files_v1) as complete,"
    " array(select tenant from tenants_v1) as tenants"
)
REFERRED = "select distinct content_ref from files_v1 where tenant = $1 and content_ref = any($2::text[]) and not removed"


class Unreferenced:
    """A loop: looks every ten minutes, however often it is woken."""

    name = "unreferenced-files"

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._again = 0.0

    async def step(self) -> timedelta:
        if (wait := self._again - monotonic()) > 0:
            return timedelta(seconds=wait)
        self._again = monotonic() + PAUSE.total_seconds()
        await self.tidy((now() - KEPT).timestamp())
        return PAUSE

    async def tidy(self, before: float) -> int:
        """How many contents went, of those stored before that time (seconds since 1970)."""
        storage = Storage(storage_settings().folder)
        await asyncio.to_thread(storage.forget_arrivals, before)
        async with self._kit.database.raw() as raw:
            [known] = await raw.fetch(COMPLETE)
        if not known["complete"]:
            return 0
        tenants = set(await asyncio.to_thread(storage.tenants)) & set(known["tenants"])
        gone = sum([await self._tidy_tenant(storage, tenant, before) for tenant in sorted(tenants)])
        if gone:
            log.info("unreferenced_bytes_gone", contents=gone)
        return gone

    async def _tidy_tenant(self, storage: Storage, tenant: UUID, before: float) -> int:
        gone, folders = 0, storage.old(tenant, before)
        while refs := await asyncio.to_thread(next, folders, None):
            async with self._kit.database.raw() as raw:
                referred = {row["content_ref"] for row in await raw.fetch(REFERRED, tenant, refs)}
            for ref in refs:
                gone += ref not in referred and await asyncio.to_thread(storage.forget, ref, before)
        return gone
