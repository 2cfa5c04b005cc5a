"""Billing's commands from Kafka, and what it hears of others, on a real database (billing.md 8, 9)."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from shared.contracts import billing, common, deals
from shared.contracts.common import Change
from tests.service.billing.conftest import (
    ANNA,
    DEAL,
    MUSTER,
    PETRA,
    SALES,
    company,
    create_invoice,
    create_link,
    deal_created,
    id_of,
    line,
    pipeline,
    register_payment,
)
from tests.service.house import House, origin


async def row(house: House, table: str, id: str) -> dict[str, Any]:
    found = await house.rows(f"select * from {table} where id = $1", id)
    assert len(found) == 1
    return found[0]


async def test_a_draft_from_a_deals_rows_is_the_answer_to_the_request(house: House) -> None:
    """3.3/1"""
    await house.hear(create_invoice())

    created = await house.one("InvoiceCreated")
    assert (created["request_id"], created["record_key"], created["deal_id"]) == (id_of("I"), DEAL, DEAL)
    assert (created["title"], created["total"], created["status"]) == ("Roof 2026", {"amount": "100.00", "currency": "EUR"}, "draft")
    kept = await row(house, "invoices_v1", id_of("I"))
    assert (kept["net"], kept["tax"], kept["total"], kept["contact_id"], kept["company_id"]) == (8403, 1597, 10000, PETRA, MUSTER)
    assert kept["origin_rule_id"] == "00000000-0000-4000-8000-00000000ffff"


async def test_an_invoice_is_issued_numbered_and_frozen_in_the_same_transaction(house: House) -> None:
    await house.hear(create_invoice(issue=True))

    assert [m.name for m in await house.said()] == ["InvoiceCreated", "InvoiceIssued"]
    issued = await house.one("InvoiceIssued")
    assert (issued["number"], issued["issue_date"]) == ("RE-2026-0001", "2026-03-02")


async def test_the_same_command_as_a_new_message_is_silent(house: House) -> None:
    await house.hear(create_invoice(issue=True))
    await house.forget()

    await house.hear(create_invoice(issue=True))

    assert await house.said() == []


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"lines": (), "amount": "0"}, "nothing_to_invoice"),
    ({"lines": (line("-5.00"),)}, "validation_failed"),
    ({"lines": (line("1.005"),)}, "validation_failed"),
    ({"lines": (line(rate="101"),)}, "validation_failed"),
    ({"currency": "XXQ"}, "validation_failed"),
    ({"title": "x" * 256}, "validation_failed"),
    ({"customer": common.Customer(), "issue": True}, "buyer_incomplete"),
]


async def test_a_command_that_cannot_be_done_is_answered(house: House) -> None:
    await house.hear(*(create_invoice(**own) for own, _ in REFUSED))

    said = await house.said()
    assert [(m.name, m.body["code"], m.key) for m in said] == [("CommandRejected", code, DEAL) for _, code in REFUSED]
    for message in said:
        assert (message.body["request_id"], message.body["command_type"]) == (id_of("I"), "billing.CreateInvoice.v1")
        assert (message.body["element_type"], message.body["element_id"]) == ("deal", DEAL)
    assert await house.rows("select 1 from events where aggregate in ('invoice', 'number-series')") == []


async def test_an_id_that_is_not_the_requests_is_refused(house: House) -> None:
    await house.hear(create_invoice().model_copy(update={"invoice_id": id_of("other")}))

    assert (await house.one("CommandRejected"))["errors"][0]["pointer"] == "#/invoice_id"


async def test_skip_if_open_exists_sees_what_the_same_batch_made(house: House) -> None:
    """D43: two commands on one set are never decided in one transaction."""
    await house.hear(create_invoice("I"), create_invoice("J", skip_if_open_exists=True), create_invoice("K"))

    assert [(m.name, m.body.get("code")) for m in await house.said()] == [
        ("InvoiceCreated", None),
        ("CommandRejected", "open_exists"),
        ("InvoiceCreated", None),
    ]
    assert (await house.said("InvoiceCreated"))[1].body["other_open"] == [id_of("I")]


async def test_a_hundred_invoices_of_a_hundred_deals_are_numbered_without_a_gap_in_one_batch(house: House) -> None:
    commands = [create_invoice(f"I{n}", deal_id=str(uuid4()), issue=True) for n in range(100)]

    await house.hear(*commands)

    numbers = [m.body["number"] for m in await house.said("InvoiceIssued")]
    assert numbers == [f"RE-2026-{n:04}" for n in range(1, 101)]
    transactions = await house.rows("select count(distinct recorded_at) as n from events where aggregate = 'invoice'")
    assert transactions[0]["n"] == 1, "numbering does not cut the batch"


@pytest.mark.parametrize("size", [1, 3, 500])
async def test_a_link_covers_the_invoice_that_the_same_batch_drafted(house: House, size: int) -> None:
    await house.hear(create_invoice(), create_link(), size=size)

    names = [m.name for m in await house.said()]
    assert names == ["InvoiceCreated", "InvoiceIssued", "PaymentDocumentCreated", "PaymentLinkCreated"]
    link = await house.one("PaymentLinkCreated")
    assert (link["invoice_id"], link["amount"]["amount"], link["request_id"]) == (id_of("I"), "100.00", id_of("L"))
    assert link["url"].startswith("http://pay.test/pay/")
    assert link["expires_at"] == "2026-04-01T08:00:00.000Z"


@pytest.mark.parametrize("size", [1, 500])
async def test_a_link_for_an_invoice_named_that_the_same_batch_drafted(house: House, size: int) -> None:
    await house.hear(create_invoice("I"), create_invoice("J"), create_link(invoice_id=id_of("I")), size=size)

    assert (await house.one("PaymentLinkCreated"))["invoice_id"] == id_of("I")


async def test_two_link_rules_at_once_make_one_document(house: House) -> None:
    """D34b, 3.1/8"""
    await house.hear(create_link("L"), create_link("M"))

    assert len(await house.said("PaymentLinkCreated")) == 1
    assert (await house.one("CommandRejected"))["code"] == "payment_document_exists"


async def test_reuse_hands_out_the_same_link(house: House) -> None:
    """3.1/6"""
    await house.hear(create_link("L"))
    await house.hear(create_link("M", reuse_existing=True))

    handed = await house.one("PaymentLinkHandedOut")
    assert (handed["url"], handed["request_id"]) == ((await house.one("PaymentLinkCreated"))["url"], id_of("M"))


async def test_the_token_itself_is_in_no_view(house: House) -> None:
    await house.hear(create_link())

    token = (await house.one("PaymentLinkCreated"))["url"].rpartition("/")[2]
    assert len(token) >= 22
    for table in ("pay_tokens_v1", "payment_documents_v1"):
        assert token not in str(await house.rows(f"select * from {table}"))


async def test_nothing_to_pay(house: House) -> None:
    await house.hear(create_link(lines=(), amount="0"))

    assert (await house.one("CommandRejected"))["code"] == "nothing_to_pay"


async def test_a_payment_pays_the_invoice_and_names_who_to_tell(house: House) -> None:
    await house.hear(create_invoice(issue=True))
    await house.forget()

    await house.hear(register_payment())

    assert [m.name for m in await house.said()] == ["PaymentReceived", "InvoicePaid"]
    paid = await house.one("InvoicePaid")
    assert (paid["deal_id"], paid["deal_responsible_id"], paid["epoch"], paid["number"]) == (DEAL, ANNA, 1, "RE-2026-0001")
    assert paid["origin_rule_id"] == "00000000-0000-4000-8000-00000000ffff"
    assert {m.key for m in await house.said()} == {DEAL}
    kept = await row(house, "invoices_v1", id_of("I"))
    assert (kept["status"], kept["amount_due"], kept["epoch"]) == ("paid", 0, 1)


@pytest.mark.parametrize("size", [1, 7, 500])
async def test_where_a_batch_is_cut_does_not_matter(house: House, size: int) -> None:
    messages = [
        house.record(create_invoice("I", issue=True)),
        house.record(create_invoice("J", lines=(line("50.00"),), issue=True)),
        house.record(create_link("L")),
    ]
    await house.hear(*messages, size=size)
    await house.hear(
        register_payment("p1", "60.00"),
        register_payment("p2", "50.00", invoice_id=id_of("J")),
        register_payment("p1", "60.00"),
        register_payment("p3", "60.00"),
        register_payment("p4", "5.00", currency="USD"),
        size=size,
    )

    assert [(m.name, m.body.get("epoch")) for m in await house.said("InvoicePaid", "InvoicePartiallyPaid")] == [
        ("InvoicePartiallyPaid", None),
        ("InvoicePaid", 1),
        ("InvoicePaid", 1),
    ]
    amounts = await house.rows("select provider_payment_id, status, credit from payments_v1 order by 1")
    assert [tuple(a.values()) for a in amounts] == [
        ("p1", "allocated", 0),
        ("p2", "allocated", 0),
        ("p3", "partly_allocated", 2000),
        ("p4", "unallocated", 500),
    ]
    covered = await house.rows("select status from payment_documents_v1 order by version desc limit 1")
    assert covered[0]["status"] == "paid"


async def test_a_payment_for_nobody_is_kept(house: House) -> None:
    await house.hear(register_payment(invoice_id=id_of("unknown"), deal_id=None))

    lost = await house.one("PaymentUnallocated")
    assert (lost["reason"], lost["deal_id"]) == ("target_unknown", None)


async def test_a_payment_in_the_same_batch_as_its_invoice(house: House) -> None:
    """Of one deal, it waits for the next transaction. Without a deal it is parked and tried again: never lost, never unallocated."""
    await house.hear(create_invoice("I", issue=True), register_payment())
    assert (await house.one("InvoicePaid"))["invoice_id"] == id_of("I")

    alone = [create_invoice("J", deal_id=None, issue=True), register_payment("p2", invoice_id=id_of("J"), deal_id=None)]
    with pytest.raises(AssertionError, match="written a moment ago"):
        await house.hear(*alone)
    assert [m.body["invoice_id"] for m in await house.said("PaymentReceived")] == [id_of("I")]


async def test_a_refund_is_asked_of_the_provider_and_told_to_payment_and_invoice_at_once(house: House) -> None:
    await house.hear(create_invoice(issue=True))
    await house.hear(register_payment(provider="fake"))
    payment = (await house.one("PaymentReceived"))["payment_id"]
    await house.forget()
    refund = billing.RefundPayment(
        request_id=id_of("refund"),
        origin=origin(),
        payment_id=payment,
        deal_id=DEAL,
        amount=common.Money(amount="100.00", currency="EUR"),
        to_be_paid_again=False,
        reason="returned",
    )

    await house.hear(refund)
    assert await house.said() == []
    await house.tick()

    assert [m.name for m in await house.said()] == ["PaymentRefunded", "InvoiceRefunded"]
    refunded = await house.one("PaymentRefunded")
    assert (refunded["request_id"], refunded["epoch_closed"], refunded["amount"]["amount"]) == (id_of("refund"), 1, "100.00")


async def test_a_refund_the_provider_refuses_is_answered(house: House) -> None:
    await house.hear(create_invoice(issue=True))
    await house.hear(register_payment("norefund-1", provider="fake"))
    payment = (await house.one("PaymentReceived"))["payment_id"]
    await house.forget()
    money = common.Money(amount="10.00", currency="EUR")
    refund = billing.RefundPayment(
        request_id=id_of("refund"), origin=origin(), payment_id=payment, amount=money, to_be_paid_again=False, reason=""
    )

    await house.hear(refund)
    await house.tick()

    answer = await house.one("CommandRejected")
    assert (answer["code"], answer["request_id"], answer["command_type"]) == (
        "provider_refused",
        id_of("refund"),
        "billing.RefundPayment.v1",
    )


async def test_undo_of_a_rule(house: House) -> None:
    await house.hear(create_invoice(issue=True), create_link())
    await house.hear(register_payment("p1", "10.00", invoice_id=None, payment_document_id=id_of("L")))
    await house.forget()

    def cancel(contract: Any, name: str, field: str, **own: Any) -> Any:
        known = {"deal_id": DEAL, "if_untouched": True, "reason": "wrong rule", field: id_of(name)}
        return contract(request_id=str(uuid4()), origin=origin(), **(known | own))

    await house.hear(
        cancel(billing.CancelPaymentDocument, "L", "payment_document_id"),
        cancel(billing.CancelInvoice, "I", "invoice_id"),
        cancel(billing.CancelInvoice, "nobody", "invoice_id"),
        cancel(billing.CancelInvoice, "I", "invoice_id", if_untouched=False),
    )

    assert [m.body.get("code") for m in await house.said("CommandRejected")] == ["has_been_touched", "has_been_touched", "not_found"]
    names = [m.name for m in await house.said() if m.name != "CommandRejected"]
    assert names == ["CreditNoteIssued", "InvoiceCancelled", "PaymentUnallocated"]


async def test_quotes_and_documents_to_be_signed(house: House) -> None:
    """3.3/4: without a contact nobody can sign."""
    known: dict[str, Any] = {"deal_id": DEAL, "title": "Roof 2026", "responsible_id": ANNA, "origin": origin()}
    whom = common.Customer(contact_id=PETRA, company_id=MUSTER)
    money: dict[str, Any] = {"currency": "EUR", "prices_include_tax": True, "lines": (line(),), "amount": "0"}
    quote = billing.CreateQuote(
        request_id=id_of("Q"), quote_id=id_of("Q"), customer=whom, skip_if_open_exists=True, valid_for_days=30, **known, **money
    )
    sign: dict[str, Any] = {"template_code": "standard", "fields": {"city": "Ulm"}, **known}
    nobody = billing.CreateSignDocument(request_id=id_of("S"), sign_document_id=id_of("S"), customer=common.Customer(), **sign)
    somebody = billing.CreateSignDocument(request_id=id_of("S"), sign_document_id=id_of("S"), customer=whom, **sign)

    await house.hear(quote, nobody, somebody)

    made = await house.one("QuoteCreated")
    assert (made["valid_until"], made["total"]["amount"], made["request_id"]) == ("2026-04-01", "100.00", id_of("Q"))
    assert (await house.one("CommandRejected"))["code"] == "no_signer"
    assert (await house.one("SignDocumentCreated"))["request_id"] == id_of("S")
    second = quote.model_copy(update={"request_id": id_of("Q2"), "quote_id": id_of("Q2")})
    await house.hear(second)
    assert (await house.said("CommandRejected"))[1].body["code"] == "open_exists"


async def test_drafts_follow_the_customers_details_and_issued_invoices_do_not(house: House) -> None:
    """D46, 3.4/3"""
    await house.hear(create_invoice("F"), create_invoice("G", issue=True))
    changed = deals.DetailsChanged(
        origin=origin(),
        details_id=id_of("details"),
        owner_type="contact",
        owner_id=PETRA,
        template_code="person",
        changes={},
        unchanged={},
        fields={"vat_id": "DE999"},
        addresses={"business": {"street": "Neuweg", "city": "Bremen"}},
        is_default=True,
    )
    await house.hear(house.record(changed, subject=f"details/{id_of('details')}"))

    async with house.client(await house.key("billing:read")) as client:
        draft, issued = [(await client.get(f"/v1/invoices/{id_of(name)}")).json()["buyer"] for name in "FG"]
    assert (draft["address"]["city"], draft["vat_id"]) == ("Bremen", "DE999")
    assert (issued["address"]["city"], issued["vat_id"]) == ("Ulm", "DE123456789")


async def test_an_invoice_is_not_issued_before_its_customer_is_known(empty_house: House) -> None:
    with pytest.raises(AssertionError, match="not known to billing yet"):
        await empty_house.hear(create_invoice(issue=True))


async def test_a_merged_contact_stands_for_the_survivor(house: House) -> None:
    """D65"""
    survivor = id_of("survivor")
    fields = deals.ContactFields(first_name="Paula", last_name="Meister", emails=(), phones=(), company_ids=(), custom={})
    await house.hear(
        house.record(deals.ContactCreated(origin=origin(), contact_id=survivor, fields=fields), subject=f"contact/{survivor}"),
        house.record(
            deals.ContactsMerged(origin=origin(), survivor_id=survivor, merged_id=PETRA, moved_details=()), subject=f"contact/{survivor}"
        ),
    )

    await house.hear(create_invoice(customer=common.Customer(contact_id=PETRA), issue=True))

    async with house.client(await house.key("billing:read")) as client:
        buyer = (await client.get(f"/v1/invoices/{id_of('I')}")).json()["buyer"]
    assert (buyer["name"], buyer["contact_id"], buyer["vat_id"]) == ("Paula Meister", survivor, "DE123456789")


async def test_replicas_follow_their_owners(house: House) -> None:
    def changed(**fields: Any) -> deals.DealFieldsChanged:
        changes = {name: Change(before=None, after=after) for name, after in fields.items()}
        return deals.DealFieldsChanged(origin=origin(), deal_id=DEAL, visit_id=id_of("v"), changes=changes)

    erased = deals.ContactDeleted(origin=origin(), contact_id=PETRA, erased=True)
    await house.hear(
        house.record(changed(title="Roof 2027", amount="70.00", primary_contact_id=None), subject=f"deal/{DEAL}"),
        house.record(deals.DealDeleted(origin=origin(), deal_id=DEAL, visit_id=id_of("v")), subject=f"deal/{DEAL}"),
        house.record(company("Neu GmbH"), subject=f"company/{MUSTER}"),
        house.record(erased, subject=f"contact/{PETRA}"),
    )

    deal = await row(house, "deals_v1", DEAL)
    assert (deal["title"], deal["amount"], deal["contact_id"], deal["deleted"]) == ("Roof 2027", "70.00", None, True)
    assert (await row(house, "companies_v1", MUSTER))["name"] == "Neu GmbH"
    assert (await row(house, "contacts_v1", PETRA))["last_name"] == ""


@pytest.mark.parametrize(("expires", "status"), [(True, "expired"), (False, "open")])
async def test_a_lost_deals_links_expire_if_its_pipeline_says_so(house: House, expires: bool, status: str) -> None:
    """D64"""
    await house.hear(house.record(pipeline(expires=expires), subject=f"pipeline/{SALES}"))
    await house.hear(create_link())
    lost = deals.StageChanged(
        origin=origin(),
        element_type="deal",
        element_id=DEAL,
        from_pipeline_id=SALES,
        from_stage_id=id_of("new"),
        from_visit_id=id_of("v1"),
        pipeline_id=SALES,
        stage_id=id_of("lost"),
        stage_kind="failure",
        visit_id=id_of("v2"),
        visit_number=2,
        arrived_at="2026-03-02T08:00:00.000Z",
        automation="on",
        reason="person",
        amount=common.Money(amount="100.00", currency="EUR"),
    )
    await house.hear(house.record(lost, subject=f"deal/{DEAL}"))

    found = await house.rows("select status from payment_documents_v1 order by version desc limit 1")
    assert found[0]["status"] == status


async def test_a_deal_that_was_restored_and_a_second_deal(house: House) -> None:
    other = id_of("other deal")
    await house.hear(
        house.record(deals.DealDeleted(origin=origin(), deal_id=DEAL, visit_id=id_of("v")), subject=f"deal/{DEAL}"),
        house.record(deals.DealRestored(origin=origin(), deal_id=DEAL, visit_id=id_of("v"), stage_id=id_of("new")), subject=f"deal/{DEAL}"),
        house.record(deal_created(other, title="Second"), subject=f"deal/{other}"),
    )

    assert [(r["title"], r["deleted"]) for r in await house.rows("select * from deals_v1 order by title")] == [
        ("Roof 2026", False),
        ("Second", False),
    ]
