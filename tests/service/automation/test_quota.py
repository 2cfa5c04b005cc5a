"""More new runs than the tenant's quota: they wait visibly, begin in order, and none is lost (D68, D66)."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from typing import Any

from services.automation.domain.visit import timer_id
from tests.service.automation.conftest import NOW, Office, created, fired, id_of, moved, visit

TELL = """
stage: sales/new
rules:
  - id: tell
    type: notify
    settings: { text: "There is {{deal.title}}" }
"""
MANY = 1000


def deal(n: int) -> str:
    return id_of(f"deal/{n}")


async def arrive(office: Office, numbers: range, size: int = 400) -> list[dict[str, Any]]:
    """Deals arrive in a moment; what automation asked of others."""
    await office.hear(*(created("sales/new", deal(n), title=f"Roof {n}") for n in numbers), size=size)
    return [message.body for message in await office.said("Notify", "SetTimer")]


async def test_a_thousand_arrivals_in_one_second_all_run_fifty_in_each(office: Office) -> None:
    await office.publish(TELL)
    asked = await arrive(office, range(MANY))
    told = [body for body in asked if "text" in body]
    timers = [body for body in asked if "when" in body]
    assert (len(told), len(timers)) == (50, MANY - 50)
    assert [body["text"] for body in told] == [f"There is Roof {n}" for n in range(50)], "in order of arrival"
    begins = [datetime.fromisoformat(timer["when"]["anchor_instant"]) for timer in timers]
    assert begins == sorted(set(begins)), "one after the other"
    assert [timer["about"] for timer in timers] == [deal(n) for n in range(50, MANY)]
    assert set(Counter(begin.replace(microsecond=0) for begin in begins).values()) == {50}
    assert begins[-1] < NOW + timedelta(seconds=20)
    rule = await office.rule_id("tell")
    for start in range(50, MANY, 400):
        waiting = [(timer_id(visit(1, deal(n)), rule, "delay"), deal(n)) for n in range(start, min(start + 400, MANY))]
        await office.hear(*(fired(timer, about=about) for timer, about in waiting))
    assert [body["text"] for body in (m.body for m in await office.said("Notify"))] == [f"There is Roof {n}" for n in range(50, MANY)]
    runs = await office.house.rows("select runs::text like '%\"running\"%' as runs from visits_v2")
    assert len(runs) == MANY and all(row["runs"] for row in runs), "none is lost"


async def test_a_run_that_waits_its_turn_is_seen_in_the_horizon_and_explained(office: Office) -> None:
    await office.publish(TELL)
    await arrive(office, range(55))
    listed = (await office.http.get("/v1/horizon", params={"waiting_for": "quota"})).json()["items"]
    assert [run["element_id"] for run in listed] == [deal(n) for n in range(50, 55)]
    assert {(run["state"], run["waiting_for"]) for run in listed} == {("waiting", "quota")}
    asked = {"element_id": deal(52), "rule_id": await office.rule_id("tell")}
    why = (await office.http.get("/v1/explanations", params=asked)).json()
    assert why["verdict"] == "waiting"
    assert why["says"].startswith("The rule waits its turn, until 2 March 2026, 09:00")
    assert why["says_de"].startswith("Die Regel wartet bis 2. März 2026, 09:00 Uhr")
    now = await office.http.post(f"/v1/runs/{listed[0]['id']}/executions")
    assert now.json()["state"] == "running", "a person need not wait"


async def test_the_turns_of_one_batch_go_on_where_the_last_ended(office: Office) -> None:
    await office.publish(TELL)
    assert [len(await arrive(office, range(n, n + 30))) for n in (0, 30)] == [30, 30]
    listed = (await office.http.get("/v1/horizon")).json()["items"]
    assert [run["element_id"] for run in listed] == [deal(n) for n in range(50, 60)]
    office.house.now += timedelta(seconds=2)
    (told,) = await arrive(office, range(60, 61))
    assert "text" in told, "a second that nobody has taken is free"


async def test_another_tenants_rush_is_none_of_ours(office: Office) -> None:
    await office.publish(TELL)
    row = "insert into visits_v2 select gen_random_uuid(), 'x', 1, 'deal', 'x', 'x', 'x', 1, now(), 'open', null, false, 1, '[]', $1"
    await office.house.rows(row, NOW + timedelta(hours=1))
    assert "text" in (await arrive(office, range(1)))[0]


async def test_what_is_left_of_an_element_that_is_gone_gives_its_timer_back(office: Office) -> None:
    await office.publish(TELL)
    await arrive(office, range(51))
    await office.hear(moved("sales/delivery", 2, id=deal(50)))
    (dropped,) = await office.said("CancelTimer")
    assert (dropped.body["about"], dropped.body["reason"]) == (deal(50), "stage_left")
    assert await office.state("tell", deal(50)) == ("cancelled", "stage_left")
