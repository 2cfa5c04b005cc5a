"""AK-4, AK-5, AK-6, AK-14, AK-15, AK-17: membership, and what costs it."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

from tests.kit.aiokafka.lab import Lab, Listener, assignment


async def revocation_that_takes_long(lab: Lab, group: str, **settings: Any) -> bool:
    """Has the other member been given everything while this one's callback is still at work?"""
    tp = await lab.topic(partitions=2)
    listener = Listener(lambda: asyncio.sleep(12))
    async with lab.consumer(tp.topic, group_id=group, listener=listener, **settings) as a:
        await assignment(a, 2)
        async with lab.consumer(tp.topic, group_id=group, **settings) as b:  # its start returns when it has been assigned something
            assert any(listener.revoked)
            return listener.inside and len(b.assignment()) == 2


async def revocation_with_the_default_time_out(lab: Lab) -> bool:
    return await revocation_that_takes_long(lab, "ak4default")


async def revocation_with_a_minute(lab: Lab) -> bool:
    return await revocation_that_takes_long(lab, "ak4minute", rebalance_timeout_ms=60_000)


async def blocked_loop(lab: Lab) -> tuple[int, list[int]]:
    """Generations gained, and the offsets handed out; in a loop of its own, because it stands still for eight seconds."""
    tp = await lab.topic()
    await lab.fill(tp, b"0", b"1", b"2")

    async def member() -> tuple[int, list[int]]:
        async with lab.consumer(tp.topic, group_id="ak5") as consumer:
            offsets = [(await consumer.getone()).offset]
            generation = consumer._coordinator.generation
            threading.Event().wait(8)
            while len(offsets) < 2 or offsets[-1] != 0:
                offsets.append((await consumer.getone()).offset)
            return consumer._coordinator.generation - generation, offsets

    return await asyncio.to_thread(asyncio.run, member())


async def handler_that_is_stuck(lab: Lab, group: str, *, cancel_first: bool) -> int:
    """Members left in the group while the handler has been stuck for longer than max_poll_interval."""
    tp = await lab.topic()
    async with lab.consumer(tp.topic, group_id=group, max_poll_interval_ms=3000) as consumer:
        await assignment(consumer, 1)
        if cancel_first:
            cancelled = asyncio.create_task(consumer.getone())
            await asyncio.sleep(0.2)
            cancelled.cancel()
            await asyncio.wait([cancelled])
        await lab.fill(tp, b"0")
        await consumer.getone()
        await asyncio.sleep(8)
        return await lab.members(group)


async def stuck_handler(lab: Lab) -> int:
    return await handler_that_is_stuck(lab, "ak6", cancel_first=False)


async def stuck_handler_after_a_cancelled_poll(lab: Lab) -> int:
    return await handler_that_is_stuck(lab, "ak6cancelled", cancel_first=True)


async def member_without_partitions_that_does_not_poll(lab: Lab) -> tuple[int, int]:
    """Its partitions some seconds after the other one has left, and after it polls."""
    tp = await lab.topic()
    short: dict[str, Any] = {"group_id": "ak14", "max_poll_interval_ms": 3000}
    async with lab.consumer(tp.topic, **short) as a, lab.consumer(tp.topic, **short) as b:
        async with asyncio.timeout(10):
            while len(a.assignment()) + len(b.assignment()) != 1:
                await asyncio.gather(a.getmany(timeout_ms=100), b.getmany(timeout_ms=100))
        owner, idle = (a, b) if a.assignment() else (b, a)
        for _ in range(10):
            await owner.getmany(timeout_ms=500)
        await owner.stop()
        await asyncio.sleep(4)
        before = len(idle.assignment())
        await assignment(idle, 1)
        return before, len(idle.assignment())


async def third_member(lab: Lab) -> list[list[int]]:
    """How many partitions each of the first two was told to give up, and given, when the third one joined."""
    tp = await lab.topic(partitions=6)
    first, second = Listener(), Listener()
    async with lab.consumer(tp.topic, group_id="ak15", listener=first) as a:
        await assignment(a, 6)
        async with lab.consumer(tp.topic, group_id="ak15", listener=second) as b:
            await asyncio.gather(assignment(a, 3), assignment(b, 3))
            seen = len(first.revoked), len(second.revoked)
            async with lab.consumer(tp.topic, group_id="ak15") as c:
                await asyncio.gather(*(assignment(member, 2) for member in (a, b, c)))
            return [[len(listener.revoked[n]), len(listener.assigned[n])] for listener, n in zip((first, second), seen, strict=True)]


async def two_with_one_instance_id(lab: Lab) -> tuple[int, list[str]]:
    """Generations gained and errors, once each has been given three names and both were seen with the one partition twenty times."""
    tp = await lab.topic()
    errors: list[str] = []

    async def poll(member: Any) -> None:
        while True:
            try:
                await member.getmany(timeout_ms=200)
            except Exception as error:
                errors.append(type(error).__name__)
                await asyncio.sleep(0.2)

    static: dict[str, Any] = {"group_id": "ak17", "group_instance_id": "one"}
    async with lab.consumer(tp.topic, **static) as a:
        await assignment(a, 1)
        async with lab.consumer(tp.topic, **static) as b:
            polls = [asyncio.create_task(poll(member)) for member in (a, b)]
            generation, both, names = a._coordinator.generation, 0, (set[str](), set[str]())
            async with asyncio.timeout(50):
                while both < 20 or min(map(len, names)) < 3:
                    for member, seen in zip((a, b), names, strict=True):
                        seen.add(member._coordinator.member_id)
                    both += bool(a.assignment() and b.assignment())
                    await asyncio.sleep(0.05)
            for task in polls:
                task.cancel()
            return b._coordinator.generation - generation, errors


SIDE_BY_SIDE = (
    revocation_with_the_default_time_out,
    revocation_with_a_minute,
    blocked_loop,
    stuck_handler,
    stuck_handler_after_a_cancelled_poll,
    member_without_partitions_that_does_not_poll,
    third_member,
    two_with_one_instance_id,
)


async def test_ak_4_a_long_revocation_costs_the_membership_unless_the_time_out_is_set(lab: Lab) -> None:
    assert await lab.seen(revocation_with_the_default_time_out) is True
    assert await lab.seen(revocation_with_a_minute) is False


async def test_ak_5_a_blocked_loop_loses_the_session_and_begins_again_at_the_last_commit(lab: Lab) -> None:
    generations, offsets = await lab.seen(blocked_loop)
    assert generations > 0
    assert offsets[0] == offsets[-1] == 0


async def test_ak_6_after_one_cancelled_poll_a_stuck_handler_is_never_evicted(lab: Lab) -> None:
    assert await lab.seen(stuck_handler) == 0
    assert await lab.seen(stuck_handler_after_a_cancelled_poll) == 1


async def test_ak_14_a_member_without_partitions_gets_none_until_it_polls(lab: Lab) -> None:
    assert await lab.seen(member_without_partitions_that_does_not_poll) == (0, 1)


async def test_ak_15_each_join_takes_all_partitions_from_everybody(lab: Lab) -> None:
    assert await lab.seen(third_member) == [[3, 2], [3, 2]]


async def test_ak_17_two_processes_with_one_instance_id_expel_each_other_and_both_own_the_partition(lab: Lab) -> None:
    """Neither is fenced, not even the generation rises: each takes the other's place, again and again.

    Joins that meet may raise an unknown error on the way, on a slow machine many."""
    generations, errors = await lab.seen(two_with_one_instance_id)
    assert generations == 0
    assert "FencedInstanceIdError" not in errors
