"""Pages that customers see, as HTML: the hosted payment page and the test provider's checkout. Pure functions, escaped text.

German and English; what the reader prefers is in Accept-Language. Nothing is loaded from anywhere, no script runs."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from html import escape
from typing import Literal, Protocol

from services.billing.domain.checkout import Checkout
from services.billing.domain.money import Line, Money, RateTotal, amount_text, decimal_text

State = Literal["open", "partially_paid", "paid", "expired", "cancelled", "replaced", "unknown", "busy"]

STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;margin:0;background:#f4f5f7;color:#1d2433}"
    "main{max-width:34rem;margin:2rem auto;background:#fff;padding:2rem;border-radius:8px;box-shadow:0 1px 4px #0002}"
    "h1{font-size:1.3rem;margin:0 0 .2rem}p.seller{margin:0 0 1.5rem;color:#5a6478}"
    ".test{background:#ffd54a;padding:.4rem 1rem;text-align:center;font-weight:600}"
    "table{width:100%;border-collapse:collapse;margin:1rem 0}td,th{padding:.4rem 0;border-bottom:1px solid #e3e6ec;text-align:left}"
    "td.n,th.n{text-align:right;white-space:nowrap}.due{font-size:1.6rem;font-weight:700}"
    "button{font:inherit;padding:.6rem 1.2rem;border:0;border-radius:6px;background:#1554d1;color:#fff;margin:.2rem .2rem .2rem 0}"
    "button.other{background:#e3e6ec;color:#1d2433}fieldset{border:1px solid #e3e6ec;border-radius:6px;margin:1rem 0}"
    "input[type=text],input[type=number]{font:inherit;width:7rem}label{display:block}.state{font-weight:600}"
    "input.wide{width:100%;box-sizing:border-box}pre{white-space:pre-wrap;font:inherit;background:#f4f5f7;padding:1rem;border-radius:6px}"
    ".hash{font:12px monospace;color:#5a6478;overflow-wrap:anywhere}"
)
_STYLE_HASH = base64.b64encode(sha256(STYLE.encode()).digest()).decode()

HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "referrer-policy": "no-referrer",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "x-robots-tag": "noindex",
}

TEXTS: dict[str, dict[str, str]] = {
    "de": {
        "test": "TESTBETRIEB (TEST): es wird kein echtes Geld bewegt",
        "to": "Zahlung an",
        "item": "Position",
        "quantity": "Menge",
        "price": "Betrag",
        "total": "Gesamt",
        "tax_within": "darin USt.",
        "tax_on_top": "zuzüglich USt.",
        "paid_so_far": "Bereits bezahlt",
        "due": "Zu zahlen",
        "good_until": "Gültig bis",
        "pay": "Jetzt bezahlen",
        "state": "Status",
        "open": "offen",
        "partially_paid": "teilweise bezahlt",
        "paid": "Diese Zahlung ist bereits erledigt. Vielen Dank.",
        "expired": "Dieser Zahlungslink ist abgelaufen. Bitte fordern Sie einen neuen an.",
        "cancelled": "Diese Zahlung wurde storniert. Es ist nichts zu zahlen.",
        "replaced": "Dieser Zahlungslink wurde durch einen neueren ersetzt.",
        "unknown": "Diesen Zahlungslink gibt es nicht.",
        "busy": "Zu viele Versuche. Bitte warten Sie eine Minute.",
    },
    "en": {
        "test": "TEST MODE: no real money is moved",
        "to": "Payment to",
        "item": "Item",
        "quantity": "Quantity",
        "price": "Amount",
        "total": "Total",
        "tax_within": "including VAT",
        "tax_on_top": "plus VAT",
        "paid_so_far": "Paid so far",
        "due": "To pay",
        "good_until": "Good until",
        "pay": "Pay now",
        "state": "Status",
        "open": "open",
        "partially_paid": "partially paid",
        "paid": "This payment has been made already. Thank you.",
        "expired": "This payment link has expired. Please ask for a new one.",
        "cancelled": "This payment was cancelled. There is nothing to pay.",
        "replaced": "This payment link was replaced by a newer one.",
        "unknown": "There is no such payment link.",
        "busy": "Too many attempts. Please wait a minute.",
    },
}
LANGUAGES = ("de", "en")


def language_of(accepted: str | None, default: str) -> str:
    """The reader's language among ours: the one preferred in Accept-Language, otherwise `default`."""
    wishes = []
    for place, part in enumerate((accepted or "").split(",")[:20]):
        tag, _, weight = part.strip().partition(";q=")
        name = tag.strip().lower()[:2]
        if name in LANGUAGES:
            wishes.append((-_weight(weight), place, name))
    return min(wishes)[2] if wishes else (default if default in LANGUAGES else "en")


def _weight(text: str) -> int:
    """Thousandths, as the header allows at most three digits."""
    whole, _, part = text.strip().partition(".")
    digits = (part + "000")[:3]
    if not text.strip():
        return 1000
    return int(whole) * 1000 + int(digits) if whole.isascii() and whole.isdigit() and len(whole) == 1 and digits.isdigit() else 0


def shown_amount(money: Money, language: str) -> str:
    """The amount for people, and for programs in `value`: `100,00 EUR`, value `100.00 EUR`."""
    exact = f"{money.amount} {money.currency}"
    text = exact.replace(".", ",") if language == "de" else exact
    return f'<data value="{escape(exact)}">{escape(text)}</data>'


# ---------------------------------------------------------------------------------------------------- the pay page


class Priced(Protocol):
    """What has product rows, their taxes and a total."""

    @property
    def currency(self) -> str: ...
    @property
    def lines(self) -> Sequence[Line]: ...
    @property
    def prices_include_tax(self) -> bool: ...
    @property
    def taxes(self) -> Sequence[RateTotal]: ...
    @property
    def total(self) -> int: ...


@dataclass(frozen=True, slots=True)
class PayPage:
    """What the page behind a link shows. `due`: what can be paid now. `action`: where the button leads."""

    seller: str
    title: str
    currency: str
    lines: Sequence[Line]
    prices_include_tax: bool
    taxes: Sequence[RateTotal]
    total: int
    due: int
    state: State
    expires_at: datetime | None
    action: str
    attempt: str
    test: bool


def pay_page(page: PayPage, language: str) -> str:
    t = TEXTS[language]
    paid = page.total - page.due
    until = f"<p>{t['good_until']} {page.expires_at:%Y-%m-%d}</p>" if page.expires_at else ""
    body = (
        f"<h1>{escape(page.title)}</h1><p class=seller>{t['to']} {escape(page.seller)}</p>"
        f"{rows(page, language)}"
        + (f"<p>{t['paid_so_far']}: {shown_amount(Money(paid, page.currency), language)}</p>" if paid > 0 else "")
        + f"<p>{t['due']}: <span class=due>{shown_amount(Money(page.due, page.currency), language)}</span></p>"
        f"<p class=state data-state={page.state}>{t['state']}: {escape(t[page.state])}</p>{until}"
        f'<form method=post action="{escape(page.action)}"><input type=hidden name=attempt value="{escape(page.attempt)}">'
        f"<button type=submit>{t['pay']}</button></form>"
    )
    return document(page.title, body, language, test=page.test)


def rows(page: Priced, language: str) -> str:
    """The table of what it is for."""
    t = TEXTS[language]
    shown = "".join(
        f"<tr><td>{escape(line.name)}<td class=n>{decimal_text(line.quantity)}"
        f"<td class=n>{shown_amount(Money(line.total, page.currency), language)}"
        for line in page.lines
    )
    total = shown_amount(Money(page.total, page.currency), language)
    return (
        f"<table><thead><tr><th>{t['item']}<th class=n>{t['quantity']}<th class=n>{t['price']}</thead><tbody>{shown}</tbody>"
        f"<tfoot>{_taxes(page, language)}<tr><th>{t['total']}<th><th class=n>{total}</tfoot></table>"
    )


def _taxes(page: Priced, language: str) -> str:
    name = TEXTS[language]["tax_within" if page.prices_include_tax else "tax_on_top"]
    return "".join(
        f"<tr><td>{name} {decimal_text(r.rate)} %<td><td class=n>{shown_amount(Money(r.tax, page.currency), language)}"
        for r in page.taxes
        if r.tax
    )


def message_page(state: State, language: str, seller: str = "", title: str = "") -> str:
    """A page on which nothing can be paid, and which says why."""
    t = TEXTS[language]
    head = f"<h1>{escape(title or t['to'])}</h1><p class=seller>{escape(seller)}</p>"
    return document(title or t["to"], f"{head}<p class=state data-state={state}>{escape(t[state])}</p>", language, test=False)


def document(title: str, body: str, language: str, *, test: bool) -> str:
    banner = f"<div class=test>{escape(TEXTS[language]['test'])}</div>" if test else ""
    return (
        f'<!doctype html><html lang={language}><head><meta charset=utf-8><meta name=viewport content="width=device-width">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>{banner}<main>{body}</main></body></html>"
    )


# -------------------------------------------------------------------------------------------- the test provider's page

CHECKOUT_TEXTS: dict[str, dict[str, str]] = {
    "de": {
        "title": "Testzahlung",
        "pay": "Bezahlen",
        "decline": "Ablehnen",
        "confirm": "Mit 3-D Secure bezahlen",
        "confirming": "3-D Secure: bitte bestätigen oder ablehnen.",
        "abandon": "Abbrechen",
        "partial": "Teilbetrag bezahlen",
        "excess": "Zu viel bezahlen",
        "later": "Später bezahlen",
        "minutes": "Minuten",
        "amount": "Betrag",
        "switches": "Wie der Webhook kommt",
        "twice": "zweimal",
        "out_of_order": "in zwei Hälften, die spätere zuerst",
        "delay": "Sekunden verspätet",
        "bad_signature": "mit falscher Signatur",
        "refund": "Erstatten",
        "charge_back": "Rückbuchen",
        "back": "Zurück zur Zahlungsseite",
        "open": "offen",
        "paid": "bezahlt",
        "declined": "abgelehnt",
        "abandoned": "abgebrochen",
        "refunded": "erstattet",
        "charged_back": "zurückgebucht",
    },
    "en": {
        "title": "Test payment",
        "pay": "Pay",
        "decline": "Decline",
        "confirm": "Pay with 3-D Secure",
        "confirming": "3-D Secure: please confirm or decline.",
        "abandon": "Abandon",
        "partial": "Pay a part",
        "excess": "Pay too much",
        "later": "Pay later",
        "minutes": "minutes",
        "amount": "Amount",
        "switches": "How the webhook comes",
        "twice": "twice",
        "out_of_order": "in two halves, the later one first",
        "delay": "seconds late",
        "bad_signature": "with a bad signature",
        "refund": "Refund",
        "charge_back": "Charge back",
        "back": "Back to the payment page",
        "open": "open",
        "paid": "paid",
        "declined": "declined",
        "abandoned": "abandoned",
        "refunded": "refunded",
        "charged_back": "charged back",
    },
}


def checkout_page(checkout: Checkout, action: str, attempt: str, language: str, fault: str = "") -> str:
    """The hosted checkout: what a customer could do at a real provider, and how its report may go wrong."""
    t = CHECKOUT_TEXTS[language]
    forms = {
        "open": _undecided(checkout, t),
        "confirming": f"<p>{t['confirming']}</p>{_button('pay', t)}{_button('decline', t, other=True)}",
        "paid": f"{_button('refund', t, other=True)}{_button('charge_back', t, other=True)}",
    }
    said = f"<p class=state role=alert>{escape(fault)}</p>" if fault else ""
    body = (
        f"<h1>{t['title']}</h1><p class=seller>{escape(checkout.title)}</p>"
        f"<p class=due>{shown_amount(checkout.money, language)}</p>"
        f"<p class=state data-state={checkout.status}>{escape(t.get(checkout.status, checkout.status))}</p>{said}"
        f'<form method=post action="{escape(action)}"><input type=hidden name=attempt value="{escape(attempt)}">'
        f"{forms.get(checkout.status, '')}</form>"
        f'<p><a href="{escape(checkout.return_url)}">{t["back"]}</a></p>'
    )
    return document(t["title"], body, language, test=True)


def _undecided(checkout: Checkout, t: dict[str, str]) -> str:
    half = amount_text(max(1, checkout.money.minor // 2), checkout.money.currency)
    return (
        f"{_button('pay', t)}{_button('confirm', t)}{_button('decline', t, other=True)}{_button('abandon', t, other=True)}"
        f"<fieldset><label>{t['amount']} <input type=text name=amount inputmode=decimal value={half}></label>"
        f"{_button('partial', t, other=True)}{_button('excess', t, other=True)}</fieldset>"
        f"<fieldset><label><input type=number name=minutes min=0 max=1440 value=1> {t['minutes']}</label>"
        f"{_button('later', t, other=True)}</fieldset>"
        f"<fieldset><legend>{t['switches']}</legend>{_switch('twice', t)}{_switch('out_of_order', t)}{_switch('bad_signature', t)}"
        f"<label><input type=number name=delay min=0 max=3600 value=0> {t['delay']}</label></fieldset>"
    )


def _button(name: str, t: dict[str, str], *, other: bool = False) -> str:
    kind = " class=other" if other else ""
    return f"<button type=submit name=button value={name}{kind}>{escape(t[name])}</button>"


def _switch(name: str, t: dict[str, str]) -> str:
    return f"<label><input type=checkbox name={name} value=true> {escape(t[name])}</label>"
