"""Plays the story on a running stack, visibly. Exit code 0 only if every step was really observed.

make demo, or on a running stack: python -m examples.story [--state .dealwright]"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from rich.console import Console

from examples.foreign_backend import NoAnswer
from examples.story.scene import Addresses, Scene, StoryBroken, addresses_of
from examples.story.steps import STORY, Fact
from examples.story.watching import NotSeen, Watcher

BROKEN = 1
REPOSITORY = Path(__file__).parents[2]


def tell(addresses: Addresses, console: Console) -> int:
    """Number of steps that were observed; all of them, or the story broke."""
    with Watcher(addresses.bootstrap) as watcher:
        scene = Scene(addresses, watcher)
        try:
            for number, (title, step) in enumerate(STORY, 1):
                console.print(f"\n[bold]{number:>2}  {title}[/]")
                for fact in step(scene):
                    console.print(_line(fact), highlight=False)
        except (StoryBroken, NotSeen, NoAnswer) as broken:
            console.print(f"[bold red]    the story broke here:[/] {broken}", highlight=False)
            return number - 1
        finally:
            scene.close()
    return len(STORY)


def _line(fact: Fact) -> str:
    after = f"{fact.after_ms:7.0f} ms" if fact.after_ms is not None else " " * 10
    carried = f"  [dim]{fact.carried_by}[/]" if fact.carried_by else ""
    return f"    [green]✓[/] {after}  {fact.what}{carried}"


def where_to_look(addresses: Addresses, console: Console) -> None:
    """What a person may do next with what is running."""
    console.print("\n[bold]The system is running. Where to look:[/]", highlight=False)
    for service in ("deals", "automation", "billing", "scheduler", "notifications"):
        console.print(f"    {service:14} {addresses.url(service)}/docs", highlight=False)
    console.print(f"    {'mailbox':14} {addresses.url('mailbox')}/", highlight=False)
    key = f"$(cat {_short(addresses.key_file)})"
    curl = f'curl -H "Authorization: Bearer {key}" {addresses.url("deals")}/v1/deals'
    console.print(f"\n    the deals       {curl}", highlight=False, soft_wrap=True)
    console.print("    read a topic    make watch TOPIC=deals.events", highlight=False)
    console.print(
        f"    publish         .venv/bin/python -m examples.foreign_backend --bootstrap {addresses.bootstrap} --tenant <tenant id>",
        highlight=False,
        soft_wrap=True,
    )
    console.print("    how it is       make status        stop it   make down\n", highlight=False)


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=Path, default=REPOSITORY / ".dealwright", help="the stack's folder")
    given = parser.parse_args()
    console = Console(soft_wrap=True)
    try:
        addresses = addresses_of(given.state)
    except StoryBroken as broken:
        console.print(f"[bold red]{broken}[/]")
        return BROKEN
    began = time.monotonic()
    observed = tell(addresses, console)
    if observed < len(STORY):
        console.print(f"\n[bold red]{observed} of {len(STORY)} steps were observed.[/] The logs: make logs", highlight=False)
        return BROKEN
    console.print(f"\n[bold green]All {len(STORY)} steps were observed[/] in {time.monotonic() - began:.0f} s.", highlight=False)
    where_to_look(addresses, console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
