"""What is wrong with a body is said with its place; on Kafka the command is refused, and nothing else is disturbed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.deals.service import SERVICE
from shared.contracts import deals
from shared.messaging.records import KafkaRecord
from tests.service.deals.conftest import MUSTER, NOW, OLAF, PETRA, SALES, TENANT, Furnished, id_of, roof, stage, stages
from tests.service.house import House, a_house, origin


@pytest.fixture(scope="module")
async def one_for_all(furnished: Furnished) -> AsyncIterator[House]:
    """What is refused leaves nothing behind."""
    async with a_house(furnished, SERVICE, NOW) as house:
        house.tenant = TENANT
        yield house


@pytest.fixture
async def house(one_for_all: House) -> House:
    await one_for_all.forget()
    return one_for_all


ROW = {"name": "Tiles", "unit_price": "1.00", "tax_rate": "19"}


@pytest.mark.parametrize(
    ("own", "place", "code"),
    [
        ({"title": ""}, "title", "too_short"),
        ({"title": "x" * 256}, "title", "too_long"),
        ({"title": "a\u0000b"}, "title", "control_character"),
        ({"amount": "-1.00"}, "amount", "bad_amount"),
        ({"amount": "1.001"}, "amount", "bad_amount"),
        ({"amount": 1.5}, "amount", "bad_amount"),
        ({"amount": "1e9"}, "amount", "bad_amount"),
        ({"currency": "DOGE"}, "currency", "unknown_currency"),
        ({"colour": "red"}, "colour", "unknown_field"),
        ({"custom": {"nothing": 1}}, "custom/nothing", "unknown_field"),
        ({"custom": {"contract_url": 7}}, "custom/contract_url", "wrong_type"),
        ({"lines": [{**ROW, "unit_price": "-1"}]}, "lines/0/unit_price", "bad_amount"),
        ({"lines": [{**ROW, "discount_percent": "101"}]}, "lines/0/discount_percent", "bad_amount"),
        ({"lines": [{"name": "x", "unit_price": "1"}]}, "lines/0/tax_rate", "required"),
        ({"lines": [ROW] * 501}, "lines", "too_many"),
        ({"begin_date": "2026-02-30"}, "begin_date", "wrong_type"),
        ({"contact_ids": ["Petra"]}, "contact_ids/0", "wrong_type"),
        ({"contact_ids": [str(uuid4())]}, "contact_ids/0", "unknown_reference"),
        ({"responsible_id": str(uuid4())}, "responsible_id", "unknown_reference"),
        ({"pipeline_id": str(uuid4())}, "pipeline_id", "unknown_reference"),
    ],
)
async def test_a_bad_deal_is_refused_at_its_place(anna: httpx.AsyncClient, own: dict[str, Any], place: str, code: str) -> None:
    answer = await anna.post("/v1/deals", json={"pipeline_id": SALES, "title": "Spoilt", **own})

    assert answer.status_code == 422, answer.text
    assert [(fault["pointer"].lstrip("#/"), fault["code"]) for fault in answer.json()["errors"]] == [(place, code)]
    assert (await anna.get("/v1/deals?q=spoilt")).json()["items"] == []


@pytest.mark.parametrize(
    ("own", "code"),
    [
        ({"pipeline_id": id_of("nowhere")}, "unknown_reference"),
        ({"stage_id": id_of("nowhere")}, "unknown_stage"),
        ({"stage_id": stage("installation", "planning")}, "stage_of_other_pipeline"),
        ({"pipeline_id": id_of("leads")}, "wrong_element_type"),
    ],
)
async def test_a_command_that_names_what_is_not_there(house: House, anna: httpx.AsyncClient, own: dict[str, Any], code: str) -> None:
    id = str(uuid4())
    body = {"pipeline_id": SALES, "fields": deals.PartialDealFields(title="x"), "automation": "on", **own}
    await house.hear(deals.CreateDeal(request_id=id, deal_id=id, **body))

    assert (await house.one("CommandRejected"))["code"] == code


@pytest.mark.parametrize(
    ("query", "status"),
    [("stage_id=nonsense", 422), ("deleted=maybe", 422), ("amount_from=much", 422), ("colour=red", 400), ("sort=colour", 400)],
)
async def test_bad_filters_are_named(anna: httpx.AsyncClient, query: str, status: int) -> None:
    assert (await anna.get(f"/v1/deals?{query}")).status_code == status


@pytest.mark.parametrize(
    ("own", "status", "code"),
    [
        ({"owner_id": id_of("nobody")}, 422, "unknown_reference"),
        ({"template_code": "other"}, 409, "unknown_template"),
        ({"owner_type": "company", "owner_id": MUSTER}, 409, "unknown_template"),
        ({"template_code": "company"}, 409, "unknown_template"),
        ({"fields": {"nothing": "x"}}, 422, "validation_failed"),
        ({"addresses": {"secret": {"city": "x"}}}, 422, "validation_failed"),
    ],
)
async def test_bad_details_are_refused(anna: httpx.AsyncClient, own: dict[str, Any], status: int, code: str) -> None:
    body = {"owner_type": "contact", "owner_id": PETRA, "template_code": "person", **own}
    answer = await anna.post("/v1/details", json=body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"code": "sales"}, 409, "code_taken"),
        ({"stages": stages("x", "new", "won")}, 409, "stage_kind_missing"),
        ({"owner_id": id_of("nobody")}, 422, "unknown_reference"),
        ({"zone": "Mars/Olympus"}, 422, "validation_failed"),
        ({"stages": [{**stages("x", "new")[0], "required_fields": ["nothing"]}, *stages("x", "won", "lost")]}, 422, "validation_failed"),
        ({"element_type": "invoice"}, 422, "validation_failed"),
    ],
)
async def test_a_bad_pipeline_is_refused(anna: httpx.AsyncClient, body: dict[str, Any], status: int, code: str) -> None:
    good = {"code": "x", "name": "X", "owner_id": OLAF, "stages": stages("x", "new", "won", "lost")}
    answer = await anna.post("/v1/pipelines", json=good | body)

    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_an_id_is_given_once(anna: httpx.AsyncClient) -> None:
    body = {"id": id_of("mine"), "pipeline_id": SALES, "title": "Roof", "lines": [ROW]}
    first = await anna.post("/v1/deals", json=body)
    again = await anna.post("/v1/deals", json=body)
    other = await anna.post("/v1/deals", json={**body, "title": "House"})

    assert (first.status_code, again.status_code, again.json()) == (201, 200, first.json())
    assert (other.status_code, other.json()["code"]) == (409, "id_taken")
    petra = await anna.post("/v1/contacts", json={"id": PETRA, "last_name": "Other"})
    assert (petra.status_code, petra.json()["code"]) == (409, "id_taken")


async def test_an_old_version_changes_nothing(anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    await anna.patch(f"/v1/deals/{deal['id']}", json={"title": "One"}, headers={"If-Match": '"1"'})
    stale = await anna.patch(f"/v1/deals/{deal['id']}", json={"title": "Two"}, headers={"If-Match": '"1"'})
    assert (stale.status_code, stale.headers["etag"], stale.json()["code"]) == (412, '"2"', "version_conflict")
    missing = await anna.patch(f"/v1/deals/{deal['id']}", json={"title": "Two"})
    assert missing.status_code == 428
    assert (await anna.get(f"/v1/deals/{deal['id']}")).json()["title"] == "One"


async def test_one_key_is_for_one_request(anna: httpx.AsyncClient) -> None:
    body = {"pipeline_id": SALES, "title": "Once"}
    first = await anna.post("/v1/deals", json=body, headers={"Idempotency-Key": "k"})
    again = await anna.post("/v1/deals", json=body, headers={"Idempotency-Key": "k"})
    other = await anna.post("/v1/deals", json={**body, "title": "House"}, headers={"Idempotency-Key": "k"})

    assert (again.json(), again.headers["idempotency-replayed"]) == (first.json(), "true")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert len((await anna.get("/v1/deals?q=once")).json()["items"]) == 1


def spoilt(house: House, data: bytes, **own: Any) -> KafkaRecord:
    """A command whose body is not what it says."""
    id = str(uuid4())
    fields = deals.PartialDealFields(title="x")
    good = deals.CreateDeal(request_id=id, deal_id=id, pipeline_id=SALES, fields=fields, automation="on")
    record = house.record(good)
    return KafkaRecord(record.topic, 0, record.offset, 0, record.key, data, record.headers)


@pytest.mark.parametrize(
    "data",
    [
        b"{}",
        b"not json",
        b'{"request_id": "x"}',
        b'{"request_id": "00000000-0000-4000-8000-000000000001", "colour": NaN}',
        b"[" * 40 + b"]" * 40,
        b"",
    ],
)
async def test_an_unreadable_command_is_answered(house: House, anna: httpx.AsyncClient, data: bytes) -> None:
    deal = await roof(anna)
    await house.forget()
    move = deals.MoveToStage(
        request_id=id_of("a"), element_type="deal", element_id=deal["id"], stage_id=stage("sales", "won"), origin=origin()
    )
    await house.hear(spoilt(house, data), move)

    assert (await house.one("CommandRejected"))["code"] == "invalid_body"
    assert (await house.one("StageChanged"))["request_id"] == id_of("a")


async def test_a_command_for_a_deal_of_another_tenant_is_for_nobody(house: House, anna: httpx.AsyncClient) -> None:
    move = deals.MoveToStage(
        request_id=id_of("a"), element_type="deal", element_id=id_of("theirs"), stage_id=stage("sales", "won"), origin=origin()
    )
    await house.hear(move)
    assert (await house.one("CommandRejected"))["code"] == "not_found"


async def test_the_id_of_what_is_made_is_the_request(house: House, anna: httpx.AsyncClient) -> None:
    await house.hear(deals.CreateCompany(request_id=id_of("a"), company_id=id_of("b"), name="X"))
    refused = await house.one("CommandRejected")
    assert (refused["code"], refused["errors"][0]["pointer"]) == ("invalid_body", "/request_id")


async def test_a_wrong_value_in_a_command_is_named(house: House, anna: httpx.AsyncClient) -> None:
    id = str(uuid4())
    fields = deals.PartialDealFields(title="x", currency="ABC", amount="1.00")
    await house.hear(deals.CreateDeal(request_id=id, deal_id=id, pipeline_id=SALES, fields=fields, automation="on"))
    refused = await house.one("CommandRejected")
    assert (refused["code"], refused["errors"][0]["pointer"], refused["errors"][0]["code"]) == (
        "validation_failed",
        "/fields/currency",
        "unknown_currency",
    )
