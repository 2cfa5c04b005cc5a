from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import pytest

from services.notifications.channels.webhook import RETRIES, again
from services.notifications.domain.delivery import (
    DELIVERY,
    DeliverAgain,
    Delivered,
    DeliveryFailed,
    DeliveryQueued,
    DeliveryQueuedAgain,
    QueueDelivery,
    RecordDelivered,
    RecordDeliveryFailed,
)
from services.notifications.domain.endpoint import (
    ENDPOINT,
    AddEndpoint,
    ChangeEndpoint,
    DeleteEndpoint,
    DisableEndpoint,
    EnableEndpoint,
    Endpoint,
    EndpointAdded,
    EndpointDeleted,
    EndpointDisabled,
    EndpointEnabled,
    EndpointEvent,
    RotateSecret,
    SecretRotated,
)
from services.notifications.domain.origin import Origin
from shared.http.signed import signature
from shared.messaging.effects import Claimed
from shared.testing.given import given

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
BY = Origin("person", id="anna")
URL = "https://hooks.example.org/in"
ADD = AddEndpoint(URL, "rule", "anna", "ERP", frozenset(), BY)
ADDED = EndpointAdded(URL, "rule", "anna", "ERP", BY)


def test_an_endpoint_is_added_once_and_only_where_a_webhook_may_go() -> None:
    given(ENDPOINT).when(ADD).then(ADDED)
    given(ENDPOINT, ADDED).when(ADD).refused("id_taken")
    given(ENDPOINT).when(replace(ADD, url="http://127.0.0.1/")).refused("url_not_allowed", "/url")
    given(ENDPOINT, ADDED).when(ChangeEndpoint("http://127.0.0.1/", "", frozenset(), BY)).refused("url_not_allowed", "/url")


def test_secrets_are_numbers() -> None:
    assert given(ENDPOINT, ADDED).when(RotateSecret(BY)).then(SecretRotated(2, BY)).secret_number == 2


def test_off_and_on_and_gone() -> None:
    off: EndpointEvent = EndpointDisabled("gone_410", BY)
    given(ENDPOINT, ADDED).when(DisableEndpoint("gone_410", BY)).then(off)
    given(ENDPOINT, ADDED, off).when(DisableEndpoint("failing", BY)).nothing_happens()
    given(ENDPOINT, ADDED, off).when(EnableEndpoint(BY)).then(EndpointEnabled(BY))
    given(ENDPOINT, ADDED).when(DeleteEndpoint(BY)).then(EndpointDeleted(BY))
    given(ENDPOINT, ADDED, EndpointDeleted(BY)).when(RotateSecret(BY)).refused("endpoint_unknown")
    given(ENDPOINT).when(EnableEndpoint(BY)).refused("endpoint_unknown")


THERE = Endpoint("active", URL, 3, "rule", "anna")
QUEUE = QueueDelivery("request", "erp", THERE, "deal.won", {"title": "Dach"}, NOW, "2026-03-02T08:00:00.000Z", BY)


def queued(**own: Any) -> DeliveryQueued:
    body = '{"data": {"title": "Dach"}, "n": null, "timestamp": "2026-03-02T08:00:00.000Z", "type": "deal.won"}'
    return replace(DeliveryQueued("request", "erp", URL, 3, "deal.won", body, None, NOW, BY), **own)


def test_a_delivery_is_queued_once() -> None:
    given(DELIVERY).when(QUEUE).then(queued())
    given(DELIVERY, queued()).when(QUEUE).nothing_happens()
    given(DELIVERY, queued(), Delivered(200, 1, NOW, BY)).when(QUEUE).nothing_happens()


def test_a_callback_travels_in_the_body() -> None:
    command = replace(QUEUE, callback_url="https://x.test/cb", callback_expires_at="2026-03-03T08:00:00.000Z")
    assert json.loads(given(DELIVERY).when(command).state.body)["callback_url"] == "https://x.test/cb"


def test_a_call_that_waits_anew_goes_out_again_with_where_to_answer_now() -> None:
    first = replace(QUEUE, callback_url="https://x.test/1", callback_expires_at="2026-03-03T08:00:00.000Z")
    anew = replace(QUEUE, callback_url="https://x.test/2", callback_expires_at="2026-03-05T08:00:00.000Z")
    asked = given(DELIVERY).when(first).events
    for so_far in ((), (Delivered(200, 1, NOW, BY),), (DeliveryFailed("unreachable", "away", 10, NOW, BY),)):
        state = given(DELIVERY, *asked, *so_far).when(anew).state
        assert (state.status, state.round, json.loads(state.body)["callback_url"]) == ("queued", 2, "https://x.test/2")
        given(DELIVERY, *asked, *so_far, *given(DELIVERY, *asked, *so_far).when(anew).events).when(anew).nothing_happens()
    given(DELIVERY, *asked, Delivered(200, 1, NOW, BY)).when(first).nothing_happens()
    given(DELIVERY, *asked).when(replace(anew, endpoint=replace(THERE, status="disabled", reason="failing"))).refused("endpoint_disabled")


@pytest.mark.parametrize(
    ("endpoint", "code"),
    [
        (Endpoint(), "endpoint_unknown"),
        (replace(THERE, status="deleted"), "endpoint_unknown"),
        (replace(THERE, status="disabled", reason="failing"), "endpoint_disabled"),
    ],
)
def test_nothing_is_queued_for_an_endpoint_that_takes_nothing(endpoint: Endpoint, code: str) -> None:
    given(DELIVERY).when(replace(QUEUE, endpoint=endpoint)).refused(code)


def test_a_body_is_small() -> None:
    given(DELIVERY).when(replace(QUEUE, payload={"x": "ü" * 10_000})).refused("too_large", "/payload")


def test_what_failed_is_sent_again_to_where_the_endpoint_is_now() -> None:
    failed = DeliveryFailed("unreachable", "away", 10, NOW, BY)
    moved = replace(THERE, url="https://new.example.org/", secret_number=4)
    again = DeliveryQueuedAgain(2, "https://new.example.org/", 4, NOW)
    given(DELIVERY, queued(), failed).when(DeliverAgain(moved, NOW)).then(again)
    given(DELIVERY, queued(), failed).when(replace(QUEUE, endpoint=moved)).then(again)
    given(DELIVERY, queued()).when(DeliverAgain(moved, NOW)).refused("delivery_over")
    given(DELIVERY).when(DeliverAgain(moved, NOW)).refused("delivery_unknown")


def test_outcomes_count_for_their_round_only() -> None:
    given(DELIVERY, queued()).when(RecordDelivered(1, 204, 2, NOW)).then(Delivered(204, 2, NOW, BY))
    given(DELIVERY, queued()).when(RecordDeliveryFailed(1, "gone_410", "gone", 1, NOW)).then(DeliveryFailed("gone_410", "gone", 1, NOW, BY))
    given(DELIVERY, queued()).when(RecordDelivered(2, 204, 2, NOW)).nothing_happens()
    given(DELIVERY, queued(), Delivered(200, 1, NOW, BY)).when(RecordDeliveryFailed(1, "x", "x", 1, NOW)).nothing_happens()


def test_the_signature_of_the_standard_s_own_example() -> None:
    secret, body = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", b'{"test": 2432232314}'
    signed = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", body)
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def claimed(attempt: int) -> Claimed:
    earlier: Literal["none"] = "none"
    return Claimed(UUID(int=1), "webhook", "d/1", "webhook-delivery-d", {}, attempt, 1, False, earlier)


def test_ten_attempts_over_about_three_days() -> None:
    waits = [again(claimed(attempt), "unreachable", "away").again_after for attempt in range(1, 11)]
    assert waits[-1] is None
    for wait, planned in zip(waits[:-1], RETRIES, strict=True):
        assert wait is not None and planned <= wait <= planned * 1.1
    assert timedelta(days=3) < sum(RETRIES, timedelta()) < timedelta(days=3.5)
    assert again(claimed(10), "unreachable", "away").outcome["exhausted"] is True


def test_a_server_may_ask_for_more_time() -> None:
    assert again(claimed(1), "refused_by_endpoint", "429", at_least=timedelta(hours=1)).again_after == timedelta(hours=1)
