from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from services.scheduler.service import SERVICE
from shared.testing.stack import Stack
from tests.service.house import House, a_house

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
"""A Monday, nine o'clock in Berlin."""


@pytest.fixture
async def house(stack: Stack) -> AsyncIterator[House]:
    async with a_house(stack, SERVICE, NOW) as found:
        yield found
