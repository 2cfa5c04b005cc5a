"""What the picker offers: every path that a text or a condition may name here, ready to be put in (S14-S16, G39).

Pure: custom fields, values and the rules above come from outside. Paths are written as operators write them (`deal.contact.email`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from services.automation.domain import fields, words
from services.automation.domain.card import WEEKDAYS
from services.automation.domain.catalogue import RULE_TYPES, TRIGGER_TYPES
from services.automation.domain.words import Words, same
from shared.es.aggregate import Json

OWNERS = ("contact", "company")


@dataclass(frozen=True, slots=True)
class CustomField:
    """A field of a form. `of`: deal, lead, contact, company."""

    of: str
    code: str
    label: str
    kind: str
    options: tuple[str, ...] = ()
    """What a select may hold."""


@dataclass(frozen=True, slots=True)
class Above:
    """A rule above on the same stage. `ordered`: the rule in question is certain to run after it (G10)."""

    key: str
    rule_type: str
    name: str
    ordered: bool
    settings: Json = dataclasses.field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Placeholder:
    path: str
    kind: str
    source: str
    label: Words
    ordered: bool = True
    options: tuple[str, ...] = ()

    def shown(self) -> Json:
        place = {"path": self.path, "placeholder": f"{{{{{self.path}}}}}", "kind": self.kind, "source": self.source}
        more: Json = {"ordered": self.ordered} if self.source == "steps" else {"options": list(self.options)} if self.options else {}
        return {**place, **self.label.shown(), **words.SOURCES[self.source].shown("source_label"), **more}

    def is_about(self, text: str) -> bool:
        """Whether every word of the text occurs in it, in either language."""
        whole = f"{self.path} {self.label.en} {self.label.de}".casefold()
        return all(word in whole for word in text.casefold().split())


OPTIONS = {"stage_kind": ("process", "success", "failure"), "now.weekday": WEEKDAYS}
"""Of standard fields."""


def of_fields(element_type: str) -> Iterator[Placeholder]:
    """The element's own fields and those of its contact, company, responsible person and invoices."""
    for path, kind in fields.standard_of(element_type).items():
        source = path.partition(".")[0] if "." in path else "element"
        if path in fields.CLOCK:
            yield Placeholder(path, kind, "run", words.FIELDS[path], options=OPTIONS.get(path, ()))
        elif source != "invoices" or element_type == "deal":
            yield Placeholder(f"{element_type}.{path}", kind, source, words.FIELDS[path], options=OPTIONS.get(path, ()))


def of_custom_fields(element_type: str, custom: Iterable[CustomField]) -> Iterator[Placeholder]:
    """Those of the element, and of the contact and company linked to it (S16)."""
    for field in custom:
        if field.of == element_type:
            yield Placeholder(f"{element_type}.uf.{field.code}", field.kind, "element", same(field.label), options=field.options)
        elif field.of in OWNERS:
            owner = words.SOURCES[field.of]
            label = Words(f"{owner.en}: {field.label}", f"{owner.de}: {field.label}")
            yield Placeholder(f"{element_type}.{field.of}.uf.{field.code}", field.kind, field.of, label, options=field.options)


def of_values(element_type: str, values: Iterable[tuple[str, str, str]]) -> Iterator[Placeholder]:
    """Constants and variables as (path, kind, visibility): those that can be seen here (G35)."""
    for path, kind, visibility in values:
        if visibility in ("everywhere", "crm", element_type):
            yield Placeholder(path, kind, "constants" if path.startswith("const.") else "variables", same(path.partition(".")[2]))


def of_rules(above: Iterable[Above], fields_of: Mapping[str, Collection[str]]) -> Iterator[Placeholder]:
    """Outputs of the rules above (S12); what is not ordered can be used once this rule waits for that one.

    `fields_of`: codes of fields by details template."""
    for rule in above:
        for name, kind in RULE_TYPES[rule.rule_type].outputs_with(rule.settings, fields_of).items():
            output = words.label(words.OUTPUTS, name)
            label = Words(f"{rule.name}: {output.en}", f"{rule.name}: {output.de}")
            yield Placeholder(f"steps.{rule.key}.{name}", kind, "steps", label, rule.ordered)


def of_event(trigger_type: str) -> Iterator[Placeholder]:
    """What a trigger's condition reads of what has happened."""
    known = TRIGGER_TYPES.get(trigger_type)
    for name, kind in known.event_fields if known else ():
        yield Placeholder(f"event.{name}", kind, "event", words.EVENT_FIELDS[name])


def of_declared(declared: Mapping[str, str]) -> Iterator[Placeholder]:
    """What a trigger declares of another program's event: it has no words but the sender's."""
    for path, kind in declared.items():
        yield Placeholder(f"event.{path}", kind, "event", same(path))


def rules_above(stage: Sequence[tuple[str, str, str, str, Json]], execution: str) -> list[Above]:
    """The rules above one with this execution. `stage`: key, type, name, execution and settings of each, in order.

    A rule is certain to run after another if it and all between are `after_previous` (G10)."""
    executions = [rule[3] for rule in stage] + [execution]
    return [
        Above(key, rule_type, name, all(e == "after_previous" for e in executions[n + 1 :]), settings)
        for n, (key, rule_type, name, _, settings) in enumerate(stage)
        if rule_type in RULE_TYPES
    ]
