"""The command line of Dealwright: a client of its HTTP API, on this machine or elsewhere.

Exit codes: 0 done, or nothing to do · 1 a problem, said in a sentence · 2 there are differences, if --exit-code asks for it ·
130 interrupted."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from dealwright.problems import Problem
from dealwright.rules import app as rules

PROBLEM = 1

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(rules, name="rules")


@app.callback()
def root() -> None:
    """Without this, typer takes a single group of commands for the program itself."""


def run(arguments: Sequence[str] | None = None) -> int:
    """The exit code. Wrong usage is a problem like any other: 2 means something else here."""
    try:
        return int(app(args=arguments, prog_name="dealwright", standalone_mode=False) or 0)
    except Problem as problem:
        typer.echo(str(problem), err=True)
    except typer.TyperException as wrong:
        typer.echo(f"{wrong.format_message()} See --help.", err=True)
    except typer.Abort:
        typer.echo("Aborted: nothing was changed.", err=True)
    return PROBLEM


def main() -> None:
    """What the console script calls. Ends the process."""
    sys.exit(run())


if __name__ == "__main__":
    main()
