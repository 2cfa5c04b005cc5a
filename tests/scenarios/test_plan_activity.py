"""Plan activity (scenarios.md 3.8)."""

from __future__ import annotations

from typing import Any

import pytest

from tests.scenarios.ground import Ground
from tests.scenarios.place import Mail
from tests.scenarios.rules import example

APPROVAL = "approval"


async def activities(ground: Ground, deal: str | None = None) -> list[Any]:
    return await ground.items("scheduler", "/v1/activities", element_id=deal or ground.cast["D"])


async def entries(ground: Ground, person: str = "anna") -> list[Any]:
    query = {"employee_id": ground.cast[person], "from": "2026-03-03", "to": "2026-03-04"}
    found = await ground.look("scheduler", "/v1/calendar-entries", **query)
    return list(found["items"])


async def invitations(ground: Ground, activity: str) -> list[tuple[str, int]]:
    """Method and sequence of the invitations to Clara, all with the UID of the activity; nobody else gets any."""
    sent = [mail for mail in await ground.mails("") if mail.calendar]
    assert {mail.to for mail in sent} <= {"Clara Dachs <clara@acme.test>"}
    assert all(activity in _line(mail, "UID") for mail in sent)
    return [(_line(mail, "METHOD"), int(_line(mail, "SEQUENCE"))) for mail in sent]


def _line(mail: Mail, name: str) -> str:
    """Of the calendar part; long lines go on after a blank."""
    lines = mail.calendar.replace("\r\n ", "").splitlines()
    return next(line.partition(":")[2] for line in lines if line.split(":")[0].split(";")[0] == name)


@pytest.mark.shows(
    *("S1", "S8", "S20", "S93", "S94", "S95", "S96", "S97", "S98", "S100", "S101", "S102", "S104", "S105", "S106", "S109", "S111", "S114"),
)
async def test_a_call_is_planned_and_stands_in_the_calendar(ground: Ground) -> None:
    await ground.apply(example("call"))

    await ground.move(APPROVAL)

    [activity] = await activities(ground)
    assert (activity["name"], activity["description"]) == ("Call customer", "Contract details with Petra Muster")
    assert (activity["starts_at"], activity["duration_minutes"]) == ("2026-03-03T13:00:00.000Z", 60)
    assert (activity["responsible_id"], activity["colour"], activity["calendar"]) == (ground.cast["anna"], "yellow", True)
    assert (activity["contact_ids"], activity["invitee_ids"]) == ([ground.cast["petra"]], [ground.cast["clara"]])
    assert activity["link"] == "https://example.org/c/1"
    [entry] = await entries(ground)
    assert (entry["id"], entry["colour"], entry["starts_at"]) == (activity["id"], "yellow", activity["starts_at"])
    assert "activity_planned" in [line["what"] for line in await ground.timeline()]
    assert await invitations(ground, activity["id"]) == [("REQUEST", 0)]

    moved = {"deadline": {"mode": "at", "anchor_instant": "2026-03-03T14:00:00Z"}}
    await ground.put("scheduler", f"/v1/activities/{activity['id']}/reschedulings", moved)
    await ground.settle()

    assert (await activities(ground))[0]["starts_at"] == "2026-03-03T14:00:00.000Z"
    assert await invitations(ground, activity["id"]) == [("REQUEST", 0), ("REQUEST", 1)]


@pytest.mark.shows("S112", "S106")
async def test_leaving_the_stage_completes_it(ground: Ground) -> None:
    await ground.apply(example("call"))
    await ground.move(APPROVAL)

    await ground.move("payment")

    [activity] = await activities(ground)
    assert activity["state"] == "completed"
    assert (await ground.one("scheduler.ActivityCompleted")).body["by"] == "automation"
    assert await entries(ground) == []
    assert [method for method, _ in await invitations(ground, activity["id"])] == ["REQUEST", "CANCEL"]

    await ground.move(APPROVAL)
    states = {each["id"]: each["state"] for each in await activities(ground)}
    assert states.pop(activity["id"]) == "completed" and list(states.values()) == ["planned"]


@pytest.mark.shows("S113")
async def test_with_the_option_off_a_person_completes_it(ground: Ground) -> None:
    await ground.apply(example("call", call={"settings": {"auto_complete_on_stage_change": False}}))
    await ground.move(APPROVAL)
    await ground.move("payment")
    [activity] = await activities(ground)
    assert activity["state"] == "planned"

    await ground.put("scheduler", f"/v1/activities/{activity['id']}/completions")
    await ground.settle()

    assert [each["state"] for each in await activities(ground)] == ["completed"]


@pytest.mark.shows("S98", "S99", "S100")
async def test_tomorrow_is_tomorrow_where_the_responsible_person_is(ground: Ground) -> None:
    body = {"code": "81", "name": "Kenji Sato", "email": "kenji@acme.test", "zone": "Asia/Tokyo"}
    ground.cast["kenji"] = (await ground.put("deals", "/v1/employees", body, by="ground"))["id"]
    await ground.apply(example("call"))
    await ground.advance(to="2026-03-02T22:30:00Z")

    deal = await ground.arrive(APPROVAL, responsible_id=ground.cast["kenji"])

    assert [each["starts_at"] for each in await activities(ground, deal)] == ["2026-03-04T05:00:00.000Z"]


@pytest.mark.shows("S103", "S108")
async def test_a_room_that_is_taken_is_marked_or_fails_the_run(ground: Ground) -> None:
    room = (await ground.put("scheduler", "/v1/rooms", {"code": "blue", "name": "Blue room"}))["id"]
    at = {"mode": "at", "anchor_instant": "2026-03-03T12:30:00Z"}
    taken = {"name": "Board", "deadline": at, "responsible_id": ground.cast["olaf"], "room_id": room}
    await ground.put("scheduler", "/v1/activities", taken)
    await ground.settle()
    await ground.apply(example("call", call={"settings": {"room": "blue"}}))

    await ground.move(APPROVAL)

    assert [each["room_state"] for each in await activities(ground)] == ["conflict"]
    assert any("room" in str(notice).lower() for notice in await ground.feed())

    await ground.apply(example("call", call={"settings": {"room": "blue", "on_room_conflict": "fail"}}))
    second = await ground.arrive(APPROVAL)
    assert await ground.state("call", second) == "failed(room_booked)"
    assert await activities(ground, second) == []


@pytest.mark.shows("S109")
async def test_a_link_without_value_is_left_out(ground: Ground) -> None:
    await ground.apply(example("call"))

    deal = await ground.arrive(APPROVAL, custom={})

    assert [each["link"] for each in await activities(ground, deal)] == [None]
    assert any("link" in note for note in (await ground.run("call", deal))["notes"])


@pytest.mark.shows("S93")
async def test_with_the_deal_the_activity_goes(ground: Ground) -> None:
    await ground.apply(example("call"))
    deal = await ground.arrive(APPROVAL)

    await ground.change("deals", f"/v1/deals/{deal}", None, method="DELETE")
    await ground.settle()

    [activity] = await activities(ground, deal)
    assert activity["state"] == "cancelled"
    assert [method for method, _ in await invitations(ground, activity["id"])] == ["REQUEST", "CANCEL"]
    assert await entries(ground) == []
