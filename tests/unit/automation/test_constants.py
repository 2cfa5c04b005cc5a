"""Constants and variables: fixed types, every write an event, constants by people only (G35, D57)."""

from __future__ import annotations

from typing import Any

import pytest

from services.automation.domain.constants import (
    VALUE,
    VALUE_TYPES,
    ChangeValue,
    DefineValue,
    DeleteValue,
    ValueChanged,
    ValueDefined,
    ValueDeleted,
    WriteValue,
    converted,
    fits,
)
from shared.testing.given import given

DEFINED = ValueDefined("variable", "rate", "number", False, "everywhere", "1")
CONSTANT = ValueDefined("constant", "house", "string", False, "everywhere", "7")
RULE = {"kind": "rule", "id": "r"}


def test_a_value_is_defined_once() -> None:
    command = DefineValue("variable", "rate", "number", False, "everywhere", "1")
    given(VALUE).when(command).then(DEFINED)
    given(VALUE, DEFINED).when(command).nothing_happens()
    given(VALUE, DEFINED).when(DefineValue("variable", "other", "number", False, "everywhere", "1")).refused("id_taken")


def test_people_change_it_and_types_stay() -> None:
    given(VALUE, DEFINED).when(ChangeValue("2")).then(ValueChanged("1", "2"))
    given(VALUE, DEFINED).when(ChangeValue("1")).nothing_happens()
    given(VALUE, DEFINED).when(ChangeValue("many")).refused("wrong_type", "#/value")
    given(VALUE, DEFINED).when(ChangeValue("2", value_type="text")).refused("type_is_fixed", "#/value_type")
    given(VALUE, DEFINED).when(ChangeValue("2", multiple=True)).refused("type_is_fixed", "#/multiple")
    given(VALUE, DEFINED).when(ChangeValue("2", visibility="crm")).refused("type_is_fixed", "#/visibility")


def test_a_rule_writes_once_per_step_even_the_same() -> None:
    state = given(VALUE, DEFINED).when(WriteValue("1", "step", RULE)).then(ValueChanged("1", "1", "step", RULE))
    assert (state.last_request, state.last_before) == ("step", "1")
    given(VALUE, DEFINED, ValueChanged("1", "1", "step", RULE)).when(WriteValue("1", "step", RULE)).nothing_happens()
    given(VALUE, CONSTANT).when(WriteValue("8", "step", RULE)).refused("constant_by_rule")


def test_a_value_in_use_is_not_deleted() -> None:
    given(VALUE, DEFINED).when(DeleteValue(("Mail",))).refused("value_in_use")
    given(VALUE, DEFINED).when(DeleteValue()).then(ValueDeleted())
    given(VALUE, DEFINED, ValueDeleted()).when(DeleteValue()).nothing_happens()
    given(VALUE, DEFINED, ValueDeleted()).when(ChangeValue("2")).refused("value_deleted")
    given(VALUE).when(ChangeValue("2")).refused("not_found")


def test_how_placeholders_name_it() -> None:
    assert given(VALUE, DEFINED).state.path == "var.rate" and given(VALUE, CONSTANT).state.path == "const.house"


GOOD: dict[str, Any] = {
    "string": "x",
    "text": "x",
    "number": "-1.5",
    "money": {"amount": "1.00", "currency": "EUR"},
    "bool": False,
    "date": "2026-03-01",
    "datetime": "2026-03-01T10:00:00Z",
    "select": "a",
    "user": "b",
    "file": "c",
    "url": "https://x",
}
BAD: dict[str, Any] = {
    "string": 5,
    "text": True,
    "number": "1e",
    "money": {"amount": "x", "currency": "EUR"},
    "bool": "true",
    "date": "tomorrow",
    "datetime": 5,
    "select": [],
    "user": 5,
    "file": {},
    "url": None.__class__,
}


@pytest.mark.parametrize("value_type", VALUE_TYPES)
def test_what_fits_a_type(value_type: str) -> None:
    assert fits(value_type, False, GOOD[value_type]) and fits(value_type, False, None)
    assert not fits(value_type, False, BAD[value_type])
    assert fits(value_type, True, [GOOD[value_type]]) and not fits(value_type, True, GOOD[value_type])
    assert not fits(value_type, True, [None])


@pytest.mark.parametrize(
    ("value_type", "multiple", "text", "expected"),
    [
        ("number", False, " 2.5 ", "2.5"),
        ("bool", False, "Ja", True),
        ("bool", False, "no", False),
        ("money", False, "12.00 EUR", {"amount": "12.00", "currency": "EUR"}),
        ("date", False, "2026-03-01", "2026-03-01"),
        ("string", False, " as is ", " as is "),
        ("number", True, "1, 2,", ["1", "2"]),
    ],
)
def test_a_text_becomes_a_value(value_type: str, multiple: bool, text: str, expected: Any) -> None:
    assert converted(value_type, multiple, text) == expected


@pytest.mark.parametrize(("value_type", "text"), [("number", "many"), ("bool", "maybe"), ("date", "soon"), ("money", "12")])
def test_a_text_that_is_none(value_type: str, text: str) -> None:
    if value_type == "money":
        assert converted(value_type, False, text) == {"amount": "12", "currency": ""}
    else:
        with pytest.raises(ValueError, match=text):
            converted(value_type, False, text)
