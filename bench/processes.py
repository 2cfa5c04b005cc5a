"""Which processes the servers are, so that their CPU can be counted."""

from __future__ import annotations

from contextlib import suppress

import asyncpg
import psutil


async def postgres_pid(db: asyncpg.Connection) -> int:
    """The postmaster: the parent of our own backend; 0 when it runs elsewhere."""
    with suppress(psutil.Error):
        backend = psutil.Process(await db.fetchval("select pg_backend_pid()"))
        return int(backend.ppid()) if "postgres" in backend.name() else 0
    return 0


def kafka_pid(bootstrap: str) -> int:
    """Whoever listens on the bootstrap port; 0 when that is nobody here."""
    port = int(bootstrap.split(",")[0].rsplit(":", 1)[1])
    with suppress(psutil.Error):
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr[1:] == (port,) and connection.pid:
                return int(connection.pid)
    return 0
