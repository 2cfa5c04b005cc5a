"""Pipeline: stages in order, always one success, at least one process and one failure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from services.deals.domain.fields import Change
from services.deals.domain.pipeline import (
    PIPELINE,
    AddStage,
    ArchivePipeline,
    ChangePipelineSettings,
    CreatePipeline,
    PipelineArchived,
    PipelineSettingsChanged,
    RemoveStage,
    RenameStage,
    ReorderStages,
    ReplaceStage,
    SetRequiredFields,
    Stage,
    StageReplaced,
    StagesChanged,
    StepDownAsDefault,
    arrival_place,
    copy_target,
    new_settings,
)
from shared.es.errors import Rejected
from shared.testing.given import given
from tests.unit.deals.things import ANNA_DID, OLAF, SALES, STAGES, asked, id_of, pipeline, sales, stage


def create(*stages: Stage, **more: Any) -> CreatePipeline:
    made = sales(*stages)
    return CreatePipeline(made.pipeline_id, made.code, made.element_type, made.settings, made.stages, ANNA_DID, **more)


def test_a_new_pipeline_orders_process_success_failure() -> None:
    shuffled = (STAGES[3], STAGES[0], STAGES[2], STAGES[1])

    given(PIPELINE).when(create(*shuffled)).then(sales())


def test_asking_twice_for_the_same_pipeline_is_harmless() -> None:
    given(PIPELINE, sales()).when(create()).nothing_happens()


def test_two_pipelines_do_not_share_a_code() -> None:
    given(PIPELINE).when(create(code_taken=True)).refused("code_taken")


def test_a_tenant_has_at_most_100_pipelines() -> None:
    given(PIPELINE).when(create(pipelines=100)).refused("validation_failed", "/code")


@pytest.mark.parametrize("missing", ["process", "success", "failure"])
def test_a_kind_of_stage_must_not_be_missing(missing: str) -> None:
    given(PIPELINE).when(create(*(s for s in STAGES if s.kind != missing))).refused("stage_kind_missing")


def test_there_is_exactly_one_success() -> None:
    given(PIPELINE).when(create(*STAGES, stage("paid", "success"))).refused("second_success_stage")


def test_two_stages_do_not_share_a_code() -> None:
    double = replace(stage("new"), stage_id=id_of("another"))

    given(PIPELINE).when(create(*STAGES, double)).refused("code_taken")


def test_a_pipeline_has_at_most_50_stages() -> None:
    many = [stage(f"s{n}") for n in range(50)]

    given(PIPELINE).when(create(*STAGES, *many)).refused("validation_failed", "/stages")


def test_an_added_stage_raises_the_order_version() -> None:
    payment = stage("payment")

    given(PIPELINE, sales()).when(AddStage(payment, ANNA_DID, position=1)).then(
        StagesChanged("added", (STAGES[0], payment, *STAGES[1:]), 2, ANNA_DID)
    )


def test_a_code_is_used_once_in_a_pipeline() -> None:
    given(PIPELINE, sales()).when(AddStage(replace(stage("won"), kind="failure", stage_id=id_of("x")), ANNA_DID)).refused("code_taken")


def test_a_name_does_not_raise_the_order_version() -> None:
    renamed = replace(STAGES[1], name="Freigabe")

    given(PIPELINE, sales()).when(RenameStage(STAGES[1].stage_id, ANNA_DID, name="Freigabe")).then(
        StagesChanged("renamed", (STAGES[0], renamed, *STAGES[2:]), 1, ANNA_DID)
    )


def test_the_same_name_changes_nothing() -> None:
    given(PIPELINE, sales()).when(RenameStage(STAGES[1].stage_id, ANNA_DID, name=STAGES[1].name)).nothing_happens()


def test_an_unknown_stage_is_not_renamed() -> None:
    given(PIPELINE, sales()).when(RenameStage(id_of("nowhere"), ANNA_DID, name="X")).refused("unknown_stage")


def test_stages_are_put_in_another_order() -> None:
    new, approval, won, lost = STAGES
    order = (lost.stage_id, approval.stage_id, won.stage_id, new.stage_id)

    given(PIPELINE, sales()).when(ReorderStages(order, ANNA_DID)).then(StagesChanged("reordered", (approval, new, won, lost), 2, ANNA_DID))


def test_the_same_order_changes_nothing() -> None:
    given(PIPELINE, sales()).when(ReorderStages(tuple(s.stage_id for s in STAGES), ANNA_DID)).nothing_happens()


@pytest.mark.parametrize("order", [STAGES[:3], (*STAGES, STAGES[0]), (*STAGES[:3], stage("other"))])
def test_an_order_names_every_stage_once(order: tuple[Stage, ...]) -> None:
    refusal = given(PIPELINE, sales()).when(ReorderStages(tuple(s.stage_id for s in order), ANNA_DID)).refused("incomplete_order")

    assert refusal.status == 422


def test_a_stage_requires_fields_that_exist() -> None:
    command = SetRequiredFields(STAGES[3].stage_id, ("loss_reason",), frozenset({"loss_reason"}), ANNA_DID)
    changed = replace(STAGES[3], required_fields=("loss_reason",))

    given(PIPELINE, sales()).when(command).then(StagesChanged("required_fields", (*STAGES[:3], changed), 1, ANNA_DID))
    given(PIPELINE, sales()).when(replace(command, known_fields=frozenset())).refused("validation_failed", "/required_fields/0")


def test_settings_change_one_by_one() -> None:
    given(PIPELINE, sales()).when(ChangePipelineSettings({"name": "Verkauf", "language": "de"}, ANNA_DID)).then(
        PipelineSettingsChanged({"name": Change("Sales", "Verkauf")}, ANNA_DID)
    )


def test_a_wrong_zone_is_named() -> None:
    atlantis = ChangePipelineSettings({"zone": "Europe/Atlantis"}, ANNA_DID)
    refusal = given(PIPELINE, sales()).when(atlantis).refused("validation_failed", "/zone")

    assert refusal.errors[0].code == "unknown_zone"


def test_the_default_pipeline_steps_down_only_for_another() -> None:
    default = sales(is_default=True)

    given(PIPELINE, default).when(ChangePipelineSettings({"is_default": False}, ANNA_DID)).refused("default_pipeline")
    given(PIPELINE, default).when(StepDownAsDefault(ANNA_DID)).then(PipelineSettingsChanged({"is_default": Change(True, False)}, ANNA_DID))


def test_an_empty_pipeline_is_archived_and_then_rests() -> None:
    given(PIPELINE, sales()).when(ArchivePipeline(0, ANNA_DID)).then(PipelineArchived(ANNA_DID))
    given(PIPELINE, sales(), PipelineArchived(ANNA_DID)).when(AddStage(stage("x"), ANNA_DID)).refused("pipeline_archived")


def test_a_pipeline_with_elements_is_not_archived() -> None:
    given(PIPELINE, sales()).when(ArchivePipeline(3, ANNA_DID)).refused("pipeline_not_empty")


def test_the_default_pipeline_is_not_archived() -> None:
    given(PIPELINE, sales(is_default=True)).when(ArchivePipeline(0, ANNA_DID)).refused("default_pipeline")


def replacing(code: str, by: str) -> ReplaceStage:
    return ReplaceStage(id_of(f"stage/{code}"), id_of(f"stage/{by}"), "suppressed", "archived", ANNA_DID)


def replaced() -> StageReplaced:
    new = replace(STAGES[0], retiring=True)
    return StageReplaced(new.stage_id, STAGES[1].stage_id, "suppressed", "archived", (new, *STAGES[1:]), 2, ANNA_DID)


def test_a_replaced_stage_retires_until_it_is_empty() -> None:
    given(PIPELINE, sales()).when(replacing("new", "approval")).then(replaced())
    given(PIPELINE, sales(), replaced()).when(RemoveStage(STAGES[0].stage_id, 2, ANNA_DID)).nothing_happens()
    given(PIPELINE, sales(), replaced()).when(RemoveStage(STAGES[0].stage_id, 0, ANNA_DID)).then(
        StagesChanged("removed", STAGES[1:], 3, ANNA_DID)
    )


def test_the_last_stage_of_a_kind_is_not_replaced() -> None:
    given(PIPELINE, sales()).when(replacing("won", "lost")).refused("stage_kind_missing")
    given(PIPELINE, sales(), replaced()).when(replacing("approval", "lost")).refused("stage_kind_missing")


def test_a_stage_does_not_replace_itself() -> None:
    given(PIPELINE, sales()).when(replacing("new", "new")).refused("same_stage")


def test_nothing_arrives_in_a_retiring_stage() -> None:
    state = PIPELINE.fold([sales(), replaced()])

    with pytest.raises(Rejected) as refused:
        arrival_place(state, "deal", STAGES[0].stage_id)
    assert refused.value.code == "stage_retiring"
    assert arrival_place(state, "deal", None).stage_id == STAGES[1].stage_id


@pytest.mark.parametrize(
    ("stage_id", "element_type", "elsewhere", "code"),
    [
        (id_of("nowhere"), "deal", False, "unknown_stage"),
        (id_of("nowhere"), "deal", True, "stage_of_other_pipeline"),
        (STAGES[0].stage_id, "lead", False, "wrong_element_type"),
    ],
)
def test_where_nothing_can_arrive(stage_id: Any, element_type: str, elsewhere: bool, code: str) -> None:
    with pytest.raises(Rejected) as refused:
        arrival_place(pipeline(), element_type, stage_id, elsewhere=elsewhere)
    assert refused.value.code == code


def test_a_copy_has_nowhere_to_go_when_the_target_is_gone() -> None:
    archived = PIPELINE.fold([sales(), PipelineArchived(ANNA_DID)])

    for state, stage_id in ((archived, None), (pipeline(), id_of("nowhere")), (PIPELINE.initial, None)):
        with pytest.raises(Rejected) as refused:
            copy_target(state, stage_id)
        assert refused.value.code == "target_missing"


def test_an_unknown_pipeline_is_an_unknown_reference() -> None:
    with pytest.raises(Rejected) as refused:
        arrival_place(PIPELINE.initial, "deal", None)
    assert (refused.value.code, refused.value.status) == ("unknown_reference", 422)


def test_what_does_not_exist_does_not_change() -> None:
    given(PIPELINE).when(ArchivePipeline(0, ANNA_DID)).refused("not_found")


def test_a_repeated_request_is_silent() -> None:
    once = asked("rename")
    command = RenameStage(STAGES[0].stage_id, once, name="Neu")

    given(PIPELINE, sales(), *PIPELINE.decide(pipeline(), command)).when(replace(command, name="Ganz neu")).nothing_happens()


def test_settings_are_read_from_json() -> None:
    settings = new_settings({"name": "Sales", "owner_id": str(OLAF), "zone": None})

    assert (settings.name, settings.owner_id, settings.trigger_choice) == ("Sales", OLAF, "earliest")
    with pytest.raises(Rejected):
        new_settings({"name": " ", "owner_id": str(SALES)})
