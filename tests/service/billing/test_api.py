"""Billing over HTTP: resources, verbs, lists, versions, bad input (billing.md 10, 13; domain overview 7)."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx

from services.billing.handlers import HANDLERS
from shared.es.rebuild import rebuild
from tests.service.billing.conftest import ANNA, DEAL, MUSTER, PETRA, create_invoice, create_link, deal_created, id_of
from tests.service.house import House, together

LINE = {"name": "Roof tiles", "quantity": "1", "unit_price": "100.00", "tax_rate": "19"}
WHOM = {"contact_id": PETRA, "company_id": MUSTER}


async def invoice(client: httpx.AsyncClient, **own: Any) -> dict[str, Any]:
    body = {"title": "Roof 2026", "currency": "EUR", "lines": [LINE], "customer": WHOM, **own}
    made = await client.post("/v1/invoices", json=body)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


async def payment(client: httpx.AsyncClient, amount: str = "100.00", reference: str = "b1", **own: Any) -> dict[str, Any]:
    body = {"reference": reference, "amount": {"amount": amount, "currency": "EUR"}, "paid_at": "2026-03-02T08:00:00Z", **own}
    made = await client.post("/v1/payments", json=body)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


def money(amount: str, currency: str = "EUR") -> dict[str, str]:
    return {"amount": amount, "currency": currency}


async def test_an_invoice_from_its_birth_to_the_last_cent(client: httpx.AsyncClient) -> None:
    draft = await invoice(client)
    path = f"/v1/invoices/{draft['id']}"
    assert (draft["status"], draft["number"], draft["total"], draft["origin_rule_id"]) == ("draft", None, money("100.00"), None)

    got = await client.get(path)
    assert (got.headers["etag"], got.json()["buyer"]["name"], got.json()["warnings"]) == ('"1"', "Muster GmbH", [])
    assert (await client.get(path, headers={"If-None-Match": '"1"'})).status_code == 304

    changed = await client.patch(path, json={"title": "Roof 2027"}, headers={"If-Match": '"1"'})
    assert (changed.status_code, changed.json()["title"], changed.headers["etag"]) == (200, "Roof 2027", '"2"')

    issued = await client.post(f"{path}/issuances")
    assert (issued.json()["number"], issued.json()["issue_date"], issued.json()["buyer"]["name"]) == (
        "RE-2026-0001",
        "2026-03-02",
        "Muster GmbH",
    )
    paid = await payment(client, invoice_id=draft["id"])
    assert (paid["status"], paid["allocations"][0]["invoice_id"]) == ("allocated", draft["id"])
    assert [(await client.get(path)).json()[name] for name in ("status", "amount_due", "epoch")] == ["paid", money("0.00"), 1]
    assert (await client.get(f"{path}?version=2")).json()["status"] == "draft"
    events = (await client.get(f"{path}/events")).json()["items"]
    assert [e["type"] for e in events] == ["InvoiceCreated", "InvoiceDraftChanged", "InvoiceIssued", "InvoicePaid"]
    moves = (await client.get(f"{path}/allocations")).json()["items"]
    assert [(m["kind"], m["amount"], m["epoch"]) for m in moves] == [("allocated", money("100.00"), 1)]


async def test_an_invoice_is_filled_from_the_deal(client: httpx.AsyncClient) -> None:
    """S44"""
    made = await client.post("/v1/invoices", json={"deal_id": DEAL, "fill_from_deal": True})

    body = made.json()
    assert (body["title"], body["customer"], body["responsible_id"]) == ("Roof 2026", WHOM, ANNA)
    assert [each["name"] for each in body["lines"]] == ["Roof tiles"]
    unknown = await client.post("/v1/invoices", json={"deal_id": id_of("unknown"), "fill_from_deal": True})
    assert (unknown.status_code, unknown.json()["code"]) == (409, "deal_unknown")


async def test_the_same_id_again(client: httpx.AsyncClient) -> None:
    id = str(uuid4())
    body = {"id": id, "title": "A", "currency": "EUR", "lines": [LINE], "customer": WHOM}
    first, again = [await client.post("/v1/invoices", json=body) for _ in range(2)]
    other = await client.post("/v1/invoices", json={**body, "title": "B"})

    assert [first.status_code, again.status_code, other.status_code] == [201, 200, 409]
    assert other.json()["code"] == "id_taken"
    assert first.headers["location"] == f"/v1/invoices/{id}"


WRONG: list[tuple[dict[str, Any], str, str]] = [
    ({"lines": [{**LINE, "unit_price": "-1"}]}, "#/lines/0", "bad_amount"),
    ({"lines": [{**LINE, "unit_price": "1.005"}]}, "#/lines/0/unit_price", "bad_amount"),
    ({"lines": [{**LINE, "unit_price": 1.5}]}, "#/lines/0/unit_price", "bad_amount"),
    ({"lines": [{**LINE, "tax_rate": "101"}]}, "#/lines/0/tax_rate", "bad_tax_rate"),
    ({"lines": [{**LINE, "tax_rate": "NaN"}]}, "#/lines/0/tax_rate", "bad_amount"),
    ({"lines": [LINE] * 501}, "#/lines", "too_long"),
    ({"currency": "XXQ"}, "#/currency", "unknown_currency"),
    ({"title": "x" * 256}, "#/title", "too_long"),
    ({"nobody_knows": 1}, "#/nobody_knows", "unknown_field"),
    ({"deal_id": "not a uuid"}, "#/deal_id", "wrong_type"),
    ({"due_in_days": 4000}, "#/due_in_days", "out_of_range"),
]


async def test_wrong_input_is_named(client: httpx.AsyncClient) -> None:
    for change, pointer, code in WRONG:
        body = {"title": "Roof 2026", "currency": "EUR", "lines": [LINE], "customer": WHOM, **change}
        answer = await client.post("/v1/invoices", json=body)

        assert (answer.status_code, answer.json()["code"]) == (422, "validation_failed")
        assert [(f["pointer"], f["code"]) for f in answer.json()["errors"]] == [(pointer, code)]


async def test_refusals_keep_their_codes(client: httpx.AsyncClient) -> None:
    async def code(method: str, path: str, body: Any = None, **headers: str) -> tuple[int, str]:
        answer = await client.request(method, path, json=body, headers=headers)
        return answer.status_code, answer.json()["code"]

    empty = {"title": "A", "currency": "EUR", "customer": WHOM}
    assert await code("POST", "/v1/invoices", empty) == (409, "nothing_to_invoice")
    assert await code("POST", "/v1/invoices", {"title": "A", "lines": [LINE]}) == (409, "currency_missing")
    issued = f"/v1/invoices/{(await invoice(client, issue=True))['id']}"
    assert await code("PATCH", issued, {"title": "B"}, **{"If-Match": '"2"'}) == (409, "invoice_not_draft")
    assert await code("PATCH", issued, {"title": "B"}) == (428, "precondition_required")
    assert await code("PATCH", issued, {"title": "B"}, **{"If-Match": '"1"'}) == (412, "version_conflict")
    assert await code("POST", f"{issued}/issuances", **{"If-Match": '"1"'}) == (412, "version_conflict")
    assert await code("POST", f"{issued}/issuances") == (409, "invoice_not_draft")
    assert await code("POST", f"{issued}/credit-notes", {"amount": "100.01"}) == (409, "more_than_total")
    assert await code("POST", f"{issued}/credit-notes", {}) == (422, "validation_failed")
    assert await code("POST", f"{issued}/deal-links", {"deal_id": id_of("unknown")}) == (409, "deal_unknown")
    nobody = f"/v1/invoices/{uuid4()}"
    assert await code("GET", nobody) == (404, "not_found")
    assert await code("POST", f"{nobody}/cancellations", {}) == (404, "not_found")
    nameless = f"/v1/invoices/{(await invoice(client, customer={}))['id']}/issuances"
    assert await code("POST", nameless) == (409, "buyer_incomplete")
    assert await code("GET", "/v1/invoices?colour=red") == (400, "unknown_parameter")
    assert await code("GET", "/v1/invoices?sort=colour") == (400, "unknown_parameter")


async def test_scopes_and_tenants(house: House, client: httpx.AsyncClient) -> None:
    id = (await invoice(client))["id"]
    paid = await payment(client, reference="b9")
    async with house.client(await house.key("billing:read")) as reader:
        assert (await reader.get(f"/v1/invoices/{id}")).status_code == 200
        assert (await reader.post("/v1/invoices", json={"title": "A"})).json()["code"] == "forbidden"
    async with house.client(await house.key("billing:read", "billing:write")) as writer:
        assert (await writer.post(f"/v1/payments/{paid['id']}/refunds", json={"amount": "1.00"})).status_code == 403
    async with house.client() as nobody:
        assert (await nobody.get(f"/v1/invoices/{id}")).json()["code"] == "unauthenticated"
    house.tenant = uuid4()
    async with house.client(await house.key("billing:read", "billing:write", "payments:refund")) as stranger:
        assert (await stranger.get(f"/v1/invoices/{id}")).status_code == 404
        assert (await stranger.get("/v1/invoices")).json()["items"] == []
        assert (await stranger.post(f"/v1/invoices/{id}/issuances")).status_code == 404
        assert (await stranger.post(f"/v1/payments/{paid['id']}/reversals", json={})).status_code == 404


async def test_lists(client: httpx.AsyncClient) -> None:
    prices = ["10.00", "20.00", "30.00", "40.00", "50.00"]
    for n, price in enumerate(prices):
        await invoice(client, title=f"Roof number {n}", lines=[{**LINE, "unit_price": price}], issue=n % 2 == 0, due_in_days=n)

    async def titles(query: str) -> list[str]:
        answer = await client.get(f"/v1/invoices?{query}")
        assert answer.status_code == 200, answer.text
        return [item["title"][-1] for item in answer.json()["items"]]

    assert await titles("sort=total") == ["0", "1", "2", "3", "4"]
    assert await titles("sort=-total&limit=2") == ["4", "3"]
    assert sorted(await titles("status=draft")) == ["1", "3"]
    assert await titles("status=issued&sort=due_date") == ["0", "2", "4"]
    assert await titles("total_from=20.00&total_to=40.00&sort=total") == ["1", "2"]
    assert await titles("q=number%203") == ["3"]
    assert await titles("q=100%25") == []
    assert await titles("number=RE-2026-0002") == ["2"]
    assert await titles(f"contact_id={PETRA}&due_date_from=2026-03-05&sort=total") == ["4"]
    page = (await client.get("/v1/invoices?limit=3&sort=total&include=total")).json()
    rest = (await client.get(f"/v1/invoices?limit=3&sort=total&cursor={page['next_cursor']}")).json()
    assert [i["title"][-1] for i in page["items"] + rest["items"]] == ["0", "1", "2", "3", "4"]
    assert (page["total"], rest["next_cursor"]) == (5, None)


async def test_concurrent_issues_have_no_gap(client: httpx.AsyncClient) -> None:
    """D69"""
    made = await together(*(invoice(client, title=f"I{n}") for n in range(40)))
    issued = await together(*(client.post(f"/v1/invoices/{each['id']}/issuances") for each in made))

    assert sorted(answer.json()["number"] for answer in issued) == [f"RE-2026-{n:04}" for n in range(1, 41)]


async def test_credit_and_cancellation(client: httpx.AsyncClient) -> None:
    id = (await invoice(client, issue=True))["id"]
    await payment(client, "100.00", invoice_id=id)
    note = await client.post(f"/v1/invoices/{id}/credit-notes", json={"lines": [{**LINE, "unit_price": "30.00"}], "reason": "damaged"})
    assert (note.status_code, note.json()["number"], note.json()["total"]) == (201, "GS-2026-0001", money("30.00"))
    assert (await client.get(note.headers["location"])).json() == note.json()
    credits = (await client.get("/v1/customer-credits")).json()["items"]
    assert [(c["customer"], c["credit"], c["payments"]) for c in credits] == [(WHOM, money("30.00"), 1)]

    cancelled = await client.post(f"/v1/invoices/{id}/cancellations", json={"reason": "wrong customer"})
    assert cancelled.json()["status"] == "cancelled"
    notes = (await client.get(f"/v1/credit-notes?invoice_id={id}&sort=number")).json()["items"]
    assert [(n["number"], n["total"], n["cancels_invoice"]) for n in notes] == [
        ("GS-2026-0001", money("30.00"), False),
        ("GS-2026-0002", money("70.00"), True),
    ]
    kinds = [m["kind"] for m in (await client.get(f"/v1/invoices/{id}/allocations")).json()["items"]]
    assert kinds == ["allocated", "released", "released"]


async def test_money_reported_by_hand(client: httpx.AsyncClient) -> None:
    id = (await invoice(client, issue=True))["id"]
    first = await payment(client, "150.00", invoice_id=id)
    again = await client.post(
        "/v1/payments",
        json={"reference": "b1", "amount": money("150.00"), "paid_at": "2026-03-02T08:00:00Z", "invoice_id": id},
    )
    assert (again.status_code, again.json()["id"]) == (200, first["id"])
    other = await client.post(
        "/v1/payments", json={"reference": "b1", "amount": money("1.00"), "paid_at": "2026-03-02T08:00:00Z", "invoice_id": id}
    )
    assert other.status_code == 201, "another amount under the same reference is kept as a contradiction"
    assert (first["status"], first["credit"], first["unapplied_reason"]) == ("partly_allocated", money("50.00"), "more_than_due")

    second = (await invoice(client, lines=[{**LINE, "unit_price": "60.00"}]))["id"]
    path = f"/v1/payments/{first['id']}"
    allocated = await client.post(f"{path}/allocations", json={"invoice_id": second, "amount": "50.00"})
    assert (allocated.status_code, allocated.json()["credit"]) == (201, money("0.00"))
    version = allocated.headers["etag"]
    back = await client.delete(f"{path}/allocations/2", headers={"If-Match": version})
    assert (back.status_code, back.json()["credit"]) == (200, money("50.00"))
    assert (await client.get(f"/v1/invoices/{second}")).json()["status"] == "issued"
    refunded = await client.post(f"{path}/refunds", json={"amount": "150.00", "reason": "returned"})
    assert (refunded.status_code, refunded.json()["status"]) == (201, "refunded")
    assert (await client.get(f"/v1/invoices/{id}")).json()["status"] == "refunded"
    assert (await client.post(f"{path}/refunds", json={"amount": "0.01"})).json()["code"] == "more_than_paid"


async def test_reversal_and_lists_of_payments(client: httpx.AsyncClient) -> None:
    id = (await invoice(client, issue=True))["id"]
    paid = await payment(client, invoice_id=id)
    await payment(client, "5.00", "b2")

    reversed_ = await client.post(f"/v1/payments/{paid['id']}/reversals", json={"reason": "bounced"})
    assert (reversed_.status_code, reversed_.json()["status"]) == (201, "reversed")
    assert (await client.get(f"/v1/invoices/{id}")).json()["status"] == "issued"
    assert (await client.post(f"/v1/payments/{paid['id']}/reversals", json={})).json()["code"] == "payment_reversed"

    async def found(query: str) -> list[str]:
        return [p["provider_payment_id"] for p in (await client.get(f"/v1/payments?{query}")).json()["items"]]

    assert await found(f"invoice_id={id}") == ["b1"]
    assert await found("unapplied=true") == ["b2"]
    assert await found("status=reversed,refunded") == ["b1"]
    assert await found("amount_from=6.00") == ["b1"]
    assert sorted(await found("provider=manual")) == ["b1", "b2"]


async def test_payment_documents(client: httpx.AsyncClient) -> None:
    prepared = await client.post("/v1/payment-documents", json={"deal_id": DEAL, "order_id": "4711"})
    assert (prepared.status_code, prepared.json()["status"], prepared.json()["link"]) == (201, "draft", None)
    assert prepared.json()["amount"] == money("100.00")
    taken = await client.post("/v1/payment-documents", json={"deal_id": DEAL, "order_id": "4711"})
    assert taken.json()["code"] == "order_taken"
    second = await client.post("/v1/payment-documents", json={"deal_id": DEAL, "link": True})
    assert second.json()["code"] == "payment_document_exists"
    more = await client.post("/v1/payment-documents", json={"deal_id": DEAL, "link": True, "additional": True, "expires_in_days": 5})
    assert (more.status_code, more.json()["status"], more.json()["link"]["expires_at"]) == (201, "open", "2026-03-07T08:00:00.000Z")

    path = more.headers["location"]
    got = await client.get(path)
    assert (got.json()["differs_from_deal"], got.json()["link"]) == (False, more.json()["link"])
    assert (await client.post(f"{path}/expirations")).json()["status"] == "expired"
    reopened = await client.post(f"{path}/links", json={})
    assert (reopened.status_code, reopened.json()["status"]) == (201, "open")
    assert reopened.json()["link"]["url"] != more.json()["link"]["url"]
    assert (await client.post(f"{path}/cancellations", json={})).json()["status"] == "cancelled"
    assert (await client.post(f"{path}/cancellations", json={})).json()["code"] == "document_over"
    listed = (await client.get(f"/v1/payment-documents?deal_id={DEAL}&status=draft,open")).json()["items"]
    assert [(d["order_id"], d["status"]) for d in listed] == [("4711", "draft")]
    assert (await client.get(f"/v1/payment-documents/{uuid4()}")).status_code == 404
    assert (await client.post("/v1/payment-documents", json={"link": True})).json()["errors"][0]["pointer"] == "#/deal_id"


async def test_a_link_for_a_named_invoice_and_what_the_deal_says_by_now(house: House, client: httpx.AsyncClient) -> None:
    """D34d"""
    id = (await invoice(client, deal_id=DEAL))["id"]
    made = await client.post("/v1/payment-documents", json={"invoice_id": id, "link": True})
    assert (made.json()["invoice_id"], made.json()["deal_id"], made.json()["amount"]) == (id, DEAL, money("100.00"))
    assert (await client.get(f"/v1/invoices/{id}")).json()["status"] == "issued"

    await house.hear(house.record(deal_created(amount="120.00"), subject=f"deal/{DEAL}"))

    assert (await client.get(made.headers["location"])).json()["differs_from_deal"] is True


async def test_number_series(client: httpx.AsyncClient) -> None:
    opened = await client.post("/v1/number-series", json={"code": "invoice", "prefix": "R{year}/", "digits": 3, "yearly": True, "next": 7})
    assert (opened.status_code, opened.json()["next_number"]) == (201, "R2026/007")
    assert (await invoice(client, issue=True))["number"] == "R2026/007"
    got = await client.get("/v1/number-series/invoice")
    assert (got.json()["next_number"], got.json()["last_number"]) == ("R2026/008", "R2026/007")
    late = await client.patch("/v1/number-series/invoice", json={"next": 100}, headers={"If-Match": got.headers["etag"]})
    assert (late.status_code, late.json()["code"]) == (409, "series_in_use")
    own = await client.post("/v1/number-series", json={"code": "export", "prefix": "EX-"})
    assert own.status_code == 201
    changed = await client.patch("/v1/number-series/export", json={"next": 100}, headers={"If-Match": '"1"'})
    assert changed.json()["next_number"] == "EX-0100"
    assert (await invoice(client, issue=True, series="export"))["number"] == "EX-0100"
    assert [s["code"] for s in (await client.get("/v1/number-series")).json()["items"]] == ["export", "invoice"]
    body = {"title": "A", "currency": "EUR", "lines": [LINE], "customer": WHOM, "issue": True, "series": "no"}
    unknown = await client.post("/v1/invoices", json=body)
    assert unknown.json()["code"] == "series_unknown"


async def test_quotes_and_documents_to_be_signed(client: httpx.AsyncClient) -> None:
    quote = await client.post("/v1/quotes", json={"deal_id": DEAL, "fill_from_deal": True, "valid_for_days": 30})
    assert (quote.status_code, quote.json()["valid_until"], quote.json()["total"]) == (201, "2026-04-01", money("100.00"))
    assert (await client.get(quote.headers["location"])).json() == quote.json()
    assert [q["title"] for q in (await client.get(f"/v1/quotes?deal_id={DEAL}")).json()["items"]] == ["Roof 2026"]
    assert (await client.post(f"{quote.headers['location']}/cancellations", json={})).json()["status"] == "cancelled"

    sign = await client.post("/v1/sign-documents", json={"deal_id": DEAL, "fields": {"city": "Ulm"}})
    assert (sign.status_code, sign.json()["signers"][0]["contact_id"]) == (201, PETRA)
    assert (await client.get(sign.headers["location"])).json() == sign.json()
    assert len((await client.get(f"/v1/sign-documents?deal_id={DEAL}")).json()["items"]) == 1
    assert (await client.post(f"{sign.headers['location']}/cancellations", json={})).json()["status"] == "cancelled"
    unknown = await client.post("/v1/sign-documents", json={"deal_id": DEAL, "template_code": "own"})
    assert unknown.json()["code"] == "sign_template_unknown"


async def test_what_a_rule_made_and_a_person_made_look_alike(house: House, client: httpx.AsyncClient) -> None:
    await house.hear(create_invoice(), create_link())

    listed = (await client.get(f"/v1/invoices?deal_id={DEAL}")).json()["items"]
    assert [(i["id"], i["status"], i["origin_rule_id"]) for i in listed] == [(id_of("I"), "issued", "00000000-0000-4000-8000-00000000ffff")]
    document = (await client.get(f"/v1/payment-documents/{id_of('L')}")).json()
    assert document["link"]["url"] == (await house.one("PaymentLinkCreated"))["url"]


async def test_every_view_can_be_rebuilt(house: House, client: httpx.AsyncClient) -> None:
    id = (await invoice(client, issue=True, deal_id=DEAL))["id"]
    await house.hear(create_link())
    await payment(client, "30.00", invoice_id=id)
    await client.post(f"/v1/invoices/{id}/credit-notes", json={"amount": "10.00"})
    for handler in HANDLERS:
        for view in handler.views:
            before = await house.rows(f"select * from {view.table.name} order by tenant, id, version")
            async with house.kit.database.raw() as raw:
                await raw.execute(f"delete from {view.table.name}")
            await rebuild(house.kit.database, house.kit.prepared.store, handler.aggregate, view)
            assert await house.rows(f"select * from {view.table.name} order by tenant, id, version") == before, view.table.name
