"""Trigger decision: what one event elsewhere means for one element (automation 2.5, 4; D14-D20, D30, D33).

One stream per source event and element. It records every candidate with its verdict and asks for at most one move. An event
whose element or link is not known yet waits here, not as a parked key: the missing fact would queue behind it (D19, F7)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from services.automation.domain import condition, people
from services.automation.domain.card import Card, Scope
from services.automation.domain.condition import Trace
from services.automation.domain.definition import Trigger
from services.automation.domain.ids import derived
from services.automation.domain.listening import listens
from services.automation.domain.visit import Known
from shared.es.aggregate import Aggregate, Json
from shared.es.errors import Rejected

MOST_JUDGEMENTS = 5
MOST_IN_CHAIN = 10
FIRST_LOOK = {"minutes": 1}
"""After that the element is looked for once more: two transactions that did not see each other are found out."""
LONGEST_WAIT = {"hours": 24}


def decision_id(source_event_id: str, element_id: str) -> str:
    """One decision per event and element."""
    return derived(source_event_id, element_id)


def foreign_decision_id(source: str, event_id: str, element_id: str) -> str:
    """The same for another program's event, whose id is any text and unique only with its source."""
    return derived(element_id, f"event/{source}\n{event_id}")


def unlinked_id(invoice_id: str, trigger_type: str, epoch: int) -> str:
    """Of an invoice that has no deal: the link names invoice and paid epoch, and finds the decision without looking it up."""
    return derived(invoice_id, f"unlinked/{trigger_type}/{epoch}")


# ------------------------------------------------------------------------------------------------ commands


@dataclass(frozen=True, slots=True)
class Situation:
    """What a judgement rests on: the element as it is now, and the triggers of its pipeline for this event."""

    known: Known
    triggers: tuple[Trigger, ...]

    @property
    def card(self) -> Card:
        return self.known.card


@dataclass(frozen=True, slots=True)
class Hear:
    """Something happened. `facts` is what conditions read as `event.<name>`; `invoice_id` where the event is about one.

    No `element_id`: the invoice has no deal yet. No `situation`: the element is not known here yet."""

    decision_id: str
    source_event_id: str
    source_type: str
    trigger_type: str
    facts: Json
    chain: tuple[str, ...]
    at: str
    element_type: str = "deal"
    element_id: str | None = None
    invoice_id: str | None = None
    situation: Situation | None = None


@dataclass(frozen=True, slots=True)
class Learn:
    """The element, or the link to it, is known now. No `situation`: the link is known, its element is not."""

    element_id: str
    situation: Situation | None
    at: str


@dataclass(frozen=True, slots=True)
class MoveRefused:
    """deals said no. `visit_changed`: judge again on the newer state (F6, D18)."""

    code: str
    situation: Situation | None
    at: str


@dataclass(frozen=True, slots=True)
class Moved:
    at: str


@dataclass(frozen=True, slots=True)
class LookAgain:
    """The timer rang: the fact is there by now, or it is waited for until 24 hours are over, or it is given up."""

    timer_id: str
    situation: Situation | None
    at: str


@dataclass(frozen=True, slots=True)
class JudgeByHand:
    """A person has an unresolved one judged after all."""

    situation: Situation


DecisionCommand = Hear | Learn | MoveRefused | Moved | LookAgain | JudgeByHand

# ------------------------------------------------------------------------------------------------ events


@dataclass(frozen=True, slots=True)
class Heard:
    decision_id: str
    source_event_id: str
    source_type: str
    trigger_type: str
    facts: Json
    chain: tuple[str, ...]
    at: str
    element_type: str
    element_id: str | None = None
    invoice_id: str | None = None


@dataclass(frozen=True, slots=True)
class FactAwaited:
    """`missing`: element, link. `last`: when the timer rings again it is given up. `about`: the element, else the decision itself."""

    missing: str
    timer_id: str
    about: str
    at: str
    element_id: str | None = None
    last: bool = True


@dataclass(frozen=True, slots=True)
class WaitingEnded:
    timer_id: str
    about: str


@dataclass(frozen=True, slots=True)
class LinkedTooLate:
    """The link came after it was given up: nothing moves by itself, but a person knows now what to judge it on (D19, D33)."""

    element_id: str


@dataclass(frozen=True, slots=True)
class Verdict:
    trigger_id: str
    version: int
    verdict: str
    by: str | None = None
    trace: tuple[Trace, ...] = ()


@dataclass(frozen=True, slots=True)
class Judged:
    """Every candidate's verdict, on the order of stages and the visit of that moment (D61)."""

    element_id: str
    visit_id: str
    order_version: int
    verdicts: tuple[Verdict, ...]
    at: str
    responsible_id: str | None = None
    pipeline_owner_id: str | None = None


@dataclass(frozen=True, slots=True)
class MoveAsked:
    trigger_id: str
    version: int
    element_type: str
    element_id: str
    stage_id: str
    if_visit_id: str
    actor: str
    acting_fallback: bool
    chain: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class DecisionEnded:
    """`outcome`: moved, ignored, unresolved."""

    outcome: str
    at: str
    reason: str | None = None


DecisionEvent = Heard | FactAwaited | WaitingEnded | LinkedTooLate | Judged | MoveAsked | DecisionEnded

# ------------------------------------------------------------------------------------------------ state

Status = Literal["none", "waiting_for_element", "waiting_for_link", "judged", "moving", "moved", "ignored", "unresolved"]


@dataclass(frozen=True, slots=True)
class Decision:
    status: Status = "none"
    heard: Heard | None = None
    element_id: str | None = None
    timer_id: str | None = None
    about: str | None = None
    last: bool = False
    judged: Judged | None = None
    judgements: int = 0
    move: MoveAsked | None = None
    reason: str | None = None

    @property
    def waits(self) -> bool:
        return self.status in ("waiting_for_element", "waiting_for_link")

    @property
    def outcome(self) -> str | None:
        return self.status if self.status in ("moved", "ignored", "unresolved") else None


# ------------------------------------------------------------------------------------------------ decide


def decide(decision: Decision, command: DecisionCommand) -> Sequence[DecisionEvent]:
    """What is late, repeated or foreign decides nothing."""
    if isinstance(command, Hear):
        return _hear(command) if decision.status == "none" else []
    if decision.status == "none":
        if isinstance(command, JudgeByHand):
            raise Rejected("not_found", "There is no such decision.", status=404)
        return []
    match command:
        case Learn() if decision.waits:
            return _learn(decision, command)
        case Learn(element_id=element) if decision.status == "unresolved" and decision.element_id is None:
            return [LinkedTooLate(element)]
        case MoveRefused() if decision.status == "moving":
            return _after_refusal(decision, command)
        case Moved(at=at) if decision.status == "moving":
            return [DecisionEnded("moved", at)]
        case LookAgain(timer_id=timer) if decision.waits and decision.timer_id == timer:
            return _look_again(decision, command)
        case JudgeByHand(situation=situation):
            if decision.status != "unresolved":
                raise Rejected("not_unresolved", f"The decision is {decision.status}.")
            return _judge(decision, situation)
        case _:
            return []


def _hear(c: Hear) -> Sequence[DecisionEvent]:
    source = (c.decision_id, c.source_event_id, c.source_type, c.trigger_type)
    heard = Heard(*source, c.facts, c.chain, c.at, c.element_type, c.element_id, c.invoice_id)
    state = evolve(Decision(), heard)
    if c.element_id is None:
        return [heard, FactAwaited("link", _timer(c.decision_id, last=True), c.decision_id, c.at)]
    if c.situation is None:
        return [heard, FactAwaited("element", _timer(c.decision_id, last=False), c.element_id, c.at, last=False)]
    return [heard, *_judge(state, c.situation)]


def _timer(decision: str, *, last: bool) -> str:
    return derived(decision, "timer/give-up" if last else "timer/look-again")


def _look_again(decision: Decision, c: LookAgain) -> Sequence[DecisionEvent]:
    """Called back once after a minute, the second time after 24 hours (D19)."""
    if c.situation is not None:
        return _judge(decision, c.situation)
    if decision.last:
        return [DecisionEnded("unresolved", c.at, decision.status)]
    heard = decision.heard
    assert heard is not None
    missing = decision.status.removeprefix("waiting_for_")
    return [FactAwaited(missing, _timer(heard.decision_id, last=True), decision.about or heard.decision_id, heard.at)]


def _learn(decision: Decision, c: Learn) -> Sequence[DecisionEvent]:
    """A link to an element that is not known yet: the same wait goes on for the element."""
    if c.situation is not None:
        return [*_no_longer_waiting(decision), *_judge(decision, c.situation)]
    if decision.status == "waiting_for_element":
        return []
    return [FactAwaited("element", decision.timer_id or "", decision.about or "", c.at, c.element_id)]


def _no_longer_waiting(decision: Decision) -> Sequence[DecisionEvent]:
    return [WaitingEnded(decision.timer_id, decision.about or "")] if decision.timer_id else []


def _after_refusal(decision: Decision, c: MoveRefused) -> Sequence[DecisionEvent]:
    if c.code != "visit_changed":
        return [DecisionEnded("ignored", c.at, c.code)]
    if c.situation is None or decision.judgements >= MOST_JUDGEMENTS:
        return [DecisionEnded("unresolved", c.at, "visit_changed")]
    return _judge(decision, c.situation)


def _judge(decision: Decision, situation: Situation) -> Sequence[DecisionEvent]:
    """Every candidate's verdict, and the winner's move."""
    heard, card, at = decision.heard, situation.card, situation.known.at
    assert heard is not None
    scope = Scope(card, situation.known.now, card.arrived_at, event=heard.facts, values=situation.known.values)
    candidates = [t for t in situation.triggers if t.trigger_type == heard.trigger_type]
    verdicts = _ranked([_verdict(t, heard, scope, situation) for t in candidates], situation)
    judged = Judged(
        card.element_id,
        card.visit_id,
        card.pipeline.order_version,
        tuple(verdicts),
        at,
        card.responsible_id,
        card.pipeline.owner_id,
    )
    winner = next((v.trigger_id for v in verdicts if v.verdict == "won"), None)
    if winner is None:
        return [judged, DecisionEnded("ignored", at, _best_reason(verdicts))]
    trigger = next(t for t in situation.triggers if t.trigger_id == winner)
    return [judged, _move(trigger, heard, card)]


def _move(trigger: Trigger, heard: Heard, card: Card) -> MoveAsked:
    """In the name of the trigger's acting user, else of who stands in for him (D20)."""
    fallback = trigger.references.get(trigger.fallback_user) if trigger.fallback_user else None
    chosen = people.acting(trigger.acting_user, trigger.owner_id, fallback, card, trigger.references.get(trigger.acting_user))
    return MoveAsked(
        trigger.trigger_id,
        trigger.version,
        card.element_type,
        card.element_id,
        trigger.stage_id,
        card.visit_id,
        people.actor(chosen),
        chosen.fallback,
        (*heard.chain, trigger.trigger_id)[-MOST_IN_CHAIN:],
    )


REASONS = ("past_target", "final_stage", "already_there", "condition_false", "not_in_scope", "loop", "other_pipeline")


def _best_reason(verdicts: Sequence[Verdict]) -> str:
    """Of the candidate that came nearest to moving."""
    found = {v.verdict for v in verdicts}
    return next((reason for reason in REASONS if reason in found), "no_candidate" if not verdicts else verdicts[0].verdict)


# ------------------------------------------------------------------------------------------------ verdicts


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A verdict, or the way a trigger would move: ahead or behind, and how far in the pipeline's order."""

    trigger: Trigger
    verdict: str = ""
    trace: tuple[Trace, ...] = ()
    ahead: bool = True
    rank: tuple[int, int] = (0, 0)


def _verdict(trigger: Trigger, heard: Heard, scope: Scope, situation: Situation) -> _Candidate:
    card = situation.card
    if card.deleted:
        return _Candidate(trigger, "element_deleted")
    if trigger.pipeline_id != card.pipeline.id:
        return _Candidate(trigger, "other_pipeline")
    if trigger.trigger_id in heard.chain or len(heard.chain) >= MOST_IN_CHAIN:
        return _Candidate(trigger, "loop")
    if not listens(trigger, heard):
        return _Candidate(trigger, "not_in_scope")
    render = situation.known.render
    seen = condition.evaluate(trigger.condition, scope, lambda template: render(template, scope).text)
    if not seen.holds:
        return _Candidate(trigger, "condition_false", seen.trace)
    return _direction(trigger, card, seen.trace)


def _direction(trigger: Trigger, card: Card, trace: tuple[Trace, ...]) -> _Candidate:
    """Process stages by position, then success, then failure; from failure everything lies behind (D14, D15)."""
    here, there = card.pipeline.rank(card.stage_id), card.pipeline.rank(trigger.stage_id)
    if trigger.stage_id == card.stage_id:
        return _Candidate(trigger, "already_there", trace)
    if here is None or there is None:
        return _Candidate(trigger, "target_missing", trace)
    if card.stage_kind in ("success", "failure"):
        allowed = trigger.allow_back and trigger.allow_reopen
        return _Candidate(trigger, "" if allowed else "final_stage", trace, False, there)
    if there > here:
        return _Candidate(trigger, "", trace, True, there)
    return _Candidate(trigger, "" if trigger.allow_back else "past_target", trace, False, there)


def _ranked(candidates: Sequence[_Candidate], situation: Situation) -> list[Verdict]:
    """The earliest stage ahead wins (pipeline option: the furthest); none ahead: the nearest behind; ties by list order (D17)."""
    able = [c for c in candidates if not c.verdict]
    ahead = [c for c in able if c.ahead]
    furthest = situation.card.pipeline.trigger_choice == "furthest"
    winner: _Candidate | None
    if ahead:
        winner = (max if furthest else min)(ahead, key=lambda c: (c.rank, -c.trigger.position if furthest else c.trigger.position))
    else:
        winner = max(able, key=lambda c: (c.rank, -c.trigger.position)) if able else None
    return [_final(c, winner) for c in candidates]


def _final(c: _Candidate, winner: _Candidate | None) -> Verdict:
    t = c.trigger
    if c.verdict or winner is None:
        return Verdict(t.trigger_id, t.version, c.verdict, trace=c.trace)
    if c is winner:
        return Verdict(t.trigger_id, t.version, "won", trace=c.trace)
    return Verdict(t.trigger_id, t.version, "outranked", winner.trigger.trigger_id, c.trace)


# ------------------------------------------------------------------------------------------------ evolve


def evolve(decision: Decision, event: DecisionEvent) -> Decision:
    match event:
        case Heard():
            return Decision("judged", event, event.element_id)
        case FactAwaited():
            waiting: Status = "waiting_for_link" if event.missing == "link" else "waiting_for_element"
            element = event.element_id or decision.element_id
            return replace(decision, status=waiting, timer_id=event.timer_id, about=event.about, element_id=element, last=event.last)
        case LinkedTooLate(element_id=element):
            return replace(decision, element_id=element)
        case WaitingEnded():
            return replace(decision, status="judged", timer_id=None)
        case Judged():
            judged = replace(decision, status="judged", element_id=event.element_id, judged=event, reason=None, timer_id=None)
            return replace(judged, judgements=decision.judgements + 1)
        case MoveAsked():
            return replace(decision, status="moving", move=event)
        case DecisionEnded(outcome=outcome, reason=reason):
            ended: Status = "moved" if outcome == "moved" else "ignored" if outcome == "ignored" else "unresolved"
            return replace(decision, status=ended, reason=reason)
        case _:
            return decision


DECISION: Aggregate[Decision, DecisionCommand, DecisionEvent] = Aggregate(
    name="decision",
    initial=Decision(),
    decide=decide,
    evolve=evolve,
    events=(Heard, FactAwaited, WaitingEnded, LinkedTooLate, Judged, MoveAsked, DecisionEnded),
)
