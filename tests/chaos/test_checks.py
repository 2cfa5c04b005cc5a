"""Checks that are no SQL find what they look for, in hand-made rows and records; and storms are what their seeds say."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from shared.runtime import failpoints
from tests.chaos import armed
from tests.chaos.again import differences, repeats
from tests.chaos.check import exactly_as_often, exactly_one, strays
from tests.chaos.storm import GENTLE, MOST_PASSES, NOT_IN_A_STORM, PLACES, STRIKES, Weather, drawn, long_storm
from tests.chaos.topics import Record

SAID = Record("deals.events", 3, 7, b"k", (), b"{}", "m1", "deals.DealCreated.v1", "deal/1", "t1", 1, "c1", "r1", 1)
EVENT = {"id": "e1", "tenant": "t1", "correlation_id": "c1", "causation_id": "m1", "hops": 2}


def again(record: Record, offset: int, **other: Any) -> Record:
    return dataclasses.replace(record, offset=offset, **other)


# ---------------------------------------------------------------------------------------------------------- counting
@pytest.mark.parametrize("found", [["a"], ["a", "b", "b"], ["a", "b", "c"], []])
def test_one_each_and_no_other(found: list[str]) -> None:
    assert exactly_one("thing", ["a", "b"], ["b", "a"]) == []
    assert exactly_one("thing", ["a", "b"], found)


@pytest.mark.parametrize("found", [["a", "b"], ["a", "a", "a", "b"], ["a", "a"], ["a", "a", "b", "c"]])
def test_as_often_as_wanted(found: list[str]) -> None:
    assert exactly_as_often("thing", ["a", "a", "b"], ["b", "a", "a"]) == []
    assert exactly_as_often("thing", ["a", "a", "b"], found)


# ---------------------------------------------------------------------------------------------------------- chains
@pytest.mark.parametrize("event", [EVENT, {**EVENT, "hops": 1}, {**EVENT, "causation_id": "a request"}])
def test_an_event_in_the_chain_of_its_cause(event: dict[str, Any]) -> None:
    assert strays({"m1": SAID}, event) == []


@pytest.mark.parametrize("other", [{"tenant": "t2"}, {"correlation_id": "c2"}, {"hops": 3}, {"hops": 0}])
def test_an_event_that_left_the_chain_of_its_cause(other: dict[str, Any]) -> None:
    assert strays({"m1": SAID}, {**EVENT, **other})


@pytest.mark.parametrize("other", [{}, {"tenant": "t2"}, {"correlation": "c2"}, {"causation": "m2"}, {"hops": 1}])
def test_a_message_that_was_not_said_in_the_context_of_its_event(other: dict[str, Any]) -> None:
    own = dataclasses.replace(SAID, id="e1", causation="m1", hops=2)
    assert bool(strays({"e1": dataclasses.replace(own, **other)}, EVENT)) == bool(other)


# ------------------------------------------------------------------------------------------------------- said again
BEFORE = {"billing.payments_v1": Counter(["(p1,100)", "(p2,200)"]), "mailbox": Counter(["petra m1"])}


@pytest.mark.parametrize(
    "changed",
    [
        {"billing.payments_v1": Counter(["(p1,100)"])},
        {"billing.payments_v1": Counter(["(p1,100)", "(p2,200)", "(p3,1)"])},
        {"billing.payments_v1": Counter(["(p1,100)", "(p2,201)"])},
        {"mailbox": Counter(["petra m1", "petra m1"])},
        {"deals.new_v1": Counter(["(1)"])},
    ],
)
def test_rows_that_change_are_found(changed: dict[str, Counter[str]]) -> None:
    assert differences(BEFORE, dict(BEFORE)) == []
    assert len(differences(BEFORE, BEFORE | changed)) == 1


REFUSAL = again(SAID, 8, id="no event", type="deals.Refused.v1")
GOOD = [SAID, REFUSAL, again(SAID, 9)]


def test_a_history_that_is_said_again_whole() -> None:
    assert repeats([SAID, REFUSAL], GOOD, ["m1", "private"], 1) == []


@pytest.mark.parametrize(
    "after",
    [
        [SAID, REFUSAL],
        [*GOOD, again(SAID, 10, id="m2")],
        [SAID, REFUSAL, again(SAID, 9, value=b"{ }")],
        [SAID, REFUSAL, again(SAID, 9, key=b"other")],
        [SAID, REFUSAL, again(SAID, 9, headers=(("ce_time", b"now"),))],
        [*GOOD, again(REFUSAL, 10)],
    ],
    ids=["not said", "something new", "other value", "other key", "other headers", "more than they say"],
)
def test_what_is_not_the_same_history(after: list[Record]) -> None:
    assert repeats([SAID, REFUSAL], after, ["m1", "private"], 1)


# ---------------------------------------------------------------------------------------------------------- storms
WITHOUT_END = Weather(600, (1.0, 2.0), (1.0, 2.0), STRIKES)


def test_a_long_storm_meets_every_fault_and_many_places() -> None:
    storm = drawn(1, WITHOUT_END)
    assert {(fault.what, fault.whom) for fault in storm} == set(STRIKES)
    crashes = [fault for fault in storm if fault.what == "crash"]
    assert len({fault.where for fault in crashes}) > 20
    assert all(1 <= fault.times <= MOST_PASSES for fault in crashes)
    assert all(fault.times == 1 for fault in crashes if fault.where.startswith("sd."))


@pytest.mark.parametrize("kinds", [STRIKES, GENTLE])
def test_a_storm_has_crashes_at_failpoints_and_blind_kills(kinds: tuple[tuple[str, str], ...]) -> None:
    assert {"kill", "crash", "stop"} <= {what for what, _ in kinds}


def test_each_failpoint_is_struck_in_storms_or_stands_among_those_that_are_not() -> None:
    places = {place for places in PLACES.values() for place in places}
    assert places | set(NOT_IN_A_STORM) == failpoints.NAMES
    assert not places & set(NOT_IN_A_STORM)


def test_the_same_seed_draws_the_same_crashes() -> None:
    assert drawn(5, long_storm(90)) == drawn(5, long_storm(90)) != drawn(6, long_storm(90))


# ---------------------------------------------------------------------------------------------------------- arming
def test_a_running_process_takes_what_it_is_told_and_no_more(tmp_path: Path) -> None:
    over = threading.Event()
    listening = threading.Thread(target=armed.listen, args=(tmp_path / armed.FILE, over))
    listening.start()
    try:
        armed.tell(tmp_path, "cons.in_tx=unknown@1")
        _until(failpoints.planted)
        assert failpoints.fp("cons.in_tx") == "unknown"
        armed.tell(tmp_path, "")
        _until(lambda: not failpoints.planted())
        assert not (tmp_path / armed.FILE).exists()
    finally:
        over.set()
        listening.join()
        failpoints.plant("")


def _until(condition: Any) -> None:
    beat = threading.Event()
    for _ in range(200):
        if condition():
            return
        beat.wait(0.05)
    raise AssertionError("not within ten seconds")
