"""Rows are found by their key, also in tables of which the planner knows nothing yet (decision 0006)."""

from __future__ import annotations

import pytest

from shared.runtime.database import owner_connection
from shared.runtime.service import Kit
from shared.runtime.statements import load_sql
from tests.kit import toy

KEYED = (
    (load_sql("es", "load"), "uuid[], text[]", "(tenant = want.tenant) AND (stream = want.stream)"),
    (load_sql("es", "read"), "uuid[], text[]", "(tenant = want.tenant) AND (stream = want.stream)"),
    (
        load_sql("messaging", "inbox_answers"),
        "text, text[], text[]",
        "(consumer = $1) AND (source = t.source) AND (message_id = t.id) AND (day = '1970-01-01'::date)",
    ),
    (
        load_sql("messaging", "inbox_withdraw"),
        "text, text[], text[], date[]",
        "(consumer = $1) AND (source = ANY ($2)) AND (message_id = ANY ($3)) AND (day = ANY ($4))",
    ),
    (
        load_sql("messaging", "effects_told"),
        "uuid[], text[], text[], timestamptz, timestamptz",
        "(tenant = ANY ($1)) AND (kind = ANY ($2)) AND (key = ANY ($3))",
    ),
    (toy.OWNERS.rows_by_key, "uuid[], text[]", "(tenant = w.tenant) AND (id = w.id)"),
    (load_sql("messaging", "blocked"), "text, text[]", "(consumer = $1) AND (key = ANY ($2))"),
)


async def plan_of(kit: Kit, statement: str, types: str) -> str:
    """The generic plan, as a long-lived connection keeps it."""
    nulls = ", ".join("null" for _ in types.split(","))
    async with kit.database.transaction() as tx:
        await tx.raw.execute("set local plan_cache_mode = force_generic_plan")
        await tx.raw.execute(f"prepare asked({types}) as {statement}")
        lines = [str(row["QUERY PLAN"]) for row in await tx.raw.fetch(f"explain execute asked({nulls})")]
        await tx.raw.execute("deallocate asked")
    return "\n".join(lines)


@pytest.mark.parametrize(("statement", "types", "key"), KEYED)
async def test_a_statement_goes_by_its_key(kit: Kit, statement: str, types: str, key: str) -> None:
    plan = await plan_of(kit, statement, types)
    assert f"Index Cond: ({key})" in plan, plan
    assert "Seq Scan" not in plan, plan


async def test_an_outcome_is_noted_by_the_key_of_the_conflict(kit: Kit) -> None:
    plan = await plan_of(kit, load_sql("messaging", "inbox_outcome"), "text, text[], text[], date[], text[], text[], timestamptz")
    assert "Conflict Arbiter Indexes: inbox_pkey" in plan, plan
    assert "Scan using" not in plan, plan
    assert "Seq Scan" not in plan, plan


async def test_a_queue_that_was_analyzed_while_empty_is_read_from_its_head(kit: Kit, database_url: str) -> None:
    async with owner_connection(database_url, "toy") as owner:
        await owner.execute("vacuum analyze outbox")
    plan = await plan_of(kit, load_sql("messaging", "next"), "int")
    assert "Index Scan using outbox_pkey" in plan, plan
    assert "Sort" not in plan, plan
    plan = await plan_of(kit, load_sql("messaging", "sent"), "bigint[], text, bigint")
    assert 'Index Cond: ("position" = ANY ($1))' in plan, plan
