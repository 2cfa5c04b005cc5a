"""Rules as text: from YAML or JSON to documents, findings and a plan of changes (rule-format 1, 8, 9)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import orjson
import yaml

from services.automation.domain.check import Checked, Names, Neighbour, StageName, check_rule, check_trigger
from services.automation.domain.constants import VALUE_TYPES, VISIBILITIES, fits
from services.automation.domain.fields import kind_of_field
from services.automation.facts.rendering import check as paths_of
from shared.es.aggregate import Json
from shared.es.errors import Fault
from shared.es.view import Row

LONGEST = 256 * 1024


class Unreadable(ValueError):
    """Not YAML or JSON as we read it: with line and column where known."""


class _Loader(yaml.SafeLoader):
    """The core of YAML: no anchors, no tags of other programs, no key twice."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise Unreadable("anchors and aliases are not allowed")
        return super().compose_node(parent, index)


def _map(loader: _Loader, node: yaml.MappingNode) -> Json:
    loader.flatten_mapping(node)
    pairs = [(loader.construct_object(k, deep=True), loader.construct_object(v, deep=True)) for k, v in node.value]
    found = {str(key): value for key, value in pairs}
    if len(found) != len(pairs):
        raise Unreadable(f"line {node.start_mark.line + 1}: a key stands twice in one map")
    return found


_Loader.add_constructor("tag:yaml.org,2002:map", _map)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def documents_of(text: str) -> list[Json]:
    """The documents of a text. Raises Unreadable."""
    if len(text.encode()) > LONGEST:
        raise Unreadable(f"a text of rules has at most {LONGEST} bytes")
    try:
        found = [document for document in yaml.load_all(text, _Loader) if document is not None]
    except yaml.YAMLError as error:
        raise Unreadable(" ".join(str(error).split())[:300]) from None
    except RecursionError:
        raise Unreadable("the text is nested too deeply") from None
    documents = found[0] if len(found) == 1 and isinstance(found[0], list) else found
    if not all(isinstance(document, dict) for document in documents):
        raise Unreadable("a text of rules is a list of documents, each a map")
    return list(documents)


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


def names_of(world: World, new_values: Mapping[str, tuple[str, str, str]] | None = None) -> Names:
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
    )


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


def plan_of(documents: Sequence[Json], world: World, owner: str | None, new_id: Callable[[], UUID]) -> Planned:
    """What the documents would change. `owner`: who owns new rules; None: the pipeline's owner."""
    planned = Planned()
    new_values = _plan_values(documents, world, planned, new_id)
    names = names_of(world, new_values)
    for n, document in enumerate(documents):
        if "stage" in document or not {"constants", "variables"} & set(document):
            _plan_stage(document, f"#/{n}", names, world, planned, owner, new_id)
    return planned


def _plan_values(documents: Sequence[Json], world: World, planned: Planned, new_id: Callable[[], UUID]) -> dict[str, tuple[str, str, str]]:
    here = {(row["kind"], row["code"]): row for row in world.values}
    new: dict[str, tuple[str, str, str]] = {}
    for n, document in enumerate(documents):
        for kind, prefix in (("constant", "const"), ("variable", "var")):
            for code, given in (document.get(f"{kind}s") or {}).items():
                value = {"type": "string", "multiple": False, "visibility": "everywhere", **given}
                pointer = f"#/{n}/{kind}s/{code}"
                if value["type"] not in VALUE_TYPES or value["visibility"] not in VISIBILITIES:
                    planned.find(pointer, "wrong_type", f"A value has a type of {', '.join(VALUE_TYPES)} and a visibility.")
                elif not fits(value["type"], value["multiple"], value.get("value")):
                    planned.find(f"{pointer}/value", "wrong_type", f"This is no {value['type']}.")
                else:
                    change = _plan_value(kind, code, value, here.get((kind, code)), new_id)
                    planned.changes.append(change)
                    new[f"{prefix}.{code}"] = (change["id"], kind_of_field(value["type"], multiple=value["multiple"]), value["visibility"])
    return new


def _plan_value(kind: str, code: str, value: Json, row: Row | None, new_id: Callable[[], UUID]) -> Json:
    before = fingerprint(row["value"]["is"]) if row else None
    same = row is not None and row["value"]["is"] == value.get("value")
    change = "create" if row is None else "unchanged" if same else "update"
    id = row["id"] if row else str(new_id())
    return {"kind": kind, "id": id, "key": code, "change": change, "before": before, "value": value}


def _plan_stage(
    document: Json, pointer: str, names: Names, world: World, planned: Planned, owner: str | None, new_id: Callable[[], UUID]
) -> None:
    for name in document:
        if name not in ("stage", "rules", "triggers"):
            planned.find(f"{pointer}/{name}", "unknown_key", f"A document has stage, rules and triggers; {name} is none of them.")
    place = stage_named(document.get("stage"), names)
    if isinstance(place, str):
        planned.find(f"{pointer}/stage", place, f"{document.get('stage')} is no stage; write <pipeline>/<stage>.")
        return
    pipeline = next(row for row in world.pipelines if row["id"] == place.pipeline_id)
    stage = _Stage(document, pointer, place, names, world, planned, owner or pipeline["owner_id"] or "", new_id)
    stage.rules()
    stage.triggers()


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

    def rules(self) -> None:
        above: list[Neighbour] = []
        texts = [rule for rule in self.document.get("rules") or () if isinstance(rule, dict)]
        here = {row["rule_key"]: row for row in self.world.rules if row["stage_id"] == self.place.stage_id and row["state"] != "deleted"}
        for n, text in enumerate(texts):
            checked = check_rule(text, self.place, self.names, above, [str(t.get("id")) for t in texts[n + 1 :]], paths_of)
            self._note(checked, f"{self.pointer}/rules/{n}", str(text.get("id")))
            above.append(Neighbour(str(text.get("id")), str(text.get("type")), checked.definition["execution"]))
            self.planned.changes.append(self._change("rule", checked, n, here.get(text.get("id")), self.place))

    def triggers(self) -> None:
        for n, text in enumerate(t for t in self.document.get("triggers") or () if isinstance(t, dict)):
            target = stage_named(text["target_stage"], self.names) if text.get("target_stage") else self.place
            pointer = f"{self.pointer}/triggers/{n}"
            if isinstance(target, str):
                self.planned.find(f"{pointer}/target_stage", target, f"{text['target_stage']} is no stage.", self.path, str(text.get("id")))
                continue
            if target.pipeline_id != self.place.pipeline_id:
                detail = "A trigger moves elements of its own pipeline only (D16)."
                self.planned.find(f"{pointer}/target_stage", "trigger_other_pipeline", detail, self.path, str(text.get("id")))
                continue
            checked = check_trigger(text, target, self.names, paths_of)
            checked.definition["target_stage"] = f"{target.pipeline}/{target.stage}"
            self._note(checked, pointer, str(text.get("id")))
            self.planned.changes.append(self._change("trigger", checked, n, self._trigger_here(text, target), target))

    def _trigger_here(self, text: Json, target: StageName) -> Row | None:
        rows = (r for r in self.world.triggers if r["pipeline_id"] == target.pipeline_id and r["state"] != "deleted")
        return next((row for row in rows if row["trigger_key"] == text.get("id")), None)

    def _note(self, checked: Checked, pointer: str, key: str) -> None:
        for finding in checked.findings:
            self.planned.find(f"{pointer}{finding.pointer}", finding.code, finding.detail, self.path, key)

    def _change(self, kind: str, checked: Checked, position: int, row: Row | None, place: StageName) -> Json:
        """`before`: the fingerprint of what is in force, null for a new one."""
        definition, version = checked.definition, f"{kind}_version"
        before = fingerprint(row["definition"]) if row else None
        owner = checked.references.get(definition.get("owner") or "", self.owner)
        same = row is not None and row["definition"] == definition and row["position"] == position
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
    if row["state"] == "disabled" and definition.get("enabled", True):
        return "enable"
    if row["state"] == "published" and not definition.get("enabled", True):
        return "disable"
    return "unchanged" if same and row["state"] in ("published", "disabled") else "update"


def _differing(before: Json | None, after: Json) -> set[str]:
    return {name for name in {*(before or {}), *after} if (before or {}).get(name) != after.get(name)}


def fingerprint(definition: Any) -> str:
    """SHA-256 of the canonical JSON."""
    return hashlib.sha256(orjson.dumps(definition, option=orjson.OPT_SORT_KEYS)).hexdigest()
