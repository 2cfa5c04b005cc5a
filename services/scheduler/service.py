"""The scheduler, wired: everything it does is visible here."""

from __future__ import annotations

from services.scheduler import views
from services.scheduler.api import API
from services.scheduler.handlers import HANDLERS
from services.scheduler.publications import refusal
from services.scheduler.replicas import DIRECTORY, REPLICAS
from services.scheduler.subscriptions import SUBSCRIPTIONS
from services.scheduler.ticker import Ticker
from shared.runtime.service import Service

SERVICE = Service(
    name="scheduler",
    api=API,
    handlers=HANDLERS,
    subscriptions=SUBSCRIPTIONS,
    refusal=refusal,
    directory=DIRECTORY,
    replicas=REPLICAS,
    loops=(Ticker,),
    due=(views.DUE,),
)
