"""Who is told what, by which channel and when; and the loop that sends what was held.

Somebody who has left is stood in for by his manager, else by the operators (D20, D21). Several things of one kind within a
window are one notice: payments of a deal within 60 s (D22), failures of a rule within a day (C10), a person's daily digest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5
from zoneinfo import ZoneInfo

from services.notifications import views
from services.notifications.domain.address import is_email_address
from services.notifications.domain.notice import (
    NOTICE,
    Channel,
    Content,
    Element,
    JoinNotice,
    MessageClass,
    NoticeCommand,
    Recipient,
    ReleaseNotice,
    RequestNotice,
    SuppressNotice,
    Window,
)
from services.notifications.domain.origin import Origin
from services.notifications.domain.preferences import Preferences
from services.notifications.domain.texts import said
from services.notifications.replicas import EMPLOYEES, MEMBERS, Employee
from shared.es.addressed import Addressed, Facts, Finder
from shared.es.errors import Conflict
from shared.es.recorded import Context
from shared.es.view import Row
from shared.messaging.batch import Item, handle_batch
from shared.messaging.due import DueRows
from shared.runtime.service import Kit

FINANCE, OPERATORS = "finance", "operator"
DIGESTS = "digest/"
Asked = Iterable[Addressed[Any]]


@dataclass(frozen=True, slots=True)
class Together:
    """What happens while the window is open joins one notice. `mail_later`: only the first one is mailed at once (C10)."""

    key: str
    until: datetime
    mail_later: bool = False


@dataclass(frozen=True, slots=True)
class Telling:
    """Something to tell: a text by name, its values, and where it came from. `cause` is the id of the event."""

    cause: str
    what: str
    topic: str
    origin: Origin
    values: Mapping[str, object] = field(default_factory=dict)
    element: Element | None = None
    together: Together | None = None
    urgent: bool = False
    message_class: MessageClass = "message"


def notice_id(cause: str, *parts: str) -> str:
    """The same for the same event, recipient and channel, so a repeated event makes none twice."""
    try:
        namespace = UUID(cause)
    except ValueError:
        namespace = uuid5(NAMESPACE_URL, cause)
    return str(uuid5(namespace, "/".join(parts)))


# -------------------------------------------------------------------------------------------------------- recipients


def standing_in(facts: Facts, employee_id: str | None) -> list[Employee]:
    """The person, else the manager, else the operators. Those have to be among the needs, see `people` in subscriptions."""
    person = None if employee_id is None else facts.one(EMPLOYEES, employee_id)
    if person is not None and person.active:
        return [person]
    manager = facts.one(EMPLOYEES, person.manager_id) if person is not None and person.manager_id else None
    return [manager] if manager is not None and manager.active else list(facts.all(MEMBERS, OPERATORS))


def each_once(*groups: Sequence[Employee]) -> list[Employee]:
    return list({person.employee_id: person for group in groups for person in group}.values())


# ----------------------------------------------------------------------------------------------------------- telling


def tell(facts: Facts, telling: Telling, people: Sequence[Employee]) -> Asked:
    """One notice per person and channel, as their preferences say."""
    for person in people:
        preferences = facts.one(views.PREFERENCES_OF, person.employee_id) or Preferences()
        words = said(telling.what, person.language, **telling.values)
        content = Content(words.text, words.title, language=person.language)
        for channel in preferences.channels_for(telling.topic):
            yield from told(facts, telling, person, preferences, channel, content)


def told(facts: Facts, t: Telling, person: Employee, preferences: Preferences, channel: str, content: Content) -> Asked:
    match channel:
        case "in_app":
            yield _together(facts, t, person, "in_app", content)
        case "email" if is_email_address(person.email):
            yield _mailed(facts, t, person, preferences, content)
        case "sms" if person.phone:
            quiet = preferences.quiet_until(facts.now, ZoneInfo(person.zone))
            yield _new(facts, t, person, "sms", Content(f"{content.subject}: {content.text}"[:1600]), held_until=quiet)


def _together(facts: Facts, t: Telling, person: Employee, channel: Channel, content: Content) -> Addressed[Any]:
    """Joins the open window, or makes the notice that opens it."""
    together = t.together
    if together is None:
        return _new(facts, t, person, channel, content)
    found = still_open(facts, facts.all(views.WINDOWS, together.key), person, channel)
    if found is not None:
        return in_window(facts, together.key, person, channel, found["id"], JoinNotice(content.text, facts.now))
    later = together.until if channel == "email" and not together.mail_later else None
    return _new(facts, t, person, channel, content, Window(together.key, together.until), later)


def _mailed(facts: Facts, t: Telling, person: Employee, preferences: Preferences, content: Content) -> Addressed[Any]:
    digest = preferences.digest_after(facts.now, ZoneInfo(person.zone))
    if digest is not None:
        return _collected(facts, t, person, content, f"{DIGESTS}{person.employee_id}/{t.topic}", digest)
    together = t.together
    if together is None or not together.mail_later or not _mailed_already(facts, together, person):
        return _together(facts, t, person, "email", content)
    return _collected(facts, t, person, content, f"{DIGESTS}{person.employee_id}/{together.key}", together.until)


def _mailed_already(facts: Facts, together: Together, person: Employee) -> bool:
    rows = facts.all(views.WINDOWS, together.key)
    return any(row["channel"] == "email" and row["employee_id"] == person.employee_id and row["window_until"] > facts.now for row in rows)


def _collected(facts: Facts, t: Telling, person: Employee, content: Content, key: str, until: datetime) -> Addressed[Any]:
    """Held until its time; what comes meanwhile joins it."""
    held = [row for row in facts.all(views.HELD_FOR, person.employee_id) if row["window_key"] == key]
    found = still_open(facts, held, person, "email")
    if found is not None:
        return in_window(facts, key, person, "email", found["id"], JoinNotice(content.text, facts.now))
    return _new(facts, t, person, "email", content, Window(key, until), until, "digest")


def still_open(facts: Facts, rows: Sequence[Row], person: Employee, channel: str) -> Row | None:
    theirs = (row for row in rows if row["employee_id"] == person.employee_id and row["channel"] == channel)
    joinable = ("held",) if channel == "email" else ("held", "sent", "read")
    return next((row for row in theirs if row["window_until"] > facts.now and row["status"] in joinable), None)


def in_window(facts: Facts, key: str, person: Employee, channel: str, id: str, command: NoticeCommand) -> Addressed[Any]:
    """What opens a window or joins it, alone with its notices. Which of the two it is was read before the lock: if they are
    others now, or no longer take anything, it is all decided again."""
    look = _look(key, person)
    rested_on = _standing(facts.all(*look), key, person, channel)

    def still(seen: Facts) -> NoticeCommand:
        if _standing(seen.all(*look), key, person, channel) != rested_on:
            raise Conflict(f"the notices of window {key} changed a moment ago")
        return command

    return Addressed(NOTICE, id, still, exclusive=f"window/{key}", finds=(look,))


def _look(key: str, person: Employee) -> tuple[Finder[Row], str]:
    """Where the notices of a window are found: a digest is among those held for the person."""
    return (views.HELD_FOR, person.employee_id) if key.startswith(DIGESTS) else (views.WINDOWS, key)


def _standing(rows: Sequence[Row], key: str, person: Employee, channel: str) -> dict[str, str]:
    place = (key, person.employee_id, channel)
    return {row["id"]: row["status"] for row in rows if (row["window_key"], row["employee_id"], row["channel"]) == place}


def _new(
    facts: Facts,
    t: Telling,
    person: Employee,
    channel: Channel,
    content: Content,
    window: Window | None = None,
    held_until: datetime | None = None,
    *kind: str,
) -> Addressed[Any]:
    command = RequestNotice(
        request_id=None,
        channel=channel,
        recipient=recipient(person, channel),
        content=content,
        at=facts.now,
        origin=t.origin,
        element=t.element,
        message_class=t.message_class,
        topic=t.topic,
        held_until=held_until,
        window=window,
        urgent=t.urgent,
    )
    id = notice_id(t.cause, person.employee_id, channel, *kind)
    return Addressed(NOTICE, id, command) if window is None else in_window(facts, window.key, person, channel, id, command)


def recipient(person: Employee, channel: Channel) -> Recipient:
    address = {"in_app": None, "sms": person.phone}.get(channel, person.email)
    return Recipient(person.employee_id, address, person.name)


# ------------------------------------------------------------------------------------------------- what was held


def _release(row: Row) -> Item:
    """Sent now; not to somebody who has left meanwhile."""

    def command(seen: Facts) -> NoticeCommand:
        return ReleaseNotice(seen.now) if row["active"] else SuppressNotice("employee_left", seen.now)

    context = Context(row["tenant"], row["correlation_id"], row["causation_id"], row["hops"], row["actor"], row["traceparent"])
    key = f"{row['tenant']}/{row['id']}"
    return Item(
        f"{row['id']}/{row['version']}", "notifications/held", key, context, (Addressed(NOTICE, row["id"], command),), at=row["held_until"]
    )


HELD = DueRows("held notices", views.HELD_DUE, _release)
REHEARSED = DueRows("held notices", views.REHEARSED_DUE, _release)


class Releasing:
    """The loop that sends what was held: windows that close, digests, the end of quiet hours."""

    name = "held notices"
    longest = timedelta(seconds=1)

    def __init__(self, kit: Kit) -> None:
        self._kit = kit

    async def step(self) -> timedelta:
        async with self._kit.database.transaction() as tx:
            now, seen = tx.now, (await tx.raw.fetch(views.NEXT_HELD))[0]
        due_at: datetime | None = seen["held_until"]
        doors = [door for door, due in ((HELD, due_at is not None and due_at <= now), (REHEARSED, seen["rehearsed"])) if due]
        if not doors:
            return self.longest if due_at is None else min(due_at - now, self.longest)
        for door in doors:
            await handle_batch(self._kit, replace(door))
        return timedelta(milliseconds=5)
