"""What cannot be handled waits: its bytes, its position and why, in the transaction that gives up (R6, C.11).

While a key is blocked its later messages are parked behind it, in order; every other key flows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from shared.es.errors import NotYet, Unavailable, Unreadable
from shared.messaging.envelope import Envelope, instant, pack
from shared.messaging.items import Item
from shared.messaging.outbox import Outgoing, put_many
from shared.messaging.records import KafkaRecord
from shared.runtime import metrics
from shared.runtime.failpoints import fp
from shared.runtime.statements import load_sql

if TYPE_CHECKING:
    from shared.runtime.database import Tx
    from shared.runtime.service import Kit

BEHIND = "behind_parked_key"
RETRIES = (timedelta(seconds=1), timedelta(seconds=10), timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1))
NOT_YET_TRIES = len(RETRIES) + 23
MOST_BLOCKED = 1000


@dataclass(frozen=True, slots=True)
class ParkedMessage:
    """A message and why it is parked. Without an error it waits behind another one of its key."""

    record: KafkaRecord
    envelope: Envelope
    item: Item
    error: Exception | None
    reason: str = field(default="")

    @property
    def why(self) -> str:
        return self.reason or (BEHIND if self.error is None else reason_of(self.error))


def reason_of(error: Exception) -> str:
    """One of the closed list of E8."""
    if isinstance(error, NotYet):
        return "not_yet"
    if isinstance(error, Unreadable):
        return "malformed_data"
    # A driver's error that reached us is about this item's data: infrastructure and conflicts were told apart before.
    return "database_error" if type(error).__module__.startswith(("asyncpg", "sqlalchemy")) else "handler_error"


def next_try(reason: str, attempts: int, now: datetime) -> datetime | None:
    """When the head of a blocked key is tried again after so many failed tries; None: it waits for a person."""
    if reason in ("malformed_data", "never_returned"):
        return None
    if attempts < len(RETRIES):
        return now + RETRIES[attempts]
    return now + timedelta(hours=1) if reason == "not_yet" and attempts < NOT_YET_TRIES else None


def words(error: Exception | None) -> str | None:
    if error is None:
        return None
    return f"{type(error).__name__}: {error.args[0] if error.args else error}"[:1000]


async def park(kit: Kit, tx: Tx, consumer: str, messages: Sequence[ParkedMessage]) -> None:
    """Block the keys, keep the messages, put a copy of each on the dead-letter topic. All in the caller's transaction.

    Raises Unavailable when 1,000 keys are blocked: that is an outage, not poison."""
    if not messages:
        return
    fp("park.before_insert")
    in_order = sorted(messages, key=lambda m: (m.record.topic, m.record.partition, m.record.offset))
    await _block(tx, consumer, [m for m in in_order if m.why != BEHIND])
    await _keep(tx, consumer, in_order)
    await put_many(tx, [dead_letter(kit, consumer, m, tx.now) for m in in_order])
    metrics.parked(consumer, [(m.record.topic, m.why) for m in in_order])


async def _block(tx: Tx, consumer: str, heads: Sequence[ParkedMessage]) -> None:
    first = {m.item.key: m for m in reversed(heads)}
    if not first:
        return
    keys = sorted(first)
    await tx.raw.execute(
        load_sql("messaging", "block"),
        consumer,
        keys,
        [first[key].why for key in keys],
        [words(first[key].error) for key in keys],
        [next_try(first[key].why, 0, tx.now) for key in keys],
        tx.now,
    )
    if await tx.raw.fetchval("select count(*) from blocked where consumer = $1", consumer) > MOST_BLOCKED:
        raise Unavailable(f"more than {MOST_BLOCKED} keys of {consumer} are blocked")


async def _keep(tx: Tx, consumer: str, messages: Sequence[ParkedMessage]) -> None:
    await tx.raw.execute(
        load_sql("messaging", "park"),
        consumer,
        [m.item.key for m in messages],
        [m.item.source for m in messages],
        [m.item.id for m in messages],
        [m.envelope.time.date() for m in messages],
        [m.record.topic for m in messages],
        [m.record.partition for m in messages],
        [m.record.offset for m in messages],
        [m.record.key for m in messages],
        [pack(m.record.headers) for m in messages],
        [m.record.value or b"" for m in messages],
        [m.why for m in messages],
        [words(m.error) for m in messages],
        tx.now,
    )


def dead_letter(kit: Kit, consumer: str, message: ParkedMessage, now: datetime) -> Outgoing:
    """The copy for people who watch topics: original key, headers and value, and what happened, as headers (E8)."""
    record, at = message.record, instant(now)
    about = {
        "dlq_original_topic": record.topic,
        "dlq_original_partition": str(record.partition),
        "dlq_original_offset": str(record.offset),
        "dlq_original_timestamp": str(record.timestamp),
        "dlq_group": consumer,
        "dlq_attempts": "1",
        "dlq_reason": message.why,
        "dlq_error_class": type(message.error).__name__ if message.error else "",
        "dlq_error_message": words(message.error) or "",
        "dlq_first_failed_at": at,
        "dlq_last_failed_at": at,
        "dlq_replay_count": "0",
    }
    headers = [*record.headers, *((name, value.encode()) for name, value in about.items())]
    return Outgoing(f"{kit.service.name}.dlq", message.envelope.key, headers, record.value or b"")


async def quarantine(tx: Tx, strange: Sequence[tuple[KafkaRecord, str]]) -> None:
    """Keep what is not even an envelope, with bytes and position. It blocks nothing: it has no key that means anything."""
    if not strange:
        return
    await tx.raw.execute(
        load_sql("messaging", "quarantine"),
        [r.topic for r, _ in strange],
        [r.partition for r, _ in strange],
        [r.offset for r, _ in strange],
        [r.key for r, _ in strange],
        [pack(r.headers) for r, _ in strange],
        [r.value for r, _ in strange],
        [why[:1000] for _, why in strange],
        tx.now,
    )
    metrics.quarantined([r.topic for r, _ in strange])
