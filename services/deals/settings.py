"""What only deals needs to be told."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.runtime.settings import settings as kit_settings


class DealsSettings(BaseSettings):
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


@cache
def settings() -> DealsSettings:
    return DealsSettings()


class StorageSettings(BaseSettings):
    """`DEALWRIGHT_STORAGE__…`: the one file storage that deals writes and notifications reads (F28)."""

    model_config = SettingsConfigDict(env_prefix="DEALWRIGHT_STORAGE__", extra="ignore", frozen=True)

    folder: Path | None = None
    """Left out: files in deals' state folder."""

    @property
    def root(self) -> Path:
        return self.folder or kit_settings().state_dir / "files"


@cache
def storage() -> StorageSettings:
    return StorageSettings()
