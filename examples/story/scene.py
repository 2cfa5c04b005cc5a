"""Where the story plays: the addresses and the key of a running stack, and what an outsider may do with them."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import httpx

from examples.story.watching import NotSeen, Watcher

T = TypeVar("T")

EXPECTED = (200, 201, 202)


class StoryBroken(Exception):
    """Something was not as the story tells it."""


@dataclass(frozen=True)
class Addresses:
    """Ports on loopback, the broker, and the operator's key."""

    ports: Mapping[str, int]
    bootstrap: str
    key: str
    key_file: Path
    host: str = "127.0.0.1"

    def url(self, service: str) -> str:
        return f"http://{self.host}:{self.ports[service]}"


def addresses_of(state: Path) -> Addresses:
    """Of the stack whose state lies in that folder. Raises StoryBroken when none was ever started there."""
    ports_file, key_file = state / "ports.json", state / "deals" / "operator.key"
    if not ports_file.exists() or not key_file.exists():
        raise StoryBroken(f"No stack has been started in {state}: run `make up` first.")
    ports: dict[str, int] = json.loads(ports_file.read_text())
    return Addresses(ports, f"127.0.0.1:{ports['kafka']}", key_file.read_text().strip(), key_file)


@dataclass(eq=False)
class Scene:
    """HTTP with the operator's key, the topics, the mailbox."""

    addresses: Addresses
    watcher: Watcher
    cast: dict[str, Any] = field(default_factory=dict)
    """Ids of what the story has made, by name."""

    def __post_init__(self) -> None:
        self._http = httpx.Client(timeout=20, headers={"authorization": f"Bearer {self.addresses.key}"}, follow_redirects=False)

    def close(self) -> None:
        self._http.close()

    def ask(self, verb: str, service: str, path: str, body: Any = None, *, expect: tuple[int, ...] = EXPECTED, **headers: str) -> Any:
        """The JSON answer. A POST carries an Idempotency-Key of its own. Raises StoryBroken with the problem's words."""
        sent = {"idempotency-key": str(uuid4()), **headers} if verb == "POST" else headers
        answer = self._http.request(verb, f"{self.addresses.url(service)}{path}", json=body, headers=sent)
        if answer.status_code not in expect:
            raise StoryBroken(f"{verb} {service}{path} answered {answer.status_code}: {answer.text[:600]}")
        return answer.json() if answer.content and "json" in answer.headers.get("content-type", "") else answer.text

    def get(self, service: str, path: str, **query: Any) -> Any:
        answer = self._http.get(f"{self.addresses.url(service)}{path}", params=query)
        if answer.status_code != 200:
            raise StoryBroken(f"GET {service}{path} answered {answer.status_code}: {answer.text[:600]}")
        return answer.json() if "json" in answer.headers.get("content-type", "") else answer.text

    def post(self, service: str, path: str, body: Any = None, **kwargs: Any) -> Any:
        return self.ask("POST", service, path, body if body is not None else {}, **kwargs)

    def found_or_made(self, service: str, path: str, holds: Callable[[Any], bool], body: Any) -> Any:
        """So that the story can be told a second time on the same stack."""
        for item in self.get(service, path, limit=200)["items"]:
            if holds(item):
                return item
        return self.post(service, path, body)

    def until(self, what: str, look: Callable[[], T | None], within: float = 30.0) -> T:
        """Looks until it sees something. Raises StoryBroken."""
        deadline = time.monotonic() + within
        while time.monotonic() < deadline:
            if (found := look()) is not None:
                return found
            time.sleep(0.05)
        raise StoryBroken(f"{what}: not within {within:g} s")

    def browser(self) -> httpx.Client:
        """The customer's: without any key."""
        return httpx.Client(timeout=20, follow_redirects=True)

    def mails(self, to: str) -> list[dict[str, Any]]:
        items: list[dict[str, Any]] = self._http.get(f"{self.addresses.url('mailbox')}/mails", params={"to": to}).json()["items"]
        return items


__all__ = ["Addresses", "NotSeen", "Scene", "StoryBroken", "addresses_of"]
