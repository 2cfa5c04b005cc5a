"""What notifications says: private event -> contract; its CommandRejected. Addresses and texts never appear in it. (notifications 7)"""

from __future__ import annotations

from typing import Any, assert_never

from services.notifications.domain import delivery as de
from services.notifications.domain import endpoint as en
from services.notifications.domain import notice as no
from services.notifications.domain.delivery import Delivery, DeliveryEvent
from services.notifications.domain.endpoint import Endpoint, EndpointEvent
from services.notifications.domain.notice import Notice, NoticeEvent
from services.notifications.domain.origin import Origin
from shared.contracts import common, notifications
from shared.es.errors import Rejected
from shared.es.recorded import Recorded
from shared.messaging.contract import Contract
from shared.messaging.envelope import Envelope, asked_about, instant


def origin_said(origin: Origin) -> common.Origin:
    return common.Origin(
        kind=origin.kind,
        id=origin.id,
        version=origin.version,
        visit_id=origin.visit_id,
        decision_id=origin.decision_id,
        backfill_id=origin.backfill_id,
        acting_fallback=origin.acting_fallback,
        chain=origin.chain,
    )


def of_notice(notice: Notice, recorded: Recorded[NoticeEvent]) -> Contract | None:
    """What does not go out because its recipient does not want it is as good as delivered to whoever asked for it."""
    match recorded.event:
        case no.NoticeSent(at=at, attempts=attempts, message_id=message_id, origin=origin):
            return _delivered(notice, recorded, origin, instant(at), attempts, message_id)
        case no.NoticeSuppressed(at=at, origin=origin):
            return _delivered(notice, recorded, origin, instant(at), 0, None) if notice.request_id else None
        case no.NoticeJoined(request_id=request, at=at):
            delivered = _delivered(notice, recorded, notice.origin, instant(at), notice.attempts, None)
            return None if request is None else delivered.model_copy(update={"request_id": request})
        case no.NoticeFailed(code=code, detail=detail, attempts=attempts, origin=origin):
            about = _about(notice, recorded, origin)
            return notifications.NoticeFailed(**about, code=code, detail=detail[:1000], attempts=attempts)
        case no.NoticeRequested() | no.NoticeQueued() | no.NoticeUnknown() | no.NoticeRead() | no.NoticeResolved():
            return None
        case _:
            assert_never(recorded.event)


def _delivered(notice: Notice, recorded: Recorded[Any], origin: Origin, at: str, attempts: int, message_id: str | None) -> Contract:
    return notifications.NoticeDelivered(
        **_about(notice, recorded, origin),
        recipient_kind=notice.recipient.kind,
        delivered_at=at,
        attempts=attempts,
        message_id=message_id,
    )


def _about(notice: Notice, recorded: Recorded[Any], origin: Origin) -> dict[str, Any]:
    element = notice.element
    return {
        "origin": origin_said(origin),
        "request_id": notice.request_id,
        "notice_id": recorded.aggregate_id,
        "channel": notice.channel,
        "employee_id": notice.recipient.employee_id,
        "element": None if element is None else common.ElementRef(element_type=element.element_type, element_id=element.element_id),
    }


# ---------------------------------------------------------------------------------------------------------- webhooks


def of_delivery(delivery: Delivery, recorded: Recorded[DeliveryEvent]) -> Contract | None:
    match recorded.event:
        case de.Delivered(response_status=status, attempts=attempts, origin=origin):
            return notifications.WebhookDelivered(**_delivery(delivery, recorded, origin), response_status=status, attempts=attempts)
        case de.DeliveryFailed(code=code, detail=detail, attempts=attempts, origin=origin):
            about = _delivery(delivery, recorded, origin)
            return notifications.WebhookFailed(**about, code=code, detail=detail[:1000], attempts=attempts)
        case de.DeliveryQueued() | de.DeliveryQueuedAgain():
            return None
        case _:
            assert_never(recorded.event)


def _delivery(delivery: Delivery, recorded: Recorded[Any], origin: Origin) -> dict[str, Any]:
    return {
        "origin": origin_said(origin),
        "request_id": delivery.request_id,
        "delivery_id": recorded.aggregate_id,
        "endpoint_id": delivery.endpoint_id,
    }


def of_endpoint(endpoint: Endpoint, recorded: Recorded[EndpointEvent]) -> Contract | None:
    match recorded.event:
        case en.EndpointAdded(origin=origin):
            return notifications.WebhookEndpointAdded(**_endpoint(endpoint, recorded, origin))
        case en.EndpointDisabled(reason=reason, origin=origin):
            return notifications.WebhookEndpointDisabled(**_endpoint(endpoint, recorded, origin), reason=reason)
        case en.EndpointEnabled(origin=origin):
            return notifications.WebhookEndpointEnabled(**_endpoint(endpoint, recorded, origin))
        case en.EndpointDeleted(origin=origin):
            return notifications.WebhookEndpointDeleted(**_endpoint(endpoint, recorded, origin))
        case en.EndpointChanged() | en.SecretRotated():
            return None
        case _:
            assert_never(recorded.event)


def _endpoint(endpoint: Endpoint, recorded: Recorded[Any], origin: Origin) -> dict[str, Any]:
    return {
        "origin": origin_said(origin),
        "endpoint_id": recorded.aggregate_id,
        "purpose": endpoint.purpose,
        "owner_id": endpoint.owner_id,
    }


# ----------------------------------------------------------------------------------------------------------- refusal


def refusal(envelope: Envelope, rejected: Rejected) -> Contract:
    """What was asked is repeated as far as it can be read."""
    about = asked_about(envelope.data)
    return notifications.CommandRejected.of(envelope.key, envelope.type, rejected.code, rejected.detail, rejected.errors, **about)
