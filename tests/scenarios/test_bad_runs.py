"""What goes wrong when a rule runs: the run ends in a state that explanations show in both languages, the rule's owner is told
once, what stands beside it goes on, and a person can have it done after all."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import pytest

from services.automation.domain import words
from services.notifications.settings import settings as notifications_settings
from tests.scenarios.ground import Ground, a_ground
from tests.scenarios.place import Place
from tests.service.notifications.receiver import receiving

BIG = "x" * 16_000


@pytest.fixture(scope="module")
async def home(place: Place) -> AsyncIterator[Ground]:
    """One ground for all of them, one deal for each."""
    async with a_ground(place) as ground:
        await ground.put("automation", "/v1/variables", {"code": "big", "value_type": "text", "value": BIG}, by="olaf")
        await ground.put("automation", "/v1/variables", {"code": "count", "value_type": "number", "value": 0}, by="olaf")
        await ground.settle()
        yield ground


async def form_has(home: Ground, code: str, **own: Any) -> None:
    """A custom field of deals."""
    [form] = await home.items("deals", "/v1/field-sets", element_type="deal")
    field = {"code": code, "label": code, "field_type": "string"} | own
    await home.change("deals", f"/v1/field-sets/{form['id']}", {"fields": [field]}, by="ground")
    await home.settle()


def text_of(rule: str, stage: str = "sales/approval") -> str:
    """A rule, and one beside it that has nothing to do with it."""
    beside = '  - { id: beside, type: notify, settings: { to: "user:7", text: "{{deal.title}}" } }'
    return f"stage: {stage}\nrules:\n  - {rule}\n{beside}\n"


async def told(home: Ground, deal: str, what: str = "run_failed", person: str = "olaf") -> list[Any]:
    """What a person was told about a deal's rules."""
    return [notice for notice in await home.feed(person) if notice["topic"] == what and notice["element_id"] == deal]


async def is_explained(home: Ground, deal: str, rule: str, verdict: str, code: str) -> Any:
    """In both languages, with the reason in words."""
    found = await home.look("automation", "/v1/explanations", element_id=deal, rule_id=(await home.run(rule, deal))["rule_id"])
    assert found["verdict"] == verdict
    reason, answer = words.REASONS[code], words.RULE_ANSWERS[verdict]
    for says, why, how in zip(("says", "says_de"), reason, answer, strict=True):
        assert found[says] == how.format(why=why), found[says]
    assert found["tree"]["state"] in ("no", "ok")
    return found


async def fails(home: Ground, deal: str, rule: str, state: str) -> Any:
    """Ended so, explained so, told once, and the rule beside it ran."""
    kind, _, code = state.replace("refused(", "").rstrip(")").partition("(")
    assert await home.state(rule, deal) == state
    assert await home.state("beside", deal) == "succeeded"
    [notice] = await told(home, deal)
    assert (await home.run(rule, deal))["rule_name"] in notice["body_text"]
    return await is_explained(home, deal, rule, f"{code}_blocked" if kind == "blocked" else kind, code)


LOOP = "{% for a in (1..1000) %}{% for b in (1..1000) %}{{a}}{% endfor %}{% endfor %}"
TEN_MEGABYTES = "{% for a in (1..640) %}{{var.big}}{% endfor %}"
TWICE_GROWN = "{{var.big | append: var.big | append: var.big | append: var.big | append: var.big}}"
CASES = {
    "division": ('{ id: division, type: notify, settings: { text: "{{deal.amount | divided_by: 0}}" } }', "failed(template_error)"),
    "no_date": ('{ id: no_date, type: notify, settings: { text: "{{deal.title | date}}" } }', "failed(template_error)"),
    "no_argument": ('{ id: no_argument, type: notify, settings: { text: "{{deal.title | append}}" } }', "failed(template_error)"),
    "endless": (f'{{ id: endless, type: notify, settings: {{ text: "{LOOP}" }} }}', "failed(template_error)"),
    "ten_megabytes": (f'{{ id: ten_megabytes, type: notify, settings: {{ text: "{TEN_MEGABYTES}" }} }}', "failed(template_error)"),
    "grown": (f'{{ id: grown, type: notify, settings: {{ text: "{TWICE_GROWN}" }} }}', "failed(template_error)"),
    "no_value": ('{ id: no_value, type: send_email, settings: { body: "On {{deal.begin_date}}" } }', "blocked(unresolved)"),
    "no_number": ("{ id: no_number, type: send_sms, settings: { text: Hello } }", "blocked(unresolved)"),
    "nobody": (
        """{ id: nobody, type: send_email, settings: { to: "{{deal.loss_reason | default: ''}}", body: x } }""",
        "failed(recipient_missing)",
    ),
    "no_address": ('{ id: no_address, type: send_email, settings: { to: "not an address", body: x } }', "failed(bad_address)"),
    "no_number_at_all": (
        '{ id: no_number_at_all, type: change_variable, settings: { variable: count, value: "{{deal.title}}" } }',
        "failed(template_error)",
    ),
    "no_order": (
        '{ id: no_order, type: create_payment_link, settings: { auto_create: false, order_id: "4711" } }',
        "failed(order_not_found)",
    ),
}


@pytest.mark.parametrize("name", CASES)
async def test_what_cannot_be_done_ends_visibly_and_its_owner_is_told_once(home: Ground, name: str) -> None:
    rule, state = CASES[name]
    await home.apply(text_of(rule), prune=True)
    deal = await home.deal(f"Roof with {name}")
    await home.settle()
    await home.move("approval", deal)
    await fails(home, deal, name, state)
    assert await home.mails(f"Roof with {name}") == []


async def test_a_deal_without_anything_to_invoice(home: Ground) -> None:
    """Refused by another service; once there is something, it is done after all."""
    await home.apply(text_of("{ id: bill, type: create_from, settings: { targets: [invoice] } }"), prune=True)
    deal = await home.deal("Roof for nothing", lines=[])
    await home.settle()
    await home.move("approval", deal)
    await fails(home, deal, "bill", "failed(nothing_to_invoice)")
    await home.change("deals", f"/v1/deals/{deal}", {"amount_mode": "manual", "amount": "10.00"})
    await home.settle()
    await home.put("automation", f"/v1/runs/{(await home.run('bill', deal))['id']}/retries", {})
    await home.settle()
    assert await home.state("bill", deal) == "succeeded"
    [invoice] = await home.items("billing", "/v1/invoices", deal_id=deal)
    assert invoice["total"]["amount"] == "10.00"


async def test_a_mail_server_that_cannot_be_reached(home: Ground, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried as often as the schedule says; when it is back, a person has it sent, and it is sent once."""
    await home.apply(text_of("{ id: write, type: send_email, settings: { subject: Late news, body: Hello } }"), prune=True)
    deal = await home.deal("Roof by mail")
    await home.settle()
    with monkeypatch.context() as away:
        away.setenv("DEALWRIGHT_SMTP__PORT", "9")
        notifications_settings.cache_clear()
        await home.move("approval", deal)
        assert (await home.state("write", deal), await home.state("beside", deal)) == ("running", "succeeded")
        for hours in (0.1, 0.1, 1, 3, 9, 25):
            await home.advance(timedelta(hours=hours))
        await fails(home, deal, "write", "failed(retries_exhausted)")
    notifications_settings.cache_clear()
    await home.put("automation", f"/v1/runs/{(await home.run('write', deal))['id']}/retries", {})
    await home.settle()
    assert await home.state("write", deal) == "succeeded"
    assert [mail.subject for mail in await home.mails("petra") if mail.subject == "Late news"] == ["Late news"]


async def test_a_webhook_that_cannot_be_reached(home: Ground, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tried for days; then the endpoint is off. Enabled again, a person has it called, and it is called once."""
    async with receiving() as receiver:
        pass
    with monkeypatch.context() as nobody_there:
        nobody_there.setenv("DEALWRIGHT_HOOKS__ALLOW", f"127.0.0.1:{receiver.port}")
        notifications_settings.cache_clear()
        endpoint = {"url": receiver.url, "owner_id": home.cast["olaf"], "purpose": "rule"}
        hook = (await home.put("notifications", "/v1/webhook-endpoints", endpoint, by="olaf"))["id"]
        await home.settle()
        text = text_of(f"{{ id: call, type: call_webhook, settings: {{ endpoint: {hook}, wait: false }} }}")
        await home.apply(text, prune=True)
        deal = await home.deal("Roof by hook")
        await home.settle()
        await home.move("approval", deal)
        assert (await home.state("call", deal), await home.state("beside", deal)) == ("running", "succeeded")
        for hours in (0.1, 0.6, 3, 6, 11, 15, 21, 25, 25, 25, 25):
            await home.advance(timedelta(hours=hours))
        await fails(home, deal, "call", "failed(refused(unreachable))")
        server = await asyncio.start_server(receiver.serve, "127.0.0.1", receiver.port)
        async with server:
            await home.put("notifications", f"/v1/webhook-endpoints/{hook}/enablements", by="olaf")
            await home.settle()
            await home.apply(text, prune=True)
            await home.put("automation", f"/v1/runs/{(await home.run('call', deal))['id']}/retries", {})
            await home.settle()
        assert (await home.state("call", deal), len(receiver.requests)) == ("succeeded", 1)
    notifications_settings.cache_clear()


async def test_a_target_stage_that_is_removed_between_publishing_and_running(home: Ground) -> None:
    """The rule is taken out of force and its owner told; the run that waited fails, and its owner is told of that."""
    copy = "{ id: hand_over, type: copy_deal, timing: { after: arrival, offset: 1h }"
    await home.apply(text_of(f"{copy}, settings: {{ pipeline: installation, initial_stage: mounting }} }}"), prune=True)
    deal = await home.deal("Roof to hand over")
    await home.settle()
    await home.move("approval", deal)
    gone = {"stage_id": home.cast["installation/mounting"], "replacement_stage_id": home.cast["installation/planning"], "rules": "archive"}
    await home.put("deals", f"/v1/pipelines/{home.cast['installation']}/stage-replacements", gone, by="olaf")
    await home.settle()
    waiting = await home.run("hand_over", deal)
    assert (await home.look("automation", f"/v1/rules/{waiting['rule_id']}"))["invalid"]["code"] == "target_missing"
    later = await home.deal("Roof afterwards")
    await home.settle()
    await home.move("approval", later)
    assert await home.runs("hand_over", later) == [] and await home.state("beside", later) == "succeeded"
    await home.advance(timedelta(hours=2))
    await fails(home, deal, "hand_over", "failed(target_missing)")
    await home.apply(text_of(f"{copy}, settings: {{ pipeline: installation }} }}"), prune=True)
    await home.put("automation", f"/v1/runs/{waiting['id']}/retries", {"version": "current"})
    await home.settle()
    assert await home.state("hand_over", deal) == "succeeded"
    assert len(await home.items("deals", "/v1/deals", pipeline_id=home.cast["installation"])) == 1


async def test_a_condition_over_a_field_that_is_removed(home: Ground) -> None:
    """Rule and trigger are taken out of force and their owner is told once of each; what waited fails visibly, whatever the old value."""
    await form_has(home, "doomed")
    condition = "condition: { field: deal.uf.doomed, op: not_empty }"
    text = text_of(f"{{ id: bound, type: notify, timing: {{ after: arrival, offset: 1h }}, {condition}, settings: {{ text: Hello }} }}")
    await home.apply(f"{text}triggers:\n  - {{ id: bound_too, type: webhook, settings: {{ code: bound }}, {condition} }}\n", prune=True)
    deal = await home.deal("Roof with a field", custom={"doomed": "yes"})
    await home.settle()
    await home.move("approval", deal)
    await form_has(home, "doomed", retired=True)
    waiting = await home.run("bound", deal)
    assert (await home.look("automation", f"/v1/rules/{waiting['rule_id']}"))["invalid"]["code"] == "unknown_path"
    [trigger] = [found for found in await home.items("automation", "/v1/triggers") if found["trigger_key"] == "bound_too"]
    assert trigger["invalid"] == "unknown_path"
    notices = [notice["body_text"] for notice in await home.feed("olaf") if "uf.doomed" in notice["body_text"]]
    assert sorted(text.split(":")[0] for text in notices) == ["A rule cannot run any more", "A trigger cannot move anything any more"]
    await home.advance(timedelta(hours=2))
    await fails(home, deal, "bound", "failed(field_removed)")


async def test_somebody_who_was_deactivated_is_stood_in_for(home: Ground) -> None:
    """By his manager: for what he was to get, for what he was to be told, and in whose name it happens."""
    rules = "stage: sales/approval\nrules:\n"
    rules += '  - { id: tell, type: notify, owner: "user:9", settings: { to: "user:9", text: "News of {{deal.title}}" } }\n'
    rules += '  - { id: copy, type: copy_deal, owner: "user:9", settings: { pipeline: installation, responsible: "user:9" } }\n'
    rules += '  - { id: fail, type: notify, owner: "user:9", settings: { text: "{{deal.amount | divided_by: 0}}" } }\n'
    await home.apply(rules, prune=True)
    await home.put("deals", f"/v1/employees/{home.cast['clara']}/deactivations", {}, by="ground")
    await home.settle()
    deal = await home.deal("Roof of somebody else")
    await home.settle()
    await home.move("approval", deal)
    assert [await home.state(rule, deal) for rule in ("tell", "copy", "fail")] == ["succeeded", "succeeded", "failed(template_error)"]
    [copy] = await home.items("deals", "/v1/deals", pipeline_id=home.cast["installation"], responsible_id=home.cast["olaf"])
    assert copy["title"].startswith("Roof of somebody else")
    about = [notice for notice in await home.feed("olaf") if notice["element_id"] == deal]
    assert len(about) == 2 and len(await told(home, deal)) == 1
    assert [notice for notice in await home.feed("clara") if notice["element_id"] == deal] == []
