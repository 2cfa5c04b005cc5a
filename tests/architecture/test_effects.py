"""What becomes of an effect that nobody answers is decided for every kind of every service, and written down (R10, R15)."""

from __future__ import annotations

import re
from importlib import import_module
from pathlib import Path

import pytest

from shared.messaging.effects import EffectKind

SERVICES = ("deals", "automation", "billing", "scheduler", "notifications")
PAGE = Path(__file__).parents[2] / "docs" / "concepts" / "effects.md"
ROW = re.compile(r"^\| (?P<kinds>`[^|]*`) \| (?P<meanwhile>[^|]*) \| (?P<end>[^|]*) \| (?P<why>[^|]+) \|$", re.MULTILINE)


def written() -> dict[str, tuple[str, str]]:
    """By kind: what happens after one try without an answer, and after the last."""
    rows = [(row["kinds"], row["meanwhile"].strip(), row["end"].strip("* ")) for row in ROW.finditer(PAGE.read_text())]
    return {kind: (meanwhile, end) for kinds, meanwhile, end in rows for kind in re.findall(r"`([^`]+)`", kinds)}


def kinds() -> dict[str, EffectKind]:
    return {kind.name: kind for name in SERVICES for kind in import_module(f"services.{name}.service").SERVICE.effects}


def test_every_kind_has_its_line() -> None:
    assert set(written()) == set(kinds())


@pytest.mark.parametrize("name", sorted(written()))
def test_a_line_says_what_the_kind_does(name: str) -> None:
    kind, (meanwhile, end) = kinds()[name], written()[name]
    assert meanwhile.split(",")[0] == {"again": "again", "hold": "held"}[kind.unknown]
    if kind.unknown == "again":
        assert (end == "held") == (kind.given_up == "unknown")


def test_money_is_never_told_as_failed_without_an_answer() -> None:
    for name, kind in kinds().items():
        if name == "provider_refund" or name.endswith("_money"):
            assert kind.unknown == "hold" or kind.given_up == "unknown", name
