"""HTTP in: a request becomes what is asked of the aggregates; reading comes from the views. (deals.md 9)"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Annotated, Any
from uuid import UUID, uuid5

import structlog
from fastapi import APIRouter, Depends, Header, Path, Query, Request
from fastapi.responses import FileResponse, Response
from pydantic import ValidationError
from sqlalchemy import Column, DateTime, Integer, MetaData, Select, Table, Text, func, select, union_all
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import RowMapping

from services.deals import views
from services.deals.asks import bodies, customers, directory, elements, files, filters
from services.deals.asks.asker import Asker
from services.deals.asks.bodies import fields_of
from services.deals.domain import timeline
from services.deals.domain.company import COMPANY
from services.deals.domain.contact import CONTACT
from services.deals.domain.content import LOOKED_AT, content_type_of, fault_in_name, name_without_folders
from services.deals.domain.credential import CREDENTIAL
from services.deals.domain.deal import DEAL
from services.deals.domain.details import DETAILS
from services.deals.domain.employee import EMPLOYEE
from services.deals.domain.field_set import FIELD_SET, FieldDefinition, form_id, template_id
from services.deals.domain.fields import invalid
from services.deals.domain.file import FILE, LARGEST_FILE
from services.deals.domain.lead import LEAD
from services.deals.domain.origin import Origin
from services.deals.domain.pipeline import PIPELINE, Stage
from services.deals.domain.tenant import TENANT
from services.deals.replicas import ACTING, REFUSALS, TIMELINE
from services.deals.settings import settings, storage_settings
from services.deals.storage import Incoming, Storage, StorageTrouble
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, NotFound, Rejected
from shared.es.recorded import Recorded
from shared.http.auth import SCOPES, needs
from shared.http.commands import Answer, Door, Result
from shared.http.forms import Form, form_of, read_form
from shared.http.history import shown_event
from shared.http.paging import Paging
from shared.http.problems import PROBLEMS, Problem, faults_of
from shared.messaging.directory import CREDENTIALS, TENANTS
from shared.runtime.clock import new_id

API = APIRouter(responses=PROBLEMS)
log = structlog.get_logger(__name__)

Reader = Annotated[Door, needs("deals:read")]
Writer = Annotated[Door, needs("deals:write")]
DirectoryWriter = Annotated[Door, needs("directory:write")]
TenantAdmin = Annotated[Door, needs("admin:tenants")]
KeyAdmin = Annotated[Door, needs("admin:keys")]
Page = Annotated[Paging, Depends()]
Version = Annotated[int | None, Query(ge=1, le=999_999_999, description="The state as it was at this version.")]
Id = Annotated[UUID, Path()]
Body = Mapping[str, Any]
Shows = Callable[[Any], dict[str, Any]]


# --------------------------------------------------------------------------------------------------------------- answers
def asker(door: Door) -> Asker:
    """A person where the key acts as an employee, else the API client."""
    caller, client = door.caller, door.caller.client_id
    origin = Origin("person") if caller.employee_id else Origin("api", id=UUID(client) if client else None)
    return Asker(caller.tenant, caller.actor, origin)


def made(aggregate: Aggregate[Any, Any, Any], id: UUID, shows: Shows, path: str) -> Callable[[Result], Answer]:
    """201 with what was made; 200 when it was there already, made from the same body."""

    def answer(done: Result) -> Answer:
        version = done.version(aggregate, str(id))
        body = {**shows(done.state(aggregate, str(id))), "version": version}
        return Answer(201 if done.recorded else 200, body, location=f"/v1/{path}/{id}", etag=version)

    return answer


def changed(aggregate: Aggregate[Any, Any, Any], id: UUID, shows: Shows) -> Callable[[Result], Answer]:
    """200 with the thing as it is now."""

    def answer(done: Result) -> Answer:
        version = done.version(aggregate, str(id))
        return Answer(200, {**shows(done.state(aggregate, str(id))), "version": version}, etag=version)

    return answer


def gone(done: Result) -> Answer:
    return Answer(204)


def row_body(row: Mapping[Any, Any]) -> dict[str, Any]:
    return {**row["body"], "version": row["version"]}


def rows_of(table: Table, conditions: Iterable[Any] = ()) -> Select[Any]:
    return select(table.c.id, table.c.version, table.c.body).where(*conditions)


async def shown(door: Door, table: Table, aggregate: Aggregate[Any, Any, Any], shows: Shows, id: UUID, version: int | None) -> Response:
    """A resource as it is, or as it was at a version."""
    if version is None:
        row = await door.one(rows_of(table, [table.c.id == str(id)]))
        return door.shown(row["version"], row_body(row))
    state, at = await door.state_at(aggregate, str(id), version)
    return door.shown(at, {**shows(state), "version": at})


async def first(door: Door, query: Select[Any]) -> RowMapping | None:
    async with door.reading() as sql:
        row: RowMapping | None = (await sql.execute(query)).mappings().first()
        return row


def with_line_ids(values: dict[str, Any], id_of: Callable[[int], UUID]) -> dict[str, Any]:
    """Rows that were sent without an id get one."""
    if "lines" in values:
        rows = enumerate(values["lines"])
        values["lines"] = [{"quantity": "1", **line, "line_id": line.get("line_id") or str(id_of(n))} for n, line in rows]
    return values


def new_values(door: Door, body: Any, id: UUID, *besides: str) -> dict[str, Any]:
    """Fields of a new element: rows with ids; whoever makes it is responsible unless the body says otherwise."""
    values = with_line_ids(fields_of(body, *besides), lambda n: uuid5(id, f"line/{n}"))
    employee = asker(door).employee_id
    return values if employee is None else {"responsible_id": str(employee), **values}


# ------------------------------------------------------------------------------------------------------------- pipelines
async def default_pipeline(door: Door, element_type: str) -> UUID | None:
    t = views.PIPELINES.c
    row = await first(door, select(t.id).where(t.element_type == element_type, t.is_default, t.state == "active"))
    return None if row is None else UUID(row["id"])


HOMES: dict[tuple[UUID, UUID], UUID] = {}
"""Tenant and stage -> pipeline. A stage never changes its pipeline; one that is gone is refused by the pipeline itself."""
MOST_HOMES = 100_000


async def home_of(door: Door, stage_id: UUID) -> UUID | None:
    """The pipeline that has the stage."""
    key = (door.caller.tenant, stage_id)
    if key in HOMES:
        return HOMES[key]
    t = views.PIPELINES.c
    row = await first(door, select(t.id).where(t.stage_ids.has_key(str(stage_id))))
    if row is None:
        return None
    if len(HOMES) >= MOST_HOMES:
        HOMES.clear()
    return HOMES.setdefault(key, UUID(row["id"]))


async def element_type_of(door: Door, pipeline_id: UUID) -> str:
    t = views.PIPELINES.c
    return str((await door.one(select(t.element_type).where(t.id == str(pipeline_id))))["element_type"])


def stage_of(new: bodies.NewStage) -> Stage:
    return Stage(new.stage_id or new_id(), new.code, new.name, new.kind, new.colour, new.required_fields)


@dataclass(frozen=True, slots=True)
class PipelineFilter:
    element_type: str | None = None
    state: str | None = None


@API.get("/v1/pipelines", operation_id="pipelines_list", tags=["pipelines"])
async def list_pipelines(door: Reader, paging: Page, by: Annotated[PipelineFilter, Depends()]) -> Response:
    f = filters.Filters(views.PIPELINES, asdict(by))
    query = rows_of(views.PIPELINES, f.texts(element_type="element_type", state="state"))
    return await door.listed(query, paging, sort=(views.PIPELINES.c.created_at, views.PIPELINES.c.name), shown=row_body)


@API.post("/v1/pipelines", operation_id="pipelines_create", status_code=201, tags=["pipelines"])
async def create_pipeline(body: bodies.NewPipeline, door: Writer) -> Response:
    id = body.id or new_id()
    default = await default_pipeline(door, body.element_type)
    stages = [stage_of(stage) for stage in body.stages]
    new = directory.NewPipeline(id, body.code, body.element_type, fields_of(body), stages, default)
    return await door.ask(*directory.create_pipeline(asker(door), new), answer=made(PIPELINE, id, views.pipeline_body, "pipelines"))


@API.get("/v1/pipelines/{id}", operation_id="pipelines_show", tags=["pipelines"])
async def show_pipeline(id: Id, door: Reader, version: Version = None) -> Response:
    return await shown(door, views.PIPELINES, PIPELINE, views.pipeline_body, id, version)


@API.get("/v1/pipelines/{id}/events", operation_id="pipelines_events", tags=["pipelines"])
async def pipeline_events(id: Id, door: Reader, paging: Page) -> Response:
    return await door.history(PIPELINE, str(id), paging)


@API.patch("/v1/pipelines/{id}", operation_id="pipelines_change", tags=["pipelines"])
async def change_pipeline(id: Id, body: bodies.PipelineChanges, door: Writer) -> Response:
    element_type = await element_type_of(door, id)
    default = await default_pipeline(door, element_type)
    asked = directory.change_pipeline(asker(door), id, element_type, fields_of(body), default)
    return await door.ask(*asked, answer=changed(PIPELINE, id, views.pipeline_body))


@API.post("/v1/pipelines/{id}/stages", operation_id="pipelines_add_stage", status_code=201, tags=["pipelines"])
async def add_stage(id: Id, body: bodies.AddedStage, door: Writer) -> Response:
    asked = directory.add_stage(asker(door), id, await element_type_of(door, id), stage_of(body), body.position)
    return await door.ask(asked, answer=made(PIPELINE, id, views.pipeline_body, "pipelines"))


@API.patch("/v1/pipelines/{id}/stages/{stage_id}", operation_id="pipelines_change_stage", tags=["pipelines"])
async def change_stage(id: Id, stage_id: Id, body: bodies.StageChanges, door: Writer) -> Response:
    edit = directory.StageEdit(body.name, body.colour, body.required_fields)
    asked = directory.change_stage(asker(door), id, await element_type_of(door, id), stage_id, edit)
    return await door.ask(*asked, answer=changed(PIPELINE, id, views.pipeline_body))


@API.put("/v1/pipelines/{id}/stage-order", operation_id="pipelines_reorder", tags=["pipelines"])
async def reorder_stages(id: Id, body: bodies.StageOrder, door: Writer) -> Response:
    return await door.ask(directory.reorder_stages(asker(door), id, body.stage_ids), answer=changed(PIPELINE, id, views.pipeline_body))


@API.post("/v1/pipelines/{id}/stage-replacements", operation_id="pipelines_replace_stage", status_code=202, tags=["pipelines"])
async def replace_stage(id: Id, body: bodies.StageReplacement, door: Writer) -> Response:
    """The stage takes no arrivals from now on; how many elements are left stands at `Location` (D60)."""
    rules = {"archive": "archived", "move": "moved"}[body.rules]
    asked = directory.replace_stage(asker(door), id, body.stage_id, body.replacement_stage_id, body.automation, rules)

    def answer(done: Result) -> Answer:
        given = changed(PIPELINE, id, views.pipeline_body)(done)
        return Answer(202, given.body, location=f"/v1/pipelines/{id}/stage-replacements/{body.stage_id}", etag=given.etag)

    return await door.ask(asked, answer=answer)


@API.get("/v1/pipelines/{id}/stage-replacements/{stage_id}", operation_id="pipelines_stage_replacement", tags=["pipelines"])
async def show_replacement(id: Id, stage_id: Id, door: Reader) -> Response:
    """`elements_left` 0 and state `done`: the stage is gone."""
    state, version = await door.state_at(PIPELINE, str(id))
    begun = (state.replacements or {}).get(stage_id)
    if begun is None:
        raise NotFound("This stage is not being replaced.")
    left = [select(func.count()).select_from(t).where(t.c.stage_id == stage_id, t.c.deleted.is_(False)) for t in (views.DEALS, views.LEADS)]
    number = (await door.one(select(sum_of(left).label("number"))))["number"]
    progress = "replacing" if state.stage(stage_id) else "done"
    body = {"stage_id": str(stage_id), "replacement_stage_id": str(begun.replacement_id), "state": progress, "elements_left": number}
    return door.shown(version, body)


def sum_of(counts: Sequence[Select[Any]]) -> Any:
    first_one, *others = (count.scalar_subquery() for count in counts)
    return sum(others, start=first_one)


@API.post("/v1/pipelines/{id}/archivals", operation_id="pipelines_archive", tags=["pipelines"])
async def archive_pipeline(id: Id, door: Writer, body: bodies.NoBody | None = None) -> Response:
    return await door.ask(directory.archive_pipeline(asker(door), id), answer=changed(PIPELINE, id, views.pipeline_body))


# -------------------------------------------------------------------------------------------------------- deals and leads
@dataclass(frozen=True, slots=True)
class ElementFilter:
    """`a,b` is one of; `_from` inclusive, `_to` exclusive; custom fields as `uf.<code>`."""

    pipeline_id: str | None = None
    stage_id: str | None = None
    stage_kind: str | None = None
    responsible_id: str | None = None
    contact_id: str | None = None
    company_id: str | None = None
    amount_from: str | None = None
    amount_to: str | None = None
    currency: str | None = None
    created_from: str | None = None
    created_to: str | None = None
    arrived_from: str | None = None
    arrived_to: str | None = None
    deleted: str | None = None
    q: str | None = None


@dataclass(frozen=True, slots=True)
class DealFilter(ElementFilter):
    close_date_from: str | None = None
    close_date_to: str | None = None
    copied_from: str | None = None


@dataclass(frozen=True, slots=True)
class LeadFilter(ElementFilter):
    repeat: str | None = None
    source_deal_id: str | None = None


def element_conditions(table: Table, by: ElementFilter, request: Request) -> list[Any]:
    given = asdict(by)
    f = filters.Filters(table, {**given, "deleted": given["deleted"] or "false"})
    custom = {name[3:]: value for name, value in request.query_params.items() if name.startswith("uf.")}
    return [
        *f.ids("pipeline_id", "stage_id", "responsible_id", "company_id"),
        *f.texts(stage_kind="stage_kind", currency="currency"),
        *f.has("contact_id", "contact_ids"),
        *f.within("amount", "amount", filters.number),
        *f.within("created", "created_at", filters.instant),
        *f.within("arrived", "arrived_at", filters.instant),
        *f.flags(deleted="deleted"),
        *f.words("title"),
        *(table.c.custom[code].astext == value for code, value in custom.items()),
    ]


def deal_conditions(by: DealFilter, request: Request) -> list[Any]:
    f = filters.Filters(views.DEALS, asdict(by))
    own = [*f.within("close_date", "close_date", filters.day), *f.ids("copied_from")]
    return element_conditions(views.DEALS, by, request) + own


D, L = views.DEALS.c, views.LEADS.c
DEAL_ORDER = (D.created_at, D.amount, D.title, D.close_date, D.arrived_at)
LEAD_ORDER = (L.created_at, L.amount, L.title, L.arrived_at)
SEES_CUSTOM = Annotated[Door, needs("deals:read", also=("uf.",))]


@API.get("/v1/deals", operation_id="deals_list", tags=["deals"])
async def list_deals(door: SEES_CUSTOM, paging: Page, by: Annotated[DealFilter, Depends()], request: Request) -> Response:
    return await door.listed(rows_of(views.DEALS, deal_conditions(by, request)), paging, sort=DEAL_ORDER, shown=row_body)


@API.post("/v1/deals", operation_id="deals_create", status_code=201, tags=["deals"])
async def create_deal(body: bodies.NewDeal, door: Writer) -> Response:
    id = body.id or new_id()
    new = elements.NewDeal(id, body.pipeline_id, new_values(door, body, id), body.stage_id, await is_elsewhere(door, body), body.automation)
    return await door.ask(elements.create_deal(asker(door), new), answer=made(DEAL, id, views.deal_body, "deals"))


async def is_elsewhere(door: Door, body: bodies.NewDeal | bodies.NewLead) -> bool:
    """Whether the stage named belongs to a pipeline other than the one named."""
    if body.stage_id is None or body.pipeline_id is None:
        return False
    home = await home_of(door, body.stage_id)
    return home is not None and home != body.pipeline_id


@API.get("/v1/deals/{id}", operation_id="deals_show", tags=["deals"])
async def show_deal(id: Id, door: Reader, version: Version = None) -> Response:
    return await shown(door, views.DEALS, DEAL, views.deal_body, id, version)


@API.get("/v1/deals/{id}/events", operation_id="deals_events", tags=["deals"])
async def deal_events(id: Id, door: Reader, paging: Page) -> Response:
    return await door.history(DEAL, str(id), paging)


@API.patch("/v1/deals/{id}", operation_id="deals_change", tags=["deals"])
async def change_deal(id: Id, body: bodies.DealChanges, door: Writer) -> Response:
    changes = with_line_ids(fields_of(body), lambda n: new_id())
    return await door.ask(elements.change_deal(asker(door), id, changes), answer=changed(DEAL, id, views.deal_body))


@API.delete("/v1/deals/{id}", operation_id="deals_delete", status_code=204, tags=["deals"])
async def delete_deal(id: Id, door: Writer) -> Response:
    return await door.ask(elements.delete_element(asker(door), "deal", id), answer=gone)


@API.post("/v1/deals/{id}/restorations", operation_id="deals_restore", tags=["deals"])
async def restore_deal(id: Id, door: Writer, body: bodies.NoBody | None = None) -> Response:
    """The deal stands where it stood; `rearmable_visit_id` is the visit whose runs automation can plan again (D58)."""
    row = await door.one(select(D.pipeline_id).where(D.id == str(id)))

    def answer(done: Result) -> Answer:
        given = changed(DEAL, id, views.deal_body)(done)
        return Answer(200, {**given.body, "rearmable_visit_id": given.body["visit_id"]}, etag=given.etag)

    return await door.ask(elements.restore_element(asker(door), "deal", id, row["pipeline_id"]), answer=answer)


def by_whom(door: Door) -> str:
    return "person" if asker(door).employee_id else "api"


async def moving(door: Door, element_type: str, id: UUID, body: bodies.StageChange) -> elements.Move:
    home = await home_of(door, body.stage_id)
    return elements.Move(element_type, id, body.stage_id, home, by_whom(door), loss_reason=body.loss_reason, quiet=True)


@API.post("/v1/deals/{id}/stage-changes", operation_id="deals_move", tags=["deals"])
async def move_deal(id: Id, body: bodies.StageChange, door: Writer) -> Response:
    """A move to the stage where the deal is already answers 200 and changes nothing (G8)."""
    asked = elements.move_element(asker(door), await moving(door, "deal", id, body))
    return await door.ask(asked, answer=changed(DEAL, id, views.deal_body))


IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key", max_length=200)]


@API.post("/v1/deals/stage-changes", operation_id="deals_move_many", tags=["deals"])
async def move_deals(body: bodies.BulkStageChange, door: Writer, key: IdempotencyKey = None) -> Response:
    """Each deal for itself: `{id, status, code}` per deal, in the order given. Rules start as with single moves (D66)."""
    home = await home_of(door, body.stage_id)
    asked = {
        id: elements.move_element(asker(door), elements.Move("deal", id, body.stage_id, home, "bulk", quiet=True)) for id in body.deal_ids
    }
    results = await each(door, key, {str(id): (move, changed(DEAL, id, views.deal_body)) for id, move in asked.items()})
    return door.shown(0, {"items": [{"id": id, **result} for id, result in results.items()]})


Asked = tuple[Any, Callable[[Result], Answer]]


async def each(door: Door, key: str | None, asked: Mapping[str, Asked]) -> dict[str, dict[str, Any]]:
    """Asks for each thing under a key of its own; what is refused of one does not touch the others."""
    if key is None:
        raise Problem("idempotency-key-missing")
    answers = await asyncio.gather(*(door.ask(ask, answer=answer, key=f"{key}/{name}") for name, (ask, answer) in asked.items()))
    return {name: _told(response) for name, response in zip(asked, answers, strict=True)}


def _told(response: Response) -> dict[str, Any]:
    if response.status_code < 400:
        return {"status": response.status_code}
    problem = json.loads(bytes(response.body))
    return {"status": response.status_code, "code": problem["code"], "detail": problem["detail"], "errors": problem["errors"]}


@API.post("/v1/deals/imports", operation_id="deals_import", tags=["deals"])
async def import_deals(body: bodies.DealImport, door: Writer, key: IdempotencyKey = None) -> Response:
    """Each row for itself; the same `external_id` again is the same deal. No rule starts unless `automation` is on (G4)."""
    who = asker(door)
    importer = Asker(who.tenant, who.actor, Origin("import", id=who.origin.id))
    rows = {row.external_id: (uuid5(who.tenant, f"import/deal/{row.external_id}"), row) for row in body.rows}
    asked = {name: (importing(door, importer, id, row, body.automation), _imported(id)) for name, (id, row) in rows.items()}
    results = await each(door, key, asked)
    items = [{"external_id": name, "id": str(rows[name][0]), **result} for name, result in results.items()]
    return door.shown(0, {"items": items})


def importing(door: Door, importer: Asker, id: UUID, row: bodies.ImportedDeal, automation: str) -> Any:
    new = elements.NewDeal(id, row.pipeline_id, new_values(door, row, id), row.stage_id, automation=automation, once=True)
    return elements.create_deal(importer, new)


def _imported(id: UUID) -> Callable[[Result], Answer]:
    return lambda done: Answer(201 if done.recorded else 200, {"id": str(id)})


@API.post("/v1/deals/{id}/copies", operation_id="deals_copy", status_code=201, tags=["deals"])
async def copy_deal(id: Id, body: bodies.NewCopy, door: Writer) -> Response:
    copy_id = body.id or new_id()
    new = elements.NewCopy(id, copy_id, body.pipeline_id, body.stage_id, body.name, body.responsible_id)
    return await door.ask(*elements.copy_deal(asker(door), new), answer=made(DEAL, copy_id, views.deal_body, "deals"))


@API.get("/v1/leads", operation_id="leads_list", tags=["leads"])
async def list_leads(door: SEES_CUSTOM, paging: Page, by: Annotated[LeadFilter, Depends()], request: Request) -> Response:
    f = filters.Filters(views.LEADS, asdict(by))
    conditions = [*element_conditions(views.LEADS, by, request), *f.flags(repeat="repeat"), *f.ids("source_deal_id")]
    return await door.listed(rows_of(views.LEADS, conditions), paging, sort=LEAD_ORDER, shown=row_body)


@API.post("/v1/leads", operation_id="leads_create", status_code=201, tags=["leads"])
async def create_lead(body: bodies.NewLead, door: Writer) -> Response:
    id = body.id or new_id()
    pipeline = body.pipeline_id or await default_pipeline(door, "lead")
    if pipeline is None:
        raise Rejected("target_missing", "The tenant has no pipeline for leads.")
    new = elements.NewLead(
        id,
        pipeline,
        new_values(door, body, id, "source_deal_id", "recurring", "skip_if_open_exists"),
        body.stage_id,
        await is_elsewhere(door, body),
        body.source_deal_id,
        body.recurring,
        body.skip_if_open_exists,
        body.automation,
    )
    return await door.ask(elements.create_lead(asker(door), new), answer=made(LEAD, id, views.lead_body, "leads"))


@API.get("/v1/leads/{id}", operation_id="leads_show", tags=["leads"])
async def show_lead(id: Id, door: Reader, version: Version = None) -> Response:
    return await shown(door, views.LEADS, LEAD, views.lead_body, id, version)


@API.get("/v1/leads/{id}/events", operation_id="leads_events", tags=["leads"])
async def lead_events(id: Id, door: Reader, paging: Page) -> Response:
    return await door.history(LEAD, str(id), paging)


@API.patch("/v1/leads/{id}", operation_id="leads_change", tags=["leads"])
async def change_lead(id: Id, body: bodies.LeadChanges, door: Writer) -> Response:
    changes = with_line_ids(fields_of(body), lambda n: new_id())
    return await door.ask(elements.change_lead(asker(door), id, changes), answer=changed(LEAD, id, views.lead_body))


@API.delete("/v1/leads/{id}", operation_id="leads_delete", status_code=204, tags=["leads"])
async def delete_lead(id: Id, door: Writer) -> Response:
    return await door.ask(elements.delete_element(asker(door), "lead", id), answer=gone)


@API.post("/v1/leads/{id}/restorations", operation_id="leads_restore", tags=["leads"])
async def restore_lead(id: Id, door: Writer, body: bodies.NoBody | None = None) -> Response:
    row = await door.one(select(L.pipeline_id).where(L.id == str(id)))
    asked = elements.restore_element(asker(door), "lead", id, row["pipeline_id"])
    return await door.ask(asked, answer=changed(LEAD, id, views.lead_body))


@API.post("/v1/leads/{id}/stage-changes", operation_id="leads_move", tags=["leads"])
async def move_lead(id: Id, body: bodies.StageChange, door: Writer) -> Response:
    asked = elements.move_element(asker(door), await moving(door, "lead", id, body))
    return await door.ask(asked, answer=changed(LEAD, id, views.lead_body))


@API.post("/v1/leads/{id}/conversions", operation_id="leads_convert", status_code=201, tags=["leads"])
async def convert_lead(id: Id, body: bodies.NewConversion, door: Writer) -> Response:
    chosen = {"deal": body.deal_id, "contact": body.contact_id, "company": body.company_id}
    becomes: dict[str, UUID] = {target: chosen[target] or new_id() for target in body.targets}
    home = await first(door, select(L.pipeline_id).where(L.id == str(id)))
    pipeline = body.pipeline_id or await default_pipeline(door, "deal")
    stands_in = home["pipeline_id"] if home else None
    conversion = elements.Conversion(id, becomes, pipeline, stands_in, body.close_lead, body.responsible_id)
    return await door.ask(*elements.convert_lead(asker(door), conversion), answer=made(LEAD, id, views.lead_body, "leads"))


# ------------------------------------------------------------------------------------------- timeline, history and boards
LINES = Table(
    "lines",
    MetaData(),
    Column("id", Text, primary_key=True),
    Column("version", Integer, primary_key=True),
    Column("n", Integer, primary_key=True),
    Column("at", DateTime(timezone=True), nullable=False),
    *(Column(name, Text, nullable=False) for name in ("kind", "what", "actor")),
    *(Column(name, JSONB, nullable=False) for name in ("facts", "origin", "ref")),
)
"""Our own lines and those of others as one table: the name of a common table expression."""


ACTS = ACTING.table.c
WHOSE_DOING = select(ACTS.name).where(ACTS.id == LINES.c.origin["id"].astext).scalar_subquery().label("by")
"""The name of the rule or trigger that a line comes from."""


@dataclass(frozen=True, slots=True)
class TimelineFilter:
    kinds: str | None = None
    at_from: str | None = None
    at_to: str | None = None


def lines_of(element_id: UUID) -> Any:
    names = LINES.columns.keys()
    return union_all(*(select(*(t.c[name] for name in names)).where(t.c.element_id == element_id) for t in (views.OWN_LINES, TIMELINE)))


async def language_of(door: Door, table: Table, id: UUID) -> str:
    """Of the pipeline where the element stands. Raises NotFound."""
    p = views.PIPELINES.c
    stands_in = select(p.language).join_from(table, views.PIPELINES, p.id == table.c.pipeline_id.cast(Text))
    return str((await door.one(stands_in.where(table.c.id == str(id))))["language"])


async def timeline_of(door: Door, table: Table, id: UUID, paging: Paging, by: TimelineFilter) -> Response:
    """Newest first, in the language of the pipeline where the element stands."""
    language = await language_of(door, table, id)
    f = filters.Filters(LINES, asdict(by))
    conditions = [*f.texts(kinds="kind"), *f.within("at", "at", filters.instant)]
    query = select(LINES, WHOSE_DOING).where(*conditions).add_cte(lines_of(id).cte("lines"))

    def line(row: Mapping[str, Any]) -> dict[str, Any]:
        told = {"by": row["by"], "title": timeline.title(row["what"], row["facts"], language, row["by"])}
        return {**{name: row[name] for name in ("id", "at", "kind", "what", "actor", "origin", "facts", "ref")}, **told}

    return await door.listed(query, paging, sort=(LINES.c.at,), shown=line)


@API.get("/v1/deals/{id}/timeline", operation_id="deals_timeline", tags=["deals"])
async def deal_timeline(id: Id, door: Reader, paging: Page, by: Annotated[TimelineFilter, Depends()]) -> Response:
    return await timeline_of(door, views.DEALS, id, paging, by)


@API.get("/v1/leads/{id}/timeline", operation_id="leads_timeline", tags=["leads"])
async def lead_timeline(id: Id, door: Reader, paging: Page, by: Annotated[TimelineFilter, Depends()]) -> Response:
    return await timeline_of(door, views.LEADS, id, paging, by)


@dataclass(frozen=True, slots=True)
class HistoryFilter:
    element_type: str | None = None
    pipeline_id: str | None = None
    stage_id: str | None = None
    reason: str | None = None
    at_from: str | None = None
    at_to: str | None = None


HISTORY = views.STAGE_HISTORY
SHOWN_HISTORY = [column for column in HISTORY.columns if column.name not in ("tenant", "id", "version", "n")]


async def stage_history_of(door: Door, paging: Paging, *conditions: Any) -> Response:
    return await door.listed(select(*SHOWN_HISTORY).where(*conditions), paging, sort=(HISTORY.c.at,))


@API.get("/v1/deals/{id}/stage-history", operation_id="deals_stage_history", tags=["deals"])
async def deal_stage_history(id: Id, door: Reader, paging: Page) -> Response:
    await door.one(select(D.id).where(D.id == str(id)))
    return await stage_history_of(door, paging, HISTORY.c.element_id == id, HISTORY.c.element_type == "deal")


@API.get("/v1/leads/{id}/stage-history", operation_id="leads_stage_history", tags=["leads"])
async def lead_stage_history(id: Id, door: Reader, paging: Page) -> Response:
    await door.one(select(L.id).where(L.id == str(id)))
    return await stage_history_of(door, paging, HISTORY.c.element_id == id, HISTORY.c.element_type == "lead")


@API.get("/v1/stage-history", operation_id="stage_history_list", tags=["deals"])
async def stage_history(door: Reader, paging: Page, by: Annotated[HistoryFilter, Depends()]) -> Response:
    f = filters.Filters(HISTORY, asdict(by))
    kinds = f.texts(element_type="element_type", reason="reason")
    return await stage_history_of(door, paging, *f.ids("pipeline_id", "stage_id"), *kinds, *f.within("at", "at", filters.instant))


@API.get("/v1/boards/{pipeline_id}", operation_id="boards_show", tags=["deals"])
async def show_board(
    pipeline_id: Id,
    door: SEES_CUSTOM,
    by: Annotated[DealFilter, Depends()],
    request: Request,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Response:
    """The first page of every stage, with number and sums per currency: as of one moment."""
    row = await door.one(rows_of(views.PIPELINES, [views.PIPELINES.c.id == str(pipeline_id)]))
    table = views.DEALS if row["body"]["element_type"] == "deal" else views.LEADS
    others = deal_conditions(by, request) if table is views.DEALS else element_conditions(table, by, request)
    conditions = [table.c.pipeline_id == pipeline_id, *others]
    async with door.reading() as sql:
        sums = (await sql.execute(sums_of(table, conditions))).mappings().all()
        items = (await sql.execute(first_of_each_stage(table, conditions, limit))).mappings().all()
    return door.shown(row["version"], {"pipeline_id": str(pipeline_id), "stages": columns_of(row["body"]["stages"], sums, items)})


def sums_of(table: Table, conditions: Sequence[Any]) -> Select[Any]:
    t = table.c
    figures = (func.count().label("count"), func.sum(t.amount).label("amount"))
    return select(t.stage_id, t.currency, *figures).where(*conditions).group_by(t.stage_id, t.currency).order_by(t.currency)


def first_of_each_stage(table: Table, conditions: Sequence[Any], limit: int) -> Select[Any]:
    t = table.c
    place = func.row_number().over(partition_by=t.stage_id, order_by=(t.arrived_at.desc(), t.id.desc())).label("place")
    numbered = select(t.version, t.body, t.stage_id, place).where(*conditions).subquery()
    return select(numbered).where(numbered.c.place <= limit).order_by(numbered.c.stage_id, numbered.c.place)


def columns_of(stages: Sequence[Body], sums: Sequence[RowMapping], items: Sequence[RowMapping]) -> list[dict[str, Any]]:
    def column(stage: Body) -> dict[str, Any]:
        own = [row for row in sums if str(row["stage_id"]) == stage["stage_id"]]
        return {
            **stage,
            "count": sum(row["count"] for row in own),
            "sums": [{"amount": row["amount"], "currency": row["currency"]} for row in own],
            "items": [row_body(row) for row in items if str(row["stage_id"]) == stage["stage_id"]],
        }

    return [column(stage) for stage in stages]


@dataclass(frozen=True, slots=True)
class RefusalFilter:
    code: str | None = None
    element_id: str | None = None
    at_from: str | None = None
    at_to: str | None = None


@API.get("/v1/command-refusals", operation_id="command_refusals_list", tags=["deals"])
async def list_refusals(door: Reader, paging: Page, by: Annotated[RefusalFilter, Depends()]) -> Response:
    """What senders of messages were refused, newest first."""
    f = filters.Filters(REFUSALS, asdict(by))
    shown_columns = [column for column in REFUSALS.columns if column.name not in ("tenant", "id", "version", "n")]
    conditions = [*f.texts(code="code", element_id="element_id"), *f.within("at", "at", filters.instant)]
    return await door.listed(select(*shown_columns).where(*conditions), paging, sort=(REFUSALS.c.at,))


# ------------------------------------------------------------------------------------------------------------- customers
@dataclass(frozen=True, slots=True)
class ContactFilter:
    email: str | None = None
    phone: str | None = None
    company_id: str | None = None
    responsible_id: str | None = None
    state: str | None = None
    q: str | None = None


@dataclass(frozen=True, slots=True)
class CompanyFilter:
    email: str | None = None
    phone: str | None = None
    responsible_id: str | None = None
    state: str | None = None
    q: str | None = None


def customer_conditions(table: Table, given: Mapping[str, str | None]) -> list[Any]:
    f = filters.Filters(table, {**given, "state": given["state"] or "active"})
    return [
        *f.holds("email", "emails"),
        *f.holds("phone", "phones"),
        *f.ids("responsible_id"),
        *f.texts(state="status"),
        *f.words("name"),
    ]


async def customer(door: Door, table: Table, aggregate: Aggregate[Any, Any, Any], shows: Shows, id: UUID, version: int | None) -> Response:
    """A merged one answers with the survivor and `merged_from` (D65)."""
    if version is not None:
        return await shown(door, table, aggregate, shows, id, version)
    row = await door.one(select(table.c.version, table.c.body, table.c.merged_into).where(table.c.id == str(id)))
    merged = row["merged_into"] is not None
    while row["merged_into"] is not None:
        row = await door.one(select(table.c.version, table.c.body, table.c.merged_into).where(table.c.id == str(row["merged_into"])))
    return door.shown(row["version"], {**row_body(row), **({"merged_from": str(id)} if merged else {})})


@API.get("/v1/contacts", operation_id="contacts_list", tags=["customers"])
async def list_contacts(door: Reader, paging: Page, by: Annotated[ContactFilter, Depends()]) -> Response:
    t, given = views.CONTACTS, asdict(by)
    conditions = [*customer_conditions(t, given), *filters.Filters(t, given).has("company_id", "company_ids")]
    return await door.listed(rows_of(t, conditions), paging, sort=(t.c.created_at, t.c.last_name, t.c.name), shown=row_body)


@API.post("/v1/contacts", operation_id="contacts_create", status_code=201, tags=["customers"])
async def create_contact(body: bodies.NewContact, door: Writer) -> Response:
    id = body.id or new_id()
    asked = customers.create_contact(asker(door), id, fields_of(body))
    return await door.ask(asked, answer=made(CONTACT, id, views.contact_body, "contacts"))


@API.get("/v1/contacts/{id}", operation_id="contacts_show", tags=["customers"])
async def show_contact(id: Id, door: Reader, version: Version = None) -> Response:
    return await customer(door, views.CONTACTS, CONTACT, views.contact_body, id, version)


@API.get("/v1/contacts/{id}/events", operation_id="contacts_events", tags=["customers"])
async def contact_events(id: Id, door: Reader, paging: Page) -> Response:
    return await door.history(CONTACT, str(id), paging)


@API.patch("/v1/contacts/{id}", operation_id="contacts_change", tags=["customers"])
async def change_contact(id: Id, body: bodies.ContactValues, door: Writer) -> Response:
    return await door.ask(customers.change_contact(asker(door), id, fields_of(body)), answer=changed(CONTACT, id, views.contact_body))


@API.delete("/v1/contacts/{id}", operation_id="contacts_delete", status_code=204, tags=["customers"])
async def delete_contact(id: Id, door: Writer) -> Response:
    return await door.ask(customers.delete_customer(asker(door), "contact", id), answer=gone)


@API.post("/v1/contacts/{id}/merges", operation_id="contacts_merge", tags=["customers"])
async def merge_contacts(id: Id, body: bodies.NewMerge, door: Writer) -> Response:
    asked = customers.merge_customers(asker(door), "contact", id, body.merged_id, await records_of(door, body.merged_id))
    return await door.ask(*asked, answer=changed(CONTACT, id, views.contact_body))


async def records_of(door: Door, owner_id: UUID) -> list[UUID]:
    t = views.DETAILS_RECORDS.c
    async with door.reading() as sql:
        found = await sql.execute(select(t.id).where(t.owner_id == owner_id, t.removed.is_(False)).order_by(t.id))
        return [UUID(id) for id in found.scalars()]


@API.get("/v1/companies", operation_id="companies_list", tags=["customers"])
async def list_companies(door: Reader, paging: Page, by: Annotated[CompanyFilter, Depends()]) -> Response:
    t = views.COMPANIES
    query = rows_of(t, customer_conditions(t, asdict(by)))
    return await door.listed(query, paging, sort=(t.c.created_at, t.c.name), shown=row_body)


@API.post("/v1/companies", operation_id="companies_create", status_code=201, tags=["customers"])
async def create_company(body: bodies.NewCompany, door: Writer) -> Response:
    id = body.id or new_id()
    asked = customers.create_company(asker(door), id, fields_of(body))
    return await door.ask(asked, answer=made(COMPANY, id, views.company_body, "companies"))


@API.get("/v1/companies/{id}", operation_id="companies_show", tags=["customers"])
async def show_company(id: Id, door: Reader, version: Version = None) -> Response:
    return await customer(door, views.COMPANIES, COMPANY, views.company_body, id, version)


@API.get("/v1/companies/{id}/events", operation_id="companies_events", tags=["customers"])
async def company_events(id: Id, door: Reader, paging: Page) -> Response:
    return await door.history(COMPANY, str(id), paging)


@API.patch("/v1/companies/{id}", operation_id="companies_change", tags=["customers"])
async def change_company(id: Id, body: bodies.CompanyChanges, door: Writer) -> Response:
    return await door.ask(customers.change_company(asker(door), id, fields_of(body)), answer=changed(COMPANY, id, views.company_body))


@API.delete("/v1/companies/{id}", operation_id="companies_delete", status_code=204, tags=["customers"])
async def delete_company(id: Id, door: Writer) -> Response:
    return await door.ask(customers.delete_customer(asker(door), "company", id), answer=gone)


@API.post("/v1/companies/{id}/merges", operation_id="companies_merge", tags=["customers"])
async def merge_companies(id: Id, body: bodies.NewMerge, door: Writer) -> Response:
    asked = customers.merge_customers(asker(door), "company", id, body.merged_id, await records_of(door, body.merged_id))
    return await door.ask(*asked, answer=changed(COMPANY, id, views.company_body))


@dataclass(frozen=True, slots=True)
class DetailsFilter:
    owner_type: str | None = None
    owner_id: str | None = None
    template_code: str | None = None
    is_default: str | None = None


@API.get("/v1/details", operation_id="details_list", tags=["customers"])
async def list_details(door: Reader, paging: Page, by: Annotated[DetailsFilter, Depends()]) -> Response:
    t = views.DETAILS_RECORDS
    f = filters.Filters(t, asdict(by))
    texts = f.texts(owner_type="owner_type", template_code="template_code")
    conditions = [t.c.removed.is_(False), *texts, *f.ids("owner_id"), *f.flags(is_default="is_default")]
    return await door.listed(rows_of(t, conditions), paging, sort=(t.c.created_at,), shown=row_body)


async def default_record(door: Door, owner_id: UUID, template_code: str) -> UUID | None:
    """The owner's record that counts by this template: the default one, else the oldest."""
    t = views.DETAILS_RECORDS.c
    mine = (t.owner_id == owner_id, t.template_code == template_code, t.removed.is_(False))
    row = await first(door, select(t.id).where(*mine).order_by(t.is_default.desc(), t.created_at, t.id).limit(1))
    return None if row is None else UUID(row["id"])


@API.post("/v1/details", operation_id="details_create", status_code=201, tags=["customers"])
async def create_details(body: bodies.NewDetails, door: Writer) -> Response:
    id = body.id or new_id()
    default = await default_record(door, body.owner_id, body.template_code)
    owner = (body.owner_type, body.owner_id, body.template_code)
    new = customers.NewDetails(id, *owner, body.fields, body.addresses, body.is_default, default)
    return await door.ask(*customers.create_details(asker(door), new), answer=made(DETAILS, id, views.details_body, "details"))


@API.get("/v1/details/{id}", operation_id="details_show", tags=["customers"])
async def show_details(id: Id, door: Reader, version: Version = None) -> Response:
    return await shown(door, views.DETAILS_RECORDS, DETAILS, views.details_body, id, version)


@API.get("/v1/details/{id}/events", operation_id="details_events", tags=["customers"])
async def details_events(id: Id, door: Reader, paging: Page) -> Response:
    return await door.history(DETAILS, str(id), paging)


async def record(door: Door, id: UUID) -> RowMapping:
    t = views.DETAILS_RECORDS.c
    return await door.one(select(t.owner_type, t.owner_id, t.template_code).where(t.id == str(id)))


@API.patch("/v1/details/{id}", operation_id="details_change", tags=["customers"])
async def change_details(id: Id, body: bodies.DetailsChanges, door: Writer) -> Response:
    row = await record(door, id)
    default = await default_record(door, row["owner_id"], row["template_code"])
    owner = (row["owner_type"], row["owner_id"], row["template_code"])
    edit = customers.DetailsEdit(id, *owner, default, body.fields, body.addresses, body.is_default)
    return await door.ask(*customers.edit_details(asker(door), edit), answer=changed(DETAILS, id, views.details_body))


@API.delete("/v1/details/{id}", operation_id="details_delete", status_code=204, tags=["customers"])
async def remove_details(id: Id, door: Writer) -> Response:
    row = await record(door, id)
    return await door.ask(customers.remove_details(asker(door), id, row["owner_id"]), answer=gone)


# ----------------------------------------------------------------------------------------------------------------- files
F = views.FILES.c
FILE_ORDER = (F.created_at, F.name, F.size)
KEPT_FILE = F.removed.is_(False)
FORM_FIELDS = frozenset(bodies.FileForm.model_fields)


@dataclass(frozen=True, slots=True)
class FileFilter:
    owner_type: str | None = None
    owner_id: str | None = None
    content_type: str | None = None


def storage() -> Storage:
    return Storage(storage_settings().folder)


@contextmanager
def stored() -> Iterator[None]:
    """A storage that is full, read-only or away is answered 503 with the reason."""
    try:
        yield
    except StorageTrouble as trouble:
        log.error("file_storage", reason=str(trouble), cause=repr(trouble.__cause__))
        raise Problem("unavailable", str(trouble), headers=(("Retry-After", "60"),)) from None


@API.get("/v1/files", operation_id="files_list", tags=["files"])
async def list_files(door: Reader, paging: Page, by: Annotated[FileFilter, Depends()]) -> Response:
    """Files of a contact or company that was merged are its survivor's too (D65)."""
    f = filters.Filters(views.FILES, asdict(by))
    owners = [F.owner_id.in_(await with_merged(door, ids)) for ids in filters.ids_in("owner_id", by.owner_id)]
    conditions = [KEPT_FILE, *f.texts(owner_type="owner_type", content_type="content_type"), *owners]
    return await door.listed(rows_of(views.FILES, conditions), paging, sort=FILE_ORDER, shown=row_body)


async def with_merged(door: Door, ids: Sequence[UUID]) -> set[UUID]:
    """The ids and those of everybody who was merged into them."""
    every, fresh = set(ids), set(ids)
    while fresh:
        merged = union_all(*(select(t.c.id).where(t.c.merged_into.in_(fresh)) for t in (views.CONTACTS, views.COMPANIES)))
        async with door.reading() as sql:
            fresh = {UUID(id) for id in (await sql.execute(merged)).scalars()} - every
        every |= fresh
    return every


@API.post("/v1/files", operation_id="files_attach", status_code=201, tags=["files"], openapi_extra=form_of(bodies.FileForm, "file"))
async def attach_file(request: Request, door: Writer) -> Response:
    """A form with one file of at most 25 MiB. What it is, is told from its bytes; PDF, pictures, office documents, archives and
    text are kept, everything else is refused with `type_not_allowed`."""
    with stored():
        async with storage().incoming(LOOKED_AT) as arriving:
            form = await read_form(request, file="file", sink=arriving.write, most=LARGEST_FILE, names=FORM_FIELDS)
            fields, name = read_fields(form), read_name(form, arriving)
            ref = await asyncio.to_thread(storage().keep, door.caller.tenant, arriving)
            told = (arriving.sha256, name, arriving.size, content_type_of(arriving.head, name))
            owner = (fields.owner_type, fields.owner_id) if fields.owner_type and fields.owner_id else None
            new = files.NewFile(fields.id or new_id(), ref, *told, owner, settings().file_quota)
            return await attached(door, new, form, arriving)


async def attached(door: Door, new: files.NewFile, form: Form, arrived: Incoming) -> Response:
    """The answer. What was refused leaves no bytes behind; where the answer is not known, they stay until they are old."""
    asked, answer = files.attach_file(asker(door), new), made(FILE, new.file_id, views.file_body, "files")
    same = json.dumps([dict(form.texts), new.name, new.sha256], sort_keys=True).encode()
    try:
        answered = await door.ask(*asked, answer=answer, content=same)
    except Problem:
        await asyncio.to_thread(storage().take_back, new.content_ref, arrived)
        raise
    if 400 <= answered.status_code < 500:
        await asyncio.to_thread(storage().take_back, new.content_ref, arrived)
    return answered


def read_fields(form: Form) -> bodies.FileForm:
    """Raises Problem (422)."""
    try:
        fields = bodies.FileForm.model_validate(form.texts)
    except ValidationError as error:
        faults = faults_of([{**fault, "loc": ("body", *fault["loc"])} for fault in error.errors()], dict(form.texts))
        raise Problem("validation-failed", "The form's fields are not valid.", errors=faults) from None
    if (fields.owner_type is None) != (fields.owner_id is None):
        missing = "owner_id" if fields.owner_id is None else "owner_type"
        raise invalid([Fault(f"#/{missing}", "required", "An owner is named by its type and its id.")])
    return fields


def read_name(form: Form, arrived: Incoming) -> str:
    """The file's name. Raises Rejected `validation_failed` (422)."""
    name = name_without_folders(form.filename)
    fault = ("empty", "The file has no bytes.") if not arrived.size else fault_in_name(name)
    if fault:
        raise invalid([Fault("#/file", *fault)])
    return name


@API.get("/v1/files/{id}", operation_id="files_show", tags=["files"])
async def show_file(id: Id, door: Reader, version: Version = None) -> Response:
    return await shown(door, views.FILES, FILE, views.file_body, id, version)


@API.get("/v1/files/{id}/events", operation_id="files_events", tags=["files"])
async def file_events(id: Id, door: Reader, paging: Page) -> Response:
    return await door.history(FILE, str(id), paging, shown=without("content_ref"))


CONTENT: dict[str, Any] = {"content": {"application/octet-stream": {}}, "description": "The bytes, with the type they are kept under."}


@API.get(
    "/v1/files/{id}/content",
    operation_id="files_content",
    tags=["files"],
    response_class=Response,
    responses={200: CONTENT, 206: CONTENT, 304: {"description": "The bytes are those of `If-None-Match`."}},
)
async def file_content(id: Id, door: Reader, known: Annotated[str | None, Header(alias="If-None-Match")] = None) -> Response:
    """Always as an attachment: nothing of it is shown or run in the place of the API. One range or several may be asked for."""
    row = await door.one(select(F.name, F.content_type, F.content_ref).where(F.id == str(id), KEPT_FILE))
    etag = f'"{row["content_ref"].rpartition("/")[2]}"'
    if known and (known.strip() == "*" or etag in known):
        return Response(status_code=304, headers={"ETag": etag})
    with stored():
        path = await asyncio.to_thread(storage().path_of, row["content_ref"])
    return FileResponse(path, filename=row["name"], headers={"ETag": etag, "Content-Type": row["content_type"]})


OnlyFrom = Annotated[UUID | None, Query(description="Take the file off this deal only; it is removed if no other refers to it.")]


@API.delete("/v1/files/{id}", operation_id="files_remove", status_code=204, tags=["files"])
async def remove_file(id: Id, door: Writer, deal_id: OnlyFrom = None) -> Response:
    """From the deal it was attached to and from its copies, which refer to the same file (D39); or from one of them."""
    deals = await deals_with(door, id)
    return await door.ask(*files.remove_file(asker(door), id, deals, deal_id), answer=gone)


async def deals_with(door: Door, file_id: UUID) -> list[UUID]:
    """Deals that refer to the file: the one it was attached to and its copies, theirs too. Raises NotFound for no such file."""
    file = await door.one(select(F.owner_type, F.owner_id).where(F.id == str(file_id)))
    found: list[UUID] = []
    todo = {str(file["owner_id"])} if file["owner_type"] == "deal" else set()
    while todo:
        query = select(D.id, D.body["file_ids"].label("files"), D.body["copies"].label("copies")).where(D.id.in_(todo))
        async with door.reading() as sql:
            rows = (await sql.execute(query)).mappings().all()
        found += [UUID(row["id"]) for row in rows if str(file_id) in row["files"]]
        todo = {copy["id"] for row in rows for copy in row["copies"]}
    return found


@API.get("/v1/deals/{id}/files", operation_id="deals_files", tags=["files"])
async def deal_files(id: Id, door: Reader, paging: Page) -> Response:
    """Those of the deal that it is a copy of are its own too (D39)."""
    refers = (await door.one(select(D.body["file_ids"].label("ids")).where(D.id == str(id))))["ids"]
    return await door.listed(rows_of(views.FILES, [KEPT_FILE, F.id.in_(refers)]), paging, sort=FILE_ORDER, shown=row_body)


@API.get("/v1/leads/{id}/files", operation_id="leads_files", tags=["files"])
async def lead_files(id: Id, door: Reader, paging: Page) -> Response:
    await door.one(select(L.id).where(L.id == str(id)))
    conditions = [KEPT_FILE, F.owner_type == "lead", F.owner_id == id]
    return await door.listed(rows_of(views.FILES, conditions), paging, sort=FILE_ORDER, shown=row_body)


# ------------------------------------------------------------------------------------------------------------- directory
@dataclass(frozen=True, slots=True)
class FieldSetFilter:
    kind: str | None = None
    element_type: str | None = None
    owner_type: str | None = None
    template_code: str | None = None


@API.get("/v1/field-sets", operation_id="field_sets_list", tags=["directory"])
async def list_field_sets(door: Reader, paging: Page, by: Annotated[FieldSetFilter, Depends()]) -> Response:
    t = views.FIELD_SETS
    conditions = filters.Filters(t, asdict(by)).texts(
        kind="kind", element_type="element_type", owner_type="owner_type", template_code="template_code"
    )
    return await door.listed(rows_of(t, conditions), paging, sort=(t.c.created_at,), shown=row_body)


def field_set_id(tenant: UUID, body: bodies.NewFieldSet) -> UUID:
    """Follows from what the set is for. Raises Rejected (422) when the body does not say that."""
    if body.kind == "form" and body.element_type and not body.owner_type and not body.template_code:
        return form_id(tenant, body.element_type)
    if body.kind == "details_template" and body.owner_type and body.template_code and not body.element_type:
        return template_id(tenant, body.owner_type, body.template_code)
    detail = "A form has an element_type and nothing else; a details_template has an owner_type and a template_code."
    raise invalid([Fault("/kind", "required", detail)])


def definitions(fields: Sequence[bodies.FieldBody]) -> list[FieldDefinition]:
    return [FieldDefinition(f.code, f.label, f.field_type, f.multiple, f.options, f.required, f.retired) for f in fields]


@API.post("/v1/field-sets", operation_id="field_sets_create", status_code=201, tags=["directory"])
async def create_field_set(body: bodies.NewFieldSet, door: DirectoryWriter) -> Response:
    """A second set for the same thing is refused with `code_taken`; the id follows from what the set is for."""
    id = field_set_id(door.caller.tenant, body)
    about = (body.element_type, body.owner_type, body.template_code)
    new = directory.NewFieldSet(id, body.kind, definitions(body.fields), *about)
    return await door.ask(directory.create_field_set(asker(door), new), answer=made(FIELD_SET, id, views.field_set_body, "field-sets"))


@API.get("/v1/field-sets/{id}", operation_id="field_sets_show", tags=["directory"])
async def show_field_set(id: Id, door: Reader, version: Version = None) -> Response:
    return await shown(door, views.FIELD_SETS, FIELD_SET, views.field_set_body, id, version)


@API.get("/v1/field-sets/{id}/events", operation_id="field_sets_events", tags=["directory"])
async def field_set_events(id: Id, door: Reader, paging: Page) -> Response:
    return await door.history(FIELD_SET, str(id), paging)


@API.patch("/v1/field-sets/{id}", operation_id="field_sets_change", tags=["directory"])
async def change_field_set(id: Id, body: bodies.FieldSetChanges, door: DirectoryWriter) -> Response:
    asked = directory.change_field_set(asker(door), id, definitions(body.fields))
    return await door.ask(asked, answer=changed(FIELD_SET, id, views.field_set_body))


@dataclass(frozen=True, slots=True)
class EmployeeFilter:
    active: str | None = None
    department: str | None = None
    role: str | None = None
    manager_id: str | None = None
    code: str | None = None
    q: str | None = None


@API.get("/v1/employees", operation_id="employees_list", tags=["directory"])
async def list_employees(door: Reader, paging: Page, by: Annotated[EmployeeFilter, Depends()]) -> Response:
    t = views.EMPLOYEES
    f = filters.Filters(t, asdict(by))
    conditions = [
        *f.flags(active="active"),
        *f.texts(department="department", code="code"),
        *f.holds("role", "roles"),
        *f.ids("manager_id"),
        *f.words("name", "email"),
    ]
    return await door.listed(rows_of(t, conditions), paging, sort=(t.c.created_at, t.c.name), shown=row_body)


@API.post("/v1/employees", operation_id="employees_create", status_code=201, tags=["directory"])
async def add_employee(body: bodies.NewEmployee, door: DirectoryWriter) -> Response:
    id = body.id or new_id()
    asked = directory.add_employee(asker(door), id, body.code, fields_of(body))
    return await door.ask(asked, answer=made(EMPLOYEE, id, views.employee_body, "employees"))


@API.get("/v1/employees/{id}", operation_id="employees_show", tags=["directory"])
async def show_employee(id: Id, door: Reader, version: Version = None) -> Response:
    return await shown(door, views.EMPLOYEES, EMPLOYEE, views.employee_body, id, version)


@API.get("/v1/employees/{id}/events", operation_id="employees_events", tags=["directory"])
async def employee_events(id: Id, door: Reader, paging: Page) -> Response:
    return await door.history(EMPLOYEE, str(id), paging)


@API.patch("/v1/employees/{id}", operation_id="employees_change", tags=["directory"])
async def change_employee(id: Id, body: bodies.EmployeeChanges, door: DirectoryWriter) -> Response:
    asked = directory.change_employee(asker(door), id, fields_of(body))
    return await door.ask(asked, answer=changed(EMPLOYEE, id, views.employee_body))


@API.post("/v1/employees/{id}/deactivations", operation_id="employees_deactivate", tags=["directory"])
async def deactivate_employee(id: Id, door: DirectoryWriter, body: bodies.NoBody | None = None) -> Response:
    return await door.ask(directory.deactivate_employee(asker(door), id), answer=changed(EMPLOYEE, id, views.employee_body))


@API.post("/v1/employees/{id}/reactivations", operation_id="employees_reactivate", tags=["directory"])
async def reactivate_employee(id: Id, door: DirectoryWriter, body: bodies.NoBody | None = None) -> Response:
    return await door.ask(directory.reactivate_employee(asker(door), id), answer=changed(EMPLOYEE, id, views.employee_body))


@API.get("/v1/employees/{id}/impact", operation_id="employees_impact", tags=["directory"])
async def employee_impact(id: Id, door: Reader) -> Response:
    """What a deactivation would leave without anybody responsible; rules and runs are automation's to name (D21)."""
    e = views.EMPLOYEES.c
    employee = await door.one(select(e.version).where(e.id == str(id)))
    open_ones = {
        "deals": (views.DEALS, (D.deleted.is_(False), D.stage_kind == "process")),
        "leads": (views.LEADS, (L.deleted.is_(False), L.stage_kind == "process")),
        "contacts": (views.CONTACTS, (views.CONTACTS.c.status == "active",)),
        "companies": (views.COMPANIES, (views.COMPANIES.c.status == "active",)),
    }
    numbers = [
        select(func.count()).where(t.c.responsible_id == id, *only).select_from(t).scalar_subquery().label(name)
        for name, (t, only) in open_ones.items()
    ]
    found = await door.one(select(*numbers))
    return door.shown(employee["version"], {"employee_id": str(id), **found})


# --------------------------------------------------------------------------------------------------- tenants, credentials
@dataclass(frozen=True, slots=True)
class TenantFilter:
    rehearsal: str | None = None
    suspended: str | None = None


T = TENANTS.c
SHOWN_TENANT = (T.id, T.version, T.name, T.language, T.zone, T.rehearsal, T.suspended)


@API.get("/v1/tenants", operation_id="tenants_list", tags=["tenants"])
async def list_tenants(door: TenantAdmin, paging: Page, by: Annotated[TenantFilter, Depends()]) -> Response:
    conditions = filters.Filters(TENANTS, asdict(by)).flags(rehearsal="rehearsal", suspended="suspended")
    query = select(*SHOWN_TENANT).where(*conditions)
    return await door.listed(query, paging, sort=(T.name,), default="name", everywhere=True)


@API.post("/v1/tenants", operation_id="tenants_create", status_code=201, tags=["tenants"])
async def register_tenant(body: bodies.NewTenant, door: TenantAdmin) -> Response:
    there = door.in_tenant(body.id or new_id())
    id = there.caller.tenant
    new = directory.NewTenant(id, body.name, body.language, body.zone, body.rehearsal)
    return await there.ask(*directory.register_tenant(asker(there), new), answer=made(TENANT, id, views.tenant_body, "tenants"))


@API.get("/v1/tenants/{id}", operation_id="tenants_show", tags=["tenants"])
async def show_tenant(id: Id, door: TenantAdmin) -> Response:
    row = await door.in_tenant(id).one(select(*SHOWN_TENANT).where(T.id == str(id)))
    return door.shown(row["version"], dict(row))


@API.get("/v1/tenants/{id}/events", operation_id="tenants_events", tags=["tenants"])
async def tenant_events(id: Id, door: TenantAdmin, paging: Page) -> Response:
    return await door.in_tenant(id).history(TENANT, str(id), paging)


@API.post("/v1/tenants/{id}/suspensions", operation_id="tenants_suspend", tags=["tenants"])
async def suspend_tenant(id: Id, door: TenantAdmin, body: bodies.NoBody | None = None) -> Response:
    there = door.in_tenant(id)
    return await there.ask(directory.suspend_tenant(asker(there), id), answer=changed(TENANT, id, views.tenant_body))


@API.post("/v1/tenants/{id}/resumptions", operation_id="tenants_resume", tags=["tenants"])
async def resume_tenant(id: Id, door: TenantAdmin, body: bodies.NoBody | None = None) -> Response:
    there = door.in_tenant(id)
    return await there.ask(directory.resume_tenant(asker(there), id), answer=changed(TENANT, id, views.tenant_body))


Tenant = Annotated[UUID | None, Query(description="Another tenant; needs admin:tenants too.")]


def of_tenant(door: Door, tenant: UUID | None) -> Door:
    """Who holds admin:tenants besides acts in the tenant that is named."""
    if tenant is None or tenant == door.caller.tenant:
        return door
    if not door.may("admin:tenants"):
        raise Problem("forbidden", "Another tenant's keys need the scope admin:tenants.")
    return door.in_tenant(tenant)


K = CREDENTIALS.c
SHOWN_CREDENTIAL = (K.id, K.version, K.scopes, K.actor, K.expires_at, K.revoked)


@dataclass(frozen=True, slots=True)
class CredentialFilter:
    actor: str | None = None
    revoked: str | None = None


@API.get("/v1/credentials", operation_id="credentials_list", tags=["tenants"])
async def list_credentials(door: KeyAdmin, paging: Page, by: Annotated[CredentialFilter, Depends()], tenant_id: Tenant = None) -> Response:
    f = filters.Filters(CREDENTIALS, asdict(by))
    query = select(*SHOWN_CREDENTIAL).where(*f.texts(actor="actor"), *f.flags(revoked="revoked"))
    return await of_tenant(door, tenant_id).listed(query, paging, sort=(K.actor,), default="actor")


@API.post("/v1/credentials", operation_id="credentials_issue", status_code=201, tags=["tenants"])
async def issue_credential(body: bodies.NewCredential, door: KeyAdmin) -> Response:
    """The answer shows the key once: a repetition of the request gets the same answer without it."""
    there, id = of_tenant(door, body.tenant_id), new_id()
    key, hmac = door.new_key(str(id))
    about = (body.scopes, body.actor, SCOPES, body.expires_at)
    new = directory.NewCredential(id, hmac, *about, held=door.caller.scopes)
    kept = await there.ask(directory.issue_credential(asker(there), new), answer=made(CREDENTIAL, id, views.credential_body, "credentials"))
    return with_key(kept, str(id), key)


def with_key(kept: Response, id: str, key: str) -> Response:
    """The kept answer with the key added, if it is the answer to this very request. What is kept has no key in it."""
    if kept.status_code != 201 or "idempotency-replayed" in kept.headers:
        return kept
    headers = {name: value for name, value in kept.headers.items() if name in ("location", "etag", "content-type")}
    return Response(json.dumps({**json.loads(bytes(kept.body)), "key": key}), 201, headers)


@API.get("/v1/credentials/{id}", operation_id="credentials_show", tags=["tenants"])
async def show_credential(id: Id, door: KeyAdmin, tenant_id: Tenant = None) -> Response:
    row = await of_tenant(door, tenant_id).one(select(*SHOWN_CREDENTIAL).where(K.id == str(id)))
    return door.shown(row["version"], dict(row))


@API.get("/v1/credentials/{id}/events", operation_id="credentials_events", tags=["tenants"])
async def credential_events(id: Id, door: KeyAdmin, paging: Page, tenant_id: Tenant = None) -> Response:
    return await of_tenant(door, tenant_id).history(CREDENTIAL, str(id), paging, shown=without("hmac"))


def without(hidden: str) -> Callable[[Recorded[Any]], dict[str, Any]]:
    """Events with one member of their data left out."""

    def shows(recorded: Recorded[Any]) -> dict[str, Any]:
        event = shown_event(recorded)
        return {**event, "data": {name: value for name, value in event["data"].items() if name != hidden}}

    return shows


@API.post("/v1/credentials/{id}/revocations", operation_id="credentials_revoke", tags=["tenants"])
async def revoke_credential(id: Id, door: KeyAdmin, body: bodies.NoBody | None = None, tenant_id: Tenant = None) -> Response:
    there = of_tenant(door, tenant_id)
    return await there.ask(directory.revoke_credential(asker(there), id), answer=changed(CREDENTIAL, id, views.credential_body))
