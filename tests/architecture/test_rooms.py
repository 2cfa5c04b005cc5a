"""The same rooms in the same order in every service, so that the sixth looks like the first five (DESIGN 8, architecture B.2)."""

from __future__ import annotations

import ast
import re

import pytest

from tests.architecture.source import ROOT, Source, source, sources

SERVICES = ("deals", "automation", "billing", "scheduler", "notifications")
ROOMS = frozenset(
    "__init__.py README.md __main__.py service.py settings.py domain handlers.py api.py subscriptions.py publications.py views.py"
    " replicas.py".split()
)
OWN_AT_MOST = 2
FOLDERS = {"api": "api.py"}
"""Rooms that may be a folder of files where one file would be too long (decision 7)."""


def rooms(service: str) -> frozenset[str]:
    folder = ROOT / "services" / service
    return frozenset(FOLDERS.get(path.name, path.name) for path in folder.iterdir() if path.name != "__pycache__")


def wrong_rooms(found: frozenset[str]) -> list[str]:
    """What is missing, and what is more than two rooms of its own."""
    missing = [f"{name} is missing" for name in sorted(ROOMS - found)]
    own = sorted(found - ROOMS)
    return missing + ([f"more than {OWN_AT_MOST} rooms of its own: {own}"] if len(own) > OWN_AT_MOST else [])


README = ["Owns", "Hears", "Says", "How it goes", "Run", "Look"]


def headings(text: str) -> list[str]:
    """The bold words that open the paragraphs of a service's README."""
    return re.findall(r"^\*\*([\w ]+)\.?\*\*", text, re.MULTILINE)


def aggregates(of: Source) -> list[str]:
    """The aggregates a module defines at its top level."""
    values = [node.value for node in of.tree.body if isinstance(node, ast.Assign | ast.AnnAssign)]
    calls = [value.func for value in values if isinstance(value, ast.Call)]
    return [ast.unparse(called) for called in calls if ast.unparse(called).partition("[")[0] == "Aggregate"]


def test_there_are_five_services() -> None:
    assert {path.name for path in (ROOT / "services").iterdir() if path.is_dir() and path.name != "__pycache__"} == set(SERVICES)


@pytest.mark.parametrize("service", SERVICES)
def test_the_rooms_are_the_same(service: str) -> None:
    assert wrong_rooms(rooms(service)) == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_readme_has_the_same_headings(service: str) -> None:
    text = (ROOT / "services" / service / "README.md").read_text()
    assert text.startswith(f"# {service.capitalize()}\n")
    assert headings(text) == README


@pytest.mark.parametrize("service", SERVICES)
def test_the_entrance_only_hands_over(service: str) -> None:
    tree = ast.parse((ROOT / "services" / service / "__main__.py").read_text())
    lines = [ast.unparse(node) for node in tree.body if not isinstance(node, ast.Expr) or not isinstance(node.value, ast.Constant)]
    expected = [f"from services.{service}.service import SERVICE", "from shared.runtime.cli import run", "run(SERVICE)"]
    assert [line for line in lines if not line.startswith(("from __future__", "if "))] == expected


def test_one_aggregate_is_one_file() -> None:
    crowded = {file.path: found for file in sources() if "/domain/" in file.path and len(found := aggregates(file)) > 1}
    assert crowded == {}


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_has_aggregates(service: str) -> None:
    assert [found for file in sources() if file.path.startswith(f"services/{service}/domain/") for found in aggregates(file)]


# The checks find what they are for


def test_a_missing_room_is_found() -> None:
    assert wrong_rooms(ROOMS - {"replicas.py"}) == ["replicas.py is missing"]


def test_a_third_room_of_its_own_is_found() -> None:
    assert wrong_rooms(ROOMS | {"due.py", "ticker.py"}) == []
    assert wrong_rooms(ROOMS | {"due.py", "ticker.py", "utils.py"}) == ["more than 2 rooms of its own: ['due.py', 'ticker.py', 'utils.py']"]


def test_two_aggregates_in_a_file_are_found() -> None:
    text = "DEAL = Aggregate('deal', 1)\nLEAD: Aggregate[A, B, C] = Aggregate('lead', 2)\nOTHER = thing()"
    assert len(aggregates(source("services/deals/domain/deal.py", text))) == 2


def test_headings_are_read() -> None:
    assert headings("# Deals\n\n**Owns** a *deal*\n\nwhat is **bold** inside\n\n**How it goes.** Well.\n") == ["Owns", "How it goes"]
