"""HTTP of automation, a file for each thing that can be asked about."""

from __future__ import annotations

from fastapi import APIRouter

from services.automation.api import (
    callbacks,
    calls,
    catalogue,
    explanations,
    impacts,
    previews,
    publishing,
    rule_sets,
    rules,
    runs,
    triggers,
    values,
)
from shared.http.problems import PROBLEMS

API = APIRouter(responses=PROBLEMS)
for part in (catalogue, rules, publishing, triggers, calls, values, rule_sets, runs, previews, callbacks, explanations, impacts):
    API.include_router(part.API)
