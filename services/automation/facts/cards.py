"""From replica rows to a card: what conditions, placeholders and actions may read of one element (domain/card.py)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from services.automation import replicas, views
from services.automation.domain.card import WEEKDAYS, Card, Details, Person, Pipeline, zone_of
from services.automation.domain.visit import Known
from services.automation.facts.rendering import render
from services.automation.replicas import ALL, Element
from shared.es.addressed import Finder, Key
from shared.es.view import Row
from shared.messaging.envelope import Message
from shared.messaging.subscription import Need

if TYPE_CHECKING:
    from shared.runtime.database import Tx

M = TypeVar("M")
R = TypeVar("R")

# ------------------------------------------------------------------------------------------------ once per tenant and batch


@dataclass(frozen=True)
class People:
    """Everybody of a tenant, by id: one object for all messages of a batch."""

    by_id: Mapping[str, Person]


@dataclass(frozen=True)
class Values:
    """Constants and variables by `const.<code>` and `var.<code>`, and the ids behind them."""

    by_path: Mapping[str, Any]
    ids: Mapping[str, str]


@dataclass(frozen=True)
class Hours:
    """When the company is open. Without a calendar: always (scheduler 2.2)."""

    zone: str = "UTC"
    weekly: Mapping[str, Sequence[Mapping[str, str]]] | None = None
    holidays: frozenset[str] = frozenset()

    def open_at(self, at: datetime) -> bool:
        if self.weekly is None:
            return True
        local = at.astimezone(zone_of(self.zone))
        if local.date().isoformat() in self.holidays:
            return False
        clock = local.strftime("%H:%M")
        return any(hours["opens"] <= clock < hours["closes"] for hours in self.weekly.get(WEEKDAYS[local.weekday()], ()))


@dataclass(frozen=True, eq=False)
class Whole:
    """A finder that makes one object of all rows of a small table."""

    name: str
    rows: Finder[Row]
    made: Callable[[Sequence[Row]], Any]

    async def fetch(self, tx: Tx, keys: Collection[Key]) -> Mapping[Key, Sequence[Any]]:
        found = await self.rows.fetch(tx, keys)
        return {key: (self.made(found.get(key, ())),) for key in keys}


def _people(rows: Sequence[Row]) -> People:
    names = ("code", "name", "email", "department", "zone", "language", "active", "manager_id")
    return People({row["id"]: Person(row["id"], *(row[name] for name in names)) for row in rows})


def _values(rows: Sequence[Row]) -> Values:
    prefix = {"constant": "const", "variable": "var"}
    paths = {f"{prefix[row['kind']]}.{row['code']}": row for row in rows}
    return Values({path: row["value"]["is"] for path, row in paths.items()}, {path: row["id"] for path, row in paths.items()})


def _hours(rows: Sequence[Row]) -> Hours:
    if not rows:
        return Hours()
    row = rows[0]
    return Hours(row["zone"], row["weekly"], frozenset(row["holidays"]))


PEOPLE = Whole("people", replicas.PEOPLE, _people)
VALUES = Whole("values", views.VALUES_OF_TENANT, _values)
HOURS = Whole("company hours", replicas.CALENDAR, _hours)

# ------------------------------------------------------------------------------------------------ needs


def _contact(element: Element) -> Iterable[str]:
    return [element.contact_id] if element.contact_id else []


def _company(element: Element) -> Iterable[str]:
    return [element.company_id] if element.company_id else []


def _owners(element: Element) -> Iterable[str]:
    return [*_contact(element), *_company(element)]


def _pipeline(element: Element) -> Iterable[str]:
    return [element.pipeline_id]


OF_ELEMENT: tuple[Need[Element, Any], ...] = (
    Need(replicas.CONTACTS, _contact),
    Need(replicas.COMPANIES, _company),
    Need(replicas.PIPELINES, _pipeline),
    Need(replicas.DETAILS_OF_OWNER, _owners),
)
OF_TENANT: tuple[Need[Any, Any], ...] = (
    Need(PEOPLE, lambda message: (ALL,)),
    Need(VALUES, lambda message: (ALL,)),
    Need(HOURS, lambda message: (ALL,)),
)


def card_needs(ids: Callable[[M], Iterable[str]], *more: Need[Element, Any]) -> tuple[Need[M, Any], ...]:
    """What a card of the elements with these ids is made of; `more` hangs on the element too."""
    return Need(replicas.ELEMENTS, ids, then=(*OF_ELEMENT, *more)), Need(replicas.INVOICES_OF_DEAL, ids)


def needs_of_message(ids: Callable[[Message[Any]], Iterable[str]], *more: Need[Element, Any]) -> tuple[Need[Message[Any], Any], ...]:
    return (*card_needs(ids, *more), *OF_TENANT)


# ------------------------------------------------------------------------------------------------ cards


class Rows(Protocol):
    """Where a card's rows come from: a message's facts, or what an HTTP request has gathered."""

    @property
    def now(self) -> datetime: ...

    def all(self, finder: Finder[R], key: str) -> Sequence[R]: ...

    def one(self, finder: Finder[R], key: str) -> R | None: ...


def card_of(element_id: str, rows: Rows) -> Card | None:
    """None: the element is not known here (yet)."""
    element = rows.one(replicas.ELEMENTS, element_id)
    if element is None:
        return None
    contact_id, company_id = element.contact_id, element.company_id
    contact = rows.one(replicas.CONTACTS, contact_id) if contact_id else None
    company = rows.one(replicas.COMPANIES, company_id) if company_id else None
    people, values, hours = (rows.all(finder, ALL)[0] for finder in (PEOPLE, VALUES, HOURS))
    return Card(
        element.element_type,
        element_id,
        element.fields,
        pipeline_of(element.pipeline_id, rows),
        element.stage_id,
        element.stage_kind,
        element.visit_id,
        element.visit_number,
        element.arrived_at,
        deleted=element.deleted,
        contact_id=contact_id if contact is None or not contact.deleted else None,
        contact=contact.fields if contact and not contact.deleted else None,
        company_id=company_id if company is None or not company.deleted else None,
        company=company.fields if company and not company.deleted else None,
        responsible_id=element.fields.get("responsible_id"),
        people=people.by_id,
        values=values.by_path,
        invoices=tuple(_shown_invoice(row) for row in rows.all(replicas.INVOICES_OF_DEAL, element_id)),
        details=tuple(_details(row) for owner in _owners(element) for row in rows.all(replicas.DETAILS_OF_OWNER, owner)),
        company_zone=hours.zone,
        working_time=hours.open_at,
    )


def pipeline_of(pipeline_id: str, rows: Rows) -> Pipeline:
    row = rows.one(replicas.PIPELINES, pipeline_id)
    if row is None:
        return Pipeline(pipeline_id)
    return Pipeline(
        pipeline_id,
        row.code,
        row.zone,
        row.language,
        row.owner_id,
        row.automation_user_id,
        row.trigger_choice,
        row.order_version,
        row.archived,
        tuple(row.stages),
    )


def _shown_invoice(row: Row) -> dict[str, Any]:
    return {"invoice_id": row["id"], "status": row["status"], "number": row["number"], "total": row["total"]}


def _details(row: Row) -> Details:
    return Details(
        row["id"],
        row["owner_type"],
        row["owner_id"],
        row["template_code"],
        row["is_default"],
        row["version"],
        row["fields"],
        row["addresses"],
    )


OUT_OF_FORCE = {"disabled": "disabled", "deleted": "deleted", "invalid": "disabled"}


def standing_of(rules: Iterable[views.StageRule]) -> dict[str, str]:
    """Which of a stage's rules are off or gone."""
    return {rule.rule_id: OUT_OF_FORCE[rule.state] for rule in rules if rule.state in OUT_OF_FORCE}


def known_of(card: Card, now: datetime) -> Known:
    """What a decision rests on that starts no rule: the card and the clock."""
    return Known(now, card, render)


# ------------------------------------------------------------------------------------------------ for a person's request


class Gathered:
    """Rows for a request of a person, read on one connection of the tenant's reader."""

    def __init__(self, tx: Tx, tenant: UUID) -> None:
        self._tx, self._tenant = tx, tenant
        self._found: dict[tuple[str, str], Sequence[Any]] = {}

    @property
    def now(self) -> datetime:
        return self._tx.now

    def all(self, finder: Finder[R], key: str) -> Sequence[R]:
        return self._found[finder.name, key]

    def one(self, finder: Finder[R], key: str) -> R | None:
        found = self.all(finder, key)
        return found[0] if found else None

    async def find(self, finder: Finder[R], *keys: str) -> Sequence[R]:
        """Rows of all keys, kept for `all` and `one`."""
        wanted = [Key(self._tenant, key) for key in keys]
        found = await finder.fetch(self._tx, wanted)
        for key in wanted:
            self._found[finder.name, key.key] = found.get(key, ())
        return [row for key in wanted for row in found.get(key, ())]

    async def card(self, element_id: str) -> Card | None:
        for element in await self.find(replicas.ELEMENTS, element_id):
            for need in OF_ELEMENT:
                await self.find(need.finder, *need.keys(element))
        await self.find(replicas.INVOICES_OF_DEAL, element_id)
        for need in OF_TENANT:
            await self.find(need.finder, ALL)
        return card_of(element_id, self)

    async def rules(self, stage_id: str, of_rule: Sequence[Need[views.StageRule, Any]]) -> None:
        """The rules of a stage and what they name."""
        for rule in await self.find(views.RULES_BY_STAGE, stage_id):
            for need in of_rule:
                await self.find(need.finder, *need.keys(rule))
