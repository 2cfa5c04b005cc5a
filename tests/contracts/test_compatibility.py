"""A contract may only grow: the committed schemas are the baseline, and every kind of breaking change is found (E9)."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest

from deploy.compatibility import breaking_changes
from deploy.published import SCHEMAS, contract_schema
from deploy.schemas import breaks
from shared.contracts import ALL
from shared.contracts.billing import CreateInvoice
from shared.contracts.deals import DealFieldsChanged, MoveToStage, StageChanged
from shared.contracts.scheduler import SetTimer
from shared.messaging.contract import Contract

Json = dict[str, Any]
OPTIONAL = {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None}


@pytest.mark.parametrize("contract", ALL, ids=lambda c: c.type)
def test_todays_contract_is_compatible_with_the_committed_one(contract: type[Contract]) -> None:
    committed = json.loads((SCHEMAS / f"{contract.type}.json").read_text())
    assert breaking_changes(committed, contract_schema(contract)) == []


def changed(contract: type[Contract], change: Callable[[Json], object]) -> list[str]:
    """What is found when a schema is changed like this."""
    old = contract_schema(contract)
    new = copy.deepcopy(old)
    change(new)
    assert new != old
    return breaking_changes(old, new)


def rename(properties: Json, old: str, new: str) -> None:
    properties[new] = properties.pop(old)


BREAKING: list[tuple[str, type[Contract], Callable[[Json], object], list[str]]] = [
    ("removed", StageChanged, lambda s: s["properties"].pop("loss_reason"), ["loss_reason: removed or renamed"]),
    ("renamed", StageChanged, lambda s: rename(s["properties"], "decision_id", "verdict_id"), ["decision_id: removed or renamed"]),
    (
        "removed inside a part",
        CreateInvoice,
        lambda s: s["$defs"]["Line"]["properties"].pop("product_code"),
        ["lines[].product_code: removed or renamed"],
    ),
    (
        "another type",
        StageChanged,
        lambda s: s["properties"].update(visit_number={"type": "string"}),
        ["visit_number: type changed from integer to string"],
    ),
    (
        "no null any more",
        CreateInvoice,
        lambda s: s["properties"].update(deal_id=s["properties"]["invoice_id"]),
        ["deal_id: type changed from null|string to string"],
    ),
    (
        "null all of a sudden, which readers of an event do not expect",
        StageChanged,
        lambda s: s["properties"].update(reason=OPTIONAL),
        ["reason: type widened from string to null|string"],
    ),
    (
        "a map of something else",
        DealFieldsChanged,
        lambda s: s["properties"]["changes"].update(additionalProperties={"type": "string"}),
        ["changes{}: type changed from object to string", "changes{}: type widened from object to string"],
    ),
    (
        "new and required",
        CreateInvoice,
        lambda s: (s["properties"].update(urgent={"type": "boolean"}), s["required"].append("urgent")),
        ["urgent: new and required"],
    ),
    ("optional became required", MoveToStage, lambda s: s["required"].append("loss_reason"), ["loss_reason: became required"]),
    (
        "an event leaves out what was always there",
        StageChanged,
        lambda s: s["required"].remove("amount"),
        ["amount: no longer always there"],
    ),
    (
        "narrowed enumeration",
        MoveToStage,
        lambda s: s["properties"]["element_type"].update(enum=["deal"]),
        ["element_type: enumeration narrowed to ['deal']"],
    ),
    (
        "free text became an enumeration",
        CreateInvoice,
        lambda s: s["properties"]["title"].update(enum=["Invoice"]),
        ["title: enumeration narrowed to ['Invoice']"],
    ),
    (
        "another pattern",
        CreateInvoice,
        lambda s: s["properties"]["currency"].update(pattern="^EUR$"),
        ["currency: pattern changed from ^[A-Z]{3}$ to ^EUR$"],
    ),
    (
        "narrower bounds inside a part",
        SetTimer,
        lambda s: s["$defs"]["Offset"]["properties"]["days"]["anyOf"][0].update(minimum=0),
        ["when.offset.days: bounds narrowed"],
    ),
    ("another key", StageChanged, lambda s: s.update({"x-key": ["visit_id"]}), ["key changed from ['element_id'] to ['visit_id']"]),
    (
        "another topic",
        StageChanged,
        lambda s: s.update({"x-topic": "deals.moves"}),
        ["topic changed from deals.events to deals.moves"],
    ),
]


@pytest.mark.parametrize(("contract", "change", "found"), [b[1:] for b in BREAKING], ids=[b[0] for b in BREAKING])
def test_a_breaking_change_is_found(contract: type[Contract], change: Callable[[Json], object], found: list[str]) -> None:
    assert changed(contract, change) in (found, found[:1])


def test_a_new_optional_field_breaks_nothing() -> None:
    assert changed(StageChanged, lambda s: s["properties"].update(note=OPTIONAL)) == []


def test_a_command_may_ask_for_less() -> None:
    assert changed(CreateInvoice, lambda s: s["required"].remove("amount")) == []


def test_a_command_may_understand_a_new_member() -> None:
    assert changed(MoveToStage, lambda s: s["properties"]["element_type"]["enum"].append("order")) == []


def test_a_type_that_is_gone_is_found() -> None:
    files = {SCHEMAS / f"{contract.type}.json": contract_schema(contract) for contract in ALL if contract is not StageChanged}
    assert list(breaks(files)) == ["deals.StageChanged.v1: the type is gone"]
