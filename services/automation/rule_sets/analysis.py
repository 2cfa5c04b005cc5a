"""What rules and triggers that are each in order do together: warnings that forbid nothing (rule-format 10).

Pure: everything that is, or would be, in force comes as `Placed`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from services.automation.domain import catalogue, fields
from services.automation.domain.card import normal
from services.automation.domain.condition import All, Leaf, Node, leaves_of, parsed
from services.automation.domain.timing import anchor_field
from services.automation.rule_sets.contradicting import Possible, contradiction, leaves_that_must_hold
from shared.es.aggregate import Json


@dataclass(frozen=True, slots=True)
class Line:
    """A pipeline: its element type, codes of its stages in order, and which of them is the first. `is_default`: of its element type."""

    element_type: str
    stages: tuple[str, ...]
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class Ground:
    """What the rules stand on: pipelines by code, and options of select fields by element type and normal path."""

    lines: Mapping[str, Line] = field(default_factory=dict)
    options: Mapping[str, Mapping[str, frozenset[str]]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placed:
    """A rule, or a trigger (whose stage is its target), that is in force or would be."""

    id: str
    pipeline: str
    stage: str
    position: int
    definition: Json
    references: Json

    @property
    def place(self) -> tuple[str, str]:
        return self.pipeline, self.stage

    @property
    def key(self) -> str:
        return str(self.definition["id"])

    @property
    def settings(self) -> Json:
        return dict(self.definition["settings"] or {})

    @property
    def node(self) -> Node | None:
        return parsed(self.definition["condition"], fields.kinds_of(self.references), self.references)


class Finding(NamedTuple):
    """`pointer` into the definition of rule or trigger `id`."""

    id: str
    pointer: str
    code: str
    detail: str


def analysed(rules: Sequence[Placed], triggers: Sequence[Placed], ground: Ground) -> list[Finding]:
    """Every warning about any of them; what is switched off takes no part."""
    on = sorted((rule for rule in rules if rule.definition["enabled"]), key=lambda rule: (rule.place, rule.position, rule.id))
    listening = sorted((t for t in triggers if t.definition["enabled"]), key=lambda t: (t.place, t.position, t.id))
    return [
        *_cycles(on, ground),
        *(found for rule in on for found in (*_never_matches(rule, ground), *_before_possible(rule))),
        *_two_writers(on),
        *(found for trigger in listening for found in (*_trigger_never_matches(trigger, ground), *_unreachable(trigger, ground))),
        *_shadowed(listening),
    ]


# ------------------------------------------------------------------------------------------------ circles

BREAKS_A_CIRCLE = ("created_by_copy", "amount")


def _cycles(rules: Sequence[Placed], ground: Ground) -> Iterator[Finding]:
    """A rule whose product arrives where rules lead back to it, none of them guarded."""
    ways = [(rule, rule.place, target) for rule in rules if not _is_guarded(rule) for target in _products(rule, ground)]
    after: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for _, source, target in ways:
        after.setdefault(source, set()).add(target)
    for rule, source, target in ways:
        if source == target or source in _reached(target, after):
            detail = f"What it makes arrives in {'/'.join(target)}, and rules there lead back here: the loop guard will stop it."
            yield Finding(rule.id, "/settings", "cycle", detail)


def _reached(start: tuple[str, str], after: Mapping[tuple[str, str], set[tuple[str, str]]]) -> set[tuple[str, str]]:
    seen: set[tuple[str, str]] = set()
    todo = [start]
    while todo:
        for following in after.get(todo.pop(), set()) - seen:
            seen.add(following)
            todo.append(following)
    return seen


def _is_guarded(rule: Placed) -> bool:
    node = rule.node
    return node is not None and any(leaf.name in BREAKS_A_CIRCLE for leaf in leaves_of(node))


def _products(rule: Placed, ground: Ground) -> Iterator[tuple[str, str]]:
    """Where an element arrives that the rule makes, copies or moves."""
    settings = rule.settings
    match rule.definition["type"]:
        case "copy_deal":
            yield from _arrival(settings.get("pipeline"), settings.get("initial_stage"), ground)
        case "create_recurring_lead":
            yield from _arrival(_default("lead", ground), "first", ground)
        case "create_from" if "deal" in (settings.get("targets") or ()):
            yield from _arrival(settings.get("pipeline") or _default("deal", ground), "first", ground)
        case "change_stage":
            yield from _arrival(rule.pipeline, str(settings.get("stage")).rpartition("/")[2], ground)
        case _:
            pass


def _arrival(pipeline: Any, stage: Any, ground: Ground) -> Iterator[tuple[str, str]]:
    line = ground.lines.get(str(pipeline))
    if line is not None and line.stages:
        yield str(pipeline), line.stages[0] if stage in (None, "first") else str(stage)


def _default(element_type: str, ground: Ground) -> str | None:
    return next((code for code, line in ground.lines.items() if line.element_type == element_type and line.is_default), None)


# ------------------------------------------------------------------------------------------------ what never holds


def _possible(placed: Placed, ground: Ground, stages: Iterable[str]) -> Possible:
    line = ground.lines.get(placed.pipeline)
    options = ground.options.get(line.element_type, {}) if line else {}
    return {**options, "stage": frozenset(stages), "pipeline": frozenset((placed.pipeline,))}


def _never_matches(rule: Placed, ground: Ground) -> Iterator[Finding]:
    """A rule is judged while its element stands in its stage, unless it is kept when the element leaves."""
    possible = dict(_possible(rule, ground, [rule.stage]))
    if rule.definition["on_exit"] == "keep":
        possible = {name: values for name, values in possible.items() if name not in ("stage", "pipeline")}
    yield from _never(rule, possible)


def _trigger_never_matches(trigger: Placed, ground: Ground) -> Iterator[Finding]:
    line = ground.lines.get(trigger.pipeline)
    yield from _never(trigger, _possible(trigger, ground, line.stages if line else [trigger.stage]))


def _never(placed: Placed, possible: Possible) -> Iterator[Finding]:
    node = placed.node
    found = contradiction(node, possible) or _strange_currency(node)
    if found is not None:
        yield Finding(placed.id, f"/condition{found[0]}", "never_matches", found[1])


def _strange_currency(node: Node | None) -> tuple[str, str] | None:
    for pointer, leaf in leaves_that_must_hold(node):
        if leaf.name == "currency" and leaf.op in ("eq", "in") and not leaf.template:
            codes = leaf.expected if leaf.op == "in" else (leaf.expected,)
            if not any(len(str(code)) == 3 and str(code).isascii() and str(code).isupper() for code in codes):
                return pointer, f"{leaf.value} is no currency; a currency is written like EUR."
    return None


def _before_possible(rule: Placed) -> Iterator[Finding]:
    """Due before a moment that its own condition wants to be in the past."""
    timing = rule.definition["timing"]
    anchor = anchor_field(timing) if isinstance(timing, dict) and "before" in timing else None
    for _, leaf in leaves_that_must_hold(rule.node) if anchor else ():
        if leaf.name == normal(anchor or "") and _wants_the_past(leaf):
            yield Finding(
                rule.id, "/timing/before", "timing_before_possible", f"It is due before {anchor}, which its condition wants past."
            )
            return


def _wants_the_past(leaf: Leaf) -> bool:
    now = leaf.template and str(leaf.value).replace(" ", "").startswith("{{now")
    return leaf.op == "within_last" or (leaf.op in ("before", "on_or_before") and now)


# ------------------------------------------------------------------------------------------------ two that write


def _two_writers(rules: Sequence[Placed]) -> Iterator[Finding]:
    """Not ordered, so that nobody knows whose value stays; unless they never run on the same element."""
    for n, later in enumerate(rules):
        earlier = [(m, rule) for m, rule in enumerate(rules[:n]) if rule.place == later.place]
        for m, rule in earlier:
            both = _writes(rule) & _writes(later)
            if both and not _are_ordered(rules[m + 1 : n + 1]) and not _exclude_each_other(rule, later):
                detail = f"{rule.key} writes {sorted(both)[0]} too, and neither waits for the other."
                yield Finding(later.id, "/settings", "two_writers", detail)
                break


def _are_ordered(between: Iterable[Placed]) -> bool:
    return all(rule.definition["execution"] == "after_previous" for rule in between)


def _exclude_each_other(one: Placed, other: Placed) -> bool:
    nodes = tuple(node for node in (one.node, other.node) if node is not None)
    return contradiction(All(nodes), {}) is not None


def _writes(rule: Placed) -> set[str]:
    settings = rule.settings
    match rule.definition["type"]:
        case "change_variable":
            return {f"variable {settings.get('variable')}"}
        case "change_field":
            return {f"field {normal(name)}" for name in settings.get("fields") or {}}
        case "change_details":
            return {_details_field(settings, name) for name in settings.get("fields") or {}}
        case "change_responsible":
            return {"the responsible person"}
        case _:
            return set()


def _details_field(settings: Json, name: str) -> str:
    address = f" of the {settings.get('address_type')} address" if name in catalogue.ADDRESS_FIELDS else ""
    return f"{name}{address} in the {settings.get('element')}'s details {settings.get('template')}"


# ------------------------------------------------------------------------------------------------ triggers


def _unreachable(trigger: Placed, ground: Ground) -> Iterator[Finding]:
    line = ground.lines.get(trigger.pipeline)
    if line is not None and line.stages[:1] == (trigger.stage,) and not trigger.definition["allow_back"]:
        detail = f"{trigger.stage} is the first stage: without allow_back no element can ever move there."
        yield Finding(trigger.id, "/allow_back", "unreachable_trigger", detail)


def _shadowed(triggers: Sequence[Placed]) -> Iterator[Finding]:
    """The one above moves to the same stage whenever this one would: ties go by the order of the list (D17)."""
    for n, later in enumerate(triggers):
        above = next((t for t in triggers[:n] if t.place == later.place and _covers(t.definition, later.definition)), None)
        if above is not None:
            detail = f"{above.key} stands above it, moves to the same stage and holds whenever this one does: it never wins."
            yield Finding(later.id, "/condition", "shadowed_by_condition", detail)


def _covers(above: Json, below: Json) -> bool:
    same = all(above[name] == below[name] for name in ("type", "settings"))
    free = all(above[name] or not below[name] for name in ("allow_back", "allow_reopen"))
    return same and free and above["condition"] in (None, below["condition"])
