"""What documents would change of what is there, and every finding on the way (rule-format 8, 9)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any
from uuid import UUID

from services.automation.domain.change import FieldType
from services.automation.domain.check import CODE, WARNINGS, Checked, Names, Neighbour, StageName, check_rule, check_trigger
from services.automation.domain.constants import VALUE_TYPES, VISIBILITIES, fits
from services.automation.domain.fields import kind_of_field
from services.automation.facts.rendering import check as paths_of
from services.automation.rule_sets.analysis import Finding, Ground, Line, Placed, analysed
from services.automation.rule_sets.comparing import complete, differences, fingerprint, same_version
from shared.es.aggregate import Json
from shared.es.errors import Fault
from shared.es.view import Row

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
    endpoints: Sequence[Row] = ()
    app_triggers: Sequence[Row] = ()


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
        _forms(world.field_sets),
        {row["id"]: (row["purpose"], row["state"]) for row in world.endpoints},
        frozenset(row["path"] for row in world.app_triggers),
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


def _forms(field_sets: Iterable[Row]) -> dict[str, dict[str, FieldType]]:
    return {
        row["element_type"]: {
            f"uf.{field['code']}": FieldType(field["field_type"], field["multiple"], tuple(field.get("options") or ()))
            for field in row["fields"]
            if not field.get("retired")
        }
        for row in field_sets
        if row["kind"] == "form" and row["element_type"] in ("deal", "lead")
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


def no_stage(path: Any, code: str, names: Names) -> str:
    """What is wrong with the name of a stage, and which there are."""
    pipeline = str(path).partition("/")[0]
    match code:
        case "setting_required":
            return "A document describes one stage; write stage: <pipeline>/<stage>."
        case "unknown_pipeline":
            return f"There is no pipeline {pipeline}; there are {', '.join(sorted(names.pipelines)) or 'none'}. Write <pipeline>/<stage>."
        case "unknown_stage":
            stages = ", ".join(f"{pipeline}/{stage}" for stage in names.pipelines[pipeline][3])
            return f"{path} is no stage; there are {stages}."
        case _:
            return f"{path} is archived or being removed."


# ------------------------------------------------------------------------------------------------ plans


@dataclass(slots=True)
class Planned:
    """Changes in the order in which they are published, and every finding."""

    changes: list[Json] = field(default_factory=list)
    findings: list[tuple[Fault, str, str]] = field(default_factory=list)
    """Each with the stage and the rule's id."""

    def find(self, pointer: str, code: str, detail: str, stage: str = "", key: str = "") -> None:
        self.findings.append((Fault(pointer, code, detail), stage, key))

    def look_together(self, world: World) -> None:
        """Warnings about what the text says, seen beside everything else that is in force (rule-format 10). Only of what has no error."""
        if any(finding.code not in WARNINGS for finding, _, _ in self.findings):
            return
        said = {change["id"]: change for change in self.changes if change["kind"] in ("rule", "trigger")}
        for found in together(world, said):
            change = said.get(found.id)
            if change is not None and change["change"] != "delete":
                self.find(f"{change['pointer']}{found.pointer}", found.code, found.detail, change["stage"], change["key"])


def together(world: World, said: Mapping[str, Json]) -> list[Finding]:
    """What everything in force comes to with these rules and triggers in place of theirs, by id."""
    codes = {stage["stage_id"]: (p["code"], stage["code"]) for p in world.pipelines for stage in p["stages"]}
    found: dict[str, list[Placed]] = {"rule": [], "trigger": []}
    for kind, rows in (("rule", world.rules), ("trigger", world.triggers)):
        there = [row for row in rows if row["state"] == "published" and row["invalid_code"] is None and row["id"] not in said]
        new = [change for change in said.values() if change["kind"] == kind and change["change"] != "delete"]
        every = [one for one in (*there, *new) if one["stage_id"] in codes]
        found[kind] = [Placed(r["id"], *codes[r["stage_id"]], r["position"], r["definition"], r["references"]) for r in every]
    return analysed(found["rule"], found["trigger"], ground_of(world))


def ground_of(world: World) -> Ground:
    lines = {p["code"]: Line(p["element_type"], tuple(s["code"] for s in p["stages"]), p.get("is_default", False)) for p in world.pipelines}
    roots = {"deal": "uf", "lead": "uf", "contact": "contact.uf", "company": "company.uf"}
    options: dict[str, dict[str, frozenset[str]]] = {"deal": {}, "lead": {}}
    for row in world.field_sets:
        for select in row["fields"] if row["kind"] == "form" and row["element_type"] in roots else ():
            if select["field_type"] == "select" and not select["multiple"] and select.get("options"):
                for element_type in options.keys() & {row["element_type"]} or options:
                    options[element_type][f"{roots[row['element_type']]}.{select['code']}"] = frozenset(select["options"])
    return Ground(lines, options)


def plan_of(documents: Sequence[Json], world: World, owner: str | None, new_id: Callable[[], UUID], *, prune: bool = False) -> Planned:
    """What the documents would change. `owner`: who owns new rules; None: the pipeline's owner.

    `prune`: rules and triggers on the stages named that the text does not hold are deleted; drafts never published stay."""
    planned = Planned()
    names = names_of(world, _plan_values(documents, world, planned, new_id))
    stages = _stages(documents, names, world, planned, owner, new_id)
    made = {f"{stage.path}#{change['key']}": change["id"] for stage in stages for change in stage.rules(prune)}
    names = replace(names, rules={**names.rules, **made})
    _plan_triggers([wish for stage in stages for wish in stage.triggers(names)], stages, prune)
    for stage in stages if prune else ():
        stage.delete_the_rest()
    planned.look_together(world)
    planned.changes.extend(_bounds(planned.changes, stages, world))
    return planned


def _stages(
    documents: Sequence[Json], names: Names, world: World, planned: Planned, owner: str | None, new_id: Callable[[], UUID]
) -> list[_Stage]:
    """Each stage once."""
    found: dict[str, _Stage] = {}
    for n, document in enumerate(documents):
        stage = _stage(n, document, names, world, planned, owner, new_id)
        if stage is not None and found.setdefault(stage.path, stage) is not stage:
            planned.find(f"#/{n}/stage", "duplicate_id", f"Another document describes {stage.path}: put both into one.", stage.path)
    return list(found.values())


def positions(rows: Sequence[Row | None], taken: Collection[int]) -> list[int]:
    """Where each of a text stands: as it does while that is in order, else behind the one above, where nobody else is `taken`.

    What stands there is ordered by position and id; None is new."""
    found: list[int] = []
    above: tuple[int, str] = (-1, "")
    for row in rows:
        if row is not None and (row["position"], row["id"]) > above:
            above = (row["position"], row["id"])
        else:
            above = (next(n for n in count(above[0] + 1) if n not in taken), BEHIND_ALL)
        found.append(above[0])
    return found


BEHIND_ALL = "~"
"""Greater than any id."""


# ------------------------------------------------------------------------------------------------ what a plan is bound to


def standing_of(row: Row) -> str:
    """The fingerprint of a rule or trigger as it stands."""
    return standing(row["state"], row["position"], row["definition"])


def standing(state: str, position: int, definition: Json | None) -> str:
    return fingerprint([state, position, definition])


def bound_to(rows: Iterable[Row]) -> str:
    """The fingerprint of who stands on a stage, or which values there are."""
    return fingerprint(sorted(row["id"] for row in rows))


def _bounds(changes: Sequence[Json], stages: Sequence[_Stage], world: World) -> list[Json]:
    """A plan that adds to a set rests on what is in it: two people who add the same rule must not both be right."""
    kinds = sorted({change["kind"] for change in changes if change["kind"] in ("constant", "variable") and change["change"] == "create"})
    touched = {stage.place.stage_id for stage in stages} | {change["stage_id"] for change in changes if "stage_id" in change}
    values = [_bound(kind, kind, [row for row in world.values if row["kind"] == kind]) for kind in kinds]
    return values + [_bound("stage", id, standing_on(id, world.rules, world.triggers)) for id in sorted(touched)]


def _bound(of: str, id: str, rows: Iterable[Row]) -> Json:
    return {"kind": "bound", "of": of, "id": f"bound:{id}", "key": id, "change": "unchanged", "before": bound_to(rows)}


def standing_on(stage_id: str, *tables: Iterable[Row]) -> list[Row]:
    return [row for table in tables for row in table if row["stage_id"] == stage_id and row["state"] != "deleted"]


# ------------------------------------------------------------------------------------------------ values

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
                if change is not None and f"{prefix}.{code}" in new:
                    planned.find(f"#/{n}/{plural}/{code}", "duplicate_id", f"{kind} {code} stands in another document too.")
                elif change is not None:
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
    now = row["value"]["is"] if row else None
    value = {"type": "string", "multiple": False, "visibility": "everywhere", "value": now, **given}
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
    if row is not None and (value["type"], value["multiple"]) != (row["value_type"], row["multiple"]):
        return "/type", "type_is_fixed", f"{kind} {code} is a {'list of ' if row['multiple'] else ''}{row['value_type']} for good."
    if row is not None and value["visibility"] != row["visibility"]:
        return "/visibility", "type_is_fixed", f"{kind} {code} is visible {row['visibility']} for good."
    if not fits(value["type"], value["multiple"], value["value"]):
        return "/value", "wrong_type", f"This is no {value['type']}."
    return None


def _plan_value(kind: str, code: str, value: Json, row: Row | None, new_id: Callable[[], UUID]) -> Json:
    before = fingerprint(row["value"]["is"]) if row else None
    differing = differences(row["value"]["is"], value["value"], "/value") if row else []
    change = "create" if row is None else "update" if differing else "unchanged"
    id = row["id"] if row else str(new_id())
    return {"kind": kind, "id": id, "key": code, "change": change, "differences": differing, "before": before, "value": value}


# ------------------------------------------------------------------------------------------------ stages


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
        planned.find(f"#/{n}/stage", code, no_stage(document.get("stage"), code, names))
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

    def rules(self, prune: bool) -> list[Json]:
        above: list[Neighbour] = []
        checks: list[tuple[Checked, Row | None]] = []
        texts = self._texts("rules")
        for at, (n, text) in enumerate(texts):
            below = [str(later.get("id")) for _, later in texts[at + 1 :]]
            checked = check_rule(text, self.place, self.names, above, below, paths_of)
            self._note(checked, f"{self.pointer}/rules/{n}", str(text.get("id")))
            d = checked.definition
            above.append(Neighbour(str(text.get("id")), str(text.get("type")), str(d["execution"]), d["settings"]))
            checks.append((checked, _here(self.world.rules, "rule_key", text.get("id"), self.place)))
        places = positions([row for _, row in checks], self.taken(self.world.rules, [row for _, row in checks], prune))
        found = zip(texts, checks, places, strict=True)
        changes = [self.change("rule", f"rules/{n}", checked, at, row, self.place) for (n, _), (checked, row), at in found]
        self.planned.changes.extend(changes)
        return changes

    def taken(self, rows: Iterable[Row], named: Iterable[Row | None], prune: bool) -> set[int]:
        """Positions that stay with what the text does not name."""
        kept = {row["id"] for row in named if row is not None}
        stays = (row for row in standing_on(self.place.stage_id, rows) if row["id"] not in kept)
        return {row["position"] for row in stays if row["state"] == "draft" or not prune}

    def triggers(self, names: Names) -> list[_Wish]:
        """Those of this document, wherever they move elements to."""
        found = []
        for n, text in self._texts("triggers"):
            pointer, key = f"{self.pointer}/triggers/{n}", str(text.get("id"))
            target = self._target(text, f"{pointer}/target_stage", key)
            if target is not None:
                checked = check_trigger(text, target, names, paths_of)
                checked.definition["target_stage"] = f"{target.pipeline}/{target.stage}"
                self._note(checked, pointer, key)
                found.append(_Wish(self, pointer, key, checked, target, _here(self.world.triggers, "trigger_key", text.get("id"), target)))
        return found

    def _target(self, text: Json, pointer: str, key: str) -> StageName | None:
        """Where a trigger moves to: a stage of the same pipeline. None after a finding."""
        if text.get("target_stage") is None:
            return self.place
        target = stage_named(text["target_stage"], self.names)
        if isinstance(target, str):
            self.planned.find(pointer, target, no_stage(text["target_stage"], target, self.names), self.path, key)
            return None
        if target.pipeline_id != self.place.pipeline_id:
            self.planned.find(pointer, "trigger_other_pipeline", "A trigger moves elements of its own pipeline only (D16).", self.path, key)
            return None
        return target

    def delete_the_rest(self) -> None:
        """What is in force or off on the stage and not in the text."""
        kept = {change["id"] for change in self.planned.changes}
        for kind, rows in (("rule", self.world.rules), ("trigger", self.world.triggers)):
            for row in standing_on(self.place.stage_id, rows):
                if row["state"] != "draft" and row["id"] not in kept:
                    gone = {"kind": kind, "id": row["id"], "key": row[f"{kind}_key"], "stage": self.path, "change": "delete"}
                    there = {"version": row[f"{kind}_version"], "before": standing_of(row), "stage_id": self.place.stage_id}
                    self.planned.changes.append({**gone, **there, "definition": row["definition"] or {}})

    def _note(self, checked: Checked, pointer: str, key: str) -> None:
        for finding in checked.findings:
            self.planned.find(f"{pointer}{finding.pointer}", finding.code, finding.detail, self.path, key)

    def change(self, kind: str, where: str, checked: Checked, position: int, row: Row | None, place: StageName) -> Json:
        """`where` in the document; `before`: the fingerprint of what stands there, null for a new one."""
        definition = checked.definition
        differing = _differing(kind, row, definition, position)
        return {
            "kind": kind,
            "id": row["id"] if row else str(self.new_id()),
            "pointer": f"{self.pointer}/{where}",
            "key": definition["id"],
            "stage": f"{place.pipeline}/{place.stage}",
            "change": "create" if row is None else _difference(kind, row, definition, position),
            "fields": sorted({difference["pointer"].split("/")[1] for difference in differing}),
            "differences": differing,
            "version": row[f"{kind}_version"] if row else 0,
            "before": standing_of(row) if row else None,
            "definition": definition,
            "references": checked.references,
            "element_type": place.element_type,
            "pipeline_id": place.pipeline_id,
            "stage_id": place.stage_id,
            "position": position,
            "owner_id": checked.references.get(definition.get("owner") or "", self.owner),
        }


@dataclass(frozen=True, slots=True)
class _Wish:
    """A trigger of a text, checked; `row`: what stands there."""

    stage: _Stage
    pointer: str
    key: str
    checked: Checked
    target: StageName
    row: Row | None


def _plan_triggers(wishes: Sequence[_Wish], stages: Sequence[_Stage], prune: bool) -> None:
    """Triggers into one stage stand in the order of the whole text, whichever document they are in."""
    named = {stage.place.stage_id for stage in stages}
    by_target: dict[str, dict[str, _Wish]] = {}
    for wish in wishes:
        others = by_target.setdefault(wish.target.stage_id, {})
        if others.setdefault(wish.key, wish) is not wish:
            detail = f"Another trigger into the stage is called {wish.key}."
            wish.stage.planned.find(f"{wish.pointer}/id", "duplicate_id", detail, wish.stage.path, wish.key)
    for target, group in by_target.items():
        _plan_group(list(group.values()), prune and target in named)


def _plan_group(wishes: Sequence[_Wish], prune: bool) -> None:
    stage, rows = wishes[0].stage, [wish.row for wish in wishes]
    kept = {row["id"] for row in rows if row is not None}
    others = (row for row in standing_on(wishes[0].target.stage_id, stage.world.triggers) if row["id"] not in kept)
    places = positions(rows, {row["position"] for row in others if row["state"] == "draft" or not prune})
    for wish, at in zip(wishes, places, strict=True):
        where = wish.pointer.removeprefix(f"{wish.stage.pointer}/")
        stage.planned.changes.append(wish.stage.change("trigger", where, wish.checked, at, wish.row, wish.target))


def _here(rows: Sequence[Row], name: str, key: Any, place: StageName) -> Row | None:
    """The rule or trigger of this id that stands there already: what was published before a draft of the name."""
    there = [row for row in standing_on(place.stage_id, rows) if (row["definition"] or {"id": row[name]}).get("id") == key]
    return min(there, key=lambda row: row["definition"] is None, default=None)


def _difference(kind: str, row: Row, definition: Json, position: int) -> str:
    same = same_version(kind, row["definition"], definition) and row["position"] == position
    if not same or row["state"] == "draft" or row["invalid_code"] is not None:
        return "update"
    if (row["state"] == "published") == definition["enabled"]:
        return "unchanged"
    return "enable" if definition["enabled"] else "disable"


def _differing(kind: str, row: Row | None, definition: Json, position: int) -> list[Json]:
    """By pointer: what is in force, with its place in the order and whether it is on, against the text."""
    if row is None:
        return []
    in_force = {**complete(kind, row["definition"]), "enabled": row["state"] == "published"} if row["definition"] else {}
    found = differences(in_force, complete(kind, definition))
    if row["invalid_code"] is not None:
        found.append({"pointer": "/invalid", "before": row["invalid_code"]})
    return found + differences({"position": row["position"]}, {"position": position})
