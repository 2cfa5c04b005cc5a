"""Faults on the real thing: processes killed, stopped and woken, and a TCP proxy that delays, holds, drops and cuts (reliability 4.2).

For faults, not for load: the proxy costs a busy core and 0.2 ms a round trip.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import socket
import struct
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

LOOPBACK = "127.0.0.1"
RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with no time to linger: closing sends RST instead of FIN."""
CHUNK = 64 * 1024


def kill(pid: int) -> None:
    """SIGKILL: no farewell, nothing flushed."""
    os.kill(pid, signal.SIGKILL)


def stop(pid: int) -> None:
    """SIGSTOP: it keeps its connections and leases and does nothing, like a long pause of the machine."""
    os.kill(pid, signal.SIGSTOP)


def cont(pid: int) -> None:
    """SIGCONT: it goes on as if no time had passed."""
    os.kill(pid, signal.SIGCONT)


@dataclass(slots=True)
class Way:
    """One direction of a proxy's connections. Delays in seconds; the cut counts bytes from the moment it is asked for."""

    delay: float = 0.0
    jitter: float = 0.0
    dropping: bool = False
    cut_after: int | None = None
    cut_where: bytes | None = None
    open: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.open.set()

    def hold(self) -> None:
        """Nothing passes until `release`; then everything does, in order."""
        self.open.clear()

    def release(self) -> None:
        self.open.set()

    def heal(self) -> None:
        self.delay = self.jitter = 0.0
        self.dropping, self.cut_after, self.cut_where = False, None, None
        self.release()

    def before_cut(self, chunk: bytes) -> bytes | None:
        """What of this chunk still passes when the connection is to be cut in it; None when it is not."""
        if self.cut_where is not None and (place := chunk.find(self.cut_where)) >= 0:
            self.cut_where = None
            return chunk[:place]
        if self.cut_after is None:
            return None
        passing, self.cut_after = chunk[: self.cut_after], self.cut_after - len(chunk)
        if self.cut_after >= 0:
            return None
        self.cut_after = None
        return passing


class FaultProxy:
    """Between clients and one server on loopback. `up`: from client to server; `down`: the answers.

    A client that learns addresses from its server (Kafka) must be told this port there: see `Kafka.faults`. The same seed draws the same
    jitter.
    """

    def __init__(self, target: int, port: int = 0, seed: int = 0) -> None:
        self.target = target
        self.port = port
        self.up = Way()
        self.down = Way()
        self._random = random.Random(seed)
        self._server: asyncio.Server | None = None
        self._connections: set[Connection] = set()

    async def __aenter__(self) -> Self:
        await self.accept()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.refuse()
        self.reset_all()

    @property
    def connections(self) -> int:
        return len(self._connections)

    async def accept(self) -> None:
        """Let new connections in (again), on the same port as before."""
        if self._server is None:
            self._server = await asyncio.start_server(self._serve, LOOPBACK, self.port)
            self.port = self._server.sockets[0].getsockname()[1]

    async def refuse(self) -> None:
        """New connections are refused; those that are open stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def reset_all(self) -> None:
        """RST on both sides of every open connection."""
        for connection in list(self._connections):
            connection.reset()

    async def cut(self) -> None:
        """The cable is out: nothing new, nothing old."""
        await self.refuse()
        self.reset_all()

    async def heal(self) -> None:
        """As if nothing had ever been wrong with it; connections that were cut stay cut."""
        self.up.heal()
        self.down.heal()
        await self.accept()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection(LOOPBACK, self.target)
        except OSError:
            _reset(writer)
            return
        connection = Connection(writer, server_writer)
        self._connections.add(connection)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pump(reader, server_writer, self.up, connection))
                both.create_task(self._pump(server_reader, writer, self.down, connection))
        finally:
            self._connections.discard(connection)
            connection.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: Way, connection: Connection) -> None:
        try:
            while chunk := await reader.read(CHUNK):
                await self._pass(chunk, writer, way, connection)
            await way.open.wait()
            writer.write_eof()
        except OSError:
            connection.reset()  # a side that was reset is told to the other: else that one would wait for ever

    async def _pass(self, chunk: bytes, writer: asyncio.StreamWriter, way: Way, connection: Connection) -> None:
        if way.delay or way.jitter:
            await asyncio.sleep(way.delay + way.jitter * self._random.random())
        await way.open.wait()
        if way.dropping:
            return
        passing = way.before_cut(chunk)
        writer.write(chunk if passing is None else passing)
        await writer.drain()
        if passing is not None:
            connection.reset()


@dataclass(frozen=True, eq=False, slots=True)
class Connection:
    """Both sides of one proxied connection."""

    client: asyncio.StreamWriter
    server: asyncio.StreamWriter

    def reset(self) -> None:
        _reset(self.client)
        _reset(self.server)

    def close(self) -> None:
        self.client.close()
        self.server.close()


def _reset(writer: asyncio.StreamWriter) -> None:
    raw: socket.socket | None = writer.get_extra_info("socket")
    if raw is not None:
        with contextlib.suppress(OSError):
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    writer.transport.abort()
