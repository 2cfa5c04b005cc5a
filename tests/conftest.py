"""Fixtures that every tier may use."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from hypothesis import HealthCheck, settings

from shared.testing.stack import Stack, running_stack

# No assertion on absolute time: how long an example takes, or how long it takes to make one, is the machine's business.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[Stack]:
    """PostgreSQL and Kafka, started at first use; see shared/testing/stack.py for where they come from."""
    async with running_stack() as running:
        yield running
