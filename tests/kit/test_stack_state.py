"""What the stack remembers between two starts, and what it says when it cannot."""

from __future__ import annotations

import shutil
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.local.network import LOOPBACK, free_port, free_ports, is_free
from deploy.local.problems import StackProblem
from deploy.local.state import ROOM, State


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "stack")
    state.prepare()
    return state


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as listening:
        listening.bind((LOOPBACK, free_port()))
        listening.listen()
        yield int(listening.getsockname()[1])


def test_the_preferred_port_is_used_and_kept(state: State) -> None:
    port, other = free_ports(2)
    assert state.choose_ports({"deals": port}, {}) == ({"deals": port}, [])
    assert state.choose_ports({"deals": other}, {}) == ({"deals": port}, [])
    assert State(state.folder).ports() == {"deals": port}


def test_a_taken_port_gives_way_and_that_is_said(state: State, taken: int) -> None:
    chosen, said = state.choose_ports({"deals": taken}, {})
    assert chosen["deals"] != taken
    assert is_free(chosen["deals"])
    assert said == [f"port {taken} is taken by another program: deals uses {chosen['deals']}"]


def test_a_port_asked_for_does_not_give_way(state: State, taken: int) -> None:
    with pytest.raises(StackProblem, match=f"Port {taken}, asked for deals, is taken"):
        state.choose_ports({"deals": free_port()}, {"deals": taken})


def test_no_two_parts_get_one_port(state: State) -> None:
    port = free_port()
    chosen, _ = state.choose_ports({"deals": port, "billing": port}, {})
    assert len(set(chosen.values())) == 2


def test_a_secret_is_made_once_and_only_its_owner_reads_it(state: State) -> None:
    first = state.secret("pepper")
    assert len(first) >= 32
    assert State(state.folder).secret("pepper") == first
    assert state.secret("another") != first
    assert stat.S_IMODE((state.folder / "secrets.json").stat().st_mode) == 0o600


def test_a_damaged_file_is_named(state: State) -> None:
    (state.folder / "ports.json").write_text("{half")
    with pytest.raises(StackProblem, match=r"ports\.json is damaged"):
        state.ports()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StackProblem, match=r"file/stack cannot be written to \(Not a directory\)"):
        State(tmp_path / "file" / "stack").prepare()


def test_a_read_only_folder_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, mode: int = 0o666, exist_ok: bool = True) -> None:
        raise OSError(30, "Read-only file system", str(path))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(StackProblem, match=r"cannot be written to \(Read-only file system\)"):
        State(tmp_path / "stack").prepare()


def test_a_full_disk_is_told_before_anything_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage._replace(free=ROOM - 1))
    with pytest.raises(StackProblem, match="MB left"):
        State(tmp_path / "stack").prepare()


def test_only_one_changes_the_stack_at_a_time(state: State) -> None:
    with state.sole_user(), pytest.raises(StackProblem, match="Another"), State(state.folder).sole_user():
        pytest.fail("two at once")


def test_only_a_folder_of_a_stack_is_removed(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(StackProblem, match="nothing was removed"):
        State(tmp_path).remove()
    assert (tmp_path / "precious").exists()


def test_a_stack_is_removed_whole(state: State) -> None:
    state.choose_ports({"deals": free_port()}, {})
    state.remove()
    assert not state.folder.exists()
