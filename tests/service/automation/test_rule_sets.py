"""Rules as text in both directions: what is in force is written, and applied again it changes nothing (rule-format 1, 9)."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.automation.rule_sets.reading import documents_of
from shared.contracts import deals
from shared.testing.stack import Stack
from tests.service.automation.conftest import ANNA, PIPELINES, SCOPES, Office, an_office, created, id_of, moved, stage, stages
from tests.service.automation.test_definitions import EXAMPLE, plan, repeated
from tests.service.house import origin

RICH = """
constants: { house: { type: string, value: "7" }, limits: { type: money, multiple: true, value: [ { amount: "5.00", currency: EUR } ] } }
variables: { street: { type: string, visibility: deal, value: "no" } }
---
stage: sales/won
rules:
  - id: tell
    type: notify
    condition:
      all: [ { field: deal.amount, op: between, value: [1, 0.5] }, { not: { field: deal.title, op: contains, value: "14:00" } } ]
    settings: { to: [responsible, "user:7"], text: "{{const.house}}\\n\\n  # {{var.street}}\\u2028: - \\n" }
  - id: off
    type: create_recurring_lead
    enabled: false
    timing: { after: arrival, offset: 180d, late_limit: none, zone: Europe/Berlin }
    on_exit: keep
    settings: { title: "true" }
  - id: after
    type: send_email
    execution: after_previous
    owner: user:7
    acting_user: user:9
    settings: { body: Hello, reply_to: null, from: responsible }
triggers:
  - { id: second, type: invoice_paid, target_stage: sales/delivery, settings: { threshold: { amount: "50.00", currency: EUR } } }
  - { id: first, type: invoice_paid, settings: { scope: "created_by:sales/new#inv", threshold: 30% } }
---
stage: sales/new
rules: [{ id: inv, type: create_from, settings: { targets: [invoice] } }]
triggers: [{ id: third, type: webhook, target_stage: sales/delivery, allow_back: true, settings: { code: shop } }]
---
stage: leads/fresh
rules: [{ id: tell, type: notify, settings: { text: New } }]
"""


async def export(office: Office, pipeline: str = "", form: str = "yaml") -> str:
    answer = await office.http.get(f"/v1/rule-sets{pipeline and '/'}{pipeline}", params={"format": form})
    assert answer.status_code == 200, answer.text
    return answer.text


async def changes(office: Office, text: str, **own: Any) -> dict[str, str]:
    return {c["key"]: c["change"] for c in (await plan(office, text, **own))["changes"] if c["change"] != "unchanged"}


# ------------------------------------------------------------------------------------------------ round trip


@pytest.mark.parametrize("text", ["", EXAMPLE, RICH], ids=["nothing", "example", "rich"])
async def test_an_export_planned_again_changes_nothing_also_with_prune(office: Office, text: str) -> None:
    await office.publish(text)
    written = await export(office)
    again = await plan(office, written, prune=True)
    assert [c for c in again["changes"] if c["change"] != "unchanged"] == []
    assert len(again["changes"]) == len((await plan(office, text))["changes"])
    await office.publish(written)
    assert await export(office) == written


@pytest.mark.parametrize("text", ["", EXAMPLE, RICH], ids=["nothing", "example", "rich"])
async def test_an_export_makes_the_same_on_an_empty_tenant(office: Office, stack: Stack, text: str) -> None:
    await office.publish(text)
    written = await export(office)
    async with an_office(stack) as empty:
        assert set((await changes(empty, written)).values()) <= {"create"}
        await empty.publish(written)
        assert await export(empty) == written
        assert set((await changes(empty, text)).values()) == set()


async def test_the_json_form_holds_the_same_documents(office: Office) -> None:
    await office.publish(RICH)
    answer = await office.http.get("/v1/rule-sets", params={"format": "json"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == documents_of(await export(office))
    assert await changes(office, answer.text, prune=True) == {}


async def test_one_pipeline_comes_with_the_values_that_it_names(office: Office) -> None:
    await office.publish(RICH)
    sales = documents_of(await export(office, "sales"))
    assert (set(sales[0]["constants"]), set(sales[0]["variables"])) == ({"house"}, {"street"})
    assert [document["stage"] for document in sales[1:]] == ["sales/new", "sales/delivery", "sales/won"]
    assert [document["stage"] for document in documents_of(await export(office, "leads"))] == ["leads/fresh"]
    assert documents_of(await export(office, "installation")) == []
    unknown = await office.http.get("/v1/rule-sets/purchase")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


async def test_triggers_stand_where_they_lead_in_the_order_of_the_text(office: Office) -> None:
    await office.publish(RICH)
    by_stage = {document.get("stage"): document for document in documents_of(await export(office))}
    assert [t["id"] for t in by_stage["sales/delivery"]["triggers"]] == ["second", "third"]
    assert [t["id"] for t in by_stage["sales/won"]["triggers"]] == ["first"]


async def test_gaps_between_positions_are_no_difference(office: Office) -> None:
    await office.publish(RICH)
    only = {"definition": {"id": "late", "settings": {"text": "Late"}}, "rule_type": "notify", "position": 40}
    place = {"element_type": "deal", "pipeline_id": id_of("sales"), "stage_id": stage("sales/won")}
    made = (await office.http.post("/v1/rules", json={**place, **only})).json()
    assert (await office.http.post(f"/v1/rules/{made['id']}/publications", json={})).status_code == 200
    assert await changes(office, await export(office)) == {}


async def test_a_draft_is_named_and_neither_written_nor_deleted(office: Office) -> None:
    await office.publish(EXAMPLE)
    place = {"element_type": "deal", "pipeline_id": id_of("sales"), "stage_id": stage("sales/won"), "rule_type": "notify"}
    await office.http.post("/v1/rules", json={**place, "definition": {"id": "idea"}})
    written = await export(office)
    assert "# Never published, so not in this text: rule idea\n" in written
    assert await changes(office, written, prune=True) == {}


async def test_what_could_not_be_applied_again_is_a_comment_with_its_reason(office: Office) -> None:
    await office.publish("""
stage: sales/won
rules:
  - { id: copy, type: copy_deal, settings: { pipeline: installation } }
  - { id: tell, type: notify, execution: after_previous, settings: { text: "{{steps.copy.name}}" } }
  - { id: stays, type: notify, settings: { text: Hello } }
---
stage: installation/planning
rules: [{ id: plan, type: notify, settings: { text: Hello } }]
""")
    await office.hear(deals.PipelineArchived(origin=origin(), pipeline_id=id_of("installation")))
    written = await export(office)
    assert "  # Not in force as it stands. target_missing: " in written and "  # - id: copy\n" in written
    assert "# stage: installation/planning" in written
    assert [[rule["id"] for rule in document["rules"]] for document in documents_of(written)] == [["stays"]]
    assert await changes(office, written) == {}


async def test_a_stage_that_is_gone_takes_its_rules_out_of_the_text(office: Office) -> None:
    await office.publish(EXAMPLE)
    left = tuple(s for s in stages("sales") if s.code != "approval")
    await office.hear(deals.StagesChanged(origin=origin(), pipeline_id=id_of("sales"), order_version=2, stages=left, change="removed"))
    assert "approval" not in await export(office)


# ------------------------------------------------------------------------------------------------ what a plan shows


WAITS = """
stage: sales/won
rules: [{ id: renewal, type: create_recurring_lead, timing: { offset: 180d, after: arrival }, settings: { title: A } }]
"""


async def waiting(office: Office) -> None:
    await office.publish(WAITS)
    await office.hear(created(), moved("sales/won", 2))
    await office.said()


@pytest.mark.parametrize(
    ("text", "prune", "becomes"),
    [
        (WAITS.replace("180d", "10d"), False, ("kept", "migrated", "cancelled")),
        (WAITS.replace("id: renewal", "enabled: false, id: renewal"), False, ("skipped", "skipped", "cancelled")),
        ("stage: sales/won", True, ("cancelled", "cancelled", "cancelled")),
    ],
    ids=["new version", "switched off", "deleted"],
)
async def test_a_plan_shows_the_waiting_runs_that_it_touches(office: Office, text: str, prune: bool, becomes: tuple[str, str, str]) -> None:
    await waiting(office)
    shown = await plan(office, text, prune=prune)
    (touched,) = shown["waiting"]
    assert (touched["keep"], touched["migrate"], touched["cancel"]) == becomes
    assert (touched["key"], touched["stage"], touched["count"], touched["blocked"]) == ("renewal", "sales/won", 1, 0)
    (run,) = touched["runs"]
    assert (run["state"], run["rule_version"], run["due_at"]) == ("waiting", 1, touched["first_due_at"])
    assert {"stage": "sales/won", "count": 1} in shown["elements"] or prune


@pytest.mark.parametrize("choice", ["keep", "migrate", "cancel"])
async def test_what_the_plan_says_of_the_runs_comes_true(office: Office, choice: str) -> None:
    await waiting(office)
    shown = await plan(office, WAITS.replace("180d", "10d"))
    done = await office.http.post("/v1/rule-sets/applications", json={"plan_id": shown["plan_id"], "waiting": choice})
    assert done.status_code == 200, done.text
    await repeated(office)
    run = (await office.runs())["renewal"]
    became = "cancelled" if run["state"] == "cancelled" else "migrated" if run["rule_version"] == 2 else "kept"
    assert became == shown["waiting"][0][choice]


@pytest.mark.parametrize("choice", ["keep", "cancel"])
async def test_switching_off_cancels_what_waits_if_asked(office: Office, choice: str) -> None:
    await waiting(office)
    shown = await plan(office, WAITS.replace("id: renewal", "enabled: false, id: renewal"))
    await office.http.post("/v1/rule-sets/applications", json={"plan_id": shown["plan_id"], "waiting": choice})
    await repeated(office)
    assert (await office.state("renewal"))[0] == ("cancelled" if choice == "cancel" else "waiting")


async def test_a_plan_that_touches_no_waiting_run_shows_none(office: Office) -> None:
    await waiting(office)
    assert (await plan(office, WAITS))["waiting"] == []
    text = WAITS.replace("rules: [", "rules: [{ id: tell, type: notify, settings: { text: Hello } }, ")
    before = await plan(office, text)
    assert {c["key"]: (c["change"], c["fields"]) for c in before["changes"]} == {
        "tell": ("create", []),
        "renewal": ("update", ["position"]),
    }
    assert before["waiting"] == []


async def test_who_may_not_see_runs_sees_how_many_there_are(office: Office) -> None:
    await waiting(office)
    key = await office.house.key("rules:write", actor=f"user:{ANNA}")
    async with office.house.client(key) as anna:
        answer = await anna.post("/v1/rule-sets/plans", json={"text": WAITS.replace("180d", "10d")})
    (touched,) = answer.json()["waiting"]
    assert (touched["count"], touched["runs"]) == (1, [])


async def test_a_plan_says_each_difference_by_its_pointer(office: Office) -> None:
    await office.publish(WAITS)
    (change,) = (await plan(office, WAITS.replace("180d", "10d").replace("title: A", "title: B")))["changes"]
    assert change["differences"] == [
        {"pointer": "/timing/offset", "before": "180d", "after": "10d"},
        {"pointer": "/settings/title", "before": "A", "after": "B"},
    ]


async def test_a_finding_says_its_line_in_the_text(office: Office) -> None:
    text = "stage: sales/new\nrules:\n  - id: tell\n    type: notify\n    execution: after_previous\n    settings: { text: Hello }\n"
    (finding,) = (await office.http.post("/v1/rule-sets/checks", json={"text": text})).json()["findings"]
    assert (finding["line"], finding["column"]) == (5, 5)


# ------------------------------------------------------------------------------------------------ what a plan rests on


async def applied(office: Office, plan_id: str) -> tuple[int, str | None]:
    answer = await office.http.post("/v1/rule-sets/applications", json={"plan_id": plan_id})
    return answer.status_code, answer.json().get("code")


async def test_two_plans_that_add_the_same_rule_do_not_both_come_into_force(office: Office) -> None:
    """The first request is committed alone; the two behind it are decided together."""
    before, mine, theirs = [await plan(office, text) for text in ("constants: { a: { value: b } }", WAITS, WAITS)]
    answers = await asyncio.gather(*(applied(office, made["plan_id"]) for made in (before, mine, theirs)))
    assert sorted(answers) == [(200, None), (200, None), (409, "plan_outdated")]
    assert len((await office.http.get("/v1/rules")).json()["items"]) == 1


async def test_two_plans_that_define_the_same_constant_do_not_both_come_into_force(office: Office) -> None:
    text = "constants: { house: { type: string, value: a } }"
    mine, theirs = await plan(office, text), await plan(office, text)
    answers = await asyncio.gather(applied(office, mine["plan_id"]), applied(office, theirs["plan_id"]))
    assert sorted(answers) == [(200, None), (409, "plan_outdated")]


@pytest.mark.parametrize("what", ["disablements", "delete", "neighbour"])
async def test_a_plan_is_outdated_when_a_rule_was_switched_off_deleted_or_added(office: Office, what: str) -> None:
    await office.publish(WAITS)
    mine = await plan(office, WAITS.replace("180d", "10d"))
    rule = (await office.http.get("/v1/rules")).json()["items"][0]
    if what == "disablements":
        await office.http.post(f"/v1/rules/{rule['id']}/disablements", json={})
    elif what == "delete":
        await office.http.delete(f"/v1/rules/{rule['id']}", headers={"If-Match": "*"})
    else:
        await office.publish(WAITS.replace("id: renewal", "id: other"))
    assert await applied(office, mine["plan_id"]) == (409, "plan_outdated")
    assert (await office.runs()) == {}


# ------------------------------------------------------------------------------------------------ texts in several documents


@pytest.mark.parametrize(
    ("text", "pointer"),
    [
        ("stage: sales/new\n---\nstage: sales/new", "#/1/stage"),
        ("constants: { a: { value: b } }\n---\nconstants: { a: { value: c } }", "#/1/constants/a"),
        (
            "stage: sales/new\ntriggers: [{ id: p, type: invoice_paid, target_stage: sales/won }]\n---\n"
            "stage: sales/won\ntriggers: [{ id: p, type: invoice_paid }]",
            "#/1/triggers/0/id",
        ),
    ],
)
async def test_nothing_is_described_twice(office: Office, text: str, pointer: str) -> None:
    refused = await plan(office, text, 422)
    assert [(e["pointer"], e["code"]) for e in refused["errors"]] == [(pointer, "duplicate_id")]


async def test_pruning_a_stage_spares_a_trigger_that_another_document_leads_there(office: Office) -> None:
    text = "stage: sales/won\n---\nstage: sales/new\ntriggers: [{ id: p, type: invoice_paid, target_stage: sales/won }]"
    await office.publish(text)
    assert await changes(office, text, prune=True) == {}


async def test_a_variable_without_a_value_in_the_text_keeps_its_own(office: Office) -> None:
    await office.publish("variables: { street: { type: string, value: Neuweg } }")
    assert await changes(office, "variables: { street: { type: string } }") == {}
    refused = await plan(office, "variables: { street: { type: string, visibility: deal } }", 422)
    assert [(e["pointer"], e["code"]) for e in refused["errors"]] == [("#/0/variables/street/visibility", "type_is_fixed")]


async def test_a_rule_comes_into_force_again_when_what_it_needs_is_back(office: Office) -> None:
    await office.publish(
        "stage: sales/won\nrules: [{ id: copy, type: copy_deal, settings: { pipeline: installation, initial_stage: mounting } }]"
    )
    text = await export(office)
    less = tuple(s for s in stages("installation") if s.code != "mounting")
    for n, now in enumerate((less, stages("installation"))):
        changed = deals.StagesChanged(origin=origin(), pipeline_id=id_of("installation"), order_version=2 + n, stages=now, change="changed")
        await office.hear(changed)
    assert await changes(office, text) == {"copy": "update"}
    await office.publish(text)
    assert await changes(office, text) == {}


async def test_the_export_needs_the_right_to_read_rules(office: Office) -> None:
    assert {"rules:read"} <= set(SCOPES) and set(PIPELINES) == {"sales", "installation", "leads"}
    key = await office.house.key("runs:read")
    async with office.house.client(key) as stranger:
        assert (await stranger.get("/v1/rule-sets")).status_code == 403
