"""An HTTP client that does not give up: the same request with the same key until there is a definite answer (H3, R13)."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

from shared.runtime.clock import monotonic
from tests.chaos.ground import Ground

SERVICES = ("deals", "automation", "billing", "scheduler", "notifications", "mailbox")
LATER = (429, 502, 503, 504)
PATIENCE = 300.0
"""Seconds until an unanswered request counts as a failure of the system."""


class GaveUp(Exception):
    """No definite answer, or one that is none of those expected."""


@dataclass(eq=False)
class Client:
    """`said`: how requests went, by kind: answered, again, repeated (sent once more after the answer, which must be the same)."""

    ground: Ground
    seed: int
    said: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._chance = random.Random(f"client {self.seed}")
        self._http = httpx.AsyncClient(timeout=5, limits=httpx.Limits(max_connections=40))
        self._key = {"authorization": f"Bearer {self.ground.key}"}
        self._at = {service: self.ground.url(service) for service in SERVICES}

    async def close(self) -> None:
        await self._http.aclose()

    async def get(self, service: str, path: str, expect: tuple[int, ...] = (200,), **query: Any) -> Any:
        """The JSON answer; None for a 404 that is expected."""
        answer = await self._until_definite("GET", f"{self._at[service]}{path}", expect, params=query, headers=self._key)
        return answer.json() if answer.status_code != 404 else None

    async def post(self, service: str, path: str, body: Any, key: str, expect: tuple[int, ...] = (200, 201, 202)) -> Any:
        """The JSON answer. One in three is asked again with the same key: the same status, the same body (I29).

        Not so a refusal that is expected: it may rest on what is not known there yet, and nothing of it is kept."""
        headers = {**self._key, "idempotency-key": key}
        answer = await self._until_definite("POST", f"{self._at[service]}{path}", expect, json=body, headers=headers)
        if self._chance.random() < 1 / 3 and answer.is_success:
            again = await self._until_definite("POST", f"{self._at[service]}{path}", expect, json=body, headers=headers)
            self.said["repeated"] += 1
            if (again.status_code, again.content) != (answer.status_code, answer.content):
                raise GaveUp(f"{path} with the key {key} was answered {answer.text[:300]!r}, then {again.text[:300]!r}")
        return answer.json()

    async def act(self, service: str, path: str, body: Any, expect: tuple[int, ...] = (202,)) -> Any:
        """An operator's verb, said once: it has no key, and twice would be two."""
        return (await self._until_definite("POST", f"{self._at[service]}{path}", expect, json=body, headers=self._key)).json()

    async def try_the_door(self, service: str, path: str) -> None:
        """With the operator's key, but for its secret. Raises GaveUp when that lets anybody in."""
        key = self.ground.key
        wrong = {"authorization": f"Bearer {key[:-8]}{key[-8:][::-1].swapcase()}"}
        await self._until_definite("GET", f"{self._at[service]}{path}", (401,), headers=wrong)

    async def page(self, url: str, form: dict[str, str] | None = None, expect: tuple[int, ...] = (200,)) -> httpx.Response:
        """What a customer's browser gets, redirects not followed."""
        return await self._until_definite("GET" if form is None else "POST", url, expect, data=form)

    async def _until_definite(self, verb: str, url: str, expect: tuple[int, ...], **sent: Any) -> httpx.Response:
        deadline, wait = monotonic() + PATIENCE, 0.1
        while True:
            answer = await self._once(verb, url, **sent)
            if isinstance(answer, httpx.Response) and not _is_for_later(answer):
                if answer.status_code not in expect:
                    raise GaveUp(f"{verb} {url} answered {answer.status_code}: {answer.text[:500]}")
                self.said["answered"] += 1
                return answer
            if monotonic() > deadline:
                raise GaveUp(f"{verb} {url}: no definite answer within {PATIENCE:g} s, last {answer!r}")
            self.said["again"] += 1
            await asyncio.sleep(wait * self._chance.uniform(0.5, 1.5))
            wait = min(2.0, wait * 2)

    async def _once(self, verb: str, url: str, **sent: Any) -> httpx.Response | httpx.HTTPError:
        try:
            return await self._http.request(verb, url, **sent)
        except httpx.HTTPError as error:
            return error


def _is_for_later(answer: httpx.Response) -> bool:
    """A 409 that names a time is a request still in flight, or a fact still on its way."""
    return answer.status_code in LATER or (answer.status_code == 409 and "retry-after" in answer.headers)
