"""What deals and leads have in common: customers, money, required fields."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any
from uuid import UUID

from services.deals.domain.fields import Wrong, invalid
from services.deals.domain.money import Line, exact, total
from shared.es.errors import Fault

MOST_CONTACTS = 50
MOST_OBSERVERS = 50
MOST_FILES = 100


def with_primary(contacts: tuple[UUID, ...], primary: UUID | None, *, named: bool) -> tuple[tuple[UUID, ...], UUID | None]:
    """Contacts and the primary one: the first, unless one is `named`, which then belongs to the contacts too."""
    if primary in contacts:
        return contacts, primary
    if primary is not None and named:
        return (primary, *contacts), primary
    return contacts, contacts[0] if contacts else None


def worth(amount: Decimal, lines: tuple[Line, ...], currency: str, *, from_lines: bool) -> Decimal:
    """What an element is worth. Raises Rejected `validation_failed` with `bad_amount` at its pointer."""
    try:
        return total(lines, currency) if from_lines else exact(amount, currency)
    except Wrong as wrong:
        raise invalid([Fault("/lines" if from_lines else "/amount", wrong.code, wrong.detail)]) from None


def is_filled(fields: Any, name: str) -> bool:
    """Whether a field holds a value; `uf.<code>` is a custom field. An amount of nothing and an empty list are empty."""
    if name.startswith("uf."):
        custom: Mapping[str, Any] = fields.custom
        return custom.get(name[3:]) not in (None, "", [])
    return bool(getattr(fields, name, None))


def customer_key(company_id: UUID | None, primary_contact_id: UUID | None) -> str | None:
    """Names the customer: the company if there is one, else the primary contact."""
    if company_id is not None:
        return f"company/{company_id}"
    return None if primary_contact_id is None else f"contact/{primary_contact_id}"
