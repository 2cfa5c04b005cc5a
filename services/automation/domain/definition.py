"""A rule and a trigger as they were published: what a run or a decision pins (G27, D2).

A definition is the JSON of rule-format 3 with every default filled in; `references` maps the names in it to ids and types,
as they were when it was published: `user:42`, `pipeline:sales`, `stage:sales/won`, `room:main`, `variable:rate`, `kind:uf.city`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from services.automation.domain import catalogue, condition, fields, timing
from shared.es.aggregate import Json

NO_JSON: Json = {}


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule at a version. `settings`, `condition` and `timing` are left out of a run that no longer needs them."""

    rule_id: str
    version: int
    key: str
    rule_type: str
    name: str
    owner_id: str
    execution: str = "parallel"
    on_exit: str = "cancel"
    on_unresolved: str = "empty"
    continue_on_failure: bool = False
    also_at_arrival: bool = False
    acting_user: str = "owner"
    fallback_user: str | None = None
    timing: Json | None = None
    condition: Json | None = None
    settings: Json = field(default_factory=dict)
    references: Json = field(default_factory=dict)

    @property
    def after_previous(self) -> bool:
        return self.execution == "after_previous"

    def reference(self, name: str) -> str | None:
        found = self.references.get(name)
        return None if found is None else str(found)

    def max_lateness(self) -> int | None:
        """Seconds after which a run that comes due is missed; None: however late (D7)."""
        limit = (self.timing or NO_JSON).get("late_limit")
        if limit == "none":
            return None
        text = limit or catalogue.LATE_LIMITS[catalogue.lateness_of(catalogue.RULE_TYPES[self.rule_type], self.settings)]
        return None if text is None else timing.seconds_in(timing.parsed_offset(text))

    def wait_limit(self) -> int | None:
        """Seconds to wait for the responsible person's hours before somebody is told (D10); None: no such wait, or the scheduler's own."""
        wished = self.timing or NO_JSON
        if wished.get("working_hours") != "responsible" or "wait_limit" not in wished:
            return None
        return timing.seconds_in(timing.parsed_offset(wished["wait_limit"]))

    def slim(self) -> Rule:
        """Without what only a decision needs that has been made."""
        return replace(self, timing=None, condition=None, settings=NO_JSON, references=NO_JSON)


@dataclass(frozen=True, slots=True)
class Ready:
    """A rule with its condition parsed. Made once per rule and version where the version is known to be published."""

    rule: Rule
    condition: condition.Node | None
    slim: Rule
    """What a run pins that is due already."""
    remembers: tuple[str, ...] = ()
    """Normal paths whose value at arrival a condition compares with (`changed`)."""


def ready(rule: Rule) -> Ready:
    node = condition.parsed(rule.condition, fields.kinds_of(rule.references), rule.references)
    changed = tuple(leaf.name for leaf in condition.leaves_of(node) if leaf.op == "changed") if node is not None else ()
    return Ready(rule, node, rule.slim(), changed)


def rule_of(rule_id: str, version: int, owner_id: str, definition: Json, references: Json) -> Rule:
    """The rule that a published definition describes."""
    d = definition
    return Rule(
        rule_id,
        version,
        d["id"],
        d["type"],
        d["name"],
        owner_id,
        d["execution"],
        d["on_exit"],
        d["on_unresolved"],
        d["continue_on_failure"],
        d["also_at_arrival"],
        d["acting_user"],
        d["fallback_user"],
        None if d["timing"] in (None, "immediate") else d["timing"],
        d["condition"],
        d["settings"],
        references,
    )


def complete_rule(definition: Json) -> Json:
    """A rule's text with every default filled in, in the order of the format. What is no known rule type keeps its settings."""
    known = catalogue.RULE_TYPES.get(str(definition.get("type")))
    return {
        "id": definition.get("id"),
        "type": definition.get("type"),
        "name": definition.get("name") or (known.label[0] if known else None),
        "enabled": definition.get("enabled", True),
        "execution": definition.get("execution", "parallel"),
        "timing": definition.get("timing", "immediate"),
        "condition": definition.get("condition"),
        "also_at_arrival": definition.get("also_at_arrival", False),
        "settings": _filled(definition.get("settings"), known.settings if known else ()),
        "on_exit": definition.get("on_exit", "cancel"),
        "on_unresolved": definition.get("on_unresolved") or (known.on_unresolved if known else "empty"),
        "continue_on_failure": definition.get("continue_on_failure", False),
        "acting_user": definition.get("acting_user", "owner"),
        "fallback_user": definition.get("fallback_user"),
        "owner": definition.get("owner"),
    }


@dataclass(frozen=True, slots=True)
class Trigger:
    """A trigger at a version, ready to be judged."""

    trigger_id: str
    version: int
    trigger_type: str
    name: str
    pipeline_id: str
    stage_id: str
    position: int
    condition: condition.Node | None = None
    acting_user: str = "responsible"
    fallback_user: str | None = None
    allow_back: bool = False
    allow_reopen: bool = False
    owner_id: str = ""
    settings: Json = field(default_factory=dict)
    references: Json = field(default_factory=dict)


def trigger_of(trigger_id: str, version: int, place: tuple[str, str, int], owner_id: str, definition: Json, references: Json) -> Trigger:
    """The trigger that a published definition describes. `place`: pipeline, target stage, position."""
    d = definition
    return Trigger(
        trigger_id,
        version,
        d["type"],
        d["name"],
        *place,
        condition.parsed(d["condition"], fields.kinds_of(references), references),
        d["acting_user"],
        d["fallback_user"],
        d["allow_back"],
        d["allow_reopen"],
        owner_id,
        d["settings"],
        references,
    )


def _filled(given: object, known: tuple[catalogue.Setting, ...]) -> Json:
    """Settings with their defaults, null being the same as left out; unknown ones stay, for the checker to name."""
    settings = given if isinstance(given, dict) else {}
    names = {s.name for s in known}
    filled = {s.name: s.default if settings.get(s.name) is None else settings[s.name] for s in known}
    return filled | {n: v for n, v in settings.items() if n not in names}


def complete_trigger(definition: Json) -> Json:
    known = catalogue.TRIGGER_TYPES.get(str(definition.get("type")))
    return {
        "id": definition.get("id"),
        "type": definition.get("type"),
        "target_stage": definition.get("target_stage"),
        "name": definition.get("name") or (known.label[0] if known else None),
        "condition": definition.get("condition"),
        "acting_user": definition.get("acting_user", "responsible"),
        "fallback_user": definition.get("fallback_user"),
        "allow_back": definition.get("allow_back", False),
        "allow_reopen": definition.get("allow_reopen", False),
        "enabled": definition.get("enabled", True),
        "settings": _filled(definition.get("settings"), known.settings if known else ()),
    }
