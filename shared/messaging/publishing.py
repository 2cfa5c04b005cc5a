"""A contract as a message of this service, with the id of what it says (B.7)."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from hashlib import sha1
from typing import Any
from uuid import UUID

from shared.es.errors import Rejected
from shared.es.recorded import Context, Recorded
from shared.messaging.contract import Contract
from shared.messaging.envelope import MAX_SIZE, Envelope, to_kafka
from shared.messaging.handler import InNameOf
from shared.messaging.outbox import Outgoing

ROOM_FOR_HEADERS = 8 * 1024


def own_span(traceparent: str, id: UUID) -> str:
    """The same trace with a span of its own for this hop: derived from the message's id, so a repeat is byte for byte the same."""
    return f"{traceparent[:36]}{id.hex[:16]}{traceparent[52:]}"


def cause_id(source: str, id: str, stream: str, n: int) -> UUID:
    """The id of what follows from a cause: the same whenever it is decided again (version 5, a name-based UUID)."""
    digest = sha1(f"{source}\n{id}\n{stream}\n{n}".encode(), usedforsecurity=False).digest()
    return UUID(bytes=digest[:16], version=5)


def spoken(source: str, said: Contract | InNameOf, recorded: Recorded[Any]) -> Outgoing:
    """What an event says, with the event's own id, version and time. Raises Rejected("too_large")."""
    context = recorded.context
    if isinstance(said, InNameOf):
        context = replace(context, actor=said.actor)
    contract = said.contract if isinstance(said, InNameOf) else said
    subject = f"{recorded.aggregate}/{recorded.aggregate_id}"
    return publication(source, contract, recorded.id, subject, recorded.version, context, recorded.recorded_at)


def publication(source: str, contract: Contract, id: UUID, subject: str, sequence: int, context: Context, at: datetime) -> Outgoing:
    """A contract as a message. Raises Rejected("too_large") above 256 KiB: here the cause can still be refused."""
    body = contract.model_dump_json().encode()
    if context.traceparent:
        context = replace(context, traceparent=own_span(context.traceparent, id))
    envelope = Envelope(str(id), source, contract.type, subject, contract.partition_key(), at, sequence, context, body)
    _, headers, value = to_kafka(envelope)
    if len(value) > MAX_SIZE - ROOM_FOR_HEADERS:
        raise Rejected("too_large", f"{contract.type} would be {len(value)} bytes; a message holds {MAX_SIZE}.", status=422)
    return Outgoing(contract.topic, envelope.key, headers, value)
