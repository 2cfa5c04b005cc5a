"""The list of decisions and the tests that show them is whole, and every test that it names exists."""

from __future__ import annotations

import re

from tests.architecture.source import ROOT

LIST = (ROOT / "docs/semantics.md").read_text()
ROW = re.compile(r"^\| (D\d+b?) \| (.+) \| `(tests/[\w/]+\.py)::(test_\w+)` \|$", re.MULTILINE)
WANTED = ("D1b", "D13b", "D36b", "D58", *(f"D{n}" for span in ((1, 13), (35, 57), (61, 68), (70, 72)) for n in range(span[0], span[1] + 1)))


def missing_tests(text: str) -> list[str]:
    """Tests that a list names and that are not there."""
    found = [(path, name) for _, _, path, name in ROW.findall(text)]
    return [f"{path}::{name}" for path, name in found if not _is_there(path, name)]


def _is_there(path: str, name: str) -> bool:
    file = ROOT / path
    return file.is_file() and re.search(rf"^(async )?def {name}\(", file.read_text(), re.MULTILINE) is not None


def test_every_test_that_the_list_names_exists() -> None:
    assert missing_tests(LIST) == []


def test_the_list_is_whole() -> None:
    assert {number for number, _, _, _ in ROW.findall(LIST)} == set(WANTED)
    assert len(ROW.findall(LIST)) == LIST.count("\n| D"), "every row reads as one"


def test_a_test_that_is_not_there_is_found() -> None:
    row = "| D1 | x | `tests/architecture/test_semantics.py::test_nowhere` |"
    assert missing_tests(row) == ["tests/architecture/test_semantics.py::test_nowhere"]
