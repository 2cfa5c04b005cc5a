"""How many runs of one tenant may begin in a second; the rest wait their turn and none is lost (automation 14, D68).

Turns are given out one after the other, each a fixed step behind the one before: as many as the quota allows fall into each
second of the clock. A turn in the present second begins at once, a later one at its own moment, so the order of arrival is kept."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Pace:
    """`a_second`: the quota. `taken_until`: all turns before it were given away by others; `ahead`: so many more in this transaction."""

    a_second: int
    taken_until: datetime | None = None
    ahead: int = 0

    def turn(self, n: int, now: datetime) -> datetime:
        """When the n-th run of an arrival (from 0) has its turn."""
        second = now.replace(microsecond=0)
        first = second if self.taken_until is None else max(self.taken_until, second)
        return first + (self.ahead + n) * timedelta(microseconds=-(-1_000_000 // self.a_second))

    @staticmethod
    def must_wait(turn: datetime, now: datetime) -> bool:
        return turn >= now.replace(microsecond=0) + SECOND
