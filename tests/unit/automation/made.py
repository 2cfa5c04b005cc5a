"""Readable defaults for tests of automation: rules, cards, what is known, visits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields as dataclass_fields
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from services.automation.domain.card import Card, Details, Linked, Person, Pipeline, Scope, normal
from services.automation.domain.catalogue import RULE_TYPES
from services.automation.domain.definition import Ready, Rule, complete_rule, ready, rule_of
from services.automation.domain.timing import instant
from services.automation.domain.visit import Arrive, Known, Rendered, Visit

SPACE = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


def id_of(name: str) -> str:
    return str(uuid5(SPACE, name))


DEAL, VISIT_ID, SALES = id_of("deal"), id_of("visit"), id_of("sales")
STAGE = id_of("payment-expected")
ANNA, BEN, OLAF, PETRA, MUSTER = id_of("anna"), id_of("ben"), id_of("olaf"), id_of("petra"), id_of("muster")
NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)

STAGES = ("new", "payment-expected", "collect-goods", "approval", "won", "lost")
KINDS = {"won": "success", "lost": "failure"}


def stage_id(code: str) -> str:
    return id_of(code)


def pipeline(**changes: Any) -> Pipeline:
    kinds = {code: KINDS.get(code, "process") for code in STAGES}
    stages = tuple({"stage_id": id_of(code), "code": code, "kind": kinds[code], "position": n} for n, code in enumerate(STAGES))
    base = Pipeline(SALES, "sales", "Europe/Berlin", "de", OLAF, None, "earliest", 1, False, stages)
    return replace(base, **changes)


def person(id: str, code: str, name: str, **changes: Any) -> Person:
    return replace(Person(id, code, name, f"{name.lower()}@acme.test", "sales", "Europe/Berlin", "de", True, OLAF), **changes)


LINE = {"line_id": id_of("line"), "name": "Roof tiles", "quantity": "1", "unit_price": "100.00", "tax_rate": "19"}


LINKS = frozenset(f.name for f in dataclass_fields(Linked))


def card(**changes: Any) -> Card:
    """Changes of the card, of what hangs on it, and of single fields of the element."""
    fields = {
        "title": "Roof 2026",
        "responsible_id": ANNA,
        "observer_ids": [],
        "contact_ids": [PETRA],
        "primary_contact_id": PETRA,
        "company_id": MUSTER,
        "currency": "EUR",
        "amount": "100.00",
        "prices_include_tax": True,
        "lines": [LINE],
        "custom": {"contract_url": "https://example.org/c/1"},
        "created_by_copy": False,
    }
    links = {name: changes.pop(name) for name in LINKS & changes.keys()}
    own = {**fields, **changes.pop("fields", {})}
    base = Card("deal", DEAL, own, STAGE, "process", VISIT_ID, 2, instant(NOW), False, replace(linked(), **links))
    return replace(base, **changes)


def linked() -> Linked:
    contact = {"first_name": "Petra", "last_name": "Muster", "emails": ["petra@example.org"], "phones": [], "custom": {"city": "Bremen"}}
    return Linked(
        pipeline(),
        PETRA,
        contact,
        MUSTER,
        {"name": "Muster GmbH", "emails": [], "phones": [], "custom": {}},
        {ANNA: person(ANNA, "42", "Anna"), BEN: person(BEN, "7", "Ben"), OLAF: person(OLAF, "1", "Olaf", manager_id=None)},
    )


def details(**changes: Any) -> Details:
    delivery = {"street": "Hafenstr.", "house": "12", "postal_code": "24103", "city": "Kiel", "country": "Germany"}
    base = Details(id_of("details"), "contact", PETRA, "person", True, 3, {"iban": "DE1"}, {"delivery": delivery})
    return replace(base, **changes)


def rendered(template: str, scope: Scope) -> Rendered:
    """Placeholders without filters: enough for the aggregate, whose business is what happens around a text."""
    missing: list[str] = []
    text = template
    while "{{" in text:
        start, end = text.index("{{"), text.index("}}")
        path = text[start + 2 : end].strip()
        value = scope.value(normal(path))
        if value is None:
            missing.append(path)
        text = text[:start] + ("" if value is None else str(value)) + text[end + 2 :]
    return Rendered(text, tuple(missing))


def known(at: datetime = NOW, rules: Mapping[str, str] | None = None, **changes: Any) -> Known:
    return Known(at, card(**changes), rendered, rules or {}, callback_url=answered_at)


def answered_at(request_id: str, asked_at: str) -> str:
    """Where the answer to a call is expected."""
    return f"https://acme.test/v1/callbacks/{request_id}/{asked_at}"


def later(**delta: float) -> datetime:
    return NOW + timedelta(**delta)


REFERENCES: dict[str, Any] = {
    "user:42": ANNA,
    "user:7": BEN,
    "pipeline:installation": id_of("installation"),
    "variable:street": id_of("street"),
    "stage:sales/new": id_of("new"),
    "field:title": {"field_type": "string", "multiple": False},
}
SETTINGS: dict[str, dict[str, Any]] = {
    "create_payment_link": {},
    "create_from": {"targets": ["invoice"]},
    "send_email": {"body": "Pay: {{steps.link.url}}"},
    "notify": {"text": "Pack {{deal.title}}"},
    "plan_activity": {"name": "Call", "deadline": {"day": "tomorrow", "time": "14:00"}},
    "copy_deal": {"pipeline": "installation"},
    "create_recurring_lead": {"title": "Renewal {{company.name}}"},
    "get_details": {"element": "contact", "template": "person", "address_type": "delivery"},
    "change_details": {"element": "contact", "template": "person", "address_type": "business", "fields": {"city": "{{contact.uf.city}}"}},
    "change_variable": {"variable": "street", "value": "Neuweg"},
    "send_sms": {"text": "Hello", "to": "+491701234567"},
    "change_responsible": {"responsible": "user:42"},
    "change_stage": {"stage": "new"},
    "call_webhook": {"endpoint": id_of("endpoint"), "payload": {"title": "{{deal.title}}"}},
    "change_field": {"fields": {"title": "{{deal.title}} again"}},
}


def rule(key: str, rule_type: str = "notify", version: int = 1, **text: Any) -> Ready:
    """A published rule by its text; settings that are not given are the least that the type needs."""
    assert rule_type in RULE_TYPES
    settings = {**SETTINGS[rule_type], **text.pop("settings", {})}
    references = {**REFERENCES, **text.pop("references", {})}
    definition = complete_rule({"id": key, "type": rule_type, "settings": settings, **text})
    made: Rule = rule_of(id_of(f"rule {key}"), version, OLAF, definition, references)
    return ready(made)


def rule_id(key: str) -> str:
    return id_of(f"rule {key}")


def arrive(*rules: Ready, **more: Any) -> Arrive:
    facts = more.pop("known", None) or known()
    return Arrive(VISIT_ID, "deal", DEAL, SALES, STAGE, 2, instant(NOW), more.pop("chain", ()), rules, facts, more.pop("recent", 0))


def run_state(visit: Visit, key: str) -> tuple[str, str | None]:
    run = visit.run(rule_id(key))
    assert run is not None, f"no run of {key}"
    return run.state, run.reason or run.waiting_for
