"""Fixtures that every tier may use."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from shared.testing.stack import Stack, running_stack


@pytest.fixture(scope="session")
async def stack() -> AsyncIterator[Stack]:
    """PostgreSQL and Kafka, started at first use; see shared/testing/stack.py for where they come from."""
    async with running_stack() as running:
        yield running
