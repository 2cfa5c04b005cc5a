"""Effects outside the database: claimed, performed with no transaction open, recorded under a fence, told (architecture C.15)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from shared.es.addressed import Addressed
from shared.es.aggregate import Json
from shared.messaging.handler import Effect

__all__ = ["Claimed", "Effect", "EffectKind", "Performed"]


@dataclass(frozen=True, slots=True)
class Claimed:
    """An effect that is ours to perform until its lease ends. `earlier` 'unknown': an earlier attempt may have happened."""

    tenant: UUID
    kind: str
    key: str
    stream: str
    request: Json
    attempt: int
    fence: int
    rehearsal: bool
    earlier: Literal["none", "failed", "unknown"]


@dataclass(frozen=True, slots=True)
class Performed:
    """'failed' with `again_at` or `again_after` is failed for now: queued again for then.

    `again_after` counts from the primary's clock at the moment of recording: what a schedule of retries wants (R8)."""

    state: Literal["done", "failed", "unknown"]
    outcome: Json
    again_at: datetime | None = None
    again_after: timedelta | None = None


@dataclass(frozen=True, eq=False)
class EffectKind:
    """`perform` never raises for what the world answers: it says so in Performed. What it raises counts as 'unknown'.

    `rehearse` does the same for a rehearsal tenant: the sandbox, never the world. `tell` turns the outcome into a
    command to the aggregate that asked, or into several that commit together (a refund and the invoice it touches); it is
    handled through the batch like anything else.
    `unknown`: 'again' where repeating with the same key is safe, 'hold' where a person has to decide. What is repeated and
    ends without an answer 20 times in a row is given up, with the code `no_answer`, and told: as 'failed', or as `given_up`
    says, because it may have happened all the same: 'unknown' is held for a person, who is never told anything untrue."""

    name: str
    perform: Callable[[Claimed], Awaitable[Performed]]
    rehearse: Callable[[Claimed], Awaitable[Performed]]
    tell: Callable[[Claimed, Performed], Addressed[Any] | tuple[Addressed[Any], ...]]
    lease: timedelta = timedelta(seconds=60)
    at_once: int = 16
    unknown: Literal["again", "hold"] = "hold"
    given_up: Literal["failed", "unknown"] = "failed"
    by_tenants_clock: bool = False
    """Its effects wait for a moment of the tenant's (the end of a link): in a rehearsal for its clock to reach it."""
