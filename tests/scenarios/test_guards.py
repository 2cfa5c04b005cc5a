"""Guards (scenarios.md 4), each plain and under the three disturbances; the loop, back-fill and undo stand elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest

from tests.scenarios.conftest import DISTURBANCES
from tests.scenarios.ground import Ground
from tests.scenarios.one_process import OneProcess
from tests.scenarios.side_by_side import Outcome, Scenario, Seat, in_the_end, side_by_side

NOTIFY = "type: notify, settings: { text: Hello }"
LATER = f"stage: sales/payment-expected\nrules: [{{ id: later, {NOTIFY}, timing: {{ after: arrival, offset: 1h }} }}]"
HOUR, MINUTE, SECOND = timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1)


async def notices(g: Ground) -> int:
    """How many notices rules asked for."""
    return len({said.id for said in await g.said("notifications.Notify")})


async def states(g: Ground, rule: str, *deals: str) -> list[str]:
    """Of the newest run of a rule for each deal."""
    return [await g.state(rule, deal) for deal in deals or (g.cast["D"],)]


# ------------------------------------------------------------------------------------------------------------------ depth


async def depth(g: Ground) -> None:
    """D40: ten others have acted before; whoever comes next does not."""
    await g.apply(f"stage: sales/payment-expected\nrules: [{{ id: first, {NOTIFY} }}, {{ id: second, {NOTIFY} }}]")
    await _moved_by_somebody(g, chain=10)

    assert await states(g, "first") == await states(g, "second") == ["blocked(depth)"]
    assert await notices(g) == 0


async def depth_of_nine(g: Ground) -> None:
    await g.apply(f"stage: sales/payment-expected\nrules: [{{ id: first, {NOTIFY} }}]")
    await _moved_by_somebody(g, chain=9)

    assert (await states(g, "first"), await notices(g)) == (["succeeded"], 1)


async def _moved_by_somebody(g: Ground, chain: int) -> None:
    """Another back end moves D; so many rules, none of them ours, led to it."""
    request, before = f"5c1e0001-0000-4000-8000-{g.tenant[-12:]}", [f"5c1e0002-0000-4000-8000-{n:012d}" for n in range(chain)]
    body = {"request_id": request, "element_type": "deal", "element_id": g.cast["D"], "stage_id": g.cast["sales/payment-expected"]}
    await g.place.say(g.tenant, "deals.commands", g.cast["D"], "deals.MoveToStage.v1", body | {"origin": {"kind": "api", "chain": before}})
    await g.settle()
    assert await g.stage() == "sales/payment-expected"


# ------------------------------------------------------------------------------------------------------------------- rate


async def rate(g: Ground) -> None:
    """D40: the 61st run of an element within a minute is held back, visibly, until a person says so."""
    await g.apply(
        f"stage: sales/new\nrules: [{{ id: here, {NOTIFY} }}]\n---\nstage: sales/payment-expected\nrules: [{{ id: there, {NOTIFY} }}]"
    )
    for n in range(61):
        target = g.cast[f"sales/{('payment-expected', 'new')[n % 2]}"]
        await g.put("deals", f"/v1/deals/{g.cast['D']}/stage-changes", {"stage_id": target})
        if n % 20 == 19:
            await g.advance(2 * SECOND)
    await g.settle()

    runs = [*await g.runs("here"), *await g.runs("there")]
    held = [run for run in runs if run["state"] != "succeeded"]
    assert [(run["state"], run["reason"]) for run in held] == [("blocked", "rate")]
    assert (len(runs), await notices(g)) == (61, 60)
    assert [n["topic"] for n in await g.feed("olaf")] == ["run_failed"]

    await g.put("automation", f"/v1/runs/{held[0]['id']}/executions", by="olaf")
    await g.settle()
    assert (await g.look("automation", f"/v1/runs/{held[0]['id']}"))["state"] == "succeeded"
    assert await notices(g) == 61


# ------------------------------------------------------------------------------------------------------------- stage left


async def stage_left_first(g: Ground) -> None:
    """D1: the deal has left and the timer rings at the same instant; automation hears of the move first."""
    await _leaving_while_it_rings(g, late="scheduler.events")
    assert (await states(g, "later"), await notices(g)) == (["cancelled(stage_left)"], 0)


async def stage_left_second(g: Ground) -> None:
    """D1: automation hears of the timer first; what was asked before the move is not called back."""
    await _leaving_while_it_rings(g, late="deals.events")
    assert (await states(g, "later"), await notices(g)) == (["succeeded"], 1)


async def _leaving_while_it_rings(g: Ground, late: str) -> None:
    """Both have happened when automation hears of either; of the topic `late` it hears last."""
    await g.apply(LATER)
    await g.move("payment-expected")
    seat, topics, deal = g.place, ("deals.events", "scheduler.events"), g.cast["D"]
    assert isinstance(seat, Seat)
    for topic in topics:
        seat.hall.world.hold("automation", topic, deal)
    await g.move("collect-goods")
    await g.advance(HOUR)
    assert len({said.id for said in await g.said("scheduler.TimerFired", about=deal)}) == 1
    for topic in sorted(topics, key=lambda topic: topic == late):
        seat.hall.world.release("automation", topic, deal)
        await g.settle()


async def re_entry(g: Ground) -> None:
    """D1: what waits belongs to the stay, not to the stage."""
    await g.apply(LATER)
    await g.move("payment-expected")
    await g.advance(30 * MINUTE)
    await g.move("new")
    await g.move("payment-expected")
    await g.advance(HOUR - SECOND)
    assert await notices(g) == 0

    await g.advance(SECOND)
    assert await notices(g) == 1
    assert [(run["state"], run["reason"]) for run in await g.runs("later")] == [("cancelled", "stage_left"), ("succeeded", None)]


# --------------------------------------------------------------------------------------------------------------- disabled


async def _three_wait(g: Ground) -> tuple[list[str], str]:
    """Three deals whose run waits for an hour, and the rule's path."""
    await g.apply(LATER)
    deals = [await g.deal(f"Roof {n}", stage="sales/payment-expected") for n in range(3)]
    await g.settle()
    assert await states(g, "later", *deals) == ["waiting"] * 3
    return deals, f"/v1/rules/{await g.rule_id('later')}"


async def disabled_when_due(g: Ground) -> None:
    """D3."""
    deals, rule = await _three_wait(g)
    await g.put("automation", f"{rule}/disablements", by="olaf")
    await g.settle()
    assert await states(g, "later", *deals) == ["waiting"] * 3
    await g.advance(HOUR)

    assert (await states(g, "later", *deals), await notices(g)) == (["skipped(rule_disabled)"] * 3, 0)


async def disabled_and_enabled_before_due(g: Ground) -> None:
    """D3."""
    deals, rule = await _three_wait(g)
    await g.put("automation", f"{rule}/disablements", by="olaf")
    await g.advance(30 * MINUTE)
    await g.put("automation", f"{rule}/enablements", by="olaf")
    await g.advance(30 * MINUTE)

    assert (await states(g, "later", *deals), await notices(g)) == (["succeeded"] * 3, 3)


async def disabled_with_what_waits(g: Ground) -> None:
    """D3."""
    deals, rule = await _three_wait(g)
    await g.put("automation", f"{rule}/disablements", {"cancel_waiting": True}, by="olaf")
    await g.settle()
    assert await states(g, "later", *deals) == ["cancelled(rule_disabled)"] * 3
    await g.advance(HOUR)

    assert (await states(g, "later", *deals), await notices(g)) == (["cancelled(rule_disabled)"] * 3, 0)


# ------------------------------------------------------------------------------------------------------------- date field


async def date_field(g: Ground) -> None:
    """D6: empty, set, moved, cleared, set to what is past."""
    [form] = [found for found in await g.items("deals", "/v1/field-sets", kind="form") if found["element_type"] == "deal"]
    field = {"code": "meeting", "label": "Meeting", "field_type": "datetime"}
    await g.change("deals", f"/v1/field-sets/{form['id']}", {"fields": [field]}, by="ground")
    await g.settle()
    await g.apply(f"stage: sales/payment-expected\nrules: [{{ id: day, {NOTIFY}, timing: {{ after: deal.uf.meeting, offset: 1d }} }}]")
    await g.move("payment-expected")
    assert await _waits(g) == ("waiting", "field", None)

    await _meet(g, "2026-03-05T10:00:00Z")
    assert await _waits(g) == ("waiting", "timer", "2026-03-06T10:00:00.000Z")
    await _meet(g, "2026-03-09T10:00:00Z")
    assert await _waits(g) == ("waiting", "timer", "2026-03-10T10:00:00.000Z")
    await _meet(g, None)
    assert await _waits(g) == ("waiting", "field", None)
    assert await notices(g) == 0

    await _meet(g, "2026-02-27T10:00:00Z")
    assert (await states(g, "day"), await notices(g)) == (["succeeded"], 1)


async def _meet(g: Ground, at: str | None) -> None:
    await g.change("deals", f"/v1/deals/{g.cast['D']}", {"custom": {"meeting": at}})
    await g.settle()


async def _waits(g: Ground) -> tuple[str, str, str | None]:
    run = await g.run("day")
    return run["state"], run["waiting_for"], run["due_at"]


# ------------------------------------------------------------------------------------------------------------------ retry

MAIL = "stage: sales/payment-expected\nrules: [{ id: mail, type: send_email, settings: { body: Hello } }]"
SCHEDULE = (1, 6, 36, 156, 636, 2076)
"""Minutes after the first attempt: 1, 5, 30 minutes, 2, 8, 24 hours after the one before."""


async def _mailed_later(g: Ground, refusals: int) -> str:
    """A deal whose customer's mail server puts mail off so many times arrives where it is mailed. Answers the address."""
    address = f"petra@{g.tenant}.example"
    g.cast["D"] = await g.deal(**(await _only(g, address)))
    await g.apply(MAIL)
    _post(g).put_off[address] = refusals
    await g.move("payment-expected")
    return address


async def _only(g: Ground, address: str) -> dict[str, Any]:
    contact = await g.contact("Petra", "Later", address)
    return {"contact_ids": [contact], "primary_contact_id": contact}


def _post(g: Ground) -> Any:
    assert isinstance(g.place, Seat)
    return g.place.hall.house.town.post


async def _is(g: Ground, state: str) -> bool:
    return await g.state("mail") == state


async def _attempts(g: Ground, address: str, minutes: tuple[int, ...]) -> None:
    """One at once, then one at each of these minutes and none before."""
    assert isinstance(g.place, Seat)
    began, exact = g.now, not g.place.hall.deaths
    for before, minute in enumerate(minutes, 1):
        await g.advance(to=began + minute * MINUTE - SECOND)
        assert not exact or _post(g).asked.count(address) == before
        await g.advance(to=began + minute * MINUTE)
        assert not exact or _post(g).asked.count(address) == before + 1


async def retry(g: Ground) -> None:
    """D38, C12: put off four times, then taken."""
    address = await _mailed_later(g, refusals=4)
    await _attempts(g, address, SCHEDULE[:4])
    await in_the_end(g, lambda: _is(g, "succeeded"), 10 * MINUTE)

    assert _different(g, address) == 1


def _different(g: Ground, address: str) -> int:
    """Mails to an address; a repetition under the same Message-ID is the same mail."""
    return len({str(mail["message-id"]) for mail in _post(g).mails if address in str(mail["to"])})


async def retries_used_up(g: Ground) -> None:
    """D38: away for two days; the owner is told, and a person retries."""
    address = await _mailed_later(g, refusals=1000)
    await _attempts(g, address, SCHEDULE)
    await in_the_end(g, lambda: _is(g, "failed(retries_exhausted)"), 3 * HOUR)
    assert _different(g, address) == 0
    assert [n["topic"] for n in await g.feed("olaf")] == ["run_failed"]

    _post(g).put_off[address] = 0
    run = await g.run("mail")
    await g.put("automation", f"/v1/runs/{run['id']}/retries", {"retry_from": "step", "version": "old"}, by="olaf")
    await g.settle()
    await in_the_end(g, lambda: _is(g, "succeeded"))
    assert _different(g, address) == 1


# ---------------------------------------------------------------------------------------------------------- departed user


async def departed_user(g: Ground) -> None:
    """C15, D21: five runs wait for Anna's deals; she leaves; her manager has the leads."""
    await g.apply(
        "stage: sales/won\nrules: [{ id: renewal, type: create_recurring_lead, timing: { after: arrival, offset: 1h }, "
        "settings: { title: 'Renewal {{deal.title}}' } }]"
    )
    deals = [await g.deal(f"Roof {n}", stage="sales/won") for n in range(5)]
    await g.settle()
    impact = await g.look("automation", "/v1/impacts", employee_id=g.cast["anna"])
    assert {run["element_id"] for run in impact["waiting"]["runs"]} == set(deals)

    await g.put("deals", f"/v1/employees/{g.cast['anna']}/deactivations", by="olaf")
    await g.advance(HOUR)
    assert await states(g, "renewal", *deals) == ["succeeded"] * 5
    leads = {said.id: said.body["fields"]["responsible_id"] for said in await g.said("deals.LeadCreated")}
    assert list(leads.values()) == [g.cast["olaf"]] * 5


# --------------------------------------------------------------------------------------------------------------- playing

GUARDS: tuple[Scenario, ...] = (
    depth,
    depth_of_nine,
    rate,
    stage_left_first,
    stage_left_second,
    re_entry,
    disabled_when_due,
    disabled_and_enabled_before_due,
    disabled_with_what_waits,
    date_field,
    retry,
    retries_used_up,
    departed_user,
)
PLAYED = {scenario.__name__: scenario for scenario in GUARDS}


@pytest.fixture(scope="module", params=DISTURBANCES)
async def played(place: OneProcess, request: pytest.FixtureRequest) -> Mapping[str, Outcome]:
    return await side_by_side(place, PLAYED, request.param, seed=40)


@pytest.mark.parametrize("guard", PLAYED)
async def test_guard(played: Mapping[str, Outcome], guard: str) -> None:
    outcome = played[guard]
    if outcome is not None:
        raise outcome
