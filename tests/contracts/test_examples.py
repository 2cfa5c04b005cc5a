"""Every golden message is understood by today's contracts, says again what it said, and is where its contract says (E9)."""

from __future__ import annotations

import json
import re

import pytest
from pydantic import ValidationError

from shared.contracts import ALL, BY_TYPE, billing, scheduler
from shared.contracts.common import Fact, Request
from shared.messaging.contract import Command, Contract, Event
from shared.messaging.envelope import to_kafka
from tests.contracts.golden import GOLDENS, Golden, golden, named

COMMANDS = [found for found in GOLDENS if issubclass(found.contract, Command)]
EVENTS = [found for found in GOLDENS if issubclass(found.contract, Event)]


@pytest.mark.parametrize("golden", GOLDENS, ids=named)
def test_a_golden_message_is_understood_and_says_the_same_again(golden: Golden) -> None:
    body = golden.contract.read(golden.data)
    assert json.loads(body.model_dump_json()) == golden.value
    assert golden.contract.read(body.model_dump_json(exclude_none=True).encode()) == body


@pytest.mark.parametrize("golden", GOLDENS, ids=named)
def test_a_golden_message_travels_where_its_contract_says(golden: Golden) -> None:
    assert golden.topic == golden.contract.topic
    assert golden.key == golden.contract.read(golden.data).partition_key() == golden.headers["ce_partitionkey"]
    assert golden.headers["ce_type"] == golden.contract.type


@pytest.mark.parametrize("golden", GOLDENS, ids=named)
def test_a_golden_message_is_written_as_the_kit_writes_it(golden: Golden) -> None:
    key, headers, data = to_kafka(golden.envelope)
    assert key == golden.key.encode()
    assert {name: content.decode() for name, content in headers} == golden.headers
    assert data == golden.data


@pytest.mark.parametrize("golden", COMMANDS, ids=named)
def test_a_command_with_a_misspelt_field_is_refused(golden: Golden) -> None:
    with pytest.raises(ValidationError, match="requestid"):
        golden.contract.read(json.dumps({**golden.value, "requestid": "x"}).encode())


@pytest.mark.parametrize("golden", EVENTS, ids=named)
def test_an_event_with_an_unknown_field_is_read_without_it(golden: Golden) -> None:
    newer = json.dumps({**golden.value, "invented_later": {"a": 1}}).encode()
    assert golden.contract.read(newer) == golden.contract.read(golden.data)


def test_a_misspelt_field_inside_a_part_of_a_command_is_refused() -> None:
    asked = golden(billing.CreateInvoice).value
    line = {**asked["lines"][0], "discount": "50"}
    with pytest.raises(ValidationError, match=r"lines\.0\.discount"):
        billing.CreateInvoice.read(json.dumps({**asked, "lines": [line]}).encode())


def test_an_unknown_field_inside_a_part_of_an_event_is_ignored() -> None:
    said = golden(billing.InvoicePaid)
    newer = {**said.value, "total": {**said.value["total"], "minor_units": 140712}}
    assert said.contract.read(json.dumps(newer).encode()) == said.contract.read(said.data)


@pytest.mark.parametrize("golden", GOLDENS, ids=named)
def test_types_are_not_bent(golden: Golden) -> None:
    """Strict: a number is no text and a text is no number."""
    field = next(iter(golden.contract.model_json_schema()["required"]))
    with pytest.raises(ValidationError, match=re.escape(field)):
        golden.contract.read(json.dumps({**golden.value, field: 1.5}).encode())


BAD_IN_A_TIMER = [
    ("2026-02-30T08:00:00.000Z", "a day that does not exist"),
    ("2026-03-05T08:00:00.000", "no UTC"),
    ("2026-03-05T09:00:00.000+01:00", "an offset"),
    ("2026-03-05", "no time"),
    ("soon", "no instant"),
]


@pytest.mark.parametrize("instant", [bad for bad, _ in BAD_IN_A_TIMER], ids=[why for _, why in BAD_IN_A_TIMER])
def test_an_instant_of_a_command_is_checked(instant: str) -> None:
    asked = golden(scheduler.SetTimer).value
    with pytest.raises(ValidationError, match=r"when\.anchor_instant"):
        scheduler.SetTimer.read(json.dumps({**asked, "when": {**asked["when"], "anchor_instant": instant}}).encode())


@pytest.mark.parametrize("amount", ["1,50", "1e3", "NaN", "", "1.2345678", "1234567890123456", " 1", "1\n", "٣"])
def test_an_amount_is_decimal_text(amount: str) -> None:
    asked = golden(billing.CreateInvoice).value
    with pytest.raises(ValidationError, match="amount"):
        billing.CreateInvoice.read(json.dumps({**asked, "amount": amount}).encode())


@pytest.mark.parametrize("title", ["bell \x07", "return \r", "delete \x7f", "next line \x85"])
def test_text_of_a_command_has_no_control_characters(title: str) -> None:
    asked = golden(billing.CreateInvoice).value
    with pytest.raises(ValidationError, match="title"):
        billing.CreateInvoice.read(json.dumps({**asked, "title": title}).encode())


def test_line_feed_tab_and_any_script_are_text() -> None:
    asked = golden(billing.CreateInvoice).value
    title = "Dach\t2026\nŠkoda 屋根 🏠"
    assert billing.CreateInvoice.read(json.dumps({**asked, "title": title}).encode()).title == title


KNOWN = "019cad8f-ac00-7f0a-a4ce-0d57a8bccdcc"


@pytest.mark.parametrize("id", [KNOWN.upper(), KNOWN.replace("-", ""), f"{KNOWN}\n", "42", ""])
def test_an_id_is_a_uuid_in_lower_case(id: str) -> None:
    asked = golden(billing.CreateInvoice).value
    with pytest.raises(ValidationError, match="invoice_id"):
        billing.CreateInvoice.read(json.dumps({**asked, "invoice_id": id}).encode())


# What holds for all contracts


def test_types_are_named_once_and_belong_to_their_topic() -> None:
    assert len(BY_TYPE) == len(ALL)
    for contract in ALL:
        service, name, version = contract.type.split(".")
        kind = "commands" if issubclass(contract, Command) else "events"
        assert (contract.__name__, contract.topic) == (name, f"{service}.{kind}")
        assert re.fullmatch("v[1-9][0-9]*", version)
        assert contract.__module__ == f"shared.contracts.{service}"


def test_every_key_field_exists() -> None:
    for contract in ALL:
        assert contract.key, contract.type
        assert {path.partition(".")[0] for path in contract.key} <= contract.model_fields.keys(), contract.type


def test_every_command_names_its_request_first() -> None:
    commands = [contract for contract in ALL if issubclass(contract, Command)]
    assert [c.type for c in commands if not issubclass(c, Request) or next(iter(c.model_fields)) != "request_id"] == []


def test_every_event_but_a_refusal_says_its_origin() -> None:
    silent = [c.type for c in ALL if issubclass(c, Event) and not issubclass(c, Fact)]
    assert silent == [f"{service}.CommandRejected.v1" for service in ("deals", "automation", "billing", "scheduler", "notifications")]


def test_every_event_of_billing_keeps_the_key_it_was_born_with() -> None:
    assert {c.key for c in ALL if c.topic == billing.EVENTS} == {("record_key",)}


def test_every_contract_says_what_it_means_in_its_own_words() -> None:
    assert [c.type for c in ALL if "__doc__" not in vars(c) or not c.__doc__] == []


def test_a_refusal_carries_the_key_of_its_command() -> None:
    refusals: list[type[Contract]] = [c for c in ALL if c.__name__ == "CommandRejected"]
    assert {c.key for c in refusals} == {("record_key",)}


def test_without_an_element_the_activity_orders_its_own_messages() -> None:
    said = golden(scheduler.ActivityPlanned)
    alone = said.contract.read(json.dumps({**said.value, "element": None}).encode())
    assert alone.partition_key() == said.value["activity_id"]
