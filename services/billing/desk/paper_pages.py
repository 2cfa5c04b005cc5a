"""Pages on which customers answer: a quote to accept or decline, a document to sign. Pure functions, escaped text.

They look like the payment page, and like it load nothing and run no script."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from html import escape
from typing import Literal

from services.billing.desk.pages import document, rows
from services.billing.domain.money import Line, RateTotal

QuoteState = Literal["open", "accepted", "declined", "expired", "cancelled", "unknown"]
SignState = Literal["open", "signed_by_you", "signed", "declined", "expired", "cancelled", "unknown"]
MOST_TYPED = 200

TEXTS: dict[str, dict[str, str]] = {
    "de": {
        "quote": "Angebot",
        "from": "von",
        "good_until": "Gültig bis",
        "name": "Ihr Name",
        "accept": "Angebot annehmen",
        "decline": "Ablehnen",
        "reason": "Grund der Ablehnung (freiwillig)",
        "document": "Dokument zur Unterschrift",
        "for": "für",
        "sign_until": "Zu unterschreiben bis",
        "agreed": "Ich habe das Dokument gelesen und unterschreibe es mit meinem Namen.",
        "sign": "Jetzt unterschreiben",
        "signatures": "Unterschriften",
        "name_missing": "Bitte geben Sie Ihren Namen ein.",
        "not_agreed": "Bitte bestätigen Sie, dass Sie das Dokument gelesen haben.",
        "file_differs": "Das Dokument hat sich geändert. Bitte lesen Sie es noch einmal.",
        "too_long": "Bitte fassen Sie sich kürzer: höchstens 200 Zeichen für den Namen, 1.000 für den Grund.",
        "wrong": "Das ging nicht. Bitte versuchen Sie es noch einmal.",
        "quote/open": "Bitte nehmen Sie das Angebot an oder lehnen Sie es ab.",
        "quote/accepted": "Sie haben dieses Angebot angenommen. Vielen Dank.",
        "quote/declined": "Dieses Angebot wurde abgelehnt.",
        "quote/expired": "Dieses Angebot ist abgelaufen. Bitte fragen Sie nach einem neuen.",
        "quote/cancelled": "Dieses Angebot wurde zurückgezogen.",
        "quote/unknown": "Dieses Angebot gibt es nicht.",
        "sign/open": "Bitte lesen und unterschreiben Sie das Dokument.",
        "sign/signed_by_you": "Sie haben unterschrieben. Es fehlen noch andere Unterschriften.",
        "sign/signed": "Das Dokument ist vollständig unterschrieben. Vielen Dank.",
        "sign/declined": "Die Unterschrift wurde abgelehnt. Es ist nichts mehr zu tun.",
        "sign/expired": "Die Zeit zu unterschreiben ist vorbei. Bitte fragen Sie nach einem neuen Link.",
        "sign/cancelled": "Dieses Dokument wurde zurückgezogen. Es ist nichts zu unterschreiben.",
        "sign/unknown": "Dieses Dokument gibt es nicht.",
    },
    "en": {
        "quote": "Quote",
        "from": "from",
        "good_until": "Good until",
        "name": "Your name",
        "accept": "Accept the quote",
        "decline": "Decline",
        "reason": "Why you decline (if you like)",
        "document": "Document to be signed",
        "for": "for",
        "sign_until": "To be signed until",
        "agreed": "I have read the document and sign it with my name.",
        "sign": "Sign now",
        "signatures": "Signatures",
        "name_missing": "Please type your name.",
        "not_agreed": "Please confirm that you have read the document.",
        "file_differs": "The document has changed. Please read it once more.",
        "too_long": "Please be shorter: at most 200 characters for the name, 1,000 for the reason.",
        "wrong": "That did not work. Please try again.",
        "quote/open": "Please accept or decline the quote.",
        "quote/accepted": "You have accepted this quote. Thank you.",
        "quote/declined": "This quote was declined.",
        "quote/expired": "This quote has expired. Please ask for a new one.",
        "quote/cancelled": "This quote was withdrawn.",
        "quote/unknown": "There is no such quote.",
        "sign/open": "Please read and sign the document.",
        "sign/signed_by_you": "You have signed. Other signatures are still missing.",
        "sign/signed": "Everybody has signed the document. Thank you.",
        "sign/declined": "A signature was declined. Nothing more is to be done.",
        "sign/expired": "The time to sign is over. Please ask for a new link.",
        "sign/cancelled": "This document was withdrawn. There is nothing to sign.",
        "sign/unknown": "There is no such document.",
    },
}


@dataclass(frozen=True, slots=True)
class QuotePage:
    """What the page behind a quote's link shows. `action`: where its form leads. `fault`: what was wrong with the last try.

    `test`: nothing that happens here counts."""

    seller: str
    title: str
    number: str
    buyer: str
    currency: str
    lines: Sequence[Line]
    prices_include_tax: bool
    taxes: Sequence[RateTotal]
    total: int
    valid_until: date | None
    state: QuoteState
    action: str
    attempt: str
    fault: str = ""
    test: bool = False


@dataclass(frozen=True, slots=True)
class SignPage:
    """What one signer sees. `text` is the document, `signatures` are the names that were typed and when."""

    seller: str
    title: str
    signer: str
    text: str
    file_sha256: str
    signatures: Sequence[tuple[str, datetime]]
    expires_at: datetime | None
    state: SignState
    action: str
    attempt: str
    fault: str = ""
    test: bool = False


def quote_page(page: QuotePage, language: str) -> str:
    """Expired, declined, withdrawn: the page says so and shows no offer any more."""
    t = TEXTS[language]
    head = f"{t['quote']} {escape(page.number)} {t['from']} {escape(page.seller)}"
    shown = rows(page, language) if page.state in ("open", "accepted") else ""
    until = f"<p>{t['good_until']} {page.valid_until:%Y-%m-%d}</p>" if page.valid_until and page.state == "open" else ""
    form = _form(page.action, page.attempt, "accept", _name(page.buyer, t), t) if page.state == "open" else ""
    body = f"<h1>{escape(page.title)}</h1><p class=seller>{head}</p>{shown}{_state('quote', page.state, page.fault, t)}{until}{form}"
    return document(page.title, body, language, test=page.test)


def sign_page(page: SignPage, language: str) -> str:
    """Whoever has signed may read it as long as it stands; expired, declined, withdrawn it is not shown any more."""
    t = TEXTS[language]
    head = f"{t['document']} {t['from']} {escape(page.seller)}, {t['for']} {escape(page.signer)}"
    readable = page.state in ("open", "signed_by_you", "signed")
    shown = f"<pre>{escape(page.text)}</pre><p class=hash>SHA-256 {escape(page.file_sha256)}</p>{_signatures(page, t)}" if readable else ""
    until = f"<p>{t['sign_until']} {page.expires_at:%Y-%m-%d}</p>" if page.expires_at and page.state == "open" else ""
    form = _form(page.action, page.attempt, "sign", _name("", t) + _agreed(page, t), t) if page.state == "open" else ""
    body = f"<h1>{escape(page.title)}</h1><p class=seller>{head}</p>{shown}{_state('sign', page.state, page.fault, t)}{until}{form}"
    return document(page.title, body, language, test=page.test)


def unknown_page(kind: Literal["quote", "sign"], language: str) -> str:
    t = TEXTS[language]
    title = t["quote" if kind == "quote" else "document"]
    return document(title, f"<h1>{title}</h1>{_state(kind, 'unknown', '', t)}", language, test=False)


def _state(kind: str, state: str, fault: str, t: dict[str, str]) -> str:
    said = f"<p class=state role=alert>{escape(t.get(fault, t['wrong']))}</p>" if fault else ""
    return f"<p class=state data-state={state}>{escape(t[f'{kind}/{state}'])}</p>{said}"


def _signatures(page: SignPage, t: dict[str, str]) -> str:
    if not page.signatures:
        return ""
    given = "".join(f"<li>{escape(name)}, {at:%Y-%m-%d %H:%M} UTC</li>" for name, at in page.signatures)
    return f"<p>{t['signatures']}:</p><ul>{given}</ul>"


def _form(action: str, attempt: str, yes: str, fields: str, t: dict[str, str]) -> str:
    """One form, two buttons: yes first, so that the return key says it."""
    return (
        f'<form method=post action="{escape(action)}"><input type=hidden name=attempt value="{escape(attempt)}">{fields}'
        f"<button type=submit name=answer value={yes}>{t[yes]}</button>"
        f'<fieldset><label>{t["reason"]} <input type=text class=wide name=reason maxlength=1000 value=""></label>'
        f"<button type=submit name=answer value=decline class=other>{t['decline']}</button></fieldset></form>"
    )


def _name(known: str, t: dict[str, str]) -> str:
    typed = escape(known)
    return f'<label>{t["name"]} <input type=text class=wide name=name maxlength={MOST_TYPED} autocomplete=name value="{typed}"></label>'


def _agreed(page: SignPage, t: dict[str, str]) -> str:
    return (
        f'<input type=hidden name=sha256 value="{escape(page.file_sha256)}">'
        f"<label><input type=checkbox name=agreed value=true> {t['agreed']}</label>"
    )
