"""What must hold in a database, as SQL that finds what breaks it. No row: it holds. (reliability, section 2)"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg


@dataclass(frozen=True, slots=True)
class Law:
    """`breaches`: a query whose rows say in `what` who breaks it and how."""

    invariant: str
    name: str
    breaches: str


async def broken(connection: asyncpg.Connection, laws: Iterable[Law]) -> dict[str, list[str]]:
    """By law, what breaks it. Laws that hold are left out."""
    found: dict[str, list[str]] = {}
    for law in laws:
        rows: Sequence[Any] = await connection.fetch(law.breaches)
        if rows:
            found[law.name] = [str(row["what"]) for row in rows]
    return found


EVENTS = """
create view chk.event as
select tenant, aggregate, substr(stream, length(aggregate) + 2) as id, version, type, data, actor, correlation_id, causation_id, hops
from public.events;
"""
"""The log, with the aggregate's id instead of its stream. The schema `chk` is there already."""
