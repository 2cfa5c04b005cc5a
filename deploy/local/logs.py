"""All logs as one, each line with the name of its part in front; old lines first, then, if asked, new ones as they come."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from deploy.local.state import State

EVERY_LINE_HAS = ("service.name", "service.version", "deployment.environment")
TAIL = 256 * 1024
"""Bytes of a log's end that are looked at for its last lines."""


def known_logs(state: State) -> list[str]:
    return sorted(path.stem for path in state.logs.glob("*.log"))


def last_of_each(state: State, names: Sequence[str], count: int) -> Iterator[str]:
    """The last lines of each log, part by part: clocks in the lines differ in form, so they are not merged."""
    for name in names:
        yield from _prefixed(name, names, _tail(state.log(name), count))


def followed(state: State, names: Sequence[str]) -> Iterator[str]:
    """Lines written after this call, as they come, for ever. A log that was emptied is read from its start."""
    return _followed(state, names, {name: _size(state.log(name)) for name in names})


def _followed(state: State, names: Sequence[str], places: dict[str, int]) -> Iterator[str]:
    while True:
        for name in names:
            lines, places[name] = _news(state.log(name), places[name])
            yield from _prefixed(name, names, lines)
        time.sleep(0.2)


def _prefixed(name: str, names: Sequence[str], lines: Sequence[str]) -> Iterator[str]:
    width = max(map(len, names))
    for line in lines:
        yield f"{name:>{width}} | {readable(line)}"


def readable(line: str) -> str:
    """A line of JSON as people read it: time, level, event, then the fields; any other line as it is."""
    try:
        fields = json.loads(line)
        first = " ".join((fields.pop("timestamp"), fields.pop("level").upper().ljust(7), fields.pop("event")))
    except (ValueError, KeyError, AttributeError, TypeError):
        return line
    trace = fields.pop("error.stacktrace", None)
    further = "  ".join(f"{name}={value}" for name, value in fields.items() if name not in EVERY_LINE_HAS)
    return "  ".join(filter(None, (first, further))) + (f"\n{trace.rstrip()}" if trace else "")


def _tail(path: Path, count: int) -> list[str]:
    try:
        with path.open("rb") as log:
            log.seek(-min(TAIL, _size(path)), os.SEEK_END)
            return _lines(log.read())[-count:] if count else []
    except FileNotFoundError:
        return []


def _news(path: Path, place: int) -> tuple[list[str], int]:
    """Whole lines only; the place after the last of them."""
    size = _size(path)
    place = 0 if size < place else place
    if size == place:
        return [], place
    with path.open("rb") as log:
        return _whole_lines(log, place)


def _whole_lines(log: BinaryIO, place: int) -> tuple[list[str], int]:
    log.seek(place)
    content = log.read(TAIL)
    end = content.rfind(b"\n") + 1
    if not end and len(content) == TAIL:
        end = TAIL
    return _lines(content[:end]), place + end


def _lines(content: bytes) -> list[str]:
    return content.decode(errors="replace").splitlines()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
