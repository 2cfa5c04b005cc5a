"""The timeline: our own events and what the others say, newest first, in the pipeline's language (S19, S39, S40)."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import httpx

from shared.contracts import automation, billing, deals, notifications, scheduler
from shared.contracts.common import ElementRef, Money
from tests.service.deals.conftest import ANNA, id_of, moved, roof
from tests.service.house import House, at, origin

HUNDRED = Money(amount="100.00", currency="EUR")


def invoice_paid(house: House, deal_id: str | None) -> billing.InvoicePaid:
    return billing.InvoicePaid(
        origin=origin(kind="system", id=None),
        record_key=deal_id or id_of("invoice"),
        invoice_id=id_of("invoice"),
        deal_id=deal_id,
        epoch=1,
        number="RE-2026-0001",
        total=HUNDRED,
        held_before=Money(amount="0.00", currency="EUR"),
        paid_at=at(house.now),
        payment_ids=(id_of("payment"),),
        title="Roof",
        other_unpaid=(),
    )


def run(deal_id: str, **own: Any) -> automation.RunCompleted:
    return automation.RunCompleted(
        origin=origin(),
        run_id=id_of("run"),
        visit_id=id_of("visit"),
        element=ElementRef(element_type="deal", element_id=deal_id),
        rule_id=id_of("rule"),
        rule_version=1,
        rule_type="send_email",
        rule_name="Send link",
        rule_owner_id=ANNA,
        stage_id=id_of("stage"),
        outcome="succeeded",
        steps=(),
        **own,
    )


async def lines(client: httpx.AsyncClient, deal: dict[str, Any], query: str = "") -> list[dict[str, Any]]:
    answer = await client.get(f"/v1/deals/{deal['id']}/timeline{query}")
    assert answer.status_code == 200, answer.text
    return answer.json()["items"]  # type: ignore[no-any-return]


async def test_the_timeline_shows_the_invoice_and_the_move_it_caused(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    house.now += timedelta(minutes=1)
    paid = house.record(invoice_paid(house, deal["id"]), id="paid-1", actor=f"user:{ANNA}")
    await house.hear(paid, run(deal["id"]))
    house.now += timedelta(minutes=1)
    await moved(anna, deal, "approval")

    found = await lines(anna, deal)
    assert [(line["kind"], line["title"]) for line in found if line["kind"] != "run"] == [
        ("stage", "Stufe: New -> Approval"),
        ("invoice", "Rechnung RE-2026-0001 bezahlt, 100.00 EUR"),
        ("created", "Angelegt in New"),
    ]
    assert (found[0]["actor"], found[0]["origin"]["kind"]) == (f"user:{ANNA}", "person")
    invoice = next(line for line in found if line["kind"] == "invoice")
    assert (invoice["actor"], invoice["ref"]) == (f"user:{ANNA}", {"invoice_id": id_of("invoice")})
    assert [line["title"] for line in await lines(anna, deal, "?kinds=run,decision")] == ["Regel Send link: succeeded"]
    await house.hear(house.record(invoice_paid(house, deal["id"]), id="paid-1"))
    assert len(await lines(anna, deal)) == len(found)


async def test_what_names_no_deal_is_on_no_timeline(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    await house.hear(invoice_paid(house, None))

    assert [line["kind"] for line in await lines(anna, deal)] == ["created"]


async def test_messages_to_customers_are_told_and_notices_in_the_house_are_not(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    element = ElementRef(element_type="deal", element_id=deal["id"])
    for channel in ("in_app", "email"):
        await house.hear(
            notifications.NoticeDelivered(
                origin=origin(),
                notice_id=id_of(channel),
                channel=channel,
                recipient_kind="address",
                element=element,
                delivered_at=at(house.now),
                attempts=1,
            )
        )
    assert [line["title"] for line in await lines(anna, deal, "?kinds=message")] == ["Nachricht zugestellt (email)"]


async def test_activities_are_told(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    cancelled = scheduler.ActivityCancelled(
        origin=origin(),
        activity_id=id_of("activity"),
        element=ElementRef(element_type="deal", element_id=deal["id"]),
        reason="stage_left",
        uid="x",
        ical_sequence=1,
        invitee_ids=(),
    )
    await house.hear(cancelled)

    assert [line["title"] for line in await lines(anna, deal, "?kinds=activity")] == ["Aktivität abgesagt: stage_left"]


async def test_the_timeline_is_read_page_by_page(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    for n in range(5):
        house.now += timedelta(minutes=1)
        await house.hear(invoice_paid(house, deal["id"]))
        await moved(anna, deal, "approval" if n % 2 == 0 else "new")
    whole = await lines(anna, deal)

    paged, cursor = [], ""
    while True:
        page = (await anna.get(f"/v1/deals/{deal['id']}/timeline?limit=4{cursor}")).json()
        paged += page["items"]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert paged == whole and len(whole) == 11
    counted = (await anna.get(f"/v1/deals/{deal['id']}/timeline?include=total&limit=1")).json()
    assert counted["total"] == 11


async def test_nobody_else_has_a_timeline(anna: httpx.AsyncClient) -> None:
    assert (await anna.get(f"/v1/deals/{id_of('nobody')}/timeline")).status_code == 404


async def test_refusals_are_listed(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    move = {"element_type": "deal", "element_id": deal["id"], "stage_id": id_of("nowhere")}
    await house.hear(deals.MoveToStage.model_validate({"request_id": id_of("a"), **move}))
    said = json.dumps(await house.one("CommandRejected"))
    await house.hear(deals.CommandRejected.model_validate_json(said))

    items = (await anna.get(f"/v1/command-refusals?code=unknown_stage&element_id={deal['id']}")).json()["items"]
    assert [(row["command_type"], row["request_id"]) for row in items] == [("deals.MoveToStage.v1", id_of("a"))]
    assert (await anna.get("/v1/command-refusals?code=other")).json()["items"] == []
