"""Links, payments and refunds of a rehearsal: by its own clock, and with the test provider alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest

from services.billing import api, provider
from services.billing.service import SERVICE
from services.billing.settings import settings
from shared.messaging.envelope import instant
from shared.testing.stack import Stack
from tests.service.billing.conftest import BASE, DEAL, NOW, SALES, SECRET, create_link, deal_created, id_of, pipeline
from tests.service.house import House, a_house

DAY = timedelta(days=1)
SCOPES = ("billing:read", "billing:write", "payments:refund")


class NobodyMayAsk:
    """A provider outside: whoever asks it has let a rehearsal out of the house."""

    name = "outside"

    def __getattr__(self, asked: str) -> object:
        raise AssertionError(f"a rehearsal asked the real provider: {asked}")


@pytest.fixture
async def rehearsal(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[House]:
    """Where the deployment's provider is a real one."""
    monkeypatch.setenv("DEALWRIGHT_BILLING__PUBLIC_BASE", BASE)
    monkeypatch.setenv("DEALWRIGHT_BILLING__WEBHOOK_SECRETS", SECRET)
    settings.cache_clear()
    monkeypatch.setitem(provider.PROVIDERS, "outside", NobodyMayAsk())
    monkeypatch.setattr(api, "DEFAULT", "outside")
    async with a_house(stack, SERVICE, NOW, rehearsal=True) as house:
        monkeypatch.setattr(provider, "ROAD", httpx.ASGITransport(house.app))
        await house.hear(
            house.record(pipeline(), subject=f"pipeline/{SALES}"), house.record(deal_created(), subject=f"deal/{DEAL}"), create_link()
        )
        yield house
    settings.cache_clear()


async def url_of(house: House) -> str:
    return str((await house.one("PaymentLinkCreated"))["url"])


async def test_a_link_ends_by_the_rehearsals_clock_and_at_its_moment(rehearsal: House) -> None:
    house = rehearsal
    await house.clock_moved(NOW)
    await house.tick(365 * DAY)
    assert not await house.said("PaymentLinkExpired")
    async with house.client() as customer:
        assert "data-state=open" in (await customer.get(await url_of(house))).text
    await house.clock_moved(NOW + 180 * DAY)
    async with house.client() as customer:
        assert "data-state=expired" in (await customer.get(await url_of(house))).text
    await house.tick()
    (expired,) = await house.said("PaymentLinkExpired")
    assert expired.time == instant(NOW + 30 * DAY)


async def test_a_new_link_counts_from_where_the_clock_stands(rehearsal: House) -> None:
    await rehearsal.clock_moved(NOW + 100 * DAY)
    async with rehearsal.client(await rehearsal.key(*SCOPES)) as client:
        answer = await client.post(f"/v1/payment-documents/{id_of('L')}/links", json={"expires_in_days": 5})
    assert answer.json()["link"]["expires_at"] == instant(NOW + 105 * DAY)


async def test_money_comes_from_the_test_provider_and_goes_back_to_it(rehearsal: House) -> None:
    house = rehearsal
    await house.clock_moved(NOW + DAY)
    async with house.client() as customer:
        begun = await customer.post(f"{await url_of(house)}/checkouts", data={"attempt": "1"})
        assert begun.status_code == 303, begun.text
        pressed = await customer.post(f"{begun.headers['location'].removeprefix(BASE)}/presses", data={"button": "later", "minutes": "90"})
        assert pressed.status_code == 303, pressed.text
    await house.tick(DAY)
    assert not await house.said("PaymentReceived")
    await house.clock_moved(NOW + DAY + timedelta(minutes=90))
    await house.tick()
    payment = await house.one("PaymentReceived")
    assert payment["provider"] == "fake"
    async with house.client(await house.key(*SCOPES)) as client:
        back = await client.post(f"/v1/payments/{payment['payment_id']}/refunds", json={"amount": "10.00", "reason": "goodwill"})
        assert back.status_code < 300, back.text
    await house.tick()
    assert (await house.one("PaymentRefunded"))["amount"]["amount"] == "10.00"
