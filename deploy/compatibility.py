"""Whether a contract may stay `.v1`: what a change of its published schema would break (ecosystem E9)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]


def breaking_changes(old: Json, new: Json) -> list[str]:
    """A sentence per change that somebody who knows only the old schema would not survive; none means additive.

    Both are schemas as published: closed, with `x-topic` and `x-key`. Whatever an old sender may send must stay valid;
    of an event also whatever a new sender may send must be something an old reader knows."""
    found = [f"{name[2:]} changed from {old[name]} to {new[name]}" for name in ("x-topic", "x-key") if old[name] != new[name]]
    sides = Sides(old, new, is_event=old["x-topic"].endswith(".events"))
    return found + list(sides.differences(old, new, ""))


@dataclass(frozen=True, slots=True)
class Sides:
    old: Json
    new: Json
    is_event: bool

    def differences(self, old: Json, new: Json, at: str) -> Iterator[str]:
        before, after = kinds(old, self.old), kinds(new, self.new)
        where = at or "the body"
        if before.keys() - after.keys():
            yield f"{where}: type changed from {_names(before)} to {_names(after)}"
        elif self.is_event and after.keys() - before.keys():
            yield f"{where}: type widened from {_names(before)} to {_names(after)}"
        for kind in before.keys() & after.keys():
            yield from self._of_kind(kind, before[kind], after[kind], at)

    def _of_kind(self, kind: str, old: Json, new: Json, at: str) -> Iterator[str]:
        if kind == "object":
            yield from self._objects(old, new, at)
        elif kind == "array":
            yield from self.differences(old.get("items", {}), new.get("items", {}), f"{at}[]")
        else:
            yield from self._scalars(old, new, at)

    def _objects(self, old: Json, new: Json, at: str) -> Iterator[str]:
        before, after = old.get("properties", {}), new.get("properties", {})
        for name in before.keys() - after.keys():
            yield f"{_path(at, name)}: removed or renamed"
        for name in sorted(set(new.get("required", ())) - set(old.get("required", ()))):
            yield f"{_path(at, name)}: became required" if name in before else f"{_path(at, name)}: new and required"
        for name in sorted(set(old.get("required", ())) - set(new.get("required", ()))):
            if self.is_event and name in after:
                yield f"{_path(at, name)}: no longer always there"
        for name in before.keys() & after.keys():
            yield from self.differences(before[name], after[name], _path(at, name))
        if isinstance(old.get("additionalProperties"), dict) and isinstance(new.get("additionalProperties"), dict):
            yield from self.differences(old["additionalProperties"], new["additionalProperties"], f"{at}{{}}")

    def _scalars(self, old: Json, new: Json, at: str) -> Iterator[str]:
        before, after = members(old), members(new)
        if after is not None and (before is None or before - after):
            yield f"{at}: enumeration narrowed to {sorted(after)}"
        if self.is_event and before is not None and after is not None and after - before:
            yield f"{at}: enumeration grew by {sorted(after - before)}, which old readers do not know"
        if new.get("pattern", old.get("pattern")) != old.get("pattern"):
            yield f"{at}: pattern changed from {old.get('pattern')} to {new['pattern']}"
        if _tighter(old, new):
            yield f"{at}: bounds narrowed"


def kinds(node: Json, root: Json) -> dict[str, Json]:
    """The alternatives of a schema by JSON type; `any` when it says nothing. A reference is followed."""
    if "$ref" in node:
        return kinds(root["$defs"][node["$ref"].rpartition("/")[2]], root)
    if "anyOf" in node:
        return {kind: inner for option in node["anyOf"] for kind, inner in kinds(option, root).items()}
    return {node.get("type", "any"): node}


def members(node: Json) -> set[str] | None:
    if "const" in node:
        return {node["const"]}
    return set(node["enum"]) if "enum" in node else None


def _tighter(old: Json, new: Json) -> bool:
    def bound(node: Json, name: str, none: float) -> float:
        return float(node.get(name, none))

    endless = float("inf")
    raised = bound(new, "minimum", -endless) > bound(old, "minimum", -endless)
    return raised or bound(new, "maximum", endless) < bound(old, "maximum", endless)


def _names(found: dict[str, Json]) -> str:
    return "|".join(sorted(found))


def _path(at: str, name: str) -> str:
    return f"{at}.{name}" if at else name
