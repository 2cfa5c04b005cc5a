"""What automation says and is asked (domain/automation.md section 10). Key: the element for runs and decisions, else the aggregate."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import TypeAdapter

from shared.contracts.common import Answer, ElementRef, Fact, GivenElement, Instant, Map, Rejection, Request, Text, Uuid, Value
from shared.messaging.contract import Command

COMMANDS = "automation.commands"
EVENTS = "automation.events"


# Commands


class CallTrigger(Request, type="automation.CallTrigger.v1", topic=COMMANDS, key=("element.element_id",)):
    """Something happened elsewhere; conditions read `payload` as `event.<name>`. Answer: TriggerDecided.

    With `app_code`, `code` is that of a trigger which the app has registered."""

    code: Text
    element: GivenElement
    payload: Map
    app_code: Text | None = None


class ExternalEvent(Command, topic=COMMANDS):
    """A CloudEvent of a type that is none of ours, published by another program; `data` is its whole body, a JSON object.

    It has no type here: triggers name the types they listen to. What no trigger names is refused (`unknown_type`)."""

    data: Map

    @classmethod
    def read(cls, data: bytes) -> Self:
        return cls(data=ANY_OBJECT.validate_json(data))


ANY_OBJECT = TypeAdapter(Map)


class StopStageRules(Request, type="automation.StopStageRules.v1", topic=COMMANDS, key=("element.element_id",)):
    """Cancel what still waits in a visit; null is the current one (G26). Answer: RunCancelled, one per run."""

    element: GivenElement
    visit_id: Uuid | None = None


class RetryRun(Request, type="automation.RetryRun.v1", topic=COMMANDS, key=("element.element_id",)):
    """Run again what failed; steps that are done stay done (D38). Answer: the run's event."""

    element: GivenElement
    run_id: Uuid
    retry_from: Literal["step", "start"]
    version: Literal["old", "current"]


class CancelRun(Request, type="automation.CancelRun.v1", topic=COMMANDS, key=("element.element_id",)):
    """Cancel a run that waits. Answer: RunCancelled."""

    element: GivenElement
    run_id: Uuid
    reason: Text


class DisableRule(Request, type="automation.DisableRule.v1", topic=COMMANDS, key=("rule_id",)):
    """Switch a rule off. Answer: RuleDisabled."""

    rule_id: Uuid
    cancel_waiting: bool


# Definitions


class Rollout(Value):
    """`mode`: live, shadow. `percent` of visits that get a live version."""

    mode: str
    percent: int | None = None


class RulePublished(Fact, type="automation.RulePublished.v1", topic=EVENTS, key=("rule_id",)):
    """A version of a rule is in force. `waiting`: keep, migrate, cancel; `past`: run, drop. Heard by automation, deals, outside."""

    rule_id: Uuid
    version: int
    rule_type: str
    rule_key: str
    name: str
    element_type: str
    pipeline_id: Uuid
    stage_id: Uuid
    owner_id: Uuid
    definition: Map
    waiting: str
    past: str
    rollout: Rollout


class RuleDisabled(Answer, type="automation.RuleDisabled.v1", topic=EVENTS, key=("rule_id",)):
    """A rule is off. Heard by automation."""

    rule_id: Uuid
    version: int
    cancel_waiting: bool
    owner_id: Uuid


class RuleEnabled(Fact, type="automation.RuleEnabled.v1", topic=EVENTS, key=("rule_id",)):
    """A rule is on again. Heard by outside."""

    rule_id: Uuid
    version: int
    owner_id: Uuid


class RuleDeleted(Fact, type="automation.RuleDeleted.v1", topic=EVENTS, key=("rule_id",)):
    """A rule is gone; its history stays (D4). Heard by automation."""

    rule_id: Uuid
    version: int
    owner_id: Uuid


class RuleInvalidated(Fact, type="automation.RuleInvalidated.v1", topic=EVENTS, key=("rule_id",)):
    """Something a rule needs disappeared (D59). Heard by notifications."""

    rule_id: Uuid
    owner_id: Uuid
    code: str
    detail: str


class TriggerFact(Fact):
    """A trigger with its target stage."""

    trigger_id: Uuid
    version: int
    trigger_type: str
    name: str
    pipeline_id: Uuid
    stage_id: Uuid
    definition: Map


class TriggerPublished(TriggerFact, type="automation.TriggerPublished.v1", topic=EVENTS, key=("trigger_id",)):
    """A version of a trigger is in force. Heard by deals, outside."""


class TriggerDisabled(TriggerFact, type="automation.TriggerDisabled.v1", topic=EVENTS, key=("trigger_id",)):
    """A trigger is off. Heard by outside."""


class TriggerDeleted(TriggerFact, type="automation.TriggerDeleted.v1", topic=EVENTS, key=("trigger_id",)):
    """A trigger is gone. Heard by outside."""


class TriggerInvalidated(Fact, type="automation.TriggerInvalidated.v1", topic=EVENTS, key=("trigger_id",)):
    """Something a trigger needs disappeared (D59). Heard by notifications."""

    trigger_id: Uuid
    owner_id: Uuid
    code: str
    detail: str


class ValueChanged(Fact, type="automation.ValueChanged.v1", topic=EVENTS, key=("value_id",)):
    """A constant or variable has a new value. `value_kind`: constant, variable. Heard by outside."""

    value_id: Uuid
    code: str
    value_kind: str
    before: Any = None
    after: Any = None


# Runs


class RunFact(Answer):
    """Which run of which rule in which visit."""

    run_id: Uuid
    visit_id: Uuid
    element: ElementRef
    rule_id: Uuid
    rule_version: int
    rule_type: str
    rule_name: str
    rule_owner_id: Uuid
    stage_id: Uuid


class RunStep(Value):
    """One effect of a run. `state`: asked, done, refused, failed."""

    name: str
    state: str
    request_id: Uuid
    code: str | None = None


class RefusedStep(Value):
    """A step that could not be undone, and why."""

    step: str
    code: str


class RunScheduled(RunFact, type="automation.RunScheduled.v1", topic=EVENTS, key=("element.element_id",)):
    """A run has to wait. Heard by deals."""

    triggered_at: Instant
    due_at: Instant | None = None
    waiting_for: str


class RunCompleted(RunFact, type="automation.RunCompleted.v1", topic=EVENTS, key=("element.element_id",)):
    """All steps of a run are answered. `outcome`: succeeded, partial, failed. Heard by deals, notifications."""

    outcome: str
    code: str | None = None
    detail: str | None = None
    steps: tuple[RunStep, ...]
    lateness_ms: int | None = None


class RunSkipped(RunFact, type="automation.RunSkipped.v1", topic=EVENTS, key=("element.element_id",)):
    """A run decided not to act; for condition_false the detail names the operand that failed. Heard by deals."""

    reason: str
    detail: str | None = None


class RunCancelled(RunFact, type="automation.RunCancelled.v1", topic=EVENTS, key=("element.element_id",)):
    """A run will not act any more. Heard by deals."""

    reason: str
    detail: str | None = None


class RunBlocked(RunFact, type="automation.RunBlocked.v1", topic=EVENTS, key=("element.element_id",)):
    """A run is held back until somebody helps. Heard by deals, notifications."""

    reason: str
    detail: str | None = None


class RunMissed(RunFact, type="automation.RunMissed.v1", topic=EVENTS, key=("element.element_id",)):
    """A run came too late to act unasked (D7). Heard by deals, notifications."""

    due_at: Instant
    found_at: Instant


class RunUndone(RunFact, type="automation.RunUndone.v1", topic=EVENTS, key=("element.element_id",)):
    """The effects of a run were reversed where possible. Heard by deals."""

    reversed: tuple[str, ...]
    refused: tuple[RefusedStep, ...]


# Decisions


class Verdict(Value):
    """What was found of one candidate; `by` is the trigger that outranked it."""

    trigger_id: Uuid
    verdict: str
    by: Uuid | None = None


class TriggerDecided(Answer, type="automation.TriggerDecided.v1", topic=EVENTS, key=("element.element_id", "decision_id")):
    """What one event meant for one element; no element while its invoice has no deal.

    `outcome`: moved, ignored, unresolved. Heard by deals, notifications."""

    decision_id: Uuid
    element: ElementRef | None = None
    source_event_id: str
    source_type: str
    outcome: str
    reason: str | None = None
    trigger_id: Uuid | None = None
    target_stage_id: Uuid | None = None
    order_version: int | None = None
    verdicts: tuple[Verdict, ...]
    responsible_id: Uuid | None = None
    pipeline_owner_id: Uuid | None = None
    acting_fallback: bool


class CommandRejected(Rejection, type="automation.CommandRejected.v1", topic=EVENTS, key=("record_key",)):
    """Automation refused a command. Heard by outside."""
