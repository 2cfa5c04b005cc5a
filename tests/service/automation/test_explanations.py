"""Why: for every answer the element is brought into that situation, and the answer is read over HTTP (capability 1, C10, G32)."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from shared.contracts import billing, common, deals, notifications, scheduler
from tests.service.automation.conftest import DEAL, NOW, OLAF, Office, changed, created, fired, id_of, moved, paid, stage, visit
from tests.service.house import at, origin

MAIL_AFTER_LINK = """
stage: sales/payment-expected
rules:
  - { id: link, type: create_payment_link }
  - { id: mail, type: send_email, name: Mail with link, execution: after_previous, settings: { body: "{{steps.link.url}}" } }
"""
RENEWAL = """
stage: sales/won
rules: [{ id: renewal, type: create_recurring_lead, timing: { after: arrival, offset: 180d }, settings: { title: Again } }]
"""
RICH = """
stage: sales/new
rules:
  - id: rich
    type: notify
    condition:
      all:
        - { field: deal.currency, op: eq, value: EUR }
        - any: [{ field: deal.amount, op: gt, value: 500 }, { field: deal.contact.uf.city, op: in, value: [Kiel, Ulm] }]
        - not: { field: deal.loss_reason, op: not_empty }
    settings: { text: Hello }
"""
TELL = "stage: sales/new\nrules: [{ id: tell, type: notify, settings: { text: Hello } }]"


async def why(office: Office, key: str, element: str = DEAL, **parameters: Any) -> dict[str, Any]:
    answer = await office.http.get("/v1/explanations", params={"element_id": element, "rule_id": await office.rule_id(key), **parameters})
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    assert is_told(shown), shown
    return shown


async def why_trigger(office: Office, key: str, **parameters: Any) -> dict[str, Any]:
    listed = (await office.http.get("/v1/triggers")).json()["items"]
    trigger = next(t["id"] for t in listed if t["trigger_key"] == key)
    answer = await office.http.get("/v1/explanations", params={"element_id": DEAL, "trigger_id": trigger, **parameters})
    assert answer.status_code == 200, answer.text
    shown: dict[str, Any] = answer.json()
    assert is_told(shown), shown
    return shown


def nodes(tree: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield tree
    for child in tree["children"]:
        yield from nodes(child)


def is_told(shown: dict[str, Any]) -> bool:
    """Every sentence is there in both languages, with nothing left to be filled in, and the tree says what the answer says."""
    said = [(n["says"], n["says_de"]) for n in (shown, *nodes(shown["tree"]), *shown["facts"])]
    whole = all(en and de and not set("{}") & set(en + de) for en, de in said)
    return whole and len(shown["time"]) == len(shown["time_de"]) and shown["tree"]["says"] == shown["says"]


def looked_at(shown: dict[str, Any]) -> dict[str, str]:
    """What was looked at, in order, and how it came out."""
    return {child["kind"]: child["state"] for child in shown["tree"]["children"]}


def part(shown: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(child for child in shown["tree"]["children"] if child["kind"] == kind)


async def set_timer(office: Office, days: int = 180) -> str:
    """The scheduler answers; the timer's id."""
    (timer,) = await office.said("SetTimer")
    due = NOW + timedelta(days=days)
    reasoning = ("The anchor is 2026-03-02 09:00:00 Europe/Berlin.", "180 days after: 2026-08-29 09:00:00 Europe/Berlin.")
    place = {"about": DEAL, "owner": "automation", "local": "", "zone": "Europe/Berlin"}
    id = str(timer.body["timer_id"])
    await office.hear(scheduler.TimerSet(origin=origin(), timer_id=id, due_at=at(due), reasoning=reasoning, **place))
    await office.said()
    return id


async def refuse(office: Office, code: str) -> None:
    (asked,) = await office.commands()
    refusal = {"request_id": asked.body["request_id"], "record_key": DEAL, "command_type": asked.type, "code": code, "detail": "No."}
    await office.hear(billing.CommandRejected(**refusal))


# ------------------------------------------------------------------------------------------------ the nine answers


async def test_it_ran(office: Office) -> None:
    await office.publish(MAIL_AFTER_LINK)
    await office.hear(created(), moved("sales/payment-expected", 2))
    asked = await why(office, "link")
    assert (asked["verdict"], asked["says"]) == ("ran", "The rule ran; not everything it asked for is answered yet.")
    (link,) = await office.commands()
    made = billing.PaymentLinkCreated(
        origin=origin(),
        request_id=link.body["request_id"],
        record_key=DEAL,
        payment_document_id=link.body["request_id"],
        deal_id=DEAL,
        url="https://pay.test/p/1",
        amount=common.Money(amount="100.00", currency="EUR"),
        expires_at="2026-04-01T08:00:00.000Z",
    )
    await office.hear(made)
    shown = await why(office, "link")
    assert (shown["verdict"], shown["says"], shown["says_de"]) == ("ran", "The rule ran.", "Die Regel ist gelaufen.")
    assert looked_at(shown) == dict.fromkeys(("arrival", "version", "guard", "time", "condition", "action"), "ok")
    assert shown["tree"]["state"] == "ok" and shown["version"] == 1 and shown["run"]["outputs"]["url"] == "https://pay.test/p/1"
    (step,) = part(shown, "action")["children"]
    assert (step["says"], step["says_de"]) == ("link: done", "link: erledigt")
    assert part(shown, "arrival")["says"] == "The element arrived in the stage on 2 March 2026, 09:00 (Europe/Berlin) (stay 2)."
    says = [fact["says"] for fact in shown["facts"]]
    assert says[0] == "arrived in the stage" and says[-3:] == ["step link was asked for", "step link is done", "ended: succeeded"]
    stored = await office.house.rows("select id from events")
    assert {fact["event_id"] for fact in shown["facts"][1:]} <= {str(row["id"]) for row in stored}


async def test_its_condition_was_false(office: Office) -> None:
    await office.publish(RICH)
    await office.hear(created())
    shown = await why(office, "rich")
    assert shown["verdict"] == "condition_false"
    assert shown["says"] == "The rule did not run because Amount was 100.00, and the condition says: Amount is greater than 500."
    assert shown["says_de"] == "Die Regel ist nicht gelaufen: Betrag war 100.00, die Bedingung lautet: Betrag ist größer als 500."
    assert looked_at(shown) == {"arrival": "ok", "version": "ok", "guard": "ok", "time": "ok", "condition": "no", "action": "open"}
    (tree,) = shown["condition"]["children"]
    assert [(n["kind"], n["state"]) for n in nodes(tree)] == [
        ("all", "no"),
        ("leaf", "ok"),
        ("any", "no"),
        ("leaf", "no"),
        ("leaf", "no"),
        ("not", "ok"),
        ("leaf", "no"),
    ]
    amount, city = tree["children"][1]["children"]
    assert (amount["field"], amount["op"], amount["expected"], amount["actual"]) == ("deal.amount", "gt", 500, "100.00")
    assert city["says_de"] == "city ist eines von Kiel, Ulm: nein, der Wert war Bremen"
    assert part(shown, "condition") == shown["condition"]


async def test_it_was_added_later(office: Office) -> None:
    await office.hear(created())
    office.house.now += timedelta(hours=1)
    await office.publish(TELL)
    shown = await why(office, "tell")
    assert (shown["verdict"], looked_at(shown)) == ("rule_added_later", {"arrival": "ok", "version": "no"})
    assert part(shown, "version")["says"] == "It came into force on 2 March 2026, 10:00 (Europe/Berlin), after the arrival."
    assert "erst in Kraft gesetzt" in shown["says_de"]


async def test_the_element_left_the_stage(office: Office) -> None:
    """What it had waited for is still told."""
    await office.publish(RENEWAL)
    await office.hear(created(), moved("sales/won", 2))
    await set_timer(office)
    office.house.now += timedelta(days=90)
    await office.hear(moved("sales/approval", 3, before="sales/won"))
    shown = await why(office, "renewal")
    assert shown["verdict"] == "stage_left" and "Das Element hat die Phase vorher verlassen" in shown["says_de"]
    expected = {"time": "waiting", "condition": "ok", "action": "open", "end": "no"}
    assert looked_at(shown) == {"arrival": "ok", "version": "ok", "guard": "ok", **expected}
    assert part(shown, "time")["says"] == "It waits until 29 August 2026, 10:00 (Europe/Berlin)."
    assert part(shown, "end")["says"] == "The element left the stage on 31 May 2026, 10:00 (Europe/Berlin)."


async def test_a_loop_was_blocked(office: Office) -> None:
    await office.publish(TELL)
    rule = await office.rule_id("tell")
    await office.hear(created(chain=(rule,)))
    shown = await why(office, "tell")
    assert (shown["verdict"], shown["guard"], part(shown, "guard")["code"]) == ("loop_blocked", "loop", "loop")
    assert looked_at(shown)["guard"] == "no" and looked_at(shown)["time"] == looked_at(shown)["action"] == "open"
    assert "liefe im Kreis" in shown["says_de"]


async def test_it_waits_until_a_moment(office: Office) -> None:
    await office.publish(RENEWAL)
    await office.hear(created(), moved("sales/won", 2))
    assert (await why(office, "renewal"))["says"] == "The rule waits; its time is being worked out."
    await set_timer(office)
    shown = await why(office, "renewal")
    assert shown["verdict"] == "waiting" and shown["tree"]["state"] == "waiting"
    assert shown["says"] == "The rule waits until 29 August 2026, 10:00 (Europe/Berlin)."
    assert shown["says_de"] == "Die Regel wartet bis 29. August 2026, 10:00 Uhr (Europe/Berlin)."
    assert shown["time"] == [
        "The rule says: 180 days after the arrival in the stage.",
        "It waits until 29 August 2026, 10:00 (Europe/Berlin).",
        "The anchor is 2026-03-02 09:00:00 Europe/Berlin.",
        "180 days after: 2026-08-29 09:00:00 Europe/Berlin.",
    ]
    assert shown["time_de"][2:] == [
        "Ausgangspunkt ist 2026-03-02 09:00:00 Europe/Berlin.",
        "180 Tage danach: 2026-08-29 09:00:00 Europe/Berlin.",
    ]
    assert part(shown, "time")["due_at"] == at(NOW + timedelta(days=180))


async def test_its_predecessor_failed(office: Office) -> None:
    await office.publish(MAIL_AFTER_LINK)
    await office.hear(created(), moved("sales/payment-expected", 2))
    waits = await why(office, "mail")
    assert (waits["verdict"], looked_at(waits)["predecessor"]) == ("waiting", "waiting")
    assert waits["says"] == "The rule waits for the rule above it, Create payment link, to end."
    await refuse(office, "nothing_to_pay")
    shown = await why(office, "mail")
    assert shown["verdict"] == "predecessor_blocked" and shown["guard"] == "predecessor"
    assert shown["says"] == "The rule is held back: the rule above it, Create payment link, has failed."
    assert shown["says_de"] == "Die Regel wird zurückgehalten: Die Regel darüber, Create payment link, ist fehlgeschlagen."
    assert looked_at(shown)["predecessor"] == "no" and looked_at(shown)["time"] == "open"
    assert part(shown, "predecessor")["reason"] == "nothing_to_pay"
    failed = await why(office, "link")
    assert (failed["verdict"], failed["says"]) == ("failed", "The rule failed: there is nothing to pay.")
    assert part(failed, "action")["children"][0]["code"] == "nothing_to_pay"


TRIGGERS = """
stage: sales/collect-goods
triggers: [{ id: near, name: Near, type: invoice_paid }]
---
stage: sales/delivery
triggers: [{ id: far, name: Far, type: invoice_paid }]
---
stage: sales/new
triggers: [{ id: behind, name: Behind, type: invoice_paid }]
"""


async def test_a_trigger_was_outranked_another_is_past_its_target(office: Office) -> None:
    await office.publish(TRIGGERS)
    await office.hear(created("sales/payment-expected"), paid())
    far = await why_trigger(office, "far")
    assert far["verdict"] == "outranked" and far["says"] == "The trigger did not move the element: the trigger Near was nearer."
    assert far["says_de"] == "Der Auslöser hat das Element nicht bewegt: Der Auslöser Near lag näher."
    expected = {
        "heard": "ok",
        "version": "ok",
        "guard": "ok",
        "scope": "ok",
        "condition": "ok",
        "target": "ok",
        "rank": "no",
        "move": "open",
    }
    assert looked_at(far) == expected
    assert {v["name"]: v["verdict"] for v in far["decision"]["verdicts"]} == {"Near": "won", "Far": "outranked", "Behind": "past_target"}
    behind = await why_trigger(office, "behind")
    assert behind["verdict"] == "past_target" and "an der Zielphase vorbei" in behind["says_de"]
    assert looked_at(behind)["target"] == "no" and part(behind, "target")["code"] == "past_target"
    near = await why_trigger(office, "near")
    assert near["verdict"] == "moving" and near["tree"]["state"] == "waiting"
    (move,) = await office.commands()
    after = moved("sales/collect-goods", 2, before="sales/payment-expected", decision_id=move.body["decision_id"], reason="trigger")
    await office.hear(after)
    won = await why_trigger(office, "near")
    assert (won["verdict"], won["says"]) == ("ran", "The trigger moved the element.")
    assert part(won, "heard")["says"] == "On 2 March 2026, 09:00 (Europe/Berlin) this happened: an invoice was paid."
    assert [fact["says"] for fact in won["facts"]] == [
        "something happened",
        "all triggers were judged",
        "the move was asked for",
        "decided: moved",
    ]


async def test_an_import_was_suppressed(office: Office) -> None:
    await office.publish(TELL)
    await office.hear(created(automation="suppressed"))
    shown = await why(office, "tell")
    assert (shown["verdict"], shown["guard"]) == ("suppressed", "suppressed")
    assert looked_at(shown) == {"arrival": "ok", "suppression": "no"} and "Import" in shown["says_de"]


# ------------------------------------------------------------------------------------------------ and the others


async def test_it_was_never_there_or_never_in_force(office: Office) -> None:
    await office.publish(TELL + "\n---\n" + RENEWAL)
    await office.hear(created())
    assert (await why(office, "renewal"))["verdict"] == "not_in_stage"
    place = {"element_type": "deal", "pipeline_id": id_of("sales"), "stage_id": stage("sales/new")}
    draft = await office.http.post("/v1/rules", json={**place, "rule_type": "notify", "definition": {"id": "draft"}})
    assert draft.status_code == 201
    assert (await why(office, "draft"))["verdict"] == "rule_not_published"


@pytest.mark.parametrize(("how", "verdict"), [("disable", "rule_disabled"), ("delete", "rule_deleted")])
async def test_it_was_switched_off_or_deleted_when_the_element_arrived(office: Office, how: str, verdict: str) -> None:
    await office.publish(TELL)
    path = f"/v1/rules/{await office.rule_id('tell')}"
    if how == "disable":
        await office.http.post(f"{path}/disablements", json={})
    else:
        revision = (await office.http.get(path)).json()["revision"]
        await office.http.delete(path, headers={"If-Match": f'"{revision}"'})
    await office.hear(created())
    shown = await why(office, "tell")
    assert (shown["verdict"], looked_at(shown)) == (verdict, {"arrival": "ok", "version": "no"})


async def test_it_was_disabled_while_it_waited(office: Office) -> None:
    await office.publish(RENEWAL)
    await office.hear(created(), moved("sales/won", 2))
    timer = await set_timer(office)
    await office.http.post(f"/v1/rules/{await office.rule_id('renewal')}/disablements", json={})
    await office.hear(fired(timer))
    shown = await why(office, "renewal")
    assert shown["verdict"] == "rule_disabled" and looked_at(shown)["version"] == "no"


async def test_a_placeholder_has_no_value(office: Office) -> None:
    await office.publish("stage: sales/new\nrules: [{ id: mail, type: send_email, settings: { body: 'Pay {{deal.close_date}}' } }]")
    await office.hear(created())
    shown = await why(office, "mail")
    assert shown["verdict"] == "unresolved_blocked" and part(shown, "action")["says"] == "No value for: deal.close_date."


async def test_it_waits_for_a_field_and_then_for_its_time(office: Office) -> None:
    await office.publish("""
stage: sales/new
rules: [{ id: remind, type: notify, timing: { before: deal.uf.meeting, offset: 1d, time: "09:00" }, settings: { text: Soon } }]
""")
    await office.hear(created())
    shown = await why(office, "remind")
    assert (shown["says"], shown["says_de"]) == (
        "The rule waits until meeting is filled in.",
        "Die Regel wartet, bis meeting ausgefüllt ist.",
    )
    assert shown["time"][0] == "The rule says: 1 day before meeting, at 09:00 local time."
    assert shown["time_de"][0] == "Die Regel sagt: 1 Tag vor meeting, um 09:00 Uhr Ortszeit."
    await office.hear(changed(1, custom={"meeting": "2026-04-01"}))
    assert (await why(office, "remind"))["says"] == "The rule waits; its time is being worked out."


async def test_it_was_missed_and_cancelled_by_a_person(office: Office) -> None:
    await office.publish("""
stage: sales/new
rules: [{ id: mail, type: send_email, timing: { after: arrival, offset: 1h }, settings: { body: Hello } }]
""")
    await office.hear(created())
    (timer,) = await office.said("SetTimer")
    late: dict[str, Any] = {"due_at": at(NOW), "found_at": at(NOW + timedelta(hours=30)), "max_lateness": 86_400}
    missed = scheduler.TimerMissed(origin=origin(), timer_id=timer.body["timer_id"], about=DEAL, owner="automation", **late)
    await office.hear(missed)
    shown = await why(office, "mail")
    assert (shown["verdict"], looked_at(shown)["time"]) == ("missed", "no")
    await office.http.post(f"/v1/runs/{shown['run']['id']}/drops", json={})
    dropped = await why(office, "mail")
    assert (dropped["verdict"], dropped["says"]) == ("cancelled", "The rule was cancelled: somebody cancelled it.")


async def test_the_condition_is_shown_at_both_moments(office: Office) -> None:
    """Where the rule asks for both (D5)."""
    both = "type: notify, timing: { after: arrival, offset: 1d }, also_at_arrival: true, settings: { text: Hello }"
    await office.publish(f"""
stage: sales/new
rules:
  - {{ id: poor, {both}, condition: {{ field: deal.amount, op: lt, value: 500 }} }}
  - {{ id: no, {both}, condition: {{ not: {{ field: deal.amount, op: lt, value: 500 }} }} }}
""")
    await office.hear(created())
    refused = await why(office, "no")
    assert (refused["verdict"], looked_at(refused)["condition_at_arrival"], looked_at(refused)["condition"]) == (
        "condition_false",
        "no",
        "open",
    )
    timer = await set_timer(office, days=1)
    await office.hear(changed(1, amount="900.00"), fired(timer, lateness_ms=1500))
    shown = await why(office, "poor")
    assert shown["verdict"] == "condition_false" and "It was 1500 ms late." in shown["time"]
    assert (looked_at(shown)["condition_at_arrival"], looked_at(shown)["condition"]) == ("ok", "no")
    (at_arrival,), (when_due,) = part(shown, "condition_at_arrival")["children"], shown["condition"]["children"]
    assert (at_arrival["actual"], when_due["actual"]) == ("100.00", "900.00")


async def test_a_refusal_of_somebody_else_is_shown_with_his_words(office: Office) -> None:
    await office.publish(TELL)
    await office.hear(created())
    (notice,) = await office.commands()
    failed = notifications.NoticeFailed(
        origin=origin(),
        request_id=notice.body["request_id"],
        notice_id=notice.body["notice_id"],
        channel="app",
        code="mailbox_full",
        detail="The box is full.",
        attempts=1,
    )
    await office.hear(failed)
    shown = await why(office, "tell")
    assert shown["verdict"] == "failed" and "mailbox_full: The box is full." in shown["says"]


# ------------------------------------------------------------------------------------------------ triggers


@pytest.mark.parametrize(
    ("stood", "options", "verdict", "stopped"),
    [
        ("sales/collect-goods", "", "already_there", "target"),
        ("sales/lost", ", allow_back: true", "final_stage", "target"),
        ("sales/new", ", condition: { field: event.total, op: gt, value: 500 }", "condition_false", "condition"),
        ("sales/new", ", settings: { scope: all_open }", "not_in_scope", "scope"),
        ("installation/planning", "", "other_pipeline", "version"),
    ],
)
async def test_why_a_trigger_moved_nothing(office: Office, stood: str, options: str, verdict: str, stopped: str) -> None:
    head = "stage: sales/payment-expected\ntriggers: [{ id: paid, type: invoice_paid, target_stage: sales/collect-goods"
    await office.publish(f"{head}{options} }}]")
    await office.hear(created(stood), paid(other_unpaid=(id_of("invoice/J"),)))
    shown = await why_trigger(office, "paid")
    assert (shown["verdict"], looked_at(shown)[stopped]) == (verdict, "no")
    assert [kind for kind, state in looked_at(shown).items() if state == "no"] == [stopped]
    if verdict == "condition_false":
        (leaf,) = shown["condition"]["children"]
        assert leaf["expected"] == 500 and "Rechnungsbetrag war 100.00 EUR" in shown["says_de"]


async def test_a_trigger_that_led_here_itself_is_held_back(office: Office) -> None:
    await office.publish(TRIGGERS)
    (near,) = [t for t in (await office.http.get("/v1/triggers")).json()["items"] if t["trigger_key"] == "near"]
    await office.hear(created("sales/payment-expected"), paid(origin=origin(kind="system", id=None, chain=(near["id"],))))
    shown = await why_trigger(office, "near")
    assert (shown["verdict"], shown["guard"], looked_at(shown)["guard"], looked_at(shown)["scope"]) == (
        "loop_blocked",
        "loop",
        "no",
        "open",
    )


async def test_a_trigger_came_later_was_disabled_or_heard_nothing(office: Office) -> None:
    await office.hear(created("sales/payment-expected"), paid())
    office.house.now += timedelta(hours=1)
    await office.publish(TRIGGERS)
    later = await why_trigger(office, "near")
    assert later["verdict"] == "trigger_added_later" and "10:00" in part(later, "version")["says"]
    (near,) = [t for t in (await office.http.get("/v1/triggers")).json()["items"] if t["trigger_key"] == "near"]
    await office.http.post(f"/v1/triggers/{near['id']}/disablements", json={})
    office.house.now += timedelta(hours=1)
    await office.hear(paid("J"))
    assert (await why_trigger(office, "near"))["verdict"] == "trigger_disabled"
    await office.publish("stage: sales/new\ntriggers: [{ id: back, type: invoice_refunded }]")
    assert (await why_trigger(office, "back"))["verdict"] == "nothing_happened"


async def test_a_move_that_was_refused(office: Office) -> None:
    await office.publish(TRIGGERS)
    await office.hear(created("sales/payment-expected"), paid())
    (move,) = await office.commands()
    refusal = {"request_id": move.body["request_id"], "record_key": DEAL, "command_type": move.type, "detail": "No."}
    await office.hear(deals.CommandRejected(code="required_fields_missing", **refusal))
    shown = await why_trigger(office, "near")
    assert shown["verdict"] == "move_refused" and "Pflichtfelder" in shown["says_de"]
    assert part(shown, "move")["code"] == "required_fields_missing"


# ------------------------------------------------------------------------------------------------ at a moment; what is asked wrongly


async def test_it_is_told_as_it_was_at_a_moment(office: Office) -> None:
    """State, version and facts of then; the same question now has another answer."""
    await office.publish(RENEWAL)
    await office.hear(created(), moved("sales/won", 2))
    timer = await set_timer(office)
    office.house.now += timedelta(days=180)
    await office.hear(fired(timer))
    now = await why(office, "renewal")
    then = await why(office, "renewal", at=at(NOW + timedelta(days=1)))
    before = await why(office, "renewal", at=at(NOW - timedelta(days=1)))
    assert (before["verdict"], then["verdict"], now["verdict"]) == ("not_in_stage", "waiting", "ran")
    assert then["run"]["state"] == "waiting" and len(then["facts"]) < len(now["facts"])


async def test_it_is_about_the_last_stay(office: Office) -> None:
    await office.publish(RENEWAL)
    later = {"arrived_at": at(NOW + timedelta(hours=2))}
    await office.hear(created(), moved("sales/won", 2), moved("sales/approval", 3, before="sales/won"))
    await office.hear(moved("sales/won", 4, before="sales/approval", **later))
    assert (await why(office, "renewal"))["verdict"] == "waiting"
    first = await why(office, "renewal", at=at(NOW + timedelta(hours=1)))
    assert (first["verdict"], first["run"]["visit_id"]) == ("stage_left", visit(2))


@pytest.mark.parametrize(
    ("parameters", "status"),
    [
        ({}, 422),
        ({"rule_id": OLAF, "trigger_id": OLAF}, 422),
        ({"rule_id": OLAF}, 404),
        ({"trigger_id": OLAF}, 404),
        ({"element_id": OLAF, "rule_id": OLAF}, 404),
        ({"rule_id": OLAF, "at": "yesterday"}, 422),
        ({"rule_id": OLAF, "colour": "red"}, 400),
    ],
)
async def test_a_question_that_cannot_be_answered_says_why(office: Office, parameters: dict[str, str], status: int) -> None:
    await office.hear(created())
    answer = await office.http.get("/v1/explanations", params={"element_id": DEAL, **parameters})
    assert answer.status_code == status, answer.text
