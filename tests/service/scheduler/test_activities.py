"""Activities as automation and people plan them: zones, rooms, the end of a visit, reminders (scenario 3.8)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest

from shared.contracts import deals, scheduler
from shared.contracts.common import GivenElement, Money, Offset, When
from tests.service.house import House, at, employee, origin

HOUR = timedelta(hours=1)
ANNA, CLARA, YUKI, PETRA, DEAL, PIPELINE, STAGE, ROOM = (str(UUID(int=n)) for n in range(1, 9))


def visit(n: int, element: str = DEAL) -> str:
    return str(uuid5(UUID(element), f"visit/{n}"))


def plan(house: House, **own: Any) -> scheduler.PlanActivity:
    id = own.pop("activity_id", None) or str(uuid4())
    tomorrow = When(mode="after", anchor_instant=at(house.now), offset=Offset(days=1), local_time="14:00")
    fields: dict[str, Any] = {
        "element": GivenElement(element_type="deal", element_id=DEAL),
        "visit_id": visit(2),
        "name": "Call customer",
        "description": "Contract details with Petra Muster",
        "deadline": tomorrow,
        "executed_at": at(house.now),
        "responsible_id": ANNA,
        "colour": "yellow",
        "calendar": True,
        "contact_ids": (PETRA,),
        "invitee_ids": (CLARA,),
        "on_room_conflict": "mark",
        "link": "https://example.org/c/1",
        "reminders": (15,),
        "auto_complete": True,
    }
    return scheduler.PlanActivity(request_id=id, activity_id=id, origin=origin(), **(fields | own))


def stage_changed(house: House, leaves: int = 2, **own: Any) -> deals.StageChanged:
    return deals.StageChanged(
        origin=own.get("origin") or origin(kind="person"),
        element_type="deal",
        element_id=DEAL,
        from_pipeline_id=PIPELINE,
        from_stage_id=STAGE,
        from_visit_id=visit(leaves),
        pipeline_id=PIPELINE,
        stage_id=STAGE,
        stage_kind="process",
        visit_id=visit(leaves + 1),
        visit_number=leaves + 1,
        arrived_at=at(house.now),
        automation="on",
        reason="person",
        amount=Money(amount="100.00", currency="EUR"),
    )


@pytest.fixture
async def staffed(house: House) -> House:
    await house.hear(
        house.record(employee(ANNA, "Anna"), subject=f"employee/{ANNA}"),
        house.record(employee(CLARA, "Clara"), subject=f"employee/{CLARA}"),
        house.record(employee(YUKI, "Yuki", zone="Asia/Tokyo"), subject=f"employee/{YUKI}"),
    )
    return house


async def room(house: House) -> str:
    async with house.client(await house.key("calendars:write")) as client:
        answer = await client.post("/v1/rooms", json={"id": ROOM, "code": "blue", "name": "Blue room", "capacity": 8})
    assert answer.status_code == 201, answer.text
    return ROOM


async def test_planned_for_tomorrow_in_the_zone_of_the_assignee(staffed: House) -> None:
    command = plan(staffed)
    await staffed.hear(command)
    said = await staffed.one("ActivityPlanned")
    assert (said["starts_at"], said["local"], said["zone"]) == ("2026-03-03T13:00:00.000Z", "2026-03-03T14:00:00", "Europe/Berlin")
    assert (said["request_id"], said["ical_sequence"], said["room_state"]) == (command.request_id, 0, "none")
    assert said["ends_at"] == "2026-03-03T14:00:00.000Z"


async def test_in_tokyo_tomorrow_begins_earlier(staffed: House) -> None:
    staffed.now = datetime(2026, 3, 2, 22, 30, tzinfo=UTC)
    await staffed.hear(plan(staffed, responsible_id=YUKI))
    assert (await staffed.one("ActivityPlanned"))["starts_at"] == "2026-03-04T05:00:00.000Z"


async def test_an_assignee_nobody_knows_yet_lives_in_the_fallback_zone_else_the_tenant_s(staffed: House) -> None:
    nobody = str(uuid4())
    await staffed.hear(plan(staffed, responsible_id=nobody, fallback_zone="America/New_York"), plan(staffed, responsible_id=nobody))
    zones = [message.body["zone"] for message in await staffed.said("ActivityPlanned")]
    assert zones == ["America/New_York", "Europe/Berlin"]


@pytest.mark.parametrize(
    ("own", "code"),
    [
        ({"deadline": When(mode="after")}, "deadline_missing"),
        ({"colour": "pink"}, "unknown_colour"),
        ({"room_id": ROOM}, "room_unknown"),
        ({"reminders": (-5,)}, "validation_failed"),
    ],
)
async def test_what_cannot_be_planned_is_refused_with_a_reason(staffed: House, own: dict[str, Any], code: str) -> None:
    command = plan(staffed, **own)
    await staffed.hear(command)
    refused = await staffed.one("CommandRejected")
    assert (refused["code"], refused["request_id"], refused["element_id"]) == (code, command.request_id, DEAL)


async def test_leaving_the_stage_completes_what_ends_with_it(staffed: House) -> None:
    await staffed.hear(plan(staffed), plan(staffed, auto_complete=False))
    await staffed.forget()
    await staffed.hear(stage_changed(staffed))
    done = await staffed.one("ActivityCompleted")
    assert (done["by"], done["calendar_entry"], done["ical_sequence"]) == ("automation", "withdrawn", 1)
    states = await staffed.rows("select status, auto_complete from activities_v1 order by auto_complete")
    assert [row["status"] for row in states] == ["planned", "completed"]


async def test_what_has_taken_place_stays_in_the_calendar(staffed: House) -> None:
    await staffed.hear(plan(staffed))
    staffed.now += timedelta(days=2)
    await staffed.hear(stage_changed(staffed))
    assert (await staffed.one("ActivityCompleted"))["calendar_entry"] == "kept"


@pytest.mark.parametrize("size", [1, 500])
async def test_what_is_planned_when_the_visit_is_over_already_is_completed_too(staffed: House, size: int) -> None:
    await staffed.hear(stage_changed(staffed), plan(staffed), size=size)
    await staffed.tick()
    assert [message.name for message in await staffed.said()] == ["ActivityPlanned", "ActivityCompleted"]


@pytest.mark.parametrize("size", [1, 500])
async def test_planned_and_left_in_one_breath(staffed: House, size: int) -> None:
    await staffed.hear(plan(staffed), stage_changed(staffed), size=size)
    await staffed.tick()
    assert [message.name for message in await staffed.said()] == ["ActivityPlanned", "ActivityCompleted"]


async def test_coming_back_reopens_nothing(staffed: House) -> None:
    await staffed.hear(plan(staffed), stage_changed(staffed), size=1)
    await staffed.hear(plan(staffed, visit_id=visit(4)))
    await staffed.tick()
    states = await staffed.rows("select status from activities_v1 order by status")
    assert [row["status"] for row in states] == ["completed", "planned"]


@pytest.mark.parametrize("order", ["planned first", "deleted first"])
async def test_with_the_deal_its_activities_are_off(staffed: House, order: str) -> None:
    deleted = deals.DealDeleted(origin=origin(kind="person"), deal_id=DEAL, visit_id=visit(2))
    messages = [plan(staffed, auto_complete=False), deleted]
    await staffed.hear(*(messages if order == "planned first" else reversed(messages)), size=1)
    await staffed.tick()
    off = await staffed.one("ActivityCancelled")
    assert (off["reason"], off["invitee_ids"]) == ("element_deleted", [CLARA])


async def test_a_reminder_comes_once_at_its_time(staffed: House) -> None:
    await staffed.hear(plan(staffed, reminders=(15, 60)))
    await staffed.forget()
    await staffed.tick(timedelta(hours=28) - timedelta(seconds=1))
    assert not await staffed.said()
    await staffed.tick(timedelta(seconds=1))
    await staffed.tick(timedelta(minutes=45))
    due = [message.body for message in await staffed.said("ActivityReminderDue")]
    assert [(reminder["minutes_before"], reminder["responsible_id"]) for reminder in due] == [(60, ANNA), (15, ANNA)]


# rooms


async def test_an_occupied_room_is_marked_and_its_organiser_told(staffed: House) -> None:
    await room(staffed)
    first, second = plan(staffed, room_id=ROOM), plan(staffed, room_id=ROOM)
    await staffed.hear(first, second)
    assert [m.body["room_state"] for m in await staffed.said("ActivityPlanned")] == ["booked", "conflict"]
    conflict = await staffed.one("RoomConflict")
    assert (conflict["activity_id"], conflict["organiser_id"]) == (second.activity_id, ANNA)
    assert conflict["conflicts_with"] == [first.activity_id]


async def test_strictly_an_occupied_room_plans_nothing(staffed: House) -> None:
    await room(staffed)
    await staffed.hear(plan(staffed, room_id=ROOM), plan(staffed, room_id=ROOM, on_room_conflict="fail"))
    assert (await staffed.one("CommandRejected"))["code"] == "room_booked"
    assert len(await staffed.rows("select id from activities_v1")) == 1


@pytest.mark.parametrize("size", [1, 500])
async def test_what_is_off_frees_its_room(staffed: House, size: int) -> None:
    await room(staffed)
    command = plan(staffed, room_id=ROOM)
    cancel = scheduler.CancelActivity(
        request_id=str(uuid4()), activity_id=command.activity_id, element=command.element, reason="undone", if_untouched=True
    )
    await staffed.hear(command, cancel, plan(staffed, room_id=ROOM, on_room_conflict="fail"), size=size)
    names = [message.name for message in await staffed.said("ActivityCancelled", "RoomReleased", "RoomBooked", "CommandRejected")]
    assert sorted(names) == ["ActivityCancelled", "RoomBooked", "RoomBooked", "RoomReleased"]


async def test_moving_it_moves_its_booking(staffed: House) -> None:
    await room(staffed)
    command = plan(staffed, room_id=ROOM)
    await staffed.hear(command)
    later = When(mode="after", anchor_instant=at(staffed.now), offset=Offset(days=1), local_time="15:00")
    move = scheduler.RescheduleActivity(
        request_id=str(uuid4()), activity_id=command.activity_id, element=command.element, deadline=later, executed_at=at(staffed.now)
    )
    await staffed.hear(move)
    moved = await staffed.one("ActivityRescheduled")
    assert (moved["starts_at"], moved["ical_sequence"], moved["request_id"]) == ("2026-03-03T14:00:00.000Z", 1, move.request_id)
    assert [b.body["starts_at"] for b in await staffed.said("RoomBooked")] == ["2026-03-03T13:00:00.000Z", "2026-03-03T14:00:00.000Z"]


# over HTTP

EVERYTHING = ("activities:read", "activities:write", "calendars:write", "timers:read")
AT_TEN = {"mode": "at", "anchor_date": "2026-03-04", "local_time": "10:00"}


async def test_a_person_plans_changes_moves_and_completes(staffed: House) -> None:
    await room(staffed)
    async with staffed.client(await staffed.key(*EVERYTHING, actor=f"user:{ANNA}")) as client:
        new = {"name": "Visit", "deadline": AT_TEN, "responsible_id": ANNA, "calendar": True, "invitee_ids": [CLARA], "room_id": ROOM}
        made = await client.post("/v1/activities", json=new)
        assert (made.status_code, made.headers["etag"]) == (201, '"1"'), made.text
        where = made.headers["location"]
        assert made.json()["starts_at"] == "2026-03-04T09:00:00.000Z"
        assert made.json()["room_state"] == "booked"

        renamed = await client.patch(where, json={"name": "Visit at the site", "room_id": None}, headers={"If-Match": '"1"'})
        assert (renamed.status_code, renamed.json()["room_state"]) == (200, "none"), renamed.text
        stale = await client.patch(where, json={"name": "Another"}, headers={"If-Match": '"1"'})
        assert (stale.status_code, stale.json()["code"]) == (412, "version_conflict")

        moved = await client.post(f"{where}/reschedulings", json={"deadline": AT_TEN | {"local_time": "11:00"}})
        assert moved.json()["starts_at"] == "2026-03-04T10:00:00.000Z"
        given = await client.post(f"{where}/reassignments", json={"responsible_id": YUKI, "keep_local_time": True})
        assert (given.json()["local"], given.json()["zone"]) == ("2026-03-04T11:00:00", "Asia/Tokyo")

        done = await client.post(f"{where}/completions")
        assert (done.status_code, done.json()["state"]) == (200, "completed")
        again = await client.post(f"{where}/completions")
        assert (again.status_code, again.json()["code"]) == (409, "activity_over")
        first = await client.get(f"{where}?version=1")
        assert first.json()["name"] == "Visit"
    names = [m.name for m in await staffed.said() if m.name.startswith(("Activity", "RoomB", "RoomR"))]
    assert names == [
        "RoomBooked",
        "ActivityPlanned",
        "ActivityRescheduled",
        "RoomReleased",
        "ActivityRescheduled",
        "ActivityReassigned",
        "ActivityCompleted",
    ]


async def test_lists_and_calendars_show_what_stands(staffed: House) -> None:
    await staffed.hear(plan(staffed), plan(staffed, colour="red", responsible_id=YUKI, invitee_ids=(), calendar=False))
    async with staffed.client(await staffed.key(*EVERYTHING)) as client:
        absence = {"starts_at": "2026-03-03T08:00:00Z", "ends_at": "2026-03-04T08:00:00Z"}
        assert (await client.post(f"/v1/calendars/{CLARA}/absences", json=absence)).status_code == 201

        async def names(query: str) -> list[str]:
            answer = await client.get(f"/v1/activities?{query}")
            assert answer.status_code == 200, answer.text
            return [item["colour"] for item in answer.json()["items"]]

        assert sorted(await names(f"element_id={DEAL}")) == ["red", "yellow"]
        assert await names("colour=red,blue") == ["red"]
        assert await names(f"invitee_id={CLARA}") == ["yellow"]
        assert await names(f"contact_id={PETRA}&calendar=true") == ["yellow"]
        assert sorted(await names("q=customer call&state=planned&overdue=false")) == ["red", "yellow"]
        assert await names("starts_at_from=2026-03-03T14:00:00Z") == []
        assert (await client.get("/v1/activities?colours=red")).status_code == 400

        entries = await client.get(f"/v1/calendar-entries?employee_id={CLARA}&from=2026-03-03&to=2026-03-04")
        assert [(e["kind"], e.get("colour")) for e in entries.json()["items"]] == [("absence", None), ("activity", "yellow")]
        none = await client.get(f"/v1/calendar-entries?employee_id={YUKI}&from=2026-03-03&to=2026-03-04")
        assert none.json()["items"] == []
        long = await client.get(f"/v1/calendar-entries?employee_id={YUKI}&from=2026-03-03&to=2026-06-04")
        assert (long.status_code, long.json()["code"]) == (422, "bad_interval")


@pytest.mark.parametrize(
    ("own", "code", "pointer"),
    [
        ({"responsible_id": str(UUID(int=99))}, "unknown_reference", "/responsible_id"),
        ({"invitee_ids": [str(UUID(int=99))]}, "unknown_reference", "/invitee_ids"),
        ({"room_id": str(UUID(int=99))}, "unknown_reference", "/room_id"),
        ({"colour": "pink"}, "unknown_colour", "/colour"),
        ({"deadline": {"mode": "after"}}, "deadline_missing", "/deadline"),
        ({"deadline": {"mode": "at", "anchor_date": "2026-03-04"}}, "bad_when", "/local_time"),
        ({"link": "javascript:alert(1)"}, "validation_failed", "#/link"),
        ({"name": ""}, "validation_failed", "#/name"),
        ({"surprise": 1}, "validation_failed", "#/surprise"),
    ],
)
async def test_bad_input_is_named(staffed: House, own: dict[str, Any], code: str, pointer: str) -> None:
    async with staffed.client(await staffed.key(*EVERYTHING)) as client:
        answer = await client.post("/v1/activities", json={"name": "Visit", "deadline": AT_TEN, "responsible_id": ANNA} | own)
    assert answer.status_code in (409, 422), answer.text
    assert (answer.json()["code"], answer.json()["errors"][0]["pointer"]) == (code, pointer)


async def test_scopes_are_needed_and_other_tenants_are_not_there(staffed: House) -> None:
    await staffed.hear(plan(staffed))
    (row,) = await staffed.rows("select id from activities_v1")
    async with staffed.client() as anonymous, staffed.client(await staffed.key("timers:read")) as poor:
        assert (await anonymous.get(f"/v1/activities/{row['id']}")).status_code == 401
        assert (await poor.get(f"/v1/activities/{row['id']}")).status_code == 403
    mine, staffed.tenant = staffed.tenant, uuid4()
    key = await staffed.key(*EVERYTHING)
    staffed.tenant = mine
    async with staffed.client(key) as foreign:
        assert (await foreign.get(f"/v1/activities/{row['id']}")).status_code == 404
        assert (await foreign.post(f"/v1/activities/{row['id']}/completions")).status_code == 404
