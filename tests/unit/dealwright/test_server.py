"""Where the API is and with which key; a request that was cut off is sent again and done once."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from dealwright.problems import Problem
from dealwright.server import KEY, KEY_FILE, URL, Place, Refused, Server, place_of


@pytest.fixture
def stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a stack that has run."""
    (tmp_path / "ports.json").write_text(json.dumps({"automation": 8302}))
    (tmp_path / "deals").mkdir()
    (tmp_path / "deals/operator.key").write_text("operators\n")
    monkeypatch.setenv("DEALWRIGHT_STATE_DIR", str(tmp_path))
    return tmp_path


def test_without_settings_the_stack_on_this_machine_is_meant(stack: Path) -> None:
    assert place_of(None, None, {}) == Place("http://127.0.0.1:8302", "operators")
    assert place_of(None, None, {KEY: "mine"}) == Place("http://127.0.0.1:8302", "mine")


def test_options_win_over_variables(stack: Path) -> None:
    (stack / "my.key").write_text(" from-a-file\n")
    environment = {URL: "https://there.example/", KEY: "mine"}
    assert place_of(None, None, environment) == Place("https://there.example", "mine")
    assert place_of("https://here.example", stack / "my.key", environment) == Place("https://here.example", "from-a-file")
    assert place_of(None, None, {URL: "https://there.example", KEY_FILE: str(stack / "my.key")}).key == "from-a-file"


def test_the_operators_key_goes_nowhere_else(stack: Path) -> None:
    with pytest.raises(Problem, match=r"https://there\.example needs a key"):
        place_of("https://there.example", None, {})


@pytest.mark.parametrize("url", ["there.example", "ftp://there.example", ""])
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(Problem, match="is no address"):
        place_of(None, None, {URL: url, KEY: "mine"})


def test_where_nothing_has_run_it_is_said_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DEALWRIGHT_STATE_DIR", str(tmp_path))
    with pytest.raises(Problem, match="No stack has run here"):
        place_of(None, None, {})
    (tmp_path / "ports.json").write_text('{"automation": 8302}')
    with pytest.raises(Problem, match="no operator's key"):
        place_of(None, None, {})
    with pytest.raises(Problem, match="cannot be read"):
        place_of(None, tmp_path / "gone.key", {})


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(Place("https://there.example", "secret"))


def answered(handler: Callable[[httpx.Request], httpx.Response]) -> Server:
    server = Server(Place("http://there", "mine"))
    server._client = httpx.Client(base_url="http://there", transport=httpx.MockTransport(handler))
    return server


def test_a_request_that_was_cut_off_is_sent_again_under_its_key() -> None:
    keys: list[str] = []

    def handler(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        if len(keys) < 3:
            raise httpx.ReadError("cut off")
        return httpx.Response(200, json={"done": True})

    assert answered(handler).post("/x", {}) == {"done": True}
    assert len(keys) == 3 and len(set(keys)) == 1


def test_what_is_cut_off_always_is_a_problem() -> None:
    def handler(request: httpx.Request) -> httpx.Response:
        raise httpx.ReadTimeout("too late")

    with pytest.raises(Problem, match="did not finish its answer"):
        answered(handler).post("/x", {})


def test_a_refusal_keeps_its_code_and_findings() -> None:
    body = {"code": "rule_set_invalid", "detail": "Two faults.", "errors": [{"pointer": "#/0", "code": "x", "detail": "y"}]}
    with pytest.raises(Refused, match="Two faults") as refused:
        answered(lambda _: httpx.Response(422, json=body)).post("/x", {})
    assert (refused.value.code, refused.value.errors) == ("rule_set_invalid", body["errors"])


@pytest.mark.parametrize("answer", [httpx.Response(502, text="<html>"), httpx.Response(200, json=[]), httpx.Response(404, text="")])
def test_what_is_no_answer_of_ours_is_said_so(answer: httpx.Response) -> None:
    with pytest.raises(Problem, match="no answer of Dealwright"):
        answered(lambda _: answer).post("/x", {})
