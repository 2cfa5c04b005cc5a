"""What deals say: private event -> contract, at most one each, with the event's own id; and the refusal of a command."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, assert_never
from uuid import UUID

from services.deals.domain import company as companies
from services.deals.domain import contact as contacts
from services.deals.domain import credential as credentials
from services.deals.domain import deal as deals
from services.deals.domain import details as records
from services.deals.domain import employee as employees
from services.deals.domain import field_set as field_sets
from services.deals.domain import file as files
from services.deals.domain import lead as leads
from services.deals.domain import pipeline as pipelines
from services.deals.domain import tenant as tenants
from services.deals.domain.fields import Change, show_instant, shown
from services.deals.domain.money import ROWS
from services.deals.domain.origin import Cause
from services.deals.domain.stay import Stay
from shared.contracts import common
from shared.contracts import deals as says
from shared.es.errors import Rejected
from shared.es.recorded import Recorded
from shared.messaging.contract import Contract
from shared.messaging.envelope import Envelope, legible, text_said

# ---------------------------------------------------------------------------------------------------------------- values


def _text(id: UUID | None) -> str | None:
    return None if id is None else str(id)


def _texts(ids: Iterable[UUID]) -> tuple[str, ...]:
    return tuple(str(id) for id in ids)


def _cause(cause: Cause) -> dict[str, Any]:
    """`origin`, and the request this answers."""
    return {"origin": _origin(cause), "request_id": _text(cause.request_id)}


def _origin(cause: Cause) -> common.Origin:
    origin = cause.origin
    return common.Origin(
        kind=origin.kind,
        id=_text(origin.id),
        version=origin.version,
        visit_id=_text(origin.visit_id),
        decision_id=_text(origin.decision_id),
        backfill_id=_text(origin.backfill_id),
        acting_fallback=origin.acting_fallback,
        chain=_texts(origin.chain),
    )


def _changes(changes: Mapping[str, Change], hidden: str = "") -> dict[str, common.Change]:
    return {name: common.Change(before=change.before, after=change.after) for name, change in changes.items() if name != hidden}


def _lines(lines: Any) -> tuple[common.Line, ...]:
    return tuple(common.Line(**line) for line in ROWS.show(lines))


def _stay(stay: Stay) -> dict[str, Any]:
    return {
        "pipeline_id": str(stay.pipeline_id),
        "stage_id": str(stay.stage_id),
        "stage_kind": stay.stage_kind,
        "visit_id": str(stay.visit_id),
        "visit_number": stay.visit_number,
    }


# ------------------------------------------------------------------------------------------------------------- pipelines
def of_pipeline(state: pipelines.Pipeline, recorded: Recorded[pipelines.PipelineEvent]) -> Contract | None:
    id, event = str(state.pipeline_id), recorded.event
    origin = _origin(event.cause)
    match event:
        case pipelines.PipelineCreated():
            return says.PipelineCreated(origin=origin, **_pipeline(state))
        case pipelines.PipelineSettingsChanged(changes=changes):
            return says.PipelineSettingsChanged(origin=origin, **_pipeline(state), changed=tuple(changes))
        case pipelines.StagesChanged(change=change, order_version=order):
            return says.StagesChanged(origin=origin, pipeline_id=id, order_version=order, stages=_stages(event.stages), change=change)
        case pipelines.StageReplaced():
            return says.StageReplaced(
                origin=origin,
                pipeline_id=id,
                stage_id=str(event.stage_id),
                replacement_stage_id=str(event.replacement_id),
                automation=event.automation,
                rules=event.rules,
                order_version=event.order_version,
                stages=_stages(event.stages),
            )
        case pipelines.PipelineArchived():
            return says.PipelineArchived(origin=origin, pipeline_id=id)
        case _:
            assert_never(event)


def _pipeline(state: pipelines.Pipeline) -> dict[str, Any]:
    return {
        "pipeline_id": str(state.pipeline_id),
        "code": state.code,
        "element_type": state.element_type,
        **shown(state.settings, pipelines.SETTINGS),
        "order_version": state.order_version,
        "stages": _stages(state.stages),
    }


def _stages(stages: Iterable[pipelines.Stage]) -> tuple[says.Stage, ...]:
    return tuple(
        says.Stage(
            stage_id=str(stage.stage_id),
            code=stage.code,
            name=stage.name,
            kind=stage.kind,
            position=n,
            required_fields=stage.required_fields,
            retiring=stage.retiring,
        )
        for n, stage in enumerate(stages)
    )


# -------------------------------------------------------------------------------------------------------------- elements
def of_deal(state: deals.Deal, recorded: Recorded[deals.DealEvent]) -> Contract | None:
    """Which files it refers to is told by the files."""
    id, event = str(state.deal_id), recorded.event
    cause, visit = _cause(event.cause), str(state.stay.visit_id)
    match event:
        case deals.DealCreated():
            return _deal_created(state, event)
        case deals.DealFieldsChanged(changes=changes):
            seen = _changes(changes, hidden="amount_fixed")
            return says.DealFieldsChanged(**cause, deal_id=id, visit_id=visit, changes=seen) if seen or cause["request_id"] else None
        case deals.DealMoved():
            return _stage_changed("deal", id, state, event)
        case deals.DealCopied(copy_id=copy_id, name=name):
            to: dict[str, Any] = {"pipeline_id": str(event.pipeline_id), "stage_id": str(event.stage_id)}
            return says.DealCopied(**cause, deal_id=id, copy_id=str(copy_id), name=name, **to)
        case deals.DealFilesChanged():
            return None
        case deals.DealDeleted():
            return says.DealDeleted(**cause, deal_id=id, visit_id=visit)
        case deals.DealRestored():
            return says.DealRestored(**cause, deal_id=id, visit_id=visit, stage_id=str(state.stay.stage_id))
        case _:
            assert_never(event)


def _deal_created(state: deals.Deal, event: deals.DealCreated) -> Contract:
    return says.DealCreated(
        **_cause(event.cause),
        deal_id=str(event.deal_id),
        **_stay(event.stay),
        arrived_at=show_instant(event.cause.at),
        automation=event.automation,
        fields=_deal_fields(event.fields),
        copied_from=_text(event.copied_from),
        lead_id=_text(event.lead_id),
        quote_id=_text(event.quote_id),
    )


def _deal_fields(fields: deals.DealFields) -> says.DealFields:
    return says.DealFields(
        **_listed(shown(fields, deals.SETTABLE), fields),
        repeat_customer=fields.repeat_customer,
        created_by_copy=fields.created_by_copy,
    )


def _listed(values: dict[str, Any], fields: Any) -> dict[str, Any]:
    """Shown fields of an element with what a contract has of its own types."""
    return {
        **values,
        "observer_ids": tuple(values["observer_ids"]),
        "contact_ids": tuple(values["contact_ids"]),
        "lines": _lines(fields.lines),
        "custom": dict(fields.custom),
        "created_at": show_instant(fields.created_at),
        "created_by": _text(fields.created_by),
    }


def _stage_changed(
    element_type: str, element_id: str, state: deals.Deal | leads.Lead, event: deals.DealMoved | leads.LeadMoved
) -> says.StageChanged:
    fields = state.fields
    return says.StageChanged(
        **_cause(event.cause),
        element_type=element_type,
        element_id=element_id,
        from_pipeline_id=str(event.before.pipeline_id),
        from_stage_id=str(event.before.stage_id),
        from_visit_id=str(event.before.visit_id),
        **_stay(event.stay),
        arrived_at=show_instant(event.cause.at),
        automation=event.automation,
        reason=event.reason,
        loss_reason=event.loss_reason,
        amount=common.Money(amount=f"{fields.amount:f}", currency=fields.currency),
        responsible_id=_text(fields.responsible_id),
        decision_id=_text(event.decision_id),
    )


def of_lead(state: leads.Lead, recorded: Recorded[leads.LeadEvent]) -> Contract | None:
    id, event = str(state.lead_id), recorded.event
    cause, visit = _cause(event.cause), str(state.stay.visit_id)
    match event:
        case leads.LeadCreated():
            return _lead_created(event)
        case leads.LeadFieldsChanged(changes=changes):
            seen = _changes(changes, hidden="amount_fixed")
            return says.LeadFieldsChanged(**cause, lead_id=id, visit_id=visit, changes=seen) if seen or cause["request_id"] else None
        case leads.LeadMoved():
            return _stage_changed("lead", id, state, event)
        case leads.LeadConverted(made=made, closed=closed):
            targets: dict[str, Any] = {f"{target}_id": str(made_id) for target, made_id in made.items()}
            return says.LeadConverted(**cause, lead_id=id, **targets, closed=closed)
        case leads.LeadDeleted():
            return says.LeadDeleted(**cause, lead_id=id, visit_id=visit)
        case leads.LeadRestored():
            return says.LeadRestored(**cause, lead_id=id, visit_id=visit, stage_id=str(state.stay.stage_id))
        case _:
            assert_never(event)


def _lead_created(event: leads.LeadCreated) -> Contract:
    fields = event.fields
    source = _text(fields.source_deal_id)
    return says.LeadCreated(
        **_cause(event.cause),
        lead_id=str(event.lead_id),
        **_stay(event.stay),
        arrived_at=show_instant(event.cause.at),
        automation=event.automation,
        fields=says.LeadFields(**_listed(shown(fields, leads.SETTABLE), fields), source_deal_id=source, repeat=fields.repeat),
        source_deal_id=source,
    )


# ------------------------------------------------------------------------------------------------------------- customers
def of_contact(state: contacts.Contact, recorded: Recorded[contacts.ContactEvent]) -> Contract | None:
    """Being merged is told by the survivor."""
    id, event = str(state.contact_id), recorded.event
    origin = _origin(event.cause)
    match event:
        case contacts.ContactCreated(fields=fields):
            return says.ContactCreated(**_cause(event.cause), contact_id=id, fields=_contact_fields(fields))
        case contacts.ContactFieldsChanged(changes=changes):
            return says.ContactFieldsChanged(**_cause(event.cause), contact_id=id, changes=_changes(changes))
        case contacts.ContactMerged() | contacts.ContactBought():
            return None
        case contacts.ContactAbsorbed(merged_id=merged_id, moved_details=moved):
            return says.ContactsMerged(origin=origin, survivor_id=id, merged_id=str(merged_id), moved_details=_texts(moved))
        case contacts.ContactDeleted():
            return says.ContactDeleted(origin=origin, contact_id=id, erased=False)
        case contacts.ContactErased():
            return says.ContactDeleted(origin=origin, contact_id=id, erased=True)
        case _:
            assert_never(event)


def _contact_fields(fields: contacts.ContactFields) -> says.ContactFields:
    lists = {"emails": fields.emails, "phones": fields.phones, "company_ids": _texts(fields.company_ids)}
    return says.ContactFields(**{**shown(fields, contacts.KEPT), **lists})


def of_company(state: companies.Company, recorded: Recorded[companies.CompanyEvent]) -> Contract | None:
    """Being merged is told by the survivor."""
    id, event = str(state.company_id), recorded.event
    origin = _origin(event.cause)
    match event:
        case companies.CompanyCreated(fields=fields):
            lists = {"emails": fields.emails, "phones": fields.phones}
            known = says.CompanyFields(**{**shown(fields, companies.KEPT), **lists})
            return says.CompanyCreated(**_cause(event.cause), company_id=id, fields=known)
        case companies.CompanyFieldsChanged(changes=changes):
            return says.CompanyFieldsChanged(**_cause(event.cause), company_id=id, changes=_changes(changes))
        case companies.CompanyMerged() | companies.CompanyBought():
            return None
        case companies.CompanyAbsorbed(merged_id=merged_id, moved_details=moved):
            return says.CompaniesMerged(origin=origin, survivor_id=id, merged_id=str(merged_id), moved_details=_texts(moved))
        case companies.CompanyDeleted():
            return says.CompanyDeleted(origin=origin, company_id=id, erased=False)
        case companies.CompanyErased():
            return says.CompanyDeleted(origin=origin, company_id=id, erased=True)
        case _:
            assert_never(event)


def of_details(state: records.Details, recorded: Recorded[records.DetailsEvent]) -> Contract | None:
    event = recorded.event
    owner: dict[str, Any] = {"details_id": str(state.details_id), "owner_type": state.owner_type, "owner_id": str(state.owner_id)}
    match event:
        case records.DetailsCreated():
            return says.DetailsCreated(origin=_origin(event.cause), **owner, **_record(state))
        case records.DetailsChanged():
            return says.DetailsChanged(
                **_cause(event.cause),
                **owner,
                **_record(state),
                address_type=event.address_type,
                changes=_changes(event.changes),
                unchanged=dict(event.unchanged),
            )
        case records.DetailsRemoved():
            return says.DetailsRemoved(origin=_origin(event.cause), **owner)
        case _:
            assert_never(event)


def _record(state: records.Details) -> dict[str, Any]:
    return {
        "template_code": state.template_code,
        "is_default": state.is_default,
        "fields": dict(state.fields),
        "addresses": {kind: dict(address) for kind, address in state.addresses.items()},
    }


# ------------------------------------------------------------------------------------------------------------- directory
def of_field_set(state: field_sets.FieldSet, recorded: Recorded[field_sets.FieldSetChanged]) -> Contract | None:
    return says.FieldSetChanged(
        origin=_origin(recorded.event.cause),
        field_set_id=str(state.field_set_id),
        kind=state.kind,
        element_type=state.element_type,
        owner_type=state.owner_type,
        template_code=state.template_code,
        fields=tuple(_definition(field) for field in state.fields),
    )


def _definition(field: field_sets.FieldDefinition) -> says.FieldDefinition:
    return says.FieldDefinition(
        code=field.code,
        label=field.label,
        field_type=field.field_type,
        multiple=field.multiple,
        options=field.options,
        required=field.required,
        retired=field.retired,
    )


def of_employee(state: employees.Employee, recorded: Recorded[employees.EmployeeEvent]) -> Contract | None:
    id, event = str(state.employee_id), recorded.event
    origin = _origin(event.cause)
    match event:
        case employees.EmployeeAdded():
            return says.EmployeeAdded(origin=origin, **_employee(state))
        case employees.EmployeeChanged():
            return says.EmployeeChanged(origin=origin, **_employee(state))
        case employees.EmployeeDeactivated():
            return says.EmployeeDeactivated(origin=origin, employee_id=id)
        case employees.EmployeeReactivated():
            return says.EmployeeReactivated(origin=origin, employee_id=id)
        case _:
            assert_never(event)


def _employee(state: employees.Employee) -> dict[str, Any]:
    fields = {**shown(state.fields, employees.SETTABLE), "roles": state.fields.roles}
    return {"employee_id": str(state.employee_id), "code": state.code, **fields, "active": state.active}


def of_file(state: files.File, recorded: Recorded[files.FileEvent]) -> Contract | None:
    event = recorded.event
    kind = says.FileAttached if isinstance(event, files.FileAttached) else says.FileRemoved
    return kind(
        origin=_origin(event.cause),
        file_id=str(state.file_id),
        content_ref=state.content_ref,
        sha256=state.sha256,
        name=state.name,
        size=state.size,
        content_type=state.content_type,
        owner_type=state.owner_type,
        owner_id=_text(state.owner_id),
    )


def of_tenant(state: tenants.Tenant, recorded: Recorded[tenants.TenantEvent]) -> Contract | None:
    id, event = str(state.tenant_id), recorded.event
    origin = _origin(event.cause)
    match event:
        case tenants.TenantRegistered():
            own = {"name": state.name, "language": state.language, "zone": state.zone}
            return says.TenantRegistered(origin=origin, tenant_id=id, **own, rehearsal=state.rehearsal)
        case tenants.TenantSuspended():
            return says.TenantSuspended(origin=origin, tenant_id=id)
        case tenants.TenantResumed():
            return says.TenantResumed(origin=origin, tenant_id=id)
        case _:
            assert_never(event)


def of_credential(state: credentials.Credential, recorded: Recorded[credentials.CredentialEvent]) -> Contract | None:
    event = recorded.event
    ids = {"credential_id": str(state.credential_id), "tenant_id": str(state.tenant_id)}
    match event:
        case credentials.CredentialIssued():
            return says.CredentialIssued(
                origin=_origin(event.cause),
                **ids,
                hmac=state.hmac,
                scopes=state.scopes,
                actor=state.actor,
                expires_at=None if state.expires_at is None else show_instant(state.expires_at),
            )
        case credentials.CredentialRevoked():
            return says.CredentialRevoked(origin=_origin(event.cause), **ids)
        case _:
            assert_never(event)


# --------------------------------------------------------------------------------------------------------------- refusal
ELEMENT_OF = (("deal_id", "deal"), ("source_deal_id", "deal"), ("lead_id", "lead"))
"""Where a command names the element it is about, when it has no `element_id`."""


def refusal(envelope: Envelope, rejected: Rejected) -> Contract:
    """CommandRejected, keyed like the command. Says of the command what can be read of it."""
    said = legible(envelope.data)
    element_type, element_id = _element(said)
    return says.CommandRejected.of(
        envelope.key,
        envelope.type,
        rejected.code,
        rejected.detail,
        rejected.errors,
        request_id=text_said(said.get("request_id")),
        element_type=element_type,
        element_id=element_id,
        origin=common.Origin.legible(said.get("origin")),
    )


def _element(said: Mapping[str, Any]) -> tuple[str | None, str | None]:
    named = (("element_id", text_said(said.get("element_type"))), *ELEMENT_OF)
    return next(((kind, text_said(said[name])) for name, kind in named if isinstance(said.get(name), str)), (None, None))
