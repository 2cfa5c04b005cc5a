"""The catalogue: groups, rule types and trigger types with their settings, defaults and outputs (automation 5, S2-S7, G6).

Everything a front end draws a form from, a checker checks and a run falls back on stands here once, as data."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from services.automation.domain import words
from services.automation.domain.callback import declared
from services.automation.domain.fields import kind_of_field
from services.automation.domain.words import Words
from shared.es.aggregate import Json

Kind = Literal[
    "bool",
    "text",
    "long_text",
    "choice",
    "choices",
    "days",
    "minutes",
    "minutes_list",
    "person",
    "people",
    "recipients",
    "pipeline",
    "stage",
    "deadline",
    "texts",
    "files",
    "details_template",
    "address_type",
    "variable",
    "room",
    "customers",
    "code",
    "scope",
    "threshold",
    "own_stage",
    "field_values",
    "endpoint",
    "payload",
    "span",
    "declared_outputs",
    "event_type",
    "event_path",
    "event_fields",
]

ADDRESS_TYPES = ("postal", "business", "delivery", "registered", "legal", "beneficiary")
ADDRESS_FIELDS = ("street", "house", "addition", "city", "postal_code", "district", "region", "country", "country_code")
COLOURS = ("default", "red", "orange", "yellow", "green", "blue", "violet", "grey")
BOTH = ("deal", "lead")
DEALS = ("deal",)
EVENT_KINDS = ("text", "number", "money", "bool", "date", "datetime", "select", "list")
"""What a member of a foreign event may be declared to be; undeclared ones are text."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting. `template`: takes placeholders ("T" in the tables). `least`, `most`: of the number, or of the count.

    `word`: the key of its label where that is not its name."""

    name: str
    kind: Kind
    required: bool = False
    default: Any = None
    template: bool = False
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    word: str = ""
    shown_if: tuple[str, tuple[Any, ...]] | None = None
    """It means something only while that setting has, or holds, one of these values."""

    @property
    def label(self) -> Words:
        return words.SETTINGS[self.word or self.name]


@dataclass(frozen=True, slots=True)
class RuleType:
    """`late_limit` is the lateness class: money and customer actions more than 24 h late wait for a person (D7)."""

    name: str
    group: str
    settings: tuple[Setting, ...]
    outputs: tuple[tuple[str, str], ...]
    element_types: tuple[str, ...] = BOTH
    lateness: Literal["internal", "customer", "money"] = "internal"
    on_unresolved: Literal["block", "empty"] = "empty"
    auxiliary: bool = False
    needs: str | None = None
    """Scope without which an author may not publish it (D67)."""
    together: tuple[Json, ...] = ()
    """What goes with what, as parts of a JSON Schema."""
    examples: tuple[Json, ...] = ()

    @property
    def label(self) -> Words:
        return words.RULE_TYPES[self.name]

    def setting(self, name: str) -> Setting | None:
        return next((s for s in self.settings if s.name == name), None)

    @property
    def templates(self) -> tuple[str, ...]:
        return tuple(s.name for s in self.settings if s.template)

    def outputs_with(self, settings: Json, fields_of: Mapping[str, Collection[str]]) -> dict[str, str]:
        """Kinds of all outputs by name, those included that follow from the settings. `fields_of`: codes by details template."""
        found = dict(self.outputs)
        match self.name:
            case "get_details":
                template = settings.get("template")
                more = fields_of.get(template, ()) if isinstance(template, str) else ()
                found |= {code: "text" for code in sorted(more) if code not in found}
            case "call_webhook":
                found |= {
                    one["name"]: kind_of_field(str(one["type"]), multiple=one["multiple"] is True)
                    for one in declared(settings.get("outputs"))
                }
        return found | COMMON_OUTPUTS


@dataclass(frozen=True, slots=True)
class TriggerType:
    name: str
    group: str
    settings: tuple[Setting, ...]
    element_types: tuple[str, ...] = BOTH
    event_fields: tuple[tuple[str, str], ...] = ()
    """What conditions reach as `event.<name>`."""
    is_open: bool = False
    """Conditions reach whatever else the sender has put into it, too."""
    together: tuple[Json, ...] = ()
    examples: tuple[Json, ...] = ()

    @property
    def label(self) -> Words:
        return words.TRIGGER_TYPES[self.name]


COMMON_OUTPUTS = {"state": "select", "finished_at": "datetime"}
RETIRED = frozenset(("run_automatic_payment", "get_payment_information"))
"""The two rules of the retired orders mode; never offered (S6)."""

LONGEST_SOURCE = 8 * 1024
"""Characters of a text before its placeholders are filled."""

SIGN_TEMPLATES = ("standard",)
"""Texts to sign that billing has."""

TARGETS: dict[str, tuple[str, ...]] = {"deal": ("quote", "invoice", "sign_document"), "lead": ("deal", "contact", "company")}

_RESPONSIBLE = Setting("responsible", "person", default="default", template=True)


def _flag(name: str, default: bool = False, word: str = "", shown_if: tuple[str, tuple[Any, ...]] | None = None) -> Setting:
    return Setting(name, "bool", default=default, word=word, shown_if=shown_if)


def _if(given: Json, then: Json, otherwise: Json | None = None) -> Json:
    """A part of a schema: whoever has the settings `given` has `then` too, everybody else `otherwise`."""
    part: Json = {"if": {"required": list(given), "properties": given}, "then": then}
    return part if otherwise is None else {**part, "else": otherwise}


CREATE_PAYMENT_LINK = RuleType(
    "create_payment_link",
    "payment",
    (
        _flag("auto_create", default=True),
        Setting("order_id", "text", template=True, most=255, shown_if=("auto_create", (False,))),
        _flag("reuse_existing"),
        Setting("covers", "choice", default="auto", choices=("auto", "deal")),
        Setting("expires_in", "days", default="30d", least=1, most=3650),
    ),
    (
        ("url", "text"),
        ("payment_document_id", "text"),
        ("amount", "money"),
        ("currency", "select"),
        ("expires_at", "datetime"),
        ("reused", "bool"),
    ),
    DEALS,
    lateness="money",
    on_unresolved="block",
    auxiliary=True,
    needs="billing:write",
    together=(
        _if(
            {"auto_create": {"const": False}},
            {"required": ["order_id"], "properties": {"order_id": {"type": "string"}}},
            {"properties": {"order_id": {"type": "null"}}},
        ),
    ),
    examples=({"auto_create": True}, {"auto_create": False, "order_id": "{{deal.uf.order_number}}"}),
)

CREATE_FROM = RuleType(
    "create_from",
    "payment",
    (
        Setting(
            "targets",
            "choices",
            required=True,
            choices=("quote", "invoice", "sign_document", "deal", "contact", "company"),
            least=1,
            most=10,
        ),
        _RESPONSIBLE,
        Setting("title", "text", template=True, most=255),
        _flag("issue", shown_if=("targets", ("invoice",))),
        _flag("skip_if_open_exists", shown_if=("targets", ("invoice", "quote"))),
        Setting("valid_for", "days", default="30d", least=1, most=3650, shown_if=("targets", ("quote",))),
        Setting("sign_template", "code", default="standard", shown_if=("targets", ("sign_document",))),
        _flag("close_lead", shown_if=("targets", ("deal", "contact", "company"))),
        Setting("pipeline", "pipeline", word="pipeline_of_deal", shown_if=("targets", ("deal",))),
    ),
    (
        ("invoice_id", "text"),
        ("quote_id", "text"),
        ("sign_document_id", "text"),
        ("deal_id", "text"),
        ("contact_id", "text"),
        ("company_id", "text"),
        ("amount", "money"),
    ),
    needs="billing:write",
    together=(_if({"issue": {"const": True}}, {"properties": {"targets": {"contains": {"const": "invoice"}}}}),),
    examples=(
        {"targets": ["invoice"], "responsible": "default"},
        {"targets": ["quote", "invoice"], "issue": True, "title": "{{deal.title}}"},
        {"targets": ["deal", "contact"], "close_lead": True, "pipeline": "sales"},
    ),
)

CHANGE_DETAILS = RuleType(
    "change_details",
    "payment",
    (
        Setting("element", "choice", required=True, choices=("contact", "company")),
        Setting("which", "choice", default="primary", choices=("primary", "all"), shown_if=("element", ("contact",))),
        Setting("template", "details_template", required=True),
        Setting("address_type", "address_type", choices=ADDRESS_TYPES),
        Setting("fields", "texts", required=True, template=True, least=1, most=50),
    ),
    (("changed", "list"), ("unchanged", "list"), ("details_id", "text")),
    needs="deals:write",
    together=(
        _if(
            {"fields": {"anyOf": [{"required": [name]} for name in ADDRESS_FIELDS]}},
            {"required": ["address_type"], "properties": {"address_type": {"type": "string"}}},
        ),
    ),
    examples=(
        {
            "element": "contact",
            "template": "person",
            "address_type": "business",
            "fields": {"city": "{{deal.contact.uf.city}}", "house": "{{const.house}}", "street": "{{var.street}}"},
        },
    ),
)

GET_DETAILS = RuleType(
    "get_details",
    "payment",
    (
        Setting("element", "choice", required=True, choices=("contact", "company")),
        Setting("template", "details_template", required=True),
        Setting("address_type", "address_type", choices=ADDRESS_TYPES),
    ),
    (
        ("found", "bool"),
        ("details_id", "text"),
        ("address", "text"),
        ("address_lines", "list"),
        *((name, "text") for name in ADDRESS_FIELDS),
    ),
    auxiliary=True,
    examples=({"element": "contact", "template": "person", "address_type": "delivery"},),
)

CREATE_RECURRING_LEAD = RuleType(
    "create_recurring_lead",
    "recurring_deals",
    (
        Setting("title", "text", required=True, template=True, most=255),
        _RESPONSIBLE,
        _flag("skip_if_open_exists", word="skip_if_open_lead_exists"),
    ),
    (("lead_id", "text"), ("title", "text")),
    DEALS,
    needs="deals:write",
    examples=({"title": "Renewal {{deal.company.name}}", "responsible": "user:42"},),
)

COPY_DEAL = RuleType(
    "copy_deal",
    "recurring_deals",
    (
        Setting("name", "text", word="name_of_copy", template=True, most=255),
        Setting("pipeline", "pipeline", required=True),
        Setting("initial_stage", "stage", default="first"),
        _RESPONSIBLE,
    ),
    (("deal_id", "text"), ("name", "text"), ("pipeline", "select"), ("stage", "stage")),
    DEALS,
    needs="deals:write",
    examples=({"name": None, "pipeline": "installation", "initial_stage": "first", "responsible": "user:42"},),
)

PLAN_ACTIVITY = RuleType(
    "plan_activity",
    "recurring_deals",
    (
        Setting("name", "text", required=True, template=True, most=255),
        Setting("description", "long_text", template=True),
        Setting("deadline", "deadline", required=True),
        Setting("duration", "minutes", default=60, least=5, most=10_080),
        _RESPONSIBLE,
        Setting("colour", "choice", default="default", choices=COLOURS),
        _flag("calendar"),
        Setting("customers", "customers", default="none"),
        Setting("invite", "people", default=[], most=50),
        Setting("address", "text", template=True, most=1000),
        Setting("room", "room"),
        Setting("on_room_conflict", "choice", default="mark", choices=("mark", "fail")),
        Setting("link", "text", template=True, most=2000),
        Setting("files", "files", default=[], most=20),
        Setting("reminders", "minutes_list", default=[15], least=0, most=40_320),
        _flag("auto_complete_on_stage_change"),
    ),
    (("activity_id", "text"), ("deadline", "datetime"), ("deadline_local", "text"), ("room_state", "select")),
    needs="activities:write",
    examples=(
        {
            "name": "Call customer",
            "description": "Contract details with {{deal.contact.first_name}} {{deal.contact.last_name}}",
            "deadline": {"day": "tomorrow", "time": "14:00", "zone": "assignee"},
            "colour": "yellow",
            "calendar": True,
            "customers": "all",
            "invite": ["user:42"],
            "link": "{{deal.uf.contract_url}}",
            "auto_complete_on_stage_change": True,
        },
        {"name": "Look after it", "deadline": {"after": "now", "offset": "2h"}, "reminders": []},
    ),
)

SEND_EMAIL = RuleType(
    "send_email",
    "communication",
    (
        Setting("to", "text", default="{{contact.email}}", template=True, most=4000),
        Setting("subject", "text", template=True, most=998),
        Setting("body", "long_text", required=True, template=True),
        Setting("from", "choice", default="company", choices=("company", "responsible")),
        Setting("reply_to", "person", default="responsible"),
        Setting("attachments", "files", default=[], most=10),
    ),
    (("sent_at", "datetime"), ("notice_ids", "list")),
    lateness="customer",
    on_unresolved="block",
    examples=(
        {"to": "{{deal.contact.email}}", "subject": "Your order {{deal.title}}", "body": "Please pay here: {{steps.link.url}}"},
        {"body": "Thank you.", "from": "responsible"},
    ),
)

SEND_SMS = RuleType(
    "send_sms",
    "communication",
    (
        Setting("to", "text", default="{{contact.phone}}", template=True, most=1000),
        Setting("text", "long_text", required=True, template=True, most=1600),
    ),
    (("sent_at", "datetime"), ("notice_ids", "list")),
    lateness="customer",
    on_unresolved="block",
    examples=({"text": "Your order {{deal.title}} is on its way."},),
)

NOTIFY = RuleType(
    "notify",
    "communication",
    (
        Setting("to", "recipients", default="responsible", least=1, most=10),
        Setting("title", "text", template=True, most=255),
        Setting("text", "long_text", required=True, template=True),
    ),
    (("notice_ids", "list"),),
    examples=(
        {"to": "responsible", "text": "Deliver to {{deal.contact.name}}"},
        {"to": ["user:42", "role:finance"], "title": "Paid", "text": "{{deal.title}}"},
    ),
)

CHANGE_VARIABLE = RuleType(
    "change_variable",
    "auxiliary",
    (
        Setting("variable", "variable", required=True),
        Setting("value", "long_text", required=True, template=True),
    ),
    (("before", "text"), ("after", "text")),
    on_unresolved="block",
    auxiliary=True,
    examples=({"variable": "street", "value": "{{deal.contact.uf.city}}"},),
)

CHANGE_RESPONSIBLE = RuleType(
    "change_responsible",
    "element",
    (Setting("responsible", "person", required=True, word="new_responsible", template=True),),
    (("before", "user"), ("after", "user")),
    needs="deals:write",
    examples=({"responsible": "user:42"}, {"responsible": "{{var.on-duty}}"}),
)

CHANGE_STAGE = RuleType(
    "change_stage",
    "element",
    (
        Setting("stage", "own_stage", required=True, word="new_stage"),
        Setting("loss_reason", "long_text", template=True),
    ),
    (("stage", "stage"), ("before", "stage")),
    needs="deals:write",
    examples=({"stage": "new"},),
)

CHANGE_FIELD = RuleType(
    "change_field",
    "element",
    (
        Setting("fields", "field_values", required=True, template=True, least=1, most=50),
        Setting("empty_values", "choice", default="keep", choices=("keep", "clear")),
    ),
    (("changed", "list"),),
    needs="deals:write",
    examples=({"fields": {"title": "{{deal.title}} ({{deal.contact.last_name}})"}}, {"fields": {"uf.meeting": "{{now.date}}"}}),
)

CALL_WEBHOOK = RuleType(
    "call_webhook",
    "auxiliary",
    (
        Setting("endpoint", "endpoint", required=True),
        Setting("payload", "payload", default={}, template=True, most=50),
        _flag("wait", default=True),
        Setting("timeout", "span", default="24h", least=60, most=365 * 86_400, shown_if=("wait", (True,))),
        Setting("outputs", "declared_outputs", default=[], most=50, shown_if=("wait", (True,))),
    ),
    (),
    lateness="customer",
    on_unresolved="block",
    auxiliary=True,
    needs="hooks:write",
    examples=(
        {
            "endpoint": "0195d1c0-0000-7000-8000-000000000001",
            "payload": {"order": "{{deal.title}}"},
            "timeout": "2h",
            "outputs": [{"name": "parcel", "type": "string", "required": True}],
        },
        {"endpoint": "0195d1c0-0000-7000-8000-000000000001", "wait": False},
    ),
)

RULE_TYPES: dict[str, RuleType] = {
    t.name: t
    for t in (
        CREATE_PAYMENT_LINK,
        CREATE_FROM,
        CHANGE_DETAILS,
        GET_DETAILS,
        CREATE_RECURRING_LEAD,
        COPY_DEAL,
        PLAN_ACTIVITY,
        SEND_EMAIL,
        SEND_SMS,
        NOTIFY,
        CHANGE_RESPONSIBLE,
        CHANGE_STAGE,
        CHANGE_FIELD,
        CHANGE_VARIABLE,
        CALL_WEBHOOK,
    )
}

_SCOPE = Setting("scope", "scope", default="any")

INVOICE_PAID = TriggerType(
    "invoice_paid",
    "payment",
    (_SCOPE, Setting("threshold", "threshold")),
    DEALS,
    (("number", "text"), ("total", "money"), ("epoch", "number"), ("paid_at", "datetime"), ("title", "text")),
    examples=({}, {"scope": "all_open"}, {"threshold": "30%"}, {"threshold": {"amount": "50.00", "currency": "EUR"}}),
)
INVOICE_REFUNDED = TriggerType(
    "invoice_refunded",
    "refunds",
    (_SCOPE,),
    DEALS,
    (
        ("number", "text"),
        ("total", "money"),
        ("epoch", "number"),
        ("title", "text"),
        ("refunded", "money"),
        ("amount_due", "money"),
        ("reason", "select"),
    ),
    examples=({}, {"scope": "all_open"}),
)
SIGN_DOCUMENT_SIGNED = TriggerType(
    "sign_document_signed",
    "documents",
    (),
    DEALS,
    (("title", "text"), ("signer", "text"), ("at", "datetime")),
    examples=({},),
)
ACTIVITY_COMPLETED = TriggerType(
    "activity_completed",
    "recurring_deals",
    (_flag("also_automatic"),),
    event_fields=(("name", "text"), ("by", "select"), ("completed_at", "datetime"), ("responsible_id", "user")),
    examples=({}, {"also_automatic": True}),
)
_EVENT_FIELDS = Setting("event_fields", "event_fields", most=50)
WEBHOOK = TriggerType(
    "webhook",
    "auxiliary",
    (Setting("code", "code", required=True), _EVENT_FIELDS),
    is_open=True,
    examples=({"code": "shop-order-shipped"}, {"code": "shop-order-shipped", "event_fields": {"parcels": "number"}}),
)
APP = TriggerType(
    "app",
    "auxiliary",
    (Setting("app_code", "code", required=True), Setting("code", "code", required=True), _EVENT_FIELDS),
    is_open=True,
    examples=({"app_code": "phone", "code": "call-ended"},),
)
EXTERNAL_EVENT = TriggerType(
    "external_event",
    "auxiliary",
    (
        Setting("event_type", "event_type", required=True),
        Setting("source", "text", most=255),
        Setting("element_path", "event_path"),
        _EVENT_FIELDS,
    ),
    event_fields=(("ce_type", "text"), ("ce_source", "text"), ("ce_subject", "text"), ("ce_time", "datetime")),
    is_open=True,
    examples=(
        {"event_type": "com.example.shop.order-shipped"},
        {
            "event_type": "com.example.shop.order-shipped",
            "source": "urn:example:shop",
            "element_path": "order.deal_id",
            "event_fields": {"order.parcels": "number"},
        },
    ),
)
TRIGGER_TYPES: dict[str, TriggerType] = {
    t.name: t for t in (INVOICE_PAID, INVOICE_REFUNDED, SIGN_DOCUMENT_SIGNED, ACTIVITY_COMPLETED, WEBHOOK, APP, EXTERNAL_EVENT)
}

LATE_LIMITS = {"internal": None, "customer": "24h", "money": "24h"}


def lateness_of(rule_type: RuleType, settings: Json) -> str:
    """create_from is a money action only when it makes a document (5.2)."""
    if rule_type is CREATE_FROM:
        targets = settings.get("targets")
        named = targets if isinstance(targets, list | tuple) else ()
        return "money" if any(target in ("quote", "invoice", "sign_document") for target in named) else "internal"
    return rule_type.lateness


def scope_of(rule_type: RuleType, settings: Json) -> str | None:
    """The right that the author of a rule needs himself (D67)."""
    if rule_type is CREATE_FROM and lateness_of(rule_type, settings) == "internal":
        return "deals:write"
    return rule_type.needs


def offered(element_type: str | None = None, group: str | None = None) -> list[RuleType]:
    """What may be chosen for an element type and a group (S2, S4)."""
    return [t for t in RULE_TYPES.values() if (not element_type or element_type in t.element_types) and (not group or group == t.group)]


def offered_triggers(element_type: str | None = None, group: str | None = None) -> list[TriggerType]:
    return [t for t in TRIGGER_TYPES.values() if (not element_type or element_type in t.element_types) and (not group or group == t.group)]


def choices_for(setting: Setting, element_type: str | None) -> tuple[str, ...]:
    """The targets of create_from depend on the source (S45)."""
    if setting.name == "targets" and element_type:
        return TARGETS[element_type]
    return setting.choices
