"""Templates of documents to be signed: what stands in them, in German and English (billing.md 2.6).

A template is lines of text. What is signed is exactly this text: plain, without markup, so that a page, a mail program and a court
read the same; its SHA-256 is fixed when the document is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from services.billing.domain.customer import Address, Buyer
from services.billing.domain.money import Line, amount_text, decimal_text, totals_of

TEMPLATES = frozenset({"standard", "acceptance"})
"""`standard`: an agreement about what the deal sells. `acceptance`: the customer confirms that it was delivered."""
LANGUAGES = ("de", "en")

WORDS: Mapping[str, Mapping[str, str]] = {
    "de": {
        "standard": "Vereinbarung",
        "acceptance": "Abnahmeprotokoll",
        "between": "zwischen",
        "and": "und",
        "standard_before": "Die Parteien vereinbaren folgende Lieferungen und Leistungen:",
        "acceptance_before": "Der Auftraggeber hat folgende Lieferungen und Leistungen erhalten:",
        "standard_after": "Mit der Unterschrift nehmen die Parteien diese Vereinbarung an.",
        "acceptance_after": "Mit der Unterschrift erklärt der Auftraggeber die Abnahme.",
        "total": "Gesamt",
        "tax": "darin USt.",
        "tax_on_top": "zuzüglich USt.",
        "fields": "Weitere Angaben",
        "signers": "Zu unterschreiben von",
        "draft": "ENTWURF, noch nicht verschickt",
    },
    "en": {
        "standard": "Agreement",
        "acceptance": "Certificate of acceptance",
        "between": "between",
        "and": "and",
        "standard_before": "The parties agree on the following goods and services:",
        "acceptance_before": "The customer has received the following goods and services:",
        "standard_after": "By signing, the parties accept this agreement.",
        "acceptance_after": "By signing, the customer accepts what was delivered.",
        "total": "Total",
        "tax": "including VAT",
        "tax_on_top": "plus VAT",
        "fields": "Further particulars",
        "signers": "To be signed by",
        "draft": "DRAFT, not sent yet",
    },
}


@dataclass(frozen=True, slots=True)
class Wares:
    """What the deal sells, as it was when the document was made. `amount` counts when there are no lines; minor units."""

    currency: str = "EUR"
    prices_include_tax: bool = True
    lines: tuple[Line, ...] = ()
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Filling:
    """What goes into a template. `signers` are names."""

    title: str
    seller: str
    buyer: Buyer
    wares: Wares
    fields: Mapping[str, Any]
    signers: Sequence[str]


def text_of(template_code: str, filling: Filling, language: str, *, draft: bool = False) -> str:
    """The document, lines of UTF-8 text. Raises KeyError for a template that there is not."""
    w = WORDS[language if language in LANGUAGES else "en"]
    parts = (
        [f"*** {w['draft']} ***"] if draft else [],
        [w[template_code], filling.title],
        [w["between"], filling.seller, w["and"], *_party(filling.buyer)],
        [w[f"{template_code}_before"], *_wares(filling.wares, w)],
        [f"{w['fields']}:", *(f"  {name}: {_plain(value)}" for name, value in filling.fields.items())] if filling.fields else [],
        [w[f"{template_code}_after"]],
        [f"{w['signers']}:", *(f"  {name}" for name in filling.signers)],
    )
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _party(buyer: Buyer) -> list[str]:
    a = buyer.address
    lines = (buyer.name, buyer.person if buyer.person != buyer.name else "", _street(a), f"{a.postal_code} {a.city}".strip(), a.country)
    return [line for line in lines if line]


def _street(a: Address) -> str:
    return " ".join(part for part in (a.street, a.house, a.addition) if part)


def _wares(wares: Wares, w: Mapping[str, str]) -> list[str]:
    if not wares.lines:
        return [f"  {w['total']}: {amount_text(wares.amount, wares.currency)} {wares.currency}"] if wares.amount else []
    totals = totals_of(wares.lines, wares.prices_include_tax)
    shown = [f"  {decimal_text(line.quantity)} x {line.name}: {amount_text(line.total, wares.currency)}" for line in wares.lines]
    name = w["tax" if wares.prices_include_tax else "tax_on_top"]
    taxes = [f"  {name} {decimal_text(r.rate)} %: {amount_text(r.tax, wares.currency)}" for r in totals.by_rate if r.tax]
    return [*shown, *taxes, f"  {w['total']}: {amount_text(totals.gross, wares.currency)} {wares.currency}"]


def _plain(value: Any) -> str:
    return " ".join(str(value).split())
