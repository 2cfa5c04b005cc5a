"""An app on a real socket, for what only the wire shows."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn

from shared.runtime.worker import Server, _bound


@asynccontextmanager
async def listening(app: Any) -> AsyncIterator[int]:
    """The port on loopback at which it answers inside the block."""
    taken = _bound("127.0.0.1", 0)
    server = Server(uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", server_header=False))
    serving = asyncio.create_task(server.serve([taken]))
    try:
        yield taken.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
