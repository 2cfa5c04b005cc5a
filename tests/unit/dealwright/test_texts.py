"""Files as one text, findings by file and line, and what people see of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from dealwright import showing
from dealwright.__main__ import run
from dealwright.problems import Problem
from dealwright.texts import read
from services.automation.rule_sets.reading import documents_of

FIRST = "# values\n---\nconstants: { a: { type: string } }\n---\nstage: s/one\n"
SECOND = "constants: {}\n---\nstage: s/two\nrules:\n  - id: tell\n"


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in ("first.yaml", "second.yaml")]
    for path, text in zip(paths, (FIRST, SECOND), strict=True):
        path.write_text(text)
    return paths


def test_one_file_is_sent_as_it_is(files: list[Path]) -> None:
    assert read(files[:1]).text == FIRST


def test_several_files_are_sent_as_their_documents(files: list[Path]) -> None:
    both = read(files)
    assert documents_of(both.text) == both.documents == documents_of(FIRST) + documents_of(SECOND)


def test_a_finding_is_placed_in_the_file_that_it_means(files: list[Path]) -> None:
    both = read(files)
    found = both.placed({"pointer": "#/3/rules/0/id", "code": "bad_code", "detail": "No."})
    assert (found["file"], found["line"], found["column"], found["pointer"]) == (str(files[1]), 5, 5, "#/1/rules/0/id")
    assert list(showing.findings([found])) == [f"{files[1]}:5:5: bad_code at #/1/rules/0/id: No."]
    assert both.placed({"pointer": "#/1/stage"})["line"] == 5
    assert both.placed({"pointer": "#/text"})["file"] == str(files[0])
    assert both.placed({"pointer": "#/9/stage"})["file"] == str(files[1])


@pytest.mark.parametrize("text", [b"a: [", b"a: 1\na: 2", b"\xff\xfe\x00", b"5"])
def test_what_cannot_be_read_is_a_sentence_with_the_file(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "bad.yaml"
    path.write_bytes(text)
    with pytest.raises(Problem, match=str(path)):
        read([path])


def test_a_file_that_is_not_there_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="cannot be read: No such file"):
        read([tmp_path / "gone.yaml"])


# ------------------------------------------------------------------------------------------------ shown


def plain(line: str) -> str:
    """Without its colours."""
    return re.sub(r"\x1b\[\d+m", "", line)


def test_texts_of_several_lines_are_shown_by_the_lines_that_differ() -> None:
    difference = {"pointer": "/settings/body", "before": "Dear\n\nyou", "after": "Dear\n\nthee"}
    assert [plain(line) for line in showing.one_difference(difference)] == [
        "      settings/body:",
        "        - you",
        "        + thee",
    ]


def test_what_is_long_is_cut_and_what_is_missing_named() -> None:
    (line,) = showing.one_difference({"pointer": "/condition", "after": {"field": "x" * 200}})
    assert line.startswith('      condition: (nothing) -> {"field": "xxx') and line.endswith("…") and len(line) < 120


TOUCHED: dict[str, Any] = {
    "rule_id": "r",
    "key": "renewal",
    "stage": "sales/won",
    "count": 30,
    "blocked": 2,
    "first_due_at": "2027-01-02T09:00:00Z",
    "last_due_at": "2027-03-02T09:00:00Z",
    "keep": "kept",
    "migrate": "migrated",
    "cancel": "cancelled",
    "runs": [{"run_id": "1", "element_id": "e", "rule_version": 1, "state": "waiting", "due_at": "2027-01-02T09:00:00Z"}],
}


def test_waiting_runs_are_shown_with_what_becomes_of_them() -> None:
    assert list(showing.waiting({"waiting": [TOUCHED]}, "migrate"))[1:] == [
        "  30 of rule renewal on sales/won, due 2027-01-02 09:00 UTC to 2027-03-02 09:00 UTC",
        "      --waiting migrate: they go on with the new version, from their original start; 2 that are blocked stay on their version",
        "      --waiting keep: they would go on as they are",
        "      --waiting cancel: they would be cancelled",
        "      run 1 of element e: waiting, version 1, due 2027-01-02 09:00 UTC",
        "      and 29 more: GET /v1/runs?rule_id=r",
    ]
    assert list(showing.waiting({"waiting": []}, "keep")) == []


# ------------------------------------------------------------------------------------------------ the command


def test_two_files_are_compared_without_a_server(files: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["rules", "diff", str(files[0]), str(files[1]), "--exit-code"]) == 2
    assert capsys.readouterr().out.endswith("1 to create, 1 to delete, 0 unchanged.\n")
    assert run(["rules", "diff", str(files[0]), str(files[0]), "--exit-code"]) == 0
    assert run(["rules", "diff", str(files[0]), str(files[1])]) == 0


@pytest.mark.parametrize(
    "words", [["rules", "plan"], ["rules", "diff", "a", "--nope"], ["nothing"], ["rules", "plan", "x", "--waiting", "so"]]
)
def test_wrong_usage_is_a_problem_and_no_difference(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(words) == 1
    assert "--help" in capsys.readouterr().err
