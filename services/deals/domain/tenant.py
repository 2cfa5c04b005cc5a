"""Tenant: one customer company of Dealwright. `rehearsal` is fixed at registration. (F26)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import assert_never
from uuid import UUID

from services.deals.domain.origin import NIL, Cause
from shared.es.aggregate import Aggregate
from shared.es.errors import NotFound, Rejected


@dataclass(frozen=True, slots=True)
class RegisterTenant:
    tenant_id: UUID
    name: str
    language: str
    zone: str
    rehearsal: bool
    cause: Cause


@dataclass(frozen=True, slots=True)
class SuspendTenant:
    cause: Cause


@dataclass(frozen=True, slots=True)
class ResumeTenant:
    cause: Cause


@dataclass(frozen=True, slots=True)
class TenantRegistered:
    tenant_id: UUID
    name: str
    language: str
    zone: str
    rehearsal: bool
    cause: Cause


@dataclass(frozen=True, slots=True)
class TenantSuspended:
    cause: Cause


@dataclass(frozen=True, slots=True)
class TenantResumed:
    cause: Cause


TenantCommand = RegisterTenant | SuspendTenant | ResumeTenant
TenantEvent = TenantRegistered | TenantSuspended | TenantResumed


@dataclass(frozen=True, slots=True)
class Tenant:
    tenant_id: UUID = NIL
    name: str = ""
    language: str = "en"
    zone: str = "UTC"
    rehearsal: bool = False
    suspended: bool = False

    @property
    def exists(self) -> bool:
        return self.tenant_id != NIL


def decide(tenant: Tenant, command: TenantCommand) -> Sequence[TenantEvent]:
    if isinstance(command, RegisterTenant):
        return [] if tenant.exists else [_registered(command)]
    if not tenant.exists:
        raise NotFound("There is no such tenant.")
    match command:
        case SuspendTenant(cause=cause):
            if tenant.suspended:
                raise Rejected("already_suspended", "The tenant is suspended already.")
            return [TenantSuspended(cause)]
        case ResumeTenant(cause=cause):
            if not tenant.suspended:
                raise Rejected("not_suspended", "The tenant is not suspended.")
            return [TenantResumed(cause)]
        case _:
            assert_never(command)


def evolve(tenant: Tenant, event: TenantEvent) -> Tenant:
    match event:
        case TenantRegistered():
            return Tenant(event.tenant_id, event.name, event.language, event.zone, event.rehearsal)
        case TenantSuspended():
            return replace(tenant, suspended=True)
        case TenantResumed():
            return replace(tenant, suspended=False)
        case _:
            assert_never(event)


TENANT: Aggregate[Tenant, TenantCommand, TenantEvent] = Aggregate(
    "tenant", Tenant(), decide, evolve, (TenantRegistered, TenantSuspended, TenantResumed), read_by_others=True
)


def _registered(command: RegisterTenant) -> TenantRegistered:
    return TenantRegistered(command.tenant_id, command.name, command.language, command.zone, command.rehearsal, command.cause)
