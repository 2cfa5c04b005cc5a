"""The API documents: complete, valid, self-contained (H1, T23)."""

from __future__ import annotations

import re
from typing import Any

from shared.http.app import build_app
from shared.http.problems import KINDS
from shared.runtime.cli import document_of
from shared.runtime.settings import TlsSettings
from tests.kit.http import jars
from tests.kit.http.conftest import House, client_of, settings_for


def operations(document: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [(path, method, operation) for path, found in document["paths"].items() for method, operation in found.items()]


def test_the_document_needs_no_settings() -> None:
    document = document_of(jars.SERVICE)
    assert document["openapi"].startswith("3.1")
    assert document["info"]["title"] == "Dealwright toy"


def test_every_operation_says_what_it_needs_and_how_it_fails() -> None:
    document = document_of(jars.SERVICE)
    for path, method, operation in operations(document):
        assert operation["operationId"], path
        assert "security" in operation
        assert "HTTPValidationError" not in str(operation)
        if path.startswith("/v1") and operation["security"]:
            names = [p["$ref"].rpartition("/")[2] for p in operation["parameters"] if "$ref" in p]
            expected = {"post": ["IdempotencyKey"], "patch": ["IfMatch"]}.get(method, [])
            assert names == expected, (path, method)
            assert operation["responses"]["401"] == {"$ref": "#/components/responses/Problem401"}


def test_all_references_lead_somewhere() -> None:
    document = document_of(jars.SERVICE)
    for reference in set(re.findall(r"'\$ref': '#/([^']+)'", str(document))):
        found: Any = document
        for step in reference.split("/"):
            found = found[step]


def test_the_scopes_stand_in_the_document() -> None:
    document = document_of(jars.SERVICE)
    assert document["paths"]["/v1/jars"]["post"]["security"] == [{"key": ["deals:write"]}]
    assert document["paths"]["/v1/jars/{id}"]["get"]["security"] == [{"key": ["deals:read"]}]


def test_every_status_of_a_problem_is_described() -> None:
    described = {int(name.removeprefix("Problem")) for name in document_of(jars.SERVICE)["components"]["responses"]}
    assert described == {kind.status for kind in KINDS.values()} - {405, 408}


async def test_the_page_is_made_here_and_asks_nobody_else(house: House) -> None:
    async with client_of(house.app) as anybody:
        page = await anybody.get("/docs")
        document = await anybody.get("/openapi.json")
    assert page.status_code == document.status_code == 200
    assert document.json() == house.app.openapi()
    for _, _, operation in operations(document.json()):
        assert f"id={operation['operationId']}" in page.text
    assert "<script" not in page.text
    assert not re.search(r"(?:src|href)=[\"']?(?:https?:)?//", page.text)
    assert "script-src" not in page.headers["Content-Security-Policy"]


async def test_production_shows_no_documents(house: House) -> None:
    settings = settings_for(house.settings.database_of("toy"), environment="prod", host="0.0.0.0", tls=TlsSettings(proxy=True))
    async with client_of(build_app(house.kit, settings)) as anybody:
        for path in ("/docs", "/openapi.json", "/redoc"):
            assert (await anybody.get(path)).status_code == 404


async def test_names_in_the_page_are_escaped(house: House) -> None:
    from shared.http.docs import page

    document = {
        "info": {"title": "<b>", "version": "1"},
        "paths": {"/<i>": {"get": {"operationId": "<u>", "description": "<s>", "responses": {"200": {"description": "<em>"}}}}},
    }
    text = page(document)
    assert not re.search(r"<(?:b>&|i>|u>|s>|em>)", text.replace("<b>GET", ""))
