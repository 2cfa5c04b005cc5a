"""Rules as text: from YAML or JSON to documents, findings and a plan of changes (rule-format 1, 8, 9)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import UUID

import orjson
import yaml

from services.automation.domain.check import CODE, Checked, Names, Neighbour, StageName, check_rule, check_trigger
from services.automation.domain.constants import VALUE_TYPES, VISIBILITIES, fits
from services.automation.domain.fields import kind_of_field
from services.automation.facts.rendering import check as paths_of
from shared.es.aggregate import Json
from shared.es.errors import Fault
from shared.es.view import Row

LONGEST = 256 * 1024
DEEPEST = 32
MOST_WHOLE = 2**53


class Unreadable(ValueError):
    """Not YAML or JSON as we read it: with line and column where known."""


class _Loader(yaml.SafeLoader):
    """The core schema of YAML 1.2: no anchors, no tags, no key twice; `no` is a word and 14:00 is text."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        peek: Any = self.peek_event
        event = peek()
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None) is not None:
            raise Unreadable("anchors and aliases are not allowed")
        if getattr(event, "tag", None) is not None:
            raise Unreadable("tags are not allowed")
        return super().compose_node(parent, index)


CORE = (
    ("bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), "tTfF"),
    ("null", re.compile(r"^(?:~|null|Null|NULL|)$"), ["~", "n", "N", ""]),
    ("int", re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"), "-+0123456789"),
    ("float", re.compile(r"^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$"), "-+.0123456789"),
)
"""What plain text may mean besides text."""


def _map(loader: _Loader, node: yaml.MappingNode) -> Json:
    loader.flatten_mapping(node)
    pairs = [(loader.construct_object(k, deep=True), loader.construct_object(v, deep=True)) for k, v in node.value]
    found = {str(key): value for key, value in pairs}
    if len(found) != len(pairs):
        raise Unreadable(f"line {node.start_mark.line + 1}: a key stands twice in one map")
    return found


_Loader.add_constructor("tag:yaml.org,2002:map", _map)


def _whole(loader: _Loader, node: yaml.ScalarNode) -> int:
    text = str(loader.construct_scalar(node))
    number = int(text, 0) if text.startswith(("0o", "0x")) else int(text)
    if abs(number) > MOST_WHOLE:
        raise Unreadable(f"line {node.start_mark.line + 1}: a number this large is written as text")
    return number


_Loader.add_constructor("tag:yaml.org,2002:int", _whole)
_Loader.yaml_implicit_resolvers = {}
for _kind, _shape, _first in CORE:
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_kind}", _shape, list(_first))


def documents_of(text: str) -> list[Json]:
    """The documents of a text. Raises Unreadable."""
    if len(text.encode()) > LONGEST:
        raise Unreadable(f"a text of rules has at most {LONGEST} bytes")
    try:
        found = [document for document in yaml.load_all(text, _Loader) if document is not None]
    except Unreadable:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise Unreadable(" ".join(str(error).split())[:300]) from None
    except RecursionError:
        raise Unreadable("the text is nested too deeply") from None
    if not all(_is_flat(document, DEEPEST) for document in found):
        raise Unreadable(f"the text is nested more than {DEEPEST} levels deep")
    documents = found[0] if len(found) == 1 and isinstance(found[0], list) else found
    if not all(isinstance(document, dict) for document in documents):
        raise Unreadable("a text of rules is a list of documents, each a map")
    return list(documents)


def _is_flat(value: Any, levels: int) -> bool:
    members = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels > 0 and all(_is_flat(member, levels - 1) for member in members)


# ------------------------------------------------------------------------------------------------ names


@dataclass(frozen=True, slots=True)
class World:
    """What is there now: rows of replicas and of our own views, as the reader sees them."""

    pipelines: Sequence[Row]
    employees: Sequence[Row]
    values: Sequence[Row]
    field_sets: Sequence[Row]
    rooms: Sequence[Row]
    files: Sequence[Row]
    rules: Sequence[Row]
    triggers: Sequence[Row]


def names_of(world: World, new_values: Mapping[str, tuple[str, str, str]] | None = None, rules: Mapping[str, str] | None = None) -> Names:
    """`rules`: those of the text that is being read, by `<pipeline>/<stage>#<id>`."""
    prefix = {"constant": "const", "variable": "var"}
    values = {
        f"{prefix[row['kind']]}.{row['code']}": (row["id"], kind_of_field(row["value_type"], multiple=row["multiple"]), row["visibility"])
        for row in world.values
    }
    return Names(
        {row["code"]: _pipeline(row) for row in world.pipelines},
        {row["code"]: (row["id"], row["active"]) for row in world.employees},
        {**values, **(new_values or {})},
        _custom(world.field_sets),
        {row["template_code"]: _template(row) for row in world.field_sets if row["kind"] == "details_template"},
        {row["code"]: row["id"] for row in world.rooms if not row["retired"]},
        frozenset(row["id"] for row in world.files if not row["removed"]),
        frozenset(role for row in world.employees if row["active"] for role in row["roles"]),
        {**_rules_by_path(world), **(rules or {})},
    )


def _rules_by_path(world: World) -> dict[str, str]:
    paths = {stage["stage_id"]: f"{p['code']}/{stage['code']}" for p in world.pipelines for stage in p["stages"]}
    there = (row for row in world.rules if row["state"] != "deleted" and row["stage_id"] in paths)
    return {f"{paths[row['stage_id']]}#{row['rule_key']}": row["id"] for row in there}


def _pipeline(row: Row) -> tuple[str, bool, str, Mapping[str, tuple[str, bool]]]:
    stages = {stage["code"]: (stage["stage_id"], bool(stage.get("retiring"))) for stage in row["stages"]}
    return row["id"], row["archived"], row["element_type"], stages


def _template(row: Row) -> tuple[str, frozenset[str]]:
    return row["owner_type"] or "person", frozenset(field["code"] for field in row["fields"])


def _custom(field_sets: Iterable[Row]) -> dict[str, str]:
    roots = {"deal": "uf", "lead": "uf", "contact": "contact.uf", "company": "company.uf"}
    return {
        f"{roots[row['element_type']]}.{field['code']}": kind_of_field(field["field_type"], multiple=field["multiple"])
        for row in field_sets
        if row["kind"] == "form" and row["element_type"] in roots
        for field in row["fields"]
        if not field.get("retired")
    }


def stage_named(path: Any, names: Names) -> StageName | str:
    """'sales/won' as a place, or the code of what is wrong."""
    pipeline, _, stage = str(path).partition("/")
    found = names.pipelines.get(pipeline)
    if found is None:
        return "unknown_pipeline"
    if stage not in found[3]:
        return "unknown_stage"
    if found[1] or found[3][stage][1]:
        return "target_missing"
    return StageName(found[0], pipeline, found[3][stage][0], stage, found[2])


# ------------------------------------------------------------------------------------------------ plans


@dataclass(slots=True)
class Planned:
    """Changes in the order in which they are published, and every finding."""

    changes: list[Json] = field(default_factory=list)
    findings: list[tuple[Fault, str, str]] = field(default_factory=list)
    """Each with the stage and the rule's id."""

    def find(self, pointer: str, code: str, detail: str, stage: str = "", key: str = "") -> None:
        self.findings.append((Fault(pointer, code, detail), stage, key))


def plan_of(documents: Sequence[Json], world: World, owner: str | None, new_id: Callable[[], UUID], *, prune: bool = False) -> Planned:
    """What the documents would change. `owner`: who owns new rules; None: the pipeline's owner.

    `prune`: rules and triggers on the stages named that the text does not hold are deleted."""
    planned = Planned()
    names = names_of(world, _plan_values(documents, world, planned, new_id))
    stages = [stage for n, document in enumerate(documents) if (stage := _stage(n, document, names, world, planned, owner, new_id))]
    made = {f"{stage.path}#{change['key']}": change["id"] for stage in stages for change in stage.rules()}
    for stage in stages:
        stage.names = replace(names, rules={**names.rules, **made})
        stage.triggers()
        if prune:
            stage.prune()
    return planned


KINDS = (("constants", "constant", "const"), ("variables", "variable", "var"))


def _plan_values(documents: Sequence[Json], world: World, planned: Planned, new_id: Callable[[], UUID]) -> dict[str, tuple[str, str, str]]:
    """What the text's constants and variables become, by path, so that its rules may name them."""
    here = {(row["kind"], row["code"]): row for row in world.values}
    new: dict[str, tuple[str, str, str]] = {}
    for n, document in enumerate(documents):
        for plural, kind, prefix in KINDS:
            given = document.get(plural) or {}
            if not isinstance(given, dict):
                planned.find(f"#/{n}/{plural}", "wrong_type", f"{plural} maps codes to values.")
                continue
            for code, value in given.items():
                change = _value(f"#/{n}/{plural}/{code}", kind, code, value, here.get((kind, code)), planned, new_id)
                if change is not None:
                    planned.changes.append(change)
                    v = change["value"]
                    new[f"{prefix}.{code}"] = (change["id"], kind_of_field(v["type"], multiple=v["multiple"]), v["visibility"])
    return new


VALUE_KEYS = ("type", "multiple", "visibility", "value")


def _value(pointer: str, kind: str, code: str, given: Any, row: Row | None, planned: Planned, new_id: Callable[[], UUID]) -> Json | None:
    """The change of one value; None after a finding."""
    if not isinstance(given, dict) or set(given) - set(VALUE_KEYS):
        planned.find(pointer, "unknown_key", f"A {kind} is a map of {', '.join(VALUE_KEYS)}.")
        return None
    value = {"type": "string", "multiple": False, "visibility": "everywhere", "value": None, **given}
    problem = _problem_of_value(kind, code, value, row)
    if problem is not None:
        planned.find(f"{pointer}{problem[0]}", problem[1], problem[2])
        return None
    return _plan_value(kind, code, value, row, new_id)


def _problem_of_value(kind: str, code: str, value: Json, row: Row | None) -> tuple[str, str, str] | None:
    """(pointer, code, detail) of the first fault."""
    if not CODE.fullmatch(code):
        return "", "bad_code", f"{code} is no code; it has lower-case letters, digits and hyphens."
    if value["type"] not in VALUE_TYPES or value["visibility"] not in VISIBILITIES or not isinstance(value["multiple"], bool):
        return "", "wrong_type", f"A value has a type of {', '.join(VALUE_TYPES)} and a visibility of {', '.join(VISIBILITIES)}."
    if not fits(value["type"], value["multiple"], value["value"]):
        return "/value", "wrong_type", f"This is no {value['type']}."
    if row is not None and (value["type"], value["multiple"]) != (row["value_type"], row["multiple"]):
        return "/type", "type_is_fixed", f"{kind} {code} is a {row['value_type']} for good."
    return None


def _plan_value(kind: str, code: str, value: Json, row: Row | None, new_id: Callable[[], UUID]) -> Json:
    before = fingerprint(row["value"]["is"]) if row else None
    same = row is not None and row["value"]["is"] == value["value"]
    change = "create" if row is None else "unchanged" if same else "update"
    id = row["id"] if row else str(new_id())
    return {"kind": kind, "id": id, "key": code, "change": change, "before": before, "value": value}


def _stage(
    n: int, document: Json, names: Names, world: World, planned: Planned, owner: str | None, new_id: Callable[[], UUID]
) -> _Stage | None:
    """A document about a stage; None if it is about values, or after a finding."""
    about_values = {"constants", "variables"} & set(document)
    if about_values and "stage" not in document:
        _only(document, f"#/{n}", ("constants", "variables"), planned)
        return None
    _only(document, f"#/{n}", ("stage", "rules", "triggers"), planned)
    place = stage_named(document.get("stage"), names)
    if isinstance(place, str):
        code = "setting_required" if document.get("stage") is None else place
        planned.find(f"#/{n}/stage", code, f"{document.get('stage')} is no stage; write <pipeline>/<stage>.")
        return None
    pipeline = next(row for row in world.pipelines if row["id"] == place.pipeline_id)
    return _Stage(document, f"#/{n}", place, names, world, planned, owner or pipeline["owner_id"] or "", new_id)


def _only(document: Json, pointer: str, known: Sequence[str], planned: Planned) -> None:
    for name in document:
        if name not in known:
            planned.find(f"{pointer}/{name}", "unknown_key", f"A document has {', '.join(known)}; {name} is none of them.")


@dataclass(slots=True)
class _Stage:
    """One document: its rules and triggers against what is there."""

    document: Json
    pointer: str
    place: StageName
    names: Names
    world: World
    planned: Planned
    owner: str
    new_id: Callable[[], UUID]

    @property
    def path(self) -> str:
        return f"{self.place.pipeline}/{self.place.stage}"

    def _texts(self, name: str) -> list[tuple[int, Json]]:
        """The rules or triggers with their places; what is no map is a finding."""
        given = self.document.get(name) or []
        if not isinstance(given, list):
            self.planned.find(f"{self.pointer}/{name}", "wrong_type", f"{name} is a list.", self.path)
            return []
        for n, text in enumerate(given):
            if not isinstance(text, dict):
                self.planned.find(f"{self.pointer}/{name}/{n}", "wrong_type", f"Each of {name} is a map.", self.path)
        return [(n, text) for n, text in enumerate(given) if isinstance(text, dict)]

    def rules(self) -> list[Json]:
        above: list[Neighbour] = []
        changes: list[Json] = []
        texts = self._texts("rules")
        for at, (n, text) in enumerate(texts):
            below = [str(later.get("id")) for _, later in texts[at + 1 :]]
            checked = check_rule(text, self.place, self.names, above, below, paths_of)
            self._note(checked, f"{self.pointer}/rules/{n}", str(text.get("id")))
            above.append(Neighbour(str(text.get("id")), str(text.get("type")), str(checked.definition["execution"])))
            changes.append(self._change("rule", checked, n, self._here(self.world.rules, "rule_key", text.get("id")), self.place))
        self.planned.changes.extend(changes)
        return changes

    def triggers(self) -> None:
        seen: set[str] = set()
        for n, text in self._texts("triggers"):
            pointer, key = f"{self.pointer}/triggers/{n}", str(text.get("id"))
            if key in seen:
                self.planned.find(f"{pointer}/id", "duplicate_id", f"Another trigger of the stage is called {key}.", self.path, key)
            seen.add(key)
            target = self._target(text, f"{pointer}/target_stage", key)
            if target is not None:
                checked = check_trigger(text, target, self.names, paths_of)
                checked.definition["target_stage"] = f"{target.pipeline}/{target.stage}"
                self._note(checked, pointer, key)
                row = self._here(self.world.triggers, "trigger_key", text.get("id"), target)
                self.planned.changes.append(self._change("trigger", checked, n, row, target))

    def _target(self, text: Json, pointer: str, key: str) -> StageName | None:
        """Where a trigger moves to: a stage of the same pipeline. None after a finding."""
        if text.get("target_stage") is None:
            return self.place
        target = stage_named(text["target_stage"], self.names)
        if isinstance(target, str):
            self.planned.find(pointer, target, f"{text['target_stage']} is no stage.", self.path, key)
            return None
        if target.pipeline_id != self.place.pipeline_id:
            self.planned.find(pointer, "trigger_other_pipeline", "A trigger moves elements of its own pipeline only (D16).", self.path, key)
            return None
        return target

    def _here(self, rows: Sequence[Row], name: str, key: Any, place: StageName | None = None) -> Row | None:
        """The rule or trigger of this id that stands there already."""
        stage_id = (place or self.place).stage_id
        return next((r for r in rows if r["stage_id"] == stage_id and r["state"] != "deleted" and r[name] == key), None)

    def prune(self) -> None:
        """What stands on the stage and not in the text."""
        kept = {change["id"] for change in self.planned.changes}
        for kind, rows in (("rule", self.world.rules), ("trigger", self.world.triggers)):
            for row in rows:
                if row["stage_id"] == self.place.stage_id and row["state"] != "deleted" and row["id"] not in kept:
                    before = fingerprint(row["definition"])
                    gone = {"kind": kind, "id": row["id"], "key": row[f"{kind}_key"], "stage": self.path, "change": "delete"}
                    self.planned.changes.append({**gone, "before": before, "definition": row["definition"] or {}})

    def _note(self, checked: Checked, pointer: str, key: str) -> None:
        for finding in checked.findings:
            self.planned.find(f"{pointer}{finding.pointer}", finding.code, finding.detail, self.path, key)

    def _change(self, kind: str, checked: Checked, position: int, row: Row | None, place: StageName) -> Json:
        """`before`: the fingerprint of what is in force, null for a new one."""
        definition, version = checked.definition, f"{kind}_version"
        before = fingerprint(row["definition"]) if row else None
        owner = checked.references.get(definition.get("owner") or "", self.owner)
        same = row is not None and same_version(row["definition"], definition) and row["position"] == position
        return {
            "kind": kind,
            "id": row["id"] if row else str(self.new_id()),
            "key": definition["id"],
            "stage": f"{place.pipeline}/{place.stage}",
            "change": "create" if row is None else _difference(row, definition, same),
            "fields": sorted(_differing(row["definition"], definition)) if row else [],
            "version": row[version] if row else 0,
            "before": before,
            "definition": definition,
            "references": checked.references,
            "element_type": place.element_type,
            "pipeline_id": place.pipeline_id,
            "stage_id": place.stage_id,
            "position": position,
            "owner_id": owner,
        }


def _difference(row: Row, definition: Json, same: bool) -> str:
    if not same or row["state"] == "draft":
        return "update"
    if (row["state"] == "published") == definition["enabled"]:
        return "unchanged"
    return "enable" if definition["enabled"] else "disable"


def same_version(before: Json | None, after: Json) -> bool:
    """Whether nothing but being switched on or off differs."""
    return before is not None and {**before, "enabled": True} == {**after, "enabled": True}


def _differing(before: Json | None, after: Json) -> set[str]:
    return {name for name in {*(before or {}), *after} if (before or {}).get(name) != after.get(name)}


def fingerprint(definition: Any) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(orjson.dumps(definition, option=orjson.OPT_SORT_KEYS)).hexdigest()
