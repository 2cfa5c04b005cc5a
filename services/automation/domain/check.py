"""Is a rule or trigger in order? All findings at once, each by JSON pointer and code (rule-format 8); and what its names refer to.

Pure: the pipelines, people, values, templates and rooms of the moment come as `Names`, paths of a template by a function."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from services.automation.domain import catalogue, condition, fields
from services.automation.domain.allowed import most_of, one_of, takes, there_are
from services.automation.domain.callback import TYPES
from services.automation.domain.card import normal
from services.automation.domain.catalogue import LONGEST_SOURCE, RULE_TYPES, TRIGGER_TYPES, RuleType, Setting, TriggerType
from services.automation.domain.change import ELSEWHERE, SETTABLE, FieldType, Reading, converted
from services.automation.domain.definition import complete_rule, complete_trigger
from services.automation.domain.timing import BadTime, anchor_field, days_ahead, is_local_time, parsed_offset, seconds_in
from shared.es.aggregate import Json
from shared.es.errors import Fault

MOST_RULES = 50
TOGETHER = frozenset(("cycle", "never_matches", "two_writers", "timing_before_possible", "unreachable_trigger", "shadowed_by_condition"))
"""What is found only where rules and triggers are seen side by side (rule-format 10)."""
WARNINGS = TOGETHER | {"inactive_user", "after_previous_without_previous"}
RULE_KEYS = (
    "id type name enabled execution timing condition also_at_arrival settings on_exit on_unresolved continue_on_failure"
    " acting_user fallback_user owner"
).split()
TRIGGER_KEYS = "id type target_stage name condition acting_user fallback_user allow_back allow_reopen enabled settings".split()
CODE = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
SLUG = re.compile(r"[a-z][a-z0-9_]{0,62}")
CHOICES = {
    "execution": ("parallel", "after_previous"),
    "on_exit": ("cancel", "keep"),
    "on_unresolved": ("block", "empty"),
}


@dataclass(frozen=True, slots=True)
class StageName:
    pipeline_id: str
    pipeline: str
    stage_id: str
    stage: str
    element_type: str


@dataclass(frozen=True, slots=True)
class Names:
    """What names mean now. `pipelines` by code: (id, archived, element type, stages by code: (id, retiring))."""

    pipelines: Mapping[str, tuple[str, bool, str, Mapping[str, tuple[str, bool]]]] = field(default_factory=dict)
    people: Mapping[str, tuple[str, bool]] = field(default_factory=dict)
    """By code: (id, active)."""
    values: Mapping[str, tuple[str, str, str]] = field(default_factory=dict)
    """By `const.<code>` and `var.<code>`: (id, type of condition fields, visibility)."""
    custom: Mapping[str, str] = field(default_factory=dict)
    """Types of custom fields by normal path: `uf.city`, `contact.uf.city`."""
    templates: Mapping[str, tuple[str, frozenset[str]]] = field(default_factory=dict)
    """Details templates by code: (owner type, field codes)."""
    rooms: Mapping[str, str] = field(default_factory=dict)
    files: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    rules: Mapping[str, str] = field(default_factory=dict)
    """Ids of rules by `<pipeline>/<stage>#<rule id>`."""
    forms: Mapping[str, Mapping[str, FieldType]] = field(default_factory=dict)
    """Custom fields by element type, as `uf.<code>`."""
    endpoints: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Webhook endpoints by id: (purpose, active or what it has come to)."""
    app_triggers: frozenset[str] = frozenset()
    """What apps have registered, as `<app code>/<code>`."""

    @property
    def fields_of(self) -> Mapping[str, frozenset[str]]:
        """Codes of fields by details template."""
        return {code: codes for code, (_, codes) in self.templates.items()}


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A rule of the same stage, in order."""

    key: str
    rule_type: str
    execution: str
    settings: Json = field(default_factory=dict)


@dataclass(slots=True)
class Checked:
    """The complete definition, what its names refer to, and every finding."""

    definition: Json
    references: dict[str, Any] = field(default_factory=dict)
    findings: list[Fault] = field(default_factory=list)

    @property
    def errors(self) -> tuple[Fault, ...]:
        return tuple(f for f in self.findings if f.code not in WARNINGS)

    def find(self, pointer: str, code: str, detail: str) -> None:
        self.findings.append(Fault(pointer, code, detail))


def part(name: object) -> str:
    """A member's name, or a place in a list, as the next part of a JSON pointer (RFC 6901)."""
    return "/" + str(name).replace("~", "~0").replace("/", "~1")


PathsOf = Callable[[str], Iterable[str]]
"""The paths a template names; raises ValueError with `code` and `detail`."""


def check_rule(text: Json, place: StageName, names: Names, above: Sequence[Neighbour], below: Sequence[str], paths_of: PathsOf) -> Checked:
    """`above`: the rules of the stage before this one; `below`: keys of those behind it."""
    checked = Checked(complete_rule(text))
    _keys(checked, text, RULE_KEYS)
    _settings_are_a_map(checked, text)
    key = text.get("id")
    if not isinstance(key, str) or not SLUG.fullmatch(key):
        checked.find("/id", "setting_required" if key is None else "bad_code", "A rule has an id like send_link, unique on its stage.")
    if key in [n.key for n in above] or key in below:
        checked.find("/id", "duplicate_id", f"Another rule of the stage is called {key}.")
    if len(above) >= MOST_RULES:
        checked.find("/id", "too_many_rules", f"A stage has at most {MOST_RULES} rules.")
    _choices(checked, checked.definition)
    if checked.definition["execution"] == "after_previous" and not above:
        checked.find("/execution", "after_previous_without_previous", "The first rule of a stage waits for nothing: it starts at once.")
    paths = _Paths(checked, place, names, above, below, checked.definition["execution"], paths_of)
    _timing(checked, "/timing", checked.definition["timing"], paths, deadline=False)
    _condition(checked, "/condition", checked.definition["condition"], paths)
    _people(checked, names, acting=("owner", "responsible"))
    _rule_type(checked, place, names, paths)
    return checked


def check_trigger(text: Json, place: StageName, names: Names, paths_of: PathsOf) -> Checked:
    checked = Checked(complete_trigger(text))
    _keys(checked, text, TRIGGER_KEYS)
    key = text.get("id")
    if not isinstance(key, str) or not SLUG.fullmatch(key):
        checked.find("/id", "setting_required" if key is None else "bad_code", "A trigger has an id like paid.")
    _settings_are_a_map(checked, text)
    for name in ("allow_back", "allow_reopen", "enabled"):
        if not isinstance(checked.definition[name], bool):
            checked.find(f"/{name}", "wrong_type", f"{name} is true or false.")
    known = TRIGGER_TYPES.get(str(text.get("type")))
    paths = _Paths(checked, place, names, (), (), "parallel", paths_of, _event(checked, known), any_event=known is None or known.is_open)
    _condition(checked, "/condition", checked.definition["condition"], paths)
    _people(checked, names, acting=("responsible",))
    if known is None or place.element_type not in known.element_types:
        code = "unknown_trigger_type" if known is None else "type_not_for_element"
        offered = ", ".join(t.name for t in catalogue.offered_triggers(place.element_type)) or "none"
        checked.find("/type", code, f"There is no trigger type {text.get('type')} for a {place.element_type}; there are {offered}.")
    else:
        _settings_of_trigger(checked, known, place, names)
    return checked


def _event(checked: Checked, known: TriggerType | None) -> dict[str, str]:
    """What conditions reach of the event, with its kinds: what the type brings, and what the trigger declares of the sender's own."""
    own = event_fields(checked.definition["settings"]) if known is not None and known.is_open else {}
    return {f"event.{name}": kind for name, kind in (*own.items(), *(known.event_fields if known else ()))}


def event_fields(settings: Json) -> dict[str, str]:
    """Kinds of the members of a foreign event that a trigger declares, by path; whatever is no kind is left out."""
    declared = settings.get("event_fields")
    pairs = declared.items() if isinstance(declared, dict) else ()
    return {path: kind for path, kind in pairs if kind in catalogue.EVENT_KINDS}


def _settings_are_a_map(checked: Checked, text: Json) -> None:
    if not isinstance(text.get("settings") or {}, dict):
        checked.find("/settings", "wrong_type", "settings is a map.")


def _settings_of_trigger(checked: Checked, known: TriggerType, place: StageName, names: Names) -> None:
    settings = checked.definition["settings"]
    for name in settings:
        if name not in {s.name for s in known.settings}:
            checked.find(f"/settings{part(name)}", "setting_unknown", _no_setting(known, name))
    for s in known.settings:
        value = settings[s.name]
        if value is None and s.required:
            checked.find(f"/settings/{s.name}", "setting_required", _asked_for(s, place))
        elif value is not None:
            _setting_of_trigger(checked, s, value, place, names)
    if known.name == "app":
        _registered(checked, settings["app_code"], settings["code"], names)


def _registered(checked: Checked, app: Any, code: Any, names: Names) -> None:
    """Whether the app has registered the trigger; what is no code is found elsewhere."""
    if isinstance(app, str) and isinstance(code, str) and f"{app}/{code}" not in names.app_triggers:
        own = ", ".join(sorted(path.partition("/")[2] for path in names.app_triggers if path.startswith(f"{app}/"))) or "none"
        checked.find("/settings/code", "unknown_app_trigger", f"The app {app} has registered no trigger {code}; it has {own}.")


def _no_setting(known: RuleType | TriggerType, name: str) -> str:
    return f"{known.name} has no setting {name}; there are {', '.join(s.name for s in known.settings) or 'none'}."


def _setting_of_trigger(checked: Checked, s: Setting, value: Any, place: StageName, names: Names) -> None:
    match s.kind:
        case "threshold":
            _threshold(checked, value)
        case "scope":
            _scope(checked, value, place, names)
        case _:
            for at, code, detail in _problems(s, value, place):
                checked.find(f"/settings/{s.name}{at}", code, detail)


def _scope(checked: Checked, value: Any, place: StageName, names: Names) -> None:
    """any, all_open, or the invoices that a rule of the same pipeline makes (D16, D30)."""
    path = value.removeprefix("created_by:") if isinstance(value, str) and value.startswith("created_by:") else None
    if value in ("any", "all_open"):
        return
    if path is None or path not in names.rules:
        checked.find("/settings/scope", "wrong_type", "scope is any, all_open or created_by:<pipeline>/<stage>#<rule id>.")
    elif path.partition("/")[0] != place.pipeline:
        checked.find("/settings/scope", "trigger_other_pipeline", f"{path} is a rule of another pipeline (D16).")
    else:
        checked.references[str(value)] = names.rules[path]


PART = re.compile(r"(?!0+(\.0+)?%)(100(\.0{1,3})?|\d{1,2}(\.\d{1,3})?)%")
AMOUNT = re.compile(r"(?!0+(\.0+)?$)\d{1,12}(\.\d{1,3})?")
CURRENCY = re.compile(r"[A-Z]{3}")


def _threshold(checked: Checked, threshold: Any) -> None:
    """A part of the amount, or an amount; of one in another currency than the invoice's nothing is ever reached (D25)."""
    if isinstance(threshold, str) and PART.fullmatch(threshold):
        return
    if not isinstance(threshold, dict) or not AMOUNT.fullmatch(str(threshold.get("amount", ""))):
        checked.find("/settings/threshold", "wrong_type", 'A threshold is "30%" or { amount: "50.00", currency: EUR }.')
        return
    for name in set(threshold) - {"amount", "currency"}:
        checked.find(f"/settings/threshold{part(name)}", "unknown_key", f"A threshold has no {name}; it has amount and currency.")
    if "currency" in threshold and not CURRENCY.fullmatch(str(threshold["currency"])):
        checked.find("/settings/threshold/currency", "wrong_type", "A currency has three capital letters, like EUR.")


def _keys(checked: Checked, text: Json, known: Sequence[str]) -> None:
    for name in text:
        if name not in known:
            checked.find(part(name), "unknown_key", f"There is no key {name}; there are {', '.join(known)}.")


def _choices(checked: Checked, d: Json) -> None:
    for name, allowed in CHOICES.items():
        if d[name] not in allowed:
            checked.find(f"/{name}", "wrong_type", f"{name} is one of {', '.join(allowed)}.")
    for name in ("enabled", "also_at_arrival", "continue_on_failure"):
        if not isinstance(d[name], bool):
            checked.find(f"/{name}", "wrong_type", f"{name} is true or false.")


# ------------------------------------------------------------------------------------------------ people


def _people(checked: Checked, names: Names, *, acting: Sequence[str]) -> None:
    d = checked.definition
    if d["acting_user"] not in acting:
        _person(checked, "/acting_user", d["acting_user"], names)
    for name in ("fallback_user", "owner"):
        if d.get(name) is not None:
            _person(checked, f"/{name}", d[name], names)


def _person(checked: Checked, pointer: str, value: Any, names: Names) -> None:
    """`user:<code>`; inactive people are a warning: the fallback chain will find somebody."""
    code = value.removeprefix("user:") if isinstance(value, str) and value.startswith("user:") else None
    found = names.people.get(code) if code else None
    if found is None:
        there = there_are([f"user:{code}" for code, (_, active) in names.people.items() if active], value)
        checked.find(pointer, "unknown_user", f"{value!r} is no employee; write user:<code>{there}")
        return
    checked.references[str(value)] = found[0]
    if not found[1]:
        checked.find(pointer, "inactive_user", f"{value} is deactivated.")


# ------------------------------------------------------------------------------------------------ paths


@dataclass(slots=True)
class _Paths:
    """Which paths exist here, with their types."""

    checked: Checked
    place: StageName
    names: Names
    above: Sequence[Neighbour]
    below: Sequence[str]
    execution: str
    paths_of: PathsOf
    event: Mapping[str, str] = field(default_factory=dict)
    any_event: bool = False
    """The event's members are whatever the caller sends: compared as text."""

    def kind(self, pointer: str, path: str) -> str | None:
        """The type of a path, pinned in the references; None after a finding."""
        name = normal(path)
        if name.startswith("steps."):
            return self._pinned(name, self._output(pointer, name))
        kind = self.event.get(name) or fields.standard_of(self.place.element_type).get(name)
        if kind is None and self.any_event and name.startswith("event."):
            kind = "text"
        if kind is None:
            kind = self._named(pointer, name)
        return self._pinned(name, kind)

    def _pinned(self, name: str, kind: str | None) -> str | None:
        if kind is not None and name not in fields.STANDARD:
            self.checked.references[f"kind:{name}"] = kind
        return kind

    def known(self) -> Iterable[tuple[str, str]]:
        """Paths of fields, own ones first, with their types."""
        return (*self.event.items(), *self.names.custom.items(), *fields.standard_of(self.place.element_type).items())

    def _named(self, pointer: str, name: str) -> str | None:
        if name.startswith(("const.", "var.")):
            found = self.names.values.get(name)
            if found is None:
                what = "constant" if name.startswith("const.") else "variable"
                near = there_are([value for value in self.names.values if value.startswith(name.partition(".")[0])], name)
                self.checked.find(pointer, f"unknown_{what}", f"There is no {what} {name.partition('.')[2]}{near}")
                return None
            if found[2] not in ("everywhere", "crm", self.place.element_type):
                self.checked.find(pointer, "not_visible_here", f"{name} is visible in {found[2]} only.")
            self.checked.references[f"value:{found[0]}"] = name
            return found[1]
        if name in self.names.custom:
            return self.names.custom[name]
        near = there_are((path for path, _ in self.known()), name)
        self.checked.find(pointer, "unknown_path", f"There is no field {name} of a {self.place.element_type}{near}")
        return None

    def _output(self, pointer: str, name: str) -> str | None:
        """Only of a rule that this one is ordered after: the chain of after_previous rules above it (G10)."""
        _, key, output = [*name.split(".", 2), "", ""][:3]
        at = next((n for n, rule in enumerate(self.above) if rule.key == key), None)
        if at is None:
            code = "output_of_later_rule" if key in self.below else "unknown_output"
            above = f"above it {'are' if len(self.above) > 1 else 'is'} {', '.join(rule.key for rule in self.above) or 'none'}"
            self.checked.find(pointer, code, f"There is no rule {key} above this one on the stage; {above}.")
            return None
        chained = [*(rule.execution for rule in self.above[at + 1 :]), self.execution]
        if any(execution != "after_previous" for execution in chained):
            self.checked.find(pointer, "output_not_ordered", f"This rule does not wait for {key}: set execution to after_previous.")
        known = RULE_TYPES.get(self.above[at].rule_type)
        there = known.outputs_with(self.above[at].settings, self.names.fields_of) if known else {}
        if output not in there and output:
            self.checked.find(pointer, "unknown_output", f"{key} has no output {output}; it has {', '.join(there) or 'none'}.")
        return there.get(output)

    def template(self, pointer: str, text: str) -> None:
        """A text with placeholders: it can be used, and every path in it exists."""
        if not condition.is_template(text):
            return
        try:
            paths = list(self.paths_of(text))
        except ValueError as problem:
            code = str(getattr(problem, "code", "bad_template"))
            self.checked.find(pointer, code, str(getattr(problem, "detail", problem)))
            return
        for path in dict.fromkeys(paths):
            if path.split(".")[0] in fields.ROOTS or "." in path:
                self.kind(pointer, path)


# ------------------------------------------------------------------------------------------------ time


def _timing(checked: Checked, pointer: str, timing: Any, paths: _Paths, *, deadline: bool) -> None:
    if timing in (None, "immediate") and not deadline:
        return
    if not isinstance(timing, dict):
        checked.find(pointer, "bad_time", "A time is immediate, or a map with after, before or at.")
        return
    if deadline and "day" in timing:
        _expect(checked, f"{pointer}/day", lambda: days_ahead(timing["day"]))
        if not is_local_time(timing.get("time")):
            checked.find(f"{pointer}/time", "time_required", 'A deadline on a day needs a time, quoted: "14:00".')
        for name in set(timing) - DAY_KEYS:
            checked.find(f"{pointer}{part(name)}", "unknown_key", f"A deadline on a day has no key {name}; it has day, time and zone.")
        _zone(checked, pointer, timing)
        return
    modes = [mode for mode in ("after", "before", "at") if mode in timing]
    if len(modes) != 1:
        checked.find(pointer, "bad_time", "A time has exactly one of after, before and at.")
        return
    _timing_options(checked, pointer, timing, modes[0])
    anchor = anchor_field(timing)
    if anchor is not None:
        kind = paths.kind(f"{pointer}/{modes[0]}", anchor)
        if kind is not None and kind not in ("date", "datetime"):
            dates = [path for path, of in paths.known() if of in ("date", "datetime")]
            checked.find(f"{pointer}/{modes[0]}", "anchor_not_a_date", f"{anchor} is no date{there_are(dates)}")


DAY_KEYS = frozenset(("day", "time", "zone"))
TIME_KEYS = ("after", "before", "at", "offset", "time", "zone", "working_hours", "wait_limit", "if_empty", "late_limit")
TIME_CHOICES = {"working_hours": ("none", "company", "responsible"), "if_empty": ("wait", "skip", "run")}


def _timing_options(checked: Checked, pointer: str, timing: Json, mode: str) -> None:
    for name in timing:
        if name not in TIME_KEYS:
            checked.find(f"{pointer}{part(name)}", "unknown_key", f"A time has no key {name}; there are {', '.join(TIME_KEYS)}.")
    if mode != "at" or "offset" in timing:
        _expect(checked, f"{pointer}/offset", lambda: parsed_offset(timing.get("offset", "" if mode == "before" else "0s")))
    if "time" in timing and not is_local_time(timing["time"]):
        checked.find(f"{pointer}/time", "bad_time", 'A time of day is quoted: "09:30".')
    if mode == "at" and "time" not in timing:
        checked.find(f"{pointer}/time", "time_required", "at needs a time of day.")
    for name, allowed in TIME_CHOICES.items():
        if name in timing and timing[name] not in allowed:
            checked.find(f"{pointer}/{name}", "bad_time", f"{name} is one of {', '.join(allowed)}.")
    for name in ("wait_limit", "late_limit"):
        if name in timing and not (name == "late_limit" and timing[name] == "none"):
            _expect(checked, f"{pointer}/{name}", partial(parsed_offset, timing[name]))
    _zone(checked, pointer, timing)


def _zone(checked: Checked, pointer: str, timing: Json) -> None:
    zone = timing.get("zone")
    if zone is not None and zone not in ("pipeline", "company", "assignee") and not is_zone(zone):
        checked.find(f"{pointer}/zone", "bad_zone", f"{zone} is no time zone; write pipeline, company or a name like Europe/Berlin.")


def is_zone(name: Any) -> bool:
    try:
        return isinstance(name, str) and bool(ZoneInfo(name))
    except (KeyError, ValueError, OSError):
        return False


def _expect(checked: Checked, pointer: str, parse: Callable[[], object]) -> None:
    try:
        parse()
    except BadTime as bad:
        checked.find(pointer, bad.code, bad.detail)


# ------------------------------------------------------------------------------------------------ conditions


def _condition(checked: Checked, pointer: str, node: Any, paths: _Paths) -> None:
    if node is None:
        return
    count = _node(checked, pointer, node, paths, 1)
    if count > condition.MOST_NODES:
        checked.find(pointer, "too_many_nodes", f"A condition has at most {condition.MOST_NODES} nodes.")


def _node(checked: Checked, pointer: str, node: Any, paths: _Paths, depth: int) -> int:
    """The number of nodes below and including this one."""
    if depth > condition.MOST_DEPTH:
        checked.find(pointer, "too_deep", f"A condition is at most {condition.MOST_DEPTH} levels deep.")
        return 1
    group = next((name for name in ("all", "any") if isinstance(node, dict) and isinstance(node.get(name), list)), None)
    if group is not None and len(node) == 1:
        return 1 + sum(_node(checked, f"{pointer}/{group}/{n}", child, paths, depth + 1) for n, child in enumerate(node[group]))
    if isinstance(node, dict) and set(node) == {"not"}:
        return 1 + _node(checked, f"{pointer}/not", node["not"], paths, depth + 1)
    if isinstance(node, dict) and "field" in node and "op" in node and set(node) <= {"field", "op", "value"}:
        _leaf(checked, pointer, node, paths)
    else:
        checked.find(pointer, "bad_condition", "A node is { all: [...] }, { any: [...] }, { not: ... } or { field, op, value }.")
    return 1


def _leaf(checked: Checked, pointer: str, leaf: Json, paths: _Paths) -> None:
    kind = paths.kind(f"{pointer}/field", str(leaf["field"]))
    if kind is None:
        return
    operators = condition.OPERATORS.get(kind, condition.OPERATORS["text"])
    if leaf["op"] not in operators:
        checked.find(f"{pointer}/op", "operator_not_for_type", f"A {kind} is compared by {', '.join(sorted(operators))}.")
        return
    value = leaf.get("value")
    if condition.is_template(value):
        paths.template(f"{pointer}/value", str(value))
    elif leaf["op"] not in condition.NO_LITERAL and condition.literal(value, kind, leaf["op"]) is None:
        checked.find(f"{pointer}/value", "bad_literal", f"{value!r} is nothing that a {kind} is compared with by {leaf['op']}.")
    for at, named in [(part(n), item) for n, item in enumerate(value)] if isinstance(value, list) else [("", value)]:
        if kind == "user" and isinstance(named, str) and named.startswith("user:"):
            _person(checked, f"{pointer}/value{at}", named, paths.names)


# ------------------------------------------------------------------------------------------------ settings


def _rule_type(checked: Checked, place: StageName, names: Names, paths: _Paths) -> None:
    d = checked.definition
    known = RULE_TYPES.get(str(d["type"]))
    if known is None:
        unknown = "setting_required" if d["type"] is None else "unknown_rule_type"
        code = "rule_type_retired" if str(d["type"]) in catalogue.RETIRED else unknown
        checked.find("/type", code, f"There is no rule type {d['type']}; there are {_offered(place)}.")
        return
    if place.element_type not in known.element_types:
        checked.find("/type", "type_not_for_element", f"{known.name} is not for a {place.element_type}; there are {_offered(place)}.")
        return
    for name in d["settings"]:
        if known.setting(name) is None:
            checked.find(f"/settings{part(name)}", "setting_unknown", _no_setting(known, name))
    for setting in known.settings:
        _setting(checked, setting, d["settings"][setting.name], place, names, paths)
    _together(checked, known.name, place, names)


def _offered(place: StageName) -> str:
    return ", ".join(t.name for t in catalogue.offered(place.element_type))


def _setting(checked: Checked, s: Setting, value: Any, place: StageName, names: Names, paths: _Paths) -> None:
    pointer = f"/settings/{s.name}"
    if value is None:
        if s.required:
            checked.find(pointer, "setting_required", _asked_for(s, place))
        return
    problems = _problems(s, value, place)
    for at, code, detail in problems:
        checked.find(pointer + at, code, detail)
    if problems:
        return
    if s.template:
        for at, text in [(part(name), text) for name, text in value.items()] if isinstance(value, dict) else [("", value)]:
            paths.template(pointer + at, str(text))
    _referred(checked, pointer, s, value, names, paths)


def _asked_for(s: Setting, place: StageName) -> str:
    return f"{s.name} is required: {takes(s, place.element_type)}."


def _problems(s: Setting, value: Any, place: StageName) -> list[tuple[str, str, str]]:
    """Every finding about type, length and range, each with the pointer inside the setting."""
    match s.kind:
        case "people" | "files" | "minutes_list":
            return _each(s, value)
        case "recipients" if isinstance(value, list) and value:
            return _each(s, value)
        case "declared_outputs":
            return _declared(s, value)
        case "texts" | "field_values" | "payload" if isinstance(value, dict) and value:
            return _texts(s, value)
        case "event_fields" if isinstance(value, dict):
            return _told(s, value)
        case _:
            found = _shape(s, value, place)
            return [] if found is None else [("", *found)]


def _each(s: Setting, value: Any) -> list[tuple[str, str, str]]:
    if not isinstance(value, list):
        return [("", "wrong_type", f"{s.name} is {takes(s)}.")]
    if len(value) > most_of(s):
        return [("", "out_of_range", f"{s.name} names at most {most_of(s)}.")]
    of_one = _whole if s.kind == "minutes_list" else _is_text
    return [(part(n), *found) for n, item in enumerate(value) if (found := of_one(s, item)) is not None]


def _texts(s: Setting, value: Json) -> list[tuple[str, str, str]]:
    if len(value) > (s.most or 50):
        return [("", "out_of_range", f"{s.name} names at most {s.most}.")]
    return [(part(name), *found) for name, text in value.items() if (found := _text(s, text, s.name, None)) is not None]


EVENT_PATH = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63}){0,9}")
EVENT_TYPE = re.compile(r"(?!(deals|automation|billing|scheduler|notifications)\.)[A-Za-z0-9][A-Za-z0-9._/:-]{0,199}")
"""Types of our own services are no foreign events: what they say is heard where it belongs."""


def _told(s: Setting, value: Json) -> list[tuple[str, str, str]]:
    """Paths into the event with what stands there."""
    if len(value) > (s.most or 50):
        return [("", "out_of_range", f"{s.name} names at most {s.most}.")]
    kinds = f"Each of {s.name} is one of {', '.join(catalogue.EVENT_KINDS)}."
    strange = [(part(path), "wrong_type", kinds) for path, kind in value.items() if kind not in catalogue.EVENT_KINDS]
    return strange + [
        (part(path), "bad_path", f"{path} is no path like order.deal_id.") for path in value if not EVENT_PATH.fullmatch(str(path))
    ]


def _is_text(s: Setting, value: Any) -> tuple[str, str] | None:
    return None if isinstance(value, str) and value else ("wrong_type", f"{s.name} holds texts, each {one_of(s)}.")


def _shape(s: Setting, value: Any, place: StageName) -> tuple[str, str] | None:
    """The finding about type, length and range, if there is one."""
    match s.kind:
        case "bool":
            return None if isinstance(value, bool) else ("wrong_type", f"{s.name} is true or false.")
        case "choice":
            return _chosen(s, value, "unknown_colour" if s.name == "colour" else "wrong_type")
        case "address_type":
            return _chosen(s, value, "unknown_address_type")
        case "choices":
            return _several(s, value, place)
        case "days":
            return _days(s, value)
        case "span":
            return _span(s, value)
        case "minutes":
            return _whole(s, value)
        case "payload":
            return None if value == {} else ("wrong_type", f"{s.name} is {takes(s)}.")
        case "texts" | "field_values":
            return ("empty_map", f"{s.name} is empty; it is {takes(s)}.") if value == {} else ("wrong_type", f"{s.name} is {takes(s)}.")
        case "recipients":
            return _recipient(s, value)
        case "code":
            fits = isinstance(value, str) and CODE.fullmatch(value) is not None
            return None if fits else ("bad_code", f"{s.name} is a code like shop-order-shipped.")
        case "event_type":
            fits = isinstance(value, str) and EVENT_TYPE.fullmatch(value) is not None
            return None if fits else ("bad_event_type", f"{s.name} is a type like com.example.shop.order-shipped, and none of ours.")
        case "event_path":
            fits = isinstance(value, str) and EVENT_PATH.fullmatch(value) is not None
            return None if fits else ("bad_path", f"{s.name} is a path like order.deal_id.")
        case "event_fields":
            return "wrong_type", f"{s.name} maps paths to kinds of values."
        case "customers":
            known = value in ("none", "all", "primary") or (isinstance(value, str) and value.startswith("contact:"))
            return None if known else ("wrong_type", f"{s.name} is none, all, primary or contact:<id>.")
        case "deadline":
            return None if isinstance(value, dict) else ("bad_time", f'{s.name} is a map: {{ day: tomorrow, time: "14:00" }}.')
        case _:
            return _text(s, value)


MAPS = ("texts", "field_values", "payload")


def _recipient(s: Setting, value: Any) -> tuple[str, str] | None:
    if value in ("", []):
        return "empty_list", f"{s.name} names nobody; it is {takes(s)}."
    return None if isinstance(value, str) else ("wrong_type", f"{s.name} is {takes(s)}.")


def _chosen(s: Setting, value: Any, code: str) -> tuple[str, str] | None:
    return None if value in s.choices else (code, f"{s.name} is one of {', '.join(s.choices)}.")


def _several(s: Setting, value: Any, place: StageName) -> tuple[str, str] | None:
    offered = catalogue.choices_for(s, place.element_type)
    if not isinstance(value, list):
        return "wrong_type", f"{s.name} is a list of {', '.join(offered)}."
    if not value:
        return "empty_list", f"{s.name} is empty; there are {', '.join(offered)}."
    strange = [item for item in value if item not in offered]
    if strange:
        return "target_not_offered", f"{strange[0]!r} is not offered for a {place.element_type}; there are {', '.join(offered)}."
    return ("wrong_type", f"{s.name} names one twice.") if len(set(value)) < len(value) else None


def _days(s: Setting, value: Any) -> tuple[str, str] | None:
    try:
        days = seconds_in(parsed_offset(value)) / 86_400
    except BadTime as bad:
        return bad.code, bad.detail
    return None if (s.least or 0) <= days <= (s.most or days) else ("out_of_range", f"{s.name} is {s.least} to {s.most} days.")


def _span(s: Setting, value: Any) -> tuple[str, str] | None:
    try:
        seconds = seconds_in(parsed_offset(value))
    except BadTime as bad:
        return bad.code, bad.detail
    within = (s.least or 0) <= seconds <= (s.most or seconds)
    return None if within else ("out_of_range", f"{s.name} is {s.least} to {s.most} seconds, written like 30min or 2d.")


def _declared(s: Setting, value: Any) -> list[tuple[str, str, str]]:
    """Outputs that a called webhook answers with: each a map of name and type, each name once."""
    if not isinstance(value, list):
        return [("", "wrong_type", f"{s.name} is a list of {{ name, type }}.")]
    if len(value) > (s.most or 50):
        return [("", "out_of_range", f"{s.name} names at most {s.most}.")]
    found = [(part(n) + at, code, detail) for n, one in enumerate(value) for at, code, detail in _output_declared(one)]
    names = [one.get("name") if isinstance(one, dict) else None for one in value]
    taken = [n for n, name in enumerate(names) if name is not None and (name in names[:n] or name in catalogue.COMMON_OUTPUTS)]
    return found + [(f"{part(n)}/name", "duplicate_id", f"There is an output {names[n]} already.") for n in taken]


def _output_declared(one: Any) -> Iterator[tuple[str, str, str]]:
    if not isinstance(one, dict):
        yield "", "wrong_type", "An output is a map: { name: parcel, type: string }."
        return
    for name in one.keys() - {"name", "type", "required", "multiple"}:
        yield part(name), "unknown_key", f"An output has no key {name}; it has name, type, required and multiple."
    if not isinstance(one.get("name"), str) or not SLUG.fullmatch(one["name"]):
        yield "/name", "bad_code", "An output has a name like parcel_number."
    if one.get("type") not in TYPES:
        yield "/type", "wrong_type", f"The type of an output is one of {', '.join(TYPES)}."
    for name in ("required", "multiple"):
        if not isinstance(one.get(name, False), bool):
            yield f"/{name}", "wrong_type", f"{name} is true or false."


def _whole(s: Setting, value: Any) -> tuple[str, str] | None:
    if not isinstance(value, int) or isinstance(value, bool):
        return "wrong_type", f"{s.name} is a whole number, {s.least} to {s.most}."
    within = (s.least is None or value >= s.least) and (s.most is None or value <= s.most)
    return None if within else ("out_of_range", f"{s.name} is {s.least} to {s.most}.")


def _text(s: Setting, value: Any, name: str = "", most: int | None = 0) -> tuple[str, str] | None:
    """`most`: characters of a text without placeholders; 0: the setting's own limit, None: none but that of every text."""
    if not isinstance(value, str):
        return "wrong_type", f"{s.name} holds texts." if s.kind in MAPS else f"{name or s.name} is {takes(s)}."
    if condition.is_template(value):
        return None
    limit = min((s.most if most == 0 else most) or LONGEST_SOURCE, LONGEST_SOURCE)
    return ("too_long", f"{name or s.name} has at most {limit} characters.") if len(value) > limit else None


def _referred(checked: Checked, pointer: str, s: Setting, value: Any, names: Names, paths: _Paths) -> None:
    """Names in settings that mean something elsewhere."""
    match s.kind:
        case "person" | "people" | "recipients":
            for at, person in [(part(n), item) for n, item in enumerate(value)] if isinstance(value, list) else [("", value)]:
                _meant(checked, pointer + at, s, person, names)
        case "pipeline":
            _pipeline(checked, pointer, value, names)
        case "room":
            room = names.rooms.get(value)
            _known(checked, pointer, f"room:{value}", room, "unknown_room", f"There is no room {value}{there_are(names.rooms, value)}")
        case "variable":
            _variable(checked, pointer, value, names, paths)
        case "files":
            for n, file in enumerate(value):
                if file not in names.files:
                    checked.find(pointer + part(n), "unknown_file", f"There is no file {file}; GET /v1/files of deals lists them.")
        case "deadline":
            _timing(checked, pointer, value, paths, deadline=True)
        case "endpoint":
            _endpoint(checked, pointer, value, names)
        case "details_template":
            if value not in names.templates:
                checked.find(pointer, "unknown_template", f"There is no details template {value}{there_are(names.templates, value)}")
        case _:
            pass


def _meant(checked: Checked, pointer: str, s: Setting, person: Any, names: Names) -> None:
    """default, responsible, user:<code>, role:<name> for notices, or a placeholder where the setting takes one."""
    if person in ("default", "responsible") or (s.template and condition.is_template(person)):
        return
    if s.kind == "recipients" and isinstance(person, str) and person.startswith("role:"):
        role = person.removeprefix("role:")
        if role not in names.roles:
            checked.find(pointer, "unknown_role", f"Nobody has the role {role}{there_are(sorted(names.roles), role)}")
        return
    _person(checked, pointer, person, names)


def _known(checked: Checked, pointer: str, name: str, id: str | None, code: str, detail: str) -> None:
    if id is None:
        checked.find(pointer, code, detail)
    else:
        checked.references[name] = id


def _pipeline(checked: Checked, pointer: str, code: str, names: Names) -> None:
    found = names.pipelines.get(code)
    if found is None:
        checked.find(pointer, "unknown_pipeline", f"There is no pipeline {code}{there_are(_live_pipelines(names), code)}")
    elif found[1]:
        checked.find(pointer, "target_missing", f"Pipeline {code} is archived{there_are(_live_pipelines(names))}")
    else:
        checked.references[f"pipeline:{code}"] = found[0]


def _live_pipelines(names: Names) -> list[str]:
    return [code for code, (_, archived, _, _) in names.pipelines.items() if not archived]


def _live_stages(stages: Mapping[str, tuple[str, bool]]) -> list[str]:
    return [code for code, (_, retiring) in stages.items() if not retiring]


def _variable(checked: Checked, pointer: str, code: str, names: Names, paths: _Paths) -> None:
    if f"var.{code}" not in names.values and f"const.{code}" in names.values:
        variables = [name.removeprefix("var.") for name in names.values if name.startswith("var.")]
        checked.find(pointer, "constant_by_rule", f"{code} is a constant; rules change variables{there_are(variables)}")
    elif paths.kind(pointer, f"var.{code}") is not None:
        checked.references[f"variable:{code}"] = names.values[f"var.{code}"][0]


def _together(checked: Checked, rule_type: str, place: StageName, names: Names) -> None:
    """Settings that make sense only together."""
    s = checked.definition["settings"]
    match rule_type:
        case "create_payment_link":
            if s["auto_create"] and s["order_id"] is not None:
                checked.find("/settings/order_id", "setting_not_allowed", "An order number only goes with auto_create: false.")
            if not s["auto_create"] and s["order_id"] is None:
                checked.find("/settings/order_id", "setting_required", "Without auto_create the order number is required (S26).")
        case "create_from":
            _of_deals(checked, s["pipeline"], names)
            if (
                s["sign_template"] not in catalogue.SIGN_TEMPLATES
                and isinstance(s["sign_template"], str)
                and CODE.fullmatch(s["sign_template"])
            ):
                there = ", ".join(catalogue.SIGN_TEMPLATES)
                checked.find(
                    "/settings/sign_template", "unknown_template", f"There is no template {s['sign_template']} to sign; there are {there}."
                )
            if s["issue"] and isinstance(s["targets"], list) and "invoice" not in s["targets"]:
                checked.find("/settings/issue", "setting_not_allowed", "Only an invoice can be issued.")
        case "copy_deal":
            _of_deals(checked, s["pipeline"], names)
            _target_stage(checked, s, place, names)
        case "change_details" | "get_details":
            _details(checked, s, names)
        case "change_stage":
            _next_stage(checked, s["stage"], place, names)
        case "change_field":
            _fields_of_element(checked, s["fields"], place, names)
        case _:
            pass


def _of_deals(checked: Checked, code: Any, names: Names) -> None:
    """A deal stands in a pipeline of deals."""
    found = names.pipelines.get(code) if isinstance(code, str) else None
    if found is not None and found[2] != "deal":
        checked.find("/settings/pipeline", "unknown_pipeline", f"{code} is a pipeline of {found[2]}s, and a deal is made.")


def _target_stage(checked: Checked, s: Json, place: StageName, names: Names) -> None:
    found = names.pipelines.get(s["pipeline"]) if isinstance(s["pipeline"], str) else None
    if found is None:
        return
    stages = found[3]
    code = next(iter(stages), None) if s["initial_stage"] == "first" else s["initial_stage"]
    stage = stages.get(code) if isinstance(code, str) else None
    if stage is None:
        there = there_are(_live_stages(stages), code)
        checked.find("/settings/initial_stage", "unknown_stage", f"{s['pipeline']} has no stage {code}{there}")
    elif stage[1]:
        checked.find("/settings/initial_stage", "target_missing", f"Stage {code} is being removed{there_are(_live_stages(stages))}")
    elif stage[0] == place.stage_id:
        checked.find("/settings/initial_stage", "target_is_own_stage", "A copy into the rule's own stage would never end (D41).")
    elif s["initial_stage"] != "first":
        checked.references[f"stage:{s['pipeline']}/{code}"] = stage[0]


def _details(checked: Checked, s: Json, names: Names) -> None:
    template = names.templates.get(s["template"]) if isinstance(s["template"], str) else None
    if template is None:
        return
    owner = "company" if s["element"] == "company" else "person"
    if template[0] != owner:
        checked.find("/settings/template", "template_of_other_owner_type", f"{s['template']} is for a {template[0]}, asked for a {owner}.")
    asked = s.get("fields") if isinstance(s.get("fields"), dict) else {}
    for name in asked or {}:
        if name in catalogue.ADDRESS_FIELDS:
            if s["address_type"] is None:
                types = ", ".join(catalogue.ADDRESS_TYPES)
                checked.find("/settings/address_type", "address_type_missing", f"{name} is of an address; which one: {types}.")
        elif name not in template[1]:
            there = there_are((*sorted(template[1]), *catalogue.ADDRESS_FIELDS), name)
            checked.find(f"/settings/fields{part(name)}", "unknown_field", f"{s['template']} has no field {name}{there}")


# ------------------------------------------------------------------------------------------------ rules that change the element


def _next_stage(checked: Checked, path: Any, place: StageName, names: Names) -> None:
    """Change stage: another stage of the rule's own pipeline, by its code or as `<pipeline>/<stage>`."""
    if not isinstance(path, str) or place.pipeline not in names.pipelines:
        return
    pipeline, _, code = path.rpartition("/")
    stages = names.pipelines[place.pipeline][3]
    if pipeline not in ("", place.pipeline):
        checked.find("/settings/stage", "stage_of_other_pipeline", f"{path} is no stage of {place.pipeline}; copy_deal leads elsewhere.")
    elif code not in stages:
        checked.find("/settings/stage", "unknown_stage", f"{place.pipeline} has no stage {code}{there_are(_live_stages(stages), code)}")
    elif stages[code][1]:
        checked.find("/settings/stage", "target_missing", f"Stage {code} is being removed{there_are(_live_stages(stages))}")
    elif stages[code][0] == place.stage_id:
        checked.find("/settings/stage", "target_is_own_stage", "An element that arrives here stands in this stage already.")
    else:
        checked.references |= {f"pipeline:{place.pipeline}": place.pipeline_id, f"stage:{place.pipeline}/{code}": stages[code][0]}


def _fields_of_element(checked: Checked, fields_asked: Any, place: StageName, names: Names) -> None:
    """Change field: every field exists, can be set, and takes what is written without placeholders."""
    if not isinstance(fields_asked, dict):
        return
    settable = {**SETTABLE[place.element_type], **names.forms.get(place.element_type, {})}
    for name, text in fields_asked.items():
        pointer = f"/settings/fields{part(name)}"
        found = settable.get(normal(name))
        if found is None:
            checked.find(pointer, *_no_field(normal(name), place, settable))
            continue
        checked.references[f"field:{normal(name)}"] = found.pinned()
        if isinstance(text, str) and text and not condition.is_template(text):
            _literal_of_field(checked, pointer, found, text, names)


def _no_field(name: str, place: StageName, settable: Mapping[str, FieldType]) -> tuple[str, str]:
    if name in ELSEWHERE:
        return "field_not_settable", f"{name} is changed by a rule of type {ELSEWHERE[name]}."
    there = ", ".join(settable)
    if name in fields.standard_of(place.element_type):
        return "field_not_settable", f"{name} cannot be set by a rule; there are {there}."
    near = get_close_matches(name, list(settable), 3)
    meant = f"; did you mean {' or '.join(near)}?" if near else f"; there are {there}."
    return "unknown_field", f"There is no field {name} of a {place.element_type}{meant}"


def _literal_of_field(checked: Checked, pointer: str, of: FieldType, text: str, names: Names) -> None:
    if of.field_type == "user":
        for person in (one.strip() for one in text.split(",")) if of.multiple else (text.strip(),):
            _person(checked, pointer, person, names)
        return
    try:
        converted(of, text, Reading(ZoneInfo("UTC"), "EUR", lambda _: None))
    except ValueError as wrong:
        checked.find(pointer, "wrong_type", f"It does not fit the field: {wrong}.")


# ------------------------------------------------------------------------------------------------ webhooks


def _endpoint(checked: Checked, pointer: str, id: str, names: Names) -> None:
    purpose, state = names.endpoints.get(id, ("", ""))
    usable = [known for known, found in names.endpoints.items() if found == ("rule", "active")]
    if not purpose:
        checked.find(pointer, "unknown_endpoint", f"There is no webhook endpoint {id[:100]}{there_are(usable)}")
    elif purpose != "rule":
        checked.find(pointer, "unknown_endpoint", f"Endpoint {id} is for another purpose: {purpose}{there_are(usable)}")
    elif state != "active":
        checked.find(pointer, "unknown_endpoint", f"Endpoint {id} is {state}: enable it first.")
    else:
        checked.references[f"endpoint:{id}"] = id
