"""One handler per aggregate: what it says, the views it keeps, and what it has done outside."""

from __future__ import annotations

from typing import Any

from services.notifications import publications, views
from services.notifications.domain.delivery import DELIVERY, Delivery, DeliveryEvent, DeliveryQueued, DeliveryQueuedAgain
from services.notifications.domain.endpoint import ENDPOINT
from services.notifications.domain.notice import NOTICE, Notice, NoticeEvent, NoticeQueued, NoticeRequested, NoticeResolved
from services.notifications.domain.preferences import PREFERENCES
from shared.es.aggregate import Json
from shared.es.recorded import Recorded
from shared.messaging.handler import Effect, Handler, Settled

MONEY = "_money"


def effect_of(notice: Notice, recorded: Recorded[NoticeEvent]) -> Effect | Settled | None:
    """What leaves the house. The key is notice and round, never the attempt.

    Money has kinds of its own, which are never repeated unasked (R15)."""
    match recorded.event:
        case NoticeRequested() as asked if asked.sends:
            return _sending(notice, recorded.aggregate_id)
        case NoticeQueued():
            return _sending(notice, recorded.aggregate_id)
        case NoticeResolved(was_sent=was_sent):
            sent = _sending(notice, recorded.aggregate_id)
            return Settled(sent.kind, sent.key, "done" if was_sent else "failed")
        case _:
            return None


def _sending(notice: Notice, id: str) -> Effect:
    money = notice.message_class == "money" and notice.channel in ("email", "sms")
    kind = notice.channel + MONEY if money else notice.channel
    return Effect(kind, f"{id}/{notice.round}", views.sending_of(notice, id))


def posting(delivery: Delivery, recorded: Recorded[DeliveryEvent]) -> Effect | None:
    match recorded.event:
        case DeliveryQueued() | DeliveryQueuedAgain():
            id = recorded.aggregate_id
            return Effect("webhook", f"{id}/{delivery.round}", _post(delivery, id))
        case _:
            return None


def _post(delivery: Delivery, id: str) -> Json:
    """No secret: the channel derives it."""
    return {
        "delivery_id": id,
        "round": delivery.round,
        "endpoint_id": delivery.endpoint_id,
        "url": delivery.url,
        "secret_number": delivery.secret_number,
        "body": delivery.body,
    }


HANDLERS: tuple[Handler[Any, Any, Any], ...] = (
    Handler(NOTICE, publications.of_notice, (views.NOTICES,), effect_of),
    Handler(PREFERENCES, views=(views.PREFERENCES,)),
    Handler(ENDPOINT, publications.of_endpoint, (views.ENDPOINTS,)),
    Handler(DELIVERY, publications.of_delivery, (views.DELIVERIES,), posting),
)
