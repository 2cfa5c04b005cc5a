"""What deals says and is asked (domain/deals.md section 7). Events are owned by deals, commands are received by it."""

from __future__ import annotations

from typing import Literal

from shared.contracts.common import (
    AddressType,
    Amount,
    Answer,
    Automation,
    Change,
    Currency,
    Date,
    ElementType,
    Fact,
    GivenDate,
    Instant,
    Line,
    Map,
    Money,
    Rejection,
    Request,
    Text,
    Uuid,
    Value,
    Whole,
    Zone,
)

COMMANDS = "deals.commands"
EVENTS = "deals.events"


# Parts


class DealFields(Value):
    """All fields of a deal. `repeat_customer`: the customer has an earlier won deal. `amount_mode`: from_lines, manual."""

    title: str
    responsible_id: Uuid | None = None
    observer_ids: tuple[Uuid, ...]
    contact_ids: tuple[Uuid, ...]
    primary_contact_id: Uuid | None = None
    company_id: Uuid | None = None
    currency: Currency
    amount: Amount
    amount_mode: str
    prices_include_tax: bool
    lines: tuple[Line, ...]
    begin_date: Date | None = None
    close_date: Date | None = None
    loss_reason: str | None = None
    repeat_customer: bool
    created_by_copy: bool
    custom: Map
    created_at: Instant
    created_by: Uuid | None = None


class PartialDealFields(Value):
    """The fields of a deal an asker may give; what is left out, deals decides."""

    title: Text | None = None
    responsible_id: Uuid | None = None
    observer_ids: tuple[Uuid, ...] | None = None
    contact_ids: tuple[Uuid, ...] | None = None
    primary_contact_id: Uuid | None = None
    company_id: Uuid | None = None
    currency: Currency | None = None
    amount: Amount | None = None
    amount_mode: Literal["from_lines", "manual"] | None = None
    prices_include_tax: bool | None = None
    lines: tuple[Line, ...] | None = None
    begin_date: GivenDate | None = None
    close_date: GivenDate | None = None
    custom: Map | None = None


class LeadFields(Value):
    """All fields of a lead. `repeat`: it had a contact or a company when it was made."""

    title: str
    responsible_id: Uuid | None = None
    observer_ids: tuple[Uuid, ...]
    contact_ids: tuple[Uuid, ...]
    primary_contact_id: Uuid | None = None
    company_id: Uuid | None = None
    source_deal_id: Uuid | None = None
    repeat: bool
    currency: Currency
    amount: Amount
    lines: tuple[Line, ...]
    custom: Map
    created_at: Instant
    created_by: Uuid | None = None


class ContactFields(Value):
    """All fields of a contact; the first e-mail address is the main one."""

    first_name: str
    last_name: str
    emails: tuple[str, ...]
    phones: tuple[str, ...]
    company_ids: tuple[Uuid, ...]
    zone: Zone | None = None
    language: str | None = None
    responsible_id: Uuid | None = None
    custom: Map


class CompanyFields(Value):
    """All fields of a company; the first e-mail address is the main one."""

    name: str
    emails: tuple[str, ...]
    phones: tuple[str, ...]
    responsible_id: Uuid | None = None
    custom: Map


class Stage(Value):
    """`kind`: process, success, failure. `retiring`: being replaced, takes no arrivals."""

    stage_id: Uuid
    code: str
    name: str
    kind: str
    position: int
    required_fields: tuple[str, ...]
    retiring: bool


class FieldDefinition(Value):
    """A custom or details field; type and multiplicity never change. `options` only of a select."""

    code: str
    label: str
    field_type: str
    multiple: bool
    options: tuple[str, ...]
    required: bool
    retired: bool


# Commands


class CreateDeal(Request, type="deals.CreateDeal.v1", topic=COMMANDS, key=("deal_id",)):
    """Make a deal; null stage is the pipeline's first. `deal_id` equals `request_id`. Answer: DealCreated."""

    deal_id: Uuid
    pipeline_id: Uuid
    stage_id: Uuid | None = None
    fields: PartialDealFields
    automation: Automation
    quote_id: Uuid | None = None
    lead_id: Uuid | None = None


class ChangeDealFields(Request, type="deals.ChangeDealFields.v1", topic=COMMANDS, key=("deal_id",)):
    """Give fields of a deal new values, by field name. Answer: DealFieldsChanged."""

    deal_id: Uuid
    changes: Map


class ChangeLeadFields(Request, type="deals.ChangeLeadFields.v1", topic=COMMANDS, key=("lead_id",)):
    """Give fields of a lead new values, by field name. Answer: LeadFieldsChanged."""

    lead_id: Uuid
    changes: Map


class MoveToStage(Request, type="deals.MoveToStage.v1", topic=COMMANDS, key=("element_id",)):
    """Move a deal or lead; with `if_visit_id` only out of that visit (`visit_changed`). Answer: StageChanged."""

    element_type: ElementType
    element_id: Uuid
    stage_id: Uuid
    if_visit_id: Uuid | None = None
    loss_reason: Text | None = None
    automation: Automation = "on"
    decision_id: Uuid | None = None


class CopyDeal(Request, type="deals.CopyDeal.v1", topic=COMMANDS, key=("source_deal_id",)):
    """Copy a deal; `request_id` becomes the copy's id, null stage is the pipeline's first. Answer: DealCopied."""

    source_deal_id: Uuid
    name: Text | None = None
    pipeline_id: Uuid
    stage_id: Uuid | None = None
    responsible_id: Uuid | None = None


class DeleteDeal(Request, type="deals.DeleteDeal.v1", topic=COMMANDS, key=("deal_id",)):
    """Delete a deal, softly; `if_untouched`: only if nobody changed it since it was made. Answer: DealDeleted."""

    deal_id: Uuid
    if_untouched: bool


class DeleteLead(Request, type="deals.DeleteLead.v1", topic=COMMANDS, key=("lead_id",)):
    """As DeleteDeal. Answer: LeadDeleted."""

    lead_id: Uuid
    if_untouched: bool


class CreateLead(Request, type="deals.CreateLead.v1", topic=COMMANDS, key=("source_deal_id", "request_id")):
    """Make a lead whose id is `request_id`; `recurring`: only for a known customer (`no_client`). Answer: LeadCreated."""

    title: Text
    responsible_id: Uuid | None = None
    contact_ids: tuple[Uuid, ...]
    company_id: Uuid | None = None
    source_deal_id: Uuid | None = None
    recurring: bool
    skip_if_open_exists: bool


class CreateDealFromLead(Request, type="deals.CreateDealFromLead.v1", topic=COMMANDS, key=("lead_id",)):
    """Convert a lead; the asker chooses one id per target. `title` null: that of the lead. Answer: LeadConverted."""

    lead_id: Uuid
    targets: tuple[Literal["deal", "contact", "company"], ...]
    deal_id: Uuid | None = None
    contact_id: Uuid | None = None
    company_id: Uuid | None = None
    responsible_id: Uuid | None = None
    pipeline_id: Uuid | None = None
    close_lead: bool
    title: Text | None = None


class CreateContact(Request, type="deals.CreateContact.v1", topic=COMMANDS, key=("contact_id",)):
    """Make a contact. `contact_id` equals `request_id`. Answer: ContactCreated."""

    contact_id: Uuid
    first_name: Text
    last_name: Text
    emails: tuple[Text, ...] = ()
    phones: tuple[Text, ...] = ()
    company_ids: tuple[Uuid, ...] = ()
    zone: Zone | None = None
    language: Text | None = None
    responsible_id: Uuid | None = None
    custom: Map | None = None


class CreateCompany(Request, type="deals.CreateCompany.v1", topic=COMMANDS, key=("company_id",)):
    """Make a company. `company_id` equals `request_id`. Answer: CompanyCreated."""

    company_id: Uuid
    name: Text
    emails: tuple[Text, ...] = ()
    phones: tuple[Text, ...] = ()
    responsible_id: Uuid | None = None
    custom: Map | None = None


class ChangeDetails(Request, type="deals.ChangeDetails.v1", topic=COMMANDS, key=("element_id", "owner_id")):
    """Change the owner's details record of a template (D45); the element is the run's. Answer: DetailsChanged."""

    owner_type: Literal["contact", "company"]
    owner_id: Uuid
    template_code: Text
    address_type: AddressType | None = None
    fields: dict[str, Text]
    element_type: ElementType | None = None
    element_id: Uuid | None = None


class RestoreDetails(Request, type="deals.RestoreDetails.v1", topic=COMMANDS, key=("element_id", "owner_id", "details_id")):
    """Undo a ChangeDetails while the record still has version `if_sequence`. Answer: DetailsChanged."""

    details_id: Uuid
    if_sequence: Whole
    before: Map
    owner_id: Uuid | None = None
    element_type: ElementType | None = None
    element_id: Uuid | None = None


# Pipelines


class PipelineFact(Fact):
    """A pipeline with all its settings. `changed` names the settings that are new; empty at creation."""

    pipeline_id: Uuid
    code: str
    element_type: str
    name: str
    zone: Zone | None = None
    language: str
    owner_id: Uuid
    automation_user_id: Uuid | None = None
    is_default: bool
    trigger_choice: str
    expire_links_on_lost: bool
    order_version: int
    stages: tuple[Stage, ...]
    changed: tuple[str, ...] = ()


class PipelineCreated(PipelineFact, type="deals.PipelineCreated.v1", topic=EVENTS, key=("pipeline_id",)):
    """A pipeline exists. Heard by automation, billing."""


class PipelineSettingsChanged(PipelineFact, type="deals.PipelineSettingsChanged.v1", topic=EVENTS, key=("pipeline_id",)):
    """Settings of a pipeline are new. Heard by automation, billing."""


class StagesChanged(Fact, type="deals.StagesChanged.v1", topic=EVENTS, key=("pipeline_id",)):
    """The stages are new. `change`: added, renamed, reordered, removed, required_fields. Heard by automation."""

    pipeline_id: Uuid
    order_version: int
    stages: tuple[Stage, ...]
    change: str


class StageReplaced(Fact, type="deals.StageReplaced.v1", topic=EVENTS, key=("pipeline_id",)):
    """A stage is being emptied into another (D60). `rules`: archived, moved. Heard by automation."""

    pipeline_id: Uuid
    stage_id: Uuid
    replacement_stage_id: Uuid
    automation: str
    rules: str
    order_version: int
    stages: tuple[Stage, ...]


class PipelineArchived(Fact, type="deals.PipelineArchived.v1", topic=EVENTS, key=("pipeline_id",)):
    """A pipeline takes nothing any more. Heard by automation."""

    pipeline_id: Uuid


# Elements


class DealCreated(Answer, type="deals.DealCreated.v1", topic=EVENTS, key=("deal_id",)):
    """A deal arrived in its first visit. Heard by automation, billing."""

    deal_id: Uuid
    pipeline_id: Uuid
    stage_id: Uuid
    stage_kind: str
    visit_id: Uuid
    visit_number: int
    arrived_at: Instant
    automation: str
    fields: DealFields
    copied_from: Uuid | None = None
    lead_id: Uuid | None = None
    quote_id: Uuid | None = None


class LeadCreated(Answer, type="deals.LeadCreated.v1", topic=EVENTS, key=("lead_id",)):
    """A lead arrived in its first visit. Heard by automation."""

    lead_id: Uuid
    pipeline_id: Uuid
    stage_id: Uuid
    stage_kind: str
    visit_id: Uuid
    visit_number: int
    arrived_at: Instant
    automation: str
    fields: LeadFields
    source_deal_id: Uuid | None = None


class StageChanged(Answer, type="deals.StageChanged.v1", topic=EVENTS, key=("element_id",)):
    """A deal or lead left a visit and began the next. Heard by automation, scheduler, billing, deals (replaced stages).

    `reason`: person, rule, trigger, bulk, stage_replaced, conversion, api."""

    element_type: str
    element_id: Uuid
    from_pipeline_id: Uuid
    from_stage_id: Uuid
    from_visit_id: Uuid
    pipeline_id: Uuid
    stage_id: Uuid
    stage_kind: str
    visit_id: Uuid
    visit_number: int
    arrived_at: Instant
    automation: str
    reason: str
    loss_reason: str | None = None
    amount: Money
    responsible_id: Uuid | None = None
    decision_id: Uuid | None = None


class DealFieldsChanged(Answer, type="deals.DealFieldsChanged.v1", topic=EVENTS, key=("deal_id",)):
    """Fields of a deal have new values. Heard by automation, billing."""

    deal_id: Uuid
    visit_id: Uuid
    changes: dict[str, Change]


class LeadFieldsChanged(Answer, type="deals.LeadFieldsChanged.v1", topic=EVENTS, key=("lead_id",)):
    """Fields of a lead have new values. Heard by automation."""

    lead_id: Uuid
    visit_id: Uuid
    changes: dict[str, Change]


class DealCopied(Answer, type="deals.DealCopied.v1", topic=EVENTS, key=("deal_id",)):
    """`deal_id` was copied as `copy_id`; the copy says DealCreated itself. Heard by automation."""

    deal_id: Uuid
    copy_id: Uuid
    name: str
    pipeline_id: Uuid
    stage_id: Uuid


class DealDeleted(Answer, type="deals.DealDeleted.v1", topic=EVENTS, key=("deal_id",)):
    """A deal is gone, softly. Heard by automation, scheduler, billing."""

    deal_id: Uuid
    visit_id: Uuid


class LeadDeleted(Answer, type="deals.LeadDeleted.v1", topic=EVENTS, key=("lead_id",)):
    """A lead is gone, softly. Heard by automation, scheduler."""

    lead_id: Uuid
    visit_id: Uuid


class DealRestored(Answer, type="deals.DealRestored.v1", topic=EVENTS, key=("deal_id",)):
    """A deleted deal is back in the same visit; no arrival (D58). Heard by automation, billing."""

    deal_id: Uuid
    visit_id: Uuid
    stage_id: Uuid


class LeadRestored(Answer, type="deals.LeadRestored.v1", topic=EVENTS, key=("lead_id",)):
    """A deleted lead is back in the same visit; no arrival (D58). Heard by automation."""

    lead_id: Uuid
    visit_id: Uuid
    stage_id: Uuid


class LeadConverted(Answer, type="deals.LeadConverted.v1", topic=EVENTS, key=("lead_id",)):
    """A lead became these; `closed`: it also moved to its success stage. Heard by automation."""

    lead_id: Uuid
    deal_id: Uuid | None = None
    contact_id: Uuid | None = None
    company_id: Uuid | None = None
    closed: bool


# Customers


class ContactCreated(Answer, type="deals.ContactCreated.v1", topic=EVENTS, key=("contact_id",)):
    """A contact exists. Heard by automation, billing, notifications."""

    contact_id: Uuid
    fields: ContactFields


class ContactFieldsChanged(Answer, type="deals.ContactFieldsChanged.v1", topic=EVENTS, key=("contact_id",)):
    """Fields of a contact have new values. Heard by automation, billing, notifications."""

    contact_id: Uuid
    changes: dict[str, Change]


class CompanyCreated(Answer, type="deals.CompanyCreated.v1", topic=EVENTS, key=("company_id",)):
    """A company exists. Heard by automation, billing, notifications."""

    company_id: Uuid
    fields: CompanyFields


class CompanyFieldsChanged(Answer, type="deals.CompanyFieldsChanged.v1", topic=EVENTS, key=("company_id",)):
    """Fields of a company have new values. Heard by automation, billing, notifications."""

    company_id: Uuid
    changes: dict[str, Change]


class ContactsMerged(Fact, type="deals.ContactsMerged.v1", topic=EVENTS, key=("survivor_id",)):
    """The merged id is an alias from now on (D65). Heard by automation, billing."""

    survivor_id: Uuid
    merged_id: Uuid
    moved_details: tuple[Uuid, ...]


class CompaniesMerged(Fact, type="deals.CompaniesMerged.v1", topic=EVENTS, key=("survivor_id",)):
    """The merged id is an alias from now on (D65). Heard by automation, billing."""

    survivor_id: Uuid
    merged_id: Uuid
    moved_details: tuple[Uuid, ...]


class ContactDeleted(Fact, type="deals.ContactDeleted.v1", topic=EVENTS, key=("contact_id",)):
    """A contact is gone; `erased`: what is known of the person must go everywhere. Heard by automation, billing, notifications."""

    contact_id: Uuid
    erased: bool


class CompanyDeleted(Fact, type="deals.CompanyDeleted.v1", topic=EVENTS, key=("company_id",)):
    """A company is gone. Heard by automation, billing."""

    company_id: Uuid
    erased: bool


class DetailsCreated(Fact, type="deals.DetailsCreated.v1", topic=EVENTS, key=("details_id",)):
    """A details record exists; `addresses` maps address types to addresses. Heard by automation, billing."""

    details_id: Uuid
    owner_type: str
    owner_id: Uuid
    template_code: str
    is_default: bool
    fields: Map
    addresses: Map


class DetailsChanged(Answer, type="deals.DetailsChanged.v1", topic=EVENTS, key=("details_id",)):
    """A details record is new, in full. `unchanged` maps what was asked in vain to was_empty, new_value_empty or same.

    Heard by automation, billing."""

    details_id: Uuid
    owner_type: str
    owner_id: Uuid
    template_code: str
    address_type: str | None = None
    changes: dict[str, Change]
    unchanged: dict[str, str]
    fields: Map
    addresses: Map
    is_default: bool


class DetailsRemoved(Fact, type="deals.DetailsRemoved.v1", topic=EVENTS, key=("details_id",)):
    """A details record is gone. Heard by automation, billing."""

    details_id: Uuid
    owner_type: str
    owner_id: Uuid


# Directory and files


class EmployeeFact(Fact):
    """An employee with all fields."""

    employee_id: Uuid
    code: str
    name: str
    email: str
    phone: str | None = None
    zone: Zone
    language: str
    department: str | None = None
    manager_id: Uuid | None = None
    roles: tuple[str, ...]
    active: bool


class EmployeeAdded(EmployeeFact, type="deals.EmployeeAdded.v1", topic=EVENTS, key=("employee_id",)):
    """An employee exists. Heard by automation, scheduler, notifications, billing."""


class EmployeeChanged(EmployeeFact, type="deals.EmployeeChanged.v1", topic=EVENTS, key=("employee_id",)):
    """An employee's fields are new. Heard by automation, scheduler, notifications, billing."""


class EmployeeDeactivated(Fact, type="deals.EmployeeDeactivated.v1", topic=EVENTS, key=("employee_id",)):
    """An employee left (D21). Heard by automation, scheduler, notifications."""

    employee_id: Uuid


class EmployeeReactivated(Fact, type="deals.EmployeeReactivated.v1", topic=EVENTS, key=("employee_id",)):
    """An employee is back. Heard by automation, scheduler, notifications."""

    employee_id: Uuid


class FieldSetChanged(Fact, type="deals.FieldSetChanged.v1", topic=EVENTS, key=("field_set_id",)):
    """All fields of a form or details template. `kind`: form, details_template. Heard by automation."""

    field_set_id: Uuid
    kind: str
    element_type: str | None = None
    owner_type: str | None = None
    template_code: str | None = None
    fields: tuple[FieldDefinition, ...]


class FileFact(Fact):
    """A file; its bytes lie in the file storage under `content_ref` (F28). `size` in bytes."""

    file_id: Uuid
    content_ref: str
    sha256: str
    name: str
    size: int
    content_type: str
    owner_type: str | None = None
    owner_id: Uuid | None = None


class FileAttached(FileFact, type="deals.FileAttached.v1", topic=EVENTS, key=("file_id",)):
    """A file can be attached. Heard by automation, notifications."""


class FileRemoved(FileFact, type="deals.FileRemoved.v1", topic=EVENTS, key=("file_id",)):
    """A file is gone. Heard by automation, notifications."""


class TenantRegistered(Fact, type="deals.TenantRegistered.v1", topic=EVENTS, key=("tenant_id",)):
    """A company uses Dealwright; `rehearsal`: its effects go to the sandbox, for good. Heard by all others."""

    tenant_id: Uuid
    name: str
    language: str
    zone: Zone
    rehearsal: bool


class TenantSuspended(Fact, type="deals.TenantSuspended.v1", topic=EVENTS, key=("tenant_id",)):
    """Its requests are refused, its effects wait. Heard by all others."""

    tenant_id: Uuid


class TenantResumed(Fact, type="deals.TenantResumed.v1", topic=EVENTS, key=("tenant_id",)):
    """No longer suspended. Heard by all others."""

    tenant_id: Uuid


class CredentialIssued(Fact, type="deals.CredentialIssued.v1", topic=EVENTS, key=("credential_id",)):
    """A key may be used; `hmac` is of its secret, which is stored nowhere. `actor`: key:<client>, user:<employee>. Heard by all others."""

    credential_id: Uuid
    tenant_id: Uuid
    hmac: str
    scopes: tuple[str, ...]
    actor: str
    expires_at: Instant | None = None


class CredentialRevoked(Fact, type="deals.CredentialRevoked.v1", topic=EVENTS, key=("credential_id",)):
    """A key may no longer be used. Heard by all others."""

    credential_id: Uuid
    tenant_id: Uuid


class CommandRejected(Rejection, type="deals.CommandRejected.v1", topic=EVENTS, key=("record_key",)):
    """Deals refused a command. Heard by automation, billing, deals (list of refusals), outside."""
