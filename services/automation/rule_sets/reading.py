"""From YAML or JSON to documents, and from a JSON pointer back to the line it means (rule-format 1, 8)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import yaml

from shared.es.aggregate import Json

LONGEST = 256 * 1024
DEEPEST = 32
MOST_WHOLE = 2**53


class Unreadable(ValueError):
    """Not YAML or JSON as we read it: with line and column where known."""


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2: no anchors, no tags, no key twice; `no` is a word and 14:00 is text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        peek: Any = self.peek_event
        event = peek()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise Unreadable(f"line {event.start_mark.line + 1}: anchors and aliases are not allowed")
        if getattr(event, "tag", None) is not None:
            raise Unreadable(f"line {event.start_mark.line + 1}: tags are not allowed")
        return super().compose_node(parent, index)


CORE = (
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("int", re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), "-+0123456789"),
    ("float", re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"), "-+.0123456789"),
)
"""What plain text may mean besides text."""


def _map(loader: _Loader, node: yaml.MappingNode) -> Json:
    loader.flatten_mapping(node)
    pairs = [(loader.construct_object(k, deep=True), loader.construct_object(v, deep=True)) for k, v in node.value]
    found = {str(key): value for key, value in pairs}
    if len(found) != len(pairs):
        raise Unreadable(f"line {node.start_mark.line + 1}: a key stands twice in one map")
    return found


_Loader.add_constructor("tag:yaml.org,2002:map", _map)


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    number = int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    if abs(number) > MOST_WHOLE:
        raise Unreadable(f"line {node.start_mark.line + 1}: a number this large is written as text")
    return number


_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.yaml_implicit_resolvers = {}
for _kind, _shape, _first in CORE:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _shape, list(_first))


def documents_of(text: str) -> list[Json]:
    """The documents of a text. Raises Unreadable."""
    if len(text.encode()) > LONGEST:
        raise Unreadable(f"a text of rules has at most {LONGEST} bytes")
    try:
        found = [document for document in yaml.load_all(text, _Loader) if document is not None]
    except Unreadable:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise Unreadable(" ".join(str(error).split())[:300]) from None
    except RecursionError:
        raise Unreadable("the text is nested too deeply") from None
    if not all(_is_flat(document, DEEPEST) for document in found):
        raise Unreadable(f"the text is nested more than {DEEPEST} levels deep")
    documents = found[0] if len(found) == 1 and isinstance(found[0], list) else found
    if not all(isinstance(document, dict) for document in documents):
        raise Unreadable("a text of rules is a list of documents, each a map")
    return list(documents)


def _is_flat(value: Any, levels: int) -> bool:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_flat(member, levels - 1) for member in members)


# ------------------------------------------------------------------------------------------------ places


class Spot(NamedTuple):
    """Both from 1, as editors count."""

    line: int
    column: int


class Spots:
    """Where in a readable text a pointer into its documents leads; a member that is missing: where its parent stands."""

    def __init__(self, text: str) -> None:
        nodes = [node for node in yaml.compose_all(text, _Loader) if not _is_nothing(node)]
        alone = len(nodes) == 1 and isinstance(nodes[0], yaml.SequenceNode)
        self._documents: Sequence[yaml.Node] = nodes[0].value if alone else nodes

    def of(self, pointer: str) -> Spot:
        number, *members = [part.replace("~1", "/").replace("~0", "~") for part in pointer.removeprefix("#").split("/")[1:]] or ["0"]
        node = self._documents[int(number)] if number.isdigit() and int(number) < len(self._documents) else None
        mark = node.start_mark if node is not None else None
        for member in members:
            mark, node = _below(node, member) or (mark, None)
        return Spot(1, 1) if mark is None else Spot(mark.line + 1, mark.column + 1)


def _is_nothing(node: Any) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == "tag:yaml.org,2002:null"


def _below(node: yaml.Node | None, member: str) -> tuple[Any, yaml.Node] | None:
    """The mark of a member and what it holds; None when there is no such member."""
    if isinstance(node, yaml.MappingNode):
        return next(((key.start_mark, value) for key, value in node.value if str(key.value) == member), None)
    if isinstance(node, yaml.SequenceNode) and member.isdigit() and int(member) < len(node.value):
        found = node.value[int(member)]
        return found.start_mark, found
    return None
