"""Quotes and documents to be signed: their links by mail, and who is told what the customer answered (billing.md 2.1, 2.6)."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.contracts import billing, deals
from shared.contracts.common import Money
from tests.service.house import House, at, employee, origin
from tests.service.notifications.postoffice import PostOffice, text_of
from tests.service.notifications.test_telling import feed

ANNA, OLAF, PETRA, MUSTER, DEAL, QUOTE, PAPER = (str(UUID(int=n)) for n in range(1, 8))
HUNDRED = Money(amount="100.00", currency="EUR")


@pytest.fixture
async def staffed(house: House) -> House:
    """Anna is responsible, Olaf an operator; Petra and her company are customers."""
    for person in (employee(ANNA, "Anna"), employee(OLAF, "Olaf", roles=("operator",), language="en")):
        await house.hear(house.record(person, subject=f"employee/{person.employee_id}"))
    petra = deals.ContactFields(
        first_name="Petra", last_name="Muster", emails=("not an address", "petra@example.org"), phones=(), company_ids=(), custom={}
    )
    muster = deals.CompanyFields(name="Muster GmbH", emails=("office@muster.example",), phones=(), custom={})
    await house.hear(
        house.record(deals.ContactCreated(origin=origin(), contact_id=PETRA, fields=petra), subject=f"contact/{PETRA}"),
        house.record(deals.CompanyCreated(origin=origin(), company_id=MUSTER, fields=muster), subject=f"company/{MUSTER}"),
    )
    return house


def to(room: str, language: str = "de", name: str = "Petra Muster", **id: str) -> billing.Addressee:
    return billing.Addressee(name=name, language=language, url=f"https://pay.test/{room}/{next(iter(id.values()))}", **id)


def quote(kind: type[Any] = billing.QuoteSent, **own: Any) -> Any:
    known = {"quote_id": QUOTE, "deal_id": DEAL, "number": "AN-1", "title": "Roof 2026", "total": HUNDRED, "responsible_id": ANNA}
    return kind(origin=origin(), record_key=DEAL, **(known | {"valid_until": "2026-04-01"} | own))


def paper(house: House, kind: type[Any], **own: Any) -> Any:
    known = {"sign_document_id": PAPER, "deal_id": DEAL, "title": "Roof 2026", "responsible_id": ANNA, "status": "sent"}
    return kind(origin=origin(), record_key=DEAL, at=at(house.now), **(known | own))


async def test_the_customer_gets_the_quotes_link_once(staffed: House, post: PostOffice) -> None:
    message = staffed.record(quote(addressee=to("quote", contact_id=PETRA), mailed=True), id=str(uuid4()))
    await staffed.hear(message, message)
    await staffed.tick()

    (mail,) = post.mails
    assert (mail["to"], mail["subject"]) == ("Petra Muster <petra@example.org>", "Angebot AN-1 von Acme: Roof 2026")
    assert (mail["reply-to"], mail["auto-submitted"]) == ("anna@acme.test", None)
    for kind in ("plain", "html"):
        for part in ("Guten Tag Petra Muster", f"https://pay.test/quote/{PETRA}", "100.00 EUR", "Gültig bis 2026-04-01"):
            assert part in text_of(mail, kind), part
    delivered = await staffed.one("NoticeDelivered")
    assert (delivered["channel"], delivered["element"]["element_id"], delivered["request_id"]) == ("email", DEAL, None)


async def test_a_company_is_written_to_in_its_language_and_nobody_where_the_link_is_handed_over(staffed: House, post: PostOffice) -> None:
    firm = to("quote", "en", "Muster GmbH", company_id=MUSTER)
    await staffed.hear(quote(addressee=firm, mailed=True, valid_until=None), quote(addressee=firm, mailed=False), quote())
    await staffed.tick()

    (mail,) = post.mails
    assert (mail["to"], mail["subject"]) == ("Muster GmbH <office@muster.example>", "Quote AN-1 from Acme: Roof 2026")
    assert "good until" not in text_of(mail)


async def test_every_signer_gets_a_link_of_his_own(staffed: House, post: PostOffice) -> None:
    signers = (to("sign", contact_id=PETRA), to("sign", "en", "Olaf", employee_id=OLAF))
    sent = staffed.record(
        paper(staffed, billing.SignDocumentSent, signers=signers, expires_at=at(staffed.now), mailed=True), id=str(uuid4())
    )
    await staffed.hear(sent, sent)
    await staffed.tick()

    mails = {str(mail["to"]): mail for mail in post.mails}
    assert len(post.mails) == 2
    assert f"https://pay.test/sign/{PETRA}" in text_of(mails["Petra Muster <petra@example.org>"])
    assert f"https://pay.test/sign/{OLAF}" not in text_of(mails["Petra Muster <petra@example.org>"])
    assert "asks you to sign" in text_of(mails["Olaf <olaf@acme.test>"])
    assert "Gültig bis 2026-03-02" in text_of(mails["Petra Muster <petra@example.org>"])


async def test_who_has_no_address_any_more_gets_none_and_the_responsible_person_is_told(staffed: House, post: PostOffice) -> None:
    gone = deals.ContactDeleted(origin=origin(), contact_id=PETRA, erased=True)
    await staffed.hear(staffed.record(gone, subject=f"contact/{PETRA}"))
    signers = (to("sign", contact_id=PETRA), to("sign", "en", "Olaf", employee_id=OLAF))
    await staffed.hear(paper(staffed, billing.SignDocumentSent, signers=signers, mailed=True))
    await staffed.tick()

    assert [mail["to"] for mail in post.mails] == ["Olaf <olaf@acme.test>"]
    (notice,) = await feed(staffed, ANNA)
    assert (notice["urgent"], notice["topic"]) == (True, "document")
    assert f"https://pay.test/sign/{PETRA}" in notice["body_text"]


async def test_a_link_for_somebody_not_heard_of_yet_waits(staffed: House, post: PostOffice) -> None:
    stranger = to("quote", contact_id=str(uuid4()))
    with pytest.raises(AssertionError, match="not known to notifications yet"):
        await staffed.hear(quote(addressee=stranger, mailed=True))
    assert [row["reason"] for row in await staffed.rows("select reason from parked")] == ["not_yet"]


async def test_the_responsible_person_learns_of_every_answer(staffed: House) -> None:
    await staffed.hear(
        quote(billing.QuoteAccepted),
        quote(billing.QuoteDeclined, reason="[click](https://evil.test) *now*\nplease"),
        paper(staffed, billing.SignDocumentSigned, status="signed", signer="Petra Muster"),
        paper(staffed, billing.SignDocumentDeclined, status="declined", signer="Petra Muster", reason="too dear"),
    )
    assert {notice["body_text"] for notice in await feed(staffed, ANNA)} == {
        "Angebot AN-1 (Roof 2026, 100.00 EUR) wurde angenommen.",
        "Angebot AN-1 (Roof 2026, 100.00 EUR) wurde abgelehnt. (click)(https://evil.test) now please",
        "Das Dokument Roof 2026 ist vollständig unterschrieben, zuletzt von Petra Muster.",
        "Petra Muster unterschreibt das Dokument Roof 2026 nicht. too dear",
    }


async def test_not_who_recorded_it_himself_and_the_operators_where_nobody_is_responsible(staffed: House) -> None:
    await staffed.hear(staffed.record(quote(billing.QuoteAccepted), actor=f"user:{ANNA}"))
    await staffed.hear(quote(billing.QuoteAccepted, responsible_id=None))
    assert await feed(staffed, ANNA) == []
    assert [notice["subject"] for notice in await feed(staffed, OLAF)] == ["Quote accepted: Roof 2026"]
