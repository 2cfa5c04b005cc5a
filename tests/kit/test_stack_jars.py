"""Kafka's jars are those of the lock, byte for byte, or the stack says which one is not."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from deploy.local import jars
from deploy.local.jars import LOCK, Jar, class_path, locked
from deploy.local.problems import StackProblem

CONTENT = b"a jar, nearly"


def said(line: str) -> None:
    """Nobody listens."""


@pytest.fixture
def one_jar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Jar:
    """A lock with one entry, and a cache of its own."""
    jar = Jar("org.example", "thing", "1.0", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setenv("DEALWRIGHT_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(jars, "locked", lambda: (jar,))
    return jar


class Fetched:
    """What jgo would have fetched."""

    def __init__(self, content: bytes, cache: Path) -> None:
        self._content = content
        self._cache = cache

    def project(self, group: str, artifact: str) -> Fetched:
        return self

    at_version = artifact = lambda self, *named: self

    def resolve(self) -> Path:
        self._cache.mkdir(parents=True, exist_ok=True)
        path = self._cache / "thing-1.0.jar"
        path.write_bytes(self._content)
        return path


def test_the_lock_names_every_jar_once_with_its_hash_and_nothing_else() -> None:
    entries = locked()
    assert len(entries) == 46
    assert len({jar.file for jar in entries}) == len(entries)
    assert all(re.fullmatch(r"[0-9a-f]{64}", jar.sha256) for jar in entries)
    assert not re.search(r"https?:|/", "\n".join(line for line in LOCK.read_text().splitlines() if not line.startswith("#")))


def test_logging_has_the_binding_of_its_api() -> None:
    versions = {jar.artifact: jar.version for jar in locked() if jar.group == "org.slf4j"}
    assert versions["slf4j-simple"] == versions["slf4j-api"]


def test_a_jar_in_the_cache_is_not_fetched_again(one_jar: Jar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / one_jar.file).write_bytes(CONTENT)
    monkeypatch.setattr(jars, "_maven", lambda cache: pytest.fail("fetched"))
    assert class_path(said) == (tmp_path / "jars" / one_jar.file,)


def test_a_changed_jar_in_the_cache_is_named_and_deleted(one_jar: Jar, tmp_path: Path) -> None:
    (tmp_path / "jars").mkdir()
    (tmp_path / "jars" / one_jar.file).write_bytes(CONTENT + b"!")
    with pytest.raises(StackProblem, match=r"thing-1\.0\.jar is not the file the lock names"):
        class_path(said)
    assert not (tmp_path / "jars" / one_jar.file).exists()


def test_a_missing_jar_is_fetched_and_that_is_said(one_jar: Jar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    monkeypatch.setattr(jars, "_maven", lambda cache: Fetched(CONTENT, cache))
    assert class_path(lines.append)[0].read_bytes() == CONTENT
    assert lines[-1] == "fetched 1 of 1 jars"


def test_a_wrong_jar_never_enters_the_cache(one_jar: Jar, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jars, "_maven", lambda cache: Fetched(b"something else", cache))
    with pytest.raises(StackProblem, match="is not the file the lock names"):
        class_path(said)
    assert list((tmp_path / "jars").glob("*.jar")) == []


def test_without_a_network_the_sentence_says_so(one_jar: Jar, monkeypatch: pytest.MonkeyPatch) -> None:
    def away(cache: Path) -> None:
        raise ConnectionError("no route")

    monkeypatch.setattr(jars, "_maven", away)
    with pytest.raises(StackProblem, match="could not be fetched"):
        class_path(said)


def test_a_cache_that_cannot_be_used_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DEALWRIGHT_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(StackProblem, match="DEALWRIGHT_CACHE_DIR"):
        class_path(said)
