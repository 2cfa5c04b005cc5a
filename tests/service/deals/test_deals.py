"""Deals over HTTP and Kafka: creation, moves, copies, restoration, and what they say."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4, uuid5

import httpx

from shared.contracts import deals
from tests.service.deals.conftest import ANNA, BEN, INSTALLATION, MUSTER, PETRA, SALES, id_of, made, moved, roof, stage
from tests.service.house import House, origin


def visit(deal: dict[str, Any], n: int) -> str:
    return str(uuid5(UUID(deal["id"]), f"visit/{n}"))


async def test_a_deal_is_made_with_rows_customer_and_responsible(house: House, anna: httpx.AsyncClient) -> None:
    answer = await anna.post("/v1/deals", json={"pipeline_id": SALES, "title": "Roof", "contact_ids": [PETRA], "custom": {"size": "s"}})
    deal = answer.json()

    assert (answer.status_code, answer.headers["location"], answer.headers["etag"]) == (201, f"/v1/deals/{deal['id']}", '"1"')
    assert (deal["responsible_id"], deal["created_by"], deal["primary_contact_id"]) == (ANNA, ANNA, PETRA)
    assert (deal["stage_id"], deal["state"], deal["visit_id"]) == (stage("sales", "new"), "open", visit(deal, 1))
    shown = await anna.get(f"/v1/deals/{deal['id']}")
    assert shown.json() == deal
    said = await house.one("DealCreated")
    assert (said["visit_id"], said["automation"], said["origin"]["kind"], said["request_id"]) == (deal["visit_id"], "on", "person", None)
    assert (said["fields"]["custom"], said["arrived_at"]) == ({"size": "s"}, "2026-03-02T08:00:00.000Z")


async def test_the_amount_follows_the_rows(anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    assert (deal["amount"], deal["amount_mode"]) == ("100.00", "from_lines")

    lines = [{"name": "Tiles", "unit_price": "0.335", "quantity": "3", "tax_rate": "19"}]
    answer = await anna.patch(f"/v1/deals/{deal['id']}", json={"lines": lines}, headers={"If-Match": '"1"'})
    assert (answer.status_code, answer.json()["amount"]) == (200, "1.01")


async def test_a_move_begins_the_next_visit(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    after = await moved(anna, deal, "payment-expected")

    assert (after["visit_number"], after["visit_id"], after["version"]) == (2, visit(deal, 2), 2)
    said = await house.one("StageChanged")
    assert (said["from_visit_id"], said["visit_id"], said["reason"]) == (visit(deal, 1), visit(deal, 2), "person")
    assert said["amount"] == {"amount": "100.00", "currency": "EUR"}


async def test_a_move_to_the_same_stage_changes_nothing(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    after = await moved(anna, deal, "new")

    assert after == deal
    assert await house.said("StageChanged") == []


async def test_required_fields_hold_up_a_move(anna: httpx.AsyncClient) -> None:
    path = f"/v1/pipelines/{SALES}/stages/{stage('sales', 'lost')}"
    changed = await anna.patch(path, json={"required_fields": ["loss_reason", "uf.size"]}, headers={"If-Match": '"1"'})
    assert changed.status_code == 200, changed.text
    deal = await roof(anna)

    answer = await anna.post(f"/v1/deals/{deal['id']}/stage-changes", json={"stage_id": stage("sales", "lost")})
    assert (answer.status_code, answer.json()["code"]) == (409, "required_fields_missing")
    assert [fault["pointer"] for fault in answer.json()["errors"]] == ["/loss_reason", "/uf.size"]
    await anna.patch(f"/v1/deals/{deal['id']}", json={"custom": {"size": "m"}}, headers={"If-Match": '"1"'})
    assert (await moved(anna, deal, "lost", loss_reason="price"))["state"] == "lost"


async def test_a_trigger_moves_only_out_of_the_visit_it_judged(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    await moved(anna, deal, "payment-expected")
    move = {"element_type": "deal", "element_id": deal["id"], "stage_id": stage("sales", "approval"), "decision_id": id_of("decision")}

    await house.hear(deals.MoveToStage(request_id=id_of("a"), if_visit_id=visit(deal, 1), origin=origin(kind="trigger"), **move))
    refused = await house.one("CommandRejected")
    assert (refused["code"], refused["request_id"], refused["element_id"]) == ("visit_changed", id_of("a"), deal["id"])

    await house.forget()
    record = house.record(
        deals.MoveToStage(request_id=id_of("b"), if_visit_id=visit(deal, 2), origin=origin(kind="trigger"), **move), actor=f"user:{ANNA}"
    )
    await house.hear(record)
    said = await house.one("StageChanged")
    assert (said["reason"], said["decision_id"], said["request_id"]) == ("trigger", id_of("decision"), id_of("b"))

    again = deals.MoveToStage(request_id=id_of("c"), origin=origin(kind="trigger"), **move)
    await house.hear(again)
    assert (await house.one("CommandRejected"))["code"] == "already_there"


async def test_a_repeated_command_is_silent(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    await house.forget()
    move = deals.MoveToStage(
        request_id=id_of("a"), element_type="deal", element_id=deal["id"], stage_id=stage("sales", "approval"), origin=origin()
    )
    await house.hear(move, move)

    assert [message.name for message in await house.said()] == ["StageChanged"]


async def test_commands_of_another_back_end(house: House, anna: httpx.AsyncClient) -> None:
    id = str(uuid4())
    fields = deals.PartialDealFields(title="From the shop", contact_ids=(PETRA,), amount="12.50")
    create = deals.CreateDeal(request_id=id, deal_id=id, pipeline_id=SALES, fields=fields, automation="on")
    await house.hear(create, create)
    said = await house.one("DealCreated")
    assert (said["request_id"], said["origin"]["kind"], said["fields"]["amount"]) == (id, "api", "12.50")

    await house.forget()
    await house.hear(deals.ChangeDealFields(request_id=id_of("x"), deal_id=id, changes={"title": "Shop", "nothing": 1}))
    refused = await house.one("CommandRejected")
    assert (refused["code"], refused["errors"][0]["pointer"]) == ("validation_failed", "/nothing")

    await house.forget()
    await house.hear(deals.ChangeDealFields(request_id=id_of("y"), deal_id=id, changes={"title": "Shop"}))
    assert (await house.one("DealFieldsChanged"))["changes"] == {"title": {"before": "From the shop", "after": "Shop"}}


async def test_a_copy_carries_everything_but_dates_and_stage(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna, observer_ids=[BEN], close_date="2026-05-01")
    await moved(anna, deal, "won")
    copy = deals.CopyDeal(
        request_id=id_of("copy"), source_deal_id=deal["id"], pipeline_id=INSTALLATION, responsible_id=BEN, origin=origin()
    )
    await house.forget()
    await house.hear(copy, copy)

    assert [message.name for message in await house.said()] == ["DealCopied", "DealCreated"]
    assert (await house.one("DealCopied"))["request_id"] == id_of("copy")
    made_copy = (await anna.get(f"/v1/deals/{id_of('copy')}")).json()
    assert (made_copy["title"], made_copy["stage_id"], made_copy["responsible_id"]) == (
        "Roof 2026 (Kopie)",
        stage("installation", "planning"),
        BEN,
    )
    assert (made_copy["copied_from"], made_copy["begin_date"], made_copy["close_date"]) == (deal["id"], "2026-03-02", None)
    same = ("amount", "currency", "contact_ids", "company_id", "observer_ids", "custom", "prices_include_tax")
    assert {name: made_copy[name] for name in same} == {name: deal[name] for name in same}
    source = (await anna.get(f"/v1/deals/{deal['id']}")).json()
    assert (source["state"], source["copies"]) == ("won", [{"id": id_of("copy"), "name": "Roof 2026 (Kopie)"}])


async def test_the_copy_of_a_copy_by_hand_is_numbered(anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    first = await made(anna, f"/v1/deals/{deal['id']}/copies", pipeline_id=INSTALLATION)
    second = await made(anna, f"/v1/deals/{first['id']}/copies", pipeline_id=SALES)
    named = await made(anna, f"/v1/deals/{deal['id']}/copies", pipeline_id=SALES, name="Montage Roof")

    assert (first["title"], second["title"], named["title"]) == ("Roof 2026 (Kopie)", "Roof 2026 (Kopie 2)", "Montage Roof")


async def test_a_copy_has_nowhere_to_go(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    assert (await anna.post(f"/v1/pipelines/{INSTALLATION}/archivals", json={})).status_code == 200

    await house.hear(deals.CopyDeal(request_id=id_of("copy"), source_deal_id=deal["id"], pipeline_id=INSTALLATION, origin=origin()))
    assert (await house.one("CommandRejected"))["code"] == "target_missing"


async def test_a_deleted_deal_comes_back_in_the_same_visit(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    await moved(anna, deal, "approval")
    assert (await anna.delete(f"/v1/deals/{deal['id']}", headers={"If-Match": '"2"'})).status_code == 204
    assert (await anna.get("/v1/deals")).json()["items"] == []
    assert (await anna.get("/v1/deals?deleted=true")).json()["items"][0]["state"] == "deleted"
    move = await anna.post(f"/v1/deals/{deal['id']}/stage-changes", json={"stage_id": stage("sales", "won")})
    assert (move.status_code, move.json()["code"]) == (409, "deal_deleted")

    restored = await anna.post(f"/v1/deals/{deal['id']}/restorations", json={})
    assert (restored.status_code, restored.json()["state"], restored.json()["rearmable_visit_id"]) == (200, "open", visit(deal, 2))
    assert [message.name for message in await house.said("StageChanged", "DealDeleted", "DealRestored")] == [
        "StageChanged",
        "DealDeleted",
        "DealRestored",
    ]


async def test_undo_spares_what_anna_worked_on(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    await anna.patch(f"/v1/deals/{deal['id']}", json={"title": "Roof"}, headers={"If-Match": '"1"'})
    await house.hear(deals.DeleteDeal(request_id=id_of("undo"), deal_id=deal["id"], if_untouched=True, origin=origin()))

    assert (await house.one("CommandRejected"))["code"] == "has_been_touched"


async def test_a_repeated_customer_is_noticed(house: House, anna: httpx.AsyncClient) -> None:
    first = await roof(anna)
    assert not first["repeat_customer"]
    await moved(anna, first, "won")
    won = deals.StageChanged.model_validate_json(json.dumps(await house.one("StageChanged")))
    await house.hear(house.record(won, id="won"), house.record(won, id="won again"))

    assert (await roof(anna))["repeat_customer"]
    later = await roof(anna, contact_ids=[], company_id=None)
    assert not later["repeat_customer"]
    changed = await anna.patch(f"/v1/deals/{later['id']}", json={"company_id": MUSTER}, headers={"If-Match": '"1"'})
    assert changed.json()["repeat_customer"]


async def test_history_and_the_state_as_it_was(anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    await moved(anna, deal, "approval")

    assert (await anna.get(f"/v1/deals/{deal['id']}?version=1")).json() == deal
    events = (await anna.get(f"/v1/deals/{deal['id']}/events")).json()["items"]
    assert [event["type"] for event in events] == ["DealCreated", "DealMoved"]
    history = (await anna.get(f"/v1/deals/{deal['id']}/stage-history")).json()["items"]
    assert [(row["visit_number"], row["reason"]) for row in history] == [(2, "person"), (1, "created")]
    answer = await anna.get(f"/v1/stage-history?pipeline_id={SALES}&reason=person")
    assert answer.status_code == 200, answer.text
    everywhere = answer.json()["items"]
    assert [row["element_id"] for row in everywhere] == [deal["id"]]


async def test_lists_are_filtered_and_sorted(anna: httpx.AsyncClient) -> None:
    await roof(anna, title="Small roof", lines=[], amount="10.00")
    large = await roof(anna, title="Large house", contact_ids=[], company_id=None, custom={"size": "xl"})
    await moved(anna, large, "approval")

    async def titles(query: str) -> list[str]:
        answer = await anna.get(f"/v1/deals?{query}")
        assert answer.status_code == 200, answer.text
        return [deal["title"] for deal in answer.json()["items"]]

    assert await titles("sort=amount") == ["Small roof", "Large house"]
    assert await titles(f"contact_id={PETRA}") == ["Small roof"]
    assert await titles(f"stage_id={stage('sales', 'approval')},{stage('sales', 'won')}") == ["Large house"]
    assert await titles("amount_from=50&amount_to=200") == ["Large house"]
    assert await titles("uf.size=xl") == ["Large house"]
    assert await titles("q=house%20large") == ["Large house"]
    assert await titles(f"company_id={MUSTER}&responsible_id={ANNA}") == ["Small roof"]


async def test_a_board_shows_each_stage_with_sums(anna: httpx.AsyncClient) -> None:
    await roof(anna)
    await roof(anna)
    await moved(anna, await roof(anna, currency="CHF"), "approval")
    board = (await anna.get(f"/v1/boards/{SALES}?limit=1")).json()

    by_code = {column["code"]: column for column in board["stages"]}
    assert (by_code["new"]["count"], len(by_code["new"]["items"])) == (2, 1)
    assert by_code["new"]["sums"] == [{"amount": "200.00", "currency": "EUR"}]
    assert by_code["approval"]["sums"] == [{"amount": "100.00", "currency": "CHF"}]
    assert by_code["won"]["count"] == 0


async def test_many_deals_move_each_for_itself(house: House, anna: httpx.AsyncClient) -> None:
    first, second = await roof(anna), await roof(anna)
    await anna.delete(f"/v1/deals/{second['id']}", headers={"If-Match": '"1"'})
    body = {"deal_ids": [first["id"], second["id"], id_of("nobody")], "stage_id": stage("sales", "approval")}
    answer = await anna.post("/v1/deals/stage-changes", json=body, headers={"Idempotency-Key": "bulk"})

    outcomes = [(item["status"], item.get("code")) for item in answer.json()["items"]]
    assert outcomes == [(200, None), (409, "deal_deleted"), (404, "not_found")]
    assert (await house.one("StageChanged"))["reason"] == "bulk"
    again = await anna.post("/v1/deals/stage-changes", json=body, headers={"Idempotency-Key": "bulk"})
    assert again.json() == answer.json()


async def test_imported_deals_start_no_rules_and_are_imported_once(house: House, anna: httpx.AsyncClient) -> None:
    rows = [{"external_id": "a", "pipeline_id": SALES, "title": "Old"}, {"external_id": "b", "pipeline_id": id_of("nowhere"), "title": "x"}]
    first = await anna.post("/v1/deals/imports", json={"rows": rows})
    again = await anna.post("/v1/deals/imports", json={"rows": [{**rows[0], "title": "Newer"}]})

    assert [item["status"] for item in first.json()["items"]] == [201, 422]
    assert (again.json()["items"][0]["status"], again.json()["items"][0]["id"]) == (200, first.json()["items"][0]["id"])
    said = await house.one("DealCreated")
    assert (said["automation"], said["origin"]["kind"]) == ("suppressed", "import")
