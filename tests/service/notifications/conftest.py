from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.notifications.service import SERVICE
from services.notifications.settings import settings
from shared.testing.stack import Stack
from tests.service.house import House, a_house
from tests.service.notifications.postoffice import PostOffice, post_office

NOW = datetime(2026, 3, 2, 8, tzinfo=UTC)


@pytest.fixture
async def post(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[PostOffice]:
    """A real mail server of this test alone, which the service is told about."""
    async with post_office() as found:
        monkeypatch.setenv("DEALWRIGHT_SMTP__HOST", "127.0.0.1")
        monkeypatch.setenv("DEALWRIGHT_SMTP__PORT", str(found.port))
        monkeypatch.setenv("DEALWRIGHT_SMTP__SENDER", "office@acme.test")
        monkeypatch.setenv("DEALWRIGHT_SMTP__SECONDS", "2")
        monkeypatch.setenv("DEALWRIGHT_STORAGE__FOLDER", str(tmp_path))
        settings.cache_clear()
        yield found
    settings.cache_clear()


@pytest.fixture
async def house(stack: Stack, post: PostOffice) -> AsyncIterator[House]:
    async with a_house(stack, SERVICE, NOW) as found:
        yield found
