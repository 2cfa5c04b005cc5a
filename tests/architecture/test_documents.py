"""What our documents point to exists: files behind links, headings behind anchors, verbs of make, paths of the repository."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.architecture.source import OURS, ROOT

LINK = re.compile(r"\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`([^`\n]+)`")
VERB = re.compile(r"make ([a-z][a-z-]*)")
COMMAND = re.compile(r"^(?:    )?make .*", re.MULTILINE)
"""A line of an indented block, or of a fenced one."""
PATH = re.compile(rf"(?:{'|'.join((*OURS, 'docs', 'requirements'))})/[\w./-]*")
MADE_LATER = frozenset({"deploy/.env"})
"""Made on first use, never committed."""


def documents() -> list[Path]:
    """Every .md of ours, whether committed yet or not."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def anchors(text: str) -> set[str]:
    """Headings as links name them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def broken_links(text: str, document: Path) -> list[str]:
    """Relative links that lead nowhere."""
    found = [link for link in LINK.findall(FENCE.sub("", text)) if not re.match(r"[a-z]+:", link)]
    return [link for link in found if not _leads_somewhere(link, text, document)]


def _leads_somewhere(link: str, text: str, document: Path) -> bool:
    path, _, anchor = link.partition("#")
    target = document.parent / path if path else document
    if path and not target.exists():
        return False
    return not anchor or anchor in anchors(target.read_text() if path else text)


def verbs(text: str) -> set[str]:
    """What a text tells people to make: in `code`, and in blocks a line may begin with it."""
    spans = [code for code in CODE.findall(text) if code.startswith("make ")]
    return {verb for part in (*spans, *COMMAND.findall(text)) for verb in VERB.findall(part)}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def missing_paths(text: str) -> list[str]:
    """Paths in `code` that begin with a folder of ours and are not there."""
    named = [code for code in CODE.findall(FENCE.sub("", text)) if PATH.fullmatch(code)]
    return [name for name in named if name not in MADE_LATER and not (ROOT / name).exists()]


def _faults() -> dict[str, list[str]]:
    known = targets()
    found: dict[str, list[str]] = {}
    for document in documents():
        text = document.read_text()
        faults = [*broken_links(text, document), *(f"make {verb}" for verb in verbs(text) - known), *missing_paths(text)]
        if faults:
            found[document.relative_to(ROOT).as_posix()] = faults
    return found


def test_every_document_points_to_what_exists() -> None:
    assert len(documents()) > 20
    assert _faults() == {}


def test_every_page_is_reached_from_an_index() -> None:
    """The README or an index beside it links to each page under docs/."""
    indexes = [ROOT / "README.md", *(ROOT / "docs" / folder / "README.md" for folder in ("operating", "decisions", "rules"))]
    linked = {(index.parent / link.partition("#")[0]).resolve() for index in indexes for link in LINK.findall(index.read_text())}
    pages = {page for page in documents() if page.is_relative_to(ROOT / "docs")}
    assert {page.relative_to(ROOT).as_posix() for page in pages if page.resolve() not in linked} == set()


def test_a_link_to_nothing_is_found() -> None:
    text = "# Two words\n[a](README.md) [b](gone.md) [c](#two-words) [d](#three) [e](https://example.org/x)"
    assert broken_links(text, ROOT / "x.md") == ["gone.md", "#three"]


def test_a_verb_of_make_is_found_in_code_only() -> None:
    assert verbs("you need make and time: `make up` or\n\n    make down   make reset\n") == {"up", "down", "reset"}


def test_a_path_to_nothing_is_found() -> None:
    assert missing_paths("`shared/es/store.py`, `shared/es/gone.py`, `domain/gone.py`") == ["shared/es/gone.py"]
