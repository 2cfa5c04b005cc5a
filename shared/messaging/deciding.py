"""Inside a batch's transaction: translate messages, load what they touch, decide in memory in order, write (C.5).

`decide_batch` only reads. An item that cannot be handled is set aside and the rest decided again without it: nothing was
written yet, so no savepoint is needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from hashlib import sha1
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from pydantic import ValidationError

from shared.es.addressed import Addressed, Finder, Key
from shared.es.errors import Fault, NotFound, Rejected, Stale, Unreadable
from shared.es.recorded import Context, Recorded, Stream
from shared.es.view import Row
from shared.messaging.batch import BatchResult, Item, Result
from shared.messaging.contract import Contract
from shared.messaging.envelope import MAX_SIZE, Envelope, Message, to_kafka
from shared.messaging.facts import Library, Seen, replica_key
from shared.messaging.handler import Effect
from shared.messaging.handling import Handled, Prepared, Route
from shared.messaging.outbox import Outgoing, put_many
from shared.messaging.reading import checked
from shared.messaging.replica import Replica
from shared.messaging.subscription import Need
from shared.runtime.failpoints import fp
from shared.runtime.statements import load_sql

if TYPE_CHECKING:
    from shared.runtime.database import Tx
    from shared.runtime.service import Kit

MAX_HOPS = 1000


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

    def summary(self) -> BatchResult:
        return BatchResult(self.results, len(self.events), len(self.outgoing), len(self.effects))


async def decide_batch(kit: Kit, tx: Tx, items: Sequence[Item]) -> Decided:
    """Reads only. Raises Conflict when a lock is not to be had; never for what one item does."""
    translation = Translation(kit.prepared, tx, items)
    aside: dict[int, Exception] = {}
    past = Past(kit.prepared, tx, [item.context.tenant for item in items])
    while True:
        work = await translation.translate(aside)
        await past.hold(work)
        await past.load(work)
        await past.find(work, translation.library)
        trouble, decided = decide_all(kit.prepared, tx, items, work, aside, past, translation)
        if not trouble:
            left = {place for place, result in enumerate(decided.results) if result.outcome in ("parked", "waits")}
            decided.replica_rows |= translation.replica_rows(left)
            return decided
        aside |= trouble


# ------------------------------------------------------------------------------------------------------ translate


@dataclass(slots=True)
class Work:
    """The items of a batch as addressed commands; a refusal in place of commands where translating refused."""

    addressed: dict[int, tuple[Addressed[Any], ...]] = field(default_factory=dict)
    refused: dict[int, Rejected] = field(default_factory=dict)
    trouble: dict[int, Exception] = field(default_factory=dict)


class Translation:
    """Messages become addressed commands, each with the facts of its own place in the batch."""

    def __init__(self, prepared: Prepared, tx: Tx, items: Sequence[Item]) -> None:
        self._prepared, self._tx, self._items = prepared, tx, items
        self.library = Library(prepared, tx)
        self._messages: dict[int, Message[Any]] = {}
        self._routes: dict[int, Route] = {}
        self._unreadable: dict[int, Exception] = {}
        self._decoded = False

    async def translate(self, aside: Mapping[int, Exception]) -> Work:
        if not self._decoded:
            self._decode()
            await self.library.load_replicas(self._replicas_changed())
        self._fold(aside)
        await self.library.answer(self._needs(aside))
        work = Work()
        for place, item in enumerate(self._items):
            if place not in aside:
                self._translate_one(place, item, work)
        return work

    def _decode(self) -> None:
        self._decoded = True
        for place, item in enumerate(self._items):
            if isinstance(item.asks, Envelope):
                route = self._prepared.routes[item.asks.type]
                self._routes[place] = route
                try:
                    self._messages[place] = Message(item.asks, read_body(route.contract, item.asks))
                except Unreadable as error:
                    self._unreadable[place] = _invalid_body(error) if route.is_command else error

    def _replicas_changed(self) -> dict[str, tuple[Replica[Any], set[Key]]]:
        wanted: dict[str, tuple[Replica[Any], set[Key]]] = {}
        for place, message in self._messages.items():
            for replica in self._routes[place].replicas:
                key = replica_key(replica, message.envelope, message.body)
                wanted.setdefault(replica.name, (replica, set()))[1].add(key)
        return wanted

    def _fold(self, aside: Mapping[int, Exception]) -> None:
        self.library.forget_folds()
        for place, message in self._messages.items():
            if place in aside:
                continue
            for replica in self._routes[place].replicas:
                self.library.fold(place, replica, replica_key(replica, message.envelope, message.body), message)

    def _needs(self, aside: Mapping[int, Exception]) -> list[tuple[Need[Any, Any], Key]]:
        return [
            (need, Key(message.envelope.context.tenant, key))
            for place, message in self._messages.items()
            if place not in aside and (subscription := self._routes[place].subscription)
            for need in subscription.needs
            for key in need.keys(message)
        ]

    def _translate_one(self, place: int, item: Item, work: Work) -> None:
        if not isinstance(item.asks, Envelope):
            work.addressed[place] = item.asks
            return
        if error := self._unreadable.get(place):
            _note(work, place, error)
            return
        subscription = self._routes[place].subscription
        if subscription is None:
            work.addressed[place] = ()
            return
        facts = Seen(self._tx.now, item.context.tenant, place, self.library)
        try:
            work.addressed[place] = tuple(subscription.commands(self._messages[place], facts))
        except Exception as error:
            _note(work, place, error)

    def replica_rows(self, left: Set[int]) -> dict[str, list[Row]]:
        """The rows that the batch's messages made; not what a message did that was left for later (places in `left`)."""
        rows: dict[str, list[Row]] = {}
        for name, entries in self.library.replicas.items():
            for key, entry in entries.items():
                if (change := entry.last_change(left)) is not None:
                    version, row = change
                    replica = self.library.replica(name)
                    rows.setdefault(name, []).append({**replica.dump(row), "tenant": key.tenant, "id": key.key, "version": version})
        return rows

    def history_rows(self, place: int) -> Iterator[tuple[str, Row]]:
        message = self._messages.get(place)
        if message is None:
            return
        for history in self._routes[place].histories:
            for n, row in enumerate(history.hears[type(message.body)](message), 1):
                e = message.envelope
                yield history.table.name, {**row, "tenant": e.context.tenant, "id": e.id, "version": e.sequence, "n": n}

    def is_command(self, place: int) -> bool:
        route = self._routes.get(place)
        return route is not None and route.is_command


def _note(work: Work, place: int, error: Exception) -> None:
    if isinstance(error, Rejected):
        work.refused[place] = error
    else:
        work.trouble[place] = error


def read_body(contract: type[Contract], envelope: Envelope) -> Any:
    """The body, validated straight from its bytes. Raises Unreadable with what is wrong, by JSON pointer."""
    try:
        return contract.read(checked(envelope))
    except ValidationError as error:
        faults = [Fault("#/" + "/".join(map(str, e["loc"])), e["type"], e["msg"]) for e in error.errors(include_url=False)]
        raise Unreadable("; ".join(f"{f.pointer}: {f.detail}" for f in faults)[:1000], faults) from None


def _invalid_body(error: Unreadable) -> Rejected:
    faults = error.args[1] if len(error.args) > 1 else ()
    return Rejected("invalid_body", str(error.args[0]), status=422, errors=faults)


# ----------------------------------------------------------------------------------------------------- look back


class Past:
    """Streams as they stand, loaded after the locks; what is already loaded is kept from round to round."""

    def __init__(self, prepared: Prepared, tx: Tx, tenants: Sequence[UUID]) -> None:
        self._prepared, self._tx, self._tenants = prepared, tx, tenants
        self._held: dict[str, bool] = {}
        self.states: dict[Stream, tuple[Any, int]] = {}

    async def hold(self, work: Work) -> None:
        """Advisory locks on what others' decisions rest on, until the commit. One statement, sorted by the lock's number."""
        wanted = _locks(self._commands(work))
        locks = {name: exclusive for name, exclusive in wanted.items() if self._held.get(name) not in (True, exclusive)}
        if locks:
            await self._tx.raw.fetch(load_sql("messaging", "lock"), [*locks], [*locks.values()])
            self._held |= locks

    def _commands(self, work: Work) -> Iterable[tuple[UUID, Addressed[Any]]]:
        return ((self._tenants[place], a) for place, every in work.addressed.items() for a in every)

    async def load(self, work: Work) -> None:
        aggregates = {
            Stream(tenant, aggregate.stream(id)): aggregate
            for tenant, a in self._commands(work)
            for aggregate, id in ((a.aggregate, a.id), *a.reads)
        }
        missing = [stream for stream in aggregates if stream not in self.states]
        if missing:
            loaded = await self._prepared.store.load_many(self._tx, missing)
            for stream, events in loaded.items():
                self.states[stream] = (aggregates[stream].fold(events), len(events))

    async def find(self, work: Work, library: Library) -> None:
        wanted: dict[str, tuple[Finder[Any], set[Key]]] = {}
        for tenant, a in self._commands(work):
            for finder, key in a.finds:
                wanted.setdefault(finder.name, (finder, set()))[1].add(Key(tenant, key))
        for finder, keys in wanted.values():
            await library.find_locked(finder, keys)


def _locks(addressed: Iterable[tuple[UUID, Addressed[Any]]]) -> dict[str, bool]:
    """Lock name -> exclusive? Streams that others read, when appended to or read; sets, always exclusively."""
    locks: dict[str, bool] = {}
    for tenant, a in addressed:
        if a.aggregate.read_by_others:
            locks[f"{tenant}/{a.aggregate.stream(a.id)}"] = True
        for aggregate, id in a.reads:
            if aggregate.read_by_others:
                locks.setdefault(f"{tenant}/{aggregate.stream(id)}", False)
        if a.exclusive:
            locks[f"{tenant}/{a.exclusive}"] = True
    return locks


# -------------------------------------------------------------------------------------------------------- decide


def decide_all(
    prepared: Prepared,
    tx: Tx,
    items: Sequence[Item],
    work: Work,
    aside: Mapping[int, Exception],
    past: Past,
    translation: Translation,
) -> tuple[dict[int, Exception], Decided]:
    """Each item on what the items before it left. Returns new trouble (then the rest is worthless), and what to write."""
    round = Round(prepared, tx, past, translation, dict(work.trouble))
    results = [round.decide(place, item, work, aside.get(place)) for place, item in enumerate(items)]
    round.decided.results = tuple(results)
    if not round.trouble:
        round.finish()
    return round.trouble, round.decided


class Round:
    """One pass over the items of a batch."""

    def __init__(self, prepared: Prepared, tx: Tx, past: Past, translation: Translation, trouble: dict[int, Exception]) -> None:
        self._prepared, self._tx, self._translation, self._library = prepared, tx, translation, translation.library
        self._states = dict(past.states)
        self.trouble = trouble
        self._blocked: set[str] = set()
        self._waiting: set[str] = set()
        self._sets: set[tuple[UUID, str]] = set()
        self._only_read: set[Stream] = set()
        self._last: dict[Stream, tuple[Handled, Any, Recorded[Any]]] = {}
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
        one = OneItem(self._prepared, self._tx, item, self._states, self._library, place)
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
        for table, rows in one.history_rows.items():
            self.decided.history_rows.setdefault(table, []).extend(rows)
        self._last.update(one.last)

    def _refuse(self, place: int, item: Item, refused: Rejected) -> Result:
        self._keep_history(place)
        if isinstance(item.asks, Envelope) and self._translation.is_command(place):
            contract = self._prepared.service.refusal(item.asks, refused)
            id = cause_id(item.source, item.id, "refused", 1)
            subject = item.asks.subject or f"command/{item.asks.id}"
            self.decided.outgoing.append(publication(self._prepared, contract, id, subject, 0, item.context, self._tx))
        return Result(item, "refused", error=refused)

    def finish(self) -> None:
        """The row of each state view, once per stream: from its last state in this batch."""
        for stream, (handled, state, recorded) in self._last.items():
            for view in handled.states:
                row = {**view.row(state, recorded), **_key(recorded)}
                self.decided.state_rows.setdefault(view.table.name, {})[stream] = row


class OneItem:
    """One item is all or nothing: what it would change is kept apart until it is through."""

    def __init__(self, prepared: Prepared, tx: Tx, item: Item, states: Mapping[Stream, Any], library: Library, place: int) -> None:
        self._prepared, self._tx, self._item = prepared, tx, item
        self._before = states
        self.changed: dict[Stream, tuple[Any, int]] = {}
        self._seen = Seen(tx.now, item.context.tenant, place, library, Layered(self.changed, states))
        self._numbers: dict[Stream, int] = {}
        self.events: list[tuple[str, Recorded[Any]]] = []
        self.outgoing: list[Outgoing] = []
        self.effects: list[tuple[Recorded[Any], Effect]] = []
        self.history_rows: dict[str, list[Row]] = {}
        self.last: dict[Stream, tuple[Handled, Any, Recorded[Any]]] = {}

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
        self.changed[stream] = (state, version)

    def _record(self, handled: Handled, stream: Stream, state: Any, version: int, event: Any) -> None:
        n = self._numbers[stream] = self._numbers.get(stream, 0) + 1
        id = cause_id(self._item.source, self._item.id, stream.name, n)
        recorded = Recorded(id, stream, version, event, self._item.context, self._tx.now, handled.handler.aggregate.name)
        handler = handled.handler
        self.events.append((handler.aggregate.name, recorded))
        if (contract := handler.publish(state, recorded)) is not None:
            subject = f"{handler.aggregate.name}/{recorded.aggregate_id}"
            self.outgoing.append(publication(self._prepared, contract, id, subject, version, self._item.context, self._tx))
        if (effect := handler.effect(state, recorded)) is not None:
            self.effects.append((recorded, effect))
        for view in handled.histories:
            for number, row in enumerate(view.rows(state, recorded), 1):
                self.history_rows.setdefault(view.table.name, []).append({**row, **_key(recorded), "n": number})
        self.last[stream] = (handled, state, recorded)

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


def cause_id(source: str, id: str, stream: str, n: int) -> UUID:
    """The id of what follows from a cause: the same whenever it is decided again (version 5, a name-based UUID)."""
    digest = sha1(f"{source}\n{id}\n{stream}\n{n}".encode(), usedforsecurity=False).digest()
    return UUID(bytes=digest[:16], version=5)


def publication(prepared: Prepared, contract: Contract, id: UUID, subject: str, sequence: int, context: Context, tx: Tx) -> Outgoing:
    """A contract as a message. Raises Rejected("too_large") above 256 KiB: here the cause can still be refused."""
    body = contract.model_dump_json().encode()
    envelope = Envelope(str(id), prepared.source, contract.type, subject, contract.partition_key(), tx.now, sequence, context, body)
    _, headers, value = to_kafka(envelope)
    if len(value) + sum(len(name) + len(content) for name, content in headers) > MAX_SIZE:
        raise Rejected("too_large", f"{contract.type} would be {len(value)} bytes; a message holds {MAX_SIZE}.", status=422)
    return Outgoing(contract.topic, envelope.key, headers, value)


# --------------------------------------------------------------------------------------------------------- write


async def write(kit: Kit, tx: Tx, decided: Decided) -> None:
    """One statement per table, always in this order, each sorted by key. The outbox keeps the order decided."""
    prepared = kit.prepared
    fp("pm.after_decide")
    _every_row_is_its_tenants(decided)
    await prepared.store.append_many(tx, sorted(decided.events, key=_by_stream))
    for name, writer in prepared.view_writers.items():
        rows = [*decided.state_rows.get(name, {}).values(), *decided.history_rows.get(name, ())]
        await writer.write(tx, rows)
    fp("pm.between_writes")
    for name, writer in prepared.replica_writers.items():
        await writer.write(tx, decided.replica_rows.get(name, ()))
    await put_many(tx, decided.outgoing)
    await _ask_effects(tx, decided.effects)
    fp("pm.before_commit")


def _by_stream(pair: tuple[str, Recorded[Any]]) -> tuple[UUID, str, int]:
    return (*pair[1].stream, pair[1].version)


def _every_row_is_its_tenants(decided: Decided) -> None:
    """T17: a batch mixes tenants; what one of its items caused carries that item's tenant and no other."""
    for _, recorded in decided.events:
        if recorded.stream.tenant != recorded.context.tenant:
            raise AssertionError(f"{recorded.stream} was written in the context of tenant {recorded.context.tenant}")


async def _ask_effects(tx: Tx, effects: Sequence[tuple[Recorded[Any], Effect]]) -> None:
    if not effects:
        return
    await tx.raw.execute(
        load_sql("messaging", "effects_ask"),
        [r.stream.tenant for r, _ in effects],
        [e.kind for _, e in effects],
        [e.key for _, e in effects],
        [r.stream.name for r, _ in effects],
        [orjson.dumps(e.request, default=str).decode() for _, e in effects],
        [orjson.dumps(caused_by(r), default=str).decode() for r, _ in effects],
        [e.due_at or tx.now for _, e in effects],
    )


def caused_by(recorded: Recorded[Any]) -> dict[str, Any]:
    """The context of what follows from an event, as JSON."""
    c = recorded.context
    return {
        "correlation_id": c.correlation_id,
        "causation_id": str(recorded.id),
        "hops": c.hops,
        "actor": c.actor,
        "traceparent": c.traceparent,
    }
