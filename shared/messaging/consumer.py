"""The only loop that consumes (R4): poll, handle, commit explicit offsets; watched, because aiokafka may die in silence (AK-7).

What a poll brought is handled together, over all partitions, in one transaction of at most 500 records: the price of a
batch hardly depends on its size, so twelve small ones would cost twelve times one. What arrives while a batch is written
forms the next one; nobody waits for more to come. Under load (100 records waiting) a second batch runs beside the first:
while PostgreSQL writes one, this process decodes and decides the other. Two batches never share a partition *number*: so a
partition's records stay in sequence, and the messages of one deal on different topics do not fight over its streams.

Offsets are a hint, the inbox is the truth: they are committed some times a second, beside the path of the messages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.es.errors import Unavailable
from shared.messaging.batch import handle_batch
from shared.messaging.inbox import MessageBatch, park_unread
from shared.messaging.kafka import Cluster, GroupConsumer
from shared.messaging.records import KafkaRecord, Partition
from shared.messaging.relay import back_off
from shared.messaging.watchdog import LoopWatch, Note, Notes, PartitionState, ProgressWatch, Span
from shared.runtime.clock import monotonic, now
from shared.runtime.failpoints import afp

if TYPE_CHECKING:
    from shared.runtime.service import Kit, Service

log = logging.getLogger(__name__)

MOST = 500
"""Records of one batch, and of one poll."""
WORTH_A_SECOND = 100
"""Records that have to wait before a batch starts beside another one."""
SIDE_BY_SIDE = 2


class SilentConsumer(Exception):
    """The consumer had to be rebuilt too often, or a batch does not end: this process should end, and start again."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds. `session` is the group's session time-out; the loop watch has a third of it."""

    session: float = 30.0
    commit_every: float = 0.1
    commit: float = 5.0
    look_every: float = 10.0
    unmoved: float = 30.0
    batch: float = 110.0
    drain: float = 10.0
    leave: float = 5.0
    rebuilds_within: float = 600.0
    rebuilds: int = 3
    """The n-th within that time is the last."""


@dataclass(frozen=True, eq=False, slots=True)
class _Work:
    """A batch being handled: by which member and in which epoch its records were taken. `alone`: one suspected message."""

    member: GroupConsumer
    epoch: int
    records: list[KafkaRecord]
    spans: tuple[Span, ...]
    began: float
    alone: bool = False

    @property
    def partitions(self) -> list[Partition]:
        return [span.partition for span in self.spans]


Handle = Callable[[Sequence[KafkaRecord]], Awaitable[object]]
Park = Callable[[KafkaRecord], Awaitable[object]]


@dataclass(eq=False)
class Consumer:
    """One service's group over the topics it hears; `run` until `stop`.

    `handle` is atomic and repeatable and raises Unavailable when the database is away; whatever else it raises is logged
    and treated alike, because nothing may be lost. `park` puts one record aside unread. For health and metrics:
    `partitions`, `settled`, `last_error`, `rebuilds`, `lost` (partitions whose records were deleted unread)."""

    cluster: Cluster
    group: str
    topics: frozenset[str]
    handle: Handle
    park: Park
    state_folder: Path
    patience: Patience = field(default_factory=Patience)
    end_process: Callable[[int], object] | None = None
    """What the loop watch calls instead of ending the process: for its test."""

    def __post_init__(self) -> None:
        self._member: GroupConsumer | None = None
        self._epoch = 0
        self._waiting: dict[Partition, list[KafkaRecord]] = {}
        self._running: dict[asyncio.Task[None], _Work] = {}
        self._handled: dict[Partition, int] = {}
        self._committed: dict[Partition, int] = {}
        self._committing: asyncio.Task[bool] | None = None
        self._noted: dict[Partition, Note] = {}
        self._notes = Notes(self.state_folder, self.group)
        self._progress = ProgressWatch()
        self._rebuilt: deque[float] = deque()
        self._failures = 0
        self._broken: str | None = None
        self._stopping, self._moved, self._to_commit, self._settled = (asyncio.Event() for _ in range(4))
        self.partitions: dict[Partition, PartitionState] = {}
        self.last_error: str | None = None
        self.rebuilds = 0

    @property
    def settled(self) -> bool:
        """Has it been told its partitions, in the current generation of the group? (There may be none.)"""
        return self._settled.is_set()

    @property
    def lost(self) -> Sequence[Partition]:
        return sorted(self._progress.lost)

    # ------------------------------------------------------------------------------------------------ from start to end

    async def run(self) -> None:
        """Raises SilentConsumer, all tasks logged, when it cannot be trusted any more."""
        watch = LoopWatch(self.patience.session / 3, self._at_hand, self._notes.add, *([self.end_process] if self.end_process else []))
        watch.start()
        try:
            while not self._stopping.is_set():
                if (member := await self._join()) is not None:
                    await self._consume(member)
        finally:
            watch.stop()

    def stop(self) -> None:
        """No further poll. What is being handled is finished, offsets are committed, the group is left; each has its deadline."""
        self._stopping.set()
        self._moved.set()

    async def _join(self) -> GroupConsumer | None:
        """A new membership, however long Kafka is away. None: `stop` came first."""
        for failures in count(1):
            member = self._member = GroupConsumer(
                self.cluster, self.group, self.topics, session=self.patience.session, revoked=self._on_revoked, assigned=self._on_assigned
            )
            try:
                if await self._unless_stopped(member.start()):
                    return member
            except Unavailable as error:
                self._say(str(error), failures, error)
                await _rest(back_off(failures, first=0.2), self._stopping)
            if self._stopping.is_set():
                await member.stop(1.0)
                break
        return None

    async def _unless_stopped(self, job: Coroutine[Any, Any, None]) -> bool:
        """Only for what may be cancelled: it must not keep a process that wants to end."""
        task, stop = asyncio.create_task(job), asyncio.create_task(self._stopping.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if task.done():
            task.result()
            return True
        task.cancel()
        await asyncio.wait({task})
        return False

    async def _consume(self, member: GroupConsumer) -> None:
        """Until `stop`, or until this membership is broken; then it is left, and what it held is forgotten."""
        self._broken = None
        jobs = {"commit": self._commit_now_and_then(member), "watch": self._look_around(member)}
        helpers = [asyncio.create_task(job, name=f"{self.group}.{name}") for name, job in jobs.items()]
        for helper in helpers:
            helper.add_done_callback(self._helper_ended)
        try:
            await self._poll(member)
            await self._drain()
        finally:
            await _ended(helpers)
            if not self._broken and (last := self._uncommitted()):
                await member.commit(last, self.patience.commit)
            self._forget()
            await member.stop(self.patience.leave)
        if self._broken:
            self._count_rebuild(self._broken)

    async def _poll(self, member: GroupConsumer) -> None:
        """A poll is never cancelled; it returns within half a second. With a full batch waiting there is none: the back-pressure."""
        while not self._stopping.is_set() and not self._broken:
            self._moved.clear()
            if self._is_full():
                await self._moved.wait()
                continue
            try:
                found = await member.poll(MOST)
            except Unavailable as error:
                self._break(str(error))
                return
            epoch = self._epoch
            await afp("cons.after_fetch")
            if epoch == self._epoch:
                for partition, records in found.items():
                    self._waiting.setdefault(partition, []).extend(records)
                self._start_batches()

    def _is_full(self) -> bool:
        return sum(map(len, self._waiting.values())) >= MOST

    async def _drain(self) -> None:
        if self._running:
            await asyncio.wait(set(self._running), timeout=self.patience.drain)

    def _break(self, reason: str) -> None:
        self._broken = reason
        self._moved.set()

    def _helper_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("%s failed", task.get_name(), exc_info=error)
            self._break(f"{task.get_name()} failed: {error!r}")

    def _count_rebuild(self, reason: str) -> None:
        self.rebuilds += 1
        self.last_error = reason
        self._rebuilt.append(monotonic())
        while monotonic() - self._rebuilt[0] > self.patience.rebuilds_within:
            self._rebuilt.popleft()
        if len(self._rebuilt) >= self.patience.rebuilds:
            _log_all_tasks()
            raise SilentConsumer(reason)
        log.error("the consumer of %s is rebuilt: %s", self.group, reason)

    # --------------------------------------------------------------------------------------------------------- handling

    def _start_batches(self) -> None:
        while not self._stopping.is_set() and (work := self._next_work()) is not None:
            task = asyncio.create_task(self._work(work), name=f"{self.group}.batch")
            self._running[task] = work
            task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a batch failed outside of its handling", exc_info=error)
            self._break(f"a batch failed outside of its handling: {error!r}")
        self._moved.set()
        self._start_batches()

    def _next_work(self) -> _Work | None:
        """What waits in partition numbers that no running batch holds, unless that is too little to run beside another."""
        running = list(self._running.values())
        busy = {partition.partition for work in running for partition in work.partitions}
        free = {p: rs for p, rs in self._waiting.items() if p.partition not in busy}
        if not free or len(running) >= SIDE_BY_SIDE or any(work.alone for work in running):
            return None
        suspect = next((p for p, rs in free.items() if p in self._noted and self._noted[p].suspects(rs[0].offset)), None)
        if suspect is not None:
            return None if running else self._begun([self._take(suspect, 1)], alone=True)
        if running and sum(map(len, free.values())) < WORTH_A_SECOND:
            return None
        return self._begun(self._taken(list(free)))

    def _taken(self, partitions: list[Partition]) -> list[list[KafkaRecord]]:
        """At most a batch, in pieces of one partition each, up to the first message that has to be handled alone."""
        room, pieces = MOST, []
        for partition in partitions:
            pieces.append(self._take(partition, min(room, self._unsuspected(partition))))
            room -= len(pieces[-1])
            if not room:
                break
        return pieces

    def _unsuspected(self, partition: Partition) -> int:
        """How many records wait before the first that has to be handled alone."""
        note, records = self._noted.get(partition), self._waiting[partition]
        return next((n for n, r in enumerate(records) if note.suspects(r.offset)), len(records)) if note else len(records)

    def _take(self, partition: Partition, count: int) -> list[KafkaRecord]:
        """The first ones; what is left goes to the end of the queue of partitions."""
        records = self._waiting.pop(partition)
        if records[count:]:
            self._waiting[partition] = records[count:]
        return records[:count]

    def _begun(self, pieces: list[list[KafkaRecord]], *, alone: bool = False) -> _Work:
        assert self._member is not None
        spans = tuple(Span(Partition(p[0].topic, p[0].partition), p[0].offset, p[-1].offset) for p in pieces)
        return _Work(self._member, self._epoch, [record for piece in pieces for record in piece], spans, monotonic(), alone)

    async def _work(self, work: _Work) -> None:
        try:
            await afp("cons.before_tx")
            await self._handle_or_park(work)
            if await afp("cons.after_commit") == "unknown":
                raise Unavailable("planted: committed, but nobody was told")
        except Exception as error:
            await self._step_back(work, error)
            return
        self._failures, self.last_error = 0, None
        if work.epoch == self._epoch:
            self._note_progress(work.spans)

    async def _handle_or_park(self, work: _Work) -> None:
        span = work.spans[0]
        if work.alone and span.partition in self._noted and self._noted[span.partition].convicts(span.first):
            log.critical("%s offset %d was handled alone twice and never returned: parked unread", span.partition, span.first)
            await self.park(work.records[0])
        else:
            await self.handle(work.records)

    def _note_progress(self, spans: Sequence[Span]) -> None:
        for span in spans:
            self._handled[span.partition] = span.last + 1
            if span.partition in self._noted and span.last >= self._noted[span.partition].last:
                del self._noted[span.partition]
                self._notes.remove(span.partition)
        self._to_commit.set()

    async def _step_back(self, work: _Work, error: Exception) -> None:
        """Infrastructure is away: nobody's fault, nothing counted. Pause, seek, go on after a while; polling goes on (R6, 1)."""
        self._failures += 1
        self._say(str(error) or repr(error), self._failures, error)
        if work.epoch == self._epoch:
            for partition in work.partitions:
                self._waiting.pop(partition, None)
            work.member.pause(work.partitions)
            work.member.seek({span.partition: span.first for span in work.spans})
        await _rest(back_off(self._failures), self._stopping)
        if work.epoch == self._epoch:
            work.member.resume(work.partitions)

    # ------------------------------------------------------------------------------------------ rebalancing and offsets

    async def _on_revoked(self) -> None:
        """A new epoch. No commit in here (AK-3); what runs may finish, so that the next owner need not wait for its rows."""
        if self._committing is not None:
            self._committing.cancel()
        self._forget()
        await self._drain()

    async def _on_assigned(self, assigned: frozenset[Partition]) -> None:
        self._forget()
        self.partitions = {partition: PartitionState() for partition in sorted(assigned)}
        self._noted = {p: note for p in assigned if (note := self._notes.read(p)) is not None}
        self._settled.set()
        if self._noted:
            log.warning("handled one message at a time, because a handler did not return: %s", ", ".join(map(str, self._noted)))

    def _forget(self) -> None:
        """What is held belongs to an epoch that is over: it comes again, from the last committed offset, here or elsewhere."""
        self._epoch += 1
        for held in (self._waiting, self._handled, self._committed, self._noted, self.partitions):
            held.clear()
        self._progress.forget()
        self._settled.clear()
        self._moved.set()

    def _uncommitted(self) -> dict[Partition, int]:
        return {p: offset for p, offset in self._handled.items() if self._committed.get(p) != offset}

    async def _commit_now_and_then(self, member: GroupConsumer) -> None:
        """At most one commit under way; a rebalance cancels it, or aiokafka would repeat it in the next generation (AK-2)."""
        while True:
            await self._to_commit.wait()
            self._to_commit.clear()
            epoch, offsets = self._epoch, self._uncommitted()
            if offsets:
                self._committing = asyncio.create_task(member.commit(offsets, self.patience.commit))
                await asyncio.wait({self._committing})
                done = not self._committing.cancelled() and self._committing.result()
                self._committing = None
                await afp("cons.after_offset")
                if epoch == self._epoch and done:
                    self._committed |= offsets
                elif epoch == self._epoch:
                    self._to_commit.set()
                    await asyncio.sleep(1.0)
            await asyncio.sleep(self.patience.commit_every)

    # ---------------------------------------------------------------------------------------------------------- watching

    def _at_hand(self) -> list[Span]:
        """Asked by the watching thread while the loop stands still."""
        return [span for work in list(self._running.values()) for span in work.spans]

    async def _look_around(self, member: GroupConsumer) -> None:
        await self._compare_with_history(member)
        while not self._broken:
            await asyncio.sleep(self.patience.look_every)
            self._must_end_some_time()
            try:
                await self._look(member)
            except Unavailable as error:
                self._progress.forget()
                self._say(str(error), 1, error)

    async def _look(self, member: GroupConsumer) -> None:
        assigned = member.assigned()
        ends = await member.end_offsets(assigned, self.patience.commit)
        self._progress.tell_lost(self._handled, await member.beginning_offsets(assigned, self.patience.commit))
        busy = {partition for work in self._running.values() for partition in work.partitions}
        for partition, state in self.partitions.items():
            if partition in ends:
                waiting, position = self._waiting.get(partition), member.position(partition)
                excused = partition in busy or bool(waiting) or self._is_full()
                state.end, state.handled = ends[partition], self._handled.get(partition, position)
                state.silent = self._progress.look(partition, position, ends[partition], excused=excused)
                state.oldest = max(0.0, now().timestamp() - waiting[0].timestamp / 1000) if waiting else 0.0
        silent = [str(p) for p, state in self.partitions.items() if state.silent >= self.patience.unmoved]
        if dead := member.dead():
            self._break(dead)
        elif silent:
            self._break(f"lag, and no move for {self.patience.unmoved:g} s: {', '.join(silent[:5])}")

    async def _compare_with_history(self, member: GroupConsumer) -> None:
        """At the start: has anything been deleted since the group's last commit? (AK-19)"""
        with contextlib.suppress(Unavailable):
            await self._settled.wait()
            assigned = member.assigned()
            self._progress.tell_lost(await member.committed(assigned), await member.beginning_offsets(assigned))

    def _must_end_some_time(self) -> None:
        """A batch that awaits for ever would keep its partitions for ever, with everything else looking well."""
        for work in self._running.values():
            if monotonic() - work.began > self.patience.batch:
                self._rebuilt.extend([monotonic()] * self.patience.rebuilds)
                self._break(f"a batch does not end after {self.patience.batch:g} s: {work.spans[:5]}")

    def _say(self, text: str, times: int, error: Exception) -> None:
        """Once per kind of trouble, and again now and then."""
        if self.last_error != text or times % 20 == 0:
            log.error("%s waits (%d tries): %s", self.group, times, text, exc_info=not isinstance(error, Unavailable))
        self.last_error = text


async def _rest(seconds: float, until: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until.wait()


async def _ended(tasks: Sequence[asyncio.Task[None]]) -> None:
    """Cancels them: none is ever inside a transaction or a poll."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _log_all_tasks() -> None:
    for task in asyncio.all_tasks():
        where = " < ".join(f"{frame.f_code.co_filename}:{frame.f_lineno}" for frame in reversed(task.get_stack(limit=4)))
        log.error("task %s: %s", task.get_name(), where)


# ------------------------------------------------------------------------------------------------------------ of a service


def topics_of(service: Service) -> frozenset[str]:
    """What a service hears: the topics of its subscriptions and of its replicas."""
    heard = {subscription.contract.topic for subscription in service.subscriptions}
    return frozenset(heard | {contract.topic for replica in service.replicas for contract in replica.hears})


def consumer_of(kit: Kit, cluster: Cluster, state_folder: Path, patience: Patience | None = None) -> Consumer:
    """The one group that a service runs, named like it. The state folder is where notes survive the process."""
    name = kit.service.name

    async def handle(records: Sequence[KafkaRecord]) -> None:
        batch = MessageBatch(name, records)
        if batch.is_for(kit.prepared):
            await handle_batch(kit, batch)

    async def park(record: KafkaRecord) -> None:
        await park_unread(kit, name, record)

    return Consumer(cluster, name, topics_of(kit.service), handle, park, state_folder, patience or Patience())
