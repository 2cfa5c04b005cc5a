"""E-mail over SMTP: one recipient a message, one Message-ID for all attempts, and a clear answer to what came of it. (R15, T15)

There is no transaction with a mail server. Whatever fails before the content was handed over has not been sent; an answer
to the content is an answer; only silence after it is unknown."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC
from email import policy
from email.headerregistry import Address
from email.message import EmailMessage
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import aiosmtplib

from services.notifications.channels.outcome import done, failed_for_now, perhaps, refused
from services.notifications.domain.markup import html_of
from services.notifications.settings import SmtpSettings, settings
from shared.messaging.effects import Claimed, Performed
from shared.runtime.clock import now
from shared.runtime.failpoints import fp

Request = Mapping[str, Any]


async def send(claimed: Claimed) -> Performed:
    """One attempt. `claimed.request` is what `handlers.effect_of` wrote."""
    fp("mail.after_claim")
    message = await _written(claimed)
    return message if isinstance(message, Performed) else await delivered(claimed, message)


async def _written(claimed: Claimed) -> EmailMessage | Performed:
    """The message, or why it cannot be written."""
    try:
        return await asyncio.to_thread(written, claimed.request, settings().smtp, settings().storage.folder)
    except FileNotFoundError as missing:
        return refused("attachment_missing", f"The bytes of {missing.filename} are gone.")
    except (ValueError, LookupError, TypeError) as error:
        return refused("bad_address", f"The message cannot be written: {error}")


async def rehearse(claimed: Claimed) -> Performed:
    """The sandbox: the message is written and goes nowhere; it is seen in the mailbox of the API."""
    message = await _written(claimed)
    return (
        message
        if isinstance(message, Performed)
        else done(message_id=message_id(claimed.request["notice_id"], settings().smtp), sandbox=True)
    )


def message_id(notice_id: str, smtp: SmtpSettings) -> str:
    """The same on every attempt: many mail stores drop a duplicate by it."""
    return f"<{notice_id}@{smtp.sender.rpartition('@')[2]}>"


# ----------------------------------------------------------------------------------------------------------- writing


def written(request: Request, smtp: SmtpSettings, files: Path) -> EmailMessage:
    """Plain text and HTML, attachments behind. Raises ValueError for what does not fit into a header, FileNotFoundError."""
    message = enveloped(request, smtp)
    message.set_content(request["text"])
    message.add_alternative(request["html"] or html_of(request["text"]), subtype="html")
    for attachment in request["attachments"]:
        main, _, sub = attachment["content_type"].partition("/")
        content = _inside(files, attachment["content_ref"]).read_bytes()
        message.add_attachment(content, maintype=main, subtype=sub, filename=attachment["name"])
    return message


def _inside(folder: Path, content_ref: str) -> Path:
    """A reference leads nowhere but into the storage folder (T16)."""
    path = (folder / content_ref).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise FileNotFoundError(2, "outside the file storage", content_ref)
    return path


def enveloped(request: Request, smtp: SmtpSettings) -> EmailMessage:
    """The headers. The library refuses line breaks in any of them."""
    message = EmailMessage(policy=policy.SMTP)
    company = _address(smtp.sender_name, smtp.sender)
    sender = request["sender"]
    message["From"] = company if sender is None else _address(sender["name"], sender["address"])
    if sender is not None:
        message["Sender"] = company
    message["To"] = _address(request["name"] or "", request["to"])
    message["Subject"] = request["subject"] or ""
    message["Date"] = format_datetime(now().astimezone(UTC))
    message["Message-ID"] = message_id(request["notice_id"], smtp)
    if request["reply_to"]:
        message["Reply-To"] = request["reply_to"]
    if request["importance"] == "internal":
        message["Auto-Submitted"] = "auto-generated"
    return message


def _address(name: str, address: str) -> Address:
    return Address(display_name=" ".join(name.split()), addr_spec=address)


# ---------------------------------------------------------------------------------------------------------- delivery


async def delivered(claimed: Claimed, message: EmailMessage) -> Performed:
    """Hands one message to the mail server."""
    smtp = settings().smtp
    client = aiosmtplib.SMTP(
        hostname=smtp.host,
        port=smtp.port,
        use_tls=smtp.tls == "tls",
        start_tls=smtp.tls == "starttls",
        username=smtp.username,
        password=smtp.password.get_secret_value() if smtp.password else None,
        timeout=smtp.seconds,
    )
    try:
        if failure := await _prepared(claimed, client, smtp):
            return failure
        return await _handed_over(claimed, client, message)
    finally:
        with suppress(aiosmtplib.SMTPException, OSError):
            client.close()


async def _prepared(claimed: Claimed, client: aiosmtplib.SMTP, smtp: SmtpSettings) -> Performed | None:
    """Everything before the content: what fails here has certainly not been sent."""
    try:
        await client.connect()
        await client.mail(smtp.sender)
        await client.rcpt(claimed.request["to"])
    except aiosmtplib.SMTPAuthenticationError as error:
        return failed_for_now(claimed, f"the mail server does not accept our credentials: {error.code} {error.message}")
    except aiosmtplib.SMTPResponseException as error:
        return _answered(claimed, error)
    except (aiosmtplib.SMTPException, OSError) as error:
        return failed_for_now(claimed, f"the mail server is away: {error}")
    return None


async def _handed_over(claimed: Claimed, client: aiosmtplib.SMTP, message: EmailMessage) -> Performed:
    fp("mail.before_data")
    try:
        await client.data(message.as_bytes())
    except aiosmtplib.SMTPDataError as error:
        return _answered(claimed, error)
    except (aiosmtplib.SMTPException, OSError) as error:
        return perhaps(f"no answer after the content: {error}")
    fp("mail.after_250_before_store")
    with suppress(aiosmtplib.SMTPException, OSError):
        await client.quit()
    return done(message_id=str(message["Message-ID"]))


def _answered(claimed: Claimed, error: aiosmtplib.SMTPResponseException) -> Performed:
    """5xx is for good, 4xx for now."""
    said = f"{error.code} {error.message}"
    return refused("refused_by_server", said) if error.code >= 500 else failed_for_now(claimed, said)
