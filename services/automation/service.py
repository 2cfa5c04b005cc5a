"""Automation, wired: everything it does is visible here."""

from __future__ import annotations

from services.automation.api import API
from services.automation.handlers import HANDLERS
from services.automation.publications import refusal
from services.automation.replicas import DIRECTORY, REPLICAS
from services.automation.subscriptions import OTHERS, SUBSCRIPTIONS
from shared.runtime.service import Service

SERVICE = Service(
    name="automation",
    api=API,
    handlers=HANDLERS,
    subscriptions=SUBSCRIPTIONS,
    refusal=refusal,
    directory=DIRECTORY,
    replicas=REPLICAS,
    others=OTHERS,
)
