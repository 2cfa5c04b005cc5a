"""The second half of a finding: what a setting takes, and what there is instead of what was named (rule-format 8)."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from services.automation.domain.catalogue import LONGEST_SOURCE, Setting, choices_for

MOST_NAMED = 10
"""Names that one sentence holds."""
MOST_REMINDERS = 5
PERSON = "default, responsible or user:<code>"
TAKES = {
    "bool": "true or false",
    "text": "text",
    "long_text": "text",
    "pipeline": "the code of a pipeline",
    "stage": "the code of a stage",
    "deadline": 'a map like { day: tomorrow, time: "14:00" }',
    "details_template": "the code of a details template",
    "variable": "the code of a variable",
    "room": "the code of a room",
    "endpoint": "the id of a webhook endpoint for rules",
    "span": "a span like 30min or 2d",
    "declared_outputs": "a list of { name, type }",
    "customers": "none, all, primary or contact:<id>",
    "code": "a code like shop-order-shipped",
    "scope": "any, all_open or created_by:<pipeline>/<stage>#<rule id>",
    "threshold": '"30%" or { amount: "50.00", currency: EUR }',
}
"""By kind, where nothing depends on the setting itself."""


def takes(s: Setting, element_type: str | None = None) -> str:
    """What follows on `<setting> is`: a list of at most 10 ids of files."""
    match s.kind:
        case "choice" | "address_type":
            return f"one of {', '.join(s.choices)}"
        case "choices":
            return f"a list of {', '.join(choices_for(s, element_type))}"
        case "days":
            return f"a span like 30d, {s.least} to {s.most} days"
        case "minutes":
            return f"a whole number, {s.least} to {s.most}"
        case "person":
            return f"{PERSON}, or a placeholder" if s.template else PERSON
        case "recipients":
            return f"{one_of(s)}, or a list of at most {s.most} of them"
        case "people" | "files" | "minutes_list":
            return f"a list of at most {most_of(s)}, each {one_of(s)}"
        case "texts" | "field_values" | "payload":
            return f"a map of names to texts, at most {s.most}"
        case _:
            return TAKES.get(s.kind, "text")


def one_of(s: Setting) -> str:
    """What each in a list is."""
    match s.kind:
        case "files":
            return "one of the ids of files"
        case "minutes_list":
            return f"a whole number, {s.least} to {s.most}"
        case "recipients":
            return "responsible, user:<code> or role:<name>"
        case _:
            return PERSON


def most_of(s: Setting) -> int:
    return MOST_REMINDERS if s.kind == "minutes_list" else s.most or 50


def longest_of(s: Setting) -> int:
    return min(s.most or LONGEST_SOURCE, LONGEST_SOURCE)


def there_are(known: Iterable[str], asked: object = None) -> str:
    """What follows on `There is no room x`: the names nearest to what was asked for, else those that there are."""
    names = list(known)
    near = get_close_matches(asked, names, 3) if isinstance(asked, str) else []
    if near:
        return f"; did you mean {' or '.join(near)}?"
    if not names:
        return "; there is none yet."
    more = f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else ""
    return f"; there {'are' if len(names) > 1 else 'is'} {', '.join(names[:MOST_NAMED])}{more}."
