"""Create from (scenarios.md 3.3)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.ground import Ground
from tests.scenarios.rules import example, one_rule, text_of

EVERYTHING = {"targets": ["quote", "invoice", "sign_document"], "responsible": "user:7"}


@pytest.mark.shows("S8", "S17", "S20", "S43", "S44", "S47", "S48", "S51", "S52", "S19", "S30")
async def test_an_invoice_is_made_from_the_deal_and_moves_it_when_paid(ground: Ground) -> None:
    await ground.apply(example("inv"))
    await ground.apply(example("paid", paid={"target_stage": "sales/delivery", "stage": "sales/delivery"}))

    await ground.move("additional-services")

    [listed] = await ground.items("billing", "/v1/invoices", deal_id=ground.cast["D"])
    invoice = await ground.look("billing", f"/v1/invoices/{listed['id']}")
    assert (invoice["status"], invoice["deal_id"], invoice["title"]) == ("draft", ground.cast["D"], "Roof 2026")
    assert [(line["name"], line["quantity"], line["unit_price"]) for line in invoice["lines"]] == [("Roof tiles", "1", "100.00")]
    assert _sums(invoice) == ("84.03", "15.97", "100.00")
    customer = {"contact_id": ground.cast["petra"], "company_id": ground.cast["muster"]}
    assert (invoice["customer"], invoice["responsible_id"]) == (customer, ground.cast["anna"])
    assert "invoice_created" in [line["what"] for line in await ground.timeline()]

    await ground.pay(invoice["id"])
    paid = await ground.look("billing", f"/v1/invoices/{listed['id']}")
    assert (paid["status"], paid["number"]) == ("paid", "RE-2026-0001")
    assert await ground.stage() == "sales/delivery"


def _sums(invoice: Any) -> tuple[str, str, str]:
    total = invoice["totals"]
    return total["net"], total["tax"], total["gross"]


@pytest.mark.shows("S43", "S48", "S49", "S50", "S17")
async def test_of_several_targets_only_the_failed_one_is_tried_again(ground: Ground) -> None:
    await ground.apply(one_rule("sales/additional-services", "all", "create_from", EVERYTHING))

    deal = await ground.arrive("additional-services", contact_ids=[], primary_contact_id=None)

    run = await ground.run("all", deal)
    assert (run["state"], {step["name"]: step["state"] for step in run["steps"]}) == (
        "partial",
        {"quote": "done", "invoice": "done", "sign_document": "failed"},
    )
    for plural in ("quotes", "invoices"):
        [made] = await ground.items("billing", f"/v1/{plural}", deal_id=deal)
        assert (await ground.look("billing", f"/v1/{plural}/{made['id']}"))["responsible_id"] == ground.cast["ben"]
    await ground.change("deals", f"/v1/deals/{deal}", {"contact_ids": [ground.cast["petra"]]})
    await ground.settle()
    await ground.put("automation", f"/v1/runs/{run['id']}/retries", {"retry_from": "step"})
    await ground.settle()

    assert await ground.state("all", deal) == "succeeded"
    counts = [len(await ground.items("billing", f"/v1/{each}", deal_id=deal)) for each in ("quotes", "invoices", "sign-documents")]
    assert counts == [1, 1, 1]


@pytest.mark.shows("S50")
async def test_a_second_visit_makes_a_second_invoice_unless_told_not_to(ground: Ground) -> None:
    await ground.apply(example("inv"))
    await ground.move("additional-services")
    await ground.move("new")
    await ground.move("additional-services")

    assert len(await ground.items("billing", "/v1/invoices", deal_id=ground.cast["D"])) == 2
    assert "other_open" in str(await ground.timeline()) + str(await ground.said("billing.InvoiceCreated"))

    await ground.apply(example("inv", inv={"settings": {"skip_if_open_exists": True}}))
    await ground.move("new")
    await ground.move("additional-services")
    assert await ground.state("inv") == "skipped(open_exists)"
    assert len(await ground.items("billing", "/v1/invoices", deal_id=ground.cast["D"])) == 2


@pytest.mark.shows("S44", "S47")
async def test_a_deal_without_lines_is_invoiced_by_its_amount(ground: Ground) -> None:
    await ground.apply(example("inv"))

    rich = await ground.arrive("additional-services", "Rich", lines=[], amount="250.00", amount_mode="manual")
    poor = await ground.arrive("additional-services", "Poor", lines=[], amount="0", amount_mode="manual")

    [made] = await ground.items("billing", "/v1/invoices", deal_id=rich)
    invoice = await ground.look("billing", f"/v1/invoices/{made['id']}")
    assert [line["unit_price"] for line in invoice["lines"]] == ["250.00"] and invoice["total"]["amount"] == "250.00"
    assert await ground.state("inv", poor) == "failed(nothing_to_invoice)"
    assert await ground.items("billing", "/v1/invoices", deal_id=poor) == []


@pytest.mark.shows("S9", "S45")
async def test_what_can_be_created_depends_on_the_source(calm_ground: Ground) -> None:
    offered = {}
    for element_type in ("lead", "deal"):
        types = await calm_ground.items_of("automation", "/v1/rule-types", element_type=element_type)
        schema = next(each for each in types if each["rule_type"] == "create_from")["settings"]
        offered[element_type] = set(schema["properties"]["targets"]["items"]["enum"])
    assert offered == {"lead": {"deal", "contact", "company"}, "deal": {"quote", "invoice", "sign_document"}}
    refused = await calm_ground.findings(one_rule("leads/talking", "wrong", "create_from", {"targets": ["invoice"]}))
    assert refused == {"target_not_offered"}


@pytest.mark.shows("S46", "S49")
async def test_a_lead_becomes_a_deal_and_stays(ground: Ground) -> None:
    await ground.apply(one_rule("leads/talking", "win", "create_from", {"targets": ["deal"]}))
    body = {"title": "Petra asks", "contact_ids": [ground.cast["petra"]], "responsible_id": ground.cast["anna"]}
    lead = (await ground.put("deals", "/v1/leads", body))["id"]
    await ground.settle()

    await ground.move("leads/talking", lead, kind="leads")

    [made] = [said for said in await ground.said("deals.DealCreated") if said.body["deal_id"] != ground.cast["D"]]
    deal = await ground.show(made.body["deal_id"])
    assert ground.name_of(deal["stage_id"], "/") == "sales/new" and deal["contact_ids"] == [ground.cast["petra"]]
    assert lead in str(deal) or lead in str(made.body)
    assert ground.name_of((await ground.look("deals", f"/v1/leads/{lead}"))["stage_id"], "/") == "leads/talking"


@pytest.mark.shows("S1")
async def test_every_kind_of_message_to_a_customer_is_offered(calm_ground: Ground) -> None:
    kinds = {"sms": "send_sms", "mail": "send_email", "call": "plan_activity"}
    rules = [
        {"id": "sms", "type": kinds["sms"], "settings": {"to": "+4930123456", "text": "Your order {{deal.title}} is confirmed"}},
        {"id": "mail", "type": kinds["mail"], "settings": {"subject": "Our offer", "body": "{{deal.title}}"}},
        {"id": "call", "type": kinds["call"], "settings": {"name": "Call", "deadline": {"day": "tomorrow", "time": "10:00"}}},
    ]
    await calm_ground.apply(text_of({"sales/approval": {"rules": rules}}))

    await calm_ground.move("approval")

    assert [await calm_ground.state(id) for id in kinds] == ["succeeded"] * 3
    [sms] = [m for m in await calm_ground.items("notifications", "/v1/mailbox") if m["channel"] == "sms"]
    assert sms["body_text"] == "Your order Roof 2026 is confirmed"
    assert "Our offer" in [mail.subject for mail in await calm_ground.mails("petra")]
    assert len(await calm_ground.items("scheduler", "/v1/activities")) == 1
