"""What a trigger of each type listens to, beyond its condition: one small function per type (automation 5.3; D25, D30).

A further type is an entry in the catalogue, a function here, and a line in subscriptions.py for the message it comes with."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Protocol

from services.automation.domain.card import inside
from services.automation.domain.definition import Trigger
from shared.es.aggregate import Json


class Happened(Protocol):
    """What has happened: the type of the message that says so, and its facts as conditions read them."""

    @property
    def source_type(self) -> str: ...

    @property
    def facts(self) -> Json: ...

    @property
    def element_id(self) -> str | None: ...


Listens = Callable[[Trigger, Happened], bool]


def listens(trigger: Trigger, happened: Happened) -> bool:
    """Whether this is what the trigger is about. The condition is judged afterwards, and only then."""
    return LISTENS[trigger.trigger_type](trigger, happened)


def _to_anything(trigger: Trigger, happened: Happened) -> bool:
    return True


# ------------------------------------------------------------------------------------------------ invoices


def _to_payments(trigger: Trigger, happened: Happened) -> bool:
    return _of_invoices_meant(trigger, happened) and _reaches(trigger.settings.get("threshold"), happened)


def _of_invoices_meant(trigger: Trigger, happened: Happened) -> bool:
    """Any invoice, the last that was open, or those of one rule (D30)."""
    facts, scope = happened.facts, str(trigger.settings.get("scope") or "any")
    if scope == "all_open":
        return not facts.get("other_unpaid")
    if scope.startswith("created_by:"):
        wanted = trigger.references.get(scope) or scope.removeprefix("created_by:")
        return bool(facts.get("origin_rule_id") == wanted)
    return True


def _reaches(threshold: object, happened: Happened) -> bool:
    """Fires on the event whose `held_before` lies below the threshold and whose `held` does not (D25)."""
    is_partial = happened.source_type.endswith("InvoicePartiallyPaid.v1")
    if threshold is None:
        return not is_partial
    facts = happened.facts
    total, before, held = (_cents(facts.get(name)) for name in ("total", "held_before", "held"))
    needed = _needed(threshold, facts.get("total"))
    return needed is not None and before < needed <= (held if is_partial else total)


def _needed(threshold: object, total: object) -> int | None:
    """None: an amount in another currency than the invoice's is never reached."""
    if isinstance(threshold, str):
        return -(-_cents(total) * _thousandths(threshold.removesuffix("%")) // 100_000)
    if not isinstance(threshold, dict):
        return None
    given, own = threshold.get("currency"), total.get("currency") if isinstance(total, dict) else None
    return _cents(threshold) if given in (None, own) else None


def _cents(money: object) -> int:
    """Thousandths of a unit: enough for every currency, exact."""
    amount = money.get("amount") if isinstance(money, dict) else money
    return _thousandths(str(amount)) if amount is not None else 0


def _thousandths(text: str) -> int:
    whole, _, part = text.strip().partition(".")
    return int(whole or "0") * 1000 + int((part + "000")[:3])


# ------------------------------------------------------------------------------------------------ activities


def _to_completions(trigger: Trigger, happened: Happened) -> bool:
    """By a person; with `also_automatic` by whatever completes it, the end of a stay among it (D50)."""
    return bool(trigger.settings.get("also_automatic")) or happened.facts.get("by") == "person"


# ------------------------------------------------------------------------------------------------ other programs


def _to_its_code(trigger: Trigger, happened: Happened) -> bool:
    return bool(happened.facts.get("code") == trigger.settings.get("code"))


def _to_its_app(trigger: Trigger, happened: Happened) -> bool:
    return _to_its_code(trigger, happened) and bool(happened.facts.get("app_code") == trigger.settings.get("app_code"))


def _to_its_type(trigger: Trigger, happened: Happened) -> bool:
    """The type and source it names, of the element that the event names where this trigger looks for it."""
    wanted, facts = trigger.settings, happened.facts
    is_meant = happened.source_type == wanted.get("event_type") and wanted.get("source") in (None, facts.get("ce_source"))
    return is_meant and happened.element_id == element_named(wanted, facts)


_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def element_named(settings: Json, facts: Json) -> str | None:
    """The element's id at `element_path` of a foreign event, else at the end of its subject. None: no id stands there."""
    path = settings.get("element_path")
    told = str(inside(facts, path) if path else facts.get("ce_subject")).rpartition("/")[2].lower()
    return told if _ID.fullmatch(told) else None


LISTENS: dict[str, Listens] = {
    "invoice_paid": _to_payments,
    "invoice_refunded": _of_invoices_meant,
    "sign_document_signed": _to_anything,
    "activity_completed": _to_completions,
    "webhook": _to_its_code,
    "app": _to_its_app,
    "external_event": _to_its_type,
}
