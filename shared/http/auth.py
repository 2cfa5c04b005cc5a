"""Who asks: API keys checked against this service's own rows, and the scope that every route declares (ecosystem H7, reliability 5.2).

A key is `dw_<environment>_<credential id>_<secret>`. Stored is the HMAC-SHA-256 of the secret under the deployment's pepper."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID

from fastapi import Depends, Request

from shared.http.commands import Door, Rooms
from shared.http.exchange import ANONYMOUS, Caller, Exchange, exchange_of
from shared.http.problems import Problem
from shared.http.signed import SIGNATURE
from shared.messaging.directory import KnownCredential
from shared.runtime.clock import monotonic, new_token, now

SCOPES = frozenset(
    {
        "deals:read",
        "deals:write",
        "directory:write",
        "rules:read",
        "rules:write",
        "rules:activate",
        "runs:read",
        "runs:write",
        "billing:read",
        "billing:write",
        "payments:refund",
        "timers:read",
        "timers:write",
        "activities:read",
        "activities:write",
        "calendars:write",
        "rehearsals:write",
        "notices:read",
        "hooks:read",
        "hooks:write",
        "ops:read",
        "ops:retry",
        "ops:backfill",
        "ops:erase",
        "admin:tenants",
        "admin:keys",
        "audit:read",
    }
)
"""All there are (reliability 5.2). A route that names another breaks the start."""

REMEMBERED = 1.0
"""Seconds that a credential's row may be remembered."""


def new_secret() -> str:
    """43 random characters: the part of a key that is shown once and stored nowhere."""
    return new_token(256)


def hmac_of(secret: str, pepper: str) -> str:
    """What is stored of a secret: hex text."""
    return hmac.digest(pepper.encode(), secret.encode(), "sha256").hex()


def format_key(environment: str, credential_id: str, secret: str) -> str:
    return f"dw_{environment}_{credential_id}_{secret}"


def parse_key(key: str) -> tuple[str, str, str] | None:
    """Environment, credential id and secret; None if it is no key of ours."""
    parts = key.split("_", 3)
    if len(parts) != 4 or parts[0] != "dw" or not all(parts):
        return None
    return parts[1], parts[2], parts[3]


Find = Callable[[str], Awaitable[KnownCredential | None]]


class Refusal(Problem):
    """A credential was refused. `reason` goes to the security log; the caller learns less."""

    def __init__(self, slug: str, reason: str, detail: str = "", *, known: KnownCredential | None = None) -> None:
        headers = (("WWW-Authenticate", "Bearer"),) if slug == "unauthenticated" else ()
        super().__init__(slug, detail, headers=headers)
        self.reason = reason
        self.known = known


class Keys:
    """Checks keys locally. A row is remembered for one second, so a revocation is in force a second after its event."""

    def __init__(self, find: Find, pepper: str, environment: str) -> None:
        self._find, self._pepper, self._environment = find, pepper, environment
        self._remembered: dict[str, tuple[float, KnownCredential]] = {}
        self._looking: dict[str, asyncio.Task[KnownCredential | None]] = {}
        self._good: dict[str, tuple[float, Caller]] = {}

    def new_key(self, credential_id: str) -> tuple[str, str]:
        secret = new_secret()
        return format_key(self._environment, credential_id, secret), hmac_of(secret, self._pepper)

    def derived(self, name: str) -> bytes:
        """A secret that follows from its name and the pepper, so that it is stored nowhere."""
        return hmac.digest(self._pepper.encode(), name.encode(), "sha256")

    async def caller(self, authorization: str | None) -> Caller:
        """Raises Refusal: unauthenticated for everything about the key, tenant-suspended when the key is good."""
        until, caller = self._good.get(authorization or "", (0.0, ANONYMOUS))
        if monotonic() < until:
            return caller
        self._good.pop(authorization or "", None)
        caller = await self._checked(authorization)
        if len(self._good) >= 10_000:
            self._good.clear()
        self._good[authorization or ""] = self._remembered.get(caller.credential_id, (0.0, None))[0], caller
        return caller

    async def _checked(self, authorization: str | None) -> Caller:
        known, secret = await self._presented(authorization)
        if not hmac.compare_digest(hmac_of(secret, self._pepper), known.hmac):
            raise Refusal("unauthenticated", "wrong secret", known=known)
        if known.revoked:
            raise Refusal("unauthenticated", "revoked", "This key was revoked.", known=known)
        if known.expires_at is not None and known.expires_at <= now():
            raise Refusal("unauthenticated", "expired", "This key has expired.", known=known)
        if known.tenant_suspended and "admin:tenants" not in known.scopes:
            raise Refusal("tenant-suspended", "tenant suspended", known=known)
        return Caller(known.tenant, known.id, known.actor, known.scopes)

    async def _presented(self, authorization: str | None) -> tuple[KnownCredential, str]:
        if not authorization:
            raise Refusal("unauthenticated", "no credential")
        scheme, _, key = authorization.partition(" ")
        parsed = parse_key(key.strip()) if scheme.lower() == "bearer" else None
        if parsed is None:
            raise Refusal("unauthenticated", "not a key")
        environment, credential_id, secret = parsed
        if environment != self._environment:
            raise Refusal("unauthenticated", "key of another environment")
        known = await self._known(credential_id)
        if known is None:
            raise Refusal("unauthenticated", "unknown credential")
        return known, secret

    async def _known(self, id: str) -> KnownCredential | None:
        until, known = self._remembered.get(id, (0.0, None))
        if known is not None and monotonic() < until:
            return known
        looking = self._looking.get(id)
        if looking is None:
            looking = self._looking[id] = asyncio.create_task(self._look_up(id))
            looking.add_done_callback(lambda _: self._looking.pop(id, None))
        return await asyncio.shield(looking)

    async def _look_up(self, id: str) -> KnownCredential | None:
        if len(id) > 100 or "\0" in id:
            return None
        known = await self._find(id)
        if known is None:
            self._remembered.pop(id, None)
            return None
        if len(self._remembered) >= 10_000:
            self._remembered.clear()
        self._remembered[id] = (monotonic() + REMEMBERED, known)
        return known


class Guard:
    """The first thing that runs for a route: who asks, may he, how often, and does the request itself make sense."""

    def __init__(
        self, scopes: tuple[str, ...], *, is_open: bool = False, reason: str = "", also: tuple[str, ...] = (), signed: bool = False
    ) -> None:
        if unknown := set(scopes) - SCOPES:
            raise ValueError(f"unknown scope {sorted(unknown)}: all scopes stand in shared/http/auth.py")
        self.scopes, self.is_open, self.reason, self.also, self.signed = scopes, is_open, reason, also, signed
        self._parameters: dict[tuple[str, frozenset[str]], frozenset[str]] = {}

    async def __call__(self, request: Request) -> Door:
        exchange, rooms = exchange_of(request), _rooms(request)
        route = request.scope["route"]
        exchange.route = route.path
        has_come_signed = self.signed and SIGNATURE in request.headers
        if has_come_signed:
            rooms.buckets.may_try(request.client.host if request.client else "")
        caller = ANONYMOUS if self.is_open or has_come_signed else await self._caller(request, exchange, rooms)
        if request.scope["query_string"]:
            self._check_parameters(request, self._declared(route))
        if exchange.fault is not None:
            raise exchange.fault
        return Door(rooms, request, caller)

    async def _caller(self, request: Request, exchange: Exchange, rooms: Rooms) -> Caller:
        address = request.client.host if request.client else ""
        rooms.buckets.may_try(address)
        try:
            caller = exchange.caller = await rooms.keys.caller(exchange.headers.get(b"authorization"))
            for scope in self.scopes:
                if scope not in caller.scopes:
                    raise Refusal("forbidden", f"scope {scope} missing", f"This needs the scope {scope}.")
        except Refusal as refused:
            rooms.refusals.note(request, exchange, refused.reason, _credential(refused, exchange))
            rooms.buckets.failed(address)
            raise
        rooms.buckets.take(caller.credential_id)
        return caller

    def _declared(self, route: Any) -> frozenset[str]:
        """Of this route: several may share one guard."""
        name = (route.path, frozenset(route.methods or ()))
        if name not in self._parameters:
            self._parameters[name] = declared_parameters(route)
        return self._parameters[name]

    def _check_parameters(self, request: Request, declared: frozenset[str]) -> None:
        for name in request.query_params:
            if name not in declared and not any(name.startswith(prefix) for prefix in self.also):
                raise Problem("unknown-parameter", f"This operation has no query parameter {name[:80]!r}.")


def _rooms(request: Request) -> Rooms:
    rooms: Rooms = request.app.state.rooms
    return rooms


def _credential(refused: Refusal, exchange: Exchange) -> tuple[UUID, str] | None:
    if refused.known is not None:
        return refused.known.tenant, refused.known.id
    return (exchange.caller.tenant, exchange.caller.credential_id) if exchange.caller else None


def declared_parameters(route: Any) -> frozenset[str]:
    """Names of all query parameters of a route and of what it depends on."""
    found: set[str] = set()
    todo = [route.dependant]
    while todo:
        dependant = todo.pop()
        found |= {field.alias for field in dependant.query_params}
        todo.extend(dependant.dependencies)
    return frozenset(found)


def needs(*scopes: str, also: tuple[str, ...] = ()) -> Any:
    """`door: Annotated[Door, needs("deals:write")]`: a credential with these scopes.

    `also` are prefixes of query parameters whose names only the data knows ('uf.' for custom fields)."""
    if not scopes:
        raise ValueError("a route without a scope is public(...) and says why")
    return Depends(Guard(scopes, also=also))


def public(reason: str, *, also: tuple[str, ...] = ()) -> Any:
    """A door without a credential: it has a token or a signature of its own, and says here why it is open.

    `also` as in `needs`; ("",) lets every query parameter pass, for pages that others link to."""
    if not reason:
        raise ValueError("say why this door is open")
    return Depends(Guard((), is_open=True, reason=reason, also=also))


def needs_or_signed(scope: str, reason: str) -> Any:
    """A credential with this scope, or a signature that the route checks itself: then nobody is signed in (`client_id` is None)."""
    return Depends(Guard((scope,), reason=reason, signed=True))


def signed_in(reason: str) -> Any:
    """A door for whoever has a valid key; the route itself decides what he may, and says here how."""
    if not reason:
        raise ValueError("say who may come in here")
    return Depends(Guard((), reason=reason))
