"""What depends on a person, a stage or a pipeline, before it goes (D21, D59, D60)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.service.automation.conftest import ANNA, BEN, DEAL, OLAF, Office, created, id_of, moved, stage

RULES = """
stage: sales/won
rules:
  - { id: renewal, type: create_recurring_lead, timing: { after: arrival, offset: 180d }, settings: { title: Again } }
  - { id: install, type: copy_deal, settings: { pipeline: installation, responsible: "user:7" } }
---
stage: sales/payment-expected
triggers: [{ id: paid, type: invoice_paid, target_stage: sales/collect-goods }]
"""


async def impact(office: Office, **of: str) -> dict[str, Any]:
    answer = await office.http.get("/v1/impacts", params=of)
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def named(shown: dict[str, Any], what: str) -> list[tuple[str, bool, bool]]:
    return [(item["name"], item["own"], item["names_it"]) for item in shown[what]]


async def test_what_depends_on_a_person(office: Office) -> None:
    await office.publish(RULES)
    await office.hear(created(), moved("sales/won", 2))

    anna = await impact(office, employee_id=ANNA)
    assert (anna["rules"], anna["triggers"]) == ([], [])
    assert (anna["waiting"]["count"], [run["element_id"] for run in anna["waiting"]["runs"]]) == (1, [DEAL])

    ben = await impact(office, employee_id=BEN)
    assert named(ben, "rules") == [("Copy deal", False, True)]
    assert ben["waiting"] == {"count": 0, "runs": []}

    olaf = await impact(office, employee_id=OLAF)
    assert named(olaf, "rules") == [("Copy deal", True, False), ("Create recurring lead", True, False)]
    assert (named(olaf, "triggers"), olaf["waiting"]["count"]) == ([("Track invoice payment", True, False)], 1)


@pytest.mark.parametrize(
    ("of", "rules", "triggers", "waiting"),
    [
        ({"stage_id": stage("sales/won")}, ["Copy deal", "Create recurring lead"], [], 1),
        ({"stage_id": stage("sales/collect-goods")}, [], ["Track invoice payment"], 0),
        ({"pipeline_id": id_of("installation")}, ["Copy deal"], [], 0),
        ({"pipeline_id": id_of("sales")}, ["Copy deal", "Create recurring lead"], ["Track invoice payment"], 1),
    ],
)
async def test_what_depends_on_a_place(office: Office, of: dict[str, str], rules: list[str], triggers: list[str], waiting: int) -> None:
    await office.publish(RULES)
    await office.hear(created(), moved("sales/won", 2))
    shown = await impact(office, **of)
    assert [[item["name"] for item in shown[what]] for what in ("rules", "triggers")] == [rules, triggers]
    assert shown["waiting"]["count"] == waiting


@pytest.mark.parametrize("of", [{}, {"employee_id": ANNA, "stage_id": stage("sales/won")}])
async def test_exactly_one_is_asked_about(office: Office, of: dict[str, str]) -> None:
    answer = await office.http.get("/v1/impacts", params=of)
    assert (answer.status_code, answer.json()["errors"][0]["code"]) == (422, "exactly_one")


async def test_who_may_not_see_runs_sees_how_many_wait(office: Office) -> None:
    await office.publish(RULES)
    await office.hear(created(), moved("sales/won", 2))
    async with office.house.client(await office.house.key("rules:read")) as reader:
        shown = (await reader.get("/v1/impacts", params={"employee_id": ANNA})).json()
    assert shown["waiting"] == {"count": 1, "runs": []}
