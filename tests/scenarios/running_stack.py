"""The place that is nearest to production: all five processes, real Kafka and PostgreSQL, a real mail server. Each tenant is a
rehearsal with a clock of its own, so many may be open at once, and 180 days are a call."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import formataddr
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest
from confluent_kafka import Producer

from examples.story.scene import Addresses, addresses_of
from shared.http.auth import SCOPES
from shared.messaging.envelope import instant
from shared.runtime import clock
from shared.runtime.clock import monotonic
from tests.chaos.topics import QUIET, SPOKEN, Record, read_all
from tests.flow.town import SERVICES, WEBHOOK_SECRET
from tests.kit.stacks import Embedded, embedded
from tests.scenarios.lag import Lag
from tests.scenarios.place import Mail, Said, Tenancy

ALL = sorted(SCOPES - {"admin:tenants"})
NAMES = tuple(service.name for service in SERVICES)
WITHIN = 60.0


@dataclass(eq=False)
class RunningStack:
    """`keys` of the tenants that were opened, by tenant; `operator` moves in all of them."""

    stack: Embedded
    addresses: Addresses
    lag: Lag
    webhook_secret: str = WEBHOOK_SECRET
    keys: dict[str, str] = field(default_factory=dict)
    _clocks: dict[str, datetime] = field(default_factory=dict)
    _doors: dict[tuple[str, str], httpx.AsyncClient] = field(default_factory=dict)

    # ---- tenants

    async def open(self, now: datetime) -> Tenancy:
        """A new rehearsal, that begins at `now`."""
        operator = self.addresses.key
        body = {"name": "acme", "language": "de", "zone": "Europe/Berlin", "rehearsal": True}
        tenant = str((await self._put("deals", "/v1/tenants", body, operator))["id"])
        wanted = {"scopes": ALL, "actor": "key:ground", "tenant_id": tenant}
        key = self.keys[tenant] = str((await self._put("deals", "/v1/credentials", wanted, operator))["key"])
        await self.settle()
        await self.advance(tenant, now)
        return Tenancy(tenant, key)

    async def close(self, tenant: str) -> None:
        await self._put("deals", f"/v1/tenants/{tenant}/suspensions", {}, self.addresses.key)

    def door(self, service: str, key: str) -> httpx.AsyncClient:
        async def keyed(request: httpx.Request) -> None:
            if request.method == "POST":
                request.headers.setdefault("Idempotency-Key", str(uuid4()))

        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return httpx.AsyncClient(base_url=self.addresses.url(service), headers=headers, timeout=30, event_hooks={"request": [keyed]})

    def _door(self, service: str, key: str) -> httpx.AsyncClient:
        return self._doors.setdefault((service, key), self.door(service, key))

    async def _put(self, service: str, path: str, body: Any, key: str) -> Any:
        answer = await self._door(service, key).post(path, json=body)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    # ---- time

    def now(self, tenant: str) -> datetime:
        return self._clocks[tenant]

    def outside_now(self) -> datetime:
        return clock.now()

    async def advance(self, tenant: str, to: datetime) -> None:
        """From stop to stop: what rings at one, and all that it causes, has happened before the clock goes on to the next."""
        arrived = False
        while not arrived:
            await self.settle()
            path, key = f"/v1/rehearsals/{tenant}/clock", self.keys[tenant]
            arrived = (await self._put("scheduler", path, {"to": instant(to)}, key))["arrived"]
        self._clocks[tenant] = to
        await self.settle()

    async def settle(self) -> None:
        """Two looks at all services that found nothing under way and the same numbers; nothing lay on a topic in between."""
        deadline = monotonic() + WITHIN
        before = await self._look()
        while True:
            lag = await asyncio.to_thread(self.lag.now)
            after = await self._look()
            if before == after and all(look["at_rest"] for look in after) and not lag:
                return
            assert monotonic() < deadline, f"never at rest: {[look for look in after if not look['at_rest']]}, lag {lag}"
            before = after
            await asyncio.sleep(0.02)

    async def _look(self) -> list[Any]:
        doors = [self._door(name, self.addresses.key) for name in NAMES]
        answers = await asyncio.gather(*(door.get("/ops/rest") for door in doors))
        assert all(answer.is_success for answer in answers), [answer.text for answer in answers]
        return [answer.json() for answer in answers]

    # ---- seen from outside

    async def said(self, tenant: str) -> Sequence[Said]:
        """Without the moves of the clock: they are how this place makes time pass."""
        await self.settle()
        records = await asyncio.to_thread(read_all, self.addresses.bootstrap)
        mine = [record for record in records if record.tenant == tenant and record.name != "scheduler.RehearsalClockMoved"]
        return [_said(record) for record in sorted(mine, key=_order)]

    async def say(self, tenant: str, topic: str, key: str, type: str, body: dict[str, Any]) -> None:
        event: dict[str, Any] = {"specversion": "1.0", "id": str(uuid4()), "source": "urn:elsewhere", "type": type, "tenantid": tenant}
        event |= {"datacontenttype": "application/json", "data": body}
        producer = Producer({"bootstrap.servers": self.addresses.bootstrap, "acks": "all", **QUIET})
        headers: list[tuple[str, str | bytes | None]] = [("content-type", b"application/cloudevents+json; charset=utf-8")]
        producer.produce(topic, key=key.encode(), value=orjson.dumps(event), headers=headers)
        assert await asyncio.to_thread(producer.flush, WITHIN) == 0

    async def mails(self, tenant: str) -> Sequence[Mail]:
        """What a rehearsal sends lies in the sandbox's mailbox."""
        door = self._door("notifications", self.keys[tenant])
        listed = (await door.get("/v1/mailbox", params={"limit": 200, "sort": "sent_at"})).json()["items"]
        shown = [(await door.get(f"/v1/mailbox/{mail['id']}")).json() for mail in listed if mail["channel"] != "sms"]
        return [_mail(mail) for mail in sorted(shown, key=_when)]

    async def outside(self) -> list[Any]:
        """What has reached the real mail server."""
        async with httpx.AsyncClient(base_url=self.addresses.url("mailbox")) as mailbox:
            return list((await mailbox.get("/mails")).json()["items"])

    def disturb(self, how: str, seed: int) -> None:
        assert how == "plain", "processes are disturbed by tests/chaos"

    async def leave(self) -> None:
        for door in self._doors.values():
            await door.aclose()


def _when(m: Any) -> tuple[str, int]:
    """On a clock that stands still, what is sent about one appointment is told apart by its number alone."""
    number = re.search(r"SEQUENCE:(\d+)", m["calendar"] or "")
    return m["sent_at"], int(number[1]) if number else 0


def _mail(m: Any) -> Mail:
    to = formataddr((m["name"], m["to"])) if m["name"] else m["to"]
    return Mail(to, m["subject"] or "", m["body_text"], m["calendar"] or "", tuple(m["attachments"]))


def _order(record: Record) -> tuple[float, int]:
    return (record.published, record.offset)


def _said(record: Record) -> Said:
    chain = (record.correlation, record.causation, dict(record.headers)["ce_time"].decode())
    actor = dict(record.headers).get("ce_actor", b"").decode()
    return Said(record.name, record.id, record.key.decode(), record.subject, actor, *chain, orjson.loads(record.value or b"{}"))


@asynccontextmanager
async def running_stack(folder: Path, **settings: str) -> AsyncIterator[RunningStack]:
    """A stack of its own on free ports, with more settings of the services; it ends with the block."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {"DEALWRIGHT_BILLING__WEBHOOK_SECRETS": WEBHOOK_SECRET, **settings}.items():
            patch.setenv(name, value)
        stack = embedded(folder)
        try:
            await asyncio.to_thread(stack.up)
            addresses = addresses_of(folder)
            place = RunningStack(stack, addresses, Lag(addresses.bootstrap, SERVICES, SPOKEN))
            yield place
            with suppress(httpx.HTTPError):
                await place.leave()
        finally:
            await asyncio.to_thread(stack.run, "down")
