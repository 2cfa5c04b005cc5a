"""Where a batch is cut may not matter, twice is once, and a view that is built anew is the one that was there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from services.automation.domain.action import request_id
from services.automation.domain.visit import timer_id
from services.automation.service import SERVICE
from shared.contracts import billing, common, deals, scheduler
from shared.es.rebuild import rebuild
from shared.messaging.contract import Contract
from shared.testing.stack import Stack
from tests.service.automation.conftest import (
    ANNA,
    NOW,
    OLAF,
    RIGHTS,
    SCOPES,
    Office,
    changed,
    created,
    fired,
    founding,
    id_of,
    moved,
    paid,
    stage,
    visit,
)
from tests.service.house import House, a_house, at, origin

TENANT = UUID(int=7)
TABLES = ("visits_v2", "steps_v1", "timers_of_runs_v1", "decisions_v1", "elements_v1", "arrivals_v1", "values_v1")
RULES: tuple[tuple[str, str, dict[str, Any]], ...] = (
    ("sales/new", "count", {"type": "change_variable", "settings": {"variable": "counter", "value": "{{var.counter | plus: 1}}"}}),
    ("sales/new", "tell", {"type": "notify", "execution": "after_previous", "settings": {"text": "{{steps.count.after}} {{var.counter}}"}}),
    ("sales/new", "meet", {"type": "notify", "timing": {"before": "deal.uf.meeting", "offset": "1d"}, "settings": {"text": "Soon"}}),
    ("sales/approval", "link", {"type": "create_payment_link"}),
    ("sales/approval", "mail", {"type": "send_email", "execution": "after_previous", "settings": {"body": "{{steps.link.url}}"}}),
    ("sales/approval", "late", {"type": "notify", "timing": {"after": "arrival", "offset": "1h"}, "settings": {"text": "Late"}}),
)


async def furnished(house: House) -> None:
    """The same rules, triggers and variable with the same ids in every house."""
    office = Office(house, house.client(await house.key(*SCOPES, *RIGHTS, actor=f"user:{OLAF}")))
    await office.hear(*founding())
    async with office.http as http:
        await http.post("/v1/variables", json={"id": id_of("counter"), "code": "counter", "value_type": "number", "value": "0"})
        for n, (path, key, definition) in enumerate(RULES):
            place = {"element_type": "deal", "pipeline_id": id_of("sales"), "stage_id": stage(path), "position": n}
            body = {**place, "id": id_of(key), "rule_type": definition["type"], "definition": {"id": key, **definition}}
            assert (await http.post("/v1/rules", json=body)).status_code == 201
            published = await http.post(f"/v1/rules/{id_of(key)}/publications", json={})
            assert published.status_code == 200, published.text
        await _shadowed(http)
        assert (await http.post("/v1/apps/fax/triggers", json={"code": "came", "name": "Fax came"})).is_success
        target = {"pipeline_id": id_of("sales"), "stage_id": stage("sales/approval")}
        trigger = {**target, "id": id_of("paid"), "trigger_type": "invoice_paid", "definition": {"id": "paid"}}
        assert (await http.post("/v1/triggers", json=trigger)).status_code == 201
        assert (await http.post(f"/v1/triggers/{id_of('paid')}/publications", json={})).status_code == 200
    await house.forget()


async def _shadowed(http: httpx.AsyncClient) -> None:
    """A second version of a rule that is judged beside the first and asks nothing."""
    _, key, definition = RULES[-1]
    again = {"id": key, **definition, "settings": {"text": "Later"}}
    changed = await http.patch(f"/v1/rules/{id_of(key)}", json={"definition": again}, headers={"If-Match": "*"})
    assert changed.status_code == 200, changed.text
    published = await http.post(f"/v1/rules/{id_of(key)}/publications", json={"rollout": {"mode": "shadow"}})
    assert published.status_code == 200, published.text


DEALS = tuple(id_of(f"deal {n}") for n in range(6))


def arrivals() -> Iterator[Contract]:
    """Deals that come, change and move, and payments before their time."""
    for n, deal in enumerate(DEALS):
        yield paid(f"early {n}", deal=None)
        yield created(id=deal, title=f"Deal {n}")
        yield changed(1, id=deal, custom={"meeting": f"2026-04-0{n + 1}"})
        yield linked(f"early {n}", deal)
        yield moved("sales/approval", 2, id=deal)


def answers() -> Iterator[Contract]:
    """What can only come once it was asked: answers, timers; and people who leave."""
    for n, deal in enumerate(DEALS):
        request = request_id(visit(2, deal), id_of("link"), "link")
        yield link(request, deal) if n % 2 else no_link(request, deal)
        yield fired(timer_id(visit(2, deal), id_of("late"), "delay"), about=deal)
        yield fired(timer_id(visit(1, deal), id_of("meet"), "delay"), about=deal)
        if n == 3:
            yield deals.EmployeeDeactivated(origin=origin(), employee_id=ANNA)
        yield moved("sales/won", 3, before="sales/approval", id=deal)
        yield paid(f"late {n}", deal=deal)
        if n == 4:
            yield deals.DealDeleted(origin=origin(), deal_id=deal, visit_id=visit(3, deal))


def linked(invoice: str, deal: str) -> billing.InvoiceLinked:
    id, total = id_of(f"invoice/{invoice}"), common.Money(amount="100.00", currency="EUR")
    return billing.InvoiceLinked(
        origin=origin(), record_key=id, invoice_id=id, deal_id=deal, status="paid", epoch=1, total=total, paid_at=at(NOW)
    )


def link(request: str, deal: str) -> billing.PaymentLinkCreated:
    amount = common.Money(amount="100.00", currency="EUR")
    return billing.PaymentLinkCreated(
        origin=origin(), request_id=request, record_key=deal, payment_document_id=request, deal_id=deal, url="https://pay", amount=amount
    )


def no_link(request: str, deal: str) -> billing.CommandRejected:
    return billing.CommandRejected(
        request_id=request, record_key=deal, command_type=billing.CreatePaymentLink.type, code="nothing_to_pay", detail="No."
    )


async def left_behind(house: House) -> dict[str, Any]:
    """All rows, and what was said of each subject in its order. Whose turn came first depends on the cut, and is left out."""
    rows = {
        t: await house.rows(f"select r as row from {t} t cross join lateral (select to_jsonb(t) - 'taken_until' as r) x order by r::text")
        for t in TABLES
    }
    rows["events"] = await house.rows(
        "select (to_jsonb(t) - 'position') #- '{data,taken_until}' as row from events t"
        " where aggregate in ('visit', 'decision') order by stream, version"
    )
    said: dict[str, list[str]] = {}
    for message in await house.said():
        said.setdefault(message.subject, []).append(f"{message.type} {message.id} {sorted(message.body.items())}")
    return {**{table: [str(row) for row in found] for table, found in rows.items()}, "said": said}


async def played(stack: Stack, size: int, times: int = 1) -> dict[str, Any]:
    async with a_house(stack, SERVICE, NOW) as house:
        house.tenant = TENANT
        await furnished(house)
        async with house.kit.database.raw() as raw:
            await raw.execute("delete from inbox")
        office = Office(house, house.client())
        for start, wave in ((100, arrivals), (500, answers)):
            records = [office.record(m, id=id_of(f"{wave.__name__} {n}"), sequence=n + start) for n, m in enumerate(wave())]
            for _ in range(times):
                await house.hear(*records, size=size)
        return await left_behind(house)


async def test_the_same_messages_leave_the_same_rows_however_they_are_cut(stack: Stack) -> None:
    whole = await played(stack, 500)
    assert len(whole["visits_v2"]) == 12 and len(whole["decisions_v1"]) == 12
    for size, times in ((1, 1), (7, 2)):
        cut = await played(stack, size, times)
        for table in whole:
            assert cut[table] == whole[table], (size, table)


@pytest.mark.parametrize("handler", [h for h in SERVICE.handlers if h.views], ids=lambda h: str(h.aggregate.name))
async def test_every_view_is_rebuilt_as_it_was(stack: Stack, handler: Any) -> None:
    async with a_house(stack, SERVICE, NOW) as house:
        await furnished(house)
        office = Office(house, house.client())
        await office.hear(*arrivals())
        await office.hear(*answers())
        for view in handler.views:
            query = f"select to_jsonb(t) as row from {view.table.name} t order by t.id, t.version, to_jsonb(t)::text"
            before = await house.rows(query)
            assert before
            await house.rows(f"delete from {view.table.name} returning id")
            await rebuild(house.kit.database, house.kit.prepared.store, handler.aggregate, view)
            assert await house.rows(query) == before


async def test_a_timer_that_was_never_asked_means_nothing(office: Office) -> None:
    stray = scheduler.TimerFired(
        origin=origin(),
        timer_id=id_of("stray"),
        about=id_of("x"),
        owner="automation",
        due_at=at(NOW),
        fired_at=at(NOW),
        lateness_ms=0,
        early=False,
    )
    await office.hear(stray)
    assert await office.said() == []
