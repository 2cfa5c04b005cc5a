"""Signed requests: what counts as signed, and nothing else (H9)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shared.http.signed import TOLERANCE, shown_secret, signature, signed_id

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)
STAMP = str(int(NOW.timestamp()))
OURS, OTHERS = shown_secret(b"ours"), shown_secret(b"others")


def headers(secret: str = OURS, id: str = "call-1", stamp: str = STAMP, body: bytes = b"{}", before: str = "") -> dict[str, str]:
    return {"webhook-id": id, "webhook-timestamp": stamp, "webhook-signature": before + signature(secret, id, stamp, body)}


def test_the_example_of_the_specification() -> None:
    secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # from the specification of Standard Webhooks
    made = signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", "1614265330", b'{"test": 2432232314}')
    assert made == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("before", ["", "v1,another ", "v2,nonsense v1,x "])
def test_one_good_signature_of_any_secret_is_enough(before: str) -> None:
    assert signed_id(headers(before=before), b"{}", [OTHERS, OURS], NOW) == "call-1"


@pytest.mark.parametrize("seconds", [-TOLERANCE, 0, TOLERANCE])
def test_a_timestamp_within_the_window_is_good(seconds: int) -> None:
    assert signed_id(headers(), b"{}", [OURS], NOW + timedelta(seconds=seconds)) == "call-1"


@pytest.mark.parametrize(
    ("given", "body", "at"),
    [
        (headers(), b"{}", NOW + timedelta(seconds=TOLERANCE + 1)),
        (headers(), b"{}", NOW - timedelta(seconds=TOLERANCE + 1)),
        (headers(), b"{} ", NOW),
        (headers(secret=shown_secret(b"nobody's")), b"{}", NOW),
        (headers() | {"webhook-id": "call-2"}, b"{}", NOW),
        (headers() | {"webhook-timestamp": str(int(STAMP) + 1)}, b"{}", NOW),
        (headers() | {"webhook-signature": headers()["webhook-signature"].removeprefix("v1,")}, b"{}", NOW),
        (headers() | {"webhook-signature": ""}, b"{}", NOW),
        (headers() | {"webhook-signature": "v1,\u00fc"}, b"{}", NOW),
        (headers(id=""), b"{}", NOW),
        (headers(id="x" * 201), b"{}", NOW),
        (headers(stamp="soon"), b"{}", NOW),
        (headers(stamp="9" * 30), b"{}", NOW),
        ({}, b"{}", NOW),
    ],
)
def test_anything_else_is_not_signed(given: dict[str, str], body: bytes, at: datetime) -> None:
    assert signed_id(given, body, [OURS], at) is None


def test_without_secrets_nothing_is_signed() -> None:
    assert signed_id(headers(), b"{}", [], NOW) is None
