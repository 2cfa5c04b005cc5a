"""Triggers of apps: registered, renamed, removed (G49)."""

from __future__ import annotations

from typing import Any

from services.automation.domain.app_trigger import (
    APP_TRIGGER,
    MOST_OF_TENANT,
    AppTrigger,
    AppTriggerRegistered,
    AppTriggerRemoved,
    AppTriggerRenamed,
    RegisterAppTrigger,
    RemoveAppTrigger,
    app_trigger_id,
)
from services.automation.domain.trigger import TRIGGER, DefinedTrigger, DraftTrigger, RotateSecret, SecretRotated
from shared.testing.given import Given
from tests.unit.automation.made import ANNA, SALES, STAGE, id_of

FRESH: Given[AppTrigger, Any, Any] = Given(APP_TRIGGER, AppTrigger())
CALL = AppTriggerRegistered("phone", "call-ended", "Call ended")


def test_the_same_code_again_renames_it() -> None:
    FRESH.when(RegisterAppTrigger("phone", "call-ended", "Call ended")).then(CALL)
    there = Given(APP_TRIGGER, APP_TRIGGER.fold([CALL]))
    there.when(RegisterAppTrigger("phone", "call-ended", "Call ended")).nothing_happens()
    there.when(RegisterAppTrigger("phone", "call-ended", "Hung up")).then(AppTriggerRenamed("Hung up"))


def test_removed_and_registered_again() -> None:
    FRESH.when(RemoveAppTrigger()).refused("not_found")
    there = Given(APP_TRIGGER, APP_TRIGGER.fold([CALL]))
    there.when(RemoveAppTrigger()).then(AppTriggerRemoved())
    gone = Given(APP_TRIGGER, APP_TRIGGER.fold([CALL, AppTriggerRemoved()]))
    gone.when(RemoveAppTrigger()).nothing_happens()
    gone.when(RegisterAppTrigger("phone", "call-ended", "Again")).then(AppTriggerRegistered("phone", "call-ended", "Again"))


def test_a_tenant_has_only_so_many() -> None:
    FRESH.when(RegisterAppTrigger("phone", "one-more", "One more", others=MOST_OF_TENANT)).refused("too_many")


def test_an_id_follows_from_app_and_code() -> None:
    tenant = id_of("tenant")
    assert app_trigger_id(tenant, "phone", "a") == app_trigger_id(tenant, "phone", "a") != app_trigger_id(tenant, "fax", "a")


def test_only_a_webhook_has_a_secret_and_each_rotation_makes_the_next() -> None:
    def draft(kind: str) -> Given[DefinedTrigger, Any, Any]:
        return Given(TRIGGER, TRIGGER.fold(TRIGGER.decide(TRIGGER.initial, DraftTrigger("deal", SALES, STAGE, 0, {"type": kind}, ANNA))))

    draft("invoice_paid").when(RotateSecret()).refused("no_secret")
    once = draft("webhook").when(RotateSecret())
    once.then(SecretRotated(2))
    Given(TRIGGER, once.state).when(RotateSecret()).then(SecretRotated(3))
