"""E-signature document of a deal: made from a template, sent to its signers, signed by each on a page of his own (billing.md 2.6).

What it is about is filled in at creation. Sending fixes the file: its text and SHA-256 never change again, each signer gets an
unguessable link, and what is kept of a signature is the name that was typed, when, from where, and of which file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal, assert_never

from services.billing.domain.customer import NOBODY, Customer
from services.billing.domain.origin import BY_ITSELF, Asked
from services.billing.domain.public_link import Addressee, Evidence, SecretLink
from services.billing.domain.sign_templates import TEMPLATES, Wares
from shared.es.aggregate import Aggregate
from shared.es.errors import NotFound, Rejected

Status = Literal["draft", "sent", "signed", "declined", "expired", "cancelled"]
OPEN: tuple[Status, ...] = ("draft", "sent")
MOST_SIGNERS = 20


@dataclass(frozen=True, slots=True)
class Signature:
    """`evidence.name` is what was typed; `file_sha256` what the page showed, equal to the document's."""

    at: datetime
    evidence: Evidence
    file_sha256: str


@dataclass(frozen=True, slots=True)
class Signer:
    """A contact or an employee. `addressee` and `link` since the document was sent."""

    contact_id: str | None = None
    signed_at: datetime | None = None
    employee_id: str | None = None
    addressee: Addressee | None = None
    link: SecretLink | None = None
    signature: Signature | None = None

    @property
    def id(self) -> str:
        return self.contact_id or self.employee_id or ""


@dataclass(frozen=True, slots=True)
class Declined:
    signer_id: str
    at: datetime
    reason: str


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
    wares: Wares | None = None
    """None: its deal was not known yet when it was made; then it is what the deal sells when it is sent."""
    status: Status = "draft"
    touched: bool = False
    asked: Asked = BY_ITSELF
    created_at: datetime | None = None
    language: str = "en"
    file: str | None = None
    file_sha256: str | None = None
    mailed: bool = False
    sent_at: datetime | None = None
    expires_at: datetime | None = None
    declined: Declined | None = None
    ended_at: datetime | None = None

    @property
    def exists(self) -> bool:
        return self.id != ""

    def signer(self, id: str) -> Signer | None:
        return next((s for s in self.signers if s.id == id), None)

    def is_late(self, at: datetime) -> bool:
        """Its date has passed, whether the timer has said so or not."""
        return self.expires_at is not None and at >= self.expires_at


# --------------------------------------------------------------------------------------------------------- commands


@dataclass(frozen=True, slots=True)
class CreateSignDocument:
    """Without `signers` the customer's contact signs."""

    sign_document_id: str
    deal_id: str
    template_code: str
    title: str
    responsible_id: str | None
    customer: Customer
    fields: Mapping[str, Any]
    at: datetime
    asked: Asked
    signers: tuple[Signer, ...] = ()
    wares: Wares | None = None


@dataclass(frozen=True, slots=True)
class SendSignDocument:
    """`sendings`: an addressee and a link for each signer, in their order. `mail`: they get the links by e-mail.

    `file_sha256` is the hex SHA-256 of `file` in UTF-8."""

    file: str
    file_sha256: str
    language: str
    sendings: tuple[tuple[Addressee, SecretLink], ...]
    at: datetime
    expires_at: datetime
    mail: bool
    asked: Asked


@dataclass(frozen=True, slots=True)
class Sign:
    signer_id: str
    signature: Signature
    asked: Asked


@dataclass(frozen=True, slots=True)
class Decline:
    signer_id: str
    at: datetime
    reason: str
    asked: Asked


@dataclass(frozen=True, slots=True)
class ExpireSignDocument:
    at: datetime
    asked: Asked


@dataclass(frozen=True, slots=True)
class CancelSignDocument:
    if_untouched: bool
    reason: str
    at: datetime
    asked: Asked


# ----------------------------------------------------------------------------------------------------------- events


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
    wares: Wares | None = None


@dataclass(frozen=True, slots=True)
class SignDocumentSent:
    file: str
    file_sha256: str
    language: str
    signers: tuple[Signer, ...]
    at: datetime
    expires_at: datetime
    mail: bool
    asked: Asked


@dataclass(frozen=True, slots=True)
class SignatureGiven:
    signer_id: str
    signature: Signature
    asked: Asked


@dataclass(frozen=True, slots=True)
class SignDocumentSigned:
    """By the last of its signers, who is named."""

    signer_id: str
    at: datetime
    asked: Asked


@dataclass(frozen=True, slots=True)
class SignDocumentDeclined:
    signer_id: str
    reason: str
    at: datetime
    asked: Asked


@dataclass(frozen=True, slots=True)
class SignDocumentExpired:
    at: datetime
    asked: Asked


@dataclass(frozen=True, slots=True)
class SignDocumentCancelled:
    reason: str
    at: datetime
    asked: Asked


SignCommand = CreateSignDocument | SendSignDocument | Sign | Decline | ExpireSignDocument | CancelSignDocument
SignEvent = (
    SignDocumentCreated
    | SignDocumentSent
    | SignatureGiven
    | SignDocumentSigned
    | SignDocumentDeclined
    | SignDocumentExpired
    | SignDocumentCancelled
)

# ----------------------------------------------------------------------------------------------------------- decide


def decide(document: SignDocument, command: SignCommand) -> Sequence[SignEvent]:
    if not document.exists and not isinstance(command, CreateSignDocument):
        raise NotFound("There is no such document.")
    match command:
        case CreateSignDocument():
            return [] if document.exists else [_create(command)]
        case SendSignDocument():
            return [_send(document, command)]
        case Sign():
            return _sign(document, command)
        case Decline():
            _must_be_signable(document, command.signer_id, command.at)
            return [SignDocumentDeclined(command.signer_id, command.reason, command.at, command.asked)]
        case ExpireSignDocument():
            return [SignDocumentExpired(command.at, command.asked)] if document.status == "sent" else []
        case CancelSignDocument():
            return _cancel(document, command)
        case _:
            assert_never(command)


def _create(c: CreateSignDocument) -> SignEvent:
    if c.template_code not in TEMPLATES:
        there_are = ", ".join(sorted(TEMPLATES))
        raise Rejected(
            "sign_template_unknown", f"There is no template {c.template_code} for documents to be signed; there are {there_are}."
        )
    signers = c.signers or ((Signer(c.customer.contact_id),) if c.customer.contact_id else ())
    if not signers:
        raise Rejected("no_signer", "Nobody can sign: the deal has no contact.")
    if len(signers) > MOST_SIGNERS or len({s.id for s in signers}) < len(signers):
        raise Rejected("too_many_signers", f"A document has at most {MOST_SIGNERS} signers, each of them once.")
    known = (c.sign_document_id, c.deal_id, c.template_code, c.title, c.responsible_id, c.customer)
    return SignDocumentCreated(*known, signers, c.fields, c.at, c.asked, c.wares)


def _send(document: SignDocument, c: SendSignDocument) -> SignEvent:
    if document.status == "sent":
        raise Rejected("document_not_draft", "The document was sent and never changes; cancel it and make another.")
    if document.status != "draft":
        raise Rejected("document_over", f"The document is {document.status}.")
    unreachable = [addressee.name for addressee, _ in c.sendings if not addressee.email]
    if c.mail and unreachable:
        raise Rejected("recipient_missing", f"There is no e-mail address of {', '.join(unreachable)}.")
    together = zip(document.signers, c.sendings, strict=True)
    signers = tuple(replace(signer, addressee=addressee, link=link) for signer, (addressee, link) in together)
    return SignDocumentSent(c.file, c.file_sha256, c.language, signers, c.at, c.expires_at, c.mail, c.asked)


def _sign(document: SignDocument, c: Sign) -> Sequence[SignEvent]:
    """Signed again by the same signer: nothing happens."""
    signer = document.signer(c.signer_id)
    if signer and signer.signature and document.status in ("sent", "signed"):
        return []
    _must_be_signable(document, c.signer_id, c.signature.at)
    if c.signature.file_sha256 != document.file_sha256:
        raise Rejected("file_differs", "What was shown is not the document that was sent.")
    if not c.signature.evidence.name:
        raise Rejected("name_missing", "Whoever signs types his or her name.", status=422)
    given: list[SignEvent] = [SignatureGiven(c.signer_id, c.signature, c.asked)]
    missing = [s.id for s in document.signers if s.signature is None and s.id != c.signer_id]
    return given if missing else [*given, SignDocumentSigned(c.signer_id, c.signature.at, c.asked)]


def _must_be_signable(document: SignDocument, signer_id: str, at: datetime) -> None:
    if document.status == "draft":
        raise Rejected("document_not_sent", "The document has not been sent yet.")
    if document.status != "sent":
        raise Rejected("document_over", f"The document is {document.status} already.")
    if document.is_late(at):
        raise Rejected("document_over", "The time to sign the document is over.")
    signer = document.signer(signer_id)
    if signer is None:
        raise NotFound("There is no such signer.")
    if signer.signature:
        raise Rejected("signed_already", "Who has signed cannot take it back here.")


def _cancel(document: SignDocument, c: CancelSignDocument) -> Sequence[SignEvent]:
    if document.status not in OPEN:
        raise Rejected("document_over", f"The document is {document.status} already.")
    if c.if_untouched and (document.touched or document.status != "draft"):
        raise Rejected("has_been_touched", "Somebody worked on the document since it was made.")
    return [SignDocumentCancelled(c.reason, c.at, c.asked)]


# ----------------------------------------------------------------------------------------------------------- evolve


def evolve(document: SignDocument, event: SignEvent) -> SignDocument:
    match event:
        case SignDocumentCreated():
            return _created(event)
        case SignDocumentSent():
            return _sent(document, event)
        case SignatureGiven():
            return _given(document, event)
        case SignDocumentSigned():
            return replace(document, status="signed", ended_at=event.at)
        case SignDocumentDeclined():
            declined = Declined(event.signer_id, event.at, event.reason)
            return replace(document, status="declined", declined=declined, ended_at=event.at)
        case SignDocumentExpired():
            return replace(document, status="expired", ended_at=event.at)
        case SignDocumentCancelled():
            return replace(document, status="cancelled", ended_at=event.at)
        case _:
            assert_never(event)


def _created(event: SignDocumentCreated) -> SignDocument:
    return SignDocument(
        id=event.sign_document_id,
        deal_id=event.deal_id,
        template_code=event.template_code,
        title=event.title,
        responsible_id=event.responsible_id,
        customer=event.customer,
        signers=event.signers,
        fields=event.fields,
        wares=event.wares,
        asked=event.asked,
        created_at=event.at,
    )


def _sent(document: SignDocument, e: SignDocumentSent) -> SignDocument:
    return replace(
        document,
        status="sent",
        touched=True,
        signers=e.signers,
        file=e.file,
        file_sha256=e.file_sha256,
        language=e.language,
        mailed=e.mail,
        sent_at=e.at,
        expires_at=e.expires_at,
    )


def _given(document: SignDocument, e: SignatureGiven) -> SignDocument:
    def signed(s: Signer) -> Signer:
        return replace(s, signed_at=e.signature.at, signature=e.signature) if s.id == e.signer_id else s

    return replace(document, signers=tuple(signed(s) for s in document.signers))


SIGN_DOCUMENT: Aggregate[SignDocument, SignCommand, SignEvent] = Aggregate(
    "sign-document",
    SignDocument(),
    decide,
    evolve,
    (
        SignDocumentCreated,
        SignDocumentSent,
        SignatureGiven,
        SignDocumentSigned,
        SignDocumentDeclined,
        SignDocumentExpired,
        SignDocumentCancelled,
    ),
)
