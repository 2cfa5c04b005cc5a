"""Constants and variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter
from sqlalchemy import select
from starlette.responses import Response

from services.automation import views
from services.automation.api.common import READ, WRITE, Id, Page, Plain, world_of
from services.automation.domain import constants as val
from services.automation.domain.constants import VALUE, ChangeValue, DefineValue, DeleteValue
from shared.es.addressed import Addressed
from shared.es.aggregate import Json
from shared.es.errors import Rejected
from shared.http.commands import Answer, Door, Result
from shared.http.paging import Paging
from shared.http.problems import Body
from shared.http.types import Code, Flag, Text255
from shared.runtime.clock import new_id

API = APIRouter()


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
