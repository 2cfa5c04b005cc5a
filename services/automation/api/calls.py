"""Other programs: they call triggers by code, with a signature or a key, and apps register triggers of their own (G46, G48, G49)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Request
from pydantic import AfterValidator, Field, JsonValue
from sqlalchemy import select
from starlette.responses import Response

from services.automation import views
from services.automation.api.common import READ, WRITE, ElementType, Page, exact, gathering
from services.automation.domain import decision as dec
from services.automation.domain.app_trigger import APP_TRIGGER, AppTrigger, RegisterAppTrigger, RemoveAppTrigger, app_trigger_id
from services.automation.domain.decision import Situation, decision_id
from services.automation.domain.ids import derived
from services.automation.domain.timing import instant
from services.automation.domain.trigger import TRIGGER, InvalidateTrigger
from services.automation.facts.cards import TRIGGERS
from services.automation.facts.visits import decides, judging
from shared.es.addressed import Addressed, Facts
from shared.es.aggregate import Json
from shared.es.errors import NotFound
from shared.http.auth import needs_or_signed
from shared.http.commands import Answer, Door, Result
from shared.http.problems import Body, Problem
from shared.http.signed import signed_id
from shared.http.types import Code, Text255
from shared.messaging.directory import TENANTS
from shared.runtime.clock import now

API = APIRouter()
CALL = needs_or_signed("runs:write", "the secret of a webhook trigger with this code signs the request, and `tenant` is given")
CALLED = "automation.CallTrigger.v1"
"""What a call is heard as, whichever door it came through."""

# ------------------------------------------------------------------------------------------------ secrets


def secret_of(door: Door, trigger_id: str, number: int) -> str:
    """The trigger's n-th secret, as its owner is shown it."""
    return door.secret_named(f"trigger/{trigger_id}/{number}")


async def secrets_of(door: Door, trigger_id: str) -> list[str]:
    """The current secret, and the one before, which is good until the next rotation."""
    trigger, _ = await door.state_at(TRIGGER, trigger_id)
    numbers = range(max(1, trigger.secret_number - 1), trigger.secret_number + 1)
    return [secret_of(door, trigger_id, number) for number in numbers]


# ------------------------------------------------------------------------------------------------ calls


class CalledElement(Body):
    element_type: ElementType
    element_id: UUID


class TriggerCall(Body):
    """`code`: of a webhook trigger; with `app_code`, of one that the app has registered. Conditions read `payload` as `event.<name>`."""

    code: Code
    app_code: Code | None = None
    element: CalledElement
    payload: Annotated[dict[str, JsonValue], AfterValidator(exact)] = Field(default_factory=dict)


@API.post("/v1/trigger-calls", operation_id="trigger_calls_create", status_code=202, tags=["calls"])
async def call_trigger(body: TriggerCall, request: Request, door: Annotated[Door, CALL], tenant: UUID | None = None) -> Response:
    """Says that something has happened elsewhere. 202 with the decision to ask for: it only hands the event over (G46).

    Signed (`webhook-id`, `webhook-timestamp`, `webhook-signature`, and `?tenant=`): repeated with the same id it is the same call.
    With a key: `Idempotency-Key`. 404 when no trigger has the code; an element that is not known yet is waited for."""
    if door.caller.client_id is None:
        there, key = await _signed_by_a_trigger(door, request, body, tenant)
        return await _handed_over(there, body, key, key)
    if body.app_code is None:
        await _triggers_with(door, body.code)
    else:
        await _must_be_registered(door, body.app_code, body.code)
    return await _handed_over(door, body, request.headers.get("idempotency-key", ""), None)


async def _signed_by_a_trigger(door: Door, request: Request, body: TriggerCall, tenant: UUID | None) -> tuple[Door, str]:
    """The door in the tenant, and the call's own key. Raises NotFound for an unknown code, Problem (401) for a bad signature."""
    if tenant is None or body.app_code is not None:
        raise door.refuse("signed call without a tenant, or of an app")
    there = door.in_tenant(tenant)
    await _must_be_open(there)
    secrets = [secret for id in await _triggers_with(there, body.code) for secret in await secrets_of(there, id)]
    id = signed_id(request.headers, await door.body(), secrets, now())
    if id is None:
        raise door.refuse("bad signature of a trigger call")
    there.take(f"trigger-call/{body.code}")
    return there, f"{body.code}/{id}"[-255:]


async def _must_be_open(door: Door) -> None:
    row = await door.one(select(TENANTS.c.suspended).where(TENANTS.c.id == str(door.caller.tenant)))
    if row["suspended"]:
        raise Problem("tenant-suspended")


async def _triggers_with(door: Door, code: str) -> list[str]:
    """Ids of the webhook triggers in force with this code. Raises NotFound when there is none."""
    t = views.TRIGGERS_TABLE.c
    in_force = select(t.id, t.definition).where(t.trigger_type == "webhook", t.state == "published", t.invalid_code.is_(None))
    async with door.reading() as sql:
        rows = (await sql.execute(in_force)).mappings().all()
    found = [str(row["id"]) for row in rows if row["definition"]["settings"].get("code") == code]
    if not found:
        raise NotFound(f"No trigger has the code {code}.")
    return found


async def _must_be_registered(door: Door, app_code: str, code: str) -> None:
    t = views.APP_TRIGGERS_TABLE.c
    await door.one(select(t.id).where(t.path == f"{app_code}/{code}", t.state == "registered"))


async def _handed_over(door: Door, body: TriggerCall, said: str, key: str | None) -> Response:
    """`said`: what names the call to its sender; its id is made of it, so that a repetition finds its decision there."""
    element_id, caller = str(body.element.element_id), door.caller
    call_id = derived(str(caller.tenant), f"trigger-call/{caller.credential_id}/{said}")
    id = decision_id(call_id, element_id)
    async with gathering(door) as rows:
        card = await rows.card(element_id, TRIGGERS)
        found = judging(card, rows) if card else None
    asked = decides(id, found, partial(_heard, id, call_id, body))
    location = f"/v1/trigger-decisions/{id}"
    return await door.ask(asked, answer=lambda done: Answer(202, {"decision_id": id}, location=location), key=key)


def _heard(id: str, call_id: str, body: TriggerCall, situation: Situation | None, seen: Facts) -> dec.Hear:
    app = {"app_code": body.app_code} if body.app_code else {}
    facts: Json = {**body.payload, "code": body.code, **app}
    kind, element = "app" if app else "webhook", body.element
    return dec.Hear(
        id, call_id, CALLED, kind, facts, (), instant(seen.now), element.element_type, str(element.element_id), situation=situation
    )


# ------------------------------------------------------------------------------------------------ apps

AppCode = Annotated[Code, Path()]


class NewAppTrigger(Body):
    code: Code
    name: Text255


def shown_app_trigger(trigger: AppTrigger) -> Json:
    return {"app_code": trigger.app_code, "code": trigger.code, "name": trigger.name, "state": trigger.state}


def _answer(id: str, done: Result) -> Answer:
    trigger, version = done.state(APP_TRIGGER, id), done.version(APP_TRIGGER, id)
    location = f"/v1/apps/{trigger.app_code}/triggers/{trigger.code}"
    return Answer(200, shown_app_trigger(trigger), location=location, etag=version)


@API.post("/v1/apps/{app_code}/triggers", operation_id="app_triggers_register", tags=["calls"])
async def register(app_code: AppCode, body: NewAppTrigger, door: Annotated[Door, WRITE]) -> Response:
    """A trigger that the app is going to call; the same code again renames it. People bind it to a stage by a trigger of type `app`."""
    id = app_trigger_id(str(door.caller.tenant), app_code, body.code)

    def command(seen: Facts) -> RegisterAppTrigger:
        others = sum(row["id"] != id for row in seen.all(views.APP_TRIGGERS_THERE, "registered"))
        return RegisterAppTrigger(app_code, body.code, body.name, others)

    asked = Addressed(APP_TRIGGER, id, command, exclusive="app-triggers", finds=((views.APP_TRIGGERS_THERE, "registered"),))
    return await door.ask(asked, answer=partial(_answer, id))


@API.get("/v1/apps/{app_code}/triggers", operation_id="app_triggers_list", tags=["calls"])
async def list_app_triggers(app_code: AppCode, door: Annotated[Door, READ], paging: Page) -> Response:
    t = views.APP_TRIGGERS_TABLE.c
    query = select(views.APP_TRIGGERS_TABLE).where(t.app_code == app_code, t.state == "registered")
    return await door.listed(query, paging, sort=(t.code, t.name, t.changed_at), default="code", shown=listed_app_trigger)


def listed_app_trigger(row: Mapping[str, Any]) -> Json:
    return {**{name: row[name] for name in ("app_code", "code", "name", "state", "changed_at")}, "revision": row["version"]}


@API.delete("/v1/apps/{app_code}/triggers/{code}", operation_id="app_triggers_remove", tags=["calls"])
async def remove(app_code: AppCode, code: Annotated[Code, Path()], door: Annotated[Door, WRITE]) -> Response:
    """Triggers that people have bound to it become invalid: they hear nothing any more."""
    id = app_trigger_id(str(door.caller.tenant), app_code, code)
    gone = InvalidateTrigger("unknown_app_trigger", f"The app {app_code} has taken its trigger {code} back.")
    bound = [Addressed(TRIGGER, trigger, gone) for trigger in await _bound_to(door, app_code, code)]
    return await door.ask(Addressed(APP_TRIGGER, id, RemoveAppTrigger()), *bound, answer=partial(_answer, id))


async def _bound_to(door: Door, app_code: str, code: str) -> list[str]:
    t = views.TRIGGERS_TABLE.c
    named = {"app_code": app_code, "code": code}
    async with door.reading() as sql:
        rows = (await sql.execute(select(t.id, t.definition).where(t.trigger_type == "app", t.state != "deleted"))).mappings().all()
    return [str(row["id"]) for row in rows if row["definition"] and named.items() <= row["definition"]["settings"].items()]
