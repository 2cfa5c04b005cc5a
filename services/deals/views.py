"""What deals keep for reading: a row per aggregate, the stage history, the timeline's own lines, and the finders over them.

Every row of a resource has a `body`: what GET answers, less the version. A change of a table raises its version."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Boolean, Column, Date, DateTime, Index, Integer, Numeric, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from services.deals.domain import company, contact, deal, employee, lead, pipeline
from services.deals.domain.company import Company
from services.deals.domain.contact import Contact
from services.deals.domain.credential import Credential
from services.deals.domain.deal import Deal, DealCopied, DealCreated, DealDeleted, DealEvent, DealFieldsChanged, DealMoved, DealRestored
from services.deals.domain.details import Details
from services.deals.domain.employee import Employee
from services.deals.domain.field_set import FieldDefinition, FieldSet
from services.deals.domain.fields import show_instant, shown
from services.deals.domain.file import File, FileAttached, FileEvent
from services.deals.domain.lead import Lead, LeadConverted, LeadCreated, LeadDeleted, LeadEvent, LeadFieldsChanged, LeadMoved, LeadRestored
from services.deals.domain.origin import Cause, Origin
from services.deals.domain.pipeline import Pipeline, Stage
from services.deals.domain.stay import Stay
from services.deals.domain.tenant import Tenant
from shared.es.recorded import Recorded
from shared.es.view import HistoryView, Row, SqlFinder, StateView, history_table, state_table
from shared.messaging.directory import CREDENTIALS, TENANTS

Body = dict[str, Any]


def _times(name: str) -> tuple[Column[Any] | Index, ...]:
    """When it was made and last changed, and the index of the newest first."""
    return (
        Column("created_at", DateTime(timezone=True), nullable=False),
        Column("updated_at", DateTime(timezone=True), nullable=False),
        Column("body", JSONB, nullable=False),
        Index(f"{name}_newest", "tenant", "created_at", "id"),
    )


def _text_of(id: UUID | None) -> str | None:
    return None if id is None else str(id)


# ------------------------------------------------------------------------------------------------------------ pipelines
PIPELINES = state_table(
    "pipelines_v1",
    Column("code", Text, nullable=False),
    Column("element_type", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("stage_ids", JSONB, nullable=False),
    Column("replacing", JSONB, nullable=False),
    Column("language", Text, nullable=False),
    *_times("pipelines_v1"),
)


def stage_body(stage: Stage, position: int) -> Body:
    return {
        "stage_id": str(stage.stage_id),
        "code": stage.code,
        "name": stage.name,
        "kind": stage.kind,
        "colour": stage.colour,
        "position": position,
        "required_fields": list(stage.required_fields),
        "retiring": stage.retiring,
    }


def pipeline_body(state: Pipeline) -> Body:
    return {
        "id": str(state.pipeline_id),
        "code": state.code,
        "element_type": state.element_type,
        **shown(state.settings, pipeline.SETTINGS),
        "state": "archived" if state.archived else "active",
        "order_version": state.order_version,
        "stages": [stage_body(stage, n) for n, stage in enumerate(state.stages)],
        "created_at": show_instant(state.created_at),
    }


def _pipeline_row(state: Pipeline, recorded: Recorded[Any]) -> Row:
    return {
        "code": state.code,
        "element_type": state.element_type,
        "name": state.settings.name,
        "state": "archived" if state.archived else "active",
        "is_default": state.settings.is_default,
        "stage_ids": [str(stage.stage_id) for stage in state.stages],
        "replacing": _replacing(state),
        "language": state.settings.language,
        "created_at": state.created_at,
        "updated_at": recorded.recorded_at,
        "body": pipeline_body(state),
    }


def _replacing(state: Pipeline) -> Body:
    """Stages that still hold elements, each with the stage they go to (D60)."""
    begun = state.replacements or {}
    retiring = (begun[stage.stage_id] for stage in state.stages if stage.retiring)
    return {str(r.stage_id): {"by": str(r.replacement_id), "automation": r.automation} for r in retiring}


PIPELINE_ROWS = StateView(PIPELINES, _pipeline_row)

# ------------------------------------------------------------------------------------------------------- deals and leads


def _element_table(name: str, *more: Column[Any]) -> Any:
    return state_table(
        name,
        Column("pipeline_id", Uuid, nullable=False),
        Column("stage_id", Uuid, nullable=False),
        Column("stage_kind", Text, nullable=False),
        Column("visit_id", Uuid, nullable=False),
        Column("arrived_at", DateTime(timezone=True), nullable=False),
        Column("title", Text, nullable=False),
        Column("responsible_id", Uuid),
        Column("company_id", Uuid),
        Column("contact_ids", JSONB, nullable=False),
        Column("customer", Text),
        Column("currency", Text, nullable=False),
        Column("amount", Numeric, nullable=False),
        Column("custom", JSONB, nullable=False),
        Column("deleted", Boolean, nullable=False),
        *more,
        *_times(name),
        Index(f"{name}_stage", "tenant", "pipeline_id", "stage_id", "arrived_at"),
        Index(f"{name}_customer", "tenant", "customer"),
        Index(f"{name}_responsible", "tenant", "responsible_id"),
    )


DEALS = _element_table(
    "deals_v1",
    Column("close_date", Date),
    Column("copied_from", Uuid),
)
LEADS = _element_table(
    "leads_v1",
    Column("repeat", Boolean, nullable=False),
    Column("source_deal_id", Uuid),
)


def _stay_body(stay: Stay) -> Body:
    return {
        "pipeline_id": str(stay.pipeline_id),
        "stage_id": str(stay.stage_id),
        "stage_kind": stay.stage_kind,
        "visit_id": str(stay.visit_id),
        "visit_number": stay.visit_number,
    }


def deal_body(state: Deal) -> Body:
    fields = state.fields
    return {
        "id": str(state.deal_id),
        **shown(fields, deal.SETTABLE),
        "repeat_customer": fields.repeat_customer,
        "created_by_copy": fields.created_by_copy,
        "custom": dict(fields.custom),
        **_stay_body(state.stay),
        "arrived_at": show_instant(state.arrived_at),
        "state": "deleted" if state.deleted else STATES[state.stay.stage_kind],
        "file_ids": [str(id) for id in fields.file_ids],
        "copied_from": _text_of(state.copied_from),
        "copies": [{"id": str(copy.copy_id), "name": copy.name} for copy in state.copies],
        "lead_id": _text_of(state.lead_id),
        "quote_id": _text_of(state.quote_id),
        "created_at": show_instant(fields.created_at),
        "created_by": _text_of(fields.created_by),
    }


STATES = {"process": "open", "success": "won", "failure": "lost"}
"""What a deal is called in a stage of each kind."""
LEAD_STATES = {"process": "open", "success": "converted", "failure": "junk"}


def lead_body(state: Lead) -> Body:
    fields = state.fields
    return {
        "id": str(state.lead_id),
        **shown(fields, lead.SETTABLE),
        "source_deal_id": _text_of(fields.source_deal_id),
        "repeat": fields.repeat,
        "custom": dict(fields.custom),
        **_stay_body(state.stay),
        "arrived_at": show_instant(state.arrived_at),
        "state": "deleted" if state.deleted else LEAD_STATES[state.stay.stage_kind],
        "converted_to": {target: str(made) for target, made in state.made.items()},
        "created_at": show_instant(fields.created_at),
        "created_by": _text_of(fields.created_by),
    }


def _element_row(state: Deal | Lead, recorded: Recorded[Any]) -> Body:
    fields, stay = state.fields, state.stay
    return {
        "pipeline_id": stay.pipeline_id,
        "stage_id": stay.stage_id,
        "stage_kind": stay.stage_kind,
        "visit_id": stay.visit_id,
        "arrived_at": state.arrived_at,
        "title": fields.title,
        "responsible_id": fields.responsible_id,
        "company_id": fields.company_id,
        "contact_ids": [str(id) for id in fields.contact_ids],
        "customer": fields.customer,
        "currency": fields.currency,
        "amount": fields.amount,
        "custom": dict(fields.custom),
        "deleted": state.deleted,
        "created_at": fields.created_at,
        "updated_at": recorded.recorded_at,
    }


def _deal_row(state: Deal, recorded: Recorded[Any]) -> Row:
    own = {"close_date": state.fields.close_date, "copied_from": state.copied_from, "body": deal_body(state)}
    return {**_element_row(state, recorded), **own}


def _lead_row(state: Lead, recorded: Recorded[Any]) -> Row:
    own = {"repeat": state.fields.repeat, "source_deal_id": state.fields.source_deal_id, "body": lead_body(state)}
    return {**_element_row(state, recorded), **own}


DEAL_ROWS = StateView(DEALS, _deal_row)
LEAD_ROWS = StateView(LEADS, _lead_row)

# --------------------------------------------------------------------------------------------------------- stage history
STAGE_HISTORY = history_table(
    "stage_history_v1",
    Column("element_type", Text, nullable=False),
    Column("element_id", Uuid, nullable=False),
    Column("pipeline_id", Uuid, nullable=False),
    Column("stage_id", Uuid, nullable=False),
    Column("stage_kind", Text, nullable=False),
    Column("from_pipeline_id", Uuid),
    Column("from_stage_id", Uuid),
    Column("visit_id", Uuid, nullable=False),
    Column("visit_number", Integer, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("reason", Text, nullable=False),
    Column("automation", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("origin", JSONB, nullable=False),
    Index("stage_history_v1_element", "tenant", "element_id", "at"),
    Index("stage_history_v1_stage", "tenant", "pipeline_id", "stage_id", "at"),
)


def _arrivals(element_type: str, recorded: Recorded[Any]) -> Iterable[Row]:
    event = recorded.event
    if not isinstance(event, DealCreated | DealMoved | LeadCreated | LeadMoved):
        return
    before = event.before if isinstance(event, DealMoved | LeadMoved) else None
    yield {
        "element_type": element_type,
        "element_id": UUID(recorded.aggregate_id),
        "pipeline_id": event.stay.pipeline_id,
        "stage_id": event.stay.stage_id,
        "stage_kind": event.stay.stage_kind,
        "from_pipeline_id": before and before.pipeline_id,
        "from_stage_id": before and before.stage_id,
        "visit_id": event.stay.visit_id,
        "visit_number": event.stay.visit_number,
        "at": event.cause.at,
        "reason": event.reason if isinstance(event, DealMoved | LeadMoved) else "created",
        "automation": event.automation,
        "actor": recorded.context.actor,
        "origin": origin_body(event.cause.origin),
    }


def origin_body(origin: Origin) -> Body:
    return {
        "kind": origin.kind,
        "id": _text_of(origin.id),
        "version": origin.version,
        "visit_id": _text_of(origin.visit_id),
        "decision_id": _text_of(origin.decision_id),
        "backfill_id": _text_of(origin.backfill_id),
        "acting_fallback": origin.acting_fallback,
        "chain": [str(id) for id in origin.chain],
    }


DEAL_ARRIVALS: HistoryView[Deal, DealEvent] = HistoryView(STAGE_HISTORY, lambda state, recorded: _arrivals("deal", recorded))
LEAD_ARRIVALS: HistoryView[Lead, LeadEvent] = HistoryView(STAGE_HISTORY, lambda state, recorded: _arrivals("lead", recorded))


# -------------------------------------------------------------------------------------------------------------- timeline
def timeline_columns(name: str) -> tuple[Column[Any] | Index, ...]:
    """The same for our own lines and for those of other services."""
    return (
        Column("element_id", Uuid, nullable=False),
        Column("at", DateTime(timezone=True), nullable=False),
        Column("kind", Text, nullable=False),
        Column("what", Text, nullable=False),
        Column("facts", JSONB, nullable=False),
        Column("actor", Text, nullable=False),
        Column("origin", JSONB, nullable=False),
        Column("ref", JSONB, nullable=False),
        Index(f"{name}_element", "tenant", "element_id", "at"),
    )


OWN_LINES = history_table("own_lines_v1", *timeline_columns("own_lines_v1"))


def _line(recorded: Recorded[Any], element: UUID, kind: str, what: str, ref: Mapping[str, Any] | None = None, **facts: Any) -> Row:
    cause: Cause = recorded.event.cause
    return {
        "element_id": element,
        "at": cause.at,
        "kind": kind,
        "what": what,
        "facts": facts,
        "actor": recorded.context.actor,
        "origin": origin_body(cause.origin),
        "ref": ref or {},
    }


def _deal_lines(state: Deal, recorded: Recorded[DealEvent]) -> Iterable[Row]:
    id = state.deal_id
    match recorded.event:
        case DealCreated(copied_from=None, stay=stay):
            yield _line(recorded, id, "created", "created", stage=stay.stage_name)
        case DealCreated(copied_from=source, stay=stay):
            yield _line(recorded, id, "created", "created_as_copy", {"deal_id": str(source)}, stage=stay.stage_name)
        case DealMoved(before=before, stay=stay, reason=reason):
            yield _line(recorded, id, "stage", "moved", _visit_of(stay), before=before.stage_name, stage=stay.stage_name, reason=reason)
        case DealFieldsChanged(changes=changes):
            yield _line(recorded, id, "fields", "fields_changed", fields=sorted(changes))
        case DealCopied(copy_id=copy_id, name=name):
            yield _line(recorded, id, "copied", "copied", {"deal_id": str(copy_id)}, name=name)
        case DealDeleted():
            yield _line(recorded, id, "deleted", "deleted")
        case DealRestored():
            yield _line(recorded, id, "restored", "restored")


def _visit_of(stay: Stay) -> Body:
    return {"visit_id": str(stay.visit_id), "stage_id": str(stay.stage_id)}


def _lead_lines(state: Lead, recorded: Recorded[LeadEvent]) -> Iterable[Row]:
    id = state.lead_id
    match recorded.event:
        case LeadCreated(stay=stay):
            yield _line(recorded, id, "created", "created", stage=stay.stage_name)
        case LeadMoved(before=before, stay=stay, reason=reason):
            yield _line(recorded, id, "stage", "moved", _visit_of(stay), before=before.stage_name, stage=stay.stage_name, reason=reason)
        case LeadFieldsChanged(changes=changes):
            yield _line(recorded, id, "fields", "fields_changed", fields=sorted(changes))
        case LeadConverted(made=made):
            yield _line(recorded, id, "converted", "converted", {f"{target}_id": str(id) for target, id in made.items()})
        case LeadDeleted():
            yield _line(recorded, id, "deleted", "deleted")
        case LeadRestored():
            yield _line(recorded, id, "restored", "restored")


def _file_lines(state: File, recorded: Recorded[FileEvent]) -> Iterable[Row]:
    if state.owner_id is None or state.owner_type not in ("deal", "lead"):
        return
    what = "file_attached" if isinstance(recorded.event, FileAttached) else "file_removed"
    yield _line(recorded, state.owner_id, "file", what, {"file_id": str(state.file_id)}, name=state.name)


DEAL_LINES: HistoryView[Deal, DealEvent] = HistoryView(OWN_LINES, _deal_lines)
LEAD_LINES: HistoryView[Lead, LeadEvent] = HistoryView(OWN_LINES, _lead_lines)
FILE_LINES: HistoryView[File, FileEvent] = HistoryView(OWN_LINES, _file_lines)

# ------------------------------------------------------------------------------------------------------------- customers
CONTACTS = state_table(
    "contacts_v1",
    Column("name", Text, nullable=False),
    Column("last_name", Text, nullable=False),
    Column("emails", JSONB, nullable=False),
    Column("phones", JSONB, nullable=False),
    Column("company_ids", JSONB, nullable=False),
    Column("responsible_id", Uuid),
    Column("status", Text, nullable=False),
    Column("merged_into", Uuid),
    *_times("contacts_v1"),
)
COMPANIES = state_table(
    "companies_v1",
    Column("name", Text, nullable=False),
    Column("emails", JSONB, nullable=False),
    Column("phones", JSONB, nullable=False),
    Column("responsible_id", Uuid),
    Column("status", Text, nullable=False),
    Column("merged_into", Uuid),
    *_times("companies_v1"),
)


def contact_body(state: Contact) -> Body:
    return {
        "id": str(state.contact_id),
        **shown(state.fields, contact.KEPT),
        "state": state.status,
        "created_at": show_instant(state.created_at),
    }


def company_body(state: Company) -> Body:
    return {
        "id": str(state.company_id),
        **shown(state.fields, company.KEPT),
        "state": state.status,
        "created_at": show_instant(state.created_at),
    }


def _customer_row(state: Contact | Company, recorded: Recorded[Any]) -> Body:
    return {
        "name": state.fields.name,
        "emails": list(state.fields.emails),
        "phones": list(state.fields.phones),
        "responsible_id": state.fields.responsible_id,
        "status": state.status,
        "merged_into": state.merged_into,
        "created_at": state.created_at,
        "updated_at": recorded.recorded_at,
    }


def _contact_row(state: Contact, recorded: Recorded[Any]) -> Row:
    own = {
        "last_name": state.fields.last_name,
        "company_ids": [str(id) for id in state.fields.company_ids],
        "body": contact_body(state),
    }
    return {**_customer_row(state, recorded), **own}


def _company_row(state: Company, recorded: Recorded[Any]) -> Row:
    return {**_customer_row(state, recorded), "body": company_body(state)}


CONTACT_ROWS = StateView(CONTACTS, _contact_row)
COMPANY_ROWS = StateView(COMPANIES, _company_row)

DETAILS_RECORDS = state_table(
    "details_v1",
    Column("owner_type", Text, nullable=False),
    Column("owner_id", Uuid, nullable=False),
    Column("template_code", Text, nullable=False),
    Column("is_default", Boolean, nullable=False),
    Column("removed", Boolean, nullable=False),
    *_times("details_v1"),
    Index("details_v1_owner", "tenant", "owner_id", "template_code"),
)


def details_body(state: Details) -> Body:
    return {
        "id": str(state.details_id),
        "owner_type": state.owner_type,
        "owner_id": str(state.owner_id),
        "template_code": state.template_code,
        "is_default": state.is_default,
        "fields": dict(state.fields),
        "addresses": {kind: dict(address) for kind, address in state.addresses.items()},
        "state": "removed" if state.removed else "active",
        "created_at": show_instant(state.created_at),
    }


def _details_row(state: Details, recorded: Recorded[Any]) -> Row:
    return {
        "owner_type": state.owner_type,
        "owner_id": state.owner_id,
        "template_code": state.template_code,
        "is_default": state.is_default,
        "removed": state.removed,
        "created_at": state.created_at,
        "updated_at": recorded.recorded_at,
        "body": details_body(state),
    }


DETAILS_ROWS = StateView(DETAILS_RECORDS, _details_row)

# ------------------------------------------------------------------------------------------------------------- directory
FIELD_SETS = state_table(
    "field_sets_v1",
    Column("kind", Text, nullable=False),
    Column("element_type", Text),
    Column("owner_type", Text),
    Column("template_code", Text),
    *_times("field_sets_v1"),
)


def field_body(field: FieldDefinition) -> Body:
    return {
        "code": field.code,
        "label": field.label,
        "field_type": field.field_type,
        "multiple": field.multiple,
        "options": list(field.options),
        "required": field.required,
        "retired": field.retired,
    }


def field_set_body(state: FieldSet) -> Body:
    return {
        "id": str(state.field_set_id),
        "kind": state.kind,
        "element_type": state.element_type,
        "owner_type": state.owner_type,
        "template_code": state.template_code,
        "fields": [field_body(field) for field in state.fields],
        "created_at": show_instant(state.created_at),
    }


def _field_set_row(state: FieldSet, recorded: Recorded[Any]) -> Row:
    return {
        "kind": state.kind,
        "element_type": state.element_type,
        "owner_type": state.owner_type,
        "template_code": state.template_code,
        "created_at": state.created_at,
        "updated_at": recorded.recorded_at,
        "body": field_set_body(state),
    }


FIELD_SET_ROWS = StateView(FIELD_SETS, _field_set_row)

EMPLOYEES = state_table(
    "employees_v1",
    Column("code", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("department", Text, nullable=False),
    Column("manager_id", Uuid),
    Column("roles", JSONB, nullable=False),
    Column("active", Boolean, nullable=False),
    *_times("employees_v1"),
    Index("employees_v1_code", "tenant", "code"),
)


def employee_body(state: Employee) -> Body:
    return {
        "id": str(state.employee_id),
        "code": state.code,
        **shown(state.fields, employee.SETTABLE),
        "active": state.active,
        "created_at": show_instant(state.created_at),
    }


def _employee_row(state: Employee, recorded: Recorded[Any]) -> Row:
    return {
        "code": state.code,
        "name": state.fields.name,
        "email": state.fields.email,
        "department": state.fields.department,
        "manager_id": state.fields.manager_id,
        "roles": list(state.fields.roles),
        "active": state.active,
        "created_at": state.created_at,
        "updated_at": recorded.recorded_at,
        "body": employee_body(state),
    }


EMPLOYEE_ROWS = StateView(EMPLOYEES, _employee_row)

FILES = state_table(
    "files_v1",
    Column("owner_type", Text),
    Column("owner_id", Uuid),
    Column("name", Text, nullable=False),
    Column("size", Numeric, nullable=False),
    Column("content_type", Text, nullable=False),
    Column("content_ref", Text, nullable=False),
    Column("removed", Boolean, nullable=False),
    *_times("files_v1"),
    Index("files_v1_owner", "tenant", "owner_id"),
    Index("files_v1_content", "tenant", "content_ref"),
)


def file_body(state: File) -> Body:
    return {
        "id": str(state.file_id),
        "name": state.name,
        "size": state.size,
        "content_type": state.content_type,
        "sha256": state.sha256,
        "owner_type": state.owner_type,
        "owner_id": _text_of(state.owner_id),
        "state": "removed" if state.removed else "attached",
        "created_at": show_instant(state.created_at),
    }


def _file_row(state: File, recorded: Recorded[Any]) -> Row:
    return {
        "owner_type": state.owner_type,
        "owner_id": state.owner_id,
        "name": state.name,
        "size": state.size,
        "content_type": state.content_type,
        "content_ref": state.content_ref,
        "removed": state.removed,
        "created_at": state.created_at,
        "updated_at": recorded.recorded_at,
        "body": file_body(state),
    }


FILE_ROWS = StateView(FILES, _file_row)


def tenant_body(state: Tenant) -> Body:
    return {
        "id": str(state.tenant_id),
        "name": state.name,
        "language": state.language,
        "zone": state.zone,
        "rehearsal": state.rehearsal,
        "suspended": state.suspended,
    }


def _tenant_row(state: Tenant, recorded: Recorded[Any]) -> Row:
    return {name: value for name, value in tenant_body(state).items() if name != "id"}


def credential_body(state: Credential) -> Body:
    return {
        "id": str(state.credential_id),
        "scopes": list(state.scopes),
        "actor": state.actor,
        "expires_at": None if state.expires_at is None else show_instant(state.expires_at),
        "revoked": state.revoked,
    }


def _credential_row(state: Credential, recorded: Recorded[Any]) -> Row:
    return {
        "hmac": state.hmac,
        "scopes": list(state.scopes),
        "actor": state.actor,
        "expires_at": state.expires_at,
        "revoked": state.revoked,
    }


TENANT_ROWS = StateView(TENANTS, _tenant_row)
CREDENTIAL_ROWS = StateView(CREDENTIALS, _credential_row)

# --------------------------------------------------------------------------------------------------------------- finders


def _id(row: Row) -> UUID:
    return UUID(row["id"])


def _number(row: Row) -> int:
    return int(row["number"])


PIPELINE_OF_STAGE: SqlFinder[UUID] = SqlFinder(
    "pipeline of a stage",
    "select w.tenant, w.key, p.id from unnest($1::uuid[], $2::text[]) as w(tenant, key)"
    " join pipelines_v1 p on p.tenant = w.tenant and p.stage_ids ? w.key",
    _id,
)
DEFAULT_PIPELINE: SqlFinder[UUID] = SqlFinder(
    "default pipeline of an element type",
    "select w.tenant, w.key, p.id from unnest($1::uuid[], $2::text[]) as w(tenant, key)"
    " join pipelines_v1 p on p.tenant = w.tenant and p.element_type = w.key and p.is_default and p.state = 'active'",
    _id,
)
PIPELINES_WITH_CODE: SqlFinder[UUID] = SqlFinder(
    "pipelines with a code",
    "select w.tenant, w.key, p.id from unnest($1::uuid[], $2::text[]) as w(tenant, key)"
    " join pipelines_v1 p on p.tenant = w.tenant and p.code = w.key",
    _id,
)
NUMBER_OF_PIPELINES: SqlFinder[int] = SqlFinder(
    "number of pipelines",
    "select w.tenant, w.key, (select count(*) from pipelines_v1 p where p.tenant = w.tenant) as number"
    " from unnest($1::uuid[], $2::text[]) as w(tenant, key)",
    _number,
)
ELEMENTS_IN_PIPELINE: SqlFinder[int] = SqlFinder(
    "elements in a pipeline",
    "select w.tenant, w.key,"
    " (select count(*) from deals_v1 d where d.tenant = w.tenant and d.pipeline_id = w.key::uuid and not d.deleted)"
    " + (select count(*) from leads_v1 l where l.tenant = w.tenant and l.pipeline_id = w.key::uuid and not l.deleted) as number"
    " from unnest($1::uuid[], $2::text[]) as w(tenant, key)",
    _number,
)
ELEMENTS_IN_STAGE: SqlFinder[int] = SqlFinder(
    "elements in a stage",
    "select w.tenant, w.key,"
    " (select count(*) from deals_v1 d where d.tenant = w.tenant and d.stage_id = w.key::uuid and not d.deleted)"
    " + (select count(*) from leads_v1 l where l.tenant = w.tenant and l.stage_id = w.key::uuid and not l.deleted) as number"
    " from unnest($1::uuid[], $2::text[]) as w(tenant, key)",
    _number,
)


@dataclass(frozen=True, slots=True)
class Customer:
    """Ids, as they stand on a deal."""

    contact_ids: tuple[str, ...]
    company_ids: tuple[str, ...]


CUSTOMER_OF_DEAL: SqlFinder[Customer] = SqlFinder(
    "customer of a deal",
    "select w.tenant, w.key, d.contact_ids, d.company_id from unnest($1::uuid[], $2::text[]) as w(tenant, key)"
    " join deals_v1 d on d.tenant = w.tenant and d.id = w.key",
    lambda row: Customer(tuple(row["contact_ids"]), () if row["company_id"] is None else (str(row["company_id"]),)),
)
OPEN_LEADS: SqlFinder[UUID] = SqlFinder(
    "an open lead of a customer",
    "select w.tenant, w.key, l.id from unnest($1::uuid[], $2::text[]) as w(tenant, key) cross join lateral"
    " (select id from leads_v1 where tenant = w.tenant and customer = w.key and stage_kind = 'process' and not deleted limit 1) l",
    _id,
)


def _survivor(table: str) -> str:
    """The id at the end of a chain of mergers; an id that was not merged finds itself."""
    return (
        "with recursive way(tenant, key, id) as (select w.tenant, w.key, w.key from unnest($1::uuid[], $2::text[]) as w(tenant, key)"
        f" union select y.tenant, y.key, c.merged_into::text from way y join {table} c on c.tenant = y.tenant and c.id = y.id"
        " where c.merged_into is not null)"
        f" select y.tenant, y.key, y.id from way y join {table} c on c.tenant = y.tenant and c.id = y.id where c.merged_into is null"
    )


SURVIVING_CONTACT: SqlFinder[UUID] = SqlFinder("surviving contact", _survivor("contacts_v1"), _id)
SURVIVING_COMPANY: SqlFinder[UUID] = SqlFinder("surviving company", _survivor("companies_v1"), _id)
PIPELINE_OF_LEAD: SqlFinder[UUID] = SqlFinder(
    "pipeline of a lead",
    "select w.tenant, w.key, l.pipeline_id as id from unnest($1::uuid[], $2::text[]) as w(tenant, key)"
    " join leads_v1 l on l.tenant = w.tenant and l.id = w.key",
    lambda row: row["id"],
)
DETAILS_OF_OWNER: SqlFinder[UUID] = SqlFinder(
    "details of an owner by template, the default first",
    "select w.tenant, w.key, d.id from unnest($1::uuid[], $2::text[]) as w(tenant, key) join details_v1 d"
    " on d.tenant = w.tenant and d.owner_id = split_part(w.key, '/', 1)::uuid and d.template_code = substr(w.key, 38)"
    " where not d.removed order by d.is_default desc, d.created_at, d.id",
    _id,
)
DETAILS_OF_SURVIVOR: SqlFinder[UUID] = SqlFinder(
    "details of an owner, or of whom he was merged into, by template, the default first",
    "with recursive way(tenant, key, id) as ("
    " select w.tenant, w.key, split_part(w.key, '/', 1) from unnest($1::uuid[], $2::text[]) as w(tenant, key)"
    " union select y.tenant, y.key, m.merged_into::text from way y join"
    " (select tenant, id, merged_into from contacts_v1 union all select tenant, id, merged_into from companies_v1) m"
    " on m.tenant = y.tenant and m.id = y.id where m.merged_into is not null)"
    " select y.tenant, y.key, d.id from way y join details_v1 d"
    " on d.tenant = y.tenant and d.owner_id = y.id::uuid and d.template_code = substr(y.key, 38)"
    " where not d.removed order by d.is_default desc, d.created_at, d.id",
    _id,
)
ALL_DETAILS_OF_OWNER: SqlFinder[UUID] = SqlFinder(
    "all details of an owner",
    "select w.tenant, w.key, d.id from unnest($1::uuid[], $2::text[]) as w(tenant, key) join details_v1 d"
    " on d.tenant = w.tenant and d.owner_id = w.key::uuid where not d.removed order by d.id",
    _id,
)
BYTES_OF_FILES: SqlFinder[int] = SqlFinder(
    "bytes that the files of a tenant take",
    "select w.tenant, w.key, (select coalesce(sum(f.size), 0) from files_v1 f where f.tenant = w.tenant and not f.removed) as number"
    " from unnest($1::uuid[], $2::text[]) as w(tenant, key)",
    _number,
)
DEALS_WITH_FILE: SqlFinder[UUID] = SqlFinder(
    "deals that refer to a file: the one it was attached to and its copies, theirs too",
    "with recursive way(tenant, key, id) as (select w.tenant, w.key, f.owner_id::text from unnest($1::uuid[], $2::text[]) as w(tenant, key)"
    " join files_v1 f on f.tenant = w.tenant and f.id = w.key where f.owner_type = 'deal'"
    " union select y.tenant, y.key, c.copy ->> 'id' from way y join deals_v1 d on d.tenant = y.tenant and d.id = y.id"
    " cross join lateral jsonb_array_elements(d.body -> 'copies') as c(copy))"
    " select y.tenant, y.key, y.id from way y join deals_v1 d on d.tenant = y.tenant and d.id = y.id"
    " where d.body -> 'file_ids' ? y.key order by y.id",
    _id,
)
IS_LEAD_DELETED: SqlFinder[bool] = SqlFinder(
    "whether a lead is deleted",
    "select w.tenant, w.key, l.deleted from unnest($1::uuid[], $2::text[]) as w(tenant, key)"
    " join leads_v1 l on l.tenant = w.tenant and l.id = w.key",
    lambda row: bool(row["deleted"]),
)
EMPLOYEES_WITH_CODE: SqlFinder[UUID] = SqlFinder(
    "employees with a code",
    "select w.tenant, w.key, e.id from unnest($1::uuid[], $2::text[]) as w(tenant, key)"
    " join employees_v1 e on e.tenant = w.tenant and e.code = w.key",
    _id,
)
ACTIVE_CREDENTIALS: SqlFinder[UUID] = SqlFinder(
    "active credentials of an actor",
    "select w.tenant, w.key, c.id from unnest($1::uuid[], $2::text[]) as w(tenant, key) join credentials_v1 c"
    " on c.tenant = w.tenant and c.actor = w.key"
    " where not c.revoked and (c.expires_at is null or c.expires_at > clock_timestamp())",
    _id,
)
