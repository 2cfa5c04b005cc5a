"""Change details (scenarios.md 3.4)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.ground import BUSINESS, DELIVERY, Ground
from tests.scenarios.rules import example

FIELDS = {"city": "{{deal.contact.uf.city}}", "house": "{{const.house}}", "street": "{{var.street}}"}
NEW = {"city": "Bremen", "house": "7", "street": "Neuweg"}


def fix(**fields: str) -> str:
    return example("fix", fix={"settings": {"fields": fields}})


async def addresses(ground: Ground, contact: str = "petra") -> Any:
    """Of the only details of a contact, what is filled in each address."""
    [found] = await ground.items("deals", "/v1/details", owner_id=ground.cast[contact])
    return {kind: {name: value for name, value in each.items() if value} for kind, each in found["addresses"].items()}


@pytest.mark.shows(
    *("S8", "S15", "S16", "S20", "S53", "S54", "S55", "S56", "S57", "S58", "S59", "S60", "S62", "S63", "S64", "S65"),
)
async def test_filled_fields_change_and_open_documents_follow(ground: Ground) -> None:
    await ground.apply(fix(**FIELDS, postal_code="28195"))
    draft, issued = await ground.invoice(issue=False), await ground.invoice()
    before = await ground.look("billing", f"/v1/invoices/{issued}")

    await ground.move("prepare-documents")

    assert await addresses(ground) == {"business": NEW, "delivery": DELIVERY}
    changed = await ground.one("deals.DetailsChanged")
    assert "was_empty" in str(changed.body) and "postal_code" in str(changed.body)
    run = await ground.run("fix")
    assert run["state"] == "succeeded" and sorted(run["outputs"]["changed"]) == ["city", "house", "street"]
    assert "postal_code" in str(run["outputs"]["unchanged"])
    assert "Neuweg" in str(await ground.look("billing", f"/v1/invoices/{draft}"))
    assert await ground.look("billing", f"/v1/invoices/{issued}") == before and "Altweg" in str(before)

    await ground.move("new")
    await ground.move("prepare-documents")
    assert await ground.state("fix") == "skipped(nothing_to_change)"


@pytest.mark.shows("S55")
async def test_an_empty_value_blanks_nothing(ground: Ground) -> None:
    await ground.apply(fix(city=FIELDS["city"]))
    await ground.change("deals", f"/v1/contacts/{ground.cast['petra']}", {"custom": {"city": None}})
    await ground.settle()

    await ground.move("prepare-documents")

    assert await ground.state("fix") == "skipped(nothing_to_change)"
    assert (await addresses(ground))["business"] == BUSINESS


@pytest.mark.shows("S56")
async def test_a_contact_without_details_gets_none(ground: Ground) -> None:
    await ground.apply(fix(**FIELDS))
    ground.cast["paul"] = await ground.contact("Paul", "Ohne", "paul@example.org", custom={"city": "Bonn"})

    deal = await ground.arrive("prepare-documents", contact_ids=[ground.cast["paul"]], primary_contact_id=ground.cast["paul"])

    assert await ground.state("fix", deal) == "skipped(no_details)"
    assert await ground.items("deals", "/v1/details", owner_id=ground.cast["paul"]) == []


@pytest.mark.shows("S58", "S61")
async def test_only_fields_of_the_template_can_be_changed(calm_ground: Ground) -> None:
    assert await calm_ground.findings(fix(tax_id_x="1")) == {"unknown_field"}
    assert await calm_ground.findings(example("fix", fix={"settings": {"template": "animal"}})) == {"unknown_template"}


@pytest.mark.shows("S57", "S59")
async def test_a_company_has_details_of_its_own(ground: Ground) -> None:
    body = {"owner_type": "company", "owner_id": ground.cast["muster"], "template_code": "company", "is_default": True}
    await ground.put("deals", "/v1/details", body | {"fields": {"company_name": "Muster"}, "addresses": {"legal": {"city": "Ulm"}}})
    settings = {"element": "company", "template": "company", "address_type": "legal", "fields": {"city": "{{contact.uf.city}}"}}
    await ground.apply(example("fix", fix={"settings": settings}))

    await ground.move("prepare-documents")

    assert (await addresses(ground, "muster"))["legal"] == {"city": "Bremen"}
    assert (await addresses(ground))["business"] == BUSINESS
