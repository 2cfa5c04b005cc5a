"""The source files as the checks see them: a path from the repository's root and a syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
OURS = ("shared", "services", "deploy", "dealwright", "tests", "bench", "examples")


@dataclass(frozen=True, eq=False)
class Source:
    path: str
    text: str
    tree: ast.Module

    @property
    def service(self) -> str | None:
        """'deals' for services/deals/…, None elsewhere."""
        parts = self.path.split("/")
        return parts[1] if parts[0] == "services" and len(parts) > 2 else None


def source(path: str, text: str) -> Source:
    """Raises SyntaxError."""
    return Source(path, text, ast.parse(text))


@cache
def sources() -> tuple[Source, ...]:
    """Every Python file of ours, whether committed yet or not."""
    paths = sorted(path for top in OURS for path in (ROOT / top).rglob("*.py"))
    return tuple(source(path.relative_to(ROOT).as_posix(), path.read_text()) for path in paths)


@dataclass(frozen=True, slots=True)
class Imported:
    name: str
    """'shared.es.errors.Rejected' for `from shared.es.errors import Rejected`; a relative import keeps its dots."""
    line: int


def imports(of: Source) -> Iterator[Imported]:
    for node in ast.walk(of.tree):
        if isinstance(node, ast.Import):
            yield from (Imported(alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (Imported(f"{module}.{alias.name}", node.lineno) for alias in node.names)


def within(name: str, prefixes: tuple[str, ...]) -> bool:
    return any(name == prefix or name.startswith(prefix + ".") for prefix in prefixes)
