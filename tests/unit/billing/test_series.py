"""Number series: unique, without gaps, a new count each year (D69)."""

from __future__ import annotations

from datetime import date

from services.billing.domain.series import (
    SERIES,
    ChangeSeries,
    DrawNumber,
    NumberDrawn,
    NumberSeries,
    OpenSeries,
    SeriesOpened,
)
from shared.testing.given import given

MARCH, NEXT_YEAR = date(2026, 3, 2), date(2027, 1, 1)
OPENED = SeriesOpened("invoice", "RE-2026-", 4, False, 1)
YEARLY = SeriesOpened("invoice", "RE-{year}-", 4, True, 1)


def drawn(number: int, year: int, text: str) -> NumberDrawn:
    return NumberDrawn(number, year, text, "some invoice")


def draw(day: date = MARCH) -> DrawNumber:
    return DrawNumber("invoice", "some invoice", day)


def test_numbers_follow_each_other() -> None:
    given(SERIES, OPENED).when(draw()).then(drawn(1, 2026, "RE-2026-0001"))
    given(SERIES, OPENED, drawn(1, 2026, "RE-2026-0001")).when(draw()).then(drawn(2, 2026, "RE-2026-0002"))


def test_a_series_opens_itself_at_its_first_number() -> None:
    given(SERIES).when(draw()).then(YEARLY, drawn(1, 2026, "RE-2026-0001"))
    given(SERIES).when(DrawNumber("credit-note", "c", MARCH)).then(
        SeriesOpened("credit-note", "GS-{year}-", 4, True, 1), NumberDrawn(1, 2026, "GS-2026-0001", "c")
    )
    given(SERIES).when(DrawNumber("own", "c", MARCH)).refused("series_unknown")


def test_a_yearly_series_begins_again() -> None:
    given(SERIES, YEARLY, drawn(7, 2026, "RE-2026-0007")).when(draw(NEXT_YEAR)).then(drawn(1, 2027, "RE-2027-0001"))
    given(SERIES, OPENED, drawn(7, 2026, "RE-2026-0007")).when(draw(NEXT_YEAR)).then(drawn(8, 2027, "RE-2026-0008"))


def test_a_series_is_changed_before_the_first_number_of_a_year() -> None:
    change = ChangeSeries(MARCH, prefix="R{year}/", next=100)
    state = given(SERIES, YEARLY).when(change).state
    assert (state.prefix, state.next) == ("R{year}/", 100)
    given(SERIES, YEARLY, drawn(1, 2026, "RE-2026-0001")).when(change).refused("series_in_use")
    later = given(SERIES, YEARLY, drawn(1, 2026, "RE-2026-0001")).when(ChangeSeries(NEXT_YEAR, next=50)).state
    assert SERIES.fold(SERIES.decide(later, draw(NEXT_YEAR)), later).last == "RE-2027-0050"


def test_a_series_that_would_repeat_its_numbers_is_refused() -> None:
    given(SERIES).when(OpenSeries("own", "X-", 4, True)).refused("validation_failed", "#/prefix")
    given(SERIES).when(OpenSeries("own", "X-", 0, False, 0)).refused("validation_failed", "#/digits", "#/next")
    given(SERIES, OPENED).when(OpenSeries("invoice", "X-", 4, False)).refused("id_taken")
    given(SERIES).when(ChangeSeries(MARCH)).refused("series_unknown")


def test_a_thousand_draws_have_no_gap() -> None:
    """D69"""
    series = NumberSeries()
    texts = []
    for _ in range(1000):
        series = SERIES.fold(SERIES.decide(series, draw()), series)
        texts.append(series.last)
    assert texts == [f"RE-2026-{n:04}" for n in range(1, 1001)]
