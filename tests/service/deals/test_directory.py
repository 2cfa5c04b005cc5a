"""Pipelines, field sets, employees, tenants, credentials, and the first start."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from services.deals import settings as own
from services.deals.asks.first_start import FirstStart, operator_key
from services.deals.asks.replacements import Replacements
from services.deals.service import SERVICE
from shared.runtime import settings as kit
from shared.testing.stack import Stack
from tests.service.deals.conftest import ANNA, BEN, INSTALLATION, NOW, OLAF, SALES, id_of, key, made, roof, stage, stages, tenant
from tests.service.house import PEPPER, House, a_house


async def test_the_first_pipeline_is_the_default_until_another_takes_over(house: House, anna: httpx.AsyncClient) -> None:
    assert (await anna.get(f"/v1/pipelines/{SALES}")).json()["is_default"]
    answer = await anna.patch(f"/v1/pipelines/{INSTALLATION}", json={"is_default": True}, headers={"If-Match": '"1"'})

    assert answer.json()["is_default"]
    assert not (await anna.get(f"/v1/pipelines/{SALES}")).json()["is_default"]
    assert [m.body["changed"] for m in await house.said("PipelineSettingsChanged")] == [["is_default"], ["is_default"]]
    alone = await anna.patch(f"/v1/pipelines/{INSTALLATION}", json={"is_default": False}, headers={"If-Match": '"2"'})
    assert (alone.status_code, alone.json()["code"]) == (409, "default_pipeline")


async def test_stages_are_added_renamed_and_put_in_order(house: House, anna: httpx.AsyncClient) -> None:
    added = await anna.post(f"/v1/pipelines/{SALES}/stages", json={"code": "payment", "name": "Payment", "kind": "process", "position": 1})
    assert [s["code"] for s in added.json()["stages"]] == ["new", "payment", "payment-expected", "approval", "won", "lost"]
    payment = added.json()["stages"][1]["stage_id"]
    renamed = await anna.patch(f"/v1/pipelines/{SALES}/stages/{payment}", json={"name": "Pay"}, headers={"If-Match": '"2"'})
    assert renamed.json()["stages"][1]["name"] == "Pay"

    order = [s["stage_id"] for s in reversed(renamed.json()["stages"])]
    ordered = await anna.put(f"/v1/pipelines/{SALES}/stage-order", json={"stage_ids": order}, headers={"If-Match": '"3"'})
    assert [s["code"] for s in ordered.json()["stages"]] == ["approval", "payment-expected", "payment", "new", "won", "lost"]
    assert [m.body["order_version"] for m in await house.said("StagesChanged")] == [2, 2, 3]
    short = await anna.put(f"/v1/pipelines/{SALES}/stage-order", json={"stage_ids": order[:2]}, headers={"If-Match": '"4"'})
    assert (short.status_code, short.json()["code"]) == (422, "incomplete_order")
    unknown = await anna.patch(f"/v1/pipelines/{SALES}/stages/{uuid4()}", json={"name": "x"}, headers={"If-Match": '"4"'})
    assert (unknown.status_code, unknown.json()["code"]) == (409, "unknown_stage")


async def test_a_pipeline_is_archived_when_it_is_empty(anna: httpx.AsyncClient) -> None:
    deal = await roof(anna, pipeline_id=INSTALLATION)
    full = await anna.post(f"/v1/pipelines/{INSTALLATION}/archivals", json={})
    assert (full.status_code, full.json()["code"]) == (409, "pipeline_not_empty")
    await anna.delete(f"/v1/deals/{deal['id']}", headers={"If-Match": '"1"'})
    assert (await anna.post(f"/v1/pipelines/{INSTALLATION}/archivals", json={})).json()["state"] == "archived"

    late = await anna.post("/v1/deals", json={"pipeline_id": INSTALLATION, "title": "late"})
    assert (late.status_code, late.json()["code"]) == (409, "pipeline_archived")
    restored = await anna.post(f"/v1/deals/{deal['id']}/restorations", json={})
    assert (restored.status_code, restored.json()["code"]) == (409, "unknown_stage")
    default = await anna.post(f"/v1/pipelines/{SALES}/archivals", json={})
    assert (default.status_code, default.json()["code"]) == (409, "default_pipeline")


async def test_nothing_arrives_after_the_count(anna: httpx.AsyncClient) -> None:
    """Arrivals and the archival at once: whoever comes second waits for the first."""

    async def arrive() -> int:
        return (await anna.post("/v1/deals", json={"pipeline_id": INSTALLATION, "title": "x"})).status_code

    async def archive() -> int:
        return (await anna.post(f"/v1/pipelines/{INSTALLATION}/archivals", json={})).status_code

    *arrivals, archived = await asyncio.gather(arrive(), arrive(), arrive(), archive())
    stand_there = len((await anna.get(f"/v1/deals?pipeline_id={INSTALLATION}")).json()["items"])
    assert stand_there == arrivals.count(201)
    assert (archived == 200) == (stand_there == 0)


async def test_codes_of_pipelines_made_at_once_differ(anna: httpx.AsyncClient) -> None:
    async def create(n: int) -> int:
        good = {"code": "x", "name": "X", "owner_id": OLAF, "stages": stages(f"x{n}", "new", "won", "lost")}
        return (await anna.post("/v1/pipelines", json=good)).status_code

    assert sorted(await asyncio.gather(*(create(n) for n in range(3)))) == [201, 409, 409]


async def test_a_replaced_stage_is_emptied_and_goes(house: House, anna: httpx.AsyncClient) -> None:
    path = f"/v1/pipelines/{SALES}/stages/{stage('sales', 'approval')}"
    await anna.patch(path, json={"required_fields": ["loss_reason"]}, headers={"If-Match": '"1"'})
    waiting = [await roof(anna, stage_id=stage("sales", "payment-expected")) for _ in range(3)]
    await house.forget()
    body = {"stage_id": stage("sales", "payment-expected"), "replacement_stage_id": stage("sales", "approval"), "rules": "archive"}
    begun = await anna.post(f"/v1/pipelines/{SALES}/stage-replacements", json=body)
    assert begun.status_code == 202, begun.text
    assert (await anna.get(begun.headers["location"])).json()["elements_left"] == 3
    late = await anna.post("/v1/deals", json={"pipeline_id": SALES, "stage_id": body["stage_id"], "title": "late"})
    assert (late.status_code, late.json()["code"]) == (409, "stage_retiring")

    loop = Replacements(house.kit)
    while not await loop.step():
        pass
    assert (await anna.get(begun.headers["location"])).json()["state"] == "done"
    moved = await house.said("StageChanged")
    assert sorted(m.key for m in moved) == sorted(deal["id"] for deal in waiting)
    assert {(m.body["reason"], m.body["automation"], m.body["stage_id"]) for m in moved} == {
        ("stage_replaced", "suppressed", stage("sales", "approval"))
    }
    assert (await house.one("StageReplaced"))["rules"] == "archived"
    assert (await house.one("StagesChanged"))["change"] == "removed"
    assert [s["code"] for s in (await anna.get(f"/v1/pipelines/{SALES}")).json()["stages"]] == ["new", "approval", "won", "lost"]


async def test_an_employee_leaves(house: House, anna: httpx.AsyncClient) -> None:
    await roof(anna, responsible_id=BEN)
    impact = (await anna.get(f"/v1/employees/{BEN}/impact")).json()
    assert impact == {"employee_id": BEN, "deals": 1, "leads": 0, "contacts": 0, "companies": 0}

    assert not (await anna.post(f"/v1/employees/{BEN}/deactivations", json={})).json()["active"]
    again = await anna.post(f"/v1/employees/{BEN}/deactivations", json={})
    assert (again.status_code, again.json()["code"]) == (409, "already_deactivated")
    assert (await house.one("EmployeeDeactivated"))["employee_id"] == BEN
    assert [e["code"] for e in (await anna.get("/v1/employees?active=true&sort=name")).json()["items"]] == ["42", "1"]


async def test_codes_of_employees_differ(anna: httpx.AsyncClient) -> None:
    answer = await anna.post("/v1/employees", json={"code": "42", "name": "x", "email": "x@acme.test", "zone": "UTC"})
    assert (answer.status_code, answer.json()["code"]) == (409, "code_taken")
    manager = await anna.patch(f"/v1/employees/{ANNA}", json={"manager_id": id_of("nobody")}, headers={"If-Match": '"1"'})
    assert (manager.status_code, manager.json()["errors"][0]["pointer"]) == (422, "/manager_id")


async def test_a_field_set_grows(house: House, anna: httpx.AsyncClient) -> None:
    form = next(s for s in (await anna.get("/v1/field-sets?kind=form")).json()["items"])
    second = await anna.post("/v1/field-sets", json={"kind": "form", "element_type": "deal"})
    assert (second.status_code, second.json()["code"]) == (409, "code_taken")

    city = {"code": "city", "label": "City", "field_type": "string"}
    grown = await anna.patch(f"/v1/field-sets/{form['id']}", json={"fields": [city]}, headers={"If-Match": '"1"'})
    assert [f["code"] for f in grown.json()["fields"]] == ["contract_url", "size", "city"]
    number = {**city, "field_type": "number"}
    fixed = await anna.patch(f"/v1/field-sets/{form['id']}", json={"fields": [number]}, headers={"If-Match": '"2"'})
    assert (fixed.status_code, fixed.json()["code"]) == (409, "type_is_fixed")
    assert len((await house.one("FieldSetChanged"))["fields"]) == 3
    neither = await anna.post("/v1/field-sets", json={"kind": "form"})
    assert (neither.status_code, neither.json()["errors"][0]["pointer"]) == (422, "/kind")


# ---------------------------------------------------------------------------------------------------- tenants and keys
async def test_tenants_do_not_see_each_other(house: House, anna: httpx.AsyncClient) -> None:
    deal = await roof(anna)
    other = uuid4()
    await tenant(house, other)
    async with house.client(await key(house, of=other)) as stranger:
        for method, path, body in (
            ("GET", f"/v1/deals/{deal['id']}", None),
            ("GET", f"/v1/deals/{deal['id']}/timeline", None),
            ("GET", f"/v1/deals/{deal['id']}/events", None),
            ("GET", f"/v1/pipelines/{SALES}", None),
            ("PATCH", f"/v1/deals/{deal['id']}", {"title": "mine"}),
            ("POST", f"/v1/deals/{deal['id']}/stage-changes", {"stage_id": stage("sales", "won")}),
            ("POST", f"/v1/deals/{deal['id']}/copies", {"pipeline_id": SALES}),
            ("DELETE", f"/v1/deals/{deal['id']}", None),
        ):
            answer = await stranger.request(method, path, json=body, headers={"If-Match": '"1"'})
            assert answer.status_code in (404, 409) and "Roof" not in answer.text, (method, path, answer.text)
        assert (await stranger.get("/v1/deals")).json()["items"] == []
        foreign = await stranger.post("/v1/deals", json={"pipeline_id": SALES, "title": "x"})
        assert (foreign.status_code, foreign.json()["code"]) == (422, "unknown_reference")


async def test_scopes_are_checked(house: House, anna: httpx.AsyncClient) -> None:
    async with house.client(await key(house, "deals:read", actor="key:shop")) as shop:
        assert (await shop.get("/v1/deals")).status_code == 200
        refused = await shop.post("/v1/deals", json={"pipeline_id": SALES, "title": "x"})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    async with house.client() as nobody:
        assert (await nobody.get("/v1/deals")).status_code == 401


async def test_a_key_is_shown_once(house: House, anna: httpx.AsyncClient) -> None:
    body = {"scopes": ["deals:read"], "actor": "key:shop"}
    first = await anna.post("/v1/credentials", json=body, headers={"Idempotency-Key": "shop"})
    again = await anna.post("/v1/credentials", json=body, headers={"Idempotency-Key": "shop"})

    assert first.status_code == again.status_code == 201
    secret = first.json()["key"]
    assert again.json() == {name: value for name, value in first.json().items() if name != "key"}
    kept = [json.dumps(row, default=str) for row in await house.rows("select answer, '' as x from inbox where consumer = 'http'")]
    kept += [json.dumps(row, default=str) for row in await house.rows("select data from events")]
    assert not any(secret.rpartition("_")[2] in text for text in kept)
    async with house.client(secret) as shop:
        assert (await shop.get("/v1/deals")).status_code == 200
    events = (await anna.get(f"/v1/credentials/{first.json()['id']}/events")).text
    assert "hmac" not in events
    issued = await house.one("CredentialIssued")
    assert (issued["scopes"], issued["tenant_id"]) == (["deals:read"], str(house.tenant))


async def test_who_gets_no_key(house: House, anna: httpx.AsyncClient) -> None:
    async def ask(client: httpx.AsyncClient, **body: Any) -> tuple[int, str]:
        answer = await client.post("/v1/credentials", json={"scopes": ["deals:read"], "actor": "key:shop", **body})
        return answer.status_code, answer.json().get("code", "")

    assert await ask(anna, scopes=["root"]) == (422, "unknown_scope")
    assert await ask(anna, actor="shop") == (422, "validation_failed")
    assert await ask(anna, tenant_id=str(uuid4())) == (422, "unknown_reference")
    assert [(await ask(anna))[0] for _ in range(3)] == [201, 201, 409]
    async with house.client(await key(house, "admin:keys", "deals:read", actor="key:door")) as keeper:
        assert await ask(keeper, actor="key:other", scopes=["deals:write"]) == (409, "scope_not_held")
        assert await ask(keeper, tenant_id=str(uuid4())) == (403, "forbidden")


async def test_a_revoked_key_opens_nothing(house: House, anna: httpx.AsyncClient) -> None:
    issued = await made(anna, "/v1/credentials", scopes=["deals:read"], actor="key:shop")
    assert (await anna.post(f"/v1/credentials/{issued['id']}/revocations", json={})).json()["revoked"]
    async with house.client(issued["key"]) as shop:
        assert (await shop.get("/v1/deals")).status_code == 401
    assert [k["id"] for k in (await anna.get("/v1/credentials?revoked=true")).json()["items"]] == [issued["id"]]


async def test_nobody_makes_a_productive_tenant_rehearse_nor_a_rehearsal_productive(house: House, anna: httpx.AsyncClient) -> None:
    for rehearsal in (True, False):
        new = await made(anna, "/v1/tenants", name="Gamma", zone="Europe/Berlin", rehearsal=rehearsal)
        path = f"/v1/tenants/{new['id']}"
        again = await anna.post("/v1/tenants", json={"id": new["id"], "name": "Gamma", "zone": "Europe/Berlin", "rehearsal": not rehearsal})
        assert (again.status_code, again.json()["code"]) == (409, "id_taken")
        for verb in ("PATCH", "PUT", "DELETE"):
            assert (await anna.request(verb, path, json={"rehearsal": not rehearsal}, headers={"If-Match": "*"})).status_code == 405
        for verb in ("suspensions", "resumptions"):
            assert (await anna.post(f"{path}/{verb}", json={"rehearsal": not rehearsal})).status_code in (200, 422)
        assert (await anna.get(path)).json()["rehearsal"] is rehearsal


async def test_the_operator_registers_suspends_and_resumes_tenants(house: House, anna: httpx.AsyncClient) -> None:
    new = await made(anna, "/v1/tenants", name="Beta", zone="Europe/Berlin", rehearsal=True)
    assert [t["name"] for t in (await anna.get("/v1/tenants?sort=name")).json()["items"]] == ["Acme", "Beta"]
    issued = await made(anna, "/v1/credentials", scopes=["deals:read"], actor="key:beta", tenant_id=new["id"])
    assert (await anna.post(f"/v1/tenants/{new['id']}/suspensions", json={})).json()["suspended"]
    twice = await anna.post(f"/v1/tenants/{new['id']}/suspensions", json={})
    assert (twice.status_code, twice.json()["code"]) == (409, "already_suspended")
    async with house.client(issued["key"]) as beta:
        refused = await beta.get("/v1/deals")
        assert (refused.status_code, refused.json()["code"]) == (403, "tenant_suspended")
    refused = await anna.post("/v1/credentials", json={"scopes": ["deals:read"], "actor": "key:b2", "tenant_id": new["id"]})
    assert (refused.status_code, refused.json()["code"]) == (409, "tenant_suspended")
    assert not (await anna.post(f"/v1/tenants/{new['id']}/resumptions", json={})).json()["suspended"]
    templates = [m.body["template_code"] for m in await house.said("FieldSetChanged")]
    assert templates == ["person", "company"]
    assert [m.key for m in await house.said("TenantRegistered", "TenantSuspended", "TenantResumed")] == [new["id"]] * 3
    async with house.client(await key(house, "deals:read", actor="key:x")) as shop:
        assert (await shop.get("/v1/tenants")).status_code == 403


# ------------------------------------------------------------------------------------------------------ the first start
def key_in(path: Path) -> str:
    return path.read_text().strip()


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Settings of a deployment that nobody has started yet."""
    for name, value in {"DATABASE_URL": "x", "KAFKA_BOOTSTRAP_SERVERS": "x", "DEALWRIGHT_PEPPER": PEPPER}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("DEALWRIGHT_STATE_DIR", str(tmp_path / "state"))
    own.settings.cache_clear()
    kit.settings.cache_clear()
    yield tmp_path / "state" / "operator.key"
    own.settings.cache_clear()
    kit.settings.cache_clear()


async def test_the_first_start_makes_a_tenant_and_the_operators_key(stack: Stack, environment: Path) -> None:
    async with a_house(stack, SERVICE, NOW) as house:
        await FirstStart(house.kit).step()
        text = key_in(environment)
        assert mode_of(environment) == 0o600
        async with house.client(text) as operator:
            tenants = (await operator.get("/v1/tenants")).json()["items"]
            assert [t["name"] for t in tenants] == ["First tenant"]
            await made(operator, "/v1/employees", code="1", name="Olaf", email="olaf@acme.test", zone="UTC")

        await FirstStart(house.kit).step()
        assert key_in(environment) == text
        assert len(await house.said("TenantRegistered", "CredentialIssued")) == 2


async def test_processes_that_start_at_once_register_one_tenant(stack: Stack, environment: Path) -> None:
    async with a_house(stack, SERVICE, NOW) as house:
        await asyncio.gather(*(FirstStart(house.kit).step() for _ in range(3)))
        assert len(await house.rows("select 1 from tenants_v1")) == 1


async def test_a_key_written_before_a_crash_is_the_one_that_counts(stack: Stack, environment: Path) -> None:
    before = operator_key(environment, "dev")
    async with a_house(stack, SERVICE, NOW) as house:
        await FirstStart(house.kit).step()
        assert operator_key(environment, "dev") == before
        async with house.client(key_in(environment)) as operator:
            assert (await operator.get("/v1/deals")).status_code == 200
