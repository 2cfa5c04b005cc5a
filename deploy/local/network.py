"""Ports on loopback: which are free, who answers."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import Iterable

LOOPBACK = "127.0.0.1"
CHOICE = range(15_000, 32_000)


def is_free(port: int) -> bool:
    """Whether a server could listen there now. A connection still closing does not count as taken."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


def free_port(besides: Iterable[int] = ()) -> int:
    """A port nobody listens on now; `besides`: chosen before and not yet in use.

    Below the range systems take for outgoing connections: otherwise a client that knocks while the server restarts may be given the very
    port, connect to itself and keep the server out.
    """
    taken = set(besides)
    while True:
        port = secrets.choice(CHOICE)
        if port not in taken and is_free(port):
            return port


def free_ports(count: int) -> list[int]:
    """So many different ones."""
    ports: list[int] = []
    while len(ports) < count:
        ports.append(free_port(ports))
    return ports


async def answers(port: int, timeout: float = 1.0) -> bool:
    """Whether anybody accepts a connection there."""
    with contextlib.suppress(OSError, TimeoutError):
        async with asyncio.timeout(timeout):
            _, writer = await asyncio.open_connection(LOOPBACK, port)
            writer.close()
            return True
    return False
