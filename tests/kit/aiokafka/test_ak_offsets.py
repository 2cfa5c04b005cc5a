"""AK-1, AK-2, AK-3, AK-16: who may commit what, and when."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.kit.aiokafka.lab import Lab, Listener, assignment, expel, until


async def auto_commit_beside_a_handler(lab: Lab) -> int | None:
    tp = await lab.topic()
    await lab.fill(tp, b"0", b"1", b"2")
    async with lab.consumer(tp.topic, group_id="ak1", enable_auto_commit=True, auto_commit_interval_ms=100) as consumer:
        assert (await consumer.getone()).offset == 0
        await asyncio.sleep(1.0)
        return await lab.committed("ak1", tp)


async def commit_in_a_later_generation(lab: Lab) -> tuple[int, int | None, int | None]:
    """How many generations lie between the work and its commit; the group's offset before and after."""
    tp = await lab.topic()
    await lab.fill(tp, *(b"%d" % n for n in range(20)))
    async with lab.consumer(tp.topic, group_id="ak2", door="AK2") as a:
        assert (await a.getone()).offset == 0
        generation = a._coordinator.generation
        expelled = asyncio.create_task(expel(lab.doors["AK2"]))
        async with lab.consumer(tp.topic, group_id="ak2") as b:
            await assignment(b, 1)
            await b.commit({tp: 15})
        await expelled
        before = await lab.committed("ak2", tp)
        await until(lambda: a._coordinator.generation > generation and a.assignment() and not a._subscription.reassignment_in_progress)
        await a.commit({tp: 1})
        return a._coordinator.generation - generation, before, await lab.committed("ak2", tp)


async def rebalance_beside_a_handler(lab: Lab) -> bool:
    """Was the callback called while the handler was still at work?"""
    tp = await lab.topic(partitions=2)
    await lab.fill(tp, b"0")
    listener = Listener()
    async with lab.consumer(tp.topic, group_id="ak3a", listener=listener) as a:
        await a.getone()
        calls = len(listener.revoked)
        async with lab.consumer(tp.topic, group_id="ak3a"):
            await asyncio.sleep(3.0)
            return len(listener.revoked) > calls


async def commit_in_the_callback_of_an_expelled_member(lab: Lab) -> tuple[list[Any], int | None]:
    """The generation in the callback, and what the group has afterwards."""
    tp = await lab.topic()
    await lab.fill(tp, *(b"%d" % n for n in range(20)))
    generations: list[Any] = []

    async def commit() -> None:
        generations.append(a._coordinator.generation)
        await a.commit({tp: 7})

    async with lab.consumer(tp.topic, group_id="ak3b", door="AK3", listener=Listener(commit)) as a:
        await a.getone()
        await expel(lab.doors["AK3"])
        await until(lambda: generations)
        await asyncio.sleep(0.5)
        return generations, await lab.committed("ak3b", tp)


async def transaction_of_an_expelled_member(lab: Lab) -> tuple[int | None, int | None]:
    """The group's offset before and after; its markers are written behind the transaction's answer."""
    tp = await lab.topic()
    await lab.fill(tp, *(b"%d" % n for n in range(20)))
    async with lab.consumer(tp.topic, group_id="ak16", door="AK16") as a, lab.producer(transactional_id="ak16") as producer:
        assert (await a.getone()).offset == 0
        expelled = asyncio.create_task(expel(lab.doors["AK16"]))
        async with lab.consumer(tp.topic, group_id="ak16") as b:
            await assignment(b, 1)
            await b.commit({tp: 15})
            before = await lab.committed("ak16", tp)
            async with producer.transaction():
                await producer.send_offsets_to_transaction({tp: 1}, "ak16")
            await expelled
        async with asyncio.timeout(5):
            while (after := await lab.committed("ak16", tp)) == before:
                await asyncio.sleep(0.1)
        return before, after


SIDE_BY_SIDE = (
    auto_commit_beside_a_handler,
    commit_in_a_later_generation,
    rebalance_beside_a_handler,
    commit_in_the_callback_of_an_expelled_member,
    transaction_of_an_expelled_member,
)


async def test_ak_1_auto_commit_commits_what_was_only_handed_out(lab: Lab) -> None:
    assert await lab.seen(auto_commit_beside_a_handler) == 1


async def test_ak_2_a_commit_carries_the_current_generation_and_moves_the_group_back(lab: Lab) -> None:
    generations, before, after = await lab.seen(commit_in_a_later_generation)
    assert generations > 0
    assert (before, after) == (15, 1)


async def test_ak_3_rebalances_run_beside_the_handler(lab: Lab) -> None:
    assert await lab.seen(rebalance_beside_a_handler)


async def test_ak_3_an_expelled_member_may_commit_in_its_callback(lab: Lab) -> None:
    generations, committed = await lab.seen(commit_in_the_callback_of_an_expelled_member)
    assert generations == [-1]
    assert committed == 7


async def test_ak_16_a_transaction_commits_offsets_of_an_expelled_member(lab: Lab) -> None:
    before, after = await lab.seen(transaction_of_an_expelled_member)
    assert (before, after) == (15, 1)
