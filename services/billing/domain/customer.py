"""Who a document is for: the customer by id while it is a draft, the buyer as a frozen snapshot once it is issued (D46)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Customer:
    """A contact, a company, both or nobody."""

    contact_id: str | None = None
    company_id: str | None = None


NOBODY = Customer()


@dataclass(frozen=True, slots=True)
class Address:
    street: str = ""
    house: str = ""
    addition: str = ""
    city: str = ""
    postal_code: str = ""
    district: str = ""
    region: str = ""
    country: str = ""
    country_code: str = ""


NOWHERE = Address()


@dataclass(frozen=True, slots=True)
class Buyer:
    """What an issued document says about its buyer, for ever. `name` is the company, or the person without one."""

    name: str
    person: str = ""
    email: str = ""
    tax_number: str = ""
    vat_id: str = ""
    address: Address = NOWHERE
    contact_id: str | None = None
    company_id: str | None = None


@dataclass(frozen=True, slots=True)
class PersonCard:
    """A contact as it is known now."""

    id: str
    first_name: str
    last_name: str
    email: str
    language: str | None = None

    @property
    def name(self) -> str:
        return f"{self.first_name} {self.last_name}".strip()


@dataclass(frozen=True, slots=True)
class CompanyCard:
    id: str
    name: str
    email: str


@dataclass(frozen=True, slots=True)
class DetailsCard:
    """A details record: legal data and addresses by type."""

    is_default: bool
    fields: Mapping[str, str]
    addresses: Mapping[str, Mapping[str, str]]


ADDRESS_ORDER = ("registered", "legal", "business", "postal", "beneficiary", "delivery")
"""Which of a details record's addresses an invoice shows: the first that is filled."""


def buyer_of(person: PersonCard | None, company: CompanyCard | None, details: Iterable[DetailsCard]) -> Buyer:
    """The buyer as everything known now describes it. `details`: the company's, else the contact's; the default record first.

    `name` is empty when nobody is known by name: such a document cannot be issued (`buyer_incomplete`)."""
    record = next(iter(sorted(details, key=lambda d: not d.is_default)), None)
    fields = record.fields if record else {}
    given = company.name if company else ""
    own = f"{fields.get('first_name', '')} {fields.get('last_name', '')}".strip()
    who = person.name if person else ""
    return Buyer(
        name=given or fields.get("company_name", "") or who or own,
        person=who or own,
        email=(company.email if company else "") or (person.email if person else ""),
        tax_number=fields.get("tax_number", ""),
        vat_id=fields.get("vat_id", ""),
        address=_address(record.addresses if record else {}),
        contact_id=person.id if person else None,
        company_id=company.id if company else None,
    )


def _address(addresses: Mapping[str, Mapping[str, str]]) -> Address:
    chosen = next((addresses[kind] for kind in ADDRESS_ORDER if any(addresses.get(kind, {}).values())), {})
    return Address(**{name: chosen.get(name) or "" for name in Address.__slots__})
