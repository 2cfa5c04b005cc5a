"""Files of rules as one text, and the way back from a finding to the file and line it means."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dealwright.problems import Problem
from services.automation.rule_sets.emitting import as_yaml
from services.automation.rule_sets.reading import Spots, Unreadable, documents_of

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class File:
    name: str
    text: str
    documents: list[Json]
    spots: Spots


@dataclass(frozen=True, slots=True)
class Texts:
    """One or more files. `text` is what the API is sent: the file as it is, or the documents of several in their order."""

    files: tuple[File, ...]

    @property
    def documents(self) -> list[Json]:
        return [document for file in self.files for document in file.documents]

    @property
    def text(self) -> str:
        return self.files[0].text if len(self.files) == 1 else "---\n".join(as_yaml(document) for document in self.documents)

    def placed(self, finding: Json) -> Json:
        """The finding with file, line and column; its pointer counts the documents of that file."""
        pointer = str(finding.get("pointer", ""))
        number, *members = pointer.removeprefix("#/").split("/")
        file, n = self._file_of(int(number)) if number.isdigit() else (self.files[0], 0)
        own = "/".join(["#", str(n), *members]) if number.isdigit() else pointer
        return {**finding, "pointer": own, "file": file.name, **file.spots.of(own)._asdict()}

    def _file_of(self, number: int) -> tuple[File, int]:
        for file in self.files:
            if number < len(file.documents):
                return file, number
            number -= len(file.documents)
        return self.files[-1], 0


def read(names: Sequence[Path]) -> Texts:
    """`-` is the standard input. Raises Problem, with the line where there is one."""
    return Texts(tuple(_read(name) for name in names))


def _read(name: Path) -> File:
    shown = "standard input" if str(name) == "-" else str(name)
    try:
        text = sys.stdin.read() if str(name) == "-" else name.read_text(encoding="utf-8")
        return File(shown, text, documents_of(text), Spots(text))
    except Unreadable as error:
        raise Problem(f"{shown}: syntax: {error}") from None
    except UnicodeDecodeError:
        raise Problem(f"{shown}: this is no text in UTF-8.") from None
    except OSError as error:
        raise Problem(f"{shown} cannot be read: {error.strerror}") from None
