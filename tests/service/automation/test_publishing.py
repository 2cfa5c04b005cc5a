"""Publishing over HTTP: what it would touch, versions for a part of the visits or in shadow, and what becomes of runs that wait."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson

from services.automation.domain.rollout import is_chosen
from services.automation.domain.visit import timer_id
from shared.contracts import automation, scheduler
from tests.service.automation.conftest import DEAL, NOW, Office, created, fired, id_of, visit
from tests.service.house import at, origin

TELL = """
stage: sales/new
rules:
  - id: tell
    type: notify
    settings: { text: "Old {{deal.title}}" }
"""
LATE = """
stage: sales/new
rules:
  - id: late
    type: notify
    timing: { after: arrival, offset: 10d }
    settings: { text: "Old" }
"""


async def edited(office: Office, key: str, **definition: Any) -> str:
    """The rule's id, with a new draft."""
    id = await office.rule_id(key)
    version = (await office.http.get(f"/v1/rules/{id}")).headers["etag"]
    changed = await office.http.patch(f"/v1/rules/{id}", json={"definition": definition}, headers={"If-Match": version})
    assert changed.status_code == 200, changed.text
    return id


async def publish(office: Office, id: str, **wish: Any) -> Any:
    answer = await office.http.post(f"/v1/rules/{id}/publications", json=wish)
    assert answer.status_code == 200, answer.text
    return answer.json()


def deal(n: int) -> str:
    return id_of(f"deal/{n}")


async def test_a_version_for_a_part_of_the_visits_and_the_one_before_for_the_rest(office: Office) -> None:
    await office.publish(TELL)
    id = await edited(office, "tell", settings={"text": "New {{deal.title}}"})
    rule = await publish(office, id, rollout={"mode": "live", "percent": 40})
    assert (rule["version"], rule["rollout"]) == (2, {"mode": "live", "percent": 40, "base": 1})
    (said,) = await office.said("RulePublished")
    assert said.body["rollout"] == {"mode": "live", "percent": 40}
    await office.hear(*(created("sales/new", deal(n), title=str(n)) for n in range(40)))
    chosen = [is_chosen(visit(1, deal(n)), 40) for n in range(40)]
    assert len(set(chosen)) == 2
    assert [m.body["text"] for m in await office.said("Notify")] == [f"{'New' if new else 'Old'} {n}" for n, new in enumerate(chosen)]
    runs = (await office.http.get("/v1/runs", params={"rule_id": id, "rule_version": 2})).json()["items"]
    assert len(runs) == sum(chosen)
    done = await publish(office, id)
    assert (done["version"], done["rollout"]["base"]) == (3, 3), "the same version, for all"
    await office.hear(*(created("sales/new", deal(n)) for n in range(40, 50)))
    assert {m.body["text"] for m in await office.said("Notify")} == {"New Roof 2026"}


async def test_a_rule_that_is_new_and_not_for_all_leaves_the_others_out(office: Office) -> None:
    await office.publish(TELL)
    other = {"element_type": "deal", "pipeline_id": id_of("sales"), "stage_id": id_of("stage/sales/new"), "rule_type": "notify"}
    made = await office.http.post("/v1/rules", json={**other, "definition": {"id": "more", "settings": {"text": "More"}}})
    await publish(office, made.json()["id"], rollout={"percent": 50})
    out = next(deal(n) for n in range(50) if not is_chosen(visit(1, deal(n)), 50))
    await office.hear(created("sales/new", out))
    assert await office.state("more", out) == ("skipped", "not_in_rollout")
    assert [m.body["text"] for m in await office.said("Notify")] == ["Old Roof 2026"]
    why = (await office.http.get("/v1/explanations", params={"element_id": out, "rule_id": made.json()["id"]})).json()
    assert (why["verdict"], why["says"][:20]) == ("not_in_rollout", "The rule did not run")


async def test_a_version_in_shadow_is_judged_and_listed_and_asks_for_nothing(office: Office) -> None:
    await office.publish(TELL)
    wanted: dict[str, Any] = {"condition": {"field": "deal.amount", "op": "gt", "value": 50}, "settings": {"text": "New {{deal.title}}"}}
    id = await edited(office, "tell", **wanted)
    refused = await office.http.post(f"/v1/rules/{id}/publications", json={"rollout": {"mode": "shadow", "percent": 5}})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "#/rollout")
    rule = await publish(office, id, rollout={"mode": "shadow"})
    assert rule["rollout"] == {"mode": "shadow", "percent": None, "base": 1}
    await office.said()
    await office.hear(created("sales/new", deal(1), amount="100.00"), created("sales/new", deal(2), amount="10.00"))
    assert [m.body["text"] for m in await office.commands()] == ["Old Roof 2026", "Old Roof 2026"]
    listed = (await office.http.get(f"/v1/rules/{id}/shadow-judgements", params={"sort": "at"})).json()["items"]
    found = {item["element_id"]: item for item in listed}
    assert {e: (i["verdict"], i["says_de"]) for e, i in found.items()} == {
        deal(1): ("would_run", "Sie wäre gelaufen."),
        deal(2): ("condition_false", "Ihre Bedingung traf nicht zu."),
    }
    assert [(ask["kind"], ask["text"]) for ask in found[deal(1)]["would_ask"]] == [("Notice", "New Roof 2026")]
    assert (found[deal(1)]["rule_version"], found[deal(1)]["live"]["rule_version"], found[deal(1)]["live"]["state"]) == (2, 1, "running")
    assert found[deal(2)]["condition"][0]["actual"] == "10.00"
    only = await office.http.get(f"/v1/rules/{id}/shadow-judgements", params={"verdict": "would_run"})
    assert [item["element_id"] for item in only.json()["items"]] == [deal(1)]


async def test_before_a_publication_everything_it_touches_is_shown(office: Office) -> None:
    await office.publish(LATE)
    for n, amount in enumerate(("100.00", "250.50")):
        await office.hear(created("sales/new", deal(n), amount=amount))
        timer = timer_id(visit(1, deal(n)), await office.rule_id("late"), "delay")
        await office.hear(set_for(timer, deal(n), 10 + n))
    id = await edited(office, "late", settings={"text": "New", "to": "user:nobody"})
    seen = (await office.http.get(f"/v1/rules/{id}/publication-preview")).json()
    assert (seen["version"], seen["next_version"], seen["stage"], seen["elements"]) == (1, 2, "sales/new", 2)
    waiting = seen["waiting"]
    assert (waiting["count"], waiting["blocked"], waiting["keep"], waiting["migrate"]) == (2, 0, "kept", "migrated")
    assert [(run["element_id"], run["due_at"][:10]) for run in waiting["runs"]] == [(deal(0), "2026-03-12"), (deal(1), "2026-03-13")]
    assert seen["money"] == [{"currency": "EUR", "amount": "350.50", "elements": 2}]
    assert (seen["valid"], [f["code"] for f in seen["findings"]]) == (False, ["unknown_user"])


async def test_what_waits_is_run_or_dropped_where_the_new_time_is_past(office: Office) -> None:
    await office.publish(LATE)
    await office.hear(created("sales/new", DEAL), created("sales/new", deal(1)))
    id = await office.rule_id("late")
    for n, (element, past) in enumerate(((DEAL, "run"), (deal(1), "drop"))):
        office.house.now = NOW + timedelta(days=5 + n)
        await edited(office, "late", timing={"after": "arrival", "offset": f"{n + 1}d"})
        await publish(office, id, waiting="migrate", past=past)
        (published,) = [m for m in await office.said() if m.name == "RulePublished"]
        await office.hear(published_again(published.body))
        timers = [m.body["timer_id"] for m in await office.said("SetTimer") if m.body["about"] == element]
        await office.hear(set_for(timers[0], element, n + 1))
        await office.hear(fired(timers[0], about=element))
        assert await office.state("late", element) == (("running", None) if past == "run" else ("skipped", "past_dropped"))


def set_for(timer: str, about: str, days: int) -> scheduler.TimerSet:
    due = NOW + timedelta(days=days)
    more: dict[str, Any] = {"local": "2026-03-12T09:00:00", "zone": "Europe/Berlin", "reasoning": ("ten days after",)}
    return scheduler.TimerSet(
        origin=origin(kind="system", id=None), timer_id=timer, about=about, owner="automation", due_at=at(due), **more
    )


def published_again(body: dict[str, Any]) -> automation.RulePublished:
    return automation.RulePublished.model_validate_json(orjson.dumps(body))


async def test_what_rules_do_together_is_said_in_checks_plans_and_publications(office: Office) -> None:
    await office.publish(TELL)
    never = {"all": [{"field": "deal.amount", "op": "gt", "value": 9}, {"field": "deal.amount", "op": "lt", "value": 5}]}
    place = {"pipeline_id": id_of("sales"), "stage_id": id_of("stage/sales/new"), "rule_id": await office.rule_id("tell")}
    definition = {"id": "tell", "type": "notify", "settings": {"text": "x"}, "condition": never}
    checked = (await office.http.post("/v1/rules/checks", json={**place, "definition": definition})).json()
    assert checked["valid"], "a warning forbids nothing"
    (finding,) = checked["findings"]
    assert (finding["pointer"], finding["code"], finding["severity"]) == ("#/definition/condition/all/1", "never_matches", "warning")
    assert finding["says_de"] == "Die Bedingung kann nie zutreffen."
    planned = await office.http.post(
        "/v1/rule-sets/plans", json={"text": TELL + "    condition: { field: deal.stage, op: eq, value: won }\n"}
    )
    (told,) = planned.json()["findings"]
    assert (told["code"], told["line"], told["says"]) == ("never_matches", 7, "The condition can never hold.")
    id = await edited(office, "tell", condition=never)
    answer = await publish(office, id)
    assert (answer["version"], [f["code"] for f in answer["findings"]]) == (2, ["never_matches"])
    target = {"pipeline_id": id_of("sales"), "stage_id": id_of("stage/sales/new"), "definition": {"id": "t", "type": "invoice_paid"}}
    back = (await office.http.post("/v1/triggers/checks", json=target)).json()
    assert [f["code"] for f in back["findings"]] == ["unreachable_trigger"]
