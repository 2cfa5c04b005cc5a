"""Statements that one service answers for by itself, each over HTTP alone (README 13: service test)."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.scenarios.ground import Ground
from tests.scenarios.rules import example, one_rule, text_of

PAYMENT = {"create_payment_link", "create_from", "change_details", "get_details"}
RECURRING = {"create_recurring_lead", "copy_deal", "plan_activity"}
DEALS_ONLY = {"create_payment_link", "create_recurring_lead", "copy_deal"}
RETIRED = ("run_automatic_payment", "get_payment_information")
CALL = {"name": "Call", "deadline": {"day": "tomorrow", "time": "10:00"}}


async def types(ground: Ground, **wanted: str) -> set[str]:
    return {each["rule_type"] for each in await ground.items_of("automation", "/v1/rule-types", **wanted)}


async def groups(ground: Ground, element_type: str = "deal") -> dict[str, Any]:
    return {each["group"]: each for each in await ground.items_of("automation", "/v1/rule-groups", element_type=element_type)}


@pytest.mark.shows("S2", "S9")
async def test_s2_s9_only_what_is_valid_for_the_element_type_is_offered(calm_ground: Ground) -> None:
    of_deals, of_leads = await types(calm_ground, element_type="deal"), await types(calm_ground, element_type="lead")
    assert of_leads & DEALS_ONLY == set() and of_deals > DEALS_ONLY
    assert {"plan_activity", "create_from"} <= of_deals & of_leads
    assert await calm_ground.findings(one_rule("leads/fresh", "copy", "copy_deal", {"pipeline": "installation"})) == {
        "type_not_for_element"
    }


@pytest.mark.shows("S3")
@pytest.mark.parametrize("left_out", ["element_type", "pipeline_id", "stage_id", "rule_type"])
async def test_s3_a_rule_needs_its_place_and_its_type(calm_ground: Ground, left_out: str) -> None:
    where = {"pipeline_id": calm_ground.cast["sales"], "stage_id": calm_ground.cast["sales/new"]}
    whole = {"element_type": "deal", "rule_type": "notify", **where}
    assert (await calm_ground.put("automation", "/v1/rules", whole, by="olaf"))["state"] == "draft"

    problem = await calm_ground.refused("automation", "/v1/rules", {k: v for k, v in whole.items() if k != left_out}, by="olaf")

    assert (problem["status"], [fault["pointer"] for fault in problem["errors"]]) == (422, [f"#/{left_out}"])


@pytest.mark.shows("S4", "S5", "S7")
async def test_s4_s5_s7_types_belong_to_groups_and_are_listed_by_them(calm_ground: Ground) -> None:
    found = await groups(calm_ground)
    assert set(found["payment"]["rule_types"]) >= PAYMENT and "invoice_paid" in found["payment"]["trigger_types"]
    assert set(found["recurring_deals"]["rule_types"]) == RECURRING
    for name, group in found.items():
        assert group["label"] and group["label_de"]
        assert await types(calm_ground, element_type="deal", group=name) == set(group["rule_types"])
    listed = [each for group in found.values() for each in group["rule_types"]]
    assert sorted(listed) == sorted(await types(calm_ground, element_type="deal"))


@pytest.mark.shows("S6")
@pytest.mark.parametrize("retired", RETIRED)
async def test_s6_rules_of_the_retired_mode_are_never_offered(calm_ground: Ground, retired: str) -> None:
    assert retired not in await types(calm_ground)
    assert await calm_ground.findings(one_rule("sales/new", "old", retired)) == {"rule_type_retired"}


@pytest.mark.shows("S14", "S15", "S16")
async def test_s14_the_picker_offers_what_a_text_may_name(calm_ground: Ground) -> None:
    await calm_ground.apply(example("link", "mail"))
    mail = await calm_ground.rule_id("mail")
    query = {"element_type": "deal", "stage_id": calm_ground.cast["sales/payment-expected"], "rule_id": mail}
    offered = await calm_ground.items_of("automation", "/v1/placeholders", **query)

    by_source: dict[str, set[str]] = {}
    for item in offered:
        by_source.setdefault(item["source"], set()).add(item["placeholder"])
    everything = set().union(*by_source.values())
    assert {"{{const.house}}", "{{var.street}}", "{{deal.title}}", "{{steps.link.url}}"} <= everything
    assert {"{{deal.contact.uf.city}}", "{{deal.uf.contract_url}}", "{{deal.company.name}}"} <= everything
    found = await calm_ground.items_of("automation", "/v1/placeholders", **query, q="city")
    assert "{{deal.contact.uf.city}}" in {item["placeholder"] for item in found}


@pytest.mark.shows("S25", "S26")
async def test_s26_without_automatic_creation_the_link_needs_an_order(ground: Ground) -> None:
    by_order = {"settings": {"auto_create": False}}
    assert await ground.findings(example("link", link=by_order)) == {"setting_required"}
    both = {"settings": {"auto_create": True, "order_id": "4711"}}
    assert await ground.findings(example("link", link=both)) == {"setting_not_allowed"}
    await ground.apply(example("link", link={"settings": {"auto_create": False, "order_id": "4711"}}))
    await ground.move("payment-expected")
    assert await ground.state("link") == "failed(order_not_found)"

    deal = await ground.deal()
    await ground.settle()
    prepared = await ground.put("billing", "/v1/payment-documents", {"deal_id": deal, "order_id": "4711", "fill_from_deal": True})
    await ground.settle()
    await ground.move("payment-expected", deal)

    run = await ground.run("link", deal)
    assert (run["state"], run["outputs"]["payment_document_id"]) == ("succeeded", prepared["id"])
    assert run["outputs"]["url"].startswith("http")


@pytest.mark.shows("S33", "S34", "S35", "S36", "S37")
async def test_s33_the_trigger_has_the_four_standard_settings(calm_ground: Ground) -> None:
    """Besides them a type has settings of its own, all of which may be left out."""
    await calm_ground.apply(text_of({"sales/collect-goods": {"triggers": [{"id": "paid", "type": "invoice_paid"}]}}))
    [listed] = await calm_ground.items("automation", "/v1/triggers")
    trigger = await calm_ground.look("automation", f"/v1/triggers/{listed['id']}")
    assert trigger["definition"].items() >= {"acting_user": "responsible", "allow_back": False}.items()
    assert trigger["definition"].get("condition") is None and trigger["definition"]["name"]
    [offered] = [t for t in await calm_ground.items_of("automation", "/v1/trigger-types") if t["trigger_type"] == "invoice_paid"]
    assert offered["settings"].get("required", []) == []


@pytest.mark.shows("S103")
async def test_s103_none_one_or_all_further_actions_of_an_activity(ground: Ground) -> None:
    file = await attached(ground)
    await ground.put("scheduler", "/v1/rooms", {"code": "blue", "name": "Blue room"})
    await ground.settle()
    further = {"calendar": True, "customers": "all", "invite": ["user:9"], "address": "Hafenstr. 12", "room": "blue"}
    further |= {"link": "https://example.org/c/1", "files": [file]}
    rules = [
        {"id": "none", "type": "plan_activity", "settings": CALL},
        {"id": "one", "type": "plan_activity", "settings": CALL | {"calendar": True}},
        {"id": "every", "type": "plan_activity", "settings": CALL | further},
    ]
    await ground.apply(text_of({"sales/approval": {"rules": rules}}))

    await ground.move("approval")

    none, one, every = [await planned_by(ground, rule) for rule in ("none", "one", "every")]
    assert _set(none) == set()
    assert _set(one) == {"calendar"}
    assert _set(every) == {"calendar", "contact_ids", "invitee_ids", "address", "room_id", "link", "file_ids"}


def _set(activity: Any) -> set[str]:
    further = ("calendar", "contact_ids", "invitee_ids", "address", "room_id", "link", "file_ids")
    return {name for name in further if activity[name]}


async def planned_by(ground: Ground, rule: str, deal: str | None = None) -> Any:
    run = await ground.run(rule, deal)
    return await ground.look("scheduler", f"/v1/activities/{run['outputs']['activity_id']}")


async def attached(ground: Ground, name: str = "plan.txt") -> str:
    form, headers = {"owner_type": "deal", "owner_id": ground.cast["D"]}, {"Idempotency-Key": str(uuid4())}
    answer = await ground.door("deals").post("/v1/files", data=form, files={"file": (name, b"a plan", "text/plain")}, headers=headers)
    assert answer.status_code == 201, answer.text
    await ground.settle()
    return str(answer.json()["id"])


@pytest.mark.shows("S107")
async def test_s107_an_address_with_placeholders(ground: Ground) -> None:
    await ground.apply(one_rule("sales/approval", "call", "plan_activity", CALL | {"address": "{{var.street}} {{const.house}}"}))

    await ground.move("approval")

    assert (await planned_by(ground, "call"))["address"] == "Neuweg 7"


@pytest.mark.shows("S110")
async def test_s110_files_are_attached_and_one_that_is_gone_fails_the_run(ground: Ground) -> None:
    file = await attached(ground)
    await ground.apply(one_rule("sales/approval", "call", "plan_activity", CALL | {"files": [file]}))
    await ground.move("approval")
    assert (await planned_by(ground, "call"))["file_ids"] == [file]
    unknown = one_rule("sales/approval", "call", "plan_activity", CALL | {"files": [str(uuid4())]})
    assert await ground.findings(unknown) == {"unknown_file"}

    door = ground.door("deals")
    etag = (await door.get(f"/v1/files/{file}")).headers["etag"]
    gone = await door.delete(f"/v1/files/{file}", params={"deal_id": ground.cast["D"]}, headers={"If-Match": etag})
    assert gone.is_success, gone.text
    await ground.settle()
    deal = await ground.arrive("approval")

    assert await ground.state("call", deal) == "failed(file_missing)"
