"""Plans, differences and findings for people: what is new, what differs, what goes, and which runs wait."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import typer

Json = dict[str, Any]
MARKS = {"create": ("+", "green"), "update": ("~", "yellow"), "enable": ("~", "yellow"), "disable": ("~", "yellow"), "delete": ("-", "red")}
TO_DO = {"create": "to create", "update": "to change", "enable": "to switch on", "disable": "to switch off", "delete": "to delete"}
DONE = {"create": "created", "update": "changed", "enable": "switched on", "disable": "switched off", "delete": "deleted"}
LONGEST = 70
BECOMES = {
    "kept": "go on as they are",
    "migrated": "go on with the new version, from their original start",
    "skipped": "are skipped when they come due",
    "cancelled": "are cancelled",
}

# ------------------------------------------------------------------------------------------------ changes


def changes(found: Sequence[Json]) -> Iterator[str]:
    """By stage; what stays as it is is only counted."""
    shown = [change for change in found if change["change"] != "unchanged"]
    for place in dict.fromkeys(change.get("stage", "") for change in shown):
        yield typer.style(place or "constants and variables", bold=True)
        for change in shown:
            if change.get("stage", "") == place:
                yield from one_change(change)


def one_change(change: Json) -> Iterator[str]:
    mark, colour = MARKS[change["change"]]
    said = {"enable": ", switched on", "disable": ", switched off"}.get(change["change"], "")
    yield typer.style(f"  {mark} {change['kind']} {change['key']}{said}", fg=colour)
    for difference in change.get("differences", ()):
        yield from one_difference(difference)


def one_difference(difference: Json) -> Iterator[str]:
    before, after = difference.get("before"), difference.get("after")
    where = f"      {difference['pointer'].removeprefix('/')}:"
    if isinstance(before, str) and isinstance(after, str) and "\n" in before + after:
        yield where
        yield from (f"        {line}" for line in lines_that_differ(before, after))
    else:
        yield f"{where} {short(difference, 'before')} -> {short(difference, 'after')}"


def lines_that_differ(before: str, after: str) -> Iterator[str]:
    for line in difflib.ndiff(before.split("\n"), after.split("\n")):
        if line[0] in "+-":
            yield typer.style(line, fg="green" if line[0] == "+" else "red")


def short(difference: Mapping[str, Any], side: str) -> str:
    if side not in difference:
        return "(nothing)"
    text = json.dumps(difference[side], ensure_ascii=False)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…"


def summary(found: Sequence[Json], words: Mapping[str, str] = TO_DO) -> str:
    counts = {change: sum(c["change"] == change for c in found) for change in (*words, "unchanged")}
    said = [f"{counts[change]} {word}" for change, word in words.items() if counts[change]]
    unchanged = f"{counts['unchanged']} unchanged"
    return f"{', '.join(said)}, {unchanged}." if said else f"Nothing differs: {unchanged}."


def differs(found: Iterable[Json]) -> bool:
    return any(change["change"] != "unchanged" for change in found)


# ------------------------------------------------------------------------------------------------ what waits


def waiting(plan: Json, choice: str) -> Iterator[str]:
    """Runs that have not begun, by rule, with what becomes of them."""
    if not plan["waiting"]:
        return
    yield typer.style("Runs that wait", bold=True)
    for touched in plan["waiting"]:
        yield f"  {touched['count']} of rule {touched['key']} on {touched['stage']}{_due(touched)}"
        yield f"      --waiting {choice}: they {BECOMES[touched[choice]]}{_blocked(touched, choice)}"
        for other in ("keep", "migrate", "cancel"):
            if touched[other] != touched[choice]:
                yield f"      --waiting {other}: they would {_would(touched[other])}"
        yield from (f"      {one_run(run)}" for run in touched["runs"])
        if 0 < len(touched["runs"]) < touched["count"]:
            yield f"      and {touched['count'] - len(touched['runs'])} more: GET /v1/runs?rule_id={touched['rule_id']}"


def _due(touched: Json) -> str:
    first, last = moment(touched["first_due_at"]), moment(touched["last_due_at"])
    return "" if not first else f", due {first}" if first == last else f", due {first} to {last}"


def _blocked(touched: Json, choice: str) -> str:
    held = touched["blocked"] and touched[choice] == "migrated"
    return f"; {touched['blocked']} that are blocked stay on their version" if held else ""


def _would(word: str) -> str:
    return BECOMES[word].replace("are ", "be ", 1) if BECOMES[word].startswith("are ") else BECOMES[word]


def one_run(run: Json) -> str:
    due = moment(run["due_at"])
    return f"run {run['run_id']} of element {run['element_id']}: {run['state']}, version {run['rule_version']}{due and f', due {due}'}"


def moment(at: str | None) -> str:
    return "" if at is None else at[:16].replace("T", " ") + " UTC"


def elements(plan: Json) -> Iterator[str]:
    """Who stays on the version that was in force when he arrived."""
    there = [f"{stage['count']} on {stage['stage']}" for stage in plan["elements"] if stage["count"]]
    if there and differs(plan["changes"]):
        yield f"Elements that have arrived already keep their versions: {', '.join(there)}."


# ------------------------------------------------------------------------------------------------ findings


def findings(found: Iterable[Json]) -> Iterator[str]:
    """`file:line:column: code at pointer: what is wrong`, as editors and CI read it."""
    for f in found:
        warning = "warning: " if f.get("severity") == "warning" else ""
        yield f"{f['file']}:{f['line']}:{f['column']}: {warning}{f['code']} at {f['pointer']}: {f['detail']}"
