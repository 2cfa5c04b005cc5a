"""Kafka's jars: pinned by SHA-256 in `jgo.lock.toml`, fetched once into the user's cache, compared with the lock at every start.

`python -m deploy.local.jars` resolves `jgo.toml` anew and writes the lock (about 20 s); nothing else ever resolves.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deploy.local.problems import StackProblem

HERE = Path(__file__).parent
LOCK = HERE / "jgo.lock.toml"
THREADS = 8
ATTEMPTS = 3


@dataclass(frozen=True, slots=True, order=True)
class Jar:
    """One entry of the lock; `sha256` in hexadecimal."""

    group: str
    artifact: str
    version: str
    sha256: str

    @property
    def file(self) -> str:
        return f"{self.artifact}-{self.version}.jar"


def locked() -> tuple[Jar, ...]:
    entries = tomllib.loads(LOCK.read_text())["dependencies"]
    return tuple(Jar(one["groupId"], one["artifactId"], one["version"], one["sha256"]) for one in entries)


def kafka_version() -> str:
    return next(jar.version for jar in locked() if jar.artifact == "kafka_2.13")


def cache_folder() -> Path:
    """DEALWRIGHT_CACHE_DIR, else the place this system has for caches."""
    if named := os.environ.get("DEALWRIGHT_CACHE_DIR"):
        return Path(named).absolute()
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "dealwright"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "dealwright"


def class_path(progress: Callable[[str], None]) -> tuple[Path, ...]:
    """Every jar of the lock, verified, fetched first where it is missing; the order is the lock's (KF-1).

    Raises StackProblem, naming the file, when one differs from the lock: it is deleted, so that the next start fetches it again.
    """
    folder = cache_folder() / "jars"
    with _sole_user_of(folder):
        missing = [jar for jar in locked() if not (folder / jar.file).exists()]
        if missing:
            _fetch(missing, folder, progress)
        with ThreadPoolExecutor(THREADS) as threads:
            return tuple(threads.map(lambda jar: _verified(folder / jar.file, jar), locked()))


@contextlib.contextmanager
def _sole_user_of(folder: Path) -> Iterator[None]:
    """Two starts at once must not see half a jar."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise StackProblem(
            f"The cache folder {folder} cannot be used ({error.strerror}): name another one in DEALWRIGHT_CACHE_DIR."
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _fetch(missing: list[Jar], folder: Path, progress: Callable[[str], None]) -> None:
    """Into a temporary folder, and from there one by one, once each is verified."""
    progress(f"fetching {len(missing)} of Kafka's {len(locked())} jars, once, into {folder}")
    logging.getLogger("jgo").setLevel(logging.ERROR)
    with tempfile.TemporaryDirectory(dir=folder) as unfinished, ThreadPoolExecutor(THREADS) as threads:
        waiting = [threads.submit(_fetch_one, jar, Path(unfinished), folder) for jar in missing]
        for count, done in enumerate(as_completed(waiting), start=1):
            done.result()
            if count % 10 == 0 or count == len(missing):
                progress(f"fetched {count} of {len(missing)} jars")


def _fetch_one(jar: Jar, unfinished: Path, folder: Path) -> None:
    for attempt in range(ATTEMPTS):
        try:
            fetched = _maven(unfinished / str(attempt)).project(jar.group, jar.artifact).at_version(jar.version).artifact().resolve()
            break
        except Exception as error:  # jgo raises plain RuntimeError, requests its own; whichever, the answer is to try again
            reason = error
    else:
        raise StackProblem(
            f"{jar.file} could not be fetched ({reason}). Is the network reachable? The next start goes on from here."
        ) from reason
    shutil.move(_verified(Path(fetched), jar), folder / jar.file)


def _maven(cache: Path) -> Any:
    from jgo.maven import MavenContext

    return MavenContext(repo_cache=cache, timeout=30)


def _verified(path: Path, jar: Jar) -> Path:
    with path.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != jar.sha256:
        path.unlink()
        raise StackProblem(
            f"{path.name} is not the file the lock names (SHA-256 {found}, expected {jar.sha256}). It was deleted; start again."
        )
    return path


def write_lock() -> None:
    """Resolve jgo.toml and note what came of it: coordinates and SHA-256 only, no host, no path, no time."""
    coordinates = tomllib.loads((HERE / "jgo.toml").read_text())["dependencies"]["coordinates"]
    with tempfile.TemporaryDirectory() as cache:
        maven = _maven(Path(cache))
        named, further = maven.resolver.resolve([maven.create_dependency(one) for one in coordinates])
        jars = sorted(_measured(one.artifact) for one in (*named, *further))
    LOCK.write_text("\n".join(("# Written by `python -m deploy.local.jars` from jgo.toml. Do not edit.\n", *map(_entry, jars))))


def _entry(jar: Jar) -> str:
    values = {"groupId": jar.group, "artifactId": jar.artifact, "version": jar.version, "sha256": jar.sha256}
    return "[[dependencies]]\n" + "".join(f'{name} = "{value}"\n' for name, value in values.items())


def _measured(artifact: Any) -> Jar:
    digest = hashlib.sha256(Path(artifact.resolve()).read_bytes()).hexdigest()
    return Jar(artifact.groupId, artifact.artifactId, artifact.version, digest)


if __name__ == "__main__":
    write_lock()
