"""Answers of webhooks that a rule called and waits for (G51-G53)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field, JsonValue
from sqlalchemy import select
from starlette.requests import Request
from starlette.responses import Response

from services.automation import replicas, views
from services.automation.api.common import Plain
from services.automation.api.runs import stage_now
from services.automation.domain import visit as vis
from services.automation.domain.callback import Meant
from services.automation.domain.visit import VISIT
from services.automation.facts.callbacks import Call, call_of
from services.automation.facts.visits import asks
from shared.es.errors import NotFound
from shared.http.auth import public
from shared.http.commands import Answer, Door, Result
from shared.http.problems import Body
from shared.runtime.clock import new_id

API = APIRouter()
BY_TOKEN = public("whoever was called holds the token of that call, which is good for one answer")
MOST = 100


class CallbackAnswer(Body):
    """`outputs`: a value for each output that the rule declares."""

    outputs: Annotated[dict[str, Plain], Field(default_factory=dict, max_length=MOST)]


@API.post(
    "/v1/callbacks/{token}",
    operation_id="callbacks_answer",
    tags=["callbacks"],
    responses={410: {"description": "`callback_used`, `callback_expired`: the call was answered, or is too old."}},
)
async def answer_callback(
    token: Annotated[str, Path(min_length=1, max_length=120)], body: CallbackAnswer, request: Request, door: Annotated[Door, BY_TOKEN]
) -> Response:
    """The answer to a call; the rule goes on with its outputs.

    404 for a token that is none, 409 `not_waiting` when the rule does not wait, 422 with the outputs that do not fit: it waits on."""
    call = call_of(token)
    there = door.in_tenant(call.tenant, actor="system")
    place = await _place_of(there, call)
    stage = await stage_now(there, place["element_id"], place["stage_id"])
    meant = await _meant(there, body.outputs)
    asked = asks(place["id"], stage, lambda known, seen: vis.CallbackCame(call.request_id, call.asked_at, body.outputs, meant, known))

    def answer(done: Result) -> Answer:
        run = done.state(VISIT, place["id"]).run(place["rule_id"])
        return Answer(200, {"state": run.state if run else None, "outputs": run.outputs if run else {}})

    return await there.ask(*asked, answer=answer, key=None if "idempotency-key" in request.headers else str(new_id()))


async def _place_of(door: Door, call: Call) -> Any:
    """Raises NotFound."""
    t = views.STEPS_TABLE.c
    async with door.reading() as sql:
        query = select(t.id, t.element_id, t.stage_id, t.rule_id).where(t.request_id == call.request_id).limit(1)
        found = (await sql.execute(query)).mappings().first()
    if found is None:
        raise NotFound("There is no call with this token.")
    return found


async def _meant(door: Door, outputs: dict[str, JsonValue]) -> Meant:
    """Employees and files among the values."""
    named = sorted(set(_texts(outputs)))
    employees, files = replicas.EMPLOYEES.table.c, replicas.FILES.table.c
    codes = [text.removeprefix("user:") for text in named if text.startswith("user:")]
    async with door.reading() as sql:
        people = (await sql.execute(select(employees.id, employees.code).where(employees.id.in_(named) | employees.code.in_(codes)))).all()
        there = (await sql.execute(select(files.id).where(files.id.in_(named), ~files.removed))).scalars().all()
    return Meant({name: id for id, code in people for name in (id, f"user:{code}")}, frozenset(there))


def _texts(outputs: dict[str, JsonValue]) -> Iterator[str]:
    for value in outputs.values():
        yield from (item for item in (value if isinstance(value, list) else [value]) if isinstance(item, str) and len(item) <= 255)
