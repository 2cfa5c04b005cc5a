"""All five services in a World, with a mail server, the story's people, pipelines and rules, and what a person does with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import orjson
import pytest

from examples.story import steps
from services.automation.service import SERVICE as AUTOMATION
from services.automation.settings import settings as automation_settings
from services.billing import provider
from services.billing.service import SERVICE as BILLING
from services.billing.settings import settings as billing_settings
from services.deals.service import SERVICE as DEALS
from services.deals.settings import settings as deals_settings
from services.notifications.service import SERVICE as NOTIFICATIONS
from services.notifications.settings import settings as notifications_settings
from services.scheduler.service import SERVICE as SCHEDULER
from shared.http.app import build_app
from shared.runtime.settings import settings as kit_settings
from shared.testing.world import Databases, World, a_world
from tests.service.notifications.postoffice import PostOffice, post_office, text_of

START = datetime(2026, 3, 2, 8, tzinfo=UTC)
"""A Monday, nine o'clock in Berlin."""
SERVICES = (DEALS, AUTOMATION, BILLING, SCHEDULER, NOTIFICATIONS)
PAY = "http://pay.test"
TOWN = "http://town.test"
WEBHOOK_SECRET = "known to the test provider and to the shop"
LINES = (
    {"name": "Roof tiles", "quantity": "2", "unit_price": "595.00", "tax_rate": "19"},
    {"name": "Delivery", "quantity": "1", "unit_price": "107.00", "tax_rate": "7"},
)


@dataclass(frozen=True, slots=True)
class Sold:
    """A deal of the story, with the address its customer reads mail at."""

    id: str
    title: str
    email: str


@dataclass(eq=False)
class Town:
    world: World
    post: PostOffice
    doors: dict[str, httpx.AsyncClient]
    cast: dict[str, str] = field(default_factory=dict)
    apps: dict[str, Any] = field(default_factory=dict)

    # ---- asking

    async def put(self, service: str, path: str, body: Any) -> Any:
        """The JSON answer to a POST under a new Idempotency-Key."""
        answer = await self.doors[service].post(path, json=body, headers={"Idempotency-Key": str(uuid4())})
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    async def look(self, service: str, path: str, **query: Any) -> Any:
        answer = await self.doors[service].get(path, params=query)
        assert answer.is_success, f"{path}: {answer.status_code} {answer.text}"
        return answer.json()

    # ---- what a person does

    async def settle_down(self) -> None:
        """The people, the pipelines and the rules of `examples/sales.yaml`."""
        for name, code, roles in steps.PEOPLE:
            body = {"code": code, "name": name, "email": f"p{code}@acme.test", "zone": steps.BERLIN, "language": "en", "roles": roles}
            self.cast[f"employee {code}"] = (await self.put("deals", "/v1/employees", body))["id"]
        await self._pipeline("sales", "deal", steps.SALES)
        await self._pipeline("installation", "deal", steps.INSTALLATION)
        await self._pipeline("leads", "lead", steps.LEADS)
        await self.world.settle()
        plan = await self.put("automation", "/v1/rule-sets/plans", {"text": steps.RULES.read_text()})
        await self.put("automation", "/v1/rule-sets/applications", {"plan_id": plan["plan_id"]})
        await self.world.settle()

    async def _pipeline(self, code: str, kind: str, stages: list[tuple[str, str, str]]) -> None:
        shown = [{"code": c, "name": n, "kind": k} for c, n, k in stages]
        head = {"code": code, "name": code.title(), "element_type": kind, "owner_id": self.cast["employee 1"]}
        body = {**head, "zone": steps.BERLIN, "language": "en", "stages": shown, "is_default": code in ("sales", "leads")}
        made = await self.put("deals", "/v1/pipelines", body)
        self.cast[code] = made["id"]
        self.cast |= {f"{code}/{stage['code']}": stage["stage_id"] for stage in made["stages"]}

    async def sell(self, number: int) -> Sold:
        email = f"petra.{number}@example.org"
        petra = {"first_name": "Petra", "last_name": "Muster", "emails": [email], "zone": steps.BERLIN}
        contact = (await self.put("deals", "/v1/contacts", petra))["id"]
        money = {"currency": "EUR", "prices_include_tax": True, "amount_mode": "from_lines", "lines": LINES}
        people = {"contact_ids": [contact], "primary_contact_id": contact, "responsible_id": self.cast["employee 42"]}
        deal = {"title": f"Roof {number}", "pipeline_id": self.cast["sales"]} | money | people
        return Sold((await self.put("deals", "/v1/deals", deal))["id"], f"Roof {number}", email)

    async def move(self, sold: Sold, stage: str) -> None:
        await self.put("deals", f"/v1/deals/{sold.id}/stage-changes", {"stage_id": self.cast[f"sales/{stage}"]})

    async def pay(self, sold: Sold) -> None:
        """As the customer: the link of the mail, the page, the provider's form, the button, pressed twice."""
        [mail] = self.mails(sold)
        link = re.search(rf"{PAY}/pay/\S+", text_of(mail))
        assert link is not None
        async with httpx.AsyncClient(transport=self.doors["billing"]._transport, follow_redirects=True) as browser:
            assert "Roof tiles" in (await browser.get(link[0])).text
            begun = await browser.post(f"{link[0]}/checkouts", data={"attempt": sold.id})
            form = re.search(r'action="([^"]+)"', begun.text)
            assert form is not None
            for _ in range(2):
                await browser.post(str(begun.url.join(form[1])), data={"button": "pay", "twice": "on", "attempt": sold.id})

    def mails(self, sold: Sold) -> list[Any]:
        return [mail for mail in self.post.mails if sold.email in str(mail["to"])]

    # ---- what has come of it

    def said_of(self, sold: Sold, *types: str) -> Counter[str]:
        """How often each fact was said of this deal."""
        found: Counter[str] = Counter()
        for type in types:
            bodies = (orjson.loads(record.value or b"{}") for record in self.world.records(type))
            found[type] += sum(1 for body in bodies if sold.id in _names_in(body))
        return found

    async def parked(self) -> list[Any]:
        """Everything that waits for a person, in any service."""
        found = []
        for inhabitant in self.world.inhabitants.values():
            async with inhabitant.database.raw() as raw:
                found += [(inhabitant.name, *row) for row in await raw.fetch("select key, reason, error from parked")]
        return found

    async def history(self, sold: Sold) -> list[str]:
        """The stages the deal has been on, by code, oldest first."""
        codes = {id: code.split("/")[1] for code, id in self.cast.items() if "/" in code}
        moves = [orjson.loads(record.value or b"") for record in self.world.records("deals.StageChanged")]
        mine = sorted((move for move in moves if move["element_id"] == sold.id), key=lambda move: int(move["visit_number"]))
        return [codes[move["stage_id"]] for move in mine]


def _names_in(body: dict[str, Any]) -> set[str]:
    """Ids that a message says it is about."""
    element = body.get("element") or {}
    return {str(found) for found in (*(body.get(name) for name in ("deal_id", "source_deal_id", "about")), element.get("element_id"))}


@asynccontextmanager
async def a_town(databases: Databases, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Town]:
    async with post_office() as post:
        _tell_settings(monkeypatch, folder, post.port)
        async with a_world(databases, SERVICES, START) as world:
            apps = {name: build_app(resident.kit, kit_settings()) for name, resident in world.inhabitants.items()}
            monkeypatch.setattr(provider, "ROAD", httpx.ASGITransport(apps["billing"]))
            await world.settle()
            key = (folder / "operator.key").read_text().strip()
            doors = {name: a_door(app, PAY if name == "billing" else TOWN, key) for name, app in apps.items()}
            yield Town(world, post, doors, apps=apps)
            for app in apps.values():
                await app.state.rooms.commands.drain()
    _forget_settings()


def a_door(app: Any, base: str, key: str) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    return httpx.AsyncClient(transport=transport, base_url=base, headers={"Authorization": f"Bearer {key}"})


def _tell_settings(monkeypatch: pytest.MonkeyPatch, folder: Path, smtp_port: int) -> None:
    told = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/{service}",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "DEALWRIGHT_PEPPER": "a pepper of these flows, long enough",
        "DEALWRIGHT_STATE_DIR": str(folder),
        "DEALWRIGHT_BILLING__PUBLIC_BASE": PAY,
        "DEALWRIGHT_AUTOMATION__PUBLIC_BASE": TOWN,
        "DEALWRIGHT_BILLING__WEBHOOK_SECRETS": WEBHOOK_SECRET,
        "DEALWRIGHT_SMTP__HOST": "127.0.0.1",
        "DEALWRIGHT_SMTP__PORT": str(smtp_port),
        "DEALWRIGHT_STORAGE__FOLDER": str(folder),
    }
    for name, content in told.items():
        monkeypatch.setenv(name, content)
    _forget_settings()


def _forget_settings() -> None:
    for each in (kit_settings, automation_settings, billing_settings, deals_settings, notifications_settings):
        each.cache_clear()
