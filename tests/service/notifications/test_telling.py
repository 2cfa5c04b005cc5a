"""Who is told what: payments, money problems, failed rules, decisions, and what rules ask for (S38, D22, C10)."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from shared.contracts import automation, billing, deals, notifications
from shared.contracts.common import Customer, ElementRef, GivenElement, Money
from shared.messaging.envelope import instant
from tests.service.house import House, at, employee, origin
from tests.service.notifications.postoffice import PostOffice, text_of

ANNA, BEN, FINN, OLAF, DEAL, RULE, STAGE, INVOICE = (str(UUID(int=n)) for n in range(1, 9))
HUNDRED = Money(amount="100.00", currency="EUR")
ELEMENT = ElementRef(element_type="deal", element_id=DEAL)


@pytest.fixture
async def staffed(house: House) -> House:
    people = (
        employee(ANNA, "Anna", manager_id=OLAF, phone="+491701234567"),
        employee(BEN, "Ben", language="en"),
        employee(FINN, "Finn", roles=("finance",)),
        employee(OLAF, "Olaf", roles=("operator",)),
    )
    await house.hear(*(house.record(person, subject=f"employee/{person.employee_id}") for person in people))
    return house


def paid(house: House, number: str = "RE-1", **own: Any) -> billing.InvoicePaid:
    fields: dict[str, Any] = {
        "invoice_id": str(uuid4()),
        "deal_id": DEAL,
        "epoch": 1,
        "number": number,
        "total": HUNDRED,
        "held_before": Money(amount="0.00", currency="EUR"),
        "paid_at": at(house.now),
        "payment_ids": (str(uuid4()),),
        "title": "Roof 2026",
        "deal_responsible_id": ANNA,
        "other_unpaid": (),
    }
    return billing.InvoicePaid(origin=origin(), record_key=DEAL, **(fields | own))


def failed(**own: Any) -> automation.RunCompleted:
    fields: dict[str, Any] = {"outcome": "failed", "code": "retries_exhausted", "detail": "421 gone", "steps": ()}
    return automation.RunCompleted(**run(), **(fields | own))


def run() -> dict[str, Any]:
    which = {"run_id": str(uuid4()), "visit_id": str(uuid4()), "element": ELEMENT, "stage_id": STAGE}
    rule = {"rule_id": RULE, "rule_version": 1, "rule_type": "send_email", "rule_name": "mail", "rule_owner_id": OLAF}
    return {"origin": origin(), **which, **rule}


async def feed(house: House, employee_id: str, query: str = "") -> list[dict[str, Any]]:
    async with house.client(await house.key(actor=f"user:{employee_id}")) as client:
        answer = await client.get(f"/v1/feed?{query}")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["items"])


# payments


async def test_the_responsible_person_learns_of_a_payment_at_once_in_her_language(staffed: House, post: PostOffice) -> None:
    message = staffed.record(paid(staffed), id=str(uuid4()))
    await staffed.hear(message, message)
    (notice,) = await feed(staffed, ANNA)
    assert (notice["subject"], notice["body_text"]) == ("Zahlung eingegangen", "Rechnung RE-1 (Roof 2026) ist bezahlt: 100.00 EUR.")
    assert (notice["element_id"], notice["unread"], notice["topic"]) == (DEAL, True, "payment")
    delivered = await staffed.one("NoticeDelivered")
    assert (delivered["channel"], delivered["employee_id"], delivered["request_id"]) == ("in_app", ANNA, None)
    await staffed.tick()
    assert not post.mails


@pytest.mark.parametrize("size", [1, 500])
async def test_several_payments_within_a_minute_are_one_notice(staffed: House, size: int) -> None:
    await staffed.hear(paid(staffed, "RE-1"), paid(staffed, "RE-2"), size=size)
    await staffed.tick(timedelta(seconds=59))
    await staffed.hear(paid(staffed, "RE-3"))
    (notice,) = await feed(staffed, ANNA)
    assert notice["count"] == 3
    assert [number in notice["body_text"] for number in ("RE-1", "RE-2", "RE-3")] == [True] * 3

    await staffed.tick(timedelta(seconds=2))
    await staffed.hear(paid(staffed, "RE-4"))
    assert [item["count"] for item in await feed(staffed, ANNA)] == [1, 3]


async def test_payments_of_other_deals_are_other_notices(staffed: House) -> None:
    await staffed.hear(paid(staffed), paid(staffed, deal_id=str(uuid4())), paid(staffed, deal_id=str(uuid4()), deal_responsible_id=BEN))
    assert (len(await feed(staffed, ANNA)), len(await feed(staffed, BEN))) == (2, 1)


async def test_a_mail_about_payments_is_sent_when_the_window_closes(staffed: House, post: PostOffice) -> None:
    await preferences(staffed, ANNA, {"channels": {"payment": ["in_app", "email"]}})
    await staffed.hear(paid(staffed, "RE-1"), paid(staffed, "RE-2"))
    await staffed.tick(timedelta(seconds=59))
    assert not post.mails
    await staffed.tick(timedelta(seconds=1))
    (mail,) = post.mails
    assert [number in text_of(mail) for number in ("RE-1", "RE-2")] == [True, True]
    assert mail["auto-submitted"] == "auto-generated"


async def test_who_has_left_is_stood_in_for(staffed: House) -> None:
    await deactivate(staffed, ANNA)
    await staffed.hear(paid(staffed), paid(staffed, deal_responsible_id=str(uuid4())))
    assert len(await feed(staffed, OLAF)) == 2


async def test_without_a_responsible_person_finance_learns_of_it(staffed: House) -> None:
    await staffed.hear(paid(staffed, deal_responsible_id=None))
    assert len(await feed(staffed, FINN)) == 1


async def deactivate(house: House, employee_id: str) -> None:
    gone = deals.EmployeeDeactivated(origin=origin(), employee_id=employee_id)
    await house.hear(house.record(gone, subject=f"employee/{employee_id}"))


# money problems


async def test_money_problems_reach_finance_and_where_a_deal_is_concerned_its_responsible_person(staffed: House, post: PostOffice) -> None:
    over = billing.OverpaymentRecorded(
        origin=origin(), record_key=DEAL, payment_id=str(uuid4()), amount=HUNDRED, invoice_id=INVOICE, deal_id=DEAL, customer=Customer()
    )
    lost = billing.PaymentUnallocated(
        origin=origin(), record_key=DEAL, payment_id=str(uuid4()), amount=HUNDRED, reason="currency_differs", deal_responsible_id=ANNA
    )
    await staffed.hear(over, lost)
    await staffed.tick()
    assert [item["topic"] for item in await feed(staffed, FINN)] == ["money_problem"] * 2
    assert "currency_differs" in (await feed(staffed, ANNA))[0]["body_text"]
    assert sorted(mail["to"] for mail in post.mails) == ["Anna <anna@acme.test>", "Finn <finn@acme.test>", "Finn <finn@acme.test>"]


async def test_a_refund_in_doubt_is_urgent_for_finance_and_the_responsible_person(staffed: House, post: PostOffice) -> None:
    doubted = billing.RefundUnanswered(
        origin=origin(),
        record_key=DEAL,
        payment_id=str(uuid4()),
        refund_id=str(uuid4()),
        amount=HUNDRED,
        detail="ReadTimeout",
        deal_responsible_id=ANNA,
    )
    await staffed.hear(doubted)
    await staffed.tick()
    for person in (ANNA, FINN):
        (notice,) = await feed(staffed, person)
        assert (notice["urgent"], notice["topic"]) == (True, "money_problem")
        assert "100.00 EUR" in notice["body_text"] and "ReadTimeout" in notice["body_text"]
    assert sorted(mail["to"] for mail in post.mails) == ["Anna <anna@acme.test>", "Finn <finn@acme.test>"]


async def test_a_charge_back_is_one_urgent_notice_though_two_services_facts_tell_it(staffed: House) -> None:
    back = billing.PaymentReversed(
        origin=origin(), record_key=DEAL, payment_id=str(uuid4()), amount=HUNDRED, invoice_id=INVOICE, deal_responsible_id=ANNA
    )
    reopened = billing.InvoiceReopened(
        origin=origin(), record_key=DEAL, invoice_id=INVOICE, epoch=1, reason="reversed", amount_due=HUNDRED, deal_responsible_id=ANNA
    )
    await staffed.hear(back, reopened)
    for person in (ANNA, FINN):
        (notice,) = await feed(staffed, person)
        assert (notice["urgent"], notice["count"]) == (True, 2)


# rules and decisions


async def test_a_failed_rule_is_told_once_a_day_and_the_rest_comes_as_a_digest(staffed: House, post: PostOffice) -> None:
    await staffed.hear(failed(), failed(), failed(outcome="succeeded"))
    await staffed.hear(automation.RunBlocked(**run(), reason="loop"))
    await staffed.tick()
    assert len(post.mails) == 1
    (notice,) = await feed(staffed, OLAF)
    assert notice["count"] == 3

    await staffed.tick(timedelta(hours=16))
    assert len(post.mails) == 2
    assert text_of(post.mails[1]).count("mail") >= 2
    await staffed.hear(failed())
    await staffed.tick()
    assert (len(post.mails), len(await feed(staffed, OLAF))) == (3, 2)


def decided(**own: Any) -> automation.TriggerDecided:
    fields: dict[str, Any] = {"outcome": "ignored", "reason": "final_stage", "responsible_id": ANNA, "pipeline_owner_id": OLAF}
    return automation.TriggerDecided(
        origin=origin(),
        decision_id=str(uuid4()),
        source_event_id=str(uuid4()),
        source_type="billing.InvoicePaid.v1",
        verdicts=(),
        acting_fallback=False,
        **(fields | {"element": ELEMENT} | own),
    )


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({}, ANNA),
        ({"responsible_id": None}, OLAF),
        ({"outcome": "unresolved", "reason": None}, ANNA),
        ({"outcome": "unresolved", "responsible_id": None, "pipeline_owner_id": None, "element": None}, OLAF),
        ({"reason": "already_there"}, None),
        ({"outcome": "moved", "reason": None}, None),
    ],
)
async def test_where_a_move_was_expected_and_did_not_come_somebody_is_told(staffed: House, own: dict[str, Any], told: str | None) -> None:
    await staffed.hear(decided(**own))
    rows = await staffed.rows("select employee_id from notices_v1")
    assert [row["employee_id"] for row in rows] == ([] if told is None else [told])


async def test_a_rule_that_became_invalid_reaches_its_owner(staffed: House) -> None:
    invalid = automation.RuleInvalidated(origin=origin(), rule_id=RULE, owner_id=OLAF, code="target_missing", detail="Stage won is gone.")
    await staffed.hear(invalid)
    assert "Stage won is gone." in (await feed(staffed, OLAF))[0]["body_text"]


async def test_a_trigger_that_became_invalid_reaches_its_owner_too(staffed: House) -> None:
    invalid = automation.TriggerInvalidated(origin=origin(), trigger_id=RULE, owner_id=OLAF, code="target_missing", detail="It is gone.")
    await staffed.hear(invalid)
    assert "kann nichts mehr bewegen: It is gone." in (await feed(staffed, OLAF))[0]["body_text"]


# what rules ask for


def notify(**own: Any) -> notifications.Notify:
    id = str(uuid4())
    fields: dict[str, Any] = {"employee_id": ANNA, "text": "Pack Roof 2026", "topic_name": "rule"}
    element = GivenElement(element_type="deal", element_id=DEAL)
    return notifications.Notify(request_id=id, notice_id=id, origin=origin(), element=element, **(fields | own))


async def test_a_rule_tells_an_employee_and_gets_its_answer(staffed: House) -> None:
    command = notify()
    await staffed.hear(command, command)
    answer = await staffed.one("NoticeDelivered")
    assert (answer["request_id"], answer["notice_id"], answer["channel"]) == (command.request_id, command.notice_id, "in_app")
    assert [item["body_text"] for item in await feed(staffed, ANNA)] == ["Pack Roof 2026"]


@pytest.mark.parametrize("size", [1, 500])
async def test_with_a_merge_key_several_are_one_notice_and_each_gets_its_answer(staffed: House, size: int) -> None:
    first, second, other = notify(merge_key="pack"), notify(merge_key="pack", text="Load"), notify(merge_key="another")
    await staffed.hear(first, second, other, size=size)
    assert sorted((item["count"], item["body_text"]) for item in await feed(staffed, ANNA)) == [
        (1, "Pack Roof 2026"),
        (2, "Pack Roof 2026\n- Load"),
    ]
    answers = await staffed.said("NoticeDelivered")
    assert [answer.body["request_id"] for answer in answers].count(second.request_id) == 1
    assert {answer.body["request_id"] for answer in answers} == {first.request_id, second.request_id, other.request_id}


async def test_a_role_is_all_its_active_members(staffed: House) -> None:
    await staffed.hear(staffed.record(employee(BEN, "Ben", roles=("finance",)), subject=f"employee/{BEN}", sequence=99))
    await staffed.hear(notify(employee_id=None, role="finance"))
    answers = await staffed.said("NoticeDelivered")
    assert sorted(answer.body["employee_id"] for answer in answers) == [BEN, FINN]
    assert len({answer.body["notice_id"] for answer in answers}) == 2


@pytest.mark.parametrize(
    ("own", "code"),
    [
        ({"employee_id": str(UUID(int=99))}, "recipient_unknown"),
        ({"employee_id": None, "role": "astronaut"}, "recipient_unknown"),
        ({"role": "finance"}, "recipient_missing"),
        ({"employee_id": None}, "recipient_missing"),
        ({"text": "x" * 20_000}, "too_large"),
    ],
)
async def test_a_notice_for_nobody_is_refused(staffed: House, own: dict[str, Any], code: str) -> None:
    await staffed.hear(notify(**own))
    assert (await staffed.one("CommandRejected"))["code"] == code


async def test_who_does_not_want_to_be_told_is_not_and_the_rule_goes_on(staffed: House) -> None:
    await preferences(staffed, ANNA, {"channels": {"system": []}})
    command = notify(topic_name="system")
    await staffed.hear(command)
    assert await feed(staffed, ANNA) == []
    assert (await staffed.one("NoticeDelivered"))["request_id"] == command.request_id


async def test_sms_go_to_the_sandbox_and_quiet_hours_hold_only_them(staffed: House, post: PostOffice) -> None:
    quiet = {"starts": "08:00", "ends": "10:00"}
    await preferences(staffed, ANNA, {"channels": {"activity": ["in_app", "email", "sms"]}, "quiet_hours": [quiet]})
    await staffed.hear(notify(topic_name="activity", title="Soon"))
    await staffed.tick()
    assert (len(post.mails), len(await feed(staffed, ANNA))) == (1, 1)
    assert await sms(staffed) == [("held", "Soon: Pack Roof 2026")]
    await staffed.tick(timedelta(hours=1))
    assert await sms(staffed) == [("sent", "Soon: Pack Roof 2026")]


async def sms(house: House) -> list[tuple[str, str]]:
    rows = await house.rows("select status, body_text from notices_v1 where channel = 'sms'")
    return [(row["status"], row["body_text"]) for row in rows]


async def test_a_sender_whose_clock_is_a_year_ahead_holds_no_mail_for_a_year(staffed: House, post: PostOffice) -> None:
    ahead = instant(staffed.now + timedelta(days=366)).encode()
    for failure in (failed(detail="421 one"), failed(detail="421 two")):
        record = staffed.record(failure)
        headers = [(name, ahead if name == "ce_time" else content) for name, content in record.headers]
        await staffed.hear(replace(record, headers=headers))
    await staffed.tick()
    await staffed.tick(timedelta(days=1))
    assert ["421 two" in text_of(mail) for mail in post.mails] == [False, True]


async def test_a_daily_digest_collects_what_would_be_mailed(staffed: House, post: PostOffice) -> None:
    await preferences(staffed, ANNA, {"channels": {"activity": ["email"]}, "digest": "17:00"})
    for n in range(3):
        await staffed.hear(notify(topic_name="activity", text=f"Thing {n}"))
    await staffed.tick(timedelta(hours=7))
    assert not post.mails
    await staffed.tick(timedelta(hours=1))
    (mail,) = post.mails
    assert [f"Thing {n}" in text_of(mail) for n in range(3)] == [True] * 3


async def test_nothing_held_goes_to_somebody_who_has_left(staffed: House, post: PostOffice) -> None:
    await preferences(staffed, ANNA, {"channels": {"activity": ["email"]}, "digest": "17:00"})
    await staffed.hear(notify(topic_name="activity"))
    await deactivate(staffed, ANNA)
    await staffed.tick(timedelta(hours=9))
    assert not post.mails
    (row,) = await staffed.rows("select status, detail from notices_v1 where channel = 'email'")
    assert (row["status"], row["detail"]) == ("suppressed", "employee_left")


# feed and preferences over HTTP


async def preferences(house: House, employee_id: str, body: dict[str, Any]) -> None:
    async with house.client(await house.key(actor=f"user:{employee_id}")) as client:
        answer = await client.patch("/v1/preferences", json=body, headers={"If-Match": "*"})
    assert answer.status_code == 200, answer.text


async def test_people_read_their_own_feed(staffed: House) -> None:
    await staffed.hear(notify(), notify(text="Another"), notify(employee_id=BEN))
    async with staffed.client(await staffed.key(actor=f"user:{ANNA}")) as anna:
        items = (await anna.get("/v1/feed?unread=true")).json()["items"]
        assert len(items) == 2
        assert (await anna.post(f"/v1/feed/{items[0]['id']}/reads")).status_code == 204
        assert len((await anna.get("/v1/feed?unread=true")).json()["items"]) == 1
        assert (await anna.post("/v1/feed/reads")).json() == {"read": 1, "left": False}
        assert (await anna.post("/v1/feed/reads")).json() == {"read": 0, "left": False}
        assert (await anna.get(f"/v1/feed?employee_id={BEN}")).status_code == 403
        (bens,) = await feed(staffed, BEN)
        assert (await anna.post(f"/v1/feed/{bens['id']}/reads")).status_code == 404
        assert (await anna.get("/v1/notices")).status_code == 403
    async with staffed.client(await staffed.key("notices:read", actor="key:console")) as console:
        assert len((await console.get(f"/v1/feed?employee_id={BEN}")).json()["items"]) == 1
        assert (await console.get("/v1/feed")).status_code == 403
        assert len((await console.get(f"/v1/notices?channel=in_app&element_id={DEAL}")).json()["items"]) == 3


async def test_preferences_are_patched_over_a_known_version(staffed: House) -> None:
    async with staffed.client(await staffed.key(actor=f"user:{ANNA}")) as anna:
        shown = await anna.get("/v1/preferences")
        assert (shown.headers["etag"], shown.json()["channels"]["run_failed"]) == ('"0"', ["in_app", "email"])
        assert (await anna.patch("/v1/preferences", json={"digest": "09:00"})).status_code == 428
        first = await anna.patch("/v1/preferences", json={"digest": "09:00"}, headers={"If-Match": "*"})
        assert (first.headers["etag"], first.json()["digest"]) == ('"1"', "09:00")
        gone = await anna.patch("/v1/preferences", json={"digest": None}, headers={"If-Match": '"1"'})
        assert gone.json()["digest"] is None
        bad = await anna.patch("/v1/preferences", json={"channels": {"gossip": ["in_app"]}}, headers={"If-Match": '"2"'})
        assert (bad.status_code, bad.json()["errors"][0]["pointer"]) == (422, "/channels/gossip")
    async with staffed.client(await staffed.key("directory:write")) as admin:
        assert (await admin.get(f"/v1/employees/{ANNA}/preferences")).headers["etag"] == '"2"'
        assert (await admin.get(f"/v1/employees/{uuid4()}/preferences")).status_code == 404
