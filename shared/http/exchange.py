"""One request and its answer, as the edge sees it: its ids, its trace, its body as it came, and how an answer is put on the wire."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response

from shared.http.problems import About, Problem
from shared.messaging.requests import Answer, to_bytes

SCOPE_KEY = "dealwright.exchange"
NOBODY = UUID(int=0)


class Caller(NamedTuple):
    """Who asks: from the credential alone, never from anything the request says."""

    tenant: UUID
    credential_id: str
    actor: str
    scopes: frozenset[str]


ANONYMOUS = Caller(NOBODY, "public", "system", frozenset())


@dataclass(slots=True)
class Exchange:
    """Made by the edge for every request. `body` is as it came; `fault` is what is wrong with it, told once the caller is known."""

    request_id: str
    correlation_id: str
    traceparent: str
    path: str
    started: float
    body: bytes | None = None
    fault: Problem | None = None
    caller: Caller | None = None
    route: str = ""

    @property
    def trace_id(self) -> str:
        return self.traceparent[3:35]

    @property
    def about(self) -> About:
        return About(self.path, self.correlation_id, self.trace_id)


def exchange_of(request: Request) -> Exchange:
    exchange: Exchange = request.scope[SCOPE_KEY]
    return exchange


_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?")


def continued(traceparent: str | None) -> str:
    """Our own span in the caller's trace, or in a new one when the header is absent or unreadable (W3C Trace Context)."""
    found = _TRACEPARENT.fullmatch(traceparent) if traceparent else None
    trace, flags = (found[1], found[2]) if found else (secrets.token_hex(16), "01")
    return f"00-{trace}-{secrets.token_hex(8)}-{flags}"


class JsonAnswer(Response):
    """A JSON body in our own form (instants, decimals); no body at all for None."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return b"" if content is None else to_bytes(content)


def rendered(answer: Answer, *, replayed: bool = False) -> Response:
    """The answer on the wire: ETag, Location and its own headers."""
    response = JsonAnswer(answer.body, answer.status)
    if answer.body is None:
        del response.headers["content-type"]
    if answer.location is not None:
        response.headers["Location"] = answer.location
    if answer.etag is not None:
        response.headers["ETag"] = f'"{answer.etag}"'
    for name, value in answer.headers:
        response.headers[name] = value
    if replayed:
        response.headers["Idempotency-Replayed"] = "true"
    return response
