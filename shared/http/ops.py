"""Probes, metrics and the operator's API, the same in every service (ecosystem H10). Every verb leaves an audit row.

What a credential sees here is its own tenant; one that holds `admin:tenants` too sees all, and the quarantine."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import orjson
import structlog
from fastapi import APIRouter, Depends, Query, Request, Response
from pydantic import Field
from starlette.responses import PlainTextResponse
from starlette.responses import Response as Plain

from shared.es.errors import NotFound, Rejected, Unavailable
from shared.es.rebuild import rebuild
from shared.http.auth import needs, public
from shared.http.commands import Door
from shared.http.exchange import JsonAnswer
from shared.http.problems import PROBLEMS, Body, page_of
from shared.http.types import Text255
from shared.messaging.parking import Parking, audit
from shared.runtime import metrics
from shared.runtime.clock import now
from shared.runtime.health import Figures, Health
from shared.runtime.statements import load_sql
from shared.runtime.version import VERSION, revision

if TYPE_CHECKING:
    from shared.runtime.database import Database
    from shared.runtime.service import Kit

log = structlog.get_logger("ops")

ALL = "admin:tenants"


class Discard(Body):
    """Which message, the head of its key, and why it may be forgotten."""

    position: int
    why: Text255


class Resolution(Body):
    """`done`: a person knows that it happened. `failed`: it did not, and shall not. `again`: it did not, or may happen twice."""

    as_: Literal["done", "failed", "again"] = Field(alias="as")
    why: Text255


class Rebuilding(Body):
    view: Text255


@dataclass(slots=True)
class Rebuild:
    """One run: `streams` is filled in when it is through, `error` when it was not."""

    view: str
    by: str
    started_at: datetime
    status: Literal["running", "done", "failed"] = "running"
    streams: int | None = None
    ended_at: datetime | None = None
    error: str | None = None


@dataclass(eq=False)
class Operations:
    """What the operator's API works on."""

    kit: Kit
    health: Health
    figures: Figures
    rebuilds: list[Rebuild] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def service(self) -> str:
        return self.kit.service.name

    @property
    def consumers(self) -> tuple[str, ...]:
        """Whose keys may be blocked: those of the group, and those of the ticker, whose messages are the timers themselves."""
        return (self.service, "ticker") if self.kit.service.loops else (self.service,)

    def parking(self, consumer: str) -> Parking:
        """Raises NotFound for a consumer that is not this service's."""
        if consumer not in self.consumers:
            raise NotFound(f"The consumers of this service are called {' and '.join(self.consumers)}.")
        return Parking(self.kit.database, consumer)

    def must_be_a_view(self, view: str) -> list[tuple[Any, Any]]:
        """Its handlers. Raises NotFound, Rejected(rebuild_running)."""
        handlers = [(h, v) for h in self.kit.service.handlers for v in h.views if v.table.name == view]
        if not handlers:
            known = sorted({v.table.name for h in self.kit.service.handlers for v in h.views})
            raise NotFound(f"No such view; there are: {', '.join(known)}.")
        if any(run.view == view and run.status == "running" for run in self.rebuilds):
            raise Rejected("rebuild_running", f"A rebuild of {view} is running.")
        return handlers

    def start_rebuild(self, view: str, by: str) -> Rebuild:
        """Runs on in the background. Raises what `must_be_a_view` raises."""
        handlers = self.must_be_a_view(view)
        run = Rebuild(view, by, now())
        self.rebuilds.append(run)
        task = asyncio.create_task(self._rebuild(run, handlers), name=f"rebuild-{view}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return run

    async def rebuild_now(self, view: str, by: str) -> Rebuild:
        """The same, waited for. Raises what the rebuild raises."""
        run = Rebuild(view, by, now())
        await self._through(run, self.must_be_a_view(view))
        return run

    async def _rebuild(self, run: Rebuild, handlers: list[Any]) -> None:
        try:
            await self._through(run, handlers)
        except Exception as error:
            run.status, run.error = "failed", f"{type(error).__name__}: {error}"
            log.exception("rebuild_failed", view=run.view)
        run.ended_at = now()

    async def _through(self, run: Rebuild, handlers: list[Any]) -> None:
        run.streams = 0
        for handler, view in handlers:
            run.streams += await rebuild(self.kit.database, self.kit.prepared.store, handler.aggregate, view)
        run.status = "done"
        metrics.REBUILD_STREAMS.labels(run.view).inc(run.streams)


PROBES = APIRouter(tags=["operations"])
"""What anybody may ask."""

OPERATORS = APIRouter(tags=["operations"])
"""What an operator may ask and do."""


def _operations(request: Request) -> Operations:
    operations: Operations = request.app.state.operations
    return operations


Work = Annotated[Operations, Depends(_operations)]


@PROBES.get("/livez", operation_id="livez", response_class=PlainTextResponse)
async def alive(door: Annotated[Door, public("probe: the event loop moves")]) -> Response:
    return PlainTextResponse("ok")


@PROBES.get("/readyz", operation_id="readyz", responses={503: {"description": "Not ready; the checks say why."}})
async def ready(door: Annotated[Door, public("probe: may this process get work?")], work: Work) -> Response:
    status, report = await work.health.report()
    return JsonAnswer(report, status)


@PROBES.get("/metrics", operation_id="metrics", response_class=PlainTextResponse)
async def figures(door: Annotated[Door, public("Prometheus text; no ids, no personal data")], work: Work) -> Response:
    work.figures.observe()
    with suppress(Unavailable):  # the rest is worth having while the database is away
        await work.figures.refresh()
    return Plain(metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")


@PROBES.get("/version", operation_id="version")
async def version(door: Annotated[Door, public("which code this is")], work: Work) -> Response:
    types = sorted(work.kit.prepared.routes)
    return JsonAnswer({"service": work.kit.service.name, "version": VERSION, "revision": revision(), "hears": types})


@PROBES.get("/problems/{slug}", operation_id="problem_page", response_class=PlainTextResponse)
async def problem(slug: str, door: Annotated[Door, public("explains a type of problem")]) -> Response:
    return Plain(page_of(slug[:80]), media_type="text/html")


@OPERATORS.get("/ops/trace/{correlation_id}", operation_id="ops_trace", responses=PROBLEMS)
async def trace(correlation_id: str, door: Annotated[Door, needs("ops:read")], work: Work) -> Response:
    return JsonAnswer({"service": work.service, "items": await chain(work.kit.database, door.caller.tenant, correlation_id)})


@OPERATORS.get("/ops/parked", operation_id="ops_parked", responses=PROBLEMS)
async def parked(door: Annotated[Door, needs("ops:read")], work: Work, messages: bool = True) -> Response:
    found: list[Mapping[str, Any]] = []
    for consumer in work.consumers:
        parking = work.parking(consumer)
        for key in await parking.keys(_tenant_of(door)):
            behind = [_message(m) for m in await parking.messages(key["key"])] if messages else []
            found.append({"consumer": consumer, **key, "messages": behind} if messages else {"consumer": consumer, **key})
    return JsonAnswer({"items": found})


@OPERATORS.post("/ops/parked/{consumer}/{key:path}/replays", operation_id="ops_replay", status_code=202, responses=PROBLEMS)
async def replay(consumer: str, key: str, door: Annotated[Door, needs("ops:retry")], work: Work) -> Response:
    _must_be_visible(key, door)
    await work.parking(consumer).replay(key, by=door.caller.actor)
    return JsonAnswer({"key": key, "status": "due"}, 202)


@OPERATORS.post("/ops/parked/{consumer}/{key:path}/discards", operation_id="ops_discard", responses=PROBLEMS)
async def discard(consumer: str, key: str, body: Discard, door: Annotated[Door, needs("ops:retry")], work: Work) -> Response:
    _must_be_visible(key, door)
    await work.parking(consumer).discard(key, body.position, by=door.caller.actor, why=body.why)
    return JsonAnswer({"key": key, "position": body.position, "status": "discarded"})


@OPERATORS.get("/ops/quarantine", operation_id="ops_quarantine", responses=PROBLEMS)
async def quarantine(door: Annotated[Door, needs("ops:read", ALL)], work: Work) -> Response:
    return JsonAnswer({"items": [_message(row) for row in await work.parking(work.service).quarantined()]})


@OPERATORS.get("/ops/effects", operation_id="ops_effects", responses=PROBLEMS)
async def effects(
    door: Annotated[Door, needs("ops:read")],
    work: Work,
    state: Annotated[Literal["queued", "sending", "done", "failed", "unknown"] | None, Query()] = None,
    kind: Annotated[str | None, Query(max_length=80)] = None,
) -> Response:
    return JsonAnswer({"items": await waiting_effects(work.kit, _tenant_of(door), state, kind)})


@OPERATORS.post("/ops/effects/{kind}/{key:path}/resolutions", operation_id="ops_resolve_effect", responses=PROBLEMS)
async def resolve(kind: str, key: str, body: Resolution, door: Annotated[Door, needs("ops:retry")], work: Work) -> Response:
    await resolve_effect(work.kit, door, kind, key, body)
    return JsonAnswer({"kind": kind, "key": key, "state": _resolved_state(body)})


@OPERATORS.get("/ops/rebuilds", operation_id="ops_rebuilds", responses=PROBLEMS)
async def rebuilds(door: Annotated[Door, needs("ops:read")], work: Work) -> Response:
    return JsonAnswer({"items": list(reversed(work.rebuilds))})


@OPERATORS.post("/ops/rebuilds", operation_id="ops_rebuild", status_code=202, responses=PROBLEMS)
async def start_rebuild(body: Rebuilding, door: Annotated[Door, needs("ops:retry")], work: Work) -> Response:
    work.must_be_a_view(body.view)
    async with work.kit.database.transaction() as tx:
        await audit(tx, door.caller.actor, "view.rebuilt", body.view, {}, door.caller.tenant)
    run = work.start_rebuild(body.view, door.caller.actor)
    return JsonAnswer(run, 202, headers={"Location": "/ops/rebuilds"})


@OPERATORS.get("/ops/audit", operation_id="ops_audit", responses=PROBLEMS)
async def audited(door: Annotated[Door, needs("audit:read")], work: Work) -> Response:
    return JsonAnswer({"items": await audit_rows(work.kit, _tenant_of(door))})


@OPERATORS.get("/ops/rest", operation_id="ops_rest", responses=PROBLEMS)
async def rest(door: Annotated[Door, needs("ops:read")], work: Work) -> Response:
    """What is under way here: nothing when all counts of `waiting` are zero. Two looks at every service with the same `events` and
    `handled`, and no lag of their groups in between: everything has come to rest. `clock`: where a rehearsal's clock stands here."""
    tenant = _tenant_of(door)
    waiting, events, handled = await unfinished(work.kit, tenant)
    clock = await door.now() if tenant is not None else None
    body = {"service": work.service, "at_rest": not any(waiting.values()), "waiting": waiting, "events": events, "handled": handled}
    return JsonAnswer({**body, "clock": clock})


def _tenant_of(door: Door) -> UUID | None:
    """Whose rows are shown: None is everybody's."""
    return None if door.may(ALL) else door.caller.tenant


def _must_be_visible(key: str, door: Door) -> None:
    tenant = _tenant_of(door)
    if tenant is not None and not key.startswith(f"{tenant}/"):
        raise NotFound(f"No key {key} is blocked.")


def _message(row: Mapping[str, Any]) -> dict[str, Any]:
    """A parked or quarantined message for people: readable where it is text, always complete in base64."""
    value = bytes(row["value"] or b"")
    key = row.get("record_key") if "record_key" in row else row.get("key")
    shown = {k: v for k, v in row.items() if k not in ("headers", "value", "record_key")}
    headers = [(name, bytes(content).decode("utf-8", "replace")) for name, content in row["headers"] or ()]
    text = value.decode("utf-8", "replace")[:10_000]
    return {**shown, "key": _text(key), "headers": headers, "value": text, "value_base64": base64.b64encode(value).decode()}


def _text(key: Any) -> str | None:
    return bytes(key).decode("utf-8", "replace") if isinstance(key, bytes | memoryview) else key


_CHAIN = """
select e.id, e.aggregate, e.stream, e.version, e.type, e.actor, e.causation_id, e.hops, e.traceparent, e.recorded_at as at, null as state
from events e where e.tenant = any($1::uuid[]) and e.correlation_id = $2
order by e.recorded_at, e.position limit 1000
"""
_CHAIN_EFFECTS = """
select kind, key, stream, state, attempt, due_at, told_at from effects
where tenant = any($1::uuid[]) and context ->> 'correlation_id' = $2 order by due_at limit 200
"""


async def chain(database: Database, tenant: UUID | None, correlation_id: str) -> list[dict[str, Any]]:
    """This service's part of one chain: its events, and what they had done outside, in order of time. None: any tenant's."""
    async with database.raw() as raw:
        known = [row["tenant"] for row in await raw.fetch("select tenant from tenants_v1")] if tenant is None else [tenant]
        events = await raw.fetch(_CHAIN, known, correlation_id)
        effects = await raw.fetch(_CHAIN_EFFECTS, known, correlation_id)
    shown = [{**row, "what": "event"} for row in events]
    shown += [{**row, "what": "effect", "at": row["told_at"] or row["due_at"]} for row in effects]
    return sorted(shown, key=lambda row: row["at"])


_EFFECTS = """
select e.tenant, e.kind, e.key, e.stream, e.state, e.earlier, e.attempt, e.due_at, e.until, e.outcome, e.told_at,
       case when e.state <> 'queued' then null when t.tenant is null then 'tenant not known here yet'
            when t.suspended then 'tenant suspended' when e.due_at > clock_timestamp() then 'not due yet' end as waits_for
from effects e left join tenants_v1 t on t.tenant = e.tenant
where ($1::uuid is null or e.tenant = $1) and ($3::text is null or e.kind = $3)
  and (case when $2::text is null then e.state <> 'done' else e.state = $2 end)
order by e.due_at limit 200
"""


async def waiting_effects(kit: Kit, tenant: UUID | None, state: str | None, kind: str | None) -> list[Mapping[str, Any]]:
    """Effects that are not done (or in one state), oldest first, with what each waits for."""
    async with kit.database.raw() as raw:
        return [dict(row) for row in await raw.fetch(_EFFECTS, tenant, state, kind)]


async def unfinished(kit: Kit, tenant: UUID | None) -> tuple[dict[str, int], int, int]:
    """What waits to be sent, done, told or tried again, and what a loop is about to do; then how many events there are, and how
    many messages and requests were handled: a measure of whether anything happens at all."""
    by_clock = [kind.name for kind in kit.service.effects if kind.by_tenants_clock]
    async with kit.database.transaction() as tx:
        waiting = dict((await tx.raw.fetch(load_sql("messaging", "unfinished"), tenant, by_clock, tx.now))[0])
        waiting["due"] = sum([await tx.raw.fetchval(sql, tenant) for sql in kit.service.due])
        so_far = (await tx.raw.fetch(load_sql("messaging", "so_far"), tenant))[0]
    return waiting, so_far["events"], so_far["handled"]


_RESOLVE = """
update effects set state = $4, earlier = case when state = 'unknown' then 'unknown' else earlier end,
       fence = fence + 1, owner = null, until = null,
       told_at = null, due_at = $5, outcome = coalesce($6::text::json, (outcome::jsonb - 'unanswered')::json)
where tenant = $1 and kind = $2 and key = $3 and state in ('unknown', 'failed') returning key
"""


def _resolved_state(body: Resolution) -> str:
    return "queued" if body.as_ == "again" else body.as_


async def resolve_effect(kit: Kit, door: Door, kind: str, key: str, body: Resolution) -> None:
    """A person decides about an effect whose fate is unknown or that failed; the asker is told. Raises NotFound."""
    tenant, by = door.caller.tenant, door.caller.actor
    state, outcome = _resolved_state(body), None
    if state != "queued":
        told = {"code": "did_not_happen", "detail": body.why} if state == "failed" else {}
        outcome = orjson.dumps({"resolved_by": by, "why": body.why, **told}).decode()
    async with kit.database.transaction() as tx:
        found = await tx.raw.fetchval(_RESOLVE, tenant, kind, key, state, tx.now, outcome)
        if found is None:
            raise NotFound("There is no effect of that kind and key that is unknown or failed.")
        await audit(tx, by, f"effect.{body.as_}", f"{kind}/{key}", {"why": body.why}, tenant)


_AUDIT = """
select id, tenant, principal, action, ref, detail, at from audit where $1::uuid is null or tenant = $1 order by id desc limit 200
"""


async def audit_rows(kit: Kit, tenant: UUID | None) -> list[Mapping[str, Any]]:
    async with kit.database.raw() as raw:
        return [dict(row) for row in await raw.fetch(_AUDIT, tenant)]
