"""What is asked of deals and leads."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.deals import views
from services.deals.asks import references
from services.deals.asks.asker import Asker
from services.deals.domain import company, contact, deal, lead
from services.deals.domain.company import COMPANY, CreateCompany
from services.deals.domain.contact import CONTACT, CreateContact
from services.deals.domain.deal import DEAL, ChangeDealFields, CopyDeal, CreateDeal, DealFields, DeleteDeal, MoveDeal, RestoreDeal
from services.deals.domain.element import customer_key
from services.deals.domain.field_set import FIELD_SET, form_id
from services.deals.domain.fields import NAME, Wrong, invalid, shown
from services.deals.domain.lead import LEAD, ChangeLeadFields, ConvertLead, CreateLead, DeleteLead, Lead, MoveLead, RestoreLead
from services.deals.domain.pipeline import PIPELINE, arrival_place, copy_target
from services.deals.domain.stay import Place
from services.deals.domain.tenant import TENANT
from shared.es.addressed import Addressed, Facts
from shared.es.errors import Conflict, Fault, NotFound, Rejected

Values = Mapping[str, Any]


def _form(asker: Asker, element_type: str) -> str:
    return str(form_id(asker.tenant, element_type))


def _customer_of(values: Values) -> str | None:
    """The customer that new values name, as far as they can be read."""
    contacts = values.get("contact_ids")
    primary = values.get("primary_contact_id") or (contacts[0] if isinstance(contacts, list) and contacts else None)
    try:
        return customer_key(_uuid(values.get("company_id")), _uuid(primary))
    except (ValueError, AttributeError, TypeError):
        return None


def _uuid(value: Any) -> UUID | None:
    return None if value is None else UUID(value)


def must_be_the_same(before: Values, given: Values) -> None:
    """Raises Rejected `id_taken`: the id belongs to something that was made with other values."""
    if any(before.get(name) != value for name, value in given.items()):
        raise Rejected("id_taken", "Something else has this id.")


# ----------------------------------------------------------------------------------------------------------------- deals
@dataclass(frozen=True, slots=True)
class NewDeal:
    """`fields`: JSON values. `elsewhere`: the stage belongs to another pipeline. `pointer`: where the fields stand in the body.

    `once`: a deal that is there already stays as it is, whatever is sent (imports)."""

    deal_id: UUID
    pipeline_id: UUID
    fields: Values
    stage_id: UUID | None = None
    elsewhere: bool = False
    automation: str = "on"
    quote_id: UUID | None = None
    lead_id: UUID | None = None
    pointer: str = ""
    once: bool = False


def create_deal(asker: Asker, new: NewDeal) -> Addressed[Any]:
    def create(seen: Facts) -> CreateDeal | None:
        known = seen.state(DEAL, str(new.deal_id))
        if known.exists and new.once:
            return None
        form = seen.state(FIELD_SET, _form(asker, "deal"))
        values = references.resolved(seen, new.fields, new.pointer, form=form)
        by = asker.employee_id
        again = references.has_bought(seen, new.fields)
        fields = deal.new_fields(values, form, seen.now, created_by=by, repeat_customer=again, pointer=new.pointer)
        if known.exists:
            must_be_the_same(shown(known.fields, deal.KEPT), _given(shown(fields, deal.KEPT), values))
            return None
        place = arrival_place(seen.state(PIPELINE, str(new.pipeline_id)), "deal", new.stage_id, elsewhere=new.elsewhere)
        cause = asker.cause(seen)
        return CreateDeal(new.deal_id, place, fields, cause, new.automation, lead_id=new.lead_id, quote_id=new.quote_id)

    return Addressed(
        DEAL,
        str(new.deal_id),
        create,
        reads=((PIPELINE, str(new.pipeline_id)), (FIELD_SET, _form(asker, "deal")), *references.reads(new.fields)),
        finds=references.finds(new.fields),
    )


def _given(shown_fields: Values, names: Values) -> Values:
    return {name: shown_fields[name] for name in names if name in shown_fields}


def change_deal(asker: Asker, deal_id: UUID, changes: Values) -> Addressed[Any]:
    new_customer = any(name in changes for name in references.OF_CUSTOMERS)

    def change(seen: Facts) -> ChangeDealFields:
        repeated = references.has_bought(seen, changes) if new_customer else None
        form = seen.state(FIELD_SET, _form(asker, "deal"))
        return ChangeDealFields(references.resolved(seen, changes, form=form), form, asker.cause(seen), repeated)

    return Addressed(
        DEAL,
        str(deal_id),
        change,
        reads=((FIELD_SET, _form(asker, "deal")), *references.reads(changes)),
        finds=references.finds(changes),
    )


@dataclass(frozen=True, slots=True)
class Move:
    """`pipeline_id`: the one the stage belongs to; None when no pipeline of the tenant has it.

    `quiet`: a move to the stage where the element is already does nothing instead of being refused (G8, HTTP)."""

    element_type: str
    element_id: UUID
    stage_id: UUID
    pipeline_id: UUID | None
    reason: str
    automation: str = "on"
    if_visit_id: UUID | None = None
    loss_reason: str | None = None
    decision_id: UUID | None = None
    quiet: bool = False


def move_element(asker: Asker, move: Move) -> Addressed[Any]:
    if move.element_type == "deal":
        return Addressed(DEAL, str(move.element_id), _moving(asker, move, MoveDeal), reads=_pipeline(move.pipeline_id))
    return Addressed(LEAD, str(move.element_id), _moving(asker, move, MoveLead), reads=_pipeline(move.pipeline_id))


def _pipeline(pipeline_id: UUID | None) -> references.Reads:
    return () if pipeline_id is None else ((PIPELINE, str(pipeline_id)),)


def _moving(asker: Asker, move: Move, kind: type[MoveDeal] | type[MoveLead]) -> Callable[[Facts], MoveDeal | MoveLead | None]:
    def command(seen: Facts) -> MoveDeal | MoveLead | None:
        element = _element(seen, move.element_type, move.element_id)
        if not element.exists:
            raise NotFound(f"There is no such {move.element_type} in this tenant.")
        if asker.request_id in element.answered:
            return None
        if move.quiet and element.stay.stage_id == move.stage_id and not element.deleted:
            return None
        if move.pipeline_id is None:
            raise Rejected("unknown_stage", "No pipeline of this tenant has such a stage.")
        place = arrival_place(seen.state(PIPELINE, str(move.pipeline_id)), move.element_type, move.stage_id)
        return kind(place, move.reason, asker.cause(seen), move.automation, move.if_visit_id, _readable(move.loss_reason), move.decision_id)

    return command


def _element(seen: Facts, element_type: str, id: UUID) -> deal.Deal | Lead:
    return seen.state(DEAL, str(id)) if element_type == "deal" else seen.state(LEAD, str(id))


def _readable(loss_reason: str | None) -> str | None:
    try:
        return deal.SETTABLE["loss_reason"].read(loss_reason) or None
    except Wrong as wrong:
        raise invalid([Fault("/loss_reason", wrong.code, wrong.detail)]) from None


@dataclass(frozen=True, slots=True)
class NewCopy:
    source_id: UUID
    copy_id: UUID
    pipeline_id: UUID
    stage_id: UUID | None = None
    name: str | None = None
    responsible_id: UUID | None = None


def copy_deal(asker: Asker, new: NewCopy) -> tuple[Addressed[Any], ...]:
    """The source says that it was copied; the copy is made in the same transaction, from the source as it is then."""
    target, source = ((PIPELINE, str(new.pipeline_id)),), ((DEAL, str(new.source_id)),)
    named = {"responsible_id": None if new.responsible_id is None else str(new.responsible_id)}

    def ask_source(seen: Facts) -> CopyDeal:
        references.resolved(seen, named)
        place = copy_target(seen.state(PIPELINE, str(new.pipeline_id)), new.stage_id)
        return CopyDeal(new.copy_id, place, asker.cause(seen), title(new.name, "/name"))

    def make_copy(seen: Facts) -> CreateDeal | None:
        return _copy(asker, new, seen)

    return (
        Addressed(DEAL, str(new.source_id), ask_source, reads=(*target, *references.reads(named))),
        Addressed(DEAL, str(new.copy_id), make_copy, reads=(*source, *target, (TENANT, str(asker.tenant)))),
    )


def title(name: str | None, at: str = "/title") -> str | None:
    """An empty name is none."""
    try:
        return NAME.read(name) if name and name.strip() else None
    except Wrong as wrong:
        raise invalid([Fault(at, wrong.code, wrong.detail)]) from None


def _copy(asker: Asker, new: NewCopy, seen: Facts) -> CreateDeal | None:
    source, known = seen.state(DEAL, str(new.source_id)), seen.state(DEAL, str(new.copy_id))
    copy = source.copy(new.copy_id)
    if known.exists or copy is None:
        if known.exists and known.copied_from != source.deal_id:
            raise Rejected("id_taken", "Another deal has this id.")
        return None
    place = copy_target(seen.state(PIPELINE, str(new.pipeline_id)), new.stage_id)
    zone = place.zone or seen.state(TENANT, str(asker.tenant)).zone
    people = {"responsible_id": new.responsible_id, "created_by": asker.employee_id}
    fields = deal.copied_fields(source, copy, seen.now, zone, **people)
    return CreateDeal(
        new.copy_id, place, fields, asker.cause(seen).unanswered(), copied_from=source.deal_id, copy_generation=copy.generation
    )


def delete_element(asker: Asker, element_type: str, id: UUID, *, if_untouched: bool = False) -> Addressed[Any]:
    if element_type == "deal":
        return Addressed(DEAL, str(id), lambda seen: DeleteDeal(asker.cause(seen), if_untouched))
    return Addressed(LEAD, str(id), lambda seen: DeleteLead(asker.cause(seen), if_untouched))


def restore_element(asker: Asker, element_type: str, id: UUID, pipeline_id: UUID) -> Addressed[Any]:
    """`pipeline_id`: where it stood when that was looked up; should it stand elsewhere by now, it is decided again."""
    aggregate = DEAL if element_type == "deal" else LEAD

    def restore(seen: Facts) -> RestoreDeal | RestoreLead:
        element = _element(seen, element_type, id)
        if element.stay.pipeline_id != pipeline_id:
            raise Conflict("the element stands in another pipeline by now")
        place = _where_it_stood(seen, element_type, element)
        return RestoreDeal(place, asker.cause(seen)) if element_type == "deal" else RestoreLead(place, asker.cause(seen))

    return Addressed(aggregate, str(id), restore, reads=((PIPELINE, str(pipeline_id)),))


def _where_it_stood(seen: Facts, element_type: str, element: deal.Deal | Lead) -> Place | None:
    try:
        return arrival_place(seen.state(PIPELINE, str(element.stay.pipeline_id)), element_type, element.stay.stage_id)
    except Rejected:
        return None


# ----------------------------------------------------------------------------------------------------------------- leads
@dataclass(frozen=True, slots=True)
class NewLead:
    lead_id: UUID
    pipeline_id: UUID
    fields: Values
    stage_id: UUID | None = None
    elsewhere: bool = False
    source_deal_id: UUID | None = None
    recurring: bool = False
    skip_if_open_exists: bool = False
    automation: str = "on"


def create_lead(asker: Asker, new: NewLead) -> Addressed[Any]:
    """Every new lead of a customer names the set of his open leads, whether it looks at it or not (D49)."""
    customer = _customer_of(new.fields)
    looks = ((views.OPEN_LEADS, customer),) if customer and new.skip_if_open_exists else ()

    def create(seen: Facts) -> CreateLead | None:
        form = seen.state(FIELD_SET, _form(asker, "lead"))
        values = references.resolved(seen, new.fields, form=form)
        fields = lead.new_fields(values, form, seen.now, created_by=asker.employee_id, source_deal_id=new.source_deal_id)
        known = seen.state(LEAD, str(new.lead_id))
        if known.exists:
            must_be_the_same(shown(known.fields, lead.KEPT), _given(shown(fields, lead.KEPT), values))
            return None
        place = arrival_place(seen.state(PIPELINE, str(new.pipeline_id)), "lead", new.stage_id, elsewhere=new.elsewhere)
        open_exists = any(seen.one(finder, key) is not None for finder, key in looks)
        return CreateLead(new.lead_id, place, fields, asker.cause(seen), new.recurring, open_exists, new.automation)

    return Addressed(
        LEAD,
        str(new.lead_id),
        create,
        reads=((PIPELINE, str(new.pipeline_id)), (FIELD_SET, _form(asker, "lead")), *references.reads(new.fields)),
        exclusive=f"open-leads/{customer}" if customer else None,
        finds=(*references.finds(new.fields), *looks),
    )


def change_lead(asker: Asker, lead_id: UUID, changes: Values) -> Addressed[Any]:
    customer = _customer_of(changes)

    def change(seen: Facts) -> ChangeLeadFields:
        form = seen.state(FIELD_SET, _form(asker, "lead"))
        return ChangeLeadFields(references.resolved(seen, changes, form=form), form, asker.cause(seen))

    return Addressed(
        LEAD,
        str(lead_id),
        change,
        reads=((FIELD_SET, _form(asker, "lead")), *references.reads(changes)),
        exclusive=f"open-leads/{customer}" if customer else None,
        finds=references.finds(changes),
    )


@dataclass(frozen=True, slots=True)
class Conversion:
    """`made`: the id of each target. `lead_pipeline_id`: where the lead stood when that was looked up, to close it there."""

    lead_id: UUID
    made: Mapping[str, UUID]
    deal_pipeline_id: UUID | None
    lead_pipeline_id: UUID | None
    close: bool
    responsible_id: UUID | None = None
    title: str | None = None
    """None: that of the lead."""


def convert_lead(asker: Asker, conversion: Conversion) -> tuple[Addressed[Any], ...]:
    """The lead says what it becomes; contact, company and deal are made in the same transaction. (S46)"""
    named = {"responsible_id": None if conversion.responsible_id is None else str(conversion.responsible_id)}
    parts: dict[str, Callable[[Asker, Conversion], Addressed[Any]]] = {"contact": _contact, "company": _company, "deal": _deal}
    return (
        Addressed(
            LEAD,
            str(conversion.lead_id),
            lambda seen: _converted(asker, conversion, seen, named),
            reads=(*_pipeline(conversion.lead_pipeline_id), *references.reads(named)),
        ),
        *(make(asker, conversion) for target, make in parts.items() if target in conversion.made),
    )


def _converted(asker: Asker, conversion: Conversion, seen: Facts, named: Values) -> ConvertLead:
    references.resolved(seen, named)
    success = None
    state = seen.state(LEAD, str(conversion.lead_id))
    if conversion.close and conversion.lead_pipeline_id is not None and state.exists:
        if state.stay.pipeline_id != conversion.lead_pipeline_id:
            raise Conflict("the lead stands in another pipeline by now")
        pipeline = seen.state(PIPELINE, str(conversion.lead_pipeline_id))
        success = arrival_place(pipeline, "lead", pipeline.final_stage("success").stage_id)
    return ConvertLead(conversion.made, asker.cause(seen), success)


def _becomes(seen: Facts, conversion: Conversion, target: str) -> Lead | None:
    """The lead, when it became this and nothing else with that id was there before."""
    state = seen.state(LEAD, str(conversion.lead_id))
    return state if state.made.get(target) == conversion.made[target] else None


def _contact(asker: Asker, conversion: Conversion) -> Addressed[Any]:
    id = conversion.made["contact"]

    def create(seen: Facts) -> CreateContact | None:
        from_lead = _becomes(seen, conversion, "contact")
        if from_lead is None:
            return None
        responsible = conversion.responsible_id or from_lead.fields.responsible_id
        companies = (from_lead.made["company"],) if "company" in from_lead.made else ()
        name = conversion.title or from_lead.fields.title
        fields = contact.ContactFields(last_name=name, company_ids=companies, responsible_id=responsible)
        return CreateContact(id, fields, asker.cause(seen).unanswered())

    return Addressed(CONTACT, str(id), create, reads=((LEAD, str(conversion.lead_id)),))


def _company(asker: Asker, conversion: Conversion) -> Addressed[Any]:
    id = conversion.made["company"]

    def create(seen: Facts) -> CreateCompany | None:
        from_lead = _becomes(seen, conversion, "company")
        if from_lead is None:
            return None
        responsible = conversion.responsible_id or from_lead.fields.responsible_id
        fields = company.CompanyFields(name=conversion.title or from_lead.fields.title, responsible_id=responsible)
        return CreateCompany(id, fields, asker.cause(seen).unanswered())

    return Addressed(COMPANY, str(id), create, reads=((LEAD, str(conversion.lead_id)),))


def _deal(asker: Asker, conversion: Conversion) -> Addressed[Any]:
    id, pipeline_id = conversion.made["deal"], conversion.deal_pipeline_id
    if pipeline_id is None:
        raise Rejected("target_missing", "The tenant has no default pipeline for deals.")

    def create(seen: Facts) -> CreateDeal | None:
        from_lead = _becomes(seen, conversion, "deal")
        if from_lead is None or seen.state(DEAL, str(id)).exists:
            return None
        place = copy_target(seen.state(PIPELINE, str(pipeline_id)), None)
        fields = _fields_of_lead(asker, conversion, from_lead, seen)
        return CreateDeal(id, place, fields, asker.cause(seen).unanswered(), lead_id=conversion.lead_id)

    reads = ((LEAD, str(conversion.lead_id)), (PIPELINE, str(pipeline_id)), (FIELD_SET, _form(asker, "deal")))
    return Addressed(DEAL, str(id), create, reads=reads)


def _fields_of_lead(asker: Asker, conversion: Conversion, state: Lead, seen: Facts) -> DealFields:
    """What a deal takes over from its lead, and whom that became before; of custom fields those that deals have too."""
    fields, made = state.fields, state.made
    form = seen.state(FIELD_SET, _form(asker, "deal"))
    contacts = (*fields.contact_ids, *((made["contact"],) if "contact" in made else ()))
    return DealFields(
        conversion.title or fields.title,
        created_at=seen.now,
        created_by=asker.employee_id,
        responsible_id=conversion.responsible_id or fields.responsible_id,
        observer_ids=fields.observer_ids,
        contact_ids=contacts,
        primary_contact_id=fields.primary_contact_id or (contacts[0] if contacts else None),
        company_id=made.get("company", fields.company_id),
        currency=fields.currency,
        amount=fields.amount,
        amount_fixed=fields.amount_fixed,
        amount_mode="from_lines" if fields.lines and not fields.amount_fixed else "manual",
        lines=fields.lines,
        custom={code: value for code, value in fields.custom.items() if form.has(code)},
    )
