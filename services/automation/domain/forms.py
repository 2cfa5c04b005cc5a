"""The catalogue as a front end reads it: JSON Schema 2020-12 of the settings of every type, with labels in both languages.

A schema says what a form can know by itself: types, ranges, choices, what goes with what. What names mean (pipelines, people,
files) only a check knows (domain/check.py); whatever a check passes is valid here too. Keywords of our own begin with `x-`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from services.automation.domain import condition, words
from services.automation.domain.callback import TYPES
from services.automation.domain.catalogue import (
    EVENT_KINDS,
    LONGEST_SOURCE,
    TARGETS,
    RuleType,
    Setting,
    TriggerType,
    choices_for,
)
from services.automation.domain.words import Words
from shared.es.aggregate import Json

DIALECT = "https://json-schema.org/draft/2020-12/schema"
OFFSET = r"^\s*\d{1,9}(mo|min|w|d|h|s)(\s+\d{1,9}(mo|min|w|d|h|s))*\s*$"
LOCAL_TIME = r"^([01]\d|2[0-3]):[0-5]\d$"
CODE = r"^[a-z0-9][a-z0-9-]{0,62}$"
SLUG = r"^[a-z][a-z0-9_]{0,62}$"
EVENT_TYPE = r"^(?!(deals|automation|billing|scheduler|notifications)\.)[A-Za-z0-9][A-Za-z0-9._/:-]{0,199}$"
EVENT_PATH = r"^[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63}){0,9}$"
PLACEHOLDER = r"\{[{%]"
STAGE = r"^[a-z0-9][a-z0-9-]{0,62}/[a-z0-9][a-z0-9-]{0,62}$"
NO_JSON: Json = {}

# ------------------------------------------------------------------------------------------------ types


def shown_rule_type(rule_type: RuleType, element_type: str | None = None) -> Json:
    return {
        "rule_type": rule_type.name,
        "group": rule_type.group,
        **rule_type.label.shown(),
        "element_types": list(rule_type.element_types),
        "lateness": rule_type.lateness,
        "on_unresolved": rule_type.on_unresolved,
        "auxiliary": rule_type.auxiliary,
        "settings": settings_schema(rule_type, element_type),
        "outputs": [shown_output(name, kind) for name, kind in rule_type.outputs_with({}, {}).items()],
    }


def shown_trigger_type(trigger_type: TriggerType, element_type: str | None = None) -> Json:
    return {
        "trigger_type": trigger_type.name,
        "group": trigger_type.group,
        **trigger_type.label.shown(),
        "element_types": list(trigger_type.element_types),
        "settings": settings_schema(trigger_type, element_type),
        "event_fields": [_named(name, kind, words.EVENT_FIELDS) for name, kind in trigger_type.event_fields],
    }


def shown_output(name: str, kind: str) -> Json:
    return _named(name, kind, words.OUTPUTS)


def _named(name: str, kind: str, labels: Mapping[str, Words]) -> Json:
    return {"name": name, "kind": kind, **words.label(labels, name).shown()}


def shown_element_types() -> list[Json]:
    return [{"element_type": name, **label.shown()} for name, label in words.ELEMENT_TYPES.items()]


def shown_group(name: str, rules: Iterable[RuleType], triggers: Iterable[TriggerType]) -> Json:
    return {
        "group": name,
        **words.GROUPS[name].shown(),
        "rule_types": [t.name for t in rules if t.group == name],
        "trigger_types": [t.name for t in triggers if t.group == name],
    }


def shown_operators() -> list[Json]:
    """By what a field of each kind is compared, for an editor of conditions."""
    return [
        {"kind": kind, **words.KINDS[kind].shown(), "operators": [_operator(op) for op in operators]}
        for kind, operators in condition.OPERATORS.items()
    ]


def _operator(op: str) -> Json:
    return {"op": op, **words.OPERATORS[op].shown(), "value": value_of(op)}


def value_of(op: str) -> str:
    """What stands beside an operator: none, one, several, pair, offset, count."""
    if op in condition.NO_LITERAL:
        return "none"
    if op in ("in", "not_in", "contains_any", "contains_all"):
        return "several"
    if op == "between":
        return "pair"
    return "offset" if op.startswith("within_") else "count" if op.startswith("count_") else "one"


# ------------------------------------------------------------------------------------------------ settings


def settings_schema(of: RuleType | TriggerType, element_type: str | None = None) -> Json:
    """The settings of a type as a JSON Schema, for one element type or for all."""
    schema: Json = {
        "$schema": DIALECT,
        **_titled(of.label),
        "type": "object",
        "additionalProperties": False,
        "required": [s.name for s in of.settings if s.required],
        "properties": {s.name: property_of(s, element_type) for s in of.settings},
        "examples": [example for example in of.examples if _is_offered(example, element_type)],
    }
    return {**schema, "allOf": list(of.together)} if of.together else schema


def _is_offered(example: Json, element_type: str | None) -> bool:
    return element_type is None or set(example.get("targets") or ()) <= set(TARGETS[element_type])


def _titled(label: Words) -> Json:
    return {"title": label.en, "x-title-de": label.de}


def property_of(setting: Setting, element_type: str | None) -> Json:
    """One setting. What is neither required nor has a default may be null, which means the same as left out."""
    shape = _shape(setting, choices_for(setting, element_type))
    optional = not setting.required and setting.default is None
    described = {**_titled(setting.label), "x-kind": setting.kind, "x-placeholders": setting.template}
    described |= _nullable(shape) if optional else shape
    if setting.default is not None:
        described["default"] = setting.default
    if setting.shown_if is not None:
        described["x-shown-if"] = {setting.shown_if[0]: list(setting.shown_if[1])}
    return described


def _nullable(shape: Json) -> Json:
    if "anyOf" in shape:
        return {**shape, "anyOf": [*shape["anyOf"], {"type": "null"}]}
    null: Json = {name: [*shape[name], more] for name, more in (("enum", None), ("oneOf", {"type": "null"})) if name in shape}
    return {**shape, "type": [shape["type"], "null"], **null}


def _shape(s: Setting, choices: Sequence[str]) -> Json:
    match s.kind:
        case "bool":
            return {"type": "boolean"}
        case "choice" | "address_type":
            return _choice(s.name, choices)
        case "choices":
            return {"type": "array", "items": _choice(s.name, choices), "minItems": s.least, "maxItems": s.most, "uniqueItems": True}
        case "days":
            return {"type": "string", "pattern": OFFSET, "x-least-days": s.least, "x-most-days": s.most}
        case "minutes":
            return _minutes(s)
        case "minutes_list":
            return {"type": "array", "maxItems": 5, "items": _minutes(s)}
        case "files":
            return {"type": "array", "maxItems": s.most, "items": _text(1)}
        case "texts" | "field_values" | "payload":
            return {"type": "object", "additionalProperties": _text(0), "minProperties": s.least or 0, "maxProperties": s.most}
        case "span":
            return {"type": "string", "pattern": OFFSET, "x-least-seconds": s.least, "x-most-seconds": s.most}
        case "declared_outputs":
            return {"type": "array", "maxItems": s.most, "items": OUTPUT}
        case "deadline":
            return {"type": "object", "anyOf": [DAY, *_times(("now", *ANCHORS))]}
        case "scope":
            return {"type": "string", "anyOf": [_choice("scope", ("any", "all_open")), {"pattern": r"^created_by:[^/#]+/[^/#]+#.+$"}]}
        case "threshold":
            return {"anyOf": [PERCENT, AMOUNT]}
        case "code":
            return {"type": "string", "pattern": CODE}
        case "event_type":
            return {"type": "string", "pattern": EVENT_TYPE}
        case "event_path":
            return {"type": "string", "pattern": EVENT_PATH}
        case "event_fields":
            kinds = _choice_of(EVENT_KINDS, words.KINDS)
            return {"type": "object", "maxProperties": s.most, "propertyNames": {"pattern": EVENT_PATH}, "additionalProperties": kinds}
        case _:
            return _people(s) or _text(1 if s.required else 0)


def _people(s: Setting) -> Json:
    """Settings that name people or customers; nothing for any other."""
    own = ("default", "responsible")
    match s.kind:
        case "person":
            return _person(own, "user:", *(("{{",) if s.template else ()))
        case "people":
            return {"type": "array", "maxItems": s.most, "items": _person(own, "user:")}
        case "recipients":
            one = _person(own, "user:", "role:")
            return {"anyOf": [one, {"type": "array", "minItems": s.least, "maxItems": s.most, "items": one}]}
        case "customers":
            return {"type": "string", "anyOf": [_choice("customers", ("none", "all", "primary")), {"pattern": "^contact:"}]}
        case _:
            return NO_JSON


def _person(names: Sequence[str], *prefixes: str) -> Json:
    patterns = [{"pattern": PLACEHOLDER if prefix == "{{" else f"^{prefix}"} for prefix in prefixes]
    return {"type": "string", "anyOf": [_choice_of(names, words.PEOPLE), *patterns]}


def _choice(setting: str, choices: Sequence[str]) -> Json:
    return _choice_of(choices, words.CHOICES[setting])


def _choice_of(choices: Sequence[str], labels: Mapping[str, Words]) -> Json:
    """`enum` for whoever checks, `oneOf` with a title for whoever draws."""
    return {"type": "string", "enum": list(choices), "oneOf": [{"const": c, **_titled(labels[c])} for c in choices]}


def _text(least: int) -> Json:
    return {"type": "string", "maxLength": LONGEST_SOURCE} | ({"minLength": least} if least else {})


def _minutes(s: Setting) -> Json:
    return {"type": "integer", "minimum": s.least, "maximum": s.most}


OUTPUT: Json = {
    "type": "object",
    "additionalProperties": False,
    "required": ["name", "type"],
    "properties": {
        "name": {"pattern": SLUG, **_text(1)},
        "type": _choice("outputs", TYPES),
        "required": {"type": "boolean", "default": False},
        "multiple": {"type": "boolean", "default": False},
    },
}
"""One output that a called webhook answers with."""

PERCENT: Json = {"type": "string", "pattern": r"^(?!0+(\.0+)?%)(100(\.0{1,3})?|\d{1,2}(\.\d{1,3})?)%$"}
AMOUNT: Json = {
    "type": "object",
    "required": ["amount"],
    "additionalProperties": False,
    "properties": {
        "amount": {"type": ["string", "number"], "pattern": r"^(?!0+(\.0+)?$)\d{1,12}(\.\d{1,3})?$", "exclusiveMinimum": 0},
        "currency": {"type": "string", "pattern": "^[A-Z]{3}$"},
    },
}

# ------------------------------------------------------------------------------------------------ time and conditions

ANCHORS = ("arrival", "previous")
ZONES = ("pipeline", "company", "assignee")
_TIME: Json = {"type": "string", "pattern": LOCAL_TIME}
_ZONE: Json = {"type": "string", "minLength": 1, "examples": [*ZONES, "Europe/Berlin"]}
_SPAN: Json = {"type": "string", "pattern": OFFSET}
_TIME_OPTIONS: Json = {
    "offset": _SPAN,
    "time": _TIME,
    "zone": _ZONE,
    "working_hours": _choice("working_hours", ("none", "company", "responsible")),
    "wait_limit": _SPAN,
    "if_empty": _choice("if_empty", ("wait", "skip", "run")),
    "late_limit": {"anyOf": [_SPAN, {"const": "none"}]},
}
DAY: Json = {
    "type": "object",
    "additionalProperties": False,
    "required": ["day", "time"],
    "properties": {
        "day": {"type": "string", "anyOf": [{"enum": ["today", "tomorrow"]}, {"pattern": r"^\+\d{1,4}d$"}]},
        "time": _TIME,
        "zone": _ZONE,
    },
}


def _times(anchors: Sequence[str]) -> list[Json]:
    """A time after an anchor, before a date, or on a date (rule-format 4)."""
    path: Json = {"type": "string", "minLength": 1}
    return [
        _time("after", {"type": ["string", "null"], "examples": list(anchors)}, ()),
        _time("before", path, ("offset",)),
        _time("at", path, ("time",)),
    ]


def _time(mode: str, anchor: Json, needed: Sequence[str]) -> Json:
    return {
        "type": "object",
        "additionalProperties": False,
        "required": [mode, *needed],
        "properties": {mode: anchor, **_TIME_OPTIONS},
    }


TIMING: Json = {"anyOf": [{"const": "immediate"}, {"type": "null"}, *_times(ANCHORS)], "default": "immediate"}
NODE: Json = {
    "anyOf": [
        *(
            {
                "type": "object",
                "additionalProperties": False,
                "required": [name],
                "properties": {name: {"type": "array", "items": {"$ref": "#/$defs/node"}}},
            }
            for name in ("all", "any")
        ),
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["not"],
            "properties": {"not": {"$ref": "#/$defs/node"}},
        },
        {
            "type": "object",
            "additionalProperties": False,
            "required": ["field", "op"],
            "properties": {
                "field": {"type": "string", "minLength": 1},
                "op": {"enum": sorted({op for operators in condition.OPERATORS.values() for op in operators})},
                "value": True,
            },
        },
    ]
}
"""A group or a comparison (rule-format 5)."""

CONDITION: Json = {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/node"}], "default": None}

# ------------------------------------------------------------------------------------------------ members of every rule and trigger


def _member(name: str, shape: Json, **more: Any) -> Json:
    return {**_titled(words.MEMBERS[name]), **shape, **more}


def _acting(names: Sequence[str]) -> Json:
    return _person(names, "user:")


_FLAG: Json = {"type": "boolean", "default": False}
_MAYBE_USER: Json = {"type": ["string", "null"], "pattern": "^user:", "default": None}
_MAYBE_TEXT: Json = {"type": ["string", "null"]}


def _whole(properties: Json) -> Json:
    return {
        "$schema": DIALECT,
        "$defs": {"node": NODE},
        "type": "object",
        "additionalProperties": False,
        "required": ["id", "type"],
        "properties": properties,
    }


def rule_schema() -> Json:
    """A rule's definition; its `settings` are those of its type (5.1)."""
    return _whole(
        {
            "id": _member("id", {"type": "string", "pattern": SLUG}),
            "type": _member("type", {"type": "string", "enum": list(words.RULE_TYPES)}),
            "name": _member("name", _MAYBE_TEXT),
            "enabled": _member("enabled", {"type": "boolean", "default": True}),
            "execution": _member("execution", _choice("execution", ("parallel", "after_previous")), default="parallel"),
            "timing": _member("timing", TIMING),
            "condition": _member("condition", CONDITION),
            "also_at_arrival": _member("also_at_arrival", _FLAG),
            "settings": _member("settings", {"type": "object"}),
            "on_exit": _member("on_exit", _choice("on_exit", ("cancel", "keep")), default="cancel"),
            "on_unresolved": _member("on_unresolved", _choice("on_unresolved", ("block", "empty"))),
            "continue_on_failure": _member("continue_on_failure", _FLAG),
            "acting_user": _member("acting_user", _acting(("owner", "responsible")), default="owner"),
            "fallback_user": _member("fallback_user", _MAYBE_USER),
            "owner": _member("owner", _MAYBE_USER),
        }
    )


def trigger_schema() -> Json:
    """A trigger's definition; its `settings` are those of its type (5.3)."""
    return _whole(
        {
            "id": _member("id", {"type": "string", "pattern": SLUG}),
            "type": _member("type", {"type": "string", "enum": list(words.TRIGGER_TYPES)}),
            "target_stage": _member("target_stage", {"type": ["string", "null"], "pattern": STAGE}),
            "name": _member("name", _MAYBE_TEXT),
            "condition": _member("condition", CONDITION),
            "acting_user": _member("acting_user", _acting(("responsible",)), default="responsible"),
            "fallback_user": _member("fallback_user", _MAYBE_USER),
            "allow_back": _member("allow_back", _FLAG),
            "allow_reopen": _member("allow_reopen", _FLAG),
            "enabled": _member("enabled", {"type": "boolean", "default": True}),
            "settings": _member("settings", {"type": "object"}),
        }
    )
