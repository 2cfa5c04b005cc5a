"""The place of everyday tests: all five services in a World, with a real SMTP server. One World serves many tenants, one after another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest

from shared.http.auth import SCOPES
from shared.messaging.records import KafkaRecord
from shared.messaging.republish import republish
from shared.testing.world import Databases
from tests.flow.town import PAY, WEBHOOK_SECRET, Town, a_door, a_town
from tests.scenarios.place import Mail, Said, Tenancy
from tests.service.notifications.postoffice import text_of

ALL = sorted(SCOPES - {"admin:tenants"})


@dataclass(eq=False)
class OneProcess:
    town: Town
    webhook_secret: str = WEBHOOK_SECRET
    _said_before: int = 0
    _mailed_before: int = 0
    _said: list[tuple[str, Said]] = field(default_factory=list)

    async def open(self, now: datetime) -> Tenancy:
        """The clock of this World goes back to `now`; of the tenants before nothing is left that could happen (`close`)."""
        world = self.town.world
        world.now, self._said_before, self._mailed_before = now, len(world.said), len(self.town.post.mails)
        self._said.clear()
        tenant = await self.town.put("deals", "/v1/tenants", {"name": "acme", "language": "de", "zone": "Europe/Berlin"})
        wanted = {"scopes": ALL, "actor": "key:ground", "tenant_id": tenant["id"]}
        key = await self.town.put("deals", "/v1/credentials", wanted)
        await world.settle()
        return Tenancy(str(tenant["id"]), str(key["key"]))

    async def close(self, tenant: str) -> None:
        self.town.world.calm()
        await self.town.put("deals", f"/v1/tenants/{tenant}/suspensions", {})
        await self.town.world.settle()

    def door(self, service: str, key: str) -> httpx.AsyncClient:
        return a_door(self.town.apps[service], PAY if service == "billing" else "http://town.test", key)

    async def settle(self) -> None:
        await self.town.world.settle()

    def now(self, tenant: str) -> datetime:
        return self.town.world.now

    def outside_now(self) -> datetime:
        return self.town.world.now

    async def advance(self, tenant: str, to: datetime) -> None:
        await self.town.world.settle()
        await self.town.world.tick(to - self.town.world.now)

    async def without(self, service: str, tenant: str, until: datetime) -> None:
        """As `advance`, but this service is away the whole time and comes back at its end."""
        world = self.town.world
        absent = world.inhabitants.pop(service)
        await self.advance(tenant, until)
        world.inhabitants[service] = absent
        await world.settle()

    async def restart(self) -> None:
        """Every service is stopped and started."""
        await self.town.world.restart()

    async def republish(self) -> None:
        """Every service says everything again that it has ever said."""
        for inhabitant in self.town.world.inhabitants.values():
            await republish(inhabitant.kit)
        await self.town.world.settle()

    async def said(self, tenant: str) -> Sequence[Said]:
        known = self._said_before + len(self._said)
        self._said += [said_in(record) for record in self.town.world.said[known:]]
        return [said for owner, said in self._said if owner == tenant]

    async def say(self, tenant: str, topic: str, key: str, type: str, body: dict[str, Any]) -> None:
        event: dict[str, Any] = {"specversion": "1.0", "id": str(uuid4()), "source": "urn:elsewhere", "type": type, "tenantid": tenant}
        event |= {"datacontenttype": "application/json", "data": body}
        headers = [("content-type", b"application/cloudevents+json; charset=utf-8")]
        self.town.world.say(topic, key.encode(), headers, orjson.dumps(event))

    async def mails(self, tenant: str) -> Sequence[Mail]:
        return [read(mail) for mail in self.town.post.mails[self._mailed_before :]]

    def disturb(self, how: str, seed: int) -> None:
        world = self.town.world
        world.calm()
        match how:
            case "three times":
                world.duplicate(3)
            case "reordered":
                world.reorder(seed)
            case "killed":
                world.kill(seed)
            case _:
                assert how == "plain"


def said_in(record: KafkaRecord) -> tuple[str, Said]:
    """With the tenant that it belongs to, empty for what is no envelope of ours."""
    head = {name: content.decode() for name, content in record.headers if name.startswith("ce_")}
    if record.topic.endswith(".dlq") or "ce_type" not in head:
        return "", Said("", "", "", "", "", "", "", "", {})
    ids = (head["ce_id"], (record.key or b"").decode(), head.get("ce_subject", ""), head.get("ce_actor", ""))
    chain = (head.get("ce_correlationid", ""), head.get("ce_causationid", ""), head.get("ce_time", ""))
    return head["ce_tenantid"], Said(head["ce_type"].rsplit(".", 1)[0], *ids, *chain, orjson.loads(record.value or b"{}"))


def read(mail: Any) -> Mail:
    """Of an EmailMessage as the post office has it."""
    calendar = [str(part.get_content()) for part in mail.walk() if part.get_content_type() == "text/calendar"]
    files = [str(part.get_filename()) for part in mail.iter_attachments() if part.get_content_type() != "text/calendar"]
    return Mail(str(mail["to"]), str(mail["subject"]), text_of(mail), calendar[0] if calendar else "", tuple(files))


@asynccontextmanager
async def one_process(databases: Databases, folder: Path) -> AsyncIterator[OneProcess]:
    with pytest.MonkeyPatch.context() as patch:
        async with a_town(databases, folder, patch) as town:
            yield OneProcess(town)
