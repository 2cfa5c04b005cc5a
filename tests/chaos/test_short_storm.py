"""A short storm over a few orders: whatever is killed, crashed, stopped or cut, each order has one invoice, one link, one mail, one
move, and exactly its payments. The whole of it: `make chaos`."""

from __future__ import annotations

from tests.chaos.business import QUICK_WAYS
from tests.chaos.run import Plan, chaos
from tests.chaos.storm import drawn, short_storm

SEED, DEALS, SECONDS = 284, 20, 22


async def test_a_short_storm_loses_nothing_and_does_nothing_twice() -> None:
    report = await chaos(Plan(SEED, DEALS, short_storm(SECONDS), QUICK_WAYS))
    assert {check: findings for check, findings in report.findings.items() if findings} == {}
    assert report.passed


def test_the_same_seed_draws_the_same_storm() -> None:
    weather = short_storm(SECONDS)
    assert drawn(SEED, weather) == drawn(SEED, weather) != drawn(SEED + 1, weather)


def test_no_fault_of_a_storm_outlasts_it() -> None:
    storm = drawn(SEED, short_storm(SECONDS))
    assert storm
    assert all(fault.at + fault.lasts <= SECONDS + 0.1 for fault in storm)
