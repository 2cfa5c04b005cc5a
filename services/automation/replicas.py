"""What automation knows of others: elements with what hangs on them, pipelines, people, invoices, the company's hours (11, 13)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Boolean, Column, DateTime, Index, Integer, Text

from shared.contracts import billing, common, deals, notifications, scheduler
from shared.es.view import Row, SqlFinder, by_column, history_table, state_table
from shared.messaging.directory import rehearsal_clocks, replicated_directory
from shared.messaging.envelope import Message
from shared.messaging.replica import HistoryReplica, Replica

DIRECTORY = replicated_directory(
    deals.TenantRegistered, deals.TenantSuspended, deals.TenantResumed, deals.CredentialIssued, deals.CredentialRevoked
)
COMPANY = "company"
"""The id of the company's calendar."""

# ------------------------------------------------------------------------------------------------ elements


@dataclass(frozen=True, slots=True)
class Element:
    """A deal or lead as it stands. `fields` are those of its contract."""

    element_type: str
    pipeline_id: str
    stage_id: str
    stage_kind: str
    visit_id: str
    visit_number: int
    arrived_at: str
    fields: dict[str, Any]
    deleted: bool

    @property
    def contact_id(self) -> str | None:
        found = self.fields.get("primary_contact_id") or next(iter(self.fields.get("contact_ids") or ()), None)
        return str(found) if found else None

    @property
    def company_id(self) -> str | None:
        found = self.fields.get("company_id")
        return str(found) if found else None


ELEMENTS_TABLE = state_table(
    "elements_v1",
    Column("element_type", Text, nullable=False),
    Column("pipeline_id", Text, nullable=False),
    Column("stage_id", Text, nullable=False),
    Column("stage_kind", Text, nullable=False),
    Column("visit_id", Text, nullable=False),
    Column("visit_number", Integer, nullable=False),
    Column("arrived_at", Text, nullable=False),
    Column("fields", JSON, nullable=False),
    Column("deleted", Boolean, nullable=False),
)


def _created(element_type: str) -> Any:
    def fold(row: Element | None, e: deals.DealCreated | deals.LeadCreated) -> Element:
        place = (e.pipeline_id, e.stage_id, e.stage_kind, e.visit_id, e.visit_number, e.arrived_at)
        return Element(element_type, *place, e.fields.model_dump(mode="json"), False)

    return fold


def _moved(row: Element | None, e: deals.StageChanged) -> Element | None:
    if row is None:
        return None
    fields = {**row.fields, "loss_reason": e.loss_reason} if e.loss_reason else row.fields
    return replace(
        row,
        pipeline_id=e.pipeline_id,
        stage_id=e.stage_id,
        stage_kind=e.stage_kind,
        visit_id=e.visit_id,
        visit_number=e.visit_number,
        arrived_at=e.arrived_at,
        fields=fields,
    )


def _changed(row: Element | None, e: deals.DealFieldsChanged | deals.LeadFieldsChanged) -> Element | None:
    if row is None:
        return None
    return replace(row, fields=with_changes(row.fields, e.changes))


def with_changes(fields: dict[str, Any], changes: Mapping[str, common.Change]) -> dict[str, Any]:
    """Custom fields come as `custom.<code>` or as a map: what was in it before and is no more was emptied. Others come as a whole."""
    changed = dict(fields)
    for name, change in changes.items():
        custom = changed.get("custom") or {}
        if name == "custom" and isinstance(change.after, dict):
            emptied = (change.before or {}).keys() - change.after.keys()
            changed["custom"] = {code: value for code, value in custom.items() if code not in emptied} | change.after
        elif name.startswith(("custom.", "uf.")):
            changed["custom"] = {**custom, name.partition(".")[2]: change.after}
        else:
            changed[name] = change.after
    return changed


ELEMENTS: Replica[Element] = Replica(
    ELEMENTS_TABLE,
    Element,
    {
        deals.DealCreated: _created("deal"),
        deals.LeadCreated: _created("lead"),
        deals.StageChanged: _moved,
        deals.DealFieldsChanged: _changed,
        deals.LeadFieldsChanged: _changed,
        deals.DealDeleted: lambda row, e: row and replace(row, deleted=True),
        deals.LeadDeleted: lambda row, e: row and replace(row, deleted=True),
        deals.DealRestored: lambda row, e: row and replace(row, deleted=False),
        deals.LeadRestored: lambda row, e: row and replace(row, deleted=False),
    },
)

ARRIVALS_TABLE = history_table(
    "arrivals_v1",
    Column("element_id", Text, nullable=False),
    Column("visit_id", Text, nullable=False),
    Column("visit_number", Integer, nullable=False),
    Column("pipeline_id", Text, nullable=False),
    Column("stage_id", Text, nullable=False),
    Column("automation", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Index("arrivals_v1_element", "tenant", "element_id", "visit_number"),
)


def _arrival(message: Message[Any]) -> list[Row]:
    e = message.body
    element = getattr(e, "element_id", None) or getattr(e, "deal_id", None) or e.lead_id
    at = datetime.fromisoformat(e.arrived_at)
    place = {"visit_id": e.visit_id, "visit_number": e.visit_number, "pipeline_id": e.pipeline_id, "stage_id": e.stage_id}
    return [{"element_id": element, **place, "automation": e.automation, "at": at}]


ARRIVALS = HistoryReplica(ARRIVALS_TABLE, {deals.DealCreated: _arrival, deals.LeadCreated: _arrival, deals.StageChanged: _arrival})

# ------------------------------------------------------------------------------------------------ customers


@dataclass(frozen=True, slots=True)
class CustomerRow:
    """A contact or company."""

    fields: dict[str, Any]
    deleted: bool = False


def _customer_columns() -> tuple[Column[Any], ...]:
    return Column("fields", JSON, nullable=False), Column("deleted", Boolean, nullable=False)


def _customer_created(row: CustomerRow | None, e: deals.ContactCreated | deals.CompanyCreated) -> CustomerRow:
    return CustomerRow(e.fields.model_dump(mode="json"))


def _customer_changed(row: CustomerRow | None, e: deals.ContactFieldsChanged | deals.CompanyFieldsChanged) -> CustomerRow | None:
    return row and replace(row, fields=with_changes(row.fields, e.changes))


def _customer_deleted(row: CustomerRow | None, e: deals.ContactDeleted | deals.CompanyDeleted) -> CustomerRow | None:
    return row and replace(row, deleted=True, fields={} if e.erased else row.fields)


CONTACTS: Replica[CustomerRow] = Replica(
    state_table("contacts_v1", *_customer_columns()),
    CustomerRow,
    {
        deals.ContactCreated: _customer_created,
        deals.ContactFieldsChanged: _customer_changed,
        deals.ContactDeleted: _customer_deleted,
    },
)
COMPANIES: Replica[CustomerRow] = Replica(
    state_table("companies_v1", *_customer_columns()),
    CustomerRow,
    {
        deals.CompanyCreated: _customer_created,
        deals.CompanyFieldsChanged: _customer_changed,
        deals.CompanyDeleted: _customer_deleted,
    },
)


@dataclass(frozen=True, slots=True)
class DetailsRow:
    owner_type: str
    owner_id: str
    template_code: str
    is_default: bool
    fields: dict[str, Any]
    addresses: dict[str, Any]
    removed: bool = False


def _details(row: DetailsRow | None, e: deals.DetailsCreated | deals.DetailsChanged) -> DetailsRow:
    return DetailsRow(e.owner_type, e.owner_id, e.template_code, e.is_default, dict(e.fields), dict(e.addresses))


DETAILS: Replica[DetailsRow] = Replica(
    state_table(
        "details_v1",
        Column("owner_type", Text, nullable=False),
        Column("owner_id", Text, nullable=False),
        Column("template_code", Text, nullable=False),
        Column("is_default", Boolean, nullable=False),
        Column("fields", JSON, nullable=False),
        Column("addresses", JSON, nullable=False),
        Column("removed", Boolean, nullable=False),
        Index("details_v1_owner", "tenant", "owner_id"),
    ),
    DetailsRow,
    {
        deals.DetailsCreated: _details,
        deals.DetailsChanged: _details,
        deals.DetailsRemoved: lambda row, e: row and replace(row, removed=True),
    },
)


@dataclass(frozen=True, slots=True)
class Alias:
    """A contact or company that was merged into another (D65)."""

    survivor_id: str


ALIASES: Replica[Alias] = Replica(
    state_table("aliases_v1", Column("survivor_id", Text, nullable=False), Index("aliases_v1_survivor", "tenant", "survivor_id")),
    Alias,
    {deals.ContactsMerged: lambda row, e: Alias(e.survivor_id), deals.CompaniesMerged: lambda row, e: Alias(e.survivor_id)},
    id_of=lambda e: str(e.merged_id),
)
_STANDS_FOR = """from unnest($1::uuid[], $2::text[]) as w(tenant, key)
       left join aliases_v1 a on a.tenant = w.tenant and a.id = w.key
       left join aliases_v1 b on b.tenant = a.tenant and b.id = a.survivor_id
       cross join lateral (select coalesce(b.survivor_id, a.survivor_id, w.key) as id) s"""


@dataclass(frozen=True, slots=True)
class Survivor:
    """Whom a merged contact or company lives on in."""

    id: str
    fields: dict[str, Any]
    deleted: bool


SURVIVORS: SqlFinder[Survivor] = SqlFinder(
    "survivors",
    f"""select w.tenant, w.key, c.id, c.fields, c.deleted {_STANDS_FOR}
       cross join lateral (
           select id, fields, deleted from contacts_v1 t where t.tenant = w.tenant and t.id = s.id
           union all select id, fields, deleted from companies_v1 t where t.tenant = w.tenant and t.id = s.id) c
       where s.id <> w.key""",
    lambda row: Survivor(row["id"], row["fields"], row["deleted"]),
)
"""Of those that were merged; nothing for all others."""
DETAILS_OF_OWNER: SqlFinder[Row] = SqlFinder(
    "details of owner",
    f"""select w.key, s.id as owner_id, d.is_default and d.owner_id = s.id as is_default,
           d.tenant, d.id, d.version, d.owner_type, d.template_code, d.fields, d.addresses {_STANDS_FOR}
       join details_v1 d on d.tenant = w.tenant and not d.removed and d.owner_id = any(array(
           select s.id union all select m.id from aliases_v1 m where m.tenant = w.tenant and m.survivor_id = s.id))
       order by d.id""",
    lambda row: row,
)
"""With those that came along from merged owners, which are never the default (D65)."""

# ------------------------------------------------------------------------------------------------ people, pipelines, fields


@dataclass(frozen=True, slots=True)
class EmployeeRow:
    code: str
    name: str
    email: str
    department: str | None
    zone: str
    language: str
    active: bool
    manager_id: str | None
    roles: list[str]


def _employee(row: EmployeeRow | None, e: deals.EmployeeAdded | deals.EmployeeChanged) -> EmployeeRow:
    return EmployeeRow(e.code, e.name, e.email, e.department, e.zone, e.language, e.active, e.manager_id, list(e.roles))


EMPLOYEES: Replica[EmployeeRow] = Replica(
    state_table(
        "employees_v1",
        Column("code", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("email", Text, nullable=False),
        Column("department", Text),
        Column("zone", Text, nullable=False),
        Column("language", Text, nullable=False),
        Column("active", Boolean, nullable=False),
        Column("manager_id", Text),
        Column("roles", JSON, nullable=False),
    ),
    EmployeeRow,
    {
        deals.EmployeeAdded: _employee,
        deals.EmployeeChanged: _employee,
        deals.EmployeeDeactivated: lambda row, e: row and replace(row, active=False),
        deals.EmployeeReactivated: lambda row, e: row and replace(row, active=True),
    },
)


@dataclass(frozen=True, slots=True)
class PipelineRow:
    code: str
    element_type: str
    name: str
    zone: str | None
    language: str
    owner_id: str | None
    automation_user_id: str | None
    is_default: bool
    trigger_choice: str
    order_version: int
    stages: list[dict[str, Any]]
    archived: bool = False


def _pipeline(row: PipelineRow | None, e: deals.PipelineFact) -> PipelineRow:
    return PipelineRow(
        e.code,
        e.element_type,
        e.name,
        e.zone,
        e.language,
        e.owner_id,
        e.automation_user_id,
        e.is_default,
        e.trigger_choice,
        e.order_version,
        [stage.model_dump(mode="json") for stage in e.stages],
        row.archived if row else False,
    )


def _stages(row: PipelineRow | None, e: deals.StagesChanged | deals.StageReplaced) -> PipelineRow | None:
    return row and replace(row, order_version=e.order_version, stages=[stage.model_dump(mode="json") for stage in e.stages])


PIPELINES: Replica[PipelineRow] = Replica(
    state_table(
        "pipelines_v1",
        Column("code", Text, nullable=False),
        Column("element_type", Text, nullable=False),
        Column("name", Text, nullable=False),
        Column("zone", Text),
        Column("language", Text, nullable=False),
        Column("owner_id", Text),
        Column("automation_user_id", Text),
        Column("is_default", Boolean, nullable=False),
        Column("trigger_choice", Text, nullable=False),
        Column("order_version", Integer, nullable=False),
        Column("stages", JSON, nullable=False),
        Column("archived", Boolean, nullable=False),
    ),
    PipelineRow,
    {
        deals.PipelineCreated: _pipeline,
        deals.PipelineSettingsChanged: _pipeline,
        deals.StagesChanged: _stages,
        deals.StageReplaced: _stages,
        deals.PipelineArchived: lambda row, e: row and replace(row, archived=True),
    },
)


@dataclass(frozen=True, slots=True)
class FieldSetRow:
    kind: str
    element_type: str | None
    owner_type: str | None
    template_code: str | None
    fields: list[dict[str, Any]]


FIELD_SETS: Replica[FieldSetRow] = Replica(
    state_table(
        "field_sets_v1",
        Column("kind", Text, nullable=False),
        Column("element_type", Text),
        Column("owner_type", Text),
        Column("template_code", Text),
        Column("fields", JSON, nullable=False),
    ),
    FieldSetRow,
    {
        deals.FieldSetChanged: lambda row, e: FieldSetRow(
            e.kind, e.element_type, e.owner_type, e.template_code, [field.model_dump(mode="json") for field in e.fields]
        )
    },
)


@dataclass(frozen=True, slots=True)
class FileRow:
    name: str
    removed: bool = False


FILES: Replica[FileRow] = Replica(
    state_table("files_v1", Column("name", Text, nullable=False), Column("removed", Boolean, nullable=False)),
    FileRow,
    {
        deals.FileAttached: lambda row, e: FileRow(e.name),
        deals.FileRemoved: lambda row, e: row and replace(row, removed=True),
    },
)


@dataclass(frozen=True, slots=True)
class EndpointRow:
    """A webhook endpoint. `state`: active, disabled, deleted."""

    purpose: str
    state: str = "active"


ENDPOINTS: Replica[EndpointRow] = Replica(
    state_table("webhook_endpoints_v1", Column("purpose", Text, nullable=False), Column("state", Text, nullable=False)),
    EndpointRow,
    {
        notifications.WebhookEndpointAdded: lambda row, e: EndpointRow(e.purpose),
        notifications.WebhookEndpointDisabled: lambda row, e: EndpointRow(e.purpose, "disabled"),
        notifications.WebhookEndpointEnabled: lambda row, e: EndpointRow(e.purpose),
        notifications.WebhookEndpointDeleted: lambda row, e: EndpointRow(e.purpose, "deleted"),
    },
)

# ------------------------------------------------------------------------------------------------ money and time


@dataclass(frozen=True, slots=True)
class InvoiceRow:
    """`status` as conditions read it; `total` is a Money."""

    deal_id: str | None
    title: str | None
    number: str | None
    status: str
    total: dict[str, Any]
    epoch: int
    at: str


def _invoice_created(row: InvoiceRow | None, e: billing.InvoiceCreated) -> InvoiceRow:
    return InvoiceRow(e.deal_id, e.title, None, "draft", e.total.model_dump(), 0, "")


def _invoice(status: str) -> Any:
    def fold(row: InvoiceRow | None, e: Any) -> InvoiceRow | None:
        if row is None:
            return None
        total = getattr(e, "total", None)
        return replace(
            row,
            deal_id=row.deal_id or getattr(e, "deal_id", None),
            status=status or row.status,
            number=getattr(e, "number", None) or row.number,
            total=total.model_dump() if total is not None else row.total,
            epoch=getattr(e, "epoch", None) or row.epoch,
        )

    return fold


INVOICES: Replica[InvoiceRow] = Replica(
    state_table(
        "invoices_v1",
        Column("deal_id", Text),
        Column("title", Text),
        Column("number", Text),
        Column("status", Text, nullable=False),
        Column("total", JSON, nullable=False),
        Column("epoch", Integer, nullable=False),
        Column("at", Text, nullable=False),
        Index("invoices_v1_deal", "tenant", "deal_id"),
    ),
    InvoiceRow,
    {
        billing.InvoiceCreated: _invoice_created,
        billing.InvoiceDraftChanged: _invoice(""),
        billing.InvoiceIssued: _invoice("issued"),
        billing.InvoiceLinked: _invoice(""),
        billing.InvoicePartiallyPaid: _invoice("partially_paid"),
        billing.InvoicePaid: _invoice("paid"),
        billing.InvoiceReopened: _invoice("issued"),
        billing.InvoiceRefunded: _invoice("refunded"),
        billing.InvoiceCancelled: _invoice("cancelled"),
    },
)
INVOICES_OF_DEAL: SqlFinder[Row] = by_column(
    "invoices of deal", INVOICES.table, "deal_id", lambda row: row, order="t.number nulls last, t.id"
)
"""Issued ones by number; drafts, which have none, are the newest."""


@dataclass(frozen=True, slots=True)
class CalendarRow:
    """The company's hours: weekly intervals by weekday, holidays as dates."""

    zone: str
    weekly: dict[str, Any]
    holidays: list[str]


def _calendar(row: CalendarRow | None, e: scheduler.CalendarChanged) -> CalendarRow | None:
    if e.calendar != "company":
        return row
    weekly = {day: [hours.model_dump() for hours in intervals] for day, intervals in e.weekly.items()}
    return CalendarRow(e.zone, weekly, [holiday.date for holiday in e.holidays])


COMPANY_CALENDAR: Replica[CalendarRow] = Replica(
    state_table(
        "company_calendar_v1",
        Column("zone", Text, nullable=False),
        Column("weekly", JSON, nullable=False),
        Column("holidays", JSON, nullable=False),
    ),
    CalendarRow,
    {scheduler.CalendarChanged: _calendar},
)


@dataclass(frozen=True, slots=True)
class RoomRow:
    code: str
    name: str
    retired: bool = False


ROOMS: Replica[RoomRow] = Replica(
    state_table(
        "rooms_v1", Column("code", Text, nullable=False), Column("name", Text, nullable=False), Column("retired", Boolean, nullable=False)
    ),
    RoomRow,
    {
        scheduler.RoomAdded: lambda row, e: RoomRow(e.code, e.name),
        scheduler.RoomChanged: lambda row, e: RoomRow(e.code, e.name, row.retired if row else False),
        scheduler.RoomRetired: lambda row, e: row and replace(row, retired=True),
    },
)

REPLICAS: tuple[Replica[Any] | HistoryReplica, ...] = (
    ELEMENTS,
    ARRIVALS,
    CONTACTS,
    COMPANIES,
    ALIASES,
    DETAILS,
    EMPLOYEES,
    PIPELINES,
    FIELD_SETS,
    FILES,
    ENDPOINTS,
    INVOICES,
    COMPANY_CALENDAR,
    ROOMS,
    *DIRECTORY.replicas,
    rehearsal_clocks(scheduler.RehearsalClockMoved),
)
