"""A plan of changes is kept until it is applied, once, on what it was made for (rule-format 9)."""

from __future__ import annotations

from services.automation.domain.plan import PLAN, ApplyPlan, MakePlan, PlanApplied, PlanMade
from shared.testing.given import given

CHANGES = ({"id": "a", "before": None}, {"id": "b", "before": "x"})


def test_a_plan_is_applied_once_on_what_it_saw() -> None:
    given(PLAN).when(MakePlan(CHANGES)).then(PlanMade(CHANGES))
    made = given(PLAN, PlanMade(CHANGES))
    made.when(ApplyPlan({"b": "x"})).then(PlanApplied())
    made.when(ApplyPlan({"a": "there now", "b": "x"})).refused("plan_outdated")
    made.when(ApplyPlan({"b": "y"})).refused("plan_outdated")
    made.when(MakePlan(CHANGES)).nothing_happens()
    given(PLAN, PlanMade(CHANGES), PlanApplied()).when(ApplyPlan({"b": "x"})).refused("plan_applied")
    given(PLAN).when(ApplyPlan({})).refused("not_found")
