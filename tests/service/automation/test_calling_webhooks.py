"""A rule calls a webhook and waits for its answer over HTTP (G51-G53)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.automation.settings import settings
from shared.contracts import notifications
from shared.runtime.settings import settings as kit_settings
from shared.testing.stack import Stack
from tests.service.automation.conftest import ANNA, BEN, OLAF, Office, an_office, created, fired, id_of, moved
from tests.service.house import origin

ENDPOINT = id_of("endpoint")
RULES = f"""
stage: sales/delivery
rules:
  - id: ship
    type: call_webhook
    settings:
      endpoint: {ENDPOINT}
      payload: {{ order: "{{{{deal.title}}}}", "to": "{{{{contact.name}}}}" }}
      timeout: 2h
      outputs:
        - {{ name: parcel, type: string, required: true }}
        - {{ name: cost, type: double }}
        - {{ name: packers, type: user, multiple: true }}
  - id: tell
    type: notify
    execution: after_previous
    condition: {{ field: steps.ship.cost, op: gt, value: 5 }}
    settings: {{ text: "Parcel {{{{steps.ship.parcel}}}}" }}
"""


def endpoint(kind: type[notifications.WebhookEndpointFact], **own: Any) -> notifications.WebhookEndpointFact:
    return kind(**({"origin": origin(), "endpoint_id": ENDPOINT, "purpose": "rule", "owner_id": OLAF} | own))


@pytest.fixture
async def office(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Office]:
    told = {
        "DEALWRIGHT_PEPPER": "p" * 40,
        "DEALWRIGHT_AUTOMATION__PUBLIC_BASE": "https://api.acme.test",
        "DATABASE_URL": "postgresql://nowhere",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    for each in (settings, kit_settings):
        each.cache_clear()
    async with an_office(stack) as opened:
        await opened.house.hear(about(opened, notifications.WebhookEndpointAdded))
        yield opened
    for each in (settings, kit_settings):
        each.cache_clear()


def about(office: Office, kind: type[notifications.WebhookEndpointFact], **own: Any) -> Any:
    return office.record(endpoint(kind, **own), subject=f"webhook-endpoint/{ENDPOINT}")


async def publish(office: Office, text: str = RULES) -> None:
    """As somebody who may call webhooks."""
    key = await office.house.key("rules:read", "rules:write", "rules:activate", "hooks:write", actor=f"user:{OLAF}")
    async with office.house.client(key) as http:
        office.http, before = http, office.http
        await office.publish(text)
        office.http = before


async def called(office: Office) -> Any:
    """The call that the arrival makes, and the timer of its answer."""
    await publish(office)
    await office.hear(created(), moved("sales/delivery", 2))
    call, timer = await office.commands()
    assert (call.type, timer.type) == ("notifications.DeliverWebhook.v1", "scheduler.SetTimer.v1")
    return call.body, timer.body


async def answer(office: Office, url: str, key: str | None = None, **outputs: Any) -> httpx.Response:
    """As whoever was called: without a credential."""
    async with office.house.client(None) as http:
        path = url.removeprefix("https://api.acme.test")
        return await http.post(path, json={"outputs": outputs}, headers={"Idempotency-Key": key} if key else {})


async def test_the_rule_goes_on_with_what_the_webhook_answers(office: Office) -> None:
    call, timer = await called(office)
    assert (call["endpoint_id"], call["payload"]) == (ENDPOINT, {"order": "Roof 2026", "to": "Petra Muster"})
    assert call["callback_expires_at"] == "2026-03-02T10:00:00.000Z" == timer["when"]["anchor_instant"]
    taken = {"delivery_id": call["delivery_id"], "request_id": call["delivery_id"], "endpoint_id": ENDPOINT}
    await office.hear(notifications.WebhookDelivered(origin=origin(), **taken, response_status=202, attempts=1))
    assert await office.state("ship") == ("running", None)

    wrong = await answer(office, call["callback_url"], cost="much", packers=["user:42", "user:404"], weight=1)
    assert (wrong.status_code, wrong.json()["code"]) == (422, "validation_failed")
    pointers = {error["pointer"]: error["code"] for error in wrong.json()["errors"]}
    assert pointers == {
        "#/outputs/parcel": "setting_required",
        "#/outputs/cost": "wrong_type",
        "#/outputs/packers": "wrong_type",
        "#/outputs/weight": "unknown_output",
    }
    run = (await office.runs())["ship"]
    assert (run["state"], run["stuck"]) == ("running", False)
    shown = (await office.http.get(f"/v1/runs/{run['id']}")).json()
    assert shown["answer_due"] == "2026-03-02T10:00:00.000Z" and "callback" not in str(shown["steps"])

    key = str(uuid4())
    for _ in range(2):
        right = await answer(office, call["callback_url"], key, parcel="P-1", cost=12.5, packers=["user:42", BEN])
        assert (right.status_code, right.json()["state"]) == (200, "succeeded")
    assert right.json()["outputs"] == {"parcel": "P-1", "cost": "12.5", "packers": [ANNA, BEN]}
    said = await office.said()
    assert [one.name for one in said if not one.type.startswith("automation.")] == ["CancelTimer", "Notify"]
    assert [one.body["text"] for one in said if one.name == "Notify"] == ["Parcel P-1"]

    again = await answer(office, call["callback_url"], parcel="P-2")
    assert (again.status_code, again.json()["code"]) == (410, "callback_used")


async def test_nobody_answers_in_time(office: Office) -> None:
    call, timer = await called(office)
    rule_id = await office.rule_id("ship")
    asked = {"element_id": moved("sales/delivery", 2).element_id, "rule_id": rule_id}
    told = (await office.http.get("/v1/explanations", params=asked)).json()
    assert told["says"] == "The rule called a webhook and waits for its answer until 2 March 2026, 11:00 (Europe/Berlin)."
    await office.hear(fired(timer["timer_id"]))
    assert await office.state("ship") == ("failed", "callback_expired")
    (completed,) = [one for one in await office.said() if one.name == "RunCompleted"]
    assert (completed.body["outcome"], completed.body["code"]) == ("failed", "callback_expired")
    late = await answer(office, call["callback_url"], parcel="P-1")
    assert (late.status_code, late.json()["code"]) == (410, "callback_expired")
    told = (await office.http.get("/v1/explanations", params=asked)).json()
    assert (told["verdict"], told["says_de"]) == ("failed", "Die Regel ist fehlgeschlagen: es kam keine Antwort zur Zeit.")


async def test_the_clock_ends_the_wait_even_before_the_timer(office: Office) -> None:
    call, _ = await called(office)
    await office.house.tick(timedelta(hours=2))
    assert (await answer(office, call["callback_url"], parcel="P-1")).status_code == 410


async def test_a_wrong_token_is_not_found_and_a_call_that_failed_waits_no_more(office: Office) -> None:
    call, _ = await called(office)
    for token in ("x", call["callback_url"][-10:], str(uuid4())):
        assert (await answer(office, f"/v1/callbacks/{token}", parcel="P-1")).status_code == 404
    failed = {"delivery_id": call["delivery_id"], "endpoint_id": ENDPOINT, "code": "gone_410", "detail": "Gone.", "attempts": 1}
    await office.hear(notifications.WebhookFailed(origin=origin(), request_id=call["delivery_id"], **failed))
    assert await office.state("ship") == ("failed", "refused(gone_410)")
    refused = await answer(office, call["callback_url"], parcel="P-1")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_waiting")


async def test_an_endpoint_that_is_off_or_gone_takes_its_rules_out_of_force(office: Office) -> None:
    await publish(office)
    await office.house.hear(about(office, notifications.WebhookEndpointDisabled, reason="failing"))
    (invalid,) = [one for one in await office.said() if one.name == "RuleInvalidated"]
    assert (invalid.body["code"], invalid.body["owner_id"]) == ("unknown_endpoint", OLAF)
    await office.hear(created(), moved("sales/delivery", 2))
    assert await office.commands() == []
    refused = await office.http.post("/v1/rule-sets/checks", json={"text": RULES})
    assert [(e["pointer"], e["code"]) for e in refused.json()["errors"]] == [("#/0/rules/0/settings/endpoint", "unknown_endpoint")]

    await office.house.hear(about(office, notifications.WebhookEndpointEnabled))
    await publish(office)
    await office.house.hear(about(office, notifications.WebhookEndpointDeleted))
    assert [one.body["detail"] for one in await office.said("RuleInvalidated")] == ["The webhook endpoint it calls was deleted."]


async def test_whoever_may_not_call_webhooks_cannot_automate_it(office: Office) -> None:
    plan = await office.http.post("/v1/rule-sets/plans", json={"text": RULES})
    done = await office.http.post("/v1/rule-sets/applications", json={"plan_id": plan.json()["plan_id"]})
    assert (done.status_code, done.json()["code"]) == (409, "not_allowed_for_author")


async def test_the_picker_offers_what_the_webhook_answers_and_what_details_hold(office: Office) -> None:
    details = "  - { id: addr, type: get_details, settings: { element: contact, template: person } }\n"
    await publish(office, RULES + details)
    asked = {"element_type": "deal", "stage_id": moved("sales/delivery", 2).stage_id, "q": "steps."}
    items = {item["path"]: item["kind"] for item in (await office.http.get("/v1/placeholders", params=asked)).json()["items"]}
    assert items["steps.ship.parcel"] == "text" and items["steps.ship.cost"] == "number" and items["steps.ship.packers"] == "list"
    assert items["steps.addr.iban"] == "text" and items["steps.addr.address"] == "text"
