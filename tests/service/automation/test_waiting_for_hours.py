"""A rule that keeps to the responsible person's hours: its limit goes along, and waiting longer is told and shown (D10)."""

from __future__ import annotations

from typing import Any

from shared.contracts import deals, scheduler
from tests.service.automation.conftest import BEN, DEAL, NOW, OLAF, Office, created, moved, visit
from tests.service.house import at, origin

CALL = """
stage: sales/new
rules:
  - id: call
    type: notify
    fallback_user: user:7
    timing: { after: arrival, offset: 1h, working_hours: responsible, wait_limit: 3d }
    settings: { text: Call }
"""


def said_of(timer: dict[str, Any], contract: Any, **own: Any) -> Any:
    known = {"origin": origin(kind="system", id=None), "timer_id": timer["timer_id"], "about": DEAL, "owner": "automation"}
    return contract(**known, **own)


def escalated(timer: dict[str, Any]) -> Any:
    since = {"waiting_for": "responsible_hours", "waiting_since": at(NOW), "responsible_id": timer["when"]["responsible_id"]}
    return said_of(timer, scheduler.TimerEscalated, **since)


async def waiting(office: Office) -> dict[str, Any]:
    """A run that the scheduler lets wait for Anna's hours; the timer as it was asked for."""
    await office.publish(CALL)
    await office.hear(created())
    (timer,) = await office.said("SetTimer")
    due = {"due_at": "2026-03-20T08:00:00.000Z", "local": "2026-03-20T09:00:00", "zone": "Europe/Berlin"}
    hours = {"waiting_for": "responsible_hours", "reasoning": ("outside Anna's hours",), "request_id": timer.body["request_id"]}
    await office.hear(said_of(timer.body, scheduler.TimerSet, **due, **hours))
    await office.said()
    return timer.body


async def test_who_stands_in_is_told_and_the_run_shows_it_and_waits_on(office: Office) -> None:
    timer = await waiting(office)
    assert timer["wait_limit"] == 3 * 86_400
    await office.hear(escalated(timer))
    (notify,) = await office.said()
    assert (notify.name, notify.body["employee_id"], notify.body["role"]) == ("Notify", BEN, None)
    assert notify.body["element"] == {"element_type": "deal", "element_id": DEAL}
    assert "2026-03-02" in notify.body["text"] and "Anna" in notify.body["text"]

    listed = (await office.runs())["call"]
    assert (listed["state"], listed["waiting_for"]) == ("waiting", "responsible_hours")
    run = (await office.http.get(f"/v1/runs/{listed['id']}")).json()
    assert run["escalated"] == {"at": at(NOW), "waiting_since": at(NOW), "employee_id": BEN, "role": None}
    explained = await office.http.get("/v1/explanations", params={"element_id": DEAL, "rule_id": await office.rule_id("call")})
    assert explained.json()["verdict"] == "waiting"
    assert any("waited too long" in line for line in explained.json()["time"])

    await office.hear(escalated(timer))
    assert await office.said() == []
    answer = await office.http.post(f"/v1/runs/{listed['id']}/executions", json={})
    assert answer.json()["state"] == "running"


async def test_the_end_of_the_stay_cancels_the_wait(office: Office) -> None:
    timer = await waiting(office)
    await office.hear(moved("sales/lost", 2))
    (cancelled,) = await office.said("CancelTimer")
    assert (cancelled.body["timer_id"], cancelled.body["reason"]) == (timer["timer_id"], "stage_left")
    await office.hear(escalated(timer))
    assert await office.said() == []
    (run,) = (await office.http.get(f"/v1/visits/{visit(1)}")).json()["runs"]
    assert (run["state"], run["reason"], run["escalated"]) == ("cancelled", "stage_left", None)


async def test_nobody_who_stands_in_is_left_and_the_operators_are_told(office: Office) -> None:
    timer = await waiting(office)
    gone = [office.record(deactivated(id), subject=f"employee/{id}") for id in (BEN, OLAF)]
    await office.house.hear(*gone)
    await office.said()
    await office.hear(escalated(timer))
    (notify,) = await office.said("Notify")
    assert (notify.body["employee_id"], notify.body["role"]) == (None, "operator")


def deactivated(employee_id: str) -> Any:
    return deals.EmployeeDeactivated(origin=origin(), employee_id=employee_id)
