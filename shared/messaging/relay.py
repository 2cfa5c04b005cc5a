"""The relay moves outbox rows to Kafka: read the first ones, send them, delete what was acknowledged (C.6, R2).

Nothing is lost: a row goes only after its acknowledgement, and a row committed late with a smaller position is simply
found the next time, because no number is followed. Order per stream holds: version n+1 was appended by a transaction
that had read version n, so its position is larger, and it is sent when n is acknowledged or right behind it in the same
batch. Two relays at once (a lease that changed hands under a stopped process) make duplicates, never disorder of first
occurrences: each begins at or before the first unacknowledged row. The lease saves work; correctness does not need it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from itertools import compress

from shared.es.errors import Unavailable
from shared.es.view import Row
from shared.messaging.envelope import unpack
from shared.messaging.outbox import Outgoing, Publisher
from shared.runtime.clock import new_id
from shared.runtime.database import Database, Raw
from shared.runtime.failpoints import afp
from shared.runtime.statements import load_sql

log = logging.getLogger(__name__)

RESOURCE = "relay"
KEEP_EVERY = 3.0
"""Seconds between two renewals of a lease of ten."""
COUNTED = 100_000
"""Rows of a backlog that are counted; more says nothing new."""


def back_off(failures: int, *, first: float = 0.05, longest: float = 5.0) -> float:
    """Seconds to wait after the n-th failure in a row: full jitter under a doubling limit (R6, 1)."""
    return random.uniform(0, min(longest, first * 2 ** min(failures, 16)))


class Relay:
    """One per process; of all that share a database, the holder of the lease is active.

    For health: `pending` rows and the age of the `oldest` in seconds, as of the last look (every 3 s); `last_error`, None
    while things go well; `leads`; and `published`, messages acknowledged since the start, by topic."""

    def __init__(
        self, database: Database, publisher: Publisher, *, most: int = 500, backstop: timedelta = timedelta(milliseconds=200)
    ) -> None:
        self._database, self._publisher = database, publisher
        self._most, self._backstop = most, backstop.total_seconds()
        self._me = f"relay-{new_id()}"
        self._fence: int | None = None
        self._failures = 0
        self._woken, self._stopping = asyncio.Event(), asyncio.Event()
        self.pending, self.oldest = 0, 0.0
        self.last_error: str | None = None
        self.published: Counter[str] = Counter()

    @property
    def leads(self) -> bool:
        return self._fence is not None

    def wake(self) -> None:
        """Rows have been committed. Cheap, from any callback of the event loop."""
        self._woken.set()

    def stop(self) -> None:
        """`run` sends what has been committed until now, ends, and gives the lease back."""
        self._stopping.set()
        self._woken.set()

    async def run(self) -> None:
        """Until `stop`. Infrastructure that is away is waited for, however long it takes; a bug is waited for too, loudly."""
        keeper = asyncio.create_task(self._keep_on_keeping(), name="relay.lease")
        while not self._stopping.is_set():
            try:
                async with self._database.raw() as raw:
                    await self._rounds(raw)
            except Exception as error:
                self._failures += 1
                self._say(error)
                await _rest(back_off(self._failures), self._stopping)
        await keeper
        await self._give_back()

    async def step(self) -> int:
        """One round: takes the lease if it is free, sends the first rows, deletes what was acknowledged. Returns how many.

        0: nothing to send, or somebody else leads. Raises Unavailable, with the reason, when nothing could be sent."""
        if not self.leads and not await self.keep_lease():
            return 0
        async with self._database.raw() as raw:
            return await self._round(raw)

    async def _rounds(self, raw: Raw) -> None:
        """On one connection as long as nothing goes wrong: a check-out for each round would cost another round trip."""
        while True:
            last = self._stopping.is_set()
            self._woken.clear()
            gone = await self._round(raw) if self.leads else 0
            if self.leads:
                self._failures, self.last_error = 0, None
            if gone < self._most:
                if last:
                    return
                await _rest(self._backstop, self._woken)

    async def _round(self, raw: Raw) -> int:
        rows = await raw.fetch(load_sql("messaging", "next"), self._most)
        if not rows:
            return 0
        await afp("relay.before_send")
        sent = await self._send(rows)
        await afp("relay.after_ack")
        gone = await self._delete(raw, sent)
        await afp("relay.after_delete")
        return gone

    async def keep_lease(self) -> bool:
        """Take or renew it, on the primary's clock; a look at the backlog comes with it. Raises Unavailable."""
        async with self._database.transaction() as tx:
            held = await tx.raw.fetch(load_sql("messaging", "lease"), RESOURCE, self._me, tx.now)
            backlog = (await tx.raw.fetch(load_sql("messaging", "backlog"), tx.now, COUNTED))[0]
        self._fence = held[0]["fence"] if held else None
        self.pending, self.oldest = backlog["pending"], max(0.0, backlog["oldest"])
        return self.leads

    async def _send(self, rows: Sequence[Row]) -> list[int]:
        """Positions acknowledged. No transaction is open meanwhile."""
        messages = [Outgoing(row["topic"], row["key"], unpack(row["headers"]), row["value"]) for row in rows]
        planted = await afp("relay.mid_batch")
        if planted == "partial":
            messages = messages[: len(messages) // 2]
        acknowledged = await self._publisher.send_many(messages)
        if planted == "duplicate":
            acknowledged = await self._publisher.send_many(messages)
        if not any(acknowledged):
            raise Unavailable(f"nothing of {len(rows)} rows was acknowledged; first: {rows[0]['topic']} key {rows[0]['key']}")
        self.published.update(m.topic for m in compress(messages, acknowledged))
        return [row["position"] for row in compress(rows, acknowledged)]

    async def _delete(self, raw: Raw, positions: Sequence[int]) -> int:
        gone = int((await raw.execute(load_sql("messaging", "sent"), positions, self._me, self._fence)).rpartition(" ")[2])
        if not gone:
            log.warning("the relay's lease has moved on: what was sent is sent again by its new holder")
            self._fence = None
        return gone

    async def _keep_on_keeping(self) -> None:
        while not self._stopping.is_set():
            led = self.leads
            try:
                await self.keep_lease()
                await afp("relay.lease_renew")
            except Exception as error:
                self._say(error)
            if self.leads and not led:
                log.info("this relay leads, fence %s", self._fence)
                self.wake()
            await _rest(KEEP_EVERY, self._stopping)

    async def _give_back(self) -> None:
        if self._fence is None:
            return
        with contextlib.suppress(Unavailable):
            async with self._database.transaction() as tx:
                await tx.raw.execute(load_sql("messaging", "release"), RESOURCE, self._me, self._fence, tx.now)
        self._fence = None

    def _say(self, error: Exception) -> None:
        """Once per kind of trouble, and again now and then: loudly, but not thousands of lines."""
        said = str(error) or type(error).__name__
        if self.last_error != said or self._failures % 20 == 0:
            log.error("the relay stands still (%d tries): %s", self._failures, said, exc_info=not isinstance(error, Unavailable))
        self.last_error = said


async def _rest(seconds: float, until: asyncio.Event) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await until.wait()
