"""Keys, scopes, tenants: who may come in, and what everybody else is told (H7, reliability 5.2, T1, T3)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any
from uuid import uuid4

import httpx
import pytest
from fastapi import APIRouter, Response
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import PlainTextResponse

from shared.http.app import OpenDoor, api_routes, build_app, guard_of
from shared.http.auth import SCOPES, format_key, hmac_of, needs, new_secret, parse_key, public, signed_in
from shared.http.commands import Door
from shared.http.limits import Buckets
from shared.http.problems import Problem
from shared.runtime.clock import now
from shared.runtime.service import Kit
from tests.kit import toy
from tests.kit.http import jars
from tests.kit.http.conftest import House, client_of


async def get(house: House, key: str | None, path: str = "/v1/jars", **headers: str) -> httpx.Response:
    async with client_of(house.app, key) as client:
        return await client.get(path, headers=headers)


async def test_without_a_key_nobody_comes_in(house: House) -> None:
    answer = await get(house, None)
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("path", [r.path for r in jars.API.routes if hasattr(r, "path")])
async def test_anonymous_requests_are_401_wherever_a_scope_is_needed(house: House, path: str) -> None:
    if path.startswith("/v1/hooks"):
        return
    address = path.replace("{id}", str(uuid4())).replace("{kind}", "x")
    async with client_of(house.app) as client:
        answers = [await client.request(m, address, json={}) for m in ("GET", "POST", "PATCH")]
    assert {a.status_code for a in answers} <= {401, 405}
    assert any(a.status_code == 401 for a in answers)


async def test_the_wrong_secret_environment_scheme_or_shape(house: House) -> None:
    id, other = house.last_id, new_secret()
    for key in (format_key("dev", id, other), format_key("prod", id, house.key.split("_", 3)[3]), "dw_dev_x", "", "nonsense", "dw__a_b"):
        answer = await get(house, None, Authorization=f"Bearer {key}")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated"), key
    assert (await get(house, None, Authorization=f"Basic {house.key}")).status_code == 401
    assert (await get(house, None, Authorization=f"Bearer {format_key('dev', str(uuid4()), other)}")).status_code == 401
    assert (await get(house, house.key)).status_code == 200


async def test_expired_and_revoked_keys(house: House) -> None:
    expired = await house.new_key("deals:read", expires_at=now() - timedelta(seconds=1))
    revoked = await house.new_key("deals:read", revoked=True)
    lasting = await house.new_key("deals:read", expires_at=now() + timedelta(hours=1))
    assert [(await get(house, key)).status_code for key in (expired, revoked, lasting)] == [401, 401, 200]
    assert "expired" in (await get(house, expired)).json()["detail"]


async def test_a_revocation_is_in_force_within_moments(house: House) -> None:
    key = await house.new_key("deals:read")
    assert (await get(house, key)).status_code == 200
    async with house.kit.database.raw() as raw:
        await raw.execute("update credentials_v1 set revoked = true where id = $1", house.last_id)
    async with asyncio.timeout(3):
        while (await get(house, key)).status_code == 200:
            await asyncio.sleep(0.05)


async def test_a_suspended_tenant_is_told_so(house: House) -> None:
    await house.tenant(toy.TENANT, suspended=True)
    answer = await get(house, house.key)
    assert (answer.status_code, answer.json()["code"]) == (403, "tenant_suspended")
    operator = await house.new_key("deals:read", "admin:tenants")
    assert (await get(house, operator)).status_code == 200


async def test_a_missing_scope_is_named(house: House) -> None:
    key = await house.new_key("deals:write")
    answer = await get(house, key)
    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert "deals:read" in answer.json()["detail"]


async def test_two_scopes_are_both_needed(house: House) -> None:
    for scopes, status in ((("ops:read",), 403), (("admin:tenants",), 403), (("ops:read", "admin:tenants"), 200)):
        assert (await get(house, await house.new_key(*scopes), "/ops/quarantine")).status_code == status


async def test_another_tenants_things_do_not_exist(house: House) -> None:
    stranger = await house.new_key("deals:read", "deals:write", "ops:read", tenant=toy.OTHER_TENANT)
    async with client_of(house.app, house.key) as owner, client_of(house.app, stranger) as other:
        path = (await owner.post("/v1/jars", json={"number": 3}, headers={"Idempotency-Key": "1"})).headers["Location"]
        assert (await other.get(path)).status_code == 404
        assert (await other.get(f"{path}?version=1")).status_code == 404
        assert (await other.get(f"{path}/events")).status_code == 404
        assert (await other.get("/v1/jars")).json()["items"] == []
        fill = await other.post(f"{path}/marbles", json={"number": 1}, headers={"Idempotency-Key": "2"})
        assert fill.status_code == 404
        assert (await owner.get(path)).json()["marbles"] == 3


async def test_malformed_bodies_do_not_tell_strangers_anything(house: House) -> None:
    async with client_of(house.app) as stranger:
        answer = await stranger.post("/v1/jars", content=b"{", headers={"Content-Type": "application/json"})
    assert answer.status_code == 401


async def test_one_client_cannot_take_it_all(house: House) -> None:
    house.app.state.rooms = replace(house.app.state.rooms, buckets=Buckets(rate=1, burst=3, failures=100))
    other = await house.new_key("deals:read")
    answers = [await get(house, house.key) for _ in range(5)]
    assert [a.status_code for a in answers] == [200, 200, 200, 429, 429]
    assert int(answers[-1].headers["Retry-After"]) >= 1
    assert answers[-1].json()["code"] == "too_many_requests"
    assert "RateLimit-Policy" in answers[-1].headers
    assert (await get(house, other)).status_code == 200


async def test_who_keeps_presenting_bad_keys_is_slowed_down(house: House) -> None:
    house.app.state.rooms = replace(house.app.state.rooms, buckets=Buckets(rate=100, burst=100, failures=0.3))
    statuses = [(await get(house, "nonsense")).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


async def test_refusals_reach_the_security_log_and_the_audit(house: House, log_lines: Any) -> None:
    await get(house, format_key("dev", house.last_id, new_secret()))
    await get(house, await house.new_key("deals:write"))
    refused = [line for line in log_lines() if line.get("event") == "refused"]
    assert [(line["reason"], line["route"]) for line in refused] == [("wrong secret", "/v1/jars"), ("scope deals:read missing", "/v1/jars")]
    await house.app.state.rooms.refusals.settle()
    async with house.kit.database.raw() as raw:
        rows = await raw.fetch("select action, detail from audit")
    assert {(row["action"], row["detail"]["reason"]) for row in rows} == {
        ("key.refused", "wrong secret"),
        ("key.refused", "scope deals:read missing"),
    }


async def test_a_flood_of_bad_keys_leaves_one_audit_row(house: House) -> None:
    for _ in range(10):
        await get(house, format_key("dev", house.last_id, new_secret()))
        await get(house, format_key("dev", str(uuid4()), new_secret()))
    await house.app.state.rooms.refusals.settle()
    assert await house.count("audit") == 1


async def nobody_asked() -> Response:
    return PlainTextResponse("open")


async def asked(door: Annotated[Door, public("because")]) -> Response:
    return PlainTextResponse("open")


def with_route(house: House, **route: Any) -> Kit:
    api = APIRouter()
    api.add_api_route("/v1/open", **route)
    return Kit(replace(jars.SERVICE, api=api), house.kit.database, house.kit.prepared, house.kit.wake)


async def test_a_route_without_a_scope_breaks_the_start(house: House) -> None:
    with pytest.raises(OpenDoor, match="neither needs"):
        build_app(with_route(house, endpoint=nobody_asked, operation_id="x"), house.settings)
    with pytest.raises(OpenDoor, match="operation_id"):
        build_app(with_route(house, endpoint=asked), house.settings)
    api = APIRouter()
    api.add_route("/v1/plain", lambda request: PlainTextResponse("x"))
    with pytest.raises(OpenDoor, match="no ordinary route"):
        build_app(Kit(replace(jars.SERVICE, api=api), house.kit.database, house.kit.prepared, house.kit.wake), house.settings)


def test_unknown_scopes_and_missing_reasons_are_refused() -> None:
    with pytest.raises(ValueError, match="unknown scope"):
        needs("deals:raed")
    with pytest.raises(ValueError, match="public"):
        needs()
    for open_door in (public, signed_in):
        with pytest.raises(ValueError, match="say"):
            open_door("")


async def test_what_is_open_is_a_short_list(house: House) -> None:
    routes = [(route, guard_of(route)) for route in api_routes(jars.API.routes)]
    assert {route.path for route, guard in routes if guard and guard.is_open} == {"/v1/hooks/{token}"}
    document = house.app.openapi()
    is_open = {path for path, operations in document["paths"].items() for o in operations.values() if o["security"] == []}
    assert is_open == {"/livez", "/readyz", "/metrics", "/version", "/problems/{slug}", "/v1/hooks/{token}"}


@given(st.sampled_from(["dev", "prod", "t1"]), st.uuids())
def test_a_key_reads_back(environment: str, id: Any) -> None:
    secret = new_secret()
    assert len(secret) == 43
    assert parse_key(format_key(environment, str(id), secret)) == (environment, str(id), secret)


@given(st.text(max_size=60))
def test_no_text_breaks_the_parser(text: str) -> None:
    parsed = parse_key(text)
    assert parsed is None or all(parsed)


def test_the_hash_depends_on_secret_and_pepper() -> None:
    assert len({hmac_of(s, p) for s in ("a", "b") for p in ("c", "d")}) == 4
    assert len(SCOPES) == 27


def test_a_bucket_refills(monkeypatch: pytest.MonkeyPatch) -> None:
    at = 100.0
    monkeypatch.setattr("shared.http.limits.monotonic", lambda: at)
    buckets = Buckets(rate=2, burst=2, failures=1)
    buckets.take("a")
    buckets.take("a")
    with pytest.raises(Problem):
        buckets.take("a")
    at += 0.5
    buckets.take("a")
    with pytest.raises(Problem):
        buckets.take("a")
