"""Calendar invitations: an e-mail with an iCalendar part, as mail programs understand it (RFC 5545, 5546, 6047). (S106, D53)

Same UID for the life of the entry, rising SEQUENCE, METHOD:REQUEST or CANCEL. Moments are written in UTC."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any

import icalendar

from services.notifications.channels.email import delivered, enveloped, message_id
from services.notifications.channels.outcome import done, refused
from services.notifications.settings import SmtpSettings, settings
from shared.messaging.effects import Claimed, Performed
from shared.runtime.clock import now
from shared.runtime.failpoints import fp


async def send(claimed: Claimed) -> Performed:
    """One attempt. `claimed.request` is what `handlers.effect_of` wrote."""
    fp("mail.after_claim")
    message = await _written(claimed)
    return message if isinstance(message, Performed) else await delivered(claimed, message)


async def _written(claimed: Claimed) -> EmailMessage | Performed:
    try:
        return await asyncio.to_thread(written, claimed.request, settings().smtp)
    except (ValueError, LookupError, TypeError) as error:
        return refused("bad_address", f"The invitation cannot be written: {error}")


async def rehearse(claimed: Claimed) -> Performed:
    """The sandbox: written, and seen in the mailbox of the API."""
    message = await _written(claimed)
    return (
        message
        if isinstance(message, Performed)
        else done(message_id=message_id(claimed.request["notice_id"], settings().smtp), sandbox=True)
    )


def written(request: Mapping[str, Any], smtp: SmtpSettings) -> EmailMessage:
    """The text for people, the calendar part for programs. Raises ValueError for what does not fit into a header."""
    invitation = request["invitation"]
    message = enveloped(request, smtp)
    message.set_content(request["text"])
    calendar = calendar_of(invitation, request["to"], request["name"])
    message.add_alternative(calendar, subtype="calendar", charset="utf-8", params={"method": invitation["method"]})
    return message


def calendar_of(invitation: Mapping[str, Any], attendee: str, name: str | None) -> str:
    """The VCALENDAR with its one VEVENT."""
    event = icalendar.Event()
    event.add("uid", invitation["uid"])
    event.add("sequence", invitation["sequence"])
    event.add("dtstamp", now().astimezone(UTC).replace(microsecond=0))
    event.add("dtstart", _instant(invitation["starts_at"]))
    event.add("dtend", _instant(invitation["ends_at"]))
    event.add("summary", invitation["summary"])
    event.add("status", "CANCELLED" if invitation["method"] == "CANCEL" else "CONFIRMED")
    for name_of_property in ("description", "location", "url"):
        if invitation[name_of_property]:
            event.add(name_of_property, invitation[name_of_property])
    event.add("organizer", _person(invitation["organiser"]["address"], invitation["organiser"]["name"]))
    event.add("attendee", _person(attendee, name, role="REQ-PARTICIPANT", partstat="NEEDS-ACTION", rsvp="TRUE"))
    calendar = icalendar.Calendar()
    calendar.add("prodid", "-//Dealwright//Scheduler//EN")
    calendar.add("version", "2.0")
    calendar.add("method", invitation["method"])
    calendar.add_component(event)
    return str(calendar.to_ical().decode())


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC).replace(microsecond=0)


def _person(address: str, name: str | None, **parameters: str) -> Any:
    person = icalendar.vCalAddress(f"mailto:{address}")
    if name:
        person.params["CN"] = name
    for key, value in parameters.items():
        person.params[key.upper()] = value
    return person
