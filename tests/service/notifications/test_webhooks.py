"""Webhooks to a real HTTP server: signed, repeated with the same id, and never to an address inside."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.notifications.channels.webhook import attempt
from services.notifications.settings import settings
from shared.contracts import notifications
from shared.http.signed import signature
from shared.messaging.effects import Claimed
from shared.runtime.settings import settings as kit_settings
from tests.service.house import House, employee, origin
from tests.service.notifications.receiver import Receiver, receiving
from tests.service.notifications.test_telling import feed

ANNA = str(UUID(int=1))
SCOPES = ("hooks:read", "hooks:write")


@pytest.fixture
async def receiver(house: House, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    async with receiving() as found:
        await _tell(house, monkeypatch, found)
        yield found
    settings.cache_clear()
    kit_settings.cache_clear()


async def _tell(house: House, monkeypatch: pytest.MonkeyPatch, found: Receiver) -> None:
    monkeypatch.setenv("DEALWRIGHT_HOOKS__ALLOW", f"127.0.0.1:{found.port}")
    monkeypatch.setenv("DEALWRIGHT_PEPPER", "p" * 40)
    monkeypatch.setenv("DATABASE_URL", "postgresql://nowhere")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
    settings.cache_clear()
    kit_settings.cache_clear()
    await house.hear(house.record(employee(ANNA, "Anna"), subject=f"employee/{ANNA}"))


async def endpoint(house: House, receiver: Receiver) -> dict[str, Any]:
    async with house.client(await house.key(*SCOPES, actor=f"user:{ANNA}")) as client:
        answer = await client.post("/v1/webhook-endpoints", json={"url": receiver.url, "description": "ERP"})
    assert answer.status_code == 201, answer.text
    await house.forget()
    return dict(answer.json())


def deliver(endpoint_id: str, **own: Any) -> notifications.DeliverWebhook:
    id = str(uuid4())
    fields: dict[str, Any] = {"event_name": "deal.won", "payload": {"title": "Dach"}}
    return notifications.DeliverWebhook(request_id=id, delivery_id=id, endpoint_id=endpoint_id, origin=origin(), **(fields | own))


async def test_a_delivery_is_signed_and_answered(house: House, receiver: Receiver) -> None:
    there = await endpoint(house, receiver)
    command = deliver(there["id"])
    await house.hear(command, command)
    await house.tick()
    ((headers, body),) = receiver.requests
    assert (headers["webhook-id"], headers["host"]) == (command.delivery_id, f"127.0.0.1:{receiver.port}")
    assert headers["webhook-signature"] == signature(there["secret"], command.delivery_id, headers["webhook-timestamp"], body.encode())
    assert (json.loads(body)["type"], json.loads(body)["data"]) == ("deal.won", {"title": "Dach"})
    answer = await house.one("WebhookDelivered")
    assert (answer["request_id"], answer["response_status"], answer["attempts"]) == (command.request_id, 204, 1)


async def test_a_failure_is_repeated_with_the_same_id(house: House, receiver: Receiver) -> None:
    receiver.answers += ["500 Oops", "302 Found\r\nLocation: http://127.0.0.1/", "429 Slow\r\nRetry-After: 3600"]
    there = await endpoint(house, receiver)
    await house.hear(deliver(there["id"]))
    for wait in (timedelta(), timedelta(seconds=6), timedelta(minutes=6), timedelta(minutes=40)):
        await house.tick(wait)
    assert len(receiver.requests) == 3
    await house.tick(timedelta(minutes=21))
    assert len({headers["webhook-id"] for headers, _ in receiver.requests}) == 1
    assert (await house.one("WebhookDelivered"))["attempts"] == 4


async def test_gone_for_good_disables_the_endpoint_and_tells_its_owner(house: House, receiver: Receiver) -> None:
    receiver.answers.append("410 Gone")
    there = await endpoint(house, receiver)
    command = deliver(there["id"])
    await house.hear(command)
    await house.tick()
    assert (await house.one("WebhookFailed"))["code"] == "gone_410"
    disabled = await house.one("WebhookEndpointDisabled")
    said = notifications.WebhookEndpointDisabled.model_validate_json(json.dumps(disabled))
    await house.hear(house.record(said, subject=f"webhook-endpoint/{there['id']}"))
    assert "gone_410" in (await feed(house, ANNA))[0]["body_text"]
    await house.hear(deliver(there["id"]))
    assert (await house.one("CommandRejected"))["code"] == "endpoint_disabled"


async def test_after_three_days_of_failing_it_is_disabled_too(house: House, receiver: Receiver) -> None:
    receiver.answers += ["503 No"] * 10
    there = await endpoint(house, receiver)
    await house.hear(deliver(there["id"]))
    for _ in range(12):
        await house.tick(timedelta(days=1, hours=3))
    assert (await house.one("WebhookFailed"))["attempts"] == 10
    assert (await house.one("WebhookEndpointDisabled"))["reason"] == "failing"
    async with house.client(await house.key(*SCOPES)) as client:
        assert (await client.post(f"/v1/webhook-endpoints/{there['id']}/enablements")).json()["state"] == "active"
        (failed,) = (await client.get(f"/v1/webhook-endpoints/{there['id']}/deliveries?state=failed")).json()["items"]
        assert (await client.post(f"/v1/webhook-deliveries/{failed['id']}/retries")).status_code == 200
    await house.tick()
    await house.one("WebhookDelivered")


async def test_during_a_rotation_both_secrets_sign(house: House, receiver: Receiver) -> None:
    there = await endpoint(house, receiver)
    async with house.client(await house.key(*SCOPES)) as client:
        rotated = await client.post(f"/v1/webhook-endpoints/{there['id']}/secret-rotations")
        assert (await client.post(f"/v1/webhook-endpoints/{there['id']}/tests")).status_code == 202
        shown = await client.get(f"/v1/webhook-endpoints/{there['id']}")
    assert "secret" not in shown.json()
    await house.tick()
    ((headers, body),) = receiver.requests
    for secret in (rotated.json()["secret"], there["secret"]):
        signed = signature(secret, headers["webhook-id"], headers["webhook-timestamp"], body.encode())
        assert signed in headers["webhook-signature"].split(" ")
    assert there["secret"] not in str(await house.rows("select request::text, outcome::text from effects"))


async def test_an_address_that_turns_out_to_lie_inside_is_never_asked(house: House, receiver: Receiver) -> None:
    asked: list[str] = []

    async def flipping(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["93.184.216.34", "169.254.169.254"]

    request = {"delivery_id": "d", "endpoint_id": "e", "url": "https://hooks.example.org/", "secret_number": 1, "body": "{}", "round": 1}
    done = await attempt(Claimed(house.tenant, "webhook", "d/1", "s", request, 1, 1, False, "none"), flipping)
    assert (done.outcome["code"], asked) == ("url_not_allowed", ["hooks.example.org"])


@pytest.mark.parametrize("url", ["http://example.org/", "https://127.0.0.1/", "https://169.254.169.254/latest", "https://x.test:22/"])
async def test_an_endpoint_inside_is_not_taken(house: House, receiver: Receiver, url: str) -> None:
    async with house.client(await house.key(*SCOPES, actor=f"user:{ANNA}")) as client:
        answer = await client.post("/v1/webhook-endpoints", json={"url": url})
    assert (answer.status_code, answer.json()["code"], answer.json()["errors"][0]["pointer"]) == (422, "url_not_allowed", "/url")


async def test_endpoints_are_changed_listed_and_deleted(house: House, receiver: Receiver) -> None:
    there = await endpoint(house, receiver)
    where = f"/v1/webhook-endpoints/{there['id']}"
    async with house.client(await house.key(*SCOPES)) as client:
        changed = await client.patch(where, json={"description": "New ERP"}, headers={"If-Match": '"1"'})
        assert (changed.json()["description"], changed.json()["url"]) == ("New ERP", receiver.url)
        assert len((await client.get("/v1/webhook-endpoints?state=active")).json()["items"]) == 1
        assert (await client.delete(where, headers={"If-Match": '"2"'})).status_code == 200
        assert (await client.get(where)).status_code == 404
        assert (await client.get("/v1/webhook-endpoints")).json()["items"] == []
    assert [message.name for message in await house.said()] == ["WebhookEndpointDeleted"]
    async with house.client(await house.key("hooks:read")) as reader:
        assert (await reader.post("/v1/webhook-endpoints", json={"url": receiver.url})).status_code == 403
