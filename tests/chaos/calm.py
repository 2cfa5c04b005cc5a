"""Calm: nothing is on its way any more. Waited for, never assumed (I28)."""

from __future__ import annotations

import asyncio

import asyncpg

from deploy.local.services import readiness
from shared.runtime.clock import monotonic
from tests.chaos.books import SERVICES, Books
from tests.chaos.ground import Ground
from tests.chaos.topics import lag

SOON = "10 minutes"
"""An effect due later than this, the end of a link, is no unfinished business."""

WAITING = f"""
select (select count(*) from outbox) as outbox, (select count(*) from blocked) as blocked, (select count(*) from parked) as parked,
       (select count(*) from effects where state = 'sending' or (state = 'queued' and due_at < clock_timestamp() + interval '{SOON}'))
       as effects,
       (select count(*) from effects where told_at is null and state in ('done', 'failed', 'unknown')) as untold,
       (select count(*) from events) as events
"""
HELD = f"""
select count(*) as held from notices_v1 where status = 'held' and held_until < clock_timestamp() + interval '{SOON}'
"""
"""A mail about money that went back waits a minute for whatever else belongs to it (D29)."""


async def calm(ground: Ground, books: Books, deadline: float) -> str | None:
    """None once two looks in a row, with the same number of events, found nothing waiting; else what is, at the deadline."""
    before: list[int] | None = None
    while True:
        waits, events = await _look(ground, books)
        if not waits and events == before:
            return None
        if monotonic() > deadline:
            return "; ".join(waits) or "events keep coming"
        before = events if not waits else None
        await asyncio.sleep(0.7)


async def _look(ground: Ground, books: Books) -> tuple[list[str], list[int]]:
    try:
        answers = await books.ask_all(WAITING)
        held = await books.ask("notifications", HELD)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return [f"PostgreSQL: {error}"], []
    rows = {service: dict(found[0]) for service, found in answers.items()}
    events = [row.pop("events") for row in rows.values()]
    waits = [f"{service}: {number} {what}" for service, row in rows.items() for what, number in row.items() if number]
    waits += [f"notifications: {held[0]['held']} notices are held"] if held[0]["held"] else []
    waits += await _not_ready(ground)
    return waits or await _lags(ground), events


async def _not_ready(ground: Ground) -> list[str]:
    ports = ground.state.ports()
    reasons = await asyncio.gather(*(readiness(ports[service]) for service in SERVICES))
    return [f"{service} is not ready: {reason}" for service, reason in zip(SERVICES, reasons, strict=True) if reason]


async def _lags(ground: Ground) -> list[str]:
    behind = await asyncio.gather(*(asyncio.to_thread(lag, ground.bootstrap, service) for service in SERVICES))
    return [f"{service}: lag {number}" for service, number in zip(SERVICES, behind, strict=True) if number]
