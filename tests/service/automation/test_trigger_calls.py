"""Other programs move deals: signed calls, calls with a key, triggers of apps, and events of their own (G46, G48, G49)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest

from shared.contracts import automation, common, deals
from shared.http.signed import signature
from shared.messaging.batch import handle_batch
from shared.messaging.inbox import MessageBatch
from shared.messaging.records import KafkaRecord
from shared.testing.stack import Stack
from tests.service.automation.conftest import NOW, Office, an_office, created, id_of, stage
from tests.service.house import origin

RULES = """
stage: sales/delivery
triggers:
  - id: shop
    type: webhook
    settings: { code: shipped, event_fields: { parcels: number } }
    condition: { field: event.parcels, op: gt, value: 1 }
  - { id: foreign, type: external_event, settings: { event_type: com.example.shop.shipped, element_path: order.deal_id } }
---
stage: leads/talking
triggers: [{ id: foreign, type: external_event, settings: { event_type: com.example.phone.ended, source: "urn:example:phone" } }]
"""


@pytest.fixture(scope="module")
async def office(stack: Stack) -> AsyncIterator[Office]:
    """One for all tests: each has a deal of its own."""
    async with an_office(stack) as opened:
        await opened.publish(RULES)
        yield opened


@pytest.fixture
async def deal(office: Office) -> str:
    id = str(uuid4())
    await office.hear(created("sales/payment-expected", id=id))
    await office.house.forget()
    return id


@pytest.fixture
async def secret(office: Office) -> str:
    """A new one, as its owner is shown it."""
    done = await office.http.post(f"/v1/triggers/{await trigger_id(office, 'shop')}/secret-rotations", json={})
    assert done.status_code == 200, done.text
    return str(done.json()["secret"])


async def trigger_id(office: Office, key: str) -> str:
    items = (await office.http.get("/v1/triggers")).json()["items"]
    return next(str(item["id"]) for item in items if item["trigger_key"] == key)


def call(deal: str, code: str = "shipped", **own: Any) -> dict[str, Any]:
    return {"code": code, "element": {"element_type": "deal", "element_id": deal}, "payload": {"parcels": 2}, **own}


async def signed(office: Office, secret: str, body: dict[str, Any], id: str = "", **own: Any) -> httpx.Response:
    """A call without a key, signed now."""
    at, tenant = own.pop("at", office.house.now), own.pop("tenant", office.house.tenant)
    raw, id, stamp = orjson.dumps(body), id or str(uuid4()), str(int(at.timestamp()))
    named = {"webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": own.pop("says", signature(secret, id, stamp, raw))}
    async with office.house.client() as http:
        headers = {"content-type": "application/json", **named}
        return await http.post("/v1/trigger-calls", params={"tenant": str(tenant)}, content=own.pop("raw", raw), headers=headers)


async def decision(office: Office, id: str) -> dict[str, Any]:
    answer = await office.http.get(f"/v1/trigger-decisions/{id}")
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


# ------------------------------------------------------------------------------------------------ signed calls


async def test_a_signed_call_hands_the_event_over_once(office: Office, deal: str, secret: str) -> None:
    first = await signed(office, secret, call(deal), id="shop-4711")
    assert first.status_code == 202 and first.headers["location"].endswith(first.json()["decision_id"])
    office.house.now += timedelta(minutes=20)
    again = await signed(office, secret, call(deal), id="shop-4711")
    office.house.now = NOW
    assert (again.status_code, again.json()) == (202, first.json())
    (move,) = await office.commands()
    assert (move.name, move.key, move.body["stage_id"]) == ("MoveToStage", deal, stage("sales/delivery"))
    shown = await decision(office, first.json()["decision_id"])
    assert (shown["trigger_type"], shown["source_type"]) == ("webhook", "automation.CallTrigger.v1")
    other = await signed(office, secret, call(deal, payload={"parcels": 3}), id="shop-4711")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_a_declared_member_is_compared_as_what_it_is(office: Office, deal: str, secret: str) -> None:
    done = await signed(office, secret, call(deal, payload={"parcels": 1}))
    assert (await decision(office, done.json()["decision_id"]))["reason"] == "condition_false"


async def test_a_call_that_is_not_signed_well_is_nobodys(office: Office, deal: str, secret: str) -> None:
    before = await office.house.rows("select count(*) as n from events")
    bad = [
        await signed(office, "whsec_bm9uc2Vuc2U=", call(deal)),
        await signed(office, secret, call(deal), at=NOW - timedelta(seconds=301)),
        await signed(office, secret, call(deal), at=NOW + timedelta(seconds=301)),
        await signed(office, secret, call(deal), says="v1,nonsense"),
        await signed(office, secret, call(deal), says=""),
        await signed(office, secret, call(deal), raw=orjson.dumps(call(deal, payload={"parcels": 9}))),
        await signed(office, secret, call(deal, app_code="phone")),
    ]
    async with office.house.client() as http:
        bad.append(await http.post("/v1/trigger-calls", json=call(deal)))
        bad.append(await http.post("/v1/trigger-calls", json=call(deal), headers={"webhook-signature": "v1,x"}))
    assert [answer.status_code for answer in bad] == [401] * len(bad)
    assert await office.house.rows("select count(*) as n from events") == before


async def test_unknown_codes_and_tenants_are_not_found(office: Office, deal: str, secret: str) -> None:
    assert (await signed(office, secret, call(deal, code="nobody"))).status_code == 404
    assert (await signed(office, secret, call(deal), tenant=uuid4())).status_code == 404
    assert (await office.http.post("/v1/trigger-calls", json=call(deal, code="nobody"))).status_code == 404
    assert (await office.http.post("/v1/trigger-calls", json=call(deal, app_code="phone"))).status_code == 404


async def test_nobody_calls_for_a_tenant_that_is_suspended(office: Office, deal: str, secret: str) -> None:
    tenant = str(office.house.tenant)
    await office.house.hear(office.house.record(deals.TenantSuspended(origin=origin(), tenant_id=tenant), subject=f"tenant/{tenant}"))
    refused = await signed(office, secret, call(deal))
    await office.house.hear(office.house.record(deals.TenantResumed(origin=origin(), tenant_id=tenant), subject=f"tenant/{tenant}"))
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_suspended")
    assert (await signed(office, secret, call(deal))).status_code == 202


async def test_an_unknown_element_is_waited_for(office: Office, secret: str) -> None:
    later = str(uuid4())
    done = await signed(office, secret, call(later))
    assert done.status_code == 202
    assert (await decision(office, done.json()["decision_id"]))["waiting_for"] == "element"
    await office.said()
    await office.hear(created("sales/payment-expected", id=later))
    assert [m.key for m in await office.said("MoveToStage")] == [later]


async def test_the_secret_before_is_good_until_the_next_rotation(office: Office, deal: str, secret: str) -> None:
    rotations = f"/v1/triggers/{await trigger_id(office, 'shop')}/secret-rotations"
    newer = (await office.http.post(rotations, json={})).json()
    assert newer["secret"] != secret and "secret" not in (await office.http.get(rotations.removesuffix("/secret-rotations"))).json()
    assert (await signed(office, secret, call(deal))).status_code == 202
    assert (await signed(office, newer["secret"], call(deal))).status_code == 202
    await office.http.post(rotations, json={})
    assert (await signed(office, secret, call(deal))).status_code == 401


async def test_secrets_are_stored_nowhere_and_only_webhooks_have_one(office: Office, secret: str) -> None:
    place = {"pipeline_id": id_of("sales"), "stage_id": stage("sales/new")}
    made = await office.http.post(
        "/v1/triggers", json={**place, "trigger_type": "webhook", "definition": {"id": "w", "settings": {"code": "w"}}}
    )
    assert made.status_code == 201 and made.json()["secret"].startswith("whsec_")
    plain = await office.http.post("/v1/triggers", json={**place, "trigger_type": "invoice_paid"})
    assert "secret" not in plain.json() and plain.json()["secret_number"] is None
    refused = await office.http.post(f"/v1/triggers/{plain.json()['id']}/secret-rotations", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "no_secret")
    for shown in (secret, made.json()["secret"]):
        for table, column in (("events", "data"), ("outbox", "value"), ("triggers_v1", "definition")):
            rows = await office.house.rows(f"select 1 from {table} where position($1 in {column}::text) > 0", shown)
            assert rows == []


async def test_why_a_called_trigger_moved_or_did_not(office: Office, deal: str, secret: str) -> None:
    """The call that it is about, whatever else was called later; in both languages."""
    shop = await trigger_id(office, "shop")
    await office.publish(OTHER)
    for parcels, code in ((1, "shipped"), (9, "other")):
        assert (await signed_or_keyed(office, call(deal, code, payload={"parcels": parcels}))).status_code == 202
        office.house.now += timedelta(seconds=1)
    office.house.now = NOW
    why = (await office.http.get("/v1/explanations", params={"element_id": deal, "trigger_id": shop})).json()
    assert why["verdict"] == "condition_false" and why["says"] != why["says_de"]
    (leaf,) = why["condition"]["children"]
    assert (leaf["actual"], leaf["verdict"], leaf["says"]) == (1, False, "parcels is greater than 1: no, it was 1")
    assert "the trigger was called" in why["tree"]["children"][0]["says"]


OTHER = "stage: sales/approval\ntriggers: [{ id: other, type: webhook, settings: { code: other } }]"


async def signed_or_keyed(office: Office, body: dict[str, Any]) -> httpx.Response:
    return await office.http.post("/v1/trigger-calls", json=body)


async def test_the_picker_offers_what_a_trigger_declares(office: Office) -> None:
    own = {"trigger_type": "webhook", "trigger_id": await trigger_id(office, "shop"), "q": "event"}
    found = {item["path"]: item["kind"] for item in (await office.http.get("/v1/placeholders", params=own)).json()["items"]}
    assert found == {"event.parcels": "number"}
    foreign = await office.http.get("/v1/placeholders", params={"trigger_type": "external_event", "q": "event."})
    assert [item["path"] for item in foreign.json()["items"]] == ["event.ce_type", "event.ce_source", "event.ce_subject", "event.ce_time"]
    listed = (await office.http.get("/v1/triggers", params={"trigger_type": "external_event"})).json()["items"]
    assert {item["trigger_key"] for item in listed} == {"foreign"}


# ------------------------------------------------------------------------------------------------ with a key, and apps


async def test_a_key_calls_too_if_it_may_touch_runs(office: Office, deal: str) -> None:
    done = await office.http.post("/v1/trigger-calls", json=call(deal))
    assert done.status_code == 202
    assert [m.key for m in await office.commands()] == [deal]
    async with office.house.client(await office.house.key("rules:read")) as http:
        assert (await http.post("/v1/trigger-calls", json=call(deal))).status_code == 403
    unkeyed = httpx.AsyncClient(transport=office.http._transport, base_url="http://house", headers=office.http.headers)
    assert (await unkeyed.post("/v1/trigger-calls", json=call(deal))).status_code == 400


async def test_an_app_registers_renames_is_called_and_takes_its_trigger_back(office: Office, deal: str) -> None:
    apps = "/v1/apps/phone/triggers"
    text = "stage: sales/approval\ntriggers: [{ id: rang, type: app, settings: { app_code: phone, code: ended } }]"
    unknown = await office.http.post("/v1/rule-sets/checks", json={"text": text})
    assert [f["code"] for f in unknown.json()["errors"]] == ["unknown_app_trigger"]

    first = await office.http.post(apps, json={"code": "ended", "name": "Call ended"})
    renamed = await office.http.post(apps, json={"code": "ended", "name": "Hung up"})
    assert (first.status_code, renamed.status_code, renamed.json()["name"]) == (200, 200, "Hung up")
    (listed,) = (await office.http.get(apps)).json()["items"]
    assert (listed["code"], listed["name"], listed["revision"]) == ("ended", "Hung up", 2)
    assert (await office.http.get("/v1/apps/fax/triggers")).json()["items"] == []

    unbound = await office.http.post("/v1/trigger-calls", json=call(deal, "ended", app_code="phone"))
    assert (await decision(office, unbound.json()["decision_id"]))["reason"] == "no_candidate"
    await office.publish(text)
    done = await office.http.post("/v1/trigger-calls", json=call(deal, "ended", app_code="phone"))
    assert done.status_code == 202
    assert [m.body["stage_id"] for m in await office.commands()] == [stage("sales/approval")]

    removed = await office.http.delete(f"{apps}/ended", headers={"If-Match": '"2"'})
    assert (removed.status_code, removed.json()["state"]) == (200, "removed")
    assert (await office.http.post("/v1/trigger-calls", json=call(deal, "ended", app_code="phone"))).status_code == 404
    bound = (await office.http.get(f"/v1/triggers/{await trigger_id(office, 'rang')}")).json()
    assert bound["invalid"]["code"] == "unknown_app_trigger"


async def test_an_app_is_called_by_message_too(office: Office, deal: str) -> None:
    await office.http.post("/v1/apps/fax/triggers", json={"code": "came", "name": "Fax came"})
    element = common.GivenElement(element_type="deal", element_id=deal)
    known = automation.CallTrigger(request_id=str(uuid4()), code="came", element=element, payload={}, app_code="fax")
    await office.hear(known, known.model_copy(update={"code": "gone", "request_id": str(uuid4())}))
    assert [m.body["code"] for m in await office.said("CommandRejected")] == ["not_found"]
    found = (await office.http.get("/v1/trigger-decisions", params={"element_id": deal})).json()["items"]
    assert [(d["trigger_type"], d["reason"]) for d in found] == [("app", "no_candidate")]


# ------------------------------------------------------------------------------------------------ events of other programs


def event(office: Office, type: str, data: Any, **own: str) -> KafkaRecord:
    """Binary, as any CloudEvents library writes it; `structured` puts everything into the value."""
    known = {"specversion": "1.0", "id": own.pop("id", f"evt/{uuid4()}"), "source": own.pop("source", "urn:example:shop"), "type": type}
    attributes = {**known, "tenantid": str(office.house.tenant), **own}
    if attributes.pop("mode", "binary") == "structured":
        value = orjson.dumps({**attributes, "data": data})
        return KafkaRecord("automation.commands", 0, id_number(), 0, b"key", value, [("content-type", b"application/cloudevents+json")])
    headers = [("content-type", b"application/json"), *((f"ce_{name}", text.encode()) for name, text in attributes.items())]
    return KafkaRecord("automation.commands", 0, id_number(), 0, None, data if isinstance(data, bytes) else orjson.dumps(data), headers)


def id_number() -> int:
    return uuid4().int % 10**9


@pytest.mark.parametrize("mode", ["binary", "structured"])
async def test_a_foreign_event_moves_the_deal_that_it_names(office: Office, deal: str, mode: str) -> None:
    shipped = event(office, "com.example.shop.shipped", {"order": {"deal_id": deal}}, mode=mode)
    await office.house.hear(shipped)
    await office.house.hear(shipped)
    (move,) = await office.commands()
    assert (move.key, move.body["stage_id"]) == (deal, stage("sales/delivery"))
    found = (await office.http.get("/v1/trigger-decisions", params={"element_id": deal})).json()["items"]
    assert [(d["source_type"], d["trigger_type"]) for d in found] == [("com.example.shop.shipped", "external_event")]


async def test_by_its_subject_and_only_from_its_source(office: Office) -> None:
    lead = str(uuid4())
    await office.house.hear(event(office, "com.example.phone.ended", {}, subject=f"lead/{lead}", source="urn:example:phone"))
    (timer,) = await office.commands()
    assert (timer.name, timer.key) == ("SetTimer", lead)
    found = (await office.http.get("/v1/trigger-decisions", params={"element_id": lead})).json()["items"]
    assert [d["waiting_for"] for d in found] == ["element"]


@pytest.mark.parametrize(
    ("type", "data", "code"),
    [
        ("com.example.nobody.cares", {}, "unknown_type"),
        ("automation.CallTriger.v1", {}, "unknown_type"),
        ("com.example.shop.shipped", {"order": {"deal_id": "4711"}}, "element_missing"),
        ("com.example.shop.shipped", ["no", "object"], "invalid_body"),
        ("com.example.shop.shipped", b"no JSON", "invalid_body"),
    ],
)
async def test_what_nothing_can_be_made_of_is_refused(office: Office, type: str, data: Any, code: str) -> None:
    await office.said()
    await office.house.hear(event(office, type, data))
    (refused,) = await office.said()
    assert (refused.name, refused.body["code"], refused.body["command_type"]) == ("CommandRejected", code, type)


async def test_a_type_that_is_heard_elsewhere_is_none_here(office: Office) -> None:
    """What says it was paid is billing, on billing's topic: nobody else can."""
    await office.said()
    record = event(office, "billing.InvoicePaid.v1", {"invoice_id": str(uuid4())})
    assert (await handle_batch(office.house.kit, MessageBatch("automation", [record]))).results == ()
    assert await office.said() == []


async def test_a_loop_through_another_program_ends_where_it_says_what_led_to_it(office: Office, deal: str) -> None:
    items = (await office.http.get("/v1/triggers", params={"stage_id": stage("sales/delivery")})).json()["items"]
    own = next(item["id"] for item in items if item["trigger_key"] == "foreign")
    await office.house.hear(event(office, "com.example.shop.shipped", {"order": {"deal_id": deal}, "origin": {"chain": [own]}}))
    (decided,) = await office.said("TriggerDecided")
    assert decided.body["reason"] == "loop"
