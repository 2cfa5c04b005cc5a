"""A service's wiring, looked up by what a batch needs, and checked once at the start."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from shared.es.codec import DataclassCodec
from shared.es.store import EventStore
from shared.es.tables import RowWriter
from shared.es.view import HistoryView, StateView
from shared.messaging.clocks import Clocks
from shared.messaging.contract import Command, Contract
from shared.messaging.effects import EffectKind
from shared.messaging.handler import Handler
from shared.messaging.replica import HistoryReplica, Replica
from shared.messaging.subscription import Need, Subscription
from shared.runtime.service import Service


@dataclass(frozen=True, eq=False)
class Route:
    """What a service does with one type of message."""

    contract: type[Contract]
    subscription: Subscription[Any] | None = None
    replicas: tuple[Replica[Any], ...] = ()
    histories: tuple[HistoryReplica, ...] = ()
    is_command: bool = False


@dataclass(frozen=True, eq=False)
class Handled:
    """A handler with its views sorted by kind."""

    handler: Handler[Any, Any, Any]
    states: tuple[StateView[Any], ...]
    histories: tuple[HistoryView[Any, Any], ...]


@dataclass(frozen=True, eq=False)
class Prepared:
    """Made once per process. Tables are written in the order of `writers`, the same in every batch (pitfall 12)."""

    service: Service
    store: EventStore
    routes: dict[str, Route]
    handlers: dict[str, Handled]
    effects: dict[str, EffectKind]
    view_writers: dict[str, RowWriter]
    replica_writers: dict[str, RowWriter]
    clocks: Clocks
    topics: tuple[str, ...] = field(default=())
    others: Route | None = None

    def route_of(self, type: str) -> Route | None:
        """Whoever names a type has it; what nobody names is for `others`, where a service has that."""
        return self.routes.get(type, self.others)

    @property
    def source(self) -> str:
        return f"urn:dealwright:{self.service.name}"


class Miswired(Exception):
    """The service's wiring contradicts itself; it does not start."""


def prepare(service: Service) -> Prepared:
    """Raises Miswired when names of tables, contracts or events repeat, columns are missing, or a need names a foreign finder."""
    routes = _routes(service)
    handlers = {h.aggregate.name: _handled(h) for h in service.handlers}
    if len(handlers) != len(service.handlers):
        raise Miswired("two handlers have aggregates of the same name")
    _check_tables(service)
    _check_events(service)
    _check_needs(service)
    replicas = sorted(service.replicas, key=lambda replica: replica.table.name)
    views = _view_writers(service)
    return Prepared(
        service,
        EventStore(DataclassCodec(h.aggregate for h in service.handlers)),
        routes,
        handlers,
        {kind.name: kind for kind in service.effects},
        views,
        {r.table.name: RowWriter(r.table, history=isinstance(r, HistoryReplica)) for r in replicas},
        Clocks((*views, *(r.table.name for r in replicas))),
        tuple(sorted({route.contract.topic for route in routes.values()})),
        _others(service),
    )


def _others(service: Service) -> Route | None:
    """What it refuses, or cannot read, is answered like a command."""
    return Route(service.others.contract, service.others, is_command=True) if service.others else None


def _handled(handler: Handler[Any, Any, Any]) -> Handled:
    states = tuple(view for view in handler.views if isinstance(view, StateView))
    return Handled(handler, states, tuple(view for view in handler.views if isinstance(view, HistoryView)))


def _view_writers(service: Service) -> dict[str, RowWriter]:
    views = {view.table.name: view for handler in service.handlers for view in handler.views}
    return {name: RowWriter(views[name].table, history=isinstance(views[name], HistoryView)) for name in sorted(views)}


def _routes(service: Service) -> dict[str, Route]:
    subscriptions = {s.contract.type: s for s in service.subscriptions}
    if len(subscriptions) != len(service.subscriptions):
        raise Miswired("two subscriptions hear the same contract")
    contracts = {s.contract.type: s.contract for s in service.subscriptions}
    for replica in service.replicas:
        contracts |= {contract.type: contract for contract in replica.hears}
    return {
        name: Route(
            contract,
            subscriptions.get(name),
            tuple(r for r in service.replicas if isinstance(r, Replica) and contract in r.hears),
            tuple(r for r in service.replicas if isinstance(r, HistoryReplica) and contract in r.hears),
            issubclass(contract, Command),
        )
        for name, contract in contracts.items()
    }


def _check_tables(service: Service) -> None:
    # Several aggregates may write one table (all activity in one list); the same table twice in one handler is a slip.
    own = {view.table.name for handler in service.handlers for view in handler.views}
    replicated = [replica.table.name for replica in service.replicas]
    if len(set(replicated)) != len(replicated) or own & set(replicated):
        raise Miswired(f"a table is used by two replicas, or by a view and a replica: {sorted(own & set(replicated))}")
    for handler in service.handlers:
        for view in handler.views:
            _check_columns(view.table.name, view.table.columns.keys(), history=isinstance(view, HistoryView))
    for replica in service.replicas:
        _check_columns(replica.table.name, replica.table.columns.keys(), history=isinstance(replica, HistoryReplica))


def _check_columns(table: str, columns: Iterable[str], *, history: bool) -> None:
    wanted = {"tenant", "id", "version"} | ({"n"} if history else set())
    if missing := wanted - set(columns):
        raise Miswired(f"{table} lacks the kit's columns {sorted(missing)}")


def _check_events(service: Service) -> None:
    for handler in service.handlers:
        names = [event.__name__ for event in handler.aggregate.events]
        if len(set(names)) != len(names):
            raise Miswired(f"{handler.aggregate.name} has two events of one name")


def _check_needs(service: Service) -> None:
    own = {id(replica) for replica in service.replicas}

    def check(needs: tuple[Need[Any, Any], ...], depth: int) -> None:
        for need in needs:
            if depth > 4:
                raise Miswired(f"need {need.finder.name} lies deeper than four levels")
            if isinstance(need.finder, Replica) and id(need.finder) not in own:
                raise Miswired(f"need {need.finder.name} names a replica that the service does not keep")
            check(need.then, depth + 1)

    for subscription in (*service.subscriptions, *((service.others,) if service.others else ())):
        check(subscription.needs, 1)
