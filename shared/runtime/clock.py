"""The only source of time and of new ids. Due times, leases and `recorded_at` come from the primary's clock instead (R8)."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from uuid import UUID

from uuid_utils import compat


def _wall() -> datetime:
    return datetime.now(UTC)


_source: Callable[[], datetime] = _wall


def now() -> datetime:
    """This machine's wall clock, for logs and for what leaves the house. Never compared with another machine's."""
    return _source()


@contextmanager
def told_by(source: Callable[[], datetime]) -> Iterator[None]:
    """Tests move time by hand: inside the block `now` is what `source` says."""
    global _source
    before, _source = _source, source
    try:
        yield
    finally:
        _source = before


def monotonic() -> float:
    """Seconds, for durations inside this process."""
    return time.monotonic()


def new_id() -> UUID:
    """A new id, minted at a door (version 7: sorted by time)."""
    return compat.uuid7()


def new_token(bits: int = 128) -> str:
    """An unguessable token, URL-safe."""
    return secrets.token_urlsafe(bits // 8)
