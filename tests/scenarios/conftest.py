"""One World for the folder, a tenant of its own in it for each scenario.

The folder is a package so that the World ends with it: the clock and the settings are told to the whole process."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from zlib import crc32

import pytest

from shared.testing.stack import Stack
from tests.scenarios.ground import Ground, a_ground
from tests.scenarios.one_process import one_process
from tests.scenarios.place import Place
from tests.scenarios.running_stack import running_stack

ON_THE_RUNNING_STACK = os.environ.get("SCENARIOS_ON") == "running"
"""`make scenarios`: every scenario as a rehearsal on five processes, real Kafka and PostgreSQL, instead of in one World."""
DISTURBANCES = ("plain",) if ON_THE_RUNNING_STACK else ("plain", "three times", "reordered", "killed")


@pytest.fixture(scope="package")
async def place(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Place]:
    folder = tmp_path_factory.mktemp("town")
    async with running_stack(folder) if ON_THE_RUNNING_STACK else one_process(stack, folder) as found:
        yield found


@pytest.fixture
async def calm_ground(place: Place) -> AsyncIterator[Ground]:
    """For what asks one service alone: no message has to travel."""
    async with a_ground(place) as ground:
        yield ground


@pytest.fixture(params=DISTURBANCES)
async def ground(place: Place, request: pytest.FixtureRequest) -> AsyncIterator[Ground]:
    """The ground of scenarios.md 1; from then on messages travel as the disturbance says. Its seed is the scenario's name."""
    async with a_ground(place) as ground:
        place.disturb(request.param, seed=crc32(request.node.name.encode()))
        yield ground
