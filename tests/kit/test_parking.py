"""Parked keys: tried again in order, replayed and discarded by people, each verb audited (C.11, R6)."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import orjson
import pytest

from shared.es.errors import NotFound, Rejected
from shared.messaging.batch import BatchResult, handle_batch
from shared.messaging.envelope import unpack
from shared.messaging.inbox import MessageBatch, park_unread
from shared.messaging.parking import ParkedHeads, Parking
from shared.messaging.records import KafkaRecord
from shared.runtime.service import Kit
from tests.kit import toy

KEY = f"{toy.TENANT}/a"


async def handle(kit: Kit, *records: KafkaRecord) -> None:
    await handle_batch(kit, MessageBatch("toy", records))


async def drain(kit: Kit) -> BatchResult:
    return await handle_batch(kit, ParkedHeads("toy"))


def later(kit: Kit, **delta: float) -> None:
    kit.database.clock = lambda primary: primary + timedelta(**delta)


def wanted(mailbag: toy.Mailbag, sequence: int, number: int = 1) -> KafkaRecord:
    return mailbag.record(toy.Wanted(jar_id="a", number=number), subject="jar/a", sequence=sequence)


async def marbles(kit: Kit) -> Any:
    async with kit.database.raw() as raw:
        return await raw.fetchval("select marbles from jars_v1 where id = 'a'")


async def test_the_head_is_tried_again_and_what_waits_behind_follows_in_order(kit: Kit, mailbag: toy.Mailbag) -> None:
    await handle(kit, wanted(mailbag, 1, 5), wanted(mailbag, 2, 6))
    other = mailbag.record(toy.Painted(jar_id="a", colour="red"), subject="elsewhere/x", sequence=9)
    moved = [(name, b"jar/a" if name == "ce_subject" else value) for name, value in other.headers]
    await handle(kit, mailbag.raw("shop.events", b"another-key", moved, other.value))
    assert (await drain(kit)).results == ()

    later(kit, seconds=2)
    assert [r.outcome for r in (await drain(kit)).results] == ["handled"]
    assert [r.outcome for r in (await drain(kit)).results] == ["handled"]

    assert await marbles(kit) == 11
    assert await Parking(kit.database, "toy").keys() == []
    assert (await drain(kit)).results == ()


async def test_a_head_that_fails_again_waits_longer_and_is_dead_in_the_end(kit: Kit, mailbag: toy.Mailbag) -> None:
    await handle(kit, mailbag.record(toy.Put(request_id="r", jar_id="a", number=13)))

    waited = timedelta()
    for pause in (1, 10, 60, 600, 3600):
        waited += timedelta(seconds=pause + 1)
        later(kit, seconds=waited.total_seconds())
        assert [r.outcome for r in (await drain(kit)).results] == ["parked"]

    (key,) = await Parking(kit.database, "toy").keys()
    assert (key["dead"], key["attempts"], key["messages"]) == (True, 5, 1)
    later(kit, days=30)
    assert (await drain(kit)).results == ()


async def test_a_message_that_was_repaired_is_replayed_by_a_person(kit: Kit, mailbag: toy.Mailbag) -> None:
    await handle(kit, wanted(mailbag, 1))
    parking = Parking(kit.database, "toy")
    (key,) = await parking.keys(toy.TENANT)
    assert (key["key"], key["reason"]) == (KEY, "not_yet")
    assert await parking.keys(toy.OTHER_TENANT) == []
    async with kit.database.transaction() as tx:
        await tx.raw.execute("insert into paints_v1 values ($1, 'a', 1, 'red', '')", toy.TENANT)

    await parking.replay(KEY, by="user:42")
    assert [r.outcome for r in (await drain(kit)).results] == ["handled"]

    async with kit.database.raw() as raw:
        noted = await raw.fetch("select principal, action, ref, tenant from audit")
    assert [list(row.values()) for row in noted] == [["user:42", "parked.replayed", KEY, toy.TENANT]]
    assert await marbles(kit) == 1


async def test_only_the_head_can_be_discarded_and_the_rest_goes_on(kit: Kit, mailbag: toy.Mailbag) -> None:
    await handle(kit, *(mailbag.record(toy.Put(request_id="r", jar_id="a", number=number)) for number in (13, 2)))
    parking = Parking(kit.database, "toy")
    head, behind = await parking.messages(KEY)
    with pytest.raises(Rejected, match="only the head"):
        await parking.discard(KEY, behind["position"], by="user:42", why="typo")

    await parking.discard(KEY, head["position"], by="user:42", why="typo")
    assert [r.outcome for r in (await drain(kit)).results] == ["handled"]

    assert await marbles(kit) == 2
    async with kit.database.raw() as raw:
        assert await raw.fetchval("select outcome from inbox where message_id = $1", head["message_id"]) == "ignored"
        detail = await raw.fetchval("select detail from audit where action = 'parked.discarded'")
    assert (detail["why"], detail["message_id"]) == ("typo", head["message_id"])
    with pytest.raises(NotFound):
        await parking.replay(KEY, by="user:42")


async def test_the_dead_letter_is_the_original_and_says_what_happened(kit: Kit, mailbag: toy.Mailbag) -> None:
    record = mailbag.record(toy.Put(request_id="r", jar_id="a", number=13))
    await handle(kit, record)

    async with kit.database.raw() as raw:
        (copy,) = await raw.fetch("select key, headers, value from outbox where topic = 'toy.dlq'")

    headers = dict(unpack(copy["headers"]))
    assert (copy["key"], copy["value"]) == ("a", record.value)
    assert headers.items() >= dict(record.headers).items()
    assert (headers["dlq_reason"], headers["dlq_error_class"]) == (b"handler_error", b"ValueError")
    assert headers["dlq_original_offset"] == b"%d" % record.offset


async def test_a_live_message_does_not_overtake_a_replayed_one(kit: Kit, mailbag: toy.Mailbag) -> None:
    await handle(kit, mailbag.record(toy.Put(request_id="r", jar_id="a", number=13)))
    later(kit, seconds=2)
    async with kit.database.transaction() as holder:
        await holder.raw.fetch("select 1 from blocked for update")
        assert (await drain(kit)).results == ()


async def test_a_message_that_never_returned_is_parked_unread_and_its_key_dead(kit: Kit, mailbag: toy.Mailbag) -> None:
    await park_unread(kit, "toy", mailbag.record(toy.Put(request_id="r", jar_id="a", number=1), data=b"\xff not even text"))
    await handle(kit, mailbag.record(toy.Put(request_id="r", jar_id="a", number=2)))

    (key,) = await Parking(kit.database, "toy").keys()
    assert (key["reason"], key["dead"], key["messages"]) == ("never_returned", True, 2)


async def test_the_reason_of_a_refused_row_is_the_databases(kit: Kit, mailbag: toy.Mailbag) -> None:
    """A value that PostgreSQL does not take: the batch goes on in halves and parks the one item."""
    body = orjson.dumps({"request_id": "r", "jar_id": "a", "number": -(2**40)})
    huge = mailbag.record(toy.Put(request_id="r", jar_id="a", number=1), data=body)
    others = [mailbag.record(toy.Put(request_id="r", jar_id=f"j{n}", number=n)) for n in range(1, 7)]
    await handle(kit, *others[:3], huge, *others[3:])

    (key,) = await Parking(kit.database, "toy").keys()
    assert key["reason"] == "database_error"
    async with kit.database.raw() as raw:
        assert await raw.fetchval("select count(*) from jars_v1") == 6
