"""The paths that conditions and placeholders can name, with their types (rule-format 7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ELEMENT: dict[str, str] = {
    "id": "text",
    "title": "text",
    "amount": "money",
    "currency": "select",
    "stage": "stage",
    "pipeline": "select",
    "stage_kind": "select",
    "arrived_at": "datetime",
    "visit_number": "number",
    "created_at": "datetime",
    "created_by": "user",
    "lines": "list",
    "observers": "list",
    "contacts": "list",
    "responsible": "user",
}
OF_DEALS: dict[str, str] = {
    "begin_date": "date",
    "close_date": "date",
    "created_by_copy": "bool",
    "repeat_customer": "bool",
    "loss_reason": "text",
}
OF_LEADS: dict[str, str] = {"repeat": "bool"}
LINKED: dict[str, str] = {
    "contact.id": "text",
    "contact.first_name": "text",
    "contact.last_name": "text",
    "contact.name": "text",
    "contact.email": "text",
    "contact.phone": "text",
    "contact.language": "select",
    "contact.zone": "select",
    "company.id": "text",
    "company.name": "text",
    "company.email": "text",
    "company.phone": "text",
    "responsible.id": "text",
    "responsible.code": "text",
    "responsible.name": "text",
    "responsible.email": "text",
    "responsible.department": "select",
    "responsible.active": "bool",
    "invoices.open_count": "number",
    "invoices.paid_count": "number",
    "invoices.last.status": "select",
    "invoices.last.number": "text",
    "invoices.last.total": "money",
}
CLOCK: dict[str, str] = {
    "now": "datetime",
    "now.date": "date",
    "now.time": "time",
    "now.weekday": "weekday",
    "now.working_time": "bool",
    "arrival": "datetime",
    "rule.name": "text",
}
STANDARD: dict[str, str] = ELEMENT | OF_DEALS | OF_LEADS | LINKED | CLOCK

ROOTS = ("deal", "lead", "contact", "company", "responsible", "const", "var", "steps", "now", "arrival", "rule", "event")
"""What a path may begin with."""

OF_FIELD_TYPE: dict[str, str] = {
    "string": "text",
    "text": "text",
    "url": "text",
    "number": "number",
    "money": "money",
    "bool": "bool",
    "date": "date",
    "datetime": "datetime",
    "select": "select",
    "user": "user",
    "file": "text",
    "int": "number",
    "double": "number",
}


def standard_of(element_type: str) -> dict[str, str]:
    return ELEMENT | LINKED | CLOCK | (OF_LEADS if element_type == "lead" else OF_DEALS)


def kind_of_field(field_type: str, *, multiple: bool) -> str:
    return "list" if multiple else OF_FIELD_TYPE.get(field_type, "text")


def kinds_of(references: Mapping[str, Any]) -> Mapping[str, str]:
    """Types by normal path: the standard ones, and those pinned when the definition was published."""
    pinned = {name.removeprefix("kind:"): str(kind) for name, kind in references.items() if name.startswith("kind:")}
    return {**STANDARD, **pinned} if pinned else STANDARD
