"""Invitations follow the activity: same UID, rising sequence, REQUEST and CANCEL (S106, D50, D53)."""

from __future__ import annotations

from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any
from uuid import UUID, uuid4

import icalendar
import pytest

from shared.contracts import notifications, scheduler
from shared.contracts.common import ElementRef
from tests.service.house import House, employee, origin
from tests.service.notifications.postoffice import PostOffice, text_of
from tests.service.notifications.test_telling import feed

ANNA, BEN, CLARA, DEAL, CALL, ROOM = (str(UUID(int=n)) for n in range(1, 7))
ELEMENT = ElementRef(element_type="deal", element_id=DEAL)
UID = f"{CALL}@dealwright"


@pytest.fixture
async def staffed(house: House) -> House:
    people = (employee(ANNA, "Anna"), employee(BEN, "Ben", language="en"), employee(CLARA, "Clara"))
    await house.hear(*(house.record(person, subject=f"employee/{person.employee_id}") for person in people))
    return house


def activity(**own: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "activity_id": CALL,
        "element": ELEMENT,
        "name": "Call customer",
        "description": "Contract details with Petra Muster",
        "starts_at": "2026-03-03T13:00:00.000Z",
        "ends_at": "2026-03-03T14:00:00.000Z",
        "local": "2026-03-03T14:00:00",
        "zone": "Europe/Berlin",
        "responsible_id": ANNA,
        "colour": "yellow",
        "calendar": True,
        "contact_ids": (),
        "invitee_ids": (CLARA,),
        "room_state": "none",
        "link": "https://example.org/c/1",
        "file_ids": (),
        "auto_complete": True,
        "uid": UID,
        "ical_sequence": 0,
    }
    return {"origin": origin(), **(fields | own)}


def heard(house: House, contract: Any, actor: str = "user:olaf") -> Any:
    return house.record(contract, subject=f"activity/{CALL}", actor=actor)


def moved(**own: Any) -> dict[str, Any]:
    before = scheduler.ActivityBefore(starts_at="2026-03-03T13:00:00.000Z", ends_at="2026-03-03T14:00:00.000Z", responsible_id=ANNA)
    return activity(**({"before": before, "added_invitees": (), "removed_invitees": (), "ical_sequence": 1} | own))


def entry(mail: EmailMessage) -> tuple[str, Any]:
    """The method of the calendar part and its one event."""
    (part,) = [part for part in mail.walk() if part.get_content_type() == "text/calendar"]
    calendar = icalendar.Calendar.from_ical(str(part.get_content()))
    (event,) = calendar.walk("VEVENT")
    assert part.get_param("method") == calendar["METHOD"]
    return str(calendar["METHOD"]), event


async def test_an_invitation_a_mail_program_understands(staffed: House, post: PostOffice) -> None:
    await staffed.hear(heard(staffed, scheduler.ActivityPlanned(**activity())))
    await staffed.tick()
    (mail,) = post.mails
    assert (mail["to"], mail["subject"]) == ("Clara <clara@acme.test>", "Einladung: Call customer")
    assert "2026-03-03 14:00 (Europe/Berlin)" in text_of(mail)
    method, event = entry(mail)
    assert (method, event["UID"], event["SEQUENCE"], event["STATUS"]) == ("REQUEST", UID, 0, "CONFIRMED")
    assert event.decoded("dtstart") == datetime(2026, 3, 3, 13, tzinfo=UTC)
    assert (str(event["ORGANIZER"]), event["ORGANIZER"].params["CN"]) == ("mailto:anna@acme.test", "Anna")
    assert str(event["ATTENDEE"]) == "mailto:clara@acme.test"
    assert event["DESCRIPTION"] == "Contract details with Petra Muster"


async def test_the_responsible_person_is_told_unless_she_did_it(staffed: House) -> None:
    await staffed.hear(heard(staffed, scheduler.ActivityPlanned(**activity()), actor=f"user:{ANNA}"))
    assert await feed(staffed, ANNA) == []
    await staffed.hear(heard(staffed, scheduler.ActivityReassigned(**moved(responsible_id=BEN))))
    assert [item["body_text"] for item in await feed(staffed, BEN)] == ["Call customer: 2026-03-03 14:00 (Europe/Berlin)."]


async def test_a_change_updates_invites_and_withdraws(staffed: House, post: PostOffice) -> None:
    await staffed.hear(heard(staffed, scheduler.ActivityPlanned(**activity(invitee_ids=(CLARA, BEN)))))
    await staffed.tick()
    post.mails.clear()
    change = moved(invitee_ids=(CLARA, ANNA), added_invitees=(ANNA,), removed_invitees=(BEN,), starts_at="2026-03-03T14:00:00.000Z")
    await staffed.hear(heard(staffed, scheduler.ActivityRescheduled(**change)))
    await staffed.tick()
    sent = {str(mail["to"]).partition(" ")[0]: (mail["subject"], *entry(mail)) for mail in post.mails}
    assert {name: (subject, method) for name, (subject, method, _) in sent.items()} == {
        "Clara": ("Geändert: Call customer", "REQUEST"),
        "Anna": ("Einladung: Call customer", "REQUEST"),
        "Ben": ("Cancelled: Call customer", "CANCEL"),
    }
    assert {(event["UID"], event["SEQUENCE"]) for _, _, event in sent.values()} == {(UID, 1)}


@pytest.mark.parametrize("size", [1, 500])
@pytest.mark.parametrize("end", ["cancelled", "completed"])
async def test_an_entry_that_is_withdrawn_is_cancelled_with_invitees(staffed: House, post: PostOffice, end: str, size: int) -> None:
    fields: dict[str, Any] = {"origin": origin(), "activity_id": CALL, "element": ELEMENT, "uid": UID, "ical_sequence": 1}
    fields["invitee_ids"] = (CLARA,)
    off: Any = scheduler.ActivityCancelled(**fields, reason="element_deleted")
    if end == "completed":
        off = scheduler.ActivityCompleted(**fields, by="automation", completed_at="2026-03-02T08:00:00.000Z", calendar_entry="withdrawn")
    await staffed.hear(heard(staffed, scheduler.ActivityPlanned(**activity())), heard(staffed, off), size=size)
    await staffed.tick()
    methods = [(entry(mail)[0], int(entry(mail)[1]["SEQUENCE"])) for mail in post.mails]
    assert sorted(methods) == [("CANCEL", 1), ("REQUEST", 0)]


async def test_an_entry_that_stays_is_cancelled_with_nobody(staffed: House, post: PostOffice) -> None:
    await staffed.hear(heard(staffed, scheduler.ActivityPlanned(**activity())))
    fields: dict[str, Any] = {"origin": origin(), "activity_id": CALL, "element": ELEMENT, "uid": UID, "ical_sequence": 0}
    done = scheduler.ActivityCompleted(
        **fields, by="person", completed_at="2026-03-04T08:00:00.000Z", calendar_entry="kept", invitee_ids=(CLARA,)
    )
    await staffed.hear(heard(staffed, done))
    await staffed.tick()
    assert [entry(mail)[0] for mail in post.mails] == ["REQUEST"]


async def test_a_room_is_the_place_and_its_conflict_reaches_the_organiser(staffed: House, post: PostOffice) -> None:
    blue = scheduler.RoomAdded(origin=origin(), room_id=ROOM, code="blue", name="Blue room", location="2nd floor")
    await staffed.hear(staffed.record(blue, subject=f"room/{ROOM}"))
    await staffed.hear(heard(staffed, scheduler.ActivityPlanned(**activity(room_id=ROOM, room_state="conflict", address="Hafenstr. 12"))))
    conflict = scheduler.RoomConflict(
        origin=origin(),
        room_id=ROOM,
        activity_id=CALL,
        starts_at="2026-03-03T13:00:00.000Z",
        ends_at="2026-03-03T14:00:00.000Z",
        conflicts_with=(str(uuid4()),),
        organiser_id=ANNA,
    )
    await staffed.hear(staffed.record(conflict, subject=f"room/{ROOM}"))
    await staffed.tick()
    assert entry(post.mails[0])[1]["LOCATION"] == "Hafenstr. 12, Blue room, 2nd floor"
    assert "Raum doppelt gebucht" in [item["subject"] for item in await feed(staffed, ANNA)]


async def test_a_reminder_reaches_the_responsible_person(staffed: House) -> None:
    due = scheduler.ActivityReminderDue(
        origin=origin(),
        activity_id=CALL,
        element=ELEMENT,
        name="Call customer",
        starts_at="2026-03-03T13:00:00.000Z",
        minutes_before=15,
        responsible_id=ANNA,
    )
    await staffed.hear(due)
    assert (await feed(staffed, ANNA))[0]["body_text"] == "Call customer beginnt in 15 Minuten."


async def test_another_back_end_may_invite_too(staffed: House, post: PostOffice) -> None:
    id = str(uuid4())
    command = notifications.SendInvitation(
        request_id=id,
        notice_id=id,
        method="REQUEST",
        uid="theirs@example.org",
        ical_sequence=3,
        attendee_email="petra@example.org",
        organiser_employee_id=ANNA,
        starts_at="2026-03-03T13:00:00.000Z",
        ends_at="2026-03-03T14:00:00.000Z",
        zone="Europe/Berlin",
        summary="Visit",
    )
    await staffed.hear(command)
    await staffed.tick()
    method, event = entry(post.mails[0])
    assert (method, event["UID"], event["SEQUENCE"]) == ("REQUEST", "theirs@example.org", 3)
    assert (await staffed.one("NoticeDelivered"))["request_id"] == id
