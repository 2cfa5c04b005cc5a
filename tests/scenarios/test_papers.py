"""Papers that customers answer: a rule makes a document, it is signed, the deal moves; a quote is accepted and becomes a deal."""

from __future__ import annotations

from tests.scenarios.ground import TILES, Ground
from tests.scenarios.papers import answer, link, sign

RULES = """
stage: sales/prepare-documents
rules: [{ id: paper, type: create_from, settings: { targets: [sign_document] } }]
---
stage: sales/delivery
triggers: [{ id: signed, type: sign_document_signed }]
"""


async def test_a_document_that_a_rule_made_is_signed_and_moves_the_deal(ground: Ground) -> None:
    g, deal = ground, ground.cast["D"]
    await g.apply(RULES)
    await g.move("prepare-documents")
    [paper] = await g.items("billing", "/v1/sign-documents", deal_id=deal)
    assert (paper["status"], paper["title"], await g.state("paper")) == ("draft", "Roof 2026", "succeeded")
    path = f"/v1/sign-documents/{paper['id']}"
    signers = [{"contact_id": g.cast["petra"]}, {"employee_id": g.cast["clara"]}]
    await g.put("billing", f"{path}/cancellations")
    made = await g.put("billing", "/v1/sign-documents", {"deal_id": deal, "title": "Contract", "signers": signers})
    path = f"/v1/sign-documents/{made['id']}"
    await g.put("billing", f"{path}/sendings")
    await g.settle()

    page = await sign(g, "Contract", "Petra Muster")
    assert "data-state=signed_by_you" in page.text
    assert await g.stage() == "sales/prepare-documents"
    page = await sign(g, "Contract", "Clara Dachs", "clara@acme.test")

    assert "data-state=signed" in page.text
    shown = await g.look("billing", path)
    assert [signer["signature"]["evidence"]["name"] for signer in shown["signers"]] == ["Petra Muster", "Clara Dachs"]
    assert {signer["signature"]["file_sha256"] for signer in shown["signers"]} == {shown["file_sha256"]}
    assert await g.stage() == "sales/delivery"
    assert len({said.id for said in await g.said("billing.SignDocumentSigned")}) == 1
    told = [line["title"] for line in await g.timeline()]
    wanted = ("unterschrieben", "verschickt", "zur Unterschrift angelegt")
    assert sorted(title for title in told if "Contract" in title) == sorted(f"Dokument Contract {what}" for what in wanted)
    assert len([notice for notice in await g.feed() if notice["subject"] == "Signed: Contract"]) == 1
    assert len([mail for mail in await g.mails("") if "Contract" in mail.subject]) == 2


async def test_a_quote_is_accepted_and_becomes_a_deal_and_its_invoice(calm_ground: Ground) -> None:
    g = calm_ground
    whose = {"customer": {"contact_id": g.cast["petra"], "company_id": g.cast["muster"]}, "responsible_id": g.cast["anna"]}
    drafted = {"title": "New roof", "currency": "EUR", "lines": [TILES], "valid_for_days": 14}
    path = f"/v1/quotes/{(await g.put('billing', '/v1/quotes', whose | drafted))['id']}"
    await g.put("billing", f"{path}/sendings")
    await g.settle()
    page = await answer(g, await link(g, "quote", "New roof"), "accept", name="Petra Muster")
    assert "data-state=accepted" in page.text

    made = await g.put("billing", f"{path}/conversions", {"target": "deal", "pipeline_id": g.cast["sales"]})
    await g.settle()

    deal = await g.show(made["converted_deal_id"])
    assert (deal["title"], deal["amount"], deal["quote_id"], deal["responsible_id"]) == ("New roof", "100.00", made["id"], g.cast["anna"])
    assert [line["name"] for line in deal["lines"]] == ["Roof tiles"]
    invoiced = await g.put("billing", f"{path}/conversions", {"target": "invoice"})
    assert (await g.look("billing", f"/v1/invoices/{invoiced['invoice_id']}"))["deal_id"] == deal["id"]
    assert [notice["subject"] for notice in await g.feed()] == ["Quote accepted: New roof"]


async def test_a_quote_whose_deal_is_refused_can_be_converted_again(calm_ground: Ground) -> None:
    g = calm_ground
    drafted = {"title": "New roof", "currency": "EUR", "lines": [TILES], "customer": {"contact_id": g.cast["petra"]}}
    path = f"/v1/quotes/{(await g.put('billing', '/v1/quotes', drafted))['id']}"
    await g.put("billing", f"{path}/sendings", {"mail": False})
    wrong = {"target": "deal", "pipeline_id": g.cast["sales"], "stage_id": g.cast["installation/done"]}

    asked = await g.put("billing", f"{path}/conversions", wrong)
    assert asked["converted_deal_id"]
    await g.settle()

    assert (await g.look("billing", path))["converted_deal_id"] is None
    again = await g.put("billing", f"{path}/conversions", {"target": "deal", "pipeline_id": g.cast["sales"]})
    await g.settle()
    assert (await g.show(again["converted_deal_id"]))["title"] == "New roof"
