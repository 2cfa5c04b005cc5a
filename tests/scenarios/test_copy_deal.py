"""Copy deal (scenarios.md 3.7)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from tests.scenarios.ground import Ground
from tests.scenarios.rules import example, text_of

CARRIED = ("contact_ids", "primary_contact_id", "company_id", "observer_ids", "currency", "amount", "custom")


@pytest.mark.shows("S8", "S17", "S20", "S83", "S84", "S85", "S86", "S88", "S89", "S90", "S91", "S92")
async def test_a_won_deal_is_handed_to_installation_with_all_it_has(ground: Ground) -> None:
    await ground.apply(example("install"))
    deal = ground.cast["D"]
    await ground.change("deals", f"/v1/deals/{deal}", {"observer_ids": [ground.cast["clara"]], "close_date": "2026-04-01"})
    files = [await _attach(ground, name) for name in ("plan.txt", "offer.txt")]
    await ground.settle()

    await ground.move("won")

    copied = await ground.one("deals.DealCopied")
    before, after = await ground.show(), await ground.show(copied.body["copy_id"])
    assert (after["title"], after["copied_from"], after["visit_number"]) == ("Roof 2026 (Kopie)", deal, 1)
    assert ground.name_of(after["stage_id"], "/") == "installation/planning"
    assert after["responsible_id"] == ground.cast["ben"] != before["responsible_id"]
    assert {name: after[name] for name in CARRIED} == {name: before[name] for name in CARRIED}
    assert _rows(after) == _rows(before) and _line_ids(after).isdisjoint(_line_ids(before))
    assert (after["begin_date"], after["close_date"], before["close_date"]) == ("2026-03-02", None, "2026-04-01")
    assert {file["id"] for file in await ground.items("deals", f"/v1/deals/{after['id']}/files")} == set(files)
    await _nothing_else_came_along(ground, after["id"])
    assert ground.name_of(before["stage_id"], "/") == "sales/won"
    assert [copy["id"] for copy in before["copies"]] == [after["id"]]


def _rows(deal: Any) -> list[Any]:
    return [{name: value for name, value in line.items() if name != "line_id"} for line in deal["lines"]]


def _line_ids(deal: Any) -> set[str]:
    return {line["line_id"] for line in deal["lines"]}


async def _attach(ground: Ground, name: str, deal: str | None = None) -> str:
    form = {"owner_type": "deal", "owner_id": deal or ground.cast["D"]}
    door, headers = ground.door("deals"), {"Idempotency-Key": str(uuid4())}
    answer = await door.post("/v1/files", data=form, files={"file": (name, name.encode(), "text/plain")}, headers=headers)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


async def _nothing_else_came_along(ground: Ground, copy: str) -> None:
    assert {line["kind"] for line in await ground.timeline(copy)} <= {"created", "file"}
    assert await ground.items("automation", "/v1/runs", element_id=copy) == []
    assert await ground.items("scheduler", "/v1/activities", element_id=copy) == []
    for plural in ("invoices", "payment-documents"):
        assert await ground.items("billing", f"/v1/{plural}", deal_id=copy) == []


@pytest.mark.shows("S83", "S86", "S87")
async def test_copies_are_named(ground: Ground) -> None:
    await ground.apply(example("install"))
    await ground.move("won")
    copy = (await ground.one("deals.DealCopied")).body["copy_id"]

    again = {"pipeline_id": ground.cast["sales"], "stage_id": ground.cast["sales/new"]}
    by_hand = await ground.put("deals", f"/v1/deals/{copy}/copies", again)
    assert (await ground.show(by_hand["id"]))["title"] == "Roof 2026 (Kopie 2)"

    await ground.apply(example("install", install={"settings": {"name": "Montage {{deal.title}}"}}))
    second = await ground.arrive("won")
    [named] = await ground.items("deals", "/v1/deals", copied_from=second)
    assert named["title"] == "Montage Roof 2026"


@pytest.mark.shows("S88")
async def test_a_pipeline_that_is_gone_is_never_copied_into(ground: Ground) -> None:
    later = {"id": "later", "type": "copy_deal", "timing": {"after": "arrival", "offset": "1d"}, "settings": {"pipeline": "installation"}}
    await ground.apply(text_of({"sales/approval": {"rules": [later]}}))
    await ground.apply(example("install"))
    await ground.move("approval")
    held = await ground.deal("Held", stage="installation/planning")
    await ground.settle()
    path = f"/v1/pipelines/{ground.cast['installation']}/archivals"
    assert (await ground.refused("deals", path, {}, by="olaf"))["status"] == 409
    await ground.change("deals", f"/v1/deals/{held}", None, method="DELETE")
    await ground.settle()

    await ground.put("deals", path, {}, by="olaf")
    await ground.settle()

    rules = await ground.items("automation", "/v1/rules")
    assert {rule["rule_key"]: rule["invalid"] for rule in rules} == {"later": "target_missing", "install": "target_missing"}
    assert {said.body["code"] for said in await ground.said("automation.RuleInvalidated")} == {"target_missing"}
    assert [notice["topic"] for notice in await ground.feed("olaf")] != []
    deal = await ground.arrive("won", "Too late")
    assert await ground.runs("install", deal) == []
    await ground.advance(timedelta(days=1))
    assert await ground.state("later") == "failed(target_missing)"
    assert await ground.said("deals.DealCopied") == []


@pytest.mark.shows("S89")
async def test_a_deal_is_not_copied_into_its_own_stage(calm_ground: Ground) -> None:
    into_itself = {"settings": {"pipeline": "sales", "initial_stage": "won"}}
    assert await calm_ground.findings(example("install", install=into_itself)) == {"target_is_own_stage"}
    assert await calm_ground.findings(example("install", install={"settings": {"pipeline": "moon"}})) == {"unknown_pipeline"}
