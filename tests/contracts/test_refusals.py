"""A command may hold anything. Whatever it holds, its refusal can be said, and is short enough to travel."""

from __future__ import annotations

from datetime import UTC, datetime
from importlib import import_module
from uuid import UUID

import orjson
import pytest

from deploy.openapi import wired
from shared.es.errors import Fault, Rejected
from shared.es.recorded import Context
from shared.messaging.envelope import Envelope

ASKED = "01a20d0c-fb78-71d1-aa9f-52388f337548"
LONGEST = 64 * 1024
LONG = b"x" * 200_000
BODIES = {
    "not JSON": b"not json",
    "no body": b"",
    "no object": b"[1, 2]",
    "deep": b'{"request_id": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    "a lone surrogate": b'{"request_id": "\\ud800", "deal_id": "\\ud800", "origin": {"kind": "\\ud800"}}',
    "a request id that is none": b'{"request_id": 7, "element": 7, "origin": 7}',
    "a long request id": b'{"request_id": "' + LONG + b'"}',
    "a long element": b'{"deal_id": "' + LONG + b'", "element": {"element_type": "' + LONG + b'", "element_id": "' + LONG + b'"}}',
    "a long element beside its type": b'{"element_type": "' + LONG + b'", "element_id": "' + LONG + b'"}',
    "a long origin": b'{"origin": {"kind": "' + LONG + b'"}}',
}


def said(service: str, body: bytes, rejected: Rejected) -> bytes:
    refusal = import_module(f"services.{service}.service").SERVICE.refusal
    context = Context(UUID(ASKED), ASKED, ASKED)
    asked = Envelope(ASKED, "urn:example:shop", f"{service}.Ask.v1", "", "the-key", datetime(2026, 3, 2, tzinfo=UTC), 0, context, body)
    answer: bytes = refusal(asked, rejected).model_dump_json().encode()
    return answer


@pytest.mark.parametrize("service", wired())
@pytest.mark.parametrize("body", BODIES)
def test_a_command_that_holds_anything_is_refused(service: str, body: str) -> None:
    answer = said(service, BODIES[body], Rejected("invalid_body", "It cannot be read."))

    assert len(answer) < LONGEST
    read = orjson.loads(answer)
    assert (read["code"], read["record_key"], read["command_type"]) == ("invalid_body", "the-key", f"{service}.Ask.v1")


@pytest.mark.parametrize("service", wired())
def test_however_much_is_wrong_the_refusal_stays_short(service: str) -> None:
    faults = [Fault("#/" + "p" * 20_000, "unknown_field", "d" * 20_000)] * 2_000
    answer = said(service, b"{}", Rejected("invalid_body", "d" * 200_000, errors=faults))

    assert len(answer) < LONGEST
    assert orjson.loads(answer)["errors"][0]["code"] == "unknown_field"


@pytest.mark.parametrize("service", wired())
def test_a_refusal_repeats_who_asked(service: str) -> None:
    answer = orjson.loads(said(service, b'{"request_id": "' + ASKED.encode() + b'"}', Rejected("busy", "Not now.")))

    assert (answer["request_id"], answer["detail"]) == (ASKED, "Not now.")
