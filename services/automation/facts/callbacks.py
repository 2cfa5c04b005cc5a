"""Tokens of webhook calls: who may answer which call (G52).

A token is derived from the deployment's pepper: nobody can guess one, and none has to be kept to know one again. It names its
tenant, the step that was asked and the moment of asking: a call that is repeated has another."""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

from services.automation.domain.timing import instant
from services.automation.settings import settings
from shared.es.errors import NotFound
from shared.runtime.settings import settings as kit_settings

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SEAL = 20
"""Bytes of the HMAC that are kept."""
LONGEST = 16 + 16 + 6 + SEAL


@dataclass(frozen=True, slots=True)
class Call:
    """`asked_at` as the step has it."""

    tenant: UUID
    request_id: str
    asked_at: str


def callback_url(call: Call) -> str:
    """Where the answer to a call is expected."""
    return f"{settings().base}/v1/callbacks/{token_of(call)}"


def token_of(call: Call) -> str:
    milliseconds = (datetime.fromisoformat(call.asked_at) - EPOCH) // timedelta(milliseconds=1)
    named = call.tenant.bytes + UUID(call.request_id).bytes + milliseconds.to_bytes(6, "big")
    return urlsafe_b64encode(named + _seal(named)).rstrip(b"=").decode()


def call_of(token: str) -> Call:
    """Raises NotFound for a token that is not ours."""
    try:
        raw = urlsafe_b64decode(token.encode() + b"=" * (-len(token) % 4))
    except (Error, ValueError):
        raw = b""
    named, seal = raw[:-SEAL], raw[-SEAL:]
    if len(raw) != LONGEST or not hmac.compare_digest(seal, _seal(named)):
        raise NotFound("There is no call with this token.")
    asked_at = EPOCH + timedelta(milliseconds=int.from_bytes(named[32:], "big"))
    return Call(UUID(bytes=named[:16]), str(UUID(bytes=named[16:32])), instant(asked_at))


def _seal(named: bytes) -> bytes:
    pepper = kit_settings().pepper.get_secret_value().encode()
    return hmac.digest(pepper, b"automation: callbacks of called webhooks/" + named, "sha256")[:SEAL]
