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
PUBLIC = "public"
"""In place of a credential where none is asked for."""


class Caller(NamedTuple):
    """Who asks: from the credential alone, never from anything the request says."""

    tenant: UUID
    credential_id: str
    actor: str
    scopes: frozenset[str]

    @property
    def employee_id(self) -> str | None:
        """The employee in whose name it acts; None: a program."""
        kind, _, id = self.actor.partition(":")
        return id if kind == "user" else None

    @property
    def client_id(self) -> str | None:
        """The credential; None: nobody signed in."""
        return None if self.credential_id == PUBLIC else self.credential_id


ANONYMOUS = Caller(NOBODY, PUBLIC, "system", frozenset())


@dataclass(slots=True)
class Exchange:
    """Made by the edge for every request. `body` is as it came; `fault` is what is wrong with it, told once the caller is known."""

    request_id: str
    correlation_id: str
    traceparent: str
    path: str
    started: float
    headers: dict[bytes, str]
    """The headers that the edge and the doors read, lower-case names."""
    body: bytes | None = None
    fault: Problem | None = None
    caller: Caller | None = None
    route: str = ""
    asked: bool = False
    """Whether something was asked already; its answer is kept then, whatever is said."""

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


class Ready(Response):
    """An answer whose bytes and headers are made already."""

    def __init__(self, status: int, body: bytes, headers: list[tuple[bytes, bytes]]) -> None:
        self.status_code, self.body, self.raw_headers = status, body, headers
        self.background = None


class JsonAnswer(Response):
    """A JSON body in our own form (instants, decimals); no body at all for None."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return b"" if content is None else to_bytes(content)


def rendered(answer: Answer, *, replayed: bool = False) -> Response:
    """The answer on the wire: ETag, Location and its own headers."""
    body = b"" if answer.body is None else to_bytes(answer.body)
    headers = [(b"content-length", b"%d" % len(body))]
    if answer.body is not None and not any(name == "Content-Type" for name, _ in answer.headers):
        headers.append((b"content-type", b"application/json"))
    if answer.location is not None:
        headers.append((b"location", answer.location.encode("latin-1")))
    if answer.etag is not None:
        headers.append((b"etag", b'"%d"' % answer.etag))
    headers.extend((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers)
    if replayed:
        headers.append((b"idempotency-replayed", b"true"))
    return Ready(answer.status, body, headers)
