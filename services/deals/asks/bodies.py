"""Bodies of requests. Shapes and types are checked here, what they mean in the domain; both name the place of a fault."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, JsonValue

from shared.http.problems import Body
from shared.http.types import Code, Currency, DecimalText, Flag, Instant, LongText, RuleKey, Text255, Whole, Zone

Day = Annotated[str, Field(json_schema_extra={"format": "date"}, examples=["2026-03-02"], max_length=10)]
Automation = Literal["on", "suppressed"]
ElementType = Literal["deal", "lead"]
Language = Literal["de", "en"]
Custom = Annotated[dict[str, JsonValue], Field(description="Custom fields by code; null empties one.")]

HERE = frozenset({"id", "external_id", "pipeline_id", "stage_id", "automation", "code", "element_type", "stages"})
"""Members of a body that are no fields of the thing."""


def fields_of(body: Body, *besides: str) -> dict[str, Any]:
    """The fields that were sent, as JSON values."""
    return body.model_dump(mode="json", exclude_unset=True, exclude={*HERE, *besides})


# ------------------------------------------------------------------------------------------------------------- pipelines
class NewStage(Body):
    code: Code
    name: Text255
    kind: Literal["process", "success", "failure"]
    colour: Text255 = "grey"
    required_fields: tuple[Text255, ...] = ()
    stage_id: UUID | None = None


class AddedStage(NewStage):
    position: Annotated[Whole, Field(ge=0, le=50)] | None = None
    """Within the stages of its kind; left out: at the end."""


class NewPipeline(Body):
    id: UUID | None = None
    code: Code
    element_type: ElementType = "deal"
    name: Text255
    owner_id: UUID
    stages: Annotated[tuple[NewStage, ...], Field(min_length=1, max_length=50)]
    language: Language = "en"
    zone: Zone | None = None
    automation_user_id: UUID | None = None
    is_default: Flag = False
    trigger_choice: Literal["earliest", "furthest"] = "earliest"
    expire_links_on_lost: Flag = False


class PipelineChanges(Body):
    name: Text255 | None = None
    owner_id: UUID | None = None
    language: Language | None = None
    zone: Zone | None = None
    automation_user_id: UUID | None = None
    is_default: Flag | None = None
    trigger_choice: Literal["earliest", "furthest"] | None = None
    expire_links_on_lost: Flag | None = None


class StageChanges(Body):
    name: Text255 | None = None
    colour: Text255 | None = None
    required_fields: tuple[Text255, ...] | None = None


class StageOrder(Body):
    stage_ids: Annotated[tuple[UUID, ...], Field(max_length=50)]


class StageReplacement(Body):
    """Elements go to the replacement, without starting its rules unless `automation` is on; the rules of the stage are
    archived or moved along (D60)."""

    stage_id: UUID
    replacement_stage_id: UUID
    automation: Automation = "suppressed"
    rules: Literal["archive", "move"]


class NoBody(Body):
    """Nothing needs to be said."""


# -------------------------------------------------------------------------------------------------------------- elements
class NewLine(Body):
    """A product row. Percentages are 0 to 100."""

    line_id: UUID | None = None
    product_code: Text255 | None = None
    name: Text255
    quantity: DecimalText = "1"
    unit_price: DecimalText
    discount_percent: DecimalText = "0"
    tax_rate: DecimalText


class DealValues(Body):
    responsible_id: UUID | None = None
    observer_ids: tuple[UUID, ...] = ()
    contact_ids: tuple[UUID, ...] = ()
    primary_contact_id: UUID | None = None
    company_id: UUID | None = None
    currency: Currency = "EUR"
    amount: DecimalText = "0"
    amount_mode: Literal["manual", "from_lines"] = "manual"
    prices_include_tax: Flag = False
    lines: tuple[NewLine, ...] = ()
    begin_date: Day | None = None
    close_date: Day | None = None
    loss_reason: LongText | None = None
    custom: Custom = Field(default_factory=dict)


class NewDeal(DealValues):
    id: UUID | None = None
    pipeline_id: UUID
    stage_id: UUID | None = None
    title: Text255
    automation: Automation = "on"


class DealChanges(DealValues):
    title: Text255 = ""


class ImportedDeal(DealValues):
    external_id: Text255
    pipeline_id: UUID
    stage_id: UUID | None = None
    title: Text255


class DealImport(Body):
    """`automation` on starts the rules of the stages (G4)."""

    rows: Annotated[tuple[ImportedDeal, ...], Field(min_length=1, max_length=200)]
    automation: Automation = "suppressed"


class LeadValues(Body):
    responsible_id: UUID | None = None
    observer_ids: tuple[UUID, ...] = ()
    contact_ids: tuple[UUID, ...] = ()
    primary_contact_id: UUID | None = None
    company_id: UUID | None = None
    currency: Currency = "EUR"
    amount: DecimalText = "0"
    lines: tuple[NewLine, ...] = ()
    custom: Custom = Field(default_factory=dict)


class NewLead(LeadValues):
    """Without a pipeline it goes to the default one of leads. `recurring`: refused without a customer (S76)."""

    id: UUID | None = None
    pipeline_id: UUID | None = None
    stage_id: UUID | None = None
    title: Text255
    source_deal_id: UUID | None = None
    recurring: Flag = False
    skip_if_open_exists: Flag = False
    automation: Automation = "on"


class LeadChanges(LeadValues):
    title: Text255 = ""


class StageChange(Body):
    stage_id: UUID
    loss_reason: LongText | None = None


class BulkStageChange(Body):
    deal_ids: Annotated[tuple[UUID, ...], Field(min_length=1, max_length=200)]
    stage_id: UUID


class NewCopy(Body):
    id: UUID | None = None
    name: Text255 | None = None
    pipeline_id: UUID
    stage_id: UUID | None = None
    responsible_id: UUID | None = None


class NewConversion(Body):
    """Ids may be chosen; `close_lead`: the lead moves to its success stage too (F14)."""

    targets: Annotated[tuple[Literal["deal", "contact", "company"], ...], Field(min_length=1, max_length=3)]
    deal_id: UUID | None = None
    contact_id: UUID | None = None
    company_id: UUID | None = None
    responsible_id: UUID | None = None
    pipeline_id: UUID | None = None
    close_lead: Flag = True


# ------------------------------------------------------------------------------------------------------------- customers
class ContactValues(Body):
    first_name: LongText = ""
    last_name: LongText = ""
    emails: tuple[Text255, ...] = ()
    phones: tuple[Text255, ...] = ()
    company_ids: tuple[UUID, ...] = ()
    zone: Zone | None = None
    language: Language | None = None
    responsible_id: UUID | None = None
    custom: Custom = Field(default_factory=dict)


class NewContact(ContactValues):
    id: UUID | None = None


class CompanyValues(Body):
    emails: tuple[Text255, ...] = ()
    phones: tuple[Text255, ...] = ()
    responsible_id: UUID | None = None
    custom: Custom = Field(default_factory=dict)


class NewCompany(CompanyValues):
    id: UUID | None = None
    name: Text255


class CompanyChanges(CompanyValues):
    name: Text255 = ""


class FileForm(Body):
    """What stands in the form beside the file."""

    id: UUID | None = None
    owner_type: Literal["deal", "lead", "contact", "company"] | None = None
    owner_id: UUID | None = None


class NewMerge(Body):
    merged_id: UUID


Texts = dict[str, str | None]


class NewDetails(Body):
    id: UUID | None = None
    owner_type: Literal["contact", "company"]
    owner_id: UUID
    template_code: Text255
    is_default: Flag = False
    fields: Texts = Field(default_factory=dict)
    addresses: dict[str, Texts] = Field(default_factory=dict)


class DetailsChanges(Body):
    is_default: Literal[True] | None = None
    """The flag is taken from the record that has it; nobody can only give it away."""
    fields: Texts | None = None
    addresses: dict[str, Texts | None] | None = None


# ------------------------------------------------------------------------------------------------------------- directory
class FieldBody(Body):
    code: RuleKey
    label: Text255
    field_type: Literal["string", "text", "number", "money", "bool", "date", "datetime", "select", "user", "file", "url"]
    multiple: Flag = False
    options: Annotated[tuple[Text255, ...], Field(max_length=200)] = ()
    required: Flag = False
    retired: Flag = False


class NewFieldSet(Body):
    """A form has an element type; a details template a code and an owner type."""

    kind: Literal["form", "details_template"]
    element_type: Literal["lead", "deal", "contact", "company"] | None = None
    owner_type: Literal["person", "company"] | None = None
    template_code: Code | None = None
    fields: Annotated[tuple[FieldBody, ...], Field(max_length=200)] = ()


class FieldSetChanges(Body):
    """New fields and those to be changed; what is not named stays as it is."""

    fields: Annotated[tuple[FieldBody, ...], Field(min_length=1, max_length=200)]


class EmployeeValues(Body):
    phone: Text255 | None = None
    language: Language = "en"
    department: LongText = ""
    manager_id: UUID | None = None
    roles: tuple[Text255, ...] = ()


class NewEmployee(EmployeeValues):
    id: UUID | None = None
    code: Code
    name: Text255
    email: Text255
    zone: Zone


class EmployeeChanges(EmployeeValues):
    name: Text255 = ""
    email: Text255 = ""
    zone: Zone = "UTC"


class NewTenant(Body):
    """`rehearsal` is for good: all its effects go to the sandbox."""

    id: UUID | None = None
    name: Text255
    language: Language = "en"
    zone: Zone = "UTC"
    rehearsal: Flag = False


class NewCredential(Body):
    """`actor`: key:<client id> or user:<employee id>. `tenant_id` needs admin:tenants too."""

    scopes: Annotated[tuple[Text255, ...], Field(min_length=1, max_length=64)]
    actor: Text255
    expires_at: Instant | None = None
    tenant_id: UUID | None = None
