"""Lists by keyset: `?limit=50&cursor=…&sort=-created_at` gives `{items, next_cursor}` and a Link header (ecosystem H5).

A cursor is opaque, signed and bound to the tenant, the path, the filters and the sort; used with others it is refused."""

from __future__ import annotations

import binascii
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from hashlib import sha256
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

import orjson
from fastapi import Query
from sqlalchemy import ColumnElement, Select, Table, and_, asc, desc, func, literal, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.http.problems import Problem

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Paging:
    """The query parameters of every list: `Annotated[Paging, Depends()]`."""

    limit: Annotated[int, Query(ge=1, le=200, description="How many items at most.")] = 50
    cursor: Annotated[str | None, Query(max_length=2000, description="`next_cursor` of the page before.")] = None
    sort: Annotated[str | None, Query(max_length=80, description="A field of the allow-list, `-` in front for descending.")] = None
    include: Annotated[Literal["total"] | None, Query(description="`total` adds the number of all items.")] = None


@dataclass(frozen=True, slots=True)
class Question:
    """What a cursor is bound to, and the address of the next page."""

    path: str
    tenant: UUID
    parameters: tuple[tuple[str, str], ...]

    @property
    def filters(self) -> list[tuple[str, str]]:
        return sorted(pair for pair in self.parameters if pair[0] not in ("cursor", "limit", "include"))

    def next_page(self, cursor: str) -> str:
        return f"{self.path}?{urlencode([*(p for p in self.parameters if p[0] != 'cursor'), ('cursor', cursor)])}"


class Cursors:
    """Writes and reads cursors. Raises Problem(bad-cursor) for anything it did not write for the same question."""

    def __init__(self, pepper: bytes) -> None:
        self._key = hmac.digest(pepper, b"cursor", "sha256")

    def write(self, place: Sequence[Any], question: Question) -> str:
        written = orjson.dumps([_tagged(value) for value in place])
        return urlsafe_b64encode(self._signature(written, question) + written).rstrip(b"=").decode()

    def read(self, cursor: str, question: Question) -> list[Any]:
        try:
            whole = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        except (binascii.Error, ValueError):
            raise Problem("bad-cursor") from None
        signature, written = whole[:16], whole[16:]
        if not hmac.compare_digest(signature, self._signature(written, question)):
            raise Problem("bad-cursor")
        return [_untagged(tag, text) for tag, text in orjson.loads(written)]

    def _signature(self, written: bytes, question: Question) -> bytes:
        bound = orjson.dumps([question.path, str(question.tenant), question.filters])
        return hmac.digest(self._key, sha256(bound).digest() + written, "sha256")[:16]


_READERS: dict[str, Callable[[str], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "Decimal": Decimal,
    "UUID": UUID,
    "int": int,
    "str": str,
    "float": float,
    "bool": lambda text: text == "True",
    "NoneType": lambda text: None,
}


def _tagged(value: Any) -> tuple[str, str]:
    name = "UUID" if isinstance(value, UUID) else type(value).__name__
    return name, value.isoformat() if isinstance(value, date) else str(value)


def _untagged(tag: str, text: str) -> Any:
    return _READERS[tag](text)


@dataclass(frozen=True, slots=True)
class Order:
    """The column to sort by and the columns that break ties; the same direction for all."""

    by: ColumnElement[Any]
    ties: tuple[ColumnElement[Any], ...]
    descending: bool

    @property
    def columns(self) -> tuple[ColumnElement[Any], ...]:
        return (self.by, *self.ties)

    def clauses(self) -> list[ColumnElement[Any]]:
        return [(desc if self.descending else asc)(column) for column in self.columns]

    def after(self, place: Sequence[Any]) -> ColumnElement[bool]:
        """Everything behind the place. As in PostgreSQL's own order, null is greater than any value."""
        first, *rest = place
        behind_ties = _beyond(self.ties, rest, self.descending)
        if first is None:
            same = and_(self.by.is_(None), behind_ties)
            return or_(same, self.by.is_not(None)) if self.descending else same
        if not getattr(self.by, "nullable", True):
            return _beyond(self.columns, place, self.descending)
        beyond = or_(_beyond((self.by,), [first], self.descending), and_(self.by == first, behind_ties))
        return beyond if self.descending else or_(beyond, self.by.is_(None))


def _beyond(columns: Sequence[ColumnElement[Any]], place: Sequence[Any], descending: bool) -> ColumnElement[bool]:
    values = [literal(value, column.type) for value, column in zip(place, columns, strict=True)]
    if len(columns) == 1:
        return columns[0] < values[0] if descending else columns[0] > values[0]
    left, right = tuple_(*columns), tuple_(*values)
    return left < right if descending else left > right


def order_of(wanted: str | None, sort: Sequence[ColumnElement[Any]], default: str | None) -> Order:
    """By what the caller asks, from the allow-list `sort`; otherwise by `default`, or newest first by the first column."""
    name = wanted or default or f"-{sort[0].key}"
    for column in sort:
        if column.key == name.removeprefix("-"):
            return Order(column, _ties(column), name.startswith("-"))
    allowed = ", ".join(str(column.key) for column in sort)
    raise Problem("unknown-parameter", f"This list is sorted by one of: {allowed}.")


def _ties(column: ColumnElement[Any]) -> tuple[ColumnElement[Any], ...]:
    table = getattr(column, "table", None)
    if not isinstance(table, Table):
        raise TypeError(f"a list is sorted by columns of a table, not by {column}")
    return tuple(c for c in table.primary_key.columns if c.key not in ("tenant", column.key))


@dataclass(frozen=True, slots=True)
class Page:
    items: list[Row]
    after: list[Any] | None
    """The place of the last item, if there are more."""
    total: int | None


async def page(sql: AsyncConnection, query: Select[Any], order: Order, limit: int, after: Sequence[Any] | None, *, total: bool) -> Page:
    """One page of the query's rows."""
    keys = [column.label(f"_place{n}") for n, column in enumerate(order.columns)]
    wanted = query.add_columns(*keys).order_by(*order.clauses()).limit(limit + 1)
    found = (await sql.execute(wanted if after is None else wanted.where(order.after(after)))).mappings().all()
    rows, more = found[:limit], len(found) > limit
    place = [rows[-1][key.key] for key in keys] if more else None
    number = (await sql.execute(select(func.count()).select_from(query.order_by(None).subquery()))).scalar_one() if total else None
    return Page([{name: row[name] for name in row if not name.startswith("_place")} for row in rows], place, number)
