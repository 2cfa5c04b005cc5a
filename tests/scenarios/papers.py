"""What customers do with quotes and documents that they got by mail: open the link, read, answer."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

import httpx

from tests.scenarios.ground import Ground


async def link(g: Ground, room: str, subject: str, to: str = "petra@example.org") -> str:
    """The path behind the link of the only mail whose subject holds these words."""
    [mail] = [mail for mail in await g.mails(to) if subject in mail.subject]
    found = re.search(rf"https?://\S+/{room}/\S+", mail.text)
    assert found, mail.text
    return str(urlsplit(found[0]).path)


async def answer(g: Ground, path: str, said: str, **fields: str) -> httpx.Response:
    """Fills the page's form in and presses a button twice; then everything that follows."""
    browser = g.door("billing", "nobody")
    page = (await browser.get(path)).text
    hidden = dict(re.findall(r'type=hidden name=(\w+) value="([^"]*)"', page))
    pressed = [await browser.post(path, data={**hidden, **fields, "answer": said}) for _ in range(2)]
    assert [press.status_code for press in pressed] == [303, 303], pressed[0].text
    await g.settle()
    return await browser.get(path)


async def sign(g: Ground, subject: str, name: str, to: str = "petra@example.org") -> httpx.Response:
    """Answers the page as it is afterwards."""
    return await answer(g, await link(g, "sign", subject, to), "sign", name=name, agreed="true")
