"""The OpenAPI 3.1 document of a service: what FastAPI knows, and what every route has in common (ecosystem H1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute, iter_route_contexts

from shared.http.problems import MEDIA_TYPE, PROBLEM_SCHEMA, PROBLEMS
from shared.http.signed import HEADERS, SIGNATURE, TOLERANCE

if TYPE_CHECKING:
    from fastapi import FastAPI

    from shared.http.auth import Guard

Json = dict[str, Any]

_KEY = "Unique per request (1 to 255 visible ASCII characters); the same value repeats the same request."
_HEADERS: dict[str, Json] = {
    "IdempotencyKey": {"name": "Idempotency-Key", "in": "header", "required": True, "schema": {"type": "string"}, "description": _KEY},
    "IfMatch": {
        "name": "If-Match",
        "in": "header",
        "required": True,
        "schema": {"type": "string"},
        "description": 'The `ETag` that the decision rests on, like `"7"`.',
    },
}


def document_of(app: FastAPI, service: str) -> Json:
    """Built once, then remembered by the application."""
    if app.openapi_schema is None:
        found = get_openapi(title=app.title, version=app.version, routes=app.routes, description=_about(service))
        app.openapi_schema = _completed(found, app)
    return app.openapi_schema


def _about(service: str) -> str:
    return (
        f"HTTP interface of the service *{service}*. Every error is `application/problem+json` (RFC 9457). POST needs an"
        " `Idempotency-Key`, PATCH, PUT and DELETE need `If-Match`. Lists are paged by `cursor`."
    )


def _completed(document: Json, app: FastAPI) -> Json:
    from shared.http.app import guard_of

    components = document.setdefault("components", {})
    components.setdefault("schemas", {})["Problem"] = PROBLEM_SCHEMA
    components["responses"] = {f"Problem{status}": described for status, described in PROBLEMS.items()}
    components["parameters"] = _HEADERS
    components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer", "bearerFormat": "dw_<environment>_<id>_<secret>"}}
    if any(guard.signed for guard in _guards(app)):
        components["securitySchemes"]["signature"] = _SIGNATURE
    for unused in ("HTTPValidationError", "ValidationError"):
        components["schemas"].pop(unused, None)
    for context in iter_route_contexts(app.routes):
        route = context.original_route
        if isinstance(route, APIRoute) and (guard := guard_of(route)):
            for method in route.methods or ():
                _complete(document["paths"][route.path_format][method.lower()], method, guard)
    return document


_SIGNATURE: Json = {
    "type": "apiKey",
    "in": "header",
    "name": SIGNATURE,
    "description": f"Standard Webhooks: {', '.join(HEADERS)}; HMAC-SHA-256 over id.timestamp.body, at most {TOLERANCE} seconds old.",
}


def _guards(app: FastAPI) -> list[Guard]:
    from shared.http.app import guard_of

    routes = (context.original_route for context in iter_route_contexts(app.routes))
    return [guard for route in routes if isinstance(route, APIRoute) and (guard := guard_of(route)) is not None]


def _complete(operation: Json, method: str, guard: Guard) -> None:
    operation["security"] = [] if guard.is_open else [{"key": list(guard.scopes)}] + ([{"signature": []}] if guard.signed else [])
    if guard.reason:
        who = "Open" if guard.is_open else "A key or a signature" if guard.signed else "Any valid key"
        operation["description"] = f"{operation.get('description', '')}\n\n{who}: {guard.reason}.".strip()
    if not guard.is_open and not guard.signed and not str(operation["operationId"]).startswith("ops_"):
        header = "IdempotencyKey" if method == "POST" else "IfMatch" if method in ("PATCH", "PUT", "DELETE") else None
        if header:
            operation.setdefault("parameters", []).append({"$ref": f"#/components/parameters/{header}"})
    for status, response in operation["responses"].items():
        if MEDIA_TYPE in response.get("content", {}):
            operation["responses"][status] = {"$ref": f"#/components/responses/Problem{status}"}
    if "HTTPValidationError" in str(operation["responses"].get("422", "")):
        operation["responses"]["422"] = {"$ref": "#/components/responses/Problem422"}
