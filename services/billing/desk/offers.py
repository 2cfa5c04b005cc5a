"""Quotes and documents to be signed as addressed commands: what it takes to send one, to convert one, and to end one on its day."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, time, timedelta
from hashlib import sha256
from uuid import UUID
from zoneinfo import ZoneInfo

from services.billing import replicas
from services.billing.desk import asks
from services.billing.desk.asks import Finds, Item
from services.billing.domain.customer import Buyer, Customer, PersonCard
from services.billing.domain.invoice import CreateInvoice
from services.billing.domain.money import invalid
from services.billing.domain.origin import Asked
from services.billing.domain.public_link import Addressee, SecretLink
from services.billing.domain.quote import QUOTE, ConvertQuote, Quote, SendQuote
from services.billing.domain.series import INVOICES, QUOTES, SERIES, DrawNumber
from services.billing.domain.sign_document import SIGN_DOCUMENT, CreateSignDocument, SendSignDocument, SignDocument, Signer
from services.billing.domain.sign_templates import Filling, Wares, text_of
from services.billing.settings import settings
from shared.es.addressed import Addressed, Facts
from shared.es.errors import Fault, NotYet
from shared.runtime import clock

LANGUAGES = ("de", "en")


def new_secret_link(room: str) -> SecretLink:
    """An unguessable address in `room` of the public pages."""
    token = clock.new_token(128)
    return SecretLink(asks.hash_of(token), f"{settings().base}/{room}/{token}")


def language_of(*wishes: str | None) -> str:
    """The first wish that is a language of ours; English otherwise."""
    ours = (wish.partition("-")[0].lower() for wish in wishes if wish)
    return next((language for language in ours if language in LANGUAGES), "en")


def _tenant(seen: Facts) -> tuple[str, str, ZoneInfo]:
    """Name, language and zone, as far as the tenant is known here."""
    found = seen.one(replicas.TENANTS, str(seen.tenant))
    return (found.name, found.language, ZoneInfo(found.zone)) if found else ("", "en", ZoneInfo("UTC"))


def end_of(day: date, zone: ZoneInfo) -> datetime:
    """The first moment after the day."""
    return datetime.combine(day + timedelta(days=1), time(), zone).astimezone(ZoneInfo("UTC"))


# ----------------------------------------------------------------------------------------------------------- whom


@dataclass(frozen=True, slots=True)
class Whom:
    """Who must be looked up to write to somebody about a deal: the customer, employees who sign, the pipeline's language."""

    tenant: UUID
    customer: Customer
    deal_id: str | None = None
    pipeline_id: str | None = None
    signers: tuple[Signer, ...] = ()

    @property
    def finds(self) -> Finds:
        papers = asks.Papers(self.tenant, "", None, self.customer, "")
        deal: Finds = ((replicas.DEALS, self.deal_id),) if self.deal_id else ()
        pipeline: Finds = ((replicas.PIPELINES, self.pipeline_id),) if self.pipeline_id else ()
        contacts: Finds = tuple((replicas.PEOPLE, s.contact_id) for s in self.signers if s.contact_id)
        employees: Finds = tuple((replicas.EMPLOYEES, s.employee_id) for s in self.signers if s.employee_id)
        return tuple(dict.fromkeys((*papers.finds, *deal, *pipeline, *contacts, *employees)))

    def language(self, seen: Facts) -> str:
        """Of what is written about the deal: its pipeline's, else the company's own."""
        pipeline = seen.one(replicas.PIPELINES, self.pipeline_id) if self.pipeline_id else None
        return language_of(pipeline.language if pipeline else None, _tenant(seen)[1])


def customer_to_write_to(seen: Facts, whom: Whom) -> Addressee:
    """The contact, or the company if only that has an address. Nobody's name is '' where nobody is linked."""
    c, language = whom.customer, whom.language(seen)
    person = seen.one(replicas.PEOPLE, c.contact_id) if c.contact_id else None
    firm = seen.one(replicas.FIRMS, c.company_id) if c.company_id else None
    if firm and (person is None or (firm.email and not person.email)):
        return Addressee(firm.name, firm.email, language, company_id=firm.id)
    return _contact(person, language) if person else Addressee("", "", language)


def _contact(person: PersonCard, language: str) -> Addressee:
    return Addressee(person.name, person.email, language_of(person.language, language), contact_id=person.id)


def signer_to_write_to(seen: Facts, signer: Signer, language: str) -> Addressee:
    """Raises NotYet for a contact or employee that billing has not heard of."""
    if signer.contact_id:
        person = seen.one(replicas.PEOPLE, signer.contact_id)
        if person is None:
            raise NotYet(f"contact {signer.contact_id} is not known to billing yet")
        return _contact(person, language)
    employee = seen.one(replicas.EMPLOYEES, signer.employee_id or "")
    if employee is None:
        raise NotYet(f"employee {signer.employee_id} is not known to billing yet")
    return Addressee(employee.name, employee.email, language, employee_id=signer.employee_id)


# ---------------------------------------------------------------------------------------------------------- quotes


def send_quote(id: str, whom: Whom, link: SecretLink, *, mail: bool, asked: Asked) -> Item:
    """The next number, the buyer as known now, a page of its own (D46, D69).

    Refused: `quote_not_draft`, `quote_over`, `buyer_incomplete`, `recipient_missing`, `validity_over`."""

    def draw(seen: Facts) -> DrawNumber | None:
        return DrawNumber(QUOTES, id, asks.today(seen)) if seen.state(QUOTE, id).status == "draft" else None

    def send(seen: Facts) -> SendQuote:
        quote = seen.state(QUOTE, id)
        if quote.exists and quote.customer != whom.customer:
            raise NotYet("the quote was changed a moment ago")
        until = end_of(quote.valid_until, _tenant(seen)[2]) if quote.valid_until else None
        buyer = asks.buyer_seen(seen, whom.customer)
        return SendQuote(seen.state(SERIES, QUOTES).last, seen.now, buyer, customer_to_write_to(seen, whom), link, until, mail, asked)

    return (
        Addressed(QUOTE, id, lambda seen: None),
        Addressed(SERIES, QUOTES, draw, ((QUOTE, id),), None, whom.finds),
        Addressed(QUOTE, id, send, ((SERIES, QUOTES),), None, whom.finds),
    )


def quote_to_deal(id: str, deal_id: str, pipeline_id: str, stage_id: str | None, asked: Asked) -> Item:
    """Deals is asked to make it; the quote knows its id, the deal knows the quote's. Refused: `already_converted`, `already_linked`."""
    return (Addressed(QUOTE, id, lambda seen: ConvertQuote("deal", deal_id, seen.now, asked, pipeline_id, stage_id)),)


def quote_to_invoice(quote: Quote, invoice_id: str, tenant: UUID, asked: Asked) -> Item:
    """A draft invoice of what was offered, linked to the quote's deal. Refused: `already_converted`, `quote_over`, `quote_not_sent`."""
    deal_id = quote.deal_id or quote.made.get("deal")
    command = CreateInvoice(
        invoice_id=invoice_id,
        deal_id=deal_id,
        title=quote.title,
        responsible_id=quote.responsible_id,
        customer=quote.customer,
        currency=quote.currency,
        prices_include_tax=quote.prices_include_tax,
        lines=quote.lines,
        amount=0,
        series=INVOICES,
        at=clock.now(),
        asked=asked,
        quote_id=quote.id,
    )
    papers = asks.Papers(tenant, invoice_id, deal_id, quote.customer, INVOICES)
    convert = Addressed(QUOTE, quote.id, lambda seen: ConvertQuote("invoice", invoice_id, seen.now, asked))
    return (convert, *asks.create_invoice(command, issue=False, papers=papers))


# --------------------------------------------------------------------------------------------- documents to be signed


def create_sign_document(command: CreateSignDocument) -> Item:
    """What the deal sells is taken down as it is now (S44); of a deal that billing has not heard of yet, when it is sent."""

    def create(seen: Facts) -> CreateSignDocument:
        return replace(command, at=seen.now, wares=_wares(seen, command.deal_id))

    return (Addressed(SIGN_DOCUMENT, command.sign_document_id, create, (), None, ((replicas.DEALS, command.deal_id),)),)


def _wares(seen: Facts, deal_id: str) -> Wares | None:
    deal = seen.one(replicas.DEALS, deal_id)
    return replicas.wares_of(deal) if deal else None


@dataclass(frozen=True, slots=True)
class Sending:
    """How a document goes to its signers. `links`: one for each, in their order."""

    links: tuple[SecretLink, ...]
    days: int
    mail: bool


def new_sending(signers: Sequence[Signer], days: int | None, *, mail: bool) -> Sending:
    """Raises Rejected (`validation_failed`) outside 1 to 3,650 days."""
    good_for = settings().link_days if days is None else days
    if not 1 <= good_for <= asks.LONGEST:
        raise invalid([Fault("#/expires_in_days", "out_of_range", f"A link is good for 1 to {asks.LONGEST} days.")])
    return Sending(tuple(new_secret_link("sign") for _ in signers), good_for, mail)


def send_sign_document(id: str, whom: Whom, sending: Sending, asked: Asked) -> Item:
    """The file is fixed, with the customer's details as known now (D46), and every signer gets a link.

    Refused: `document_not_draft`, `document_over`, `recipient_missing`."""

    def send(seen: Facts) -> SendSignDocument:
        document, language = seen.state(SIGN_DOCUMENT, id), whom.language(seen)
        addressees = [signer_to_write_to(seen, signer, language) for signer in whom.signers]
        seller, buyer = _tenant(seen)[0], asks.buyer_seen(seen, whom.customer)
        known = replace(document, wares=document.wares or _wares(seen, document.deal_id))
        text = filled(known, seller, buyer, [a.name for a in addressees], language)
        together = tuple(zip(addressees, sending.links, strict=True))
        until = seen.now + timedelta(days=sending.days)
        return SendSignDocument(text, sha256(text.encode()).hexdigest(), language, together, seen.now, until, sending.mail, asked)

    return (Addressed(SIGN_DOCUMENT, id, send, (), None, whom.finds),)


def filled(document: SignDocument, seller: str, buyer: Buyer, names: Sequence[str], language: str, *, draft: bool = False) -> str:
    """The document's text with everything known now. `names` of the signers."""
    filling = Filling(document.title, seller, buyer, document.wares or Wares(), document.fields, names)
    return text_of(document.template_code, filling, language, draft=draft)


def whom_of(tenant: UUID, document: SignDocument, pipeline_id: str | None) -> Whom:
    return Whom(tenant, document.customer, document.deal_id, pipeline_id, document.signers)
