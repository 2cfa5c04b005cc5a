"""The toy service behind HTTP: every kind of route that the services have."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Response
from pydantic import Field
from sqlalchemy import select

from shared.es.addressed import Addressed, Facts
from shared.es.errors import NotFound, NotYet
from shared.http.auth import needs, public
from shared.http.commands import Answer, Door, Result
from shared.http.paging import Paging
from shared.http.problems import PROBLEMS, Body
from shared.http.types import Code, Currency, DecimalText, Instant, LongText, MoneyBody, Text255, Whole, Zone
from shared.runtime.clock import new_id
from tests.kit import toy
from tests.kit.toy import JAR, JARS, PutMarbles

API = APIRouter(tags=["jars"])


class Label(Body):
    text: Text255
    language: Literal["de", "en"] = "en"


class NewJar(Body):
    id: UUID | None = None
    number: Whole = Field(ge=-5, le=1000)
    colour: str = ""
    label: Label | None = None
    labels: tuple[Label, ...] = ()
    code: Code | None = None
    note: LongText | None = None
    price: MoneyBody | None = None
    weight: DecimalText | None = None
    currency: Currency | None = None
    zone: Zone | None = None
    at: Instant | None = None


class More(Body):
    number: Whole


def shown(done: Result, id: str) -> dict[str, Any]:
    jar = done.state(JAR, id)
    return {"id": id, "marbles": jar.marbles, "colour": jar.colour}


@API.post("/v1/jars", operation_id="jars_create", status_code=201, responses=PROBLEMS)
async def create(body: NewJar, door: Annotated[Door, needs("deals:write")]) -> Response:
    id = str(body.id or new_id())
    asked = Addressed(JAR, id, PutMarbles(body.number, body.colour))
    return await door.ask(asked, answer=lambda done: Answer(201, shown(done, id), location=f"/v1/jars/{id}", etag=done.version(JAR, id)))


@API.get("/v1/jars", operation_id="jars_list", responses=PROBLEMS)
async def listed(
    door: Annotated[Door, needs("deals:read", also=("uf.",))],
    paging: Annotated[Paging, Depends()],
    colour: str | None = None,
    least: int | None = None,
) -> Response:
    query = select(JARS.table)
    if least is not None:
        query = query.where(JARS.table.c.marbles >= least)
    if colour is not None:
        query = query.where(JARS.table.c.colour == colour)
    return await door.listed(query, paging, sort=(JARS.table.c.marbles, JARS.table.c.colour), shown=without_tenant)


def without_tenant(row: Any) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "tenant"}


@API.get("/v1/jars/{id}", operation_id="jars_get", responses=PROBLEMS)
async def get(id: UUID, door: Annotated[Door, needs("deals:read")], version: int | None = None) -> Response:
    if version is not None:
        state, at = await door.state_at(JAR, str(id), version)
        return door.shown(at, {"id": id, "marbles": state.marbles, "colour": state.colour})
    row = await door.one(select(JARS.table).where(JARS.table.c.id == str(id)))
    return door.shown(row["version"], without_tenant(row))


@API.get("/v1/jars/{id}/events", operation_id="jars_events", responses=PROBLEMS)
async def events(id: UUID, door: Annotated[Door, needs("deals:read")], paging: Annotated[Paging, Depends()]) -> Response:
    return await door.history(JAR, str(id), paging)


@API.patch("/v1/jars/{id}", operation_id="jars_change", responses=PROBLEMS)
async def change(id: UUID, body: More, door: Annotated[Door, needs("deals:write")]) -> Response:
    asked = Addressed(JAR, str(id), PutMarbles(body.number))
    return await door.ask(asked, answer=lambda done: Answer(200, shown(done, str(id)), etag=done.version(JAR, str(id))))


@API.post("/v1/jars/{id}/marbles", operation_id="jars_fill", responses=PROBLEMS)
async def fill(id: UUID, body: More, door: Annotated[Door, needs("deals:write")]) -> Response:
    def known(seen: Facts) -> PutMarbles:
        if not seen.state(JAR, str(id)).marbles:
            raise NotFound()
        return PutMarbles(body.number)

    return await door.ask(Addressed(JAR, str(id), known), answer=lambda done: Answer(200, shown(done, str(id))))


@API.post("/v1/jars/{id}/waits", operation_id="jars_wait", responses=PROBLEMS)
async def waits(id: UUID, door: Annotated[Door, needs("deals:write")]) -> Response:
    def never(seen: Facts) -> PutMarbles:
        raise NotYet("the colour of the jar")

    return await door.ask(Addressed(JAR, str(id), never), answer=lambda done: Answer(204))


def cannot_be_shown(done: Result) -> Answer:
    raise KeyError("the secret is 4711")


@API.post("/v1/jars/{id}/shows", operation_id="jars_show_badly", responses=PROBLEMS)
async def shows_badly(id: UUID, door: Annotated[Door, needs("deals:write")]) -> Response:
    return await door.ask(Addressed(JAR, str(id), PutMarbles(1)), answer=cannot_be_shown)


@API.post("/v1/hooks/{token}", operation_id="jars_hook", responses=PROBLEMS)
async def hook(token: str, door: Annotated[Door, public("the token in the address is the credential")]) -> Response:
    if token != "sesame":
        raise NotFound()
    inside = door.in_tenant(toy.TENANT, actor="key:hook")
    size = len(await inside.body())
    id = str(UUID(int=77))
    return await inside.ask(Addressed(JAR, id, PutMarbles(2)), answer=lambda done: Answer(200, {"size": size}), key="delivery-1")


@API.get("/v1/errors/{kind}", operation_id="jars_error", responses=PROBLEMS)
async def error(kind: str, door: Annotated[Door, needs("deals:read")]) -> Response:
    raise RuntimeError(f"the secret is 4711, {kind}")


SERVICE = replace(toy.SERVICE, api=API)
