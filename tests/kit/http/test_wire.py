"""What only shows on a real socket: odd requests, slow ones, ones that are broken off (T4, T5, R14)."""

from __future__ import annotations

import asyncio
import random

import httpx
import pytest
from sqlalchemy.engine import make_url

from shared.http import edge
from tests.kit.http.conftest import House, client_of
from tests.kit.http.listening import listening


async def said(port: int, request: bytes, within: float = 5) -> bytes:
    """Everything that comes back until the server closes, or nothing more comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    answer = b""
    try:
        async with asyncio.timeout(within):
            while part := await reader.read(65536):
                answer += part
                if b"\r\n\r\n" in answer and b"HTTP/1.1 4" in answer:
                    break
    except TimeoutError:
        pass
    finally:
        writer.close()
    return answer


def request(house: House, *lines: bytes, body: bytes = b'{"number": 1}', length: bool = True) -> bytes:
    head = [b"POST /v1/jars HTTP/1.1", b"Host: toy", b"Authorization: Bearer " + house.key.encode(), b"Content-Type: application/json"]
    head += [b"Content-Length: %d" % len(body)] if length else []
    return b"\r\n".join([*head, *lines]) + b"\r\n\r\n" + body


SMUGGLED = b"GET /v1/jars HTTP/1.1\r\nHost: toy\r\n\r\n"


@pytest.mark.parametrize(
    "lines",
    [
        (b"Content-Length: 5", b"Idempotency-Key: k"),
        (b"Transfer-Encoding: chunked", b"Idempotency-Key: k"),
        (b"Idempotency-Key: k\x00k",),
        (b"Idempotency-Key : k",),
        (b"Idempotency-Key: k", b"\x01bad: header"),
    ],
)
async def test_requests_with_two_meanings_are_refused(house: House, lines: tuple[bytes, ...]) -> None:
    async with listening(house.app) as port:
        answer = await said(port, request(house, *lines), within=2)
    assert not answer.startswith(b"HTTP/1.1 2"), answer
    assert await house.count("events") == 0


async def test_nothing_behind_a_refused_request_is_executed(house: House) -> None:
    chunked = b"5\r\nhello\r\n0\r\n\r\n" + SMUGGLED
    async with listening(house.app) as port:
        answer = await said(port, request(house, b"Transfer-Encoding: chunked", body=chunked), within=2)
    assert answer.count(b"HTTP/1.1") <= 1


async def test_no_request_puts_a_header_into_the_answer(house: House) -> None:
    lines = (b"Idempotency-Key: k", b"X-Correlation-Id: a\r\n set-cookie: x=1")
    async with listening(house.app) as port:
        answer = await said(port, request(house, *lines), within=2)
    assert b"set-cookie" not in answer.lower().partition(b"\r\n\r\n")[0].replace(b"x-correlation-id: a set-cookie: x=1", b"")


async def test_a_body_that_does_not_arrive_is_not_waited_for_for_ever(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "BODY_SECONDS", 0.3)
    whole = request(house, b"Idempotency-Key: k", body=b'{"number": 1}')
    async with listening(house.app) as port:
        answer = await said(port, whole[:-3])
    assert b"408" in answer.partition(b"\r\n")[0]
    assert b"request_timeout" in answer
    assert await house.count("events") == 0


async def test_ten_megabytes_over_a_socket(house: House) -> None:
    async with listening(house.app) as port:
        answer = await said(port, request(house, b"Idempotency-Key: k", body=b" " * 10_000_000))
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"application/problem+json" in answer


async def test_the_server_does_not_say_what_it_is(house: House) -> None:
    async with listening(house.app) as port, httpx.AsyncClient() as client:
        answer = await client.get(f"http://127.0.0.1:{port}/livez")
    assert "server" not in answer.headers


async def test_requests_broken_off_anywhere_leave_no_connection_behind(house: House) -> None:
    chance = random.Random(7)
    path = "/v1/jars"
    async with client_of(house.app, house.key) as client:
        for n in range(60):
            asked = [
                asyncio.create_task(client.post(path, json={"number": 1}, headers={"Idempotency-Key": f"{n}-{i}"}))
                if i % 2
                else asyncio.create_task(client.get(f"{path}?include=total"))
                for i in range(8)
            ]
            for _ in range(chance.randrange(40)):
                await asyncio.sleep(0)
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        await house.app.state.rooms.commands.drain()
        assert (await client.get(path)).status_code == 200
    assert house.kit.database.checked_out() == 0
    name = make_url(house.settings.database_of("toy")).database
    async with house.kit.database.raw() as raw:
        stuck = await raw.fetchval("select count(*) from pg_stat_activity where datname = $1 and state like 'idle in transaction%'", name)
    assert stuck == 0
