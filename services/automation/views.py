"""What our lists and lookups show, from our own streams: rules, triggers, values, visits with their runs, decisions (13)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import orjson
from sqlalchemy import JSON, Boolean, Column, DateTime, Index, Integer, Text

from services.automation.domain.action import Asked
from services.automation.domain.app_trigger import AppTrigger, AppTriggerEvent
from services.automation.domain.constants import Value, ValueEvent
from services.automation.domain.decision import Decision, DecisionEvent, FactAwaited
from services.automation.domain.definition import Ready, Trigger, ready, rule_of, trigger_of
from services.automation.domain.rollout import is_chosen
from services.automation.domain.rule import DefinedRule, RuleEvent, RulePublished
from services.automation.domain.trigger import DefinedTrigger, TriggerEvent
from services.automation.domain.visit import CallbackAwaited, Run, ShadowJudged, TimerAsked, Visit, VisitEvent, run_id
from shared.es.addressed import Key
from shared.es.aggregate import Json
from shared.es.recorded import Recorded
from shared.es.view import HistoryView, Row, SqlFinder, StateView, by_column, history_table, state_table

if TYPE_CHECKING:
    from shared.runtime.database import Tx

# ------------------------------------------------------------------------------------------------ definitions

RULES_TABLE = state_table(
    "rules_v1",
    Column("rule_key", Text),
    Column("rule_type", Text),
    Column("name", Text),
    Column("element_type", Text, nullable=False),
    Column("pipeline_id", Text, nullable=False),
    Column("stage_id", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("owner_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("rule_version", Integer, nullable=False),
    Column("definition", JSON),
    Column("references", JSON, nullable=False),
    Column("draft", JSON),
    Column("rollout", JSON, nullable=False),
    Column("invalid_code", Text),
    Column("invalid_detail", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Index("rules_v1_stage", "tenant", "stage_id"),
    Index("rules_v1_pipeline", "tenant", "pipeline_id"),
)


def _rule(rule: DefinedRule, recorded: Recorded[RuleEvent]) -> Row:
    latest = rule.latest
    code, detail = rule.invalid or (None, None)
    return {
        "rule_key": latest.get("id"),
        "rule_type": latest.get("type"),
        "name": latest.get("name"),
        "element_type": rule.element_type,
        "pipeline_id": rule.pipeline_id,
        "stage_id": rule.stage_id,
        "position": rule.position,
        "owner_id": rule.owner_id,
        "state": rule.state,
        "rule_version": rule.version,
        "definition": rule.definition,
        "references": rule.references,
        "draft": rule.draft,
        "rollout": {**rule.rollout, "base": rule.base},
        "invalid_code": code,
        "invalid_detail": detail,
        "changed_at": recorded.recorded_at,
    }


RULES: StateView[DefinedRule] = StateView(RULES_TABLE, _rule)


def _version(rule: DefinedRule, recorded: Recorded[RuleEvent]) -> Iterable[Row]:
    if isinstance(e := recorded.event, RulePublished):
        yield {"rule_version": e.version, "definition": e.definition, "references": e.references, "at": recorded.recorded_at}


RULE_VERSIONS: HistoryView[DefinedRule, RuleEvent] = HistoryView(
    history_table(
        "rule_versions_v1",
        Column("rule_version", Integer, nullable=False),
        Column("definition", JSON, nullable=False),
        Column("references", JSON, nullable=False),
        Column("at", DateTime(timezone=True), nullable=False),
    ),
    _version,
)


@dataclass(frozen=True, slots=True)
class StageRule:
    """A rule of a stage: `ready` if it is in force, else what it has come to (`disabled`, `deleted`, `invalid`, `fieldless`, `draft`).

    `named`: what any version of it refers to, because runs keep the version they began with. `trial`: a newer version that is not
    for all visits; `ready` is then the one before it."""

    rule_id: str
    owner_id: str
    state: str
    position: int
    ready: Ready | None
    named: Mapping[str, str]
    trial: Trial | None = None

    @property
    def versions(self) -> Iterable[Ready]:
        return [ready for ready in (self.ready, self.trial.ready if self.trial else None) if ready is not None]

    def files(self) -> Iterable[str]:
        """Ids of the files that it attaches."""
        every = [version.rule.settings for version in self.versions]
        return [str(file) for settings in every for name in ("files", "attachments") for file in settings.get(name) or ()]

    def of(self, visit_id: str) -> Ready | None:
        """The version in force for a visit."""
        return self.trial.ready if self.trial is not None and self.trial.takes(visit_id) else self.ready


@dataclass(frozen=True, slots=True)
class Trial:
    """A version for `percent` of the visits; None: for none, it is judged in the shadow of the other."""

    ready: Ready
    percent: int | None

    def takes(self, visit_id: str) -> bool:
        return self.percent is not None and is_chosen(visit_id, self.percent)


class Cast(NamedTuple):
    """The rules of one visit in order; ids of those `left_out` of a rollout that have no version before; the `shadows` beside."""

    rules: tuple[Ready, ...]
    left_out: frozenset[str] = frozenset()
    shadows: tuple[Ready, ...] = ()


OUT_OF_FORCE = frozenset(("disabled", "deleted", "fieldless"))
"""What has become invalid starts no runs; those that wait go on, and fail with what is missing: `target_missing` (D59).

Only of a field that was removed nobody else would say so: runs of a rule that is `fieldless` fail here."""


class StageRules:
    """The rules of a stage with all that decisions need of them, worked out once for all messages of a batch.

    `standing`: which are off or gone. Ids of `values` read, `people` named, `files` attached by any of them, and `writes`: pairs
    of a rule and a variable that it changes."""

    def __init__(self, rules: Sequence[StageRule] = ()) -> None:
        named = [(rule, name.partition(":"), id) for rule in rules for name, id in rule.named.items()]
        self.rules = tuple(rules)
        self.in_force = tuple(rule.ready for rule in rules if rule.ready is not None)
        self.on_trial = any(rule.trial is not None for rule in rules)
        self.standing = {rule.rule_id: rule.state for rule in rules if rule.state in OUT_OF_FORCE}
        self.values = tuple(sorted({parts[2] for _, parts, _ in named if parts[0] == "value"}))
        self.writes = tuple((rule.rule_id, id) for rule, parts, id in named if parts[0] == "variable")
        people = (id for _, parts, id in named if parts[0] == "user")
        self.people = tuple(dict.fromkeys((*(rule.owner_id for rule in rules), *people)))
        self.files = tuple(dict.fromkeys(file for rule in rules for file in rule.files()))

    def ready(self, rule_id: str, visit_id: str) -> Ready | None:
        """The version of a rule that is in force for a visit."""
        return next((rule.of(visit_id) for rule in self.rules if rule.rule_id == rule_id), None)

    def cast(self, visit_id: str) -> Cast:
        """Who takes part in a visit."""
        if not self.on_trial:
            return Cast(self.in_force)
        left_out = {r.rule_id: r.trial.ready for r in self.rules if r.trial and r.trial.percent is not None and r.of(visit_id) is None}
        there = ((rule.rule_id, rule.of(visit_id)) for rule in self.rules)
        rules = tuple(found for id, ready in there if (found := ready or left_out.get(id)) is not None)
        shadows = tuple(rule.trial.ready for rule in self.rules if rule.trial and rule.trial.percent is None)
        return Cast(rules, frozenset(left_out), shadows)


NO_RULES = StageRules()


def _stage_rule(row: Row) -> StageRule:
    in_force = row["state"] == "published" and row["invalid_code"] is None
    invalid = "fieldless" if row["invalid_code"] == "unknown_path" else "invalid"
    state = invalid if row["state"] == "published" and not in_force else row["state"]
    named = {pair["key"]: pair["value"] for pair in row["named"] or ()}
    place = (row["id"], row["owner_id"], state, row["position"])
    if not in_force or (row["rollout"]["mode"], row["rollout"]["percent"]) == ("live", 100):
        return StageRule(*place, ready_at(row) if in_force else None, named)
    before = {**row, "rule_version": row["rollout"].get("base"), **row["before"]} if row["before"] else None
    return StageRule(*place, ready_at(before) if before else None, named, Trial(ready_at(row), row["rollout"]["percent"]))


def ready_at(row: Row) -> Ready:
    """A published version with its condition parsed; the same object as long as it is used."""
    key = (str(row["tenant"]), row["id"], row["rule_version"], row["owner_id"])
    return _ready(*key, _Texts(row["definition"], row["references"]))


@dataclass(frozen=True, eq=False)
class _Texts:
    """What a version says. All versions of one number are the same: it takes no part in the cache's key."""

    definition: Json
    references: Json

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Texts)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=4096)
def _ready(tenant: str, rule_id: str, version: int, owner_id: str, texts: _Texts) -> Ready:
    return ready(rule_of(rule_id, version, owner_id, texts.definition, texts.references))


RULES_OF_STAGE: SqlFinder[StageRule] = SqlFinder(
    "rules of stage",
    """select w.key, t.*, n.named, b.before from unnest($1::uuid[], $2::text[]) as w(tenant, key)
       join rules_v1 t on t.tenant = w.tenant and t.stage_id = w.key
       left join lateral (
           select json_build_object('definition', v.definition, 'references', v."references") as before
           from rule_versions_v1 v
           where v.tenant = t.tenant and v.id = t.id and v.rule_version = (t.rollout ->> 'base')::int
             and (t.rollout ->> 'base')::int < t.rule_version limit 1) b on true
       cross join lateral (
           select json_agg(json_build_object('key', r.key, 'value', r.value)) as named
           from rule_versions_v1 v cross join lateral json_each_text(v."references") r
           where v.tenant = t.tenant and v.id = t.id and split_part(r.key, ':', 1) in ('value', 'variable', 'user')) n
       order by t.position, t.id""",
    _stage_rule,
)


@dataclass(frozen=True, eq=False)
class ByStage:
    """Answers every stage with one StageRules, of a stage without rules too."""

    name: str = "rules by stage"

    async def fetch(self, tx: Tx, keys: Collection[Key]) -> Mapping[Key, Sequence[StageRules]]:
        found = await RULES_OF_STAGE.fetch(tx, keys)
        return {key: (StageRules(found[key]) if key in found else NO_RULES,) for key in keys}


RULES_BY_STAGE = ByStage()


@dataclass(frozen=True, slots=True)
class Naming:
    """A rule or trigger that refers to something by id, or names a path."""

    id: str
    element_type: str
    references: Json


def _naming(row: Row) -> Naming:
    return Naming(row["id"], row["element_type"], row["references"])


RULES_NAMING: SqlFinder[Naming] = SqlFinder(
    "rules naming",
    """select w.key, t.* from unnest($1::uuid[], $2::text[]) as w(tenant, key)
       join rules_v1 t on t.tenant = w.tenant and t.state in ('published', 'disabled') and t."references"::text like '%' || w.key || '%'
       order by t.id""",
    _naming,
)
TRIGGERS_NAMING: SqlFinder[Naming] = SqlFinder(
    "triggers naming",
    """select w.key, t.* from unnest($1::uuid[], $2::text[]) as w(tenant, key)
       join triggers_v1 t on t.tenant = w.tenant and t.state in ('published', 'disabled') and t."references"::text like '%' || w.key || '%'
       order by t.id""",
    _naming,
)
TRIGGERS_TABLE = state_table(
    "triggers_v1",
    Column("trigger_key", Text),
    Column("trigger_type", Text),
    Column("name", Text),
    Column("element_type", Text, nullable=False),
    Column("pipeline_id", Text, nullable=False),
    Column("stage_id", Text, nullable=False),
    Column("position", Integer, nullable=False),
    Column("owner_id", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("trigger_version", Integer, nullable=False),
    Column("definition", JSON),
    Column("references", JSON, nullable=False),
    Column("draft", JSON),
    Column("invalid_code", Text),
    Column("changed_at", DateTime(timezone=True), nullable=False),
    Index("triggers_v1_pipeline", "tenant", "pipeline_id"),
)


def _trigger(trigger: DefinedTrigger, recorded: Recorded[TriggerEvent]) -> Row:
    latest = trigger.latest
    return {
        "trigger_key": latest.get("id"),
        "trigger_type": latest.get("type"),
        "name": latest.get("name"),
        "element_type": trigger.element_type,
        "pipeline_id": trigger.pipeline_id,
        "stage_id": trigger.stage_id,
        "position": trigger.position,
        "owner_id": trigger.owner_id,
        "state": trigger.state,
        "trigger_version": trigger.version,
        "definition": trigger.definition,
        "references": trigger.references,
        "draft": trigger.draft,
        "invalid_code": trigger.invalid[0] if trigger.invalid else None,
        "changed_at": recorded.recorded_at,
    }


TRIGGERS: StateView[DefinedTrigger] = StateView(TRIGGERS_TABLE, _trigger)


def trigger_at(row: Row) -> Trigger:
    place = (row["pipeline_id"], row["stage_id"], row["position"])
    return trigger_of(row["id"], row["trigger_version"], place, row["owner_id"], row["definition"], row["references"])


TRIGGERS_BY_PIPELINE: SqlFinder[Trigger] = by_column(
    "triggers by pipeline",
    TRIGGERS_TABLE,
    "pipeline_id",
    trigger_at,
    where="t.state = 'published' and t.invalid_code is null",
    order="t.position, t.id",
)

TARGETS_OF_PIPELINE: SqlFinder[Row] = by_column(
    "targets of pipeline", TRIGGERS_TABLE, "pipeline_id", lambda row: row, where="t.state in ('published', 'disabled')"
)

TRIGGERS_CALLED: SqlFinder[Row] = SqlFinder(
    "triggers called",
    """select w.key, t.* from unnest($1::uuid[], $2::text[]) as w(tenant, key)
       join triggers_v1 t on t.tenant = w.tenant and t.state = 'published' and t.invalid_code is null
        and concat_ws('/', t.trigger_type, t.definition #>> '{settings,app_code}',
                      coalesce(t.definition #>> '{settings,code}', t.definition #>> '{settings,event_type}')) = w.key
       order by t.position, t.id""",
    lambda row: row,
)
"""Those in force that other programs call: by `webhook/<code>`, `app/<app code>/<code>`, `external_event/<type>`."""

APP_TRIGGERS_TABLE = state_table(
    "app_triggers_v1",
    Column("app_code", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("path", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)


def _app_trigger(trigger: AppTrigger, recorded: Recorded[AppTriggerEvent]) -> Row:
    names = {name: getattr(trigger, name) for name in ("app_code", "code", "name", "state")}
    return {**names, "path": f"{trigger.app_code}/{trigger.code}", "changed_at": recorded.recorded_at}


APP_TRIGGERS: StateView[AppTrigger] = StateView(APP_TRIGGERS_TABLE, _app_trigger)
APP_TRIGGERS_CALLED: SqlFinder[Row] = by_column(
    "app triggers called", APP_TRIGGERS_TABLE, "path", lambda row: row, where="t.state = 'registered'"
)
APP_TRIGGERS_THERE: SqlFinder[Row] = by_column("app triggers there", APP_TRIGGERS_TABLE, "state", lambda row: row)

VALUES_TABLE = state_table(
    "values_v1",
    Column("kind", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("value_type", Text, nullable=False),
    Column("multiple", Boolean, nullable=False),
    Column("visibility", Text, nullable=False),
    Column("value", JSON, nullable=False),
    Column("state", Text, nullable=False),
    Column("changed_at", DateTime(timezone=True), nullable=False),
)


def _value(value: Value, recorded: Recorded[ValueEvent]) -> Row:
    names = ("kind", "code", "value_type", "multiple", "visibility", "state")
    return {**{name: getattr(value, name) for name in names}, "value": {"is": value.value}, "changed_at": recorded.recorded_at}


VALUES: StateView[Value] = StateView(VALUES_TABLE, _value)

STANDING_RULES: SqlFinder[Row] = by_column("standing rules", RULES_TABLE, "stage_id", lambda row: row, where="t.state <> 'deleted'")
STANDING_TRIGGERS: SqlFinder[Row] = by_column(
    "standing triggers", TRIGGERS_TABLE, "stage_id", lambda row: row, where="t.state <> 'deleted'"
)
VALUES_OF_KIND: SqlFinder[Row] = by_column("values of kind", VALUES_TABLE, "kind", lambda row: row, where="t.state = 'defined'")
"""What a plan of rules as text rests on: whatever stands on a stage, and which values there are."""

# ------------------------------------------------------------------------------------------------ visits

VISITS_TABLE = state_table(
    "visits_v2",
    Column("element_type", Text, nullable=False),
    Column("element_id", Text, nullable=False),
    Column("pipeline_id", Text, nullable=False),
    Column("stage_id", Text, nullable=False),
    Column("visit_number", Integer, nullable=False),
    Column("arrived_at", DateTime(timezone=True), nullable=False),
    Column("status", Text, nullable=False),
    Column("left_because", Text),
    Column("waits", Boolean, nullable=False),
    Column("runs_started", Integer, nullable=False),
    Column("runs", JSON, nullable=False),
    Column("taken_until", DateTime(timezone=True)),
    Index("visits_v2_turns", "tenant", "taken_until", postgresql_where="taken_until is not null"),
    Index("visits_v2_element", "tenant", "element_id", "visit_number"),
    Index("visits_v2_waiting", "tenant", "stage_id", postgresql_where="waits"),
)
WAITING = ("scheduled", "waiting", "blocked", "missed")


def _visit(visit: Visit, recorded: Recorded[VisitEvent]) -> Row:
    return {
        "element_type": visit.element_type,
        "element_id": visit.element_id,
        "pipeline_id": visit.pipeline_id,
        "stage_id": visit.stage_id,
        "visit_number": visit.visit_number,
        "arrived_at": datetime.fromisoformat(visit.arrived_at),
        "status": visit.status,
        "left_because": visit.left_because,
        "waits": any(run.state in WAITING for run in visit.runs),
        "runs_started": sum(run.state != "skipped" for run in visit.runs),
        "runs": [_shown_run(visit, run) | _held_by(visit, place) for place, run in enumerate(visit.runs)],
        "taken_until": datetime.fromisoformat(visit.taken_until) if visit.taken_until else None,
    }


def _shown_run(visit: Visit, run: Run) -> Json:
    """What lists of runs show; everything else is in the visit's stream."""
    rule = run.rule
    return {
        "run_id": run_id(visit.visit_id, rule.rule_id),
        "rule_id": rule.rule_id,
        "rule_version": rule.version,
        "rule_key": rule.key,
        "rule_type": rule.rule_type,
        "rule_name": rule.name,
        "state": run.state,
        "reason": run.reason,
        "detail": run.detail,
        "waiting_for": run.waiting_for,
        "due_at": run.due_at,
        "finished_at": run.finished_at,
        "lateness_ms": run.lateness_ms,
        "asked_since": _asked_since(run) if run.steps else None,
    }


def _held_by(visit: Visit, place: int) -> Json:
    """What a run waits for, or is held back by, beyond a moment: the rule above it, a date field."""
    run = visit.runs[place]
    if place and (run.waiting_for == "predecessor" or (run.state, run.reason) == ("blocked", "predecessor")):
        above = visit.runs[place - 1]
        return {"above": {"rule_id": above.rule_id, "rule_name": above.rule.name, "state": above.state}}
    return {"awaited": run.awaited} if run.waiting_for == "field" else {}


def _asked_since(run: Run) -> str | None:
    """Whom a called webhook is to answer is no longer waited for than its rule says."""
    return min((step.asked_at for step in run.steps if step.state == "asked" and step.callback is None), default=None)


VISITS: StateView[Visit] = StateView(VISITS_TABLE, _visit)


@dataclass(frozen=True, slots=True)
class VisitRef:
    """Where a step or a timer belongs."""

    visit_id: str
    element_id: str
    stage_id: str
    rule_id: str


def _ref(row: Row) -> VisitRef:
    return VisitRef(row["id"], row["element_id"], row["stage_id"], row["rule_id"])


STEPS_TABLE = history_table(
    "steps_v1",
    Column("request_id", Text, nullable=False),
    Column("element_id", Text, nullable=False),
    Column("stage_id", Text, nullable=False),
    Column("rule_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Index("steps_v1_request", "tenant", "request_id"),
    Index("steps_v1_run", "tenant", "run_id"),
)


def _steps(visit: Visit, recorded: Recorded[VisitEvent]) -> Iterable[Row]:
    """The effect ledger: tenant, rule, visit (the row's id), step and the id asked for."""
    if isinstance(e := recorded.event, Asked):
        yield {
            "request_id": e.request_id,
            "element_id": visit.element_id,
            "stage_id": visit.stage_id,
            "rule_id": e.rule_id,
            "run_id": visit.run_id(e.rule_id),
            "step": e.step,
            "kind": type(e).__name__,
            "at": recorded.recorded_at,
        }


STEPS: HistoryView[Visit, VisitEvent] = HistoryView(STEPS_TABLE, _steps)
STEP_OF_REQUEST: SqlFinder[VisitRef] = by_column("step of request", STEPS_TABLE, "request_id", _ref)

SHADOWS_TABLE = history_table(
    "shadow_judgements_v1",
    Column("rule_id", Text, nullable=False),
    Column("rule_version", Integer, nullable=False),
    Column("element_id", Text, nullable=False),
    Column("stage_id", Text, nullable=False),
    Column("verdict", Text, nullable=False),
    Column("detail", Text),
    Column("trace", JSON, nullable=False),
    Column("would_ask", JSON, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Index("shadow_judgements_v1_rule", "tenant", "rule_id", "at"),
)


def _shadows(visit: Visit, recorded: Recorded[VisitEvent]) -> Iterable[Row]:
    if isinstance(e := recorded.event, ShadowJudged):
        yield {
            "rule_id": e.rule_id,
            "rule_version": e.version,
            "element_id": visit.element_id,
            "stage_id": visit.stage_id,
            "verdict": e.verdict,
            "detail": e.detail,
            "trace": orjson.loads(orjson.dumps(e.trace, default=str)),
            "would_ask": list(e.would_ask),
            "at": recorded.recorded_at,
        }


SHADOWS: HistoryView[Visit, VisitEvent] = HistoryView(SHADOWS_TABLE, _shadows)

TIMERS_OF_RUNS_TABLE = history_table(
    "timers_of_runs_v1",
    Column("timer_id", Text, nullable=False),
    Column("element_id", Text, nullable=False),
    Column("stage_id", Text, nullable=False),
    Column("rule_id", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Index("timers_of_runs_v1_timer", "tenant", "timer_id"),
    Index("timers_of_runs_v1_run", "tenant", "run_id"),
)


def _timers(visit: Visit, recorded: Recorded[VisitEvent]) -> Iterable[Row]:
    if isinstance(e := recorded.event, TimerAsked | CallbackAwaited):
        place = {"element_id": visit.element_id, "stage_id": visit.stage_id, "rule_id": e.rule_id, "run_id": visit.run_id(e.rule_id)}
        yield {"timer_id": e.timer_id, **place}


TIMERS_OF_RUNS: HistoryView[Visit, VisitEvent] = HistoryView(TIMERS_OF_RUNS_TABLE, _timers)
RUN_OF_TIMER: SqlFinder[VisitRef] = by_column("run of timer", TIMERS_OF_RUNS_TABLE, "timer_id", _ref)

LAST_VISITS: SqlFinder[Row] = SqlFinder(
    "last visits",
    """select w.tenant, w.key, v.arrived_at, v.runs_started from unnest($1::uuid[], $2::text[]) as w(tenant, key)
       cross join lateral (select arrived_at, runs_started from visits_v2 t where t.tenant = w.tenant and t.element_id = w.key
                           order by visit_number desc limit 61) v""",
    lambda row: row,
)
"""How many runs of an element began of late: the set `runs/<element>` (D40)."""


TURNS: SqlFinder[datetime] = SqlFinder(
    "turns",
    """select w.tenant, w.key, v.taken_until from unnest($1::uuid[], $2::text[]) as w(tenant, key)
       cross join lateral (select taken_until from visits_v2 t where t.tenant = w.tenant and t.taken_until is not null
                           order by taken_until desc limit 1) v""",
    lambda row: row["taken_until"],
)
"""How far the turns of a tenant are given away (D68), whatever the key."""


@dataclass(frozen=True, slots=True)
class WaitingVisit:
    """A visit in which something waits."""

    visit_id: str
    stage_id: str


WAITING_VISITS: SqlFinder[WaitingVisit] = by_column(
    "waiting visits",
    VISITS_TABLE,
    "element_id",
    lambda row: WaitingVisit(row["id"], row["stage_id"]),
    where="t.waits",
    order="t.visit_number",
)
VISITS_OF_ELEMENT: SqlFinder[Row] = SqlFinder(
    "visits of element",
    """select w.key, v.* from unnest($1::uuid[], $2::text[]) as w(tenant, key)
       cross join lateral (select * from visits_v2 t where t.tenant = w.tenant and t.element_id = w.key
                           order by visit_number desc limit 50) v""",
    lambda row: row,
)
WAITING_OF_RULE: SqlFinder[Row] = SqlFinder(
    "waiting visits of rule",
    """select w.tenant, w.key, v.id, v.element_id, v.stage_id from unnest($1::uuid[], $2::text[]) as w(tenant, key)
       join rules_v1 r on r.tenant = w.tenant and r.id = w.key
       join visits_v2 v on v.tenant = r.tenant and v.stage_id = r.stage_id and v.waits
       order by v.id""",
    lambda row: row,
)

# ------------------------------------------------------------------------------------------------ decisions

DECISIONS_TABLE = state_table(
    "decisions_v1",
    Column("source_event_id", Text, nullable=False),
    Column("source_type", Text, nullable=False),
    Column("trigger_type", Text, nullable=False),
    Column("element_type", Text, nullable=False),
    Column("element_id", Text),
    Column("invoice_id", Text),
    Column("waiting_for", Text),
    Column("outcome", Text),
    Column("reason", Text),
    Column("trigger_id", Text),
    Column("verdicts", JSON, nullable=False),
    Column("order_version", Integer),
    Column("visit_id", Text),
    Column("at", DateTime(timezone=True), nullable=False),
    Index("decisions_v1_element", "tenant", "element_id"),
    Index("decisions_v1_invoice", "tenant", "invoice_id", postgresql_where="waiting_for = 'link'"),
)


def _decision(decision: Decision, recorded: Recorded[DecisionEvent]) -> Row:
    heard, judged = decision.heard, decision.judged
    assert heard is not None
    return {
        "source_event_id": heard.source_event_id,
        "source_type": heard.source_type,
        "trigger_type": heard.trigger_type,
        "element_type": heard.element_type,
        "element_id": decision.element_id,
        "invoice_id": heard.invoice_id,
        "waiting_for": decision.status.removeprefix("waiting_for_") if decision.waits else None,
        "outcome": decision.outcome,
        "reason": decision.reason,
        "trigger_id": decision.move.trigger_id if decision.move else None,
        "verdicts": [orjson.loads(orjson.dumps(asdict(v), default=str)) for v in judged.verdicts] if judged else [],
        "order_version": judged.order_version if judged else None,
        "visit_id": judged.visit_id if judged else None,
        "at": datetime.fromisoformat(heard.at),
    }


DECISIONS: StateView[Decision] = StateView(DECISIONS_TABLE, _decision)
DECISIONS_FOR_ELEMENT: SqlFinder[str] = by_column(
    "decisions waiting for element", DECISIONS_TABLE, "element_id", lambda row: str(row["id"]), where="t.waiting_for = 'element'"
)


def _give_up(decision: Decision, recorded: Recorded[DecisionEvent]) -> Iterable[Row]:
    if isinstance(e := recorded.event, FactAwaited):
        yield {"timer_id": e.timer_id}


TIMERS_OF_DECISIONS_TABLE = history_table(
    "timers_of_decisions_v1", Column("timer_id", Text, nullable=False), Index("timers_of_decisions_v1_timer", "tenant", "timer_id")
)
TIMERS_OF_DECISIONS: HistoryView[Decision, DecisionEvent] = HistoryView(TIMERS_OF_DECISIONS_TABLE, _give_up)


@dataclass(frozen=True, slots=True)
class DecisionRef:
    """A decision that waits, and what for."""

    decision_id: str
    element_id: str | None


DECISION_OF_TIMER: SqlFinder[DecisionRef] = SqlFinder(
    "decision of timer",
    """select w.tenant, w.key, d.id, d.element_id from unnest($1::uuid[], $2::text[]) as w(tenant, key)
       join timers_of_decisions_v1 t on t.tenant = w.tenant and t.timer_id = w.key
       join decisions_v1 d on d.tenant = t.tenant and d.id = t.id""",
    lambda row: DecisionRef(row["id"], row["element_id"]),
)
