"""Automation on a database of its own, with the people, pipelines and the deal of the scenarios (scenarios.md 1)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

import httpx
import pytest

from services.automation.service import SERVICE
from shared.contracts import billing, common, deals, scheduler
from shared.messaging.contract import Contract
from shared.messaging.records import KafkaRecord
from shared.testing.stack import Stack
from tests.service.house import House, Said, a_house, at, employee, origin

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
"""A Monday, nine o'clock in Berlin."""
SPACE = UUID("5c1e0000-0000-4000-8000-000000000000")
SCOPES = ("rules:read", "rules:write", "rules:activate", "runs:read", "runs:write")
RIGHTS = ("billing:write", "deals:write", "activities:write")
"""What an author needs to automate it (D67)."""


def id_of(name: str) -> str:
    """The same id for the same name."""
    return str(uuid5(SPACE, name))


ANNA, BEN, CLARA, OLAF, PETRA, MUSTER, DEAL = (id_of(n) for n in ("anna", "ben", "clara", "olaf", "petra", "muster", "deal"))
PIPELINES = {
    "sales": ("new", "additional-services", "payment-expected", "collect-goods", "delivery", "approval", "won", "lost"),
    "installation": ("planning", "mounting", "done", "aborted"),
    "leads": ("fresh", "talking", "converted", "junk"),
}
KINDS = {"won": "success", "done": "success", "converted": "success", "lost": "failure", "aborted": "failure", "junk": "failure"}


def stage(path: str) -> str:
    """The id of `sales/won`."""
    return id_of(f"stage/{path}")


def visit(number: int, element: str = DEAL) -> str:
    return str(uuid5(UUID(element), f"visit/{number}"))


def stages(code: str) -> tuple[deals.Stage, ...]:
    return tuple(
        deals.Stage(
            stage_id=stage(f"{code}/{name}"),
            code=name,
            name=name,
            kind=KINDS.get(name, "process"),
            position=n,
            required_fields=(),
            retiring=False,
        )
        for n, name in enumerate(PIPELINES[code])
    )


def pipeline(code: str, **own: Any) -> deals.PipelineCreated:
    fields: dict[str, Any] = {
        "element_type": "lead" if code == "leads" else "deal",
        "name": code.title(),
        "zone": "Europe/Berlin",
        "language": "de",
        "owner_id": OLAF,
        "is_default": code != "installation",
        "trigger_choice": "earliest",
        "expire_links_on_lost": False,
        "order_version": 1,
        "stages": stages(code),
    }
    return deals.PipelineCreated(origin=origin(), pipeline_id=id_of(code), code=code, **(fields | own))


def line(price: str = "100.00") -> common.Line:
    return common.Line(line_id=id_of("line"), name="Roof tiles", quantity="1", unit_price=price, tax_rate="19")


def deal_fields(**own: Any) -> deals.DealFields:
    fields: dict[str, Any] = {
        "title": "Roof 2026",
        "responsible_id": ANNA,
        "observer_ids": (),
        "contact_ids": (PETRA,),
        "primary_contact_id": PETRA,
        "company_id": MUSTER,
        "currency": "EUR",
        "amount": "100.00",
        "amount_mode": "from_lines",
        "prices_include_tax": True,
        "lines": (line(),),
        "repeat_customer": False,
        "created_by_copy": False,
        "custom": {"contract_url": "https://example.org/c/1"},
        "created_at": at(NOW),
    }
    return deals.DealFields(**(fields | own))


def created(path: str = "sales/new", id: str = DEAL, chain: tuple[str, ...] = (), automation: str = "on", **own: Any) -> deals.DealCreated:
    return deals.DealCreated(
        origin=origin(kind="person", id=None, chain=chain),
        deal_id=id,
        pipeline_id=id_of(path.split("/")[0]),
        stage_id=stage(path),
        stage_kind=KINDS.get(path.split("/")[1], "process"),
        visit_id=visit(1, id),
        visit_number=1,
        arrived_at=at(NOW),
        automation=automation,
        fields=deal_fields(**own),
    )


def moved(to: str, number: int, before: str = "sales/new", id: str = DEAL, **own: Any) -> deals.StageChanged:
    fields: dict[str, Any] = {
        "origin": origin(kind="person", id=None),
        "from_pipeline_id": id_of(before.split("/")[0]),
        "from_stage_id": stage(before),
        "from_visit_id": visit(number - 1, id),
        "pipeline_id": id_of(to.split("/")[0]),
        "stage_id": stage(to),
        "stage_kind": KINDS.get(to.split("/")[1], "process"),
        "visit_id": visit(number, id),
        "visit_number": number,
        "arrived_at": at(NOW),
        "automation": "on",
        "reason": "person",
        "amount": common.Money(amount="100.00", currency="EUR"),
    }
    return deals.StageChanged(element_type="deal", element_id=id, **(fields | own))


def changed(number: int, id: str = DEAL, **fields: Any) -> deals.DealFieldsChanged:
    changes = {name: common.Change(before=None, after=after) for name, after in fields.items()}
    return deals.DealFieldsChanged(origin=origin(kind="person", id=None), deal_id=id, visit_id=visit(number, id), changes=changes)


def contact(**own: Any) -> deals.ContactCreated:
    fields: dict[str, Any] = {
        "first_name": "Petra",
        "last_name": "Muster",
        "emails": ("petra@example.org",),
        "phones": ("+4942112345",),
        "company_ids": (MUSTER,),
        "custom": {"city": "Bremen"},
    }
    return deals.ContactCreated(origin=origin(), contact_id=PETRA, fields=deals.ContactFields(**(fields | own)))


def company() -> deals.CompanyCreated:
    fields = deals.CompanyFields(name="Muster GmbH", emails=("info@muster.test",), phones=(), custom={})
    return deals.CompanyCreated(origin=origin(), company_id=MUSTER, fields=fields)


def details() -> deals.DetailsCreated:
    delivery = {"street": "Hafenstr.", "house": "12", "postal_code": "24103", "city": "Kiel", "country": "Germany"}
    return deals.DetailsCreated(
        origin=origin(),
        details_id=id_of("details"),
        owner_type="contact",
        owner_id=PETRA,
        template_code="person",
        is_default=True,
        fields={"iban": "DE02120300000000202051"},
        addresses={"delivery": delivery, "business": {"street": "Altweg", "house": "1", "city": "Ulm"}},
    )


def field(code: str, field_type: str = "string", *, multiple: bool = False) -> deals.FieldDefinition:
    return deals.FieldDefinition(code=code, label=code, field_type=field_type, multiple=multiple, options=(), required=False, retired=False)


def field_set(name: str, *fields: deals.FieldDefinition, **own: Any) -> deals.FieldSetChanged:
    kind = {"kind": "form"} if "element_type" in own else {"kind": "details_template"}
    return deals.FieldSetChanged(origin=origin(), field_set_id=id_of(f"fields/{name}"), fields=fields, **kind, **own)


def paid(invoice: str = "I", deal: str | None = DEAL, **own: Any) -> billing.InvoicePaid:
    fields: dict[str, Any] = {
        "epoch": 1,
        "number": "RE-2026-0001",
        "total": common.Money(amount="100.00", currency="EUR"),
        "held_before": common.Money(amount="0.00", currency="EUR"),
        "paid_at": at(NOW),
        "payment_ids": (id_of("payment"),),
        "title": "Roof 2026",
        "other_unpaid": (),
        "origin": origin(kind="system", id=None),
    }
    id = id_of(f"invoice/{invoice}")
    return billing.InvoicePaid(record_key=deal or id, invoice_id=id, deal_id=deal, **(fields | own))


def fired(timer_id: str, lateness_ms: int = 5, about: str = DEAL) -> scheduler.TimerFired:
    return scheduler.TimerFired(
        origin=origin(kind="system", id=None),
        timer_id=timer_id,
        about=about,
        owner="automation",
        due_at=at(NOW),
        fired_at=at(NOW),
        lateness_ms=lateness_ms,
        early=False,
    )


SUBJECTS: dict[type[Contract], tuple[str, str]] = {
    deals.DealCreated: ("deal", "deal_id"),
    deals.DealFieldsChanged: ("deal", "deal_id"),
    deals.DealDeleted: ("deal", "deal_id"),
    deals.DealRestored: ("deal", "deal_id"),
    deals.StageChanged: ("deal", "element_id"),
    deals.LeadCreated: ("lead", "lead_id"),
    deals.ContactCreated: ("contact", "contact_id"),
    deals.CompanyCreated: ("company", "company_id"),
    deals.ContactsMerged: ("contact", "survivor_id"),
    deals.DetailsCreated: ("details", "details_id"),
    deals.PipelineCreated: ("pipeline", "pipeline_id"),
    deals.PipelineArchived: ("pipeline", "pipeline_id"),
    deals.StagesChanged: ("pipeline", "pipeline_id"),
    deals.FieldSetChanged: ("field-set", "field_set_id"),
    deals.EmployeeAdded: ("employee", "employee_id"),
    deals.EmployeeDeactivated: ("employee", "employee_id"),
    deals.FileAttached: ("file", "file_id"),
    deals.FileRemoved: ("file", "file_id"),
    scheduler.RoomAdded: ("room", "room_id"),
    scheduler.RoomRetired: ("room", "room_id"),
    scheduler.CalendarChanged: ("calendar", "calendar"),
}


def subject_of(message: Contract) -> str:
    """As its owner writes it."""
    if type(message) in SUBJECTS:
        kind, name = SUBJECTS[type(message)]
        return f"{kind}/{getattr(message, name)}"
    return f"invoice/{message.invoice_id}" if hasattr(message, "invoice_id") else ""


@dataclass(eq=False)
class Office:
    """The service, a client that may do everything, and what it said lately."""

    house: House
    http: httpx.AsyncClient

    def record(self, message: Contract, **own: Any) -> KafkaRecord:
        return self.house.record(message, subject=own.pop("subject", "") or subject_of(message), **own)

    async def hear(self, *messages: Contract, size: int = 500) -> None:
        await self.house.hear(*(self.record(message) for message in messages), size=size)

    async def publish(self, text: str) -> None:
        """Rules as text come into force."""
        plan = await self.http.post("/v1/rule-sets/plans", json={"text": text})
        assert plan.status_code == 201, plan.text
        done = await self.http.post("/v1/rule-sets/applications", json={"plan_id": plan.json()["plan_id"]})
        assert done.status_code == 200, done.text
        await self.house.forget()

    async def said(self, *names: str) -> list[Said]:
        """What was said since the last time it was asked."""
        found = await self.house.said(*names)
        await self.house.forget()
        return found

    async def commands(self) -> list[Said]:
        """What others were asked."""
        return [message for message in await self.said() if not message.type.startswith("automation.")]

    async def runs(self, element: str = DEAL) -> dict[str, dict[str, Any]]:
        """Runs by the rule's key: the latest visit's where there are several."""
        answer = await self.http.get("/v1/runs", params={"element_id": element})
        assert answer.status_code == 200, answer.text
        return {run["rule_key"]: run for run in reversed(answer.json()["items"])}

    async def state(self, key: str, element: str = DEAL) -> tuple[str, str | None]:
        run = (await self.runs(element))[key]
        return run["state"], run["reason"] or run["waiting_for"]

    async def rule_id(self, key: str) -> str:
        answer = await self.http.get("/v1/rules")
        return next(str(rule["id"]) for rule in answer.json()["items"] if rule["rule_key"] == key)


def founding() -> list[Contract]:
    """Everything that is there before the first deal."""
    return [
        employee(ANNA, "Anna", code="42", manager_id=OLAF),
        employee(BEN, "Ben", code="7", manager_id=OLAF),
        employee(CLARA, "Clara", code="9", manager_id=OLAF),
        employee(OLAF, "Olaf", code="1"),
        *(pipeline(code) for code in PIPELINES),
        field_set("deal", field("meeting", "date"), field("contract_url", "url"), element_type="deal"),
        field_set("contact", field("city"), element_type="contact"),
        field_set("person", field("iban"), field("tax_number"), owner_type="person", template_code="person"),
        contact(),
        company(),
        details(),
    ]


@pytest.fixture
async def office(stack: Stack) -> AsyncIterator[Office]:
    async with an_office(stack) as opened:
        yield opened


def an_office(stack: Stack) -> Any:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def opened() -> AsyncIterator[Office]:
        async with a_house(stack, SERVICE, NOW) as house:
            key = await house.key(*SCOPES, *RIGHTS, actor=f"user:{OLAF}")
            async with house.client(key) as http:
                office = Office(house, http)
                await office.hear(*founding())
                await house.forget()
                yield office

    return opened()
