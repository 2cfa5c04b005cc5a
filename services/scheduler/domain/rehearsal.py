"""Rehearsal: the clock of a tenant that was registered for trying out. Moved by hand, forwards, it stands still in between.

It goes with the service's clock until it is moved for the first time, to where the rehearsal begins: into the past as well.
On its way it stops at each moment at which something rings, so that what rings there and what that causes comes before whatever
rings later (docs/rehearsals.md)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from services.scheduler.domain.origin import Origin
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, NotFound, Rejected

FARTHEST = timedelta(days=20 * 366)


@dataclass(frozen=True, slots=True)
class MoveClock:
    """`rehearses`: None of a tenant not known here. `at`: the time it is for the tenant. `rings_at`: when its next timer or
    reminder rings, due ones included. `through`: without a stop."""

    rehearses: bool | None
    to: datetime
    at: datetime
    rings_at: datetime | None
    through: bool = False
    origin: Origin = field(default_factory=Origin)


@dataclass(frozen=True, slots=True)
class ClockMoved:
    """`stood_at`: None before the first move. `stands_at` is before `heading_for` where something rings on the way."""

    stood_at: datetime | None
    stands_at: datetime
    heading_for: datetime
    rings_at: datetime | None
    origin: Origin


@dataclass(frozen=True, slots=True)
class Rehearsal:
    """`rings_at` as it was known when the clock was moved."""

    stands_at: datetime | None = None
    heading_for: datetime | None = None
    rings_at: datetime | None = None


def decide(rehearsal: Rehearsal, command: MoveClock) -> Sequence[ClockMoved]:
    """Nothing when it stands there already. Raises Rejected: tenant_unknown, not_a_rehearsal, clock_goes_forwards,
    clock_too_far, timers_are_ringing."""
    if command.rehearses is None:
        raise NotFound("There is no such tenant.", "tenant_unknown")
    if not command.rehearses:
        raise not_a_rehearsal()
    _must_be_ahead(rehearsal, command)
    rings_at = command.rings_at
    if not command.through and rings_at is not None and rings_at <= command.at:
        raise Rejected("timers_are_ringing", "What is due by now has not rung yet. Move on when it has.")
    stop = command.to if command.through or rings_at is None else min(command.to, rings_at)
    if (stop, command.to) == (rehearsal.stands_at, rehearsal.heading_for):
        return []
    return [ClockMoved(rehearsal.stands_at, stop, command.to, rings_at, command.origin)]


def not_a_rehearsal() -> Rejected:
    return Rejected("not_a_rehearsal", "Only a tenant that was registered as a rehearsal has a clock of its own.")


def too_far(pointer: str) -> Rejected:
    fault = Fault(pointer, "clock_too_far", "At most 20 years at once.")
    return Rejected("clock_too_far", fault.detail, status=422, errors=[fault])


def _must_be_ahead(rehearsal: Rehearsal, command: MoveClock) -> None:
    stands_at = rehearsal.stands_at
    if stands_at is not None and command.to < stands_at:
        raise Rejected("clock_goes_forwards", f"It is {stands_at.isoformat()} there already; a clock goes forwards only.")
    if abs(command.to - command.at) > FARTHEST:
        raise too_far("/to")


def evolve(rehearsal: Rehearsal, event: ClockMoved) -> Rehearsal:
    return Rehearsal(event.stands_at, event.heading_for, event.rings_at)


REHEARSAL: Aggregate[Rehearsal, MoveClock, ClockMoved] = Aggregate("rehearsal", Rehearsal(), decide, evolve, (ClockMoved,))
