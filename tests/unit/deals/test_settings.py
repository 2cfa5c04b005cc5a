"""Deals' own settings come from the environment like everybody's."""

from __future__ import annotations

from pathlib import Path

import pytest

from services.deals.settings import DealsSettings


def test_a_setting_may_stand_in_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "name").write_text("Acme\n")
    monkeypatch.setenv("DEALWRIGHT_DEALS__TENANT_NAME_FILE", str(tmp_path / "name"))

    assert DealsSettings().tenant_name == "Acme"
