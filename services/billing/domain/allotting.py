"""How much of a payment its target takes, and why not the rest: decided on the target's state in the same item (2.4)."""

from __future__ import annotations

from services.billing.domain.invoice import Invoice
from services.billing.domain.money import Money
from services.billing.domain.payment import MORE_THAN_DUE
from services.billing.domain.payment_document import Document

TARGET_UNKNOWN, TARGET_CANCELLED, TARGET_EXPIRED = "target_unknown", "target_cancelled", "target_expired"
TARGET_NOT_ISSUED, CURRENCY_DIFFERS = "target_not_issued", "currency_differs"

Allotted = tuple[int, str]
"""Minor units that the target takes, and the reason why it does not take the rest ('' when nothing is left)."""


def to_invoice(money: Money, invoice: Invoice, document: Document | None) -> Allotted:
    """`document` is the one that was paid on, if any: a link takes no more than its own amount (I16)."""
    if why := _closed(document) or _unfit(money, invoice):
        return 0, why
    due = min(invoice.amount_due, document.remaining) if document else invoice.amount_due
    return _up_to(money, due)


def to_document(money: Money, document: Document | None) -> Allotted:
    """A prepayment on a document that covers no invoice (F5)."""
    if document is None:
        return 0, TARGET_UNKNOWN
    if why := _closed(document):
        return 0, why
    if document.currency != money.currency:
        return 0, CURRENCY_DIFFERS
    return _up_to(money, document.remaining)


def _up_to(money: Money, due: int) -> Allotted:
    applied = min(money.minor, due)
    return applied, "" if applied == money.minor else MORE_THAN_DUE


def _closed(document: Document | None) -> str:
    """A cancelled or expired link captures nothing; what arrives all the same is kept (D31, I16)."""
    if document is None:
        return ""
    return {"cancelled": TARGET_CANCELLED, "expired": TARGET_EXPIRED}.get(document.status, "")


def _unfit(money: Money, invoice: Invoice) -> str:
    if not invoice.exists:
        return TARGET_UNKNOWN
    if invoice.cancelled:
        return TARGET_CANCELLED
    if money.currency != invoice.currency:
        return CURRENCY_DIFFERS
    return "" if invoice.issued else TARGET_NOT_ISSUED
