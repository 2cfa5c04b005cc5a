"""Calendars, and what is computed anew when they change."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.contracts import deals, scheduler
from shared.contracts.common import Offset, When
from tests.service.house import House, at, employee, origin
from tests.service.scheduler.test_timers import set_timer

ANNA = str(UUID(int=1))
EVERYTHING = ("calendars:write", "activities:read", "timers:read", "timers:write")
NINE_TO_SIX = [{"opens": "09:00", "closes": "18:00"}]
WEEKLY = dict.fromkeys(("mon", "tue", "wed", "thu", "fri"), NINE_TO_SIX)
COMPANY = {"zone": "Europe/Berlin", "weekly": WEEKLY, "holiday_region": "DE-BY"}
FIRST = {"If-Match": "*"}


@pytest.fixture
async def staffed(house: House) -> House:
    await house.hear(house.record(employee(ANNA, "Anna"), subject=f"employee/{ANNA}"))
    return house


async def put(house: House, path: str, body: dict[str, Any], **headers: str) -> Any:
    async with house.client(await house.key(*EVERYTHING)) as client:
        answer = await client.put(path, json=body, headers=FIRST | headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def post(house: House, path: str, body: dict[str, Any] | None = None) -> Any:
    async with house.client(await house.key(*EVERYTHING)) as client:
        answer = await client.post(path, json=body)
    assert answer.status_code in (200, 201), answer.text
    return answer.json()


def hers(house: House, **own: Any) -> scheduler.SetTimer:
    when = When(mode="after", anchor_instant=at(house.now), offset=Offset(hours=1), working_hours="responsible", responsible_id=ANNA)
    return set_timer(house, when=when, **own)


async def test_a_company_calendar_holds_the_holidays_of_its_region(staffed: House) -> None:
    shown = await put(staffed, "/v1/calendars/company", COMPANY)
    assert {"date": "2026-11-01", "name": "Allerheiligen"} in shown["holidays"]
    said = await staffed.one("CalendarChanged")
    assert (said["calendar"], said["zone"], said["weekly"]["sat"]) == ("company", "Europe/Berlin", [])
    assert (await staffed.said())[-1].key == "company"


async def test_calendars_move_what_is_armed_already(staffed: House) -> None:
    """Friday 17:30 plus one hour: at once without a calendar, on Monday with one, and on Tuesday after a new holiday."""
    staffed.now += timedelta(days=4, hours=8, minutes=30)
    when = When(mode="after", anchor_instant=at(staffed.now), offset=Offset(hours=1), working_hours="company")
    await staffed.hear(set_timer(staffed, when=when))
    assert (await staffed.one("TimerSet"))["due_at"] == "2026-03-06T17:30:00.000Z"

    await put(staffed, "/v1/calendars/company", COMPANY)
    await staffed.tick()
    assert (await staffed.one("TimerRearmed"))["due_at"] == "2026-03-09T08:00:00.000Z"

    await post(staffed, "/v1/calendars/company/holidays", {"date": "2026-03-09", "name": "Move"})
    await staffed.tick()
    assert (await staffed.said("TimerRearmed"))[-1].body["due_at"] == "2026-03-10T08:00:00.000Z"


async def test_a_change_that_moves_nothing_is_said_to_nobody(staffed: House) -> None:
    await staffed.hear(set_timer(staffed))
    await put(staffed, "/v1/calendars/company", COMPANY)
    await staffed.tick()
    assert not await staffed.said("TimerRearmed")
    (row,) = await staffed.rows("select company_revision from timers_v1")
    assert row["company_revision"] == 1


async def test_many_timers_are_computed_anew_in_chunks(staffed: House) -> None:
    when = When(mode="at", anchor_instant="2026-03-07T12:00:00.000Z", working_hours="company")
    await staffed.hear(*(set_timer(staffed, when=when) for _ in range(450)))
    await put(staffed, "/v1/calendars/company", COMPANY)
    await staffed.tick()
    assert len(await staffed.said("TimerRearmed")) == 450


async def test_who_has_clocked_out_is_waited_for_and_who_clocks_in_is_not(staffed: House) -> None:
    await put(staffed, "/v1/calendars/company", COMPANY)
    await put(staffed, f"/v1/calendars/{ANNA}", {"time_tracking": True})
    await post(staffed, f"/v1/calendars/{ANNA}/clock-events", {"clock": "out"})
    await staffed.hear(hers(staffed))
    await staffed.tick(timedelta(hours=1))
    waits = await staffed.one("TimerRearmed")
    assert (waits["waiting_for"], waits["due_at"]) == ("responsible_hours", "2026-03-03T08:00:00.000Z")
    assert not await staffed.said("TimerFired")

    await post(staffed, f"/v1/calendars/{ANNA}/clock-events", {"clock": "in"})
    await staffed.tick()
    assert (await staffed.one("TimerFired"))["fired_at"] == at(staffed.now)


async def test_after_a_fortnight_of_absence_somebody_is_told_once(staffed: House) -> None:
    absence = {"starts_at": at(staffed.now), "ends_at": at(staffed.now + timedelta(days=40))}
    await post(staffed, f"/v1/calendars/{ANNA}/absences", absence)
    await staffed.hear(hers(staffed))
    for _ in range(20):
        await staffed.tick(timedelta(days=1))
    escalated = await staffed.one("TimerEscalated")
    assert (escalated["responsible_id"], escalated["waiting_for"]) == (ANNA, "responsible_hours")
    await staffed.tick(timedelta(days=21))
    assert (await staffed.one("TimerFired"))["lateness_ms"] >= 0


async def test_a_calendar_moves_with_its_employee(staffed: House) -> None:
    await put(staffed, f"/v1/calendars/{ANNA}", {"weekly": WEEKLY})
    await staffed.hear(hers(staffed))
    moved = deals.EmployeeChanged(**(employee(ANNA, "Anna", zone="America/New_York").model_dump() | {"origin": origin()}))
    await staffed.hear(staffed.record(moved, subject=f"employee/{ANNA}"))
    await staffed.tick()
    assert (await staffed.one("TimerRearmed"))["due_at"] == "2026-03-02T14:00:00.000Z"


async def test_operators_fire_postpone_and_cancel(staffed: House) -> None:
    first, second, third = set_timer(staffed), set_timer(staffed), set_timer(staffed)
    await staffed.hear(first, second, third)
    key = await staffed.key(*EVERYTHING, actor=f"user:{ANNA}")
    async with staffed.client(key) as client:
        fired = await client.post(f"/v1/timers/{first.timer_id}/firings")
        assert fired.json()["state"] == "fired"
        later = {"to": "2026-03-05T10:00:00+01:00"}
        assert (await client.post(f"/v1/timers/{second.timer_id}/postponements", json=later)).json()["due_at"] == "2026-03-05T09:00:00.000Z"
        assert (await client.post(f"/v1/timers/{third.timer_id}/cancellations", json={"reason": "not needed"})).status_code == 200
        over = await client.post(f"/v1/timers/{third.timer_id}/firings")
        assert (over.status_code, over.json()["code"]) == (409, "timer_over")
        assert (await client.post(f"/v1/timers/{uuid4()}/firings")).status_code == 404

        shown = await client.get(f"/v1/timers/{second.timer_id}")
        assert (shown.json()["state"], shown.headers["etag"]) == ("set", '"2"')
        assert (await client.get(f"/v1/timers/{second.timer_id}", headers={"If-None-Match": '"2"'})).status_code == 304
        listed = await client.get("/v1/timers?state=set,fired")
        assert [item["id"] for item in listed.json()["items"]] == [first.timer_id, second.timer_id]
        assert listed.json()["items"][0]["reasoning"]
        history = await client.get(f"/v1/timers/{second.timer_id}/events")
        assert [event["type"] for event in history.json()["items"]] == ["TimerSet", "TimerRearmed"]
    assert (await staffed.one("TimerFired"))["by"] == ANNA
    assert (await staffed.one("TimerCancelled"))["by"] == ANNA


async def test_how_late_timers_were(staffed: House) -> None:
    await staffed.hear(*(set_timer(staffed) for _ in range(3)))
    await staffed.tick(timedelta(hours=1, seconds=2))
    await staffed.tick(timedelta(seconds=1))
    async with staffed.client(await staffed.key(*EVERYTHING)) as client:
        (hour,) = (await client.get("/v1/lateness?from=2026-03-02T00:00:00Z")).json()["items"]
        assert (await client.get("/v1/lateness")).status_code == 422
    assert (hour["timers"], hour["p50_ms"], hour["max_ms"]) == (3, 2000, 2000)


async def test_a_preview_explains_and_writes_nothing(staffed: House) -> None:
    await put(staffed, "/v1/calendars/company", COMPANY)
    before = len(await staffed.rows("select id from events"))
    shown = await post(
        staffed,
        "/v1/time-previews",
        {"mode": "before", "anchor_date": "2026-04-07", "offset": {"days": 2}, "working_hours": "company", "repeat": "0 9 * * mon"},
    )
    assert (shown["due_at"], shown["local"]) == ("2026-04-01T07:00:00.000Z", "2026-04-01T09:00:00")
    assert len(shown["occurrences"]) == 20
    assert any("working days before" in sentence for sentence in shown["reasoning"])
    assert len(await staffed.rows("select id from events")) == before


@pytest.mark.parametrize(
    ("path", "body", "code"),
    [
        ("/v1/calendars/company", COMPANY | {"zone": "Europe/Atlantis"}, "validation_failed"),
        ("/v1/calendars/company", COMPANY | {"weekly": {"mon": [{"opens": "18:00", "closes": "09:00"}]}}, "bad_interval"),
        ("/v1/calendars/company", COMPANY | {"weekly": {"mon": [*NINE_TO_SIX, *NINE_TO_SIX]}}, "overlapping_hours"),
        ("/v1/calendars/company", COMPANY | {"weekly": {"funday": NINE_TO_SIX}}, "validation_failed"),
        ("/v1/calendars/company", COMPANY | {"holiday_region": "XX"}, "unknown_holiday_region"),
        (f"/v1/calendars/{UUID(int=99)}", {}, "unknown_reference"),
    ],
)
async def test_bad_calendars_are_named(staffed: House, path: str, body: dict[str, Any], code: str) -> None:
    async with staffed.client(await staffed.key(*EVERYTHING)) as client:
        answer = await client.put(path, json=body, headers=FIRST)
    assert (answer.status_code, answer.json()["code"]) == (422, code), answer.text


async def test_a_calendar_is_put_over_a_known_version(staffed: House) -> None:
    async with staffed.client(await staffed.key(*EVERYTHING)) as client:
        assert (await client.put("/v1/calendars/company", json=COMPANY)).status_code == 428
        assert (await client.put("/v1/calendars/company", json=COMPANY, headers=FIRST)).headers["etag"] == '"1"'
        later = COMPANY | {"zone": "Asia/Tokyo"}
        assert (await client.put("/v1/calendars/company", json=later, headers={"If-Match": '"7"'})).status_code == 412
        assert (await client.put("/v1/calendars/company", json=later, headers={"If-Match": '"1"'})).json()["zone"] == "Asia/Tokyo"


async def test_rooms_have_codes_of_their_own_and_are_found_by_when_they_are_free(staffed: House) -> None:
    async with staffed.client(await staffed.key(*EVERYTHING, "activities:write")) as client:
        blue = await client.post("/v1/rooms", json={"code": "blue", "name": "Blue", "capacity": 8})
        red = await client.post("/v1/rooms", json={"code": "red", "name": "Red", "capacity": 4})
        taken = await client.post("/v1/rooms", json={"code": "blue", "name": "Another"})
        assert (taken.status_code, taken.json()["code"]) == (409, "code_taken")
        deadline = {"mode": "at", "anchor_instant": "2026-03-04T09:00:00Z"}
        new = {"name": "Visit", "deadline": deadline, "responsible_id": ANNA, "room_id": blue.json()["id"]}
        assert (await client.post("/v1/activities", json=new)).status_code == 201

        free = await client.get("/v1/rooms?free_from=2026-03-04T09:30:00Z&free_to=2026-03-04T10:30:00Z")
        assert [room["code"] for room in free.json()["items"]] == ["red"]
        free = await client.get("/v1/rooms?free_from=2026-03-04T10:00:00Z&free_to=2026-03-04T11:00:00Z&capacity_from=5")
        assert [room["code"] for room in free.json()["items"]] == ["blue"]
        span = "from=2026-03-04T00:00:00Z&to=2026-03-05T00:00:00Z"
        bookings = await client.get(f"{blue.headers['location']}/bookings?{span}")
        assert [b["state"] for b in bookings.json()["items"]] == ["booked"]

        changed = await client.patch(red.headers["location"], json={"name": "Crimson"}, headers={"If-Match": '"1"'})
        assert (changed.json()["name"], changed.json()["capacity"]) == ("Crimson", 4)
        assert (await client.delete(red.headers["location"], headers={"If-Match": '"2"'})).json()["state"] == "retired"
        assert (await client.post("/v1/rooms", json={"code": "red", "name": "Red again"})).status_code == 201
