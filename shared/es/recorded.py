"""What is stored: a stream's name, an event with its identity, and what every link of a causal chain carries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

E = TypeVar("E")


class Stream(NamedTuple):
    """One aggregate's events in one tenant."""

    tenant: UUID
    name: str
    """'deal-9f3c…'"""


@dataclass(frozen=True, slots=True)
class Context:
    """What every event and every message of one causal chain carries."""

    tenant: UUID
    correlation_id: str
    """Minted at the first door."""
    causation_id: str
    """Id of the message, request or timer that led here."""
    hops: int = 0
    actor: str = "system"
    """In whose name: 'user:<employee id>', 'key:<client id>' or 'system'."""
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Recorded(Generic[E]):
    """An event in its stream. `id` is also the id of the public message it may publish."""

    id: UUID
    stream: Stream
    version: int
    event: E
    context: Context
    recorded_at: datetime
    aggregate: str = ""
    """The aggregate's name, where it is known; it may hold hyphens ('credit-note')."""

    @property
    def aggregate_id(self) -> str:
        return self.stream.name.removeprefix(f"{self.aggregate}-") if self.aggregate else self.stream.name.partition("-")[2]
