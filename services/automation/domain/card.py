"""What a rule may read: an element and what hangs on it, as plain JSON values, and the paths that name them (rule-format 7).

A Card is built once per message from replicas. A Scope is a Card seen by one run: it adds outputs of earlier rules, the
run's clock and, for triggers, the source event. Reading is total: what is missing is None."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from zoneinfo import ZoneInfo

from shared.es.aggregate import Json

NOTHING: Json = {}
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Person:
    """An employee as automation knows him."""

    id: str
    code: str
    name: str
    email: str
    department: str | None
    zone: str
    language: str
    active: bool
    manager_id: str | None

    def shown(self) -> Json:
        return {
            "id": self.id,
            "code": self.code,
            "name": self.name,
            "email": self.email,
            "department": self.department,
            "active": self.active,
        }


@dataclass(frozen=True, slots=True)
class Details:
    """One details record of a contact or company. `addresses` maps address types to addresses."""

    id: str
    owner_type: str
    owner_id: str
    template_code: str
    is_default: bool
    sequence: int
    fields: Json
    addresses: Json


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Names, zone, people and order of the pipeline an element stands in."""

    id: str
    code: str = ""
    zone: str | None = None
    language: str = "en"
    owner_id: str | None = None
    automation_user_id: str | None = None
    trigger_choice: str = "earliest"
    order_version: int = 0
    archived: bool = False
    stages: tuple[Json, ...] = ()

    def stage(self, stage_id: str) -> Json | None:
        return next((stage for stage in self.stages if stage["stage_id"] == stage_id), None)

    def rank(self, stage_id: str) -> tuple[int, int] | None:
        """Process stages by position, then success, then failure (D15); None for a stage that is not here."""
        stage = self.stage(stage_id)
        if stage is None:
            return None
        return (RANKS.get(stage["kind"], 0), int(stage["position"]))


RANKS = {"process": 0, "success": 1, "failure": 2}
NOWHERE = Pipeline("")


class Links(Protocol):
    """What hangs on an element. It is read when it is asked for: most decisions look at little of it."""

    @property
    def pipeline(self) -> Pipeline: ...
    @property
    def contact_id(self) -> str | None: ...
    @property
    def contact(self) -> Json | None: ...
    @property
    def company_id(self) -> str | None: ...
    @property
    def company(self) -> Json | None: ...
    @property
    def invoices(self) -> Sequence[Json]: ...
    @property
    def details(self) -> Sequence[Details]: ...
    @property
    def company_zone(self) -> str: ...

    def person(self, id: str) -> Person | None:
        """None: not heard of."""

    def person_called(self, text: str) -> Person | None:
        """Of those the element or its pipeline names: the one with this id or code."""

    def is_gone(self, file_id: str) -> bool:
        """Whether a file that a rule attaches was removed."""

    def is_open(self, at: datetime) -> bool:
        """Whether the company works at an instant."""


@dataclass(frozen=True, slots=True)
class Card:
    """An element with what hangs on it. `fields` are those of the contracts DealFields and LeadFields."""

    element_type: str
    element_id: str
    fields: Json
    stage_id: str
    stage_kind: str
    visit_id: str
    visit_number: int
    arrived_at: str
    deleted: bool
    links: Links

    @property
    def pipeline(self) -> Pipeline:
        return self.links.pipeline

    @property
    def contact_id(self) -> str | None:
        return self.links.contact_id

    @property
    def company_id(self) -> str | None:
        return self.links.company_id

    @property
    def responsible_id(self) -> str | None:
        found = self.fields.get("responsible_id")
        return str(found) if found else None

    @property
    def zone(self) -> str:
        return self.links.pipeline.zone or self.links.company_zone

    @property
    def responsible(self) -> Person | None:
        return self.links.person(self.responsible_id) if self.responsible_id else None


@dataclass(frozen=True, slots=True)
class Linked:
    """Links that are at hand already."""

    pipeline: Pipeline = NOWHERE
    contact_id: str | None = None
    contact: Json | None = None
    company_id: str | None = None
    company: Json | None = None
    people: Mapping[str, Person] = field(default_factory=dict)
    invoices: Sequence[Json] = ()
    details: Sequence[Details] = ()
    removed_files: frozenset[str] = frozenset()
    company_zone: str = "UTC"
    working_time: Callable[[datetime], bool] = lambda at: True

    def person(self, id: str) -> Person | None:
        return self.people.get(id)

    def person_called(self, text: str) -> Person | None:
        return next((person for person in self.people.values() if text in (person.id, person.code)), None)

    def is_gone(self, file_id: str) -> bool:
        return file_id in self.removed_files

    def is_open(self, at: datetime) -> bool:
        return self.working_time(at)


def no_step(key: str) -> Json:
    return NOTHING


@dataclass(slots=True)
class Scope:
    """A card at one moment, for one run. Remembers what was read, so that ten rules read a field once."""

    card: Card
    now: datetime
    arrival: str = ""
    rule_name: str = ""
    steps: Callable[[str], Json] = no_step
    """What the run of a rule's key left behind."""
    event: Json = field(default_factory=dict)
    values: Mapping[str, Any] = field(default_factory=dict)
    """Constants and variables by `const.<code>` and `var.<code>`."""
    remembered: Json = field(default_factory=dict)
    """Values at arrival of the fields that some condition compares with `changed`."""
    memo: dict[str, Any] = field(default_factory=dict)
    read: dict[str, Any] = field(default_factory=dict)

    def value(self, path: str) -> Any:
        """The value of a normal path (see `normal`); None when it is missing, empty text or an empty list."""
        if path in self.read:
            return self.read[path]
        found = _read(self, path)
        value = None if found == "" or found == [] or found == () else found
        if not is_of_run(path):
            self.read[path] = value
        return value

    def for_run(self, rule_name: str, steps: Callable[[str], Json]) -> Scope:
        """The same moment for another run: what was read of the element is remembered."""
        own = (self.card, self.now, self.arrival, rule_name, steps)
        return Scope(*own, self.event, self.values, self.remembered, self.memo, self.read)

    def local_now(self) -> datetime:
        return self.now.astimezone(zone_of(self.card.zone))


def is_of_run(path: str) -> bool:
    """Whether a path means something else for each run."""
    return path.startswith(("steps.", "rule."))


def zone_of(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        return ZoneInfo("UTC")


def normal(path: str) -> str:
    """A path without the element in front of it: `deal.contact.email` and `contact.email` are one."""
    root, dot, rest = path.partition(".")
    return rest if dot and root in ("deal", "lead") else path


def _read(scope: Scope, path: str) -> Any:
    simple = SIMPLE.get(path)
    if simple is not None:
        return simple(scope)
    root, _, rest = path.partition(".")
    reader = BRANCHES.get(root)
    return reader(scope, rest) if reader else scope.card.fields.get(path)


def _of_contact(scope: Scope, rest: str) -> Any:
    contact = scope.card.links.contact
    return None if contact is None else _of_customer({**contact, "id": scope.card.contact_id}, rest)


def _of_company(scope: Scope, rest: str) -> Any:
    company = scope.card.links.company
    return None if company is None else _of_customer({**company, "id": scope.card.company_id}, rest)


def _of_customer(fields: Json, rest: str) -> Any:
    match rest:
        case "email" | "phone":
            many = fields.get(f"{rest}s") or ()
            return many[0] if many else None
        case "name" if "name" not in fields:
            return f"{fields.get('first_name', '')} {fields.get('last_name', '')}".strip()
        case _:
            return _custom(fields, rest) if rest.startswith("uf.") else fields.get(rest)


def _custom(fields: Json, rest: str) -> Any:
    return (fields.get("custom") or NOTHING).get(rest[3:])


def _of_responsible(scope: Scope, rest: str) -> Any:
    person = scope.card.responsible
    return None if person is None else person.shown().get(rest)


def _of_steps(scope: Scope, rest: str) -> Any:
    key, _, output = rest.partition(".")
    return scope.steps(key).get(output)


def _of_invoices(scope: Scope, rest: str) -> Any:
    invoices = scope.card.links.invoices
    match rest:
        case "open_count":
            return sum(1 for i in invoices if i["status"] in ("draft", "issued", "partially_paid"))
        case "paid_count":
            return sum(1 for i in invoices if i["status"] == "paid")
        case _:
            last = invoices[-1] if invoices else NOTHING
            return last.get(rest.removeprefix("last."))


def _of_now(scope: Scope, rest: str) -> Any:
    local = scope.local_now()
    match rest:
        case "date":
            return local.date().isoformat()
        case "time":
            return local.strftime("%H:%M")
        case "weekday":
            return WEEKDAYS[local.weekday()]
        case "working_time":
            return scope.card.links.is_open(scope.now)
        case _:
            return None


def inside(event: Json, path: str) -> Any:
    """What stands at a path like `order.deal_id`; a member of the whole name comes first."""
    if path in event:
        return event[path]
    found: Any = event
    for name in path.split("."):
        found = found.get(name) if isinstance(found, Mapping) else None
    return found


BRANCHES: dict[str, Callable[[Scope, str], Any]] = {
    "contact": _of_contact,
    "company": _of_company,
    "responsible": _of_responsible,
    "steps": _of_steps,
    "invoices": _of_invoices,
    "now": _of_now,
    "uf": lambda scope, rest: (scope.card.fields.get("custom") or NOTHING).get(rest),
    "const": lambda scope, rest: scope.values.get(f"const.{rest}"),
    "var": lambda scope, rest: scope.values.get(f"var.{rest}"),
    "event": lambda scope, rest: inside(scope.event, rest),
    "rule": lambda scope, rest: scope.rule_name if rest == "name" else None,
}

SIMPLE: dict[str, Callable[[Scope], Any]] = {
    "id": lambda s: s.card.element_id,
    "stage": lambda s: (s.card.pipeline.stage(s.card.stage_id) or NOTHING).get("code"),
    "pipeline": lambda s: s.card.pipeline.code,
    "stage_kind": lambda s: s.card.stage_kind,
    "arrived_at": lambda s: s.card.arrived_at,
    "visit_number": lambda s: s.card.visit_number,
    "responsible": lambda s: s.card.responsible_id,
    "observers": lambda s: s.card.fields.get("observer_ids"),
    "contacts": lambda s: s.card.fields.get("contact_ids"),
    "now": lambda s: s.now.astimezone(UTC).isoformat(),
    "arrival": lambda s: s.arrival,
}
