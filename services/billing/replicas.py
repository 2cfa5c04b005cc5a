"""What billing knows of others: deals, customers, details, employees, pipelines; built from what deals says (billing.md 9)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Index, Text

from services.billing.domain.customer import CompanyCard, DetailsCard, PersonCard
from services.billing.domain.money import lines_of, minor_units
from services.billing.domain.sign_templates import Wares
from shared.contracts import deals, scheduler
from shared.es.view import Row, SqlFinder, state_table
from shared.messaging.directory import rehearsal_clocks, replicated_directory
from shared.messaging.replica import Replica

# -------------------------------------------------------------------------------------------------------- directory

DIRECTORY = replicated_directory(
    deals.TenantRegistered, deals.TenantSuspended, deals.TenantResumed, deals.CredentialIssued, deals.CredentialRevoked
)
TENANTS, CREDENTIALS = DIRECTORY.replicas
"""TENANTS, by the tenant's id, has its name, language and zone."""

# ------------------------------------------------------------------------------------------------------------ deals

DEALS_TABLE = state_table(
    "deals_v1",
    Column("title", Text, nullable=False),
    Column("responsible_id", Text),
    Column("contact_id", Text),
    Column("company_id", Text),
    Column("currency", Text, nullable=False),
    Column("amount", Text, nullable=False),
    Column("prices_include_tax", Boolean, nullable=False),
    Column("lines", JSON, nullable=False),
    Column("pipeline_id", Text, nullable=False),
    Column("deleted", Boolean, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Deal:
    """`amount` and the lines' decimals are text as deals said them; `contact_id` is the primary contact."""

    title: str
    responsible_id: str | None
    contact_id: str | None
    company_id: str | None
    currency: str
    amount: str
    prices_include_tax: bool
    lines: list[dict[str, Any]]
    pipeline_id: str
    deleted: bool


def _deal_created(row: Deal | None, e: deals.DealCreated) -> Deal:
    f = e.fields
    return Deal(
        f.title,
        f.responsible_id,
        f.primary_contact_id or next(iter(f.contact_ids), None),
        f.company_id,
        f.currency,
        f.amount,
        f.prices_include_tax,
        [line.model_dump() for line in f.lines],
        e.pipeline_id,
        False,
    )


SAME_NAME = ("title", "responsible_id", "company_id", "currency", "amount", "prices_include_tax", "lines")


def _deal_changed(row: Deal | None, e: deals.DealFieldsChanged) -> Deal | None:
    if row is None:
        return None
    new = {name: change.after for name, change in e.changes.items() if name in SAME_NAME}
    contacts = e.changes.get("contact_ids")
    if primary := e.changes.get("primary_contact_id"):
        new["contact_id"] = primary.after
    elif contacts and row.contact_id not in contacts.after:
        new["contact_id"] = next(iter(contacts.after), None)
    return replace(row, **new)


DEALS = Replica(
    DEALS_TABLE,
    Deal,
    {
        deals.DealCreated: _deal_created,
        deals.DealFieldsChanged: _deal_changed,
        deals.StageChanged: lambda row, e: row and replace(row, pipeline_id=e.pipeline_id),
        deals.DealDeleted: lambda row, e: row and replace(row, deleted=True),
        deals.DealRestored: lambda row, e: row and replace(row, deleted=False),
    },
)


@dataclass(frozen=True, slots=True)
class _Row:
    """A product row as the replica holds it."""

    line_id: str
    name: str
    quantity: str
    unit_price: str
    tax_rate: str
    product_code: str | None = None
    discount_percent: str = "0"


def wares_of(deal: Deal) -> Wares:
    """What the deal sells, in minor units. Raises Rejected for rows that are none."""
    lines = lines_of([_Row(**line) for line in deal.lines], deal.currency)
    return Wares(deal.currency, deal.prices_include_tax, lines, minor_units(deal.amount, deal.currency))


PIPELINES_TABLE = state_table(
    "pipelines_v1", Column("expire_links_on_lost", Boolean, nullable=False), Column("language", Text, nullable=False)
)


@dataclass(frozen=True, slots=True)
class Pipeline:
    expire_links_on_lost: bool
    language: str


def _pipeline(row: Pipeline | None, e: deals.PipelineFact) -> Pipeline:
    return Pipeline(e.expire_links_on_lost, e.language)


PIPELINES = Replica(PIPELINES_TABLE, Pipeline, {deals.PipelineCreated: _pipeline, deals.PipelineSettingsChanged: _pipeline})

# -------------------------------------------------------------------------------------------------------- customers

CONTACTS_TABLE = state_table(
    "contacts_v1",
    Column("first_name", Text, nullable=False),
    Column("last_name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("language", Text),
    Column("deleted", Boolean, nullable=False),
)
COMPANIES_TABLE = state_table(
    "companies_v1", Column("name", Text, nullable=False), Column("email", Text, nullable=False), Column("deleted", Boolean, nullable=False)
)
ALIASES_TABLE = state_table("customer_aliases_v1", Column("survivor_id", Text, nullable=False))
DETAILS_TABLE = state_table(
    "details_v1",
    Column("owner_id", Text, nullable=False),
    Column("template_code", Text, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("fields", JSON, nullable=False),
    Column("addresses", JSON, nullable=False),
    Column("removed", Boolean, nullable=False),
    Index("details_v1_owner", "tenant", "owner_id"),
)
EMPLOYEES_TABLE = state_table(
    "employees_v1",
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("active", Boolean, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Contact:
    first_name: str
    last_name: str
    email: str
    language: str | None
    deleted: bool


@dataclass(frozen=True, slots=True)
class Company:
    name: str
    email: str
    deleted: bool


@dataclass(frozen=True, slots=True)
class Alias:
    """A merged id stands for the survivor from then on (D65)."""

    survivor_id: str


@dataclass(frozen=True, slots=True)
class Details:
    owner_id: str
    template_code: str
    is_default: bool
    fields: dict[str, Any]
    addresses: dict[str, Any]
    removed: bool


@dataclass(frozen=True, slots=True)
class Employee:
    code: str
    name: str
    email: str
    active: bool


def _first(texts: Any) -> str:
    return next(iter(texts or ()), "")


def _contact_created(row: Contact | None, e: deals.ContactCreated) -> Contact:
    return Contact(e.fields.first_name, e.fields.last_name, _first(e.fields.emails), e.fields.language, False)


def _contact_changed(row: Contact | None, e: deals.ContactFieldsChanged) -> Contact | None:
    new: dict[str, Any] = {name: e.changes[name].after for name in ("first_name", "last_name", "language") if name in e.changes}
    if emails := e.changes.get("emails"):
        new["email"] = _first(emails.after)
    return row and replace(row, **new)


def _contact_deleted(row: Contact | None, e: deals.ContactDeleted) -> Contact | None:
    """What an erased person's issued documents say stays: the law wants it. Everything else goes."""
    return Contact("", "", "", None, True) if e.erased else row and replace(row, deleted=True)


def _company_changed(row: Company | None, e: deals.CompanyFieldsChanged) -> Company | None:
    new = {"name": e.changes["name"].after} if "name" in e.changes else {}
    if emails := e.changes.get("emails"):
        new["email"] = _first(emails.after)
    return row and replace(row, **new)


CONTACTS = Replica(
    CONTACTS_TABLE,
    Contact,
    {
        deals.ContactCreated: _contact_created,
        deals.ContactFieldsChanged: _contact_changed,
        deals.ContactDeleted: _contact_deleted,
    },
)
COMPANIES = Replica(
    COMPANIES_TABLE,
    Company,
    {
        deals.CompanyCreated: lambda row, e: Company(e.fields.name, _first(e.fields.emails), False),
        deals.CompanyFieldsChanged: _company_changed,
        deals.CompanyDeleted: lambda row, e: row and replace(row, deleted=True),
    },
)
ALIASES = Replica(
    ALIASES_TABLE,
    Alias,
    {deals.ContactsMerged: lambda row, e: Alias(e.survivor_id), deals.CompaniesMerged: lambda row, e: Alias(e.survivor_id)},
    id_of=lambda e: str(e.merged_id),
)


def _details(row: Details | None, e: deals.DetailsCreated | deals.DetailsChanged) -> Details:
    return Details(e.owner_id, e.template_code, e.is_default, e.fields, e.addresses, False)


DETAILS = Replica(
    DETAILS_TABLE,
    Details,
    {
        deals.DetailsCreated: _details,
        deals.DetailsChanged: _details,
        deals.DetailsRemoved: lambda row, e: row and replace(row, removed=True),
    },
)


def _employee(row: Employee | None, e: deals.EmployeeFact) -> Employee:
    return Employee(e.code, e.name, e.email, e.active)


EMPLOYEES = Replica(EMPLOYEES_TABLE, Employee, {deals.EmployeeAdded: _employee, deals.EmployeeChanged: _employee})

REPLICAS = (
    *DIRECTORY.replicas,
    rehearsal_clocks(scheduler.RehearsalClockMoved),
    DEALS,
    PIPELINES,
    CONTACTS,
    COMPANIES,
    ALIASES,
    DETAILS,
    EMPLOYEES,
)

# ---------------------------------------------------------------------------------------------------------- finders

_SURVIVOR = """
from unnest($1::uuid[], $2::text[]) as w(tenant, key)
left join customer_aliases_v1 a on a.tenant = w.tenant and a.id = w.key
left join customer_aliases_v1 b on b.tenant = a.tenant and b.id = a.survivor_id
"""
_STANDS_FOR = "coalesce(b.survivor_id, a.survivor_id, w.key)"

_PEOPLE_SQL = f"select w.key, c.* {_SURVIVOR} join contacts_v1 c on c.tenant = w.tenant and c.id = {_STANDS_FOR}"
_FIRMS_SQL = f"select w.key, c.* {_SURVIVOR} join companies_v1 c on c.tenant = w.tenant and c.id = {_STANDS_FOR}"
_LEGAL_SQL = f"""
select w.key, d.* {_SURVIVOR} join details_v1 d on d.tenant = w.tenant and d.owner_id in (w.key, {_STANDS_FOR})
where not d.removed order by d.is_default desc, d.id
"""


def _person(row: Row) -> PersonCard:
    return PersonCard(row["id"], row["first_name"], row["last_name"], row["email"], row["language"])


def _firm(row: Row) -> CompanyCard:
    return CompanyCard(row["id"], row["name"], row["email"])


def details_card(fields: Mapping[str, Any], addresses: Mapping[str, Any], is_default: bool) -> DetailsCard:
    texts = {name: str(value) for name, value in fields.items() if value is not None}
    return DetailsCard(is_default, texts, {kind: dict(address or {}) for kind, address in addresses.items()})


PEOPLE = SqlFinder("people", _PEOPLE_SQL, _person)
"""Contacts by id; a merged id finds its survivor."""
FIRMS = SqlFinder("firms", _FIRMS_SQL, _firm)
"""Companies by id, likewise."""
LEGAL = SqlFinder("legal", _LEGAL_SQL, lambda row: details_card(row["fields"], row["addresses"], row["is_default"]))
"""Details records of a contact or company: the default one first, then the oldest."""
