"""Runs seen and handled by people: lists, the horizon, panels, explanations, and the verbs on one run (capabilities 1, 4)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from shared.contracts import automation, billing, common, scheduler
from tests.service.automation.conftest import DEAL, NOW, Office, created, fired, id_of, moved, stage, visit
from tests.service.house import at, origin

RENEWAL = """
stage: sales/won
rules: [{ id: renewal, type: create_recurring_lead, timing: { after: arrival, offset: 180d }, settings: { title: Again } }]
"""
LINK = "stage: sales/new\nrules: [{ id: link, type: create_payment_link }]"


async def verb(office: Office, key: str, name: str, status: int = 200, **body: Any) -> dict[str, Any]:
    run = (await office.runs())[key]
    answer = await office.http.post(f"/v1/runs/{run['id']}/{name}", json=body)
    assert answer.status_code == status, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


async def waiting(office: Office) -> str:
    """A renewal that waits; its timer."""
    await office.publish(RENEWAL)
    await office.hear(created(), moved("sales/won", 2))
    (timer,) = await office.said("SetTimer")
    return str(timer.body["timer_id"])


async def refused(office: Office, code: str) -> None:
    (asked,) = await office.commands()
    await office.hear(
        billing.CommandRejected(request_id=asked.body["request_id"], record_key=DEAL, command_type=asked.type, code=code, detail="No.")
    )


# ------------------------------------------------------------------------------------------------ verbs


async def test_run_now_asks_at_once_and_takes_the_timer_back(office: Office) -> None:
    await waiting(office)
    shown = await verb(office, "renewal", "executions")
    assert shown["state"] == "running"
    assert [m.name for m in await office.said()] == ["CancelTimer", "CreateLead"]


async def test_a_cancelled_run_does_nothing_any_more(office: Office) -> None:
    timer = await waiting(office)
    shown = await verb(office, "renewal", "cancellations", reason="He does not want it.")
    assert (shown["state"], shown["reason"], shown["detail"]) == ("cancelled", "by_person", "He does not want it.")
    await office.said()
    await office.hear(fired(timer))
    assert await office.said() == []
    again = await verb(office, "renewal", "cancellations", status=409)
    assert again["code"] == "run_over"


async def test_a_postponed_run_rings_later(office: Office) -> None:
    await waiting(office)
    await verb(office, "renewal", "postponements", to="2027-01-01T09:00:00+01:00")
    (moved_timer,) = await office.said()
    assert moved_timer.name == "RearmTimer"
    assert moved_timer.body["when"]["anchor_instant"] == "2027-01-01T08:00:00.000Z"


@pytest.mark.parametrize("version", ["old", "current"])
async def test_a_failed_run_is_retried_from_its_step(office: Office, version: str) -> None:
    await office.publish(LINK)
    await office.hear(created())
    await refused(office, "nothing_to_pay")
    await office.said()
    shown = await verb(office, "link", "retries", retry_from="step", version=version)
    assert (shown["state"], shown["steps"][0]["attempts"]) == ("running", 2)
    (asked,) = await office.said("CreatePaymentLink")
    assert asked.body["request_id"] == shown["steps"][0]["request_id"]


async def test_a_skipped_run_may_be_run_by_a_person(office: Office) -> None:
    await office.publish("""
stage: sales/new
rules: [{ id: rich, type: notify, condition: { field: deal.amount, op: gt, value: 500 }, settings: { text: Hello } }]
""")
    await office.hear(created())
    await verb(office, "rich", "retries", retry_from="step")
    assert [m.name for m in await office.said()] == ["Notify"]


async def test_a_missed_run_is_dropped_or_made_up_for(office: Office) -> None:
    await office.publish("""
stage: sales/new
rules: [{ id: mail, type: send_email, timing: { after: arrival, offset: 1h }, settings: { body: Hello } }]
""")
    await office.hear(created())
    (timer,) = await office.said("SetTimer")
    assert timer.body["max_lateness"] == 86_400
    missed = scheduler.TimerMissed(
        origin=origin(),
        timer_id=timer.body["timer_id"],
        about=DEAL,
        owner="automation",
        due_at=at(NOW),
        found_at=at(NOW + timedelta(hours=30)),
        max_lateness=86_400,
    )
    await office.hear(missed)
    assert [m.name for m in await office.said()] == ["RunMissed"]
    await verb(office, "mail", "executions")
    assert [m.name for m in await office.said()] == ["SendEmail"]
    assert (await verb(office, "mail", "drops", status=409))["code"] == "not_missed"


async def test_a_blocked_run_is_continued(office: Office) -> None:
    await office.publish("stage: sales/new\nrules: [{ id: mail, type: send_email, settings: { body: 'Pay {{deal.close_date}}' } }]")
    await office.hear(created())
    assert await office.state("mail") == ("blocked", "unresolved")
    await office.said()
    await verb(office, "mail", "continuations")
    (mail,) = await office.said()
    assert mail.body["body_text"] == "Pay "


async def test_a_visit_is_stopped_as_a_whole(office: Office) -> None:
    await waiting(office)
    answer = await office.http.post(f"/v1/visits/{visit(2)}/stops", json={})
    assert [run["state"] for run in answer.json()["runs"]] == ["cancelled"]
    assert [m.name for m in await office.said()] == ["CancelTimer", "RunCancelled"]


async def test_messages_do_what_people_do(office: Office) -> None:
    await waiting(office)
    run = (await office.runs())["renewal"]
    element = common.GivenElement(element_type="deal", element_id=DEAL)
    await office.hear(automation.CancelRun(request_id=id_of("r1"), element=element, run_id=run["id"], reason="no longer wanted"))
    assert [m.name for m in await office.said()] == ["CancelTimer", "RunCancelled"]
    await office.hear(
        automation.RetryRun(request_id=id_of("r2"), element=element, run_id=run["id"], retry_from="step", version="current"),
        automation.CancelRun(request_id=id_of("r3"), element=element, run_id=id_of("no run"), reason="x"),
        automation.StopStageRules(request_id=id_of("r4"), element=element),
    )
    assert [m.body["code"] for m in await office.said("CommandRejected")] == ["not_failed", "not_found"]


async def test_a_verb_on_an_unknown_run_is_not_found(office: Office) -> None:
    answer = await office.http.post(f"/v1/runs/{id_of('none')}/cancellations", json={})
    assert answer.status_code == 404


# ------------------------------------------------------------------------------------------------ lists


async def test_runs_are_listed_page_by_page(office: Office) -> None:
    rules = "\n".join(f"  - {{ id: r{n}, type: notify, settings: {{ text: Hello }} }}" for n in range(7))
    await office.publish(f"stage: sales/new\nrules:\n{rules}")
    await office.hear(created(), created(id=id_of("other")))
    seen: list[str] = []
    parameters: dict[str, Any] = {"limit": 4}
    while True:
        page = (await office.http.get("/v1/runs", params=parameters)).json()
        seen += [f"{item['element_id']}/{item['rule_key']}" for item in page["items"]]
        if page["next_cursor"] is None:
            break
        parameters["cursor"] = page["next_cursor"]
    assert len(seen) == len(set(seen)) == 14
    counted = await office.http.get("/v1/runs", params={"element_id": DEAL, "include": "total", "limit": 1})
    assert counted.json()["total"] == 7


async def test_filters_of_runs(office: Office) -> None:
    await waiting(office)

    async def found(**filters: Any) -> int:
        answer: httpx.Response = await office.http.get("/v1/runs", params=filters)
        assert answer.status_code == 200, answer.text
        return len(answer.json()["items"])

    rule = await office.rule_id("renewal")
    assert await found(rule_id=rule, state="waiting,running") == 1
    assert await found(state="succeeded") == 0
    assert await found(stage_id=stage("sales/won"), pipeline_id=id_of("sales"), rule_version=1) == 1
    assert await found(stuck="true") == 0
    assert (await office.http.get("/v1/runs", params={"colour": "red"})).status_code == 400


async def test_a_step_without_an_answer_is_stuck_after_five_minutes(office: Office) -> None:
    await office.publish(LINK)
    await office.hear(created())
    assert (await office.runs())["link"]["stuck"] is False
    office.house.now += timedelta(minutes=6)
    assert (await office.runs())["link"]["stuck"] is True
    assert len((await office.http.get("/v1/runs", params={"stuck": "true"})).json()["items"]) == 1


async def test_the_horizon_is_in_order_of_time(office: Office) -> None:
    await office.publish("""
stage: sales/new
rules:
  - { id: late, type: notify, timing: { after: arrival, offset: 10d }, settings: { text: Hello } }
  - { id: below, type: notify, execution: after_previous, settings: { text: Hello } }
  - { id: soon, type: notify, timing: { after: arrival, offset: 1d }, settings: { text: Hello } }
""")
    await office.hear(created())
    for timer in await office.said("SetTimer"):
        days = timer.body["when"]["offset"]["days"]
        await office.hear(
            scheduler.TimerSet(
                origin=origin(),
                timer_id=timer.body["timer_id"],
                about=DEAL,
                owner="automation",
                due_at=at(NOW + timedelta(days=days)),
                local="",
                zone="Europe/Berlin",
                reasoning=(),
            )
        )
    items = (await office.http.get("/v1/horizon")).json()["items"]
    assert [(run["rule_key"], run["waiting_for"]) for run in items] == [("soon", "timer"), ("late", "timer"), ("below", "predecessor")]
    window = {"from": at(NOW), "to": at(NOW + timedelta(days=2))}
    assert [run["rule_key"] for run in (await office.http.get("/v1/horizon", params=window)).json()["items"]] == ["soon"]
    by_timer = await office.http.get("/v1/horizon", params={"waiting_for": "predecessor"})
    assert [run["rule_key"] for run in by_timer.json()["items"]] == ["below"]


async def test_the_panel_of_an_element_has_a_sign_for_every_rule(office: Office) -> None:
    await office.publish("""
stage: sales/new
rules:
  - { id: no, type: notify, condition: { any: [] }, settings: { text: Hello } }
  - { id: link, type: create_payment_link }
  - { id: below, type: notify, execution: after_previous, settings: { text: Hello } }
""")
    await office.hear(created())
    await refused(office, "nothing_to_pay")
    answer = await office.http.get(f"/v1/panels/deal/{DEAL}")
    (shown,) = answer.json()["stages"]
    assert [(r["rule_key"], r["sign"], r["reason"]) for r in shown["rules"]] == [
        ("no", "not_fired", "condition_false"),
        ("link", "failed", "nothing_to_pay"),
        ("below", "blocked", "predecessor"),
    ]
    assert [r["rule_name"] for r in shown["rules"]] == ["Add notification", "Create payment link", "Add notification"]


async def test_a_visit_is_shown_as_it_was_at_every_version(office: Office) -> None:
    await office.publish(LINK)
    await office.hear(created())
    await refused(office, "nothing_to_pay")
    first = (await office.http.get(f"/v1/visits/{visit(1)}", params={"version": 1})).json()
    now = (await office.http.get(f"/v1/visits/{visit(1)}")).json()
    assert (first["runs"][0]["state"], now["runs"][0]["state"]) == ("due", "failed")
    assert [v["id"] for v in (await office.http.get("/v1/visits", params={"element_id": DEAL})).json()["items"]] == [visit(1)]


# ------------------------------------------------------------------------------------------------ why (capability 1)


async def why(office: Office, key: str) -> dict[str, Any]:
    parameters = {"element_id": DEAL, "rule_id": await office.rule_id(key)}
    shown: dict[str, Any] = (await office.http.get("/v1/explanations", params=parameters)).json()
    return shown


async def test_why_it_ran_and_why_it_waits(office: Office) -> None:
    await office.publish(RENEWAL + "---\n" + LINK)
    await office.hear(created(), moved("sales/won", 2))
    assert (await why(office, "link"))["verdict"] == "ran"
    assert (await why(office, "renewal"))["verdict"] == "waiting"
    await office.hear(moved("sales/approval", 3, before="sales/won"))
    assert (await why(office, "renewal"))["verdict"] == "stage_left"


async def test_why_it_did_not_run(office: Office) -> None:
    await office.publish("""
stage: sales/new
rules: [{ id: rich, type: notify, condition: { field: deal.amount, op: gt, value: 500 }, settings: { text: Hello } }]
---
stage: sales/won
rules: [{ id: never, type: notify, settings: { text: Hello } }]
""")
    rule = await office.rule_id("rich")
    await office.hear(created(), created(id=id_of("loop"), chain=(rule,)))
    shown = await why(office, "rich")
    assert shown["verdict"] == "condition_false" and shown["condition"]["children"][0]["actual"] == "100.00"
    assert (await why(office, "never"))["verdict"] == "not_in_stage"
    looped = await office.http.get("/v1/explanations", params={"element_id": id_of("loop"), "rule_id": rule})
    assert (looped.json()["verdict"], looped.json()["guard"]) == ("loop_blocked", "loop")


async def test_why_a_rule_that_came_later_did_not_run(office: Office) -> None:
    await office.hear(created())
    await office.publish(LINK)
    assert (await why(office, "link"))["verdict"] == "rule_added_later"


async def test_an_unknown_deal_waits_for_its_creation(office: Office) -> None:
    await office.publish(LINK)
    with pytest.raises(AssertionError, match="not known"):
        await office.hear(moved("sales/won", 2))
