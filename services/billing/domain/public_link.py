"""Links of papers that go to people: who gets one, where it leads, and what is kept of who used it (billing.md 2.1, 2.6)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SecretLink:
    """`token_hash`: hex SHA-256 of the token at the end of `url`; only the hash is ever looked up."""

    token_hash: str
    url: str


@dataclass(frozen=True, slots=True)
class Addressee:
    """Exactly one of the ids is given. `email` as it was known when the paper was sent; '' where there is none."""

    name: str
    email: str
    language: str
    contact_id: str | None = None
    company_id: str | None = None
    employee_id: str | None = None


@dataclass(frozen=True, slots=True)
class Evidence:
    """Who used a link, as far as a page can know: the name that was typed, the address and the program it came from."""

    name: str
    address: str = ""
    agent: str = ""
