"""The people, pipelines, customer and deal that all scenarios stand on (scenarios.md 1), built over HTTP alone, and what a scenario does.

A `Ground` is one tenant at one `Place`; scenarios know nothing of how that place is made."""

from __future__ import annotations

import asyncio
import base64
import hmac
import json
import re
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

import httpx

from tests.scenarios.place import Mail, Place, Said

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
"""A Monday, nine o'clock in Berlin."""
SERVICES = ("deals", "automation", "billing", "scheduler", "notifications")
BERLIN = "Europe/Berlin"
PEOPLE = {"olaf": ("1", "Olaf Fuchs"), "anna": ("42", "Anna Amsel"), "ben": ("7", "Ben Buche")}
PEOPLE |= {"clara": ("9", "Clara Dachs"), "finn": ("5", "Finn Esche")}
SALES = "new payment-expected collect-goods additional-services prepare-documents delivery approval payment won lost"
PIPELINES = {"sales": SALES, "installation": "planning mounting done aborted", "leads": "fresh talking converted junk"}
SUCCESS, FAILURE = ("won", "done", "converted"), ("lost", "aborted", "junk")
BUSINESS = {"street": "Altweg", "house": "1", "city": "Ulm"}
DELIVERY = {"street": "Hafenstr.", "house": "12", "postal_code": "24103", "city": "Kiel", "country": "Germany"}
TILES = {"name": "Roof tiles", "quantity": "1", "unit_price": "100.00", "tax_rate": "19"}
SELLER_SCOPES = (
    *("deals:read", "deals:write", "directory:write", "rules:read", "rules:write", "rules:activate", "runs:read", "runs:write"),
    *("billing:read", "billing:write", "payments:refund", "timers:read", "timers:write", "activities:read", "activities:write"),
    *("calendars:write", "notices:read", "hooks:read", "hooks:write"),
)
"""What the people of the ground may do."""


@dataclass(eq=False)
class Ground:
    """`cast` knows every id by its name: `anna`, `sales`, `sales/won`, `petra`, `muster`, `D`; `details` are Petra's."""

    place: Place
    tenant: str
    keys: dict[str, str]
    cast: dict[str, str] = field(default_factory=dict)
    _doors: dict[tuple[str, str], httpx.AsyncClient] = field(default_factory=dict)

    # ---- asking

    def door(self, service: str, by: str = "anna") -> httpx.AsyncClient:
        """HTTP as one of the people; `by` nobody is a browser without a key."""
        key = self.keys.get(by, "" if by == "nobody" else self.keys["ground"])
        return self._doors.setdefault((service, key), self.place.door(service, key))

    async def ask(self, service: str, path: str, body: Any, *, by: str = "anna", key: str | None = None) -> httpx.Response:
        """The answer to a POST, whatever it is."""
        return await self.door(service, by).post(path, json=body, headers={"Idempotency-Key": key or str(uuid4())})

    async def put(self, service: str, path: str, body: Any = None, *, by: str = "anna") -> Any:
        """The JSON answer to a POST that must succeed."""
        answer = await self.ask(service, path, body if body is not None else {}, by=by)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else {}

    async def refused(self, service: str, path: str, body: Any, *, by: str = "anna") -> Any:
        """The problem with which a POST is refused."""
        answer = await self.ask(service, path, body, by=by)
        assert 400 <= answer.status_code < 500, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def look(self, service: str, path: str, **query: Any) -> Any:
        answer = await self.door(service).get(path, params=query)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def items(self, service: str, path: str, **query: Any) -> list[Any]:
        """Of a list with few enough for one page."""
        found = await self.look(service, path, limit=200, **query)
        assert found.get("next_cursor") is None, path
        return list(found["items"])

    async def items_of(self, service: str, path: str, **query: Any) -> list[Any]:
        """Of a list that comes whole."""
        return list((await self.look(service, path, **query))["items"])

    async def change(self, service: str, path: str, body: Any, *, by: str = "anna", method: str = "PATCH") -> Any:
        """What PATCH, PUT or DELETE answers, on the version that is there now."""
        door = self.door(service, by)
        headers = {"If-Match": (await door.get(path)).headers["etag"], "content-type": "application/merge-patch+json"}
        answer = await door.request(method, path, content=json.dumps(body), headers=headers)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content else {}

    async def settle(self) -> None:
        await self.place.settle()

    # ---- time

    @property
    def now(self) -> datetime:
        return self.place.now(self.tenant)

    async def advance(self, by: timedelta | None = None, *, to: str | datetime | None = None) -> None:
        """By a span, or to a moment like 2026-09-01T12:00:00Z. Everything due until then has happened afterwards."""
        moment = self.now + by if by is not None else datetime.fromisoformat(to) if isinstance(to, str) else to
        assert moment is not None
        await self.place.advance(self.tenant, moment)

    # ---- what people do

    async def deal(self, title: str = "Roof 2026", *, stage: str = "sales/new", by: str = "anna", **own: Any) -> str:
        """A new deal like D; nothing is settled yet."""
        pipeline = stage.split("/")[0]
        return str((await self.put("deals", "/v1/deals", self.like_d(title, pipeline, stage) | own, by=by))["id"])

    def like_d(self, title: str, pipeline: str, stage: str) -> dict[str, Any]:
        money = {"currency": "EUR", "prices_include_tax": True, "amount_mode": "from_lines", "lines": [TILES]}
        whose = {"contact_ids": [self.cast["petra"]], "primary_contact_id": self.cast["petra"], "company_id": self.cast["muster"]}
        where = {"title": title, "pipeline_id": self.cast[pipeline], "stage_id": self.cast[stage]}
        custom = {"contract_url": "https://example.org/c/1"}
        return where | money | whose | {"responsible_id": self.cast["anna"], "custom": custom}

    async def contact(self, first: str, last: str, email: str, **own: Any) -> str:
        body = {"first_name": first, "last_name": last, "emails": [email], "zone": BERLIN} | own
        return str((await self.put("deals", "/v1/contacts", body))["id"])

    async def move(self, stage: str, element: str | None = None, *, by: str = "anna", kind: str = "deals") -> None:
        """To `sales/won` or, in sales, `won`; then everything that follows."""
        target = self.cast[stage if "/" in stage else f"sales/{stage}"]
        await self.put("deals", f"/v1/{kind}/{element or self.cast['D']}/stage-changes", {"stage_id": target}, by=by)
        await self.settle()

    async def arrive(self, stage: str, title: str = "Roof 2026", **own: Any) -> str:
        """A new deal like D that comes to a stage from the first one; then everything that follows."""
        deal = await self.deal(title, **own)
        await self.settle()
        await self.move(stage, deal)
        return deal

    async def apply(self, text: str, *, waiting: str = "keep", by: str = "olaf", prune: bool = False) -> None:
        """Rules as text, published."""
        plan = await self.put("automation", "/v1/rule-sets/plans", {"text": text, "prune": prune}, by=by)
        errors = [finding for finding in plan["findings"] if finding["severity"] == "error"]
        assert not errors, errors
        await self.put("automation", "/v1/rule-sets/applications", {"plan_id": plan["plan_id"], "waiting": waiting}, by=by)
        await self.settle()

    async def findings(self, text: str) -> set[str]:
        """The codes with which a text of rules is refused."""
        answer = await self.ask("automation", "/v1/rule-sets/plans", {"text": text}, by="olaf")
        assert answer.status_code == 422, answer.text
        return {error["code"] for error in answer.json()["errors"]}

    async def pay(self, invoice: str, amount: str = "100.00", *, payment: str = "p1", currency: str = "EUR", **own: Any) -> None:
        """The provider reports money for an invoice; then everything that follows."""
        answer = await self.report("payment.succeeded", payment, amount, currency, invoice_id=invoice, **own)
        assert answer.is_success, answer.text
        await self.settle()

    async def pay_by_link(self, url: str, *, twice: bool = False) -> None:
        """As a customer: the page, the provider's form, its button; `twice`: the provider reports it two times."""
        browser = self.door("billing", "nobody")
        assert (await browser.get(url)).status_code == 200
        begun = await browser.post(f"{url}/checkouts", data={"attempt": "1"}, follow_redirects=True)
        form = re.search(r'action="([^"]+)"', begun.text)
        assert form is not None, begun.text
        wish = {"button": "pay", "attempt": "1"} | ({"twice": "on"} if twice else {})
        paid = await browser.post(str(begun.url.join(form[1])), data=wish)
        assert paid.status_code < 400, paid.text
        await self.settle()

    async def report(
        self, kind: str, payment: str, amount: str, currency: str = "EUR", *, event: str = "", at: datetime | None = None, **about: Any
    ) -> httpx.Response:
        """One signed event of the test provider. `event` is its id, one per kind and payment when left out; `about` names the target."""
        id = event or f"evt_{kind}_{payment}"
        data: dict[str, Any] = {
            "payment_id": f"{payment}_{self.tenant}",
            "amount": amount,
            "currency": currency,
            "at": (at or self.now).isoformat(),
        }
        data["metadata"] = {"tenant_id": self.tenant, **about}
        body = json.dumps({"id": f"{id}_{self.tenant}", "type": kind, "data": data}).encode()
        headers = signature(f"{id}_{self.tenant}", self.place.outside_now(), body, self.place.webhook_secret) | {
            "content-type": "application/json"
        }
        return await self.door("billing", "nobody").post("/v1/provider-events/fake", content=body, headers=headers)

    async def invoice(self, deal: str | None = None, **own: Any) -> str:
        """An issued invoice of 100.00 EUR linked to D, made by hand; then everything that follows."""
        body = {"deal_id": deal or self.cast["D"], "fill_from_deal": True, "issue": True} | own
        made = await self.put("billing", "/v1/invoices", body)
        await self.settle()
        return str(made["id"])

    # ---- what has come of it

    async def said(self, *names: str, about: str = "") -> list[Said]:
        """Messages of these names, oldest first; of those that name this id anywhere, if one is given."""
        found = [said for said in await self.place.said(self.tenant) if not names or said.name in names]
        return [said for said in found if not about or about in (said.key, *ids_in(said.body))]

    async def one(self, name: str, about: str = "") -> Said:
        [said] = await self.said(name, about=about)
        return said

    async def mails(self, to: str = "example.org") -> list[Mail]:
        """To customers, unless somebody else is named."""
        return [mail for mail in await self.place.mails(self.tenant) if to in mail.to]

    async def show(self, deal: str | None = None) -> Any:
        return await self.look("deals", f"/v1/deals/{deal or self.cast['D']}")

    async def stage(self, deal: str | None = None) -> str:
        """The code of the stage that a deal is in: `sales/won`."""
        return self.name_of((await self.show(deal))["stage_id"], "/")

    def name_of(self, id: str, having: str = "") -> str:
        return next(name for name, known in self.cast.items() if known == id and having in name)

    async def timeline(self, deal: str | None = None) -> list[Any]:
        """Newest first."""
        return await self.items("deals", f"/v1/deals/{deal or self.cast['D']}/timeline")

    async def feed(self, person: str = "anna") -> list[Any]:
        """A person's notices in the program, newest first."""
        return await self.items("notifications", "/v1/feed", employee_id=self.cast[person])

    async def runs(self, rule: str, element: str | None = None) -> list[Any]:
        """Every run of the rule with this name for an element, oldest visit first, each as `GET /v1/runs/{id}` shows it."""
        visits = await self.items("automation", "/v1/visits", element_id=element or self.cast["D"])
        visits.sort(key=lambda visit: int(visit["visit_number"]))
        shown = [await self.look("automation", f"/v1/visits/{visit['id']}") for visit in visits]
        return [run for visit in shown for run in visit["runs"] if run["rule_key"] == rule]

    async def run(self, rule: str, element: str | None = None) -> Any:
        """The only run of a rule for an element."""
        [run] = await self.runs(rule, element)
        return run

    async def state(self, rule: str, element: str | None = None) -> str:
        """Of the newest run: `succeeded`, or with its reason `skipped(condition_false)`."""
        run = (await self.runs(rule, element))[-1]
        return f"{run['state']}({run['reason']})" if run["reason"] else str(run["state"])

    async def rule_id(self, key: str) -> str:
        rules = await self.items("automation", "/v1/rules")
        return str(next(rule["id"] for rule in rules if rule["rule_key"] == key))

    async def decisions(self, element: str | None = None) -> list[Any]:
        """Of all triggers for an element, oldest first."""
        found = await self.items("automation", "/v1/trigger-decisions", element_id=element or self.cast["D"])
        return list(reversed(found))

    async def visits(self, deal: str | None = None) -> list[str]:
        """The stages that a deal has come to, oldest first, its first one too."""
        history = await self.items("deals", f"/v1/deals/{deal or self.cast['D']}/stage-history")
        return [self.name_of(entry["stage_id"], "/") for entry in sorted(history, key=lambda entry: int(entry["visit_number"]))]

    async def parked(self) -> list[Any]:
        """Everything of this tenant that waits for an operator, in any service."""
        found = []
        for service in SERVICES:
            answer = await self.door(service, "ground").get("/ops/parked", params={"messages": False})
            assert answer.is_success, answer.text
            found += [item for item in answer.json()["items"] if self.tenant in json.dumps(item)]
        return found


def visit(number: int, element: str) -> str:
    """The id of an element's n-th stay."""
    return str(uuid5(UUID(element), f"visit/{number}"))


def ids_in(body: Mapping[str, Any]) -> list[str]:
    """Texts at the top of a body and one level below."""
    inner = [value for part in body.values() if isinstance(part, dict) for value in part.values()]
    return [str(value) for value in (*body.values(), *inner) if isinstance(value, str)]


def signature(id: str, at: datetime, body: bytes, secret: str) -> dict[str, str]:
    """The headers of a Standard Webhook."""
    stamp = str(int(at.timestamp()))
    digest = hmac.digest(secret.encode(), f"{id}.{stamp}.".encode() + body, "sha256")
    return {"webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": f"v1,{base64.b64encode(digest).decode()}"}


# ------------------------------------------------------------------------------------------------------------ building it


@asynccontextmanager
async def a_ground(place: Place, now: datetime = START) -> AsyncIterator[Ground]:
    """Ready when deals, people and rules are known to every service. At the end nothing of it may be left parked."""
    tenancy = await place.open(now)
    ground = Ground(place, tenancy.id, {"ground": tenancy.key})
    await _people(ground)
    await asyncio.gather(_pipelines(ground), _customers(ground), _house_rules(ground))
    await ground.settle()
    ground.cast["D"] = await ground.deal()
    await ground.settle()
    yield ground
    assert await ground.parked() == []
    await place.close(tenancy.id)


async def _people(ground: Ground) -> None:
    """Everybody's manager is Olaf. Those who act have keys of their own."""
    olaf = await _employee(ground, "olaf")
    await asyncio.gather(*(_employee(ground, name, manager_id=olaf) for name in PEOPLE if name != "olaf"))
    ground.keys |= dict(await asyncio.gather(*(_key(ground, name) for name in PEOPLE)))
    await ground.settle()


async def _employee(ground: Ground, name: str, **own: Any) -> str:
    code, full = PEOPLE[name]
    body = {"code": code, "name": full, "email": f"{name}@acme.test", "zone": BERLIN, "language": "en"}
    roles = {"roles": ["finance"] if name == "finn" else []}
    ground.cast[name] = (await ground.put("deals", "/v1/employees", body | roles | own, by="ground"))["id"]
    return ground.cast[name]


async def _key(ground: Ground, name: str) -> tuple[str, str]:
    wanted = {"scopes": SELLER_SCOPES, "actor": f"user:{ground.cast[name]}"}
    return name, (await ground.put("deals", "/v1/credentials", wanted, by="ground"))["key"]


async def _pipelines(ground: Ground) -> None:
    for code, stages in PIPELINES.items():
        await pipeline(ground, code, stages.split())


async def pipeline(ground: Ground, code: str, stages: Sequence[str], **own: Any) -> None:
    """Of leads if it is called that, else of deals."""
    kinds = dict.fromkeys(SUCCESS, "success") | dict.fromkeys(FAILURE, "failure")
    shown = [{"code": stage, "name": stage.replace("-", " ").capitalize(), "kind": kinds.get(stage, "process")} for stage in stages]
    body: dict[str, Any] = {
        "code": code,
        "name": code.title(),
        "element_type": "lead" if code == "leads" else "deal",
        "owner_id": ground.cast["olaf"],
    }
    body |= {"zone": BERLIN, "language": "de", "stages": shown, "is_default": code in ("sales", "leads")}
    made = await ground.put("deals", "/v1/pipelines", body | own, by="olaf")
    ground.cast[code] = made["id"]
    ground.cast |= {f"{code}/{stage['code']}": stage["stage_id"] for stage in made["stages"]}


async def _customers(ground: Ground) -> None:
    """Custom fields first: a form tells what a contact or deal may hold."""
    await asyncio.gather(_form(ground, "contact", "city", "string"), _form(ground, "deal", "contract_url", "url"))
    muster = await ground.put("deals", "/v1/companies", {"name": "Muster GmbH"})
    ground.cast["muster"] = muster["id"]
    ground.cast["petra"] = await ground.contact("Petra", "Muster", "petra@example.org", custom={"city": "Bremen"})
    ground.cast["details"] = await details(ground, ground.cast["petra"], business=BUSINESS, delivery=DELIVERY)


async def details(ground: Ground, contact: str, **addresses: Mapping[str, str]) -> str:
    """Of a contact, template `person`, the default ones."""
    body = {"owner_type": "contact", "owner_id": contact, "template_code": "person", "is_default": True, "addresses": addresses}
    return str((await ground.put("deals", "/v1/details", body))["id"])


async def _form(ground: Ground, element_type: str, code: str, field_type: str) -> None:
    fields = [{"code": code, "label": code.replace("_", " "), "field_type": field_type}]
    await ground.put("deals", "/v1/field-sets", {"kind": "form", "element_type": element_type, "fields": fields}, by="ground")


async def _house_rules(ground: Ground) -> None:
    """The company's hours, the numbers of its invoices, a constant and a variable."""
    hours = {day: [{"opens": "09:00", "closes": "18:00"}] for day in ("mon", "tue", "wed", "thu", "fri")}
    calendar = {"zone": BERLIN, "weekly": hours, "holiday_region": "DE"}
    answer = await ground.door("scheduler", "olaf").put("/v1/calendars/company", json=calendar, headers={"If-Match": "*"})
    assert answer.is_success, answer.text
    series = {"code": "invoice", "prefix": "RE-2026-", "digits": 4}
    await ground.put("billing", "/v1/number-series", series, by="olaf")
    for kind, code, value in (("constants", "house", "7"), ("variables", "street", "Neuweg")):
        await ground.put("automation", f"/v1/{kind}", {"code": code, "value_type": "string", "value": value}, by="olaf")
