"""One service on a real database: messages handed to it as its consumer would, its HTTP door, its loops, its clock set by hand.

What it would publish is read from its outbox. Nothing here stands in for Kafka: what involves the broker is tested on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import orjson
from pydantic import SecretStr

from shared.contracts import deals, scheduler
from shared.es.recorded import Context
from shared.http.app import build_app
from shared.http.auth import format_key, hmac_of, new_secret
from shared.messaging.batch import BatchResult, handle_batch
from shared.messaging.contract import Contract
from shared.messaging.effects_loop import EffectLoop
from shared.messaging.envelope import Envelope, instant, to_kafka, unpack
from shared.messaging.handling import prepare
from shared.messaging.inbox import MessageBatch
from shared.messaging.records import KafkaRecord
from shared.runtime import clock
from shared.runtime.database import Database
from shared.runtime.service import Kit, Loop, Service
from shared.runtime.settings import Settings
from shared.testing.world import Databases

PEPPER = "a pepper of these tests, long enough"
ORIGIN: dict[str, Any] = {"kind": "rule", "id": "00000000-0000-4000-8000-00000000ffff"}


@dataclass(frozen=True, slots=True)
class Said:
    """A message in the outbox."""

    type: str
    key: str
    id: str
    subject: str
    correlation_id: str
    body: dict[str, Any]
    time: str = ""

    @property
    def name(self) -> str:
        return self.type.split(".")[1]


@dataclass(eq=False)
class House:
    """`now` is what its database believes the time to be."""

    kit: Kit
    now: datetime
    tenant: UUID
    app: Any = None
    loops: list[Loop] = field(default_factory=list)
    _offset: int = 0
    _sequence: int = 0
    _results: int = 0

    # ---- messages

    def record(self, contract: Contract, *, id: str = "", subject: str = "", actor: str = "system", sequence: int = 0) -> KafkaRecord:
        self._offset += 1
        self._sequence += 1
        id = id or str(uuid4())
        source = f"urn:dealwright:{contract.type.split('.')[0] if contract.topic.endswith('.events') else 'automation'}"
        context = Context(self.tenant, id, id, actor=actor)
        envelope = Envelope(
            id,
            source,
            contract.type,
            subject or f"thing/{contract.partition_key()}",
            contract.partition_key(),
            self.now,
            sequence or self._sequence,
            context,
            contract.model_dump_json().encode(),
        )
        return KafkaRecord(contract.topic, 0, self._offset, 0, *_reordered(to_kafka(envelope)))

    async def hear(self, *messages: Contract | KafkaRecord, size: int = 500) -> BatchResult:
        """Hands them over in batches of at most `size`. Raises AssertionError when one is parked."""
        records = [m if isinstance(m, KafkaRecord) else self.record(m) for m in messages]
        total = BatchResult()
        for start in range(0, len(records), size):
            total += await handle_batch(self.kit, MessageBatch(self.kit.service.name, records[start : start + size]))
        parked = [result.error for result in total.results if result.outcome == "parked"]
        assert not parked, parked
        return total

    async def said(self, *names: str) -> list[Said]:
        """What waits in the outbox, in order; of these names only, if any are given."""
        async with self.kit.database.raw() as raw:
            rows = await raw.fetch("select key, headers, value from outbox order by position")
        found = [_said(row) for row in rows]
        return [message for message in found if not names or message.name in names]

    async def one(self, name: str) -> dict[str, Any]:
        """The body of the only message of this name."""
        messages = await self.said(name)
        assert len(messages) == 1, [message.name for message in await self.said()]
        return messages[0].body

    async def forget(self) -> None:
        """As if the relay had sent everything."""
        async with self.kit.database.raw() as raw:
            await raw.execute("delete from outbox")

    # ---- time

    async def tick(self, delta: timedelta = timedelta()) -> None:
        """Moves the clock, then lets the loops do what is due."""
        self.now += delta
        for _ in range(200):
            before = self._results
            sleeps = [await loop.step() for loop in self.loops]
            if self._results == before and all(sleep > timedelta() for sleep in sleeps):
                return
        raise AssertionError("the loops never come to rest")

    async def clock_moved(self, to: datetime) -> None:
        """What scheduler says when it has moved the clock of this rehearsal."""
        moved = scheduler.RehearsalClockMoved(origin=origin(), tenant_id=str(self.tenant), stands_at=instant(to), heading_for=instant(to))
        await self.hear(self.record(moved, subject=f"rehearsal/{self.tenant}"))

    def note(self, done: BatchResult) -> None:
        self._results += len(done.results)

    # ---- HTTP

    async def key(self, *scopes: str, actor: str = "user:" + "a" * 8 + "-0000-4000-8000-000000000001") -> str:
        """A new API key with these scopes, issued by deals."""
        id, secret = str(uuid4()), new_secret()
        issued = deals.CredentialIssued(
            origin=origin(), credential_id=id, tenant_id=str(self.tenant), hmac=hmac_of(secret, PEPPER), scopes=scopes, actor=actor
        )
        await self.hear(self.record(issued, subject=f"credential/{id}"))
        return format_key("dev", id, secret)

    def client(self, key: str | None = None) -> httpx.AsyncClient:
        """Signed in; every POST that brings no Idempotency-Key gets one of its own."""

        async def keyed(request: httpx.Request) -> None:
            if request.method == "POST":
                request.headers.setdefault("Idempotency-Key", str(uuid4()))

        transport = httpx.ASGITransport(self.app, client=("127.0.0.1", 1))
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(transport=transport, base_url="http://house", headers=headers, event_hooks={"request": [keyed]})

    async def rows(self, query: str, *args: object) -> list[dict[str, Any]]:
        async with self.kit.database.raw() as raw:
            return [dict(row) for row in await raw.fetch(query, *args)]


def _reordered(parts: tuple[bytes, Any, bytes]) -> tuple[bytes, bytes, Any]:
    key, headers, value = parts
    return key, value, headers


def _said(row: Any) -> Said:
    headers = {name: content.decode() for name, content in unpack(row["headers"])}
    return Said(
        headers["ce_type"],
        row["key"],
        headers["ce_id"],
        headers["ce_subject"],
        headers["ce_correlationid"],
        orjson.loads(row["value"]),
        headers["ce_time"],
    )


def origin(**own: Any) -> Any:
    from shared.contracts.common import Origin

    return Origin(**(ORIGIN | own))


@asynccontextmanager
async def a_house(stack: Databases, service: Service, now: datetime, *, rehearsal: bool = False) -> AsyncIterator[House]:
    """With a database of its own and a tenant that deals has registered."""
    url = await stack.migrated_database(service)
    database = Database(url, service.name, pool=4)
    tenant = uuid4()
    house = House(Kit(service, database, prepare(service), lambda done: house.note(done)), now, tenant)
    database.clock = lambda primary: house.now
    settings = Settings(database_url=SecretStr(url), kafka_bootstrap_servers="127.0.0.1:1", pepper=SecretStr(PEPPER))
    house.app = build_app(house.kit, settings)
    effects: Sequence[Loop] = [EffectLoop(house.kit, kind, "house") for kind in service.effects]
    house.loops = [*(make(house.kit) for make in service.loops), *effects]
    with clock.told_by(lambda: house.now):
        await house.hear(house.record(registered(tenant, rehearsal=rehearsal), subject=f"tenant/{tenant}"))
        await house.forget()
        try:
            yield house
        finally:
            await house.app.state.rooms.commands.drain()
            await database.close()


def registered(tenant: UUID, *, rehearsal: bool = False) -> deals.TenantRegistered:
    return deals.TenantRegistered(
        origin=origin(), tenant_id=str(tenant), name="Acme", language="de", zone="Europe/Berlin", rehearsal=rehearsal
    )


def employee(id: str, name: str, **own: Any) -> deals.EmployeeAdded:
    fields: dict[str, Any] = {
        "code": name.lower(),
        "email": f"{name.lower()}@acme.test",
        "zone": "Europe/Berlin",
        "language": "de",
        "roles": (),
        "active": True,
    }
    return deals.EmployeeAdded(origin=origin(), employee_id=id, name=name, **(fields | own))


def at(moment: datetime) -> str:
    return instant(moment)


async def together(*waiting: Any) -> list[Any]:
    return list(await asyncio.gather(*waiting))
