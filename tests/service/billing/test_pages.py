"""The pages customers see, the test provider and its signed webhooks (billing.md 10; reliability T10, T11, I13, I16)."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import uvicorn
from hypothesis import given as over
from hypothesis import strategies as st

from services.billing import provider
from services.billing.provider import check_signature, signed
from services.billing.settings import settings
from shared.contracts.common import Customer
from shared.es.errors import Rejected
from tests.service.billing.conftest import DEAL, NOW, SECRET, create_invoice, create_link, id_of, line
from tests.service.house import House


async def link_of(house: House, **own: Any) -> str:
    await house.hear(create_link(**own))
    return str(urlsplit((await house.said("PaymentLinkCreated"))[-1].body["url"]).path)


async def begin(browser: httpx.AsyncClient, path: str) -> str:
    """Presses the button of the pay page. Answers the checkout's path."""
    page = (await browser.get(path)).text
    action = re.search(r'action="([^"]+)"', page)
    attempt = re.search(r'name=attempt value="([^"]+)"', page)
    assert action and attempt, page
    answer = await browser.post(action[1], data={"attempt": attempt[1]})
    assert answer.status_code == 303, answer.text
    return str(urlsplit(answer.headers["location"]).path)


async def press(browser: httpx.AsyncClient, checkout: str, button: str, **fields: str) -> httpx.Response:
    return await browser.post(f"{checkout}/presses", data={"button": button, "attempt": f"{button} {fields}", **fields})


def names(said: list[Any]) -> list[str]:
    return [m.name for m in said]


async def test_the_customer_pays_on_the_page_and_billing_hears_it_by_webhook(house: House, browser: httpx.AsyncClient) -> None:
    """The story, steps 4 and 5; 3.1/3"""
    await house.hear(create_invoice(lines=(line("60.00", "Tiles <b>"), line("40.00", "Mounting"))))
    path = await link_of(house)
    await house.forget()

    page = await browser.get(path, headers={"Accept-Language": "en"})
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    for text in ("Roof 2026", "Acme", "Tiles &lt;b&gt;", "Mounting", 'value="100.00 EUR"', "100.00 EUR", "TEST", "data-state=open"):
        assert text in page.text, text
    assert "<b>" not in page.text
    checkout = await begin(browser, path)
    hosted = await browser.get(checkout)
    assert 'value="100.00 EUR"' in hosted.text
    assert "TEST" in hosted.text
    assert await house.said() == []

    assert (await press(browser, checkout, "pay")).status_code == 303
    assert await house.said() == [], "the provider reports later, by itself"
    await house.tick()

    assert names(await house.said()) == ["PaymentReceived", "InvoicePaid", "PaymentDocumentPaid"]
    received = await house.one("PaymentReceived")
    assert (received["provider"], received["amount"]["amount"], received["payment_document_id"]) == ("fake", "100.00", id_of("L"))
    assert received["origin"]["kind"] == "system"
    assert "data-state=paid" in (await browser.get(path)).text
    assert "data-state=paid" in (await browser.get(checkout)).text
    kept = await house.rows("select kind, raw from provider_events_v1")
    assert [(k["kind"], json.loads(k["raw"])["data"]["amount"]) for k in kept] == [("payment.succeeded", "100.00")]


@pytest.mark.parametrize(
    ("included", "words"),
    [(True, ("including VAT 19 %", "15.97 EUR", "100.00")), (False, ("plus VAT 19 %", "19.00 EUR", "119.00"))],
)
async def test_the_page_shows_the_tax(house: House, browser: httpx.AsyncClient, included: bool, words: tuple[str, ...]) -> None:
    path = await link_of(house, prices_include_tax=included)

    page = (await browser.get(path, headers={"Accept-Language": "en"})).text

    for each in words:
        assert each in page


async def test_reading_the_page_changes_nothing(house: House, browser: httpx.AsyncClient) -> None:
    path = await link_of(house)
    before = await house.rows("select count(*) as n from events")

    pages = [await browser.get(path) for _ in range(10)]

    assert {page.status_code for page in pages} == {200}
    assert await house.rows("select count(*) as n from events") == before


async def test_what_the_pages_tell_the_browser(house: House, browser: httpx.AsyncClient) -> None:
    """T11"""
    path = await link_of(house)

    for page in (await browser.get(path), await browser.get("/pay/unknown"), await browser.get(await begin(browser, path))):
        policy = page.headers["content-security-policy"]
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "script" not in policy
        assert "<script" not in page.text


async def test_the_page_speaks_the_readers_language(house: House, browser: httpx.AsyncClient) -> None:
    path = await link_of(house)
    german, english = "Jetzt bezahlen", "Pay now"
    wishes = {"de-DE,de;q=0.9,en;q=0.8": german, "en": english, "fr, en;q=0.3, de;q=0.2": english, "fr": german, ";q=x,,en;q=": english}

    for accepted, text in wishes.items():
        page = (await browser.get(path, headers={"Accept-Language": accepted})).text
        assert text in page, accepted
        assert ("100,00 EUR" in page) == (text == german)


async def test_unknown_expired_cancelled_and_replaced_links(house: House, browser: httpx.AsyncClient) -> None:
    unknown = await browser.get("/pay/nobody-made-this-token")
    assert (unknown.status_code, "data-state=unknown" in unknown.text) == (404, True)
    assert (await browser.post("/pay/nobody-made-this-token/checkouts")).status_code == 404
    first = await link_of(house, expires_in_days=3)
    async with house.client(await house.key("billing:read", "billing:write")) as client:
        second = (await client.post(f"/v1/payment-documents/{id_of('L')}/links", json={"expires_in_days": 5})).json()["link"]["url"]
        assert "data-state=replaced" in (await browser.get(first)).text
        house.now += timedelta(days=5, seconds=1)
        late = await browser.get(urlsplit(second).path)
        assert (late.status_code, "data-state=expired" in late.text) == (200, True)
        assert (await browser.post(f"{urlsplit(second).path}/checkouts")).status_code == 409
        await house.tick()
        assert (await client.get(f"/v1/payment-documents/{id_of('L')}")).json()["status"] == "expired"
        await client.post(f"/v1/payment-documents/{id_of('L')}/cancellations", json={})
    assert "data-state=cancelled" in (await browser.get(urlsplit(second).path)).text


async def test_a_link_expires_by_itself_once(house: House) -> None:
    await link_of(house, expires_in_days=3)
    await house.forget()

    await house.tick(timedelta(days=3) - timedelta(seconds=1))
    assert await house.said() == []
    await house.tick(timedelta(seconds=2))
    await house.tick(timedelta(days=30))

    assert names(await house.said()) == ["PaymentLinkExpired"]


async def test_pressing_twice_is_one_checkout_and_one_payment(house: House, browser: httpx.AsyncClient) -> None:
    """I16"""
    path = await link_of(house)
    answers = await asyncio.gather(*(browser.post(f"{path}/checkouts", data={"attempt": "one"}) for _ in range(5)))
    assert len({answer.headers["location"] for answer in answers}) == 1
    checkout = urlsplit(answers[0].headers["location"]).path

    pressed = await asyncio.gather(*(press(browser, checkout, "pay") for _ in range(5)))
    await house.tick()

    assert {answer.status_code for answer in pressed} == {303}
    assert names(await house.said("PaymentReceived")) == ["PaymentReceived"]
    assert (await press(browser, checkout, "pay", amount="1")).status_code == 409


async def test_two_checkouts_of_one_link_never_charge_more_than_is_due_without_saying_so(house: House, browser: httpx.AsyncClient) -> None:
    await house.hear(create_invoice(issue=True))
    path = await link_of(house)
    first, second = await begin(browser, path), await begin(browser, path)

    await press(browser, first, "pay")
    await press(browser, second, "pay")
    await house.tick()

    assert len(await house.said("InvoicePaid")) == 1
    assert (await house.one("OverpaymentRecorded"))["amount"]["amount"] == "100.00"


async def test_partly_paid_then_the_rest(house: House, browser: httpx.AsyncClient) -> None:
    await house.hear(create_invoice(issue=True))
    path = await link_of(house)
    await press(browser, await begin(browser, path), "partial", amount="40.00")
    await house.tick()
    page = (await browser.get(path, headers={"Accept-Language": "en"})).text
    assert "data-state=partially_paid" in page
    assert re.search(r'class=due><data value="60.00 EUR"', page)

    await press(browser, await begin(browser, path), "pay")
    await house.tick()

    assert names(await house.said("InvoicePartiallyPaid", "InvoicePaid")) == ["InvoicePartiallyPaid", "InvoicePaid"]


async def test_every_button(house: House, browser: httpx.AsyncClient) -> None:
    await house.hear(create_invoice(issue=True))
    path = await link_of(house)

    declined = await begin(browser, path)
    await press(browser, declined, "decline")
    await press(browser, await begin(browser, path), "abandon")
    await house.tick()
    assert await house.said("PaymentReceived") == []
    assert "data-state=declined" in (await browser.get(declined)).text
    confirmed = await begin(browser, path)
    await press(browser, confirmed, "confirm")
    assert "3-D Secure" in (await browser.get(confirmed)).text
    later = await begin(browser, path)
    await press(browser, later, "later", minutes="5")
    await house.tick(timedelta(minutes=4))
    assert await house.said("PaymentReceived") == []
    await house.tick(timedelta(minutes=2))
    assert len(await house.said("InvoicePaid")) == 1
    await press(browser, later, "charge_back")
    await house.tick()
    assert (await house.one("InvoiceReopened"))["reason"] == "reversed"
    assert (await house.one("PaymentReversed"))["epoch_closed"] == 1


async def test_the_webhook_may_misbehave(house: House, browser: httpx.AsyncClient) -> None:
    await house.hear(create_invoice(issue=True))
    path = await link_of(house)
    spoilt = await begin(browser, path)
    await press(browser, spoilt, "partial", amount="10.00", bad_signature="true")
    await house.tick()
    assert await house.rows("select 1 from provider_events_v1") == []

    await press(browser, await begin(browser, path), "partial", amount="40.00", twice="true", delay="3")
    await house.tick(timedelta(seconds=4))
    assert len(await house.said("PaymentReceived")) == 1

    await press(browser, await begin(browser, path), "pay", out_of_order="on")
    await house.tick()
    await house.tick(timedelta(seconds=3))
    received = await house.said("PaymentReceived")
    assert len(received) == 3
    assert received[1].body["paid_at"] > received[2].body["paid_at"]
    assert len(await house.said("InvoicePaid")) == 1


async def test_a_refund_at_the_provider_comes_back_as_one(house: House, browser: httpx.AsyncClient) -> None:
    await house.hear(create_invoice(issue=True))
    checkout = await begin(browser, await link_of(house))
    await press(browser, checkout, "pay")
    await house.tick()

    await press(browser, checkout, "refund", twice="true")
    await house.tick()

    assert len(await house.said("InvoiceRefunded")) == 1
    assert (await house.one("PaymentRefunded"))["amount"]["amount"] == "100.00"


async def test_a_webhook_owed_survives_a_shop_that_is_away(
    house: House, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkout = await begin(browser, await link_of(house))
    await press(browser, checkout, "pay")
    road = provider.ROAD
    monkeypatch.setattr(provider, "ROAD", httpx.MockTransport(lambda request: httpx.Response(503)))
    await house.tick()
    assert await house.said("PaymentReceived") == []

    monkeypatch.setattr(provider, "ROAD", road)
    await house.tick(timedelta(seconds=90))

    assert len(await house.said("PaymentReceived")) == 1
    assert (await house.rows("select state, attempt from effects where kind = 'provider_webhook'"))[0]["state"] == "done"


async def test_wrong_buttons_and_amounts(house: House, browser: httpx.AsyncClient) -> None:
    checkout = await begin(browser, await link_of(house))

    assert (await press(browser, checkout, "steal")).status_code == 422
    assert (await press(browser, checkout, "partial", amount="1.005")).status_code == 422
    assert (await press(browser, checkout, "partial", amount="-1")).status_code == 422
    assert (await press(browser, checkout, "later", minutes="99999")).status_code == 422
    assert (await press(browser, checkout, "refund")).status_code == 409
    assert (await browser.post(f"{checkout}/presses", content=b"\xff\xfe")).status_code == 422
    assert (await browser.get(f"/fake-provider/checkouts/{id_of('nowhere')}")).status_code == 404


async def test_twenty_checkouts_a_minute_and_link(house: House, browser: httpx.AsyncClient) -> None:
    path = await link_of(house)
    for n in range(20):
        assert (await browser.post(f"{path}/checkouts", data={"attempt": str(n)})).status_code == 303
    assert (await browser.post(f"{path}/checkouts", data={"attempt": "more"})).status_code == 429
    house.now += timedelta(minutes=2)
    assert (await browser.post(f"{path}/checkouts", data={"attempt": "more"})).status_code == 303


# --------------------------------------------------------------------------------------------------------- webhooks


def event(house: House, name: str = "p1", amount: str = "100.00", kind: str = "payment.succeeded", **about: Any) -> dict[str, Any]:
    data = {"payment_id": name, "amount": amount, "currency": "EUR", "at": "2026-03-02T08:00:00+00:00"}
    target = {"tenant_id": str(house.tenant), "invoice_id": id_of("I"), **about}
    return {"id": f"evt_{name}_{kind}", "type": kind, "data": {**data, "metadata": target}}


async def deliver(
    browser: httpx.AsyncClient, body: Any, *, secret: str = SECRET, at: Any = NOW, headers: dict[str, str] | None = None
) -> httpx.Response:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent = {"content-type": "application/json", **signed("evt", at, raw, secret.encode()), **(headers or {})}
    return await browser.post("/v1/provider-events/fake", content=raw, headers=sent)


async def test_one_event_delivered_three_times_is_one_payment(house: House, browser: httpx.AsyncClient) -> None:
    """Order 2: each delivery is answered 200."""
    await house.hear(create_invoice(issue=True))
    body = event(house)

    answers = [await deliver(browser, body, at=NOW + timedelta(seconds=n)) for n in range(3)]

    assert [a.status_code for a in answers] == [200, 200, 200]
    assert (len(await house.said("PaymentReceived")), len(await house.said("InvoicePaid"))) == (1, 1)


async def test_an_event_that_comes_again_in_other_bytes_is_one_event(house: House, browser: httpx.AsyncClient) -> None:
    await house.hear(create_invoice(issue=True))
    body = event(house)

    assert (await deliver(browser, body)).status_code == 200
    assert (await deliver(browser, json.dumps(body, indent=1).encode())).status_code == 200

    assert len(await house.said("PaymentReceived")) == 1
    assert len(await house.rows("select 1 from provider_events_v1")) == 1


async def test_the_same_payment_with_another_amount_is_kept_and_told(house: House, browser: httpx.AsyncClient) -> None:
    await house.hear(create_invoice(issue=True))
    await deliver(browser, event(house, amount="40.00"))
    altered = {**event(house, amount="100.00"), "id": "evt_altered"}

    assert (await deliver(browser, altered)).status_code == 200

    assert (await house.one("PaymentUnallocated"))["reason"] == "amount_differs"
    assert len(await house.rows("select 1 from provider_events_v1")) == 2
    assert await house.said("InvoicePaid") == []


async def test_a_bad_signature_leaves_nothing_behind(house: House, browser: httpx.AsyncClient) -> None:
    body = event(house)
    answers = [
        await deliver(browser, body, secret="another"),
        await deliver(browser, body, at=NOW - timedelta(seconds=301)),
        await deliver(browser, body, at=NOW + timedelta(seconds=301)),
        await deliver(browser, body, headers={"webhook-id": "other"}),
        await deliver(browser, body, headers={"webhook-signature": "v1,"}),
        await deliver(browser, body, headers={"webhook-timestamp": "soon"}),
        await browser.post("/v1/provider-events/fake", json=body),
    ]

    assert {(a.status_code, a.json()["code"]) for a in answers} == {(400, "bad_signature")}
    assert await house.rows("select 1 from events where aggregate in ('payment', 'provider-event')") == []
    assert await house.rows("select 1 from inbox where consumer = 'http'") == []


async def test_several_secrets_for_rotation(house: House, browser: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEALWRIGHT_BILLING__WEBHOOK_SECRETS", f"new one, {SECRET}")
    settings.cache_clear()

    assert (await deliver(browser, event(house))).status_code == 200
    assert (await deliver(browser, event(house, "p2"), secret="new one")).status_code == 200


async def test_a_signed_event_that_cannot_be_read(house: House, browser: httpx.AsyncClient) -> None:
    spoilt = [
        b"not json",
        b"[]",
        b"{}",
        json.dumps({"id": "e", "type": "payment.succeeded", "data": None}).encode(),
        b'{"id": "e", "type": "payment.succeeded", "data": {"metadata": {"tenant_id": 1}}}',
        b"\xff\xfe",
    ]
    for raw in spoilt:
        answer = await deliver(browser, raw, headers={"content-type": "application/octet-stream"})
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed_event")

    changes = [{"amount": "-1"}, {"amount": "0"}, {"amount": "1.005"}, {"currency": "XXQ"}, {"at": "soon"}, {"payment_id": ""}]
    for change in (*changes, {"payer": ""}, {"payment_id": "x" * 256}):
        body = event(house)
        body["data"] = {**body["data"], **change}
        assert (await deliver(browser, body)).json()["code"] == "malformed_event", change
    assert await house.rows("select 1 from provider_events_v1") == []


async def test_money_back_before_the_money_is_asked_for_again_later(house: House, browser: httpx.AsyncClient) -> None:
    """Out of order: the provider repeats what was answered 409 `not-yet`."""
    await house.hear(create_invoice(issue=True))
    back = event(house, kind="payment.reversed")

    first = await deliver(browser, back)
    assert (first.status_code, first.json()["code"]) == (409, "not_yet")
    await deliver(browser, event(house))
    assert (await deliver(browser, back)).status_code == 200
    assert (await deliver(browser, back)).status_code == 200

    assert names(await house.said())[-3:] == ["InvoicePaid", "PaymentReversed", "InvoiceReopened"]


async def test_money_for_nobody_and_for_a_draft_that_nobody_can_issue(house: House, browser: httpx.AsyncClient) -> None:
    await house.hear(create_invoice("N", customer=Customer()))

    assert (await deliver(browser, event(house, "p1", invoice_id=id_of("unknown")))).status_code == 200
    assert (await deliver(browser, event(house, "p2", invoice_id=id_of("N")))).status_code == 200
    assert (await deliver(browser, event(house, "p3", invoice_id=None, payment_document_id=id_of("unknown")))).status_code == 200

    reasons = [m.body["reason"] for m in await house.said("PaymentUnallocated")]
    assert reasons == ["target_unknown", "target_not_issued", "target_unknown"]


async def test_a_webhook_pays_in_the_tenant_it_names_and_no_other(house: House, browser: httpx.AsyncClient) -> None:
    await house.hear(create_invoice(issue=True))

    await deliver(browser, event(house, tenant_id="019b8d2b-8c00-722b-b3ad-87c148a0a20a"))

    assert (await house.one("PaymentUnallocated"))["reason"] == "target_unknown"
    assert (await house.rows("select status from invoices_v1"))[0]["status"] == "issued"


async def test_an_unknown_provider(browser: httpx.AsyncClient) -> None:
    assert (await browser.post("/v1/provider-events/nobody", json={})).status_code == 404


BODY = b'{"id": "evt_1", "type": "payment.succeeded"}'


@over(st.integers(0, len(BODY) * 8 - 1))
def test_no_flipped_bit_of_the_body_is_accepted(bit: int) -> None:
    headers = signed("evt_1", NOW, BODY, SECRET.encode())
    flipped = bytearray(BODY)
    flipped[bit // 8] ^= 1 << bit % 8

    assert check_signature(headers, BODY, (SECRET.encode(),), NOW) == "evt_1"
    with pytest.raises(Rejected):
        check_signature(headers, bytes(flipped), (SECRET.encode(),), NOW)


@over(st.sampled_from(["webhook-id", "webhook-timestamp", "webhook-signature"]), st.text(max_size=60))
def test_no_other_header_is_accepted(name: str, value: str) -> None:
    headers = signed("evt_1", NOW, BODY, SECRET.encode())
    if value == headers[name] or (name == "webhook-signature" and headers[name] in value.split(" ")):
        return
    with pytest.raises(Rejected):
        check_signature({**headers, name: value}, BODY, (SECRET.encode(),), NOW)


async def test_over_a_real_socket(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The webhook is a real request to the public address."""
    server = uvicorn.Server(uvicorn.Config(house.app, host="127.0.0.1", port=0, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve())
    async with asyncio.timeout(20):
        while not server.started:
            await asyncio.sleep(0)
    port = server.servers[0].sockets[0].getsockname()[1]
    monkeypatch.setenv("DEALWRIGHT_BILLING__PUBLIC_BASE", f"http://127.0.0.1:{port}")
    settings.cache_clear()
    monkeypatch.setattr(provider, "ROAD", None)
    try:
        await house.hear(create_link())
        async with httpx.AsyncClient() as client:
            url = (await house.one("PaymentLinkCreated"))["url"]
            checkout = (await client.post(f"{url}/checkouts")).headers["location"]
            await client.post(f"{checkout}/presses", json={"button": "pay"})
        await house.tick()
        assert (await house.one("PaymentReceived"))["deal_id"] == DEAL
    finally:
        server.should_exit = True
        await serving
