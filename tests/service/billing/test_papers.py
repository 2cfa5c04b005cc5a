"""Quotes and documents to be signed: sent, answered on their pages, ended, converted (billing.md 2.1, 2.6, 10; T10, T11)."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from hashlib import sha256
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest

from shared.contracts import common, deals
from tests.service.billing.conftest import ANNA, DEAL, MUSTER, PETRA, SALES, deal_created, id_of
from tests.service.house import House, employee, origin

LINE = {"name": "Roof tiles <b>", "quantity": "1", "unit_price": "100.00", "tax_rate": "19"}
WHOM = {"contact_id": PETRA, "company_id": MUSTER}
ENGLISH = {"Accept-Language": "en"}


async def quote(client: httpx.AsyncClient, **own: Any) -> str:
    """A draft. Answers its path."""
    body = {"title": "Roof 2026", "currency": "EUR", "lines": [LINE], "customer": WHOM, "deal_id": DEAL, "valid_for_days": 30, **own}
    made = await client.post("/v1/quotes", json=body)
    assert made.status_code == 201, made.text
    return str(made.headers["location"])


async def sent(client: httpx.AsyncClient, path: str, **own: Any) -> dict[str, Any]:
    answer = await client.post(f"{path}/sendings", json=own)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def page_of(url: str) -> str:
    return str(urlsplit(url).path)


async def code(answer: Any) -> tuple[int, str]:
    got = await answer
    return got.status_code, got.json()["code"]


# ------------------------------------------------------------------------------------------------------------ quotes


async def test_a_quote_is_changed_and_sent(house: House, client: httpx.AsyncClient) -> None:
    path = await quote(client)
    changed = await client.patch(path, json={"title": "Roof 2027"}, headers={"If-Match": '"1"'})
    assert (changed.json()["title"], changed.headers["etag"]) == ("Roof 2027", '"2"')

    shown = await sent(client, path)

    assert (shown["status"], shown["number"], shown["buyer"]["name"], shown["mailed"]) == ("sent", "AN-2026-0001", "Muster GmbH", True)
    assert shown["link"]["expires_at"] == "2026-04-01T22:00:00.000Z", "the end of 1 April in Berlin"
    said = await house.one("QuoteSent")
    assert (said["mailed"], said["valid_until"], said["number"]) == (True, "2026-04-01", "AN-2026-0001")
    whom = {"name": "Petra Muster", "language": "de", "contact_id": PETRA, "company_id": None, "employee_id": None}
    assert said["addressee"] == {**whom, "url": shown["link"]["url"]}


async def test_the_customer_reads_the_quote_and_says_yes(house: House, client: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    path = await quote(client, title="Roof <i>2027")
    url = page_of((await sent(client, path))["link"]["url"])
    await house.forget()
    page = (await browser.get(url, headers=ENGLISH)).text
    for text in ("Roof &lt;i&gt;2027", "Roof tiles &lt;b&gt;", "Acme", "AN-2026-0001", "100.00 EUR", "15.97 EUR", "2026-04-01"):
        assert text in page, text
    assert "data-state=open" in page
    german = (await browser.get(url)).text
    assert "Angebot annehmen" in german, "the pipeline speaks German"
    assert "<i>" not in page + german
    assert await house.said() == [], "reading changes nothing"

    answer = await browser.post(url, data={"answer": "accept", "name": " Petra\x00 Muster ", "attempt": "one"})

    assert (answer.status_code, answer.headers["location"]) == (303, url)
    accepted = await house.one("QuoteAccepted")
    assert (accepted["origin"]["kind"], accepted["responsible_id"], accepted["deal_id"]) == ("person", ANNA, DEAL)
    assert "data-state=accepted" in (await browser.get(url)).text
    events = (await client.get(f"{path}/events")).json()["items"]
    assert [e["type"] for e in events] == ["QuoteCreated", "QuoteSent", "QuoteAccepted"]
    await house.tick(timedelta(days=40))
    got = (await client.get(path)).json()
    assert (got["status"], got["answer"]["by"]) == ("accepted", "Petra Muster")


async def test_the_token_is_kept_as_a_hash_and_pages_are_locked_down(
    house: House, client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    """T11"""
    url = page_of((await sent(client, await quote(client)))["link"]["url"])
    document = await signing(client)
    other = page_of((await sent(client, document))["signers"][0]["url"])

    for table, path in (("quote_tokens_v1", url), ("sign_tokens_v1", other)):
        token = path.rpartition("/")[2]
        assert len(token) >= 22
        (row,) = await house.rows(f"select * from {table}")
        assert row["token_hash"] == sha256(token.encode()).hexdigest()
        assert token not in str(row)
        page = await browser.get(path)
        assert page.headers["cache-control"] == "no-store"
        assert page.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "<script" not in page.text
    for unknown in ("/quote/nobody", "/sign/nobody", f"/sign/{url.rpartition('/')[2]}"):
        assert ((await browser.get(unknown)).status_code, (await browser.post(unknown)).status_code) == (404, 404)


async def test_pressing_often_is_one_answer(house: House, client: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    """I16"""
    url = page_of((await sent(client, await quote(client)))["link"]["url"])

    same = [browser.post(url, data={"answer": "accept", "name": "Petra", "attempt": "one"}) for _ in range(3)]
    other = [browser.post(url, data={"answer": "accept", "name": "Petra", "attempt": str(n)}) for n in range(3)]
    answers = await asyncio.gather(*same, *other)
    afterwards = await browser.post(url, data={"answer": "decline", "attempt": "two"})

    assert 303 in {answer.status_code for answer in answers} <= {303, 409}
    assert all("data-state=accepted" in answer.text for answer in answers if answer.status_code == 409)
    assert (afterwards.status_code, "data-state=accepted" in afterwards.text) == (409, True)
    assert (await browser.post(url, data={"answer": "accept", "attempt": "three"})).status_code == 303
    assert len(await house.said("QuoteAccepted")) == 1


async def test_the_customer_declines_and_says_why(house: House, client: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    path = await quote(client)
    url = page_of((await sent(client, path))["link"]["url"])
    for wrong, said in (
        ({"answer": "accept"}, "Please type your name"),
        ({"answer": "maybe"}, "try again"),
        ({"answer": "decline", "reason": "x" * 1001}, "shorter"),
    ):
        page = await browser.post(url, data=wrong, headers=ENGLISH)
        assert (page.status_code, said in page.text, "<form" in page.text) == (422, True, True)

    program = b'{"answer": "decline", "reason": "<b>too\\ud800\\u0000 dear", "attempt": "\\ud800"}'
    assert (await browser.post(url, content=program)).status_code == 303

    assert (await house.one("QuoteDeclined"))["reason"] == "<b>too dear"
    page = await browser.get(url, headers=ENGLISH)
    assert "This quote was declined" in page.text
    assert "<form" not in page.text
    assert "Roof tiles" not in page.text
    assert (await client.get(path)).json()["answer"]["reason"] == "<b>too dear"


async def test_a_quote_ends_with_its_day_and_the_page_says_so_at_once(
    house: House, client: httpx.AsyncClient, browser: httpx.AsyncClient
) -> None:
    path = await quote(client, valid_for_days=0)
    url = page_of((await sent(client, path))["link"]["url"])
    endless = page_of((await sent(client, await quote(client, valid_for_days=None)))["link"]["url"])
    house.now += timedelta(hours=15)
    page = await browser.get(url)
    assert (page.status_code, "data-state=expired" in page.text, "<form" in page.text) == (200, True, False)
    assert (await browser.post(url, data={"answer": "accept", "name": "Petra"})).status_code == 409
    assert await house.said("QuoteExpired") == []

    await house.tick()
    await house.tick(timedelta(days=400))

    assert [m.body["number"] for m in await house.said("QuoteExpired")] == ["AN-2026-0001"]
    assert (await client.get(path)).json()["status"] == "expired"
    assert "data-state=open" in (await browser.get(endless)).text


async def test_a_quote_that_was_withdrawn(client: httpx.AsyncClient, browser: httpx.AsyncClient) -> None:
    path = await quote(client)
    url = page_of((await sent(client, path))["link"]["url"])

    await client.post(f"{path}/cancellations", json={})

    assert "data-state=cancelled" in (await browser.get(url)).text
    assert (await browser.post(url, data={"answer": "accept", "name": "Petra"})).status_code == 409


async def test_refusals_of_quotes(client: httpx.AsyncClient) -> None:
    nobody = f"/v1/quotes/{id_of('unknown')}"
    for verb in ("sendings", "acceptances", "declines"):
        assert await code(client.post(f"{nobody}/{verb}", json={})) == (404, "not_found")
    nameless = await quote(client, customer={}, deal_id=None)
    assert await code(client.post(f"{nameless}/sendings", json={})) == (409, "buyer_incomplete")
    firm = await quote(client, customer={"company_id": MUSTER})
    assert await code(client.post(f"{firm}/sendings", json={})) == (409, "recipient_missing")
    by_hand = await sent(client, firm, mail=False)
    assert (by_hand["mailed"], by_hand["number"]) == (False, "AN-2026-0001"), "what was refused drew no number"
    assert await code(client.post(f"{firm}/sendings", json={"mail": False})) == (409, "quote_not_draft")
    assert await code(client.patch(firm, json={"title": "B"}, headers={"If-Match": "*"})) == (409, "quote_not_draft")
    draft = await quote(client)
    assert await code(client.post(f"{draft}/acceptances", json={})) == (409, "quote_not_sent")
    assert await code(client.post(f"{draft}/conversions", json={"target": "invoice"})) == (409, "quote_not_sent")
    assert await code(client.post(f"{draft}/conversions", json={"target": "lead"})) == (422, "validation_failed")
    assert await code(client.post(f"{draft}/sendings", json={}, headers={"If-Match": '"7"'})) == (412, "version_conflict")
    assert (await client.post(f"{firm}/declines", json={"reason": "by phone"})).json()["answer"]["reason"] == "by phone"
    assert await code(client.post(f"{firm}/acceptances", json={})) == (409, "quote_over")


async def test_a_quote_becomes_an_invoice_of_its_deal(house: House, client: httpx.AsyncClient) -> None:
    path = await quote(client)
    await sent(client, path)
    await client.post(f"{path}/acceptances", json={})

    made = await client.post(f"{path}/conversions", json={"target": "invoice"})

    assert made.status_code == 201, made.text
    invoice = (await client.get(f"/v1/invoices/{made.json()['invoice_id']}")).json()
    assert (invoice["status"], invoice["deal_id"], invoice["quote_id"]) == ("draft", DEAL, path.rpartition("/")[2])
    assert (invoice["total"]["amount"], invoice["customer"], invoice["responsible_id"]) == ("100.00", WHOM, ANNA)
    assert (await house.one("InvoiceCreated"))["deal_id"] == DEAL
    assert await code(client.post(f"{path}/conversions", json={"target": "invoice"})) == (409, "already_converted")
    assert await code(client.post(f"{path}/conversions", json={"target": "deal", "pipeline_id": SALES})) == (409, "already_linked")


async def test_a_quote_becomes_a_deal_or_can_be_tried_again(house: House, client: httpx.AsyncClient) -> None:
    path = await quote(client, deal_id=None, responsible_id=ANNA)
    await sent(client, path)
    assert await code(client.post(f"{path}/conversions", json={"target": "deal"})) == (422, "validation_failed")
    unknown = {"target": "deal", "pipeline_id": id_of("unknown")}
    assert await code(client.post(f"{path}/conversions", json=unknown)) == (409, "pipeline_unknown")

    first = (await client.post(f"{path}/conversions", json={"target": "deal", "pipeline_id": SALES})).json()
    asked = await house.one("CreateDeal")
    assert (asked["deal_id"], asked["request_id"], asked["quote_id"]) == (
        first["converted_deal_id"],
        first["converted_deal_id"],
        first["id"],
    )
    fields = asked["fields"]
    assert (fields["title"], fields["contact_ids"], fields["company_id"], fields["currency"]) == ("Roof 2026", [PETRA], MUSTER, "EUR")
    assert [(each["name"], each["unit_price"], each["tax_rate"]) for each in fields["lines"]] == [("Roof tiles <b>", "100.00", "19")]

    await house.hear(refused(first["converted_deal_id"]), refused(id_of("somebody else's")))
    assert (await client.get(path)).json()["converted_deal_id"] is None
    second = (await client.post(f"{path}/conversions", json={"target": "deal", "pipeline_id": SALES})).json()
    await house.hear(deal_created(second["converted_deal_id"], quote_id=None))
    invoiced = (await client.post(f"{path}/conversions", json={"target": "invoice"})).json()
    assert (await client.get(f"/v1/invoices/{invoiced['invoice_id']}")).json()["deal_id"] == second["converted_deal_id"]


def refused(request_id: str) -> deals.CommandRejected:
    return deals.CommandRejected(
        request_id=request_id,
        record_key=request_id,
        command_type=deals.CreateDeal.type,
        code="pipeline_archived",
        detail="The pipeline is archived.",
        origin=origin(),
    )


# --------------------------------------------------------------------------------------------- documents to be signed


async def signing(client: httpx.AsyncClient, **own: Any) -> str:
    made = await client.post("/v1/sign-documents", json={"deal_id": DEAL, "fields": {"Delivery": "<b>May"}, **own})
    assert made.status_code == 201, made.text
    return str(made.headers["location"])


@pytest.fixture
async def two(house: House, client: httpx.AsyncClient) -> tuple[str, str, str]:
    """A document of two signers, sent: its path, Petra's page and Olaf's."""
    olaf = employee(id_of("olaf"), "Olaf")
    await house.hear(house.record(olaf, subject=f"employee/{id_of('olaf')}"))
    path = await signing(client, signers=[{"contact_id": PETRA}, {"employee_id": id_of("olaf")}])
    signers = (await sent(client, path, expires_in_days=10))["signers"]
    return path, page_of(signers[0]["url"]), page_of(signers[1]["url"])


async def form_of(browser: httpx.AsyncClient, url: str, name: str, **own: str) -> dict[str, str]:
    """What the page's form says when it is filled in."""
    page = (await browser.get(url)).text
    read, attempt = re.search(r'name=sha256 value="([^"]+)"', page), re.search(r'name=attempt value="([^"]+)"', page)
    assert read and attempt, page
    return {"answer": "sign", "name": name, "agreed": "true", "sha256": read[1], "attempt": attempt[1], **own}


async def signs(browser: httpx.AsyncClient, url: str, name: str, **own: str) -> httpx.Response:
    return await browser.post(url, data=await form_of(browser, url, name, **own))


async def test_a_document_is_signed_by_everybody(
    house: House, client: httpx.AsyncClient, browser: httpx.AsyncClient, two: tuple[str, str, str]
) -> None:
    path, petras, olafs = two
    said = await house.one("SignDocumentSent")
    assert [(s["contact_id"], s["employee_id"], s["name"]) for s in said["signers"]] == [
        (PETRA, None, "Petra Muster"),
        (None, id_of("olaf"), "Olaf"),
    ]
    assert (said["mailed"], said["expires_at"], said["responsible_id"]) == (True, "2026-03-12T08:00:00.000Z", ANNA)
    file = await client.get(f"{path}/document")
    shown = (await client.get(path)).json()
    assert (file.headers["content-type"], sha256(file.content).hexdigest()) == ("text/plain; charset=utf-8", shown["file_sha256"])
    for text in ("Vereinbarung", "Muster GmbH", "Altweg 1", "1 x Roof tiles: 100.00", "Delivery: <b>May", "Petra Muster", "Olaf"):
        assert text in file.text, text
    page = await browser.get(petras, headers=ENGLISH)
    for text in ("Delivery: &lt;b&gt;May", shown["file_sha256"], "Petra Muster", "Sign now", "data-state=open"):
        assert text in page.text, text
    assert "<b>" not in page.text

    assert (await signs(browser, petras, "Petra Muster")).status_code == 303
    assert await house.said("SignDocumentSigned") == []
    assert "data-state=signed_by_you" in (await browser.get(petras)).text
    assert "Petra Muster, 2026-03-02 08:00 UTC" in (await browser.get(olafs)).text
    house.now += timedelta(days=1)
    assert (await signs(browser, olafs, "Olaf Fuchs")).status_code == 303

    done = await house.one("SignDocumentSigned")
    assert (done["status"], done["signer"], done["at"], done["deal_id"]) == ("signed", "Olaf", "2026-03-03T08:00:00.000Z", DEAL)
    got = (await client.get(path)).json()
    evidence = got["signers"][0]["signature"]
    assert (got["status"], evidence["evidence"]["name"], evidence["file_sha256"]) == ("signed", "Petra Muster", got["file_sha256"])
    assert evidence["evidence"]["agent"].startswith("python-httpx")
    assert [(await browser.get(url)).text.count("data-state=signed") for url in (petras, olafs)] == [1, 1]
    await house.tick(timedelta(days=30))
    assert await house.said("SignDocumentExpired") == []
    assert (await client.get(f"{path}/document")).content == file.content


async def test_a_signature_needs_a_name_a_yes_and_the_file_that_was_read(
    house: House, browser: httpx.AsyncClient, two: tuple[str, str, str]
) -> None:
    _, petras, _ = two
    for wrong in ({"name": " "}, {"agreed": ""}, {"sha256": "0" * 64}, {"name": "x" * 201}, {"answer": "perhaps"}):
        answer = await signs(browser, petras, wrong.pop("name", "Petra"), **wrong)
        assert (answer.status_code, "role=alert" in answer.text) == (422, True), wrong
    assert await house.rows("select 1 from events where type = 'SignatureGiven'") == []

    form = await form_of(browser, petras, "Petra")
    answers = await asyncio.gather(*(browser.post(petras, data={**form, "attempt": attempt}) for attempt in ("a", "a", "b", "c")))

    assert {answer.status_code for answer in answers} == {303}
    assert len(await house.rows("select 1 from events where type = 'SignatureGiven'")) == 1
    assert (await browser.post(petras, data={"answer": "decline"})).status_code == 409


async def test_one_signer_declines(house: House, client: httpx.AsyncClient, browser: httpx.AsyncClient, two: tuple[str, str, str]) -> None:
    path, petras, olafs = two
    await signs(browser, petras, "Petra")

    assert (await browser.post(olafs, data={"answer": "decline", "reason": "too dear"})).status_code == 303

    declined = await house.one("SignDocumentDeclined")
    assert (declined["signer"], declined["reason"], declined["responsible_id"]) == ("Olaf", "too dear", ANNA)
    assert "data-state=declined" in (await browser.get(petras)).text
    assert (await browser.post(olafs, data={"answer": "decline", "reason": "too dear"})).status_code == 303
    assert (await client.get(path)).json()["declined"]["reason"] == "too dear"


async def test_a_document_expires_by_itself_once(
    house: House, client: httpx.AsyncClient, browser: httpx.AsyncClient, two: tuple[str, str, str]
) -> None:
    path, petras, _ = two
    house.now += timedelta(days=10)
    page = await browser.get(petras)
    assert ("data-state=expired" in page.text, "Roof tiles" in page.text) == (True, False)

    await house.tick()
    await house.tick(timedelta(days=30))

    assert len(await house.said("SignDocumentExpired")) == 1
    assert (await client.get(path)).json()["status"] == "expired"
    assert (await browser.post(petras, data={"answer": "sign", "name": "Petra"})).status_code == 409


async def test_a_document_that_was_withdrawn(client: httpx.AsyncClient, browser: httpx.AsyncClient, two: tuple[str, str, str]) -> None:
    path, petras, _ = two
    await client.post(f"{path}/cancellations", json={})
    assert "data-state=cancelled" in (await browser.get(petras)).text
    assert await code(client.post(f"{path}/sendings", json={})) == (409, "document_over")


async def test_drafts_follow_the_details_and_what_was_sent_does_not(house: House, client: httpx.AsyncClient) -> None:
    """D46"""
    path = await signing(client, template_code="acceptance")
    preview = (await client.get(f"{path}/document")).text
    assert preview.startswith("*** ENTWURF")
    assert "Altweg 1" in preview
    moved = deals.DetailsChanged(
        origin=origin(),
        details_id=id_of("details"),
        owner_type="contact",
        owner_id=PETRA,
        template_code="person",
        is_default=True,
        fields={},
        addresses={"business": common.Address(street="Neuweg", house="7", city="Bremen")},
        changes={},
        unchanged={},
    )
    await house.hear(house.record(moved, subject=f"details/{id_of('details')}", sequence=99))
    assert "Neuweg 7" in (await client.get(f"{path}/document")).text
    await sent(client, path)
    await house.hear(house.record(moved.model_copy(update={"addresses": {}}), subject=f"details/{id_of('details')}", sequence=100))
    assert "Neuweg 7" in (await client.get(f"{path}/document")).text


async def test_refusals_of_documents(client: httpx.AsyncClient) -> None:
    async def refusal(**own: Any) -> tuple[int, str]:
        return await code(client.post("/v1/sign-documents", json={"deal_id": DEAL, **own}))

    assert await refusal(template_code="own") == (409, "sign_template_unknown")
    assert await refusal(customer={}) == (409, "no_signer")
    assert await refusal(signers=[{"contact_id": PETRA}] * 2) == (409, "too_many_signers")
    assert await refusal(signers=[{}]) == (422, "validation_failed")
    assert await refusal(deal_id=id_of("unknown")) == (409, "deal_unknown")
    path = await signing(client)
    assert await code(client.post(f"{path}/sendings", json={"expires_in_days": 0})) == (422, "validation_failed")
    assert await code(client.post(f"/v1/sign-documents/{id_of('unknown')}/sendings", json={})) == (404, "not_found")
    by_hand = await sent(client, path, mail=False)
    assert (by_hand["mailed"], by_hand["signers"][0]["url"].startswith("http://pay.test/sign/")) == (False, True)
    assert await code(client.post(f"{path}/sendings", json={})) == (409, "document_not_draft")
