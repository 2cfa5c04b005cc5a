"""AK-7, AK-12, AK-13, AK-19, AK-20: what comes out of a poll, and what does not."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest
from aiokafka.admin import NewPartitions, RecordsToDelete
from aiokafka.structs import TopicPartition

from tests.kit.aiokafka.lab import Lab, assignment, until


async def fetch_task_that_ends(lab: Lab) -> tuple[list[int], int, int, str]:
    """Records of four polls after the error, members of the group, partitions assigned, and what `stop` says."""
    tp = await lab.topic()
    async with lab.consumer(tp.topic, group_id="ak7") as consumer:
        await assignment(consumer, 1)

        async def broken(*_: Any) -> bool:
            raise ValueError("planted in a fetch")

        consumer._fetcher._proc_fetch_request = broken
        await until(consumer._fetcher.error_future.done)
        await lab.fill(tp, b"0", b"1")
        polls = [len(await consumer.getmany(timeout_ms=500)) for _ in range(4)]
        members, assigned = await lab.members("ak7"), len(consumer.assignment())
        try:
            await consumer.stop()
        except Exception as error:
            return polls, members, assigned, str(error)
        return polls, members, assigned, ""


async def deserializer_that_raises(lab: Lab) -> tuple[list[str], int]:
    """What four calls brought, and the position afterwards."""
    tp = await lab.topic()
    await lab.fill(tp, b"1", b"bad", b"3")
    seen: list[str] = []
    async with lab.consumer(tp.topic, value_deserializer=int) as consumer:
        for _ in range(4):
            try:
                seen.append(str((await asyncio.wait_for(consumer.getone(), 5)).value))
            except ValueError:
                seen.append("raised")
        return seen, await consumer.position(tp)


async def no_deserializer(lab: Lab) -> list[bytes]:
    tp = await lab.topic()
    await lab.fill(tp, b"1", b"bad", b"3")
    return await lab.log_of(tp)


async def record_larger_than_the_fetch(lab: Lab) -> list[int]:
    tp = await lab.topic(max_message_bytes=str(4 << 20))
    await lab.fill(tp, b"small", b"x" * (2 << 20), b"small", max_request_size=4 << 20)
    async with lab.consumer(tp.topic, max_partition_fetch_bytes=1 << 20) as consumer:
        return [len((await asyncio.wait_for(consumer.getone(), 5)).value) for _ in range(3)]


async def partition_added_meanwhile(lab: Lab, group: str, **settings: Any) -> list[bytes]:
    """What is read of a partition that is new, when its first record was there before it was noticed."""
    tp = await lab.topic()
    added = TopicPartition(tp.topic, 1)
    seen: list[bytes] = []
    async with lab.consumer(tp.topic, group_id=group, metadata_max_age_ms=3000, **settings) as consumer:
        await assignment(consumer, 1)
        await lab.admin.create_partitions({tp.topic: NewPartitions(2)})
        await lab.fill(added, b"first")
        await assignment(consumer, 2)
        await until(lambda: consumer._subscription.subscription.assignment.state_value(added).has_valid_position)
        await lab.fill(added, b"second")
        async with asyncio.timeout(10):
            while b"second" not in seen:
                seen += [r.value for rs in (await consumer.getmany(timeout_ms=200)).values() for r in rs]
    return seen


async def new_partition_with_the_default_reset(lab: Lab) -> list[bytes]:
    return await partition_added_meanwhile(lab, "ak19latest", auto_offset_reset="latest")


async def new_partition_from_its_beginning(lab: Lab) -> list[bytes]:
    return await partition_added_meanwhile(lab, "ak19earliest", auto_offset_reset="earliest")


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.kept: list[tuple[str, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append((record.levelname, record.getMessage()))


async def records_deleted_before_they_were_read(lab: Lab) -> tuple[int, list[str]]:
    """The offset handed out after the jump, and the levels of the lines that tell of it."""
    tp = await lab.topic()
    await lab.fill(tp, *(b"%d" % n for n in range(10)))
    lines, fetcher = Lines(), logging.getLogger("aiokafka.consumer.fetcher")
    level = fetcher.level
    fetcher.addHandler(lines)
    fetcher.setLevel(logging.INFO)
    try:
        async with lab.consumer(tp.topic, group_id="ak19delete") as consumer:
            assert (await consumer.getone()).offset == 0
            consumer.pause(tp)
            assert await consumer.getmany(timeout_ms=700) == {}
            await lab.admin.delete_records({tp: RecordsToDelete(7)})
            consumer.resume(tp)
            offset = (await asyncio.wait_for(consumer.getone(), 10)).offset
    finally:
        fetcher.removeHandler(lines)
        fetcher.setLevel(level)
    return offset, [name for name, text in lines.kept if "is out of range" in text and tp.topic in text]


async def pause_with_a_full_buffer(lab: Lab) -> tuple[int, int, list[int]]:
    """Bytes answered before the pause and at the end, and the offsets handed out."""
    tp = await lab.topic()
    await lab.fill(tp, *(b"x" * 5000 for _ in range(100)))
    async with lab.consumer(tp.topic, door="AK20") as consumer:
        offsets = [(await consumer.getone()).offset]
        before = lab.doors["AK20"].answered
        consumer.pause(tp)
        assert await consumer.getmany(timeout_ms=200) == {}
        consumer.resume(tp)
        async with asyncio.timeout(10):
            while len(offsets) < 100:
                offsets += [r.offset for rs in (await consumer.getmany(timeout_ms=200)).values() for r in rs]
        return before, lab.doors["AK20"].answered, offsets


SIDE_BY_SIDE = (
    fetch_task_that_ends,
    deserializer_that_raises,
    no_deserializer,
    record_larger_than_the_fetch,
    new_partition_with_the_default_reset,
    new_partition_from_its_beginning,
    records_deleted_before_they_were_read,
    pause_with_a_full_buffer,
)


async def test_ak_7_a_fetch_task_that_ended_tells_nobody(lab: Lab) -> None:
    """That the watchdog rebuilds such a consumer, and everything arrives, is shown in tests/kit/test_consumer.py."""
    polls, members, assigned, said = await lab.seen(fetch_task_that_ends)
    assert polls == [0, 0, 0, 0]
    assert (members, assigned) == (1, 1)
    assert "Unexpected error during data retrieval" in said


async def test_ak_12_a_deserializer_that_raises_does_so_for_ever_at_one_offset(lab: Lab) -> None:
    assert await lab.seen(deserializer_that_raises) == (["1", "raised", "raised", "raised"], 1)
    assert await lab.seen(no_deserializer) == [b"1", b"bad", b"3"]


async def test_ak_13_a_record_larger_than_the_fetch_size_is_delivered_whole(lab: Lab) -> None:
    assert await lab.seen(record_larger_than_the_fetch) == [5, 2 << 20, 5]


async def test_ak_19_the_default_reset_skips_the_first_records_of_a_new_partition(lab: Lab) -> None:
    assert await lab.seen(new_partition_with_the_default_reset) == [b"second"]
    assert await lab.seen(new_partition_from_its_beginning) == [b"first", b"second"]


async def test_ak_19_a_jump_over_deleted_records_is_told_at_level_info_only(lab: Lab) -> None:
    offset, levels = await lab.seen(records_deleted_before_they_were_read)
    assert offset == 7
    assert levels == ["INFO"]


async def test_ak_20_a_pause_throws_the_buffer_away_and_fetches_it_again(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    before, after, offsets = await lab.seen(pause_with_a_full_buffer)
    assert after > before + 400_000
    assert offsets == list(range(100))
