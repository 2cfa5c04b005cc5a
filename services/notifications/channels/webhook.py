"""Webhooks out: signed, to a checked address, again and again with the same id. (R16, T9, H9: Standard Webhooks 1.0.0)

The host is resolved once, every address it has is checked, and the request goes to exactly the one that was checked, with
the host's own name for TLS. Redirects are failures."""

from __future__ import annotations

import asyncio
import hmac
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, assert_never
from weakref import WeakValueDictionary
from zlib import crc32

import httpx

from services.notifications.channels.outcome import done, refused
from services.notifications.domain.delivery import DELIVERY, DeliveryCommand, RecordDelivered, RecordDeliveryFailed
from services.notifications.domain.endpoint import ENDPOINT, DisableEndpoint
from services.notifications.domain.origin import Origin
from services.notifications.domain.url import Target, must_be_public_address, target_of
from services.notifications.settings import settings
from shared.es.addressed import Addressed, Facts
from shared.es.errors import Rejected
from shared.http.signed import shown_secret, signature
from shared.messaging.effects import Claimed, Performed
from shared.runtime import metrics
from shared.runtime.clock import now
from shared.runtime.failpoints import fp
from shared.runtime.settings import settings as kit_settings

RETRIES = tuple(timedelta(seconds=s) for s in (5, 5 * 60, 30 * 60, 2 * 3600, 5 * 3600, 10 * 3600, 14 * 3600, 20 * 3600, 24 * 3600))
"""After each attempt but the last: ten in all, about three days."""
SECONDS = 15.0
KEPT = 1000
"""Bytes of an answer that are looked at."""
THROTTLED = frozenset({429, 502, 503, 504})
AT_ONCE = 2

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


# ----------------------------------------------------------------------------------------------------------- signing


def secret_of(tenant: str, endpoint_id: str, number: int) -> str:
    """The endpoint's n-th secret, as its owner is shown it. Derived, so that it is stored nowhere."""
    pepper = kit_settings().pepper.get_secret_value().encode()
    return shown_secret(hmac.digest(pepper, f"webhook/{tenant}/{endpoint_id}/{number}".encode(), "sha256"))


def headers_of(request: Mapping[str, Any], tenant: str, timestamp: int) -> dict[str, str]:
    """During a rotation the previous secret signs too."""
    number = request["secret_number"]
    secrets = [secret_of(tenant, request["endpoint_id"], n) for n in ((number, number - 1) if number > 1 else (number,))]
    signatures = [signature(secret, request["delivery_id"], str(timestamp), request["body"].encode()) for secret in secrets]
    return {
        "Content-Type": "application/json",
        "User-Agent": "Dealwright-Webhooks",
        "webhook-id": request["delivery_id"],
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join(signatures),
    }


# ---------------------------------------------------------------------------------------------------------- delivery

_lanes: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()


async def send(claimed: Claimed) -> Performed:
    """One attempt; at most two at a time per endpoint, so that a slow one delays only itself."""
    lane = _lanes.setdefault(claimed.request["endpoint_id"], asyncio.Semaphore(AT_ONCE))
    async with lane:
        performed = await attempt(claimed, resolved)
    metrics.WEBHOOK_ATTEMPTS.labels(performed.state if performed.again_after is None else "again").inc()
    return performed


async def rehearse(claimed: Claimed) -> Performed:
    """Nothing leaves the house for a rehearsal tenant."""
    return done(response_status=200, sandbox=True)


async def attempt(claimed: Claimed, resolve: Resolve) -> Performed:
    request, allowed = claimed.request, settings().hooks.allowed
    try:
        target = target_of(request["url"], allowed)
        address = await _checked_address(target, allowed, resolve)
    except Rejected as unsafe:
        return again(claimed, "url_not_allowed", unsafe.detail)
    except OSError as error:
        return again(claimed, "unreachable", f"{target.host} cannot be resolved: {error}")
    try:
        return await _posted(claimed, target, address)
    except httpx.HTTPError as error:
        return again(claimed, "unreachable", f"{type(error).__name__}: {error}")


async def _checked_address(target: Target, allowed: frozenset[str], resolve: Resolve) -> str:
    addresses = await resolve(target.host, target.port)
    if f"{target.host}:{target.port}" not in allowed:
        for address in addresses:
            must_be_public_address(address)
    return addresses[0]


async def resolved(host: str, port: int) -> Sequence[str]:
    """All addresses of a host. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


async def _posted(claimed: Claimed, target: Target, address: str) -> Performed:
    request, literal = claimed.request, f"[{address}]" if ":" in address else address
    headers = headers_of(request, str(claimed.tenant), int(now().timestamp()))
    headers["Host"] = target.host if target.port in (80, 443) else f"{target.host}:{target.port}"
    extensions = {"sni_hostname": target.host}
    url = f"{target.scheme}://{literal}:{target.port}{target.path}"
    async with (
        httpx.AsyncClient(timeout=SECONDS, follow_redirects=False, trust_env=False) as client,
        client.stream("POST", url, content=request["body"].encode(), headers=headers, extensions=extensions) as answer,
    ):
        said = await _beginning(answer)
        fp("wh.after_2xx_before_store")
        return _judged(claimed, answer, said)


async def _beginning(answer: httpx.Response) -> str:
    """The first bytes of the answer, and no more."""
    kept = b""
    async for part in answer.aiter_bytes(KEPT):
        kept += part
        if len(kept) >= KEPT:
            break
    return kept[:KEPT].decode("utf-8", "replace")


def _judged(claimed: Claimed, answer: httpx.Response, said: str) -> Performed:
    status = answer.status_code
    if answer.is_success:
        return done(response_status=status, answer=said)
    if status == 410:
        return refused("gone_410", "The endpoint says that it is gone for good.")
    wait = _retry_after(answer) if status in THROTTLED else timedelta()
    return again(claimed, "refused_by_endpoint", f"{status}: {said}"[:300], at_least=wait)


def _retry_after(answer: httpx.Response) -> timedelta:
    seconds = answer.headers.get("retry-after", "")
    return timedelta(seconds=min(int(seconds), 24 * 3600)) if seconds.isascii() and seconds.isdigit() and len(seconds) < 9 else timedelta()


def again(claimed: Claimed, code: str, detail: str, *, at_least: timedelta = timedelta()) -> Performed:
    """On the schedule, spread by up to a tenth so that who comes back is not overrun; after the last attempt it has failed."""
    outcome = {"code": code, "detail": detail[:500]}
    if claimed.attempt > len(RETRIES):
        return Performed("failed", {**outcome, "exhausted": True})
    planned = RETRIES[claimed.attempt - 1]
    spread = crc32(f"{claimed.key}/{claimed.attempt}".encode()) % 1000 / 10_000
    return Performed("failed", outcome, again_after=max(planned * (1 + spread), at_least))


# ----------------------------------------------------------------------------------------------------------- telling


@dataclass(frozen=True, slots=True)
class Told:
    """The outcome as the delivery hears it."""

    claimed: Claimed
    performed: Performed

    def __call__(self, seen: Facts) -> DeliveryCommand:
        round, outcome, attempts = self.claimed.request["round"], self.performed.outcome, self.claimed.attempt
        match self.performed.state:
            case "done":
                return RecordDelivered(round, int(outcome.get("response_status", 200)), attempts, seen.now)
            case "failed" | "unknown":
                detail = str(outcome.get("detail") or outcome.get("error") or "")
                return RecordDeliveryFailed(round, str(outcome.get("code", "unknown")), detail, attempts, seen.now)
            case _:
                assert_never(self.performed.state)


def tell(claimed: Claimed, performed: Performed) -> tuple[Addressed[Any], ...]:
    """The delivery; and the endpoint, when it is gone or has failed for three days."""
    told = Addressed(DELIVERY, claimed.request["delivery_id"], Told(claimed, performed))
    gone, failing = performed.outcome.get("code") == "gone_410", performed.outcome.get("exhausted") is True
    if performed.state != "failed" or not (gone or failing):
        return (told,)
    disable = DisableEndpoint("gone_410" if gone else "failing", Origin("system"))
    endpoint = claimed.request["endpoint_id"]

    def disabled(seen: Facts) -> DisableEndpoint | None:
        return disable if seen.state(ENDPOINT, endpoint).status == "active" else None

    return (told, Addressed(ENDPOINT, endpoint, disabled))
