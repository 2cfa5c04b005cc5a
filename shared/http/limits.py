"""Token buckets in memory, per credential and per address that keeps failing (G61, reliability R12)."""

from __future__ import annotations

from math import ceil

from shared.http.problems import Problem
from shared.runtime.clock import monotonic


class Bucket:
    """Filled at `rate` per second up to `burst`, one bucket per client."""

    def __init__(self, rate: float, burst: float) -> None:
        self._rate, self._burst = rate, burst
        self._left: dict[str, tuple[float, float]] = {}

    def take(self, client: str) -> float:
        """Takes a token and answers 0; or how many seconds until there is one."""
        at = monotonic()
        left = self._now(client, at)
        if left < 1:
            return (1 - left) / self._rate
        if len(self._left) >= 50_000:
            self._left.clear()
        self._left[client] = (left - 1, at)
        return 0.0

    def wait(self, client: str) -> float:
        """The same without taking it."""
        if client not in self._left:
            return 0.0
        return max(0.0, (1 - self._now(client, monotonic())) / self._rate)

    def _now(self, client: str, at: float) -> float:
        left, since = self._left.get(client, (self._burst, at))
        return min(self._burst, left + (at - since) * self._rate)


class Buckets:
    """Raises Problem(too-many-requests)."""

    def __init__(self, rate: float, burst: float, failures: float) -> None:
        self._requests = Bucket(rate, burst)
        self._failures = Bucket(failures, failures * 10)
        self._policy = f'"credential";q={int(burst)};w={max(1, int(burst / rate))}'

    def take(self, credential_id: str) -> None:
        self._refuse(self._requests.take(credential_id))

    def may_try(self, address: str) -> None:
        """An address that keeps presenting bad keys is told to slow down before its next key is looked at."""
        self._refuse(self._failures.wait(address))

    def failed(self, address: str) -> None:
        self._failures.take(address)

    def _refuse(self, wait: float) -> None:
        if wait:
            seconds = str(max(1, ceil(wait)))
            headers = (("Retry-After", seconds), ("RateLimit-Policy", self._policy), ("RateLimit", f'"credential";r=0;t={seconds}'))
            raise Problem("too-many-requests", f"The next request is welcome in {seconds} s.", headers=headers)
