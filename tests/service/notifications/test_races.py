"""Two consumers that come upon the same window at the same moment: still one notice, and nothing is lost (D22, C10).

The lock of the window is held until both have looked and wait for it, so they meet on every run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from shared.contracts import notifications
from shared.messaging.contract import Contract
from shared.runtime.database import Tx
from shared.runtime.statements import load_sql
from tests.service.house import House, origin, together
from tests.service.notifications.postoffice import PostOffice, text_of
from tests.service.notifications.test_telling import ANNA, DEAL, OLAF, RULE, failed, feed, paid, preferences, staffed

__all__ = ["staffed"]

WAITING = "select count(*) from pg_locks where locktype = 'advisory' and not granted and database = " + (
    "(select oid from pg_database where datname = current_database())"
)


@asynccontextmanager
async def window_held(house: House, key: str) -> AsyncIterator[Tx]:
    """Nobody else gets into the window meanwhile."""
    async with house.kit.database.transaction() as tx:
        await tx.raw.fetch(load_sql("messaging", "lock"), [f"{house.tenant}/window/{key}"], [True])
        yield tx


async def many_wait(tx: Tx, many: int) -> None:
    async with asyncio.timeout(1.5):
        while await tx.raw.fetchval(WAITING) < many:
            await asyncio.sleep(0.005)


async def heard_at_once(house: House, key: str, *messages: Contract) -> None:
    """Each in a transaction of its own; all have looked before the first of them decides."""
    async with window_held(house, key) as tx:
        hearing = [asyncio.create_task(house.hear(message)) for message in messages]
        await many_wait(tx, len(messages))
    await together(*hearing)


def notify(text: str) -> notifications.Notify:
    id = str(uuid4())
    fields: dict[str, Any] = {"employee_id": ANNA, "text": text, "topic_name": "system", "merge_key": "same"}
    return notifications.Notify(origin=origin(), request_id=id, notice_id=id, **fields)


async def test_two_payments_in_two_transactions_at_once_are_one_notice(staffed: House) -> None:
    await heard_at_once(staffed, f"paid/{DEAL}/{ANNA}", paid(staffed, "RE-1"), paid(staffed, "RE-2"))
    (notice,) = await feed(staffed, ANNA)
    assert notice["count"] == 2
    assert [number in notice["body_text"] for number in ("RE-1", "RE-2")] == [True, True]


async def test_two_messages_with_one_merge_key_at_once_are_one_notice_and_both_are_answered(staffed: House) -> None:
    await heard_at_once(staffed, "notify/same", notify("One"), notify("Two"))
    (notice,) = await feed(staffed, ANNA)
    assert (notice["count"], "One" in notice["body_text"], "Two" in notice["body_text"]) == (2, True, True)
    answers = await staffed.said("NoticeDelivered")
    assert len({answer.body["request_id"] for answer in answers}) == 2


async def test_two_failures_of_one_rule_at_once_are_one_mail_now_and_one_later(staffed: House, post: PostOffice) -> None:
    """C10: the first per rule and day at once, the rest as a digest, whichever of the two is the first."""
    key = f"run-failed/{RULE}/{staffed.now:%Y-%m-%d}"
    await heard_at_once(staffed, key, failed(detail="421 one"), failed(detail="421 two"))
    (notice,) = await feed(staffed, OLAF)
    assert notice["count"] == 2
    await staffed.tick()
    assert len(post.mails) == 1
    await staffed.tick(timedelta(days=1))
    assert sorted("421 one" in text_of(mail) for mail in post.mails) == [False, True]


@pytest.mark.parametrize("size", [1, 2])
async def test_what_comes_while_the_window_closes_is_told_in_a_mail_of_its_own(staffed: House, post: PostOffice, size: int) -> None:
    """The mail is released between the look and the lock: what would have joined it must not vanish."""
    await preferences(staffed, ANNA, {"channels": {"payment": ["email"]}})
    await staffed.hear(*(paid(staffed, f"RE-{n}") for n in range(size)))
    key = f"paid/{DEAL}/{ANNA}"
    async with window_held(staffed, key) as tx:
        hearing = asyncio.create_task(staffed.hear(paid(staffed, "RE-9")))
        await many_wait(tx, 1)
        await staffed.tick(timedelta(seconds=60))
    await hearing
    await staffed.tick(timedelta(seconds=60))
    assert ["RE-9" in text_of(mail) for mail in post.mails] == [False, True]


async def test_two_things_for_one_digest_at_once_are_one_mail(staffed: House, post: PostOffice) -> None:
    await preferences(staffed, ANNA, {"channels": {"payment": ["email"]}, "digest": "17:00"})
    await heard_at_once(staffed, f"digest/{ANNA}/payment", paid(staffed, "RE-1"), paid(staffed, "RE-2"))
    await staffed.tick(timedelta(days=1))
    (mail,) = post.mails
    assert [number in text_of(mail) for number in ("RE-1", "RE-2")] == [True, True]
