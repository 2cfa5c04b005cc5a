"""Create payment link, and the mail that carries it (scenarios.md 3.1)."""

from __future__ import annotations

import pytest

from tests.scenarios.ground import Ground
from tests.scenarios.rules import example, text_of

IN_THIS_ORDER = (
    "deals.StageChanged",
    "billing.CreatePaymentLink",
    "billing.PaymentDocumentCreated",
    "billing.PaymentLinkCreated",
    "notifications.SendEmail",
    "notifications.NoticeDelivered",
)


@pytest.mark.shows("S1", "S8", "S10", "S11", "S12", "S13", "S20", "S21", "S22", "S23", "S25", "S27", "S28", "S29")
async def test_a_link_is_made_and_then_mailed(ground: Ground) -> None:
    await ground.apply(example("link", "mail"))

    await ground.move("payment-expected")

    assert [said.name for said in await ground.said(*IN_THIS_ORDER, about=ground.cast["D"])] == list(IN_THIS_ORDER)
    url = (await ground.one("billing.PaymentLinkCreated")).body["url"]
    [mail] = await ground.mails()
    assert (mail.to, mail.files) == ("petra@example.org", ()) and url in mail.text
    await _the_page_only_shows(ground, url)
    link, sent = await ground.run("link"), await ground.run("mail")
    assert (link["state"], sent["state"]) == ("succeeded", "succeeded")
    assert link["outputs"].items() >= {"url": url, "amount": "100.00", "currency": "EUR", "reused": False}.items()
    assert await _ended(ground, "link") < await _ended(ground, "mail")


async def _the_page_only_shows(ground: Ground, url: str) -> None:
    [before] = await ground.items("billing", "/v1/payment-documents", deal_id=ground.cast["D"])
    for _ in range(10):
        page = await ground.door("billing", "nobody").get(url)
        assert page.status_code == 200 and "100.00 EUR" in page.text and "Roof tiles" in page.text
    await ground.settle()
    assert await ground.items("billing", "/v1/payment-documents", deal_id=ground.cast["D"]) == [before]
    assert before["status"] == "open"


async def _ended(ground: Ground, rule: str) -> int:
    """Where among all that was said the end of a rule's run stands."""
    run, said = await ground.run(rule), await ground.said("automation.RunCompleted")
    return [each.body["run_id"] for each in said].index(run["id"])


@pytest.mark.shows("S24")
async def test_on_the_second_arrival_there_is_no_second_link_and_no_empty_mail(ground: Ground) -> None:
    await ground.apply(example("link", "mail"))
    await ground.move("payment-expected")
    await ground.move("new")
    await ground.move("payment-expected")

    assert await ground.state("link") == "skipped(payment_document_exists)"
    assert await ground.state("mail") == "blocked(unresolved)"
    again, mail = (await ground.runs("link"))[1], (await ground.runs("mail"))[1]
    assert again["outputs"] == {} and "steps.link.url" in str(mail["detail"])
    assert len(await ground.mails()) == 1
    assert len(await ground.items("billing", "/v1/payment-documents", deal_id=ground.cast["D"])) == 1

    await ground.move("new")
    await ground.apply(example("link", "mail", link={"settings": {"reuse_existing": True}}))
    await ground.move("payment-expected")

    url = (await ground.one("billing.PaymentLinkCreated")).body["url"]
    assert (await ground.one("billing.PaymentLinkHandedOut")).body["url"] == url
    assert [url in mail.text for mail in await ground.mails()] == [True, True]


@pytest.mark.shows("S11")
async def test_nothing_to_pay_stops_the_mail_too(ground: Ground) -> None:
    await ground.apply(example("link", "mail"))

    deal = await ground.arrive("payment-expected", lines=[], amount="0", amount_mode="manual")

    assert await ground.state("link", deal) == "failed(nothing_to_pay)"
    assert await ground.state("mail", deal) == "blocked(predecessor)"
    assert await ground.mails() == []


@pytest.mark.shows("S24")
async def test_of_two_links_at_once_one_is_made(ground: Ground) -> None:
    links = [{"id": id, "type": "create_payment_link"} for id in ("first", "second")]
    await ground.apply(text_of({"sales/payment-expected": {"rules": links}}))

    deal = await ground.arrive("payment-expected")

    assert {await ground.state("first", deal), await ground.state("second", deal)} == {"succeeded", "skipped(payment_document_exists)"}
    assert len(await ground.items("billing", "/v1/payment-documents", deal_id=deal)) == 1
