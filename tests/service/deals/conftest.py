"""Deals on a database of its own, with the tenant, people, pipelines and customers of the scenarios (scenarios.md 1)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4, uuid5

import httpx
import pytest

from services.deals import settings as own
from services.deals.asks.asker import Asker
from services.deals.asks.directory import NewCredential, NewTenant, issue_credential, register_tenant
from services.deals.domain.origin import Origin
from services.deals.service import SERVICE
from shared.es.addressed import Addressed
from shared.es.recorded import Context
from shared.http.auth import SCOPES, format_key, hmac_of, new_secret
from shared.messaging.batch import Batch, Item, Result, handle_batch
from shared.runtime.service import Service
from shared.testing.stack import Stack
from tests.service.house import PEPPER, House, a_house

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
"""A Monday, nine o'clock in Berlin."""
SPACE = UUID("5c1e0000-0000-4000-8000-000000000000")
TENANT = uuid5(SPACE, "acme")


def id_of(name: str) -> str:
    """The same id for the same name."""
    return str(uuid5(SPACE, name))


ANNA, BEN, OLAF = id_of("anna"), id_of("ben"), id_of("olaf")
PETRA, MUSTER = id_of("petra"), id_of("muster")
SALES, INSTALLATION, LEADS = id_of("sales"), id_of("installation"), id_of("leads")


def stage(pipeline: str, code: str) -> str:
    return id_of(f"{pipeline}/{code}")


@dataclass(frozen=True, eq=False)
class Asked:
    """Commands as a door would bring them, without a request."""

    items: Sequence[Item]
    consumer: str = "test"

    async def claim(self, kit: Any, tx: Any) -> Sequence[Item]:
        return self.items

    async def settle(self, kit: Any, tx: Any, results: Sequence[Result]) -> Sequence[Result]:
        return results

    def halves(self) -> Sequence[Batch]:
        return ()

    def waiting(self, results: Sequence[Result]) -> Batch | None:
        return None


async def ask(house: House, *addressed: Addressed[Any], tenant: UUID | None = None) -> Result:
    tenant = tenant or house.tenant
    id = str(uuid4())
    done = await handle_batch(house.kit, Asked([Item(id, "test", f"{tenant}/{id}", Context(tenant, id, id), addressed)]))
    assert done.results[0].outcome == "handled", done.results[0].error
    return done.results[0]


async def tenant(house: House, id: UUID) -> None:
    new = NewTenant(id, "Acme", "de", "Europe/Berlin")
    await ask(house, *register_tenant(Asker(id, "system", Origin("system")), new), tenant=id)


async def key(house: House, *scopes: str, actor: str = f"user:{ANNA}", of: UUID | None = None) -> str:
    """A new API key; all scopes if none are named."""
    id, secret = uuid4(), new_secret()
    asker = Asker(of or house.tenant, "system", Origin("system"))
    new = NewCredential(id, hmac_of(secret, PEPPER), scopes or sorted(SCOPES), actor, SCOPES)
    await ask(house, issue_credential(asker, new), tenant=of)
    return format_key("dev", str(id), secret)


@dataclass(frozen=True, eq=False)
class Furnished:
    """A database that was furnished once, over HTTP: each test gets a copy of it."""

    stack: Stack
    database: str
    key: str

    async def migrated_database(self, service: Service) -> str:
        return await self.stack.copied_database(service, self.database)


@pytest.fixture(scope="session")
async def furnished(stack: Stack) -> Furnished:
    async with a_house(stack, SERVICE, NOW) as house:
        house.tenant = TENANT
        await tenant(house, TENANT)
        annas = await key(house)
        async with house.client(annas) as client:
            await furnish(client)
        await house.forget()
        name = (await house.rows("select current_database() as name"))[0]["name"]
    return Furnished(stack, name, annas)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The file storage of this test alone."""
    monkeypatch.setenv("DEALWRIGHT_STORAGE__FOLDER", str(tmp_path / "files"))
    own.storage_settings.cache_clear()
    yield tmp_path / "files"
    own.storage_settings.cache_clear()


@pytest.fixture
async def house(furnished: Furnished) -> AsyncIterator[House]:
    async with a_house(furnished, SERVICE, NOW) as found:
        found.tenant = TENANT
        yield found


@pytest.fixture
async def anna(house: House, furnished: Furnished) -> AsyncIterator[httpx.AsyncClient]:
    """Signed in as Anna, with all scopes."""
    async with house.client(furnished.key) as client:
        yield client


async def made(client: httpx.AsyncClient, path: str, **body: Any) -> dict[str, Any]:
    answer = await client.post(path, json=body)
    assert answer.status_code == 201, answer.text
    return answer.json()  # type: ignore[no-any-return]


def stages(pipeline: str, *codes: str) -> list[dict[str, Any]]:
    kinds = {"won": "success", "lost": "failure", "done": "success", "aborted": "failure", "converted": "success", "junk": "failure"}
    return [
        {"stage_id": stage(pipeline, code), "code": code, "name": code.capitalize(), "kind": kinds.get(code, "process")} for code in codes
    ]


async def furnish(client: httpx.AsyncClient) -> None:
    for id, code, name in ((OLAF, "1", "Olaf Fuchs"), (ANNA, "42", "Anna Amsel"), (BEN, "7", "Ben Buche")):
        email = f"{name.split()[0].lower()}@acme.test"
        await made(client, "/v1/employees", id=id, code=code, name=name, email=email, zone="Europe/Berlin")
    await made(
        client,
        "/v1/field-sets",
        kind="form",
        element_type="deal",
        fields=[
            {"code": "contract_url", "label": "Contract", "field_type": "url"},
            {"code": "size", "label": "Size", "field_type": "string"},
        ],
    )
    sales = stages("sales", "new", "payment-expected", "approval", "won", "lost")
    at = {"owner_id": OLAF, "zone": "Europe/Berlin", "language": "de"}
    await made(client, "/v1/pipelines", id=SALES, code="sales", name="Sales", stages=sales, **at)
    planning = stages("installation", "planning", "mounting", "done", "aborted")
    await made(client, "/v1/pipelines", id=INSTALLATION, code="installation", name="Installation", stages=planning, **at)
    fresh = stages("leads", "fresh", "talking", "converted", "junk")
    await made(client, "/v1/pipelines", id=LEADS, code="leads", name="Leads", element_type="lead", stages=fresh, **at)
    await made(client, "/v1/companies", id=MUSTER, name="Muster GmbH")
    await made(client, "/v1/contacts", id=PETRA, first_name="Petra", last_name="Muster", emails=["petra@example.org"], company_ids=[MUSTER])


async def roof(client: httpx.AsyncClient, **own: Any) -> dict[str, Any]:
    """Deal D of the scenarios."""
    body = {
        "pipeline_id": SALES,
        "title": "Roof 2026",
        "contact_ids": [PETRA],
        "company_id": MUSTER,
        "prices_include_tax": True,
        "lines": [{"name": "Roof tiles", "quantity": "1", "unit_price": "100.00", "tax_rate": "19"}],
        "custom": {"contract_url": "https://example.org/c/1"},
    }
    return await made(client, "/v1/deals", **(body | own))


async def moved(client: httpx.AsyncClient, deal: dict[str, Any], code: str, pipeline: str = "sales", **own: Any) -> dict[str, Any]:
    answer = await client.post(f"/v1/deals/{deal['id']}/stage-changes", json={"stage_id": stage(pipeline, code), **own})
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]
