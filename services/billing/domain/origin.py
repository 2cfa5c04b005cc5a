"""Who asked and why: kept with every event and said with it (domain overview, sections 5 and 6)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """`kind`: person, rule, trigger, import, api, system. `id` is the rule, trigger or API client.

    `chain`: the rules and triggers that led here, at most 10, oldest first (D40)."""

    kind: str = "system"
    id: str | None = None
    version: int | None = None
    visit_id: str | None = None
    decision_id: str | None = None
    backfill_id: str | None = None
    acting_fallback: bool = False
    chain: tuple[str, ...] = ()

    @property
    def rule_id(self) -> str | None:
        return self.id if self.kind == "rule" else None


SYSTEM = Origin()


@dataclass(frozen=True, slots=True)
class Asked:
    """What led to an event, and the request it answers; `request_id` is None when a person did it over HTTP."""

    origin: Origin = SYSTEM
    request_id: str | None = None


BY_ITSELF = Asked()
"""Nobody asked: a date came, a provider reported."""
