"""The batch on real PostgreSQL: what one transaction writes, what an item may see, what happens to one that cannot be handled."""

from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
import pytest
from sqlalchemy import text

from shared.contracts import deals
from shared.es.addressed import Addressed, Facts
from shared.es.errors import Conflict, NotYet, Unavailable
from shared.es.recorded import Context
from shared.messaging import batch as batches
from shared.messaging import deciding
from shared.messaging.batch import BatchResult, Item, handle_batch
from shared.messaging.envelope import unpack
from shared.messaging.handling import prepare
from shared.messaging.inbox import MessageBatch, RequestBatch
from shared.messaging.records import KafkaRecord
from shared.messaging.requests import Answer, HttpCommand
from shared.runtime.clock import now
from shared.runtime.database import Database, Tx
from shared.runtime.service import Kit
from shared.testing.stack import Stack
from tests.kit import toy

TABLES = {
    "events": "select id, tenant, stream, version, type, data::text as data, correlation_id, causation_id, hops, actor from events",
    "jars": "select tenant, id, version, marbles, colour from jars_v1",
    "puts": "select tenant, id, version, n, number, total from puts_v1",
    "paints": "select tenant, id, version, colour, owner_id from paints_v1",
    "heard": "select tenant, id, version, n, says from heard_v1",
    "inbox": "select consumer, source, message_id, outcome from inbox",
    "parked": "select consumer, key, message_id, reason from parked",
    "blocked": "select consumer, key, reason from blocked",
    "outbox": "select topic, key, value from outbox",
}


async def rows(kit: Kit, table: str) -> list[dict[str, Any]]:
    async with kit.database.raw() as raw:
        found = [dict(row) for row in await raw.fetch(TABLES[table])]
    return sorted(found, key=str)


async def everything(kit: Kit) -> dict[str, Any]:
    return {table: await rows(kit, table) for table in TABLES}


async def handle(kit: Kit, records: Sequence[KafkaRecord]) -> BatchResult:
    return await handle_batch(kit, MessageBatch("toy", records))


def put(mailbag: toy.Mailbag, jar: str, number: int, **own: Any) -> KafkaRecord:
    return mailbag.record(toy.Put(request_id="r", jar_id=jar, number=number), **own)


async def test_a_batch_writes_events_views_outbox_and_inbox_together(kit: Kit, mailbag: toy.Mailbag) -> None:
    done = await handle(kit, [put(mailbag, "a", 2), put(mailbag, "a", 3), put(mailbag, "b", 4)])

    assert [r.outcome for r in done.results] == ["handled"] * 3
    assert (done.events, done.messages) == (3, 3)
    assert [(r["id"], r["version"], r["marbles"]) for r in await rows(kit, "jars")] == [("a", 2, 5), ("b", 1, 4)]
    assert [(r["id"], r["version"], r["total"]) for r in await rows(kit, "puts")] == [("a", 1, 2), ("a", 2, 5), ("b", 1, 4)]
    assert {r["outcome"] for r in await rows(kit, "inbox")} == {"applied"}
    said = [orjson.loads(r["value"]) for r in await rows(kit, "outbox")]
    assert sorted((s["jar_id"], s["marbles"]) for s in said) == [("a", 2), ("a", 5), ("b", 4)]


async def test_events_carry_the_chain_of_the_message_that_caused_them(kit: Kit, mailbag: toy.Mailbag) -> None:
    await handle(kit, [put(mailbag, "a", 2, id="m-1", correlation="chain-1")])

    (event,) = await rows(kit, "events")
    assert (event["correlation_id"], event["causation_id"], event["hops"]) == ("chain-1", "m-1", 1)


async def test_a_repeated_message_changes_nothing(kit: Kit, mailbag: toy.Mailbag) -> None:
    record = put(mailbag, "a", 2)
    await handle(kit, [record, record])
    before = await everything(kit)

    done = await handle(kit, [record])

    assert done.results == ()
    assert await everything(kit) == before
    assert len(before["events"]) == 1


async def test_a_refused_command_is_answered_and_never_parked(kit: Kit, mailbag: toy.Mailbag) -> None:
    done = await handle(kit, [put(mailbag, "a", 101), put(mailbag, "a", 1)])

    assert [r.outcome for r in done.results] == ["refused", "handled"]
    answers = [orjson.loads(r["value"]) for r in await rows(kit, "outbox")]
    assert {"record_key": "a", "code": "too_many", "detail": "A jar takes at most 100 marbles at once.", "faults": []} in answers
    assert await rows(kit, "parked") == []


async def test_a_bug_parks_its_key_and_nothing_else(kit: Kit, mailbag: toy.Mailbag) -> None:
    poison, behind, other = put(mailbag, "a", 13), put(mailbag, "a", 1), put(mailbag, "b", 1)
    done = await handle(kit, [put(mailbag, "a", 5), poison, behind, other])

    assert [r.outcome for r in done.results] == ["handled", "parked", "parked", "handled"]
    assert [(r["id"], r["marbles"]) for r in await rows(kit, "jars")] == [("a", 5), ("b", 1)]
    parked = await rows(kit, "parked")
    assert sorted(r["reason"] for r in parked) == ["behind_parked_key", "handler_error"]
    assert [r["key"] for r in await rows(kit, "blocked")] == [f"{toy.TENANT}/a"]


async def test_a_later_batch_queues_behind_a_parked_key(kit: Kit, mailbag: toy.Mailbag) -> None:
    await handle(kit, [put(mailbag, "a", 13)])
    await handle(kit, [put(mailbag, "a", 1), put(mailbag, "b", 2)])

    assert [(r["id"], r["marbles"]) for r in await rows(kit, "jars")] == [("b", 2)]
    assert len(await rows(kit, "parked")) == 2
    copies = [r for r in await rows(kit, "outbox") if r["topic"] == "toy.dlq"]
    assert len(copies) == 2


async def test_a_poison_message_leaves_neither_replica_rows_nor_facts_behind(kit: Kit, mailbag: toy.Mailbag) -> None:
    bug = mailbag.record(toy.Wanted(jar_id="a", number=13), subject="jar/a", sequence=2)
    later = mailbag.record(toy.Painted(jar_id="a", colour="red"), subject="jar/a", sequence=3)
    first = mailbag.record(toy.Painted(jar_id="a", colour="blue"), subject="jar/a", sequence=1)
    await handle(kit, [first, bug, later])

    assert [(r["colour"], r["version"]) for r in await rows(kit, "paints")] == [("blue", 1)]
    assert [r["says"] for r in await rows(kit, "heard")] == ["blue"]


async def test_a_message_sees_replicas_as_the_messages_before_it_left_them(kit: Kit, mailbag: toy.Mailbag) -> None:
    def painted(colour: str, sequence: int) -> KafkaRecord:
        return mailbag.record(toy.Painted(jar_id="a", colour=colour, owner_id="o"), subject="jar/a", sequence=sequence)

    def wanted(sequence: int) -> KafkaRecord:
        return mailbag.record(toy.Wanted(jar_id="a", number=1), subject="jar/a", sequence=sequence)

    owner = mailbag.record(toy.OwnerNamed(owner_id="o", name="Ann"), subject="owner/o", sequence=1)
    await handle(kit, [owner, painted("blue", 1), wanted(2), painted("red", 3), wanted(4)])

    colours = [orjson.loads(r["value"])["colour"] for r in await rows(kit, "outbox")]
    assert sorted(colours) == ["blue of Ann", "red of Ann"]


async def test_a_fact_that_has_not_arrived_parks_the_key_as_not_yet(kit: Kit, mailbag: toy.Mailbag) -> None:
    done = await handle(kit, [mailbag.record(toy.Wanted(jar_id="a", number=1), subject="jar/a", sequence=1)])

    assert isinstance(done.results[0].error, NotYet)
    assert [r["reason"] for r in await rows(kit, "blocked")] == ["not_yet"]


async def test_an_unreadable_event_is_parked_and_an_unreadable_command_refused(kit: Kit, mailbag: toy.Mailbag) -> None:
    bad_event = mailbag.record(toy.Wanted(jar_id="a", number=1), subject="jar/a", sequence=1, data=b'{"jar_id":"a","number":"one"}')
    bad_command = mailbag.record(toy.Put(request_id="r", jar_id="b", number=1), data=b'{"request_id":"r","jar_id":"b","numbr":1}')
    await handle(kit, [bad_event, bad_command, put(mailbag, "b", 1)])

    assert [r["reason"] for r in await rows(kit, "parked")] == ["malformed_data"]
    answers = [orjson.loads(r["value"]) for r in await rows(kit, "outbox") if r["topic"] == "toy.events"]
    (refused,) = [a for a in answers if "code" in a]
    assert refused["code"] == "invalid_body"
    assert set(refused["faults"]) == {"#/number", "#/numbr"}


FOREIGN: dict[str, Any] = {"source": "urn:example:shop"}


@pytest.mark.parametrize(
    "data",
    [
        b"not json",
        b'{"request_id":"r","jar_id":"a","number":1,"number":2}',
        b'{"request_id":"r","jar_id":"a","number":NaN}',
        b'{"request_id":"r","jar_id":"a","number":1,"colour":' + b"[" * 40 + b"]" * 40 + b"}",
        b'{"request_id":"r","jar_id":"a","number":1,"colour":"\\u0000"}',
        b'{"request_id":"r","jar_id":"a","number":1,"colour":"\\ud800"}',
        b'{"request_id":"r","jar_id":"a","number":1,"colour":"' + b"x" * 900_000 + b'"}',
        b"",
    ],
    ids=["not json", "key twice", "NaN", "deep", "NUL", "lone surrogate", "900 kB", "empty"],
)
async def test_a_foreign_command_that_is_no_good_json_is_refused_and_disturbs_nobody(kit: Kit, mailbag: toy.Mailbag, data: bytes) -> None:
    bad = mailbag.record(toy.Put(request_id="r", jar_id="a", number=1), data=data, **FOREIGN)
    done = await handle(kit, [bad, put(mailbag, "a", 1), put(mailbag, "b", 1)])

    assert [r.outcome for r in done.results] == ["refused", "handled", "handled"]
    assert len(await rows(kit, "jars")) == 2


async def test_what_is_no_envelope_goes_to_quarantine_with_its_bytes(kit: Kit, mailbag: toy.Mailbag) -> None:
    tombstone = mailbag.raw("toy.commands", b"a", [], None)
    attributes = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"x"), ("ce_type", b"t")]
    no_tenant = mailbag.raw("toy.commands", b"a", attributes, b"{}")
    spoofed = mailbag.record(toy.Painted(jar_id="a", colour="red"), source="urn:example:thief", subject="jar/a", sequence=1)
    await handle(kit, [tombstone, no_tenant, spoofed, put(mailbag, "a", 1)])

    async with kit.database.raw() as raw:
        kept = await raw.fetch('select topic, "offset", reason from quarantine order by topic, "offset"')
    assert [row["topic"] for row in kept] == ["shop.events", "toy.commands", "toy.commands"]
    assert "may not write" in kept[0]["reason"] and "tenantid" in kept[2]["reason"]
    assert len(await rows(kit, "jars")) == 1


async def test_a_type_or_version_that_nobody_routes_is_passed_over(kit: Kit, mailbag: toy.Mailbag) -> None:
    known = mailbag.record(toy.Put(request_id="r", jar_id="a", number=1))
    future = [(name, b"toy.Put.v2" if name == "ce_type" else value) for name, value in known.headers]
    done = await handle(kit, [mailbag.raw("toy.commands", b"a", future, known.value)])

    assert done.results == ()
    assert await rows(kit, "inbox") == []


async def test_a_message_without_a_key_or_with_a_clock_a_year_ahead_is_handled(kit: Kit, mailbag: toy.Mailbag) -> None:
    ahead = put(mailbag, "a", 1, at=now() + timedelta(days=366))
    keyless = put(mailbag, "b", 1)
    done = await handle(kit, [ahead, mailbag.raw("toy.commands", None, keyless.headers, keyless.value)])

    assert [r.outcome for r in done.results] == ["handled", "handled"]


async def test_tenants_in_one_batch_do_not_meet(kit: Kit, mailbag: toy.Mailbag) -> None:
    await handle(kit, [put(mailbag, "a", 1), put(mailbag, "a", 2, tenant=toy.OTHER_TENANT)])

    assert [(r["tenant"], r["marbles"]) for r in await rows(kit, "jars")] == [(toy.TENANT, 1), (toy.OTHER_TENANT, 2)]
    async with kit.database.reading(toy.TENANT) as sql:
        seen = (await sql.execute(text("select tenant from jars_v1"))).scalars().all()
    assert list(seen) == [toy.TENANT]


async def test_two_decisions_on_one_set_never_share_a_transaction(kit: Kit, mailbag: toy.Mailbag) -> None:
    def pour(into: str, source: str) -> KafkaRecord:
        return mailbag.record(toy.Pour(request_id="r", jar_id=into, from_jar_id=source))

    await handle(kit, [put(mailbag, "a", 1), put(mailbag, "b", 2)])
    done = await handle(kit, [pour("b", "a"), pour("c", "b"), put(mailbag, "b", 10), put(mailbag, "c", 10)])

    assert [r.outcome for r in done.results] == ["handled"] * 4
    jars = {r["id"]: r["marbles"] for r in await rows(kit, "jars")}
    # b had 3 after the first pouring; the put into b came behind the second pouring, which read b as it was before it.
    assert jars["b"] == 13
    assert jars["c"] in (13, 23)


async def test_the_rows_do_not_depend_on_where_a_batch_is_cut(stack: Stack, mailbag: toy.Mailbag) -> None:
    """The kit's most valuable test: a busy, dirty history in batches of 500, 7 and 1 leaves the same rows."""
    history = _history(mailbag)
    outcomes = []
    for size in (500, 7, 1):
        url = await stack.migrated_database(toy.SERVICE)
        database = Database(url, "toy")
        other = Kit(toy.SERVICE, database, prepare(toy.SERVICE), lambda done: None)
        for start in range(0, len(history), size):
            await handle(other, history[start : start + size])
        outcomes.append(await everything(other))
        await database.close()

    for table in TABLES:
        assert outcomes[1][table] == outcomes[0][table], table
        assert outcomes[2][table] == outcomes[0][table], table


def _history(mailbag: toy.Mailbag) -> list[KafkaRecord]:
    dice = random.Random(7)
    records: list[KafkaRecord] = []
    sequences: dict[str, int] = {}
    for _ in range(300):
        jar = f"jar{dice.randrange(12)}"
        sequence = sequences[jar] = sequences.get(jar, 0) + 1
        match dice.randrange(6):
            case 0:
                painted = toy.Painted(jar_id=jar, colour=dice.choice("rgb"))
                records.append(mailbag.record(painted, subject=f"jar/{jar}", sequence=sequence))
            case 1:
                wanted = toy.Wanted(jar_id=jar, number=dice.randint(1, 12))
                records.append(mailbag.record(wanted, subject=f"jar/{jar}", sequence=sequence))
            case 2:
                records.append(put(mailbag, jar, dice.choice([13, 101, 5, 5, 5, 5])))
            case 3 if records:
                records.append(dice.choice(records))
            case _:
                records.append(put(mailbag, jar, dice.randint(0, 12)))
    return records


async def test_a_registered_tenant_is_known_to_the_directory(kit: Kit, mailbag: toy.Mailbag) -> None:
    acme = {"tenant_id": str(toy.TENANT), "name": "Acme", "language": "de", "zone": "Europe/Berlin", "rehearsal": False}
    registered = {**acme, "origin": {"kind": "system"}}
    body = deals.TenantRegistered.model_validate_json(orjson.dumps(registered))
    await handle(kit, [mailbag.record(body, subject=f"tenant/{toy.TENANT}", sequence=1, id=str(uuid4()))])

    async with kit.database.raw() as raw:
        assert await raw.fetchval("select name from tenants_v1 where tenant = $1", toy.TENANT) == "Acme"


async def test_a_chain_that_goes_round_for_ever_ends(kit: Kit, mailbag: toy.Mailbag) -> None:
    record = put(mailbag, "a", 1)
    headers = [(name, b"1000" if name == "ce_hops" else value) for name, value in record.headers]
    done = await handle(kit, [mailbag.raw(record.topic, record.key, headers, record.value)])

    assert [(r.outcome, getattr(r.error, "code", "")) for r in done.results] == [("refused", "too_many_hops")]


async def test_each_hop_has_a_span_of_its_own_in_the_same_trace(kit: Kit, mailbag: toy.Mailbag) -> None:
    record = put(mailbag, "a", 1)
    trace = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await handle(kit, [mailbag.raw(record.topic, record.key, [*record.headers, ("traceparent", trace)], record.value)])

    async with kit.database.raw() as raw:
        headers = dict(unpack(await raw.fetchval("select headers from outbox")))
    span = headers["ce_id"].decode().replace("-", "")[:16]
    assert headers["traceparent"].decode() == f"00-0af7651916cd43dd8448eb211c80319c-{span}-01"


def asked(card: str) -> HttpCommand:
    return asking(card, toy.SendPostcard("hello"))


def asking(card: str, command: Any) -> HttpCommand:
    id = str(uuid4())
    addressed = (Addressed(toy.POSTCARD, card, command),)
    item = Item(id, "test", f"{toy.TENANT}/{card}", Context(toy.TENANT, id, id), addressed)
    return HttpCommand(item, b"", lambda done: Answer(200))


async def test_a_request_that_loses_every_race_is_left_out_and_the_others_are_done(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    decide, races = deciding.decide_batch, 0

    async def raced(kit: Kit, tx: Tx, items: Sequence[Item]) -> Any:
        nonlocal races
        decided = await decide(kit, tx, items)
        if any(item.key.endswith("/raced") for item in items):
            races += 1
            monkeypatch.setattr(batches, "decide_batch", decide)
            await handle_batch(kit, RequestBatch([asked("raced")]))
            monkeypatch.setattr(batches, "decide_batch", raced)
        return decided

    monkeypatch.setattr(batches, "decide_batch", raced)
    commands = [asked("raced"), asked("calm"), asked("still")]
    done = await handle_batch(kit, RequestBatch(commands), somebody_waits=True)

    assert [r.item.key.split("/")[1] for r in done.results] == ["calm", "still"]
    assert races == 4
    async with kit.database.raw() as raw:
        written = await raw.fetch("select stream, count(*) as n from events group by stream")
        assert {row["stream"]: row["n"] for row in written} == {"postcard-raced": races, "postcard-calm": 1, "postcard-still": 1}
        assert await raw.fetchval("select count(*) from inbox where message_id = $1", commands[0].item.id) == 0


async def test_a_command_that_finds_its_set_changed_is_decided_again_in_a_new_transaction(kit: Kit) -> None:
    moments: list[Any] = []

    def finding(seen: Facts) -> toy.SendPostcard:
        moments.append(seen.now)
        if len(moments) == 1:
            raise Conflict("changed a moment ago")
        return toy.SendPostcard("hello")

    done = await handle_batch(kit, RequestBatch([asking("raced", finding), asked("calm")]))

    assert [r.outcome for r in done.results] == ["handled", "handled"]
    assert len(moments) == 2 and moments[0] < moments[1]
    assert (await rows(kit, "parked"), await rows(kit, "blocked")) == ([], [])


async def test_a_command_that_finds_its_set_changed_for_ever_does_not_take_the_others_along(kit: Kit) -> None:
    def never(seen: Facts) -> toy.SendPostcard:
        raise Conflict("changed a moment ago")

    with pytest.raises(Unavailable):
        await handle_batch(kit, RequestBatch([asked("calm"), asking("raced", never)]))
    async with kit.database.raw() as raw:
        assert [row["stream"] for row in await raw.fetch("select stream from events")] == ["postcard-calm"]


async def test_an_item_sees_how_much_the_items_before_it_have_counted(kit: Kit) -> None:
    seen: list[int] = []

    def putting(jar: str, number: int, tenant: UUID = toy.TENANT) -> HttpCommand:
        def command(facts: Facts) -> toy.PutMarbles:
            seen.append(facts.counted("marbles"))
            return toy.PutMarbles(number)

        id = str(uuid4())
        addressed = (Addressed(toy.JAR, jar, command, counts=("marbles", lambda state: state.marbles)),)
        return HttpCommand(Item(id, "test", f"{tenant}/{jar}", Context(tenant, id, id), addressed), b"", lambda done: Answer(200))

    twice = (putting("a", 2), putting("b", 0), putting("c", 101), putting("d", 5), putting("e", 1, uuid4()), putting("f", 1))
    await handle_batch(kit, RequestBatch(list(twice)))

    assert seen == [0, 2, 2, 2, 0, 7], "neither what decided nothing, nor what was refused, nor another tenant's counts"
