"""What is checked about a body before it is parsed: size, depth, NaN, duplicate keys, NUL (C.2).

Our own services write none of these, so their bodies pay for a size check only; the rest is for foreign senders."""

from __future__ import annotations

import json
from typing import Any, NoReturn

from shared.es.errors import Unreadable
from shared.messaging.envelope import MAX_DEPTH, MAX_SIZE, Envelope

OWN = "urn:dealwright:"


def checked(envelope: Envelope) -> bytes:
    """The body's bytes. Raises Unreadable."""
    data = envelope.data
    if len(data) > MAX_SIZE:
        raise Unreadable(f"the body has {len(data)} bytes; {MAX_SIZE} are allowed")
    if b"\\u0000" in data:
        raise Unreadable("the body contains a NUL character")
    if not envelope.source.startswith(OWN):
        _check_foreign(data)
    return data


def _check_foreign(data: bytes) -> None:
    if _depth(data) > MAX_DEPTH:
        raise Unreadable(f"the body is nested deeper than {MAX_DEPTH}")
    try:
        json.loads(data, object_pairs_hook=_without_duplicates, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"the body is not JSON: {error}") from None


def _depth(data: bytes) -> int:
    """Brackets open at once, an upper bound: those inside strings count too."""
    deepest = open_now = 0
    for byte in data:
        if byte in b"[{":
            open_now += 1
            deepest = max(deepest, open_now)
        elif byte in b"]}":
            open_now -= 1
    return deepest


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")
