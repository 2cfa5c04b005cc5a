"""Billing's streams in memory: items of addressed commands decided as a batch decides them, one after the other.

Enough of the kit's rules for tests without a database: order within the item, all or nothing, facts at their place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID, uuid5

from services.billing import replicas, views
from services.billing.desk import asks
from services.billing.domain.customer import CompanyCard, Customer, DetailsCard, PersonCard
from services.billing.domain.invoice import INVOICE, CreateInvoice, Invoice
from services.billing.domain.money import Line, Money
from services.billing.domain.origin import Asked, Origin
from services.billing.domain.payment import PAYMENT, Payment
from services.billing.domain.payment_document import DOCUMENTS, Document, Link, NewDocument, PaymentDocuments
from services.billing.handlers import HANDLERS
from services.billing.views import DocumentCard, InvoiceCard, PaymentCard
from shared.es.addressed import Addressed, Finder
from shared.es.aggregate import Aggregate, S
from shared.es.codec import DataclassCodec
from shared.es.recorded import Context, Recorded, Stream
from shared.messaging.contract import Contract
from shared.messaging.directory import TenantRow
from shared.messaging.handler import Effect, InNameOf

R = TypeVar("R")

TENANT = UUID("019b8d2b-8c00-722b-b3ad-87c148a0a20a")
NOW = datetime(2026, 3, 2, 8, 0, tzinfo=UTC)
HANDLER = {h.aggregate.name: h for h in HANDLERS}
CODEC = DataclassCodec(h.aggregate for h in HANDLERS)
PERSON = Asked(Origin("person"))
CUSTOMER = Customer("019b8d2b-8c00-7aaa-b3ad-000000000001", "019b8d2b-8c00-7aaa-b3ad-000000000002")
ANNA = "019b8d2b-8c00-7aaa-b3ad-000000000042"


def id_of(name: str) -> str:
    return str(uuid5(TENANT, name))


def line(price: str = "100.00", rate: str = "19", quantity: str = "1", name: str = "Roof tiles", digits: int = 2) -> Line:
    return Line(id_of(name), name, Decimal(quantity), int(Decimal(price).scaleb(digits)), Decimal(rate))


@dataclass
class Books:
    """`said` and `effects` are what left the service, in order."""

    states: dict[str, Any] = field(default_factory=dict)
    deals: dict[str, replicas.Deal] = field(default_factory=dict)
    people: dict[str, PersonCard] = field(default_factory=dict)
    firms: dict[str, CompanyCard] = field(default_factory=dict)
    legal: dict[str, list[DetailsCard]] = field(default_factory=dict)
    said: list[Contract] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    events: list[Any] = field(default_factory=list)
    versions: dict[str, int] = field(default_factory=dict)
    now: datetime = NOW

    # ------------------------------------------------------------------------------------------------------- facts

    @property
    def tenant(self) -> UUID:
        return TENANT

    def state(self, aggregate: Aggregate[S, Any, Any], id: str) -> S:
        found: S = self.states.get(aggregate.stream(id), aggregate.initial)
        return found

    def one(self, finder: Finder[R], key: str) -> R | None:
        return next(iter(self.all(finder, key)), None)

    def all(self, finder: Finder[R], key: str) -> Sequence[R]:
        found: Any = self._rows(finder, key)
        rows: Sequence[R] = [row for row in found if row is not None]
        return rows

    def _rows(self, finder: Any, key: str) -> Sequence[Any]:
        if finder is replicas.TENANTS:
            return [TenantRow("Acme", "de", "Europe/Berlin", False, False)]
        if finder is views.INVOICES_OF_DEAL:
            return [card for card in reversed(self.invoice_cards()) if card.deal_id == key and card.status != "cancelled"]
        if finder is replicas.LEGAL:
            return self.legal.get(key, [])
        known = {id(replicas.DEALS): self.deals, id(replicas.PEOPLE): self.people, id(replicas.FIRMS): self.firms}
        rows: dict[str, Any] = known[id(finder)]  # type: ignore[assignment]
        return [rows.get(key)]

    def invoice_cards(self) -> list[InvoiceCard]:
        return [self.invoice_card(state.id) for state in self.states.values() if isinstance(state, Invoice)]

    def invoice_card(self, id: str) -> InvoiceCard:
        invoice = self.state(INVOICE, id)
        return InvoiceCard(id, invoice.deal_id, invoice.customer, invoice.currency, invoice.series, invoice.status, invoice.amount_due)

    def payment_card(self, id: str) -> PaymentCard:
        p = self.state(PAYMENT, id)
        return PaymentCard(p.id, p.provider, p.money.currency, p.deal_id, p.invoices)

    def document_card(self, id: str) -> DocumentCard | None:
        for name, state in self.states.items():
            if isinstance(state, PaymentDocuments) and (d := state.document(id)):
                return DocumentCard(id, name.removeprefix("payment-documents-"), state.deal_id, d.invoice_id, d.status)
        return None

    def prepaid(self, deal_id: str | None) -> list[PaymentCard]:
        every = [s for s in self.states.values() if isinstance(s, Payment) and s.prepaid and s.deal_id == deal_id]
        return [self.payment_card(p.id) for p in sorted(every, key=lambda p: p.paid_at or NOW)]

    # ------------------------------------------------------------------------------------------------------ deciding

    def ask(self, item: Sequence[Addressed[Any]]) -> list[Contract]:
        """Decide one item. Raises what the kit would refuse or park with; then nothing has happened. Answers what it said."""
        before = (dict(self.states), dict(self.versions), len(self.said), len(self.effects), len(self.events))
        try:
            for a in item:
                self._decide(a)
        except Exception:
            self.states, self.versions = before[0], before[1]
            del self.said[before[2] :], self.effects[before[3] :], self.events[before[4] :]
            raise
        return self.said[before[2] :]

    def _decide(self, a: Addressed[Any]) -> None:
        allowed = {a.aggregate.stream(a.id), *(aggregate.stream(id) for aggregate, id in a.reads)}
        command = a.command(_Guarded(self, allowed)) if callable(a.command) else a.command
        if command is None:
            return
        for event in a.aggregate.decide(self.state(a.aggregate, a.id), command):
            self._record(a, event)

    def _record(self, a: Addressed[Any], event: Any) -> None:
        name = a.aggregate.stream(a.id)
        state = self.states[name] = a.aggregate.evolve(self.state(a.aggregate, a.id), event)
        version = self.versions[name] = self.versions.get(name, 0) + 1
        context = Context(TENANT, "correlation", "causation")
        recorded = Recorded(uuid5(TENANT, f"{name}/{version}"), Stream(TENANT, name), version, event, context, self.now, a.aggregate.name)
        self.events.append(event)
        assert CODEC.decode(a.aggregate.name, *CODEC.encode(event)) == event, "an event reads back as it was written"
        handler = HANDLER[a.aggregate.name]
        if (said := handler.publish(state, recorded)) is not None:
            self.said.append(said.contract if isinstance(said, InNameOf) else said)
        if isinstance(effect := handler.effect(state, recorded), Effect):
            self.effects.append(effect)
        for view in handler.views:
            _row_fits(view, state, recorded)

    # --------------------------------------------------------------------------------------------------- in one word

    def invoice(self, name: str) -> Invoice:
        return self.state(INVOICE, id_of(name))

    def payment(self, name: str) -> Payment:
        return self.state(PAYMENT, asks.payment_id_of(TENANT, "fake", name))

    def documents(self, deal: str) -> PaymentDocuments:
        return self.state(DOCUMENTS, id_of(deal))

    def document(self, deal: str, name: str) -> Document:
        found = self.documents(deal).document(id_of(name))
        assert found is not None
        return found

    def count(self, contract: type[Contract]) -> int:
        return sum(isinstance(said, contract) for said in self.said)

    def last(self, contract: type[R]) -> R:
        return next(said for said in reversed(self.said) if isinstance(said, contract))

    def draft(self, name: str, *lines: Line, deal: str | None = "D", issue: bool = False, currency: str = "EUR", **more: Any) -> Invoice:
        deal_id = id_of(deal) if deal else None
        asked = more.pop("asked", PERSON)
        command = CreateInvoice(
            invoice_id=id_of(name),
            deal_id=deal_id,
            title="Roof 2026",
            responsible_id=ANNA,
            customer=more.pop("customer", CUSTOMER),
            currency=currency,
            prices_include_tax=more.pop("prices_include_tax", True),
            lines=lines,
            amount=more.pop("amount", 0),
            series="invoice",
            at=self.now,
            asked=asked,
            **more,
        )
        papers = asks.Papers(TENANT, command.invoice_id, deal_id, command.customer, "invoice", tuple(p.id for p in self.prepaid(deal_id)))
        self.ask(asks.create_invoice(command, issue=issue, papers=papers))
        return self.invoice(name)

    def issue(self, name: str) -> Invoice:
        card = self.invoice_card(id_of(name))
        self.ask(asks.issue_invoice(asks.papers_of(TENANT, card, self.prepaid(card.deal_id)), PERSON))
        return self.invoice(name)

    def pay(
        self, payment: str, amount: str, *, to: str | None = "I", on: str | None = None, currency: str = "EUR", provider: str = "fake"
    ) -> list[Contract]:
        """A payment arrives, for invoice `to` or on document `on`."""
        document = self.document_card(id_of(on)) if on else None
        invoice_id = id_of(to) if to and not on else document.invoice_id if document else None
        known = invoice_id and self.state(INVOICE, invoice_id).exists
        card = self.invoice_card(invoice_id) if invoice_id and known else None
        money = Money(int(Decimal(amount).scaleb(2)), currency)
        incoming = asks.Incoming(
            TENANT, provider, payment, money, self.now, None, id_of(to) if to and not on else None, id_of(on) if on else None
        )
        prepaid = tuple(self.prepaid(card.deal_id)) if card else ()
        return self.ask(asks.pay(incoming, asks.Target(card, document, prepaid)))

    def refund(self, payment: str, amount: str, *, again: bool = False, name: str = "r1") -> list[Contract]:
        """A refund that the provider carries out at once."""
        card = self.payment_card(self.payment(payment).id)
        refund_id, money = id_of(name), Money(int(Decimal(amount).scaleb(2)), card.currency)
        said = self.ask(asks.refund(card, refund_id, money, again, "goodwill", PERSON))
        if card.provider == "manual":
            return said
        back = asks.MoneyBack(card.id, refund_id, card.deal_id, card.invoices)
        return said + self.ask(asks.settle_refund(back, money.minor, again, f"re_{name}"))

    def reverse(self, payment: str, name: str = "v1") -> list[Contract]:
        card = self.payment_card(self.payment(payment).id)
        back = asks.MoneyBack(card.id, id_of(name), card.deal_id, card.invoices)
        return self.ask(asks.reverse(back, "charge-back"))

    def cancel(self, name: str, *, if_untouched: bool = False) -> list[Contract]:
        card = self.invoice_card(id_of(name))
        payments = tuple(dict.fromkeys(h.payment_id for h in self.invoice(name).allocations))
        crediting = asks.Crediting(TENANT, id_of(f"{name}/cancelled"), card, payments, "mistake", PERSON)
        return self.ask(asks.cancel_invoice(crediting, if_untouched=if_untouched))

    def credit(self, name: str, amount: str, note: str = "c1") -> list[Contract]:
        card = self.invoice_card(id_of(name))
        payments = tuple(dict.fromkeys(h.payment_id for h in self.invoice(name).allocations))
        crediting = asks.Crediting(TENANT, id_of(note), card, payments, "damaged", PERSON)
        return self.ask(asks.credit_invoice(crediting, (), int(Decimal(amount).scaleb(2))))

    def link(self, name: str, *, deal: str | None = "D", invoice: str | None = None, **more: Any) -> list[Contract]:
        """A payment link is asked for, by a rule unless `additional`."""
        lines = more.pop("lines", (line(),))
        amount = more.pop("amount", sum(each.total for each in lines))
        own = NewDocument(id_of(name), "Roof 2026", more.pop("currency", "EUR"), amount, True, lines)
        link = Link(f"hash of {name}", f"https://pay.test/pay/{name}", more.pop("expires_at", None))
        deal_id, invoice_id = id_of(deal) if deal else None, id_of(invoice) if invoice else None
        asked = more.pop("asked", Asked(Origin("rule", id_of("rule")), id_of(name)))
        wish = asks.Wish(TENANT, deal_id, invoice_id, own, link, asked, **more)
        cards = [c for c in reversed(self.invoice_cards()) if c.id == invoice_id or (deal_id and c.deal_id == deal_id)]
        covered = asks.covered_by(wish, cards)
        return self.ask(asks.create_link(wish, covered, self.prepaid(deal_id)))


class _Guarded:
    """Facts that show only the streams an addressed command names: what the kit would not load is not to be had here either."""

    def __init__(self, books: Books, allowed: set[str]) -> None:
        self._books, self._allowed = books, allowed
        self.now, self.tenant = books.now, TENANT
        self.one, self.all = books.one, books.all

    def state(self, aggregate: Aggregate[S, Any, Any], id: str) -> S:
        assert aggregate.stream(id) in self._allowed, f"{aggregate.stream(id)} is not among the reads"
        return self._books.state(aggregate, id)

    def counted(self, name: str) -> int:
        return 0


def _row_fits(view: Any, state: Any, recorded: Recorded[Any]) -> None:
    """Every row has exactly the view's own columns."""
    rows = view.rows(state, recorded) if hasattr(view, "rows") else [view.row(state, recorded)]
    own = set(view.table.columns.keys()) - {"tenant", "id", "version", "n"}
    for row in rows:
        assert set(row) == own, f"{view.table.name}: {set(row) ^ own}"


def acme() -> Books:
    """The fixture of scenarios.md section 1, as far as billing knows it: deal D of Petra Muster at Muster GmbH."""
    books = Books()
    contact, company = CUSTOMER.contact_id or "", CUSTOMER.company_id or ""
    books.people[contact] = PersonCard(contact, "Petra", "Muster", "petra@example.org")
    books.firms[company] = CompanyCard(company, "Muster GmbH", "")
    books.legal[contact] = [DetailsCard(True, {"vat_id": "DE123456789"}, {"business": {"street": "Altweg", "house": "1", "city": "Ulm"}})]
    for name in ("D", "E"):
        books.deals[id_of(name)] = replicas.Deal(f"{name} 2026", ANNA, contact, company, "EUR", "100.00", True, [], id_of("sales"), False)
    return books


def with_invoice(amount: str = "100.00") -> Books:
    """The "Given" of the twelve payment orders: invoice I of 100.00 EUR, issued, linked to D."""
    books = acme()
    books.draft("I", line(amount), issue=True)
    assert books.invoice("I").status == "issued"
    return books
