"""What deals keep of what is said: the lines that the other services add to a deal's timeline (S19, S39), and its own refusals.

Keyed by message id, so a repeated or republished message adds nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from sqlalchemy import Column, DateTime, Index, Text, Uuid
from sqlalchemy.dialects.postgresql import JSONB

from shared.contracts import automation, billing, deals, notifications, scheduler
from shared.contracts.common import Money
from shared.es.view import Row, history_table, state_table
from shared.messaging.contract import Contract
from shared.messaging.directory import rehearsal_clocks
from shared.messaging.envelope import Message
from shared.messaging.replica import HistoryReplica, Replica

TIMELINE = history_table(
    "timeline_v1",
    Column("element_id", Uuid, nullable=False),
    Column("at", DateTime(timezone=True), nullable=False),
    Column("kind", Text, nullable=False),
    Column("what", Text, nullable=False),
    Column("facts", JSONB, nullable=False),
    Column("actor", Text, nullable=False),
    Column("origin", JSONB, nullable=False),
    Column("ref", JSONB, nullable=False),
    Index("timeline_v1_element", "tenant", "element_id", "at"),
)

Rows = Callable[[Message[Any]], Iterable[Row]]


def _row(message: Message[Any], element_id: str, kind: str, what: str, facts: dict[str, Any], ref: dict[str, str | None]) -> Row:
    body, envelope = message.body, message.envelope
    return {
        "element_id": UUID(element_id),
        "at": envelope.time,
        "kind": kind,
        "what": what,
        "facts": {name: _plain(fact) for name, fact in facts.items()},
        "actor": envelope.context.actor,
        "origin": body.origin.model_dump(mode="json"),
        "ref": {name: id for name, id in ref.items() if id is not None},
    }


def _plain(fact: Any) -> Any:
    return fact.model_dump() if isinstance(fact, Money) else fact


FACTS = (
    "number",
    "total",
    "amount",
    "amount_due",
    "refunded",
    "status",
    "title",
    "name",
    "local",
    "reason",
    "outcome",
    "waiting_for",
    "due_at",
    "detail",
    "channel",
    "code",
    "url",
    "signer",
)
"""What is worth telling, wherever a message says it."""
REFS = (
    "quote_id",
    "invoice_id",
    "payment_document_id",
    "payment_id",
    "credit_note_id",
    "sign_document_id",
    "activity_id",
    "run_id",
    "rule_id",
    "trigger_id",
    "decision_id",
    "notice_id",
)


def _said(body: Contract, names: Iterable[str]) -> dict[str, Any]:
    return {name: value for name in names if (value := getattr(body, name, None)) is not None}


def of_deal(kind: str, what: str) -> Rows:
    """A line on the deal that the body names; none where it names no deal."""

    def rows(message: Message[Any]) -> Iterable[Row]:
        body = message.body
        if body.deal_id is not None:
            yield _row(message, body.deal_id, kind, what, _said(body, FACTS), _said(body, REFS))

    return rows


def of_element(kind: str, what: str) -> Rows:
    """A line on the deal or lead that the body's element names."""

    def rows(message: Message[Any]) -> Iterable[Row]:
        body = message.body
        if body.element is not None:
            yield _row(message, body.element.element_id, kind, what, _said(body, FACTS), _said(body, REFS))

    return rows


def of_run(what: str) -> Rows:
    def rows(message: Message[Any]) -> Iterable[Row]:
        body = message.body
        facts = {**_said(body, FACTS), "rule": body.rule_name}
        yield _row(message, body.element.element_id, "run", what, facts, _said(body, REFS))

    return rows


def of_notice(what: str) -> Rows:
    """Messages to customers; notices in the house are nobody's business here."""
    line = of_element("message", what)

    def rows(message: Message[Any]) -> Iterable[Row]:
        return line(message) if message.body.channel in ("email", "e-mail", "sms") else ()

    return rows


BILLING: dict[type[Contract], Rows] = {
    billing.QuoteCreated: of_deal("quote", "quote_created"),
    billing.QuoteSent: of_deal("quote", "quote_sent"),
    billing.QuoteAccepted: of_deal("quote", "quote_accepted"),
    billing.QuoteDeclined: of_deal("quote", "quote_declined"),
    billing.QuoteExpired: of_deal("quote", "quote_expired"),
    billing.QuoteCancelled: of_deal("quote", "quote_cancelled"),
    billing.InvoiceCreated: of_deal("invoice", "invoice_created"),
    billing.InvoiceIssued: of_deal("invoice", "invoice_issued"),
    billing.InvoiceLinked: of_deal("invoice", "invoice_linked"),
    billing.InvoicePartiallyPaid: of_deal("invoice", "invoice_partially_paid"),
    billing.InvoicePaid: of_deal("invoice", "invoice_paid"),
    billing.InvoiceReopened: of_deal("invoice", "invoice_reopened"),
    billing.InvoiceRefunded: of_deal("invoice", "invoice_refunded"),
    billing.InvoiceCancelled: of_deal("invoice", "invoice_cancelled"),
    billing.CreditNoteIssued: of_deal("invoice", "credit_note_issued"),
    billing.PaymentLinkCreated: of_deal("link", "link_created"),
    billing.PaymentLinkExpired: of_deal("link", "link_expired"),
    billing.PaymentDocumentPaid: of_deal("payment", "document_paid"),
    billing.PaymentDocumentCancelled: of_deal("payment", "document_cancelled"),
    billing.PaymentReceived: of_deal("payment", "payment_received"),
    billing.PaymentUnallocated: of_deal("payment", "payment_unallocated"),
    billing.OverpaymentRecorded: of_deal("payment", "overpayment"),
    billing.PaymentRefunded: of_deal("payment", "payment_refunded"),
    billing.PaymentReversed: of_deal("payment", "payment_reversed"),
    billing.RefundUnanswered: of_deal("payment", "refund_unanswered"),
    billing.SignDocumentCreated: of_deal("sign", "sign_created"),
    billing.SignDocumentSent: of_deal("sign", "sign_sent"),
    billing.SignDocumentSigned: of_deal("sign", "sign_signed"),
    billing.SignDocumentDeclined: of_deal("sign", "sign_declined"),
    billing.SignDocumentExpired: of_deal("sign", "sign_expired"),
    billing.SignDocumentCancelled: of_deal("sign", "sign_cancelled"),
}
OTHERS: dict[type[Contract], Rows] = {
    automation.RunScheduled: of_run("run_scheduled"),
    automation.RunCompleted: of_run("run_completed"),
    automation.RunSkipped: of_run("run_skipped"),
    automation.RunCancelled: of_run("run_cancelled"),
    automation.RunBlocked: of_run("run_blocked"),
    automation.RunMissed: of_run("run_missed"),
    automation.RunUndone: of_run("run_undone"),
    automation.TriggerDecided: of_element("decision", "trigger_decided"),
    scheduler.ActivityPlanned: of_element("activity", "activity_planned"),
    scheduler.ActivityRescheduled: of_element("activity", "activity_rescheduled"),
    scheduler.ActivityReassigned: of_element("activity", "activity_reassigned"),
    scheduler.ActivityCompleted: of_element("activity", "activity_completed"),
    scheduler.ActivityCancelled: of_element("activity", "activity_cancelled"),
    notifications.NoticeDelivered: of_notice("notice_delivered"),
    notifications.NoticeFailed: of_notice("notice_failed"),
}

REFUSALS = history_table(
    "command_refusals_v1",
    Column("at", DateTime(timezone=True), nullable=False),
    Column("command_type", Text, nullable=False),
    Column("code", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("request_id", Text),
    Column("element_type", Text),
    Column("element_id", Text),
    Column("errors", JSONB, nullable=False),
    Index("command_refusals_v1_newest", "tenant", "at"),
)


def refused(message: Message[deals.CommandRejected]) -> Iterable[Row]:
    """Our own answer, heard: a refusal is no event of any stream."""
    body = message.body
    yield {
        "at": message.envelope.time,
        "command_type": body.command_type,
        "code": body.code,
        "detail": body.detail,
        "request_id": body.request_id,
        "element_type": body.element_type,
        "element_id": body.element_id,
        "errors": [fault.model_dump() for fault in body.errors],
    }


@dataclass(frozen=True, slots=True)
class Acting:
    """What people call a rule or trigger, so that a line of the timeline can say whose doing it was (S35)."""

    name: str


ACTING: Replica[Acting] = Replica(
    state_table("acting_v1", Column("name", Text, nullable=False)),
    Acting,
    {automation.RulePublished: lambda row, e: Acting(e.name), automation.TriggerPublished: lambda row, e: Acting(e.name)},
)

REPLICAS = (
    HistoryReplica(TIMELINE, {**BILLING, **OTHERS}),
    ACTING,
    HistoryReplica(REFUSALS, {deals.CommandRejected: refused}),
    rehearsal_clocks(scheduler.RehearsalClockMoved),
)
