"""Rules as code: what is in force as text, and text into force."""

from __future__ import annotations

import json as js
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from dealwright import comparing, showing, texts
from dealwright.problems import Problem
from dealwright.server import KEY, KEY_FILE, URL, Refused, Server, place_of
from dealwright.texts import Texts
from services.automation.rule_sets.reading import documents_of

Json = dict[str, Any]
DIFFERENT = 2

HELP = """Rules and triggers as YAML that lies in your repository (docs/rules.md).

A text speaks of the stages that it names and leaves all others alone. What stands on them and not in the text stays, unless
--prune. Nothing is half applied: a plan comes into force as a whole or not at all.

Without --url, the stack on this machine is meant (`make demo`, `make up`), with its operator's key."""

app = typer.Typer(help=HELP, no_args_is_help=True)

Files = Annotated[list[Path], typer.Argument(help="YAML or JSON; several are read as one text, - is the standard input.")]
Url = Annotated[str | None, typer.Option("--url", help=f"Address of automation's API; else {URL}, else the stack on this machine.")]
KeyFile = Annotated[Path | None, typer.Option("--key-file", help=f"File with the API key; else {KEY} or {KEY_FILE}.")]
AsJson = Annotated[bool, typer.Option("--json", help="Answer in JSON, for programs.")]
Prune = Annotated[bool, typer.Option("--prune", help="Delete what stands on the stages named and not in the text; drafts stay.")]
ExitCode = Annotated[bool, typer.Option("--exit-code", help="End with 2 if there are differences.")]
Choice = Literal["keep", "migrate", "cancel"]
Waiting = Annotated[Choice, typer.Option("--waiting", help="Runs that wait: keep their version, migrate to the new one, or cancel them.")]


@app.command()
def export(
    pipeline: Annotated[str | None, typer.Option("--pipeline", "-p", help="Only this one, with the values that its rules name.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file to write; else the standard output.")] = None,
    url: Url = None,
    key_file: KeyFile = None,
    json: AsJson = False,
) -> int:
    """Write what is in force as text. Applied again, it changes nothing."""
    with _server(url, key_file) as server:
        text = _exported(server, pipeline, "json" if json else "yaml")
    if output is None:
        typer.echo(text, nl=not text.endswith("\n"))
        return 0
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise Problem(f"{output} cannot be written: {error.strerror}") from None
    return 0


@app.command()
def check(files: Files, url: Url = None, key_file: KeyFile = None, json: AsJson = False) -> int:
    """Say everything that is wrong with a text, each with file and line. Nothing is written."""
    read = texts.read(files)
    with _server(url, key_file) as server, _findings_shown(read, json) as refused:
        found = _placed(read, server.post("/v1/rule-sets/checks", {"text": read.text})["findings"])
        _say({"findings": found}, [*showing.findings(found), "In order."], json)
    return 1 if refused else 0


@app.command()
def plan(
    files: Files,
    prune: Prune = False,
    waiting: Waiting = "keep",
    exit_code: ExitCode = False,
    url: Url = None,
    key_file: KeyFile = None,
    json: AsJson = False,
) -> int:
    """Say what a text would change, and which runs wait for what it changes. Nothing comes into force."""
    read = texts.read(files)
    with _server(url, key_file) as server, _findings_shown(read, json) as refused:
        made = _planned(server, read, prune)
        _say(made, _shown(made, waiting), json)
        return DIFFERENT if exit_code and showing.differs(made["changes"]) else 0
    return 1 if refused else 0


@app.command("apply")
def apply_(
    files: Files,
    prune: Prune = False,
    waiting: Waiting = "keep",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = None,
    key_file: KeyFile = None,
    json: AsJson = False,
) -> int:
    """Show the plan, ask, and bring all of it into force, or nothing."""
    read = texts.read(files)
    _can_ask(files, yes, json)
    with _server(url, key_file) as server, _findings_shown(read, json) as refused:
        made = _planned(server, read, prune)
        if not json:
            _say(made, _shown(made, waiting), json)
        if showing.differs(made["changes"]):
            return _applied(server, made, waiting, yes, json)
        _say({**made, "applied": []}, ["Nothing to do."], json)
    return 1 if refused else 0


@app.command()
def diff(
    file: Annotated[Path, typer.Argument(help="YAML or JSON; - is the standard input.")],
    other: Annotated[Path | None, typer.Argument(help="A second file; without one, what is in force is compared with the first.")] = None,
    all: Annotated[bool, typer.Option("--all", help="Also stages that the file does not name; without a second file.")] = False,
    exit_code: ExitCode = False,
    url: Url = None,
    key_file: KeyFile = None,
    json: AsJson = False,
) -> int:
    """Compare two files, or what is in force with a file: from the first to the second. Written or not, a default is no difference."""
    read = texts.read([file])
    if other is not None:
        found = comparing.changes(read.documents, texts.read([other]).documents)
    else:
        with _server(url, key_file) as server:
            there = documents_of(_exported(server, None, "yaml"))
        whole = comparing.changes(there, read.documents)
        found = whole if all else comparing.within(whole, read.documents)
    _say({"changes": found}, [*showing.changes(found), showing.summary(found)], json)
    return DIFFERENT if exit_code and showing.differs(found) else 0


# ------------------------------------------------------------------------------------------------ between them


def _server(url: str | None, key_file: Path | None) -> Server:
    return Server(place_of(url, key_file))


def _exported(server: Server, pipeline: str | None, form: str) -> str:
    path = "/v1/rule-sets" if pipeline is None else f"/v1/rule-sets/{_code(pipeline)}"
    return server.get(path, format=form).text


def _code(pipeline: str) -> str:
    if not all(c.isalnum() or c == "-" for c in pipeline):
        raise Problem(f"{pipeline} is no code of a pipeline; it has lower-case letters, digits and hyphens.")
    return pipeline


def _planned(server: Server, read: Texts, prune: bool) -> Json:
    made = server.post("/v1/rule-sets/plans", {"text": read.text, "prune": prune})
    return {**made, "findings": _placed(read, made["findings"])}


def _placed(read: Texts, findings: Iterable[Json]) -> list[Json]:
    return [read.placed(finding) for finding in findings]


def _shown(made: Json, waiting: str) -> Iterator[str]:
    yield from showing.findings(made["findings"])
    yield from showing.changes(made["changes"])
    yield from showing.waiting(made, waiting)
    yield from showing.elements(made)
    yield showing.summary(made["changes"])


def _can_ask(files: Sequence[Path], yes: bool, json: bool) -> None:
    """Before anything is planned. Raises Problem."""
    if not yes and (json or Path("-") in files or not sys.stdin.isatty()):
        raise Problem("Nobody can be asked here: look at the plan first (dealwright rules plan), then add --yes.")


def _applied(server: Server, made: Json, waiting: str, yes: bool, json: bool) -> int:
    if not yes and not typer.confirm("Apply this?"):
        typer.echo("Nothing was applied.", err=True)
        return 1
    try:
        done = server.post("/v1/rule-sets/applications", {"plan_id": made["plan_id"], "waiting": waiting})
    except Refused as refused:
        raise Problem(_not_applied(refused)) from None
    _say({**made, **done}, [f"Applied: {showing.summary(made['changes'], showing.DONE)}"], json)
    return 0


def _not_applied(refused: Refused) -> str:
    if refused.code == "plan_outdated":
        return "Nothing was applied: somebody has changed what this plan rests on since it was made. Run it again to see the new plan."
    return f"Nothing was applied: {refused.detail} ({refused.code})"


@contextmanager
def _findings_shown(read: Texts, json: bool) -> Iterator[list[Json]]:
    """What is wrong with a text goes where its result would; the list is not empty then."""
    found: list[Json] = []
    try:
        yield found
    except Refused as refused:
        if refused.code != "rule_set_invalid":
            raise
        found += [{**finding, "severity": "error"} for finding in _placed(read, refused.errors)]
        _say({"code": refused.code, "detail": refused.detail, "findings": found}, [*showing.findings(found), _counted(found)], json)


def _counted(found: Sequence[Json]) -> str:
    return f"{len(found)} {'faults' if len(found) > 1 else 'fault'}: nothing was planned or applied."


def _say(answer: Json, lines: Iterable[str], json: bool) -> None:
    if json:
        typer.echo(js.dumps(answer, ensure_ascii=False, indent=2))
        return
    for line in lines:
        typer.echo(line)
