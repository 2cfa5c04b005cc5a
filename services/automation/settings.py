"""Automation's own settings, from the environment: DEALWRIGHT_AUTOMATION__…"""

from __future__ import annotations

from functools import cache
from urllib.parse import urlsplit

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from shared.runtime import settings as kit


class OwnSettings(kit.Section):
    """`new_runs_a_second`: of one tenant; what is above it waits its turn (D68).

    `public_base`: where those whom a rule called reach automation with their answer; None is this process itself."""

    new_runs_a_second: int = Field(default=50, ge=1, le=1_000_000)
    public_base: str | None = None

    @field_validator("public_base")
    @classmethod
    def an_address(cls, base: str | None) -> str | None:
        if base is not None and (urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).netloc):
            raise ValueError("an address like https://api.example.org/automation")
        return base.rstrip("/") if base else None


class AutomationSettings(kit.FromEnvironment):
    model_config = SettingsConfigDict(env_prefix=kit.PREFIX, env_nested_delimiter="__", extra="ignore", frozen=True)

    automation: OwnSettings = OwnSettings()

    @property
    def base(self) -> str:
        """Without a slash at the end."""
        process = kit.settings()
        return self.automation.public_base or f"http://{process.host}:{process.port}"


@cache
def settings() -> AutomationSettings:
    return AutomationSettings()
