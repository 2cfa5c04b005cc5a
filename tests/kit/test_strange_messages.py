"""What other clients may write into a topic: whatever it is, the message beside it is handled and nothing is in the way afterwards."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import replace

import pytest

from shared.messaging.batch import handle_batch
from shared.messaging.inbox import MessageBatch
from shared.messaging.records import KafkaRecord
from shared.runtime.service import Kit
from tests.kit import toy

LONG = secrets.token_hex(20_000).encode()
"""Cannot be compressed: an index row of it is refused by PostgreSQL."""


def header(name: str, content: bytes) -> Callable[[KafkaRecord], KafkaRecord]:
    return lambda r: replace(r, headers=[*((n, c) for n, c in r.headers if n != name), (name, content)])


ATTRIBUTES = ("id", "source", "type", "subject", "time", "correlationid", "causationid", "actor", "sequence", "hops", "tenantid")
NOT_AN_ENVELOPE = {
    **{f"ce_{name} with a NUL": header(f"ce_{name}", b"a\0b") for name in ATTRIBUTES},
    **{f"ce_{name} without end": header(f"ce_{name}", LONG) for name in ATTRIBUTES},
    **{f"ce_{name} that is no text": header(f"ce_{name}", b"\xff\xfe") for name in ATTRIBUTES},
    "a traceparent with a NUL": header("traceparent", b"a\0b"),
    "a key with a NUL": lambda r: replace(r, key=b"a\0b"),
    "a key without end": lambda r: replace(r, key=LONG),
    "no headers": lambda r: replace(r, headers=()),
    "nothing at all": lambda r: replace(r, headers=(), key=None, value=None),
    "structured mode that is no JSON": lambda r: replace(r, headers=[("content-type", b"application/cloudevents+json")], value=b"{"),
    "structured mode with a NUL": lambda r: replace(
        r,
        headers=[("content-type", b"application/cloudevents+json")],
        value=b'{"specversion":"1.0","id":"a\\u0000b","source":"s","type":"toy.Put.v1","tenantid":"00000000-0000-0000-0000-000000000001"}',
    ),
}
AN_ENVELOPE = {
    "a key that is no text": lambda r: replace(r, key=b"\xff\xfe"),
    "no key": lambda r: replace(r, key=None),
    "no body": lambda r: replace(r, value=None),
    "a body that is no JSON": lambda r: replace(r, value=b"\x80\x81"),
    "a body with a NUL": lambda r: replace(r, value=(r.value or b"").replace(b'"bad"', b'"b\\u0000d"')),
    "the first moment": header("ce_time", b"0001-01-01T00:00:00+14:00"),
    "the last moment": header("ce_time", b"9999-12-31T23:59:59-14:00"),
    "a time that is none": header("ce_time", b"soon"),
    "an enormous sequence": header("ce_sequence", b"9" * 30),
    "an enormous number of hops": header("ce_hops", b"9" * 30),
    "a header without content": header("x-own", b""),
    "a hundred headers": lambda r: replace(r, headers=[*r.headers, *((f"x-{n}", b"1") for n in range(100))]),
}


async def beside_a_good_one(kit: Kit, mailbag: toy.Mailbag, change: Callable[[KafkaRecord], KafkaRecord]) -> list[str]:
    """Reasons of the quarantine. The strange one comes first, and once more with all that is left of its batch."""
    bad = change(mailbag.record(toy.Put(request_id="r", jar_id="bad", number=2)))
    good = [mailbag.record(toy.Put(request_id="r", jar_id=jar, number=2)) for jar in ("one", "two")]
    await handle_batch(kit, MessageBatch("toy", [bad, *good]))
    async with kit.database.raw() as raw:
        assert await raw.fetchval("select count(*) from jars_v1 where marbles = 2 and id in ('one', 'two')") == 2
        return [row["reason"] for row in await raw.fetch("select reason from quarantine")]


@pytest.mark.parametrize("name", NOT_AN_ENVELOPE)
async def test_what_is_no_envelope_goes_to_quarantine(kit: Kit, mailbag: toy.Mailbag, name: str) -> None:
    reasons = await beside_a_good_one(kit, mailbag, NOT_AN_ENVELOPE[name])
    assert len(reasons) == 1
    assert len(reasons[0]) < 300


@pytest.mark.parametrize("name", AN_ENVELOPE)
async def test_what_is_strange_inside_an_envelope_stops_nobody(kit: Kit, mailbag: toy.Mailbag, name: str) -> None:
    assert await beside_a_good_one(kit, mailbag, AN_ENVELOPE[name]) == []
