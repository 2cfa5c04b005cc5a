"""A pipeline, people and a deal with readable defaults, for the tests of deals' aggregates."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid5

from services.deals.domain import contact, deal, lead
from services.deals.domain.deal import DealCreated, DealFields
from services.deals.domain.field_set import FieldDefinition, FieldSet
from services.deals.domain.lead import LeadCreated, LeadFields
from services.deals.domain.origin import Cause, Origin
from services.deals.domain.pipeline import Pipeline, PipelineCreated, Settings, Stage, arrival_place
from services.deals.domain.stay import Place, arrival

SPACE = UUID("5c1e0000-0000-4000-8000-000000000000")
AT = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
ANNA_DID = Cause(Origin("person"), AT)
RULE_DID = Cause(Origin("rule", id=uuid5(SPACE, "rule"), version=1), AT)


def id_of(name: str) -> UUID:
    """The same id for the same name."""
    return uuid5(SPACE, name)


def asked(name: str, kind: str = "rule") -> Cause:
    """A request with this id, by a rule unless said otherwise."""
    return Cause(Origin(kind), AT, id_of(name))


ANNA, BEN, OLAF = id_of("anna"), id_of("ben"), id_of("olaf")
PETRA, MUSTER = id_of("petra"), id_of("muster gmbh")
ROOF = id_of("roof")
SALES = id_of("sales")


def stage(code: str, kind: str = "process", **more: Any) -> Stage:
    return Stage(id_of(f"stage/{code}"), code, code.capitalize(), kind, **more)


STAGES = (
    stage("new"),
    stage("approval"),
    stage("won", "success"),
    stage("lost", "failure"),
)


def sales(*stages: Stage, **more: Any) -> PipelineCreated:
    settings = Settings("Sales", OLAF, language="de", zone="Europe/Berlin", **more)
    return PipelineCreated(SALES, "sales", "deal", settings, stages or STAGES, 1, ANNA_DID)


def pipeline(*stages: Stage) -> Pipeline:
    created = sales(*stages)
    return Pipeline(created.pipeline_id, created.code, created.element_type, created.settings, created.stages, 1)


def place(code: str, *stages: Stage) -> Place:
    return arrival_place(pipeline(*stages), "deal", id_of(f"stage/{code}"))


DEAL_FORM = FieldSet(
    id_of("deal form"),
    "form",
    (
        FieldDefinition("contract_url", "Contract", "url"),
        FieldDefinition("meeting", "Meeting", "datetime"),
        FieldDefinition("size", "Size", "select", options=("s", "m")),
        FieldDefinition("tags", "Tags", "string", multiple=True),
        FieldDefinition("old", "Old", "string", retired=True),
    ),
    element_type="deal",
)


def line_json(price: str = "100.00", **more: Any) -> dict[str, Any]:
    return {
        "line_id": str(id_of(f"json {price} {more}")),
        "name": "Roof tiles",
        "quantity": "1",
        "unit_price": price,
        "tax_rate": "19",
        **more,
    }


def deal_fields(**values: Any) -> DealFields:
    """As the doors make them: JSON values."""
    return deal.new_fields({"title": "Roof 2026", **values}, DEAL_FORM, AT)


def created(fields: DealFields | None = None, cause: Cause = RULE_DID, **more: Any) -> DealCreated:
    return DealCreated(ROOF, arrival(ROOF, place("new"), 1), fields or deal_fields(), cause, **more)


LEADS = Place(id_of("leads"), id_of("stage/fresh"), "process", "Fresh")
CONVERTED = Place(id_of("leads"), id_of("stage/converted"), "success", "Converted")


def lead_fields(**values: Any) -> LeadFields:
    return lead.new_fields({"title": "Renewal", **values}, FieldSet(), AT)


def lead_created(fields: LeadFields | None = None, cause: Cause = RULE_DID) -> LeadCreated:
    return LeadCreated(id_of("lead"), arrival(id_of("lead"), LEADS, 1), fields or lead_fields(), cause)


def petra(**values: Any) -> contact.ContactFields:
    return contact.new_fields({"first_name": "Petra", "last_name": "Muster", "emails": ["petra@example.org"], **values}, FieldSet())
