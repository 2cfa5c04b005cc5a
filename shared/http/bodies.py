"""What is checked about a JSON body before anything reads it: encoding, NaN, duplicate keys, depth, control characters (H8)."""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter
from typing import Any

import orjson

from shared.es.errors import Fault
from shared.http.problems import Problem

MAX_BODY = 256 * 1024
MAX_UPLOAD = 25 * 1024 * 1024 + 64 * 1024
"""A file of 25 MiB and the form around it."""
MAX_DEPTH = 32

_SUSPECT = re.compile(rb"\\u00[0189]|\\u007f|\\[bfr]|\x7f|\xc2[\x80-\x9f]", re.IGNORECASE)
"""What a JSON document must contain if one of its strings holds a control character other than line feed and tab."""


_NAMES = re.compile(rb'"\s*:')
"""One for every name of the document, and perhaps some inside of strings: more than there are names is only a suspicion."""


class _Twice(ValueError):
    pass


def fault_in(body: bytes) -> Problem | None:
    """What is wrong with the document, or None. Raises nothing."""
    if not body:
        return None
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return Problem("malformed-json", f"The body is not valid JSON: {_told(error)}.")
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _depth(document) > MAX_DEPTH:
        return Problem("malformed-json", f"The body is nested deeper than {MAX_DEPTH}.")
    if len(_NAMES.findall(body)) != _names(document) and (name := _name_that_stands_twice(body)) is not None:
        return Problem("malformed-json", f"The key {name[:80]!r} stands twice in one object.")
    if _SUSPECT.search(body) and (faults := list(_control_characters(document, "#"))):
        return Problem("validation-failed", "Text holds control characters.", errors=faults[:50])
    return None


def _told(error: orjson.JSONDecodeError) -> str:
    return f"{str(error).partition(':')[0]} at byte {error.pos}"


def _depth(document: Any) -> int:
    """Levels of lists and objects, without recursion."""
    deepest, level = 0, [document]
    while level:
        inside = [each for each in level if isinstance(each, dict | list)]
        if not inside:
            break
        deepest += 1
        level = [value for each in inside for value in (each.values() if isinstance(each, dict) else each)]
    return deepest


def _names(document: Any) -> int:
    """Members of all objects."""
    match document:
        case dict():
            return len(document) + sum(_names(value) for value in document.values() if isinstance(value, dict | list))
        case list():
            return sum(_names(value) for value in document if isinstance(value, dict | list))
        case _:
            return 0


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({name for name, _ in pairs}) != len(pairs):
        raise _Twice(Counter(name for name, _ in pairs).most_common(1)[0][0])


def _name_that_stands_twice(body: bytes) -> str | None:
    try:
        json.loads(body, object_pairs_hook=_unique)
    except _Twice as twice:
        return str(twice)
    return None


def _control_characters(value: Any, pointer: str) -> Any:
    """A fault for every string or name that holds one. The document is at most 32 deep by now."""
    match value:
        case str() if any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in value):
            yield Fault(pointer, "control_character", "Control characters other than line feed and tab are not allowed.")
        case list():
            for n, each in enumerate(value):
                yield from _control_characters(each, f"{pointer}/{n}")
        case dict():
            for name, each in value.items():
                yield from _control_characters(name, f"{pointer}/{name!a}")
                yield from _control_characters(each, f"{pointer}/{name}")
