"""Keyset pages: complete, in order, bound to their question (H5, T1)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import Column, Integer, MetaData, Table, Text, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from shared.http.paging import Cursors, Order, Question, order_of, page
from shared.http.problems import Problem
from tests.kit import toy
from tests.kit.http.conftest import House, client_of


async def jars_of(client: httpx.AsyncClient, numbers: Sequence[int]) -> None:
    asked = (client.post("/v1/jars", json={"number": n, "colour": "red" if n % 2 else "blue"}) for n in numbers)
    assert {a.status_code for a in await asyncio.gather(*asked)} == {201}


async def all_pages(client: httpx.AsyncClient, path: str) -> list[dict[str, Any]]:
    items: list[dict[str, Any]] = []
    address: str | None = path
    while address:
        answer = await client.get(address)
        assert answer.status_code == 200, answer.text
        items += answer.json()["items"]
        address = answer.links.get("next", {}).get("url")
        assert (address is None) == (answer.json()["next_cursor"] is None)
    return items


@pytest.mark.parametrize(("sort", "reverse"), [("", True), ("marbles", False), ("-marbles", True)])
async def test_pages_are_complete_and_in_order(client: httpx.AsyncClient, sort: str, reverse: bool) -> None:
    await jars_of(client, [3, 1, 2, 2, 2, 5, 4, 2])
    items = await all_pages(client, f"/v1/jars?limit=3&sort={sort}" if sort else "/v1/jars?limit=3")
    assert [i["marbles"] for i in items] == sorted([3, 1, 2, 2, 2, 5, 4, 2], reverse=reverse)
    assert len({i["id"] for i in items}) == 8


async def test_pages_keep_their_filters(client: httpx.AsyncClient) -> None:
    await jars_of(client, range(1, 8))
    items = await all_pages(client, "/v1/jars?limit=2&colour=red")
    assert [i["marbles"] for i in items] == [7, 5, 3, 1]


async def test_what_is_added_meanwhile_disturbs_no_page(client: httpx.AsyncClient) -> None:
    await jars_of(client, [1, 2, 3, 4])
    first = await client.get("/v1/jars?limit=2&sort=marbles")
    await jars_of(client, [1, 5])
    rest = await all_pages(client, first.links["next"]["url"])
    assert [i["marbles"] for i in rest] == [3, 4, 5]


async def test_a_total_is_given_when_asked_for(client: httpx.AsyncClient) -> None:
    await jars_of(client, [1, 2, 3, 4])
    answer = await client.get("/v1/jars?limit=1&include=total&colour=red")
    assert (answer.json()["total"], len(answer.json()["items"])) == (2, 1)
    assert "total" not in (await client.get("/v1/jars")).json()


async def test_a_cursor_belongs_to_its_question_and_tenant(client: httpx.AsyncClient, house: House) -> None:
    await jars_of(client, [1, 2, 3, 4])
    cursor = (await client.get("/v1/jars?limit=1")).json()["next_cursor"]
    stranger = await house.new_key("deals:read", tenant=toy.OTHER_TENANT)
    for path in (f"/v1/jars?cursor={cursor}&colour=red", f"/v1/jars?cursor={cursor}&sort=marbles", "/v1/jars?cursor=x", "/v1/jars?cursor="):
        answer = await client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (400, "bad_cursor"), path
    async with client_of(house.app, stranger) as other:
        assert (await other.get(f"/v1/jars?cursor={cursor}")).status_code == 400
    assert (await client.get(f"/v1/jars?limit=2&cursor={cursor}")).status_code == 200


async def test_an_unknown_sort_field_names_the_known_ones(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/jars?sort=tenant")
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_parameter")
    assert "marbles, colour" in answer.json()["detail"]


async def test_history_is_oldest_first_and_paged(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/jars", json={"number": 1})).headers["Location"]
    for n in range(2, 6):
        await client.post(f"{path}/marbles", json={"number": n})
    items = await all_pages(client, f"{path}/events?limit=2")
    assert [(i["version"], i["type"], i["data"]["number"]) for i in items] == [(n, "MarblesPut", n) for n in range(1, 6)]
    assert {i["actor"] for i in items} == {"user:7"}
    assert (await client.get(f"/v1/jars/{uuid4()}/events")).status_code == 404


async def test_a_state_is_shown_as_it_was(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/jars", json={"number": 1})).headers["Location"]
    await client.post(f"{path}/marbles", json={"number": 5})
    for version, marbles in ((1, 1), (2, 6)):
        answer = await client.get(f"{path}?version={version}")
        assert (answer.json()["marbles"], answer.headers["ETag"]) == (marbles, f'"{version}"')
    for missing in (0, 3, -1, 2**31, 2**70):
        assert (await client.get(f"{path}?version={missing}")).status_code == 404


async def test_an_etag_saves_the_body(client: httpx.AsyncClient) -> None:
    path = (await client.post("/v1/jars", json={"number": 1})).headers["Location"]
    for known in ('"1"', 'W/"1"', '"0", "1"', "*"):
        answer = await client.get(path, headers={"If-None-Match": known})
        assert (answer.status_code, answer.content, answer.headers["ETag"]) == (304, b"", '"1"')
    assert (await client.get(path, headers={"If-None-Match": '"2"'})).status_code == 200


THINGS = Table(
    "things",
    MetaData(),
    Column("tenant", Text, primary_key=True),
    Column("id", Integer, primary_key=True),
    Column("weight", Integer),
)


@pytest.mark.parametrize("sort", ["weight", "-weight"])
async def test_rows_without_a_value_are_paged_too(house: House, sort: str) -> None:
    order = order_of(sort, (THINGS.c.weight,), None)
    url = make_url(house.settings.database_of("toy")).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(url, connect_args={"server_settings": {"role": "toy_owner"}})
    async with engine.begin() as sql:
        await sql.execute(text("create temporary table things (tenant text, id int, weight int) on commit drop"))
        await sql.execute(text("insert into things select 'a', n, nullif(n % 4, 0) from generate_series(1, 30) as n"))
        wanted = [r.id for r in await sql.execute(text(f"select id from things order by weight {_way(sort)}, id {_way(sort)}"))]
        found: list[int] = []
        after: list[Any] | None = None
        while after is not None or not found:
            got = await page(sql, select(THINGS), order, 4, after, total=False)
            found += [row["id"] for row in got.items]
            after = got.after
            if after is None:
                break
    await engine.dispose()
    assert found == wanted


def _way(sort: str) -> str:
    return "desc" if sort.startswith("-") else "asc"


QUESTION = Question("/v1/x", UUID(int=1), (("colour", "red"), ("limit", "3")))
places = st.lists(
    st.none()
    | st.integers()
    | st.text()
    | st.booleans()
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=st.just(UTC))
    | st.decimals(allow_nan=False, allow_infinity=False),
    max_size=5,
)


@given(places)
def test_a_cursor_reads_back_what_was_written(place: list[Any]) -> None:
    cursors = Cursors(b"pepper")
    assert cursors.read(cursors.write(place, QUESTION), QUESTION) == place


@given(st.text(max_size=80))
def test_no_forged_cursor_is_accepted(cursor: str) -> None:
    with pytest.raises(Problem):
        Cursors(b"pepper").read(cursor, QUESTION)


def test_a_cursor_of_another_deployment_is_refused() -> None:
    written = Cursors(b"one").write([1, Decimal("2.50"), date(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC)], QUESTION)
    with pytest.raises(Problem):
        Cursors(b"two").read(written, QUESTION)


def test_only_columns_of_a_table_are_sorted_by() -> None:
    with pytest.raises(TypeError):
        order_of(None, (select(THINGS.c.id).scalar_subquery().label("x"),), None)
    assert isinstance(order_of(None, (THINGS.c.weight,), "weight"), Order)
