"""Webhook delivery: one message to one endpoint, at least once, with the same id on every attempt. (notifications 2.4, R16)"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, assert_never

from services.notifications.domain.endpoint import Endpoint
from services.notifications.domain.notice import Element
from services.notifications.domain.origin import Origin
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, NotFound, Rejected

Status = Literal["none", "queued", "delivered", "failed"]

MOST = 20_000
"""Bytes of a body."""


@dataclass(frozen=True, slots=True)
class QueueDelivery:
    """`endpoint` is its state at this place in the batch. `told`: the moment as it is written into the body."""

    request_id: str | None
    endpoint_id: str
    endpoint: Endpoint
    event_name: str
    payload: Mapping[str, Any]
    at: datetime
    told: str
    origin: Origin
    element: Element | None = None
    callback_url: str | None = None
    callback_expires_at: str | None = None


@dataclass(frozen=True, slots=True)
class RecordDelivered:
    round: int
    response_status: int
    attempts: int
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordDeliveryFailed:
    round: int
    code: str
    detail: str
    attempts: int
    at: datetime


@dataclass(frozen=True, slots=True)
class DeliverAgain:
    """A person wants it, to where the endpoint is now."""

    endpoint: Endpoint
    at: datetime


DeliveryCommand = QueueDelivery | RecordDelivered | RecordDeliveryFailed | DeliverAgain


@dataclass(frozen=True, slots=True)
class DeliveryQueued:
    """`body` is exactly what is signed and sent."""

    request_id: str | None
    endpoint_id: str
    url: str
    secret_number: int
    event_name: str
    body: str
    element: Element | None
    at: datetime
    origin: Origin
    callback_expires_at: str | None = None


@dataclass(frozen=True, slots=True)
class DeliveryQueuedAgain:
    """`body` None: as it was. A call that is asked for again expects its answer elsewhere and until later."""

    round: int
    url: str
    secret_number: int
    at: datetime
    body: str | None = None
    callback_expires_at: str | None = None


@dataclass(frozen=True, slots=True)
class Delivered:
    response_status: int
    attempts: int
    at: datetime
    origin: Origin


@dataclass(frozen=True, slots=True)
class DeliveryFailed:
    code: str
    detail: str
    attempts: int
    at: datetime
    origin: Origin


DeliveryEvent = DeliveryQueued | DeliveryQueuedAgain | Delivered | DeliveryFailed


@dataclass(frozen=True, slots=True)
class Delivery:
    status: Status = "none"
    request_id: str | None = None
    endpoint_id: str = ""
    url: str = ""
    secret_number: int = 1
    event_name: str = ""
    body: str = ""
    callback_expires_at: str | None = None
    element: Element | None = None
    round: int = 1
    attempts: int = 0
    response_status: int | None = None
    code: str | None = None
    detail: str | None = None
    created_at: datetime | None = None
    ended_at: datetime | None = None
    origin: Origin = field(default_factory=Origin)


def decide(delivery: Delivery, command: DeliveryCommand) -> Sequence[DeliveryEvent]:
    """Raises Rejected: endpoint_unknown, endpoint_disabled, too_large, delivery_over."""
    match command:
        case QueueDelivery():
            return _queued(delivery, command)
        case RecordDelivered(round=round, response_status=answered, attempts=attempts, at=at):
            mine = delivery.status == "queued" and round == delivery.round
            return [Delivered(answered, attempts, at, delivery.origin)] if mine else []
        case RecordDeliveryFailed(round=round, code=code, detail=detail, attempts=attempts, at=at):
            mine = delivery.status == "queued" and round == delivery.round
            return [DeliveryFailed(code, detail, attempts, at, delivery.origin)] if mine else []
        case DeliverAgain(endpoint=endpoint, at=at):
            return _again(delivery, endpoint, at)
        case _:
            assert_never(command)


def _queued(delivery: Delivery, c: QueueDelivery) -> Sequence[DeliveryEvent]:
    """Asked again after a failure, or to wait for an answer anew, it is sent again; asked again otherwise, nothing."""
    if delivery.status != "none":
        return _asked_again(delivery, c)
    _must_take(c.endpoint)
    to = (c.endpoint_id, c.endpoint.url, c.endpoint.secret_number)
    return [DeliveryQueued(c.request_id, *to, c.event_name, _body(c), c.element, c.at, c.origin, c.callback_expires_at)]


def _asked_again(delivery: Delivery, c: QueueDelivery) -> Sequence[DeliveryEvent]:
    waits_anew = (c.callback_expires_at or "") > (delivery.callback_expires_at or "")
    if delivery.status != "failed" and not waits_anew:
        return []
    _must_take(c.endpoint)
    to = (c.endpoint.url, c.endpoint.secret_number)
    return [DeliveryQueuedAgain(delivery.round + 1, *to, c.at, _body(c) if waits_anew else None, c.callback_expires_at)]


def _must_take(endpoint: Endpoint) -> None:
    endpoint.must_exist()
    if endpoint.status == "disabled":
        raise Rejected("endpoint_disabled", f"The endpoint is disabled: {endpoint.reason}.")


def _body(c: QueueDelivery) -> str:
    callback = {"callback_url": c.callback_url, "callback_expires_at": c.callback_expires_at} if c.callback_url else {}
    said = {"type": c.event_name, "timestamp": c.told, "n": None, "data": c.payload, **callback}
    body = json.dumps(said, ensure_ascii=False, sort_keys=True)
    if len(body.encode()) > MOST:
        detail = f"A webhook's body holds at most {MOST} bytes."
        raise Rejected("too_large", detail, status=422, errors=[Fault("/payload", "too_large", detail)])
    return body


def _again(delivery: Delivery, endpoint: Endpoint, at: datetime) -> Sequence[DeliveryEvent]:
    if delivery.status == "none":
        raise NotFound("There is no such delivery.", "delivery_unknown")
    if delivery.status == "queued":
        raise Rejected("delivery_over", "The delivery is under way.")
    _must_take(endpoint)
    return [DeliveryQueuedAgain(delivery.round + 1, endpoint.url, endpoint.secret_number, at)]


def evolve(delivery: Delivery, event: DeliveryEvent) -> Delivery:
    match event:
        case DeliveryQueued():
            return _born(event)
        case DeliveryQueuedAgain():
            return _queued_again(delivery, event)
        case Delivered(response_status=answered, attempts=attempts, at=at):
            return replace(delivery, status="delivered", response_status=answered, attempts=attempts, ended_at=at)
        case DeliveryFailed(code=code, detail=detail, attempts=attempts, at=at):
            return replace(delivery, status="failed", code=code, detail=detail, attempts=attempts, ended_at=at)
        case _:
            assert_never(event)


def _queued_again(delivery: Delivery, e: DeliveryQueuedAgain) -> Delivery:
    to = replace(delivery, status="queued", round=e.round, url=e.url, secret_number=e.secret_number, body=e.body or delivery.body)
    until = e.callback_expires_at or delivery.callback_expires_at
    return replace(to, callback_expires_at=until, code=None, detail=None, ended_at=None)


def _born(e: DeliveryQueued) -> Delivery:
    return Delivery(
        status="queued",
        request_id=e.request_id,
        endpoint_id=e.endpoint_id,
        url=e.url,
        secret_number=e.secret_number,
        event_name=e.event_name,
        body=e.body,
        callback_expires_at=e.callback_expires_at,
        element=e.element,
        created_at=e.at,
        origin=e.origin,
    )


DELIVERY: Aggregate[Delivery, DeliveryCommand, DeliveryEvent] = Aggregate(
    "webhook-delivery", Delivery(), decide, evolve, (DeliveryQueued, DeliveryQueuedAgain, Delivered, DeliveryFailed)
)
