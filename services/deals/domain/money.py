"""Currencies, amounts and product rows. Exact: Decimal, never a float; rounded half up to the currency's digits (D69)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal, localcontext
from typing import Any
from uuid import UUID

from services.deals.domain.fields import ID, NAME, NUMBER, SHORT_TEXT, Kind, Kinds, Wrong, custom_map, optional, same, several


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


TWO_DIGITS = _codes(
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD"
    " EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL"
    " MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR"
    " SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
)
NO_DIGITS = _codes("BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF")
THREE_DIGITS = _codes("BHD IQD JOD KWD LYD OMR TND")
LARGEST = Decimal(10) ** 15
LINES = 500
"""Product rows of one deal or lead, at most."""

HUNDRED = Decimal(100)
DIGITS_IN_BETWEEN = 80
"""Of a product of quantity, price and discount: never rounded before the end."""


def digits(currency: str) -> int:
    """Decimal places of the currency's smaller unit. Raises Wrong `unknown_currency`."""
    if currency in TWO_DIGITS:
        return 2
    if currency in NO_DIGITS:
        return 0
    if currency in THREE_DIGITS:
        return 3
    raise Wrong("unknown_currency", f"{currency[:16]!r} is not the code of a currency.")


def exact(amount: Decimal, currency: str) -> Decimal:
    """The amount with all digits of its currency. Raises Wrong `bad_amount`: negative, too precise or too large."""
    if amount < 0 or amount >= LARGEST:
        raise Wrong("bad_amount", "An amount is not negative and has at most 15 digits before the point.")
    places = digits(currency)
    whole = amount.quantize(Decimal(1).scaleb(-places)) + 0
    if whole != amount:
        raise Wrong("bad_amount", f"{currency} has {places} decimal places.")
    return whole


def rounded(amount: Decimal, currency: str) -> Decimal:
    """Half up to the currency's digits."""
    return amount.quantize(Decimal(1).scaleb(-digits(currency)), rounding=ROUND_HALF_UP)


@dataclass(frozen=True, slots=True)
class Line:
    """A product row. Currency and `prices_include_tax` stand on the deal; rates and discounts are percentages."""

    line_id: UUID
    name: str
    quantity: Decimal
    unit_price: Decimal
    tax_rate: Decimal
    discount_percent: Decimal = Decimal(0)
    product_code: str | None = None

    def total(self, currency: str) -> Decimal:
        """Quantity times price less discount, half up to the currency's digits."""
        with localcontext(prec=DIGITS_IN_BETWEEN):
            return rounded(self.quantity * self.unit_price * (HUNDRED - self.discount_percent) / HUNDRED, currency)


def total(lines: Iterable[Line], currency: str) -> Decimal:
    """The sum of the rows' totals. Raises Wrong `bad_amount` when it is too large."""
    with localcontext(prec=DIGITS_IN_BETWEEN):
        return exact(sum((line.total(currency) for line in lines), Decimal(0)), currency)


def _currency(value: Any) -> str:
    if not isinstance(value, str):
        raise Wrong("wrong_type", "This must be text.")
    digits(value)
    return value


def _percent(value: Any) -> Decimal:
    percent = NUMBER.read(value)
    if not 0 <= percent <= HUNDRED:
        raise Wrong("bad_amount", "A percentage lies between 0 and 100.")
    return percent


def _not_negative(value: Any) -> Decimal:
    number = NUMBER.read(value)
    if number < 0:
        raise Wrong("bad_amount", "This must not be negative.")
    return number


CURRENCY = Kind(_currency, same)
PERCENT = Kind(_percent, NUMBER.show)
AMOUNT = Kind(_not_negative, NUMBER.show)

LINE_FIELDS: Kinds = {
    "line_id": ID,
    "product_code": optional(SHORT_TEXT),
    "name": NAME,
    "quantity": AMOUNT,
    "unit_price": AMOUNT,
    "discount_percent": PERCENT,
    "tax_rate": PERCENT,
}
REQUIRED_OF_A_LINE = ("line_id", "name", "quantity", "unit_price", "tax_rate")


def _read_line(value: Any) -> Line:
    given = custom_map(value)
    for name in REQUIRED_OF_A_LINE:
        if given.get(name) is None:
            raise Wrong("required", "This must be given.", f"/{name}")
    return Line(**{name: _member(name, content) for name, content in given.items()})


def _member(name: str, content: Any) -> Any:
    if name not in LINE_FIELDS:
        raise Wrong("unknown_field", "A row has no such field.", f"/{name}")
    try:
        return LINE_FIELDS[name].read(content)
    except Wrong as wrong:
        raise Wrong(wrong.code, wrong.detail, f"/{name}{wrong.at}") from None


def _show_line(line: Line) -> Mapping[str, Any]:
    return {name: kind.show(getattr(line, name)) for name, kind in LINE_FIELDS.items()}


def _read_lines(value: Any) -> tuple[Line, ...]:
    items = several(LINE, LINES).read(value)
    if len({line.line_id for line in items}) < len(items) or len(items) < len(value):
        raise Wrong("wrong_type", "Two rows have the same line_id.")
    return items


LINE = Kind(_read_line, _show_line)
ROWS = Kind(_read_lines, several(LINE, LINES).show)
