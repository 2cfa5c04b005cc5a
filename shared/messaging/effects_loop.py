"""Effects outside the database, in three steps that are never merged: claim, perform, record; then tell (C.15, R10).

No transaction is open while the world is asked. Between its answer and our record there is always a window: a claim
whose owner died in it becomes 'unknown', and the kind's policy decides whether to do it again or to ask a person."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import orjson
import structlog

from shared.es.aggregate import Json
from shared.es.errors import Conflict, Unavailable
from shared.es.recorded import Context
from shared.es.view import Row
from shared.messaging.batch import Batch, Item, Result, handle_batch
from shared.messaging.effects import Claimed, EffectKind, Performed
from shared.messaging.relay import back_off
from shared.runtime import metrics
from shared.runtime.clock import monotonic
from shared.runtime.database import Tx
from shared.runtime.statements import load_sql

if TYPE_CHECKING:
    from shared.runtime.service import Kit

log = structlog.get_logger(__name__)

IDLE, NEXT = timedelta(milliseconds=500), timedelta(milliseconds=5)
TELL_AGAIN = timedelta(minutes=1)
REPEAT = timedelta(seconds=15)
MOST_UNANSWERED = 20
"""So often in a row an effect that is safe to repeat may end without an answer; then it is given up and this is told."""


@dataclass(frozen=True, slots=True)
class Agenda:
    """What there is to do now."""

    claim: bool
    expire: bool
    tell: bool


class Effects:
    """The statements. One object per process: `owner` is new at every start."""

    def __init__(self, kit: Kit, owner: str) -> None:
        self._database, self._owner = kit.database, owner

    async def agenda(self, kind: EffectKind) -> Agenda:
        """One round trip, because every kind looks twice a second: what another process asked for wakes nobody here."""
        async with self._database.raw() as raw:
            row = (await raw.fetch(load_sql("messaging", f"effects_look{_which(kind)}"), kind.name))[0]
        now = self._database.clock(row["now"])
        rehearsed = kind.by_tenants_clock and row["rehearsed"]
        claim, expire, tell = (row[name] is not None and row[name] <= now for name in ("queued", "sending", "untold"))
        return Agenda(claim or rehearsed, expire, tell)

    async def claim(self, kind: EffectKind, most: int) -> Sequence[Claimed]:
        """Take what is due and free, in a transaction of its own. An effect of an unknown or suspended tenant waits."""
        async with self._database.transaction() as tx:
            claim = load_sql("messaging", f"effects_claim{_which(kind)}")
            rows = await tx.raw.fetch(claim, self._owner, tx.now, kind.lease, kind.name, most)
        return [
            Claimed(r["tenant"], r["kind"], r["key"], r["stream"], r["request"], r["attempt"], r["fence"], r["rehearsal"], r["earlier"])
            for r in rows
        ]

    async def record(self, kind: EffectKind, claimed: Claimed, performed: Performed) -> bool:
        """Note the outcome under the fence. False: the fence has moved on, somebody else has it."""
        if performed.state == "unknown" and kind.unknown == "again":
            return await self._record_unanswered(kind, claimed, performed)
        async with self._database.transaction() as tx:
            state, again_at = _next_state(performed, tx.now)
            key = await tx.raw.fetchval(
                load_sql("messaging", "effects_record"),
                claimed.tenant,
                claimed.kind,
                claimed.key,
                claimed.fence,
                state,
                orjson.dumps(performed.outcome, default=str).decode(),
                again_at,
                tx.now,
            )
        return key is not None

    async def _record_unanswered(self, kind: EffectKind, claimed: Claimed, performed: Performed) -> bool:
        again, last = (orjson.dumps(outcome, default=str).decode() for outcome in (performed.outcome, _given_up(performed.outcome)))
        c = claimed
        async with self._database.transaction() as tx:
            state = await tx.raw.fetchval(
                load_sql("messaging", "effects_unanswered"),
                c.tenant,
                c.kind,
                c.key,
                c.fence,
                again,
                tx.now + REPEAT,
                MOST_UNANSWERED,
                tx.now,
                last,
                kind.given_up,
            )
        if state == kind.given_up:
            log.error("effect.given_up", kind=c.kind, key=c.key, tenant_id=str(c.tenant), tries=MOST_UNANSWERED)
        return state is not None

    async def expire(self, kind: EffectKind) -> int:
        """Claims whose owner died or stopped: queued again (not without end), or held as unknown, as the kind says."""
        again = "queued" if kind.unknown == "again" else "unknown"
        last = orjson.dumps(_given_up({"error": "the sender stopped between doing and recording"})).decode()
        async with self._database.transaction() as tx:
            rows = await tx.raw.fetch(
                load_sql("messaging", "effects_expire"), kind.name, tx.now, again, MOST_UNANSWERED, last, kind.given_up
            )
        return len(rows)


def _which(kind: EffectKind) -> str:
    return "_by_clock" if kind.by_tenants_clock else ""


def _next_state(performed: Performed, now: datetime) -> tuple[str, datetime | None]:
    """What failed for now is queued again."""
    again_at = performed.again_at or (performed.again_after and now + performed.again_after)
    if performed.state == "failed" and again_at:
        return "queued", again_at
    return performed.state, None


def _given_up(outcome: Json) -> Json:
    """The outcome that is told when nothing ever answered: it says that the thing may have happened all the same."""
    error = str(outcome.get("error") or outcome.get("detail") or "no reason was given")
    detail = f"There was no answer {MOST_UNANSWERED} times in a row; it may have happened all the same. The last time: {error}"
    return {**outcome, "code": "no_answer", "detail": detail[:700]}


class EffectLoop:
    """Performs one kind of effect, `at_once` side by side, and tells what came of it."""

    def __init__(self, kit: Kit, kind: EffectKind, owner: str) -> None:
        self.name = f"effects {kind.name}"
        self._kit, self._kind = kit, kind
        self._effects = Effects(kit, owner)

    async def step(self) -> timedelta:
        agenda = await self._effects.agenda(self._kind)
        expired = await self._effects.expire(self._kind) if agenda.expire else 0
        claimed = await self._effects.claim(self._kind, self._kind.at_once) if agenda.claim or expired else ()
        await self._carry_out_all(claimed)
        if claimed or expired or agenda.tell:
            told = await handle_batch(self._kit, EffectOutcomes(self._kind))
            return NEXT if expired or claimed or told.results else IDLE
        return IDLE

    async def _carry_out_all(self, claimed: Sequence[Claimed]) -> None:
        """Raises what the first of them raised, once all have ended."""
        ended = await asyncio.gather(*(self._carry_out(c) for c in claimed), return_exceptions=True)
        for error in ended:
            if error is not None:
                raise error

    async def _carry_out(self, claimed: Claimed) -> None:
        claim_ends = monotonic() + self._kind.lease.total_seconds()
        performed = await self._perform(claimed)
        if not await self._recorded(claimed, performed, claim_ends):
            log.warning("effect.fence_moved_on", kind=claimed.kind, key=claimed.key, tenant_id=str(claimed.tenant))
        metrics.effect(claimed.kind, performed.state)

    async def _recorded(self, claimed: Claimed, performed: Performed, claim_ends: float) -> bool:
        """The world has answered, and a database that is away for a moment is no reason to forget it: a mail would go twice.

        Tried until the claim ends; from then on it is somebody else's. Raises what the last attempt raised."""
        failures = 0
        while True:
            try:
                return await self._effects.record(self._kind, claimed, performed)
            except (Unavailable, Conflict):
                failures += 1
                pause = back_off(failures)
                if monotonic() + pause > claim_ends:
                    raise
            await asyncio.sleep(pause)

    async def _perform(self, claimed: Claimed) -> Performed:
        perform = self._kind.rehearse if claimed.rehearsal else self._kind.perform
        try:
            async with asyncio.timeout(self._kind.lease.total_seconds() * 0.8):
                return await perform(claimed)
        except Exception as error:
            log.exception("effect.failed", kind=claimed.kind, key=claimed.key, tenant_id=str(claimed.tenant))
            return Performed("unknown", {"error": f"{type(error).__name__}: {error}"[:500]})


class EffectOutcomes:
    """The door through which outcomes are told to the aggregates that asked."""

    def __init__(self, kind: EffectKind, most: int = 100) -> None:
        self._kind, self._most = kind, most

    @property
    def consumer(self) -> str:
        return "effects"

    @cached_property
    def _claimed(self) -> list[tuple[Item, Row]]:
        return []

    async def claim(self, kit: Kit, tx: Tx) -> Sequence[Item]:
        rows = await tx.raw.fetch(load_sql("messaging", "effects_untold"), self._kind.name, self._most, tx.now)
        self._claimed[:] = [(self._item(row), row) for row in rows]
        return [item for item, _ in self._claimed]

    def _item(self, row: Row) -> Item:
        claimed = Claimed(
            row["tenant"], row["kind"], row["key"], row["stream"], row["request"], row["attempt"], row["fence"], False, row["earlier"]
        )
        c: dict[str, Any] = row["context"]
        context = Context(row["tenant"], c["correlation_id"], c["causation_id"], c["hops"], c["actor"], c["traceparent"])
        told = self._kind.tell(claimed, Performed(row["state"], row["outcome"]))
        addressed = told if isinstance(told, tuple) else (told,)
        id = f"{row['kind']}/{row['key']}/{row['fence']}/{row['state']}"
        at = c.get("at")
        moment = None if at is None else datetime.fromisoformat(at)
        return Item(id, "effects", f"{row['tenant']}/{row['stream']}", context, addressed, at=moment)

    async def settle(self, kit: Kit, tx: Tx, results: Sequence[Result]) -> Sequence[Result]:
        by_item = {id(r.item): r for r in results}
        told = [row for item, row in self._claimed if by_item[id(item)].outcome in ("handled", "refused", "repeated")]
        failed = [row for item, row in self._claimed if by_item[id(item)].outcome == "parked"]
        for rows, told_at, due_at in ((told, tx.now, None), (failed, None, tx.now + TELL_AGAIN)):
            await _mark(tx, rows, told_at, due_at)
        for result in results:
            if result.outcome == "parked":
                log.error("effect.not_told", key=result.item.id, error=str(result.error), tenant_id=str(result.item.context.tenant))
        return results

    def halves(self) -> Sequence[Batch]:
        return [EffectOutcomes(self._kind, 1) for _ in self._claimed] if len(self._claimed) > 1 else []

    def waiting(self, results: Sequence[Result]) -> Batch | None:
        return EffectOutcomes(self._kind, self._most) if any(r.outcome == "waits" for r in results) else None


async def _mark(tx: Tx, rows: Sequence[Row], told_at: Any, due_at: Any) -> None:
    if rows:
        await tx.raw.execute(
            load_sql("messaging", "effects_told"),
            [row["tenant"] for row in rows],
            [row["kind"] for row in rows],
            [row["key"] for row in rows],
            told_at,
            due_at,
        )
