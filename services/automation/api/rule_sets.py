"""Rules as text: export, check, plan, apply."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import Field
from sqlalchemy import Select, func, select
from starlette.responses import Response

from services.automation import replicas, views
from services.automation.api.checks import must_be_allowed, said, scope_missing, severity
from services.automation.api.common import ACTIVATE, READ, WRITE, world_of
from services.automation.api.runs import RUNS, every_run
from services.automation.domain import constants as val
from services.automation.domain import rule as rul
from services.automation.domain import trigger as tri
from services.automation.domain.check import WARNINGS
from services.automation.domain.constants import VALUE, ChangeValue, DefineValue
from services.automation.domain.plan import PLAN, ApplyPlan, MakePlan
from services.automation.domain.rule import RULE
from services.automation.domain.trigger import TRIGGER
from services.automation.rule_sets.comparing import fingerprint, same_version
from services.automation.rule_sets.planning import Planned, World, bound_to, plan_of, standing, standing_of
from services.automation.rule_sets.reading import Spots, Unreadable, documents_of
from services.automation.rule_sets.writing import exported, text_of
from shared.es.addressed import Addressed, Facts
from shared.es.aggregate import Json
from shared.es.errors import Fault, NotFound, Rejected
from shared.es.view import Row
from shared.http.commands import Answer, Door
from shared.http.problems import Body
from shared.http.types import Code, Flag
from shared.runtime.clock import new_id

API = APIRouter()


class RuleText(Body):
    """YAML or JSON, at most 256 KiB less the rest of the request."""

    text: Annotated[str, Field(max_length=256 * 1024)]
    prune: Flag = False


class Application(Body):
    plan_id: UUID
    waiting: Literal["keep", "migrate", "cancel"] = "keep"


async def planned(door: Door, body: RuleText) -> Planned:
    """Raises Rejected(rule_set_invalid) with every error at once."""
    try:
        documents = documents_of(body.text)
    except Unreadable as error:
        raise Rejected("rule_set_invalid", str(error), status=422, errors=(Fault("#/text", "syntax", str(error)),)) from None
    plan = plan_of(documents, await world_of(door), door.caller.employee_id, new_id, prune=body.prune)
    errors = tuple(finding for finding, _, _ in plan.findings if finding.code not in WARNINGS)
    if errors:
        raise Rejected("rule_set_invalid", f"{len(errors)} faults were found; `errors` names each.", status=422, errors=errors)
    return plan


def shown_findings(plan: Planned, text: str) -> list[Json]:
    """`line` and `column` count from 1 in the text as it came."""
    spots = Spots(text)
    return [
        {**f._asdict(), "severity": severity(f), "stage": stage, "rule_id": key, **said(f), **spots.of(f.pointer)._asdict()}
        for f, stage, key in plan.findings
    ]


def note_rights(door: Door, plan: Planned) -> None:
    """Others may look at a plan that only one with the rights may apply (D67)."""
    for change in plan.changes:
        scope = scope_missing(door, change["definition"]) if is_published(change) else None
        if scope is not None:
            detail = f"{change['definition']['type']} needs the right {scope}."
            plan.find(f"{change['pointer']}/type", "not_allowed_for_author", detail, change["stage"], change["key"])


def is_published(change: Json) -> bool:
    return change["kind"] == "rule" and change["change"] not in ("unchanged", "delete")


def shown_change(change: Json) -> Json:
    names = ("kind", "id", "key", "stage", "change", "fields", "differences", "version")
    return {name: change[name] for name in names if name in change}


def shown_changes(changes: Iterable[Json]) -> list[Json]:
    return [shown_change(change) for change in changes if change["kind"] != "bound"]


YAML = "application/yaml"
Format = Annotated[Literal["yaml", "json"], Query(description="A YAML stream, or an array of the same documents.")]
TEXT_FORM: dict[int | str, dict[str, Any]] = {200: {"description": "Rules as text", "content": {YAML: {"schema": {"type": "string"}}}}}


@API.get("/v1/rule-sets", operation_id="rule_sets_export", tags=["rule sets"], responses=TEXT_FORM)
async def export_rule_sets(door: Annotated[Door, READ], format: Format = "yaml") -> Any:
    """All rules, triggers and values in force as text. Planned again, it changes nothing.

    What could not be applied again today is a comment in the YAML, with the reason, and missing in the JSON."""
    return _as_text(await world_of(door), None, format)


@API.get("/v1/rule-sets/{pipeline_code}", operation_id="rule_sets_export_pipeline", tags=["rule sets"], responses=TEXT_FORM)
async def export_rule_set(pipeline_code: Annotated[Code, Path()], door: Annotated[Door, READ], format: Format = "yaml") -> Any:
    """The same of one pipeline, with the constants and variables that its rules name."""
    world = await world_of(door)
    if all(row["code"] != pipeline_code for row in world.pipelines):
        raise NotFound(f"There is no pipeline {pipeline_code}.")
    return _as_text(world, pipeline_code, format)


def _as_text(world: World, pipeline: str | None, format: str) -> Any:
    found = exported(world, pipeline, new_id)
    return found.documents if format == "json" else Response(text_of(found), media_type=YAML)


@API.post("/v1/rule-sets/checks", operation_id="rule_sets_check", tags=["rule sets"])
async def check_rule_set(body: RuleText, door: Annotated[Door, READ]) -> Any:
    """Nothing is written; all findings at once."""
    return {"findings": shown_findings(await planned(door, body), body.text)}


@API.post("/v1/rule-sets/plans", operation_id="rule_sets_plan", status_code=201, tags=["rule sets"])
async def plan_rule_set(body: RuleText, door: Annotated[Door, WRITE]) -> Response:
    """What the text would change, kept under a plan_id that is bound to what is in force now; nothing else is written.

    `waiting`: runs that have not begun and belong to a rule that gets a new version, is switched off or deleted, and what
    `keep`, `migrate` and `cancel` at the application would make of them. `elements`: how many there are on each stage named."""
    plan = await planned(door, body)
    note_rights(door, plan)
    id = str(new_id())
    shown = {
        "plan_id": id,
        "changes": shown_changes(plan.changes),
        "waiting": await touched_runs(door, plan),
        "elements": await elements_on(door, plan),
        "findings": shown_findings(plan, body.text),
    }
    return await door.ask(Addressed(PLAN, id, MakePlan(tuple(plan.changes))), answer=lambda done: Answer(201, shown))


NOT_BEGUN = ("scheduled", "waiting", "blocked")
MOST_RUNS_SHOWN = 20
NEW_VERSION: Json = {"keep": "kept", "migrate": "migrated", "cancel": "cancelled"}
SWITCHED_OFF: Json = {"keep": "skipped", "migrate": "skipped", "cancel": "cancelled"}
DELETED: Json = {"keep": "cancelled", "migrate": "cancelled", "cancel": "cancelled"}


def becomes_of_runs(change: Json) -> Json | None:
    """What waits of a rule is kept, migrated, skipped when it comes due, or cancelled (D2-D4); None: the change does not touch it."""
    if change["kind"] != "rule" or change["change"] not in ("update", "disable", "delete"):
        return None
    if change["change"] == "delete":
        return DELETED
    differing = set(change["fields"])
    if differing - {"position", "enabled"}:
        return NEW_VERSION
    return SWITCHED_OFF if "enabled" in differing and not change["definition"]["enabled"] else None


async def touched_runs(door: Door, plan: Planned) -> list[Json]:
    """One entry per rule, in the order of the plan; the first runs by due time, for those who may see runs."""
    touched = {change["id"]: change for change in plan.changes if becomes_of_runs(change) is not None}
    if not touched:
        return []
    async with door.reading() as sql:
        rows = [dict(row) for row in (await sql.execute(_touched_query(touched))).mappings()]
    found = {id: [row for row in rows if row["rule_id"] == id] for id in touched}
    return [_shown_touched(touched[id], runs, door.may("runs:read")) for id, runs in found.items() if runs]


def _touched_query(touched: Mapping[str, Json]) -> Select[Any]:
    t = RUNS.c
    of_rule: dict[str, Any] = {"partition_by": t.rule_id}
    figures = (
        func.count().over(**of_rule).label("count"),
        func.count().filter(t.state == "blocked").over(**of_rule).label("blocked"),
        func.min(t.due_at).over(**of_rule).label("first_due_at"),
        func.max(t.due_at).over(**of_rule).label("last_due_at"),
        func.row_number().over(**of_rule, order_by=(t.due_at.asc().nulls_last(), t.run_id)).label("place_in_rule"),
    )
    stages = {change["stage_id"] for change in touched.values()}
    runs = select(t.rule_id, t.run_id, t.element_id, t.rule_version, t.state, t.due_at, *figures)
    kept = runs.where(t.waits, t.stage_id.in_(stages), t.rule_id.in_(touched), t.state.in_(NOT_BEGUN)).add_cte(every_run()).subquery()
    return select(kept).where(kept.c.place_in_rule <= MOST_RUNS_SHOWN).order_by(kept.c.place_in_rule)


def _shown_touched(change: Json, runs: Sequence[Row], may_see: bool) -> Json:
    names = ("count", "blocked", "first_due_at", "last_due_at")
    of_run = ("run_id", "element_id", "state", "due_at")
    place = {"rule_id": change["id"], "key": change["key"], "stage": change["stage"], "change": change["change"]}
    shown = [{**{name: run[name] for name in of_run}, "rule_version": int(run["rule_version"])} for run in runs] if may_see else []
    return {**place, **{name: runs[0][name] for name in names}, **(becomes_of_runs(change) or {}), "runs": shown}


async def elements_on(door: Door, plan: Planned) -> list[Json]:
    """They keep the versions that were in force when they arrived (G27)."""
    stages = {change["stage_id"]: change["stage"] for change in plan.changes if "stage_id" in change}
    t = replicas.ELEMENTS.table.c
    query = select(t.stage_id, func.count().label("count")).where(t.stage_id.in_(stages), t.deleted.is_(False)).group_by(t.stage_id)
    async with door.reading() as sql:
        counts = {row["stage_id"]: row["count"] for row in (await sql.execute(query)).mappings()}
    return [{"stage": path, "count": counts.get(id, 0)} for id, path in stages.items()]


@API.post("/v1/rule-sets/applications", operation_id="rule_sets_apply", tags=["rule sets"])
async def apply_rule_set(body: Application, door: Annotated[Door, ACTIVATE]) -> Response:
    """Publishes everything in one transaction, or nothing (plan_outdated)."""
    plan, _ = await door.state_at(PLAN, str(body.plan_id))
    changes = [change for change in plan.changes if change["change"] != "unchanged"]
    for change in changes:
        if is_published(change):
            must_be_allowed(door, change["definition"])

    def apply(seen: Facts) -> ApplyPlan:
        return ApplyPlan(_standing_now(plan.changes, seen) | {change["id"]: _fingerprint_now(change, seen) for change in changes})

    asked = [addressed for change in changes for addressed in _applied(change, body.waiting)]
    shown = {"plan_id": str(body.plan_id), "applied": shown_changes(changes)}
    first = Addressed(PLAN, str(body.plan_id), apply, exclusive="rule-sets", finds=_finds(plan.changes))
    return await door.ask(first, *asked, answer=lambda done: Answer(200, shown))


KINDS_OF_VALUES = ("constant", "variable")


def _bound_stages(changes: Iterable[Json]) -> list[str]:
    return [change["key"] for change in changes if change["kind"] == "bound" and change["of"] == "stage"]


def _finds(changes: Sequence[Json]) -> tuple[tuple[Any, str], ...]:
    """Everything that stands where the plan changes something."""
    tables = (views.STANDING_RULES, views.STANDING_TRIGGERS)
    there: list[tuple[Any, str]] = [(finder, stage) for stage in _bound_stages(changes) for finder in tables]
    return (*there, *((views.VALUES_OF_KIND, kind) for kind in KINDS_OF_VALUES))


def _standing_now(changes: Sequence[Json], seen: Facts) -> dict[str, str | None]:
    """Of what the plan rests on and leaves as it is: each by id, and who stands on each stage."""
    now: dict[str, str | None] = {}
    for stage in _bound_stages(changes):
        rows = [*seen.all(views.STANDING_RULES, stage), *seen.all(views.STANDING_TRIGGERS, stage)]
        now |= {row["id"]: standing_of(row) for row in rows} | {f"bound:{stage}": bound_to(rows)}
    for kind in KINDS_OF_VALUES:
        values = seen.all(views.VALUES_OF_KIND, kind)
        now |= {row["id"]: fingerprint(row["value"]["is"]) for row in values} | {f"bound:{kind}": bound_to(values)}
    return now


def _fingerprint_now(change: Json, seen: Facts) -> str | None:
    """Of what the plan changes, as it stands when it is applied; null for what is not there."""
    id = change["id"]
    match change["kind"]:
        case "rule":
            rule = seen.state(RULE, id)
            return None if rule.state == "none" else standing(rule.state, rule.position, rule.definition)
        case "trigger":
            trigger = seen.state(TRIGGER, id)
            return None if trigger.state == "none" else standing(trigger.state, trigger.position, trigger.definition)
        case _:
            value = seen.state(VALUE, id)
            return None if value.state != "defined" else fingerprint(value.value)


def _applied(change: Json, waiting: str) -> list[Addressed[Any]]:
    match change["kind"]:
        case "rule":
            return _applied_rule(change, waiting)
        case "trigger":
            return _applied_trigger(change)
        case _:
            return [Addressed(VALUE, change["id"], _value_command(change), exclusive="value-codes")]


def _value_command(change: Json) -> val.ValueCommand:
    value = change["value"]
    if change["change"] == "update":
        return ChangeValue(value["value"])
    return DefineValue(change["kind"], change["key"], value["type"], value["multiple"], value["visibility"], value["value"])


def _applied_rule(c: Json, waiting: str) -> list[Addressed[Any]]:
    """Drafted or moved, published if the version is new, then switched as the text says."""
    id, definition = c["id"], c["definition"]
    if c["change"] == "delete":
        return [Addressed(RULE, id, rul.DeleteRule())]
    place = (c["element_type"], c["pipeline_id"], c["stage_id"], c["position"])
    draft = rul.DraftRule(*place, definition, c["owner_id"])
    there = (rul.MoveRule(c["position"]), *((rul.EditRule(definition, c["owner_id"]),) if definition["owner"] else ()))
    first = (draft,) if c["change"] == "create" else there

    def publish(seen: Facts) -> rul.PublishRule | None:
        rule = seen.state(RULE, id)
        same = rule.invalid is None and same_version("rule", rule.definition, definition)
        return None if same else rul.PublishRule(definition, c["references"], (), waiting)

    def switch(seen: Facts) -> rul.RuleCommand | None:
        on = _to_switch(seen.state(RULE, id).state, definition)
        return None if on is None else rul.EnableRule() if on else rul.DisableRule(waiting == "cancel")

    return [Addressed(RULE, id, command) for command in (*first, publish, switch)]


def _applied_trigger(c: Json) -> list[Addressed[Any]]:
    id, definition = c["id"], c["definition"]
    if c["change"] == "delete":
        return [Addressed(TRIGGER, id, tri.DeleteTrigger())]
    place = (c["element_type"], c["pipeline_id"], c["stage_id"], c["position"])
    draft = tri.DraftTrigger(*place, definition, c["owner_id"])
    first = [draft] if c["change"] == "create" else [tri.MoveTrigger(c["position"])]

    def publish(seen: Facts) -> tri.PublishTrigger | None:
        trigger = seen.state(TRIGGER, id)
        same = trigger.invalid is None and same_version("trigger", trigger.definition, definition)
        return None if same else tri.PublishTrigger(definition, c["references"])

    def switch(seen: Facts) -> tri.TriggerCommand | None:
        on = _to_switch(seen.state(TRIGGER, id).state, definition)
        return None if on is None else tri.EnableTrigger() if on else tri.DisableTrigger()

    return [Addressed(TRIGGER, id, command) for command in (*first, publish, switch)]


def _to_switch(state: str, definition: Json) -> bool | None:
    """Whether it has to be switched on or off to be as the text says; None if it is so."""
    if state == "disabled" and definition["enabled"]:
        return True
    return False if state == "published" and not definition["enabled"] else None
