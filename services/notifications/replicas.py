"""What notifications knows of others: employees, contacts, files, activities, rooms, tenants and credentials. (notifications 8)"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import JSON, Boolean, Column, Integer, Text

from shared.contracts import deals, scheduler
from shared.es.view import Row, SqlFinder, state_table
from shared.messaging.directory import rehearsal_clocks, replicated_directory
from shared.messaging.replica import HistoryReplica, Replica

DIRECTORY = replicated_directory(
    deals.TenantRegistered, deals.TenantSuspended, deals.TenantResumed, deals.CredentialIssued, deals.CredentialRevoked
)
TENANTS, CREDENTIALS = DIRECTORY.replicas

# --------------------------------------------------------------------------------------------------------- employees

EMPLOYEES_TABLE = state_table(
    "employees_v1",
    Column("employee_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("phone", Text),
    Column("zone", Text, nullable=False),
    Column("language", Text, nullable=False),
    Column("manager_id", Text),
    Column("roles", JSON, nullable=False),
    Column("active", Boolean, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Employee:
    employee_id: str
    name: str
    email: str
    phone: str | None
    zone: str
    language: str
    manager_id: str | None
    roles: list[str]
    active: bool


def _employee(row: Employee | None, e: deals.EmployeeFact) -> Employee:
    return Employee(e.employee_id, e.name, e.email, e.phone, e.zone, e.language, e.manager_id, list(e.roles), e.active)


EMPLOYEES: Replica[Employee] = Replica(
    EMPLOYEES_TABLE,
    Employee,
    {
        deals.EmployeeAdded: _employee,
        deals.EmployeeChanged: _employee,
        deals.EmployeeDeactivated: lambda row, e: row and replace(row, active=False),
        deals.EmployeeReactivated: lambda row, e: row and replace(row, active=True),
    },
)


def _member(row: Row) -> Employee:
    return EMPLOYEES.load(row)


MEMBERS: SqlFinder[Employee] = SqlFinder(
    "members of a role",
    """
    select w.key, e.* from unnest($1::uuid[], $2::text[]) as w(tenant, key) join employees_v1 e on e.tenant = w.tenant and e.active
    where exists (select 1 from json_array_elements_text(e.roles) as r(role) where r.role = w.key) order by e.id
    """,
    _member,
)
"""Active employees who have the role, in the order of their ids."""

# ---------------------------------------------------------------------------------------------------------- contacts

CONTACTS_TABLE = state_table("contacts_v1", Column("emails", JSON, nullable=False))


@dataclass(frozen=True, slots=True)
class Customer:
    """The addresses of a contact or company. An erased contact has none any more (T21)."""

    emails: list[str]


def _emails_changed(row: Customer | None, e: deals.ContactFieldsChanged | deals.CompanyFieldsChanged) -> Customer | None:
    change = e.changes.get("emails")
    return row if row is None or change is None else Customer(list(change.after or ()))


CONTACTS: Replica[Customer] = Replica(
    CONTACTS_TABLE,
    Customer,
    {
        deals.ContactCreated: lambda row, e: Customer(list(e.fields.emails)),
        deals.ContactFieldsChanged: _emails_changed,
        deals.ContactDeleted: lambda row, e: Customer([]) if e.erased else row,
    },
)

COMPANIES_TABLE = state_table("companies_v1", Column("emails", JSON, nullable=False))
COMPANIES: Replica[Customer] = Replica(
    COMPANIES_TABLE,
    Customer,
    {deals.CompanyCreated: lambda row, e: Customer(list(e.fields.emails)), deals.CompanyFieldsChanged: _emails_changed},
)

# ------------------------------------------------------------------------------------------------------------- files

FILES_TABLE = state_table(
    "files_v1",
    Column("file_id", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("content_ref", Text, nullable=False),
    Column("size", Integer, nullable=False),
    Column("removed", Boolean, nullable=False),
)


@dataclass(frozen=True, slots=True)
class File:
    """`content_ref` names the bytes in the file storage that deals writes (F28)."""

    file_id: str
    name: str
    content_type: str
    content_ref: str
    size: int
    removed: bool


FILES: Replica[File] = Replica(
    FILES_TABLE,
    File,
    {
        deals.FileAttached: lambda row, e: File(e.file_id, e.name, e.content_type, e.content_ref, e.size, False),
        deals.FileRemoved: lambda row, e: row and replace(row, removed=True),
    },
)

# ---------------------------------------------------------------------------------------------- activities and rooms

ACTIVITIES_TABLE = state_table(
    "activities_v1",
    Column("name", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("starts_at", Text, nullable=False),
    Column("ends_at", Text, nullable=False),
    Column("local", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("responsible_id", Text, nullable=False),
    Column("address", Text),
    Column("room_id", Text),
    Column("link", Text),
)


@dataclass(frozen=True, slots=True)
class Activity:
    """What invitees were told last: a cancellation has to name it. Instants as they were said."""

    name: str
    description: str
    starts_at: str
    ends_at: str
    local: str
    zone: str
    responsible_id: str
    address: str | None
    room_id: str | None
    link: str | None


def _activity(row: Activity | None, e: scheduler.ActivityFact) -> Activity:
    return Activity(e.name, e.description, e.starts_at, e.ends_at, e.local, e.zone, e.responsible_id, e.address, e.room_id, e.link)


ACTIVITIES: Replica[Activity] = Replica(
    ACTIVITIES_TABLE,
    Activity,
    {
        scheduler.ActivityPlanned: _activity,
        scheduler.ActivityRescheduled: _activity,
        scheduler.ActivityReassigned: _activity,
    },
)

ROOMS_TABLE = state_table("rooms_v1", Column("name", Text, nullable=False), Column("location", Text))


@dataclass(frozen=True, slots=True)
class Room:
    name: str
    location: str | None


def _room(row: Room | None, e: scheduler.RoomFact) -> Room:
    return Room(e.name, e.location)


ROOMS: Replica[Room] = Replica(ROOMS_TABLE, Room, {scheduler.RoomAdded: _room, scheduler.RoomChanged: _room})

REPLICAS: tuple[Replica[Any] | HistoryReplica, ...] = (
    EMPLOYEES,
    CONTACTS,
    COMPANIES,
    FILES,
    ACTIVITIES,
    ROOMS,
    *DIRECTORY.replicas,
    rehearsal_clocks(scheduler.RehearsalClockMoved),
)
