"""What all routes share: rights, path parameters, bodies, and what names mean now."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import Depends, Path
from pydantic import AfterValidator, Field, JsonValue
from sqlalchemy import Select, select

from services.automation import replicas, views
from services.automation.domain.check import StageName
from services.automation.facts.cards import Gathered
from services.automation.rule_sets.planning import World
from services.automation.rule_sets.reading import MOST_WHOLE
from shared.es.errors import Fault, Rejected
from shared.es.view import Row
from shared.http.auth import needs
from shared.http.commands import Door
from shared.http.filters import one_of
from shared.http.paging import Paging
from shared.http.problems import Body
from shared.runtime.database import Tx

READ, WRITE, ACTIVATE = needs("rules:read"), needs("rules:write"), needs("rules:activate")
SEE_RUNS, TOUCH_RUNS = needs("runs:read"), needs("runs:write")
Id = Annotated[UUID, Path()]
Page = Annotated[Paging, Depends()]
ElementType = Literal["deal", "lead"]


@asynccontextmanager
async def gathering(door: Door) -> AsyncIterator[Gathered]:
    """Rows for one request of a person, as the tenant's reader sees them."""
    now = await door.now()
    async with door.reading() as sql:
        raw: Any = (await sql.get_raw_connection()).driver_connection
        yield Gathered(Tx(raw, now), door.caller.tenant)


TABLES = {
    "pipelines": replicas.PIPELINES.table,
    "employees": replicas.EMPLOYEES.table,
    "field_sets": replicas.FIELD_SETS.table,
    "rooms": replicas.ROOMS.table,
    "files": replicas.FILES.table,
    "endpoints": replicas.ENDPOINTS.table,
    "values": views.VALUES_TABLE,
    "rules": views.RULES_TABLE,
    "triggers": views.TRIGGERS_TABLE,
    "app_triggers": views.APP_TRIGGERS_TABLE,
}


async def world_of(door: Door) -> World:
    async with door.reading() as sql:
        rows = {name: [dict(row) for row in (await sql.execute(select(table))).mappings()] for name, table in TABLES.items()}
    rows["values"] = [row for row in rows["values"] if row["state"] == "defined"]
    rows["app_triggers"] = [row for row in rows["app_triggers"] if row["state"] == "registered"]
    return World(**rows)


def place_of(world: World, pipeline_id: str, stage_id: str) -> StageName:
    """Raises Rejected when there is no such stage."""
    for pipeline in world.pipelines:
        for stage in pipeline["stages"]:
            if pipeline["id"] == pipeline_id and stage["stage_id"] == stage_id:
                return StageName(pipeline_id, pipeline["code"], stage_id, stage["code"], pipeline["element_type"])
    known = any(pipeline["id"] == pipeline_id for pipeline in world.pipelines)
    code, pointer = ("unknown_stage", "#/stage_id") if known else ("unknown_pipeline", "#/pipeline_id")
    detail = "There is no such stage." if known else "There is no such pipeline."
    raise Rejected("unknown_reference", detail, status=422, errors=(Fault(pointer, code, detail),))


def exact(value: JsonValue) -> JsonValue:
    """Whole numbers beyond these no JSON reader keeps as they are. A body is at most 32 deep."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inside:
        exact(each)
    if isinstance(value, int) and abs(value) > MOST_WHOLE:
        raise ValueError(f"A whole number is at most {MOST_WHOLE}; write a larger one as text.")
    return value


Plain = Annotated[JsonValue, AfterValidator(exact)]
Definition = Annotated[dict[str, JsonValue], AfterValidator(exact), Field(description="A rule or trigger in the JSON of rule-format 3.")]


class RuleChanges(Body):
    definition: Definition | None = None
    owner_id: UUID | None = None


class Nothing(Body):
    """Nothing needs to be said."""


def matching(query: Select[Any], wanted: Mapping[Any, object]) -> Select[Any]:
    """One filter per parameter that was given; `a,b` is one of both."""
    given = {column: str(value) for column, value in wanted.items() if value is not None}
    return query.where(*(condition for column, text in given.items() for condition in one_of(column, text)))


def rules_of_stage(world: World, stage_id: str) -> list[Row]:
    """Those that were published, in order."""
    there = (row for row in world.rules if row["stage_id"] == stage_id and row["state"] in ("published", "disabled"))
    return sorted(there, key=lambda row: (row["position"], row["id"]))
