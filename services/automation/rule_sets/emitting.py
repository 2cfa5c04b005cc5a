"""Documents as YAML in canonical form (rule-format 1)."""

from __future__ import annotations

import sys
from typing import Any

import yaml

from services.automation.rule_sets.reading import CORE


class _Dumper(yaml.SafeDumper):
    """Block style, two spaces, double quotes where any reader of YAML 1.1 or 1.2 could take a text for something else."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True

    def choose_scalar_style(self) -> Any:
        style = super().choose_scalar_style()
        return '"' if style == "'" else style


def _text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    """Lines as lines, unless they end in blank ones: those would run into what follows."""
    lines = "\n" in text.rstrip("\n") and not text.endswith("\n\n") and not set(text) & set("\r\x85\u2028\u2029")
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if lines else None)


_Dumper.add_representer(str, _text)
for _kind, _shape, _first in CORE:
    _Dumper.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _shape, list(_first))


def as_yaml(value: Any) -> str:
    return str(yaml.dump(value, Dumper=_Dumper, default_flow_style=False, sort_keys=False, allow_unicode=True, width=sys.maxsize))
