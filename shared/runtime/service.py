"""A service as one value: everything it does is visible in it (architecture C.14)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol

from fastapi import APIRouter

from shared.es.errors import Rejected
from shared.messaging.contract import Contract
from shared.messaging.effects import EffectKind
from shared.messaging.envelope import Envelope
from shared.messaging.handler import Handler
from shared.messaging.replica import HistoryReplica, Replica
from shared.messaging.subscription import Subscription

if TYPE_CHECKING:
    from shared.messaging.batch import BatchResult
    from shared.messaging.directory import Directory
    from shared.messaging.handling import Prepared
    from shared.runtime.database import Database


class Loop(Protocol):
    """Something that goes on beside the consumers: a ticker. `step` says how long it may sleep now."""

    name: str

    async def step(self) -> timedelta: ...


@dataclass(frozen=True, eq=False)
class Service:
    name: str
    api: APIRouter
    handlers: tuple[Handler[Any, Any, Any], ...]
    subscriptions: tuple[Subscription[Any], ...]
    refusal: Callable[[Envelope, Rejected], Contract]
    """Its CommandRejected, keyed like the command it answers."""
    directory: Directory
    """Tenants and credentials: replicas; in deals its own views."""
    replicas: tuple[Replica[Any] | HistoryReplica, ...] = ()
    effects: tuple[EffectKind, ...] = ()
    loops: tuple[Callable[[Kit], Loop], ...] = ()
    due: tuple[str, ...] = ()
    """SQL that counts what a loop is about to do for one tenant ($1; null: for all), for `/ops/rest`."""
    others: Subscription[Any] | None = None
    """For messages on its command topic of a type that it neither routes nor knows: events of other people's programs."""


@dataclass(frozen=True, eq=False)
class Kit:
    """A service made ready: tables looked up by name, statements prepared, wake-up calls connected."""

    service: Service
    database: Database
    prepared: Prepared
    wake: Callable[[BatchResult], None]
