"""A rehearsal on its own clock, beside a real mail server and a real web server that get nothing of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from services.notifications.service import SERVICE
from services.notifications.settings import settings
from shared.contracts import deals, notifications, scheduler
from shared.messaging.envelope import instant
from shared.runtime.settings import settings as kit_settings
from shared.testing.stack import Stack
from tests.service.house import House, a_house, employee, origin
from tests.service.notifications.conftest import NOW
from tests.service.notifications.postoffice import PostOffice
from tests.service.notifications.receiver import Receiver, receiving
from tests.service.notifications.test_email import FILE, email
from tests.service.notifications.test_invitations import ANNA, CLARA, activity
from tests.service.notifications.test_telling import notify, preferences, sms
from tests.service.notifications.test_webhooks import deliver, endpoint

THERE = NOW + timedelta(days=180)
HOUR = timedelta(hours=1)


@pytest.fixture
async def receiver(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Receiver]:
    """A web server that the service may reach."""
    async with receiving() as found:
        monkeypatch.setenv("DEALWRIGHT_HOOKS__ALLOW", f"127.0.0.1:{found.port}")
        monkeypatch.setenv("DEALWRIGHT_PEPPER", "p" * 40)
        monkeypatch.setenv("DATABASE_URL", "postgresql://nowhere")
        monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")
        kit_settings.cache_clear()
        yield found
    kit_settings.cache_clear()


@pytest.fixture
async def rehearsal(stack: Stack, post: PostOffice, receiver: Receiver) -> AsyncIterator[House]:
    settings.cache_clear()
    async with a_house(stack, SERVICE, NOW, rehearsal=True) as house:
        people = (employee(ANNA, "Anna", phone="+491701234567"), employee(CLARA, "Clara"))
        await house.hear(*(house.record(person, subject=f"employee/{person.employee_id}") for person in people))
        yield house


async def shown(house: House, path: str, *scopes: str) -> list[dict[str, Any]]:
    async with house.client(await house.key(*scopes)) as client:
        found: list[dict[str, Any]] = (await client.get(path)).json()["items"]
    return found


async def test_everything_stays_in_the_house_and_is_seen_over_http(rehearsal: House, post: PostOffice, receiver: Receiver) -> None:
    house = rehearsal
    await house.clock_moved(THERE)
    hook = await endpoint(house, receiver)
    text: dict[str, Any] = {"to": "+491701234567", "text": "Hi", "importance": "customer", "message_class": "message"}
    text_message = notifications.SendSms(request_id=str(uuid4()), notice_id=str(uuid4()), **text)
    planned = house.record(scheduler.ActivityPlanned(**activity()), subject=f"activity/{activity()['activity_id']}", actor="user:olaf")
    await house.hear(email(), email(message_class="money"), text_message, planned, deliver(hook["id"]))
    await house.tick()

    mailbox = await shown(house, "/v1/mailbox", "notices:read")
    assert sorted(mail["channel"] for mail in mailbox) == ["email", "email", "invitation", "sms"]
    assert {mail["to"] for mail in mailbox} == {"petra@example.org", "clara@acme.test", "+491701234567"}
    (invited,) = [mail["id"] for mail in mailbox if mail["channel"] == "invitation"]
    async with house.client(await house.key("notices:read")) as client:
        calendar = (await client.get(f"/v1/mailbox/{invited}")).json()["calendar"]
    assert "METHOD:REQUEST" in calendar and "SEQUENCE:0" in calendar
    (called,) = await shown(house, "/v1/webhook-deliveries", "hooks:read")
    assert (called["state"], called["url"], json.loads(called["body"])["data"]) == ("delivered", receiver.url, {"title": "Dach"})
    assert (post.mails, receiver.requests) == ([], [])


async def test_a_mail_that_cannot_be_written_fails_as_it_would(rehearsal: House) -> None:
    fields: dict[str, Any] = {"content_ref": "no/such", "sha256": "0" * 64, "name": "x", "size": 8, "content_type": "text/plain"}
    await rehearsal.hear(rehearsal.record(deals.FileAttached(origin=origin(), file_id=FILE, **fields), subject=f"file/{FILE}"))
    await rehearsal.hear(email(attachment_ids=(FILE,)))
    await rehearsal.tick()
    assert (await rehearsal.one("NoticeFailed"))["code"] == "attachment_missing"


async def test_what_is_held_waits_for_the_rehearsals_clock_and_is_dated_by_it(rehearsal: House) -> None:
    house = rehearsal
    await house.clock_moved(NOW)
    await preferences(house, ANNA, {"channels": {"activity": ["sms"]}, "quiet_hours": [{"starts": "08:00", "ends": "10:00"}]})
    await house.hear(notify(topic_name="activity", title="Soon"))
    await house.tick(10 * HOUR)
    assert await sms(house) == [("held", "Soon: Pack Roof 2026")]
    await house.clock_moved(NOW + HOUR)
    await house.tick()
    assert await sms(house) == [("sent", "Soon: Pack Roof 2026")]
    (mail,) = await shown(house, "/v1/mailbox", "notices:read")
    assert mail["at"] == instant(NOW + HOUR)


async def test_what_was_held_is_released_at_its_moment_however_far_the_clock_went(rehearsal: House) -> None:
    house = rehearsal
    await house.clock_moved(NOW)
    await preferences(house, ANNA, {"channels": {"activity": ["email"]}, "digest": "17:00"})
    await house.hear(notify(topic_name="activity"))
    await house.tick()
    await house.clock_moved(THERE)
    await house.tick()
    (mail,) = await shown(house, "/v1/mailbox", "notices:read")
    assert mail["at"] == instant(NOW + 8 * HOUR)
