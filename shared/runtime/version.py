"""Which code this is: the version of the release and the revision it was built from."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

VERSION = "0.1.0"


@cache
def revision() -> str:
    """The git revision: DEALWRIGHT_REVISION of an image, else what the work tree says, else 'unknown'."""
    if given := os.environ.get("DEALWRIGHT_REVISION"):
        return given
    git = Path(__file__).parents[2] / ".git"
    try:
        head = (git / "HEAD").read_text().strip()
        name = head.removeprefix("ref: ")
        return head if name == head else (git / name).read_text().strip()
    except OSError:
        return "unknown"
