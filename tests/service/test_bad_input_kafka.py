"""Bad messages on the topics of a real service, over the real broker: each is answered, kept with its place, bytes and reason,
or passed over; a good message behind it on another key is handled, and the consumer stands at the end of every partition."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaProducer

from services.billing.service import SERVICE
from shared.contracts import billing, common, deals
from shared.messaging import kafka
from shared.messaging.consumer import Patience, consumer_of, topics_of
from shared.messaging.envelope import instant, unpack
from shared.messaging.kafka import Cluster
from shared.messaging.records import KafkaRecord
from shared.messaging.topics import Topic
from shared.testing.stack import Stack
from tests.kit.settling import until_true
from tests.service.billing.conftest import NOW, create_invoice, deal_created, id_of
from tests.service.house import House, a_house, origin

PATIENCE = Patience(session=6, look_every=0.3, unmoved=2.0, commit_every=0.02)
Change = Callable[[KafkaRecord], KafkaRecord]


@dataclass(eq=False)
class Post:
    """Billing's consumer at work on topics of its own."""

    house: House
    cluster: Cluster
    producer: AIOKafkaProducer
    topics: frozenset[str]

    async def deliver(self, *records: KafkaRecord) -> list[int]:
        """Their offsets, once the consumer has passed them all."""
        sent = [
            await self.producer.send_and_wait(f"{self.cluster.prefix}{r.topic}", r.value, r.key, headers=list(r.headers)) for r in records
        ]
        await until_true(self._at_the_end)
        return [metadata.offset for metadata in sent]

    async def _at_the_end(self) -> bool:
        return not sum((await kafka.lag_of(self.cluster, "billing", self.topics)).values())

    async def beside_a_good_one(self, bad: KafkaRecord) -> int:
        """The offset of the bad one. The good one behind it, in the same partition under another key, is handled."""
        invoice = str(uuid4())
        good = {
            "billing.commands": create_invoice(invoice, deal_id=str(uuid4())),
            "deals.events": deal_created(str(uuid4())),
        }[bad.topic]
        record = self.house.record(good, id=invoice)
        offsets = await self.deliver(bad, record)
        assert await self.house.rows("select outcome from inbox where message_id = $1", invoice) == [{"outcome": "applied"}]
        return offsets[0]

    async def quarantined(self, offset: int) -> dict[str, Any]:
        (row,) = await self.house.rows('select topic, partition, reason, value from quarantine where "offset" = $1', offset)
        return row

    async def parked(self, offset: int) -> dict[str, Any]:
        (row,) = await self.house.rows('select topic, partition, reason, value from parked where "offset" = $1', offset)
        return row


@asynccontextmanager
async def a_post(stack: Stack, folder: Path) -> AsyncIterator[Post]:
    cluster = Cluster(stack.bootstrap, f"{stack.topic_prefix}{secrets.token_hex(3)}-")
    topics = topics_of(SERVICE)
    await kafka.create_topics(cluster, [Topic(name, 1) for name in topics])
    async with a_house(stack, SERVICE, NOW) as house, AIOKafkaProducer(bootstrap_servers=stack.bootstrap) as producer:
        consumer = consumer_of(house.kit, cluster, folder, PATIENCE)
        running = asyncio.create_task(consumer.run())
        try:
            yield Post(house, cluster, producer, frozenset(topics))
        finally:
            consumer.stop()
            await asyncio.wait_for(running, 20)
            await kafka.delete_topics(cluster, await kafka.existing_topics(cluster))


@pytest.fixture(scope="module")
async def post(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Post]:
    """One consumer for all tests: nothing that comes may stop it for what comes later."""
    async with a_post(stack, tmp_path_factory.mktemp("notes")) as opened:
        yield opened


def header(name: str, content: bytes) -> Change:
    return lambda r: replace(r, headers=[*((n, c) for n, c in r.headers if n != name), (name, content)])


def an_event(house: House, change: Change) -> KafkaRecord:
    return change(house.record(deal_created(str(uuid4()))))


def a_command(house: House, change: Change) -> KafkaRecord:
    return change(house.record(create_invoice(str(uuid4()), deal_id=str(uuid4()))))


# ------------------------------------------------------------------------------------------------ kept aside

NO_ENVELOPE: dict[str, tuple[Change, str]] = {
    "not JSON and no headers": (lambda r: replace(r, headers=[], value=b"\x80 hello"), "required attribute missing"),
    "a tombstone": (lambda r: replace(r, headers=[], value=None), "required attribute missing"),
    "nothing at all": (lambda r: replace(r, headers=[], key=None, value=b""), "required attribute missing"),
    "900 kB of nothing": (lambda r: replace(r, headers=[], value=b"x" * 900_000), "required attribute missing"),
    "a tenant that is none": (header("ce_tenantid", b"acme"), "tenantid 'acme' is not a UUID"),
    "no tenant": (lambda r: replace(r, headers=[h for h in r.headers if h[0] != "ce_tenantid"]), "required attribute missing: tenantid"),
    "an envelope of the future": (header("ce_specversion", b"2.0"), "specversion '2.0' is not 1.0"),
    "a sender who may not write there": (header("ce_source", b"urn:example:shop"), "may not write to deals.events"),
}


@pytest.mark.parametrize("name", NO_ENVELOPE)
async def test_what_is_no_message_is_kept_with_its_place_bytes_and_reason(post: Post, name: str) -> None:
    change, reason = NO_ENVELOPE[name]
    bad = an_event(post.house, change)
    kept = await post.quarantined(await post.beside_a_good_one(bad))

    assert (kept["topic"], kept["partition"], kept["value"]) == ("deals.events", 0, bad.value)
    assert reason in kept["reason"]


BAD_BODIES = {
    "not JSON": b"not json",
    "no body": None,
    "of another shape": b'{"deal_id": 7}',
    "NaN": b'{"deal_id": NaN}',
    "deep": b'{"deal_id": ' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a NUL": b'{"deal_id": "a\\u0000"}',
    "a lone surrogate": b'{"deal_id": "\\ud800"}',
    "900 kB": b'{"deal_id": "' + b"x" * 900_000 + b'"}',
}


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_an_event_that_cannot_be_read_is_parked_with_its_place_bytes_and_reason(post: Post, name: str) -> None:
    bad = an_event(post.house, lambda r: replace(r, value=BAD_BODIES[name]))
    kept = await post.parked(await post.beside_a_good_one(bad))

    assert (kept["topic"], kept["partition"], kept["value"]) == ("deals.events", 0, BAD_BODIES[name] or b"")
    assert kept["reason"] == "malformed_data"


@pytest.mark.parametrize("name", BAD_BODIES)
async def test_a_command_that_cannot_be_read_is_answered(post: Post, name: str) -> None:
    await post.house.forget()
    await post.beside_a_good_one(a_command(post.house, lambda r: replace(r, value=BAD_BODIES[name])))

    refused = await post.house.one("CommandRejected")
    assert refused["code"] == "invalid_body"
    assert refused["detail"]
    assert await post.house.rows("select 1 from parked where topic = 'billing.commands'") == []


# ------------------------------------------------------------------------------------------------ not for this service


@pytest.mark.parametrize("type", [b"billing.PaintInvoice.v1", b"billing.CreateInvoice.v99", b"nonsense"])
async def test_an_unknown_type_or_a_future_version_is_passed_over(post: Post, type: bytes) -> None:
    """Somebody else's, or of a release that is not here yet: counted, never parked, so that it blocks nothing."""
    id = str(uuid4())
    unknown = a_command(post.house, lambda r: header("ce_id", id.encode())(header("ce_type", type)(r)))
    offset = await post.beside_a_good_one(unknown)

    assert await post.house.rows("select 1 from inbox where message_id = $1", id) == []
    assert await post.house.rows("""select 1 from parked where topic = 'billing.commands' and "offset" = $1""", offset) == []


# ------------------------------------------------------------------------------------------------ strange, but messages


async def test_a_command_of_another_tenant_reaches_nothing_of_this_one(post: Post) -> None:
    house, invoice = post.house, str(uuid4())
    await post.deliver(house.record(create_invoice(invoice)))
    before = await house.rows("select stream, version from events where tenant = $1 order by position", house.tenant)
    await house.forget()
    cancel = billing.CancelInvoice(request_id=str(uuid4()), invoice_id=id_of(invoice), if_untouched=False, reason="theirs", origin=origin())
    await post.beside_a_good_one(header("ce_tenantid", str(uuid4()).encode())(house.record(cancel)))

    assert (await house.one("CommandRejected"))["code"] == "not_found"
    after = await house.rows("select stream, version from events where tenant = $1 order by position", house.tenant)
    assert after[: len(before)] == before
    assert not [row for row in after[len(before) :] if id_of(invoice) in row["stream"]]
    assert await house.said("InvoiceCancelled") == []


async def test_a_command_of_another_tenant_sees_nothing_of_this_one(post: Post) -> None:
    """Our open invoice of a deal is no reason not to make theirs, and not among the others they are warned of (D43)."""
    house, deal, ours, theirs = post.house, str(uuid4()), str(uuid4()), str(uuid4())
    await post.deliver(house.record(create_invoice(ours, deal_id=deal)))
    await house.forget()
    command = house.record(create_invoice(theirs, deal_id=deal, skip_if_open_exists=True))
    await post.beside_a_good_one(header("ce_tenantid", str(uuid4()).encode())(command))

    (created,) = [m.body for m in await house.said("InvoiceCreated") if m.body["invoice_id"] == id_of(theirs)]
    assert created["other_open"] == []


async def test_an_event_of_another_tenant_changes_nothing_of_this_one(post: Post) -> None:
    """What the other tenant says of a deal with the same id is kept as theirs; our invoice is for our customer, in our words."""
    house, deal, theirs = post.house, str(uuid4()), str(uuid4())
    await post.deliver(house.record(deal_created(deal), subject=f"deal/{deal}"))
    foreign = house.record(deal_created(deal, title="Theirs", currency="USD"), subject=f"deal/{deal}")
    await post.beside_a_good_one(header("ce_tenantid", theirs.encode())(foreign))

    rows = await house.rows("select tenant, title, currency from deals_v1 where id = $1", deal)
    assert {str(row["tenant"]): (row["title"], row["currency"]) for row in rows} == {
        str(house.tenant): ("Roof 2026", "EUR"),
        theirs: ("Theirs", "USD"),
    }
    key = await house.key("billing:read", "billing:write")
    async with house.client(key) as client:
        made = await client.post("/v1/invoices", json={"deal_id": deal, "fill_from_deal": True})
    assert (made.status_code, made.json()["title"], made.json()["currency"]) == (201, "Roof 2026", "EUR")


async def test_a_change_by_another_tenant_rests_on_nothing_of_this_one(post: Post) -> None:
    """Theirs is a deal they never told of: what we know of ours is not taken for it."""
    house, deal, theirs = post.house, str(uuid4()), str(uuid4())
    await post.deliver(house.record(deal_created(deal), subject=f"deal/{deal}"))
    changes = {"currency": common.Change(before="EUR", after="USD")}
    change = deals.DealFieldsChanged(origin=origin(kind="person", id=None), deal_id=deal, visit_id=str(uuid4()), changes=changes)
    await post.beside_a_good_one(header("ce_tenantid", theirs.encode())(house.record(change, subject=f"deal/{deal}")))

    rows = await house.rows("select tenant, title, currency from deals_v1 where id = $1", deal)
    assert [(row["title"], row["currency"]) for row in rows if row["tenant"] == house.tenant] == [("Roof 2026", "EUR")]
    assert "Roof 2026" not in [row["title"] for row in rows if row["tenant"] != house.tenant]


async def test_a_message_without_a_key_is_handled(post: Post) -> None:
    deal = str(uuid4())
    await post.beside_a_good_one(replace(post.house.record(deal_created(deal), id=deal), key=None))

    assert await post.house.rows("select outcome from inbox where message_id = $1", deal) == [{"outcome": "applied"}]


async def test_a_clock_a_year_ahead_changes_no_time_of_ours(post: Post) -> None:
    house, ahead, invoice, quote, paper = post.house, NOW + timedelta(days=366), str(uuid4()), id_of(str(uuid4())), id_of(str(uuid4()))
    await house.forget()
    fields = create_invoice(invoice, deal_id=str(uuid4())).model_dump(exclude={"request_id", "invoice_id", "issue"})
    for command in (
        create_invoice(invoice, deal_id=str(uuid4())),
        billing.CreateQuote(request_id=quote, quote_id=quote, valid_for_days=30, **fields),
        billing.CreateSignDocument(request_id=paper, sign_document_id=paper, template_code="standard", fields={}, **_signed(fields)),
    ):
        await post.beside_a_good_one(header("ce_time", instant(ahead).encode())(house.record(command)))

    (drafted,) = await house.rows("select recorded_at from events where stream = $1", f"invoice-{id_of(invoice)}")
    (made,) = await house.rows("select created_at from invoices_v1 where id = $1", id_of(invoice))
    (quoted,) = await house.rows("select created_at, valid_until from quotes_v1 where id = $1", quote)
    (signed,) = await house.rows("select created_at from sign_documents_v1 where id = $1", paper)
    assert {drafted["recorded_at"], made["created_at"], quoted["created_at"], signed["created_at"]} == {NOW}
    assert quoted["valid_until"] == NOW.date() + timedelta(days=30)
    said = [dict(unpack(row["headers"])) for row in await house.rows("select headers from outbox")]
    assert len(said) > 3 and {headers["ce_time"] for headers in said} == {instant(NOW).encode()}


def _signed(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: fields[name] for name in ("deal_id", "title", "responsible_id", "customer", "origin")}


async def test_after_all_that_the_consumer_still_works(post: Post) -> None:
    deal = str(uuid4())
    await post.deliver(post.house.record(deal_created(deal), id=deal))

    assert await post.house.rows("select outcome from inbox where message_id = $1", deal) == [{"outcome": "applied"}]
