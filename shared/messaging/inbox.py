"""The doors that remember what was asked: a poll's messages and a moment's HTTP requests (C.5, C.8, R3).

The inbox rows come first in the transaction; the second of two owners waits there and then finds nothing new."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property
from typing import TYPE_CHECKING, Any

from shared.es.errors import NotAnEnvelope, Rejected
from shared.messaging.batch import Batch, Item, Result
from shared.messaging.envelope import Envelope, from_kafka
from shared.messaging.handling import Prepared
from shared.messaging.parked import ParkedMessage, park, quarantine
from shared.messaging.reading import OWN
from shared.messaging.records import KafkaRecord
from shared.messaging.requests import Answer, HttpCommand
from shared.runtime import metrics
from shared.runtime.failpoints import fp
from shared.runtime.statements import load_sql

if TYPE_CHECKING:
    from shared.runtime.database import Tx
    from shared.runtime.service import Kit

HTTP = "http"
HTTP_DAY = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Received:
    """A record that is an envelope and of a type that the service routes."""

    record: KafkaRecord
    envelope: Envelope
    item: Item

    @property
    def identity(self) -> tuple[str, str]:
        return self.item.source, self.item.id


@dataclass(frozen=True, eq=False)
class MessageBatch:
    """The records of one poll, per partition in offset order."""

    consumer: str
    records: Sequence[KafkaRecord]

    def is_for(self, prepared: Prepared) -> bool:
        """Whether there is anything to note: a poll may bring only types that no route names."""
        sorted_out = self._sorted(prepared)
        return bool(sorted_out.received or sorted_out.strange)

    async def claim(self, kit: Kit, tx: Tx) -> Sequence[Item]:
        sorted_out = self._sorted(kit.prepared)
        await quarantine(tx, sorted_out.strange)
        new = await self._take(tx, sorted_out.received)
        fp("cons.after_inbox")
        blocked = await blocked_keys(tx, self.consumer, [r.item.key for r in new])
        self._claimed[:] = [r for r in new if r.item.key not in blocked]
        self._behind[:] = [r for r in new if r.item.key in blocked]
        return [r.item for r in self._claimed]

    @cached_property
    def _claimed(self) -> list[Received]:
        return []

    @cached_property
    def _behind(self) -> list[Received]:
        return []

    @cached_property
    def _left(self) -> list[KafkaRecord]:
        return []

    def _sorted(self, prepared: Prepared) -> SortedRecords:
        """Once: a batch that is tried again was read already."""
        if not self._read:
            self._read.append(sort_records(prepared, self.consumer, self.records))
        return self._read[0]

    @cached_property
    def _read(self) -> list[SortedRecords]:
        return []

    async def _take(self, tx: Tx, received: Sequence[Received]) -> list[Received]:
        """One statement; what comes back is new. A message that stands twice in the batch is taken once."""
        first: dict[tuple[str, str], Received] = {}
        for r in received:
            first.setdefault(r.identity, r)
        if not first:
            return []
        taken = await _insert(tx, self.consumer, list(first.values()))
        metrics.duplicates(self.consumer, len(received) - len(taken))
        return [r for r in first.values() if r.identity in taken]

    async def settle(self, kit: Kit, tx: Tx, results: Sequence[Result]) -> Sequence[Result]:
        fp("cons.in_tx")
        by_item = {id(result.item): result for result in results}
        parked = [ParkedMessage(r.record, r.envelope, r.item, None) for r in self._behind]
        waits = []
        for r in self._claimed:
            result = by_item[id(r.item)]
            if result.outcome == "parked":
                parked.append(ParkedMessage(r.record, r.envelope, r.item, result.error))
            elif result.outcome == "waits":
                waits.append(r)
        self._left[:] = [r.record for r in waits]
        await park(kit, tx, self.consumer, parked)
        await _withdraw(tx, self.consumer, waits)
        await _note_outcomes(tx, self.consumer, [(p.item, p.envelope, "parked") for p in parked])
        metrics.handled(self.consumer, results, kit.prepared.routes)
        fp("cons.before_commit")
        return results

    def halves(self) -> Sequence[MessageBatch]:
        middle = len(self.records) // 2
        if not middle:
            return ()
        return MessageBatch(self.consumer, self.records[:middle]), MessageBatch(self.consumer, self.records[middle:])

    def waiting(self, results: Sequence[Result]) -> Batch | None:
        return MessageBatch(self.consumer, list(self._left)) if self._left else None


@dataclass(frozen=True, slots=True)
class SortedRecords:
    received: list[Received]
    strange: list[tuple[KafkaRecord, str]]
    """Not even envelopes, each with the reason."""


def sort_records(prepared: Prepared, consumer: str, records: Sequence[KafkaRecord]) -> SortedRecords:
    """Envelopes that a route is for, apart from what is no envelope. All others are not for us."""
    received, strange = [], []
    for record in records:
        try:
            envelope = from_kafka(record.key, record.headers, record.value)
            _must_be_allowed(record.topic, envelope)
        except NotAnEnvelope as error:
            strange.append((record, str(error)))
            continue
        route = prepared.route_of(envelope.type)
        if route is None or route.contract.topic != record.topic:
            metrics.ignored(consumer, envelope.type)
            continue
        received.append(Received(record, envelope, item_of(envelope)))
    return SortedRecords(received, strange)


def item_of(envelope: Envelope) -> Item:
    at = envelope.time if envelope.source.startswith(OWN) else None
    return Item(envelope.id, envelope.source, f"{envelope.context.tenant}/{envelope.key}", envelope.caused(), envelope, at=at)


def _must_be_allowed(topic: str, envelope: Envelope) -> None:
    """T12: an events topic has one writer, its service; commands may come from anybody whom the broker lets in."""
    service, _, kind = topic.partition(".")
    if kind == "events" and envelope.source != f"urn:dealwright:{service}":
        raise NotAnEnvelope(f"source {envelope.source[:200]!r} may not write to {topic}")


async def _insert(tx: Tx, consumer: str, received: Sequence[Received]) -> set[tuple[str, str]]:
    rows = await tx.raw.fetch(
        load_sql("messaging", "inbox_take"),
        consumer,
        [r.item.source for r in received],
        [r.item.id for r in received],
        [r.envelope.time.date() for r in received],
        [r.record.topic for r in received],
        [r.envelope.key for r in received],
        [r.envelope.subject for r in received],
        [r.envelope.sequence for r in received],
        ["applied"] * len(received),
        [None] * len(received),
        tx.now,
    )
    return {(row["source"], row["message_id"]) for row in rows}


async def blocked_keys(tx: Tx, consumer: str, keys: Sequence[str]) -> set[str]:
    """A statement of its own: only then is its snapshot younger than any wait in the one before."""
    if not keys:
        return set()
    rows = await tx.raw.fetch(load_sql("messaging", "blocked"), consumer, sorted(set(keys)))
    return {row["key"] for row in rows}


async def _withdraw(tx: Tx, consumer: str, received: Sequence[Received]) -> None:
    if received:
        await withdraw_rows(tx, consumer, [(r.item.source, r.item.id, r.envelope.time.date()) for r in received])


async def withdraw_rows(tx: Tx, consumer: str, rows: Sequence[tuple[str, str, date]]) -> None:
    """The inbox forgets these: they come again in the next transaction, or may be tried again."""
    if rows:
        await tx.raw.execute(load_sql("messaging", "inbox_withdraw"), consumer, *(list(column) for column in zip(*rows, strict=True)))


async def _note_outcomes(tx: Tx, consumer: str, outcomes: Sequence[tuple[Item, Envelope, str]]) -> None:
    if not outcomes:
        return
    await tx.raw.execute(
        load_sql("messaging", "inbox_outcome"),
        consumer,
        [item.source for item, _, _ in outcomes],
        [item.id for item, _, _ in outcomes],
        [envelope.time.date() for _, envelope, _ in outcomes],
        [outcome for _, _, outcome in outcomes],
        [None] * len(outcomes),
        tx.now,
    )


async def park_unread(kit: Kit, consumer: str, record: KafkaRecord, reason: str = "never_returned") -> None:
    """Park one record without decoding its body, its key dead at once, in a transaction of its own (R6, 4)."""
    async with kit.database.transaction() as tx:
        sorted_out = sort_records(kit.prepared, consumer, [record])
        await quarantine(tx, sorted_out.strange)
        for r in sorted_out.received:
            if await _insert(tx, consumer, [r]):
                await park(kit, tx, consumer, [ParkedMessage(r.record, r.envelope, r.item, None, reason)])
                await _note_outcomes(tx, consumer, [(r.item, r.envelope, "parked")])


@dataclass(frozen=True, eq=False)
class RequestBatch:
    """HTTP requests of one moment. The inbox is the idempotency store: row and answer commit with the effect (H3)."""

    commands: Sequence[HttpCommand]

    @property
    def consumer(self) -> str:
        return HTTP

    @cached_property
    def _mine(self) -> list[HttpCommand]:
        return []

    @cached_property
    def _repeats(self) -> list[Result]:
        return []

    @cached_property
    def _later(self) -> list[HttpCommand]:
        return []

    async def claim(self, kit: Kit, tx: Tx) -> Sequence[Item]:
        fp("cmd.before_tx")
        first = {(c.item.source, c.item.id): c for c in reversed(self.commands)}
        self._later[:] = [c for c in self.commands if first[c.item.source, c.item.id] is not c]
        new = await self._take(tx, sorted(first.values(), key=lambda c: (c.item.source, c.item.id)))
        fp("cmd.after_insert")
        self._mine[:] = [c for c in first.values() if (c.item.source, c.item.id) in new]
        self._mine.reverse()
        self._repeats[:] = await self._stored(tx, [c for c in first.values() if (c.item.source, c.item.id) not in new])
        return [c.item for c in self._mine]

    async def _take(self, tx: Tx, commands: Sequence[HttpCommand]) -> set[tuple[str, str]]:
        nothing = [None] * len(commands)
        rows = await tx.raw.fetch(
            load_sql("messaging", "inbox_take"),
            HTTP,
            [c.item.source for c in commands],
            [c.item.id for c in commands],
            [HTTP_DAY] * len(commands),
            nothing,
            [c.item.key for c in commands],
            nothing,
            nothing,
            ["applied"] * len(commands),
            [c.body_hash for c in commands],
            tx.now,
        )
        return {(row["source"], row["message_id"]) for row in rows}

    async def _stored(self, tx: Tx, commands: Sequence[HttpCommand]) -> list[Result]:
        if not commands:
            return []
        rows = await tx.raw.fetch(
            load_sql("messaging", "inbox_answers"), HTTP, [c.item.source for c in commands], [c.item.id for c in commands]
        )
        stored = {(row["source"], row["message_id"]): row for row in rows}
        return [_repeated(c, stored.get((c.item.source, c.item.id))) for c in commands]

    async def settle(self, kit: Kit, tx: Tx, results: Sequence[Result]) -> Sequence[Result]:
        by_item = {id(c.item): c for c in self._mine}
        answered = [_answered(r, by_item[id(r.item)]) for r in results]
        await self._keep_answers(tx, [r for r in answered if r.answer is not None])
        open_again = [r.item for r in answered if r.answer is None]
        await withdraw_rows(tx, HTTP, [(item.source, item.id, HTTP_DAY) for item in open_again])
        waits = {id(r.item) for r in answered if r.outcome == "waits"}
        self._later[:0] = [c for c in self._mine if id(c.item) in waits]
        return [*answered, *self._repeats]

    async def _keep_answers(self, tx: Tx, results: Sequence[Result]) -> None:
        if results:
            await tx.raw.execute(
                load_sql("messaging", "inbox_outcome"),
                HTTP,
                [r.item.source for r in results],
                [r.item.id for r in results],
                [HTTP_DAY] * len(results),
                ["applied"] * len(results),
                [r.answer.to_json() for r in results],
                tx.now,
            )

    def halves(self) -> Sequence[RequestBatch]:
        middle = len(self.commands) // 2
        return (RequestBatch(self.commands[:middle]), RequestBatch(self.commands[middle:])) if middle else ()

    def waiting(self, results: Sequence[Result]) -> Batch | None:
        return RequestBatch(list(self._later)) if self._later else None


def _answered(result: Result, command: HttpCommand) -> Result:
    """At this door nothing is parked: whoever asked is told, and may ask again."""
    if result.outcome in ("handled", "refused"):
        return replace(result, answer=command.answer(result))
    return replace(result, outcome="failed") if result.outcome == "parked" else result


def _repeated(command: HttpCommand, row: Any) -> Result:
    if row is None or row["answer"] is None:
        return Result(command.item, "failed", error=Rejected("idempotency_key_busy", "The first request with this key is still running."))
    if bytes(row["body_hash"]) != command.body_hash:
        detail = "This Idempotency-Key was used for another request. Send a new key with a new request."
        return Result(command.item, "refused", error=Rejected("idempotency_key_reused", detail, status=422))
    return Result(command.item, "repeated", answer=Answer.from_json(row["answer"]))
