"""Statements live in .sql files beside the room that runs them; several may travel as one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from shared.runtime.database import Raw

SHARED = Path(__file__).parent.parent


@cache
def load_sql(room: str, name: str) -> str:
    """The text of shared/<room>/sql/<name>.sql."""
    return (SHARED / room / "sql" / f"{name}.sql").read_text()


class Statement(NamedTuple):
    """Text and the values of its parameters, $1 first."""

    sql: str
    values: tuple[object, ...]


async def execute(raw: Raw, statement: Statement) -> None:
    await raw.execute(statement.sql, *statement.values)


def together(statements: Sequence[Statement]) -> Statement:
    """Inserts as one statement: one round trip instead of one each (decision 8). None may read what another writes.

    PostgreSQL runs such parts last to first; they are turned around, so that all batches take their locks in the order given."""
    if len(statements) == 1:
        return statements[0]
    values = [value for statement in statements for value in statement.values]
    return Statement(_joined(tuple(s.sql for s in statements), tuple(len(s.values) for s in statements)), tuple(values))


@cache
def _joined(texts: tuple[str, ...], sizes: tuple[int, ...]) -> str:
    parts, before = [], 0
    for n, (text, size) in enumerate(zip(texts, sizes, strict=True)):
        parts.append(f"w{n} as (\n{_shifted(text, before)}\n)")
        before += size
    return f"with {', '.join(reversed(parts))} select"


def _shifted(text: str, by: int) -> str:
    """The same statement with parameters that begin behind `by` others."""
    return re.sub(r"\$(\d+)", lambda found: f"${int(found[1]) + by}", text).rstrip().removesuffix(";")
