"""Idempotency, versions and the group commit over HTTP (H3, H4, C.5, R13)."""

from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import httpx

from shared.es.errors import Conflict, Rejected, Unavailable
from shared.http.problems import About, problem_of
from tests.kit import toy
from tests.kit.http.conftest import House, client_of


async def test_a_post_creates_and_names_what_it_created(client: httpx.AsyncClient) -> None:
    answer = await client.post("/v1/jars", json={"number": 3, "colour": "red"})
    assert answer.status_code == 201
    assert answer.headers["Location"] == f"/v1/jars/{answer.json()['id']}"
    assert answer.headers["ETag"] == '"1"'
    assert (await client.get(answer.headers["Location"])).json() == {"id": answer.json()["id"], "marbles": 3, "colour": "red", "version": 1}


async def test_a_repeated_key_gets_the_first_answer_and_does_nothing(client: httpx.AsyncClient, house: House) -> None:
    first = await client.post("/v1/jars", json={"number": 3}, headers={"Idempotency-Key": "k1"})
    again = await client.post("/v1/jars", json={"number": 3}, headers={"Idempotency-Key": "k1"})
    assert "Idempotency-Replayed" not in first.headers
    assert again.headers["Idempotency-Replayed"] == "true"
    assert (again.status_code, again.json()) == (first.status_code, first.json())
    assert (again.headers["ETag"], again.headers["Location"]) == (first.headers["ETag"], first.headers["Location"])
    assert await house.count("events") == 1


async def test_simultaneous_repeats_get_one_effect_and_one_answer(client: httpx.AsyncClient, house: House) -> None:
    asked = [client.post("/v1/jars", json={"number": 3}, headers={"Idempotency-Key": "k1"}) for _ in range(10)]
    answers = await asyncio.gather(*asked)
    assert {a.status_code for a in answers} == {201}
    assert len({a.json()["id"] for a in answers}) == 1
    assert await house.count("events") == 1


async def test_a_key_with_another_body_is_refused(client: httpx.AsyncClient, house: House) -> None:
    await client.post("/v1/jars", json={"number": 3}, headers={"Idempotency-Key": "k1"})
    other = await client.post("/v1/jars", json={"number": 4}, headers={"Idempotency-Key": "k1"})
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert await house.count("events") == 1


async def test_keys_of_two_credentials_do_not_meet(client: httpx.AsyncClient, house: House) -> None:
    stranger = await house.new_key("deals:write", tenant=toy.OTHER_TENANT)
    await client.post("/v1/jars", json={"number": 3}, headers={"Idempotency-Key": "k1"})
    async with client_of(house.app, stranger) as other:
        answer = await other.post("/v1/jars", json={"number": 4}, headers={"Idempotency-Key": "k1"})
    assert answer.status_code == 201
    assert await house.count("events") == 2


async def test_a_post_without_a_key_is_refused(house: House) -> None:
    async with client_of(house.app, house.key) as client:
        answer = await client.post("/v1/jars", json={"number": 3})
    assert (answer.status_code, answer.json()["code"]) == (400, "idempotency_key_missing")


async def test_a_key_of_control_characters_or_great_length_is_refused(client: httpx.AsyncClient) -> None:
    for key in ("", "x" * 256, "a b", "ä".encode("latin-1").decode("latin-1")):
        answer = await client.post("/v1/jars", json={"number": 3}, headers=[(b"Idempotency-Key", key.encode("latin-1"))])
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "header/idempotency-key")


async def test_a_refusal_is_told_and_kept_under_its_key(client: httpx.AsyncClient) -> None:
    first = await client.post("/v1/jars", json={"number": 101}, headers={"Idempotency-Key": "k1"})
    again = await client.post("/v1/jars", json={"number": 101}, headers={"Idempotency-Key": "k1"})
    assert (first.status_code, first.json()["code"]) == (409, "too_many")
    assert first.headers["content-type"] == "application/problem+json"
    assert first.json()["detail"] == "A jar takes at most 100 marbles at once."
    assert again.json() == first.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.headers["content-type"] == "application/problem+json"


async def test_a_change_needs_the_version_it_rests_on(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/jars", json={"number": 3})).headers["Location"]
    missing = await client.patch(path, json={"number": 1})
    assert (missing.status_code, missing.json()["code"]) == (428, "precondition_required")
    right = await client.patch(path, json={"number": 1}, headers={"If-Match": '"1"'})
    assert (right.status_code, right.headers["ETag"], right.json()["marbles"]) == (200, '"2"', 4)


async def test_a_stale_version_is_refused_with_what_changed_since(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/jars", json={"number": 3})).headers["Location"]
    await client.patch(path, json={"number": 1}, headers={"If-Match": '"1"'})
    for stale in ('"1"', '"9"'):
        answer = await client.patch(path, json={"number": 1}, headers={"If-Match": stale})
        problem = answer.json()
        assert (answer.status_code, problem["code"], answer.headers["ETag"]) == (412, "version_conflict", '"2"')
        assert problem["current_version"] == 2
    first = await client.patch(path, json={"number": 1}, headers={"If-Match": '"1"'})
    assert [(c["version"], c["type"]) for c in first.json()["changes"]] == [(2, "MarblesPut")]


async def test_an_unreadable_version_is_named(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/jars", json={"number": 3})).headers["Location"]
    for odd in ("1", 'W/"1"', '"x"', '"1", "2"', '"99999999999"'):
        answer = await client.patch(path, json={"number": 1}, headers={"If-Match": odd})
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (400, "header/if-match")


async def test_a_post_honours_a_version_that_is_sent(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/jars", json={"number": 3})).headers["Location"]
    stale = await client.post(f"{path}/marbles", json={"number": 1}, headers={"If-Match": '"7"'})
    assert stale.status_code == 412


async def test_what_is_not_there_is_not_found(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"/v1/jars/{uuid4()}/marbles", json={"number": 1})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_a_missing_fact_asks_for_patience(client: httpx.AsyncClient) -> None:
    answer = await client.post(f"/v1/jars/{uuid4()}/waits", headers={"Idempotency-Key": "k1"})
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (409, "not_yet", "1")


async def test_a_bug_in_one_request_does_not_touch_the_others(client: httpx.AsyncClient, house: House) -> None:
    numbers = [1, 2, 13, 4, 5]
    answers = await asyncio.gather(*(client.post("/v1/jars", json={"number": n}) for n in numbers))
    assert [a.status_code for a in answers] == [201, 201, 500, 201, 201]
    assert answers[2].json()["code"] == "internal"
    assert "thirteen" not in answers[2].text
    assert await house.count("events") == 4


async def test_a_failed_request_may_be_repeated_with_its_key(client: httpx.AsyncClient, house: House) -> None:
    for _ in range(2):
        answer = await client.post("/v1/jars", json={"number": 13}, headers={"Idempotency-Key": "k1"})
        assert (answer.status_code, "Idempotency-Replayed" in answer.headers) == (500, False)


async def test_a_bug_in_showing_the_result_keeps_what_was_decided(client: httpx.AsyncClient, house: House) -> None:
    answer = await client.post(f"/v1/jars/{uuid4()}/shows")
    assert answer.status_code == 500
    assert "4711" not in answer.text
    assert await house.count("events") == 1


async def test_requests_of_one_moment_share_a_transaction(client: httpx.AsyncClient, house: House) -> None:
    transactions = 0
    begin = house.kit.database.transaction

    def counted() -> object:
        nonlocal transactions
        transactions += 1
        return begin()

    house.kit.database.transaction = counted  # type: ignore[method-assign, assignment]
    await asyncio.gather(*(client.post("/v1/jars", json={"number": 1}) for _ in range(50)))
    assert transactions < 25
    assert await house.count("events") == 50


async def test_a_client_that_goes_away_does_not_stop_its_request(client: httpx.AsyncClient, house: House) -> None:
    commands = house.app.state.rooms.commands
    for _ in range(20):
        asked = [asyncio.create_task(client.post("/v1/jars", json={"number": 1}, headers={"Idempotency-Key": str(n)})) for n in range(5)]
        while commands._running is None or commands._running.done():
            await asyncio.sleep(0)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
        await commands.drain()
    again = await client.post("/v1/jars", json={"number": 1}, headers={"Idempotency-Key": "0"})
    assert again.headers["Idempotency-Replayed"] == "true"
    assert house.kit.database.checked_out() == 0


async def test_too_many_waiting_requests_are_sent_away(client: httpx.AsyncClient, house: House) -> None:
    house.app.state.rooms.commands._limit = 3
    answers = await asyncio.gather(*(client.post("/v1/jars", json={"number": 1}) for _ in range(30)))
    away = [a for a in answers if a.status_code == 503]
    assert away
    assert away[0].headers["Retry-After"] == "1"
    assert await house.count("events") == 30 - len(away)


def test_who_comes_while_the_first_is_running_is_told_when_to_come_again() -> None:
    answer = problem_of(Rejected("idempotency_key_busy", "Still running."), About("/v1/jars", "c"))
    assert (answer.status, answer.body["type"]) == (409, "/problems/idempotency-key-busy")
    assert ("Retry-After", "1") in answer.headers


async def test_a_database_that_is_away_is_a_503(client: httpx.AsyncClient, house: House) -> None:
    def away() -> object:
        raise Unavailable("gone")

    await client.get("/v1/jars")
    house.kit.database.transaction = away  # type: ignore[method-assign, assignment]
    answer = await client.post("/v1/jars", json={"number": 1})
    assert (answer.status_code, answer.json()["code"], answer.headers["Retry-After"]) == (503, "unavailable", "1")


async def test_who_loses_three_races_is_told_and_may_come_again(client: httpx.AsyncClient, house: House) -> None:
    begin, tries = house.kit.database.transaction, 0

    def lost() -> object:
        nonlocal tries
        tries += 1
        raise Conflict("somebody appended first")

    await client.get("/v1/jars")
    house.kit.database.transaction = lost  # type: ignore[method-assign, assignment]
    answer = await client.post("/v1/jars", json={"number": 1}, headers={"Idempotency-Key": "k1"})
    house.kit.database.transaction = begin  # type: ignore[method-assign]
    assert (answer.status_code, answer.json()["code"], tries) == (409, "conflict", 3)
    assert "Nothing of this one was stored" in answer.json()["detail"]
    again = await client.post("/v1/jars", json={"number": 1}, headers={"Idempotency-Key": "k1"})
    assert (again.status_code, "Idempotency-Replayed" in again.headers) == (201, False)


async def test_a_public_door_names_its_own_key(house: House) -> None:
    async with client_of(house.app) as stranger:
        first = await stranger.post("/v1/hooks/sesame", content=b'{"paid": true}', headers={"content-type": "application/json"})
        again = await stranger.post("/v1/hooks/sesame", content=b'{"paid": true}', headers={"content-type": "application/json"})
        wrong = await stranger.post("/v1/hooks/other", json={})
    assert (first.status_code, first.json()) == (200, {"size": 14})
    assert again.headers["Idempotency-Replayed"] == "true"
    assert wrong.status_code == 404
    assert await house.count("events") == 1


async def test_events_carry_who_asked_and_the_callers_trace(client: httpx.AsyncClient) -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    headers = {"traceparent": trace, "X-Correlation-Id": "chain-1"}
    answer = await client.post("/v1/jars", json={"number": 1}, headers=headers)
    assert answer.headers["X-Correlation-Id"] == "chain-1"
    assert answer.headers["traceparent"][3:35] == trace[3:35]
    found = (await client.get("/ops/trace/chain-1")).json()["items"]
    assert [(e["type"], e["actor"], e["causation_id"]) for e in found] == [("MarblesPut", "user:7", answer.headers["X-Request-Id"])]
    assert found[0]["traceparent"] == answer.headers["traceparent"]


async def test_a_broken_trace_or_correlation_is_replaced(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/jars", headers={"traceparent": "nonsense", "X-Correlation-Id": "x" * 200})
    assert UUID(answer.headers["X-Correlation-Id"])
    assert len(answer.headers["traceparent"]) == 55


async def test_what_is_refused_before_anything_is_asked_is_kept_under_its_key_too(client: httpx.AsyncClient, house: House) -> None:
    key = {"Idempotency-Key": "k1"}
    first = await client.post("/v1/jars", json={"number": "many"}, headers=key)
    again = await client.post("/v1/jars", json={"number": "many"}, headers=key)
    assert (first.status_code, first.json()["code"]) == (422, "validation_failed")
    assert (again.status_code, again.json(), again.headers["Idempotency-Replayed"]) == (422, first.json(), "true")
    other = await client.post("/v1/jars", json={"number": 3}, headers=key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    later = await client.post("/v1/jars", json={"number": "few"}, headers=key)
    assert later.json()["code"] == "idempotency_key_reused"
    assert await house.count("events") == 0


async def test_a_refusal_without_a_key_or_of_a_reader_is_not_kept(client: httpx.AsyncClient, house: House) -> None:
    async with client_of(house.app, house.key) as keyless:
        assert (await keyless.post("/v1/jars", json={"number": "many"})).status_code == 422
    assert (await client.get(f"/v1/jars/{uuid4()}", headers={"Idempotency-Key": "k1"})).status_code == 404
    assert await house.count("inbox") == 0
