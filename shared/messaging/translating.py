"""Messages become addressed commands, each with the facts of its own place in the batch (C.5 step 2, C.8)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from shared.es.addressed import Addressed, Key
from shared.es.errors import Fault, Rejected, Unreadable
from shared.es.view import Row
from shared.messaging.clocks import Moments
from shared.messaging.contract import Contract
from shared.messaging.envelope import Envelope, Message
from shared.messaging.facts import Library, Seen, replica_key
from shared.messaging.handling import Prepared, Route
from shared.messaging.items import Item
from shared.messaging.reading import checked
from shared.messaging.replica import Replica
from shared.messaging.subscription import Need

if TYPE_CHECKING:
    from shared.runtime.database import Tx


MAX_HOPS = 1000
"""The backstop behind `origin.chain`, above every legal chain: a loop between services ends here (B.7)."""


@dataclass(slots=True)
class Work:
    """The items of a batch as addressed commands; a refusal in place of commands where translating refused."""

    addressed: dict[int, tuple[Addressed[Any], ...]] = field(default_factory=dict)
    refused: dict[int, Rejected] = field(default_factory=dict)
    trouble: dict[int, Exception] = field(default_factory=dict)


class Translation:
    """Messages become addressed commands, each with the facts of its own place in the batch."""

    def __init__(self, prepared: Prepared, tx: Tx, items: Sequence[Item], moments: Moments) -> None:
        self._prepared, self._items, self._moments = prepared, items, moments
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
                route = self._prepared.route_of(item.asks.type)
                assert route is not None
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
        if item.context.hops > MAX_HOPS:
            work.refused[place] = Rejected("too_many_hops", f"This chain has gone through {MAX_HOPS} messages; it ends here.")
            return
        facts = Seen(self._moments.of(item), item.context.tenant, place, self.library)
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
