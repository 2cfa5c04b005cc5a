"""What each rule type asks of the owner of a thing: from settings, rendered texts and a card to steps (automation 5.2).

An `…Asked` event holds everything the command says; its publication is the command. Nothing is asked that is not recorded."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from services.automation.domain import people
from services.automation.domain.callback import declared, expiry
from services.automation.domain.card import Card, Details, Scope, normal, zone_of
from services.automation.domain.catalogue import ADDRESS_FIELDS, RULE_TYPES
from services.automation.domain.change import FieldType, Reading, as_command, converted
from services.automation.domain.definition import Rule
from services.automation.domain.ids import derived
from services.automation.domain.timing import Anchors, FieldEmpty, parsed_offset, resolve_deadline, seconds_in
from shared.es.aggregate import Json

MOST_RECIPIENTS = 10
LONGEST_TITLE = 255

# ------------------------------------------------------------------------------------------------ what is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One effect. `request_id` is chosen here and is the id of the thing created; `actor` is in whose name (F23)."""

    rule_id: str
    step: str
    request_id: str
    actor: str = "system"
    acting_fallback: bool = False
    """Somebody stands in for whoever was to act (D20)."""
    at: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Billed(Asked):
    """What documents are made of: the deal as it was seen."""

    deal_id: str
    contact_id: str | None = None
    company_id: str | None = None
    currency: str
    amount: str
    prices_include_tax: bool = True
    lines: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkAsked(Billed):
    auto_create: bool = True
    order_id: str | None = None
    reuse_existing: bool = False
    covers: str = "auto"
    expires_in_days: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class InvoiceAsked(Billed):
    title: str
    responsible_id: str | None = None
    issue: bool = False
    skip_if_open_exists: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QuoteAsked(Billed):
    title: str
    responsible_id: str | None = None
    skip_if_open_exists: bool = False
    valid_for_days: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignDocumentAsked(Asked):
    deal_id: str
    contact_id: str | None = None
    company_id: str | None = None
    template_code: str
    title: str
    responsible_id: str | None = None
    fields: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionAsked(Asked):
    """A lead becomes `target`: deal, contact or company, whose id is the request id."""

    lead_id: str
    target: str
    title: str | None = None
    responsible_id: str | None = None
    pipeline_id: str | None = None
    close_lead: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyAsked(Asked):
    source_deal_id: str
    name: str | None = None
    pipeline_id: str
    stage_id: str | None = None
    responsible_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LeadAsked(Asked):
    title: str
    responsible_id: str | None = None
    contact_ids: tuple[str, ...] = ()
    company_id: str | None = None
    source_deal_id: str
    skip_if_open_exists: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class DetailsChangeAsked(Asked):
    owner_type: str
    owner_id: str
    template_code: str
    address_type: str | None = None
    fields: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActivityAsked(Asked):
    name: str
    description: str
    deadline: Json
    executed_at: str
    fallback_zone: str | None = None
    duration_minutes: int
    responsible_id: str
    colour: str
    calendar: bool
    contact_ids: tuple[str, ...] = ()
    invitee_ids: tuple[str, ...] = ()
    address: str | None = None
    room_id: str | None = None
    on_room_conflict: str = "mark"
    link: str | None = None
    file_ids: tuple[str, ...] = ()
    reminders: tuple[int, ...] = ()
    auto_complete: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailAsked(Asked):
    to: str
    subject: str
    body_text: str
    from_employee_id: str | None = None
    reply_to: str | None = None
    attachment_ids: tuple[str, ...] = ()
    language: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SmsAsked(Asked):
    to: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NoticeAsked(Asked):
    """Exactly one of `employee_id` and `role`."""

    employee_id: str | None = None
    role: str | None = None
    title: str | None = None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookAsked(Asked):
    """`callback_url`: where its answer is waited for, until `callback_expires_at`, with these `outputs`; None: nobody waits."""

    endpoint_id: str
    event_name: str
    payload: Json = field(default_factory=dict)
    callback_url: str | None = None
    callback_expires_at: str | None = None
    outputs: tuple[Json, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueWriteAsked(Asked):
    """Answered in the same transaction by the value itself (D57); no message."""

    value_id: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldsAsked(Asked):
    """New values of fields of the element, as its owner reads them; null empties one."""

    changes: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StageAsked(Asked):
    """Out of this visit only: whoever moves the element before is not overruled (D18)."""

    stage_id: str
    loss_reason: str | None = None


ASKED: tuple[type[Asked], ...] = (
    LinkAsked,
    InvoiceAsked,
    QuoteAsked,
    SignDocumentAsked,
    ConversionAsked,
    CopyAsked,
    LeadAsked,
    DetailsChangeAsked,
    ActivityAsked,
    EmailAsked,
    SmsAsked,
    NoticeAsked,
    FieldsAsked,
    StageAsked,
    WebhookAsked,
    ValueWriteAsked,
)


# ------------------------------------------------------------------------------------------------ what comes of a run


@dataclass(frozen=True, slots=True)
class FailedStep:
    """A step that is not worth asking: a recipient that is no address."""

    step: str
    request_id: str
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Steps:
    asked: tuple[Asked, ...]
    failed: tuple[FailedStep, ...] = ()


@dataclass(frozen=True, slots=True)
class Skip:
    reason: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Fail:
    code: str
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """Done without asking anybody."""

    outputs: Json
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AwaitField:
    """A date field that the action needs is empty."""

    path: str


Plan = Steps | Skip | Fail | Result | AwaitField

Texts = Mapping[str, Any]
"""Rendered settings: text, or a map of texts; None where the setting is null."""


@dataclass(frozen=True, slots=True)
class Doing:
    """One run about to act."""

    visit_id: str
    rule: Rule
    scope: Scope
    texts: Texts
    actor: str
    acting_fallback: bool
    at: str
    callback_url: Callable[[str, str], str]
    """Where the answer to a request asked at this moment is expected."""

    @property
    def card(self) -> Card:
        return self.scope.card

    def setting(self, name: str) -> Any:
        return self.rule.settings.get(name)

    def text(self, name: str) -> str | None:
        """A rendered setting; None when it is null or nothing but blanks."""
        value = self.texts.get(name)
        return value.strip() or None if isinstance(value, str) else None

    def title(self) -> str:
        return str(self.card.fields.get("title") or "")

    def short(self, name: str) -> str | None:
        """A rendered setting of one line that is kept as a title: cut off where titles end."""
        text = self.text(name)
        return text[:LONGEST_TITLE] if text else None

    def responsible(self) -> str | None:
        chosen = self.texts.get("responsible", self.setting("responsible"))
        return people.assignee(chosen, self.rule, self.card).person_id

    def request(self, step: str) -> dict[str, Any]:
        rule_id = self.rule.rule_id
        request = request_id(self.visit_id, rule_id, step)
        who = {"actor": self.actor, "acting_fallback": self.acting_fallback}
        return {"rule_id": rule_id, "step": step, "request_id": request, "at": self.at, **who}

    def billed(self) -> dict[str, Any]:
        fields, card = self.card.fields, self.card
        return {
            "deal_id": card.element_id,
            "contact_id": card.contact_id,
            "company_id": card.company_id,
            "currency": fields.get("currency") or "EUR",
            "amount": str(fields.get("amount") or "0"),
            "prices_include_tax": bool(fields.get("prices_include_tax", True)),
            "lines": tuple(fields.get("lines") or ()),
        }


def request_id(visit_id: str, rule_id: str, step: str) -> str:
    """The effect key as an id: never the attempt (README 3)."""
    return derived(visit_id, f"{rule_id}/{step}")


def plan(doing: Doing) -> Plan:
    """What the rule does now. Total for every rule type of the catalogue."""
    return PLANS[doing.rule.rule_type](doing)


# ------------------------------------------------------------------------------------------------ the rule types


def _payment_link(doing: Doing) -> Plan:
    order = doing.text("order_id")
    if not doing.setting("auto_create") and order is None:
        return Fail("order_missing", "The order number is empty.")
    asked = LinkAsked(
        **doing.request("link"),
        **doing.billed(),
        auto_create=bool(doing.setting("auto_create")),
        order_id=order,
        reuse_existing=bool(doing.setting("reuse_existing")),
        covers=doing.setting("covers"),
        expires_in_days=_days(doing.setting("expires_in")),
    )
    return Steps((asked,))


def _create_from(doing: Doing) -> Plan:
    order = ("quote", "invoice", "sign_document", "company", "contact", "deal")
    targets = sorted(doing.setting("targets"), key=order.index)
    last = targets[-1]
    return Steps(tuple(_created_from(doing, target, is_last=target == last) for target in targets))


def _created_from(doing: Doing, target: str, *, is_last: bool) -> Asked:
    if target in ("contact", "company", "deal"):
        return _conversion(doing, target, is_last=is_last)
    common: dict[str, Any] = {"title": doing.short("title") or doing.title(), "responsible_id": doing.responsible()}
    if target == "sign_document":
        return _sign_document(doing, common)
    document = {**doing.request(target), **doing.billed(), **common}
    skip = bool(doing.setting("skip_if_open_exists"))
    if target == "quote":
        return QuoteAsked(**document, skip_if_open_exists=skip, valid_for_days=_days(doing.setting("valid_for")))
    return InvoiceAsked(**document, skip_if_open_exists=skip, issue=bool(doing.setting("issue")))


def _sign_document(doing: Doing, common: dict[str, Any]) -> Asked:
    return SignDocumentAsked(
        **doing.request("sign_document"),
        **common,
        deal_id=doing.card.element_id,
        contact_id=doing.card.contact_id,
        company_id=doing.card.company_id,
        template_code=doing.setting("sign_template"),
        fields={"amount": str(doing.card.fields.get("amount") or "0"), "currency": doing.card.fields.get("currency")},
    )


def _conversion(doing: Doing, target: str, *, is_last: bool) -> Asked:
    pipeline = doing.setting("pipeline")
    return ConversionAsked(
        **doing.request(target),
        lead_id=doing.card.element_id,
        target=target,
        title=doing.short("title"),
        responsible_id=doing.responsible(),
        pipeline_id=doing.rule.reference(f"pipeline:{pipeline}") if target == "deal" and pipeline else None,
        close_lead=bool(doing.setting("close_lead")) and is_last,
    )


def _change_details(doing: Doing) -> Plan:
    owners = _owners(doing)
    if not owners:
        return Skip("no_details", f"No {doing.setting('element')} is linked.")
    kind = doing.setting("element")
    asked = tuple(
        DetailsChangeAsked(
            **doing.request(f"{kind}:{owner}"),
            owner_type=kind,
            owner_id=owner,
            template_code=doing.setting("template"),
            address_type=doing.setting("address_type"),
            fields=dict(doing.texts["fields"]),
        )
        for owner in owners
    )
    return Steps(asked)


def _owners(doing: Doing) -> list[str]:
    card = doing.card
    if doing.setting("element") == "company":
        return [card.company_id] if card.company_id else []
    if doing.setting("which") == "all":
        return [str(contact) for contact in card.fields.get("contact_ids") or ()]
    return [card.contact_id] if card.contact_id else []


def _get_details(doing: Doing) -> Plan:
    record = _record(doing)
    if record is None:
        return Result({"found": False})
    address = record.addresses.get(doing.setting("address_type") or "") or {}
    parts = address_parts(address)
    outputs: Json = {
        "found": True,
        "details_id": record.id,
        **{code: value for code, value in record.fields.items() if value},
        **{name: address[name] for name in ADDRESS_FIELDS if address.get(name)},
    }
    if parts:
        outputs |= {"address": ", ".join(parts), "address_lines": parts}
    return Result(outputs, (f"details {record.id} at version {record.sequence}",))


def _record(doing: Doing) -> Details | None:
    """The default record of the template, else the oldest (ids are sorted by time)."""
    owner = doing.card.company_id if doing.setting("element") == "company" else doing.card.contact_id
    template = doing.setting("template")
    found = [d for d in doing.card.links.details if d.owner_id == owner and d.template_code == template]
    return min(found, key=lambda d: (not d.is_default, d.id), default=None)


def address_parts(address: Mapping[str, Any]) -> list[str]:
    """Street house, addition, postal code city, district, region, country; what is empty is left out."""

    def joined(*names: str) -> str:
        return " ".join(str(address[name]) for name in names if address.get(name))

    lines = (joined("street", "house"), joined("addition"), joined("postal_code", "city"))
    return [line for line in (*lines, joined("district"), joined("region"), joined("country")) if line]


def _recurring_lead(doing: Doing) -> Plan:
    card = doing.card
    if card.contact_id is None and card.company_id is None:
        return Skip("no_client", "Neither contact nor company is linked.")
    contacts = card.fields.get("contact_ids") or ([card.contact_id] if card.contact_id else [])
    asked = LeadAsked(
        **doing.request("lead"),
        title=doing.short("title") or doing.title(),
        responsible_id=doing.responsible(),
        contact_ids=tuple(str(contact) for contact in contacts),
        company_id=card.company_id,
        source_deal_id=card.element_id,
        skip_if_open_exists=bool(doing.setting("skip_if_open_exists")),
    )
    return Steps((asked,))


def _copy_deal(doing: Doing) -> Plan:
    pipeline, stage = doing.setting("pipeline"), doing.setting("initial_stage")
    pipeline_id = doing.rule.reference(f"pipeline:{pipeline}")
    if pipeline_id is None:
        return Fail("target_missing", f"There is no pipeline {pipeline}.")
    stage_id = None if stage == "first" else doing.rule.reference(f"stage:{pipeline}/{stage}")
    if stage != "first" and stage_id is None:
        return Fail("target_missing", f"There is no stage {stage} in {pipeline}.")
    asked = CopyAsked(
        **doing.request("copy"),
        source_deal_id=doing.card.element_id,
        name=doing.short("name"),
        pipeline_id=pipeline_id,
        stage_id=stage_id,
        responsible_id=doing.responsible(),
    )
    return Steps((asked,))


def _plan_activity(doing: Doing) -> Plan:
    responsible = doing.responsible()
    if responsible is None:
        return Fail("recipient_missing", "Nobody is left to be responsible for the activity.")
    deadline = resolve_deadline(doing.setting("deadline"), _anchors(doing, responsible))
    if isinstance(deadline, FieldEmpty):
        return AwaitField(deadline.path)
    files = tuple(str(file) for file in doing.setting("files") or ())
    if missing := _missing(files, doing.card):
        return Fail("file_missing", f"File {missing} was removed.")
    link, notes = _link(doing)
    return Steps((_activity(doing, responsible, deadline.when, files, link, notes),))


def _activity(
    doing: Doing, responsible: str, deadline: Json, files: tuple[str, ...], link: str | None, notes: tuple[str, ...]
) -> ActivityAsked:
    room = doing.setting("room")
    return ActivityAsked(
        **doing.request("activity"),
        notes=notes,
        name=doing.short("name") or _label(doing),
        description=str(doing.texts.get("description") or ""),
        deadline=deadline,
        executed_at=doing.at,
        fallback_zone=doing.card.pipeline.zone,
        duration_minutes=doing.setting("duration"),
        responsible_id=responsible,
        colour=doing.setting("colour"),
        calendar=bool(doing.setting("calendar")),
        contact_ids=_customers(doing),
        invitee_ids=_invited(doing),
        address=doing.text("address"),
        room_id=doing.rule.reference(f"room:{room}") if room else None,
        on_room_conflict=doing.setting("on_room_conflict"),
        link=link,
        file_ids=files,
        reminders=tuple(doing.setting("reminders") or ()),
        auto_complete=bool(doing.setting("auto_complete_on_stage_change")),
    )


def _anchors(doing: Doing, responsible: str) -> Anchors:
    assignee = people.person(responsible, doing.card)
    return Anchors(
        arrival=doing.scope.arrival,
        now=doing.at,
        field=lambda path: doing.scope.value(normal(path)),
        pipeline_zone=doing.card.pipeline.zone,
        assignee_zone=assignee.zone if assignee else None,
        responsible_id=responsible,
    )


def _label(doing: Doing) -> str:
    return RULE_TYPES[doing.rule.rule_type].label[1 if doing.card.pipeline.language == "de" else 0]


def _customers(doing: Doing) -> tuple[str, ...]:
    """A snapshot of the element's contacts at this moment (D54)."""
    chosen = doing.setting("customers")
    linked = tuple(str(contact) for contact in doing.card.fields.get("contact_ids") or ())
    if chosen == "all":
        return linked
    if chosen == "primary":
        return (doing.card.contact_id,) if doing.card.contact_id else ()
    return tuple(contact for contact in linked if chosen == f"contact:{contact}")


def _invited(doing: Doing) -> tuple[str, ...]:
    wanted = (people.named(person, doing.rule, doing.card) for person in doing.setting("invite") or ())
    return tuple(dict.fromkeys(id for id in wanted if id is not None and people.is_active(id, doing.card)))


def _link(doing: Doing) -> tuple[str | None, tuple[str, ...]]:
    """A link that is empty or not http(s) is left out, and the run says so (D55)."""
    if doing.setting("link") is None:
        return None, ()
    link = doing.text("link")
    if link is None:
        return None, ("link_empty",)
    return (link, ()) if re.match(r"https?://\S+$", link) else (None, ("link_not_http",))


def _missing(files: Sequence[str], card: Card) -> str | None:
    return next((file for file in files if card.links.is_gone(file)), None)


def _send_email(doing: Doing) -> Plan:
    files = tuple(str(file) for file in doing.setting("attachments") or ())
    if missing := _missing(files, doing.card):
        return Fail("file_missing", f"File {missing} was removed.")
    common: dict[str, Any] = {
        "subject": " ".join((doing.text("subject") or doing.title()).split()),
        "body_text": str(doing.texts.get("body") or ""),
        "from_employee_id": doing.card.responsible_id if doing.setting("from") == "responsible" else None,
        "reply_to": _reply_to(doing),
        "attachment_ids": files,
        "language": (doing.card.links.contact or {}).get("language") or doing.card.pipeline.language,
    }
    return _to_each(doing, doing.text("to"), ADDRESS, lambda request, to: EmailAsked(**request, to=to, **common))


def _reply_to(doing: Doing) -> str | None:
    found = people.person(people.assignee(doing.setting("reply_to"), doing.rule, doing.card).person_id, doing.card)
    return found.email if found else None


def _send_sms(doing: Doing) -> Plan:
    text = str(doing.texts.get("text") or "")
    if len(text) > 1600:
        return Fail("template_error", f"The text has {len(text)} characters; an SMS has at most 1600.")
    return _to_each(doing, doing.text("to"), PHONE, lambda request, to: SmsAsked(**request, to=to, text=text))


ADDRESS = re.compile(r"[^@\s,;<>\"]+@[^@\s,;<>\"]+\.[^@\s,;<>\"]+")
PHONE = re.compile(r"\+[1-9]\d{6,14}")


def _to_each(doing: Doing, to: str | None, shape: re.Pattern[str], ask: Callable[[dict[str, Any], str], Asked]) -> Plan:
    """One step per recipient, in the order written: `to:1`, `to:2`, … (F11)."""
    recipients = list(dict.fromkeys(part.strip() for part in (to or "").split(",") if part.strip()))
    if not recipients:
        return Fail("recipient_missing", "No recipient is left.")
    asked: list[Asked] = []
    failed: list[FailedStep] = []
    for n, recipient in enumerate(recipients[:MOST_RECIPIENTS], 1):
        request = doing.request(f"to:{n}")
        if shape.fullmatch(recipient):
            asked.append(ask(request, recipient))
        else:
            failed.append(_not_asked(request, "bad_address", f"{recipient[:100]} cannot be written to."))
    if len(recipients) > MOST_RECIPIENTS:
        rest = f"{len(recipients) - MOST_RECIPIENTS} of the recipients are more than the ten that a rule tells."
        failed.append(_not_asked(doing.request(f"to:{MOST_RECIPIENTS + 1}"), "too_many_recipients", rest))
    return Steps(tuple(asked), tuple(failed))


def _not_asked(request: dict[str, Any], code: str, detail: str) -> FailedStep:
    return FailedStep(request["step"], request["request_id"], code, detail)


def _notify(doing: Doing) -> Plan:
    to = doing.setting("to")
    wanted = to if isinstance(to, list) else [to]
    recipients = list(dict.fromkeys(r for r in (_recipient(doing, person) for person in wanted) if r is not None))
    if not recipients:
        return Fail("recipient_missing", "No active recipient is left.")
    title, text = doing.text("title"), str(doing.texts.get("text") or "")
    asked = (
        NoticeAsked(**doing.request(f"to:{n}"), employee_id=employee, role=role, title=title, text=text)
        for n, (employee, role) in enumerate(recipients, 1)
    )
    return Steps(tuple(asked))


def _recipient(doing: Doing, person: str) -> tuple[str | None, str | None] | None:
    """(employee, role) of which one is set."""
    if person.startswith("role:"):
        return None, person.removeprefix("role:")
    chosen = people.assignee(person, doing.rule, doing.card)
    return (chosen.person_id, None) if chosen.person_id else None


def _change_variable(doing: Doing) -> Plan:
    value_id = doing.rule.reference(f"variable:{doing.setting('variable')}")
    if value_id is None:
        return Fail("target_missing", f"There is no variable {doing.setting('variable')}.")
    return Steps((ValueWriteAsked(**doing.request("value"), value_id=value_id, text=str(doing.texts.get("value") or "")),))


def _change_responsible(doing: Doing) -> Plan:
    """Whoever is named, else who stands in for him (D21); an empty text changes nothing."""
    if not doing.text("responsible"):
        return Skip("nothing_to_change", "No new responsible person is named.")
    chosen = doing.responsible()
    if chosen is None:
        return Fail("recipient_missing", "Nobody is left to be responsible.")
    return Steps((FieldsAsked(**doing.request("responsible"), changes=as_command({"responsible": chosen})),))


def _change_stage(doing: Doing) -> Plan:
    code = str(doing.setting("stage")).rpartition("/")[2]
    named = (name for name in doing.rule.references if name.startswith("stage:") and name.endswith(f"/{code}"))
    stage_id = doing.rule.reference(next(named, ""))
    if stage_id is None:
        return Fail("target_missing", f"There is no stage {code} in the element's pipeline.")
    return Steps((StageAsked(**doing.request("move"), stage_id=stage_id, loss_reason=doing.text("loss_reason")),))


def _change_field(doing: Doing) -> Plan:
    """Empty new values leave a field as it is, unless they are to clear it."""
    clears = doing.setting("empty_values") == "clear"
    values: dict[str, Any] = {}
    for name, text in doing.texts["fields"].items():
        if not text.strip():
            values |= {normal(name): _nothing(doing, name)} if clears else {}
            continue
        try:
            values[normal(name)] = converted(_field_type(doing, name), text, _reading(doing))
        except ValueError as wrong:
            return Fail("template_error", f"{name}: {wrong}.")
    if not values:
        return Skip("nothing_to_change", "Every new value is empty.")
    return Steps((FieldsAsked(**doing.request("fields"), changes=as_command(values)),))


def _field_type(doing: Doing, name: str) -> FieldType:
    """As it was when the rule was published; type and multiplicity of a field are fixed."""
    return FieldType(**doing.rule.references[f"field:{normal(name)}"])


def _nothing(doing: Doing, name: str) -> Any:
    """What empties a field: lists of the form are emptied by null, those of the element by an empty list."""
    of = _field_type(doing, name)
    return [] if of.multiple and not normal(name).startswith("uf.") else None


def _reading(doing: Doing) -> Reading:
    card = doing.card

    def somebody(text: str) -> str | None:
        return people.named(text, doing.rule, card) or (text if IS_ID.fullmatch(text) else None)

    return Reading(zone_of(card.zone), str(card.fields.get("currency") or "EUR"), somebody)


IS_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
"""Somebody whom nothing of the element names: his id is taken, and the owner of people decides."""


LARGEST_PAYLOAD = 19_000
"""Bytes; with what goes around it a call holds 20 kB."""


def _call_webhook(doing: Doing) -> Plan:
    payload = dict(doing.texts.get("payload") or {})
    size = len(json.dumps(payload, ensure_ascii=False).encode())
    if size > LARGEST_PAYLOAD:
        return Fail("template_error", f"What is sent has {size} bytes; at most {LARGEST_PAYLOAD} are.")
    call = {"endpoint_id": doing.setting("endpoint"), "event_name": f"rule.{doing.rule.key}", "payload": payload}
    return Steps((WebhookAsked(**doing.request("call"), **call, **_awaited(doing)),))


def _awaited(doing: Doing) -> dict[str, Any]:
    if not doing.setting("wait"):
        return {}
    expires_at = expiry(doing.at, doing.setting("timeout"))
    url = doing.callback_url(request_id(doing.visit_id, doing.rule.rule_id, "call"), doing.at)
    return {"callback_url": url, "callback_expires_at": expires_at, "outputs": declared(doing.setting("outputs"))}


@lru_cache(maxsize=256)
def _days(offset: str | None) -> int | None:
    return None if offset is None else seconds_in(parsed_offset(offset)) // 86_400


PLANS: dict[str, Callable[[Doing], Plan]] = {
    "create_payment_link": _payment_link,
    "create_from": _create_from,
    "change_details": _change_details,
    "get_details": _get_details,
    "create_recurring_lead": _recurring_lead,
    "copy_deal": _copy_deal,
    "plan_activity": _plan_activity,
    "send_email": _send_email,
    "send_sms": _send_sms,
    "notify": _notify,
    "change_responsible": _change_responsible,
    "change_stage": _change_stage,
    "change_field": _change_field,
    "change_variable": _change_variable,
    "call_webhook": _call_webhook,
}


# ------------------------------------------------------------------------------------------------ what answers mean

SKIPS: dict[str, frozenset[str]] = {
    "create_payment_link": frozenset(("payment_document_exists",)),
    "create_from": frozenset(("open_exists",)),
    "change_details": frozenset(("no_details", "nothing_to_change")),
    "create_recurring_lead": frozenset(("open_exists", "no_client")),
    "change_responsible": frozenset(("nothing_to_change",)),
    "change_stage": frozenset(("already_there", "visit_changed")),
    "change_field": frozenset(("nothing_to_change",)),
}
FAILURES = frozenset(
    (
        "target_missing",
        "nothing_to_pay",
        "nothing_to_invoice",
        "order_missing",
        "order_not_found",
        "file_missing",
        "room_booked",
        "deadline_missing",
        "recipient_missing",
        "bad_address",
        "template_error",
        "callback_expired",
        "retries_exhausted",
    )
)


def is_skip(rule_type: str, code: str) -> bool:
    """Whether a refusal means that there was nothing to do (D34, D43, D45, D48, D49)."""
    return code in SKIPS.get(rule_type, frozenset())


def failure(code: str) -> str:
    """The run's code for a refusal: its own name where the specification has one, else refused(<code>)."""
    return code if code in FAILURES else f"refused({code})"


def remarks(rule_type: str, outputs: Json, asked_at: str) -> tuple[str, ...]:
    """What a run notes of how a step was answered: an activity that is overdue from the start (rule-format 4)."""
    is_overdue = rule_type == "plan_activity" and str(outputs.get("deadline") or asked_at) < asked_at
    return ("deadline_in_past",) if is_overdue else ()


def merged(outputs: Iterable[Json]) -> Json:
    """Outputs of a run from those of its steps: lists are joined, of other values the last stays."""
    result: Json = {}
    for one in outputs:
        for name, value in one.items():
            before = result.get(name)
            result[name] = [*before, *value] if isinstance(before, list) and isinstance(value, list) else value
    return result
