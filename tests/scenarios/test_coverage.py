"""Every seed statement has a test that shows it, and the page that says so is the one the tests make."""

from __future__ import annotations

from collections import Counter

from tests.scenarios import coverage

STATEMENTS = [f"S{number}" for number in range(1, coverage.LAST + 1)]


def test_every_statement_is_shown_by_a_test() -> None:
    assert [number for number in STATEMENTS if number not in coverage.shown()] == []
    assert coverage.shown().keys() <= set(STATEMENTS)


def test_the_page_lists_what_the_tests_are_marked_with() -> None:
    """`make coverage` writes it anew."""
    text = coverage.PAGE.read_text()
    assert coverage.listed(text) == {number: coverage.shown()[number] for number in STATEMENTS}
    assert "failed" not in text.partition("## Not shown")[0].replace("the_failed_one", "") and "not run" not in text


def test_a_page_says_how_each_test_ended() -> None:
    tests = {"S1": ["test_a.py::test_one", "test_b.py::test_two"], "S2": ["test_c.py::test_three"]}
    results = {"test_a.py::test_one": Counter(passed=4), "test_b.py::test_two": Counter(passed=3, failed=1)}
    text = coverage.page(tests, results, frozenset({"change_stage"}))
    rows = {line.split(" | ")[0]: line for line in text.splitlines()}
    assert rows["| S1"].endswith("| failed, passed 7 times |")
    assert rows["| S2"].endswith("| not run |") and rows["| S3"].endswith("| no test |")
    assert coverage.listed(text)["S1"] == tests["S1"] and "`change_stage`" in text
