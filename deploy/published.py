"""The published schema of a contract: JSON Schema 2020-12, closed per version (ecosystem E9)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from deploy.compatibility import Json
from shared.contracts import ALL
from shared.messaging.contract import Contract

ROOT = Path(__file__).parents[1]
SCHEMAS = ROOT / "shared/contracts/schemas"
EXAMPLES = ROOT / "shared/contracts/examples"
API = ROOT / "docs/api"


class WithoutTitles(GenerateJsonSchema):
    """A field's title would only repeat its name."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def contract_schema(contract: type[Contract]) -> Json:
    """The published schema of a type: closed, and with what orders it and where it travels."""
    body = contract.model_json_schema(schema_generator=WithoutTitles)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:dealwright:schema:{contract.type}",
        **closed(body),
        "title": contract.type,
        "x-topic": contract.topic,
        "x-key": list(contract.key),
    }


def closed(node: Any) -> Any:
    """The same schema, in which no object may have a property that is not named."""
    if isinstance(node, list):
        return [closed(inner) for inner in node]
    if not isinstance(node, dict):
        return node
    tidy = {name: closed(inner) for name, inner in node.items()}
    return {**tidy, "additionalProperties": False} if isinstance(node.get("properties"), dict) and node.get("type") == "object" else tidy


def schema_files() -> dict[Path, Json]:
    return {SCHEMAS / f"{contract.type}.json": contract_schema(contract) for contract in ALL}
