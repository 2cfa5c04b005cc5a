"""Automation's own settings, from the environment: DEALWRIGHT_AUTOMATION__…"""

from __future__ import annotations

from functools import cache

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.runtime import settings as kit


class QuotaSettings(kit.Section):
    """`new_runs_a_second`: of one tenant; what is above it waits its turn (D68)."""

    new_runs_a_second: int = Field(default=50, ge=1, le=1_000_000)


class AutomationSettings(kit.FromEnvironment):
    model_config = SettingsConfigDict(env_prefix=kit.PREFIX, env_nested_delimiter="__", extra="ignore", frozen=True)

    automation: QuotaSettings = QuotaSettings()


@cache
def settings() -> AutomationSettings:
    return AutomationSettings()
