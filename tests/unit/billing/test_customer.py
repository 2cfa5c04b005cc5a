"""Who a document is for (D46)."""

from __future__ import annotations

from services.billing.domain.customer import CompanyCard, DetailsCard, PersonCard, buyer_of


def test_the_buyer_is_the_company_and_the_person() -> None:
    person, firm = PersonCard("c", "Petra", "Muster", "petra@example.org"), CompanyCard("f", "Muster GmbH", "")
    other = DetailsCard(False, {"vat_id": "DE9"}, {})
    default = DetailsCard(True, {"vat_id": "DE1", "tax_number": "1/2"}, {"delivery": {"city": "Kiel"}, "business": {"city": ""}})

    buyer = buyer_of(person, firm, [other, default])

    assert (buyer.name, buyer.person, buyer.email, buyer.vat_id) == ("Muster GmbH", "Petra Muster", "petra@example.org", "DE1")
    assert buyer.address.city == "Kiel"
    assert buyer_of(person, None, []).name == "Petra Muster"
    assert buyer_of(None, None, [DetailsCard(True, {"company_name": "Firma"}, {})]).name == "Firma"
    assert buyer_of(None, None, []).name == ""
