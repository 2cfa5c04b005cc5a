"""What only deals needs to be told."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from shared.runtime.settings import PREFIX, FromEnvironment, StorageSettings
from shared.runtime.settings import settings as kit_settings


class DealsSettings(FromEnvironment):
    """`DEALWRIGHT_DEALS__…`."""

    model_config = SettingsConfigDict(env_prefix="DEALWRIGHT_DEALS__", extra="ignore", frozen=True)

    key_path: Path | None = None
    """Where the first start writes the operator's key, with mode 0600; left out: operator.key in the state folder."""
    first_tenant: bool = True
    """Whether a deployment without any tenant gets one at its first start."""
    tenant_name: str = Field(default="First tenant", min_length=1, max_length=255)
    tenant_language: Literal["de", "en"] = "en"
    tenant_zone: str = "UTC"
    file_quota: int = Field(default=10 * 1024**3, ge=0)
    """Bytes that the files of one tenant may take."""

    @property
    def operator_key(self) -> Path:
        return self.key_path or kit_settings().state_dir / "operator.key"


class SharedSettings(FromEnvironment):
    """`DEALWRIGHT_STORAGE__…`, the same variables that notifications reads."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_nested_delimiter="__", extra="ignore", frozen=True)

    storage: StorageSettings = StorageSettings()


@cache
def settings() -> DealsSettings:
    return DealsSettings()


@cache
def storage_settings() -> StorageSettings:
    return SharedSettings().storage
