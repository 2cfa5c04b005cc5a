"""A real SMTP server that keeps what it gets and answers as it is told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any

from aiosmtpd.smtp import SMTP, Envelope, Session

HANG_UP = "hang up"


@dataclass(eq=False)
class PostOffice:
    """`answers` to the next messages, first to last: an SMTP answer, or HANG_UP after the content. Then 250."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    recipients: list[list[str]] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    to_recipients: list[str] = field(default_factory=list)
    """Answers to RCPT TO."""
    put_off: dict[str, int] = field(default_factory=dict)
    """How many more times the mail for an address is refused for now."""
    asked: list[str] = field(default_factory=list)
    """Every address that somebody wanted to send to, each time."""

    async def handle_RCPT(self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]) -> str:
        self.asked.append(address)
        if self.put_off.get(address, 0) > 0:
            self.put_off[address] -= 1
            return "451 later"
        if self.to_recipients:
            return self.to_recipients.pop(0)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        answer = self.answers.pop(0) if self.answers else "250 kept"
        if answer in (HANG_UP, "250 kept"):
            content = envelope.content if isinstance(envelope.content, bytes) else b""
            message: Any = message_from_bytes(content, policy=policy.default)
            self.mails.append(message)
            self.recipients.append(list(envelope.rcpt_tos))
        if answer == HANG_UP and server.transport is not None:
            server.transport.close()
        return answer

    @property
    def subjects(self) -> list[str]:
        return [str(mail["subject"]) for mail in self.mails]


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    part = mail.get_body((kind,))
    assert part is not None
    return str(part.get_content())


@asynccontextmanager
async def post_office() -> AsyncIterator[PostOffice]:
    office = PostOffice()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(office, hostname="post", loop=loop, timeout=10), "127.0.0.1", 0)
    office.port = server.sockets[0].getsockname()[1]
    try:
        yield office
    finally:
        server.close()
        await server.wait_closed()
