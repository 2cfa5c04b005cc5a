"""Number series: numbers of documents, unique and without gaps, because drawing and using one commit together (D69).

A series that nobody opened opens itself at its first number, with the prefix that German bookkeeping expects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import assert_never

from services.billing.domain.money import invalid
from services.billing.domain.origin import BY_ITSELF, Asked
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, Rejected

INVOICES, CREDIT_NOTES, QUOTES = "invoice", "credit-note", "quote"
PREFIXES = {INVOICES: "RE-{year}-", CREDIT_NOTES: "GS-{year}-", QUOTES: "AN-{year}-"}
YEAR = "{year}"


@dataclass(frozen=True, slots=True)
class NumberSeries:
    """`next` is the number that comes next within `year` (or ever, if not `yearly`); `last` the text drawn last."""

    code: str = ""
    prefix: str = ""
    digits: int = 4
    yearly: bool = False
    next: int = 1
    year: int | None = None
    drawn: int = 0
    last: str = ""

    @property
    def exists(self) -> bool:
        return self.code != ""

    def upcoming(self, year: int) -> int:
        """The number that would be drawn in `year`."""
        return 1 if self.yearly and self.year is not None and self.year != year else self.next

    def text(self, number: int, year: int) -> str:
        return self.prefix.replace(YEAR, str(year)) + str(number).zfill(self.digits)


@dataclass(frozen=True, slots=True)
class OpenSeries:
    code: str
    prefix: str
    digits: int
    yearly: bool
    next: int = 1
    asked: Asked = BY_ITSELF


@dataclass(frozen=True, slots=True)
class ChangeSeries:
    """None keeps what is. `today`: only before the first number of its year."""

    today: date
    prefix: str | None = None
    digits: int | None = None
    yearly: bool | None = None
    next: int | None = None
    asked: Asked = BY_ITSELF


@dataclass(frozen=True, slots=True)
class DrawNumber:
    """The next number, for the document that is issued in the same item. `code` names the series, should it not exist yet."""

    code: str
    drawn_for: str
    today: date


@dataclass(frozen=True, slots=True)
class SeriesOpened:
    code: str
    prefix: str
    digits: int
    yearly: bool
    next: int
    asked: Asked = BY_ITSELF


@dataclass(frozen=True, slots=True)
class SeriesChanged:
    prefix: str
    digits: int
    yearly: bool
    next: int
    asked: Asked = BY_ITSELF


@dataclass(frozen=True, slots=True)
class NumberDrawn:
    number: int
    year: int
    text: str
    drawn_for: str


SeriesCommand = OpenSeries | ChangeSeries | DrawNumber
SeriesEvent = SeriesOpened | SeriesChanged | NumberDrawn


def decide(series: NumberSeries, command: SeriesCommand) -> Sequence[SeriesEvent]:
    match command:
        case OpenSeries():
            return _open(series, command)
        case ChangeSeries():
            return _change(series, command)
        case DrawNumber():
            return _draw(series, command)
        case _:
            assert_never(command)


def evolve(series: NumberSeries, event: SeriesEvent) -> NumberSeries:
    match event:
        case SeriesOpened():
            return replace(series, code=event.code, prefix=event.prefix, digits=event.digits, yearly=event.yearly, next=event.next)
        case SeriesChanged():
            return replace(series, prefix=event.prefix, digits=event.digits, yearly=event.yearly, next=event.next, year=None)
        case NumberDrawn():
            return replace(series, next=event.number + 1, year=event.year, drawn=series.drawn + 1, last=event.text)
        case _:
            assert_never(event)


def _open(series: NumberSeries, command: OpenSeries) -> Sequence[SeriesEvent]:
    if series.exists:
        raise Rejected("id_taken", f"The number series {command.code} exists.")
    _must_be_sound(command.prefix, command.digits, command.yearly, command.next)
    return [SeriesOpened(command.code, command.prefix, command.digits, command.yearly, command.next, command.asked)]


def _change(series: NumberSeries, command: ChangeSeries) -> Sequence[SeriesEvent]:
    if not series.exists:
        raise Rejected("series_unknown", "There is no such number series.", status=404)
    if series.year is not None and (not series.yearly or series.year == command.today.year):
        raise Rejected("series_in_use", "A number of this year was drawn; the series changes before the first number of a year.")
    changed = SeriesChanged(
        series.prefix if command.prefix is None else command.prefix,
        series.digits if command.digits is None else command.digits,
        series.yearly if command.yearly is None else command.yearly,
        series.upcoming(command.today.year) if command.next is None else command.next,
        command.asked,
    )
    _must_be_sound(changed.prefix, changed.digits, changed.yearly, changed.next)
    return [changed]


def _draw(series: NumberSeries, command: DrawNumber) -> Sequence[SeriesEvent]:
    events: list[SeriesEvent] = []
    if not series.exists:
        if command.code not in PREFIXES:
            raise Rejected("series_unknown", f"There is no number series {command.code}.")
        events.append(SeriesOpened(command.code, PREFIXES[command.code], 4, True, 1))
        series = SERIES.fold(events, series)
    year = command.today.year
    number = series.upcoming(year)
    return [*events, NumberDrawn(number, year, series.text(number, year), command.drawn_for)]


def _must_be_sound(prefix: str, digits: int, yearly: bool, next: int) -> None:
    faults = []
    if yearly and YEAR not in prefix:
        faults.append(Fault("#/prefix", "year_missing", "A yearly series needs {year} in its prefix, or its numbers would repeat."))
    if not 1 <= digits <= 12:
        faults.append(Fault("#/digits", "out_of_range", "A number has 1 to 12 digits."))
    if not 1 <= next < 10**12:
        faults.append(Fault("#/next", "out_of_range", "The next number is at least 1."))
    if faults:
        raise invalid(faults)


SERIES: Aggregate[NumberSeries, SeriesCommand, SeriesEvent] = Aggregate(
    "number-series", NumberSeries(), decide, evolve, (SeriesOpened, SeriesChanged, NumberDrawn), read_by_others=True
)
