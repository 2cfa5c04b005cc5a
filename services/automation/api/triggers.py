"""Triggers one by one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from pydantic import Field
from sqlalchemy import select
from starlette.responses import Response

from services.automation import views
from services.automation.api.calls import secret_of
from services.automation.api.checks import note_together, owner_of, pointed, shown_check, warning, warnings_of
from services.automation.api.common import ACTIVATE, READ, WRITE, Definition, Id, Nothing, Page, RuleChanges, matching, place_of, world_of
from services.automation.domain import catalogue
from services.automation.domain import trigger as tri
from services.automation.domain.check import check_trigger
from services.automation.domain.trigger import TRIGGER
from services.automation.facts.rendering import check as paths_of
from services.automation.rule_sets.planning import names_of
from shared.es.addressed import Addressed, Facts
from shared.es.aggregate import Json
from shared.es.errors import Fault, Rejected
from shared.http.commands import Answer, Door, Result
from shared.http.problems import Body
from shared.http.types import Text255
from shared.runtime.clock import new_id

API = APIRouter()
MOST_TRIGGERS = 200
"""In one pipeline (automation 14)."""


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
        "invalid": {"code": trigger.invalid[0], "detail": trigger.invalid[1]} if trigger.invalid else None,
        "secret_number": trigger.secret_number if trigger.has_secret else None,
        "revision": revision,
    }


def trigger_answer(id: str, status: int = 200) -> Callable[[Result], Answer]:
    def answer(done: Result) -> Answer:
        version = done.version(TRIGGER, id)
        location = f"/v1/triggers/{id}" if status == 201 else None
        return Answer(status, shown_trigger(id, done.state(TRIGGER, id), version), location=location, etag=version)

    return answer


def with_secret(door: Door, id: str, status: int) -> Callable[[Result], Answer]:
    """The trigger with its secret, which is shown this once; those without one as they are."""
    whole = trigger_answer(id, status)

    def answer(done: Result) -> Answer:
        shown, trigger = whole(done), done.state(TRIGGER, id)
        secret = {"secret": secret_of(door, id, trigger.secret_number)} if trigger.has_secret else {}
        return replace(shown, body={**shown.body, **secret})

    return answer


@API.get("/v1/triggers", operation_id="triggers_list", tags=["triggers"])
async def list_triggers(
    door: Annotated[Door, READ],
    paging: Page,
    pipeline_id: UUID | None = None,
    stage_id: UUID | None = None,
    state: str | None = None,
    trigger_type: str | None = None,
) -> Response:
    t = views.TRIGGERS_TABLE.c
    wanted = {t.pipeline_id: pipeline_id, t.stage_id: stage_id, t.state: state, t.trigger_type: trigger_type}
    query = matching(select(views.TRIGGERS_TABLE), wanted)
    return await door.listed(query, paging, sort=(t.position, t.name, t.changed_at), default="position", shown=listed_trigger)


def listed_trigger(row: Mapping[str, Any]) -> Json:
    names = ("id", "pipeline_id", "stage_id", "position", "trigger_key", "trigger_type", "name", "owner_id", "state", "changed_at")
    return {**{name: row[name] for name in names}, "version": row["trigger_version"], "invalid": row["invalid_code"]}


@API.post("/v1/triggers", operation_id="triggers_create", status_code=201, tags=["triggers"])
async def create_trigger(body: NewTrigger, door: Annotated[Door, WRITE]) -> Response:
    """A draft. The answer to a webhook trigger holds its secret; `POST …/secret-rotations` makes a new one."""
    world = await world_of(door)
    place = place_of(world, str(body.pipeline_id), str(body.stage_id))
    known = catalogue.TRIGGER_TYPES.get(body.trigger_type)
    if known is None or place.element_type not in known.element_types:
        raise _no_such_trigger_type(body.trigger_type, place.element_type)
    id = str(body.id or new_id())
    owner = str(body.owner_id) if body.owner_id else door.caller.employee_id or owner_of(world, place)
    definition = {**body.definition, "type": body.trigger_type, "target_stage": f"{place.pipeline}/{place.stage}"}
    draft = tri.DraftTrigger(place.element_type, place.pipeline_id, place.stage_id, body.position, definition, owner)
    return await door.ask(Addressed(TRIGGER, id, draft), answer=with_secret(door, id, 201))


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
    """It comes into force. Every finding is answered at once when it cannot; `findings` are warnings."""
    world = await world_of(door)
    warned: list[Json] = []

    def publish(seen: Facts) -> tri.PublishTrigger:
        trigger = seen.state(TRIGGER, str(id))
        trigger.must_exist()
        place = place_of(world, trigger.pipeline_id, trigger.stage_id)
        checked = check_trigger(trigger.latest, place, names_of(world), paths_of)
        note_together(checked, world, "trigger", str(id), place, trigger.position)
        warned[:] = warnings_of(checked)
        return tri.PublishTrigger(checked.definition, checked.references, pointed(checked))

    return await door.ask(Addressed(TRIGGER, str(id), publish), answer=lambda done: warning(trigger_answer(str(id))(done), warned))


class TriggerToCheck(Body):
    """A trigger as it stands in a form. `stage_id` is the target; `trigger_id`: if it is there already."""

    pipeline_id: UUID
    stage_id: UUID
    trigger_id: UUID | None = None
    definition: Definition


@API.post("/v1/triggers/checks", operation_id="triggers_check", tags=["triggers"])
async def check_one_trigger(body: TriggerToCheck, door: Annotated[Door, READ]) -> Any:
    """The same for a trigger."""
    world = await world_of(door)
    place = place_of(world, str(body.pipeline_id), str(body.stage_id))
    checked, id = check_trigger(body.definition, place, names_of(world), paths_of), str(body.trigger_id)
    own = next((row["position"] for row in world.triggers if row["id"] == id), MOST_TRIGGERS)
    note_together(checked, world, "trigger", id, place, own)
    return shown_check(checked)


@API.post("/v1/triggers/{id}/disablements", operation_id="triggers_disable", tags=["triggers"])
async def disable_trigger(id: Id, door: Annotated[Door, ACTIVATE], body: Nothing | None = None) -> Response:
    return await door.ask(Addressed(TRIGGER, str(id), tri.DisableTrigger()), answer=trigger_answer(str(id)))


@API.post("/v1/triggers/{id}/enablements", operation_id="triggers_enable", tags=["triggers"])
async def enable_trigger(id: Id, door: Annotated[Door, ACTIVATE], body: Nothing | None = None) -> Response:
    return await door.ask(Addressed(TRIGGER, str(id), tri.EnableTrigger()), answer=trigger_answer(str(id)))


@API.post("/v1/triggers/{id}/secret-rotations", operation_id="triggers_rotate_secret", tags=["triggers"])
async def rotate_secret(id: Id, door: Annotated[Door, ACTIVATE], body: Nothing | None = None) -> Response:
    """The new secret is in the answer, once; the one before is good as well until the next rotation."""
    return await door.ask(Addressed(TRIGGER, str(id), tri.RotateSecret()), answer=with_secret(door, str(id), 200))
