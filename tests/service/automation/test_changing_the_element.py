"""Rules that change the element itself, from the arrival to the answer."""

from __future__ import annotations

from shared.contracts import common, deals
from tests.service.automation.conftest import ANNA, BEN, DEAL, Office, created, field, field_set, id_of, moved, stage, stages, visit
from tests.service.house import origin

RULES = """
stage: sales/approval
rules:
  - id: give
    type: change_responsible
    settings: { responsible: "user:7" }
  - id: note
    type: change_field
    settings: { fields: { title: "{{deal.title}} approved", uf.meeting: "{{now.date}}" } }
  - id: move
    type: change_stage
    execution: after_previous
    settings: { stage: delivery }
  - id: later
    type: notify
    timing: { after: arrival, offset: 1d }
    settings: { text: "Still here" }
---
stage: sales/delivery
rules:
  - id: back
    type: change_stage
    settings: { stage: approval }
"""


async def test_a_rule_gives_the_deal_to_somebody_changes_fields_and_moves_on(office: Office) -> None:
    await office.publish(RULES)
    await office.hear(created(), moved("sales/approval", 2))
    give, note = [said for said in await office.commands() if said.type.startswith("deals.")]
    assert (give.type, give.body["changes"]) == ("deals.ChangeDealFields.v1", {"responsible_id": BEN})
    assert note.body["changes"] == {"title": "Roof 2026 approved", "custom": {"meeting": "2026-03-02"}}

    changes = {"responsible_id": common.Change(before=ANNA, after=BEN)}
    given = {"origin": origin(), "deal_id": DEAL, "visit_id": visit(2)}
    await office.hear(deals.DealFieldsChanged(request_id=give.body["request_id"], changes=changes, **given))
    changes = {"title": common.Change(before="Roof 2026", after="Roof 2026 approved")}
    await office.hear(deals.DealFieldsChanged(request_id=note.body["request_id"], changes=changes, **given))
    (move,) = await office.commands()
    assert (move.type, move.body["stage_id"], move.body["if_visit_id"]) == ("deals.MoveToStage.v1", stage("sales/delivery"), visit(2))

    chain = tuple(move.body["origin"]["chain"])
    by_rule = {"origin": origin(chain=chain), "request_id": move.body["request_id"], "reason": "rule"}
    await office.hear(moved("sales/delivery", 3, "sales/approval", **by_rule))
    runs = await office.runs()
    assert {key: (run["state"], run["reason"]) for key, run in runs.items()} == {
        "give": ("succeeded", None),
        "note": ("succeeded", None),
        "move": ("succeeded", None),
        "later": ("cancelled", "stage_left"),
        "back": ("running", None),
    }
    outputs = {key: (await office.http.get(f"/v1/runs/{runs[key]['id']}")).json()["outputs"] for key in ("give", "note", "move")}
    assert outputs["give"] == {"before": ANNA, "after": BEN} and outputs["note"] == {"changed": ["title"]}
    assert outputs["move"] == {"stage": "delivery", "before": "approval"}

    (back,) = [said for said in await office.commands() if said.name == "MoveToStage"]
    by_rule = {"origin": origin(chain=tuple(back.body["origin"]["chain"])), "request_id": back.body["request_id"], "reason": "rule"}
    await office.hear(moved("sales/approval", 4, "sales/delivery", **by_rule))
    again = (await office.http.get(f"/v1/visits/{visit(4)}")).json()["runs"]
    assert [(run["rule_key"], run["reason"]) for run in again if run["state"] == "blocked"] == [("move", "loop")]
    assert await office.state("back") == ("succeeded", None)


async def test_forms_are_known_to_the_check_of_their_element(office: Office) -> None:
    await office.hear(field_set("lead", field("source"), element_type="lead"))
    text = RULES.replace("uf.meeting", "uf.source")
    errors = (await office.http.post("/v1/rule-sets/checks", json={"text": text})).json()["errors"]
    assert [(f["pointer"], f["code"]) for f in errors] == [("#/0/rules/1/settings/fields/uf.source", "unknown_field")]


async def test_a_rule_whose_stage_is_going_is_out_of_force_and_its_owner_told(office: Office) -> None:
    await office.publish(RULES)
    going = tuple(s.model_copy(update={"retiring": s.code == "delivery"}) for s in stages("sales"))
    changed = deals.StagesChanged(origin=origin(), pipeline_id=id_of("sales"), order_version=2, stages=going, change="removed")
    await office.hear(changed)
    told = [(one.body["rule_id"], one.body["code"]) for one in await office.said("RuleInvalidated")]
    assert told == [(await office.rule_id("move"), "target_missing")]


async def test_what_a_person_must_not_do_no_rule_of_his_does(office: Office) -> None:
    key = await office.house.key("rules:read", "rules:write", "rules:activate")
    async with office.house.client(key) as http:
        plan = await http.post("/v1/rule-sets/plans", json={"text": RULES})
        done = await http.post("/v1/rule-sets/applications", json={"plan_id": plan.json()["plan_id"]})
    assert (done.status_code, done.json()["code"]) == (409, "not_allowed_for_author")
