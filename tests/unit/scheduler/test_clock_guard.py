from __future__ import annotations

from datetime import UTC, datetime, timedelta

from services.scheduler.ticker import ClockGuard

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def test_clocks_that_go_alike_are_trusted() -> None:
    guard = ClockGuard()
    assert guard.trusts(NOW, 100.0)
    assert guard.trusts(later(0.5), 100.5)
    assert guard.trusts(later(3600), 3700.0)


def test_a_jump_ahead_of_more_than_five_seconds_stops_one_poll() -> None:
    guard = ClockGuard()
    assert guard.trusts(NOW, 100.0)
    assert guard.trusts(later(5.5), 100.5)
    assert not guard.trusts(later(12), 101.0)
    assert guard.trusts(later(12.5), 101.5)


def test_a_clock_that_is_set_back_makes_timers_late_and_nothing_else() -> None:
    guard = ClockGuard()
    assert guard.trusts(NOW, 100.0)
    assert guard.trusts(later(-60), 100.5)
