"""Rule: one kind of action on one stage, with drafts and versions (automation 2.1). One file: commands, events, state, decide, evolve.

Whether a definition is in order is checked outside (domain/check.py) on the pipelines and people of that moment; PublishRule
brings the findings, and errors among them refuse it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from shared.es.aggregate import Aggregate, Json
from shared.es.errors import Fault, Rejected

LIVE: Json = {"mode": "live", "percent": 100}


@dataclass(frozen=True, slots=True)
class DraftRule:
    """A new rule; incomplete drafts are welcome (G56). Asked twice: nothing."""

    element_type: str
    pipeline_id: str
    stage_id: str
    position: int
    definition: Json
    owner_id: str


@dataclass(frozen=True, slots=True)
class EditRule:
    """The next version as it would be; what is in force stays so."""

    definition: Json
    owner_id: str | None = None


@dataclass(frozen=True, slots=True)
class PublishRule:
    """`definition` is complete; `references` names the ids and types it was checked with. `waiting`: keep, migrate, cancel (D2).

    `past`: what a migrated run does whose time would have come already: run, drop. `rollout`: {mode: live, percent} or
    {mode: shadow, percent: null}; the visits it is not for get the last version that was for all."""

    definition: Json
    references: Json
    faults: tuple[Fault, ...] = ()
    waiting: str = "keep"
    past: str = "run"
    rollout: Json = field(default_factory=lambda: LIVE)


@dataclass(frozen=True, slots=True)
class DisableRule:
    """No new runs; waiting ones end as skipped when due, or at once with `cancel_waiting` (D3)."""

    cancel_waiting: bool = False
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class EnableRule:
    pass


@dataclass(frozen=True, slots=True)
class MoveRule:
    position: int


@dataclass(frozen=True, slots=True)
class DeleteRule:
    """Definition, versions and history stay readable (D4)."""


@dataclass(frozen=True, slots=True)
class InvalidateRule:
    """Something it needs is gone (D59)."""

    code: str
    detail: str


RuleCommand = DraftRule | EditRule | PublishRule | DisableRule | EnableRule | MoveRule | DeleteRule | InvalidateRule


@dataclass(frozen=True, slots=True)
class RuleDrafted:
    element_type: str
    pipeline_id: str
    stage_id: str
    position: int
    definition: Json
    owner_id: str


@dataclass(frozen=True, slots=True)
class RuleEdited:
    definition: Json
    owner_id: str


@dataclass(frozen=True, slots=True)
class RulePublished:
    version: int
    definition: Json
    references: Json
    waiting: str = "keep"
    past: str = "run"
    rollout: Json = field(default_factory=lambda: LIVE)


@dataclass(frozen=True, slots=True)
class RuleDisabled:
    cancel_waiting: bool = False
    request_id: str | None = None


@dataclass(frozen=True, slots=True)
class RuleEnabled:
    pass


@dataclass(frozen=True, slots=True)
class RuleMoved:
    position: int


@dataclass(frozen=True, slots=True)
class RuleDeleted:
    pass


@dataclass(frozen=True, slots=True)
class RuleInvalidated:
    code: str
    detail: str


RuleEvent = RuleDrafted | RuleEdited | RulePublished | RuleDisabled | RuleEnabled | RuleMoved | RuleDeleted | RuleInvalidated


@dataclass(frozen=True, slots=True)
class DefinedRule:
    """`draft` is set while a newer definition than the published one exists. `invalid`: (code, detail) of what is missing.

    `base`: the last version that was live for all; null: there was none yet."""

    state: Literal["none", "draft", "published", "disabled", "deleted"] = "none"
    element_type: str = ""
    pipeline_id: str = ""
    stage_id: str = ""
    position: int = 0
    owner_id: str = ""
    draft: Json | None = None
    version: int = 0
    definition: Json | None = None
    references: Json = field(default_factory=dict)
    rollout: Json = field(default_factory=lambda: LIVE)
    base: int | None = None
    invalid: tuple[str, str] | None = None

    @property
    def latest(self) -> Json:
        """What would be published now: the draft, else what is."""
        return self.draft or self.definition or {}

    @property
    def is_in_force(self) -> bool:
        return self.state == "published" and self.invalid is None

    def must_exist(self) -> None:
        if self.state == "none":
            raise Rejected("not_found", "There is no such rule.", status=404)
        if self.state == "deleted":
            raise Rejected("rule_deleted", "The rule was deleted.")


def decide(rule: DefinedRule, command: RuleCommand) -> Sequence[RuleEvent]:
    if isinstance(command, DraftRule):
        return _draft(rule, command)
    if isinstance(command, InvalidateRule):
        return _invalidate(rule, command)
    if isinstance(command, DeleteRule) and rule.state == "deleted":
        return []
    rule.must_exist()
    match command:
        case EditRule(definition=definition, owner_id=owner_id):
            changed = definition != rule.latest or (owner_id or rule.owner_id) != rule.owner_id
            return [RuleEdited(definition, owner_id or rule.owner_id)] if changed else []
        case PublishRule():
            return _publish(rule, command)
        case DisableRule(cancel_waiting=cancel_waiting, request_id=request_id):
            _must_be(rule, "published", "rule_not_published")
            return [RuleDisabled(cancel_waiting, request_id)]
        case EnableRule():
            _must_be(rule, "disabled", "rule_not_disabled")
            return [RuleEnabled()]
        case MoveRule(position=position):
            return [RuleMoved(position)] if position != rule.position else []
        case DeleteRule():
            return [RuleDeleted()]
        case _:
            assert_never(command)


def _draft(rule: DefinedRule, c: DraftRule) -> Sequence[RuleEvent]:
    if rule.state == "none":
        return [RuleDrafted(c.element_type, c.pipeline_id, c.stage_id, c.position, c.definition, c.owner_id)]
    same = (rule.stage_id, rule.latest) == (c.stage_id, c.definition)
    if same and rule.state != "deleted":
        return []
    raise Rejected("id_taken", "Another rule has this id.")


def _publish(rule: DefinedRule, c: PublishRule) -> Sequence[RuleEvent]:
    if c.faults:
        raise Rejected("rule_invalid", "The rule cannot be published as it is.", status=422, errors=c.faults)
    if rule.is_in_force and (c.definition, c.references, c.rollout) == (rule.definition, rule.references, rule.rollout):
        raise Rejected("nothing_to_change", "This version is in force already.")
    return [RulePublished(rule.version + 1, c.definition, c.references, c.waiting, c.past, c.rollout)]


def _must_be(rule: DefinedRule, state: str, code: str) -> None:
    if rule.state != state:
        raise Rejected(code, f"The rule is {rule.state}.")


def _invalidate(rule: DefinedRule, c: InvalidateRule) -> Sequence[RuleEvent]:
    """Told once per reason; a rule that is not in force breaks nothing."""
    if rule.state not in ("published", "disabled") or rule.invalid == (c.code, c.detail):
        return []
    return [RuleInvalidated(c.code, c.detail)]


def evolve(rule: DefinedRule, event: RuleEvent) -> DefinedRule:
    match event:
        case RuleDrafted():
            return DefinedRule(
                "draft", event.element_type, event.pipeline_id, event.stage_id, event.position, event.owner_id, event.definition
            )
        case RuleEdited(definition=definition, owner_id=owner_id):
            return replace(rule, draft=None if definition == rule.definition else definition, owner_id=owner_id)
        case RulePublished(version=version, definition=definition, references=references, rollout=rollout):
            kept = replace(rule, state="published", draft=None, version=version, definition=definition)
            base = version if rollout == LIVE else rule.base
            return replace(kept, references=references, rollout=rollout, base=base, invalid=None)
        case RuleDisabled():
            return replace(rule, state="disabled")
        case RuleEnabled():
            return replace(rule, state="published")
        case RuleMoved(position=position):
            return replace(rule, position=position)
        case RuleDeleted():
            return replace(rule, state="deleted")
        case RuleInvalidated(code=code, detail=detail):
            return replace(rule, invalid=(code, detail))
        case _:
            assert_never(event)


RULE: Aggregate[DefinedRule, RuleCommand, RuleEvent] = Aggregate(
    name="rule",
    initial=DefinedRule(),
    decide=decide,
    evolve=evolve,
    events=(RuleDrafted, RuleEdited, RulePublished, RuleDisabled, RuleEnabled, RuleMoved, RuleDeleted, RuleInvalidated),
)
