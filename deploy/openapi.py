"""The OpenAPI document of each service, as `python -m services.<name> openapi` prints it (ecosystem H1)."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from shared.runtime.cli import document_of

FOLDER = Path(__file__).parents[1] / "docs" / "api"
SERVICES = ("deals", "automation", "billing", "scheduler", "notifications")

Json = dict[str, Any]


def openapi_of(service: str) -> Json:
    """Needs no settings and no database."""
    return document_of(import_module(f"services.{service}.service").SERVICE)


def openapi_files() -> dict[Path, Json]:
    return {path_of(service): openapi_of(service) for service in wired()}


def path_of(service: str) -> Path:
    return FOLDER / f"openapi-{service}.json"


def wired() -> list[str]:
    """Services that have been put together."""
    return [service for service in SERVICES if find_spec(f"services.{service}.service")]
