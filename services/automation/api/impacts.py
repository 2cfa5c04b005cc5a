"""What depends on a person, a stage or a pipeline, before it goes (D21, D59, D60)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy import ColumnElement, Table, Text, cast, func, literal_column, or_, select

from services.automation import replicas, views
from services.automation.api.common import READ
from services.automation.api.rule_sets import MOST_RUNS_SHOWN
from services.automation.api.runs import RUNS, runs_query
from shared.es.aggregate import Json
from shared.es.errors import Fault, Rejected
from shared.http.commands import Door

API = APIRouter()
PLACES = {"employee_id": "owner_id", "stage_id": "stage_id", "pipeline_id": "pipeline_id"}
"""Parameter and the column of a rule or trigger that says: it is his, or stands there."""


@API.get("/v1/impacts", operation_id="impacts", tags=["rules"])
async def impacts(
    door: Annotated[Door, READ], employee_id: UUID | None = None, stage_id: UUID | None = None, pipeline_id: UUID | None = None
) -> Json:
    """Rules and triggers that are owned by it, stand there or name it, and the runs that wait for it; exactly one of the three.

    `waiting`: how many runs, and the first of them by due time for those who may see runs. A run waits for a person who is
    responsible for its element, or whose rule is the person's or names him."""
    given = {"employee_id": employee_id, "stage_id": stage_id, "pipeline_id": pipeline_id}
    [(name, id)] = _only(given).items()
    rules = await _depending(door, views.RULES_TABLE, name, id)
    triggers = await _depending(door, views.TRIGGERS_TABLE, name, id)
    return {name: id, "rules": rules, "triggers": triggers, "waiting": await _waiting(door, name, id, [rule["id"] for rule in rules])}


def _only(given: Mapping[str, UUID | None]) -> dict[str, str]:
    """Raises Rejected (422)."""
    found = {name: str(value) for name, value in given.items() if value is not None}
    if len(found) != 1:
        detail = f"Exactly one of {', '.join(given)} is given."
        raise Rejected("validation_failed", detail, status=422, errors=(Fault("query/employee_id", "exactly_one", detail),))
    return found


async def _depending(door: Door, table: Table, name: str, id: str) -> list[Json]:
    own = table.c[PLACES[name]] == id
    names_it = cast(table.c.references, Text).contains(id, autoescape=True)
    shown = [table.c[column] for column in ("id", "name", "state", "pipeline_id", "stage_id", "owner_id")]
    query = select(*shown, own.label("own"), names_it.label("names_it")).where(table.c.state != "deleted", or_(own, names_it))
    async with door.reading() as sql:
        return [dict(row) for row in (await sql.execute(query.order_by(table.c.name, table.c.id))).mappings()]


async def _waiting(door: Door, name: str, id: str, rules: Sequence[str]) -> Json:
    t = RUNS.c
    waiting = runs_query({}, t.waits, t.state.in_(views.WAITING), or_(t.rule_id.in_(rules), _waits_there(name, id))).subquery()
    w = waiting.c
    first = select(w.run_id, w.rule_id, w.element_id, w.state, w.due_at).order_by(w.due_at.asc().nulls_last(), w.run_id)
    async with door.reading() as sql:
        count = (await sql.execute(select(func.count()).select_from(waiting))).scalar_one()
        runs = (await sql.execute(first.limit(MOST_RUNS_SHOWN))).mappings().all() if door.may("runs:read") else []
    return {"count": count, "runs": [dict(run) for run in runs]}


def _waits_there(name: str, id: str) -> ColumnElement[bool]:
    if name != "employee_id":
        return RUNS.c[name] == id
    e = replicas.ELEMENTS.table.c
    responsible = e.fields.op("->>")(literal_column("'responsible_id'"))
    return RUNS.c.element_id.in_(select(e.id).where(responsible == id, e.deleted.is_(False)))
