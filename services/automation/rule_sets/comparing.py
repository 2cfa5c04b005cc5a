"""What two definitions differ in, and what counts as no difference."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import orjson

from services.automation.domain.definition import complete_rule, complete_trigger
from shared.es.aggregate import Json


def fingerprint(definition: Any) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(orjson.dumps(definition, option=orjson.OPT_SORT_KEYS)).hexdigest()


def complete(kind: str, definition: Json) -> Json:
    """With every default of today, so that a setting that came later is no difference to what was published before.

    Where a trigger moves to is its place, not a part of it."""
    if kind == "rule":
        return complete_rule(definition)
    return {name: value for name, value in complete_trigger(definition).items() if name != "target_stage"}


def same_version(kind: str, before: Json | None, after: Json) -> bool:
    """Whether nothing but being switched on or off differs."""
    return before is not None and not differences(complete(kind, before) | {"enabled": True}, complete(kind, after) | {"enabled": True})


def differences(before: Any, after: Any, pointer: str = "") -> list[Json]:
    """By JSON pointer, in the order of the maps; `before` or `after` is missing where there is nothing."""
    if isinstance(before, dict) and isinstance(after, dict):
        return [difference for name in {**before, **after} for difference in _member(before, after, name, pointer)]
    return [] if same(before, after) else [{"pointer": pointer, "before": before, "after": after}]


def _member(before: Json, after: Json, name: str, pointer: str) -> Iterator[Json]:
    place = f"{pointer}/{name.replace('~', '~0').replace('/', '~1')}"
    if name in before and name in after:
        yield from differences(before[name], after[name], place)
    else:
        yield {"pointer": place} | ({"before": before[name]} if name in before else {"after": after[name]})


def same(one: Any, other: Any) -> bool:
    """As JSON: true is not 1."""
    return fingerprint(one) == fingerprint(other)
