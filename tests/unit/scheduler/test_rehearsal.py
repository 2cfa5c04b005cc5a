"""The clock of a rehearsal: forwards, from stop to stop, and of nobody else."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from services.scheduler.domain.origin import Origin
from services.scheduler.domain.rehearsal import REHEARSAL, ClockMoved, MoveClock, Rehearsal
from shared.testing.given import given

NOW = datetime(2026, 3, 5, 13, tzinfo=UTC)
DAY = timedelta(days=1)
LATER = MoveClock(True, NOW + 180 * DAY, NOW, None)


def moved(days: int, heading_for: int | None = None, rings: int | None = None) -> ClockMoved:
    rings_at = None if rings is None else NOW + rings * DAY
    return ClockMoved(None, NOW + days * DAY, NOW + (heading_for or days) * DAY, rings_at, Origin())


def test_nothing_rings_on_the_way() -> None:
    given(REHEARSAL).when(LATER).then(moved(180))
    given(REHEARSAL).when(replace(LATER, rings_at=NOW + 200 * DAY)).then(moved(180, rings=200))


def test_it_stops_where_something_rings_and_goes_on_from_there() -> None:
    first = given(REHEARSAL).when(replace(LATER, rings_at=NOW + 2 * DAY))
    first.then(moved(2, 180, rings=2))
    again = replace(LATER, at=NOW + 2 * DAY, rings_at=NOW + 3 * DAY)
    given(REHEARSAL, moved(2, 180, 2)).when(again).then(ClockMoved(NOW + 2 * DAY, NOW + 3 * DAY, LATER.to, NOW + 3 * DAY, Origin()))


def test_through_it_does_not_stop() -> None:
    given(REHEARSAL).when(replace(LATER, rings_at=NOW + 2 * DAY, through=True)).then(moved(180, rings=2))


@pytest.mark.parametrize("due", [NOW, NOW - DAY])
def test_what_is_due_by_now_rings_before_the_clock_goes_on(due: datetime) -> None:
    given(REHEARSAL).when(replace(LATER, rings_at=due)).refused("timers_are_ringing")


def test_standing_there_already_is_no_move() -> None:
    given(REHEARSAL, moved(180)).when(replace(LATER, at=LATER.to)).nothing_happens()


def test_the_first_move_may_be_none_but_stops_the_clock() -> None:
    given(REHEARSAL).when(replace(LATER, to=NOW)).then(moved(0))


def test_the_first_move_may_go_back_to_where_the_rehearsal_begins() -> None:
    given(REHEARSAL).when(replace(LATER, to=NOW - 90 * DAY, rings_at=NOW + DAY)).then(moved(-90, rings=1))
    given(REHEARSAL).when(replace(LATER, to=NOW - 21 * 366 * DAY)).refused("clock_too_far")


def test_forwards_only_and_not_without_end() -> None:
    given(REHEARSAL, moved(3)).when(MoveClock(True, NOW, NOW + 3 * DAY, None)).refused("clock_goes_forwards")
    given(REHEARSAL).when(replace(LATER, to=NOW + 21 * 366 * DAY)).refused("clock_too_far")


def test_of_rehearsals_alone() -> None:
    given(REHEARSAL).when(replace(LATER, rehearses=False)).refused("not_a_rehearsal")
    given(REHEARSAL).when(replace(LATER, rehearses=None)).refused("tenant_unknown")


def test_where_it_stands() -> None:
    assert given(REHEARSAL, moved(2, 180, 2)).state == Rehearsal(NOW + 2 * DAY, NOW + 180 * DAY, NOW + 2 * DAY)
