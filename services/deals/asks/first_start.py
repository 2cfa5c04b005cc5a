"""The first start: a deployment without any tenant gets one, and its operator a key to everything.

All in one transaction, under a lock of the whole database: of several processes that start at once, one does it. The key is
written before the commit and is read again after a crash in between, so that no second tenant is ever registered for it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from pathlib import Path
from uuid import UUID, uuid5

import structlog

from services.deals.asks.asker import Asker
from services.deals.asks.directory import NewCredential, NewTenant, issue_credential, register_tenant
from services.deals.domain.origin import Origin
from services.deals.settings import DealsSettings
from services.deals.settings import settings as own_settings
from shared.es.recorded import Context
from shared.http.auth import SCOPES, format_key, hmac_of, new_secret, parse_key
from shared.messaging.batch import Batch, Item, Result, handle_batch
from shared.runtime.clock import new_id
from shared.runtime.database import Tx
from shared.runtime.service import Kit
from shared.runtime.settings import Settings
from shared.runtime.settings import settings as kit_settings

log = structlog.get_logger(__name__)

LOCK = "select pg_advisory_xact_lock(hashtextextended('first-start', 0))"
ANY_TENANT = "select exists (select 1 from tenants_v1)"
AGAIN = timedelta(minutes=10)
OPERATOR = "key:operator"


class FirstStart:
    """A loop that has something to do once."""

    name = "first-start"

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def step(self) -> timedelta:
        settings = own_settings()
        if settings.first_tenant and not await self._has_a_tenant():
            result = await handle_batch(self._kit, FirstTenant(settings, kit_settings()))
            if result.events:
                log.info("first_tenant_registered", key_file=str(settings.operator_key))
        return AGAIN

    async def _has_a_tenant(self) -> bool:
        async with self._kit.database.raw() as raw:
            return bool(await raw.fetchval(ANY_TENANT))


@dataclass(frozen=True, eq=False)
class FirstTenant:
    """The door: one item, if there is no tenant yet."""

    own: DealsSettings
    kit: Settings

    @property
    def consumer(self) -> str:
        return "first-start"

    @cached_property
    def _items(self) -> list[Item]:
        return []

    async def claim(self, kit: Kit, tx: Tx) -> Sequence[Item]:
        await tx.raw.execute(LOCK)
        self._items[:] = [] if await tx.raw.fetchval(ANY_TENANT) else [self._item()]
        return list(self._items)

    async def settle(self, kit: Kit, tx: Tx, results: Sequence[Result]) -> Sequence[Result]:
        return results

    def halves(self) -> Sequence[Batch]:
        return ()

    def waiting(self, results: Sequence[Result]) -> Batch | None:
        return None

    def _item(self) -> Item:
        key = operator_key(self.own.operator_key, self.kit.environment)
        tenant = uuid5(key.credential_id, "tenant")
        asker = Asker(tenant, "system", Origin("system"))
        own = self.own
        register = register_tenant(asker, NewTenant(tenant, own.tenant_name, own.tenant_language, own.tenant_zone))
        hmac = hmac_of(key.secret, self.kit.pepper.get_secret_value())
        issue = issue_credential(asker, NewCredential(key.credential_id, hmac, sorted(SCOPES), OPERATOR, SCOPES))
        id = str(key.credential_id)
        return Item(id, "first-start", f"{tenant}/{tenant}", Context(tenant, id, id), (*register, issue))


@dataclass(frozen=True, slots=True)
class OperatorKey:
    credential_id: UUID
    secret: str


def operator_key(path: Path, environment: str) -> OperatorKey:
    """The key in the file, or a new one that is in the file by now. Raises OSError when it cannot be written."""
    known = _read(path, environment)
    if known is not None:
        return known
    new = OperatorKey(new_id(), new_secret())
    _write(path, format_key(environment, str(new.credential_id), new.secret) + "\n")
    return new


def _read(path: Path, environment: str) -> OperatorKey | None:
    try:
        parsed = parse_key(path.read_text().strip())
        if parsed is None or parsed[0] != environment:
            return None
        return OperatorKey(UUID(parsed[1]), parsed[2])
    except (FileNotFoundError, ValueError):
        return None


def _write(path: Path, text: str) -> None:
    """Readable by its owner alone from the first moment; whole or not at all."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = path.with_suffix(".new")
    unfinished.unlink(missing_ok=True)
    file = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "w") as out:
        out.write(text)
        out.flush()
        os.fsync(out.fileno())
    unfinished.rename(path)
