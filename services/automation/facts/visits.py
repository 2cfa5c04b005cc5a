"""Commands to a visit: with the constants and variables it reads as they stand at its place, and what it writes to them.

A rule that changes a variable sends no message: the write and its answer are further commands of the same item, so both commit
with the decision that asked for them (automation 5.2, D57)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from services.automation import replicas, views
from services.automation.domain import visit as vis
from services.automation.domain.action import request_id
from services.automation.domain.card import Card
from services.automation.domain.constants import VALUE, Value, WriteValue, converted
from services.automation.domain.decision import DECISION, DecisionCommand, Situation
from services.automation.domain.definition import Trigger
from services.automation.domain.visit import VISIT, Known, Visit, VisitCommand
from services.automation.facts.callbacks import Call, callback_url
from services.automation.facts.cards import Gathered, Rows
from services.automation.facts.rendering import render
from services.automation.views import NO_RULES, StageRules
from shared.es.addressed import Addressed, Facts
from shared.es.aggregate import Json
from shared.messaging.subscription import Need

NEEDS_OF_RULES: tuple[Need[StageRules, Any], ...] = (
    Need(replicas.FILES, lambda rules: rules.files),
    Need(replicas.EMPLOYEES, lambda rules: rules.people),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """What a decision of a visit rests on besides the visit."""

    card: Card
    rules: StageRules = NO_RULES

    def known(self, seen: Facts) -> Known:
        """The facts at the place of the command."""
        rules = self.rules
        values = values_in(rules.values, seen) if rules.values else NO_VALUES
        return Known(seen.now, self.card, render, rules.standing, values, answers_of(seen.tenant))


NO_VALUES: Mapping[str, Any] = {}


def answers_of(tenant: UUID) -> Callable[[str, str], str]:
    """Where the answers to webhooks called for this tenant are expected."""
    return lambda request_id, asked_at: callback_url(Call(tenant, request_id, asked_at))


def stage_of(card: Card, stage_id: str, rows: Rows) -> Stage:
    return Stage(card, rows.one(views.RULES_BY_STAGE, stage_id) or NO_RULES)


async def gathered(rows: Gathered, element_id: str, stage_id: str) -> Stage | None:
    """The same for a person's request. None: the element is not known here."""
    await rows.answer((Need(views.RULES_BY_STAGE, lambda id: [id], then=NEEDS_OF_RULES),), stage_id)
    card = await rows.card(element_id)
    return None if card is None else stage_of(card, stage_id, rows)


def values_in(ids: Iterable[str], seen: Facts) -> Mapping[str, Any]:
    """Constants and variables by path, as they stand at this place."""
    states = (seen.state(VALUE, id) for id in ids)
    return {state.path: state.value for state in states if state.state == "defined"}


def asks(visit_id: str, stage: Stage, make: Callable[[Known, Facts], VisitCommand], **own: Any) -> Iterable[Addressed[Any]]:
    """The command, then the writes it may ask for, in the order of the rules."""
    reads = tuple((VALUE, id) for id in stage.rules.values)
    yield Addressed(VISIT, visit_id, lambda seen: make(stage.known(seen), seen), reads=reads, **own)
    for rule_id, value_id in stage.rules.writes:
        yield Addressed(VALUE, value_id, _writing(visit_id, rule_id, value_id))
        yield Addressed(VISIT, visit_id, _written(visit_id, rule_id, value_id, stage), reads=reads)


def _writing(visit_id: str, rule_id: str, value_id: str) -> Callable[[Facts], WriteValue | None]:
    """Nothing, unless the step was asked and its text fits the variable."""
    request = request_id(visit_id, rule_id, "value")

    def command(seen: Facts) -> WriteValue | None:
        visit, value = seen.state(VISIT, visit_id), seen.state(VALUE, value_id)
        text = visit.write(request, value_id)
        if text is None or value.state != "defined":
            return None
        try:
            return WriteValue(converted(value.value_type, value.multiple, text), request, _origin(visit, rule_id))
        except ValueError:
            return None

    return command


def _written(visit_id: str, rule_id: str, value_id: str, stage: Stage) -> Callable[[Facts], VisitCommand | None]:
    request = request_id(visit_id, rule_id, "value")

    def command(seen: Facts) -> VisitCommand | None:
        text = seen.state(VISIT, visit_id).write(request, value_id)
        return None if text is None else _answer(seen.state(VALUE, value_id), request, text, stage.known(seen))

    return command


def _answer(value: Value, request: str, text: str, known: Known) -> VisitCommand:
    if value.last_request == request:
        return vis.Answered(request, {"before": value.last_before, "after": value.value}, known)
    if value.state != "defined":
        return vis.Refused(request, "target_missing", "The variable is gone.", known)
    return vis.Refused(request, "template_error", f"{text[:100]!r} is no {value.value_type}.", known)


def _origin(visit: Visit, rule_id: str) -> Json:
    run = visit.run(rule_id)
    version = run.rule.version if run else None
    return {"kind": "rule", "id": rule_id, "version": version, "visit_id": visit.visit_id, "chain": [*visit.chain, rule_id][-10:]}


# ------------------------------------------------------------------------------------------------ decisions


def judging(card: Card, rows: Rows) -> Judging:
    """What a decision rests on: all triggers of the element's pipeline; the decision knows which type it is about."""
    triggers = tuple(rows.all(views.TRIGGERS_BY_PIPELINE, card.pipeline.id))
    values = sorted({name.removeprefix("value:") for t in triggers for name in t.references if name.startswith("value:")})
    return Judging(card, triggers, tuple(values))


@dataclass(frozen=True, slots=True)
class Judging:
    card: Card
    triggers: tuple[Trigger, ...]
    values: tuple[str, ...]

    @property
    def reads(self) -> tuple[tuple[Any, str], ...]:
        return tuple((VALUE, id) for id in self.values)

    def situation(self, seen: Facts) -> Situation:
        """The facts at the place of the command."""
        return Situation(Known(seen.now, self.card, render, values=values_in(self.values, seen)), self.triggers)


def decides(id: str, judging: Judging | None, make: Callable[[Situation | None, Facts], DecisionCommand]) -> Addressed[Any]:
    """A command to a decision. No `judging`: the element is not known here."""
    if judging is None:
        return Addressed(DECISION, id, lambda seen: make(None, seen))
    return Addressed(DECISION, id, lambda seen: make(judging.situation(seen), seen), reads=judging.reads)
