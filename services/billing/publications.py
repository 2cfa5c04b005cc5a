"""What billing says: private events as contracts, and its CommandRejected (billing.md 8).

An event that nobody outside needs is not published. Each contract carries the event's origin, and the request it answers."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any, TypedDict, assert_never
from uuid import UUID

from services.billing.domain import credit_note as cn
from services.billing.domain import invoice as inv
from services.billing.domain import payment as pay
from services.billing.domain import payment_document as doc
from services.billing.domain import quote as quo
from services.billing.domain import sign_document as sig
from services.billing.domain.money import Line, amount_text, decimal_text
from services.billing.domain.origin import Asked, Origin
from services.billing.domain.public_link import Addressee, SecretLink
from shared.contracts import billing, common, deals
from shared.es.errors import Rejected
from shared.es.recorded import Recorded
from shared.messaging.contract import Contract
from shared.messaging.envelope import Envelope, legible

# ------------------------------------------------------------------------------------------------------------ parts


class Known(TypedDict):
    """What every fact of billing says."""

    origin: common.Origin
    request_id: str | None
    record_key: str


ANSWERS = (
    *(inv.InvoiceCreated, inv.InvoiceCancelled),
    *(doc.PaymentLinkCreated, doc.PaymentLinkHandedOut, doc.PaymentDocumentCancelled),
    *(pay.PaymentReceived, pay.PaymentRefunded),
    *(quo.QuoteCreated, quo.QuoteCancelled),
    *(sig.SignDocumentCreated, sig.SignDocumentCancelled),
)
"""The events that answer a command. Others of the same item do not repeat its request: nobody waits for them."""


def _known(event: Any, asked: Asked, record_key: str) -> Known:
    request_id = asked.request_id if isinstance(event, ANSWERS) else None
    return {"origin": origin_of(asked.origin), "request_id": request_id, "record_key": record_key}


def origin_of(origin: Origin) -> common.Origin:
    return common.Origin(**{name: getattr(origin, name) for name in Origin.__slots__})


def money(minor: int, currency: str) -> common.Money:
    return common.Money(amount=amount_text(minor, currency), currency=currency)


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{at.microsecond // 1000:03d}Z"


def _date(day: date | None) -> str | None:
    return day.isoformat() if day else None


# --------------------------------------------------------------------------------------------------------- invoices


class OfInvoice(Known):
    invoice_id: str
    deal_id: str | None


class OfDeal(TypedDict):
    """Whom an end of a paid epoch is told, and which rule made the invoice."""

    deal_responsible_id: str | None
    origin_rule_id: str | None


def of_invoice(i: inv.Invoice, recorded: Recorded[inv.InvoiceEvent]) -> Contract | None:
    e = recorded.event
    known: OfInvoice = {**_known(e, e.asked, i.record_key), "invoice_id": i.id, "deal_id": i.deal_id}
    match e:
        case inv.InvoiceCreated():
            return _invoice_created(i, e, known)
        case inv.InvoiceDraftChanged():
            return billing.InvoiceDraftChanged(**known, total=money(i.total, i.currency), changed=e.changed)
        case inv.InvoiceIssued():
            dates = (e.issue_date.isoformat(), _date(e.due_date))
            total = money(i.total, i.currency)
            return billing.InvoiceIssued(**known, number=e.number, total=total, issue_date=dates[0], due_date=dates[1])
        case inv.InvoiceLinked():
            return _invoice_linked(i, e, known)
        case inv.InvoicePartiallyPaid():
            return _partially_paid(i, e, known)
        case inv.InvoicePaid():
            return _paid(i, e, known)
        case inv.InvoiceReopened():
            return _reopened(i, known, e.epoch, e.reason, e.deal_responsible_id)
        case inv.AllocationTakenBack(closed=int() as closed):
            return _reopened(i, known, closed, "reversed", e.deal_responsible_id)
        case inv.InvoiceRefunded():
            refunded = money(i.refunded, i.currency)
            about: OfDeal = {"deal_responsible_id": e.deal_responsible_id, "origin_rule_id": i.origin_rule_id}
            return billing.InvoiceRefunded(**known, **about, epoch=e.epoch, refunded=refunded)
        case inv.InvoiceCancelled():
            return billing.InvoiceCancelled(**known, credit_note_id=e.credit_note_id)
        case _:
            return None


def _invoice_created(i: inv.Invoice, e: inv.InvoiceCreated, known: OfInvoice) -> Contract:
    return billing.InvoiceCreated(
        **known,
        title=e.title,
        total=money(i.total, i.currency),
        responsible_id=e.responsible_id,
        status="draft",
        other_open=e.other_open,
    )


def _invoice_linked(i: inv.Invoice, e: inv.InvoiceLinked, known: OfInvoice) -> Contract:
    return billing.InvoiceLinked(
        origin=known["origin"],
        request_id=known["request_id"],
        record_key=known["record_key"],
        invoice_id=i.id,
        deal_id=e.deal_id,
        status=i.status,
        epoch=i.epoch,
        total=money(i.total, i.currency),
        paid_at=_instant(i.paid_at) if i.paid_at and i.epoch_open else None,
    )


def _partially_paid(i: inv.Invoice, e: inv.InvoicePartiallyPaid, known: OfInvoice) -> Contract:
    return billing.InvoicePartiallyPaid(
        **known,
        number=i.number or "",
        total=money(i.total, i.currency),
        held_before=money(i.held - e.taken.amount, i.currency),
        held=money(i.held, i.currency),
        amount_due=money(i.amount_due, i.currency),
        payment_id=e.taken.payment_id,
        deal_responsible_id=e.deal_responsible_id,
        origin_rule_id=i.origin_rule_id,
    )


def _paid(i: inv.Invoice, e: inv.InvoicePaid, known: OfInvoice) -> Contract:
    return billing.InvoicePaid(
        **known,
        epoch=e.epoch,
        number=i.number or "",
        total=money(i.total, i.currency),
        held_before=money(i.held - (e.taken.amount if e.taken else 0), i.currency),
        paid_at=_instant(e.paid_at),
        payment_ids=i.payment_ids,
        title=i.title,
        responsible_id=i.responsible_id,
        deal_responsible_id=e.deal_responsible_id,
        origin_rule_id=i.origin_rule_id,
        other_unpaid=e.other_unpaid,
    )


def _reopened(i: inv.Invoice, known: OfInvoice, epoch: int, reason: str, responsible_id: str | None) -> Contract:
    due = money(i.amount_due, i.currency)
    about: OfDeal = {"deal_responsible_id": responsible_id, "origin_rule_id": i.origin_rule_id}
    return billing.InvoiceReopened(**known, **about, epoch=epoch, reason=reason, amount_due=due)


def of_credit_note(note: cn.CreditNote, recorded: Recorded[cn.CreditNoteIssued]) -> Contract | None:
    return billing.CreditNoteIssued(
        **_known(recorded.event, note.asked, note.record_key),
        credit_note_id=note.id,
        invoice_id=note.invoice_id,
        deal_id=note.deal_id,
        number=note.number,
        total=money(note.totals.gross, note.currency),
    )


# ------------------------------------------------------------------------------------------------ payment documents


class OfDocument(Known):
    payment_document_id: str
    deal_id: str | None
    invoice_id: str | None


def of_documents(documents: doc.PaymentDocuments, recorded: Recorded[doc.DocumentsEvent]) -> Contract | None:
    e = recorded.event
    d = documents.document(e.new.document_id if isinstance(e, doc.PaymentDocumentCreated) else e.document_id)
    if d is None:
        return None
    of = {"payment_document_id": d.id, "deal_id": documents.deal_id, "invoice_id": d.invoice_id}
    known: OfDocument = {**_known(e, e.asked, documents.record_key), **of}  # type: ignore[typeddict-item]  # three names of the type
    match e:
        case doc.PaymentDocumentCreated():
            return billing.PaymentDocumentCreated(**known, order_id=d.order_id, amount=money(d.amount, d.currency), status=d.status)
        case doc.PaymentLinkCreated() | doc.PaymentLinkHandedOut():
            return _link(d, e, known)
        case doc.PaymentLinkExpired():
            return billing.PaymentLinkExpired(**known)
        case doc.PaymentDocumentPaid():
            return billing.PaymentDocumentPaid(**known)
        case doc.PaymentDocumentCancelled():
            return billing.PaymentDocumentCancelled(**known)
        case _:
            return None


def _link(d: doc.Document, e: doc.PaymentLinkCreated | doc.PaymentLinkHandedOut, known: OfDocument) -> Contract | None:
    if d.link is None:
        return None
    expires = _instant(d.link.expires_at) if d.link.expires_at else None
    amount = money(d.amount, d.currency)
    if isinstance(e, doc.PaymentLinkCreated):
        return billing.PaymentLinkCreated(**known, url=d.link.url, amount=amount, expires_at=expires)
    return billing.PaymentLinkHandedOut(**known, url=d.link.url, amount=amount, expires_at=expires, reused=True)


# --------------------------------------------------------------------------------------------------------- payments


class OfPayment(Known):
    payment_id: str
    deal_id: str | None
    invoice_id: str | None


def of_payment(p: pay.Payment, recorded: Recorded[pay.PaymentEvent]) -> Contract | None:
    e = recorded.event
    of = {"payment_id": p.id, "deal_id": p.deal_id, "invoice_id": p.invoice_id}
    known: OfPayment = {**_known(e, e.asked, p.record_key), **of}  # type: ignore[typeddict-item]  # three names of the type
    match e:
        case pay.PaymentReceived():
            return _received(p, e, known)
        case pay.OverpaymentRecorded():
            return _overpaid(p, known, p.invoice_id, e.amount)
        case pay.AllocationReleased(reason="credited"):
            return _overpaid(p, known, e.invoice_id, e.amount)
        case pay.PaymentUnallocated():
            return _unallocated(known, money(e.amount, p.money.currency), e.reason, e.deal_responsible_id)
        case pay.AllocationReleased():
            released = money(e.amount, p.money.currency)
            return _unallocated({**known, "invoice_id": e.invoice_id}, released, e.reason, e.deal_responsible_id)
        case pay.PaymentContradicted():
            why = "amount_differs" if e.reported.currency == p.money.currency else "currency_differs"
            return _unallocated(known, money(e.reported.minor, e.reported.currency), why, None)
        case pay.PaymentRefunded() | pay.PaymentReversed():
            return _went_back(p, e, known)
        case pay.RefundRefused():
            return _provider_refused(p, e)
        case pay.RefundUnanswered():
            return _unanswered(p, e, known)
        case _:
            return None


def _received(p: pay.Payment, e: pay.PaymentReceived, known: OfPayment) -> Contract:
    return billing.PaymentReceived(
        **known,
        provider=e.provider,
        amount=money(e.money.minor, e.money.currency),
        payment_document_id=e.document_id,
        paid_at=_instant(e.paid_at),
    )


def _overpaid(p: pay.Payment, known: OfPayment, invoice_id: str | None, amount: int) -> Contract | None:
    if invoice_id is None:
        return None
    customer = common.Customer(contact_id=p.customer.contact_id, company_id=p.customer.company_id)
    surplus = money(amount, p.money.currency)
    common_part = _known_of(known)
    return billing.OverpaymentRecorded(
        **common_part, payment_id=p.id, amount=surplus, invoice_id=invoice_id, deal_id=p.deal_id, customer=customer
    )


def _known_of(known: Known) -> Known:
    return {"origin": known["origin"], "request_id": known["request_id"], "record_key": known["record_key"]}


def _unallocated(known: OfPayment, amount: common.Money, reason: str, responsible_id: str | None) -> Contract:
    return billing.PaymentUnallocated(**known, amount=amount, reason=reason, deal_responsible_id=responsible_id)


def _went_back(p: pay.Payment, e: pay.PaymentRefunded | pay.PaymentReversed, known: OfPayment) -> Contract:
    contract = billing.PaymentRefunded if isinstance(e, pay.PaymentRefunded) else billing.PaymentReversed
    back = money(e.amount, p.money.currency)
    return contract(**known, amount=back, epoch_closed=e.epoch_closed, deal_responsible_id=e.deal_responsible_id)


def _unanswered(p: pay.Payment, e: pay.RefundUnanswered, known: OfPayment) -> Contract:
    given = money(e.amount, p.money.currency)
    who = e.deal_responsible_id
    return billing.RefundUnanswered(**known, refund_id=e.refund_id, amount=given, detail=e.detail, deal_responsible_id=who)


def _provider_refused(p: pay.Payment, e: pay.RefundRefused) -> Contract | None:
    """The answer to RefundPayment; a person who asked over HTTP looks at the payment."""
    if e.asked.request_id is None:
        return None
    return billing.CommandRejected(
        request_id=e.asked.request_id,
        record_key=p.record_key,
        command_type=billing.RefundPayment.type,
        code="provider_refused",
        detail=e.detail,
        element_type="deal" if p.deal_id else None,
        element_id=p.deal_id,
        origin=origin_of(e.asked.origin),
    )


# -------------------------------------------------------------------------------------------- quotes and signatures


class OfQuote(Known):
    quote_id: str
    deal_id: str | None
    number: str | None
    title: str
    total: common.Money
    responsible_id: str | None
    valid_until: str | None


def of_quote(q: quo.Quote, recorded: Recorded[quo.QuoteEvent]) -> Contract | None:
    e = recorded.event
    known = _of_quote(q, e)
    match e:
        case quo.QuoteCreated():
            return billing.QuoteCreated(**known)
        case quo.QuoteSent():
            return billing.QuoteSent(**known, addressee=_addressee(e.addressee, e.link), mailed=e.mail)
        case quo.QuoteAccepted():
            return billing.QuoteAccepted(**known)
        case quo.QuoteDeclined():
            return billing.QuoteDeclined(**known, reason=e.answered.reason or None)
        case quo.QuoteExpired():
            return billing.QuoteExpired(**known)
        case quo.QuoteCancelled():
            return billing.QuoteCancelled(**known)
        case quo.QuoteConverted(target="deal"):
            return _deal_of_quote(q, e)
        case _:
            return None


def _of_quote(q: quo.Quote, e: quo.QuoteEvent) -> OfQuote:
    return {
        **_known(e, e.asked, q.record_key),
        "quote_id": q.id,
        "deal_id": q.deal_id,
        "number": q.number,
        "title": q.title,
        "total": money(q.totals.gross, q.currency),
        "responsible_id": q.responsible_id,
        "valid_until": _date(q.valid_until),
    }


def _addressee(whom: Addressee, link: SecretLink) -> billing.Addressee | None:
    """None where nobody is linked to whom it could be addressed."""
    if not (whom.contact_id or whom.company_id or whom.employee_id):
        return None
    ids = {"contact_id": whom.contact_id, "company_id": whom.company_id, "employee_id": whom.employee_id}
    return billing.Addressee(name=whom.name, language=whom.language, url=link.url, **ids)


def _deal_of_quote(q: quo.Quote, e: quo.QuoteConverted) -> Contract:
    """A quote becomes a deal: deals is asked for it, with what was offered (S45)."""
    fields = deals.PartialDealFields(
        title=q.title,
        responsible_id=q.responsible_id,
        contact_ids=(q.customer.contact_id,) if q.customer.contact_id else None,
        primary_contact_id=q.customer.contact_id,
        company_id=q.customer.company_id,
        currency=q.currency,
        amount_mode="from_lines",
        prices_include_tax=q.prices_include_tax,
        lines=tuple(_line(line, q.currency) for line in q.lines),
    )
    return deals.CreateDeal(
        request_id=e.made_id,
        origin=origin_of(e.asked.origin),
        deal_id=e.made_id,
        pipeline_id=e.pipeline_id or "",
        stage_id=e.stage_id,
        fields=fields,
        automation="on",
        quote_id=q.id,
    )


def _line(line: Line, currency: str) -> common.Line:
    return common.Line(
        line_id=line.line_id,
        product_code=line.product_code,
        name=line.name,
        quantity=decimal_text(line.quantity),
        unit_price=amount_text(line.unit_price, currency),
        discount_percent=decimal_text(line.discount_percent),
        tax_rate=decimal_text(line.tax_rate),
    )


class OfSignDocument(Known):
    sign_document_id: str
    deal_id: str
    title: str
    status: str
    signer: str | None
    responsible_id: str | None


def of_sign_document(d: sig.SignDocument, recorded: Recorded[sig.SignEvent]) -> Contract | None:
    e = recorded.event
    if isinstance(e, sig.SignatureGiven):
        return None
    known, at = _of_sign_document(d, e), _instant(e.at)
    match e:
        case sig.SignDocumentCreated():
            return billing.SignDocumentCreated(**known, at=at)
        case sig.SignDocumentSent():
            links = (_addressee(s.addressee, s.link) for s in e.signers if s.addressee and s.link)
            signers = tuple(link for link in links if link)
            return billing.SignDocumentSent(**known, at=at, signers=signers, expires_at=_instant(e.expires_at), mailed=e.mail)
        case sig.SignDocumentSigned():
            return billing.SignDocumentSigned(**known, at=at)
        case sig.SignDocumentDeclined():
            return billing.SignDocumentDeclined(**known, at=at, reason=e.reason or None)
        case sig.SignDocumentExpired():
            return billing.SignDocumentExpired(**known, at=at)
        case sig.SignDocumentCancelled():
            return billing.SignDocumentCancelled(**known, at=at)
        case _:
            assert_never(e)


def _of_sign_document(d: sig.SignDocument, e: sig.SignEvent) -> OfSignDocument:
    who = d.signer(e.signer_id) if isinstance(e, sig.SignDocumentSigned | sig.SignDocumentDeclined) else None
    return {
        **_known(e, e.asked, d.deal_id),
        "sign_document_id": d.id,
        "deal_id": d.deal_id,
        "title": d.title,
        "status": d.status,
        "signer": who.addressee.name if who and who.addressee else None,
        "responsible_id": d.responsible_id,
    }


# --------------------------------------------------------------------------------------------------------- refusals


def refused(envelope: Envelope, rejected: Rejected) -> Contract:
    """Billing's CommandRejected, keyed like the command. Says of the command what can be read of it."""
    said = legible(envelope.data)
    deal_id = _uuid(said.get("deal_id"))
    return billing.CommandRejected.of(
        envelope.key,
        envelope.type,
        rejected.code,
        rejected.detail,
        rejected.errors,
        request_id=_uuid(said.get("request_id")),
        element_type="deal" if deal_id else None,
        element_id=deal_id,
        origin=common.Origin.legible(said.get("origin")),
    )


def _uuid(value: Any) -> str | None:
    try:
        return str(UUID(value)) if isinstance(value, str) else None
    except ValueError:
        return None
