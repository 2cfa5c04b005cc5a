"""What is asked of pipelines, field sets, employees, tenants and credentials."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from services.deals import views
from services.deals.asks import references
from services.deals.asks.asker import Asker
from services.deals.asks.elements import must_be_the_same
from services.deals.domain import employee
from services.deals.domain.credential import CREDENTIAL, IssueCredential, RevokeCredential
from services.deals.domain.deal import REQUIRABLE as OF_A_DEAL
from services.deals.domain.employee import EMPLOYEE, AddEmployee, ChangeEmployee, DeactivateEmployee, ReactivateEmployee
from services.deals.domain.field_set import (
    FIELD_SET,
    OWNER_TYPES,
    ChangeFields,
    CreateFieldSet,
    FieldDefinition,
    FieldSet,
    form_id,
    template_id,
)
from services.deals.domain.fields import shown
from services.deals.domain.lead import REQUIRABLE as OF_A_LEAD
from services.deals.domain.pipeline import (
    PIPELINE,
    SETTINGS,
    AddStage,
    ArchivePipeline,
    ChangePipelineSettings,
    CreatePipeline,
    RenameStage,
    ReorderStages,
    ReplaceStage,
    SetRequiredFields,
    Stage,
    StepDownAsDefault,
    new_settings,
)
from services.deals.domain.tenant import TENANT, RegisterTenant, ResumeTenant, SuspendTenant
from shared.es.addressed import Addressed, Facts
from shared.es.errors import Conflict, Fault, Rejected

Values = Mapping[str, Any]
CODES_OF_PIPELINES = "pipeline-codes"
CODES_OF_EMPLOYEES = "employee-codes"


# ------------------------------------------------------------------------------------------------------------- pipelines
@dataclass(frozen=True, slots=True)
class NewPipeline:
    """`settings`: JSON values. `default_now`: the default pipeline of the element type when that was looked up."""

    pipeline_id: UUID
    code: str
    element_type: str
    settings: Values
    stages: Sequence[Stage]
    default_now: UUID | None


def create_pipeline(asker: Asker, new: NewPipeline) -> tuple[Addressed[Any], ...]:
    """The first pipeline of an element type is its default one; a new default takes the flag from the old one."""
    finds = ((views.DEFAULT_PIPELINE, new.element_type), (views.PIPELINES_WITH_CODE, new.code), (views.NUMBER_OF_PIPELINES, ""))
    return (
        Addressed(
            PIPELINE,
            str(new.pipeline_id),
            lambda seen: _creating(asker, new, seen),
            reads=((FIELD_SET, str(form_id(asker.tenant, new.element_type))), *references.reads(new.settings)),
            exclusive=CODES_OF_PIPELINES,
            finds=finds,
        ),
        *_stepping_down(asker, new.default_now if new.settings.get("is_default") else None, new.pipeline_id),
    )


def _creating(asker: Asker, new: NewPipeline, seen: Facts) -> CreatePipeline | None:
    settings = new_settings(references.resolved(seen, new.settings))
    known = seen.state(PIPELINE, str(new.pipeline_id))
    if known.exists:
        given = {name: value for name, value in shown(settings, SETTINGS).items() if name in new.settings}
        must_be_the_same({**shown(known.settings, SETTINGS), "code": known.code}, {**given, "code": new.code})
        return None
    default = seen.one(views.DEFAULT_PIPELINE, new.element_type)
    _must_still_be(default, new.default_now)
    requirable = _requirable(new.element_type, seen.state(FIELD_SET, str(form_id(asker.tenant, new.element_type))))
    for n, stage in enumerate(new.stages):
        _must_be_known(stage.required_fields, requirable, f"/stages/{n}")
    settings = replace(settings, is_default=settings.is_default or default is None)
    taken = seen.one(views.PIPELINES_WITH_CODE, new.code) is not None
    number = seen.one(views.NUMBER_OF_PIPELINES, "") or 0
    about = (new.pipeline_id, new.code, new.element_type, settings, tuple(new.stages))
    return CreatePipeline(*about, asker.cause(seen), code_taken=taken, pipelines=number)


def _must_still_be(default: UUID | None, looked_up: UUID | None) -> None:
    if default != looked_up:
        raise Conflict("another pipeline is the default one by now")


def _stepping_down(asker: Asker, default_now: UUID | None, new_default: UUID) -> tuple[Addressed[Any], ...]:
    if default_now is None or default_now == new_default:
        return ()
    return (Addressed(PIPELINE, str(default_now), lambda seen: StepDownAsDefault(asker.cause(seen))),)


def _requirable(element_type: str, form: FieldSet) -> frozenset[str]:
    own = OF_A_DEAL if element_type == "deal" else OF_A_LEAD | {"loss_reason"}
    return own | {f"uf.{code}" for code in form.codes}


def _must_be_known(names: Sequence[str], known: frozenset[str], at: str) -> None:
    faults = [
        Fault(f"{at}/required_fields/{n}", "unknown_field", "Elements of this pipeline have no such field.")
        for n, name in enumerate(names)
        if name not in known
    ]
    if faults:
        raise Rejected("validation_failed", faults[0].detail, status=422, errors=faults)


def change_pipeline(
    asker: Asker, pipeline_id: UUID, element_type: str, changes: Values, default_now: UUID | None
) -> tuple[Addressed[Any], ...]:
    wants = changes.get("is_default") is True

    def change(seen: Facts) -> ChangePipelineSettings:
        if wants:
            _must_still_be(seen.one(views.DEFAULT_PIPELINE, element_type), default_now)
        return ChangePipelineSettings(references.resolved(seen, changes), asker.cause(seen))

    return (
        Addressed(
            PIPELINE,
            str(pipeline_id),
            change,
            reads=references.reads(changes),
            exclusive=CODES_OF_PIPELINES if wants else None,
            finds=((views.DEFAULT_PIPELINE, element_type),) if wants else (),
        ),
        *_stepping_down(asker, default_now if wants else None, pipeline_id),
    )


def add_stage(asker: Asker, pipeline_id: UUID, element_type: str, stage: Stage, position: int | None) -> Addressed[Any]:
    form = str(form_id(asker.tenant, element_type))
    return Addressed(
        PIPELINE,
        str(pipeline_id),
        lambda seen: AddStage(stage, asker.cause(seen), position, _requirable(element_type, seen.state(FIELD_SET, form))),
        reads=((FIELD_SET, form),),
    )


@dataclass(frozen=True, slots=True)
class StageEdit:
    name: str | None = None
    colour: str | None = None
    required_fields: tuple[str, ...] | None = None


def change_stage(asker: Asker, pipeline_id: UUID, element_type: str, stage_id: UUID, edit: StageEdit) -> tuple[Addressed[Any], ...]:
    id, form = str(pipeline_id), str(form_id(asker.tenant, element_type))

    def require(seen: Facts) -> SetRequiredFields | None:
        if edit.required_fields is None:
            return None
        return SetRequiredFields(stage_id, edit.required_fields, _requirable(element_type, seen.state(FIELD_SET, form)), asker.cause(seen))

    return (
        Addressed(PIPELINE, id, lambda seen: RenameStage(stage_id, asker.cause(seen), edit.name, edit.colour)),
        Addressed(PIPELINE, id, require, reads=((FIELD_SET, form),)),
    )


def reorder_stages(asker: Asker, pipeline_id: UUID, order: Sequence[UUID]) -> Addressed[Any]:
    return Addressed(PIPELINE, str(pipeline_id), lambda seen: ReorderStages(tuple(order), asker.cause(seen)))


def replace_stage(asker: Asker, pipeline_id: UUID, stage_id: UUID, by: UUID, automation: str, rules: str) -> Addressed[Any]:
    return Addressed(PIPELINE, str(pipeline_id), lambda seen: ReplaceStage(stage_id, by, automation, rules, asker.cause(seen)))


def archive_pipeline(asker: Asker, pipeline_id: UUID) -> Addressed[Any]:
    """Elements are counted once nothing can arrive any more: arrivals read the pipeline's stream (D59)."""
    id = str(pipeline_id)
    return Addressed(
        PIPELINE,
        id,
        lambda seen: ArchivePipeline(seen.one(views.ELEMENTS_IN_PIPELINE, id) or 0, asker.cause(seen)),
        exclusive=f"pipeline-elements/{id}",
        finds=((views.ELEMENTS_IN_PIPELINE, id),),
    )


# ------------------------------------------------------------------------------------------------- field sets, employees
@dataclass(frozen=True, slots=True)
class NewFieldSet:
    field_set_id: UUID
    kind: str
    fields: Sequence[FieldDefinition]
    element_type: str | None = None
    owner_type: str | None = None
    template_code: str | None = None


def create_field_set(asker: Asker, new: NewFieldSet) -> Addressed[Any]:
    """There is one set for each element type and one for each template: a second one is refused `code_taken`."""
    id = str(new.field_set_id)

    def create(seen: Facts) -> CreateFieldSet:
        if seen.state(FIELD_SET, id).exists:
            raise Rejected("code_taken", "This field set exists already; change it instead.")
        about = (new.element_type, new.owner_type, new.template_code)
        return CreateFieldSet(new.field_set_id, new.kind, tuple(new.fields), asker.cause(seen), *about)

    return Addressed(FIELD_SET, id, create)


def change_field_set(asker: Asker, field_set_id: UUID, fields: Sequence[FieldDefinition]) -> Addressed[Any]:
    return Addressed(FIELD_SET, str(field_set_id), lambda seen: ChangeFields(tuple(fields), asker.cause(seen)))


def add_employee(asker: Asker, employee_id: UUID, code: str, values: Values) -> Addressed[Any]:
    def add(seen: Facts) -> AddEmployee | None:
        fields = employee.new_fields(references.resolved(seen, values))
        known = seen.state(EMPLOYEE, str(employee_id))
        if known.exists:
            given = {name: value for name, value in shown(fields, employee.SETTABLE).items() if name in values}
            must_be_the_same({**shown(known.fields, employee.SETTABLE), "code": known.code}, {**given, "code": code})
            return None
        taken = seen.one(views.EMPLOYEES_WITH_CODE, code) is not None
        return AddEmployee(employee_id, code, fields, asker.cause(seen), taken)

    return Addressed(
        EMPLOYEE,
        str(employee_id),
        add,
        reads=references.reads(values),
        exclusive=CODES_OF_EMPLOYEES,
        finds=((views.EMPLOYEES_WITH_CODE, code),),
    )


def change_employee(asker: Asker, employee_id: UUID, changes: Values) -> Addressed[Any]:
    return Addressed(
        EMPLOYEE,
        str(employee_id),
        lambda seen: ChangeEmployee(references.resolved(seen, changes), asker.cause(seen)),
        reads=references.reads(changes),
    )


def deactivate_employee(asker: Asker, employee_id: UUID) -> Addressed[Any]:
    return Addressed(EMPLOYEE, str(employee_id), lambda seen: DeactivateEmployee(asker.cause(seen)))


def reactivate_employee(asker: Asker, employee_id: UUID) -> Addressed[Any]:
    return Addressed(EMPLOYEE, str(employee_id), lambda seen: ReactivateEmployee(asker.cause(seen)))


# --------------------------------------------------------------------------------------------------- tenants, credentials
@dataclass(frozen=True, slots=True)
class NewTenant:
    tenant_id: UUID
    name: str
    language: str
    zone: str
    rehearsal: bool = False


def register_tenant(asker: Asker, new: NewTenant) -> tuple[Addressed[Any], ...]:
    """To be asked in the new tenant itself. It starts with one details template for persons and one for companies."""

    def register(seen: Facts) -> RegisterTenant | None:
        known = seen.state(TENANT, str(new.tenant_id))
        if known.exists:
            if (known.name, known.language, known.zone, known.rehearsal) != (new.name, new.language, new.zone, new.rehearsal):
                raise Rejected("id_taken", "Another tenant has this id.")
            return None
        return RegisterTenant(new.tenant_id, new.name, new.language, new.zone, new.rehearsal, asker.cause(seen))

    templates = tuple(_first_template(asker, owner_type) for owner_type in OWNER_TYPES)
    return (Addressed(TENANT, str(new.tenant_id), register), *templates)


def _first_template(asker: Asker, owner_type: str) -> Addressed[Any]:
    id = template_id(asker.tenant, owner_type, owner_type)
    return Addressed(
        FIELD_SET,
        str(id),
        lambda seen: CreateFieldSet(id, "details_template", (), asker.cause(seen), owner_type=owner_type, template_code=owner_type),
    )


def suspend_tenant(asker: Asker, tenant_id: UUID) -> Addressed[Any]:
    return Addressed(TENANT, str(tenant_id), lambda seen: SuspendTenant(asker.cause(seen)))


def resume_tenant(asker: Asker, tenant_id: UUID) -> Addressed[Any]:
    return Addressed(TENANT, str(tenant_id), lambda seen: ResumeTenant(asker.cause(seen)))


@dataclass(frozen=True, slots=True)
class NewCredential:
    """`hmac` of the secret; `held`: the scopes of who asks, None at the first start."""

    credential_id: UUID
    hmac: str
    scopes: Sequence[str]
    actor: str
    known_scopes: frozenset[str]
    expires_at: datetime | None = None
    held: frozenset[str] | None = None


def issue_credential(asker: Asker, new: NewCredential) -> Addressed[Any]:
    def issue(seen: Facts) -> IssueCredential:
        tenant = seen.state(TENANT, str(asker.tenant))
        if not tenant.exists:
            fault = Fault("/tenant_id", "unknown_reference", "There is no such tenant.")
            raise Rejected("unknown_reference", fault.detail, status=422, errors=(fault,))
        if seen.state(CREDENTIAL, str(new.credential_id)).exists:
            raise Rejected("id_taken", "Another credential has this id.")
        return IssueCredential(
            new.credential_id,
            asker.tenant,
            new.hmac,
            tuple(new.scopes),
            new.actor,
            new.known_scopes,
            asker.cause(seen),
            expires_at=new.expires_at,
            held=new.held,
            active=len(seen.all(views.ACTIVE_CREDENTIALS, new.actor)),
            suspended=tenant.suspended,
        )

    return Addressed(
        CREDENTIAL,
        str(new.credential_id),
        issue,
        reads=((TENANT, str(asker.tenant)),),
        exclusive=f"credentials/{new.actor}",
        finds=((views.ACTIVE_CREDENTIALS, new.actor),),
    )


def revoke_credential(asker: Asker, credential_id: UUID) -> Addressed[Any]:
    return Addressed(CREDENTIAL, str(credential_id), lambda seen: RevokeCredential(asker.cause(seen)))
