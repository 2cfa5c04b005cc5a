"""From replica rows to a card: what conditions, placeholders and actions may read of one element (domain/card.py)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from uuid import UUID

from services.automation import replicas, views
from services.automation.domain.card import WEEKDAYS, Card, Details, Person, Pipeline, zone_of
from services.automation.domain.definition import Trigger
from services.automation.replicas import COMPANY, CalendarRow, Element, EmployeeRow, PipelineRow
from shared.es.addressed import Finder, Key
from shared.es.view import Row
from shared.messaging.envelope import Message
from shared.messaging.subscription import Need

if TYPE_CHECKING:
    from shared.runtime.database import Tx

M = TypeVar("M")
R = TypeVar("R")

# ------------------------------------------------------------------------------------------------ needs


def _contact(element: Element) -> Iterable[str]:
    return [element.contact_id] if element.contact_id else []


def _company(element: Element) -> Iterable[str]:
    return [element.company_id] if element.company_id else []


def _owners(element: Element) -> Iterable[str]:
    return [*_contact(element), *_company(element)]


def _pipeline(element: Element) -> Iterable[str]:
    return [element.pipeline_id]


_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def people_of(element: Element) -> Iterable[str]:
    """Everybody a field of the element names; any id in a custom field may be a person's."""
    fields = element.fields
    named = [fields.get("responsible_id"), fields.get("created_by"), *(fields.get("observer_ids") or ())]
    custom = [value for value in (fields.get("custom") or {}).values() if isinstance(value, str) and _ID.fullmatch(value)]
    return dict.fromkeys(str(id) for id in (*named, *custom) if id)


def _manager(employee: EmployeeRow) -> Iterable[str]:
    return [employee.manager_id] if employee.manager_id else []


def _heads(pipeline: PipelineRow | Pipeline) -> Iterable[str]:
    return [id for id in (pipeline.owner_id, pipeline.automation_user_id) if id]


def people_of_trigger(trigger: Trigger) -> Iterable[str]:
    return [trigger.owner_id, *(str(id) for name, id in trigger.references.items() if name.startswith("user:"))]


OF_ELEMENT: tuple[Need[Element, Any], ...] = (
    Need(replicas.CONTACTS, _contact),
    Need(replicas.COMPANIES, _company),
    Need(replicas.SURVIVORS, _owners),
    Need(replicas.PIPELINES, _pipeline, then=(Need(replicas.EMPLOYEES, _heads),)),
    Need(replicas.EMPLOYEES, people_of, then=(Need(replicas.EMPLOYEES, _manager),)),
    Need(replicas.DETAILS_OF_OWNER, _owners),
)
TRIGGERS: Need[Element, Any] = Need(views.TRIGGERS_BY_PIPELINE, _pipeline, then=(Need(replicas.EMPLOYEES, people_of_trigger),))


def card_needs(ids: Callable[[M], Iterable[str]], *more: Need[Element, Any]) -> tuple[Need[M, Any], ...]:
    """What a card of the elements with these ids is made of; `more` hangs on the element too."""
    return Need(replicas.ELEMENTS, ids, then=(*OF_ELEMENT, *more)), Need(replicas.INVOICES_OF_DEAL, ids)


HOURS: Need[Any, Any] = Need(replicas.COMPANY_CALENDAR, lambda message: (COMPANY,))


def needs_of_message(ids: Callable[[Message[Any]], Iterable[str]], *more: Need[Element, Any]) -> tuple[Need[Message[Any], Any], ...]:
    return (*card_needs(ids, *more), HOURS)


# ------------------------------------------------------------------------------------------------ cards


class Rows(Protocol):
    """Where a card's rows come from: a message's facts, or what an HTTP request has gathered."""

    def all(self, finder: Finder[R], key: str) -> Sequence[R]: ...

    def one(self, finder: Finder[R], key: str) -> R | None: ...


def card_of(element_id: str, rows: Rows) -> Card | None:
    """None: the element is not known here (yet)."""
    element = rows.one(replicas.ELEMENTS, element_id)
    if element is None:
        return None
    return Card(
        element.element_type,
        element_id,
        element.fields,
        element.stage_id,
        element.stage_kind,
        element.visit_id,
        element.visit_number,
        element.arrived_at,
        element.deleted,
        LinkedRows(element_id, element, rows),
    )


class LinkedRows:
    """What hangs on an element, from rows that were named as needs, looked up and shaped when it is read."""

    def __init__(self, element_id: str, element: Element, rows: Rows) -> None:
        self._id, self._element, self._rows = element_id, element, rows

    @cached_property
    def pipeline(self) -> Pipeline:
        id = self._element.pipeline_id
        return shown_pipeline(id, self._rows.one(replicas.PIPELINES, id))

    @cached_property
    def _contact(self) -> tuple[str | None, dict[str, Any] | None]:
        return _customer(self._element.contact_id, replicas.CONTACTS, self._rows)

    @cached_property
    def _company(self) -> tuple[str | None, dict[str, Any] | None]:
        return _customer(self._element.company_id, replicas.COMPANIES, self._rows)

    @property
    def contact_id(self) -> str | None:
        return self._contact[0]

    @property
    def contact(self) -> dict[str, Any] | None:
        return self._contact[1]

    @property
    def company_id(self) -> str | None:
        return self._company[0]

    @property
    def company(self) -> dict[str, Any] | None:
        return self._company[1]

    @cached_property
    def invoices(self) -> Sequence[dict[str, Any]]:
        return [_shown_invoice(row) for row in self._rows.all(replicas.INVOICES_OF_DEAL, self._id)]

    @cached_property
    def details(self) -> Sequence[Details]:
        return [_details(row) for owner in _owners(self._element) for row in self._rows.all(replicas.DETAILS_OF_OWNER, owner)]

    @cached_property
    def _hours(self) -> Hours:
        return Hours.of(self._rows.one(replicas.COMPANY_CALENDAR, COMPANY))

    @property
    def company_zone(self) -> str:
        return self._hours.zone

    def is_open(self, at: datetime) -> bool:
        return self._hours.open_at(at)

    def person(self, id: str) -> Person | None:
        """Somebody whom neither the element nor a rule named was not looked for, and counts as not heard of."""
        try:
            row = self._rows.one(replicas.EMPLOYEES, id)
        except LookupError:
            return None
        return None if row is None else _person(id, row)

    def person_called(self, text: str) -> Person | None:
        known = (self.person(id) for id in (text, *people_of(self._element), *_heads(self.pipeline)))
        return next((person for person in known if person is not None and text in (person.id, person.code)), None)

    def is_gone(self, file_id: str) -> bool:
        try:
            file = self._rows.one(replicas.FILES, file_id)
        except LookupError:
            return False
        return file is None or file.removed


def _customer(id: str | None, finder: Finder[replicas.CustomerRow], rows: Rows) -> tuple[str | None, dict[str, Any] | None]:
    """Id and fields; neither of one that was deleted. One not heard of yet has an id and no fields. A merged one is the survivor (D65)."""
    survivor = rows.one(replicas.SURVIVORS, id) if id else None
    if survivor is not None:
        return (None, None) if survivor.deleted else (survivor.id, survivor.fields)
    row = rows.one(finder, id) if id else None
    if row is None:
        return id, None
    return (None, None) if row.deleted else (id, row.fields)


def _person(id: str, row: EmployeeRow) -> Person:
    return Person(id, row.code, row.name, row.email, row.department, row.zone, row.language, row.active, row.manager_id)


def shown_pipeline(id: str, row: PipelineRow | None) -> Pipeline:
    if row is None:
        return Pipeline(id)
    return Pipeline(
        id,
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


@dataclass(frozen=True)
class Hours:
    """When the company is open. Without a calendar: always (scheduler 2.2)."""

    zone: str = "UTC"
    weekly: Mapping[str, Sequence[Mapping[str, str]]] | None = None
    holidays: frozenset[str] = frozenset()

    @classmethod
    def of(cls, row: CalendarRow | None) -> Hours:
        return cls() if row is None else cls(row.zone, row.weekly, frozenset(row.holidays))

    def open_at(self, at: datetime) -> bool:
        if self.weekly is None:
            return True
        local = at.astimezone(zone_of(self.zone))
        if local.date().isoformat() in self.holidays:
            return False
        clock = local.strftime("%H:%M")
        return any(hours["opens"] <= clock < hours["closes"] for hours in self.weekly.get(WEEKDAYS[local.weekday()], ()))


# ------------------------------------------------------------------------------------------------ for a person's request


class Gathered:
    """Rows for a request of a person, read on one connection of the tenant's reader."""

    def __init__(self, tx: Tx, tenant: UUID) -> None:
        self._tx, self._tenant = tx, tenant
        self._found: dict[tuple[str, str], Sequence[Any]] = {}

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

    async def answer(self, needs: Iterable[Need[M, Any]], asker: M) -> None:
        """What the needs name, and what the rows found lead to: as for a message."""
        for need in needs:
            for row in await self.find(need.finder, *need.keys(asker)):
                await self.answer(need.then, row)

    async def card(self, element_id: str, *more: Need[Element, Any]) -> Card | None:
        await self.answer((*card_needs(lambda id: [id], *more), HOURS), element_id)
        return card_of(element_id, self)
