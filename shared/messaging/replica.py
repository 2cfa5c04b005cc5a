"""Replicas: rows built from events of other services, guarded by `sequence` alone (architecture C.8)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from sqlalchemy import Table

from shared.es.addressed import Key
from shared.es.view import Row
from shared.messaging.contract import Contract
from shared.messaging.envelope import Message

if TYPE_CHECKING:
    from shared.runtime.database import Tx

R = TypeVar("R")


@dataclass(frozen=True, eq=False)
class Replica(Generic[R]):
    """A view of somebody else's stream. Is itself a Finder by id.

    `table` comes from state_table: tenant, id, version and a column for every field of `row`, a frozen dataclass.
    `hears` maps a contract to a function from the row so far (None: unknown) and the body to the new row (None: still
    none). The row's id is the id in the message's subject. A message whose sequence is not above the row's version
    changes nothing; a deletion marks the row, it never removes it."""

    table: Table
    row: type[R]
    hears: Mapping[type[Contract], Callable[[R | None, Any], R | None]]
    id_of: Callable[[Any], str] | None = None
    """The row's id from the body, where it is not the id in the subject (an alias: the merged contact)."""

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def rows_by_key(self) -> str:
        """`$1` tenants, `$2` ids; lateral, so that it never becomes a scan (decision 0006)."""
        return (
            "select t.* from unnest($1::uuid[], $2::text[]) as w(tenant, id) cross join lateral"
            f" (select * from {self.table.name} where tenant = w.tenant and id = w.id offset 0) t"
        )

    async def fetch(self, tx: Tx, keys: Collection[Key]) -> Mapping[Key, Sequence[R]]:
        found: dict[Key, list[R]] = defaultdict(list)
        for key, (_, row) in (await self.fetch_versions(tx, keys)).items():
            found[key].append(row)
        return found

    async def fetch_versions(self, tx: Tx, keys: Collection[Key]) -> dict[Key, tuple[int, R]]:
        """The committed rows with their versions."""
        if not keys:
            return {}
        rows = await tx.raw.fetch(self.rows_by_key, [k.tenant for k in keys], [k.key for k in keys])
        return {Key(row["tenant"], row["id"]): (row["version"], self.load(row)) for row in rows}

    def load(self, row: Row) -> R:
        return self.row(**{f.name: row[f.name] for f in fields(self.row)})  # type: ignore[arg-type]

    def dump(self, row: R) -> Row:
        return {f.name: getattr(row, f.name) for f in fields(row)}  # type: ignore[arg-type]


@dataclass(frozen=True, eq=False)
class HistoryReplica:
    """Rows per message heard, never changed, keyed by the message's id: other services' lines in a timeline.

    `table` comes from history_table; id is the message's id, version its sequence, n counts the rows of one message."""

    table: Table
    hears: Mapping[type[Contract], Callable[[Message[Any]], Iterable[Row]]]
