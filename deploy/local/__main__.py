"""The embedded stack: PostgreSQL, Apache Kafka, a mailbox and the five services on this machine. For development, not for production.

Exit codes: 0 done, and for `status` all ready; 1 a problem, said in one sentence; 3 `status`: nothing runs; 4 `status`: not all ready.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from deploy.local.control import bring_up_stack, drain_stack, service_part, supervise
from deploy.local.logs import followed, known_logs, last_of_each
from deploy.local.operate import create_topics, trace, watch
from deploy.local.problems import StackProblem
from deploy.local.stack import PORTS, SERVICES
from deploy.local.state import State, chosen_folder
from deploy.local.status import GAUGES, PartStatus, StackStatus, status_of

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

Folder = Annotated[str | None, typer.Option("--state", help="State folder; else DEALWRIGHT_STATE_DIR, else .dealwright in the checkout.")]
Ports = Annotated[list[str] | None, typer.Option("--port", help="NAME=NUMBER, repeatable; names: " + " ".join(PORTS))]
Without = Annotated[list[str] | None, typer.Option("--without", help="A part not to start, repeatable: one to be run by hand.")]
AsJson = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command()
def up(state: Folder = None, port: Ports = None, without: Without = None) -> None:
    """Start everything that is not running, wait until it is ready, and say where it is."""
    chosen = State(chosen_folder(state))
    asyncio.run(bring_up_stack(chosen, _asked(port), frozenset(without or ()), _say))
    _show_addresses(chosen)


@app.command()
def down(state: Folder = None) -> None:
    """Drain and stop everything: services, then Kafka, then PostgreSQL. Nothing is lost."""
    asyncio.run(drain_stack(State(chosen_folder(state)), _say))


@app.command()
def status(state: Folder = None, json: AsJson = False) -> None:
    """Services, ports, pids, memory, readiness, consumer lag, dead letters."""
    found = asyncio.run(status_of(State(chosen_folder(state))))
    print(found.as_json()) if json else _show(found)
    raise typer.Exit(0 if found.healthy else 4 if found.running or any(part.pid for part in found.parts) else 3)


@app.command()
def logs(
    parts: Annotated[list[str] | None, typer.Argument(help="Which ones; all by default.")] = None,
    state: Folder = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with new lines, until Ctrl-C.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Of each part.")] = 20,
) -> None:
    """Show the parts' logs, each line with its part's name."""
    chosen = State(chosen_folder(state))
    names = _existing(known_logs(chosen), parts)
    coming = followed(chosen, names) if follow else ()
    for line in itertools.chain(last_of_each(chosen, names, lines), coming):
        print(line, flush=True)


@app.command()
def reset(state: Folder = None) -> None:
    """Stop everything and delete its data, its ports and its secrets. Downloads stay."""
    chosen = State(chosen_folder(state))
    if not chosen.folder.exists():
        return _say(f"nothing to reset: there is no {chosen.folder}")
    asyncio.run(drain_stack(chosen, _say))
    chosen.remove()
    return _say(f"removed {chosen.folder}")


@app.command(hidden=True)
def supervisor(state: Annotated[Path, typer.Option()], without: Without = None) -> None:
    """What `up` starts in the background."""
    asyncio.run(supervise(State(state), frozenset(without or ())))


@app.command()
def run(service: str, state: Folder = None) -> None:
    """One service in the foreground, as the stack would start it; the rest of the stack runs already (`up --without NAME`)."""
    _become(service, state, "serve")


@app.command("service", context_settings={"ignore_unknown_options": True})
def command(service: str, words: Annotated[list[str], typer.Argument(help="A command of that service.")], state: Folder = None) -> None:
    """`python -m services.NAME …` with the stack's settings: parked, rebuild, republish, config …"""
    _become(service, state, *words)


@app.command()
def topics(state: Folder = None, dry: Annotated[bool, typer.Option("--dry", help="Only say what would be done.")] = False) -> None:
    """Create what is missing of the declared topics, and align their settings."""
    asyncio.run(create_topics(State(chosen_folder(state)), dry, _say))


@app.command("watch")
def watched(topic: str, state: Folder = None, all: Annotated[bool, typer.Option("--all", help="From the beginning.")] = False) -> None:
    """Read a topic as it grows, a line per record, until Ctrl-C."""
    asyncio.run(watch(State(chosen_folder(state)), topic, all, _say))


@app.command("trace")
def traced(correlation_id: str, state: Folder = None) -> None:
    """One causal chain over all services, with the time per hop."""
    asyncio.run(trace(State(chosen_folder(state)), correlation_id, _say))


def _become(service: str, state: str | None, *words: str) -> None:
    """This process turns into that command: its output, signals and exit code are the command's own."""
    part = service_part(service, State(chosen_folder(state)))
    asyncio.run(part.prepare())
    os.chdir(part.root)
    os.execve(sys.executable, (sys.executable, "-m", f"services.{service}", *words), dict(part.environment))


def _asked(given: list[str] | None) -> dict[str, int]:
    """--port and DEALWRIGHT_STACK_PORTS (comma-separated); the former wins."""
    asked: dict[str, int] = {}
    for pair in (*filter(None, os.environ.get("DEALWRIGHT_STACK_PORTS", "").split(",")), *(given or ())):
        name, _, number = pair.strip().partition("=")
        if name not in PORTS or not number.isdigit() or not 0 < int(number) < 65536:
            raise StackProblem(f"{pair!r} is not NAME=NUMBER with one of the names {', '.join(PORTS)}.")
        asked[name] = int(number)
    return asked


def _existing(known: Sequence[str], parts: list[str] | None) -> Sequence[str]:
    if unknown := set(parts or ()) - set(known):
        raise StackProblem(f"There is no log of {', '.join(sorted(unknown))}; there are: {', '.join(known) or 'none'}.")
    if not known:
        raise StackProblem("There are no logs: nothing was started in this state folder.")
    return parts or known


def _say(line: str) -> None:
    print(line, flush=True)


def _show_addresses(state: State) -> None:
    ports = state.ports()
    for name in SERVICES:
        print(f"  {name:<14} http://127.0.0.1:{ports[name]}/docs")
    print(f"  {'mailbox':<14} http://127.0.0.1:{ports['mailbox']}/")
    print(f"  {'operator key':<14} {state.operator_key}")
    print(f"  {'logs':<14} {state.logs}")


def _show(found: StackStatus) -> None:
    if not found.parts:
        return _say(f"nothing was ever started in {found.folder}: `make up` starts it")
    rows = [_HEADINGS, *(_row(part) for part in found.parts)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, condition, *further in rows:
        numbers = (cell.rjust(width) for cell, width in zip(further, widths[2:], strict=True))
        print("  ".join((name.ljust(widths[0]), condition.ljust(widths[1]), *numbers)))
    for part in found.parts:
        if part.note:
            print(f"{part.name}: {part.note}")
    if not found.running:
        print("the stack is not running: `make up` starts it, and clears up what was left behind")
    return None


_HEADINGS = ["part", "state", "port", "pid", "memory", "up for", "restarts", *(column.replace("_", " ") for column in GAUGES)]


def _row(part: PartStatus) -> list[str]:
    memory = f"{part.memory >> 20} MB" if part.memory else ""
    numbers = [_text(part.numbers.get(column)) for column in GAUGES]
    return [part.name, part.state, _text(part.port), _text(part.pid), memory, _duration(part.uptime_seconds), str(part.restarts), *numbers]


def _text(value: int | None) -> str:
    return "" if value is None else str(value)


def _duration(seconds: int | None) -> str:
    if seconds is None:
        return ""
    return f"{seconds} s" if seconds < 120 else f"{seconds // 60} min" if seconds < 7200 else f"{seconds // 3600} h"


def main(run: Callable[[], object] = app) -> None:
    """What a person can act on is said in a sentence, without a traceback."""
    try:
        run()
    except StackProblem as problem:
        sys.exit(f"{problem}")
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"{error.filename or 'the system'}: {error.strerror or error}")


if __name__ == "__main__":
    main()
