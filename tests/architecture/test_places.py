"""No tracked file names where it was written: a folder of that machine, or a host that packages came from (PIN-16)."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from tests.architecture.source import ROOT

REGISTRIES = [
    ("pypi", "org"),
    ("files", "pythonhosted", "org"),
    ("registry", "npmjs", "org"),
    ("registry", "yarnpkg", "com"),
    ("repo1", "maven", "org"),
    ("repo", "maven", "apache", "org"),
    ("proxy", "golang", "org"),
]
"""In parts, so that this file passes its own test."""
GENERAL = frozenset(("/", "app", "build", "home", "mnt", "opt", "root", "src", "srv", "tmp", "usr", "var", "workspace"))
"""Folders that are on every machine: a checkout below /tmp must not forbid the word."""


def places() -> re.Pattern[str]:
    """The checkout's folder and the one around it, the home folder, known registries, and those this environment is set to use."""
    folders = [folder for folder in (ROOT, ROOT.parent, Path.home()) if not GENERAL.issuperset(folder.parts)]
    hosts = {".".join(parts) for parts in REGISTRIES}
    settings = [value for name, value in os.environ.items() if re.search(r"INDEX_URL|REGISTRY|_PROXY$", name)]
    hosts |= {found for value in settings for found in re.findall(r"//(?:[^@/]*@)?([^:/]+)", value)} - {"localhost", "127.0.0.1"}
    alternatives = [rf"(?<![\w.~-]){re.escape(str(folder))}/" for folder in folders] + [rf"\b{re.escape(host)}\b" for host in sorted(hosts)]
    return re.compile("|".join(alternatives))


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def named_in(text: str) -> list[str]:
    return [f"{number}: {found[0]}" for number, line in enumerate(text.splitlines(), 1) if (found := places().search(line))]


def test_no_tracked_file_names_a_place() -> None:
    pattern = places()
    assert {str(path.relative_to(ROOT)) for path in tracked() if pattern.search(path.read_text(errors="replace"))} == set()


def test_a_folder_of_this_machine_is_found() -> None:
    assert named_in(f"cd {ROOT}/services") == [f"1: {ROOT}/"]


def test_a_registry_is_found() -> None:
    host = ".".join(REGISTRIES[1])
    assert named_in(f"a\nresolved https://{host}/x") == [f"2: {host}"]


def test_ordinary_text_is_not_found() -> None:
    assert named_in("https://example.org/work, services/deals, https://kafka.apache.org/documentation") == []
