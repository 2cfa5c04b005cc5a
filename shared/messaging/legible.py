"""What a refused command says legibly: its body may be anything, and what an answer repeats of it has to travel."""

from __future__ import annotations

from typing import Any

import orjson

LONGEST = 200


def legible(data: bytes) -> dict[str, Any]:
    """The members of the body; none where it is no JSON object, or one that is nested beyond reading or no valid Unicode."""
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def text_said(value: object) -> str | None:
    """Text, cut to 200 characters; None for anything else."""
    return value[:LONGEST] if isinstance(value, str) else None
