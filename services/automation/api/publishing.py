"""Before and beside a publication: what it would touch, and what a version in shadow would have done (capability 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter
from sqlalchemy import Numeric, String, cast, func, literal_column, select
from starlette.responses import Response

from services.automation import replicas, views
from services.automation.api.checks import shown_check
from services.automation.api.common import READ, SEE_RUNS, Id, Page, place_of, world_of
from services.automation.api.rule_sets import MOST_RUNS_SHOWN, NEW_VERSION, NOT_BEGUN
from services.automation.api.rules import checked_rule
from services.automation.api.runs import RUNS, runs_query, shown_trace
from services.automation.domain import words
from services.automation.domain.explain import reason
from services.automation.domain.rule import RULE
from shared.es.aggregate import Json
from shared.http.commands import Door

API = APIRouter()


@API.get("/v1/rules/{id}/publication-preview", operation_id="rules_publication_preview", tags=["rules"])
async def publication_preview(id: Id, door: Annotated[Door, READ]) -> Any:
    """What publishing the draft would touch; nothing is written.

    `waiting`: runs that have not begun, the first by due time for those who may see runs, and what `keep`, `migrate` and `cancel`
    make of them. `elements`: how many stand on the stage; they keep their version. `money`: of the elements that runs wait for,
    by currency. `findings`: what stands in the way, references to things that are gone among it."""
    world = await world_of(door)
    rule, _ = await door.state_at(RULE, str(id))
    checked = checked_rule(world, str(id), rule)
    place = place_of(world, rule.pipeline_id, rule.stage_id)
    shown = {"rule_id": str(id), "version": rule.version, "next_version": rule.version + 1, "stage": f"{place.pipeline}/{place.stage}"}
    return {
        **shown,
        "waiting": await _waiting(door, str(id)),
        "elements": await _elements_on(door, rule.stage_id),
        "money": await _money(door, str(id)),
        **shown_check(checked),
    }


async def _waiting(door: Door, rule_id: str) -> Json:
    t = RUNS.c
    waiting = runs_query({t.rule_id: rule_id}, t.waits, t.state.in_(NOT_BEGUN)).subquery()
    w = waiting.c
    figures = select(func.count(), func.count().filter(w.state == "blocked"), func.min(w.due_at), func.max(w.due_at)).select_from(waiting)
    first = select(w.run_id, w.element_id, w.state, w.due_at, w.rule_version).order_by(w.due_at.asc().nulls_last(), w.run_id)
    async with door.reading() as sql:
        count, blocked, earliest, latest = (await sql.execute(figures)).one()
        runs = (await sql.execute(first.limit(MOST_RUNS_SHOWN))).mappings().all() if door.may("runs:read") else []
    listed = [{**run, "rule_version": int(run["rule_version"])} for run in runs]
    return {"count": count, "blocked": blocked, "first_due_at": earliest, "last_due_at": latest, **NEW_VERSION, "runs": listed}


async def _elements_on(door: Door, stage_id: str) -> int:
    t = replicas.ELEMENTS.table.c
    async with door.reading() as sql:
        return (await sql.execute(select(func.count()).where(t.stage_id == stage_id, t.deleted.is_(False)))).scalar_one()


async def _money(door: Door, rule_id: str) -> list[Json]:
    """Sums of the elements that runs of the rule wait for."""
    t, e = RUNS.c, replicas.ELEMENTS.table.c
    waiting = runs_query({t.rule_id: rule_id}, t.waits, t.state.in_(NOT_BEGUN)).subquery()
    currency, amount = (e.fields.op("->>")(literal_column(f"'{name}'")) for name in ("currency", "amount"))
    total = cast(func.sum(cast(amount, Numeric)), String).label("amount")
    query = select(currency.label("currency"), total, func.count().label("elements"))
    query = query.where(e.id.in_(select(waiting.c.element_id)), amount.is_not(None)).group_by(currency).order_by(currency)
    async with door.reading() as sql:
        return [dict(row) for row in (await sql.execute(query)).mappings()]


@API.get("/v1/rules/{id}/shadow-judgements", operation_id="rules_shadow_judgements", tags=["rules"])
async def shadow_judgements(id: Id, door: Annotated[Door, SEE_RUNS], paging: Page, verdict: str | None = None) -> Response:
    """What versions in shadow would have done at each visit, beside what the live version really did. They asked for nothing."""
    s, v = views.SHADOWS_TABLE.c, views.VISITS_TABLE.c
    beside = select(*(column for column in s if column.name != "tenant"), v.runs).join_from(
        views.SHADOWS_TABLE, views.VISITS_TABLE, (v.id == s.id) & (v.tenant == s.tenant)
    )
    query = beside.where(s.rule_id == str(id), *((s.verdict == verdict,) if verdict else ()))
    return await door.listed(query, paging, sort=(s.at,), shown=_shown_judgement)


def _shown_judgement(row: Mapping[str, Any]) -> Json:
    names = ("rule_version", "element_id", "stage_id", "at", "verdict", "detail", "would_ask")
    live = next((run for run in row["runs"] if run["rule_id"] == row["rule_id"]), None)
    really = {name: live[name] for name in ("run_id", "rule_version", "state", "reason")} if live else None
    says = words.SHADOWS.get(row["verdict"]) or reason(row["verdict"], row["detail"])
    trace = [shown_trace(tuple(each)) for each in row["trace"]]
    return {"visit_id": row["id"], **{name: row[name] for name in names}, **says.shown("says"), "condition": trace, "live": really}
