"""What stops the embedded stack, as one sentence for the person who started it."""

from __future__ import annotations


class StackProblem(Exception):
    """Shown as it stands, without a traceback: what is wrong and what to do about it."""
