"""How what is wrong with a rule or a trigger is shown, and what its author may not do."""

from __future__ import annotations

from dataclasses import replace

from services.automation.domain import catalogue, words
from services.automation.domain.check import WARNINGS, Checked, StageName
from services.automation.rule_sets.planning import World, together
from shared.es.aggregate import Json
from shared.es.errors import Fault, Rejected
from shared.http.commands import Answer, Door


def shown_check(checked: Checked) -> Json:
    findings = [
        {"pointer": f"#/definition{f.pointer}", "code": f.code, "detail": f.detail, "severity": severity(f), **said(f)}
        for f in checked.findings
    ]
    return {"valid": not checked.errors, "findings": findings, "definition": checked.definition}


def note_together(checked: Checked, world: World, kind: str, id: str, place: StageName, position: int) -> None:
    """Warnings about a rule or trigger seen beside everything in force; of one that has errors nothing is said."""
    if checked.errors:
        return
    own = {"kind": kind, "id": id, "change": "update", "stage_id": place.stage_id, "position": position}
    for found in together(world, {id: {**own, "definition": checked.definition, "references": checked.references}}):
        if found.id == id:
            checked.find(found.pointer, found.code, found.detail)


def warnings_of(checked: Checked) -> list[Json]:
    return [found for found in shown_check(checked)["findings"] if found["severity"] == "warning"]


def warning(answer: Answer, findings: list[Json]) -> Answer:
    """What is in force now, and what is worth a second look."""
    return replace(answer, body={**answer.body, "findings": findings})


def said(finding: Fault) -> Json:
    return (
        words.FINDINGS[finding.code].shown("says")
        if finding.code in words.FINDINGS
        else {"says": finding.detail, "says_de": finding.detail}
    )


def severity(finding: Fault) -> str:
    return "warning" if finding.code in (*WARNINGS, "not_allowed_for_author") else "error"


def must_be_allowed(door: Door, definition: Json) -> None:
    """Nobody automates what he may not do himself (D67). Raises Rejected(not_allowed_for_author)."""
    if (scope := scope_missing(door, definition)) is not None:
        detail = f"{definition['type']} needs the right {scope}."
        raise Rejected("not_allowed_for_author", detail, errors=(Fault("#/definition/type", "not_allowed_for_author", detail),))


def scope_missing(door: Door, definition: Json) -> str | None:
    known = catalogue.RULE_TYPES.get(str(definition.get("type")))
    scope = catalogue.scope_of(known, definition.get("settings") or {}) if known else None
    return None if scope is None or door.may(scope) else scope


def pointed(checked: Checked) -> tuple[Fault, ...]:
    return tuple(Fault(f"#/definition{f.pointer}", f.code, f.detail) for f in checked.errors)


def owner_of(world: World, place: StageName) -> str:
    return str(next(row["owner_id"] for row in world.pipelines if row["id"] == place.pipeline_id))
