"""What rules and triggers there are to choose from, and what placeholders their texts may name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query

from services.automation.api.common import READ, ElementType, rules_of_stage, world_of
from services.automation.domain import catalogue, fields, forms, words
from services.automation.domain import placeholders as picker
from services.automation.domain.check import event_fields
from services.automation.rule_sets.planning import World, names_of
from shared.es.aggregate import Json
from shared.http.commands import Door

API = APIRouter()


@API.get("/v1/element-types", operation_id="element_types", tags=["catalogue"])
async def element_types(door: Annotated[Door, READ]) -> Any:
    """What rules and triggers can be made for."""
    return {"items": forms.shown_element_types()}


@API.get("/v1/rule-groups", operation_id="rule_groups", tags=["catalogue"])
async def rule_groups(door: Annotated[Door, READ], element_type: ElementType | None = None) -> Any:
    """Groups by purpose with the types in them (S4)."""
    rules, triggers = catalogue.offered(element_type), catalogue.offered_triggers(element_type)
    return {"items": [forms.shown_group(name, rules, triggers) for name in words.GROUPS]}


@API.get("/v1/rule-types", operation_id="rule_types", tags=["catalogue"])
async def rule_types(door: Annotated[Door, READ], element_type: ElementType | None = None, group: str | None = None) -> Any:
    """What may be chosen, with settings as JSON Schema and outputs (S2); `definition`: what every rule has besides."""
    items = [forms.shown_rule_type(t, element_type) for t in catalogue.offered(element_type, group)]
    return {"items": items, "definition": forms.rule_schema()}


@API.get("/v1/trigger-types", operation_id="trigger_types", tags=["catalogue"])
async def trigger_types(door: Annotated[Door, READ], element_type: ElementType | None = None, group: str | None = None) -> Any:
    """The same for triggers; `event_fields` is what their conditions reach as `event.<name>`."""
    items = [forms.shown_trigger_type(t, element_type) for t in catalogue.offered_triggers(element_type, group)]
    return {"items": items, "definition": forms.trigger_schema()}


@API.get("/v1/condition-operators", operation_id="condition_operators", tags=["catalogue"])
async def condition_operators(door: Annotated[Door, READ]) -> Any:
    """By what a field of each kind is compared in a condition."""
    return {"items": forms.shown_operators()}


@API.get("/v1/placeholders", operation_id="placeholders", tags=["catalogue"])
async def placeholders(
    door: Annotated[Door, READ],
    element_type: ElementType = "deal",
    stage_id: UUID | None = None,
    rule_id: Annotated[UUID | None, Query(description="Only outputs of the rules above this one")] = None,
    trigger_type: str | None = None,
    trigger_id: Annotated[UUID | None, Query(description="What this trigger declares of the sender's own event, too")] = None,
    q: Annotated[str | None, Query(description="Words in path or label")] = None,
) -> Any:
    """What the picker offers: fields, custom fields of the element and of its contact and company, constants, variables, and
    outputs of the rules above on the stage: of all of them for a rule that is still to come (S14-S16, G39)."""
    world = await world_of(door)
    names = names_of(world)
    values = ((path, kind, visible) for path, (_, kind, visible) in names.values.items())
    stage = _stage_above(world, stage_id, rule_id) if stage_id and not trigger_type else ((), "parallel")
    found = (
        *picker.of_fields(element_type),
        *picker.of_custom_fields(element_type, _custom_fields(world)),
        *picker.of_values(element_type, values),
        *picker.of_rules(picker.rules_above(*stage), names.fields_of),
        *picker.of_event(trigger_type or ""),
        *picker.of_declared(_declared(world, trigger_id)),
    )
    return {"items": [item.shown() for item in found if item.is_about(q or "")]}


def _declared(world: World, trigger_id: UUID | None) -> dict[str, str]:
    """What a trigger says that a foreign event brings, by path."""
    row = next((row for row in world.triggers if row["id"] == str(trigger_id)), None)
    latest = (row["draft"] or row["definition"] or {}) if row else {}
    settings = latest.get("settings")
    return event_fields(settings) if isinstance(settings, dict) else {}


def _custom_fields(world: World) -> Iterator[picker.CustomField]:
    for row in world.field_sets:
        for field in row["fields"] if row["kind"] == "form" else ():
            if not field.get("retired"):
                kind = fields.kind_of_field(field["field_type"], multiple=field["multiple"])
                yield picker.CustomField(str(row["element_type"]), field["code"], field["label"], kind, tuple(field["options"]))


def _stage_above(world: World, stage_id: UUID, rule_id: UUID | None) -> tuple[list[tuple[str, str, str, str, Json]], str]:
    """The rules above a rule in order, and how it is executed; one that is still to come can wait for all that is there."""
    own = next((row for row in world.rules if row["id"] == str(rule_id)), None)
    above = [row for row in rules_of_stage(world, str(stage_id)) if own is None or (row["position"] < own["position"] and row is not own)]
    execution = "after_previous" if own is None else (own["draft"] or own["definition"] or {}).get("execution", "parallel")
    return [
        (row["rule_key"], row["rule_type"], row["name"], row["definition"]["execution"], row["definition"]["settings"]) for row in above
    ], execution
