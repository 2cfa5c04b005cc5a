"""A quote: drafted, changed, sent, answered, ended, converted (billing.md 2.1)."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from services.billing.domain.customer import Buyer, Customer
from services.billing.domain.origin import BY_ITSELF, Asked, Origin
from services.billing.domain.public_link import Addressee, Evidence, SecretLink
from services.billing.domain.quote import (
    QUOTE,
    AcceptQuote,
    Answered,
    CancelQuote,
    ChangeQuote,
    ConvertQuote,
    CreateQuote,
    DeclineQuote,
    ExpireQuote,
    Quote,
    QuoteAccepted,
    QuoteCancelled,
    QuoteCommand,
    QuoteConversionUndone,
    QuoteConverted,
    QuoteDeclined,
    QuoteEvent,
    QuoteExpired,
    QuoteSent,
    SendQuote,
    UndoConversion,
)
from shared.testing.given import Given, given
from tests.unit.billing.books import ANNA, CUSTOMER, NOW, PERSON, id_of, line

RULE = Asked(Origin("rule", id_of("rule")), id_of("Q"))
QUOTING = CreateQuote(id_of("Q"), id_of("D"), "Roof 2026", ANNA, CUSTOMER, "EUR", True, (line(),), 0, date(2026, 4, 1), NOW, RULE)
PETRA = Addressee("Petra Muster", "petra@example.org", "de", contact_id=CUSTOMER.contact_id)
LINK = SecretLink("hash", "https://pay.test/quote/token")
END = NOW + timedelta(days=30)
SENDING = SendQuote("AN-2026-0001", NOW, Buyer("Muster GmbH"), PETRA, LINK, END, True, PERSON)
YES = Answered(NOW, Evidence("Petra Muster", "198.51.100.7", "Browser"))
NO = Answered(NOW, None, "too dear")

ENDED: dict[str, QuoteCommand] = {
    "accepted": AcceptQuote(YES, PERSON),
    "declined": DeclineQuote(NO, PERSON),
    "expired": ExpireQuote(BY_ITSELF),
    "cancelled": CancelQuote(False, "", PERSON),
}


def quoted(creating: CreateQuote = QUOTING) -> Given[Quote, QuoteCommand, QuoteEvent]:
    return Given(QUOTE, given(QUOTE).when(creating).state)


def after(before: Given[Quote, QuoteCommand, QuoteEvent], command: QuoteCommand) -> Given[Quote, QuoteCommand, QuoteEvent]:
    outcome = before.when(command)
    assert outcome.refusal is None, outcome.refusal
    return Given(QUOTE, outcome.state)


def sent(creating: CreateQuote = QUOTING) -> Given[Quote, QuoteCommand, QuoteEvent]:
    return after(quoted(creating), SENDING)


def test_a_quote_is_drafted_once() -> None:
    quote = quoted()
    assert (quote.state.status, quote.state.totals.gross, quote.state.number) == ("draft", 10000, None)
    quote.when(QUOTING).nothing_happens()


def test_a_quote_without_lines_takes_the_amount() -> None:
    bare = replace(QUOTING, lines=(), amount=2500)
    assert given(QUOTE).when(bare).state.totals.gross == 2500
    given(QUOTE).when(replace(bare, amount=0)).refused("nothing_to_quote")


def test_an_open_quote_may_be_a_reason_to_skip() -> None:
    given(QUOTE).when(replace(QUOTING, other_open=(id_of("P"),), skip_if_open_exists=True)).refused("open_exists")
    assert given(QUOTE).when(replace(QUOTING, other_open=(id_of("P"),))).events != ()


def test_a_draft_changes_freely_and_only_a_draft() -> None:
    change = ChangeQuote(PERSON, title="Roof 2027", lines=(line("50.00"),), valid_until=date(2026, 5, 1))
    changed = after(quoted(), change)
    assert (changed.state.title, changed.state.totals.gross, changed.state.valid_until) == ("Roof 2027", 5000, date(2026, 5, 1))
    changed.when(change).nothing_happens()
    changed.when(CancelQuote(True, "", RULE)).refused("has_been_touched")
    quoted().when(ChangeQuote(PERSON, lines=())).refused("nothing_to_quote")
    sent().when(change).refused("quote_not_draft")
    after(quoted(), ENDED["cancelled"]).when(change).refused("quote_over")


def test_sent_it_has_a_number_a_buyer_and_a_link() -> None:
    state = quoted().when(SENDING).then(QuoteSent("AN-2026-0001", NOW, Buyer("Muster GmbH"), PETRA, LINK, END, True, PERSON))
    assert (state.status, state.number, state.buyer, state.link) == ("sent", "AN-2026-0001", Buyer("Muster GmbH"), LINK)
    sent().when(SENDING).refused("quote_not_draft")
    after(quoted(), ENDED["cancelled"]).when(SENDING).refused("quote_over")


def test_it_is_not_sent_to_nobody_nor_too_late() -> None:
    nobody = replace(PETRA, email="")
    quoted().when(replace(SENDING, buyer=Buyer(""))).refused("buyer_incomplete")
    quoted().when(replace(SENDING, addressee=nobody)).refused("recipient_missing")
    assert quoted().when(replace(SENDING, addressee=nobody, mail=False)).state.status == "sent"
    quoted().when(replace(SENDING, expires_at=NOW)).refused("validity_over")


def test_the_customer_says_yes_or_no_once() -> None:
    assert sent().when(AcceptQuote(YES, PERSON)).then(QuoteAccepted(YES, PERSON)).answered == YES
    assert sent().when(DeclineQuote(NO, PERSON)).then(QuoteDeclined(NO, PERSON)).answered == NO
    quoted().when(AcceptQuote(YES, PERSON)).refused("quote_not_sent")
    quoted().when(DeclineQuote(NO, PERSON)).refused("quote_not_sent")


@pytest.mark.parametrize("status", ENDED)
def test_what_is_over_stays_over(status: str) -> None:
    over = after(sent(), ENDED[status])
    assert over.state.status == status
    for command in (AcceptQuote(YES, PERSON), DeclineQuote(NO, PERSON), CancelQuote(False, "", PERSON), SENDING):
        over.when(command).refused("quote_over")
    over.when(ExpireQuote(BY_ITSELF)).nothing_happens()


def test_after_its_date_nobody_accepts_whether_the_timer_has_come_or_not() -> None:
    late = replace(YES, at=END)
    sent().when(AcceptQuote(late, PERSON)).refused("quote_over")
    assert sent().when(AcceptQuote(replace(YES, at=END - timedelta(seconds=1)), PERSON)).state.status == "accepted"
    sent().when(ExpireQuote(BY_ITSELF)).then(QuoteExpired(BY_ITSELF))
    quoted().when(ExpireQuote(BY_ITSELF)).nothing_happens()


def test_a_quote_is_cancelled_once() -> None:
    cancel = CancelQuote(True, "wrong rule", PERSON)
    cancelled = quoted().when(cancel).then(QuoteCancelled("wrong rule", PERSON))
    Given(QUOTE, cancelled).when(cancel).refused("quote_over")
    sent().when(cancel).refused("has_been_touched")
    assert sent().when(replace(cancel, if_untouched=False)).state.status == "cancelled"


def test_nothing_happens_to_a_quote_that_there_is_not() -> None:
    for command in (*ENDED.values(), SENDING, ChangeQuote(PERSON), ConvertQuote("invoice", "I", NOW, PERSON)):
        given(QUOTE).when(command).refused("not_found")


LOOSE = replace(QUOTING, deal_id=None, customer=Customer(CUSTOMER.contact_id))


def test_it_becomes_an_invoice_and_a_deal_once_each() -> None:
    convert = ConvertQuote("invoice", id_of("I"), NOW, PERSON)
    to_deal = ConvertQuote("deal", id_of("N"), NOW, PERSON, id_of("sales"))
    invoiced = sent(LOOSE).when(convert).then(QuoteConverted("invoice", id_of("I"), NOW, PERSON))
    both = after(Given(QUOTE, invoiced), to_deal)
    assert both.state.made == {"invoice": id_of("I"), "deal": id_of("N")}
    both.when(convert).refused("already_converted")
    both.when(to_deal).refused("already_converted")
    sent().when(to_deal).refused("already_linked")
    quoted().when(convert).refused("quote_not_sent")
    after(sent(), ENDED["declined"]).when(convert).refused("quote_over")
    assert after(sent(), ENDED["accepted"]).when(convert).refusal is None


def test_a_deal_that_was_refused_can_be_asked_for_again() -> None:
    asked = after(sent(LOOSE), ConvertQuote("deal", id_of("N"), NOW, PERSON, id_of("sales")))
    undo = UndoConversion(id_of("N"), "pipeline_archived", "The pipeline is archived.", BY_ITSELF)
    undone = asked.when(undo).then(QuoteConversionUndone("deal", id_of("N"), undo.code, undo.detail, BY_ITSELF))
    Given(QUOTE, undone).when(undo).nothing_happens()
    assert after(Given(QUOTE, undone), ConvertQuote("deal", id_of("M"), NOW, PERSON, id_of("sales"))).state.made == {"deal": id_of("M")}
