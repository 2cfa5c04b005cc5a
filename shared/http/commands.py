"""The HTTP door: a request becomes addressed commands, those of a moment are committed together, and each gets its answer (C.5).

`Door` is what a route holds: who asks, what may be asked, and how to read. `Commands` is the group commit behind it."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from hashlib import sha256
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog
from sqlalchemy import ColumnElement, Select
from sqlalchemy.engine import RowMapping
from sqlalchemy.ext.asyncio import AsyncConnection
from starlette.requests import Request
from starlette.responses import Response

from shared.es.addressed import Addressed
from shared.es.aggregate import Aggregate, S
from shared.es.errors import Conflict, Fault, NotFound, NotYet, Rejected, Unavailable
from shared.es.recorded import Context, Recorded
from shared.http.exchange import Caller, Exchange, JsonAnswer, exchange_of, rendered
from shared.http.history import changes_since, events_of, shown_event
from shared.http.paging import Cursors, Page, Paging, Question, order_of, page
from shared.http.problems import About, Problem, problem_of
from shared.http.signed import shown_secret
from shared.messaging.batch import Item, Result, handle_batch
from shared.messaging.inbox import RequestBatch
from shared.messaging.requests import Answer, HttpCommand
from shared.runtime import metrics
from shared.runtime.clock import monotonic, new_id
from shared.runtime.failpoints import afp

if TYPE_CHECKING:
    from shared.http.auth import Keys
    from shared.http.limits import Buckets
    from shared.http.refusals import Refusals
    from shared.runtime.service import Kit

__all__ = ["Answer", "Caller", "Commands", "Door", "HttpCommand", "Result", "Rooms"]

log = structlog.get_logger("http")

Answering = Callable[[Result], Answer]
Shown = Callable[[Mapping[str, Any]], Any]
Waiting = tuple[HttpCommand, "asyncio.Future[Result]"]


class Commands:
    """Requests that arrive while a batch commits form the next one; on an idle service one goes at once.

    One batch at a time per process, in a task of its own: a client that goes away never cancels it."""

    def __init__(self, kit: Kit, *, most: int = 200, waiting: int = 1000) -> None:
        self._kit, self._most, self._limit = kit, most, waiting
        self._queue: deque[Waiting] = deque()
        self._running: asyncio.Task[None] | None = None

    async def submit(self, command: HttpCommand) -> Result:
        """The result with its answer. Raises Problem(unavailable) at once when too many wait."""
        if len(self._queue) >= self._limit:
            raise Problem("unavailable", "Too many requests are waiting.", headers=(("Retry-After", "1"),))
        done: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((command, done))
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run(), name="group-commit")
        return await done

    async def drain(self) -> None:
        """Until everything that was submitted is answered."""
        if self._running is not None:
            await asyncio.wait([self._running])

    async def _run(self) -> None:
        while self._queue:
            taken = self._take()
            started = monotonic()
            await afp("cmd.gathered")
            results = await self._handled([command for command, _ in taken])
            await afp("cmd.after_commit_before_reply")
            metrics.batch_handled("http", len(taken), monotonic() - started)
            for (command, done), result in zip(taken, results, strict=True):
                if not done.done():
                    done.set_result(_answered(command, result))

    def _take(self) -> list[Waiting]:
        """The next ones. A second request under one key waits for the first one's transaction, to get its answer."""
        taken: list[Waiting] = []
        later: list[Waiting] = []
        seen: set[tuple[str, str]] = set()
        while self._queue and len(taken) < self._most:
            entry = self._queue.popleft()
            identity = (entry[0].item.source, entry[0].item.id)
            (later if identity in seen else taken).append(entry)
            seen.add(identity)
        self._queue.extendleft(reversed(later))
        return taken

    async def _handled(self, commands: Sequence[HttpCommand]) -> list[Result]:
        try:
            done = await handle_batch(self._kit, RequestBatch(commands), somebody_waits=True)
        except Unavailable as away:
            return [Result(command.item, "failed", error=away) for command in commands]
        except Exception as bug:
            log.exception("batch_failed", items=len(commands))
            return [Result(command.item, "failed", error=bug) for command in commands]
        by_identity = {(result.item.source, result.item.id): result for result in done.results}
        return [by_identity.get((c.item.source, c.item.id)) or _lost(c) for c in commands]


def _lost(command: HttpCommand) -> Result:
    return Result(command.item, "failed", error=Conflict("others were faster three times in a row"))


def _answered(command: HttpCommand, result: Result) -> Result:
    """The result with an answer in any case. What is a bug is logged here, once."""
    error = result.error
    if result.answer is None:
        result = replace(result, answer=command.answer(result))
    if error is not None and not isinstance(error, Rejected | Conflict | NotYet | Unavailable):
        log.error("request_failed", correlation_id=result.item.context.correlation_id, exc_info=error)
    return result


def answering(answer: Answering, about: About) -> Answering:
    """Runs inside the batch's transaction, so it never raises: a bug in showing the result does not undo what was decided."""

    def answered(result: Result) -> Answer:
        if result.error is not None:
            return problem_of(result.error, about)
        try:
            return answer(result)
        except Rejected as refused:
            return problem_of(refused, about)
        except Exception as bug:
            log.exception("answer_failed", correlation_id=about.correlation_id)
            return problem_of(bug, about)

    return answered


@dataclass(frozen=True, eq=False)
class Rooms:
    """What all doors of one application share."""

    kit: Kit
    commands: Commands
    keys: Keys
    cursors: Cursors
    buckets: Buckets
    refusals: Refusals


class Door:
    """One request of one caller."""

    def __init__(self, rooms: Rooms, request: Request, caller: Caller) -> None:
        self.caller = caller
        self._rooms = rooms
        self._request = request
        self._exchange: Exchange = exchange_of(request)

    def may(self, scope: str) -> bool:
        return scope in self.caller.scopes

    def in_tenant(self, tenant: UUID, *, actor: str | None = None) -> Door:
        """The same door in a tenant that the route found itself: by a token, a signature, or `admin:tenants`."""
        caller = self.caller._replace(tenant=tenant, actor=actor or self.caller.actor)
        return Door(self._rooms, self._request, caller)

    async def body(self) -> bytes:
        """The body as it came, for signatures over it."""
        raw = self._exchange.body
        return await self._request.body() if raw is None else raw

    def take(self, sender: str) -> None:
        """One request of a sender without a credential. Raises Problem(too-many-requests) beyond the rate of one."""
        self._rooms.buckets.take(f"{self.caller.tenant}/{sender}")

    def refuse(self, reason: str) -> Problem:
        """To raise when a signature is wrong: noted in the security log, counted against the address, and told as 401."""
        address = self._request.client.host if self._request.client else ""
        self._rooms.refusals.note(self._request, self._exchange, reason, None)
        self._rooms.buckets.failed(address)
        return Problem("unauthenticated", "The signature is missing, wrong or too old.")

    def secret_named(self, name: str) -> str:
        """A signing secret of the caller's tenant (`whsec_…`), made of its name each time it is needed: it is stored nowhere."""
        return shown_secret(self._rooms.keys.derived(f"{self.caller.tenant}/{name}"))

    def new_key(self, credential_id: str) -> tuple[str, str]:
        """A new API key and what may be stored of it: the text to show once, and the HMAC of its secret."""
        return self._rooms.keys.new_key(credential_id)

    # ------------------------------------------------------------------------------------------------ asking

    async def ask(self, *addressed: Addressed[Any], answer: Answering, key: str | None = None, content: bytes | None = None) -> Response:
        """Have the commands decided, in order and all or nothing, and answer with what `answer` makes of the result.

        POST needs an Idempotency-Key (or `key`), PATCH, PUT and DELETE need If-Match, which is compared with the version
        of the first addressed stream. A refusal is answered as a problem; it and every other answer is kept under the key.
        `content` stands for a body that was read as a stream: two requests under one key are the same if theirs is."""
        command = await self._command(addressed, answer, key, content)
        result = await self._rooms.commands.submit(command)
        given: Answer = result.answer
        if given.status == 412:
            given = await self._with_changes(given, addressed[0], command.item.expected_version)
        return rendered(given, replayed=result.outcome == "repeated")

    async def _command(
        self, addressed: tuple[Addressed[Any], ...], answer: Answering, key: str | None, content: bytes | None
    ) -> HttpCommand:
        expected = self._expected_version(needed=key is None)
        id = key or self._idempotency_key()
        self._exchange.asked = True
        item = Item(id, self._source(), f"{self.caller.tenant}/{addressed[0].id}", self._context(), addressed, expected)
        return HttpCommand(item, await self._body_hash(content), answering(answer, self._exchange.about))

    async def keep(self, answer: Answer) -> Response:
        """A refusal found before anything was asked: kept under the request's key like every other answer, and said again."""
        key = self._exchange.headers.get(b"idempotency-key", "")
        if self._request.method != "POST" or self._exchange.asked or self._exchange.body is None or not _KEY.fullmatch(key):
            return rendered(answer)
        item = Item(key, self._source(), f"{self.caller.tenant}/{key}", self._context(), ())

        def given(done: Result) -> Answer:
            return problem_of(done.error, self._exchange.about) if isinstance(done.error, Rejected) else answer

        result = await self._rooms.commands.submit(HttpCommand(item, await self._body_hash(None), given))
        return rendered(result.answer, replayed=result.outcome == "repeated")

    def _source(self) -> str:
        return f"{self.caller.tenant}/{self.caller.credential_id}/{self._request.method}{self._exchange.route}"

    def _context(self) -> Context:
        e = self._exchange
        return Context(self.caller.tenant, e.correlation_id, e.request_id, 0, self.caller.actor, e.traceparent)

    async def _body_hash(self, content: bytes | None) -> bytes:
        r = self._request
        address = f"{r.method} {r.scope['path']}?".encode() + r.scope["query_string"]
        return sha256(address + b"\n" + (await self.body() if content is None else content)).digest()

    def _idempotency_key(self) -> str:
        key = self._exchange.headers.get(b"idempotency-key")
        if key is None:
            if self._request.method == "POST":
                raise Problem("idempotency-key-missing")
            return str(new_id())
        if not _KEY.fullmatch(key):
            raise _bad_header("idempotency-key", "An Idempotency-Key has 1 to 255 visible ASCII characters.")
        return key

    def _expected_version(self, *, needed: bool) -> int | None:
        header = self._exchange.headers.get(b"if-match")
        if header is None:
            if needed and self._request.method in ("PATCH", "PUT", "DELETE"):
                raise Problem("precondition-required")
            return None
        if header.strip() == "*":
            return None
        found = _ETAG.fullmatch(header.strip())
        if found is None:
            raise _bad_header("if-match", 'If-Match holds one strong ETag of this resource, like "7".')
        return int(found[1])

    async def _with_changes(self, answer: Answer, about: Addressed[Any], expected: int | None) -> Answer:
        """What happened since the version that the caller knew; left out when the database is away by now."""
        try:
            async with self.reading() as sql:
                changes = await changes_since(sql, about.aggregate.stream(about.id), expected or 0)
        except Unavailable:
            return answer
        return replace(answer, body={**answer.body, "changes": changes})

    # ----------------------------------------------------------------------------------------------- reading

    async def now(self) -> datetime:
        """What time it is for the caller's tenant. What is decided takes `seen.now` instead."""
        return await self._rooms.kit.prepared.clocks.now(self._rooms.kit.database, self.caller.tenant)

    def reading(self) -> AbstractAsyncContextManager[AsyncConnection]:
        """A connection that sees the caller's tenant and nothing else (reliability 5.3)."""
        return self._rooms.kit.database.reading(self.caller.tenant)

    @asynccontextmanager
    async def across_tenants(self) -> AsyncIterator[AsyncConnection]:
        """Read only, all tenants: for looking up the token of a public page, never for answering a caller."""
        async with self._rooms.kit.database.across_tenants() as sql:
            yield sql

    async def one(self, query: Select[Any]) -> RowMapping:
        """The first row. Raises NotFound when there is none."""
        async with self.reading() as sql:
            row: RowMapping | None = (await sql.execute(query)).mappings().first()
        if row is None:
            raise NotFound()
        return row

    def shown(self, version: int, body: Any) -> Response:
        """A resource with its ETag; 304 when the caller has this version already."""
        etag = f'"{version}"'
        known = self._exchange.headers.get(b"if-none-match", "")
        if known.strip() == "*" or etag in (tag.strip().removeprefix("W/") for tag in known.split(",")):
            return Response(status_code=304, headers={"ETag": etag})
        return JsonAnswer(body, headers={"ETag": etag})

    async def listed(
        self,
        query: Select[Any],
        paging: Paging,
        *,
        sort: tuple[ColumnElement[Any], ...],
        shown: Shown = dict,
        default: str | None = None,
        everywhere: bool = False,
    ) -> Response:
        """One page of a list. `sort` is the allow-list, its first column the default, newest first unless `default` says
        otherwise ('name', '-amount'); `shown` turns a row into an item. `everywhere`: rows of all tenants, for the scope
        admin:tenants alone."""
        if everywhere and not self.may("admin:tenants"):
            raise Problem("forbidden")
        question = self._question()
        order = order_of(paging.sort, sort, default)
        after = None if paging.cursor is None else self._rooms.cursors.read(paging.cursor, question)
        async with self.across_tenants() if everywhere else self.reading() as sql:
            found = await page(sql, query, order, paging.limit, after, total=paging.include == "total")
        return self._paged(found, question, shown)

    async def history(
        self, aggregate: Aggregate[Any, Any, Any], id: str, paging: Paging, shown: Callable[[Recorded[Any]], Any] = shown_event
    ) -> Response:
        """The events of one aggregate, oldest first, paged: answers `GET …/{id}/events`. Raises NotFound for an unknown id."""
        question = self._question()
        after = 0 if paging.cursor is None else int(self._rooms.cursors.read(paging.cursor, question)[0])
        async with self.reading() as sql:
            events = await events_of(sql, self._rooms.kit.prepared.store, aggregate.stream(id), after, paging.limit + 1)
        if not events and not after:
            raise NotFound()
        kept = events[: paging.limit]
        place = [kept[-1].version] if len(events) > paging.limit else None
        return self._paged(Page([{"event": event} for event in kept], place, None), question, lambda row: shown(row["event"]))

    async def state_at(self, aggregate: Aggregate[S, Any, Any], id: str, version: int | None = None) -> tuple[S, int]:
        """The state as it was at that version (now, if None), and the version. Raises NotFound when it never had that many."""
        if version is not None and not 1 <= version <= _MOST_VERSIONS:
            raise NotFound()
        async with self.reading() as sql:
            events = await events_of(sql, self._rooms.kit.prepared.store, aggregate.stream(id), 0, version)
        if not events or (version is not None and len(events) < version):
            raise NotFound()
        return aggregate.fold(recorded.event for recorded in events), len(events)

    async def events(self, aggregate: Aggregate[Any, Any, Any], id: str) -> list[Recorded[Any]]:
        """All events of one aggregate, oldest first; none for an unknown id."""
        async with self.reading() as sql:
            return await events_of(sql, self._rooms.kit.prepared.store, aggregate.stream(id), 0, None)

    def _question(self) -> Question:
        parameters = tuple(self._request.query_params.multi_items())
        return Question(self._request.scope["path"], self.caller.tenant, parameters)

    def _paged(self, found: Page, question: Question, shown: Shown) -> Response:
        cursor = None if found.after is None else self._rooms.cursors.write(found.after, question)
        body: dict[str, Any] = {"items": [shown(row) for row in found.items], "next_cursor": cursor}
        if found.total is not None:
            body["total"] = found.total
        response = JsonAnswer(body)
        if cursor is not None:
            response.headers["Link"] = f'<{question.next_page(cursor)}>; rel="next"'
        return response


_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_MOST_VERSIONS = 2**31 - 1
_ETAG = re.compile(r'"(\d{1,9})"')


def _bad_header(name: str, detail: str) -> Problem:
    return Problem("malformed-request", detail, errors=[Fault(f"header/{name}", "malformed", detail)])
