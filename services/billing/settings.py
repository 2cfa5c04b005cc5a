"""Billing's own settings, from the environment: DEALWRIGHT_BILLING__PUBLIC_BASE, …__WEBHOOK_SECRETS, …__LINK_DAYS."""

from __future__ import annotations

import hmac
from functools import cache
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator
from pydantic_settings import SettingsConfigDict

from shared.runtime import settings as kit


class BillingSettings(kit.FromEnvironment):
    """`public_base`: where customers and payment providers reach billing; None is this process itself.

    `webhook_secrets`: of the test provider, separated by commas, the first signs; None derives one from the pepper."""

    model_config = SettingsConfigDict(env_prefix="DEALWRIGHT_BILLING__", extra="ignore", frozen=True)

    public_base: str | None = None
    webhook_secrets: SecretStr | None = None
    link_days: int = Field(default=30, ge=1, le=3650)
    """How long a payment link is good for, unless who asks says otherwise."""

    @field_validator("public_base")
    @classmethod
    def an_address(cls, base: str | None) -> str | None:
        if base is not None and (urlsplit(base).scheme not in ("http", "https") or not urlsplit(base).netloc):
            raise ValueError("an address like https://pay.example.org")
        return base.rstrip("/") if base else None

    @property
    def base(self) -> str:
        """Without a slash at the end."""
        if self.public_base is not None:
            return self.public_base
        process = kit.settings()
        return f"http://{process.host}:{process.port}"

    @property
    def secrets(self) -> tuple[bytes, ...]:
        """Keys that may have signed a webhook of the test provider. The first one signs."""
        if self.webhook_secrets is not None:
            return tuple(s.strip().encode() for s in self.webhook_secrets.get_secret_value().split(",") if s.strip())
        pepper = kit.settings().pepper.get_secret_value().encode()
        return (hmac.digest(pepper, b"billing: webhooks of the test provider", "sha256"),)


@cache
def settings() -> BillingSettings:
    """Read lazily, once per process."""
    return BillingSettings()
