"""The file storage: once per tenant and content, whole or not at all, and nowhere but in its folder."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.deals.storage import Storage, StorageTrouble

ACME, OTHER = UUID(int=1), UUID(int=2)
BYTES = b"%PDF-1.7 an offer"


async def kept(storage: Storage, data: bytes = BYTES, tenant: UUID = ACME) -> str:
    async with storage.incoming(4) as arriving:
        arriving.write(data)
        return storage.keep(tenant, arriving)


def everything(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def aged(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


async def test_bytes_are_kept_under_what_they_are_once_for_each_tenant(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    refs = [await kept(storage), await kept(storage), await kept(storage, tenant=OTHER)]

    sha = sha256(BYTES).hexdigest()
    assert refs == [f"{ACME}/{sha[:2]}/{sha}"] * 2 + [f"{OTHER}/{sha[:2]}/{sha}"]
    assert everything(tmp_path) == sorted(set(refs))
    assert storage.path_of(refs[0]).read_bytes() == BYTES


async def test_bytes_in_pieces_are_counted_and_hashed(tmp_path: Path) -> None:
    async with Storage(tmp_path).incoming(6) as arriving:
        for piece in (b"%P", b"DF-1", b".7"):
            arriving.write(piece)
    assert (arriving.size, arriving.head, arriving.sha256) == (8, b"%PDF-1", sha256(b"%PDF-1.7").hexdigest())


async def test_an_upload_that_breaks_off_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        async with Storage(tmp_path).incoming() as arriving:
            arriving.write(BYTES)
            raise ConnectionError
    assert everything(tmp_path) == []


@pytest.mark.parametrize(
    "ref",
    ["../outside", f"{ACME}/../../outside", "/etc/passwd", "", f"{ACME}/00/{'0' * 63}", f"{ACME}/00/{'0' * 64}\n", f"{ACME}/00/{'G' * 64}"],
)
def test_no_reference_leads_out_of_the_folder(tmp_path: Path, ref: str) -> None:
    with pytest.raises(ValueError):
        Storage(tmp_path / "in").path_of(ref)


def test_bytes_that_are_not_there_are_said_to_be_missing(tmp_path: Path) -> None:
    with pytest.raises(StorageTrouble, match="not in the file storage"):
        Storage(tmp_path).path_of(f"{ACME}/00/{'0' * 64}")


async def test_an_incoming_name_that_is_a_link_is_not_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = uuid4()
    (tmp_path / "incoming").mkdir()
    (tmp_path / "incoming" / name.hex).symlink_to(tmp_path / "target")
    monkeypatch.setattr("services.deals.storage.new_id", lambda: name)
    with pytest.raises(StorageTrouble):
        await kept(Storage(tmp_path))
    assert not (tmp_path / "target").exists()


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize(
    ("number", "said"), [(errno.ENOSPC, "full"), (errno.EDQUOT, "full"), (errno.EROFS, "cannot be written"), (errno.EIO, "does not work")]
)
async def test_a_disk_that_fails_is_told_and_nothing_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    monkeypatch.setattr("os.fsync", failing(number))
    with pytest.raises(StorageTrouble, match=said):
        await kept(Storage(tmp_path))
    assert everything(tmp_path) == []


async def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.deals.storage._opener", failing(errno.EACCES))
    with pytest.raises(StorageTrouble, match="may not"):
        await kept(Storage(tmp_path))


async def test_only_what_is_old_is_forgotten(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    old, young = await kept(storage), await kept(storage, b"young")
    path = tmp_path / old
    aged(path, 100)
    before = path.stat().st_mtime + 50

    assert [ref for refs in storage.old(ACME, before) for ref in refs] == [old]
    assert storage.forget(young, before) is False
    assert storage.forget(old, before) is True
    assert storage.forget(old, before) is False
    assert everything(tmp_path) == [young]


async def test_what_was_stored_again_meanwhile_stays(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    ref = await kept(storage)
    aged(tmp_path / ref, 100)
    before = (tmp_path / ref).stat().st_mtime + 50
    await kept(storage)

    assert storage.forget(ref, before) is False
    assert storage.path_of(ref).read_bytes() == BYTES


async def test_what_was_refused_is_taken_back_unless_others_have_it(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    async with storage.incoming() as first, storage.incoming() as second:
        first.write(BYTES)
        second.write(BYTES)
        ref = storage.keep(ACME, first)
        storage.take_back(ref, first)
        assert everything(tmp_path / str(ACME)) == []

        storage.keep(ACME, second)
        storage.take_back(ref, first)
    assert everything(tmp_path) == [ref]
    async with storage.incoming() as third:
        third.write(BYTES)
        storage.take_back(storage.keep(ACME, third), third)
    assert everything(tmp_path) == [ref]


async def test_arrivals_of_a_killed_process_go_when_they_are_old(tmp_path: Path) -> None:
    left = tmp_path / "incoming" / "left"
    left.parent.mkdir()
    left.write_bytes(b"half a fi")
    Storage(tmp_path).forget_arrivals(left.stat().st_mtime - 1)
    assert left.exists()
    Storage(tmp_path).forget_arrivals(left.stat().st_mtime + 1)
    assert not left.exists()
