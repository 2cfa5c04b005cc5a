"""The one statement per table with which a batch writes a view or a replica, generated from the table's columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql

from shared.es.view import Row, is_json
from shared.runtime.statements import Statement, execute

if TYPE_CHECKING:
    from shared.runtime.database import Tx

DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
STATE_KEY = ("tenant", "id")
HISTORY_KEY = ("tenant", "id", "version", "n")


class RowWriter:
    """Writes rows of one table. A state row is written only over an older version; a history row only once.

    `again`: a state row is written over its own version too, as a rebuild does."""

    def __init__(self, table: Table, *, history: bool = False, again: bool = False) -> None:
        self.table = table
        self._columns = [(column.name, is_json(column)) for column in table.columns]
        self._sql = _history_sql(table) if history else _state_sql(table, "<=" if again else "<")
        self._key = HISTORY_KEY if history else STATE_KEY

    def writing(self, rows: Sequence[Row]) -> Statement:
        """Rows sorted by key so that two batches cannot deadlock. A state row may appear once per key."""
        ordered = sorted(rows, key=self._sort_key)
        return Statement(self._sql, tuple(_values(ordered, name, as_text) for name, as_text in self._columns))

    async def write(self, tx: Tx, rows: Sequence[Row]) -> None:
        if rows:
            await execute(tx.raw, self.writing(rows))

    def _sort_key(self, row: Row) -> tuple[Any, ...]:
        return tuple(row[name] for name in self._key)


def _values(rows: Sequence[Row], name: str, as_text: bool) -> list[Any]:
    """One column's values. JSON travels as text: a list in an array parameter would be taken for a dimension of the array."""
    values = [row.get(name) for row in rows]
    return [None if value is None else orjson.dumps(value, default=str).decode() for value in values] if as_text else values


def _arrays(table: Table) -> str:
    types = [f"${n}::{'text' if is_json(c) else c.type.compile(DIALECT)}[]" for n, c in enumerate(table.columns, 1)]
    return ", ".join(types).replace(' COLLATE "C"', "")


def _insert(table: Table) -> str:
    names = ", ".join(_quoted(column.name) for column in table.columns)
    values = ", ".join(f"t.{_quoted(c.name)}::{c.type.compile(DIALECT)}" if is_json(c) else f"t.{_quoted(c.name)}" for c in table.columns)
    return f"insert into {table.name} as v ({names}) select {values} from unnest({_arrays(table)}) as t({names}) order by 1, 2"


def _state_sql(table: Table, older: str) -> str:
    changes = ", ".join(f"{_quoted(c.name)} = excluded.{_quoted(c.name)}" for c in table.columns if c.name not in STATE_KEY)
    return f"{_insert(table)} on conflict (tenant, id) do update set {changes} where v.version {older} excluded.version"


def _history_sql(table: Table) -> str:
    return f"{_insert(table)}, 3, 4 on conflict do nothing"


def _quoted(name: str) -> str:
    return f'"{name}"'


def with_key(row: Row, key: Mapping[str, Any]) -> Row:
    return {**row, **key}
