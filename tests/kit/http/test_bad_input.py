"""Bad input gets a clear answer: problem details that name the place, and nothing else is disturbed (the issue's list, H2, H8)."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.http.bodies import MAX_BODY, fault_in
from shared.http.problems import KINDS
from tests.kit.http.conftest import House, client_of


async def post(client: httpx.AsyncClient, content: bytes, kind: str = "application/json") -> httpx.Response:
    return await client.post("/v1/jars", content=content, headers={"Content-Type": kind})


def must_be_a_problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    problem: dict[str, Any] = answer.json()
    assert problem["code"] == code
    assert problem["status"] == status
    assert problem["type"] == f"/problems/{code.replace('_', '-')}"
    assert problem["title"]
    assert problem["detail"]
    assert problem["correlation_id"] == answer.headers["X-Correlation-Id"]
    assert problem["trace_id"] == answer.headers["traceparent"][3:35]
    assert problem["instance"] == answer.request.url.path
    return problem


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"",
        b"nonsense",
        b'{"number": NaN}',
        b'{"number": Infinity}',
        b'{"number": 1e999}',
        b'{"number": 1, "number": 2}',
        b'{"number": 1, "label": {"text": "a", "text": "b"}}',
        b"[" * 33 + b"]" * 33,
        b"[" * 5000 + b"]" * 5000,
        b'{"a":' * 40 + b"1" + b"}" * 40,
        b'{"number": 1, "colour": "\\ud800"}',
        b'{"number": 1, "colour": "\\udc00 x"}',
        b'{"number": 1, "colour": "\xff\xfe"}',
        b'{"number": 1, "colour": "a\x00b"}',
        b"\xef\xbb\xbf{}",
        b'{"number": 1}{"number": 2}',
        b"{'number': 1}",
    ],
)
async def test_what_is_not_json_is_malformed(client: httpx.AsyncClient, house: House, body: bytes) -> None:
    answer = await post(client, body)
    if body:
        must_be_a_problem(answer, 400, "malformed_json")
    else:
        assert must_be_a_problem(answer, 422, "validation_failed")["errors"][0] == {
            "pointer": "#",
            "code": "required",
            "detail": "This is required.",
        }
    assert await house.count("events") == 0


@pytest.mark.parametrize(
    ("member", "pointer", "code"),
    [
        ({"number": "1"}, "#/number", "wrong_type"),
        ({"number": 1.0}, "#/number", "wrong_type"),
        ({"number": True}, "#/number", "wrong_type"),
        ({"number": None}, "#/number", "wrong_type"),
        ({"number": 1001}, "#/number", "out_of_range"),
        ({"nmuber": 1}, "#/nmuber", "unknown_field"),
        ({"a/b~c": 1}, "#/a~1b~0c", "unknown_field"),
        ({"id": "7"}, "#/id", "wrong_type"),
        ({"colour": 7}, "#/colour", "wrong_type"),
        ({"label": {"language": "fr", "text": "x"}}, "#/label/language", "unknown_value"),
        ({"label": {"text": ""}}, "#/label/text", "too_short"),
        ({"label": {"text": "   "}}, "#/label/text", "too_short"),
        ({"label": {"text": "x" * 256}}, "#/label/text", "too_long"),
        ({"label": {}}, "#/label/text", "required"),
        ({"label": []}, "#/label", "wrong_type"),
        ({"labels": [{"text": "a"}, {"text": 7}]}, "#/labels/1/text", "wrong_type"),
        ({"note": "x" * 16_385}, "#/note", "too_long"),
        ({"code": "Not A Slug"}, "#/code", "bad_code"),
        ({"code": "-a"}, "#/code", "bad_code"),
        ({"price": {"amount": "-1.00", "currency": "EUR"}}, "#/price/amount", "negative"),
        ({"price": {"amount": "-0.01", "currency": "EUR"}}, "#/price/amount", "negative"),
        ({"price": {"amount": "1.001", "currency": "EUR"}}, "#/price", "bad_amount"),
        ({"price": {"amount": "1.5", "currency": "JPY"}}, "#/price", "bad_amount"),
        ({"price": {"amount": 1.5, "currency": "EUR"}}, "#/price/amount", "bad_amount"),
        ({"price": {"amount": "1e3", "currency": "EUR"}}, "#/price/amount", "bad_amount"),
        ({"price": {"amount": "1234567890123456", "currency": "EUR"}}, "#/price/amount", "bad_amount"),
        ({"price": {"amount": "١٢", "currency": "EUR"}}, "#/price/amount", "bad_amount"),
        ({"price": {"amount": "1", "currency": "XXX"}}, "#/price/currency", "unknown_currency"),
        ({"price": {"amount": "1", "currency": "eur"}}, "#/price/currency", "unknown_currency"),
        ({"price": {"amount": "1"}}, "#/price/currency", "required"),
        ({"weight": "1.1234567"}, "#/weight", "bad_amount"),
        ({"zone": "Europe/Atlantis"}, "#/zone", "unknown_zone"),
        ({"zone": "../../etc/passwd"}, "#/zone", "unknown_zone"),
        ({"at": "2026-11-22"}, "#/at", "bad_instant"),
        ({"at": "2026-11-22T14:00:00"}, "#/at", "bad_instant"),
        ({"at": "2026-13-22T14:00:00Z"}, "#/at", "bad_instant"),
        ({"at": 1_700_000_000}, "#/at", "bad_instant"),
        ({"colour": "a\u0000b"}, "#/colour", "control_character"),
        ({"colour": "a\u001bb"}, "#/colour", "control_character"),
        ({"label": {"text": "a\u0085"}}, "#/label/text", "control_character"),
        ({"labels": [{"text": "a\r\nb"}]}, "#/labels/0/text", "control_character"),
    ],
)
async def test_what_is_not_valid_is_named(client: httpx.AsyncClient, house: House, member: dict[str, Any], pointer: str, code: str) -> None:
    answer = await client.post("/v1/jars", json={"number": 1, **member})
    problem = must_be_a_problem(answer, 422, "validation_failed")
    assert [(e["pointer"], e["code"]) for e in problem["errors"]] == [(pointer, code)]
    assert problem["errors"][0]["detail"].endswith((".", "`", "'"))
    assert await house.count("events") == 0


async def test_every_fault_is_named_at_once(client: httpx.AsyncClient) -> None:
    problem = (await client.post("/v1/jars", json={"code": "A", "zone": "B", "x": 1})).json()
    assert {e["pointer"] for e in problem["errors"]} == {"#/number", "#/code", "#/zone", "#/x"}
    assert problem["detail"] == "4 faults were found; `errors` names each."


async def test_line_feeds_and_tabs_are_text_and_text_is_composed(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/jars", json={"number": 1, "colour": "a\n\tu\u0308"})
    assert answer.json()["colour"] == "a\n\t\u00fc"


async def test_an_instant_may_have_any_offset(client: httpx.AsyncClient) -> None:
    assert (await client.post("/v1/jars", json={"number": 1, "at": "2026-11-22T14:00:00+05:30"})).status_code == 201


async def test_ten_megabytes_are_refused_before_they_are_read(client: httpx.AsyncClient, house: House) -> None:
    answer = await post(client, b'{"colour": "' + b"x" * 10_000_000 + b'"}')
    must_be_a_problem(answer, 413, "too_large")
    assert await house.count("inbox") == 0


async def test_the_limit_holds_without_a_declared_length(client: httpx.AsyncClient) -> None:
    sent = 0

    async def endless() -> Any:
        nonlocal sent
        while True:
            sent += 10_000
            yield b"x" * 10_000

    answer = await client.post("/v1/jars", content=endless(), headers={"Content-Type": "application/json"})
    must_be_a_problem(answer, 413, "too_large")
    assert sent < MAX_BODY + 50_000


async def test_the_largest_body_is_accepted(client: httpx.AsyncClient) -> None:
    body = b'{"number": 1}'.ljust(MAX_BODY)
    assert (await post(client, body)).status_code == 201
    must_be_a_problem(await post(client, body + b" "), 413, "too_large")


FORM = "application/x-www-form-urlencoded"


@pytest.mark.parametrize("kind", ["text/plain", "application/xml", FORM, "multipart/form-data; boundary=x", "", "json"])
async def test_only_json_is_accepted(client: httpx.AsyncClient, kind: str) -> None:
    must_be_a_problem(await post(client, b'{"number": 1}', kind), 415, "unsupported_media_type")


async def test_merge_patches_are_json(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/jars", json={"number": 1})).headers["Location"]
    headers = {"Content-Type": "application/merge-patch+json; charset=utf-8", "If-Match": '"1"'}
    assert (await client.patch(path, content=b'{"number": 1}', headers=headers)).status_code == 200


async def test_unknown_addresses_and_methods(client: httpx.AsyncClient) -> None:
    must_be_a_problem(await client.get("/v1/nothing"), 404, "not_found")
    must_be_a_problem(await client.get("/v1/jars/"), 404, "not_found")
    answer = await client.delete("/v1/jars")
    must_be_a_problem(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] in ("GET", "POST", "GET, POST", "POST, GET")


async def test_unknown_query_parameters_are_refused(client: httpx.AsyncClient) -> None:
    problem = must_be_a_problem(await client.get("/v1/jars?color=red"), 400, "unknown_parameter")
    assert "color" in problem["detail"]
    assert (await client.get("/v1/jars?uf.shape=round")).status_code == 200


async def test_bad_query_and_path_values_are_named(client: httpx.AsyncClient) -> None:
    for path, pointer in (
        ("/v1/jars?limit=0", "query/limit"),
        ("/v1/jars?limit=201", "query/limit"),
        ("/v1/jars?limit=x", "query/limit"),
        ("/v1/jars?include=everything", "query/include"),
        ("/v1/jars/7", "path/id"),
        (f"/v1/jars/{uuid4()}?version=x", "query/version"),
    ):
        problem = must_be_a_problem(await client.get(path), 422, "validation_failed")
        assert [e["pointer"] for e in problem["errors"]] == [pointer]


@pytest.mark.parametrize("path", ["/v1/jars?colour=%00", "/v1/errors/%00"])
async def test_nul_in_the_address_is_refused(client: httpx.AsyncClient, path: str) -> None:
    must_be_a_problem(await client.get(path), 422, "validation_failed")


async def test_numbers_that_no_column_can_hold(client: httpx.AsyncClient) -> None:
    must_be_a_problem(await client.get(f"/v1/jars?least={2**70}"), 422, "validation_failed")
    assert (await client.get("/v1/jars?least=7")).status_code == 200


async def test_broken_text_in_the_address_finds_nothing(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/jars?colour=%ff%fe")
    assert (answer.status_code, answer.json()["items"]) == (200, [])


async def test_a_bug_says_nothing_of_itself(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/errors/kind")
    must_be_a_problem(answer, 500, "internal")
    assert "4711" not in answer.text
    assert "RuntimeError" not in answer.text


async def test_the_service_goes_on_after_all_that(client: httpx.AsyncClient, house: House) -> None:
    bodies = [b"{", b'{"number": 13}', b"[" * 5000, b'{"number": 1}', b'{"number": 101}', b'{"number": 1}']
    answers = await asyncio.gather(*(post(client, body) for body in bodies))
    assert [a.status_code for a in answers] == [400, 500, 400, 201, 409, 201]
    assert await house.count("events") == 2
    assert house.kit.database.checked_out() == 0


async def test_every_problem_has_a_readable_page(house: House) -> None:
    async with client_of(house.app) as anybody:
        for slug, kind in KINDS.items():
            page = await anybody.get(f"/problems/{slug}")
            assert page.status_code == 200
            assert kind.remedy.split("`")[0] in page.text
        odd = await anybody.get("/problems/%3Cscript%3E")
    assert "<script>" not in odd.text


async def test_every_answer_carries_the_security_headers(client: httpx.AsyncClient) -> None:
    for path in ("/v1/jars", "/v1/nothing", "/v1/errors/x", "/livez"):
        headers = (await client.get(path)).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert headers["Cache-Control"] == "no-store"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "Access-Control-Allow-Origin" not in headers


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(exclude_categories=["Cs", "Cc"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs", "Cc"])), inner, max_size=4),
    max_leaves=20,
)


@given(json_values)
def test_no_fault_is_found_in_ordinary_json(value: object) -> None:
    assert fault_in(json.dumps(value).encode()) is None
    assert fault_in(json.dumps(value, ensure_ascii=False).encode()) is None


@given(st.binary(max_size=200))
def test_no_body_raises(body: bytes) -> None:
    fault = fault_in(body)
    assert fault is None or fault.slug in ("malformed-json", "validation-failed")


names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=3)


values = st.sampled_from(['"x"', '"\\":"', '"\\\\"', '{"y":1}', '[{"z":2}]'])


@given(st.lists(st.tuples(names, values), max_size=4), st.sampled_from(["", " "]))
def test_a_name_that_stands_twice_is_found_whatever_the_strings_hold(members: list[tuple[str, str]], blank: str) -> None:
    body = "{" + ",".join(f"{json.dumps(name)}{blank}:{value}" for name, value in members) + "}"
    twice = len({name for name, _ in members}) != len(members)
    assert (fault_in(body.encode()) is not None) == twice


@given(st.integers(1, 60), st.booleans())
def test_depth_is_counted_exactly(depth: int, lists: bool) -> None:
    body = (b"[" * depth + b"]" * depth) if lists else (b'{"a":' * depth + b"1" + b"}" * depth)
    assert (fault_in(body) is None) == (depth <= 32)


@given(st.text(min_size=1, max_size=5), st.booleans())
def test_control_characters_are_found_however_they_are_written(text: str, escaped: bool) -> None:
    try:
        body = json.dumps({"a": text}, ensure_ascii=escaped).encode()
    except UnicodeEncodeError:
        return
    controls = any((ord(c) < 32 and c not in "\n\t") or 127 <= ord(c) < 160 for c in text)
    surrogates = any(0xD800 <= ord(c) < 0xE000 for c in text)
    fault = fault_in(body)
    assert (fault is not None) == (controls or surrogates)
