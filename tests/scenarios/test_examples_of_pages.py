"""The example on each page about a rule or trigger type is put in force as it stands there, and does what the page says below it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import pytest

from services.automation.rule_sets.reading import documents_of
from services.notifications.settings import settings as notifications_settings
from tests.scenarios.ground import BERLIN, Ground, a_ground
from tests.scenarios.papers import sign
from tests.scenarios.place import Place
from tests.service.notifications.receiver import receiving
from tests.unit.automation.pages import APP_TRIGGERS, DOCS, ENDPOINT, FORMS, KINDS, ROOMS, Page, read

TIME = Page((DOCS / "time-settings.md").read_text()).examples


@pytest.fixture(scope="module")
async def home(place: Place) -> AsyncIterator[Ground]:
    """The ground, with what the pages name besides, for all of them one after another."""
    async with receiving() as receiver, a_ground(place) as ground:
        [form] = [found for found in await ground.items("deals", "/v1/field-sets", element_type="deal") if found["kind"] == "form"]
        fields = [{"code": code, "label": code, "field_type": kind} for code, kind in FORMS["deal"].items()]
        await ground.change("deals", f"/v1/field-sets/{form['id']}", {"fields": fields}, by="ground")
        await ground.change("deals", f"/v1/contacts/{ground.cast['petra']}", {"phones": ["+491701234567"]})
        for app_code, code in APP_TRIGGERS:
            await ground.put("automation", f"/v1/apps/{app_code}/triggers", {"code": code, "name": code}, by="ground")
        for room in ROOMS:
            await ground.put("scheduler", "/v1/rooms", {"code": room, "name": room}, by="ground")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("DEALWRIGHT_HOOKS__ALLOW", f"127.0.0.1:{receiver.port}")
            notifications_settings.cache_clear()
            endpoint = {"id": ENDPOINT, "url": receiver.url, "owner_id": ground.cast["olaf"]}
            await ground.put("notifications", "/v1/webhook-endpoints", endpoint, by="ground")
            await ground.settle()
            yield ground
        notifications_settings.cache_clear()


def stages_of(text: str) -> list[str]:
    return [document["stage"] for document in documents_of(text) if "stage" in document]


async def in_force(home: Ground, text: str) -> None:
    await home.apply(text, prune=True)


async def cleared(home: Ground, text: str) -> None:
    await home.apply("---\n".join(f"stage: {stage}\nrules: []\n" for stage in stages_of(text)), prune=True)


async def arrived(home: Ground, text: str, **own: Any) -> str:
    """A deal that has come to the stage of the text."""
    deal = await home.deal(f"Roof of {stages_of(text)[0]}", **own)
    await home.settle()
    await home.move(stages_of(text)[0], deal)
    return deal


# ------------------------------------------------------------------------------------------------ rules


async def create_payment_link(home: Ground, deal: str) -> None:
    [mail] = [mail for mail in await home.mails("petra@example.org") if "here: http" in mail.text]
    page = await home.door("billing", "nobody").get(mail.text.split("here: ")[1].strip())
    assert "100.00 EUR" in mail.text and "Roof tiles" in page.text


async def create_from(home: Ground, deal: str) -> None:
    [invoice] = await home.items("billing", "/v1/invoices", deal_id=deal)
    assert (invoice["title"], invoice["status"]) == ("Services for Roof of sales/additional-services", "issued")
    assert invoice["number"]


async def change_details(home: Ground, deal: str) -> None:
    details = await home.look("deals", f"/v1/details/{home.cast['details']}")
    assert details["addresses"]["business"] == {"street": "Neuweg", "house": "7", "city": "Bremen"}


async def get_details(home: Ground, deal: str) -> None:
    [notice] = [notice for notice in await home.feed() if notice["element_id"] == deal]
    assert "Deliver Roof of sales/delivery to Hafenstr. 12, 24103 Kiel, Germany" in notice["body_text"]


async def create_recurring_lead(home: Ground, deal: str) -> None:
    await home.advance(timedelta(days=179))
    assert await home.items("deals", "/v1/leads") == []
    await home.advance(timedelta(days=1, hours=2))
    [lead] = await home.items("deals", "/v1/leads")
    assert (lead["title"], lead["responsible_id"]) == ("Renewal for Petra Muster", home.cast["anna"])


async def copy_deal(home: Ground, deal: str) -> None:
    [copy] = await home.items("deals", "/v1/deals", pipeline_id=home.cast["installation"])
    assert (copy["title"], copy["responsible_id"]) == ("Install Roof of sales/won", home.cast["ben"])
    assert home.name_of(copy["stage_id"], "/") == "installation/planning"


async def plan_activity(home: Ground, deal: str) -> None:
    [activity] = await home.items("scheduler", "/v1/activities", element_id=deal)
    assert (activity["name"], activity["colour"]) == ("Call Petra Muster", "yellow")
    assert activity["local"].endswith("T14:00:00") and activity["state"] == "planned"
    await home.move("won", deal)
    [activity] = await home.items("scheduler", "/v1/activities", element_id=deal)
    assert activity["state"] == "completed"


async def send_email(home: Ground, deal: str) -> None:
    [mail] = [mail for mail in await home.mails("petra@example.org") if mail.subject == "Thank you for Roof of sales/collect-goods"]
    assert "Dear Petra Muster," in mail.text and mail.text.strip().endswith("Anna Amsel")


async def send_sms(home: Ground, deal: str) -> None:
    [message] = [found for found in await home.items("notifications", "/v1/mailbox") if found["channel"] == "sms"]
    assert (message["to"], message["body_text"]) == ("+491701234567", "Roof of sales/delivery arrives tomorrow. Anna Amsel")


async def notify(home: Ground, deal: str) -> None:
    for person in ("anna", "finn"):
        [notice] = [notice for notice in await home.feed(person) if notice["element_id"] == deal]
        assert "Roof of sales/collect-goods is paid: 100,00" in notice["body_text"]


async def change_variable(home: Ground, deal: str) -> None:
    [sold] = await home.items("automation", "/v1/variables", code="sold")
    assert sold["value"] in (1, "1")


async def call_webhook(home: Ground, deal: str) -> None:
    call = await home.one("notifications.DeliverWebhook", about=deal)
    assert call.body["payload"] == {"order": "Roof of sales/delivery", "to": "Petra Muster"}
    assert not [notice for notice in await home.feed() if notice["element_id"] == deal]
    path = "/v1/callbacks/" + call.body["callback_url"].rpartition("/")[2]
    answer = await home.door("automation", "nobody").post(path, json={"outputs": {"parcel": "P-1", "cost": 12.5}})
    assert answer.status_code == 200
    await home.settle()
    [notice] = [notice for notice in await home.feed() if notice["element_id"] == deal]
    assert "Parcel P-1 costs 12.5" in notice["body_text"]


async def change_responsible(home: Ground, deal: str) -> None:
    assert (await home.show(deal))["responsible_id"] == home.cast["ben"]


async def change_stage(home: Ground, deal: str) -> None:
    await home.advance(timedelta(days=29))
    assert await home.stage(deal) == "sales/payment-expected"
    await home.advance(timedelta(days=1, hours=2))
    assert (await home.stage(deal), (await home.show(deal))["loss_reason"]) == ("sales/lost", "Not paid within 30 days")


async def change_field(home: Ground, deal: str) -> None:
    shown = await home.show(deal)
    assert shown["title"] == "Roof of sales/approval (approved)"
    meeting = datetime.fromisoformat(shown["custom"]["meeting"]).astimezone(ZoneInfo(BERLIN))
    assert meeting.date() == home.now.date() + timedelta(days=7)


# ------------------------------------------------------------------------------------------------ triggers


async def paid(home: Ground, text: str) -> str:
    deal = await home.deal("Roof to pay")
    await home.settle()
    await home.move("payment-expected", deal)
    await home.pay(await home.invoice(deal), payment=f"p of {deal}")
    return deal


async def invoice_paid(home: Ground, text: str) -> None:
    deal = await paid(home, text)
    assert await home.stage(deal) == "sales/collect-goods"


async def invoice_refunded(home: Ground, text: str) -> None:
    deal = await paid(home, text)
    await home.move("collect-goods", deal)
    await home.report("payment.refunded", f"p of {deal}", "100.00")
    await home.settle()
    assert await home.stage(deal) == "sales/payment-expected"


async def webhook(home: Ground, text: str) -> None:
    deal = await home.deal("Roof to ship")
    await home.settle()
    for carrier, stage in (("ups", "sales/new"), ("dhl", "sales/delivery")):
        call = {"code": "shop-order-shipped", "element": {"element_type": "deal", "element_id": deal}, "payload": {"carrier": carrier}}
        await home.place.say(home.tenant, "automation.commands", deal, "automation.CallTrigger.v1", call | {"request_id": str(uuid4())})
        await home.settle()
        assert await home.stage(deal) == stage


async def app(home: Ground, text: str) -> None:
    lead = await a_lead(home)
    for seconds, stage in ((12, "leads/fresh"), (95, "leads/talking")):
        call = {"app_code": "phone", "code": "call-ended", "element": {"element_type": "lead", "element_id": lead}}
        await home.put("automation", "/v1/trigger-calls", call | {"payload": {"seconds": seconds}})
        await home.settle()
        assert home.name_of((await home.look("deals", f"/v1/leads/{lead}"))["stage_id"], "/") == stage


async def external_event(home: Ground, text: str) -> None:
    deal = await home.deal("Roof from the shop")
    await home.settle()
    for parcels, stage in ((0, "sales/new"), (2, "sales/delivery")):
        told = {"order": {"deal_id": deal, "parcels": parcels}}
        await home.place.say(home.tenant, "automation.commands", "order-4711", "com.example.shop.order-shipped", told)
        await home.settle()
        assert await home.stage(deal) == stage


async def a_lead(home: Ground) -> str:
    lead = await home.put("deals", "/v1/leads", {"title": "Roof", "pipeline_id": home.cast["leads"]})
    await home.settle()
    return str(lead["id"])


async def activity_completed(home: Ground, text: str) -> None:
    lead = await a_lead(home)
    element, deadline = {"element_type": "lead", "element_id": lead}, {"mode": "after", "anchor_instant": home.now.isoformat()}
    call = {"name": "Call customer", "element": element, "deadline": deadline, "responsible_id": home.cast["anna"]}
    activity = await home.put("scheduler", "/v1/activities", call)
    await home.put("scheduler", f"/v1/activities/{activity['id']}/completions")
    await home.settle()
    assert home.name_of((await home.look("deals", f"/v1/leads/{lead}"))["stage_id"], "/") == "leads/talking"


async def sign_document_signed(home: Ground, text: str) -> None:
    deal = await home.deal("Roof to agree on", stage="sales/delivery")
    await home.settle()
    for title, stage in (("Acceptance", "sales/delivery"), ("Contract for a roof", "sales/approval")):
        made = await home.put("billing", "/v1/sign-documents", {"deal_id": deal, "title": title.lower()})
        await home.put("billing", f"/v1/sign-documents/{made['id']}/sendings")
        await home.settle()
        await sign(home, title.lower(), "Petra Muster")
        assert await home.stage(deal) == stage


RULES: dict[str, Callable[[Ground, str], Awaitable[None]]] = {
    f.__name__: f
    for f in (
        *(create_payment_link, create_from, change_details, get_details, create_recurring_lead, copy_deal),
        *(plan_activity, send_email, send_sms, notify, change_variable, change_responsible, change_stage, change_field),
        call_webhook,
    )
}
"""What is seen of a deal that has arrived."""
TRIGGERS: dict[str, Callable[[Ground, str], Awaitable[None]]] = {
    f.__name__: f for f in (invoice_paid, invoice_refunded, webhook, app, external_event, activity_completed, sign_document_signed)
}
"""What happens, and what is seen."""


def test_the_example_of_every_page_is_run() -> None:
    assert KINDS.keys() == {*RULES, *TRIGGERS}


@pytest.mark.parametrize("name", RULES)
async def test_the_example_of_a_rule_type_does_what_its_page_says(home: Ground, name: str) -> None:
    text = read(name).examples[0]
    await in_force(home, text)
    await RULES[name](home, await arrived(home, text))
    await cleared(home, text)


@pytest.mark.parametrize("name", TRIGGERS)
async def test_the_example_of_a_trigger_type_does_what_its_page_says(home: Ground, name: str) -> None:
    text = read(name).examples[0]
    await in_force(home, text)
    await TRIGGERS[name](home, text)
    await cleared(home, text)


async def test_a_lead_that_is_won_becomes_a_customer_and_a_deal(home: Ground) -> None:
    """The second example of create_from."""
    text = read("create_from").examples[1]
    await in_force(home, text)
    lead = await home.put("deals", "/v1/leads", {"title": "Roof", "pipeline_id": home.cast["leads"]})
    await home.settle()
    await home.move("leads/converted", lead["id"], kind="leads")
    assert await home.state("customer", lead["id"]) == "succeeded"
    await cleared(home, text)


async def test_date_fields_that_are_empty_or_move(home: Ground) -> None:
    text = TIME[0]
    await in_force(home, text)
    deal = await arrived(home, text)
    assert [await home.state(rule, deal) for rule in ("remind", "skipped", "at_once")] == ["waiting", "skipped(field_empty)", "succeeded"]
    assert (await home.run("remind", deal))["waiting_for"] == "field"
    for days in (2, 9):
        meeting = (home.now + timedelta(days=days)).isoformat()
        await home.change("deals", f"/v1/deals/{deal}", {"custom": {"meeting": meeting}})
        await home.settle()
        run = await home.run("remind", deal)
        assert (run["state"], run["waiting_for"]) == ("waiting", "timer")
        assert run["due_at"][:16] == (home.now + timedelta(days=days - 1)).isoformat()[:16]
    await home.change("deals", f"/v1/deals/{deal}", {"custom": {"meeting": None}})
    await home.settle()
    assert (await home.run("remind", deal))["waiting_for"] == "field"
    await cleared(home, text)


async def test_what_goes_to_customers_is_not_sent_late(home: Ground) -> None:
    text = TIME[1]
    await in_force(home, text)
    deal = await arrived(home, text)
    await home.advance(timedelta(days=2))
    assert [await home.state(rule, deal) for rule in ("on_time", "whenever")] == ["missed", "succeeded"]
    await cleared(home, text)
