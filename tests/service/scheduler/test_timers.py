"""Timers from the message that sets them to the message that they rang, on a real database."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from services.scheduler.domain.timer import TIMER
from services.scheduler.ticker import TIMERS
from shared.contracts import scheduler
from shared.contracts.common import Offset, When
from shared.es.addressed import Addressed, Facts
from shared.messaging.batch import Item, handle_batch
from shared.messaging.due import DueRows
from tests.service.house import House, at, origin, together

HOUR = timedelta(hours=1)


def set_timer(house: House, timer_id: str = "", about: str = "", **own: Any) -> scheduler.SetTimer:
    id = timer_id or str(uuid4())
    when = own.pop("when", None) or When(mode="after", anchor_instant=at(house.now), offset=Offset(hours=1))
    return scheduler.SetTimer(
        request_id=id, timer_id=id, about=about or str(uuid4()), owner="automation", when=when, origin=origin(), **own
    )


async def test_a_timer_is_set_answered_and_rings_in_its_chain(house: House) -> None:
    command = set_timer(house)
    record = house.record(command, actor="user:anna")
    await house.hear(record)

    answer = await house.one("TimerSet")
    assert (answer["due_at"], answer["request_id"], answer["waiting_for"]) == (at(house.now + HOUR), command.request_id, None)
    assert answer["reasoning"]

    await house.tick(HOUR - timedelta(milliseconds=1))
    assert not await house.said("TimerFired")
    await house.tick(timedelta(milliseconds=1))

    set_, rang = await house.said()
    assert (rang.name, rang.body["lateness_ms"], rang.body["early"]) == ("TimerFired", 0, False)
    assert rang.key == set_.key == command.about
    assert rang.correlation_id == set_.correlation_id
    assert rang.body["origin"]["id"] == origin().id


async def test_each_timer_rings_once_however_many_tickers_there_are(house: House) -> None:
    await house.hear(*(set_timer(house) for _ in range(120)))
    house.now += HOUR
    await together(*(handle_batch(house.kit, DueRows("ticker", TIMERS.sql, TIMERS.item, 50)) for _ in range(6)))
    await house.tick()
    fired = await house.said("TimerFired")
    assert len(fired) == len({message.body["timer_id"] for message in fired}) == 120


async def test_after_an_outage_timers_ring_in_the_order_they_were_due(house: House) -> None:
    about = str(uuid4())
    hours = [5, 1, 4, 2, 3]
    for n in hours:
        await house.hear(set_timer(house, about=about, when=When(mode="after", anchor_instant=at(house.now), offset=Offset(hours=n))))
    await house.tick(timedelta(days=2))
    fired = [message.body["due_at"] for message in await house.said("TimerFired")]
    assert fired == sorted(fired)
    assert len(fired) == 5


async def test_the_same_command_again_and_a_cancelled_one_ring_no_more(house: House) -> None:
    command = set_timer(house)
    await house.hear(command, command)
    cancel = scheduler.CancelTimer(request_id=str(uuid4()), timer_id=command.timer_id, about=command.about, reason="stage_left")
    await house.hear(cancel)
    await house.tick(2 * HOUR)
    assert [message.name for message in await house.said()] == ["TimerSet", "TimerCancelled"]


async def test_refusals_are_answers(house: House) -> None:
    bad = set_timer(house, when=When(mode="after", anchor_instant=at(house.now), zone="Europe/Atlantis"))
    lost = scheduler.CancelTimer(request_id=str(uuid4()), timer_id=str(uuid4()), about=str(uuid4()), reason="x")
    await house.hear(bad, lost)
    refused = [message.body for message in await house.said("CommandRejected")]
    assert [(r["code"], r["request_id"]) for r in refused] == [("bad_when", bad.request_id), ("timer_unknown", lost.request_id)]
    assert refused[0]["errors"][0]["pointer"] == "/zone"
    assert refused[0]["record_key"] == bad.about


async def test_too_late_for_a_customer_is_missed(house: House) -> None:
    await house.hear(set_timer(house, max_lateness=3600))
    await house.tick(timedelta(hours=3))
    missed = await house.one("TimerMissed")
    assert (missed["max_lateness"], missed["found_at"]) == (3600, at(house.now))


async def test_a_recurring_timer_goes_on(house: House) -> None:
    await house.hear(set_timer(house, repeat="0 * * * *"))
    for _ in range(3):
        await house.tick(HOUR)
    assert len(await house.said("TimerFired")) == 3
    (row,) = await house.rows("select status, due_at from timers_v1")
    assert (row["status"], row["due_at"]) == ("set", house.now + HOUR)


async def test_a_timer_that_cannot_be_fired_holds_up_nobody(house: House) -> None:
    poison, fine = set_timer(house), set_timer(house)
    await house.hear(poison, fine)
    house.now += HOUR

    def item(row: Any) -> Item:
        found = TIMERS.item(row)
        if row["id"] == poison.timer_id:
            return replace(found, asks=(Addressed(TIMER, row["id"], _raises),))
        return found

    done = await handle_batch(house.kit, DueRows("ticker", TIMERS.sql, item))
    assert sorted(result.outcome for result in done.results) == ["handled", "parked"]
    (blocked,) = await house.rows("select key, attempts, next_at from blocked where consumer = 'ticker'")
    assert blocked["key"] == f"{house.tenant}/{poison.timer_id}"

    await house.tick(timedelta(seconds=2))
    assert len(await house.said("TimerFired")) == 2
    assert not await house.rows("select key from blocked where consumer = 'ticker'")


def _raises(seen: Facts) -> Any:
    raise ValueError("a bug")


async def test_a_clock_that_jumped_fires_nothing_for_one_poll(house: House) -> None:
    await house.hear(set_timer(house))
    (ticker,) = house.loops
    await ticker.step()
    house.now += 2 * HOUR
    assert await ticker.step() == timedelta()
    assert not await house.said("TimerFired")
    await ticker.step()
    assert (await house.one("TimerFired"))["lateness_ms"] == 3_600_000


async def test_a_clock_that_jumps_while_timers_ring_fires_nothing_early(house: House) -> None:
    later = When(mode="after", anchor_instant=at(house.now), offset=Offset(hours=3))
    await house.hear(set_timer(house), set_timer(house, when=later))
    (ticker,) = house.loops
    for jump in (timedelta(), HOUR, timedelta()):
        house.now += jump
        await ticker.step()
    assert len(await house.said("TimerFired")) == 1
    house.now += 2 * HOUR
    assert await ticker.step() == timedelta()
    assert len(await house.said("TimerFired")) == 1


async def test_the_table_of_timers_is_vacuumed_early(house: House) -> None:
    (row,) = await house.rows("select reloptions from pg_class where relname = 'timers_v1'")
    assert row["reloptions"] == ["autovacuum_vacuum_scale_factor=0.01"]
