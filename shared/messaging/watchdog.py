"""Two watchdogs: a thread over a loop that stands still (C.8, R6), and a look at consumers that fell silent (AK-7, R4).

A handler that never returns cannot be interrupted, and its transaction does not end, so the process has to: the thread
notes what was at hand in the state folder and ends it; after the restart that range is handled one message at a time. The
thread needs the interpreter's lock now and then: a call that never lets go of it is beyond its reach."""

from __future__ import annotations

import asyncio
import faulthandler
import logging
import os
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import orjson

from shared.messaging.records import Partition
from shared.runtime.clock import monotonic

log = logging.getLogger(__name__)

EXIT_CODE = 70
TWICE = 2


class Span(NamedTuple):
    """Records of one partition that are handled together: the offsets of the first and of the last."""

    partition: Partition
    first: int
    last: int


# ------------------------------------------------------------------------------------------- handlers that never return


@dataclass(frozen=True, slots=True)
class Note:
    """A range in which some handler did not come back; `alone`: how often a message was noted with nothing else at hand."""

    first: int
    last: int
    alone: Mapping[int, int]

    def suspects(self, offset: int) -> bool:
        return self.first <= offset <= self.last

    def convicts(self, offset: int) -> bool:
        return self.alone.get(offset, 0) >= TWICE


class Notes:
    """One small file per partition of a consumer, so that two owners never write the same one.

    It survives the process, not the folder: a new owner elsewhere makes its own experience."""

    def __init__(self, folder: Path, consumer: str) -> None:
        self._folder = folder / "never_returned" / consumer

    def read(self, partition: Partition) -> Note | None:
        try:
            kept = orjson.loads(self._path(partition).read_bytes())
            return Note(int(kept["first"]), int(kept["last"]), {int(offset): int(n) for offset, n in kept["alone"].items()})
        except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError):
            return None

    def add(self, spans: Sequence[Span]) -> None:
        alone = len(spans) == 1 and spans[0].first == spans[0].last
        for span in spans:
            self._write(span.partition, _extended(self.read(span.partition), span, alone))

    def remove(self, partition: Partition) -> None:
        self._path(partition).unlink(missing_ok=True)

    def _write(self, partition: Partition, note: Note) -> None:
        """Whole or not at all: who writes may be killed meanwhile."""
        path = self._path(partition)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"first": note.first, "last": note.last, "alone": {str(offset): n for offset, n in note.alone.items()}}
        unfinished = path.with_suffix(".new")
        unfinished.write_bytes(orjson.dumps(content))
        unfinished.replace(path)

    def _path(self, partition: Partition) -> Path:
        return self._folder / f"{partition}.json"


def _extended(note: Note | None, span: Span, alone: bool) -> Note:
    known = note or Note(span.first, span.last, {})
    counts = {**known.alone, span.first: known.alone.get(span.first, 0) + 1} if alone else known.alone
    return replace(known, first=min(known.first, span.first), last=max(known.last, span.last), alone=counts)


class LoopWatch:
    """Ends the process when its event loop has not moved for `patience` seconds (a third of the session time-out).

    Only time in which the thread itself ran counts: a process that was stopped, or had no processor, is not punished."""

    def __init__(
        self,
        patience: float,
        at_hand: Callable[[], Sequence[Span]],
        note: Callable[[Sequence[Span]], None],
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._patience, self._tick = patience, patience / 10
        self._at_hand, self._note, self._end = at_hand, note, end
        self._beats = 0
        self._over = threading.Event()
        self._handle: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._watch, name="loop-watch", daemon=True)

    def start(self) -> None:
        """Called in the loop that is to be watched."""
        self._beat(asyncio.get_running_loop(), monotonic())
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._handle:
            self._handle.cancel()

    def _beat(self, loop: asyncio.AbstractEventLoop, due: float) -> None:
        self._beats += 1
        if (late := monotonic() - due) > 1.0:
            log.warning("the event loop stood still for %.1f s: something blocks it", late)
        self._handle = loop.call_later(self._tick, self._beat, loop, monotonic() + self._tick)

    def _watch(self) -> None:
        stood, seen, before = 0.0, self._beats, monotonic()
        while not self._over.wait(self._tick):
            passed, before = min(monotonic() - before, 2 * self._tick), monotonic()
            stood, seen = (stood + passed if seen == self._beats else 0.0), self._beats
            if stood >= self._patience:
                self._give_up()
                return

    def _give_up(self) -> None:
        spans = self._at_hand()
        if spans:
            self._note(spans)
        at_hand = ", ".join(f"{s.partition} {s.first}..{s.last}" for s in spans) or "no messages"
        log.critical("the event loop has not moved for %.1f s; at hand: %s; this process ends", self._patience, at_hand)
        faulthandler.dump_traceback(sys.__stderr__ or 2, all_threads=True)
        self._end(EXIT_CODE)


# -------------------------------------------------------------------------------------------------- consumers without news


@dataclass(slots=True)
class PartitionState:
    """What metrics and /ops show. `handled`: the next offset to be handled; `end`: where the partition ended at the last look.

    `oldest`: age in seconds of the oldest record that waits in this process; `silent`: seconds with lag and without a move."""

    handled: int | None = None
    end: int | None = None
    oldest: float = 0.0
    silent: float = 0.0

    @property
    def lag(self) -> int:
        return max(0, (self.end or 0) - (self.handled or 0))


class ProgressWatch:
    """Tells a consumer that has nothing to do from one that does nothing: heartbeats and assignment look the same.

    The end of a partition comes from the broker, not from `highwater`, which the dead fetch task would have to fill."""

    def __init__(self) -> None:
        self._since: dict[Partition, tuple[int | None, float]] = {}
        self._lost: set[Partition] = set()

    def forget(self) -> None:
        """The broker did not answer: nobody's fault, and no evidence."""
        self._since.clear()

    def look(self, partition: Partition, position: int | None, end: int, *, excused: bool) -> float:
        """Seconds without a move although there is something to fetch. `excused`: we ourselves hold it back."""
        known = self._since.get(partition)
        if known is None or known[0] != position or position == end or excused:
            self._since[partition] = position, monotonic()
        return monotonic() - self._since[partition][1]

    def tell_lost(self, handled: Mapping[Partition, int], begins: Mapping[Partition, int]) -> None:
        """aiokafka jumps over records deleted before they were read, with a line at level info (AK-19): that is an alarm."""
        for partition, offset in handled.items():
            begin = begins.get(partition, 0)
            if begin > offset and partition not in self._lost:
                self._lost.add(partition)
                log.critical("%s: offsets %d to %d were deleted before they were handled; republish", partition, offset, begin - 1)

    @property
    def lost(self) -> Collection[Partition]:
        return frozenset(self._lost)
