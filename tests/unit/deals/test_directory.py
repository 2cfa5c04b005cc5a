"""Field sets, employees, tenants, credentials and files."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from itertools import permutations
from typing import Any, get_args

import pytest

from services.deals.domain.credential import CREDENTIAL, CredentialIssued, CredentialRevoked, IssueCredential, RevokeCredential
from services.deals.domain.employee import (
    EMPLOYEE,
    AddEmployee,
    ChangeEmployee,
    DeactivateEmployee,
    EmployeeAdded,
    EmployeeChanged,
    EmployeeDeactivated,
    EmployeeFields,
    EmployeeReactivated,
    ReactivateEmployee,
    new_fields,
)
from services.deals.domain.field_set import (
    FIELD_SET,
    ChangeFields,
    CreateFieldSet,
    FieldDefinition,
    FieldSet,
    FieldSetChanged,
    checked,
    form_id,
    template_id,
)
from services.deals.domain.fields import Change
from services.deals.domain.file import FILE, AttachFile, FileAttached, FileRemoved, RemoveFile
from services.deals.domain.tenant import (
    TENANT,
    RegisterTenant,
    ResumeTenant,
    SuspendTenant,
    TenantCommand,
    TenantRegistered,
    TenantResumed,
    TenantSuspended,
)
from shared.es.errors import Rejected
from shared.testing.given import given
from tests.unit.deals.things import ANNA, ANNA_DID, OLAF, ROOF, id_of

CITY = FieldDefinition("city", "City", "string")
FORM = FieldSetChanged(id_of("form"), "form", (CITY,), ANNA_DID, element_type="contact")


def fields(*definitions: FieldDefinition) -> ChangeFields:
    return ChangeFields(definitions, ANNA_DID)


def test_a_form_is_made_once() -> None:
    create = CreateFieldSet(id_of("form"), "form", (CITY,), ANNA_DID, element_type="contact")

    given(FIELD_SET).when(create).then(FORM)
    given(FIELD_SET, FORM).when(create).nothing_happens()


def test_a_template_starts_with_the_standard_fields() -> None:
    create = CreateFieldSet(id_of("t"), "details_template", (CITY,), ANNA_DID, owner_type="company", template_code="gmbh")

    given(FIELD_SET).when(create).refused("code_taken")
    state = given(FIELD_SET).when(replace(create, fields=())).state
    assert {"tax_number", "vat_id", "company_name", "iban"} <= state.codes


def test_what_is_not_named_stays() -> None:
    size = FieldDefinition("size", "Size", "select", options=("s",))

    given(FIELD_SET, FORM).when(fields(size)).then(replace(FORM, fields=(CITY, size)))
    given(FIELD_SET, FORM).when(fields(replace(CITY, label="Stadt"))).then(replace(FORM, fields=(replace(CITY, label="Stadt"),)))
    given(FIELD_SET, FORM).when(fields(CITY)).nothing_happens()


def test_a_field_keeps_its_type() -> None:
    given(FIELD_SET, FORM).when(fields(replace(CITY, field_type="number"))).refused("type_is_fixed")
    given(FIELD_SET, FORM).when(fields(replace(CITY, multiple=True))).refused("type_is_fixed")


def test_only_known_fields_are_retired() -> None:
    given(FIELD_SET, FORM).when(fields(FieldDefinition("x", "X", "string", retired=True))).refused("unknown_field")
    assert not given(FIELD_SET, FORM).when(fields(replace(CITY, retired=True))).state.has("city")


def test_codes_differ_and_there_are_at_most_200() -> None:
    many = [FieldDefinition(f"f{n}", "F", "string") for n in range(200)]

    given(FIELD_SET, FORM).when(fields(CITY, CITY)).refused("code_taken")
    given(FIELD_SET, FORM).when(fields(*many)).refused("validation_failed", "/fields")
    given(FIELD_SET, FORM).when(fields(FieldDefinition("x", "X", "select"))).refused("validation_failed", "/fields")
    given(FIELD_SET).when(fields(CITY)).refused("not_found")


@pytest.mark.parametrize(
    ("field_type", "given_value", "kept"),
    [
        ("number", 7, "7"),
        ("number", "7.50", "7.50"),
        ("money", {"amount": "5", "currency": "EUR"}, {"amount": "5.00", "currency": "EUR"}),
        ("bool", False, False),
        ("date", "2026-03-02", "2026-03-02"),
        ("datetime", "2026-03-02T09:00:00+01:00", "2026-03-02T08:00:00.000Z"),
        ("user", str(ANNA).upper(), str(ANNA)),
        ("url", "https://example.org/c/1", "https://example.org/c/1"),
        ("text", "a\nb", "a\nb"),
    ],
)
def test_values_are_kept_in_one_notation(field_type: str, given_value: Any, kept: Any) -> None:
    form = FieldSet(id_of("form"), "form", (FieldDefinition("x", "X", field_type),))

    assert checked(form, {}, {"x": given_value}) == {"x": kept}


@pytest.mark.parametrize(
    ("field_type", "value"),
    [
        ("number", 1.5),
        ("number", True),
        ("money", {"amount": "5"}),
        ("money", {"amount": "5.001", "currency": "EUR"}),
        ("bool", "true"),
        ("date", "2.3.2026"),
        ("datetime", "2026-03-02T09:00:00"),
        ("user", "anna"),
        ("url", "ftp://example.org"),
        ("url", "http://[bad"),
        ("string", "x" * 256),
        ("string", ["x"]),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(field_type: str, value: Any) -> None:
    form = FieldSet(id_of("form"), "form", (FieldDefinition("x", "X", field_type),))

    with pytest.raises(Rejected) as refused:
        checked(form, {}, {"x": value})
    assert refused.value.errors[0].pointer == "/custom/x"


def test_ids_of_field_sets_are_known_beforehand() -> None:
    assert form_id(OLAF, "deal") == form_id(OLAF, "deal") != form_id(OLAF, "lead") != form_id(ANNA, "lead")
    assert template_id(OLAF, "person", "a") != template_id(OLAF, "company", "a")


PERSON = EmployeeFields("Anna Amsel", "anna@acme.test", "Europe/Berlin", roles=("finance",))
HIRED = EmployeeAdded(ANNA, "42", PERSON, ANNA_DID)


def test_an_employee_is_added_once_and_keeps_the_code() -> None:
    given(EMPLOYEE).when(AddEmployee(ANNA, "42", PERSON, ANNA_DID)).then(HIRED)
    given(EMPLOYEE, HIRED).when(AddEmployee(ANNA, "42", PERSON, ANNA_DID)).nothing_happens()
    given(EMPLOYEE).when(AddEmployee(ANNA, "42", PERSON, ANNA_DID, code_taken=True)).refused("code_taken")


def test_an_employee_changes() -> None:
    given(EMPLOYEE, HIRED).when(ChangeEmployee({"department": "Sales", "name": "Anna Amsel"}, ANNA_DID)).then(
        EmployeeChanged({"department": Change("", "Sales")}, ANNA_DID)
    )
    given(EMPLOYEE, HIRED).when(ChangeEmployee({"code": "7"}, ANNA_DID)).refused("validation_failed", "/code")
    given(EMPLOYEE, HIRED).when(ChangeEmployee({"manager_id": str(ANNA)}, ANNA_DID)).refused("validation_failed", "/manager_id")
    given(EMPLOYEE).when(ChangeEmployee({}, ANNA_DID)).refused("not_found")


def test_an_employee_leaves_and_comes_back() -> None:
    left = EmployeeDeactivated(ANNA_DID)

    given(EMPLOYEE, HIRED).when(DeactivateEmployee(ANNA_DID)).then(left)
    given(EMPLOYEE, HIRED, left).when(DeactivateEmployee(ANNA_DID)).refused("already_deactivated")
    given(EMPLOYEE, HIRED, left).when(ReactivateEmployee(ANNA_DID)).then(EmployeeReactivated(ANNA_DID))
    given(EMPLOYEE, HIRED).when(ReactivateEmployee(ANNA_DID)).nothing_happens()


def test_an_employee_needs_name_address_and_zone() -> None:
    with pytest.raises(Rejected) as refused:
        new_fields({"name": "X"})
    assert [fault.pointer for fault in refused.value.errors] == ["/email", "/zone"]


ACME = TenantRegistered(OLAF, "Acme", "de", "Europe/Berlin", False, ANNA_DID)


@pytest.mark.parametrize("rehearsal", [True, False])
def test_whether_a_tenant_rehearses_is_fixed_whatever_is_asked_of_it(rehearsal: bool) -> None:
    tenant = given(TENANT, replace(ACME, rehearsal=rehearsal)).state
    again = RegisterTenant(OLAF, "Acme", "de", "UTC", not rehearsal, ANNA_DID)
    asked: tuple[TenantCommand, ...] = (again, SuspendTenant(ANNA_DID), ResumeTenant(ANNA_DID))
    assert {type(command) for command in asked} == set(get_args(TenantCommand))
    for first, second in permutations(asked, 2):
        for command in (first, second):
            with suppress(Rejected):
                tenant = TENANT.fold(TENANT.decide(tenant, command), tenant)
            assert tenant.rehearsal is rehearsal


def test_a_tenant_is_suspended_and_resumed() -> None:
    given(TENANT).when(RegisterTenant(OLAF, "Acme", "de", "Europe/Berlin", False, ANNA_DID)).then(ACME)
    given(TENANT, ACME).when(RegisterTenant(OLAF, "Other", "en", "UTC", True, ANNA_DID)).nothing_happens()
    given(TENANT, ACME).when(SuspendTenant(ANNA_DID)).then(TenantSuspended(ANNA_DID))
    given(TENANT, ACME, TenantSuspended(ANNA_DID)).when(SuspendTenant(ANNA_DID)).refused("already_suspended")
    given(TENANT, ACME, TenantSuspended(ANNA_DID)).when(ResumeTenant(ANNA_DID)).then(TenantResumed(ANNA_DID))
    given(TENANT, ACME).when(ResumeTenant(ANNA_DID)).refused("not_suspended")
    given(TENANT).when(SuspendTenant(ANNA_DID)).refused("not_found")


ALL = frozenset({"deals:read", "deals:write", "admin:keys"})


def issue(**more: Any) -> IssueCredential:
    values: dict[str, Any] = {"scopes": ("deals:read",), "actor": "key:shop", "held": ALL, **more}
    return IssueCredential(id_of("key"), OLAF, "a1b2", known_scopes=ALL, cause=ANNA_DID, **values)


ISSUED = CredentialIssued(id_of("key"), OLAF, "a1b2", ("deals:read",), "key:shop", ANNA_DID)


def test_a_key_is_issued_once_and_revoked_once() -> None:
    given(CREDENTIAL).when(issue()).then(ISSUED)
    given(CREDENTIAL, ISSUED).when(issue()).nothing_happens()
    given(CREDENTIAL, ISSUED).when(RevokeCredential(ANNA_DID)).then(CredentialRevoked(ANNA_DID))
    given(CREDENTIAL, ISSUED, CredentialRevoked(ANNA_DID)).when(RevokeCredential(ANNA_DID)).nothing_happens()
    given(CREDENTIAL).when(RevokeCredential(ANNA_DID)).refused("not_found")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"scopes": ("root",)}, "unknown_scope"),
        ({"held": frozenset({"admin:keys"})}, "scope_not_held"),
        ({"active": 2}, "two_active"),
        ({"suspended": True}, "tenant_suspended"),
        ({"actor": "anna"}, "validation_failed"),
        ({"actor": "user:anna"}, "validation_failed"),
    ],
)
def test_who_gets_no_key(more: dict[str, Any], code: str) -> None:
    given(CREDENTIAL).when(issue(**more)).refused(code)


def test_the_first_start_asks_nobody() -> None:
    given(CREDENTIAL).when(issue(held=None)).then(ISSUED)


def attach(**more: Any) -> AttachFile:
    values: dict[str, Any] = {"size": 10, "content_type": "application/pdf", "owner_type": "deal", "owner_id": ROOF, **more}
    return AttachFile(id_of("file"), "ab/cd", "00ff", "offer.pdf", cause=ANNA_DID, **values)


ATTACHED = FileAttached(id_of("file"), "ab/cd", "00ff", "offer.pdf", 10, "application/pdf", ANNA_DID, "deal", ROOF)


def test_a_file_is_attached_and_removed() -> None:
    given(FILE).when(attach()).then(ATTACHED)
    given(FILE, ATTACHED).when(attach()).nothing_happens()
    given(FILE, ATTACHED).when(RemoveFile(ANNA_DID)).then(FileRemoved(ANNA_DID))
    given(FILE, ATTACHED, FileRemoved(ANNA_DID)).when(RemoveFile(ANNA_DID)).nothing_happens()
    given(FILE).when(RemoveFile(ANNA_DID)).refused("not_found")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"size": 25 * 1024 * 1024 + 1}, "too_large"),
        ({"content_type": "application/x-msdownload"}, "type_not_allowed"),
        ({"used": 100, "quota": 109}, "quota_exceeded"),
    ],
)
def test_what_is_not_kept(more: dict[str, Any], code: str) -> None:
    given(FILE).when(attach(**more)).refused(code)
