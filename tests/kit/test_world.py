"""The World that carries tests/flow: its disturbances change how messages arrive, never what follows (C.13)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from shared.testing.stack import Stack
from shared.testing.world import World, a_world
from tests.kit import toy

START = datetime(2026, 3, 2, 8, tzinfo=UTC)


def everything(world: World) -> None:
    world.duplicate(3)
    world.reorder(6)
    world.cut(6)
    world.crash_after(9, seed=6)


DISTURBANCES: dict[str, Callable[[World], None]] = {
    "plain": lambda world: None,
    "three times": lambda world: world.duplicate(3),
    "reordered": lambda world: world.reorder(5),
    "cut": lambda world: world.cut(5),
    "singly": lambda world: world.cut(size=1),
    "crashing": lambda world: world.crash_after(9, seed=5),
    "killed": lambda world: world.kill(5, times=9, within=9),
    "all at once": everything,
}


@pytest.mark.parametrize("disturbance", DISTURBANCES)
async def test_a_disturbed_world_ends_like_a_quiet_one(stack: Stack, mailbag: toy.Mailbag, disturbance: str) -> None:
    async with a_world(stack, [toy.SERVICE], START) as world:
        DISTURBANCES[disturbance](world)
        for n in range(40):
            record = mailbag.record(toy.Put(request_id="r", jar_id=f"j{n % 7}", number=n % 12), id=f"m{n}")
            world.say(record.topic, record.key, record.headers, record.value)
        await world.settle()

        async with world.inhabitants["toy"].database.raw() as raw:
            rows: list[Any] = [tuple(row) for row in await raw.fetch("select id, version, marbles from jars_v1 order by id")]
            events = await raw.fetchval("select count(*) from events")

    assert (world.died.total() >= 3) is (disturbance == "killed"), world.died
    assert events == sum(1 for n in range(40) if n % 12)
    assert [(id, marbles) for id, _, marbles in rows] == [(f"j{jar}", sum(n % 12 for n in range(40) if n % 7 == jar)) for jar in range(7)]
    assert len({dict(record.headers)["ce_id"] for record in world.records("toy.Filled")}) == events


async def test_what_is_held_back_under_one_key_comes_when_it_is_released(stack: Stack, mailbag: toy.Mailbag) -> None:
    async with a_world(stack, [toy.SERVICE], START) as world:
        records = [mailbag.record(toy.Put(request_id="r", jar_id=jar, number=1), id=f"m-{jar}") for jar in ("early", "late")]
        held = records[1]
        world.hold("toy", held.topic, (held.key or b"").decode())
        for record in records:
            world.say(record.topic, record.key, record.headers, record.value)
        await world.settle()
        assert len(world.records("toy.Filled")) == 1
        world.release("toy", held.topic, (held.key or b"").decode())
        await world.settle()
        assert len(world.records("toy.Filled")) == 2


async def test_a_world_without_an_inbox_would_be_found_out(stack: Stack, mailbag: toy.Mailbag) -> None:
    """The same fact under a new id is a second fact: the disturbance really delivers, and the inbox really decides."""
    async with a_world(stack, [toy.SERVICE], START) as world:
        for _ in range(2):
            record = mailbag.record(toy.Put(request_id="r", jar_id="j", number=1))
            world.say(record.topic, record.key, record.headers, record.value)
        await world.settle()
        assert len(world.records("toy.Filled")) == 2
