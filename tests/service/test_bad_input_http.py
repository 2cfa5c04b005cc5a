"""Bad input at the doors of the real services: a problem that names its place and what to do, and the next request works."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.billing.service import SERVICE as BILLING
from shared.testing.stack import Stack
from tests.service.automation.conftest import BEN, NOW, PETRA, Office, an_office, contact, id_of, stage
from tests.service.house import House, a_house


@pytest.fixture(scope="module")
async def office(stack: Stack) -> AsyncIterator[Office]:
    """One for all tests: what is refused leaves nothing behind."""
    async with an_office(stack) as opened:
        yield opened


@pytest.fixture(scope="module")
async def till(stack: Stack) -> AsyncIterator[House]:
    """Billing that knows a tenant and nothing else."""
    async with a_house(stack, BILLING, NOW) as house:
        yield house


@pytest.fixture(scope="module")
async def cashier(till: House) -> AsyncIterator[httpx.AsyncClient]:
    async with till.client(await till.key("billing:read", "billing:write")) as client:
        yield client


def faults(answer: httpx.Response) -> list[tuple[str, str]]:
    """Places and codes of a problem that says what went wrong in words too."""
    body = answer.json()
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    assert body["detail"] and body["title"] and body["correlation_id"]
    assert all(fault["detail"] for fault in body["errors"])
    return [(fault["pointer"], fault["code"]) for fault in body["errors"]]


async def count(house: House, table: str) -> int:
    """Rows of one of the kit's tables."""
    return int((await house.rows(f"select count(*) as n from {table}"))[0]["n"])


# ------------------------------------------------------------------------------------------------ rules and triggers

RULE: dict[str, Any] = {"element_type": "deal", "pipeline_id": id_of("sales"), "stage_id": stage("sales/new"), "rule_type": "send_email"}
TRIGGER: dict[str, Any] = {"pipeline_id": id_of("sales"), "stage_id": stage("sales/new"), "trigger_type": "invoice_paid"}


async def refused(office: Office, path: str, body: dict[str, Any]) -> list[tuple[str, str]]:
    """The faults of a draft that is not taken; beside it a good one is, and of the bad one nothing was written."""
    before = await count(office.house, "events")
    answer = await office.http.post(path, json=body)
    assert answer.status_code == 422, answer.text
    good = await office.http.post(path, json=RULE if path == "/v1/rules" else TRIGGER)
    assert good.status_code == 201, good.text
    assert await count(office.house, "events") == before + 1
    return faults(answer)


@pytest.mark.parametrize("name", RULE)
async def test_a_rule_without_its_place_or_type_is_told_what_is_missing(office: Office, name: str) -> None:
    body = {field: value for field, value in RULE.items() if field != name}
    assert await refused(office, "/v1/rules", body) == [(f"#/{name}", "required")]


async def test_everything_that_a_rule_lacks_is_named_at_once(office: Office) -> None:
    assert set(await refused(office, "/v1/rules", {})) == {(f"#/{name}", "required") for name in RULE}


@pytest.mark.parametrize("name", TRIGGER)
async def test_a_trigger_without_its_place_or_type_is_told_what_is_missing(office: Office, name: str) -> None:
    body = {field: value for field, value in TRIGGER.items() if field != name}
    assert await refused(office, "/v1/triggers", body) == [(f"#/{name}", "required")]


@pytest.mark.parametrize(
    ("own", "place", "code"),
    [
        ({"pipeline_id": id_of("nowhere")}, "#/pipeline_id", "unknown_pipeline"),
        ({"stage_id": id_of("nowhere")}, "#/stage_id", "unknown_stage"),
        ({"stage_id": stage("installation/planning")}, "#/stage_id", "unknown_stage"),
        ({"rule_type": "send_pigeon"}, "#/rule_type", "unknown_rule_type"),
        ({"rule_type": ""}, "#/rule_type", "too_short"),
        ({"rule_type": "send\u0000email"}, "#/rule_type", "control_character"),
        ({"element_type": "invoice"}, "#/element_type", "unknown_value"),
        ({"element_type": "lead"}, "#/element_type", "wrong_element_type"),
        ({"position": 50}, "#/position", "out_of_range"),
        ({"stage": "sales/new"}, "#/stage", "unknown_field"),
    ],
)
async def test_what_a_rule_names_must_be_there(office: Office, own: dict[str, Any], place: str, code: str) -> None:
    assert await refused(office, "/v1/rules", RULE | own) == [(place, code)]


@pytest.mark.parametrize(
    ("own", "place", "code"),
    [
        ({"pipeline_id": id_of("nowhere")}, "#/pipeline_id", "unknown_pipeline"),
        ({"stage_id": id_of("nowhere")}, "#/stage_id", "unknown_stage"),
        ({"trigger_type": "pigeon_came"}, "#/trigger_type", "unknown_trigger_type"),
    ],
)
async def test_what_a_trigger_names_must_be_there(office: Office, own: dict[str, Any], place: str, code: str) -> None:
    assert await refused(office, "/v1/triggers", TRIGGER | own) == [(place, code)]


# ------------------------------------------------------------------------------------------------ money

LINE = {"name": "Roof tiles", "quantity": "1", "unit_price": "100.00", "tax_rate": "19"}


def payment(**own: Any) -> dict[str, Any]:
    return {"reference": str(uuid4()), "amount": {"amount": "1.00", "currency": "EUR"}, "paid_at": "2026-03-02T08:00:00Z", **own}


@pytest.mark.parametrize(
    ("amount", "place", "code"),
    [
        ({"amount": "-1.00", "currency": "EUR"}, "#/amount/amount", "negative"),
        ({"amount": "1.001", "currency": "EUR"}, "#/amount", "bad_amount"),
        ({"amount": "1.5", "currency": "JPY"}, "#/amount", "bad_amount"),
        ({"amount": "1.00", "currency": "ABC"}, "#/amount/currency", "unknown_currency"),
        ({"amount": 1.5, "currency": "EUR"}, "#/amount/amount", "bad_amount"),
        ({"amount": "NaN", "currency": "EUR"}, "#/amount/amount", "bad_amount"),
    ],
)
async def test_money_that_is_none(till: House, cashier: httpx.AsyncClient, amount: Any, place: str, code: str) -> None:
    before = await count(till, "events")
    answer = await cashier.post("/v1/payments", json=payment(amount=amount))
    assert (answer.status_code, faults(answer)) == (422, [(place, code)])
    assert await count(till, "events") == before
    assert (await cashier.post("/v1/payments", json=payment())).status_code == 201


@pytest.mark.parametrize("issue", [False, True])
async def test_money_in_another_currency_is_kept_and_pays_nothing(till: House, cashier: httpx.AsyncClient, issue: bool) -> None:
    """What a customer paid is a fact: it is not refused, but no invoice in euros is paid, and no draft issued, with dollars."""
    await till.hear(till.record(contact(), subject=f"contact/{PETRA}"))
    known = {"title": "Roof", "currency": "EUR", "lines": [LINE], "customer": {"contact_id": PETRA}, "issue": issue}
    path = (await cashier.post("/v1/invoices", json=known)).headers["Location"]
    invoice = (await cashier.get(path)).json()
    dollars = payment(amount={"amount": "1.00", "currency": "USD"}, invoice_id=invoice["id"])
    answer = await cashier.post("/v1/payments", json=dollars)

    assert (answer.status_code, answer.json()["unapplied_reason"]) == (201, "currency_differs")
    assert (answer.json()["status"], answer.json()["unapplied"]) == ("unallocated", {"amount": "1.00", "currency": "USD"})
    assert invoice["status"] == ("issued" if issue else "draft")
    assert (await cashier.get(path)).json() == invoice
    told = [m.body for m in await till.said("PaymentUnallocated") if m.body["payment_id"] == answer.json()["id"]]
    assert [(t["reason"], t["invoice_id"]) for t in told] == [("currency_differs", invoice["id"])]
    euros = await cashier.post("/v1/payments", json=payment(invoice_id=invoice["id"]))
    assert (euros.status_code, euros.json()["status"]) == (201, "allocated")


# ------------------------------------------------------------------------------------------------ who asks


async def test_keys_that_open_nothing(till: House, cashier: httpx.AsyncClient) -> None:
    before = await count(till, "events")
    good = cashier.headers["Authorization"]
    for bad in (None, "Bearer nonsense", good[:-1] + ("a" if good[-1] != "a" else "b"), good.replace("Bearer", "Basic")):
        headers = {} if bad is None else {"Authorization": bad}
        async with till.client() as nobody:
            answer = await nobody.post("/v1/payments", json=payment(), headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert await count(till, "events") == before
    assert (await cashier.post("/v1/payments", json=payment())).status_code == 201


async def test_the_key_of_another_tenant_finds_nothing_and_changes_nothing(office: Office) -> None:
    rule = (await office.http.post("/v1/rules", json=RULE)).json()
    mine, office.house.tenant = office.house.tenant, uuid4()
    try:
        key = await office.house.key("rules:read", "rules:write", "rules:activate", actor=f"user:{BEN}")
    finally:
        office.house.tenant = mine
    path, body = f"/v1/rules/{rule['id']}", {"definition": {"name": "Mine now"}}
    async with office.house.client(key) as stranger:
        asked = [
            await stranger.get(path),
            await stranger.patch(path, json=body, headers={"If-Match": '"1"'}),
            await stranger.post(f"{path}/publications"),
            await stranger.delete(path, headers={"If-Match": '"1"'}),
        ]
        assert {(a.status_code, a.json()["code"]) for a in asked} == {(404, "not_found")}
        assert (await stranger.get("/v1/rules")).json()["items"] == []
        assert faults(await stranger.post("/v1/rules", json=RULE)) == [("#/pipeline_id", "unknown_pipeline")]
    assert (await office.http.get(path)).json() == rule


# ------------------------------------------------------------------------------------------------ repeated and stale


async def test_a_key_is_for_one_request(office: Office) -> None:
    headers = {"Idempotency-Key": str(uuid4())}
    first = await office.http.post("/v1/rules", json=RULE, headers=headers)
    before = await count(office.house, "events")
    other = await office.http.post("/v1/rules", json={**RULE, "position": 3}, headers=headers)
    again = await office.http.post("/v1/rules", json=RULE, headers=headers)

    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert "Send a new key" in other.json()["detail"]
    assert (again.json(), again.headers["Idempotency-Replayed"]) == (first.json(), "true")
    assert await count(office.house, "events") == before


async def test_a_stale_version_changes_nothing_and_says_what_happened(office: Office) -> None:
    path = (await office.http.post("/v1/rules", json=RULE)).headers["Location"]
    mine = await office.http.patch(path, json={"definition": {"name": "One"}}, headers={"If-Match": '"1"'})
    stale = await office.http.patch(path, json={"definition": {"name": "Two"}}, headers={"If-Match": '"1"'})

    assert mine.status_code == 200
    assert (stale.status_code, stale.json()["code"], stale.headers["ETag"]) == (412, "version_conflict", '"2"')
    assert [change["version"] for change in stale.json()["changes"]] == [2]
    assert (await office.http.get(path)).json() == mine.json()
    right = await office.http.patch(path, json={"definition": {"name": "Two"}}, headers={"If-Match": stale.headers["ETag"]})
    assert right.status_code == 200


# ------------------------------------------------------------------------------------------------ bodies

MANY = b'{"definition": {"name": "' + b"x" * 10_000_000 + b'"}}'
UNREADABLE = {
    "10 MB": (MANY, 413, "too_large"),
    "no JSON": (b'{"rule_type": ', 400, "malformed_json"),
    "NaN": (b'{"position": NaN}', 400, "malformed_json"),
    "deep": (b'{"definition": ' + b"[" * 5000 + b"]" * 5000 + b"}", 400, "malformed_json"),
    "a lone surrogate": (b'{"rule_type": "\\ud800"}', 400, "malformed_json"),
    "a NUL as a byte": (b'{"rule_type": "a\x00"}', 400, "malformed_json"),
    "a NUL inside a definition": (b'{"definition": {"name": "a\\u0000"}}', 422, "validation_failed"),
    "no UTF-8": (b'{"rule_type": "\xff"}', 400, "malformed_json"),
    "a key twice": (b'{"position": 1, "position": 2}', 400, "malformed_json"),
}


@pytest.mark.parametrize("name", UNREADABLE)
async def test_a_body_that_cannot_be_read(office: Office, name: str) -> None:
    body, status, code = UNREADABLE[name]
    before = await count(office.house, "events")
    answer = await office.http.post("/v1/rules", content=body, headers={"Content-Type": "application/json"})
    good = await office.http.post("/v1/rules", json=RULE)

    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["detail"]
    assert status != 422 or faults(answer) == [("#/definition/name", "control_character")]
    assert good.status_code == 201
    assert await count(office.house, "events") == before + 1
