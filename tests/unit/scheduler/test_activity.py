from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest

from services.scheduler.domain.activity import (
    ACTIVITY,
    ActivityCancelled,
    ActivityChanged,
    ActivityCommand,
    ActivityCompleted,
    ActivityEvent,
    ActivityPlanned,
    ActivityReassigned,
    ActivityReminded,
    ActivityRescheduled,
    Before,
    CancelActivity,
    ChangeActivity,
    CompleteActivity,
    Details,
    Element,
    Moment,
    PlanActivity,
    ReassignActivity,
    Remind,
    RescheduleActivity,
    moment_of,
)
from services.scheduler.domain.due import Calendars, Offset, When
from services.scheduler.domain.origin import Origin
from shared.testing.given import given

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
STARTS = datetime(2026, 3, 3, 13, tzinfo=UTC)
HOUR = timedelta(hours=1)
TOMORROW_AT_TWO = When("after", anchor_instant=NOW, offset=Offset(days=1), local_time=time(14), zone="Europe/Berlin")
DEAL = Element("deal", "roof-2026")
RULE, PERSON = Origin("rule", id="call"), Origin("person", id="anna")
CALL = Details(
    "Call customer",
    "anna",
    "Contract details with Petra Muster",
    colour="yellow",
    calendar=True,
    contact_ids=("petra",),
    invitee_ids=("clara",),
    link="https://example.org/c/1",
    reminders=(15, 60),
    auto_complete=True,
)
MOMENT = moment_of(TOMORROW_AT_TWO, Calendars(), NOW)
BEFORE = Before(STARTS, STARTS + HOUR, "anna", ("clara",))


def plan(**more: Any) -> PlanActivity:
    fields: dict[str, Any] = {"details": CALL, "deadline": TOMORROW_AT_TWO} | more
    return PlanActivity("request", DEAL, "visit", calendars=Calendars(), at=NOW, origin=RULE, **fields)


def planned(**more: Any) -> ActivityPlanned:
    fields: dict[str, Any] = {"details": CALL, "moment": MOMENT, "room_state": "none"} | more
    return ActivityPlanned("request", DEAL, "visit", at=NOW, origin=RULE, **fields)


def completed(at: datetime = NOW, withdrawn: bool = True) -> ActivityCompleted:
    return ActivityCompleted("left", "automation", withdrawn, at, RULE)


CANCELLED = ActivityCancelled("undo", "undone", NOW, RULE)


def test_an_activity_is_planned_once() -> None:
    state = given(ACTIVITY).when(plan()).then(planned())
    assert (state.starts_at, state.ends_at, state.ical_sequence) == (STARTS, STARTS + HOUR, 0)
    given(ACTIVITY, planned()).when(plan(details=replace(CALL, name="Another"))).nothing_happens()


def test_tomorrow_is_the_assignee_s_tomorrow() -> None:
    late = datetime(2026, 3, 2, 22, 30, tzinfo=UTC)
    tokyo = replace(TOMORROW_AT_TWO, anchor_instant=late, zone="Asia/Tokyo")
    moment = moment_of(tokyo, Calendars(), late)
    assert (moment.starts_at, moment.local) == (datetime(2026, 3, 4, 5, tzinfo=UTC), "2026-03-04T14:00:00")


@pytest.mark.parametrize(
    ("command", "code", "pointer"),
    [
        (plan(deadline=When("after")), "deadline_missing", "/deadline"),
        (plan(deadline=When("at", anchor_date=date(2026, 3, 3))), "bad_when", "/local_time"),
        (plan(details=replace(CALL, colour="pink")), "unknown_colour", "/colour"),
        (plan(details=replace(CALL, invitee_ids=tuple(map(str, range(51))))), "too_many", "/invitee_ids"),
        (plan(details=replace(CALL, reminders=(1, 2, 3, 4, 5, 6))), "too_many", "/reminders"),
        (plan(details=replace(CALL, reminders=(40_321,))), "validation_failed", "/reminders"),
        (plan(details=replace(CALL, duration_minutes=0)), "validation_failed", "/duration_minutes"),
        (plan(details=replace(CALL, name=" ")), "validation_failed", "/name"),
        (plan(details=replace(CALL, name="x" * 256)), "too_large", "/name"),
        (plan(details=replace(CALL, link="https://" + "x" * 2000)), "too_large", "/link"),
    ],
)
def test_bad_input_is_named(command: PlanActivity, code: str, pointer: str) -> None:
    given(ACTIVITY).when(command).refused(code, pointer)


def test_a_deadline_in_the_past_is_allowed() -> None:
    yesterday = replace(TOMORROW_AT_TWO, mode="before")
    assert given(ACTIVITY).when(plan(deadline=yesterday)).state.starts_at == datetime(2026, 3, 1, 13, tzinfo=UTC)


def test_moving_it_raises_the_sequence_of_the_entry() -> None:
    at_three = replace(TOMORROW_AT_TWO, local_time=time(15))
    command = RescheduleActivity(None, at_three, Calendars(), NOW, PERSON)
    moved = ActivityRescheduled(None, CALL, moment_of(at_three, Calendars(), NOW), "none", BEFORE, NOW, PERSON)
    state = given(ACTIVITY, planned()).when(command).then(moved)
    assert (state.ical_sequence, state.starts_at, state.touched) == (1, STARTS + HOUR, True)


def test_moving_it_to_where_it_is() -> None:
    given(ACTIVITY, planned()).when(RescheduleActivity(None, TOMORROW_AT_TWO, Calendars(), NOW, PERSON)).nothing_happens()
    again = RescheduleActivity("another", TOMORROW_AT_TWO, Calendars(), NOW, RULE)
    given(ACTIVITY, planned()).when(again).refused("nothing_to_change")


def test_what_invitees_see_is_told_to_them_and_the_rest_is_not() -> None:
    renamed = replace(CALL, name="Call Petra")
    told = ActivityRescheduled(None, renamed, MOMENT, "none", BEFORE, NOW, PERSON)
    given(ACTIVITY, planned()).when(ChangeActivity(renamed, NOW, PERSON)).then(told)
    red = replace(CALL, colour="red", file_ids=("contract",))
    state = given(ACTIVITY, planned()).when(ChangeActivity(red, NOW, PERSON)).then(ActivityChanged(red, NOW, PERSON))
    assert state.ical_sequence == 0
    given(ACTIVITY, planned()).when(ChangeActivity(CALL, NOW, PERSON)).nothing_happens()


def test_a_change_does_not_reassign() -> None:
    outcome = given(ACTIVITY, planned()).when(ChangeActivity(replace(CALL, name="Call Petra", responsible_id="ben"), NOW, PERSON))
    assert outcome.state.details.responsible_id == "anna"


def test_another_person_keeps_the_instant() -> None:
    details = replace(CALL, responsible_id="yuki")
    command = ReassignActivity("yuki", NOW, PERSON, zone="Asia/Tokyo")
    given(ACTIVITY, planned()).when(command).then(ActivityReassigned(details, MOMENT, BEFORE, NOW, PERSON))


def test_another_person_may_keep_the_local_time_instead() -> None:
    command = ReassignActivity("yuki", NOW, PERSON, keep_local_time=True, zone="Asia/Tokyo")
    state = given(ACTIVITY, planned()).when(command).state
    assert state.moment and (state.moment.starts_at, state.moment.local, state.moment.zone) == (
        datetime(2026, 3, 3, 5, tzinfo=UTC),
        "2026-03-03T14:00:00",
        "Asia/Tokyo",
    )


def test_reassigning_to_the_same_person_changes_nothing() -> None:
    given(ACTIVITY, planned()).when(ReassignActivity("anna", NOW, PERSON)).nothing_happens()


def test_an_entry_in_the_future_is_withdrawn_when_it_is_done_early() -> None:
    state = given(ACTIVITY, planned()).when(CompleteActivity("left", NOW, RULE)).then(completed())
    assert (state.status, state.ical_sequence) == ("completed", 1)


def test_an_entry_in_the_past_stays() -> None:
    late = STARTS + HOUR
    state = given(ACTIVITY, planned()).when(CompleteActivity("left", late, RULE)).then(completed(late, withdrawn=False))
    assert state.ical_sequence == 0


def test_an_activity_outside_the_calendar_has_no_entry_to_withdraw() -> None:
    outcome = given(ACTIVITY, planned(details=replace(CALL, calendar=False, invitee_ids=()))).when(CompleteActivity(None, NOW, PERSON))
    outcome.then(ActivityCompleted(None, "person", False, NOW, PERSON))


def test_done_by_the_same_cause_twice_is_done_once() -> None:
    given(ACTIVITY, planned(), completed()).when(CompleteActivity("left", NOW, RULE)).nothing_happens()
    given(ACTIVITY, planned(), CANCELLED).when(CancelActivity("undo", "undone", NOW, RULE)).nothing_happens()


def test_cancelled_for_good() -> None:
    state = given(ACTIVITY, planned()).when(CancelActivity("undo", "undone", NOW, RULE)).then(CANCELLED)
    assert (state.status, state.ical_sequence, state.reminds_at) == ("cancelled", 1, None)


def test_undo_spares_what_a_person_has_touched() -> None:
    untouched = CancelActivity("undo", "undone", NOW, RULE, if_untouched=True)
    given(ACTIVITY, planned()).when(untouched).then(CANCELLED)
    changed = ActivityChanged(replace(CALL, colour="red"), NOW, PERSON)
    given(ACTIVITY, planned(), changed).when(untouched).refused("has_been_touched")


VERBS: list[ActivityCommand] = [
    RescheduleActivity("r", TOMORROW_AT_TWO, Calendars(), NOW, RULE),
    ChangeActivity(CALL, NOW, PERSON),
    ReassignActivity("ben", NOW, PERSON),
    CompleteActivity("r", NOW, RULE),
    CancelActivity("r", "undone", NOW, RULE),
]


@pytest.mark.parametrize("command", VERBS)
@pytest.mark.parametrize("end", [completed(), CANCELLED])
def test_what_is_over_is_over(command: ActivityCommand, end: ActivityEvent) -> None:
    given(ACTIVITY, planned(), end).when(command).refused("activity_over")


@pytest.mark.parametrize("command", VERBS)
def test_an_unknown_activity_is_named_so(command: ActivityCommand) -> None:
    assert given(ACTIVITY).when(command).refused("activity_unknown").status == 404


# reminders


def test_reminders_come_one_after_the_other() -> None:
    activity = given(ACTIVITY, planned())
    assert activity.state.reminds_at == STARTS - HOUR
    activity.when(Remind(STARTS - HOUR - timedelta(seconds=1))).nothing_happens()
    state = activity.when(Remind(STARTS - HOUR)).then(ActivityReminded(60, STARTS - HOUR, RULE))
    assert state.reminds_at == STARTS - timedelta(minutes=15)


def test_after_an_outage_the_nearest_reminder_is_enough() -> None:
    state = given(ACTIVITY, planned()).when(Remind(STARTS)).then(ActivityReminded(15, STARTS, RULE))
    assert state.reminds_at is None


def test_reminders_whose_moment_has_passed_are_left_out() -> None:
    soon = Moment(NOW + timedelta(minutes=30), "2026-03-02T09:30:00", "Europe/Berlin")
    assert given(ACTIVITY, planned(moment=soon)).state.reminders_left == (15,)


def test_moving_it_moves_its_reminders() -> None:
    later = Moment(STARTS + timedelta(days=1), "2026-03-04T14:00:00", "Europe/Berlin")
    reminded = ActivityReminded(15, STARTS, RULE)
    moved = ActivityRescheduled(None, CALL, later, "none", BEFORE, NOW, PERSON)
    assert given(ACTIVITY, planned(), reminded, moved).state.reminds_at == STARTS + timedelta(days=1) - HOUR


def test_who_is_done_is_not_reminded() -> None:
    given(ACTIVITY, planned(), completed()).when(Remind(STARTS)).nothing_happens()
    given(ACTIVITY).when(Remind(STARTS)).nothing_happens()
