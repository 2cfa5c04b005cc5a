"""Get details values (scenarios.md 3.5)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.ground import Ground, details
from tests.scenarios.rules import example

ADDRESS = "Hafenstr. 12, 24103 Kiel, Germany"


@pytest.mark.shows("S8", "S10", "S12", "S13", "S20", "S66", "S67", "S68", "S69", "S70", "S71", "S72", "S73")
async def test_the_address_is_read_and_told(ground: Ground) -> None:
    await ground.apply(example("addr", "tell"))
    path = f"/v1/details/{ground.cast['details']}"
    before = (await ground.door("deals").get(path)).headers["etag"]

    await ground.move("delivery")

    run = await ground.run("addr")
    assert run["state"] == "succeeded"
    assert run["outputs"].items() >= {"found": True, "city": "Kiel", "address": ADDRESS}.items()
    [notice] = await ground.feed()
    assert notice["body_text"] == f"Deliver to {ADDRESS}"
    assert (await ground.door("deals").get(path)).headers["etag"] == before
    assert [said.name for said in await ground.said() if said.name.startswith("deals.") and said.cause][-1:] == ["deals.StageChanged"]


@pytest.mark.shows("S66")
async def test_nothing_found_is_empty_inside_and_stops_what_goes_out(ground: Ground) -> None:
    await ground.apply(example("addr", "tell"))
    paul = await ground.contact("Paul", "Ohne", "paul@example.org")
    await details(ground, paul, business={"city": "Bonn"})
    his: dict[str, Any] = {"contact_ids": [paul], "primary_contact_id": paul}

    deal = await ground.arrive("delivery", **his)

    run = await ground.run("addr", deal)
    assert run["state"] == "succeeded" and not run["outputs"].get("address")
    assert [notice["body_text"].strip() for notice in await ground.feed()] == ["Deliver to"]

    outside = {"type": "send_email", "settings": {"to": "{{contact.email}}", "body": "We deliver to {{steps.addr.address}}"}}
    await ground.apply(example("addr", "tell", tell=outside))
    second = await ground.arrive("delivery", **his)
    assert await ground.state("tell", second) == "blocked(unresolved)"
    assert await ground.mails() == []


@pytest.mark.shows("S68", "S69", "S70")
async def test_of_a_company_its_own_address(ground: Ground) -> None:
    body = {"owner_type": "company", "owner_id": ground.cast["muster"], "template_code": "company", "is_default": True}
    await ground.put("deals", "/v1/details", body | {"addresses": {"legal": {"city": "Ulm"}, "delivery": {"city": "Kehl"}}})
    await ground.apply(example("addr", "tell", addr={"settings": {"element": "company", "template": "company", "address_type": "legal"}}))

    await ground.move("delivery")

    assert [notice["body_text"] for notice in await ground.feed()] == ["Deliver to Ulm"]
