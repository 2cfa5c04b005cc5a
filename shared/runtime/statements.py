"""Statements live in .sql files beside the room that runs them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

SHARED = Path(__file__).parent.parent


@cache
def load_sql(room: str, name: str) -> str:
    """The text of shared/<room>/sql/<name>.sql."""
    return (SHARED / room / "sql" / f"{name}.sql").read_text()
