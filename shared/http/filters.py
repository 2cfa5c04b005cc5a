"""Filters of lists: query parameters as conditions of SQL. What was not given is no condition."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement


def one_of(column: ColumnElement[Any], wanted: str | None) -> list[ColumnElement[bool]]:
    """`a,b`: either."""
    return [] if wanted is None else [column.in_([part.strip() for part in wanted.split(",")])]


def between(column: ColumnElement[Any], since: Any, until: Any) -> list[ColumnElement[bool]]:
    """From inclusive to exclusive."""
    return [*([column >= since] if since is not None else []), *([column < until] if until is not None else [])]
