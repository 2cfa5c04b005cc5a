from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from services.scheduler.domain.calendar import (
    CALENDAR,
    Absence,
    AddAbsence,
    AddHoliday,
    CalendarChanged,
    ClockIn,
    ClockOut,
    DefineCalendar,
    FollowEmployee,
    Holiday,
    Opening,
    RemoveAbsence,
    RemoveHoliday,
)
from services.scheduler.domain.origin import Origin
from shared.testing.given import given

ANNA = str(1)
BY = Origin("person", id=ANNA)
FIVE_DAYS = (*((Opening(540, 1080),) for _ in range(5)), (), ())
EASTER = Holiday(date(2026, 4, 6), "Easter Monday")
JUNE = datetime(2026, 6, 1, tzinfo=UTC)
WEEK_OFF = Absence(JUNE, JUNE + timedelta(days=7))


def define(**more: Any) -> DefineCalendar:
    fields = {"employee_id": None, "zone": "Europe/Berlin", "week": FIVE_DAYS} | more
    return DefineCalendar(origin=BY, **fields)


def changed(**more: Any) -> CalendarChanged:
    fields: dict[str, Any] = {"employee_id": None, "zone": "Europe/Berlin", "own_zone": True, "week": FIVE_DAYS}
    fields |= {"holidays": (), "holiday_region": None}
    fields |= {"absences": (), "time_tracking": False, "clock": "in", "origin": BY} | more
    return CalendarChanged(**fields)


def hers(**more: Any) -> CalendarChanged:
    return changed(**({"employee_id": ANNA, "own_zone": False, "week": None} | more))


def test_a_calendar_is_said_in_full() -> None:
    given(CALENDAR).when(define(holidays=(EASTER,), holiday_region="DE-BY")).then(changed(holidays=(EASTER,), holiday_region="DE-BY"))


def test_the_same_calendar_again_changes_nothing() -> None:
    given(CALENDAR, changed()).when(define()).nothing_happens()


def test_every_change_has_a_revision() -> None:
    assert given(CALENDAR, changed()).when(AddHoliday(EASTER, BY)).state.revision == 2


def test_holidays_come_and_go() -> None:
    given(CALENDAR, changed()).when(AddHoliday(EASTER, BY)).then(changed(holidays=(EASTER,)))
    given(CALENDAR, changed(holidays=(EASTER,))).when(RemoveHoliday(EASTER.on, BY)).then(changed())
    assert given(CALENDAR, changed()).when(RemoveHoliday(EASTER.on, BY)).refused("not_found").status == 404


def test_a_day_is_a_holiday_once() -> None:
    named = Holiday(EASTER.on, "Ostermontag")
    given(CALENDAR, changed(holidays=(EASTER,))).when(AddHoliday(named, BY)).then(changed(holidays=(named,)))
    given(CALENDAR).when(define(holidays=(EASTER, named))).then(changed(holidays=(named,)))


def test_absences_are_kept_in_order() -> None:
    earlier = Absence(JUNE - timedelta(days=30), JUNE - timedelta(days=20))
    command = AddAbsence(ANNA, earlier, "Europe/Berlin", BY)
    given(CALENDAR, hers(absences=(WEEK_OFF,))).when(command).then(hers(absences=(earlier, WEEK_OFF)))
    given(CALENDAR, hers(absences=(earlier, WEEK_OFF))).when(RemoveAbsence(ANNA, 0, BY)).then(hers(absences=(WEEK_OFF,)))
    given(CALENDAR, hers()).when(RemoveAbsence(ANNA, 0, BY)).refused("not_found")


def test_an_absence_begins_before_it_ends() -> None:
    given(CALENDAR, hers()).when(AddAbsence(ANNA, Absence(JUNE, JUNE), "Europe/Berlin", BY)).refused("bad_interval")


def test_who_clocks_in_without_a_calendar_gets_one() -> None:
    given(CALENDAR).when(ClockOut(ANNA, "Europe/Berlin", BY)).then(hers(clock="out"))
    given(CALENDAR, hers(clock="out")).when(ClockIn(ANNA, "Europe/Berlin", BY)).then(hers())
    given(CALENDAR, hers()).when(ClockIn(ANNA, "Europe/Berlin", BY)).nothing_happens()


def test_a_calendar_follows_its_employee_unless_it_has_a_zone_of_its_own() -> None:
    move = FollowEmployee(ANNA, "Asia/Tokyo", BY)
    given(CALENDAR, hers()).when(move).then(hers(zone="Asia/Tokyo"))
    given(CALENDAR, hers(own_zone=True)).when(move).nothing_happens()
    given(CALENDAR).when(move).nothing_happens()


def test_a_company_without_a_calendar_has_no_holidays() -> None:
    given(CALENDAR).when(AddHoliday(EASTER, BY)).refused("not_found")


@pytest.mark.parametrize(
    ("day", "code"),
    [
        ((Opening(600, 600),), "bad_interval"),
        ((Opening(900, 540),), "bad_interval"),
        ((Opening(0, 1441),), "bad_interval"),
        ((Opening(540, 720), Opening(700, 1080)), "overlapping_hours"),
    ],
)
def test_bad_hours_name_their_day(day: tuple[Opening, ...], code: str) -> None:
    given(CALENDAR).when(define(week=(*FIVE_DAYS[:5], day, ()))).refused(code, "/weekly/sat")


def test_hours_may_touch() -> None:
    assert given(CALENDAR).when(define(week=((Opening(540, 720), Opening(720, 1080)),) * 7)).refusal is None


def test_a_company_works_at_some_time_and_somewhere() -> None:
    given(CALENDAR).when(define(week=((),) * 7)).refused("bad_interval")
    given(CALENDAR).when(define(week=None)).refused("bad_interval")
    given(CALENDAR).when(define(zone="Europe/Atlantis")).refused("unknown_zone", "/zone")
