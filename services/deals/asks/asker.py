"""Who asks, and why."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from services.deals.domain.origin import Cause, Origin
from shared.es.addressed import Facts


@dataclass(frozen=True, slots=True)
class Asker:
    """`actor`: user:<employee id>, key:<client id> or system. `request_id`: answers repeat it; None over HTTP."""

    tenant: UUID
    actor: str
    origin: Origin
    request_id: UUID | None = None

    def cause(self, seen: Facts) -> Cause:
        return Cause(self.origin, seen.now, self.request_id)

    @property
    def employee_id(self) -> UUID | None:
        """The employee in whose name it happens, if it is one."""
        kind, _, id = self.actor.partition(":")
        try:
            return UUID(id) if kind == "user" else None
        except ValueError:
            return None
