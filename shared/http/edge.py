"""The outermost layer of every application: ids and trace, the body's limits, security headers, one line and one figure per request.

Plain ASGI, because every request pays for it. Whatever nobody else answered is answered here as a problem (500, once logged)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.es.errors import Fault
from shared.http.bodies import MAX_BODY, MAX_UPLOAD, fault_in
from shared.http.exchange import SCOPE_KEY, Exchange, continued, rendered
from shared.http.problems import Problem, problem_of
from shared.runtime import logs, metrics
from shared.runtime.clock import monotonic, new_id

log = structlog.get_logger("http")

Headers = Sequence[tuple[bytes, bytes]]

SECURITY: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cache-control", b"no-store"),
)
"""On every answer, unless the route set its own."""

QUIET = frozenset({"/livez", "/readyz", "/metrics"})
_NAME = re.compile(r"[\x21-\x7e]{1,128}")
_WITHOUT_BODY = frozenset({"GET", "HEAD", "OPTIONS"})
_JSON = re.compile(r"\s*application/(?:[a-z0-9.+-]+\+)?json\b", re.IGNORECASE)
BODY_SECONDS = 15.0


class Edge:
    """`uploads` are the paths that take files; `most` requests run at once, the next is answered 503."""

    def __init__(self, app: ASGIApp, *, uploads: Sequence[re.Pattern[str]], most: int = 1000, access: bool = True) -> None:
        self._app, self._uploads, self._most, self._access = app, uploads, most, access
        self._active = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        exchange = _opened(scope)
        answering = _Answering(exchange, send)
        scope[SCOPE_KEY] = exchange
        logs.ABOUT.set({"correlation_id": exchange.correlation_id, "request_id": exchange.request_id, "trace_id": exchange.trace_id})
        self._active += 1
        try:
            await self._answer(scope, receive, answering, exchange)
        finally:
            self._active -= 1
            self._note(scope, exchange, answering.status)

    async def _answer(self, scope: Scope, receive: Receive, answering: _Answering, exchange: Exchange) -> None:
        try:
            if self._active > self._most and scope["path"] not in QUIET:
                raise Problem("unavailable", "Too many requests at once.", headers=(("Retry-After", "1"),))
            await self._app(scope, await self._checked(scope, receive, exchange), answering.send)
        except Exception as error:
            if answering.status:
                log.exception("answer_broken_off")
                raise
            if not isinstance(error, Problem):
                log.exception("request_failed", route=exchange.route)
            await rendered(problem_of(error, exchange.about))(scope, receive, answering.send)

    async def _checked(self, scope: Scope, receive: Receive, exchange: Exchange) -> Receive:
        """The body, read and looked at; what is wrong with JSON is told after the caller is known."""
        if b"%00" in scope["query_string"] or "\0" in scope["path"]:
            raise Problem("validation-failed", "NUL is not allowed.", errors=[Fault("query", "control_character", "NUL is not allowed.")])
        if scope["method"] in _WITHOUT_BODY:
            return receive
        kind, declared = exchange.headers.get(b"content-type", ""), exchange.headers.get(b"content-length", "")
        length = int(declared) if declared.isdecimal() and len(declared) < 20 else 0
        if kind[:10].lower() == "multipart/":
            return self._upload(scope, receive, length)
        if length > MAX_BODY:
            raise _too_large(MAX_BODY)
        exchange.body = body = await _read(receive)
        if _JSON.match(kind):
            exchange.fault = fault_in(body)
        return _replayed(b"null" if exchange.fault else body, receive)

    def _upload(self, scope: Scope, receive: Receive, length: int) -> Receive:
        if not any(path.fullmatch(scope["path"]) for path in self._uploads):
            raise Problem("unsupported-media-type")
        if length > MAX_UPLOAD:
            raise _too_large(MAX_UPLOAD)
        return _counted(receive)

    def _note(self, scope: Scope, exchange: Exchange, status: int) -> None:
        seconds = monotonic() - exchange.started
        method, route = scope["method"], exchange.route or "unrouted"
        metrics.HTTP_ACTIVE.set(self._active)
        metrics.http_answered(method, route, status, seconds)
        if self._access and scope["path"] not in QUIET:
            caller = exchange.caller
            logs.access(
                method=method,
                route=route,
                status=status or 499,
                duration_ms=round(seconds * 1000, 2),
                request_id=exchange.request_id,
                correlation_id=exchange.correlation_id,
                trace_id=exchange.trace_id,
                credential_id=caller.credential_id if caller else None,
                tenant_id=str(caller.tenant) if caller else None,
            )


class _Answering:
    """Adds the headers that every answer carries, and remembers the status."""

    def __init__(self, exchange: Exchange, send: Send) -> None:
        self._exchange, self._send = exchange, send
        self.status = 0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = _with_ours(message.get("headers", ()), self._exchange)
        await self._send(message)


def _with_ours(headers: Iterable[tuple[bytes, bytes]], exchange: Exchange) -> list[tuple[bytes, bytes]]:
    found = list(headers)
    names = {name for name, _ in found}
    found.extend(header for header in SECURITY if header[0] not in names)
    found.append((b"x-request-id", exchange.request_id.encode()))
    found.append((b"x-correlation-id", exchange.correlation_id.encode()))
    found.append((b"traceparent", exchange.traceparent.encode()))
    return found


_READ = frozenset(
    (
        *(b"content-type", b"content-length", b"traceparent", b"x-correlation-id"),
        *(b"authorization", b"idempotency-key", b"if-match", b"if-none-match"),
    )
)


def _opened(scope: Scope) -> Exchange:
    headers = {name: value.decode("latin-1") for name, value in scope["headers"] if name in _READ}
    request_id = str(new_id())
    correlation = headers.get(b"x-correlation-id")
    if correlation is None or not _NAME.fullmatch(correlation):
        correlation = request_id
    return Exchange(request_id, correlation, continued(headers.get(b"traceparent")), scope["path"], monotonic(), headers)


async def _read(receive: Receive) -> bytes:
    first = await receive()
    if first["type"] == "http.disconnect":
        raise Problem("request-timeout", "The client went away.")
    if not first.get("more_body"):
        whole: bytes = first.get("body", b"")
        _must_be_small(len(whole))
        return whole
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _read_on(receive, bytearray(first.get("body", b"")))
    except TimeoutError:
        raise Problem("request-timeout", f"The body did not arrive within {BODY_SECONDS:.0f} s.") from None


async def _read_on(receive: Receive, body: bytearray) -> bytes:
    while True:
        _must_be_small(len(body))
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Problem("request-timeout", "The client went away.")
        body += message.get("body", b"")
        if not message.get("more_body"):
            _must_be_small(len(body))
            return bytes(body)


def _must_be_small(size: int) -> None:
    if size > MAX_BODY:
        raise _too_large(MAX_BODY)


def _too_large(limit: int) -> Problem:
    return Problem("too-large", f"At most {limit} bytes are accepted here.", headers=(("Connection", "close"),))


def _replayed(body: bytes, receive: Receive) -> Receive:
    """The body once more, for whoever reads it below; after it, whatever the server says."""
    told = False

    async def again() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again


def _counted(receive: Receive) -> Receive:
    read = 0

    async def counting() -> Message:
        nonlocal read
        message = await receive()
        read += len(message.get("body", b""))
        if read > MAX_UPLOAD:
            raise _too_large(MAX_UPLOAD)
        return message

    return counting
