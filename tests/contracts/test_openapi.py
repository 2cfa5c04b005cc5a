"""The committed API documents are what the services offer; `make schemas` writes them anew (H1, T23)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.openapi import openapi_of, path_of, wired


@pytest.mark.parametrize("service", wired())
def test_the_committed_document_is_the_services_own(service: str) -> None:
    committed: dict[str, Any] = json.loads(path_of(service).read_text())
    offered = json.loads(json.dumps(openapi_of(service)))
    assert set(committed["paths"]) == set(offered["paths"]), "`make schemas`"
    assert committed == offered, "`make schemas`"


@pytest.mark.parametrize("service", wired())
def test_operations_are_named_after_their_service(service: str) -> None:
    names = [o["operationId"] for operations in openapi_of(service)["paths"].values() for o in operations.values()]
    assert len(set(names)) == len(names)
