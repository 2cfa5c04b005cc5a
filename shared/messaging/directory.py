"""Tenants and credentials as every service knows them: who may call, and whose effects may leave the house (C.14, 5.2).

Deals owns both and keeps them as views; every other service keeps them as replicas of the same tables."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import JSON, Boolean, Column, DateTime, Index, Text

from shared.es.view import state_table
from shared.messaging.contract import Contract
from shared.messaging.replica import Replica
from shared.runtime.database import Database

TENANTS = state_table(
    "tenants_v1",
    Column("name", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("rehearsal", Boolean, nullable=False),
    Column("suspended", Boolean, nullable=False),
)
CREDENTIALS = state_table(
    "credentials_v1",
    Column("hmac", Text, nullable=False),
    Column("scopes", JSON, nullable=False),
    Column("actor", Text, nullable=False),
    Column("expires_at", DateTime(timezone=True)),
    Column("revoked", Boolean, nullable=False),
    Index("credentials_v1_id", "id"),
)

REHEARSAL_CLOCKS = state_table("rehearsal_clocks_v1", Column("stands_at", DateTime(timezone=True), nullable=False))
"""By the tenant's id: where the clock of a rehearsal stands, once it was moved (docs/rehearsals.md)."""


@dataclass(frozen=True, slots=True)
class TenantRow:
    name: str
    language: str
    zone: str
    rehearsal: bool
    suspended: bool


@dataclass(frozen=True, slots=True)
class CredentialRow:
    """`hmac` is hex text; `scopes` a list; the secret itself is stored nowhere."""

    hmac: str
    scopes: list[str]
    actor: str
    expires_at: datetime | None
    revoked: bool


@dataclass(frozen=True, slots=True)
class RehearsalClock:
    stands_at: datetime


@dataclass(frozen=True, eq=False)
class Directory:
    """Where a service reads tenants and credentials. `replicas` is empty in deals, whose views write the same tables."""

    replicas: tuple[Replica[Any], ...] = ()


def own_directory() -> Directory:
    """For deals: its own views write TENANTS and CREDENTIALS."""
    return Directory()


def replicated_directory(
    registered: type[Contract], suspended: type[Contract], resumed: type[Contract], issued: type[Contract], revoked: type[Contract]
) -> Directory:
    """For everybody else: the two replicas, from the five contracts that deals publishes.

    Whether a tenant rehearses is fixed with the first that is heard of it."""
    tenants = Replica(
        TENANTS,
        TenantRow,
        {
            registered: lambda row, e: TenantRow(e.name, e.language, e.zone, row.rehearsal if row else e.rehearsal, False),
            suspended: lambda row, e: row and replace(row, suspended=True),
            resumed: lambda row, e: row and replace(row, suspended=False),
        },
    )
    credentials = Replica(
        CREDENTIALS,
        CredentialRow,
        {
            issued: lambda row, e: CredentialRow(e.hmac, list(e.scopes), e.actor, _instant(e.expires_at), False),
            revoked: lambda row, e: row and replace(row, revoked=True),
        },
    )
    return Directory((tenants, credentials))


def rehearsal_clocks(moved: type[Contract]) -> Replica[RehearsalClock]:
    """For everybody but scheduler, whose view writes the same table: from the event that it publishes."""
    return Replica(REHEARSAL_CLOCKS, RehearsalClock, {moved: lambda row, e: RehearsalClock(datetime.fromisoformat(e.stands_at))})


def _instant(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


@dataclass(frozen=True, slots=True)
class KnownCredential:
    """A credential with its tenant's standing, as it is now."""

    tenant: UUID
    id: str
    hmac: str
    scopes: frozenset[str]
    actor: str
    expires_at: datetime | None
    revoked: bool
    tenant_suspended: bool
    rehearsal: bool


FIND = """
select c.tenant, c.id, c.hmac, c.scopes, c.actor, c.expires_at, c.revoked,
       coalesce(t.suspended, false) as tenant_suspended, coalesce(t.rehearsal, false) as rehearsal
from credentials_v1 c left join tenants_v1 t on t.tenant = c.tenant
where c.id = $1
"""


async def find_credential(database: Database, credential_id: str) -> KnownCredential | None:
    """By id alone, across tenants: the key names the credential and the credential its tenant."""
    async with database.raw() as raw:
        rows = await raw.fetch(FIND, credential_id)
    if not rows:
        return None
    row = dict(rows[0])
    return KnownCredential(**{**row, "scopes": frozenset(row["scopes"])})
