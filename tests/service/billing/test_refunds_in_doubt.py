"""A refund that its provider never answers: it may have happened, so nobody is told that it was refused (R10, D27)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from services.billing import provider
from shared.contracts import billing, common
from shared.messaging.effects import Performed
from shared.messaging.effects_loop import MOST_UNANSWERED
from tests.service.billing.conftest import ANNA, DEAL, create_invoice, id_of, register_payment
from tests.service.billing.test_pages import deliver, event
from tests.service.house import House, origin


class Silent(provider.Fake):
    """Takes every request and answers none, until it is told to."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = False

    async def give_back(self, request: Mapping[str, Any]) -> Performed:
        self.asked.append(request["refund_id"])
        if not self.answers:
            return Performed("unknown", {"error": "no answer"})
        return await super().give_back(request)


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Silent:
    found = Silent()
    monkeypatch.setitem(provider.PROVIDERS, "fake", found)
    return found


def refund(payment_id: str, request: str = "refund") -> billing.RefundPayment:
    return billing.RefundPayment(
        request_id=id_of(request),
        origin=origin(),
        payment_id=payment_id,
        deal_id=DEAL,
        amount=common.Money(amount="100.00", currency="EUR"),
        to_be_paid_again=False,
        reason="returned",
    )


async def in_doubt(house: House) -> str:
    """A refund of the whole payment that had no answer so often that nobody asks any more; the payment's id."""
    await house.hear(create_invoice(issue=True))
    await house.hear(register_payment(provider="fake"))
    payment_id = str((await house.one("PaymentReceived"))["payment_id"])
    await house.forget()
    await house.hear(refund(payment_id))
    for _ in range(MOST_UNANSWERED + 1):
        await house.tick(timedelta(seconds=15))
    return payment_id


async def shown(house: House, payment_id: str) -> Any:
    async with house.client(await house.key("billing:read")) as client:
        return (await client.get(f"/v1/payments/{payment_id}")).json()


async def resolve(house: House, as_: str) -> None:
    """As an operator who has asked the provider."""
    async with house.client(await house.key("ops:read", "ops:retry")) as operator:
        (held,) = (await operator.get("/ops/effects?kind=provider_refund&state=unknown")).json()["items"]
        path = f"/ops/effects/provider_refund/{held['key']}/resolutions"
        answer = await operator.post(path, json={"as": as_, "why": "They looked it up"})
    assert answer.status_code == 200, answer.text
    await house.tick()


async def test_a_refund_without_an_answer_is_neither_given_back_nor_refused(house: House, silent: Silent) -> None:
    payment_id = await in_doubt(house)

    assert silent.asked == [id_of("refund")] * MOST_UNANSWERED
    (told,) = await house.said()
    assert (told.name, told.key, told.body["deal_responsible_id"]) == ("RefundUnanswered", DEAL, ANNA)
    assert (told.body["payment_id"], told.body["refund_id"], told.body["amount"]["amount"]) == (payment_id, id_of("refund"), "100.00")
    payment = await shown(house, payment_id)
    (doubted,) = payment["refunds"]
    assert (doubted["state"], payment["status"], payment["kept"]["amount"]) == ("unknown", "allocated", "100.00")
    assert "may have happened" in doubted["detail"]
    assert (await house.rows("select status from invoices_v1"))[0]["status"] == "paid"


async def test_its_money_cannot_be_given_back_a_second_time_meanwhile(house: House, silent: Silent) -> None:
    payment_id = await in_doubt(house)
    async with house.client(await house.key("payments:refund", "billing:write")) as client:
        second = await client.post(f"/v1/payments/{payment_id}/refunds", json={"amount": "0.01", "reason": "again"})
    assert (second.status_code, second.json()["code"]) == (409, "more_than_paid")
    await house.forget()
    await house.hear(refund(payment_id))
    await house.tick()
    assert (await house.said(), len(silent.asked)) == ([], MOST_UNANSWERED)


async def test_it_did_happen(house: House, silent: Silent) -> None:
    payment_id = await in_doubt(house)
    await house.forget()
    await resolve(house, "done")

    assert [m.name for m in await house.said()] == ["PaymentRefunded", "InvoiceRefunded"]
    assert (await house.one("PaymentRefunded"))["request_id"] == id_of("refund")
    payment = await shown(house, payment_id)
    assert ([r["state"] for r in payment["refunds"]], payment["status"]) == (["done"], "refunded")
    assert len(silent.asked) == MOST_UNANSWERED


async def test_it_did_not_happen(house: House, silent: Silent) -> None:
    payment_id = await in_doubt(house)
    await house.forget()
    await resolve(house, "failed")

    (refusal,) = await house.said()
    assert (refusal.name, refusal.body["code"], refusal.body["request_id"]) == ("CommandRejected", "provider_refused", id_of("refund"))
    assert refusal.body["detail"] == "They looked it up"
    (refused,) = (await shown(house, payment_id))["refunds"]
    assert (refused["state"], refused["detail"]) == ("refused", "They looked it up")


async def test_it_is_asked_for_again_under_the_same_key(house: House, silent: Silent) -> None:
    payment_id = await in_doubt(house)
    await house.forget()
    silent.answers = True
    await resolve(house, "again")

    assert set(silent.asked) == {id_of("refund")} and len(silent.asked) == MOST_UNANSWERED + 1
    assert [m.name for m in await house.said()] == ["PaymentRefunded", "InvoiceRefunded"]
    assert (await shown(house, payment_id))["status"] == "refunded"


async def test_a_late_report_of_the_provider_settles_it(house: House, silent: Silent) -> None:
    payment_id = await in_doubt(house)
    await house.forget()
    report = event(house, kind="payment.refunded")
    report["data"]["reference"] = f"re_{id_of('refund')}"
    async with house.client() as anybody:
        assert (await deliver(anybody, report, at=house.now)).status_code == 200
    assert [m.name for m in await house.said()] == ["PaymentRefunded", "InvoiceRefunded"]
    await house.forget()
    await resolve(house, "done")
    assert await house.said() == []
    assert (await shown(house, payment_id))["status"] == "refunded"
