"""The story, a step a function. Each asks as an outsider, waits for the event that carries it, and looks at what came of it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from examples.foreign_backend import ForeignBackend, answer_to, structured
from examples.story.scene import Scene, StoryBroken
from examples.story.watching import Seen

RULES = Path(__file__).parent.parent / "sales.yaml"
BERLIN = "Europe/Berlin"

SALES = [
    ("new", "New", "process"),
    ("additional-services", "Additional services", "process"),
    ("payment-expected", "Payment expected", "process"),
    ("collect-goods", "Collect goods", "process"),
    ("approval", "Approval", "process"),
    ("won", "Won", "success"),
    ("lost", "Lost", "failure"),
]
INSTALLATION = [
    ("planning", "Planning", "process"),
    ("mounting", "Mounting", "process"),
    ("done", "Done", "success"),
    ("aborted", "Aborted", "failure"),
]
LEADS = [
    ("fresh", "Fresh", "process"),
    ("talking", "Talking", "process"),
    ("converted", "Converted", "success"),
    ("junk", "Junk", "failure"),
]
PEOPLE = [("Olaf Fuchs", "1", []), ("Anna Amsel", "42", []), ("Ben Buche", "7", []), ("Finn Esche", "5", ["finance"])]


@dataclass(frozen=True)
class Fact:
    """One line of the story: what happened, which event carried it, after how many milliseconds from what was asked."""

    what: str
    carried_by: str = ""
    after_ms: float | None = None


Told = Iterator[Fact]
Step = tuple[str, Callable[[Scene], Told]]


def fact(what: str, seen: Seen, since: float) -> Fact:
    return Fact(what, seen.type, (seen.after - since) * 1000)


def must(holds: object, what: str) -> None:
    """Raises StoryBroken when something is not as told."""
    if not holds:
        raise StoryBroken(what)


def about(id: str) -> Callable[[Seen], bool]:
    """Messages whose data name this id anywhere at the top level."""
    return lambda seen: isinstance(seen.data, dict) and id in seen.data.values()


# ---------------------------------------------------------------------------------------------------------------- 1 and 2
def the_pipelines_and_their_rules(scene: Scene) -> Told:
    cast = scene.cast
    for name, code, roles in PEOPLE:
        mail = f"{name.split()[0].lower()}@acme.test"
        body = {"code": code, "name": name, "email": mail, "zone": BERLIN, "language": "en", "roles": roles}
        employee = scene.found_or_made("deals", "/v1/employees", _with_code(code), body)
        cast[f"employee {code}"] = _id(employee, "employee")
    yield Fact("four employees: Olaf owns the pipelines, Anna sells, Ben installs, Finn keeps the books", "deals.EmployeeAdded.v1")
    for code, name, kind, stages in (
        ("sales", "Sales", "deal", SALES),
        ("installation", "Installation", "deal", INSTALLATION),
        ("leads", "Leads", "lead", LEADS),
    ):
        pipeline = scene.found_or_made("deals", "/v1/pipelines", _with_code(code), _pipeline(scene, code, name, kind, stages))
        cast[f"pipeline {code}"] = _id(pipeline, "pipeline")
        cast |= {f"stage {code}/{stage['code']}": stage["stage_id"] for stage in pipeline["stages"]}
    yield Fact("pipelines Sales, Installation and Leads", "deals.PipelineCreated.v1")
    yield from _load_rules(scene)


def _pipeline(scene: Scene, code: str, name: str, kind: str, stages: list[tuple[str, str, str]]) -> dict[str, Any]:
    shown = [{"code": c, "name": n, "kind": k} for c, n, k in stages]
    owner = scene.cast["employee 1"]
    body: dict[str, Any] = {"code": code, "name": name, "element_type": kind, "owner_id": owner, "zone": BERLIN, "language": "en"}
    return body | {"stages": shown, "is_default": code in ("sales", "leads")}


def _load_rules(scene: Scene) -> Told:
    """The text is planned, then applied; a plan that changes nothing is not applied."""
    text, since = RULES.read_text(), time.monotonic()
    plan = scene.until("automation knows the pipelines", lambda: _plan(scene, text))
    changes = [c for c in plan["changes"] if c["change"] != "unchanged"]
    if not changes:
        yield Fact(f"the rules of {RULES.name} are in force already")
        return
    scene.post("automation", "/v1/rule-sets/applications", {"plan_id": plan["plan_id"]})
    seen = scene.watcher.first("automation.RulePublished", lambda s: s.after >= since)
    yield fact(f"{len(changes)} rules and triggers of {RULES.name} published", seen, since)


def _plan(scene: Scene, text: str) -> Any:
    """None while automation has not heard of a pipeline or a person yet: it learns from topics, like everybody."""
    plan = scene.post("automation", "/v1/rule-sets/plans", {"text": text}, expect=(200, 201, 422))
    return plan if "plan_id" in plan else None


def a_customer_and_a_deal(scene: Scene) -> Told:
    cast, since = scene.cast, time.monotonic()
    number = uuid4().hex[:6]
    cast["email"] = f"petra.{number}@example.org"
    contact = scene.post("deals", "/v1/contacts", {"first_name": "Petra", "last_name": "Muster", "emails": [cast["email"]], "zone": BERLIN})
    cast["contact"] = _id(contact, "contact")
    seen = scene.watcher.first("deals.ContactCreated", about(cast["contact"]))
    yield fact(f"contact Petra Muster, {cast['email']}", seen, since)
    address = {"street": "Altweg", "house": "1", "postal_code": "89073", "city": "Ulm"}
    details = {"owner_type": "contact", "owner_id": cast["contact"], "template_code": "person", "addresses": {"business": address}}
    made = scene.post("deals", "/v1/details", details | {"fields": {"first_name": "Petra", "last_name": "Muster"}, "is_default": True})
    seen = scene.watcher.first("deals.DetailsCreated", about(_id(made, "details")))
    yield fact("with an address in Ulm", seen, since)
    yield from _deal(scene, number)


def _deal(scene: Scene, number: str) -> Told:
    cast, since = scene.cast, time.monotonic()
    lines = [
        {"name": "Roof tiles", "quantity": "2", "unit_price": "595.00", "tax_rate": "19"},
        {"name": "Delivery", "quantity": "1", "unit_price": "107.00", "tax_rate": "7"},
    ]
    body = {
        "title": f"Roof {number}",
        "pipeline_id": cast["pipeline sales"],
        "contact_ids": [cast["contact"]],
        "primary_contact_id": cast["contact"],
        "responsible_id": cast["employee 42"],
        "currency": "EUR",
        "prices_include_tax": True,
        "amount_mode": "from_lines",
        "lines": lines,
    }
    deal = scene.post("deals", "/v1/deals", body)
    cast |= {"deal": _id(deal, "deal"), "title": body["title"], "amount": "1297.00"}
    seen = scene.watcher.first("deals.DealCreated", about(cast["deal"]))
    must(seen.data["fields"]["amount"] == cast["amount"], f"the deal's amount is {seen.data['fields']['amount']}")
    cast["tenant"] = seen.tenant
    yield fact(f"deal {cast['title']}: two product rows, 1,297.00 EUR with 19 % and 7 % VAT, responsible Anna", seen, since)


def _with_code(code: str) -> Callable[[Any], bool]:
    return lambda item: bool(item["code"] == code)


def _id(thing: Any, kind: str) -> str:
    return str(thing.get("id") or thing[f"{kind}_id"])


def _move(scene: Scene, stage: str) -> float:
    """Moves the deal; returns when that was asked."""
    since = time.monotonic()
    scene.post("deals", f"/v1/deals/{scene.cast['deal']}/stage-changes", {"stage_id": scene.cast[f"stage sales/{stage}"]})
    return since


def _arrival(scene: Scene, stage: str, since: float) -> Seen:
    deal, id = scene.cast["deal"], scene.cast[f"stage sales/{stage}"]
    return scene.watcher.first(
        "deals.StageChanged", lambda s: s.data["element_id"] == deal and s.data["stage_id"] == id and s.after >= since
    )


# --------------------------------------------------------------------------------------------------------------- 3 to 5
def the_invoice(scene: Scene) -> Told:
    since = _move(scene, "additional-services")
    yield fact("Anna moves the deal to Additional services", _arrival(scene, "additional-services", since), since)
    asked = scene.watcher.first("billing.CreateInvoice", lambda s: s.data["deal_id"] == scene.cast["deal"])
    yield fact("the rule Create from asks for an invoice", asked, since)
    created = scene.watcher.first("billing.InvoiceCreated", lambda s: s.data["request_id"] == asked.data["request_id"])
    scene.cast["invoice"] = created.data["invoice_id"]
    issued = scene.watcher.first("billing.InvoiceIssued", about(scene.cast["invoice"]))
    shown = scene.get("billing", f"/v1/invoices/{scene.cast['invoice']}")
    must(shown["deal_id"] == scene.cast["deal"] and len(shown["lines"]) == 2, "the invoice is not the deal's, or has not its rows")
    must(_amount(shown) == scene.cast["amount"], f"the invoice is over {_amount(shown)}")
    yield fact(f"invoice {issued.data['number']} over 1,297.00 EUR, made from the deal's rows and linked to it", issued, since)


def _amount(invoice: Any) -> str:
    totals = invoice.get("totals") or {}
    total = totals.get("gross") or invoice.get("total")
    return str(total["amount"] if isinstance(total, dict) else total)


def the_link_in_the_mail(scene: Scene) -> Told:
    cast = scene.cast
    since = _move(scene, "payment-expected")
    yield fact("Anna moves it to Payment expected", _arrival(scene, "payment-expected", since), since)
    link = scene.watcher.first("billing.PaymentLinkCreated", lambda s: s.data["deal_id"] == cast["deal"])
    yield fact("the rule Create payment link: a link over what is due", link, since)
    asked = scene.watcher.first("notifications.SendEmail", lambda s: s.data["to"] == cast["email"])
    must((asked.topic, asked.data["body_text"].count(link.data["url"])) == ("notifications.commands", 1), "the mail does not name the link")
    yield fact("then, after the previous rule, Send e-mail", asked, since)
    mail = scene.until("the mail is in the mailbox", lambda: next(iter(scene.mails(cast["email"])), None))
    delivered = scene.watcher.first("notifications.NoticeDelivered", lambda s: s.data["notice_id"] == asked.data["notice_id"])
    yield fact(f"a real mail, delivered by SMTP: {mail['subject']!r}", delivered, since)
    links = [found for found in mail["links"] if "/pay/" in found]
    must(links == [link.data["url"]], f"the mail has the links {links}")
    cast["link"] = links[0]
    yield Fact(f"the story takes the link from it: {cast['link']}")


def the_customer_pays(scene: Scene) -> Told:
    cast = scene.cast
    with scene.browser() as browser:
        page = browser.get(cast["link"])
        must(page.status_code == 200 and "Roof tiles" in page.text and "1" in page.text, "the payment page shows no products")
        yield Fact("Petra opens it: a page with amount and products")
        begun = browser.post(cast["link"] + "/checkouts", data={"attempt": uuid4().hex})
        must(begun.status_code == 200, f"the checkout answered {begun.status_code}: {begun.text[:300]}")
        action = re.search(r'action="([^"]+)"', begun.text)
        must(action, "the provider's page has no form")
        since = time.monotonic()
        pressed = browser.post(str(begun.url.join(action[1])), data={"button": "pay", "twice": "on", "attempt": uuid4().hex})  # type: ignore[index]
        must(pressed.status_code == 200, f"paying answered {pressed.status_code}: {pressed.text[:300]}")
    yield from _paid(scene, since)


def _paid(scene: Scene, since: float) -> Told:
    cast, watcher = scene.cast, scene.watcher
    paid = watcher.first("billing.InvoicePaid", about(cast["invoice"]))
    cast["payment chain"] = paid.correlation
    yield fact("she pays; the provider's signed webhook comes twice and counts once", paid, since)
    decided = watcher.first("automation.TriggerDecided", lambda s: s.data["element"]["element_id"] == cast["deal"])
    must(decided.data["outcome"] == "moved", f"the trigger decided {decided.data['outcome']} ({decided.data.get('reason')})")
    moved = _arrival(scene, "collect-goods", since)
    must(moved.data["reason"] == "trigger" and moved.actor == f"user:{cast['employee 42']}", "the move is not the trigger's, for Anna")
    yield fact("the trigger Track invoice payment moves the deal to Collect goods, in Anna's name", moved, since)
    notice = scene.until("Anna has a notice", lambda: _notice(scene))
    yield Fact(f"Anna is told at once: {notice['text'] or notice['title']!r}", "notifications, in-app")
    kinds = scene.until("the timeline shows both", lambda: _on_timeline(scene, {"invoice", "stage"}))
    yield Fact(f"the deal's timeline shows the paid invoice and the move by {kinds}")
    count = len(list(watcher.all(lambda s: s.name == "billing.InvoicePaid" and s.data["invoice_id"] == cast["invoice"])))
    must(count == 1, f"InvoicePaid was said {count} times")


def _notice(scene: Scene) -> Any:
    query = {"employee_id": scene.cast["employee 42"], "channel": "in_app", "element_id": scene.cast["deal"]}
    found = scene.get("notifications", "/v1/notices", **query)["items"]
    if not found:
        return None
    shown = scene.get("notifications", f"/v1/notices/{found[0]['id']}")
    return {"text": shown.get("text") or shown.get("body_text"), "title": shown.get("title") or shown.get("subject")}


def _on_timeline(scene: Scene, wanted: set[str]) -> str | None:
    items = scene.get("deals", f"/v1/deals/{scene.cast['deal']}/timeline", limit=100)["items"]
    paid = [i for i in items if i["kind"] == "invoice" and "paid" in str(i).lower()]
    moves = [i for i in items if i["kind"] == "stage" and scene.cast["employee 42"] in str(i["actor"])]
    return "Anna Amsel" if paid and moves and wanted <= {i["kind"] for i in items} else None


# --------------------------------------------------------------------------------------------------------------- 6 and 7
def the_call(scene: Scene) -> Told:
    cast = scene.cast
    since = _move(scene, "approval")
    planned = scene.watcher.first("scheduler.ActivityPlanned", lambda s: s.data["element"]["element_id"] == cast["deal"])
    cast["activity"] = planned.data["activity_id"]
    zone = ZoneInfo(BERLIN)
    starts = datetime.fromisoformat(planned.data["starts_at"]).astimezone(zone)
    tomorrow = (datetime.now(UTC).astimezone(zone) + timedelta(days=1)).date()
    must((starts.date(), starts.strftime("%H:%M")) == (tomorrow, "14:00"), f"the call starts {starts}")
    must(planned.data["colour"] == "yellow" and "Petra Muster" in planned.data["description"], "colour or description are not the rule's")
    yield fact("the rule Plan activity: a yellow call, tomorrow 14:00 in Anna's zone, 'Contract details with Petra Muster'", planned, since)


def the_deal_is_won(scene: Scene) -> Told:
    cast, watcher = scene.cast, scene.watcher
    since = _move(scene, "won")
    done = watcher.first("scheduler.ActivityCompleted", about(cast["activity"]))
    must(done.data["by"] == "automation", "the call was not completed by automation")
    yield fact("won: the call of Approval is completed by itself", done, since)
    copied = watcher.first("deals.DealCopied", lambda s: s.data["deal_id"] == cast["deal"])
    copy = scene.get("deals", f"/v1/deals/{copied.data['copy_id']}")
    original = scene.get("deals", f"/v1/deals/{cast['deal']}")
    must(copied.data["stage_id"] == cast["stage installation/planning"], "the copy is not in the first stage of Installation")
    must(copy["title"] == f"{cast['title']} (copy)", f"the copy is called {copy['title']!r}")
    must(copy["contact_ids"] == original["contact_ids"] and _rows(copy) == _rows(original), "the copy has not all the deal had")
    yield fact(f"the rule Copy deal: {copy['title']!r} in Installation, with customer and products", copied, since)
    yield from _recurring_leads(scene, since)


def _rows(deal: Any) -> list[tuple[str, ...]]:
    return [(line["name"], line["quantity"], line["unit_price"], line["tax_rate"]) for line in deal["lines"]]


def _recurring_leads(scene: Scene, since: float) -> Told:
    cast, watcher = scene.cast, scene.watcher
    one = watcher.first("scheduler.TimerSet", lambda s: s.data["about"] == cast["deal"])
    other = watcher.first("scheduler.TimerSet", lambda s: s.data["about"] == cast["deal"] and s.id != one.id)
    soon, late = sorted((one, other), key=_due_at)
    due = [_due_at(soon), _due_at(late)]
    must(due[1] - due[0] > timedelta(days=179), f"the timers are due {due}")
    yield fact("two recurring leads are planned: in 5 seconds and in 180 days", late, since)
    pending = scene.get("scheduler", "/v1/timers", about=cast["deal"], state="set")["items"]
    must(any(datetime.fromisoformat(t["due_at"]) == due[1] for t in pending), "the long timer is not among the pending ones")
    yield Fact(f"the second one waits among the pending timers, due {due[1]:%Y-%m-%d %H:%M} UTC")
    lead = watcher.first("deals.LeadCreated", lambda s: s.data["source_deal_id"] == cast["deal"])
    must(lead.data["fields"]["title"] == "Recommendation from Muster" and lead.data["fields"]["repeat"], "the lead is another one")
    yield fact("the first one appears: lead 'Recommendation from Muster', a repeat customer", lead, since)


def _due_at(timer_set: Seen) -> datetime:
    return datetime.fromisoformat(timer_set.data["due_at"])


# --------------------------------------------------------------------------------------------------------------- 8 to 10
def another_back_end(scene: Scene) -> Told:
    shop, contact = ForeignBackend(scene.addresses.bootstrap), str(uuid4())
    consumer = shop.following("deals.events")
    command = {"request_id": contact, "contact_id": contact, "first_name": "Web", "last_name": "Shop", "emails": ["shop@example.org"]}
    since = time.monotonic()
    shop.publish("deals.commands", contact, structured("deals.CreateContact.v1", command, tenant=scene.cast["tenant"]))
    type_name, body = answer_to(consumer, contact)
    consumer.close()
    must(type_name == "deals.ContactCreated.v1" and body["contact_id"] == contact, f"the answer was {type_name}")
    seen = scene.watcher.first("deals.ContactCreated", about(contact))
    yield fact("confluent-kafka publishes deals.CreateContact as structured JSON and reads the answer", seen, since)


def two_bad_messages(scene: Scene) -> Told:
    cast, shop = scene.cast, ForeignBackend(scene.addresses.bootstrap)
    stranger, invoice = str(uuid4()), str(uuid4())
    shop.publish_raw("billing.commands", "nonsense", b"this is not an envelope", [("content-type", b"text/plain")])
    shop.publish("billing.commands", invoice, structured("billing.CreateInvoice.v1", _invoice(invoice, stranger), tenant=cast["tenant"]))
    found = scene.until("the first is in quarantine", lambda: _quarantined(scene))
    yield Fact(f"one is no envelope: in billing's quarantine with bytes and position ({found})", "GET /ops/quarantine")
    key = scene.until("the second is parked", lambda: _parked(scene, invoice))
    yield Fact(f"one names a customer nobody knows yet: its key is parked ({key['reason']})", "GET /ops/parked, billing.dlq")
    yield from _meanwhile(scene)
    since = time.monotonic()
    scene.post("deals", "/v1/contacts", {"id": stranger, "first_name": "Late", "last_name": "Comer", "emails": ["late@example.org"]})
    scene.watcher.first("deals.ContactCreated", about(stranger))
    yield Fact("repaired: the customer is created", "deals.ContactCreated.v1")
    scene.until("billing knows the customer and the replay is through", lambda: _replayed(scene, key["key"], invoice))
    made = scene.watcher.first("billing.InvoiceCreated", about(invoice))
    must(_parked(scene, invoice) is None, "the key is still parked")
    yield fact("replayed by the operator: the invoice is made, the key is free", made, since)


def _invoice(id: str, contact: str) -> dict[str, Any]:
    line = {"line_id": str(uuid4()), "name": "Ladder", "quantity": "1", "unit_price": "80.00", "discount_percent": "0", "tax_rate": "19"}
    return {
        "request_id": id,
        "invoice_id": id,
        "title": "Ladder",
        "customer": {"contact_id": contact},
        "currency": "EUR",
        "prices_include_tax": True,
        "lines": [line],
        "amount": "80.00",
        "issue": True,
        "skip_if_open_exists": False,
    }


def _quarantined(scene: Scene) -> str | None:
    for item in scene.get("billing", "/ops/quarantine")["items"]:
        if "not an envelope" in str(item):
            return f"{item['topic']}-{item['partition']} offset {item['offset']}"
    return None


def _parked(scene: Scene, key: str) -> Any:
    items = scene.get("billing", "/ops/parked", messages=False)["items"]
    return next((item for item in items if item["key"].endswith(key)), None)


def _replayed(scene: Scene, key: str, invoice: str) -> bool | None:
    if _parked(scene, invoice) is None:
        return True
    scene.ask("POST", "billing", f"/ops/parked/billing/{key}/replays", {}, expect=(200, 202, 404))
    time.sleep(0.3)
    return True if _parked(scene, invoice) is None else None


def _meanwhile(scene: Scene) -> Told:
    """Everything else goes on while a key is parked."""
    since = time.monotonic()
    body = {"customer": {"contact_id": scene.cast["contact"]}, "currency": "EUR", "amount": "10.00", "title": "Meanwhile", "issue": False}
    made = scene.post("billing", "/v1/invoices", body)
    seen = scene.watcher.first("billing.InvoiceCreated", about(_id(made, "invoice")))
    yield fact("meanwhile billing goes on: another customer's invoice", seen, since)


def the_chain(scene: Scene) -> Told:
    """From the payment to the stage move: what caused what, with the time of each hop."""
    chain = scene.cast["payment chain"]
    parts = [item for service in ("billing", "automation", "deals", "notifications") for item in _trace(scene, service, chain)]
    must(len(parts) >= 4, "the services know too little of the chain")
    seen = sorted(scene.watcher.all(lambda s: s.correlation == chain), key=lambda s: (s.time, s.after))
    by_id = {s.id: s for s in seen}
    for s in seen:
        before = by_id.get(s.cause)
        hop = (s.after - before.after) * 1000 if before else None
        yield Fact(f"{'  ' * _depth(s, by_id)}{s.subject.partition('/')[0]}", s.type, hop)
    names = [s.name for s in seen]
    must({"billing.InvoicePaid", "deals.MoveToStage", "deals.StageChanged"} <= set(names), f"the chain is {names}")


def _trace(scene: Scene, service: str, correlation: str) -> list[Any]:
    found = scene.get(service, f"/ops/trace/{correlation}")
    items: list[Any] = found.get("items") or found.get("events") or []
    return items


def _depth(seen: Seen, by_id: dict[str, Seen]) -> int:
    depth, current = 0, by_id.get(seen.cause)
    while current is not None and depth < 12:
        depth, current = depth + 1, by_id.get(current.cause)
    return depth


STORY: tuple[Step, ...] = (
    ("Pipelines and rules", the_pipelines_and_their_rules),
    ("A customer and a deal", a_customer_and_a_deal),
    ("Additional services: the invoice", the_invoice),
    ("Payment expected: the link in the mail", the_link_in_the_mail),
    ("The customer pays", the_customer_pays),
    ("Approval: the call", the_call),
    ("Won: the copy and the leads to come", the_deal_is_won),
    ("Another back end, another Kafka client", another_back_end),
    ("Two bad messages", two_bad_messages),
    ("The chain from the payment to the move", the_chain),
)
