"""Requests that are signed instead of carrying a credential: Standard Webhooks 1.0.0, HMAC-SHA-256 over id, timestamp and body (H9)."""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping
from datetime import datetime

TOLERANCE = 300
"""Seconds that a timestamp may lie in the past or in the future."""
PREFIX = "whsec_"
ID, TIMESTAMP, SIGNATURE = HEADERS = ("webhook-id", "webhook-timestamp", "webhook-signature")
LONGEST_ID = 200


def signature(secret: str, id: str, timestamp: str, body: bytes) -> str:
    """`v1,` and the HMAC over '<id>.<timestamp>.<body>'. `secret` as its owner was shown it."""
    return sealed(b64decode(secret.removeprefix(PREFIX)), id, timestamp, body)


def sealed(key: bytes, id: str, timestamp: str, body: bytes) -> str:
    """The same with the key itself, where two programs share it and nobody is shown it."""
    return "v1," + b64encode(hmac.digest(key, f"{id}.{timestamp}.".encode() + body, "sha256")).decode()


def shown_secret(key: bytes) -> str:
    """As its owner is shown it, once."""
    return PREFIX + b64encode(key).decode()


def signed_id(headers: Mapping[str, str], body: bytes, secrets: Iterable[str], now: datetime) -> str | None:
    """The id of a request that one of the secrets signed within the tolerance; None for any other.

    Every secret is compared with every signature, each in constant time: an answer says nothing about which was nearly right."""
    id, timestamp, given = (headers.get(name, "") for name in HEADERS)
    stamped = timestamp.isascii() and timestamp.isdigit() and len(timestamp) < 12
    is_fresh = stamped and abs(int(timestamp) - now.timestamp()) <= TOLERANCE
    readable = 0 < len(id) <= LONGEST_ID and id.isascii() and id.isprintable()
    made = [signature(secret, id, timestamp, body).encode() for secret in secrets] if readable else []
    good = [hmac.compare_digest(one, said.encode()) for one in made for said in given.split(" ")]
    return id if is_fresh and any(good) else None
