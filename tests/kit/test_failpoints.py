"""Failpoints: nothing unless planted, on the pass that was named, and only under registered names."""

from __future__ import annotations

import ast
import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.runtime import failpoints
from shared.runtime.clock import monotonic
from shared.runtime.failpoints import FailpointHit, afp, fp, plant
from shared.runtime.settings import SettingsProblem, read_settings

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def cleared() -> Iterator[None]:
    plant("")
    yield
    plant("")


def names_in_the_code() -> list[tuple[str, str]]:
    """Every literal that is passed to fp or afp, and where."""
    paths = [*ROOT.glob("shared/**/*.py"), *ROOT.glob("services/**/*.py")]
    nodes = ((node, path) for path in paths for node in ast.walk(ast.parse(path.read_text())))
    calls = ((node, path) for node, path in nodes if isinstance(node, ast.Call) and isinstance(node.func, ast.Name))
    return [
        (str(getattr(call.args[0], "value", "not a literal")), f"{path}:{call.lineno}")
        for call, path in calls
        if isinstance(call.func, ast.Name) and call.func.id in ("fp", "afp")
    ]


def test_the_code_uses_registered_names_only() -> None:
    used = names_in_the_code()
    assert used
    assert [(name, where) for name, where in used if name not in failpoints.NAMES] == []


def test_every_registered_name_has_a_place_in_the_code() -> None:
    assert failpoints.NAMES - {name for name, _ in names_in_the_code()} == set()


def test_nothing_happens_when_nothing_is_planted() -> None:
    assert not failpoints.planted()
    assert fp("relay.after_ack") is None
    assert failpoints.passes == {}


def test_the_named_pass_is_hit_once() -> None:
    plant("relay.after_ack=raise@2")
    assert fp("relay.after_ack") is None
    with pytest.raises(FailpointHit):
        fp("relay.after_ack")
    assert fp("relay.after_ack") is None
    assert fp("relay.before_send") is None
    assert failpoints.passes == {"relay.after_ack": 3, "relay.before_send": 1}


def test_several_may_be_planted_and_some_are_for_the_place_itself() -> None:
    plant("relay.mid_batch=partial@1; relay.mid_batch=duplicate@2; cons.in_tx=unknown@*")
    assert [fp("relay.mid_batch") for _ in range(3)] == ["partial", "duplicate", None]
    assert [fp("cons.in_tx") for _ in range(2)] == ["unknown", "unknown"]


async def test_a_sleep_blocks_where_nothing_can_be_awaited_and_else_does_not() -> None:
    plant("relay.after_ack=sleep0.2@*")
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    began = monotonic()
    fp("relay.after_ack")
    assert monotonic() - began >= 0.19
    assert ticks == 0
    await afp("relay.after_ack")
    assert ticks > 3
    ticking.cancel()


WRONG = ("relay.after_akc=kill@1", "relay.after_ack=explode@1", "relay.after_ack=kill", "relay.after_ack=sleep@1", "x")


@pytest.mark.parametrize("text", WRONG)
def test_what_does_not_exist_cannot_be_planted(text: str) -> None:
    with pytest.raises(ValueError, match="FAILPOINTS"):
        plant(text)


def test_an_unregistered_name_is_an_error_where_it_is_passed() -> None:
    plant("relay.after_ack=raise@9")
    with pytest.raises(ValueError, match="not a registered failpoint"):
        fp("relay.nowhere")


def test_the_environment_kills_a_process() -> None:
    passed = "fp('cons.in_tx')"
    program = f"from shared.runtime.failpoints import fp\n{passed}\nprint('once', flush=True)\n{passed}\nprint('never')"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={"FAILPOINTS": "cons.in_tx=kill@2"}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGKILL, "once\n", "failpoint cons.in_tx: SIGKILL\n")


def test_production_does_not_start_with_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://db.example/dealwright_{service}")
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "broker:9092")
    monkeypatch.setenv("DEALWRIGHT_PEPPER", "a pepper that is long enough for this")
    monkeypatch.setenv("DEALWRIGHT_ENVIRONMENT", "live")
    assert read_settings().session == 30
    plant("cons.in_tx=kill@1")
    with pytest.raises(SettingsProblem, match="FAILPOINTS"):
        read_settings()
    monkeypatch.setenv("DEALWRIGHT_ENVIRONMENT", "dev")
    assert read_settings().session == 6
