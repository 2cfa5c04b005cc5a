"""What the stack of the tests promises: databases with their roles, and nothing shared between runs by accident."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest
from sqlalchemy.engine import make_url

from shared.testing.stack import Stack


async def test_a_fresh_database_lets_its_service_become_each_of_its_roles(stack: Stack) -> None:
    connection = await asyncpg.connect(await stack.fresh_database("deals"))
    try:
        for role in ("deals_owner", "deals_kit", "deals_reader"):
            await connection.execute(f"set role {role}")
            assert await connection.fetchval("select current_user") == role
    finally:
        await connection.close()


async def test_a_service_cannot_connect_to_another_ones_database(stack: Stack) -> None:
    deals, billing = await stack.fresh_database("deals"), await stack.fresh_database("billing")
    intruder = make_url(deals).set(database=make_url(billing).database).render_as_string(hide_password=False)
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(intruder)


async def test_a_service_cannot_become_another_ones_role(stack: Stack) -> None:
    await stack.fresh_database("billing")
    connection = await asyncpg.connect(await stack.fresh_database("deals"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("set role billing_kit")
    finally:
        await connection.close()


async def test_the_login_has_no_rights_before_it_takes_a_role(stack: Stack) -> None:
    connection = await asyncpg.connect(await stack.fresh_database("deals"))
    try:
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            await connection.execute("create table forbidden (a int)")
    finally:
        await connection.close()


async def test_databases_may_be_asked_for_at_the_same_time(stack: Stack) -> None:
    urls = await asyncio.gather(*(stack.fresh_database("scheduler") for _ in range(4)))
    assert len(set(urls)) == 4


async def test_text_is_ordered_by_code_point_whatever_the_machine(stack: Stack) -> None:
    connection = await asyncpg.connect(await stack.fresh_database("deals"))
    try:
        ordered = await connection.fetch("select word from (values ('b'), ('A'), ('ä'), ('a'), ('B')) as t(word) order by word")
        assert [row["word"] for row in ordered] == ["A", "B", "a", "b", "ä"]
    finally:
        await connection.close()


async def test_there_are_locks_enough_for_a_batch(stack: Stack) -> None:
    connection = await asyncpg.connect(stack.admin_url)
    try:
        assert int(await connection.fetchval("show max_locks_per_transaction")) >= 256
    finally:
        await connection.close()


async def test_a_closed_stack_leaves_no_database(stack: Stack) -> None:
    own = Stack(stack.admin_url, stack.bootstrap)
    database = make_url(await own.fresh_database("deals")).database
    await own.close()
    connection = await asyncpg.connect(stack.admin_url)
    try:
        assert not await connection.fetchval("select exists (select from pg_database where datname = $1)", database)
    finally:
        await connection.close()
