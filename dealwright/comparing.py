"""Two sets of rules side by side, without a server: the same shape of changes as a plan has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from services.automation.rule_sets.comparing import complete, differences

Json = dict[str, Any]
USUAL = {"multiple": False, "visibility": "everywhere", "value": None}


class Name(NamedTuple):
    kind: str
    stage: str
    key: str


def changes(before: Sequence[Json], after: Sequence[Json]) -> list[Json]:
    """What has to happen to the first for it to be like the second; what is so anyway may be written or not."""
    one, other = dict(_parts(before)), dict(_parts(after))
    moved = dict(_moves(list(one), list(other)))
    return [_change(name, one.get(name), other.get(name), moved.get(name, [])) for name in {**one, **other}]


def within(found: Sequence[Json], documents: Sequence[Json]) -> list[Json]:
    """Only what the documents speak of: their stages, and each constant and variable they name."""
    parts = [name for name, _ in _parts(documents)]
    named = {name for name in parts if not name.stage}
    stages = {document["stage"] for document in documents if "stage" in document} | {name.stage for name in parts if name.stage}
    return [c for c in found if c.get("stage") in stages or Name(c["kind"], "", c["key"]) in named]


def _parts(documents: Iterable[Json]) -> Iterator[tuple[Name, Json]]:
    """Each constant, variable, rule and trigger with every default."""
    for document in documents:
        for kind in ("constant", "variable"):
            for code, value in _members(document.get(f"{kind}s")):
                yield Name(kind, "", code), USUAL | (value if isinstance(value, dict) else {"value": value})
        stage = str(document.get("stage", ""))
        for rule in _maps(document.get("rules")):
            yield Name("rule", stage, str(rule.get("id"))), complete("rule", rule)
        for trigger in _maps(document.get("triggers")):
            yield Name("trigger", str(trigger.get("target_stage") or stage), str(trigger.get("id"))), complete("trigger", trigger)


def _members(value: Any) -> Iterable[tuple[str, Any]]:
    return value.items() if isinstance(value, dict) else ()


def _maps(value: Any) -> list[Json]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _moves(before: Sequence[Name], after: Sequence[Name]) -> Iterator[tuple[Name, list[Json]]]:
    """Among those in both, by stage: who stands at another place."""
    for kind, stage in dict.fromkeys((name.kind, name.stage) for name in after if name.stage):
        one = [name for name in before if (name.kind, name.stage) == (kind, stage) and name in after]
        other = [name for name in after if (name.kind, name.stage) == (kind, stage) and name in before]
        for at, name in enumerate(other):
            if one[at] != name:
                yield name, [{"pointer": "/position", "before": one.index(name), "after": at}]


def _change(name: Name, before: Json | None, after: Json | None, moved: list[Json]) -> Json:
    about = {"kind": name.kind, "key": name.key} | ({"stage": name.stage} if name.stage else {})
    if before is None or after is None:
        return {**about, "change": "create" if before is None else "delete", "differences": []}
    found = differences(before, after) + moved
    return {**about, "change": "update" if found else "unchanged", "differences": found}
