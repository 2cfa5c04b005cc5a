"""Log lines: structured, without secrets, and nobody can forge one (O5, T18, T19)."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from typing import Any

import httpx
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from shared.runtime import logs
from shared.runtime.settings import LogSettings
from tests.kit.http.conftest import House, client_of

log = structlog.get_logger("tests")


def written(form: str, *, level: str = "INFO") -> io.StringIO:
    stream = io.StringIO()
    logs.set_up(LogSettings(form=form, level=level), service="toy", version="1", environment="test", stream=stream)  # type: ignore[arg-type]
    return stream


def test_a_line_says_what_where_and_whose(log_lines: Any) -> None:
    logs.about(correlation_id="c1", tenant_id="t1")
    log.info("something_happened", number=3)
    line = log_lines()[0]
    assert {k: line[k] for k in ("event", "level", "logger", "number", "correlation_id", "tenant_id", "service.name")} == {
        "event": "something_happened",
        "level": "info",
        "logger": "tests",
        "number": 3,
        "correlation_id": "c1",
        "tenant_id": "t1",
        "service.name": "toy",
    }
    assert line["timestamp"].endswith("Z")


def test_an_error_is_told_in_three_fields(log_lines: Any) -> None:
    try:
        raise ValueError("the reason")
    except ValueError:
        log.exception("failed")
    line = log_lines()[0]
    assert (line["error.type"], line["error.message"]) == ("ValueError", "the reason")
    assert "test_logs.py" in line["error.stacktrace"]


def test_other_libraries_write_the_same_lines(log_lines: Any) -> None:
    logging.getLogger("aiokafka.consumer").error("cannot reach %s", "postgresql://kit:canary@db/x")
    line = log_lines()[0]
    assert (line["event"], line["logger"], line["level"]) == ("cannot reach postgresql://kit:***@db/x", "aiokafka.consumer", "error")


SECRETS = [
    "dw_dev_0190a0a0-1111-7222-8333-444455556666_abcdefghijklmnopqrstuvwxyz0123456789ABCDEFG",
    "Bearer abcdefghijklmnop",
    "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
    "postgresql://kit:canary@db/x",
    "DE89 3704 0044 0532 0130 00",
    "DE89370400440532013000",
    "4000 0000 0000 0002",
    "4000000000000002",
    "somebody@example.org",
]


@pytest.mark.parametrize("secret", SECRETS)
def test_secrets_are_redacted_wherever_they_stand(secret: str) -> None:
    stream = written("json")
    log.info(f"said {secret} aloud", text=f"before {secret} after", deep={"list": [{"x": secret}]})
    try:
        raise RuntimeError(f"with {secret} inside")
    except RuntimeError:
        log.exception("failed")
    logging.getLogger("other").warning("heard %s", secret)
    assert secret not in stream.getvalue()
    assert stream.getvalue().count("***") >= 5


@pytest.mark.parametrize("key", ["password", "api_key", "Authorization", "client_secret", "token", "pepper", "set_cookie", "hmac"])
def test_values_of_telling_keys_are_redacted(key: str) -> None:
    stream = written("json")
    log.info("x", **{key: "canary"}, deep={key: "canary"})
    assert "canary" not in stream.getvalue()


def test_ids_and_ordinary_text_stay_readable(log_lines: Any) -> None:
    log.info("moved", deal="0190a0a0-1111-7222-8333-444455556666", topic="deals.events", amount="1200.50", at="2026-11-24T08:00:00Z")
    line = log_lines()[0]
    assert (line["deal"], line["amount"], line["at"]) == ("0190a0a0-1111-7222-8333-444455556666", "1200.50", "2026-11-24T08:00:00Z")


@given(st.text())
def test_one_event_is_one_line(text: str) -> None:
    for form in ("json", "text"):
        stream = written(form)
        log.info("x", text=text)
        whole = stream.getvalue()
        assert whole.count("\n") == 1
        assert not any(ord(c) < 32 and c not in "\n\x1b" for c in whole)
        assert "\u2028" not in whole.encode("unicode_escape").decode() or form == "json"


def test_the_level_is_kept() -> None:
    stream = written("json", level="WARNING")
    log.info("quiet")
    log.warning("loud")
    logs.access(method="GET")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["loud"]


async def test_fields_of_one_task_do_not_reach_another(log_lines: Any) -> None:
    async def task(name: str) -> None:
        logs.about(correlation_id=name)
        await asyncio.sleep(0)
        log.info("said", name=name)

    await asyncio.gather(task("a"), task("b"))
    assert {(line["name"], line["correlation_id"]) for line in log_lines()} == {("a", "a"), ("b", "b")}


async def test_every_request_leaves_a_line_without_its_contents(client: httpx.AsyncClient, house: House, log_lines: Any) -> None:
    answer = await client.post("/v1/jars", json={"number": 3, "colour": "canary"}, headers={"X-Correlation-Id": "chain-1"})
    line = next(line for line in log_lines() if line["event"] == "request")
    assert (line["route"], line["status"], line["correlation_id"]) == ("/v1/jars", 201, "chain-1")
    assert line["request_id"] == answer.headers["X-Request-Id"]
    assert (line["credential_id"], line["tenant_id"]) == (house.last_id, "00000000-0000-0000-0000-000000000001")
    assert "canary" not in str(log_lines())
    assert house.key not in str(log_lines())


async def test_a_bug_is_logged_once_with_its_chain(client: httpx.AsyncClient, log_lines: Any) -> None:
    for path, method in (("/v1/errors/x", "GET"), ("/v1/jars", "POST")):
        await client.request(method, path, json={"number": 13} if method == "POST" else None, headers={"X-Correlation-Id": path})
        failed = [line for line in log_lines() if line["level"] == "error" and line["correlation_id"] == path]
        assert [line["event"] for line in failed] == ["request_failed"]


async def test_paths_with_tokens_are_not_logged(house: House, log_lines: Any) -> None:
    async with client_of(house.app) as anybody:
        await anybody.post("/v1/hooks/canary-token", json={})
        await anybody.get("/v1/canary-unknown")
    assert "canary" not in str(log_lines())
    assert {line["route"] for line in log_lines()} == {"/v1/hooks/{token}", "unrouted"}


async def test_probes_are_not_logged(house: House, log_lines: Any) -> None:
    async with client_of(house.app) as anybody:
        await anybody.get("/livez")
    assert log_lines() == []
