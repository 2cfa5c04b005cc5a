"""Limits of texts that come in by message; over HTTP the request models hold them (billing.md 12)."""

from __future__ import annotations

from services.billing.domain.money import invalid
from shared.es.errors import Fault

TITLE, ORDER_ID, REASON, NAME = 255, 64, 1000, 255


def limited(text: str, most: int, pointer: str, *, least: int = 0) -> str:
    """The text itself. Raises Rejected (`validation_failed`: `too_long`, `too_short`)."""
    if len(text) > most:
        raise invalid([Fault(pointer, "too_long", f"At most {most} characters are allowed.")])
    if len(text) < least:
        raise invalid([Fault(pointer, "too_short", f"At least {least} character is needed.")])
    return text
