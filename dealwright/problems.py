"""What stops a command, as one sentence for the person who typed it."""

from __future__ import annotations


class Problem(Exception):
    """Shown as it stands, without a traceback: what is wrong and what to do about it."""
