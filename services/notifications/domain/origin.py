"""What made something happen: a person, a rule, a trigger, an API client. Kept with every event and said with it (README 5)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Origin:
    """`id` is the rule, trigger or API client; `chain` names the rules and triggers that led here, oldest first (D40)."""

    kind: str = "system"
    id: str | None = None
    version: int | None = None
    visit_id: str | None = None
    decision_id: str | None = None
    backfill_id: str | None = None
    acting_fallback: bool = False
    chain: tuple[str, ...] = ()

    @property
    def is_person(self) -> bool:
        """A person, or a program in a person's place: somebody outside our own automation decided it."""
        return self.kind in ("person", "api", "import")
