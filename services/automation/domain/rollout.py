"""Which visits a version is for that is not for all of them (automation 3, step 2)."""

from __future__ import annotations

from hashlib import sha1


def is_chosen(visit_id: str, percent: int) -> bool:
    """The same visits for the same share, and with a greater share those and more."""
    return int.from_bytes(sha1(visit_id.encode(), usedforsecurity=False).digest()[:4], "big") % 100 < percent
