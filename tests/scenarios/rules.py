"""The rules and triggers that scenarios name, as text. `example("link", "mail")` has these two and no others."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

EXAMPLE = Path(__file__).parent / "rules.yaml"


def example(*names: str, **changed: Mapping[str, Any]) -> str:
    """Rules and triggers by their ids, on each stage in the order named. `changed` is by id too: its members replace those of the
    example, `settings` are merged (`type` replaces them as a whole), `stage` puts it on another stage."""
    known = {item["id"]: (document["stage"], kind, item) for document in _documents() for kind, item in _items(document)}
    stages: dict[str, dict[str, list[Any]]] = {}
    for name in names:
        stage, kind, item = known[name]
        stage, item = _with(stage, item, changed.get(name, {}))
        stages.setdefault(stage, {}).setdefault(kind, []).append(item)
    return text_of(stages)


def _documents() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(EXAMPLE.read_text()))


def _items(document: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [(kind, item) for kind in ("rules", "triggers") for item in document.get(kind, [])]


def _with(stage: str, item: dict[str, Any], changes: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    kept = {} if "type" in changes else item.get("settings", {})
    settings = {**kept, **changes.get("settings", {})}
    rest = {name: value for name, value in changes.items() if name not in ("stage", "settings")}
    return changes.get("stage", stage), item | rest | ({"settings": settings} if settings else {})


def text_of(stages: Mapping[str, Mapping[str, Any]]) -> str:
    """As a JSON array, documents by stage: `{"sales/new": {"rules": [...]}}`."""
    return json.dumps([{"stage": stage, **parts} for stage, parts in stages.items()])


def one_rule(stage: str, id: str, type: str, /, settings: Mapping[str, Any] | None = None, **members: Any) -> str:
    """The text of a stage with a single rule."""
    return text_of({stage: {"rules": [{"id": id, "type": type, "settings": dict(settings or {}), **members}]}})
