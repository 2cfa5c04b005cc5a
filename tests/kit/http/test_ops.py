"""Probes, metrics and the operator's verbs over HTTP; each verb leaves an audit row (H10)."""

from __future__ import annotations

import asyncio
import base64
from typing import Any
from uuid import uuid4

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.es.addressed import Addressed
from shared.es.errors import Unavailable
from shared.es.recorded import Context
from shared.messaging.batch import Item, handle_batch
from shared.messaging.effects_loop import EffectLoop
from shared.messaging.inbox import MessageBatch, RequestBatch
from shared.messaging.parking import ParkedHeads
from shared.messaging.requests import Answer, HttpCommand
from shared.runtime import metrics
from shared.runtime.health import OK, Check
from tests.kit import toy
from tests.kit.http.conftest import House, client_of
from tests.kit.toy import Painted, Put, SendPostcard, Wanted


async def test_probes_need_no_key(house: House) -> None:
    async with client_of(house.app) as anybody:
        for path in ("/livez", "/readyz", "/metrics", "/version"):
            assert (await anybody.get(path)).status_code == 200, path
        version = (await anybody.get("/version")).json()
    assert (version["service"], version["version"]) == ("toy", "0.1.0")
    assert "toy.Put.v1" in version["hears"]


async def test_readiness_names_every_reason(house: House) -> None:
    health = house.app.state.operations.health

    async def away() -> Check:
        raise Unavailable("connection refused")

    async def late() -> Check:
        return Check("degraded", "the oldest unsent message is 40 s old")

    async def fine() -> Check:
        return OK

    health.add("outbox", late)
    health.add("schema", fine)
    async with client_of(house.app) as anybody:
        degraded = await anybody.get("/readyz")
        assert (degraded.status_code, degraded.json()["status"]) == (200, "degraded")
        health.add("database", away)
        health.drain()
        failed = await anybody.get("/readyz")
    assert failed.status_code == 503
    assert failed.json()["checks"]["database"]["detail"] == "connection refused"
    assert failed.json()["reasons"] == [
        "outbox: the oldest unsent message is 40 s old",
        "database: connection refused",
        "shutdown: the process is shutting down",
    ]


async def test_probes_do_not_ask_again_and_again(house: House) -> None:
    asked = 0

    async def counted() -> Check:
        nonlocal asked
        asked += 1
        return OK

    house.app.state.operations.health.add("database", counted)
    async with client_of(house.app) as anybody:
        await asyncio.gather(*(anybody.get("/readyz") for _ in range(20)))
        await anybody.get("/readyz")
    assert asked <= 20


async def test_metrics_are_text_that_prometheus_reads(client: httpx.AsyncClient, house: House) -> None:
    await client.post("/v1/jars", json={"number": 1})
    text = (await client.get("/metrics")).text
    families = {family.name: family for family in text_string_to_metric_families(text)}
    seen = {sample.labels["route"] for sample in families["http_server_request_duration_seconds"].samples}
    assert "/v1/jars" in seen
    assert families["outbox_pending"].samples[0].value >= 1
    assert toy.TENANT.hex not in text
    known = {metric.name.removesuffix("_total") for metric in metrics.METRICS}
    assert {name for name in families if not name.startswith("process_")} <= known


async def test_metrics_answer_while_the_database_is_away(house: House) -> None:
    def away() -> Any:
        raise Unavailable("gone")

    house.kit.database.raw = away  # type: ignore[method-assign]
    async with client_of(house.app) as anybody:
        assert (await anybody.get("/metrics")).status_code == 200


async def parked_wish(house: House) -> str:
    """A message that rests on a colour that nobody has told yet. The key that waits."""
    record = toy.Mailbag().record(Wanted(jar_id="j1", number=5), sequence=1)
    await handle_batch(house.kit, MessageBatch("toy", [record]))
    return f"{toy.TENANT}/j1"


async def test_a_parked_message_is_shown_repaired_and_replayed(client: httpx.AsyncClient, house: House) -> None:
    key = await parked_wish(house)
    items = (await client.get("/ops/parked")).json()["items"]
    assert [(i["consumer"], i["key"], i["reason"], len(i["messages"])) for i in items] == [("toy", key, "not_yet", 1)]
    message = items[0]["messages"][0]
    assert ["ce_type", "shop.Wanted.v1"] in message["headers"]
    assert base64.b64decode(message["value_base64"]).decode() == message["value"] == '{"jar_id":"j1","number":5}'

    paint = toy.Mailbag().record(Painted(jar_id="j1", colour="red"), subject="jar/j1", sequence=1)
    async with house.kit.database.transaction() as tx:
        await tx.raw.execute("insert into paints_v1 (tenant, id, version, colour, owner_id) values ($1, 'j1', 1, 'red', '')", toy.TENANT)
    assert paint.topic == "shop.events"
    replayed = await client.post(f"/ops/parked/toy/{key}/replays")
    assert (replayed.status_code, replayed.json()["status"]) == (202, "due")
    await handle_batch(house.kit, ParkedHeads("toy"))
    assert (await client.get("/ops/parked")).json()["items"] == []
    assert [(r["action"], r["principal"], r["ref"]) for r in (await client.get("/ops/audit")).json()["items"]] == [
        ("parked.replayed", "user:7", key)
    ]


async def test_a_parked_message_is_discarded_with_a_reason(client: httpx.AsyncClient, house: House) -> None:
    key = await parked_wish(house)
    position = (await client.get("/ops/parked")).json()["items"][0]["messages"][0]["position"]
    path = f"/ops/parked/toy/{key}/discards"
    assert (await client.post(path, json={"position": position})).status_code == 422
    wrong = await client.post(path, json={"position": position + 1, "why": "x"})
    assert (wrong.status_code, wrong.json()["code"]) == (409, "not_the_head")
    assert (await client.post(path, json={"position": position, "why": "the shop is closed"})).status_code == 200
    assert (await client.get("/ops/parked")).json()["items"] == []
    audited = (await client.get("/ops/audit")).json()["items"][0]
    assert (audited["action"], audited["detail"]["why"]) == ("parked.discarded", "the shop is closed")


async def test_what_is_not_parked_is_not_found(client: httpx.AsyncClient) -> None:
    assert (await client.post(f"/ops/parked/toy/{toy.TENANT}/j9/replays")).status_code == 404
    assert (await client.post(f"/ops/parked/other/{toy.TENANT}/j1/replays")).status_code == 404


async def test_operators_see_their_tenant_and_those_of_all_tenants_see_all(house: House) -> None:
    key = await parked_wish(house)
    stranger = await house.new_key("ops:read", "ops:retry", tenant=toy.OTHER_TENANT)
    everybody = await house.new_key("ops:read", "ops:retry", "admin:tenants", tenant=toy.OTHER_TENANT)
    async with client_of(house.app, stranger) as other, client_of(house.app, everybody) as operator:
        assert (await other.get("/ops/parked")).json()["items"] == []
        assert (await other.post(f"/ops/parked/toy/{key}/replays")).status_code == 404
        assert [i["key"] for i in (await operator.get("/ops/parked?messages=false")).json()["items"]] == [key]
        assert (await operator.post(f"/ops/parked/toy/{key}/replays")).status_code == 202


async def test_what_is_no_envelope_is_shown_with_its_bytes(house: House) -> None:
    record = toy.Mailbag().raw("toy.commands", b"k", [("x", b"\xff")], b"\xff\x00 no envelope")
    await handle_batch(house.kit, MessageBatch("toy", [record]))
    operator = await house.new_key("ops:read", "admin:tenants")
    async with client_of(house.app, operator) as client:
        items = (await client.get("/ops/quarantine")).json()["items"]
    assert [(i["topic"], i["offset"], base64.b64decode(i["value_base64"])) for i in items] == [("toy.commands", 0, b"\xff\x00 no envelope")]
    assert "missing" in items[0]["reason"]


async def effect_in(house: House, state: str) -> str:
    asked = Addressed(toy.POSTCARD, "p1", SendPostcard("hello"))
    item = Item(str(uuid4()), "test", f"{toy.TENANT}/p1", Context(toy.TENANT, "chain-9", "1"), (asked,))
    await handle_batch(house.kit, RequestBatch([HttpCommand(item, b"", lambda done: Answer(204))]))
    async with house.kit.database.raw() as raw:
        return str(await raw.fetchval("update effects set state = $1, told_at = now() returning key", state))


async def test_an_effect_of_unknown_fate_is_decided_by_a_person(client: httpx.AsyncClient, house: House) -> None:
    for as_, state in (("done", "done"), ("failed", "failed"), ("again", "queued")):
        async with house.kit.database.transaction() as tx:
            await tx.raw.execute("delete from effects")
        key = await effect_in(house, "unknown")
        shown = (await client.get("/ops/effects?state=unknown")).json()["items"]
        assert [(e["kind"], e["key"], e["state"]) for e in shown] == [("post", key, "unknown")]
        resolved = await client.post(f"/ops/effects/post/{key}/resolutions", json={"as": as_, "why": "I asked"})
        assert (resolved.status_code, resolved.json()["state"]) == (200, state)
        async with house.kit.database.raw() as raw:
            row = (await raw.fetch("select * from effects"))[0]
        assert (row["state"], row["told_at"], row["earlier"], row["fence"]) == (state, None, "unknown", 1)
        if as_ != "failed":
            again = await client.post(f"/ops/effects/post/{key}/resolutions", json={"as": as_, "why": "I asked"})
            assert again.status_code == 404
        assert (await client.get("/ops/audit")).json()["items"][0]["action"] == f"effect.{as_}"


async def test_what_did_not_happen_is_told_as_failed_in_a_persons_words(client: httpx.AsyncClient, house: House) -> None:
    key = await effect_in(house, "unknown")
    await client.post(f"/ops/effects/post/{key}/resolutions", json={"as": "failed", "why": "They never saw it"})
    await EffectLoop(house.kit, toy.SERVICE.effects[0], "me").step()
    async with house.kit.database.raw() as raw:
        assert await raw.fetchval("select data->>'state' from events where type = 'PostcardNoted'") == "failed"
        outcome = await raw.fetchval("select outcome from effects")
    assert (outcome["code"], outcome["detail"]) == ("did_not_happen", "They never saw it")


async def test_one_that_is_done_again_has_all_its_tries_before_it(client: httpx.AsyncClient, house: House) -> None:
    key = await effect_in(house, "unknown")
    async with house.kit.database.transaction() as tx:
        await tx.raw.execute("""update effects set outcome = '{"error": "silence", "unanswered": 20}'""")
    await client.post(f"/ops/effects/post/{key}/resolutions", json={"as": "again", "why": "They are back"})
    async with house.kit.database.raw() as raw:
        assert await raw.fetchval("select outcome from effects") == {"error": "silence"}


async def test_a_queued_effect_says_what_it_waits_for(client: httpx.AsyncClient, house: House) -> None:
    await effect_in(house, "queued")
    await house.tenant(toy.TENANT, suspended=True)
    operator = await house.new_key("ops:read", "admin:tenants")
    async with client_of(house.app, operator) as admin:
        items = (await admin.get("/ops/effects")).json()["items"]
    assert [i["waits_for"] for i in items] == ["tenant suspended"]


async def test_a_chain_shows_events_and_effects_in_order(client: httpx.AsyncClient, house: House) -> None:
    await effect_in(house, "done")
    items = (await client.get("/ops/trace/chain-9")).json()["items"]
    assert [(i["what"], i.get("type") or i.get("kind")) for i in items] == [("event", "PostcardAsked"), ("effect", "post")]
    assert (await client.get("/ops/trace/unknown")).json()["items"] == []


async def test_a_view_is_rebuilt_and_the_run_is_shown(client: httpx.AsyncClient, house: House) -> None:
    await client.post("/v1/jars", json={"number": 4})
    async with house.kit.database.transaction() as tx:
        await tx.raw.execute("delete from jars_v1")
    started = await client.post("/ops/rebuilds", json={"view": "jars_v1"})
    assert started.status_code == 202
    async with asyncio.timeout(10):
        while (run := (await client.get("/ops/rebuilds")).json()["items"][0])["status"] == "running":
            await asyncio.sleep(0.01)
    assert (run["status"], run["streams"], run["view"]) == ("done", 1, "jars_v1")
    assert await house.count("jars_v1") == 1
    assert (await client.get("/ops/audit")).json()["items"][0]["action"] == "view.rebuilt"


async def test_an_unknown_view_names_the_known_ones(client: httpx.AsyncClient) -> None:
    answer = await client.post("/ops/rebuilds", json={"view": "jrs_v1"})
    assert (answer.status_code, "jars_v1" in answer.json()["detail"]) == (404, True)


@pytest.mark.parametrize("verb", ["parked/toy/a/b/replays", "parked/toy/a/b/discards", "effects/post/x/resolutions", "rebuilds"])
async def test_verbs_need_more_than_reading(house: House, verb: str) -> None:
    key = await house.new_key("ops:read")
    async with client_of(house.app, key) as reader:
        answer = await reader.post(f"/ops/{verb}", json={"position": 1, "why": "x"})
    assert (answer.status_code, "ops:retry" in answer.json()["detail"]) == (403, True)


async def test_a_poisoned_message_does_not_hide_from_the_metrics(house: House, client: httpx.AsyncClient) -> None:
    record = toy.Mailbag().record(Put(request_id="1", jar_id="j2", number=13))
    await handle_batch(house.kit, MessageBatch("toy", [record]))
    house.app.state.operations.figures._until = 0.0
    families = {f.name: f for f in text_string_to_metric_families((await client.get("/metrics")).text)}
    assert families["parked_messages"].samples[0].value == 1
    reasons = {s.labels["reason"]: s.value for s in families["dead_letters"].samples if s.labels["topic"] == "toy.commands"}
    assert reasons["handler_error"] >= 1
