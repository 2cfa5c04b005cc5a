"""A service that is told while it runs where to crash: `python -m tests.chaos.armed billing serve`.

Whoever wants it to writes FAILPOINTS text into the file `failpoints` of its state folder; it is taken within a moment, and
replaces what was planted before. Empty text removes everything."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from pathlib import Path

from shared.runtime.cli import run
from shared.runtime.failpoints import plant

FILE = "failpoints"
LOOK_EVERY = 0.05


def listen(file: Path, over: threading.Event) -> None:
    """A thread's work: plants what is written into the file, and takes it away."""
    while not over.wait(LOOK_EVERY):
        try:
            text = file.read_text()
        except FileNotFoundError:
            continue
        file.unlink(missing_ok=True)
        plant(text)


def tell(folder: Path, text: str) -> None:
    """Whole or not at all."""
    unfinished = folder / f"{FILE}.new"
    unfinished.write_text(text)
    unfinished.replace(folder / FILE)


def main() -> None:
    name = sys.argv.pop(1)
    file = Path(os.environ["DEALWRIGHT_STATE_DIR"]) / FILE
    threading.Thread(target=listen, args=(file, threading.Event()), name="failpoints", daemon=True).start()
    run(importlib.import_module(f"services.{name}.service").SERVICE)


if __name__ == "__main__":
    main()
