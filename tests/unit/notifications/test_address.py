from __future__ import annotations

import pytest

from services.notifications.domain.address import email_address, is_email_address, phone_number
from shared.es.errors import Rejected


@pytest.mark.parametrize("address", ["anna@acme.test", "a.b+c@x-y.example.org", "o'neil@example.org", "A@example.co.uk"])
def test_one_plain_address(address: str) -> None:
    assert email_address(address) == address
    assert is_email_address(address)


def test_the_domain_is_lower_case_and_the_rest_is_left_alone() -> None:
    assert email_address("Anna@ACME.Test") == "Anna@acme.test"


BAD = [
    "anna", "anna@", "@acme.test", "anna@acme", "anna@@acme.test", "anna@acme..test", ".anna@acme.test", "an..na@acme.test",
    "anna@acme.test, ben@acme.test", "anna@acme.test;ben@acme.test", "Anna <anna@acme.test>", "<anna@acme.test>", "anna@acme.test ",
    "anna@acme.test\n", "anna@acme.test\r\nBcc: evil@example.org", "anna\x00@acme.test", "alice@example.org)bob@example.com",
    "(a)anna@acme.test", '"anna b"@acme.test', "anna@[127.0.0.1]", "anna@acme.test\u2028", "ann\u202ea@acme.test", "änna@acme.test",
    "anna@-acme.test", "a" * 65 + "@acme.test", "a@" + "b" * 250 + ".test", "mailto:anna@acme.test ",
]  # fmt: skip


@pytest.mark.parametrize("address", BAD)
def test_everything_else_is_refused(address: str) -> None:
    with pytest.raises(Rejected) as refused:
        email_address(address)
    assert (refused.value.code, refused.value.status) == ("bad_address", 422)
    assert not is_email_address(address)


@pytest.mark.parametrize("read", [email_address, phone_number])
def test_nobody_is_no_recipient(read: object) -> None:
    assert callable(read)
    with pytest.raises(Rejected) as refused:
        read("  ")
    assert refused.value.code == "recipient_missing"


@pytest.mark.parametrize("number", ["+491701234567", "+12025550123"])
def test_a_phone_number(number: str) -> None:
    assert phone_number(number) == number


NO_PHONES = ["01701234567", "+049170", "+49 170 1234567", "+49170", "+49170123456789012", "+4917012345a", "+4\n9170"]


@pytest.mark.parametrize("number", NO_PHONES)
def test_a_phone_number_that_is_none(number: str) -> None:
    with pytest.raises(Rejected) as refused:
        phone_number(number)
    assert refused.value.code == "bad_address"
