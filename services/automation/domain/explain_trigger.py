"""Why a trigger moved an element or did not: its last decision about the element, as the same kind of tree (capability 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce

from services.automation.domain import words
from services.automation.domain.decision import Decision, Verdict, evolve
from services.automation.domain.explain import Reader, Told, answer, condition_tree, culprit_of, facts_of, node, reason, why_not_in_force
from services.automation.domain.trigger import DefinedTrigger
from services.automation.domain.words import LOOKED_AT, TRIGGER_ANSWERS, Words, said
from shared.es.aggregate import Json


@dataclass(frozen=True, slots=True)
class TriggerCase:
    """`trigger`: as it is at the moment asked for; `before`: as it was when the event came. `events`: of the last decision about
    the element that this type of trigger listens to; none, if there is none. `pipeline_id`: where the element stands."""

    trigger_id: str
    trigger: DefinedTrigger
    before: DefinedTrigger
    published_at: str | None
    events: Sequence[Told]
    definitions: Mapping[int, Json]
    names: Mapping[str, str]
    """Of all triggers by id."""
    pipeline_id: str
    reader: Reader


def explain_trigger(case: TriggerCase) -> Json:
    """`{verdict, says, says_de, version, facts, condition, time, time_de, guard, tree}` of a trigger for the last event it heard."""
    decision = reduce(evolve, (told.event for told in case.events), Decision())
    if decision.heard is None:
        return _nothing_heard(case)
    verdict = next((v for v in (decision.judged.verdicts if decision.judged else ()) if v.trigger_id == case.trigger_id), None)
    return _not_judged(case, decision) if verdict is None else _Judgement(case, decision, verdict).answer()


def _nothing_heard(case: TriggerCase) -> Json:
    verdict = "nothing_happened" if case.trigger.is_in_force else why_not_in_force("trigger", case.before, case.trigger)
    says = TRIGGER_ANSWERS[verdict]
    nodes = [_version(case, case.trigger.version), node("heard", "no", LOOKED_AT["nothing_heard"])]
    if verdict != "nothing_happened":
        nodes = [node("version", "no", says)]
    return answer(verdict, says, nodes, (), "trigger", version=case.trigger.version)


def _heard(case: TriggerCase, decision: Decision) -> Json:
    heard = decision.heard
    assert heard is not None
    what = words.label(words.SOURCE_TYPES, heard.source_type)
    says = said(LOOKED_AT["heard"], at=case.reader.moment(heard.at), what=what)
    return node("heard", "ok", says, at=heard.at, event_id=heard.source_event_id, type=heard.source_type)


def _version(case: TriggerCase, version: int) -> Json:
    return node("version", "ok", said(LOOKED_AT["version"], version=version), version=version)


def _not_judged(case: TriggerCase, decision: Decision) -> Json:
    """It was no candidate, or nothing was judged yet."""
    facts = list(facts_of(case.events, case.reader))
    heard = _heard(case, decision)
    if decision.judged is None:
        verdict = "waiting" if decision.waits else "unresolved"
        says = said(TRIGGER_ANSWERS[verdict], why=TRIGGER_ANSWERS["waiting"] if decision.reason else "")
        nodes = [heard, node("element", "waiting" if decision.waits else "no", says)]
        return answer(verdict, says, nodes, facts, "trigger", version=case.trigger.version)
    other = case.trigger.pipeline_id != case.pipeline_id
    verdict = "other_pipeline" if other else why_not_in_force("trigger", case.before, case.trigger)
    says = TRIGGER_ANSWERS[verdict]
    later = said(LOOKED_AT["trigger_published_later"], at=case.reader.moment(case.published_at)) if case.published_at else says
    nodes = [heard, node("version", "no", later if verdict == "trigger_added_later" else says)]
    return answer(verdict, says, nodes, facts, "trigger", version=case.trigger.version)


REFUSED = ("ignored", "unresolved")
IS_SO = {"loop": "loop_blocked"}
STOPS = ("element_deleted", "other_pipeline", "loop", "not_in_scope", "condition_false", "target")
"""What is looked at, in order: whatever comes behind the one where it stopped was not reached."""


@dataclass(frozen=True, slots=True)
class _Judgement:
    case: TriggerCase
    decision: Decision
    verdict: Verdict

    @property
    def stopped(self) -> str:
        """Where it ended, of STOPS; nothing if it could have moved the element."""
        if self.verdict.verdict in ("won", "outranked"):
            return ""
        return self.verdict.verdict if self.verdict.verdict in STOPS else "target"

    def answer(self) -> Json:
        condition = self._condition()
        nodes = [_heard(self.case, self.decision), _version(self.case, self.verdict.version), self._guard(), self._scope(), condition]
        nodes += [self._target(), *self._rank(), self._move()]
        name = self._name()
        values = {"culprit": culprit_of(condition), "by": self._by(), "why": self._why()}
        says = said(TRIGGER_ANSWERS[name if name in TRIGGER_ANSWERS else "ignored"], **values)
        guard = "loop" if self.stopped == "loop" else None
        facts = facts_of(self.case.events, self.case.reader)
        more = {"version": self.verdict.version, "condition": condition, "guard": guard, "decision": self._record()}
        return answer(name, says, nodes, list(facts), "trigger", **more)

    def _record(self) -> Json:
        judged, heard = self.decision.judged, self.decision.heard
        assert judged is not None and heard is not None
        verdicts = [
            {"trigger_id": v.trigger_id, "name": self.case.names.get(v.trigger_id), "version": v.version, "verdict": v.verdict, "by": v.by}
            for v in judged.verdicts
        ]
        return {"id": heard.decision_id, "visit_id": judged.visit_id, "order_version": judged.order_version, "verdicts": verdicts}

    def _name(self) -> str:
        verdict, status = self.verdict.verdict, self.decision.status
        if verdict != "won":
            return IS_SO.get(verdict, verdict)
        return {"moved": "ran", "ignored": "move_refused", "unresolved": "unresolved"}.get(status, "moving")

    def _by(self) -> str:
        return self.case.names.get(self.verdict.by or "", self.verdict.by or "")

    def _why(self) -> Words:
        if self.verdict.verdict == "won":
            return reason(self.decision.reason, None)
        return words.VERDICTS.get(self.verdict.verdict) or reason(self.verdict.verdict, None)

    def _reached(self, stop: str) -> bool:
        return not self.stopped or STOPS.index(self.stopped) >= STOPS.index(stop)

    # ---- what was looked at

    def _guard(self) -> Json:
        if self.stopped in ("loop", "element_deleted", "other_pipeline"):
            says = said(LOOKED_AT["guard" if self.stopped == "loop" else "target_no"], why=words.VERDICTS[self.stopped])
            return node("guard", "no", says, code=self.stopped)
        return node("guard", "ok", LOOKED_AT["no_guard"])

    def _scope(self) -> Json:
        state = "open" if not self._reached("not_in_scope") else "no" if self.stopped == "not_in_scope" else "ok"
        return node("scope", state, LOOKED_AT[{"no": "not_in_scope", "ok": "in_scope"}.get(state, "scope_open")])

    def _condition(self) -> Json:
        condition = (self.case.definitions.get(self.verdict.version) or {}).get("condition")
        if condition is None:
            return node("condition", "ok", LOOKED_AT["no_condition"])
        trace = self.verdict.trace if self._reached("condition_false") else ()
        holds, tree = condition_tree(condition, trace, self.case.reader)
        judged = self.decision.judged
        assert judged is not None
        if not trace:
            return node("condition", "open", LOOKED_AT["condition_open"], tree)
        says = said(LOOKED_AT["condition_holds" if holds else "condition_fails"], at=self.case.reader.moment(judged.at))
        return node("condition", "ok" if holds else "no", says, tree, at=judged.at)

    def _target(self) -> Json:
        if not self._reached("target"):
            return node("target", "open", LOOKED_AT["target_open"])
        if self.stopped == "target":
            return node("target", "no", said(LOOKED_AT["target_no"], why=self._why()), code=self.verdict.verdict)
        return node("target", "ok", LOOKED_AT["target_ahead"])

    def _rank(self) -> list[Json]:
        judged = self.decision.judged
        assert judged is not None
        if self.stopped:
            return []
        if self.verdict.verdict == "outranked":
            return [node("rank", "no", said(LOOKED_AT["outranked"], by=self._by()), by=self.verdict.by)]
        able = sum(v.verdict in ("won", "outranked") for v in judged.verdicts)
        return [node("rank", "ok", said(LOOKED_AT["nearest"], count=able))]

    def _move(self) -> Json:
        name = self._name()
        if name == "ran":
            return node("move", "ok", LOOKED_AT["moved"])
        if name == "moving":
            return node("move", "waiting", LOOKED_AT["move_asked"])
        if self.verdict.verdict == "won":
            return node("move", "no", said(LOOKED_AT["move_refused"], why=self._why()), code=self.decision.reason)
        return node("move", "open", LOOKED_AT["no_move"])
