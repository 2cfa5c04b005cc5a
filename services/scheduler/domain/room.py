"""Room: booked for spans of time by activities. An occupied room is marked, or refused when asked strictly. (scheduler 2.4, S108, D52)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, assert_never

from services.scheduler.domain.origin import Origin
from shared.es.aggregate import Aggregate
from shared.es.errors import NotFound, Rejected

Status = Literal["none", "active", "retired"]
RoomState = Literal["none", "booked", "conflict"]

MOST_BOOKINGS = 20_000


@dataclass(frozen=True, slots=True)
class Booking:
    """Half open. One that was a conflict stays one until the activity is moved or takes another room."""

    activity_id: str
    starts_at: datetime
    ends_at: datetime
    organiser_id: str
    conflict: bool = False

    def overlaps(self, starts_at: datetime, ends_at: datetime) -> bool:
        return self.starts_at < ends_at and starts_at < self.ends_at


@dataclass(frozen=True, slots=True)
class AddRoom:
    code: str
    name: str
    capacity: int | None
    location: str | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class ChangeRoom:
    """What the room is called and holds from now on; its code stays."""

    name: str
    capacity: int | None
    location: str | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class RetireRoom:
    origin: Origin


@dataclass(frozen=True, slots=True)
class Book:
    """`strict` refuses an occupied room; otherwise the booking is marked as a conflict. Booking again moves the booking."""

    activity_id: str
    starts_at: datetime
    ends_at: datetime
    organiser_id: str
    at: datetime
    origin: Origin
    strict: bool = False


@dataclass(frozen=True, slots=True)
class Release:
    activity_id: str
    origin: Origin


RoomCommand = AddRoom | ChangeRoom | RetireRoom | Book | Release


@dataclass(frozen=True, slots=True)
class RoomAdded:
    code: str
    name: str
    capacity: int | None
    location: str | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class RoomChanged:
    name: str
    capacity: int | None
    location: str | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class RoomRetired:
    origin: Origin


@dataclass(frozen=True, slots=True)
class RoomBooked:
    activity_id: str
    starts_at: datetime
    ends_at: datetime
    organiser_id: str
    at: datetime
    origin: Origin


@dataclass(frozen=True, slots=True)
class RoomConflict:
    """Booked nevertheless, over the bookings of `conflicts_with`."""

    activity_id: str
    starts_at: datetime
    ends_at: datetime
    organiser_id: str
    conflicts_with: tuple[str, ...]
    at: datetime
    origin: Origin


@dataclass(frozen=True, slots=True)
class RoomReleased:
    activity_id: str
    starts_at: datetime
    ends_at: datetime
    organiser_id: str
    origin: Origin


RoomEvent = RoomAdded | RoomChanged | RoomRetired | RoomBooked | RoomConflict | RoomReleased


@dataclass(frozen=True, slots=True)
class Room:
    """`bookings` are those that had not ended when the last one was made."""

    status: Status = "none"
    code: str = ""
    name: str = ""
    capacity: int | None = None
    location: str | None = None
    bookings: tuple[Booking, ...] = ()
    origin: Origin = field(default_factory=Origin)

    def booking_of(self, activity_id: str) -> Booking | None:
        return next((b for b in self.bookings if b.activity_id == activity_id), None)

    def state_for(self, activity_id: str) -> RoomState:
        booking = self.booking_of(activity_id)
        return "none" if booking is None else "conflict" if booking.conflict else "booked"

    def must_be_active(self) -> None:
        if self.status == "none":
            raise NotFound("There is no such room.", "room_unknown")
        if self.status == "retired":
            raise Rejected("room_unknown", "The room is retired.", status=422)


def decide(room: Room, command: RoomCommand) -> Sequence[RoomEvent]:
    """Raises Rejected: room_unknown, room_booked, id_taken, too_many_bookings."""
    match command:
        case AddRoom():
            return _added(room, command)
        case ChangeRoom(name=name, capacity=capacity, location=location, origin=origin):
            room.must_be_active()
            same = (room.name, room.capacity, room.location) == (name, capacity, location)
            return [] if same else [RoomChanged(name, capacity, location, origin)]
        case RetireRoom(origin=origin):
            room.must_be_active()
            return [RoomRetired(origin)]
        case Book():
            return _booked(room, command)
        case Release(activity_id=activity, origin=origin):
            booking = room.booking_of(activity)
            return [] if booking is None else [_released(booking, origin)]
        case _:
            assert_never(command)


def _released(booking: Booking, origin: Origin) -> RoomReleased:
    return RoomReleased(booking.activity_id, booking.starts_at, booking.ends_at, booking.organiser_id, origin)


def _added(room: Room, c: AddRoom) -> Sequence[RoomEvent]:
    if room.status == "none":
        return [RoomAdded(c.code, c.name, c.capacity, c.location, c.origin)]
    if (room.code, room.name, room.capacity, room.location) != (c.code, c.name, c.capacity, c.location):
        raise Rejected("id_taken", "Another room has this id.")
    return []


def _booked(room: Room, c: Book) -> Sequence[RoomEvent]:
    room.must_be_active()
    mine = room.booking_of(c.activity_id)
    if mine is not None and (mine.starts_at, mine.ends_at) == (c.starts_at, c.ends_at):
        return []
    others = [b for b in room.bookings if b.activity_id != c.activity_id and b.ends_at > c.at]
    if len(others) >= MOST_BOOKINGS:
        raise Rejected("too_many_bookings", f"A room holds at most {MOST_BOOKINGS} future bookings.")
    taken = tuple(b.activity_id for b in others if b.overlaps(c.starts_at, c.ends_at))
    if taken and c.strict:
        raise Rejected("room_booked", f"{room.name} is booked then.")
    if taken:
        return [RoomConflict(c.activity_id, c.starts_at, c.ends_at, c.organiser_id, taken, c.at, c.origin)]
    return [RoomBooked(c.activity_id, c.starts_at, c.ends_at, c.organiser_id, c.at, c.origin)]


def evolve(room: Room, event: RoomEvent) -> Room:
    match event:
        case RoomAdded():
            return Room("active", event.code, event.name, event.capacity, event.location, (), event.origin)
        case RoomChanged():
            return replace(room, name=event.name, capacity=event.capacity, location=event.location)
        case RoomRetired():
            return replace(room, status="retired")
        case RoomBooked():
            return _with(room, Booking(event.activity_id, event.starts_at, event.ends_at, event.organiser_id), event.at)
        case RoomConflict():
            return _with(room, Booking(event.activity_id, event.starts_at, event.ends_at, event.organiser_id, conflict=True), event.at)
        case RoomReleased():
            return replace(room, bookings=tuple(b for b in room.bookings if b.activity_id != event.activity_id))
        case _:
            assert_never(event)


def _with(room: Room, booking: Booking, at: datetime) -> Room:
    rest = tuple(b for b in room.bookings if b.activity_id != booking.activity_id and b.ends_at > at)
    return replace(room, bookings=(*rest, booking))


ROOM: Aggregate[Room, RoomCommand, RoomEvent] = Aggregate(
    "room",
    Room(),
    decide,
    evolve,
    (RoomAdded, RoomChanged, RoomRetired, RoomBooked, RoomConflict, RoomReleased),
    read_by_others=True,
)
