"""Employee: who works here; known to texts by an immutable code (`user:42`). (D20, D21, F18)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

from services.deals.domain.fields import (
    E_MAIL,
    ID,
    LANGUAGE,
    NAME,
    SHORT_TEXT,
    SLUG,
    ZONE,
    Change,
    Kinds,
    difference,
    invalid,
    optional,
    patched,
    read,
    several,
)
from services.deals.domain.origin import BEGINNING, NIL, Cause, answered
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, NotFound, Rejected

MOST_ROLES = 20


@dataclass(frozen=True, slots=True)
class EmployeeFields:
    name: str
    email: str
    zone: str
    language: str = "en"
    phone: str | None = None
    department: str = ""
    manager_id: UUID | None = None
    roles: tuple[str, ...] = ()
    """Among them finance, rule_author and operator."""


SETTABLE: Kinds = {
    "name": NAME,
    "email": E_MAIL,
    "zone": ZONE,
    "language": LANGUAGE,
    "phone": optional(SHORT_TEXT),
    "department": SHORT_TEXT,
    "manager_id": optional(ID),
    "roles": several(SLUG, MOST_ROLES),
}


@dataclass(frozen=True, slots=True)
class AddEmployee:
    """`code_taken`: another employee has the code, found under the set `employee-codes`."""

    employee_id: UUID
    code: str
    fields: EmployeeFields
    cause: Cause
    code_taken: bool = False


@dataclass(frozen=True, slots=True)
class ChangeEmployee:
    changes: Mapping[str, Any]
    cause: Cause


@dataclass(frozen=True, slots=True)
class DeactivateEmployee:
    cause: Cause


@dataclass(frozen=True, slots=True)
class ReactivateEmployee:
    cause: Cause


@dataclass(frozen=True, slots=True)
class EmployeeAdded:
    employee_id: UUID
    code: str
    fields: EmployeeFields
    cause: Cause


@dataclass(frozen=True, slots=True)
class EmployeeChanged:
    changes: Mapping[str, Change]
    cause: Cause


@dataclass(frozen=True, slots=True)
class EmployeeDeactivated:
    cause: Cause


@dataclass(frozen=True, slots=True)
class EmployeeReactivated:
    cause: Cause


EmployeeCommand = AddEmployee | ChangeEmployee | DeactivateEmployee | ReactivateEmployee
EmployeeEvent = EmployeeAdded | EmployeeChanged | EmployeeDeactivated | EmployeeReactivated


@dataclass(frozen=True, slots=True)
class Employee:
    employee_id: UUID = NIL
    code: str = ""
    fields: EmployeeFields = EmployeeFields("", "", "UTC")
    active: bool = True
    created_at: datetime = BEGINNING
    answered: frozenset[UUID] = frozenset()

    @property
    def exists(self) -> bool:
        return self.employee_id != NIL


def new_fields(values: Mapping[str, Any]) -> EmployeeFields:
    """The fields of a new employee from JSON values. Raises Rejected `validation_failed` (422)."""
    missing = [name for name in ("name", "email", "zone") if not values.get(name)]
    if missing:
        raise invalid(Fault(f"/{name}", "required", "An employee needs this.") for name in missing)
    return EmployeeFields(**read(SETTABLE, values))


def decide(employee: Employee, command: EmployeeCommand) -> Sequence[EmployeeEvent]:
    if command.cause.request_id in employee.answered:
        return []
    if isinstance(command, AddEmployee):
        return _added(employee, command)
    if not employee.exists:
        raise NotFound("There is no such employee in this tenant.")
    match command:
        case ChangeEmployee(changes=changes, cause=cause):
            return _changed(employee, read(SETTABLE, changes), cause)
        case DeactivateEmployee(cause=cause):
            if not employee.active:
                raise Rejected("already_deactivated", "The employee is deactivated already.")
            return [EmployeeDeactivated(cause)]
        case ReactivateEmployee(cause=cause):
            return [] if employee.active else [EmployeeReactivated(cause)]
        case _:
            assert_never(command)


def evolve(employee: Employee, event: EmployeeEvent) -> Employee:
    known = replace(employee, answered=answered(employee.answered, event.cause))
    match event:
        case EmployeeAdded(employee_id=employee_id, code=code, fields=fields):
            return replace(known, employee_id=employee_id, code=code, fields=fields, created_at=event.cause.at)
        case EmployeeChanged(changes=changes):
            return replace(known, fields=patched(employee.fields, changes, SETTABLE))
        case EmployeeDeactivated():
            return replace(known, active=False)
        case EmployeeReactivated():
            return replace(known, active=True)
        case _:
            assert_never(event)


EMPLOYEE: Aggregate[Employee, EmployeeCommand, EmployeeEvent] = Aggregate(
    "employee",
    Employee(),
    decide,
    evolve,
    (EmployeeAdded, EmployeeChanged, EmployeeDeactivated, EmployeeReactivated),
    read_by_others=True,
)


def _added(employee: Employee, command: AddEmployee) -> Sequence[EmployeeEvent]:
    if employee.exists:
        return []
    if command.code_taken:
        raise Rejected("code_taken", f"Another employee has the code {command.code}.")
    return [EmployeeAdded(command.employee_id, command.code, command.fields, command.cause)]


def _changed(employee: Employee, given: Mapping[str, Any], cause: Cause) -> Sequence[EmployeeEvent]:
    if given.get("manager_id") == employee.employee_id:
        raise invalid([Fault("/manager_id", "wrong_type", "Nobody is his own manager.")])
    changes = difference(employee.fields, replace(employee.fields, **given), SETTABLE)
    return [EmployeeChanged(changes, cause)] if changes else []
