"""What notifications says and is asked (domain/notifications.md section 7). Key: the element, else the notice.

Addresses and texts never appear in events."""

from __future__ import annotations

from typing import Literal

from shared.contracts.common import (
    Answer,
    ElementRef,
    Fact,
    GivenElement,
    GivenInstant,
    Instant,
    Map,
    Rejection,
    Request,
    Text,
    Uuid,
    Whole,
    Zone,
)

COMMANDS = "notifications.commands"
EVENTS = "notifications.events"

Importance = Literal["customer", "internal"]
MessageClass = Literal["money", "message", "reminder"]


# Commands


class Notify(Request, type="notifications.Notify.v1", topic=COMMANDS, key=("element.element_id", "notice_id")):
    """Tell an employee, or every member of a role (exactly one). `notice_id` equals `request_id`. Answer: NoticeDelivered."""

    notice_id: Uuid
    employee_id: Uuid | None = None
    role: Text | None = None
    title: Text | None = None
    text: Text
    element: GivenElement | None = None
    topic_name: Text
    merge_key: Text | None = None


class SendEmail(Request, type="notifications.SendEmail.v1", topic=COMMANDS, key=("element.element_id", "notice_id")):
    """Send an e-mail to one address. `notice_id` equals `request_id`. Answer: NoticeDelivered, NoticeFailed."""

    notice_id: Uuid
    to: Text
    subject: Text
    body_text: Text
    body_html: Text | None = None
    from_employee_id: Uuid | None = None
    reply_to: Text | None = None
    attachment_ids: tuple[Uuid, ...] = ()
    element: GivenElement | None = None
    importance: Importance
    message_class: MessageClass
    language: Text | None = None


class SendSms(Request, type="notifications.SendSms.v1", topic=COMMANDS, key=("element.element_id", "notice_id")):
    """Send an SMS to one number (E.164). `notice_id` equals `request_id`. Answer: NoticeDelivered, NoticeFailed."""

    notice_id: Uuid
    to: Text
    text: Text
    element: GivenElement | None = None
    importance: Importance
    message_class: MessageClass


class SendInvitation(Request, type="notifications.SendInvitation.v1", topic=COMMANDS, key=("element.element_id", "notice_id")):
    """Send a calendar invitation, for other back ends. `notice_id` equals `request_id`. Answer: NoticeDelivered, NoticeFailed."""

    notice_id: Uuid
    method: Literal["REQUEST", "CANCEL"]
    uid: Text
    ical_sequence: Whole
    attendee_email: Text
    organiser_employee_id: Uuid
    starts_at: GivenInstant
    ends_at: GivenInstant
    zone: Zone
    summary: Text
    description: Text | None = None
    location: Text | None = None
    url: Text | None = None
    element: GivenElement | None = None


class DeliverWebhook(Request, type="notifications.DeliverWebhook.v1", topic=COMMANDS, key=("element.element_id", "delivery_id")):
    """Post a payload to an endpoint. `delivery_id` equals `request_id`. Answer: WebhookDelivered, WebhookFailed."""

    delivery_id: Uuid
    endpoint_id: Uuid
    event_name: Text
    payload: Map
    callback_url: Text | None = None
    callback_expires_at: GivenInstant | None = None
    element: GivenElement | None = None


# Notices


class NoticeDelivered(Answer, type="notifications.NoticeDelivered.v1", topic=EVENTS, key=("element.element_id", "notice_id")):
    """A notice was accepted. `channel`: in_app, email, sms, invitation. Heard by automation, deals."""

    notice_id: Uuid
    channel: str
    recipient_kind: str
    employee_id: Uuid | None = None
    element: ElementRef | None = None
    delivered_at: Instant
    attempts: int
    message_id: str | None = None


class NoticeFailed(Answer, type="notifications.NoticeFailed.v1", topic=EVENTS, key=("element.element_id", "notice_id")):
    """A notice will not be delivered. Heard by automation, deals."""

    notice_id: Uuid
    channel: str
    employee_id: Uuid | None = None
    element: ElementRef | None = None
    code: str
    detail: str
    attempts: int


# Webhooks


class WebhookDelivered(Answer, type="notifications.WebhookDelivered.v1", topic=EVENTS, key=("delivery_id",)):
    """An endpoint took it; `n` is its number at the endpoint. Heard by automation."""

    delivery_id: Uuid
    endpoint_id: Uuid
    n: int | None = None
    response_status: int
    attempts: int


class WebhookFailed(Answer, type="notifications.WebhookFailed.v1", topic=EVENTS, key=("delivery_id",)):
    """An endpoint did not take it. Heard by automation."""

    delivery_id: Uuid
    endpoint_id: Uuid
    n: int | None = None
    code: str
    detail: str
    attempts: int


class WebhookEndpointFact(Fact):
    """An endpoint. `purpose`: stream, rule."""

    endpoint_id: Uuid
    purpose: str
    owner_id: Uuid
    reason: str | None = None


class WebhookEndpointAdded(WebhookEndpointFact, type="notifications.WebhookEndpointAdded.v1", topic=EVENTS, key=("endpoint_id",)):
    """An endpoint exists. Heard by automation."""


class WebhookEndpointDisabled(WebhookEndpointFact, type="notifications.WebhookEndpointDisabled.v1", topic=EVENTS, key=("endpoint_id",)):
    """An endpoint is off; `reason`: by_person, gone_410, failing. Heard by automation, notifications."""


class WebhookEndpointEnabled(WebhookEndpointFact, type="notifications.WebhookEndpointEnabled.v1", topic=EVENTS, key=("endpoint_id",)):
    """An endpoint is on again. Heard by automation."""


class WebhookEndpointDeleted(WebhookEndpointFact, type="notifications.WebhookEndpointDeleted.v1", topic=EVENTS, key=("endpoint_id",)):
    """An endpoint is gone. Heard by automation."""


class CommandRejected(Rejection, type="notifications.CommandRejected.v1", topic=EVENTS, key=("record_key",)):
    """Notifications refused a command. Heard by automation, outside."""
