"""What an HTTP request asks of the batch, and what is answered: the two values that the door and the inbox share (C.5)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, datetime, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID

import orjson
from pydantic import BaseModel

from shared.messaging.envelope import instant

if TYPE_CHECKING:
    from shared.messaging.batch import Item, Result

_OPTIONS = orjson.OPT_PASSTHROUGH_DATETIME | orjson.OPT_NON_STR_KEYS


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return instant(value)
        case date() | time():
            return value.isoformat()
        case UUID():
            return str(value)
        case Decimal():
            return format(value, "f")
        case BaseModel():
            return value.model_dump()
        case Mapping():
            return dict(value)
        case set() | frozenset():
            return sorted(value)
        case _:
            raise TypeError(f"{type(value).__name__} has no JSON form")


def to_bytes(body: Any) -> bytes:
    """JSON as our answers write it: instants in UTC with milliseconds, decimals and ids as strings."""
    return orjson.dumps(body, default=_plain, option=_OPTIONS)


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and a JSON body (None: no body). `etag` is the version of the aggregate that was changed."""

    status: int
    body: Any = None
    location: str | None = None
    etag: int | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def to_json(self) -> str:
        """As the inbox keeps it, to be said again."""
        kept = {"status": self.status, "body": self.body, "location": self.location, "etag": self.etag, "headers": self.headers}
        return to_bytes(kept).decode()

    @classmethod
    def from_json(cls, kept: str | bytes | Mapping[str, Any]) -> Answer:
        read: Mapping[str, Any] = kept if isinstance(kept, Mapping) else orjson.loads(kept)
        headers = tuple((name, value) for name, value in read["headers"])
        return cls(read["status"], read["body"], read["location"], read["etag"], headers)

    def with_header(self, name: str, value: str) -> Answer:
        return replace(self, headers=(*self.headers, (name, value)))


@dataclass(frozen=True, slots=True)
class HttpCommand:
    """`item.id` is the Idempotency-Key, or an id minted before the transaction.

    `body_hash` tells a repetition from another request under the same key. `answer` is run inside the batch, for what was
    handled or refused, and its result is stored with it; it never raises."""

    item: Item
    body_hash: bytes
    answer: Callable[[Result], Answer] = field(compare=False)
