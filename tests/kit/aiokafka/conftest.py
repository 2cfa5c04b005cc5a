"""One broker for all habits; what can run side by side begins with the first test that is selected."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from shared.testing.stack import run_folder
from tests.kit.aiokafka.lab import Lab, open_lab


@pytest.fixture(scope="session")
async def lab(request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    """A module names in SIDE_BY_SIDE what its tests will ask about."""
    modules = {item.module for item in request.session.items if isinstance(item, pytest.Function)}
    async with run_folder() as folder, open_lab(folder) as lab:
        for scenario in (scenario for module in modules for scenario in getattr(module, "SIDE_BY_SIDE", ())):
            lab.scenarios[scenario] = asyncio.create_task(scenario(lab), name=scenario.__name__)
        yield lab
        for task in lab.scenarios.values():
            task.cancel()
        await asyncio.gather(*lab.scenarios.values(), return_exceptions=True)
