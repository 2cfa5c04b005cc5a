"""Money, product rows and their sums. Integer minor units and an ISO 4217 code inside, decimal text outside, no floats (D69)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Protocol

from shared.es.errors import Fault, Rejected

_TWO = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC CUP CVE CZK DKK"
    " DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK"
    " LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR"
    " RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED"
    " VES WST XCD XCG YER ZAR ZMW ZWG"
)
_NONE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THREE = "BHD IQD JOD KWD LYD OMR TND"
_DIGITS = {code: digits for codes, digits in ((_NONE, 0), (_TWO, 2), (_THREE, 3)) for code in codes.split()}
_DECIMAL = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,6})?")

MOST_DIGITS = 15
MOST_LINES = 500


@dataclass(frozen=True, slots=True)
class Money:
    """An amount in the currency's smallest unit: 120050 EUR is 1200.50."""

    minor: int
    currency: str

    @property
    def amount(self) -> str:
        return amount_text(self.minor, self.currency)


@dataclass(frozen=True, slots=True)
class Line:
    """A product row. `unit_price` in minor units, `quantity`, `discount_percent` and `tax_rate` exact decimals.

    Whether prices include tax, and the currency, stand on the document."""

    line_id: str
    name: str
    quantity: Decimal
    unit_price: int
    tax_rate: Decimal
    discount_percent: Decimal = Decimal(0)
    product_code: str | None = None

    @property
    def total(self) -> int:
        """Minor units, rounded half up once: quantity * unit price * (1 - discount)."""
        return half_up(Fraction(self.quantity) * self.unit_price * (1 - Fraction(self.discount_percent) / 100))


@dataclass(frozen=True, slots=True)
class RateTotal:
    rate: Decimal
    net: int
    tax: int


@dataclass(frozen=True, slots=True)
class Totals:
    """Minor units. `gross` is what the customer pays: net + tax."""

    net: int = 0
    tax: int = 0
    gross: int = 0
    by_rate: tuple[RateTotal, ...] = ()


NO_TOTALS = Totals()


class LineText(Protocol):
    """A product row as it came in, over HTTP or in a message: decimals are still text."""

    @property
    def line_id(self) -> str: ...
    @property
    def product_code(self) -> str | None: ...
    @property
    def name(self) -> str: ...
    @property
    def quantity(self) -> str: ...
    @property
    def unit_price(self) -> str: ...
    @property
    def discount_percent(self) -> str: ...
    @property
    def tax_rate(self) -> str: ...


def half_up(value: Fraction) -> int:
    """To the nearest whole number, halves away from zero."""
    whole = (2 * abs(value.numerator) + value.denominator) // (2 * value.denominator)
    return whole if value >= 0 else -whole


def totals_of(lines: Iterable[Line], prices_include_tax: bool) -> Totals:
    """Sums per tax rate; the tax of a rate is computed over the sum of its lines and rounded half up once."""
    sums: dict[Decimal, int] = {}
    for line in lines:
        rate = line.tax_rate.normalize()
        sums[rate] = sums.get(rate, 0) + line.total
    by_rate = tuple(_of_rate(rate, sums[rate], prices_include_tax) for rate in sorted(sums))
    net, tax = sum(r.net for r in by_rate), sum(r.tax for r in by_rate)
    return Totals(net, tax, net + tax, by_rate)


def _of_rate(rate: Decimal, total: int, prices_include_tax: bool) -> RateTotal:
    share = Fraction(rate)
    if prices_include_tax:
        tax = half_up(total * share / (100 + share))
        return RateTotal(rate, total - tax, tax)
    return RateTotal(rate, total, half_up(total * share / 100))


def digits_of(currency: str) -> int:
    """Digits of the minor unit. Raises KeyError for what is no currency."""
    return _DIGITS[currency]


def amount_text(minor: int, currency: str) -> str:
    """Decimal text with exactly the currency's digits: '1200.50', '-3', '0.00'."""
    digits = _DIGITS[currency]
    sign, whole = ("-" if minor < 0 else ""), str(abs(minor)).rjust(digits + 1, "0")
    return f"{sign}{whole[:-digits]}.{whole[-digits:]}" if digits else f"{sign}{whole}"


def decimal_text(value: Decimal) -> str:
    """Without an exponent and without trailing zeros: '19', '0.5'."""
    return format(value.normalize(), "f")


def invalid(faults: Sequence[Fault]) -> Rejected:
    """The input itself is wrong: 422 `validation_failed`, one entry per fault."""
    return Rejected("validation_failed", "; ".join(f"{f.pointer}: {f.detail}" for f in faults), status=422, errors=faults)


def known_currency(currency: str, pointer: str = "#/currency") -> str:
    """The code itself. Raises Rejected: `currency_missing` for none, `validation_failed` (`unknown_currency`) for no code of ISO 4217."""
    if not currency:
        raise Rejected("currency_missing", "A document needs a currency, like EUR.")
    if currency not in _DIGITS:
        raise invalid([Fault(pointer, "unknown_currency", f"{currency} is no ISO 4217 currency; write it like EUR.")])
    return currency


def minor_units(amount: str, currency: str, pointer: str = "#/amount") -> int:
    """Decimal text as minor units. Raises Rejected (`bad_amount`): more digits than the currency has, or no decimal."""
    digits = _DIGITS[known_currency(currency)]
    value = Decimal(amount).scaleb(digits) if _DECIMAL.fullmatch(amount) else None
    if value is None or value != value.to_integral_value():
        raise invalid([Fault(pointer, "bad_amount", f"{amount} is no amount of {currency}, which has {digits} decimals.")])
    return int(value)


def money_of(amount: str, currency: str, pointer: str = "#/amount") -> Money:
    """An amount above zero. Raises Rejected (`bad_amount`, `unknown_currency`)."""
    minor = minor_units(amount, currency, pointer)
    if minor <= 0:
        raise invalid([Fault(pointer, "bad_amount", "The amount must be above zero.")])
    return Money(minor, currency)


def lines_of(texts: Sequence[LineText], currency: str, pointer: str = "#/lines") -> tuple[Line, ...]:
    """Product rows as they came in. Raises Rejected with every fault of every line (`bad_amount`, `bad_tax_rate`, `too_many_lines`)."""
    known_currency(currency)
    if len(texts) > MOST_LINES:
        raise invalid([Fault(pointer, "too_many_lines", f"A document has at most {MOST_LINES} lines.")])
    faults = [fault for n, text in enumerate(texts) for fault in _faults(text, currency, f"{pointer}/{n}")]
    if faults:
        raise invalid(faults)
    return tuple(_line(text, currency) for text in texts)


def line_of_amount(line_id: str, name: str, minor: int) -> Line:
    """The one line of a document that has an amount but no product rows (D44). No tax is known, so none is shown."""
    return Line(line_id, name, Decimal(1), minor, Decimal(0))


def _line(text: LineText, currency: str) -> Line:
    price = int(Decimal(text.unit_price).scaleb(_DIGITS[currency]))
    discount, rate = Decimal(text.discount_percent), Decimal(text.tax_rate)
    return Line(text.line_id, text.name, Decimal(text.quantity), price, rate, discount, text.product_code)


def _faults(text: LineText, currency: str, pointer: str) -> list[Fault]:
    numbers = {name: getattr(text, name) for name in ("quantity", "unit_price", "discount_percent", "tax_rate")}
    broken = [Fault(f"{pointer}/{n}", "bad_amount", f"{v} is no decimal.") for n, v in numbers.items() if not _DECIMAL.fullmatch(v)]
    if broken:
        return broken
    faults = []
    if not 0 <= Decimal(text.tax_rate) <= 100:
        faults.append(Fault(f"{pointer}/tax_rate", "bad_tax_rate", "A tax rate lies between 0 and 100."))
    if not 0 <= Decimal(text.discount_percent) <= 100:
        faults.append(Fault(f"{pointer}/discount_percent", "bad_amount", "A discount lies between 0 and 100."))
    price = Decimal(text.unit_price).scaleb(_DIGITS[currency])
    if price != price.to_integral_value():
        faults.append(Fault(f"{pointer}/unit_price", "bad_amount", f"{currency} has {_DIGITS[currency]} decimals."))
    return faults or _faults_of_total(_line(text, currency), currency, pointer)


def _faults_of_total(line: Line, currency: str, pointer: str) -> list[Fault]:
    if line.quantity <= 0:
        return [Fault(f"{pointer}/quantity", "bad_amount", "A quantity is above zero.")]
    if line.total <= 0:
        return [Fault(pointer, "bad_amount", "A line's total must be above zero.")]
    if line.total >= 10 ** (MOST_DIGITS + _DIGITS[currency]):
        return [Fault(pointer, "bad_amount", f"An amount has at most {MOST_DIGITS} digits.")]
    return []
