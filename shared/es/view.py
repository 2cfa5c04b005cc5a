"""Views: functions of one stream, written in the command's transaction, rebuilt while live (architecture C.7).

A batch never deletes a view's row: the row says that it is over. A list is stored in a JSON column, never in an array
column (`unnest` flattens those). A table's name carries its version; changing a table raises it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import JSON, Column, Index, Integer, MetaData, Table, Text, Uuid

from shared.es.addressed import Key
from shared.es.aggregate import E, S
from shared.es.recorded import Recorded

if TYPE_CHECKING:
    from shared.runtime.database import Tx

R = TypeVar("R")
Row = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class StateView(Generic[S]):
    """One row per stream, from its folded state and the last event. The columns tenant, id, version are the kit's."""

    table: Table
    row: Callable[[S, Recorded[Any]], Row]


@dataclass(frozen=True, eq=False)
class HistoryView(Generic[S, E]):
    """Rows per event, never changed. The columns tenant, id, version, n are the kit's."""

    table: Table
    rows: Callable[[S, Recorded[E]], Iterable[Row]]


View = StateView[S] | HistoryView[S, E]


def state_table(name: str, *columns: Column[Any] | Index) -> Table:
    """A table of a StateView or a Replica: tenant, id, version and your columns. `name` ends in its version, '_v1'."""
    return Table(
        name,
        MetaData(),
        Column("tenant", Uuid, primary_key=True),
        Column("id", Text(collation="C"), primary_key=True),
        Column("version", Integer, nullable=False),
        *columns,
    )


def history_table(name: str, *columns: Column[Any] | Index) -> Table:
    """A table of a HistoryView or a HistoryReplica: tenant, id, version, n and your columns."""
    return Table(
        name,
        MetaData(),
        Column("tenant", Uuid, primary_key=True),
        Column("id", Text(collation="C"), primary_key=True),
        Column("version", Integer, primary_key=True),
        Column("n", Integer, primary_key=True),
        *columns,
    )


@dataclass(frozen=True, eq=False)
class SqlFinder(Generic[R]):
    """A finder in SQL. `sql` reads `$1::uuid[]` tenants and `$2::text[]` keys through unnest and answers rows with the
    columns `tenant`, `key` and what `row` takes, in the order wanted, for example

        select w.tenant, w.key, v.rule_id, v.definition
        from unnest($1::uuid[], $2::text[]) as w(tenant, key)
        join rules_v1 v on v.tenant = w.tenant and v.stage_id = w.key::uuid
        order by v.position

    JSON columns arrive decoded."""

    name: str
    sql: str
    row: Callable[[Row], R]

    async def fetch(self, tx: Tx, keys: Collection[Key]) -> Mapping[Key, Sequence[R]]:
        if not keys:
            return {}
        rows = await tx.raw.fetch(self.sql, [k.tenant for k in keys], [k.key for k in keys])
        found: dict[Key, list[R]] = defaultdict(list)
        for row in rows:
            found[Key(row["tenant"], row["key"])].append(self.row(row))
        return found


def by_column(name: str, table: Table, column: str, row: Callable[[Row], R], *, where: str = "true", order: str = "t.id") -> SqlFinder[R]:
    """A finder over all columns of `table` whose `column` equals the key. `where` and `order` are SQL over the alias t."""
    kind = table.c[column].type
    cast = "uuid" if isinstance(kind, Uuid) else "text"
    return SqlFinder(
        name,
        f"select w.key, t.* from unnest($1::uuid[], $2::text[]) as w(tenant, key) join {table.name} t"
        f" on t.tenant = w.tenant and t.{column} = w.key::{cast} where {where} order by {order}",
        row,
    )


def is_json(column: Column[Any]) -> bool:
    return isinstance(column.type, JSON)
