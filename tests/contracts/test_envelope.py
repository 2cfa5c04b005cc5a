"""Our envelope is CloudEvents 1.0 over Kafka: equal to the SDK's, both ways, and strict about what is none (E1, E2)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary_event, to_binary_event, to_structured_event
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from shared.contracts.deals import StageChanged
from shared.es.errors import NotAnEnvelope
from shared.es.recorded import Context
from shared.messaging.envelope import Envelope, Headers, from_kafka, instant, pack, to_kafka, unpack
from tests.contracts.golden import golden

GOLDEN = golden(StageChanged)
TENANT = GOLDEN.headers["ce_tenantid"]

# The SDK removes nothing, so texts are those a header may carry; it wants attributes that are not empty.
words = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs")), min_size=1, max_size=40)
slugs = st.from_regex(r"[A-Za-z][A-Za-z0-9.]{0,40}", fullmatch=True)
ids = st.uuids().map(str)
scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | words
values = st.recursive(scalars, lambda inner: st.lists(inner, max_size=3))
bodies: st.SearchStrategy[dict[str, Any]] = st.dictionaries(words, values, max_size=5)
EARLY, LATE = datetime.fromisoformat("1990-01-01"), datetime.fromisoformat("2200-01-01")
times = st.datetimes(EARLY, LATE).map(lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000, tzinfo=UTC))
contexts = st.builds(Context, st.uuids(), ids, ids, st.integers(0, 1000), words, st.just(None))
envelopes = st.builds(
    Envelope, ids, words, slugs, words, words, times, st.integers(0, 10**8), contexts, bodies.map(lambda body: json.dumps(body).encode())
)


def oracle(envelope: Envelope) -> CloudEvent:
    """The same message, said with the SDK."""
    e, c = envelope, envelope.context
    attributes = {
        "id": e.id,
        "source": e.source,
        "type": e.type,
        "specversion": "1.0",
        "datacontenttype": "application/json",
        "subject": e.subject,
        "time": e.time,
        "partitionkey": e.key,
        "tenantid": str(c.tenant),
        "correlationid": c.correlation_id,
        "causationid": c.causation_id,
        "sequence": str(e.sequence),
        "hops": str(c.hops),
        "actor": c.actor,
    }
    return CloudEvent(attributes, json.loads(e.data))


def as_bytes(key: str | bytes | None) -> bytes:
    assert key is not None
    return key.encode() if isinstance(key, str) else key


@given(envelopes)
def test_the_sdk_reads_what_we_write(envelope: Envelope) -> None:
    key, headers, value = to_kafka(envelope)
    read = from_binary_event(KafkaMessage(dict(headers), key, value))
    assert read.get_attributes() == oracle(envelope).get_attributes()
    assert read.get_data() == json.loads(envelope.data)


@given(envelopes)
def test_our_bytes_are_the_sdks(envelope: Envelope) -> None:
    """Header by header; of the time only the notation of a fraction differs, which RFC 3339 leaves open."""
    key, headers, value = to_kafka(envelope)
    sdk = to_binary_event(oracle(envelope))
    ours = dict(headers)
    assert as_bytes(sdk.key) == key
    assert datetime.fromisoformat(ours.pop("ce_time").decode()) == datetime.fromisoformat(sdk.headers.pop("ce_time").decode())
    assert ours == sdk.headers
    assert json.loads(value) == json.loads(sdk.value)


@given(envelopes)
def test_we_read_what_the_sdk_writes_in_binary_mode(envelope: Envelope) -> None:
    message = to_binary_event(oracle(envelope))
    read = from_kafka(as_bytes(message.key), list(message.headers.items()), message.value)
    assert replace(read, data=b"") == replace(envelope, data=b"")
    assert json.loads(read.data) == json.loads(envelope.data)


@given(envelopes)
def test_we_read_what_the_sdk_writes_in_structured_mode(envelope: Envelope) -> None:
    message = to_structured_event(oracle(envelope))
    read = from_kafka(as_bytes(message.key), list(message.headers.items()), message.value)
    assert replace(read, data=b"") == replace(envelope, data=b"")
    assert json.loads(read.data) == json.loads(envelope.data)


@given(envelopes)
def test_what_we_write_we_read(envelope: Envelope) -> None:
    traced = replace(envelope, context=replace(envelope.context, traceparent=GOLDEN.headers["traceparent"]))
    assert from_kafka(*to_kafka(traced)) == traced


@given(st.datetimes(EARLY, LATE, timezones=st.timezones()))
def test_an_instant_is_utc_with_milliseconds(at: datetime) -> None:
    written = instant(at)
    assert len(written) == len("2026-03-03T09:15:20.700Z")
    assert 0 <= (at - datetime.fromisoformat(written)).total_seconds() < 0.001


# What is no envelope


def headers(**changes: str | None) -> Headers:
    """Those of the golden message; None leaves one out."""
    changed = {**GOLDEN.headers, **{f"ce_{name}": content for name, content in changes.items()}}
    return [(name, content.encode()) for name, content in changed.items() if content is not None]


@pytest.mark.parametrize("name", ["specversion", "id", "source", "type", "tenantid"])
@pytest.mark.parametrize("content", [None, ""], ids=["missing", "empty"])
def test_a_required_attribute_must_be_there(name: str, content: str | None) -> None:
    with pytest.raises(NotAnEnvelope, match=f"required attribute missing: {name}"):
        from_kafka(b"k", headers(**{name: content}), GOLDEN.data)


def test_all_missing_attributes_are_named() -> None:
    with pytest.raises(NotAnEnvelope, match="specversion, id, source, type, tenantid"):
        from_kafka(None, [], b"{}")


@pytest.mark.parametrize("tenant", ["acme", "0" * 31, "' or 1=1 --", "x" * 10_000])
def test_a_tenant_is_a_uuid(tenant: str) -> None:
    with pytest.raises(NotAnEnvelope, match="is not a UUID") as error:
        from_kafka(b"k", headers(tenantid=tenant), GOLDEN.data)
    assert len(str(error.value)) < 200


@pytest.mark.parametrize("version", ["0.3", "2.0", "one"])
def test_only_version_one_is_spoken(version: str) -> None:
    with pytest.raises(NotAnEnvelope, match="specversion"):
        from_kafka(b"k", headers(specversion=version), GOLDEN.data)


def test_a_header_must_be_utf8() -> None:
    bad = [(name, b"\xff\xfe" if name == "ce_id" else content) for name, content in headers()]
    with pytest.raises(NotAnEnvelope, match="ce_id is not UTF-8"):
        from_kafka(b"k", bad, GOLDEN.data)


STRUCTURED: Headers = [("content-type", b"application/cloudevents+json; charset=utf-8")]


@pytest.mark.parametrize("value", [None, b"", b"{", b"\xff", b"not JSON"])
def test_structured_mode_must_be_json(value: bytes | None) -> None:
    with pytest.raises(NotAnEnvelope, match="not JSON"):
        from_kafka(b"k", STRUCTURED, value)


@pytest.mark.parametrize("value", [b"[]", b"null", b"1", b'"text"'])
def test_structured_mode_must_be_an_object(value: bytes) -> None:
    with pytest.raises(NotAnEnvelope, match="not a JSON object"):
        from_kafka(b"k", STRUCTURED, value)


def test_structured_mode_without_a_tenant_is_no_envelope() -> None:
    document = {"specversion": "1.0", "id": "1", "source": "https://shop.test", "type": "deals.CreateDeal.v1", "data": {}}
    with pytest.raises(NotAnEnvelope, match="tenantid"):
        from_kafka(b"k", STRUCTURED, json.dumps(document).encode())


def test_structured_mode_carries_a_trace_and_numbers_as_numbers() -> None:
    document: dict[str, str | int] = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "tenantid": TENANT}
    document |= {"hops": 3, "sequence": 7, "traceparent": "00-a-b-01"}
    read = from_kafka(None, STRUCTURED, json.dumps(document).encode())
    assert (read.context.hops, read.sequence, read.context.traceparent, read.data) == (3, 7, "00-a-b-01", b"null")


# What is left out or odd, and still an envelope


def test_a_sender_may_leave_out_everything_that_is_not_required() -> None:
    bare = [("ce_specversion", b"1.0"), ("ce_id", b"1"), ("ce_source", b"s"), ("ce_type", b"t"), ("ce_tenantid", TENANT.encode())]
    read = from_kafka(None, bare, None)
    assert read.context == Context(UUID(TENANT), "1", "1", 0, "system", None)
    assert (read.key, read.subject, read.sequence, read.data, read.time) == ("1", "", 0, b"", datetime(1970, 1, 1, tzinfo=UTC))


def test_header_names_may_be_in_any_case() -> None:
    shouted = [(name.upper(), content) for name, content in headers()]
    assert from_kafka(GOLDEN.key.encode(), shouted, GOLDEN.data) == GOLDEN.envelope


def test_of_a_repeated_header_the_first_counts() -> None:
    twice = [*headers(), ("ce_id", b"second"), ("ce_tenantid", b"nobody")]
    assert from_kafka(GOLDEN.key.encode(), twice, GOLDEN.data) == GOLDEN.envelope


@pytest.mark.parametrize("number", ["-1", "1.5", "many", "٣", "9" * 30])
def test_an_unreadable_number_is_none(number: str) -> None:
    read = from_kafka(b"k", headers(hops=number, sequence=number), GOLDEN.data)
    assert (read.context.hops, read.sequence) == (0, 0)


def test_the_records_key_orders_the_message_whatever_its_header_says() -> None:
    assert from_kafka(b"other", headers(), GOLDEN.data).key == "other"
    assert from_kafka(None, headers(), GOLDEN.data).key == GOLDEN.key


def test_unknown_headers_survive() -> None:
    theirs = [("x-shop", b"\x00\xff"), ("ce_region", b"north"), ("x-shop", b"again")]
    read = from_kafka(GOLDEN.key.encode(), [*headers(), *theirs], GOLDEN.data)
    assert list(read.unknown) == theirs
    assert to_kafka(read)[1] == [*headers(), *theirs]


def test_unknown_headers_of_a_structured_message_survive() -> None:
    document = {"specversion": "1.0", "id": "1", "source": "s", "type": "t", "tenantid": TENANT}
    read = from_kafka(None, [*STRUCTURED, ("x-shop", b"north")], json.dumps(document).encode())
    assert list(read.unknown) == [("x-shop", b"north")]


def test_the_body_is_not_touched() -> None:
    assert from_kafka(b"k", headers(), b"{ broken").data == b"{ broken"


def test_what_follows_from_a_message_is_one_hop_further_and_in_the_same_name() -> None:
    caused = GOLDEN.envelope.caused()
    c = GOLDEN.envelope.context
    assert caused == Context(c.tenant, c.correlation_id, GOLDEN.envelope.id, c.hops + 1, c.actor, c.traceparent)


# Headers as one bytea

names = st.text(st.characters(codec="utf-8"), max_size=60)


@given(st.lists(st.tuples(names, st.binary(max_size=300)), max_size=20))
def test_packed_headers_unpack_to_the_same_in_the_same_order(given_headers: list[tuple[str, bytes]]) -> None:
    assert unpack(pack(given_headers)) == given_headers
