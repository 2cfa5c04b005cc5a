"""One application per service: its routes, the operator's API, problems for every error, and nothing that is open by accident.

A route that declares neither `needs(...)` nor `public(...)` breaks the start."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

import asyncpg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse
from fastapi.routing import APIRoute, iter_route_contexts
from sqlalchemy.exc import DBAPIError
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import BaseRoute

from shared.es.errors import Conflict, NotYet, Rejected, Unavailable
from shared.http import docs, live, ops
from shared.http.auth import Guard, Keys
from shared.http.commands import Commands, Door, Rooms
from shared.http.dispatch import put_in_order
from shared.http.edge import Edge
from shared.http.exchange import JsonAnswer, exchange_of, rendered
from shared.http.forms import takes_forms
from shared.http.limits import Buckets
from shared.http.openapi import document_of
from shared.http.paging import Cursors
from shared.http.problems import STATUS_SLUGS, Problem, faults_of, problem_of
from shared.http.refusals import Refusals
from shared.messaging.directory import find_credential
from shared.runtime.health import Figures, Health
from shared.runtime.settings import HttpSettings, Settings, is_loopback
from shared.runtime.version import VERSION

if TYPE_CHECKING:
    from shared.messaging.kafka import Cluster
    from shared.runtime.service import Kit


class OpenDoor(Exception):
    """A route says neither which scope it needs nor why it is open; the service does not start."""


def build_app(
    kit: Kit,
    settings: Settings,
    *,
    health: Health | None = None,
    figures: Figures | None = None,
    cluster: Cluster | None = None,
    only_operations: bool = False,
) -> FastAPI:
    """The application of one service, ready before its database is. Raises OpenDoor.

    `health` is what /readyz reports, `figures` what /metrics asks for; `cluster` is where live feeds read, without it they answer 503.
    `only_operations`: probes and /ops alone, for a process that works and does not serve."""
    app = FastAPI(
        title=f"Dealwright {kit.service.name}",
        version=VERSION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        telemetry={"metrics": False, "logs": False},
    )
    for router in (*(() if only_operations else (kit.service.api, live.FEED)), ops.PROBES, ops.OPERATORS):
        app.include_router(router)
    _must_be_guarded(app)
    app.openapi = lambda: document_of(app, kit.service.name)  # type: ignore[method-assign]
    operations = ops.Operations(kit, health or Health(), figures or figures_of(kit))
    _furnish(app, kit, settings, operations, cluster)
    _answer_errors(app)
    if settings.environment == "dev" or is_loopback(settings.host):
        _show_documents(app)
    put_in_order(app)
    return app


def figures_of(kit: Kit) -> Figures:
    return Figures(kit.database, tuple(kind.name for kind in kit.service.effects))


def _furnish(app: FastAPI, kit: Kit, settings: Settings, operations: ops.Operations, cluster: Cluster | None) -> None:
    pepper = settings.pepper.get_secret_value()
    http: HttpSettings = settings.http
    keys = Keys(lambda id: find_credential(kit.database, id), pepper, settings.environment)
    commands = Commands(kit, most=http.most, waiting=http.waiting)
    buckets = Buckets(http.rate, http.burst, http.failures)
    app.state.rooms = Rooms(kit, commands, keys, Cursors(pepper.encode()), buckets, Refusals(kit.database))
    app.state.operations = operations
    app.state.feed = live.Feed(kit.service.name, cluster, pepper.encode())
    app.add_middleware(Edge, uploads=_uploads(app), most=http.waiting, access=settings.log.access)


def api_routes(routes: list[BaseRoute]) -> Iterator[APIRoute]:
    """All routes that do something, those of included routers too."""
    for context in iter_route_contexts(routes):
        route = context.original_route
        if isinstance(route, APIRoute):
            yield route
        else:
            raise OpenDoor(f"{getattr(route, 'path', route)} is no ordinary route: it cannot say what it needs")


def guard_of(route: APIRoute) -> Guard | None:
    todo = list(route.dependant.dependencies)
    while todo:
        dependant = todo.pop()
        if isinstance(dependant.call, Guard):
            return dependant.call
        todo.extend(dependant.dependencies)
    return None


def _must_be_guarded(app: FastAPI) -> None:
    seen: set[str] = set()
    for route in api_routes(app.routes):
        if guard_of(route) is None:
            raise OpenDoor(f"{sorted(route.methods or ())} {route.path} says neither needs(...) nor public(...)")
        if not route.operation_id or route.operation_id in seen:
            raise OpenDoor(f"{sorted(route.methods or ())} {route.path} has no operation_id of its own")
        seen.add(route.operation_id)


def _uploads(app: FastAPI) -> tuple[re.Pattern[str], ...]:
    """The paths that take forms with files."""
    return tuple(route.path_regex for route in api_routes(app.routes) if takes_forms(route.openapi_extra))


def _answer_errors(app: FastAPI) -> None:
    for kind in (Problem, Rejected, Conflict, NotYet, Unavailable):
        app.add_exception_handler(kind, _told)
    app.add_exception_handler(DBAPIError, _database_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(RequestValidationError, _invalid)


async def _told(request: Request, error: Exception) -> Response:
    exchange = exchange_of(request)
    answer = problem_of(error, exchange.about)
    if exchange.caller is None or not isinstance(error, Rejected | _Invalid):
        return rendered(answer)
    return await Door(request.app.state.rooms, request, exchange.caller).keep(answer)


class _Invalid(Problem):
    """The request itself is not in order: the same request will never be."""


async def _database_error(request: Request, error: Exception) -> Response:
    """A value that no column can hold is the caller's; everything else is a bug of ours."""
    assert isinstance(error, DBAPIError)
    cause = error.orig.__cause__ if error.orig is not None else None
    if not isinstance(cause, asyncpg.DataError):
        raise error
    return await _told(request, Problem("validation-failed", "A value of the query is too large or cannot be compared."))


async def _http_error(request: Request, error: Exception) -> Response:
    """What the framework found itself: no such route, no such method, a form that cannot be read."""
    assert isinstance(error, HTTPException)
    if isinstance(error.__cause__, Problem):
        return await _told(request, error.__cause__)
    slug = STATUS_SLUGS.get(error.status_code, "internal" if error.status_code >= 500 else "malformed-request")
    details = {404: "There is nothing at this address.", 405: f"{request.method} is not offered here."}
    return await _told(request, Problem(slug, details.get(error.status_code, ""), headers=tuple((error.headers or {}).items())))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    if isinstance(error.body, bytes):
        return await _told(request, Problem("unsupported-media-type"))
    faults = faults_of(error.errors(), error.body)
    number = f"{len(faults)} faults were found" if len(faults) > 1 else "One fault was found"
    return await _told(request, _Invalid("validation-failed", f"{number}; `errors` names each.", errors=faults[:100]))


def _show_documents(app: FastAPI) -> None:
    """In development, and where only this machine can ask (T23)."""

    async def document(request: Request) -> Response:
        return JsonAnswer(app.openapi())

    async def page(request: Request) -> Response:
        return HTMLResponse(docs.page(app.openapi()), headers={"content-security-policy": docs.POLICY})

    app.add_route("/openapi.json", document, include_in_schema=False)
    app.add_route("/docs", page, include_in_schema=False)
