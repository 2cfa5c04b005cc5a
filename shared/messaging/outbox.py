"""What is to be published commits with what caused it; the relay sends it afterwards (C.6, R1)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from shared.messaging.envelope import Headers, pack
from shared.runtime.statements import Statement, execute, load_sql

if TYPE_CHECKING:
    from shared.runtime.database import Tx


@dataclass(frozen=True, slots=True)
class Outgoing:
    """One message, byte for byte as it will be sent."""

    topic: str
    key: str
    headers: Headers
    value: bytes


class Publisher(Protocol):
    """Where the relay sends to."""

    async def send_many(self, messages: Sequence[Outgoing]) -> Sequence[bool]:
        """Per message: did all in-sync replicas acknowledge it? Messages of one key stay in order, and none overtakes
        an unacknowledged one of its key. Raises Unavailable, with the reason, when not a single one was acknowledged."""


def putting(tx: Tx, messages: Sequence[Outgoing]) -> Statement:
    """What adds rows in the order given. Sizes were checked while deciding."""
    columns = ([m.topic for m in messages], [m.key for m in messages], [pack(m.headers) for m in messages], [m.value for m in messages])
    return Statement(load_sql("messaging", "put"), (*columns, tx.now))


async def put_many(tx: Tx, messages: Sequence[Outgoing]) -> None:
    """Adds rows in one statement, to the caller's transaction."""
    if messages:
        await execute(tx.raw, putting(tx, messages))
