"""The exceptions that people raise on purpose. Each names what the runtime does about it (architecture B.8)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple


class Fault(NamedTuple):
    """One thing wrong with what was asked: where (a JSON pointer), a stable code, and a sentence for people."""

    pointer: str
    code: str
    detail: str


class Rejected(Exception):
    """The domain says no. An answer, not a failure: it is told to whoever asked and never retried.

    `code` is a stable slug with underscores, the same over HTTP and in CommandRejected. `status` is the HTTP status:
    409, or 422 if the input itself is wrong."""

    def __init__(self, code: str, detail: str = "", *, status: int = 409, errors: Iterable[Fault] = ()) -> None:
        super().__init__(detail or code.replace("_", " "))
        self.code = code
        self.detail = detail or code.replace("_", " ")
        self.status = status
        self.errors = tuple(errors)


class NotFound(Rejected):
    """No such thing in this tenant."""

    def __init__(self, detail: str = "There is no such thing in this tenant.", code: str = "not_found") -> None:
        super().__init__(code, detail, status=404)


class Stale(Rejected):
    """If-Match names another version than the current one."""

    def __init__(self, current: int) -> None:
        super().__init__("version_conflict", f"The current version is {current}.", status=412)
        self.current = current


class Conflict(Exception):
    """Somebody appended first, or holds the lock. Decided again."""


class NotYet(Exception):
    """A fact this rests on has not arrived. The key is parked and tried again on the schedule."""


class Unreadable(Exception):
    """A known type whose body is not what it says. A command is refused, an event parked."""


class NotAnEnvelope(Exception):
    """Not even an envelope: no id, no type, no tenant, or a source that may not write there. Goes to quarantine."""


class Unavailable(Exception):
    """Database, broker or provider away. Back off in place; nobody's fault, nothing counted."""
