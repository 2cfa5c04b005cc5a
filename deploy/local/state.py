"""What the stack remembers between two starts, all in one folder: ports, secrets, pids, logs, data. Two folders are two stacks."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.network import free_port, is_free
from deploy.local.postgres import home_for
from deploy.local.problems import StackProblem
from deploy.local.process import own_folder
from shared.runtime.clock import new_token

REPOSITORY = Path(__file__).parents[2]
DEFAULT = REPOSITORY / ".dealwright"
ROOM = 500 * 1024 * 1024
"""Bytes a start needs at least: Kafka's and PostgreSQL's first segments, and some work."""


def chosen_folder(named: str | None) -> Path:
    """--state, else DEALWRIGHT_STATE_DIR, else `.dealwright` in the checkout."""
    return Path(named or os.environ.get("DEALWRIGHT_STATE_DIR") or DEFAULT).absolute()


@dataclass(frozen=True, slots=True)
class State:
    """Everything under `folder`; nothing is written before `prepare`."""

    folder: Path

    @property
    def logs(self) -> Path:
        return self.folder / "logs"

    @property
    def pids(self) -> Path:
        return self.folder / "pids"

    @property
    def progress(self) -> Path:
        """What the supervisor says while it starts; `up` reads it aloud."""
        return self.folder / "progress"

    @property
    def parts(self) -> Path:
        """What the supervisor knows of its parts, for `status`."""
        return self.folder / "parts.json"

    @property
    def postgres_home(self) -> Path:
        return home_for(self.folder / "postgres")

    def exists(self) -> bool:
        return (self.folder / "ports.json").exists()

    def log(self, part: str) -> Path:
        return self.logs / f"{part}.log"

    def pid(self, part: str) -> Path:
        return self.pids / f"{part}.json"

    def of_service(self, service: str) -> Path:
        """The service's own DEALWRIGHT_STATE_DIR: the operator's key, and what it must not forget while its database is away."""
        return self.folder / service

    @property
    def files(self) -> Path:
        """Bytes of attachments: deals keeps them, notifications sends them."""
        return self.folder / "files"

    @property
    def operator_key(self) -> Path:
        """Written by deals at its first start, with mode 0600."""
        return self.of_service("deals") / "operator.key"

    def prepare(self) -> None:
        """Folders, and room in them. Raises StackProblem."""
        own_folder(self.folder)
        if (free := shutil.disk_usage(self.folder).free) < ROOM:
            raise StackProblem(f"The disk of {self.folder} has {free >> 20} MB left; the stack needs {ROOM >> 20} MB to start.")
        for folder in (self.logs, self.pids, self.files):
            folder.mkdir(mode=0o700, exist_ok=True)

    @contextlib.contextmanager
    def sole_user(self) -> Iterator[None]:
        """One of `up`, `down` and `reset` at a time. Raises StackProblem when another one is at work."""
        with (self.folder / ".lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StackProblem(f"Another `up`, `down` or `reset` is at work on {self.folder}: wait for it.") from error
            yield

    def ports(self) -> dict[str, int]:
        return _read(self.folder / "ports.json")

    def choose_ports(self, preferred: Mapping[str, int], asked: Mapping[str, int]) -> tuple[dict[str, int], list[str]]:
        """The port of each part, kept for next time, and a sentence for each that is not the one expected.

        `asked`: a person's wish; one that is taken raises StackProblem. Kept or preferred ones give way.
        """
        kept, chosen, said = self.ports(), dict[str, int](), list[str]()
        for name, default in preferred.items():
            wanted = asked.get(name) or kept.get(name) or default
            chosen[name] = wanted if wanted not in chosen.values() and is_free(wanted) else 0
            if not chosen[name] and name in asked:
                raise StackProblem(f"Port {wanted}, asked for {name}, is taken by another program.")
            if not chosen[name]:
                chosen[name] = free_port({*chosen.values(), *preferred.values()})
                said.append(f"port {wanted} is taken by another program: {name} uses {chosen[name]}")
        _write(self.folder / "ports.json", chosen)
        return chosen, said

    def secret(self, name: str) -> str:
        """Made at first use, kept in a file only its owner reads."""
        path = self.folder / "secrets.json"
        known = _read(path)
        if name not in known:
            _write(path, known | {name: new_token(256)})
        return str(_read(path)[name])

    def remove(self) -> None:
        """The folder and, where PostgreSQL lives elsewhere, that one; never a folder this program did not make. Raises StackProblem."""
        if not self.exists():
            raise StackProblem(f"{self.folder} does not look like a stack's folder (no ports.json in it): nothing was removed.")
        for folder in (self.postgres_home, self.folder):
            shutil.rmtree(folder, ignore_errors=True)
        if self.folder.exists():
            raise StackProblem(f"{self.folder} could not be removed whole: look at what is left in it.")


def _read(path: Path) -> dict[str, int]:
    try:
        found: dict[str, int] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise StackProblem(f"{path} is damaged ({error}): run `make reset`, or put it right.") from error
    return found


def _write(path: Path, content: Mapping[str, object]) -> None:
    """0600, whole or not at all."""
    unfinished = path.with_suffix(".new")
    unfinished.touch(mode=0o600)
    unfinished.write_text(json.dumps(content, indent=1) + "\n")
    unfinished.replace(path)
