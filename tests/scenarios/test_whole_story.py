"""The whole story, from a new deal to the lead half a year later (scenarios.md 5).

Row 14, the what-if replay, waits until there is one."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from shared.testing.stack import Stack
from tests.scenarios.ground import SERVICES, Ground
from tests.scenarios.one_process import OneProcess, one_process
from tests.scenarios.rules import example

RULES = example(
    *("inv", "link", "mail", "paid", "call", "renewal", "install"),
    inv={"stage": "sales/payment-expected", "settings": {"issue": True}},
    link={"execution": "after_previous"},
    call={"stage": "sales/collect-goods"},
)
IN_ORDER = (
    "billing.InvoiceCreated",
    "billing.InvoiceIssued",
    "billing.PaymentDocumentCreated",
    "billing.PaymentLinkCreated",
    "notifications.NoticeDelivered",
)
LEDGER = {"inv/invoice": 1, "link/link": 1, "mail/to:1": 1, "call/activity": 1, "install/copy": 1, "renewal/lead": 1}
CHAIN = {
    "billing.PaymentReceived",
    "billing.InvoicePaid",
    "deals.MoveToStage",
    "deals.StageChanged",
    "scheduler.PlanActivity",
    "scheduler.ActivityPlanned",
    "notifications.NoticeDelivered",
}


@pytest.fixture(scope="module")
async def place(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[OneProcess]:
    """A World of its own: at the end everything that was ever said in it is said again."""
    async with one_process(stack, tmp_path_factory.mktemp("town")) as found:
        yield found


@pytest.mark.shows("S8", "S18", "S20", "S27", "S29", "S30", "S41", "S42", "S51", "S79", "S92", "S112", "S114")
async def test_from_a_new_deal_to_the_lead_half_a_year_later(ground: Ground, place: OneProcess, request: pytest.FixtureRequest) -> None:
    deal = ground.cast["D"]
    await ground.apply(RULES)

    await ground.move("payment-expected")
    url = await _invoiced_then_linked_then_mailed(ground)

    await ground.advance(to="2026-03-03T09:15:00Z")
    await ground.pay_by_link(url, twice=True)
    await _paid_once_and_moved(ground)
    [activity] = await ground.items("scheduler", "/v1/activities", element_id=deal)
    assert activity["starts_at"] == "2026-03-04T13:00:00.000Z"
    assert [mail.to for mail in await ground.mails("clara")] == ["Clara Dachs <clara@acme.test>"]

    await ground.advance(to="2026-03-05T08:00:00Z")
    await ground.move("won")
    await _done_copied_and_planned(ground, activity["id"])

    await _nothing_happens_for_half_a_year(ground, place, disturbed=request.node.callspec.params["ground"] != "plain")
    await ground.advance(to="2026-09-01T07:00:00Z")
    [lead] = await ground.items("deals", "/v1/leads", source_deal_id=deal)
    shown = await ground.look("deals", f"/v1/leads/{lead['id']}")
    assert (shown["title"], shown["repeat"], shown["responsible_id"]) == ("Renewal Muster GmbH", True, ground.cast["anna"])
    assert await ground.state("renewal") == "succeeded"

    await _the_ledger_is_exact(ground)
    await _the_renewal_is_explained(ground, lead["id"])
    await _one_chain_from_the_payment_to_the_call(ground)
    await _built_anew_and_said_again_nothing_changes(ground, place)


async def _invoiced_then_linked_then_mailed(ground: Ground) -> str:
    deal = ground.cast["D"]
    assert [said.name for said in await ground.said(*IN_ORDER, about=deal)] == list(IN_ORDER)
    ended = [(said.body["rule_type"], said.body["outcome"]) for said in await ground.said("automation.RunCompleted")]
    assert ended == [(each, "succeeded") for each in ("create_from", "create_payment_link", "send_email")]
    [invoice] = await ground.items("billing", "/v1/invoices", deal_id=deal)
    assert (invoice["number"], invoice["total"]["amount"]) == ("RE-2026-0001", "100.00")
    [document] = await ground.items("billing", "/v1/payment-documents", deal_id=deal)
    assert document["invoice_id"] == invoice["id"]
    url = str((await ground.one("billing.PaymentLinkCreated")).body["url"])
    assert [url in mail.text for mail in await ground.mails()] == [True]
    return url


async def _paid_once_and_moved(ground: Ground) -> None:
    deal = ground.cast["D"]
    await ground.one("billing.PaymentReceived")
    await ground.one("billing.PaymentDocumentPaid")
    assert (await ground.one("billing.InvoicePaid")).body["epoch"] == 1
    assert (await ground.one("automation.TriggerDecided")).body["outcome"] == "moved"
    moved = (await ground.said("deals.StageChanged", about=deal))[-1]
    assert (moved.body["visit_number"], moved.actor) == (3, f"user:{ground.cast['anna']}")
    assert moved.body["origin"]["kind"] == "trigger" and await ground.stage() == "sales/collect-goods"
    assert {"invoice_paid", "moved"} <= {line["what"] for line in await ground.timeline()}
    assert [notice["topic"] for notice in await ground.feed()].count("payment") >= 1


async def _done_copied_and_planned(ground: Ground, activity: str) -> None:
    shown = await ground.look("scheduler", f"/v1/activities/{activity}")
    assert shown["state"] == "completed" and (await ground.one("scheduler.ActivityCompleted")).body["by"] == "automation"
    query = {"employee_id": ground.cast["anna"], "from": "2026-03-04", "to": "2026-03-05"}
    assert [entry["id"] for entry in (await ground.look("scheduler", "/v1/calendar-entries", **query))["items"]] == [activity]
    [copy] = await ground.items("deals", "/v1/deals", copied_from=ground.cast["D"])
    assert (copy["title"], ground.name_of(copy["stage_id"], "/")) == ("Roof 2026 (Kopie)", "installation/planning")
    assert copy["responsible_id"] == ground.cast["ben"]
    assert (await ground.one("scheduler.TimerSet")).body["due_at"] == "2026-09-01T07:00:00.000Z"


async def _nothing_happens_for_half_a_year(ground: Ground, place: OneProcess, *, disturbed: bool) -> None:
    """All services are stopped and started once a week; under a disturbance less often, which costs less."""
    await ground.settle()
    before = [said.id for said in await ground.said()]
    for weeks in (4, 12, 9) if disturbed else (1,) * 25:
        await ground.advance(timedelta(weeks=weeks))
        await place.restart()
        assert len(await ground.items("automation", "/v1/horizon", element_id=ground.cast["D"])) == 1
    assert [said.id for said in await ground.said()] == before


async def _the_ledger_is_exact(ground: Ground) -> None:
    steps: Counter[str] = Counter()
    for rule in ("inv", "link", "mail", "call", "install", "renewal"):
        steps.update(f"{rule}/{step['name']}" for run in await ground.runs(rule) for step in run["steps"])
    assert steps == LEDGER
    assert [decision["outcome"] for decision in await ground.decisions()] == ["moved"]
    assert len(await ground.mails()) == 1


async def _the_renewal_is_explained(ground: Ground, lead: str) -> None:
    rule = await ground.rule_id("renewal")
    told = await ground.look("automation", "/v1/explanations", element_id=ground.cast["D"], rule_id=rule)
    assert told["verdict"] == "ran"
    whole = str(told)
    assert all(part in whole for part in ("180 days", "2026-03-05T08:00", "2026-09-01T07:00", "its timer fired", lead)), whole
    assert ("Version 1 was in force." in whole, "There is no condition." in whole) == (True, True)


async def _one_chain_from_the_payment_to_the_call(ground: Ground) -> None:
    payment = await ground.one("billing.PaymentReceived")
    chain = [said for said in await ground.said() if said.correlation == payment.correlation]
    assert {said.name for said in chain} >= CHAIN
    traced = [item for service in SERVICES for item in await _trace(ground, service, payment.correlation)]
    known = {said.id for said in chain} | {str(value) for item in traced for value in item.values()}
    assert len({said.cause for said in chain if said.cause not in known}) <= 1, "the chain has one beginning"


async def _trace(ground: Ground, service: str, correlation: str) -> list[Any]:
    answer = await ground.door(service, "ground").get(f"/ops/trace/{correlation}")
    assert answer.json()["items"] != [], service
    return list(answer.json()["items"])


async def _built_anew_and_said_again_nothing_changes(ground: Ground, place: OneProcess) -> None:
    before, said = await _looks(ground), {each.id for each in await ground.said()}
    for service in SERVICES:
        await _rebuild_all(ground, service)
    assert await _looks(ground) == before
    await place.republish()
    assert await _looks(ground) == before
    assert {each.id for each in await ground.said()} == said


async def _looks(ground: Ground) -> list[Any]:
    deal = ground.cast["D"]
    lists = [
        ("deals", f"/v1/deals/{deal}/timeline"),
        ("deals", "/v1/deals"),
        ("deals", "/v1/leads"),
        ("automation", "/v1/runs"),
        ("automation", "/v1/trigger-decisions"),
        ("billing", "/v1/invoices"),
        ("billing", "/v1/payments"),
        ("scheduler", "/v1/activities"),
        ("scheduler", "/v1/timers"),
        ("notifications", "/v1/notices"),
    ]
    shown = [sorted(map(str, await ground.items(service, path))) for service, path in lists]
    return [*shown, await ground.show(), await ground.feed(), len(await ground.place.mails(ground.tenant))]


async def _rebuild_all(ground: Ground, service: str) -> None:
    """Asked for a view that is not there, a service names those that are."""
    door = ground.door(service, "ground")
    unknown = await door.post("/ops/rebuilds", json={"view": "no_such_view"})
    views = unknown.json()["detail"].partition(": ")[2].rstrip(".").split(", ")
    assert unknown.status_code == 404 and len(views) > 1, unknown.text
    for view in views:
        answer = await door.post("/ops/rebuilds", json={"view": view})
        assert answer.status_code == 202, answer.text
        while any(run["status"] == "running" for run in (await door.get("/ops/rebuilds")).json()["items"]):
            pass
    assert {run["status"] for run in (await door.get("/ops/rebuilds")).json()["items"]} == {"done"}
