"""One message as it travels: CloudEvents 1.0 over the Kafka binding, binary mode out, binary and structured in (E1, E2).

The outbox, parked and quarantined messages keep headers and value byte for byte; headers are packed into one bytea."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Generic, TypeVar
from uuid import UUID

import orjson

from shared.es.errors import NotAnEnvelope
from shared.es.recorded import Context

B = TypeVar("B")

Headers = Sequence[tuple[str, bytes]]

MAX_SIZE = 256 * 1024
MAX_DEPTH = 32
LONGEST_SAID = 200
"""Characters of a refused command's texts that its refusal repeats."""
NO_HEADERS: Headers = ()


@dataclass(frozen=True, slots=True)
class Envelope:
    """`data` is the body's JSON, not parsed yet. `sequence` is the version of the publishing stream, 0 if the sender has none."""

    id: str
    source: str
    type: str
    subject: str
    key: str
    time: datetime
    sequence: int
    context: Context
    data: bytes
    unknown: Headers = field(default=NO_HEADERS, compare=False)
    """Headers that are not ours: they survive parking, the dead-letter copy and replay."""

    def caused(self) -> Context:
        """The context of whatever follows from this message."""
        c = self.context
        return Context(c.tenant, c.correlation_id, self.id, c.hops + 1, c.actor, c.traceparent)

    @property
    def subject_id(self) -> str:
        return self.subject.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Message(Generic[B]):
    envelope: Envelope
    body: B


def instant(at: datetime) -> str:
    """RFC 3339 in UTC with milliseconds and Z."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def to_kafka(envelope: Envelope) -> tuple[bytes, Headers, bytes]:
    """Key, headers and value of a record in binary mode."""
    e, c = envelope, envelope.context
    key = e.key.encode()
    headers: list[tuple[str, bytes]] = [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_id", e.id.encode()),
        ("ce_source", e.source.encode()),
        ("ce_type", e.type.encode()),
        ("ce_subject", e.subject.encode()),
        ("ce_time", instant(e.time).encode()),
        ("ce_partitionkey", key),
        ("ce_tenantid", str(c.tenant).encode()),
        ("ce_correlationid", c.correlation_id.encode()),
        ("ce_causationid", c.causation_id.encode()),
        ("ce_sequence", b"%d" % e.sequence),
        ("ce_hops", b"%d" % c.hops),
        ("ce_actor", c.actor.encode()),
    ]
    if c.traceparent:
        headers.append(("traceparent", c.traceparent.encode()))
    headers.extend(e.unknown)
    return key, headers, e.data


def from_kafka(key: bytes | None, headers: Headers, value: bytes | None) -> Envelope:
    """An envelope from a record, whichever mode it is in. Raises NotAnEnvelope, with a sentence that names what is wrong."""
    first = _first(headers)
    unknown = NO_HEADERS if len(headers) <= len(OURS) and first.keys() <= OURS else tuple(h for h in headers if h[0].lower() not in OURS)
    if first.get("content-type", b"").startswith(b"application/cloudevents"):
        return _structured(key, first, unknown, value)
    return _binary(key, first, unknown, value)


def _first(headers: Headers) -> dict[str, bytes]:
    """By name in lower case, the first of each."""
    names = "".join([name for name, _ in headers])
    if names == names.lower():
        return dict(reversed(headers))
    return {name.lower(): content for name, content in reversed(headers)}


ATTRIBUTES = (
    *("specversion", "id", "source", "type", "subject", "time", "partitionkey"),
    *("tenantid", "correlationid", "causationid", "sequence", "hops", "actor"),
)
REQUIRED = ("specversion", "id", "source", "type", "tenantid")
HEADERS = {f"ce_{name}": name for name in ATTRIBUTES}
OURS = frozenset({"content-type", "traceparent", *HEADERS})
LONGEST = 512
"""Characters of one attribute, or of a key: they stand in indexes."""


def _binary(key: bytes | None, first: dict[str, bytes], unknown: Headers, value: bytes | None) -> Envelope:
    try:
        attributes = {name: first[header].decode() for header, name in HEADERS.items() if header in first}
    except UnicodeDecodeError as error:
        header = next(header for header in HEADERS if first.get(header) == error.object)
        raise NotAnEnvelope(f"header {header} is not UTF-8") from None
    return _envelope(attributes, key, value or b"", first.get("traceparent", b"").decode("ascii", "replace"), unknown)


def _structured(key: bytes | None, first: dict[str, bytes], unknown: Headers, value: bytes | None) -> Envelope:
    try:
        document = orjson.loads(value or b"")
    except orjson.JSONDecodeError as error:
        raise NotAnEnvelope(f"structured mode, but the value is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise NotAnEnvelope("structured mode, but the value is not a JSON object")
    trace = first.get("traceparent", b"").decode("ascii", "replace") or str(document.get("traceparent", ""))
    attributes = {name: str(document[name]) for name in ATTRIBUTES if document.get(name) is not None}
    return _envelope(attributes, key, orjson.dumps(document.get("data")), trace, unknown)


def _envelope(a: dict[str, str], key: bytes | None, data: bytes, trace: str, unknown: Headers) -> Envelope:
    if missing := [name for name in REQUIRED if not a.get(name)]:
        raise NotAnEnvelope(f"required attribute missing: {', '.join(missing)}")
    id, subject, tenant = a["id"], a.get("subject", ""), _tenant(a["tenantid"])
    record_key = key.decode("utf-8", "replace") if key else a.get("partitionkey") or subject or id
    _must_be_storable(a, record_key, trace)
    if not a["specversion"].startswith("1."):
        raise NotAnEnvelope(f"specversion {a['specversion']!r} is not 1.0")
    correlation, causation, hops = a.get("correlationid") or id, a.get("causationid") or id, _number(a.get("hops", ""))
    context = Context(tenant, correlation, causation, hops, a.get("actor") or "system", trace or None)
    at, sequence = _time(a.get("time", "")), _number(a.get("sequence", ""))
    return Envelope(id, a["source"], a["type"], subject, record_key, at, sequence, context, data, unknown)


def _must_be_storable(attributes: dict[str, str], key: str, trace: str) -> None:
    """What no database row can hold would otherwise hold up its partition."""
    everything = "".join((*attributes.values(), key, trace))
    if len(everything) <= LONGEST and "\0" not in everything:
        return
    for name, text in (*attributes.items(), ("the record key", key), ("traceparent", trace)):
        if len(text) > LONGEST:
            raise NotAnEnvelope(f"{name} has {len(text)} characters, {LONGEST} are allowed")
        if "\0" in text:
            raise NotAnEnvelope(f"{name} holds a NUL character")


@lru_cache(maxsize=10_000)
def _tenant(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        raise NotAnEnvelope(f"tenantid {text[:80]!r} is not a UUID") from None


def _number(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else 0


EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _time(text: str) -> datetime:
    """An unreadable time is not worth losing a message for: the epoch."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return EPOCH
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def pack(headers: Headers) -> bytes:
    """Headers as one bytea: the names as JSON behind their length, then the lengths of the contents, then these. The order is kept.

    Every message of a type has the same names, so both ways remember what a set of names looks like: three times as fast."""
    if not headers:
        return b""
    names, contents = zip(*headers, strict=True)
    start, sizes = _written(names)
    return b"".join((start, sizes.pack(*map(len, contents)), *contents))


def unpack(packed: bytes) -> list[tuple[str, bytes]]:
    if not packed:
        return []
    at = 4 + int.from_bytes(packed[:4], "big")
    names, sizes = _read(packed[4:at])
    end = at + sizes.size
    headers: list[tuple[str, bytes]] = []
    for name, size in zip(names, sizes.unpack(packed[at:end]), strict=True):
        start, end = end, end + size
        headers.append((name, packed[start:end]))
    return headers


@lru_cache(maxsize=1024)
def _written(names: tuple[str, ...]) -> tuple[bytes, struct.Struct]:
    raw = orjson.dumps(names)
    return len(raw).to_bytes(4, "big") + raw, struct.Struct(f">{len(names)}I")


@lru_cache(maxsize=1024)
def _read(names: bytes) -> tuple[tuple[str, ...], struct.Struct]:
    found = tuple(orjson.loads(names))
    return found, struct.Struct(f">{len(found)}I")


def with_data(envelope: Envelope, data: bytes) -> Envelope:
    return replace(envelope, data=data)


def legible(data: bytes) -> dict[str, Any]:
    """The members of a body that may be anything; none where it is no JSON object, nested beyond reading or no valid Unicode."""
    try:
        said = orjson.loads(data)
    except orjson.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}


def text_said(value: object) -> str | None:
    """Text of such a body, cut to what travels in an answer; None for anything else."""
    return value[:LONGEST_SAID] if isinstance(value, str) else None


def asked_about(data: bytes) -> dict[str, str | None]:
    """What a refusal repeats of a command, as far as it can be read: `request_id`, and the element as its type and id."""
    said = legible(data)
    element = said.get("element")
    named = element if isinstance(element, dict) else {}
    return {
        "request_id": text_said(said.get("request_id")),
        "element_type": text_said(named.get("element_type")),
        "element_id": text_said(named.get("element_id")),
    }
