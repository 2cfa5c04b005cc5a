"""Where an element stands: a stage of a pipeline, and its visits, numbered from 1 for life."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID, uuid5

from services.deals.domain.origin import NIL
from shared.es.errors import Fault, Rejected


def visit_id(element_id: UUID, number: int) -> UUID:
    """The id of an element's n-th visit, the same for everybody who knows the element."""
    return uuid5(element_id, f"visit/{number}")


@dataclass(frozen=True, slots=True)
class Place:
    """A stage an element may arrive in, as its pipeline stood when the move was decided."""

    pipeline_id: UUID
    stage_id: UUID
    stage_kind: str
    stage_name: str
    required_fields: tuple[str, ...] = ()
    language: str = "en"
    zone: str | None = None


@dataclass(frozen=True, slots=True)
class Stay:
    """One visit: an uninterrupted stay of one element in one stage."""

    pipeline_id: UUID = NIL
    stage_id: UUID = NIL
    stage_kind: str = "process"
    stage_name: str = ""
    visit_id: UUID = NIL
    visit_number: int = 0


NOWHERE = Stay()


def arrival(element_id: UUID, at: Place, number: int) -> Stay:
    return Stay(at.pipeline_id, at.stage_id, at.stage_kind, at.stage_name, visit_id(element_id, number), number)


def must_be_free_to_move(stay: Stay, to: Place, if_visit_id: UUID | None, filled: Callable[[str], bool]) -> None:
    """Raises Rejected: `visit_changed` (judged on an old visit, D18), `already_there` (G8), `required_fields_missing` (F13)."""
    if if_visit_id is not None and if_visit_id != stay.visit_id:
        raise Rejected("visit_changed", f"The element is in its visit {stay.visit_number} by now.")
    if to.stage_id == stay.stage_id:
        raise Rejected("already_there", "The element is in this stage already.")
    missing = [name for name in to.required_fields if not filled(name)]
    if missing:
        faults = [Fault(f"/{name}", "required", f"The stage {to.stage_name} requires it.") for name in missing]
        raise Rejected("required_fields_missing", f"Empty, but required by the stage {to.stage_name}: {', '.join(missing)}.", errors=faults)
