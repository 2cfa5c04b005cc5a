"""Contacts, companies and their details, by people and by rules (scenario 3.4)."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from shared.contracts import deals
from tests.service.deals.conftest import MUSTER, PETRA, SALES, id_of, made, roof
from tests.service.house import House, origin

BUSINESS = {"street": "Altweg", "house": "1", "city": "Ulm"}
DELIVERY = {"street": "Hafenstr.", "house": "12", "postal_code": "24103", "city": "Kiel", "country": "Germany"}


async def details(client: httpx.AsyncClient, **own: Any) -> dict[str, Any]:
    body = {
        "owner_type": "contact",
        "owner_id": PETRA,
        "template_code": "person",
        "fields": {"tax_number": "12/345"},
        "addresses": {"business": BUSINESS, "delivery": DELIVERY},
    }
    return await made(client, "/v1/details", **(body | own))


def renew(name: str = "renew", **own: Any) -> deals.ChangeDetails:
    body: dict[str, Any] = {
        "owner_type": "contact",
        "owner_id": PETRA,
        "template_code": "person",
        "address_type": "business",
        "fields": {"city": "Bremen", "house": "7", "street": "Neuweg", "postal_code": "28195"},
    }
    return deals.ChangeDetails(request_id=id_of(name), origin=origin(), **(body | own))


async def test_a_rule_renews_what_is_filled(house: House, anna: httpx.AsyncClient) -> None:
    record = await details(anna)
    await house.forget()
    await house.hear(renew())

    said = await house.one("DetailsChanged")
    assert said["changes"] == {
        "city": {"before": "Ulm", "after": "Bremen"},
        "house": {"before": "1", "after": "7"},
        "street": {"before": "Altweg", "after": "Neuweg"},
    }
    assert (said["unchanged"], said["request_id"], said["is_default"]) == ({"postal_code": "was_empty"}, id_of("renew"), True)
    listed = (await anna.get(f"/v1/details?owner_id={PETRA}")).json()["items"]
    assert [row["id"] for row in listed] == [record["id"]]
    assert listed[0]["addresses"] == {"business": {"street": "Neuweg", "house": "7", "city": "Bremen"}, "delivery": DELIVERY}

    await house.forget()
    await house.hear(renew("again"))
    assert (await house.one("CommandRejected"))["code"] == "nothing_to_change"


async def test_the_change_is_undone_unless_somebody_worked_on_it(house: House, anna: httpx.AsyncClient) -> None:
    record = await details(anna)
    await house.hear(renew())
    before = {path: change["before"] for path, change in (await house.one("DetailsChanged"))["changes"].items()}
    await house.forget()
    restore = deals.RestoreDetails(request_id=id_of("undo"), details_id=record["id"], if_sequence=2, before=before, origin=origin())
    await house.hear(restore)

    assert (await house.one("DetailsChanged"))["addresses"]["business"] == BUSINESS
    await house.forget()
    await house.hear(restore.model_copy(update={"request_id": id_of("undo again")}))
    assert (await house.one("CommandRejected"))["code"] == "has_been_touched"


@pytest.mark.parametrize(
    ("own", "code"),
    [
        ({"owner_id": id_of("nobody")}, "no_details"),
        ({"template_code": "other"}, "no_details"),
        ({"fields": {"tax_id_x": "1"}}, "unknown_field"),
        ({"address_type": None}, "address_type_missing"),
        ({"fields": {"city": ""}}, "nothing_to_change"),
    ],
)
async def test_what_a_rule_is_refused(house: House, anna: httpx.AsyncClient, own: dict[str, Any], code: str) -> None:
    await details(anna)
    await house.hear(renew(**own))

    assert (await house.one("CommandRejected"))["code"] == code
    assert len((await anna.get(f"/v1/details?owner_id={PETRA}")).json()["items"]) == 1


async def test_there_is_one_default_record(house: House, anna: httpx.AsyncClient) -> None:
    first = await details(anna)
    second = await details(anna)
    assert (first["is_default"], second["is_default"]) == (True, False)

    third = await details(anna, is_default=True)
    assert third["is_default"] and not (await anna.get(f"/v1/details/{first['id']}")).json()["is_default"]
    answer = await anna.patch(f"/v1/details/{second['id']}", json={"is_default": True}, headers={"If-Match": '"1"'})
    assert answer.status_code == 200, answer.text
    assert [row["id"] for row in (await anna.get("/v1/details?is_default=true")).json()["items"]] == [second["id"]]


async def test_of_records_made_at_once_one_is_the_default(anna: httpx.AsyncClient) -> None:
    answers = await asyncio.gather(
        *(anna.post("/v1/details", json={"owner_type": "contact", "owner_id": PETRA, "template_code": "person"}) for _ in range(4))
    )
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert len((await anna.get("/v1/details?is_default=true")).json()["items"]) == 1


async def test_people_edit_and_remove_a_record(house: House, anna: httpx.AsyncClient) -> None:
    record = await details(anna)
    body = {"fields": {"tax_number": None, "iban": "DE02"}, "addresses": {"business": {"city": "Bonn"}}}
    edited = await anna.patch(f"/v1/details/{record['id']}", json=body, headers={"If-Match": '"1"'})
    assert (edited.json()["fields"], edited.json()["addresses"]["business"]["city"]) == ({"iban": "DE02"}, "Bonn")
    assert (await house.one("DetailsChanged"))["changes"]["business.city"] == {"before": "Ulm", "after": "Bonn"}

    assert (await anna.delete(f"/v1/details/{record['id']}", headers={"If-Match": '"2"'})).status_code == 204
    assert (await anna.get("/v1/details")).json()["items"] == []


async def test_a_merged_contact_is_an_alias(house: House, anna: httpx.AsyncClient) -> None:
    record = await details(anna)
    survivor = await made(anna, "/v1/contacts", last_name="Muster-Neu")
    await house.forget()
    answer = await anna.post(f"/v1/contacts/{survivor['id']}/merges", json={"merged_id": PETRA})

    assert answer.status_code == 200, answer.text
    assert [m.name for m in await house.said()] == ["ContactsMerged", "DetailsChanged"]
    assert (await house.one("ContactsMerged"))["moved_details"] == [record["id"]]
    alias = (await anna.get(f"/v1/contacts/{PETRA}")).json()
    assert (alias["id"], alias["merged_from"]) == (survivor["id"], PETRA)
    assert (await roof(anna))["contact_ids"] == [survivor["id"]]
    await house.hear(renew())
    assert (await house.said("DetailsChanged"))[-1].body["owner_id"] == survivor["id"]
    again = await anna.post(f"/v1/contacts/{survivor['id']}/merges", json={"merged_id": PETRA})
    assert (again.status_code, again.json()["code"]) == (409, "already_merged")
    itself = await anna.post(f"/v1/contacts/{survivor['id']}/merges", json={"merged_id": survivor["id"]})
    assert (itself.status_code, itself.json()["code"]) == (409, "merge_into_itself")


async def test_a_deleted_contact_is_no_reference(house: House, anna: httpx.AsyncClient) -> None:
    assert (await anna.delete(f"/v1/contacts/{PETRA}", headers={"If-Match": '"1"'})).status_code == 204
    answer = await anna.post("/v1/deals", json={"pipeline_id": SALES, "title": "x", "contact_ids": [PETRA], "company_id": id_of("nobody")})

    assert (answer.status_code, answer.json()["code"]) == (422, "unknown_reference")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/contact_ids/0", "/company_id"]
    assert (await house.one("ContactDeleted"))["erased"] is False


async def test_contacts_are_found(anna: httpx.AsyncClient) -> None:
    for query in ("email=petra@example.org", f"company_id={MUSTER}", "q=petra%20muster"):
        assert [row["id"] for row in (await anna.get(f"/v1/contacts?{query}")).json()["items"]] == [PETRA], query
    assert [row["id"] for row in (await anna.get("/v1/companies?q=muster&sort=name")).json()["items"]] == [MUSTER]


async def test_commands_make_customers(house: House, anna: httpx.AsyncClient) -> None:
    id, other = id_of("karl"), id_of("karl ag")
    await house.hear(
        deals.CreateCompany(request_id=other, company_id=other, name="Karl AG"),
        deals.CreateContact(request_id=id, contact_id=id, first_name="Karl", last_name="", company_ids=(other,), zone="Europe/Atlantis"),
    )
    refused = await house.one("CommandRejected")
    assert (refused["code"], refused["errors"][0]["code"]) == ("validation_failed", "unknown_zone")

    await house.hear(deals.CreateContact(request_id=id, contact_id=id, first_name="Karl", last_name="", company_ids=(other,)))
    assert (await house.one("ContactCreated"))["fields"]["company_ids"] == [other]
