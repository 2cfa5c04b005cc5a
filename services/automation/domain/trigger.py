"""Trigger: bound to its target stage; moves the element there when something happens elsewhere (automation 2.2, G40, G42)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from shared.es.aggregate import Aggregate, Json
from shared.es.errors import Fault, Rejected


@dataclass(frozen=True, slots=True)
class DraftTrigger:
    """A new trigger on its target stage. Asked twice: nothing."""

    element_type: str
    pipeline_id: str
    stage_id: str
    position: int
    definition: Json
    owner_id: str


@dataclass(frozen=True, slots=True)
class EditTrigger:
    definition: Json
    owner_id: str | None = None


@dataclass(frozen=True, slots=True)
class PublishTrigger:
    """`definition` is complete, `references` as for rules; `faults` refuse it."""

    definition: Json
    references: Json
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class DisableTrigger:
    pass


@dataclass(frozen=True, slots=True)
class EnableTrigger:
    pass


@dataclass(frozen=True, slots=True)
class MoveTrigger:
    position: int


@dataclass(frozen=True, slots=True)
class DeleteTrigger:
    pass


@dataclass(frozen=True, slots=True)
class InvalidateTrigger:
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class RotateSecret:
    """Of a webhook trigger: the next one; the one before is good until the next rotation (G48)."""


TriggerCommand = (
    DraftTrigger
    | EditTrigger
    | PublishTrigger
    | DisableTrigger
    | EnableTrigger
    | MoveTrigger
    | DeleteTrigger
    | InvalidateTrigger
    | RotateSecret
)


@dataclass(frozen=True, slots=True)
class TriggerDrafted:
    element_type: str
    pipeline_id: str
    stage_id: str
    position: int
    definition: Json
    owner_id: str


@dataclass(frozen=True, slots=True)
class TriggerEdited:
    definition: Json
    owner_id: str


@dataclass(frozen=True, slots=True)
class TriggerPublished:
    version: int
    definition: Json
    references: Json


@dataclass(frozen=True, slots=True)
class TriggerDisabled:
    pass


@dataclass(frozen=True, slots=True)
class TriggerEnabled:
    pass


@dataclass(frozen=True, slots=True)
class TriggerMoved:
    position: int


@dataclass(frozen=True, slots=True)
class TriggerDeleted:
    pass


@dataclass(frozen=True, slots=True)
class TriggerInvalidated:
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class SecretRotated:
    """Only its number: secrets are derived and stored nowhere."""

    number: int


TriggerEvent = (
    TriggerDrafted
    | TriggerEdited
    | TriggerPublished
    | TriggerDisabled
    | TriggerEnabled
    | TriggerMoved
    | TriggerDeleted
    | TriggerInvalidated
    | SecretRotated
)


@dataclass(frozen=True, slots=True)
class DefinedTrigger:
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
    invalid: tuple[str, str] | None = None
    secret_number: int = 1

    @property
    def has_secret(self) -> bool:
        return self.latest.get("type") == "webhook"

    @property
    def latest(self) -> Json:
        return self.draft or self.definition or {}

    @property
    def is_in_force(self) -> bool:
        return self.state == "published" and self.invalid is None

    def must_exist(self) -> None:
        if self.state == "none":
            raise Rejected("not_found", "There is no such trigger.", status=404)
        if self.state == "deleted":
            raise Rejected("trigger_deleted", "The trigger was deleted.")


def decide(trigger: DefinedTrigger, command: TriggerCommand) -> Sequence[TriggerEvent]:
    if isinstance(command, DraftTrigger):
        return _draft(trigger, command)
    if isinstance(command, InvalidateTrigger):
        return _invalidate(trigger, command)
    if isinstance(command, DeleteTrigger) and trigger.state == "deleted":
        return []
    trigger.must_exist()
    match command:
        case EditTrigger(definition=definition, owner_id=owner_id):
            changed = definition != trigger.latest or (owner_id or trigger.owner_id) != trigger.owner_id
            return [TriggerEdited(definition, owner_id or trigger.owner_id)] if changed else []
        case PublishTrigger():
            return _publish(trigger, command)
        case DisableTrigger():
            _must_be(trigger, "published", "trigger_not_published")
            return [TriggerDisabled()]
        case EnableTrigger():
            _must_be(trigger, "disabled", "trigger_not_disabled")
            return [TriggerEnabled()]
        case MoveTrigger(position=position):
            return [TriggerMoved(position)] if position != trigger.position else []
        case DeleteTrigger():
            return [TriggerDeleted()]
        case RotateSecret():
            if not trigger.has_secret:
                raise Rejected("no_secret", "Only a webhook trigger has a secret.")
            return [SecretRotated(trigger.secret_number + 1)]
        case _:
            assert_never(command)


def _draft(trigger: DefinedTrigger, c: DraftTrigger) -> Sequence[TriggerEvent]:
    if trigger.state == "none":
        return [TriggerDrafted(c.element_type, c.pipeline_id, c.stage_id, c.position, c.definition, c.owner_id)]
    if trigger.state != "deleted" and (trigger.stage_id, trigger.latest) == (c.stage_id, c.definition):
        return []
    raise Rejected("id_taken", "Another trigger has this id.")


def _publish(trigger: DefinedTrigger, c: PublishTrigger) -> Sequence[TriggerEvent]:
    if c.faults:
        raise Rejected("rule_invalid", "The trigger cannot be published as it is.", status=422, errors=c.faults)
    if trigger.is_in_force and (c.definition, c.references) == (trigger.definition, trigger.references):
        raise Rejected("nothing_to_change", "This version is in force already.")
    return [TriggerPublished(trigger.version + 1, c.definition, c.references)]


def _must_be(trigger: DefinedTrigger, state: str, code: str) -> None:
    if trigger.state != state:
        raise Rejected(code, f"The trigger is {trigger.state}.")


def _invalidate(trigger: DefinedTrigger, c: InvalidateTrigger) -> Sequence[TriggerEvent]:
    if trigger.state not in ("published", "disabled") or trigger.invalid == (c.code, c.detail):
        return []
    return [TriggerInvalidated(c.code, c.detail)]


def evolve(trigger: DefinedTrigger, event: TriggerEvent) -> DefinedTrigger:
    match event:
        case TriggerDrafted():
            return DefinedTrigger(
                "draft", event.element_type, event.pipeline_id, event.stage_id, event.position, event.owner_id, event.definition
            )
        case TriggerEdited(definition=definition, owner_id=owner_id):
            return replace(trigger, draft=definition, owner_id=owner_id)
        case TriggerPublished(version=version, definition=definition, references=references):
            kept = replace(trigger, state="published", draft=None, version=version)
            return replace(kept, definition=definition, references=references, invalid=None)
        case TriggerDisabled():
            return replace(trigger, state="disabled")
        case TriggerEnabled():
            return replace(trigger, state="published")
        case TriggerMoved(position=position):
            return replace(trigger, position=position)
        case TriggerDeleted():
            return replace(trigger, state="deleted")
        case TriggerInvalidated(code=code, detail=detail):
            return replace(trigger, invalid=(code, detail))
        case SecretRotated(number=number):
            return replace(trigger, secret_number=number)
        case _:
            assert_never(event)


TRIGGER: Aggregate[DefinedTrigger, TriggerCommand, TriggerEvent] = Aggregate(
    name="trigger",
    initial=DefinedTrigger(),
    decide=decide,
    evolve=evolve,
    events=(
        TriggerDrafted,
        TriggerEdited,
        TriggerPublished,
        TriggerDisabled,
        TriggerEnabled,
        TriggerMoved,
        TriggerDeleted,
        TriggerInvalidated,
        SecretRotated,
    ),
)
