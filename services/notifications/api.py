"""Notifications over HTTP: the delivery log, everybody's own feed and preferences, the sandbox's mailbox. (notifications 9)"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import time
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query
from pydantic import Field
from sqlalchemy import select
from starlette.responses import Response

from services.notifications.channels.invitation import calendar_of
from services.notifications.channels.webhook import secret_of
from services.notifications.domain.delivery import DELIVERY, DeliverAgain, QueueDelivery
from services.notifications.domain.endpoint import (
    ENDPOINT,
    AddEndpoint,
    ChangeEndpoint,
    DeleteEndpoint,
    DisableEndpoint,
    EnableEndpoint,
    EndpointCommand,
    RotateSecret,
)
from services.notifications.domain.notice import NOTICE, ReadNotice, ResolveNotice, RetryNotice
from services.notifications.domain.origin import Origin
from services.notifications.domain.preferences import PREFERENCES, TOPICS, Preferences, Quiet, SetPreferences
from services.notifications.replicas import EMPLOYEES_TABLE
from services.notifications.settings import settings
from services.notifications.views import (
    DELIVERIES_TABLE,
    ENDPOINTS_TABLE,
    ENDPOINTS_THERE,
    NOTICES_TABLE,
    delivery_row,
    endpoint_row,
    notice_row,
    preferences_row,
    sending_of,
)
from shared.es.addressed import Addressed, Facts
from shared.es.errors import NotFound, Rejected
from shared.http.auth import Refusal, needs, signed_in
from shared.http.commands import Answer, Door, Result
from shared.http.exchange import JsonAnswer
from shared.http.filters import between, one_of
from shared.http.paging import Paging
from shared.http.problems import PROBLEMS, Body
from shared.http.types import Instant, LongText
from shared.messaging.envelope import instant
from shared.runtime.clock import new_id

API = APIRouter(responses=PROBLEMS)

Row = Mapping[Any, Any]
Id = Annotated[UUID, Path()]
Page = Annotated[Paging, Depends()]
Choice = Annotated[str | None, Query(max_length=1000, description="One value, or several separated by commas.")]
Moment = Annotated[Instant | None, Query()]
OWN = signed_in("people see their own feed and preferences; others' need notices:read")


def origin_of(door: Door) -> Origin:
    """A person by the employee's id, a program by its credential."""
    employee = door.caller.employee_id
    return Origin("person", id=employee) if employee else Origin("api", id=door.caller.client_id)


HIDDEN = frozenset({"tenant", "correlation_id", "causation_id", "hops", "actor", "traceparent", "window_key", "window_until", "number"})


def shown_notice(row: Row) -> dict[str, Any]:
    shown = {name: value for name, value in row.items() if name not in HIDDEN}
    return shown | {"state": row["status"], "count": row["number"]}


# ----------------------------------------------------------------------------------------------------------- notices


@API.get("/v1/notices", operation_id="notices_list", tags=["notices"])
async def list_notices(
    door: Annotated[Door, needs("notices:read")],
    paging: Page,
    channel: Choice = None,
    state: Choice = None,
    employee_id: Choice = None,
    element_id: Choice = None,
    importance: Choice = None,
    code: Choice = None,
    created_at_from: Moment = None,
    created_at_to: Moment = None,
) -> Response:
    """The delivery log, newest first."""
    n = NOTICES_TABLE.c
    wanted = [*one_of(n.channel, channel), *one_of(n.status, state), *one_of(n.employee_id, employee_id)]
    wanted += [*one_of(n.element_id, element_id), *one_of(n.importance, importance), *one_of(n.code, code)]
    query = select(NOTICES_TABLE).where(*wanted, *between(n.created_at, created_at_from, created_at_to))
    return await door.listed(query, paging, sort=(n.created_at,), shown=shown_notice)


@API.get("/v1/notices/{id}", operation_id="notices_get", tags=["notices"])
async def get_notice(id: Id, door: Annotated[Door, needs("notices:read")]) -> Response:
    row = await door.one(select(NOTICES_TABLE).where(NOTICES_TABLE.c.id == str(id)))
    return door.shown(row["version"], shown_notice(row))


@API.get("/v1/notices/{id}/events", operation_id="notices_events", tags=["notices"])
async def notice_events(id: Id, door: Annotated[Door, needs("notices:read")], paging: Page) -> Response:
    return await door.history(NOTICE, str(id), paging)


@API.post("/v1/notices/{id}/retries", operation_id="notices_retry", tags=["notices"])
async def retry_notice(id: Id, door: Annotated[Door, needs("ops:retry")]) -> Response:
    """One that has failed is sent again after all."""
    return await door.ask(Addressed(NOTICE, str(id), lambda seen: RetryNotice(seen.now)), answer=_notice_answer(str(id)))


class Resolution(Body):
    """What a person found out about one that may have been sent."""

    outcome: Annotated[Literal["sent", "send_again"], Field(alias="as")]


@API.post("/v1/notices/{id}/resolutions", operation_id="notices_resolve", tags=["notices"])
async def resolve_notice(id: Id, body: Resolution, door: Annotated[Door, needs("ops:retry")]) -> Response:
    origin = origin_of(door)
    command = Addressed(NOTICE, str(id), lambda seen: ResolveNotice(body.outcome, seen.now, origin))
    return await door.ask(command, answer=_notice_answer(str(id)))


def _notice_answer(id: str) -> Callable[[Result], Answer]:
    def answer(done: Result) -> Answer:
        return Answer(200, {"id": id, **shown_notice(notice_row(done.state(NOTICE, id)))}, etag=done.version(NOTICE, id))

    return answer


# -------------------------------------------------------------------------------------------------------------- feed


def whose(door: Door, employee_id: UUID | None) -> str:
    """The caller's own employee id, or another's with the scope. Raises Refusal."""
    own = door.caller.employee_id
    wanted = str(employee_id) if employee_id else own
    if wanted is None:
        raise Refusal("forbidden", "not a person", "This key belongs to no employee; name one with employee_id.")
    if wanted != own and not door.may("notices:read"):
        raise Refusal("forbidden", "scope notices:read missing", "The feed of somebody else needs the scope notices:read.")
    return wanted


FEED = ("id", "topic", "subject", "body_text", "element_type", "element_id", "urgent", "created_at", "read_at")


def shown_in_feed(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in FEED} | {"unread": row["status"] == "sent", "count": row["number"]}


@API.get("/v1/feed", operation_id="feed_list", tags=["feed"])
async def list_feed(
    door: Annotated[Door, OWN], paging: Page, unread: bool | None = None, topic: Choice = None, employee_id: UUID | None = None
) -> Response:
    """One's own notices, newest first."""
    n, own = NOTICES_TABLE.c, whose(door, employee_id)
    states = ("sent", "read") if unread is None else ("sent",) if unread else ("read",)
    query = select(NOTICES_TABLE).where(n.channel == "in_app", n.employee_id == own, n.status.in_(states), *one_of(n.topic, topic))
    return await door.listed(query, paging, sort=(n.created_at,), shown=shown_in_feed)


@API.post("/v1/feed/{notice_id}/reads", operation_id="feed_read", tags=["feed"])
async def read_notice(notice_id: Id, door: Annotated[Door, OWN]) -> Response:
    own, n = whose(door, None), NOTICES_TABLE.c
    await door.one(select(n.id).where(n.id == str(notice_id), n.employee_id == own, n.channel == "in_app"))
    return await door.ask(Addressed(NOTICE, str(notice_id), lambda seen: ReadNotice(seen.now)), answer=lambda done: Answer(204))


MOST_READ = 200


@API.post("/v1/feed/reads", operation_id="feed_read_all", tags=["feed"])
async def read_all(door: Annotated[Door, OWN]) -> Response:
    """The two hundred newest unread ones; `left` says whether there are more."""
    n, own = NOTICES_TABLE.c, whose(door, None)
    query = select(n.id).where(n.channel == "in_app", n.employee_id == own, n.status == "sent").order_by(n.created_at.desc())
    async with door.reading() as sql:
        ids = list((await sql.execute(query.limit(MOST_READ + 1))).scalars())
    if not ids:
        return JsonAnswer({"read": 0, "left": False})
    asked = [Addressed(NOTICE, id, lambda seen: ReadNotice(seen.now)) for id in ids[:MOST_READ]]
    body = {"read": len(asked), "left": len(ids) > MOST_READ}
    return await door.ask(*asked, answer=lambda done: Answer(200, body))


# ------------------------------------------------------------------------------------------------------- preferences

Clock = Annotated[str, Field(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]


class QuietBody(Body):
    starts: Clock
    ends: Clock


Channel = Literal["in_app", "email", "sms"]


class PreferencesPatch(Body):
    """What is left out stays as it is. `digest` null: mails come at once."""

    channels: dict[str, Annotated[tuple[Channel, ...], Field(max_length=3)]] | None = None
    quiet_hours: Annotated[tuple[QuietBody, ...] | None, Field(max_length=10)] = None
    digest: Clock | None = None

    def applied(self, to: Preferences, origin: Origin) -> SetPreferences:
        channels = {**to.channels, **(self.channels or {})}
        quiet = to.quiet_hours if self.quiet_hours is None else tuple(_quiet(q) for q in self.quiet_hours)
        digest = to.digest if "digest" not in self.model_fields_set else None if self.digest is None else time.fromisoformat(self.digest)
        return SetPreferences(channels, quiet, digest, origin)


def _quiet(body: QuietBody) -> Quiet:
    return Quiet(time.fromisoformat(body.starts), time.fromisoformat(body.ends))


def shown_preferences(preferences: Preferences) -> dict[str, Any]:
    return {**preferences_row(preferences), "topics": list(TOPICS)}


async def _preferences(door: Door, employee_id: str) -> tuple[Preferences, int]:
    """Those of somebody who has never said anything are the defaults, version 0."""
    try:
        return await door.state_at(PREFERENCES, employee_id)
    except NotFound:
        return Preferences(), 0


async def _set(door: Door, employee_id: str, body: PreferencesPatch) -> Response:
    """The first ones are set with `If-Match: *`."""
    current, _ = await _preferences(door, employee_id)
    command = Addressed(PREFERENCES, employee_id, body.applied(current, origin_of(door)))

    def answer(done: Result) -> Answer:
        return Answer(200, shown_preferences(done.state(PREFERENCES, employee_id)), etag=done.version(PREFERENCES, employee_id))

    return await door.ask(command, answer=answer)


@API.get("/v1/preferences", operation_id="preferences_get_own", tags=["preferences"])
async def get_own_preferences(door: Annotated[Door, OWN]) -> Response:
    preferences, version = await _preferences(door, whose(door, None))
    return door.shown(version, shown_preferences(preferences))


@API.patch("/v1/preferences", operation_id="preferences_set_own", tags=["preferences"])
async def set_own_preferences(body: PreferencesPatch, door: Annotated[Door, OWN]) -> Response:
    return await _set(door, whose(door, None), body)


@API.get("/v1/employees/{id}/preferences", operation_id="preferences_get", tags=["preferences"])
async def get_preferences(id: Id, door: Annotated[Door, needs("directory:write")]) -> Response:
    await _must_exist(door, id)
    preferences, version = await _preferences(door, str(id))
    return door.shown(version, shown_preferences(preferences))


@API.patch("/v1/employees/{id}/preferences", operation_id="preferences_set", tags=["preferences"])
async def set_preferences(id: Id, body: PreferencesPatch, door: Annotated[Door, needs("directory:write")]) -> Response:
    await _must_exist(door, id)
    return await _set(door, str(id), body)


async def _must_exist(door: Door, employee_id: UUID) -> None:
    await door.one(select(EMPLOYEES_TABLE.c.id).where(EMPLOYEES_TABLE.c.id == str(employee_id)))


# ---------------------------------------------------------------------------------------------------------- webhooks

MOST_ENDPOINTS = 50


class EndpointFields(Body):
    """`url`: https on port 443 or 8443 of a host on the public internet."""

    url: Annotated[str, Field(max_length=2000)]
    description: LongText = ""


class NewEndpoint(EndpointFields):
    """`purpose` rule: for *Call webhook*. `owner_id`: who is told when it fails; left out: the caller."""

    id: UUID | None = None
    purpose: Literal["rule"] = "rule"
    owner_id: UUID | None = None


class EndpointPatch(Body):
    url: Annotated[str | None, Field(max_length=2000)] = None
    description: LongText | None = None


def shown_endpoint(row: Row) -> dict[str, Any]:
    names = ("id", "url", "purpose", "owner_id", "description", "reason", "secret_number")
    return {name: row[name] for name in names} | {"state": row["status"]}


def _endpoint_answer(id: str, status: int = 200, **more: Any) -> Callable[[Result], Answer]:
    def answer(done: Result) -> Answer:
        shown = shown_endpoint({"id": id, **endpoint_row(done.state(ENDPOINT, id))})
        location = f"/v1/webhook-endpoints/{id}" if status == 201 else None
        return Answer(status, shown | more, location=location, etag=done.version(ENDPOINT, id))

    return answer


@API.get("/v1/webhook-endpoints", operation_id="webhook_endpoints_list", tags=["webhooks"])
async def list_endpoints(
    door: Annotated[Door, needs("hooks:read")], paging: Page, state: Choice = None, purpose: Choice = None, owner_id: Choice = None
) -> Response:
    e = ENDPOINTS_TABLE.c
    wanted = [*one_of(e.status, state), *one_of(e.purpose, purpose), *one_of(e.owner_id, owner_id)]
    query = select(ENDPOINTS_TABLE).where(e.status != "deleted", *wanted)
    return await door.listed(query, paging, sort=(e.id,), shown=shown_endpoint)


@API.post("/v1/webhook-endpoints", operation_id="webhook_endpoints_create", status_code=201, tags=["webhooks"])
async def create_endpoint(body: NewEndpoint, door: Annotated[Door, needs("hooks:write")]) -> Response:
    """The answer holds the secret; `POST …/secret-rotations` makes a new one."""
    id, origin, tenant = str(body.id or new_id()), origin_of(door), str(door.caller.tenant)
    owner = str(body.owner_id) if body.owner_id else whose(door, None)

    def command(seen: Facts) -> AddEndpoint:
        if len(seen.all(ENDPOINTS_THERE, "all")) >= MOST_ENDPOINTS:
            raise Rejected("too_many", f"A tenant has at most {MOST_ENDPOINTS} endpoints.")
        return AddEndpoint(body.url, body.purpose, owner, body.description, allowed(), origin)

    asked = Addressed(ENDPOINT, id, command, exclusive="webhook-endpoints", finds=((ENDPOINTS_THERE, "all"),))
    return await door.ask(asked, answer=_endpoint_answer(id, 201, secret=secret_of(tenant, id, 1)))


@API.get("/v1/webhook-endpoints/{id}", operation_id="webhook_endpoints_get", tags=["webhooks"])
async def get_endpoint(id: Id, door: Annotated[Door, needs("hooks:read")]) -> Response:
    row = await door.one(select(ENDPOINTS_TABLE).where(ENDPOINTS_TABLE.c.id == str(id), ENDPOINTS_TABLE.c.status != "deleted"))
    return door.shown(row["version"], shown_endpoint(row))


@API.patch("/v1/webhook-endpoints/{id}", operation_id="webhook_endpoints_change", tags=["webhooks"])
async def change_endpoint(id: Id, body: EndpointPatch, door: Annotated[Door, needs("hooks:write")]) -> Response:
    row = await door.one(select(ENDPOINTS_TABLE).where(ENDPOINTS_TABLE.c.id == str(id), ENDPOINTS_TABLE.c.status != "deleted"))
    url = row["url"] if body.url is None else body.url
    description = row["description"] if body.description is None else body.description
    return await _ask_endpoint(door, id, ChangeEndpoint(url, description, allowed(), origin_of(door)))


@API.delete("/v1/webhook-endpoints/{id}", operation_id="webhook_endpoints_delete", tags=["webhooks"])
async def delete_endpoint(id: Id, door: Annotated[Door, needs("hooks:write")]) -> Response:
    return await _ask_endpoint(door, id, DeleteEndpoint(origin_of(door)))


@API.post("/v1/webhook-endpoints/{id}/disablements", operation_id="webhook_endpoints_disable", tags=["webhooks"])
async def disable_endpoint(id: Id, door: Annotated[Door, needs("hooks:write")]) -> Response:
    return await _ask_endpoint(door, id, DisableEndpoint("by_person", origin_of(door)))


@API.post("/v1/webhook-endpoints/{id}/enablements", operation_id="webhook_endpoints_enable", tags=["webhooks"])
async def enable_endpoint(id: Id, door: Annotated[Door, needs("hooks:write")]) -> Response:
    return await _ask_endpoint(door, id, EnableEndpoint(origin_of(door)))


async def _ask_endpoint(door: Door, id: UUID, command: EndpointCommand) -> Response:
    return await door.ask(Addressed(ENDPOINT, str(id), command), answer=_endpoint_answer(str(id)))


@API.post("/v1/webhook-endpoints/{id}/secret-rotations", operation_id="webhook_endpoints_rotate", tags=["webhooks"])
async def rotate_secret(id: Id, door: Annotated[Door, needs("hooks:write")]) -> Response:
    """The new secret is in the answer; the one before signs as well until the next rotation."""
    tenant = str(door.caller.tenant)

    def answer(done: Result) -> Answer:
        number = done.state(ENDPOINT, str(id)).secret_number
        return _endpoint_answer(str(id), secret=secret_of(tenant, str(id), number))(done)

    return await door.ask(Addressed(ENDPOINT, str(id), RotateSecret(origin_of(door))), answer=answer)


@API.post("/v1/webhook-endpoints/{id}/tests", operation_id="webhook_endpoints_test", status_code=202, tags=["webhooks"])
async def try_endpoint(id: Id, door: Annotated[Door, needs("hooks:write")]) -> Response:
    """Sends a message of the type `test`; its delivery shows what came of it."""
    delivery, origin, endpoint = str(new_id()), origin_of(door), str(id)

    def command(seen: Facts) -> QueueDelivery:
        payload = {"endpoint_id": endpoint}
        return QueueDelivery(None, endpoint, seen.state(ENDPOINT, endpoint), "test", payload, seen.now, instant(seen.now), origin)

    location = f"/v1/webhook-deliveries/{delivery}"
    asked = Addressed(DELIVERY, delivery, command, reads=((ENDPOINT, endpoint),))
    return await door.ask(asked, answer=lambda done: Answer(202, {"delivery_id": delivery}, location=location))


def shown_delivery(row: Row) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name != "tenant"} | {"state": row["status"]}


@API.get("/v1/webhook-endpoints/{id}/deliveries", operation_id="webhook_deliveries_list", tags=["webhooks"])
async def list_deliveries(
    id: Id,
    door: Annotated[Door, needs("hooks:read")],
    paging: Page,
    state: Choice = None,
    event_name: Choice = None,
    at_from: Moment = None,
    at_to: Moment = None,
) -> Response:
    return await all_deliveries(door, paging, str(id), state, event_name, at_from, at_to)


@API.get("/v1/webhook-deliveries", operation_id="webhook_deliveries_all", tags=["webhooks"])
async def all_deliveries(
    door: Annotated[Door, needs("hooks:read")],
    paging: Page,
    endpoint_id: Choice = None,
    state: Choice = None,
    event_name: Choice = None,
    at_from: Moment = None,
    at_to: Moment = None,
) -> Response:
    """To whichever endpoint. Of a rehearsal tenant they are what would have been sent: nothing leaves the house."""
    d = DELIVERIES_TABLE.c
    wanted = [*one_of(d.endpoint_id, endpoint_id), *one_of(d.status, state), *one_of(d.event_name, event_name)]
    query = select(DELIVERIES_TABLE).where(*wanted, *between(d.created_at, at_from, at_to))
    return await door.listed(query, paging, sort=(d.created_at,), shown=shown_delivery)


@API.get("/v1/webhook-deliveries/{id}", operation_id="webhook_deliveries_get", tags=["webhooks"])
async def get_delivery(id: Id, door: Annotated[Door, needs("hooks:read")]) -> Response:
    row = await door.one(select(DELIVERIES_TABLE).where(DELIVERIES_TABLE.c.id == str(id)))
    return door.shown(row["version"], shown_delivery(row))


@API.post("/v1/webhook-deliveries/{id}/retries", operation_id="webhook_deliveries_retry", tags=["webhooks"])
async def retry_delivery(id: Id, door: Annotated[Door, needs("hooks:write")]) -> Response:
    """Sent again, with the same id, to where the endpoint is now."""
    row = await door.one(select(DELIVERIES_TABLE.c.endpoint_id).where(DELIVERIES_TABLE.c.id == str(id)))
    endpoint = row["endpoint_id"]

    def command(seen: Facts) -> DeliverAgain:
        return DeliverAgain(seen.state(ENDPOINT, endpoint), seen.now)

    def answer(done: Result) -> Answer:
        shown = shown_delivery({"id": str(id), **delivery_row(done.state(DELIVERY, str(id)))})
        return Answer(200, shown, etag=done.version(DELIVERY, str(id)))

    return await door.ask(Addressed(DELIVERY, str(id), command, reads=((ENDPOINT, endpoint),)), answer=answer)


def allowed() -> frozenset[str]:
    return settings().hooks.allowed


# ----------------------------------------------------------------------------------------------------------- mailbox

MAIL = ("id", "channel", "subject", "body_text", "body_html", "message_id", "element_type", "element_id", "sent_at")


@API.get("/v1/mailbox", operation_id="mailbox_list", tags=["mailbox"])
async def mailbox(
    door: Annotated[Door, needs("notices:read")], paging: Page, to: Choice = None, at_from: Moment = None, at_to: Moment = None
) -> Response:
    """What went into the sandbox instead of out of the house: everything of a rehearsal tenant, SMS where there is no gateway."""
    n = NOTICES_TABLE.c
    wanted = [n.sandbox, n.channel != "in_app", *one_of(n.address, to), *between(n.sent_at, at_from, at_to)]
    return await door.listed(select(NOTICES_TABLE).where(*wanted), paging, sort=(n.sent_at,), shown=_mail)


@API.get("/v1/mailbox/{id}", operation_id="mailbox_get", tags=["mailbox"])
async def mail(id: Id, door: Annotated[Door, needs("notices:read")]) -> Response:
    """One of them, with the recipient's name, the calendar part of an invitation and the names of what is attached."""
    row = await door.one(select(NOTICES_TABLE).where(NOTICES_TABLE.c.id == str(id), NOTICES_TABLE.c.sandbox))
    notice, version = await door.state_at(NOTICE, str(id))
    sent = sending_of(notice, str(id))
    calendar = calendar_of(sent["invitation"], sent["to"], sent["name"]) if sent["invitation"] else None
    attachments = [attachment["name"] for attachment in sent["attachments"]]
    return door.shown(version, _mail(row) | {"name": sent["name"], "calendar": calendar, "attachments": attachments})


def _mail(row: Row) -> dict[str, Any]:
    return {name: row[name] for name in MAIL} | {"to": row["address"], "at": row["sent_at"]}
