"""A rule calls a real HTTP server through all services, and goes on with what that answers (G51-G53)."""

from __future__ import annotations

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from services.notifications.settings import settings as notifications_settings
from shared.http.signed import signature
from shared.testing.stack import Stack
from tests.flow.town import TOWN, Sold, Town, a_town
from tests.service.notifications.receiver import Receiver, receiving

RULES = """
stage: sales/lost
rules:
  - id: ask
    type: call_webhook
    settings:
      endpoint: {endpoint}
      payload: {{ deal: "{{{{deal.id}}}}", title: "{{{{deal.title}}}}" }}
      outputs: [{{ name: reason, type: string, required: true }}, {{ name: contacted, type: bool }}]
  - id: note
    type: change_field
    execution: after_previous
    settings: {{ fields: {{ loss_reason: "{{{{steps.ask.reason}}}}" }} }}
"""


async def settled(town: Town, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The people, the pipelines, an endpoint at the receiver, and the rule that calls it."""
    await town.settle_down()
    monkeypatch.setenv("DEALWRIGHT_HOOKS__ALLOW", f"127.0.0.1:{receiver.port}")
    notifications_settings.cache_clear()
    wanted = {"url": receiver.url, "description": "ERP", "owner_id": town.cast["employee 1"]}
    endpoint: dict[str, Any] = await town.put("notifications", "/v1/webhook-endpoints", wanted)
    await town.world.settle()
    plan = await town.put("automation", "/v1/rule-sets/plans", {"text": RULES.format(endpoint=endpoint["id"])})
    await town.put("automation", "/v1/rule-sets/applications", {"plan_id": plan["plan_id"]})
    await town.world.settle()
    return endpoint


async def answer(town: Town, url: str, **outputs: Any) -> httpx.Response:
    """As a program without a credential, and without a key that would make a repetition the same."""
    assert url.startswith(f"{TOWN}/v1/callbacks/")
    async with httpx.AsyncClient(transport=town.doors["automation"]._transport) as outside:
        return await outside.post(url, json={"outputs": outputs})


async def run_of(town: Town, deal: Sold, key: str) -> Any:
    runs = await town.look("automation", "/v1/runs", element_id=deal.id)
    return next(run for run in runs["items"] if run["rule_key"] == key)


async def test_a_webhook_is_called_and_its_answer_goes_on(stack: Stack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with receiving() as receiver, a_town(stack, tmp_path, monkeypatch) as town:
        endpoint = await settled(town, receiver, monkeypatch)
        town.world.duplicate(2)
        deal, other = await town.sell(1), await town.sell(2)
        for sold in (deal, other):
            await town.move(sold, "lost")
            await town.world.settle()

        assert len(receiver.requests) == 2
        headers, body = receiver.requests[0]
        assert headers["webhook-signature"] == signature(
            endpoint["secret"], headers["webhook-id"], headers["webhook-timestamp"], body.encode()
        )
        said = json.loads(body)
        assert (said["type"], said["data"]) == ("rule.ask", {"deal": deal.id, "title": "Roof 1"})
        assert (await run_of(town, deal, "ask"))["state"] == "running"

        assert (await answer(town, said["callback_url"] + "x", reason="Too dear")).status_code == 404
        assert (await answer(town, said["callback_url"], contacted="no")).status_code == 422
        assert (await answer(town, said["callback_url"], reason="Too dear", contacted=False)).json()["state"] == "succeeded"
        assert (await answer(town, said["callback_url"], reason="Too dear", contacted=False)).status_code == 410
        await town.world.settle()
        assert (await run_of(town, deal, "note"))["state"] == "succeeded"
        assert (await town.look("deals", f"/v1/deals/{deal.id}"))["loss_reason"] == "Too dear"

        await town.world.tick(timedelta(hours=24, seconds=1))
        assert [(await run_of(town, other, key))["reason"] for key in ("ask", "note")] == ["callback_expired", "predecessor"]
        late = json.loads(receiver.requests[1][1])["callback_url"]
        assert (await answer(town, late, reason="Moved away")).status_code == 410
        run = await run_of(town, other, "ask")
        await town.put("automation", f"/v1/runs/{run['id']}/retries", {})
        await town.world.settle()
        again = json.loads(receiver.requests[2][1])["callback_url"]
        assert again != late and receiver.requests[2][0]["webhook-id"] == receiver.requests[1][0]["webhook-id"]
        assert (await answer(town, again, reason="Moved away")).status_code == 200
        await town.world.settle()
        assert (await town.look("deals", f"/v1/deals/{other.id}"))["loss_reason"] == "Moved away"
        assert await town.parked() == []
