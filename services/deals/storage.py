"""The file storage: bytes of files in a folder, by what they are. Written by deals, read by notifications through `content_ref`. (F28, T16)

    <folder>/incoming/<random>                      bytes that arrive; nothing of theirs is stored before they are all there
    <folder>/<tenant>/<two digits>/<sha-256>        bytes of a tenant, once, however many files refer to them

A reference is made here from a tenant and a hash, never from what anybody sends. Tenants share nothing: the same bytes of two
tenants are stored twice, so nobody learns from another what he has. What is no coroutine blocks; call it in a thread."""

from __future__ import annotations

import asyncio
import errno
import io
import os
import re
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from hashlib import sha256
from pathlib import Path
from uuid import UUID

from shared.runtime.clock import new_id

INCOMING = "incoming"
_TENANT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_REF = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}/[0-9a-f]{2}/[0-9a-f]{64}")
_SHA = re.compile(r"[0-9a-f]{64}")


class StorageTrouble(Exception):
    """The storage cannot be written or read now; the text says why, and names no path."""


class Incoming:
    """Bytes on their way in, counted and hashed as they come: `size`, `sha256`, and in `head` the first `looked_at` of them."""

    def __init__(self, path: Path, looked_at: int) -> None:
        self._path, self._looked_at = path, looked_at
        with _told():
            path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            self._file = io.BufferedWriter(io.FileIO(path, "x", opener=_opener))
        self._hash = sha256()
        self.size = 0
        self.head = b""
        self.inode: int | None = None
        """Of stored bytes that were not there before; None of all others."""

    @property
    def sha256(self) -> str:
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Raises StorageTrouble."""
        with _told():
            self._file.write(data)
        self._hash.update(data)
        self.size += len(data)
        if len(self.head) < self._looked_at:
            self.head = (self.head + data)[: self._looked_at]

    def move_to(self, target: Path) -> None:
        """On the disk under its name when this returns, whole."""
        with _told():
            self._file.flush()
            os.fsync(self._file.fileno())
            target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            try:
                os.link(self._path, target)
                self.inode = os.fstat(self._file.fileno()).st_ino
            except OSError:
                os.replace(self._path, target)
            for folder in (target.parent, *target.parents[1:3]):
                _synced(folder)

    def discard(self) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


class Storage:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @asynccontextmanager
    async def incoming(self, looked_at: int = 0) -> AsyncIterator[Incoming]:
        """A place for bytes to arrive, empty again afterwards. Raises StorageTrouble."""
        arriving = await asyncio.to_thread(Incoming, self._folder / INCOMING / new_id().hex, looked_at)
        try:
            yield arriving
        finally:
            await asyncio.to_thread(arriving.discard)

    def keep(self, tenant: UUID, arrived: Incoming) -> str:
        """The `content_ref` of the bytes, which are safe on the disk by then. Raises StorageTrouble.

        Bytes that are there already are replaced by themselves, which makes them young (`old`)."""
        ref = f"{tenant}/{arrived.sha256[:2]}/{arrived.sha256}"
        arrived.move_to(self._path_of(ref))
        return ref

    def take_back(self, ref: str, arrived: Incoming) -> None:
        """For bytes that were refused after all: gone, unless they were there before or somebody else has stored them since."""
        self._forget(ref, lambda doomed: doomed.st_ino == arrived.inode)

    def path_of(self, ref: str) -> Path:
        """Where the bytes lie. Raises StorageTrouble when they are not there, and ValueError for what is no reference."""
        path = self._path_of(ref)
        with _told():
            path.stat()
        return path

    def _path_of(self, ref: str) -> Path:
        if not _REF.fullmatch(ref):
            raise ValueError("no reference to stored bytes")
        return self._folder / ref

    # ---------------------------------------------------------------------------------------------- tidying up

    def tenants(self) -> list[UUID]:
        return [UUID(name) for name in _names(self._folder) if _TENANT.fullmatch(name)]

    def old(self, tenant: UUID, before: float) -> Iterator[list[str]]:
        """References to a tenant's bytes that were stored before that time (seconds since 1970), a folder at a time."""
        home = self._folder / str(tenant)
        for folder in _names(home):
            shas = (sha for sha in _names(home / folder) if _SHA.fullmatch(sha))
            if refs := [f"{tenant}/{folder}/{sha}" for sha in shas if _is_older(home / folder / sha, before)]:
                yield refs

    def forget(self, ref: str, before: float) -> bool:
        """Whether the bytes are gone now. Bytes that somebody stored again since they were looked at stay."""
        return self._forget(ref, lambda doomed: doomed.st_mtime < before)

    def _forget(self, ref: str, may_go: Callable[[os.stat_result], bool]) -> bool:
        """Looks at the bytes where nobody else can replace them."""
        path, doomed = self._path_of(ref), self._folder / INCOMING / new_id().hex
        doomed.parent.mkdir(mode=0o750, exist_ok=True)
        try:
            path.rename(doomed)
        except FileNotFoundError:
            return False
        if not may_go(doomed.stat()):
            doomed.replace(path)
            return False
        doomed.unlink(missing_ok=True)
        return True

    def forget_arrivals(self, before: float) -> None:
        """What a process that was killed left behind."""
        for name in _names(self._folder / INCOMING):
            if _is_older(path := self._folder / INCOMING / name, before):
                path.unlink(missing_ok=True)


def _opener(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o640)


def _synced(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _is_older(path: Path, before: float) -> bool:
    try:
        return path.stat().st_mtime < before
    except FileNotFoundError:
        return False


_WHY = {
    errno.ENOSPC: "The file storage is full.",
    errno.EDQUOT: "The file storage is full.",
    errno.EROFS: "The file storage cannot be written.",
    errno.EACCES: "The file storage cannot be used: this process may not.",
    errno.EPERM: "The file storage cannot be used: this process may not.",
    errno.ENOENT: "The bytes of this file are not in the file storage.",
}


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StorageTrouble(_WHY.get(error.errno or 0, "The file storage does not work.")) from error
