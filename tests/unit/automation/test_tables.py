"""The catalogue against the tables of the specification (automation 5.2), row by row: settings, defaults, outputs, what answers mean."""

from __future__ import annotations

from typing import Any

import pytest

from services.automation import publications
from services.automation.domain.action import Asked, ConversionAsked, CopyAsked, failure, is_skip
from services.automation.domain.catalogue import RULE_TYPES, lateness_of
from services.automation.domain.visit import VISIT, Answered, Visit
from shared.contracts import deals
from shared.messaging.handler import InNameOf
from shared.testing.given import Given
from tests.unit.automation.made import ANNA, BEN, OLAF, VISIT_ID, arrive, id_of, known, person, rule, run_state
from tests.unit.automation.test_check import FRESH, SALES, checked, found
from tests.unit.automation.test_wiring import recorded

REQUIRED = object()
NEW: Given[Visit, Any, Any] = Given(VISIT, VISIT.initial)

TABLES: dict[str, dict[str, Any]] = {
    "create_payment_link": {
        "auto_create": True,
        "order_id T": None,
        "reuse_existing": False,
        "covers": "auto",
        "expires_in": "30d",
    },
    "create_from": {
        "targets": REQUIRED,
        "responsible T": "default",
        "title T": None,
        "issue": False,
        "skip_if_open_exists": False,
        "valid_for": "30d",
        "sign_template": "standard",
        "close_lead": False,
        "pipeline": None,
    },
    "change_details": {"element": REQUIRED, "which": "primary", "template": REQUIRED, "address_type": None, "fields T": REQUIRED},
    "get_details": {"element": REQUIRED, "template": REQUIRED, "address_type": None},
    "create_recurring_lead": {"title T": REQUIRED, "responsible T": "default", "skip_if_open_exists": False},
    "copy_deal": {"name T": None, "pipeline": REQUIRED, "initial_stage": "first", "responsible T": "default"},
    "plan_activity": {
        "name T": REQUIRED,
        "description T": None,
        "deadline": REQUIRED,
        "duration": 60,
        "responsible T": "default",
        "colour": "default",
        "calendar": False,
        "customers": "none",
        "invite": [],
        "address T": None,
        "room": None,
        "on_room_conflict": "mark",
        "link T": None,
        "files": [],
        "reminders": [15],
        "auto_complete_on_stage_change": False,
    },
    "send_email": {
        "to T": "{{contact.email}}",
        "subject T": None,
        "body T": REQUIRED,
        "from": "company",
        "reply_to": "responsible",
        "attachments": [],
    },
    "send_sms": {"to T": "{{contact.phone}}", "text T": REQUIRED},
    "notify": {"to": "responsible", "title T": None, "text T": REQUIRED},
    "change_variable": {"variable": REQUIRED, "value T": REQUIRED},
    "call_webhook": {"endpoint": REQUIRED, "payload T": {}, "wait": True, "timeout": "24h", "outputs": []},
    "change_responsible": {"responsible T": REQUIRED},
    "change_stage": {"stage": REQUIRED, "loss_reason T": None},
    "change_field": {"fields T": REQUIRED, "empty_values": "keep"},
}
"""Settings with their defaults; T: takes placeholders."""
ADDRESS = "street house addition city postal_code district region country country_code".split()
OUTPUTS: dict[str, str] = {
    "create_payment_link": "url payment_document_id amount currency expires_at reused",
    "create_from": "invoice_id quote_id sign_document_id deal_id contact_id company_id amount",
    "change_details": "changed unchanged details_id",
    "get_details": "found details_id address address_lines " + " ".join(ADDRESS),
    "create_recurring_lead": "lead_id title",
    "copy_deal": "deal_id name pipeline stage",
    "plan_activity": "activity_id deadline deadline_local room_state",
    "send_email": "sent_at notice_ids",
    "send_sms": "sent_at notice_ids",
    "notify": "notice_ids",
    "change_variable": "before after",
    "call_webhook": "",
    "change_responsible": "before after",
    "change_stage": "stage before",
    "change_field": "changed",
}
BLOCK = {"create_payment_link", "send_email", "send_sms", "change_variable", "call_webhook"}
LATE = {"create_payment_link": "money", "send_email": "customer", "send_sms": "customer", "call_webhook": "customer"}
DEALS_ONLY = {"create_payment_link", "create_recurring_lead", "copy_deal"}


def test_every_type_stands_in_the_tables() -> None:
    assert TABLES.keys() == OUTPUTS.keys() == RULE_TYPES.keys()


@pytest.mark.parametrize("name", TABLES)
def test_settings_and_defaults_are_those_of_the_table(name: str) -> None:
    of = {f"{s.name} T" if s.template else s.name: REQUIRED if s.required else s.default for s in RULE_TYPES[name].settings}
    assert of == TABLES[name]


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_and_classes_are_those_of_the_table(name: str) -> None:
    kind = RULE_TYPES[name]
    assert [output for output, _ in kind.outputs] == OUTPUTS[name].split()
    assert (kind.on_unresolved, kind.lateness) == ("block" if name in BLOCK else "empty", LATE.get(name, "internal"))
    assert kind.element_types == (("deal",) if name in DEALS_ONLY else ("deal", "lead"))


@pytest.mark.parametrize(("target", "of"), [("invoice", "money"), ("quote", "money"), ("sign_document", "money"), ("deal", "internal")])
def test_what_makes_documents_is_a_money_action(target: str, of: str) -> None:
    assert lateness_of(RULE_TYPES["create_from"], {"targets": [target]}) == of


@pytest.mark.parametrize(
    ("name", "code", "state"),
    [
        ("create_payment_link", "payment_document_exists", "skipped"),
        ("create_payment_link", "nothing_to_pay", "nothing_to_pay"),
        ("create_payment_link", "order_not_found", "order_not_found"),
        ("create_from", "open_exists", "skipped"),
        ("create_from", "nothing_to_invoice", "nothing_to_invoice"),
        ("create_from", "no_signer", "refused(no_signer)"),
        ("create_from", "sign_template_unknown", "refused(sign_template_unknown)"),
        ("create_from", "target_not_offered", "refused(target_not_offered)"),
        ("create_from", "already_converted", "refused(already_converted)"),
        ("change_details", "no_details", "skipped"),
        ("change_details", "nothing_to_change", "skipped"),
        ("create_recurring_lead", "open_exists", "skipped"),
        ("create_recurring_lead", "no_client", "skipped"),
        ("copy_deal", "target_missing", "target_missing"),
        ("plan_activity", "room_booked", "room_booked"),
        ("plan_activity", "deadline_missing", "deadline_missing"),
        ("send_email", "bad_address", "bad_address"),
        ("send_email", "retries_exhausted", "retries_exhausted"),
        ("send_sms", "bad_address", "bad_address"),
        ("notify", "recipient_unknown", "refused(recipient_unknown)"),
        ("change_variable", "template_error", "template_error"),
        ("call_webhook", "callback_expired", "callback_expired"),
        ("call_webhook", "gone_410", "refused(gone_410)"),
    ],
)
def test_what_answers_mean(name: str, code: str, state: str) -> None:
    assert ("skipped" if is_skip(name, code) else failure(code)) == state


# ------------------------------------------------------------------------------------------------ what was missing


@pytest.mark.parametrize(
    ("rule_type", "settings", "pointer", "code"),
    [
        ("copy_deal", {"pipeline": "leads"}, "pipeline", "unknown_pipeline"),
        ("create_from", {"sign_template": "nda"}, "sign_template", "unknown_template"),
        ("send_sms", {"text": "x" * 1601}, "text", "too_long"),
    ],
)
def test_what_is_wrong_when_it_is_saved(rule_type: str, settings: dict[str, Any], pointer: str, code: str) -> None:
    leads = {"pipelines": {"leads": (id_of("leads"), False, "lead", {"fresh": (id_of("fresh"), False)})}}
    assert (f"/settings/{pointer}", code) in found(checked(rule_type, settings=settings, names=leads))


def test_a_lead_becomes_a_deal_in_a_pipeline_of_deals() -> None:
    pipelines: dict[str, Any] = {"sales": (SALES, False, "deal", {}), "leads": (id_of("leads"), False, "lead", {})}
    for code, findings in (("sales", set()), ("leads", {("/settings/pipeline", "unknown_pipeline")})):
        settings = {"targets": ["deal"], "pipeline": code}
        assert found(checked("create_from", at=FRESH, settings=settings, names={"pipelines": pipelines})) == findings


def test_what_is_made_of_a_lead_has_the_title_that_is_set() -> None:
    conv = rule("conv", "create_from", settings={"targets": ["deal", "contact", "company"], "title": "{{lead.title}} again"})
    arriving = arrive(conv, known=known(element_type="lead"))
    asked = [event for event in VISIT.decide(VISIT.initial, arriving) if isinstance(event, ConversionAsked)]
    assert [(one.target, one.title) for one in asked] == [(of, "Roof 2026 again") for of in ("company", "contact", "deal")]
    said = publications.of_visit(NEW.when(arriving).state, recorded(asked[-1], "visit", VISIT_ID))
    assert isinstance(said, InNameOf) and isinstance(said.contract, deals.CreateDealFromLead) and said.contract.title == "Roof 2026 again"


def test_titles_end_where_titles_end() -> None:
    long = {"name": "{{deal.title}}" * 30}
    [copy] = [event for event in NEW.when(arrive(rule("c", "copy_deal", settings=long))).events if isinstance(event, CopyAsked)]
    assert copy.name is not None and len(copy.name) == 255


def test_a_copy_never_goes_to_another_stage_than_the_one_named() -> None:
    gone = rule("c", "copy_deal", settings={"initial_stage": "mounting"})
    assert run_state(NEW.when(arrive(gone)).state, "c") == ("failed", "target_missing")


def test_an_activity_that_is_overdue_at_once_is_noted() -> None:
    call = rule("call", "plan_activity")
    for deadline, notes in (("2026-03-01T14:00:00.000Z", ("deadline_in_past",)), ("2026-03-02T14:00:00.000Z", ())):
        [asked] = [event for event in NEW.when(arrive(call)).events if isinstance(event, Asked)]
        answer = Answered(asked.request_id, {"activity_id": asked.request_id, "deadline": deadline}, known())
        assert Given(VISIT, NEW.when(arrive(call)).state).when(answer).state.runs[0].notes == notes


def test_who_acts_for_somebody_is_flagged() -> None:
    """D20: the owner of the rule has left, his stand-in acts, and whoever is asked hears of it."""
    gone = {OLAF: person(OLAF, "1", "Olaf", active=False), ANNA: person(ANNA, "42", "Anna"), BEN: person(BEN, "7", "Ben")}
    for people, flagged, actor in ((gone, True, BEN), (None, False, OLAF)):
        facts = known(people=people) if people else known()
        done = NEW.when(arrive(rule("tell", fallback_user="user:7"), known=facts))
        [asked] = [event for event in done.events if isinstance(event, Asked)]
        assert (asked.actor, asked.acting_fallback) == (f"user:{actor}", flagged)
        said = publications.of_visit(done.state, recorded(asked, "visit", VISIT_ID))
        assert isinstance(said, InNameOf) and said.contract.model_dump()["origin"]["acting_fallback"] is flagged


def test_more_than_ten_recipients_are_one_failure_however_many_they_are() -> None:
    many = ",".join(f"a{n}@example.org" for n in range(3000))
    done = NEW.when(arrive(rule("mail", "send_email", settings={"body": "x", "to": "{{deal.title}}"}), known=known(fields={"title": many})))
    [run] = done.state.runs
    assert [(step.name, step.state, step.code) for step in run.steps[9:]] == [
        ("to:10", "asked", None),
        ("to:11", "failed", "too_many_recipients"),
    ]
    assert run.steps[-1].detail == "2990 of the recipients are more than the ten that a rule tells."
