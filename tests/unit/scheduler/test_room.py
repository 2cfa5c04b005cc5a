from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.scheduler.domain.origin import Origin
from services.scheduler.domain.room import (
    ROOM,
    AddRoom,
    Book,
    ChangeRoom,
    Release,
    RetireRoom,
    RoomAdded,
    RoomBooked,
    RoomChanged,
    RoomConflict,
    RoomReleased,
    RoomRetired,
)
from shared.testing.given import given

BY = Origin("person")
TEN = datetime(2026, 3, 3, 10, tzinfo=UTC)
NOW = TEN - timedelta(days=1)
HOUR = timedelta(hours=1)
ADDED = RoomAdded("blue", "Blue room", 8, "2nd floor", BY)


def book(activity: str, starts_at: datetime = TEN, *, strict: bool = False, at: datetime = NOW) -> Book:
    return Book(activity, starts_at, starts_at + HOUR, "anna", at, BY, strict)


def booked(activity: str, starts_at: datetime = TEN, at: datetime = NOW) -> RoomBooked:
    return RoomBooked(activity, starts_at, starts_at + HOUR, "anna", at, BY)


def conflict(activity: str, *others: str, starts_at: datetime = TEN) -> RoomConflict:
    return RoomConflict(activity, starts_at, starts_at + HOUR, "anna", others, NOW, BY)


def test_a_room_is_added_once() -> None:
    command = AddRoom("blue", "Blue room", 8, "2nd floor", BY)
    given(ROOM).when(command).then(ADDED)
    given(ROOM, ADDED).when(command).nothing_happens()
    given(ROOM, ADDED).when(AddRoom("red", "Red room", None, None, BY)).refused("id_taken")


def test_a_free_room_is_booked() -> None:
    state = given(ROOM, ADDED).when(book("call")).then(booked("call"))
    assert state.state_for("call") == "booked"
    assert state.state_for("another") == "none"


def test_an_occupied_room_is_marked() -> None:
    state = given(ROOM, ADDED, booked("call")).when(book("visit", TEN + HOUR / 2)).then(conflict("visit", "call", starts_at=TEN + HOUR / 2))
    assert (state.state_for("call"), state.state_for("visit")) == ("booked", "conflict")


def test_strictly_an_occupied_room_is_refused() -> None:
    given(ROOM, ADDED, booked("call")).when(book("visit", strict=True)).refused("room_booked")
    given(ROOM, ADDED, booked("call")).when(book("visit", TEN + HOUR, strict=True)).then(booked("visit", TEN + HOUR))


def test_spans_are_half_open() -> None:
    for neighbour in (TEN - HOUR, TEN + HOUR):
        given(ROOM, ADDED, booked("call")).when(book("visit", neighbour)).then(booked("visit", neighbour))


def test_booking_again_is_harmless_and_booking_otherwise_moves() -> None:
    given(ROOM, ADDED, booked("call")).when(book("call")).nothing_happens()
    state = given(ROOM, ADDED, booked("call")).when(book("call", TEN + HOUR / 2)).then(booked("call", TEN + HOUR / 2))
    assert len(state.bookings) == 1


def test_a_conflict_stays_one_until_it_is_moved() -> None:
    room = given(ROOM, ADDED, booked("call"), conflict("visit", "call"))
    assert room.when(Release("call", BY)).state.state_for("visit") == "conflict"
    assert room.when(book("visit", TEN + HOUR)).state.state_for("visit") == "booked"


def test_a_released_room_is_free() -> None:
    room = given(ROOM, ADDED, booked("call"))
    room.when(Release("call", BY)).then(RoomReleased("call", TEN, TEN + HOUR, "anna", BY))
    room.when(Release("another", BY)).nothing_happens()
    freed = given(ROOM, ADDED, booked("call"), RoomReleased("call", TEN, TEN + HOUR, "anna", BY))
    freed.when(book("visit", strict=True)).then(booked("visit"))


def test_what_has_ended_is_forgotten() -> None:
    later = TEN + timedelta(days=1)
    state = given(ROOM, ADDED, booked("call")).when(book("visit", later, at=TEN + HOUR)).state
    assert [b.activity_id for b in state.bookings] == ["visit"]


def test_a_room_changes_and_keeps_its_code() -> None:
    state = given(ROOM, ADDED).when(ChangeRoom("Azure", 9, None, BY)).then(RoomChanged("Azure", 9, None, BY))
    assert state.code == "blue"
    given(ROOM, ADDED).when(ChangeRoom("Blue room", 8, "2nd floor", BY)).nothing_happens()


def test_a_retired_or_unknown_room_is_not_booked() -> None:
    given(ROOM, ADDED).when(RetireRoom(BY)).then(RoomRetired(BY))
    given(ROOM, ADDED, RoomRetired(BY)).when(book("call")).refused("room_unknown")
    given(ROOM).when(book("call")).refused("room_unknown")
    given(ROOM).when(RetireRoom(BY)).refused("room_unknown")
