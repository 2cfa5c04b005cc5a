"""Emptying a stage that is being replaced: its elements go to the replacement, then it is gone. (D60)

Required fields do not hold them up: nobody asked for the move, and the stage has to go."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid5

from services.deals import views
from services.deals.domain.deal import DEAL, MoveDeal
from services.deals.domain.lead import LEAD, MoveLead
from services.deals.domain.origin import Cause, Origin
from services.deals.domain.pipeline import PIPELINE, RemoveStage, arrival_place
from services.deals.domain.stay import Place
from shared.es.addressed import Addressed, Facts
from shared.es.recorded import Context
from shared.es.view import Row
from shared.messaging.batch import Item, handle_batch
from shared.messaging.due import DueRows
from shared.runtime.service import Kit

CONSUMER = "stage-replacement"
PAUSE = timedelta(seconds=2)

NOT_BLOCKED = (
    " and not exists (select 1 from blocked b where b.consumer = 'stage-replacement' and b.key = e.tenant::text || '/' || e.id"
    " and (b.next_at is null or b.next_at > $1))"
)
STANDING = (
    "select e.tenant, e.id, e.visit_id, e.pipeline_id, e.stage_id, r.value ->> 'by' as by, r.value ->> 'automation' as automation"
    " from pipelines_v1 p cross join lateral jsonb_each(p.replacing) r"
    " join {table} e on e.tenant = p.tenant and e.pipeline_id = p.id::uuid and e.stage_id = r.key::uuid and not e.deleted"
    " where p.replacing <> '{{}}'" + NOT_BLOCKED + " order by e.tenant, e.id limit $2 for update of e skip locked"
)
EMPTY = (
    "select e.tenant, e.id, r.key as stage_id from pipelines_v1 e cross join lateral jsonb_each(e.replacing) r"
    " where e.replacing <> '{}'"
    " and not exists (select 1 from deals_v1 d where d.tenant = e.tenant and d.stage_id = r.key::uuid and not d.deleted)"
    " and not exists (select 1 from leads_v1 l where l.tenant = e.tenant and l.stage_id = r.key::uuid and not l.deleted)"
    + NOT_BLOCKED
    + " limit $2 for update of e skip locked"
)
ANY = "select exists (select 1 from pipelines_v1 where replacing <> '{}')"


def _item(row: Row, id: UUID, asked: Addressed[Any]) -> Item:
    context = Context(row["tenant"], str(id), str(id))
    return Item(str(id), CONSUMER, f"{row['tenant']}/{row['id']}", context, (asked,))


def _cause(seen: Facts) -> Cause:
    return Cause(Origin("system"), seen.now)


def _replacement(row: Row, element_type: str, seen: Facts) -> Place:
    pipeline = seen.state(PIPELINE, str(row["pipeline_id"]))
    return replace(arrival_place(pipeline, element_type, UUID(row["by"])), required_fields=())


def _move_deal(row: Row) -> Item:
    def move(seen: Facts) -> MoveDeal | None:
        if seen.state(DEAL, row["id"]).stay.visit_id != row["visit_id"]:
            return None
        return MoveDeal(_replacement(row, "deal", seen), "stage_replaced", _cause(seen), row["automation"])

    asked = Addressed(DEAL, row["id"], move, reads=((PIPELINE, str(row["pipeline_id"])),))
    return _item(row, uuid5(row["visit_id"], CONSUMER), asked)


def _move_lead(row: Row) -> Item:
    def move(seen: Facts) -> MoveLead | None:
        if seen.state(LEAD, row["id"]).stay.visit_id != row["visit_id"]:
            return None
        return MoveLead(_replacement(row, "lead", seen), "stage_replaced", _cause(seen), row["automation"])

    asked = Addressed(LEAD, row["id"], move, reads=((PIPELINE, str(row["pipeline_id"])),))
    return _item(row, uuid5(row["visit_id"], CONSUMER), asked)


def _remove_stage(row: Row) -> Item:
    stage_id: str = row["stage_id"]

    def remove(seen: Facts) -> RemoveStage:
        return RemoveStage(UUID(stage_id), seen.one(views.ELEMENTS_IN_STAGE, stage_id) or 0, _cause(seen))

    asked = Addressed(PIPELINE, row["id"], remove, exclusive=f"pipeline-elements/{row['id']}", finds=((views.ELEMENTS_IN_STAGE, stage_id),))
    return _item(row, uuid5(UUID(stage_id), CONSUMER), asked)


DOORS = (
    DueRows(CONSUMER, STANDING.format(table="deals_v1"), _move_deal),
    DueRows(CONSUMER, STANDING.format(table="leads_v1"), _move_lead),
    DueRows(CONSUMER, EMPTY, _remove_stage),
)


class Replacements:
    """A loop: a page of elements at a time, until nothing stands in a stage that is being replaced."""

    name = CONSUMER

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def step(self) -> timedelta:
        """Woken by every commit: one look says that nothing is being replaced, which is nearly always so."""
        async with self._kit.database.raw() as raw:
            if not await raw.fetchval(ANY):
                return PAUSE
        done = [await handle_batch(self._kit, DueRows(door.consumer, door.sql, door.item)) for door in DOORS]
        return timedelta() if any(result.events for result in done) else PAUSE
