"""Billing, wired: everything it does is visible here."""

from __future__ import annotations

from services.billing.api import API
from services.billing.handlers import HANDLERS
from services.billing.provider import EFFECTS
from services.billing.publications import refused
from services.billing.replicas import DIRECTORY, REPLICAS
from services.billing.subscriptions import SUBSCRIPTIONS
from shared.runtime.service import Service

SERVICE = Service(
    name="billing",
    api=API,
    handlers=HANDLERS,
    subscriptions=SUBSCRIPTIONS,
    refusal=refused,
    directory=DIRECTORY,
    replicas=REPLICAS,
    effects=EFFECTS,
)
