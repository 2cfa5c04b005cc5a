"""Money: minor units, lines, tax per rate (billing.md section 3, D69)."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given as over
from hypothesis import strategies as st

from services.billing.domain.credit_note import totals_of_amount
from services.billing.domain.money import Line, amount_text, half_up, lines_of, minor_units, money_of, totals_of
from shared.es.errors import Rejected
from tests.unit.billing.books import line


@dataclass(frozen=True)
class Text:
    line_id: str = "l1"
    product_code: str | None = None
    name: str = "Roof tiles"
    quantity: str = "1"
    unit_price: str = "100.00"
    discount_percent: str = "0"
    tax_rate: str = "19"


def test_prices_that_include_tax() -> None:
    totals = totals_of([line("100.00", "19")], prices_include_tax=True)

    assert (totals.net, totals.tax, totals.gross) == (8403, 1597, 10000)


def test_three_rates_are_rounded_half_up_once_per_rate() -> None:
    """D69"""
    lines = [line("0.05", "19"), line("0.05", "19"), line("1.00", "7"), line("2.00", "0")]

    totals = totals_of(lines, prices_include_tax=False)

    assert [(str(r.rate), r.net, r.tax) for r in totals.by_rate] == [("0", 200, 0), ("7", 100, 7), ("19", 10, 2)]
    assert (totals.net, totals.tax, totals.gross) == (310, 9, 319)


def test_a_line_is_rounded_half_up() -> None:
    bought = Line("l1", "Screws", Decimal("2.5"), 101, Decimal(19), Decimal("50"))

    assert bought.total == 126  # 126.25
    assert half_up(Fraction(1, 2)) == 1
    assert half_up(Fraction(-1, 2)) == -1


@pytest.mark.parametrize(
    ("minor", "currency", "text"),
    [(120050, "EUR", "1200.50"), (5, "EUR", "0.05"), (-5, "EUR", "-0.05"), (120, "JPY", "120"), (1500, "KWD", "1.500")],
)
def test_amounts_have_the_digits_of_their_currency(minor: int, currency: str, text: str) -> None:
    assert amount_text(minor, currency) == text
    assert minor_units(text, currency) == minor


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        ("1.005", "EUR", "bad_amount"),
        ("1.5", "JPY", "bad_amount"),
        ("1e3", "EUR", "bad_amount"),
        ("NaN", "EUR", "bad_amount"),
        ("0", "EUR", "bad_amount"),
        ("-1", "EUR", "bad_amount"),
        ("1", "XXQ", "unknown_currency"),
    ],
)
def test_amounts_that_cannot_be_paid(amount: str, currency: str, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        money_of(amount, currency)
    assert (refused.value.code, refused.value.status, refused.value.errors[0].code) == ("validation_failed", 422, code)


@pytest.mark.parametrize(
    ("text", "pointer", "code"),
    [
        (Text(quantity="0"), "#/lines/0/quantity", "bad_amount"),
        (Text(quantity="-1"), "#/lines/0/quantity", "bad_amount"),
        (Text(unit_price="0"), "#/lines/0", "bad_amount"),
        (Text(unit_price="-5"), "#/lines/0", "bad_amount"),
        (Text(unit_price="1.005"), "#/lines/0/unit_price", "bad_amount"),
        (Text(discount_percent="100"), "#/lines/0", "bad_amount"),
        (Text(discount_percent="101"), "#/lines/0/discount_percent", "bad_amount"),
        (Text(tax_rate="101"), "#/lines/0/tax_rate", "bad_tax_rate"),
        (Text(tax_rate="-1"), "#/lines/0/tax_rate", "bad_tax_rate"),
        (Text(quantity="999999999999999", unit_price="999.00"), "#/lines/0", "bad_amount"),
        (Text(quantity="many"), "#/lines/0/quantity", "bad_amount"),
    ],
)
def test_a_line_that_is_wrong_is_named(text: Text, pointer: str, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        lines_of([text], "EUR")
    assert [(f.pointer, f.code) for f in refused.value.errors] == [(pointer, code)]


def test_every_wrong_line_is_named() -> None:
    with pytest.raises(Rejected) as refused:
        lines_of([Text(), Text(tax_rate="200"), Text(quantity="0")], "EUR")
    assert [f.pointer for f in refused.value.errors] == ["#/lines/1/tax_rate", "#/lines/2/quantity"]


def test_a_document_has_at_most_500_lines_and_a_currency() -> None:
    with pytest.raises(Rejected, match="500 lines"):
        lines_of([Text()] * 501, "EUR")
    with pytest.raises(Rejected) as refused:
        lines_of([Text()], "")
    assert refused.value.code == "currency_missing"


LINES = st.builds(
    Line,
    st.just("l"),
    st.just("n"),
    st.decimals("0.001", "10000", places=3),
    st.integers(1, 10**7),
    st.sampled_from([Decimal(0), Decimal(7), Decimal(19), Decimal("19.0"), Decimal("5.5")]),
    st.decimals("0", "99", places=2),
)


@over(st.lists(LINES, min_size=1, max_size=8), st.booleans())
def test_net_and_tax_make_the_gross(lines: list[Line], prices_include_tax: bool) -> None:
    totals = totals_of(lines, prices_include_tax)

    assert totals.net + totals.tax == totals.gross
    assert sum(r.net for r in totals.by_rate) == totals.net
    assert sum(r.tax for r in totals.by_rate) == totals.tax
    assert sum(each.total for each in lines) == (totals.gross if prices_include_tax else totals.net)


@over(st.lists(LINES, min_size=1, max_size=4), st.data())
def test_a_part_of_an_invoice_is_spread_over_its_rates_to_the_last_cent(lines: list[Line], data: st.DataObject) -> None:
    whole = totals_of(lines, prices_include_tax=True)
    if whole.gross == 0:
        return
    part = totals_of_amount(whole, data.draw(st.integers(1, whole.gross)))

    assert part.net + part.tax == part.gross == sum(r.net + r.tax for r in part.by_rate)
