"""Visits and their runs, the horizon, the panel of an element, and what a person does with a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field
from sqlalchemy import (
    CTE,
    JSON,
    BigInteger,
    Boolean,
    Column,
    ColumnElement,
    DateTime,
    MetaData,
    Select,
    Table,
    Text,
    and_,
    cast,
    column,
    func,
    literal_column,
    select,
    text,
)
from sqlalchemy.engine import RowMapping
from starlette.responses import Response

from services.automation import replicas, views
from services.automation.api.common import SEE_RUNS, TOUCH_RUNS, ElementType, Id, Nothing, Page, gathering, matching
from services.automation.domain import explain as why
from services.automation.domain import visit as vis
from services.automation.domain.condition import Trace
from services.automation.domain.definition import Ready, ready, rule_of
from services.automation.domain.rule import RULE
from services.automation.domain.timing import instant
from services.automation.domain.visit import VISIT, Visit
from services.automation.facts.visits import Stage, asks, gathered
from shared.es.aggregate import Json
from shared.es.errors import NotFound, Rejected
from shared.http.commands import Answer, Door, Result
from shared.http.problems import Body
from shared.http.types import Instant, LongText

API = APIRouter()


def shown_visit(row: Mapping[str, Any]) -> Json:
    names = ("id", "element_type", "element_id", "pipeline_id", "stage_id", "visit_number", "arrived_at", "status", "left_because", "runs")
    return {name: row[name] for name in names}


@API.get("/v1/visits", operation_id="visits_list", tags=["runs"])
async def list_visits(
    door: Annotated[Door, SEE_RUNS], paging: Page, element_id: UUID | None = None, stage_id: UUID | None = None, state: str | None = None
) -> Response:
    t = views.VISITS_TABLE.c
    wanted = {t.element_id: element_id, t.stage_id: stage_id, t.status: state}
    query = matching(select(views.VISITS_TABLE), wanted)
    return await door.listed(query, paging, sort=(t.arrived_at,), shown=shown_visit)


@API.get("/v1/visits/{id}", operation_id="visits_get", tags=["runs"])
async def get_visit(id: Id, door: Annotated[Door, SEE_RUNS], version: int | None = None) -> Response:
    visit, revision = await door.state_at(VISIT, str(id), version)
    runs = [shown_run(visit, run) for run in visit.runs]
    shown = {"id": str(id), "element_id": visit.element_id, "stage_id": visit.stage_id, "status": visit.status, "chain": visit.chain}
    return door.shown(revision, {**shown, "visit_number": visit.visit_number, "arrived_at": visit.arrived_at, "runs": runs})


def shown_run(visit: Visit, run: vis.Run) -> Json:
    """A run with its steps, outputs and decision record."""
    return {
        "id": visit.run_id(run.rule_id),
        "visit_id": visit.visit_id,
        "element_id": visit.element_id,
        "rule_id": run.rule_id,
        "rule_version": run.rule.version,
        "rule_key": run.rule.key,
        "rule_type": run.rule.rule_type,
        "rule_name": run.rule.name,
        "state": run.state,
        "reason": run.reason,
        "detail": run.detail,
        "waiting_for": run.waiting_for,
        "triggered_at": visit.arrived_at,
        "due_at": run.due_at,
        "finished_at": run.finished_at,
        "lateness_ms": run.lateness_ms,
        "escalated": _shown_escalation(run.escalated),
        "notes": run.notes,
        "steps": [
            {"name": s.name, "request_id": s.request_id, "state": s.state, "attempts": s.attempts, "code": s.code, "detail": s.detail}
            for s in run.steps
        ],
        "answer_due": run.answer_due,
        "outputs": run.outputs,
        "record": {"at": run.judged_at, "condition": [shown_trace(t) for t in run.trace or run.at_arrival], "time": run.reasoning},
    }


def _shown_escalation(e: vis.RunEscalated | None) -> Json | None:
    """Since when it waits too long for the responsible person's hours, and who was told (D10)."""
    return None if e is None else {"at": e.at, "waiting_since": e.since, "employee_id": e.employee_id, "role": e.role}


def shown_trace(trace: Trace) -> Json:
    """A comparison with what was seen, in words too."""
    path, op, expected, actual, verdict, note = trace
    said = why.said_of(trace).shown("says")
    return {"field": path, "op": op, "expected": expected, "actual": actual, "verdict": verdict, "note": note, **said}


RUNS = Table(
    "runs_of_visits",
    MetaData(),
    Column("visit_id", Text, primary_key=True),
    Column("place", BigInteger, primary_key=True),
    *(Column(name, Text, nullable=False) for name in ("element_type", "element_id", "pipeline_id", "stage_id")),
    Column("triggered_at", DateTime(timezone=True), nullable=False),
    Column("waits", Boolean, nullable=False),
    *(Column(name, Text) for name in ("run_id", "rule_id", "rule_version", "state", "reason")),
    *(Column(name, DateTime(timezone=True)) for name in ("due_at", "finished_at", "asked_since")),
    Column("run", JSON, nullable=False),
)
"""Every run of every visit as a row: what `every_run` makes of the visits' lists, never a table of its own."""


def every_run() -> CTE:
    v = views.VISITS_TABLE.c
    runs = func.json_array_elements(v.runs).table_valued(column("value", JSON), with_ordinality="place", joins_implicitly=True)
    run = runs.render_derived()
    texts = {name: run.c.value.op("->>")(literal_column(f"'{name}'")) for name in ("run_id", "rule_id", "rule_version", "state", "reason")}
    times = {name: run.c.value.op("->>")(literal_column(f"'{name}'")) for name in ("due_at", "finished_at", "asked_since")}
    columns = (
        v.id.label("visit_id"),
        run.c.place,
        *(v.element_type, v.element_id, v.pipeline_id, v.stage_id),
        v.arrived_at.label("triggered_at"),
        v.waits,
        *(value.label(name) for name, value in texts.items()),
        *(cast(value, DateTime(timezone=True)).label(name) for name, value in times.items()),
        run.c.value.label("run"),
    )
    return select(*columns).select_from(views.VISITS_TABLE).cte(RUNS.name)


def runs_query(wanted: Mapping[Any, object], *more: ColumnElement[bool]) -> Select[Any]:
    return matching(select(RUNS), wanted).where(*more).add_cte(every_run())


def listed_run(now: datetime, row: Mapping[str, Any]) -> Json:
    names = ("visit_id", "element_id", "element_type", "pipeline_id", "stage_id", "triggered_at")
    shown = {name: value for name, value in row["run"].items() if name != "asked_since"}
    return {"id": row["run_id"], **{name: row[name] for name in names}, **shown, "stuck": is_stuck(row["asked_since"], now)}


STUCK_AFTER = timedelta(minutes=5)
"""A step asked longer ago than this and not answered is shown as stuck (G28)."""


def is_stuck(asked_since: datetime | None, now: datetime) -> bool:
    return asked_since is not None and asked_since < now - STUCK_AFTER


@API.get("/v1/runs", operation_id="runs_list", tags=["runs"])
async def list_runs(
    door: Annotated[Door, SEE_RUNS],
    paging: Page,
    element_id: UUID | None = None,
    pipeline_id: UUID | None = None,
    stage_id: UUID | None = None,
    rule_id: UUID | None = None,
    rule_version: int | None = None,
    state: Annotated[str | None, Query(description="One or more, with commas between")] = None,
    reason: str | None = None,
    stuck: bool | None = None,
) -> Response:
    """Every rule in every visit, with what became of it."""
    t, now = RUNS.c, await door.now()
    place = {t.element_id: element_id, t.pipeline_id: pipeline_id, t.stage_id: stage_id}
    query = runs_query(place | {t.rule_id: rule_id, t.rule_version: rule_version, t.state: state, t.reason: reason})
    if stuck is not None:
        is_so = t.asked_since < now - STUCK_AFTER
        query = query.where(is_so if stuck else func.coalesce(is_so, False).is_(False))
    return await door.listed(query, paging, sort=(t.triggered_at, t.due_at), shown=partial(listed_run, now))


@API.get("/v1/horizon", operation_id="horizon", tags=["runs"])
async def horizon(
    door: Annotated[Door, SEE_RUNS],
    paging: Page,
    element_id: UUID | None = None,
    pipeline_id: UUID | None = None,
    rule_id: UUID | None = None,
    waiting_for: str | None = None,
    due_from: Annotated[Instant | None, Query(alias="from")] = None,
    due_to: Annotated[Instant | None, Query(alias="to")] = None,
) -> Response:
    """Everything that is going to happen, in order of time; what waits for something else than time comes last.

    `says`: what each waits for, in words; times in the pipeline's zone. A run is postponed, run now or cancelled under /v1/runs/{id}."""
    t, now = RUNS.c, await door.now()
    p = replicas.PIPELINES.table.c
    async with door.reading() as sql:
        zones = {row.id: row.zone for row in await sql.execute(select(p.id, p.zone))}
    waits_for = t.run.op("->>")(literal_column("'waiting_for'"))
    wanted = {t.element_id: element_id, t.pipeline_id: pipeline_id, t.rule_id: rule_id, waits_for: waiting_for}
    bounds = ((t.due_at >= due_from,) if due_from else ()) + ((t.due_at < due_to,) if due_to else ())
    query = runs_query(wanted, t.waits, t.state.in_(("scheduled", "waiting", "blocked", "missed")), *bounds)
    shown = partial(_expected_run, now, zones)
    return await door.listed(query, paging, sort=(t.due_at, t.triggered_at), default="due_at", shown=shown)


def _expected_run(now: datetime, zones: Mapping[str, str | None], row: Mapping[str, Any]) -> Json:
    reader = why.Reader(zones.get(row["pipeline_id"]) or "UTC")
    return {**listed_run(now, row), **why.waits_in_words(row["run"], reader).shown("says")}


SIGNS = {
    "succeeded": "done",
    "failed": "failed",
    "partial": "failed",
    "missed": "failed",
    "scheduled": "pending",
    "waiting": "pending",
    "running": "pending",
}


@API.get("/v1/panels/{element_type}/{element_id}", operation_id="panels_get", tags=["runs"])
async def panel(element_type: ElementType, element_id: UUID, door: Annotated[Door, SEE_RUNS], stage_id: UUID | None = None) -> Any:
    """What the rules of the element's stages did in its latest visit of each, in order; every sign with its reason (G54)."""
    t = views.VISITS_TABLE.c
    query = matching(select(views.VISITS_TABLE), {t.element_id: element_id, t.element_type: element_type, t.stage_id: stage_id})
    async with door.reading() as sql:
        rows = (await sql.execute(query.order_by(t.visit_number.desc()).limit(200))).mappings().all()
    latest = {row["stage_id"]: row for row in reversed(rows)}
    stages = sorted(latest.values(), key=lambda row: int(row["visit_number"]), reverse=True)
    return {"element_id": element_id, "stages": [shown_panel(row) for row in stages]}


def shown_panel(row: Mapping[str, Any]) -> Json:
    names = ("stage_id", "pipeline_id", "visit_number", "arrived_at", "status")
    rules = [{"sign": sign_of(run), **{name: run[name] for name in PANEL}} for run in row["runs"]]
    return {"visit_id": row["id"], **{name: row[name] for name in names}, "rules": rules}


PANEL = ("run_id", "rule_id", "rule_key", "rule_name", "state", "reason", "detail", "waiting_for", "due_at", "finished_at")


def sign_of(run: Json) -> str:
    """done, failed, pending, not_fired; its own name for what is none of these (automation 7)."""
    if run["state"] == "skipped" and run["reason"] == "condition_false":
        return "not_fired"
    return SIGNS.get(run["state"], str(run["state"]))


async def place_of_run(door: Door, run_id: UUID) -> RowMapping:
    """Visit, element, stage and rule of a run. Raises NotFound."""
    tables = (views.STEPS_TABLE.c, views.TIMERS_OF_RUNS_TABLE.c)
    async with door.reading() as sql:
        for t in tables:
            query = select(t.id, t.element_id, t.stage_id, t.rule_id).where(t.run_id == str(run_id)).limit(1)
            if (row := (await sql.execute(query)).mappings().first()) is not None:
                return row
        scan = text(
            "select v.id, v.element_id, v.stage_id, r.value ->> 'rule_id' as rule_id from visits_v2 v"
            " cross join lateral json_array_elements(v.runs) r where r.value ->> 'run_id' = :run limit 1"
        )
        row = (await sql.execute(scan, {"run": str(run_id)})).mappings().first()
    if row is None:
        raise NotFound("There is no such run.")
    return row


@API.get("/v1/runs/{id}", operation_id="runs_get", tags=["runs"])
async def get_run(id: Id, door: Annotated[Door, SEE_RUNS]) -> Response:
    place = await place_of_run(door, id)
    visit, revision = await door.state_at(VISIT, place["id"])
    run = visit.run(place["rule_id"])
    if run is None:
        raise NotFound("There is no such run.")
    return door.shown(revision, shown_run(visit, run))


@API.get("/v1/visits/{id}/events", operation_id="visits_events", tags=["runs"])
async def visit_events(id: Id, door: Annotated[Door, SEE_RUNS], paging: Page) -> Response:
    """Everything that was decided in it, by whom: verbs of people among it."""
    return await door.history(VISIT, str(id), paging)


Verb = Callable[[str, vis.Known, Ready | None], vis.VisitCommand]


async def on_run(door: Door, run_id: UUID, verb: Verb) -> Response:
    """A person's verb on one run: the facts are gathered as they are now, the visit decides."""
    place = await place_of_run(door, run_id)
    stage = await stage_now(door, place["element_id"], place["stage_id"])
    current = stage.rules.ready(place["rule_id"], place["id"])
    asked = asks(place["id"], stage, lambda known, seen: verb(place["rule_id"], known, current))

    def answer(done: Result) -> Answer:
        visit = done.state(VISIT, place["id"])
        run = visit.run(place["rule_id"])
        return Answer(200, shown_run(visit, run) if run else None, etag=done.version(VISIT, place["id"]))

    return await door.ask(*asked, answer=answer)


async def stage_now(door: Door, element_id: str, stage_id: str) -> Stage:
    async with gathering(door) as rows:
        stage = await gathered(rows, element_id, stage_id)
    if stage is None:
        raise NotFound("The element of this run is not known.")
    return stage


class Cancellation(Body):
    reason: Annotated[LongText | None, Field(description="In words, for the record.")] = None


class Postponement(Body):
    to: Instant


class Retry(Body):
    retry_from: Literal["step", "start"] = "step"
    version: Literal["old", "current"] = "current"


@API.post("/v1/runs/{id}/cancellations", operation_id="runs_cancel", tags=["runs"])
async def cancel_run(id: Id, door: Annotated[Door, TOUCH_RUNS], body: Cancellation | None = None) -> Response:
    why = body.reason if body else None
    return await on_run(door, id, lambda rule, known, current: vis.CancelRun(rule, known, why))


@API.post("/v1/runs/{id}/executions", operation_id="runs_execute", tags=["runs"])
async def execute_run(id: Id, door: Annotated[Door, TOUCH_RUNS], body: Nothing | None = None) -> Response:
    return await on_run(door, id, lambda rule, known, current: vis.RunNow(rule, current, known))


@API.post("/v1/runs/{id}/postponements", operation_id="runs_postpone", tags=["runs"])
async def postpone_run(id: Id, body: Postponement, door: Annotated[Door, TOUCH_RUNS]) -> Response:
    to = instant(body.to)
    return await on_run(door, id, lambda rule, known, current: vis.PostponeRun(rule, to))


@API.post("/v1/runs/{id}/retries", operation_id="runs_retry", tags=["runs"])
async def retry_run(id: Id, door: Annotated[Door, TOUCH_RUNS], body: Retry | None = None) -> Response:
    wish = body or Retry()
    place = await place_of_run(door, id)
    old = await _pinned(door, place) if wish.version == "old" else None
    return await on_run(door, id, lambda rule, known, current: _retried(rule, known, old or current, wish))


def _retried(rule_id: str, known: vis.Known, version: Ready | None, wish: Retry) -> vis.RetryRun:
    if version is None:
        raise Rejected("rule_deleted", "The rule is not in force any more: retry with the old version.")
    return vis.RetryRun(rule_id, wish.retry_from, version, known)


async def _pinned(door: Door, place: RowMapping) -> Ready | None:
    """The version that the run began with."""
    visit, _ = await door.state_at(VISIT, place["id"])
    run = visit.run(place["rule_id"])
    rule, _ = await door.state_at(RULE, place["rule_id"])
    t = views.RULE_VERSIONS.table.c
    version = run.rule.version if run else 0
    row = await door.one(select(views.RULE_VERSIONS.table).where(and_(t.id == place["rule_id"], t.rule_version == version)))
    return ready(rule_of(place["rule_id"], version, rule.owner_id, row["definition"], row["references"]))


@API.post("/v1/runs/{id}/continuations", operation_id="runs_continue", tags=["runs"])
async def continue_run(id: Id, door: Annotated[Door, TOUCH_RUNS], body: Nothing | None = None) -> Response:
    return await on_run(door, id, lambda rule, known, current: vis.ContinueRun(rule, known))


@API.post("/v1/runs/{id}/drops", operation_id="runs_drop", tags=["runs"])
async def drop_run(id: Id, door: Annotated[Door, TOUCH_RUNS], body: Nothing | None = None) -> Response:
    return await on_run(door, id, lambda rule, known, current: vis.DropRun(rule, known))


@API.post("/v1/visits/{id}/stops", operation_id="visits_stop", tags=["runs"])
async def stop_visit(id: Id, door: Annotated[Door, TOUCH_RUNS], body: Nothing | None = None) -> Response:
    """Cancels everything that still waits in this visit (G26)."""
    return await _on_visit(door, str(id), vis.StopRules)


@API.post("/v1/visits/{id}/rearmings", operation_id="visits_rearm", tags=["runs"])
async def rearm_visit(id: Id, door: Annotated[Door, TOUCH_RUNS], body: Nothing | None = None) -> Response:
    """Of an element that was deleted and restored: plans again what was cancelled with it, from the original anchors (D58)."""
    return await _on_visit(door, str(id), vis.Rearm)


async def _on_visit(door: Door, id: str, verb: Callable[[vis.Known], vis.VisitCommand]) -> Response:
    visit, _ = await door.state_at(VISIT, id)
    stage = await stage_now(door, visit.element_id, visit.stage_id)
    asked = asks(id, stage, lambda known, seen: verb(known))

    def answer(done: Result) -> Answer:
        after = done.state(VISIT, id)
        return Answer(200, {"id": id, "runs": [shown_run(after, run) for run in after.runs]}, etag=done.version(VISIT, id))

    return await door.ask(*asked, answer=answer)
