"""Annotated types of request bodies: text, codes, zones, currencies, money and instants, each with a stable code when it is wrong."""

from __future__ import annotations

import re
import unicodedata
import zoneinfo
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, StrictBool, StrictInt, StrictStr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from shared.http.problems import Body


def _nfc(text: str) -> str:
    """Text in composed form. Control characters arrive here only from query parameters: bodies are refused before."""
    if text.isascii() and text.isprintable():
        return text
    if any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in text):
        raise PydanticCustomError("control_character", "Control characters other than line feed and tab are not allowed.")
    return unicodedata.normalize("NFC", text)


Text255 = Annotated[StrictStr, StringConstraints(min_length=1, max_length=255, strip_whitespace=True), AfterValidator(_nfc)]
"""A title or a name: 1 to 255 characters, outer blanks removed."""

LongText = Annotated[StrictStr, StringConstraints(max_length=16_384), AfterValidator(_nfc)]
"""A description or a comment: at most 16 Ki characters, may be empty."""

_CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_KEY = re.compile(r"[a-z][a-z0-9_]{0,62}")


def _code(text: str) -> str:
    if not _CODE.fullmatch(text):
        raise PydanticCustomError("bad_code", "A code has 1 to 63 lower-case letters, digits and hyphens; no hyphen comes first.")
    return text


def _key(text: str) -> str:
    if not _KEY.fullmatch(text):
        raise PydanticCustomError("bad_code", "This has 1 to 63 lower-case letters, digits and underscores and begins with a letter.")
    return text


Code = Annotated[StrictStr, AfterValidator(_code), Field(json_schema_extra={"pattern": f"^{_CODE.pattern}$"})]
"""An immutable slug of a pipeline, stage or employee: `additional-services` (F18)."""

RuleKey = Annotated[StrictStr, AfterValidator(_key), Field(json_schema_extra={"pattern": f"^{_KEY.pattern}$"})]
"""The slug of a rule, a trigger or a value, as it appears in placeholders: `send_link`."""


@cache
def _zones() -> frozenset[str]:
    return frozenset(zoneinfo.available_timezones())


def _zone(name: str) -> str:
    if name not in _zones():
        raise PydanticCustomError("unknown_zone", "This is no IANA time zone; write it like Europe/Berlin.")
    return name


Zone = Annotated[StrictStr, AfterValidator(_zone), Field(examples=["Europe/Berlin"])]
"""An IANA time zone. Unknown names are refused."""

_LISTED = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BHD BIF BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CLP CNY COP CRC CUP"
    " CVE CZK DJF DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GNF GTQ GYD HKD HNL HTG HUF IDR ILS INR IQD IRR ISK"
    " JMD JOD JPY KES KGS KHR KMF KPW KRW KWD KYD KZT LAK LBP LKR LRD LSL LYD MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN"
    " MYR MZN NAD NGN NIO NOK NPR NZD OMR PAB PEN PGK PHP PKR PLN PYG QAR RON RSD RUB RWF SAR SBD SCR SDG SEK SGD SHP SLE SOS"
    " SRD SSP STN SVC SYP SZL THB TJS TMT TND TOP TRY TTD TWD TZS UAH UGX USD UYU UZS VED VES VND VUV WST XAF XCD XCG XOF XPF"
    " YER ZAR ZMW ZWG"
)
_WHOLE = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_THOUSANDTHS = "BHD IQD JOD KWD LYD OMR TND"
_CURRENCIES = frozenset(_LISTED.split())
_DIGITS = dict.fromkeys(_WHOLE.split(), 0) | dict.fromkeys(_THOUSANDTHS.split(), 3)


def digits_of(currency: str) -> int:
    """How many digits of its minor unit a currency has (ISO 4217)."""
    return _DIGITS.get(currency, 2)


def _currency(code: str) -> str:
    if code not in _CURRENCIES:
        raise PydanticCustomError("unknown_currency", "This is no ISO 4217 currency; write it like EUR.")
    return code


Currency = Annotated[StrictStr, AfterValidator(_currency), Field(examples=["EUR"])]

_DECIMAL = re.compile(r"-?\d{1,15}(\.\d{1,6})?")


def _decimal(text: Any) -> str:
    if not isinstance(text, str) or not text.isascii() or not _DECIMAL.fullmatch(text):
        raise PydanticCustomError("bad_amount", 'A decimal is a string with at most 15 digits and 6 decimals, like "1200.50".')
    return text


def _not_negative(text: str) -> str:
    if text.startswith("-") and text.strip("-0."):
        raise PydanticCustomError("negative", "This may not be negative.")
    return text.removeprefix("-")


DecimalText = Annotated[str, BeforeValidator(_decimal), Field(json_schema_extra={"pattern": f"^{_DECIMAL.pattern}$"}, examples=["19.00"])]
"""A decimal number, as a string; never a JSON number."""

PositiveDecimalText = Annotated[DecimalText, AfterValidator(_not_negative)]
"""The same, zero or more."""


class MoneyBody(Body):
    """`{"amount": "1200.50", "currency": "EUR"}`: zero or more, at most the currency's number of digits."""

    amount: PositiveDecimalText
    currency: Currency

    @model_validator(mode="after")
    def amount_fits_currency(self) -> MoneyBody:
        allowed = digits_of(self.currency)
        if -int(Decimal(self.amount).normalize().as_tuple().exponent) > allowed:
            raise PydanticCustomError("bad_amount", "{currency} has {digits} decimals.", {"currency": self.currency, "digits": allowed})
        return self

    @property
    def minor_units(self) -> int:
        """The amount in the currency's smallest unit: 120050 for 1200.50 EUR (D69)."""
        return int(Decimal(self.amount).scaleb(digits_of(self.currency)))


_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d(:\d\d(\.\d+)?)?([Zz]|[+-]\d\d:\d\d)")


def _instant(value: Any) -> datetime:
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _INSTANT.fullmatch(value):
        raise PydanticCustomError("bad_instant", "An instant is written like 2026-11-22T14:00:00Z; any UTC offset is accepted.")
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        raise PydanticCustomError("bad_instant", "There is no such date or time.") from None


Instant = Annotated[datetime, BeforeValidator(_instant)]
"""RFC 3339 with an offset; in UTC once read."""

Whole = StrictInt
"""A whole number that was written as one."""

Flag = StrictBool
"""true or false, nothing that merely looks like it."""
