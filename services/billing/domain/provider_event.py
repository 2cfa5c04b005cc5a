"""Provider event: one webhook of a payment provider, kept byte for byte before anything is made of it (T10, I13)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.es.aggregate import Aggregate


@dataclass(frozen=True, slots=True)
class ProviderEvent:
    """`kind` in the provider's words; `raw` is the body as text."""

    provider: str = ""
    event_id: str = ""
    kind: str = ""
    raw: str = ""
    received_at: datetime | None = None

    @property
    def exists(self) -> bool:
        return self.event_id != ""


@dataclass(frozen=True, slots=True)
class ReceiveProviderEvent:
    provider: str
    event_id: str
    kind: str
    raw: str
    received_at: datetime


@dataclass(frozen=True, slots=True)
class ProviderEventReceived:
    provider: str
    event_id: str
    kind: str
    raw: str
    received_at: datetime


def decide(event: ProviderEvent, command: ReceiveProviderEvent) -> Sequence[ProviderEventReceived]:
    """Delivered again: nothing."""
    if event.exists:
        return []
    return [ProviderEventReceived(command.provider, command.event_id, command.kind, command.raw, command.received_at)]


def evolve(event: ProviderEvent, e: ProviderEventReceived) -> ProviderEvent:
    return ProviderEvent(e.provider, e.event_id, e.kind, e.raw, e.received_at)


PROVIDER_EVENT: Aggregate[ProviderEvent, ReceiveProviderEvent, ProviderEventReceived] = Aggregate(
    "provider-event", ProviderEvent(), decide, evolve, (ProviderEventReceived,)
)
