"""Rules one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field, model_validator
from sqlalchemy import select
from starlette.responses import Response

from services.automation import views
from services.automation.api.checks import (
    must_be_allowed,
    note_together,
    owner_of,
    pointed,
    scope_missing,
    shown_check,
    warning,
    warnings_of,
)
from services.automation.api.common import (
    ACTIVATE,
    READ,
    WRITE,
    Definition,
    ElementType,
    Id,
    Nothing,
    Page,
    RuleChanges,
    matching,
    place_of,
    rules_of_stage,
    world_of,
)
from services.automation.domain import catalogue
from services.automation.domain import rule as rul
from services.automation.domain.check import MOST_RULES, Checked, Neighbour, StageName, check_rule
from services.automation.domain.rule import RULE
from services.automation.facts.rendering import check as paths_of
from services.automation.rule_sets.planning import World, names_of
from shared.es.addressed import Addressed, Facts
from shared.es.aggregate import Json
from shared.es.errors import Fault, Rejected
from shared.es.view import Row
from shared.http.commands import Answer, Door, Result
from shared.http.problems import Body
from shared.http.types import Flag, Text255
from shared.runtime.clock import new_id

API = APIRouter()


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


class Rollout(Body):
    """`live` for `percent` of the visits, the others get the version before; or `shadow`: judged beside it, asking for nothing."""

    mode: Literal["live", "shadow"] = "live"
    percent: Annotated[int | None, Field(ge=1, le=100, description="Of live alone; 100, if left out")] = None

    @model_validator(mode="after")
    def _a_share_is_of_what_is_live(self) -> Rollout:
        if self.mode == "shadow" and self.percent is not None:
            raise ValueError("percent goes with live alone: a version in shadow is for no visit")
        return self

    def shown(self) -> Json:
        return {"mode": self.mode, "percent": (self.percent or 100) if self.mode == "live" else None}


class Publication(Body):
    """`past`: what a migrated run does whose time would have come already."""

    waiting: Literal["keep", "migrate", "cancel"] = "keep"
    past: Literal["run", "drop"] = "run"
    rollout: Rollout = Rollout()


class Disablement(Body):
    cancel_waiting: Flag = False


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
        "rollout": {**rule.rollout, "base": rule.base},
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
    owner = str(body.owner_id) if body.owner_id else door.caller.employee_id or owner_of(world, place)
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
    """The draft comes into force. Every finding is answered at once when it cannot (rule_invalid); `findings` are warnings."""
    world, wish = await world_of(door), body or Publication()
    warned: list[Json] = []

    def publish(seen: Facts) -> rul.PublishRule:
        checked = checked_rule(world, str(id), seen.state(RULE, str(id)))
        must_be_allowed(door, checked.definition)
        warned[:] = warnings_of(checked)
        return rul.PublishRule(checked.definition, checked.references, pointed(checked), wish.waiting, wish.past, wish.rollout.shown())

    return await door.ask(Addressed(RULE, str(id), publish), answer=lambda done: warning(rule_answer(str(id))(done), warned))


def checked_rule(world: World, id: str, rule: rul.DefinedRule) -> Checked:
    rule.must_exist()
    return _checked_at(world, place_of(world, rule.pipeline_id, rule.stage_id), id, rule.position, rule.latest)


def _checked_at(world: World, place: StageName, id: str, position: int, definition: Json) -> Checked:
    stage = [row for row in rules_of_stage(world, place.stage_id) if row["id"] != id]
    above = [_neighbour(row) for row in stage if row["position"] < position]
    below = [str(row["rule_key"]) for row in stage if row["position"] >= position]
    checked = check_rule(definition, place, names_of(world), above, below, paths_of)
    note_together(checked, world, "rule", id, place, position)
    return checked


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


def _neighbour(row: Row) -> Neighbour:
    return Neighbour(str(row["rule_key"]), str(row["rule_type"]), str(row["definition"]["execution"]), row["definition"]["settings"])


@API.post("/v1/rules/{id}/disablements", operation_id="rules_disable", tags=["rules"])
async def disable_rule(id: Id, door: Annotated[Door, ACTIVATE], body: Disablement | None = None) -> Response:
    command = rul.DisableRule((body or Disablement()).cancel_waiting)
    return await door.ask(Addressed(RULE, str(id), command), answer=rule_answer(str(id)))


@API.post("/v1/rules/{id}/enablements", operation_id="rules_enable", tags=["rules"])
async def enable_rule(id: Id, door: Annotated[Door, ACTIVATE], body: Nothing | None = None) -> Response:
    return await door.ask(Addressed(RULE, str(id), rul.EnableRule()), answer=rule_answer(str(id)))
