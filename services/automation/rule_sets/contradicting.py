"""Conditions that can never hold, found without any element: leaves of one `all` that exclude each other (rule-format 10).

Sound, not complete: what is found never matches; what needs more than one field's values to see is not looked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from services.automation.domain.condition import All, Any_, Leaf, Node

HOLD_WITHOUT_VALUE = frozenset(("empty", "ne", "not_in", "not_contains", "changed"))
"""Operators that are true of a field that is empty, or may be."""
ORDERED = frozenset(("gt", "gte", "lt", "lte", "between", "before", "after", "on_or_before", "on_or_after"))
Located = tuple[str, Leaf]
"""A leaf with its JSON pointer inside the condition."""
Possible = Mapping[str, frozenset[str]]
"""By normal path of a field: the only values it can have here."""


def contradiction(node: Node | None, possible: Possible) -> tuple[str, str] | None:
    """Pointer and sentence of why the condition never holds; None: it may."""
    return None if node is None else _never(node, "", possible)


def leaves_that_must_hold(node: Node | None, pointer: str = "") -> Iterator[Located]:
    """Of nested `all`s; what stands in an `any` or a `not` need not hold."""
    match node:
        case Leaf():
            yield pointer, node
        case All(nodes=nodes):
            for n, child in enumerate(nodes):
                yield from leaves_that_must_hold(child, f"{pointer}/all/{n}")


def _never(node: Node, pointer: str, possible: Possible) -> tuple[str, str] | None:
    match node:
        case Any_(nodes=()):
            return pointer, "Nothing stands in this any: it is never true."
        case Any_(nodes=nodes):
            inside = [_never(child, f"{pointer}/any/{n}", possible) for n, child in enumerate(nodes)]
            return None if None in inside else inside[0]
        case All(nodes=nodes):
            own = (_never(child, f"{pointer}/all/{n}", possible) for n, child in enumerate(nodes) if not isinstance(child, Leaf | All))
            return next(filter(None, own), None) or _excluding(list(leaves_that_must_hold(node, pointer)), possible)
        case Leaf():
            return _excluding([(pointer, node)], possible)
        case _:
            return None


def _excluding(leaves: Sequence[Located], possible: Possible) -> tuple[str, str] | None:
    """The first leaf that leaves no value for its field."""
    by_field: dict[str, list[Leaf]] = {}
    for pointer, leaf in leaves:
        before = by_field.setdefault(leaf.name, [])
        before.append(leaf)
        if (why := _no_value_left(before, possible.get(leaf.name))) is not None:
            return pointer, why
    return None


def _no_value_left(leaves: Sequence[Leaf], only: frozenset[str] | None) -> str | None:
    leaf = leaves[-1]
    if any(each.op == "empty" for each in leaves) and (some := [each for each in leaves if each.op not in HOLD_WITHOUT_VALUE]):
        return f"{leaf.path} cannot be empty and {some[0].op} at once."
    known = [each for each in leaves if not each.special and each.op not in ("empty", "not_empty", "changed")]
    wanted = _wanted(known, only)
    if wanted is not None:
        left = [value for value in wanted if all(_admits(each, value) for each in known)]
        return None if left else _why_none(leaf, only)
    return f"{leaf.path} cannot be all of this at once: no value lies in between." if _nothing_between(known) else None


def _wanted(leaves: Iterable[Leaf], only: frozenset[str] | None) -> list[Any] | None:
    """The values that may be left: those that an eq or in names, else those that are possible at all; None: any."""
    named = next((each for each in leaves if each.op in ("eq", "in")), None)
    if named is None:
        return None if only is None or not any(each.op in ("ne", "not_in") for each in leaves) else sorted(only)
    values = named.expected if named.op == "in" else (named.expected,)
    return [value for value in values if only is None or value in only]


def _admits(leaf: Leaf, value: Any) -> bool:
    try:
        return bool(leaf.test(value, leaf.expected))
    except (TypeError, AttributeError):
        return True


def _why_none(leaf: Leaf, only: frozenset[str] | None) -> str:
    if only is not None:
        return f"{leaf.path} can only be {', '.join(sorted(only))} here."
    return f"{leaf.path} cannot be {leaf.value!r} and what stands beside it at once."


LOWER: Mapping[str, bool] = {"gt": False, "gte": True, "after": False, "on_or_after": True}
UPPER: Mapping[str, bool] = {"lt": False, "lte": True, "before": False, "on_or_before": True}
"""Whether the bound itself is meant too."""


def _nothing_between(leaves: Iterable[Leaf]) -> bool:
    """Of numbers, moments and dates with bounds on both sides; a time of day may go round midnight (G22)."""
    bounds = [bound for leaf in leaves if leaf.op in ORDERED and leaf.kind != "time" for bound in _bounds(leaf)]
    lower = [(value, included) for is_lower, value, included in bounds if is_lower]
    upper = [(value, included) for is_lower, value, included in bounds if not is_lower]
    return any(_apart(low, high) for low in lower for high in upper)


def _bounds(leaf: Leaf) -> Iterator[tuple[bool, Any, bool]]:
    if leaf.op == "between":
        low, high = leaf.expected
        yield from ((True, low, True), (False, high, True))
    elif leaf.op in LOWER:
        yield True, leaf.expected, LOWER[leaf.op]
    else:
        yield False, leaf.expected, UPPER[leaf.op]


def _apart(low: tuple[Any, bool], high: tuple[Any, bool]) -> bool:
    apart: Callable[[Any, Any], bool] = (lambda a, b: a > b) if low[1] and high[1] else (lambda a, b: a >= b)
    try:
        return apart(low[0], high[0])
    except TypeError:
        return False
