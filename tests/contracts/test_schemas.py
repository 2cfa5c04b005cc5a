"""The committed schemas are those of the contracts, and every golden message satisfies its own."""

from __future__ import annotations

import json

import jsonschema
import pytest

from deploy.published import EXAMPLES, SCHEMAS, contract_schema, schema_files
from deploy.schemas import text
from shared.contracts import ALL
from shared.messaging.contract import Contract
from tests.contracts.golden import GOLDENS, Golden, named


@pytest.mark.parametrize("contract", ALL, ids=lambda c: c.type)
def test_the_committed_schema_is_that_of_the_contract(contract: type[Contract]) -> None:
    committed = (SCHEMAS / f"{contract.type}.json").read_text()
    assert committed == text(contract_schema(contract)), "run `make schemas`"


def test_no_schema_and_no_example_without_a_contract() -> None:
    names = {f"{contract.type}.json" for contract in ALL}
    assert {path.name for path in SCHEMAS.iterdir()} == names
    assert {path.name for path in EXAMPLES.iterdir()} == names


@pytest.mark.parametrize("golden", GOLDENS, ids=named)
def test_a_golden_message_satisfies_the_published_schema(golden: Golden) -> None:
    schema = json.loads((SCHEMAS / f"{golden.contract.type}.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.Draft202012Validator(schema).validate(golden.value)


def test_a_published_schema_is_closed_at_every_depth() -> None:
    def open_objects(node: object) -> list[object]:
        if isinstance(node, list):
            return [found for inner in node for found in open_objects(inner)]
        if not isinstance(node, dict):
            return []
        is_open = isinstance(node.get("properties"), dict) and node.get("additionalProperties") is not False
        inside = [list(inner.values()) if name == "properties" else inner for name, inner in node.items()]
        return ([node] if is_open else []) + open_objects(inside)

    assert [path.name for path, schema in schema_files().items() if open_objects(schema)] == []
