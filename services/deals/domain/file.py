"""File: what is known of bytes kept outside the database. A copy of a deal refers to the same bytes. (D39, F28, T16)"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never
from uuid import UUID

from services.deals.domain.origin import BEGINNING, NIL, Cause
from shared.es.aggregate import Aggregate
from shared.es.errors import NotFound, Rejected

LARGEST_FILE = 25 * 1024 * 1024
ALLOWED_TYPES = frozenset(
    {
        "application/pdf",
        "application/zip",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        "image/gif",
        "image/jpeg",
        "image/png",
        "image/webp",
        "text/calendar",
        "text/csv",
        "text/plain",
    }
)
OWNER_TYPES = ("deal", "lead", "contact", "company")


@dataclass(frozen=True, slots=True)
class AttachFile:
    """`content_ref`: the name of the bytes in the file storage. `used` bytes of `quota` are taken in the tenant, found under
    the set `files`. A deal that owns it is told by AttachToDeal in the same transaction."""

    file_id: UUID
    content_ref: str
    sha256: str
    name: str
    size: int
    content_type: str
    cause: Cause
    owner_type: str | None = None
    owner_id: UUID | None = None
    used: int = 0
    quota: int = 10 * 1024**3


@dataclass(frozen=True, slots=True)
class RemoveFile:
    cause: Cause


@dataclass(frozen=True, slots=True)
class FileAttached:
    file_id: UUID
    content_ref: str
    sha256: str
    name: str
    size: int
    content_type: str
    cause: Cause
    owner_type: str | None = None
    owner_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class FileRemoved:
    cause: Cause


FileCommand = AttachFile | RemoveFile
FileEvent = FileAttached | FileRemoved


@dataclass(frozen=True, slots=True)
class File:
    file_id: UUID = NIL
    content_ref: str = ""
    sha256: str = ""
    name: str = ""
    size: int = 0
    content_type: str = ""
    owner_type: str | None = None
    owner_id: UUID | None = None
    removed: bool = False
    created_at: datetime = BEGINNING

    @property
    def exists(self) -> bool:
        return self.file_id != NIL


def decide(file: File, command: FileCommand) -> Sequence[FileEvent]:
    match command:
        case AttachFile():
            return [] if file.exists else [_attached(command)]
        case RemoveFile(cause=cause):
            if not file.exists:
                raise NotFound("There is no such file in this tenant.")
            return [] if file.removed else [FileRemoved(cause)]
        case _:
            assert_never(command)


def evolve(file: File, event: FileEvent) -> File:
    match event:
        case FileAttached():
            return File(
                event.file_id,
                event.content_ref,
                event.sha256,
                event.name,
                event.size,
                event.content_type,
                event.owner_type,
                event.owner_id,
                created_at=event.cause.at,
            )
        case FileRemoved():
            return replace(file, removed=True)
        case _:
            assert_never(event)


FILE: Aggregate[File, FileCommand, FileEvent] = Aggregate("file", File(), decide, evolve, (FileAttached, FileRemoved), read_by_others=True)


def _attached(command: AttachFile) -> FileAttached:
    if command.size > LARGEST_FILE:
        raise Rejected("too_large", f"A file has at most {LARGEST_FILE} bytes.", status=413)
    if command.content_type not in ALLOWED_TYPES:
        raise Rejected("type_not_allowed", f"Files of type {command.content_type[:80]} are not kept.", status=422)
    if command.used + command.size > command.quota:
        raise Rejected("quota_exceeded", f"The tenant's files may take {command.quota} bytes.")
    return FileAttached(
        command.file_id,
        command.content_ref,
        command.sha256,
        command.name,
        command.size,
        command.content_type,
        command.cause,
        command.owner_type,
        command.owner_id,
    )
