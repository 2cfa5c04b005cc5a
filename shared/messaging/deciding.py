"""Inside a batch's transaction: load what it touches and decide in memory, in order (C.5).

`decide_batch` only reads. An item that cannot be handled is set aside and the rest decided again without it: nothing was
written yet, so no savepoint is needed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from shared.es.addressed import Addressed
from shared.es.errors import Conflict, NotFound, Rejected, Stale
from shared.es.recorded import Recorded, Stream
from shared.es.view import Row
from shared.messaging.clocks import Moments
from shared.messaging.envelope import Envelope
from shared.messaging.facts import Library, Seen
from shared.messaging.handler import Effect, Settled
from shared.messaging.handling import Handled, Prepared
from shared.messaging.items import BatchResult, Item, Result
from shared.messaging.outbox import Outgoing
from shared.messaging.past import Past
from shared.messaging.publishing import cause_id, publication, spoken
from shared.messaging.translating import Translation, Work

if TYPE_CHECKING:
    from shared.runtime.database import Tx
    from shared.runtime.service import Kit


@dataclass(slots=True)
class Decided:
    """What one transaction will write. Events are in the order decided."""

    results: tuple[Result, ...] = ()
    events: list[tuple[str, Recorded[Any]]] = field(default_factory=list)
    state_rows: dict[str, dict[Stream, Row]] = field(default_factory=dict)
    history_rows: dict[str, list[Row]] = field(default_factory=dict)
    replica_rows: dict[str, list[Row]] = field(default_factory=dict)
    outgoing: list[Outgoing] = field(default_factory=list)
    effects: list[tuple[Recorded[Any], Effect]] = field(default_factory=list)
    settled: list[tuple[Recorded[Any], Settled]] = field(default_factory=list)

    def summary(self) -> BatchResult:
        return BatchResult(self.results, len(self.events), len(self.outgoing), len(self.effects))


async def decide_batch(kit: Kit, tx: Tx, items: Sequence[Item]) -> Decided:
    """Reads only. Raises Conflict when a lock is not to be had, or when a command says that what its item was made of has
    changed before the lock: everything is decided again in a new transaction. Never raises for anything else that an item does."""
    moments = await kit.prepared.clocks.moments(tx, items)
    translation = Translation(kit.prepared, tx, items, moments)
    aside: dict[int, Exception] = {}
    past = Past(kit.prepared, tx, [item.context.tenant for item in items])
    while True:
        work = await translation.translate(aside)
        await past.hold(work)
        await past.load(work)
        await past.find(work, translation.library)
        trouble, decided = decide_all(kit.prepared, moments, items, work, aside, past, translation)
        if not trouble:
            left = {place for place, result in enumerate(decided.results) if result.outcome in ("parked", "waits")}
            decided.replica_rows |= translation.replica_rows(left)
            return decided
        aside |= trouble


def decide_all(
    prepared: Prepared,
    moments: Moments,
    items: Sequence[Item],
    work: Work,
    aside: Mapping[int, Exception],
    past: Past,
    translation: Translation,
) -> tuple[dict[int, Exception], Decided]:
    """Each item on what the items before it left. Returns new trouble (then the rest is worthless), and what to write."""
    round = Round(prepared, moments, past, translation, dict(work.trouble))
    results = [round.decide(place, item, work, aside.get(place)) for place, item in enumerate(items)]
    round.decided.results = tuple(results)
    if not round.trouble:
        round.finish()
    return round.trouble, round.decided


class Round:
    """One pass over the items of a batch."""

    def __init__(self, prepared: Prepared, moments: Moments, past: Past, translation: Translation, trouble: dict[int, Exception]) -> None:
        self._prepared, self._moments, self._translation, self._library = prepared, moments, translation, translation.library
        self._states = dict(past.states)
        self.trouble = trouble
        self._blocked: set[str] = set()
        self._waiting: set[str] = set()
        self._sets: set[tuple[UUID, str]] = set()
        self._only_read: set[Stream] = set()
        self._last: dict[Stream, tuple[Handled, Any, Recorded[Any]]] = {}
        self._counts: Counter[tuple[UUID, str]] = Counter()
        self.decided = Decided()

    def decide(self, place: int, item: Item, work: Work, aside: Exception | None) -> Result:
        if item.key in self._blocked:
            return Result(item, "parked")
        if aside is not None or place in work.trouble:
            self._blocked.add(item.key)
            return Result(item, "parked", error=aside or work.trouble.get(place))
        if place in work.refused:
            return self._refuse(place, item, work.refused[place])
        addressed = work.addressed.get(place, ())
        if item.key in self._waiting or self._must_wait(item, addressed):
            self._waiting.add(item.key)
            return Result(item, "waits")
        try:
            result = self._decide_one(place, item, addressed)
        except Rejected as refused:
            return self._refuse(place, item, refused)
        except Conflict:
            raise
        except Exception as error:
            self.trouble[place] = error
            self._blocked.add(item.key)
            return Result(item, "parked", error=error)
        self._remember_sets(item, addressed)
        return result

    def _must_wait(self, item: Item, addressed: Sequence[Addressed[Any]]) -> bool:
        tenant = item.context.tenant
        if not any(a.exclusive for a in addressed):
            return False
        if any(a.exclusive and (tenant, a.exclusive) in self._sets for a in addressed):
            return True
        return any(Stream(tenant, a.aggregate.stream(a.id)) in self._only_read for a in addressed)

    def _remember_sets(self, item: Item, addressed: Sequence[Addressed[Any]]) -> None:
        tenant = item.context.tenant
        own = {a.aggregate.stream(a.id) for a in addressed}
        for a in addressed:
            if a.exclusive:
                self._sets.add((tenant, a.exclusive))
            for aggregate, id in a.reads:
                if (name := aggregate.stream(id)) not in own:
                    self._only_read.add(Stream(tenant, name))

    def _decide_one(self, place: int, item: Item, addressed: Sequence[Addressed[Any]]) -> Result:
        one = OneItem(self._prepared, self._moments.of(item), item, self._states, self._library, place, self._counts)
        for n, a in enumerate(addressed):
            one.decide(a, item.expected_version if n == 0 else None)
        one.check_reads(addressed)
        self._keep_history(place)
        self._keep(one)
        touched = {Stream(item.context.tenant, a.aggregate.stream(a.id)): None for a in addressed}
        versions = {stream: self._states[stream][1] for stream in touched}
        states = {stream: self._states[stream][0] for stream in touched}
        return Result(item, "handled", tuple(r for _, r in one.events), versions, states)

    def _keep_history(self, place: int) -> None:
        for table, row in list(self._translation.history_rows(place)):
            self.decided.replica_rows.setdefault(table, []).append(row)

    def _keep(self, one: OneItem) -> None:
        self._states.update(one.changed)
        self.decided.events.extend(one.events)
        self.decided.outgoing.extend(one.outgoing)
        self.decided.effects.extend(one.effects)
        self.decided.settled.extend(one.settled)
        for table, rows in one.history_rows.items():
            self.decided.history_rows.setdefault(table, []).extend(rows)
        self._last.update(one.last)
        self._counts.update(one.counts)

    def _refuse(self, place: int, item: Item, refused: Rejected) -> Result:
        self._keep_history(place)
        if isinstance(item.asks, Envelope) and self._translation.is_command(place):
            contract = self._prepared.service.refusal(item.asks, refused)
            id = cause_id(item.source, item.id, "refused", 1)
            subject = item.asks.subject or f"command/{item.asks.id}"
            self.decided.outgoing.append(publication(self._prepared.source, contract, id, subject, 0, item.context, self._moments.of(item)))
        return Result(item, "refused", error=refused)

    def finish(self) -> None:
        """The row of each state view, once per stream: from its last state in this batch."""
        for stream, (handled, state, recorded) in self._last.items():
            for view in handled.states:
                row = {**view.row(state, recorded), **_key(recorded)}
                self.decided.state_rows.setdefault(view.table.name, {})[stream] = row


class OneItem:
    """One item is all or nothing: what it would change is kept apart until it is through."""

    def __init__(
        self,
        prepared: Prepared,
        now: datetime,
        item: Item,
        states: Mapping[Stream, Any],
        library: Library,
        place: int,
        counts: Mapping[tuple[UUID, str], int],
    ) -> None:
        self._prepared, self._now, self._item = prepared, now, item
        self._before = states
        self.changed: dict[Stream, tuple[Any, int]] = {}
        self._seen = Seen(now, item.context.tenant, place, library, Layered(self.changed, states), counts)
        self._numbers: dict[Stream, int] = {}
        self.events: list[tuple[str, Recorded[Any]]] = []
        self.outgoing: list[Outgoing] = []
        self.effects: list[tuple[Recorded[Any], Effect]] = []
        self.settled: list[tuple[Recorded[Any], Settled]] = []
        self.history_rows: dict[str, list[Row]] = {}
        self.last: dict[Stream, tuple[Handled, Any, Recorded[Any]]] = {}
        self.counts: Counter[tuple[UUID, str]] = Counter()

    def decide(self, a: Addressed[Any], expected_version: int | None) -> None:
        stream = Stream(self._item.context.tenant, a.aggregate.stream(a.id))
        state, version = self.changed.get(stream) or self._before[stream]
        if expected_version is not None:
            _must_be_current(version, expected_version)
        command = a.command(self._seen) if callable(a.command) else a.command
        if command is None:
            return
        handled = self._prepared.handlers[a.aggregate.name]
        for event in a.aggregate.decide(state, command):
            state, version = a.aggregate.evolve(state, event), version + 1
            self._record(handled, stream, state, version, event)
        if a.counts is not None and stream in self._numbers:
            name, of_state = a.counts
            self.counts[self._item.context.tenant, name] += of_state(state)
        self.changed[stream] = (state, version)

    def _record(self, handled: Handled, stream: Stream, state: Any, version: int, event: Any) -> None:
        n = self._numbers[stream] = self._numbers.get(stream, 0) + 1
        id = cause_id(self._item.source, self._item.id, stream.name, n)
        recorded = Recorded(id, stream, version, event, self._item.context, self._now, handled.handler.aggregate.name)
        handler = handled.handler
        self.events.append((handler.aggregate.name, recorded))
        if (said := handler.publish(state, recorded)) is not None:
            self.outgoing.append(spoken(self._prepared.source, said, recorded))
        if (effect := handler.effect(state, recorded)) is not None:
            self._follow(recorded, effect)
        for view in handled.histories:
            for number, row in enumerate(view.rows(state, recorded), 1):
                self.history_rows.setdefault(view.table.name, []).append({**row, **_key(recorded), "n": number})
        self.last[stream] = (handled, state, recorded)

    def _follow(self, recorded: Recorded[Any], effect: Effect | Settled) -> None:
        if isinstance(effect, Settled):
            self.settled.append((recorded, effect))
        else:
            self.effects.append((recorded, effect))

    def check_reads(self, addressed: Sequence[Addressed[Any]]) -> None:
        """A read stream that nobody holds still is guarded only by appending to it (C.5)."""
        if not self.events:
            return
        written = {r.stream for _, r in self.events}
        for a in addressed:
            for aggregate, id in a.reads:
                stream = Stream(self._item.context.tenant, aggregate.stream(id))
                if not aggregate.read_by_others and stream not in written:
                    raise UnguardedRead(f"{stream.name} is read but neither appended to nor read_by_others")


class UnguardedRead(Exception):
    """A decision rests on a stream that may change before the commit: a mistake in the wiring."""


class Layered(Mapping[Stream, tuple[Any, int]]):
    """What this item changed, over what the items before it left."""

    def __init__(self, upper: Mapping[Stream, tuple[Any, int]], lower: Mapping[Stream, tuple[Any, int]]) -> None:
        self._upper, self._lower = upper, lower

    def __getitem__(self, stream: Stream) -> tuple[Any, int]:
        return self._upper.get(stream) or self._lower[stream]

    def __iter__(self) -> Iterator[Stream]:
        return iter({**self._lower, **self._upper})

    def __len__(self) -> int:
        return len({**self._lower, **self._upper})


def _must_be_current(version: int, expected: int) -> None:
    if version == 0:
        raise NotFound
    if version != expected:
        raise Stale(version)


def _key(recorded: Recorded[Any]) -> dict[str, Any]:
    return {"tenant": recorded.stream.tenant, "id": recorded.aggregate_id, "version": recorded.version}
