"""Resources as JSON, the same from a state after a command and from a row of a view. Amounts are decimal text with a currency."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from services.billing.domain.credit_note import CreditNote
from services.billing.domain.customer import Buyer, Customer
from services.billing.domain.invoice import Invoice
from services.billing.domain.money import Line, Totals, amount_text, decimal_text
from services.billing.domain.payment import Allocation, Payment, Refund
from services.billing.domain.payment_document import Document, PaymentDocuments
from services.billing.domain.quote import Answered, Quote
from services.billing.domain.series import NumberSeries
from services.billing.domain.sign_document import SignDocument, Signer

Json = dict[str, Any]
Row = Mapping[str, Any]


def money(minor: int, currency: str) -> Json:
    return {"amount": amount_text(minor, currency), "currency": currency}


def customer(c: Customer) -> Json:
    return {"contact_id": c.contact_id, "company_id": c.company_id}


def lines(of: Iterable[Line], currency: str) -> list[Json]:
    return [
        {
            "line_id": line.line_id,
            "product_code": line.product_code,
            "name": line.name,
            "quantity": decimal_text(line.quantity),
            "unit_price": amount_text(line.unit_price, currency),
            "discount_percent": decimal_text(line.discount_percent),
            "tax_rate": decimal_text(line.tax_rate),
            "total": amount_text(line.total, currency),
        }
        for line in of
    ]


def totals(t: Totals, currency: str) -> Json:
    by_rate = [{"rate": decimal_text(r.rate), "net": amount_text(r.net, currency), "tax": amount_text(r.tax, currency)} for r in t.by_rate]
    sums = {name: amount_text(getattr(t, name), currency) for name in ("net", "tax", "gross")}
    return {**sums, "by_rate": by_rate}


def buyer(b: Buyer | None) -> Json | None:
    return asdict(b) if b else None


def invoice(i: Invoice, current: Buyer | None = None) -> Json:
    """`buyer` is the snapshot of an issued invoice; of a draft it is `current`, the customer as known now (D46)."""
    return {
        "id": i.id,
        "deal_id": i.deal_id,
        "status": i.status,
        "number": i.number,
        "series": i.series,
        "title": i.title,
        "responsible_id": i.responsible_id,
        "customer": customer(i.customer),
        "buyer": buyer(i.buyer or current),
        "warnings": _warnings(i, current),
        "currency": i.currency,
        "prices_include_tax": i.prices_include_tax,
        "lines": lines(i.lines, i.currency),
        "totals": totals(i.totals, i.currency),
        "total": money(i.total, i.currency),
        "amount_due": money(i.amount_due, i.currency),
        "held": money(i.held, i.currency),
        "credited": money(i.credited, i.currency),
        "refunded": money(i.refunded, i.currency),
        "epoch": i.epoch,
        "issue_date": i.issue_date,
        "due_date": i.due_date,
        "due_in_days": i.due_days,
        "paid_at": i.paid_at if i.epoch_open else None,
        "origin_rule_id": i.origin_rule_id,
        "quote_id": i.quote_id,
        "created_at": i.created_at,
    }


def _warnings(i: Invoice, current: Buyer | None) -> list[str]:
    """What is missing on a draft before it is a proper invoice."""
    if i.issued or i.cancelled or current is None:
        return []
    gaps = {"buyer_name": current.name, "buyer_city": current.address.city, "buyer_street": current.address.street}
    return [f"{name}_missing" for name, value in gaps.items() if not value]


def invoice_row(row: Row) -> Json:
    currency = row["currency"]
    amounts = {name: money(row[name], currency) for name in ("total", "amount_due", "held", "credited", "refunded")}
    names = ("id", "deal_id", "status", "number", "series", "title", "responsible_id", "epoch", "issue_date", "due_date", "created_at")
    paid_at = row["paid_at"] if row["status"] == "paid" else None
    whom = {"contact_id": row["contact_id"], "company_id": row["company_id"]}
    return {**{n: row[n] for n in names}, "customer": whom, **amounts, "paid_at": paid_at, "origin_rule_id": row["origin_rule_id"]}


def allocation_row(row: Row) -> Json:
    names = ("kind", "payment_id", "allocation", "document_id", "epoch", "at")
    return {**{name: row[name] for name in names}, "amount": money(row["amount"], row["currency"])}


def document(d: Document, of: PaymentDocuments, deal_amount: Json | None = None) -> Json:
    """`differs_from_deal`: the deal's amount is another one by now (D34d); null where no deal is known."""
    differs = None if deal_amount is None else deal_amount != money(d.amount, d.currency)
    return {
        "id": d.id,
        "deal_id": of.deal_id,
        "invoice_id": d.invoice_id,
        "order_id": d.order_id,
        "status": d.status,
        "title": d.title,
        "currency": d.currency,
        "prices_include_tax": d.prices_include_tax,
        "lines": lines(d.lines, d.currency),
        "amount": money(d.amount, d.currency),
        "captured": money(d.captured, d.currency),
        "remaining": money(d.remaining, d.currency),
        "link": {"url": d.link.url, "expires_at": d.link.expires_at} if d.link else None,
        "differs_from_deal": differs,
        "created_at": d.created_at,
    }


def document_row(row: Row) -> Json:
    """Without the link: that is shown one by one."""
    names = ("deal_id", "invoice_id", "order_id", "status", "title", "expires_at", "created_at")
    amounts = {name: money(row[name], row["currency"]) for name in ("amount", "captured")}
    return {"id": row["payment_document_id"], **{name: row[name] for name in names}, **amounts}


def payment(p: Payment) -> Json:
    currency = p.money.currency
    return {
        "id": p.id,
        "provider": p.provider,
        "provider_payment_id": p.provider_payment_id,
        "status": p.status,
        "amount": money(p.money.minor, currency),
        "unapplied": money(p.unapplied, currency),
        "unapplied_reason": p.unapplied_reason if p.unapplied else None,
        "credit": money(p.credit, currency),
        "refunded": money(p.refunded, currency),
        "kept": money(p.kept, currency),
        "payer": p.payer,
        "customer": customer(p.customer),
        "deal_id": p.deal_id,
        "invoice_id": p.invoice_id,
        "payment_document_id": p.document_id,
        "allocations": [_allocation(a, currency) for a in p.allocations],
        "refunds": [_refund(r, currency) for r in p.refunds],
        "paid_at": p.paid_at,
        "received_at": p.received_at,
    }


def _allocation(a: Allocation, currency: str) -> Json:
    rate = decimal_text(a.rate) if a.rate is not None else None
    target = {"invoice_id": a.invoice_id, "payment_document_id": a.document_id}
    return {"n": a.n, **target, "amount": money(a.amount, currency), "rate": rate}


def _refund(r: Refund, currency: str) -> Json:
    known = {"id": r.id, "state": r.state, "amount": money(r.amount, currency), "to_be_paid_again": r.to_be_paid_again}
    return {**known, "detail": r.detail or None}


def payment_row(row: Row) -> Json:
    names = ("id", "provider", "provider_payment_id", "status", "payer", "deal_id", "invoice_id", "payment_document_id")
    amounts = {name: money(row[name], row["currency"]) for name in ("amount", "unapplied", "credit", "refunded")}
    reason = row["unapplied_reason"] if row["unapplied"] else None
    times = {"paid_at": row["paid_at"], "received_at": row["received_at"]}
    return {**{name: row[name] for name in names}, **amounts, "unapplied_reason": reason, **times}


def credit_note(n: CreditNote) -> Json:
    return {
        "id": n.id,
        "number": n.number,
        "invoice_id": n.invoice_id,
        "invoice_number": n.invoice_number,
        "deal_id": n.deal_id,
        "currency": n.currency,
        "lines": lines(n.lines, n.currency),
        "totals": totals(n.totals, n.currency),
        "total": money(n.totals.gross, n.currency),
        "reason": n.reason,
        "cancels_invoice": n.cancels_invoice,
        "issue_date": n.issue_date,
        "buyer": buyer(n.buyer),
        "created_at": n.at,
    }


def credit_note_row(row: Row) -> Json:
    names = ("id", "number", "invoice_id", "deal_id", "reason", "cancels_invoice", "issue_date", "created_at")
    return {**{name: row[name] for name in names}, "total": money(row["total"], row["currency"])}


def series(s: NumberSeries, year: int) -> Json:
    known = {"code": s.code, "prefix": s.prefix, "digits": s.digits, "yearly": s.yearly}
    return {**known, "next": s.upcoming(year), "next_number": s.text(s.upcoming(year), year), "last_number": s.last or None}


def series_row(row: Row, year: int) -> Json:
    drawn = NumberSeries(row["id"], row["prefix"], row["digits"], row["yearly"], row["next"], row["year"], row["drawn"], row["last"])
    return series(drawn, year)


def quote(q: Quote) -> Json:
    return {
        "id": q.id,
        "deal_id": q.deal_id,
        "status": q.status,
        "number": q.number,
        "title": q.title,
        "responsible_id": q.responsible_id,
        "customer": customer(q.customer),
        "currency": q.currency,
        "prices_include_tax": q.prices_include_tax,
        "lines": lines(q.lines, q.currency),
        "totals": totals(q.totals, q.currency),
        "total": money(q.totals.gross, q.currency),
        "valid_until": q.valid_until,
        "buyer": buyer(q.buyer),
        "link": {"url": q.link.url, "expires_at": q.expires_at} if q.link else None,
        "mailed": q.mailed,
        "sent_at": q.sent_at,
        "answer": _answer(q.answered),
        "invoice_id": q.made.get("invoice"),
        "converted_deal_id": q.made.get("deal"),
        "created_at": q.created_at,
    }


def _answer(a: Answered | None) -> Json | None:
    """What the customer said; `by` is the name typed on the page, null where an employee recorded it."""
    return {"at": a.at, "by": a.evidence.name if a.evidence else None, "reason": a.reason or None} if a else None


def quote_row(row: Row) -> Json:
    names = ("id", "deal_id", "status", "number", "title", "responsible_id", "valid_until", "created_at")
    whom = {"contact_id": row["contact_id"], "company_id": row["company_id"]}
    return {**{name: row[name] for name in names}, "customer": whom, "total": money(row["total"], row["currency"])}


def sign_document(d: SignDocument) -> Json:
    return {
        "id": d.id,
        "deal_id": d.deal_id,
        "status": d.status,
        "template_code": d.template_code,
        "title": d.title,
        "responsible_id": d.responsible_id,
        "customer": customer(d.customer),
        "signers": [_signer(s) for s in d.signers],
        "fields": dict(d.fields),
        "language": d.language if d.file else None,
        "file_sha256": d.file_sha256,
        "mailed": d.mailed,
        "sent_at": d.sent_at,
        "expires_at": d.expires_at,
        "declined": asdict(d.declined) if d.declined else None,
        "created_at": d.created_at,
    }


def _signer(s: Signer) -> Json:
    """With the evidence of the signature, once there is one."""
    known = {"contact_id": s.contact_id, "employee_id": s.employee_id, "signed_at": s.signed_at}
    told = {"name": s.addressee.name if s.addressee else None, "url": s.link.url if s.link else None}
    return {**known, **told, "signature": asdict(s.signature) if s.signature else None}


def sign_document_row(row: Row) -> Json:
    return {name: row[name] for name in ("id", "deal_id", "status", "template_code", "title", "responsible_id", "created_at")}


def credit_row(row: Row) -> Json:
    """Unapplied money of one customer in one currency."""
    whom = {"contact_id": row["contact_id"], "company_id": row["company_id"]}
    return {"customer": whom, "credit": money(int(row["credit"]), row["currency"]), "payments": row["payments"]}
