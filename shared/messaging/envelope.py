"""One message as it travels: CloudEvents 1.0 over the Kafka binding, binary mode out, binary and structured in (E1, E2).

The outbox, parked and quarantined messages keep headers and value byte for byte; headers are packed into one bytea."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
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
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


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
    first: dict[str, bytes] = {}
    for name, content in headers:
        first.setdefault(name.lower(), content)
    if first.get("content-type", b"").startswith(b"application/cloudevents"):
        return _structured(key, first, headers, value)
    return _binary(key, first, headers, value)


OURS = frozenset(
    "content-type ce_specversion ce_id ce_source ce_type ce_subject ce_time ce_partitionkey ce_tenantid ce_correlationid"
    " ce_causationid ce_sequence ce_hops ce_actor traceparent".split()
)


def _binary(key: bytes | None, first: dict[str, bytes], headers: Headers, value: bytes | None) -> Envelope:
    def text(name: str) -> str:
        try:
            return first.get(f"ce_{name}", b"").decode()
        except UnicodeDecodeError:
            raise NotAnEnvelope(f"header ce_{name} is not UTF-8") from None

    unknown = NO_HEADERS if len(headers) <= len(OURS) and first.keys() <= OURS else tuple(h for h in headers if h[0].lower() not in OURS)
    return _envelope(text, key, value or b"", first.get("traceparent", b"").decode("ascii", "replace"), unknown)


def _structured(key: bytes | None, first: dict[str, bytes], headers: Headers, value: bytes | None) -> Envelope:
    try:
        document = orjson.loads(value or b"")
    except orjson.JSONDecodeError as error:
        raise NotAnEnvelope(f"structured mode, but the value is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise NotAnEnvelope("structured mode, but the value is not a JSON object")
    trace = first.get("traceparent", b"").decode("ascii", "replace") or str(document.get("traceparent", ""))
    unknown = tuple(h for h in headers if h[0].lower() not in OURS)
    return _envelope(lambda name: _attribute(document, name), key, orjson.dumps(document.get("data")), trace, unknown)


def _attribute(document: dict[str, Any], name: str) -> str:
    value = document.get(name)
    return "" if value is None else value if isinstance(value, str) else str(value)


def _envelope(text: Callable[[str], str], key: bytes | None, data: bytes, trace: str, unknown: Headers) -> Envelope:
    required = {name: text(name) for name in ("specversion", "id", "source", "type", "tenantid")}
    missing = [name for name, value in required.items() if not value]
    if missing:
        raise NotAnEnvelope(f"required attribute missing: {', '.join(missing)}")
    if not required["specversion"].startswith("1."):
        raise NotAnEnvelope(f"specversion {required['specversion']!r} is not 1.0")
    id = required["id"]
    try:
        tenant = UUID(required["tenantid"])
    except ValueError:
        raise NotAnEnvelope(f"tenantid {required['tenantid'][:80]!r} is not a UUID") from None
    at = text("time")
    context = Context(
        tenant,
        text("correlationid") or id,
        text("causationid") or id,
        _number(text("hops")),
        text("actor") or "system",
        trace or None,
    )
    record_key = key.decode("utf-8", "replace") if key else text("partitionkey") or text("subject") or id
    return Envelope(
        id, required["source"], required["type"], text("subject"), record_key, _time(at), _number(text("sequence")), context, data, unknown
    )


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
