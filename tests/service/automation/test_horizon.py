"""The horizon over HTTP: everything that is going to happen with its reason, and what people do to it, audited (capability 4)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from shared.contracts import deals, scheduler
from tests.service.automation.conftest import DEAL, NOW, OLAF, Office, created, id_of, stage, visit
from tests.service.house import at, origin

RULES = """
stage: sales/new
rules:
  - { id: late, type: notify, timing: { after: arrival, offset: 10d }, settings: { text: Hello } }
  - { id: below, type: notify, name: Below, execution: after_previous, settings: { text: Hello } }
  - { id: meet, type: notify, timing: { before: deal.uf.meeting, offset: 1d }, settings: { text: Hello } }
  - { id: mail, type: send_email, settings: { body: "{{deal.uf.nothing}}" } }
  - { id: soon, type: notify, timing: { after: arrival, offset: 1d }, settings: { text: Hello } }
"""


def set_for(body: dict[str, Any]) -> scheduler.TimerSet:
    due = NOW + timedelta(days=body["when"]["offset"]["days"])
    more: dict[str, Any] = {"local": "", "zone": "Europe/Berlin", "reasoning": ()}
    return scheduler.TimerSet(origin=origin(), timer_id=body["timer_id"], about=DEAL, owner="automation", due_at=at(due), **more)


async def entries(office: Office, **wanted: Any) -> dict[str, Any]:
    answer = await office.http.get("/v1/horizon", params=wanted)
    assert answer.status_code == 200, answer.text
    return {run["rule_key"]: run for run in answer.json()["items"]}


async def test_everything_to_come_has_its_reason_and_obeys_people(office: Office) -> None:
    await office.publish(RULES.replace("deal.uf.nothing", "deal.uf.meeting"))
    await office.hear(created())
    await office.hear(*(set_for(timer.body) for timer in await office.said("SetTimer")))
    ahead = await entries(office)
    assert [*ahead][:2] == ["soon", "late"], "in order of time, the others behind"
    assert {key: run["says"] for key, run in ahead.items()} == {
        "soon": "The rule waits until 3 March 2026, 09:00 (Europe/Berlin).",
        "late": "The rule waits until 12 March 2026, 09:00 (Europe/Berlin).",
        "below": "The rule waits for the rule above it, Add notification, to end.",
        "meet": "The rule waits until deal.uf.meeting is filled in.",
        "mail": "The rule is held back: a placeholder has no value.",
    }
    assert ahead["below"]["says_de"].startswith("Die Regel wartet, bis die Regel darüber")
    assert [*await entries(office, waiting_for="field")] == ["meet"]
    assert [*await entries(office, rule_id=ahead["late"]["rule_id"])] == ["late"]
    assert len(await entries(office, element_id=DEAL)) == 5 and await entries(office, pipeline_id=visit(1)) == {}

    to = at(NOW + timedelta(days=20))
    postponed = await office.http.post(f"/v1/runs/{ahead['late']['id']}/postponements", json={"to": to})
    assert postponed.status_code == 200, postponed.text
    (moved,) = await office.said("RearmTimer")
    assert moved.body["when"]["anchor_instant"] == to
    assert (await office.http.post(f"/v1/runs/{ahead['soon']['id']}/executions")).json()["state"] == "running"
    assert (await office.http.post(f"/v1/runs/{ahead['meet']['id']}/cancellations", json={"reason": "Not needed"})).status_code == 200
    assert {*await entries(office)} == {"late", "below", "mail"}

    events = (await office.http.get(f"/v1/visits/{visit(1)}/events", params={"limit": 100})).json()["items"]
    done = {event["type"]: event["actor"] for event in events if event["actor"] == f"user:{OLAF}"}
    assert {"TimerMoved", "RunReleased", "RunEnded"} <= done.keys(), "each is an event, with who did it"


async def test_a_bulk_move_is_shown_by_type_before_it_is_made(office: Office) -> None:
    await office.publish(RULES.replace("sales/new", "sales/approval").replace("deal.uf.nothing", "deal.uf.meeting"))
    deals_there = [id_of(f"deal/{n}") for n in range(60)]
    await office.hear(*(created(id=deal) for deal in deals_there), created("sales/approval"))
    to = {"stage_id": stage("sales/approval")}
    seen = (await office.http.post("/v1/previews", json={**to, "from_stage_id": stage("sales/new")})).json()
    assert (seen["elements"], seen["runs"], seen["seconds"]) == (60, 300, 2)
    assert seen["by_type"] == [{"rule_type": "notify", "rules": 4, "runs": 240}, {"rule_type": "send_email", "rules": 1, "runs": 60}]
    some = (await office.http.post("/v1/previews", json={**to, "element_ids": [deals_there[0], DEAL, id_of("nobody")]})).json()
    assert (some["elements"], some["seconds"]) == (1, 1), "who is there already does not arrive"
    both = await office.http.post("/v1/previews", json={**to, "element_ids": [DEAL], "from_stage_id": stage("sales/new")})
    assert both.status_code == 422
    assert (await office.http.post("/v1/previews", json={"stage_id": DEAL, "element_ids": [DEAL]})).status_code == 422


async def test_a_restored_deals_rules_are_armed_again_on_request(office: Office) -> None:
    await office.publish(RULES.replace("deal.uf.nothing", "deal.uf.meeting"))
    await office.hear(created())
    gone = deals.DealDeleted(origin=origin(), deal_id=DEAL, visit_id=visit(1))
    await office.hear(gone)
    assert await entries(office) == {}
    await office.hear(office_restored())
    await office.said()
    answer = await office.http.post(f"/v1/visits/{visit(1)}/rearmings")
    assert answer.status_code == 200, answer.text
    assert {*await entries(office)} == {"late", "below", "meet", "mail", "soon"}
    assert len(await office.said("SetTimer")) == 2
    again = await office.http.post(f"/v1/visits/{visit(1)}/rearmings")
    assert (again.status_code, again.json()["code"]) == (409, "not_restored")


def office_restored() -> deals.DealRestored:
    return deals.DealRestored(origin=origin(), deal_id=DEAL, visit_id=visit(1), stage_id=stage("sales/new"))
