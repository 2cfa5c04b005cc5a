"""The checks are checked: a history of billing that is as rich as its code allows breaks no law, and each law finds what was made for it.

Every bad row is made by hand in a transaction that is rolled back. Whoever writes a law adds what it has to find."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy.engine import make_url

from services.billing import provider
from services.billing.service import SERVICE
from services.billing.settings import settings
from shared.testing.stack import Stack
from tests.chaos import money, principals, timers
from tests.chaos.laws import EVENTS, broken
from tests.service.billing.conftest import (
    ANNA,
    BASE,
    MUSTER,
    NOW,
    PETRA,
    SALES,
    SECRET,
    company,
    contact,
    create_invoice,
    deal_created,
    id_of,
    line,
    pipeline,
)
from tests.service.billing.test_api import invoice, payment
from tests.service.billing.test_pages import begin, link_of, press
from tests.service.house import House, a_house, employee

LAWS = {law.name: law for law in (*money.LAWS, *principals.LAWS, *timers.LAWS)}


@pytest.fixture(scope="module")
async def house(stack: Stack) -> AsyncIterator[House]:
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("DEALWRIGHT_BILLING__PUBLIC_BASE", BASE)
        patched.setenv("DEALWRIGHT_BILLING__WEBHOOK_SECRETS", SECRET)
        settings.cache_clear()
        async with a_house(stack, SERVICE, NOW) as found:
            patched.setattr(provider, "ROAD", httpx.ASGITransport(found.app))
            await _live_through_it_all(found)
            yield found
    settings.cache_clear()


@pytest.fixture
async def books(house: House, stack: Stack) -> AsyncIterator[asyncpg.Connection]:
    """As administrator, with the views of the checks, in a transaction that leaves nothing."""
    name = (await house.rows("select current_database() as name"))[0]["name"]
    connection = await asyncpg.connect(make_url(stack.admin_url).set(database=name).render_as_string(hide_password=False))
    changes = connection.transaction()
    await changes.start()
    try:
        await connection.execute(f"create schema chk; {EVENTS} {money.VIEWS} {timers.VIEWS} {GOOD_TIMERS}")
        yield connection
    finally:
        await changes.rollback()
        await connection.close()


async def _live_through_it_all(house: House) -> None:
    await house.hear(
        house.record(pipeline(), subject=f"pipeline/{SALES}"),
        house.record(contact(), subject=f"contact/{PETRA}"),
        house.record(company(), subject=f"company/{MUSTER}"),
        house.record(employee(ANNA, "Anna"), subject=f"employee/{ANNA}"),
    )
    transport = httpx.ASGITransport(house.app)
    async with httpx.AsyncClient(transport=transport, base_url=BASE) as browser:
        await _customers_pay_on_pages(house, browser)
        await _a_link_expires(house, browser)
    key = await house.key("billing:read", "billing:write", "payments:refund", actor=f"user:{ANNA}")
    async with house.client(key) as client:
        await _somebody_works_by_hand(client)
        await house.tick()
    async with house.client(key[:-4] + "nope") as stranger:
        assert (await stranger.get("/v1/payments")).status_code == 401
    await house.app.state.rooms.refusals.settle()


async def _deal(house: House, name: str) -> str:
    id = id_of(name)
    await house.hear(house.record(deal_created(id), subject=f"deal/{id}"))
    return id


async def _customers_pay_on_pages(house: House, browser: httpx.AsyncClient) -> None:
    """Whole, in halves out of order, too much, given back, charged back, ahead of the invoice; each in a deal of its own."""
    ways: dict[str, tuple[tuple[str, dict[str, str]], ...]] = {
        "whole": (("pay", {"twice": "on"}),),
        "halves": (("pay", {"out_of_order": "on"}),),
        "excess": (("excess", {"amount": "130.00"}),),
        "refund": (("pay", {}), ("refund", {"twice": "on"})),
        "charge back": (("pay", {}), ("charge_back", {})),
        "declined": (("decline", {}),),
    }
    for name, presses in ways.items():
        deal = await _deal(house, name)
        await house.hear(
            create_invoice(f"invoice {name}", deal_id=deal, issue=True, lines=(line("60.00", "Tiles"), line("40.00", rate="7")))
        )
        checkout = await begin(browser, await link_of(house, name=f"link {name}", deal_id=deal))
        for button, fields in presses:
            await press(browser, checkout, button, **fields)
            await house.tick(provider.SLOWEST)
    deal = await _deal(house, "prepaid")
    await press(browser, await begin(browser, await link_of(house, name="link prepaid", deal_id=deal, covers="deal")), "pay")
    await house.tick(provider.SLOWEST)
    await house.hear(create_invoice("invoice prepaid", deal_id=deal, issue=True))


async def _a_link_expires(house: House, browser: httpx.AsyncClient) -> None:
    """And is paid on all the same, by somebody who stood at the provider already: that money stays unallocated (D31)."""
    deal = await _deal(house, "late")
    checkout = await begin(browser, await link_of(house, name="link late", deal_id=deal, covers="deal", expires_in_days=1))
    await house.tick(timedelta(days=2))
    await press(browser, checkout, "pay")
    await house.tick(provider.SLOWEST)


async def _somebody_works_by_hand(client: httpx.AsyncClient) -> None:
    """Credit moved to another invoice and back, a refund, a credit note, a cancellation, another currency."""
    first = (await invoice(client, issue=True))["id"]
    paid = await payment(client, "150.00", invoice_id=first)
    second = await invoice(
        client, lines=[{"name": "Tiles", "quantity": "2.5", "unit_price": "9.99", "tax_rate": "19", "discount_percent": "10"}]
    )
    path = f"/v1/payments/{paid['id']}"
    taken = await client.post(f"{path}/allocations", json={"invoice_id": second["id"], "amount": "10.00"})
    assert taken.status_code == 201, taken.text
    for body in ({"amount": "20.00", "reason": "kind"}, {"amount": "40.00", "to_be_paid_again": True}):
        assert (await client.post(f"{path}/refunds", json=body)).status_code == 201
    noted = {"lines": [{"name": "Tiles", "quantity": "1", "unit_price": "30.00", "tax_rate": "19"}], "reason": "damaged"}
    assert (await client.post(f"/v1/invoices/{first}/credit-notes", json=noted)).status_code == 201
    third = (await invoice(client, issue=True))["id"]
    await payment(client, "70.00", "b3", invoice_id=third)
    assert (await client.post(f"/v1/invoices/{third}/cancellations", json={"reason": "wrong customer"})).status_code == 200
    await _another_currency(client)


async def _another_currency(client: httpx.AsyncClient) -> None:
    came_in = {"reference": "usd", "amount": {"amount": "50.00", "currency": "USD"}, "paid_at": "2026-03-02T08:00:00Z"}
    dollars = (await client.post("/v1/payments", json=came_in)).json()
    fourth = (await invoice(client, issue=True))["id"]
    body = {"invoice_id": fourth, "amount": "50.00", "rate": "0.9"}
    taken = await client.post(f"/v1/payments/{dollars['id']}/allocations", json=body)
    assert taken.status_code == 201, taken.text


def timer(id: str, *events: tuple[str, str]) -> str:
    """A stream in the log, which is the same in every service. Times are minutes from now."""
    rows = ", ".join(
        f"(gen_random_uuid(), '{TENANT}', 'timer', 'timer-{id}', {version}, '{type}', {data}, 'chain', 'cause', 0, 'system', now())"
        for version, (type, data) in enumerate(events, 1)
    )
    columns = "id, tenant, aggregate, stream, version, type, data, correlation_id, causation_id, hops, actor, recorded_at"
    return f"insert into events ({columns}) values {rows};"


def due(minutes: float, waiting: str = "null") -> str:
    moment = f"now() + interval '{minutes} minutes'"
    return f"json_build_object('armed', json_build_object('due', json_build_object('due_at', {moment}, 'waiting_for', {waiting})))"


def fired(minutes: float, at: float, early: str = "false") -> str:
    moments = f"'due_at', now() + interval '{minutes} minutes', 'fired_at', now() + interval '{at} minutes'"
    return f"json_build_object({moments}, 'early', {early})"


SET, FIRED, MISSED, CANCELLED = "TimerSet", "TimerFired", "TimerMissed", "TimerCancelled"
TENANT = "7e57ab1e-0000-4000-8000-000000000000"
GOOD_TIMERS = "".join(
    (
        timer("fired", (SET, due(-9)), (FIRED, fired(-9, -8.9))),
        timer("again", (SET, due(-9)), (FIRED, fired(-9, -9)), ("TimerRearmed", due(-5)), (FIRED, fired(-5, -4))),
        timer("by hand", (SET, due(60)), (FIRED, fired(60, -1, "true"))),
        timer("cancelled", (SET, due(-9)), (CANCELLED, "'{}'")),
        timer("later", (SET, due(60))),
        timer("waits for somebody", (SET, due(-60, "'responsible_hours'"))),
    )
)

SHAPES = {
    "chk.clearing": 12,
    "chk.refund": 3,
    "chk.charge": 8,
    "chk.report": 8,
    "chk.document": 8,
    "public.credit_notes_v1": 2,
    "public.audit": 1,
    "chk.payment_entry where rate is not null": 1,
    "chk.payment_entry where amount < 0": 2,
    "chk.payment where reversed": 1,
    "chk.timer_event": 11,
}
"""What the good history has at least, so that a law that holds has something to hold for."""


@pytest.mark.parametrize("what", SHAPES)
async def test_the_good_history_is_rich(books: asyncpg.Connection, what: str) -> None:
    assert await books.fetchval(f"select count(*) from {what}") >= SHAPES[what]


async def test_a_good_history_breaks_no_law(books: asyncpg.Connection) -> None:
    assert await broken(books, LAWS.values()) == {}


def changed(aggregate: str, type: str, old: str, new: str) -> str:
    """The oldest event of a type says something else."""
    return f"""update events set data = regexp_replace(data::text, '{old}', '{new}')::json
               where position = (select min(position) from events where aggregate = '{aggregate}' and type = '{type}'
                                 and data::text ~ '{old}')"""


def _rows(table: str, change: str, where: str) -> str:
    return f"update {table} set {change} where ctid = (select ctid from {table} where {where} limit 1)"


ARRIVED = "what left a payment arrived at its invoice"
PAYMENT_IS = "a payment is what was allocated of it and what was not"
SUM = "an invoice is the sum of its lines and their tax"
DUE = "an invoice is due over what it has not got, and paid exactly when that is nothing"
CREDITED = "an invoice is credited by its credit notes and by nothing else"
CAPTURES = "a link captures what its payments brought it, and never more than its amount"
BEYOND = "what a provider took beyond a link's amount is the customer's credit or went back"
USED_UP = "a link that is used up, expired or cancelled captures nothing"
CHARGE = "each charge of the provider is one payment, and each payment a charge"
BACK = "what went back at the provider went back here, and the other way round"
REPORT = "each report that the provider signed is kept once, and none that it did not"
NAMED = "each change names who made it and what caused it"
KNOWN = "whoever changes something is an employee or holds a key of his tenant"
CAUSED = "what was not asked over HTTP was caused by a message that was taken in, or by an event here"
AUDIT = "each row of the audit names who, what and when"
RATE = "money changes its currency only at a rate agreed by hand"
REFUND = "a refund is what it took from credit and from allocations"
FLOAT = "no amount is a floating-point number"

EARLY = "no timer fires before it is due"
ONCE = "a timer fires or is missed once for each time it was due"
SILENT = "a timer that was cancelled stays silent"
FORGOTTEN = "no timer is forgotten"

CASES: tuple[tuple[str, str, str], ...] = (
    (ARRIVED, "an invoice took more", changed("invoice", "InvoicePaid", '"amount":10000', '"amount":10001')),
    (
        ARRIVED,
        "a payment went elsewhere",
        changed("payment", "PaymentReceived", '("worth":10000,"invoice_id":")[0-9a-f]{8}', r"\100000000"),
    ),
    (ARRIVED, "an invoice forgot what it gave back", "delete from events where aggregate = 'invoice' and type = 'InvoiceRefunded'"),
    (ARRIVED, "a payment was taken back alone", "delete from events where aggregate = 'invoice' and type = 'InvoiceReopened'"),
    (ARRIVED, "released by the invoice alone", "delete from events where type = 'AllocationReleased'"),
    (PAYMENT_IS, "a payment without a row", "delete from payments_v1 where provider_payment_id = 'b3'"),
    (PAYMENT_IS, "a row without a payment", "delete from events where aggregate = 'payment'"),
    (PAYMENT_IS, "another amount", _rows("payments_v1", "amount = amount + 1", "true")),
    (PAYMENT_IS, "another currency", _rows("payments_v1", "currency = 'CHF'", "true")),
    (PAYMENT_IS, "unapplied out of nothing", _rows("payments_v1", "unapplied = unapplied + 1", "true")),
    (PAYMENT_IS, "credit out of nothing", _rows("payments_v1", "credit = credit + 1", "true")),
    (PAYMENT_IS, "credit of a reversed payment", _rows("payments_v1", "credit = 1", "status = 'reversed'")),
    (PAYMENT_IS, "given back, and nobody knows", _rows("payments_v1", "refunded = 0", "refunded > 0")),
    (PAYMENT_IS, "more allocated than came in", changed("payment", "PaymentReceived", '"minor":10000', '"minor":9999')),
    (REFUND, "a part is missing", changed("payment", "PaymentRefunded", '"from_credit":[0-9]+', '"from_credit":7')),
    (RATE, "no rate", changed("payment", "CreditAllocated", '"rate":"0.9"', '"rate":null')),
    (RATE, "worth more than it is", changed("payment", "PaymentReceived", '"worth":10000', '"worth":11000')),
    (SUM, "another tax", _rows("invoices_v1", "tax = tax + 1, net = net - 1", "true")),
    (SUM, "another total", _rows("invoices_v1", "total = total + 1", "true")),
    (SUM, "another price", changed("invoice", "InvoiceCreated", '"unit_price":6000', '"unit_price":6001')),
    (SUM, "an invoice without a row", _rows("invoices_v1", "id = 'nobody'", "true")),
    (DUE, "due, though paid", _rows("invoices_v1", "amount_due = 1", "status = 'paid'")),
    (DUE, "paid, though due", _rows("invoices_v1", "status = 'paid'", "status = 'issued'")),
    (DUE, "not paid, though nothing is due", _rows("invoices_v1", "status = 'partially_paid'", "status = 'paid'")),
    (DUE, "a cancelled one is due", _rows("invoices_v1", "amount_due = 1", "status = 'cancelled'")),
    (DUE, "holds more than its total", _rows("invoices_v1", "held = held + 1, amount_due = amount_due - 1", "status = 'paid'")),
    (
        DUE,
        "does not hold what it has",
        _rows("invoices_v1", "held = 0, amount_due = total - credited, status = 'issued'", "status = 'paid'"),
    ),
    (DUE, "gave back what it never had", "delete from events where aggregate = 'invoice' and type = 'InvoicePaid'"),
    (CREDITED, "credited without a note", _rows("invoices_v1", "credited = credited + 1", "true")),
    (CREDITED, "a note that credits nothing", _rows("credit_notes_v1", "total = total + 1", "true")),
    (CREDITED, "a note for nobody", _rows("credit_notes_v1", "invoice_id = 'nobody'", "true")),
    (FLOAT, "an amount as a double", "alter table payments_v1 alter column credit type double precision"),
    (FLOAT, "an amount as a real", "alter table invoices_v1 alter column held type real"),
    (CAPTURES, "more than its amount", "update payment_documents_v1 set amount = amount - 1"),
    (CAPTURES, "money that no payment brought", "update payment_documents_v1 set captured = captured + 1"),
    (CAPTURES, "a payment that it does not show", _rows("payment_documents_v1", "captured = 0", "status = 'paid'")),
    (USED_UP, "it was paid", "update payment_documents_v1 set status = 'paid'"),
    (USED_UP, "it had expired", "update payment_documents_v1 set status = 'expired'"),
    (USED_UP, "it was cancelled", "update payment_documents_v1 set status = 'cancelled'"),
    (BEYOND, "kept without a word", _rows("payments_v1", "credit = 0", "provider = 'fake' and credit > 0")),
    (
        BEYOND,
        "charged twice",
        changed("checkout", "MoneyMoved", r"(\[\[.*\])\]", r'\1,["fp_more",{"minor":10000,"currency":"EUR"}]]'),
    ),
    (CHARGE, "charged and not booked", "delete from payments_v1 where provider = 'fake'"),
    (CHARGE, "booked and never charged", "delete from events where aggregate = 'checkout'"),
    (CHARGE, "another amount", _rows("payments_v1", "amount = amount - 1", "provider = 'fake'")),
    (CHARGE, "another currency", _rows("payments_v1", "currency = 'USD'", "provider = 'fake'")),
    (
        CHARGE,
        "booked twice",
        "insert into payments_v1 select (jsonb_populate_record(p, jsonb_build_object('id', p.id || '+'))).* from payments_v1 p",
    ),
    (CHARGE, "on another link", _rows("payments_v1", "payment_document_id = 'another'", "provider = 'fake'")),
    (BACK, "given back there only", _rows("payments_v1", "refunded = 0", "provider = 'fake' and refunded > 0")),
    (BACK, "given back here only", _rows("payments_v1", "refunded = 1", "provider = 'fake' and refunded = 0")),
    (BACK, "charged back there only", _rows("payments_v1", "status = 'allocated'", "provider = 'fake' and status = 'reversed'")),
    (BACK, "charged back here only", _rows("payments_v1", "status = 'reversed'", "provider = 'fake' and status = 'allocated'")),
    (REPORT, "a report got lost", _rows("provider_events_v1", "provider = 'another'", "true")),
    (REPORT, "a report came from nobody", "delete from events where type = 'WebhookOwed'"),
    (REPORT, "another amount was kept", "update provider_events_v1 set raw = replace(raw, '100.00', '1.00')"),
    (REPORT, "of another payment", "update provider_events_v1 set raw = replace(raw, 'fp_', 'fq_')"),
    (REPORT, "of another kind", "update provider_events_v1 set kind = 'payment.failed' where kind = 'payment.refunded'"),
    (NAMED, "nobody", _rows("events", "actor = ''", "true")),
    (NAMED, "somebody of no kind", _rows("events", "actor = 'root'", "true")),
    (NAMED, "a user without an id", _rows("events", "actor = 'user:'", "true")),
    (NAMED, "no cause", _rows("events", "causation_id = ''", "true")),
    (NAMED, "no chain", _rows("events", "correlation_id = ''", "true")),
    (NAMED, "fewer than no hops", _rows("events", "hops = -1", "true")),
    (KNOWN, "an employee whom nobody knows", "delete from employees_v1"),
    (KNOWN, "a key that was never issued", _rows("events", "actor = 'key:nobody'", "true")),
    (KNOWN, "an employee of another tenant", "update employees_v1 set tenant = gen_random_uuid()"),
    (CAUSED, "a message that never came", _rows("events", "causation_id = 'nothing'", "hops > 0")),
    (CAUSED, "a message that was forgotten", "delete from inbox"),
    (AUDIT, "nobody did it", "update audit set principal = ''"),
    (AUDIT, "nothing was done", "update audit set action = ''"),
    (AUDIT, "in no tenant", "update audit set tenant = null"),
    (EARLY, "a second before", timer("x", (SET, due(-1)), (FIRED, fired(-1, -1.02)))),
    (EARLY, "found missed too soon", timer("x", (SET, due(5)), (MISSED, fired(5, -1)))),
    (ONCE, "fired twice", timer("x", (SET, due(-1)), (FIRED, fired(-1, -1)), (FIRED, fired(-1, 0)))),
    (ONCE, "missed, and fired", timer("x", (SET, due(-1)), (MISSED, fired(-1, -1)), (FIRED, fired(-1, 0)))),
    (SILENT, "fired", timer("x", (SET, due(-1)), (CANCELLED, "'{}'"), (FIRED, fired(-1, -1)))),
    (SILENT, "missed", timer("x", (SET, due(-1)), (CANCELLED, "'{}'"), (MISSED, fired(-1, -1)))),
    (FORGOTTEN, "never fired", timer("x", (SET, due(-1)))),
    (FORGOTTEN, "the second time", timer("x", (SET, due(-9)), (FIRED, fired(-9, -9)), ("TimerRearmed", due(-1)))),
    (AUDIT, "tomorrow", "update audit set at = clock_timestamp() + interval '1 day'"),
)


@pytest.mark.parametrize(("law", "how", "damage"), CASES, ids=[f"{law}: {how}" for law, how, _ in CASES])
async def test_a_law_finds_what_breaks_it(books: asyncpg.Connection, law: str, how: str, damage: str) -> None:
    done: Any = await books.execute(damage)
    assert not done.endswith(" 0"), f"nothing was damaged: {damage}"

    assert law in await broken(books, [LAWS[law]])


def test_each_law_has_something_to_find() -> None:
    assert {law for law, _, _ in CASES} == set(LAWS)
