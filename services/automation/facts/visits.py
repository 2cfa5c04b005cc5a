"""Commands to a visit: with the constants and variables it reads as they stand at its place, and what it writes to them.

A rule that changes a variable sends no message: the write and its answer are further commands of the same item, so both commit
with the decision that asked for them (automation 5.2, D57)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from services.automation import replicas, views
from services.automation.domain import visit as vis
from services.automation.domain.action import request_id
from services.automation.domain.card import Card
from services.automation.domain.constants import VALUE, Value, WriteValue, converted
from services.automation.domain.visit import VISIT, Known, Visit, VisitCommand
from services.automation.facts.cards import Gathered, Rows, standing_of
from services.automation.facts.rendering import render
from services.automation.views import StageRule
from shared.es.addressed import Addressed, Facts
from shared.es.aggregate import Json
from shared.messaging.subscription import Need

NEEDS_OF_RULE: tuple[Need[StageRule, Any], ...] = (
    Need(replicas.FILES, StageRule.files),
    Need(views.VALUES_WRITTEN, lambda rule: [rule.rule_id] if rule.rule_type == "change_variable" else []),
)


@dataclass(frozen=True, slots=True)
class Stage:
    """What a decision of a visit rests on besides the visit. `writes`: (rule id, value id)."""

    card: Card
    rules: tuple[StageRule, ...] = ()
    standing: Mapping[str, str] | None = None
    values: tuple[str, ...] = ()
    writes: tuple[tuple[str, str], ...] = ()

    def known(self, seen: Facts) -> Known:
        """The facts at the place of the command."""
        card = replace(self.card, values=_values(self.card.values, self.values, seen)) if self.values else self.card
        return Known(seen.now, card, render, self.standing or {})


def stage_of(card: Card, stage_id: str, rows: Rows) -> Stage:
    """The stage of a visit: its rules, what they read and write, which of their files are gone."""
    rules = tuple(rows.all(views.RULES_BY_STAGE, stage_id))
    gone = frozenset(file for rule in rules for file in rule.files() if _is_gone(rows.one(replicas.FILES, file)))
    values = tuple(sorted({id for rule in rules for id in rule.values()}))
    return Stage(replace(card, removed_files=gone) if gone else card, rules, standing_of(rules), values, tuple(_writes(rules, rows)))


async def gathered(rows: Gathered, element_id: str, stage_id: str) -> Stage | None:
    """The same for a person's request. None: the element is not known here."""
    await rows.rules(stage_id, NEEDS_OF_RULE)
    card = await rows.card(element_id)
    return None if card is None else stage_of(card, stage_id, rows)


def _is_gone(file: replicas.FileRow | None) -> bool:
    return file is None or file.removed


def _writes(rules: Iterable[StageRule], rows: Rows) -> Iterable[tuple[str, str]]:
    for rule in rules:
        if rule.rule_type == "change_variable":
            yield from ((rule.rule_id, value_id) for value_id in rows.all(views.VALUES_WRITTEN, rule.rule_id))


def _values(before: Mapping[str, Any], ids: Iterable[str], seen: Facts) -> Mapping[str, Any]:
    states = (seen.state(VALUE, id) for id in ids)
    return {**before, **{state.path: state.value for state in states if state.state == "defined"}}


def asks(visit_id: str, stage: Stage, make: Callable[[Known, Facts], VisitCommand], **own: Any) -> Iterable[Addressed[Any]]:
    """The command, then the writes it may ask for, in the order of the rules."""
    reads = tuple((VALUE, id) for id in stage.values)
    yield Addressed(VISIT, visit_id, lambda seen: make(stage.known(seen), seen), reads=reads, **own)
    for rule_id, value_id in stage.writes:
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
