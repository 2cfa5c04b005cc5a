"""A document to be signed: made, sent, signed by everybody, declined, ended (billing.md 2.6)."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from hashlib import sha256
from typing import Any

import pytest

from services.billing.domain.customer import Address, Buyer, Customer
from services.billing.domain.origin import BY_ITSELF, Asked, Origin
from services.billing.domain.public_link import Addressee, Evidence, SecretLink
from services.billing.domain.sign_document import (
    SIGN_DOCUMENT,
    CancelSignDocument,
    CreateSignDocument,
    Decline,
    ExpireSignDocument,
    SendSignDocument,
    Sign,
    Signature,
    SignatureGiven,
    SignCommand,
    SignDocument,
    SignDocumentCancelled,
    SignDocumentDeclined,
    SignDocumentExpired,
    SignDocumentSigned,
    Signer,
    SignEvent,
)
from services.billing.domain.sign_templates import TEMPLATES, Filling, Wares, text_of
from shared.testing.given import Given, given
from tests.unit.billing.books import ANNA, CODEC, CUSTOMER, NOW, PERSON, id_of, line

RULE = Asked(Origin("rule", id_of("rule")), id_of("S"))
SIGNING = CreateSignDocument(id_of("S"), id_of("D"), "standard", "Roof 2026", ANNA, CUSTOMER, {"city": "Ulm"}, NOW, RULE)
PETRA, OLAF = CUSTOMER.contact_id or "", id_of("olaf")
TWO = replace(SIGNING, signers=(Signer(PETRA), Signer(employee_id=OLAF)))
TEXT = "Agreement\n"
HASH = sha256(TEXT.encode()).hexdigest()
END = NOW + timedelta(days=30)
TO_PETRA = (Addressee("Petra Muster", "petra@example.org", "de", contact_id=PETRA), SecretLink("h1", "https://pay.test/sign/1"))
TO_OLAF = (Addressee("Olaf Fuchs", "olaf@acme.test", "en", employee_id=OLAF), SecretLink("h2", "https://pay.test/sign/2"))
SENDING = SendSignDocument(TEXT, HASH, "de", (TO_PETRA, TO_OLAF), NOW, END, True, PERSON)
SIGNED = Signature(NOW, Evidence("Petra Muster", "198.51.100.7", "Browser"), HASH)

Told = Given[SignDocument, SignCommand, SignEvent]


def to_sign(creating: CreateSignDocument = TWO) -> Told:
    return Given(SIGN_DOCUMENT, given(SIGN_DOCUMENT).when(creating).state)


def after(before: Told, *commands: SignCommand) -> Told:
    for command in commands:
        outcome = before.when(command)
        assert outcome.refusal is None, outcome.refusal
        before = Given(SIGN_DOCUMENT, outcome.state)
    return before


def sent() -> Told:
    return after(to_sign(), SENDING)


ENDED: dict[str, tuple[SignCommand, ...]] = {
    "signed": (Sign(PETRA, SIGNED, PERSON), Sign(OLAF, SIGNED, PERSON)),
    "declined": (Decline(OLAF, NOW, "too dear", PERSON),),
    "expired": (ExpireSignDocument(END, BY_ITSELF),),
    "cancelled": (CancelSignDocument(False, "", NOW, PERSON),),
}


def test_a_document_to_be_signed_needs_somebody_to_sign() -> None:
    alone = to_sign(SIGNING)
    assert [s.id for s in alone.state.signers] == [CUSTOMER.contact_id]
    alone.when(SIGNING).nothing_happens()
    given(SIGN_DOCUMENT).when(replace(SIGNING, customer=Customer(None, CUSTOMER.company_id))).refused("no_signer")
    given(SIGN_DOCUMENT).when(replace(SIGNING, template_code="own")).refused("sign_template_unknown")
    given(SIGN_DOCUMENT).when(replace(SIGNING, signers=(Signer(PETRA), Signer(PETRA)))).refused("too_many_signers")


def test_a_document_that_was_made_before_signers_had_links_is_still_read() -> None:
    """It is filled when it is sent."""
    old: dict[str, Any] = {
        "sign_document_id": "S",
        "deal_id": "D",
        "template_code": "standard",
        "title": "T",
        "responsible_id": None,
        "fields": {},
    }
    old |= {"customer": {"contact_id": PETRA, "company_id": None}, "signers": [{"contact_id": PETRA, "signed_at": None}]}
    old |= {"at": "2026-03-02T08:00:00Z", "asked": {"origin": {"kind": "person"}, "request_id": None}}
    event: Any = CODEC.decode("sign-document", "SignDocumentCreated", json.dumps(old))
    before = given(SIGN_DOCUMENT, event)
    assert (before.state.wares, before.state.signers) == (None, (Signer(PETRA),))
    assert before.when(replace(SENDING, sendings=(TO_PETRA,))).state.status == "sent"


def test_sending_fixes_the_file_and_gives_every_signer_a_link() -> None:
    state = sent().state
    assert (state.status, state.file, state.file_sha256, state.expires_at) == ("sent", TEXT, HASH, END)
    assert [s.link and s.link.token_hash for s in state.signers] == ["h1", "h2"]
    sent().when(SENDING).refused("document_not_draft")
    after(to_sign(), *ENDED["cancelled"]).when(SENDING).refused("document_over")


def test_a_signer_without_an_address_gets_no_mail() -> None:
    unreachable = replace(SENDING, sendings=(TO_PETRA, (replace(TO_OLAF[0], email=""), TO_OLAF[1])))
    assert "Olaf Fuchs" in to_sign().when(unreachable).refused("recipient_missing").detail
    assert to_sign().when(replace(unreachable, mail=False)).state.status == "sent"


def test_it_is_signed_when_the_last_one_has_signed() -> None:
    first = sent().when(Sign(PETRA, SIGNED, PERSON)).then(SignatureGiven(PETRA, SIGNED, PERSON))
    assert (first.status, first.signers[0].signed_at, first.signers[0].signature) == ("sent", NOW, SIGNED)
    one = Given(SIGN_DOCUMENT, first)
    one.when(Sign(PETRA, SIGNED, PERSON)).nothing_happens()
    one.when(Decline(PETRA, NOW, "", PERSON)).refused("signed_already")
    later = replace(SIGNED, at=NOW + timedelta(hours=1))
    both = one.when(Sign(OLAF, later, PERSON)).then(SignatureGiven(OLAF, later, PERSON), SignDocumentSigned(OLAF, later.at, PERSON))
    assert both.status == "signed"
    Given(SIGN_DOCUMENT, both).when(Sign(PETRA, SIGNED, PERSON)).nothing_happens()


def test_a_signature_is_of_the_file_that_was_sent_and_has_a_name() -> None:
    sent().when(Sign(PETRA, replace(SIGNED, file_sha256="other"), PERSON)).refused("file_differs")
    sent().when(Sign(PETRA, replace(SIGNED, evidence=Evidence("")), PERSON)).refused("name_missing")
    sent().when(Sign(id_of("stranger"), SIGNED, PERSON)).refused("not_found")
    to_sign().when(Sign(PETRA, SIGNED, PERSON)).refused("document_not_sent")


def test_one_no_ends_it() -> None:
    declined = sent().when(Decline(OLAF, NOW, "too dear", PERSON)).then(SignDocumentDeclined(OLAF, "too dear", NOW, PERSON))
    assert declined.declined is not None
    assert (declined.declined.signer_id, declined.declined.reason) == (OLAF, "too dear")


@pytest.mark.parametrize("status", ENDED)
def test_what_is_over_stays_over(status: str) -> None:
    over = after(sent(), *ENDED[status])
    assert over.state.status == status
    for command in (Decline(PETRA, NOW, "", PERSON), CancelSignDocument(False, "", NOW, PERSON), SENDING):
        over.when(command).refused("document_over")
    if status != "signed":
        over.when(Sign(PETRA, SIGNED, PERSON)).refused("document_over")
    over.when(ExpireSignDocument(END, BY_ITSELF)).nothing_happens()


def test_after_its_date_nobody_signs_whether_the_timer_has_come_or_not() -> None:
    sent().when(Sign(PETRA, replace(SIGNED, at=END), PERSON)).refused("document_over")
    sent().when(ExpireSignDocument(END, BY_ITSELF)).then(SignDocumentExpired(END, BY_ITSELF))
    to_sign().when(ExpireSignDocument(END, BY_ITSELF)).nothing_happens()


def test_a_document_to_be_signed_is_cancelled_once() -> None:
    cancel = CancelSignDocument(True, "wrong rule", NOW, PERSON)
    cancelled = to_sign().when(cancel).then(SignDocumentCancelled("wrong rule", NOW, PERSON))
    Given(SIGN_DOCUMENT, cancelled).when(cancel).refused("document_over")
    sent().when(cancel).refused("has_been_touched")
    given(SIGN_DOCUMENT).when(cancel).refused("not_found")


# -------------------------------------------------------------------------------------------------------- templates

FILLING = Filling(
    "Roof 2026",
    "Acme",
    Buyer("Muster GmbH", "Petra Muster", address=Address(street="Altweg", house="1", postal_code="89073", city="Ulm")),
    Wares("EUR", True, (line(),), 10000),
    {"Delivery": "in May\n*** signed ***"},
    ["Petra Muster", "Olaf Fuchs"],
)


@pytest.mark.parametrize("template", sorted(TEMPLATES))
@pytest.mark.parametrize("language", ["de", "en"])
def test_a_template_says_who_what_and_for_how_much(template: str, language: str) -> None:
    text = text_of(template, FILLING, language)
    for part in ("Roof 2026", "Acme", "Muster GmbH", "Altweg 1", "89073 Ulm", "1 x Roof tiles: 100.00", "19 %: 15.97", "100.00 EUR"):
        assert part in text, part
    assert text.index("Petra Muster") < text.index("Olaf Fuchs")
    assert "Delivery: in May *** signed ***" in text, "a value stays on its line"


def test_templates_without_rows_in_other_languages_and_as_drafts() -> None:
    bare = replace(FILLING, wares=Wares("EUR", True, (), 2500), fields={})
    assert "Total: 25.00 EUR" in text_of("standard", bare, "fr")
    assert text_of("standard", bare, "de", draft=True).startswith("*** ENTWURF")
    on_top = text_of("standard", replace(FILLING, wares=Wares("EUR", False, (line(),), 11900)), "en")
    assert "plus VAT 19 %: 19.00" in on_top
    assert "Total: 119.00 EUR" in on_top
