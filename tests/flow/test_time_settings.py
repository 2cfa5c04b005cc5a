"""What the page on time settings says, worked out: automation's reading of a rule, scheduler's arithmetic."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import orjson
import pytest

from services.automation.domain.timing import Anchors, Wait, resolve, resolve_deadline
from services.automation.rule_sets.reading import documents_of
from services.scheduler.domain.calendar import Absence, Calendar, Holiday, Opening
from services.scheduler.domain.due import Calendars, When
from services.scheduler.domain.due import resolve as due_of
from services.scheduler.subscriptions import when_of
from shared.contracts import common
from tests.unit.automation.pages import DOCS, Page, rows_of

BERLIN = "Europe/Berlin"
NINE_TO_SIX, TWO_TO_EIGHT = (Opening(9 * 60, 18 * 60),), (Opening(14 * 60, 20 * 60),)
DAYS_OFF = tuple(Holiday(date(2026, 4, day), "Day off") for day in (3, 6, 15))
COMPANY = Calendar(defined=True, zone=BERLIN, week=(*(NINE_TO_SIX for _ in range(5)), (), ()), holidays=DAYS_OFF)
AWAY = Absence(datetime(2026, 3, 9, tzinfo=ZoneInfo(BERLIN)), datetime(2026, 3, 14, tzinfo=ZoneInfo(BERLIN)))
ANNA = Calendar(defined=True, zone=BERLIN, week=(*(TWO_TO_EIGHT for _ in range(5)), (), ()), absences=(AWAY,))
"""The company and the person of the page."""
ANNA_ID = "00000000-0000-4000-8000-000000000042"

PAGE = Page((DOCS / "time-settings.md").read_text())


@dataclass(frozen=True, slots=True)
class Line:
    """`start` is what the expression counts from: the arrival, the end of the rule above, now, and every date field."""

    written: dict[str, Any]
    start: str
    acts: str
    is_deadline: bool


def lines() -> list[Line]:
    """Every row of a table that says from when, and when."""
    found = []
    for part in PAGE.text.split("\n\n"):
        if part.startswith(("| timing | starts from |", "| deadline | planned on |")):
            rows = rows_of(f"{part}\n")
            found += [Line(documents_of(row[0].strip("`"))[0], row[1], row[2], part.startswith("| deadline")) for row in rows]
    return found


LINES = lines()


def instant_of(shown: str) -> str:
    """'Mon 2026-03-02 10:00' in Berlin as an instant; a date stays one."""
    if len(shown) == len("2026-03-02"):
        return shown
    day, clock = shown.split()[1:]
    at = datetime.combine(date.fromisoformat(day), time.fromisoformat(clock), ZoneInfo(BERLIN))
    assert f"{at:%a}" == shown.split()[0], f"{shown} is a {at:%A}"
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def when_due(line: Line) -> When:
    start = instant_of(line.start)
    at = start if "T" in start else f"{start}T00:00:00Z"
    anchors = Anchors(at, at, lambda path: start, at, BERLIN, BERLIN, ANNA_ID)
    found = resolve_deadline(line.written, anchors) if line.is_deadline else resolve(line.written, anchors)
    assert isinstance(found, Wait), line
    return when_of(common.When.model_validate_json(orjson.dumps(found.when)))


@pytest.mark.parametrize("line", LINES, ids=lambda line: f"{line.written} {line.start}")
def test_a_line_of_the_page_is_what_the_program_works_out(line: Line) -> None:
    found = due_of(when_due(line), Calendars(COMPANY, ANNA, BERLIN), datetime(2026, 1, 1, tzinfo=UTC))
    local = datetime.fromisoformat(found.local)
    zone = "" if found.zone == BERLIN else f" {found.zone}"
    seconds = ":%S" if local.second else ""
    assert f"{local:%a %Y-%m-%d %H:%M{seconds}}{zone}" == line.acts


def test_the_page_has_lines_about_everything() -> None:
    written = " ".join(str(line.written) for line in LINES)
    for form in ("'after'", "'before'", "'at'", "'time'", "'zone'", "'company'", "'responsible'", "'day'", "'previous'", "begin_date"):
        assert form in written
    assert len(LINES) > 35
