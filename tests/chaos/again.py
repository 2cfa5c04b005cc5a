"""Everything is said again: each service republishes its whole history, and nothing anywhere changes. (I5, R17)

What is on the topics twice now is the same, byte for byte; what is in the tables, and in the mailbox, is what was there before."""

from __future__ import annotations

import asyncio
import importlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from shared.messaging.republish import republish
from shared.runtime.clock import monotonic
from shared.runtime.service import Service
from shared.runtime.worker import opened
from tests.chaos.books import SERVICES
from tests.chaos.calm import calm
from tests.chaos.check import Evidence, Findings
from tests.chaos.topics import Record, read_all

Rows = Mapping[str, Counter[str]]
"""By place, 'billing.payments_v1', how often there is which row."""
PATIENCE = 120.0
TABLES = """
select relname as name from pg_class
where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition and relname not in ('outbox', 'leases')
"""
"""All but the two that are never still: what is to be sent, and who leads."""


async def republished(e: Evidence) -> Findings:
    """Every service says its history again; rows, mails and the contents of topics stay what they were. (I5, I9, R17)"""
    ground, bootstrap = e.business.client.ground, e.business.client.ground.bootstrap
    rows, records = await _everything(e), await asyncio.to_thread(read_all, bootstrap)
    said = sum([await _say_again(e, service) for service in SERVICES])
    if (waits := await calm(ground, e.books, monotonic() + PATIENCE)) is not None:
        return [f"no calm after everything was said again: {waits}"]
    wrong = differences(rows, await _everything(e))
    events = {str(row["id"]) for found in (await e.books.ask_all("select id from events")).values() for row in found}
    return wrong + repeats(records, await asyncio.to_thread(read_all, bootstrap), events, said)


async def _say_again(e: Evidence, service: str) -> int:
    described: Service = importlib.import_module(f"services.{service}.service").SERVICE
    async with opened(described, e.business.client.ground.settings(service)) as kit:
        return await republish(kit)


async def _everything(e: Evidence) -> Rows:
    found: dict[str, Counter[str]] = {}
    for service, tables in (await e.books.ask_all(TABLES)).items():
        for table in tables:
            rows = await e.books.ask(service, f"select t::text as row from public.{table['name']} t")
            found[f"{service}.{table['name']}"] = Counter(row["row"] for row in rows)
    await e.business.fetch_mails()
    found["mailbox"] = Counter(f"{to} {mail['message_id']}" for to, mails in e.business.mails.items() for mail in mails)
    return found


def differences(before: Rows, after: Rows) -> Findings:
    """A finding for each place in which rows came, went or changed."""
    wrong = []
    for place in sorted(before.keys() | after.keys()):
        was, now = before.get(place, Counter()), after.get(place, Counter())
        lost, new = was - now, now - was
        if lost or new:
            wrong.append(f"{place}: {lost.total()} rows went, {new.total()} came: {min(lost, default='-')} is {min(new, default='-')}")
    return wrong


def repeats(before: Sequence[Record], after: Sequence[Record], events: Iterable[str], said: int) -> Findings:
    """What came to the topics since is what stood there already, whole: each message that an event once said, and no other.

    `events`: ids of all events. A refusal has none, and is not said again. `said`: so many messages, say those who said them."""
    known = {(record.topic, record.id): record for record in before}
    old = {record.place for record in before}
    new = {(record.topic, record.id): record for record in after if record.place not in old}
    wrong = [f"{r.topic} {r.type} {r.id} was never said before" for place, r in new.items() if place not in known]
    wrong += [f"{r.topic} {r.type} {r.id} reads otherwise now" for place, r in new.items() if known.get(place, r).content != r.content]
    had_events = set(events)
    wrong += [f"{r.topic} {r.type} {r.id} was not said again" for place, r in known.items() if r.id in had_events and place not in new]
    return wrong if len(new) == said else [*wrong, f"{said} messages were to be said again, {len(new)} are on the topics"]
