"""What the scheduler knows of others: employees with their zones, visits that have ended, tenants and credentials. (scheduler 9)"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Boolean, Column, Index, Integer, Text

from shared.contracts import deals
from shared.es.view import Row, history_table, state_table
from shared.messaging.directory import replicated_directory
from shared.messaging.envelope import Message
from shared.messaging.replica import HistoryReplica, Replica

DIRECTORY = replicated_directory(
    deals.TenantRegistered, deals.TenantSuspended, deals.TenantResumed, deals.CredentialIssued, deals.CredentialRevoked
)
TENANTS, CREDENTIALS = DIRECTORY.replicas
"""TENANTS, by the tenant's id, has the zone that counts until a company calendar exists (F26)."""

# --------------------------------------------------------------------------------------------------------- employees

EMPLOYEES_TABLE = state_table(
    "employees_v1",
    Column("name", Text, nullable=False),
    Column("zone", Text, nullable=False),
    Column("active", Boolean, nullable=False),
)


@dataclass(frozen=True, slots=True)
class Employee:
    name: str
    zone: str
    active: bool


def _employee(row: Employee | None, e: deals.EmployeeFact) -> Employee:
    return Employee(e.name, e.zone, e.active)


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

# ------------------------------------------------------------------------------------------------------ ended visits

ENDED_VISITS_TABLE = history_table(
    "ended_visits_v1",
    Column("visit_id", Text, nullable=False),
    Column("element_id", Text, nullable=False),
    Column("how", Text, nullable=False),
    Column("correlation_id", Text, nullable=False),
    Column("hops", Integer, nullable=False),
    Column("actor", Text, nullable=False),
    Column("traceparent", Text),
    Index("ended_visits_v1_visit", "tenant", "visit_id"),
)
"""`how`: left, deleted. What is planned for such a visit comes too late (D50, D51)."""


def _left(message: Message[deals.StageChanged]) -> Iterable[Row]:
    yield _ended(message, message.body.from_visit_id, message.body.element_id, "left")


def _deal_deleted(message: Message[deals.DealDeleted]) -> Iterable[Row]:
    yield _ended(message, message.body.visit_id, message.body.deal_id, "deleted")


def _lead_deleted(message: Message[deals.LeadDeleted]) -> Iterable[Row]:
    yield _ended(message, message.body.visit_id, message.body.lead_id, "deleted")


def _ended(message: Message[Any], visit_id: str, element_id: str, how: str) -> Row:
    c = message.envelope.caused()
    chain = {"correlation_id": c.correlation_id, "hops": c.hops, "actor": c.actor, "traceparent": c.traceparent}
    return {"visit_id": visit_id, "element_id": element_id, "how": how, **chain}


ENDED_VISITS = HistoryReplica(
    ENDED_VISITS_TABLE, {deals.StageChanged: _left, deals.DealDeleted: _deal_deleted, deals.LeadDeleted: _lead_deleted}
)

REPLICAS: tuple[Replica[Any] | HistoryReplica, ...] = (EMPLOYEES, ENDED_VISITS, *DIRECTORY.replicas)
