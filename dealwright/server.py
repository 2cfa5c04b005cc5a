"""Where the API is, with which key, and how a request to it ends."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from dealwright.problems import Problem
from deploy.local.network import LOOPBACK
from deploy.local.problems import StackProblem
from shared.runtime.clock import new_id

if TYPE_CHECKING:
    from deploy.local.state import State

URL, KEY, KEY_FILE = "DEALWRIGHT_API_URL", "DEALWRIGHT_API_KEY", "DEALWRIGHT_API_KEY_FILE"
ATTEMPTS = 3
"""A request that was cut off is sent again under its Idempotency-Key: it is done once."""


@dataclass(frozen=True, slots=True)
class Place:
    """An API and a key for it. The key is not shown."""

    url: str
    key: str = field(repr=False)


def place_of(url: str | None, key_file: Path | None, environment: Mapping[str, str] = os.environ) -> Place:
    """Options, else variables, else the stack on this machine, whose key goes nowhere else. Raises Problem."""
    named = url or environment.get(URL)
    key = _key(key_file, environment)
    if named is None:
        return _local(key)
    if key is None:
        raise Problem(f"{named} needs a key: name its file by --key-file or {KEY_FILE}, or put it into {KEY}.")
    if not named.startswith(("http://", "https://")):
        raise Problem(f"{named} is no address: write it like https://automation.example.org.")
    return Place(named.rstrip("/"), key)


def _key(key_file: Path | None, environment: Mapping[str, str]) -> str | None:
    path = key_file or (Path(environment[KEY_FILE]) if KEY_FILE in environment and KEY not in environment else None)
    if path is None:
        return environment.get(KEY)
    try:
        return path.read_text().strip()
    except (OSError, ValueError) as error:
        raise Problem(f"The key in {path} cannot be read: {error}") from None


def _local(key: str | None) -> Place:
    """What `make up` or `make demo` started."""
    state = _state()
    try:
        port = state.ports().get("automation")
    except StackProblem as problem:
        raise Problem(str(problem)) from None
    if port is None:
        raise Problem(f"No stack has run here ({state.folder}): `make demo` or `make up`, or say where the API is by --url or {URL}.")
    return Place(f"http://{LOOPBACK}:{port}", key or _operators_key(state))


def _state() -> State:
    """Loaded when it is asked for: where services only run, the packages of the stack are not installed."""
    try:
        from deploy.local.state import State, chosen_folder
    except ImportError:
        raise Problem(f"There is no stack on this machine: say where the API is by --url or {URL}.") from None
    return State(chosen_folder(None))


def _operators_key(state: State) -> str:
    try:
        return state.operator_key.read_text().strip()
    except OSError:
        detail = f"There is no operator's key at {state.operator_key}: deals writes it at its first start (`make up`)."
        raise Problem(detail) from None


class Refused(Problem):
    """The API's answer to what it does not do: its code, its sentence, and its findings where it has some."""

    def __init__(self, status: int, code: str, detail: str, errors: list[dict[str, Any]]) -> None:
        super().__init__(detail)
        self.status, self.code, self.detail, self.errors = status, code, detail, errors


class Server:
    """Requests as plain functions. Each raises Refused for a refusal and Problem when nobody answers."""

    def __init__(self, place: Place) -> None:
        self._place = place
        headers = {"Authorization": f"Bearer {place.key}"}
        self._client = httpx.Client(base_url=place.url, headers=headers, timeout=httpx.Timeout(60, connect=5))

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **query: str) -> httpx.Response:
        return self._answered(self._client.build_request("GET", path, params=query))

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        request = self._client.build_request("POST", path, json=body, headers={"Idempotency-Key": str(new_id())})
        return _object(self._answered(request))

    def _answered(self, request: httpx.Request) -> httpx.Response:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return _accepted(self._client.send(request))
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                raise Problem(f"Nobody answers at {self._place.url} ({error}): is it running (`make status`)?") from None
            except httpx.TransportError as error:
                if attempt == ATTEMPTS:
                    detail = f"{self._place.url} did not finish its answer ({type(error).__name__}): look whether it was done."
                    raise Problem(detail) from None
        raise AssertionError


def _accepted(answer: httpx.Response) -> httpx.Response:
    if answer.is_success:
        return answer
    problem = _object(answer)
    code = str(problem.get("code", ""))
    detail = str(problem.get("detail") or problem.get("title") or answer.reason_phrase)
    if answer.status_code in (401, 403):
        detail = f"The key is not enough for that ({answer.status_code}): {detail}"
    raise Refused(answer.status_code, code, detail, list(problem.get("errors") or ()))


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise Problem(f"{answer.request.url} answers {answer.status_code} with something that is no answer of Dealwright.")
    return found
