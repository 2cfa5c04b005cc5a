"""Rules, triggers, values and rules as text over HTTP: drafts, versions, findings, and what becomes of waiting runs (G27, D2-D4)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import orjson
import pytest

from services.automation.domain.catalogue import TRIGGER_TYPES
from shared.contracts import automation, deals, scheduler
from tests.service.automation.conftest import (
    ANNA,
    DEAL,
    OLAF,
    SCOPES,
    Office,
    created,
    field,
    field_set,
    id_of,
    moved,
    paid,
    stage,
    stages,
)
from tests.service.house import origin

PLACE = {"element_type": "deal", "pipeline_id": id_of("sales"), "stage_id": stage("sales/won")}
RENEWAL = {
    "id": "renewal",
    "timing": {"after": "arrival", "offset": "180d"},
    "settings": {"title": "Renewal {{deal.company.name}}"},
}


async def drafted(office: Office, rule_type: str = "create_recurring_lead", **own: Any) -> dict[str, Any]:
    body = {**PLACE, "rule_type": rule_type, "definition": RENEWAL} | own
    answer = await office.http.post("/v1/rules", json=body)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def published(office: Office, **own: Any) -> dict[str, Any]:
    rule = await drafted(office, **own)
    answer = await office.http.post(f"/v1/rules/{rule['id']}/publications", json={})
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


# ------------------------------------------------------------------------------------------------ catalogue (S2, S4-S6)


async def test_the_catalogue_offers_what_fits_the_element(office: Office) -> None:
    groups = (await office.http.get("/v1/rule-groups", params={"element_type": "lead"})).json()["items"]
    payment = next(g for g in groups if g["group"] == "payment")
    assert payment["rule_types"] == ["create_from", "change_details", "get_details"] and payment["trigger_types"] == []
    types = (await office.http.get("/v1/rule-types", params={"element_type": "lead", "group": "payment"})).json()["items"]
    create_from = next(t for t in types if t["rule_type"] == "create_from")
    assert create_from["settings"]["properties"]["targets"]["items"]["enum"] == ["deal", "contact", "company"]
    triggers = (await office.http.get("/v1/trigger-types")).json()["items"]
    assert [t["trigger_type"] for t in triggers] == [*TRIGGER_TYPES]


async def test_a_front_end_draws_its_forms_from_the_catalogue(office: Office) -> None:
    """Labels in both languages, and schemas that take a rule as it is kept."""
    elements = (await office.http.get("/v1/element-types")).json()["items"]
    assert elements[0] == {"element_type": "deal", "label": "Deal", "label_de": "Auftrag"}
    answer = (await office.http.get("/v1/rule-types", params={"element_type": "deal"})).json()
    types = {t["rule_type"]: t for t in answer["items"]}
    link = types["create_payment_link"]
    assert (link["label"], link["label_de"]) == ("Create payment link", "Zahlungslink erstellen")
    assert {"name": "url", "kind": "text", "label": "Link", "label_de": "Link"} in link["outputs"]
    kept = (await published(office))["definition"]
    jsonschema.validate(kept, answer["definition"], jsonschema.Draft202012Validator)
    jsonschema.validate(kept["settings"], types["create_recurring_lead"]["settings"], jsonschema.Draft202012Validator)
    kinds = {k["kind"]: k for k in (await office.http.get("/v1/condition-operators")).json()["items"]}
    assert kinds["bool"]["operators"][0] == {"op": "eq", "label": "is", "label_de": "ist", "value": "one"}


PICKED = """
constants: { house: { value: "7" } }
variables: { secret: { visibility: lead } }
---
stage: sales/new
rules:
  - { id: link, type: create_payment_link }
  - { id: mail, type: send_email, execution: after_previous, settings: { body: "{{steps.link.url}}" } }
  - { id: beside, type: notify, settings: { text: Hello } }
"""


async def picked(office: Office, **parameters: str) -> dict[str, dict[str, Any]]:
    answer = await office.http.get("/v1/placeholders", params=parameters)
    assert answer.status_code == 200, answer.text
    return {item["path"]: item for item in answer.json()["items"]}


async def test_the_picker_offers_fields_values_and_outputs(office: Office) -> None:
    await office.publish(PICKED)
    await office.hear(
        field_set("company", field("vat_id"), element_type="company"), field_set("lead", field("budget"), element_type="lead")
    )
    select = field("tier", "select").model_copy(update={"label": "Tier", "options": ("A", "B")})
    await office.hear(field_set("deal", field("meeting", "date"), select, element_type="deal"))
    found = await picked(office, element_type="deal", stage_id=stage("sales/new"))
    assert found["deal.uf.meeting"]["kind"] == "date" and found["deal.contact.uf.city"]["label_de"] == "Kontakt: city"
    assert found["deal.company.uf.vat_id"]["source"] == "company" and found["deal.invoices.last.total"]["kind"] == "money"
    assert found["const.house"]["placeholder"] == "{{const.house}}"
    assert found["deal.uf.tier"]["options"] == ["A", "B"] and found["deal.uf.tier"]["label"] == "Tier"
    assert "var.secret" not in found and "deal.uf.budget" not in found
    assert found["steps.link.url"]["label"] == "Create payment link: Link"
    assert {path for path, item in found.items() if not item.get("ordered", True)} >= {"steps.link.url", "steps.mail.sent_at"}
    assert found["now.weekday"]["options"][0] == "mon" and "options" not in found["deal.title"]
    lead = await picked(office, element_type="lead")
    assert "lead.uf.budget" in lead and "var.secret" in lead and "lead.invoices.last.total" not in lead


async def test_the_picker_offers_outputs_of_earlier_rules_only(office: Office) -> None:
    """And says which of them the rule would wait for as it stands (G10)."""
    await office.publish(PICKED)

    async def steps(key: str) -> dict[str, bool]:
        found = await picked(office, stage_id=stage("sales/new"), rule_id=await office.rule_id(key), q="steps finished")
        return {path: item["ordered"] for path, item in found.items() if item["source"] == "steps"}

    assert await steps("link") == {}
    assert await steps("mail") == {"steps.link.finished_at": True}
    assert await steps("beside") == {"steps.link.finished_at": False, "steps.mail.finished_at": False}


async def test_the_picker_is_searched_in_both_languages(office: Office) -> None:
    assert set(await picked(office, q="vorname kontakt")) == set(await picked(office, q="first contact")) == {"deal.contact.first_name"}
    assert "event.number" in await picked(office, trigger_type="invoice_paid", q="invoice number")


async def test_everything_the_picker_offers_can_be_put_into_a_text(office: Office) -> None:
    await office.publish(PICKED)
    for element, place in (("deal", "sales/new"), ("lead", "leads/fresh")):
        found = (await picked(office, element_type=element, stage_id=stage(place))).values()
        assert {item["source"] for item in found} >= {"element", "contact", "responsible", "constants", "run"}
        texts = [item["placeholder"] for item in found]
        for part in (texts[:40], texts[40:]):
            rule = {"id": "tell", "type": "notify", "execution": "after_previous", "settings": {"text": " ".join(part)}}
            checked = await check(office, rule, place)
            assert {f["code"] for f in checked["findings"]} <= {"output_not_ordered", "after_previous_without_previous"}, checked


# ------------------------------------------------------------------------------------------------ checks


async def check(office: Office, definition: dict[str, Any], place: str = "sales/new", what: str = "rules", **own: Any) -> dict[str, Any]:
    body = {"pipeline_id": id_of(place.split("/")[0]), "stage_id": stage(place), "definition": definition, **own}
    answer = await office.http.post(f"/v1/{what}/checks", json=body)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def test_a_rule_in_a_form_is_checked_with_all_its_errors_at_once(office: Office) -> None:
    rule = {
        "id": "mail me",
        "type": "send_email",
        "timing": {"after": "deal.uf.nothing", "offset": "soon"},
        "condition": {"all": [{"field": "deal.amount", "op": "contains", "value": 5}]},
        "fallback_user": "user:404",
        "settings": {"body": "{{deal.nonsense}}", "attachments": ["gone"], "a/b": 1},
    }
    shown = await check(office, rule)
    assert shown["valid"] is False
    assert {(f["pointer"], f["code"]) for f in shown["findings"]} == {
        ("#/definition/id", "bad_code"),
        ("#/definition/timing/offset", "bad_offset"),
        ("#/definition/timing/after", "unknown_path"),
        ("#/definition/condition/all/0/op", "operator_not_for_type"),
        ("#/definition/fallback_user", "unknown_user"),
        ("#/definition/settings/body", "unknown_path"),
        ("#/definition/settings/attachments/0", "unknown_file"),
        ("#/definition/settings/a~1b", "setting_unknown"),
    }
    unknown = next(f for f in shown["findings"] if f["code"] == "unknown_user")
    assert (unknown["says"], unknown["says_de"]) == ("There is no such employee.", "Diesen Mitarbeiter gibt es nicht.")
    assert (await office.http.get("/v1/rules")).json()["items"] == []


async def test_a_rule_that_is_in_order_comes_back_with_its_defaults(office: Office) -> None:
    shown = await check(office, {"id": "tell", "type": "notify", "execution": "after_previous", "settings": {"text": "Hello"}})
    assert shown["valid"] is True and shown["definition"]["settings"]["to"] == "responsible"
    assert [(f["code"], f["severity"]) for f in shown["findings"]] == [("after_previous_without_previous", "warning")]


async def test_a_rule_is_checked_where_it_stands(office: Office) -> None:
    """With itself it does not clash; at the top of the stage there is no rule above."""
    await office.publish(PICKED)
    mail = {"id": "mail", "type": "send_email", "execution": "after_previous", "settings": {"body": "{{steps.link.url}}"}}
    own = await office.rule_id("mail")
    assert (await check(office, mail, rule_id=own))["valid"] is True
    assert [f["code"] for f in (await check(office, mail))["findings"]] == ["duplicate_id", "output_not_ordered"]
    moved_up = await check(office, mail, rule_id=own, position=0)
    assert "output_of_later_rule" in [f["code"] for f in moved_up["findings"]]


async def test_what_the_author_may_not_do_is_a_finding(office: Office) -> None:
    place = {"pipeline_id": id_of("sales"), "stage_id": stage("sales/new")}
    key = await office.house.key(*SCOPES, actor=f"user:{ANNA}")
    async with office.house.client(key) as anna:
        answer = await anna.post("/v1/rules/checks", json={**place, "definition": {"id": "link", "type": "create_payment_link"}})
    assert [(f["pointer"], f["code"]) for f in answer.json()["findings"]] == [("#/definition/type", "not_allowed_for_author")]


@pytest.mark.parametrize("targets", [5, [{}], {"a": 1}, "invoice", None])
async def test_settings_that_are_nonsense_are_findings(office: Office, targets: Any) -> None:
    shown = await check(office, {"id": "inv", "type": "create_from", "settings": {"targets": targets}})
    assert [f["pointer"] for f in shown["findings"]] == ["#/definition/settings/targets"]
    assert (await check(office, {"id": "inv", "type": "create_from", "settings": [targets]}))["valid"] is False


async def test_a_trigger_in_a_form_is_checked(office: Office) -> None:
    shown = await check(office, {"id": "Paid", "type": "invoice_paid", "settings": {"threshold": "30"}}, what="triggers")
    assert [f["pointer"] for f in shown["findings"]] == ["#/definition/id", "#/definition/settings/threshold"]
    assert (await check(office, {"id": "paid", "type": "invoice_paid"}, what="triggers"))["valid"] is True


async def test_a_check_on_a_stage_that_is_not_there_says_so(office: Office) -> None:
    place = {"pipeline_id": id_of("sales"), "stage_id": id_of("nowhere")}
    answer = await office.http.post("/v1/rules/checks", json={**place, "definition": {}})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "unknown_stage")


# ------------------------------------------------------------------------------------------------ a rule's life


async def test_a_rule_is_drafted_changed_published_and_seen_at_every_version(office: Office) -> None:
    rule = await drafted(office)
    path = f"/v1/rules/{rule['id']}"
    assert (rule["state"], rule["version"], rule["owner_id"]) == ("draft", 0, OLAF)
    patched = await office.http.patch(path, json={"definition": {"name": "Again"}}, headers={"If-Match": '"1"'})
    assert patched.status_code == 200, patched.text
    done = (await office.http.post(f"{path}/publications", json={})).json()
    assert (done["state"], done["version"], done["definition"]["name"], done["draft"]) == ("published", 1, "Again", None)
    (said,) = await office.said()
    assert (said.name, said.body["rule_key"], said.body["waiting"], said.body["owner_id"]) == ("RulePublished", "renewal", "keep", OLAF)
    first = (await office.http.get(path, params={"version": 1})).json()
    assert (first["state"], first["draft"]["id"]) == ("draft", "renewal")
    versions = (await office.http.get(f"{path}/versions")).json()["items"]
    assert [v["version"] for v in versions] == [1]
    again = await office.http.post(f"{path}/publications", json={})
    assert (again.status_code, again.json()["code"]) == (409, "nothing_to_change")


async def test_a_deleted_rule_stays_readable_and_takes_no_change(office: Office) -> None:
    rule = await published(office)
    path = f"/v1/rules/{rule['id']}"
    gone = await office.http.delete(path, headers={"If-Match": f'"{rule["revision"]}"'})
    assert (gone.status_code, gone.json()["state"]) == (200, "deleted")
    assert (await office.http.get(path)).json()["definition"]["id"] == "renewal"
    again = await office.http.post(f"{path}/enablements", json={})
    assert (again.status_code, again.json()["code"]) == (409, "rule_deleted")


@pytest.mark.parametrize(
    ("body", "pointer", "code"),
    [
        ({"rule_type": None}, "#/rule_type", None),
        ({"stage_id": None}, "#/stage_id", None),
        ({"element_type": "quote"}, "#/element_type", None),
        ({"rule_type": "make_coffee"}, "#/rule_type", "unknown_rule_type"),
        ({"rule_type": "run_automatic_payment"}, "#/rule_type", "rule_type_retired"),
        ({"stage_id": id_of("nowhere")}, "#/stage_id", "unknown_stage"),
        ({"pipeline_id": id_of("nowhere")}, "#/pipeline_id", "unknown_pipeline"),
    ],
)
async def test_a_rule_names_where_it_stands_and_of_what_type_it_is(
    office: Office, body: dict[str, Any], pointer: str, code: str | None
) -> None:
    whole = {**PLACE, "rule_type": "notify"} | body
    answer = await office.http.post("/v1/rules", json={name: value for name, value in whole.items() if value is not None})
    assert answer.status_code == 422
    (fault,) = [f for f in answer.json()["errors"] if f["pointer"] == pointer]
    assert code is None or fault["code"] == code


async def test_a_type_that_is_not_for_leads_is_refused_there(office: Office) -> None:
    place = {"element_type": "lead", "pipeline_id": id_of("leads"), "stage_id": stage("leads/fresh")}
    answer = await office.http.post("/v1/rules", json={**place, "rule_type": "copy_deal"})
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "type_not_for_element")


async def test_publishing_answers_every_finding_at_once(office: Office) -> None:
    broken = {
        "id": "mail me",
        "timing": {"after": "deal.uf.nothing", "offset": "soon"},
        "condition": {"field": "deal.amount", "op": "contains", "value": 5},
        "settings": {"body": "{{deal.nonsense}} {{steps.other.url}}", "to": 5, "colour": "red"},
    }
    rule = await drafted(office, rule_type="send_email", definition=broken)
    answer = await office.http.post(f"/v1/rules/{rule['id']}/publications", json={})
    assert (answer.status_code, answer.json()["code"]) == (422, "rule_invalid")
    found = {(fault["pointer"].removeprefix("#/definition"), fault["code"]) for fault in answer.json()["errors"]}
    assert found == {
        ("/id", "bad_code"),
        ("/timing/offset", "bad_offset"),
        ("/timing/after", "unknown_path"),
        ("/condition/op", "operator_not_for_type"),
        ("/settings/body", "unknown_path"),
        ("/settings/body", "unknown_output"),
        ("/settings/to", "wrong_type"),
        ("/settings/colour", "setting_unknown"),
    }


DEEP: Any = {"all": []}
for _ in range(150):
    DEEP = {"all": [DEEP]}


@pytest.mark.parametrize(
    "odd",
    [
        {"settings": {"title": 10**30}},
        {"settings": {"title": "\x00"}},
        {"settings": {"title": "x" * 300_000}},
        {"condition": DEEP},
        {"condition": {"field": "deal.amount", "op": "gt", "value": 10**40}},
        {"condition": {"field": "deal.amount", "op": "gt", "value": 1e300}},
        {"timing": {"after": "arrival", "offset": "9" * 400 + "d"}},
        {"name": "\ud800"},
    ],
    ids=lambda odd: str(odd)[:40],
)
async def test_a_draft_that_makes_no_sense_breaks_nothing(office: Office, odd: dict[str, Any]) -> None:
    """It is refused at the door, or kept as a draft that cannot be published."""
    body = json.dumps({**PLACE, "rule_type": "create_recurring_lead", "definition": {**RENEWAL, **odd}})
    drafted = await office.http.post("/v1/rules", content=body, headers={"Content-Type": "application/json"})
    assert drafted.status_code in (201, 400, 413, 422), drafted.text
    if drafted.status_code == 201:
        published = await office.http.post(f"/v1/rules/{drafted.json()['id']}/publications", json={})
        assert published.status_code in (200, 422), published.text


async def test_nobody_automates_what_he_may_not_do(office: Office) -> None:
    rule = await drafted(office)
    key = await office.house.key(*SCOPES, actor=f"user:{ANNA}")
    async with office.house.client(key) as anna:
        answer = await anna.post(f"/v1/rules/{rule['id']}/publications", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "not_allowed_for_author")


async def test_an_api_client_leaves_the_rule_to_the_pipelines_owner(office: Office) -> None:
    key = await office.house.key(*SCOPES, actor="key:shop")
    async with office.house.client(key) as shop:
        answer = await shop.post("/v1/rules", json={**PLACE, "rule_type": "notify"})
    assert answer.json()["owner_id"] == OLAF


# ------------------------------------------------------------------------------------------------ waiting runs


async def waiting(office: Office) -> dict[str, Any]:
    """A published renewal with one run that waits."""
    rule = await published(office)
    await office.hear(created(), moved("sales/won", 2))
    await office.said()
    return rule


async def repeated(office: Office) -> None:
    """What automation says about its rules comes back to it."""
    for said in await office.said("RulePublished", "RuleDisabled", "RuleDeleted"):
        contract = getattr(automation, said.name)
        await office.hear(contract.model_validate_json(orjson.dumps(said.body)))


async def change(office: Office, rule: dict[str, Any], offset: str, waiting: str) -> None:
    shown = (await office.http.get(f"/v1/rules/{rule['id']}")).json()
    changed = {"timing": {"after": "arrival", "offset": offset}}
    await office.http.patch(f"/v1/rules/{rule['id']}", json={"definition": changed}, headers={"If-Match": f'"{shown["revision"]}"'})
    answer = await office.http.post(f"/v1/rules/{rule['id']}/publications", json={"waiting": waiting})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    ("choice", "said", "version"),
    [
        ("keep", [], 1),
        ("cancel", ["CancelTimer", "RunCancelled"], 1),
        ("migrate", ["CancelTimer", "SetTimer"], 2),
    ],
)
async def test_publishing_keeps_migrates_or_cancels_what_waits(office: Office, choice: str, said: list[str], version: int) -> None:
    rule = await waiting(office)
    await change(office, rule, "10d", choice)
    await repeated(office)
    assert [m.name for m in await office.said()] == said
    run = (await office.runs())["renewal"]
    assert (run["rule_version"], run["state"]) == (version, "cancelled" if choice == "cancel" else "waiting")


@pytest.mark.parametrize("how", ["delete", "disable"])
async def test_waiting_runs_end_with_their_rule(office: Office, how: str) -> None:
    rule = await waiting(office)
    if how == "delete":
        await office.http.delete(f"/v1/rules/{rule['id']}", headers={"If-Match": f'"{rule["revision"]}"'})
    else:
        await office.http.post(f"/v1/rules/{rule['id']}/disablements", json={"cancel_waiting": True})
    await repeated(office)
    assert await office.state("renewal") == ("cancelled", f"rule_{how}d")


async def test_a_message_disables_a_rule_and_is_answered(office: Office) -> None:
    rule = await published(office)
    await office.said()
    command = automation.DisableRule(request_id=id_of("ask"), rule_id=rule["id"], cancel_waiting=False)
    await office.hear(command)
    (said,) = await office.said()
    assert (said.name, said.body["request_id"]) == ("RuleDisabled", id_of("ask"))
    await office.hear(automation.DisableRule(request_id=id_of("again"), rule_id=rule["id"], cancel_waiting=False))
    (refused,) = await office.said()
    assert (refused.name, refused.body["code"]) == ("CommandRejected", "rule_not_published")
    await office.hear(created(), moved("sales/won", 2))
    assert await office.said() == []


async def test_rules_that_copy_into_an_archived_pipeline_become_invalid(office: Office) -> None:
    await office.publish("""
stage: sales/won
rules:
  - { id: first, type: copy_deal, settings: { pipeline: installation } }
  - { id: second, type: copy_deal, settings: { pipeline: installation, initial_stage: mounting } }
""")
    without = tuple(s for s in stages("installation") if s.code != "mounting")
    changed = deals.StagesChanged(origin=origin(), pipeline_id=id_of("installation"), order_version=2, stages=without, change="removed")
    await office.hear(changed)
    (told,) = await office.said()
    assert (told.name, told.body["code"], told.body["rule_id"]) == ("RuleInvalidated", "target_missing", await office.rule_id("second"))
    await office.hear(deals.PipelineArchived(origin=origin(), pipeline_id=id_of("installation")))
    assert len(await office.said("RuleInvalidated")) == 2
    await office.hear(created(), moved("sales/won", 2))
    assert await office.said() == []
    listed = (await office.http.get("/v1/rules", params={"invalid": "true"})).json()["items"]
    assert {rule["rule_key"] for rule in listed} == {"first", "second"}


async def test_a_trigger_whose_stage_is_gone_moves_nothing(office: Office) -> None:
    await office.publish("stage: sales/collect-goods\ntriggers: [{ id: paid, type: invoice_paid }]")
    without = tuple(s for s in stages("sales") if s.code != "collect-goods")
    await office.hear(deals.StagesChanged(origin=origin(), pipeline_id=id_of("sales"), order_version=2, stages=without, change="removed"))
    await office.hear(created(), paid())
    assert [(said.name, said.body["code"]) for said in await office.said()] == [("TriggerInvalidated", "target_missing")]


async def test_a_rule_that_books_a_retired_room_becomes_invalid(office: Office) -> None:
    room = scheduler.RoomAdded(origin=origin(), room_id=id_of("room"), code="big", name="Big room")
    await office.hear(room)
    await office.publish("""
stage: sales/approval
rules: [{ id: call, type: plan_activity, settings: { name: Call, deadline: { day: today, time: "14:00" }, room: big } }]
""")
    await office.hear(scheduler.RoomRetired(origin=origin(), room_id=id_of("room"), code="big", name="Big room"))
    assert [m.body["code"] for m in await office.said("RuleInvalidated")] == ["unknown_room"]


# ------------------------------------------------------------------------------------------------ values


async def test_a_value_is_defined_changed_and_not_deleted_while_a_rule_uses_it(office: Office) -> None:
    made = await office.http.post("/v1/constants", json={"code": "house", "value": "7"})
    assert made.status_code == 201
    twice = await office.http.post("/v1/constants", json={"code": "house", "value": "8"})
    assert (twice.status_code, twice.json()["code"]) == (409, "code_taken")
    path = f"/v1/constants/{made.json()['id']}"
    wrong = await office.http.patch(path, json={"value": "8", "value_type": "number"}, headers={"If-Match": '"1"'})
    assert (wrong.status_code, wrong.json()["code"]) == (409, "type_is_fixed")
    changed = await office.http.patch(path, json={"value": "8"}, headers={"If-Match": '"1"'})
    assert changed.json()["value"] == "8"
    await office.publish('stage: sales/new\nrules: [{ id: tell, type: notify, settings: { text: "{{const.house}}" } }]')
    used = await office.http.delete(path, headers={"If-Match": '"2"'})
    assert (used.status_code, used.json()["code"]) == (409, "value_in_use")
    await office.hear(created())
    (notice,) = await office.commands()
    assert notice.body["text"] == "8"


async def test_a_value_of_the_wrong_type_is_refused(office: Office) -> None:
    answer = await office.http.post("/v1/variables", json={"code": "limit", "value_type": "number", "value": "many"})
    assert (answer.status_code, answer.json()["code"], answer.json()["errors"][0]["pointer"]) == (422, "wrong_type", "#/value")


# ------------------------------------------------------------------------------------------------ rules as text


async def plan(office: Office, text: str, status: int = 201, **own: Any) -> dict[str, Any]:
    answer = await office.http.post("/v1/rule-sets/plans", json={"text": text, **own})
    assert answer.status_code == status, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


TEXT = """
stage: sales/won
rules:
  - { id: install, type: copy_deal, settings: { pipeline: installation } }
  - { id: tell, type: notify, settings: { text: Hello } }
triggers:
  - { id: paid, type: invoice_paid }
"""


async def test_an_unchanged_text_changes_nothing(office: Office) -> None:
    await office.publish(TEXT)
    again = await plan(office, TEXT)
    assert {c["key"]: c["change"] for c in again["changes"]} == {"install": "unchanged", "tell": "unchanged", "paid": "unchanged"}
    await office.http.post("/v1/rule-sets/applications", json={"plan_id": again["plan_id"]})
    assert await office.said() == []


async def test_a_plan_says_what_differs(office: Office) -> None:
    await office.publish(TEXT)
    changed = await plan(office, TEXT.replace("Hello", "Good bye").replace("id: install, ", "id: install, enabled: false, "))
    assert {c["key"]: (c["change"], c["fields"]) for c in changed["changes"]} == {
        "install": ("disable", ["enabled"]),
        "tell": ("update", ["settings"]),
        "paid": ("unchanged", []),
    }
    await office.http.post("/v1/rule-sets/applications", json={"plan_id": changed["plan_id"]})
    assert [m.name for m in await office.said()] == ["RuleDisabled", "RulePublished"]
    back = await plan(office, TEXT.replace("Hello", "Good bye"))
    assert {c["key"]: c["change"] for c in back["changes"]}["install"] == "enable"
    await office.http.post("/v1/rule-sets/applications", json={"plan_id": back["plan_id"]})
    assert [m.name for m in await office.said()] == ["RuleEnabled"]


async def test_a_new_rule_may_come_switched_off(office: Office) -> None:
    await office.publish("stage: sales/new\nrules: [{ id: tell, type: notify, enabled: false, settings: { text: Hello } }]")
    (listed,) = (await office.http.get("/v1/rules")).json()["items"]
    assert listed["state"] == "disabled"


async def test_pruning_deletes_what_the_text_does_not_hold(office: Office) -> None:
    await office.publish(TEXT)
    short = "stage: sales/won\nrules: [{ id: tell, type: notify, settings: { text: Hello } }]"
    kept = await plan(office, short)
    assert {c["key"]: c["change"] for c in kept["changes"]} == {"tell": "unchanged"}
    pruned = await plan(office, short, prune=True)
    assert {c["key"]: c["change"] for c in pruned["changes"]} == {"tell": "unchanged", "install": "delete", "paid": "delete"}
    await office.http.post("/v1/rule-sets/applications", json={"plan_id": pruned["plan_id"]})
    assert {m.name for m in await office.said()} == {"RuleDeleted", "TriggerDeleted"}


async def test_a_plan_is_outdated_when_somebody_was_faster(office: Office) -> None:
    await office.publish(TEXT)
    mine = await plan(office, TEXT.replace("Hello", "Mine"))
    await office.publish(TEXT.replace("Hello", "Theirs"))
    answer = await office.http.post("/v1/rule-sets/applications", json={"plan_id": mine["plan_id"]})
    assert (answer.status_code, answer.json()["code"]) == (409, "plan_outdated")
    again = await plan(office, TEXT.replace("Hello", "Mine"))
    assert (await office.http.post("/v1/rule-sets/applications", json={"plan_id": again["plan_id"]})).status_code == 200
    twice = await office.http.post("/v1/rule-sets/applications", json={"plan_id": again["plan_id"]})
    assert (twice.status_code, twice.json()["code"]) == (409, "plan_applied")


async def test_a_check_writes_nothing_and_warns(office: Office) -> None:
    text = "stage: sales/new\nrules: [{ id: tell, type: notify, execution: after_previous, settings: { text: Hello } }]"
    answer = await office.http.post("/v1/rule-sets/checks", json={"text": text})
    assert [(f["code"], f["severity"], f["pointer"]) for f in answer.json()["findings"]] == [
        ("after_previous_without_previous", "warning", "#/0/rules/0/execution")
    ]
    assert (await office.http.get("/v1/rules")).json()["items"] == []


@pytest.mark.parametrize(
    ("text", "pointer", "code"),
    [
        ("stage: [", "#/text", "syntax"),
        ("stage: sales/new\nstage: sales/won", "#/text", "syntax"),
        ("a: &x 1\nb: *x", "#/text", "syntax"),
        ("just words", "#/text", "syntax"),
        ("rules: []", "#/0/stage", "setting_required"),
        ("stage: sales/nowhere", "#/0/stage", "unknown_stage"),
        ("stage: nowhere/new", "#/0/stage", "unknown_pipeline"),
        ("stage: sales/new\nroles: []", "#/0/roles", "unknown_key"),
        ("stage: sales/new\nrules: { id: x }", "#/0/rules", "wrong_type"),
        ("stage: sales/new\nrules: [notify]", "#/0/rules/0", "wrong_type"),
        ("stage: sales/new\nrules: [{ id: a, type: coffee }]", "#/0/rules/0/type", "unknown_rule_type"),
        ("stage: sales/new\nrules: [{ id: a, type: notify }]", "#/0/rules/0/settings/text", "setting_required"),
        ("stage: sales/new\nrules: [{ id: a, type: notify, settings: [x] }]", "#/0/rules/0/settings", "wrong_type"),
        (
            "stage: sales/new\nrules: [{ id: a, type: notify, settings: { text: x, to: user:404 } }]",
            "#/0/rules/0/settings/to",
            "unknown_user",
        ),
        (
            "stage: sales/new\nrules: [{ id: a, type: notify, settings: { text: x, to: role:cook } }]",
            "#/0/rules/0/settings/to",
            "unknown_role",
        ),
        (
            "stage: sales/new\nrules: [{ id: a, type: copy_deal, settings: { pipeline: sales } }]",
            "#/0/rules/0/settings/initial_stage",
            "target_is_own_stage",
        ),
        (
            "stage: sales/new\ntriggers: [{ id: a, type: invoice_paid, target_stage: installation/planning }]",
            "#/0/triggers/0/target_stage",
            "trigger_other_pipeline",
        ),
        ("stage: sales/new\ntriggers: [{ id: a, type: webhook }]", "#/0/triggers/0/settings/code", "setting_required"),
        (
            'stage: sales/new\ntriggers: [{ id: a, type: invoice_paid, settings: { scope: "created_by:sales/new#x" } }]',
            "#/0/triggers/0/settings/scope",
            "wrong_type",
        ),
        ("constants: { house: 7 }", "#/0/constants/house", "unknown_key"),
        ("constants: { HOUSE: { value: x } }", "#/0/constants/HOUSE", "bad_code"),
        ("variables: { n: { type: number, value: many } }", "#/0/variables/n/value", "wrong_type"),
    ],
)
async def test_what_is_wrong_with_a_text_is_named(office: Office, text: str, pointer: str, code: str) -> None:
    answer = await office.http.post("/v1/rule-sets/plans", json={"text": text})
    assert (answer.status_code, answer.json()["code"]) == (422, "rule_set_invalid")
    assert (pointer, code) in [(fault["pointer"], fault["code"]) for fault in answer.json()["errors"]]


async def test_a_trigger_may_name_the_rule_whose_invoices_it_means(office: Office) -> None:
    await office.publish("""
stage: sales/collect-goods
triggers: [{ id: paid, type: invoice_paid, settings: { scope: "created_by:sales/new#inv" } }]
---
stage: sales/new
rules: [{ id: inv, type: create_from, settings: { targets: [invoice] } }]
""")
    await office.hear(created())
    await office.said()
    await office.hear(paid("other"))
    assert await office.said("MoveToStage") == []
    await office.hear(paid("ours", origin_rule_id=await office.rule_id("inv")))
    assert len(await office.said("MoveToStage")) == 1


EXAMPLE = (Path(__file__).parents[3] / "examples/sales.yaml").read_text()


async def test_the_shipped_example_is_in_order(office: Office) -> None:
    checked = await office.http.post("/v1/rule-sets/checks", json={"text": EXAMPLE})
    assert checked.json()["findings"] == []
    await office.publish(EXAMPLE)
    assert {c["change"] for c in (await plan(office, EXAMPLE))["changes"]} == {"unchanged"}


# ------------------------------------------------------------------------------------------------ who may


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/rules"),
        ("POST", "/v1/rules"),
        ("GET", "/v1/runs"),
        ("GET", "/v1/trigger-decisions"),
        ("POST", "/v1/rule-sets/applications"),
        ("GET", f"/v1/explanations?element_id={DEAL}&rule_id={DEAL}"),
    ],
)
async def test_without_the_scope_nothing_is_shown(office: Office, method: str, path: str) -> None:
    key = await office.house.key("deals:read")
    async with office.house.client(key) as stranger:
        assert (await stranger.request(method, path, json={} if method == "POST" else None)).status_code == 403
    async with office.house.client() as nobody:
        assert (await nobody.request(method, path)).status_code == 401
