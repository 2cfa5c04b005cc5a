"""docs/coverage.md: which test shows which seed statement, and how it ended in a recorded run.

`python -m tests.scenarios.coverage` runs the scenarios and writes the page; `--from results.xml` takes a run that is there already.
The tests themselves say what they show: `@pytest.mark.shows("S29", "S22")`."""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import yaml

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
PAGE = ROOT / "docs/coverage.md"
PHRASES = HERE / "statements.yaml"
WAYS = ("plain", "three times", "reordered", "killed")
LAST = 114
"""Statements after it are about what the pages link to; no test can show them."""
Shown = Mapping[str, Sequence[str]]
Results = Mapping[str, Counter[str]]
"""By test: how often it passed, failed, …"""

HEAD = """# What shows that each statement holds

Made by `make coverage` from the marks of the tests in `tests/scenarios` and from a recorded run of them; not written by hand. The result
counts every case of the tests named. Of the ways in which messages travel the recorded run went: {ways}.

| statement | in short | tests | result |
|---|---|---|---|
"""
REST = """
## Not shown by tests

| statement | in short | state |
|---|---|---|
"""
NEIGHBOURS = """
## Neighbours that the pages only name (S117)

| neighbour | state |
|---|---|
"""
NOT_TESTED = {
    "S115": "what the pages link to about the engine is covered by its semantics: tests under `tests/unit/automation` and `tests/service`",
    "S116": "what the pages link to about deals, leads, customers and details is covered by `tests/unit/deals` and `tests/service/deals`",
    "S117": "listed below",
    "S118": "online forms, the CRM filter, communication channels and booking waiting lists are out of scope: not built",
}
NAMED = {
    "change responsible person": "change_responsible",
    "add to exclusions": None,
    "QR code, as a rule and as a trigger": None,
    "trigger: document opened": None,
    "employee control": None,
    "customer information": None,
    "triggers of workflow items": None,
    "change field": "change_field",
    "change stage": "change_stage",
}
"""Neighbours with the rule type that does it, if there is one."""


def phrases() -> dict[str, str]:
    return dict(yaml.safe_load(PHRASES.read_text()))


def shown() -> dict[str, list[str]]:
    """Tests by statement, as `test_loop.py::test_it`, in the order of the files."""
    found: dict[str, list[str]] = {}
    for path in sorted(HERE.glob("test_*.py")):
        for test, statements in _marked(ast.parse(path.read_text())):
            for statement in statements:
                found.setdefault(statement, []).append(f"{path.name}::{test}")
    return found


def _marked(module: ast.Module) -> Iterator[tuple[str, list[str]]]:
    for node in module.body:
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef):
            marks = [each for each in node.decorator_list if isinstance(each, ast.Call) and ast.unparse(each.func) == "pytest.mark.shows"]
            texts = [part.value for mark in marks for part in ast.walk(mark) if isinstance(part, ast.Constant)]
            if texts:
                yield node.name, [str(text) for text in texts]


def results_in(file: Path) -> dict[str, Counter[str]]:
    """Of a JUnit report."""
    found: dict[str, Counter[str]] = {}
    for case in ElementTree.parse(file).iter("testcase"):
        name = f"{str(case.get('classname')).rsplit('.', 1)[-1]}.py::{str(case.get('name')).partition('[')[0]}"
        ended = "failed" if case.find("failure") is not None or case.find("error") is not None else "passed"
        found.setdefault(name, Counter())[ended] += 1
    return found


def ways_in(file: Path) -> list[str]:
    """Of those in which a scenario is played, the ones that a report has."""
    names = [str(case.get("name")) for case in ElementTree.parse(file).iter("testcase")]
    return [way for way in WAYS if any(way in name.partition("[")[2] for name in names)]


def page(tests: Shown, results: Results, rule_types: frozenset[str], ways: Sequence[str] = ()) -> str:
    rows = [_row(number, phrase, tests.get(number, ()), results) for number, phrase in phrases().items() if number not in NOT_TESTED]
    rest = [f"| {number} | {phrases()[number]} | {state} |" for number, state in NOT_TESTED.items()]
    named = [f"| {name} | {_state(rule_type, rule_types)} |" for name, rule_type in NAMED.items()]
    return HEAD.format(ways=", ".join(ways)) + "\n".join(rows) + "\n" + REST + "\n".join(rest) + "\n" + NEIGHBOURS + "\n".join(named) + "\n"


def _row(number: str, phrase: str, tests: Sequence[str], results: Results) -> str:
    ended = sum((results.get(test, Counter({"not run": 1})) for test in tests), Counter())
    said = ", ".join(f"{how} {times} times" if times > 1 else how for how, times in sorted(ended.items()))
    names = "<br>".join(f"`{test}`" for test in tests)
    return f"| {number} | {phrase} | {names} | {said or 'no test'} |"


def _state(rule_type: str | None, known: frozenset[str]) -> str:
    return f"built: rule type `{rule_type}`" if rule_type in known else "not built"


def listed(text: str) -> dict[str, list[str]]:
    """Tests by statement, as a page has them."""
    rows = re.findall(r"^\| (S\d+) \| [^|]* \| ([^|]*) \| [^|]* \|$", text, flags=re.MULTILINE)
    return {number: re.findall(r"`([^`]+)`", tests) for number, tests in rows}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.scenarios.coverage", description="Write docs/coverage.md.")
    parser.add_argument("--from", dest="report", type=Path, help="a JUnit report of a run of tests/scenarios")
    report, ended = parser.parse_args(arguments).report, 0
    with tempfile.TemporaryDirectory() as folder:
        if report is None:
            report = Path(folder) / "results.xml"
            ended = subprocess.run([sys.executable, "-m", "pytest", "-q", str(HERE), f"--junitxml={report}"], cwd=ROOT).returncode
        PAGE.write_text(page(shown(), results_in(report), rule_types(), ways_in(report)))
    print(f"{PAGE.relative_to(ROOT)} is written")
    return ended


def rule_types() -> frozenset[str]:
    from services.automation.domain.catalogue import RULE_TYPES

    return frozenset(RULE_TYPES)


if __name__ == "__main__":
    sys.exit(main())
