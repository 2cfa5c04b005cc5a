"""Notifications' own settings, from the environment: DEALWRIGHT_SMTP__…, DEALWRIGHT_STORAGE__FOLDER, DEALWRIGHT_NOTIFICATIONS__…"""

from __future__ import annotations

from functools import cache
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from shared.runtime import settings as kit


class SmtpSettings(kit.Section):
    """`tls`: none, starttls, or tls from the first byte. `sender` is the company's address; its domain names the Message-IDs."""

    host: str = "127.0.0.1"
    port: int = Field(default=1025, ge=1, le=65535)
    username: str | None = None
    password: SecretStr | None = None
    tls: Literal["none", "starttls", "tls"] = "none"
    sender: str = Field(default="no-reply@dealwright.test", pattern=r"^[^@\s]+@[A-Za-z0-9.-]+$")
    sender_name: str = "Dealwright"
    seconds: float = Field(default=20, gt=0, le=45)
    """Per step of the conversation with the mail server."""


class SmsSettings(kit.Section):
    """An HTTP gateway that takes {to, text, reference}; without an address messages go to the sandbox."""

    gateway_url: str | None = Field(default=None, pattern=r"^https://")
    token: SecretStr | None = None


class HookSettings(kit.Section):
    """`allow`: 'host:port,…' that webhooks may reach inside and without https. For development; leave it empty elsewhere."""

    allow: str = ""

    @property
    def allowed(self) -> frozenset[str]:
        return frozenset(each.strip() for each in self.allow.split(",") if each.strip())


class NotificationsSettings(kit.FromEnvironment):
    model_config = SettingsConfigDict(env_prefix=kit.PREFIX, env_nested_delimiter="__", extra="ignore", frozen=True)

    smtp: SmtpSettings = SmtpSettings()
    storage: kit.StorageSettings = kit.StorageSettings()
    notifications: SmsSettings = SmsSettings()
    hooks: HookSettings = HookSettings()


@cache
def settings() -> NotificationsSettings:
    return NotificationsSettings()
