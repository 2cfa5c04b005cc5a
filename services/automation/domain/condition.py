"""Conditions: a tree of groups and leaves over typed fields, judged with a full trace (rule-format 5, G31-G34).

`parsed` turns checked JSON into a tree once; `evaluate` never fails, never short-circuits, and records every leaf."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from services.automation.domain.card import Person, Scope, is_of_run, normal
from services.automation.domain.timing import BadTime, parsed_offset
from shared.es.aggregate import Json

MOST_NODES = 50
MOST_DEPTH = 5
SHOWN = 200
"""Characters of a value that a trace keeps."""

Trace = tuple[str, str, Any, Any, bool, str | None]
"""(path, operator, expected as written, actual, verdict, note)."""


class Money(NamedTuple):
    amount: Decimal
    currency: str | None


@dataclass(frozen=True, slots=True)
class Leaf:
    """`expected` is the typed literal; `template` a literal with placeholders, typed when judged.

    `name` is the normal path; `slot` names the typed value, so that ten rules convert it once."""

    path: str
    op: str
    value: Any
    kind: str
    name: str
    slot: str
    test: Callable[[Any, Any], bool] = field(compare=False, repr=False)
    expected: Any = None
    template: bool = False
    special: bool = False
    """It looks at more than the value and the literal."""


@dataclass(frozen=True, slots=True)
class All:
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Any_:
    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Not:
    node: Node


Node = Leaf | All | Any_ | Not


@dataclass(frozen=True, slots=True)
class Judgement:
    holds: bool
    trace: tuple[Trace, ...] = ()


HOLDS = Judgement(True)


# ------------------------------------------------------------------------------------------------ judging


def evaluate(node: Node | None, scope: Scope, text: Callable[[str], str] = str) -> Judgement:
    """Whether it holds, and every leaf's trace in the order written. `text` renders a literal that holds placeholders."""
    if node is None:
        return HOLDS
    trace: list[Trace] = []
    return Judgement(_holds(node, scope, text, trace), tuple(trace))


def _holds(node: Node, scope: Scope, text: Callable[[str], str], trace: list[Trace]) -> bool:
    if isinstance(node, Leaf):
        return _leaf(node, scope, text, trace)
    if isinstance(node, All):
        return not [n for n in node.nodes if not _holds(n, scope, text, trace)]
    if isinstance(node, Any_):
        return bool([n for n in node.nodes if _holds(n, scope, text, trace)])
    return not _holds(node.node, scope, text, trace)


def _leaf(leaf: Leaf, scope: Scope, text: Callable[[str], str], trace: list[Trace]) -> bool:
    seen = scope.memo.get(leaf.slot)
    actual, shown = seen if seen is not None else _actual(leaf, scope)
    if leaf.special:
        verdict, note = _special(leaf, actual, scope, text)
    elif actual is None:
        verdict, note = leaf.op in HOLD_WHEN_MISSING, None
    else:
        verdict, note = leaf.test(actual, leaf.expected), None
    trace.append((leaf.path, leaf.op, leaf.value, shown, verdict, note))
    return verdict


HOLD_WHEN_MISSING = frozenset(("ne", "not_in", "not_contains", "empty"))
SPECIAL = frozenset(("money", "changed", "within_last", "within_next", "in_department"))
PLAIN = frozenset((bool, int, type(None)))


def _actual(leaf: Leaf, scope: Scope) -> tuple[Any, Any]:
    """The typed value, and what a trace shows of it."""
    raw = scope.value(leaf.name)
    seen = typed(raw, leaf.kind), raw if type(raw) in PLAIN else _shown(raw)
    if not is_of_run(leaf.name):
        scope.memo[leaf.slot] = seen
    return seen


def _shown(value: Any) -> Any:
    text = _readable(value)
    return text if len(text) <= SHOWN else text[:SHOWN] + "…"


def _readable(value: Any) -> str:
    """Money as `100.00 EUR`, rows by their names, several with commas between."""
    if isinstance(value, Mapping):
        return f"{value['amount']} {value.get('currency', '')}".strip() if "amount" in value else str(value.get("name", ""))
    if isinstance(value, list | tuple):
        return ", ".join(_readable(item) for item in value)
    return str(value)


def _special(leaf: Leaf, actual: Any, scope: Scope, text: Callable[[str], str]) -> tuple[bool, str | None]:
    """Leaves that look at more than one value: money with currencies, the past, the clock, people, literals with placeholders."""
    if leaf.op == "changed":
        return actual != typed(scope.remembered.get(leaf.name), leaf.kind), None
    if actual is None:
        return leaf.op in HOLD_WHEN_MISSING, None
    expected = literal(text(leaf.value), leaf.kind, leaf.op) if leaf.template else leaf.expected
    if expected is None and leaf.op not in NO_LITERAL:
        return leaf.op in HOLD_WHEN_MISSING, "literal_missing"
    if leaf.op == "in_department":
        person: Person | None = scope.card.links.person(str(actual))
        return person is not None and person.department == expected, None
    if leaf.op in ("within_last", "within_next"):
        return _within(leaf.op, actual, expected, scope), None
    return _compared(leaf, actual, expected, scope)


def _compared(leaf: Leaf, actual: Any, expected: Any, scope: Scope) -> tuple[bool, str | None]:
    if leaf.kind != "money":
        return leaf.test(actual, expected), None
    currency = actual.currency or scope.card.fields.get("currency")
    wanted = expected if isinstance(expected, tuple) and not isinstance(expected, Money) else (expected,)
    if any(isinstance(m, Money) and m.currency and m.currency != currency for m in wanted):
        return False, "currency_differs"
    amounts = tuple(m.amount if isinstance(m, Money) else m for m in wanted)
    return leaf.test(actual.amount, amounts if isinstance(expected, tuple) and not isinstance(expected, Money) else amounts[0]), None


def _within(op: str, actual: date | datetime, offset: Mapping[str, int], scope: Scope) -> bool:
    now: date | datetime = scope.now if isinstance(actual, datetime) else scope.local_now().date()
    if op == "within_last":
        return _shifted(now, offset, -1) <= actual <= now
    return now <= actual <= _shifted(now, offset, 1)


def _shifted(at: date | datetime, offset: Mapping[str, int], sign: int) -> date | datetime:
    """Months by the calendar, clamped to the end of a month; the rest as plain time."""
    months = at.year * 12 + at.month - 1 + sign * offset.get("months", 0)
    year, month = min(max(months // 12, 1), 9999), months % 12 + 1
    for day in range(at.day, 0, -1):
        try:
            moved = at.replace(year=year, month=month, day=day)
            break
        except ValueError:
            continue
    parts = {unit: sign * count for unit, count in offset.items() if unit != "months"}
    return moved + timedelta(**parts)


def culprit(node: Node, trace: Sequence[Trace]) -> Trace | None:
    """The first leaf that made the tree false, for the sentence people read."""
    leaves = list(leaves_of(node))
    verdicts = dict(zip(map(id, leaves), trace, strict=False))
    return _culprit(node, verdicts, want=True)


def _culprit(node: Node, verdicts: Mapping[int, Trace], *, want: bool) -> Trace | None:
    """The first leaf on the way to a group whose verdict is not `want`."""
    if isinstance(node, Leaf):
        seen = verdicts.get(id(node))
        return seen if seen is not None and seen[4] is not want else None
    if isinstance(node, Not):
        return _culprit(node.node, verdicts, want=not want)
    found = (_culprit(n, verdicts, want=want) for n in node.nodes)
    return next((trace for trace in found if trace is not None), None)


def leaves_of(node: Node) -> Sequence[Leaf]:
    """Every leaf in the order of the trace."""
    if isinstance(node, Leaf):
        return [node]
    if isinstance(node, Not):
        return leaves_of(node.node)
    return [leaf for n in node.nodes for leaf in leaves_of(n)]


def sentence(trace: Trace) -> str:
    path, op, expected, actual, _, note = trace
    found = "nothing" if actual is None else f"{actual}"
    return f"{path} {op} {'' if expected is None else expected} was not so: it was {found}" + (f" ({note})" if note else "")


# ------------------------------------------------------------------------------------------------ values


def typed(value: Any, kind: str) -> Any:
    """A field's JSON value as what is compared; None when it is missing or not of the kind."""
    if value is None:
        return None
    try:
        return _typed(value, kind)
    except (ValueError, TypeError, InvalidOperation, KeyError):
        return None


def _typed(value: Any, kind: str) -> Any:
    match kind:
        case "text" | "select" | "user" | "stage" | "weekday" | "time":
            text = value if isinstance(value, str) else str(value)
            return text if text.isascii() else unicodedata.normalize("NFC", text)
        case "number":
            return _number(value)
        case "money":
            return _money(value)
        case "amount":
            return _money(value).amount
        case "bool":
            return value if isinstance(value, bool) else {"true": True, "false": False}[str(value).lower()]
        case "date":
            return date.fromisoformat(str(value)[:10])
        case "datetime":
            at = datetime.fromisoformat(str(value))
            return at if at.tzinfo else at.replace(tzinfo=UTC)
        case _:
            many = value if isinstance(value, list | tuple) else [value]
            return tuple(unicodedata.normalize("NFC", str(item)) for item in many)


def _number(value: Any) -> Decimal:
    if isinstance(value, bool) or not isinstance(value, int | str | float | Decimal):
        raise ValueError("not a number")
    number = Decimal(str(value))
    if not number.is_finite():
        raise ValueError("not a number")
    return number


def _money(value: Any) -> Money:
    if isinstance(value, Mapping):
        return Money(_number(value["amount"]), str(value["currency"]))
    return Money(_number(value), None)


# ------------------------------------------------------------------------------------------------ operators


def _between_times(actual: str, expected: tuple[str, str]) -> bool:
    low, high = expected
    return low <= actual <= high if low <= high else actual >= low or actual <= high


EQUALITY: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, e: a == e,
    "ne": lambda a, e: a != e,
    "in": lambda a, e: a in e,
    "not_in": lambda a, e: a not in e,
}
PRESENCE: dict[str, Callable[[Any, Any], bool]] = {
    "empty": lambda a, e: False,
    "not_empty": lambda a, e: True,
    "changed": lambda a, e: False,
}
ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "gt": lambda a, e: a > e,
    "gte": lambda a, e: a >= e,
    "lt": lambda a, e: a < e,
    "lte": lambda a, e: a <= e,
    "between": lambda a, e: e[0] <= a <= e[1],
}
TEXT: dict[str, Callable[[Any, Any], bool]] = {
    "contains": lambda a, e: e.casefold() in a.casefold(),
    "not_contains": lambda a, e: e.casefold() not in a.casefold(),
    "starts_with": lambda a, e: a.casefold().startswith(e.casefold()),
    "ends_with": lambda a, e: a.casefold().endswith(e.casefold()),
}
DATES: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, e: a == e,
    "before": lambda a, e: a < e,
    "after": lambda a, e: a > e,
    "on_or_before": lambda a, e: a <= e,
    "on_or_after": lambda a, e: a >= e,
    "between": lambda a, e: e[0] <= a <= e[1],
    "within_last": lambda a, e: False,
    "within_next": lambda a, e: False,
}
LISTS: dict[str, Callable[[Any, Any], bool]] = {
    "contains": lambda a, e: e in a,
    "contains_any": lambda a, e: any(item in a for item in e),
    "contains_all": lambda a, e: all(item in a for item in e),
    "count_eq": lambda a, e: len(a) == e,
    "count_gte": lambda a, e: len(a) >= e,
    "count_lte": lambda a, e: len(a) <= e,
}
NUMERIC = EQUALITY | ORDER | PRESENCE
OPERATORS: dict[str, dict[str, Callable[[Any, Any], bool]]] = {
    "text": EQUALITY | TEXT | PRESENCE,
    "number": NUMERIC,
    "money": NUMERIC,
    "bool": {"eq": EQUALITY["eq"], "ne": EQUALITY["ne"]},
    "date": DATES | PRESENCE,
    "datetime": DATES | PRESENCE,
    "time": {"between": _between_times},
    "weekday": {"eq": EQUALITY["eq"], "in": EQUALITY["in"], "not_in": EQUALITY["not_in"]},
    "select": EQUALITY | PRESENCE,
    "stage": EQUALITY | PRESENCE,
    "user": EQUALITY | PRESENCE | {"in_department": lambda a, e: False},
    "list": LISTS | PRESENCE,
}
NO_LITERAL = frozenset(("empty", "not_empty", "changed"))


def literal(value: Any, kind: str, op: str) -> Any:
    """A literal as what it is compared with; None when it does not fit the operator."""
    if op in NO_LITERAL:
        return None
    if op in ("in", "not_in", "contains_any", "contains_all"):
        return _many(value, "text" if kind == "list" else kind)
    if op == "between":
        pair = _many(value, kind)
        return pair if pair is not None and len(pair) == 2 else None
    if op.startswith("count_"):
        return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
    if op.startswith("within_"):
        return _offset(value)
    return typed(value, {"list": "text"}.get(kind, kind))


def _many(value: Any, kind: str) -> tuple[Any, ...] | None:
    if isinstance(value, str) and kind not in ("time",):
        value = [part.strip() for part in value.split(",")]
    if not isinstance(value, list | tuple):
        return None
    items = tuple(typed(item, kind) for item in value)
    return None if any(item is None for item in items) else items


def _offset(value: Any) -> dict[str, int] | None:
    try:
        return parsed_offset(value)
    except BadTime:
        return None


# ------------------------------------------------------------------------------------------------ parsing


def is_template(value: Any) -> bool:
    return isinstance(value, str) and ("{{" in value or "{%" in value)


def parsed(condition: Json | None, kinds: Mapping[str, str], users: Mapping[str, str] | None = None) -> Node | None:
    """The tree of a checked condition. `kinds` types the paths it names (normal form), `users` maps user:<code> to ids."""
    return None if condition is None else _node(condition, kinds, users or {})


def _node(condition: Json, kinds: Mapping[str, str], users: Mapping[str, str]) -> Node:
    if "all" in condition:
        return All(tuple(_node(n, kinds, users) for n in condition["all"]))
    if "any" in condition:
        return Any_(tuple(_node(n, kinds, users) for n in condition["any"]))
    if "not" in condition:
        return Not(_node(condition["not"], kinds, users))
    return _leaf_of(condition, kinds, users)


def _leaf_of(condition: Json, kinds: Mapping[str, str], users: Mapping[str, str]) -> Leaf:
    path, op, value = str(condition["field"]), str(condition["op"]), condition.get("value")
    name = normal(path)
    kind = kinds.get(name, "text")
    test = OPERATORS[kind][op]
    if kind == "money" and not _names_a_currency(value):
        kind = "amount"
    template = is_template(value)
    expected = None if template else literal(_people(value, users) if kind == "user" else value, kind, op)
    unfit = expected is None and op not in NO_LITERAL
    special = template or unfit or kind in SPECIAL or op in SPECIAL
    return Leaf(path, op, value, kind, name, f"{kind} {name}", test, expected, template, special)


def _names_a_currency(value: Any) -> bool:
    return isinstance(value, dict) or (isinstance(value, list) and any(isinstance(item, dict) for item in value))


def _people(value: Any, users: Mapping[str, str]) -> Any:
    if isinstance(value, list):
        return [_people(item, users) for item in value]
    return users.get(value, value) if isinstance(value, str) else value


def mentioned(condition: Json | None) -> list[tuple[str, str]]:
    """(path, operator) of every leaf."""
    if condition is None:
        return []
    nodes = condition.get("all") or condition.get("any") or ([condition["not"]] if "not" in condition else [])
    if "field" in condition:
        return [(str(condition["field"]), str(condition.get("op")))]
    return [pair for node in nodes if isinstance(node, dict) for pair in mentioned(node)]
