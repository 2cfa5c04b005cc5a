"""Whose time it is: a rehearsal's own once it was moved, everybody else's the primary's, and that costs them no statement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from shared.contracts import deals, scheduler
from shared.contracts.common import Origin
from shared.messaging.batch import handle_batch
from shared.messaging.envelope import instant
from shared.messaging.handling import prepare
from shared.messaging.inbox import MessageBatch
from shared.messaging.records import KafkaRecord
from shared.runtime.database import Tx
from shared.runtime.service import Kit
from tests.kit import toy

PRIMARY = datetime(2026, 3, 2, 8, tzinfo=UTC)
THERE = PRIMARY + timedelta(days=180)
SYSTEM = Origin(kind="system")


def again(mailbag: toy.Mailbag, *, rehearsal: bool, tenant: UUID = toy.TENANT) -> KafkaRecord:
    return registered(mailbag, rehearsal=rehearsal, tenant=tenant, sequence=2)


def registered(mailbag: toy.Mailbag, *, rehearsal: bool, tenant: UUID = toy.TENANT, sequence: int = 1) -> KafkaRecord:
    body = deals.TenantRegistered(origin=SYSTEM, tenant_id=str(tenant), name="Acme", language="de", zone="UTC", rehearsal=rehearsal)
    return mailbag.record(body, subject=f"tenant/{tenant}", sequence=sequence, tenant=tenant)


def moved(mailbag: toy.Mailbag, to: datetime, sequence: int = 1) -> KafkaRecord:
    body = scheduler.RehearsalClockMoved(origin=SYSTEM, tenant_id=str(toy.TENANT), stands_at=instant(to), heading_for=instant(to))
    return mailbag.record(body, subject=f"rehearsal/{toy.TENANT}", sequence=sequence)


def put(mailbag: toy.Mailbag, jar: str, **own: Any) -> KafkaRecord:
    return mailbag.record(toy.Put(request_id="r", jar_id=jar, number=1), **own)


async def heard(kit: Kit, *records: KafkaRecord) -> None:
    kit.database.clock = lambda primary: PRIMARY
    done = await handle_batch(kit, MessageBatch("toy", records))
    assert not [result.error for result in done.results if result.error]


async def times(kit: Kit) -> dict[str, datetime]:
    """Of the first event of each jar."""
    async with kit.database.raw() as raw:
        return {row["stream"]: row["recorded_at"] for row in await raw.fetch("select stream, recorded_at from events where version = 1")}


async def test_what_follows_from_a_message_happens_at_its_moment_and_anything_else_where_the_clock_stands(
    kit: Kit, mailbag: toy.Mailbag
) -> None:
    await heard(kit, registered(mailbag, rehearsal=True), moved(mailbag, THERE))
    before = THERE - timedelta(days=3)
    ours = put(mailbag, "ours", at=before)
    theirs = put(mailbag, "theirs", source="urn:example:shop", at=PRIMARY)
    await heard(kit, ours, theirs)
    assert await times(kit) == {"jar-ours": before, "jar-theirs": THERE}


async def test_the_time_is_the_primarys_for_who_did_not_move_it(kit: Kit, mailbag: toy.Mailbag) -> None:
    await heard(kit, registered(mailbag, rehearsal=True), registered(mailbag, rehearsal=False, tenant=toy.OTHER_TENANT))
    await heard(
        kit, put(mailbag, "a", at=THERE), put(mailbag, "b", at=THERE, tenant=toy.OTHER_TENANT), put(mailbag, "c", tenant=UUID(int=3))
    )
    assert await times(kit) == {"jar-a": PRIMARY, "jar-b": PRIMARY, "jar-c": PRIMARY}


async def test_one_batch_holds_tenants_of_either_kind(kit: Kit, mailbag: toy.Mailbag) -> None:
    await heard(
        kit, registered(mailbag, rehearsal=True), registered(mailbag, rehearsal=False, tenant=toy.OTHER_TENANT), moved(mailbag, THERE)
    )
    await heard(kit, put(mailbag, "a", at=THERE), put(mailbag, "b", at=THERE, tenant=toy.OTHER_TENANT))
    assert await times(kit) == {"jar-a": THERE, "jar-b": PRIMARY}


async def test_an_old_news_of_the_clock_changes_nothing(kit: Kit, mailbag: toy.Mailbag) -> None:
    await heard(kit, registered(mailbag, rehearsal=True), moved(mailbag, THERE, sequence=2), moved(mailbag, PRIMARY, sequence=1))
    assert await kit.prepared.clocks.now(kit.database, toy.TENANT) == THERE


async def test_no_message_makes_a_productive_tenant_rehearse_nor_a_rehearsal_productive(kit: Kit, mailbag: toy.Mailbag) -> None:
    await heard(kit, registered(mailbag, rehearsal=False), registered(mailbag, rehearsal=True, tenant=toy.OTHER_TENANT))
    await heard(kit, again(mailbag, rehearsal=True), again(mailbag, rehearsal=False, tenant=toy.OTHER_TENANT), moved(mailbag, THERE))
    async with kit.database.raw() as raw:
        rows = await raw.fetch("select tenant, rehearsal, version from tenants_v1 order by tenant")
    assert [(row["rehearsal"], row["version"]) for row in rows] == [(False, 2), (True, 2)]
    fresh = replace(kit, prepared=prepare(toy.SERVICE))
    await heard(fresh, put(mailbag, "a", at=THERE))
    assert await times(kit) == {"jar-a": PRIMARY}


class Asked:
    """A connection that writes down what is asked of it."""

    def __init__(self, raw: Any, into: list[str]) -> None:
        self._raw, self._into = raw, into

    async def fetch(self, query: str, *args: object) -> list[Any]:
        self._into.append(query)
        found: list[Any] = await self._raw.fetch(query, *args)
        return found

    async def fetchval(self, query: str, *args: object) -> Any:
        self._into.append(query)
        return await self._raw.fetchval(query, *args)

    async def execute(self, query: str, *args: object) -> str:
        self._into.append(query)
        return str(await self._raw.execute(query, *args))


async def statements(kit: Kit, records: Sequence[KafkaRecord]) -> list[str]:
    asked: list[str] = []
    database = kit.database

    class Writing:
        """The database of a kit that writes down its statements."""

        def transaction(self) -> Any:
            return _noted(database.transaction(), asked)

    await handle_batch(replace(kit, database=Writing()), MessageBatch("toy", records))  # type: ignore[arg-type]
    return asked


class _noted:
    def __init__(self, inner: Any, asked: list[str]) -> None:
        self._inner, self._asked = inner, asked

    async def __aenter__(self) -> Tx:
        tx: Tx = await self._inner.__aenter__()
        return Tx(Asked(tx.raw, self._asked), tx.now)

    async def __aexit__(self, *error: Any) -> Any:
        return await self._inner.__aexit__(*error)


async def test_a_productive_tenant_is_asked_about_once_in_the_life_of_a_process(kit: Kit, mailbag: toy.Mailbag) -> None:
    await heard(kit, registered(mailbag, rehearsal=False))
    fresh = replace(kit, prepared=prepare(toy.SERVICE))
    first, second = await statements(fresh, [put(mailbag, "a")]), await statements(fresh, [put(mailbag, "a")])
    assert len([query for query in first if "rehearsal_clocks_v1" in query]) == 1
    assert not [query for query in second if "rehearsal_clocks_v1" in query]
    assert len(second) == len(first) - 1
