"""Plan: what a text of rules would change, kept until it is applied (rule-format 9). Bound to what was there when it was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from shared.es.aggregate import Aggregate, Json
from shared.es.errors import Rejected


@dataclass(frozen=True, slots=True)
class MakePlan:
    """`changes`: one per rule, trigger and value: kind, id, key, change, before (fingerprint), and what to publish."""

    changes: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class ApplyPlan:
    """`now`: fingerprints by id as they stand; a difference means that somebody was faster."""

    now: Json


PlanCommand = MakePlan | ApplyPlan


@dataclass(frozen=True, slots=True)
class PlanMade:
    changes: tuple[Json, ...]


@dataclass(frozen=True, slots=True)
class PlanApplied:
    pass


PlanEvent = PlanMade | PlanApplied


@dataclass(frozen=True, slots=True)
class Plan:
    state: Literal["none", "made", "applied"] = "none"
    changes: tuple[Json, ...] = ()


def decide(plan: Plan, command: PlanCommand) -> Sequence[PlanEvent]:
    match command:
        case MakePlan(changes=changes):
            return [PlanMade(changes)] if plan.state == "none" else []
        case ApplyPlan(now=now):
            if plan.state == "none":
                raise Rejected("not_found", "There is no such plan.", status=404)
            if plan.state == "applied":
                raise Rejected("plan_applied", "This plan was applied already.")
            if any(now.get(change["id"]) != change["before"] for change in plan.changes):
                raise Rejected("plan_outdated", "Something the plan touches has changed since: make a new one.")
            return [PlanApplied()]
        case _:
            assert_never(command)


def evolve(plan: Plan, event: PlanEvent) -> Plan:
    match event:
        case PlanMade(changes=changes):
            return Plan("made", changes)
        case PlanApplied():
            return replace(plan, state="applied")
        case _:
            assert_never(event)


PLAN: Aggregate[Plan, PlanCommand, PlanEvent] = Aggregate("plan", Plan(), decide, evolve, (PlanMade, PlanApplied))
