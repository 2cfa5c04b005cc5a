"""The clock's door: what is due is claimed and decided in one transaction, as often as there is something. (C.10, R8, R9)

Besides timers it brings reminders, computes anew what rests on a changed calendar, and ends activities that were planned
when their visit was over already. Any number of tickers may run; each row is handled once."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

import structlog

from services.scheduler import planning, views
from services.scheduler.domain.activity import ACTIVITY, Remind
from services.scheduler.domain.calendar import CALENDAR, COMPANY, Calendar
from services.scheduler.domain.due import Calendars
from services.scheduler.domain.origin import Origin
from services.scheduler.domain.timer import TIMER, Fire, Recalculate
from services.scheduler.planning import Known, Reads
from shared.es.addressed import Addressed, Facts
from shared.es.recorded import Context
from shared.es.view import Row
from shared.messaging.batch import BatchResult, Item, Result, handle_batch
from shared.messaging.due import DueRows
from shared.runtime import clock, metrics
from shared.runtime.failpoints import fp
from shared.runtime.service import Kit

if TYPE_CHECKING:
    from shared.runtime.database import Tx

log = structlog.get_logger(__name__)

AT_ONCE = timedelta()
SHORTEST = timedelta(milliseconds=5)
SHARED = timedelta(milliseconds=5)
"""Pause after some were handled: those that come due meanwhile share one transaction. Slept here, because what was just
committed wakes the loop."""
LOOK_AGAIN = 0.1
"""Seconds for which timers that ring one after another are asked for without a look at everything else."""
LONGEST = timedelta(milliseconds=500)
JUMP = timedelta(seconds=5)
COUNTED_EVERY = timedelta(minutes=1)


class Ticker:
    """A loop of the kit. `step` handles what is due and says how long it may sleep: until the next, 5 to 500 ms."""

    name = "ticker"

    def __init__(self, kit: Kit) -> None:
        self._kit = kit
        self._guard = ClockGuard()
        self._counted_at: datetime | None = None
        self._looked_at = 0.0
        self._rang = False

    async def step(self) -> timedelta:
        if self._rang and clock.monotonic() - self._looked_at < LOOK_AGAIN:
            self._rang = await self._handled(TIMERS, self._guard.latest(clock.monotonic()))
            return await self._next(self._rang)
        return await self._tick()

    async def _tick(self) -> timedelta:
        self._looked_at = clock.monotonic()
        now, seen = await self._look()
        await self._count(now)
        if not self._guard.trusts(now, clock.monotonic()):
            log.error("ticker.clock_jumped", database_clock=now.isoformat())
            return AT_ONCE
        handled = {due: await self._handled(due) for due in _doors(now, seen)}
        self._rang = handled.get(TIMERS, False)
        if any(handled.values()):
            return await self._next(True)
        ahead: list[timedelta] = [at - now for at in (seen["timer"], seen["reminder"]) if at is not None and at > now]
        return min([LONGEST, *(max(wait, SHORTEST) for wait in ahead)])

    async def _next(self, handled: bool) -> timedelta:
        if handled:
            await asyncio.sleep(SHARED.total_seconds())
        return AT_ONCE

    async def _look(self) -> tuple[datetime, Row]:
        """The database's clock, and what there is to do."""
        database = self._kit.database
        async with database.raw() as raw:
            now = database.clock(await raw.fetchval("select clock_timestamp()"))
            return now, (await raw.fetch(views.LOOK, now))[0]

    async def _count(self, now: datetime) -> None:
        """Once a minute: how many timers are armed."""
        if self._counted_at is not None and now - self._counted_at < COUNTED_EVERY:
            return
        self._counted_at = now
        async with self._kit.database.raw() as raw:
            metrics.TIMERS_PENDING.set(await raw.fetchval(views.HOW_MANY))

    async def _handled(self, due: DueRows, not_after: datetime | None = None) -> bool:
        done = await handle_batch(self._kit, replace(due, not_after=not_after))
        if due is TIMERS:
            fp("tm.after_commit")
            _measure(done)
        return bool(done.results)


def _doors(now: datetime, seen: Row) -> list[DueRows]:
    wanted = {
        TIMERS: seen["timer"] is not None and seen["timer"] <= now,
        REMINDERS: seen["reminder"] is not None and seen["reminder"] <= now,
        REHEARSED_TIMERS: seen["rehearsed_timer"],
        REHEARSED_REMINDERS: seen["rehearsed_reminder"],
        STALE: seen["stale"],
        TOO_LATE: seen["too_late"],
    }
    return [door for door, due in wanted.items() if due]


class ClockGuard:
    """Stops firing for one poll when the database's clock has run ahead of ours by more than five seconds (R8).

    A jump forward would fire timers early in true time. Going on a poll later, it is the time that counts from then on."""

    def __init__(self) -> None:
        self._seen: tuple[datetime, float] | None = None

    def trusts(self, now: datetime, monotonic: float) -> bool:
        """`now` of the database, `monotonic` seconds of this process."""
        latest = self.latest(monotonic)
        self._seen = (now, monotonic)
        return latest is None or now <= latest

    def latest(self, monotonic: float) -> datetime | None:
        """The latest time that would be believed; None before the first."""
        return None if self._seen is None else self._seen[0] + timedelta(seconds=monotonic - self._seen[1]) + JUMP


@dataclass(frozen=True, eq=False)
class DueTimers(DueRows):
    """With the places at which tests of crashes strike."""

    async def claim(self, kit: Kit, tx: Tx) -> Sequence[Item]:
        items = await DueRows.claim(self, kit, tx)
        fp("tm.after_claim")
        return items

    async def settle(self, kit: Kit, tx: Tx, results: Sequence[Result]) -> Sequence[Result]:
        settled = await DueRows.settle(self, kit, tx, results)
        fp("tm.before_commit")
        return settled


def _measure(done: BatchResult) -> None:
    for result in done.results:
        for recorded in result.recorded:
            late = getattr(recorded.event, "lateness_ms", None)
            if late is not None:
                metrics.TIMER_FIRE_DELAY_SECONDS.observe(late / 1000)


def _chain(row: Row) -> Context:
    """What fires goes on with the chain that set it."""
    return Context(row["tenant"], row["correlation_id"], row["causation_id"], row["hops"], row["actor"], row["traceparent"])


def _item(row: Row, door: str, asked: tuple[Addressed[Any], ...], at: datetime | None = None) -> Item:
    """Named after the version it was found in: decided again, the same events. `at`: when it was to be, in a rehearsal."""
    id = f"{row['id']}/{row['version']}"
    return Item(id, f"scheduler/{door}", key_of(row["tenant"], row["id"]), _chain(row), asked, at=at)


def key_of(tenant: UUID, id: str) -> str:
    return f"{tenant}/{id}"


# ------------------------------------------------------------------------------------------------------------ timers


def _rests_on(row: Row) -> Reads:
    company: Reads = ((CALENDAR, COMPANY),) if row["follows_company"] else ()
    return (*company, (CALENDAR, row["responsible_id"])) if row["responsible_id"] else company


def _calendars(seen: Facts, row: Row) -> Calendars:
    company = seen.state(CALENDAR, COMPANY) if row["follows_company"] else Calendar()
    responsible = seen.state(CALENDAR, row["responsible_id"]) if row["responsible_id"] else Calendar()
    return Calendars(company, responsible, row["company_zone"])


def fire(row: Row) -> Item:
    """In a rehearsal on time, however far its clock was moved at once."""
    asked = Addressed(TIMER, row["id"], lambda seen: Fire(seen.now, _calendars(seen, row)), _rests_on(row))
    return _item(row, "timers", (asked,), row["wakes_at"])


def recalculate(row: Row) -> Item:
    def command(seen: Facts) -> Recalculate:
        return Recalculate(seen.now, _calendars(seen, row))

    return _item(row, "calendars", (Addressed(TIMER, row["id"], command, _rests_on(row)),))


TIMERS = DueTimers("ticker", views.DUE_TIMERS, fire)
REHEARSED_TIMERS = DueTimers("ticker", views.REHEARSED_TIMERS, fire)
STALE = DueRows("recalculation", views.STALE_TIMERS, recalculate)

# -------------------------------------------------------------------------------------------------------- activities


def remind(row: Row) -> Item:
    return _item(row, "reminders", (Addressed(ACTIVITY, row["id"], lambda seen: Remind(seen.now)),), row["reminds_at"])


def end(row: Row) -> Item:
    """Planned for a visit that had ended: done at once, or off with its element (D50, D51)."""
    known, origin = Known(row["id"], row["room_id"], quietly=True), Origin("system")
    asked = planning.cancel(known, None, "element_deleted", origin) if row["how"] == "deleted" else planning.complete(known, None, origin)
    return _item(row, "visits", asked)


REMINDERS = DueRows("reminders", views.DUE_REMINDERS, remind)
REHEARSED_REMINDERS = DueRows("reminders", views.REHEARSED_REMINDERS, remind)
TOO_LATE = DueRows("too late", views.PLANNED_TOO_LATE, end)
