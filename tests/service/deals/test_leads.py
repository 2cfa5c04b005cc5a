"""Leads: recurring ones, open ones of the same customer, conversion."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from shared.contracts import deals
from tests.service.deals.conftest import ANNA, LEADS, MUSTER, PETRA, SALES, id_of, made, moved, roof, stage
from tests.service.house import House, origin


def create(name: str, **own: Any) -> deals.CreateLead:
    body = {"title": "Renewal", "contact_ids": (PETRA,), "company_id": MUSTER, "recurring": True, "skip_if_open_exists": False, **own}
    return deals.CreateLead(request_id=id_of(name), origin=origin(), **body)


async def test_a_rule_makes_a_recurring_lead(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    await house.forget()
    await house.hear(create("a", source_deal_id=deal["id"], responsible_id=ANNA))

    said = await house.one("LeadCreated")
    assert (said["request_id"], said["lead_id"], said["source_deal_id"]) == (id_of("a"), id_of("a"), deal["id"])
    assert (said["pipeline_id"], said["stage_id"], said["visit_number"]) == (LEADS, stage("leads", "fresh"), 1)
    assert (said["fields"]["repeat"], said["fields"]["company_id"]) == (True, MUSTER)
    assert [message.key for message in await house.said("LeadCreated")] == [id_of("a")]


async def test_without_a_customer_there_is_none(house: House, anna: httpx.AsyncClient) -> None:
    await house.hear(create("a", contact_ids=(), company_id=None))
    assert (await house.one("CommandRejected"))["code"] == "no_client"


@pytest.mark.parametrize("size", [1, 500])
async def test_an_open_lead_is_seen_wherever_the_batch_is_cut(house: House, anna: httpx.AsyncClient, size: int) -> None:
    careful = {"skip_if_open_exists": True}
    await house.hear(create("a", **careful), create("b", **careful), create("c"), create("d", **careful), size=size)

    assert [m.body["lead_id"] for m in await house.said("LeadCreated")] == [id_of("a"), id_of("c")]
    assert [(m.body["request_id"], m.body["code"]) for m in await house.said("CommandRejected")] == [
        (id_of("b"), "open_exists"),
        (id_of("d"), "open_exists"),
    ]


async def test_a_closed_lead_is_not_in_the_way(house: House, anna: httpx.AsyncClient) -> None:
    await house.hear(create("a"))
    await anna.post(f"/v1/leads/{id_of('a')}/stage-changes", json={"stage_id": stage("leads", "junk")})
    await house.hear(create("b", skip_if_open_exists=True))

    assert len(await house.said("LeadCreated")) == 2


async def test_a_tenant_without_lead_pipeline_is_told(house: House) -> None:
    house.tenant = uuid4()
    await house.hear(create("a"))
    assert (await house.one("CommandRejected"))["code"] == "target_missing"


async def test_a_lead_becomes_a_deal_with_its_customer(house: House, anna: httpx.AsyncClient) -> None:
    lead = await made(anna, "/v1/leads", title="Solar roof", company_id=MUSTER, amount="900.00")
    await house.forget()
    made_ids = {"deal_id": id_of("new deal"), "contact_id": id_of("new contact")}
    answer = await anna.post(f"/v1/leads/{lead['id']}/conversions", json={"targets": ["deal", "contact"], **made_ids})

    assert (answer.status_code, answer.json()["state"]) == (201, "converted")
    assert answer.json()["converted_to"] == {"deal": id_of("new deal"), "contact": id_of("new contact")}
    assert [m.name for m in await house.said()] == ["LeadConverted", "StageChanged", "ContactCreated", "DealCreated"]
    deal = (await anna.get(f"/v1/deals/{id_of('new deal')}")).json()
    assert (deal["title"], deal["pipeline_id"], deal["lead_id"], deal["amount"]) == ("Solar roof", SALES, lead["id"], "900.00")
    assert (deal["company_id"], deal["contact_ids"]) == (MUSTER, [id_of("new contact")])


async def test_a_rule_converts_and_leaves_the_lead_open(house: House, anna: httpx.AsyncClient) -> None:
    lead = await made(anna, "/v1/leads", title="Solar roof")
    await house.forget()
    convert = deals.CreateDealFromLead(
        request_id=id_of("convert"), lead_id=lead["id"], targets=("deal",), deal_id=id_of("deal"), close_lead=False, origin=origin()
    )
    await house.hear(convert, convert)

    assert [m.name for m in await house.said()] == ["LeadConverted", "DealCreated"]
    assert (await house.one("LeadConverted"))["closed"] is False
    assert (await house.one("DealCreated"))["request_id"] is None

    await house.forget()
    again = convert.model_copy(update={"request_id": id_of("again"), "deal_id": id_of("other")})
    await house.hear(again)
    assert (await house.one("CommandRejected"))["code"] == "already_converted"


async def test_a_conversion_needs_an_id_for_each_target(house: House, anna: httpx.AsyncClient) -> None:
    lead = await made(anna, "/v1/leads", title="Solar roof")
    convert = deals.CreateDealFromLead(
        request_id=id_of("x"), lead_id=lead["id"], targets=("deal", "company"), deal_id=id_of("d"), close_lead=False
    )
    await house.hear(convert)
    assert (await house.one("CommandRejected"))["code"] == "invalid_body"


async def test_leads_are_listed_changed_and_restored(anna: httpx.AsyncClient) -> None:
    lead = await made(anna, "/v1/leads", title="Solar", contact_ids=[PETRA], recurring=True)
    await anna.patch(f"/v1/leads/{lead['id']}", json={"title": "Solar roof"}, headers={"If-Match": '"1"'})
    assert [row["title"] for row in (await anna.get("/v1/leads?repeat=true")).json()["items"]] == ["Solar roof"]

    assert (await anna.delete(f"/v1/leads/{lead['id']}", headers={"If-Match": '"2"'})).status_code == 204
    assert (await anna.post(f"/v1/leads/{lead['id']}/restorations", json={})).json()["state"] == "open"
    kinds = [line["kind"] for line in (await anna.get(f"/v1/leads/{lead['id']}/timeline")).json()["items"]]
    assert sorted(kinds) == ["created", "deleted", "fields", "restored"]


async def test_a_deal_does_not_move_into_the_pipeline_of_leads(anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    answer = await anna.post(f"/v1/deals/{deal['id']}/stage-changes", json={"stage_id": stage("leads", "fresh")})

    assert (answer.status_code, answer.json()["code"]) == (409, "wrong_element_type")
    assert (await moved(anna, deal, "planning", "installation"))["visit_number"] == 2


async def test_a_rule_changes_fields_of_a_lead_and_is_answered(house: House, anna: httpx.AsyncClient) -> None:
    lead = await made(anna, "/v1/leads", title="Solar roof")
    await house.forget()
    changes = {"title": "Solar roof 2", "responsible_id": ANNA}
    await house.hear(deals.ChangeLeadFields(request_id=id_of("x"), lead_id=lead["id"], changes=changes, origin=origin()))
    said = await house.one("LeadFieldsChanged")
    assert (said["request_id"], said["changes"]["title"]) == (id_of("x"), {"before": "Solar roof", "after": "Solar roof 2"})

    await house.forget()
    await house.hear(
        deals.ChangeLeadFields(request_id=id_of("y"), lead_id=lead["id"], changes={"title": "Solar roof 2"}, origin=origin()),
        deals.ChangeLeadFields(request_id=id_of("z"), lead_id=lead["id"], changes={"close_date": "2026-01-01"}, origin=origin()),
    )
    codes = [(m.body["request_id"], m.body["code"]) for m in await house.said("CommandRejected")]
    assert codes == [(id_of("y"), "nothing_to_change"), (id_of("z"), "validation_failed")]


async def test_a_rule_moves_a_lead_out_of_its_visit(house: House, anna: httpx.AsyncClient) -> None:
    lead = await made(anna, "/v1/leads", title="Solar roof")
    await house.forget()
    to = {"element_type": "lead", "element_id": lead["id"], "stage_id": stage("leads", "junk"), "if_visit_id": lead["visit_id"]}
    await house.hear(*(deals.MoveToStage(request_id=id_of(name), origin=origin(), **to) for name in ("one", "two")))
    said = await house.one("StageChanged")
    assert (said["request_id"], said["reason"], said["from_visit_id"]) == (id_of("one"), "rule", lead["visit_id"])
    assert (await house.one("CommandRejected"))["code"] == "visit_changed"


async def test_what_a_lead_becomes_one_after_another_belongs_together(house: House, anna: httpx.AsyncClient) -> None:
    lead = await made(anna, "/v1/leads", title="Solar roof", amount="900.00")
    await house.forget()
    for target in ("company", "contact", "deal"):
        ids = {f"{target}_id": id_of(f"made {target}")}
        asked = {"lead_id": lead["id"], "targets": (target,), "close_lead": target == "deal", "title": "Solar roof, first part", **ids}
        await house.hear(deals.CreateDealFromLead(request_id=id_of(f"made {target}"), origin=origin(), **asked))
    assert [m.body["closed"] for m in await house.said("LeadConverted")] == [False, False, True]
    deal = (await anna.get(f"/v1/deals/{id_of('made deal')}")).json()
    assert (deal["title"], deal["amount"]) == ("Solar roof, first part", "900.00")
    assert (deal["contact_ids"], deal["company_id"]) == ([id_of("made contact")], id_of("made company"))
    contact = (await anna.get(f"/v1/contacts/{id_of('made contact')}")).json()
    assert (contact["last_name"], contact["company_ids"]) == ("Solar roof, first part", [id_of("made company")])
