"""What a bulk move would set off, before it is made (D66)."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field, model_validator
from sqlalchemy import func, select

from services.automation import replicas, views
from services.automation.api.common import SEE_RUNS, gathering, place_of, world_of
from services.automation.settings import settings
from shared.http.commands import Door
from shared.http.problems import Body

API = APIRouter()
MOST_ELEMENTS = 1000


class Preview(Body):
    """Elements by id, or all that stand on a stage; `stage_id` is where they would go."""

    stage_id: UUID
    element_ids: Annotated[list[UUID], Field(min_length=1, max_length=MOST_ELEMENTS)] | None = None
    from_stage_id: UUID | None = None

    @model_validator(mode="after")
    def _one_of_both(self) -> Preview:
        if (self.element_ids is None) == (self.from_stage_id is None):
            raise ValueError("either element_ids or from_stage_id is given")
        return self


@API.post("/v1/previews", operation_id="previews", tags=["runs"])
async def preview(body: Preview, door: Annotated[Door, SEE_RUNS]) -> Any:
    """How many rules a move of these elements would start, by type; nothing is written.

    `elements`: those that would really move. Conditions are judged when a rule is due, so `runs` is the most there can be;
    `seconds`: how long the tenant's quota spreads those that begin at once."""
    world, stage = await world_of(door), str(body.stage_id)
    place_of(world, next((p["id"] for p in world.pipelines if any(s["stage_id"] == stage for s in p["stages"])), ""), stage)
    moving = await _moving(door, body)
    async with gathering(door) as rows:
        (rules,) = await rows.find(views.RULES_BY_STAGE, stage)
    types = Counter(ready.rule.rule_type for ready in rules.in_force)
    at_once = sum(ready.rule.timing is None and not ready.rule.after_previous for ready in rules.in_force)
    quota = settings().automation.new_runs_a_second
    by_type = [{"rule_type": name, "rules": n, "runs": n * moving} for name, n in sorted(types.items())]
    return {"elements": moving, "runs": moving * types.total(), "by_type": by_type, "seconds": -(-at_once * moving // quota)}


async def _moving(door: Door, body: Preview) -> int:
    """Elements that are there and not on the stage already: a move to the same stage starts nothing (G8)."""
    t = replicas.ELEMENTS.table.c
    query = select(func.count()).where(t.deleted.is_(False), t.stage_id != str(body.stage_id))
    chosen = t.stage_id == str(body.from_stage_id) if body.element_ids is None else t.id.in_([str(id) for id in body.element_ids])
    async with door.reading() as sql:
        return (await sql.execute(query.where(chosen))).scalar_one()
