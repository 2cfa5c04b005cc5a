"""Trigger of an app: a code that an app has registered, for people to bind to their stages (G49).

Registering the same code again renames it. Whoever binds it makes a trigger of type `app` that names app and code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, assert_never

from services.automation.domain.ids import derived
from shared.es.aggregate import Aggregate
from shared.es.errors import Rejected

MOST_OF_TENANT = 1000


def app_trigger_id(tenant: str, app_code: str, code: str) -> str:
    """One stream per app and code of a tenant."""
    return derived(tenant, f"app-trigger/{app_code}/{code}")


@dataclass(frozen=True, slots=True)
class RegisterAppTrigger:
    """`others`: how many the tenant has beside this one."""

    app_code: str
    code: str
    name: str
    others: int = 0


@dataclass(frozen=True, slots=True)
class RemoveAppTrigger:
    pass


AppTriggerCommand = RegisterAppTrigger | RemoveAppTrigger


@dataclass(frozen=True, slots=True)
class AppTriggerRegistered:
    app_code: str
    code: str
    name: str


@dataclass(frozen=True, slots=True)
class AppTriggerRenamed:
    name: str


@dataclass(frozen=True, slots=True)
class AppTriggerRemoved:
    pass


AppTriggerEvent = AppTriggerRegistered | AppTriggerRenamed | AppTriggerRemoved


@dataclass(frozen=True, slots=True)
class AppTrigger:
    state: Literal["none", "registered", "removed"] = "none"
    app_code: str = ""
    code: str = ""
    name: str = ""


def decide(trigger: AppTrigger, command: AppTriggerCommand) -> Sequence[AppTriggerEvent]:
    """Raises Rejected: not_found, too_many."""
    match command:
        case RegisterAppTrigger(name=name) if trigger.state == "registered":
            return [AppTriggerRenamed(name)] if name != trigger.name else []
        case RegisterAppTrigger(app_code=app_code, code=code, name=name, others=others):
            if others >= MOST_OF_TENANT:
                raise Rejected("too_many", f"Apps have registered {MOST_OF_TENANT} triggers: remove some.")
            return [AppTriggerRegistered(app_code, code, name)]
        case RemoveAppTrigger():
            if trigger.state == "none":
                raise Rejected("not_found", "The app has registered no such trigger.", status=404)
            return [AppTriggerRemoved()] if trigger.state == "registered" else []
        case _:
            assert_never(command)


def evolve(trigger: AppTrigger, event: AppTriggerEvent) -> AppTrigger:
    match event:
        case AppTriggerRegistered(app_code=app_code, code=code, name=name):
            return AppTrigger("registered", app_code, code, name)
        case AppTriggerRenamed(name=name):
            return replace(trigger, name=name)
        case AppTriggerRemoved():
            return replace(trigger, state="removed")
        case _:
            assert_never(event)


APP_TRIGGER: Aggregate[AppTrigger, AppTriggerCommand, AppTriggerEvent] = Aggregate(
    name="app-trigger",
    initial=AppTrigger(),
    decide=decide,
    evolve=evolve,
    events=(AppTriggerRegistered, AppTriggerRenamed, AppTriggerRemoved),
)
