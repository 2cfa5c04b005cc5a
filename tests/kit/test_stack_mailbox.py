"""The mailbox: real SMTP in, a page and JSON out, nothing lost when it ends."""

from __future__ import annotations

import asyncio
import json
import os
import smtplib
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from deploy.local.mailbox import Mailbox
from deploy.local.network import LOOPBACK, free_ports
from deploy.local.parts import bring_up
from deploy.local.process import TERM
from deploy.local.services import MailboxPart, fetched
from deploy.local.state import REPOSITORY


@pytest.fixture
async def mailbox(tmp_path: Path) -> AsyncIterator[MailboxPart]:
    web, smtp = free_ports(2)
    part = MailboxPart(
        port=web, smtp_port=smtp, folder=tmp_path / "mails", log=tmp_path / "log", root=REPOSITORY, environment=dict(os.environ)
    )
    running = await bring_up(part, tmp_path / "mailbox.json")
    yield part
    await running.end(TERM)


def letter(to: str, subject: str = "Your payment link", text: str = "Pay here: http://127.0.0.1:8103/pay/abc?x=1&y=2\n") -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "office@example.org", to, subject
    message.set_content(text)
    message.add_alternative(f"<p>{text}</p>", subtype="html")
    return message


async def send(part: MailboxPart, message: EmailMessage) -> None:
    def deliver() -> None:
        with smtplib.SMTP(LOOPBACK, part.smtp_port, timeout=10) as client:
            client.send_message(message)

    await asyncio.to_thread(deliver)


async def read(part: MailboxPart, path: str) -> Any:
    status, body = await fetched(part.port, path)
    assert status == 200, body
    return json.loads(body)


async def test_a_mail_can_be_read_with_its_link(mailbox: MailboxPart) -> None:
    await send(mailbox, letter("Anna <anna@example.org>", subject="Zahlung für Müller"))
    [mail] = (await read(mailbox, "/mails"))["items"]
    assert mail["to"] == ["anna@example.org"]
    assert mail["subject"] == "Zahlung für Müller"
    assert mail["links"] == ["http://127.0.0.1:8103/pay/abc?x=1&y=2"]
    assert await read(mailbox, f"/mails/{mail['id']}") == mail


async def test_mails_are_listed_newest_first_and_by_recipient(mailbox: MailboxPart) -> None:
    for to in ("anna@example.org", "bert@example.org", "anna@example.org"):
        await send(mailbox, letter(to))
    assert [mail["to"][0][0] for mail in (await read(mailbox, "/mails"))["items"]] == ["a", "b", "a"]
    assert len((await read(mailbox, "/mails?to=ANNA"))["items"]) == 2


async def test_the_source_is_what_was_sent(mailbox: MailboxPart) -> None:
    message = letter("anna@example.org")
    message["X-Order"] = "17"
    await send(mailbox, message)
    status, source = await fetched(mailbox.port, "/mails/00000001/source")
    assert (status, "X-Order: 17" in source) == (200, True)


async def test_a_mail_that_is_not_there_is_a_404(mailbox: MailboxPart) -> None:
    for path in ("/mails/00000009", "/mails/..%2f..%2fetc", "/mails/x/source"):
        assert (await fetched(mailbox.port, path))[0] == 404


async def test_markup_in_a_mail_is_shown_and_not_obeyed(mailbox: MailboxPart) -> None:
    await send(mailbox, letter("anna@example.org", subject="<script>alert(1)</script>", text="<img src=x onerror=alert(2)>\n"))
    _, page = await fetched(mailbox.port, "/")
    assert "<script>" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page


async def test_numbers_go_on_after_a_restart(tmp_path: Path) -> None:
    kept = [Mailbox(tmp_path).keep("a@example.org", ["b@example.org"], b"Subject: x\r\n\r\ny") for _ in range(2)]
    assert kept == ["00000001", "00000002"]
    assert len(Mailbox(tmp_path).mails()) == 2
