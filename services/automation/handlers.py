"""Each aggregate with what it says and the views it keeps."""

from __future__ import annotations

from services.automation import publications, views
from services.automation.domain.app_trigger import APP_TRIGGER
from services.automation.domain.constants import VALUE
from services.automation.domain.decision import DECISION
from services.automation.domain.plan import PLAN
from services.automation.domain.rule import RULE
from services.automation.domain.trigger import TRIGGER
from services.automation.domain.visit import VISIT
from shared.messaging.handler import Handler

HANDLERS = (
    Handler(RULE, publications.of_rule, (views.RULES, views.RULE_VERSIONS)),
    Handler(TRIGGER, publications.of_trigger, (views.TRIGGERS,)),
    Handler(APP_TRIGGER, views=(views.APP_TRIGGERS,)),
    Handler(VALUE, publications.of_value, (views.VALUES,)),
    Handler(VISIT, publications.of_visit, (views.VISITS, views.STEPS, views.TIMERS_OF_RUNS, views.SHADOWS)),
    Handler(PLAN),
    Handler(DECISION, publications.of_decision, (views.DECISIONS, views.TIMERS_OF_DECISIONS)),
)
