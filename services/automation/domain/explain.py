"""Why a rule did, did not or not yet act on an element: what was looked at, in order, as a tree and in words (capability 1).

Everything comes from streams: the rule's, the arrival, the visit's. Nothing is judged again. A node of the tree is
`{kind, state, says, says_de, children}`; its `state` is `ok`, `no` (here it ended), `waiting` (here it stands) or `open` (not reached)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from typing import Any, Literal, NamedTuple

from services.automation.domain import words
from services.automation.domain.action import Asked
from services.automation.domain.card import normal, zone_of
from services.automation.domain.condition import NO_LITERAL, Trace
from services.automation.domain.rule import DefinedRule
from services.automation.domain.timing import BadTime, parsed_offset
from services.automation.domain.visit import FOR_A_TIMER, Run, RunEnded, RunJudged, TimerDropped, Visit, evolve
from services.automation.domain.words import LOOKED_AT, RULE_ANSWERS, Words, joined, said, same
from shared.es.aggregate import Json

State = Literal["ok", "no", "waiting", "open"]
GUARDS = ("loop", "depth", "rate")


class Told(NamedTuple):
    """A recorded event: its id, when it was recorded, and what it says."""

    id: str
    at: str
    event: Any


class Arrival(NamedTuple):
    """Of an element in a stage. `automation`: on, suppressed."""

    event_id: str
    at: str
    visit_number: int
    automation: str


@dataclass(frozen=True, slots=True)
class Reader:
    """How values are shown: moments in `zone`, fields of forms by their labels (normal path)."""

    zone: str = "UTC"
    labels: Mapping[str, Words] = field(default_factory=dict)

    def moment(self, text: str) -> Words:
        at = datetime.fromisoformat(text).astimezone(zone_of(self.zone))
        month = words.MONTHS[at.month - 1]
        clock = f"{at:%H:%M}"
        return Words(f"{at.day} {month.en} {at.year}, {clock} ({self.zone})", f"{at.day}. {month.de} {at.year}, {clock} Uhr ({self.zone})")

    def field(self, path: str) -> Words:
        name = normal(path)
        root, _, rest = name.partition(".")
        if root == "event":
            return words.label(words.EVENT_FIELDS, rest)
        if root == "steps":
            key, _, output = rest.partition(".")
            return joined((same(key), words.label(words.OUTPUTS, output)), same(": "))
        return words.FIELDS.get(name) or self.labels.get(name) or same(path)


@dataclass(frozen=True, slots=True)
class RuleCase:
    """`rule`: as it is at the moment asked for; `before`: as it was when the element arrived. `events`: of the visit, in order."""

    rule_id: str
    rule: DefinedRule
    before: DefinedRule
    published_at: str | None
    arrival: Arrival | None
    events: Sequence[Told]
    definitions: Mapping[int, Json]
    reader: Reader


def node(kind: str, state: str, says: Words, children: Iterable[Json] = (), **more: Any) -> Json:
    return {"kind": kind, "state": state, **says.shown("says"), **more, "children": list(children)}


def explain_rule(case: RuleCase) -> Json:
    """`{verdict, says, says_de, version, facts, condition, time, time_de, guard, tree}` of a rule for its last arrival."""
    run = visit_of(case.events).run(case.rule_id)
    return _without_run(case) if run is None else _RunCase(case, visit_of(case.events), run).answer()


def visit_of(events: Iterable[Told]) -> Visit:
    return reduce(evolve, (told.event for told in events), Visit())


def answer(verdict: str, says: Words, nodes: Sequence[Json], facts: Sequence[Json], what: str, **more: Any) -> Json:
    ended = next((n["state"] for n in nodes if n["state"] in ("no", "waiting")), "ok")
    whole = {"verdict": verdict, **says.shown("says"), "facts": list(facts), "condition": None, "time": [], "time_de": [], "guard": None}
    return {**whole, **more, "tree": node(what, ended, says, nodes)}


# ------------------------------------------------------------------------------------------------ no run


def _without_run(case: RuleCase) -> Json:
    """It never came to a run: the element was not here, came by an import, or the rule was not in force then."""
    arrival = case.arrival
    if arrival is None:
        nodes = [node("arrival", "no", LOOKED_AT["never_arrived"])]
        return answer("not_in_stage", RULE_ANSWERS["not_in_stage"], nodes, (), "rule", version=case.rule.version)
    facts = [_fact_of_arrival(arrival)]
    if arrival.automation != "on":
        nodes = [_arrival(case, "ok"), node("suppression", "no", LOOKED_AT["suppressed"])]
        return answer("suppressed", RULE_ANSWERS["suppressed"], nodes, facts, "rule", version=case.rule.version, guard="suppressed")
    verdict = why_not_in_force("rule", case.before, case.rule)
    nodes = [_arrival(case, "ok"), node("version", "no", _not_in_force(case, verdict))]
    return answer(verdict, RULE_ANSWERS[verdict], nodes, facts, "rule", version=case.rule.version)


def why_not_in_force(what: str, before: Any, now: Any) -> str:
    """Of a rule or trigger that took no part: how it was then, else how it is now."""
    for one in (before, now):
        if one.state in ("disabled", "deleted"):
            return f"{what}_{one.state}"
        if one.invalid is not None:
            return f"{what}_invalid"
    return f"{what}_added_later" if now.version else f"{what}_not_published"


def _not_in_force(case: RuleCase, verdict: str) -> Words:
    if verdict == "rule_added_later" and case.published_at:
        return said(LOOKED_AT["published_later"], at=case.reader.moment(case.published_at))
    return LOOKED_AT["never_published"] if verdict == "rule_not_published" else RULE_ANSWERS[verdict]


def _arrival(case: RuleCase, state: State) -> Json:
    arrival = case.arrival
    assert arrival is not None
    says = said(LOOKED_AT["arrived"], at=case.reader.moment(arrival.at), number=arrival.visit_number)
    return node("arrival", state, says, at=arrival.at)


def _fact_of_arrival(arrival: Arrival) -> Json:
    return {"at": arrival.at, "event_id": arrival.event_id, **words.HAPPENED["Arrived"].shown("says")}


# ------------------------------------------------------------------------------------------------ a run

SKIPPED_BY_RULE = ("rule_disabled", "rule_deleted", "replaced", "not_in_rollout")
WORDS_OF_STATE = {"succeeded": "ran", "running": "ran", "partial": "ran", "failed": "failed", "missed": "missed", "undone": "undone"}
NAMED = ("condition_false", "rule_disabled", "rule_deleted", "stage_left", "element_deleted", "not_in_rollout")


def verdict_of(run: Run) -> str:
    """One word for what became of a run."""
    if run.state == "blocked":
        return f"{run.reason}_blocked"
    if run.state in ("skipped", "cancelled"):
        return run.reason if run.reason in NAMED else run.state
    return WORDS_OF_STATE.get(run.state, "waiting")


def waits_in_words(run: Json, reader: Reader) -> Words:
    """Why a run of a list has not begun: `run` as the view shows it."""
    above = run.get("above") or {}
    values = {
        "until": reader.moment(run["due_at"]) if run["due_at"] else "",
        "field": reader.field(run.get("awaited") or ""),
        "above": above.get("rule_name", ""),
        "state": words.STATES.get(above.get("state", ""), same("")),
    }
    if run["state"] == "missed":
        return RULE_ANSWERS["missed"]
    found = f"{run['reason']}_blocked" if run["state"] == "blocked" else f"waiting_{run['waiting_for']}"
    needs_a_moment = run["waiting_for"] in FOR_A_TIMER and not run["due_at"]
    return said(RULE_ANSWERS["waiting_unknown" if needs_a_moment or found not in RULE_ANSWERS else found], **values)


@dataclass(frozen=True, slots=True)
class _RunCase:
    """A run with the visit around it."""

    case: RuleCase
    visit: Visit
    run: Run

    @property
    def definition(self) -> Json:
        """As it was published in the run's version."""
        return self.case.definitions.get(self.run.rule.version) or {}

    @property
    def above(self) -> Run | None:
        """The rule it waits for."""
        place = self.visit.place_of(self.case.rule_id) or 0
        waits = place and self.definition.get("execution") == "after_previous"
        return self.visit.runs[place - 1] if waits else None

    @property
    def is_at_once(self) -> bool:
        return self.definition.get("timing") in (None, "immediate") and self.above is None

    @property
    def held(self) -> Run:
        """The run as it was before it was cancelled: what it waited for is part of the answer."""
        if self.run.state != "cancelled":
            return self.run
        return visit_of(_before_the_end(self.case)).run(self.case.rule_id) or self.run

    @property
    def is_guarded(self) -> bool:
        return self.run.state == "blocked" and self.run.reason in GUARDS

    @property
    def waits_above(self) -> bool:
        return self.held.waiting_for == "predecessor" or (self.run.state == "blocked" and self.run.reason == "predecessor")

    def answer(self) -> Json:
        time, time_node = self._time()
        condition = self._condition()
        nodes = [_arrival(self.case, "ok"), self._version(), self._guard(), *self._above(), time_node]
        nodes += [*self._at_arrival(), condition, self._action(), *self._end()]
        verdict, says = verdict_of(self.run), self._says(condition)
        lines = {"time": [line.en for line in time], "time_de": [line.de for line in time]}
        guard = self.run.reason if self.run.state == "blocked" else None
        facts = facts_of(self.case.events, self.case.reader, self.case.rule_id)
        first = [_fact_of_arrival(self.case.arrival)] if self.case.arrival else []
        more = {"version": self.run.rule.version, "condition": condition, "guard": guard, **lines}
        return answer(verdict, says, nodes, [*first, *facts], "rule", **more)

    # ---- the sentence

    def _says(self, condition: Json) -> Words:
        sentence = RULE_ANSWERS[self._sentence()]
        return said(sentence, **self._values(condition))

    def _sentence(self) -> str:
        run = self.run
        if run.answer_due is not None:
            return "waiting_callback"
        if run.state in ("running", "partial"):
            return run.state
        verdict = verdict_of(run)
        if verdict != "waiting":
            return verdict if verdict in RULE_ANSWERS else run.state
        found = f"waiting_{run.waiting_for}"
        needs_a_moment = run.waiting_for in FOR_A_TIMER
        return "waiting_unknown" if found not in RULE_ANSWERS or (needs_a_moment and not run.due_at) else found

    def _values(self, condition: Json) -> dict[str, Any]:
        run, above = self.run, self.above
        return {
            "culprit": _culprit(condition) or LOOKED_AT["no_culprit"],
            "above": above.rule.name if above else "",
            "state": words.STATES[above.state] if above else "",
            "until": self.case.reader.moment(until) if (until := run.answer_due or run.due_at) else "",
            "field": self.case.reader.field(run.awaited or ""),
            "why": reason(run.reason, run.detail),
        }

    # ---- what was looked at

    def _version(self) -> Json:
        run = self.run
        if run.state in ("skipped", "cancelled") and run.reason in SKIPPED_BY_RULE:
            says = said(LOOKED_AT["not_in_force"], why=words.REASONS[run.reason])
            return node("version", "no", says, version=run.rule.version)
        return node("version", "ok", said(LOOKED_AT["version"], version=run.rule.version), version=run.rule.version)

    def _guard(self) -> Json:
        if self.is_guarded:
            return node("guard", "no", said(LOOKED_AT["guard"], why=words.REASONS[self.run.reason or ""]), code=self.run.reason)
        return node("guard", "ok", LOOKED_AT["no_guard"])

    def _above(self) -> list[Json]:
        above = self.above
        if above is None:
            return []
        held = self.waits_above
        state: State = "open" if self.is_guarded else "no" if self.run.reason == "predecessor" else "waiting" if held else "ok"
        sentence = LOOKED_AT["above_ended" if above.is_over else "above_pending"]
        says = said(sentence, above=above.rule.name, state=words.STATES[above.state])
        return [node("predecessor", state, says, rule_id=above.rule_id, ended_as=above.state, reason=above.reason)]

    def _time(self) -> tuple[list[Words], Json]:
        """Its lines, from the rule's own words over the scheduler's arithmetic to what came of it."""
        state, says = self._time_in_short()
        lines = [said(words.TIMINGS["due"], time=timing)] if (timing := self._timing()) is not None else []
        if state != "open":
            lines += [says, *(Words(step, words.in_german(step)) for step in self.held.reasoning), *self._lateness()]
        children = [node("reasoning", state, line) for line in lines if line != says]
        return lines, node("time", state, says, children, due_at=self.held.due_at)

    def _lateness(self) -> Iterator[Words]:
        if self.run.escalated is not None:
            yield said(words.TIMINGS["escalated"], since=self.case.reader.moment(self.run.escalated.since))
        if self.run.lateness_ms:
            yield said(words.TIMINGS["late"], ms=self.run.lateness_ms)

    def _time_in_short(self) -> tuple[State, Words]:
        run, held = self.run, self.held
        if self.is_guarded or self.waits_above:
            return "open", LOOKED_AT["no_time_yet"]
        if run.state == "missed":
            return "no", LOOKED_AT["too_late"]
        if run.reason == "field_empty":
            return "no", LOOKED_AT["field_empty"]
        if held.waiting_for == "field" and not held.for_action:
            return "waiting", said(LOOKED_AT["waits_for_field"], field=self.case.reader.field(held.awaited or ""))
        until = self.case.reader.moment(held.due_at) if held.due_at else None
        if held.waiting_for == "quota" and until:
            return "waiting", said(LOOKED_AT["waits_its_turn"], until=until)
        if held.waiting_for in FOR_A_TIMER:
            return "waiting", said(LOOKED_AT["waits_until"], until=until) if until else LOOKED_AT["waits_unknown"]
        return "ok", said(LOOKED_AT["waited_until"], until=until) if until else LOOKED_AT["at_once"]

    def _timing(self) -> Words | None:
        timing = self.definition.get("timing")
        return in_words(timing, self.case.reader, after_previous=self.above is not None) if isinstance(timing, dict) else None

    def _at_arrival(self) -> list[Json]:
        """Where the rule asks for both moments (D5)."""
        trace = self.run.at_arrival
        if self.is_at_once or not trace:
            return []
        holds, tree = condition_tree(self.definition.get("condition"), trace, self.case.reader)
        says = LOOKED_AT["condition_at_arrival" if holds else "condition_not_at_arrival"]
        return [node("condition_at_arrival", "ok" if holds else "no", says, tree)]

    def _condition(self) -> Json:
        run, condition = self.run, self.definition.get("condition")
        if condition is None:
            return node("condition", "ok", LOOKED_AT["no_condition"])
        trace = run.trace or (run.at_arrival if self.is_at_once else ())
        holds, tree = condition_tree(condition, trace, self.case.reader)
        if not trace or run.judged_at is None:
            return node("condition", "open", LOOKED_AT["condition_open"], tree)
        says = said(LOOKED_AT["condition_holds" if holds else "condition_fails"], at=self.case.reader.moment(run.judged_at))
        return node("condition", "ok" if holds else "no", says, tree, at=run.judged_at)

    def _action(self) -> Json:
        run = self.run
        steps = [_step(step) for step in run.steps]
        if run.state == "blocked" and run.reason == "unresolved":
            return node("action", "no", said(LOOKED_AT["unresolved"], missing=(run.detail or "").removeprefix("No value for ").rstrip(".")))
        if run.state == "waiting" and run.for_action:
            return node("action", "waiting", said(LOOKED_AT["waits_for_field"], field=self.case.reader.field(run.awaited or "")))
        if not steps and (run.state not in ("succeeded", "failed", "skipped") or run.reason in (*NAMED, "field_empty")):
            return node("action", "open", LOOKED_AT["action_open"])
        state: State = "ok" if run.state in ("succeeded", "undone") else "waiting" if run.state == "running" else "no"
        sentence = LOOKED_AT["acted_because" if state == "no" else "acted"]
        return node("action", state, said(sentence, state=words.STATES[run.state], why=reason(run.reason, run.detail)), steps)

    def _end(self) -> list[Json]:
        """What ended it from outside."""
        run = self.run
        if run.state != "cancelled" or run.reason in SKIPPED_BY_RULE:
            return []
        if run.reason in ("stage_left", "element_deleted") and run.finished_at:
            sentence = LOOKED_AT["left" if run.reason == "stage_left" else "deleted"]
            return [node("end", "no", said(sentence, at=self.case.reader.moment(run.finished_at)), at=run.finished_at)]
        return [node("end", "no", said(LOOKED_AT["cancelled"], why=reason(run.reason, None)), at=run.finished_at, detail=run.detail)]


def _step(step: Any) -> Json:
    state = {"done": "ok", "asked": "waiting"}.get(step.state, "no")
    says = said(LOOKED_AT["step"], step=step.name, state=words.STEP_STATES[step.state])
    return node("step", state, says, request_id=step.request_id, attempts=step.attempts, code=step.code, detail=step.detail)


def _before_the_end(case: RuleCase) -> Sequence[Told]:
    """The visit without the events that cancelled the run."""
    own = [n for n, told in enumerate(case.events) if getattr(told.event, "rule_id", None) == case.rule_id]
    last = next((n for n in reversed(own) if isinstance(case.events[n].event, RunEnded)), len(case.events))
    dropped = [n for n in own if n < last and isinstance(case.events[n].event, TimerDropped)][-1:]
    return [told for n, told in enumerate(case.events[:last]) if n not in dropped]


def reason(code: str | None, detail: str | None) -> Words:
    """A reason in words; a code of somebody else's as it is, with his sentence."""
    name = (code or "").removeprefix("refused(").rstrip(")")
    found = words.REASONS.get(name) or words.VERDICTS.get(name)
    return found or same(f"{name}: {detail}" if detail else name)


# ------------------------------------------------------------------------------------------------ facts


def facts_of(events: Iterable[Told], reader: Reader, rule_id: str | None = None) -> Iterator[Json]:
    """What was recorded of a run, or of a decision, in order; each with the event that says so."""
    for told in events:
        event = told.event
        name = _name_of(event)
        is_own = rule_id is None or getattr(event, "rule_id", rule_id) == rule_id
        if is_own and name in words.HAPPENED and (name != "Arrived" or rule_id is None):
            yield {"at": told.at, "event_id": told.id, **said(words.HAPPENED[name], **_details(event, reader)).shown("says")}


def _name_of(event: Any) -> str:
    """What is judged because the timer fired is told as that."""
    match event:
        case Asked():
            return "Asked"
        case RunJudged(lateness_ms=int()):
            return "TimerFired"
        case _:
            return type(event).__name__


def _details(event: Any, reader: Reader) -> dict[str, Any]:
    due = getattr(event, "due_at", None)
    return {
        "due_at": reader.moment(due) if due else "",
        "step": getattr(event, "step", ""),
        "code": reason(getattr(event, "code", None), None),
        "state": words.label(words.STATES, str(getattr(event, "state", ""))),
        "outcome": words.label(words.OUTCOMES, str(getattr(event, "outcome", ""))),
    }


# ------------------------------------------------------------------------------------------------ time


def in_words(timing: Json, reader: Reader, *, after_previous: bool) -> Words:
    """A timing as a person would say it."""
    mode = next(name for name in ("after", "before", "at") if name in timing)
    anchor = str(timing[mode] or ("previous" if after_previous else "arrival"))
    named = words.ANCHORS.get(anchor) or reader.field(anchor)
    time = said(words.TIMINGS[mode], offset=_span(timing.get("offset", "0s")), anchor=named)
    if timing.get("time"):
        time = said(words.TIMINGS["time"], time=time, clock=timing["time"])
    hours = timing.get("working_hours", "none")
    return time if hours == "none" else said(words.TIMINGS[hours], time=time)


def _span(offset: str) -> Words:
    try:
        parts = parsed_offset(offset)
    except BadTime:
        return same(offset)
    named = ((count, words.UNITS[unit][count != 1]) for unit, count in parts.items())
    return joined((Words(f"{count} {unit.en}", f"{count} {unit.de}") for count, unit in named), words.AND)


# ------------------------------------------------------------------------------------------------ conditions


def condition_tree(condition: Json | None, trace: Sequence[Trace], reader: Reader) -> tuple[bool | None, list[Json]]:
    """The whole tree with what was seen at every leaf, and its verdict; None: not judged."""
    if condition is None:
        return True, []
    holds, tree = _tree(condition, iter(trace), reader)
    return holds, [tree]


def _tree(condition: Json, trace: Iterator[Trace], reader: Reader) -> tuple[bool | None, Json]:
    group = next((name for name in ("all", "any", "not") if name in condition), None)
    if group is None:
        return _leaf(condition, next(trace, None), reader)
    inside = condition[group] if group != "not" else [condition["not"]]
    found = [_tree(child, trace, reader) for child in inside]
    holds = _together(group, [verdict for verdict, _ in found])
    return holds, node(group, _state(holds), LOOKED_AT[group], (shown for _, shown in found))


def _together(group: str, verdicts: Sequence[bool | None]) -> bool | None:
    if None in verdicts:
        return None
    return all(verdicts) if group == "all" else any(verdicts) if group == "any" else not verdicts[0]


def _state(holds: bool | None) -> State:
    return "open" if holds is None else "ok" if holds else "no"


def _leaf(condition: Json, trace: Trace | None, reader: Reader) -> tuple[bool | None, Json]:
    path, op, value = str(condition["field"]), str(condition["op"]), condition.get("value")
    names = {"field": reader.field(path), "op": words.label(words.OPERATORS, op), "value": _value(value, path, op)}
    seen: Json = {"field": path, "op": op, "expected": value}
    if trace is None:
        says = joined((names[name] for name in ("field", "op") + (() if op in NO_LITERAL else ("value",))), same(" "))
        return None, node("leaf", "open", says, **seen, actual=None, verdict=None, note=None)
    _, _, _, actual, verdict, note = trace
    sentence = LOOKED_AT["leaf_alone" if op in NO_LITERAL else "leaf"]
    says = said(sentence, **names, answer=words.YES if verdict else words.NO, found=_value(actual, path, ""))
    if note is not None:
        says = said(Words("{says} ({note})", "{says} ({note})"), says=says, note=words.label(words.NOTES, note))
    culprit = said(LOOKED_AT["culprit"], **names, found=_value(actual, path, ""))
    because: Json = {"because": culprit.en.rstrip(), "because_de": culprit.de.rstrip()}
    return verdict, node("leaf", _state(verdict), says, **seen, actual=actual, verdict=verdict, note=note, **because)


def _value(value: Any, path: str, op: str) -> Words:
    if value is None:
        return same("") if op in NO_LITERAL else words.NOTHING
    if isinstance(value, bool):
        return words.YES if value else words.NO
    if isinstance(value, list | tuple):
        return joined((_value(item, path, op) for item in value), words.AND if op == "between" else same(", "))
    if isinstance(value, dict):
        return same(" ".join(str(part) for part in value.values()))
    return words.WEEKDAYS.get(str(value), same(str(value))) if normal(path) == "now.weekday" else same(str(value))


def _culprit(condition: Json, *, want: bool = True) -> Words | None:
    """What the first leaf says that made the tree false."""
    if condition["kind"] == "leaf":
        is_it = condition["verdict"] is not None and condition["verdict"] is not want
        return Words(condition["because"], condition["because_de"]) if is_it else None
    inside = want if condition["kind"] != "not" else not want
    return next((found for child in condition["children"] if (found := _culprit(child, want=inside)) is not None), None)


def said_of(trace: Trace) -> Words:
    """One comparison that was made."""
    _, (leaf,) = condition_tree({"field": trace[0], "op": trace[1], "value": trace[2]}, (trace,), Reader())
    return Words(leaf["says"], leaf["says_de"])


def culprit_of(condition: Json) -> Words:
    return _culprit(condition) or LOOKED_AT["no_culprit"]
