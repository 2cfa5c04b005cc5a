"""What rules do when an element arrives, and until they are done: commands out, answers in (scenarios.md 3)."""

from __future__ import annotations

from typing import Any

from shared.contracts import billing, common, deals, notifications, scheduler
from tests.service.automation.conftest import (
    ANNA,
    BEN,
    DEAL,
    MUSTER,
    NOW,
    OLAF,
    PETRA,
    Office,
    changed,
    created,
    fired,
    id_of,
    moved,
    visit,
)
from tests.service.house import at, origin

LINK_AND_MAIL = """
stage: sales/payment-expected
rules:
  - id: link
    type: create_payment_link
  - id: mail
    type: send_email
    execution: after_previous
    settings: { subject: "Your order {{deal.title}}", body: "Please pay here: {{steps.link.url}}" }
"""


def link_created(request: str, **own: Any) -> billing.PaymentLinkCreated:
    fields: dict[str, Any] = {
        "payment_document_id": request,
        "deal_id": DEAL,
        "url": "https://pay.test/p/1",
        "amount": common.Money(amount="100.00", currency="EUR"),
        "expires_at": "2026-04-01T08:00:00.000Z",
    }
    return billing.PaymentLinkCreated(origin=origin(), request_id=request, record_key=DEAL, **(fields | own))


async def test_a_link_then_a_mail_with_the_link(office: Office) -> None:
    await office.publish(LINK_AND_MAIL)
    await office.hear(created(), moved("sales/payment-expected", 2))
    (link,) = await office.commands()
    assert (link.type, link.key, link.body["deal_id"], link.body["amount"]) == ("billing.CreatePaymentLink.v1", DEAL, DEAL, "100.00")
    assert link.body["customer"] == {"contact_id": PETRA, "company_id": MUSTER}
    assert link.body["origin"]["chain"] == [await office.rule_id("link")] and link.body["origin"]["visit_id"] == visit(2)

    await office.hear(link_created(link.body["request_id"]))
    completed, mail = await office.said()
    assert (completed.name, completed.body["outcome"]) == ("RunCompleted", "succeeded")
    assert (mail.type, mail.body["to"], mail.body["subject"]) == ("notifications.SendEmail.v1", "petra@example.org", "Your order Roof 2026")
    assert mail.body["body_text"] == "Please pay here: https://pay.test/p/1"

    delivered = notifications.NoticeDelivered(
        origin=origin(),
        request_id=mail.body["request_id"],
        notice_id=mail.body["notice_id"],
        channel="email",
        recipient_kind="address",
        delivered_at=at(NOW),
        attempts=1,
    )
    await office.hear(delivered)
    runs = await office.runs()
    assert {key: run["state"] for key, run in runs.items()} == {"link": "succeeded", "mail": "succeeded"}
    shown = (await office.http.get(f"/v1/runs/{runs['link']['id']}")).json()
    assert shown["outputs"]["url"] == "https://pay.test/p/1" and shown["outputs"]["reused"] is False


async def test_a_second_arrival_mails_no_empty_link(office: Office) -> None:
    await office.publish(LINK_AND_MAIL)
    await office.hear(created(), moved("sales/payment-expected", 2))
    (link,) = await office.commands()
    refused = billing.CommandRejected(
        request_id=link.body["request_id"], record_key=DEAL, command_type=link.type, code="payment_document_exists", detail="There is one."
    )
    await office.hear(refused)
    assert [m.name for m in await office.said()] == ["RunSkipped", "RunBlocked"]
    assert await office.state("link") == ("skipped", "payment_document_exists")
    assert await office.state("mail") == ("blocked", "unresolved")


async def test_an_invoice_from_the_deals_rows(office: Office) -> None:
    await office.publish("stage: sales/additional-services\nrules: [{ id: inv, type: create_from, settings: { targets: [invoice] } }]")
    await office.hear(created("sales/additional-services"))
    (asked,) = await office.commands()
    body = asked.body
    assert asked.type == "billing.CreateInvoice.v1" and body["invoice_id"] == body["request_id"]
    assert (body["title"], body["responsible_id"], body["issue"]) == ("Roof 2026", ANNA, False)
    assert [line["name"] for line in body["lines"]] == ["Roof tiles"]


async def test_a_rule_asks_in_the_name_of_its_owner(office: Office) -> None:
    await office.publish("stage: sales/new\nrules: [{ id: tell, type: notify, settings: { text: Hello } }]")
    await office.hear(created())
    rows = await office.house.rows("select headers from outbox")
    assert f"user:{OLAF}".encode() in rows[0]["headers"]


async def test_a_chain_reads_details_and_tells(office: Office) -> None:
    await office.publish("""
stage: sales/delivery
rules:
  - { id: addr, type: get_details, settings: { element: contact, template: person, address_type: delivery } }
  - { id: tell, type: notify, execution: after_previous, settings: { text: "Deliver to {{steps.addr.address}}" } }
""")
    await office.hear(created("sales/delivery"))
    (notice,) = await office.commands()
    assert (notice.body["employee_id"], notice.body["text"]) == (ANNA, "Deliver to Hafenstr. 12, 24103 Kiel, Germany")


async def test_details_are_changed_to_what_the_contact_says(office: Office) -> None:
    await office.publish("""
constants: { house: { type: string, value: "7" } }
variables: { street: { type: string, value: Neuweg } }
---
stage: sales/approval
rules:
  - id: fix
    type: change_details
    settings:
      element: contact
      template: person
      address_type: business
      fields: { city: "{{deal.contact.uf.city}}", house: "{{const.house}}", street: "{{var.street}}" }
""")
    await office.hear(created("sales/approval"))
    (asked,) = await office.commands()
    assert (asked.type, asked.key, asked.body["owner_id"]) == ("deals.ChangeDetails.v1", DEAL, PETRA)
    assert asked.body["fields"] == {"city": "Bremen", "house": "7", "street": "Neuweg"}
    refused = deals.CommandRejected(
        request_id=asked.body["request_id"], record_key=DEAL, command_type=asked.type, code="nothing_to_change", detail="All are so."
    )
    await office.hear(refused)
    assert await office.state("fix") == ("skipped", "nothing_to_change")


async def test_an_activity_with_everything(office: Office) -> None:
    room = scheduler.RoomAdded(origin=origin(), room_id=id_of("room"), code="big", name="Big room")
    file = deals.FileAttached(
        origin=origin(), file_id=id_of("file"), content_ref="x", sha256="0", name="a.pdf", size=1, content_type="application/pdf"
    )
    await office.hear(room, file)
    await office.publish(f"""
stage: sales/approval
rules:
  - id: call
    type: plan_activity
    settings:
      name: Call customer
      description: "Contract details with {{{{deal.contact.first_name}}}} {{{{deal.contact.last_name}}}}"
      deadline: {{ day: tomorrow, time: "14:00" }}
      colour: yellow
      calendar: true
      customers: all
      invite: [user:9]
      room: big
      link: "{{{{deal.uf.contract_url}}}}"
      files: [{id_of("file")}]
      auto_complete_on_stage_change: true
""")
    await office.hear(created("sales/approval"))
    (asked,) = await office.commands()
    body = asked.body
    assert (body["name"], body["description"], body["colour"]) == ("Call customer", "Contract details with Petra Muster", "yellow")
    assert body["deadline"]["local_time"] == "14:00" and body["deadline"]["zone"] == "Europe/Berlin"
    assert body["deadline"]["offset"]["days"] == 1
    assert (body["contact_ids"], body["invitee_ids"], body["room_id"]) == ([PETRA], [id_of("clara")], id_of("room"))
    assert (body["link"], body["file_ids"], body["auto_complete"]) == ("https://example.org/c/1", [id_of("file")], True)


async def test_a_removed_file_fails_the_activity(office: Office) -> None:
    attached = deals.FileAttached(
        origin=origin(), file_id=id_of("file"), content_ref="x", sha256="0", name="a.pdf", size=1, content_type="application/pdf"
    )
    await office.hear(attached)
    await office.publish(f"""
stage: sales/approval
rules:
  - id: call
    type: plan_activity
    settings: {{ name: Call, deadline: {{ day: today, time: "14:00" }}, files: [{id_of("file")}] }}
""")
    await office.hear(deals.FileRemoved(**attached.model_dump() | {"origin": origin()}), created("sales/approval"))
    assert await office.commands() == [] and await office.state("call") == ("failed", "file_missing")


async def test_a_copy_and_a_renewal_in_half_a_year(office: Office) -> None:
    await office.publish("""
stage: sales/won
rules:
  - { id: install, type: copy_deal, settings: { pipeline: installation, responsible: user:7 } }
  - id: renewal
    type: create_recurring_lead
    timing: { after: arrival, offset: 180d }
    settings: { title: "Renewal {{deal.company.name}}" }
""")
    await office.hear(created(), moved("sales/won", 2))
    copy, timer = await office.commands()
    assert (copy.type, copy.body["pipeline_id"], copy.body["stage_id"]) == ("deals.CopyDeal.v1", id_of("installation"), None)
    assert (copy.body["name"], copy.body["responsible_id"]) == (None, BEN)
    assert (timer.type, timer.body["about"], timer.body["when"]["offset"]["days"]) == ("scheduler.SetTimer.v1", DEAL, 180)

    due = "2026-08-29T08:00:00.000Z"
    set_ = scheduler.TimerSet(
        origin=origin(),
        timer_id=timer.body["timer_id"],
        about=DEAL,
        owner="automation",
        due_at=due,
        local="2026-08-29T10:00",
        zone="Europe/Berlin",
        reasoning=("180 days later",),
    )
    await office.hear(set_)
    (scheduled,) = await office.said()
    assert (scheduled.name, scheduled.body["due_at"], scheduled.body["waiting_for"]) == ("RunScheduled", due, "timer")
    (pending,) = (await office.http.get("/v1/horizon", params={"element_id": DEAL})).json()["items"]
    assert (pending["rule_key"], pending["due_at"]) == ("renewal", due)

    await office.hear(fired(timer.body["timer_id"]))
    (lead,) = await office.commands()
    assert (lead.type, lead.body["title"], lead.body["recurring"], lead.body["source_deal_id"]) == (
        "deals.CreateLead.v1",
        "Renewal Muster GmbH",
        True,
        DEAL,
    )


async def test_leaving_takes_the_timer_back(office: Office) -> None:
    await office.publish("""
stage: sales/won
rules: [{ id: renewal, type: create_recurring_lead, timing: { after: arrival, offset: 180d }, settings: { title: Again } }]
""")
    await office.hear(created(), moved("sales/won", 2))
    (timer,) = await office.commands()
    await office.hear(moved("sales/approval", 3, before="sales/won"))
    cancel, cancelled = await office.said()
    assert (cancel.name, cancel.body["timer_id"]) == ("CancelTimer", timer.body["timer_id"])
    assert (cancelled.name, cancelled.body["reason"]) == ("RunCancelled", "stage_left")
    await office.hear(fired(timer.body["timer_id"]))
    assert await office.commands() == []


async def test_a_variable_is_changed_in_the_same_transaction_and_read_below(office: Office) -> None:
    await office.publish("""
variables: { counter: { type: number, value: "1" } }
---
stage: sales/new
rules:
  - { id: count, type: change_variable, settings: { variable: counter, value: "{{var.counter | plus: 1}}" } }
  - { id: tell, type: notify, execution: after_previous, settings: { text: "{{steps.count.before}} -> {{steps.count.after}}" } }
""")
    await office.hear(created())
    said = await office.said()
    assert [m.name for m in said] == ["ValueChanged", "RunCompleted", "Notify"] and said[2].body["text"] == "1 -> 2"
    (variable,) = (await office.http.get("/v1/variables")).json()["items"]
    assert variable["value"] == "2"


async def test_a_value_that_does_not_fit_fails_the_run(office: Office) -> None:
    await office.publish("""
variables: { counter: { type: number, value: "1" } }
---
stage: sales/new
rules: [{ id: count, type: change_variable, settings: { variable: counter, value: "{{deal.title}}" } }]
""")
    await office.hear(created())
    assert await office.state("count") == ("failed", "template_error")
    (variable,) = (await office.http.get("/v1/variables")).json()["items"]
    assert variable["value"] == "1"


async def test_two_deals_count_one_after_the_other(office: Office) -> None:
    await office.publish("""
variables: { counter: { type: number, value: "1" } }
---
stage: sales/new
rules: [{ id: count, type: change_variable, settings: { variable: counter, value: "7" } }]
""")
    await office.hear(created(id=id_of("D1")), created(id=id_of("D2")))
    changes = [(m.body["before"], m.body["after"]) for m in await office.said("ValueChanged")]
    assert changes == [("1", "7"), ("7", "7")]


async def test_a_condition_that_is_false_is_kept_with_what_it_saw(office: Office) -> None:
    await office.publish("""
stage: sales/new
rules:
  - { id: rich, type: notify, condition: { field: deal.amount, op: gt, value: 500 }, settings: { text: Hello } }
  - { id: poor, type: notify, condition: { field: deal.amount, op: lt, value: 500 }, settings: { text: Hello } }
""")
    await office.hear(created())
    assert len(await office.commands()) == 1
    run = (await office.runs())["rich"]
    shown = (await office.http.get(f"/v1/runs/{run['id']}")).json()
    (leaf,) = shown["record"]["condition"]
    assert (shown["state"], leaf["expected"], leaf["actual"], leaf["verdict"]) == ("skipped", 500, "100.00", False)
    assert leaf["says"] == "Amount is greater than 500: no, it was 100.00"
    assert leaf["says_de"] == "Betrag ist größer als 500: nein, der Wert war 100.00"


async def test_an_import_starts_nothing_and_is_remembered(office: Office) -> None:
    await office.publish("stage: sales/new\nrules: [{ id: tell, type: notify, settings: { text: Hello } }]")
    await office.hear(created(automation="suppressed"))
    assert await office.said() == []
    answer = await office.http.get("/v1/explanations", params={"element_id": DEAL, "rule_id": await office.rule_id("tell")})
    assert answer.json()["verdict"] == "suppressed"


async def test_a_date_field_set_in_the_same_batch_arms_the_timer(office: Office) -> None:
    await office.publish("""
stage: sales/new
rules: [{ id: remind, type: notify, timing: { before: deal.uf.meeting, offset: 1d, time: "09:00" }, settings: { text: Tomorrow } }]
""")
    await office.hear(created(), changed(1, custom={"meeting": "2026-04-01"}))
    (timer,) = await office.commands()
    assert (timer.body["when"]["mode"], timer.body["when"]["anchor_date"]) == ("before", "2026-04-01")


async def test_a_deleted_deal_ends_its_visit(office: Office) -> None:
    await office.publish("""
stage: sales/new
rules: [{ id: r, type: notify, timing: { after: arrival, offset: 1h }, settings: { text: Hello } }]
""")
    await office.hear(created())
    await office.said()
    await office.hear(deals.DealDeleted(origin=origin(), deal_id=DEAL, visit_id=visit(1)))
    assert [m.name for m in await office.said()] == ["CancelTimer", "RunCancelled"]


async def test_two_rules_that_copy_into_each_other_stop(office: Office) -> None:
    await office.publish("""
stage: sales/new
rules: [{ id: there, type: copy_deal, settings: { pipeline: installation } }]
---
stage: installation/planning
rules: [{ id: back, type: copy_deal, settings: { pipeline: sales } }]
""")
    await office.hear(created())
    (first,) = await office.commands()
    await office.hear(created("installation/planning", id=first.body["request_id"], chain=tuple(first.body["origin"]["chain"])))
    (second,) = await office.commands()
    await office.hear(created("sales/new", id=second.body["request_id"], chain=tuple(second.body["origin"]["chain"])))
    assert [m.name for m in await office.said()] == ["RunBlocked"]
    assert await office.state("there", second.body["request_id"]) == ("blocked", "loop")
