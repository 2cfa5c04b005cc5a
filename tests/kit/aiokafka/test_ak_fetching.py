"""AK-7, AK-12, AK-13, AK-19, AK-20, AK-22: what comes out of a poll, and what does not."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from aiokafka.admin import NewPartitions, RecordsToDelete
from aiokafka.structs import TopicPartition
from confluent_kafka import Producer as ForeignProducer

from shared.messaging.kafka import GroupConsumer, read_from
from shared.messaging.records import Partition
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


async def header_name_that_is_no_text(lab: Lab) -> tuple[list[str], int | None, list[tuple[int, bytes | None]]]:
    """What four polls of a plain consumer brought and its position; what ours brought."""
    tp = await lab.topic()
    await lab.fill(tp, b"before")
    await lab.fill_unreadable(tp)
    await lab.fill(tp, b"after")
    plain: list[str] = []
    async with lab.consumer(tp.topic) as consumer:
        while len(plain) < 4:
            try:
                plain += ["records" for rs in (await consumer.getmany(timeout_ms=500)).values() for _ in rs]
            except UnicodeDecodeError:
                plain.append("raised")
        position = await consumer.position(tp)
    ours = GroupConsumer(lab.broker.bootstrap, "ak22", [tp.topic], session=6, revoked=_nothing, assigned=_nothing_for)
    await ours.start()
    seen: list[tuple[int, bytes | None]] = []
    async with asyncio.timeout(15):
        while len(seen) < 3:
            seen += [(r.offset, r.value) for rs in (await ours.poll(500)).values() for r in rs]
    await ours.stop()
    return plain, position, seen


async def header_without_content(lab: Lab) -> list[Any]:
    tp = await lab.topic()
    foreign = ForeignProducer({"bootstrap.servers": lab.broker.bootstrap})
    foreign.produce(tp.topic, value=b"{}", headers=[("none", None), ("some", b"1")])
    await asyncio.to_thread(foreign.flush, 10)
    async with lab.consumer(tp.topic) as consumer:
        theirs = (await asyncio.wait_for(consumer.getone(), 5)).headers
    async with contextlib.aclosing(read_from(lab.broker.bootstrap, tp.topic)) as records:
        return [theirs, (await anext(records)).headers]


async def _nothing() -> None:
    return None


async def _nothing_for(assigned: frozenset[Partition]) -> None:
    return None


SIDE_BY_SIDE = (
    fetch_task_that_ends,
    deserializer_that_raises,
    no_deserializer,
    record_larger_than_the_fetch,
    new_partition_with_the_default_reset,
    new_partition_from_its_beginning,
    records_deleted_before_they_were_read,
    pause_with_a_full_buffer,
    header_name_that_is_no_text,
    header_without_content,
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


async def test_ak_20_a_pause_throws_the_buffer_away_and_fetches_it_again(lab: Lab) -> None:
    before, after, offsets = await lab.seen(pause_with_a_full_buffer)
    assert after > before + 400_000
    assert offsets == list(range(100))


async def test_ak_22_a_header_name_that_is_no_text_makes_every_poll_raise_and_ours_steps_over_it(lab: Lab) -> None:
    """Not in the tracker. What stands before such a record is held back with it."""
    plain, position, ours = await lab.seen(header_name_that_is_no_text)
    assert plain == ["raised"] * 4
    assert position == 0
    assert ours == [(0, b"before"), (1, None), (2, b"after")]


async def test_a_header_without_content_is_none_and_ours_is_empty(lab: Lab) -> None:
    assert await lab.seen(header_without_content) == [(("none", None), ("some", b"1")), (("none", b""), ("some", b"1"))]
