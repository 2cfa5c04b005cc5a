"""What is in force as text, in canonical form: applied again, it changes nothing (rule-format 1).

What could not be applied again today stands in the text as a comment with the reason: a rule that something it names was taken
from, a stage that is being removed. Drafts that were never published are only counted by name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from services.automation.domain.check import RULE_KEYS, TRIGGER_KEYS, WARNINGS
from services.automation.domain.definition import complete_rule, complete_trigger
from services.automation.rule_sets.comparing import same
from services.automation.rule_sets.emitting import as_yaml
from services.automation.rule_sets.planning import World, plan_of, standing_on
from shared.es.aggregate import Json
from shared.es.view import Row

WORDS = (
    "all any not field op value after before at day offset time zone working_hours wait_limit if_empty late_limit amount currency".split()
)
"""Members of conditions and times, in the order of the format."""

# ------------------------------------------------------------------------------------------------ one by one


def rule_text(definition: Json, *, enabled: bool) -> Json:
    """A published definition as one writes it: without what is so anyway."""
    return _short(complete_rule(definition) | {"enabled": enabled}, complete_rule, RULE_KEYS)


def trigger_text(definition: Json, *, enabled: bool) -> Json:
    """As `rule_text`; where it moves to is the document it stands in."""
    keys = [name for name in TRIGGER_KEYS if name != "target_stage"]
    return _short(complete_trigger(definition) | {"enabled": enabled}, complete_trigger, keys)


def _short(whole: Json, complete: Callable[[Json], Json], keys: Sequence[str]) -> Json:
    default = complete({"id": whole["id"], "type": whole["type"]})
    said = {name: whole[name] for name in keys if name in ("id", "type") or not same(whole[name], default[name])}
    if "settings" in said:
        usual = default["settings"]
        said["settings"] = {name: v for name, v in whole["settings"].items() if name not in usual or not same(v, usual[name])}
    return {name: in_order(value) for name, value in said.items()}


def in_order(value: Any) -> Any:
    """The members of times and conditions as the format lists them; others stay as they are."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: WORDS.index(name) if name in WORDS else len(WORDS))
        return {name: in_order(value[name]) for name in names}
    return [in_order(item) for item in value] if isinstance(value, list) else value


def value_text(row: Row) -> Json:
    said = {"type": row["value_type"]}
    if row["multiple"]:
        said["multiple"] = True
    if row["visibility"] != "everywhere":
        said["visibility"] = row["visibility"]
    return {**said, "value": row["value"]["is"]}


# ------------------------------------------------------------------------------------------------ what is there


@dataclass(slots=True)
class Entry:
    """A rule or trigger of an export. `aside`: why it stands there as a comment only."""

    text: Json
    aside: str | None = None
    note: str | None = None


@dataclass(slots=True)
class StageText:
    path: str
    name: str
    rules: list[Entry] = field(default_factory=list)
    triggers: list[Entry] = field(default_factory=list)
    drafts: list[str] = field(default_factory=list)

    def entries(self, kind: str) -> list[Entry]:
        """Those that count."""
        return [entry for entry in (self.rules if kind == "rules" else self.triggers) if entry.aside is None]

    def document(self) -> Json:
        texts = {kind: [entry.text for entry in self.entries(kind)] for kind in ("rules", "triggers")}
        return {"stage": self.path} | {kind: found for kind, found in texts.items() if found}


@dataclass(slots=True)
class Exported:
    """The text of what is there. `documents`: as JSON, without what is set aside."""

    values: Json
    stages: list[StageText]

    @property
    def living(self) -> list[StageText]:
        return [stage for stage in self.stages if stage.entries("rules") or stage.entries("triggers")]

    @property
    def documents(self) -> list[Json]:
        return ([self.values] if self.values else []) + [stage.document() for stage in self.living]

    def set_aside(self, pointer: str, reason: str) -> None:
        """What a finding points at: a rule, a trigger, or all of a stage."""
        n, kind, at = [*pointer.removeprefix("#/").split("/"), "", ""][:3]
        stage = self.living[int(n) - (1 if self.values else 0)]
        found = [stage.entries(kind)[int(at)]] if kind in ("rules", "triggers") else [*stage.entries("rules"), *stage.entries("triggers")]
        for entry in found:
            entry.aside = reason


def exported(world: World, pipeline: str | None, new_id: Callable[[], UUID]) -> Exported:
    """Everything of a tenant, or of one pipeline with the constants and variables that its rules name."""
    chosen = [row for row in world.pipelines if pipeline in (None, row["code"])]
    stages = [_stage_text(row, stage, world) for row in sorted(chosen, key=lambda row: row["code"]) for stage in row["stages"]]
    found = Exported(_values(world, chosen if pipeline else None), [stage for stage in stages if stage is not None])
    while faults := _faults(found.documents, world, new_id):
        for pointer, reason in faults.items():
            found.set_aside(pointer, reason)
    return found


def _faults(documents: Sequence[Json], world: World, new_id: Callable[[], UUID]) -> dict[str, str]:
    """By the pointer of a rule, a trigger or a stage; found from below, so that setting one aside moves none above it."""
    findings = [f for f, _, _ in plan_of(documents, world, None, new_id).findings if f.code not in WARNINGS]
    faults = {"/".join(f.pointer.split("/")[:4]): f"{f.code}: {f.detail}" for f in findings if "stage" in documents[_number(f.pointer)]}
    return dict(sorted(faults.items(), key=lambda fault: _place(fault[0]), reverse=True))


def _number(pointer: str) -> int:
    return int(pointer.split("/")[1])


def _place(pointer: str) -> tuple[int, str, int]:
    n, kind, at = [*pointer.removeprefix("#/").split("/"), "", ""][:3]
    return int(n), kind, int(at) if at.isdigit() else -1


def _stage_text(pipeline: Row, stage: Json, world: World) -> StageText | None:
    found = StageText(f"{pipeline['code']}/{stage['code']}", str(stage.get("name") or ""))
    for rows, kind, entries in ((world.rules, "rule", found.rules), (world.triggers, "trigger", found.triggers)):
        for row in sorted(standing_on(stage["stage_id"], rows), key=lambda row: (row["position"], row["id"])):
            if row["definition"] is None:
                found.drafts.append(f"{kind} {row[f'{kind}_key']}")
            else:
                entries.append(_entry(row, rule_text if kind == "rule" else trigger_text))
    return found if found.rules or found.triggers or found.drafts else None


def _entry(row: Row, text: Callable[..., Json]) -> Entry:
    aside = None if row["invalid_code"] is None else f"{row['invalid_code']}: {row.get('invalid_detail') or 'what it needs is gone.'}"
    note = "There is a draft with changes; they are not in this text." if row["draft"] is not None else None
    return Entry(text(row["definition"], enabled=row["state"] == "published"), aside, note)


def _values(world: World, pipelines: Sequence[Row] | None) -> Json:
    named = None if pipelines is None else _named_values(world, {row["id"] for row in pipelines})
    rows = sorted((row for row in world.values if named is None or row["id"] in named), key=lambda row: row["code"])
    kinds = (("constants", "constant"), ("variables", "variable"))
    found = {plural: {row["code"]: value_text(row) for row in rows if row["kind"] == kind} for plural, kind in kinds}
    return {plural: values for plural, values in found.items() if values}


def _named_values(world: World, pipelines: set[str]) -> set[str]:
    rows = [row for row in (*world.rules, *world.triggers) if row["pipeline_id"] in pipelines and row["state"] != "deleted"]
    names = [(name.partition(":"), str(id)) for row in rows for name, id in row["references"].items()]
    return {parts[2] if parts[0] == "value" else id for parts, id in names if parts[0] in ("value", "variable")}


# ------------------------------------------------------------------------------------------------ as YAML


def text_of(found: Exported) -> str:
    """The same for the same rules, whoever asks and when."""
    parts = [as_yaml(found.values)] if found.values else []
    parts += ["\n".join(_stage_lines(stage)) + "\n" for stage in found.stages]
    return HEAD + "---\n".join(parts) if parts else HEAD


HEAD = "# Rules and triggers as they are in force. Applied again, this text changes nothing.\n"


def _stage_lines(stage: StageText) -> Iterable[str]:
    dead = not stage.document().keys() - {"stage"}
    yield f"{'# ' if dead else ''}stage: {stage.path}{_comment(stage.name)}"
    for kind, entries in (("rules", stage.rules), ("triggers", stage.triggers)):
        if entries:
            yield f"{'' if stage.entries(kind) else '# '}{kind}:"
        for entry in entries:
            yield from _entry_lines(entry)
    if stage.drafts:
        yield f"# Never published, so not in this text: {_one_line(', '.join(stage.drafts))}"


def _entry_lines(entry: Entry) -> Iterable[str]:
    if entry.aside is not None:
        yield f"  # Not in force as it stands. {_one_line(entry.aside)}"
    if entry.note is not None:
        yield f"  # {entry.note}"
    for line in as_yaml([entry.text]).removesuffix("\n").split("\n"):
        yield f"{'  ' if entry.aside is None else '  # '}{line}" if line else ""


def _comment(text: str) -> str:
    return f"  # {_one_line(text)}" if text.strip() else ""


def _one_line(text: str) -> str:
    """Nothing in a comment can end it."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())
