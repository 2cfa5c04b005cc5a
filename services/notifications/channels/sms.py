"""SMS through a gateway behind one small port. Without a gateway the sandbox takes them: they are logged and seen in the mailbox. (F2)"""

from __future__ import annotations

from typing import Protocol

import httpx
import structlog

from services.notifications.channels.outcome import done, failed_for_now, perhaps, refused
from services.notifications.settings import settings
from shared.messaging.effects import Claimed, Performed

log = structlog.get_logger(__name__)


class Gateway(Protocol):
    """Takes one message; `reference` is the same on every attempt, so that the gateway can recognise it."""

    async def send(self, claimed: Claimed, to: str, text: str, reference: str) -> Performed: ...


class Sandbox:
    """Nothing leaves the house."""

    async def send(self, claimed: Claimed, to: str, text: str, reference: str) -> Performed:
        log.info("sms.sandbox", reference=reference, characters=len(text))
        return done(message_id=reference, sandbox=True)


class HttpGateway:
    """POST {to, text, reference}; 2xx is accepted, 4xx refused for good, everything else tried again."""

    def __init__(self, url: str, token: str | None) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}

    async def send(self, claimed: Claimed, to: str, text: str, reference: str) -> Performed:
        body = {"to": to, "text": text, "reference": reference}
        try:
            async with httpx.AsyncClient(timeout=15, follow_redirects=False) as client:
                answer = await client.post(self._url, json=body, headers={**self._headers, "Idempotency-Key": reference})
        except httpx.ConnectError as error:
            return failed_for_now(claimed, f"the gateway is away: {error}")
        except httpx.HTTPError as error:
            return perhaps(f"no answer of the gateway: {error}")
        if answer.is_success:
            return done(message_id=reference)
        said = f"the gateway answered {answer.status_code}"
        permanent = 400 <= answer.status_code < 500 and answer.status_code not in (408, 429)
        return refused("refused_by_server", said) if permanent else failed_for_now(claimed, said)


def gateway() -> Gateway:
    own = settings().notifications
    if own.gateway_url is None:
        return Sandbox()
    return HttpGateway(own.gateway_url, own.token.get_secret_value() if own.token else None)


async def send(claimed: Claimed) -> Performed:
    request = claimed.request
    return await gateway().send(claimed, request["to"], request["text"], request["notice_id"])


async def rehearse(claimed: Claimed) -> Performed:
    request = claimed.request
    return await Sandbox().send(claimed, request["to"], request["text"], request["notice_id"])
