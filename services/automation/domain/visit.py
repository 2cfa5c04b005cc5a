"""Visit: one stay of one element in one stage, with one run per rule of the stage (automation 2.4, 3). The process manager.

Its commands are what others said (arrivals, timers, answers) with the facts needed to decide; its `…Asked` events are
published as commands to the owners of things. Nothing is asked that is not recorded here, and nothing after it has left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, Literal, NamedTuple

from services.automation.domain import action, condition, people
from services.automation.domain.action import ASKED, Asked, ValueWriteAsked, WebhookAsked
from services.automation.domain.callback import Meant, matched
from services.automation.domain.card import NOTHING, Card, Scope, normal
from services.automation.domain.catalogue import RULE_TYPES
from services.automation.domain.condition import Trace
from services.automation.domain.definition import Ready, Rule, ready
from services.automation.domain.ids import derived
from services.automation.domain.pace import Pace
from services.automation.domain.timing import Anchors, AtOnce, FieldEmpty, Timed, Wait, anchor_field, instant, resolve
from services.automation.domain.words import ESCALATION
from shared.es.aggregate import Aggregate, Json
from shared.es.errors import Fault, NotFound, Rejected

MOST_IN_CHAIN = 10
MOST_STEPS = 100
MOST_RUNS_A_MINUTE = 60

RunState = Literal[
    "scheduled",
    "waiting",
    "due",
    "running",
    "succeeded",
    "partial",
    "failed",
    "skipped",
    "blocked",
    "cancelled",
    "missed",
    "undone",
]
NOT_BEGUN = frozenset(("scheduled", "waiting", "blocked"))
FOR_A_TIMER = frozenset(("timer", "quota", "responsible_hours"))
OVER = frozenset(("succeeded", "partial", "failed", "skipped", "cancelled", "undone"))


# ------------------------------------------------------------------------------------------------ facts and commands


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text with its placeholders filled. `missing` had no value; `required` of those may never be empty; `error` is a sentence."""

    text: str
    missing: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    error: str | None = None


Render = Callable[[str, Scope], Rendered]
"""Fills a template; pure. Rendering is a library's work, but outputs of earlier rules arise inside a decision, so the
command brings the function along (automation 3, step 6)."""


def nobody_answers(request_id: str, asked_at: str) -> str:
    """Of facts that nothing is asked on which waits for an answer from outside."""
    raise LookupError("no callbacks are known here")


@dataclass(frozen=True, slots=True)
class Known:
    """What a decision may rest on: the database clock, the element with what hangs on it, and what became of rules."""

    now: datetime
    card: Card
    render: Render
    rules: Mapping[str, str] = field(default_factory=dict)
    """`disabled`, `deleted` or `fieldless` by rule id; a rule that is not named is in force."""
    values: Mapping[str, Any] = field(default_factory=dict)
    """Constants and variables by `const.<code>` and `var.<code>`."""
    callback_url: Callable[[str, str], str] = nobody_answers
    """Where the answer to a request asked at this moment is expected: made of a secret, hence from outside."""

    @property
    def at(self) -> str:
        return instant(self.now)


@dataclass(frozen=True, slots=True)
class Arrive:
    """An element came into the stage. `rules` in the stage's order; `recent`: runs of this element started in the last minute."""

    visit_id: str
    element_type: str
    element_id: str
    pipeline_id: str
    stage_id: str
    visit_number: int
    arrived_at: str
    chain: tuple[str, ...]
    rules: tuple[Ready, ...]
    known: Known
    recent: int = 0
    pace: Pace | None = None
    """What of the tenant's quota is left; None: it has none."""
    left_out: frozenset[str] = frozenset()
    """Ids of rules whose only version is not for this visit."""
    shadows: tuple[Ready, ...] = ()
    """Versions that are judged beside the live ones and never ask for anything."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The stay is over. `reason`: stage_left, element_deleted."""

    reason: str
    known: Known


@dataclass(frozen=True, slots=True)
class TimerWasSet:
    """The scheduler knows when (TimerSet, TimerRearmed)."""

    timer_id: str
    due_at: str
    reasoning: tuple[str, ...]
    waiting_for: str | None = None


@dataclass(frozen=True, slots=True)
class TimerRang:
    timer_id: str
    lateness_ms: int
    known: Known


@dataclass(frozen=True, slots=True)
class TimerTooLate:
    timer_id: str
    due_at: str
    found_at: str
    known: Known


@dataclass(frozen=True, slots=True)
class TimerWaitsTooLong:
    """The responsible person's hours have not come for longer than the rule's `wait_limit` (D10)."""

    timer_id: str
    waiting_since: str
    known: Known


@dataclass(frozen=True, slots=True)
class TimerWasCancelled:
    """By an operator, at the scheduler."""

    timer_id: str
    known: Known


@dataclass(frozen=True, slots=True)
class Answered:
    """A step is done."""

    request_id: str
    outputs: Json
    known: Known


@dataclass(frozen=True, slots=True)
class CallbackCame:
    """A called webhook answers a request that was asked at a moment. `meant`: whom its values name."""

    request_id: str
    asked_at: str
    values: Json
    meant: Meant
    known: Known


@dataclass(frozen=True, slots=True)
class Refused:
    """A step was refused, or failed for good."""

    request_id: str
    code: str
    detail: str
    known: Known


@dataclass(frozen=True, slots=True)
class FieldsChanged:
    """Fields of the element changed: date fields that runs wait for or count from (D6), the responsible person."""

    known: Known


@dataclass(frozen=True, slots=True)
class RuleGone:
    """What waits of a rule is cancelled. `reason`: rule_deleted, rule_disabled, replaced."""

    rule_id: str
    reason: str
    known: Known
    below: int | None = None
    """Only runs of versions below this one."""


@dataclass(frozen=True, slots=True)
class MigrateRun:
    """A waiting run goes on with a newer version, from its original anchor (D2)."""

    ready: Ready
    known: Known
    drop_past: bool = False
    """A run whose time would have come already is dropped instead of run."""


@dataclass(frozen=True, slots=True)
class CancelRun:
    """`why`: in a person's words."""

    rule_id: str
    known: Known
    why: str | None = None


@dataclass(frozen=True, slots=True)
class RunNow:
    """Do not wait any longer; a run whose definition is not pinned any more brings it along."""

    rule_id: str
    ready: Ready | None
    known: Known


@dataclass(frozen=True, slots=True)
class PostponeRun:
    rule_id: str
    to: str


@dataclass(frozen=True, slots=True)
class DropRun:
    """A missed run will not be made up for."""

    rule_id: str
    known: Known


@dataclass(frozen=True, slots=True)
class ContinueRun:
    """A blocked run goes on; placeholders that were missing become empty."""

    rule_id: str
    known: Known


@dataclass(frozen=True, slots=True)
class RetryRun:
    """Do again what did not work (D38). Steps that are done are never asked again."""

    rule_id: str
    retry_from: str
    ready: Ready
    known: Known


@dataclass(frozen=True, slots=True)
class StopRules:
    """Everything that still waits in this visit is cancelled (G26)."""

    known: Known


@dataclass(frozen=True, slots=True)
class Rearm:
    """The element was deleted and is back: what was cancelled with it is planned again from its original anchors (D58)."""

    known: Known


VisitCommand = (
    Arrive
    | Leave
    | TimerWasSet
    | TimerRang
    | TimerTooLate
    | TimerWaitsTooLong
    | TimerWasCancelled
    | Answered
    | CallbackCame
    | Refused
    | FieldsChanged
    | RuleGone
    | MigrateRun
    | CancelRun
    | RunNow
    | PostponeRun
    | DropRun
    | ContinueRun
    | RetryRun
    | StopRules
    | Rearm
)


# ------------------------------------------------------------------------------------------------ events


@dataclass(frozen=True, slots=True)
class Planned:
    """The verdict of one rule at arrival. `state`: due, scheduled, waiting (for the rule above), skipped (condition_false).

    `rule` is pinned unless the rule is over already, then its type and name are all there is; a run that is due pins it without
    what has been decided."""

    rule_id: str
    version: int
    key: str
    state: RunState
    rule: Rule | None = None
    trace: tuple[Trace, ...] = ()
    notes: tuple[str, ...] = ()
    rule_type: str = ""
    name: str = ""
    reason: str = "condition_false"
    """Of a skipped one: condition_false, not_in_rollout."""


@dataclass(frozen=True, slots=True)
class Arrived:
    visit_id: str
    element_type: str
    element_id: str
    pipeline_id: str
    stage_id: str
    visit_number: int
    arrived_at: str
    at: str
    chain: tuple[str, ...]
    runs: tuple[Planned, ...]
    remembered: Json = field(default_factory=dict)
    taken_until: str | None = None
    """How far the tenant's turns are given away with this arrival (D68); None: it took none."""
    turns: int = 0
    shadows: tuple[Rule, ...] = ()


@dataclass(frozen=True, slots=True)
class TimerAsked:
    """`waiting_for`: timer, or quota: the run could begin but for the tenant's quota, and has its turn then (D68)."""

    rule_id: str
    timer_id: str
    when: Json
    max_lateness: int | None = None
    wait_limit: int | None = None
    waiting_for: str = "timer"


@dataclass(frozen=True, slots=True)
class TimerMoved:
    rule_id: str
    timer_id: str
    when: Json


@dataclass(frozen=True, slots=True)
class TimerDropped:
    rule_id: str
    timer_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class TimerArmed:
    """`waiting_for`: timer, quota, responsible_hours."""

    rule_id: str
    timer_id: str
    due_at: str
    waiting_for: str
    reasoning: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RunEscalated:
    """It waits too long for the responsible person's hours: somebody is told, it waits on. Exactly one of employee and role."""

    rule_id: str
    request_id: str
    since: str
    at: str
    employee_id: str | None
    role: str | None
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class CallbackAwaited:
    """A called webhook is to answer until `due_at`; the timer says when that is over."""

    rule_id: str
    step: str
    timer_id: str
    due_at: str


@dataclass(frozen=True, slots=True)
class CallbackOver:
    """Nobody waits for the answer any more. `reason`: answered, failed."""

    rule_id: str
    step: str
    timer_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class FieldAwaited:
    """`for_action`: the action needs it, not the timing. `rule` pins again what a run that was due had let go."""

    rule_id: str
    path: str
    for_action: bool = False
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class RunJudged:
    """The condition as it was when the run came due."""

    rule_id: str
    at: str
    trace: tuple[Trace, ...] = ()
    lateness_ms: int | None = None


@dataclass(frozen=True, slots=True)
class ShadowJudged:
    """What a version in shadow would have done: would_run with what it `would_ask`, would_wait, condition_false, unresolved,
    template_error, or the reason or code with which it would have been skipped or failed."""

    rule_id: str
    version: int
    at: str
    verdict: str
    trace: tuple[Trace, ...] = ()
    would_ask: tuple[Json, ...] = ()
    detail: str | None = None


@dataclass(frozen=True, slots=True)
class StepSucceeded:
    rule_id: str
    step: str
    request_id: str
    outputs: Json = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StepFailed:
    """`skipped`: there was nothing to do, which is no failure."""

    rule_id: str
    step: str
    request_id: str
    code: str
    detail: str
    skipped: bool = False


@dataclass(frozen=True, slots=True)
class RunEnded:
    """`reason` of skipped, blocked and cancelled runs, the code of failed ones."""

    rule_id: str
    state: RunState
    at: str
    reason: str | None = None
    detail: str | None = None
    outputs: Json = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    rule: Rule | None = None
    """Pins again what a run that was due had let go: a blocked run may go on."""


@dataclass(frozen=True, slots=True)
class RunMissed:
    rule_id: str
    due_at: str
    found_at: str


@dataclass(frozen=True, slots=True)
class RunReleased:
    """A run that was held back, over or waiting begins anew. `how`: predecessor, now, continued, retried, migrated."""

    rule_id: str
    how: str
    rule: Rule | None = None
    drop_before: str | None = None
    """A run that is migrated is dropped if it turns out to have been due before this."""


@dataclass(frozen=True, slots=True)
class Left:
    reason: str
    at: str


@dataclass(frozen=True, slots=True)
class Reopened:
    """The stay goes on: it had ended because the element was deleted."""

    at: str


VisitEvent = (
    Arrived
    | TimerAsked
    | TimerMoved
    | TimerDropped
    | TimerArmed
    | RunEscalated
    | CallbackAwaited
    | CallbackOver
    | FieldAwaited
    | RunJudged
    | ShadowJudged
    | Asked
    | StepSucceeded
    | StepFailed
    | RunEnded
    | RunMissed
    | RunReleased
    | Left
    | Reopened
)


# ------------------------------------------------------------------------------------------------ state


@dataclass(frozen=True, slots=True)
class Callback:
    """The answer that a step waits for."""

    due_at: str
    outputs: tuple[Json, ...]
    timer_id: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """`state`: asked, done, skipped, failed."""

    name: str
    request_id: str
    command: str
    state: str
    asked_at: str = ""
    outputs: Json = field(default_factory=dict)
    code: str | None = None
    detail: str | None = None
    attempts: int = 1
    write: tuple[str, str] | None = None
    """Value and text of a step that writes one: answered in the same transaction."""
    callback: Callback | None = None

    @property
    def awaited(self) -> Callback | None:
        """The answer from outside that is still waited for."""
        return self.callback if self.state == "asked" else None


class Run(NamedTuple):
    """One rule in one visit. `waiting_for`: timer, quota, responsible_hours, field, predecessor.

    A named tuple, because every arrival makes one for each rule of its stage."""

    rule: Rule
    state: RunState
    reason: str | None = None
    detail: str | None = None
    waiting_for: str | None = None
    due_at: str | None = None
    timer_id: str | None = None
    timers: int = 0
    when: Json | None = None
    awaited: str | None = None
    """The date field waited for; `for_action`: by the action, not by the timing."""
    for_action: bool = False
    at_arrival: tuple[Trace, ...] = ()
    trace: tuple[Trace, ...] = ()
    judged_at: str | None = None
    reasoning: tuple[str, ...] = ()
    lateness_ms: int | None = None
    escalated: RunEscalated | None = None
    steps: tuple[Step, ...] = ()
    outputs: Json = NOTHING
    notes: tuple[str, ...] = ()
    finished_at: str | None = None
    drop_before: str | None = None

    @property
    def rule_id(self) -> str:
        return self.rule.rule_id

    @property
    def is_over(self) -> bool:
        return self.state in OVER

    @property
    def answer_due(self) -> str | None:
        """Until when a called webhook may answer."""
        return next((step.awaited.due_at for step in self.steps if step.awaited is not None), None)


class Visit(NamedTuple):
    """`runs` stand in the stage's order."""

    status: Literal["new", "open", "left"] = "new"
    visit_id: str = ""
    element_type: str = ""
    element_id: str = ""
    pipeline_id: str = ""
    stage_id: str = ""
    visit_number: int = 0
    arrived_at: str = ""
    chain: tuple[str, ...] = ()
    runs: tuple[Run, ...] = ()
    remembered: Json = NOTHING
    taken_until: str | None = None
    turns: int = 0
    shadows: tuple[Rule, ...] = ()
    left_at: str | None = None
    left_because: str | None = None

    def place_of(self, rule_id: str) -> int | None:
        return next((n for n, run in enumerate(self.runs) if run.rule.rule_id == rule_id), None)

    def run(self, rule_id: str) -> Run | None:
        return next((run for run in self.runs if run.rule.rule_id == rule_id), None)

    def run_id(self, rule_id: str) -> str:
        return run_id(self.visit_id, rule_id)

    def step(self, request_id: str) -> tuple[Run, Step] | None:
        return next(((run, step) for run in self.runs for step in run.steps if step.request_id == request_id), None)

    def write(self, request_id: str, value_id: str) -> str | None:
        """The text that a step still wants to write to this value."""
        found = self.step(request_id)
        write = found[1].write if found is not None and found[1].state == "asked" else None
        return write[1] if write is not None and write[0] == value_id else None

    def outputs(self, key: str) -> Json:
        """What later rules may read of a rule once its run is over: `steps.<key>.<name>`."""
        run = next((run for run in self.runs if run.rule.key == key and run.is_over), None)
        return NOTHING if run is None else {**run.outputs, "state": run.state, "finished_at": run.finished_at}


def run_id(visit_id: str, rule_id: str) -> str:
    return derived(visit_id, rule_id)


def timer_id(visit_id: str, rule_id: str, purpose: str) -> str:
    return derived(visit_id, f"{rule_id}/timer/{purpose}")


def escalation_id(visit_id: str, rule_id: str, since: str) -> str:
    return derived(visit_id, f"{rule_id}/escalation/{since}")


# ------------------------------------------------------------------------------------------------ decide


def decide(visit: Visit, command: VisitCommand) -> Sequence[VisitEvent]:
    """What is late, repeated or foreign decides nothing; people's verbs on a run that cannot take them are refused."""
    if isinstance(command, Arrive):
        return _arrive(command) if visit.status == "new" else []
    if visit.status == "new":
        return _nothing_here(command)
    if isinstance(command, TimerWasSet):
        return _timer_was_set(visit, command)
    if isinstance(command, PostponeRun):
        return _postpone(visit, command)
    course = Course(visit, command.known)
    match command:
        case Leave():
            _leave(course, command)
        case TimerRang() | TimerTooLate() | TimerWasCancelled():
            _timer(course, command)
        case TimerWaitsTooLong():
            _escalate(course, command)
        case Answered() | Refused():
            _answer(course, command)
        case CallbackCame():
            _callback(course, command)
        case FieldsChanged():
            _fields_changed(course)
        case RuleGone():
            _rule_gone(course, command)
        case MigrateRun():
            _migrate(course, command)
        case StopRules():
            _cancel_all(course, "by_person")
        case Rearm():
            _rearm_all(course)
        case _:
            _by_hand(course, command)
    course.settle()
    return course.events


def _nothing_here(command: VisitCommand) -> Sequence[VisitEvent]:
    """A stage without rules opened no visit; a person who names a run of it is told so."""
    if isinstance(command, CallbackCame):
        raise NotFound("There is no such call.")
    if isinstance(command, CancelRun | RunNow | PostponeRun | DropRun | ContinueRun | RetryRun):
        raise Rejected("not_found", "There is no such run.", status=404)
    return []


class Course:
    """One decision in the making: events so far, and the visit as they leave it."""

    __slots__ = ("_scope", "events", "known", "visit")

    def __init__(self, visit: Visit, known: Known, scope: Scope | None = None) -> None:
        self.visit = visit
        self.known = known
        self.events: list[VisitEvent] = []
        self._scope = scope

    def tell(self, event: VisitEvent) -> None:
        self.events.append(event)
        self.visit = evolve(self.visit, event)

    def run(self, place: int) -> Run:
        return self.visit.runs[place]

    def scope(self, run: Run) -> Scope:
        """The facts as this run reads them: outputs of the runs that are over included."""
        visit = self.visit
        if self._scope is None:
            known = self.known
            self._scope = Scope(known.card, known.now, visit.arrived_at, values=known.values, remembered=visit.remembered)
        return self._scope.for_run(run.rule.name, visit.outputs)

    def end(self, run: Run, state: RunState, reason: str | None = None, detail: str | None = None, **more: Any) -> None:
        """A run is over or held back; a timer it waited for is taken back."""
        self.drop_timer(run, reason or state)
        self.tell(RunEnded(run.rule_id, state, self.known.at, reason, detail, **more))

    def drop_timer(self, run: Run, reason: str) -> None:
        if run.state == "waiting" and run.timer_id is not None and run.waiting_for in FOR_A_TIMER:
            self.tell(TimerDropped(run.rule_id, run.timer_id, reason))

    def settle(self) -> None:
        """Every run whose turn it is, in the stage's order: what a run leaves decides about the one below it."""
        for place in range(len(self.visit.runs)):
            run = self.run(place)
            held_back = run.state == "blocked" and run.reason == "predecessor"
            if run.state == "scheduled" or run.waiting_for == "predecessor" or held_back:
                _pass_gate(self, place)


# ------------------------------------------------------------------------------------------------ arriving


def _arrive(command: Arrive) -> Sequence[VisitEvent]:
    """Every rule's verdict in one event, then what the rules that are due ask for (3, steps 2 to 7)."""
    known = command.known
    scope = Scope(known.card, known.now, command.arrived_at, values=known.values)
    planned, guards = _verdicts(command, scope)
    planned, turns = _in_turn(command, planned)
    course = Course(Visit(), known, scope)
    course.tell(_arrived(command, planned, scope, turns))
    for rule_id, guard in guards.items():
        course.tell(RunEnded(rule_id, "blocked", known.at, guard))
    for place, r in enumerate(command.rules):
        if planned[place].state == "due":
            _start(course, place, rule=r.rule)
        elif place in turns:
            _await_turn(course, place, turns[place])
    _judge_shadows_at_arrival(course)
    course.settle()
    return course.events


def _in_turn(command: Arrive, planned: tuple[Planned, ...]) -> tuple[tuple[Planned, ...], dict[int, datetime]]:
    """The turn of every run that could begin at once, by its place; one whose turn is later is planned to wait for it (D68)."""
    pace, now = command.pace, command.known.now
    places = [place for place, one in enumerate(planned) if one.state == "due"]
    if pace is None or not places:
        return planned, {}
    turns = {place: pace.turn(n, now) for n, place in enumerate(places)}
    late = {place for place, turn in turns.items() if pace.must_wait(turn, now)}
    kept = [replace(one, state="scheduled", rule=command.rules[n].rule) if n in late else one for n, one in enumerate(planned)]
    return tuple(kept), turns


def _await_turn(course: Course, place: int, turn: datetime) -> None:
    """It waits as for a time: visible, in order, and to be called back like any other timer."""
    when = {"mode": "after", "anchor_instant": instant(turn)}
    _ask_timer(course, course.run(place), when, waiting_for="quota")


def _verdicts(command: Arrive, scope: Scope) -> tuple[tuple[Planned, ...], dict[str, str]]:
    """The verdict of every rule, and what holds some of them back whatever they say."""
    planned: list[Planned] = []
    guards: dict[str, str] = {}
    started = command.recent
    texts = _texts_of(command.known, scope)
    for place, r in enumerate(command.rules):
        if r.rule.rule_id in command.left_out:
            planned.append(_skipped(r.rule, reason="not_in_rollout"))
            continue
        guard = _guard(command, started, r.rule)
        if guard is not None:
            guards[r.rule.rule_id] = guard
        planned.append(_planned(r, place, scope, texts, held_back=guard is not None))
        started += planned[-1].state != "skipped"
    return tuple(planned), guards


def _arrived(command: Arrive, planned: tuple[Planned, ...], scope: Scope, turns: Mapping[int, datetime]) -> Arrived:
    taken_until = command.pace.turn(len(turns), command.known.now).isoformat() if command.pace and turns else None
    remembered = {path: scope.value(path) for r in (*command.rules, *command.shadows) for path in r.remembers}
    return Arrived(
        command.visit_id,
        command.element_type,
        command.element_id,
        command.pipeline_id,
        command.stage_id,
        command.visit_number,
        command.arrived_at,
        command.known.at,
        command.chain,
        planned,
        remembered,
        taken_until,
        len(turns),
        tuple(r.rule for r in command.shadows),
    )


def _guard(command: Arrive, started: int, rule: Rule) -> str | None:
    """A rule in its own chain, a chain too long, too many runs (D40)."""
    if rule.rule_id in command.chain:
        return "loop"
    if len(command.chain) >= MOST_IN_CHAIN:
        return "depth"
    return "rate" if started >= MOST_RUNS_A_MINUTE else None


def _planned(r: Ready, place: int, scope: Scope, texts: Callable[[str], str], *, held_back: bool) -> Planned:
    """A rule that waits for nothing is judged in the arrival itself; others only if they ask for it (D5)."""
    rule = r.rule
    waits = rule.after_previous and place > 0
    at_once = rule.timing is None and not waits
    if held_back or not (at_once or rule.also_at_arrival):
        return _to_come(rule, waits and not held_back, scope)
    seen = condition.evaluate(r.condition, scope, texts)
    if not seen.holds:
        return _skipped(rule, seen.trace)
    if at_once:
        return Planned(rule.rule_id, rule.version, rule.key, "due", r.slim, seen.trace)
    return _to_come(rule, waits, scope, seen.trace)


def _skipped(rule: Rule, trace: tuple[Trace, ...] = (), reason: str = "condition_false") -> Planned:
    return Planned(rule.rule_id, rule.version, rule.key, "skipped", None, trace, (), rule.rule_type, rule.name, reason)


def _to_come(rule: Rule, waits: bool, scope: Scope, trace: tuple[Trace, ...] = ()) -> Planned:
    """A recurring lead without a customer is warned of early (D48)."""
    customer = scope.card.contact_id or scope.card.company_id
    notes = ("no_client_yet",) if rule.rule_type == "create_recurring_lead" and customer is None else ()
    return Planned(rule.rule_id, rule.version, rule.key, "waiting" if waits else "scheduled", rule, trace, notes)


def _texts_of(known: Known, scope: Scope) -> Callable[[str], str]:
    return lambda template: known.render(template, scope).text


# ------------------------------------------------------------------------------------------------ a run's way


def _pass_gate(course: Course, place: int) -> None:
    """What the rule above has come to decides about this one (3, step 8)."""
    run = course.run(place)
    above = course.run(place - 1) if place and run.rule.after_previous else None
    match _gate(above, run):
        case "go":
            if run.state == "blocked":
                course.tell(RunReleased(run.rule_id, "predecessor"))
            _begin(course, place)
        case "block" if run.state != "blocked":
            course.end(run, "blocked", "predecessor")
        case "cancel":
            course.end(run, "cancelled", "stage_left")
        case _:
            pass


def _gate(above: Run | None, run: Run) -> Literal["go", "wait", "block", "cancel"]:
    if above is None:
        return "go"
    match above.state:
        case "succeeded" | "skipped" | "undone":
            return "go"
        case "cancelled" if above.reason in ("stage_left", "element_deleted"):
            return "go" if run.rule.on_exit == "keep" else "cancel"
        case "cancelled":
            return "go"
        case "failed" | "partial" | "blocked" | "missed":
            return "go" if above.rule.continue_on_failure else "block"
        case _:
            return "wait"


def _begin(course: Course, place: int) -> None:
    """Time first (G17): due at once, a timer, or a date field that is awaited (D6)."""
    run = course.run(place)
    match _timed(course, place):
        case AtOnce() if run.drop_before is not None and _due_since(course, place) < run.drop_before:
            course.end(run, "skipped", "past_dropped")
        case AtOnce():
            _due(course, place)
        case Wait(when=when):
            _ask_timer(course, run, when)
        case FieldEmpty(path=path):
            _field_is_empty(course, place, path)


def _due_since(course: Course, place: int) -> str:
    """When a run without a time was due: at the end of the rule above it, else on arrival."""
    above = course.run(place - 1) if place and course.run(place).rule.after_previous else None
    return (above.finished_at if above else None) or course.visit.arrived_at


def _timed(course: Course, place: int) -> Timed:
    run, card = course.run(place), course.known.card
    scope = course.scope(run)
    anchors = Anchors(
        arrival=course.visit.arrived_at,
        now=course.known.at,
        field=lambda path: scope.value(normal(path)),
        previous=course.run(place - 1).finished_at if place else None,
        pipeline_zone=card.pipeline.zone,
        responsible_id=card.responsible_id,
    )
    return resolve(run.rule.timing, anchors, after_previous=run.rule.after_previous and place > 0)


def _ask_timer(course: Course, run: Run, when: Json, waiting_for: str = "timer") -> None:
    purpose = "delay" if run.timers == 0 else f"delay-{run.timers + 1}"
    timer = timer_id(course.visit.visit_id, run.rule_id, purpose)
    course.tell(TimerAsked(run.rule_id, timer, when, run.rule.max_lateness(), run.rule.wait_limit(), waiting_for))


def _field_is_empty(course: Course, place: int, path: str) -> None:
    run = course.run(place)
    match (run.rule.timing or {}).get("if_empty", "wait"):
        case "skip":
            course.end(run, "skipped", "field_empty", f"{path} is empty.")
        case "run":
            _due(course, place)
        case _:
            course.tell(FieldAwaited(run.rule_id, path))


def _due(course: Course, place: int, lateness_ms: int | None = None) -> None:
    """The moment of truth: the rule's state, the visit's, then the condition on what is so now (D5)."""
    run = course.run(place)
    standing = course.known.rules.get(run.rule_id)
    if standing == "deleted":
        return course.end(run, "cancelled", "rule_deleted")
    if standing == "disabled":
        return course.end(run, "skipped", "rule_disabled")
    if course.visit.status == "left" and run.rule.on_exit == "cancel":
        return course.end(run, "cancelled", course.visit.left_because)
    if standing == "fieldless":
        return course.end(run, "failed", "field_removed", "A field that the rule names was removed: publish it without, then retry.")
    return _judge(course, place, lateness_ms)


def _judge(course: Course, place: int, lateness_ms: int | None) -> None:
    run = course.run(place)
    scope = course.scope(run)
    node = ready(run.rule).condition
    seen = condition.evaluate(node, scope, _texts_of(course.known, scope))
    course.tell(RunJudged(run.rule_id, course.known.at, seen.trace, lateness_ms))
    _judge_shadows_beside(course, run)
    if not seen.holds:
        assert node is not None
        failing = condition.culprit(node, seen.trace)
        return course.end(run, "skipped", "condition_false", condition.sentence(failing) if failing else None)
    return _start(course, place)


def _start(course: Course, place: int, *, rule: Rule | None = None, empty: bool = False) -> None:
    """Fill the placeholders, then ask. `empty`: a person said that what is missing may be empty."""
    run = course.run(place)
    rule = rule or run.rule
    scope = course.scope(run)
    texts = _filled(rule, scope, course.known.render)
    if texts.error is not None:
        return course.end(run, "failed", "template_error", texts.error)
    if texts.required or (texts.missing and rule.on_unresolved == "block" and not empty):
        missing = ", ".join(texts.required or texts.missing)
        return course.end(run, "blocked", "unresolved", f"No value for {missing}.", rule=_pinned_again(run, rule))
    notes = tuple(f"empty: {path}" for path in texts.missing)
    return _act(course, place, rule, _doing(course, rule, scope, texts.values), notes)


def _doing(course: Course, rule: Rule, scope: Scope, texts: action.Texts) -> action.Doing:
    card = course.known.card
    named = {name: rule.reference(name) for name in (rule.acting_user, rule.fallback_user) if name}
    chosen = people.acting(rule.acting_user, rule.owner_id, named.get(rule.fallback_user or ""), card, named.get(rule.acting_user))
    return action.Doing(
        course.visit.visit_id, rule, scope, texts, people.actor(chosen), chosen.fallback, course.known.at, course.known.callback_url
    )


def _act(course: Course, place: int, rule: Rule, doing: action.Doing, notes: tuple[str, ...]) -> None:
    run = course.run(place)
    match action.plan(doing):
        case action.Steps(asked=asked, failed=failed):
            _ask(course, place, asked, failed, notes)
        case action.Skip(reason=reason, detail=detail):
            course.end(run, "skipped", reason, detail, notes=notes)
        case action.Fail(code=code, detail=detail):
            course.end(run, "failed", code, detail, notes=notes)
        case action.Result(outputs=outputs, notes=more):
            course.end(run, "succeeded", outputs=outputs, notes=(*notes, *more))
        case action.AwaitField(path=path):
            course.tell(FieldAwaited(run.rule_id, path, for_action=True, rule=_pinned_again(run, rule)))


def _pinned_again(run: Run, rule: Rule) -> Rule | None:
    return None if rule is run.rule else rule


def _ask(course: Course, place: int, asked: Sequence[Asked], failed: Sequence[action.FailedStep], notes: tuple[str, ...]) -> None:
    run = course.run(place)
    if sum(len(r.steps) for r in course.visit.runs) + len(asked) > MOST_STEPS:
        return course.end(run, "failed", "too_many_steps", f"A visit has at most {MOST_STEPS} steps.")
    done = {step.name for step in run.steps if step.state in ("done", "skipped")}
    for one in asked:
        if one.step not in done:
            course.tell(replace(one, notes=(*notes, *one.notes)) if notes else one)
            _await_callback(course, place, one.step)
    for bad in failed:
        course.tell(StepFailed(run.rule_id, bad.step, bad.request_id, bad.code, bad.detail))
    return _finish_when_answered(course, place)


def _await_callback(course: Course, place: int, step_name: str) -> None:
    """A step that waits for somebody outside waits for so long and no longer."""
    run = course.run(place)
    step = next(step for step in run.steps if step.name == step_name)
    if step.callback is not None:
        purpose = "callback" if step.attempts == 1 else f"callback-{step.attempts}"
        timer = timer_id(course.visit.visit_id, run.rule_id, purpose)
        course.tell(CallbackAwaited(run.rule_id, step_name, timer, step.callback.due_at))


def _finish_when_answered(course: Course, place: int) -> None:
    """A run ends when all its steps are answered (3, step 7; D42)."""
    run = course.run(place)
    if any(step.state == "asked" for step in run.steps):
        return None
    failed = next((step for step in run.steps if step.state == "failed"), None)
    done = [step.outputs for step in run.steps if step.state == "done"]
    if failed is not None:
        code = action.failure(failed.code or "")
        return course.end(run, "partial" if done else "failed", code, failed.detail, outputs=action.merged(done))
    if done:
        notes = [note for step in run.steps for note in action.remarks(run.rule.rule_type, step.outputs, step.asked_at)]
        return course.end(run, "succeeded", outputs=action.merged(done), notes=tuple(notes))
    first = run.steps[0]
    return course.end(run, "skipped", first.code, first.detail)


# ------------------------------------------------------------------------------------------------ versions in shadow


def _judge_shadows_at_arrival(course: Course) -> None:
    """Those that wait for nothing, and those beside which no live run will be judged later."""
    for rule in course.visit.shadows:
        live = course.visit.run(rule.rule_id)
        if _is_at_once(rule):
            _judge_shadow(course, rule)
        elif live is None or live.is_over or _is_at_once(live.rule):
            _judge_shadow(course, rule, waits=True)


def _judge_shadows_beside(course: Course, run: Run) -> None:
    """A version that waits is judged at the moment of the live one: both see the same."""
    for rule in course.visit.shadows:
        if rule.rule_id == run.rule_id and not _is_at_once(rule) and not _is_at_once(run.rule):
            _judge_shadow(course, rule)


def _is_at_once(rule: Rule) -> bool:
    return rule.timing is None and not rule.after_previous


def _judge_shadow(course: Course, rule: Rule, *, waits: bool = False) -> None:
    scope = course.scope(Run(rule, "scheduled"))
    seen = condition.evaluate(ready(rule).condition, scope, _texts_of(course.known, scope))
    found = ("would_wait", None, ()) if waits else _would_do(course, rule, scope)
    verdict, detail, would_ask = found if seen.holds else ("condition_false", None, ())
    course.tell(ShadowJudged(rule.rule_id, rule.version, course.known.at, verdict, seen.trace, would_ask, detail))


def _would_do(course: Course, rule: Rule, scope: Scope) -> tuple[str, str | None, tuple[Json, ...]]:
    """Verdict, detail, and what it would ask for."""
    texts = _filled(rule, scope, course.known.render)
    if texts.error is not None:
        return "template_error", texts.error, ()
    if texts.required or (texts.missing and rule.on_unresolved == "block"):
        return "unresolved", f"No value for {', '.join(texts.required or texts.missing)}.", ()
    match action.plan(_doing(course, rule, scope, texts.values)):
        case action.Steps(asked=asked):
            return "would_run", None, tuple(_would_ask(one) for one in asked)
        case action.Skip(reason=reason, detail=detail):
            return reason, detail, ()
        case action.Fail(code=code, detail=detail):
            return code, detail, ()
        case action.AwaitField(path=path):
            return "would_wait", f"{path} is empty.", ()
        case _:
            return "would_run", None, ()


def _would_ask(asked: Asked) -> Json:
    """The step without ids: what would have been asked of whom is in its kind and its members."""
    told = {f.name: getattr(asked, f.name) for f in fields(asked) if f.name not in ("rule_id", "request_id", "at", "notes")}
    return {"kind": type(asked).__name__.removesuffix("Asked"), **told}


# ------------------------------------------------------------------------------------------------ what others say


def _leave(course: Course, command: Leave) -> None:
    """Everything that has not begun ends with the stay, unless it is to be kept (D1). Steps already asked go their way."""
    if course.visit.status == "left":
        return
    for run in course.visit.runs:
        if run.state in NOT_BEGUN and (run.rule.on_exit == "cancel" or command.reason == "element_deleted"):
            course.end(run, "cancelled", command.reason)
    course.tell(Left(command.reason, course.known.at))


def _timer_was_set(visit: Visit, command: TimerWasSet) -> Sequence[VisitEvent]:
    run = _waiting_for_timer(visit, command.timer_id)
    if run is None or (run.due_at == command.due_at and run.reasoning == command.reasoning):
        return []
    waiting_for = command.waiting_for or ("quota" if run.waiting_for == "quota" else "timer")
    return [TimerArmed(run.rule_id, command.timer_id, command.due_at, waiting_for, command.reasoning)]


def _timer(course: Course, command: TimerRang | TimerTooLate | TimerWasCancelled) -> None:
    """A timer that slipped through its cancellation finds no run that waits for it."""
    run = _waiting_for_timer(course.visit, command.timer_id)
    if run is None:
        _no_callback(course, command)
        return
    place = course.visit.place_of(run.rule_id)
    assert place is not None
    match command:
        case TimerRang() if run.drop_before is not None and (run.due_at or run.drop_before) < run.drop_before:
            course.tell(RunEnded(run.rule_id, "skipped", course.known.at, "past_dropped"))
        case TimerRang(lateness_ms=lateness):
            _due(course, place, lateness)
        case TimerTooLate(due_at=due_at, found_at=found_at):
            course.tell(RunMissed(run.rule_id, due_at, found_at))
        case TimerWasCancelled():
            course.tell(RunEnded(run.rule_id, "cancelled", course.known.at, "by_person"))


def _no_callback(course: Course, command: TimerRang | TimerTooLate | TimerWasCancelled) -> None:
    """A called webhook has not answered in time; however late that is found, it is too late."""
    for place, run in enumerate(course.visit.runs):
        for step in run.steps:
            if step.awaited is not None and step.awaited.timer_id == command.timer_id and not isinstance(command, TimerWasCancelled):
                detail = f"No answer came until {step.awaited.due_at}."
                course.tell(StepFailed(run.rule_id, step.name, step.request_id, "callback_expired", detail))
                _finish_when_answered(course, place)
                return


def _escalate(course: Course, command: TimerWaitsTooLong) -> None:
    """Said once for each wait; whoever is told may run, postpone or cancel it, or name another responsible person."""
    run, card = _waiting_for_timer(course.visit, command.timer_id), course.known.card
    since = command.waiting_since
    if run is None or (run.escalated is not None and run.escalated.since == since):
        return
    told, absent = people.standing_in(run.rule, card), people.person(card.responsible_id, card)
    in_german = card.pipeline.language == "de"
    title, text = (
        words[in_german].format(rule=run.rule.name, since=since[:10], person=absent.name if absent else "?") for words in ESCALATION
    )
    request = escalation_id(course.visit.visit_id, run.rule_id, since)
    course.tell(RunEscalated(run.rule_id, request, since, course.known.at, told, None if told else "operator", title, text))


def _waiting_for_timer(visit: Visit, timer: str) -> Run | None:
    return next((run for run in visit.runs if run.timer_id == timer and run.state == "waiting" and run.when is not None), None)


def _answer(course: Course, command: Answered | Refused) -> None:
    found = course.visit.step(command.request_id)
    if found is None or found[1].state != "asked":
        return
    run, step = found
    if isinstance(command, Refused):
        skipped = action.is_skip(run.rule.rule_type, command.code)
        course.tell(StepFailed(run.rule_id, step.name, step.request_id, command.code, command.detail, skipped))
        _callback_is_over(course, run, step, "failed")
    elif step.callback is None:
        course.tell(StepSucceeded(run.rule_id, step.name, step.request_id, command.outputs))
    else:
        return
    place = course.visit.place_of(run.rule_id)
    assert place is not None
    _finish_when_answered(course, place)


def _callback_is_over(course: Course, run: Run, step: Step, reason: str) -> None:
    """`step` as it was while it waited."""
    if step.callback is not None:
        course.tell(CallbackOver(run.rule_id, step.name, step.callback.timer_id, reason))


def _callback(course: Course, command: CallbackCame) -> None:
    """The values answer the step, if it still waits for them and they are what its rule declares. (G52)"""
    found = course.visit.step(command.request_id)
    if found is None:
        raise NotFound("There is no such call.")
    run, step = found
    callback = _must_wait(step, command)
    outputs = matched(callback.outputs, command.values, command.meant)
    course.tell(StepSucceeded(run.rule_id, step.name, step.request_id, outputs))
    _callback_is_over(course, run, step, "answered")
    place = course.visit.place_of(run.rule_id)
    assert place is not None
    _finish_when_answered(course, place)


def _must_wait(step: Step, command: CallbackCame) -> Callback:
    """Raises Rejected: callback_used, callback_expired (410), not_waiting (409)."""
    callback = step.callback
    if callback is not None and step.asked_at != command.asked_at:
        raise Rejected("callback_expired", "The webhook was called again since: this token is of the call before.", status=410)
    if callback is not None and step.state == "done":
        raise Rejected("callback_used", "The call was answered already.", status=410)
    if callback is not None and (step.code == "callback_expired" or (step.awaited is not None and command.known.at >= callback.due_at)):
        raise Rejected("callback_expired", f"The answer was waited for until {callback.due_at}.", status=410)
    if callback is None or step.awaited is None:
        raise Rejected("not_waiting", "The rule does not wait for an answer.")
    return callback


def _fields_changed(course: Course) -> None:
    """Runs that wait for a field, and timers that count from one or follow a person's hours (D6, D10)."""
    for place, run in enumerate(course.visit.runs):
        if run.state != "waiting":
            continue
        if run.waiting_for == "field":
            _field_may_be_there(course, place)
        elif run.when is not None and _follows_fields(run):
            _rearm(course, place)


def _follows_fields(run: Run) -> bool:
    return anchor_field(run.rule.timing) is not None or (run.when or {}).get("working_hours") == "responsible"


def _field_may_be_there(course: Course, place: int) -> None:
    run = course.run(place)
    if course.scope(run).value(normal(run.awaited or "")) is None:
        return
    if run.for_action:
        _due(course, place)
    else:
        _begin(course, place)


def _rearm(course: Course, place: int) -> None:
    run = course.run(place)
    match _timed(course, place):
        case Wait(when=when) if when != run.when:
            course.tell(TimerMoved(run.rule_id, run.timer_id or "", when))
        case FieldEmpty(path=path):
            course.drop_timer(run, "field_empty")
            course.tell(FieldAwaited(run.rule_id, path))
        case _:
            pass


def _rule_gone(course: Course, command: RuleGone) -> None:
    run = course.visit.run(command.rule_id)
    if run is not None and run.state in NOT_BEGUN and (command.below is None or run.rule.version < command.below):
        course.end(run, "cancelled", command.reason)


def _migrate(course: Course, command: MigrateRun) -> None:
    """The new version from the original anchor; what the scheduler finds due already rings at once (D2)."""
    rule = command.ready.rule
    run = course.visit.run(rule.rule_id)
    if run is None or run.state not in ("waiting", "scheduled") or run.rule.version >= rule.version:
        return
    place = course.visit.place_of(rule.rule_id)
    assert place is not None
    course.drop_timer(run, "replaced")
    course.tell(RunReleased(rule.rule_id, "migrated", rule, course.known.at if command.drop_past else None))
    if run.waiting_for == "quota" and run.when is not None:
        _ask_timer(course, course.run(place), run.when, waiting_for="quota")


def _cancel_all(course: Course, reason: str) -> None:
    for run in course.visit.runs:
        if run.state in NOT_BEGUN:
            course.end(run, "cancelled", reason)


def _rearm_all(course: Course) -> None:
    visit, card = course.visit, course.known.card
    if visit.left_because != "element_deleted" or card.deleted or card.visit_id != visit.visit_id:
        raise Rejected("not_restored", "Only a stay that ended with its deleted element, which is back in it, goes on.")
    course.tell(Reopened(course.known.at))
    for run in visit.runs:
        if (run.state, run.reason) == ("cancelled", "element_deleted"):
            course.tell(RunReleased(run.rule_id, "rearmed"))


# ------------------------------------------------------------------------------------------------ what people do

ByHand = CancelRun | RunNow | DropRun | ContinueRun | RetryRun


def _by_hand(course: Course, command: ByHand) -> None:
    place = course.visit.place_of(command.rule_id)
    if place is None:
        raise Rejected("not_found", "There is no such run.", status=404)
    run = course.run(place)
    match command:
        case CancelRun(why=why):
            _must(run.state in NOT_BEGUN or run.state == "missed", "run_over" if run.is_over else "not_waiting", run)
            course.end(run, "cancelled", "by_person", why)
        case RunNow(ready=given):
            _must(run.state in NOT_BEGUN or run.state == "missed", "run_over" if run.is_over else "not_waiting", run)
            course.drop_timer(run, "run_now")
            course.tell(RunReleased(run.rule_id, "now", given.rule if given else None))
            _due(course, place)
        case DropRun():
            _must(run.state == "missed", "not_missed", run)
            course.end(run, "cancelled", "by_person")
        case ContinueRun():
            _continue(course, place)
        case RetryRun():
            _retry(course, place, command)


def _must(condition_holds: bool, code: str, run: Run) -> None:
    if not condition_holds:
        raise Rejected(code, f"The run is {run.state}.", errors=(Fault("", code, f"The run is {run.state}."),))


def _continue(course: Course, place: int) -> None:
    run = course.run(place)
    _must(run.state == "blocked", "not_blocked", run)
    course.tell(RunReleased(run.rule_id, "continued"))
    if run.reason == "unresolved":
        _start(course, place, empty=True)
    elif run.reason == "predecessor":
        _begin(course, place)
    else:
        _due(course, place)


def _retry(course: Course, place: int, command: RetryRun) -> None:
    run = course.run(place)
    _must(run.state in ("failed", "partial", "skipped", "blocked"), "not_failed", run)
    course.tell(RunReleased(run.rule_id, "retried", command.ready.rule))
    if command.retry_from == "start":
        _due(course, place)
    else:
        _start(course, place)


def _postpone(visit: Visit, command: PostponeRun) -> Sequence[VisitEvent]:
    run = visit.run(command.rule_id)
    if run is None:
        raise Rejected("not_found", "There is no such run.", status=404)
    _must(run.state == "waiting" and run.when is not None, "run_over" if run.is_over else "not_waiting", run)
    when = {"mode": "after", "anchor_instant": command.to, "zone": (run.when or {}).get("zone")}
    return [TimerMoved(run.rule_id, run.timer_id or "", when)]


# ------------------------------------------------------------------------------------------------ placeholders


@dataclass(frozen=True, slots=True)
class Filled:
    values: action.Texts
    missing: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    error: str | None = None


def _filled(rule: Rule, scope: Scope, render: Render) -> Filled:
    """Every setting that takes placeholders, rendered on the facts of this moment (D5, D35)."""
    values: dict[str, Any] = {}
    seen: list[Rendered] = []

    def text(template: str) -> str:
        if not condition.is_template(template):
            return template
        seen.append(render(template, scope))
        return seen[-1].text

    for name in RULE_TYPES[rule.rule_type].templates:
        value = rule.settings.get(name)
        values[name] = {k: text(v) for k, v in value.items()} if isinstance(value, dict) else value if value is None else text(value)
    error = next((r.error for r in seen if r.error is not None), None)
    missing = dict.fromkeys(path for r in seen for path in r.missing)
    return Filled(values, tuple(missing), tuple(dict.fromkeys(path for r in seen for path in r.required)), error)


# ------------------------------------------------------------------------------------------------ evolve


def evolve(visit: Visit, event: VisitEvent) -> Visit:
    match event:
        case Arrived():
            return _opened(event)
        case Left(reason=reason, at=at):
            return visit._replace(status="left", left_at=at, left_because=reason)
        case Reopened():
            return visit._replace(status="open", left_at=None, left_because=None)
        case _:
            place = visit.place_of(event.rule_id)
            if place is None:
                return visit
            runs = list(visit.runs)
            runs[place] = _changed(runs[place], event)
            return visit._replace(runs=tuple(runs))


def _opened(e: Arrived) -> Visit:
    return Visit(
        "open",
        e.visit_id,
        e.element_type,
        e.element_id,
        e.pipeline_id,
        e.stage_id,
        e.visit_number,
        e.arrived_at,
        e.chain,
        tuple(_run(planned, e.at) for planned in e.runs),
        e.remembered,
        e.taken_until,
        e.turns,
        e.shadows,
    )


def _run(planned: Planned, at: str) -> Run:
    rule = planned.rule or _named(planned.rule_id, planned.version, planned.key, planned.rule_type, planned.name)
    match planned.state:
        case "skipped":
            return Run(rule, "skipped", planned.reason, at_arrival=planned.trace, judged_at=at, finished_at=at)
        case "due":
            return Run(rule, "due", trace=planned.trace, judged_at=at)
        case "waiting":
            return Run(rule, "waiting", waiting_for="predecessor", at_arrival=planned.trace, notes=planned.notes)
        case _:
            return Run(rule, planned.state, at_arrival=planned.trace, notes=planned.notes)


@lru_cache(maxsize=4096)
def _named(rule_id: str, version: int, key: str, rule_type: str, name: str) -> Rule:
    return Rule(rule_id, version, key, rule_type, name, "")


def _changed(run: Run, event: VisitEvent) -> Run:
    match event:
        case Asked():
            return run._replace(state="running", waiting_for=None, steps=_asked(run.steps, event), notes=(*run.notes, *event.notes))
        case TimerAsked(timer_id=timer, when=when, waiting_for=waiting_for):
            turn = when["anchor_instant"] if waiting_for == "quota" else None
            return run._replace(state="waiting", waiting_for=waiting_for, timer_id=timer, timers=run.timers + 1, when=when, due_at=turn)
        case TimerMoved(when=when):
            return run._replace(when=when, due_at=None)
        case TimerDropped():
            return run._replace(timer_id=None, when=None, due_at=None)
        case TimerArmed(due_at=due_at, waiting_for=waiting_for, reasoning=reasoning):
            return run._replace(due_at=due_at, waiting_for=waiting_for, reasoning=reasoning)
        case RunEscalated():
            return run._replace(escalated=event)
        case CallbackAwaited(step=name, timer_id=timer):
            return run._replace(steps=tuple(_told_timer(step, timer) if step.name == name else step for step in run.steps))
        case FieldAwaited(path=path, for_action=for_action, rule=rule):
            return run._replace(rule=rule or run.rule, state="waiting", waiting_for="field", awaited=path, for_action=for_action)
        case RunJudged(at=at, trace=trace, lateness_ms=lateness):
            return run._replace(state="due", waiting_for=None, judged_at=at, trace=trace, lateness_ms=lateness)
        case StepSucceeded() | StepFailed():
            return run._replace(steps=_answered(run.steps, event))
        case RunEnded():
            return _ended(run, event)
        case RunMissed(due_at=due_at):
            return run._replace(state="missed", waiting_for=None, due_at=due_at, timer_id=None, when=None)
        case RunReleased(rule=rule, drop_before=drop_before):
            released = run._replace(state="scheduled", waiting_for=None, reason=None, detail=None, finished_at=None)
            return released._replace(rule=rule or run.rule, drop_before=drop_before)
        case _:
            return run


def _told_timer(step: Step, timer: str) -> Step:
    return replace(step, callback=replace(step.callback, timer_id=timer)) if step.callback is not None else step


def _ended(run: Run, e: RunEnded) -> Run:
    """`due_at` stays: it is what was waited for."""
    return run._replace(
        rule=e.rule or run.rule,
        state=e.state,
        reason=e.reason,
        detail=e.detail,
        outputs=e.outputs,
        finished_at=None if e.state == "blocked" else e.at,
        waiting_for=None,
        notes=(*run.notes, *e.notes),
    )


def _asked(steps: tuple[Step, ...], e: Asked) -> tuple[Step, ...]:
    before = next((step for step in steps if step.name == e.step), None)
    write = (e.value_id, e.text) if isinstance(e, ValueWriteAsked) else None
    attempts = before.attempts + 1 if before else 1
    asked = Step(e.step, e.request_id, type(e).__name__, "asked", e.at, attempts=attempts, write=write, callback=_callback_of(e))
    return (*(step for step in steps if step.name != e.step), asked)


def _callback_of(e: Asked) -> Callback | None:
    if not isinstance(e, WebhookAsked) or e.callback_expires_at is None:
        return None
    return Callback(e.callback_expires_at, e.outputs)


def _answered(steps: tuple[Step, ...], e: StepSucceeded | StepFailed) -> tuple[Step, ...]:
    if all(step.name != e.step for step in steps):
        steps = (*steps, Step(e.step, e.request_id, "", "asked"))
    return tuple(_answered_step(step, e) if step.name == e.step else step for step in steps)


def _answered_step(step: Step, e: StepSucceeded | StepFailed) -> Step:
    if isinstance(e, StepSucceeded):
        return replace(step, state="done", outputs=e.outputs, code=None, detail=None)
    return replace(step, state="skipped" if e.skipped else "failed", code=e.code, detail=e.detail)


VISIT: Aggregate[Visit, VisitCommand, VisitEvent] = Aggregate(
    name="visit",
    initial=Visit(),
    decide=decide,
    evolve=evolve,
    events=(
        Arrived,
        TimerAsked,
        TimerMoved,
        TimerDropped,
        TimerArmed,
        RunEscalated,
        CallbackAwaited,
        CallbackOver,
        FieldAwaited,
        RunJudged,
        ShadowJudged,
        *ASKED,
        StepSucceeded,
        StepFailed,
        RunEnded,
        RunMissed,
        RunReleased,
        Left,
        Reopened,
    ),
)
