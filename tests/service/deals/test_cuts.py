"""Where a batch is cut may not matter, and a view that is built anew is the one that was there."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from services.deals.service import SERVICE
from shared.contracts import deals
from shared.es.rebuild import rebuild
from shared.messaging.contract import Contract
from tests.service.deals.conftest import ANNA, INSTALLATION, MUSTER, NOW, PETRA, SALES, TENANT, Furnished, id_of, moved, roof, stage
from tests.service.house import House, a_house, origin

TABLES = ("deals_v1", "leads_v1", "contacts_v1", "stage_history_v1", "own_lines_v1")


def storm() -> Iterator[Contract]:
    """Commands that build on each other, refusals among them."""
    for n in range(8):
        deal, contact = id_of(f"deal {n}"), id_of(f"contact {n % 3}")
        yield deals.CreateContact(request_id=contact, contact_id=contact, first_name=f"Contact {n % 3}", last_name="X")
        fields = deals.PartialDealFields(title=f"Deal {n}", contact_ids=(contact, PETRA), amount="10.00")
        yield deals.CreateDeal(request_id=deal, deal_id=deal, pipeline_id=SALES, fields=fields, automation="on")
        yield deals.ChangeDealFields(request_id=id_of(f"change {n}"), deal_id=deal, changes={"amount": f"{n}.00", "company_id": MUSTER})
        for code in ("approval", "approval", "won"):
            to = stage("sales", code)
            yield deals.MoveToStage(request_id=id_of(f"{n} to {code}"), element_type="deal", element_id=deal, stage_id=to, origin=origin())
        yield deals.CopyDeal(request_id=id_of(f"copy {n}"), source_deal_id=deal, pipeline_id=INSTALLATION, origin=origin())
        lead = deals.CreateLead(
            request_id=id_of(f"lead {n}"),
            title=f"Lead {n}",
            contact_ids=(contact,),
            company_id=MUSTER if n % 2 else None,
            source_deal_id=deal,
            recurring=True,
            skip_if_open_exists=n % 3 == 2,
        )
        yield lead
        yield deals.DeleteDeal(request_id=id_of(f"undo {n}"), deal_id=id_of(f"copy {n - 1}"), if_untouched=True, origin=origin())


async def left_behind(house: House) -> dict[str, Any]:
    """All rows but those that name the tenant or the order of ids."""
    rows = {table: await house.rows(f"select to_jsonb(t) - 'tenant' as row from {table} t order by t.id, t.version") for table in TABLES}
    return {**rows, "said": sorted((m.type, m.key, str(sorted(m.body.items()))) for m in await house.said())}


@pytest.mark.parametrize("size", [1, 7])
async def test_the_same_messages_leave_the_same_rows(furnished: Furnished, size: int) -> None:
    left = []
    for cut in (500, size):
        async with a_house(furnished, SERVICE, NOW) as house:
            house.tenant = TENANT
            records = [house.record(message, id=id_of(f"message {n}")) for n, message in enumerate(storm())]
            await house.hear(*records, size=cut)
            await house.hear(*records, size=cut)
            left.append(await left_behind(house))
    assert len(left[0]["deals_v1"]) == 16
    assert left[0] == left[1]


async def test_every_view_is_rebuilt_as_it_was(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    await moved(anna, deal, "won")
    await anna.post(f"/v1/deals/{deal['id']}/copies", json={"pipeline_id": INSTALLATION})
    await anna.post("/v1/leads", json={"title": "Lead", "company_id": MUSTER})
    await anna.post("/v1/details", json={"owner_type": "contact", "owner_id": PETRA, "template_code": "person"})
    await anna.post(f"/v1/employees/{ANNA}/deactivations", json={})
    names = {view.table.name for handler in SERVICE.handlers for view in handler.views} - {"files_v1"}

    async def every() -> dict[str, Any]:
        return {name: await house.rows(f"select to_jsonb(t) as row from {name} t order by t.id, t.version") for name in sorted(names)}

    before = await every()
    assert all(before.values()), [name for name, rows in before.items() if not rows]
    async with house.kit.database.transaction() as tx:
        for name in names:
            await tx.raw.execute(f"delete from {name}")
    for handler in SERVICE.handlers:
        for view in handler.views:
            await rebuild(house.kit.database, house.kit.prepared.store, handler.aggregate, view)
    assert await every() == before
