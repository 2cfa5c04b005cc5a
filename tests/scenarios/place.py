"""Where a scenario happens: a deployment seen from outside. HTTP in and out, what is said on the topics, what lies in the mailbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import httpx


@dataclass(frozen=True, slots=True)
class Said:
    """A message of one tenant, as any consumer sees it. `name` leaves the version out: `billing.InvoicePaid`."""

    name: str
    id: str
    key: str
    subject: str
    actor: str
    correlation: str
    cause: str
    time: str
    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Mail:
    """`calendar` is the text of an invitation, empty for other mail; `files` are the names of what is attached."""

    to: str
    subject: str
    text: str
    calendar: str = ""
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Tenancy:
    """A new tenant, and a key of a program that may do everything in it."""

    id: str
    key: str


class Place(Protocol):
    """`settle` returns when nothing moves any more; only then does a scenario look. Time stands still but for `advance`."""

    webhook_secret: str
    """Signs what the test provider reports."""

    async def open(self, now: datetime) -> Tenancy:
        """A tenant of its own for each scenario, whose time is `now`."""

    async def close(self, tenant: str) -> None:
        """The scenario is over: nothing of it may reach the next one."""

    def door(self, service: str, key: str) -> httpx.AsyncClient:
        """HTTP to a service with this key; without one (empty) as a customer's browser has it."""

    async def settle(self) -> None: ...

    def now(self, tenant: str) -> datetime: ...

    def outside_now(self) -> datetime:
        """The time of those outside, who sign with it."""

    async def advance(self, tenant: str, to: datetime) -> None:
        """The tenant's time becomes `to`, everything due until then happens, and all is settled."""

    async def said(self, tenant: str) -> Sequence[Said]:
        """Everything on all topics, oldest first."""

    async def say(self, tenant: str, topic: str, key: str, type: str, body: dict[str, Any]) -> None:
        """A message by another back end. `type` has its version."""

    async def mails(self, tenant: str) -> Sequence[Mail]:
        """What has reached people outside by mail, oldest first."""

    def disturb(self, how: str, seed: int) -> None:
        """`plain`, `three times`, `reordered`, `killed`: how messages travel from now on. What must follow does not change."""
