"""Pipeline: the ordered stages of one element type, and its settings. (D15, D59-D61, G62, S3)

Order: process stages as people put them, then success, then failure. `order_version` rises whenever the order or the
set of stages changes, never for a name (D62)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, assert_never
from uuid import UUID

from services.deals.domain.fields import (
    FLAG,
    ID,
    LANGUAGE,
    NAME,
    ZONE,
    Change,
    Kinds,
    choice,
    difference,
    invalid,
    optional,
    patched,
    read,
)
from services.deals.domain.origin import BEGINNING, NIL, Cause, answered
from services.deals.domain.stay import Place
from shared.es.aggregate import Aggregate
from shared.es.errors import Fault, NotFound, Rejected

KINDS = ("process", "success", "failure")
ELEMENT_TYPES = ("deal", "lead")
MOST_PIPELINES = 100
"""Per tenant."""
MOST_STAGES = 50


@dataclass(frozen=True, slots=True)
class Stage:
    """`retiring`: replaced, still holding elements; nothing arrives in it any more (D60)."""

    stage_id: UUID
    code: str
    name: str
    kind: str
    colour: str = "grey"
    required_fields: tuple[str, ...] = ()
    retiring: bool = False


@dataclass(frozen=True, slots=True)
class Settings:
    """`zone` None: the tenant's. `trigger_choice`: which of several matching triggers moves an element (D17)."""

    name: str
    owner_id: UUID
    language: str = "en"
    zone: str | None = None
    automation_user_id: UUID | None = None
    is_default: bool = False
    trigger_choice: str = "earliest"
    expire_links_on_lost: bool = False


SETTINGS: Kinds = {
    "name": NAME,
    "owner_id": ID,
    "language": LANGUAGE,
    "zone": optional(ZONE),
    "automation_user_id": optional(ID),
    "is_default": FLAG,
    "trigger_choice": choice("earliest", "furthest"),
    "expire_links_on_lost": FLAG,
}


@dataclass(frozen=True, slots=True)
class CreatePipeline:
    """`code_taken`, `pipelines`: facts about the tenant's other pipelines, found under the set `pipeline-codes`."""

    pipeline_id: UUID
    code: str
    element_type: str
    settings: Settings
    stages: tuple[Stage, ...]
    cause: Cause
    code_taken: bool = False
    pipelines: int = 0


@dataclass(frozen=True, slots=True)
class ChangePipelineSettings:
    """`changes`: JSON values by name of the setting."""

    changes: Mapping[str, Any]
    cause: Cause


@dataclass(frozen=True, slots=True)
class StepDownAsDefault:
    """Another pipeline of this element type becomes the default one, in the same transaction."""

    cause: Cause


@dataclass(frozen=True, slots=True)
class AddStage:
    """`position` counts within the stages of its kind, from 0; None is the end."""

    stage: Stage
    cause: Cause
    position: int | None = None
    known_fields: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class RenameStage:
    stage_id: UUID
    cause: Cause
    name: str | None = None
    colour: str | None = None


@dataclass(frozen=True, slots=True)
class ReorderStages:
    """`order` names every stage once."""

    order: tuple[UUID, ...]
    cause: Cause


@dataclass(frozen=True, slots=True)
class SetRequiredFields:
    """`known_fields`: what elements of this type have, custom fields as `uf.<code>`."""

    stage_id: UUID
    required_fields: tuple[str, ...]
    known_fields: frozenset[str]
    cause: Cause


@dataclass(frozen=True, slots=True)
class ReplaceStage:
    """Elements of the stage go to `replacement_id`, with `automation` on or suppressed; its `rules` are archived or moved."""

    stage_id: UUID
    replacement_id: UUID
    automation: str
    rules: str
    cause: Cause


@dataclass(frozen=True, slots=True)
class RemoveStage:
    """The end of a replacement; nothing happens while the stage holds elements."""

    stage_id: UUID
    elements: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class ArchivePipeline:
    """`elements`: how many stand in it now, found under the set `pipeline-elements/<id>`."""

    elements: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class PipelineCreated:
    pipeline_id: UUID
    code: str
    element_type: str
    settings: Settings
    stages: tuple[Stage, ...]
    order_version: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class PipelineSettingsChanged:
    changes: Mapping[str, Change]
    cause: Cause


@dataclass(frozen=True, slots=True)
class StagesChanged:
    """`change`: added, renamed, reordered, removed or required_fields."""

    change: str
    stages: tuple[Stage, ...]
    order_version: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class StageReplaced:
    stage_id: UUID
    replacement_id: UUID
    automation: str
    rules: str
    stages: tuple[Stage, ...]
    order_version: int
    cause: Cause


@dataclass(frozen=True, slots=True)
class PipelineArchived:
    cause: Cause


PipelineCommand = (
    CreatePipeline
    | ChangePipelineSettings
    | StepDownAsDefault
    | AddStage
    | RenameStage
    | ReorderStages
    | SetRequiredFields
    | ReplaceStage
    | RemoveStage
    | ArchivePipeline
)
PipelineEvent = PipelineCreated | PipelineSettingsChanged | StagesChanged | StageReplaced | PipelineArchived


@dataclass(frozen=True, slots=True)
class Pipeline:
    pipeline_id: UUID = NIL
    code: str = ""
    element_type: str = "deal"
    settings: Settings = Settings("", NIL)
    stages: tuple[Stage, ...] = ()
    order_version: int = 0
    archived: bool = False
    replacements: Mapping[UUID, StageReplaced] | None = None
    created_at: datetime = BEGINNING
    answered: frozenset[UUID] = frozenset()

    @property
    def exists(self) -> bool:
        return self.pipeline_id != NIL

    def stage(self, stage_id: UUID) -> Stage | None:
        return next((stage for stage in self.stages if stage.stage_id == stage_id), None)

    def first_stage(self) -> Stage:
        """Where an element starts that names no stage."""
        return next(stage for stage in self.stages if stage.kind == "process" and not stage.retiring)

    def final_stage(self, kind: str) -> Stage:
        """The first stage of kind success or failure."""
        return next(stage for stage in self.stages if stage.kind == kind and not stage.retiring)


def arrival_place(pipeline: Pipeline, element_type: str, stage_id: UUID | None, *, elsewhere: bool = False) -> Place:
    """The stage (None: the first) as a place to arrive in. `elsewhere`: the stage belongs to another pipeline of the tenant.

    Raises Rejected `unknown_reference` (422), `pipeline_archived`, `wrong_element_type`, `stage_of_other_pipeline`,
    `unknown_stage`, `stage_retiring`."""
    if not pipeline.exists:
        fault = Fault("/pipeline_id", "unknown_reference", "There is no such pipeline.")
        raise Rejected("unknown_reference", fault.detail, status=422, errors=(fault,))
    if pipeline.archived:
        raise Rejected("pipeline_archived", "Nothing arrives in an archived pipeline.")
    if pipeline.element_type != element_type:
        raise Rejected("wrong_element_type", f"This pipeline is for {pipeline.element_type}s.")
    stage = pipeline.first_stage() if stage_id is None else pipeline.stage(stage_id)
    if stage is None:
        raise Rejected("stage_of_other_pipeline" if elsewhere else "unknown_stage", "The pipeline has no such stage.")
    if stage.retiring:
        raise Rejected("stage_retiring", "The stage is being replaced: nothing arrives in it any more.")
    return _place(pipeline, stage)


def _place(pipeline: Pipeline, stage: Stage) -> Place:
    settings = pipeline.settings
    return Place(pipeline.pipeline_id, stage.stage_id, stage.kind, stage.name, stage.required_fields, settings.language, settings.zone)


def copy_target(pipeline: Pipeline, stage_id: UUID | None) -> Place:
    """Where a copy of a deal goes. Raises Rejected `target_missing` (gone or archived, D41) or `wrong_element_type`."""
    try:
        return arrival_place(pipeline, "deal", stage_id)
    except Rejected as refusal:
        if refusal.code == "wrong_element_type":
            raise
        raise Rejected("target_missing", f"The copy has nowhere to go: {refusal.detail}") from None


def new_settings(values: Mapping[str, Any]) -> Settings:
    """Settings from JSON values. Raises Rejected `validation_failed` (422)."""
    return Settings(**read(SETTINGS, values))


def decide(pipeline: Pipeline, command: PipelineCommand) -> Sequence[PipelineEvent]:
    if command.cause.request_id in pipeline.answered:
        return []
    if isinstance(command, CreatePipeline):
        return _created(pipeline, command)
    _must_exist(pipeline)
    match command:
        case ChangePipelineSettings(changes=changes):
            return _settings_changed(pipeline, read(SETTINGS, changes), command.cause)
        case StepDownAsDefault(cause=cause):
            return _differing(pipeline, replace(pipeline.settings, is_default=False), cause)
        case AddStage():
            return _stage_added(pipeline, command)
        case RenameStage():
            return _stage_renamed(pipeline, command)
        case ReorderStages(order=order):
            return _reordered(pipeline, order, command.cause)
        case SetRequiredFields():
            return _required_fields_set(pipeline, command)
        case ReplaceStage():
            return _stage_replaced(pipeline, command)
        case RemoveStage(stage_id=stage_id, elements=elements):
            return _stage_removed(pipeline, stage_id, elements, command.cause)
        case ArchivePipeline(elements=elements):
            return _archived(pipeline, elements, command.cause)
        case _:
            assert_never(command)


def evolve(pipeline: Pipeline, event: PipelineEvent) -> Pipeline:
    known = replace(pipeline, answered=answered(pipeline.answered, event.cause))
    match event:
        case PipelineCreated():
            return Pipeline(
                event.pipeline_id,
                event.code,
                event.element_type,
                event.settings,
                event.stages,
                event.order_version,
                created_at=event.cause.at,
                answered=known.answered,
            )
        case PipelineSettingsChanged(changes=changes):
            return replace(known, settings=patched(pipeline.settings, changes, SETTINGS))
        case StagesChanged(stages=stages, order_version=order):
            return replace(known, stages=stages, order_version=order)
        case StageReplaced(stages=stages, order_version=order):
            begun = {**(pipeline.replacements or {}), event.stage_id: event}
            return replace(known, stages=stages, order_version=order, replacements=begun)
        case PipelineArchived():
            return replace(known, archived=True)
        case _:
            assert_never(event)


PIPELINE: Aggregate[Pipeline, PipelineCommand, PipelineEvent] = Aggregate(
    "pipeline",
    Pipeline(),
    decide,
    evolve,
    (PipelineCreated, PipelineSettingsChanged, StagesChanged, StageReplaced, PipelineArchived),
    read_by_others=True,
)


def _must_exist(pipeline: Pipeline) -> None:
    if not pipeline.exists:
        raise NotFound("There is no such pipeline in this tenant.")
    if pipeline.archived:
        raise Rejected("pipeline_archived", "An archived pipeline does not change.")


def _created(pipeline: Pipeline, command: CreatePipeline) -> Sequence[PipelineEvent]:
    if pipeline.exists:
        return []
    if command.code_taken:
        raise Rejected("code_taken", f"Another pipeline has the code {command.code}.")
    if command.pipelines >= MOST_PIPELINES:
        raise invalid([Fault("/code", "too_many", f"A tenant has at most {MOST_PIPELINES} pipelines.")])
    _must_be_complete(command.stages)
    stages = _in_order(command.stages)
    return [PipelineCreated(command.pipeline_id, command.code, command.element_type, command.settings, stages, 1, command.cause)]


def _must_be_complete(stages: Sequence[Stage]) -> None:
    """At least one process stage, exactly one success, at least one failure; codes and ids differ; at most 50."""
    if len(stages) > MOST_STAGES:
        raise invalid([Fault("/stages", "too_many", f"A pipeline has at most {MOST_STAGES} stages.")])
    staying = [stage for stage in stages if not stage.retiring]
    for kind in KINDS:
        if not any(stage.kind == kind for stage in staying):
            raise Rejected("stage_kind_missing", f"A pipeline needs a stage of kind {kind}.")
    if sum(stage.kind == "success" for stage in staying) > 1:
        raise Rejected("second_success_stage", "A pipeline has exactly one stage of kind success.")
    if len({stage.code for stage in stages}) < len(stages) or len({stage.stage_id for stage in stages}) < len(stages):
        raise Rejected("code_taken", "Two stages have the same code or id.")


def _in_order(stages: Iterable[Stage]) -> tuple[Stage, ...]:
    return tuple(sorted(stages, key=lambda stage: KINDS.index(stage.kind)))


def _settings_changed(pipeline: Pipeline, given: Mapping[str, Any], cause: Cause) -> Sequence[PipelineEvent]:
    if given.get("is_default") is False and pipeline.settings.is_default:
        raise Rejected("default_pipeline", "Make another pipeline the default one instead.")
    return _differing(pipeline, replace(pipeline.settings, **given), cause)


def _differing(pipeline: Pipeline, settings: Settings, cause: Cause) -> Sequence[PipelineEvent]:
    changes = difference(pipeline.settings, settings, SETTINGS)
    return [PipelineSettingsChanged(changes, cause)] if changes else []


def _known_stage(pipeline: Pipeline, stage_id: UUID) -> Stage:
    stage = pipeline.stage(stage_id)
    if stage is None:
        raise Rejected("unknown_stage", "The pipeline has no such stage.")
    return stage


def _with(pipeline: Pipeline, changed: Stage) -> tuple[Stage, ...]:
    return tuple(changed if stage.stage_id == changed.stage_id else stage for stage in pipeline.stages)


def _stage_added(pipeline: Pipeline, command: AddStage) -> Sequence[PipelineEvent]:
    _must_be_known_fields(command.stage.required_fields, command.known_fields)
    stages = _in_order(_inserted(pipeline.stages, command.stage, command.position))
    _must_be_complete(stages)
    return [StagesChanged("added", stages, pipeline.order_version + 1, command.cause)]


def _inserted(stages: tuple[Stage, ...], stage: Stage, position: int | None) -> list[Stage]:
    alike = [other for other in stages if other.kind == stage.kind]
    alike.insert(len(alike) if position is None else position, stage)
    return [other for other in stages if other.kind != stage.kind] + alike


def _stage_renamed(pipeline: Pipeline, command: RenameStage) -> Sequence[PipelineEvent]:
    stage = _known_stage(pipeline, command.stage_id)
    renamed = replace(stage, name=command.name or stage.name, colour=command.colour or stage.colour)
    if renamed == stage:
        return []
    return [StagesChanged("renamed", _with(pipeline, renamed), pipeline.order_version, command.cause)]


def _reordered(pipeline: Pipeline, order: tuple[UUID, ...], cause: Cause) -> Sequence[PipelineEvent]:
    places = {stage_id: n for n, stage_id in enumerate(order)}
    if len(places) < len(order) or places.keys() != {stage.stage_id for stage in pipeline.stages}:
        raise Rejected("incomplete_order", "The order must name every stage of the pipeline once.", status=422)
    stages = _in_order(sorted(pipeline.stages, key=lambda stage: places[stage.stage_id]))
    if stages == pipeline.stages:
        return []
    return [StagesChanged("reordered", stages, pipeline.order_version + 1, cause)]


def _required_fields_set(pipeline: Pipeline, command: SetRequiredFields) -> Sequence[PipelineEvent]:
    stage = _known_stage(pipeline, command.stage_id)
    _must_be_known_fields(command.required_fields, command.known_fields)
    if stage.required_fields == command.required_fields:
        return []
    changed = replace(stage, required_fields=command.required_fields)
    return [StagesChanged("required_fields", _with(pipeline, changed), pipeline.order_version, command.cause)]


def _must_be_known_fields(names: Sequence[str], known: Collection[str]) -> None:
    unknown = [n for n, name in enumerate(names) if name not in known]
    if unknown:
        raise invalid(Fault(f"/required_fields/{n}", "unknown_field", "Elements of this pipeline have no such field.") for n in unknown)


def _stage_replaced(pipeline: Pipeline, command: ReplaceStage) -> Sequence[PipelineEvent]:
    stage, replacement = _known_stage(pipeline, command.stage_id), _known_stage(pipeline, command.replacement_id)
    if stage == replacement:
        raise Rejected("same_stage", "A stage cannot replace itself.")
    if stage.retiring or replacement.retiring:
        raise Rejected("stage_retiring", "The stage is being replaced already.")
    stages = _with(pipeline, replace(stage, retiring=True))
    _must_be_complete(stages)
    order = pipeline.order_version + 1
    return [
        StageReplaced(stage.stage_id, replacement.stage_id, command.automation, command.rules, stages, order, command.cause),
    ]


def _stage_removed(pipeline: Pipeline, stage_id: UUID, elements: int, cause: Cause) -> Sequence[PipelineEvent]:
    stage = pipeline.stage(stage_id)
    if stage is None or not stage.retiring or elements:
        return []
    left = tuple(other for other in pipeline.stages if other != stage)
    return [StagesChanged("removed", left, pipeline.order_version + 1, cause)]


def _archived(pipeline: Pipeline, elements: int, cause: Cause) -> Sequence[PipelineEvent]:
    if pipeline.settings.is_default:
        raise Rejected("default_pipeline", "The default pipeline cannot be archived.")
    if elements:
        raise Rejected("pipeline_not_empty", f"{elements} elements stand in the pipeline.")
    return [PipelineArchived(cause)]
