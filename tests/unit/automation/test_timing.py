"""Time expressions become what the scheduler is asked; nothing is computed here (rule-format 4, D8, D13, D37)."""

from __future__ import annotations

from typing import Any

import pytest

from services.automation.domain.timing import (
    Anchors,
    AtOnce,
    BadTime,
    FieldEmpty,
    Wait,
    anchor_field,
    days_ahead,
    is_local_time,
    parsed_offset,
    resolve,
    resolve_deadline,
)

ARRIVAL, PREVIOUS, NOW = "2026-03-02T08:00:00.000Z", "2026-03-02T11:00:00.000Z", "2026-03-02T12:00:00.000Z"
FIELDS = {"deal.uf.meeting": "2026-04-01", "deal.created_at": "2026-03-01T10:00:00+01:00", "deal.uf.text": "soon", "deal.uf.none": None}


def anchors(**own: Any) -> Anchors:
    fields: dict[str, Any] = {"arrival": ARRIVAL, "now": NOW, "field": FIELDS.get, "previous": PREVIOUS, "pipeline_zone": "Europe/Berlin"}
    return Anchors(**{**fields, "assignee_zone": "Asia/Tokyo", "responsible_id": "anna", **own})


def when(timing: dict[str, Any], *, after_previous: bool = False, **own: Any) -> dict[str, Any]:
    found = resolve(timing, anchors(**own), after_previous=after_previous)
    assert isinstance(found, Wait)
    return found.when


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("180d", {"days": 180}),
        ("6mo", {"months": 6}),
        ("1d 2h", {"days": 1, "hours": 2}),
        ("5min", {"minutes": 5}),
        ("1w", {"weeks": 1}),
        ("0s", {"seconds": 0}),
    ],
)
def test_offsets(text: str, parts: dict[str, int]) -> None:
    assert parsed_offset(text) == parts


@pytest.mark.parametrize("text", ["", "soon", "-1d", "1.5d", "1 d", "1d 2d", "21000w", None, 5, ["1d"], "1y"])
def test_what_is_no_offset(text: Any) -> None:
    with pytest.raises(BadTime, match="write it like"):
        parsed_offset(text)


@pytest.mark.parametrize("timing", [None, {"after": "arrival", "offset": "0d"}, {"after": "arrival"}, {"after": "previous"}])
def test_what_waits_for_nothing(timing: Any) -> None:
    assert resolve(timing, anchors()) == AtOnce()


def test_after_the_arrival() -> None:
    assert when({"after": "arrival", "offset": "180d"}) == {
        "mode": "after",
        "anchor_instant": ARRIVAL,
        "zone": "Europe/Berlin",
        "offset": {"days": 180},
    }


def test_a_rule_behind_another_counts_from_its_end_unless_told_otherwise() -> None:
    assert when({"after": None, "offset": "1d"}, after_previous=True)["anchor_instant"] == PREVIOUS
    assert when({"after": "arrival", "offset": "1d"}, after_previous=True)["anchor_instant"] == ARRIVAL


def test_before_a_date_and_at_a_time() -> None:
    asked = when({"before": "deal.uf.meeting", "offset": "2d", "working_hours": "company"})
    assert (asked["mode"], asked["anchor_date"], asked["working_hours"]) == ("before", "2026-04-01", "company")
    asked = when({"at": "deal.uf.meeting", "time": "09:30"})
    assert (asked["mode"], asked["local_time"], "offset" in asked) == ("at", "09:30", False)


def test_an_instant_as_anchor_is_told_in_utc() -> None:
    assert when({"after": "deal.created_at", "offset": "1h"})["anchor_instant"] == "2026-03-01T09:00:00.000Z"


@pytest.mark.parametrize("path", ["deal.uf.none", "deal.uf.text", "deal.uf.unheard"])
def test_an_anchor_that_is_no_date_is_empty(path: str) -> None:
    assert resolve({"after": path, "offset": "1d"}, anchors()) == FieldEmpty(path)


def test_hours_of_the_responsible_person_name_him() -> None:
    asked = when({"after": "arrival", "offset": "0s", "working_hours": "responsible"})
    assert (asked["working_hours"], asked["responsible_id"]) == ("responsible", "anna")


@pytest.mark.parametrize(("zone", "expected"), [("pipeline", "Europe/Berlin"), ("company", None), ("America/New_York", "America/New_York")])
def test_zones(zone: str, expected: str | None) -> None:
    assert when({"after": "arrival", "offset": "1d", "zone": zone})["zone"] == expected


def test_tomorrow_at_two_is_the_assignees_tomorrow() -> None:
    found = resolve_deadline({"day": "tomorrow", "time": "14:00"}, anchors())
    assert found == Wait({"mode": "after", "anchor_instant": NOW, "zone": "Asia/Tokyo", "offset": {"days": 1}, "local_time": "14:00"})
    unknown = resolve_deadline({"day": "+3d", "time": "14:00"}, anchors(assignee_zone=None))
    assert isinstance(unknown, Wait) and (unknown.when["zone"], unknown.when["offset"]) == ("Europe/Berlin", {"days": 3})


def test_a_deadline_may_count_from_a_field() -> None:
    found = resolve_deadline({"after": "deal.uf.meeting", "offset": "2d", "time": "12:00"}, anchors())
    assert isinstance(found, Wait) and found.when["anchor_date"] == "2026-04-01"
    assert resolve_deadline({"after": "deal.uf.none", "offset": "2d"}, anchors()) == FieldEmpty("deal.uf.none")


@pytest.mark.parametrize(("day", "ahead"), [("today", 0), ("tomorrow", 1), ("+14d", 14)])
def test_days_ahead(day: str, ahead: int) -> None:
    assert days_ahead(day) == ahead


@pytest.mark.parametrize("day", ["yesterday", "-1d", "14d", None, 3])
def test_what_is_no_day(day: Any) -> None:
    with pytest.raises(BadTime, match="is no day"):
        days_ahead(day)


def test_times_of_day() -> None:
    assert [is_local_time(text) for text in ("00:00", "23:59", "24:00", "9:30", 930, None)] == [True, True, False, False, False, False]


def test_the_field_a_timing_hangs_on() -> None:
    assert anchor_field({"after": "deal.uf.meeting", "offset": "1d"}) == "deal.uf.meeting"
    assert [anchor_field(t) for t in (None, {"after": "arrival"}, {"day": "today"}, {"after": "previous"})] == [None] * 4
