"""The index in front of the routes changes nothing but the time it takes."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from shared.http.dispatch import put_in_order
from tests.kit.http.conftest import House, client_of

PATHS = [
    "/",
    "/livez",
    "/v1/deals",
    "/v1/deals/imports",
    "/v1/deals/{id}",
    "/v1/deals/{id}/events",
    "/v1/leads/{id}",
    "/v1/{other}",
    "/v1/{other}/special",
    "/ops/parked/{consumer}/{key:path}/replays",
    "/ops/parked",
    "/problems/{slug}",
    "/pay/{token}",
    "/{anything}/at/all",
]
ASKED = [
    *("", "/", "/livez", "/livez/", "/v1", "/v1/", "/v1/deals", "/v1/deals/", "/v1/deals/7", "/v1/deals/imports", "/v1/deals/7/events"),
    *("/v1/leads", "/v1/leads/7", "/v1/deals/special", "/v1/x", "/v1/x/special", "/ops/parked", "/ops/parked/a/b/c/replays", "/ops/x"),
    *("/problems/a", "/problems", "/pay/abc", "/some/at/all", "/v1/at/all", "/a/b/c/d", "//v1/deals", "/V1/deals"),
]


def app(indexed: bool) -> FastAPI:
    """Every path answers GET with itself, every second one POST too."""
    router = APIRouter()
    for n, path in enumerate(PATHS):

        def answer(request: Any, path: str = path) -> PlainTextResponse:
            return PlainTextResponse(f"{path} {sorted(request.path_params.items())}")

        router.routes.append(Route(path, answer, methods=["GET", "POST"] if n % 2 else ["GET"]))
    made = FastAPI(redirect_slashes=False, openapi_url=None)
    made.include_router(router)
    if indexed:
        put_in_order(made)
    return made


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_every_request_gets_the_same_answer_as_without_the_index(method: str) -> None:
    plain, indexed = app(False), app(True)
    for path in ASKED:
        answers = []
        for made in (plain, indexed):
            async with httpx.AsyncClient(transport=httpx.ASGITransport(made), base_url="http://toy") as client:
                answer = await client.request(method, f"http://toy{path}")
                answers.append((answer.status_code, answer.text, sorted(answer.headers.get("allow", "").split(", "))))
        assert answers[0] == answers[1], (method, path)


async def test_every_route_of_a_service_is_reached(house: House) -> None:
    async with client_of(house.app) as anybody:
        for path, operations in house.app.openapi()["paths"].items():
            address = path.replace("{", "").replace("}", "")
            for method in operations:
                answer = await anybody.request(method.upper(), address)
                assert answer.status_code != 405, (method, path)
                assert "nothing at this address" not in answer.text, (method, path)
