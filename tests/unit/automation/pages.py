"""The pages about rule and trigger types, read as data: what stands in their tables, and what the catalogue would write there."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any
from uuid import UUID

from services.automation.domain import words
from services.automation.domain.allowed import MOST_REMINDERS
from services.automation.domain.catalogue import LATE_LIMITS, RULE_TYPES, TRIGGER_TYPES, RuleType, Setting, TriggerType
from services.automation.rule_sets.planning import Planned, World, plan_of
from services.automation.rule_sets.reading import documents_of
from shared.es.aggregate import Json
from tests.scenarios.ground import PEOPLE, PIPELINES

DOCS = Path(__file__).parents[3] / "docs"
Kind = RuleType | TriggerType
KINDS: dict[str, Kind] = {**RULE_TYPES, **TRIGGER_TYPES}
YAML = re.compile(r"^```yaml\n(.*?)^```", re.MULTILINE | re.DOTALL)
NOTHING = "-"


def page_of(name: str) -> Path:
    return DOCS / ("rules" if name in RULE_TYPES else "triggers") / f"{name}.md"


@dataclass(frozen=True, slots=True)
class Page:
    """A document by its headings of the second level."""

    text: str

    @property
    def title(self) -> str:
        return self.text.splitlines()[0].removeprefix("# ")

    def section(self, heading: str) -> str:
        """What stands below a heading; KeyError when there is none."""
        parts = re.split(r"^## (.+)$", self.text, flags=re.MULTILINE)
        return dict(zip(parts[1::2], parts[2::2], strict=True))[heading]

    def table(self, heading: str) -> list[list[str]]:
        """The rows of the first table below a heading, without its head."""
        return rows_of(self.section(heading))

    @property
    def examples(self) -> list[str]:
        return YAML.findall(self.text)


def rows_of(text: str) -> list[list[str]]:
    """The rows of the first table in a text, without its head."""
    table = re.search(r"(?:^\|.*\n)+", text, re.MULTILINE)
    lines = table[0].splitlines()[2:] if table else []
    return [[cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def read(name: str) -> Page:
    return Page(page_of(name).read_text())


# ------------------------------------------------------------------------------------------------ what the catalogue says

ELEMENTS = {"deal": "deals", "lead": "leads"}
TAKES = {
    "bool": "`true`, `false`",
    "person": "a person",
    "pipeline": "code of a pipeline",
    "stage": "`first` or code of a stage",
    "own_stage": "code of a stage of the rule's pipeline",
    "endpoint": "id of a webhook endpoint",
    "span": "a span of time like `30min` or `2d`, at least a minute, at most 365 days",
    "declared_outputs": "list of at most 50 of `{ name, type, required, multiple }`",
    "deadline": "a [deadline](../time-settings.md#deadlines)",
    "details_template": "code of a details template",
    "variable": "code of a variable",
    "room": "code of a room",
    "customers": "`none`, `primary`, `all`, `contact:<id>`",
    "code": "a code",
    "event_type": "type of a CloudEvent",
    "event_path": "a path like `order.deal_id`",
    "event_fields": "map of paths to kinds",
    "scope": "`any`, `all_open`, `created_by:<pipeline>/<stage>#<rule id>`",
    "threshold": '`"30%"`, `{ amount: "50.00", currency: EUR }`',
}
"""By kind of setting, where nothing depends on the setting itself."""


def takes(s: Setting) -> str:
    """What a page says that a setting takes."""
    return (", placeholders" if s.template else "").join(_takes(s))


def _takes(s: Setting) -> tuple[str, str]:
    match s.kind:
        case "text" | "long_text":
            return "text", f", at most {s.most} characters" if s.most else ""
        case "choice" | "address_type":
            return "one of " + ", ".join(f"`{choice}`" for choice in s.choices), ""
        case "choices":
            return "list of " + ", ".join(f"`{choice}`" for choice in s.choices), ""
        case "days":
            return f"a span in days, {s.least} to {s.most}", ""
        case "minutes":
            return f"minutes, {s.least} to {s.most}", ""
        case "minutes_list":
            return f"list of at most {MOST_REMINDERS} minutes, {s.least} to {s.most}", ""
        case "people":
            return f"list of at most {s.most} persons", ""
        case "recipients":
            return f"a recipient, or a list of at most {s.most}", ""
        case "files":
            return f"list of at most {s.most} file ids", ""
        case "texts" | "field_values" | "payload":
            return "map of names to texts", f", at most {s.most}"
        case _:
            return TAKES.get(s.kind, s.kind.replace("_", " ")), ""


def default(s: Setting) -> str:
    """What a page says that holds when the setting is left out."""
    if s.required:
        return "required"
    return NOTHING if s.default is None else f"`{_yaml(s.default)}`"


def _yaml(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def settings_table(kind: Kind) -> list[list[str]]:
    """Name, what it takes, default of every setting, in order."""
    return [[f"`{s.name}`", takes(s), default(s)] for s in kind.settings]


def facts(kind: Kind) -> str:
    """The sentences that a page begins with."""
    elements = " and ".join(ELEMENTS[element] for element in kind.element_types)
    said = [f"`{kind.name}`, group *{words.GROUPS[kind.group].en}*, for {elements}."]
    if isinstance(kind, RuleType):
        said += _facts_of_rule(kind)
    return " ".join(said)


def _facts_of_rule(kind: RuleType) -> list[str]:
    held = "holds the rule back" if kind.on_unresolved == "block" else "is left empty"
    limit = LATE_LIMITS[kind.lateness]
    late = [f"Due more than {limit.replace('h', ' h')} late, it waits for a person."] if limit else []
    needs = [f"Its author needs the right `{kind.needs}`."] if kind.needs else []
    return [f"A placeholder without a value {held}.", *late, *needs]


def outputs_table(kind: Kind) -> list[list[str]]:
    """What comes out of a rule, or what a trigger's condition reads of the event."""
    if isinstance(kind, RuleType):
        return [[f"`{name}`", of] for name, of in kind.outputs]
    return [[f"`event.{name}`", of] for name, of in kind.event_fields]


# ------------------------------------------------------------------------------------------------ where the pages' texts are at home

FORMS = {"deal": {"contract_url": "url", "meeting": "datetime"}, "contact": {"city": "string"}}
"""Custom fields with their types: those of the ground and one more."""
TEMPLATE = ("first_name", "last_name", "iban")
"""Fields of the details template `person`."""
ROOMS = ("big",)
ENDPOINT = "0195d1c0-0000-7000-8000-000000000001"
APP_TRIGGERS = (("phone", "call-ended"),)
"""App and code of what apps have registered."""


def planned(text: str) -> Planned:
    """What a text would change where there are no rules yet, with every finding."""
    new_id = count(1)
    world = World(
        _pipelines(),
        _people(),
        (),
        _field_sets(),
        [{"code": r, "id": r, "retired": False} for r in ROOMS],
        (),
        (),
        (),
        _endpoints(),
        [{"path": "/".join(named)} for named in APP_TRIGGERS],
    )
    return plan_of(documents_of(text), world, "1", lambda: UUID(int=next(new_id)))


def _endpoints() -> list[Json]:
    return [{"id": ENDPOINT, "purpose": "rule", "state": "active"}]


def _pipelines() -> list[Json]:
    return [
        {
            "id": code,
            "code": code,
            "archived": False,
            "element_type": "lead" if code == "leads" else "deal",
            "owner_id": "1",
            "stages": [{"stage_id": f"{code}/{stage}", "code": stage} for stage in stages.split()],
        }
        for code, stages in PIPELINES.items()
    ]


def _people() -> list[Json]:
    return [{"id": code, "code": code, "active": True, "roles": ["finance"] if code == "5" else []} for code, _ in PEOPLE.values()]


def _field_sets() -> list[Json]:
    template = {"kind": "details_template", "template_code": "person", "owner_type": "person"}
    forms = [
        {"kind": "form", "element_type": of, "fields": [{"code": c, "field_type": t, "multiple": False} for c, t in fields.items()]}
        for of, fields in FORMS.items()
    ]
    return [{**template, "fields": [{"code": code} for code in TEMPLATE]}, *forms]
