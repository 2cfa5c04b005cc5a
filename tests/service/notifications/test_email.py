"""E-mail from the command to a real mail server, and what becomes of it when the server is in a bad mood."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from services.notifications.service import SERVICE
from services.notifications.settings import settings
from shared.contracts import deals, notifications
from shared.contracts.common import GivenElement
from shared.messaging.effects_loop import Effects
from shared.testing.stack import Stack
from tests.service.house import House, a_house, employee, origin
from tests.service.notifications.conftest import NOW
from tests.service.notifications.postoffice import HANG_UP, PostOffice, text_of

DEAL, ANNA, FILE = (str(UUID(int=n)) for n in range(1, 4))
LINK = "https://pay.acme.test/p/abc?x=1&y=2"


def email(**own: Any) -> notifications.SendEmail:
    id = own.pop("notice_id", None) or str(uuid4())
    fields: dict[str, Any] = {
        "to": "petra@example.org",
        "subject": "Ihre Rechnung für das Dach",
        "body_text": f"Hallo Petra,\n\nbitte **hier** zahlen: {LINK}",
        "element": GivenElement(element_type="deal", element_id=DEAL),
        "importance": "customer",
        "message_class": "message",
    }
    return notifications.SendEmail(request_id=id, notice_id=id, origin=origin(), **(fields | own))


async def test_a_mail_is_sent_once_and_answered(house: House, post: PostOffice) -> None:
    command = email()
    await house.hear(command, command)
    await house.tick()
    (mail,) = post.mails
    assert post.recipients == [["petra@example.org"]]
    assert (mail["subject"], mail["from"], mail["to"]) == (command.subject, "Dealwright <office@acme.test>", "petra@example.org")
    assert mail["message-id"] == f"<{command.notice_id}@acme.test>"
    assert text_of(mail).rstrip().endswith(LINK)
    assert '<strong>hier</strong> zahlen: <a href="https://pay.acme.test/p/abc?x=1&amp;y=2">' in text_of(mail, "html")

    answer = await house.one("NoticeDelivered")
    assert (answer["request_id"], answer["channel"], answer["recipient_kind"], answer["attempts"]) == (
        command.request_id,
        "email",
        "address",
        1,
    )
    assert answer["element"]["element_id"] == DEAL
    assert "petra" not in str(answer)
    assert (await house.said())[0].key == DEAL


async def test_from_and_reply_to_may_be_an_employee(house: House, post: PostOffice) -> None:
    await house.hear(house.record(employee(ANNA, "Anna"), subject=f"employee/{ANNA}"))
    await house.hear(email(from_employee_id=ANNA, reply_to="anna@acme.test"))
    await house.tick()
    (mail,) = post.mails
    assert (mail["from"], mail["sender"], mail["reply-to"]) == (
        "Anna <anna@acme.test>",
        "Dealwright <office@acme.test>",
        "anna@acme.test",
    )


async def test_attachments_come_from_the_file_storage(house: House, post: PostOffice, tmp_path: Path) -> None:
    (tmp_path / "ab").mkdir()
    (tmp_path / "ab" / "cd").write_bytes(b"%PDF-1.7")
    fields: dict[str, Any] = {"content_ref": "ab/cd", "sha256": "0" * 64, "name": "Angebot.pdf", "size": 8}
    attached = deals.FileAttached(origin=origin(), file_id=FILE, content_type="application/pdf", **fields)
    await house.hear(house.record(attached, subject=f"file/{FILE}"))
    await house.hear(email(attachment_ids=(FILE,)))
    await house.tick()
    (part,) = post.mails[0].iter_attachments()
    assert (part.get_filename(), part.get_content_type(), part.get_payload(decode=True)) == ("Angebot.pdf", "application/pdf", b"%PDF-1.7")


async def test_a_reference_leads_nowhere_but_into_the_storage(house: House, post: PostOffice) -> None:
    fields: dict[str, Any] = {"content_ref": "../../etc/passwd", "sha256": "0" * 64, "name": "x", "size": 8, "content_type": "text/plain"}
    await house.hear(house.record(deals.FileAttached(origin=origin(), file_id=FILE, **fields), subject=f"file/{FILE}"))
    await house.hear(email(attachment_ids=(FILE,)))
    await house.tick()
    assert (await house.one("NoticeFailed"))["code"] == "attachment_missing"
    assert not post.mails


@pytest.mark.parametrize(
    ("own", "code"),
    [
        ({"to": "petra@example.org, ben@example.org"}, "bad_address"),
        ({"to": "alice@example.org)bob@example.com"}, "bad_address"),
        ({"to": ""}, "recipient_missing"),
        ({"subject": "Hello\nBcc: evil@example.org"}, "validation_failed"),
        ({"attachment_ids": (FILE,)}, "attachment_missing"),
        ({"from_employee_id": ANNA}, "recipient_unknown"),
        ({"body_text": "x" * 205_000}, "too_large"),
    ],
)
async def test_what_cannot_be_sent_is_refused_with_a_reason(house: House, post: PostOffice, own: dict[str, Any], code: str) -> None:
    command = email(**own)
    await house.hear(command)
    await house.tick()
    refused = await house.one("CommandRejected")
    assert (refused["code"], refused["request_id"], refused["element_id"]) == (code, command.request_id, DEAL)
    assert not post.mails


async def test_a_server_that_refuses_for_now_is_asked_again_on_the_schedule(house: House, post: PostOffice) -> None:
    """Attempts at 0, 1, 6, 36 and 156 minutes (D38)."""
    post.answers += ["451 later"] * 4
    await house.hear(email())
    minutes = 0
    for minutes, wait in enumerate((0, 1, 5, 30, 120)):
        if wait:
            await house.tick(timedelta(minutes=wait) - timedelta(seconds=1))
            assert len(post.answers) == 4 - minutes
            await house.tick(timedelta(seconds=1))
        else:
            await house.tick()
    assert minutes == 4
    assert (await house.one("NoticeDelivered"))["attempts"] == 5
    assert len(post.mails) == 1


async def test_retries_are_used_up_and_a_person_sends_it_again(house: House, post: PostOffice) -> None:
    post.answers += ["421 gone"] * 7
    command = email()
    await house.hear(command)
    for _ in range(8):
        await house.tick(timedelta(days=1))
    failed = await house.one("NoticeFailed")
    assert (failed["code"], failed["attempts"]) == ("retries_exhausted", 7)

    async with house.client(await house.key("notices:read", "ops:retry")) as client:
        shown = await client.get(f"/v1/notices/{command.notice_id}")
        assert (shown.json()["state"], shown.json()["code"], "421 gone" in shown.json()["detail"]) == ("failed", "retries_exhausted", True)
        assert (await client.post(f"/v1/notices/{command.notice_id}/retries")).status_code == 200
    await house.tick()
    assert post.mails[0]["message-id"] == f"<{command.notice_id}@acme.test>"
    assert (await house.one("NoticeDelivered"))["request_id"] == command.request_id


async def test_asked_again_by_a_new_message_after_a_failure(house: House, post: PostOffice) -> None:
    post.answers.append("554 no")
    command = email()
    await house.hear(command)
    await house.tick()
    assert (await house.one("NoticeFailed"))["code"] == "refused_by_server"
    await house.hear(email(notice_id=command.notice_id, subject="Noch einmal"))
    await house.tick()
    assert post.subjects == ["Noch einmal"]


async def test_a_recipient_the_server_refuses_is_refused_for_good(house: House, post: PostOffice) -> None:
    post.to_recipients.append("550 5.1.1 no such user")
    await house.hear(email())
    await house.tick()
    failed = await house.one("NoticeFailed")
    assert (failed["code"], failed["attempts"]) == ("refused_by_server", 1)
    assert "no such user" in failed["detail"]


async def test_a_server_that_is_away_is_asked_again(house: House, post: PostOffice, monkeypatch: pytest.MonkeyPatch) -> None:
    port = post.port
    monkeypatch.setenv("DEALWRIGHT_SMTP__PORT", "9")
    settings.cache_clear()
    await house.hear(email())
    await house.tick()
    monkeypatch.setenv("DEALWRIGHT_SMTP__PORT", str(port))
    settings.cache_clear()
    await house.tick(timedelta(minutes=1))
    assert (await house.one("NoticeDelivered"))["attempts"] == 2


async def test_no_answer_after_the_content_is_repeated_with_the_same_id(house: House, post: PostOffice) -> None:
    post.answers.append(HANG_UP)
    await house.hear(email())
    await house.tick()
    await house.tick(timedelta(minutes=1))
    assert len({mail["message-id"] for mail in post.mails}) == 1
    assert len(post.mails) == 2
    await house.one("NoticeDelivered")


async def test_about_money_no_answer_waits_for_a_person(house: House, post: PostOffice) -> None:
    post.answers.append(HANG_UP)
    command = email(message_class="money")
    await house.hear(command)
    await house.tick()
    await house.tick(timedelta(days=3))
    assert len(post.mails) == 1
    assert not await house.said()

    async with house.client(await house.key("notices:read", "ops:retry")) as client:
        listed = await client.get("/v1/notices?state=unknown")
        assert [item["id"] for item in listed.json()["items"]] == [command.notice_id]
        resolved = await client.post(f"/v1/notices/{command.notice_id}/resolutions", json={"as": "send_again"})
        assert resolved.status_code == 200, resolved.text
        assert await in_doubt(house) == 0
    await house.tick()
    assert len(post.mails) == 2
    await house.one("NoticeDelivered")


async def in_doubt(house: House) -> int:
    """What the gauge of effects in doubt counts."""
    return len(await house.rows("select key from effects where state = 'unknown'"))


async def test_what_a_person_says_of_a_notice_settles_its_effect(house: House, post: PostOffice) -> None:
    post.answers.append(HANG_UP)
    command = email(message_class="money")
    await house.hear(command)
    await house.tick()
    assert await in_doubt(house) == 1
    async with house.client(await house.key("notices:read", "ops:retry")) as client:
        resolved = await client.post(f"/v1/notices/{command.notice_id}/resolutions", json={"as": "sent"})
        assert resolved.status_code == 200, resolved.text
    assert await in_doubt(house) == 0
    await house.one("NoticeDelivered")
    await house.forget()
    await house.tick(timedelta(days=3))
    assert (len(post.mails), await house.said()) == (1, [])


@pytest.mark.parametrize(
    ("as_", "told", "mails"), [("done", "NoticeDelivered", 1), ("failed", "NoticeFailed", 1), ("again", "NoticeDelivered", 2)]
)
async def test_an_operator_who_settles_the_effect_settles_the_notice(
    house: House, post: PostOffice, as_: str, told: str, mails: int
) -> None:
    post.answers.append(HANG_UP)
    await house.hear(email(message_class="money"))
    await house.tick()
    async with house.client(await house.key("ops:read", "ops:retry", "notices:read")) as client:
        (held,) = (await client.get("/ops/effects?state=unknown")).json()["items"]
        resolution = {"as": as_, "why": "The customer was asked"}
        assert (await client.post(f"/ops/effects/email_money/{held['key']}/resolutions", json=resolution)).status_code == 200
        await house.tick()
        assert (await client.get("/v1/notices?state=unknown")).json()["items"] == []
    assert [m.name for m in await house.said()] == [told]
    assert len(post.mails) == mails


async def test_a_sender_that_died_in_between_left_it_unknown(house: House, post: PostOffice) -> None:
    """The claim is committed before anything leaves; whoever finds it expired does as the kind says (R10, R15)."""
    kinds = {kind.name: kind for kind in SERVICE.effects}
    await house.hear(email(message_class="money"), email())
    dead = Effects(house.kit, "a process that died")
    for name in ("email", "email_money"):
        assert len(await dead.claim(kinds[name], 5)) == 1
    await house.tick()
    assert not post.mails
    await house.tick(timedelta(minutes=3))
    assert len(post.mails) == 1
    states = await house.rows("select message_class, status from notices_v1 order by message_class")
    assert [(row["message_class"], row["status"]) for row in states] == [("message", "sent"), ("money", "unknown")]


async def test_a_rehearsal_tenant_s_mail_stays_in_the_house(stack: Stack, post: PostOffice) -> None:
    async with a_house(stack, SERVICE, NOW, rehearsal=True) as house:
        sms = notifications.SendSms(
            request_id=str(uuid4()), notice_id=str(uuid4()), to="+491701234567", text="Hi", importance="customer", message_class="message"
        )
        await house.hear(email(), sms)
        await house.tick()
        assert not post.mails
        assert len(await house.said("NoticeDelivered")) == 2
        async with house.client(await house.key("notices:read")) as client:
            mailbox = (await client.get("/v1/mailbox?to=petra@example.org")).json()["items"]
            assert [(mail["to"], LINK in mail["body_text"]) for mail in mailbox] == [("petra@example.org", True)]
            assert len((await client.get("/v1/mailbox")).json()["items"]) == 2


async def test_nothing_leaves_for_a_suspended_tenant(house: House, post: PostOffice) -> None:
    suspended = deals.TenantSuspended(origin=origin(), tenant_id=str(house.tenant))
    await house.hear(house.record(suspended, subject=f"tenant/{house.tenant}"), email())
    await house.tick()
    assert not post.mails
    resumed = deals.TenantResumed(origin=origin(), tenant_id=str(house.tenant))
    await house.hear(house.record(resumed, subject=f"tenant/{house.tenant}"))
    await house.tick()
    assert len(post.mails) == 1


async def test_header_smuggling_in_every_text_leaves_one_recipient(house: House, post: PostOffice) -> None:
    evil = "x\u2028Bcc: evil@example.org\u202e"
    await house.hear(employee_named(house, "Anna\r\nBcc: evil@example.org"))
    await house.hear(email(body_text=evil, from_employee_id=ANNA))
    await house.tick()
    (mail,) = post.mails
    assert post.recipients == [["petra@example.org"]]
    assert mail["bcc"] is None
    assert len(mail.get_all("from", [])) == 1


def employee_named(house: House, name: str) -> Any:
    return house.record(employee(ANNA, name, email="anna@acme.test"), subject=f"employee/{ANNA}")
