"""What people read when they look into the stack: log lines, records, chains, the numbers of a service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.local.logs import followed, known_logs, last_of_each, readable
from deploy.local.operate import operator_key, shown, told
from deploy.local.problems import StackProblem
from deploy.local.services import _reason
from deploy.local.state import State
from shared.messaging.records import KafkaRecord


@pytest.fixture
def state(tmp_path: Path) -> State:
    state = State(tmp_path / "stack")
    state.prepare()
    return state


def test_a_line_of_json_is_shown_as_text() -> None:
    line = {"timestamp": "2026-01-01T00:00:00Z", "level": "info", "event": "ready", "port": 8101, "service.name": "deals"}
    assert readable(json.dumps(line)) == "2026-01-01T00:00:00Z INFO    ready  port=8101"


@pytest.mark.parametrize("line", ["plain", "{half", "[1]", '"text"', "{}", '{"timestamp": 1, "level": 2, "event": 3}'])
def test_any_other_line_is_shown_as_it_is(line: str) -> None:
    assert readable(line) == line


def test_a_stack_trace_keeps_its_lines() -> None:
    line = {"timestamp": "t", "level": "error", "event": "failed", "error.stacktrace": "Traceback\n  File\n"}
    assert readable(json.dumps(line)) == "t ERROR   failed\nTraceback\n  File"


def test_logs_show_the_last_lines_of_each_part(state: State) -> None:
    state.log("deals").write_text("one\ntwo\nthree\n")
    state.log("kafka").write_text("four\n")
    assert known_logs(state) == ["deals", "kafka"]
    assert list(last_of_each(state, ["deals", "kafka"], 2)) == ["deals | two", "deals | three", "kafka | four"]


def test_new_lines_are_followed_whole_and_after_the_log_was_emptied(state: State) -> None:
    log = state.log("deals")
    log.write_text("old\n")
    lines = followed(state, ["deals"])
    log.write_text("old\nnew\nhal")
    assert next(lines) == "deals | new"
    log.write_text("old\nnew\nhalf\n")
    assert next(lines) == "deals | half"
    log.write_text("a\n")
    assert next(lines) == "deals | a"


def test_a_record_is_shown_with_what_it_says() -> None:
    headers = (("ce_type", b"deals.DealWon.v1"), ("ce_subject", b"deal/7"))
    record = KafkaRecord("deals.events", 3, 17, 1_767_225_600_000, b"k", b'{"a": 1}', headers)
    assert shown(record) == '2026-01-01T00:00:00.000+00:00  deals.events[3]@17  deals.DealWon.v1 deal/7  {"a": 1}'


def test_bytes_that_are_no_envelope_are_shown_too() -> None:
    record = KafkaRecord("deals.events", 0, 0, 0, None, b"\xff\x00", ())
    assert "(not in binary mode)" in shown(record)
    assert "(tombstone)" in shown(KafkaRecord("deals.events", 0, 1, 0, b"k", None, ()))


def test_a_chain_is_told_with_the_time_between_its_hops() -> None:
    paid = {"what": "event", "type": "InvoicePaid", "service": "billing", "stream": "invoice/1"}
    sent = {"what": "effect", "kind": "email", "state": "done", "service": "notifications", "stream": "notice/1"}
    hops = [{**paid, "at": "2026-01-01T00:00:00.000+00:00"}, {**sent, "at": "2026-01-01T00:00:00.250+00:00"}]
    first, second = told(hops)
    assert "+0 ms  billing" in first
    assert "+250 ms  notifications" in second
    assert "email: done" in second


def test_why_a_service_is_not_ready_is_said_in_its_words() -> None:
    checks = {"database": {"status": "failed", "detail": "away"}, "broker": {"status": "ok", "detail": ""}}
    assert _reason(503, json.dumps({"status": "failed", "checks": checks})) == "database: away"
    assert _reason(503, "<html>") == "/readyz answers 503"
    assert _reason(0, "Connection refused") == "Connection refused"


def test_without_the_operators_key_it_is_said_where_it_comes_from(state: State) -> None:
    with pytest.raises(StackProblem, match="deals writes it at its first start"):
        operator_key(state)
