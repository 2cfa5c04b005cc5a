"""Filters of lists: query parameters as conditions of SQL. `a,b` means one of; `_from` is inclusive, `_to` is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, Table, or_

from services.deals.domain.fields import DAY, INSTANT, NUMBER, Wrong, invalid
from shared.es.errors import Fault

V = TypeVar("V")
Condition = ColumnElement[bool]
MOST_MEMBERS = 50


@dataclass(frozen=True, slots=True)
class Filters:
    """Conditions on one table, from parameters that may be absent. Raises Rejected `validation_failed` for unreadable ones."""

    table: Table
    given: Mapping[str, str | None]

    def ids(self, *names: str) -> list[Condition]:
        """Columns of ids: one of."""
        return [self.table.c[name].in_(_members(name, text, UUID)) for name, text in self._present(names)]

    def texts(self, **columns: str) -> list[Condition]:
        """Parameter -> column of text: one of."""
        return [self.table.c[column].in_(_members(name, text, str)) for name, column in columns.items() if (text := self.given.get(name))]

    def flags(self, **columns: str) -> list[Condition]:
        return [self.table.c[column].is_(_flag(name, text)) for name, column in columns.items() if (text := self.given.get(name))]

    def within(self, name: str, column: str, read: Callable[[str, str], Any]) -> list[Condition]:
        """`<name>_from` and `<name>_to`."""
        at, low, high = self.table.c[column], f"{name}_from", f"{name}_to"
        return [
            *([at >= read(low, text)] if (text := self.given.get(low)) else []),
            *([at < read(high, text)] if (text := self.given.get(high)) else []),
        ]

    def has(self, name: str, column: str) -> list[Condition]:
        """A JSON list that holds one of the ids."""
        text = self.given.get(name)
        holds = [self.table.c[column].has_key(str(id)) for id in _members(name, text, UUID)] if text else []
        return [or_(*holds)] if holds else []

    def holds(self, name: str, column: str) -> list[Condition]:
        """A JSON list that holds one of the texts."""
        text = self.given.get(name)
        holds = [self.table.c[column].has_key(member) for member in _members(name, text, str)] if text else []
        return [or_(*holds)] if holds else []

    def words(self, *columns: str) -> list[Condition]:
        """`q`: every word stands in one of the columns."""
        words = (self.given.get("q") or "").split()[:10]
        return [or_(*(self.table.c[column].icontains(word, autoescape=True) for column in columns)) for word in words]

    def _present(self, names: Iterable[str]) -> Iterable[tuple[str, str]]:
        return ((name, text) for name in names if (text := self.given.get(name)))


def ids_in(name: str, text: str | None) -> list[list[UUID]]:
    """The ids that a parameter names, if it is there."""
    return [_members(name, text, UUID)] if text else []


def _members(name: str, text: str, read: Callable[[str], V]) -> list[V]:
    members = text.split(",")
    if len(members) > MOST_MEMBERS:
        raise invalid([Fault(f"query/{name}", "too_many", f"At most {MOST_MEMBERS} alternatives.")])
    try:
        return [read(member) for member in members]
    except ValueError:
        raise invalid([Fault(f"query/{name}", "wrong_type", "This must be a UUID, or several with commas.")]) from None


def _flag(name: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise invalid([Fault(f"query/{name}", "wrong_type", "This must be true or false.")])
    return text == "true"


def instant(name: str, text: str) -> datetime:
    return _read(name, text.replace(" ", "+"), INSTANT.read)


def day(name: str, text: str) -> date:
    return _read(name, text, DAY.read)


def number(name: str, text: str) -> Decimal:
    return _read(name, text, NUMBER.read)


def _read(name: str, text: str, read: Callable[[Any], V]) -> V:
    try:
        return read(text)
    except Wrong as wrong:
        raise invalid([Fault(f"query/{name}", wrong.code, wrong.detail)]) from None
