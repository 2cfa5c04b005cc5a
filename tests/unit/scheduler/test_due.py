"""Every row of the table of cases (scheduler 5), both changes of clocks, working hours, holidays, absences and the clock."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from services.scheduler.domain.calendar import Absence, Calendar, Holiday, Opening
from services.scheduler.domain.due import Calendars, Due, Offset, When, resolve
from shared.es.errors import Rejected

BERLIN = "Europe/Berlin"
ANNA = "anna"
NOW = datetime(2026, 1, 1, tzinfo=UTC)
NINE_TO_SIX = (Opening(9 * 60, 18 * 60),)
WITH_BREAK = (Opening(9 * 60, 12 * 60), Opening(13 * 60, 18 * 60))
WEEKDAYS = (*(NINE_TO_SIX for _ in range(5)), (), ())
EASTER = (Holiday(date(2026, 4, 3), "Good Friday"), Holiday(date(2026, 4, 6), "Easter Monday"))
COMPANY = Calendar(defined=True, zone=BERLIN, week=WEEKDAYS, holidays=EASTER)


def berlin(year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    return datetime(year, month, day, hour, minute, tzinfo=ZoneInfo(BERLIN)).astimezone(UTC)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def due(when: When, company: Calendar = COMPANY, person: Calendar | None = None, now: datetime = NOW) -> Due:
    return resolve(when, Calendars(company, person or Calendar()), now)


def after(anchor: datetime, **more: Any) -> When:
    return When("after", anchor_instant=anchor, **more)


# the table of section 5, row by row


def test_a_day_off_is_pulled_back_before_one_working_day_is_counted() -> None:
    company = replace(COMPANY, holidays=(Holiday(date(2026, 4, 15), "Day off"),))
    found = due(When("before", anchor_date=date(2026, 4, 15), offset=Offset(days=1), working_hours="company"), company)
    assert found.local == "2026-04-13T09:00:00"
    assert any("2026-04-14" in sentence for sentence in found.reasoning)


@pytest.mark.parametrize(("hours", "local"), [("none", "2026-03-06T18:30:00"), ("company", "2026-03-09T09:00:00")])
def test_an_hour_after_half_past_five_on_friday(hours: Any, local: str) -> None:
    assert due(after(berlin(2026, 3, 6, 17, 30), offset=Offset(hours=1), working_hours=hours)).local == local


def test_a_day_after_maundy_thursday_is_the_tuesday_after_easter() -> None:
    found = due(after(berlin(2026, 4, 2, 12), offset=Offset(days=1), working_hours="company"))
    assert found.local == "2026-04-07T09:00:00"


def test_two_days_before_the_tuesday_after_easter_are_working_days() -> None:
    found = due(When("before", anchor_date=date(2026, 4, 7), offset=Offset(days=2), working_hours="company"))
    assert found.local == "2026-04-01T09:00:00"


def test_days_keep_the_wall_clock_over_a_change_of_clocks() -> None:
    found = due(after(berlin(2026, 3, 5, 14), offset=Offset(days=180)))
    assert (found.due_at, found.local) == (utc("2026-09-01T12:00"), "2026-09-01T14:00:00")


def test_hours_are_physical_time() -> None:
    assert due(after(berlin(2026, 3, 5, 14), offset=Offset(hours=4320))).local == "2026-09-01T15:00:00"


def test_the_end_of_a_month_clamps() -> None:
    assert due(after(berlin(2026, 8, 31, 10), offset=Offset(months=6))).local == "2027-02-28T10:00:00"


def test_the_end_of_a_month_clamps_to_the_leap_day() -> None:
    assert due(after(berlin(2027, 8, 31, 10), offset=Offset(months=6))).local == "2028-02-29T10:00:00"


def test_tomorrow_two_o_clock_counts_from_the_local_date_of_the_assignee() -> None:
    found = due(after(berlin(2026, 3, 2, 23, 30), offset=Offset(days=1), local_time=time(14), zone="Asia/Tokyo"))
    assert (found.due_at, found.local, found.zone) == (utc("2026-03-04T05:00"), "2026-03-04T14:00:00", "Asia/Tokyo")


def test_a_time_in_the_gap_is_read_with_the_offset_before_the_change() -> None:
    found = due(When("at", anchor_date=date(2026, 3, 29), local_time=time(2, 30), zone=BERLIN))
    assert (found.due_at, found.local) == (utc("2026-03-29T01:30"), "2026-03-29T03:30:00")


def test_a_repeated_time_is_its_first_occurrence() -> None:
    found = due(When("at", anchor_date=date(2026, 10, 25), local_time=time(2, 30), zone=BERLIN))
    assert (found.due_at, found.local) == (utc("2026-10-25T00:30"), "2026-10-25T02:30:00")


@pytest.mark.parametrize(
    ("zone", "day", "at", "due_at"),
    [
        ("America/New_York", date(2026, 3, 8), time(2, 30), "2026-03-08T07:30"),
        ("America/New_York", date(2026, 11, 1), time(1, 30), "2026-11-01T05:30"),
        ("Australia/Lord_Howe", date(2026, 4, 5), time(1, 45), "2026-04-04T14:45"),
        ("Asia/Tokyo", date(2026, 3, 29), time(2, 30), "2026-03-28T17:30"),
    ],
)
def test_changes_of_clocks_elsewhere(zone: str, day: date, at: time, due_at: str) -> None:
    assert due(When("at", anchor_date=day, local_time=at, zone=zone)).due_at == utc(due_at)


@pytest.mark.parametrize(
    ("offset", "local"),
    [(Offset(days=1), "2026-03-29T14:00:00"), (Offset(hours=24), "2026-03-29T15:00:00"), (Offset(days=1, hours=1), "2026-03-29T15:00:00")],
)
def test_a_day_is_not_twenty_four_hours_when_the_clocks_go_forward(offset: Offset, local: str) -> None:
    assert due(after(berlin(2026, 3, 28, 14), offset=offset)).local == local


# units, zones, modes


def test_units_combine_largest_first() -> None:
    found = due(after(berlin(2026, 1, 30, 8), offset=Offset(months=1, weeks=1, days=1, hours=2, minutes=3, seconds=4)))
    assert found.local == "2026-03-08T10:03:04"


def test_one_second_and_no_delay_at_all() -> None:
    assert due(after(utc("2026-03-02T08:00"), offset=Offset(seconds=1))).due_at == utc("2026-03-02T08:00:01")
    assert due(after(utc("2026-03-02T08:00"))).due_at == utc("2026-03-02T08:00")


def test_without_hours_before_counts_every_day() -> None:
    assert due(When("before", anchor_date=date(2026, 4, 7), offset=Offset(days=2))).local == "2026-04-05T00:00:00"


def test_at_takes_the_date_of_the_anchor_and_the_local_time() -> None:
    when = When("at", anchor_instant=berlin(2026, 5, 4, 17, 45), offset=Offset(days=2), local_time=time(12))
    assert due(when).local == "2026-05-06T12:00:00"


def test_the_zone_is_that_of_the_rule_else_of_the_company_else_of_the_tenant() -> None:
    when = When("at", anchor_date=date(2026, 6, 1), local_time=time(9))
    assert due(replace(when, zone="Asia/Tokyo")).due_at == utc("2026-06-01T00:00")
    assert due(when).due_at == utc("2026-06-01T07:00")
    assert resolve(when, Calendars(company_zone="America/New_York"), NOW).due_at == utc("2026-06-01T13:00")


def test_what_lies_in_the_past_is_due_at_once() -> None:
    found = due(When("before", anchor_instant=utc("2026-03-02T08:00"), offset=Offset(days=3)), now=utc("2026-03-02T08:00"))
    assert found.due_at < utc("2026-03-02T08:00")
    assert "at once" in found.reasoning[-1]


def test_nothing_is_due_before_the_millisecond_it_is_said_with() -> None:
    found = due(after(datetime(2026, 3, 2, 8, 0, 0, 1500, tzinfo=UTC)))
    assert found.due_at == datetime(2026, 3, 2, 8, 0, 0, 2000, tzinfo=UTC)


# hours of the company


def test_without_a_company_calendar_everything_is_always_open() -> None:
    when = after(utc("2026-03-07T03:00"), working_hours="company")
    assert due(when, Calendar()).due_at == utc("2026-03-07T03:00")


@pytest.mark.parametrize(
    ("at", "local"),
    [
        (berlin(2026, 3, 2, 8, 59), "2026-03-02T09:00:00"),
        (berlin(2026, 3, 2, 9), "2026-03-02T09:00:00"),
        (berlin(2026, 3, 2, 12), "2026-03-02T13:00:00"),
        (berlin(2026, 3, 2, 17, 59), "2026-03-02T17:59:00"),
        (berlin(2026, 3, 2, 18), "2026-03-03T09:00:00"),
    ],
)
def test_forward_to_the_next_open_moment(at: datetime, local: str) -> None:
    company = replace(COMPANY, week=(*(WITH_BREAK for _ in range(5)), (), ()))
    assert due(after(at, working_hours="company"), company).local == local


@pytest.mark.parametrize(
    ("hour", "minute", "local"),
    [
        (8, 0, "2026-03-02T09:00:00"),
        (12, 30, "2026-03-02T13:00:00"),
        (14, 0, "2026-03-02T14:00:00"),
        (20, 0, "2026-03-02T17:59:00"),
    ],
)
def test_backwards_stays_within_the_working_day_reached(hour: int, minute: int, local: str) -> None:
    company = replace(COMPANY, week=(*(WITH_BREAK for _ in range(5)), (), ()))
    when = When("before", anchor_instant=berlin(2026, 3, 3, hour, minute), offset=Offset(days=1), working_hours="company")
    assert due(when, company).local == local


def test_backwards_never_passes_the_anchor() -> None:
    when = When("before", anchor_instant=berlin(2026, 3, 3, 8), working_hours="company")
    assert due(when).local == "2026-03-02T17:59:00"


def test_hours_before_that_lead_into_a_weekend_end_on_friday() -> None:
    when = When("before", anchor_instant=berlin(2026, 3, 9, 10), offset=Offset(hours=20), working_hours="company")
    assert due(when).local == "2026-03-06T14:00:00"


def test_a_company_may_work_until_midnight() -> None:
    company = replace(COMPANY, week=tuple((Opening(0, 24 * 60),) for _ in range(7)), holidays=())
    assert due(after(berlin(2026, 3, 7, 23, 59), working_hours="company"), company).local == "2026-03-07T23:59:00"


# hours of the responsible person


def hers(**more: Any) -> When:
    return after(more.pop("at", berlin(2026, 3, 2, 10)), working_hours="responsible", responsible_id=ANNA, **more)


def test_an_employee_without_own_hours_works_the_company_s() -> None:
    found = due(hers(), person=Calendar())
    assert (found.local, found.waiting_for) == ("2026-03-02T10:00:00", None)


def test_both_calendars_must_be_open() -> None:
    person = Calendar(defined=True, zone=BERLIN, week=(*((Opening(14 * 60, 20 * 60),) for _ in range(5)), (), ()))
    found = due(hers(), person=person)
    assert (found.local, found.waiting_for) == ("2026-03-02T14:00:00", "responsible_hours")
    assert found.waiting_since == berlin(2026, 3, 2, 10)
    assert due(hers(at=berlin(2026, 3, 2, 18, 30)), person=person).local == "2026-03-03T14:00:00"


def test_hours_of_a_person_are_hours_of_her_zone() -> None:
    person = Calendar(defined=True, zone="America/New_York", week=tuple((Opening(9 * 60, 12 * 60),) for _ in range(7)))
    assert due(hers(), person=person).local == "2026-03-02T15:00:00"


def test_an_absence_is_waited_out() -> None:
    away = Absence(berlin(2026, 3, 1), berlin(2026, 3, 16, 11))
    assert due(hers(), person=Calendar(defined=True, absences=(away,))).local == "2026-03-16T11:00:00"


def test_who_is_away_for_years_is_looked_for_again_later() -> None:
    away = Absence(berlin(2026, 1, 1), berlin(2030, 1, 1))
    found = due(hers(), person=Calendar(defined=True, absences=(away,)))
    assert found.waiting_for == "responsible_hours"
    assert found.due_at > berlin(2027, 3, 1)


def test_with_time_tracking_she_must_have_clocked_in() -> None:
    now = berlin(2026, 3, 2, 10)
    out = Calendar(defined=True, time_tracking=True, clock="out")
    waits = due(hers(), person=out, now=now)
    assert (waits.local, waits.waiting_for) == ("2026-03-03T09:00:00", "responsible_hours")
    assert due(hers(), person=replace(out, clock="in"), now=now).due_at == now
    assert due(hers(), person=replace(out, time_tracking=False), now=now).due_at == now


def test_the_clock_says_nothing_about_tomorrow() -> None:
    out = Calendar(defined=True, time_tracking=True, clock="out")
    assert due(hers(at=berlin(2026, 3, 3, 10)), person=out, now=berlin(2026, 3, 2, 20)).waiting_for is None


def test_what_was_due_in_her_absence_waits_for_her_return() -> None:
    found = due(hers(at=berlin(2026, 3, 2, 10)), person=Calendar(), now=berlin(2026, 3, 7, 12))
    assert (found.local, found.waiting_for) == ("2026-03-09T09:00:00", "responsible_hours")


# bad input


@pytest.mark.parametrize(
    ("when", "pointer"),
    [
        (When("after"), "/anchor_instant"),
        (When("after", anchor_instant=NOW, anchor_date=date(2026, 1, 1)), "/anchor_instant"),
        (When("after", anchor_instant=datetime(2026, 1, 1)), "/anchor_instant"),  # noqa: DTZ001
        (When("after", anchor_instant=NOW, offset=Offset(days=-1)), "/offset"),
        (When("after", anchor_instant=NOW, offset=Offset(months=12 * 21)), "/offset"),
        (When("after", anchor_instant=NOW, offset=Offset(days=10**12)), "/offset"),
        (When("before", anchor_instant=NOW, offset=Offset(months=12 * 3000)), "/offset"),
        (When("before", anchor_instant=NOW, offset=Offset(days=500), working_hours="company"), "/offset/days"),
        (When("after", anchor_instant=NOW, zone="Europe/Atlantis"), "/zone"),
        (When("after", anchor_instant=NOW, zone="../../etc/passwd"), "/zone"),
        (When("at", anchor_date=date(2026, 1, 1)), "/local_time"),
        (When("at", anchor_instant=NOW, offset=Offset(hours=1)), "/offset"),
        (When("after", anchor_instant=NOW, working_hours="responsible"), "/responsible_id"),
    ],
)
def test_a_bad_time_expression_is_named(when: When, pointer: str) -> None:
    with pytest.raises(Rejected) as refused:
        due(when)
    assert (refused.value.code, refused.value.status) == ("bad_when", 422)
    assert [fault.pointer for fault in refused.value.errors] == [pointer]


def test_every_step_is_explained() -> None:
    company = replace(COMPANY, holidays=(Holiday(date(2026, 4, 15), "Day off"),))
    found = due(When("before", anchor_date=date(2026, 4, 15), offset=Offset(days=1), working_hours="company"), company)
    assert found.reasoning == (
        "The anchor is 2026-04-15 00:00:00 Europe/Berlin.",
        "The anchor is no working day: back to 2026-04-14 00:00:00 Europe/Berlin.",
        "1 working day before: 2026-04-13 00:00:00 Europe/Berlin.",
        "Within working hours: 2026-04-13 09:00:00 Europe/Berlin.",
        "Due at 2026-04-13T07:00:00.000Z.",
    )
