"""Addresses of people: one e-mail address, one phone number. Strict on purpose: what is odd is refused, never repaired. (T15)

Libraries disagree about comments, quotes and several addresses in one text; here there are none of them."""

from __future__ import annotations

import re

from shared.es.errors import Fault, Rejected

_ATOM = r"[A-Za-z0-9!#$%&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"({_ATOM}(?:\.{_ATOM})*)@({_LABEL}(?:\.{_LABEL})+)")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")


def email_address(text: str, pointer: str = "/to") -> str:
    """The address as it was given, its domain in lower case. Raises Rejected: recipient_missing, bad_address."""
    if not text.strip():
        raise Rejected("recipient_missing", "There is no address to send to.", status=422, errors=[_missing(pointer)])
    found = _EMAIL.fullmatch(text)
    if found is None or len(found[1]) > 64 or len(text) > 254:
        raise bad_address(pointer, f"{text[:80]!r} is not one plain e-mail address such as anna@example.org.")
    return f"{found[1]}@{found[2].lower()}"


def phone_number(text: str, pointer: str = "/to") -> str:
    """A number in E.164. Raises Rejected: recipient_missing, bad_address."""
    if not text.strip():
        raise Rejected("recipient_missing", "There is no number to send to.", status=422, errors=[_missing(pointer)])
    if not _PHONE.fullmatch(text):
        raise bad_address(pointer, f"{text[:80]!r} is not a phone number such as +491701234567.")
    return text


def is_email_address(text: str | None) -> bool:
    try:
        return bool(text) and bool(email_address(text or ""))
    except Rejected:
        return False


def bad_address(pointer: str, detail: str) -> Rejected:
    return Rejected("bad_address", detail, status=422, errors=[Fault(pointer, "bad_address", detail)])


def _missing(pointer: str) -> Fault:
    return Fault(pointer, "recipient_missing", "There is nobody to send to.")
