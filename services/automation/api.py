"""Automation over HTTP: the catalogue, rules, triggers, values, rules as text, visits with their runs, decisions (12)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, TypeVar
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import AfterValidator, Field, JsonValue
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
from services.automation.domain import catalogue, fields, forms, words
from services.automation.domain import constants as val
from services.automation.domain import decision as dec
from services.automation.domain import explain as why
from services.automation.domain import placeholders as picker
from services.automation.domain import rule as rul
from services.automation.domain import trigger as tri
from services.automation.domain import visit as vis
from services.automation.domain.card import Card
from services.automation.domain.check import MOST_RULES, WARNINGS, Checked, Neighbour, StageName, check_rule, check_trigger
from services.automation.domain.condition import Trace
from services.automation.domain.constants import VALUE, ChangeValue, DefineValue, DeleteValue
from services.automation.domain.decision import DECISION
from services.automation.domain.definition import Ready, ready, rule_of
from services.automation.domain.explain_trigger import TriggerCase, explain_trigger
from services.automation.domain.plan import PLAN, ApplyPlan, MakePlan
from services.automation.domain.rule import RULE
from services.automation.domain.timing import instant
from services.automation.domain.trigger import TRIGGER
from services.automation.domain.visit import VISIT, Visit
from services.automation.facts.cards import TRIGGERS, Gathered
from services.automation.facts.rendering import check as paths_of
from services.automation.facts.visits import Stage, asks, decides, gathered, judging
from services.automation.rule_sets.comparing import fingerprint, same_version
from services.automation.rule_sets.planning import Planned, World, bound_to, names_of, plan_of, standing, standing_of
from services.automation.rule_sets.reading import MOST_WHOLE, Spots, Unreadable, documents_of
from services.automation.rule_sets.writing import exported, text_of
from shared.es.addressed import Addressed, Facts
from shared.es.aggregate import Aggregate, Json
from shared.es.errors import Fault, NotFound, Rejected
from shared.es.view import Row
from shared.http.auth import needs
from shared.http.commands import Answer, Door, Result
from shared.http.filters import one_of
from shared.http.paging import Paging
from shared.http.problems import PROBLEMS, Body
from shared.http.types import Code, Flag, Instant, LongText, Text255
from shared.runtime.clock import new_id, now
from shared.runtime.database import Tx

API = APIRouter(responses=PROBLEMS)
READ, WRITE, ACTIVATE = needs("rules:read"), needs("rules:write"), needs("rules:activate")
SEE_RUNS, TOUCH_RUNS = needs("runs:read"), needs("runs:write")
Id = Annotated[UUID, Path()]
Page = Annotated[Paging, Depends()]
ElementType = Literal["deal", "lead"]
S = TypeVar("S")


@asynccontextmanager
async def gathering(door: Door) -> AsyncIterator[Gathered]:
    """Rows for one request of a person, as the tenant's reader sees them."""
    async with door.reading() as sql:
        raw: Any = (await sql.get_raw_connection()).driver_connection
        yield Gathered(Tx(raw, now()), door.caller.tenant)


# ------------------------------------------------------------------------------------------------ catalogue


@API.get("/v1/element-types", operation_id="element_types", tags=["catalogue"])
async def element_types(door: Annotated[Door, READ]) -> Any:
    """What rules and triggers can be made for."""
    return {"items": forms.shown_element_types()}


@API.get("/v1/rule-groups", operation_id="rule_groups", tags=["catalogue"])
async def rule_groups(door: Annotated[Door, READ], element_type: ElementType | None = None) -> Any:
    """Groups by purpose with the types in them (S4)."""
    rules, triggers = catalogue.offered(element_type), catalogue.offered_triggers(element_type)
    return {"items": [forms.shown_group(name, rules, triggers) for name in words.GROUPS]}


@API.get("/v1/rule-types", operation_id="rule_types", tags=["catalogue"])
async def rule_types(door: Annotated[Door, READ], element_type: ElementType | None = None, group: str | None = None) -> Any:
    """What may be chosen, with settings as JSON Schema and outputs (S2); `definition`: what every rule has besides."""
    items = [forms.shown_rule_type(t, element_type) for t in catalogue.offered(element_type, group)]
    return {"items": items, "definition": forms.rule_schema()}


@API.get("/v1/trigger-types", operation_id="trigger_types", tags=["catalogue"])
async def trigger_types(door: Annotated[Door, READ], element_type: ElementType | None = None, group: str | None = None) -> Any:
    """The same for triggers; `event_fields` is what their conditions reach as `event.<name>`."""
    items = [forms.shown_trigger_type(t, element_type) for t in catalogue.offered_triggers(element_type, group)]
    return {"items": items, "definition": forms.trigger_schema()}


@API.get("/v1/condition-operators", operation_id="condition_operators", tags=["catalogue"])
async def condition_operators(door: Annotated[Door, READ]) -> Any:
    """By what a field of each kind is compared in a condition."""
    return {"items": forms.shown_operators()}


@API.get("/v1/placeholders", operation_id="placeholders", tags=["catalogue"])
async def placeholders(
    door: Annotated[Door, READ],
    element_type: ElementType = "deal",
    stage_id: UUID | None = None,
    rule_id: Annotated[UUID | None, Query(description="Only outputs of the rules above this one")] = None,
    trigger_type: str | None = None,
    q: Annotated[str | None, Query(description="Words in path or label")] = None,
) -> Any:
    """What the picker offers: fields, custom fields of the element and of its contact and company, constants, variables, and
    outputs of the rules above on the stage: of all of them for a rule that is still to come (S14-S16, G39)."""
    world = await world_of(door)
    values = ((path, kind, visible) for path, (_, kind, visible) in names_of(world).values.items())
    stage = _stage_above(world, stage_id, rule_id) if stage_id and not trigger_type else ((), "parallel")
    found = (
        *picker.of_fields(element_type),
        *picker.of_custom_fields(element_type, _custom_fields(world)),
        *picker.of_values(element_type, values),
        *picker.of_rules(picker.rules_above(*stage)),
        *picker.of_event(trigger_type or ""),
    )
    return {"items": [item.shown() for item in found if item.is_about(q or "")]}


def _custom_fields(world: World) -> Iterator[picker.CustomField]:
    for row in world.field_sets:
        for field in row["fields"] if row["kind"] == "form" else ():
            if not field.get("retired"):
                kind = fields.kind_of_field(field["field_type"], multiple=field["multiple"])
                yield picker.CustomField(str(row["element_type"]), field["code"], field["label"], kind, tuple(field["options"]))


def _stage_above(world: World, stage_id: UUID, rule_id: UUID | None) -> tuple[list[tuple[str, str, str, str]], str]:
    """The rules above a rule in order, and how it is executed; one that is still to come can wait for all that is there."""
    own = next((row for row in world.rules if row["id"] == str(rule_id)), None)
    above = [row for row in _rules_of_stage(world, str(stage_id)) if own is None or (row["position"] < own["position"] and row is not own)]
    execution = "after_previous" if own is None else (own["draft"] or own["definition"] or {}).get("execution", "parallel")
    return [(row["rule_key"], row["rule_type"], row["name"], row["definition"]["execution"]) for row in above], execution


def _rules_of_stage(world: World, stage_id: str) -> list[Row]:
    """Those that were published, in order."""
    there = (row for row in world.rules if row["stage_id"] == stage_id and row["state"] in ("published", "disabled"))
    return sorted(there, key=lambda row: (row["position"], row["id"]))


# ------------------------------------------------------------------------------------------------ what names mean now

TABLES = {
    "pipelines": replicas.PIPELINES.table,
    "employees": replicas.EMPLOYEES.table,
    "field_sets": replicas.FIELD_SETS.table,
    "rooms": replicas.ROOMS.table,
    "files": replicas.FILES.table,
    "values": views.VALUES_TABLE,
    "rules": views.RULES_TABLE,
    "triggers": views.TRIGGERS_TABLE,
}


async def world_of(door: Door) -> World:
    async with door.reading() as sql:
        rows = {name: [dict(row) for row in (await sql.execute(select(table))).mappings()] for name, table in TABLES.items()}
    rows["values"] = [row for row in rows["values"] if row["state"] == "defined"]
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


# ------------------------------------------------------------------------------------------------ rules


def _exact(value: JsonValue) -> JsonValue:
    """Whole numbers beyond these no JSON reader keeps as they are. A body is at most 32 deep."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for each in inside:
        _exact(each)
    if isinstance(value, int) and abs(value) > MOST_WHOLE:
        raise ValueError(f"A whole number is at most {MOST_WHOLE}; write a larger one as text.")
    return value


Plain = Annotated[JsonValue, AfterValidator(_exact)]
Definition = Annotated[dict[str, JsonValue], AfterValidator(_exact), Field(description="A rule or trigger in the JSON of rule-format 3.")]


class NewRule(Body):
    """A draft; it may be incomplete but for where it stands and of what type it is (S3)."""

    id: UUID | None = None
    element_type: ElementType
    pipeline_id: UUID
    stage_id: UUID
    rule_type: Text255
    position: Annotated[int, Field(ge=0, le=49)] | None = None
    owner_id: UUID | None = None
    definition: Definition = Field(default_factory=dict)


class RuleChanges(Body):
    definition: Definition | None = None
    owner_id: UUID | None = None


class Publication(Body):
    waiting: Literal["keep", "migrate", "cancel"] = "keep"
    past: Literal["run", "drop"] = "run"


class Disablement(Body):
    cancel_waiting: Flag = False


class Nothing(Body):
    """Nothing needs to be said."""


def shown_rule(id: str, rule: rul.DefinedRule, version: int) -> Json:
    return {
        "id": id,
        "element_type": rule.element_type,
        "pipeline_id": rule.pipeline_id,
        "stage_id": rule.stage_id,
        "position": rule.position,
        "owner_id": rule.owner_id,
        "state": rule.state,
        "version": rule.version,
        "definition": rule.definition,
        "draft": rule.draft,
        "invalid": {"code": rule.invalid[0], "detail": rule.invalid[1]} if rule.invalid else None,
        "revision": version,
    }


def rule_answer(id: str, status: int = 200) -> Callable[[Result], Answer]:
    def answer(done: Result) -> Answer:
        version = done.version(RULE, id)
        body = shown_rule(id, done.state(RULE, id), version)
        return Answer(status, body, location=f"/v1/rules/{id}" if status == 201 else None, etag=version)

    return answer


RULE_SORT = (views.RULES_TABLE.c.position, views.RULES_TABLE.c.name, views.RULES_TABLE.c.changed_at)


@API.get("/v1/rules", operation_id="rules_list", tags=["rules"])
async def list_rules(
    door: Annotated[Door, READ],
    paging: Page,
    element_type: ElementType | None = None,
    pipeline_id: UUID | None = None,
    stage_id: UUID | None = None,
    rule_type: str | None = None,
    group: str | None = None,
    state: str | None = None,
    owner_id: UUID | None = None,
    invalid: bool | None = None,
) -> Response:
    t = views.RULES_TABLE.c
    place = {t.element_type: element_type, t.pipeline_id: pipeline_id, t.stage_id: stage_id}
    query = matching(select(views.RULES_TABLE), place | {t.rule_type: rule_type, t.state: state, t.owner_id: owner_id})
    if group is not None:
        query = query.where(t.rule_type.in_([known.name for known in catalogue.offered(group=group)]))
    if invalid is not None:
        query = query.where(t.invalid_code.is_not(None) if invalid else t.invalid_code.is_(None))
    return await door.listed(query, paging, sort=RULE_SORT, default="position", shown=listed_rule)


def matching(query: Select[Any], wanted: Mapping[Any, object]) -> Select[Any]:
    """One filter per parameter that was given; `a,b` is one of both."""
    given = {column: str(value) for column, value in wanted.items() if value is not None}
    return query.where(*(condition for column, text in given.items() for condition in one_of(column, text)))


def listed_rule(row: Mapping[str, Any]) -> Json:
    names = ("id", "element_type", "pipeline_id", "stage_id", "position", "rule_key", "rule_type", "name", "owner_id", "state")
    renamed = {"version": row["rule_version"], "changed_at": row["changed_at"], "invalid": row["invalid_code"]}
    return {**{name: row[name] for name in names}, **renamed}


@API.post("/v1/rules", operation_id="rules_create", status_code=201, tags=["rules"])
async def create_rule(body: NewRule, door: Annotated[Door, WRITE]) -> Response:
    world = await world_of(door)
    place = place_of(world, str(body.pipeline_id), str(body.stage_id))
    if place.element_type != body.element_type:
        raise _wrong_element_type(place)
    known = catalogue.RULE_TYPES.get(body.rule_type)
    if known is None or body.element_type not in known.element_types:
        raise _no_such_type(body.rule_type, body.element_type)
    id = str(body.id or new_id())
    owner = str(body.owner_id) if body.owner_id else door.caller.employee_id or _owner_of(world, place)
    here = sum(row["stage_id"] == place.stage_id and row["state"] != "deleted" for row in world.rules)
    position = body.position if body.position is not None else here
    draft = rul.DraftRule(
        body.element_type, place.pipeline_id, place.stage_id, position, {**body.definition, "type": body.rule_type}, owner
    )
    return await door.ask(Addressed(RULE, id, draft), answer=rule_answer(id, 201))


def _wrong_element_type(place: StageName) -> Rejected:
    detail = f"Pipeline {place.pipeline} holds {place.element_type}s."
    return Rejected("wrong_element_type", detail, status=422, errors=(Fault("#/element_type", "wrong_element_type", detail),))


def _no_such_type(name: str, element_type: str) -> Rejected:
    known = "type_not_for_element" if name in catalogue.RULE_TYPES else "unknown_rule_type"
    code = "rule_type_retired" if name in catalogue.RETIRED else known
    detail = f"There is no rule type {name} for a {element_type}."
    return Rejected("validation_failed", detail, status=422, errors=(Fault("#/rule_type", code, detail),))


def _owner_of(world: World, place: StageName) -> str:
    return str(next(row["owner_id"] for row in world.pipelines if row["id"] == place.pipeline_id))


@API.get("/v1/rules/{id}", operation_id="rules_get", tags=["rules"])
async def get_rule(id: Id, door: Annotated[Door, READ], version: int | None = None) -> Response:
    rule, revision = await door.state_at(RULE, str(id), version)
    return door.shown(revision, shown_rule(str(id), rule, revision))


@API.get("/v1/rules/{id}/events", operation_id="rules_events", tags=["rules"])
async def rule_events(id: Id, door: Annotated[Door, READ], paging: Page) -> Response:
    return await door.history(RULE, str(id), paging)


@API.get("/v1/rules/{id}/versions", operation_id="rules_versions", tags=["rules"])
async def rule_versions(id: Id, door: Annotated[Door, READ], paging: Page) -> Response:
    t = views.RULE_VERSIONS.table.c
    query = select(t.id, t.rule_version, t.definition, t.at).where(t.id == str(id))
    return await door.listed(query, paging, sort=(t.rule_version,), default="-rule_version", shown=shown_version)


def shown_version(row: Mapping[str, Any]) -> Json:
    return {"version": row["rule_version"], "definition": row["definition"], "at": row["at"]}


@API.patch("/v1/rules/{id}", operation_id="rules_change", tags=["rules"])
async def change_rule(id: Id, body: RuleChanges, door: Annotated[Door, WRITE]) -> Response:
    """Changes the draft: a merge patch of the definition; what is in force stays until it is published."""
    owner = str(body.owner_id) if body.owner_id else None

    def edit(seen: Facts) -> rul.EditRule:
        latest = seen.state(RULE, str(id)).latest
        return rul.EditRule({k: v for k, v in {**latest, **(body.definition or {})}.items() if v is not None}, owner)

    return await door.ask(Addressed(RULE, str(id), edit), answer=rule_answer(str(id)))


@API.delete("/v1/rules/{id}", operation_id="rules_delete", tags=["rules"])
async def delete_rule(id: Id, door: Annotated[Door, ACTIVATE]) -> Response:
    return await door.ask(Addressed(RULE, str(id), rul.DeleteRule()), answer=rule_answer(str(id)))


@API.post("/v1/rules/{id}/publications", operation_id="rules_publish", tags=["rules"])
async def publish_rule(id: Id, door: Annotated[Door, ACTIVATE], body: Publication | None = None) -> Response:
    """The draft comes into force. Every finding is answered at once when it cannot (rule_invalid)."""
    world, wish = await world_of(door), body or Publication()

    def publish(seen: Facts) -> rul.PublishRule:
        checked = _checked_rule(world, str(id), seen.state(RULE, str(id)))
        must_be_allowed(door, checked.definition)
        return rul.PublishRule(checked.definition, checked.references, _pointed(checked), wish.waiting, wish.past)

    return await door.ask(Addressed(RULE, str(id), publish), answer=rule_answer(str(id)))


def _checked_rule(world: World, id: str, rule: rul.DefinedRule) -> Checked:
    rule.must_exist()
    return _checked_at(world, place_of(world, rule.pipeline_id, rule.stage_id), id, rule.position, rule.latest)


def _checked_at(world: World, place: StageName, id: str, position: int, definition: Json) -> Checked:
    stage = [row for row in _rules_of_stage(world, place.stage_id) if row["id"] != id]
    above = [_neighbour(row) for row in stage if row["position"] < position]
    below = [str(row["rule_key"]) for row in stage if row["position"] >= position]
    return check_rule(definition, place, names_of(world), above, below, paths_of)


class RuleToCheck(Body):
    """A rule as it stands in a form. `rule_id`: if it is there already; `position`: where it is to stand.

    Without a position it stands where it does now, or last."""

    pipeline_id: UUID
    stage_id: UUID
    rule_id: UUID | None = None
    position: Annotated[int, Field(ge=0, le=49)] | None = None
    definition: Definition


@API.post("/v1/rules/checks", operation_id="rules_check", tags=["rules"])
async def check_one_rule(body: RuleToCheck, door: Annotated[Door, READ]) -> Any:
    """Everything that stands in the way of publishing a rule like this, at once; nothing is written.

    A pointer leads into the request: `#/definition/settings/to/1`. `definition` is the rule with every default filled in."""
    world = await world_of(door)
    place, id = place_of(world, str(body.pipeline_id), str(body.stage_id)), str(body.rule_id)
    own = next((row["position"] for row in world.rules if row["id"] == id), MOST_RULES)
    checked = _checked_at(world, place, id, own if body.position is None else body.position, body.definition)
    if (missing := scope_missing(door, checked.definition)) is not None:
        checked.find("/type", "not_allowed_for_author", f"{body.definition.get('type')} needs the right {missing}.")
    return shown_check(checked)


def shown_check(checked: Checked) -> Json:
    findings = [
        {"pointer": f"#/definition{f.pointer}", "code": f.code, "detail": f.detail, "severity": _severity(f), **_said(f)}
        for f in checked.findings
    ]
    return {"valid": not checked.errors, "findings": findings, "definition": checked.definition}


def _said(finding: Fault) -> Json:
    return (
        words.FINDINGS[finding.code].shown("says")
        if finding.code in words.FINDINGS
        else {"says": finding.detail, "says_de": finding.detail}
    )


def must_be_allowed(door: Door, definition: Json) -> None:
    """Nobody automates what he may not do himself (D67). Raises Rejected(not_allowed_for_author)."""
    if (scope := scope_missing(door, definition)) is not None:
        detail = f"{definition['type']} needs the right {scope}."
        raise Rejected("not_allowed_for_author", detail, errors=(Fault("#/definition/type", "not_allowed_for_author", detail),))


def scope_missing(door: Door, definition: Json) -> str | None:
    known = catalogue.RULE_TYPES.get(str(definition.get("type")))
    scope = catalogue.scope_of(known, definition.get("settings") or {}) if known else None
    return None if scope is None or door.may(scope) else scope


def _neighbour(row: Row) -> Neighbour:
    return Neighbour(str(row["rule_key"]), str(row["rule_type"]), str(row["definition"]["execution"]))


def _pointed(checked: Checked) -> tuple[Fault, ...]:
    return tuple(Fault(f"#/definition{f.pointer}", f.code, f.detail) for f in checked.errors)


@API.post("/v1/rules/{id}/disablements", operation_id="rules_disable", tags=["rules"])
async def disable_rule(id: Id, door: Annotated[Door, ACTIVATE], body: Disablement | None = None) -> Response:
    command = rul.DisableRule((body or Disablement()).cancel_waiting)
    return await door.ask(Addressed(RULE, str(id), command), answer=rule_answer(str(id)))


@API.post("/v1/rules/{id}/enablements", operation_id="rules_enable", tags=["rules"])
async def enable_rule(id: Id, door: Annotated[Door, ACTIVATE], body: Nothing | None = None) -> Response:
    return await door.ask(Addressed(RULE, str(id), rul.EnableRule()), answer=rule_answer(str(id)))


# ------------------------------------------------------------------------------------------------ triggers


class NewTrigger(Body):
    """`stage_id` is the target."""

    id: UUID | None = None
    pipeline_id: UUID
    stage_id: UUID
    trigger_type: Text255
    position: Annotated[int, Field(ge=0, le=199)] = 0
    owner_id: UUID | None = None
    definition: Definition = Field(default_factory=dict)


def shown_trigger(id: str, trigger: tri.DefinedTrigger, revision: int) -> Json:
    return {
        "id": id,
        "pipeline_id": trigger.pipeline_id,
        "stage_id": trigger.stage_id,
        "position": trigger.position,
        "owner_id": trigger.owner_id,
        "state": trigger.state,
        "version": trigger.version,
        "definition": trigger.definition,
        "draft": trigger.draft,
        "revision": revision,
    }


def trigger_answer(id: str, status: int = 200) -> Callable[[Result], Answer]:
    def answer(done: Result) -> Answer:
        version = done.version(TRIGGER, id)
        location = f"/v1/triggers/{id}" if status == 201 else None
        return Answer(status, shown_trigger(id, done.state(TRIGGER, id), version), location=location, etag=version)

    return answer


@API.get("/v1/triggers", operation_id="triggers_list", tags=["triggers"])
async def list_triggers(
    door: Annotated[Door, READ], paging: Page, pipeline_id: UUID | None = None, stage_id: UUID | None = None, state: str | None = None
) -> Response:
    t = views.TRIGGERS_TABLE.c
    wanted = {t.pipeline_id: pipeline_id, t.stage_id: stage_id, t.state: state}
    query = matching(select(views.TRIGGERS_TABLE), wanted)
    return await door.listed(query, paging, sort=(t.position, t.name, t.changed_at), default="position", shown=listed_trigger)


def listed_trigger(row: Mapping[str, Any]) -> Json:
    names = ("id", "pipeline_id", "stage_id", "position", "trigger_key", "trigger_type", "name", "owner_id", "state", "changed_at")
    return {**{name: row[name] for name in names}, "version": row["trigger_version"]}


@API.post("/v1/triggers", operation_id="triggers_create", status_code=201, tags=["triggers"])
async def create_trigger(body: NewTrigger, door: Annotated[Door, WRITE]) -> Response:
    world = await world_of(door)
    place = place_of(world, str(body.pipeline_id), str(body.stage_id))
    known = catalogue.TRIGGER_TYPES.get(body.trigger_type)
    if known is None or place.element_type not in known.element_types:
        raise _no_such_trigger_type(body.trigger_type, place.element_type)
    id = str(body.id or new_id())
    owner = str(body.owner_id) if body.owner_id else door.caller.employee_id or _owner_of(world, place)
    definition = {**body.definition, "type": body.trigger_type, "target_stage": f"{place.pipeline}/{place.stage}"}
    draft = tri.DraftTrigger(place.element_type, place.pipeline_id, place.stage_id, body.position, definition, owner)
    return await door.ask(Addressed(TRIGGER, id, draft), answer=trigger_answer(id, 201))


def _no_such_trigger_type(name: str, element_type: str) -> Rejected:
    code = "type_not_for_element" if name in catalogue.TRIGGER_TYPES else "unknown_trigger_type"
    detail = f"There is no trigger type {name} for a {element_type}."
    return Rejected("validation_failed", detail, status=422, errors=(Fault("#/trigger_type", code, detail),))


@API.get("/v1/triggers/{id}", operation_id="triggers_get", tags=["triggers"])
async def get_trigger(id: Id, door: Annotated[Door, READ], version: int | None = None) -> Response:
    trigger, revision = await door.state_at(TRIGGER, str(id), version)
    return door.shown(revision, shown_trigger(str(id), trigger, revision))


@API.patch("/v1/triggers/{id}", operation_id="triggers_change", tags=["triggers"])
async def change_trigger(id: Id, body: RuleChanges, door: Annotated[Door, WRITE]) -> Response:
    owner = str(body.owner_id) if body.owner_id else None

    def edit(seen: Facts) -> tri.EditTrigger:
        latest = seen.state(TRIGGER, str(id)).latest
        return tri.EditTrigger({k: v for k, v in {**latest, **(body.definition or {})}.items() if v is not None}, owner)

    return await door.ask(Addressed(TRIGGER, str(id), edit), answer=trigger_answer(str(id)))


@API.delete("/v1/triggers/{id}", operation_id="triggers_delete", tags=["triggers"])
async def delete_trigger(id: Id, door: Annotated[Door, ACTIVATE]) -> Response:
    return await door.ask(Addressed(TRIGGER, str(id), tri.DeleteTrigger()), answer=trigger_answer(str(id)))


@API.post("/v1/triggers/{id}/publications", operation_id="triggers_publish", tags=["triggers"])
async def publish_trigger(id: Id, door: Annotated[Door, ACTIVATE], body: Nothing | None = None) -> Response:
    world = await world_of(door)

    def publish(seen: Facts) -> tri.PublishTrigger:
        trigger = seen.state(TRIGGER, str(id))
        trigger.must_exist()
        checked = check_trigger(trigger.latest, place_of(world, trigger.pipeline_id, trigger.stage_id), names_of(world), paths_of)
        return tri.PublishTrigger(checked.definition, checked.references, _pointed(checked))

    return await door.ask(Addressed(TRIGGER, str(id), publish), answer=trigger_answer(str(id)))


class TriggerToCheck(Body):
    """A trigger as it stands in a form. `stage_id` is the target."""

    pipeline_id: UUID
    stage_id: UUID
    definition: Definition


@API.post("/v1/triggers/checks", operation_id="triggers_check", tags=["triggers"])
async def check_one_trigger(body: TriggerToCheck, door: Annotated[Door, READ]) -> Any:
    """The same for a trigger."""
    world = await world_of(door)
    place = place_of(world, str(body.pipeline_id), str(body.stage_id))
    return shown_check(check_trigger(body.definition, place, names_of(world), paths_of))


@API.post("/v1/triggers/{id}/disablements", operation_id="triggers_disable", tags=["triggers"])
async def disable_trigger(id: Id, door: Annotated[Door, ACTIVATE], body: Nothing | None = None) -> Response:
    return await door.ask(Addressed(TRIGGER, str(id), tri.DisableTrigger()), answer=trigger_answer(str(id)))


@API.post("/v1/triggers/{id}/enablements", operation_id="triggers_enable", tags=["triggers"])
async def enable_trigger(id: Id, door: Annotated[Door, ACTIVATE], body: Nothing | None = None) -> Response:
    return await door.ask(Addressed(TRIGGER, str(id), tri.EnableTrigger()), answer=trigger_answer(str(id)))


# ------------------------------------------------------------------------------------------------ constants and variables


class NewValue(Body):
    id: UUID | None = None
    code: Code
    value_type: Text255 = "string"
    multiple: Flag = False
    visibility: Text255 = "everywhere"
    value: Plain = None


class ValueChange(Body):
    value: Plain = None
    value_type: Text255 | None = None
    multiple: Flag | None = None
    visibility: Text255 | None = None


def shown_value(id: str, value: val.Value, revision: int) -> Json:
    names = ("kind", "code", "value_type", "multiple", "visibility", "value", "state")
    return {"id": id, **{name: getattr(value, name) for name in names}, "revision": revision}


def value_answer(id: str, plural: str, status: int = 200) -> Callable[[Result], Answer]:
    def answer(done: Result) -> Answer:
        version = done.version(VALUE, id)
        location = f"/v1/{plural}/{id}" if status == 201 else None
        return Answer(status, shown_value(id, done.state(VALUE, id), version), location=location, etag=version)

    return answer


async def list_values(door: Door, paging: Paging, kind: str, code: str | None) -> Response:
    t = views.VALUES_TABLE.c
    query = select(views.VALUES_TABLE).where(t.kind == kind, t.state == "defined", *((t.code == code,) if code else ()))
    return await door.listed(query, paging, sort=(t.code, t.changed_at), default="code", shown=listed_value)


def listed_value(row: Mapping[str, Any]) -> Json:
    names = ("id", "kind", "code", "value_type", "multiple", "visibility", "changed_at")
    return {**{name: row[name] for name in names}, "value": row["value"]["is"]}


async def create_value(door: Door, kind: str, body: NewValue) -> Response:
    """A code is taken once per kind: the set of values of the tenant is decided on as one."""
    world = await world_of(door)
    if any(row["kind"] == kind and row["code"] == body.code and row["id"] != str(body.id) for row in world.values):
        raise Rejected("code_taken", f"A {kind} {body.code} exists.")
    id = str(body.id or new_id())
    define = DefineValue(kind, body.code, body.value_type, body.multiple, body.visibility, body.value)
    return await door.ask(Addressed(VALUE, id, define, exclusive="value-codes"), answer=value_answer(id, f"{kind}s", 201))


async def delete_value(door: Door, id: str, kind: str) -> Response:
    world = await world_of(door)
    users = [str(r["name"]) for r in (*world.rules, *world.triggers) if r["state"] != "deleted" and f"value:{id}" in r["references"]]
    return await door.ask(Addressed(VALUE, id, DeleteValue(tuple(users))), answer=value_answer(id, f"{kind}s"))


@API.get("/v1/constants", operation_id="constants_list", tags=["values"])
async def list_constants(door: Annotated[Door, READ], paging: Page, code: str | None = None) -> Response:
    return await list_values(door, paging, "constant", code)


@API.post("/v1/constants", operation_id="constants_create", status_code=201, tags=["values"])
async def create_constant(body: NewValue, door: Annotated[Door, WRITE]) -> Response:
    return await create_value(door, "constant", body)


@API.get("/v1/constants/{id}", operation_id="constants_get", tags=["values"])
async def get_constant(id: Id, door: Annotated[Door, READ]) -> Response:
    value, revision = await door.state_at(VALUE, str(id))
    return door.shown(revision, shown_value(str(id), value, revision))


@API.patch("/v1/constants/{id}", operation_id="constants_change", tags=["values"])
async def change_constant(id: Id, body: ValueChange, door: Annotated[Door, WRITE]) -> Response:
    change = ChangeValue(body.value, body.value_type, body.multiple, body.visibility)
    return await door.ask(Addressed(VALUE, str(id), change), answer=value_answer(str(id), "constants"))


@API.delete("/v1/constants/{id}", operation_id="constants_delete", tags=["values"])
async def delete_constant(id: Id, door: Annotated[Door, WRITE]) -> Response:
    return await delete_value(door, str(id), "constant")


@API.get("/v1/variables", operation_id="variables_list", tags=["values"])
async def list_variables(door: Annotated[Door, READ], paging: Page, code: str | None = None) -> Response:
    return await list_values(door, paging, "variable", code)


@API.post("/v1/variables", operation_id="variables_create", status_code=201, tags=["values"])
async def create_variable(body: NewValue, door: Annotated[Door, WRITE]) -> Response:
    return await create_value(door, "variable", body)


@API.get("/v1/variables/{id}", operation_id="variables_get", tags=["values"])
async def get_variable(id: Id, door: Annotated[Door, READ]) -> Response:
    value, revision = await door.state_at(VALUE, str(id))
    return door.shown(revision, shown_value(str(id), value, revision))


@API.patch("/v1/variables/{id}", operation_id="variables_change", tags=["values"])
async def change_variable(id: Id, body: ValueChange, door: Annotated[Door, WRITE]) -> Response:
    change = ChangeValue(body.value, body.value_type, body.multiple, body.visibility)
    return await door.ask(Addressed(VALUE, str(id), change), answer=value_answer(str(id), "variables"))


@API.delete("/v1/variables/{id}", operation_id="variables_delete", tags=["values"])
async def delete_variable(id: Id, door: Annotated[Door, WRITE]) -> Response:
    return await delete_value(door, str(id), "variable")


# ------------------------------------------------------------------------------------------------ rules as text


class RuleText(Body):
    """YAML or JSON, at most 256 KiB less the rest of the request."""

    text: Annotated[str, Field(max_length=256 * 1024)]
    prune: Flag = False


class Application(Body):
    plan_id: UUID
    waiting: Literal["keep", "migrate", "cancel"] = "keep"


async def planned(door: Door, body: RuleText) -> Planned:
    """Raises Rejected(rule_set_invalid) with every error at once."""
    try:
        documents = documents_of(body.text)
    except Unreadable as error:
        raise Rejected("rule_set_invalid", str(error), status=422, errors=(Fault("#/text", "syntax", str(error)),)) from None
    plan = plan_of(documents, await world_of(door), door.caller.employee_id, new_id, prune=body.prune)
    errors = tuple(finding for finding, _, _ in plan.findings if finding.code not in WARNINGS)
    if errors:
        raise Rejected("rule_set_invalid", f"{len(errors)} faults were found; `errors` names each.", status=422, errors=errors)
    return plan


def shown_findings(plan: Planned, text: str) -> list[Json]:
    """`line` and `column` count from 1 in the text as it came."""
    spots = Spots(text)
    return [
        {**f._asdict(), "severity": _severity(f), "stage": stage, "rule_id": key, **spots.of(f.pointer)._asdict()}
        for f, stage, key in plan.findings
    ]


def _severity(finding: Fault) -> str:
    return "warning" if finding.code in (*WARNINGS, "not_allowed_for_author") else "error"


def note_rights(door: Door, plan: Planned) -> None:
    """Others may look at a plan that only one with the rights may apply (D67)."""
    for change in plan.changes:
        scope = scope_missing(door, change["definition"]) if is_published(change) else None
        if scope is not None:
            detail = f"{change['definition']['type']} needs the right {scope}."
            plan.find(f"{change['pointer']}/type", "not_allowed_for_author", detail, change["stage"], change["key"])


def is_published(change: Json) -> bool:
    return change["kind"] == "rule" and change["change"] not in ("unchanged", "delete")


def shown_change(change: Json) -> Json:
    names = ("kind", "id", "key", "stage", "change", "fields", "differences", "version")
    return {name: change[name] for name in names if name in change}


def shown_changes(changes: Iterable[Json]) -> list[Json]:
    return [shown_change(change) for change in changes if change["kind"] != "bound"]


YAML = "application/yaml"
Format = Annotated[Literal["yaml", "json"], Query(description="A YAML stream, or an array of the same documents.")]
TEXT_FORM: dict[int | str, dict[str, Any]] = {200: {"description": "Rules as text", "content": {YAML: {"schema": {"type": "string"}}}}}


@API.get("/v1/rule-sets", operation_id="rule_sets_export", tags=["rule sets"], responses=TEXT_FORM)
async def export_rule_sets(door: Annotated[Door, READ], format: Format = "yaml") -> Any:
    """All rules, triggers and values in force as text. Planned again, it changes nothing.

    What could not be applied again today is a comment in the YAML, with the reason, and missing in the JSON."""
    return _as_text(await world_of(door), None, format)


@API.get("/v1/rule-sets/{pipeline_code}", operation_id="rule_sets_export_pipeline", tags=["rule sets"], responses=TEXT_FORM)
async def export_rule_set(pipeline_code: Annotated[Code, Path()], door: Annotated[Door, READ], format: Format = "yaml") -> Any:
    """The same of one pipeline, with the constants and variables that its rules name."""
    world = await world_of(door)
    if all(row["code"] != pipeline_code for row in world.pipelines):
        raise NotFound(f"There is no pipeline {pipeline_code}.")
    return _as_text(world, pipeline_code, format)


def _as_text(world: World, pipeline: str | None, format: str) -> Any:
    found = exported(world, pipeline, new_id)
    return found.documents if format == "json" else Response(text_of(found), media_type=YAML)


@API.post("/v1/rule-sets/checks", operation_id="rule_sets_check", tags=["rule sets"])
async def check_rule_set(body: RuleText, door: Annotated[Door, READ]) -> Any:
    """Nothing is written; all findings at once."""
    return {"findings": shown_findings(await planned(door, body), body.text)}


@API.post("/v1/rule-sets/plans", operation_id="rule_sets_plan", status_code=201, tags=["rule sets"])
async def plan_rule_set(body: RuleText, door: Annotated[Door, WRITE]) -> Response:
    """What the text would change, kept under a plan_id that is bound to what is in force now; nothing else is written.

    `waiting`: runs that have not begun and belong to a rule that gets a new version, is switched off or deleted, and what
    `keep`, `migrate` and `cancel` at the application would make of them. `elements`: how many there are on each stage named."""
    plan = await planned(door, body)
    note_rights(door, plan)
    id = str(new_id())
    shown = {
        "plan_id": id,
        "changes": shown_changes(plan.changes),
        "waiting": await touched_runs(door, plan),
        "elements": await elements_on(door, plan),
        "findings": shown_findings(plan, body.text),
    }
    return await door.ask(Addressed(PLAN, id, MakePlan(tuple(plan.changes))), answer=lambda done: Answer(201, shown))


NOT_BEGUN = ("scheduled", "waiting", "blocked")
MOST_RUNS_SHOWN = 20
NEW_VERSION: Json = {"keep": "kept", "migrate": "migrated", "cancel": "cancelled"}
SWITCHED_OFF: Json = {"keep": "skipped", "migrate": "skipped", "cancel": "cancelled"}
DELETED: Json = {"keep": "cancelled", "migrate": "cancelled", "cancel": "cancelled"}


def becomes_of_runs(change: Json) -> Json | None:
    """What waits of a rule is kept, migrated, skipped when it comes due, or cancelled (D2-D4); None: the change does not touch it."""
    if change["kind"] != "rule" or change["change"] not in ("update", "disable", "delete"):
        return None
    if change["change"] == "delete":
        return DELETED
    differing = set(change["fields"])
    if differing - {"position", "enabled"}:
        return NEW_VERSION
    return SWITCHED_OFF if "enabled" in differing and not change["definition"]["enabled"] else None


async def touched_runs(door: Door, plan: Planned) -> list[Json]:
    """One entry per rule, in the order of the plan; the first runs by due time, for those who may see runs."""
    touched = {change["id"]: change for change in plan.changes if becomes_of_runs(change) is not None}
    if not touched:
        return []
    async with door.reading() as sql:
        rows = [dict(row) for row in (await sql.execute(_touched_query(touched))).mappings()]
    found = {id: [row for row in rows if row["rule_id"] == id] for id in touched}
    return [_shown_touched(touched[id], runs, door.may("runs:read")) for id, runs in found.items() if runs]


def _touched_query(touched: Mapping[str, Json]) -> Select[Any]:
    t = RUNS.c
    of_rule: dict[str, Any] = {"partition_by": t.rule_id}
    figures = (
        func.count().over(**of_rule).label("count"),
        func.count().filter(t.state == "blocked").over(**of_rule).label("blocked"),
        func.min(t.due_at).over(**of_rule).label("first_due_at"),
        func.max(t.due_at).over(**of_rule).label("last_due_at"),
        func.row_number().over(**of_rule, order_by=(t.due_at.asc().nulls_last(), t.run_id)).label("place_in_rule"),
    )
    stages = {change["stage_id"] for change in touched.values()}
    runs = select(t.rule_id, t.run_id, t.element_id, t.rule_version, t.state, t.due_at, *figures)
    kept = runs.where(t.waits, t.stage_id.in_(stages), t.rule_id.in_(touched), t.state.in_(NOT_BEGUN)).add_cte(every_run()).subquery()
    return select(kept).where(kept.c.place_in_rule <= MOST_RUNS_SHOWN).order_by(kept.c.place_in_rule)


def _shown_touched(change: Json, runs: Sequence[Row], may_see: bool) -> Json:
    names = ("count", "blocked", "first_due_at", "last_due_at")
    of_run = ("run_id", "element_id", "state", "due_at")
    place = {"rule_id": change["id"], "key": change["key"], "stage": change["stage"], "change": change["change"]}
    shown = [{**{name: run[name] for name in of_run}, "rule_version": int(run["rule_version"])} for run in runs] if may_see else []
    return {**place, **{name: runs[0][name] for name in names}, **(becomes_of_runs(change) or {}), "runs": shown}


async def elements_on(door: Door, plan: Planned) -> list[Json]:
    """They keep the versions that were in force when they arrived (G27)."""
    stages = {change["stage_id"]: change["stage"] for change in plan.changes if "stage_id" in change}
    t = replicas.ELEMENTS.table.c
    query = select(t.stage_id, func.count().label("count")).where(t.stage_id.in_(stages), t.deleted.is_(False)).group_by(t.stage_id)
    async with door.reading() as sql:
        counts = {row["stage_id"]: row["count"] for row in (await sql.execute(query)).mappings()}
    return [{"stage": path, "count": counts.get(id, 0)} for id, path in stages.items()]


@API.post("/v1/rule-sets/applications", operation_id="rule_sets_apply", tags=["rule sets"])
async def apply_rule_set(body: Application, door: Annotated[Door, ACTIVATE]) -> Response:
    """Publishes everything in one transaction, or nothing (plan_outdated)."""
    plan, _ = await door.state_at(PLAN, str(body.plan_id))
    changes = [change for change in plan.changes if change["change"] != "unchanged"]
    for change in changes:
        if is_published(change):
            must_be_allowed(door, change["definition"])

    def apply(seen: Facts) -> ApplyPlan:
        return ApplyPlan(_standing_now(plan.changes, seen) | {change["id"]: _fingerprint_now(change, seen) for change in changes})

    asked = [addressed for change in changes for addressed in _applied(change, body.waiting)]
    shown = {"plan_id": str(body.plan_id), "applied": shown_changes(changes)}
    first = Addressed(PLAN, str(body.plan_id), apply, exclusive="rule-sets", finds=_finds(plan.changes))
    return await door.ask(first, *asked, answer=lambda done: Answer(200, shown))


KINDS_OF_VALUES = ("constant", "variable")


def _bound_stages(changes: Iterable[Json]) -> list[str]:
    return [change["key"] for change in changes if change["kind"] == "bound" and change["of"] == "stage"]


def _finds(changes: Sequence[Json]) -> tuple[tuple[Any, str], ...]:
    """Everything that stands where the plan changes something."""
    tables = (views.STANDING_RULES, views.STANDING_TRIGGERS)
    there: list[tuple[Any, str]] = [(finder, stage) for stage in _bound_stages(changes) for finder in tables]
    return (*there, *((views.VALUES_OF_KIND, kind) for kind in KINDS_OF_VALUES))


def _standing_now(changes: Sequence[Json], seen: Facts) -> dict[str, str | None]:
    """Of what the plan rests on and leaves as it is: each by id, and who stands on each stage."""
    now: dict[str, str | None] = {}
    for stage in _bound_stages(changes):
        rows = [*seen.all(views.STANDING_RULES, stage), *seen.all(views.STANDING_TRIGGERS, stage)]
        now |= {row["id"]: standing_of(row) for row in rows} | {f"bound:{stage}": bound_to(rows)}
    for kind in KINDS_OF_VALUES:
        values = seen.all(views.VALUES_OF_KIND, kind)
        now |= {row["id"]: fingerprint(row["value"]["is"]) for row in values} | {f"bound:{kind}": bound_to(values)}
    return now


def _fingerprint_now(change: Json, seen: Facts) -> str | None:
    """Of what the plan changes, as it stands when it is applied; null for what is not there."""
    id = change["id"]
    match change["kind"]:
        case "rule":
            rule = seen.state(RULE, id)
            return None if rule.state == "none" else standing(rule.state, rule.position, rule.definition)
        case "trigger":
            trigger = seen.state(TRIGGER, id)
            return None if trigger.state == "none" else standing(trigger.state, trigger.position, trigger.definition)
        case _:
            value = seen.state(VALUE, id)
            return None if value.state != "defined" else fingerprint(value.value)


def _applied(change: Json, waiting: str) -> list[Addressed[Any]]:
    match change["kind"]:
        case "rule":
            return _applied_rule(change, waiting)
        case "trigger":
            return _applied_trigger(change)
        case _:
            return [Addressed(VALUE, change["id"], _value_command(change), exclusive="value-codes")]


def _value_command(change: Json) -> val.ValueCommand:
    value = change["value"]
    if change["change"] == "update":
        return ChangeValue(value["value"])
    return DefineValue(change["kind"], change["key"], value["type"], value["multiple"], value["visibility"], value["value"])


def _applied_rule(c: Json, waiting: str) -> list[Addressed[Any]]:
    """Drafted or moved, published if the version is new, then switched as the text says."""
    id, definition = c["id"], c["definition"]
    if c["change"] == "delete":
        return [Addressed(RULE, id, rul.DeleteRule())]
    place = (c["element_type"], c["pipeline_id"], c["stage_id"], c["position"])
    draft = rul.DraftRule(*place, definition, c["owner_id"])
    there = (rul.MoveRule(c["position"]), *((rul.EditRule(definition, c["owner_id"]),) if definition["owner"] else ()))
    first = (draft,) if c["change"] == "create" else there

    def publish(seen: Facts) -> rul.PublishRule | None:
        rule = seen.state(RULE, id)
        same = rule.invalid is None and same_version("rule", rule.definition, definition)
        return None if same else rul.PublishRule(definition, c["references"], (), waiting)

    def switch(seen: Facts) -> rul.RuleCommand | None:
        on = _to_switch(seen.state(RULE, id).state, definition)
        return None if on is None else rul.EnableRule() if on else rul.DisableRule(waiting == "cancel")

    return [Addressed(RULE, id, command) for command in (*first, publish, switch)]


def _applied_trigger(c: Json) -> list[Addressed[Any]]:
    id, definition = c["id"], c["definition"]
    if c["change"] == "delete":
        return [Addressed(TRIGGER, id, tri.DeleteTrigger())]
    place = (c["element_type"], c["pipeline_id"], c["stage_id"], c["position"])
    draft = tri.DraftTrigger(*place, definition, c["owner_id"])
    first = [draft] if c["change"] == "create" else [tri.MoveTrigger(c["position"])]

    def publish(seen: Facts) -> tri.PublishTrigger | None:
        trigger = seen.state(TRIGGER, id)
        same = trigger.invalid is None and same_version("trigger", trigger.definition, definition)
        return None if same else tri.PublishTrigger(definition, c["references"])

    def switch(seen: Facts) -> tri.TriggerCommand | None:
        on = _to_switch(seen.state(TRIGGER, id).state, definition)
        return None if on is None else tri.EnableTrigger() if on else tri.DisableTrigger()

    return [Addressed(TRIGGER, id, command) for command in (*first, publish, switch)]


def _to_switch(state: str, definition: Json) -> bool | None:
    """Whether it has to be switched on or off to be as the text says; None if it is so."""
    if state == "disabled" and definition["enabled"]:
        return True
    return False if state == "published" and not definition["enabled"] else None


# ------------------------------------------------------------------------------------------------ visits and runs


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


def listed_run(row: Mapping[str, Any]) -> Json:
    names = ("visit_id", "element_id", "element_type", "pipeline_id", "stage_id", "triggered_at")
    shown = {name: value for name, value in row["run"].items() if name != "asked_since"}
    return {"id": row["run_id"], **{name: row[name] for name in names}, **shown, "stuck": is_stuck(row["asked_since"])}


STUCK_AFTER = timedelta(minutes=5)
"""A step asked longer ago than this and not answered is shown as stuck (G28)."""


def is_stuck(asked_since: datetime | None) -> bool:
    return asked_since is not None and asked_since < now() - STUCK_AFTER


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
    t = RUNS.c
    place = {t.element_id: element_id, t.pipeline_id: pipeline_id, t.stage_id: stage_id}
    query = runs_query(place | {t.rule_id: rule_id, t.rule_version: rule_version, t.state: state, t.reason: reason})
    if stuck is not None:
        is_so = t.asked_since < now() - STUCK_AFTER
        query = query.where(is_so if stuck else func.coalesce(is_so, False).is_(False))
    return await door.listed(query, paging, sort=(t.triggered_at, t.due_at), shown=listed_run)


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
    """Everything that is going to happen, in order of time; what waits for something else than time comes last."""
    t = RUNS.c
    waits_for = t.run.op("->>")(literal_column("'waiting_for'"))
    wanted = {t.element_id: element_id, t.pipeline_id: pipeline_id, t.rule_id: rule_id, waits_for: waiting_for}
    bounds = ((t.due_at >= due_from,) if due_from else ()) + ((t.due_at < due_to,) if due_to else ())
    query = runs_query(wanted, t.waits, t.state.in_(("scheduled", "waiting", "blocked", "missed")), *bounds)
    return await door.listed(query, paging, sort=(t.due_at, t.triggered_at), default="due_at", shown=listed_run)


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
            "select v.id, v.element_id, v.stage_id, r.value ->> 'rule_id' as rule_id from visits_v1 v"
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


Verb = Callable[[str, vis.Known, Ready | None], vis.VisitCommand]


async def on_run(door: Door, run_id: UUID, verb: Verb) -> Response:
    """A person's verb on one run: the facts are gathered as they are now, the visit decides."""
    place = await place_of_run(door, run_id)
    stage = await stage_now(door, place["element_id"], place["stage_id"])
    current = stage.rules.ready(place["rule_id"])
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
    visit, _ = await door.state_at(VISIT, str(id))
    stage = await stage_now(door, visit.element_id, visit.stage_id)
    asked = asks(str(id), stage, lambda known, seen: vis.StopRules(known))

    def answer(done: Result) -> Answer:
        after = done.state(VISIT, str(id))
        return Answer(200, {"id": str(id), "runs": [shown_run(after, run) for run in after.runs]}, etag=done.version(VISIT, str(id)))

    return await door.ask(*asked, answer=answer)


# ------------------------------------------------------------------------------------------------ why


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


async def _why_trigger(door: Door, card: Card, trigger_id: str, at: datetime | None, reader: why.Reader) -> Json:
    whole, _ = await door.state_at(TRIGGER, trigger_id)
    told = await _told(door, TRIGGER, trigger_id, at)
    t, named = views.DECISIONS_TABLE.c, views.TRIGGERS_TABLE.c
    query = select(t.id).where(t.element_id == card.element_id, t.trigger_type == whole.latest.get("type"), *((t.at <= at,) if at else ()))
    async with door.reading() as sql:
        decision = (await sql.execute(query.order_by(t.at.desc(), t.id).limit(1))).scalar()
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
