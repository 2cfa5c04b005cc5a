"""Credential: an API key. Only a keyed hash of the secret is kept; the secret is shown once. (T4, H7)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never
from uuid import UUID

from services.deals.domain.fields import invalid
from services.deals.domain.origin import NIL, Cause
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, NotFound, Rejected

MOST_ACTIVE = 2
"""Per actor: the old key and the new one while keys are being exchanged."""


@dataclass(frozen=True, slots=True)
class IssueCredential:
    """`held`: the scopes of who asks; None asks nobody (the first start). `active`: unrevoked keys of this actor, found
    under the set `credentials/<actor>`. `actor`: key:<client id> or user:<employee id>."""

    credential_id: UUID
    tenant_id: UUID
    hmac: str
    scopes: tuple[str, ...]
    actor: str
    known_scopes: frozenset[str]
    cause: Cause
    expires_at: datetime | None = None
    held: frozenset[str] | None = None
    active: int = 0
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class RevokeCredential:
    cause: Cause


@dataclass(frozen=True, slots=True)
class CredentialIssued:
    credential_id: UUID
    tenant_id: UUID
    hmac: str
    scopes: tuple[str, ...]
    actor: str
    cause: Cause
    expires_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class CredentialRevoked:
    cause: Cause


CredentialCommand = IssueCredential | RevokeCredential
CredentialEvent = CredentialIssued | CredentialRevoked


@dataclass(frozen=True, slots=True)
class Credential:
    credential_id: UUID = NIL
    tenant_id: UUID = NIL
    hmac: str = ""
    scopes: tuple[str, ...] = ()
    actor: str = ""
    expires_at: datetime | None = None
    revoked: bool = False

    @property
    def exists(self) -> bool:
        return self.credential_id != NIL


def decide(credential: Credential, command: CredentialCommand) -> Sequence[CredentialEvent]:
    match command:
        case IssueCredential():
            return [] if credential.exists else [_issued(command)]
        case RevokeCredential(cause=cause):
            if not credential.exists:
                raise NotFound("There is no such credential in this tenant.")
            return [] if credential.revoked else [CredentialRevoked(cause)]
        case _:
            assert_never(command)


def evolve(credential: Credential, event: CredentialEvent) -> Credential:
    match event:
        case CredentialIssued():
            return Credential(event.credential_id, event.tenant_id, event.hmac, event.scopes, event.actor, event.expires_at)
        case CredentialRevoked():
            return replace(credential, revoked=True)
        case _:
            assert_never(event)


CREDENTIAL: Aggregate[Credential, CredentialCommand, CredentialEvent] = Aggregate(
    "credential", Credential(), decide, evolve, (CredentialIssued, CredentialRevoked)
)


def _issued(command: IssueCredential) -> CredentialIssued:
    unknown = [n for n, scope in enumerate(command.scopes) if scope not in command.known_scopes]
    if unknown:
        raise Rejected(
            "unknown_scope",
            "There is no such scope.",
            status=422,
            errors=[Fault(f"/scopes/{n}", "unknown_scope", "There is no such scope.") for n in unknown],
        )
    if command.held is not None and not command.held.issuperset(command.scopes):
        raise Rejected("scope_not_held", "Nobody hands on more than he has.")
    if command.suspended:
        raise Rejected("tenant_suspended", "The tenant is suspended.")
    if command.active >= MOST_ACTIVE:
        raise Rejected("two_active", "The actor has two active keys; revoke one first.")
    if not _is_an_actor(command.actor):
        raise invalid([Fault("/actor", "wrong_type", "key:<client id> or user:<employee id>.")])
    return CredentialIssued(
        command.credential_id, command.tenant_id, command.hmac, command.scopes, command.actor, command.cause, command.expires_at
    )


def _is_an_actor(text: str) -> bool:
    """A client has any name. An employee is named by id, as events name who asked: another text could not be said."""
    return len(text) <= 80 and (text.startswith("key:") or (text.startswith("user:") and _is_an_id(text.removeprefix("user:"))))


def _is_an_id(text: str) -> bool:
    try:
        return str(UUID(text)) == text
    except ValueError:
        return False
