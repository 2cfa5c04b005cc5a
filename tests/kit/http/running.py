"""The toy service as a process: `python -m tests.kit.http.running serve`."""

from __future__ import annotations

from shared.runtime.cli import run
from tests.kit.http.jars import SERVICE

if __name__ == "__main__":
    run(SERVICE)
