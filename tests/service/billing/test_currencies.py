"""Money in another currency than its target's: kept, told and shown, applied by nobody but a person who names the rate (D32)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest

from shared.contracts import billing, common
from tests.service.billing.conftest import ANNA, DEAL, MUSTER, PETRA, create_invoice, create_link, id_of, register_payment
from tests.service.billing.test_pages import deliver, event
from tests.service.house import House, origin

DOLLARS = {"amount": "100.00", "currency": "USD"}


Paying = Callable[[House, httpx.AsyncClient, httpx.AsyncClient, dict[str, str]], Awaitable[None]]


async def by_message(house: House, client: httpx.AsyncClient, browser: httpx.AsyncClient, target: dict[str, str]) -> None:
    to: dict[str, Any] = {"invoice_id": None, **target}
    await house.hear(register_payment(currency="USD", **to))


async def by_webhook(house: House, client: httpx.AsyncClient, browser: httpx.AsyncClient, target: dict[str, str]) -> None:
    to: dict[str, Any] = {"invoice_id": None, **target}
    assert (await deliver(browser, in_dollars(event(house, **to)))).status_code == 200


async def by_hand(house: House, client: httpx.AsyncClient, browser: httpx.AsyncClient, target: dict[str, str]) -> None:
    body = {"reference": "b1", "amount": DOLLARS, "paid_at": "2026-03-02T08:00:00Z", **target}
    assert (await client.post("/v1/payments", json=body)).status_code == 201


def in_dollars(report: dict[str, Any]) -> dict[str, Any]:
    report["data"]["currency"] = "USD"
    return report


@pytest.mark.parametrize("pay", [by_message, by_webhook, by_hand])
@pytest.mark.parametrize("target", ["invoice", "link of the invoice", "link of the deal"])
async def test_dollars_for_euros_are_kept_and_told_and_pay_nothing(
    house: House, client: httpx.AsyncClient, browser: httpx.AsyncClient, pay: Paying, target: str
) -> None:
    await house.hear(create_invoice(issue=True))
    await house.hear(create_link(covers="deal" if target == "link of the deal" else "auto"))
    invoice, link = f"/v1/invoices/{id_of('I')}", f"/v1/payment-documents/{id_of('L')}"
    before = [(await client.get(path)).json() for path in (invoice, link)]
    await house.forget()

    await pay(house, client, browser, {"invoice_id": id_of("I")} if target == "invoice" else {"payment_document_id": id_of("L")})

    assert [m.name for m in await house.said()] == ["PaymentReceived", "PaymentUnallocated"]
    told = await house.one("PaymentUnallocated")
    assert (told["reason"], told["amount"], told["deal_id"], told["deal_responsible_id"]) == ("currency_differs", DOLLARS, DEAL, ANNA)
    (payment,) = (await client.get("/v1/payments?unapplied=true")).json()["items"]
    assert (payment["status"], payment["unapplied_reason"], payment["unapplied"]) == ("unallocated", "currency_differs", DOLLARS)
    assert [(await client.get(path)).json() for path in (invoice, link)] == before
    (credit,) = (await client.get("/v1/customer-credits")).json()["items"]
    assert (credit["credit"], credit["customer"]) == (DOLLARS, {"contact_id": PETRA, "company_id": MUSTER})


async def test_dollars_on_a_deal_do_not_pay_the_invoice_that_is_issued_later(house: House, client: httpx.AsyncClient) -> None:
    """A prepayment waits for an invoice of its own currency (F5)."""
    await house.hear(create_link(currency="USD", covers="deal"))
    await house.hear(register_payment(currency="USD", invoice_id=None, payment_document_id=id_of("L")))
    await house.forget()
    await house.hear(create_invoice(issue=True))

    assert [m.name for m in await house.said()] == ["InvoiceCreated", "InvoiceIssued"]
    assert (await client.get(f"/v1/invoices/{id_of('I')}")).json()["amount_due"] == {"amount": "100.00", "currency": "EUR"}


async def test_a_person_allocates_at_a_rate_that_is_kept(house: House, client: httpx.AsyncClient) -> None:
    await house.hear(create_invoice(issue=True), register_payment(currency="USD"))
    (payment,) = (await client.get("/v1/payments")).json()["items"]
    path, body = f"/v1/payments/{payment['id']}/allocations", {"invoice_id": id_of("I"), "amount": "100.00"}

    without = await client.post(path, json=body)
    assert (without.status_code, without.json()["code"]) == (409, "currency_differs")
    more = await client.post(path, json={**body, "rate": "1.01"})
    assert (more.status_code, more.json()["code"]) == (409, "more_than_due")
    done = await client.post(path, json={**body, "rate": "0.9"})
    assert (done.status_code, [a["rate"] for a in done.json()["allocations"]]) == (201, ["0.9"])
    assert (await client.get(f"/v1/invoices/{id_of('I')}")).json()["amount_due"] == {"amount": "10.00", "currency": "EUR"}


async def test_a_refund_in_another_currency_is_refused(house: House) -> None:
    await house.hear(create_invoice(issue=True), register_payment())
    payment_id = (await house.one("PaymentReceived"))["payment_id"]
    await house.forget()
    asked = {"payment_id": payment_id, "deal_id": DEAL, "amount": common.Money(**DOLLARS), "to_be_paid_again": False, "reason": "wrong"}
    await house.hear(billing.RefundPayment(request_id=id_of("r"), origin=origin(), **asked))
    assert (await house.one("CommandRejected"))["code"] == "currency_differs"


async def test_a_refund_that_the_provider_reports_in_another_currency_is_told_and_not_applied(
    house: House, client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    """Sixty dollars back are not sixty euros back."""
    await house.hear(create_invoice(issue=True))
    await deliver(browser, event(house))
    invoice = (await client.get(f"/v1/invoices/{id_of('I')}")).json()
    await house.forget()
    report = in_dollars(event(house, amount="60.00", kind="payment.refunded"))

    for body in (report, {**report, "id": "the same once more"}):
        assert (await deliver(browser, body)).status_code == 200

    told = await house.one("PaymentUnallocated")
    assert (told["reason"], told["amount"]) == ("currency_differs", {"amount": "60.00", "currency": "USD"})
    (payment,) = (await client.get("/v1/payments")).json()["items"]
    assert (payment["status"], payment["refunded"]["amount"]) == ("allocated", "0.00")
    assert (await client.get(f"/v1/invoices/{id_of('I')}")).json() == invoice


async def test_the_same_payment_reported_in_another_currency_is_told_as_that(house: House, browser: httpx.AsyncClient) -> None:
    await house.hear(create_invoice(issue=True))
    await deliver(browser, event(house, amount="40.00"))
    await house.forget()
    await deliver(browser, in_dollars({**event(house, amount="40.00"), "id": "evt_other"}))
    (told,) = await house.said()
    assert (told.name, told.body["reason"], told.body["amount"]["currency"]) == ("PaymentUnallocated", "currency_differs", "USD")
