"""Types that several contracts share. JSON's types only: a string, an amount as a string, an RFC 3339 time as a string.

In commands enumerations are closed. In events they are open, plain `str`: a reader maps a member it does not know to `other`."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import date, datetime
from itertools import islice
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from shared.messaging.contract import Command, Event


def _on_the_calendar(text: str) -> str:
    datetime.fromisoformat(text)
    return text


def _day_on_the_calendar(text: str) -> str:
    date.fromisoformat(text)
    return text


_DAY = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]"

Uuid = Annotated[str, Field(pattern=r"^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$")]
"""Lower case, with hyphens."""

Instant = Annotated[str, Field(pattern=rf"^{_DAY}T{_TIME}:[0-5][0-9](\.[0-9]{{1,6}})?Z$")]
"""RFC 3339, UTC, `Z`; written with milliseconds."""

GivenInstant = Annotated[Instant, AfterValidator(_on_the_calendar)]
"""An Instant of a command: also no 30 February."""

Date = Annotated[str, Field(pattern=rf"^{_DAY}$")]
GivenDate = Annotated[Date, AfterValidator(_day_on_the_calendar)]
LocalTime = Annotated[str, Field(pattern=rf"^{_TIME}$")]
Zone = Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_+/-]{0,63}$")]
"""IANA name; whether it exists is the receiver's question."""

Amount = Annotated[str, Field(pattern=r"^-?[0-9]{1,15}(\.[0-9]{1,6})?$")]
"""Decimal text."""

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
Text = Annotated[str, Field(pattern=r"^[^\x00-\x08\x0b-\x1f\x7f-\x9f]*$")]
"""Text given in a command: no control characters but line feed and tab."""

Whole = Annotated[int, Field(ge=-2_147_483_648, le=2_147_483_647)]
"""A whole number given in a command."""

Map = dict[str, Any]
"""Names to JSON values."""

ElementType = Literal["deal", "lead"]
AddressType = Literal["postal", "business", "delivery", "registered", "legal", "beneficiary"]
Automation = Literal["on", "suppressed"]


class Value(BaseModel):
    """A part of a message. Unknown fields follow the message it stands in: forbidden in commands, ignored in events."""

    model_config = ConfigDict(frozen=True, strict=True)


class Money(Value):
    amount: Amount
    currency: Currency


class Line(Value):
    """A product row. Currency and `prices_include_tax` stand on the document. Percentages are 0 to 100."""

    line_id: Uuid
    product_code: Text | None = None
    name: Text
    quantity: Amount
    unit_price: Amount
    discount_percent: Amount = "0"
    tax_rate: Amount


class Address(Value):
    """F17; `country_code` is ISO 3166-1 alpha-2."""

    street: Text | None = None
    house: Text | None = None
    addition: Text | None = None
    city: Text | None = None
    postal_code: Text | None = None
    district: Text | None = None
    region: Text | None = None
    country: Text | None = None
    country_code: Text | None = None


class ElementRef(Value):
    """What stands in a stage."""

    element_type: str
    element_id: Uuid


class GivenElement(ElementRef):
    """An ElementRef of a command: only types that exist."""

    element_type: ElementType


class Customer(Value):
    contact_id: Uuid | None = None
    company_id: Uuid | None = None


class Origin(Value):
    """What made it happen. `kind`: person, rule, trigger, import, api, system; `id` is the rule, trigger or API client.

    `chain`: the rules and triggers that led here, oldest first, at most 10 (D40)."""

    kind: str
    id: Uuid | None = None
    version: int | None = None
    visit_id: Uuid | None = None
    decision_id: Uuid | None = None
    backfill_id: Uuid | None = None
    acting_fallback: bool = False
    chain: tuple[Uuid, ...] = ()

    @classmethod
    def legible(cls, said: object) -> Self | None:
        """The origin that a command names, if it is one: `said` may be any JSON value. None too for more than an origin can hold."""
        text = json.dumps(said)
        try:
            return cls.model_validate_json(text) if len(text) <= LONGEST_ORIGIN else None
        except ValueError:
            return None


LONGEST_ORIGIN = 2_000


class Offset(Value):
    """Seconds, minutes and hours are physical time; days, weeks and months are calendar steps in the zone."""

    seconds: Whole | None = None
    minutes: Whole | None = None
    hours: Whole | None = None
    days: Whole | None = None
    weeks: Whole | None = None
    months: Whole | None = None


class When(Value):
    """A time expression; scheduler.md section 5 is its meaning. Exactly one anchor; a null zone is the company calendar's."""

    mode: Literal["after", "before", "at"]
    anchor_instant: GivenInstant | None = None
    anchor_date: GivenDate | None = None
    offset: Offset | None = None
    local_time: LocalTime | None = None
    zone: Zone | None = None
    working_hours: Literal["none", "company", "responsible"] = "none"
    responsible_id: Uuid | None = None


class Change(Value):
    """A field before and after; lines and lists as a whole."""

    before: Any = None
    after: Any = None


class Fault(Value):
    """One thing wrong with what was asked: where (a JSON pointer), a stable code, a sentence."""

    pointer: str
    code: str
    detail: str


class Request(Command):
    """What every command says. The asker chooses `request_id`; the answer repeats it; it is the id of the thing created.

    `origin` is what led to the asking; left out by other back ends, the receiver records `api`."""

    request_id: Uuid
    origin: Origin | None = None


class Fact(Event):
    """What every event says."""

    origin: Origin


class Answer(Fact):
    """An event that can answer a command. `request_id` is null when a person did it over HTTP."""

    request_id: Uuid | None = None


class Rejection(Event):
    """The domain said no, or the body could not be read (`invalid_body`). `code` is the text HTTP answers carry.

    `request_id` and what else stood in the command is null where the command did not say it legibly.
    `record_key` is the command's key."""

    request_id: str | None = None
    record_key: str
    command_type: str
    code: str
    detail: str
    element_type: str | None = None
    element_id: str | None = None
    errors: tuple[Fault, ...] = ()
    origin: Origin | None = None

    @classmethod
    def of(cls, key: str, command: str, code: str, detail: str, errors: Iterable[tuple[str, str, str]], **said: Any) -> Self:
        """The refusal of the command with this key and type. `errors`: pointer, code, detail. `said`: what else stood in it, legibly.

        However much was wrong, it is short enough to travel: 1,000 characters, and of the first 50 faults 500 each."""
        faults = tuple(Fault(pointer=place[:200], code=what, detail=why[:500]) for place, what, why in islice(errors, 50))
        return cls(record_key=key, command_type=command, code=code, detail=detail[:1000], errors=faults, **said)
