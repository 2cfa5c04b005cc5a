from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from services.scheduler.domain.repeat import cron
from shared.es.errors import Rejected

BERLIN = ZoneInfo("Europe/Berlin")


def local(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=BERLIN).astimezone(UTC)


@pytest.mark.parametrize(
    ("expression", "after", "next_at"),
    [
        ("0 9 * * *", "2026-03-02T08:59", "2026-03-02T09:00"),
        ("0 9 * * *", "2026-03-02T09:00", "2026-03-03T09:00"),
        ("*/15 8-10 * * mon-fri", "2026-03-06T10:45", "2026-03-09T08:00"),
        ("0 0 1 */3 *", "2026-02-01T00:00", "2026-04-01T00:00"),
        ("0 12 29 2 *", "2026-03-02T09:00", "2028-02-29T12:00"),
        ("0 9 13 * fri", "2026-03-07T00:00", "2026-03-13T09:00"),
        ("0 9 14 * fri", "2026-03-13T10:00", "2026-03-14T09:00"),
        ("5,35 0/12 * jan,jul 7", "2026-03-02T09:00", "2026-07-05T00:05"),
    ],
)
def test_next_occurrence(expression: str, after: str, next_at: str) -> None:
    assert cron(expression).next_after(local(after), BERLIN) == local(next_at)


def test_a_time_in_the_gap_comes_once_at_the_shifted_time() -> None:
    gap = cron("30 2 * * *").next_after(local("2026-03-28T03:00"), BERLIN)
    assert gap == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert cron("30 2 * * *").next_after(gap, BERLIN) == local("2026-03-30T02:30")


def test_a_repeated_time_comes_once() -> None:
    first = cron("30 2 * * *").next_after(local("2026-10-24T03:00"), BERLIN)
    assert first == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    assert cron("30 2 * * *").next_after(first, BERLIN) == local("2026-10-26T02:30")


@pytest.mark.parametrize(
    "expression",
    """|* * * *|60 * * * *|* 24 * * *|* * 0 * *|* * * 13 *|* * * * 8|a * * * *|5-1 * * * *|*/0 * * * *|*-5 * * * *|1,,2 * * * *|
    FREQ=DAILY|٣ * * * *""".split("|"),
)
def test_a_bad_expression_is_refused(expression: str) -> None:
    with pytest.raises(Rejected) as refused:
        cron(expression)
    assert refused.value.code == "bad_when"


def test_what_never_comes_is_refused() -> None:
    with pytest.raises(Rejected) as refused:
        cron("0 0 31 2 *").next_after(local("2026-03-02T09:00"), BERLIN)
    assert refused.value.detail == "The expression never matches."
