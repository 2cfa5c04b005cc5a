"""Who is meant, and who stands in when that person has left (D20, D21)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from services.automation.domain.card import Card, Person
from services.automation.domain.definition import Rule


@dataclass(frozen=True, slots=True)
class Chosen:
    """`person_id` None: nobody is left, the thing goes to the unassigned. `fallback`: not the one that was named."""

    person_id: str | None
    fallback: bool = False


def named(setting: str | None, rule: Rule, card: Card) -> str | None:
    """The employee a setting names: `default`, `responsible`, `user:<code>`, or an id or code that a placeholder gave."""
    if setting in (None, "", "default", "responsible"):
        return card.responsible_id
    assert setting is not None
    if setting.startswith("user:"):
        return rule.reference(setting)
    found = card.links.person_called(setting)
    return found.id if found else None


def assignee(setting: str | None, rule: Rule, card: Card) -> Chosen:
    """Named person, else the rule's fallback user, the person's manager, the pipeline's owner, nobody (D21)."""
    first = named(setting, rule, card)
    fallback = rule.reference(rule.fallback_user) if rule.fallback_user else None
    later = (lambda: fallback, lambda: _manager(first, card), lambda: card.pipeline.owner_id)
    return _first_active(first, later, card)


def standing_in(rule: Rule, card: Card) -> str | None:
    """Who is told when the responsible person's hours do not come: those who stand in for him, in the order of D21 (D10).

    None: nobody is left of them."""
    absent = card.responsible_id
    fallback = rule.reference(rule.fallback_user) if rule.fallback_user else None
    chain = (fallback, _manager(absent, card), card.pipeline.owner_id)
    return next((id for id in chain if id != absent and is_active(id, card)), None)


def acting(setting: str, owner_id: str | None, fallback_id: str | None, card: Card, named_id: str | None = None) -> Chosen:
    """In whose name something happens: named person, fallback user, the pipeline's automation user, nobody: the system (D20)."""
    first = {"owner": owner_id, "responsible": card.responsible_id}.get(setting, named_id)
    return _first_active(first, (lambda: fallback_id, lambda: card.pipeline.automation_user_id), card)


def actor(chosen: Chosen) -> str:
    return f"user:{chosen.person_id}" if chosen.person_id else "system"


def is_active(person_id: str | None, card: Card) -> bool:
    """A person not heard of yet counts as active: the fact may be on its way, and the owner of people decides."""
    if person_id is None:
        return False
    person = card.links.person(person_id)
    return person is None or person.active


def person(person_id: str | None, card: Card) -> Person | None:
    return card.links.person(person_id) if person_id else None


def _manager(person_id: str | None, card: Card) -> str | None:
    found = person(person_id, card)
    return found.manager_id if found else None


def _first_active(first: str | None, later: Iterable[Callable[[], str | None]], card: Card) -> Chosen:
    """`later` is looked at only when it comes to it."""
    if is_active(first, card):
        return Chosen(first)
    stand_ins = (find() for find in later)
    return Chosen(next((id for id in stand_ins if is_active(id, card)), None), fallback=True)
