"""The AsyncAPI documents are those of the wiring, satisfy the official schema, and leave out nothing (E10).

`asyncapi-3.0.0.schema.json` is schemas/3.0.0.json of the repository asyncapi/spec-json-schemas (Apache License 2.0) without
its white space."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from deploy.asyncapi import document_files, schemas, used
from deploy.openapi import SERVICES, wired
from deploy.published import API
from deploy.schemas import text
from shared.contracts import ALL
from shared.contracts.deals import StageChanged

OFFICIAL = json.loads((Path(__file__).parent / "asyncapi-3.0.0.schema.json").read_text())
NAMES = ["asyncapi.json", *(f"asyncapi-{service}.json" for service in wired())]


def committed(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((API / name).read_text())
    return found


@cache
def offered() -> dict[Path, dict[str, Any]]:
    return document_files()


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_document_is_that_of_the_wiring(name: str) -> None:
    assert (API / name).read_text() == text(offered()[API / name]), "run `make schemas`"


@pytest.mark.parametrize("name", NAMES)
def test_a_document_satisfies_the_official_schema(name: str) -> None:
    jsonschema.Draft7Validator(OFFICIAL).validate(committed(name))


def test_the_official_schema_refuses_a_planted_fault() -> None:
    document = committed("asyncapi.json")
    document["channels"]["deals.events"]["bindings"]["kafka"]["partitions"] = "twelve"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(OFFICIAL).validate(document)


@pytest.mark.parametrize("name", NAMES)
def test_every_reference_leads_somewhere(name: str) -> None:
    document = committed(name)
    assert [ref for ref in references(document) if not leads_somewhere(document, ref)] == []


NOBODY_HEARS: dict[str, str] = {}
"""Contracts that stand in no document, because nothing is subscribed to them, and why."""


def test_the_merged_document_has_every_message_and_every_channel() -> None:
    document = committed("asyncapi.json")
    assert document["components"]["messages"].keys() | NOBODY_HEARS.keys() == {contract.type for contract in ALL} | {"DeadLetter"}
    assert document["components"]["messages"].keys() & NOBODY_HEARS.keys() == set()
    assert document["channels"].keys() == {f"{service}.{kind}" for service in SERVICES for kind in ("events", "commands", "dlq")}


@pytest.mark.parametrize("service", wired())
def test_nobody_receives_the_commands_of_others(service: str) -> None:
    received = {topic for action, topic in used(service) if action == "receive"}
    assert {topic for topic in received if topic.endswith(".commands")} == {f"{service}.commands"}


@pytest.mark.parametrize("service", wired())
def test_a_contract_names_those_who_hear_it(service: str) -> None:
    heard = {contract for (action, _), contracts in used(service).items() if action == "receive" for contract in contracts}
    named = re.compile(rf"Heard by[^.]*\b({service}|all others)\b")
    assert [c.type for c in heard if c.topic.endswith(".events") and not named.search(" ".join((c.__doc__ or "").split()))] == []


def test_a_payload_is_the_published_schema() -> None:
    found = schemas([StageChanged])
    assert found["deals.StageChanged.v1"]["properties"]["amount"] == {"$ref": "#/components/schemas/Money"}
    assert found["Money"]["additionalProperties"] is False


def references(node: object) -> list[str]:
    if isinstance(node, list):
        return [ref for inner in node for ref in references(inner)]
    if not isinstance(node, dict):
        return []
    here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return here + [ref for inner in node.values() for ref in references(inner)]


def leads_somewhere(document: dict[str, Any], ref: str) -> bool:
    node: Any = document
    for step in ref.removeprefix("#/").split("/"):
        node = node.get(step) if isinstance(node, dict) else None
    return node is not None
