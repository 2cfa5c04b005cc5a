"""Deals, wired: everything it does is visible here."""

from __future__ import annotations

from services.deals.api import API
from services.deals.asks.first_start import FirstStart
from services.deals.asks.replacements import Replacements
from services.deals.asks.unreferenced import Unreferenced
from services.deals.handlers import HANDLERS
from services.deals.publications import refusal
from services.deals.replicas import REPLICAS
from services.deals.subscriptions import SUBSCRIPTIONS
from shared.messaging.directory import own_directory
from shared.runtime.service import Service

SERVICE = Service(
    name="deals",
    api=API,
    handlers=HANDLERS,
    subscriptions=SUBSCRIPTIONS,
    refusal=refusal,
    directory=own_directory(),
    replicas=REPLICAS,
    loops=(FirstStart, Replacements, Unreferenced),
)
