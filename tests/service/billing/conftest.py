"""Billing on a database of its own, with the customer and the deal of the scenarios (scenarios.md 1)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4, uuid5

import httpx
import pytest

from services.billing import provider
from services.billing.service import SERVICE
from services.billing.settings import settings
from shared.contracts import billing, common, deals
from shared.testing.stack import Stack
from tests.service.house import House, a_house, employee, origin

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
"""A Monday, nine o'clock in Berlin."""
SPACE = UUID("5c1e0000-0000-4000-8000-000000000000")
BASE = "http://pay.test"
SECRET = "a secret of the test provider"


def id_of(name: str) -> str:
    """The same id for the same name."""
    return str(uuid5(SPACE, name))


ANNA, PETRA, MUSTER, DEAL, SALES = (id_of(name) for name in ("anna", "petra", "muster", "deal", "sales"))


def line(price: str = "100.00", name: str = "Roof tiles", quantity: str = "1", rate: str = "19") -> common.Line:
    return common.Line(line_id=id_of(f"line/{name}"), name=name, quantity=quantity, unit_price=price, tax_rate=rate)


def deal_created(id: str = DEAL, **own: Any) -> deals.DealCreated:
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
        "custom": {},
        "created_at": "2026-03-02T08:00:00.000Z",
    }
    return deals.DealCreated(
        origin=origin(),
        deal_id=id,
        pipeline_id=SALES,
        stage_id=id_of("new"),
        stage_kind="process",
        visit_id=id_of(f"visit/{id}"),
        visit_number=1,
        arrived_at="2026-03-02T08:00:00.000Z",
        automation="on",
        fields=deals.DealFields(**(fields | own)),
    )


def pipeline(*, expires: bool = True) -> deals.PipelineCreated:
    return deals.PipelineCreated(
        origin=origin(),
        pipeline_id=SALES,
        code="sales",
        element_type="deal",
        name="Sales",
        language="de",
        owner_id=ANNA,
        is_default=True,
        trigger_choice="earliest",
        expire_links_on_lost=expires,
        order_version=1,
        stages=(),
    )


def contact() -> deals.ContactCreated:
    fields = deals.ContactFields(
        first_name="Petra", last_name="Muster", emails=("petra@example.org",), phones=(), company_ids=(MUSTER,), custom={}
    )
    return deals.ContactCreated(origin=origin(), contact_id=PETRA, fields=fields)


def company(name: str = "Muster GmbH") -> deals.CompanyCreated:
    fields = deals.CompanyFields(name=name, emails=(), phones=(), custom={})
    return deals.CompanyCreated(origin=origin(), company_id=MUSTER, fields=fields)


def details(city: str = "Ulm") -> deals.DetailsCreated:
    return deals.DetailsCreated(
        origin=origin(),
        details_id=id_of("details"),
        owner_type="contact",
        owner_id=PETRA,
        template_code="person",
        is_default=True,
        fields={"vat_id": "DE123456789"},
        addresses={"business": {"street": "Altweg", "house": "1", "city": city}},
    )


def create_invoice(name: str = "I", **own: Any) -> billing.CreateInvoice:
    id = id_of(name)
    fields: dict[str, Any] = {
        "deal_id": DEAL,
        "title": "Roof 2026",
        "responsible_id": ANNA,
        "customer": common.Customer(contact_id=PETRA, company_id=MUSTER),
        "currency": "EUR",
        "prices_include_tax": True,
        "lines": (line(),),
        "amount": "0",
        "issue": False,
        "skip_if_open_exists": False,
    }
    return billing.CreateInvoice(request_id=id, invoice_id=id, origin=origin(), **(fields | own))


def create_link(name: str = "L", **own: Any) -> billing.CreatePaymentLink:
    id = id_of(name)
    fields: dict[str, Any] = {
        "deal_id": DEAL,
        "auto_create": True,
        "reuse_existing": False,
        "covers": "auto",
        "currency": "EUR",
        "amount": "100.00",
        "prices_include_tax": True,
        "lines": (line(),),
        "customer": common.Customer(contact_id=PETRA, company_id=MUSTER),
    }
    return billing.CreatePaymentLink(request_id=id, payment_document_id=id, origin=origin(), **(fields | own))


def register_payment(name: str = "p1", amount: str = "100.00", **own: Any) -> billing.RegisterPayment:
    fields: dict[str, Any] = {"invoice_id": id_of("I"), "deal_id": DEAL, "paid_at": "2026-03-02T08:00:00.000Z", "provider": "bank"}
    money = common.Money(amount=amount, currency=own.pop("currency", "EUR"))
    return billing.RegisterPayment(request_id=str(uuid4()), origin=origin(), provider_payment_id=name, amount=money, **(fields | own))


@pytest.fixture
async def empty_house(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """Billing that has heard of a tenant and of nothing else."""
    monkeypatch.setenv("DEALWRIGHT_BILLING__PUBLIC_BASE", BASE)
    monkeypatch.setenv("DEALWRIGHT_BILLING__WEBHOOK_SECRETS", SECRET)
    settings.cache_clear()
    async with a_house(stack, SERVICE, NOW) as found:
        monkeypatch.setattr(provider, "ROAD", httpx.ASGITransport(found.app))
        yield found
    settings.cache_clear()


@pytest.fixture
async def house(empty_house: House) -> House:
    """With the deal, its pipeline and its customer."""
    await empty_house.hear(
        empty_house.record(pipeline(), subject=f"pipeline/{SALES}"),
        empty_house.record(contact(), subject=f"contact/{PETRA}"),
        empty_house.record(company(), subject=f"company/{MUSTER}"),
        empty_house.record(details(), subject=f"details/{id_of('details')}"),
        empty_house.record(employee(ANNA, "Anna"), subject=f"employee/{ANNA}"),
        empty_house.record(deal_created(), subject=f"deal/{DEAL}"),
    )
    return empty_house


@pytest.fixture
async def browser(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A customer's browser: no credential, no Idempotency-Key, follows nothing by itself."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(house.app), base_url=BASE) as found:
        yield found


@pytest.fixture
async def client(house: House) -> AsyncIterator[httpx.AsyncClient]:
    """A person in the office who may do everything in billing."""
    async with house.client(await house.key("billing:read", "billing:write", "payments:refund")) as found:
        yield found
