"""The golden messages: one per type, as it travels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from deploy.published import EXAMPLES
from shared.contracts import ALL
from shared.messaging.contract import Contract
from shared.messaging.envelope import Envelope, from_kafka


@dataclass(frozen=True, slots=True)
class Golden:
    contract: type[Contract]
    topic: str
    key: str
    headers: dict[str, str]
    value: dict[str, Any]

    @property
    def data(self) -> bytes:
        return json.dumps(self.value, ensure_ascii=False).encode()

    @property
    def envelope(self) -> Envelope:
        return from_kafka(self.key.encode(), [(name, content.encode()) for name, content in self.headers.items()], self.data)


def golden(contract: type[Contract]) -> Golden:
    """Raises FileNotFoundError for a type without an example."""
    file = json.loads((EXAMPLES / f"{contract.type}.json").read_text())
    return Golden(contract, **file)


GOLDENS = tuple(golden(contract) for contract in ALL)


def named(found: Golden) -> str:
    return found.contract.type
