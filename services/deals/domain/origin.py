"""What made something happen. Every command brings it, every event keeps it (README of the domain, section 6)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from uuid import UUID

NIL = UUID(int=0)
"""The id of what does not exist: the initial state of every aggregate has it."""

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
"""Before anything happened."""


@dataclass(frozen=True, slots=True)
class Origin:
    """`id` is the rule, trigger or API client. `chain`: the rules and triggers that led here, oldest first (D40)."""

    kind: str
    """person, rule, trigger, import, api or system; what else a sender may invent is kept as it is."""
    id: UUID | None = None
    version: int | None = None
    visit_id: UUID | None = None
    decision_id: UUID | None = None
    backfill_id: UUID | None = None
    acting_fallback: bool = False
    chain: tuple[UUID, ...] = ()

    @property
    def by_hand(self) -> bool:
        """A person or an API client did it, not automation: undo does not reach behind it."""
        return self.kind in ("person", "api")


@dataclass(frozen=True, slots=True)
class Cause:
    """`at`: the database's clock. `request_id` is the asker's; what answers a command repeats it.

    None: asked over HTTP, where doing nothing is a success. With a request id somebody waits for an answer that travels, so a
    new request that would change nothing is refused (F24)."""

    origin: Origin
    at: datetime
    request_id: UUID | None = None

    def unanswered(self) -> Cause:
        """The same for what comes of a command besides its answer."""
        return replace(self, request_id=None)


def answered(so_far: frozenset[UUID], cause: Cause) -> frozenset[UUID]:
    """The requests a stream has answered: one that comes again under the same id decides nothing (F24)."""
    return so_far if cause.request_id is None else so_far | {cause.request_id}
