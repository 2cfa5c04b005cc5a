"""Reports of payment providers, kept as they came (billing.md 9)."""

from __future__ import annotations

from dataclasses import replace

from services.billing.domain.provider_event import PROVIDER_EVENT, ProviderEventReceived, ReceiveProviderEvent
from shared.testing.given import given
from tests.unit.billing.books import NOW


def test_a_provider_event_is_kept_once() -> None:
    command = ReceiveProviderEvent("fake", "evt_1", "payment.succeeded", '{"id": "evt_1"}', NOW)
    received = ProviderEventReceived("fake", "evt_1", "payment.succeeded", '{"id": "evt_1"}', NOW)
    given(PROVIDER_EVENT).when(command).then(received)
    given(PROVIDER_EVENT, received).when(replace(command, raw="altered")).nothing_happens()
