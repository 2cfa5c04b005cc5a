"""A mail server that keeps everything and delivers nothing: SMTP in, a page and JSON out. For people, the demo and tests.

`GET /` is the page, `GET /mails?to=…` the list (newest first), `GET /mails/{id}` one mail, `GET /mails/{id}/source` its bytes. Each mail is
two files in the folder, `<id>.eml` and `<id>.json`; the oldest go when there are more than KEPT.
"""

from __future__ import annotations

import argparse
import asyncio
import html
import itertools
import json
import re
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from shared.runtime.clock import now

HOST = "127.0.0.1"
KEPT = 10_000
LARGEST = 16 * 1024 * 1024
LINK = re.compile(r"https?://[^\s<>\"']+")


class Mailbox:
    """Mails in a folder, by rising number; what is said of each is kept at hand, its bytes are not."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._folder = folder
        self._mails: dict[str, dict[str, Any]] = {path.stem: json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))}
        self._numbers = itertools.count(max(map(int, self._mails), default=0) + 1)

    def keep(self, sender: str | None, recipients: list[str], content: bytes) -> str:
        """Returns the mail's id. On disk before the sender hears 250."""
        id = f"{next(self._numbers):08}"
        mail = described(id, sender, recipients, content)
        (self._folder / f"{id}.eml").write_bytes(content)
        unfinished = self._folder / f"{id}.new"
        unfinished.write_text(json.dumps(mail))
        unfinished.replace(self._folder / f"{id}.json")
        self._mails[id] = mail
        self._forget_oldest()
        return id

    def mails(self, to: str | None = None) -> list[dict[str, Any]]:
        """Newest first; `to`: only those one of whose recipients contains it, in any case."""
        found = reversed(list(self._mails.values()))
        return [mail for mail in found if to is None or any(to.lower() in address.lower() for address in mail["to"])]

    def mail(self, id: str) -> dict[str, Any] | None:
        return self._mails.get(id)

    def source(self, id: str) -> bytes | None:
        return (self._folder / f"{id}.eml").read_bytes() if id in self._mails else None

    def _forget_oldest(self) -> None:
        for id in list(self._mails)[:-KEPT]:
            del self._mails[id]
            for ending in ("json", "eml"):
                (self._folder / f"{id}.{ending}").unlink(missing_ok=True)


def described(id: str, sender: str | None, recipients: list[str], content: bytes) -> dict[str, Any]:
    """`from` and `to` as the envelope had them; texts decoded; `links` in the order they appear in the text, else in the HTML."""
    message = message_from_bytes(content, policy=policy.default)
    assert isinstance(message, EmailMessage)
    text, page = _body(message, "plain"), _body(message, "html")
    return {
        "id": id,
        "received_at": now().isoformat(),
        "from": sender or "",
        "to": recipients,
        "subject": str(message.get("subject", "")),
        "message_id": str(message.get("message-id", "")),
        "text": text,
        "html": page,
        "links": [html.unescape(link) if not text else link for link in LINK.findall(text or page)],
        "attachments": [_attachment(part) for part in message.iter_attachments()],
    }


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part is not None else ""


def _attachment(part: Any) -> dict[str, Any]:
    return {"name": part.get_filename(), "type": part.get_content_type(), "size": len(part.get_payload(decode=True) or b"")}


class Receiver:
    """What aiosmtpd asks us."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        content = envelope.content if isinstance(envelope.content, bytes) else (envelope.content or "").encode()
        id = self._mailbox.keep(envelope.mail_from, list(envelope.rcpt_tos), content)
        return f"250 kept as {id}"


def web(mailbox: Mailbox) -> Starlette:
    """Only under its loopback names: a page of elsewhere must not read mails through a name that points here."""

    async def page(request: Request) -> Response:
        return HTMLResponse(_page(mailbox.mails()))

    async def listed(request: Request) -> Response:
        return JSONResponse({"items": mailbox.mails(request.query_params.get("to"))})

    async def one(request: Request) -> Response:
        return JSONResponse(_found(mailbox.mail(request.path_params["id"])))

    async def source(request: Request) -> Response:
        return Response(_found(mailbox.source(request.path_params["id"])), media_type="text/plain; charset=utf-8")

    return Starlette(
        routes=[Route("/", page), Route("/mails", listed), Route("/mails/{id}", one), Route("/mails/{id}/source", source)],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])],
    )


def _found(what: Any) -> Any:
    if what is None:
        raise HTTPException(404, "no such mail")
    return what


def _page(mails: list[dict[str, Any]]) -> str:
    shown = "".join(_article(mail) for mail in mails[:100]) or "<p>No mail yet.</p>"
    style = "body{font:15px/1.5 system-ui;max-width:50em;margin:2em auto;padding:0 1em}article{border-top:1px solid #ccc;padding:1em 0}"
    return (
        f"<!doctype html><meta charset=utf-8><title>Mailbox</title><style>{style} pre{{white-space:pre-wrap}}</style>"
        f"<h1>Mailbox</h1><p>Mails the services sent; none leaves this machine. As JSON: <a href=/mails>/mails</a></p>{shown}"
    )


def _article(mail: dict[str, Any]) -> str:
    """Text only, every character of it escaped: what a mail says about itself is not trusted."""
    text = LINK.sub(lambda link: f"<a href='{link[0]}' rel=noreferrer>{link[0]}</a>", html.escape(mail["text"] or mail["html"], quote=True))
    return (
        f"<article><b>{html.escape(mail['subject'])}</b><br>to {html.escape(', '.join(mail['to']))}, {html.escape(mail['received_at'])}"
        f" (<a href='/mails/{mail['id']}/source'>source</a>)<pre>{text}</pre></article>"
    )


async def serve(folder: Path, smtp_port: int, http_port: int) -> None:
    """Until SIGTERM or SIGINT."""
    mailbox = Mailbox(folder)
    loop = asyncio.get_running_loop()
    smtp = await loop.create_server(
        lambda: SMTP(Receiver(mailbox), data_size_limit=LARGEST, enable_SMTPUTF8=True, hostname="mailbox", loop=loop), HOST, smtp_port
    )
    async with smtp:
        await uvicorn.Server(uvicorn.Config(web(mailbox), host=HOST, port=http_port, log_level="warning")).serve()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--smtp", type=int, required=True)
    parser.add_argument("--http", type=int, required=True)
    given = parser.parse_args()
    asyncio.run(serve(given.folder, given.smtp, given.http))
