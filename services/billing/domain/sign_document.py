"""E-signature document of a deal (billing.md 2.6). Here: drafted and cancelled; what it says is filled in at creation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, assert_never

from services.billing.domain.customer import NOBODY, Customer
from services.billing.domain.origin import BY_ITSELF, Asked
from shared.es.aggregate import Aggregate
from shared.es.errors import NotFound, Rejected

Status = Literal["draft", "sent", "signed", "declined", "expired", "cancelled"]
OPEN: tuple[Status, ...] = ("draft", "sent")
TEMPLATES = frozenset({"standard"})


@dataclass(frozen=True, slots=True)
class Signer:
    contact_id: str
    signed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class SignDocument:
    id: str = ""
    deal_id: str = ""
    template_code: str = ""
    title: str = ""
    responsible_id: str | None = None
    customer: Customer = NOBODY
    signers: tuple[Signer, ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)
    status: Status = "draft"
    touched: bool = False
    asked: Asked = BY_ITSELF
    created_at: datetime | None = None

    @property
    def exists(self) -> bool:
        return self.id != ""


@dataclass(frozen=True, slots=True)
class CreateSignDocument:
    sign_document_id: str
    deal_id: str
    template_code: str
    title: str
    responsible_id: str | None
    customer: Customer
    fields: Mapping[str, Any]
    at: datetime
    asked: Asked


@dataclass(frozen=True, slots=True)
class CancelSignDocument:
    if_untouched: bool
    reason: str
    at: datetime
    asked: Asked


@dataclass(frozen=True, slots=True)
class SignDocumentCreated:
    sign_document_id: str
    deal_id: str
    template_code: str
    title: str
    responsible_id: str | None
    customer: Customer
    signers: tuple[Signer, ...]
    fields: Mapping[str, Any]
    at: datetime
    asked: Asked


@dataclass(frozen=True, slots=True)
class SignDocumentCancelled:
    reason: str
    at: datetime
    asked: Asked


SignCommand = CreateSignDocument | CancelSignDocument
SignEvent = SignDocumentCreated | SignDocumentCancelled


def decide(document: SignDocument, command: SignCommand) -> Sequence[SignEvent]:
    match command:
        case CreateSignDocument():
            return [] if document.exists else [_create(command)]
        case CancelSignDocument():
            return _cancel(document, command)
        case _:
            assert_never(command)


def _create(c: CreateSignDocument) -> SignEvent:
    if c.template_code not in TEMPLATES:
        raise Rejected("sign_template_unknown", f"There is no template {c.template_code} for documents to be signed.")
    if c.customer.contact_id is None:
        raise Rejected("no_signer", "Nobody can sign: the deal has no contact.")
    signers = (Signer(c.customer.contact_id),)
    known = (c.sign_document_id, c.deal_id, c.template_code, c.title, c.responsible_id, c.customer)
    return SignDocumentCreated(*known, signers, c.fields, c.at, c.asked)


def _cancel(document: SignDocument, c: CancelSignDocument) -> Sequence[SignEvent]:
    if not document.exists:
        raise NotFound("There is no such document.")
    if document.status not in OPEN:
        raise Rejected("document_over", f"The document is {document.status} already.")
    if c.if_untouched and (document.touched or document.status != "draft"):
        raise Rejected("has_been_touched", "Somebody worked on the document since it was made.")
    return [SignDocumentCancelled(c.reason, c.at, c.asked)]


def evolve(document: SignDocument, event: SignEvent) -> SignDocument:
    match event:
        case SignDocumentCreated():
            return SignDocument(
                id=event.sign_document_id,
                deal_id=event.deal_id,
                template_code=event.template_code,
                title=event.title,
                responsible_id=event.responsible_id,
                customer=event.customer,
                signers=event.signers,
                fields=event.fields,
                asked=event.asked,
                created_at=event.at,
            )
        case SignDocumentCancelled():
            return replace(document, status="cancelled")
        case _:
            assert_never(event)


SIGN_DOCUMENT: Aggregate[SignDocument, SignCommand, SignEvent] = Aggregate(
    "sign-document", SignDocument(), decide, evolve, (SignDocumentCreated, SignDocumentCancelled)
)
