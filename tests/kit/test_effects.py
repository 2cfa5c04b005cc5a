"""Effects outside the database: asked with the batch, done under a fence, told once (C.15, R10)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from shared.es.addressed import Addressed
from shared.es.errors import Conflict, Unavailable
from shared.es.recorded import Context
from shared.messaging.batch import Item, handle_batch
from shared.messaging.effects import Performed
from shared.messaging.effects_loop import IDLE, MOST_UNANSWERED, EffectLoop, Effects
from shared.messaging.inbox import RequestBatch
from shared.messaging.requests import Answer, HttpCommand
from shared.runtime.clock import now
from shared.runtime.service import Kit
from tests.kit import toy

KIND = toy.SERVICE.effects[0]


async def ask(kit: Kit, card: str, text: str, tenant: Any = toy.TENANT) -> None:
    addressed = (Addressed(toy.POSTCARD, card, toy.SendPostcard(text)),)
    item = Item(str(uuid4()), "test", f"{tenant}/{card}", Context(tenant, "chain", "cause"), addressed)
    await handle_batch(kit, RequestBatch([HttpCommand(item, b"", lambda done: Answer(200))]))


async def register(kit: Kit, *, suspended: bool = False, rehearsal: bool = False) -> None:
    async with kit.database.raw() as raw:
        await raw.execute(
            "insert into tenants_v1 values ($1::uuid, $1::uuid::text, 1, 'Acme', 'de', 'UTC', $2, $3)"
            " on conflict (tenant, id) do update set suspended = excluded.suspended",
            toy.TENANT,
            rehearsal,
            suspended,
        )


async def effect(kit: Kit) -> Any:
    async with kit.database.raw() as raw:
        (row,) = await raw.fetch("select * from effects")
    return row


async def told(kit: Kit) -> list[str]:
    async with kit.database.raw() as raw:
        return [row["data"]["state"] for row in await raw.fetch("select data from events where type = 'PostcardNoted' order by version")]


@pytest.fixture
async def loop(kit: Kit, postman: toy.Postman) -> AsyncIterator[EffectLoop]:
    yield EffectLoop(kit, KIND, "me")


async def test_an_effect_is_done_once_and_told_to_who_asked(kit: Kit, loop: EffectLoop, postman: toy.Postman) -> None:
    await register(kit)
    await ask(kit, "c", "hello")
    for _ in range(3):
        await loop.step()

    assert [c.request["text"] for c in postman.bag] == ["hello"]
    assert await told(kit) == ["done"]
    assert (await effect(kit))["outcome"] == {"stamp": 1}


async def test_the_outcome_belongs_to_the_chain_that_asked(kit: Kit, loop: EffectLoop) -> None:
    await register(kit)
    await ask(kit, "c", "hello")
    await loop.step()

    async with kit.database.raw() as raw:
        chains = await raw.fetch("select correlation_id from events order by position")
    assert [row["correlation_id"] for row in chains] == ["chain", "chain"]


async def test_an_effect_of_an_unknown_or_suspended_tenant_waits(kit: Kit, loop: EffectLoop, postman: toy.Postman) -> None:
    await ask(kit, "c", "hello")
    await loop.step()
    await register(kit, suspended=True)
    await loop.step()
    assert postman.bag == []

    await register(kit, suspended=False)
    await loop.step()
    assert len(postman.bag) == 1


async def test_a_rehearsal_tenants_effect_goes_to_the_sandbox(kit: Kit, loop: EffectLoop, postman: toy.Postman) -> None:
    await register(kit, rehearsal=True)
    await ask(kit, "c", "hello")
    await loop.step()

    assert (len(postman.bag), len(postman.sandbox)) == (0, 1)
    assert await told(kit) == ["done"]


async def test_what_failed_for_now_is_tried_again_when_due(kit: Kit, loop: EffectLoop, postman: toy.Postman) -> None:
    await register(kit)
    postman.answers = [Performed("failed", {"error": "greylisted"}, now() + timedelta(minutes=1))]
    await ask(kit, "c", "hello")
    await loop.step()
    await loop.step()
    assert (len(postman.bag), await told(kit)) == (1, [])

    kit.database.clock = lambda primary: primary + timedelta(minutes=2)
    await loop.step()
    assert [(c.attempt, c.earlier) for c in postman.bag] == [(1, "none"), (2, "failed")]
    assert await told(kit) == ["done"]


async def test_an_answer_outlives_a_database_that_is_away_for_a_moment(
    kit: Kit, loop: EffectLoop, postman: toy.Postman, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the claim would end as in doubt, and the postcard would be sent again."""
    troubles, record = [Conflict("deadlock"), Unavailable("the server is restarting")], Effects.record

    async def troubled(self: Effects, *given: Any) -> bool:
        if troubles:
            raise troubles.pop()
        return await record(self, *given)

    monkeypatch.setattr(Effects, "record", troubled)
    await register(kit)
    await ask(kit, "c", "hello")
    await loop.step()

    assert (len(postman.bag), (await effect(kit))["state"], await told(kit)) == (1, "done", ["done"])


async def test_an_answer_that_cannot_be_noted_before_the_claim_ends_is_somebody_elses(
    kit: Kit, postman: toy.Postman, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(self: Effects, *given: Any) -> bool:
        raise Unavailable("away for good")

    monkeypatch.setattr(Effects, "record", away)
    await register(kit)
    await ask(kit, "c", "hello")
    with pytest.raises(Unavailable):
        await EffectLoop(kit, replace(KIND, lease=timedelta(milliseconds=200)), "me").step()
    assert (await effect(kit))["state"] == "sending"


async def test_what_may_have_happened_is_held_and_told_as_unknown(kit: Kit, loop: EffectLoop, postman: toy.Postman) -> None:
    await register(kit)
    postman.answers = [ConnectionResetError("after the last byte")]
    await ask(kit, "c", "hello")
    await loop.step()
    await loop.step()

    assert len(postman.bag) == 1
    assert await told(kit) == ["unknown"]
    assert "after the last byte" in (await effect(kit))["outcome"]["error"]


async def test_a_kind_that_is_safe_to_repeat_is_repeated_with_the_same_key(kit: Kit, postman: toy.Postman) -> None:
    await register(kit)
    postman.answers = [ConnectionResetError("after the last byte")]
    loop = EffectLoop(kit, replace(KIND, unknown="again"), "me")
    await ask(kit, "c", "hello")
    await loop.step()
    kit.database.clock = lambda primary: primary + timedelta(minutes=1)
    await loop.step()

    assert len({c.key for c in postman.bag}) == 1 and len(postman.bag) == 2
    assert await told(kit) == ["done"]


async def test_a_claim_whose_owner_died_expires_and_its_late_record_is_dropped(kit: Kit, postman: toy.Postman) -> None:
    await register(kit)
    await ask(kit, "c", "hello")
    dead = Effects(kit, "dead")
    (claimed,) = await dead.claim(KIND, 10)
    kit.database.clock = lambda primary: primary + timedelta(minutes=5)

    again = EffectLoop(kit, replace(KIND, unknown="again"), "alive")
    await again.step()

    assert [(c.fence, c.earlier) for c in postman.bag] == [(2, "unknown")]
    assert await dead.record(KIND, claimed, Performed("failed", {})) is False
    assert (await effect(kit))["state"] == "done"


async def test_two_owners_never_hold_one_effect(kit: Kit, postman: toy.Postman) -> None:
    await register(kit)
    for n in range(20):
        await ask(kit, f"c{n}", "hello")
    one, two = Effects(kit, "one"), Effects(kit, "two")
    mine, yours = await one.claim(KIND, 15), await two.claim(KIND, 15)

    assert (len(mine), len(yours)) == (15, 5)
    assert not {c.key for c in mine} & {c.key for c in yours}


async def test_what_never_answers_has_failed_in_the_end_and_is_told(kit: Kit, postman: toy.Postman) -> None:
    await register(kit)
    silence = [Performed("unknown", {"error": "no answer"})] * (MOST_UNANSWERED - 1)
    postman.answers = [*silence, RuntimeError("no such option"), *silence]
    loop = EffectLoop(kit, replace(KIND, unknown="again"), "me")
    await ask(kit, "c", "hello")
    for n in range(MOST_UNANSWERED + 2):
        kit.database.clock = lambda primary, n=n: primary + timedelta(minutes=n)  # type: ignore[misc]
        assert await told(kit) == ([] if n < MOST_UNANSWERED else ["failed"])
        await loop.step()

    assert len(postman.bag) == MOST_UNANSWERED
    assert {c.earlier for c in postman.bag[1:]} == {"unknown"}
    outcome = (await effect(kit))["outcome"]
    assert outcome["code"] == "no_answer" and "no such option" in outcome["detail"]


async def test_what_must_not_be_told_as_failed_is_held_for_a_person_in_the_end(kit: Kit, postman: toy.Postman) -> None:
    await register(kit)
    postman.answers = [Performed("unknown", {"error": "no answer"})] * MOST_UNANSWERED
    loop = EffectLoop(kit, replace(KIND, unknown="again", given_up="unknown"), "me")
    await ask(kit, "c", "hello")
    for n in range(MOST_UNANSWERED + 2):
        kit.database.clock = lambda primary, n=n: primary + timedelta(minutes=n)  # type: ignore[misc]
        await loop.step()

    assert (len(postman.bag), await told(kit)) == (MOST_UNANSWERED, ["unknown"])
    held = await effect(kit)
    assert (held["state"], held["outcome"]["code"]) == ("unknown", "no_answer")


async def test_an_answer_ends_the_count_of_what_never_answered(kit: Kit, postman: toy.Postman) -> None:
    await register(kit)
    silence = [Performed("unknown", {"error": "no answer"})] * (MOST_UNANSWERED - 1)
    busy = Performed("failed", {"error": "busy"}, again_after=timedelta(seconds=1))
    postman.answers = [*silence, busy, *silence]
    loop = EffectLoop(kit, replace(KIND, unknown="again"), "me")
    await ask(kit, "c", "hello")
    for n in range(2 * MOST_UNANSWERED):
        kit.database.clock = lambda primary, n=n: primary + timedelta(minutes=n)  # type: ignore[misc]
        await loop.step()

    assert await told(kit) == ["done"]


async def test_who_dies_on_an_effect_again_and_again_does_not_go_on_for_ever(kit: Kit, postman: toy.Postman) -> None:
    await register(kit)
    await ask(kit, "deadly", "hello")
    kind = replace(KIND, unknown="again")
    for n in range(MOST_UNANSWERED):
        kit.database.clock = lambda primary, n=n: primary + timedelta(minutes=5 * n)  # type: ignore[misc]
        process = Effects(kit, f"process {n}")
        await process.expire(kind)
        assert len(await process.claim(kind, 10)) == 1
    kit.database.clock = lambda primary: primary + timedelta(minutes=5 * MOST_UNANSWERED)
    await ask(kit, "good", "hello")
    await EffectLoop(kit, kind, "alive").step()

    assert [c.request["card"] for c in postman.bag] == ["good"]
    assert sorted(await told(kit)) == ["done", "failed"]


async def test_who_dies_on_what_must_not_be_told_as_failed_leaves_it_to_a_person(kit: Kit, postman: toy.Postman) -> None:
    await register(kit)
    await ask(kit, "deadly", "hello")
    kind = replace(KIND, unknown="again", given_up="unknown")
    for n in range(MOST_UNANSWERED):
        kit.database.clock = lambda primary, n=n: primary + timedelta(minutes=5 * n)  # type: ignore[misc]
        process = Effects(kit, f"process {n}")
        await process.expire(kind)
        assert len(await process.claim(kind, 10)) == 1
    kit.database.clock = lambda primary: primary + timedelta(minutes=5 * MOST_UNANSWERED)
    await EffectLoop(kit, kind, "alive").step()

    assert (postman.bag, await told(kit)) == ([], ["unknown"])


async def test_one_that_cannot_be_recorded_leaves_no_other_behind(kit: Kit, postman: toy.Postman, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the first raises comes after all have ended: nothing is performed by a task that nobody waits for."""
    await register(kit)
    for card in ("a", "b"):
        await ask(kit, card, card)
    loop, ended, record = EffectLoop(kit, KIND, "me"), [], Effects.record

    async def recording(self: Effects, kind: Any, claimed: Any, performed: Performed) -> bool:
        if claimed.request["text"] == "a":
            raise AssertionError("the database said something strange")
        recorded = await record(self, kind, claimed, performed)
        ended.append(claimed.request["text"])
        return recorded

    monkeypatch.setattr(Effects, "record", recording)
    with pytest.raises(AssertionError):
        await loop.step()
    assert ended == ["b"]


async def test_a_look_at_nothing_opens_no_transaction(kit: Kit, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kit.database, "transaction", None)
    assert await EffectLoop(kit, KIND, "me").step() == IDLE
