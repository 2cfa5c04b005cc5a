"""Several inserts as one statement: what PostgreSQL makes of them (decision 8)."""

from __future__ import annotations

import asyncpg
import pytest

from shared.runtime.statements import Statement, execute, together
from shared.testing.stack import Stack

INSERT = """-- ${n} is no parameter here
insert into {table} (said) select t.said from unnest($1::text[], $2::int[]) as t(said, n) order by t.n;
"""


async def test_each_part_writes_its_rows_in_the_order_of_the_parts(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.admin_url)
    try:
        await connection.execute("create temp sequence places")
        for table in "abc":
            await connection.execute(f"create temp table {table} (said text, place int default nextval('places'))")
        parts = [Statement(INSERT.replace("{table}", table), ([f"{table}2", f"{table}1"], [2, 1])) for table in "abc"]
        await execute(connection, together(parts))
        written = await connection.fetch(
            "select said from (select * from a union all select * from b union all select * from c) x order by place"
        )
        assert [row["said"] for row in written] == ["a1", "a2", "b1", "b2", "c1", "c2"]
    finally:
        await connection.close()


async def test_one_part_that_fails_undoes_the_others(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.admin_url)
    try:
        await connection.execute("create temp table a (said text)")
        await connection.execute("create temp table b (said text check (said <> 'b1'))")
        with pytest.raises(asyncpg.CheckViolationError):
            await execute(connection, together([Statement(INSERT.replace("{table}", t), ([f"{t}1"], [1])) for t in "ab"]))
        assert await connection.fetchval("select count(*) from a") == 0
    finally:
        await connection.close()


def test_a_single_statement_stays_what_it_is() -> None:
    alone = Statement("insert into a values ($1)", (1,))
    assert together([alone]) is alone
