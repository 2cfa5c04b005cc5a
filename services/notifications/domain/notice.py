"""Notice: one recipient, one channel. Held, sent, failed; never lost without an answer. (notifications 2.1, D22, D38, R10, R15)

Sending is an effect of the kit: claimed, done outside any transaction, recorded under a fence. Here is what was asked and
what came of it. A notice that is sent again after a failure begins a new round, with the same Message-ID."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal, assert_never

from services.notifications.domain.address import email_address, phone_number
from services.notifications.domain.origin import Origin
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, NotFound, Rejected

Channel = Literal["in_app", "email", "sms", "invitation"]
Status = Literal["none", "held", "sending", "sent", "failed", "unknown", "suppressed", "read"]
Importance = Literal["customer", "internal"]
MessageClass = Literal["money", "message", "reminder"]

LONGEST = {"in_app": 16 * 1024, "sms": 1_600, "email": 200 * 1024, "invitation": 16 * 1024}
"""Of the text: characters of an SMS, bytes of everything else."""
SUBJECT = 998
ATTACHMENTS = 10
ATTACHED_BYTES = 20 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Element:
    element_type: str
    element_id: str


@dataclass(frozen=True, slots=True)
class Recipient:
    """An employee, an address (or phone number), or an employee at an address."""

    employee_id: str | None = None
    address: str | None = None
    name: str | None = None

    @property
    def kind(self) -> str:
        return "employee" if self.employee_id else "address"


@dataclass(frozen=True, slots=True)
class Attachment:
    file_id: str
    name: str
    content_type: str
    content_ref: str
    size: int


@dataclass(frozen=True, slots=True)
class Person:
    """Who an e-mail comes from, or who invites."""

    name: str
    address: str


@dataclass(frozen=True, slots=True)
class Invitation:
    """A calendar entry as invitees get it. Instants; `sequence` rises with every change (D53)."""

    method: Literal["REQUEST", "CANCEL"]
    uid: str
    sequence: int
    starts_at: datetime
    ends_at: datetime
    zone: str
    summary: str
    organiser: Person
    description: str = ""
    location: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Content:
    """`text` is simple markdown; without `html` the page is made of it. `sender` None: the company."""

    text: str
    subject: str | None = None
    html: str | None = None
    sender: Person | None = None
    reply_to: str | None = None
    attachments: tuple[Attachment, ...] = ()
    invitation: Invitation | None = None
    language: str | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """While it is open, what has the same key joins this notice instead of making another."""

    key: str
    until: datetime


@dataclass(frozen=True, slots=True)
class RequestNotice:
    """`request_id` None: nobody waits for the answer. `held_until`: not before. In the feed it stands at once."""

    request_id: str | None
    channel: Channel
    recipient: Recipient
    content: Content
    at: datetime
    origin: Origin
    element: Element | None = None
    importance: Importance = "internal"
    message_class: MessageClass = "message"
    topic: str = "system"
    held_until: datetime | None = None
    window: Window | None = None
    urgent: bool = False
    suppressed: str | None = None
    """Why nobody is told: the recipient does not want it."""


@dataclass(frozen=True, slots=True)
class JoinNotice:
    """One more thing for an open window: another line of the same notice. `request_id`: of who asked, and waits for the answer."""

    line: str
    at: datetime
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class ReleaseNotice:
    """The time it was held until has come."""

    at: datetime


@dataclass(frozen=True, slots=True)
class SuppressNotice:
    reason: str
    at: datetime


@dataclass(frozen=True, slots=True)
class RecordSent:
    """Accepted by the mail server or gateway. `round` is the round it was sent in."""

    round: int
    at: datetime
    attempts: int
    message_id: str | None = None
    sandbox: bool = False


@dataclass(frozen=True, slots=True)
class RecordFailed:
    round: int
    at: datetime
    attempts: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class RecordUnknown:
    """It may have been sent: the sender stopped between doing and recording. A person decides."""

    round: int
    at: datetime
    attempts: int
    detail: str


@dataclass(frozen=True, slots=True)
class RetryNotice:
    """A person wants it sent again after all."""

    at: datetime


@dataclass(frozen=True, slots=True)
class ResolveNotice:
    """A person has looked: it was sent, or it is to be sent again."""

    outcome: Literal["sent", "send_again"]
    at: datetime
    origin: Origin


@dataclass(frozen=True, slots=True)
class ReadNotice:
    at: datetime


NoticeCommand = (
    RequestNotice
    | JoinNotice
    | ReleaseNotice
    | SuppressNotice
    | RecordSent
    | RecordFailed
    | RecordUnknown
    | RetryNotice
    | ResolveNotice
    | ReadNotice
)


@dataclass(frozen=True, slots=True)
class NoticeRequested:
    request_id: str | None
    channel: Channel
    recipient: Recipient
    content: Content
    element: Element | None
    importance: Importance
    message_class: MessageClass
    topic: str
    held_until: datetime | None
    window: Window | None
    urgent: bool
    at: datetime
    origin: Origin
    suppressed: str | None = None

    @property
    def sends(self) -> bool:
        """Whether it is to be sent at once, by an effect."""
        return self.channel != "in_app" and self.held_until is None and self.suppressed is None


@dataclass(frozen=True, slots=True)
class NoticeJoined:
    """`count` is how many things the notice tells by now."""

    line: str
    count: int
    at: datetime
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class NoticeQueued:
    """To be sent now: released, or sent again."""

    round: int
    content: Content
    at: datetime


@dataclass(frozen=True, slots=True)
class NoticeSent:
    at: datetime
    attempts: int
    message_id: str | None
    sandbox: bool
    origin: Origin


@dataclass(frozen=True, slots=True)
class NoticeFailed:
    code: str
    detail: str
    attempts: int
    at: datetime
    origin: Origin


@dataclass(frozen=True, slots=True)
class NoticeUnknown:
    detail: str
    attempts: int
    at: datetime


@dataclass(frozen=True, slots=True)
class NoticeSuppressed:
    reason: str
    at: datetime
    origin: Origin


@dataclass(frozen=True, slots=True)
class NoticeRead:
    at: datetime


@dataclass(frozen=True, slots=True)
class NoticeResolved:
    """A person found out what became of one in doubt, before it was sent or goes out again."""

    was_sent: bool
    at: datetime


NoticeEvent = (
    NoticeRequested
    | NoticeJoined
    | NoticeQueued
    | NoticeSent
    | NoticeFailed
    | NoticeUnknown
    | NoticeSuppressed
    | NoticeRead
    | NoticeResolved
)


@dataclass(frozen=True, slots=True)
class Notice:
    status: Status = "none"
    request_id: str | None = None
    channel: Channel = "in_app"
    recipient: Recipient = field(default_factory=Recipient)
    content: Content = field(default_factory=lambda: Content(""))
    element: Element | None = None
    importance: Importance = "internal"
    message_class: MessageClass = "message"
    topic: str = "system"
    urgent: bool = False
    held_until: datetime | None = None
    window: Window | None = None
    count: int = 1
    joined: tuple[str, ...] = ()
    round: int = 1
    attempts: int = 0
    message_id: str | None = None
    code: str | None = None
    detail: str | None = None
    sandbox: bool = False
    origin: Origin = field(default_factory=Origin)
    created_at: datetime | None = None
    sent_at: datetime | None = None
    read_at: datetime | None = None

    @property
    def exists(self) -> bool:
        return self.status != "none"

    def must_exist(self) -> None:
        if not self.exists:
            raise NotFound("There is no such notice.", "notice_unknown")

    def must_be(self, *allowed: Status) -> None:
        """Raises Rejected(notice_over)."""
        self.must_exist()
        if self.status not in allowed:
            raise Rejected("notice_over", f"The notice is {self.status}.")


def decide(notice: Notice, command: NoticeCommand) -> Sequence[NoticeEvent]:
    """Raises Rejected: recipient_missing, bad_address, too_large, validation_failed, notice_over."""
    match command:
        case RequestNotice():
            return _requested(notice, command)
        case JoinNotice():
            return _joined(notice, command)
        case ReleaseNotice(at=at):
            due = notice.status == "held" and notice.held_until is not None and notice.held_until <= at
            return [NoticeQueued(notice.round, notice.content, at)] if due else []
        case SuppressNotice(reason=reason, at=at):
            return [NoticeSuppressed(reason, at, notice.origin)] if notice.status == "held" else []
        case RecordSent() | RecordFailed() | RecordUnknown():
            return _recorded(notice, command)
        case RetryNotice(at=at):
            notice.must_be("failed")
            return [NoticeQueued(notice.round + 1, notice.content, at)]
        case ResolveNotice():
            return _resolved(notice, command)
        case ReadNotice(at=at):
            return _read(notice, at)
        case _:
            assert_never(command)


def _requested(notice: Notice, c: RequestNotice) -> Sequence[NoticeEvent]:
    if notice.status == "failed":
        return [NoticeQueued(notice.round + 1, checked(c), c.at)]
    if notice.exists:
        return []
    asked = _asked(c)
    if c.suppressed is not None:
        return [asked, NoticeSuppressed(c.suppressed, c.at, c.origin)]
    if c.channel == "in_app":
        return [asked, NoticeSent(c.at, 1, None, False, c.origin)]
    return [asked]


def _asked(c: RequestNotice) -> NoticeRequested:
    later = c.channel != "in_app" and c.held_until is not None and c.held_until > c.at
    return NoticeRequested(
        request_id=c.request_id,
        channel=c.channel,
        recipient=_reachable(c),
        content=checked(c),
        element=c.element,
        importance=c.importance,
        message_class=c.message_class,
        topic=c.topic,
        held_until=c.held_until if later else None,
        window=c.window,
        urgent=c.urgent,
        at=c.at,
        origin=c.origin,
        suppressed=c.suppressed,
    )


def _reachable(c: RequestNotice) -> Recipient:
    """The recipient with an address that its channel understands."""
    match c.channel:
        case "in_app":
            if c.recipient.employee_id is None:
                raise Rejected("recipient_missing", "A notice in the feed is for an employee.", status=422)
            return c.recipient
        case "sms":
            return replace(c.recipient, address=phone_number(c.recipient.address or ""))
        case "email" | "invitation":
            return replace(c.recipient, address=email_address(c.recipient.address or ""))
        case _:
            assert_never(c.channel)


def checked(c: RequestNotice) -> Content:
    """Raises Rejected: too_large, validation_failed, bad_address."""
    content = c.content
    length = len(content.text) if c.channel == "sms" else len(content.text.encode())
    if length > LONGEST[c.channel] or len((content.html or "").encode()) > LONGEST["email"]:
        raise _bad("too_large", "/text", f"A text for {c.channel} holds at most {LONGEST[c.channel]}.")
    if len(content.subject or "") > SUBJECT:
        raise _bad("too_large", "/subject", f"A subject holds at most {SUBJECT} characters.")
    if any(ord(character) < 32 or ord(character) in (127, 0x2028, 0x2029, 0x85) for character in content.subject or ""):
        raise _bad("validation_failed", "/subject", "A subject is one line without control characters.")
    if len(content.attachments) > ATTACHMENTS or sum(a.size for a in content.attachments) > ATTACHED_BYTES:
        raise _bad("too_large", "/attachment_ids", f"At most {ATTACHMENTS} attachments, 20 MiB together.")
    return content if content.reply_to is None else replace(content, reply_to=email_address(content.reply_to, "/reply_to"))


def _bad(code: str, pointer: str, detail: str) -> Rejected:
    return Rejected(code, detail, status=422, errors=[Fault(pointer, code, detail)])


def _joined(notice: Notice, c: JoinNotice) -> Sequence[NoticeEvent]:
    """While the window is open; where the text has no room any more, it is only counted. Asked twice, joined once."""
    is_open = notice.window is not None and c.at < notice.window.until and notice.status in ("held", "sent", "read")
    if not is_open or (notice.channel != "in_app" and notice.status != "held"):
        return []
    if c.request_id is not None and c.request_id in (notice.request_id, *notice.joined):
        return []
    fits = len(f"{notice.content.text}\n- {c.line}".encode()) <= LONGEST[notice.channel]
    return [NoticeJoined(c.line if fits else "", notice.count + 1, c.at, c.request_id)]


def _recorded(notice: Notice, c: RecordSent | RecordFailed | RecordUnknown) -> Sequence[NoticeEvent]:
    """In doubt, what an operator found out counts like an answer; being told of the doubt again changes nothing."""
    open_to = ("sending",) if isinstance(c, RecordUnknown) else ("sending", "unknown")
    if notice.status not in open_to or c.round != notice.round:
        return []
    match c:
        case RecordSent():
            return [NoticeSent(c.at, c.attempts, c.message_id, c.sandbox, notice.origin)]
        case RecordFailed():
            return [NoticeFailed(c.code, c.detail, c.attempts, c.at, notice.origin)]
        case RecordUnknown():
            return [NoticeUnknown(c.detail, c.attempts, c.at)]
        case _:
            assert_never(c)


def _resolved(notice: Notice, c: ResolveNotice) -> Sequence[NoticeEvent]:
    notice.must_be("unknown")
    if c.outcome == "sent":
        return [NoticeResolved(True, c.at), NoticeSent(c.at, notice.attempts, notice.message_id, False, c.origin)]
    return [NoticeResolved(False, c.at), NoticeQueued(notice.round + 1, notice.content, c.at)]


def _read(notice: Notice, at: datetime) -> Sequence[NoticeEvent]:
    notice.must_exist()
    if notice.channel != "in_app":
        raise Rejected("notice_over", "Only notices of the feed are read.")
    return [NoticeRead(at)] if notice.status == "sent" else []


def evolve(notice: Notice, event: NoticeEvent) -> Notice:
    match event:
        case NoticeRequested():
            return _born(event)
        case NoticeJoined():
            return _with_line(notice, event)
        case NoticeQueued(round=round, content=content):
            return replace(notice, status="sending", round=round, content=content, held_until=None, code=None, detail=None)
        case NoticeSent():
            return replace(
                notice,
                status="sent",
                attempts=event.attempts,
                message_id=event.message_id,
                sandbox=event.sandbox,
                sent_at=event.at,
                code=None,
                detail=None,
            )
        case NoticeFailed(code=code, detail=detail, attempts=attempts):
            return replace(notice, status="failed", code=code, detail=detail, attempts=attempts)
        case NoticeUnknown(detail=detail, attempts=attempts):
            return replace(notice, status="unknown", detail=detail, attempts=attempts)
        case NoticeSuppressed(reason=reason):
            return replace(notice, status="suppressed", detail=reason)
        case NoticeRead(at=at):
            return replace(notice, status="read", read_at=at)
        case NoticeResolved():
            return notice
        case _:
            assert_never(event)


def _born(e: NoticeRequested) -> Notice:
    return Notice(
        status="held" if e.held_until else "sending",
        request_id=e.request_id,
        channel=e.channel,
        recipient=e.recipient,
        content=e.content,
        element=e.element,
        importance=e.importance,
        message_class=e.message_class,
        topic=e.topic,
        urgent=e.urgent,
        held_until=e.held_until,
        window=e.window,
        origin=e.origin,
        created_at=e.at,
    )


def _with_line(notice: Notice, e: NoticeJoined) -> Notice:
    """One more line; a notice that was read is unread again."""
    text = f"{notice.content.text}\n- {e.line}" if e.line else notice.content.text
    status: Status = "sent" if notice.status == "read" else notice.status
    joined = notice.joined if e.request_id is None else (*notice.joined, e.request_id)
    return replace(notice, content=replace(notice.content, text=text), count=e.count, status=status, joined=joined)


NOTICE: Aggregate[Notice, NoticeCommand, NoticeEvent] = Aggregate(
    "notice",
    Notice(),
    decide,
    evolve,
    (NoticeRequested, NoticeJoined, NoticeQueued, NoticeSent, NoticeFailed, NoticeUnknown, NoticeSuppressed, NoticeRead, NoticeResolved),
)
