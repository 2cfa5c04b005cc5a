"""Notifications, wired: everything it does is visible here."""

from __future__ import annotations

from datetime import timedelta

from services.notifications import views
from services.notifications.api import API
from services.notifications.channels import email, invitation, sms, webhook
from services.notifications.channels.outcome import tell
from services.notifications.handlers import HANDLERS, MONEY
from services.notifications.publications import refusal
from services.notifications.replicas import DIRECTORY, REPLICAS
from services.notifications.subscriptions import SUBSCRIPTIONS
from services.notifications.telling import Releasing
from shared.messaging.effects import EffectKind
from shared.runtime.service import Service

LEASE = timedelta(seconds=120)

EFFECTS = (
    EffectKind("email", email.send, email.rehearse, tell, LEASE, unknown="again"),
    EffectKind(f"email{MONEY}", email.send, email.rehearse, tell, LEASE, unknown="hold"),
    EffectKind("invitation", invitation.send, invitation.rehearse, tell, LEASE, unknown="again"),
    EffectKind("sms", sms.send, sms.rehearse, tell, LEASE, unknown="again"),
    EffectKind(f"sms{MONEY}", sms.send, sms.rehearse, tell, LEASE, unknown="hold"),
    EffectKind("webhook", webhook.send, webhook.rehearse, webhook.tell, timedelta(seconds=180), unknown="again"),
)
"""What may have been sent is sent again with the same id; what is about money waits for a person (R15, R16)."""

SERVICE = Service(
    name="notifications",
    api=API,
    handlers=HANDLERS,
    subscriptions=SUBSCRIPTIONS,
    refusal=refusal,
    directory=DIRECTORY,
    replicas=REPLICAS,
    effects=EFFECTS,
    loops=(Releasing,),
    due=(views.DUE,),
)
