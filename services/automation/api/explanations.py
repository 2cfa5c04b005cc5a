"""Why a rule or trigger did or did not act; what triggers decided."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar
from uuid import UUID

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.engine import RowMapping
from starlette.responses import Response

from services.automation import replicas, views
from services.automation.api.common import SEE_RUNS, TOUCH_RUNS, Id, Nothing, Page, gathering, matching
from services.automation.api.runs import shown_run, shown_trace
from services.automation.domain import decision as dec
from services.automation.domain import explain as why
from services.automation.domain import rule as rul
from services.automation.domain import trigger as tri
from services.automation.domain import words
from services.automation.domain.card import Card
from services.automation.domain.decision import DECISION
from services.automation.domain.explain_trigger import TriggerCase, explain_trigger
from services.automation.domain.rule import RULE
from services.automation.domain.timing import instant
from services.automation.domain.trigger import TRIGGER
from services.automation.domain.visit import VISIT
from services.automation.facts.cards import TRIGGERS
from services.automation.facts.visits import decides, judging
from shared.es.aggregate import Aggregate, Json
from shared.es.errors import Fault, NotFound, Rejected
from shared.http.commands import Answer, Door, Result
from shared.http.types import Instant

API = APIRouter()
S = TypeVar("S")


@API.get("/v1/explanations", operation_id="explanations", tags=["runs"])
async def explanation(
    door: Annotated[Door, SEE_RUNS],
    element_id: UUID,
    rule_id: UUID | None = None,
    trigger_id: UUID | None = None,
    at: Annotated[Instant | None, Query(description="As it was then; now, if left out")] = None,
) -> Any:
    """Why a rule, or a trigger, did, did not or not yet act on an element: the verdict, what was recorded, and what was looked at
    as a tree, all of it in words as well. Of a rule it is its last visit of the stage, of a trigger the last event it heard."""
    if (rule_id is None) == (trigger_id is None):
        detail = "Either rule_id or trigger_id is given."
        raise Rejected("validation_failed", detail, status=422, errors=(Fault("query/rule_id", "exactly_one", detail),))
    async with gathering(door) as rows:
        card = await rows.card(str(element_id), TRIGGERS)
    if card is None:
        raise NotFound("There is no such element.")
    reader = why.Reader(card.zone, await _labels_of_fields(door))
    if rule_id is not None:
        return await _why_rule(door, str(element_id), str(rule_id), at, reader)
    return await _why_trigger(door, card, str(trigger_id), at, reader)


async def _labels_of_fields(door: Door) -> dict[str, words.Words]:
    """What custom fields are called in forms, by normal path."""
    async with door.reading() as sql:
        rows = (await sql.execute(select(replicas.FIELD_SETS.table).where(replicas.FIELD_SETS.table.c.kind == "form"))).mappings().all()
    roots = {"contact": "contact.uf.", "company": "company.uf."}
    return {
        f"{roots.get(row['element_type'], 'uf.')}{field['code']}": words.same(field["label"]) for row in rows for field in row["fields"]
    }


async def _told(door: Door, aggregate: Aggregate[Any, Any, Any], id: str, at: datetime | None) -> list[why.Told]:
    """What was recorded of something until then."""
    events = await door.events(aggregate, id)
    return [why.Told(str(e.id), instant(e.recorded_at), e.event) for e in events if at is None or e.recorded_at <= at]


def _folded(aggregate: Aggregate[S, Any, Any], told: Iterable[why.Told], before: str | None = None) -> S:
    """The state; with `before`, as it was when that moment came."""
    return aggregate.fold(one.event for one in told if before is None or one.at < before)


def _published(told: Iterable[why.Told]) -> tuple[str | None, dict[int, Json]]:
    """When it first came into force, and its definition at every version."""
    found = [one for one in told if isinstance(one.event, rul.RulePublished | tri.TriggerPublished)]
    return next((one.at for one in found), None), {one.event.version: one.event.definition for one in found}


async def _why_rule(door: Door, element_id: str, rule_id: str, at: datetime | None, reader: why.Reader) -> Json:
    whole, _ = await door.state_at(RULE, rule_id)
    told, arrival = await _told(door, RULE, rule_id, at), await _last_arrival(door, element_id, whole.stage_id, at)
    visit = await _told(door, VISIT, arrival["visit_id"], at) if arrival else []
    came = why.Arrival(arrival["id"], instant(arrival["at"]), arrival["visit_number"], arrival["automation"]) if arrival else None
    before = _folded(RULE, told, came.at) if came else rul.DefinedRule()
    first, definitions = _published(told)
    case = why.RuleCase(rule_id, _folded(RULE, told), before, first, came, visit, definitions, reader)
    stay = why.visit_of(visit)
    run = stay.run(rule_id)
    return {**why.explain_rule(case), "run": shown_run(stay, run) if run else None}


async def _last_arrival(door: Door, element_id: str, stage_id: str, at: datetime | None) -> RowMapping | None:
    t = replicas.ARRIVALS_TABLE.c
    query = select(replicas.ARRIVALS_TABLE).where(t.element_id == element_id, t.stage_id == stage_id, *((t.at <= at,) if at else ()))
    async with door.reading() as sql:
        return (await sql.execute(query.order_by(t.visit_number.desc()).limit(1))).mappings().first()


LATEST = 50
"""Decisions about an element that are looked through."""


def _meant(trigger_id: str, decisions: Sequence[RowMapping]) -> str | None:
    """The latest decision, but for those that were about another code or type of event where there is one about the trigger's own."""
    own = (row["id"] for row in decisions if (trigger_id, "not_in_scope") not in _verdicts(row))
    return next(own, decisions[0]["id"] if decisions else None)


def _verdicts(decision: RowMapping) -> set[tuple[str, str]]:
    return {(verdict["trigger_id"], verdict["verdict"]) for verdict in decision["verdicts"]}


async def _why_trigger(door: Door, card: Card, trigger_id: str, at: datetime | None, reader: why.Reader) -> Json:
    whole, _ = await door.state_at(TRIGGER, trigger_id)
    told = await _told(door, TRIGGER, trigger_id, at)
    t, named = views.DECISIONS_TABLE.c, views.TRIGGERS_TABLE.c
    kind = (t.element_id == card.element_id, t.trigger_type == whole.latest.get("type"), *((t.at <= at,) if at else ()))
    query = select(t.id, t.verdicts).where(*kind).order_by(t.at.desc(), t.id).limit(LATEST)
    async with door.reading() as sql:
        decision = _meant(trigger_id, (await sql.execute(query)).mappings().all())
        names = {row.id: row.name for row in await sql.execute(select(named.id, named.name))}
    events = await _told(door, DECISION, decision, at) if decision else []
    before = _folded(TRIGGER, told, events[0].at) if events else tri.DefinedTrigger()
    first, definitions = _published(told)
    case = TriggerCase(trigger_id, _folded(TRIGGER, told), before, first, events, definitions, names, card.pipeline.id, reader)
    return explain_trigger(case)


@API.get("/v1/trigger-decisions", operation_id="decisions_list", tags=["decisions"])
async def list_decisions(
    door: Annotated[Door, SEE_RUNS],
    paging: Page,
    element_id: UUID | None = None,
    outcome: str | None = None,
    trigger_id: UUID | None = None,
) -> Response:
    t = views.DECISIONS_TABLE.c
    wanted = {t.element_id: element_id, t.outcome: outcome, t.trigger_id: trigger_id}
    query = matching(select(views.DECISIONS_TABLE), wanted)
    return await door.listed(query, paging, sort=(t.at,), shown=_shown_decision)


def _shown_decision(row: Mapping[str, Any]) -> Json:
    names = ("id", "source_event_id", "source_type", "trigger_type", "element_id", "invoice_id", "waiting_for", "outcome", "reason")
    shown = {name: row[name] for name in (*names, "trigger_id", "order_version", "visit_id", "at")}
    return {**shown, "verdicts": [_shown_verdict(verdict) for verdict in row["verdicts"]]}


def _shown_verdict(verdict: Json) -> Json:
    """Of one candidate, with every comparison of its condition, in words too."""
    says = words.label(words.VERDICTS, verdict["verdict"]).shown("says")
    return {**verdict, **says, "trace": [shown_trace(trace) for trace in verdict["trace"]]}


@API.get("/v1/trigger-decisions/{id}", operation_id="decisions_get", tags=["decisions"])
async def get_decision(id: Id, door: Annotated[Door, SEE_RUNS]) -> Response:
    t = views.DECISIONS_TABLE.c
    row = await door.one(select(views.DECISIONS_TABLE).where(t.id == str(id)))
    return door.shown(row["version"], _shown_decision(dict(row)))


@API.post("/v1/trigger-decisions/{id}/judgements", operation_id="decisions_judge", tags=["decisions"])
async def judge(id: Id, door: Annotated[Door, TOUCH_RUNS], body: Nothing | None = None) -> Response:
    """An unresolved decision is judged after all, on the element as it is now (D19)."""
    row = await door.one(select(views.DECISIONS_TABLE).where(views.DECISIONS_TABLE.c.id == str(id)))
    async with gathering(door) as rows:
        card = await rows.card(row["element_id"], TRIGGERS) if row["element_id"] else None
        found = judging(card, rows) if card else None
    if found is None:
        raise Rejected("not_yet", "Its element is not known yet.")

    def answer(done: Result) -> Answer:
        return Answer(200, {"id": str(id), "status": done.state(DECISION, str(id)).status})

    asked = decides(str(id), found, lambda situation, seen: dec.JudgeByHand(found.situation(seen)))
    return await door.ask(asked, answer=answer)
